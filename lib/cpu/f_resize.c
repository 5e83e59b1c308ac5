/* SPDX-License-Identifier: Apache-2.0 */
/* Resize and Upsample: nearest, linear, cubic. One axis after the other, each output element a
 * chain of at most four taps: fmaf in rising order of the source. */
#include "lib/cpu/fkernel.h"

typedef struct tap {
    int64_t at[4];
    float w[4];
} tap;

typedef struct resize_args {
    const char *mode, *coord, *nearest;
    float cubic_a;
    bool exclude_outside, simple; /* simple: the rounding of Upsample and opset 10 */
    float scale[PTQ_MAX_RANK];
} resize_args;

/* The place in the input that output position o comes from. */
static float source(const resize_args *a, int64_t o, int64_t n, int64_t m, float scale)
{
    float x = (float)o;
    if (strcmp(a->coord, "asymmetric") == 0)
        return x / scale;
    if (strcmp(a->coord, "align_corners") == 0)
        return m == 1 ? 0.0f : x * (float)(n - 1) / (float)(m - 1);
    if (strcmp(a->coord, "tf_half_pixel_for_nn") == 0)
        return (x + 0.5f) / scale;
    if (strcmp(a->coord, "pytorch_half_pixel") == 0)
        return m > 1 ? (x + 0.5f) / scale - 0.5f : 0.0f;
    if (strcmp(a->coord, "half_pixel_symmetric") == 0) {
        float fit = (float)m / (scale * (float)n), center = (float)n / 2.0f;
        return center * (1.0f - fit) + (x + 0.5f) / scale - 0.5f;
    }
    return (x + 0.5f) / scale - 0.5f;
}

static int64_t clamp(int64_t v, int64_t n)
{
    return v < 0 ? 0 : v >= n ? n - 1 : v;
}

static float nearest(const resize_args *a, float x, float scale)
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

/* Keys' cubic kernel with parameter A. */
static void cubic_weights(float f, float A, float w[4])
{
    float g = 1.0f - f;
    w[0] = ((A * (f + 1) - 5 * A) * (f + 1) + 8 * A) * (f + 1) - 4 * A;
    w[1] = ((A + 2) * f - (A + 3)) * f * f + 1;
    w[2] = ((A + 2) * g - (A + 3)) * g * g + 1;
    w[3] = ((A * (g + 1) - 5 * A) * (g + 1) + 8 * A) * (g + 1) - 4 * A;
}

/* Returns the number of taps. */
static int make_tap(const resize_args *a, int64_t o, int64_t n, int64_t m, float scale, tap *t)
{
    float x = source(a, o, n, m, scale);
    if (strcmp(a->mode, "nearest") == 0) {
        t->at[0] = clamp((int64_t)nearest(a, x, scale), n);
        t->w[0] = 1.0f;
        return 1;
    }
    if (strcmp(a->mode, "linear") == 0) {
        x = x < 0.0f ? 0.0f : x > (float)(n - 1) ? (float)(n - 1) : x;
        t->at[0] = (int64_t)x;
        t->at[1] = clamp(t->at[0] + 1, n);
        t->w[1] = x - (float)t->at[0];
        t->w[0] = 1.0f - t->w[1];
        return 2;
    }
    float base = floorf(x), sum = 0.0f;
    cubic_weights(x - base, a->cubic_a, t->w);
    for (int i = 0; i < 4; i++) {
        int64_t at = (int64_t)base - 1 + i;
        t->at[i] = clamp(at, n);
        if (a->exclude_outside && t->at[i] != at)
            t->w[i] = 0.0f;
        sum += t->w[i];
    }
    for (int i = 0; a->exclude_outside && i < 4; i++)
        t->w[i] /= sum;
    return 4;
}

/* ---- one axis ---- */

typedef struct axis_ctx {
    const char *x;
    char *y;
    const tap *taps;
    int ntaps;
    int64_t n, m, inner;
    size_t e;
} axis_ctx;

static void axis_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const axis_ctx *v = ctx;
    (void)worker;
    for (int64_t row = from; row < to; row++) { /* rows of the output: [outer, m] */
        const tap *t = &v->taps[row % v->m];
        size_t run = (size_t)v->inner * v->e;
        const char *src = v->x + (size_t)(row / v->m * v->n) * run;
        char *dst = v->y + (size_t)row * run;
        if (v->ntaps == 1) {
            memcpy(dst, src + (size_t)t->at[0] * run, run);
            continue;
        }
        const float *x = (const float *)(const void *)src;
        float *y = (float *)(void *)dst;
        for (int64_t i = 0; i < v->inner; i++) {
            float s = 0.0f;
            for (int k = 0; k < v->ntaps; k++)
                s = fmaf(x[t->at[k] * v->inner + i], t->w[k], s);
            y[i] = s;
        }
    }
}

static ptq_status resize_axis(ptq_cpu *c, const resize_args *a, axis_ctx *v, int64_t outer,
                              float scale)
{
    tap *taps = ptq_calloc((size_t)v->m + 1, sizeof *taps);
    if (!taps)
        return ptq_fail_nomem();
    v->taps = taps;
    for (int64_t o = 0; o < v->m; o++)
        v->ntaps = make_tap(a, o, v->n, v->m, scale, &taps[o]);
    ptq_status s = ptq_cpu_ranges(c, outer * v->m, 1 + 4096 / (v->inner + 1), axis_part, v);
    free(taps);
    return s;
}

static ptq_status resize_all(ptq_cpu *c, const ptq_step_run *r, const resize_args *a)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    int64_t dims[PTQ_MAX_RANK], most = 0, left = 0;
    size_t e = ptq_elem_bytes(x->dtype);
    for (int d = 0; d < x->rank; d++) {
        dims[d] = x->dims[d];
        if (x->dims[d] == 0)
            return PTQ_OK;
    }
    bool change[PTQ_MAX_RANK] = {false};
    for (int d = 0; d < x->rank; d++) {
        change[d] = y->dims[d] != x->dims[d] || a->scale[d] != 1.0f;
        left += change[d];
        dims[d] = y->dims[d];
        int64_t n = ptq_product(dims, 0, d + 1) * ptq_product(x->dims, d + 1, x->rank);
        most = n > most ? n : most;
    }
    if (left == 0) {
        memcpy(y->data, x->data, y->nbytes);
        return PTQ_OK;
    }
    char *tmp = left > 1 ? ptq_cpu_scratch(c, 2 * (size_t)most * e) : NULL;
    if (left > 1 && !tmp)
        return ptq_fail_nomem();
    const char *src = x->data;
    for (int d = 0, turn = 0; d < x->rank; d++) {
        if (!change[d])
            continue;
        char *dst = --left ? tmp + (size_t)(turn++ % 2) * (size_t)most * e : y->data;
        axis_ctx v = {.x = src, .y = dst, .n = x->dims[d], .m = y->dims[d],
                      .inner = ptq_product(x->dims, d + 1, x->rank), .e = e};
        PTQ_TRY(resize_axis(c, a, &v, ptq_product(y->dims, 0, d), a->scale[d]));
        src = dst;
    }
    return PTQ_OK;
}

/* ---- arguments ---- */

static ptq_status read_scales(const ptq_step_run *r, int opset, resize_args *a)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    const ptq_tensor *t = ptq_in(r, opset < 11 ? 1 : 2);
    size_t n = 0, na = 0;
    const float *given = ptq_attr_floats(r->step->node, "scales", &n);
    const int64_t *axes = ptq_attr_ints(r->step->node, "axes", &na);
    if (t && ptq_tensor_elements(t) > 0 && t->dtype == PTQ_DT_F32) {
        given = t->data;
        n = (size_t)ptq_tensor_elements(t);
    }
    for (int d = 0; d < x->rank; d++)
        a->scale[d] = x->dims[d] ? (float)y->dims[d] / (float)x->dims[d] : 1.0f;
    if (!given || n == 0)
        return PTQ_OK;
    if (n != (axes ? na : (size_t)x->rank))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %zu scales for rank %d", r->step->name, n, x->rank);
    for (size_t i = 0; i < n; i++) {
        int d = axes ? ptq_axis(axes[i], x->rank) : (int)i;
        if (d >= 0 && d < x->rank)
            a->scale[d] = given[i];
    }
    return PTQ_OK;
}

static ptq_status resize_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_node *n = r->step->node;
    int opset = ptq_state_opset(r);
    bool old = opset < 11;
    resize_args a = {
        .mode = ptq_attr_str(n, "mode", "nearest"),
        .coord = ptq_attr_str(n, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel"),
        .nearest = ptq_attr_str(n, "nearest_mode", "round_prefer_floor"),
        .cubic_a = ptq_attr_float(n, "cubic_coeff_a", -0.75f),
        .exclude_outside = ptq_attr_int(n, "exclude_outside", 0) != 0,
        .simple = old,
    };
    if (strcmp(a.mode, "bilinear") == 0)
        a.mode = "linear";
    const char *policy = ptq_attr_str(n, "keep_aspect_ratio_policy", "stretch");
    bool known = strcmp(a.mode, "nearest") == 0 || strcmp(a.mode, "linear") == 0 ||
                 strcmp(a.mode, "cubic") == 0;
    if (!known || strcmp(a.coord, "tf_crop_and_resize") == 0 || strcmp(policy, "stretch") != 0 ||
        ptq_attr_int(n, "antialias", 0))
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "node %s: Resize with mode %s, coordinates %s, policy %s is not supported",
                        r->step->name, a.mode, a.coord, policy);
    if (strcmp(a.mode, "nearest") != 0 && r->in[0]->dtype != PTQ_DT_F32)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: Resize of %s with interpolation is not supported",
                        r->step->name, ptq_dtype_name(r->in[0]->dtype));
    PTQ_TRY(read_scales(r, opset, &a));
    return resize_all(c, r, &a);
}

extern const ptq_cpu_kernel ptq_cpu_f_resize, ptq_cpu_f_upsample;
const ptq_cpu_kernel ptq_cpu_f_resize = {
    .name = "Resize", .prepare = ptq_prepare_opset, .run = resize_run};
const ptq_cpu_kernel ptq_cpu_f_upsample = {
    .name = "Upsample", .prepare = ptq_prepare_opset, .run = resize_run};
