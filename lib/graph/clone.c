/* SPDX-License-Identifier: Apache-2.0 */
/* A copy of the structure, subgraphs included; strings, constants' bytes and origins are shared, and kept as
 * long as the copy. Recursion over subgraphs is as deep as the loader lets them be. */
#include <stdlib.h>
#include <string.h>

#include "lib/graph/graph_impl.h"

static ptq_status clone_value(ptq_graph *c, const ptq_value *v)
{
    ptq_value *w = NULL;
    if (v) {
        w = ptq_arena_alloc(c->arena, sizeof *w);
        if (!w)
            return ptq_fail_nomem();
        *w = *v;
        w->producer = NULL;
        memset(&w->uses, 0, sizeof w->uses);
        if (!ptq_map_put(c->by_name, w->name, w))
            return ptq_fail_nomem();
    }
    return PTQ_VEC_PUSH(c->arena, &c->values, w) ? PTQ_OK : ptq_fail_nomem();
}

static void *copy_array(ptq_arena *a, const void *src, size_t n, size_t size)
{
    void *p = ptq_arena_array(a, n, size);
    if (p && n)
        memcpy(p, src, n * size);
    return p;
}

static void free_body(void *g)
{
    ptq_graph_free(g);
}

static ptq_status clone_bodies(ptq_graph *c, ptq_node *m)
{
    for (int i = 0; i < m->nattrs; i++) {
        if (m->attrs[i].type != PTQ_ATTR_GRAPH)
            continue;
        ptq_graph *body;
        PTQ_TRY(ptq_graph_clone(m->attrs[i].graph, &body));
        ptq_status s = ptq_graph_own(c, body, free_body);
        if (s != PTQ_OK) {
            ptq_graph_free(body);
            return s;
        }
        body->outer = c;
        m->attrs[i].graph = body;
    }
    return PTQ_OK;
}

static ptq_status clone_node(ptq_graph *c, const ptq_node *n)
{
    ptq_node *m = ptq_arena_alloc(c->arena, sizeof *m);
    if (!m)
        return ptq_fail_nomem();
    *m = *n;
    m->in = ptq_arena_array(c->arena, (size_t)n->nin, sizeof *m->in);
    m->in_use = ptq_arena_array(c->arena, (size_t)n->nin, sizeof *m->in_use);
    m->out = ptq_arena_array(c->arena, (size_t)n->nout, sizeof *m->out);
    m->attrs = copy_array(c->arena, n->attrs, (size_t)n->nattrs, sizeof *m->attrs);
    m->captures = NULL;
    m->ncaptures = 0;
    if (!m->in || !m->in_use || !m->out || !m->attrs || !ptq_map_put(c->node_by_name, m->name, m))
        return ptq_fail_nomem();
    m->prev = c->last;
    m->next = NULL;
    *(m->prev ? &m->prev->next : &c->first) = m;
    c->last = m;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i])
            ptq_node_set_input(c, m, i, c->values.v[n->in[i]->id]);
    for (int i = 0; i < n->nout; i++)
        if (n->out[i])
            ptq_node_set_output(c, m, i, c->values.v[n->out[i]->id]);
    for (int i = 0; i < n->ncaptures; i++)
        PTQ_TRY(ptq_node_capture(c, m, c->values.v[n->captures[i]->id]));
    return clone_bodies(c, m);
}

static ptq_status clone_into(const ptq_graph *g, ptq_graph *c)
{
    c->name = g->name;
    c->path = g->path;
    c->opset = g->opset;
    c->opset_ms = g->opset_ms;
    c->ir_version = g->ir_version;
    c->nnodes = g->nnodes;
    c->next_node_id = g->next_node_id;
    c->origin = g->origin;
    for (size_t i = 0; i < g->values.n; i++)
        PTQ_TRY(clone_value(c, g->values.v[i]));
    for (const ptq_node *n = g->first; n; n = n->next)
        PTQ_TRY(clone_node(c, n));
    for (size_t i = 0; i < g->inputs.n; i++)
        PTQ_TRY(ptq_graph_add_input(c, c->values.v[g->inputs.v[i]->id]));
    for (size_t i = 0; i < g->outputs.n; i++)
        PTQ_TRY(ptq_graph_add_output(c, c->values.v[g->outputs.v[i]->id]));
    for (size_t i = 0; i < g->captured.n; i++)
        if (!PTQ_VEC_PUSH(c->arena, &c->captured, c->values.v[g->captured.v[i]->id]))
            return ptq_fail_nomem();
    for (size_t i = 0; i < g->metadata.n; i++)
        if (!PTQ_VEC_PUSH(c->arena, &c->metadata, g->metadata.v[i]))
            return ptq_fail_nomem();
    for (size_t i = 0; i < g->files.n; i++)
        PTQ_TRY(ptq_graph_file_range(c, g->files.v[i].p, g->files.v[i].n));
    if (!ptq_symtab_copy(c->arena, c->syms, g->syms))
        return ptq_fail_nomem();
    for (size_t i = 0; i < g->taken_names.n; i++)
        PTQ_TRY(ptq_graph_reserve_name(c, g->taken_names.v[i]));
    return c->nomem ? ptq_fail_nomem() : PTQ_OK;
}

ptq_status ptq_graph_clone(const ptq_graph *g, ptq_graph **out)
{
    ptq_graph *c;
    PTQ_TRY(ptq_graph_new(&c));
    c->base = g->life;
    atomic_fetch_add(&c->base->users, 1);
    ptq_status s = clone_into(g, c);
    if (s != PTQ_OK)
        ptq_graph_free(c);
    else
        *out = c;
    return s;
}
