/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of model-local functions: each is built as a graph of its own, with the attributes of the call in
 * the place of references, and put where the call was. A function may call functions, from subgraphs too;
 * functions.c has seen that none calls itself. */
#include <stdlib.h>
#include <string.h>

#include "lib/graph/pass.h"
#include "lib/onnx/onnx_priv.h"

enum {
    MAX_DEPTH = 32,        /* functions and subgraphs inside each other */
    MAX_INLINED = 1 << 19, /* nodes: few bytes of nested functions could make 2^32 of them */
    MAX_PREFIX = 200
};

ptq_status ptq_onnx_called(const ptq_onnx_build *b, const ptq_node *n, const pb_function **out)
{
    const pb_node *p = n->origin;
    *out = NULL;
    if (b->file->model->n_functions == 0)
        return PTQ_OK;
    const char *key = ptq_onnx_function_key(b->g->arena, n->domain, n->op, p ? p->overload : NULL);
    if (!key)
        return ptq_fail_nomem();
    *out = ptq_map_get(b->functions, key);
    return PTQ_OK;
}

static ptq_status cannot(const ptq_node *n, const char *why)
{
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s' calls function '%s': %s", n->name, n->op, why);
}

/* ---- versions ---- */

static ptq_status read_imports(const pb_function *fn, ptq_graph *g, ptq_map *domains)
{
    for (size_t i = 0; i < fn->n_opset_import; i++) {
        const char *domain = ptq_onnx_domain(fn->opset_import[i]->domain);
        int64_t version = fn->opset_import[i]->version;
        if (!ptq_map_put(domains, domain, fn->opset_import[i]))
            return ptq_fail_nomem();
        if (version < 1 || version > INT16_MAX)
            return ptq_fail(PTQ_ERR_MODEL, "function '%s': opset %lld of domain '%s'", ptq_onnx_str(fn->name),
                            (long long)version, domain);
        if (!*domain)
            g->opset = (int)version;
        else if (strcmp(domain, "com.microsoft") == 0)
            g->opset_ms = (int)version;
    }
    return PTQ_OK;
}

/* The body speaks the model's opset afterwards. */
static ptq_status match_opset(const ptq_onnx_build *b, const ptq_node *call, ptq_graph *body)
{
    int here = b->g->opset, there = body->opset;
    if (here == there || here == 0)
        return PTQ_OK;
    bool up = there < here;
    const ptq_node *n = ptq_graph_changes_between(body, up ? there : here, up ? here : there);
    if (n && up && here >= 13)
        return ptq_graph_upgrade(body, here);
    if (n)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s' calls function '%s' of opset %d, the model has opset %d, and "
                        "%s is not the same in both; convert the model with onnx.version_converter", call->name,
                        call->op, there, here, n->op);
    body->opset = here;
    return PTQ_OK;
}

/* ---- the body ---- */

/* Names without types, as values of a graph. */
static ptq_status name_values(ptq_arena *a, char **names, size_t n, pb_value ***out)
{
    pb_value **list = ptq_arena_array(a, n, sizeof *list), *v = ptq_arena_array(a, n, sizeof *v);
    if (!list || !v)
        return ptq_fail_nomem();
    for (size_t i = 0; i < n; i++) {
        ptq_onnx__value_info_proto__init(&v[i]);
        v[i].name = names[i];
        list[i] = &v[i];
    }
    *out = list;
    return PTQ_OK;
}

static ptq_status as_graph(ptq_arena *a, const pb_function *fn, pb_graph **out)
{
    pb_graph *p = ptq_arena_alloc(a, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    ptq_onnx__graph_proto__init(p);
    p->name = fn->name;
    p->node = fn->node;
    p->n_node = fn->n_node;
    p->value_info = fn->value_info;
    p->n_value_info = fn->n_value_info;
    p->n_input = fn->n_input;
    p->n_output = fn->n_output;
    PTQ_TRY(name_values(a, fn->input, fn->n_input, &p->input));
    PTQ_TRY(name_values(a, fn->output, fn->n_output, &p->output));
    *out = p;
    return PTQ_OK;
}

static ptq_status build_body(ptq_onnx_build *b, const pb_function *fn, const ptq_node *call, ptq_graph *body,
                             ptq_map *domains)
{
    pb_graph *p = NULL;
    body->ir_version = b->g->ir_version;
    body->path = b->g->path;
    PTQ_TRY(read_imports(fn, body, domains));
    PTQ_TRY(as_graph(body->arena, fn, &p));
    ptq_onnx_build sub = *b;
    sub.g = body;
    sub.p = p;
    sub.up = NULL; /* a function sees nothing around it */
    sub.up_node = NULL;
    sub.domains = domains;
    sub.depth++;
    sub.function = fn;
    sub.call = call;
    PTQ_TRY(ptq_onnx_build_graph(&sub));
    return body->nomem ? ptq_fail_nomem() : match_opset(b, call, body);
}

static void free_graph(void *g)
{
    ptq_graph_free(g);
}

static ptq_status inline_call(ptq_onnx_build *b, const pb_function *fn, ptq_node *n)
{
    char prefix[MAX_PREFIX + 1];
    ptq_graph *body;
    if (b->depth >= MAX_DEPTH)
        return cannot(n, "more than 32 functions and subgraphs are inside each other");
    if ((size_t)n->nin > fn->n_input || (size_t)n->nout > fn->n_output)
        return ptq_fail(PTQ_ERR_MODEL, "node '%s': function %s has %zu inputs and %zu outputs, the call %d and %d",
                        n->name, n->op, fn->n_input, fn->n_output, n->nin, n->nout);
    PTQ_TRY(ptq_graph_new(&body));
    ptq_status s = ptq_graph_own(b->g, body, free_graph);
    if (s != PTQ_OK) {
        ptq_graph_free(body);
        return s;
    }
    ptq_map *domains = ptq_map_new();
    s = domains ? build_body(b, fn, n, body, domains) : ptq_fail_nomem();
    ptq_map_free(domains);
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "function %s, called by node '%s'", n->op, n->name);
    *b->inlined += (size_t)body->nnodes;
    if (*b->inlined > MAX_INLINED)
        return cannot(n, "the model's functions have more than 524288 nodes in all");
    snprintf(prefix, sizeof prefix, "%s", n->name);
    return ptq_graph_inline(b->g, n, body, n->in, (size_t)n->nin, prefix);
}

ptq_status ptq_onnx_inline_calls(ptq_onnx_build *b)
{
    if (b->file->model->n_functions == 0 || !b->file->inline_calls)
        return PTQ_OK;
    PTQ_GRAPH_EACH_NODE_SAFE (b->g, n, next) {
        const pb_function *fn;
        PTQ_TRY(ptq_onnx_called(b, n, &fn));
        if (fn)
            PTQ_TRY(inline_call(b, fn, n));
    }
    PTQ_GRAPH_EACH_NODE (b->g, n) /* an input that a call omits may be needed inside */
        if (n->def && !b->call)
            PTQ_TRY(ptq_onnx_check_arity(n));
    return PTQ_OK;
}
