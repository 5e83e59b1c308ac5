/* SPDX-License-Identifier: Apache-2.0 */
/* qadd, qmul, qlut, qconcat: spans in memory order, the row functions of the instruction set. */
#include <string.h>

#include "lib/cpu/int.h"

/* ---- binary ---- */

static bool supports_binary(const ptq_program *p, const ptq_step *s, const char **why)
{
    ptq_dtype t = p->values.v[s->in[0]].dtype;
    if (ptq_int_is8(t) && t == p->values.v[s->in[1]].dtype && t == p->values.v[s->out[0]].dtype)
        return true;
    *why = "integer sums and products take one 8-bit type for all three tensors";
    return false;
}

typedef struct binary_job {
    const ptq_int_vec *v;
    const ptq_qbinary_params *p;
    ptq_int_bcast b;
    int64_t span;           /* elements of a piece: the innermost dim, or a part of it */
    int64_t pieces;         /* of the innermost dim */
    const uint8_t *x[2];
    uint8_t *y;
    ptq_qadd_coef k;
    float m;
    ptq_qgrid g;
    bool sgn, add;
} binary_job;

static void binary_span(const binary_job *j, const int64_t *at, int64_t n)
{
    int l = j->b.nd - 1, first = j->add && j->b.swapped ? 1 : 0, second = 1 - first;
    int sa = (int)j->b.step[first][l], sb = (int)j->b.step[second][l];
    const uint8_t *a = j->x[first] + at[first], *b = j->x[second] + at[second];
    if (j->add)
        j->v->add(a, sa, b, sb, j->y + at[2], (size_t)n, j->k, j->g, j->sgn);
    else
        j->v->mul(a, sa, j->p->a.zp, b, sb, j->p->b.zp, j->y + at[2], (size_t)n, j->m, j->p->y.zp, j->g,
                  j->sgn);
}

static void binary_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const binary_job *j = ctx;
    int l = j->b.nd - 1;
    for (int64_t i = from; i < to; i++) {
        int64_t at[3], rest = i / j->pieces, first = i % j->pieces * j->span;
        for (int t = 0; t < 3; t++)
            at[t] = first * j->b.step[t][l];
        for (int d = l - 1; d >= 0; d--) {
            for (int t = 0; t < 3; t++)
                at[t] += rest % j->b.dim[d] * j->b.step[t][d];
            rest /= j->b.dim[d];
        }
        int64_t left = j->b.dim[l] - first;
        binary_span(j, at, left < j->span ? left : j->span);
    }
}

static ptq_status run_binary(ptq_cpu *c, const ptq_step_run *r, bool add)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    const ptq_qbinary_params *p = r->step->params;
    ptq_status (*ref)(const ptq_step_run *) = add ? ptq_int_ref_qadd : ptq_int_ref_qmul;
    binary_job j = {.p = p, .x = {r->in[0]->data, r->in[1]->data}, .y = r->out[0].data, .add = add};
    if (!isa)
        return ref(r);
    PTQ_TRY(ptq_int_bcast_plan(r, &j.b));
    int l = j.b.nd - 1;
    for (int t = 0; t < 3; t++)
        if (j.b.step[t][l] > 1 || (t == 2 && j.b.step[t][l] != 1))
            return ref(r); /* layouts that do not fit each other */
    if (j.b.total == 0)
        return PTQ_OK;
    j.v = isa->vec;
    j.g = (ptq_qgrid){p->qlo, p->qhi};
    j.sgn = ptq_int_signed(r->out[0].dtype);
    const ptq_affine *f = j.b.swapped ? &p->b : &p->a, *s = j.b.swapped ? &p->a : &p->b;
    j.k = ptq_qadd_prepare(f->scale, f->zp, s->scale, s->zp, p->y.scale, p->y.zp);
    j.m = ptq_requant_multiplier(p->a.scale, p->b.scale, p->y.scale);
    j.span = j.b.dim[l] > 16384 ? 16384 : j.b.dim[l];
    j.pieces = (j.b.dim[l] + j.span - 1) / j.span;
    return ptq_cpu_ranges(c, j.b.total / j.b.dim[l] * j.pieces, 16384 / j.span + 1, binary_range, &j);
}

static ptq_status run_add(ptq_cpu *c, const ptq_step_run *r)
{
    return run_binary(c, r, true);
}

static ptq_status run_mul(ptq_cpu *c, const ptq_step_run *r)
{
    return run_binary(c, r, false);
}

/* ---- tables ---- */

static bool supports_bytes(const ptq_program *p, const ptq_step *s, const char **why)
{
    for (int i = 0; i < s->nin; i++)
        if (s->in[i] >= 0 && ptq_dtype_bits(p->values.v[s->in[i]].dtype) != 8) {
            *why = "8-bit elements are needed";
            return false;
        }
    return true;
}

typedef struct lut_job {
    const ptq_int_vec *v;
    const uint8_t *x;
    uint8_t *y;
    const uint8_t *table;
} lut_job;

static void lut_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const lut_job *j = ctx;
    j->v->lut(j->x + from, j->y + from, (size_t)(to - from), j->table);
}

static ptq_status run_lut(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    const ptq_qlut_params *p = r->step->params;
    if (!isa || r->in_layout[0] != r->out_layout[0])
        return ptq_int_ref_qlut(r);
    lut_job j = {isa->vec, r->in[0]->data, r->out[0].data, p->table};
    return ptq_cpu_ranges(c, ptq_tensor_elements(&r->out[0]), 16384, lut_range, &j);
}

/* One input of a concatenation: `outer` runs of `run` bytes go to y with the given stride. */
typedef struct concat_job {
    const ptq_int_vec *v;
    const uint8_t *x, *table;
    uint8_t *y;
    int64_t run, stride;
} concat_job;

static void concat_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const concat_job *j = ctx;
    for (int64_t i = from; i < to; i++) {
        const uint8_t *x = j->x + i * j->run;
        uint8_t *y = j->y + i * j->stride;
        if (j->table)
            j->v->lut(x, y, (size_t)j->run, j->table);
        else
            memcpy(y, x, (size_t)j->run);
    }
}

static ptq_status run_concat(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    const ptq_qconcat_params *p = r->step->params;
    const ptq_tensor *y = &r->out[0];
    bool nhwc = r->out_layout[0] == PTQ_LAYOUT_NHWC && y->rank == 4;
    int64_t axis = ptq_attr_int(r->step->node, "axis", 1);
    axis += axis < 0 ? y->rank : 0;
    bool same = true;
    for (int i = 0; i < r->step->nin; i++)
        same = same && (!r->in[i] || r->in_layout[i] == r->out_layout[0]);
    if (!isa || !same)
        return ptq_int_ref_qconcat(r);
    int64_t dims[4], inner = 1, base = 0, ax = axis;
    const int64_t *yd = y->dims;
    static const int order[4] = {0, 2, 3, 1}, place[4] = {0, 3, 1, 2};
    if (nhwc) {
        for (int i = 0; i < 4; i++)
            dims[i] = y->dims[order[i]];
        yd = dims;
        ax = place[axis];
    }
    for (int i = (int)ax + 1; i < y->rank; i++)
        inner *= yd[i];
    for (int i = 0; i < r->step->nin; i++) {
        const ptq_tensor *x = r->in[i];
        if (!x || ptq_tensor_elements(x) == 0)
            continue;
        concat_job j = {isa->vec, x->data, p->tables ? p->tables[i] : NULL, (uint8_t *)y->data + base,
                        x->dims[axis] * inner, yd[ax] * inner};
        int64_t outer = ptq_tensor_elements(x) / j.run;
        PTQ_TRY(ptq_cpu_ranges(c, outer, 16384 / j.run + 1, concat_range, &j));
        base += j.run;
    }
    return PTQ_OK;
}

extern const ptq_cpu_kernel ptq_cpu_int_qadd, ptq_cpu_int_qmul, ptq_cpu_int_qlut, ptq_cpu_int_qconcat;
const ptq_cpu_kernel ptq_cpu_int_qadd = {.name = "qadd", .supports = supports_binary, .run = run_add};
const ptq_cpu_kernel ptq_cpu_int_qmul = {.name = "qmul", .supports = supports_binary, .run = run_mul};
const ptq_cpu_kernel ptq_cpu_int_qlut = {.name = "qlut", .supports = supports_bytes, .run = run_lut};
const ptq_cpu_kernel ptq_cpu_int_qconcat = {
    .name = "qconcat", .supports = supports_bytes, .run = run_concat};
