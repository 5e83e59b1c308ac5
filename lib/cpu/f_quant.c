/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear and DequantizeLinear as float steps: per tensor, per axis, per block; the law is
 * ptq_quantize and ptq_dequantize of qmath.h. */
#include "lib/cpu/fkernel.h"

/* Scale of element (outer o, axis d, inner i): scale[(o * blocks + d / block) * sinner + ...]. */
typedef struct quant_ctx {
    const ptq_f32_fns *f;
    int64_t outer, n, inner; /* input as [outer, n, inner] */
    int64_t block;           /* elements of the axis per scale; 0: not blocked */
    const float *scale;
    const ptq_tensor *zp;
    const ptq_tensor *x, *y;
    int32_t lo, hi;
} quant_ctx;

static bool grid_of(ptq_dtype t, int32_t *lo, int32_t *hi)
{
    int bits = ptq_dtype_bits(t);
    switch (t) {
    case PTQ_DT_S4: case PTQ_DT_S8: case PTQ_DT_S16:
        *lo = -(1 << (bits - 1));
        *hi = (1 << (bits - 1)) - 1;
        return true;
    case PTQ_DT_U4: case PTQ_DT_U8: case PTQ_DT_U16:
        *lo = 0;
        *hi = (1 << bits) - 1;
        return true;
    default: return false;
    }
}

static int32_t load_int(ptq_dtype t, const void *p, int64_t i)
{
    unsigned nibble;
    switch (t) {
    case PTQ_DT_S8: return ((const int8_t *)p)[i];
    case PTQ_DT_U8: return ((const uint8_t *)p)[i];
    case PTQ_DT_S16: return ((const int16_t *)p)[i];
    case PTQ_DT_U16: return ((const uint16_t *)p)[i];
    case PTQ_DT_S32: return ((const int32_t *)p)[i];
    default: /* two per byte, the first in the low half */
        nibble = ((const uint8_t *)p)[i / 2] >> (i % 2 * 4) & 15u;
        return t == PTQ_DT_S4 && nibble > 7 ? (int32_t)nibble - 16 : (int32_t)nibble;
    }
}

static void store_int(ptq_dtype t, void *p, int64_t i, int32_t v)
{
    uint8_t *b;
    switch (t) {
    case PTQ_DT_S8: case PTQ_DT_U8: ((uint8_t *)p)[i] = (uint8_t)v; break;
    case PTQ_DT_S16: case PTQ_DT_U16: ((uint16_t *)p)[i] = (uint16_t)v; break;
    default:
        b = (uint8_t *)p + i / 2;
        *b = i % 2 ? (uint8_t)((*b & 15u) | ((unsigned)v & 15u) << 4) : (uint8_t)((unsigned)v & 15u);
        break;
    }
}

static ptq_status read_quant(ptq_cpu *c, const ptq_step_run *r, quant_ctx *v)
{
    const ptq_tensor *x = r->in[0], *s = r->in[1];
    int64_t ns = ptq_tensor_elements(s);
    *v = (quant_ctx){.f = ptq_cpu_f32(c), .outer = 1, .n = 1, .inner = ptq_tensor_elements(x),
                     .scale = s->data, .zp = ptq_in(r, 2), .x = x, .y = &r->out[0]};
    if (s->dtype != PTQ_DT_F32)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: scales of type %s are not supported",
                        r->step->name, ptq_dtype_name(s->dtype));
    if (v->zp && ptq_tensor_elements(v->zp) != ns)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %lld zero points for %lld scales", r->step->name,
                        (long long)ptq_tensor_elements(v->zp), (long long)ns);
    if (ns == 1 && s->rank <= 1)
        return PTQ_OK;
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", 1), x->rank);
    int64_t block = ptq_attr_int(r->step->node, "block_size", 0);
    bool fits = axis >= 0 && axis < x->rank;
    if (fits) {
        v->outer = ptq_product(x->dims, 0, axis);
        v->n = x->dims[axis];
        v->inner = ptq_product(x->dims, axis + 1, x->rank);
        v->block = block;
        int64_t blocks = block > 0 ? (v->n + block - 1) / block : 0;
        fits = block > 0 ? ns == v->outer * blocks * v->inner : s->rank == 1 && ns == v->n;
    }
    if (!fits)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %lld scales do not fit axis %d of the input",
                        r->step->name, (long long)ns, axis);
    return PTQ_OK;
}

static int64_t scale_at(const quant_ctx *v, int64_t row, int64_t i)
{
    if (v->block == 0)
        return v->n == 1 ? 0 : row % v->n;
    int64_t blocks = (v->n + v->block - 1) / v->block;
    return (row / v->n * blocks + row % v->n / v->block) * v->inner + i;
}

/* Rows are runs of `inner` elements; one scale each unless blocked. */
static void quantize_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const quant_ctx *v = ctx;
    (void)worker;
    bool bytes = ptq_dtype_bits(v->y->dtype) == 8 && v->block == 0;
    for (int64_t row = from; row < to; row++) {
        const float *x = (const float *)v->x->data + row * v->inner;
        if (bytes) {
            int64_t k = scale_at(v, row, 0);
            v->f->quant8(x, v->scale[k], v->zp ? load_int(v->zp->dtype, v->zp->data, k) : 0, v->lo,
                         v->hi, (uint8_t *)v->y->data + row * v->inner, v->inner);
            continue;
        }
        for (int64_t i = 0; i < v->inner; i++) {
            int64_t k = scale_at(v, row, i);
            int32_t z = v->zp ? load_int(v->zp->dtype, v->zp->data, k) : 0;
            store_int(v->y->dtype, v->y->data, row * v->inner + i,
                      ptq_quantize(x[i], v->scale[k], z, v->lo, v->hi));
        }
    }
}

static void dequantize_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const quant_ctx *v = ctx;
    (void)worker;
    for (int64_t row = from; row < to; row++) {
        float *y = (float *)v->y->data + row * v->inner;
        int64_t at = row * v->inner, k = scale_at(v, row, 0);
        int32_t z = v->zp ? load_int(v->zp->dtype, v->zp->data, k) : 0;
        if (v->block == 0 && v->x->dtype == PTQ_DT_S8) {
            v->f->dequant_s8((const int8_t *)v->x->data + at, v->scale[k], z, y, v->inner);
            continue;
        }
        if (v->block == 0 && v->x->dtype == PTQ_DT_U8) {
            v->f->dequant_u8((const uint8_t *)v->x->data + at, v->scale[k], z, y, v->inner);
            continue;
        }
        for (int64_t i = 0; i < v->inner; i++) {
            k = scale_at(v, row, i);
            z = v->zp ? load_int(v->zp->dtype, v->zp->data, k) : 0;
            y[i] = ptq_dequantize(load_int(v->x->dtype, v->x->data, at + i), v->scale[k], z);
        }
    }
}

/* A single long row is cut into pieces. */
static void cut(quant_ctx *v)
{
    if (v->outer * v->n != 1 || v->block != 0)
        return;
    int64_t n = v->inner;
    v->inner = n % 4096 == 0 ? 4096 : n % 1024 == 0 ? 1024 : n % 64 == 0 ? 64 : n;
    v->outer = v->inner ? n / v->inner : 0;
}

static ptq_status quantize_run(ptq_cpu *c, const ptq_step_run *r)
{
    quant_ctx v;
    PTQ_TRY(read_quant(c, r, &v));
    if (v.x->dtype != PTQ_DT_F32 || !grid_of(v.y->dtype, &v.lo, &v.hi))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: QuantizeLinear from %s to %s is not supported",
                        r->step->name, ptq_dtype_name(v.x->dtype), ptq_dtype_name(v.y->dtype));
    cut(&v);
    int64_t rows = v.outer * v.n;
    if (ptq_dtype_bits(v.y->dtype) < 8) { /* neighbours share a byte: one thread */
        quantize_part(&v, 0, rows, 0);
        return PTQ_OK;
    }
    return ptq_cpu_ranges(c, rows, 1 + 16384 / (v.inner + 1), quantize_part, &v);
}

static ptq_status dequantize_run(ptq_cpu *c, const ptq_step_run *r)
{
    quant_ctx v;
    PTQ_TRY(read_quant(c, r, &v));
    if (v.y->dtype != PTQ_DT_F32 ||
        (!grid_of(v.x->dtype, &v.lo, &v.hi) && v.x->dtype != PTQ_DT_S32))
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "node %s: DequantizeLinear from %s to %s is not supported", r->step->name,
                        ptq_dtype_name(v.x->dtype), ptq_dtype_name(v.y->dtype));
    cut(&v);
    return ptq_cpu_ranges(c, v.outer * v.n, 1 + 16384 / (v.inner + 1), dequantize_part, &v);
}

extern const ptq_cpu_kernel ptq_cpu_f_quantize, ptq_cpu_f_dequantize;
const ptq_cpu_kernel ptq_cpu_f_quantize = {.name = "QuantizeLinear", .run = quantize_run};
const ptq_cpu_kernel ptq_cpu_f_dequantize = {.name = "DequantizeLinear", .run = dequantize_run};
