/* SPDX-License-Identifier: Apache-2.0 */
/* Integer products on Hopper: one warp feeds a ring of shared-memory stages through the tensor copy
 * engine, two warpgroups of 64 rows each multiply out of it. Blocks are persistent and take tiles
 * in an order that keeps both operands in the second-level cache. A product with one tap reads its
 * rows as a matrix; a convolution reads windows (im2col mode), whose pixels outside the input are
 * zero bytes, so that it needs a zero point of 0 or no padding. */
#include "lib/gpu/wgmma.cuh"

enum { BM = 128, CONSUMERS = 2, THREADS = 128 * (CONSUMERS + 1), GROUP = 16 };

template <int BN, int BK, int STAGES> struct layout {
    static constexpr int a_bytes = BM * BK, b_bytes = BN * BK, stage = a_bytes + b_bytes;
    static constexpr int out_cols = BN < 128 ? BN : 128;
    static constexpr int out_stride = out_cols + 16, out_bytes = 16 * out_stride; /* of one warp */
    static constexpr int ring = STAGES * stage;
    static constexpr int total = 1024 + ring + 4 * CONSUMERS * out_bytes + 2 * STAGES * 8;
    static_assert(total <= 227 * 1024, "shared memory of a block");
};

struct place { /* of a tile */
    int64_t m;
    int n;
};

/* Tiles in groups of GROUP rows of tiles: down a group first, then to the next column. */
static __device__ __forceinline__ place place_of(int64_t tile, int64_t mt, int nt, int bn)
{
    int64_t per = (int64_t)GROUP * nt, first = tile / per * GROUP, in = tile % per;
    int64_t rows = mt - first < GROUP ? mt - first : GROUP;
    return {(first + in % rows) * BM, (int)(in / rows) * bn};
}

template <int BN, int BK, int STAGES, bool WINDOW>
static __device__ __forceinline__ void feed(const CUtensorMap *ta, const CUtensorMap *tb, const ptq_k_gemm &a,
                                            uint32_t ring, uint32_t full, uint32_t empty, int64_t tiles, int64_t mt,
                                            int nt)
{
    using L = layout<BN, BK, STAGES>;
    int blocks = (a.c + BK - 1) / BK, stage = 0;
    uint32_t phase = 0;
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        place t = place_of(tile, mt, nt, BN);
        int w0 = 0, h0 = 0, image = 0;
        if (WINDOW) {
            int64_t area = (int64_t)a.out_h * a.out_w, q = t.m % area;
            image = (int)(t.m / area);
            h0 = (int)(q / a.out_w) * a.stride_h - a.pad_h;
            w0 = (int)(q % a.out_w) * a.stride_w - a.pad_w;
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
                        tensor_copy_2d(dst, ta, full + 8 * stage, b * BK, (int)t.m);
                    tensor_copy_2d(dst + L::a_bytes, tb, full + 8 * stage, (kh * a.kernel_w + kw) * a.c + b * BK, t.n);
                    if (++stage == STAGES) {
                        stage = 0;
                        phase ^= 1;
                    }
                }
    }
}

/* One warp's 16 rows of OUT columns: to bytes in its own piece of shared memory, then out in whole
 * vectors. acc holds the row pair of a lane: columns 8 j + 2 (lane % 4) and the next, rows lane / 4
 * and eight below. */
template <int OUT>
static __device__ __forceinline__ void store_columns(const ptq_k_gemm &a, const int32_t *acc, int64_t m0, int n0,
                                                     uint8_t *out)
{
    constexpr int stride = OUT + 16, per_row = OUT / 16;
    int lane = (int)threadIdx.x % 32;
    float lo = (float)(a.lo - a.zy), hi = (float)(a.hi - a.zy);
#pragma unroll
    for (int j = 0; j < OUT / 8; j++) {
        int col = j * 8 + lane % 4 * 2, n = n0 + col;
        if (n >= a.npad)
            continue;
        int2 b = *(const int2 *)(a.bias + n);
        float2 s = *(const float2 *)(a.mult + n);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int r = lane / 4 + half * 8;
            int32_t v0 = (int32_t)((uint32_t)acc[4 * j + 2 * half] + (uint32_t)b.x);
            int32_t v1 = (int32_t)((uint32_t)acc[4 * j + 2 * half + 1] + (uint32_t)b.y);
            if (a.float_out) {
                float *y = (float *)a.y + (m0 + r) * a.n + n;
                if (m0 + r < a.m && n < a.n)
                    y[0] = (float)v0 * s.x;
                if (m0 + r < a.m && n + 1 < a.n)
                    y[1] = (float)v1 * s.y;
                continue;
            }
            uint32_t pair = requantize_byte(v0, s.x, lo, hi, a.zy) | requantize_byte(v1, s.y, lo, hi, a.zy) << 8;
            *(uint16_t *)(out + r * stride + col) = (uint16_t)pair;
        }
    }
    if (a.float_out)
        return;
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * per_row; i += 32) {
        int r = i / per_row, col = i % per_row * 16;
        if (m0 + r >= a.m || n0 + col >= a.n)
            continue;
        uint8_t *y = (uint8_t *)a.y + (m0 + r) * a.n + n0 + col;
        const uint8_t *from = out + r * stride + col;
        if (a.n % 16 == 0)
            *(uint4 *)y = *(const uint4 *)from;
        else
            for (int e = 0; e < 16 && n0 + col + e < a.n; e++)
                y[e] = from[e];
    }
    __syncwarp(); /* the next columns are written here again */
}

template <int BN, int BK, int STAGES, bool SIGNED>
static __device__ __forceinline__ void multiply(const ptq_k_gemm &a, uint32_t ring, uint32_t full, uint32_t empty,
                                                uint8_t *out, int64_t tiles, int64_t mt, int nt)
{
    using L = layout<BN, BK, STAGES>;
    int group = (int)threadIdx.x / 128 - 1, warp = (int)threadIdx.x / 32 % 4, lane = (int)threadIdx.x % 32;
    int steps = a.kernel_h * a.kernel_w * ((a.c + BK - 1) / BK), stage = 0;
    uint32_t phase = 0;
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int32_t acc[BN / 2];
        int before = 0;
        for (int s = 0; s < steps; s++) {
            uint32_t at = ring + (uint32_t)(stage * L::stage);
            barrier_wait(full + 8 * stage, phase);
            uint64_t da = descriptor<BK>(at + (uint32_t)(group * 64 * BK)), db = descriptor<BK>(at + L::a_bytes);
            wgmma_fence();
#pragma unroll
            for (int k = 0; k < BK / 32; k++)
                wgmma<BN, SIGNED>::run(acc, da + 2 * k, db + 2 * k, s > 0 || k > 0);
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
        if (lane == 0)
            barrier_arrive(empty + 8 * before);
        place t = place_of(tile, mt, nt, BN);
#pragma unroll
        for (int c = 0; c < BN; c += L::out_cols)
            store_columns<L::out_cols>(a, acc + c / 2, t.m + group * 64 + warp * 16, t.n + c,
                                       out + (group * 4 + warp) * L::out_bytes);
    }
}

template <int BN, int BK, int STAGES, bool SIGNED, bool WINDOW>
static __global__ void __launch_bounds__(THREADS, 1)
    wgmma_gemm(const __grid_constant__ CUtensorMap ta, const __grid_constant__ CUtensorMap tb,
               const __grid_constant__ ptq_k_gemm a)
{
    using L = layout<BN, BK, STAGES>;
    extern __shared__ uint8_t raw[];
    uint8_t *smem = raw + (1024 - smem_address(raw) % 1024) % 1024;
    uint32_t ring = smem_address(smem), full = ring + L::ring, empty = full + 8 * STAGES;
    uint8_t *out = smem + L::ring + 16 * STAGES;
    int64_t mt = (a.m + BM - 1) / BM;
    int nt = (a.n + BN - 1) / BN;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(full + 8 * i, 1);
            barrier_init(empty + 8 * i, 4 * CONSUMERS); /* each warp tells for itself */
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async;" ::: "memory");
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0)
            feed<BN, BK, STAGES, WINDOW>(&ta, &tb, a, ring, full, empty, mt * nt, mt, nt);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        multiply<BN, BK, STAGES, SIGNED>(a, ring, full, empty, out, mt * nt, mt, nt);
    }
}

/* ---- host ---- */

/* Entry points of the driver, found through the runtime: nothing links to libcuda. */
template <typename F> static F driver(const char *name)
{
    void *f = nullptr;
    cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion(name, &f, 12000, cudaEnableDefault, &found) != cudaSuccess ||
        found != cudaDriverEntryPointSuccess)
        return nullptr;
    return (F)f;
}

static bool matrix_map(CUtensorMap *map, const void *base, uint64_t k, uint64_t rows, int box_k, int box_rows)
{
    static auto encode = driver<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
    cuuint64_t dims[2] = {k, rows}, strides[1] = {k};
    cuuint32_t box[2] = {(cuuint32_t)box_k, (cuuint32_t)box_rows}, step[2] = {1, 1};
    return encode && encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, (void *)base, dims, strides, box, step,
                            CU_TENSOR_MAP_INTERLEAVE_NONE,
                            box_k == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
                            CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

/* The corners cut the input so that exactly out_h x out_w windows start in it. */
static bool window_map(CUtensorMap *map, const ptq_k_gemm *a, int box_k)
{
    static auto encode = driver<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
    uint64_t images = (uint64_t)(a->m / ((int64_t)a->out_h * a->out_w));
    cuuint64_t c = (cuuint64_t)a->c, w = (cuuint64_t)a->in_w, h = (cuuint64_t)a->in_h;
    cuuint64_t dims[4] = {c, w, h, images}, strides[3] = {c, c * w, c * w * h};
    int lower[2] = {-a->pad_w, -a->pad_h};
    int upper[2] = {(a->out_w - 1) * a->stride_w - a->pad_w - (a->in_w - 1),
                    (a->out_h - 1) * a->stride_h - a->pad_h - (a->in_h - 1)};
    cuuint32_t step[4] = {1, (cuuint32_t)a->stride_w, (cuuint32_t)a->stride_h, 1};
    return encode && encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 4, (void *)a->x, dims, strides, lower, upper,
                            (cuuint32_t)box_k, BM, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                            box_k == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
                            CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

static bool is_matrix(const ptq_k_gemm *a)
{
    return a->kernel_h == 1 && a->kernel_w == 1 && a->stride_h == 1 && a->stride_w == 1 && a->pad_h == 0 &&
           a->pad_w == 0 && a->out_h == a->in_h && a->out_w == a->in_w;
}

template <int BN, int BK, int STAGES, bool SIGNED, bool WINDOW>
static ptq_status launch(ptq_dev *d, const ptq_k_gemm *a)
{
    using L = layout<BN, BK, STAGES>;
    auto kernel = wgmma_gemm<BN, BK, STAGES, SIGNED, WINDOW>;
    CUtensorMap ta, tb;
    bool good = WINDOW ? window_map(&ta, a, BK) : matrix_map(&ta, a->x, (uint64_t)a->c, (uint64_t)a->m, BK, BM);
    if (!good || !matrix_map(&tb, a->w, (uint64_t)a->kpad, (uint64_t)a->npad, BK, BN))
        return PTQ_ERR_DEVICE;
    int64_t tiles = (a->m + BM - 1) / BM * ((a->n + BN - 1) / BN), most = ptq_dev_processors(d);
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, L::total);
    kernel<<<(unsigned)(tiles < most ? tiles : most), THREADS, L::total, (cudaStream_t)ptq_dev_stream(d)>>>(ta, tb, *a);
    return ptq_dev_launched(d, "wgmma_gemm");
}

template <int BN, int BK, int STAGES> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    if (is_matrix(a))
        return a->x_signed ? launch<BN, BK, STAGES, true, false>(d, a) : launch<BN, BK, STAGES, false, false>(d, a);
    return a->x_signed ? launch<BN, BK, STAGES, true, true>(d, a) : launch<BN, BK, STAGES, false, true>(d, a);
}

static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    if (ptq_dev_capability(d) != 90 || a->c % 16 != 0 || a->m >= INT32_MAX - BM || (uintptr_t)a->x % 16 != 0)
        return false;
    if (is_matrix(a))
        return true;
    /* Limits of the window mode: corners are bytes, steps at most 8; padding reads as zero. */
    int upper_w = (a->out_w - 1) * a->stride_w - a->pad_w - (a->in_w - 1);
    int upper_h = (a->out_h - 1) * a->stride_h - a->pad_h - (a->in_h - 1);
    return (a->zx == 0 || !a->padded) && a->stride_h <= 8 && a->stride_w <= 8 && a->pad_h < 128 && a->pad_w < 128 &&
           upper_w > -128 && upper_w < 128 && upper_h > -128 && upper_h < 128 &&
           (a->kernel_w - 1) * a->dil_w < 256 && (a->kernel_h - 1) * a->dil_h < 256;
}

extern "C" {
extern const ptq_k_gemm_row ptq_k_gemm_wgmma_128x256, ptq_k_gemm_wgmma_128x128, ptq_k_gemm_wgmma_128x64;
const ptq_k_gemm_row ptq_k_gemm_wgmma_128x256 = {"wgmma_128x256", supports, run<256, 128, 4>};
const ptq_k_gemm_row ptq_k_gemm_wgmma_128x128 = {"wgmma_128x128", supports, run<128, 128, 5>};
const ptq_k_gemm_row ptq_k_gemm_wgmma_128x64 = {"wgmma_128x64", supports, run<64, 64, 8>};
}
