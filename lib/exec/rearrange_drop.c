/* SPDX-License-Identifier: Apache-2.0 */
/* DequantizeLinear goes behind the nodes that move its elements: codes are a quarter of the bytes. */
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

ptq_status ptq_rearrange_drop(ptq_graph *g, int *changes)
{
    for (ptq_node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (!ptq_node_is(n, "DequantizeLinear") || n->nout != 1 || ptq_dq_of(n->out[0]) != n)
            continue;
        for (ptq_node *m; (m = ptq_only_reader(n->out[0], 0)) && ptq_moves_all(m) && !m->out[0]->is_output;) {
            PTQ_TRY(drop(g, n, m));
            ++*changes;
        }
    }
    return PTQ_OK;
}
