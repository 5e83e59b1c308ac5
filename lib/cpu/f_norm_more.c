/* SPDX-License-Identifier: Apache-2.0 */
/* RMSNormalization, GroupNormalization, LpNormalization, MeanVarianceNormalization, Hardmax. */
#include "lib/cpu/walk.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};

/* ---- RMSNormalization: (x * (1 / sqrt(mean of squares + eps))) * scale ---- */

typedef struct rms_ctx {
    const ptq_f32_fns *f;
    const float *x, *scale;
    float *y, eps;
    int64_t n;
} rms_ctx;

static void rms_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const rms_ctx *v = ctx;
    (void)worker;
    for (int64_t row = from; row < to; row++) {
        const float *x = v->x + row * v->n;
        float rstd = 1.0f / sqrtf(v->f->sumsq(x, 0.0f, v->n) / (float)v->n + v->eps);
        v->f->normalize(x, 0.0f, rstd, v->scale, NULL, v->y + row * v->n, v->n);
    }
}

static ptq_status rms_norm_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *s = r->in[1];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", -1), x->rank);
    rms_ctx v = {.f = ptq_cpu_f32(c), .x = x->data, .scale = s->data, .y = r->out[0].data,
                 .eps = ptq_attr_float(r->step->node, "epsilon", 1e-5f),
                 .n = ptq_product(x->dims, axis, x->rank)};
    if (ptq_tensor_elements(s) != v.n) { /* spread over the normalized part */
        float *tmp = ptq_cpu_scratch(c, (size_t)v.n * sizeof *tmp);
        if (!tmp)
            return ptq_fail_nomem();
        ptq_walk w;
        ptq_walk_init(&w, x->rank - axis, x->dims + axis);
        ptq_walk_add(&w, s->rank, s->dims);
        PTQ_TRY(ptq_walk_copy(c, &w, tmp, s->data, sizeof *tmp));
        v.scale = tmp;
    }
    return ptq_cpu_ranges(c, ptq_product(x->dims, 0, axis), 1 + 8192 / (v.n + 1), rms_part, &v);
}
ROW(rms_norm, "RMSNormalization", .takes = PTQ_TAKES_F32)

/* ---- GroupNormalization: fmaf(x, a, b), a = scale / sqrt(var + eps), b = bias - mean * a, as
 * InstanceNormalization ---- */

typedef struct group_ctx {
    const ptq_f32_fns *f;
    const float *x, *scale, *bias;
    float *y, eps;
    int64_t groups, each, n; /* channels of a group, elements of a channel */
    bool per_channel;        /* from opset 21 on; before, a scale per group */
} group_ctx;

static void group_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const group_ctx *v = ctx;
    int64_t count = v->each * v->n;
    (void)worker;
    for (int64_t i = from; i < to; i++) {
        const float *x = v->x + i * count;
        float mean = v->f->sum(x, count) / (float)count;
        float rstd = 1.0f / sqrtf(v->f->sumsq(x, mean, count) / (float)count + v->eps);
        for (int64_t k = 0; k < v->each; k++) {
            int64_t at = v->per_channel ? i % v->groups * v->each + k : i % v->groups;
            float a = v->scale[at] * rstd;
            v->f->affine(x + k * v->n, a, v->bias[at] - mean * a, v->y + i * count + k * v->n, v->n);
        }
    }
}

static ptq_status group_norm_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int64_t groups = ptq_attr_int(r->step->node, "num_groups", 1);
    group_ctx v = {.f = ptq_cpu_f32(c), .x = x->data, .scale = r->in[1]->data, .bias = r->in[2]->data,
                   .y = r->out[0].data, .eps = ptq_attr_float(r->step->node, "epsilon", 1e-5f),
                   .groups = groups, .each = x->dims[1] / groups, .n = ptq_product(x->dims, 2, x->rank),
                   .per_channel = ptq_state_opset(r) >= 21};
    return ptq_cpu_ranges(c, x->dims[0] * groups, 1 + 16384 / (v.each * v.n + 1), group_part, &v);
}
ROW(group_norm, "GroupNormalization", .takes = PTQ_TAKES_F32, .prepare = ptq_prepare_opset)

/* ---- LpNormalization, in double: 0 where the norm is 0 ---- */

static ptq_status lp_norm_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *t = r->in[0];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", -1), t->rank);
    bool one = ptq_attr_int(r->step->node, "p", 2) == 1;
    ptq_shape3 s = ptq_shape3_of(t, axis, axis + 1);
    (void)c;
    for (int64_t row = 0; row < s.outer * s.inner; row++) {
        int64_t at = row / s.inner * s.n * s.inner + row % s.inner;
        const double *x = (const double *)t->data + at;
        double *y = (double *)r->out[0].data + at, sum = 0;
        for (int64_t i = 0; i < s.n; i++)
            sum += one ? fabs(x[i * s.inner]) : x[i * s.inner] * x[i * s.inner];
        sum = one ? sum : sqrt(sum);
        for (int64_t i = 0; i < s.n; i++)
            y[i * s.inner] = sum != 0 ? x[i * s.inner] / sum : 0;
    }
    return PTQ_OK;
}
ROW(lp_norm, "LpNormalization", .takes = PTQ_TAKES(PTQ_DT_F64))

/* ---- MeanVarianceNormalization, in double: (x - mean) / (deviation + 1e-9) ---- */

static void normalize_mean(const double *x, double *y, const int64_t *at, int64_t n)
{
    double sum = 0, var = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[at[i]];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        var += (x[at[i]] - mean) * (x[at[i]] - mean);
    double deviation = sqrt(var / (double)n) + 1e-9;
    for (int64_t i = 0; i < n; i++)
        y[at[i]] = (x[at[i]] - mean) / deviation;
}

/* Offsets of all positions of n dimensions. */
static void offsets(const int64_t *dims, const int64_t *step, int n, int64_t *at)
{
    int64_t count = ptq_product(dims, 0, n);
    for (int64_t i = 0; i < count; i++) {
        at[i] = 0;
        for (int64_t d = n - 1, rest = i; d >= 0; rest /= dims[d], d--)
            at[i] += rest % dims[d] * step[d];
    }
}

static ptq_status mean_variance_norm_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int64_t dims[PTQ_MAX_RANK], step[PTQ_MAX_RANK];
    unsigned mask = 0;
    size_t n;
    const int64_t *axes = ptq_attr_ints(r->step->node, "axes", &n);
    static const int64_t all_but_channels[] = {0, 2, 3};
    n = axes ? n : PTQ_COUNT(all_but_channels);
    axes = axes ? axes : all_but_channels;
    for (size_t i = 0; i < n; i++) {
        int d = ptq_axis(axes[i], x->rank);
        if (d < 0 || d >= x->rank)
            return ptq_bad_args(r);
        mask |= 1u << d;
    }
    int stay = ptq_reduced_last(x, mask, dims, step);
    int64_t outer = ptq_product(dims, 0, stay), inner = ptq_product(dims, stay, x->rank);
    int64_t *at = ptq_cpu_scratch(c, (size_t)(outer + inner) * sizeof *at);
    if (!at)
        return ptq_fail_nomem();
    offsets(dims, step, stay, at);
    offsets(dims + stay, step + stay, x->rank - stay, at + outer);
    for (int64_t o = 0; o < outer; o++)
        normalize_mean((const double *)x->data + at[o], (double *)r->out[0].data + at[o], at + outer, inner);
    return PTQ_OK;
}
ROW(mean_variance_norm, "MeanVarianceNormalization", .takes = PTQ_TAKES(PTQ_DT_F64))

/* ---- Hardmax: 1 at the first maximum of a row ---- */

static ptq_status hardmax_run(ptq_cpu *c, const ptq_step_run *r)
{
    ptq_shape3 s = ptq_softmax_shape(r, ptq_state_opset(r));
    (void)c;
    memset(r->out[0].data, 0, r->out[0].nbytes);
    for (int64_t row = 0; row < s.outer * s.inner && s.n > 0; row++) {
        int64_t at = row / s.inner * s.n * s.inner + row % s.inner, best = 0;
        const float *x = (const float *)r->in[0]->data + at;
        for (int64_t i = 1; i < s.n; i++)
            best = x[i * s.inner] > x[best * s.inner] ? i : best;
        ((float *)r->out[0].data)[at + best * s.inner] = 1.0f;
    }
    return PTQ_OK;
}
ROW(hardmax, "Hardmax", .takes = PTQ_TAKES_F32, .prepare = ptq_prepare_opset)
