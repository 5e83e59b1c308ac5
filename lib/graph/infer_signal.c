/* SPDX-License-Identifier: Apache-2.0 */
/* Transforms of signals, and products of tensors by an equation. */
#include <string.h>

#include "lib/graph/einsum.h"
#include "lib/graph/infer.h"

/* The number in input `slot` where it is known, unknown otherwise; `dflt` where it is left out. */
static ptq_dim number(const ptq_infer *in, int slot, ptq_dim dflt)
{
    ptq_contents tmp;
    if (!ptq_infer_has(in, slot))
        return dflt;
    const ptq_contents *c = ptq_infer_elements(in, slot, &tmp);
    return c && c->n == 1 ? c->v[0] : ptq_dim_unknown();
}

/* The axis is an attribute before opset 20. */
static ptq_dim dft_axis(const ptq_infer *in)
{
    if (in->opset < 20)
        return ptq_dim_of(ptq_attr_int(in->node, "axis", 1));
    return number(in, 2, ptq_dim_of(-2));
}

/* Bins that are kept of a transform of n. */
static ptq_dim bins_of(const ptq_infer *in, ptq_dim n, int64_t dflt)
{
    if (!ptq_attr_int(in->node, "onesided", dflt))
        return n;
    return ptq_dim_known(n) ? ptq_dim_of(n.add / 2 + 1) : ptq_dim_unknown();
}

ptq_status ptq_infer_dft(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    ptq_dim a = dft_axis(in);
    if (s.rank >= 0 && s.rank < 2)
        return ptq_infer_fail(in, "the input has rank %d", s.rank);
    for (int i = 0; !ptq_dim_known(a) && i < s.rank - 1; i++)
        s.dims[i] = ptq_dim_unknown();
    if (s.rank >= 0 && ptq_dim_known(a)) {
        int axis;
        PTQ_TRY(ptq_infer_axis(in, a.add, s.rank, &axis));
        if (axis == s.rank - 1)
            return ptq_infer_fail(in, "the last axis holds the parts of a number");
        s.dims[axis] = bins_of(in, number(in, 1, s.dims[axis]), 0);
        if (ptq_dim_known(s.dims[axis]) && s.dims[axis].add < 0)
            return ptq_infer_fail(in, "a transform of length %lld", (long long)s.dims[axis].add);
    }
    if (s.rank >= 0)
        s.dims[s.rank - 1] = ptq_dim_of(2);
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_stft(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape, *w = &in->in[2].shape;
    if (x->rank >= 0 && x->rank != 2 && x->rank != 3)
        return ptq_infer_fail(in, "the input has rank %d, not 3", x->rank);
    ptq_dim n = x->rank < 0 ? ptq_dim_unknown() : x->dims[1], step = number(in, 1, ptq_dim_unknown());
    bool windowed = ptq_infer_has(in, 2);
    ptq_dim length = number(in, 3, windowed && w->rank == 1 ? w->dims[0] : windowed ? ptq_dim_unknown() : n);
    ptq_dim frames = ptq_dim_unknown();
    if (ptq_dim_known(n) && ptq_dim_known(step) && ptq_dim_known(length)) {
        if (step.add < 1 || length.add < 1 || length.add > n.add)
            return ptq_infer_fail(in, "frames of %lld, %lld apart, in %lld values", (long long)length.add,
                                  (long long)step.add, (long long)n.add);
        frames = ptq_dim_of((n.add - length.add) / step.add + 1);
    }
    ptq_shape s = {.rank = 4, .dims = {x->rank < 0 ? ptq_dim_unknown() : x->dims[0], frames,
                                       bins_of(in, length, 1), ptq_dim_of(2)}};
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

static ptq_status output_type(const ptq_infer *in, ptq_dtype *out)
{
    int64_t t = ptq_attr_int(in->node, "output_datatype", PTQ_DT_F32);
    if (t <= 0 || t >= PTQ_DT_COUNT)
        return ptq_infer_fail(in, "attribute output_datatype: there is no element type %lld", (long long)t);
    *out = (ptq_dtype)t;
    return PTQ_OK;
}

/* HannWindow, HammingWindow, BlackmanWindow. */
ptq_status ptq_infer_window(ptq_infer *in)
{
    ptq_dtype t = PTQ_DT_F32;
    ptq_shape s = {.rank = 1, .dims = {number(in, 0, ptq_dim_unknown())}};
    PTQ_TRY(output_type(in, &t));
    if (ptq_dim_known(s.dims[0]) && s.dims[0].add < 0)
        return ptq_infer_fail(in, "a window of %lld", (long long)s.dims[0].add);
    ptq_infer_set(in, 0, t, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_mel(ptq_infer *in)
{
    ptq_dtype t = PTQ_DT_F32;
    ptq_dim bins = number(in, 0, ptq_dim_unknown()), length = number(in, 1, ptq_dim_unknown());
    ptq_dim half = ptq_dim_known(length) ? ptq_dim_of(length.add / 2 + 1) : ptq_dim_unknown();
    ptq_shape s = {.rank = 2, .dims = {half, bins}};
    PTQ_TRY(output_type(in, &t));
    for (int i = 0; i < 2; i++)
        if (ptq_dim_known(s.dims[i]) && s.dims[i].add < 1)
            return ptq_infer_fail(in, "%lld bins of %lld", (long long)bins.add, (long long)length.add);
    ptq_infer_set(in, 0, t, &s);
    return PTQ_OK;
}

/* ---- Einsum, Det ---- */

ptq_status ptq_infer_einsum(ptq_infer *in)
{
    int ranks[PTQ_EINSUM_OPERANDS] = {0};
    ptq_einsum e;
    ptq_shape s = ptq_shape_unknown();
    ptq_dtype t = in->in[0].dtype;
    bool known = in->nin <= PTQ_EINSUM_OPERANDS;
    for (int k = 0; k < in->nin && known; k++) {
        ranks[k] = in->in[k].shape.rank;
        known = ranks[k] >= 0;
    }
    if (known) {
        const char *why = ptq_einsum_parse(ptq_attr_str(in->node, "equation", ""), ranks, in->nin, &e);
        if (why)
            return ptq_infer_fail(in, "the equation %s", why);
        s.rank = e.nout;
        for (int l = 0; l < e.nout; l++)
            s.dims[l] = ptq_dim_of(1);
        for (int k = 0; k < e.operands; k++)
            for (int d = 0; d < e.rank[k]; d++) {
                ptq_shape a = {.rank = 1}, b = {.rank = 1, .dims = {in->in[k].shape.dims[d]}}, c;
                if (e.label[k][d] >= e.nout)
                    continue;
                a.dims[0] = s.dims[e.label[k][d]];
                PTQ_TRY(ptq_infer_broadcast_shapes(in, &a, &b, &c));
                s.dims[e.label[k][d]] = c.dims[0];
            }
    }
    ptq_infer_set(in, 0, t, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_det(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    if (s.rank >= 0) {
        ptq_dim d;
        if (s.rank < 2 || !ptq_dim_merge(s.dims[s.rank - 1], s.dims[s.rank - 2], &d))
            return ptq_infer_fail(in, "the input holds no square matrices");
        s.rank -= 2;
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}
