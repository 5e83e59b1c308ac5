/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move, select or join elements. */
#include <math.h>
#include <string.h>

#include "lib/graph/infer.h"

ptq_status ptq_infer_transpose(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape;
    size_t n;
    const int64_t *perm = ptq_attr_ints(in->node, "perm", &n);
    ptq_shape s = *x;
    unsigned seen = 0;
    if (x->rank >= 0 && perm && n != (size_t)x->rank)
        return ptq_infer_fail(in, "perm has %zu elements, the input rank %d", n, x->rank);
    for (int i = 0; i < x->rank; i++) {
        int64_t from = perm ? perm[i] : x->rank - 1 - i;
        if (from < 0 || from >= x->rank || (seen & (1u << from)))
            return ptq_infer_fail(in, "perm is not a permutation of %d dimensions", x->rank);
        seen |= 1u << from;
        s.dims[i] = x->dims[from];
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

/* ---- Slice ---- */

static int64_t clamp64(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* The specification's clamping; ONNX Runtime reads the largest end as "to the very end" also when
 * it walks backwards, and so does this. */
int64_t ptq_slice_range(int64_t n, int64_t start, int64_t end, int64_t step, int64_t *first)
{
    bool open = end == INT64_MAX || end == INT32_MAX;
    start = start < 0 ? start + n : start;
    end = end < 0 ? end + n : end;
    if (step > 0) {
        start = clamp64(start, 0, n);
        end = clamp64(end, 0, n);
        *first = start;
        return end > start ? (end - start - 1) / step + 1 : 0;
    }
    start = clamp64(start, 0, n) < n ? clamp64(start, 0, n) : n - 1;
    end = open ? -1 : clamp64(end, -1, n);
    *first = start;
    if (start <= end)
        return 0;
    /* -(INT64_MIN) does not exist: one element anyway. */
    return step == INT64_MIN ? 1 : (start - end - 1) / -step + 1;
}

/* An end point of a slice as a size from the beginning; unknown when not sure. */
static ptq_dim slice_point(ptq_dim d, ptq_dim p)
{
    if (ptq_dim_equal(p, d))
        return d;
    if (ptq_dim_known(p)) {
        if (p.add >= INT32_MAX)
            return d;
        if (p.add < 0)
            p = ptq_dim_add(d, p);
    }
    ptq_dim rest = ptq_dim_sub(d, p); /* inside [0, d] for every size? */
    return ptq_dim_min(p) >= 0 && ptq_dim_min(rest) >= 0 ? p : ptq_dim_unknown();
}

ptq_dim ptq_infer_slice_dim(ptq_dim d, ptq_dim start, ptq_dim end, int64_t step)
{
    int64_t first;
    if (ptq_dim_known(d) && ptq_dim_known(start) && ptq_dim_known(end))
        return ptq_dim_of(ptq_slice_range(d.add, start.add, end.add, step, &first));
    if (step == -1 && ptq_dim_known(start) && ptq_dim_known(end) && start.add == -1 &&
        end.add <= -INT32_MAX)
        return d;
    if (step != 1)
        return ptq_dim_unknown();
    ptq_dim n = ptq_dim_sub(slice_point(d, end), slice_point(d, start));
    return ptq_dim_min(n) >= 0 ? n : ptq_dim_unknown();
}

typedef struct slice_args {
    int n; /* axes; -1: not known */
    int axes[PTQ_MAX_RANK];
    ptq_dim start[PTQ_MAX_RANK], end[PTQ_MAX_RANK];
    int64_t step[PTQ_MAX_RANK];
    bool steps_known;
} slice_args;

/* Elements of an input, or numbers of the attribute of opsets below 10. */
static int slice_list(const ptq_infer *in, int slot, const char *attr, ptq_dim *v)
{
    size_t n;
    const int64_t *list = ptq_attr_ints(in->node, attr, &n);
    if (list) {
        for (size_t i = 0; i < n && i < PTQ_MAX_RANK; i++)
            v[i] = ptq_dim_of(list[i]);
        return n > PTQ_MAX_RANK ? -3 : (int)n;
    }
    ptq_contents tmp;
    const ptq_contents *c = slot < in->nin ? ptq_infer_elements(in, slot, &tmp) : NULL;
    if (!c)
        return -1;
    for (int i = 0; i < c->n && i < PTQ_MAX_RANK; i++)
        v[i] = c->v[i];
    return c->n > PTQ_MAX_RANK ? -3 : c->n;
}

static ptq_status slice_read(const ptq_infer *in, int rank, slice_args *a)
{
    int64_t step[PTQ_MAX_RANK];
    int axes, steps;
    a->n = -1;
    int ns = slice_list(in, 1, "starts", a->start), ne = slice_list(in, 2, "ends", a->end);
    PTQ_TRY(ptq_infer_axes(in, 3, "axes", rank, a->axes, &axes));
    PTQ_TRY(ptq_infer_int_list(in, 4, NULL, step, PTQ_MAX_RANK, &steps));
    int n = axes >= 0 ? axes : ns >= 0 ? ns : ne;
    if (ns == -3 || ne == -3 || (ns >= 0 && ns != n) || (ne >= 0 && ne != n) ||
        (steps >= 0 && n >= 0 && steps != n) || n > rank)
        return ptq_infer_fail(in, "starts, ends, axes and steps do not match (rank %d)", rank);
    if (n < 0 || axes == -1)
        return PTQ_OK;
    a->steps_known = steps != -1;
    for (int i = 0; i < n; i++) {
        a->axes[i] = axes >= 0 ? a->axes[i] : i;
        a->step[i] = steps >= 0 ? step[i] : 1;
        if (a->step[i] == 0)
            return ptq_infer_fail(in, "a step is 0");
        if (ns < 0)
            a->start[i] = ptq_dim_unknown();
        if (ne < 0)
            a->end[i] = ptq_dim_unknown();
    }
    a->n = n;
    return PTQ_OK;
}

static void slice_elements(ptq_infer *in, const slice_args *a)
{
    ptq_contents tmp, *o = ptq_infer_out_elements(in, 0);
    const ptq_contents *c = o ? ptq_infer_elements(in, 0, &tmp) : NULL;
    if (!c || c->rank != 1 || a->n != 1 || !a->steps_known)
        return;
    ptq_dim n = ptq_dim_of(c->n), s = a->start[0], e = a->end[0];
    if (!ptq_dim_known(s) || !ptq_dim_known(e))
        return;
    int64_t first, count = ptq_slice_range(n.add, s.add, e.add, a->step[0], &first);
    o->n = (int)count;
    o->rank = 1;
    for (int64_t i = 0; i < count; i++)
        o->v[i] = c->v[first + i * a->step[0]];
}

ptq_status ptq_infer_slice(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    slice_args a;
    if (s.rank >= 0) {
        PTQ_TRY(slice_read(in, s.rank, &a));
        for (int i = 0; a.n < 0 && i < s.rank; i++)
            s.dims[i] = ptq_dim_unknown();
        for (int i = 0; i < a.n; i++) {
            ptq_dim *d = &s.dims[a.axes[i]];
            *d = a.steps_known ? ptq_infer_slice_dim(*d, a.start[i], a.end[i], a.step[i])
                               : ptq_dim_unknown();
        }
        slice_elements(in, &a);
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

/* ---- Split, Concat, Gather ---- */

static ptq_status split_sizes(ptq_infer *in, ptq_dim d, ptq_dim *size)
{
    int64_t given[PTQ_MAX_OUT], sum = 0;
    int n;
    PTQ_TRY(ptq_infer_int_list(in, 1, "split", given, PTQ_MAX_OUT, &n));
    if (n >= 0) {
        if (n != in->nout)
            return ptq_infer_fail(in, "%d sizes for %d outputs", n, in->nout);
        for (int i = 0; i < n; i++) {
            if (given[i] < 0 || __builtin_add_overflow(sum, given[i], &sum))
                return ptq_infer_fail(in, "size %lld", (long long)given[i]);
            size[i] = ptq_dim_of(given[i]);
        }
        if (ptq_dim_known(d) && sum != d.add)
            return ptq_infer_fail(in, "the sizes add up to %lld, the dimension has %lld",
                                  (long long)sum, (long long)d.add);
        return PTQ_OK;
    }
    /* Equal parts; with num_outputs (opset 18) the last may be smaller. */
    int64_t parts = ptq_attr_int(in->node, "num_outputs", in->nout);
    if (parts != in->nout)
        return ptq_infer_fail(in, "num_outputs is %lld, there are %d", (long long)parts, in->nout);
    bool uneven = ptq_attr_find(in->node, "num_outputs") != NULL;
    if (n == -1 || !ptq_dim_known(d)) {
        ptq_dim each = n == -1 ? ptq_dim_unknown() : ptq_dim_div(d, ptq_dim_of(parts));
        bool exact = ptq_dim_equal(ptq_dim_mul(each, ptq_dim_of(parts)), d);
        for (int i = 0; i < in->nout; i++)
            size[i] = exact ? each : ptq_dim_unknown();
        return PTQ_OK;
    }
    int64_t chunk = (d.add + parts - 1) / parts, left = d.add;
    if (!uneven && d.add % parts != 0)
        return ptq_infer_fail(in, "%lld cannot be split into %lld equal parts", (long long)d.add,
                              (long long)parts);
    for (int i = 0; i < in->nout; i++) {
        int64_t k = left < chunk ? left : chunk;
        size[i] = ptq_dim_of(k);
        left -= k;
    }
    return PTQ_OK;
}

ptq_status ptq_infer_split(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    ptq_dim size[PTQ_MAX_OUT];
    int axis = 0;
    if (s.rank >= 0) {
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", 0), s.rank, &axis));
        PTQ_TRY(split_sizes(in, s.dims[axis], size));
    }
    ptq_contents tmp;
    const ptq_contents *c = ptq_infer_elements(in, 0, &tmp);
    int64_t at = 0;
    for (int i = 0; i < in->nout; i++) {
        if (s.rank >= 0)
            s.dims[axis] = size[i];
        ptq_infer_set(in, i, in->in[0].dtype, &s);
        ptq_contents *o = ptq_infer_out_elements(in, i);
        if (!c || !o || c->rank != 1 || !ptq_dim_known(size[i]))
            continue;
        o->n = (int)size[i].add;
        o->rank = 1;
        memcpy(o->v, c->v + at, (size_t)o->n * sizeof *o->v);
        at += o->n;
    }
    return PTQ_OK;
}

/* Inputs first, first + stride, ... are joined; their elements too. */
static ptq_status concat(ptq_infer *in, int first, int stride, ptq_shape *out)
{
    ptq_shape s = in->in[first].shape;
    const ptq_attr *attr = ptq_attr_find(in->node, "axis");
    int axis = 0;
    *out = ptq_shape_unknown();
    if (!attr)
        return ptq_infer_fail(in, "attribute axis is missing");
    if (s.rank < 0)
        return PTQ_OK;
    PTQ_TRY(ptq_infer_axis(in, attr->i, s.rank, &axis));
    for (int i = first + stride; i < in->nin; i += stride) {
        const ptq_shape *x = &in->in[i].shape;
        if (x->rank < 0)
            return PTQ_OK;
        if (x->rank != s.rank)
            return ptq_infer_fail(in, "input %d has rank %d, the first %d", i, x->rank, s.rank);
        for (int k = 0; k < s.rank; k++) {
            if (k == axis)
                s.dims[k] = ptq_dim_add(s.dims[k], x->dims[k]);
            else if (!ptq_dim_merge(s.dims[k], x->dims[k], &s.dims[k]))
                return ptq_infer_fail(in, "dimension %d of input %d is %lld, of the others %lld", k, i,
                                      (long long)x->dims[k].add, (long long)s.dims[k].add);
        }
    }
    *out = s;
    return PTQ_OK;
}

ptq_status ptq_infer_concat(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(concat(in, 0, 1, &s));
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    ptq_contents *o = ptq_infer_out_elements(in, 0);
    if (!o || s.rank != 1)
        return PTQ_OK;
    int n = 0;
    for (int i = 0; i < in->nin; i++) {
        ptq_contents tmp;
        const ptq_contents *c = ptq_infer_elements(in, i, &tmp);
        if (!c || c->rank != 1 || n + c->n > PTQ_CONTENTS_MAX)
            return PTQ_OK;
        memcpy(o->v + n, c->v, (size_t)c->n * sizeof *c->v);
        n += c->n;
    }
    o->n = n;
    o->rank = 1;
    return PTQ_OK;
}

ptq_status ptq_infer_qlinear_concat(ptq_infer *in)
{
    ptq_shape s;
    if ((in->nin - 2) % 3 != 0)
        return ptq_infer_fail(in, "has %d inputs; 2 and 3 for each tensor are needed", in->nin);
    PTQ_TRY(concat(in, 2, 3, &s));
    ptq_infer_set(in, 0, in->in[1].dtype ? in->in[1].dtype : in->in[2].dtype, &s);
    return PTQ_OK;
}

static void gather_elements(ptq_infer *in)
{
    ptq_contents ta, tb, *o = ptq_infer_out_elements(in, 0);
    const ptq_contents *x = o ? ptq_infer_elements(in, 0, &ta) : NULL;
    const ptq_contents *at = x ? ptq_infer_elements(in, 1, &tb) : NULL;
    if (!at || x->rank != 1)
        return;
    for (int i = 0; i < at->n; i++) {
        int64_t k = at->v[i].add;
        k = k < 0 ? k + x->n : k;
        if (!ptq_dim_known(at->v[i]) || k < 0 || k >= x->n)
            return;
        o->v[i] = x->v[k];
    }
    o->n = at->n;
    o->rank = at->rank;
}

ptq_status ptq_infer_gather(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape, *at = &in->in[1].shape;
    ptq_shape s = ptq_shape_unknown();
    if (x->rank >= 0 && at->rank >= 0) {
        int axis;
        PTQ_TRY(ptq_infer_axis(in, ptq_attr_int(in->node, "axis", 0), x->rank, &axis));
        if (x->rank - 1 + at->rank > PTQ_MAX_RANK)
            return ptq_infer_fail(in, "rank %d; at most %d works", x->rank - 1 + at->rank,
                                  PTQ_MAX_RANK);
        s.rank = 0;
        for (int i = 0; i < axis; i++)
            s.dims[s.rank++] = x->dims[i];
        for (int i = 0; i < at->rank; i++)
            s.dims[s.rank++] = at->dims[i];
        for (int i = axis + 1; i < x->rank; i++)
            s.dims[s.rank++] = x->dims[i];
        gather_elements(in);
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

/* ---- the rest ---- */

/* DepthToSpace and SpaceToDepth. */
ptq_status ptq_infer_depth_to_space(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    int64_t b = ptq_attr_int(in->node, "blocksize", 0);
    if (b < 1 || b > INT16_MAX)
        return ptq_infer_fail(in, "blocksize %lld", (long long)b);
    if (s.rank >= 0 && s.rank != 4)
        return ptq_infer_fail(in, "the input has rank %d, not 4", s.rank);
    ptq_dim by = ptq_dim_of(b), area = ptq_dim_of(b * b);
    bool depth = in->node->op[0] == 'D';
    for (int i = 1; i < s.rank; i++) {
        ptq_dim k = i == 1 ? area : by;
        bool grow = (i == 1) != depth;
        if (!grow && ptq_dim_known(s.dims[i]) && s.dims[i].add % k.add != 0)
            return ptq_infer_fail(in, "dimension %d is %lld, not a multiple of %lld", i,
                                  (long long)s.dims[i].add, (long long)k.add);
        s.dims[i] = grow ? ptq_dim_mul(s.dims[i], k) : ptq_dim_div(s.dims[i], k);
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_pad(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    int64_t pads[2 * PTQ_MAX_RANK];
    int axes[PTQ_MAX_RANK], n, naxes = -2;
    if (s.rank >= 0) {
        PTQ_TRY(ptq_infer_int_list(in, 1, "pads", pads, 2 * PTQ_MAX_RANK, &n));
        PTQ_TRY(ptq_infer_axes(in, 3, NULL, s.rank, axes, &naxes));
        int count = naxes >= 0 ? naxes : s.rank;
        if (n >= 0 && naxes != -1 && n != 2 * count)
            return ptq_infer_fail(in, "%d pads for %d dimensions", n, count);
        bool known = n >= 0 && naxes != -1;
        for (int i = 0; i < (known ? count : s.rank); i++) {
            int a = known && naxes >= 0 ? axes[i] : i;
            ptq_dim d = ptq_dim_unknown();
            if (known)
                d = ptq_dim_add(ptq_dim_add(s.dims[a], ptq_dim_of(pads[i])),
                                ptq_dim_of(pads[count + i]));
            if (ptq_dim_known(d) && d.add < 0)
                return ptq_infer_fail(in, "dimension %d gets the size %lld", a, (long long)d.add);
            s.dims[a] = d;
        }
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_trilu(ptq_infer *in)
{
    if (in->in[0].shape.rank >= 0 && in->in[0].shape.rank < 2)
        return ptq_infer_fail(in, "the input has rank %d", in->in[0].shape.rank);
    ptq_infer_set(in, 0, in->in[0].dtype, &in->in[0].shape);
    return PTQ_OK;
}

/* ---- Resize ---- */

static ptq_status by_scales(ptq_infer *in, const float *scale, const int *axes, int n, ptq_shape *s)
{
    for (int i = 0; i < n; i++) {
        ptq_dim *d = &s->dims[axes[i]];
        if (!(scale[i] > 0) || scale[i] > 1e6f)
            return ptq_infer_fail(in, "scale %g", (double)scale[i]);
        float whole = floorf(scale[i]);
        if (ptq_dim_known(*d)) /* in float, as ONNX Runtime does */
            *d = ptq_dim_of((int64_t)floorf((float)d->add * scale[i]));
        else
            *d = whole == scale[i] ? ptq_dim_mul(*d, ptq_dim_of((int64_t)whole)) : ptq_dim_unknown();
    }
    return PTQ_OK;
}

static ptq_status by_sizes(ptq_infer *in, const ptq_contents *c, const int *axes, int n, ptq_shape *s)
{
    const char *policy = ptq_attr_str(in->node, "keep_aspect_ratio_policy", "stretch");
    bool larger = strcmp(policy, "not_larger") == 0, smaller = strcmp(policy, "not_smaller") == 0;
    double best = 0;
    for (int i = 0; i < n; i++) {
        ptq_dim *d = &s->dims[axes[i]];
        if (ptq_dim_known(c->v[i]) && c->v[i].add < 0)
            return ptq_infer_fail(in, "size %lld", (long long)c->v[i].add);
        if (!larger && !smaller) {
            *d = c->v[i];
            continue;
        }
        if (!ptq_dim_known(*d) || !ptq_dim_known(c->v[i]) || d->add == 0) {
            for (int k = 0; k < n; k++)
                s->dims[axes[k]] = ptq_dim_unknown();
            return PTQ_OK;
        }
        double r = (double)c->v[i].add / (double)d->add;
        best = i == 0 || (larger ? r < best : r > best) ? r : best;
    }
    for (int i = 0; (larger || smaller) && i < n; i++)
        s->dims[axes[i]] =
            ptq_dim_of((int64_t)floor((double)s->dims[axes[i]].add * best + 0.5));
    return PTQ_OK;
}

/* Scales: 1-D float constant in `slot`; NULL when not known. */
static const float *scales_of(const ptq_infer *in, int slot, int64_t *n)
{
    const ptq_tensor *t = slot < in->nin && in->value ? in->value[slot] : NULL;
    *n = t ? ptq_tensor_elements(t) : -1;
    return t && t->dtype == PTQ_DT_F32 && t->rank == 1 && *n > 0 ? t->data : NULL;
}

ptq_status ptq_infer_resize(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    int axes[PTQ_MAX_RANK], n = -2;
    int64_t count;
    if (s.rank < 0) {
        ptq_infer_set(in, 0, in->in[0].dtype, &s);
        return PTQ_OK;
    }
    PTQ_TRY(ptq_infer_axes(in, -1, "axes", s.rank, axes, &n));
    if (n < 0)
        for (n = 0; n < s.rank; n++)
            axes[n] = n;
    const float *scale = scales_of(in, in->opset < 11 ? 1 : 2, &count);
    ptq_contents tmp;
    const ptq_contents *sizes = ptq_infer_has(in, 3) ? ptq_infer_elements(in, 3, &tmp) : NULL;
    if ((scale && count != n) || (sizes && sizes->n != n))
        return ptq_infer_fail(in, "%lld scales or sizes for %d dimensions",
                              (long long)(sizes ? sizes->n : count), n);
    if (sizes)
        PTQ_TRY(by_sizes(in, sizes, axes, n, &s));
    else if (scale && strcmp(ptq_attr_str(in->node, "coordinate_transformation_mode", ""),
                             "tf_crop_and_resize") != 0)
        PTQ_TRY(by_scales(in, scale, axes, n, &s));
    else
        for (int i = 0; i < n; i++)
            s.dims[axes[i]] = ptq_dim_unknown();
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_upsample(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    int axes[PTQ_MAX_RANK];
    int64_t count;
    size_t n;
    const float *scale = ptq_attr_floats(in->node, "scales", &n);
    if (scale)
        count = (int64_t)n;
    else
        scale = scales_of(in, 1, &count);
    if (scale && s.rank >= 0 && count != s.rank)
        return ptq_infer_fail(in, "%lld scales for %d dimensions", (long long)count, s.rank);
    for (int i = 0; i < s.rank; i++)
        axes[i] = i;
    if (scale && s.rank >= 0)
        PTQ_TRY(by_scales(in, scale, axes, s.rank, &s));
    else
        for (int i = 0; i < s.rank; i++)
            s.dims[i] = ptq_dim_unknown();
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}
