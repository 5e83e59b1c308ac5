/* SPDX-License-Identifier: Apache-2.0 */
/* Small things that the float kernels share. */
#ifndef PTQ_CPU_FKERNEL_H
#define PTQ_CPU_FKERNEL_H

#include <stdlib.h>
#include <string.h>

#include "lib/cpu/f32.h"
#include "lib/exec/args.h"

/* The activation fused behind a float step. */
static inline ptq_act ptq_step_act(const ptq_step *s)
{
    const ptq_float_params *p = s->params;
    return p ? p->act : (ptq_act){0};
}

/* Constant input of a step, or NULL. */
static inline const ptq_tensor *ptq_const_in(const ptq_program *p, const ptq_step *s, int i)
{
    return i < s->nin && s->in[i] >= 0 ? p->values.v[s->in[i]].constant : NULL;
}

/* Element types of a step's first `n` inputs (fewer when omitted) are all `t`. */
bool ptq_inputs_are(const ptq_program *p, const ptq_step *s, int first, int n, ptq_dtype t);
/* supports() of kernels that take only float32 inputs. */
bool ptq_supports_f32(const ptq_program *p, const ptq_step *s, const char **why);

/* The error of an operator without a loop for the type. */
ptq_status ptq_bad_type(const ptq_step_run *r, ptq_dtype t);

/* Keeps the opset for operators whose meaning changed: *state is an int. */
ptq_status ptq_prepare_opset(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **state);
static inline int ptq_state_opset(const ptq_step_run *r)
{
    return r->state ? *(const int *)r->state : 1 << 20;
}

#endif
