/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that make constants or work on shapes. */
#include <math.h>
#include <string.h>

#include "lib/graph/infer.h"

static ptq_shape vector(ptq_dim n)
{
    return (ptq_shape){.rank = 1, .dims = {n}};
}

static ptq_shape tensor_shape(const ptq_tensor *t)
{
    ptq_shape s = {.rank = t->rank};
    for (int i = 0; i < t->rank; i++)
        s.dims[i] = ptq_dim_of(t->dims[i]);
    return s;
}

static void constant_ints(ptq_infer *in, const int64_t *v, size_t n, int rank)
{
    ptq_contents *o = ptq_infer_out_elements(in, 0);
    if (!o || n > PTQ_CONTENTS_MAX)
        return;
    o->n = (int)n;
    o->rank = rank;
    for (size_t i = 0; i < n; i++)
        o->v[i] = ptq_dim_of(v[i]);
}

ptq_status ptq_infer_constant(ptq_infer *in)
{
    const ptq_node *n = in->node;
    const ptq_attr *a = n->nattrs ? &n->attrs[0] : NULL;
    const ptq_shape scalar = {.rank = 0};
    ptq_shape list;
    if (n->nattrs != 1)
        return ptq_infer_fail(in, "has %d attributes; one value is needed", n->nattrs);
    list = vector(ptq_dim_of((int64_t)a->n));
    if (strcmp(a->name, "value") == 0 && a->tensor) {
        ptq_shape s = tensor_shape(a->tensor);
        ptq_contents *o = ptq_infer_out_elements(in, 0);
        ptq_infer_set(in, 0, a->tensor->dtype, &s);
        if (o && !ptq_contents_of_tensor(a->tensor, o))
            o->n = -1;
    } else if (strcmp(a->name, "value_float") == 0) {
        ptq_infer_set(in, 0, PTQ_DT_F32, &scalar);
    } else if (strcmp(a->name, "value_floats") == 0) {
        ptq_infer_set(in, 0, PTQ_DT_F32, &list);
    } else if (strcmp(a->name, "value_int") == 0) {
        ptq_infer_set(in, 0, PTQ_DT_S64, &scalar);
        constant_ints(in, &a->i, 1, 0);
    } else if (strcmp(a->name, "value_ints") == 0) {
        ptq_infer_set(in, 0, PTQ_DT_S64, &list);
        constant_ints(in, a->ints, a->n, 1);
    } else if (strcmp(a->name, "value_string") == 0) {
        ptq_infer_set(in, 0, PTQ_DT_STRING, &scalar);
    } else if (strcmp(a->name, "value_strings") == 0) {
        ptq_infer_set(in, 0, PTQ_DT_STRING, &list);
    }
    return PTQ_OK; /* sparse_value: not known */
}

/* Dims from the elements of input `slot`; at least the rank where only the count is known. */
static ptq_status shape_from(ptq_infer *in, int slot, ptq_shape *out)
{
    ptq_contents tmp;
    const ptq_contents *c = ptq_infer_elements(in, slot, &tmp);
    const ptq_shape *s = &in->in[slot].shape;
    *out = ptq_shape_unknown();
    int64_t n = c ? c->n : s->rank == 1 && ptq_dim_known(s->dims[0]) ? s->dims[0].add : -1;
    if (n > PTQ_MAX_RANK)
        return ptq_infer_fail(in, "a shape of %lld dimensions; at most %d work", (long long)n,
                              PTQ_MAX_RANK);
    if (n < 0)
        return PTQ_OK;
    out->rank = (int)n;
    for (int i = 0; i < out->rank; i++) {
        out->dims[i] = c ? c->v[i] : ptq_dim_unknown();
        if (ptq_dim_known(out->dims[i]) && out->dims[i].add < 0)
            return ptq_infer_fail(in, "dimension %d is %lld", i, (long long)out->dims[i].add);
    }
    return PTQ_OK;
}

ptq_status ptq_infer_constant_of_shape(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(shape_from(in, 0, &s));
    const ptq_attr *a = ptq_attr_find(in->node, "value");
    const ptq_tensor *t = a ? a->tensor : NULL;
    ptq_infer_set(in, 0, t ? t->dtype : PTQ_DT_F32, &s);
    ptq_contents one, *o = ptq_infer_out_elements(in, 0);
    if (!o || !t || s.rank < 0 || s.rank > 1 || !ptq_contents_of_tensor(t, &one) || one.n != 1)
        return PTQ_OK;
    ptq_dim n = s.rank ? s.dims[0] : ptq_dim_of(1);
    if (!ptq_dim_known(n) || n.add > PTQ_CONTENTS_MAX)
        return PTQ_OK;
    o->n = (int)n.add;
    o->rank = s.rank;
    for (int i = 0; i < o->n; i++)
        o->v[i] = one.v[0];
    return PTQ_OK;
}

static int clamp_axis(int64_t v, int rank)
{
    v = v < 0 ? v + rank : v;
    return (int)(v < 0 ? 0 : v > rank ? rank : v);
}

ptq_status ptq_infer_shape(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_shape s = vector(ptq_dim_unknown());
    if (x->rank >= 0) {
        int start = clamp_axis(ptq_attr_int(in->node, "start", 0), x->rank);
        int end = clamp_axis(ptq_attr_int(in->node, "end", x->rank), x->rank);
        int n = end > start ? end - start : 0;
        s = vector(ptq_dim_of(n));
        ptq_contents *o = ptq_infer_out_elements(in, 0);
        if (o) {
            o->n = n;
            o->rank = 1;
            memcpy(o->v, x->dims + start, (size_t)n * sizeof *o->v);
        }
    }
    ptq_infer_set(in, 0, PTQ_DT_S64, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_size(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_shape s = {.rank = 0};
    ptq_infer_set(in, 0, PTQ_DT_S64, &s);
    ptq_contents *o = ptq_infer_out_elements(in, 0);
    if (o && x->rank >= 0) {
        o->n = 1;
        o->rank = 0;
        o->v[0] = ptq_infer_product(x->dims, x->rank);
    }
    return PTQ_OK;
}

/* ---- Range ---- */

/* Integer range: count of elements, unknown when not sure. */
static ptq_dim range_count(ptq_dim start, ptq_dim limit, int64_t delta)
{
    ptq_dim span = ptq_dim_sub(limit, start);
    if (ptq_dim_known(span)) {
        /* ceil(span / delta), in 128 bits: the ends may lie anywhere. */
        __int128 d = delta, n = ((__int128)span.add + (d > 0 ? d - 1 : d + 1)) / d;
        if ((span.add > 0) != (delta > 0) || span.add == 0)
            n = 0;
        return n > INT64_MAX ? ptq_dim_unknown() : ptq_dim_of((int64_t)n);
    }
    return delta == 1 && ptq_dim_min(span) >= 0 ? span : ptq_dim_unknown();
}

static bool float_scalar(const ptq_infer *in, int slot, double *v)
{
    const ptq_tensor *t = in->value ? in->value[slot] : NULL;
    if (!t || !t->data || ptq_tensor_elements(t) != 1)
        return false;
    if (t->dtype == PTQ_DT_F32)
        *v = (double)*(const float *)t->data;
    else if (t->dtype == PTQ_DT_F64)
        *v = *(const double *)t->data;
    else
        return false;
    return true;
}

static ptq_status float_range(ptq_infer *in, ptq_dim *n)
{
    double v[3];
    for (int i = 0; i < 3; i++)
        if (!float_scalar(in, i, &v[i]))
            return PTQ_OK;
    double count = ceil((v[1] - v[0]) / v[2]);
    if (!(count < 9e15))
        return ptq_infer_fail(in, "a range from %g to %g by %g", v[0], v[1], v[2]);
    *n = ptq_dim_of(count > 0 ? (int64_t)count : 0);
    return PTQ_OK;
}

ptq_status ptq_infer_range(ptq_infer *in)
{
    ptq_contents t[3], *o = ptq_infer_out_elements(in, 0);
    const ptq_contents *c[3];
    ptq_dim n = ptq_dim_unknown();
    bool known = true;
    for (int i = 0; i < 3; i++) {
        c[i] = ptq_infer_elements(in, i, &t[i]);
        known = known && c[i] && c[i]->n == 1;
    }
    if (known && ptq_dim_known(c[2]->v[0])) {
        int64_t delta = c[2]->v[0].add;
        if (delta == 0)
            return ptq_infer_fail(in, "the step is 0");
        n = range_count(c[0]->v[0], c[1]->v[0], delta);
        if (o && ptq_dim_known(n) && n.add <= PTQ_CONTENTS_MAX) {
            o->n = (int)n.add;
            o->rank = 1;
            for (int i = 0; i < o->n; i++)
                o->v[i] = ptq_dim_add(c[0]->v[0], ptq_dim_mul(ptq_dim_of(i), ptq_dim_of(delta)));
        }
    } else if (!known) {
        PTQ_TRY(float_range(in, &n));
    }
    ptq_shape s = vector(n);
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

/* ---- Reshape, Expand, Tile: the shape is data ---- */

/* The size that makes the element counts of `x` and of `out` (without dim `at`) meet. */
static ptq_dim missing_dim(const ptq_shape *x, const ptq_shape *out, int at)
{
    ptq_dim num[PTQ_MAX_RANK], den[PTQ_MAX_RANK];
    int nn = 0, nd = 0;
    for (int i = 0; i < x->rank; i++)
        num[nn++] = x->dims[i];
    for (int i = 0; i < out->rank; i++) {
        if (i == at)
            continue;
        int hit = 0; /* equal factors cancel: [batch,time,192] to [batch,time,6,-1] */
        while (hit < nn && !ptq_dim_equal(num[hit], out->dims[i]))
            hit++;
        if (hit < nn && !(ptq_dim_known(num[hit]) && num[hit].add == 0))
            num[hit] = num[--nn];
        else
            den[nd++] = out->dims[i];
    }
    ptq_dim a = ptq_infer_product(num, nn), b = ptq_infer_product(den, nd), q = ptq_dim_div(a, b);
    return ptq_dim_equal(ptq_dim_mul(q, b), a) ? q : ptq_dim_unknown();
}

static ptq_status no_view(const ptq_infer *in, const ptq_shape *x, const ptq_shape *s)
{
    char ta[160], tb[160];
    return ptq_infer_fail(in, "%s cannot be seen as %s", ptq_shape_print(x, NULL, ta, sizeof ta),
                          ptq_shape_print(s, NULL, tb, sizeof tb));
}

static ptq_status check_count(const ptq_infer *in, const ptq_shape *x, const ptq_shape *s)
{
    if (!ptq_shape_known(x) || !ptq_shape_known(s))
        return PTQ_OK;
    ptq_dim a = ptq_infer_product(x->dims, x->rank), b = ptq_infer_product(s->dims, s->rank);
    return ptq_dim_equal(a, b) ? PTQ_OK : no_view(in, x, s);
}

static ptq_status reshape_dims(ptq_infer *in, const ptq_contents *c, ptq_shape *s)
{
    const ptq_shape *x = &in->in[0].shape;
    bool zero_is_zero = ptq_attr_int(in->node, "allowzero", 0) != 0;
    int open = -1, nopen = 0;
    s->rank = c->n;
    for (int i = 0; i < c->n; i++) {
        ptq_dim d = c->v[i];
        if (ptq_dim_known(d) && d.add == 0 && !zero_is_zero) {
            if (x->rank >= 0 && i >= x->rank)
                return ptq_infer_fail(in, "dimension %d is copied from an input of rank %d", i,
                                      x->rank);
            d = x->rank >= 0 ? x->dims[i] : ptq_dim_unknown();
            s->dims[i] = d;
            continue; /* an unknown that is copied is not open */
        }
        if (ptq_dim_known(d) && d.add < -1)
            return ptq_infer_fail(in, "dimension %d is %lld", i, (long long)d.add);
        if ((ptq_dim_known(d) && d.add == -1) || d.sym == PTQ_SYM_UNKNOWN) {
            open = i;
            nopen++;
            d = ptq_dim_unknown();
        }
        s->dims[i] = d;
    }
    if (nopen == 1 && x->rank >= 0) { /* -1, or one that nobody knows: the count decides */
        s->dims[open] = missing_dim(x, s, open);
        ptq_shape rest = *s;
        rest.dims[open] = ptq_dim_of(1);
        if (ptq_shape_known(x) && ptq_shape_known(&rest) && !ptq_dim_known(s->dims[open]))
            return no_view(in, x, s);
    }
    return PTQ_OK;
}

/* Elements pass through where the output has rank 0 or 1. */
static void pass_elements(ptq_infer *in, int rank)
{
    ptq_contents tmp, *o = ptq_infer_out_elements(in, 0);
    const ptq_contents *c = o && (rank == 0 || rank == 1) ? ptq_infer_elements(in, 0, &tmp) : NULL;
    if (!c)
        return;
    *o = *c;
    o->rank = rank;
}

ptq_status ptq_infer_reshape(ptq_infer *in)
{
    ptq_contents tmp;
    const ptq_contents *c = ptq_infer_elements(in, 1, &tmp);
    const ptq_shape *want = &in->in[1].shape;
    ptq_shape s = ptq_shape_unknown();
    if (want->rank >= 0 && want->rank != 1)
        return ptq_infer_fail(in, "the shape input has rank %d", want->rank);
    int64_t n = c ? c->n : want->rank == 1 && ptq_dim_known(want->dims[0]) ? want->dims[0].add : -1;
    if (n > PTQ_MAX_RANK)
        return ptq_infer_fail(in, "a shape of %lld dimensions; at most %d work", (long long)n,
                              PTQ_MAX_RANK);
    if (c) {
        PTQ_TRY(reshape_dims(in, c, &s));
        PTQ_TRY(check_count(in, &in->in[0].shape, &s));
    } else if (n >= 0) {
        s.rank = (int)n;
        for (int i = 0; i < s.rank; i++)
            s.dims[i] = ptq_dim_unknown();
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    pass_elements(in, s.rank);
    return PTQ_OK;
}

ptq_status ptq_infer_expand(ptq_infer *in)
{
    ptq_shape want, s;
    PTQ_TRY(shape_from(in, 1, &want));
    PTQ_TRY(ptq_infer_broadcast_shapes(in, &in->in[0].shape, &want, &s));
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    ptq_contents tmp, *o = ptq_infer_out_elements(in, 0);
    const ptq_contents *c = o ? ptq_infer_elements(in, 0, &tmp) : NULL;
    if (!c || s.rank < 0 || s.rank > 1)
        return PTQ_OK;
    ptq_dim n = s.rank ? s.dims[0] : ptq_dim_of(1);
    if (!ptq_dim_known(n) || n.add > PTQ_CONTENTS_MAX || (c->n != 1 && c->n != n.add))
        return PTQ_OK;
    o->n = (int)n.add;
    o->rank = s.rank;
    for (int i = 0; i < o->n; i++)
        o->v[i] = c->v[c->n == 1 ? 0 : i];
    return PTQ_OK;
}

ptq_status ptq_infer_tile(ptq_infer *in)
{
    ptq_contents tmp;
    const ptq_contents *c = ptq_infer_elements(in, 1, &tmp);
    ptq_shape s = in->in[0].shape;
    if (c && s.rank >= 0 && c->n != s.rank)
        return ptq_infer_fail(in, "%d repeats for rank %d", c->n, s.rank);
    for (int i = 0; i < s.rank; i++)
        s.dims[i] = c ? ptq_dim_mul(s.dims[i], c->v[i]) : ptq_dim_unknown();
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_identity(ptq_infer *in)
{
    ptq_infer_set(in, 0, in->in[0].dtype, &in->in[0].shape);
    pass_elements(in, in->in[0].shape.rank);
    return PTQ_OK;
}

ptq_status ptq_infer_dropout(ptq_infer *in)
{
    ptq_infer_set(in, 0, in->in[0].dtype, &in->in[0].shape);
    /* Before opset 10 the mask had the input's type. */
    ptq_infer_set(in, 1, in->opset < 10 ? in->in[0].dtype : PTQ_DT_BOOL, &in->in[0].shape);
    return PTQ_OK;
}

ptq_status ptq_infer_flatten(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_shape s = {.rank = 2, .dims = {ptq_dim_unknown(), ptq_dim_unknown()}};
    if (x->rank >= 0) {
        int64_t axis = ptq_attr_int(in->node, "axis", 1);
        if (axis < -x->rank || axis > x->rank)
            return ptq_infer_fail(in, "axis %lld is outside of rank %d", (long long)axis, x->rank);
        int a = (int)(axis < 0 ? axis + x->rank : axis);
        s.dims[0] = ptq_infer_product(x->dims, a);
        s.dims[1] = ptq_infer_product(x->dims + a, x->rank - a);
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_squeeze(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_shape s = ptq_shape_unknown();
    int axes[PTQ_MAX_RANK], n = -1;
    unsigned drop = 0;
    bool known = x->rank >= 0;
    if (known)
        PTQ_TRY(ptq_infer_axes(in, 1, "axes", x->rank, axes, &n));
    for (int i = 0; i < n; i++) {
        ptq_dim d = x->dims[axes[i]];
        if (ptq_dim_known(d) && d.add != 1)
            return ptq_infer_fail(in, "dimension %d is %lld, not 1", axes[i], (long long)d.add);
        drop |= 1u << axes[i];
    }
    if (known && n == -2) { /* every 1; a symbol might be one */
        for (int i = 0; i < x->rank; i++) {
            known = known && ptq_dim_known(x->dims[i]);
            if (ptq_dim_known(x->dims[i]) && x->dims[i].add == 1)
                drop |= 1u << i;
        }
    }
    if (known && n != -1) {
        s.rank = 0;
        for (int i = 0; i < x->rank; i++)
            if (!(drop & (1u << i)))
                s.dims[s.rank++] = x->dims[i];
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    pass_elements(in, s.rank);
    return PTQ_OK;
}

ptq_status ptq_infer_unsqueeze(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    ptq_shape s = ptq_shape_unknown();
    int64_t raw[PTQ_MAX_RANK];
    int axes[PTQ_MAX_RANK], n;
    PTQ_TRY(ptq_infer_int_list(in, 1, "axes", raw, PTQ_MAX_RANK, &n));
    if (n == -2)
        return ptq_infer_fail(in, "axes are missing");
    if (n >= 0 && x->rank >= 0) {
        int rank = x->rank + n, from = 0;
        if (rank > PTQ_MAX_RANK)
            return ptq_infer_fail(in, "rank %d; at most %d works", rank, PTQ_MAX_RANK);
        PTQ_TRY(ptq_infer_axes(in, 1, "axes", rank, axes, &n));
        unsigned put = 0;
        for (int i = 0; i < n; i++)
            put |= 1u << axes[i];
        s.rank = rank;
        for (int i = 0; i < rank; i++)
            s.dims[i] = put & (1u << i) ? ptq_dim_of(1) : x->dims[from++];
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    pass_elements(in, s.rank);
    return PTQ_OK;
}
