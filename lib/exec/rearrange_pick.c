/* SPDX-License-Identifier: Apache-2.0 */
/* A Gather that takes one row of many (the class token of a vision transformer) goes in front of what works
 * on every row alone: rows that nobody reads are not computed. From the end of the graph backwards through
 * LayerNormalization, sums, products with constant weights, elementwise nodes and Q. A product of codes keeps
 * its DQ, or it would be one of floats; a Gather behind another DQ stays there, or its reader would become
 * an integer step. */
#include "lib/exec/args.h"
#include "lib/exec/rearrange_impl.h"

typedef struct pick {
    ptq_node *node;
    int64_t index;
    int axis; /* of its input; not the last */
} pick;

/* A Gather with a constant scalar index. */
static bool match_pick(ptq_node *n, pick *p)
{
    int count;
    if (!ptq_node_is(n, "Gather") || !ptq_view_knows(n) || n->in[0]->shape.rank < 3)
        return false;
    int64_t axis = ptq_attr_int(n, "axis", 0);
    p->node = n;
    p->axis = (int)(axis < 0 ? axis + n->in[0]->shape.rank : axis);
    return ptq_ints_of(ptq_lower_constant(n->in[1]), &p->index, 1, &count) && p->axis >= 0 &&
           p->axis < n->in[0]->shape.rank - 1;
}

/* A place in front of all readers of v. */
static void move_up(ptq_graph *g, ptq_node *n, const ptq_value *v)
{
    if (n->in[1]->producer) /* a Constant */
        ptq_node_move_before(g, n->in[1]->producer, g->first);
    ptq_node_move_before(g, n, v->producer ? v->producer->next : g->first);
}

/* The readers of other Gathers of the same row read this one. */
static void merge(ptq_graph *g, const pick *p, int *changes)
{
    ptq_value *v = p->node->in[0];
    bool any = false;
    for (size_t i = v->uses.n; i-- > 0;) {
        pick q;
        ptq_node *n = v->uses.v[i].node;
        if (n == p->node || v->uses.v[i].slot != 0 || !match_pick(n, &q) || q.axis != p->axis || q.index != p->index ||
            n->out[0]->is_output || ptq_value_captured(n->out[0]))
            continue;
        ptq_value_replace_uses(g, n->out[0], p->node->out[0]);
        ptq_node_drop(g, n); /* the last use takes its place: it has been looked at */
        any = true;
        ++*changes;
    }
    if (any)
        move_up(g, p->node, v);
}

/* ---- what lets a row pass ---- */

static ptq_shape without(const ptq_shape *s, int axis)
{
    ptq_shape r = *s;
    r.rank--;
    for (int i = axis; i < r.rank; i++)
        r.dims[i] = s->dims[i + 1];
    return r;
}

/* Puts a Gather like p's between input `slot` of n and what it reads. */
static ptq_status pick_input(ptq_graph *g, const pick *p, ptq_node *n, int slot)
{
    ptq_value *x = n->in[slot], *v;
    ptq_shape s = without(&x->shape, p->axis);
    ptq_node *c;
    PTQ_TRY(ptq_graph_node(g, "Gather", "", n->name, 2, 1, n, &c));
    PTQ_TRY(ptq_attr_set_int(g, c, "axis", p->axis));
    PTQ_TRY(ptq_new_value(g, x->name, x->dtype, &s, &v));
    if (p->node->in[1]->producer) /* a Constant */
        ptq_node_move_before(g, p->node->in[1]->producer, g->first);
    ptq_node_set_input(g, c, 0, x);
    ptq_node_set_input(g, c, 1, p->node->in[1]);
    ptq_node_set_output(g, c, 0, v);
    ptq_node_set_input(g, n, slot, v);
    return PTQ_OK;
}

static bool is_dq(const ptq_node *n)
{
    return n && ptq_node_is(n, "DequantizeLinear");
}

/* Product n reads rows of codes: they are taken from the codes, with a DQ of their own. */
static ptq_status pick_codes(ptq_graph *g, const pick *p, ptq_node *n, ptq_node *dq, ptq_value *codes)
{
    ptq_node *own;
    PTQ_TRY(ptq_copy_node(g, dq, n, &codes, 1, NULL, &own));
    own->out[0]->shape = without(&own->out[0]->shape, p->axis);
    ptq_node_set_input(g, n, 0, own->out[0]);
    if (ptq_value_unused(dq->out[0]))
        ptq_node_drop(g, dq);
    return pick_input(g, p, own, 0);
}

static bool is_vector(const ptq_value *v, const ptq_shape *x)
{
    const ptq_tensor *t = ptq_lower_constant(v);
    return t && (t->rank == 0 || (t->rank == 1 && x->rank >= 2));
}

static bool normalizes_rows(const ptq_node *n)
{
    int64_t axis = ptq_attr_int(n, "axis", -1);
    for (int i = 1; i < n->nout; i++)
        if (!ptq_value_unused(n->out[i]))
            return false;
    for (int i = 1; i < n->nin; i++)
        if (n->in[i] && n->in[i]->shape.rank != 1)
            return false;
    return axis == -1 || axis == n->in[0]->shape.rank - 1;
}

/* Bit i of the result: input i of n is gone through with all its rows, the others stay. 0: not this node. */
static unsigned row_inputs(const ptq_node *n)
{
    static const char *const alone[] = {"Erf", "Gelu", "Tanh", "Sigmoid", "Exp", "Sqrt", "Neg", "Abs"};
    static const char *const pairs[] = {"Add", "Sub", "Mul", "Div"};
    const ptq_shape *y = &n->out[0]->shape;
    if (n->nin < 1 || !n->in[0] || n->nout < 1 || (*n->domain && strcmp(n->op, "Gelu") != 0))
        return 0;
    for (size_t i = 0; i < PTQ_COUNT(alone); i++)
        if (strcmp(n->op, alone[i]) == 0)
            return 1;
    for (size_t i = 0; i < PTQ_COUNT(pairs); i++) {
        if (!ptq_node_is(n, pairs[i]) || n->nin != 2 || !n->in[1])
            continue;
        if (is_vector(n->in[0], y) || is_vector(n->in[1], y))
            return is_vector(n->in[0], y) ? 2 : 1;
        return ptq_same_shape(n->in[0], n->in[1]) && n->in[0] != n->in[1] ? 3 : 0;
    }
    if (ptq_node_is(n, "MatMul"))
        return ptq_weight_of(n->in[1]) && n->in[0]->shape.rank >= 3 &&
               (!is_dq(n->in[0]->producer) || ptq_dq_of(n->in[0]));
    if (ptq_node_is(n, "LayerNormalization"))
        return normalizes_rows(n);
    ptq_affine a;
    ptq_dtype t;
    return ptq_match_q(n, &a, &t) && ptq_quantizes(n->in[0]); /* a Q that an integer step ends in stays there */
}

/* Behind n the readers of the Gather will stand: a Q, or a clamp in front of one, must keep its law. */
static bool readers_agree(const pick *p, const ptq_node *n)
{
    const ptq_value *y = p->node->out[0];
    for (size_t i = 0; i < y->uses.n; i++) {
        const ptq_node *r = y->uses.v[i].node;
        if ((ptq_node_is(r, "Relu") || ptq_node_is(r, "Clip") || ptq_node_is(r, "QuantizeLinear")) &&
            !ptq_quantizes(n->out[0]))
            return false;
    }
    return true;
}

/* P(G(x)) for G(P(x)): the Gather goes, its output is made by n. */
static ptq_status take_place(ptq_graph *g, pick *p, ptq_node *n)
{
    ptq_value *y = p->node->out[0], *v = n->out[0];
    ptq_node_remove(g, p->node);
    ptq_node_set_output(g, n, 0, y);
    ptq_value_drop(g, v);
    return ptq_node_is(n, "LayerNormalization") ? ptq_attr_set_int(g, n, "axis", -1) : PTQ_OK;
}

/* ---- Gemm and Reshape to [.., rows, columns] ---- */

/* Gemm(codes) to [a, b, columns], of which one of a or of b is taken: a Gemm of the rows taken. */
static ptq_status through_gemm(ptq_graph *g, pick *p, ptq_node *reshape, ptq_node **made)
{
    ptq_rows r;
    ptq_node *n, *gemm = reshape->in[0]->producer;
    ptq_value *target;
    if (!gemm || !ptq_match_gemm(gemm, &r) || ptq_only_reader(r.gemm->out[0], 0) != reshape ||
        !ptq_reshape_target(reshape, r.dims, &r.rank) || r.rank != 3 || r.dims[2] != r.n || !readers_agree(p, r.gemm))
        return PTQ_OK;
    PTQ_TRY(ptq_new_numbers(g, r.codes->name, (int64_t[]){r.dims[0], r.dims[1], r.k}, 3, &target));
    PTQ_TRY(ptq_new_node(g, "Reshape", r.gemm, r.codes, target, NULL, &n));
    PTQ_TRY(ptq_infer_node(g, n));
    if (r.dq) {
        PTQ_TRY(pick_codes(g, p, r.gemm, r.dq, n->out[0]));
    } else {
        ptq_node_set_input(g, r.gemm, 0, n->out[0]);
        PTQ_TRY(pick_input(g, p, r.gemm, 0));
    }
    PTQ_TRY(take_place(g, p, r.gemm));
    ptq_node_drop(g, reshape);
    *made = r.gemm;
    return PTQ_OK;
}

/* One node further to the front; *made is then the node behind the new place. */
static ptq_status advance(ptq_graph *g, pick *p, ptq_node **made)
{
    ptq_value *v = p->node->in[0];
    ptq_node *n = v->producer;
    *made = NULL;
    if (!n || !ptq_only_reader(v, 0) || v->producer_slot != 0)
        return PTQ_OK;
    if (ptq_node_is(n, "Reshape"))
        return through_gemm(g, p, n, made);
    unsigned rows = row_inputs(n);
    if (!rows || !readers_agree(p, n))
        return PTQ_OK;
    if (ptq_node_is(n, "MatMul") && is_dq(n->in[0]->producer))
        PTQ_TRY(pick_codes(g, p, n, n->in[0]->producer, n->in[0]->producer->in[0]));
    else
        for (int i = 0; i < 2; i++)
            if (rows >> i & 1)
                PTQ_TRY(pick_input(g, p, n, i));
    *made = n;
    return take_place(g, p, n);
}

ptq_status ptq_rearrange_pick(ptq_graph *g, int *changes)
{
    for (ptq_node *n = g->last, *made; n; n = made ? made : n->prev) {
        pick p;
        made = NULL;
        if (!match_pick(n, &p))
            continue;
        merge(g, &p, changes);
        PTQ_TRY(advance(g, &p, &made));
        *changes += made != NULL;
    }
    return PTQ_OK;
}
