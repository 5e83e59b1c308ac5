/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/sample.h"

#include <stdlib.h>
#include <string.h>

#include "lib/calib/convert.h"

static bool channels_like(int64_t d)
{
    return d == 1 || d == 3 || d == 4;
}

/* Layout of a rank-3 array; the file's word first, then what the shape suggests, last what the
 * model wants. auto: it is no image. */
static ptq_pixel_layout array_layout(const ptq_raw *raw, const ptq_input_spec *spec)
{
    const int64_t *d = raw->dims;
    bool last = channels_like(d[2]), first = channels_like(d[0]);
    if (raw->layout != PTQ_PIXELS_AUTO)
        return raw->layout;
    if (last && first)
        return spec->rank >= 3 && spec->dims[spec->rank - 1] == d[2] ? PTQ_PIXELS_NHWC
                                                                     : PTQ_PIXELS_NCHW;
    return last ? PTQ_PIXELS_NHWC : first ? PTQ_PIXELS_NCHW : PTQ_PIXELS_AUTO;
}

static bool holds_image(const ptq_raw *raw, const ptq_input_spec *spec, bool explicit_norm)
{
    bool shaped = spec->rank == 3 || spec->rank == 4 || spec->rank == -1;
    bool floats = raw->dtype == PTQ_DT_F32 || raw->dtype == PTQ_DT_F64 || raw->dtype == PTQ_DT_F16;
    if (!shaped || (raw->dtype != PTQ_DT_U8 && !floats))
        return false;
    if (raw->rank == 2)
        return raw->dtype == PTQ_DT_U8;
    if (raw->rank != 3 || array_layout(raw, spec) == PTQ_PIXELS_AUTO)
        return false;
    return raw->dtype == PTQ_DT_U8 || raw->layout != PTQ_PIXELS_AUTO || explicit_norm;
}

/* Interleaved pixels of an array; a fourth channel (alpha) is dropped. */
static ptq_status array_to_image(const ptq_raw *raw, const ptq_input_spec *spec, ptq_image *img)
{
    char shape[128];
    bool gray = raw->rank == 2, last = gray || array_layout(raw, spec) == PTQ_PIXELS_NHWC;
    int64_t h = last ? raw->dims[0] : raw->dims[1], w = last ? raw->dims[1] : raw->dims[2];
    int64_t c = gray ? 1 : last ? raw->dims[2] : raw->dims[0];
    if (!channels_like(c) || h < 1 || w < 1 || h > PTQ_IMAGE_MAX_SIDE || w > PTQ_IMAGE_MAX_SIDE)
        return ptq_fail(PTQ_ERR_DATA, "array %s is no image in layout %s",
                        ptq_shape_str(raw->rank, raw->dims, shape, sizeof shape),
                        last ? "NHWC" : "NCHW");
    size_t keep = c == 4 ? 3 : (size_t)c, n = (size_t)(h * w), pixels = n;
    size_t step = last ? (size_t)c : 1, plane = last ? 1 : pixels;
    ptq_image made = {.orientation = 1};
    PTQ_TRY(ptq_image_alloc(&made, (int)w, (int)h, (int)keep, raw->dtype != PTQ_DT_U8));
    float *f = NULL;
    if (made.f32) {
        f = ptq_calloc(n * (size_t)c, sizeof *f);
        ptq_status s = f ? ptq_convert(raw->data, raw->dtype, f, PTQ_DT_F32, n * (size_t)c)
                         : ptq_fail_nomem();
        if (s != PTQ_OK) {
            free(f);
            ptq_image_free(&made);
            return s;
        }
    }
    const uint8_t *u8 = raw->data;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < keep; k++) {
            size_t from = i * step + k * plane;
            if (made.u8)
                made.u8[i * keep + k] = u8[from];
            else
                made.f32[i * keep + k] = f[from];
        }
    free(f);
    *img = made;
    return PTQ_OK;
}

static bool dims_fit(int rank, const int64_t *have, const int64_t *want)
{
    for (int i = 0; i < rank; i++)
        if (want[i] >= 0 && want[i] != have[i])
            return false;
    return true;
}

static ptq_status mismatch(const ptq_raw *raw, const ptq_input_spec *spec)
{
    char have[128], want[128];
    const char *hint = "";
    if (raw->rank == 3 && spec->rank == 4) {
        int64_t nchw[3] = {raw->dims[2], raw->dims[0], raw->dims[1]};
        int64_t nhwc[3] = {raw->dims[1], raw->dims[2], raw->dims[0]};
        if (dims_fit(3, nchw, spec->dims + 1))
            hint = "; the data look like NHWC and the model wants NCHW: transpose them, or give "
                   "--scale so that they are taken as images";
        else if (dims_fit(3, nhwc, spec->dims + 1))
            hint = "; the data look like NCHW and the model wants NHWC: transpose them, or give "
                   "--scale so that they are taken as images";
    }
    return ptq_fail(PTQ_ERR_DATA, "a sample has shape %s but input %s wants %s%s",
                    ptq_shape_str(raw->rank, raw->dims, have, sizeof have), spec->name,
                    ptq_shape_str(spec->rank, spec->dims, want, sizeof want), hint);
}

/* Shape for the model: a batch axis of one in front where the model has an axis more. */
static ptq_status array_to_tensor(const ptq_raw *raw, const ptq_input_spec *spec, ptq_tensor *out)
{
    ptq_tensor t = {.dtype = spec->dtype == PTQ_DT_UNDEFINED ? raw->dtype : spec->dtype};
    const int64_t *d = raw->dims;
    int rank = raw->rank;
    if (spec->rank == rank && rank > 0 && d[0] == 1 && dims_fit(rank - 1, d + 1, spec->dims + 1)) {
        d++; /* the sample brings its own batch axis */
        rank--;
    }
    if ((spec->rank == rank + 1 || spec->rank == -1) && rank < PTQ_MAX_RANK &&
        (spec->rank == -1 || dims_fit(rank, d, spec->dims + 1))) {
        t.rank = rank + 1;
        t.dims[0] = 1;
        memcpy(t.dims + 1, d, sizeof *d * (size_t)rank);
    } else if (spec->rank == rank && dims_fit(rank, d, spec->dims)) {
        t.rank = rank;
        memcpy(t.dims, d, sizeof *d * (size_t)rank);
    } else {
        return mismatch(raw, spec);
    }
    if (ptq_dtype_bits(t.dtype) < 8)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "input %s has type %s, which no data set can feed",
                        spec->name, ptq_dtype_name(t.dtype));
    PTQ_TRY(ptq_tensor_alloc(&t));
    ptq_status s = ptq_convert(raw->data, raw->dtype, t.data, t.dtype,
                               (size_t)ptq_tensor_elements(&t));
    if (s != PTQ_OK) {
        free(t.data);
        return ptq_fail_prefix(s, "input %s", spec->name);
    }
    *out = t;
    return PTQ_OK;
}

ptq_status ptq_sample_to_tensor(const ptq_preprocess *pp, bool explicit_norm, ptq_raw *raw,
                                const ptq_input_spec *spec, ptq_tensor *out)
{
    if (raw->is_image)
        return ptq_preprocess_image(pp, &raw->image, raw->bgr, spec, out);
    if (raw->rank == 4 && raw->dims[0] == 1 && spec->rank == 4) { /* [1,C,H,W] of a file */
        memmove(raw->dims, raw->dims + 1, 3 * sizeof *raw->dims);
        raw->rank = 3;
    }
    if (!holds_image(raw, spec, explicit_norm))
        return array_to_tensor(raw, spec, out);
    ptq_image img = {0};
    PTQ_TRY(array_to_image(raw, spec, &img));
    ptq_status s = ptq_preprocess_image(pp, &img, raw->bgr, spec, out);
    ptq_image_free(&img);
    return s;
}
