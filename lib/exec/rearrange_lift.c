/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise nodes with a constant and QuantizeLinear go in front of the node that moves their elements:
 * the mover then runs on codes, and the elementwise node stands behind a product that takes it in.
 *
 * A QuantizeLinear changes the rounding of the integer operator that it stands behind, so it goes only
 * behind operators that are not lowered by what stands behind them. */
#include "lib/exec/rearrange_impl.h"

/* E(M(x)) becomes M(E(x)). */
static ptq_status swap(ptq_graph *g, ptq_node *e, int slot, ptq_node *m)
{
    ptq_value *x = m->in[0], *moved = m->out[0], *y = e->out[0], *v;
    PTQ_TRY(ptq_new_value(g, y->name, y->dtype, &x->shape, &v));
    for (int i = 0; i < e->nin; i++)
        if (i != slot && e->in[i] && e->in[i]->producer) /* a Constant */
            ptq_node_move_before(g, e->in[i]->producer, m);
    ptq_node_move_before(g, e, m);
    ptq_node_set_output(g, e, 0, v);
    ptq_node_set_input(g, e, slot, x);
    ptq_node_set_input(g, m, 0, v);
    ptq_node_set_output(g, m, 0, y);
    ptq_value_drop(g, moved);
    return PTQ_OK;
}

/* The mover that makes v for one reader alone, out of floats. `some`: it may leave elements out. */
static ptq_node *mover_of(const ptq_value *v, int slot, bool some)
{
    ptq_node *m = v ? v->producer : NULL;
    return m && (ptq_moves_all(m) || (some && ptq_view_knows(m))) && ptq_only_reader(v, slot) &&
                   m->in[0]->dtype == PTQ_DT_F32 && m->in[0]->shape.rank >= 0 && !ptq_lower_constant(m->in[0])
               ? m
               : NULL;
}

/* ---- Add, Mul, Div with a constant ---- */

/* Input that is computed where the other is a float constant; -1: none. */
static int computed_slot(const ptq_node *n)
{
    bool div = ptq_node_is(n, "Div");
    if ((!div && !ptq_node_is(n, "Add") && !ptq_node_is(n, "Mul")) || n->nin != 2 || !n->in[0] || !n->in[1])
        return -1;
    for (int slot = 0; slot < (div ? 1 : 2); slot++) {
        const ptq_tensor *t = ptq_lower_constant(n->in[1 - slot]);
        if (t && t->dtype == PTQ_DT_F32 && !ptq_lower_constant(n->in[slot]))
            return slot;
    }
    return -1;
}

/* Is x a product, or what such nodes and movers made of one? */
static bool behind_product(const ptq_value *x)
{
    enum { FAR = 32 };
    const ptq_node *n = x->producer;
    for (int slot, i = 0; n && i < FAR; n = x->producer, i++) {
        if (ptq_node_is(n, "MatMul") || ptq_node_is(n, "Gemm"))
            return true;
        if (ptq_moves_all(n))
            x = n->in[0];
        else if ((slot = computed_slot(n)) >= 0)
            x = n->in[slot];
        else
            return false;
    }
    return false;
}

/* The constant meets the same elements on either side of the mover. */
static bool commutes(const ptq_node *n, int slot, const ptq_node *m)
{
    const ptq_tensor *t = ptq_lower_constant(n->in[1 - slot]);
    const ptq_shape *x = &m->in[0]->shape, *y = &m->out[0]->shape;
    int64_t count = ptq_tensor_elements(t);
    if (t->rank > x->rank || t->rank > y->rank)
        return false;
    return count == 1 || (t->rank == 1 && ptq_keeps_last(m) && x->dims[x->rank - 1].add == count);
}

static ptq_status lift_elementwise(ptq_graph *g, ptq_node *n, int *changes)
{
    int slot = computed_slot(n);
    ptq_node *m;
    if (slot < 0 || !behind_product(n->in[slot]))
        return PTQ_OK;
    while ((m = mover_of(n->in[slot], slot, false)) && commutes(n, slot, m)) {
        PTQ_TRY(swap(g, n, slot, m));
        ++*changes;
    }
    return PTQ_OK;
}

/* ---- QuantizeLinear ---- */

bool ptq_quantizes(const ptq_value *x)
{
    /* functions of codes become tables of what these nodes give */
    static const char *const whole[] = {"LayerNormalization", "Softmax", "DequantizeLinear", "Erf", "Tanh", "Sigmoid"};
    static const char *const sums[] = {"Add", "Mul", "Div"};
    const ptq_node *n = x->producer;
    if (n && strcmp(n->op, "Gelu") == 0)
        return true;
    if (!n || *n->domain)
        return false;
    if (ptq_moves_all(n))
        return true;
    for (size_t i = 0; i < PTQ_COUNT(whole); i++)
        if (ptq_node_is(n, whole[i]))
            return true;
    bool sum = false;
    for (size_t i = 0; i < PTQ_COUNT(sums); i++)
        sum = sum || ptq_node_is(n, sums[i]);
    for (int i = 0; i < n->nin && sum; i++) /* sums of codes are integer steps */
        sum = n->in[i] && !(n->in[i]->producer && ptq_node_is(n->in[i]->producer, "DequantizeLinear"));
    return sum;
}

/* x are the codes that a Q with these parameters would give, behind DequantizeLinear. */
static bool same_codes(const ptq_value *x, const ptq_affine *a, ptq_dtype t)
{
    ptq_dq d;
    return ptq_match_dq(NULL, x, &d) && d.affine.scale == a->scale && d.affine.zp == a->zp && d.dtype == t &&
           !ptq_lower_constant(d.q);
}

static ptq_status lift_quantize(ptq_graph *g, ptq_node *n, int *changes)
{
    ptq_affine a;
    ptq_dtype t;
    ptq_node *m;
    if (!ptq_match_q(n, &a, &t) || !n->in[0])
        return PTQ_OK;
    while ((m = mover_of(n->in[0], 0, true)) &&
           (ptq_moves_all(m) ? ptq_quantizes(m->in[0]) : same_codes(m->in[0], &a, t))) {
        PTQ_TRY(swap(g, n, 0, m));
        ++*changes;
    }
    if (same_codes(n->in[0], &a, t) && !n->out[0]->is_output && ptq_node_bypass(g, n, n->in[0]->producer->in[0]))
        ++*changes;
    return PTQ_OK;
}

/* Identical QuantizeLinear nodes that alone read what a mover makes become one. */
static ptq_status join_quantizers(ptq_graph *g, ptq_node *m, int *changes)
{
    ptq_value *v = m->out[0];
    ptq_affine a, b;
    ptq_dtype t, u;
    ptq_node *first = v->uses.n > 1 && !v->is_output ? v->uses.v[0].node : NULL;
    for (size_t i = 0; i < v->uses.n && first; i++) {
        ptq_node *n = v->uses.v[i].node;
        if (v->uses.v[i].slot != 0 || !ptq_match_q(n, &b, &u) || n->out[0]->is_output ||
            ptq_value_captured(n->out[0]) ||
            (i > 0 && (!ptq_match_q(first, &a, &t) || a.scale != b.scale || a.zp != b.zp || t != u)))
            return PTQ_OK;
    }
    if (!first)
        return PTQ_OK;
    ptq_node_move_before(g, first, m->next); /* in front of all that read it now */
    for (int i = 1; i < first->nin; i++)
        if (first->in[i] && first->in[i]->producer)
            ptq_node_move_before(g, first->in[i]->producer, m);
    while (v->uses.n > 1) {
        ptq_node *n = v->uses.v[v->uses.v[0].node == first].node;
        ptq_value_replace_uses(g, n->out[0], first->out[0]);
        ptq_node_drop(g, n);
        ++*changes;
    }
    return PTQ_OK;
}

ptq_status ptq_rearrange_lift(ptq_graph *g, int *changes)
{
    for (ptq_node *n = g->first, *next; n; n = next) {
        if (ptq_moves_all(n) && n->in[0]->dtype == PTQ_DT_F32)
            PTQ_TRY(join_quantizers(g, n, changes));
        next = n->next; /* n may move, or go */
        PTQ_TRY(lift_elementwise(g, n, changes));
        PTQ_TRY(lift_quantize(g, n, changes));
    }
    return PTQ_OK;
}
