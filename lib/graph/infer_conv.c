/* SPDX-License-Identifier: Apache-2.0 */
/* Windows (convolution, pooling) and matrix products. */
#include <string.h>

#include "lib/graph/infer.h"

/* ---- windows ---- */

static ptq_status read_list(const ptq_node *n, const char *name, int nd, int64_t least, int64_t dflt,
                            int64_t *v)
{
    size_t count;
    const int64_t *list = ptq_attr_ints(n, name, &count);
    if (list && count != (size_t)nd)
        return ptq_fail(PTQ_ERR_MODEL,
                        "node '%s' (%s): attribute %s has %zu elements, %d spatial dimensions need %d",
                        n->name, n->op, name, count, nd, nd);
    for (int i = 0; i < nd; i++) {
        v[i] = list ? list[i] : dflt;
        if (v[i] < least || v[i] > INT32_MAX)
            return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): attribute %s has the element %lld",
                            n->name, n->op, name, (long long)v[i]);
    }
    return PTQ_OK;
}

static int64_t extent(const ptq_window *w, int d)
{
    return (w->kernel[d] - 1) * w->dilation[d] + 1;
}

static ptq_status read_pads(const ptq_node *n, const int64_t *spatial, ptq_window *w)
{
    const char *mode = ptq_attr_str(n, "auto_pad", "NOTSET");
    if (strcmp(mode, "NOTSET") == 0 || !*mode) {
        int64_t pads[6] = {0};
        /* Negative pads cut; only Pad has them. */
        PTQ_TRY(read_list(n, "pads", 2 * w->nd, 0, 0, pads));
        for (int d = 0; d < w->nd; d++) {
            w->pad_begin[d] = pads[d];
            w->pad_end[d] = pads[w->nd + d];
        }
        return PTQ_OK;
    }
    if (strcmp(mode, "VALID") == 0)
        return PTQ_OK;
    bool upper = strcmp(mode, "SAME_UPPER") == 0, conv = strncmp(n->op, "Conv", 4) == 0 ||
                                                         strcmp(n->op, "QLinearConv") == 0;
    if (!upper && strcmp(mode, "SAME_LOWER") != 0)
        return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): auto_pad '%s'", n->name, n->op, mode);
    for (int d = 0; spatial && d < w->nd; d++) {
        int64_t out = (spatial[d] + w->stride[d] - 1) / w->stride[d];
        /* For pools ONNX Runtime leaves the dilation out here; then the size is smaller. */
        int64_t pad = (out - 1) * w->stride[d] + (conv ? extent(w, d) : w->kernel[d]) - spatial[d];
        pad = pad < 0 ? 0 : pad;
        w->pad_begin[d] = upper ? pad / 2 : pad - pad / 2;
        w->pad_end[d] = pad - w->pad_begin[d];
    }
    return PTQ_OK;
}

ptq_status ptq_window_read(const ptq_node *n, int nd, const int64_t *spatial, const int64_t *kernel,
                           ptq_window *out)
{
    ptq_window w = {.nd = nd};
    if (nd < 1 || nd > 3)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s' (%s): %d spatial dimensions; 1 to 3 work",
                        n->name, n->op, nd);
    if (!kernel && !ptq_attr_find(n, "kernel_shape"))
        return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): attribute kernel_shape is missing", n->name,
                        n->op);
    PTQ_TRY(read_list(n, "kernel_shape", nd, 1, 1, w.kernel));
    for (int d = 0; kernel && d < nd; d++) {
        if (ptq_attr_find(n, "kernel_shape") && w.kernel[d] != kernel[d])
            return ptq_fail(PTQ_ERR_MODEL,
                            "node '%s' (%s): kernel_shape says %lld in dimension %d, the weight %lld",
                            n->name, n->op, (long long)w.kernel[d], d, (long long)kernel[d]);
        w.kernel[d] = kernel[d];
    }
    PTQ_TRY(read_list(n, "strides", nd, 1, 1, w.stride));
    PTQ_TRY(read_list(n, "dilations", nd, 1, 1, w.dilation));
    PTQ_TRY(read_pads(n, spatial, &w));
    w.group = ptq_attr_int(n, "group", 1);
    if (w.group < 1)
        return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): group %lld", n->name, n->op,
                        (long long)w.group);
    /* SAME fixes the size by itself. Where the window is smaller than its stride nothing is cut:
     * TensorFlow's definition; ONNX Runtime cuts in some kernels and not in others. */
    bool same = strncmp(ptq_attr_str(n, "auto_pad", ""), "SAME", 4) == 0;
    w.ceil_mode = !same && ptq_attr_int(n, "ceil_mode", 0) != 0;
    w.count_include_pad = ptq_attr_int(n, "count_include_pad", 0) != 0;
    *out = w;
    return PTQ_OK;
}

int64_t ptq_window_out(const ptq_window *w, int d, int64_t in, bool pooling)
{
    /* ceil_mode: the last window may reach over the end. Before opset 22 it may lie in the padding
     * behind the end as a whole, by the formula and in ONNX Runtime 1.20. */
    bool ceil_mode = pooling && w->ceil_mode;
    int64_t span = in + w->pad_begin[d] + w->pad_end[d] - extent(w, d);
    span += ceil_mode ? w->stride[d] - 1 : 0;
    if (span < 0)
        return -1;
    int64_t out = span / w->stride[d] + 1;
    bool outside = (out - 1) * w->stride[d] >= in + w->pad_begin[d];
    return ceil_mode && w->starts_inside && outside && out > 1 ? out - 1 : out;
}

static bool numbers(const ptq_dim *d, int n, int64_t *out)
{
    for (int i = 0; i < n; i++) {
        if (!ptq_dim_known(d[i]))
            return false;
        out[i] = d[i].add;
    }
    return true;
}

static ptq_dim window_dim(const ptq_window *w, int d, ptq_dim in, bool same, bool pooling)
{
    if (same)
        return w->stride[d] == 1 ? in : ptq_dim_unknown();
    if (pooling && w->ceil_mode && w->stride[d] != 1)
        return ptq_dim_unknown();
    ptq_dim span = ptq_dim_add(in, ptq_dim_of(w->pad_begin[d] + w->pad_end[d] - extent(w, d)));
    return ptq_dim_add(ptq_dim_div(span, ptq_dim_of(w->stride[d])), ptq_dim_of(1));
}

/* Spatial dims of out from those of x; kernel NULL: from kernel_shape. */
static ptq_status window_dims(ptq_infer *in, const ptq_shape *x, const ptq_dim *kernel, bool pooling,
                              int first, ptq_shape *out)
{
    int nd = x->rank - 2;
    int64_t spatial[PTQ_MAX_RANK] = {0}, k[PTQ_MAX_RANK] = {0};
    ptq_window w;
    bool known = numbers(x->dims + first, nd, spatial);
    bool has_kernel = kernel && numbers(kernel, nd, k);
    for (int i = 0; i < nd; i++)
        out->dims[first + i] = ptq_dim_unknown();
    if (kernel && !has_kernel && !ptq_attr_find(in->node, "kernel_shape"))
        return PTQ_OK;
    PTQ_TRY(ptq_window_read(in->node, nd, known ? spatial : NULL, has_kernel ? k : NULL, &w));
    w.starts_inside = in->opset >= 22;
    bool same = strncmp(ptq_attr_str(in->node, "auto_pad", ""), "SAME", 4) == 0;
    for (int i = 0; i < nd; i++) {
        ptq_dim d = x->dims[first + i];
        if (!ptq_dim_known(d) || (same && !known)) {
            out->dims[first + i] = window_dim(&w, i, d, same, pooling);
            continue;
        }
        int64_t o = ptq_window_out(&w, i, d.add, pooling);
        if (o < 0)
            return ptq_infer_fail(in, "the window of %lld does not fit into %lld in dimension %d",
                                  (long long)extent(&w, i), (long long)d.add, i);
        out->dims[first + i] = ptq_dim_of(o);
    }
    return PTQ_OK;
}

static ptq_status spatial_rank(const ptq_infer *in, const ptq_shape *x)
{
    return x->rank >= 3 && x->rank <= 5
               ? PTQ_OK
               : ptq_infer_fail(in, "the input has rank %d; 3, 4 or 5 work", x->rank);
}

/* x in slot 0, weight [M, C/group, k...] in slot wslot. */
static ptq_status conv_shape(ptq_infer *in, int wslot, int bslot, ptq_shape *out)
{
    const ptq_shape *x = &in->in[0].shape, *w = &in->in[wslot].shape;
    *out = ptq_shape_unknown();
    if (x->rank < 0)
        return PTQ_OK;
    PTQ_TRY(spatial_rank(in, x));
    if (w->rank >= 0 && w->rank != x->rank)
        return ptq_infer_fail(in, "the input has rank %d, the weight %d", x->rank, w->rank);
    int64_t group = ptq_attr_int(in->node, "group", 1);
    *out = *x;
    out->dims[1] = ptq_dim_unknown();
    if (w->rank < 0)
        return window_dims(in, x, NULL, false, 2, out);
    ptq_dim c = ptq_dim_mul(w->dims[1], ptq_dim_of(group)), m = w->dims[0];
    if (ptq_dim_known(c) && ptq_dim_known(x->dims[1]) && c.add != x->dims[1].add)
        return ptq_infer_fail(in, "the input has %lld channels, the weight %lld (in %lld groups)",
                              (long long)x->dims[1].add, (long long)c.add, (long long)group);
    if (group < 1 || (ptq_dim_known(m) && m.add % group != 0))
        return ptq_infer_fail(in, "%lld output channels in %lld groups", (long long)m.add,
                              (long long)group);
    if (ptq_infer_has(in, bslot)) {
        const ptq_shape *b = &in->in[bslot].shape;
        if (b->rank > 1 || (b->rank == 1 && ptq_dim_known(b->dims[0]) && ptq_dim_known(m) &&
                            b->dims[0].add != m.add))
            return ptq_infer_fail(in, "the bias does not have %lld elements", (long long)m.add);
    }
    out->dims[1] = m;
    return window_dims(in, x, w->dims + 2, false, 2, out);
}

ptq_status ptq_infer_conv(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(conv_shape(in, 1, 2, &s));
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_deform_conv(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(conv_shape(in, 1, 3, &s));
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_conv_integer(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(conv_shape(in, 1, in->nin, &s));
    ptq_infer_set(in, 0, PTQ_DT_S32, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_qlinear_conv(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(conv_shape(in, 3, 8, &s));
    ptq_infer_set(in, 0, in->in[7].dtype, &s);
    return PTQ_OK;
}

static ptq_status transpose_dims(ptq_infer *in, const ptq_shape *x, const ptq_shape *w,
                                 ptq_shape *out)
{
    int nd = x->rank - 2;
    int64_t k[PTQ_MAX_RANK] = {0}, extra[3], given[3] = {0};
    size_t count;
    ptq_window win;
    bool has_kernel = w->rank == x->rank && numbers(w->dims + 2, nd, k);
    if (!has_kernel && !ptq_attr_find(in->node, "kernel_shape"))
        return PTQ_OK;
    PTQ_TRY(ptq_window_read(in->node, nd, NULL, has_kernel ? k : NULL, &win));
    PTQ_TRY(read_list(in->node, "output_padding", nd, 0, 0, extra));
    bool fixed = ptq_attr_ints(in->node, "output_shape", &count) != NULL;
    if (fixed)
        PTQ_TRY(read_list(in->node, "output_shape", nd, 1, 1, given));
    bool same = strncmp(ptq_attr_str(in->node, "auto_pad", ""), "SAME", 4) == 0;
    for (int i = 0; i < nd; i++) {
        ptq_dim d = x->dims[2 + i], stride = ptq_dim_of(win.stride[i]);
        int64_t rest = extra[i] + extent(&win, i) - win.pad_begin[i] - win.pad_end[i];
        if (same && rest > win.stride[i]) /* d * stride, or what there is, as ONNX Runtime */
            rest = win.stride[i];
        out->dims[2 + i] = fixed ? ptq_dim_of(given[i])
                                 : ptq_dim_add(ptq_dim_mul(ptq_dim_sub(d, ptq_dim_of(1)), stride),
                                               ptq_dim_of(rest));
        if (ptq_dim_known(out->dims[2 + i]) && out->dims[2 + i].add < 0)
            return ptq_infer_fail(in, "output size %lld in dimension %d",
                                  (long long)out->dims[2 + i].add, i);
    }
    return PTQ_OK;
}

ptq_status ptq_infer_conv_transpose(ptq_infer *in)
{
    const ptq_shape *x = &in->in[0].shape, *w = &in->in[1].shape;
    ptq_shape s = *x;
    if (x->rank >= 0) {
        PTQ_TRY(spatial_rank(in, x));
        if (w->rank >= 0 && w->rank != x->rank)
            return ptq_infer_fail(in, "the input has rank %d, the weight %d", x->rank, w->rank);
        ptq_dim c;
        if (w->rank >= 0 && !ptq_dim_merge(x->dims[1], w->dims[0], &c))
            return ptq_infer_fail(in, "the input has %lld channels, the weight %lld",
                                  (long long)x->dims[1].add, (long long)w->dims[0].add);
        for (int i = 1; i < s.rank; i++)
            s.dims[i] = ptq_dim_unknown();
        if (w->rank >= 0)
            s.dims[1] =
                ptq_dim_mul(w->dims[1], ptq_dim_of(ptq_attr_int(in->node, "group", 1)));
        PTQ_TRY(transpose_dims(in, x, w, &s));
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

/* ---- pools ---- */

ptq_status ptq_infer_pool(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    if (s.rank >= 0) {
        PTQ_TRY(spatial_rank(in, &s));
        PTQ_TRY(window_dims(in, &in->in[0].shape, NULL, true, 2, &s));
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    ptq_infer_set(in, 1, PTQ_DT_S64, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_qlinear_pool(ptq_infer *in)
{
    ptq_shape s = in->in[0].shape;
    if (s.rank >= 0) {
        PTQ_TRY(spatial_rank(in, &s));
        int first = ptq_attr_int(in->node, "channels_last", 0) ? 1 : 2;
        PTQ_TRY(window_dims(in, &in->in[0].shape, NULL, true, first, &s));
    }
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

static ptq_status global_pool(ptq_infer *in, int first)
{
    ptq_shape s = in->in[0].shape;
    if (s.rank >= 0 && s.rank < 3)
        return ptq_infer_fail(in, "the input has rank %d", s.rank);
    for (int i = first; i < first + s.rank - 2; i++)
        s.dims[i] = ptq_dim_of(1);
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_global_pool(ptq_infer *in)
{
    return global_pool(in, 2);
}

ptq_status ptq_infer_qlinear_global_pool(ptq_infer *in)
{
    return global_pool(in, ptq_attr_int(in->node, "channels_last", 0) ? 1 : 2);
}

/* ---- products ---- */

static ptq_status gemm_shape(ptq_infer *in, int bslot, int cslot, ptq_shape *out)
{
    const ptq_shape *a = &in->in[0].shape, *b = &in->in[bslot].shape;
    *out = ptq_shape_unknown();
    if ((a->rank >= 0 && a->rank != 2) || (b->rank >= 0 && b->rank != 2))
        return ptq_infer_fail(in, "inputs of rank %d and %d; both must be matrices", a->rank, b->rank);
    int ta = ptq_attr_int(in->node, "transA", 0) != 0, tb = ptq_attr_int(in->node, "transB", 0) != 0;
    ptq_dim k;
    if (a->rank == 2 && b->rank == 2 && !ptq_dim_merge(a->dims[1 - ta], b->dims[tb], &k))
        return ptq_infer_fail(in, "the inner sizes are %lld and %lld",
                              (long long)a->dims[1 - ta].add, (long long)b->dims[tb].add);
    out->rank = 2;
    out->dims[0] = a->rank == 2 ? a->dims[ta] : ptq_dim_unknown();
    out->dims[1] = b->rank == 2 ? b->dims[1 - tb] : ptq_dim_unknown();
    if (ptq_infer_has(in, cslot)) {
        ptq_shape s;
        PTQ_TRY(ptq_infer_broadcast_shapes(in, out, &in->in[cslot].shape, &s));
        if (s.rank > 2)
            return ptq_infer_fail(in, "input C has rank %d", s.rank);
    }
    return PTQ_OK;
}

ptq_status ptq_infer_gemm(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(gemm_shape(in, 1, 2, &s));
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_qgemm(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(gemm_shape(in, 3, 6, &s));
    ptq_infer_set(in, 0, ptq_infer_has(in, 8) ? in->in[8].dtype : PTQ_DT_F32, &s);
    return PTQ_OK;
}

static ptq_status matmul_shape(ptq_infer *in, int bslot, ptq_shape *out)
{
    ptq_shape a = in->in[0].shape, b = in->in[bslot].shape, r;
    *out = ptq_shape_unknown();
    if (a.rank == 0 || b.rank == 0)
        return ptq_infer_fail(in, "a scalar cannot be multiplied as a matrix");
    if (a.rank < 0 || b.rank < 0)
        return PTQ_OK;
    bool va = a.rank == 1, vb = b.rank == 1; /* a vector is a row on the left, a column on the right */
    if (va) {
        a = (ptq_shape){.rank = 2, .dims = {ptq_dim_of(1), a.dims[0]}};
    }
    if (vb)
        b = (ptq_shape){.rank = 2, .dims = {b.dims[0], ptq_dim_of(1)}};
    ptq_dim k, m = a.dims[a.rank - 2], n = b.dims[b.rank - 1];
    if (!ptq_dim_merge(a.dims[a.rank - 1], b.dims[b.rank - 2], &k))
        return ptq_infer_fail(in, "the inner sizes are %lld and %lld",
                              (long long)a.dims[a.rank - 1].add, (long long)b.dims[b.rank - 2].add);
    a.rank -= 2;
    b.rank -= 2;
    PTQ_TRY(ptq_infer_broadcast_shapes(in, &a, &b, &r));
    if (!va)
        r.dims[r.rank++] = m;
    if (!vb)
        r.dims[r.rank++] = n;
    *out = r;
    return PTQ_OK;
}

ptq_status ptq_infer_matmul(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(matmul_shape(in, 1, &s));
    ptq_infer_set(in, 0, in->in[0].dtype, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_matmul_integer(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(matmul_shape(in, 1, &s));
    ptq_infer_set(in, 0, PTQ_DT_S32, &s);
    return PTQ_OK;
}

ptq_status ptq_infer_qlinear_matmul(ptq_infer *in)
{
    ptq_shape s;
    PTQ_TRY(matmul_shape(in, 3, &s));
    ptq_infer_set(in, 0, in->in[7].dtype, &s);
    return PTQ_OK;
}
