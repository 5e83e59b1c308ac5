/* SPDX-License-Identifier: Apache-2.0 */
/* Every tensor of an attention step as pieces per axis of [batch..., rows, columns]. Batch axes are then
 * cut where any of the tensors needs it, so that each has one step per cut. */
#include "lib/exec/attention.h"

#include <string.h>

#include "lib/exec/args.h"

/* Pieces of one axis, the last runs fastest; pieces of size 1 are left out. */
typedef struct axis {
    int n;
    int64_t size[PTQ_VIEW_PARTS], step[PTQ_VIEW_PARTS];
} axis;

typedef struct operand {
    int rank;
    int64_t dims[PTQ_MAX_RANK];
    axis axes[PTQ_MAX_RANK];
    bool apart;
} operand;

static void add_piece(axis *a, int64_t size, int64_t step)
{
    if (size == 1)
        return;
    bool joins = a->n > 0 && a->step[a->n - 1] == size * step;
    a->n += !joins;
    a->size[a->n - 1] = joins ? a->size[a->n - 1] * size : size;
    a->step[a->n - 1] = step;
}

static void of_view(const ptq_view *v, operand *o)
{
    o->rank = v->rank;
    for (int i = 0; i < v->rank; i++) {
        o->dims[i] = ptq_view_dim(v, i);
        o->axes[i].n = 0;
        for (int k = v->first[i]; k < v->first[i + 1]; k++)
            add_piece(&o->axes[i], v->size[k], v->step[k]);
    }
}

static void of_dense(operand *o)
{
    ptq_view v;
    ptq_view_dense(o->dims, o->rank, &v);
    of_view(&v, o);
}

/* Through all movers; where the view ends the elements are taken as copied there. */
static ptq_status follow(const ptq_movers *m, ptq_view *v, bool *apart)
{
    int64_t dims[PTQ_MAX_RANK];
    *apart = false;
    for (int from = 0;;) {
        int before = from;
        PTQ_TRY(ptq_view_through(m, &from, v));
        if (from == m->n)
            return PTQ_OK;
        if (from == before && *apart)
            return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: too many dimensions", m->node[from]->name);
        for (int i = 0; i < v->rank; i++)
            dims[i] = ptq_view_dim(v, i);
        ptq_view_dense(dims, v->rank, v);
        *apart = true;
    }
}

/* An offset is a part of the step only where there is no `apart`. */
static ptq_status of_input(const ptq_tensor *t, const ptq_movers *m, operand *o, int64_t *offset)
{
    ptq_view v;
    ptq_view_start(m, t->dims, t->rank, &v);
    PTQ_TRY(follow(m, &v, &o->apart));
    of_view(&v, o);
    *offset = o->apart ? 0 : v.offset;
    if (o->apart)
        of_dense(o);
    int r = o->rank;
    if (!o->apart && r >= 2 && (o->axes[r - 1].n > 1 || o->axes[r - 2].n > 1)) {
        o->apart = true; /* rows or columns have no one step */
        *offset = 0;
        of_dense(o);
    }
    return PTQ_OK;
}

bool ptq_attention_in_place(const ptq_movers *m, const int64_t *dims, int rank)
{
    ptq_tensor t = {.rank = rank};
    operand o;
    int64_t offset;
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    return of_input(&t, m, &o, &offset) == PTQ_OK && !o.apart;
}

/* ---- the output: where the elements of the dense result lie behind the movers ---- */

typedef struct cut {
    int64_t size, step, to; /* elements of the dense result `step` apart lie `to` apart */
} cut;

/* Parts of the view, sorted by their step; false unless they cover the dense result exactly. */
static int sorted_parts(const ptq_view *v, int64_t total, cut *c)
{
    int n = 0;
    int64_t to = 1;
    for (int i = v->first[v->rank] - 1; i >= 0; i--) {
        if (v->size[i] != 1) {
            int at = n++;
            for (; at > 0 && c[at - 1].step > v->step[i]; at--)
                c[at] = c[at - 1];
            c[at] = (cut){v->size[i], v->step[i], to};
        }
        to *= v->size[i];
    }
    int64_t step = 1;
    for (int i = 0; i < n; i++) {
        if (c[i].step != step)
            return -1;
        step *= c[i].size;
    }
    return step == total ? n : -1;
}

/* Pieces of the dense axes, from the last on, out of the sorted parts. */
static bool invert(const ptq_view *v, operand *o)
{
    cut c[PTQ_VIEW_PARTS];
    int n = sorted_parts(v, ptq_product(o->dims, 0, o->rank), c), at = 0;
    for (int i = o->rank - 1; n >= 0 && i >= 0; i--) {
        axis a = {0}, *to = &o->axes[i];
        for (int64_t need = o->dims[i]; need > 1;) {
            int64_t piece = at < n && c[at].size < need ? c[at].size : need;
            if (at == n || c[at].size % piece != 0 || need % piece != 0 || a.n == PTQ_VIEW_PARTS)
                return false;
            a.size[a.n] = piece;
            a.step[a.n++] = c[at].to;
            need /= piece;
            c[at].size /= piece;
            c[at].to *= piece;
            at += c[at].size == 1;
        }
        to->n = 0;
        for (int k = a.n - 1; k >= 0; k--)
            add_piece(to, a.size[k], a.step[k]);
    }
    return n >= 0;
}

static ptq_status of_output(const ptq_movers *m, operand *o)
{
    ptq_view v;
    ptq_view_dense(o->dims, o->rank, &v);
    PTQ_TRY(follow(m, &v, &o->apart));
    o->apart = o->apart || !invert(&v, o) || o->axes[o->rank - 1].n > 1 || o->axes[o->rank - 2].n > 1;
    if (o->apart)
        of_dense(o);
    return PTQ_OK;
}

/* ---- batch axes ---- */

enum { Q, K, V, Y, MASK, OPERANDS };

/* Batch axis i of `nbd`, counted as in the result; NULL: the operand lacks it or has size 1 there. */
static const axis *batch_axis(const operand *o, int nbd, int i)
{
    int at = i - (nbd - (o->rank - 2));
    return at < 0 || at >= o->rank || o->dims[at] == 1 ? NULL : &o->axes[at];
}

/* The places inside an axis of `size` where a piece of an operand ends, as counts of elements from the
 * fast end, rising; 0 where they do not divide each other. */
static int boundaries(const operand *o, int nbd, int i, int64_t size, int64_t *b)
{
    int n = 1;
    b[0] = 1;
    for (int k = 0; k < OPERANDS; k++) {
        const axis *a = batch_axis(&o[k], nbd, i);
        int64_t from = 1;
        for (int p = a ? a->n - 1 : 0; a && p > 0; p--) {
            from *= a->size[p];
            int at = n;
            while (at > 0 && b[at - 1] >= from)
                at--;
            if (at < n && b[at] == from)
                continue;
            if (n == PTQ_MAX_RANK)
                return 0;
            memmove(b + at + 1, b + at, (size_t)(n - at) * sizeof *b);
            b[at] = from;
            n++;
        }
    }
    for (int k = 1; k < n; k++)
        if (b[k] % b[k - 1] != 0)
            return 0;
    return size % b[n - 1] == 0 ? n : 0;
}

/* The step between elements that lie `from` apart on the axis. */
static int64_t step_at(const axis *a, int64_t from)
{
    int64_t below = 1;
    for (int p = a ? a->n - 1 : -1; p >= 0; p--) {
        if (from < below * a->size[p])
            return a->step[p] * (from / below);
        below *= a->size[p];
    }
    return 0;
}

/* False: the operands' pieces do not go together. */
static bool set_batch(const operand *o, int nbd, const int64_t *dims, ptq_attention *a)
{
    ptq_attention_steps *const steps[OPERANDS] = {&a->q, &a->k, &a->v, &a->y, &a->mask};
    a->nbd = 0;
    a->batch = 1;
    for (int i = 0; i < nbd; i++) {
        int64_t b[PTQ_MAX_RANK];
        int n = boundaries(o, nbd, i, dims[i], b);
        if (n == 0 || a->nbd + n > PTQ_MAX_RANK)
            return false;
        for (int k = n - 1; k >= 0; k--, a->nbd++) {
            a->bdim[a->nbd] = (k == n - 1 ? dims[i] : b[k + 1]) / b[k];
            a->batch *= a->bdim[a->nbd];
            for (int t = 0; t < OPERANDS; t++)
                steps[t]->batch[a->nbd] = step_at(batch_axis(&o[t], nbd, i), b[k]);
        }
    }
    return true;
}

/* ---- together ---- */

static ptq_status misfit(const ptq_step_run *r, const char *what)
{
    return ptq_fail(PTQ_ERR_MODEL, "node %s: the shapes of its %s do not fit together", r->step->name, what);
}

/* Sizes of the batch dims of all operands together. */
static bool join_batch(const operand *o, int nbd, int64_t *dims)
{
    for (int i = 0; i < nbd; i++)
        for (int k = 0; k < OPERANDS; k++) {
            int at = i - (nbd - (o[k].rank - 2));
            int64_t d = k == Y || at < 0 ? 1 : o[k].dims[at];
            dims[i] = k == 0 || dims[i] == 1 ? d : dims[i];
            if (d != 1 && d != dims[i])
                return false;
        }
    return true;
}

/* A mask of fewer than two dims gets leading ones. */
static void of_mask(const ptq_tensor *t, operand *o)
{
    int lead = t && t->rank < 2 ? 2 - t->rank : 0;
    o->rank = t ? t->rank + lead : 2;
    for (int i = 0; i < o->rank; i++)
        o->dims[i] = !t || i < lead ? 1 : t->dims[i - lead];
    of_dense(o);
}

static bool broadcasts(int64_t d, int64_t to)
{
    return d == 1 || d == to;
}

static int64_t only_step(const axis *a)
{
    return a->n ? a->step[a->n - 1] : 0;
}

static void set_matrix(const operand *o, ptq_attention_steps *s)
{
    s->row = only_step(&o->axes[o->rank - 2]);
    s->col = only_step(&o->axes[o->rank - 1]);
    s->apart = o->apart;
}

static ptq_status read_operands(const ptq_step_run *r, operand *o, ptq_attention *a, int64_t *dims)
{
    const ptq_qattention_params *p = r->step->params;
    PTQ_TRY(of_input(r->in[0], &p->q_from, &o[Q], &a->q.offset));
    PTQ_TRY(of_input(r->in[1], &p->k_from, &o[K], &a->k.offset));
    PTQ_TRY(of_input(r->in[2], &p->v_from, &o[V], &a->v.offset));
    of_mask(ptq_in(r, 3), &o[MASK]);
    int q = o[Q].rank, k = o[K].rank, v = o[V].rank, m = o[MASK].rank;
    if (q < 2 || k < 2 || v < 2)
        return misfit(r, "operands");
    a->m = o[Q].dims[q - 2];
    a->d = o[Q].dims[q - 1];
    a->n = o[K].dims[k - 1];
    a->dv = o[V].dims[v - 1];
    int nbd = (q > k ? q : k) - 2;
    if (m - 2 > nbd || !broadcasts(o[MASK].dims[m - 2], a->m) || !broadcasts(o[MASK].dims[m - 1], a->n))
        return misfit(r, "mask");
    nbd = v - 2 > nbd ? v - 2 : nbd;
    o[Y] = (operand){.rank = nbd + 2};
    if (o[K].dims[k - 2] != a->d || o[V].dims[v - 2] != a->n || !join_batch(o, nbd, dims))
        return misfit(r, "operands");
    memcpy(o[Y].dims, dims, (size_t)nbd * sizeof *dims);
    o[Y].dims[nbd] = a->m;
    o[Y].dims[nbd + 1] = a->dv;
    return of_output(&p->y_to, &o[Y]);
}

ptq_status ptq_attention_of(const ptq_step_run *r, ptq_attention *a)
{
    operand o[OPERANDS];
    int64_t dims[PTQ_MAX_RANK];
    memset(o, 0, sizeof o);
    memset(a, 0, sizeof *a);
    PTQ_TRY(read_operands(r, o, a, dims));
    int nbd = o[Y].rank - 2;
    a->yrank = o[Y].rank;
    memcpy(a->ydims, o[Y].dims, sizeof a->ydims);
    if (!set_batch(o, nbd, dims, a)) { /* as dense tensors they always do */
        for (int k = Q; k <= Y; k++) {
            o[k].apart = true;
            of_dense(&o[k]);
        }
        a->q.offset = a->k.offset = a->v.offset = 0;
        set_batch(o, nbd, dims, a);
    }
    ptq_attention_steps *const steps[OPERANDS] = {&a->q, &a->k, &a->v, &a->y, &a->mask};
    for (int k = 0; k < OPERANDS; k++)
        set_matrix(&o[k], steps[k]);
    return PTQ_OK;
}
