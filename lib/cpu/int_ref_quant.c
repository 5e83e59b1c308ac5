/* SPDX-License-Identifier: Apache-2.0 */
/* The laws of quantize and dequantize, and relayout, in plain loops. */
#include <string.h>

#include "lib/cpu/int.h"

static int32_t load(const ptq_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case PTQ_DT_U8:
        return ((const uint8_t *)t->data)[i];
    case PTQ_DT_S8:
        return ((const int8_t *)t->data)[i];
    case PTQ_DT_U16:
        return ((const uint16_t *)t->data)[i];
    case PTQ_DT_S16:
        return ((const int16_t *)t->data)[i];
    default:
        return ((const int32_t *)t->data)[i];
    }
}

static void store(const ptq_tensor *t, int64_t i, int32_t v)
{
    if (ptq_dtype_bits(t->dtype) == 8)
        ((uint8_t *)t->data)[i] = (uint8_t)v;
    else if (ptq_dtype_bits(t->dtype) == 16)
        ((uint16_t *)t->data)[i] = (uint16_t)v;
    else
        ((int32_t *)t->data)[i] = v;
}

/* Walks the elements in logical order; xi, yi are where they lie, ch the parameter's index. */
typedef struct walk {
    const ptq_tensor *x, *y;
    int64_t xs[PTQ_MAX_RANK], ys[PTQ_MAX_RANK];
    int axis;
} walk;

static void walk_new(const ptq_step_run *r, walk *w)
{
    w->x = r->in[0];
    w->y = &r->out[0];
    ptq_int_steps(w->x, r->in_layout[0], w->xs);
    ptq_int_steps(w->y, r->out_layout[0], w->ys);
    w->axis = -1;
}

static ptq_status walk_params(const ptq_step_run *r, const ptq_quant_params *p, walk *w)
{
    walk_new(r, w);
    w->axis = p->n == 1 ? -1 : p->axis + (p->axis < 0 ? w->x->rank : 0);
    if (p->n != 1 && (w->axis < 0 || w->axis >= w->x->rank || w->x->dims[w->axis] != p->n))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %d scales along axis %d do not fit the tensor",
                        r->step->name, p->n, p->axis);
    return PTQ_OK;
}

static void walk_at(const walk *w, int64_t e, int64_t *xi, int64_t *yi, int64_t *ch)
{
    *xi = *yi = *ch = 0;
    for (int d = w->x->rank - 1; d >= 0; d--) {
        int64_t at = e % w->x->dims[d];
        e /= w->x->dims[d];
        *xi += at * w->xs[d];
        *yi += at * w->ys[d];
        if (d == w->axis)
            *ch = at;
    }
}

ptq_status ptq_int_ref_quantize(const ptq_step_run *r)
{
    const ptq_quant_params *p = r->step->params;
    walk w;
    PTQ_TRY(walk_params(r, p, &w));
    int64_t n = ptq_tensor_elements(w.x);
    for (int64_t e = 0; e < n; e++) {
        int64_t xi, yi, ch;
        walk_at(&w, e, &xi, &yi, &ch);
        store(w.y, yi, ptq_quantize(((const float *)w.x->data)[xi], p->scale[ch], p->zp ? p->zp[ch] : 0,
                                    p->qlo, p->qhi));
    }
    return PTQ_OK;
}

ptq_status ptq_int_ref_dequantize(const ptq_step_run *r)
{
    const ptq_quant_params *p = r->step->params;
    walk w;
    PTQ_TRY(walk_params(r, p, &w));
    int64_t n = ptq_tensor_elements(w.x);
    for (int64_t e = 0; e < n; e++) {
        int64_t xi, yi, ch;
        walk_at(&w, e, &xi, &yi, &ch);
        ((float *)w.y->data)[yi] = ptq_dequantize(load(w.x, xi), p->scale[ch], p->zp ? p->zp[ch] : 0);
    }
    return PTQ_OK;
}

ptq_status ptq_int_ref_relayout(const ptq_step_run *r)
{
    walk w;
    walk_new(r, &w);
    size_t size = (size_t)ptq_dtype_bits(w.x->dtype) / 8;
    int64_t n = ptq_tensor_elements(w.x);
    for (int64_t e = 0; e < n; e++) {
        int64_t xi, yi, ch;
        walk_at(&w, e, &xi, &yi, &ch);
        memcpy((char *)w.y->data + (size_t)yi * size, (const char *)w.x->data + (size_t)xi * size, size);
    }
    return PTQ_OK;
}
