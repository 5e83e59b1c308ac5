/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluates single nodes on the CPU: constants at lowering, lookup tables. */
#ifndef PTQ_EXEC_EVAL_H
#define PTQ_EXEC_EVAL_H

#include "lib/exec/backend.h"

typedef struct ptq_evaluator ptq_evaluator;
ptq_status ptq_evaluator_new(ptq_evaluator **out);
void ptq_evaluator_free(ptq_evaluator *e);
/* in[i] NULL where omitted. out[i]: allocated, owned by the caller; entries of unused outputs
 * keep data NULL. PTQ_ERR_UNSUPPORTED when there is no kernel. */
ptq_status ptq_evaluate(ptq_evaluator *e, const ptq_node *n, int opset,
                        const ptq_tensor *const *in, ptq_tensor *out);

/* ---- quant_node.c ---- */

/* A QuantizeLinear or DequantizeLinear node as a step. `step` NULL: it is something else, or its
 * parameters are no constants of a supported form (block-wise, 4-bit, float16). */
typedef struct ptq_quant_node {
    const char *step;
    const ptq_quant_params *params;
    ptq_dtype ytype;
} ptq_quant_node;
ptq_status ptq_quant_node_read(ptq_arena *a, const ptq_node *n, int rank, ptq_dtype xtype,
                               const ptq_tensor *scale, const ptq_tensor *zp, ptq_quant_node *out);
void ptq_dtype_range(ptq_dtype t, int32_t *lo, int32_t *hi);

#endif
