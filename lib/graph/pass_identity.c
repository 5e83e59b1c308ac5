/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/graph/pass_impl.h"

static bool same_shape(const ptq_shape *a, const ptq_shape *b)
{
    if (a->rank < 0 || a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (!ptq_dim_equal(a->dims[i], b->dims[i]))
            return false;
    return true;
}

static bool keeps_order(const ptq_node *n)
{
    size_t count;
    const int64_t *perm = ptq_attr_ints(n, "perm", &count);
    for (size_t i = 0; i < count; i++)
        if (perm[i] != (int64_t)i)
            return false;
    return perm != NULL || (n->in[0]->shape.rank >= 0 && n->in[0]->shape.rank < 2);
}

/* From opset 12 on Dropout drops when its third input says so. */
static bool drops(const ptq_node *n)
{
    const ptq_value *t = ptq_node_input(n, 2);
    return t && !(t->constant && t->constant->dtype == PTQ_DT_BOOL && t->constant->nbytes == 1 &&
                  *(const uint8_t *)t->constant->data == 0);
}

static bool is_identity(const ptq_node *n)
{
    if (ptq_node_is(n, "Identity"))
        return true;
    if (ptq_node_is(n, "Dropout"))
        return !drops(n);
    if (ptq_node_is(n, "Cast"))
        return n->in[0]->dtype != PTQ_DT_UNDEFINED &&
               ptq_attr_int(n, "to", 0) == (int64_t)n->in[0]->dtype;
    if (ptq_node_is(n, "Transpose"))
        return keeps_order(n);
    if (ptq_node_is(n, "Concat"))
        return n->nin == 1;
    bool view = (n->def->flags & PTQ_OPF_VIEW) != 0;
    bool whole = ptq_node_is(n, "Expand") || ptq_node_is(n, "Tile") ||
                 (ptq_node_is(n, "Slice") && n->nin < 5);
    return (view || whole) && n->out[0] && same_shape(&n->in[0]->shape, &n->out[0]->shape);
}

ptq_status ptq_pass_identity(ptq_pass_ctx *ctx)
{
    ptq_graph *g = ctx->graph;
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next)
        if (n->def && n->nin > 0 && n->in[0] && is_identity(n) && ptq_node_bypass(g, n, n->in[0]))
            ctx->changes++;
    return PTQ_OK;
}
