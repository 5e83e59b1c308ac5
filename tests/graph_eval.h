/* SPDX-License-Identifier: Apache-2.0 */
/* A slow evaluator of small graphs in double, written for the tests of the graph room from the
 * operators' definitions, opset by opset: it shares nothing with the kernels. Output shapes come
 * from the shape functions (which have tests of their own). */
#ifndef PTQ_TESTS_GRAPH_EVAL_H
#define PTQ_TESTS_GRAPH_EVAL_H

#include <math.h>

#include "lib/graph/ops.h"
#include "tests/graph_text.h"

static inline double ge_get(const ptq_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case PTQ_DT_F32: return (double)((const float *)t->data)[i];
    case PTQ_DT_S64: return (double)((const int64_t *)t->data)[i];
    case PTQ_DT_S32: return (double)((const int32_t *)t->data)[i];
    case PTQ_DT_S8: return (double)((const int8_t *)t->data)[i];
    default: return (double)((const uint8_t *)t->data)[i];
    }
}

typedef struct ge_call {
    const ptq_node *n;
    int opset;
    const ptq_tensor *in[16];
    ptq_tensor *out;
} ge_call;

static inline void ge_coords(const ptq_tensor *t, int64_t i, int64_t *c)
{
    for (int d = t->rank - 1; d >= 0; d--) {
        c[d] = i % t->dims[d];
        i /= t->dims[d];
    }
}

/* Index into t of the element that broadcasts to coordinates c of rank `rank`. */
static inline int64_t ge_at(const ptq_tensor *t, const int64_t *c, int rank)
{
    int64_t i = 0;
    for (int d = 0; d < t->rank; d++) {
        int64_t x = c[rank - t->rank + d];
        i = i * t->dims[d] + (t->dims[d] == 1 ? 0 : x);
    }
    return i;
}

static inline double ge_clamp(const ge_call *k, double x)
{
    double lo = (double)ptq_attr_float(k->n, "min", -INFINITY);
    double hi = (double)ptq_attr_float(k->n, "max", INFINITY);
    if (k->opset >= 11) {
        lo = k->in[1] ? ge_get(k->in[1], 0) : -INFINITY;
        hi = k->in[2] ? ge_get(k->in[2], 0) : INFINITY;
    }
    return fmin(fmax(x, lo), hi);
}

static inline double ge_scalar(const ge_call *k, const char *op, double a, double b, double c)
{
    if (!strcmp(op, "Add")) return a + b;
    if (!strcmp(op, "Sub")) return a - b;
    if (!strcmp(op, "Mul")) return a * b;
    if (!strcmp(op, "Div")) return k->out->dtype == PTQ_DT_F32 ? a / b : trunc(a / b);
    if (!strcmp(op, "Where")) return a != 0 ? b : c;
    if (!strcmp(op, "Equal")) return a == b;
    if (!strcmp(op, "Relu")) return fmax(a, 0);
    if (!strcmp(op, "Sigmoid")) return 1 / (1 + exp(-a));
    if (!strcmp(op, "Sqrt")) return sqrt(a);
    if (!strcmp(op, "Clip")) return ge_clamp(k, a);
    if (!strcmp(op, "Cast")) return k->out->dtype == PTQ_DT_F32 ? a : trunc(a);
    return a; /* Identity, Dropout, Expand */
}

static inline void ge_pointwise(const ge_call *k)
{
    ptq_tensor *y = &k->out[0];
    int operands = strcmp(k->n->op, "Clip") && strcmp(k->n->op, "Expand") ? 3 : 1;
    for (int64_t i = 0; i < ptq_tensor_elements(y); i++) {
        int64_t c[PTQ_MAX_RANK];
        double v[3] = {0, 0, 0};
        ge_coords(y, i, c);
        for (int a = 0; a < operands && a < k->n->nin && a < 3; a++)
            if (k->in[a])
                v[a] = ge_get(k->in[a], ge_at(k->in[a], c, y->rank));
        gt_store(y, i, ge_scalar(k, k->n->op, v[0], v[1], v[2]));
    }
}

static inline void ge_copy(const ge_call *k)
{
    for (int64_t i = 0; i < ptq_tensor_elements(&k->out[0]); i++)
        gt_store(&k->out[0], i, ge_get(k->in[0], i));
}

static inline void ge_conv(const ge_call *k)
{
    const ptq_tensor *x = k->in[0], *w = k->in[1];
    ptq_tensor *y = &k->out[0];
    ptq_window g;
    ck_assert_ok(ptq_window_read(k->n, 2, x->dims + 2, w->dims + 2, &g));
    int64_t cg = w->dims[1], mg = w->dims[0] / g.group;
    for (int64_t i = 0; i < ptq_tensor_elements(y); i++) {
        int64_t c[4];
        ge_coords(y, i, c);
        double s = k->in[2] ? ge_get(k->in[2], c[1]) : 0;
        for (int64_t q = 0; q < cg * g.kernel[0] * g.kernel[1]; q++) {
            int64_t ci = q / (g.kernel[0] * g.kernel[1]), ky = q / g.kernel[1] % g.kernel[0];
            int64_t kx = q % g.kernel[1];
            int64_t h = c[2] * g.stride[0] + ky * g.dilation[0] - g.pad_begin[0];
            int64_t v = c[3] * g.stride[1] + kx * g.dilation[1] - g.pad_begin[1];
            if (h < 0 || v < 0 || h >= x->dims[2] || v >= x->dims[3])
                continue;
            int64_t ch = c[1] / mg * cg + ci;
            s += ge_get(x, ((c[0] * x->dims[1] + ch) * x->dims[2] + h) * x->dims[3] + v) *
                 ge_get(w, c[1] * cg * g.kernel[0] * g.kernel[1] + q);
        }
        gt_store(y, i, s);
    }
}

static inline void ge_batch_norm(const ge_call *k)
{
    double eps = (double)ptq_attr_float(k->n, "epsilon", 1e-5f);
    for (int64_t i = 0; i < ptq_tensor_elements(&k->out[0]); i++) {
        int64_t c[PTQ_MAX_RANK];
        ge_coords(&k->out[0], i, c);
        double x = (ge_get(k->in[0], i) - ge_get(k->in[3], c[1])) / sqrt(ge_get(k->in[4], c[1]) + eps);
        gt_store(&k->out[0], i, x * ge_get(k->in[1], c[1]) + ge_get(k->in[2], c[1]));
    }
}

static inline void ge_matmul(const ge_call *k)
{
    const ptq_tensor *a = k->in[0], *b = k->in[1];
    bool gemm = !strcmp(k->n->op, "Gemm"), ta = ptq_attr_int(k->n, "transA", 0) != 0;
    bool tb = ptq_attr_int(k->n, "transB", 0) != 0;
    int64_t m = a->dims[ta ? 1 : 0], kk = a->dims[ta ? 0 : 1], n = b->dims[tb ? 0 : 1];
    double alpha = (double)ptq_attr_float(k->n, "alpha", 1), beta = (double)ptq_attr_float(k->n, "beta", 1);
    for (int64_t i = 0; i < m * n; i++) {
        double s = 0;
        for (int64_t q = 0; q < kk; q++)
            s += ge_get(a, ta ? q * m + i / n : i / n * kk + q) *
                 ge_get(b, tb ? i % n * kk + q : q * n + i % n);
        int64_t c[2] = {i / n, i % n};
        if (gemm)
            s = alpha * s + (k->in[2] ? beta * ge_get(k->in[2], ge_at(k->in[2], c, 2)) : 0);
        gt_store(&k->out[0], i, s);
    }
}

static inline void ge_transpose(const ge_call *k)
{
    const ptq_tensor *x = k->in[0];
    size_t n;
    const int64_t *perm = ptq_attr_ints(k->n, "perm", &n);
    for (int64_t i = 0; i < ptq_tensor_elements(&k->out[0]); i++) {
        int64_t c[PTQ_MAX_RANK], f[PTQ_MAX_RANK];
        ge_coords(&k->out[0], i, c);
        for (int d = 0; d < x->rank; d++)
            f[perm ? perm[d] : x->rank - 1 - d] = c[d];
        gt_store(&k->out[0], i, ge_get(x, ge_at(x, f, x->rank)));
    }
}

static inline void ge_gather(const ge_call *k)
{
    const ptq_tensor *x = k->in[0], *at = k->in[1];
    int64_t axis = ptq_attr_int(k->n, "axis", 0), inner = 1, m = ptq_tensor_elements(at);
    axis = axis < 0 ? axis + x->rank : axis;
    for (int d = (int)axis + 1; d < x->rank; d++)
        inner *= x->dims[d];
    for (int64_t i = 0; i < ptq_tensor_elements(&k->out[0]); i++) {
        int64_t j = (int64_t)ge_get(at, i / inner % m);
        j = j < 0 ? j + x->dims[axis] : j;
        gt_store(&k->out[0], i, ge_get(x, (i / inner / m * x->dims[axis] + j) * inner + i % inner));
    }
}

/* Copies the block at `from` (one axis) of src to the block at `to` of dst. */
static inline void ge_block(const ptq_tensor *src, ptq_tensor *dst, int axis, int64_t from, int64_t to,
                            int64_t step, int64_t n)
{
    int64_t inner = 1, outer = 1;
    for (int d = 0; d < src->rank; d++)
        *(d < axis ? &outer : &inner) *= d == axis ? 1 : src->dims[d];
    for (int64_t i = 0; i < outer * n * inner; i++) {
        int64_t o = i / inner / n, p = i / inner % n, q = i % inner;
        gt_store(dst, (o * dst->dims[axis] + to + p) * inner + q,
                 ge_get(src, (o * src->dims[axis] + from + p * step) * inner + q));
    }
}

static inline int ge_axis(const ge_call *k, int64_t dflt)
{
    int64_t a = ptq_attr_int(k->n, "axis", dflt);
    return (int)(a < 0 ? a + k->in[0]->rank : a);
}

static inline void ge_concat_split(const ge_call *k)
{
    int64_t at = 0;
    int axis = ge_axis(k, 0);
    if (!strcmp(k->n->op, "Concat")) {
        for (int i = 0; i < k->n->nin; at += k->in[i++]->dims[axis])
            ge_block(k->in[i], &k->out[0], axis, 0, at, 1, k->in[i]->dims[axis]);
        return;
    }
    for (int i = 0; i < k->n->nout; at += k->out[i++].dims[axis])
        ge_block(k->in[0], &k->out[i], axis, at, 0, 1, k->out[i].dims[axis]);
}

/* One axis is enough for the tests. */
static inline void ge_slice(const ge_call *k)
{
    size_t n;
    const int64_t *s = ptq_attr_ints(k->n, "starts", &n), *a = ptq_attr_ints(k->n, "axes", &n);
    int64_t start = k->in[1] ? (int64_t)ge_get(k->in[1], 0) : s[0];
    int64_t axis = k->in[3] ? (int64_t)ge_get(k->in[3], 0) : a ? a[0] : 0;
    int64_t step = k->in[4] ? (int64_t)ge_get(k->in[4], 0) : 1;
    axis = axis < 0 ? axis + k->in[0]->rank : axis;
    start = start < 0 ? start + k->in[0]->dims[axis] : start;
    ge_block(k->in[0], &k->out[0], (int)axis, start, 0, step, k->out[0].dims[axis]);
}

/* Before opset 13: one softmax over everything from `axis` on; then over the one axis. */
static inline void ge_softmax(const ge_call *k)
{
    const ptq_tensor *x = k->in[0];
    bool old = k->opset < 13, lg = !strcmp(k->n->op, "LogSoftmax");
    int axis = ge_axis(k, old ? 1 : -1);
    int64_t inner = 1, n = old ? 1 : x->dims[axis];
    for (int d = axis; d < x->rank; d++)
        if (old)
            n *= x->dims[d];
        else if (d > axis)
            inner *= x->dims[d];
    for (int64_t i = 0; i < ptq_tensor_elements(x); i++) {
        int64_t base = i / (n * inner) * n * inner + i % inner;
        double sum = 0;
        for (int64_t j = 0; j < n; j++)
            sum += exp(ge_get(x, base + j * inner));
        gt_store(&k->out[0], i, lg ? ge_get(x, i) - log(sum) : exp(ge_get(x, i)) / sum);
    }
}

static inline void ge_reduce(const ge_call *k)
{
    const ptq_tensor *x = k->in[0];
    size_t n;
    const int64_t *axes = ptq_attr_ints(k->n, "axes", &n);
    bool hit[PTQ_MAX_RANK] = {false};
    int64_t count = 1;
    if (!axes && k->in[1])
        n = (size_t)ptq_tensor_elements(k->in[1]);
    for (size_t i = 0; i < n; i++) {
        int64_t a = axes ? axes[i] : (int64_t)ge_get(k->in[1], (int64_t)i);
        hit[a < 0 ? a + x->rank : a] = true;
    }
    bool all = n == 0 && !ptq_attr_int(k->n, "noop_with_empty_axes", 0);
    for (int d = 0; d < x->rank; d++)
        count *= hit[d] || all ? x->dims[d] : 1;
    double *sum = ptq_calloc((size_t)ptq_tensor_elements(&k->out[0]), sizeof *sum);
    for (int64_t i = 0; i < ptq_tensor_elements(x); i++) {
        int64_t c[PTQ_MAX_RANK], to = 0;
        ge_coords(x, i, c);
        for (int d = 0; d < x->rank; d++)
            if (!hit[d] && !all)
                to = to * x->dims[d] + c[d];
        sum[to] += ge_get(x, i) / (strcmp(k->n->op, "ReduceMean") ? 1 : (double)count);
    }
    for (int64_t i = 0; i < ptq_tensor_elements(&k->out[0]); i++)
        gt_store(&k->out[0], i, sum[i]);
    free(sum);
}

static inline void ge_shape(const ge_call *k)
{
    int64_t start = ptq_attr_int(k->n, "start", 0);
    for (int64_t i = 0; i < k->out[0].dims[0]; i++)
        gt_store(&k->out[0], i, (double)k->in[0]->dims[start + i]);
}

static inline void ge_pad(const ge_call *k)
{
    const ptq_tensor *x = k->in[0];
    size_t n;
    const int64_t *pads = ptq_attr_ints(k->n, "pads", &n);
    double fill = k->in[2] ? ge_get(k->in[2], 0) : (double)ptq_attr_float(k->n, "value", 0);
    for (int64_t i = 0; i < ptq_tensor_elements(&k->out[0]); i++) {
        int64_t c[PTQ_MAX_RANK];
        bool inside = true;
        ge_coords(&k->out[0], i, c);
        for (int d = 0; d < x->rank; d++) {
            c[d] -= pads ? pads[d] : (int64_t)ge_get(k->in[1], d);
            inside = inside && c[d] >= 0 && c[d] < x->dims[d];
        }
        gt_store(&k->out[0], i, inside ? ge_get(x, ge_at(x, c, x->rank)) : fill);
    }
}

/* Upsample and Resize: nearest or linear, whole factors or not; asymmetric coordinates, nearest
 * rounds down (what Upsample means). Resize must say so. */
static inline void ge_upsample(const ge_call *k)
{
    const ptq_tensor *x = k->in[0];
    bool resize = !strcmp(k->n->op, "Resize"), linear = !strcmp(ptq_attr_str(k->n, "mode", ""), "linear");
    const ptq_tensor *scales = resize && k->opset >= 11 ? k->in[2] : k->in[1];
    size_t n;
    const float *list = ptq_attr_floats(k->n, "scales", &n);
    if (resize && k->opset >= 11) {
        ck_assert_str_eq(ptq_attr_str(k->n, "coordinate_transformation_mode", ""), "asymmetric");
        if (!linear)
            ck_assert_str_eq(ptq_attr_str(k->n, "nearest_mode", ""), "floor");
    }
    for (int64_t i = 0; i < ptq_tensor_elements(&k->out[0]); i++) {
        int64_t c[PTQ_MAX_RANK];
        double f[PTQ_MAX_RANK], sum = 0;
        ge_coords(&k->out[0], i, c);
        for (int d = 0; d < x->rank; d++) {
            double p = (double)c[d] / (list ? (double)list[d] : ge_get(scales, d));
            p = fmin(p, (double)(x->dims[d] - 1));
            c[d] = (int64_t)p;
            f[d] = linear ? p - floor(p) : 0;
        }
        for (int corner = 0; corner < 1 << x->rank; corner++) {
            int64_t e[PTQ_MAX_RANK];
            double weight = 1;
            for (int d = 0; d < x->rank; d++) {
                bool up = corner >> d & 1;
                e[d] = up && c[d] + 1 < x->dims[d] ? c[d] + 1 : c[d];
                weight *= up ? f[d] : 1 - f[d];
            }
            sum += weight * ge_get(x, ge_at(x, e, x->rank));
        }
        gt_store(&k->out[0], i, sum);
    }
}

static inline void ge_constant(const ge_call *k)
{
    const ptq_attr *a = &k->n->attrs[0];
    if (a->tensor)
        memcpy(k->out->data, a->tensor->data, a->tensor->nbytes);
    else if (a->type == PTQ_ATTR_INTS)
        memcpy(k->out->data, a->ints, a->n * sizeof *a->ints);
    else
        gt_store(k->out, 0, a->type == PTQ_ATTR_INT ? (double)a->i : (double)a->f);
}

static const struct {
    const char *op;
    void (*run)(const ge_call *k);
} ge_ops[] = {
    {"Add", ge_pointwise},     {"Sub", ge_pointwise},     {"Mul", ge_pointwise},
    {"Div", ge_pointwise},     {"Where", ge_pointwise},   {"Equal", ge_pointwise},
    {"Relu", ge_pointwise},    {"Sigmoid", ge_pointwise}, {"Sqrt", ge_pointwise},
    {"Clip", ge_pointwise},    {"Cast", ge_pointwise},    {"Identity", ge_pointwise},
    {"Expand", ge_pointwise},  {"Dropout", ge_copy},      {"Reshape", ge_copy},
    {"Flatten", ge_copy},      {"Squeeze", ge_copy},      {"Unsqueeze", ge_copy},
    {"Conv", ge_conv},         {"BatchNormalization", ge_batch_norm},
    {"MatMul", ge_matmul},     {"Gemm", ge_matmul},       {"Transpose", ge_transpose},
    {"Gather", ge_gather},     {"Concat", ge_concat_split}, {"Split", ge_concat_split},
    {"Slice", ge_slice},       {"Softmax", ge_softmax},   {"LogSoftmax", ge_softmax},
    {"ReduceMean", ge_reduce}, {"ReduceSum", ge_reduce},  {"Shape", ge_shape},
    {"Pad", ge_pad},           {"Upsample", ge_upsample}, {"Resize", ge_upsample},
    {"Constant", ge_constant},
};

/* Computes a node from tensors; out[i] is allocated. */
static inline ptq_status ge_node(const ptq_node *n, int opset, const ptq_tensor *const *in,
                                 ptq_tensor *out)
{
    ptq_type ti[16], to[16];
    void (*run)(const ge_call *k) = NULL;
    for (size_t i = 0; i < PTQ_COUNT(ge_ops); i++)
        if (!strcmp(ge_ops[i].op, n->op))
            run = ge_ops[i].run;
    if (!run)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "the tests do not evaluate %s", n->op);
    for (int i = 0; i < n->nin; i++) {
        ti[i] = (ptq_type){PTQ_DT_UNDEFINED, ptq_shape_unknown()};
        if (!in[i])
            continue;
        ti[i] = (ptq_type){in[i]->dtype, {.rank = in[i]->rank}};
        for (int d = 0; d < in[i]->rank; d++)
            ti[i].shape.dims[d] = ptq_dim_of(in[i]->dims[d]);
    }
    for (int i = 0; i < n->nout; i++)
        to[i] = (ptq_type){PTQ_DT_UNDEFINED, ptq_shape_unknown()};
    ptq_infer inf = {.node = n, .opset = opset, .nin = n->nin, .nout = n->nout, .in = ti, .value = in,
                     .out = to};
    PTQ_TRY(n->def->infer(&inf));
    ge_call k = {n, opset, {NULL}, out};
    for (int i = 0; i < n->nin; i++)
        k.in[i] = in[i];
    for (int i = 0; i < n->nout; i++) {
        ck_assert_msg(ptq_shape_known(&to[i].shape), "%s: shape of output %d", n->name, i);
        out[i] = (ptq_tensor){.dtype = to[i].dtype, .rank = to[i].shape.rank};
        for (int d = 0; d < out[i].rank; d++)
            out[i].dims[d] = to[i].shape.dims[d].add;
        ck_assert_ok(ptq_tensor_alloc(&out[i]));
    }
    run(&k);
    return PTQ_OK;
}

/* The eval of ptq_pass_ctx. */
static inline ptq_status ge_eval(void *ctx, const ptq_node *n, int opset, ptq_tensor *out)
{
    const ptq_tensor *in[16];
    (void)ctx;
    for (int i = 0; i < n->nin; i++)
        in[i] = n->in[i] ? n->in[i]->constant : NULL;
    return ge_node(n, opset, in, out);
}

enum { GE_SYMBOL = 3 }; /* every symbolic size */

/* Runs the graph on inputs drawn from `seed`; results are freed by the caller. */
static inline void ge_run(const ptq_graph *g, uint64_t seed, ptq_tensor *results)
{
    ptq_tensor *t = ptq_calloc(g->values.n, sizeof *t), out[16];
    ptq_rng r;
    ptq_rng_seed(&r, seed);
    for (size_t i = 0; i < g->inputs.n; i++) {
        const ptq_value *v = g->inputs.v[i];
        ptq_tensor *x = &t[v->id];
        *x = (ptq_tensor){.dtype = v->dtype, .rank = v->shape.rank};
        for (int d = 0; d < x->rank; d++)
            x->dims[d] = v->shape.dims[d].sym ? GE_SYMBOL : v->shape.dims[d].add;
        ck_assert_ok(ptq_tensor_alloc(x));
        for (int64_t k = 0; k < ptq_tensor_elements(x); k++)
            gt_store(x, k, 4 * (double)ptq_rng_uniform(&r) - 2);
    }
    PTQ_GRAPH_EACH_NODE (g, n) {
        const ptq_tensor *in[16];
        memset(out, 0, sizeof out);
        for (int i = 0; i < n->nin; i++)
            in[i] = !n->in[i] ? NULL : n->in[i]->constant ? n->in[i]->constant : &t[n->in[i]->id];
        ck_assert_ok(ge_node(n, *n->domain ? g->opset_ms : g->opset, in, out));
        for (int i = 0; i < n->nout; i++)
            if (n->out[i])
                t[n->out[i]->id] = out[i];
            else
                free(out[i].data);
    }
    for (size_t i = 0; i < g->outputs.n; i++) {
        const ptq_value *v = g->outputs.v[i];
        const ptq_tensor *from = v->constant ? v->constant : &t[v->id];
        results[i] = *from;
        ck_assert_ok(ptq_tensor_alloc(&results[i]));
        memcpy(results[i].data, from->data, from->nbytes);
    }
    for (size_t i = 0; i < g->values.n; i++)
        free(t[i].data);
    free(t);
}

/* Both graphs give the same outputs (same names, types, shapes, values within tol). */
static inline void ge_same(const ptq_graph *a, const ptq_graph *b, double tol, const char *what)
{
    ptq_tensor ra[16], rb[16];
    ck_assert_msg(a->outputs.n == b->outputs.n, "%s: outputs", what);
    for (uint64_t seed = 1; seed <= 2; seed++) {
        ge_run(a, seed, ra);
        ge_run(b, seed, rb);
        for (size_t i = 0; i < a->outputs.n; i++) {
            ck_assert_msg(!strcmp(a->outputs.v[i]->name, b->outputs.v[i]->name), "%s: name", what);
            ck_assert_msg(ra[i].dtype == rb[i].dtype && ra[i].rank == rb[i].rank &&
                              !memcmp(ra[i].dims, rb[i].dims, (size_t)ra[i].rank * sizeof(int64_t)),
                          "%s: type or shape of output %zu", what, i);
            for (int64_t k = 0; k < ptq_tensor_elements(&ra[i]); k++) {
                double x = ge_get(&ra[i], k), y = ge_get(&rb[i], k);
                ck_assert_msg(fabs(x - y) <= tol * (1 + fabs(x)), "%s: output %zu[%lld]: %.9g, %.9g",
                              what, i, (long long)k, x, y);
            }
            free(ra[i].data);
            free(rb[i].data);
        }
    }
}

#endif
