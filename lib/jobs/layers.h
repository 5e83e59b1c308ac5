/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_JOBS_LAYERS_H
#define PTQ_JOBS_LAYERS_H

#include "lib/jobs/jobs.h"
#include "lib/report/metrics.h"

/* How far a quantized tensor of the candidate is from the same tensor of the reference. */
typedef struct ptq_layer_distance {
    const char *name;      /* of the tensor in the reference; borrowed from its graph */
    const char *node;      /* that makes it in the reference, or "" */
    ptq_distance entire;   /* candidate run from its own inputs: errors accumulate */
    ptq_distance single;   /* layer alone, fed with the reference's values; n == 0: not measured */
} ptq_layer_distance;

/* Over the first `nsamples` samples; *out is malloc'ed (free()), in execution order. */
ptq_status ptq_layer_distances(const ptq_model *ref, const ptq_model *cand, const ptq_samples *samples,
                               const ptq_loop_options *opt, size_t nsamples, ptq_layer_distance **out,
                               size_t *n);

#endif
