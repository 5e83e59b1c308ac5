/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "lib/calib/image.h"

/* Weights are held with this many fractional bits, so that 255 * 2 (the bicubic overshoot)
 * still fits an int32 sum. */
enum { WEIGHT_BITS = 32 - 8 - 2 };

static double triangle(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Keys 1981, equation 4, with a = -0.5. */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

/* For each output position: first input, number of inputs, weights that sum to 1. */
typedef struct taps {
    int n_out, width; /* width: room for weights per output */
    int *first, *count;
    double *w;
    int32_t *fixed;
} taps;

static void taps_free(taps *t)
{
    free(t->first);
    free(t->count);
    free(t->w);
    free(t->fixed);
}

/* The filter is stretched by the reduction factor, which is what antialiasing means here. */
static ptq_status taps_make(taps *t, int n_in, int n_out, ptq_filter filter)
{
    double (*kernel)(double) = filter == PTQ_FILTER_BICUBIC ? cubic : triangle;
    double scale = (double)n_in / n_out, stretch = scale < 1.0 ? 1.0 : scale;
    double support = (filter == PTQ_FILTER_BICUBIC ? 2.0 : 1.0) * stretch;
    t->n_out = n_out;
    t->width = (int)ceil(support) * 2 + 1;
    size_t room = (size_t)n_out * (size_t)t->width;
    t->first = ptq_calloc((size_t)n_out, sizeof *t->first);
    t->count = ptq_calloc((size_t)n_out, sizeof *t->count);
    t->w = ptq_calloc(room, sizeof *t->w);
    t->fixed = ptq_calloc(room, sizeof *t->fixed);
    if (!t->first || !t->count || !t->w || !t->fixed)
        return ptq_fail_nomem();
    double inverse = 1.0 / stretch;
    for (int o = 0; o < n_out; o++) {
        double centre = (o + 0.5) * scale, sum = 0.0;
        double lo = centre - support + 0.5, hi = centre + support + 0.5;
        int a = lo < 0 ? 0 : (int)lo, b = hi > n_in ? n_in : (int)hi;
        double *w = t->w + (size_t)o * (size_t)t->width;
        int32_t *q = t->fixed + (size_t)o * (size_t)t->width;
        for (int i = a; i < b; i++)
            sum += w[i - a] = kernel((i - centre + 0.5) * inverse);
        for (int i = 0; i < b - a; i++) {
            if (sum != 0.0)
                w[i] /= sum;
            q[i] = (int32_t)(w[i] * (1 << WEIGHT_BITS) + (w[i] < 0 ? -0.5 : 0.5));
        }
        t->first[o] = a;
        t->count[o] = b - a;
    }
    return PTQ_OK;
}

static uint8_t clip8(int32_t sum)
{
    int32_t v = sum >> WEIGHT_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* One pass along an axis: `step` is the distance between neighbours on that axis, in values. */
static uint8_t sum_u8(const uint8_t *p, size_t step, const int32_t *q, int n)
{
    int32_t sum = 1 << (WEIGHT_BITS - 1);
    for (int i = 0; i < n; i++)
        sum += p[(size_t)i * step] * q[i];
    return clip8(sum);
}

static float sum_f32(const float *p, size_t step, const double *w, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += (double)p[(size_t)i * step] * w[i];
    return (float)sum;
}

static void pass(const ptq_image *in, ptq_image *out, const taps *t, bool horizontal)
{
    size_t c = (size_t)in->c, in_row = (size_t)in->w * c, out_row = (size_t)out->w * c;
    size_t step = horizontal ? c : in_row;
    for (size_t y = 0; y < (size_t)out->h; y++) {
        for (size_t x = 0; x < (size_t)out->w; x++) {
            size_t o = horizontal ? x : y, k = o * (size_t)t->width, first = (size_t)t->first[o];
            size_t from = horizontal ? y * in_row + first * c : first * in_row + x * c;
            for (size_t ch = 0; ch < c; ch++) {
                size_t to = y * out_row + x * c + ch;
                if (in->u8)
                    out->u8[to] = sum_u8(in->u8 + from + ch, step, t->fixed + k, t->count[o]);
                else
                    out->f32[to] = sum_f32(in->f32 + from + ch, step, t->w + k, t->count[o]);
            }
        }
    }
}

static ptq_status resample(ptq_image *img, int n_out, bool horizontal, ptq_filter filter)
{
    int n_in = horizontal ? img->w : img->h;
    if (n_in == n_out)
        return PTQ_OK;
    taps t = {0};
    ptq_image out = {0};
    ptq_status s = taps_make(&t, n_in, n_out, filter);
    if (s == PTQ_OK)
        s = ptq_image_alloc(&out, horizontal ? n_out : img->w, horizontal ? img->h : n_out, img->c,
                            img->f32 != NULL);
    if (s == PTQ_OK) {
        pass(img, &out, &t, horizontal);
        out.orientation = img->orientation;
        ptq_image_free(img);
        *img = out;
    }
    taps_free(&t);
    return s;
}

static ptq_status nearest(ptq_image *img, int w, int h)
{
    ptq_image out = {0};
    PTQ_TRY(ptq_image_alloc(&out, w, h, img->c, img->f32 != NULL));
    size_t c = (size_t)img->c;
    double sx = (double)img->w / w, sy = (double)img->h / h, at_y = 0.5 * sy;
    for (int y = 0; y < h; y++, at_y += sy) {
        double at_x = 0.5 * sx; /* added up, not multiplied: ties fall as Pillow's do */
        for (int x = 0; x < w; x++, at_x += sx) {
            size_t fx = at_x < img->w ? (size_t)at_x : (size_t)img->w - 1;
            size_t fy = at_y < img->h ? (size_t)at_y : (size_t)img->h - 1;
            size_t from = (fy * (size_t)img->w + fx) * c, to = ((size_t)y * (size_t)w + (size_t)x) * c;
            for (size_t ch = 0; ch < c; ch++) {
                if (img->u8)
                    out.u8[to + ch] = img->u8[from + ch];
                else
                    out.f32[to + ch] = img->f32[from + ch];
            }
        }
    }
    out.orientation = img->orientation;
    ptq_image_free(img);
    *img = out;
    return PTQ_OK;
}

ptq_status ptq_image_resize(ptq_image *img, int w, int h, ptq_filter filter)
{
    if (img->w == w && img->h == h)
        return PTQ_OK;
    if (filter == PTQ_FILTER_NEAREST)
        return nearest(img, w, h);
    PTQ_TRY(resample(img, w, true, filter));
    return resample(img, h, false, filter);
}
