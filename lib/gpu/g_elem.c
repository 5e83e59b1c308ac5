/* SPDX-License-Identifier: Apache-2.0 */
/* qadd, qmul. */
#include "lib/gpu/gpu.h"

static bool supports(const ptq_program *p, const ptq_step *s, const char **why)
{
    ptq_dtype t = ptq_gpu_dtype(p, s, 0);
    if (ptq_gpu_is8(t) && t == ptq_gpu_dtype(p, s, 1) && t == p->values.v[s->out[0]].dtype)
        return true;
    if (why)
        *why = "integer sums and products take one 8-bit type for all three tensors";
    return false;
}

/* Can chunks of `bytes` elements be used: no operand is cut, each starts where it is aligned? */
static bool fits(const ptq_k_binary *k, int32_t bytes)
{
    int l = k->nd - 1;
    if (k->ys[l] != 1 || (k->nd > 1 && k->dim[l] % bytes) || (uintptr_t)k->y % (uintptr_t)bytes)
        return false;
    for (int t = 0; t < 2; t++) {
        const int64_t *step = t ? k->bs : k->as;
        if (step[l] == 0)
            continue;
        if (step[l] != 1 || (uintptr_t)(t ? k->b : k->a) % (uintptr_t)bytes)
            return false;
        for (int d = 0; d < l; d++)
            if (step[d] % bytes)
                return false;
    }
    for (int d = 0; d < l; d++)
        if (k->ys[d] % bytes)
            return false;
    return true;
}

static void chunks(ptq_k_binary *k)
{
    int l = k->nd - 1;
    k->bytes = 16;
    while (k->bytes > 1 && (k->bytes == 2 || !fits(k, k->bytes)))
        k->bytes /= 2;
    k->tail = (int32_t)(k->dim[l] % k->bytes);
    k->a_one = k->as[l] == 0;
    k->b_one = k->bs[l] == 0;
    k->dim[l] /= k->bytes;
    k->as[l] *= k->bytes;
    k->bs[l] *= k->bytes;
    k->ys[l] *= k->bytes;
    k->n = 1;
    for (int d = 0; d < k->nd; d++)
        k->n *= k->dim[d];
}

static ptq_status run(ptq_gpu *g, const ptq_step_run *r, bool add)
{
    const ptq_qbinary_params *p = r->step->params;
    ptq_int_bcast b;
    PTQ_TRY(ptq_int_bcast_plan(r, &b));
    int first = add && b.swapped ? 1 : 0, second = 1 - first; /* the law's order of operands */
    ptq_affine fa = first ? p->b : p->a, sa = first ? p->a : p->b;
    ptq_k_binary k = {.a = r->in[first]->data, .b = r->in[second]->data, .y = r->out[0].data, .nd = b.nd,
                      .sgn = r->out[0].dtype == PTQ_DT_S8, .za = fa.zp, .zb = sa.zp, .zy = p->y.zp,
                      .lo = p->qlo, .hi = p->qhi};
    if (b.total == 0)
        return PTQ_OK;
    for (int d = 0; d < b.nd; d++) {
        k.dim[d] = b.dim[d];
        k.as[d] = b.step[first][d];
        k.bs[d] = b.step[second][d];
        k.ys[d] = b.step[2][d];
    }
    k.add = ptq_qadd_prepare(fa.scale, fa.zp, sa.scale, sa.zp, p->y.scale, p->y.zp);
    k.m = ptq_requant_multiplier(p->a.scale, p->b.scale, p->y.scale);
    chunks(&k);
    return add ? ptq_k_run_qadd(g->dev, &k) : ptq_k_run_qmul(g->dev, &k);
}

static ptq_status run_add(ptq_gpu *g, const ptq_step_run *r)
{
    return run(g, r, true);
}

static ptq_status run_mul(ptq_gpu *g, const ptq_step_run *r)
{
    return run(g, r, false);
}

extern const ptq_gpu_kernel ptq_gpu_int_qadd, ptq_gpu_int_qmul;
const ptq_gpu_kernel ptq_gpu_int_qadd = {.name = "qadd", .supports = supports, .run = run_add};
const ptq_gpu_kernel ptq_gpu_int_qmul = {.name = "qmul", .supports = supports, .run = run_mul};
