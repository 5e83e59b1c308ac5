/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of the observers: the values that each is tried on. */
#ifndef PTQ_TESTS_STATS_KIT_H
#define PTQ_TESTS_STATS_KIT_H

#include <math.h>

#include "lib/core/fmath.h"
#include "lib/observers/stats.h"
#include "tests/unit.h"

static inline ptq_tensor_stats *stk_new(void)
{
    ptq_tensor_stats *s;
    ck_assert_ok(ptq_stats_new("t", PTQ_DT_F32, &s));
    return s;
}

/* Kinds of values that every observer is tried on. */
enum { STK_VALUES = 10000, STK_KINDS = 10 };

/* Writes one kind; returns how many values it has. */
static inline size_t stk_fill(size_t kind, float *v)
{
    ptq_rng r;
    ptq_rng_seed(&r, kind + 1);
    for (size_t i = 0; i < STK_VALUES; i++) {
        float x = ptq_rng_normal(&r);
        switch (kind) {
        case 0: v[i] = 1.7f; break; /* the only one */
        case 1: v[i] = -3.0f; break;
        case 2: v[i] = i & 1 ? -0.0f : 0.0f; break;
        case 3: v[i] = x; break;
        case 4: v[i] = x > 0 ? x : 0; break; /* Relu */
        case 5: v[i] = ptq_bits_float((uint32_t)ptq_rng_u64(&r)); break;
        case 6: v[i] = i % 7 == 0 ? NAN : i % 11 == 0 ? INFINITY : i % 13 == 0 ? -INFINITY : x; break;
        case 7: v[i] = x > 1 ? 6.0f : x < -1 ? -6.0f : x < 0 ? 1.0f : 0.0f; break; /* spikes */
        case 8: v[i] = ptq_bits_float((uint32_t)ptq_rng_u64(&r) & 0x807fffff); break; /* subnormal */
        default: v[i] = i == 77 ? 1e30f : x; break; /* an outlier */
        }
    }
    return kind == 0 ? 1 : STK_VALUES;
}

#endif
