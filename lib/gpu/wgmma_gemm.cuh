/* SPDX-License-Identifier: Apache-2.0 */
/* Integer products on Hopper: the last warp feeds a ring of shared-memory stages through the tensor copy
 * engine, two warpgroups of 64 rows each multiply out of it. Blocks are persistent and take tiles
 * in an order that keeps both operands in the second-level cache. A product with one tap reads its
 * rows as a matrix; a convolution reads windows (im2col mode), whose pixels outside the input are
 * zero bytes, so that it needs a zero point of 0 or no padding. Rows are made in k_wgmma.cu,
 * k_wgmma_tail.cu and k_wgmma_fast.cu. */
#ifndef PTQ_GPU_WGMMA_GEMM_CUH
#define PTQ_GPU_WGMMA_GEMM_CUH

#include "lib/gpu/parts.cuh"
#include "lib/gpu/wgmma.cuh"

enum { GROUP = 16 };

/* GROUPS warpgroups multiply 64 rows each; BLOCKS blocks share a processor. A block that is alone
 * moves the registers of a feeding warpgroup to the others; several blocks feed by one warp. */
template <int GROUPS, int BN, int BK, int STAGES, int BLOCKS> struct layout {
    static constexpr int BM = 64 * GROUPS;
    static constexpr bool moves = BLOCKS == 1;
    static constexpr int feeders = moves ? 128 : 32, threads = 128 * GROUPS + feeders;
    static constexpr int a_bytes = BM * BK, b_bytes = BN * BK, stage = a_bytes + b_bytes;
    static constexpr int ring = STAGES * stage;
    static constexpr int total = 1024 + ring + 2 * STAGES * 8;
};

struct place { /* of a tile */
    int m, n;
};

/* Tiles in groups of GROUP rows of tiles: down a group first, then to the next column. */
static __device__ __forceinline__ place place_of(uint32_t tile, uint32_t mt, uint32_t nt, int bm, int bn)
{
    uint32_t per = GROUP * nt, group = tile / per, in = tile - group * per, first = group * GROUP;
    uint32_t rows = mt - first < GROUP ? mt - first : GROUP, column = in / rows;
    return {(int)(first + in - column * rows) * bm, (int)column * bn};
}

/* L: the layout of the block. */
template <typename L, int BN, int BK, int STAGES, bool WINDOW>
static __device__ __forceinline__ void feed(const CUtensorMap *ta, const CUtensorMap *tb, const ptq_k_gemm &a,
                                            uint32_t ring, uint32_t full, uint32_t empty, uint32_t tiles, uint32_t mt,
                                            uint32_t nt)
{
    int blocks = (a.c + BK - 1) / BK, stage = 0;
    uint32_t phase = 0;
    for (uint32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        place t = place_of(tile, mt, nt, L::BM, BN);
        int w0 = 0, h0 = 0, image = 0;
        if (WINDOW) {
            uint32_t area = (uint32_t)(a.out_h * a.out_w), q = (uint32_t)t.m % area, y = q / (uint32_t)a.out_w;
            image = (int)((uint32_t)t.m / area);
            h0 = (int)y * a.stride_h - a.pad_h;
            w0 = (int)(q - y * (uint32_t)a.out_w) * a.stride_w - a.pad_w;
        }
        for (int kh = 0; kh < a.kernel_h; kh++)
            for (int kw = 0; kw < a.kernel_w; kw++)
                for (int b = 0; b < blocks; b++) {
                    uint32_t dst = ring + (uint32_t)(stage * L::stage);
                    barrier_wait(empty + 8 * stage, phase ^ 1);
                    barrier_expect(full + 8 * stage, L::stage);
                    if (WINDOW)
                        tensor_copy_window(dst, ta, full + 8 * stage, b * BK, w0, h0, image, (uint16_t)(kw * a.dil_w),
                                           (uint16_t)(kh * a.dil_h));
                    else
                        tensor_copy_2d(dst, ta, full + 8 * stage, b * BK, t.m);
                    tensor_copy_2d(dst + L::a_bytes, tb, full + 8 * stage, (kh * a.kernel_w + kw) * a.c + b * BK, t.n);
                    if (++stage == STAGES) {
                        stage = 0;
                        phase ^= 1;
                    }
                }
    }
}

template <int GROUPS, int BN, int BK, int STAGES, int BLOCKS, bool SIGNED, int END>
static __device__ __forceinline__ void multiply(const ptq_k_gemm &a, uint32_t ring, uint32_t full, uint32_t empty,
                                                uint32_t tiles, uint32_t mt, uint32_t nt)
{
    using L = layout<GROUPS, BN, BK, STAGES, BLOCKS>;
    int group = warpgroup(), warp = (int)threadIdx.x / 32 % 4, lane = (int)threadIdx.x % 32;
    int steps = a.kernel_h * a.kernel_w * ((a.c + BK - 1) / BK), stage = 0;
    uint32_t phase = 0;
    for (uint32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int32_t acc[BN / 2];
        int before = 0;
        place t = place_of(tile, mt, nt, L::BM, BN);
#pragma unroll
        for (int c = 0; c < BN; c += 64)
            prefetch_end<END>(a, t.m + group * 64 + warp * 16 + lane / 4, t.n + c + lane % 4 * 16);
        for (int s = 0; s < steps; s++) {
            uint32_t at = ring / 16 + (uint32_t)(stage * (L::stage / 16));
            uint32_t x = at + (uint32_t)(group * (64 * BK / 16)), w = at + L::a_bytes / 16;
            barrier_wait(full + 8 * stage, phase);
            wgmma_fence();
#pragma unroll
            for (uint32_t k = 0; k < BK / 32; k++)
                wgmma<BN, SIGNED>::run(acc, descriptor_at<BK>(x + 2 * k), descriptor_at<BK>(w + 2 * k), s > 0 || k > 0);
            wgmma_commit();
            wgmma_wait<1>(); /* the step before has been read */
            if (s > 0 && lane == 0)
                barrier_arrive(empty + 8 * before);
            before = stage;
            if (++stage == STAGES) {
                stage = 0;
                phase ^= 1;
            }
        }
        wgmma_wait<0>();
        hold(acc);
        if (lane == 0)
            barrier_arrive(empty + 8 * before);
#pragma unroll
        for (int c = 0; c < BN; c += 64) {
            int n = t.n + c + lane % 4 * 16;
            finish_part<END>(a, channels_of<END>(a, n), acc + c / 2, t.m + group * 64 + warp * 16 + lane / 4, n);
        }
    }
}

template <int GROUPS, int BN, int BK, int STAGES, int BLOCKS, bool SIGNED, bool WINDOW, int END>
static __global__ void __launch_bounds__(layout<GROUPS, BN, BK, STAGES, BLOCKS>::threads, BLOCKS)
    wgmma_gemm(const __grid_constant__ CUtensorMap ta, const __grid_constant__ CUtensorMap tb,
               const __grid_constant__ ptq_k_gemm a)
{
    using L = layout<GROUPS, BN, BK, STAGES, BLOCKS>;
    extern __shared__ uint8_t raw[];
    uint8_t *smem = raw + (1024 - smem_address(raw) % 1024) % 1024;
    uint32_t ring = smem_address(smem), full = ring + L::ring, empty = full + 8 * STAGES;
    uint32_t mt = (uint32_t)((a.m + L::BM - 1) / L::BM), nt = (uint32_t)((a.n + BN - 1) / BN);
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, 4 * GROUPS); /* each warp tells for itself */
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async;" ::: "memory");
    }
    __syncthreads();
    let_next();
    after_previous();
    if (threadIdx.x >= 128 * GROUPS) {
        if (L::moves)
            asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 128 * GROUPS)
            feed<L, BN, BK, STAGES, WINDOW>(&ta, &tb, a, ring, full, empty, mt * nt, mt, nt);
    } else {
        if (L::moves)
            asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        multiply<GROUPS, BN, BK, STAGES, BLOCKS, SIGNED, END>(a, ring, full, empty, mt * nt, mt, nt);
    }
}

/* ---- host ---- */

template <int GROUPS, int BN, int BK, int STAGES, int BLOCKS, bool SIGNED, bool WINDOW, int END>
static ptq_status launch(ptq_dev *d, const ptq_k_gemm *a)
{
    using L = layout<GROUPS, BN, BK, STAGES, BLOCKS>;
    static_assert(BLOCKS * (L::total + 1024) <= 228 * 1024, "shared memory of a processor");
    auto kernel = wgmma_gemm<GROUPS, BN, BK, STAGES, BLOCKS, SIGNED, WINDOW, END>;
    CUtensorMap ta, tb;
    ptq_status s = operand_maps(&ta, &tb, a, WINDOW, BK, L::BM, BN);
    if (s != PTQ_OK)
        return s;
    int64_t tiles = (a->m + L::BM - 1) / L::BM * ((a->n + BN - 1) / BN), most = (int64_t)BLOCKS * ptq_dev_processors(d);
    launch_early(kernel, (unsigned)(tiles < most ? tiles : most), L::threads, L::total, L::total, d, ta, tb,
                 ptq_k_gemm_ends(a));
    return ptq_dev_launched(d, "wgmma_gemm");
}

template <int GROUPS, int BN, int BK, int STAGES, int BLOCKS, bool WINDOW, int END>
static ptq_status launch_type(ptq_dev *d, const ptq_k_gemm *a)
{
    return a->x_signed ? launch<GROUPS, BN, BK, STAGES, BLOCKS, true, WINDOW, END>(d, a)
                       : launch<GROUPS, BN, BK, STAGES, BLOCKS, false, WINDOW, END>(d, a);
}

#endif
