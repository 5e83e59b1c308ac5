/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear, DequantizeLinear, elementwise QLinear operators. */
#include "lib/graph/infer.h"

/* A scale or zero point: one element, or one for each index of the axis. */
static ptq_status check_param(const ptq_infer *in, int slot)
{
    const ptq_shape *x = &in->in[0].shape, *p = &in->in[slot].shape;
    if (x->rank < 0 || p->rank < 0 || p->rank > 1)
        return PTQ_OK; /* rank above 1: blocked quantization of opset 21 */
    if (p->rank == 0 || (ptq_dim_known(p->dims[0]) && p->dims[0].add == 1))
        return PTQ_OK;
    int axis;
    ptq_dim d;
    PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", 1), x->rank, &axis));
    if (!ptq_dim_merge(p->dims[0], x->dims[axis], &d))
        return ptq_infer_fail(in, "input %d has %lld elements, dimension %d has %lld", slot,
                              (long long)p->dims[0].add, axis, (long long)x->dims[axis].add);
    return PTQ_OK;
}

static ptq_status check_params(const ptq_infer *in)
{
    PTQ_TRY(check_param(in, 1));
    return ptq_infer_has(in, 2) ? check_param(in, 2) : PTQ_OK;
}

ptq_status ptq_infer_quantize(ptq_infer *in)
{
    int64_t given = ptq_attr_int(in->node, "output_dtype", 0);
    ptq_dtype t = PTQ_DT_U8;
    PTQ_TRY(check_params(in));
    if (ptq_infer_has(in, 2))
        t = in->in[2].dtype;
    else if (given > 0 && given < PTQ_DT_COUNT)
        t = (ptq_dtype)given;
    ptq_infer_set(in, 0, t, &in->in[0].shape);
    return PTQ_OK;
}

ptq_status ptq_infer_dequantize(ptq_infer *in)
{
    PTQ_TRY(check_params(in));
    int64_t given = ptq_attr_int(in->node, "output_dtype", 0); /* opset 23 */
    bool known = given > 0 && given < PTQ_DT_COUNT;
    ptq_infer_set(in, 0, known ? (ptq_dtype)given : in->in[1].dtype, &in->in[0].shape);
    return PTQ_OK;
}

ptq_status ptq_infer_dynamic_quantize(ptq_infer *in)
{
    const ptq_shape scalar = {.rank = 0};
    ptq_infer_set(in, 0, PTQ_DT_U8, &in->in[0].shape);
    ptq_infer_set(in, 1, PTQ_DT_F32, &scalar);
    ptq_infer_set(in, 2, PTQ_DT_U8, &scalar);
    return PTQ_OK;
}

ptq_status ptq_infer_qlinear_binary(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(ptq_infer_broadcast(in, 0, 3, &s));
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_qlinear_unary(ptq_infer *in)
{
    ptq_infer_set(in, 0, in->in[0].dtype, &in->in[0].shape);
    return PTQ_OK;
}
