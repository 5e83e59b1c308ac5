/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/session.h"

/* Is axis 0, and no other, the symbol? */
static bool batch_first(const ptq_shape *s, int32_t sym, const char **why)
{
    *why = "its axis 0 is not proven to be the batch";
    if (s->rank < 1 || s->dims[0].sym != sym || s->dims[0].mul != 1 || s->dims[0].add != 0)
        return false;
    for (int i = 1; i < s->rank; i++) {
        *why = s->dims[i].sym == sym ? "the batch appears in another axis too"
                                     : "an axis is not known";
        if (s->dims[i].sym == sym || s->dims[i].sym == PTQ_SYM_UNKNOWN)
            return false;
    }
    return true;
}

bool ptq_batch_proven(const ptq_graph *g, bool (*select)(void *ctx, const ptq_value *v), void *ctx,
                      char *why, size_t n)
{
    const char *reason;
    if (g->inputs.n == 0 || g->inputs.v[0]->shape.rank < 1 || g->inputs.v[0]->shape.dims[0].sym <= 0) {
        snprintf(why, n, "the first input has no symbolic axis 0");
        return false;
    }
    PTQ_GRAPH_EACH_NODE (g, node)
        if (node->def && node->def->flags & PTQ_OPF_CONTROL) { /* a condition may be asked of all samples at once */
            snprintf(why, n, "%s: which way a %s goes may depend on the other samples", node->name, node->op);
            return false;
        }
    int32_t sym = g->inputs.v[0]->shape.dims[0].sym;
    for (size_t i = 0; i < g->inputs.n + g->values.n; i++) {
        const ptq_value *v = i < g->inputs.n ? g->inputs.v[i] : g->values.v[i - g->inputs.n];
        bool asked = i < g->inputs.n || (v && !v->constant && select && select(ctx, v));
        if (asked && !batch_first(&v->shape, sym, &reason)) {
            snprintf(why, n, "%s: %s", v->name, reason);
            return false;
        }
    }
    return true;
}
