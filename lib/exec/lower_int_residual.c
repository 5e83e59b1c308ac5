/* SPDX-License-Identifier: Apache-2.0 */
/* A product and the Add behind it as one step: the other operand of the Add is read in the end of
 * the product. The unit stands where the Add is, because the other operand may be made between the
 * two; its name and attributes are the product's. */
#include <math.h>
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/exec/lower.h"

static bool used_once(const ptq_lower_ctx *l, const ptq_value *v)
{
    return v->uses.n == 1 && !ptq_lower_kept(l, v);
}

/* One channel per group: kernels of their own, which do not add. */
static bool is_depthwise(const ptq_node *n, int64_t channels)
{
    int64_t group = ptq_attr_int(n, "group", 1);
    return group > 1 && group == channels;
}

/* The unit of a product whose codes q nobody but one node reads. */
static const ptq_unit *product_of(const ptq_lower_ctx *l, const ptq_value *q)
{
    const ptq_unit *u = q->producer ? l->unit[q->producer->id] : NULL;
    if (!u || (strcmp(u->def->name, "qconv") != 0 && strcmp(u->def->name, "qgemm") != 0) ||
        u->out[0].value != q || u->aliases.n || !used_once(l, q))
        return NULL;
    const ptq_qlinear_params *p = u->params;
    return p->float_out || p->residual.kind || is_depthwise(u->node, p->channels) ? NULL : u;
}

/* The two operands of a sum as the Add reads them, and the sum. */
typedef struct sum {
    const ptq_value *q[2];
    ptq_affine a[2], y;
    int32_t qlo, qhi;
} sum;

/* Which operand's product takes the sum in; -1: none. The later one of two: the other is made then. */
static int choose(const ptq_lower_ctx *l, const sum *s, const bool single[2])
{
    int best = -1;
    for (int i = 0; i < 2; i++) {
        const ptq_unit *u = single[i] ? product_of(l, s->q[i]) : NULL;
        if (!u || ptq_lower_constant(s->q[1 - i]) || !ptq_same_shape(s->q[i], s->q[1 - i]))
            continue;
        if (best < 0 || l->order[u->anchor->id] > l->order[product_of(l, s->q[best])->anchor->id])
            best = i;
    }
    return best;
}

/* The unit `old` with input 2, anchored at n. */
static ptq_status extend(ptq_lower_ctx *l, const ptq_node *n, const ptq_unit *old, const ptq_value *skip,
                         const ptq_residual_params *r, ptq_unit **out)
{
    ptq_unit *u;
    ptq_qlinear_params *p = ptq_arena_alloc(l->p->arena, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_unit_new(l, old->def->name, n, 3, 1, &u));
    *p = *(const ptq_qlinear_params *)old->params;
    p->residual = *r;
    u->node = old->node;
    u->params = p;
    u->in[0] = old->in[0];
    u->in[1] = old->in[1];
    u->in[2] = (ptq_unit_value){skip, true, r->skip};
    PTQ_TRY(ptq_unit_member(l, u, old->anchor));
    for (size_t i = 0; i < old->members.n; i++)
        if (old->members.v[i] != n)
            PTQ_TRY(ptq_unit_member(l, u, old->members.v[i]));
    *out = u;
    return PTQ_OK;
}

/* Both roundings stay: the bytes are those of the product followed by qadd. */
static ptq_status rounded(ptq_lower_ctx *l, const ptq_node *n, const sum *s, const bool single[2],
                          ptq_unit **unit)
{
    int i = choose(l, s, single);
    if (i < 0)
        return PTQ_OK;
    ptq_residual_params r = {.kind = PTQ_RESIDUAL_ROUNDED, .skip_first = i == 1, .skip = s->a[1 - i],
                             .product = s->a[i], .sum = s->y, .qlo = s->qlo, .qhi = s->qhi};
    return extend(l, n, product_of(l, s->q[i]), s->q[1 - i], &r, unit);
}

/* Conv without a Q behind, added in float: one rounding. */
static ptq_status in_float(ptq_lower_ctx *l, const ptq_node *n, int i, const ptq_dq *skip,
                           const ptq_quants *q, ptq_unit **unit)
{
    const ptq_value *v = n->in[i];
    const ptq_node *conv = v->producer;
    ptq_unit *u = NULL;
    if (!conv || strcmp(conv->op, "Conv") != 0 || conv->domain[0] || l->unit[conv->id] || !used_once(l, v) ||
        ptq_lower_constant(skip->q) || !ptq_same_shape(v, skip->q))
        return PTQ_OK;
    float ratio = skip->affine.scale / q->affine.scale;
    if (!(ratio > 0.0f) || !isfinite(ratio))
        return PTQ_OK;
    PTQ_TRY(ptq_linear_conv(l, conv, q, &u));
    if (!u || is_depthwise(conv, ((const ptq_qlinear_params *)u->params)->channels))
        return PTQ_OK;
    ptq_residual_params r = {.kind = PTQ_RESIDUAL_FLOAT, .skip = skip->affine};
    PTQ_TRY(extend(l, n, u, skip->q, &r, unit));
    (*unit)->out[0] = u->out[0];
    (*unit)->aliases = u->aliases;
    return PTQ_OK;
}

ptq_status ptq_pattern_residual(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_quants q;
    ptq_dq d[2];
    bool has[2];
    if (n->nin != 2 || !n->in[0] || !n->in[1] || !ptq_match_quants(l, n->out[0], true, &q))
        return PTQ_OK;
    for (int i = 0; i < 2; i++)
        has[i] = ptq_match_dq(l, n->in[i], &d[i]);
    if (has[0] != has[1])
        return in_float(l, n, has[0] ? 1 : 0, &d[has[0] ? 0 : 1], &q, unit);
    if (!has[0] || d[0].dtype != q.dtype || d[1].dtype != q.dtype)
        return PTQ_OK;
    sum s = {{d[0].q, d[1].q}, {d[0].affine, d[1].affine}, q.affine, q.qlo, q.qhi};
    const bool single[2] = {used_once(l, n->in[0]), used_once(l, n->in[1])};
    PTQ_TRY(rounded(l, n, &s, single, unit));
    return *unit ? ptq_unit_quants(l, *unit, 0, &q) : PTQ_OK;
}

/* A, As, Az, B, Bs, Bz, Cs, Cz */
ptq_status ptq_pattern_qlinear_residual(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    sum s;
    if (n->nin < 7 || !n->in[0] || !n->in[3] || !ptq_match_affine(n->in[1], n->in[2], &s.a[0]) ||
        !ptq_match_affine(n->in[4], n->in[5], &s.a[1]) ||
        !ptq_match_affine(n->in[6], n->nin > 7 ? n->in[7] : NULL, &s.y))
        return PTQ_OK;
    s.q[0] = n->in[0];
    s.q[1] = n->in[3];
    ptq_dtype t = s.q[0]->dtype;
    if (!ptq_is_8bit(t) || s.q[1]->dtype != t)
        return PTQ_OK;
    ptq_dtype_range(t, &s.qlo, &s.qhi);
    PTQ_TRY(rounded(l, n, &s, (const bool[]){true, true}, unit));
    if (*unit)
        (*unit)->out[0] = (ptq_unit_value){n->out[0], true, s.y};
    return PTQ_OK;
}
