/* SPDX-License-Identifier: Apache-2.0 */
/* What shape functions share, and the walk over a graph. */
#include <stdlib.h>
#include <string.h>

#include "lib/graph/infer.h"

ptq_status ptq_infer_fail(const ptq_infer *in, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): %s", in->node->name, in->node->op, text);
}

/* ---- elements of small integer tensors ---- */

static bool read_int(const ptq_tensor *t, int64_t i, int64_t *v)
{
    switch (t->dtype) {
    case PTQ_DT_S64: *v = ((const int64_t *)t->data)[i]; return true;
    case PTQ_DT_S32: *v = ((const int32_t *)t->data)[i]; return true;
    case PTQ_DT_BOOL: *v = ((const uint8_t *)t->data)[i] != 0; return true;
    default: return false;
    }
}

bool ptq_contents_of_tensor(const ptq_tensor *t, ptq_contents *c)
{
    int64_t n = t->rank == 0 ? 1 : t->dims[0], v;
    if (t->rank > 1 || n > PTQ_CONTENTS_MAX || (n && !t->data))
        return false;
    for (int64_t i = 0; i < n; i++) {
        if (!read_int(t, i, &v))
            return false;
        c->v[i] = ptq_dim_of(v);
    }
    c->n = (int)n;
    c->rank = t->rank;
    return n > 0 || t->dtype == PTQ_DT_S64 || t->dtype == PTQ_DT_S32;
}

const ptq_contents *ptq_infer_elements(const ptq_infer *in, int slot, ptq_contents *tmp)
{
    if (slot >= in->nin)
        return NULL;
    if (in->in_contents && in->in_contents[slot].n >= 0)
        return &in->in_contents[slot];
    const ptq_tensor *t = in->value ? in->value[slot] : NULL;
    return t && ptq_contents_of_tensor(t, tmp) ? tmp : NULL;
}

ptq_status ptq_infer_int_list(const ptq_infer *in, int slot, const char *attr, int64_t *v, int max,
                              int *n)
{
    size_t count;
    const int64_t *list = attr ? ptq_attr_ints(in->node, attr, &count) : NULL;
    *n = -2;
    if (list || (attr && ptq_attr_find(in->node, attr) && count == 0)) {
        if (count > (size_t)max)
            return ptq_infer_fail(in, "attribute %s has %zu elements, at most %d make sense", attr,
                                  count, max);
        if (count)
            memcpy(v, list, count * sizeof *v);
        *n = (int)count;
        return PTQ_OK;
    }
    if (slot < 0 || !ptq_infer_has(in, slot))
        return PTQ_OK;
    ptq_contents tmp;
    const ptq_contents *c = ptq_infer_elements(in, slot, &tmp);
    *n = -1;
    if (!c)
        return PTQ_OK;
    if (c->n > max)
        return ptq_infer_fail(in, "input %d has %d elements, at most %d make sense", slot, c->n, max);
    for (int i = 0; i < c->n; i++) {
        if (!ptq_dim_known(c->v[i]))
            return PTQ_OK;
        v[i] = c->v[i].add;
    }
    *n = c->n;
    return PTQ_OK;
}

/* ---- dims and shapes ---- */

ptq_dim ptq_infer_product(const ptq_dim *d, int n)
{
    ptq_dim p = ptq_dim_of(1);
    for (int i = 0; i < n; i++)
        if (ptq_dim_known(d[i])) /* numbers first: a 0 makes everything 0 */
            p = ptq_dim_mul(p, d[i]);
    for (int i = 0; i < n; i++)
        if (!ptq_dim_known(d[i]))
            p = ptq_dim_mul(p, d[i]);
    return p;
}

int64_t ptq_dim_min(ptq_dim d)
{
    int64_t r;
    if (d.sym == PTQ_SYM_UNKNOWN || d.mul < 0 || __builtin_add_overflow(d.mul, d.add, &r))
        return INT64_MIN;
    return r;
}

bool ptq_dim_merge(ptq_dim a, ptq_dim b, ptq_dim *out)
{
    if (ptq_dim_known(a) && ptq_dim_known(b) && a.add != b.add)
        return false;
    *out = a.sym == PTQ_SYM_UNKNOWN || ptq_dim_known(b) ? b : a;
    return true;
}

static ptq_status broadcast_dim(ptq_dim a, ptq_dim b, ptq_dim *out)
{
    bool ka = ptq_dim_known(a), kb = ptq_dim_known(b);
    if (ka && a.add == 1)
        *out = b;
    else if (kb && b.add == 1)
        *out = a;
    else if (ka && kb && a.add != b.add)
        return PTQ_ERR_MODEL;
    else if (ka) /* the other side is the same or 1 */
        *out = a;
    else if (kb)
        *out = b;
    else
        *out = ptq_dim_equal(a, b) ? a : ptq_dim_unknown();
    return PTQ_OK;
}

ptq_status ptq_infer_broadcast_shapes(const ptq_infer *in, const ptq_shape *a, const ptq_shape *b,
                                      ptq_shape *out)
{
    if (a->rank < 0 || b->rank < 0) {
        *out = ptq_shape_unknown();
        return PTQ_OK;
    }
    ptq_shape r = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int i = 0; i < r.rank; i++) {
        int ia = i - (r.rank - a->rank), ib = i - (r.rank - b->rank);
        ptq_dim da = ia < 0 ? ptq_dim_of(1) : a->dims[ia], db = ib < 0 ? ptq_dim_of(1) : b->dims[ib];
        if (broadcast_dim(da, db, &r.dims[i]) != PTQ_OK) {
            const ptq_symtab *tab = in->graph ? in->graph->syms : NULL;
            char ta[256], tb[256];
            return ptq_infer_fail(in, "shapes %s and %s cannot be broadcast together",
                                  ptq_shape_print(a, tab, ta, sizeof ta),
                                  ptq_shape_print(b, tab, tb, sizeof tb));
        }
    }
    *out = r;
    return PTQ_OK;
}

ptq_status ptq_infer_broadcast(ptq_infer *in, int a, int b, ptq_shape *out)
{
    return ptq_infer_broadcast_shapes(in, &in->in[a].shape, &in->in[b].shape, out);
}

ptq_status ptq_infer_axis(const ptq_infer *in, int64_t axis, int rank, int *out)
{
    if (axis < -rank || axis >= rank)
        return ptq_infer_fail(in, "axis %lld is outside of rank %d", (long long)axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return PTQ_OK;
}

ptq_status ptq_infer_axes(const ptq_infer *in, int slot, const char *attr, int rank, int *axes,
                          int *n)
{
    int64_t v[PTQ_MAX_RANK];
    PTQ_TRY(ptq_infer_int_list(in, slot, attr, v, PTQ_MAX_RANK, n));
    unsigned seen = 0;
    for (int i = 0; i < *n; i++) {
        PTQ_TRY(ptq_infer_axis(in, v[i], rank, &axes[i]));
        if (seen & (1u << axes[i]))
            return ptq_infer_fail(in, "axis %d is given twice", axes[i]);
        seen |= 1u << axes[i];
    }
    return PTQ_OK;
}

/* ---- one node ---- */

/* Room for the inputs of one node; grows, lives for a walk. */
typedef struct scratch {
    int cap_in, cap_out;
    ptq_type *in, *out;
    const ptq_tensor **value;
    ptq_contents *in_contents, *out_contents;
} scratch;

static void scratch_free(scratch *s)
{
    free(s->in);
    free(s->out);
    free(s->value);
    free(s->in_contents);
    free(s->out_contents);
}

static bool scratch_fit(scratch *s, int nin, int nout)
{
    if (nin > s->cap_in || !s->in) {
        free(s->in);
        free(s->value);
        free(s->in_contents);
        s->cap_in = nin < 8 ? 8 : nin * 2;
        s->in = ptq_calloc((size_t)s->cap_in, sizeof *s->in);
        s->value = ptq_calloc((size_t)s->cap_in, sizeof *s->value);
        s->in_contents = ptq_calloc((size_t)s->cap_in, sizeof *s->in_contents);
    }
    if (nout > s->cap_out || !s->out) {
        free(s->out);
        free(s->out_contents);
        s->cap_out = nout < 8 ? 8 : nout * 2;
        s->out = ptq_calloc((size_t)s->cap_out, sizeof *s->out);
        s->out_contents = ptq_calloc((size_t)s->cap_out, sizeof *s->out_contents);
    }
    return s->in && s->value && s->in_contents && s->out && s->out_contents;
}

static void fill_input(scratch *s, int i, const ptq_value *v)
{
    s->in[i] = (ptq_type){PTQ_DT_UNDEFINED, ptq_shape_unknown()};
    s->value[i] = NULL;
    s->in_contents[i].n = -1;
    if (!v)
        return;
    s->in[i] = (ptq_type){v->dtype, v->shape};
    if (v->constant) {
        s->value[i] = v->constant;
        if (!ptq_contents_of_tensor(v->constant, &s->in_contents[i]))
            s->in_contents[i].n = -1;
    } else if (v->contents && v->ncontents <= PTQ_CONTENTS_MAX) {
        s->in_contents[i].n = v->ncontents;
        s->in_contents[i].rank = v->shape.rank;
        memcpy(s->in_contents[i].v, v->contents, (size_t)v->ncontents * sizeof(ptq_dim));
    }
}

static ptq_status check_arity(const ptq_node *n)
{
    const ptq_op *d = n->def;
    if (n->nin < d->min_in || (d->max_in >= 0 && n->nin > d->max_in))
        return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): has %d inputs, the operator takes %d to %d",
                        n->name, n->op, n->nin, d->min_in, d->max_in);
    if (n->nout < d->min_out || (d->max_out >= 0 && n->nout > d->max_out) ||
        (d->max_out < 0 && n->nout > PTQ_MAX_OUT))
        return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): has %d outputs, the operator gives %d to %d",
                        n->name, n->op, n->nout, d->min_out,
                        d->max_out < 0 ? (int)PTQ_MAX_OUT : d->max_out);
    bool open = *d->domain || (d->flags & PTQ_OPF_CONTROL); /* com.microsoft leaves out zero points */
    for (int i = 0; i < d->min_in && !open; i++)
        if (!n->in[i])
            return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): input %d is missing", n->name, n->op, i);
    return PTQ_OK;
}

static ptq_status contradiction(const ptq_graph *g, const ptq_node *n, const ptq_value *v,
                                const ptq_type *t)
{
    char a[256], b[256];
    return ptq_fail(PTQ_ERR_MODEL,
                    "tensor '%s' is declared as %s %s, but node '%s' (%s) makes %s %s", v->name,
                    ptq_dtype_name(v->dtype), ptq_shape_print(&v->shape, g->syms, a, sizeof a),
                    n->name, n->op, ptq_dtype_name(t->dtype),
                    ptq_shape_print(&t->shape, g->syms, b, sizeof b));
}

/* What is declared or was inferred before, and what is inferred now: the more specific wins. */
static ptq_status merge_type(const ptq_graph *g, const ptq_node *n, ptq_value *v, const ptq_type *t)
{
    if (t->dtype != PTQ_DT_UNDEFINED && v->dtype != PTQ_DT_UNDEFINED && t->dtype != v->dtype)
        return contradiction(g, n, v, t);
    ptq_shape s = v->shape;
    if (s.rank < 0) {
        s = t->shape;
    } else if (t->shape.rank >= 0) {
        if (s.rank != t->shape.rank)
            return contradiction(g, n, v, t);
        for (int i = 0; i < s.rank; i++)
            if (!ptq_dim_merge(t->shape.dims[i], v->shape.dims[i], &s.dims[i]))
                return contradiction(g, n, v, t);
    }
    v->shape = s;
    if (t->dtype != PTQ_DT_UNDEFINED)
        v->dtype = t->dtype;
    return PTQ_OK;
}

static ptq_status keep_contents(ptq_graph *g, ptq_value *v, const ptq_contents *c)
{
    if (c->n < 0 || c->rank != v->shape.rank)
        return PTQ_OK;
    bool same = v->contents && v->ncontents == c->n;
    for (int i = 0; same && i < c->n; i++)
        same = memcmp(&v->contents[i], &c->v[i], sizeof(ptq_dim)) == 0;
    if (same)
        return PTQ_OK;
    ptq_dim *copy = ptq_arena_array(g->arena, (size_t)c->n, sizeof *copy);
    if (!copy)
        return ptq_fail_nomem();
    memcpy(copy, c->v, (size_t)c->n * sizeof *copy);
    v->contents = copy;
    v->ncontents = c->n;
    return PTQ_OK;
}

static ptq_status infer_node(ptq_graph *g, ptq_node *n, scratch *s)
{
    if (!n->def)
        return PTQ_OK;
    PTQ_TRY(check_arity(n));
    if (!scratch_fit(s, n->nin, n->nout))
        return ptq_fail_nomem();
    for (int i = 0; i < n->nin; i++)
        fill_input(s, i, n->in[i]);
    for (int i = 0; i < n->nout; i++) {
        s->out[i] = (ptq_type){PTQ_DT_UNDEFINED, ptq_shape_unknown()};
        s->out_contents[i].n = -1;
    }
    ptq_infer in = {.node = n,
                    .opset = *n->domain ? g->opset_ms : g->opset,
                    .graph = g,
                    .nin = n->nin,
                    .nout = n->nout,
                    .in = s->in,
                    .value = s->value,
                    .in_contents = s->in_contents,
                    .out = s->out,
                    .out_contents = s->out_contents};
    PTQ_TRY(n->def->infer(&in));
    for (int i = 0; i < n->nout; i++)
        if (n->out[i]) {
            PTQ_TRY(merge_type(g, n, n->out[i], &s->out[i]));
            PTQ_TRY(keep_contents(g, n->out[i], &s->out_contents[i]));
        }
    return PTQ_OK;
}

ptq_status ptq_infer_node(ptq_graph *g, ptq_node *n)
{
    scratch s = {0};
    ptq_status st = infer_node(g, n, &s);
    scratch_free(&s);
    return st;
}

ptq_status ptq_infer_graph(ptq_graph *g)
{
    /* A size that the file leaves open is one size in one run. */
    for (size_t i = 0; i < g->inputs.n; i++) {
        ptq_shape *s = &g->inputs.v[i]->shape;
        for (int k = 0; k < s->rank; k++)
            if (s->dims[k].sym == PTQ_SYM_UNKNOWN)
                s->dims[k] = ptq_dim_sym(ptq_symbol(g, NULL));
    }
    scratch s = {0};
    ptq_status st = PTQ_OK;
    for (ptq_node *n = g->first; n && st == PTQ_OK; n = n->next)
        st = infer_node(g, n, &s);
    scratch_free(&s);
    return st;
}
