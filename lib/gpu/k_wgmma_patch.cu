/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions 3 x 3 of few channels on Hopper. The other rows bring every tap of every pixel into shared memory anew,
 * and the second-level cache is what limits them. Here a block keeps the weights of 64 channels, and the input under
 * some lines of the output comes once: the copy engine writes it with the padding around it, lines one behind the
 * other, 16 channels apart. In that order (no swizzle: 8 pixels of 16 bytes are one core matrix) the pixels that a tap
 * reads are those of the first tap, moved by a number of pixels, so that the taps are nothing but other start
 * addresses. Pixels are counted through lines with their padding; what is computed for the padding is not written.
 *
 * GROUPS warpgroups take 64 pixels each in turns, while the next lines arrive. */
#include "lib/gpu/parts.cuh"
#include "lib/gpu/wgmma.cuh"

enum { TAPS = 3, BM = 64, BN = 64, BK = 128, GROUPS = 4, BUFFERS = 2, SHARED = 227 * 1024 };

/* How a product is cut: `lines` of the output at once, as `blocks` of BM pixels. */
struct cut {
    int lines, width, blocks, tiles, items, columns; /* tiles in an image, items in all */
    uint32_t magic;                                  /* 2^32 / width, rounded up */
};

/* Where things lie in shared memory, from a multiple of 1024 on: weights, buffers, tables, barriers. A last block reads
 * up to 63 pixels behind a buffer: of the tables, where it is the last one. */
struct layout {
    int steps, chunk, buffer, buffers, tables, barriers, total; /* chunk: bytes of 16 channels */
    __host__ __device__ __forceinline__ layout(int c, const cut &t)
    {
        steps = (TAPS * TAPS * c + BK - 1) / BK;
        chunk = (t.lines + TAPS - 1) * t.width * 16;
        buffer = (c / 16 * chunk + 1023) / 1024 * 1024;
        buffers = steps * BN * BK;
        tables = buffers + BUFFERS * buffer;
        barriers = tables + 1024;
        total = 1024 + barriers + (2 * BUFFERS + 1) * 8;
    }
};

static __device__ __forceinline__ void copy_lines(uint32_t dst, const CUtensorMap *map, uint32_t bar, int w, int h, int n)
{
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
                 "[%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(dst),
                 "l"(map), "r"(bar), "r"(0), "r"(w), "r"(h), "r"(0), "r"(n)
                 : "memory");
}

/* Core matrices of 8 pixels by 16 bytes, 128 bytes apart; the second 16 bytes of k `chunk` units of 16 bytes away. */
static __device__ __forceinline__ uint64_t pixels_at(uint32_t units, uint32_t chunk)
{
    return (uint64_t)(128 / 16) << 32 | (units | chunk << 16);
}

struct ring {
    uint32_t at, full, empty; /* addresses of the buffers and their barriers */
    int buffer, which;        /* bytes; the next one */
    uint32_t phase;
    __device__ __forceinline__ uint32_t here() const { return at + (uint32_t)(which * buffer); }
    __device__ __forceinline__ void advance()
    {
        which = which + 1 == BUFFERS ? 0 : which + 1;
        phase ^= which == 0;
    }
};

static __device__ __forceinline__ void feed(const CUtensorMap *ta, const ptq_k_gemm &a, const cut &t, ring r, uint32_t nbytes,
                                            int first, int step)
{
    for (int i = first; i < t.items; i += step, r.advance()) {
        int image = i / t.tiles, y = (i - image * t.tiles) * t.lines;
        barrier_wait(r.empty + 8 * r.which, r.phase ^ 1);
        barrier_expect(r.full + 8 * r.which, nbytes);
        copy_lines(r.here(), ta, r.full + 8 * r.which, -a.pad_w, y - a.pad_h, image);
    }
}

/* Codes of pixels p and p + 8 of an item whose first line is y0, 16 channels from n on. */
static __device__ __forceinline__ void finish_pixels(const ptq_k_gemm &a, const channels &c, const cut &t,
                                                     const int32_t *acc, int image, int y0, int p, int n)
{
    uint8_t *y[2];
    uint32_t out[2][4];
#pragma unroll
    for (int row = 0; row < 2; row++) {
        int line = (int)__umulhi((uint32_t)(p + 8 * row), t.magic), x = p + 8 * row - line * t.width;
        bool inside = x < a.out_w && line < t.lines && y0 + line < a.out_h && n < a.n;
        y[row] = inside ? (uint8_t *)a.y + (((int64_t)image * a.out_h + y0 + line) * a.out_w + x) * a.n + n : nullptr;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int4 b4 = c.bias(i);
        float4 m4 = c.mult(i);
        float mult[4] = {m4.x, m4.y, m4.z, m4.w};
        int32_t bias[4] = {b4.x, b4.y, b4.z, b4.w};
#pragma unroll
        for (int row = 0; row < 2; row++) {
            int32_t v[4];
#pragma unroll
            for (int e = 0; e < 4; e++)
                v[e] = biased(acc, row, 4 * i + e, bias[e]);
            out[row][i] = near4<false>(a, v, mult, 0);
        }
    }
#pragma unroll
    for (int row = 0; row < 2; row++)
        if (y[row])
            *(uint4 *)y[row] = make_uint4(out[row][0], out[row][1], out[row][2], out[row][3]);
}

template <int C, bool SIGNED>
static __device__ __forceinline__ void multiply_block(uint32_t pixels, uint32_t chunk, int width, uint32_t weights,
                                                      int32_t (&acc)[BN / 2])
{
    wgmma_fence();
#pragma unroll
    for (int tap = 0; tap < TAPS * TAPS; tap++)
#pragma unroll
        for (int k = 0; k < C; k += 32) {
            uint32_t x = pixels + (uint32_t)(tap / TAPS * width + tap % TAPS) + (uint32_t)(k / 16) * chunk;
            int at = tap * C + k;
            wgmma<BN, SIGNED>::run(acc, pixels_at(x, chunk),
                                   descriptor_at<BK>(weights + (uint32_t)(at / BK * (BN * BK / 16) + at % BK / 16)),
                                   tap > 0 || k > 0);
        }
    wgmma_commit();
    wgmma_wait<0>();
    hold(acc);
}

template <int C, bool SIGNED>
static __device__ __forceinline__ void multiply(const ptq_k_gemm &a, const cut &t, const int32_t *tables, uint32_t weights,
                                                ring r, uint32_t chunk, int first, int step, int n0)
{
    int lane = (int)threadIdx.x % 32, q = lane % 4 * 16, block = warpgroup();
    int p = (int)threadIdx.x / 32 % 4 * 16 + lane / 4;
    channels c(tables, (const float *)tables + BN, nullptr, q);
    for (int i = first; i < t.items; i += step, r.advance()) {
        int image = i / t.tiles, y0 = (i - image * t.tiles) * t.lines;
        barrier_wait(r.full + 8 * r.which, r.phase);
        if (block >= t.blocks && lane == 0)
            barrier_arrive(r.empty + 8 * r.which);
        for (; block < t.blocks; block += GROUPS) {
            int32_t acc[BN / 2];
            multiply_block<C, SIGNED>(r.here() / 16 + (uint32_t)(block * BM), chunk, t.width, weights / 16, acc);
            if (block + GROUPS >= t.blocks && lane == 0)
                barrier_arrive(r.empty + 8 * r.which);
            finish_pixels(a, c, t, acc, image, y0, p + block * BM, n0 + q);
        }
        block -= t.blocks;
    }
}

template <int C, bool SIGNED>
static __global__ void __launch_bounds__(128 * GROUPS + 128, 1)
    wgmma_patch(const __grid_constant__ CUtensorMap ta, const __grid_constant__ CUtensorMap tb,
                const __grid_constant__ ptq_k_gemm a, const __grid_constant__ cut t)
{
    extern __shared__ uint8_t raw[];
    uint8_t *smem = raw + (1024 - smem_address(raw) % 1024) % 1024;
    layout l(C, t);
    uint32_t weights = smem_address(smem), full = weights + (uint32_t)l.barriers, ready = full + 16 * BUFFERS;
    ring r = {weights + (uint32_t)l.buffers, full, full + 8 * BUFFERS, l.buffer, 0, 0};
    int n0 = (int)(blockIdx.x % (unsigned)t.columns) * BN, first = (int)(blockIdx.x / (unsigned)t.columns);
    int step = (int)(gridDim.x / (unsigned)t.columns);
    if (threadIdx.x == 0) {
        for (int i = 0; i < BUFFERS; i++) {
            barrier_init(r.full + 8 * i, 1);
            barrier_init(r.empty + 8 * i, 4 * GROUPS); /* each warp tells for itself */
        }
        barrier_init(ready, 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async;" ::: "memory");
    }
    int32_t *tables = (int32_t *)(smem + l.tables);
    for (int i = (int)threadIdx.x; i < BN && n0 + i < a.npad; i += (int)blockDim.x) {
        tables[i] = a.bias[n0 + i];
        ((float *)tables)[BN + i] = a.mult[n0 + i];
    }
    __syncthreads();
    let_next();
    if (threadIdx.x == 128 * GROUPS) { /* weights are constant */
        barrier_expect(ready, (uint32_t)(l.steps * BN * BK));
        for (int s = 0; s < l.steps; s++)
            tensor_copy_2d(weights + (uint32_t)(s * BN * BK), &tb, ready, s * BK, n0);
    }
    after_previous();
    if (threadIdx.x >= 128 * GROUPS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 128 * GROUPS)
            feed(&ta, a, t, r, (uint32_t)(C / 16 * l.chunk), first, step);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 104;"); /* of 96 for each thread */
        barrier_wait(ready, 0);
        multiply<C, SIGNED>(a, t, tables, weights, r, (uint32_t)l.chunk / 16, first, step, n0);
    }
}

/* ---- host ---- */

static bool lines_map(CUtensorMap *map, const ptq_k_gemm *a, const cut &t)
{
    static auto encode = driver<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
    uint64_t images = (uint64_t)(a->m / ((int64_t)a->out_h * a->out_w));
    cuuint64_t c = (cuuint64_t)a->c, w = (cuuint64_t)a->in_w, h = (cuuint64_t)a->in_h;
    cuuint64_t dims[5] = {16, w, h, c / 16, images}, strides[4] = {c, c * w, 16, c * w * h};
    cuuint32_t box[5] = {16, (cuuint32_t)t.width, (cuuint32_t)(t.lines + TAPS - 1), (cuuint32_t)(c / 16), 1};
    cuuint32_t step[5] = {1, 1, 1, 1, 1};
    return encode && encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 5, (void *)a->x, dims, strides, box, step,
                            CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                            CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

/* The cut that needs the least time, in steps of a block with something for each item; no lines where none fits. */
static cut best_cut(const ptq_dev *d, const ptq_k_gemm *a)
{
    cut best = {0, a->out_w + TAPS - 1, 0, 0, 0, (a->n + BN - 1) / BN, 0};
    int64_t images = a->m / ((int64_t)a->out_h * a->out_w), down = ptq_dev_processors(d) / best.columns, least = INT64_MAX;
    best.magic = (uint32_t)((0xffffffffull + (uint64_t)best.width) / (uint64_t)best.width);
    cut t = best;
    for (t.lines = 1; t.lines <= a->out_h && t.lines + TAPS - 1 <= 256 && layout(a->c, t).total <= SHARED; t.lines++) {
        t.blocks = (t.lines * t.width - (TAPS - 1) + BM - 1) / BM;
        t.tiles = (a->out_h + t.lines - 1) / t.lines;
        t.items = (int)(images * t.tiles);
        int64_t cost = (t.items + down - 1) / down * (t.blocks * 2 + 3);
        if (cost < least) {
            least = cost;
            best = t;
        }
    }
    return best;
}

template <int C> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    if (a->m == 0 || a->n == 0)
        return PTQ_OK;
    auto kernel = a->x_signed ? wgmma_patch<C, true> : wgmma_patch<C, false>;
    cut t = best_cut(d, a);
    CUtensorMap ta, tb;
    if (!lines_map(&ta, a, t) || !matrix_map(&tb, a->w, (uint64_t)a->kpad, (uint64_t)a->npad, BK, BN))
        return ptq_k_gemm_unmapped(a);
    int64_t down = ptq_dev_processors(d) / t.columns;
    down = down > t.items ? t.items : down;
    launch_early(kernel, (unsigned)(down * t.columns), 128 * GROUPS + 128, layout(C, t).total, SHARED, d, ta, tb,
                 ptq_k_gemm_ends(a), t);
    return ptq_dev_launched(d, "wgmma_patch");
}

template <int C> static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    bool window = a->kernel_h == TAPS && a->kernel_w == TAPS && a->stride_h == 1 && a->stride_w == 1 && a->dil_h == 1 &&
                  a->dil_w == 1;
    window = window && a->in_h > 0 && a->in_w > 0;
    return window && a->c == C && maps_fit(d, a) && near_end(a) == END_NEAR && a->out_w + TAPS - 1 <= 256 &&
           (a->n + BN - 1) / BN <= ptq_dev_processors(d) && a->m < 1 << 29 && best_cut(d, a).lines > 0;
}

extern "C" {
extern const ptq_k_gemm_row ptq_k_gemm_wgmma_patch_64x64;
const ptq_k_gemm_row ptq_k_gemm_wgmma_patch_64x64 = {"wgmma_patch_64x64", supports<64>, run<64>};
}
