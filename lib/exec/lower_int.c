/* SPDX-License-Identifier: Apache-2.0 */
/* What the patterns share: reading Q and DQ nodes, making units, emitting their steps. */
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/exec/lower.h"

static bool is_op(const ptq_node *n, const char *op)
{
    return n && n->domain[0] == '\0' && strcmp(n->op, op) == 0;
}

bool ptq_match_affine(const ptq_value *scale, const ptq_value *zp, ptq_affine *out)
{
    const ptq_tensor *s = ptq_lower_constant(scale), *z = ptq_lower_constant(zp);
    if (!s || s->dtype != PTQ_DT_F32 || ptq_tensor_elements(s) != 1 || (zp && !z))
        return false;
    if (z && ptq_tensor_elements(z) != 1)
        return false;
    memcpy(&out->scale, s->data, sizeof out->scale);
    out->zp = 0;
    if (z && z->dtype == PTQ_DT_U8)
        out->zp = *(const uint8_t *)z->data;
    else if (z && z->dtype == PTQ_DT_S8)
        out->zp = *(const int8_t *)z->data;
    else if (z)
        return false;
    return out->scale > 0.0f;
}

bool ptq_match_dq(const ptq_lower_ctx *l, const ptq_value *v, ptq_dq *out)
{
    (void)l;
    const ptq_node *n = v ? v->producer : NULL;
    if (!is_op(n, "DequantizeLinear") || ptq_attr_int(n, "block_size", 0) != 0 || !n->in[0])
        return false;
    const ptq_tensor *c = ptq_lower_constant(n->in[0]);
    *out = (ptq_dq){.node = n, .q = n->in[0], .dtype = c ? c->dtype : n->in[0]->dtype};
    return ptq_is_8bit(out->dtype) && v->dtype != PTQ_DT_F16 && v->dtype != PTQ_DT_BF16 &&
           ptq_match_affine(n->in[1], n->nin > 2 ? n->in[2] : NULL, &out->affine);
}

bool ptq_match_q(const ptq_node *n, ptq_affine *a, ptq_dtype *t)
{
    if (!is_op(n, "QuantizeLinear") || ptq_attr_int(n, "block_size", 0) != 0)
        return false;
    const ptq_value *zv = n->nin > 2 ? n->in[2] : NULL;
    const ptq_tensor *z = ptq_lower_constant(zv);
    *t = z ? z->dtype : (ptq_dtype)ptq_attr_int(n, "output_dtype", PTQ_DT_U8);
    if (*t == PTQ_DT_UNDEFINED)
        *t = PTQ_DT_U8;
    return ptq_is_8bit(*t) && ptq_match_affine(n->in[1], zv, a);
}

/* Relu/Clip that alone read v go into the list and move v behind them. */
static const ptq_value *absorb_acts(const ptq_lower_ctx *l, const ptq_value *v, ptq_quants *q,
                                    ptq_act *acts, int max, int *nacts)
{
    *nacts = 0;
    while (*nacts < max && v->uses.n == 1 && v->uses.v[0].slot == 0 && !ptq_lower_kept(l, v)) {
        const ptq_node *n = v->uses.v[0].node;
        if (l->unit[n->id] || !ptq_lower_clamp(n, &acts[*nacts]))
            break;
        q->nodes[q->nnodes++] = n;
        ++*nacts;
        v = n->out[0];
    }
    return v;
}

bool ptq_match_quants(const ptq_lower_ctx *l, const ptq_value *v, bool acts, ptq_quants *q)
{
    enum { MAX_ACTS = 2 };
    ptq_act act[MAX_ACTS];
    int nacts = 0;
    *q = (ptq_quants){0};
    if (acts)
        v = absorb_acts(l, v, q, act, MAX_ACTS, &nacts);
    if (ptq_lower_kept(l, v) || v->uses.n == 0 || v->uses.n > PTQ_COUNT(q->same))
        return false;
    for (size_t i = 0; i < v->uses.n; i++) {
        const ptq_node *n = v->uses.v[i].node;
        ptq_affine a;
        ptq_dtype t;
        if (v->uses.v[i].slot != 0 || l->unit[n->id] || !ptq_match_q(n, &a, &t) ||
            q->nnodes >= (int)PTQ_COUNT(q->nodes))
            return false;
        if (i == 0) {
            q->affine = a;
            q->dtype = t;
            q->out = n->out[0];
        } else {
            if (a.scale != q->affine.scale || a.zp != q->affine.zp || t != q->dtype ||
                ptq_lower_kept(l, n->out[0]))
                return false;
            q->same[q->nsame++] = n->out[0];
        }
        q->nodes[q->nnodes++] = n;
    }
    ptq_dtype_range(q->dtype, &q->qlo, &q->qhi);
    int32_t lo = q->qlo, hi = q->qhi;
    /* Q is monotone, so Q(clamp(x)) = clamp(Q(x), Q(lo), Q(hi)). */
    for (int i = nacts - 1; i >= 0; i--) {
        int32_t alo = ptq_quantize(act[i].lo, q->affine.scale, q->affine.zp, lo, hi);
        int32_t ahi = ptq_quantize(act[i].hi, q->affine.scale, q->affine.zp, lo, hi);
        /* An earlier clamp outside a later one is cut by it. */
        alo = alo < q->qlo ? q->qlo : alo > q->qhi ? q->qhi : alo;
        ahi = ahi < q->qlo ? q->qlo : ahi > q->qhi ? q->qhi : ahi;
        q->qlo = alo;
        q->qhi = ahi;
    }
    return true;
}

bool ptq_match_some_quants(const ptq_lower_ctx *l, const ptq_value *v, ptq_quants *q, bool *others)
{
    *q = (ptq_quants){0};
    *others = ptq_lower_kept(l, v);
    for (size_t i = 0; i < v->uses.n; i++) {
        const ptq_node *n = v->uses.v[i].node;
        ptq_affine a;
        ptq_dtype t;
        bool joins = v->uses.v[i].slot == 0 && !l->unit[n->id] && q->nnodes < (int)PTQ_COUNT(q->nodes) &&
                     ptq_match_q(n, &a, &t);
        if (joins && !q->out) {
            *q = (ptq_quants){.affine = a, .dtype = t, .out = n->out[0]};
        } else if (joins && a.scale == q->affine.scale && a.zp == q->affine.zp && t == q->dtype &&
                   !ptq_lower_kept(l, n->out[0])) {
            q->same[q->nsame++] = n->out[0];
        } else {
            *others = true;
            continue;
        }
        q->nodes[q->nnodes++] = n;
    }
    ptq_dtype_range(q->dtype, &q->qlo, &q->qhi);
    return q->out != NULL;
}

bool ptq_same_shape(const ptq_value *a, const ptq_value *b)
{
    bool same = a->shape.rank >= 0 && a->shape.rank == b->shape.rank;
    for (int i = 0; i < a->shape.rank && same; i++)
        same = ptq_dim_equal(a->shape.dims[i], b->shape.dims[i]);
    return same;
}

ptq_status ptq_unit_new(ptq_lower_ctx *l, const char *step, const ptq_node *anchor, int nin,
                        int nout, ptq_unit **out)
{
    ptq_unit *u = ptq_arena_alloc(l->scratch, sizeof *u);
    if (!u)
        return ptq_fail_nomem();
    *u = (ptq_unit){.def = ptq_step_def_find(step), .anchor = anchor, .node = anchor,
                    .nin = nin, .nout = nout};
    u->in = ptq_arena_array(l->scratch, (size_t)nin, sizeof *u->in);
    u->out = ptq_arena_array(l->scratch, (size_t)nout, sizeof *u->out);
    if (!u->in || !u->out)
        return ptq_fail_nomem();
    *out = u;
    return PTQ_OK;
}

ptq_status ptq_unit_member(ptq_lower_ctx *l, ptq_unit *u, const ptq_node *n)
{
    return PTQ_VEC_PUSH(l->scratch, &u->members, n) ? PTQ_OK : ptq_fail_nomem();
}

ptq_status ptq_unit_quants(ptq_lower_ctx *l, ptq_unit *u, int i, const ptq_quants *q)
{
    u->out[i] = (ptq_unit_value){q->out, true, q->affine};
    for (int k = 0; k < q->nnodes; k++)
        if (q->nodes[k] != u->anchor)
            PTQ_TRY(ptq_unit_member(l, u, q->nodes[k]));
    for (int k = 0; k < q->nsame; k++) {
        ptq_unit_alias a = {q->same[k], i};
        if (!PTQ_VEC_PUSH(l->scratch, &u->aliases, a))
            return ptq_fail_nomem();
    }
    return PTQ_OK;
}

static const struct {
    const char *op, *domain;
    bool always; /* QLinear operators have no float form */
    ptq_pattern_fn fn;
} patterns[] = {
#define PTQ_PATTERN(op, domain, fn) {op, domain, false, ptq_pattern_##fn},
#define PTQ_PATTERN_QLINEAR(op, domain, fn) {op, domain, true, ptq_pattern_##fn},
#include "lib/exec/patterns.def"
#undef PTQ_PATTERN
#undef PTQ_PATTERN_QLINEAR
};

static ptq_status match_node(ptq_lower_ctx *l, const ptq_node *n)
{
    for (size_t i = 0; i < PTQ_COUNT(patterns) && !l->unit[n->id]; i++) {
        bool any = patterns[i].op[0] == '*';
        if (!any && (strcmp(patterns[i].op, n->op) != 0 || strcmp(patterns[i].domain, n->domain) != 0))
            continue;
        if (!l->opt->integer && !patterns[i].always)
            continue;
        ptq_unit *u = NULL;
        PTQ_TRY(patterns[i].fn(l, n, &u));
        if (!u)
            continue;
        l->unit[n->id] = u;
        for (size_t k = 0; k < u->members.n; k++)
            l->unit[u->members.v[k]->id] = u;
    }
    return PTQ_OK;
}

ptq_status ptq_lower_match(ptq_lower_ctx *l)
{
    for (const ptq_node *n = l->g->first; n; n = n->next)
        if (!l->unit[n->id] && n->nout > 0 && n->out[0])
            PTQ_TRY(match_node(l, n));
    return PTQ_OK;
}

static ptq_status unit_value(ptq_lower_ctx *l, const ptq_unit_value *uv, int *out)
{
    PTQ_TRY(ptq_lower_value(l, uv->value, out));
    if (*out >= 0 && uv->quantized) {
        ptq_pvalue *v = &l->p->values.v[*out];
        v->quantized = true;
        v->q = uv->q;
    }
    return PTQ_OK;
}

static double known_product(const ptq_shape *s)
{
    double n = s->rank < 0 ? 0.0 : 1.0;
    for (int i = 0; i < s->rank; i++)
        n *= ptq_dim_known(s->dims[i]) ? (double)s->dims[i].add : 1.0;
    return n;
}

/* Both products of an attention step: its first member is the scores' MatMul, its anchor the other. */
static double attention_macs(const ptq_unit *u)
{
    const ptq_shape *ends[2] = {&u->members.v[0]->in[0]->shape, &u->anchor->out[0]->shape};
    double inner = 0.0;
    for (int i = 0; i < 2; i++)
        if (ends[i]->rank > 0 && ptq_dim_known(ends[i]->dims[ends[i]->rank - 1]))
            inner += (double)ends[i]->dims[ends[i]->rank - 1].add;
    return known_product(&u->node->out[0]->shape) * inner;
}

static double unit_macs(const ptq_unit *u)
{
    if (strcmp(u->def->name, "qattention") == 0)
        return attention_macs(u);
    bool conv = strcmp(u->def->name, "qconv") == 0;
    if (!conv && strcmp(u->def->name, "qgemm") != 0 && strcmp(u->def->name, "qmatmul") != 0)
        return 0.0;
    const ptq_shape *o = &u->out[0].value->shape, *x = &u->in[0].value->shape;
    const ptq_tensor *w = ptq_lower_constant(u->in[1].value);
    double macs = x->rank < 1 ? 0.0 : known_product(o);
    if (conv)
        for (int i = 1; w && i < w->rank; i++)
            macs *= (double)w->dims[i];
    else if (x->rank > 0 && ptq_dim_known(x->dims[x->rank - 1]))
        macs *= (double)x->dims[x->rank - 1].add;
    return macs;
}

ptq_status ptq_lower_unit(ptq_lower_ctx *l, const ptq_unit *u)
{
    ptq_step s = {.def = u->def, .node = u->node, .name = u->node->name, .nin = u->nin,
                  .nout = u->nout, .params = u->params, .macs = unit_macs(u)};
    s.in = ptq_arena_array(l->p->arena, (size_t)u->nin, sizeof *s.in);
    s.out = ptq_arena_array(l->p->arena, (size_t)u->nout, sizeof *s.out);
    if (!s.in || !s.out)
        return ptq_fail_nomem();
    for (int i = 0; i < u->nin; i++)
        PTQ_TRY(unit_value(l, &u->in[i], &s.in[i]));
    for (int i = 0; i < u->nout; i++)
        PTQ_TRY(unit_value(l, &u->out[i], &s.out[i]));
    for (size_t i = 0; i < u->aliases.n; i++)
        l->pv[u->aliases.v[i].value->id] = s.out[u->aliases.v[i].out];
    return PTQ_VEC_PUSH(l->p->arena, &l->p->steps, s) ? PTQ_OK : ptq_fail_nomem();
}
