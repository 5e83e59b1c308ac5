/* SPDX-License-Identifier: Apache-2.0 */
/* The rounding law of integer arithmetic, written once for C and CUDA. doc/numerics.md has one
 * row per integer step; every function here is one of those rows. The order of the float
 * operations is part of the law: compile with -ffp-contract=off (nvcc: --fmad=false), never
 * with fast-math. The current rounding mode must be to nearest, ties to even. */
#ifndef PTQ_CORE_QMATH_H
#define PTQ_CORE_QMATH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __CUDACC__
#define PTQ_HD __host__ __device__ static inline
#else
#define PTQ_HD static inline
#endif

/* Integer grid of a quantized type: q in [lo, hi]. */
typedef struct ptq_qgrid {
    int32_t lo, hi;
} ptq_qgrid;

/* Scales that faster kernels may divide by with a reciprocal and get the law's quotient (lib/gpu/quant_wide.cuh). */
PTQ_HD bool ptq_plain_scale(float s)
{
    return s >= 0x1p-60f && s <= 0x1p60f;
}

/* min/max that send NaN to `lo`, as the SSE instructions do with the bound as second operand. */
PTQ_HD float ptq_clampf(float x, float lo, float hi)
{
    x = x > lo ? x : lo;
    return x < hi ? x : hi;
}

/* Half to even. |x| must be below 2^31 (clamp first). */
PTQ_HD int32_t ptq_rint(float x)
{
#ifdef __CUDA_ARCH__
    return __float2int_rn(x); /* the same in one instruction */
#else
    return (int32_t)rintf(x);
#endif
}

/* QuantizeLinear: saturate(rint(x / s) + z). True division; rounding before the zero point;
 * clamped in float before the conversion, so that nothing overflows. NaN gives lo. */
PTQ_HD int32_t ptq_quantize(float x, float s, int32_t z, int32_t lo, int32_t hi)
{
    return ptq_rint(ptq_clampf(x / s, (float)(lo - z), (float)(hi - z))) + z;
}

/* DequantizeLinear: (q - z) * s, the subtraction in integers. */
PTQ_HD float ptq_dequantize(int32_t q, float s, int32_t z)
{
    return (float)(q - z) * s;
}

/* Requantization of an int32 accumulator (bias included): float(acc) * m, clamp, round half to
 * even, then the zero point. m = (sx * sw) / sy in float, computed once on the host. */
PTQ_HD int32_t ptq_requantize(int32_t acc, float m, int32_t z, int32_t lo, int32_t hi)
{
    return ptq_rint(ptq_clampf((float)acc * m, (float)(lo - z), (float)(hi - z))) + z;
}

/* The multiplier of ptq_requantize. */
PTQ_HD float ptq_requant_multiplier(float sx, float sw, float sy)
{
    return (sx * sw) / sy;
}

/* ---- laws of the steps that have an order of their own (doc/numerics.md) ---- */

/* Addition: y = rint(fma(a, ra, fma(b, rb, fx))), the zero point inside the rounding. Which
 * operand is `a` matters in the last bit: see ptq_qadd_swapped in doc/numerics.md. */
typedef struct ptq_qadd_coef {
    float ra, rb, fx;
} ptq_qadd_coef;

PTQ_HD ptq_qadd_coef ptq_qadd_prepare(float sa, int32_t za, float sb, int32_t zb, float sy,
                                      int32_t zy)
{
    ptq_qadd_coef k;
    k.ra = sa / sy;
    k.rb = sb / sy;
    k.fx = (float)zy - fmaf(k.ra, (float)za, k.rb * (float)zb);
    return k;
}

PTQ_HD int32_t ptq_qadd(int32_t a, int32_t b, ptq_qadd_coef k, int32_t lo, int32_t hi)
{
    float y = fmaf((float)a, k.ra, fmaf((float)b, k.rb, k.fx));
    return ptq_rint(ptq_clampf(y, (float)lo, (float)hi));
}

/* What the end of an integer product adds: the codes `s` of a tensor of the product's shape.
 * ROUNDED keeps both roundings, as if the product and the sum were two steps; FLOAT adds before
 * the one rounding. skip_first: s is the first operand of the sum. */
enum { PTQ_RESIDUAL_NONE, PTQ_RESIDUAL_ROUNDED, PTQ_RESIDUAL_FLOAT };
typedef struct ptq_residual {
    int32_t kind, skip_first;
    int32_t lo, hi;    /* ROUNDED: range of the sum; the product has its own */
    ptq_qadd_coef add; /* ROUNDED: of the operands in their order */
    float r;           /* FLOAT: scale of s / scale of the output */
    int32_t z;         /* FLOAT: zero point of s */
} ptq_residual;

/* m, z, lo, hi as in ptq_requantize: the product's own grid (ROUNDED) or the output's (FLOAT). */
PTQ_HD int32_t ptq_requantize_residual(int32_t acc, float m, int32_t z, int32_t lo, int32_t hi,
                                       int32_t s, const ptq_residual *a)
{
    if (a->kind == PTQ_RESIDUAL_FLOAT) {
        float y = fmaf((float)(s - a->z), a->r, (float)acc * m);
        return ptq_rint(ptq_clampf(y, (float)(lo - z), (float)(hi - z))) + z;
    }
    int32_t t = ptq_requantize(acc, m, z, lo, hi);
    return a->skip_first ? ptq_qadd(s, t, a->add, a->lo, a->hi) : ptq_qadd(t, s, a->add, a->lo, a->hi);
}

/* Product: p = (a - za)(b - zb) exact in integers, m = (sa * sb) / sy; the zero point inside the
 * rounding, no fused multiply-add. */
PTQ_HD int32_t ptq_qmul(int32_t p, float m, int32_t zy, int32_t lo, int32_t hi)
{
    float y = (float)p * m + (float)zy;
    return ptq_rint(ptq_clampf(y, (float)lo, (float)hi));
}

/* Average pool: `sum` is the float sum of ptq_dequantize of the window's elements, added one by
 * one from +0 in the order of the window (outermost dimension first); n counts the elements (or
 * the kernel's size with count_include_pad). A window of nothing gives lo. */
PTQ_HD int32_t ptq_qavgpool(float sum, int32_t n, float sy, int32_t zy, int32_t lo, int32_t hi)
{
    float y = (sum / (float)n) / sy + (float)zy;
    return ptq_rint(ptq_clampf(y, (float)lo, (float)hi));
}

/* Global average pool: ptq_requantize of the exact sum of (x - zx) over n elements with this. */
PTQ_HD float ptq_qgap_multiplier(float sx, float sy, int32_t n)
{
    return sx / (sy * (float)n);
}

#endif
