/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that select, place or sort elements by indices. */
#include <string.h>

#include "lib/graph/infer.h"

static ptq_shape vector_of(ptq_dim n)
{
    return (ptq_shape){.rank = 1, .dims = {n}};
}

/* The first element of input `slot` where it is known. */
static bool one_int(const ptq_infer *in, int slot, int64_t *v)
{
    ptq_contents tmp;
    const ptq_contents *c = ptq_infer_has(in, slot) ? ptq_infer_elements(in, slot, &tmp) : NULL;
    if (!c || c->n != 1 || !ptq_dim_known(c->v[0]))
        return false;
    *v = c->v[0].add;
    return true;
}

static ptq_status check_index_shape(const ptq_infer *in, const ptq_shape *x, const ptq_shape *at)
{
    if (x->rank >= 0 && at->rank >= 0 && x->rank != at->rank)
        return ptq_infer_fail(in, "the data have rank %d, the indices %d", x->rank, at->rank);
    return PTQ_OK;
}

static ptq_status axis_ok(const ptq_infer *in, int64_t dflt)
{
    int axis;
    int rank = in->in[0].shape.rank;
    return rank < 0 ? PTQ_OK : ptq_infer_axis(in, ptq_attr_int(in->node, "axis", dflt), rank, &axis);
}

ptq_status ptq_infer_gather_elements(ptq_infer *in)
{
    PTQ_TRY(check_index_shape(in, &in->in[0].shape, &in->in[1].shape));
    PTQ_TRY(axis_ok(in, 0));
    ptq_infer_set(in, 0, in->in[0].dtype, &in->in[1].shape);
    return PTQ_OK;
}

/* ScatterElements, Scatter. */
ptq_status ptq_infer_scatter_elements(ptq_infer *in)
{
    const ptq_shape *at = &in->in[1].shape, *u = &in->in[2].shape;
    PTQ_TRY(check_index_shape(in, &in->in[0].shape, at));
    PTQ_TRY(axis_ok(in, 0));
    ptq_dim d;
    bool same = at->rank < 0 || u->rank < 0 || at->rank == u->rank;
    for (int i = 0; same && at->rank >= 0 && i < u->rank; i++)
        same = ptq_dim_merge(at->dims[i], u->dims[i], &d);
    if (!same)
        return ptq_infer_fail(in, "indices and updates have different shapes");
    ptq_infer_set(in, 0, in->in[0].dtype, &in->in[0].shape);
    return PTQ_OK;
}

/* Length of an index of GatherND or ScatterND; -1 when not known. */
static ptq_status tuple_length(const ptq_infer *in, int batch, int *n)
{
    const ptq_shape *x = &in->in[0].shape, *at = &in->in[1].shape;
    *n = -1;
    if (x->rank < 0 || at->rank < 0)
        return PTQ_OK;
    if (at->rank < 1 || batch < 0 || batch >= at->rank || batch >= x->rank)
        return ptq_infer_fail(in, "indices of rank %d with %d batch dimensions", at->rank, batch);
    ptq_dim same;
    for (int i = 0; i < batch; i++)
        if (!ptq_dim_merge(x->dims[i], at->dims[i], &same))
            return ptq_infer_fail(in, "batch dimension %d is %lld in the data, %lld in the indices", i,
                                  (long long)x->dims[i].add, (long long)at->dims[i].add);
    ptq_dim last = at->dims[at->rank - 1];
    if (!ptq_dim_known(last))
        return PTQ_OK;
    if (last.add < 0 || last.add > x->rank - batch)
        return ptq_infer_fail(in, "indices of %lld numbers into rank %d", (long long)last.add, x->rank);
    *n = (int)last.add;
    return PTQ_OK;
}

ptq_status ptq_infer_gather_nd(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape, *at = &in->in[1].shape;
    int n, batch = (int)ptq_attr_int(in->node, "batch_dims", 0);
    ptq_shape s = ptq_shape_unknown();
    PTQ_TRY(tuple_length(in, batch, &n));
    if (n >= 0) {
        int rest = x->rank - batch - n;
        if (at->rank - 1 + rest > PTQ_MAX_RANK)
            return ptq_infer_fail(in, "rank %d; at most %d works", at->rank - 1 + rest, PTQ_MAX_RANK);
        s = *at;
        s.rank = at->rank - 1;
        for (int i = 0; i < rest; i++)
            s.dims[s.rank++] = x->dims[batch + n + i];
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_scatter_nd(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape, *at = &in->in[1].shape, *u = &in->in[2].shape;
    int n;
    PTQ_TRY(tuple_length(in, 0, &n));
    bool fits = n < 0 || u->rank < 0 || u->rank == at->rank - 1 + x->rank - n;
    for (int i = 0; fits && n >= 0 && i < u->rank; i++) {
        ptq_dim d, want = i < at->rank - 1 ? at->dims[i] : x->dims[n + i - (at->rank - 1)];
        fits = ptq_dim_merge(u->dims[i], want, &d);
    }
    if (!fits)
        return ptq_infer_fail(in, "the updates do not have the shape that the indices ask for");
    ptq_infer_set(in, 0, in->in[0].dtype, x);
    return PTQ_OK;
}

ptq_status ptq_infer_compress(ptq_infer *in)
{
    const ptq_attr *a = ptq_attr_find(in->node, "axis");
    ptq_shape s = vector_of(ptq_dim_unknown());
    if (a) {
        s = in->in[0].shape;
        int axis;
        if (s.rank >= 0) {
            PTQ_TRY(ptq_infer_axis(in, a->i, s.rank, &axis));
            s.dims[axis] = ptq_dim_unknown();
        }
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_non_zero(ptq_infer *in)
{
    int rank = in->in[0].shape.rank;
    ptq_shape s = {.rank = 2, .dims = {rank < 0 ? ptq_dim_unknown() : ptq_dim_of(rank), ptq_dim_unknown()}};
    ptq_infer_set(in, 0, PTQ_DT_S64, &s);
    return PTQ_OK;
}

/* The number of classes; float tensors are only read where they are constants. */
static ptq_dim depth_of(const ptq_infer *in)
{
    int64_t n;
    const ptq_tensor *t = in->value ? in->value[1] : NULL;
    if (one_int(in, 1, &n))
        return ptq_dim_of(n);
    if (t && t->dtype == PTQ_DT_F32 && ptq_tensor_elements(t) == 1) {
        float f = *(const float *)t->data;
        return f >= 0.0f && f < 1e9f ? ptq_dim_of((int64_t)f) : ptq_dim_of(-1);
    }
    return ptq_dim_unknown();
}

ptq_status ptq_infer_one_hot(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_shape s = ptq_shape_unknown();
    ptq_dim depth = depth_of(in);
    if (ptq_dim_known(depth) && depth.add < 0)
        return ptq_infer_fail(in, "a depth of %lld", (long long)depth.add);
    if (x->rank >= PTQ_MAX_RANK)
        return ptq_infer_fail(in, "rank %d; at most %d works", x->rank + 1, PTQ_MAX_RANK);
    if (x->rank >= 0) {
        int axis;
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", -1), x->rank + 1, &axis));
        s.rank = x->rank + 1;
        for (int i = 0; i < s.rank; i++)
            s.dims[i] = i == axis ? depth : x->dims[i < axis ? i : i - 1];
    }
    ptq_infer_set(in, 0, in->in[2].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_eye_like(ptq_infer *in)
{
    int64_t t = ptq_attr_int(in->node, "dtype", in->in[0].dtype);
    if (t < 0 || t >= PTQ_DT_COUNT)
        return ptq_infer_fail(in, "attribute dtype: there is no element type %lld", (long long)t);
    if (in->in[0].shape.rank >= 0 && in->in[0].shape.rank != 2)
        return ptq_infer_fail(in, "the input has rank %d, not 2", in->in[0].shape.rank);
    ptq_infer_set(in, 0, (ptq_dtype)t, &in->in[0].shape);
    return PTQ_OK;
}

ptq_status ptq_infer_reverse_sequence(ptq_infer *in)
{
    int64_t batch = ptq_attr_int(in->node, "batch_axis", 1), time = ptq_attr_int(in->node, "time_axis", 0);
    if (batch + time != 1 || batch < 0 || time < 0)
        return ptq_infer_fail(in, "batch_axis %lld and time_axis %lld", (long long)batch, (long long)time);
    if (in->in[0].shape.rank >= 0 && in->in[0].shape.rank < 2)
        return ptq_infer_fail(in, "the input has rank %d", in->in[0].shape.rank);
    ptq_infer_set(in, 0, in->in[0].dtype, &in->in[0].shape);
    return PTQ_OK;
}

ptq_status ptq_infer_unique(ptq_infer *in)
{
    const ptq_attr *a = ptq_attr_find(in->node, "axis");
    ptq_shape y = vector_of(ptq_dim_unknown()), list = y;
    if (a) {
        y = in->in[0].shape;
        int axis;
        if (y.rank >= 0) {
            PTQ_TRY(ptq_infer_axis(in, a->i, y.rank, &axis));
            y.dims[axis] = ptq_dim_unknown();
        }
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &y);
    for (int i = 1; i < 4; i++)
        ptq_infer_set(in, i, PTQ_DT_S64, &list);
    return PTQ_OK;
}

/* k is an attribute before opset 10. */
ptq_status ptq_infer_top_k(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    int64_t k = ptq_attr_int(in->node, "k", -1);
    if (s.rank >= 0) {
        int axis;
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", -1), s.rank, &axis));
        bool known = k >= 0 || one_int(in, 1, &k);
        ptq_dim d = s.dims[axis];
        if (known && (k < 0 || (ptq_dim_known(d) && k > d.add)))
            return ptq_infer_fail(in, "the largest %lld of %lld", (long long)k, (long long)d.add);
        s.dims[axis] = known ? ptq_dim_of(k) : ptq_dim_unknown();
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    ptq_infer_set(in, 1, PTQ_DT_S64, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_center_crop_pad(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    int axes[PTQ_MAX_RANK], n = -2;
    ptq_contents tmp;
    const ptq_contents *c = ptq_infer_elements(in, 1, &tmp);
    if (s.rank >= 0) {
        PTQ_TRY(ptq_infer_axes(in, -1, "axes", s.rank, axes, &n));
        for (int i = 0; n < 0 && i < s.rank; i++)
            axes[i] = i;
        n = n < 0 ? s.rank : n;
        if (c && c->n != n)
            return ptq_infer_fail(in, "%d sizes for %d dimensions", c->n, n);
        for (int i = 0; i < n; i++)
            s.dims[axes[i]] = c ? c->v[i] : ptq_dim_unknown();
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_cast_like(ptq_infer *in)
{
    ptq_infer_set(in, 0, in->in[1].dtype, &in->in[0].shape);
    return PTQ_OK;
}
