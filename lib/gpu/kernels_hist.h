/* SPDX-License-Identifier: Apache-2.0 */
/* Counting float values for calibration, in the manner of kernels.h. What is counted, and what the bins
 * are, is told in lib/observers/hist.h and observer.h. */
#ifndef PTQ_GPU_KERNELS_HIST_H
#define PTQ_GPU_KERNELS_HIST_H

#include <stdint.h>

#include "lib/gpu/dev.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(hidden)

enum {
    PTQ_K_HIST_SHIFT = 14, /* float bits >> this: the bin, sign first */
    PTQ_K_HIST_BINS = 512, /* of an octave */
    PTQ_K_HIST_OCTAVES = 512,
    PTQ_K_HIST_PART = 2048, /* values that one thread, or one warp, takes at a time, at most */
};

/* Extremes are kept as integers in the order of the floats, so that "nothing yet" is 0 for both:
 * `max` that integer of the largest value, `min` the complement of that of the smallest. */
typedef struct ptq_k_extremes {
    uint32_t max, min;
} ptq_k_extremes;

/* Of one sample. Finite values are those that are left. */
typedef struct ptq_k_hist_sample {
    ptq_k_extremes finite;
    uint32_t nan, pos_inf, neg_inf;
} ptq_k_hist_sample;

typedef struct ptq_k_hist_head {
    unsigned long long zeros;                 /* in no bin */
    uint32_t octaves[PTQ_K_HIST_OCTAVES / 32]; /* bit: the octave has counts */
} ptq_k_hist_head;

/* Adds the dense values [samples][outer][channels][inner]. A run of `inner` values is cut into `parts`
 * of `part` values, the last one of fewer. */
typedef struct ptq_k_hist {
    const float *x;
    int64_t samples, outer, channels, inner, parts, part;
    ptq_k_hist_head *head;
    uint32_t *counts;          /* [PTQ_K_HIST_OCTAVES][PTQ_K_HIST_BINS] */
    ptq_k_extremes *channel;   /* [channels] or NULL */
    ptq_k_hist_sample *sample; /* [samples] */
} ptq_k_hist;
ptq_status ptq_k_run_hist(ptq_dev *d, const ptq_k_hist *a);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
