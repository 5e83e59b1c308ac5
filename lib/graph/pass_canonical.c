/* SPDX-License-Identifier: Apache-2.0 */
/* Clip has its bounds as scalar constants or not at all; a Clip from 0 upwards is a Relu. */
#include <math.h>

#include "lib/graph/pass_impl.h"

/* The bound in `slot`: infinite when there is none. False when it is not a constant float. */
static bool bound(const ptq_node *n, int slot, float none, float *v)
{
    const ptq_value *b = ptq_node_input(n, slot);
    *v = none;
    if (!b)
        return true;
    const ptq_tensor *t = b->constant;
    if (!t || t->dtype != PTQ_DT_F32 || ptq_tensor_elements(t) != 1)
        return false;
    *v = *(const float *)t->data;
    return true;
}

static ptq_status scalar_bound(ptq_pass_ctx *ctx, ptq_node *n, int slot)
{
    ptq_value *b = ptq_node_input(n, slot), *c;
    if (!b || b->constant->rank == 0)
        return PTQ_OK;
    ptq_tensor t = *b->constant;
    t.rank = 0;
    PTQ_TRY(ptq_graph_constant(ctx->graph, b->name, &t, false, &c));
    ptq_node_set_input(ctx->graph, n, slot, c);
    ctx->changes++;
    return PTQ_OK;
}

static ptq_status clip(ptq_pass_ctx *ctx, ptq_node *n)
{
    ptq_graph *g = ctx->graph;
    float lo, hi;
    if (g->opset < 11 || !bound(n, 1, -INFINITY, &lo) || !bound(n, 2, INFINITY, &hi))
        return PTQ_OK;
    /* FLT_MAX stands for no bound in files that came from opsets with attributes. */
    bool open_below = lo <= -3.4e38f, open_above = hi >= 3.4e38f;
    if (open_below && open_above && ptq_node_bypass(g, n, n->in[0])) {
        ctx->changes++;
        return PTQ_OK;
    }
    if (lo == 0.0f && open_above) {
        n->op = "Relu";
        n->def = ptq_op_find("Relu", "", g->opset);
        n->origin = NULL;
        PTQ_TRY(ptq_node_resize_inputs(g, n, 1));
        ctx->changes++;
        return PTQ_OK;
    }
    PTQ_TRY(scalar_bound(ctx, n, 1));
    return scalar_bound(ctx, n, 2);
}

ptq_status ptq_pass_canonical(ptq_pass_ctx *ctx)
{
    PTQ_GRAPH_EACH_NODE_SAFE (ctx->graph, n, next)
        if (ptq_node_is(n, "Clip") && n->in[0] && n->in[0]->dtype == PTQ_DT_F32)
            PTQ_TRY(clip(ctx, n));
    return PTQ_OK;
}
