/* SPDX-License-Identifier: Apache-2.0 */
/* Values and nodes, their links, their names. Every change of a link is O(1), so that a pass over
 * a graph of any size is linear: a use knows its node and slot, a node knows where its uses lie. */
#include <stdlib.h>
#include <string.h>

#include "lib/core/spill.h"
#include "lib/graph/graph_impl.h"
#include "lib/graph/ops.h"

/* ---- the graph ---- */

ptq_status ptq_graph_new(ptq_graph **out)
{
    ptq_graph *g = calloc(1, sizeof *g);
    if (!g)
        return ptq_fail_nomem();
    g->life = calloc(1, sizeof *g->life);
    if (!g->life) {
        free(g);
        return ptq_fail_nomem();
    }
    atomic_init(&g->life->users, 1);
    g->life->graph = g;
    g->arena = ptq_arena_new();
    g->by_name = ptq_map_new();
    g->node_by_name = ptq_map_new();
    g->taken = ptq_map_new();
    g->suffixes = ptq_map_new();
    if (g->arena)
        g->syms = ptq_symtab_new(g->arena);
    if (!g->arena || !g->by_name || !g->node_by_name || !g->taken || !g->suffixes || !g->syms) {
        ptq_graph_free(g);
        return ptq_fail_nomem();
    }
    g->name = "";
    g->path = "";
    *out = g;
    return PTQ_OK;
}

static void destroy(ptq_graph *g)
{
    for (ptq_owned *o = g->owned, *next; o; o = next) { /* latest first */
        next = o->next;
        o->release(o->thing);
    }
    ptq_symtab_free(g->syms);
    ptq_map_free(g->by_name);
    ptq_map_free(g->node_by_name);
    ptq_map_free(g->taken);
    ptq_map_free(g->suffixes);
    ptq_arena_free(g->arena);
    free(g->life);
    free(g);
}

void ptq_graph_free(ptq_graph *g)
{
    ptq_life *life = g ? g->life : NULL;
    while (life && atomic_fetch_sub(&life->users, 1) == 1) { /* then its base loses a user */
        ptq_life *base = life->graph->base;
        destroy(life->graph);
        life = base;
    }
}

ptq_status ptq_graph_own(ptq_graph *g, void *thing, void (*release)(void *))
{
    ptq_owned *o = ptq_arena_alloc(g->arena, sizeof *o);
    if (!o)
        return ptq_fail_nomem();
    *o = (ptq_owned){thing, release, g->owned};
    g->owned = o;
    return PTQ_OK;
}

ptq_status ptq_graph_file_range(ptq_graph *g, const void *p, size_t n)
{
    ptq_file_range r = {p, n};
    return PTQ_VEC_PUSH(g->arena, &g->files, r) ? PTQ_OK : ptq_fail_nomem();
}

void ptq_graph_rest(const ptq_graph *g, const ptq_tensor *t)
{
    enum { LEAST = 1 << 20 };
    if (!t || t->nbytes < LEAST)
        return;
    for (size_t i = g->files.n; i-- > 0;) {
        const ptq_file_range *r = &g->files.v[i];
        if ((uintptr_t)t->data >= (uintptr_t)r->p && (uintptr_t)t->data - (uintptr_t)r->p < r->n) {
            ptq_pages_rest(t->data, t->nbytes);
            return;
        }
    }
}

void ptq_graph_rest_all(const ptq_graph *g)
{
    for (size_t i = 0; i < g->files.n; i++)
        ptq_pages_rest(g->files.v[i].p, g->files.v[i].n);
}

/* Pieces double, so that small models take little and large ones few files. */
static bool new_piece(ptq_graph *g, size_t n)
{
    enum { FIRST = 4 << 20, MOST = 256 << 20 };
    size_t size = g->pool_piece ? 2 * g->pool_piece : FIRST;
    size = size < MOST ? size : MOST;
    size = size > n ? size : n;
    char *p = ptq_spill_alloc(size);
    if (!p)
        return false;
    if (ptq_graph_own(g, p, ptq_spill_free) != PTQ_OK) {
        ptq_spill_free(p);
        return false;
    }
    if (ptq_spill_in_file(p) && ptq_graph_file_range(g, p, size) != PTQ_OK)
        return false;
    g->pool = p;
    g->pool_left = g->pool_piece = size;
    return true;
}

void *ptq_graph_bytes(ptq_graph *g, size_t n)
{
    enum { LEAST = 1 << 16, ALIGN = 64 };
    if (n > SIZE_MAX - ALIGN)
        return NULL;
    size_t whole = (n + ALIGN - 1) / ALIGN * ALIGN;
    if (n < LEAST) {
        char *p = ptq_arena_alloc(g->arena, whole + ALIGN);
        return p ? (void *)(((uintptr_t)p + ALIGN - 1) / ALIGN * ALIGN) : NULL;
    }
    if (whole > g->pool_left && !new_piece(g, whole))
        return NULL;
    void *p = g->pool;
    g->pool += whole;
    g->pool_left -= whole;
    return p;
}

ptq_status ptq_graph_add_input(ptq_graph *g, ptq_value *v)
{
    if (!PTQ_VEC_PUSH(g->arena, &g->inputs, v))
        return ptq_fail_nomem();
    v->is_input = true;
    return PTQ_OK;
}

ptq_status ptq_graph_add_output(ptq_graph *g, ptq_value *v)
{
    if (!PTQ_VEC_PUSH(g->arena, &g->outputs, v))
        return ptq_fail_nomem();
    v->is_output = true;
    return PTQ_OK;
}

ptq_status ptq_graph_set_metadata(ptq_graph *g, const char *key, const char *value)
{
    char *v = ptq_arena_strdup(g->arena, value);
    if (!v)
        return ptq_fail_nomem();
    for (size_t i = 0; i < g->metadata.n; i++)
        if (strcmp(g->metadata.v[i].key, key) == 0) {
            g->metadata.v[i].value = v;
            return PTQ_OK;
        }
    ptq_metadata m = {ptq_arena_strdup(g->arena, key), v};
    if (!m.key || !PTQ_VEC_PUSH(g->arena, &g->metadata, m))
        return ptq_fail_nomem();
    return PTQ_OK;
}

/* ---- names ---- */

ptq_status ptq_graph_reserve_name(ptq_graph *g, const char *name)
{
    if (ptq_map_get(g->taken, name))
        return PTQ_OK;
    char *s = ptq_arena_strdup(g->arena, name);
    if (!s || !ptq_map_put(g->taken, s, s) || !PTQ_VEC_PUSH(g->arena, &g->taken_names, s))
        return ptq_fail_nomem();
    return PTQ_OK;
}

/* Numbers go on where the last search for the same base ended: n names cost O(n). */
static const char *unique_name(ptq_graph *g, const char *base, const ptq_map *a, const ptq_map *b)
{
    if (*base && !ptq_map_get(a, base) && !(b && ptq_map_get(b, base)))
        return ptq_arena_strdup(g->arena, base);
    uintptr_t i = (uintptr_t)ptq_map_get(g->suffixes, base);
    const char *key = i ? base : ptq_arena_strdup(g->arena, base);
    size_t size = strlen(base) + 24;
    char *s = ptq_arena_alloc(g->arena, size);
    if (!key || !s)
        return NULL;
    do
        snprintf(s, size, "%s_%llu", base, (unsigned long long)++i);
    while (ptq_map_get(a, s) || (b && ptq_map_get(b, s)));
    return ptq_map_put(g->suffixes, key, (void *)i) ? s : NULL;
}

/* A name that no graph around g has: there it may not be used again either. */
static const char *unique_below(ptq_graph *g, const char *base)
{
    for (;;) {
        const char *name = unique_name(g, base, g->by_name, g->taken);
        bool free_name = name != NULL;
        for (const ptq_graph *o = g->outer; o && free_name; o = o->outer)
            free_name = !ptq_map_get(o->by_name, name) && !ptq_map_get(o->taken, name);
        if (!name)
            return NULL;
        for (ptq_graph *o = g->outer; o && free_name; o = o->outer)
            if (ptq_graph_reserve_name(o, name) != PTQ_OK)
                return NULL;
        if (free_name)
            return name;
        if (ptq_graph_reserve_name(g, name) != PTQ_OK)
            return NULL;
    }
}

const char *ptq_graph_unique_name(ptq_graph *g, const char *base)
{
    return g->outer ? unique_below(g, base) : unique_name(g, base, g->by_name, g->taken);
}

const char *ptq_graph_unique_node_name(ptq_graph *g, const char *base)
{
    return unique_name(g, base, g->node_by_name, NULL);
}

/* ---- values ---- */

/* `name` lives as long as the graph. */
static ptq_status new_value(ptq_graph *g, const char *name, ptq_value **out)
{
    ptq_value *v = ptq_arena_alloc(g->arena, sizeof *v);
    if (!v || !name || g->values.n >= INT32_MAX || !PTQ_VEC_PUSH(g->arena, &g->values, v))
        return ptq_fail_nomem();
    if (!ptq_map_put(g->by_name, name, v)) {
        g->values.n--;
        return ptq_fail_nomem();
    }
    v->name = name;
    v->id = (int)(g->values.n - 1);
    v->shape = ptq_shape_unknown();
    *out = v;
    return PTQ_OK;
}

ptq_status ptq_graph_value(ptq_graph *g, const char *name, ptq_value **out)
{
    if (!*name)
        return ptq_fail(PTQ_ERR_MODEL, "a value of graph '%s' has an empty name", g->name);
    if (ptq_map_get(g->by_name, name))
        return ptq_fail(PTQ_ERR_MODEL, "value '%s' is defined twice", name);
    return new_value(g, ptq_arena_strdup(g->arena, name), out);
}

ptq_value *ptq_graph_find(const ptq_graph *g, const char *name)
{
    return ptq_map_get(g->by_name, name);
}

static ptq_status set_constant(ptq_graph *g, ptq_value *v, const ptq_tensor *t, bool copy)
{
    ptq_tensor *c = ptq_arena_alloc(g->arena, sizeof *c);
    if (!c)
        return ptq_fail_nomem();
    *c = *t;
    if (copy) {
        c->data = ptq_graph_bytes(g, t->nbytes);
        if (!c->data)
            return ptq_fail_nomem();
        if (t->nbytes)
            memcpy(c->data, t->data, t->nbytes);
    }
    v->constant = c;
    v->dtype = t->dtype;
    v->shape.rank = t->rank;
    for (int i = 0; i < t->rank; i++)
        v->shape.dims[i] = ptq_dim_of(t->dims[i]);
    return PTQ_OK;
}

ptq_status ptq_graph_constant(ptq_graph *g, const char *name, const ptq_tensor *t, bool copy,
                              ptq_value **out)
{
    ptq_value *v;
    PTQ_TRY(new_value(g, ptq_graph_unique_name(g, name), &v));
    ptq_status s = set_constant(g, v, t, copy);
    if (s != PTQ_OK)
        ptq_value_remove(g, v);
    else
        *out = v;
    return s;
}

ptq_status ptq_value_make_constant(ptq_graph *g, ptq_value *v, const ptq_tensor *t, bool copy)
{
    PTQ_TRY(set_constant(g, v, t, copy));
    if (v->producer)
        ptq_node_set_output(g, v->producer, v->producer_slot, NULL);
    return PTQ_OK;
}

void ptq_value_remove(ptq_graph *g, ptq_value *v)
{
    if (v->producer || v->uses.n || v->is_input || v->is_output || g->values.v[v->id] != v)
        return;
    g->values.v[v->id] = NULL;
    ptq_map_del(g->by_name, v->name);
}

/* ---- links ---- */

static void use_add(ptq_graph *g, ptq_value *v, ptq_node *n, int slot)
{
    ptq_use u = {n, slot};
    if (!PTQ_VEC_PUSH(g->arena, &v->uses, u)) {
        g->nomem = true;
        return;
    }
    if (slot >= 0)
        n->in_use[slot] = (uint32_t)(v->uses.n - 1);
}

/* The last use takes the free place. */
static void use_del(ptq_value *v, size_t at)
{
    ptq_use last = v->uses.v[--v->uses.n];
    if (at == v->uses.n)
        return;
    v->uses.v[at] = last;
    if (last.slot >= 0)
        last.node->in_use[last.slot] = (uint32_t)at;
}

void ptq_node_set_input(ptq_graph *g, ptq_node *n, int slot, ptq_value *v)
{
    ptq_value *old = n->in[slot];
    if (old == v)
        return;
    if (old)
        use_del(old, n->in_use[slot]);
    n->in[slot] = v;
    if (v)
        use_add(g, v, n, slot);
}

void ptq_node_set_output(ptq_graph *g, ptq_node *n, int slot, ptq_value *v)
{
    (void)g;
    if (n->out[slot] == v)
        return;
    if (n->out[slot])
        n->out[slot]->producer = NULL;
    n->out[slot] = v;
    if (!v)
        return;
    if (v->producer)
        v->producer->out[v->producer_slot] = NULL;
    v->producer = n;
    v->producer_slot = slot;
}

ptq_status ptq_node_resize_inputs(ptq_graph *g, ptq_node *n, int nin)
{
    for (int i = nin; i < n->nin; i++)
        ptq_node_set_input(g, n, i, NULL);
    if (nin > n->nin) {
        ptq_value **in = ptq_arena_array(g->arena, (size_t)nin, sizeof *in);
        uint32_t *use = ptq_arena_array(g->arena, (size_t)nin, sizeof *use);
        if (!in || !use)
            return ptq_fail_nomem();
        if (n->nin) {
            memcpy(in, n->in, (size_t)n->nin * sizeof *in);
            memcpy(use, n->in_use, (size_t)n->nin * sizeof *use);
        }
        n->in = in;
        n->in_use = use;
    }
    n->nin = nin;
    return PTQ_OK;
}

ptq_status ptq_node_capture(ptq_graph *g, ptq_node *n, ptq_value *v)
{
    for (int i = 0; i < n->ncaptures; i++)
        if (n->captures[i] == v)
            return PTQ_OK;
    size_t count = (size_t)n->ncaptures;
    if ((count & (count - 1)) == 0) { /* full at 0, 1, 2, 4, ... */
        ptq_value **c = ptq_arena_array(g->arena, count ? 2 * count : 1, sizeof(ptq_value *));
        if (!c)
            return ptq_fail_nomem();
        if (count)
            memcpy(c, n->captures, count * sizeof *c);
        n->captures = c;
    }
    use_add(g, v, n, -1);
    if (g->nomem)
        return ptq_fail_nomem();
    n->captures[n->ncaptures++] = v;
    return PTQ_OK;
}

void ptq_value_replace_uses(ptq_graph *g, ptq_value *from, ptq_value *to)
{
    if (from == to)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < from->uses.n; i++) {
        ptq_use u = from->uses.v[i];
        if (u.slot < 0) {
            from->uses.v[kept++] = u;
        } else {
            u.node->in[u.slot] = to;
            use_add(g, to, u.node, u.slot);
        }
    }
    from->uses.n = kept;
}

/* ---- nodes ---- */

static void link_before(ptq_graph *g, ptq_node *n, ptq_node *before)
{
    n->next = before;
    n->prev = before ? before->prev : g->last;
    *(n->prev ? &n->prev->next : &g->first) = n;
    *(before ? &before->prev : &g->last) = n;
}

static void unlink_node(ptq_graph *g, ptq_node *n)
{
    *(n->prev ? &n->prev->next : &g->first) = n->next;
    *(n->next ? &n->next->prev : &g->last) = n->prev;
    n->prev = n->next = NULL;
}

ptq_status ptq_graph_node(ptq_graph *g, const char *op, const char *domain, const char *name,
                          int nin, int nout, ptq_node *before, ptq_node **out)
{
    ptq_node *n = ptq_arena_alloc(g->arena, sizeof *n);
    if (!n || g->next_node_id == INT32_MAX)
        return ptq_fail_nomem();
    if (strcmp(domain, "ai.onnx") == 0)
        domain = "";
    n->op = ptq_arena_strdup(g->arena, op);
    n->domain = *domain ? ptq_arena_strdup(g->arena, domain) : "";
    n->name = ptq_graph_unique_node_name(g, name && *name ? name : op);
    n->in = ptq_arena_array(g->arena, (size_t)nin, sizeof *n->in);
    n->in_use = ptq_arena_array(g->arena, (size_t)nin, sizeof *n->in_use);
    n->out = ptq_arena_array(g->arena, (size_t)nout, sizeof *n->out);
    if (!n->op || !n->domain || !n->name || !n->in || !n->in_use || !n->out ||
        !ptq_map_put(g->node_by_name, n->name, n))
        return ptq_fail_nomem();
    n->nin = nin;
    n->nout = nout;
    n->id = g->next_node_id++;
    n->def = ptq_op_find(n->op, n->domain, *n->domain ? g->opset_ms : g->opset);
    n->linked = true;
    link_before(g, n, before);
    g->nnodes++;
    *out = n;
    return PTQ_OK;
}

void ptq_node_remove(ptq_graph *g, ptq_node *n)
{
    if (!n->linked)
        return;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i])
            use_del(n->in[i], n->in_use[i]);
    for (int i = 0; i < n->ncaptures; i++) {
        ptq_value *v = n->captures[i];
        for (size_t k = v->uses.n; k-- > 0;)
            if (v->uses.v[k].node == n && v->uses.v[k].slot < 0) {
                use_del(v, k);
                break;
            }
    }
    for (int i = 0; i < n->nout; i++)
        if (n->out[i])
            n->out[i]->producer = NULL;
    unlink_node(g, n);
    ptq_map_del(g->node_by_name, n->name);
    n->linked = false;
    g->nnodes--;
}

void ptq_node_move_before(ptq_graph *g, ptq_node *n, ptq_node *before)
{
    if (n == before || !n->linked)
        return;
    unlink_node(g, n);
    link_before(g, n, before);
}
