/* SPDX-License-Identifier: Apache-2.0 */
/* Integer products by mma.sync: a block computes BM pixels x BN channels, k in steps of 64 bytes
 * through a ring of shared-memory stages filled by cp.async. Chunks of 16 bytes lie swizzled
 * (chunk ^ row / 2), so that ldmatrix meets every bank once. Runs on compute capability 8.0 and up. Rows are
 * made in k_mma.cu, k_mma_tail.cu and k_mma_fast.cu. */
#ifndef PTQ_GPU_MMA_GEMM_CUH
#define PTQ_GPU_MMA_GEMM_CUH

#include <type_traits>

#include "lib/gpu/parts.cuh"

enum { BK = 64, CHUNKS = BK / 16 };

/* Where chunk c of row r lies in a tile of 64-byte rows. */
static __device__ __forceinline__ uint32_t swizzle(int r, int c)
{
    return (uint32_t)(r * BK + ((c ^ (r >> 1)) & (CHUNKS - 1)) * 16);
}

template <int BM, int BN, int WM, int WN, int STAGES> struct shape {
    static constexpr int threads = 32 * (BM / WM) * (BN / WN);
    static constexpr int step = threads / CHUNKS; /* rows that one pass of all threads copies */
    static constexpr int a_passes = BM / step, b_passes = BN / step;
    static constexpr int stage_bytes = (BM + BN) * BK;
    static constexpr int smem_bytes = STAGES * stage_bytes;
    static_assert(BM % step == 0 && BN % step == 0 && WN % 64 == 0, "every pass is full");
};

/* The rows of A that one thread copies, and its place in k: chunks of 16 channels of one tap. */
template <int PASSES> struct rows {
    int64_t base[PASSES];
    int h[PASSES], w[PASSES]; /* input position of tap 0 */

    __device__ __forceinline__ void start(const ptq_k_gemm &a, uint32_t row, int step)
    {
        uint32_t area = (uint32_t)(a.out_h * a.out_w), width = (uint32_t)a.out_w;
#pragma unroll
        for (int i = 0; i < PASSES; i++) {
            uint32_t p = row + (uint32_t)(i * step), n = p / area, q = p - n * area, y = q / width;
            h[i] = p < a.m ? (int)y * a.stride_h - a.pad_h : -(1 << 29); /* outside for every tap */
            w[i] = (int)(q - y * width) * a.stride_w - a.pad_w;
            base[i] = (((int64_t)n * a.in_h + h[i]) * a.in_w + w[i]) * a.c;
        }
    }
    __device__ __forceinline__ bool inside(const ptq_k_gemm &a, int i, int kh, int kw) const
    {
        return (unsigned)(h[i] + kh * a.dil_h) < (unsigned)a.in_h &&
               (unsigned)(w[i] + kw * a.dil_w) < (unsigned)a.in_w && kh < a.kernel_h;
    }
};

template <int PASSES> struct channels_cursor : rows<PASSES> {
    int c, kh, kw;

    __device__ __forceinline__ void start(const ptq_k_gemm &a, uint32_t row, int step, int chunk)
    {
        rows<PASSES>::start(a, row, step);
        c = chunk * 16;
        kh = kw = 0;
        settle(a);
    }
    __device__ __forceinline__ void settle(const ptq_k_gemm &a)
    {
        while (c >= a.c) {
            c -= a.c;
            if (++kw == a.kernel_w) {
                kw = 0;
                kh++;
            }
        }
    }
    __device__ __forceinline__ void advance(const ptq_k_gemm &a)
    {
        c += BK;
        settle(a);
    }
    __device__ __forceinline__ void copy(const ptq_k_gemm &a, int i, uint32_t dst) const
    {
        int64_t off = ((int64_t)kh * a.dil_h * a.in_w + kw * a.dil_w) * a.c + c;
        copy16_async(dst, this->inside(a, i, kh, kw) ? a.x + this->base[i] + off : a.zero);
    }
};

/* Four channels: a chunk is four taps side by side; the kernel's width is rounded up to four taps,
 * whose weights are zero, so that it does not matter what they read. */
template <int PASSES> struct pixels_cursor : rows<PASSES> {
    int kh, kw;

    __device__ __forceinline__ void start(const ptq_k_gemm &a, uint32_t row, int step, int chunk)
    {
        rows<PASSES>::start(a, row, step);
        kh = 0;
        kw = 4 * chunk;
        settle(a);
    }
    __device__ __forceinline__ void settle(const ptq_k_gemm &a)
    {
        int width = (a.kernel_w + 3) & ~3;
        while (kw >= width) {
            kw -= width;
            kh++;
        }
    }
    __device__ __forceinline__ void advance(const ptq_k_gemm &a)
    {
        kw += BK / 4;
        settle(a);
    }
    __device__ __forceinline__ void copy(const ptq_k_gemm &a, int i, uint32_t dst) const
    {
        const uint8_t *src = a.x + this->base[i] + ((int64_t)kh * a.dil_h * a.in_w + kw * a.dil_w) * 4;
#pragma unroll
        for (int e = 0; e < 4; e++)
            copy4_async(dst + 4 * e, this->inside(a, i, kh, kw + e) ? src + (int64_t)e * a.dil_w * 4 : a.zero);
    }
};

/* What one stage adds to a warp's WM x WN; sa, sb: addresses of its rows and columns. */
template <int WM, int WN, bool SIGNED>
static __device__ __forceinline__ void multiply_stage(int32_t (&acc)[WM / 16][WN / 8][4], uint32_t sa, uint32_t sb,
                                                      int wm, int wn)
{
    constexpr int MF = WM / 16, NF = WN / 8;
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < BK / 32; k++) {
        uint32_t fa[MF][4], fb[NF / 2][4];
#pragma unroll
        for (int i = 0; i < MF; i++)
            load_matrix4(fa[i], sa + swizzle(wm + i * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
        for (int j = 0; j < NF / 2; j++)
            load_matrix4(fb[j], sb + swizzle(wn + j * 16 + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
#pragma unroll
        for (int i = 0; i < MF; i++)
#pragma unroll
            for (int j = 0; j < NF; j++)
                mma_16x8x32<SIGNED>(acc[i][j], fa[i], fb[j / 2][j % 2 * 2], fb[j / 2][j % 2 * 2 + 1]);
    }
}

template <int BM, int BN, int WM, int WN, int STAGES, bool SIGNED, bool PIXELS, int END>
static __global__ void __launch_bounds__(32 * (BM / WM) * (BN / WN), 2)
    mma_gemm(const __grid_constant__ ptq_k_gemm a)
{
    using S = shape<BM, BN, WM, WN, STAGES>;
    constexpr int MF = WM / 16, NF = WN / 8;
    extern __shared__ __align__(128) uint8_t smem[];
    int tid = (int)threadIdx.x, lane = tid % 32, warp = tid / 32;
    unsigned ntiles = (unsigned)((a.n + BN - 1) / BN);
    int64_t m0 = (int64_t)(blockIdx.x / ntiles) * BM;
    int n0 = (int)(blockIdx.x % ntiles) * BN;
    int wm = warp / (BN / WN) * WM, wn = warp % (BN / WN) * WN;
    int row = tid / CHUNKS, chunk = tid % CHUNKS;
    std::conditional_t<PIXELS, pixels_cursor<S::a_passes>, channels_cursor<S::a_passes>> cur;
    cur.start(a, (uint32_t)m0 + (uint32_t)row, S::step, chunk);
    const int8_t *wsrc = a.w + (int64_t)(n0 + row) * a.kpad + chunk * 16;
    uint32_t ring = smem_address(smem);
    int steps = a.kpad / BK;

    auto load = [&](int step) {
        uint32_t sa = ring + (uint32_t)(step % STAGES * S::stage_bytes), sb = sa + BM * BK;
#pragma unroll
        for (int i = 0; i < S::a_passes; i++)
            cur.copy(a, i, sa + swizzle(row + i * S::step, chunk));
#pragma unroll
        for (int i = 0; i < S::b_passes; i++)
            copy16_async(sb + swizzle(row + i * S::step, chunk),
                         wsrc + (int64_t)i * S::step * a.kpad + (int64_t)step * BK);
        cur.advance(a);
    };

    int32_t acc[MF][NF][4] = {};
#pragma unroll
    for (int i = 0; i < MF; i++)
#pragma unroll
        for (int j = 0; j < NF; j += 8)
            prefetch_end<END>(a, m0 + wm + i * 16 + lane / 4, n0 + wn + j * 8 + lane % 4 * 16);
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps)
            load(s);
        commit_async();
    }
    for (int s = 0; s < steps; s++) {
        wait_async<STAGES - 2>();
        __syncthreads();
        if (s + STAGES - 1 < steps)
            load(s + STAGES - 1);
        commit_async();
        uint32_t sa = ring + (uint32_t)(s % STAGES * S::stage_bytes), sb = sa + BM * BK;
        multiply_stage<WM, WN, SIGNED>(acc, sa, sb, wm, wn);
    }
#pragma unroll
    for (int i = 0; i < MF; i++)
#pragma unroll
        for (int j = 0; j < NF; j += 8) {
            int n = n0 + wn + j * 8 + lane % 4 * 16;
            finish_part<END, false>(a, channels_of<END>(a, n), &acc[i][j][0], m0 + wm + i * 16 + lane / 4, n);
        }
}

template <int BM, int BN, int WM, int WN, int STAGES, bool SIGNED, bool PIXELS, int END>
static ptq_status launch(ptq_dev *d, const ptq_k_gemm *a)
{
    using S = shape<BM, BN, WM, WN, STAGES>;
    auto kernel = mma_gemm<BM, BN, WM, WN, STAGES, SIGNED, PIXELS, END>;
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::smem_bytes);
    int64_t blocks = (a->m + BM - 1) / BM * ((a->n + BN - 1) / BN);
    kernel<<<(unsigned)blocks, S::threads, S::smem_bytes, (cudaStream_t)ptq_dev_stream(d)>>>(ptq_k_gemm_ends(a));
    return ptq_dev_launched(d, "mma_gemm");
}

template <int BM, int BN, int WM, int WN, int STAGES, bool PIXELS, int END>
static ptq_status launch_type(ptq_dev *d, const ptq_k_gemm *a)
{
    return a->x_signed ? launch<BM, BN, WM, WN, STAGES, true, PIXELS, END>(d, a)
                       : launch<BM, BN, WM, WN, STAGES, false, PIXELS, END>(d, a);
}

static bool fits(const ptq_dev *d, const ptq_k_gemm *a)
{
    return ptq_dev_capability(d) >= 80 && a->m < INT32_MAX - 256 && (a->m + 63) / 64 * (a->npad / 64) < INT32_MAX;
}

#endif
