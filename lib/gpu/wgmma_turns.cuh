/* SPDX-License-Identifier: Apache-2.0 */
/* Integer products on Hopper, two warpgroups in turns: each has tiles of its own (128 x 128), and writes one
 * while the other multiplies, so that neither the matrix units nor the memory wait. The ring of stages is fed
 * tile by tile. A group takes its turn when the other has seen all of its stages: a barrier tells two phases
 * apart, no more. Otherwise as wgmma_gemm.cuh. */
#ifndef PTQ_GPU_WGMMA_TURNS_CUH
#define PTQ_GPU_WGMMA_TURNS_CUH

#include "lib/gpu/wgmma_gemm.cuh"

struct turns {
    static constexpr int BM = 128, BN = 128, BK = 128, STAGES = 6;
    static constexpr int threads = 384;
    static constexpr int a_bytes = BM * BK, b_bytes = BN * BK, stage = a_bytes + b_bytes;
    static constexpr int ring = STAGES * stage;
    static constexpr int total = 1024 + ring + (2 * STAGES + 2) * 8;
};

/* A place in the ring, so many steps on. */
static __device__ __forceinline__ void advance(int steps, int &stage, uint32_t &phase)
{
    int rounds = (stage + steps) / turns::STAGES;
    stage += steps - rounds * turns::STAGES;
    phase ^= (uint32_t)rounds & 1;
}

template <bool SIGNED, int END>
static __device__ __forceinline__ void multiply_turns(const ptq_k_gemm &a, uint32_t ring, uint32_t full, uint32_t empty,
                                                      uint32_t turn, uint32_t tiles, uint32_t mt, uint32_t nt)
{
    using L = turns;
    int group = warpgroup(), warp = (int)threadIdx.x / 32 % 4, lane = (int)threadIdx.x % 32;
    int steps = a.kernel_h * a.kernel_w * ((a.c + L::BK - 1) / L::BK), stage = 0;
    uint32_t phase = 0, mine = group == 0; /* the first turn of group 0 is free: the phase before is over */
    advance(group * steps, stage, phase);
    for (uint32_t tile = blockIdx.x + group * gridDim.x; tile < tiles; tile += 2 * gridDim.x) {
        int32_t acc[2][L::BN / 2];
        int before = 0;
        place t = place_of(tile, mt, nt, L::BM, L::BN);
        int m = t.m + warp * 16 + lane / 4;
#pragma unroll
        for (int i = 0; i < 4; i++)
            prefetch_end<END>(a, m + i / 2 * 64, t.n + i % 2 * 64 + lane % 4 * 16);
        barrier_wait(turn + 8 * group, mine);
        mine ^= 1;
        for (int s = 0; s < steps; s++) {
            uint32_t x = ring / 16 + (uint32_t)(stage * (L::stage / 16)), w = x + L::a_bytes / 16;
            barrier_wait(full + 8 * stage, phase);
            if (s == steps - 1 && lane == 0)
                barrier_arrive(turn + 8 * (1 - group));
            wgmma_fence();
#pragma unroll
            for (uint32_t k = 0; k < L::BK / 32; k++) {
                uint64_t dw = descriptor_at<L::BK>(w + 2 * k);
                uint64_t low = descriptor_at<L::BK>(x + 2 * k);
                uint64_t high = descriptor_at<L::BK>(x + 64 * L::BK / 16 + 2 * k);
                wgmma<L::BN, SIGNED>::run(acc[0], low, dw, s > 0 || k > 0);
                wgmma<L::BN, SIGNED>::run(acc[1], high, dw, s > 0 || k > 0);
            }
            wgmma_commit();
            wgmma_wait<1>(); /* the step before has been read */
            if (s > 0 && lane == 0)
                barrier_arrive(empty + 8 * before);
            before = stage;
            if (++stage == L::STAGES) {
                stage = 0;
                phase ^= 1;
            }
        }
        wgmma_wait<0>();
        hold(acc[0]);
        hold(acc[1]);
        if (lane == 0)
            barrier_arrive(empty + 8 * before);
        advance(steps, stage, phase); /* the other's */
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int n = t.n + i % 2 * 64 + lane % 4 * 16;
            finish_part<END>(a, channels_of<END>(a, n), acc[i / 2] + i % 2 * 32, m + i / 2 * 64, n);
        }
    }
}

template <bool SIGNED, bool WINDOW, int END>
static __global__ void __launch_bounds__(turns::threads, 1)
    wgmma_turns(const __grid_constant__ CUtensorMap ta, const __grid_constant__ CUtensorMap tb,
                const __grid_constant__ ptq_k_gemm a)
{
    using L = turns;
    extern __shared__ uint8_t raw[];
    uint8_t *smem = raw + (1024 - smem_address(raw) % 1024) % 1024;
    uint32_t ring = smem_address(smem), full = ring + L::ring, empty = full + 8 * L::STAGES;
    uint32_t turn = empty + 8 * L::STAGES;
    uint32_t mt = (uint32_t)((a.m + L::BM - 1) / L::BM), nt = (uint32_t)((a.n + L::BN - 1) / L::BN);
    if (threadIdx.x == 0) {
        for (int i = 0; i < L::STAGES; i++) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, 4); /* each warp of a group tells for itself */
        }
        barrier_init(turn, 4);
        barrier_init(turn + 8, 4);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async;" ::: "memory");
    }
    __syncthreads();
    let_next();
    after_previous();
    if (threadIdx.x >= 256) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 256)
            feed<L, L::BN, L::BK, L::STAGES, WINDOW>(&ta, &tb, a, ring, full, empty, mt * nt, mt, nt);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        multiply_turns<SIGNED, END>(a, ring, full, empty, turn, mt * nt, mt, nt);
    }
}

/* ---- host ---- */

template <bool SIGNED, bool WINDOW, int END> static ptq_status launch_turns(ptq_dev *d, const ptq_k_gemm *a)
{
    using L = turns;
    auto kernel = wgmma_turns<SIGNED, WINDOW, END>;
    CUtensorMap ta, tb;
    ptq_status s = operand_maps(&ta, &tb, a, WINDOW, L::BK, L::BM, L::BN);
    if (s != PTQ_OK)
        return s;
    int64_t tiles = (a->m + L::BM - 1) / L::BM * ((a->n + L::BN - 1) / L::BN), most = ptq_dev_processors(d);
    launch_early(kernel, (unsigned)(tiles < most ? tiles : most), L::threads, L::total, L::total, d, ta, tb,
                 ptq_k_gemm_ends(a));
    return ptq_dev_launched(d, "wgmma_turns");
}

template <bool WINDOW, int END> static ptq_status launch_turns_type(ptq_dev *d, const ptq_k_gemm *a)
{
    return a->x_signed ? launch_turns<true, WINDOW, END>(d, a) : launch_turns<false, WINDOW, END>(d, a);
}

#endif
