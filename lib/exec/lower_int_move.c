/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move or select elements: they run on the codes when both sides of Q/DQ agree,
 * and on 8-bit tensors as they stand in QOperator graphs. */
#include <string.h>

#include "lib/exec/lower.h"

static bool float_free(const ptq_value *v)
{
    if (!v)
        return true;
    const ptq_tensor *c = ptq_lower_constant(v);
    ptq_dtype t = c ? c->dtype : v->dtype;
    return t == PTQ_DT_S64 || t == PTQ_DT_S32 || t == PTQ_DT_BOOL;
}

/* Only input 0 holds data: indices, shapes and axes beside it are whole numbers. */
static bool moves_input0(const ptq_node *n)
{
    if (!n->def || !(n->def->flags & PTQ_OPF_MOVER) || n->domain[0] || n->ncaptures ||
        strcmp(n->op, "Pad") == 0 || strcmp(n->op, "Resize") == 0)
        return false;
    for (int i = 1; i < n->nin; i++)
        if (!float_free(n->in[i]))
            return false;
    return n->nin > 0 && n->in[0];
}

static bool is_maxpool(const ptq_node *n)
{
    return strcmp(n->op, "MaxPool") == 0 && (n->nout < 2 || !n->out[1]) &&
           n->in[0]->shape.rank == 4;
}

static ptq_status make_move(ptq_lower_ctx *l, const ptq_node *n, const ptq_value *x,
                            const ptq_affine *a, ptq_unit **unit)
{
    bool pool = is_maxpool(n);
    PTQ_TRY(ptq_unit_new(l, pool ? "qmaxpool" : "qmove", n, n->nin, n->nout, unit));
    (*unit)->in[0] = (ptq_unit_value){x, a != NULL, a ? *a : (ptq_affine){0}};
    for (int i = 1; i < n->nin; i++)
        (*unit)->in[i] = (ptq_unit_value){.value = n->in[i]};
    return PTQ_OK;
}

/* The codes themselves are moved (a QOperator graph, or a mover between Q and DQ). */
static ptq_status move_codes(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    if (ptq_lower_constant(n->in[0]))
        return PTQ_OK;
    PTQ_TRY(make_move(l, n, n->in[0], NULL, unit));
    for (int i = 0; i < n->nout; i++)
        (*unit)->out[i] = (ptq_unit_value){.value = n->out[i]};
    return PTQ_OK;
}

static bool same_params(const ptq_dq *x, const ptq_quants *q)
{
    int32_t lo, hi;
    ptq_dtype_range(q->dtype, &lo, &hi);
    return x->dtype == q->dtype && x->affine.scale == q->affine.scale &&
           x->affine.zp == q->affine.zp && q->qlo == lo && q->qhi == hi;
}

ptq_status ptq_pattern_move(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_dq x;
    ptq_quants q;
    ptq_unit *u;
    if (!moves_input0(n))
        return PTQ_OK;
    if (ptq_is_8bit(n->in[0]->dtype))
        return move_codes(l, n, unit);
    if (!ptq_match_dq(l, n->in[0], &x) || ptq_lower_constant(x.q))
        return PTQ_OK;
    for (int i = 0; i < n->nout; i++)
        if (!n->out[i] || !ptq_match_quants(l, n->out[i], true, &q) || !same_params(&x, &q))
            return PTQ_OK;
    PTQ_TRY(make_move(l, n, x.q, &x.affine, &u));
    for (int i = 0; i < n->nout; i++) {
        ptq_match_quants(l, n->out[i], true, &q);
        PTQ_TRY(ptq_unit_quants(l, u, i, &q));
    }
    *unit = u;
    return PTQ_OK;
}
