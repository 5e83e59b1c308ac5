/* SPDX-License-Identifier: Apache-2.0 */
/* quantize, dequantize: the parameters of a channel axis are uploaded once. */
#include <stdlib.h>

#include "lib/gpu/gpu.h"

typedef struct tables {
    void *scale, *zp;
} tables;

static bool supports_quantize(const ptq_program *p, const ptq_step *s, const char **why)
{
    int bits = ptq_dtype_bits(p->values.v[s->out[0]].dtype);
    if (ptq_gpu_dtype(p, s, 0) == PTQ_DT_F32 && (bits == 8 || bits == 16))
        return true;
    if (why)
        *why = "quantize takes float32 and gives 8 or 16 bits";
    return false;
}

static bool supports_dequantize(const ptq_program *p, const ptq_step *s, const char **why)
{
    static const ptq_dtype types[] = {PTQ_DT_S8, PTQ_DT_U8, PTQ_DT_S16, PTQ_DT_U16, PTQ_DT_S32};
    for (size_t i = 0; i < PTQ_COUNT(types); i++)
        if (ptq_gpu_dtype(p, s, 0) == types[i] && p->values.v[s->out[0]].dtype == PTQ_DT_F32)
            return true;
    if (why)
        *why = "dequantize takes 8, 16 or 32 bits and gives float32";
    return false;
}

static void release(ptq_gpu *g, void *state)
{
    tables *t = state;
    ptq_dev_free(g->dev, t->scale);
    ptq_dev_free(g->dev, t->zp);
    free(t);
}

static ptq_status prepare(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    const ptq_quant_params *q = s->params;
    (void)p;
    if (q->n == 1)
        return PTQ_OK;
    tables *t = ptq_calloc(1, sizeof *t);
    if (!t)
        return ptq_fail_nomem();
    ptq_status st = ptq_gpu_keep(g, q->scale, (size_t)q->n * sizeof *q->scale, &t->scale);
    if (st == PTQ_OK)
        st = ptq_gpu_keep(g, q->zp, (size_t)q->n * sizeof *q->zp, &t->zp);
    if (st != PTQ_OK) {
        release(g, t);
        return st;
    }
    *state = t;
    return PTQ_OK;
}

/* How x lies against y: alike, or rows and columns changed. */
static void layouts(const ptq_step_run *r, ptq_k_quant *a)
{
    const ptq_tensor *y = &r->out[0];
    ptq_int_view v;
    if (y->rank != 4 || r->in_layout[0] == r->out_layout[0])
        return;
    ptq_int_view_of(y, r->out_layout[0], &v);
    a->rows = v.cs == 1 ? v.pixels : v.c;
    a->cols = v.cs == 1 ? v.c : v.pixels;
}

static ptq_status arguments(const ptq_step_run *r, const ptq_tensor *q, ptq_k_quant *a)
{
    const ptq_quant_params *p = r->step->params;
    const ptq_tensor *x = r->in[0];
    const tables *t = r->state;
    int axis = p->axis + (p->axis < 0 ? x->rank : 0);
    *a = (ptq_k_quant){.x = x->data, .y = r->out[0].data, .n = ptq_tensor_elements(x), .one_scale = p->scale[0],
                       .one_zp = p->zp ? p->zp[0] : 0, .lo = p->qlo, .hi = p->qhi,
                       .bytes = ptq_dtype_bits(q->dtype) / 8,
                       .sgn = q->dtype == PTQ_DT_S8 || q->dtype == PTQ_DT_S16};
    if (p->n != 1) {
        int64_t step[PTQ_MAX_RANK];
        if (axis < 0 || axis >= x->rank || x->dims[axis] != p->n)
            return ptq_fail(PTQ_ERR_MODEL, "%d scales along axis %d do not fit the tensor", p->n, p->axis);
        ptq_int_steps(&r->out[0], r->out_layout[0], step);
        a->scale = t->scale;
        a->zp = t->zp;
        a->inner = step[axis];
        a->channels = p->n;
    }
    layouts(r, a);
    size_t width = (size_t)a->bytes * 4;
    bool wide = !a->rows && (uintptr_t)q->data % width == 0 &&
                (uintptr_t)(q == x ? a->y : a->x) % 16 == 0;
    a->lanes = wide ? 4 : 1;
    return PTQ_OK;
}

static ptq_status run_quantize(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_k_quant a;
    PTQ_TRY(arguments(r, &r->out[0], &a));
    return ptq_k_run_quantize(g->dev, &a);
}

static ptq_status run_dequantize(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_k_quant a;
    PTQ_TRY(arguments(r, r->in[0], &a));
    return ptq_k_run_dequantize(g->dev, &a);
}

extern const ptq_gpu_kernel ptq_gpu_int_quantize, ptq_gpu_int_dequantize;
const ptq_gpu_kernel ptq_gpu_int_quantize = {.name = "quantize", .supports = supports_quantize, .prepare = prepare,
                                             .release = release, .run = run_quantize};
const ptq_gpu_kernel ptq_gpu_int_dequantize = {.name = "dequantize", .supports = supports_dequantize,
                                               .prepare = prepare, .release = release, .run = run_dequantize};
