/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution with kernels 3x3 and 5x5 at steps 1 and 2, for k_depthwise.cu (CUDA only). A
 * thread makes four channels of two neighbouring columns of y, downwards through a strip of rows:
 * weights stay in registers, and each line of x is read once and added to all rows of y that its window
 * reaches. Pixels are turned so that a word has four neighbours of one channel: dp4a takes a line of
 * taps at once. Bytes outside of x read as the zero point, which the bias takes out again: exact. */
#ifndef PTQ_GPU_DEPTHWISE_STRIP_CUH
#define PTQ_GPU_DEPTHWISE_STRIP_CUH

#include "lib/gpu/kf.h"
#include "lib/gpu/mma.cuh"

enum { STRIP_THREADS = 128 };

/* Threads are [image][piece][pair of columns][four channels], `rows` rows of y to a piece. */
typedef struct strips {
    uint32_t n, quads, pairs, pieces;
    int32_t rows;
} strips;

template <bool SIGNED> static __device__ __forceinline__ int32_t dot4(uint32_t x, uint32_t w, int32_t acc)
{
    int32_t d;
    if (SIGNED)
        return __dp4a((int32_t)x, (int32_t)w, acc);
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(x), "r"(w), "r"(acc));
    return d;
}

/* Four pixels of four channels to four channels of four pixels. */
static __device__ __forceinline__ void turn4(const uint32_t *p, uint32_t (&x)[4])
{
    uint32_t a = __byte_perm(p[0], p[1], 0x5140), b = __byte_perm(p[2], p[3], 0x5140);
    uint32_t c = __byte_perm(p[0], p[1], 0x7362), d = __byte_perm(p[2], p[3], 0x7362);
    x[0] = __byte_perm(a, b, 0x5410);
    x[1] = __byte_perm(a, b, 0x7632);
    x[2] = __byte_perm(c, d, 0x5410);
    x[3] = __byte_perm(c, d, 0x7632);
}

/* The first min(K, 4) pixels under both columns, by channel; bytes behind them do not matter. */
template <int K, int S>
static __device__ __forceinline__ void windows(const uint32_t (&p)[K + S], uint32_t (&x)[2][4])
{
    turn4(p, x[0]);
#pragma unroll
    for (int c = 0; c < 4; c++) {
        if (K == 3 && S == 1)
            x[1][c] = x[0][c] >> 8;
        else if (K == 3)
            x[1][c] = __byte_perm(x[0][c], p[K + S - 1], 0x0432 + 0x0100 * c);
        else if (S == 1)
            x[1][c] = __byte_perm(x[0][c], p[4], 0x4321 + 0x1000 * c);
        else
            x[1][c] = __byte_perm(x[0][c], __byte_perm(p[4], p[K + S - 2], 0x0040 + 0x0011 * c), 0x5432);
    }
}

template <int K> struct strip_taps {
    uint32_t w[K][4];  /* taps 0 .. 3 of a line of the kernel, by channel */
    uint32_t w4[K][4]; /* tap 4 where the channel's byte lies in a pixel; K == 5 */

    /* Returns what the bias loses: the sums of the weights. */
    __device__ __forceinline__ void load(const ptq_k_depthwise &a, int c, int32_t (&sum)[4])
    {
#pragma unroll
        for (int i = 0; i < K; i++) {
            uint32_t p[5] = {0, 0, 0, 0, 0};
#pragma unroll
            for (int j = 0; j < K; j++)
                p[j] = __ldg((const uint32_t *)(a.w + (int64_t)(i * K + j) * a.cpad + c));
            turn4(p, w[i]);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                w4[i][e] = p[4] & 0xffu << 8 * e;
                sum[e] = __dp4a((int32_t)w[i][e], 0x01010101, i ? sum[e] : 0);
                sum[e] = K == 5 ? __dp4a((int32_t)w4[i][e], 0x01010101, sum[e]) : sum[e];
            }
        }
    }
};

/* S lines of x from line h on; `columns` has a bit for each pixel that lies in x. */
template <int S, int PIXELS>
static __device__ __forceinline__ void load_lines(const ptq_k_depthwise &a, const uint8_t *p, int h, uint32_t columns,
                                                  uint32_t zero, uint32_t (&v)[S][PIXELS])
{
#pragma unroll
    for (int i = 0; i < S; i++) {
        uint32_t inside = (unsigned)(h + i) < (unsigned)a.in_h ? columns : 0;
#pragma unroll
        for (int j = 0; j < PIXELS; j++) {
            v[i][j] = zero;
            if (inside >> j & 1)
                v[i][j] = __ldg((const uint32_t *)(p + ((int64_t)i * a.in_w + j) * a.c));
        }
    }
}

/* Four bytes of ptq_requantize. */
static __device__ __forceinline__ uint32_t strip_codes(const ptq_k_depthwise &a, const int32_t (&acc)[4], float4 m)
{
    float lo = (float)(a.lo - a.zy), hi = (float)(a.hi - a.zy);
    float f[4] = {clamped((float)acc[0] * m.x, lo, hi), clamped((float)acc[1] * m.y, lo, hi),
                  clamped((float)acc[2] * m.z, lo, hi), clamped((float)acc[3] * m.w, lo, hi)};
    uint32_t zy = (uint32_t)(a.zy & 0xff) * 0x01010101u;
    return add_bytes(low_bytes(f), zy & 0x7f7f7f7fu, zy & 0x80808080u);
}

template <int K, int S, bool SIGNED>
static __global__ void __launch_bounds__(STRIP_THREADS, K == 3 ? 6 : 3)
    depthwise_strip(const __grid_constant__ ptq_k_depthwise a, const __grid_constant__ strips s)
{
    constexpr int PIXELS = K + S, LIVE = (K + S - 1) / S; /* rows of y that a line of x reaches */
    uint32_t i = blockIdx.x * STRIP_THREADS + threadIdx.x;
    if (i >= s.n)
        return;
    uint32_t q = i / s.quads, r = q / s.pairs, image = r / s.pieces;
    int c = (int)(i - q * s.quads) * 4, ow = (int)(q - r * s.pairs) * 2, oh = (int)(r - image * s.pieces) * s.rows;
    int rows = min(s.rows, a.out_h - oh), h = oh * S - a.pad_h, w = ow * S - a.pad_w;
    uint32_t zero = (uint32_t)(a.zx & 0xff) * 0x01010101u, columns = 0;
#pragma unroll
    for (int j = 0; j < PIXELS; j++)
        columns |= (unsigned)(w + j) < (unsigned)a.in_w ? 1u << j : 0;
    const uint8_t *p = a.x + (((int64_t)image * a.in_h + h) * a.in_w + w) * a.c + c;
    uint8_t *y = (uint8_t *)a.y + (((int64_t)image * a.out_h + oh) * a.out_w + ow) * a.c + c;
    int64_t x_step = (int64_t)S * a.in_w * a.c, y_step = (int64_t)a.out_w * a.c;
    bool second = ow + 1 < a.out_w;

    uint32_t next[S][PIXELS];
    load_lines<S, PIXELS>(a, p, h, columns, zero, next);
    strip_taps<K> taps;
    int32_t bias[4], acc[LIVE][2][4]; /* acc[j]: of the row j above the one that the line begins */
    taps.load(a, c, bias);
    int4 given = __ldg((const int4 *)(a.bias + c));
    float4 mult = __ldg((const float4 *)(a.mult + c));
    bias[0] = (int32_t)((uint32_t)given.x - (uint32_t)a.zx * (uint32_t)bias[0]);
    bias[1] = (int32_t)((uint32_t)given.y - (uint32_t)a.zx * (uint32_t)bias[1]);
    bias[2] = (int32_t)((uint32_t)given.z - (uint32_t)a.zx * (uint32_t)bias[2]);
    bias[3] = (int32_t)((uint32_t)given.w - (uint32_t)a.zx * (uint32_t)bias[3]);
#pragma unroll
    for (int j = 0; j < 8 * LIVE; j++)
        acc[j / 8][j / 4 % 2][j % 4] = bias[j % 4];

#pragma unroll LIVE
    for (int t = 1 - LIVE; t < rows; t++) { /* t: the row that is finished */
        uint32_t now[S][PIXELS];
#pragma unroll
        for (int j = 0; j < S * PIXELS; j++)
            now[j / PIXELS][j % PIXELS] = next[j / PIXELS][j % PIXELS];
        p += x_step;
        h += S;
        if (t + 1 < rows)
            load_lines<S, PIXELS>(a, p, h, columns, zero, next);
#pragma unroll
        for (int line = 0; line < S; line++) {
            uint32_t x[2][4];
            windows<K, S>(now[line], x);
#pragma unroll
            for (int j = 0; S * j + line < K; j++)
#pragma unroll
                for (int e = 0; e < 8; e++) {
                    int32_t v = dot4<SIGNED>(x[e / 4][e % 4], taps.w[S * j + line][e % 4], acc[j][e / 4][e % 4]);
                    if (K == 5)
                        v = dot4<SIGNED>(now[line][e / 4 ? K + S - 1 : 4 % PIXELS], taps.w4[S * j + line][e % 4], v);
                    acc[j][e / 4][e % 4] = v;
                }
        }
        if (t >= 0) {
            *(uint32_t *)y = strip_codes(a, acc[LIVE - 1][0], mult);
            if (second)
                *(uint32_t *)(y + a.c) = strip_codes(a, acc[LIVE - 1][1], mult);
            y += y_step;
        }
#pragma unroll
        for (int j = 8 * LIVE - 1; j >= 0; j--)
            acc[j / 8][j / 4 % 2][j % 4] = j >= 8 ? acc[(j - 8) / 8][j / 4 % 2][j % 4] : bias[j % 4];
    }
}

static bool strips_fit(const ptq_k_depthwise *a)
{
    int k = a->kernel_h, s = a->stride_h;
    return !ptq_kf_reference_only() && !a->float_out && (k == 3 || k == 5) && a->kernel_w == k &&
           (s == 1 || s == 2) && a->stride_w == s && a->dil_h == 1 && a->dil_w == 1 && a->c % 4 == 0 &&
           ((uintptr_t)a->x | (uintptr_t)a->w | (uintptr_t)a->y) % 4 == 0 &&
           ((uintptr_t)a->bias | (uintptr_t)a->mult) % 16 == 0 &&
           a->batch * a->out_h * a->out_w * (a->c / 4) < 1 << 30;
}

/* Long strips, which waste least, as far as they keep the device busy. */
static strips strips_of(const ptq_dev *d, const ptq_k_depthwise *a)
{
    int64_t wanted = 3072 * (int64_t)ptq_dev_processors(d);
    strips s = {0, (uint32_t)a->c / 4, (uint32_t)(a->out_w + 1) / 2, 1, a->out_h};
    int64_t columns = a->batch * s.pairs * s.quads;
    while (s.rows > 4 && columns * s.pieces < wanted) {
        s.rows = (s.rows + 1) / 2;
        s.pieces = (uint32_t)((a->out_h + s.rows - 1) / s.rows);
    }
    s.n = (uint32_t)(columns * s.pieces);
    return s;
}

template <int K, int S> static void strips_launch(ptq_dev *d, const ptq_k_depthwise *a, strips s)
{
    auto kernel = a->x_signed ? depthwise_strip<K, S, true> : depthwise_strip<K, S, false>;
    unsigned blocks = (s.n + STRIP_THREADS - 1) / STRIP_THREADS;
    kernel<<<blocks, STRIP_THREADS, 0, (cudaStream_t)ptq_dev_stream(d)>>>(*a, s);
}

static ptq_status strips_run(ptq_dev *d, const ptq_k_depthwise *a)
{
    if (a->batch * a->out_h * a->out_w * a->c == 0)
        return PTQ_OK;
    strips s = strips_of(d, a);
    if (a->kernel_h == 3)
        (a->stride_h == 1 ? strips_launch<3, 1> : strips_launch<3, 2>)(d, a, s);
    else
        (a->stride_h == 1 ? strips_launch<5, 1> : strips_launch<5, 2>)(d, a, s);
    return ptq_dev_launched(d, "depthwise_strip");
}

#endif
