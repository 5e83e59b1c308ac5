/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear and DequantizeLinear as float steps: per tensor, per axis, per block; the law is
 * ptq_quantize and ptq_dequantize of qmath.h. */
#include "lib/core/small.h"
#include "lib/cpu/fkernel.h"

typedef struct quant_ctx {
    const ptq_f32_fns *f;
    ptq_quant_grid g;
    const float *scale;
    const ptq_tensor *zp;
    const ptq_tensor *x, *y;
    int32_t lo, hi;
    bool saturate; /* small floats */
} quant_ctx;

static int32_t load_int(ptq_dtype t, const void *p, int64_t i)
{
    return (int32_t)ptq_any_load(t, p, i).i;
}

static void store_int(ptq_dtype t, void *p, int64_t i, int32_t v)
{
    ptq_any_store(t, p, i, ptq_number_int(v), false, true);
}

static ptq_status read_quant(ptq_cpu *c, const ptq_step_run *r, quant_ctx *v)
{
    *v = (quant_ctx){.f = ptq_cpu_f32(c), .scale = r->in[1]->data, .zp = ptq_in(r, 2), .x = r->in[0],
                     .y = &r->out[0], .saturate = ptq_attr_int(r->step->node, "saturate", 1) != 0};
    return ptq_quant_grid_of(r, &v->g);
}

/* Rows are runs of `inner` elements; one scale each unless blocked. */
static void quantize_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const quant_ctx *v = ctx;
    (void)worker;
    bool bytes = ptq_dtype_bits(v->y->dtype) == 8 && v->g.block == 0;
    for (int64_t row = from; row < to; row++) {
        const float *x = (const float *)v->x->data + row * v->g.inner;
        if (bytes) {
            int64_t k = ptq_quant_scale_at(&v->g, row, 0);
            v->f->quant8(x, v->scale[k], v->zp ? load_int(v->zp->dtype, v->zp->data, k) : 0, v->lo,
                         v->hi, (uint8_t *)v->y->data + row * v->g.inner, v->g.inner);
            continue;
        }
        for (int64_t i = 0; i < v->g.inner; i++) {
            int64_t k = ptq_quant_scale_at(&v->g, row, i);
            int32_t z = v->zp ? load_int(v->zp->dtype, v->zp->data, k) : 0;
            store_int(v->y->dtype, v->y->data, row * v->g.inner + i,
                      ptq_quantize(x[i], v->scale[k], z, v->lo, v->hi));
        }
    }
}

static void dequantize_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const quant_ctx *v = ctx;
    (void)worker;
    for (int64_t row = from; row < to; row++) {
        float *y = (float *)v->y->data + row * v->g.inner;
        int64_t at = row * v->g.inner, k = ptq_quant_scale_at(&v->g, row, 0);
        int32_t z = v->zp ? load_int(v->zp->dtype, v->zp->data, k) : 0;
        if (v->g.block == 0 && v->x->dtype == PTQ_DT_S8) {
            v->f->dequant_s8((const int8_t *)v->x->data + at, v->scale[k], z, y, v->g.inner);
            continue;
        }
        if (v->g.block == 0 && v->x->dtype == PTQ_DT_U8) {
            v->f->dequant_u8((const uint8_t *)v->x->data + at, v->scale[k], z, y, v->g.inner);
            continue;
        }
        for (int64_t i = 0; i < v->g.inner; i++) {
            k = ptq_quant_scale_at(&v->g, row, i);
            z = v->zp ? load_int(v->zp->dtype, v->zp->data, k) : 0;
            y[i] = ptq_dequantize(load_int(v->x->dtype, v->x->data, at + i), v->scale[k], z);
        }
    }
}

/* Small floats: their zero points are 0, and are added: -0 becomes 0. */
static void quantize_small(const quant_ctx *v)
{
    for (int64_t row = 0; row < v->g.outer * v->g.n; row++)
        for (int64_t i = 0; i < v->g.inner; i++) {
            int64_t at = row * v->g.inner + i;
            float x = ((const float *)v->x->data)[at] / v->scale[ptq_quant_scale_at(&v->g, row, i)];
            ptq_any_store(v->y->dtype, v->y->data, at, ptq_number_real((double)(x + 0.0f)), false, v->saturate);
        }
}

static void dequantize_small(const quant_ctx *v)
{
    for (int64_t row = 0; row < v->g.outer * v->g.n; row++)
        for (int64_t i = 0; i < v->g.inner; i++) {
            int64_t at = row * v->g.inner + i;
            float x = (float)ptq_any_load(v->x->dtype, v->x->data, at).d;
            ((float *)v->y->data)[at] = x * v->scale[ptq_quant_scale_at(&v->g, row, i)];
        }
}

/* A single long row is cut into pieces. */
static void cut(quant_ctx *v)
{
    if (v->g.outer * v->g.n != 1 || v->g.block != 0)
        return;
    int64_t n = v->g.inner;
    v->g.inner = n % 4096 == 0 ? 4096 : n % 1024 == 0 ? 1024 : n % 64 == 0 ? 64 : n;
    v->g.outer = v->g.inner ? n / v->g.inner : 0;
}

static ptq_status quantize_run(ptq_cpu *c, const ptq_step_run *r)
{
    quant_ctx v;
    PTQ_TRY(read_quant(c, r, &v));
    if (v.x->dtype == PTQ_DT_F32 && ptq_small_float_of(v.y->dtype)) {
        quantize_small(&v);
        return PTQ_OK;
    }
    if (v.x->dtype != PTQ_DT_F32 || !ptq_quant_bounds(v.y->dtype, &v.lo, &v.hi))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: QuantizeLinear from %s to %s is not supported",
                        r->step->name, ptq_dtype_name(v.x->dtype), ptq_dtype_name(v.y->dtype));
    cut(&v);
    int64_t rows = v.g.outer * v.g.n;
    if (ptq_dtype_bits(v.y->dtype) < 8) { /* neighbours share a byte: one thread */
        quantize_part(&v, 0, rows, 0);
        return PTQ_OK;
    }
    return ptq_cpu_ranges(c, rows, 1 + 16384 / (v.g.inner + 1), quantize_part, &v);
}

static ptq_status dequantize_run(ptq_cpu *c, const ptq_step_run *r)
{
    quant_ctx v;
    PTQ_TRY(read_quant(c, r, &v));
    if (v.y->dtype == PTQ_DT_F32 && ptq_small_float_of(v.x->dtype)) {
        dequantize_small(&v);
        return PTQ_OK;
    }
    if (v.y->dtype != PTQ_DT_F32 ||
        (!ptq_quant_bounds(v.x->dtype, &v.lo, &v.hi) && v.x->dtype != PTQ_DT_S32))
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "node %s: DequantizeLinear from %s to %s is not supported", r->step->name,
                        ptq_dtype_name(v.x->dtype), ptq_dtype_name(v.y->dtype));
    cut(&v);
    return ptq_cpu_ranges(c, v.g.outer * v.g.n, 1 + 16384 / (v.g.inner + 1), dequantize_part, &v);
}

/* Half floats go through float32. */
#define CODES ~(PTQ_TAKES_MODULO | PTQ_TAKES(PTQ_DT_F16) | PTQ_TAKES(PTQ_DT_BF16) | PTQ_TAKES(PTQ_DT_F64))
extern const ptq_cpu_kernel ptq_cpu_f_quantize, ptq_cpu_f_dequantize;
const ptq_cpu_kernel ptq_cpu_f_quantize = {.name = "QuantizeLinear", .takes = CODES, .run = quantize_run};
const ptq_cpu_kernel ptq_cpu_f_dequantize = {.name = "DequantizeLinear", .takes = CODES, .run = dequantize_run};
