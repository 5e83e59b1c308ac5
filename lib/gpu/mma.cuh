/* SPDX-License-Identifier: Apache-2.0 */
/* PTX that the tensor-core kernels share (compute capability 8.0 and up). */
#ifndef PTQ_GPU_MMA_CUH
#define PTQ_GPU_MMA_CUH

#include <cuda_runtime.h>

#include "lib/core/qmath.h"
#include "lib/gpu/kernels.h"

static __device__ __forceinline__ uint32_t smem_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

static __device__ __forceinline__ void copy16_async(uint32_t dst, const void *src)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory");
}

static __device__ __forceinline__ void copy4_async(uint32_t dst, const void *src)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(dst), "l"(src) : "memory");
}

static __device__ __forceinline__ void commit_async()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int LEFT> static __device__ __forceinline__ void wait_async()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

/* Four 8 x 16-byte matrices: lane l holds row l / 4, bytes 4 (l % 4) .. + 3 of each; lanes
 * 8 i .. 8 i + 7 give the row addresses of matrix i. */
static __device__ __forceinline__ void load_matrix4(uint32_t r[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/* The same matrices turned: lane l holds elements (2 bytes) l / 4 of rows 2 (l % 4) and the next. */
static __device__ __forceinline__ void load_matrix4_turned(uint32_t r[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/* d += A (16 x 32) B (32 x 8), bytes of either sign. */
#define PTQ_MMA(types)                                                                             \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." types ".s32 {%0, %1, %2, %3}, "          \
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                   \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
template <bool A_SIGNED, bool B_SIGNED = true>
static __device__ __forceinline__ void mma_16x8x32(int32_t d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    if (A_SIGNED && B_SIGNED)
        PTQ_MMA("s8.s8");
    else if (A_SIGNED)
        PTQ_MMA("s8.u8");
    else if (B_SIGNED)
        PTQ_MMA("u8.s8");
    else
        PTQ_MMA("u8.u8");
}
#undef PTQ_MMA

/* ---- the end of an integer product ---- */

/* Values are rounded half to even by adding 1.5 * 2^23, whose low byte then is the result's. */
static __device__ __forceinline__ float clamped(float x, float lo, float hi)
{
    return fminf(fmaxf(x, lo), hi); /* sends NaN to lo */
}

static __device__ __forceinline__ uint32_t four_bytes(const uint32_t b[4])
{
    return __byte_perm(__byte_perm(b[0], b[1], 0x0040), __byte_perm(b[2], b[3], 0x0040), 0x5410);
}

static __device__ __forceinline__ uint32_t low_bytes(const float v[4])
{
    uint32_t b[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        b[i] = __float_as_uint(v[i] + 12582912.0f);
    return four_bytes(b);
}

/* x / s without a division, y = 1 / s; quant_wide.cuh says where it is the law's quotient. */
static __device__ __forceinline__ float quotient(float x, float s, float y)
{
    float q = x * y;
    q = fmaf(fmaf(-q, s, x), y, q);
    return fmaf(fmaf(-q, s, x), y, q);
}

/* What ends a product: nothing, or a residual of this kind. The last two are the first and FLOAT_SUM in two thirds of
 * the instructions, where ptq_k_gemm.near holds and n is a multiple of 16. */
enum { PLAIN_END, PRODUCT_FIRST, SKIP_FIRST, FLOAT_SUM, NEAR_END, NEAR_SUM };

/* Code i of the residual's four, flipped to unsigned, less its zero point in FLOAT_SUM. */
static __device__ __forceinline__ float code_value(const ptq_k_gemm &a, uint32_t codes, int i)
{
    return __uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7540 + i)) - a.ends.base;
}

/* Four codes of results that are near: rounded before they are clamped, so that one integer instruction adds the zero
 * point and clamps both sides. */
template <bool SUM>
static __device__ __forceinline__ uint32_t near4(const ptq_k_gemm &a, const int32_t v[4], const float m[4], uint32_t s)
{
    uint32_t b[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float p = (float)v[i] * m[i];
        if (SUM)
            p = fmaf(code_value(a, s ^ a.ends.flip, i), a.residual.r, p);
        b[i] = (uint32_t)__viaddmin_s32_relu(__float_as_int(p + 12582912.0f), a.ends.shift, a.ends.span);
    }
    return four_bytes(b) ^ a.ends.top;
}

/* The bytes of ptq_requantize (less the zero point) or of ptq_requantize_residual (less the zero point in
 * FLOAT_SUM) for four accumulators; s holds four codes. */
template <int END>
static __device__ __forceinline__ uint32_t requantize4(const ptq_k_gemm &a, const int32_t v[4],
                                                       const float m[4], uint32_t s)
{
    float f[4];
    s ^= a.ends.flip;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float p = (float)v[i] * m[i];
        if (END == PLAIN_END) {
            f[i] = clamped(p, a.ends.lo, a.ends.hi);
            continue;
        }
        float c = code_value(a, s, i);
        if (END == FLOAT_SUM) {
            f[i] = clamped(fmaf(c, a.residual.r, p), a.ends.lo, a.ends.hi);
            continue;
        }
        float t = clamped(p, a.ends.lo, a.ends.hi) + 12582912.0f - a.ends.zy; /* the product's code */
        ptq_qadd_coef k = a.residual.add;
        f[i] = END == SKIP_FIRST ? fmaf(c, k.ra, fmaf(t, k.rb, k.fx)) : fmaf(t, k.ra, fmaf(c, k.rb, k.fx));
        f[i] = clamped(f[i], a.ends.lo2, a.ends.hi2);
    }
    return low_bytes(f);
}

/* Byte by byte, modulo 256; low is z's bytes without their top bits, high those bits. */
static __device__ __forceinline__ uint32_t add_bytes(uint32_t x, uint32_t low, uint32_t high)
{
    return ((x & 0x7f7f7f7fu) + low) ^ (x & 0x80808080u) ^ high;
}

/* Bias, multiplier and bias behind the multiplier (of tails) of 16 neighbouring channels from n on, four at a time:
 * read where they lie, in global or shared memory, in the order of ptq_k_gemm_entry_of. */
struct channels {
    const int4 *b;
    const float4 *m, *f;
    __device__ __forceinline__ channels(const int32_t *bias, const float *mult, const float *behind, int n)
        : b((const int4 *)bias + place(n)), m((const float4 *)mult + place(n)), f((const float4 *)behind + place(n))
    {
    }
    __device__ __forceinline__ int4 bias(int i) const { return b[4 * i]; }
    __device__ __forceinline__ float4 mult(int i) const { return m[4 * i]; }
    __device__ __forceinline__ float4 behind(int i) const { return f[4 * i]; }
    static __device__ __forceinline__ int place(int n) { return (n & ~63) / 4 + (n & 63) / 16; }
};

/* acc as in finish_codes. */
static __device__ __forceinline__ int32_t biased(const int32_t *acc, int row, int channel, int32_t bias)
{
    return (int32_t)((uint32_t)acc[channel / 2 * 4 + 2 * row + channel % 2] + (uint32_t)bias);
}

/* Codes of the residual for the two rows; those outside are not read. WHOLE: n is a multiple of 16. These are plain
 * loads: what the kernel before wrote while this one already ran may not pass through the cache for constants. */
template <bool WHOLE>
static __device__ __forceinline__ void load_skip(const ptq_k_gemm &a, int64_t m, int n, int64_t end,
                                                 uint32_t (&s)[2][4])
{
    const uint8_t *x = a.skip + m * a.n + n;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        bool inside = m + 8 * row < end;
        uint4 v = make_uint4(0, 0, 0, 0);
        if ((WHOLE || a.n % 16 == 0) && inside)
            v = *(const uint4 *)(x + (int64_t)8 * row * a.n);
        s[row][0] = v.x;
        s[row][1] = v.y;
        s[row][2] = v.z;
        s[row][3] = v.w;
        if constexpr (!WHOLE) {
#pragma unroll
            for (int e = 0; e < 16; e++)
                if (a.n % 16 != 0 && inside && n + e < a.n)
                    s[row][e / 4] |= (uint32_t)x[(int64_t)8 * row * a.n + e] << (e % 4 * 8);
        }
    }
}

/* Asks for what load_skip will read. */
static __device__ __forceinline__ void prefetch_skip(const ptq_k_gemm &a, int64_t m, int n, int64_t end)
{
#pragma unroll
    for (int row = 0; row < 2; row++)
        if (n < a.n && m + 8 * row < end)
            asm volatile("prefetch.global.L2 [%0];" ::"l"(a.skip + (m + 8 * row) * a.n + n));
}

static __device__ __forceinline__ void add_to_all(uint32_t (&out)[2][4], int32_t zy)
{
    uint32_t all = (uint32_t)(zy & 0xff) * 0x01010101u, low = all & 0x7f7f7f7fu, high = all & 0x80808080u;
#pragma unroll
    for (int i = 0; i < 8; i++)
        out[i / 4][i % 4] = add_bytes(out[i / 4][i % 4], low, high);
}

/* Writes codes of two rows, less the zero point `zy`, which is added first. WHOLE: n is a multiple of 16; stores by
 * bytes cost registers and room for instructions even where they are not taken. */
template <bool WHOLE>
static __device__ __forceinline__ void store_codes(const ptq_k_gemm &a, uint32_t (&out)[2][4], int32_t zy, int64_t m,
                                                   int n, int64_t end)
{
    if (zy & 0xff)
        add_to_all(out, zy);
    uint8_t *y = (uint8_t *)a.y + m * a.n + n;
    if (WHOLE || a.n % 16 == 0) {
        if (m < end)
            *(uint4 *)y = make_uint4(out[0][0], out[0][1], out[0][2], out[0][3]);
        if (m + 8 < end)
            *(uint4 *)(y + 8 * (int64_t)a.n) = make_uint4(out[1][0], out[1][1], out[1][2], out[1][3]);
    } else {
#pragma unroll
        for (int e = 0; e < 32; e++)
            if (n + e % 16 < a.n && m + e / 16 * 8 < end)
                y[(int64_t)(e / 16 * 8) * a.n + e % 16] = (uint8_t)(out[e / 16][e % 16 / 4] >> e % 4 * 8);
    }
}

/* Two rows (m and m + 8) of 16 neighbouring channels from n on. acc[4 j + 2 row + e] is channel
 * n + 2 j + e of its row. Rows from `end` on are not written. */
template <int END>
static __device__ __forceinline__ void finish_codes(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                    int64_t m, int n, int64_t end)
{
    constexpr bool ADDS = END != PLAIN_END && END != NEAR_END, NEAR = END >= NEAR_END;
    uint32_t out[2][4], skip[2][4] = {};
    if (ADDS)
        load_skip<NEAR>(a, m, n, end, skip);
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
            if constexpr (NEAR)
                out[row][i] = near4<ADDS>(a, v, mult, skip[row][i]);
            else
                out[row][i] = requantize4<END>(a, v, mult, skip[row][i]);
        }
    }
    store_codes<NEAR>(a, out, NEAR || (ADDS && END != FLOAT_SUM) ? 0 : a.zy, m, n, end);
}

static __device__ __forceinline__ void finish_single_floats(const ptq_k_gemm &a, const channels &c,
                                                            const int32_t *acc, int64_t m, int n, int64_t end)
{
#pragma unroll
    for (int e = 0; e < 32; e++) {
        int row = e / 16, ch = e % 16, at = ch / 4 * 16 + ch % 4;
        int32_t v = biased(acc, row, ch, ((const int32_t *)c.b)[at]);
        if (m + 8 * row < end && n + ch < a.n)
            ((float *)a.y)[(m + 8 * row) * a.n + n + ch] = (float)v * ((const float *)c.m)[at];
    }
}

/* Four floats at once. Two lanes that own neighbouring channels exchange quarters first: stored together,
 * theirs are 32 bytes side by side, which is what memory takes. All lanes of a warp come here, those
 * outside of the output too. */
static __device__ __forceinline__ void finish_floats(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                     int64_t m, int n, int64_t end)
{
    int odd = (int)threadIdx.x & 1, first = n - 16 * odd; /* of both lanes' channels */
    bool mine = n < a.n;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        int4 b[2] = {};
        float4 s[2] = {};
        for (int h = 0; h < 2 && mine; h++) {
            b[h] = c.bias(i + h);
            s[h] = c.mult(i + h);
        }
        int32_t bias[8] = {b[0].x, b[0].y, b[0].z, b[0].w, b[1].x, b[1].y, b[1].z, b[1].w};
        float mult[8] = {s[0].x, s[0].y, s[0].z, s[0].w, s[1].x, s[1].y, s[1].z, s[1].w};
#pragma unroll
        for (int row = 0; row < 2; row++) {
            float kept[4], got[4];
#pragma unroll
            for (int e = 0; e < 4; e++) {
                float low = (float)biased(acc, row, 4 * i + e, bias[e]) * mult[e];
                float high = (float)biased(acc, row, 4 * i + 4 + e, bias[4 + e]) * mult[4 + e];
                kept[e] = odd ? high : low;
                got[e] = __shfl_xor_sync(0xffffffffu, odd ? low : high, 1);
            }
            int at = first + 4 * i + 4 * odd;
            float *y = (float *)a.y + (m + 8 * row) * a.n + at;
            if (m + 8 * row < end && at < a.n)
                *(float4 *)y = odd ? make_float4(got[0], got[1], got[2], got[3])
                                   : make_float4(kept[0], kept[1], kept[2], kept[3]);
            if (m + 8 * row < end && at + 16 < a.n)
                *(float4 *)(y + 16) = odd ? make_float4(kept[0], kept[1], kept[2], kept[3])
                                          : make_float4(got[0], got[1], got[2], got[3]);
        }
    }
}

/* Kernels with a residual (ADDS) are compiled apart, so that the others keep their registers; those that
 * have none to spare write single floats. */
template <bool ADDS, bool WIDE_FLOATS = true>
static __device__ __forceinline__ void finish_rows(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                   int64_t m, int n, int64_t end)
{
    if ((ADDS || !WIDE_FLOATS || !a.float_out) && n >= a.n)
        return;
    if (ADDS) {
        if (a.residual.kind == PTQ_RESIDUAL_FLOAT)
            finish_codes<FLOAT_SUM>(a, c, acc, m, n, end);
        else if (a.residual.skip_first)
            finish_codes<SKIP_FIRST>(a, c, acc, m, n, end);
        else
            finish_codes<PRODUCT_FIRST>(a, c, acc, m, n, end);
        return;
    }
    if (a.float_out) { /* apart, so that the common case has no branches */
        if (WIDE_FLOATS && a.n % 4 == 0 && ((uintptr_t)a.y & 15) == 0)
            finish_floats(a, c, acc, m, n, end);
        else
            finish_single_floats(a, c, acc, m, n, end);
        return;
    }
    finish_codes<PLAIN_END>(a, c, acc, m, n, end);
}

#endif
