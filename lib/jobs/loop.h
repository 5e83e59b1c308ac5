/* SPDX-License-Identifier: Apache-2.0 */
/* One loop over data for every job that runs models: one or two models see the same batches. A team deals the
 * batches out, and calls fn in their order, on the sum so far (lib/core/team.h). */
#ifndef PTQ_JOBS_LOOP_H
#define PTQ_JOBS_LOOP_H

#include "lib/core/team.h"
#include "lib/jobs/jobs.h"

enum { PTQ_LOOP_MODELS = 2, PTQ_LOOP_PARTS = 2 };

typedef struct ptq_loop ptq_loop;

/* A batch that every model has run. outputs[m] has the outputs of model m. */
typedef struct ptq_batch {
    const size_t *index; /* samples in it */
    size_t n;
    const ptq_tensor *inputs;
    const ptq_tensor *outputs[PTQ_LOOP_MODELS];
    size_t noutputs;
    bool joined; /* n samples along axis 0; false: n == 1 and the tensors are the sample's own */
} ptq_batch;
typedef ptq_status (*ptq_batch_fn)(void *ctx, const ptq_batch *b);

typedef struct ptq_loop_spec {
    const ptq_model *models[PTQ_LOOP_MODELS]; /* fast_math and precision are for the last */
    size_t nmodels;
    const ptq_samples *samples;
    const ptq_loop_options *opt;
    const char *what; /* for progress */
    ptq_batch_fn fn;
    void *ctx;
    const ptq_part *parts; /* what fn adds to: bytes that mean the same in every process */
    size_t nparts;
} ptq_loop_spec;

ptq_status ptq_loop_run(const ptq_loop_spec *spec);

/* Values of output k for the sample at position i of the batch: pointer and count. */
const float *ptq_batch_row(const ptq_batch *b, size_t model, size_t output, size_t i, size_t *n);

#endif
