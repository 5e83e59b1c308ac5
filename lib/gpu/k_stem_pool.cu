/* SPDX-License-Identifier: Apache-2.0 */
/* First layers with a maximum over 3 x 3 windows of stride 2 behind them, by mma.sync. Requantizing keeps the order of
 * the accumulators of a channel, so that the maximum goes first where it is free: a warp computes two lines of 16
 * neighbouring pixels and has the line above from the step before; the largest of the three is in the same
 * registers of each. Only that becomes codes, whose maximum over neighbouring pixels, which other lanes have, is taken
 * by shuffles. 16 pixels make 7 of the pool, so that strips of neighbouring warps share two.
 *
 * A block walks down the image. The lines of the input that it reads lie in a ring in shared memory, those of the next
 * step are on their way meanwhile. The windows need no copies of their own, as in k_stem.cu. */
#include "lib/gpu/mma.cuh"
#include "lib/gpu/stem.h"

enum { STRIPS = 4, POOLED = 7, BN = 64, THREADS = 32 * STRIPS, BLOCKS = 3, MOST = 64 * 1024 };

struct ring {
    int lines, width; /* of the input; pixels of four bytes */
};

static __host__ __device__ __forceinline__ ring ring_of(const ptq_k_gemm &a)
{
    int taps = (a.kernel_w + 3) & ~3, pixels = (STRIPS - 1) * 2 * POOLED + 16;
    return {a.kernel_h + 3 * a.stride_h, (pixels - 1) * a.stride_w + taps};
}

static __device__ __forceinline__ int wrapped(int slot, int lines)
{
    return slot < lines ? slot : slot - lines;
}

/* Lines h .. h + n - 1 of the image, from pixel w on, into the ring from place `slot` on. N: n, or 0 for any. */
template <int N>
static __device__ __forceinline__ void load_lines(const ptq_k_gemm &a, const uint8_t *image, int h, int w, int n,
                                                  uint32_t smem, ring size, int slot)
{
#pragma unroll 1
    for (int x = (int)threadIdx.x; x < size.width; x += THREADS) {
        bool inside = (unsigned)(w + x) < (unsigned)a.in_w;
        const uint8_t *src = image + ((int64_t)h * a.in_w + w + x) * 4;
#pragma unroll
        for (int i = 0; i < (N ? N : n); i++)
            copy4_async(smem + (uint32_t)(wrapped(slot + i, size.lines) * size.width + x) * 4,
                        inside && (unsigned)(h + i) < (unsigned)a.in_h ? src + (int64_t)i * a.in_w * 4 : a.zero);
    }
}

/* What multiplies two lines of 16 pixels of this warp; `at` is the place of the first line of the input that they read. */
struct operands {
    const uint32_t *pixels; /* of this lane in the first line of the ring */
    uint32_t weights;       /* of this lane in the first step */
    ring size;
    int at, row_bytes;
    __device__ __forceinline__ operands(const ptq_k_gemm &a, const uint32_t *smem_pixels, uint32_t smem_weights, ring r,
                                        int at_, int bytes)
        : size(r), at(at_), row_bytes(bytes)
    {
        int lane = (int)threadIdx.x % 32, strip = (int)threadIdx.x / 32;
        pixels = smem_pixels + (strip * 2 * POOLED + lane / 4) * a.stride_w + lane % 4;
        weights = smem_weights + (uint32_t)((lane / 16 * 8 + lane % 8) * bytes + lane / 8 % 2 * 16);
    }
    __device__ __forceinline__ const uint32_t *line(int y) const
    {
        return pixels + wrapped(at + y, size.lines) * size.width;
    }
    __device__ __forceinline__ void step(int k, uint32_t (&b)[BN / 16][4]) const
    {
#pragma unroll
        for (int j = 0; j < BN / 16; j++)
            load_matrix4(b[j], weights + (uint32_t)(j * 16 * row_bytes + k * 32));
    }
};

template <bool SIGNED>
static __device__ __forceinline__ void multiply_line(const uint32_t (&f)[4], const uint32_t (&b)[BN / 16][4],
                                                     int32_t (&acc)[BN / 8][4])
{
#pragma unroll
    for (int j = 0; j < BN / 8; j++)
        mma_16x8x32<SIGNED>(acc[j], f, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
}

/* Any window. */
template <bool SIGNED>
static __device__ __forceinline__ void multiply(const ptq_k_gemm &a, const operands &o, int32_t (&acc)[2][BN / 8][4])
{
    int width = (a.kernel_w + 3) & ~3, groups = a.kernel_h * (width / 4), far = 8 * a.stride_w;
    int ty = 0, tx = 0; /* the next group of four taps */
    for (int k = 0; 2 * k < groups; k++) {
        uint32_t b[BN / 16][4], f[2][4];
        o.step(k, b);
#pragma unroll
        for (int half = 0; half < 2; half++) {
#pragma unroll
            for (int line = 0; line < 2; line++) {
                const uint32_t *p = o.line(ty + line * a.stride_h) + tx;
                f[line][2 * half] = p[0];
                f[line][2 * half + 1] = p[far];
            }
            if (2 * k + half + 1 < groups) { /* the weights of a missing group are zero */
                tx += 4;
                ty += tx == width;
                tx = tx == width ? 0 : tx;
            }
        }
#pragma unroll
        for (int line = 0; line < 2; line++)
            multiply_line<SIGNED>(f[line], b, acc[line]);
    }
}

/* Windows of HEIGHT lines of up to 4 * FOURS taps, stride 2: what the second line reads for a tap, the first reads for
 * the tap two lines below. A step takes two groups of taps: those of a line, or those of two lines. */
template <bool SIGNED, int HEIGHT, int FOURS>
static __device__ __forceinline__ void multiply_even(const operands &o, int32_t (&acc)[2][BN / 8][4])
{
    constexpr int EACH = 2 / FOURS, STEPS = (HEIGHT + EACH - 1) / EACH, AHEAD = 2 / EACH;
    uint32_t f[STEPS + AHEAD][4];
#pragma unroll
    for (int k = -AHEAD; k < STEPS; k++) {
        int to = k + AHEAD;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int y = FOURS == 2 ? to : min(2 * to + half, HEIGHT + 1);
            const uint32_t *p = o.line(y) + (FOURS == 2 ? 4 * half : 0);
            f[to][2 * half] = p[0];
            f[to][2 * half + 1] = p[16];
        }
        if (k < 0)
            continue;
        uint32_t b[BN / 16][4];
        o.step(k, b);
        multiply_line<SIGNED>(f[k], b, acc[0]);
        multiply_line<SIGNED>(f[to], b, acc[1]);
    }
}

/* above becomes the largest of itself and the two lines, and then the second line. Lines from `left` on are outside
 * of the convolution's output. */
static __device__ __forceinline__ void highest(int32_t (&best)[BN / 2], int32_t (&above)[BN / 2],
                                               int32_t (&acc)[2][BN / 8][4], int left)
{
    int32_t *first = &acc[0][0][0], *second = &acc[1][0][0];
    if (left < 2)
#pragma unroll
        for (int i = 0; i < BN / 2; i++) {
            second[i] = INT32_MIN;
            first[i] = left < 1 ? INT32_MIN : first[i];
        }
#pragma unroll
    for (int i = 0; i < BN / 2; i++) {
        best[i] = max(max(above[i], first[i]), second[i]);
        above[i] = second[i];
    }
}

/* Codes less the least one of 16 channels of the pixels g and g + 8, two to a register: 0 where `inside` is false. */
static __device__ __forceinline__ void near_pairs(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                  const bool (&inside)[2], uint32_t (&out)[2][8])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int4 b4 = c.bias(i);
        float4 m4 = c.mult(i);
        float mult[4] = {m4.x, m4.y, m4.z, m4.w};
        int32_t bias[4] = {b4.x, b4.y, b4.z, b4.w};
#pragma unroll
        for (int row = 0; row < 2; row++) {
            uint32_t v[4];
#pragma unroll
            for (int e = 0; e < 4; e++) {
                float p = (float)biased(acc, row, 4 * i + e, bias[e]) * mult[e];
                v[e] = (uint32_t)__viaddmin_s32_relu(__float_as_int(p + 12582912.0f), a.ends.shift, a.ends.span);
            }
            out[row][2 * i] = inside[row] ? __byte_perm(v[0], v[1], 0x5410) : 0;
            out[row][2 * i + 1] = inside[row] ? __byte_perm(v[2], v[3], 0x5410) : 0;
        }
    }
}

/* The maximum over pixels x, x + 1 and x + 2 in lanes of an even g: x = g, and x = g + 8 below 14. */
static __device__ __forceinline__ void widest(uint32_t (&v)[2][8])
{
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        uint32_t one = __shfl_sync(~0u, v[0][i], lane + 4), two = __shfl_sync(~0u, lane < 8 ? v[1][i] : v[0][i], lane + 8);
        uint32_t one8 = __shfl_sync(~0u, v[1][i], lane + 4), two8 = __shfl_sync(~0u, v[1][i], lane + 8);
        v[0][i] = __vimax3_u16x2(v[0][i], one, two);
        v[1][i] = __vimax3_u16x2(v[1][i], one8, two8);
    }
}

/* Pixels x (of the pool) .. x + 6 of line `line` of all images. */
static __device__ __forceinline__ void store_pooled(const ptq_k_pooled &a, const uint32_t (&v)[2][8], int64_t line,
                                                    int x, int n)
{
    int g = (int)threadIdx.x % 32 / 4;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        int at = x + row * 4 + g / 2;
        if (g % 2 || g / 2 + row * 4 >= POOLED || at >= a.out_w || n >= a.conv.n)
            continue;
        uint32_t out[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            out[i] = __byte_perm(v[row][2 * i], v[row][2 * i + 1], 0x6420) ^ a.conv.ends.top;
        *(uint4 *)((uint8_t *)a.conv.y + (line * a.out_w + at) * a.conv.n + n) = make_uint4(out[0], out[1], out[2], out[3]);
    }
}

/* What a block does: channels from n on, lines from .. to - 1 of the pool from pixel x on. */
struct piece {
    int image, n, x, from, to;
};

static __device__ __forceinline__ piece piece_of(const ptq_k_pooled &a, int length)
{
    int across = (a.out_w + STRIPS * POOLED - 1) / (STRIPS * POOLED), parts = (a.out_h + length - 1) / length;
    int columns = (a.conv.n + BN - 1) / BN, t = (int)blockIdx.x;
    piece p;
    p.x = t % across * STRIPS * POOLED;
    t /= across;
    p.n = t % columns * BN;
    t /= columns;
    p.from = t % parts * length;
    p.to = min(p.from + length, a.out_h);
    p.image = t / parts;
    return p;
}

/* HEIGHT, FOURS: as in multiply_even; HEIGHT 0: any window. */
template <bool SIGNED, int HEIGHT, int FOURS>
static __global__ void __launch_bounds__(THREADS, BLOCKS) stem_pool(const __grid_constant__ ptq_k_pooled p, int length)
{
    extern __shared__ __align__(16) uint8_t smem[];
    const ptq_k_gemm &a = p.conv;
    piece t = piece_of(p, length);
    ring size = ring_of(a);
    int row_bytes = a.kpad + 16; /* rows shifted by four banks */
    uint32_t *pixels = (uint32_t *)(smem + BN * row_bytes);
    for (int i = (int)threadIdx.x; i < BN * a.kpad / 16; i += THREADS) {
        int r = i / (a.kpad / 16), c = i % (a.kpad / 16);
        copy16_async(smem_address(smem + r * row_bytes + c * 16), a.w + (int64_t)(t.n + r) * a.kpad + c * 16);
    }
    /* line 2 p - pad of the convolution is the second one of step p - 1 */
    int first = 2 * t.from >= p.pad_h ? t.from - 1 : t.from, two = 2 * a.stride_h;
    int x = 2 * t.x - p.pad_w, h = (2 * first - p.pad_h + 1) * a.stride_h - a.pad_h, w = x * a.stride_w - a.pad_w, at = 0;
    const uint8_t *image = a.x + (int64_t)t.image * a.in_h * a.in_w * 4;
    load_lines<0>(a, image, h, w, a.kernel_h + a.stride_h, smem_address(pixels), size, 0);
    commit_async();

    int lane = (int)threadIdx.x % 32, strip = (int)threadIdx.x / 32, g = lane / 4, n = t.n + lane % 4 * 16;
    x += strip * 2 * POOLED + g;
    const bool inside[2] = {(unsigned)x < (unsigned)a.out_w, (unsigned)(x + 8) < (unsigned)a.out_w};
    int32_t above[BN / 2], best[BN / 2];
#pragma unroll
    for (int i = 0; i < BN / 2; i++)
        above[i] = INT32_MIN;
    for (int row = first; row < t.to; row++) {
        wait_async<0>();
        __syncthreads(); /* the lines of this step are there, those of the one before have been read */
        int next = at + a.kernel_h + a.stride_h;
        if (row + 1 < t.to)
            load_lines<HEIGHT ? 4 : 0>(a, image, h + a.kernel_h + a.stride_h, w, two, smem_address(pixels), size,
                                       wrapped(next, size.lines));
        commit_async();
        int32_t acc[2][BN / 8][4] = {};
        operands o(a, pixels, smem_address(smem), size, at, row_bytes);
        if constexpr (HEIGHT)
            multiply_even<SIGNED, HEIGHT, FOURS>(o, acc);
        else
            multiply<SIGNED>(a, o, acc);
        int line = 2 * row - p.pad_h + 1;
        highest(best, above, acc, a.out_h - line);
        h += two;
        at = wrapped(at + two, size.lines);
        if (row < t.from)
            continue;
        uint32_t v[2][8];
        near_pairs(a, channels(a.bias, a.mult, nullptr, n), best, inside, v);
        widest(v);
        store_pooled(p, v, (int64_t)t.image * p.out_h + row, t.x + strip * POOLED, n);
    }
}

static int smem_bytes(const ptq_k_gemm *a)
{
    ring r = ring_of(*a);
    return BN * (a->kpad + 16) + r.lines * r.width * 4;
}

/* Blocks that share an image downwards compute one step more each. */
static int64_t blocks_of(const ptq_k_pooled *a, int64_t length)
{
    int64_t across = (a->out_w + STRIPS * POOLED - 1) / (STRIPS * POOLED), columns = (a->conv.n + BN - 1) / BN;
    int64_t images = a->conv.m / ((int64_t)a->conv.out_h * a->conv.out_w);
    return images * across * columns * ((a->out_h + length - 1) / length);
}

static int best_length(ptq_dev *d, const ptq_k_pooled *a)
{
    int64_t room = (int64_t)BLOCKS * ptq_dev_processors(d), least = INT64_MAX;
    int best = 1;
    for (int parts = 1; parts <= a->out_h; parts++) {
        int length = (a->out_h + parts - 1) / parts;
        int64_t cost = (blocks_of(a, length) + room - 1) / room * (length + 1);
        if (cost < least) {
            least = cost;
            best = length;
        }
    }
    return best;
}

template <bool SIGNED> static auto kernel_of(const ptq_k_gemm *c)
{
    bool even = c->stride_h == 2 && c->stride_w == 2;
    if (even && c->kernel_h == 7 && c->kernel_w > 4 && c->kernel_w <= 8)
        return stem_pool<SIGNED, 7, 2>;
    return even && c->kernel_h == 3 && c->kernel_w <= 4 ? stem_pool<SIGNED, 3, 1> : stem_pool<SIGNED, 0, 0>;
}

static ptq_status run(ptq_dev *d, const ptq_k_pooled *a)
{
    if (a->conv.m == 0 || a->conv.n == 0)
        return PTQ_OK;
    auto kernel = a->conv.x_signed ? kernel_of<true>(&a->conv) : kernel_of<false>(&a->conv);
    int length = best_length(d, a), smem = smem_bytes(&a->conv);
    ptq_k_pooled b = *a;
    b.conv = ptq_k_gemm_ends(&a->conv);
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, MOST); /* of all launches, any thread's */
    kernel<<<(unsigned)blocks_of(a, length), THREADS, smem, (cudaStream_t)ptq_dev_stream(d)>>>(b, length);
    return ptq_dev_launched(d, "stem_pool");
}

/* Each window of the pool meets the convolution's output, and none is cut at its beginning by more than a pixel. */
static bool pool_fits(const ptq_k_pooled *a)
{
    const ptq_k_gemm *c = &a->conv;
    return a->kernel_h == 3 && a->kernel_w == 3 && a->stride_h == 2 && a->stride_w == 2 && a->dil_h == 1 &&
           a->dil_w == 1 && (a->pad_h == 0 || a->pad_h == 1) && (a->pad_w == 0 || a->pad_w == 1) &&
           2 * (a->out_h - 1) - a->pad_h < c->out_h && 2 * (a->out_w - 1) - a->pad_w < c->out_w;
}

extern "C" ptq_k_pooled_run ptq_k_pooled_fast(const ptq_dev *d, const ptq_k_pooled *a)
{
    const ptq_k_gemm *c = &a->conv;
    bool codes = c->near && !c->float_out && !c->tail.on && !c->residual.kind && (c->lo == 0 || c->lo == -128);
    bool lies = c->c == 4 && c->n % 16 == 0 && (uintptr_t)c->x % 4 == 0 && (uintptr_t)c->y % 16 == 0 &&
                (uintptr_t)c->w % 16 == 0;
    bool small = c->stride_h <= 16 && c->stride_w <= 16 && c->kernel_h <= 64 && c->kernel_w <= 64;
    return ptq_dev_capability(d) >= 80 && codes && lies && c->dil_h == 1 && c->dil_w == 1 && c->m < 1 << 30 &&
                   c->in_h < 1 << 14 && c->in_w < 1 << 14 && pool_fits(a) && small && smem_bytes(c) <= MOST &&
                   blocks_of(a, 1) < INT32_MAX
               ? run
               : NULL;
}
