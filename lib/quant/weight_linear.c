/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/quant/weight_impl.h"

static void choose_range(const ptq_weight *w, const ptq_grid *grid, ptq_weight_codes *q, int64_t c)
{
    const ptq_channel ch = ptq_weight_channel(w, q, c);
    float min, max;
    ptq_channel_range(&ch, &min, &max);
    ptq_grid_scale(grid, min, max, &q->scale[c], &q->zero_point[c]);
}

/* rint(w / scale) + zero point, saturated at the limits of the type (symmetric scales cannot get
 * below -127: |w| / scale rounds to 127 at most). */
static void encode_linear(const ptq_weight *w, ptq_weight_codes *q, int64_t c)
{
    const ptq_channel ch = ptq_weight_channel(w, q, c);
    const float s = q->scale[c];
    const int32_t z = q->zero_point[c];
    int32_t lo = -128, hi = 127;
    ptq_dtype_limits(q->dtype, &lo, &hi);
    PTQ_CHANNEL_RUNS (&ch, r) {
        for (int64_t i = 0; i < ch.inner; i++)
            ch.codes[r + i] = (uint8_t)ptq_quantize(ch.data[r + i], s, z, lo, hi);
    }
}

/* Sum of squared errors with a scale, symmetric grid. Eight partial sums, so that the loop can
 * become vector instructions and still has one order. */
enum { LANES = 8 };

static double symmetric_error(const ptq_channel *ch, float s, float top)
{
    const float inverse = 1.0f / s;
    double total = 0;
    PTQ_CHANNEL_RUNS (ch, r) {
        const float *x = ch->data + r;
        int64_t i = 0;
        double sum[LANES] = {0};
        for (; i + LANES <= ch->inner; i += LANES) {
            for (int j = 0; j < LANES; j++) {
                /* Adding and taking away 1.5 * 2^23 rounds |v| < 2^22 half to even. */
                float v = ptq_clampf(x[i + j] * inverse, -top, top);
                v = (v + 0x1.8p23f) - 0x1.8p23f;
                const float d = x[i + j] - v * s;
                sum[j] += (double)d * (double)d;
            }
        }
        for (; i < ch->inner; i++) {
            float v = ptq_clampf(x[i] * inverse, -top, top);
            v = (v + 0x1.8p23f) - 0x1.8p23f;
            const float d = x[i] - v * s;
            sum[0] += (double)d * (double)d;
        }
        for (int j = 0; j < LANES; j++)
            total += sum[j];
    }
    return total;
}

/* Ranges amax * 2^(-i/32), i = 0 .. 40, every fourth first, then those around the best; the first
 * of equals. Below 2^-1.25 of amax the clipped extreme alone costs more than rounding does in all
 * but freak channels, and the extremes of trained weights carry meaning. */
enum { RANGES = 40, STRIDE = 4 };

static void choose_mse(const ptq_weight *w, const ptq_grid *grid, ptq_weight_codes *q, int64_t c)
{
    const ptq_channel ch = ptq_weight_channel(w, q, c);
    float min, max;
    ptq_channel_range(&ch, &min, &max);
    const float amax = fmaxf(-min, max), top = (float)(grid->qmax - grid->qmin) / 2;
    ptq_grid_scale(grid, -amax, amax, &q->scale[c], &q->zero_point[c]);
    double best = symmetric_error(&ch, q->scale[c], top);
    int best_at = 0;
    for (int fine = 0; fine < 2 && amax > 0; fine++) {
        const int step = fine ? 1 : STRIDE, first = fine ? best_at - STRIDE + 1 : STRIDE;
        const int last = fine ? best_at + STRIDE - 1 : RANGES;
        for (int i = first; i <= last; i += step) {
            float s;
            int32_t zero_point;
            if (i < 1)
                continue;
            const float t = amax * exp2f(-(float)i / 32);
            ptq_grid_scale(grid, -t, t, &s, &zero_point);
            const double e = symmetric_error(&ch, s, top);
            if (e < best) {
                best = e;
                best_at = i;
                q->scale[c] = s;
            }
        }
    }
}

const ptq_weight_algo ptq_weight_symmetric = {
    .name = "symmetric",
    .summary = "linear, zero point in the middle: int8 -127..127",
    .symmetric = true,
    .choose = choose_range,
    .encode = encode_linear,
};

const ptq_weight_algo ptq_weight_asymmetric = {
    .name = "asymmetric",
    .summary = "linear with a zero point",
    .choose = choose_range,
    .encode = encode_linear,
};

const ptq_weight_algo ptq_weight_mse = {
    .name = "mse",
    .summary = "linear symmetric, the scale with the least mean squared error",
    .symmetric = true,
    .choose = choose_mse,
    .encode = encode_linear,
};
