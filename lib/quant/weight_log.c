/* SPDX-License-Identifier: Apache-2.0 */
/* Log quantization: the levels are powers of 2^(1/steps). */
#include <float.h>
#include <math.h>
#include <string.h>

#include "lib/quant/log2.h"
#include "lib/quant/weight_impl.h"

enum {
    TOP = 127,     /* magnitude codes 0 .. 127 of the table form */
    ZERO = 0x80,   /* "-0" */
};

/* -- one step per octave: codes are integers ----------------------------------------------- */

static void encode_log2(const ptq_weight *w, ptq_weight_codes *q, int64_t c)
{
    const ptq_channel ch = ptq_weight_channel(w, q, c);
    PTQ_CHANNEL_RUNS (&ch, r) {
        for (int64_t i = 0; i < ch.inner; i++)
            ch.codes[r + i] =
                (uint8_t)ptq_log2_level(ch.data[r + i] / q->scale[c], PTQ_LOG2_TOP);
    }
}

/* The level of |r| as a float: clearing the mantissa of sqrt(2) |r| rounds log2 |r|. */
static inline float level_of(float r)
{
    r = fabsf(r) * 0x1.6a09e6p+0f;
    uint32_t bits;
    memcpy(&bits, &r, sizeof bits);
    bits &= 0xff800000u;
    float level;
    memcpy(&level, &bits, sizeof level);
    level = level < (float)PTQ_LOG2_TOP ? level : (float)PTQ_LOG2_TOP;
    return level >= 1.0f ? level : 0.0f;
}

static float log2_loss(float x, float inverse, float s, float top)
{
    (void)top;
    return fabsf(x) - level_of(x * inverse) * s;
}

static double log2_error(const ptq_channel *ch, const ptq_grid *grid, float s)
{
    (void)grid;
    return ptq_channel_error(ch, s, PTQ_LOG2_TOP, log2_loss);
}

static float log2_scale(const ptq_grid *grid, float amax, int i)
{
    const double full = (double)amax * exp2((double)(8 - i) / 16);
    (void)grid;
    return (float)fmax(full / PTQ_LOG2_TOP, (double)PTQ_MIN_SCALE);
}

/* The top level at amax * 2^(k/16), k = 8 .. -20. Above 2^(1/2) amax the top level would stay
 * empty; the levels repeat with every octave, so lower ones trade the clipping of the largest
 * weights against the zeroing of the smallest. */
static const ptq_scale_search log2_search = {.last = 28, .least = -3, .scale = log2_scale, .error = log2_error};

static void choose_log2(const ptq_weight *w, const ptq_grid *grid, ptq_weight_codes *q, int64_t c)
{
    const ptq_channel ch = ptq_weight_channel(w, q, c);
    float min, max;
    ptq_channel_range(&ch, &min, &max);
    q->zero_point[c] = 0;
    q->scale[c] = 1.0f;
    ptq_search_scale(&log2_search, &ch, grid, fmaxf(-min, max), &q->scale[c]);
}

const ptq_weight_algo ptq_weight_log2 = {
    .name = "log2",
    .summary = "powers of two: int8 codes 0, +-1, +-2, ... +-64 with a scale",
    .steps = 1,
    .symmetric = true,
    .choose = choose_log2,
    .encode = encode_log2,
};

/* -- several steps per octave: sign and magnitude codes with a table ------------------------ */

/* 2^(i/16) */
static const double sixteenths[16] = {
    0x1.0000000000000p+0, 0x1.0b5586cf9890fp+0, 0x1.172b83c7d517bp+0, 0x1.2387a6e756238p+0,
    0x1.306fe0a31b715p+0, 0x1.3dea64c123422p+0, 0x1.4bfdad5362a27p+0, 0x1.5ab07dd485429p+0,
    0x1.6a09e667f3bcdp+0, 0x1.7a11473eb0187p+0, 0x1.8ace5422aa0dbp+0, 0x1.9c49182a3f090p+0,
    0x1.ae89f995ad3adp+0, 0x1.c199bdd85529cp+0, 0x1.d5818dcfba487p+0, 0x1.ea4afa2a490dap+0};

/* 2^(k/steps) */
static double step_power(int k, int steps)
{
    const int unit = 16 / steps;
    const int octave = k >= 0 ? k / steps : -((steps - 1 - k) / steps);
    return ldexp(sixteenths[(k - octave * steps) * unit], octave);
}

/* rint(steps * log2(x)), x > 0, by comparison with the midpoints 2^((k + 1/2) / steps). */
static int step_log(double x, int steps)
{
    int octave;
    const double m = 2 * frexp(x, &octave); /* [1, 2) */
    octave--;
    int k = 0;
    while (k < steps) {
        const double mid = steps == 16 ? sixteenths[k] * 0x1.059b0d3158574p+0 /* 2^(1/32) */
                                       : sixteenths[(2 * k + 1) * 8 / steps];
        if (m < mid)
            break;
        k++;
    }
    return octave * steps + k;
}

/* Magnitude code k stands for 2^((z + k) / steps) (HiSilicon's NNIE, steps = 16); the byte is sign
 * and magnitude; 0x80 is zero, so the smallest negative magnitude is 1 and 0x00 is a value. */
struct log_grid {
    int z, steps;
    double least_pos, least_neg; /* half of the smallest level; below: zero */
};

static uint8_t table_code(double x, const struct log_grid *g)
{
    const double a = fabs(x);
    if (a < g->least_pos || x == 0)
        return ZERO;
    int k = step_log(a, g->steps) - g->z;
    k = k > TOP ? TOP : k;
    if (x > 0)
        return (uint8_t)(k < 0 ? 0 : k);
    return a > g->least_neg ? (uint8_t)(ZERO | (k < 1 ? 1 : k)) : ZERO;
}

static void fill_table(float table[256], int z, int steps)
{
    for (int k = 0; k <= TOP; k++) {
        table[k] = (float)step_power(z + k, steps);
        table[ZERO | k] = -table[k];
    }
    table[ZERO] = 0.0f;
}

/* The exponent of full scale: rint(steps * log2(amax)), below infinity. */
static int full_scale(const ptq_weight *w, ptq_weight_codes *q, int64_t c, int steps)
{
    const ptq_channel ch = ptq_weight_channel(w, q, c);
    float min, max;
    ptq_channel_range(&ch, &min, &max);
    const double amax = fmax(fmax(-(double)min, (double)max), (double)PTQ_MIN_SCALE);
    const int k = step_log(amax, steps);
    return k < 128 * steps ? k : 128 * steps - 1;
}

/* Per tensor the table holds the levels themselves and the scale is 1. Per channel its top level
 * is 1, and the channel's scale is its full scale. */
static void levels(const ptq_weight *w, ptq_weight_codes *q, int steps)
{
    fill_table(q->table, (w->axis < 0 ? full_scale(w, q, 0, steps) : 0) - TOP, steps);
}

static void choose_steps(const ptq_weight *w, ptq_weight_codes *q, int64_t c, int steps)
{
    q->zero_point[c] = 0;
    q->scale[c] = w->axis < 0 ? 1.0f : (float)step_power(full_scale(w, q, c, steps), steps);
}

static void encode_steps(const ptq_weight *w, ptq_weight_codes *q, int64_t c, int steps)
{
    const ptq_channel ch = ptq_weight_channel(w, q, c);
    /* The table's top level is a power of 2^(1/steps), rounded to float. */
    const int z = step_log((double)q->table[TOP], steps) - TOP;
    const struct log_grid g = {z, steps, step_power(z, steps) / 2, step_power(z + 1, steps) / 2};
    const double scale = (double)q->scale[c];
    PTQ_CHANNEL_RUNS (&ch, r) {
        for (int64_t i = 0; i < ch.inner; i++)
            ch.codes[r + i] = table_code((double)ch.data[r + i] / scale, &g);
    }
}

#define STEPS_ROW(n)                                                                               \
    static void levels_##n(const ptq_weight *w, ptq_weight_codes *q)                               \
    {                                                                                              \
        levels(w, q, n);                                                                           \
    }                                                                                              \
    static void choose_##n(const ptq_weight *w, const ptq_grid *grid, ptq_weight_codes *q,         \
                           int64_t c)                                                              \
    {                                                                                              \
        (void)grid;                                                                                \
        choose_steps(w, q, c, n);                                                                  \
    }                                                                                              \
    static void encode_##n(const ptq_weight *w, ptq_weight_codes *q, int64_t c)                    \
    {                                                                                              \
        encode_steps(w, q, c, n);                                                                  \
    }

STEPS_ROW(2)
STEPS_ROW(16)

const ptq_weight_algo ptq_weight_log2x2 = {
    .name = "log2x2",
    .summary = "two levels per octave, 8-bit codes with a table",
    .steps = 2,
    .table = true,
    .symmetric = true,
    .choose = choose_2,
    .encode = encode_2,
    .levels = levels_2,
};

const ptq_weight_algo ptq_weight_log2x16 = {
    .name = "log2x16",
    .summary = "16 levels per octave, sign-magnitude codes with a table (the form of NNIE)",
    .steps = 16,
    .table = true,
    .symmetric = true,
    .choose = choose_16,
    .encode = encode_16,
    .levels = levels_16,
};
