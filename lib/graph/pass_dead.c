/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that no output needs, then values that nothing touches. Graph inputs stay. */
#include "lib/graph/pass_impl.h"

ptq_status ptq_pass_dead(ptq_pass_ctx *ctx)
{
    ptq_graph *g = ctx->graph;
    for (ptq_node *n = g->last, *prev; n; n = prev) { /* readers come before what they read */
        prev = n->prev;
        bool used = false;
        for (int i = 0; i < n->nout; i++)
            used = used || !ptq_value_unused(n->out[i]);
        if (!used) {
            ptq_node_drop(g, n);
            ctx->changes++;
        }
    }
    for (size_t i = 0; i < g->values.n; i++) {
        ptq_value *v = g->values.v[i];
        if (v && !v->producer && !v->is_input && ptq_value_unused(v)) {
            ptq_value_remove(g, v);
            ctx->changes++;
        }
    }
    return PTQ_OK;
}
