/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs that are made up, for measuring: what an engine is tuned on and timed with. */
#include <string.h>

#include "lib/jobs/engine.h"

/* Rows of the table that an input is looked up in; 0: none. */
static int64_t table_rows(const ptq_value *v)
{
    int64_t rows = 0;
    for (size_t i = 0; i < v->uses.n; i++) {
        const ptq_node *n = v->uses.v[i].node;
        if (strcmp(n->op, "Gather") != 0 || v->uses.v[i].slot != 1)
            continue;
        const ptq_shape *s = &n->in[0]->shape;
        int64_t axis = ptq_attr_int(n, "axis", 0);
        axis += axis < 0 && s->rank > 0 ? s->rank : 0;
        bool known = axis >= 0 && axis < s->rank && ptq_dim_known(s->dims[axis]);
        int64_t here = known ? s->dims[axis].add : 1;
        rows = rows == 0 || here < rows ? here : rows;
    }
    return rows;
}

void ptq_noise(const ptq_value *v, int32_t other, ptq_tensor *t)
{
    ptq_rng r;
    int64_t rows = table_rows(v), n = ptq_tensor_elements(t);
    ptq_rng_seed(&r, 7);
    memset(t->data, 0, t->nbytes);
    for (int64_t i = 0; i < n; i++) {
        int32_t index = rows > 0 ? (int32_t)ptq_rng_below(&r, (uint32_t)(rows < INT32_MAX ? rows : INT32_MAX)) : other;
        if (t->dtype == PTQ_DT_F32)
            ((float *)t->data)[i] = ptq_rng_normal(&r);
        else if (t->dtype == PTQ_DT_S64)
            ((int64_t *)t->data)[i] = index;
        else if (t->dtype == PTQ_DT_S32)
            ((int32_t *)t->data)[i] = index;
        else if (t->dtype == PTQ_DT_U8 || t->dtype == PTQ_DT_S8)
            ((uint8_t *)t->data)[i] = (uint8_t)ptq_rng_u64(&r);
    }
}
