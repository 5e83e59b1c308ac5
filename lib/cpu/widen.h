/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a kernel on tensors of types that it has no loops for: inputs are converted to a type that
 * holds all their values, outputs back (floats rounded, integers modulo their size). float64 is
 * computed in float32 where there are no loops in double. */
#ifndef PTQ_CPU_WIDEN_H
#define PTQ_CPU_WIDEN_H

#include "lib/cpu/cpu.h"

/* Is every tensor of the step of a type that the kernel takes or that widens to one? */
bool ptq_widen_supports(const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s, const char **why);
/* Is any input of the step converted? */
bool ptq_widen_any(const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s);
/* Constant inputs that are to be converted, converted once: [nin], without data where there is nothing
 * to do; NULL when that is all of them. Freed with ptq_widen_free. */
ptq_status ptq_widen_constants(ptq_cpu *c, const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s,
                               ptq_tensor **out);
void ptq_widen_free(const ptq_step *s, ptq_tensor *wide);
/* prepare() of the kernel on the converted constants; without them (wide NULL) it is shown none that
 * will be converted. */
ptq_status ptq_widen_prepare(ptq_cpu *c, const ptq_cpu_kernel *k, const ptq_program *p, const ptq_step *s,
                             const ptq_tensor *wide, void **state);
ptq_status ptq_widen_run(ptq_cpu *c, const ptq_cpu_kernel *k, const ptq_step_run *r, const ptq_tensor *wide);

#endif
