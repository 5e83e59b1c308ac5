/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions between numbers and bool, written once for C and CUDA. A float outside an integer's
 * range becomes the nearest integer of the type, NaN becomes 0 (the specification leaves both
 * open). */
#ifndef PTQ_CORE_CAST_H
#define PTQ_CORE_CAST_H

#include <ptq/types.h>

#include "lib/core/fmath.h"

typedef struct ptq_number {
    int real;
    double d;
    int64_t i; /* also holds uint64 bits */
} ptq_number;

/* IEEE half to float: exact. */
PTQ_HD float ptq_half_to_float(uint16_t h)
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
PTQ_HD uint16_t ptq_float_to_half(float f)
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

PTQ_HD float ptq_bf16_to_float(uint16_t h)
{
    return ptq_bits_float((uint32_t)h << 16);
}

PTQ_HD uint16_t ptq_float_to_bf16(float f)
{
    uint32_t u = ptq_float_bits(f);
    if (f != f)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

PTQ_HD int ptq_castable(ptq_dtype t)
{
    switch (t) {
    case PTQ_DT_F32: case PTQ_DT_F64: case PTQ_DT_F16: case PTQ_DT_BF16: case PTQ_DT_BOOL:
    case PTQ_DT_U8: case PTQ_DT_S8: case PTQ_DT_U16: case PTQ_DT_S16: case PTQ_DT_U32:
    case PTQ_DT_S32: case PTQ_DT_U64: case PTQ_DT_S64: return 1;
    default: return 0;
    }
}

PTQ_HD ptq_number ptq_number_real(double d)
{
    ptq_number v = {1, d, 0};
    return v;
}

PTQ_HD ptq_number ptq_number_int(int64_t i)
{
    ptq_number v = {0, 0.0, i};
    return v;
}

PTQ_HD ptq_number ptq_number_load(ptq_dtype t, const void *p, int64_t i)
{
    switch (t) {
    case PTQ_DT_F32: return ptq_number_real(((const float *)p)[i]);
    case PTQ_DT_F64: return ptq_number_real(((const double *)p)[i]);
    case PTQ_DT_F16: return ptq_number_real(ptq_half_to_float(((const uint16_t *)p)[i]));
    case PTQ_DT_BF16: return ptq_number_real(ptq_bf16_to_float(((const uint16_t *)p)[i]));
    case PTQ_DT_BOOL: return ptq_number_int(((const uint8_t *)p)[i] != 0);
    case PTQ_DT_U8: return ptq_number_int(((const uint8_t *)p)[i]);
    case PTQ_DT_S8: return ptq_number_int(((const int8_t *)p)[i]);
    case PTQ_DT_U16: return ptq_number_int(((const uint16_t *)p)[i]);
    case PTQ_DT_S16: return ptq_number_int(((const int16_t *)p)[i]);
    case PTQ_DT_U32: return ptq_number_int(((const uint32_t *)p)[i]);
    case PTQ_DT_S32: return ptq_number_int(((const int32_t *)p)[i]);
    default: return ptq_number_int(((const int64_t *)p)[i]);
    }
}

/* Truncates; out of range saturates at the 64-bit type, wraps below it as C does. */
PTQ_HD int64_t ptq_number_whole(ptq_number v)
{
    if (!v.real)
        return v.i;
    if (v.d != v.d)
        return 0;
    return v.d >= 0x1p63 ? INT64_MAX : v.d < -0x1p63 ? INT64_MIN : (int64_t)v.d;
}

PTQ_HD int64_t ptq_number_saturated(ptq_number v, int64_t lo, int64_t hi)
{
    int64_t i = ptq_number_whole(v);
    if (!v.real)
        return i; /* integers wrap */
    return i < lo ? lo : i > hi ? hi : i;
}

PTQ_HD void ptq_number_store(ptq_dtype t, void *p, int64_t i, ptq_number v, int from_u64)
{
    double d = v.real ? v.d : from_u64 ? (double)(uint64_t)v.i : (double)v.i;
    float f = v.real ? (float)v.d : from_u64 ? (float)(uint64_t)v.i : (float)v.i;
    switch (t) {
    case PTQ_DT_F32: ((float *)p)[i] = f; break;
    case PTQ_DT_F64: ((double *)p)[i] = d; break;
    case PTQ_DT_F16: ((uint16_t *)p)[i] = ptq_float_to_half(f); break;
    case PTQ_DT_BF16: ((uint16_t *)p)[i] = ptq_float_to_bf16(f); break;
    case PTQ_DT_BOOL: ((uint8_t *)p)[i] = v.real ? v.d != 0.0 : v.i != 0; break;
    case PTQ_DT_U8: ((uint8_t *)p)[i] = (uint8_t)ptq_number_saturated(v, 0, UINT8_MAX); break;
    case PTQ_DT_S8: ((int8_t *)p)[i] = (int8_t)ptq_number_saturated(v, INT8_MIN, INT8_MAX); break;
    case PTQ_DT_U16: ((uint16_t *)p)[i] = (uint16_t)ptq_number_saturated(v, 0, UINT16_MAX); break;
    case PTQ_DT_S16: ((int16_t *)p)[i] = (int16_t)ptq_number_saturated(v, INT16_MIN, INT16_MAX); break;
    case PTQ_DT_U32: ((uint32_t *)p)[i] = (uint32_t)ptq_number_saturated(v, 0, UINT32_MAX); break;
    case PTQ_DT_S32: ((int32_t *)p)[i] = (int32_t)ptq_number_saturated(v, INT32_MIN, INT32_MAX); break;
    case PTQ_DT_U64:
        ((uint64_t *)p)[i] = v.real && v.d >= 0x1p64 ? UINT64_MAX
                             : v.real && v.d >= 0x1p63 ? (uint64_t)v.d
                             : v.real && v.d < 0 ? 0 : (uint64_t)ptq_number_whole(v);
        break;
    default: ((int64_t *)p)[i] = ptq_number_whole(v); break;
    }
}

#endif
