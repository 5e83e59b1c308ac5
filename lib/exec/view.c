/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/view.h"

#include <string.h>

#include "lib/exec/args.h"

void ptq_view_dense(const int64_t *dims, int rank, ptq_view *v)
{
    int64_t at = 1;
    *v = (ptq_view){.rank = rank};
    for (int i = rank - 1; i >= 0; i--) {
        v->size[i] = dims[i];
        v->step[i] = at;
        at *= dims[i];
    }
    for (int i = 0; i <= rank; i++)
        v->first[i] = i;
}

void ptq_view_start(const ptq_movers *m, const int64_t *dims, int rank, ptq_view *v)
{
    ptq_view_dense(dims, rank, v);
    if (!m->columns)
        return;
    v->size[rank - 1] = m->columns;
    v->offset = m->from;
}

int64_t ptq_view_dim(const ptq_view *v, int axis)
{
    return ptq_product(v->size, v->first[axis], v->first[axis + 1]);
}

static bool is_op(const ptq_node *n, const char *op)
{
    return n->domain[0] == '\0' && strcmp(n->op, op) == 0;
}

const ptq_tensor *ptq_constant_of(const ptq_value *v)
{
    if (!v || v->constant)
        return v ? v->constant : NULL;
    const ptq_node *n = v->producer;
    const ptq_attr *a = n && is_op(n, "Constant") ? ptq_attr_find(n, "value") : NULL;
    return a && a->type == PTQ_ATTR_TENSOR ? a->tensor : NULL;
}

/* Whole numbers of an attribute, or of constant input 1. False: neither is there. */
static bool numbers(const ptq_node *n, const char *attr, int64_t *v, int *count)
{
    size_t k;
    const int64_t *list = ptq_attr_ints(n, attr, &k);
    if (list && k <= PTQ_MAX_RANK) {
        memcpy(v, list, k * sizeof *v);
        *count = (int)k;
        return true;
    }
    const ptq_tensor *t = n->nin > 1 ? ptq_constant_of(n->in[1]) : NULL;
    return t && t->rank <= 1 && ptq_ints_of(t, v, PTQ_MAX_RANK, count);
}

/* The scalar index of a Gather. */
static bool index_of(const ptq_node *n, int64_t *at)
{
    const ptq_tensor *t = n->nin > 1 ? ptq_constant_of(n->in[1]) : NULL;
    int count;
    return t && t->rank == 0 && ptq_ints_of(t, at, 1, &count);
}

bool ptq_view_knows(const ptq_node *n)
{
    int64_t v[PTQ_MAX_RANK];
    int count;
    if (n->nin < 1 || !n->in[0] || n->nout < 1 || !n->out[0])
        return false;
    if (is_op(n, "Identity") || is_op(n, "Flatten") || is_op(n, "Transpose"))
        return true;
    if (is_op(n, "Reshape"))
        return numbers(n, "shape", v, &count);
    if (is_op(n, "Unsqueeze") || is_op(n, "Squeeze"))
        return numbers(n, "axes", v, &count); /* Squeeze of all axes of size 1 is left out */
    return is_op(n, "Gather") && index_of(n, v);
}

static ptq_status misfit(const ptq_node *n)
{
    return ptq_fail(PTQ_ERR_MODEL, "node %s: the arguments of %s do not fit its input", n->name, n->op);
}

/* ---- Reshape, Flatten ---- */

/* All parts in one row, neighbours that are contiguous joined, sizes of 1 left out. */
static int joined(const ptq_view *v, int64_t *size, int64_t *step)
{
    int n = 0;
    for (int i = 0; i < v->first[v->rank]; i++) {
        if (v->size[i] == 1)
            continue;
        bool joins = n > 0 && step[n - 1] == v->size[i] * v->step[i];
        n += !joins;
        size[n - 1] = joins ? size[n - 1] * v->size[i] : v->size[i];
        step[n - 1] = v->step[i];
    }
    return n;
}

/* Takes `need` elements off the end of the row of parts; pieces are written from w->size[*at] down. */
static bool take(int64_t need, int64_t *size, int64_t *step, int *n, ptq_view *w, int *at)
{
    while (need > 1) {
        if (*n == 0 || *at == 0)
            return false;
        int64_t *s = &size[*n - 1], *t = &step[*n - 1], piece = *s;
        if (need < *s)
            piece = need;
        if (*s % piece != 0 || need % piece != 0)
            return false;
        --*at;
        w->size[*at] = piece;
        w->step[*at] = *t;
        need /= piece;
        *s /= piece;
        *t *= piece;
        *n -= *s == 1;
    }
    return true;
}

/* False: an axis would begin inside of a part. */
static bool reshape(ptq_view *v, const int64_t *dims, int rank)
{
    int64_t size[PTQ_VIEW_PARTS], step[PTQ_VIEW_PARTS];
    if (ptq_product(dims, 0, rank) == 0) {
        int64_t offset = v->offset;
        ptq_view_dense(dims, rank, v);
        v->offset = offset;
        return true;
    }
    int n = joined(v, size, step), at = PTQ_VIEW_PARTS;
    ptq_view w = {.rank = rank, .offset = v->offset};
    w.first[rank] = at;
    for (int i = rank - 1; i >= 0; i--) {
        if (!take(dims[i], size, step, &n, &w, &at))
            return false;
        w.first[i] = at;
    }
    for (int i = 0; i <= rank; i++)
        w.first[i] -= at;
    memmove(w.size, w.size + at, (size_t)(PTQ_VIEW_PARTS - at) * sizeof *w.size);
    memmove(w.step, w.step + at, (size_t)(PTQ_VIEW_PARTS - at) * sizeof *w.step);
    *v = w;
    return true;
}

static int64_t total_of(const ptq_view *v)
{
    return ptq_product(v->size, 0, v->first[v->rank]);
}

static ptq_status reshape_dims(const ptq_node *n, const ptq_view *v, int64_t *dims, int *rank)
{
    int64_t known = 1, total = total_of(v);
    int open = -1;
    if (!numbers(n, "shape", dims, rank))
        return misfit(n);
    for (int i = 0; i < *rank; i++) {
        if (dims[i] == 0 && !ptq_attr_int(n, "allowzero", 0)) {
            if (i >= v->rank)
                return misfit(n);
            dims[i] = ptq_view_dim(v, i);
        }
        if (dims[i] == -1 && open < 0)
            open = i;
        else if (dims[i] < 0 || __builtin_mul_overflow(known, dims[i], &known))
            return misfit(n);
    }
    if (open >= 0) {
        dims[open] = known ? total / known : 0;
        known *= dims[open];
    }
    return known == total ? PTQ_OK : misfit(n);
}

static ptq_status flatten_dims(const ptq_node *n, const ptq_view *v, int64_t *dims)
{
    int64_t axis = ptq_attr_int(n, "axis", 1), own[PTQ_MAX_RANK];
    axis += axis < 0 ? v->rank : 0;
    if (axis < 0 || axis > v->rank)
        return misfit(n);
    for (int i = 0; i < v->rank; i++)
        own[i] = ptq_view_dim(v, i);
    dims[0] = ptq_product(own, 0, (int)axis);
    dims[1] = ptq_product(own, (int)axis, v->rank);
    return PTQ_OK;
}

/* ---- axes ---- */

/* The view with axes order[0..rank) of v; -1: a new axis of size 1. */
static bool arrange(ptq_view *v, const int *order, int rank)
{
    ptq_view w = {.rank = rank, .offset = v->offset};
    int at = 0;
    for (int i = 0; i < rank; i++) {
        w.first[i] = at;
        for (int k = order[i] < 0 ? 0 : v->first[order[i]]; order[i] >= 0 && k < v->first[order[i] + 1]; k++) {
            if (at == PTQ_VIEW_PARTS)
                return false;
            w.size[at] = v->size[k];
            w.step[at++] = v->step[k];
        }
    }
    w.first[rank] = at;
    *v = w;
    return true;
}

static ptq_status transpose(const ptq_node *n, ptq_view *v, bool *done)
{
    size_t count;
    const int64_t *perm = ptq_attr_ints(n, "perm", &count);
    int order[PTQ_MAX_RANK];
    unsigned seen = 0;
    if (perm && count != (size_t)v->rank)
        return misfit(n);
    for (int i = 0; i < v->rank; i++) {
        int64_t p = perm ? perm[i] : v->rank - 1 - i;
        if (p < 0 || p >= v->rank || (seen >> p & 1))
            return misfit(n);
        seen |= 1u << p;
        order[i] = (int)p;
    }
    *done = arrange(v, order, v->rank);
    return PTQ_OK;
}

/* Bit i of *mask: axis i of a tensor of `rank` dims is named. */
static ptq_status axes_of(const ptq_node *n, int rank, unsigned *mask)
{
    int64_t axes[PTQ_MAX_RANK];
    int count;
    *mask = 0;
    if (!numbers(n, "axes", axes, &count))
        return misfit(n);
    if (is_op(n, "Unsqueeze"))
        rank += count;
    for (int i = 0; i < count; i++) {
        int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (a < 0 || a >= rank || a >= PTQ_MAX_RANK || (*mask >> a & 1))
            return misfit(n);
        *mask |= 1u << a;
    }
    return PTQ_OK;
}

static ptq_status squeeze(const ptq_node *n, ptq_view *v, bool *done)
{
    int order[PTQ_MAX_RANK], rank = 0;
    unsigned mask;
    PTQ_TRY(axes_of(n, v->rank, &mask));
    for (int i = 0; i < v->rank; i++) {
        if (!(mask >> i & 1))
            order[rank++] = i;
        else if (ptq_view_dim(v, i) != 1)
            return misfit(n);
    }
    *done = arrange(v, order, rank);
    return PTQ_OK;
}

static ptq_status unsqueeze(const ptq_node *n, ptq_view *v, bool *done)
{
    int order[PTQ_MAX_RANK], rank = 0, from = 0;
    unsigned mask;
    PTQ_TRY(axes_of(n, v->rank, &mask));
    for (; rank < PTQ_MAX_RANK && (from < v->rank || mask >> rank); rank++)
        order[rank] = mask >> rank & 1 ? -1 : from++;
    *done = from == v->rank && mask >> rank == 0 && arrange(v, order, rank);
    return PTQ_OK;
}

static ptq_status gather(const ptq_node *n, ptq_view *v, bool *done)
{
    int64_t at, axis = ptq_attr_int(n, "axis", 0);
    int order[PTQ_MAX_RANK], rank = 0;
    axis += axis < 0 ? v->rank : 0;
    if (!index_of(n, &at) || axis < 0 || axis >= v->rank)
        return misfit(n);
    int64_t size = ptq_view_dim(v, (int)axis);
    at += at < 0 ? size : 0;
    if (at < 0 || at >= size)
        return ptq_fail(PTQ_ERR_DATA, "node %s: index %lld is outside of the %lld entries", n->name,
                        (long long)at, (long long)size);
    for (int k = v->first[axis + 1] - 1; k >= v->first[axis]; k--) {
        v->offset += at % v->size[k] * v->step[k];
        at /= v->size[k];
    }
    for (int i = 0; i < v->rank; i++)
        if (i != axis)
            order[rank++] = i;
    *done = arrange(v, order, rank);
    return PTQ_OK;
}

static ptq_status through(const ptq_node *n, ptq_view *v, bool *done)
{
    int64_t dims[PTQ_MAX_RANK];
    int rank = 2;
    *done = true;
    if (is_op(n, "Transpose"))
        return transpose(n, v, done);
    if (is_op(n, "Squeeze"))
        return squeeze(n, v, done);
    if (is_op(n, "Unsqueeze"))
        return unsqueeze(n, v, done);
    if (is_op(n, "Gather"))
        return gather(n, v, done);
    if (is_op(n, "Reshape"))
        PTQ_TRY(reshape_dims(n, v, dims, &rank));
    else if (is_op(n, "Flatten"))
        PTQ_TRY(flatten_dims(n, v, dims));
    else
        return is_op(n, "Identity") ? PTQ_OK : misfit(n);
    *done = reshape(v, dims, rank);
    return PTQ_OK;
}

ptq_status ptq_view_through(const ptq_movers *m, int *from, ptq_view *v)
{
    for (; *from < m->n; ++*from) {
        ptq_view w = *v;
        bool done;
        PTQ_TRY(through(m->node[*from], &w, &done));
        if (!done)
            return PTQ_OK;
        *v = w;
    }
    return PTQ_OK;
}
