/* SPDX-License-Identifier: Apache-2.0 */
/* quantize, dequantize: spans that share a scale, or with one scale per element; relayout. */
#include <string.h>

#include "lib/cpu/int.h"

static bool supports_quantize(const ptq_program *p, const ptq_step *s, const char **why)
{
    int bits = ptq_dtype_bits(p->values.v[s->out[0]].dtype);
    if (p->values.v[s->in[0]].dtype == PTQ_DT_F32 && (bits == 8 || bits == 16))
        return true;
    *why = "quantize takes float32 and gives 8 or 16 bits";
    return false;
}

static bool supports_dequantize(const ptq_program *p, const ptq_step *s, const char **why)
{
    static const ptq_dtype types[] = {PTQ_DT_S8, PTQ_DT_U8, PTQ_DT_S16, PTQ_DT_U16, PTQ_DT_S32};
    if (p->values.v[s->out[0]].dtype == PTQ_DT_F32)
        for (size_t i = 0; i < PTQ_COUNT(types); i++)
            if (p->values.v[s->in[0]].dtype == types[i])
                return true;
    *why = "dequantize takes 8, 16 or 32 bits and gives float32";
    return false;
}

typedef struct quant_job {
    const ptq_int_vec *v;
    const ptq_quant_params *p;
    const uint8_t *x;
    uint8_t *y;
    int64_t span, pieces, outer; /* of a run that shares its parameters */
    int64_t run;
    int64_t channels;      /* 1: per tensor */
    bool each;             /* one parameter per element of the run */
    bool sgn, quantize;
} quant_job;

static const int32_t no_zp = 0;

static void quant_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const quant_job *j = ctx;
    ptq_qgrid g = {j->p->qlo, j->p->qhi};
    for (int64_t i = from; i < to; i++) {
        int64_t run = i / j->pieces, off = i % j->pieces * j->span;
        int64_t n = j->run - off < j->span ? j->run - off : j->span;
        int64_t ch = j->each ? off : run % j->channels, at = run * j->run + off;
        const int32_t *zp = j->p->zp ? j->p->zp + ch : &no_zp;
        if (j->quantize)
            j->v->quantize((const float *)(const void *)j->x + at, j->y + at, (size_t)n,
                           j->p->scale + ch, zp, j->each, g);
        else
            j->v->dequantize(j->x + at, (float *)(void *)j->y + at, (size_t)n, j->p->scale + ch, zp,
                             j->each, j->sgn);
    }
}

/* Runs of elements in memory order that share a parameter. False: not for the fast form. */
static bool plan(const ptq_step_run *r, quant_job *j)
{
    const ptq_tensor *x = r->in[0];
    int64_t total = ptq_tensor_elements(x);
    int axis = j->p->axis + (j->p->axis < 0 ? x->rank : 0);
    if (r->in_layout[0] != r->out_layout[0] || total == 0)
        return false;
    j->channels = 1;
    j->run = total;
    if (j->p->n != 1) {
        int64_t step[PTQ_MAX_RANK];
        if (axis < 0 || axis >= x->rank || x->dims[axis] != j->p->n)
            return false;
        ptq_int_steps(x, r->in_layout[0], step);
        j->each = step[axis] == 1;
        j->channels = j->p->n;
        j->run = j->each ? j->p->n : step[axis];
        if (j->each && !j->p->zp)
            return false;
    }
    j->span = j->run > 16384 ? 16384 : j->run;
    j->pieces = (j->run + j->span - 1) / j->span;
    j->outer = total / j->run * j->pieces;
    return true;
}

static ptq_status run_either(ptq_cpu *c, const ptq_step_run *r, bool quantize);

/* A change of layout turns the bytes: after quantizing, before dequantizing. */
static ptq_status run_turned(ptq_cpu *c, const ptq_step_run *r, bool quantize)
{
    const ptq_tensor *q = quantize ? &r->out[0] : r->in[0];
    size_t n = (size_t)ptq_tensor_elements(q);
    ptq_tensor turned = *q;
    const ptq_tensor *ins[1] = {quantize ? r->in[0] : &turned};
    ptq_layout layout = quantize ? r->in_layout[0] : r->out_layout[0];
    ptq_int_view v;
    if (!(turned.data = ptq_cpu_scratch(c, n)))
        return ptq_fail_nomem();
    ptq_int_view_of(q, quantize ? layout : r->in_layout[0], &v);
    bool nhwc = v.cs == 1 && v.ps != 1;
    int64_t rows = nhwc ? v.pixels : v.c, cols = nhwc ? v.c : v.pixels;
    ptq_step_run same = *r;
    same.in = ins;
    same.in_layout = same.out_layout = &layout;
    same.out = quantize ? &turned : r->out;
    if (!quantize)
        PTQ_TRY(ptq_int_transpose(c, turned.data, q->data, v.n, rows, cols, 1));
    PTQ_TRY(run_either(c, &same, quantize));
    return quantize ? ptq_int_transpose(c, q->data, turned.data, v.n, rows, cols, 1) : PTQ_OK;
}

static ptq_status run_either(ptq_cpu *c, const ptq_step_run *r, bool quantize)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    const ptq_tensor *q = quantize ? &r->out[0] : r->in[0];
    quant_job j = {.p = r->step->params, .x = r->in[0]->data, .y = r->out[0].data, .quantize = quantize};
    if (isa && ptq_int_is8(q->dtype) && q->rank == 4 && r->in_layout[0] != r->out_layout[0])
        return run_turned(c, r, quantize);
    if (!isa || !ptq_int_is8(q->dtype) || !plan(r, &j))
        return quantize ? ptq_int_ref_quantize(r) : ptq_int_ref_dequantize(r);
    j.v = isa->vec;
    j.sgn = ptq_int_signed(q->dtype);
    return ptq_cpu_ranges(c, j.outer, 16384 / j.span + 1, quant_range, &j);
}

static ptq_status run_quantize(ptq_cpu *c, const ptq_step_run *r)
{
    return run_either(c, r, true);
}

static ptq_status run_dequantize(ptq_cpu *c, const ptq_step_run *r)
{
    return run_either(c, r, false);
}

static ptq_status run_relayout(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    size_t size = (size_t)ptq_dtype_bits(x->dtype) / 8;
    ptq_int_view v;
    if (x->rank != 4 || r->in_layout[0] == r->out_layout[0] || !ptq_int_isa_of(c)) {
        if (x->rank == 4 && r->in_layout[0] != r->out_layout[0])
            return ptq_int_ref_relayout(r);
        memcpy(r->out[0].data, x->data, (size_t)ptq_tensor_elements(x) * size);
        return PTQ_OK;
    }
    ptq_int_view_of(x, r->in_layout[0], &v);
    bool to_nhwc = r->out_layout[0] == PTQ_LAYOUT_NHWC;
    return ptq_int_transpose(c, r->out[0].data, x->data, v.n, to_nhwc ? v.c : v.pixels,
                             to_nhwc ? v.pixels : v.c, size);
}

extern const ptq_cpu_kernel ptq_cpu_int_quantize, ptq_cpu_int_dequantize, ptq_cpu_int_relayout;
const ptq_cpu_kernel ptq_cpu_int_quantize = {
    .name = "quantize", .supports = supports_quantize, .run = run_quantize};
const ptq_cpu_kernel ptq_cpu_int_dequantize = {
    .name = "dequantize", .supports = supports_dequantize, .run = run_dequantize};
const ptq_cpu_kernel ptq_cpu_int_relayout = {.name = "relayout", .run = run_relayout};
