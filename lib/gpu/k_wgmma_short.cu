/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products with a short k on Hopper, where writing the result costs more than multiplying: a
 * block keeps the weights, bias and multipliers of 64 channels in shared memory, walks down the rows, and
 * multiplies the next tile while it writes the last one. */
#include "lib/gpu/tail.cuh"
#include "lib/gpu/wgmma.cuh"

enum { GROUPS = 1, BM = 64 * GROUPS, BN = 64, BK = 64, STAGES = 8, THREADS = 128 * GROUPS + 32 };
enum { A_BYTES = BM * BK, B_BYTES = BN * BK, MAX_STEPS = 8 };

static int smem_bytes(int steps)
{
    return 1024 + STAGES * A_BYTES + steps * B_BYTES + 2 * STAGES * 8 + 16 + 2 * BN * 4;
}

struct ring {
    uint32_t a, b, full, empty, weights; /* addresses: stages, weights, barriers */
    int stage;
    uint32_t phase;
    __device__ __forceinline__ void next()
    {
        if (++stage == STAGES) {
            stage = 0;
            phase ^= 1;
        }
    }
};

static __device__ __forceinline__ void feed(const CUtensorMap *ta, ring r, int steps, int m0, int tiles, int step)
{
    for (int m = m0; tiles > 0; tiles--, m += step)
        for (int s = 0; s < steps; s++, r.next()) {
            barrier_wait(r.empty + 8 * r.stage, r.phase ^ 1);
            barrier_expect(r.full + 8 * r.stage, A_BYTES);
            tensor_copy_2d(r.a + (uint32_t)(r.stage * A_BYTES), ta, r.full + 8 * r.stage, s * BK, m);
        }
}

/* Starts one tile; the last step is still under way when it returns, in `last`. */
template <bool SIGNED>
static __device__ __forceinline__ void start(int32_t (&acc)[BN / 2], ring &r, int steps, int group, int lane, int *last)
{
    for (int s = 0; s < steps; s++) {
        barrier_wait(r.full + 8 * r.stage, r.phase);
        uint64_t da = descriptor<BK>(r.a + (uint32_t)(r.stage * A_BYTES + group * 64 * BK));
        uint64_t db = descriptor<BK>(r.b + (uint32_t)(s * B_BYTES));
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < BK / 32; k++)
            wgmma<BN, SIGNED>::run(acc, da + 2 * k, db + 2 * k, s > 0 || k > 0);
        wgmma_commit();
        if (s > 0) {
            wgmma_wait<1>();
            if (lane == 0)
                barrier_arrive(r.empty + 8 * *last);
        }
        *last = r.stage;
        r.next();
    }
}

static __device__ __forceinline__ void end(int32_t (&acc)[BN / 2], const ring &r, int lane, int last)
{
    wgmma_wait<0>();
    hold(acc);
    if (lane == 0)
        barrier_arrive(r.empty + 8 * last);
}

/* Few registers are left: floats go one by one. */
template <int END>
static __device__ __forceinline__ void finish(const ptq_k_gemm &a, const channels &c, const int32_t *acc, int64_t m,
                                              int n)
{
    if (END == END_NEAR || END == END_NEAR_SUM)
        finish_end<END>(a, c, acc, m, n);
    else
        finish_rows<END == END_SKIP, false>(a, c, acc, m, n, a.m);
}

/* `pairs` pairs of tiles. The products stand on no condition, which would serialize them: the tile after
 * the last is multiplied too (of rows that the copy engine fills with zeros) and never written. */
template <bool SIGNED, int END>
static __device__ __forceinline__ void multiply(const ptq_k_gemm &a, const int32_t *bias, const float *mult, ring r,
                                                int steps, int m0, int n0, int pairs, int step)
{
    int group = (int)threadIdx.x / 128, lane = (int)threadIdx.x % 32, last = 0;
    int n = n0 + lane % 4 * 16, m = m0 + group * 64 + (int)threadIdx.x / 32 % 4 * 16 + lane / 4;
    channels c(bias, mult, nullptr, lane % 4 * 16);
    int32_t even[BN / 2], odd[BN / 2];
    barrier_wait(r.weights, 0);
    prefetch_end<END>(a, m, n);
    start<SIGNED>(even, r, steps, group, lane, &last);
    end(even, r, lane, last);
    for (; pairs > 0; pairs--, m += 2 * step) {
        start<SIGNED>(odd, r, steps, group, lane, &last);
        prefetch_end<END>(a, m + step, n);
        finish<END>(a, c, even, m, n);
        end(odd, r, lane, last);
        start<SIGNED>(even, r, steps, group, lane, &last);
        prefetch_end<END>(a, m + 2 * step, n);
        finish<END>(a, c, odd, m + step, n);
        end(even, r, lane, last);
    }
}

template <int BLOCKS, bool SIGNED, int END>
static __global__ void __launch_bounds__(THREADS, BLOCKS)
    wgmma_short(const __grid_constant__ CUtensorMap ta, const __grid_constant__ CUtensorMap tb,
                const __grid_constant__ ptq_k_gemm a, int columns)
{
    extern __shared__ uint8_t raw[];
    uint8_t *smem = raw + (1024 - smem_address(raw) % 1024) % 1024;
    int steps = (a.c + BK - 1) / BK;
    ring r = {smem_address(smem), 0, 0, 0, 0, 0, 0};
    r.b = r.a + STAGES * A_BYTES;
    r.full = r.b + (uint32_t)(steps * B_BYTES);
    r.empty = r.full + 8 * STAGES;
    r.weights = r.empty + 8 * STAGES;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(r.full + 8 * i, 1);
            barrier_init(r.empty + 8 * i, 4 * GROUPS);
        }
        barrier_init(r.weights, 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async;" ::: "memory");
    }
    int32_t *bias = (int32_t *)(smem + (r.weights - r.a) + 16);
    float *mult = (float *)(bias + BN);
    int n0 = (int)(blockIdx.x % (unsigned)columns) * BN, m0 = (int)(blockIdx.x / (unsigned)columns) * BM;
    if (threadIdx.x < BN) { /* npad covers the whole tile */
        bias[threadIdx.x] = a.bias[n0 + threadIdx.x];
        mult[threadIdx.x] = a.mult[n0 + threadIdx.x];
    }
    __syncthreads();
    let_next();
    if (threadIdx.x == 128 * GROUPS) { /* weights are constant */
        barrier_expect(r.weights, (uint32_t)(steps * B_BYTES));
        for (int s = 0; s < steps; s++)
            tensor_copy_2d(r.b + (uint32_t)(s * B_BYTES), &tb, r.weights, s * BK, n0);
    }
    after_previous();
    int step = (int)(gridDim.x / (unsigned)columns) * BM, pairs = ((int)a.m - m0 + 2 * step - 1) / (2 * step);
    if (threadIdx.x < 128 * GROUPS)
        multiply<SIGNED, END>(a, bias, mult, r, steps, m0, n0, pairs, step);
    else if (threadIdx.x == 128 * GROUPS)
        feed(&ta, r, steps, m0, 2 * pairs + 1, step);
}

/* ---- host ---- */

typedef void short_kernel(const CUtensorMap, const CUtensorMap, const ptq_k_gemm, int);

template <int BLOCKS, bool SIGNED> static short_kernel *kernel_of(const ptq_k_gemm *a)
{
    switch (near_end(a)) {
    case END_NEAR: return wgmma_short<BLOCKS, SIGNED, END_NEAR>;
    case END_NEAR_SUM: return wgmma_short<BLOCKS, SIGNED, END_NEAR_SUM>;
    default: return a->residual.kind ? wgmma_short<BLOCKS, SIGNED, END_SKIP> : wgmma_short<BLOCKS, SIGNED, END_PLAIN>;
    }
}

template <int BLOCKS> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    auto kernel = a->x_signed ? kernel_of<BLOCKS, true>(a) : kernel_of<BLOCKS, false>(a);
    CUtensorMap ta, tb;
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    ptq_status s = operand_maps(&ta, &tb, a, false, BK, BM, BN);
    if (s != PTQ_OK)
        return s;
    int columns = (a->n + BN - 1) / BN, smem = smem_bytes((a->c + BK - 1) / BK);
    int64_t tiles = (a->m + BM - 1) / BM, down = BLOCKS * ptq_dev_processors(d) / columns;
    down = down < 1 ? 1 : down > tiles ? tiles : down;
    launch_early(kernel, (unsigned)(down * columns), THREADS, smem, smem_bytes(MAX_STEPS), d, ta, tb,
                 ptq_k_gemm_ends(a), columns);
    return ptq_dev_launched(d, "wgmma_short");
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return maps_fit(d, a) && !a->tail.on && is_matrix(a) && a->c <= MAX_STEPS * BK && a->m < 1 << 29;
}

extern "C" {
extern const ptq_k_gemm_row ptq_k_gemm_wgmma_short2_64x64, ptq_k_gemm_wgmma_short3_64x64;
const ptq_k_gemm_row ptq_k_gemm_wgmma_short2_64x64 = {"wgmma_short2_64x64", supports, run<2>};
const ptq_k_gemm_row ptq_k_gemm_wgmma_short3_64x64 = {"wgmma_short3_64x64", supports, run<3>};
}
