/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a quantized model is sane: its scales and zero points, and its integer run. */
#ifndef PTQ_JOBS_CHECK_H
#define PTQ_JOBS_CHECK_H

#include "lib/jobs/jobs.h"
#include "lib/report/report.h"

/* root gets "scales", how many there are, and "problems" of scales, zero points and biases. */
ptq_status ptq_check_params(const ptq_graph *g, json_t *root);

/* root gets "simulation": the integer run of `m` against the run of its Q/DQ nodes in float on the
 * CPU, over the first `n` readable samples; {"reason"} alone where it cannot be simulated. */
ptq_status ptq_check_run(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt, size_t n,
                         json_t *root);

#endif
