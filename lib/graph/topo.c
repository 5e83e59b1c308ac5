/* SPDX-License-Identifier: Apache-2.0 */
/* Order and consistency of the graph; linear time, no recursion. */
#include <stdlib.h>
#include <string.h>

#include "lib/graph/graph.h"

/* What node n reads, i in [0, nin + ncaptures); NULL for an omitted input. */
static const ptq_value *reads(const ptq_node *n, int i)
{
    return i < n->nin ? n->in[i] : n->captures[i - n->nin];
}

static bool sorted(const ptq_graph *g, unsigned char *seen)
{
    PTQ_GRAPH_EACH_NODE (g, n) {
        for (int i = 0; i < n->nin + n->ncaptures; i++) {
            const ptq_value *v = reads(n, i);
            if (v && v->producer && !seen[v->producer->id])
                return false;
        }
        seen[n->id] = 1;
    }
    return true;
}

enum { WHITE, GREY, BLACK };

typedef struct frame {
    ptq_node *node;
    int next; /* input to look at */
} frame;

/* Depth-first from `root`: appends to `order` everything it needs, then itself. */
static ptq_status visit(ptq_node *root, unsigned char *colour, frame *stack, ptq_node **order,
                        size_t *n)
{
    size_t depth = 1;
    stack[0] = (frame){root, 0};
    colour[root->id] = GREY;
    while (depth) {
        frame *f = &stack[depth - 1];
        if (f->next == f->node->nin + f->node->ncaptures) {
            colour[f->node->id] = BLACK;
            order[(*n)++] = f->node;
            depth--;
            continue;
        }
        const ptq_value *v = reads(f->node, f->next++);
        ptq_node *p = v ? v->producer : NULL;
        if (!p || colour[p->id] == BLACK)
            continue;
        if (colour[p->id] == GREY)
            return ptq_fail(PTQ_ERR_MODEL, "the nodes form a cycle through '%s' (%s), tensor '%s'",
                            f->node->name, f->node->op, v->name);
        colour[p->id] = GREY;
        stack[depth++] = (frame){p, 0};
    }
    return PTQ_OK;
}

static void relink(ptq_graph *g, ptq_node **order, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        order[i]->prev = i ? order[i - 1] : NULL;
        order[i]->next = i + 1 < n ? order[i + 1] : NULL;
    }
    g->first = order[0];
    g->last = order[n - 1];
}

ptq_status ptq_graph_sort(ptq_graph *g, bool *moved)
{
    *moved = false;
    if (g->nnodes == 0)
        return PTQ_OK;
    size_t count = (size_t)g->nnodes, n = 0;
    ptq_status s = PTQ_OK;
    unsigned char *colour = ptq_calloc((size_t)g->next_node_id, 1);
    frame *stack = ptq_calloc(count, sizeof *stack);
    ptq_node **order = ptq_calloc(count, sizeof *order);
    if (!colour || !stack || !order) {
        s = ptq_fail_nomem();
        goto out;
    }
    if (sorted(g, colour))
        goto out;
    memset(colour, WHITE, (size_t)g->next_node_id);
    for (ptq_node *p = g->first; p && s == PTQ_OK; p = p->next)
        if (colour[p->id] == WHITE)
            s = visit(p, colour, stack, order, &n);
    if (s == PTQ_OK) {
        relink(g, order, n);
        *moved = true;
    }
out:
    free(colour);
    free(stack);
    free(order);
    return s;
}

/* ---- consistency ---- */

static ptq_status verify_node(const ptq_graph *g, const ptq_node *n)
{
    if (!n->linked || n->id >= g->next_node_id || ptq_map_get(g->node_by_name, n->name) != n)
        return ptq_fail(PTQ_ERR_INTERNAL, "node '%s' is not linked or not known by name", n->name);
    for (int i = 0; i < n->nin; i++) {
        const ptq_value *v = n->in[i];
        if (!v)
            continue;
        size_t at = n->in_use[i];
        if (g->values.v[v->id] != v || at >= v->uses.n || v->uses.v[at].node != n ||
            v->uses.v[at].slot != i)
            return ptq_fail(PTQ_ERR_INTERNAL, "node '%s': input %d is not among the uses of '%s'",
                            n->name, i, v->name);
    }
    for (int i = 0; i < n->nout; i++)
        if (n->out[i] && (n->out[i]->producer != n || n->out[i]->producer_slot != i))
            return ptq_fail(PTQ_ERR_INTERNAL, "node '%s': output %d has another producer", n->name, i);
    return PTQ_OK;
}

static ptq_status verify_value(const ptq_graph *g, const ptq_value *v)
{
    if (ptq_map_get(g->by_name, v->name) != v)
        return ptq_fail(PTQ_ERR_INTERNAL, "value '%s' is not known by name", v->name);
    if (v->producer && (!v->producer->linked || v->producer_slot >= v->producer->nout ||
                        v->producer->out[v->producer_slot] != v || v->constant || v->is_input))
        return ptq_fail(PTQ_ERR_INTERNAL, "value '%s': wrong producer", v->name);
    for (size_t i = 0; i < v->uses.n; i++) {
        ptq_use u = v->uses.v[i];
        bool ok = u.node->linked;
        if (u.slot >= 0) {
            ok = ok && u.slot < u.node->nin && u.node->in[u.slot] == v &&
                 u.node->in_use[u.slot] == i;
        } else {
            bool found = false;
            for (int k = 0; k < u.node->ncaptures; k++)
                found = found || u.node->captures[k] == v;
            ok = ok && found;
        }
        if (!ok)
            return ptq_fail(PTQ_ERR_INTERNAL, "value '%s': use %zu by '%s' is stale", v->name, i,
                            u.node->name);
    }
    return PTQ_OK;
}

ptq_status ptq_graph_verify(const ptq_graph *g)
{
    if (g->nomem)
        return ptq_fail_nomem();
    int count = 0;
    const ptq_node *prev = NULL;
    PTQ_GRAPH_EACH_NODE (g, n) {
        PTQ_TRY(verify_node(g, n));
        if (n->prev != prev || ++count > g->nnodes)
            return ptq_fail(PTQ_ERR_INTERNAL, "node '%s': the list is broken", n->name);
        prev = n;
    }
    if (count != g->nnodes || g->last != prev)
        return ptq_fail(PTQ_ERR_INTERNAL, "the graph counts %d nodes, has %d", g->nnodes, count);
    for (size_t i = 0; i < g->values.n; i++) {
        const ptq_value *v = g->values.v[i];
        if (v && v->id != (int)i)
            return ptq_fail(PTQ_ERR_INTERNAL, "value '%s' has a wrong id", v->name);
        if (v)
            PTQ_TRY(verify_value(g, v));
    }
    for (size_t i = 0; i < g->inputs.n; i++)
        if (!g->inputs.v[i]->is_input || g->values.v[g->inputs.v[i]->id] != g->inputs.v[i])
            return ptq_fail(PTQ_ERR_INTERNAL, "input '%s' is stale", g->inputs.v[i]->name);
    for (size_t i = 0; i < g->outputs.n; i++)
        if (!g->outputs.v[i]->is_output || g->values.v[g->outputs.v[i]->id] != g->outputs.v[i])
            return ptq_fail(PTQ_ERR_INTERNAL, "output '%s' is stale", g->outputs.v[i]->name);
    unsigned char *seen = ptq_calloc((size_t)g->next_node_id + 1, 1);
    if (!seen)
        return ptq_fail_nomem();
    bool ok = sorted(g, seen);
    free(seen);
    return ok ? PTQ_OK : ptq_fail(PTQ_ERR_INTERNAL, "the nodes are not in order");
}
