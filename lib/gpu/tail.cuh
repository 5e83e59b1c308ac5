/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of products with float results (ptq_k_tail), for the rows that are made for them. */
#ifndef PTQ_GPU_TAIL_CUH
#define PTQ_GPU_TAIL_CUH

#include "lib/core/fmath.h"
#include "lib/gpu/erfc16.h"
#include "lib/gpu/fast_tail.cuh"

/* Which end a kernel is compiled with. CODES: bias, factor, code. GELU: the same with a GELU. FLOATS: bias,
 * factor, sum, floats. ANY: everything, one element after the other. */
enum { TAIL_CODES, TAIL_GELU, TAIL_FLOATS, TAIL_ANY };

/* Rows of the law do not take what those of fast math take, whose arithmetic is another: which bytes come out must not
 * depend on which are faster. */
static bool tail_is(const ptq_k_gemm *a, int end)
{
    const ptq_k_tail *t = &a->tail;
    bool law = !t->add_half && !t->y_half && fast_end(a) < 0;
    bool floats = a->n % 4 == 0 && (uintptr_t)a->y % 16 == 0 && (uintptr_t)t->add % 16 == 0;
    bool codes = ptq_plain_scale(t->s) && !t->add;
    bool gelu = t->factor == 1.0f && (float)(a->zy - a->lo) * t->s > 0.18f; /* as fast_gelu_codes needs it */
    int fits = TAIL_ANY;
    if (t->codes && codes && (!t->gelu || gelu))
        fits = t->gelu ? TAIL_GELU : TAIL_CODES;
    else if (!t->codes && floats && !t->gelu)
        fits = TAIL_FLOATS;
    return t->on && law && (end == TAIL_ANY || end == fits);
}

/* The end for a tail that is not left to TAIL_ANY; -1 where it is. */
static int tail_end(const ptq_k_gemm *a)
{
    for (int end = 0; end < TAIL_ANY; end++)
        if (tail_is(a, end))
            return end;
    return -1;
}

/* Four neighbouring channels of a row in float, before the GELU. */
template <bool TIMES>
static __device__ __forceinline__ void tail_values(const ptq_k_gemm &a, const int32_t *acc, int row, int i, int4 b,
                                                   float4 m, float4 f, float (&v)[4])
{
    v[0] = (float)biased(acc, row, 4 * i, b.x) * m.x + f.x;
    v[1] = (float)biased(acc, row, 4 * i + 1, b.y) * m.y + f.y;
    v[2] = (float)biased(acc, row, 4 * i + 2, b.z) * m.z + f.z;
    v[3] = (float)biased(acc, row, 4 * i + 3, b.w) * m.w + f.w;
#pragma unroll
    for (int e = 0; e < 4 && TIMES; e++)
        v[e] *= a.tail.factor;
}

/* Those of four codes (less the zero point) that may lie on the wrong side of a tie, by the law itself; rare, so
 * that it stays out of the way. t: the quotients, v: what they are of. */
static __device__ __noinline__ uint32_t gelu_codes(float4 t, float4 v, int kind, float s, float sure, float lo,
                                                   float hi)
{
    float f[4] = {t.x, t.y, t.z, t.w}, x[4] = {v.x, v.y, v.z, v.w};
#pragma unroll 1
    for (int i = 0; i < 4; i++) {
        if (!(fabsf(f[0] - (f[0] + 12582912.0f - 12582912.0f)) < sure))
            f[0] = ptq_clampf(ptq_gelu_of(x[0], kind) / s, lo, hi);
        float f0 = f[0], x0 = x[0]; /* the next one comes first: no place in memory is needed */
#pragma unroll
        for (int k = 0; k < 3; k++) {
            f[k] = f[k + 1];
            x[k] = x[k + 1];
        }
        f[3] = f0;
        x[3] = x0;
    }
    return low_bytes(f);
}

static __device__ __forceinline__ float4 four(const float (&v)[4])
{
    return make_float4(v[0], v[1], v[2], v[3]);
}

/* The GELU of erfc16.h times 1 / s: two groups of four at once, without branches between, so that many are under
 * way. Where one lies so near to a tie that the law might round the other way, the law decides. No code can be
 * below the range. */
static __device__ __forceinline__ void fast_gelu_codes(const ptq_k_gemm &a, const float (&v)[2][4], uint32_t &c0,
                                                       uint32_t &c1)
{
    float t[2][4], worst[2] = {0.0f, 0.0f}, half = -0.5f * a.ends.inv;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float y = v[i / 4][i % 4], x = fabsf(y), r;
        asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(ptq_erfc16(x)));
        y = fminf(fmaf(x * half, r, fmaxf(y, 0.0f) * a.ends.inv), a.ends.hi);
        t[i / 4][i % 4] = y;
        worst[i / 4] = fmaxf(worst[i / 4], fabsf(y - (y + 12582912.0f - 12582912.0f)));
    }
    c0 = low_bytes(t[0]);
    c1 = low_bytes(t[1]);
    if (!(worst[0] < a.ends.sure))
        c0 = gelu_codes(four(t[0]), four(v[0]), a.tail.gelu, a.tail.s, a.ends.sure, a.ends.lo, a.ends.hi);
    if (!(worst[1] < a.ends.sure))
        c1 = gelu_codes(four(t[1]), four(v[1]), a.tail.gelu, a.tail.s, a.ends.sure, a.ends.lo, a.ends.hi);
}

static __device__ __forceinline__ uint32_t quotient_codes(const ptq_k_gemm &a, const float (&v)[4])
{
    float t[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        t[i] = quotient(clamped(v[i], a.ends.low, a.ends.high), a.tail.s, a.ends.inv);
    return low_bytes(t);
}

template <bool GELU, bool WHOLE>
static __device__ __forceinline__ void tail_to_codes(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                     int64_t m, int n, int64_t end)
{
    if (n >= a.n)
        return;
    uint32_t out[2][4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int4 b = c.bias(i);
        float4 s = c.mult(i), f = c.behind(i);
        float v[2][4];
        tail_values<!GELU>(a, acc, 0, i, b, s, f, v[0]);
        tail_values<!GELU>(a, acc, 1, i, b, s, f, v[1]);
        if (GELU) {
            fast_gelu_codes(a, v, out[0][i], out[1][i]);
        } else {
            out[0][i] = quotient_codes(a, v[0]);
            out[1][i] = quotient_codes(a, v[1]);
        }
    }
    store_codes<WHOLE>(a, out, a.zy, m, n, end);
}

/* Lanes exchange quarters as in finish_floats; all lanes of a warp come here. What is added is asked for before the
 * first value is made: by plain loads, as in load_skip, which do not move above a store. */
static __device__ __forceinline__ void tail_to_floats(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                      int64_t m, int n, int64_t end)
{
    int odd = (int)threadIdx.x & 1, first = n - 16 * odd + 4 * odd;
    bool mine = n < a.n;
    float4 add[2][4]; /* part i / 2; row k / 2, 16 channels k % 2 */
#pragma unroll
    for (int k = 0; k < 8; k++) {
        int col = first + k / 4 * 8 + k % 2 * 16, row = k % 4 / 2 * 8;
        add[k / 4][k % 4] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (a.tail.add && m + row < end && col < a.n)
            add[k / 4][k % 4] = *(const float4 *)(a.tail.add + (m + row) * a.n + col);
    }
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        int col = first + 4 * i;
        bool writes[4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            writes[k] = m + k / 2 * 8 < end && col + k % 2 * 16 < a.n;
        int4 b[2] = {};
        float4 s[2] = {}, f[2] = {};
        for (int h = 0; h < 2 && mine; h++) {
            b[h] = c.bias(i + h);
            s[h] = c.mult(i + h);
            f[h] = c.behind(i + h);
        }
#pragma unroll
        for (int row = 0; row < 2; row++) {
            float low[4], high[4], kept[4], got[4];
            tail_values<true>(a, acc, row, i, b[0], s[0], f[0], low);
            tail_values<true>(a, acc, row, i + 1, b[1], s[1], f[1], high);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                kept[e] = odd ? high[e] : low[e];
                got[e] = __shfl_xor_sync(0xffffffffu, odd ? low[e] : high[e], 1);
            }
#pragma unroll
            for (int k = 2 * row; k < 2 * row + 2; k++) {
                bool own = k % 2 == odd;
                float4 x = make_float4(own ? kept[0] : got[0], own ? kept[1] : got[1], own ? kept[2] : got[2],
                                       own ? kept[3] : got[3]);
                if (a.tail.add)
                    x = make_float4(x.x + add[i / 2][k].x, x.y + add[i / 2][k].y, x.z + add[i / 2][k].z,
                                    x.w + add[i / 2][k].w);
                if (writes[k])
                    *(float4 *)((float *)a.y + (m + k / 2 * 8) * a.n + col + k % 2 * 16) = x;
            }
        }
    }
}

static __device__ __noinline__ void tail_element(const ptq_k_gemm &a, float v, int channel, int64_t at)
{
    const ptq_k_tail &t = a.tail;
    v = ptq_gelu_of((v + t.bias[ptq_k_gemm_entry_of(channel)]) * t.factor, t.gelu);
    if (t.add)
        v += t.add[at];
    if (t.codes)
        ((uint8_t *)a.y)[at] = (uint8_t)ptq_quantize(v, t.s, a.zy, a.lo, a.hi);
    else
        ((float *)a.y)[at] = v;
}

static __device__ __forceinline__ void tail_one_by_one(const ptq_k_gemm &a, const int32_t *acc, int64_t m, int n,
                                                       int64_t end)
{
#pragma unroll
    for (int e = 0; e < 32; e++) {
        int row = e / 16, ch = n + e % 16;
        int64_t at = ptq_k_gemm_entry_of(ch);
        if (m + 8 * row < end && ch < a.n)
            tail_element(a, (float)biased(acc, row, e % 16, a.bias[at]) * a.mult[at], ch, (m + 8 * row) * a.n + ch);
    }
}

/* Two rows (m and m + 8) of 16 neighbouring channels from n on; acc as in finish_rows. */
template <int END, bool WHOLE>
static __device__ __forceinline__ void finish_tail(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                   int64_t m, int n, int64_t end)
{
    if (END == TAIL_CODES)
        tail_to_codes<false, WHOLE>(a, c, acc, m, n, end);
    else if (END == TAIL_GELU)
        tail_to_codes<true, WHOLE>(a, c, acc, m, n, end);
    else if (END == TAIL_FLOATS)
        tail_to_floats(a, c, acc, m, n, end);
    else
        tail_one_by_one(a, acc, m, n, end);
}

/* Asks for what tail_to_floats will add. */
static __device__ __forceinline__ void prefetch_add(const ptq_k_gemm &a, int64_t m, int n, int64_t end)
{
#pragma unroll
    for (int row = 0; row < 2; row++)
        if (a.tail.add && n < a.n && m + 8 * row < end)
            asm volatile("prefetch.global.L2 [%0];" ::"l"(a.tail.add + (m + 8 * row) * a.n + n));
}

/* ---- every end ---- */

/* How the results of a kernel end: as codes or floats; with a residual; as codes that are near (NEAR_END), alone or
 * with a residual in float; END_TAIL + one of the ends above, or END_FAST + one of fast_tail.cuh. */
enum { END_PLAIN, END_SKIP, END_NEAR, END_NEAR_SUM, END_TAIL, END_FAST = END_TAIL + TAIL_ANY + 1 };

/* What the warpgroup rows ask of a tail: they have no stores by bytes. */
static bool vectors_whole(const ptq_k_gemm *a)
{
    return !a->tail.codes || a->n % 16 == 0;
}

/* END_NEAR, END_NEAR_SUM, or -1 where neither fits. */
static int near_end(const ptq_k_gemm *a)
{
    return !ptq_k_gemm_ends_near(a) ? -1 : a->residual.kind ? END_NEAR_SUM : END_NEAR;
}

template <int END> static __device__ __forceinline__ void prefetch_end(const ptq_k_gemm &a, int64_t m, int n)
{
    if (END == END_SKIP || END == END_NEAR_SUM)
        prefetch_skip(a, m, n, a.m);
    else if (END == END_TAIL + TAIL_FLOATS)
        prefetch_add(a, m, n, a.m);
    else if (END == END_FAST + FAST_FLOATS)
        prefetch_fast(a, m, n, a.m);
}

/* The tables of an end where they lie in global memory; lanes outside of the output read what is not used. */
template <int END> static __device__ __forceinline__ channels channels_of(const ptq_k_gemm &a, int n)
{
    n = n < a.n ? n : 0;
    return END >= END_FAST ? channels(a.bias, a.tail.fast_mult, a.tail.fast_bias, n)
                           : channels(a.bias, a.mult, a.tail.bias, n);
}

/* WHOLE: codes come in whole vectors (vectors_whole). */
template <int END, bool WHOLE = true>
static __device__ __forceinline__ void finish_end(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                  int64_t m, int n)
{
    if constexpr (END >= END_FAST) {
        finish_fast<END - END_FAST, WHOLE>(a, c, acc, m, n, a.m);
    } else if constexpr (END >= END_TAIL) {
        finish_tail<END - END_TAIL, WHOLE>(a, c, acc, m, n, a.m);
    } else if constexpr (END == END_NEAR || END == END_NEAR_SUM) {
        if (n < a.n)
            finish_codes<END == END_NEAR_SUM ? NEAR_SUM : NEAR_END>(a, c, acc, m, n, a.m);
    } else {
        finish_rows<END == END_SKIP>(a, c, acc, m, n, a.m);
    }
}

#endif
