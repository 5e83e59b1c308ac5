/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/log2.h"

#include <math.h>
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/quant/sides.h"

int32_t ptq_log2_level(float r, int32_t top)
{
    /* |r| = m 2^e with m in [1/2, 1): log2 |r| rounds to e where m >= 2^(-1/2), else to e - 1. */
    int e;
    const float m = frexpf(fabsf(r), &e);
    if (!(m > 0)) /* zero, NaN */
        return 0;
    if (isinf(r))
        return r < 0 ? -top : top;
    e -= m < 0x1.6a09e8p-1f; /* the smallest float that is not below sqrt(1/2) */
    if (e < 0)
        return 0;
    const int32_t level = e < 30 && (1 << e) < top ? 1 << e : top;
    return r < 0 ? -level : level;
}

static int32_t power_below(int32_t x)
{
    int32_t p = x > 0 ? 1 : 0;
    while (p && 2 * p <= x)
        p *= 2;
    return p;
}

/* The largest levels above and below a zero point. */
static ptq_status tops(ptq_dtype dtype, int32_t zero_point, int32_t *below, int32_t *above)
{
    int32_t lo, hi;
    if ((dtype != PTQ_DT_S8 && dtype != PTQ_DT_U8) || !ptq_dtype_limits(dtype, &lo, &hi) ||
        zero_point < lo || zero_point > hi)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "log2 activations of type %s, zero point %d",
                        ptq_dtype_name(dtype), (int)zero_point);
    *below = power_below(zero_point - lo);
    *above = power_below(hi - zero_point);
    if (dtype == PTQ_DT_S8) {
        *below = *below < PTQ_LOG2_TOP ? *below : PTQ_LOG2_TOP;
        *above = *above < PTQ_LOG2_TOP ? *above : PTQ_LOG2_TOP;
    }
    return PTQ_OK;
}

ptq_status ptq_log2_table(ptq_dtype dtype, float scale, int32_t zero_point, float out_scale,
                          int32_t out_zero_point, uint8_t table[256])
{
    int32_t below, above;
    PTQ_TRY(tops(dtype, out_zero_point, &below, &above));
    for (int i = 0; i < 256; i++) {
        const int32_t code = dtype == PTQ_DT_S8 ? (int32_t)(int8_t)i : i;
        const float r = ptq_dequantize(code, scale, zero_point) / out_scale;
        const int32_t level = ptq_log2_level(r, r < 0 ? below : above);
        const bool fits = r < 0 ? below > 0 : above > 0;
        table[i] = (uint8_t)(out_zero_point + (fits ? level : 0));
    }
    return PTQ_OK;
}

/* Sum of squared errors of one side: a value goes to the nearest linear code k of 0 .. limit, and
 * that to its level. Codes of the same level form one interval. */
static double side_error(const ptq_side *s, double scale, int32_t limit, int32_t top)
{
    ptq_moments from = {0, 0, 0};
    double error = 0;
    for (int32_t k = 0; k <= limit;) {
        const int32_t level = top > 0 ? ptq_log2_level((float)k, top) : 0;
        while (k <= limit && (top > 0 ? ptq_log2_level((float)k, top) : 0) == level)
            k++;
        const ptq_moments to =
            k > limit ? s->before[s->n] : ptq_side_upto(s, ((double)k - 0.5) * scale);
        const double v = (double)level * scale;
        const double e = (to.square - from.square) - 2 * v * (to.sum - from.sum) +
                         v * v * (to.mass - from.mass);
        error += e > 0 ? e : 0;
        from = to;
    }
    return error;
}

ptq_status ptq_log2_act_scale(const ptq_tensor_stats *stats, ptq_dtype dtype, int32_t zero_point,
                              float *scale, double *mse)
{
    int32_t below, above, lo = 0, hi = 0;
    PTQ_TRY(tops(dtype, zero_point, &below, &above));
    ptq_dtype_limits(dtype, &lo, &hi);
    if (stats->summary.finite == 0)
        return ptq_fail(PTQ_ERR_DATA, "tensor %s: no finite value was observed", stats->name);
    ptq_sides s;
    PTQ_TRY(ptq_sides_make(stats, &s));
    /* The top level from sqrt(2) times the extreme down to 2^-6 of it, in steps of 2^(1/16). */
    const double amax = fmax(s.neg.max, s.pos.max);
    const double top = (double)(below > above ? below : above);
    double best = (double)INFINITY;
    float best_scale = 1.0f;
    for (int i = 8; i >= -96 && amax > 0; i--) {
        const float t = (float)fmax(amax * exp2((double)i / 16) / top, (double)PTQ_MIN_SCALE);
        const double e = side_error(&s.pos, (double)t, hi - zero_point, above) +
                         side_error(&s.neg, (double)t, zero_point - lo, below);
        if (e < best) {
            best = e;
            best_scale = t;
        }
    }
    if (amax == 0)
        best = 0;
    *scale = best_scale;
    if (mse)
        *mse = best / s.total;
    ptq_sides_clear(&s);
    return PTQ_OK;
}
