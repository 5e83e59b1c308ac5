/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/cpu/fkernel.h"

bool ptq_inputs_are(const ptq_program *p, const ptq_step *s, int first, int n, ptq_dtype t)
{
    for (int i = first; i < first + n && i < s->nin; i++)
        if (s->in[i] >= 0 && p->values.v[s->in[i]].dtype != t)
            return false;
    return true;
}

bool ptq_supports_f32(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (ptq_inputs_are(p, s, 0, s->nin, PTQ_DT_F32))
        return true;
    if (why)
        *why = "only float32 is supported";
    return false;
}

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
    *o = p->graph ? p->graph->opset : 0;
    /* operators of com.microsoft do not change */
    if (s->node && s->node->domain[0])
        *o = 1 << 20;
    *state = o;
    return PTQ_OK;
}
