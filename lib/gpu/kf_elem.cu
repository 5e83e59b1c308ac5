/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise functions, comparisons, Where and Cast: one element per thread. */
#include "lib/core/cast.h"
#include "lib/gpu/kf.h"

PTQ_DEVICE float unary_of(int op, float v, float p0, float p1)
{
    switch (op) {
#define PTQ_UNARY(name, expr)                                                                      \
    case PTQ_KF_UNARY_##name: return expr;
#include "lib/gpu/functions.def"
    default: return v;
    }
}

PTQ_DEVICE float binary_of(int op, float u, float v)
{
    switch (op) {
#define PTQ_BINARY(name, expr)                                                                     \
    case PTQ_KF_BINARY_##name: return expr;
#include "lib/gpu/functions.def"
    default: return u;
    }
}

PTQ_DEVICE int compare_floats(int op, float u, float v)
{
    switch (op) {
#define PTQ_COMPARE(name, expr)                                                                    \
    case PTQ_KF_COMPARE_##name: return expr;
#include "lib/gpu/functions.def"
    default: return 0;
    }
}

PTQ_DEVICE int compare_ints(int op, int64_t u, int64_t v)
{
    switch (op) {
#define PTQ_COMPARE(name, expr)                                                                    \
    case PTQ_KF_COMPARE_##name: return expr;
#define PTQ_LOGIC(name, expr)                                                                      \
    case PTQ_KF_COMPARE_##name: return expr;
#include "lib/gpu/functions.def"
    default: return 0;
    }
}

PTQ_KERNEL(unary, ptq_kf_unary a)
{
    PTQ_EACH(i, a.n)
    {
        a.y[i] = ptq_kf_clamp(&a.act, unary_of(a.op, a.x[i], a.p0, a.p1));
    }
}

ptq_status ptq_kf_run_unary(ptq_dev *d, const ptq_kf_unary *a)
{
    return PTQ_LAUNCH(d, unary, a->n, *a);
}

PTQ_KERNEL(binary, ptq_kf_binary a)
{
    PTQ_EACH(i, a.n)
    {
        int64_t at[2];
        ptq_kf_locate(&a.w, i, 2, at);
        a.y[i] = ptq_kf_clamp(&a.act, binary_of(a.op, a.a[at[0]], a.b[at[1]]));
    }
}

ptq_status ptq_kf_run_binary(ptq_dev *d, const ptq_kf_binary *a)
{
    return PTQ_LAUNCH(d, binary, a->n, *a);
}

PTQ_KERNEL(compare, ptq_kf_compare a)
{
    PTQ_EACH(i, a.n)
    {
        int64_t at[2];
        ptq_kf_locate(&a.w, i, 2, at);
        if (a.dtype == PTQ_DT_F32)
            a.y[i] = (uint8_t)compare_floats(a.op, ((const float *)a.a)[at[0]], ((const float *)a.b)[at[1]]);
        else if (a.dtype == PTQ_DT_BOOL) /* as the bytes they are, like u8 */
            a.y[i] = (uint8_t)compare_ints(a.op, ((const uint8_t *)a.a)[at[0]], ((const uint8_t *)a.b)[at[1]]);
        else
            a.y[i] = (uint8_t)compare_ints(a.op, ptq_number_load(a.dtype, a.a, at[0]).i,
                                           ptq_number_load(a.dtype, a.b, at[1]).i);
    }
}

ptq_status ptq_kf_run_compare(ptq_dev *d, const ptq_kf_compare *a)
{
    return PTQ_LAUNCH(d, compare, a->n, *a);
}

PTQ_KERNEL(where, ptq_kf_where a)
{
    PTQ_EACH(i, a.n)
    {
        int64_t at[3];
        ptq_kf_locate(&a.w, i, 3, at);
        if (a.cond[at[0]])
            ptq_kf_copy(a.y, i, a.a, at[1], a.bytes);
        else
            ptq_kf_copy(a.y, i, a.b, at[2], a.bytes);
    }
}

ptq_status ptq_kf_run_where(ptq_dev *d, const ptq_kf_where *a)
{
    return PTQ_LAUNCH(d, where, a->n, *a);
}

PTQ_KERNEL(cast, ptq_kf_cast a)
{
    PTQ_EACH(i, a.n)
    {
        ptq_number_store(a.to, a.y, i, ptq_number_load(a.from, a.x, i), a.from == PTQ_DT_U64);
    }
}

ptq_status ptq_kf_run_cast(ptq_dev *d, const ptq_kf_cast *a)
{
    return PTQ_LAUNCH(d, cast, a->n, *a);
}

PTQ_KERNEL(logical_not, ptq_kf_cast a)
{
    PTQ_EACH(i, a.n)
    {
        ((uint8_t *)a.y)[i] = ((const uint8_t *)a.x)[i] == 0;
    }
}

ptq_status ptq_kf_run_not(ptq_dev *d, const ptq_kf_cast *a)
{
    return PTQ_LAUNCH(d, logical_not, a->n, *a);
}
