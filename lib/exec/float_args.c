/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/float_args.h"

#include <string.h>

bool ptq_inputs_are(const ptq_program *p, const ptq_step *s, int first, int n, ptq_dtype t)
{
    for (int i = first; i < first + n && i < s->nin; i++)
        if (s->in[i] >= 0 && p->values.v[s->in[i]].dtype != t)
            return false;
    return true;
}

bool ptq_supports_f32(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (ptq_inputs_are(p, s, 0, s->nin, PTQ_DT_F32))
        return true;
    if (why)
        *why = "only float32 is supported";
    return false;
}

/* ---- Conv, ConvTranspose ---- */

/* The padding at the beginning follows from the output's size when the attributes leave it open. */
static void transpose_pads(const ptq_step_run *r, ptq_conv_geometry *g)
{
    const ptq_node *n = r->step->node;
    size_t no, np;
    int nd = r->in[0]->rank - 2;
    const char *mode = ptq_attr_str(n, "auto_pad", "NOTSET");
    const int64_t *op = ptq_attr_ints(n, "output_padding", &np);
    bool same = strncmp(mode, "SAME", 4) == 0;
    if (!same && !ptq_attr_ints(n, "output_shape", &no))
        return;
    for (int d = 3 - nd; d < 3; d++) {
        int s = d - (3 - nd);
        int64_t reach = (g->k[d] - 1) * g->dil[d];
        int64_t total = g->up[d] * (g->in[d] - 1) + (op && (size_t)s < np ? op[s] : 0) + reach + 1 -
                        g->out[d];
        total = total > 0 ? total : 0;
        int64_t begin = strcmp(mode, "SAME_UPPER") == 0 ? total / 2 : total - total / 2;
        g->pad[d] = reach - begin;
    }
}

/* Dimension d of three; `s` is the spatial dimension that it stands for. */
static void conv_dim(const ptq_step_run *r, const ptq_window *win, bool transposed, int d, int s,
                     ptq_conv_geometry *g)
{
    g->in[d] = r->in[0]->dims[2 + s];
    g->out[d] = r->out[0].dims[2 + s];
    g->k[d] = r->in[1]->dims[2 + s];
    g->dil[d] = win->dilation[s];
    g->stride[d] = transposed ? 1 : win->stride[s];
    g->up[d] = transposed ? win->stride[s] : 1;
    g->pad[d] = win->pad_begin[s];
    if (transposed)
        g->pad[d] = win->dilation[s] * (g->k[d] - 1) - win->pad_begin[s];
    if (g->k[d] != 1 || g->stride[d] != 1 || g->pad[d] != 0 || g->up[d] != 1 || g->in[d] != g->out[d])
        g->pointwise = false;
}

ptq_status ptq_conv_geometry_of(const ptq_step_run *r, bool transposed, ptq_conv_geometry *g)
{
    const ptq_tensor *x = r->in[0], *w = r->in[1], *y = &r->out[0];
    int nd = x->rank - 2, lead = 3 - nd;
    ptq_window win;
    if (nd < 1 || nd > 3 || w->rank != x->rank)
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "node %s: convolution of rank %d is not supported (3 to 5 are)",
                        r->step->name, x->rank);
    PTQ_TRY(ptq_window_read(r->step->node, nd, x->dims + 2, w->dims + 2, &win));
    *g = (ptq_conv_geometry){.batch = x->dims[0], .c = x->dims[1], .m = y->dims[1], .group = win.group};
    g->cg = g->c / g->group;
    g->mg = g->m / g->group;
    g->pointwise = !transposed;
    for (int d = 0; d < 3; d++) {
        g->in[d] = g->out[d] = g->k[d] = g->stride[d] = g->dil[d] = g->up[d] = 1;
        if (d >= lead)
            conv_dim(r, &win, transposed, d, d - lead, g);
    }
    if (transposed)
        transpose_pads(r, g);
    g->kvol = ptq_product(g->k, 0, 3);
    g->isize = ptq_product(g->in, 0, 3);
    g->osize = ptq_product(g->out, 0, 3);
    if (g->isize >= INT32_MAX)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: an image of %lld elements is too large",
                        r->step->name, (long long)g->isize);
    return PTQ_OK;
}

ptq_status ptq_conv_sum_of(const ptq_step_run *r, const float **add)
{
    const ptq_tensor *t = ptq_in(r, 3);
    const ptq_tensor *y = &r->out[0];
    *add = t ? t->data : NULL;
    bool same = !t || t->rank == y->rank;
    for (int i = 0; t && i < y->rank && same; i++)
        same = t->dims[i] == y->dims[i];
    return same ? PTQ_OK
                : ptq_fail(PTQ_ERR_MODEL, "node %s: what is added to it has another shape than its output",
                           r->step->name);
}

/* ---- pools ---- */

ptq_status ptq_pool_geometry_of(const ptq_step_run *r, ptq_pool_geometry *g)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    int nd = x->rank - 2;
    ptq_window w;
    if (nd < 1 || nd > 3)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: pool of rank %d is not supported (3 to 5 are)",
                        r->step->name, x->rank);
    PTQ_TRY(ptq_window_read(r->step->node, nd, x->dims + 2, NULL, &w));
    for (int d = 0; d < 3; d++) {
        int s = d - (3 - nd);
        g->in[d] = s < 0 ? 1 : x->dims[2 + s];
        g->out[d] = s < 0 ? 1 : y->dims[2 + s];
        g->k[d] = s < 0 ? 1 : w.kernel[s];
        g->stride[d] = s < 0 ? 1 : w.stride[s];
        g->dil[d] = s < 0 ? 1 : w.dilation[s];
        g->pad[d] = s < 0 ? 0 : w.pad_begin[s];
        g->pad_end[d] = s < 0 ? 0 : w.pad_end[s];
    }
    g->include_pad = w.count_include_pad;
    g->column_major = ptq_attr_int(r->step->node, "storage_order", 0) != 0;
    g->isize = ptq_product(g->in, 0, 3);
    g->osize = ptq_product(g->out, 0, 3);
    return PTQ_OK;
}

/* ---- Softmax, reductions ---- */

ptq_shape3 ptq_softmax_shape(const ptq_step_run *r, int opset)
{
    const ptq_tensor *x = r->in[0];
    bool coerced = opset < 13;
    if (x->rank == 0)
        return (ptq_shape3){1, 1, 1};
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", coerced ? 1 : -1), x->rank);
    return ptq_shape3_of(x, axis, coerced ? x->rank : axis + 1);
}

ptq_status ptq_reduced_axes(const ptq_step_run *r, unsigned *mask)
{
    const ptq_tensor *x = r->in[0], *t = ptq_in(r, 1);
    int64_t axes[PTQ_MAX_RANK];
    size_t count = 0;
    int n = 0;
    const int64_t *list = ptq_attr_ints(r->step->node, "axes", &count);
    bool ok = list ? count <= PTQ_MAX_RANK : !t || ptq_ints_of(t, axes, PTQ_MAX_RANK, &n);
    for (size_t i = 0; ok && list && i < count; i++)
        axes[i] = list[i];
    n = list && ok ? (int)count : n;
    *mask = 0;
    for (int i = 0; ok && i < n; i++) {
        ok = axes[i] >= -x->rank && axes[i] < x->rank;
        if (ok)
            *mask |= 1u << ptq_axis(axes[i], x->rank);
    }
    if (!ok)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: axes do not fit an input of rank %d",
                        r->step->name, x->rank);
    if (n == 0 && !ptq_attr_int(r->step->node, "noop_with_empty_axes", 0))
        *mask = (1u << x->rank) - 1;
    return PTQ_OK;
}

bool ptq_reduced_range(const ptq_tensor *x, unsigned mask, int *first, int *last)
{
    *first = 0;
    *last = x->rank;
    while (*first < x->rank && !(mask >> *first & 1))
        ++*first;
    while (*last > *first && !(mask >> (*last - 1) & 1))
        --*last;
    for (int d = *first; d < *last; d++)
        if (!(mask >> d & 1))
            return false;
    return true;
}

int ptq_reduced_last(const ptq_tensor *x, unsigned mask, int64_t *dims, int64_t *step)
{
    int64_t own[PTQ_MAX_RANK], at = 1;
    int n = 0, stay = 0;
    for (int d = x->rank - 1; d >= 0; d--) {
        own[d] = at;
        at *= x->dims[d];
    }
    for (int pass = 0; pass < 2; pass++)
        for (int d = 0; d < x->rank; d++) {
            if ((int)(mask >> d & 1) != pass)
                continue;
            dims[n] = x->dims[d];
            step[n++] = own[d];
            stay += pass == 0;
        }
    return stay;
}

/* ---- QuantizeLinear, DequantizeLinear ---- */

bool ptq_quant_bounds(ptq_dtype t, int32_t *lo, int32_t *hi)
{
    int bits = ptq_dtype_bits(t);
    switch (t) {
    case PTQ_DT_S4: case PTQ_DT_S8: case PTQ_DT_S16:
        *lo = -(1 << (bits - 1));
        *hi = (1 << (bits - 1)) - 1;
        return true;
    case PTQ_DT_U4: case PTQ_DT_U8: case PTQ_DT_U16:
        *lo = 0;
        *hi = (1 << bits) - 1;
        return true;
    default: return false;
    }
}

ptq_status ptq_quant_grid_of(const ptq_step_run *r, ptq_quant_grid *g)
{
    const ptq_tensor *x = r->in[0], *s = r->in[1], *zp = ptq_in(r, 2);
    int64_t ns = ptq_tensor_elements(s);
    *g = (ptq_quant_grid){.outer = 1, .n = 1, .inner = ptq_tensor_elements(x)};
    if (s->dtype != PTQ_DT_F32)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: scales of type %s are not supported",
                        r->step->name, ptq_dtype_name(s->dtype));
    if (zp && ptq_tensor_elements(zp) != ns)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %lld zero points for %lld scales", r->step->name,
                        (long long)ptq_tensor_elements(zp), (long long)ns);
    if (ns == 1 && s->rank <= 1)
        return PTQ_OK;
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", 1), x->rank);
    int64_t block = ptq_attr_int(r->step->node, "block_size", 0);
    bool fits = axis >= 0 && axis < x->rank;
    if (fits) {
        ptq_shape3 s3 = ptq_shape3_of(x, axis, axis + 1);
        *g = (ptq_quant_grid){s3.outer, s3.n, s3.inner, block};
        int64_t blocks = block > 0 ? (g->n + block - 1) / block : 0;
        fits = block > 0 ? ns == g->outer * blocks * g->inner : s->rank == 1 && ns == g->n;
    }
    if (!fits)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %lld scales do not fit axis %d of the input",
                        r->step->name, (long long)ns, axis);
    return PTQ_OK;
}

/* ---- Pad ---- */

static ptq_status read_pads(const ptq_step_run *r, ptq_pad_args *a)
{
    const ptq_tensor *x = r->in[0], *t = ptq_in(r, 1), *axes_t = ptq_in(r, 3);
    int64_t pads[2 * PTQ_MAX_RANK] = {0}, axes[PTQ_MAX_RANK];
    int n = 0, na = x->rank;
    size_t count = 0;
    const int64_t *list = ptq_attr_ints(r->step->node, "pads", &count);
    for (int i = 0; i < PTQ_MAX_RANK; i++)
        axes[i] = i;
    bool ok = list ? count <= 2 * PTQ_MAX_RANK : t && ptq_ints_of(t, pads, 2 * PTQ_MAX_RANK, &n);
    for (size_t i = 0; ok && list && i < count; i++)
        pads[i] = list[i];
    n = list ? (int)count : n;
    ok = ok && (!axes_t || ptq_ints_of(axes_t, axes, PTQ_MAX_RANK, &na)) && n == 2 * na;
    for (int i = 0; ok && i < na; i++) {
        int d = ptq_axis(axes[i], x->rank);
        ok = d >= 0 && d < x->rank;
        if (ok)
            a->before[d] = pads[i];
    }
    if (!ok)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: pads do not fit an input of rank %d", r->step->name,
                        x->rank);
    return PTQ_OK;
}

static ptq_status read_mode(const ptq_step_run *r, ptq_pad_args *a)
{
    static const char *const names[] = {"constant", "edge", "reflect", "wrap"};
    const char *mode = ptq_attr_str(r->step->node, "mode", "constant");
    const ptq_tensor *value = ptq_in(r, 2);
    size_t e = ptq_elem_bytes(r->in[0]->dtype), m = 0;
    float f = ptq_attr_float(r->step->node, "value", 0.0f);
    while (m < PTQ_COUNT(names) && strcmp(mode, names[m]) != 0)
        m++;
    if (m == PTQ_COUNT(names))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: Pad mode \"%s\" is not supported",
                        r->step->name, mode);
    a->mode = (ptq_pad_mode)m;
    if (value && ptq_tensor_elements(value) > 0)
        memcpy(a->value, value->data, e);
    else if (r->in[0]->dtype == PTQ_DT_F32)
        memcpy(a->value, &f, sizeof f);
    return PTQ_OK;
}

ptq_status ptq_pad_args_of(const ptq_step_run *r, ptq_pad_args *a)
{
    *a = (ptq_pad_args){0};
    PTQ_TRY(read_pads(r, a));
    return read_mode(r, a);
}
