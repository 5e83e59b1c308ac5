/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/cpu/f_resize.h"

/* The place in the input that output position o comes from. */
static float source(const ptq_resize_args *a, int d, int64_t o, int64_t n, int64_t m)
{
    float x = (float)o, scale = a->scale[d];
    if (strcmp(a->coord, "asymmetric") == 0)
        return x / scale;
    if (strcmp(a->coord, "align_corners") == 0)
        return m == 1 ? 0.0f : x * (float)(n - 1) / (a->length[d] - 1.0f);
    if (strcmp(a->coord, "tf_half_pixel_for_nn") == 0)
        return (x + 0.5f) / scale;
    if (strcmp(a->coord, "pytorch_half_pixel") == 0)
        return m > 1 ? (x + 0.5f) / scale - 0.5f : 0.0f;
    if (strcmp(a->coord, "half_pixel_symmetric") == 0) {
        float fit = (float)m / (scale * (float)n), center = (float)n / 2.0f;
        return center * (1.0f - fit) + (x + 0.5f) / scale - 0.5f;
    }
    if (a->crop) {
        float begin = a->roi[0][d] * (float)(n - 1), span = (a->roi[1][d] - a->roi[0][d]) * (float)(n - 1);
        return begin + (m > 1 ? x * span / (float)(m - 1) : span / 2.0f);
    }
    return (x + 0.5f) / scale - 0.5f;
}

static int64_t clamp(int64_t v, int64_t n)
{
    return v < 0 ? 0 : v >= n ? n - 1 : v;
}

static float nearest(const ptq_resize_args *a, float x, float scale)
{
    if (a->simple)
        return scale < 1.0f ? ceilf(x) : floorf(x);
    if (strcmp(a->nearest, "floor") == 0)
        return floorf(x);
    if (strcmp(a->nearest, "ceil") == 0)
        return ceilf(x);
    if (strcmp(a->nearest, "round_prefer_ceil") == 0)
        return floorf(x + 0.5f);
    return ceilf(x - 0.5f); /* round_prefer_floor */
}

/* Keys' cubic kernel with parameter A at distances f + 1, f, 1 - f, 2 - f. */
static void cubic_weights(float f, float A, float w[4])
{
    float g = 1.0f - f;
    w[0] = ((A * (f + 1) - 5 * A) * (f + 1) + 8 * A) * (f + 1) - 4 * A;
    w[1] = ((A + 2) * f - (A + 3)) * f * f + 1;
    w[2] = ((A + 2) * g - (A + 3)) * g * g + 1;
    w[3] = ((A * (g + 1) - 5 * A) * (g + 1) + 8 * A) * (g + 1) - 4 * A;
}

/* ---- antialias: the filter as wide as the step between outputs ---- */

static float cubic_at(float x, float A)
{
    x = fabsf(x);
    if (x <= 1.0f)
        return ((A + 2) * x - (A + 3)) * x * x + 1;
    return x < 2.0f ? ((A * x - 5 * A) * x + 8 * A) * x - 4 * A : 0.0f;
}

static float shrink_of(const ptq_resize_args *a, int d)
{
    return a->scale[d] < 1.0f ? a->scale[d] : 1.0f;
}

static int64_t first_tap(const ptq_resize_args *a, int d)
{
    float reach = strcmp(a->mode, "linear") == 0 ? 1.0f : 2.0f;
    return (int64_t)floorf(-reach / shrink_of(a, d)) + 1;
}

/* Taps around `base`, which x lies above or at most one behind. */
static void wide_weights(const ptq_resize_args *a, int d, float ratio, int n, float *w)
{
    bool linear = strcmp(a->mode, "linear") == 0;
    int64_t first = first_tap(a, d);
    for (int i = 0; i < n; i++) {
        float x = ((float)(first + i) - ratio) * shrink_of(a, d), t = 1.0f - fabsf(x);
        w[i] = linear ? (t > 0.0f ? t : 0.0f) : cubic_at(x, a->cubic_a);
    }
}

/* ---- taps of one output ---- */

static void normalize(float *w, int n)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++)
        sum += w[i];
    for (int i = 0; i < n; i++)
        w[i] /= sum;
}

static void place_taps(const ptq_resize_args *a, int64_t base, int64_t n, int taps, int64_t *at, float *w)
{
    for (int i = 0; i < taps; i++) {
        at[i] = clamp(base + i, n);
        if (a->exclude_outside && at[i] != base + i)
            w[i] = 0.0f;
    }
    if (a->exclude_outside || a->antialias)
        normalize(w, taps);
}

static void make_taps(const ptq_resize_args *a, int d, float x, int64_t n, int taps, int64_t *at, float *w)
{
    if (strcmp(a->mode, "nearest") == 0) {
        at[0] = clamp((int64_t)nearest(a, x, a->scale[d]), n);
        w[0] = 1.0f;
    } else if (a->antialias) {
        float base = ceilf(x) - 1.0f;
        wide_weights(a, d, x - base, taps, w);
        place_taps(a, (int64_t)base + first_tap(a, d), n, taps, at, w);
    } else if (strcmp(a->mode, "linear") == 0) {
        x = x < 0.0f ? 0.0f : x > (float)(n - 1) ? (float)(n - 1) : x;
        at[0] = (int64_t)x;
        at[1] = clamp(at[0] + 1, n);
        w[1] = x - (float)at[0];
        w[0] = 1.0f - w[1];
    } else {
        float base = floorf(x);
        cubic_weights(x - base, a->cubic_a, w);
        place_taps(a, (int64_t)base - 1, n, taps, at, w);
    }
}

static int count_taps(const ptq_resize_args *a, int d)
{
    if (strcmp(a->mode, "nearest") == 0)
        return 1;
    if (!a->antialias)
        return strcmp(a->mode, "linear") == 0 ? 2 : 4;
    return (int)(2 - 2 * first_tap(a, d));
}

ptq_status ptq_resize_taps_of(const ptq_resize_args *a, int d, int64_t n, int64_t m, ptq_resize_taps *out)
{
    ptq_resize_taps t = {0};
    size_t count;
    if (a->antialias && !(a->scale[d] > 1e-6f))
        return ptq_fail(PTQ_ERR_MODEL, "a scale of %g cannot be antialiased", (double)a->scale[d]);
    t.n = count_taps(a, d);
    if (!ptq_mul_size((size_t)m + 1, (size_t)t.n, &count))
        return ptq_fail_nomem();
    t.at = ptq_calloc(count, sizeof *t.at);
    t.w = ptq_calloc(count, sizeof *t.w);
    if (!t.at || !t.w) {
        free(t.at);
        free(t.w);
        return ptq_fail_nomem();
    }
    for (int64_t o = 0; o < m; o++) {
        float x = source(a, d, o, n, m);
        if (a->crop && (x < 0.0f || x > (float)(n - 1)))
            t.at[o * t.n] = -1;
        else
            make_taps(a, d, x, n, t.n, t.at + o * t.n, t.w + o * t.n);
    }
    *out = t;
    return PTQ_OK;
}
