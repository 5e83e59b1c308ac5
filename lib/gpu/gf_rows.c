/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax, normalizations, reductions, global pools. */
#include <stdlib.h>
#include <string.h>

#include "lib/gpu/gf.h"

/* ---- Softmax: the opset decides what a row is ---- */

static ptq_status prepare_opset(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    (void)g;
    int *opset = ptq_calloc(1, sizeof *opset);
    if (!opset)
        return ptq_fail_nomem();
    *opset = ptq_step_opset(p, s);
    *state = opset;
    return PTQ_OK;
}

static void release_opset(ptq_gpu *g, void *state)
{
    (void)g;
    free(state);
}

static ptq_status run_softmax(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_shape3 s = ptq_softmax_shape(r, *(const int *)r->state);
    ptq_kf_softmax a = {.x = r->in[0]->data, .y = r->out[0].data, .outer = s.outer, .n = s.n, .inner = s.inner,
                        .logarithm = strcmp(r->step->node->op, "LogSoftmax") == 0};
    return s.n > 0 ? ptq_kf_run_softmax(g->dev, &a) : PTQ_OK;
}
PTQ_GF_ROW(softmax, .name = "Softmax", .supports = ptq_supports_f32, .prepare = prepare_opset, .release = release_opset,
           .run = run_softmax);
PTQ_GF_ROW(log_softmax, .name = "LogSoftmax", .supports = ptq_supports_f32, .prepare = prepare_opset, .release = release_opset,
           .run = run_softmax);

/* ---- LayerNormalization ---- */

/* A scale or bias smaller than the normalized part is spread out. */
static ptq_status spread(ptq_gpu *g, const ptq_tensor *x, int axis, const ptq_tensor *t, float *dst)
{
    ptq_walk w;
    ptq_walk_init(&w, x->rank - axis, x->dims + axis);
    ptq_walk_add(&w, t->rank, t->dims);
    return ptq_gpu_copy(g, &w, dst, t->data, sizeof *dst, NULL);
}

ptq_status ptq_gf_spread_norm(ptq_gpu *g, const ptq_step_run *r, int axis, int64_t n, const float **scale,
                              const float **bias)
{
    const ptq_tensor *x = r->in[0], *s = r->in[1], *b = ptq_in(r, 2);
    void *room;
    *scale = s->data;
    *bias = b ? b->data : NULL;
    if (ptq_tensor_elements(s) == n && (!b || ptq_tensor_elements(b) == n))
        return PTQ_OK;
    PTQ_TRY(ptq_gpu_scratch(g, 0, 2 * (size_t)n * sizeof(float), &room));
    float *wide = room;
    PTQ_TRY(spread(g, x, axis, s, wide));
    *scale = wide;
    if (!b)
        return PTQ_OK;
    *bias = wide + n;
    return spread(g, x, axis, b, wide + n);
}

static ptq_status run_layer_norm(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", -1), x->rank);
    ptq_kf_layer_norm a = {.x = x->data, .y = r->out[0].data, .mean = r->step->nout > 1 ? r->out[1].data : NULL,
                           .rstd = r->step->nout > 2 ? r->out[2].data : NULL,
                           .rows = ptq_product(x->dims, 0, axis), .n = ptq_product(x->dims, axis, x->rank),
                           .eps = ptq_attr_float(r->step->node, "epsilon", 1e-5f)};
    PTQ_TRY(ptq_gf_spread_norm(g, r, axis, a.n, &a.scale, &a.bias));
    return ptq_kf_run_layer_norm(g->dev, &a);
}
PTQ_GF_ROW(layer_norm, .name = "LayerNormalization", .supports = ptq_supports_f32, .run = run_layer_norm);

/* ---- BatchNormalization, InstanceNormalization ---- */

static ptq_kf_planes planes_of(const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    return (ptq_kf_planes){.x = x->data, .scale = r->in[1]->data, .bias = r->in[2]->data, .y = r->out[0].data,
                           .n = x->dims[0], .channels = x->rank > 1 ? x->dims[1] : 1,
                           .size = x->rank > 1 ? ptq_product(x->dims, 2, x->rank) : 1,
                           .eps = ptq_attr_float(r->step->node, "epsilon", 1e-5f)};
}

static bool supports_batch_norm(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (!ptq_attr_int(s->node, "training_mode", 0))
        return ptq_supports_f32(p, s, why);
    if (why)
        *why = "not in training mode";
    return false;
}

static ptq_status run_batch_norm(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_kf_planes a = planes_of(r);
    a.mean = r->in[3]->data;
    a.var = r->in[4]->data;
    a.act = ptq_gf_act(r);
    return ptq_kf_run_planes(g->dev, &a);
}
PTQ_GF_ROW(batch_norm, .name = "BatchNormalization", .supports = supports_batch_norm, .run = run_batch_norm);

static ptq_status run_instance_norm(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_kf_planes a = planes_of(r);
    return ptq_kf_run_planes(g->dev, &a);
}
PTQ_GF_ROW(instance_norm, .name = "InstanceNormalization", .supports = ptq_supports_f32,
           .run = run_instance_norm);

/* ---- reductions ---- */

/* Axes are read on the host. */
static bool supports_reduce(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (ptq_inputs_are(p, s, 0, 1, PTQ_DT_F32))
        return true;
    if (why)
        *why = "only float32 is supported";
    return false;
}

static ptq_kf_walk part(int n, const int64_t *dims, const int64_t *step)
{
    ptq_walk w;
    ptq_walk_init(&w, n, dims);
    ptq_walk_add_steps(&w, step, 0);
    return ptq_gf_walk(&w);
}

static ptq_status reduce(ptq_gpu *g, const ptq_step_run *r, unsigned mask, int op, bool last)
{
    const ptq_tensor *x = r->in[0];
    int64_t dims[PTQ_MAX_RANK], step[PTQ_MAX_RANK];
    int stay = ptq_reduced_last(x, mask, dims, step);
    ptq_kf_reduce a = {.x = x->data, .y = r->out[0].data, .outputs = ptq_product(dims, 0, stay),
                       .n = ptq_product(dims, stay, x->rank), .stay = part(stay, dims, step),
                       .gone = part(x->rank - stay, dims + stay, step + stay), .op = op, .last = last};
    return ptq_kf_run_reduce(g->dev, &a);
}

#define REDUCE_ROW(symbol, op, kind)                                                               \
    static ptq_status run_##symbol(ptq_gpu *g, const ptq_step_run *r)                              \
    {                                                                                              \
        unsigned mask;                                                                             \
        PTQ_TRY(ptq_reduced_axes(r, &mask));                                                       \
        return reduce(g, r, mask, PTQ_KF_##kind, false);                                           \
    }                                                                                              \
    PTQ_GF_ROW(symbol, .name = op, .supports = supports_reduce, .host_inputs = ptq_gf_all_but_data, \
               .run = run_##symbol);
REDUCE_ROW(reduce_sum, "ReduceSum", SUM)
REDUCE_ROW(reduce_mean, "ReduceMean", MEAN)
REDUCE_ROW(reduce_max, "ReduceMax", MAX)
REDUCE_ROW(reduce_min, "ReduceMin", MIN)
REDUCE_ROW(reduce_prod, "ReduceProd", PROD)
REDUCE_ROW(reduce_l1, "ReduceL1", L1)
REDUCE_ROW(reduce_l2, "ReduceL2", L2)
REDUCE_ROW(reduce_sum_square, "ReduceSumSquare", SQUARE)
REDUCE_ROW(reduce_log_sum, "ReduceLogSum", LOG)
REDUCE_ROW(reduce_log_sum_exp, "ReduceLogSumExp", LOGEXP)

static ptq_status run_arg(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_node *n = r->step->node;
    int axis = ptq_axis(ptq_attr_int(n, "axis", 0), r->in[0]->rank);
    return reduce(g, r, 1u << axis, strcmp(n->op, "ArgMin") == 0 ? PTQ_KF_ARGMIN : PTQ_KF_ARGMAX,
                  ptq_attr_int(n, "select_last_index", 0) != 0);
}
PTQ_GF_ROW(argmax, .name = "ArgMax", .supports = ptq_supports_f32, .run = run_arg);
PTQ_GF_ROW(argmin, .name = "ArgMin", .supports = ptq_supports_f32, .run = run_arg);

/* ---- global pools: reductions over all spatial axes ---- */

static ptq_status run_global(ptq_gpu *g, const ptq_step_run *r)
{
    bool mean = strcmp(r->step->node->op, "GlobalAveragePool") == 0;
    unsigned mask = ((1u << r->in[0]->rank) - 1) & ~3u;
    return reduce(g, r, mask, mean ? PTQ_KF_MEAN : PTQ_KF_MAX, false);
}
PTQ_GF_ROW(global_average_pool, .name = "GlobalAveragePool", .supports = ptq_supports_f32, .run = run_global);
PTQ_GF_ROW(global_max_pool, .name = "GlobalMaxPool", .supports = ptq_supports_f32, .run = run_global);
