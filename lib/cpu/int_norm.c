/* SPDX-License-Identifier: Apache-2.0 */
/* qnorm: the rows of LayerNormalization, quantized while they lie in the cache. */
#include "lib/cpu/fkernel.h"

static ptq_status run_norm(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_qnorm_params *p = r->step->params;
    const ptq_norm_codes q = {p->y, p->qlo, p->qhi, r->out[0].data};
    return ptq_cpu_layer_norm(c, r, r->step->out[1] >= 0 ? r->out[1].data : NULL, NULL, NULL, &q);
}

extern const ptq_cpu_kernel ptq_cpu_int_qnorm;
const ptq_cpu_kernel ptq_cpu_int_qnorm = {.name = "qnorm", .supports = ptq_supports_f32, .run = run_norm};
