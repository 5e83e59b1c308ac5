/* SPDX-License-Identifier: Apache-2.0 */
/* The law of qattention in plain loops. */
#include "lib/core/fmath.h"
#include "lib/cpu/int_attention.h"

static float score(const ptq_int_attention *t, const uint8_t *q, const uint8_t *k, const float *mask)
{
    const ptq_qattention_params *p = t->p;
    uint32_t acc = 0;
    for (int64_t i = 0; i < t->a.d; i++)
        acc += (uint32_t)((ptq_int_byte(q, i * t->a.q.col, t->q_sgn) - p->q.zp) *
                          (ptq_int_byte(k, i * t->a.k.row, t->k_sgn) - p->k.zp));
    float s = (float)(int32_t)acc * p->qk_mult;
    s = p->scores == PTQ_SCORES_TIMES ? s * p->factor : p->scores == PTQ_SCORES_OVER ? s / p->factor : s;
    return mask ? s + *mask : s;
}

/* Codes of the probabilities of a row of scores, which are lost. */
static void probabilities(const ptq_int_attention *t, float *s, int32_t *c)
{
    const ptq_qattention_params *p = t->p;
    float max = ptq_max64(s, t->a.n, 1);
    for (int64_t j = 0; j < t->a.n; j++)
        s[j] = ptq_expf(s[j] - max);
    float inv = 1.0f / ptq_sum16(s, t->a.n, 1);
    for (int64_t j = 0; j < t->a.n; j++)
        c[j] = ptq_quantize(s[j] * inv, p->p.scale, p->p.zp, p->plo, p->phi);
}

static void row(const ptq_int_attention *t, int64_t b, int64_t m, float *s, int32_t *c)
{
    const ptq_attention *a = &t->a;
    const uint8_t *q = t->q + ptq_int_attention_at(a, &a->q, b) + m * a->q.row;
    const uint8_t *k = t->k + ptq_int_attention_at(a, &a->k, b), *v = t->v + ptq_int_attention_at(a, &a->v, b);
    int64_t y = ptq_int_attention_at(a, &a->y, b) + m * a->y.row;
    int64_t mask = ptq_int_attention_at(a, &a->mask, b) + m * a->mask.row;
    for (int64_t j = 0; j < a->n; j++)
        s[j] = score(t, q, k + j * a->k.col, t->mask ? t->mask + mask + j * a->mask.col : NULL);
    probabilities(t, s, c);
    for (int64_t i = 0; i < a->dv; i++) {
        uint32_t acc = 0;
        for (int64_t j = 0; j < a->n; j++)
            acc += (uint32_t)((c[j] - t->p->p.zp) *
                              (ptq_int_byte(v, j * a->v.row + i * a->v.col, t->v_sgn) - t->p->v.zp));
        ptq_int_attention_store(t, y + i * a->y.col, (int32_t)acc);
    }
}

void ptq_int_ref_qattention(const ptq_int_attention *t, void *scratch)
{
    float *s = scratch;
    int32_t *c = (int32_t *)(void *)(s + t->a.n);
    for (int64_t b = 0; b < t->a.batch; b++)
        for (int64_t m = 0; m < t->a.m; m++)
            row(t, b, m, s, c);
}
