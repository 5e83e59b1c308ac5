/* SPDX-License-Identifier: Apache-2.0 */
/* AttributeProto to ptq_attr; subgraphs become graphs of their own. */
#include <stdlib.h>
#include <string.h>

#include "lib/onnx/onnx_priv.h"

/* Early writers left the type out; the field that is set tells it. */
static int type_of(const pb_attr *a)
{
    if (a->has_type && a->type != PTQ_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED)
        return (int)a->type;
    return a->has_f         ? PTQ_ATTR_FLOAT
           : a->has_i       ? PTQ_ATTR_INT
           : a->has_s       ? PTQ_ATTR_STRING
           : a->t           ? PTQ_ATTR_TENSOR
           : a->g           ? PTQ_ATTR_GRAPH
           : a->n_floats    ? PTQ_ATTR_FLOATS
           : a->n_ints      ? PTQ_ATTR_INTS
           : a->n_strings   ? PTQ_ATTR_STRINGS
           : a->n_tensors   ? PTQ_ATTR_TENSORS
           : a->n_graphs    ? PTQ_ATTR_GRAPHS
                            : PTQ_ATTR_OTHER;
}

static void free_graph(void *g)
{
    ptq_graph_free(g);
}

/* A graph below node n of b->g; it dies with b->g. */
static ptq_status read_subgraph(ptq_onnx_build *b, ptq_node *n, const pb_graph *p, ptq_graph **out)
{
    ptq_graph *g;
    PTQ_TRY(ptq_graph_new(&g));
    ptq_status s = ptq_graph_own(b->g, g, free_graph);
    if (s != PTQ_OK) {
        ptq_graph_free(g);
        return s;
    }
    g->opset = b->g->opset;
    g->opset_ms = b->g->opset_ms;
    g->ir_version = b->g->ir_version;
    g->path = b->g->path;
    g->outer = b->g;
    ptq_onnx_build sub = *b;
    sub.depth++;
    sub.g = g;
    sub.p = p;
    sub.up = b;
    sub.up_node = n;
    s = ptq_onnx_build_graph(&sub);
    if (s == PTQ_OK && g->nomem)
        s = ptq_fail_nomem();
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "subgraph of node '%s' (%s)", n->name, n->op);
    *out = g;
    return PTQ_OK;
}

static ptq_status read_tensor(ptq_arena *arena, const pb_tensor *t, const ptq_tensor **out)
{
    ptq_tensor *v = ptq_arena_alloc(arena, sizeof *v);
    if (!v)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_onnx_tensor_view(arena, t, v));
    *out = v;
    return PTQ_OK;
}

static ptq_status read_strings(ptq_arena *arena, const pb_attr *p, ptq_attr *a)
{
    const char **list = ptq_arena_array(arena, p->n_strings, sizeof *list);
    if (!list)
        return ptq_fail_nomem();
    for (size_t i = 0; i < p->n_strings; i++) {
        list[i] = ptq_arena_strndup(arena, p->strings[i].len ? (const char *)p->strings[i].data : "",
                                    p->strings[i].len);
        if (!list[i])
            return ptq_fail_nomem();
    }
    a->strings = list;
    a->n = p->n_strings;
    return PTQ_OK;
}

static ptq_status read_graphs(ptq_onnx_build *b, ptq_node *n, const pb_attr *p)
{
    ptq_graph *g;
    for (size_t i = 0; i < p->n_graphs; i++) /* for their captures; the list itself stays opaque */
        PTQ_TRY(read_subgraph(b, n, p->graphs[i], &g));
    return PTQ_OK;
}

static ptq_status read_attr(ptq_onnx_build *b, ptq_node *n, const pb_attr *p, ptq_attr *a)
{
    ptq_arena *arena = b->g->arena;
    *a = (ptq_attr){.name = p->name, .origin = p, .type = PTQ_ATTR_OTHER};
    int type = type_of(p);
    switch (type) {
    case PTQ_ATTR_FLOAT:
        a->f = p->f;
        break;
    case PTQ_ATTR_INT:
        a->i = p->i;
        break;
    case PTQ_ATTR_STRING:
        a->n = p->s.len;
        a->s = ptq_arena_strndup(arena, p->s.len ? (const char *)p->s.data : "", p->s.len);
        if (!a->s)
            return ptq_fail_nomem();
        break;
    case PTQ_ATTR_TENSOR:
        if (!p->t)
            return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): attribute '%s' holds no tensor", n->name,
                            n->op, p->name);
        PTQ_TRY(read_tensor(arena, p->t, &a->tensor));
        break;
    case PTQ_ATTR_GRAPH:
        if (!p->g)
            return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): attribute '%s' holds no graph", n->name,
                            n->op, p->name);
        PTQ_TRY(read_subgraph(b, n, p->g, &a->graph));
        break;
    case PTQ_ATTR_FLOATS:
        a->floats = p->floats;
        a->n = p->n_floats;
        break;
    case PTQ_ATTR_INTS:
        a->ints = p->ints;
        a->n = p->n_ints;
        break;
    case PTQ_ATTR_STRINGS:
        PTQ_TRY(read_strings(arena, p, a));
        break;
    case PTQ_ATTR_TENSORS:
        a->n = p->n_tensors;
        break;
    case PTQ_ATTR_GRAPHS:
        a->n = p->n_graphs;
        PTQ_TRY(read_graphs(b, n, p));
        break;
    default:
        return PTQ_OK;
    }
    a->type = (ptq_attr_type)type;
    return PTQ_OK;
}

/* Inside a function: the attribute of the call, or the function's default; *given false: neither. */
static ptq_status refer(ptq_onnx_build *b, ptq_node *n, const pb_attr *p, ptq_attr *a, bool *given)
{
    if (!b->call)
        return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): attribute '%s' refers to '%s', which only nodes "
                                       "inside a function may do", n->name, n->op, p->name,
                        p->ref_attr_name);
    const ptq_attr *of_call = ptq_attr_find(b->call, p->ref_attr_name);
    *given = of_call != NULL;
    if (of_call)
        *a = *of_call;
    for (size_t i = 0; i < b->function->n_attribute_proto && !*given; i++) {
        const pb_attr *d = b->function->attribute_proto[i];
        *given = d->name && strcmp(d->name, p->ref_attr_name) == 0;
        if (*given)
            PTQ_TRY(read_attr(b, n, d, a));
    }
    a->name = p->name;
    a->origin = NULL; /* which has another name */
    if (*given && (a->type > PTQ_ATTR_STRINGS || a->type == PTQ_ATTR_GRAPH))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s' (%s): attribute '%s' of a function cannot be of this kind",
                        b->call->name, b->call->op, p->ref_attr_name);
    return PTQ_OK;
}

static ptq_status check_twice(const ptq_node *n)
{
    ptq_map *seen = ptq_map_new();
    ptq_status s = seen ? PTQ_OK : ptq_fail_nomem();
    for (int i = 0; i < n->nattrs && s == PTQ_OK; i++) {
        if (ptq_map_get(seen, n->attrs[i].name))
            s = ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): attribute '%s' is given twice", n->name, n->op,
                         n->attrs[i].name);
        else if (!ptq_map_put(seen, n->attrs[i].name, &n->attrs[i]))
            s = ptq_fail_nomem();
    }
    ptq_map_free(seen);
    return s;
}

ptq_status ptq_onnx_read_attrs(ptq_onnx_build *b, ptq_node *n, const pb_node *p)
{
    if (p->n_attribute == 0)
        return PTQ_OK;
    if (p->n_attribute > INT16_MAX)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s' (%s) has %zu attributes", n->name, n->op,
                        p->n_attribute);
    n->attrs = ptq_arena_array(b->g->arena, p->n_attribute, sizeof *n->attrs);
    if (!n->attrs)
        return ptq_fail_nomem();
    for (size_t i = 0; i < p->n_attribute; i++) {
        const pb_attr *at = p->attribute[i];
        bool given = true;
        if (!at->name || !*at->name)
            return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): an attribute has no name", n->name, n->op);
        if (at->ref_attr_name && *at->ref_attr_name)
            PTQ_TRY(refer(b, n, at, &n->attrs[n->nattrs], &given));
        else
            PTQ_TRY(read_attr(b, n, at, &n->attrs[n->nattrs]));
        n->nattrs += given;
    }
    return n->nattrs > 1 ? check_twice(n) : PTQ_OK;
}
