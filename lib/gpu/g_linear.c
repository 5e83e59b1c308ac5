/* SPDX-License-Identifier: Apache-2.0 */
/* qconv, qgemm, qmatmul: weights and epilogue tables are uploaded once. */
#include <stdlib.h>

#include "lib/gpu/gpu.h"

typedef struct linear {
    void *w; /* NULL: the weight is computed, or there is none */
    void *mult, *wzp, *bias;
} linear;

static bool eight_bits(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (ptq_gpu_is8(ptq_gpu_dtype(p, s, 0)) && ptq_gpu_is8(ptq_gpu_dtype(p, s, 1)))
        return true;
    if (why)
        *why = "only 8-bit operands";
    return false;
}

/* Everything but the activation is packed when it is constant. */
static uint32_t packed_inputs(const ptq_program *p, const ptq_step *s)
{
    uint32_t mask = 0;
    for (int i = 1; i < s->nin && i < 32; i++)
        if (ptq_gpu_constant(p, s, i))
            mask |= 1u << i;
    return mask;
}

static void release(ptq_gpu *g, void *state)
{
    linear *l = state;
    ptq_dev_free(g->dev, l->w);
    ptq_dev_free(g->dev, l->mult);
    ptq_dev_free(g->dev, l->wzp);
    ptq_dev_free(g->dev, l->bias);
    free(l);
}

static ptq_status upload_mult(ptq_gpu *g, const ptq_qlinear_params *q, void **out)
{
    float *m = ptq_calloc((size_t)q->nw, sizeof *m);
    if (!m)
        return ptq_fail_nomem();
    for (int i = 0; i < q->nw; i++)
        m[i] = q->float_out ? q->x.scale * q->wscale[i] : q->mult[i];
    ptq_status s = ptq_gpu_keep(g, m, (size_t)q->nw * sizeof *m, out);
    free(m);
    return s;
}

static ptq_status upload(ptq_gpu *g, const ptq_program *p, const ptq_step *s, linear *l)
{
    const ptq_qlinear_params *q = s->params;
    const ptq_tensor *w = ptq_gpu_constant(p, s, 1);
    PTQ_TRY(ptq_gpu_keep(g, w ? w->data : NULL, w ? w->nbytes : 0, &l->w));
    PTQ_TRY(upload_mult(g, q, &l->mult));
    PTQ_TRY(ptq_gpu_keep(g, q->wzp, (size_t)q->nw * sizeof *q->wzp, &l->wzp));
    return ptq_gpu_keep(g, q->bias, (size_t)q->channels * sizeof *q->bias, &l->bias);
}

static ptq_status prepare(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    linear *l = ptq_calloc(1, sizeof *l);
    if (!l)
        return ptq_fail_nomem();
    ptq_status st = upload(g, p, s, l);
    if (st != PTQ_OK) {
        release(g, l);
        return st;
    }
    *state = l;
    return PTQ_OK;
}

static ptq_k_epilogue epilogue(const ptq_step_run *r)
{
    const ptq_qlinear_params *q = r->step->params;
    const linear *l = r->state;
    return (ptq_k_epilogue){.mult = l->mult, .wzp = l->wzp, .bias = l->bias, .nw = q->nw, .zx = q->x.zp,
                            .zy = q->y.zp, .lo = q->qlo, .hi = q->qhi,
                            .x_signed = r->in[0]->dtype == PTQ_DT_S8, .w_signed = r->in[1]->dtype == PTQ_DT_S8,
                            .float_out = q->float_out};
}

static const void *weights(const ptq_step_run *r)
{
    const linear *l = r->state;
    return l->w ? l->w : r->in[1]->data;
}

static ptq_status run_conv(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *w = r->in[1], *y = &r->out[0];
    int64_t kernel[3] = {1, 1, 1};
    ptq_int_view vx, vy;
    ptq_window win;
    for (int i = 2; i < w->rank && i < 5; i++)
        kernel[i - 2] = w->dims[i];
    PTQ_TRY(ptq_int_window(r, kernel, &win));
    if (!ptq_int_view_of(x, r->in_layout[0], &vx) || !ptq_int_view_of(y, r->out_layout[0], &vy))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "rank %d", x->rank);
    ptq_k_conv a = {.x = x->data, .w = weights(r), .y = y->data, .n = vx.n, .c = vx.c, .m = vy.c,
                    .groups = vx.c / w->dims[1], .x_ns = vx.ns, .x_cs = vx.cs, .x_ps = vx.ps,
                    .y_ns = vy.ns, .y_cs = vy.cs, .y_ps = vy.ps, .e = epilogue(r)};
    for (int i = 0; i < 3; i++) {
        a.in[i] = vx.d[i];
        a.out[i] = vy.d[i];
        a.kernel[i] = win.kernel[i];
        a.stride[i] = win.stride[i];
        a.dilation[i] = win.dilation[i];
        a.pad[i] = win.pad_begin[i];
    }
    return ptq_k_run_conv(g->dev, &a);
}

static ptq_status run_matmul(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_int_mm mm;
    PTQ_TRY(ptq_int_mm_of(r, &mm));
    ptq_k_matmul a = {.a = r->in[0]->data, .b = weights(r), .y = r->out[0].data, .batch = mm.batch, .m = mm.m,
                      .n = mm.n, .k = mm.k, .a_row = mm.a_row, .a_col = mm.a_col, .b_row = mm.b_row,
                      .b_col = mm.b_col, .nbd = mm.nbd, .e = epilogue(r)};
    for (int i = 0; i < mm.nbd; i++) {
        a.bdim[i] = mm.bdim[i];
        a.a_step[i] = mm.a_step[i];
        a.b_step[i] = mm.b_step[i];
    }
    return ptq_k_run_matmul(g->dev, &a);
}

extern const ptq_gpu_kernel ptq_gpu_int_qconv, ptq_gpu_int_qgemm, ptq_gpu_int_qmatmul;
const ptq_gpu_kernel ptq_gpu_int_qconv = {"qconv", eight_bits, packed_inputs, prepare, release, run_conv};
const ptq_gpu_kernel ptq_gpu_int_qgemm = {"qgemm", eight_bits, packed_inputs, prepare, release, run_matmul};
const ptq_gpu_kernel ptq_gpu_int_qmatmul = {"qmatmul", eight_bits, packed_inputs, prepare, release, run_matmul};
