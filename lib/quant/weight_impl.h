/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the weight algorithms. */
#ifndef PTQ_QUANT_WEIGHT_IMPL_H
#define PTQ_QUANT_WEIGHT_IMPL_H

#include "lib/quant/weight.h"

/* The values of one channel: `outer` runs of `inner` adjacent values, `stride` apart. */
typedef struct ptq_channel {
    const float *data;
    uint8_t *codes;
    int64_t outer, inner, stride;
} ptq_channel;

ptq_channel ptq_weight_channel(const ptq_weight *w, ptq_weight_codes *q, int64_t c);
/* Extremes of a channel. An empty one: 0 and 0. */
void ptq_channel_range(const ptq_channel *ch, float *min, float *max);

/* Fills in mse, power and dead. */
void ptq_weight_measure(const ptq_weight *w, ptq_weight_codes *q);

/* Shared arrays become the codes' own, so that they can be changed. */
ptq_status ptq_weight_codes_own(ptq_weight_codes *q);

#define PTQ_CHANNEL_RUNS(ch, run)                                                                  \
    for (int64_t run = 0; run < (ch)->outer * (ch)->stride; run += (ch)->stride)

/* What x loses with scale s; inverse is 1 / s, top the largest level. */
typedef float ptq_loss_fn(float x, float inverse, float s, float top);

/* Sum of squared losses. Eight partial sums, so that the loop can become vector instructions and
 * still has one order; inlined with its loss(). */
static inline double ptq_channel_error(const ptq_channel *ch, float s, float top, ptq_loss_fn *loss)
{
    enum { LANES = 8 };
    const float inverse = 1.0f / s;
    double total = 0;
    PTQ_CHANNEL_RUNS (ch, r) {
        const float *x = ch->data + r;
        int64_t i = 0;
        double sum[LANES] = {0};
        for (; i + LANES <= ch->inner; i += LANES) {
            for (int j = 0; j < LANES; j++) {
                const float d = loss(x[i + j], inverse, s, top);
                sum[j] += (double)d * (double)d;
            }
        }
        for (; i < ch->inner; i++) {
            const float d = loss(x[i], inverse, s, top);
            sum[0] += (double)d * (double)d;
        }
        for (int j = 0; j < LANES; j++)
            total += sum[j];
    }
    return total;
}

/* Candidate scales of a channel with extremes +-amax, by number. */
typedef struct ptq_scale_search {
    int last;  /* every fourth of 0 .. last is tried, then all around the best of these, */
    int least; /* but none below this number */
    float (*scale)(const ptq_grid *grid, float amax, int i);
    double (*error)(const ptq_channel *ch, const ptq_grid *grid, float s);
} ptq_scale_search;

/* *scale becomes the candidate with the least error, the first of equals; it stays where no error
 * is finite, and where amax is 0. */
void ptq_search_scale(const ptq_scale_search *search, const ptq_channel *ch, const ptq_grid *grid, float amax,
                      float *scale);

#endif
