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

#endif
