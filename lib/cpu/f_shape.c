/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that make constants or read shapes, and CumSum. */
#include "lib/cpu/fkernel.h"

#define ROW(symbol, op)                                                                            \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run};

static ptq_status shape_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0];
    int64_t start = ptq_attr_int(r->step->node, "start", 0);
    int64_t end = ptq_attr_int(r->step->node, "end", x->rank), *y = r->out[0].data;
    (void)c;
    start = start < 0 ? start + x->rank : start;
    end = end < 0 ? end + x->rank : end;
    start = start < 0 ? 0 : start;
    end = end > x->rank ? x->rank : end;
    for (int64_t i = start; i < end; i++)
        *y++ = x->dims[i];
    return PTQ_OK;
}
ROW(shape, "Shape")

static ptq_status size_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    *(int64_t *)r->out[0].data = ptq_tensor_elements(r->in[0]);
    return PTQ_OK;
}
ROW(size, "Size")

static ptq_status constant_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_node *n = r->step->node;
    const ptq_attr *a = n->nattrs ? &n->attrs[0] : NULL;
    const void *src = NULL;
    (void)c;
    if (a && a->tensor)
        src = a->tensor->data;
    else if (a && a->type == PTQ_ATTR_FLOAT)
        src = &a->f;
    else if (a && a->type == PTQ_ATTR_INT)
        src = &a->i;
    else if (a && a->type == PTQ_ATTR_FLOATS)
        src = a->floats;
    else if (a && a->type == PTQ_ATTR_INTS)
        src = a->ints;
    if (!src)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: this kind of Constant is not supported",
                        r->step->name);
    memcpy(r->out[0].data, src, r->out[0].nbytes);
    return PTQ_OK;
}
ROW(constant, "Constant")

static ptq_status constant_of_shape_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_attr *a = ptq_attr_find(r->step->node, "value");
    const ptq_tensor *y = &r->out[0];
    size_t e = ptq_elem_bytes(y->dtype);
    static const float zero = 0.0f;
    const char *v = a && a->tensor && ptq_tensor_elements(a->tensor) > 0
                        ? a->tensor->data
                        : (const void *)&zero;
    (void)c;
    for (size_t i = 0; i + e <= y->nbytes; i += e)
        memcpy((char *)y->data + i, v, e);
    return PTQ_OK;
}
ROW(constant_of_shape, "ConstantOfShape")

enum { NUMBERS = PTQ_TAKES_FLOATS | PTQ_TAKES_S64 | PTQ_TAKES(PTQ_DT_S32) };

/* ---- Range ---- */

/* The number of elements is known before only for integers. */
static ptq_status range_out(const ptq_step_run *r, double count)
{
    int64_t n = count > 0 ? (int64_t)ceil(count) : 0;
    if (!(count < 0x1p40))
        return ptq_fail(PTQ_ERR_DATA, "node %s: Range has no end", r->step->name);
    return r->out[0].data ? PTQ_OK : ptq_cpu_out(r, 0, 1, &n);
}

#define RANGE(T)                                                                                   \
    {                                                                                              \
        T s = *(const T *)r->in[0]->data, e = *(const T *)r->in[1]->data,                          \
          d = *(const T *)r->in[2]->data;                                                          \
        PTQ_TRY(range_out(r, ((double)e - (double)s) / (double)d));                                \
        T *y = r->out[0].data;                                                                     \
        for (int64_t i = 0; i < ptq_tensor_elements(&r->out[0]); i++)                              \
            y[i] = s + (T)i * d;                                                                   \
        return PTQ_OK;                                                                             \
    }

static ptq_status range_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    switch (r->in[0]->dtype) {
    case PTQ_DT_S64: RANGE(int64_t)
    case PTQ_DT_S32: RANGE(int32_t)
    case PTQ_DT_F32: RANGE(float)
    case PTQ_DT_F64: RANGE(double)
    default:
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: Range of %s is not supported", r->step->name,
                        ptq_dtype_name(r->in[0]->dtype));
    }
}
extern const ptq_cpu_kernel ptq_cpu_f_range;
const ptq_cpu_kernel ptq_cpu_f_range = {
    .name = "Range", .takes = NUMBERS, .run = range_run, .finds_shape = true};

/* ---- CumSum ---- */

#define CUMSUM(T)                                                                                  \
    for (int64_t o = 0; o < outer; o++)                                                            \
        for (int64_t j = 0; j < inner; j++) {                                                      \
            const T *x = (const T *)r->in[0]->data + o * n * inner + j;                            \
            T *y = (T *)r->out[0].data + o * n * inner + j, sum = 0;                               \
            for (int64_t i = 0; i < n; i++) {                                                      \
                int64_t k = (reverse ? n - 1 - i : i) * inner;                                     \
                T v = x[k];                                                                        \
                y[k] = exclusive ? sum : sum + v;                                                  \
                sum += v;                                                                          \
            }                                                                                      \
        }

static ptq_status cumsum_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *t = r->in[0];
    bool reverse = ptq_attr_int(r->step->node, "reverse", 0) != 0;
    bool exclusive = ptq_attr_int(r->step->node, "exclusive", 0) != 0;
    int64_t a;
    int count;
    (void)c;
    if (!ptq_ints_of(r->in[1], &a, 1, &count) || count != 1 || a < -t->rank || a >= t->rank)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: the axis of CumSum is outside of rank %d",
                        r->step->name, t->rank);
    int axis = ptq_axis(a, t->rank);
    int64_t n = t->dims[axis], outer = ptq_product(t->dims, 0, axis);
    int64_t inner = ptq_product(t->dims, axis + 1, t->rank);
    switch (t->dtype) {
    case PTQ_DT_F32: CUMSUM(float) break;
    case PTQ_DT_F64: CUMSUM(double) break;
    case PTQ_DT_S64: CUMSUM(int64_t) break;
    case PTQ_DT_S32: CUMSUM(int32_t) break;
    default:
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: CumSum of %s is not supported", r->step->name,
                        ptq_dtype_name(t->dtype));
    }
    return PTQ_OK;
}
extern const ptq_cpu_kernel ptq_cpu_f_cumsum;
const ptq_cpu_kernel ptq_cpu_f_cumsum = {.name = "CumSum", .takes = (unsigned)NUMBERS | PTQ_TAKES_MODULO, .keep_in = 2,
                                         .run = cumsum_run};
