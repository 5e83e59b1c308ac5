/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/convert.h"

#include <math.h>
#include <string.h>

float ptq_half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3FF, bits;
    if (e == 31) {
        bits = sign | 0x7F800000 | m << 13;
    } else if (e) {
        bits = sign | (e + 112) << 23 | m << 13;
    } else {
        float f = (float)m * 0x1p-24f; /* subnormal: exact */
        return sign ? -f : f;
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t ptq_float_to_half(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    float a = fabsf(f);
    if (isnan(f))
        return (uint16_t)(sign | 0x7E00);
    if (a >= 65520.0f)
        return (uint16_t)(sign | 0x7C00);
    if (a < 0x1p-14f)
        return (uint16_t)(sign | (uint16_t)rintf(a * 0x1p24f));
    /* Round the 13 bits that go away; a carry moves into the exponent, as it should. */
    uint32_t m = bits & 0x7FFFFFFF, odd = m >> 13 & 1;
    m += 0x0FFF + odd;
    return (uint16_t)(sign | ((m >> 13) - (112u << 10)));
}

static uint16_t to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (isnan(f))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t v)
{
    uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* One value on its way: integers keep all 64 bits, floats travel as double. */
typedef struct value {
    bool is_float;
    int64_t i;
    double f;
} value;

typedef struct int_range {
    int64_t lo, hi;
} int_range;

static bool int_type(ptq_dtype t, int_range *r)
{
    switch (t) {
    case PTQ_DT_BOOL: *r = (int_range){0, 1}; return true;
    case PTQ_DT_U8: *r = (int_range){0, UINT8_MAX}; return true;
    case PTQ_DT_S8: *r = (int_range){INT8_MIN, INT8_MAX}; return true;
    case PTQ_DT_U16: *r = (int_range){0, UINT16_MAX}; return true;
    case PTQ_DT_S16: *r = (int_range){INT16_MIN, INT16_MAX}; return true;
    case PTQ_DT_U32: *r = (int_range){0, UINT32_MAX}; return true;
    case PTQ_DT_S32: *r = (int_range){INT32_MIN, INT32_MAX}; return true;
    case PTQ_DT_U64: *r = (int_range){0, INT64_MAX}; return true;
    case PTQ_DT_S64: *r = (int_range){INT64_MIN, INT64_MAX}; return true;
    default: return false;
    }
}

static bool load(const void *from, ptq_dtype t, size_t i, value *v)
{
    v->is_float = false;
    switch (t) {
    case PTQ_DT_BOOL: v->i = ((const uint8_t *)from)[i] != 0; return true;
    case PTQ_DT_U8: v->i = ((const uint8_t *)from)[i]; return true;
    case PTQ_DT_S8: v->i = ((const int8_t *)from)[i]; return true;
    case PTQ_DT_U16: v->i = ((const uint16_t *)from)[i]; return true;
    case PTQ_DT_S16: v->i = ((const int16_t *)from)[i]; return true;
    case PTQ_DT_U32: v->i = ((const uint32_t *)from)[i]; return true;
    case PTQ_DT_S32: v->i = ((const int32_t *)from)[i]; return true;
    case PTQ_DT_S64: v->i = ((const int64_t *)from)[i]; return true;
    case PTQ_DT_U64:
        v->i = (int64_t)((const uint64_t *)from)[i];
        return v->i >= 0;
    default: break;
    }
    v->is_float = true;
    switch (t) {
    case PTQ_DT_F16: v->f = (double)ptq_half_to_float(((const uint16_t *)from)[i]); return true;
    case PTQ_DT_BF16: v->f = (double)from_bf16(((const uint16_t *)from)[i]); return true;
    case PTQ_DT_F32: v->f = (double)((const float *)from)[i]; return true;
    case PTQ_DT_F64: v->f = ((const double *)from)[i]; return true;
    default: return false;
    }
}

static void store_int(void *to, ptq_dtype t, size_t i, int64_t v)
{
    int bits = ptq_dtype_bits(t);
    if (bits == 8)
        ((uint8_t *)to)[i] = (uint8_t)v;
    else if (bits == 16)
        ((uint16_t *)to)[i] = (uint16_t)v;
    else if (bits == 32)
        ((uint32_t *)to)[i] = (uint32_t)v;
    else
        ((uint64_t *)to)[i] = (uint64_t)v;
}

static bool store_float(void *to, ptq_dtype t, size_t i, double v)
{
    switch (t) {
    case PTQ_DT_F16: ((uint16_t *)to)[i] = ptq_float_to_half((float)v); return true;
    case PTQ_DT_BF16: ((uint16_t *)to)[i] = to_bf16((float)v); return true;
    case PTQ_DT_F32: ((float *)to)[i] = (float)v; return true;
    case PTQ_DT_F64: ((double *)to)[i] = v; return true;
    default: return false;
    }
}

ptq_status ptq_convert(const void *from, ptq_dtype from_type, void *to, ptq_dtype to_type, size_t n)
{
    int_range r = {0, 0};
    bool to_int = int_type(to_type, &r);
    if (from_type == to_type && (to_int || to_type == PTQ_DT_F32 || to_type == PTQ_DT_F64 ||
                                 to_type == PTQ_DT_F16 || to_type == PTQ_DT_BF16)) {
        memcpy(to, from, n * (size_t)(ptq_dtype_bits(to_type) / 8));
        return PTQ_OK;
    }
    for (size_t i = 0; i < n; i++) {
        value v = {0};
        bool ok = load(from, from_type, i, &v);
        if (ok && to_int) {
            if (v.is_float) {
                ok = v.f == rint(v.f) && v.f >= -0x1p63 && v.f < 0x1p63;
                v.i = ok ? (int64_t)v.f : 0;
            }
            ok = ok && v.i >= r.lo && v.i <= r.hi;
            if (ok)
                store_int(to, to_type, i, v.i);
        } else if (ok) {
            ok = store_float(to, to_type, i, v.is_float ? v.f : (double)v.i);
        }
        if (!ok)
            return ptq_fail(PTQ_ERR_DATA, "value %zu (%s) does not fit the model's type %s", i,
                            ptq_dtype_name(from_type), ptq_dtype_name(to_type));
    }
    return PTQ_OK;
}

ptq_status ptq_convert_pixels(const float *from, void *to, ptq_dtype to_type, size_t n)
{
    int_range r;
    if (!int_type(to_type, &r))
        return ptq_convert(from, PTQ_DT_F32, to, to_type, n);
    for (size_t i = 0; i < n; i++) {
        double v = rint((double)from[i]);
        int64_t q = !(v > (double)r.lo) ? r.lo : v >= (double)r.hi ? r.hi : (int64_t)v;
        store_int(to, to_type, i, q);
    }
    return PTQ_OK;
}
