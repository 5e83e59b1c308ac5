/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/cpu/fkernel.h"

ptq_status ptq_bad_type(const ptq_step_run *r, ptq_dtype t)
{
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: %s on %s is not supported", r->step->name,
                    r->step->node->op, ptq_dtype_name(t));
}

ptq_status ptq_prepare_opset(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **state)
{
    (void)c;
    int *o = malloc(sizeof *o);
    if (!o)
        return ptq_fail_nomem();
    *o = ptq_step_opset(p, s);
    *state = o;
    return PTQ_OK;
}
