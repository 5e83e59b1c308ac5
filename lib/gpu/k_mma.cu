/* SPDX-License-Identifier: Apache-2.0 */
/* Integer products by mma.sync: a block computes BM pixels x BN channels, k in steps of 64 bytes
 * through a ring of shared-memory stages filled by cp.async. Chunks of 16 bytes lie swizzled
 * (chunk ^ row / 2), so that ldmatrix meets every bank once. Runs on compute capability 8.0 and up. */
#include "lib/gpu/mma.cuh"

enum { BK = 64, CHUNKS = BK / 16 };

/* Where chunk c of row r lies in a tile of 64-byte rows. */
static __device__ __forceinline__ uint32_t swizzle(int r, int c)
{
    return (uint32_t)(r * BK + ((c ^ (r >> 1)) & (CHUNKS - 1)) * 16);
}

template <int BM, int BN, int WM, int WN, int STAGES> struct shape {
    static constexpr int threads = 32 * (BM / WM) * (BN / WN);
    static constexpr int rows = threads / CHUNKS; /* rows that one pass of all threads copies */
    static constexpr int a_passes = BM / rows, b_passes = BN / rows;
    static constexpr int stage_bytes = (BM + BN) * BK;
    static constexpr int out_stride = BN + 16;
    static constexpr int ring_bytes = STAGES * stage_bytes;
    static constexpr int smem_bytes = ring_bytes > BM * out_stride ? ring_bytes : BM * out_stride;
    static_assert(BM % rows == 0 && BN % rows == 0, "every pass is full");
};

/* The rows of A that one thread copies, and its place in k. */
template <int PASSES> struct cursor {
    int64_t base[PASSES];
    int h[PASSES], w[PASSES]; /* input position of tap 0 */
    int c, kh, kw;

    __device__ __forceinline__ void start(const ptq_k_gemm &a, int64_t row, int step, int chunk)
    {
        int area = a.out_h * a.out_w;
#pragma unroll
        for (int i = 0; i < PASSES; i++) {
            int64_t p = row + (int64_t)i * step;
            bool valid = p < a.m;
            int64_t n = valid ? p / area : 0;
            int q = valid ? (int)(p - n * area) : 0;
            h[i] = valid ? q / a.out_w * a.stride_h - a.pad_h : -(1 << 29); /* outside for every tap */
            w[i] = q % a.out_w * a.stride_w - a.pad_w;
            base[i] = ((n * a.in_h + h[i]) * a.in_w + w[i]) * a.c;
        }
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
    __device__ __forceinline__ const uint8_t *at(const ptq_k_gemm &a, int i, int64_t off) const
    {
        bool in = (unsigned)(h[i] + kh * a.dil_h) < (unsigned)a.in_h &&
                  (unsigned)(w[i] + kw * a.dil_w) < (unsigned)a.in_w && kh < a.kernel_h;
        return in ? a.x + base[i] + off : a.zero;
    }
    __device__ __forceinline__ int64_t offset(const ptq_k_gemm &a) const
    {
        return ((int64_t)kh * a.dil_h * a.in_w + kw * a.dil_w) * a.c + c;
    }
};

template <int BM, int BN, int WM, int WN, int STAGES, bool SIGNED>
static __global__ void __launch_bounds__(32 * (BM / WM) * (BN / WN))
    mma_gemm(const __grid_constant__ ptq_k_gemm a)
{
    using S = shape<BM, BN, WM, WN, STAGES>;
    constexpr int MF = WM / 16, NF = WN / 8;
    extern __shared__ __align__(128) uint8_t smem[];
    int tid = (int)threadIdx.x, lane = tid % 32, warp = tid / 32;
    int ntiles = (a.n + BN - 1) / BN;
    int64_t m0 = (int64_t)(blockIdx.x / ntiles) * BM;
    int n0 = (int)(blockIdx.x % ntiles) * BN;
    int wm = warp / (BN / WN) * WM, wn = warp % (BN / WN) * WN;
    int row = tid / CHUNKS, chunk = tid % CHUNKS;
    cursor<S::a_passes> cur;
    cur.start(a, m0 + row, S::rows, chunk);
    const int8_t *wsrc = a.w + (int64_t)(n0 + row) * a.kpad + chunk * 16;
    uint32_t ring = smem_address(smem);
    int steps = a.kpad / BK;

    auto load = [&](int step) {
        uint32_t sa = ring + (uint32_t)(step % STAGES * S::stage_bytes), sb = sa + BM * BK;
        int64_t off = cur.offset(a);
#pragma unroll
        for (int i = 0; i < S::a_passes; i++)
            copy16_async(sa + swizzle(row + i * S::rows, chunk), cur.at(a, i, off));
#pragma unroll
        for (int i = 0; i < S::b_passes; i++)
            copy16_async(sb + swizzle(row + i * S::rows, chunk),
                         wsrc + (int64_t)i * S::rows * a.kpad + (int64_t)step * BK);
        cur.c += BK;
        cur.settle(a);
    };

    int32_t acc[MF][NF][4] = {};
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
    wait_async<0>();
    __syncthreads(); /* the ring becomes the output tile */

    float lo = (float)(a.lo - a.zy), hi = (float)(a.hi - a.zy);
#pragma unroll
    for (int j = 0; j < NF; j++) {
        int col = wn + j * 8 + lane % 4 * 2, n = n0 + col; /* npad covers both columns */
        int32_t b0 = a.bias[n], b1 = a.bias[n + 1];
        float s0 = a.mult[n], s1 = a.mult[n + 1];
#pragma unroll
        for (int i = 0; i < MF; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int r = wm + i * 16 + lane / 4 + half * 8;
                int32_t v0 = (int32_t)((uint32_t)acc[i][j][2 * half] + (uint32_t)b0);
                int32_t v1 = (int32_t)((uint32_t)acc[i][j][2 * half + 1] + (uint32_t)b1);
                if (a.float_out) {
                    float *y = (float *)a.y + (m0 + r) * a.n;
                    if (m0 + r < a.m && n < a.n)
                        y[n] = (float)v0 * s0;
                    if (m0 + r < a.m && n + 1 < a.n)
                        y[n + 1] = (float)v1 * s1;
                    continue;
                }
                uint32_t pair = requantize_byte(v0, s0, lo, hi, a.zy) | requantize_byte(v1, s1, lo, hi, a.zy) << 8;
                *(uint16_t *)(smem + r * S::out_stride + col) = (uint16_t)pair;
            }
    }
    if (a.float_out)
        return;
    __syncthreads();
    bool wide = a.n % 16 == 0;
    for (int i = tid; i < BM * (BN / 16); i += S::threads) {
        int r = i / (BN / 16), col = i % (BN / 16) * 16;
        if (m0 + r >= a.m || n0 + col >= a.n)
            continue;
        uint8_t *y = (uint8_t *)a.y + (m0 + r) * a.n + n0 + col;
        const uint8_t *from = smem + r * S::out_stride + col;
        if (wide)
            *(uint4 *)y = *(const uint4 *)from;
        else
            for (int e = 0; e < 16 && n0 + col + e < a.n; e++)
                y[e] = from[e];
    }
}

template <int BM, int BN, int WM, int WN, int STAGES, bool SIGNED>
static ptq_status launch(ptq_dev *d, const ptq_k_gemm *a)
{
    using S = shape<BM, BN, WM, WN, STAGES>;
    auto kernel = mma_gemm<BM, BN, WM, WN, STAGES, SIGNED>;
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::smem_bytes);
    int64_t blocks = (a->m + BM - 1) / BM * ((a->n + BN - 1) / BN);
    kernel<<<(unsigned)blocks, S::threads, S::smem_bytes, (cudaStream_t)ptq_dev_stream(d)>>>(*a);
    return ptq_dev_launched(d, "mma_gemm");
}

template <int BM, int BN, int WM, int WN, int STAGES>
static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    return a->x_signed ? launch<BM, BN, WM, WN, STAGES, true>(d, a) : launch<BM, BN, WM, WN, STAGES, false>(d, a);
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return ptq_dev_capability(d) >= 80 && a->c % 16 == 0 && (a->m + 63) / 64 * (a->npad / 64) < INT32_MAX;
}

extern "C" {
extern const ptq_k_gemm_row ptq_k_gemm_mma_128x128, ptq_k_gemm_mma_128x64, ptq_k_gemm_mma_64x64;
const ptq_k_gemm_row ptq_k_gemm_mma_128x128 = {"mma_128x128", supports, run<128, 128, 64, 32, 4>};
const ptq_k_gemm_row ptq_k_gemm_mma_128x64 = {"mma_128x64", supports, run<128, 64, 32, 32, 4>};
const ptq_k_gemm_row ptq_k_gemm_mma_64x64 = {"mma_64x64", supports, run<64, 64, 32, 32, 4>};
}
