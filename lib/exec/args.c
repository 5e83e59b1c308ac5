/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/args.h"

#include <string.h>

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

ptq_status ptq_give_copy(const ptq_step_run *r, int i, const ptq_tensor *t)
{
    ptq_tensor copy = *t;
    copy.data = ptq_alloc_aligned(t->nbytes);
    if (!copy.data)
        return ptq_fail_nomem();
    if (t->nbytes)
        memcpy(copy.data, t->data, t->nbytes);
    r->out[i] = copy;
    return PTQ_OK;
}

ptq_status ptq_bad_args(const ptq_step_run *r)
{
    return ptq_fail(PTQ_ERR_MODEL, "node %s: the arguments of %s do not fit its input",
                    r->step->name, r->step->node->op);
}
