/* SPDX-License-Identifier: Apache-2.0 */
/* Scores, Softmax and the weighted sum behind it as one step on codes, so that scores and probabilities
 * are never written. Found from the Softmax: the products in front of it are units already. The unit stands
 * where the second product does; nodes that only move the codes of an operand, or the result, are told to
 * the kernel as places of elements. */
#include <math.h>
#include <string.h>

#include "lib/exec/lower.h"
#include "lib/exec/view.h"

static bool is_op(const ptq_node *n, const char *op)
{
    return n && n->domain[0] == '\0' && strcmp(n->op, op) == 0;
}

static bool used_once(const ptq_lower_ctx *l, const ptq_value *v)
{
    return v && v->uses.n == 1 && v->uses.v[0].slot >= 0 && !ptq_lower_kept(l, v);
}

/* What has been found; nodes in `inner` become members. */
typedef struct found {
    const ptq_unit *qk;
    ptq_unit *pv;
    const ptq_value *mask;
    ptq_quants p;
    ptq_qattention_params q;
    const ptq_node *inner[8];
    int ninner;
} found;

/* ---- in front of the Softmax ---- */

static bool last_axis(const ptq_lower_ctx *l, const ptq_node *n)
{
    int rank = n->in[0]->shape.rank;
    int64_t axis = ptq_attr_int(n, "axis", l->g->opset < 13 ? 1 : -1);
    return rank >= 2 && (axis == -1 || axis == rank - 1);
}

/* v is made by a product of two computed operands that gives floats. */
static bool match_product(const ptq_lower_ctx *l, const ptq_value *v, found *f)
{
    const ptq_unit *u = used_once(l, v) && v->producer ? l->unit[v->producer->id] : NULL;
    if (!u || strcmp(u->def->name, "qmatmul") != 0 || u->out[0].value != v || u->members.n)
        return false;
    const ptq_qlinear_params *q = u->params;
    if (!q->float_out || ptq_lower_constant(u->in[0].value) || ptq_lower_constant(u->in[1].value) ||
        u->anchor->in[0]->shape.rank < 2 || u->anchor->in[1]->shape.rank < 2)
        return false;
    f->qk = u;
    f->q.q = q->x;
    f->q.k = u->in[1].q;
    f->q.qk_mult = q->mult[0];
    f->inner[f->ninner++] = u->anchor;
    return true;
}

/* A number that Mul or Div takes beside v. */
static bool match_factor(const ptq_node *n, int slot, float *factor)
{
    const ptq_tensor *t = ptq_lower_constant(n->in[1 - slot]);
    if (!t || t->dtype != PTQ_DT_F32 || ptq_tensor_elements(t) != 1 || t->rank > n->in[slot]->shape.rank)
        return false;
    memcpy(factor, t->data, sizeof *factor);
    return true;
}

/* v: the product, or the product times or over a number. */
static bool match_scaled(const ptq_lower_ctx *l, const ptq_value *v, found *f)
{
    const ptq_node *n = v->producer;
    f->ninner = 0;
    f->q.scores = PTQ_SCORES_AS_THEY_ARE;
    if (match_product(l, v, f))
        return true;
    bool div = is_op(n, "Div");
    if ((!div && !is_op(n, "Mul")) || n->nin != 2 || l->unit[n->id] || !used_once(l, v))
        return false;
    for (int slot = 0; slot < (div ? 1 : 2); slot++)
        if (match_factor(n, slot, &f->q.factor) && match_product(l, n->in[slot], f)) {
            f->q.scores = div ? PTQ_SCORES_OVER : PTQ_SCORES_TIMES;
            f->inner[f->ninner++] = n;
            return true;
        }
    return false;
}

/* Proven: the sum of a tensor and the mask has the tensor's shape. */
static bool broadcasts_to(const ptq_value *mask, const ptq_shape *to)
{
    const ptq_shape *m = &mask->shape;
    bool ok = m->rank >= 0 && to->rank >= m->rank;
    for (int i = 0; i < m->rank && ok; i++)
        ok = (ptq_dim_known(m->dims[i]) && m->dims[i].add == 1) ||
             ptq_dim_equal(m->dims[i], to->dims[to->rank - m->rank + i]);
    return ok;
}

static bool match_scores(const ptq_lower_ctx *l, const ptq_value *v, found *f)
{
    const ptq_node *n = v->producer;
    if (match_scaled(l, v, f))
        return true;
    if (!is_op(n, "Add") || n->nin != 2 || l->unit[n->id] || !used_once(l, v))
        return false;
    for (int slot = 0; slot < 2; slot++) {
        const ptq_value *mask = n->in[1 - slot];
        const ptq_tensor *c = ptq_lower_constant(mask);
        if ((c ? c->dtype : mask->dtype) != PTQ_DT_F32 || !match_scaled(l, n->in[slot], f) ||
            !broadcasts_to(mask, &n->in[slot]->shape))
            continue;
        f->mask = mask;
        f->inner[f->ninner++] = n;
        return true;
    }
    return false;
}

/* ---- behind the Softmax ---- */

/* Q, DQ and the product with a computed operand. */
static ptq_status match_sum(ptq_lower_ctx *l, const ptq_node *softmax, found *f)
{
    ptq_dq p;
    if (!ptq_match_quants(l, softmax->out[0], false, &f->p) || f->p.nsame || !used_once(l, f->p.out))
        return PTQ_OK;
    const ptq_node *dq = f->p.out->uses.v[0].node;
    if (!ptq_match_dq(l, dq->out[0], &p) || p.q != f->p.out || p.affine.scale != f->p.affine.scale ||
        p.affine.zp != f->p.affine.zp || !used_once(l, dq->out[0]) || dq->out[0]->uses.v[0].slot != 0)
        return PTQ_OK;
    const ptq_node *n = dq->out[0]->uses.v[0].node;
    ptq_unit *u = NULL;
    if (!is_op(n, "MatMul") || l->unit[n->id] || n->in[1]->shape.rank < 2 || !ptq_match_dq(l, n->in[1], &p) ||
        ptq_lower_constant(p.q))
        return PTQ_OK;
    PTQ_TRY(ptq_pattern_matmul(l, n, &u));
    if (u && strcmp(u->def->name, "qmatmul") == 0)
        f->pv = u;
    return PTQ_OK;
}

static void set_sum(found *f)
{
    const ptq_qlinear_params *q = f->pv->params;
    f->q.v = f->pv->in[1].q;
    f->q.p = f->p.affine;
    f->q.ptype = f->p.dtype;
    f->q.plo = f->p.qlo;
    f->q.phi = f->p.qhi;
    f->q.pv_mult = q->mult[0];
    f->q.requant = !q->float_out;
    f->q.float_out = q->float_out;
    f->q.y = q->y;
    f->q.qlo = q->qlo;
    f->q.qhi = q->qhi;
}

/* ---- movers ---- */

enum { MOVERS = 16 };

/* Codes that nobody but the product (through a DQ) or a mover reads. */
static bool codes_used_once(const ptq_lower_ctx *l, const ptq_value *v)
{
    if (!used_once(l, v))
        return false;
    const ptq_node *n = v->uses.v[0].node;
    return !is_op(n, "DequantizeLinear") || used_once(l, n->out[0]);
}

static ptq_status keep_movers(ptq_lower_ctx *l, const ptq_node *const *node, int n, ptq_movers *m)
{
    const ptq_node **copy = ptq_arena_array(l->p->arena, (size_t)n, sizeof *copy);
    if (!copy)
        return ptq_fail_nomem();
    for (int i = 0; i < n; i++)
        copy[i] = node[i];
    *m = (ptq_movers){.node = copy, .n = n};
    return PTQ_OK;
}

/* Goes back from the codes that a product reads to those in front of their movers. */
static ptq_status take_from(ptq_lower_ctx *l, const ptq_unit_value *codes, ptq_unit_value *in, ptq_movers *m)
{
    const ptq_node *node[MOVERS];
    int at = MOVERS;
    *in = *codes;
    while (at > 0 && codes_used_once(l, in->value) && in->value->producer) {
        const ptq_unit *u = l->unit[in->value->producer->id];
        if (!u || strcmp(u->def->name, "qmove") != 0 || u->nout != 1 || u->aliases.n || u->out[0].value != in->value ||
            !ptq_view_knows(u->node) || ptq_lower_constant(u->in[0].value))
            break;
        node[--at] = u->node;
        in->value = u->in[0].value;
    }
    return keep_movers(l, node + at, MOVERS - at, m);
}

/* Movers that alone read v, one behind the other; *v becomes what they make. */
static ptq_status take_to(ptq_lower_ctx *l, ptq_unit *u, const ptq_value **v, const ptq_node **node, int *count)
{
    while (*count < MOVERS && used_once(l, *v)) {
        const ptq_node *n = (*v)->uses.v[0].node;
        if ((*v)->uses.v[0].slot != 0 || l->unit[n->id] || !ptq_view_knows(n) || is_op(n, "Gather") ||
            (*v)->shape.rank < 0)
            break;
        node[(*count)++] = n;
        PTQ_TRY(ptq_unit_member(l, u, n));
        *v = n->out[0];
    }
    return PTQ_OK;
}

/* The result: movers, Q, movers. Where the product ends in a Q it keeps its own law. */
static ptq_status set_output(ptq_lower_ctx *l, ptq_unit *u, const found *f, ptq_qattention_params *q)
{
    const ptq_node *node[MOVERS];
    int count = 0;
    ptq_quants quants;
    const ptq_value *v = f->pv->out[0].value;
    if (!q->requant) {
        PTQ_TRY(take_to(l, u, &v, node, &count));
        if (ptq_match_quants(l, v, false, &quants)) {
            q->float_out = false;
            q->y = quants.affine;
            q->qlo = quants.qlo;
            q->qhi = quants.qhi;
            PTQ_TRY(ptq_unit_quants(l, u, 0, &quants));
        }
    }
    if (q->float_out) {
        u->out[0] = (ptq_unit_value){.value = v};
    } else {
        if (q->requant) {
            u->out[0] = f->pv->out[0];
            u->aliases = f->pv->aliases;
        }
        v = u->out[0].value;
        if (!u->aliases.n)
            PTQ_TRY(take_to(l, u, &v, node, &count));
        u->out[0] = (ptq_unit_value){v, true, q->y};
    }
    return keep_movers(l, node, count, &q->y_to);
}

static ptq_status make_unit(ptq_lower_ctx *l, const ptq_node *softmax, const found *f, ptq_unit **out)
{
    ptq_unit *u;
    ptq_qattention_params *q = ptq_arena_alloc(l->p->arena, sizeof *q);
    if (!q)
        return ptq_fail_nomem();
    *q = f->q;
    PTQ_TRY(ptq_unit_new(l, "qattention", f->pv->anchor, f->mask ? 4 : 3, 1, &u));
    u->node = softmax;
    u->params = q;
    PTQ_TRY(take_from(l, &f->qk->in[0], &u->in[0], &q->q_from));
    PTQ_TRY(take_from(l, &f->qk->in[1], &u->in[1], &q->k_from));
    PTQ_TRY(take_from(l, &f->pv->in[1], &u->in[2], &q->v_from));
    if (f->mask)
        u->in[3] = (ptq_unit_value){.value = f->mask};
    for (int i = 0; i < f->ninner; i++)
        PTQ_TRY(ptq_unit_member(l, u, f->inner[i]));
    for (int i = 0; i < f->p.nnodes; i++)
        PTQ_TRY(ptq_unit_member(l, u, f->p.nodes[i]));
    PTQ_TRY(ptq_unit_member(l, u, f->pv->anchor));
    for (size_t i = 0; i < f->pv->members.n; i++)
        PTQ_TRY(ptq_unit_member(l, u, f->pv->members.v[i]));
    PTQ_TRY(set_output(l, u, f, q));
    *out = u;
    return PTQ_OK;
}

ptq_status ptq_pattern_attention(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    found f = {0};
    if (!l->opt->fuse || !l->opt->float_out || n->in[0]->dtype != PTQ_DT_F32 || !last_axis(l, n) ||
        !match_scores(l, n->in[0], &f))
        return PTQ_OK;
    PTQ_TRY(match_sum(l, n, &f));
    if (!f.pv)
        return PTQ_OK;
    set_sum(&f);
    return make_unit(l, n, &f, unit);
}
