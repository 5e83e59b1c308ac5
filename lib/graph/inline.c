/* SPDX-License-Identifier: Apache-2.0 */
/* A graph in the place of a node: the branch of an If, the body of a function. */
#include <stdlib.h>
#include <string.h>

#include "lib/graph/graph.h"

typedef struct inliner {
    ptq_graph *g;
    const ptq_graph *body;
    ptq_node *at;
    const char *prefix;
    ptq_value **map; /* [values of body] the value of g; NULL: none yet, or an omitted input */
} inliner;

/* `name`, or behind the prefix where that is taken. Names are cut: they grow with every level. */
static const char *new_name(const inliner *l, const char *name, bool node)
{
    char text[320];
    bool plain = !node && !ptq_graph_find(l->g, name) && !ptq_map_get(l->g->taken, name);
    snprintf(text, sizeof text, "%.128s%s%.160s", plain ? "" : l->prefix, plain ? "" : "/", name);
    return node ? ptq_graph_unique_node_name(l->g, text) : ptq_graph_unique_name(l->g, text);
}

/* ---- values ---- */

static ptq_status map_ends(inliner *l, ptq_value *const *in, size_t nin)
{
    const ptq_graph *b = l->body;
    for (size_t i = 0; i < b->inputs.n; i++)
        l->map[b->inputs.v[i]->id] = i < nin ? in[i] : NULL;
    for (size_t i = 0; i < b->captured.n; i++) {
        const ptq_value *v = b->captured.v[i];
        l->map[v->id] = ptq_graph_find(l->g, v->name);
        if (!l->map[v->id])
            return ptq_fail(PTQ_ERR_INTERNAL, "node '%s': '%s' is not in the graph around it", l->at->name, v->name);
    }
    for (int i = 0; i < l->at->nout; i++) { /* made by a node of the body, under the name of the output */
        const ptq_value *v = b->outputs.v[i];
        ptq_value *y = l->at->out[i];
        if (!y || !v->producer || l->map[v->id])
            continue;
        ptq_node_set_output(l->g, l->at, i, NULL);
        l->map[v->id] = y;
    }
    return PTQ_OK;
}

static ptq_status map_constants(inliner *l)
{
    for (size_t i = 0; i < l->body->values.n; i++) {
        const ptq_value *v = l->body->values.v[i];
        if (!v || !v->constant || v->producer || l->map[i] || (!v->uses.n && !v->is_output))
            continue;
        const char *name = new_name(l, v->name, false);
        if (!name)
            return ptq_fail_nomem();
        PTQ_TRY(ptq_graph_constant(l->g, name, v->constant, false, &l->map[i]));
    }
    return PTQ_OK;
}

static ptq_status map_output(inliner *l, const ptq_value *v, ptq_node *n, int slot)
{
    ptq_value *y = l->map[v->id];
    if (!y) {
        const char *name = new_name(l, v->name, false);
        if (!name)
            return ptq_fail_nomem();
        PTQ_TRY(ptq_graph_value(l->g, name, &y));
        y->dtype = v->dtype;
        y->shape = ptq_shape_import(l->g, l->body, &v->shape);
        l->map[v->id] = y;
    }
    ptq_node_set_output(l->g, n, slot, y);
    return PTQ_OK;
}

/* ---- nodes ---- */

/* A captured value of g has another name in the graph around it now; so it has in those below. */
static ptq_status rename_captured(ptq_graph *g, ptq_value *v, const char *name)
{
    const char *old = v->name;
    if (strcmp(old, name) == 0)
        return PTQ_OK;
    if (ptq_map_get(g->by_name, name))
        return ptq_fail(PTQ_ERR_MODEL, "a subgraph uses the name '%s' for a value of its own", name);
    char *copy = ptq_arena_strdup(g->arena, name);
    if (!copy || !ptq_map_put(g->by_name, copy, v))
        return ptq_fail_nomem();
    ptq_map_del(g->by_name, old);
    for (size_t i = 0; i < v->uses.n; i++) {
        const ptq_node *n = v->uses.v[i].slot < 0 ? v->uses.v[i].node : NULL;
        for (int k = 0; n && k < n->nattrs; k++) {
            ptq_graph *below = n->attrs[k].type == PTQ_ATTR_GRAPH ? n->attrs[k].graph : NULL;
            ptq_value *inner = below ? ptq_graph_find(below, old) : NULL;
            if (inner && !inner->producer && !inner->is_input && !inner->constant)
                PTQ_TRY(rename_captured(below, inner, name));
        }
    }
    v->name = copy;
    return PTQ_OK;
}

static void free_body(void *g)
{
    ptq_graph_free(g);
}

/* The subgraphs of a node of the body, with the names of what they capture. */
static ptq_status copy_bodies(inliner *l, ptq_node *m)
{
    for (int i = 0; i < m->nattrs; i++) {
        ptq_graph *copy;
        if (m->attrs[i].type != PTQ_ATTR_GRAPH)
            continue;
        PTQ_TRY(ptq_graph_clone(m->attrs[i].graph, &copy));
        ptq_status s = ptq_graph_own(l->g, copy, free_body);
        if (s != PTQ_OK) {
            ptq_graph_free(copy);
            return s;
        }
        copy->outer = l->g;
        m->attrs[i].graph = copy;
        for (size_t k = 0; k < copy->captured.n; k++) {
            ptq_value *v = copy->captured.v[k];
            const ptq_value *own = ptq_graph_find(l->body, v->name), *now = own ? l->map[own->id] : NULL;
            if (!now)
                return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s': '%s', which a subgraph reads, is omitted", m->name,
                                v->name);
            PTQ_TRY(rename_captured(copy, v, now->name));
        }
    }
    return PTQ_OK;
}

static ptq_status copy_node(inliner *l, const ptq_node *n)
{
    ptq_node *m;
    const char *name = new_name(l, n->name, true);
    if (!name)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_graph_node(l->g, n->op, n->domain, name, n->nin, n->nout, l->at, &m));
    m->doc = n->doc;
    m->origin = n->origin;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i])
            ptq_node_set_input(l->g, m, i, l->map[n->in[i]->id]);
    for (int i = 0; i < n->nout; i++)
        if (n->out[i])
            PTQ_TRY(map_output(l, n->out[i], m, i));
    m->attrs = ptq_arena_array(l->g->arena, (size_t)n->nattrs, sizeof *m->attrs);
    if (!m->attrs)
        return ptq_fail_nomem();
    if (n->nattrs)
        memcpy(m->attrs, n->attrs, (size_t)n->nattrs * sizeof *m->attrs);
    m->nattrs = n->nattrs;
    for (int i = 0; i < n->ncaptures; i++)
        if (l->map[n->captures[i]->id])
            PTQ_TRY(ptq_node_capture(l->g, m, l->map[n->captures[i]->id]));
    return copy_bodies(l, m);
}

/* Outputs of `at` that no node of the body makes, or that it gives twice. */
static ptq_status copy_ends(inliner *l)
{
    for (int i = 0; i < l->at->nout; i++) {
        ptq_value *y = l->at->out[i], *x = l->map[l->body->outputs.v[i]->id];
        ptq_node *n;
        if (!y)
            continue;
        if (!x)
            return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): its output %d is an input that is omitted", l->at->name,
                            l->at->op, i);
        PTQ_TRY(ptq_graph_node(l->g, "Identity", "", l->at->name, 1, 1, l->at, &n));
        ptq_node_set_input(l->g, n, 0, x);
        ptq_node_set_output(l->g, n, 0, y);
    }
    return PTQ_OK;
}

ptq_status ptq_graph_inline(ptq_graph *g, ptq_node *at, const ptq_graph *body, ptq_value *const *in, size_t nin,
                            const char *prefix)
{
    inliner l = {g, body, at, prefix, ptq_calloc(body->values.n + 1, sizeof *l.map)};
    if (!l.map)
        return ptq_fail_nomem();
    ptq_status s = body->outputs.n < (size_t)at->nout
                       ? ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s) has %d outputs, what it stands for %zu", at->name,
                                  at->op, at->nout, body->outputs.n)
                       : map_ends(&l, in, nin);
    if (s == PTQ_OK)
        s = map_constants(&l);
    for (const ptq_node *n = body->first; n && s == PTQ_OK; n = n->next)
        s = copy_node(&l, n);
    if (s == PTQ_OK)
        s = copy_ends(&l);
    if (s == PTQ_OK)
        ptq_node_remove(g, at);
    free(l.map);
    return g->nomem ? ptq_fail_nomem() : s;
}
