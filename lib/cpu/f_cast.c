/* SPDX-License-Identifier: Apache-2.0 */
/* Cast between numbers and bool: the law of cast.h and small.h. */
#include "lib/core/small.h"
#include "lib/cpu/fkernel.h"

typedef struct cast_ctx {
    ptq_dtype from, to;
    const void *x;
    void *y;
    bool saturate; /* small floats */
} cast_ctx;

static void cast_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const cast_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++)
        ptq_number_store(v->to, v->y, i, ptq_number_load(v->from, v->x, i), v->from == PTQ_DT_U64);
}

static void small_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const cast_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++)
        ptq_any_store(v->to, v->y, i, ptq_any_load(v->from, v->x, i), v->from == PTQ_DT_U64, v->saturate);
}

static ptq_status cast_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    int64_t n = ptq_tensor_elements(x);
    if (x->dtype == y->dtype) {
        memcpy(y->data, x->data, x->nbytes);
        return PTQ_OK;
    }
    if (!ptq_convertible(x->dtype) || !ptq_convertible(y->dtype))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: Cast from %s to %s is not supported",
                        r->step->name, ptq_dtype_name(x->dtype), ptq_dtype_name(y->dtype));
    cast_ctx v = {x->dtype, y->dtype, x->data, y->data, ptq_attr_int(r->step->node, "saturate", 1) != 0};
    if (ptq_castable(x->dtype) && ptq_castable(y->dtype))
        return ptq_cpu_ranges(c, n, 8192, cast_part, &v);
    small_part(&v, 0, n, 0); /* neighbours may share a byte: one thread */
    return PTQ_OK;
}

extern const ptq_cpu_kernel ptq_cpu_f_cast;
const ptq_cpu_kernel ptq_cpu_f_cast = {.name = "Cast", .run = cast_run};
