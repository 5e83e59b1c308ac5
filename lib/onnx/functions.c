/* SPDX-License-Identifier: Apache-2.0 */
/* A circle of calls would make inlining run forever (calls.c), so it is refused before. */
#include <stdlib.h>
#include <string.h>

#include "lib/onnx/onnx_priv.h"

enum { WHITE, GREY, BLACK };

typedef struct calls {
    const pb_model *m;
    ptq_map *index; /* "domain\nname\noverload" -> 1 + position */
    ptq_arena *arena;
    unsigned char *colour;
} calls;

/* A list of nodes being scanned: of a function, or of a subgraph of one of its nodes. */
typedef struct scan {
    pb_node **nodes;
    size_t n, at;
    size_t attr, graph; /* next attribute of nodes[at] and graph of it to enter */
    bool called;        /* the call of nodes[at] was followed */
    ptrdiff_t function; /* coloured black when done; -1: a subgraph */
} scan;

typedef PTQ_VEC(scan) scan_stack;

const char *ptq_onnx_function_key(ptq_arena *a, const char *domain, const char *name, const char *overload)
{
    return ptq_arena_printf(a, "%s\n%s\n%s", ptq_onnx_domain(domain), ptq_onnx_str(name),
                            ptq_onnx_str(overload));
}

static ptq_status enter_function(calls *c, scan_stack *st, size_t i)
{
    const pb_function *fn = c->m->functions[i];
    scan s = {.nodes = fn->node, .n = fn->n_node, .function = (ptrdiff_t)i};
    if (c->colour[i] == BLACK)
        return PTQ_OK;
    if (c->colour[i] == GREY)
        return ptq_fail(PTQ_ERR_MODEL, "function '%s' of domain '%s' calls itself",
                        ptq_onnx_str(fn->name), ptq_onnx_str(fn->domain));
    c->colour[i] = GREY;
    return PTQ_VEC_PUSH(c->arena, st, s) ? PTQ_OK : ptq_fail_nomem();
}

/* The next subgraph of the node under the cursor; NULL when there is none left. */
static pb_graph *next_graph(scan *s)
{
    const pb_node *n = s->nodes[s->at];
    for (; s->attr < n->n_attribute; s->attr++, s->graph = 0) {
        const pb_attr *a = n->attribute[s->attr];
        size_t i = s->graph++;
        if (i == 0 && a->g)
            return a->g;
        i -= a->g ? 1 : 0;
        if (i < a->n_graphs)
            return a->graphs[i];
    }
    return NULL;
}

static ptq_status follow(calls *c, scan_stack *st)
{
    scan *s = &st->v[st->n - 1];
    if (s->at == s->n) {
        if (s->function >= 0)
            c->colour[s->function] = BLACK;
        st->n--;
        return PTQ_OK;
    }
    const pb_node *n = s->nodes[s->at];
    if (!s->called) {
        s->called = true;
        const char *key = ptq_onnx_function_key(c->arena, n->domain, n->op_type, n->overload);
        if (!key)
            return ptq_fail_nomem();
        uintptr_t i = (uintptr_t)ptq_map_get(c->index, key);
        return i ? enter_function(c, st, i - 1) : PTQ_OK;
    }
    pb_graph *g = next_graph(s);
    if (g) {
        scan sub = {.nodes = g->node, .n = g->n_node, .function = -1};
        return PTQ_VEC_PUSH(c->arena, st, sub) ? PTQ_OK : ptq_fail_nomem();
    }
    s->at++;
    s->attr = s->graph = 0;
    s->called = false;
    return PTQ_OK;
}

static ptq_status check(calls *c)
{
    scan_stack st = {0};
    for (size_t i = 0; i < c->m->n_functions; i++) {
        const pb_function *fn = c->m->functions[i];
        const char *key = ptq_onnx_function_key(c->arena, fn->domain, fn->name, fn->overload);
        if (!key)
            return ptq_fail_nomem();
        if (ptq_map_get(c->index, key))
            return ptq_fail(PTQ_ERR_MODEL, "function '%s' of domain '%s' is defined twice",
                            ptq_onnx_str(fn->name), ptq_onnx_str(fn->domain));
        if (!ptq_map_put(c->index, key, (void *)(uintptr_t)(i + 1)))
            return ptq_fail_nomem();
    }
    for (size_t i = 0; i < c->m->n_functions; i++) {
        PTQ_TRY(enter_function(c, &st, i));
        while (st.n)
            PTQ_TRY(follow(c, &st));
    }
    return PTQ_OK;
}

ptq_status ptq_onnx_check_functions(const pb_model *m)
{
    if (m->n_functions == 0)
        return PTQ_OK;
    calls c = {m, ptq_map_new(), ptq_arena_new(), ptq_calloc(m->n_functions, 1)};
    ptq_status s = c.index && c.arena && c.colour ? check(&c) : ptq_fail_nomem();
    ptq_map_free(c.index);
    ptq_arena_free(c.arena);
    free(c.colour);
    return s;
}
