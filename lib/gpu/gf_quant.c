/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear and DequantizeLinear of the simulation. */
#include "lib/gpu/gf.h"

/* Whole bytes; scales in float32, zero points of the integers' own type. */
static bool fits(const ptq_program *p, const ptq_step *s, ptq_dtype real, ptq_dtype whole, bool wide, const char **why)
{
    int32_t lo, hi;
    bool known = (ptq_quant_bounds(whole, &lo, &hi) && ptq_dtype_bits(whole) >= 8) || (wide && whole == PTQ_DT_S32);
    if (real == PTQ_DT_F32 && known && ptq_inputs_are(p, s, 1, 1, PTQ_DT_F32) && ptq_inputs_are(p, s, 2, 1, whole))
        return true;
    if (why)
        *why = "only float32 and integers of 8 and 16 bits";
    return false;
}

static bool supports_quantize(const ptq_program *p, const ptq_step *s, const char **why)
{
    return fits(p, s, ptq_gpu_dtype(p, s, 0), p->values.v[s->out[0]].dtype, false, why);
}

static bool supports_dequantize(const ptq_program *p, const ptq_step *s, const char **why)
{
    return fits(p, s, p->values.v[s->out[0]].dtype, ptq_gpu_dtype(p, s, 0), true, why);
}

static ptq_status quant_of(const ptq_step_run *r, ptq_dtype whole, ptq_kf_quant *a)
{
    const ptq_tensor *zp = ptq_in(r, 2);
    ptq_quant_grid q;
    PTQ_TRY(ptq_quant_grid_of(r, &q));
    *a = (ptq_kf_quant){.x = r->in[0]->data, .y = r->out[0].data, .scale = r->in[1]->data,
                        .zp = zp ? zp->data : NULL, .outer = q.outer, .n = q.n, .inner = q.inner,
                        .block = q.block, .dtype = whole};
    ptq_quant_bounds(whole, &a->lo, &a->hi);
    return PTQ_OK;
}

static ptq_status run_quantize(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_kf_quant a;
    PTQ_TRY(quant_of(r, r->out[0].dtype, &a));
    return ptq_kf_run_quantize(g->dev, &a);
}
PTQ_GF_ROW(quantize, .name = "QuantizeLinear", .supports = supports_quantize, .run = run_quantize);

static ptq_status run_dequantize(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_kf_quant a;
    PTQ_TRY(quant_of(r, r->in[0]->dtype, &a));
    return ptq_kf_run_dequantize(g->dev, &a);
}
PTQ_GF_ROW(dequantize, .name = "DequantizeLinear", .supports = supports_dequantize, .run = run_dequantize);
