/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "lib/graph/graph.h"

const ptq_attr *ptq_attr_find(const ptq_node *n, const char *name)
{
    for (int i = 0; i < n->nattrs; i++)
        if (strcmp(n->attrs[i].name, name) == 0)
            return &n->attrs[i];
    return NULL;
}

ptq_graph *ptq_node_body(const ptq_node *n, const char *name)
{
    const ptq_attr *a = ptq_attr_find(n, name);
    return a && a->type == PTQ_ATTR_GRAPH ? a->graph : NULL;
}

static const ptq_attr *typed(const ptq_node *n, const char *name, ptq_attr_type type)
{
    const ptq_attr *a = ptq_attr_find(n, name);
    return a && a->type == type ? a : NULL;
}

int64_t ptq_attr_int(const ptq_node *n, const char *name, int64_t dflt)
{
    const ptq_attr *a = typed(n, name, PTQ_ATTR_INT);
    return a ? a->i : dflt;
}

float ptq_attr_float(const ptq_node *n, const char *name, float dflt)
{
    const ptq_attr *a = typed(n, name, PTQ_ATTR_FLOAT);
    return a ? a->f : dflt;
}

const char *ptq_attr_str(const ptq_node *n, const char *name, const char *dflt)
{
    const ptq_attr *a = typed(n, name, PTQ_ATTR_STRING);
    return a ? a->s : dflt;
}

const int64_t *ptq_attr_ints(const ptq_node *n, const char *name, size_t *count)
{
    const ptq_attr *a = typed(n, name, PTQ_ATTR_INTS);
    *count = a ? a->n : 0;
    return a ? a->ints : NULL;
}

const float *ptq_attr_floats(const ptq_node *n, const char *name, size_t *count)
{
    const ptq_attr *a = typed(n, name, PTQ_ATTR_FLOATS);
    *count = a ? a->n : 0;
    return a ? a->floats : NULL;
}

/* Replaces the attribute of that name or appends it; `a` is complete but for the name. */
static ptq_status put(ptq_graph *g, ptq_node *n, const char *name, ptq_attr a)
{
    for (int i = 0; i < n->nattrs; i++)
        if (strcmp(n->attrs[i].name, name) == 0) {
            a.name = n->attrs[i].name;
            n->attrs[i] = a;
            return PTQ_OK;
        }
    ptq_attr *list = ptq_arena_array(g->arena, (size_t)n->nattrs + 1, sizeof *list);
    a.name = ptq_arena_strdup(g->arena, name);
    if (!list || !a.name)
        return ptq_fail_nomem();
    if (n->nattrs)
        memcpy(list, n->attrs, (size_t)n->nattrs * sizeof *list);
    list[n->nattrs] = a;
    n->attrs = list;
    n->nattrs++;
    return PTQ_OK;
}

ptq_status ptq_attr_set_int(ptq_graph *g, ptq_node *n, const char *name, int64_t v)
{
    return put(g, n, name, (ptq_attr){.type = PTQ_ATTR_INT, .i = v});
}

ptq_status ptq_attr_set_float(ptq_graph *g, ptq_node *n, const char *name, float v)
{
    return put(g, n, name, (ptq_attr){.type = PTQ_ATTR_FLOAT, .f = v});
}

ptq_status ptq_attr_set_str(ptq_graph *g, ptq_node *n, const char *name, const char *v)
{
    ptq_attr a = {.type = PTQ_ATTR_STRING, .n = strlen(v), .s = ptq_arena_strdup(g->arena, v)};
    return a.s ? put(g, n, name, a) : ptq_fail_nomem();
}

ptq_status ptq_attr_set_ints(ptq_graph *g, ptq_node *n, const char *name, const int64_t *v,
                             size_t count)
{
    int64_t *copy = ptq_arena_array(g->arena, count, sizeof *copy);
    if (!copy)
        return ptq_fail_nomem();
    if (count)
        memcpy(copy, v, count * sizeof *copy);
    return put(g, n, name, (ptq_attr){.type = PTQ_ATTR_INTS, .n = count, .ints = copy});
}

ptq_status ptq_attr_set_floats(ptq_graph *g, ptq_node *n, const char *name, const float *v, size_t count)
{
    float *copy = ptq_arena_array(g->arena, count, sizeof *copy);
    if (!copy)
        return ptq_fail_nomem();
    if (count)
        memcpy(copy, v, count * sizeof *copy);
    return put(g, n, name, (ptq_attr){.type = PTQ_ATTR_FLOATS, .n = count, .floats = copy});
}

ptq_status ptq_attr_set_strings(ptq_graph *g, ptq_node *n, const char *name, const char *const *v, size_t count)
{
    const char **copy = ptq_arena_array(g->arena, count, sizeof *copy);
    if (!copy)
        return ptq_fail_nomem();
    for (size_t i = 0; i < count; i++)
        if (!(copy[i] = ptq_arena_strdup(g->arena, v[i])))
            return ptq_fail_nomem();
    return put(g, n, name, (ptq_attr){.type = PTQ_ATTR_STRINGS, .n = count, .strings = copy});
}

void ptq_attr_remove(ptq_node *n, const char *name)
{
    for (int i = 0; i < n->nattrs; i++)
        if (strcmp(n->attrs[i].name, name) == 0) {
            memmove(&n->attrs[i], &n->attrs[i + 1], (size_t)(n->nattrs - i - 1) * sizeof *n->attrs);
            n->nattrs--;
            return;
        }
}
