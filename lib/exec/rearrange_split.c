/* SPDX-License-Identifier: Apache-2.0 */
/* A product with a constant weight and its bias whose columns are taken apart behind it (a packed
 * projection of queries, keys and values): one product for each part, with its own columns. */
#include <math.h>

#include "lib/exec/args.h"
#include "lib/exec/rearrange_impl.h"

typedef struct packed {
    ptq_node *product, *weight, *bias; /* MatMul, DequantizeLinear, Add */
    const ptq_tensor *codes;
    int slot; /* of the product in the Add */
    int64_t n;
} packed;

/* The scales are such that every column is lowered alike: whether a part runs in integers must not depend
 * on the others (make_params in lower_int_linear.c asks for normal multipliers and sums that fit). */
static bool plain_scales(const packed *p)
{
    ptq_dq x;
    const ptq_tensor *s = ptq_lower_constant(p->weight->in[1]);
    const float least = 1e-15f, most = 1e15f;
    if (!ptq_match_dq(NULL, p->product->in[0], &x) || x.affine.scale < least || x.affine.scale > most ||
        p->codes->dims[0] > 16000 || !s || s->dtype != PTQ_DT_F32 || s->rank > 1)
        return false;
    int64_t count = ptq_tensor_elements(s);
    for (int64_t i = 0; i < count; i++)
        if (!(((const float *)s->data)[i] >= least && ((const float *)s->data)[i] <= most))
            return false;
    int64_t axis = ptq_attr_int(p->weight, "axis", 1);
    return count == 1 || (count == p->n && (axis == 1 || axis == -1));
}

static bool match_product(ptq_node *n, packed *p)
{
    if (!ptq_node_is(n, "MatMul") || !(p->codes = ptq_weight_of(n->in[1])) || n->out[0]->dtype != PTQ_DT_F32 ||
        n->out[0]->uses.n != 1)
        return false;
    p->product = n;
    p->weight = n->in[1]->producer;
    p->n = p->codes->dims[1];
    p->slot = n->out[0]->uses.v[0].slot;
    p->bias = p->slot >= 0 ? ptq_only_reader(n->out[0], p->slot) : NULL;
    if (!p->bias || !ptq_node_is(p->bias, "Add") || p->bias->nin != 2)
        return false;
    const ptq_tensor *b = ptq_lower_constant(p->bias->in[1 - p->slot]);
    return b && b->dtype == PTQ_DT_F32 && b->rank == 1 && b->dims[0] == p->n && p->n > 1 && plain_scales(p);
}

/* Columns [from, to) of a constant whose last axis has n. */
static ptq_status columns(ptq_graph *g, const ptq_value *v, int64_t from, int64_t to, ptq_value **out)
{
    const ptq_tensor *t = ptq_lower_constant(v);
    ptq_tensor part = *t;
    int64_t n = t->dims[t->rank - 1], rows = t->rank == 2 ? t->dims[0] : 1;
    size_t size = (size_t)ptq_dtype_bits(t->dtype) / 8;
    part.dims[t->rank - 1] = to - from;
    part.nbytes = (size_t)(rows * (to - from)) * size;
    part.data = ptq_arena_alloc(g->arena, part.nbytes);
    if (!part.data)
        return ptq_fail_nomem();
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)part.data + (size_t)(r * (to - from)) * size,
               (const char *)t->data + (size_t)(r * n + from) * size, (size_t)(to - from) * size);
    return ptq_graph_constant(g, v->name, &part, false, out);
}

/* The weight's columns behind a DequantizeLinear of their own. */
static ptq_status part_weight(ptq_graph *g, const packed *p, int64_t from, int64_t to, ptq_node *before,
                              ptq_value **out)
{
    ptq_value *in[3];
    ptq_node *dq;
    PTQ_TRY(columns(g, p->weight->in[0], from, to, &in[0]));
    for (int i = 1; i < p->weight->nin; i++) {
        const ptq_tensor *t = ptq_lower_constant(p->weight->in[i]);
        in[i] = p->weight->in[i];
        if (t && t->rank == 1 && t->dims[0] == p->n)
            PTQ_TRY(columns(g, p->weight->in[i], from, to, &in[i]));
    }
    PTQ_TRY(ptq_copy_node(g, p->weight, before, in, p->weight->nin, NULL, &dq));
    *out = dq->out[0];
    return PTQ_OK;
}

/* Product and sum of columns [from, to) in front of `before`; y: what they make, or NULL. */
static ptq_status part(ptq_graph *g, const packed *p, int64_t from, int64_t to, ptq_node *before, ptq_value *y,
                       ptq_value **out)
{
    ptq_value *in[2] = {p->product->in[0], NULL}, *terms[2];
    ptq_node *product, *sum;
    PTQ_TRY(part_weight(g, p, from, to, before, &in[1]));
    PTQ_TRY(ptq_copy_node(g, p->product, before, in, 2, NULL, &product));
    terms[p->slot] = product->out[0];
    PTQ_TRY(columns(g, p->bias->in[1 - p->slot], from, to, &terms[1 - p->slot]));
    PTQ_TRY(ptq_copy_node(g, p->bias, before, terms, 2, y, &sum));
    *out = sum->out[0];
    return PTQ_OK;
}

/* ---- Split ---- */

static ptq_status by_split(ptq_graph *g, const packed *p, ptq_node *split, bool *done)
{
    int rank = p->bias->out[0]->shape.rank;
    int64_t axis = ptq_attr_int(split, "axis", 0), at = 0, size[PTQ_MAX_OUT];
    *done = false;
    if (rank < 1 || (axis != -1 && axis != rank - 1) || split->nout > PTQ_MAX_OUT)
        return PTQ_OK;
    for (int i = 0; i < split->nout; i++) {
        const ptq_value *v = split->out[i];
        if (!v || v->is_output || v->shape.rank != rank || !ptq_dim_known(v->shape.dims[rank - 1]) ||
            v->shape.dims[rank - 1].add < 1)
            return PTQ_OK;
        at += size[i] = v->shape.dims[rank - 1].add;
    }
    if (at != p->n)
        return PTQ_OK;
    at = 0;
    for (int i = 0; i < split->nout; i++, at += size[i - 1]) {
        ptq_value *y;
        PTQ_TRY(part(g, p, at, at + size[i], split, split->out[i], &y));
    }
    *done = true;
    return PTQ_OK;
}

/* ---- Slice ---- */

/* The one whole number of a constant; an input that is left out counts as `dflt`. */
static bool one_number(const ptq_node *n, int slot, int64_t dflt, int64_t *out)
{
    const ptq_value *v = ptq_node_input(n, slot);
    const ptq_tensor *t = ptq_lower_constant(v);
    int count;
    *out = dflt;
    return !v || (t && ptq_ints_of(t, out, 1, &count) && count == 1);
}

/* First column and number of columns that a Slice of v takes. */
static bool slice_columns(const ptq_node *n, const ptq_value *v, int64_t columns, int64_t *from, int64_t *count)
{
    int64_t axis, step;
    int last = v->shape.rank - 1;
    const ptq_shape *y = &n->out[0]->shape;
    if (!ptq_node_is(n, "Slice") || n->nin < 3 || n->out[0]->is_output || last < 0 || y->rank != last + 1 ||
        !one_number(n, 1, 0, from) || !one_number(n, 3, 0, &axis) || !one_number(n, 4, 1, &step) || step != 1 ||
        (axis < 0 ? axis + last + 1 : axis) != last || !ptq_dim_known(y->dims[last]))
        return false;
    *from += *from < 0 ? columns : 0;
    *count = y->dims[last].add;
    return *from >= 0 && *count > 0 && *from + *count <= columns;
}

static ptq_status by_slices(ptq_graph *g, const packed *p, bool *done)
{
    ptq_value *all = p->bias->out[0];
    int64_t from, count, total = 0;
    *done = false;
    for (size_t i = 0; i < all->uses.n; i++) {
        if (all->uses.v[i].slot != 0 || !slice_columns(all->uses.v[i].node, all, p->n, &from, &count))
            return PTQ_OK;
        total += count;
    }
    if (all->is_output || total > p->n) /* columns that are taken twice would be computed twice */
        return PTQ_OK;
    while (all->uses.n > 0) {
        ptq_node *n = all->uses.v[0].node;
        ptq_value *y = n->out[0];
        slice_columns(n, all, p->n, &from, &count);
        PTQ_TRY(part(g, p, from, from + count, n, y, &y));
        ptq_node_remove(g, n);
    }
    *done = true;
    return PTQ_OK;
}

/* ---- Reshape to [..., parts, columns...], movers, Gather or Split ---- */

enum { CHAIN = 8 };

typedef struct chain {
    const ptq_node *node[CHAIN];
    int n, axis;     /* where the parts are behind the last node */
    int reshaped_at; /* and behind the Reshape */
    int64_t parts, columns;
} chain;

/* The last axis becomes several, the slowest of which are the parts. */
static bool match_reshape(const ptq_node *n, int64_t columns, chain *c)
{
    const ptq_shape *s = &n->out[0]->shape;
    const ptq_tensor *t = n->nin == 2 ? ptq_lower_constant(n->in[1]) : NULL;
    if (!ptq_node_is(n, "Reshape") || !t || t->dtype != PTQ_DT_S64 || t->rank != 1 || t->dims[0] != s->rank)
        return false;
    c->node[0] = n;
    c->n = 1;
    c->columns = 1;
    for (c->axis = s->rank - 1; c->axis >= 0; c->axis--) {
        if (!ptq_dim_known(s->dims[c->axis]) || s->dims[c->axis].add < 1)
            return false;
        c->parts = s->dims[c->axis].add;
        if (c->parts * c->columns >= columns)
            break;
        c->columns *= c->parts;
    }
    c->reshaped_at = c->axis;
    return c->axis >= 0 && c->axis < s->rank - 1 && c->parts > 1 && c->parts * c->columns == columns;
}

static int64_t number(const ptq_node *n, size_t i, size_t *count)
{
    const int64_t *list = ptq_attr_ints(n, "axes", count);
    const ptq_tensor *t = !list && n->nin > 1 ? ptq_lower_constant(n->in[1]) : NULL;
    if (t)
        *count = (size_t)ptq_tensor_elements(t);
    return i >= *count ? 0 : list ? list[i] : t->dtype == PTQ_DT_S64 ? ((const int64_t *)t->data)[i]
                                                                    : ((const int32_t *)t->data)[i];
}

/* Where axis `at` of the input of a mover is behind it; -1: nowhere. */
static int moved_axis(const ptq_node *n, int at)
{
    size_t count = 0;
    if (ptq_node_is(n, "Transpose")) {
        const int64_t *perm = ptq_attr_ints(n, "perm", &count);
        for (size_t i = 0; i < count; i++)
            if (perm[i] == at)
                return (int)i;
        return -1;
    }
    bool more = ptq_node_is(n, "Unsqueeze");
    if (!more && !ptq_node_is(n, "Squeeze"))
        return -1;
    int rank = more ? n->out[0]->shape.rank : n->in[0]->shape.rank, to = -1, left = at;
    unsigned named = 0;
    number(n, 0, &count);
    for (size_t i = 0; i < count; i++) {
        int64_t a = number(n, i, &count);
        a += a < 0 ? rank : 0;
        if (a < 0 || a >= PTQ_MAX_RANK)
            return -1;
        named |= 1u << a;
    }
    if (!more)
        return named >> at & 1 ? -1 : at - __builtin_popcount(named & ((1u << at) - 1));
    for (to = 0; to < rank; to++)
        if (!(named >> to & 1) && left-- == 0)
            return to;
    return -1;
}

static bool is_parts_axis(const ptq_node *n, const ptq_value *v, const chain *c)
{
    int64_t axis = ptq_attr_int(n, "axis", 0);
    return (axis < 0 ? axis + v->shape.rank : axis) == c->axis;
}

/* A Split into single parts that alone reads v. */
static ptq_node *split_of(const ptq_value *v, const chain *c)
{
    ptq_node *n = ptq_only_reader(v, 0);
    if (!n || !ptq_node_is(n, "Split") || n->nout != c->parts || !is_parts_axis(n, v, c))
        return NULL;
    for (int i = 0; i < n->nout; i++) {
        const ptq_value *y = n->out[i];
        if (!y || y->is_output || y->shape.rank <= c->axis || !ptq_dim_known(y->shape.dims[c->axis]) ||
            y->shape.dims[c->axis].add != 1)
            return NULL;
    }
    return n;
}

/* Do Gathers with constant indices alone read v, along the axis of the parts, or a Split? */
static bool taken_apart(const ptq_value *v, const chain *c)
{
    for (size_t i = 0; i < v->uses.n; i++) {
        const ptq_node *n = v->uses.v[i].node;
        if (v->uses.v[i].slot != 0 || !ptq_node_is(n, "Gather") || !ptq_view_knows(n) || !is_parts_axis(n, v, c))
            return split_of(v, c) != NULL;
    }
    return v->uses.n > 0 && !v->is_output;
}

static bool match_chain(const ptq_node *reshape, int64_t columns, chain *c)
{
    if (!match_reshape(reshape, columns, c))
        return false;
    const ptq_value *v = reshape->out[0];
    while (!taken_apart(v, c)) {
        const ptq_node *n = ptq_only_reader(v, 0);
        if (!n || !ptq_view_knows(n) || c->n == CHAIN || (c->axis = moved_axis(n, c->axis)) < 0)
            return false;
        c->node[c->n++] = n;
        v = n->out[0];
    }
    return true;
}

/* The chain behind a part, with one part in the place of all; y: what it makes, or NULL. */
static ptq_status part_chain(ptq_graph *g, const chain *c, ptq_node *before, ptq_value *y, ptq_value **v)
{
    const ptq_tensor *t = ptq_lower_constant(c->node[0]->in[1]);
    const ptq_shape *s = &c->node[0]->out[0]->shape;
    int64_t dims[PTQ_MAX_RANK];
    ptq_value *in[2];
    ptq_node *n;
    for (int i = 0; i < s->rank; i++) /* a -1 among the columns would be lost */
        dims[i] = i < c->reshaped_at ? ((const int64_t *)t->data)[i] : i == c->reshaped_at ? 1 : s->dims[i].add;
    PTQ_TRY(ptq_new_numbers(g, c->node[0]->in[1]->name, dims, s->rank, &in[1]));
    for (int i = 0; i < c->n; i++, *v = n->out[0]) {
        in[0] = *v;
        PTQ_TRY(ptq_copy_node(g, c->node[i], before, in, i == 0 ? 2 : 1, i == c->n - 1 ? y : NULL, &n));
    }
    return PTQ_OK;
}

static int64_t index_of(const ptq_node *gather, int64_t parts)
{
    const ptq_tensor *t = ptq_lower_constant(gather->in[1]);
    int64_t i = t->dtype == PTQ_DT_S64 ? *(const int64_t *)t->data : *(const int32_t *)t->data;
    return i < 0 ? i + parts : i;
}

static ptq_status by_chain(ptq_graph *g, const packed *p, const chain *c)
{
    ptq_value *all = c->node[c->n - 1]->out[0], *zero;
    ptq_node *split = split_of(all, c);
    for (int64_t i = 0; split && i < c->parts; i++) {
        ptq_value *v;
        PTQ_TRY(part(g, p, i * c->columns, (i + 1) * c->columns, split, NULL, &v));
        PTQ_TRY(part_chain(g, c, split, split->out[i], &v));
    }
    if (split)
        return PTQ_OK;
    PTQ_TRY(ptq_new_numbers(g, all->name, (int64_t[]){0}, -1, &zero));
    while (all->uses.n > 0) {
        ptq_node *n = all->uses.v[0].node;
        int64_t i = index_of(n, c->parts);
        ptq_value *v;
        if (i < 0 || i >= c->parts)
            return ptq_fail(PTQ_ERR_MODEL, "node %s: index %lld is outside of the %lld entries", n->name,
                            (long long)i, (long long)c->parts);
        PTQ_TRY(part(g, p, i * c->columns, (i + 1) * c->columns, n, NULL, &v));
        PTQ_TRY(part_chain(g, c, n, NULL, &v));
        ptq_node_set_input(g, n, 0, v);
        ptq_node_set_input(g, n, 1, zero);
    }
    return PTQ_OK;
}

ptq_status ptq_rearrange_split(ptq_graph *g, int *changes)
{
    for (ptq_node *n = g->first; n; n = n->next) { /* what goes lies behind n */
        packed p;
        chain c;
        bool done = false;
        if (!match_product(n, &p) || p.bias->out[0]->uses.n == 0)
            continue;
        ptq_node *reader = ptq_only_reader(p.bias->out[0], 0);
        if (reader && ptq_node_is(reader, "Split")) {
            PTQ_TRY(by_split(g, &p, reader, &done));
        } else if (reader && match_chain(reader, p.n, &c)) {
            PTQ_TRY(by_chain(g, &p, &c));
            done = true;
        } else {
            PTQ_TRY(by_slices(g, &p, &done));
        }
        *changes += done;
    }
    return PTQ_OK;
}
