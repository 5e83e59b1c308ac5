/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of 4 bits and floats of 8 and 4 bits beside the numbers of cast.h. Two 4-bit elements
 * share a byte, the first in the low half: neighbours must not be written by two threads. */
#ifndef PTQ_CORE_SMALL_H
#define PTQ_CORE_SMALL_H

#include <stdbool.h>

#include "lib/core/cast.h"

typedef struct ptq_small_float {
    int bits, mantissa, bias;
    uint8_t nan;  /* magnitude bits of NaN; 0x80: the only NaN, there is no -0; 0: no NaN */
    uint8_t inf;  /* magnitude bits of infinity; 0: none */
    uint8_t most; /* magnitude bits of the largest number */
} ptq_small_float;

static inline const ptq_small_float *ptq_small_float_of(ptq_dtype t)
{
    static const ptq_small_float e4m3fn = {8, 3, 7, 0x7f, 0, 0x7e}, e4m3fnuz = {8, 3, 8, 0x80, 0, 0x7f},
                                 e5m2 = {8, 2, 15, 0x7f, 0x7c, 0x7b}, e5m2fnuz = {8, 2, 16, 0x80, 0, 0x7f},
                                 e2m1 = {4, 1, 1, 0, 0, 7};
    switch (t) {
    case PTQ_DT_F8E4M3FN: return &e4m3fn;
    case PTQ_DT_F8E4M3FNUZ: return &e4m3fnuz;
    case PTQ_DT_F8E5M2: return &e5m2;
    case PTQ_DT_F8E5M2FNUZ: return &e5m2fnuz;
    case PTQ_DT_F4E2M1: return &e2m1;
    default: return NULL;
    }
}

static inline float ptq_small_to_float(const ptq_small_float *f, uint8_t b)
{
    int sign = b >> (f->bits - 1), m = b & ((1 << (f->bits - 1)) - 1);
    if (f->nan == 0x80 ? b == 0x80 : f->nan && (m == f->nan || (f->inf && m > f->inf)))
        return NAN;
    float v = INFINITY;
    if (!f->inf || m != f->inf) {
        int e = m >> f->mantissa, frac = m & ((1 << f->mantissa) - 1);
        v = e ? ldexpf((float)(frac | 1 << f->mantissa), e - f->bias - f->mantissa)
              : ldexpf((float)frac, 1 - f->bias - f->mantissa);
    }
    return sign ? -v : v;
}

/* Half to even. `saturate`: what is too large, infinity too, becomes the largest number, else
 * infinity or NaN. */
static inline uint8_t ptq_float_to_small(const ptq_small_float *f, float x, bool saturate)
{
    uint8_t sign = (uint8_t)(signbit(x) ? 1 << (f->bits - 1) : 0);
    bool one_nan = f->nan == 0x80;
    if (x != x)
        return (uint8_t)(one_nan ? 0x80 : f->nan ? sign | f->nan : f->most);
    float a = fabsf(x);
    int e;
    frexpf(a, &e);
    e = a == 0.0f || e - 1 < 1 - f->bias ? 1 - f->bias : e - 1;
    /* in units of the last place; a carry into the next power of two is right by itself */
    double units = isinf(x) ? 1e9 : rint(ldexp((double)a, f->mantissa - e));
    double code = units + (double)((e + f->bias - 1) << f->mantissa);
    if (code > (double)f->most) {
        if (!f->nan || saturate)
            return (uint8_t)(sign | f->most);
        return f->inf ? (uint8_t)(sign | f->inf) : one_nan ? 0x80 : (uint8_t)(sign | f->nan);
    }
    return one_nan && code == 0.0 ? 0 : (uint8_t)(sign | (uint8_t)code);
}

static inline uint8_t ptq_nibble(const void *p, int64_t i)
{
    return ((const uint8_t *)p)[i / 2] >> (i % 2 * 4) & 15;
}

/* In rising order: an even element clears the half behind it, which may be the last one's rest. */
static inline void ptq_nibble_set(void *p, int64_t i, uint8_t v)
{
    uint8_t *b = (uint8_t *)p + i / 2;
    *b = i % 2 ? (uint8_t)((*b & 15u) | (v & 15u) << 4) : (uint8_t)(v & 15u);
}

/* Any type but strings and complex numbers. */
static inline bool ptq_convertible(ptq_dtype t)
{
    return ptq_castable(t) || t == PTQ_DT_S4 || t == PTQ_DT_U4 || ptq_small_float_of(t);
}

static inline ptq_number ptq_any_load(ptq_dtype t, const void *p, int64_t i)
{
    if (ptq_castable(t))
        return ptq_number_load(t, p, i);
    bool four = ptq_dtype_bits(t) == 4;
    uint8_t b = four ? ptq_nibble(p, i) : ((const uint8_t *)p)[i];
    const ptq_small_float *f = ptq_small_float_of(t);
    if (f)
        return ptq_number_real((double)ptq_small_to_float(f, b));
    return ptq_number_int(t == PTQ_DT_S4 && b > 7 ? b - 16 : b);
}

static inline void ptq_any_store(ptq_dtype t, void *p, int64_t i, ptq_number v, bool from_u64, bool saturate)
{
    const ptq_small_float *f = ptq_small_float_of(t);
    uint8_t b;
    if (ptq_castable(t)) {
        ptq_number_store(t, p, i, v, from_u64);
        return;
    }
    if (f) {
        float x = v.real ? (float)v.d : from_u64 ? (float)(uint64_t)v.i : (float)v.i;
        b = ptq_float_to_small(f, x, saturate);
    } else {
        bool sgn = t == PTQ_DT_S4;
        b = (uint8_t)ptq_number_saturated(v, sgn ? -8 : 0, sgn ? 7 : 15);
    }
    if (ptq_dtype_bits(t) == 4)
        ptq_nibble_set(p, i, b);
    else
        ((uint8_t *)p)[i] = b;
}

#endif
