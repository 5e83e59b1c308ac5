/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_JOBS_LATENCY_H
#define PTQ_JOBS_LATENCY_H

#include "lib/jobs/jobs.h"

/* Median seconds of one run at batch 1 on sample 0, after warm-up, for about `seconds`. */
ptq_status ptq_latency(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt,
                       double seconds, double *median);

#endif
