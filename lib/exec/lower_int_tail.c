/* SPDX-License-Identifier: Apache-2.0 */
/* Float operations behind an integer product with a float result, taken into its end: sum with a vector
 * per channel, product with a number, GELU, sum with a computed tensor, QuantizeLinear. Each rounds as its
 * node would, so that the bytes stay. The unit stands where its last float operation is, because what is
 * added may be made between. */
#include <math.h>
#include <string.h>

#include "lib/core/fmath.h"
#include "lib/exec/lower.h"

static bool is_op(const ptq_node *n, const char *op)
{
    return n->domain[0] == '\0' && strcmp(n->op, op) == 0;
}

/* Reader i of v, where it is free for a unit and v is needed for nothing but its `readers` readers. */
static const ptq_node *reader(const ptq_lower_ctx *l, const ptq_value *v, size_t readers, size_t i, int *slot)
{
    if (v->uses.n != readers || ptq_lower_kept(l, v) || v->uses.v[i].slot < 0 || l->unit[v->uses.v[i].node->id])
        return NULL;
    *slot = v->uses.v[i].slot;
    return v->uses.v[i].node;
}

/* The other operand of a node of two inputs, when it is a float constant of `n` elements along the last
 * axis that does not make v larger. */
static const float *constant_beside(const ptq_node *node, int slot, const ptq_value *v, int64_t n)
{
    const ptq_tensor *t = node->nin == 2 && slot < 2 ? ptq_lower_constant(node->in[1 - slot]) : NULL;
    if (!t || t->dtype != PTQ_DT_F32 || ptq_tensor_elements(t) != n || v->shape.rank < t->rank)
        return NULL;
    return n == 1 || t->dims[t->rank - 1] == n ? t->data : NULL;
}

static bool is_number(const ptq_node *node, int slot, const ptq_value *v, float want)
{
    const float *c = constant_beside(node, slot, v, 1);
    return c && *c == want;
}

/* A tail that grows: v is what it has come to. */
typedef struct tail {
    ptq_tail_params p;
    const ptq_value *v;
    const ptq_node *last; /* the last node that was taken in; NULL: none */
} tail;

static ptq_status took(ptq_lower_ctx *l, ptq_unit *u, tail *t, const ptq_node *n)
{
    t->p.on = true;
    t->last = n;
    t->v = n->out[0];
    return ptq_unit_member(l, u, n);
}

static ptq_status take_bias(ptq_lower_ctx *l, ptq_unit *u, int64_t channels, tail *t)
{
    int slot;
    const ptq_node *n = reader(l, t->v, 1, 0, &slot);
    const float *c = n && is_op(n, "Add") ? constant_beside(n, slot, t->v, channels) : NULL;
    if (!c)
        return PTQ_OK;
    t->p.bias = c;
    return took(l, u, t, n);
}

static ptq_status take_factor(ptq_lower_ctx *l, ptq_unit *u, tail *t)
{
    int slot;
    const ptq_node *n = reader(l, t->v, 1, 0, &slot);
    const float *c = n && is_op(n, "Mul") ? constant_beside(n, slot, t->v, 1) : NULL;
    if (!c)
        return PTQ_OK;
    t->p.scaled = true;
    t->p.factor = *c;
    return took(l, u, t, n);
}

/* The only reader of v, an `op` of one input or with the constant `c` beside v. */
static const ptq_node *next(const ptq_lower_ctx *l, const ptq_value *v, const char *op, float c)
{
    int slot;
    const ptq_node *n = v ? reader(l, v, 1, 0, &slot) : NULL;
    return n && is_op(n, op) && (n->nin == 1 || is_number(n, slot, v, c)) ? n : NULL;
}

/* x times the only reader of v, whose slot of x is `slot`. */
static bool times(const ptq_lower_ctx *l, const ptq_value *v, const ptq_node *mul, int slot)
{
    int own;
    return reader(l, v, 1, 0, &own) == mul && own == 1 - slot;
}

/* The five nodes x (erf(x / sqrt 2) + 1) / 2; nodes[0] is the Div, nodes[3] reads x again, or nodes[4] where
 * the half comes first. Returns the kind. */
static int gelu_nodes(const ptq_lower_ctx *l, const ptq_value *x, const ptq_node *nodes[5])
{
    for (size_t i = 0; i < 2; i++) {
        int div, slot;
        nodes[0] = reader(l, x, 2, i, &div);
        const ptq_node *mul = reader(l, x, 2, 1 - i, &slot);
        if (!nodes[0] || !mul || div != 0 || slot > 1 || !is_op(nodes[0], "Div") || !is_op(mul, "Mul") ||
            mul->nin != 2 || !is_number(nodes[0], 0, x, PTQ_SQRT2F))
            continue;
        nodes[1] = next(l, nodes[0]->out[0], "Erf", 0.0f);
        nodes[2] = nodes[1] ? next(l, nodes[1]->out[0], "Add", 1.0f) : NULL;
        if (!nodes[2])
            continue;
        if (times(l, nodes[2]->out[0], mul, slot)) {
            nodes[3] = mul;
            nodes[4] = next(l, mul->out[0], "Mul", 0.5f);
            return nodes[4] ? PTQ_GELU_NODES : PTQ_GELU_NONE;
        }
        nodes[3] = next(l, nodes[2]->out[0], "Mul", 0.5f);
        nodes[4] = mul;
        return nodes[3] && times(l, nodes[3]->out[0], mul, slot) ? PTQ_GELU_HALVED : PTQ_GELU_NONE;
    }
    return PTQ_GELU_NONE;
}

static ptq_status take_gelu(ptq_lower_ctx *l, ptq_unit *u, tail *t)
{
    const ptq_node *nodes[5];
    int slot;
    const ptq_node *n = reader(l, t->v, 1, 0, &slot);
    if (n && strcmp(n->op, "Gelu") == 0 && strcmp(ptq_attr_str(n, "approximate", "none"), "none") == 0) {
        t->p.gelu = PTQ_GELU_EXACT;
        return took(l, u, t, n);
    }
    t->p.gelu = gelu_nodes(l, t->v, nodes);
    for (int i = 0; i < 5 && t->p.gelu; i++)
        PTQ_TRY(took(l, u, t, nodes[i]));
    return PTQ_OK;
}

/* A clamp goes into the range of codes, which sends NaN to its lower bound; can there be NaN? */
static bool always_numbers(const ptq_qlinear_params *q, const ptq_tail_params *t)
{
    const float most = 1e18f;
    bool ok = !t->residual && (!t->scaled || fabsf(t->factor) < most);
    for (int i = 0; i < q->nw && ok; i++)
        ok = q->mult[i] * 0x1p31f < most;
    for (int64_t c = 0; t->bias && c < q->channels && ok; c++)
        ok = fabsf(t->bias[c]) < most;
    return ok;
}

/* The unit ends in t: in codes where QuantizeLinear alone reads it. */
static ptq_status finish(ptq_lower_ctx *l, ptq_unit *u, const tail *t)
{
    ptq_quants quants;
    ptq_qlinear_params *q = ptq_arena_alloc(l->p->arena, sizeof *q);
    if (!q)
        return ptq_fail_nomem();
    *q = *(const ptq_qlinear_params *)u->params;
    q->tail = t->p;
    u->params = q;
    u->anchor = t->last;
    u->out[0] = (ptq_unit_value){.value = t->v};
    if (!ptq_match_quants(l, t->v, always_numbers(q, &t->p), &quants))
        return PTQ_OK;
    q->float_out = false;
    q->y = quants.affine;
    q->qlo = quants.qlo;
    q->qhi = quants.qhi;
    return ptq_unit_quants(l, u, 0, &quants);
}

ptq_status ptq_tail_absorb(ptq_lower_ctx *l, ptq_unit *u)
{
    const ptq_qlinear_params *q = u->params;
    tail t = {.v = u->out[0].value};
    if (!l->opt->fuse || !l->opt->integer || !q->float_out || t.v->dtype != PTQ_DT_F32)
        return PTQ_OK;
    PTQ_TRY(take_bias(l, u, q->channels, &t));
    PTQ_TRY(take_factor(l, u, &t));
    PTQ_TRY(take_gelu(l, u, &t));
    return t.p.on ? finish(l, u, &t) : PTQ_OK;
}

/* ---- the sum with a computed tensor ---- */

/* The unit of a product whose float result v nobody but one node reads. */
static const ptq_unit *product_of(const ptq_lower_ctx *l, const ptq_value *v)
{
    const ptq_unit *u = v->producer ? l->unit[v->producer->id] : NULL;
    if (!u || strcmp(u->def->name, "qgemm") != 0 || u->out[0].value != v || v->uses.n != 1 || ptq_lower_kept(l, v))
        return NULL;
    const ptq_qlinear_params *q = u->params;
    return q->float_out && !q->tail.residual && !q->residual.kind ? u : NULL;
}

static bool is_constant(const ptq_lower_ctx *l, const ptq_value *v)
{
    return ptq_lower_constant(v) || (l->pv[v->id] >= 0 && l->p->values.v[l->pv[v->id]].constant);
}

static ptq_status extend(ptq_lower_ctx *l, const ptq_node *n, const ptq_unit *old, const ptq_value *skip,
                         ptq_unit **out)
{
    ptq_unit *u;
    tail t = {.p = ((const ptq_qlinear_params *)old->params)->tail, .v = n->out[0], .last = n};
    PTQ_TRY(ptq_unit_new(l, old->def->name, n, 3, 1, &u));
    t.p.on = t.p.residual = true;
    u->node = old->node;
    u->params = old->params;
    u->in[0] = old->in[0];
    u->in[1] = old->in[1];
    u->in[2] = (ptq_unit_value){.value = skip};
    PTQ_TRY(ptq_unit_member(l, u, old->node));
    for (size_t i = 0; i < old->members.n; i++)
        PTQ_TRY(ptq_unit_member(l, u, old->members.v[i]));
    PTQ_TRY(finish(l, u, &t));
    *out = u;
    return PTQ_OK;
}

ptq_status ptq_pattern_tail_residual(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    int best = -1;
    if (!l->opt->fuse || !l->opt->float_out || n->nin != 2 || !n->in[0] || !n->in[1] || n->in[0] == n->in[1])
        return PTQ_OK;
    for (int i = 0; i < 2; i++) {
        const ptq_value *other = n->in[1 - i];
        const ptq_unit *u = product_of(l, n->in[i]);
        if (!u || is_constant(l, other) || other->dtype != PTQ_DT_F32 || !ptq_same_shape(n->in[i], other))
            continue;
        if (best < 0 || l->order[u->anchor->id] > l->order[product_of(l, n->in[best])->anchor->id])
            best = i;
    }
    return best < 0 ? PTQ_OK : extend(l, n, product_of(l, n->in[best]), n->in[1 - best], unit);
}
