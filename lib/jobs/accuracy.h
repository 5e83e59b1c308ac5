/* SPDX-License-Identifier: Apache-2.0 */
/* Accuracy of one or two models on labelled samples, batch by batch. */
#ifndef PTQ_JOBS_ACCURACY_H
#define PTQ_JOBS_ACCURACY_H

#include "lib/jobs/loop.h"
#include "lib/report/metrics.h"
#include "lib/report/report.h"

/* Second model's output against the first's. */
typedef struct ptq_output_distance {
    ptq_dtype dtype;
    ptq_distance d;    /* of float32 */
    uint64_t n, equal; /* of other types: values, and those that are the same */
} ptq_output_distance;

/* What is known about the task from the first float32 output, which holds the scores, and the labels. */
typedef struct ptq_accuracy {
    size_t nmodels;
    bool labelled, tokens; /* tokens: several labels for each sample */
    int64_t classes;
    double samples;
    double n;                          /* rows of logits: samples, or tokens */
    double top1[PTQ_LOOP_MODELS], top5[PTQ_LOOP_MODELS];
    double gained, lost;               /* top-1: only the second (first) model right */
    double agree;                      /* same first choice */
    double nats[PTQ_LOOP_MODELS];      /* sum of cross-entropies */
    double seqs, diff, diff2;          /* per sample mean nats of second minus first */
    ptq_output_distance *out;          /* [nout]; from here on each process has its own */
    size_t nout;
} ptq_accuracy;

/* What a team hands on: *nparts of at most PTQ_LOOP_PARTS. Models have that many outputs. */
ptq_status ptq_accuracy_parts(ptq_accuracy *a, size_t noutputs, ptq_part *parts, size_t *nparts);
/* Adds a batch; labels are read from `samples`. */
ptq_status ptq_accuracy_add(ptq_accuracy *a, const ptq_samples *samples, const ptq_batch *b);
void ptq_accuracy_clear(ptq_accuracy *a);
/* obj gets {"n", "top1": {...}, "top5": ..., "nats": ...} for model m. */
ptq_status ptq_accuracy_json(const ptq_accuracy *a, size_t m, json_t *obj);
/* o gets "sqnr_db" (null and "identical" where there is no noise), "cosine", "max_abs", "nonfinite". */
ptq_status ptq_distance_json(const ptq_distance *d, json_t *o);

#endif
