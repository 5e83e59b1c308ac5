/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/args.h"

bool ptq_ints_of(const ptq_tensor *t, int64_t *v, int max, int *n)
{
    int64_t count = ptq_tensor_elements(t);
    if (count > max || (t->dtype != PTQ_DT_S64 && t->dtype != PTQ_DT_S32))
        return false;
    for (int64_t i = 0; i < count; i++)
        v[i] = t->dtype == PTQ_DT_S64 ? ((const int64_t *)t->data)[i]
                                      : ((const int32_t *)t->data)[i];
    *n = (int)count;
    return true;
}

ptq_status ptq_bad_args(const ptq_step_run *r)
{
    return ptq_fail(PTQ_ERR_MODEL, "node %s: the arguments of %s do not fit its input",
                    r->step->name, r->step->node->op);
}
