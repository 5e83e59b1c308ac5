/* SPDX-License-Identifier: Apache-2.0 */
/* DequantizeLinear goes behind the nodes that move its elements, where only floats are wanted in the end: codes
 * are a quarter of the bytes. Behind them an integer operator must not find it: its law would be another. */
#include "lib/exec/rearrange_impl.h"

/* M(D(q)) becomes D(M(q)). */
static ptq_status drop(ptq_graph *g, ptq_node *d, ptq_node *m)
{
    ptq_value *codes = d->in[0], *floats = d->out[0], *y = m->out[0], *v;
    PTQ_TRY(ptq_new_value(g, y->name, codes->dtype, &y->shape, &v));
    ptq_node_set_input(g, m, 0, codes);
    ptq_node_set_output(g, m, 0, v);
    ptq_node_move_before(g, d, m->next);
    ptq_node_set_input(g, d, 0, v);
    ptq_node_set_output(g, d, 0, y);
    ptq_value_drop(g, floats);
    return PTQ_OK;
}

static ptq_node *mover_behind(const ptq_value *v)
{
    ptq_node *m = ptq_only_reader(v, 0);
    return m && ptq_moves_all(m) && !m->out[0]->is_output ? m : NULL;
}

/* Does n run in floats whatever makes its inputs? A Concat does where another input is no DequantizeLinear's. */
static bool takes_floats(const ptq_node *n)
{
    bool others = false;
    for (int i = 0; i < n->nin; i++) {
        const ptq_node *p = n->in[i] ? n->in[i]->producer : NULL;
        others = others || !p || (!ptq_node_is(p, "DequantizeLinear") && !ptq_moves_all(p));
    }
    return ptq_node_is(n, "LayerNormalization") || (ptq_node_is(n, "Concat") && others);
}

/* Are all readers of what the movers make in the end of this kind? */
static bool wanted(const ptq_value *v)
{
    const ptq_node *m;
    while ((m = mover_behind(v)))
        v = m->out[0];
    bool good = v->uses.n > 0 && !v->is_output && !ptq_value_captured(v);
    for (size_t i = 0; i < v->uses.n && good; i++)
        good = takes_floats(v->uses.v[i].node);
    return good;
}

ptq_status ptq_rearrange_drop(ptq_graph *g, int *changes)
{
    for (ptq_node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (!ptq_node_is(n, "DequantizeLinear") || n->nout != 1 || ptq_dq_of(n->out[0]) != n || !wanted(n->out[0]))
            continue;
        for (ptq_node *m; (m = mover_behind(n->out[0]));) {
            PTQ_TRY(drop(g, n, m));
            ++*changes;
        }
    }
    return PTQ_OK;
}
