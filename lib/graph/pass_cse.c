/* SPDX-License-Identifier: Apache-2.0 */
/* Common subexpressions: nodes with the same operator, attributes and inputs are computed once.
 * Small integer constants and scalars with the same bytes become one first; weights stay apart
 * under their own names, since each may be quantized in its own way. */
#include <stdlib.h>

#include "lib/graph/pass_impl.h"

typedef struct table {
    void **slot; /* ptq_node or ptq_value */
    uint64_t *hash;
    size_t cap;
} table;

static bool table_new(table *t, size_t n)
{
    t->cap = 16;
    while (t->cap < 2 * n)
        t->cap *= 2;
    t->slot = ptq_calloc(t->cap, sizeof *t->slot);
    t->hash = ptq_calloc(t->cap, sizeof *t->hash);
    return t->slot && t->hash;
}

static void table_free(table *t)
{
    free(t->slot);
    free(t->hash);
}

/* The first entry that equals `item`, after putting it there if there was none. */
static void *table_find(table *t, uint64_t h, void *item, bool (*equal)(const void *, const void *))
{
    for (size_t i = (size_t)h & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        if (!t->slot[i]) {
            t->slot[i] = item;
            t->hash[i] = h;
            return item;
        }
        if (t->hash[i] == h && equal(t->slot[i], item))
            return t->slot[i];
    }
}

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 1099511628211u; /* FNV-1a */
    return h;
}

/* The low bits choose the place: fold the high ones in. */
static uint64_t finish(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

/* ---- constants ---- */

static bool small_constant(const ptq_value *v)
{
    const ptq_tensor *t = v ? v->constant : NULL;
    if (!t || v->is_output || v->is_input || ptq_value_captured(v))
        return false;
    bool integer = t->dtype == PTQ_DT_S64 || t->dtype == PTQ_DT_S32 || t->dtype == PTQ_DT_BOOL;
    return t->nbytes <= 512 && (integer || (t->dtype == PTQ_DT_F32 && t->nbytes == sizeof(float)));
}

static bool same_tensor(const ptq_tensor *a, const ptq_tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank && a->nbytes == b->nbytes &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0 &&
           (a->nbytes == 0 || memcmp(a->data, b->data, a->nbytes) == 0);
}

static bool same_constant(const void *a, const void *b)
{
    return same_tensor(((const ptq_value *)a)->constant, ((const ptq_value *)b)->constant);
}

static ptq_status merge_constants(ptq_pass_ctx *ctx)
{
    ptq_graph *g = ctx->graph;
    table t = {0};
    if (!table_new(&t, g->values.n)) {
        table_free(&t);
        return ptq_fail_nomem();
    }
    for (size_t i = 0; i < g->values.n; i++) {
        ptq_value *v = g->values.v[i];
        if (!small_constant(v))
            continue;
        const ptq_tensor *c = v->constant;
        uint64_t h = mix(14695981039346656037u, c->dims, (size_t)c->rank * sizeof *c->dims);
        h = finish(mix(mix(h, &c->dtype, sizeof c->dtype), c->data, c->nbytes));
        ptq_value *first = table_find(&t, h, v, same_constant);
        if (first == v || v->uses.n == 0)
            continue;
        ptq_value_replace_uses(g, v, first);
        ptq_value_drop(g, v);
        ctx->changes++;
    }
    table_free(&t);
    return PTQ_OK;
}

/* ---- sizes ---- */

/* A small integer tensor whose elements inference proves (as expressions of sizes). */
static bool proven(const ptq_value *v)
{
    if (!v || !v->contents || v->constant || v->is_output || v->is_input || ptq_value_captured(v) ||
        v->shape.rank > 1 || !ptq_shape_known(&v->shape))
        return false;
    for (int i = 0; i < v->ncontents; i++)
        if (v->contents[i].sym == PTQ_SYM_UNKNOWN)
            return false;
    return true;
}

static bool same_elements(const void *pa, const void *pb)
{
    const ptq_value *a = pa, *b = pb;
    if (a->dtype != b->dtype || a->shape.rank != b->shape.rank || a->ncontents != b->ncontents)
        return false;
    for (int i = 0; i < a->ncontents; i++)
        if (!ptq_dim_equal(a->contents[i], b->contents[i]))
            return false;
    return true;
}

/* Each layer of a transformer asks its own tensors for the same sizes: the first answer does. */
static ptq_status merge_sizes(ptq_pass_ctx *ctx)
{
    ptq_graph *g = ctx->graph;
    table t = {0};
    if (!table_new(&t, g->values.n)) {
        table_free(&t);
        return ptq_fail_nomem();
    }
    PTQ_GRAPH_EACH_NODE (g, n) {
        for (int i = 0; i < n->nout; i++) {
            ptq_value *v = n->out[i];
            if (!proven(v))
                continue;
            uint64_t h = mix(14695981039346656037u, &v->dtype, sizeof v->dtype);
            for (int k = 0; k < v->ncontents; k++) {
                ptq_dim d = v->contents[k];
                h = mix(mix(mix(h, &d.mul, sizeof d.mul), &d.add, sizeof d.add), &d.sym, sizeof d.sym);
            }
            ptq_value *first = table_find(&t, finish(h), v, same_elements);
            if (first == v || v->uses.n == 0)
                continue;
            ptq_value_replace_uses(g, v, first);
            ctx->changes++;
        }
    }
    table_free(&t);
    return PTQ_OK;
}

/* ---- nodes ---- */

static bool may_share(const ptq_node *n)
{
    if (!n->def || (n->def->flags & PTQ_OPF_RANDOM) || n->ncaptures || n->nout == 0)
        return false;
    for (int i = 0; i < n->nattrs; i++)
        if (n->attrs[i].type >= PTQ_ATTR_STRINGS || n->attrs[i].type == PTQ_ATTR_GRAPH)
            return false;
    for (int i = 0; i < n->nout; i++)
        if (n->out[i] && (n->out[i]->is_output || ptq_value_captured(n->out[i])))
            return false;
    return true;
}

static bool same_attr(const ptq_attr *a, const ptq_attr *b)
{
    if (!b || a->type != b->type || a->n != b->n)
        return false;
    switch (a->type) {
    case PTQ_ATTR_FLOAT: return memcmp(&a->f, &b->f, sizeof a->f) == 0;
    case PTQ_ATTR_INT: return a->i == b->i;
    case PTQ_ATTR_STRING: return memcmp(a->s, b->s, a->n) == 0;
    case PTQ_ATTR_FLOATS: return a->n == 0 || memcmp(a->floats, b->floats, a->n * sizeof(float)) == 0;
    case PTQ_ATTR_INTS: return a->n == 0 || memcmp(a->ints, b->ints, a->n * sizeof(int64_t)) == 0;
    case PTQ_ATTR_TENSOR: return a->tensor && b->tensor && same_tensor(a->tensor, b->tensor);
    default: return false;
    }
}

static bool same_node(const void *pa, const void *pb)
{
    const ptq_node *a = pa, *b = pb;
    if (a->def != b->def || a->nin != b->nin || a->nout != b->nout || a->nattrs != b->nattrs)
        return false;
    for (int i = 0; i < a->nin; i++)
        if (a->in[i] != b->in[i])
            return false;
    for (int i = 0; i < a->nout; i++)
        if (!a->out[i] && b->out[i])
            return false;
    for (int i = 0; i < a->nattrs; i++)
        if (!same_attr(&a->attrs[i], ptq_attr_find(b, a->attrs[i].name)))
            return false;
    return true;
}

static uint64_t hash_node(const ptq_node *n)
{
    uint64_t h = mix(14695981039346656037u, &n->def, sizeof n->def), attrs = 0;
    for (int i = 0; i < n->nin; i++) {
        int id = n->in[i] ? n->in[i]->id : -1;
        h = mix(h, &id, sizeof id);
    }
    for (int i = 0; i < n->nattrs; i++) { /* in any order */
        const ptq_attr *a = &n->attrs[i];
        uint64_t k = mix(mix(14695981039346656037u, a->name, strlen(a->name)), &a->i, sizeof a->i);
        if (a->type == PTQ_ATTR_INTS)
            k = mix(k, a->ints, a->n * sizeof *a->ints);
        if (a->type == PTQ_ATTR_TENSOR && a->tensor)
            k = mix(k, a->tensor->data, a->tensor->nbytes < 64 ? a->tensor->nbytes : 64);
        attrs += k;
    }
    return finish(mix(h, &attrs, sizeof attrs));
}

ptq_status ptq_pass_cse(ptq_pass_ctx *ctx)
{
    ptq_graph *g = ctx->graph;
    table t = {0};
    PTQ_TRY(merge_constants(ctx));
    PTQ_TRY(merge_sizes(ctx));
    if (!table_new(&t, (size_t)g->nnodes)) {
        table_free(&t);
        return ptq_fail_nomem();
    }
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next) {
        if (!may_share(n))
            continue;
        ptq_node *first = table_find(&t, hash_node(n), n, same_node);
        if (first == n)
            continue;
        for (int i = 0; i < n->nout; i++)
            if (n->out[i])
                ptq_value_replace_uses(g, n->out[i], first->out[i]);
        ptq_node_drop(g, n);
        ctx->changes++;
    }
    table_free(&t);
    return PTQ_OK;
}
