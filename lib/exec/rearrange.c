/* SPDX-License-Identifier: Apache-2.0 */
/* The rules' driver, and what they share. */
#include <stdlib.h>

#include "lib/exec/rearrange_impl.h"

static const ptq_rearrange_fn rules[] = {
#define PTQ_REARRANGE(name, summary) ptq_rearrange_##name,
#include "lib/exec/rearrange.def"
#undef PTQ_REARRANGE
};

static bool used(const ptq_node *n)
{
    for (int i = 0; i < n->nout; i++)
        if (!ptq_value_unused(n->out[i]))
            return true;
    return false;
}

/* Nodes that nobody reads from the beginning stay: a product with another reader than its Q rounds as one
 * with a float result, whether that reader is needed or not. idle[id]: such a node; NULL: go. */
static void sweep(ptq_graph *g, const bool *idle, int known)
{
    for (ptq_node *n = g->last, *prev; n; n = prev) { /* readers come before what they read */
        prev = n->prev;
        if (!used(n) && (n->id >= known || !idle[n->id]))
            ptq_node_drop(g, n);
    }
}

static void find_idle(const ptq_graph *g, bool *idle)
{
    for (const ptq_node *n = g->first; n; n = n->next)
        idle[n->id] = !used(n);
}

/* A mover that moves nothing. */
static bool is_identity(const ptq_node *n)
{
    size_t count = 0;
    const int64_t *perm = ptq_attr_ints(n, "perm", &count);
    bool same = ptq_moves_all(n) && (ptq_node_is(n, "Transpose") ? perm != NULL : ptq_same_shape(n->in[0], n->out[0]));
    for (size_t i = 0; i < count && same; i++)
        same = perm[i] == (int64_t)i;
    return same;
}

/* Without n its readers stand behind x itself. May they, or would that make an integer step of other law? */
static bool may_go(const ptq_node *n)
{
    static const char *const fuse[] = {"QuantizeLinear", "Relu", "Clip"};
    const ptq_node *x = n->in[0]->producer;
    if (x && (ptq_node_is(x, "DequantizeLinear") || ptq_node_is(x, "Conv")))
        return false;
    for (size_t i = 0; i < n->out[0]->uses.n; i++)
        for (size_t k = 0; k < PTQ_COUNT(fuse); k++)
            if (ptq_node_is(n->out[0]->uses.v[i].node, fuse[k]) && !ptq_quantizes(n->in[0]))
                return false;
    return !n->out[0]->is_output;
}

/* Chains of movers become short, and what nobody reads any more goes. */
static ptq_status tidy(ptq_graph *g, const bool *idle, int known)
{
    ptq_pass_ctx ctx = {.graph = g};
    PTQ_TRY(ptq_pass_find("movers")->run(&ctx));
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next)
        if (is_identity(n) && may_go(n))
            ptq_node_bypass(g, n, n->in[0]);
    sweep(g, idle, known);
    return PTQ_OK;
}

static ptq_status run_rules(ptq_graph *g, const bool *idle, int known)
{
    enum { ROUNDS = 8 }; /* transformers take three */
    int changes = 1;
    for (int round = 0; round < ROUNDS && changes; round++) {
        changes = 0;
        for (size_t i = 0; i < PTQ_COUNT(rules); i++)
            PTQ_TRY(rules[i](g, &changes));
        PTQ_TRY(tidy(g, idle, known));
    }
    PTQ_TRY(ptq_infer_graph(g));
    return ptq_graph_verify(g);
}

ptq_status ptq_rearrange(ptq_graph *g)
{
    int known = g->next_node_id;
    bool *idle = ptq_calloc((size_t)known + 1, sizeof *idle);
    if (!idle)
        return ptq_fail_nomem();
    find_idle(g, idle);
    ptq_status s = run_rules(g, idle, known);
    free(idle);
    return s;
}

/* ---- looking ---- */

ptq_node *ptq_only_reader(const ptq_value *v, int slot)
{
    return v && v->uses.n == 1 && v->uses.v[0].slot == slot && !v->is_output ? v->uses.v[0].node : NULL;
}

/* Gather takes the one entry that there is. */
static bool takes_only(const ptq_node *n)
{
    const ptq_shape *s = &n->in[0]->shape;
    int64_t axis = ptq_attr_int(n, "axis", 0);
    axis += axis < 0 ? s->rank : 0;
    return ptq_node_is(n, "Gather") && ptq_view_knows(n) && axis >= 0 && axis < s->rank &&
           ptq_dim_known(s->dims[axis]) && s->dims[axis].add == 1;
}

bool ptq_moves_all(const ptq_node *n)
{
    return n && n->def && n->nin > 0 && n->in[0] && n->nout == 1 && n->out[0] && !*n->domain &&
           ((n->def->flags & PTQ_OPF_VIEW) || ptq_node_is(n, "Transpose") || takes_only(n));
}

bool ptq_keeps_last(const ptq_node *n)
{
    const ptq_shape *x = &n->in[0]->shape, *y = &n->out[0]->shape;
    size_t count;
    const int64_t *perm = ptq_attr_ints(n, "perm", &count);
    if (x->rank < 1 || y->rank < 1 || !ptq_dim_known(x->dims[x->rank - 1]) ||
        !ptq_dim_equal(x->dims[x->rank - 1], y->dims[y->rank - 1]))
        return false;
    if (ptq_node_is(n, "Transpose"))
        return perm && count == (size_t)x->rank && perm[count - 1] == (int64_t)count - 1;
    return (n->def->flags & PTQ_OPF_VIEW) != 0;
}

ptq_node *ptq_dq_of(const ptq_value *v)
{
    ptq_dq d;
    return ptq_match_dq(NULL, v, &d) && !ptq_lower_constant(d.q) ? v->producer : NULL;
}

const ptq_tensor *ptq_weight_of(const ptq_value *v)
{
    const ptq_node *n = v ? v->producer : NULL;
    const ptq_tensor *t = n && ptq_node_is(n, "DequantizeLinear") && n->in[0] ? n->in[0]->constant : NULL;
    return t && t->rank == 2 && ptq_is_8bit(t->dtype) && ptq_attr_int(n, "block_size", 0) == 0 ? t : NULL;
}

/* ---- making ---- */

ptq_status ptq_new_value(ptq_graph *g, const char *base, ptq_dtype t, const ptq_shape *s, ptq_value **out)
{
    const char *name = ptq_graph_unique_name(g, base);
    if (!name)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_graph_value(g, name, out));
    (*out)->dtype = t;
    (*out)->shape = *s;
    return PTQ_OK;
}

ptq_status ptq_new_numbers(ptq_graph *g, const char *base, const int64_t *v, int n, ptq_value **out)
{
    ptq_tensor t = {.dtype = PTQ_DT_S64, .rank = n < 0 ? 0 : 1, .dims = {n}, .data = (void *)(uintptr_t)v};
    t.nbytes = (size_t)(n < 0 ? 1 : n) * sizeof *v;
    return ptq_graph_constant(g, base, &t, true, out);
}

ptq_status ptq_new_node(ptq_graph *g, const char *op, ptq_node *before, ptq_value *x, ptq_value *arg, ptq_value *y,
                        ptq_node **out)
{
    const ptq_shape unknown = ptq_shape_unknown();
    PTQ_TRY(ptq_graph_node(g, op, "", x->name, arg ? 2 : 1, 1, before, out));
    ptq_node_set_input(g, *out, 0, x);
    if (arg)
        ptq_node_set_input(g, *out, 1, arg);
    if (!y)
        PTQ_TRY(ptq_new_value(g, x->name, PTQ_DT_UNDEFINED, &unknown, &y));
    ptq_node_set_output(g, *out, 0, y);
    return PTQ_OK;
}

ptq_status ptq_copy_node(ptq_graph *g, const ptq_node *n, ptq_node *before, ptq_value *const *in, int nin,
                         ptq_value *y, ptq_node **out)
{
    const ptq_shape unknown = ptq_shape_unknown();
    ptq_node *c;
    PTQ_TRY(ptq_graph_node(g, n->op, n->domain, n->name, n->nin, 1, before, &c));
    c->attrs = ptq_arena_array(g->arena, (size_t)n->nattrs, sizeof *c->attrs);
    if (!c->attrs)
        return ptq_fail_nomem();
    for (int i = 0; i < n->nattrs; i++)
        c->attrs[i] = n->attrs[i];
    c->nattrs = n->nattrs;
    for (int i = 0; i < n->nin; i++)
        ptq_node_set_input(g, c, i, i < nin ? in[i] : n->in[i]);
    if (!y)
        PTQ_TRY(ptq_new_value(g, n->out[0]->name, PTQ_DT_UNDEFINED, &unknown, &y));
    ptq_node_set_output(g, c, 0, y);
    *out = c;
    return ptq_infer_node(g, c);
}
