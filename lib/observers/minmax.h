/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_OBSERVERS_MINMAX_H
#define PTQ_OBSERVERS_MINMAX_H

#include "lib/observers/exact_sum.h"
#include "lib/observers/observer.h"

#pragma GCC visibility push(default)

/* Observer "minmax" keeps a ptq_summary. */

/* Observer "sample_minmax": the minimum and the maximum of each sample, summed. */
typedef struct ptq_sample_minmax {
    uint64_t samples; /* all */
    uint64_t finite;  /* those with a finite value; only they are in the sums */
    ptq_exact_sum min, max;
} ptq_sample_minmax;

/* Adds one sample by its summary (for values that stayed on a device). */
void ptq_sample_minmax_add(ptq_sample_minmax *s, const ptq_summary *sample);

/* Observer "channel_minmax". channels: 0 nothing seen yet; -1 samples disagreed about axis or
 * number of channels, so nothing is kept (min and max are NULL). A channel without finite values
 * has min = INFINITY, max = -INFINITY. */
typedef struct ptq_channel_minmax {
    int axis;
    int64_t channels;
    float *min, *max; /* [channels] */
} ptq_channel_minmax;

/* Lends the sample its extremes of channels, where those of adjacent values can be had in passing. */
ptq_status ptq_channel_minmax_lend(ptq_channel_minmax *s, ptq_sample *sample);
/* Adds the ranges of that many channels (for values that stayed on a device). */
ptq_status ptq_channel_minmax_add(ptq_channel_minmax *s, int axis, int64_t channels, const float *min,
                                  const float *max);

#pragma GCC visibility pop

#endif
