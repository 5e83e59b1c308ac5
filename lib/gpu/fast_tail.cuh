/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of products with float results under fast math: bias and multiplier are one fused operation on the tables
 * fast_mult and fast_bias, codes are rounded without the law's quotient, GELU is that of gelu_tanh.h, and what is
 * added and written may be float16. Arithmetic is in float. */
#ifndef PTQ_GPU_FAST_TAIL_CUH
#define PTQ_GPU_FAST_TAIL_CUH

#include <cuda_fp16.h>

#include "lib/gpu/mma.cuh"

enum { FAST_CODES, FAST_GELU, FAST_FLOATS };

/* The end for a tail; -1 where there is none. */
static int fast_end(const ptq_k_gemm *a)
{
    const ptq_k_tail *t = &a->tail;
    bool floats = a->n % 8 == 0 && (uintptr_t)a->y % 16 == 0 && (uintptr_t)t->add % 16 == 0 && !t->gelu;
    bool codes = ptq_plain_scale(t->s) && !t->add;
    bool gelu = t->factor == 1.0f && (float)(a->zy - a->lo) * t->s > 0.18f; /* no code is below the range */
    if (!t->on || !t->fast_mult)
        return -1;
    if (!t->codes)
        return floats ? FAST_FLOATS : -1;
    return !codes || (t->gelu && !gelu) ? -1 : t->gelu ? FAST_GELU : FAST_CODES;
}

/* Four neighbouring channels of a row: 4 i and the next. */
static __device__ __forceinline__ void fast_values(const int32_t *acc, int row, int i, float4 m, float4 f,
                                                   float (&v)[4])
{
    const int32_t *p = acc + 8 * i + 2 * row;
    v[0] = fmaf((float)p[0], m.x, f.x);
    v[1] = fmaf((float)p[1], m.y, f.y);
    v[2] = fmaf((float)p[4], m.z, f.z);
    v[3] = fmaf((float)p[5], m.w, f.w);
}

/* Half of x Phi(x) / s twice: y is x / (2 s), y + y tanh(...). */
static __device__ __forceinline__ float fast_gelu(const ptq_k_gemm &a, float y)
{
    float t;
    asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(y * fmaf(y * y, a.ends.gelu3, a.ends.gelu)));
    return fmaf(y, t, y);
}

/* Codes with their zero point: the low bytes of what is rounded by adding ends.code. */
template <bool GELU>
static __device__ __forceinline__ uint32_t fast_codes(const ptq_k_gemm &a, const float (&v)[4])
{
    uint32_t b[4];
#pragma unroll
    for (int e = 0; e < 4; e++) {
        float t = GELU ? fminf(fast_gelu(a, v[e]), a.ends.hi) : clamped(v[e], a.ends.lo, a.ends.hi);
        b[e] = __float_as_uint(t + a.ends.code);
    }
    return four_bytes(b);
}

template <bool GELU, bool WHOLE>
static __device__ __forceinline__ void fast_to_codes(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                     int64_t m, int n, int64_t end)
{
    if (n >= a.n)
        return;
    uint32_t out[2][4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float4 c4 = c.mult(i), f4 = c.behind(i);
#pragma unroll
        for (int row = 0; row < 2; row++) {
            float v[4];
            fast_values(acc, row, i, c4, f4, v);
            out[row][i] = fast_codes<GELU>(a, v);
        }
    }
    store_codes<WHOLE>(a, out, 0, m, n, end);
}

static __device__ __forceinline__ float2 from_half2(uint32_t w)
{
    return __half22float2(*(const __half2 *)&w);
}

/* Infinities become the largest number. */
static __device__ __forceinline__ uint32_t to_half2(float low, float high)
{
    const __half2 most = __floats2half2_rn(65504.0f, 65504.0f), least = __floats2half2_rn(-65504.0f, -65504.0f);
    __half2 h = __hmin2_nan(__hmax2_nan(__floats2half2_rn(low, high), least), most);
    return *(const uint32_t *)&h;
}

/* 8 neighbouring elements of what is added, as they lie; zeros where there is nothing. Plain loads, as in load_skip. */
template <bool HALF>
static __device__ __forceinline__ void load_addend(const ptq_k_gemm &a, int64_t at, bool inside,
                                                   uint4 (&w)[HALF ? 1 : 2])
{
    const uint4 none = make_uint4(0, 0, 0, 0);
    inside = inside && a.tail.add;
    if (HALF) {
        w[0] = inside ? *(const uint4 *)((const __half *)(const void *)a.tail.add + at) : none;
    } else {
        w[0] = inside ? *(const uint4 *)(a.tail.add + at) : none;
        w[1] = inside ? *(const uint4 *)(a.tail.add + at + 4) : none;
    }
}

static __device__ __forceinline__ void add_to(const uint4 (&w)[1], float (&v)[8])
{
    const uint32_t x[4] = {w[0].x, w[0].y, w[0].z, w[0].w};
#pragma unroll
    for (int e = 0; e < 4; e++) {
        float2 p = from_half2(x[e]);
        v[2 * e] += p.x;
        v[2 * e + 1] += p.y;
    }
}

static __device__ __forceinline__ void add_to(const uint4 (&w)[2], float (&v)[8])
{
    const uint32_t x[8] = {w[0].x, w[0].y, w[0].z, w[0].w, w[1].x, w[1].y, w[1].z, w[1].w};
#pragma unroll
    for (int e = 0; e < 8; e++)
        v[e] += __uint_as_float(x[e]);
}

/* One row of 16 channels from n on as halves. Two lanes that own neighbouring channels exchange quarters, so that what
 * they store together is 32 bytes side by side; all lanes of a warp come here. */
static __device__ __forceinline__ void store_halves(const ptq_k_gemm &a, const uint32_t (&w)[2][4], int64_t row, int n,
                                                    bool inside)
{
    int odd = (int)threadIdx.x & 1, first = n - 16 * odd + 8 * odd;
    uint32_t low[4], high[4];
#pragma unroll
    for (int e = 0; e < 4; e++) {
        uint32_t got = __shfl_xor_sync(0xffffffffu, odd ? w[0][e] : w[1][e], 1);
        low[e] = odd ? got : w[0][e];
        high[e] = odd ? w[1][e] : got;
    }
    __half *y = (__half *)a.y + row * a.n + first;
    if (inside && first < a.n)
        *(uint4 *)y = make_uint4(low[0], low[1], low[2], low[3]);
    if (inside && first + 16 < a.n)
        *(uint4 *)(y + 16) = make_uint4(high[0], high[1], high[2], high[3]);
}

/* HALF: what is added, if anything. */
template <bool HALF>
static __device__ __forceinline__ void fast_floats(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                   int64_t m, int n, int64_t end)
{
    uint4 s[2][2][HALF ? 1 : 2];
#pragma unroll
    for (int row = 0; row < 2; row++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            load_addend<HALF>(a, (m + 8 * row) * a.n + n + 8 * h, m + 8 * row < end && n + 8 * h < a.n, s[row][h]);
#pragma unroll
    for (int row = 0; row < 2; row++) {
        bool inside = m + 8 * row < end;
        uint32_t w[2][4];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float x[2][4];
            fast_values(acc, row, 2 * h, c.mult(2 * h), c.behind(2 * h), x[0]);
            fast_values(acc, row, 2 * h + 1, c.mult(2 * h + 1), c.behind(2 * h + 1), x[1]);
            float v[8] = {x[0][0], x[0][1], x[0][2], x[0][3], x[1][0], x[1][1], x[1][2], x[1][3]};
            add_to(s[row][h], v);
            if (a.tail.y_half) {
#pragma unroll
                for (int e = 0; e < 4; e++)
                    w[h][e] = to_half2(v[2 * e], v[2 * e + 1]);
            } else if (inside && n + 8 * h < a.n) {
                float *y = (float *)a.y + (m + 8 * row) * a.n + n + 8 * h;
                *(float4 *)y = make_float4(v[0], v[1], v[2], v[3]);
                *(float4 *)(y + 4) = make_float4(v[4], v[5], v[6], v[7]);
            }
        }
        if (a.tail.y_half)
            store_halves(a, w, m + 8 * row, n, inside);
    }
}

static __device__ __forceinline__ void fast_to_floats(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                      int64_t m, int n, int64_t end)
{
    if (a.tail.add && !a.tail.add_half)
        fast_floats<false>(a, c, acc, m, n, end);
    else
        fast_floats<true>(a, c, acc, m, n, end);
}

/* Two rows (m and m + 8) of 16 neighbouring channels from n on; acc as in finish_rows. */
template <int END, bool WHOLE>
static __device__ __forceinline__ void finish_fast(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                   int64_t m, int n, int64_t end)
{
    if (END == FAST_CODES)
        fast_to_codes<false, WHOLE>(a, c, acc, m, n, end);
    else if (END == FAST_GELU)
        fast_to_codes<true, WHOLE>(a, c, acc, m, n, end);
    else
        fast_to_floats(a, c, acc, m, n, end);
}

/* Asks for what fast_to_floats will add. */
static __device__ __forceinline__ void prefetch_fast(const ptq_k_gemm &a, int64_t m, int n, int64_t end)
{
    const char *add = (const char *)a.tail.add;
    int bytes = a.tail.add_half ? 2 : 4;
#pragma unroll
    for (int row = 0; row < 2; row++)
        if (add && n < a.n && m + 8 * row < end)
            asm volatile("prefetch.global.L2 [%0];" ::"l"(add + ((m + 8 * row) * a.n + n) * bytes));
}

#endif
