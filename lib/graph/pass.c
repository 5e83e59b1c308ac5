/* SPDX-License-Identifier: Apache-2.0 */
/* The driver, and what passes share. */
#include "lib/graph/pass_impl.h"

static const ptq_pass passes[] = {
#define PTQ_PASS(name, summary) {#name, summary, ptq_pass_##name},
#include "lib/graph/passes.def"
#undef PTQ_PASS
};

size_t ptq_pass_count(void)
{
    return PTQ_COUNT(passes);
}

const ptq_pass *ptq_pass_at(size_t i)
{
    return i < PTQ_COUNT(passes) ? &passes[i] : NULL;
}

const ptq_pass *ptq_pass_find(const char *name)
{
    for (size_t i = 0; i < PTQ_COUNT(passes); i++)
        if (strcmp(passes[i].name, name) == 0)
            return &passes[i];
    return NULL;
}

ptq_status ptq_passes_run(ptq_pass_ctx *ctx)
{
    /* Each round can only open the way for another one; real models take three. */
    enum { ROUNDS = 32 };
    PTQ_TRY(ptq_infer_graph(ctx->graph));
    for (int round = 0; round < ROUNDS; round++) {
        int before = ctx->changes;
        for (size_t i = 0; i < PTQ_COUNT(passes); i++) {
            int c = ctx->changes;
            PTQ_TRY(passes[i].run(ctx));
            if (ctx->changes != c)
                PTQ_TRY(ptq_infer_graph(ctx->graph));
        }
        if (ctx->changes == before)
            break;
    }
    ptq_graph_rest_all(ctx->graph); /* what was folded into others is read no more */
    return ptq_graph_verify(ctx->graph);
}

bool ptq_value_captured(const ptq_value *v)
{
    for (size_t i = 0; i < v->uses.n; i++)
        if (v->uses.v[i].slot < 0)
            return true;
    return false;
}

void ptq_value_drop(ptq_graph *g, ptq_value *v)
{
    if (v && !v->producer && ptq_value_unused(v))
        ptq_value_remove(g, v);
}

void ptq_node_drop(ptq_graph *g, ptq_node *n)
{
    ptq_node_remove(g, n);
    for (int i = 0; i < n->nout; i++)
        ptq_value_drop(g, n->out[i]);
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && g->values.v[n->in[i]->id] == n->in[i])
            ptq_value_drop(g, n->in[i]);
}

bool ptq_node_bypass(ptq_graph *g, ptq_node *n, ptq_value *x)
{
    ptq_value *y = n->out[0];
    for (int i = 1; i < n->nout; i++)
        if (!ptq_value_unused(n->out[i]))
            return false;
    if (!y || ptq_value_captured(y))
        return false;
    if (!y->is_output) {
        ptq_value_replace_uses(g, y, x);
        ptq_node_drop(g, n);
        return true;
    }
    /* The name of the output stays: x's producer makes it. */
    if (!x->producer || x->is_output || ptq_value_captured(x))
        return false;
    ptq_node *p = x->producer;
    int slot = x->producer_slot;
    ptq_node_remove(g, n);
    ptq_value_replace_uses(g, x, y);
    ptq_node_set_output(g, p, slot, y);
    ptq_value_drop(g, x);
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && n->in[i] != x && g->values.v[n->in[i]->id] == n->in[i])
            ptq_value_drop(g, n->in[i]);
    return true;
}
