/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/calib/convert.h"

/* The image axes of a model input. -1: the model does not say. */
typedef struct target {
    ptq_pixel_layout layout;
    int64_t c, h, w;
} target;

static bool channels_like(int64_t d)
{
    return d == 1 || d == 3;
}

static ptq_status find_target(const ptq_preprocess *pp, const ptq_input_spec *spec, target *t)
{
    char shape[128];
    if (spec->rank != -1 && spec->rank != 3 && spec->rank != 4)
        return ptq_fail(PTQ_ERR_DATA, "input %s has shape %s: an image cannot feed it", spec->name,
                        ptq_shape_str(spec->rank, spec->dims, shape, sizeof shape));
    int64_t unknown[3] = {-1, -1, -1};
    const int64_t *d = spec->rank == -1 ? unknown : spec->dims + spec->rank - 3;
    t->layout = pp->layout;
    if (t->layout == PTQ_PIXELS_AUTO)
        t->layout = channels_like(d[2]) && !channels_like(d[0]) ? PTQ_PIXELS_NHWC : PTQ_PIXELS_NCHW;
    bool first = t->layout == PTQ_PIXELS_NCHW;
    t->c = first ? d[0] : d[2];
    t->h = first ? d[1] : d[0];
    t->w = first ? d[2] : d[1];
    bool gray = pp->set & PTQ_PP_COLOR && pp->color == PTQ_COLOR_GRAY;
    if (t->c < 0)
        t->c = gray ? 1 : 3;
    if (!channels_like(t->c) || (gray && t->c != 1))
        return ptq_fail(PTQ_ERR_DATA,
                        "input %s has %lld channels as %s (shape %s), images give %s; see --layout "
                        "and --color",
                        spec->name, (long long)t->c, first ? "NCHW" : "NHWC",
                        ptq_shape_str(spec->rank, spec->dims, shape, sizeof shape),
                        gray ? "1" : "1 or 3");
    return PTQ_OK;
}

void ptq_preprocess_fit(ptq_preprocess *pp, const ptq_input_spec *spec)
{
    target t;
    if (!pp->fit || find_target(pp, spec, &t) != PTQ_OK || t.w < 1 || t.h < 1)
        return;
    int64_t side = t.w > t.h ? t.w : t.h;
    if (side > PTQ_IMAGE_MAX_SIDE * 224 / 256)
        return;
    pp->crop_w = (int)t.w;
    pp->crop_h = (int)t.h;
    pp->resize_w = pp->resize_h = (int)((side * 256 + 112) / 224);
}

/* Fits the image into w x h, keeping its proportions, and centres it. */
static ptq_status letterbox(const ptq_preprocess *pp, ptq_image *img, int w, int h)
{
    double r = fmin((double)w / img->w, (double)h / img->h);
    int nw = (int)rint(img->w * r), nh = (int)rint(img->h * r);
    nw = nw < 1 ? 1 : nw > w ? w : nw;
    nh = nh < 1 ? 1 : nh > h ? h : nh;
    PTQ_TRY(ptq_image_resize(img, nw, nh, pp->filter));
    return ptq_image_pad(img, (w - nw) / 2, (h - nh) / 2, w, h, pp->pad);
}

static ptq_status geometry(const ptq_preprocess *pp, ptq_image *img, const target *t,
                           const char *input)
{
    int w = pp->resize_w, h = pp->resize_h;
    if (pp->resize == PTQ_RESIZE_SHORTER) {
        /* The long side is cut to an integer, as torchvision does. */
        int64_t side = pp->resize_w;
        w = (int)(img->w <= img->h ? side : side * img->w / img->h);
        h = (int)(img->w <= img->h ? side * img->h / img->w : side);
        PTQ_TRY(ptq_image_resize(img, w, h, pp->filter));
    } else if (pp->resize != PTQ_RESIZE_NONE) {
        if (!w && (t->w < 1 || t->h < 1 || t->w > PTQ_IMAGE_MAX_SIDE || t->h > PTQ_IMAGE_MAX_SIDE))
            return ptq_fail(PTQ_ERR_DATA, "input %s has no fixed size: give one, --resize WxH",
                            input);
        w = w ? w : (int)t->w;
        h = h ? h : (int)t->h;
        PTQ_TRY(pp->resize == PTQ_RESIZE_EXACT ? ptq_image_resize(img, w, h, pp->filter)
                                               : letterbox(pp, img, w, h));
    }
    if (!pp->crop_w)
        return PTQ_OK;
    if (img->w < pp->crop_w || img->h < pp->crop_h)
        return ptq_fail(PTQ_ERR_DATA, "image of %d x %d pixels is smaller than the crop %d x %d: "
                        "add --crop none, or --resize shorter:N with a larger N", img->w, img->h, pp->crop_w, pp->crop_h);
    /* Half pixels go to the even side: torchvision's round((h - n) / 2.0). */
    return ptq_image_crop(img, (int)rint((img->w - pp->crop_w) / 2.0),
                          (int)rint((img->h - pp->crop_h) / 2.0), pp->crop_w, pp->crop_h);
}

static ptq_status check_size(const ptq_preprocess *pp, const ptq_image *img, const target *t,
                             const char *input)
{
    if ((t->w < 0 || t->w == img->w) && (t->h < 0 || t->h == img->h))
        return PTQ_OK;
    bool changed = pp->resize != PTQ_RESIZE_NONE || pp->crop_w;
    return ptq_fail(PTQ_ERR_DATA,
                    "image is %d x %d pixels (width x height)%s but input '%s' wants %lld x %lld: add "
                    "--resize %lldx%lld%s, or --resize shorter:N with --crop",
                    img->w, img->h, changed ? " after resize and crop" : "", input, (long long)t->w,
                    (long long)t->h, (long long)(t->w < 0 ? img->w : t->w),
                    (long long)(t->h < 0 ? img->h : t->h), pp->crop_w ? " --crop none" : "");
}

/* ITU-R 601 luma with 16 fractional bits, as Pillow's convert("L"). */
static ptq_status to_gray(ptq_image *img, bool bgr)
{
    if (img->c == 1)
        return PTQ_OK;
    int r = bgr ? 2 : 0, b = 2 - r;
    size_t n = (size_t)img->w * (size_t)img->h;
    for (size_t i = 0; i < n; i++) {
        if (img->u8) {
            const uint8_t *p = img->u8 + 3 * i;
            img->u8[i] = (uint8_t)((p[r] * 19595u + p[1] * 38470u + p[b] * 7471u + 0x8000u) >> 16);
        } else {
            const float *p = img->f32 + 3 * i;
            img->f32[i] = p[r] * (19595.0f / 65536.0f) + p[1] * (38470.0f / 65536.0f) +
                          p[b] * (7471.0f / 65536.0f);
        }
    }
    img->c = 1;
    return PTQ_OK;
}

static float normalize(const ptq_preprocess *pp, float x, int k)
{
    float mean = pp->mean[pp->n_mean == 1 ? 0 : k], std = pp->std[pp->n_std == 1 ? 0 : k];
    return (x * pp->scale - mean) / std;
}

/* Channel k of the model, from channel `from` of the image, to out with the given stride. */
static void emit_channel(const ptq_preprocess *pp, const ptq_image *img, int from, int k,
                         float *out, size_t stride)
{
    size_t n = (size_t)img->w * (size_t)img->h, c = (size_t)img->c;
    if (img->u8) {
        float table[256];
        for (int v = 0; v < 256; v++)
            table[v] = normalize(pp, (float)v, k);
        const uint8_t *p = img->u8 + from;
        for (size_t i = 0; i < n; i++)
            out[i * stride] = table[p[i * c]];
    } else {
        const float *p = img->f32 + from;
        for (size_t i = 0; i < n; i++)
            out[i * stride] = normalize(pp, p[i * c], k);
    }
}

static void emit(const ptq_preprocess *pp, const ptq_image *img, bool bgr, const target *t,
                 float *out)
{
    size_t n = (size_t)img->w * (size_t)img->h, channels = (size_t)t->c;
    bool swap = bgr != (pp->color == PTQ_COLOR_BGR);
    for (int k = 0; k < (int)channels; k++) {
        int from = img->c == 1 ? 0 : swap ? 2 - k : k;
        if (t->layout == PTQ_PIXELS_NCHW)
            emit_channel(pp, img, from, k, out + (size_t)k * n, 1);
        else
            emit_channel(pp, img, from, k, out + k, channels);
    }
}

static ptq_status to_tensor(const ptq_preprocess *pp, const ptq_image *img, bool bgr,
                            const target *t, const ptq_input_spec *spec, ptq_tensor *out)
{
    ptq_tensor f = {.dtype = PTQ_DT_F32, .rank = spec->rank == 3 ? 3 : 4};
    int64_t *d = f.dims;
    if (f.rank == 4)
        *d++ = 1;
    bool first = t->layout == PTQ_PIXELS_NCHW;
    d[0] = first ? t->c : img->h;
    d[1] = first ? img->h : img->w;
    d[2] = first ? img->w : t->c;
    PTQ_TRY(ptq_tensor_alloc(&f));
    emit(pp, img, bgr, t, f.data);
    if (spec->dtype == PTQ_DT_F32 || spec->dtype == PTQ_DT_UNDEFINED) {
        *out = f;
        return PTQ_OK;
    }
    ptq_tensor q = f;
    q.dtype = spec->dtype;
    q.data = NULL;
    ptq_status s = ptq_dtype_bits(q.dtype) >= 8
                       ? ptq_tensor_alloc(&q)
                       : ptq_fail(PTQ_ERR_DATA, "input %s has type %s: an image cannot feed it",
                                  spec->name, ptq_dtype_name(spec->dtype));
    if (s == PTQ_OK)
        s = ptq_convert_pixels(f.data, q.data, q.dtype, (size_t)ptq_tensor_elements(&f));
    free(f.data);
    if (s != PTQ_OK)
        free(q.data);
    else
        *out = q;
    return s;
}

ptq_status ptq_preprocess_image(const ptq_preprocess *pp, ptq_image *img, bool bgr,
                                const ptq_input_spec *spec, ptq_tensor *out)
{
    target t = {0};
    PTQ_TRY(find_target(pp, spec, &t));
    if ((pp->n_mean != 1 && pp->n_mean != t.c) || (pp->n_std != 1 && pp->n_std != t.c))
        return ptq_fail(PTQ_ERR_ARG, "--mean has %d and --std %d numbers, input %s has %lld channels: give one number or "
                        "one for each channel", pp->n_mean, pp->n_std, spec->name, (long long)t.c);
    PTQ_TRY(geometry(pp, img, &t, spec->name));
    PTQ_TRY(check_size(pp, img, &t, spec->name));
    if (t.c == 1)
        PTQ_TRY(to_gray(img, bgr));
    return to_tensor(pp, img, bgr, &t, spec, out);
}
