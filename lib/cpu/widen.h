/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a kernel on tensors of types that it has no loops for: inputs are converted to a type that
 * holds all their values, outputs back (floats rounded, integers modulo their size). */
#ifndef PTQ_CPU_WIDEN_H
#define PTQ_CPU_WIDEN_H

#include "lib/cpu/cpu.h"

/* Is every tensor of the step of a type that the kernel takes or that widens to one? */
bool ptq_widen_supports(const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s, const char **why);
/* prepare() of the kernel; constants that will be converted are not shown to it. */
ptq_status ptq_widen_prepare(ptq_cpu *c, const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s,
                             void **state);
ptq_status ptq_widen_run(ptq_cpu *c, const ptq_cpu_kernel *k, const ptq_step_run *r);

#endif
