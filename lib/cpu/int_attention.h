/* SPDX-License-Identifier: Apache-2.0 */
/* One run of qattention, its operands in place. */
#ifndef PTQ_CPU_INT_ATTENTION_H
#define PTQ_CPU_INT_ATTENTION_H

#include "lib/cpu/int.h"
#include "lib/exec/attention.h"

typedef struct ptq_int_attention {
    const ptq_qattention_params *p;
    ptq_attention a;
    const uint8_t *q, *k, *v; /* at their offsets; dense copies where their steps are apart */
    bool q_sgn, k_sgn, v_sgn, p_sgn;
    const float *mask;
    uint8_t *y; /* the output, or a dense one */
    size_t ybytes; /* of an element */
} ptq_int_attention;

/* Element offsets of batch i. */
static inline int64_t ptq_int_attention_at(const ptq_attention *a, const ptq_attention_steps *s, int64_t i)
{
    int64_t at = 0;
    for (int d = a->nbd - 1; d >= 0; d--) {
        at += i % a->bdim[d] * s->batch[d];
        i /= a->bdim[d];
    }
    return at;
}

/* A result of the second product: float or codes. */
static inline void ptq_int_attention_store(const ptq_int_attention *t, int64_t at, int32_t acc)
{
    const ptq_qattention_params *p = t->p;
    float v = (float)acc * p->pv_mult;
    if (p->float_out)
        ((float *)(void *)t->y)[at] = v;
    else if (p->requant)
        t->y[at] = (uint8_t)ptq_requantize(acc, p->pv_mult, p->y.zp, p->qlo, p->qhi);
    else
        t->y[at] = (uint8_t)ptq_quantize(v, p->y.scale, p->y.zp, p->qlo, p->qhi);
}

#endif
