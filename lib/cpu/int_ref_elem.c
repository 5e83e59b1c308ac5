/* SPDX-License-Identifier: Apache-2.0 */
/* The laws of qadd, qmul, qlut and qconcat in plain loops. */
#include "lib/cpu/int.h"

typedef int32_t (*binary_fn)(const void *ctx, int32_t a, int32_t b);

static ptq_status binary(const ptq_step_run *r, const ptq_int_bcast *b, binary_fn fn, const void *ctx)
{
    bool sgn = ptq_int_signed(r->out[0].dtype);
    uint8_t *y = r->out[0].data;
    for (int64_t i = 0; i < b->total; i++) {
        int64_t at[3] = {0, 0, 0}, rest = i;
        for (int d = b->nd - 1; d >= 0; d--) {
            for (int t = 0; t < 3; t++)
                at[t] += rest % b->dim[d] * b->step[t][d];
            rest /= b->dim[d];
        }
        y[at[2]] = (uint8_t)fn(ctx, ptq_int_byte(r->in[0]->data, at[0], sgn),
                               ptq_int_byte(r->in[1]->data, at[1], sgn));
    }
    return PTQ_OK;
}

typedef struct add_ctx {
    ptq_qadd_coef k;
    bool swapped;
    int32_t lo, hi;
} add_ctx;

static int32_t add_one(const void *ctx, int32_t a, int32_t b)
{
    const add_ctx *c = ctx;
    return c->swapped ? ptq_qadd(b, a, c->k, c->lo, c->hi) : ptq_qadd(a, b, c->k, c->lo, c->hi);
}

ptq_status ptq_int_ref_qadd(const ptq_step_run *r)
{
    const ptq_qbinary_params *p = r->step->params;
    ptq_int_bcast b;
    PTQ_TRY(ptq_int_bcast_plan(r, &b));
    ptq_affine first = b.swapped ? p->b : p->a, second = b.swapped ? p->a : p->b;
    add_ctx c = {ptq_qadd_prepare(first.scale, first.zp, second.scale, second.zp, p->y.scale, p->y.zp),
                 b.swapped, p->qlo, p->qhi};
    return binary(r, &b, add_one, &c);
}

static int32_t mul_one(const void *ctx, int32_t a, int32_t b)
{
    const ptq_qbinary_params *p = ctx;
    return ptq_qmul((a - p->a.zp) * (b - p->b.zp),
                    ptq_requant_multiplier(p->a.scale, p->b.scale, p->y.scale), p->y.zp, p->qlo, p->qhi);
}

ptq_status ptq_int_ref_qmul(const ptq_step_run *r)
{
    ptq_int_bcast b;
    PTQ_TRY(ptq_int_bcast_plan(r, &b));
    return binary(r, &b, mul_one, r->step->params);
}

ptq_status ptq_int_ref_qlut(const ptq_step_run *r)
{
    const ptq_qlut_params *p = r->step->params;
    const uint8_t *x = r->in[0]->data;
    uint8_t *y = r->out[0].data;
    int64_t n = ptq_tensor_elements(&r->out[0]);
    for (int64_t i = 0; i < n; i++)
        y[i] = p->table[x[i]];
    return PTQ_OK;
}

ptq_status ptq_int_ref_qconcat(const ptq_step_run *r)
{
    const ptq_qconcat_params *p = r->step->params;
    const ptq_tensor *y = &r->out[0];
    int64_t ys[PTQ_MAX_RANK], xs[PTQ_MAX_RANK], base = 0;
    int64_t axis = ptq_attr_int(r->step->node, "axis", 1);
    axis += axis < 0 ? y->rank : 0;
    ptq_int_steps(y, r->out_layout[0], ys);
    for (int i = 0; i < r->step->nin; i++) {
        const ptq_tensor *x = r->in[i];
        if (!x)
            continue;
        const uint8_t *table = p->tables ? p->tables[i] : NULL;
        ptq_int_steps(x, r->in_layout[i], xs);
        int64_t n = ptq_tensor_elements(x);
        for (int64_t e = 0; e < n; e++) {
            int64_t xi = 0, yi = base, rest = e;
            for (int d = x->rank - 1; d >= 0; d--) {
                xi += rest % x->dims[d] * xs[d];
                yi += rest % x->dims[d] * ys[d];
                rest /= x->dims[d];
            }
            uint8_t v = ((const uint8_t *)x->data)[xi];
            ((uint8_t *)y->data)[yi] = table ? table[v] : v;
        }
        base += x->dims[axis] * ys[axis];
    }
    return PTQ_OK;
}
