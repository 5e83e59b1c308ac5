/* SPDX-License-Identifier: Apache-2.0 */
/* The float law: exp, log, erf, tanh, sigmoid and the order of reductions, written once for C and
 * CUDA. A vector version does the same operations per lane, so every instruction set, thread count
 * and device gives the same bytes. Every multiply-add that is fused is written fmaf; compile with
 * -ffp-contract=off (nvcc: --fmad=false, no flush to zero, IEEE division and square root).
 *
 * The functions are free of branches, so that compilers vectorize loops over them. Polynomials are
 * weighted minimax fits (Lawson iteration) on the intervals named beside them. Largest errors,
 * measured against libm in double over every exponent: exp 1.0, log 0.8, erf 1.2, tanh 1.3,
 * sigmoid 2.2 units in the last place (tests/test_cpu_fmath.c keeps the bounds). */
#ifndef PTQ_CORE_FMATH_H
#define PTQ_CORE_FMATH_H

#include <string.h>

#include "lib/core/qmath.h"

PTQ_HD float ptq_bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

PTQ_HD uint32_t ptq_float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* Clip and Relu on floats: NaN stays NaN (so that it can be counted), -0 stays for Relu. */
PTQ_HD float ptq_fclamp(float x, float lo, float hi)
{
    x = lo > x ? lo : x;
    return hi < x ? hi : x;
}

/* e^x = 2^n e^r with n = rint(x / ln 2), |r| <= 0.347. Adding 1.5 * 2^23 leaves n in the low bits. */
PTQ_HD float ptq_expf(float x)
{
    const float magic = 12582912.0f;
    float c = ptq_fclamp(x, -104.0f, 89.0f); /* beyond: 0 and infinity */
    float k = fmaf(c, 1.44269504f, magic);
    int32_t n = (int32_t)(ptq_float_bits(k) - 0x4b400000u);
    k -= magic;
    float r = fmaf(k, -0.693145752f, c); /* ln 2 in two parts; the first has 8 zero bits */
    r = fmaf(k, -1.42860677e-6f, r);
    float p = 0.00139506289f;
    p = fmaf(p, r, 0.00836896989f);
    p = fmaf(p, r, 0.0416662022f);
    p = fmaf(p, r, 0.166665182f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(r * r, p, r) + 1.0f;
    /* Two factors: 2^n itself may not be a normal number. */
    int32_t h = n >> 1;
    float y = p * ptq_bits_float((uint32_t)(h + 127) << 23);
    y *= ptq_bits_float((uint32_t)(n - h + 127) << 23);
    return x != x ? x : y;
}

/* ln x = e ln 2 + ln(1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1). */
PTQ_HD float ptq_logf(float x)
{
    float s = x < 1.17549435e-38f ? x * 8388608.0f : x;
    float ebase = x < 1.17549435e-38f ? -23.0f : 0.0f;
    int32_t ix = (int32_t)ptq_float_bits(s);
    /* Wraps for negative x, whose result is replaced below. */
    int32_t e = (int32_t)((uint32_t)ix - 0x3f3504f3u) >> 23;
    float f = ptq_bits_float((uint32_t)ix - ((uint32_t)e << 23)) - 1.0f;
    float k = (float)e + ebase;
    float p = 0.0691580549f;
    p = fmaf(p, f, -0.117913105f);
    p = fmaf(p, f, 0.118735865f);
    p = fmaf(p, f, -0.123841546f);
    p = fmaf(p, f, 0.142185554f);
    p = fmaf(p, f, -0.16669257f);
    p = fmaf(p, f, 0.20002231f);
    p = fmaf(p, f, -0.249999866f);
    p = fmaf(p, f, 0.333333105f);
    float f2 = f * f;
    float t = fmaf(f * f2, p, -0.5f * f2);
    t = fmaf(k, -2.12194440e-4f, t);
    float y = fmaf(k, 0.693359375f, t + f);
    y = x == INFINITY ? x : y;
    y = x == 0.0f ? -INFINITY : y;
    y = x < 0.0f ? NAN : y;
    return x != x ? x : y;
}

/* x + x^3 P(x^2) below 0.625, 1 - 2 / (e^2|x| + 1) above. */
PTQ_HD float ptq_tanhf(float x)
{
    float a = fabsf(x);
    float z = x * x;
    float p = -0.00571703678f;
    p = fmaf(p, z, 0.0206505787f);
    p = fmaf(p, z, -0.0537434965f);
    p = fmaf(p, z, 0.133314908f);
    p = fmaf(p, z, -0.333332837f);
    float small = fmaf(x * z, p, x);
    float large = 1.0f - 2.0f / (ptq_expf(a + a) + 1.0f);
    return copysignf(a < 0.625f ? small : large, x); /* -0 too */
}

/* 1 / (1 + e^-|x|), times e^-|x| for negative x: no loss of digits on either side. */
PTQ_HD float ptq_sigmoidf(float x)
{
    float e = ptq_expf(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* x + x Q(x^2) below 0.921875, 1 - e^R(|x|) above with R = ln erfc; 1 from 4 on. */
PTQ_HD float ptq_erff(float x)
{
    float a = fabsf(x);
    float z = x * x;
    float q = 8.39570057e-05f;
    q = fmaf(q, z, -0.0008149317f);
    q = fmaf(q, z, 0.0052016736f);
    q = fmaf(q, z, -0.0268596858f);
    q = fmaf(q, z, 0.112837017f);
    q = fmaf(q, z, -0.376126349f);
    q = fmaf(q, z, 0.128379166f);
    float small = fmaf(x, q, x);
    float t = a > 4.0f ? 4.0f : a;
    float r = -2.1183374e-05f;
    r = fmaf(r, t, 0.000435467751f);
    r = fmaf(r, t, -0.00417585252f);
    r = fmaf(r, t, 0.0251318198f);
    r = fmaf(r, t, -0.108298905f);
    r = fmaf(r, t, -0.633330107f);
    r = fmaf(r, t, -1.12952304f);
    r = fmaf(r, t, 0.000176342655f);
    float large = copysignf(1.0f - ptq_expf(r), x);
    return a < 0.921875f ? small : large;
}

/* Gelu, exact form: 0.5 x (1 + erf(x / sqrt 2)). */
PTQ_HD float ptq_geluf(float x)
{
    return (0.5f * x) * (1.0f + ptq_erff(x * 0.707106781f));
}

/* Gelu, approximate="tanh". */
PTQ_HD float ptq_gelu_tanhf(float x)
{
    float u = 0.797884561f * fmaf(0.044715f * x, x * x, x);
    return (0.5f * x) * (1.0f + ptq_tanhf(u));
}

/* GELU as graphs have it: none; x (erf(x / sqrt 2) + 1) / 2 as its five nodes round it; the operator; five
 * nodes that halve before they multiply by x. */
enum { PTQ_GELU_NONE, PTQ_GELU_NODES, PTQ_GELU_EXACT, PTQ_GELU_HALVED };
#define PTQ_SQRT2F 1.41421354f
PTQ_HD float ptq_gelu_of(float x, int kind)
{
    return kind == PTQ_GELU_NODES    ? (x * (ptq_erff(x / PTQ_SQRT2F) + 1.0f)) * 0.5f
           : kind == PTQ_GELU_EXACT  ? ptq_geluf(x)
           : kind == PTQ_GELU_HALVED ? x * ((ptq_erff(x / PTQ_SQRT2F) + 1.0f) * 0.5f)
                                     : x;
}

/* ln(1 + e^x) without overflow: max(x, 0) + ln(1 + e^-|x|); ln(1 + e) is corrected for the digits
 * that 1 + e drops. */
PTQ_HD float ptq_softplusf(float x)
{
    float e = ptq_expf(-fabsf(x));
    float u = 1.0f + e;
    float l = ptq_logf(u) + (e - (u - 1.0f)) / u;
    return (x > 0.0f ? x : 0.0f) + (x != x ? x : l);
}

PTQ_HD float ptq_hard_sigmoidf(float x, float alpha, float beta)
{
    return ptq_fclamp(alpha * x + beta, 0.0f, 1.0f);
}

PTQ_HD float ptq_hard_swishf(float x)
{
    return x * ptq_hard_sigmoidf(x, 0.166666667f, 0.5f);
}

PTQ_HD float ptq_leaky_reluf(float x, float alpha)
{
    return x < 0.0f ? x * alpha : x;
}

PTQ_HD float ptq_eluf(float x, float alpha)
{
    return x < 0.0f ? alpha * (ptq_expf(x) - 1.0f) : x;
}

PTQ_HD float ptq_seluf(float x, float alpha, float gamma)
{
    return gamma * (x > 0.0f ? x : fmaf(alpha, ptq_expf(x), -alpha));
}

PTQ_HD float ptq_softsignf(float x)
{
    return x / (1.0f + fabsf(x));
}

PTQ_HD float ptq_mishf(float x)
{
    return x * ptq_tanhf(ptq_softplusf(x));
}

PTQ_HD float ptq_signf(float x)
{
    return x != x ? x : (float)((x > 0.0f) - (x < 0.0f));
}

/* Minimum and maximum: NaN of either side wins, the first of two; of equal values the first. */
PTQ_HD float ptq_minf(float a, float b)
{
    return a != a ? a : (b < a || b != b ? b : a);
}

PTQ_HD float ptq_maxf(float a, float b)
{
    return a != a ? a : (b > a || b != b ? b : a);
}

/* Powers by multiplication and IEEE square root; other exponents go through double and libm. */
PTQ_HD int ptq_pow_is_exact(float e)
{
    return e == 2.0f || e == 3.0f || e == 0.5f;
}

PTQ_HD float ptq_pow_exactf(float x, float e)
{
    return e == 2.0f ? x * x : e == 3.0f ? x * x * x : sqrtf(x);
}

/* ---- reductions ----
 * Element i of a reduction (row-major order over the reduced axes) is added to partial i % 16;
 * partials start at +0 and are folded 8, 4, 2, 1. The loops have constant bounds, so that the
 * partials can stay in registers. */
enum { PTQ_LANES = 16, PTQ_MAX_LANES = 64 };

PTQ_HD float ptq_fold16(float p[PTQ_LANES])
{
    for (int w = PTQ_LANES / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            p[i] += p[i + w];
    return p[0];
}

/* Sum of n values, `stride` elements apart. */
PTQ_HD float ptq_sum16(const float *x, int64_t n, int64_t stride)
{
    float p[PTQ_LANES] = {0};
    for (int64_t i = 0; i < n; i += PTQ_LANES)
        for (int l = 0; l < PTQ_LANES; l++)
            if (i + l < n)
                p[l] += x[(i + l) * stride];
    return ptq_fold16(p);
}

/* Sum of squares of x - mean: one fmaf per element on the same partials. */
PTQ_HD float ptq_sumsq16(const float *x, float mean, int64_t n, int64_t stride)
{
    float p[PTQ_LANES] = {0};
    for (int64_t i = 0; i < n; i += PTQ_LANES)
        for (int l = 0; l < PTQ_LANES; l++)
            if (i + l < n) {
                float d = x[(i + l) * stride] - mean;
                p[l] = fmaf(d, d, p[l]);
            }
    return ptq_fold16(p);
}

/* Maximum: 64 partials that start at the first value and are folded 32, 16, ... 1. The order tells
 * which of +0 and -0, or of several NaN, is the result. */
PTQ_HD float ptq_max_fold64(float p[PTQ_MAX_LANES])
{
    for (int w = PTQ_MAX_LANES / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            p[i] = ptq_maxf(p[i], p[i + w]);
    return p[0];
}

PTQ_HD float ptq_max64(const float *x, int64_t n, int64_t stride)
{
    float p[PTQ_MAX_LANES];
    for (int l = 0; l < PTQ_MAX_LANES; l++)
        p[l] = n > 0 ? x[0] : -INFINITY;
    for (int64_t i = 0; i < n; i += PTQ_MAX_LANES)
        for (int l = 0; l < PTQ_MAX_LANES; l++)
            if (i + l < n)
                p[l] = ptq_maxf(p[l], x[(i + l) * stride]);
    return ptq_max_fold64(p);
}

/* Layer normalization of one element, with rstd = 1 / sqrt(var + eps). */
PTQ_HD float ptq_normalizef(float x, float mean, float rstd, float scale, float bias)
{
    return fmaf((x - mean) * rstd, scale, bias);
}

#endif
