/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the rewriter. */
#ifndef PTQ_QUANT_REWRITE_IMPL_H
#define PTQ_QUANT_REWRITE_IMPL_H

#include "lib/quant/rewrite.h"

typedef struct ptq_rewriter {
    ptq_graph *g;
    const ptq_placement *p;
    const ptq_act_params *params;
    const ptq_rewrite_options *opt;
    ptq_rewrite_report *report;
    const ptq_weight_algo *algo;
    struct ptq_written *written; /* by value id: weights already written, for nodes that share one */
} ptq_rewriter;

/* A weight that has been written: its real values as a graph value. */
typedef struct ptq_written {
    ptq_value *real; /* output of DequantizeLinear or of the table */
    int axis;
} ptq_written;

/* NAME and the suffix, unique. The data is borrowed unless copy. */
ptq_status ptq_emit_constant(ptq_graph *g, const char *base, const char *suffix, ptq_dtype dtype, int rank,
                             const int64_t *dims, const void *data, bool copy, ptq_value **out);
/* y = DequantizeLinear(x, scale, zp) before `before`; axis is set when >= 0. */
ptq_status ptq_emit_dq(ptq_graph *g, const char *base, ptq_value *x, ptq_value *scale, ptq_value *zp,
                       int axis, ptq_node *before, ptq_value **out);
/* op(a) or op(a, b) before `before`; node and output are called NAME and the suffix. b may be NULL. */
ptq_status ptq_emit_op(ptq_graph *g, const char *op, const char *base, const char *suffix, ptq_value *a,
                       ptq_value *b, ptq_dtype dtype, ptq_node *before, ptq_node **out);
/* Weight (and bias) of a weighted node whose data input has scale sx. */
ptq_status ptq_rewrite_weight(ptq_rewriter *r, ptq_node *n, float sx);
/* A constant operand of Add, Mul, ... per tensor. */
ptq_status ptq_rewrite_operand(ptq_rewriter *r, ptq_node *n, int slot);

#endif
