/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax, LogSoftmax, LayerNormalization, BatchNormalization, InstanceNormalization, LRN. */
#include "lib/cpu/walk.h"

/* ---- Softmax ----
 * y = e^(x - max) * (1 / sum); LogSoftmax: (x - max) - ln(sum). Before opset 13 everything from
 * `axis` on is one row. */

typedef struct softmax_ctx {
    const ptq_f32_fns *f;
    const float *x;
    float *y;
    int64_t n;
    bool logarithm;
} softmax_ctx;

static void softmax_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const softmax_ctx *v = ctx;
    (void)worker;
    for (int64_t row = from; row < to; row++) {
        const float *x = v->x + row * v->n;
        float *y = v->y + row * v->n, max = v->f->max_of(x, v->n);
        if (!v->logarithm) {
            float inv = 1.0f / v->f->exp_sum(x, max, y, v->n);
            v->f->mul(y, 1, &inv, 0, y, v->n);
            continue;
        }
        /* the exponentials pass through y, which x may not share */
        float l = ptq_logf(v->f->exp_sum(x, max, y, v->n));
        for (int64_t i = 0; i < v->n; i++)
            y[i] = (x[i] - max) - l;
    }
}

static ptq_status softmax_rows(ptq_cpu *c, softmax_ctx *v, int64_t rows)
{
    return ptq_cpu_ranges(c, rows, 1 + 4096 / (v->n + 1), softmax_part, v);
}

static ptq_status softmax_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    ptq_shape3 s = ptq_softmax_shape(r, ptq_state_opset(r));
    softmax_ctx v = {.f = ptq_cpu_f32(c), .x = x->data, .y = r->out[0].data, .n = s.n,
                     .logarithm = r->step->node->op[0] == 'L'};
    if (s.inner == 1)
        return softmax_rows(c, &v, s.outer);
    /* another axis: there and back through scratch */
    int64_t count = s.outer * s.n * s.inner;
    float *tmp = ptq_cpu_scratch(c, 2 * (size_t)count * sizeof *tmp);
    if (!tmp)
        return ptq_fail_nomem();
    ptq_walk w;
    ptq_walk_init(&w, 3, (int64_t[]){s.outer, s.inner, s.n});
    ptq_walk_add_steps(&w, (int64_t[]){s.n * s.inner, 1, s.inner}, 0);
    PTQ_TRY(ptq_walk_copy(c, &w, tmp, x->data, sizeof *tmp));
    v.x = tmp;
    v.y = tmp + count;
    PTQ_TRY(softmax_rows(c, &v, s.outer * s.inner));
    ptq_walk_init(&w, 3, (int64_t[]){s.outer, s.n, s.inner});
    ptq_walk_add_steps(&w, (int64_t[]){s.n * s.inner, 1, s.n}, 0);
    return ptq_walk_copy(c, &w, r->out[0].data, tmp + count, sizeof *tmp);
}

extern const ptq_cpu_kernel ptq_cpu_f_softmax, ptq_cpu_f_log_softmax;
const ptq_cpu_kernel ptq_cpu_f_softmax = {.name = "Softmax", .takes = PTQ_TAKES_F32,
                                          .prepare = ptq_prepare_opset, .run = softmax_run};
const ptq_cpu_kernel ptq_cpu_f_log_softmax = {.name = "LogSoftmax", .takes = PTQ_TAKES_F32,
                                              .prepare = ptq_prepare_opset, .run = softmax_run};

/* ---- LayerNormalization ----
 * mean = sum / n, rstd = 1 / sqrt(sum of squares of x - mean / n + eps). */

typedef struct layer_ctx {
    const ptq_f32_fns *f;
    const float *x, *scale, *bias;
    float *y, *mean, *rstd;
    const ptq_norm_codes *codes;
    float *rows; /* of each thread, where y is left out */
    int64_t n;
    float eps;
} layer_ctx;

static void layer_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const layer_ctx *v = ctx;
    const ptq_norm_codes *q = v->codes;
    for (int64_t row = from; row < to; row++) {
        const float *x = v->x + row * v->n;
        float *y = v->y ? v->y + row * v->n : v->rows + worker * v->n;
        float mean = v->f->sum(x, v->n) / (float)v->n;
        float rstd = 1.0f / sqrtf(v->f->sumsq(x, mean, v->n) / (float)v->n + v->eps);
        v->f->normalize(x, mean, rstd, v->scale, v->bias, y, v->n);
        if (q)
            q->quantize(q, y, q->out + row * v->n, v->n);
        if (v->mean)
            v->mean[row] = mean;
        if (v->rstd)
            v->rstd[row] = rstd;
    }
}

/* A scale or bias smaller than the normalized part is spread out. */
static ptq_status spread(ptq_cpu *c, const ptq_tensor *x, int axis, const ptq_tensor *t, float *dst)
{
    ptq_walk w;
    ptq_walk_init(&w, x->rank - axis, x->dims + axis);
    ptq_walk_add(&w, t->rank, t->dims);
    return ptq_walk_copy(c, &w, dst, t->data, sizeof *dst);
}

ptq_status ptq_cpu_layer_norm(ptq_cpu *c, const ptq_step_run *r, float *y, float *mean, float *rstd,
                              const ptq_norm_codes *codes)
{
    const ptq_tensor *x = r->in[0], *s = r->in[1], *b = ptq_in(r, 2);
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", -1), x->rank);
    layer_ctx v = {.f = ptq_cpu_f32(c), .x = x->data, .scale = s->data, .bias = b ? b->data : NULL,
                   .y = y, .mean = mean, .rstd = rstd, .codes = codes,
                   .n = ptq_product(x->dims, axis, x->rank),
                   .eps = ptq_attr_float(r->step->node, "epsilon", 1e-5f)};
    bool small = ptq_tensor_elements(s) != v.n || (b && ptq_tensor_elements(b) != v.n);
    int64_t rows = y ? 0 : ptq_pool_threads(c->pool);
    if (small || rows) {
        float *tmp = ptq_cpu_scratch(c, (size_t)((2 + rows) * v.n) * sizeof *tmp);
        if (!tmp)
            return ptq_fail_nomem();
        v.rows = tmp + 2 * v.n;
        if (small) {
            PTQ_TRY(spread(c, x, axis, s, tmp));
            v.scale = tmp;
        }
        if (small && b) {
            PTQ_TRY(spread(c, x, axis, b, tmp + v.n));
            v.bias = tmp + v.n;
        }
    }
    return ptq_cpu_ranges(c, ptq_product(x->dims, 0, axis), 1 + 8192 / (v.n + 1), layer_part, &v);
}

static ptq_status layer_norm_run(ptq_cpu *c, const ptq_step_run *r)
{
    return ptq_cpu_layer_norm(c, r, r->out[0].data, r->step->nout > 1 ? r->out[1].data : NULL,
                              r->step->nout > 2 ? r->out[2].data : NULL, NULL);
}
extern const ptq_cpu_kernel ptq_cpu_f_layer_norm;
const ptq_cpu_kernel ptq_cpu_f_layer_norm = {
    .name = "LayerNormalization", .takes = PTQ_TAKES_F32, .run = layer_norm_run};

/* ---- BatchNormalization (inference): fmaf(x, a, b), a = scale / sqrt(var + eps),
 * b = bias - mean * a ---- */

typedef struct planes_ctx {
    const ptq_f32_fns *f;
    const float *x, *scale, *bias, *mean, *var;
    float *y, eps;
    int64_t channels, n;
    ptq_act act;
} planes_ctx;

static void batch_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const planes_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++) {
        int64_t ch = i % v->channels;
        float a = v->scale[ch] / sqrtf(v->var[ch] + v->eps), *y = v->y + i * v->n;
        v->f->affine(v->x + i * v->n, a, v->bias[ch] - v->mean[ch] * a, y, v->n);
        if (v->act.on) {
            float par[2] = {v->act.lo, v->act.hi};
            v->f->clip(y, y, v->n, par);
        }
    }
}

static void instance_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const planes_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++) {
        const float *x = v->x + i * v->n;
        float mean = v->f->sum(x, v->n) / (float)v->n;
        float var = v->f->sumsq(x, mean, v->n) / (float)v->n;
        float a = v->scale[i % v->channels] / sqrtf(var + v->eps);
        v->f->affine(x, a, v->bias[i % v->channels] - mean * a, v->y + i * v->n, v->n);
    }
}

static planes_ctx planes_of(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    return (planes_ctx){.f = ptq_cpu_f32(c), .x = x->data, .scale = r->in[1]->data,
                        .bias = r->in[2]->data, .y = r->out[0].data,
                        .eps = ptq_attr_float(r->step->node, "epsilon", 1e-5f),
                        .channels = x->rank > 1 ? x->dims[1] : 1,
                        .n = x->rank > 1 ? ptq_product(x->dims, 2, x->rank) : 1,
                        .act = ptq_step_act(r->step)};
}

/* In training mode: normalized by its own mean and variance, which also move the running ones. */
static void train_channel(const planes_ctx *v, const ptq_step_run *r, int64_t ch, double momentum)
{
    int64_t images = r->in[0]->dims[0], count = images * v->n;
    double sum = 0, var = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)v->x[(i / v->n * v->channels + ch) * v->n + i % v->n];
    double mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)v->x[(i / v->n * v->channels + ch) * v->n + i % v->n] - mean;
        var += d * d;
    }
    var /= (double)count;
    float a = v->scale[ch] / sqrtf((float)var + v->eps), b = v->bias[ch] - (float)mean * a;
    for (int64_t i = 0; i < images; i++) {
        int64_t at = (i * v->channels + ch) * v->n;
        v->f->affine(v->x + at, a, b, v->y + at, v->n);
    }
    for (int k = 1; k < 3 && k < r->step->nout; k++)
        if (r->out[k].data)
            ((float *)r->out[k].data)[ch] =
                (float)((double)(k == 1 ? v->mean : v->var)[ch] * momentum + (k == 1 ? mean : var) * (1 - momentum));
}

static ptq_status batch_norm_run(ptq_cpu *c, const ptq_step_run *r)
{
    planes_ctx v = planes_of(c, r);
    v.mean = r->in[3]->data;
    v.var = r->in[4]->data;
    if (ptq_attr_int(r->step->node, "training_mode", 0)) {
        double momentum = (double)ptq_attr_float(r->step->node, "momentum", 0.9f);
        for (int64_t ch = 0; ch < v.channels; ch++)
            train_channel(&v, r, ch, momentum);
        return PTQ_OK;
    }
    return ptq_cpu_ranges(c, r->in[0]->dims[0] * v.channels, 1 + 16384 / (v.n + 1), batch_part, &v);
}

static ptq_status instance_norm_run(ptq_cpu *c, const ptq_step_run *r)
{
    planes_ctx v = planes_of(c, r);
    return ptq_cpu_ranges(c, r->in[0]->dims[0] * v.channels, 1 + 16384 / (v.n + 1), instance_part,
                          &v);
}
extern const ptq_cpu_kernel ptq_cpu_f_batch_norm, ptq_cpu_f_instance_norm;
const ptq_cpu_kernel ptq_cpu_f_batch_norm = {
    .name = "BatchNormalization", .takes = PTQ_TAKES_F32, .run = batch_norm_run};
const ptq_cpu_kernel ptq_cpu_f_instance_norm = {
    .name = "InstanceNormalization", .takes = PTQ_TAKES_F32, .run = instance_norm_run};

/* ---- LRN: x / (bias + alpha / size * sum of squares over neighbouring channels) ^ beta ---- */

static ptq_status lrn_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *t = r->in[0];
    const ptq_node *node = r->step->node;
    int64_t size = ptq_attr_int(node, "size", 1), ch = t->rank > 1 ? t->dims[1] : 1;
    int64_t n = t->rank > 1 ? ptq_product(t->dims, 2, t->rank) : 1;
    float alpha = ptq_attr_float(node, "alpha", 1e-4f) / (float)size;
    float beta = ptq_attr_float(node, "beta", 0.75f), bias = ptq_attr_float(node, "bias", 1.0f);
    (void)c;
    for (int64_t i = 0; i < t->dims[0] * ch; i++) {
        int64_t k = i % ch, lo = k - (size - 1) / 2, hi = k + size / 2;
        const float *x = (const float *)t->data + (i - k) * n;
        float *y = (float *)r->out[0].data + i * n;
        lo = lo < 0 ? 0 : lo;
        hi = hi > ch - 1 ? ch - 1 : hi;
        for (int64_t j = 0; j < n; j++) {
            float sum = 0.0f;
            for (int64_t m = lo; m <= hi; m++)
                sum = fmaf(x[m * n + j], x[m * n + j], sum);
            y[j] = x[k * n + j] / (float)pow((double)fmaf(alpha, sum, bias), (double)beta);
        }
    }
    return PTQ_OK;
}
extern const ptq_cpu_kernel ptq_cpu_f_lrn;
const ptq_cpu_kernel ptq_cpu_f_lrn = {.name = "LRN", .takes = PTQ_TAKES_F32, .run = lrn_run};
