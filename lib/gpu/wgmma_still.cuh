/* SPDX-License-Identifier: Apache-2.0 */
/* Integer products on Hopper, weights kept still: a block holds all weights of BN channels in shared memory, with
 * their biases and multipliers, and walks down the rows. Only the rows pass through the ring of stages, so that
 * much less comes out of the second-level cache than where both operands do: with a k of up to about a thousand that
 * is what limits the other rows. GROUPS warpgroups take items of BM rows in turns: one multiplies while the others
 * write. A group takes its turn when the one before has seen all of its stages: a barrier tells two phases apart, no
 * more. */
#ifndef PTQ_GPU_WGMMA_STILL_CUH
#define PTQ_GPU_WGMMA_STILL_CUH

#include "lib/gpu/parts.cuh"
#include "lib/gpu/wgmma.cuh"

enum { STILL_BK = 128, STILL_LEAST = 4, STILL_MOST = 16, STILL_STEPS = 8, STILL_SHARED = 227 * 1024 };

/* Where things lie in shared memory, from a multiple of 1024 on: weights, stages, tables, barriers. */
struct still_layout {
    int steps, stages; /* of STILL_BK bytes of k; in the ring */
    int ring, tables, barriers, total;
    __host__ __device__ __forceinline__ still_layout(int k, int bm, int bn, int groups)
    {
        int bars = (2 * STILL_MOST + groups + STILL_STEPS) * 8;
        steps = (k + STILL_BK - 1) / STILL_BK;
        ring = steps * bn * STILL_BK;
        stages = (STILL_SHARED - 1024 - ring - bn * 12 - bars) / (bm * STILL_BK);
        stages = stages > STILL_MOST ? STILL_MOST : stages;
        tables = ring + stages * bm * STILL_BK;
        barriers = tables + bn * 12;
        total = 1024 + barriers + bars;
    }
};

struct still_ring {
    uint32_t at, full, empty; /* addresses of stages and barriers */
    int stages, stage;
    uint32_t phase;
    __device__ __forceinline__ void advance(int steps)
    {
        for (stage += steps; stage >= stages; stage -= stages)
            phase ^= 1;
    }
};

/* Step s of the weights. */
template <int BN>
static __device__ __forceinline__ void feed_weights(const CUtensorMap *tb, uint32_t weights, uint32_t ready, int s,
                                                    int n0)
{
    barrier_expect(ready + 8 * s, BN * STILL_BK);
    tensor_copy_2d(weights + (uint32_t)(s * BN * STILL_BK), tb, ready + 8 * s, s * STILL_BK, n0);
}

enum { STILL_AHEAD = 2 }; /* steps of the weights that are asked for before the first rows; the others follow in turn */

/* The feeding thread: the rows of `items` items, `step` rows apart. */
template <int BM, int BN>
static __device__ __forceinline__ void feed_still(const CUtensorMap *ta, const CUtensorMap *tb, still_ring r,
                                                  uint32_t weights, uint32_t ready, int steps, int m, int n0,
                                                  int items, int step)
{
    for (int i = 0; i < items; i++, m += step)
        for (int s = 0; s < steps; s++) {
            barrier_wait(r.empty + 8 * r.stage, r.phase ^ 1);
            barrier_expect(r.full + 8 * r.stage, BM * STILL_BK);
            tensor_copy_2d(r.at + (uint32_t)(r.stage * BM * STILL_BK), ta, r.full + 8 * r.stage, s * STILL_BK, m);
            r.advance(1);
            if (i == 0 && s + STILL_AHEAD < steps)
                feed_weights<BN>(tb, weights, ready, s + STILL_AHEAD, n0);
        }
}

/* The product of one item. ready: barriers of the weights, where this is the first one, else 0; next: the turn that
 * is given on when all stages have been seen. */
template <int BM, int BN, bool SIGNED>
static __device__ __forceinline__ void still_item(int32_t (&acc)[BM / 64][BN / 2], still_ring &r, uint32_t weights,
                                                  uint32_t ready, uint32_t next, int steps)
{
    int before = 0;
    bool tells = threadIdx.x % 32 == 0;
    for (int s = 0; s < steps; s++) {
        barrier_wait(r.full + 8 * r.stage, r.phase);
        if (s == steps - 1 && tells)
            barrier_arrive(next);
        if (ready)
            barrier_wait(ready + 8 * s, 0);
        uint32_t x = r.at / 16 + (uint32_t)(r.stage * (BM * STILL_BK / 16));
        uint32_t w = weights / 16 + (uint32_t)(s * (BN * STILL_BK / 16));
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < STILL_BK / 32; k++)
#pragma unroll
            for (int h = 0; h < BM / 64; h++)
                wgmma<BN, SIGNED>::run(acc[h], descriptor_at<STILL_BK>(x + (uint32_t)(h * 64 * STILL_BK / 16 + 2 * k)),
                                       descriptor_at<STILL_BK>(w + (uint32_t)(2 * k)), s > 0 || k > 0);
        wgmma_commit();
        wgmma_wait<1>(); /* the step before has been read */
        if (s > 0 && tells)
            barrier_arrive(r.empty + 8 * before);
        before = r.stage;
        r.advance(1);
    }
    wgmma_wait<0>();
#pragma unroll
    for (int h = 0; h < BM / 64; h++)
        hold(acc[h]);
    if (tells)
        barrier_arrive(r.empty + 8 * before);
}

/* Asks for what the end of an item will add. */
template <int BM, int BN, int END>
static __device__ __forceinline__ void prefetch_item(const ptq_k_gemm &a, int m, int n)
{
#pragma unroll
    for (int c = 0; c < BN; c += 64)
#pragma unroll
        for (int h = 0; h < BM / 64; h++)
            prefetch_end<END>(a, m + 64 * h, n + c);
}

template <int BM, int BN, int GROUPS, bool SIGNED, int END>
static __device__ __forceinline__ void multiply_still(const ptq_k_gemm &a, const int32_t *tables, uint32_t weights,
                                                      still_ring r, uint32_t turn, uint32_t ready, int steps, int m0,
                                                      int n0, int items, int step)
{
    int group = warpgroup(), lane = (int)threadIdx.x % 32, q = lane % 4 * 16;
    int m = m0 + group * step + (int)threadIdx.x / 32 % 4 * 16 + lane / 4;
    uint32_t mine = group == 0; /* the first turn of group 0 is free: the phase before is over */
    uint32_t next = turn + 8 * ((group + 1) % GROUPS);
    const float *floats = (const float *)tables;
    r.advance(group * steps);
    constexpr int AHEAD = END < END_TAIL ? GROUPS : 0; /* memory answers later than the matrix units; floats are four
                                                        * times as much, and would push each other out of the cache */
    if (AHEAD && group < items)
        prefetch_item<BM, BN, END>(a, m, n0 + q);
    for (int i = group; i < items; i += GROUPS, m += GROUPS * step) {
        int32_t acc[BM / 64][BN / 2];
        if (i + AHEAD < items)
            prefetch_item<BM, BN, END>(a, m + AHEAD * step, n0 + q);
        barrier_wait(turn + 8 * group, mine);
        mine ^= 1;
        still_item<BM, BN, SIGNED>(acc, r, weights, i == group ? ready : 0, next, steps);
        r.advance((GROUPS - 1) * steps); /* the others' */
        int n = n0 + q;
        asm volatile("" : "+r"(n)); /* else n + c are kept for all items, in memory */
#pragma unroll
        for (int c = 0; c < BN; c += 64) {
            channels at(tables, floats + BN, floats + 2 * BN, c + q);
#pragma unroll
            for (int h = 0; h < BM / 64; h++)
                finish_part<END>(a, at, acc[h] + c / 2, m + 64 * h, n + c);
        }
    }
}

/* Blocks of a column lie `columns` apart, so that those that read the same rows run side by side. */
template <int BM, int BN, int GROUPS, bool SIGNED, int END>
static __global__ void __launch_bounds__(128 * GROUPS + 128, 1)
    wgmma_still(const __grid_constant__ CUtensorMap ta, const __grid_constant__ CUtensorMap tb,
                const __grid_constant__ ptq_k_gemm a, int columns)
{
    extern __shared__ uint8_t raw[];
    uint8_t *smem = raw + (1024 - smem_address(raw) % 1024) % 1024;
    still_layout l(a.c, BM, BN, GROUPS);
    uint32_t weights = smem_address(smem), full = weights + (uint32_t)l.barriers, empty = full + 8 * STILL_MOST;
    uint32_t turn = empty + 8 * STILL_MOST, ready = turn + 8 * GROUPS;
    still_ring r = {weights + (uint32_t)l.ring, full, empty, l.stages, 0, 0};
    int n0 = (int)(blockIdx.x % (unsigned)columns) * BN, m0 = (int)(blockIdx.x / (unsigned)columns) * BM;
    int step = (int)(gridDim.x / (unsigned)columns) * BM, items = ((int)a.m - m0 + step - 1) / step;
    if (threadIdx.x == 0) {
        for (int i = 0; i < l.stages; i++) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, 4); /* each warp of a group tells for itself */
        }
        for (int i = 0; i < GROUPS; i++)
            barrier_init(turn + 8 * i, 4);
        for (int i = 0; i < l.steps; i++)
            barrier_init(ready + 8 * i, 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async;" ::: "memory");
    }
    int32_t *tables = (int32_t *)(smem + l.tables);
    for (int i = (int)threadIdx.x; i < BN && n0 + i < a.npad; i += (int)blockDim.x) {
        tables[i] = a.bias[n0 + i];
        ((float *)tables)[BN + i] = (END >= END_FAST ? a.tail.fast_mult : a.mult)[n0 + i];
        if (END >= END_TAIL)
            ((float *)tables)[2 * BN + i] = (END >= END_FAST ? a.tail.fast_bias : a.tail.bias)[n0 + i];
    }
    __syncthreads();
    let_next();
    if (threadIdx.x == 128 * GROUPS) /* weights are constant */
        for (int s = 0; s < STILL_AHEAD && s < l.steps; s++)
            feed_weights<BN>(&tb, weights, ready, s, n0);
    after_previous();
    if (threadIdx.x >= 128 * GROUPS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 128 * GROUPS)
            feed_still<BM, BN>(&ta, &tb, r, weights, ready, l.steps, m0, n0, items, step);
    } else {
        if (GROUPS == 2) /* of 168, 128, 96 for each thread */
            asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        else if (GROUPS == 3)
            asm volatile("setmaxnreg.inc.sync.aligned.u32 152;");
        else
            asm volatile("setmaxnreg.inc.sync.aligned.u32 104;");
        multiply_still<BM, BN, GROUPS, SIGNED, END>(a, tables, weights, r, turn, ready, l.steps, m0, n0, items, step);
    }
}

/* ---- host ---- */

template <int BM, int BN, int GROUPS, bool SIGNED, int END>
static ptq_status launch_still(ptq_dev *d, const ptq_k_gemm *a)
{
    auto kernel = wgmma_still<BM, BN, GROUPS, SIGNED, END>;
    still_layout l(a->c, BM, BN, GROUPS);
    CUtensorMap ta, tb;
    ptq_status s = operand_maps(&ta, &tb, a, false, STILL_BK, BM, BN);
    if (s != PTQ_OK)
        return s;
    int columns = (a->n + BN - 1) / BN;
    int64_t items = (a->m + BM - 1) / BM, down = ptq_dev_processors(d) / columns;
    down = down > items ? items : down;
    launch_early(kernel, (unsigned)(down * columns), 128 * GROUPS + 128, l.total, STILL_SHARED, d, ta, tb,
                 ptq_k_gemm_ends(a), columns);
    return ptq_dev_launched(d, "wgmma_still");
}

template <int BM, int BN, int GROUPS, int END> static ptq_status launch_still_type(ptq_dev *d, const ptq_k_gemm *a)
{
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    return a->x_signed ? launch_still<BM, BN, GROUPS, true, END>(d, a) : launch_still<BM, BN, GROUPS, false, END>(d, a);
}

template <int BM, int BN, int GROUPS> static bool still_fits(const ptq_dev *d, const ptq_k_gemm *a)
{
    return maps_fit(d, a) && is_matrix(a) && (a->n + BN - 1) / BN <= ptq_dev_processors(d) && a->m < 1 << 29 &&
           a->c <= STILL_STEPS * STILL_BK && still_layout(a->c, BM, BN, GROUPS).stages >= STILL_LEAST;
}

/* A row of the file's own `supports` and `run`. */
#define PTQ_STILL_ROW(name, bm, bn, groups)                                                        \
    extern const ptq_k_gemm_row ptq_k_gemm_##name;                                                 \
    const ptq_k_gemm_row ptq_k_gemm_##name = {#name, supports<bm, bn, groups>, run<bm, bn, groups>};

#endif
