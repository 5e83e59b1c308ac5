/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/qparams.h"

#include <float.h>
#include <math.h>

static const struct grid_row {
    ptq_dtype dtype;
    int32_t lo, hi;       /* all codes */
    int32_t sym_lo, sym_hi;
    int32_t red_lo, red_hi; /* one bit less */
} grids[] = {
    {PTQ_DT_U8, 0, 255, 0, 254, 0, 127},
    {PTQ_DT_S8, -128, 127, -127, 127, -64, 64},
    {PTQ_DT_U16, 0, 65535, 0, 65534, 0, 32767},
    {PTQ_DT_S16, -32768, 32767, -32767, 32767, -16384, 16384},
    {PTQ_DT_U4, 0, 15, 0, 14, 0, 7},
    {PTQ_DT_S4, -8, 7, -7, 7, -4, 3},
    {PTQ_DT_S32, INT32_MIN, INT32_MAX, -INT32_MAX, INT32_MAX, -(1 << 30), 1 << 30},
};

static const struct grid_row *find_grid(ptq_dtype dtype)
{
    for (size_t i = 0; i < PTQ_COUNT(grids); i++) {
        if (grids[i].dtype == dtype)
            return &grids[i];
    }
    return NULL;
}

bool ptq_dtype_limits(ptq_dtype dtype, int32_t *lo, int32_t *hi)
{
    const struct grid_row *g = find_grid(dtype);
    if (!g)
        return false;
    *lo = g->lo;
    *hi = g->hi;
    return true;
}

ptq_status ptq_grid_make(ptq_dtype dtype, bool symmetric, bool reduced, ptq_grid *out)
{
    const struct grid_row *g = find_grid(dtype);
    if (!g)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "no quantization to %s", ptq_dtype_name(dtype));
    *out = (ptq_grid){.dtype = dtype,
                      .symmetric = symmetric,
                      .qmin = reduced ? g->red_lo : symmetric ? g->sym_lo : g->lo,
                      .qmax = reduced ? g->red_hi : symmetric ? g->sym_hi : g->hi};
    return PTQ_OK;
}

void ptq_grid_scale(const ptq_grid *grid, float low, float high, float *scale,
                    int32_t *zero_point)
{
    const double levels = (double)grid->qmax - (double)grid->qmin;
    const int32_t middle = (int32_t)rint(((double)grid->qmin + (double)grid->qmax) / 2);
    low = fminf(low, 0.0f);
    high = fmaxf(high, 0.0f);
    if (grid->symmetric) {
        high = fmaxf(-low, high);
        low = -high;
    }
    if (low == 0.0f && high == 0.0f) {
        *scale = 1.0f;
        *zero_point = grid->symmetric ? middle : grid->qmin > 0 ? grid->qmin : 0;
        return;
    }
    /* The difference in float first, as ONNX Runtime has it; in double where float overflows. */
    const float range = high - low;
    double s = (isinf(range) ? (double)high - (double)low : (double)range) / levels;
    s = fmax(s, (double)PTQ_MIN_SCALE);
    if (grid->pow2) {
        int exponent;
        double m = frexp(s, &exponent);
        s = ldexp(1.0, m == 0.5 ? exponent - 1 : exponent); /* rounded up: nothing is cut off */
    }
    double z = grid->symmetric ? (double)middle : rint((double)grid->qmin - (double)low / s);
    z = fmin(fmax(z, (double)grid->qmin), (double)grid->qmax);
    *scale = (float)s;
    *zero_point = (int32_t)z;
    /* Near the largest float no code of the type may decode to infinity. */
    int32_t lo = grid->qmin, hi = grid->qmax;
    ptq_dtype_limits(grid->dtype, &lo, &hi);
    const double most = fmax((double)hi - z, z - (double)lo);
    while (most * (double)*scale > (double)FLT_MAX)
        *scale = grid->pow2 ? *scale / 2 : nextafterf(*scale, 0.0f);
}
