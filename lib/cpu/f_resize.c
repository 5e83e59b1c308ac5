/* SPDX-License-Identifier: Apache-2.0 */
/* Resize and Upsample: nearest, linear, cubic, each with or without antialias. One axis after the
 * other, each output element a chain of taps: fmaf in rising order of the source. */
#include "lib/cpu/f_resize.h"
#include "lib/cpu/widen.h"

/* ---- one axis ---- */

typedef struct axis_ctx {
    const char *x;
    char *y;
    const ptq_resize_taps *t;
    int64_t n, m, inner;
    size_t e;
    float outside; /* extrapolation_value */
} axis_ctx;

static void axis_row(const axis_ctx *v, int64_t o, const float *x, float *y)
{
    const int64_t *at = v->t->at + o * v->t->n;
    const float *w = v->t->w + o * v->t->n;
    for (int64_t i = 0; i < v->inner; i++) {
        float s = 0.0f;
        for (int k = 0; k < v->t->n; k++)
            s = fmaf(x[at[k] * v->inner + i], w[k], s);
        y[i] = s;
    }
}

static void axis_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const axis_ctx *v = ctx;
    (void)worker;
    for (int64_t row = from; row < to; row++) { /* rows of the output: [outer, m] */
        int64_t o = row % v->m, first = v->t->at[o * v->t->n];
        size_t run = (size_t)v->inner * v->e;
        const char *src = v->x + (size_t)(row / v->m * v->n) * run;
        char *dst = v->y + (size_t)row * run;
        float *y = (float *)(void *)dst;
        if (first < 0)
            for (int64_t i = 0; i < v->inner; i++)
                y[i] = v->outside;
        else if (v->t->n == 1)
            memcpy(dst, src + (size_t)first * run, run);
        else
            axis_row(v, o, (const float *)(const void *)src, y);
    }
}

static ptq_status resize_axis(ptq_cpu *c, const ptq_resize_args *a, int d, axis_ctx *v, int64_t outer)
{
    ptq_resize_taps t;
    PTQ_TRY(ptq_resize_taps_of(a, d, v->n, v->m, &t));
    v->t = &t;
    v->outside = a->outside;
    ptq_status s = ptq_cpu_ranges(c, outer * v->m, 1 + 4096 / (v->inner + 1), axis_part, v);
    free(t.at);
    free(t.w);
    return s;
}

static ptq_status resize_all(ptq_cpu *c, const ptq_step_run *r, const ptq_resize_args *a)
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
        bool cut = a->crop && (a->roi[0][d] != 0.0f || a->roi[1][d] != 1.0f);
        change[d] = y->dims[d] != x->dims[d] || a->scale[d] != 1.0f || cut;
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
        PTQ_TRY(resize_axis(c, a, d, &v, ptq_product(y->dims, 0, d)));
        src = dst;
    }
    return PTQ_OK;
}

/* ---- arguments ---- */

/* The dimension that entry i of scales, sizes and roi is for; -1: none. */
static int entry_axis(const ptq_step_run *r, size_t i)
{
    size_t n;
    const int64_t *axes = ptq_attr_ints(r->step->node, "axes", &n);
    int rank = r->in[0]->rank;
    int d = axes ? (i < n ? ptq_axis(axes[i], rank) : -1) : (int)i;
    return d < rank ? d : -1;
}

static size_t entries(const ptq_step_run *r)
{
    size_t n;
    return ptq_attr_ints(r->step->node, "axes", &n) ? n : (size_t)r->in[0]->rank;
}

/* Sizes with one scale for all axes: the smallest or largest that they ask for. */
static void common_scale(const ptq_step_run *r, ptq_resize_args *a, bool larger)
{
    int64_t sizes[PTQ_MAX_RANK];
    int n = 0;
    double best = 0;
    const ptq_tensor *t = ptq_in(r, 3);
    if (!t || !ptq_ints_of(t, sizes, PTQ_MAX_RANK, &n))
        return;
    for (int i = 0; i < n; i++) {
        int d = entry_axis(r, (size_t)i);
        double s = d < 0 ? 1.0 : (double)sizes[i] / (double)r->in[0]->dims[d];
        best = i == 0 || (larger ? s < best : s > best) ? s : best;
    }
    for (int i = 0; i < n; i++)
        if (entry_axis(r, (size_t)i) >= 0)
            a->scale[entry_axis(r, (size_t)i)] = (float)best;
}

static ptq_status read_scales(const ptq_step_run *r, int opset, ptq_resize_args *a)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    const ptq_tensor *t = ptq_in(r, opset < 11 ? 1 : 2);
    const char *policy = ptq_attr_str(r->step->node, "keep_aspect_ratio_policy", "stretch");
    size_t n = 0;
    const float *given = ptq_attr_floats(r->step->node, "scales", &n);
    if (t && ptq_tensor_elements(t) > 0 && t->dtype == PTQ_DT_F32) {
        given = t->data;
        n = (size_t)ptq_tensor_elements(t);
    }
    for (int d = 0; d < x->rank; d++) {
        a->scale[d] = x->dims[d] ? (float)y->dims[d] / (float)x->dims[d] : 1.0f;
        a->length[d] = (float)y->dims[d];
    }
    if (strcmp(policy, "stretch") != 0)
        common_scale(r, a, strcmp(policy, "not_larger") == 0);
    if (!given || n == 0)
        return PTQ_OK;
    if (n != entries(r))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %zu scales for rank %d", r->step->name, n, x->rank);
    for (size_t i = 0; i < n; i++) {
        int d = entry_axis(r, i);
        if (d < 0)
            continue;
        a->scale[d] = given[i];
        a->length[d] = (float)x->dims[d] * given[i];
    }
    return PTQ_OK;
}

static ptq_status read_roi(const ptq_step_run *r, ptq_resize_args *a)
{
    const ptq_tensor *t = ptq_in(r, 1);
    size_t n = entries(r);
    for (int d = 0; d < PTQ_MAX_RANK; d++) {
        a->roi[0][d] = 0.0f;
        a->roi[1][d] = 1.0f;
    }
    if (!a->crop)
        return PTQ_OK;
    if (!t || t->dtype != PTQ_DT_F32 || (size_t)ptq_tensor_elements(t) != 2 * n)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: tf_crop_and_resize needs a roi of two float32 numbers for each axis",
                        r->step->name);
    for (size_t i = 0; i < 2 * n; i++)
        if (entry_axis(r, i % n) >= 0)
            a->roi[i / n][entry_axis(r, i % n)] = ((const float *)t->data)[i];
    return PTQ_OK;
}

static ptq_status read_args(const ptq_step_run *r, ptq_resize_args *a)
{
    const ptq_node *n = r->step->node;
    int opset = ptq_state_opset(r);
    bool old = opset < 11;
    *a = (ptq_resize_args){
        .mode = ptq_attr_str(n, "mode", "nearest"),
        .coord = ptq_attr_str(n, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel"),
        .nearest = ptq_attr_str(n, "nearest_mode", "round_prefer_floor"),
        .cubic_a = ptq_attr_float(n, "cubic_coeff_a", -0.75f),
        .outside = ptq_attr_float(n, "extrapolation_value", 0.0f),
        .exclude_outside = ptq_attr_int(n, "exclude_outside", 0) != 0,
        .antialias = ptq_attr_int(n, "antialias", 0) != 0,
        .simple = old,
    };
    if (strcmp(a->mode, "bilinear") == 0)
        a->mode = "linear";
    a->crop = strcmp(a->coord, "tf_crop_and_resize") == 0;
    bool known = strcmp(a->mode, "nearest") == 0 || strcmp(a->mode, "linear") == 0 ||
                 strcmp(a->mode, "cubic") == 0;
    if (!known || (a->crop && r->in[0]->dtype != PTQ_DT_F32))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: Resize of %s with mode %s, coordinates %s is not supported",
                        r->step->name, ptq_dtype_name(r->in[0]->dtype), a->mode, a->coord);
    PTQ_TRY(read_scales(r, opset, a));
    return read_roi(r, a);
}

static ptq_status resize_run(ptq_cpu *c, const ptq_step_run *r)
{
    /* The nearest element is copied, whatever its type; the others are sums of float32. */
    static const ptq_cpu_kernel sums = {.name = "Resize", .takes = PTQ_TAKES_F32, .keep_in = ~1u, .run = resize_run};
    ptq_resize_args a;
    PTQ_TRY(read_args(r, &a));
    if (strcmp(a.mode, "nearest") != 0 && r->in[0]->dtype != PTQ_DT_F32)
        return ptq_widen_run(c, &sums, r, NULL);
    return resize_all(c, r, &a);
}

extern const ptq_cpu_kernel ptq_cpu_f_resize, ptq_cpu_f_upsample;
const ptq_cpu_kernel ptq_cpu_f_resize = {
    .name = "Resize", .prepare = ptq_prepare_opset, .run = resize_run};
const ptq_cpu_kernel ptq_cpu_f_upsample = {
    .name = "Upsample", .prepare = ptq_prepare_opset, .run = resize_run};
