/* SPDX-License-Identifier: Apache-2.0 */
/* A Reshape whose target is computed from sizes at run time (Shape, Gather, Concat, ...) gets a
 * constant target: a size that equals the input's in the same place is 0 (copy), one more may be
 * -1. The arithmetic before it is then dead, and the plan needs no data-dependent shapes. */
#include "lib/graph/pass_impl.h"

static bool target_of(const ptq_node *n, int64_t *v)
{
    const ptq_shape *x = &n->in[0]->shape;
    const ptq_value *t = n->in[1];
    bool open = false;
    if (t->constant || !t->contents || t->shape.rank != 1 || t->ncontents > PTQ_MAX_RANK)
        return false;
    for (int i = 0; i < t->ncontents; i++) {
        ptq_dim d = t->contents[i];
        bool copied = i < x->rank && ptq_dim_equal(x->dims[i], d);
        if (ptq_dim_known(d) && d.add > 0) {
            v[i] = d.add;
        } else if (!ptq_dim_known(d) && copied) {
            v[i] = 0;
        } else if ((ptq_dim_known(d) && d.add == -1) || d.sym > 0) {
            if (open)
                return false;
            open = true;
            v[i] = -1;
        } else {
            return false; /* 0: what it copies depends on allowzero */
        }
    }
    return true;
}

static ptq_status give_constant(ptq_graph *g, ptq_node *n, const int64_t *v)
{
    ptq_value *old = n->in[1], *c;
    size_t rank = (size_t)old->ncontents;
    ptq_tensor t = {.dtype = PTQ_DT_S64, .rank = 1, .dims = {(int64_t)rank},
                    .data = (void *)(uintptr_t)v, .nbytes = rank * sizeof *v};
    char name[256];
    snprintf(name, sizeof name, "%s_shape", n->name);
    PTQ_TRY(ptq_graph_constant(g, name, &t, true, &c));
    ptq_node_set_input(g, n, 1, c);
    ptq_attr_remove(n, "allowzero");
    return PTQ_OK;
}

ptq_status ptq_pass_shapes(ptq_pass_ctx *ctx)
{
    PTQ_GRAPH_EACH_NODE (ctx->graph, n) {
        int64_t v[PTQ_MAX_RANK];
        if (!ptq_node_is(n, "Reshape") || n->nin != 2 || !n->in[0] || !n->in[1] || !target_of(n, v))
            continue;
        PTQ_TRY(give_constant(ctx->graph, n, v));
        ctx->changes++;
    }
    return PTQ_OK;
}
