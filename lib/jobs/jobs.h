/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs over the stages, behind the public headers: loops that own no state of their own. */
#ifndef PTQ_JOBS_JOBS_H
#define PTQ_JOBS_JOBS_H

#include <ptq/ptq.h>

#include "lib/calib/calibrate.h"
#include "lib/core/pool.h"
#include "lib/quant/rewrite.h"

struct ptq_model {
    ptq_graph *graph;
    char *path;         /* "" for memory */
    char sha256[65];    /* "" for memory */
    size_t file_bytes;  /* of the file as loaded or saved; 0: not known */
    int opset, nodes;   /* of the file */
    bool optimized;
};

/* Takes over the graph; frees it on failure too. */
ptq_status ptq_model_wrap(ptq_graph *g, ptq_model **out);

/* Bytes the model takes as a file (constants and nodes), for the size line of a comparison. */
ptq_status ptq_model_bytes(const ptq_model *m, size_t *out);

/* PTQ_ERR_ARG for samples that cannot be read, and for loop options without their INIT. */
ptq_status ptq_check_loop(const ptq_samples *s, const ptq_loop_options *opt);

/* View of public samples as the source of the loops. */
ptq_sample_source ptq_source_of(const ptq_samples *s);

/* Which float tensors any target would give a scale (by value id; malloc'ed, free()). */
ptq_status ptq_observed_values(const ptq_graph *g, bool **out);

/* Already quantized? Has QuantizeLinear, QLinear or MatMulInteger-like nodes. */
bool ptq_graph_is_quantized(const ptq_graph *g);

#endif
