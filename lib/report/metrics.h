/* SPDX-License-Identifier: Apache-2.0 */
/* Figures: accuracy with intervals, distances between tensors. */
#ifndef PTQ_REPORT_METRICS_H
#define PTQ_REPORT_METRICS_H

#include "lib/core/core.h"

/* 95 % Wilson score interval of k successes in n (E. B. Wilson 1927), as shares. */
void ptq_wilson(double k, double n, double *lo, double *hi);

/* Paired difference of two shares over the same n samples: `gained` only the second was right,
 * `lost` only the first. 95 % normal interval of (gained - lost) / n with the variance of paired
 * outcomes, (gained + lost - (gained - lost)^2 / n) / n^2. */
void ptq_paired_interval(double gained, double lost, double n, double *diff, double *half);

/* Distance of a candidate from a reference, summed in double in the order given. */
typedef struct ptq_distance {
    double signal, noise, dot, cand2; /* sums of r^2, (r-c)^2, r*c, c^2 */
    double max_abs;
    uint64_t n, nonfinite; /* pairs with a NaN or infinity are counted and left out */
} ptq_distance;
void ptq_distance_add(ptq_distance *d, const float *ref, const float *cand, size_t n);
/* 10 log10(signal / noise); +inf for no noise, NaN for noise without a signal. */
double ptq_distance_sqnr(const ptq_distance *d);
double ptq_distance_cosine(const ptq_distance *d);

/* Rank of the label among the logits: 0 is top-1. Ties: the lower index wins. A label whose logit is
 * NaN comes after all: `classes`. */
int64_t ptq_label_rank(const float *logits, int64_t classes, int64_t label);
/* The largest that is a number; -1: none is. */
int64_t ptq_argmax(const float *logits, int64_t classes);
/* -log softmax(logits)[label], in double. */
double ptq_cross_entropy(const float *logits, int64_t classes, int64_t label);

#endif
