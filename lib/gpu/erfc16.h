/* SPDX-License-Identifier: Apache-2.0 */
/* GELU on the device where its result becomes a code: x Phi(x) = max(x, 0) - |x| / 2 (1 - erf(|x| / sqrt 2)),
 * with 1 - erf z = (1 + a1 z + ... + a6 z^6)^-16 (Abramowitz and Stegun 7.1.28). Within PTQ_FAST_GELU_ERROR of
 * every form of ptq_gelu_of, with a reciprocal that is 2 ulp away (tests/test_cpu_fmath.c); tail.cuh asks the
 * law where that leaves a code open. */
#ifndef PTQ_GPU_ERFC16_H
#define PTQ_GPU_ERFC16_H

#include "lib/core/qmath.h"

#define PTQ_FAST_GELU_ERROR 1.05e-6f

/* (1 + a1 z + ... + a6 z^6)^16 for z = x / sqrt 2, x >= 0; infinite from about 40 on. */
PTQ_HD float ptq_erfc16(float x)
{
    float p = fmaf(5.38297500e-06f, x, 4.88906437e-05f);
    p = fmaf(p, x, 3.80035750e-05f);
    p = fmaf(p, x, 0.00327762633f);
    p = fmaf(p, x, 0.0211410064f);
    p = fmaf(p, x, 0.0498673469f);
    p = fmaf(p, x, 1.0f);
    p *= p;
    p *= p;
    p *= p;
    return p * p;
}

#endif
