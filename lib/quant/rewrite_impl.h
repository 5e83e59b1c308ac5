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
    ptq_value **weight_dq; /* by value id: DequantizeLinear output of a weight already written */
    float **weight_scale;  /* by value id: its scales */
    int *weight_axis;
} ptq_rewriter;

/* NAME and the suffix, unique. */
ptq_status ptq_emit_constant(ptq_graph *g, const char *base, const char *suffix, ptq_dtype dtype, int rank,
                             const int64_t *dims, const void *data, ptq_value **out);
/* y = DequantizeLinear(x, scale, zp) before `before`; axis is set when >= 0. */
ptq_status ptq_emit_dq(ptq_graph *g, const char *base, ptq_value *x, ptq_value *scale, ptq_value *zp,
                       int axis, ptq_node *before, ptq_value **out);
/* 256 codes of the same type, indexed by the linear code's byte: the nearest power-of-two level. */
ptq_status ptq_log2_act_table(ptq_dtype dtype, int32_t zp, uint8_t table[256]);
/* Weight (and bias) of a weighted node whose data input has scale sx. */
ptq_status ptq_rewrite_weight(ptq_rewriter *r, ptq_node *n, float sx);
/* A constant operand of Add, Mul, ... per tensor. */
ptq_status ptq_rewrite_operand(ptq_rewriter *r, ptq_node *n, int slot);

#endif
