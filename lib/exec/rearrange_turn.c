/* SPDX-License-Identifier: Apache-2.0 */
/* A Transpose that keeps the last axis permutes the rows of a product with a constant weight, so it may
 * stand on either side: behind the product where attention takes it along, in front of it where it came out
 * of attention. */
#include "lib/exec/rearrange_impl.h"

/* A product whose rows may be permuted: a Q, or a clamp in front of one, stays directly behind it. */
static bool free_behind(const ptq_value *y)
{
    static const char *const stay[] = {"QuantizeLinear", "Relu", "Clip"};
    if (!y || y->is_output || y->uses.n == 0 || y->dtype != PTQ_DT_F32 || y->shape.rank < 0)
        return false;
    for (size_t i = 0; i < y->uses.n; i++)
        for (size_t k = 0; k < PTQ_COUNT(stay); k++)
            if (y->uses.v[i].slot < 0 || ptq_node_is(y->uses.v[i].node, stay[k]))
                return false;
    return true;
}

/* The DequantizeLinear behind a Transpose of codes, when products alone read it. */
static ptq_node *movable(const ptq_node *t)
{
    if (!ptq_node_is(t, "Transpose") || !t->in[0] || !ptq_is_8bit(t->in[0]->dtype) || t->in[0]->shape.rank < 3 ||
        ptq_lower_constant(t->in[0]) || !ptq_keeps_last(t))
        return NULL;
    ptq_node *d = ptq_only_reader(t->out[0], 0);
    if (!d || !ptq_dq_of(d->out[0]) || d->out[0]->is_output || d->out[0]->uses.n == 0)
        return NULL;
    for (size_t i = 0; i < d->out[0]->uses.n; i++) {
        const ptq_use *u = &d->out[0]->uses.v[i];
        if (u->slot != 0 || !ptq_node_is(u->node, "MatMul") || !ptq_weight_of(u->node->in[1]) ||
            !free_behind(u->node->out[0]))
            return NULL;
    }
    return d;
}

/* Puts a copy of t behind product n. */
static ptq_status put_behind(ptq_graph *g, const ptq_node *t, ptq_node *n)
{
    ptq_value *y = n->out[0], *v;
    ptq_shape s = t->in[0]->shape;
    ptq_node *copy;
    s.dims[s.rank - 1] = y->shape.dims[y->shape.rank - 1];
    PTQ_TRY(ptq_new_value(g, y->name, y->dtype, &s, &v));
    ptq_node_set_output(g, n, 0, v);
    return ptq_copy_node(g, t, n->next, &v, 1, y, &copy);
}

ptq_status ptq_rearrange_sink(ptq_graph *g, int *changes)
{
    PTQ_GRAPH_EACH_NODE_SAFE (g, t, next) {
        ptq_node *d = movable(t);
        if (!d)
            continue;
        ptq_node_set_input(g, d, 0, t->in[0]);
        d->out[0]->shape = t->in[0]->shape;
        for (size_t i = 0; i < d->out[0]->uses.n; i++)
            PTQ_TRY(put_behind(g, t, d->out[0]->uses.v[i].node));
        next = t->next;
        ptq_node_drop(g, t);
        ++*changes;
    }
    return PTQ_OK;
}

/* ---- Gemm, Reshape, Transpose ---- */

bool ptq_reshape_target(const ptq_node *n, int64_t *dims, int *rank)
{
    const ptq_tensor *t = n->nin == 2 ? ptq_lower_constant(n->in[1]) : NULL;
    if (!ptq_node_is(n, "Reshape") || !t || t->dtype != PTQ_DT_S64 || t->rank != 1 || t->dims[0] > PTQ_MAX_RANK)
        return false;
    *rank = (int)t->dims[0];
    for (int i = 0; i < *rank; i++)
        if ((dims[i] = ((const int64_t *)t->data)[i]) == 0)
            return false;
    return true;
}

/* What a Gemm adds is the same in every row. */
static bool same_for_rows(const ptq_value *c)
{
    const ptq_tensor *t = c ? ptq_lower_constant(c) : NULL;
    int rank = t ? t->rank : c ? c->shape.rank : 0;
    if (rank == 2)
        return t ? t->dims[0] == 1 : ptq_dim_known(c->shape.dims[0]) && c->shape.dims[0].add == 1;
    return rank == 0 || rank == 1;
}

bool ptq_match_gemm(ptq_node *n, ptq_rows *r)
{
    bool codes = strcmp(n->op, "QGemm") == 0 && n->nin > 5 && (n->nin < 8 || !n->in[7]);
    if ((!codes && !ptq_node_is(n, "Gemm")) || n->nin < 2 || ptq_attr_int(n, "transA", 0) != 0 || !n->out[0])
        return false;
    const ptq_tensor *w = codes ? ptq_lower_constant(n->in[3]) : ptq_weight_of(n->in[1]);
    int trans = ptq_attr_int(n, "transB", 0) != 0;
    r->gemm = n;
    r->dq = codes ? NULL : ptq_dq_of(n->in[0]);
    r->codes = codes ? n->in[0] : r->dq ? r->dq->in[0] : NULL;
    if (!w || w->rank != 2 || !r->codes || !ptq_is_8bit(r->codes->dtype) || n->out[0]->dtype != PTQ_DT_F32)
        return false;
    r->k = w->dims[trans ? 1 : 0];
    r->n = w->dims[trans ? 0 : 1];
    return same_for_rows(ptq_node_input(n, codes ? 6 : 2));
}

static bool match_turn(ptq_node *n, ptq_rows *r)
{
    if (!ptq_match_gemm(n, r) || !(r->reshape = ptq_only_reader(n->out[0], 0)) ||
        !ptq_reshape_target(r->reshape, r->dims, &r->rank) ||
        r->rank < 3 || r->dims[r->rank - 1] != r->n)
        return false;
    r->transpose = ptq_only_reader(r->reshape->out[0], 0);
    return r->transpose && ptq_node_is(r->transpose, "Transpose") && ptq_keeps_last(r->transpose);
}

/* The codes with their rows in the order behind the Transpose: Reshape, Transpose, Reshape. */
static ptq_status turn_codes(ptq_graph *g, const ptq_rows *r, ptq_value **out)
{
    int64_t dims[PTQ_MAX_RANK];
    ptq_value *v = r->codes, *target;
    ptq_node *n;
    for (int i = 0; i < r->rank; i++)
        dims[i] = i == r->rank - 1 ? r->k : r->dims[i];
    PTQ_TRY(ptq_new_numbers(g, v->name, dims, r->rank, &target));
    PTQ_TRY(ptq_new_node(g, "Reshape", r->gemm, v, target, NULL, &n));
    PTQ_TRY(ptq_infer_node(g, n));
    PTQ_TRY(ptq_copy_node(g, r->transpose, r->gemm, &n->out[0], 1, NULL, &n));
    PTQ_TRY(ptq_new_numbers(g, v->name, (int64_t[]){-1, r->k}, 2, &target));
    PTQ_TRY(ptq_new_node(g, "Reshape", r->gemm, n->out[0], target, NULL, &n));
    *out = n->out[0];
    return ptq_infer_node(g, n);
}

static ptq_status turn(ptq_graph *g, const ptq_rows *r)
{
    ptq_value *codes, *target, *y = r->transpose->out[0];
    ptq_node *dq, *n;
    size_t count;
    const int64_t *perm = ptq_attr_ints(r->transpose, "perm", &count);
    int64_t dims[PTQ_MAX_RANK];
    PTQ_TRY(turn_codes(g, r, &codes));
    if (r->dq) {
        PTQ_TRY(ptq_copy_node(g, r->dq, r->gemm, &codes, 1, NULL, &dq));
        codes = dq->out[0];
    }
    ptq_node_set_input(g, r->gemm, 0, codes);
    for (size_t i = 0; i < count; i++)
        dims[i] = r->dims[perm[i]];
    PTQ_TRY(ptq_new_numbers(g, y->name, dims, r->rank, &target));
    return ptq_new_node(g, "Reshape", r->transpose, r->gemm->out[0], target, y, &n);
}

ptq_status ptq_rearrange_turn(ptq_graph *g, int *changes)
{
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next) {
        ptq_rows r;
        if (!match_turn(n, &r))
            continue;
        PTQ_TRY(turn(g, &r));
        next = n->next;
        if (next == r.reshape)
            next = r.reshape->next;
        if (next == r.transpose)
            next = r.transpose->next;
        ptq_node_drop(g, r.transpose);
        ptq_node_drop(g, r.reshape);
        ++*changes;
    }
    return PTQ_OK;
}

/* ---- a sum behind Gemm and Reshape ---- */

static ptq_status flatten_sum(ptq_graph *g, const ptq_rows *r, ptq_node *add, int slot, bool *done)
{
    ptq_value *other = add->in[1 - slot], *y = add->out[0], *target, *sum;
    const ptq_shape *s = &other->shape, *flat = &r->gemm->out[0]->shape;
    ptq_node *n;
    *done = false;
    if (!ptq_same_shape(other, add->in[slot]) || s->rank < 1 || other->dtype != PTQ_DT_F32 ||
        ptq_lower_constant(other) ||
        other == add->in[slot] || flat->rank != 2 ||
        !ptq_dim_equal(ptq_infer_product(s->dims, s->rank - 1), flat->dims[0]))
        return PTQ_OK;
    PTQ_TRY(ptq_new_numbers(g, other->name, (int64_t[]){-1, r->n}, 2, &target));
    PTQ_TRY(ptq_new_node(g, "Reshape", add, other, target, NULL, &n));
    PTQ_TRY(ptq_infer_node(g, n));
    PTQ_TRY(ptq_new_value(g, y->name, y->dtype, flat, &sum));
    ptq_node_set_output(g, add, 0, sum);
    ptq_node_set_input(g, add, slot, r->gemm->out[0]);
    ptq_node_set_input(g, add, 1 - slot, n->out[0]);
    ptq_value *reshaped = r->reshape->out[0];
    ptq_node_move_before(g, r->reshape, add->next);
    ptq_node_set_input(g, r->reshape, 0, sum);
    ptq_node_set_output(g, r->reshape, 0, y);
    ptq_value_drop(g, reshaped);
    *done = true;
    return PTQ_OK;
}

ptq_status ptq_rearrange_flat(ptq_graph *g, int *changes)
{
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next) {
        ptq_rows r;
        bool done;
        if (!ptq_match_gemm(n, &r) || !(r.reshape = ptq_only_reader(n->out[0], 0)) ||
            !ptq_reshape_target(r.reshape, r.dims, &r.rank) || !ptq_keeps_last(r.reshape) ||
            r.reshape->out[0]->uses.n != 1)
            continue;
        int slot = r.reshape->out[0]->uses.v[0].slot;
        ptq_node *add = slot >= 0 ? ptq_only_reader(r.reshape->out[0], slot) : NULL;
        if (!add || !ptq_node_is(add, "Add") || add->nin != 2)
            continue;
        next = n->next == r.reshape ? r.reshape->next : n->next;
        PTQ_TRY(flatten_sum(g, &r, add, slot, &done));
        *changes += done;
    }
    return PTQ_OK;
}
