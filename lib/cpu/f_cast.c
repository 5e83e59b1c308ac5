/* SPDX-License-Identifier: Apache-2.0 */
/* Cast between numbers and bool: the law of cast.h. */
#include "lib/core/cast.h"
#include "lib/cpu/fkernel.h"

typedef struct cast_ctx {
    ptq_dtype from, to;
    const void *x;
    void *y;
} cast_ctx;

static void cast_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const cast_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++)
        ptq_number_store(v->to, v->y, i, ptq_number_load(v->from, v->x, i), v->from == PTQ_DT_U64);
}

static ptq_status cast_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    if (!ptq_castable(x->dtype) || !ptq_castable(y->dtype))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: Cast from %s to %s is not supported",
                        r->step->name, ptq_dtype_name(x->dtype), ptq_dtype_name(y->dtype));
    if (x->dtype == y->dtype) {
        memcpy(y->data, x->data, x->nbytes);
        return PTQ_OK;
    }
    cast_ctx v = {x->dtype, y->dtype, x->data, y->data};
    return ptq_cpu_ranges(c, ptq_tensor_elements(x), 8192, cast_part, &v);
}

extern const ptq_cpu_kernel ptq_cpu_f_cast;
const ptq_cpu_kernel ptq_cpu_f_cast = {.name = "Cast", .run = cast_run};
