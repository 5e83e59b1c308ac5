/* SPDX-License-Identifier: Apache-2.0 */
/* From a decoded image to the tensor that a model expects. */
#ifndef PTQ_CALIB_PREPROCESS_H
#define PTQ_CALIB_PREPROCESS_H

#include "lib/calib/image.h"

/* One input of the model, as the graph declares it. */
typedef struct ptq_input_spec {
    const char *name;
    ptq_dtype dtype;
    int rank;                    /* -1 when unknown: the data decide */
    int64_t dims[PTQ_MAX_RANK];  /* -1 where symbolic or unknown */
} ptq_input_spec;

typedef enum ptq_resize_mode {
    PTQ_RESIZE_NONE,
    PTQ_RESIZE_SHORTER,   /* shorter side becomes resize_w, the other follows (rounded down) */
    PTQ_RESIZE_EXACT,     /* resize_w x resize_h; 0 x 0 means the model's own size */
    PTQ_RESIZE_LETTERBOX  /* fits inside, the rest is filled with `pad`; 0 x 0 as above */
} ptq_resize_mode;
typedef enum ptq_color { PTQ_COLOR_RGB, PTQ_COLOR_BGR, PTQ_COLOR_GRAY } ptq_color;
typedef enum ptq_pixel_layout { PTQ_PIXELS_AUTO, PTQ_PIXELS_NCHW, PTQ_PIXELS_NHWC } ptq_pixel_layout;

/* Which members somebody chose; the rest may be filled from a data set's own attributes. */
enum {
    PTQ_PP_RESIZE = 1,
    PTQ_PP_FILTER = 2,
    PTQ_PP_CROP = 4,
    PTQ_PP_COLOR = 8,
    PTQ_PP_SCALE = 16,
    PTQ_PP_MEAN = 32,
    PTQ_PP_STD = 64,
    PTQ_PP_LAYOUT = 128,
    PTQ_PP_PAD = 256,
    PTQ_PP_NORM = PTQ_PP_SCALE | PTQ_PP_MEAN | PTQ_PP_STD
};

/* The steps in their order: resize, crop, pad on the decoded pixels (8 bits stay 8 bits, as
 * Pillow does); color; then for each value x of channel k, in float and in this order,
 *     (x * scale - mean[k]) / std[k]
 * and last the layout. Pixels are 0..255, also those of 16-bit files (then with a fraction).
 * mean and std are in the order of the model's channels. */
typedef struct ptq_preprocess {
    unsigned set;
    ptq_resize_mode resize;
    int resize_w, resize_h;
    ptq_filter filter;
    int crop_w, crop_h;  /* centre crop; 0 is none */
    ptq_color color;     /* order of the model's channels */
    float scale;
    int n_mean, n_std;   /* 1 (all channels) or one for each channel */
    float mean[4], std[4];
    ptq_pixel_layout layout; /* of the model's input; auto reads it off the shape */
    float pad;           /* 0..255 */
    bool fit;            /* resize and crop are a preset's: they follow the model's size */
} ptq_preprocess;

/* Nothing set: RGB, scale 1, mean 0, std 1, bilinear, layout auto, pad 114. */
void ptq_preprocess_init(ptq_preprocess *pp);
/* Option by name: preprocess (a preset: imagenet, imagenet-norm, tf, yolo, caffe, none), resize,
 * crop, color, scale, mean, std, layout, pad, filter. Numbers may be fractions. */
ptq_status ptq_preprocess_set(ptq_preprocess *pp, const char *key, const char *value);
/* Fills what is not set in pp from `defaults`. */
void ptq_preprocess_fill(ptq_preprocess *pp, const ptq_preprocess *defaults);
/* The imagenet preset at the model's own size S, where that is fixed and not 224: crop S, the shorter side
 * before it is S * 256 / 224. Resize or crop that somebody chose stay. */
void ptq_preprocess_fit(ptq_preprocess *pp, const ptq_input_spec *spec);
/* One line that names every step; equal texts mean equal preprocessing. Returns buf. */
const char *ptq_preprocess_text(const ptq_preprocess *pp, char *buf, size_t n);

/* "0.5", "1e-3", "1/255"; finite, the whole string, '.' whatever the locale. */
bool ptq_parse_number(const char *s, double *out);
/* The fewest digits that give the same float again, with '.', whatever the locale; returns buf. */
const char *ptq_format_number(double v, char *buf, size_t n);

/* Turns img into *out (allocated here, free(out->data)), shaped for `spec` with a batch axis of
 * one when spec has rank 4. img is changed on the way and stays the caller's. `bgr` says that
 * the source's channels are blue first. PTQ_ERR_DATA when the result does not fit. */
ptq_status ptq_preprocess_image(const ptq_preprocess *pp, ptq_image *img, bool bgr,
                                const ptq_input_spec *spec, ptq_tensor *out);

#endif
