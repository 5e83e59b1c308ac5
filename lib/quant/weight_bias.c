/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>

#include "lib/quant/weight_impl.h"

/* The smallest weight scale at which `bias` fits below `limit` and the product of the scales is
 * a normal float. */
static float least_scale(double bias, double limit, float input_scale)
{
    double need = fmax(fabs(bias) / (limit * (double)input_scale),
                       (double)FLT_MIN / (double)input_scale);
    float s = (float)need;
    while ((double)(s * input_scale) * limit < fabs(bias) || s * input_scale < FLT_MIN)
        s = nextafterf(s, INFINITY);
    return s;
}

ptq_status ptq_weight_fit_bias(const ptq_weight_algo *algo, const ptq_weight *w,
                               ptq_weight_codes *q, const float *bias, int64_t n_bias,
                               float input_scale, int64_t k, int32_t *bias_q, float *bias_scale,
                               int64_t *enlarged)
{
    const int64_t room = INT64_C(0x7fffffff) - k * (255 * 128);
    if (q->table || (q->axis >= 0 ? n_bias != q->channels : n_bias < 1) || !(input_scale > 0))
        return ptq_fail(PTQ_ERR_ARG, "weight %s: no int32 bias for these codes", w->name);
    if (k < 0 || k > PTQ_DOT_MAX)
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "weight %s: %lld products in a dot product do not fit 32-bit accumulators",
                        w->name, (long long)k);
    /* Half a unit less: rounding to an integer must not exceed the room either. */
    const double limit = (double)room - 1;
    int64_t changed = 0;
    for (int64_t c = 0; c < q->channels; c++) {
        double largest = 0;
        for (int64_t i = q->axis < 0 ? 0 : c; i < (q->axis < 0 ? n_bias : c + 1); i++) {
            if (!isfinite(bias[i]))
                return ptq_fail(PTQ_ERR_MODEL, "weight %s: bias element %lld is not finite",
                                w->name, (long long)i);
            largest = fmax(largest, fabs((double)bias[i]));
        }
        const float least = least_scale(largest, limit, input_scale);
        if (q->scale[c] < least) {
            PTQ_TRY(ptq_weight_codes_own(q));
            q->scale[c] = least;
            algo->encode(w, q, c);
            changed++;
        }
    }
    for (int64_t i = 0; i < n_bias; i++) {
        bias_scale[i] = input_scale * q->scale[q->axis < 0 ? 0 : i];
        bias_q[i] = (int32_t)rint((double)bias[i] / (double)bias_scale[i]);
    }
    if (changed)
        ptq_weight_measure(w, q);
    *enlarged = changed;
    return PTQ_OK;
}
