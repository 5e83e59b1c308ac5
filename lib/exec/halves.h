/* SPDX-License-Identifier: Apache-2.0 */
/* What a backend has in float16: products of floats, and with fast math float values between steps. */
#ifndef PTQ_EXEC_HALVES_H
#define PTQ_EXEC_HALVES_H

#include "lib/exec/executable.h"

/* Makes float16 of every float32 value that is made by a kernel which can write it so and read by kernels alone
 * which can read it so (`halves` of the backend), views between them included. Inputs, outputs, constants and
 * values that `keep` names stay as they are. Asked after it is known which steps run on the host. */
ptq_status ptq_halves_mark(ptq_executable *e, const ptq_lower_options *opt);
/* Sets `half` of the float steps whose kernels multiply in float16 (`half_product` of the backend), with half_products. */
void ptq_half_products_mark(ptq_executable *e);

#endif
