/* SPDX-License-Identifier: Apache-2.0 */
/* Exact sum of floats: a fixed-point number wide enough for every float32, so that the result
 * does not depend on the order of additions or on how partial sums were merged. */
#ifndef PTQ_OBSERVERS_EXACT_SUM_H
#define PTQ_OBSERVERS_EXACT_SUM_H

#include "lib/core/core.h"

#pragma GCC visibility push(default)

/* Two's complement, limb[0] least significant; the unit is 2^-149, the smallest subnormal.
 * Finite floats need 277 bits and a sign, which leaves room for 2^105 additions. */
#define PTQ_EXACT_SUM_LIMBS 6
typedef struct ptq_exact_sum {
    uint64_t limb[PTQ_EXACT_SUM_LIMBS];
} ptq_exact_sum;

/* x must be finite. */
void ptq_exact_sum_add(ptq_exact_sum *s, float x);
void ptq_exact_sum_merge(ptq_exact_sum *dst, const ptq_exact_sum *src);
/* The sum rounded once, half to even, to a double. */
double ptq_exact_sum_value(const ptq_exact_sum *s);

#pragma GCC visibility pop

#endif
