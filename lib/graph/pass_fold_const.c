/* SPDX-License-Identifier: Apache-2.0 */
/* Constant folding: Constant nodes, small integer tensors that shape inference knows, and nodes
 * whose inputs are all constants (computed by the caller's eval). Q/DQ pairs on constants stay:
 * they are how a quantized model stores its weights. */
#include <stdlib.h>

#include "lib/graph/pass_impl.h"

enum { FOLD_LIMIT = 1 << 20 }; /* bytes, when the caller sets none */

static ptq_status fold_constant_node(ptq_pass_ctx *ctx, ptq_node *n)
{
    ptq_graph *g = ctx->graph;
    const ptq_attr *a = n->nattrs == 1 ? &n->attrs[0] : NULL;
    ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = 0};
    float f;
    bool copy = true;
    if (!a || !n->out[0])
        return PTQ_OK;
    if (strcmp(a->name, "value") == 0 && a->tensor) {
        t = *a->tensor;
        copy = false; /* attributes live as long as the graph */
    } else if (strcmp(a->name, "value_float") == 0) {
        f = a->f;
        t.data = &f;
        t.nbytes = sizeof f;
    } else if (strcmp(a->name, "value_floats") == 0) {
        t.rank = 1;
        t.dims[0] = (int64_t)a->n;
        t.data = (void *)(uintptr_t)a->floats;
        t.nbytes = a->n * sizeof(float);
    } else if (strcmp(a->name, "value_int") == 0) {
        t.dtype = PTQ_DT_S64;
        t.data = (void *)(uintptr_t)&a->i;
        t.nbytes = sizeof a->i;
    } else if (strcmp(a->name, "value_ints") == 0) {
        t.dtype = PTQ_DT_S64;
        t.rank = 1;
        t.dims[0] = (int64_t)a->n;
        t.data = (void *)(uintptr_t)a->ints;
        t.nbytes = a->n * sizeof(int64_t);
    } else {
        return PTQ_OK; /* strings, sparse */
    }
    if (t.dtype == PTQ_DT_STRING)
        return PTQ_OK;
    PTQ_TRY(ptq_value_make_constant(g, n->out[0], &t, copy));
    ptq_node_drop(g, n);
    ctx->changes++;
    return PTQ_OK;
}

/* ---- known elements ---- */

static bool elements_known(const ptq_value *v)
{
    if (!v || !v->contents || v->is_output || v->constant || v->shape.rank > 1 ||
        !ptq_shape_known(&v->shape) ||
        (v->dtype != PTQ_DT_S64 && v->dtype != PTQ_DT_S32 && v->dtype != PTQ_DT_BOOL))
        return false;
    for (int i = 0; i < v->ncontents; i++)
        if (!ptq_dim_known(v->contents[i]))
            return false;
    return v->ncontents == (v->shape.rank ? v->shape.dims[0].add : 1);
}

static ptq_status constant_from_elements(ptq_graph *g, ptq_value *v)
{
    int64_t wide[PTQ_CONTENTS_MAX];
    int32_t narrow[PTQ_CONTENTS_MAX];
    uint8_t flag[PTQ_CONTENTS_MAX];
    ptq_tensor t = {.dtype = v->dtype, .rank = v->shape.rank};
    size_t n = (size_t)v->ncontents;
    t.dims[0] = (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        wide[i] = v->contents[i].add;
        narrow[i] = (int32_t)wide[i];
        flag[i] = wide[i] != 0;
    }
    t.data = v->dtype == PTQ_DT_S64 ? (void *)wide : v->dtype == PTQ_DT_S32 ? (void *)narrow : flag;
    t.nbytes = n * (v->dtype == PTQ_DT_S64 ? sizeof *wide
                    : v->dtype == PTQ_DT_S32 ? sizeof *narrow
                                             : sizeof *flag);
    return ptq_value_make_constant(g, v, &t, true);
}

static ptq_status fold_elements(ptq_pass_ctx *ctx, ptq_node *n, bool *done)
{
    *done = false;
    for (int i = 0; i < n->nout; i++)
        if (!elements_known(n->out[i]))
            return PTQ_OK;
    for (int i = 0; i < n->nout; i++)
        PTQ_TRY(constant_from_elements(ctx->graph, n->out[i]));
    ptq_node_drop(ctx->graph, n);
    ctx->changes++;
    *done = true;
    return PTQ_OK;
}

/* ---- evaluation ---- */

static bool may_fold(const ptq_pass_ctx *ctx, const ptq_node *n)
{
    if (!ctx->eval || n->nin == 0 || n->nout > PTQ_MAX_OUT || n->ncaptures ||
        (n->def->flags & PTQ_OPF_RANDOM) || strcmp(n->op, "QuantizeLinear") == 0 ||
        strcmp(n->op, "DequantizeLinear") == 0)
        return false;
    size_t in_bytes = 0, limit = ctx->fold_limit ? ctx->fold_limit : FOLD_LIMIT;
    for (int i = 0; i < n->nin; i++) {
        if (n->in[i] && (!n->in[i]->constant || n->in[i]->constant->dtype == PTQ_DT_STRING))
            return false;
        if (n->in[i])
            in_bytes += n->in[i]->constant->nbytes;
    }
    for (int i = 0; i < n->nout; i++) {
        const ptq_value *v = n->out[i];
        int64_t dims[PTQ_MAX_RANK];
        size_t bytes;
        if (!v)
            continue;
        if (v->is_output || !ptq_shape_known(&v->shape) || v->dtype == PTQ_DT_UNDEFINED)
            return false;
        for (int k = 0; k < v->shape.rank; k++)
            dims[k] = v->shape.dims[k].add;
        if (!ptq_tensor_nbytes(v->dtype, v->shape.rank, dims, &bytes) ||
            (bytes > in_bytes && bytes > limit))
            return false;
    }
    return true;
}

static ptq_status keep_results(ptq_graph *g, ptq_node *n, ptq_tensor *out)
{
    for (int i = 0; i < n->nout; i++) {
        if (!n->out[i] || !out[i].data)
            continue;
        ptq_tensor t = out[i];
        t.data = ptq_graph_bytes(g, t.nbytes);
        if (!t.data)
            return ptq_fail_nomem();
        memcpy(t.data, out[i].data, t.nbytes);
        ptq_graph_rest(g, &t);
        PTQ_TRY(ptq_value_make_constant(g, n->out[i], &t, false));
    }
    return PTQ_OK;
}

static ptq_status fold_by_eval(ptq_pass_ctx *ctx, ptq_node *n)
{
    ptq_graph *g = ctx->graph;
    ptq_tensor out[PTQ_MAX_OUT];
    memset(out, 0, sizeof out);
    ptq_status s = ctx->eval(ctx->eval_ctx, n, *n->domain ? g->opset_ms : g->opset, out);
    if (s == PTQ_ERR_UNSUPPORTED)
        return PTQ_OK;
    if (s == PTQ_OK) {
        s = keep_results(g, n, out);
        if (s == PTQ_OK) {
            ptq_node_drop(g, n);
            ctx->changes++;
        }
    }
    for (size_t i = 0; i < PTQ_COUNT(out); i++)
        free(out[i].data);
    return s;
}

ptq_status ptq_pass_fold_const(ptq_pass_ctx *ctx)
{
    PTQ_GRAPH_EACH_NODE_SAFE (ctx->graph, n, next) {
        bool done = false;
        if (!n->def || (n->nout > 0 && n->out[0] && n->out[0]->is_output))
            continue;
        if (ptq_node_is(n, "Constant")) {
            PTQ_TRY(fold_constant_node(ctx, n));
            continue;
        }
        PTQ_TRY(fold_elements(ctx, n, &done));
        if (!done && may_fold(ctx, n))
            PTQ_TRY(fold_by_eval(ctx, n));
    }
    return PTQ_OK;
}
