/* SPDX-License-Identifier: Apache-2.0 */
/* The rounding law of integer arithmetic, written once for C and CUDA. doc/numerics.md has one
 * row per integer step; every function here is one of those rows. The order of the float
 * operations is part of the law: compile with -ffp-contract=off (nvcc: --fmad=false), never
 * with fast-math. The current rounding mode must be to nearest, ties to even. */
#ifndef PTQ_CORE_QMATH_H
#define PTQ_CORE_QMATH_H

#include <math.h>
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

/* min/max that send NaN to `lo`, as the SSE instructions do with the bound as second operand. */
PTQ_HD float ptq_clampf(float x, float lo, float hi)
{
    x = x > lo ? x : lo;
    return x < hi ? x : hi;
}

/* Half to even. |x| must be below 2^31 (clamp first). */
PTQ_HD int32_t ptq_rint(float x)
{
    return (int32_t)rintf(x);
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

#endif
