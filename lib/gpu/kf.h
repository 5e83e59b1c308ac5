/* SPDX-License-Identifier: Apache-2.0 */
/* What the float kernels share on the device. */
#ifndef PTQ_GPU_KF_H
#define PTQ_GPU_KF_H

#include "lib/gpu/kernels_float.h"
#include "lib/gpu/launch.h"

/* Quotient and remainder; in 32 bits where both fit, which costs a GPU a fraction. */
PTQ_DEVICE int64_t ptq_kf_divide(int64_t i, int64_t d, int64_t *rest)
{
    if (((uint64_t)i | (uint64_t)d) >> 32 == 0) {
        uint32_t q = (uint32_t)i / (uint32_t)d;
        *rest = (int64_t)((uint32_t)i - q * (uint32_t)d);
        return (int64_t)q;
    }
    int64_t q = i / d;
    *rest = i - q * d;
    return q;
}

/* Where operands 1 .. nops of element i lie. */
PTQ_DEVICE void ptq_kf_locate(const ptq_kf_walk *w, int64_t i, int nops, int64_t *at)
{
    int64_t k;
    for (int o = 0; o < nops; o++)
        at[o] = 0;
    for (int d = w->nd - 1; d > 0; d--) {
        i = ptq_kf_divide(i, w->dim[d], &k);
        for (int o = 0; o < nops; o++)
            at[o] += k * w->step[1 + o][d];
    }
    for (int o = 0; o < nops; o++)
        at[o] += i * w->step[1 + o][0];
}

PTQ_DEVICE float ptq_kf_clamp(const ptq_kf_act *a, float v)
{
    return a->on ? ptq_fclamp(v, a->lo, a->hi) : v;
}

/* Where the matrices of batch i begin. */
PTQ_DEVICE void ptq_kf_batch(const ptq_kf_matmul *a, int64_t i, int64_t *a0, int64_t *b0)
{
    *a0 = *b0 = 0;
    for (int d = a->nbd - 1; d >= 0; d--) {
        int64_t k;
        i = ptq_kf_divide(i, a->bdim[d], &k);
        *a0 += k * a->a_step[d];
        *b0 += k * a->b_step[d];
    }
}

/* What follows the chain of output (m, n) of a product. */
PTQ_DEVICE float ptq_kf_finish(const ptq_kf_matmul *a, float v, int64_t m, int64_t n)
{
    float c = a->c ? a->c[m * a->c_row + n * a->c_col] : 0.0f;
    if (a->scaled)
        v = a->c ? fmaf(a->alpha, v, a->beta * c) : v * a->alpha;
    else if (a->c)
        v += c;
    return ptq_kf_clamp(&a->act, v);
}

/* ---- pieces of reductions ---- */

/* Element v on top of partial p. */
PTQ_DEVICE float ptq_kf_add(int op, float p, float v, float shift)
{
    switch (op) {
    case PTQ_KF_L1: return p + fabsf(v);
    case PTQ_KF_LOGEXP: return p + ptq_expf(v - shift);
    case PTQ_KF_L2:
    case PTQ_KF_SQUARE: return fmaf(v, v, p);
    default: return p + v;
    }
}

/* What LogSumExp subtracts: infinities go through exp themselves. */
PTQ_DEVICE float ptq_kf_shift(float max)
{
    return fabsf(max) <= 3.40282347e38f ? max : 0.0f;
}

/* The result from the sum of n elements. */
PTQ_DEVICE float ptq_kf_end(int op, float sum, int64_t n, float max)
{
    switch (op) {
    case PTQ_KF_MEAN: return sum / (float)n;
    case PTQ_KF_L2: return sqrtf(sum);
    case PTQ_KF_LOG: return ptq_logf(sum);
    case PTQ_KF_LOGEXP: return ptq_kf_shift(max) + ptq_logf(sum);
    default: return sum;
    }
}

/* ---- elements of any size ---- */

/* Copies one element of 1, 2, 4 or 8 bytes. */
PTQ_DEVICE void ptq_kf_copy(void *y, int64_t i, const void *x, int64_t k, int bytes)
{
    switch (bytes) {
    case 1: ((uint8_t *)y)[i] = ((const uint8_t *)x)[k]; break;
    case 2: ((uint16_t *)y)[i] = ((const uint16_t *)x)[k]; break;
    case 4: ((uint32_t *)y)[i] = ((const uint32_t *)x)[k]; break;
    default: ((uint64_t *)y)[i] = ((const uint64_t *)x)[k]; break;
    }
}

/* Element number `bits` (the same in each element) of that size. */
PTQ_DEVICE void ptq_kf_put(void *y, int64_t i, uint64_t bits, int bytes)
{
    switch (bytes) {
    case 1: ((uint8_t *)y)[i] = (uint8_t)bits; break;
    case 2: ((uint16_t *)y)[i] = (uint16_t)bits; break;
    case 4: ((uint32_t *)y)[i] = (uint32_t)bits; break;
    default: ((uint64_t *)y)[i] = bits; break;
    }
}

#ifdef __CUDACC__
#include <stdlib.h>
#include <string.h>
/* PTQ_GPU_REF=1: the reference kernels alone, so that tests can compare. */
static inline bool ptq_kf_reference_only(void)
{
    const char *e = getenv("PTQ_GPU_REF");
    return e && strcmp(e, "1") == 0;
}
#endif

#endif
