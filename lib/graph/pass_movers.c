/* SPDX-License-Identifier: Apache-2.0 */
/* A Reshape of a view reads what the view reads; a Transpose of a Transpose is one. */
#include "lib/graph/pass_impl.h"

/* Would the constant target give the same on `x` as it gives on the view of x? */
static bool same_target(const ptq_node *n, const ptq_value *x)
{
    const ptq_tensor *t = n->in[1]->constant;
    const ptq_shape *old = &n->in[0]->shape;
    if (!t || t->dtype != PTQ_DT_S64 || t->rank != 1)
        return false;
    for (int64_t i = 0; i < t->dims[0]; i++)
        if (((const int64_t *)t->data)[i] == 0 &&
            (i >= old->rank || i >= x->shape.rank || !ptq_dim_equal(old->dims[i], x->shape.dims[i])))
            return false;
    return true;
}

static bool merge_reshape(ptq_graph *g, ptq_node *n)
{
    const ptq_node *view = n->in[0]->producer;
    if (!view || !view->def || !(view->def->flags & PTQ_OPF_VIEW) || ptq_node_is(view, "Identity") ||
        !view->in[0] || !same_target(n, view->in[0]))
        return false;
    ptq_node_set_input(g, n, 0, view->in[0]);
    return true;
}

static ptq_status merge_transpose(ptq_graph *g, ptq_node *n, bool *done)
{
    const ptq_node *first = n->in[0]->producer;
    size_t na = 0, nb = 0;
    int64_t perm[PTQ_MAX_RANK];
    if (!first || !ptq_node_is(first, "Transpose") || !first->in[0])
        return PTQ_OK;
    const int64_t *a = ptq_attr_ints(first, "perm", &na), *b = ptq_attr_ints(n, "perm", &nb);
    if (!a || !b || na != nb || na > PTQ_MAX_RANK)
        return PTQ_OK;
    for (size_t i = 0; i < na; i++)
        perm[i] = a[b[i]];
    PTQ_TRY(ptq_attr_set_ints(g, n, "perm", perm, na));
    ptq_node_set_input(g, n, 0, first->in[0]);
    *done = true;
    return PTQ_OK;
}

ptq_status ptq_pass_movers(ptq_pass_ctx *ctx)
{
    PTQ_GRAPH_EACH_NODE (ctx->graph, n) {
        bool done = false;
        if (ptq_node_is(n, "Reshape") && n->nin == 2 && n->in[0] && n->in[1])
            done = merge_reshape(ctx->graph, n);
        else if (ptq_node_is(n, "Transpose") && n->in[0])
            PTQ_TRY(merge_transpose(ctx->graph, n, &done));
        ctx->changes += done;
    }
    return PTQ_OK;
}
