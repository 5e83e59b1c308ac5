/* SPDX-License-Identifier: Apache-2.0 */
/* Small things that the float kernels share. */
#ifndef PTQ_CPU_FKERNEL_H
#define PTQ_CPU_FKERNEL_H

#include <stdlib.h>
#include <string.h>

#include "lib/cpu/f32.h"
#include "lib/exec/float_args.h"

/* The error of an operator without a loop for the type. */
ptq_status ptq_bad_type(const ptq_step_run *r, ptq_dtype t);

/* Keeps the opset for operators whose meaning changed: *state is an int. */
ptq_status ptq_prepare_opset(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **state);
static inline int ptq_state_opset(const ptq_step_run *r)
{
    return r->state ? *(const int *)r->state : 1 << 20;
}

/* ---- f_norm.c ---- */

typedef struct ptq_norm_codes { /* QuantizeLinear of a result, row by row */
    void (*quantize)(const struct ptq_norm_codes *c, const float *x, uint8_t *y, int64_t n);
    const ptq_qnorm_params *p;
    const void *ctx;
    uint8_t *out;
} ptq_norm_codes;
/* LayerNormalization; y, mean, rstd and codes may be NULL. */
ptq_status ptq_cpu_layer_norm(ptq_cpu *c, const ptq_step_run *r, float *y, float *mean, float *rstd,
                              const ptq_norm_codes *codes);

#endif
