/* SPDX-License-Identifier: Apache-2.0 */
/* y = BN(conv(x)) is a convolution again: with k = gamma / sqrt(var + epsilon) per output channel,
 * weight' = k weight and bias' = k (bias - mean) + beta, computed in double, rounded once. */
#include <math.h>

#include "lib/graph/pass_impl.h"

/* A constant float vector of n elements, or NULL. */
static const float *vec(const ptq_value *v, int64_t n)
{
    const ptq_tensor *t = v ? v->constant : NULL;
    return t && t->dtype == PTQ_DT_F32 && t->rank == 1 && t->dims[0] == n ? t->data : NULL;
}

/* The convolution that feeds this BatchNormalization alone, or NULL. */
static ptq_node *conv_before(const ptq_node *bn)
{
    ptq_value *x = bn->in[0];
    ptq_node *c = x ? x->producer : NULL;
    if (!c || !ptq_node_is(c, "Conv") || x->uses.n != 1 || x->is_output || c->nin < 2 || !c->in[1])
        return NULL;
    const ptq_tensor *w = c->in[1]->constant;
    if (!w || w->dtype != PTQ_DT_F32 || w->rank < 3)
        return NULL;
    if (ptq_node_input(c, 2) && !vec(c->in[2], w->dims[0]))
        return NULL;
    for (int i = 1; i < 5; i++)
        if (!vec(ptq_node_input(bn, i), w->dims[0]))
            return NULL;
    for (int i = 1; i < bn->nout; i++)
        if (!ptq_value_unused(bn->out[i]))
            return NULL;
    return bn->out[0] && ptq_attr_int(bn, "training_mode", 0) == 0 ? c : NULL;
}

static bool alone(const ptq_value *v)
{
    return v->uses.n == 1 && !v->is_output && !v->is_input;
}

/* Puts a tensor, whose bytes are the graph's, into an input slot; the value keeps its name unless others
 * read it. */
static ptq_status put_constant(ptq_graph *g, ptq_node *n, int slot, const char *name, const ptq_tensor *t)
{
    ptq_value *old = n->in[slot], *c;
    if (old && alone(old))
        return ptq_value_make_constant(g, old, t, false);
    PTQ_TRY(ptq_graph_constant(g, name, t, false, &c));
    ptq_node_set_input(g, n, slot, c);
    return PTQ_OK;
}

static ptq_status fold(ptq_graph *g, ptq_node *conv, ptq_node *bn)
{
    const ptq_tensor *w = conv->in[1]->constant;
    int64_t m = w->dims[0], k = m ? ptq_tensor_elements(w) / m : 0;
    const float *gamma = vec(bn->in[1], m), *beta = vec(bn->in[2], m), *mean = vec(bn->in[3], m),
                *var = vec(bn->in[4], m), *bias = vec(ptq_node_input(conv, 2), m);
    double eps = (double)ptq_attr_float(bn, "epsilon", 1e-5f);
    ptq_tensor nw = *w, nb = {.dtype = PTQ_DT_F32, .rank = 1, .dims = {m}};
    if (!ptq_tensor_nbytes(nb.dtype, 1, nb.dims, &nb.nbytes))
        return ptq_fail(PTQ_ERR_MODEL, "node '%s': too many channels", conv->name);
    nw.data = ptq_graph_bytes(g, nw.nbytes);
    nb.data = ptq_graph_bytes(g, nb.nbytes);
    if (!nw.data || !nb.data)
        return ptq_fail_nomem();
    for (int64_t c = 0; c < m; c++) {
        double f = (double)gamma[c] / sqrt((double)var[c] + eps);
        for (int64_t i = c * k; i < (c + 1) * k; i++)
            ((float *)nw.data)[i] = (float)(f * (double)((const float *)w->data)[i]);
        double b = bias ? (double)bias[c] : 0.0;
        ((float *)nb.data)[c] = (float)(f * (b - (double)mean[c]) + (double)beta[c]);
    }
    char name[512];
    if (conv->nin < 3)
        PTQ_TRY(ptq_node_resize_inputs(g, conv, 3));
    snprintf(name, sizeof name, "%s_folded", conv->in[1]->name);
    PTQ_TRY(put_constant(g, conv, 1, name, &nw));
    snprintf(name, sizeof name, "%s_bias", conv->in[1]->name);
    return put_constant(g, conv, 2, name, &nb);
}

ptq_status ptq_pass_fold_bn(ptq_pass_ctx *ctx)
{
    ptq_graph *g = ctx->graph;
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next) {
        ptq_node *conv = ptq_node_is(n, "BatchNormalization") ? conv_before(n) : NULL;
        if (!conv)
            continue;
        PTQ_TRY(fold(g, conv, n));
        ptq_value *y = n->out[0], *x = conv->out[0];
        ptq_node_set_output(g, n, 0, NULL);
        ptq_node_set_output(g, conv, 0, y);
        ptq_node_drop(g, n);
        ptq_value_drop(g, x);
        ctx->changes++;
    }
    return PTQ_OK;
}
