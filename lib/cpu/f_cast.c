/* SPDX-License-Identifier: Apache-2.0 */
/* Cast between numbers and bool. A float outside an integer's range becomes the nearest integer
 * of the type, NaN becomes 0 (the specification leaves both open). */
#include "lib/cpu/fkernel.h"

typedef struct number {
    bool real;
    double d;
    int64_t i; /* also holds uint64 bits */
} number;

/* IEEE half to float: exact. */
static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3ffu;
    if (e == 31)
        return ptq_bits_float(sign | 0x7f800000u | m << 13);
    if (e == 0) {
        float f = (float)m * 0x1p-24f;
        return sign ? -f : f;
    }
    return ptq_bits_float(sign | (e + 112) << 23 | m << 13);
}

/* Float to half, half to even. */
static uint16_t float_to_half(float f)
{
    uint32_t u = ptq_float_bits(f), sign = u >> 16 & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (u >= 0x477ff000u) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00u);
    if (u < 0x38800000u) /* subnormal: adding 0.5 leaves multiples of 2^-24 in the low bits */
        return (uint16_t)(sign | (ptq_float_bits(ptq_bits_float(u) + 0.5f) - 0x3f000000u));
    return (uint16_t)(sign | ((u - 0x38000000u + 0xfffu + (u >> 13 & 1u)) >> 13));
}

static float bf16_to_float(uint16_t h)
{
    return ptq_bits_float((uint32_t)h << 16);
}

static uint16_t float_to_bf16(float f)
{
    uint32_t u = ptq_float_bits(f);
    if (f != f)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static bool castable(ptq_dtype t)
{
    switch (t) {
    case PTQ_DT_F32: case PTQ_DT_F64: case PTQ_DT_F16: case PTQ_DT_BF16: case PTQ_DT_BOOL:
    case PTQ_DT_U8: case PTQ_DT_S8: case PTQ_DT_U16: case PTQ_DT_S16: case PTQ_DT_U32:
    case PTQ_DT_S32: case PTQ_DT_U64: case PTQ_DT_S64: return true;
    default: return false;
    }
}

static number load(ptq_dtype t, const void *p, int64_t i)
{
    switch (t) {
    case PTQ_DT_F32: return (number){true, ((const float *)p)[i], 0};
    case PTQ_DT_F64: return (number){true, ((const double *)p)[i], 0};
    case PTQ_DT_F16: return (number){true, half_to_float(((const uint16_t *)p)[i]), 0};
    case PTQ_DT_BF16: return (number){true, bf16_to_float(((const uint16_t *)p)[i]), 0};
    case PTQ_DT_BOOL: return (number){false, 0, ((const uint8_t *)p)[i] != 0};
    case PTQ_DT_U8: return (number){false, 0, ((const uint8_t *)p)[i]};
    case PTQ_DT_S8: return (number){false, 0, ((const int8_t *)p)[i]};
    case PTQ_DT_U16: return (number){false, 0, ((const uint16_t *)p)[i]};
    case PTQ_DT_S16: return (number){false, 0, ((const int16_t *)p)[i]};
    case PTQ_DT_U32: return (number){false, 0, ((const uint32_t *)p)[i]};
    case PTQ_DT_S32: return (number){false, 0, ((const int32_t *)p)[i]};
    default: return (number){false, 0, ((const int64_t *)p)[i]};
    }
}

/* Truncates; out of range saturates at the 64-bit type, wraps below it as C does. */
static int64_t whole(number v)
{
    if (!v.real)
        return v.i;
    if (v.d != v.d)
        return 0;
    return v.d >= 0x1p63 ? INT64_MAX : v.d < -0x1p63 ? INT64_MIN : (int64_t)v.d;
}

static int64_t saturated(number v, int64_t lo, int64_t hi)
{
    int64_t i = whole(v);
    if (!v.real)
        return i; /* integers wrap */
    return i < lo ? lo : i > hi ? hi : i;
}

static void store(ptq_dtype t, void *p, int64_t i, number v, bool from_u64)
{
    double d = v.real ? v.d : from_u64 ? (double)(uint64_t)v.i : (double)v.i;
    float f = v.real ? (float)v.d : from_u64 ? (float)(uint64_t)v.i : (float)v.i;
    switch (t) {
    case PTQ_DT_F32: ((float *)p)[i] = f; break;
    case PTQ_DT_F64: ((double *)p)[i] = d; break;
    case PTQ_DT_F16: ((uint16_t *)p)[i] = float_to_half(f); break;
    case PTQ_DT_BF16: ((uint16_t *)p)[i] = float_to_bf16(f); break;
    case PTQ_DT_BOOL: ((uint8_t *)p)[i] = v.real ? v.d != 0.0 : v.i != 0; break;
    case PTQ_DT_U8: ((uint8_t *)p)[i] = (uint8_t)saturated(v, 0, UINT8_MAX); break;
    case PTQ_DT_S8: ((int8_t *)p)[i] = (int8_t)saturated(v, INT8_MIN, INT8_MAX); break;
    case PTQ_DT_U16: ((uint16_t *)p)[i] = (uint16_t)saturated(v, 0, UINT16_MAX); break;
    case PTQ_DT_S16: ((int16_t *)p)[i] = (int16_t)saturated(v, INT16_MIN, INT16_MAX); break;
    case PTQ_DT_U32: ((uint32_t *)p)[i] = (uint32_t)saturated(v, 0, UINT32_MAX); break;
    case PTQ_DT_S32: ((int32_t *)p)[i] = (int32_t)saturated(v, INT32_MIN, INT32_MAX); break;
    case PTQ_DT_U64:
        ((uint64_t *)p)[i] = v.real && v.d >= 0x1p63 ? (v.d >= 0x1p64 ? UINT64_MAX : (uint64_t)v.d)
                             : v.real && v.d < 0     ? 0
                                                     : (uint64_t)whole(v);
        break;
    default: ((int64_t *)p)[i] = whole(v); break;
    }
}

typedef struct cast_ctx {
    ptq_dtype from, to;
    const void *x;
    void *y;
} cast_ctx;

static void cast_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const cast_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++)
        store(v->to, v->y, i, load(v->from, v->x, i), v->from == PTQ_DT_U64);
}

static ptq_status cast_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    if (!castable(x->dtype) || !castable(y->dtype))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: Cast from %s to %s is not supported",
                        r->step->name, ptq_dtype_name(x->dtype), ptq_dtype_name(y->dtype));
    if (x->dtype == y->dtype) {
        memcpy(y->data, x->data, x->nbytes);
        return PTQ_OK;
    }
    cast_ctx v = {x->dtype, y->dtype, x->data, y->data};
    return ptq_cpu_ranges(c, ptq_tensor_elements(x), 8192, cast_part, &v);
}

extern const ptq_cpu_kernel ptq_cpu_f_cast;
const ptq_cpu_kernel ptq_cpu_f_cast = {.name = "Cast", .run = cast_run};
