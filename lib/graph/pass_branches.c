/* SPDX-License-Identifier: Apache-2.0 */
/* An If whose condition is a constant: exporters leave them where an option of the model was fixed. */
#include "lib/graph/pass_impl.h"

ptq_status ptq_pass_branches(ptq_pass_ctx *ctx)
{
    ptq_graph *g = ctx->graph;
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next) {
        const ptq_tensor *t = ptq_node_is(n, "If") && n->nin == 1 && n->in[0] ? n->in[0]->constant : NULL;
        if (!t || t->dtype != PTQ_DT_BOOL || t->nbytes != 1)
            continue;
        const ptq_graph *body = ptq_node_body(n, *(const uint8_t *)t->data ? "then_branch" : "else_branch");
        if (!body || body->outputs.n < (size_t)n->nout || body->inputs.n)
            continue;
        ptq_value *condition = n->in[0];
        PTQ_TRY(ptq_graph_inline(g, n, body, NULL, 0, n->name));
        ptq_value_drop(g, condition);
        ctx->changes++;
    }
    return PTQ_OK;
}
