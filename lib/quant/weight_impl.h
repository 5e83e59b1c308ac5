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

#endif
