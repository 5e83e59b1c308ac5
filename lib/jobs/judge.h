/* SPDX-License-Identifier: Apache-2.0 */
/* The judge of auto: how far a decision's quantized output is from fp32 on kept samples. */
#ifndef PTQ_JOBS_JUDGE_H
#define PTQ_JOBS_JUDGE_H

#include "lib/jobs/quantize.h"

typedef struct ptq_judge ptq_judge;

/* Keeps every 8th sample by index (at most `limit`) and its fp32 outputs. */
ptq_status ptq_judge_new(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt,
                         size_t limit, ptq_judge **out);
void ptq_judge_free(ptq_judge *j);
size_t ptq_judge_samples(const ptq_judge *j);
/* Values of the kept fp32 outputs that are NaN or infinite; no decision is judged by them. */
uint64_t ptq_judge_nonfinite(const ptq_judge *j);

/* Noise-to-signal ratio of the outputs (mean over outputs of |y8 - y32|^2 / |y32|^2), over the
 * first `n` kept samples (0: all). Every call with the same spec. */
ptq_status ptq_judge_score(ptq_judge *j, const ptq_decision *d, const ptq_qspec *spec, size_t n, double *nsr);

/* 10 log10(1 / nsr). */
double ptq_judge_db(double nsr);

#endif
