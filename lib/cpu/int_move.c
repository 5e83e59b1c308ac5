/* SPDX-License-Identifier: Apache-2.0 */
/* qmove: the float kernel of the anchor's operator, which moves elements of any size. */
#include "lib/cpu/int.h"
#include "lib/cpu/widen.h"

static const ptq_cpu_kernel *mover(const ptq_step *s)
{
    return ptq_cpu_kernel_float(s->node->op, s->node->domain);
}

static bool supports(const ptq_program *p, const ptq_step *s, const char **why)
{
    const ptq_cpu_kernel *k = mover(s);
    if (!k) {
        *why = "no kernel moves data for this operator";
        return false;
    }
    return !k->supports || k->supports(p, s, why);
}

static ptq_status prepare(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **out)
{
    const ptq_cpu_kernel *k = mover(s);
    if (k->release && k->prepare) /* the runner would release it by this row's rule */
        return ptq_fail(PTQ_ERR_INTERNAL, "node %s: the kernel of %s keeps a state", s->name, s->node->op);
    return k->prepare ? k->prepare(c, p, s, out) : PTQ_OK;
}

static ptq_status run(ptq_cpu *c, const ptq_step_run *r)
{
    return ptq_widen_run(c, mover(r->step), r, NULL);
}

extern const ptq_cpu_kernel ptq_cpu_int_qmove;
const ptq_cpu_kernel ptq_cpu_int_qmove = {
    .name = "qmove", .supports = supports, .prepare = prepare, .run = run};
