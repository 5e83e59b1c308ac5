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

static float symmetric_loss(float x, float inverse, float s, float top)
{
    /* Adding and taking away 1.5 * 2^23 rounds |v| < 2^22 half to even. */
    float v = ptq_clampf(x * inverse, -top, top);
    v = (v + 0x1.8p23f) - 0x1.8p23f;
    return x - v * s;
}

static double symmetric_error(const ptq_channel *ch, const ptq_grid *grid, float s)
{
    return ptq_channel_error(ch, s, (float)(grid->qmax - grid->qmin) / 2, symmetric_loss);
}

static float symmetric_scale(const ptq_grid *grid, float amax, int i)
{
    const float t = amax * exp2f(-(float)i / 32);
    float s;
    int32_t zero_point;
    ptq_grid_scale(grid, -t, t, &s, &zero_point);
    return s;
}

/* Ranges amax * 2^(-i/32), i = 0 .. 40. Below 2^-1.25 of amax the clipped extreme alone costs more
 * than rounding does in all but freak channels, and the extremes of trained weights carry
 * meaning. */
static const ptq_scale_search mse_search = {.last = 40, .least = 0, .scale = symmetric_scale, .error = symmetric_error};

static void choose_mse(const ptq_weight *w, const ptq_grid *grid, ptq_weight_codes *q, int64_t c)
{
    const ptq_channel ch = ptq_weight_channel(w, q, c);
    float min, max;
    ptq_channel_range(&ch, &min, &max);
    const float amax = fmaxf(-min, max);
    ptq_grid_scale(grid, -amax, amax, &q->scale[c], &q->zero_point[c]);
    ptq_search_scale(&mse_search, &ch, grid, amax, &q->scale[c]);
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
