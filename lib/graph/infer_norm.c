/* SPDX-License-Identifier: Apache-2.0 */
/* Normalization, softmax, reductions. */
#include <string.h>

#include "lib/graph/infer.h"

ptq_status ptq_infer_batch_norm(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    if (x->rank >= 0 && x->rank < 2)
        return ptq_infer_fail(in, "the input has rank %d", x->rank);
    for (int i = 1; i < 5; i++) {
        const ptq_shape *p = &in->in[i].shape;
        ptq_dim c;
        if (p->rank >= 0 &&
            (p->rank != 1 || (x->rank > 1 && !ptq_dim_merge(p->dims[0], x->dims[1], &c))))
            return ptq_infer_fail(in, "input %d does not have one element for each channel", i);
    }
    ptq_infer_set(in, 0, in->in[0].dtype, x);
    for (int i = 1; i < in->nout; i++) /* running statistics */
        ptq_infer_set(in, i, in->in[3].dtype, &in->in[3].shape);
    return PTQ_OK;
}

ptq_status ptq_infer_layer_norm(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_shape stats = *x;
    if (x->rank >= 0) {
        int axis;
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", -1), x->rank, &axis));
        ptq_shape tail = {.rank = x->rank - axis}, s;
        for (int i = axis; i < x->rank; i++) {
            tail.dims[i - axis] = x->dims[i];
            stats.dims[i] = ptq_dim_of(1);
        }
        for (int i = 1; i < in->nin; i++)
            if (ptq_infer_has(in, i))
                PTQ_TRY(ptq_infer_broadcast_shapes(in, &tail, &in->in[i].shape, &s));
    }
    ptq_infer_set(in, 0, in->in[0].dtype, x);
    ptq_infer_set(in, 1, PTQ_DT_F32, &stats);
    ptq_infer_set(in, 2, PTQ_DT_F32, &stats);
    return PTQ_OK;
}

/* Softmax, LogSoftmax. */
ptq_status ptq_infer_softmax(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    int axis;
    if (x->rank > 0)
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", in->opset < 13 ? 1 : -1), x->rank,
                               &axis));
    ptq_infer_set(in, 0, in->in[0].dtype, x);
    return PTQ_OK;
}

/* ReduceProd, ReduceSum, ReduceMax, ReduceMin over all elements of a small integer tensor. */
static void reduce_elements(ptq_infer *in, unsigned axes, int rank_out)
{
    ptq_contents tmp, *o = ptq_infer_out_elements(in, 0);
    const ptq_contents *c = o ? ptq_infer_elements(in, 0, &tmp) : NULL;
    const char *op = in->node->op + strlen("Reduce");
    bool prod = strcmp(op, "Prod") == 0, sum = strcmp(op, "Sum") == 0;
    if (!c || c->rank != 1 || axes != 1 || (!prod && !sum))
        return;
    ptq_dim d = ptq_dim_of(0);
    for (int i = 0; i < c->n && sum; i++)
        d = ptq_dim_add(d, c->v[i]);
    if (prod)
        d = ptq_infer_product(c->v, c->n);
    o->n = 1;
    o->rank = rank_out;
    o->v[0] = d;
}

ptq_status ptq_infer_reduce(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_shape s = ptq_shape_unknown();
    int axes[PTQ_MAX_RANK], n = -1;
    bool keep = ptq_attr_int(in->node, "keepdims", 1) != 0;
    if (x->rank >= 0) {
        PTQ_TRY(ptq_infer_axes(in, 1, "axes", x->rank, axes, &n));
        unsigned hit = 0;
        if (n == -2 || n == 0)
            hit = ptq_attr_int(in->node, "noop_with_empty_axes", 0) ? 0 : (1u << x->rank) - 1;
        for (int i = 0; i < n; i++)
            hit |= 1u << axes[i];
        if (n != -1) {
            s.rank = 0;
            for (int i = 0; i < x->rank; i++) {
                bool r = hit & (1u << i);
                if (!r || keep)
                    s.dims[s.rank++] = r ? ptq_dim_of(1) : x->dims[i];
            }
            reduce_elements(in, hit, s.rank);
        } else if (keep) {
            s.rank = x->rank;
            for (int i = 0; i < x->rank; i++)
                s.dims[i] = ptq_dim_unknown();
        }
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

/* ArgMax, ArgMin. */
ptq_status ptq_infer_arg_reduce(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_shape s = ptq_shape_unknown();
    bool keep = ptq_attr_int(in->node, "keepdims", 1) != 0;
    if (x->rank >= 0) {
        int axis;
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", 0), x->rank, &axis));
        s.rank = 0;
        for (int i = 0; i < x->rank; i++)
            if (i != axis || keep)
                s.dims[s.rank++] = i == axis ? ptq_dim_of(1) : x->dims[i];
    }
    ptq_infer_set(in, 0, PTQ_DT_S64, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_rms_norm(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    if (x->rank >= 0) {
        int axis;
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", -1), x->rank, &axis));
        ptq_shape tail = {.rank = x->rank - axis}, s;
        for (int i = axis; i < x->rank; i++)
            tail.dims[i - axis] = x->dims[i];
        PTQ_TRY(ptq_infer_broadcast_shapes(in, &tail, &in->in[1].shape, &s));
    }
    ptq_infer_set(in, 0, in->in[0].dtype, x);
    return PTQ_OK;
}

/* A scale and a bias for each group, from opset 21 on for each channel. */
ptq_status ptq_infer_group_norm(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    int64_t groups = ptq_attr_int(in->node, "num_groups", 0);
    ptq_dim c = x->rank > 1 ? x->dims[1] : ptq_dim_unknown(), d;
    if (groups < 1 || (x->rank >= 0 && x->rank < 2) || (ptq_dim_known(c) && c.add % groups != 0))
        return ptq_infer_fail(in, "%lld groups of an input of rank %d", (long long)groups, x->rank);
    ptq_dim want = in->opset < 21 ? ptq_dim_of(groups) : c;
    for (int i = 1; i < 3; i++) {
        const ptq_shape *p = &in->in[i].shape;
        if (p->rank >= 0 && (p->rank != 1 || !ptq_dim_merge(p->dims[0], want, &d)))
            return ptq_infer_fail(in, "input %d does not have one element for each %s", i,
                                  in->opset < 21 ? "group" : "channel");
    }
    ptq_infer_set(in, 0, in->in[0].dtype, x);
    return PTQ_OK;
}

/* LpNormalization. */
ptq_status ptq_infer_lp_norm(ptq_infer *in)
{
    int axis;
    int64_t p = ptq_attr_int(in->node, "p", 2);
    if (p != 1 && p != 2)
        return ptq_infer_fail(in, "p is %lld; 1 and 2 work", (long long)p);
    if (in->in[0].shape.rank >= 0)
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", -1), in->in[0].shape.rank, &axis));
    ptq_infer_set(in, 0, in->in[0].dtype, &in->in[0].shape);
    return PTQ_OK;
}

/* NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss: scores [N, C, ...], classes [N, ...]. */
ptq_status ptq_infer_loss(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape, *t = &in->in[1].shape;
    const ptq_shape scalar = {.rank = 0};
    bool none = strcmp(ptq_attr_str(in->node, "reduction", "mean"), "none") == 0;
    if (x->rank >= 0 && (x->rank < 2 || (t->rank >= 0 && t->rank != x->rank - 1)))
        return ptq_infer_fail(in, "scores of rank %d, classes of rank %d", x->rank, t->rank);
    ptq_infer_set(in, 0, in->in[0].dtype, none ? t : &scalar);
    ptq_infer_set(in, 1, in->in[0].dtype, x);
    return PTQ_OK;
}
