/* SPDX-License-Identifier: Apache-2.0 */
/* What a consumer of the quantized model can run: one record per target, rows in targets.def. */
#ifndef PTQ_QUANT_TARGET_H
#define PTQ_QUANT_TARGET_H

#include "lib/core/core.h"

typedef struct ptq_target {
    const char *name, *summary;
    ptq_dtype act;        /* default activation type */
    bool act_symmetric;   /* default: zero point in the middle (0 for int8) */
    bool zero_points;     /* zero points other than 0 may be used at all */
    bool u8;              /* uint8 activations may be used */
    bool bias_int32;      /* bias as int32 at scale sx*sw; false: bias stays float */
    bool qoperator;       /* may be written in QOperator form (com.microsoft operators) */
    bool residual_float;  /* residual Add: only the skip input is quantized, the convolution
                             branch joins in float (fused into the convolution's epilogue) */
} ptq_target;

/* PTQ_ERR_ARG with a suggestion when there is no such target. */
ptq_status ptq_target_find(const char *name, const ptq_target **out);
size_t ptq_target_count(void);
const ptq_target *ptq_target_at(size_t i);

#endif
