/* SPDX-License-Identifier: Apache-2.0 */
/* Where the samples of a batch lie in each value. Transformers with the sequence first keep the batch in axis 1, or
 * as a part of an axis: [65, batch, 256], [4 batch, 65, 64], [65 batch, 256]. */
#include <stdlib.h>
#include <string.h>

#include "lib/exec/args.h"
#include "lib/exec/session.h"

/* The axis holds [before][sample][behind]; before this axis lie outer / before blocks of it. */
typedef struct place {
    enum { FREE, PLACED, LOST } state; /* FREE: no sample has a part in it */
    int axis;
    int64_t outer, before;
} place;

static const place nowhere = {.state = LOST}, shared = {.state = FREE};

/* The only axis whose size is a multiple of the batch; -1: there is none, -2: several, or unknown ones. */
static int batch_axis(const ptq_shape *s, int32_t sym)
{
    int axis = s->rank < 0 ? -2 : -1;
    for (int i = 0; i < s->rank; i++) {
        const ptq_dim *d = &s->dims[i];
        if (d->sym == PTQ_SYM_UNKNOWN || (d->sym == sym && (axis != -1 || d->add != 0 || d->mul < 1)))
            return -2;
        if (d->sym == sym)
            axis = i;
    }
    return axis;
}

/* Elements of the axes before this one; 0: not a number. */
static int64_t blocks_before(const ptq_shape *s, int axis)
{
    int64_t n = 1;
    for (int i = 0; i < axis; i++)
        if (!ptq_dim_known(s->dims[i]) || s->dims[i].add < 1 || __builtin_mul_overflow(n, s->dims[i].add, &n))
            return 0;
    return n;
}

/* `before` samples' parts lie before each other sample in the axis. */
static place in_axis(const ptq_shape *s, int axis, int64_t before)
{
    const int64_t blocks = blocks_before(s, axis);
    place p = {PLACED, axis, 0, before};
    if (blocks == 0 || before < 1 || s->dims[axis].mul % before != 0 || __builtin_mul_overflow(blocks, before, &p.outer))
        return nowhere;
    return p;
}

/* The same bytes in another shape. */
static place viewed(const ptq_shape *s, int axis, int64_t outer)
{
    const int64_t blocks = blocks_before(s, axis);
    return blocks > 0 && outer % blocks == 0 ? in_axis(s, axis, outer / blocks) : nowhere;
}

static int axis_attr(const ptq_node *n, int64_t dflt, int rank)
{
    return ptq_axis(ptq_attr_int(n, "axis", dflt), rank);
}

static int transposed(const ptq_node *n, int rank, int axis)
{
    size_t count;
    const int64_t *perm = ptq_attr_ints(n, "perm", &count);
    for (int i = 0; i < rank; i++)
        if ((perm && count == (size_t)rank ? perm[i] : rank - 1 - i) == axis)
            return i;
    return -1;
}

/* Operators that take each index of `axis` of input i by itself, so that it becomes an index of one axis of the
 * output in the same order: which one? -1: not known. */
static int carried(const ptq_graph *g, const ptq_node *n, int i, int axis, int out_rank)
{
    static const char *const same[] = {"PRelu", "Where", "Sum", "Mean", "Max", "Min", "Cast", "Dropout"};
    const int rank = n->in[i]->shape.rank, aligned = axis + out_rank - rank;
    const bool own = n->domain[0] == '\0';
    if (n->def && n->def->flags & (PTQ_OPF_UNARY | PTQ_OPF_BINARY))
        return aligned;
    for (size_t k = 0; own && k < PTQ_COUNT(same); k++)
        if (strcmp(n->op, same[k]) == 0)
            return aligned;
    if (!own)
        return -1;
    if (strcmp(n->op, "Transpose") == 0)
        return transposed(n, rank, axis);
    if (strcmp(n->op, "MatMul") == 0) /* rows of the left operand, products of a batch */
        return rank >= 2 && axis < (i == 0 ? rank - 1 : rank - 2) ? aligned : -1;
    if (strcmp(n->op, "Gemm") == 0)
        return i == 0 && axis == 0 && ptq_attr_int(n, "transA", 0) == 0 ? 0 : -1;
    if (strcmp(n->op, "Softmax") == 0 || strcmp(n->op, "LogSoftmax") == 0)
        return g->opset >= 13 && axis_attr(n, -1, rank) != axis ? axis : -1;
    if (strcmp(n->op, "LayerNormalization") == 0)
        return axis < axis_attr(n, -1, rank) ? axis : -1;
    if (strcmp(n->op, "Concat") == 0)
        return axis_attr(n, 0, rank) != axis ? axis : -1;
    if (strcmp(n->op, "Split") == 0)
        return axis_attr(n, 0, rank) != axis ? axis : -1;
    if (strcmp(n->op, "Gather") == 0 && i == 0 && axis_attr(n, 0, rank) != axis)
        return axis < axis_attr(n, 0, rank) ? axis : axis + out_rank - rank;
    return -1;
}

/* Any operator may take samples that lie one behind the other, as long as its results do as well. */
static bool in_front(const ptq_shape *s, const place *p)
{
    return p->axis == 0 && p->before == 1 && s->dims[0].mul == 1;
}

/* A value that no sample has a part in yet has the batch in its shape alone. */
static place made(const ptq_node *n, const ptq_shape *s, int axis)
{
    if (axis == -1)
        return shared;
    if (axis < 0 || s->dims[axis].mul != 1 || (strcmp(n->op, "Expand") != 0 && strcmp(n->op, "ConstantOfShape") != 0))
        return nowhere;
    return in_axis(s, axis, 1);
}

static place place_of(const ptq_graph *g, const ptq_node *n, const ptq_shape *s, int32_t sym, const place *all)
{
    const int axis = batch_axis(s, sym);
    bool any = false, front = true;
    place found = nowhere;
    if (n->def && n->def->flags & PTQ_OPF_SHAPE)
        return made(n, s, axis);
    for (int i = 0; i < n->nin; i++) {
        const place *p = n->in[i] ? &all[n->in[i]->id] : &shared;
        if (p->state == LOST || (p->state == PLACED && axis < 0))
            return nowhere;
        if (p->state == FREE)
            continue;
        if (n->def && n->def->flags & PTQ_OPF_VIEW)
            return i == 0 ? viewed(s, axis, p->outer) : nowhere;
        front = front && in_front(&n->in[i]->shape, p);
        const bool here = carried(g, n, i, p->axis, s->rank) == axis && (!any || found.state == PLACED) &&
                          s->dims[axis].mul == n->in[i]->shape.dims[p->axis].mul;
        const place own = here ? in_axis(s, axis, p->before) : nowhere;
        found = any && own.outer != found.outer ? nowhere : own;
        any = true;
    }
    if (!any)
        return made(n, s, axis);
    if (found.state == LOST && front && axis == 0 && s->dims[0].mul == 1)
        return in_axis(s, 0, 1);
    return found;
}

/* False where samples cannot be told apart at all. */
static bool find_all(const ptq_graph *g, place *all)
{
    const bool any = g->inputs.n > 0 && g->inputs.v[0]->shape.rank > 0;
    const int32_t sym = any ? g->inputs.v[0]->shape.dims[0].sym : PTQ_SYM_NONE;
    if (sym <= 0)
        return false;
    for (size_t i = 0; i < g->inputs.n; i++) {
        const ptq_value *v = g->inputs.v[i];
        if (batch_axis(&v->shape, sym) != 0 || v->shape.dims[0].mul != 1)
            return false;
        all[v->id] = in_axis(&v->shape, 0, 1);
    }
    PTQ_GRAPH_EACH_NODE (g, n) {
        if (n->def && n->def->flags & PTQ_OPF_CONTROL) /* a condition may be asked of all samples at once */
            return false;
        for (int k = 0; k < n->nout; k++)
            if (n->out[k])
                all[n->out[k]->id] = place_of(g, n, &n->out[k]->shape, sym, all);
    }
    return true;
}

ptq_status ptq_batch_places(const ptq_graph *g, bool (*select)(void *ctx, const ptq_value *v), void *ctx,
                            ptq_batch_place *out, bool *proven)
{
    place *all = ptq_calloc(g->values.n, sizeof *all); /* constants are FREE */
    if (!all)
        return ptq_fail_nomem();
    *proven = find_all(g, all);
    for (size_t i = 0; i < g->values.n && *proven; i++) {
        const ptq_value *v = g->values.v[i];
        if (!v || v->constant || !select(ctx, v))
            continue;
        out[i] = (ptq_batch_place){all[i].outer, all[i].axis};
        *proven = all[i].state == PLACED;
    }
    free(all);
    return PTQ_OK;
}
