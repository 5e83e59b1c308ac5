/* SPDX-License-Identifier: Apache-2.0 */
/* GraphProto to ptq_graph. Recursion over subgraphs is bounded: the guard lets 33 levels pass, and calls of
 * functions count as levels too (calls.c). */
#include <stdlib.h>
#include <string.h>

#include "lib/core/sequence.h"
#include "lib/graph/ops.h"
#include "lib/core/spill.h"
#include "lib/onnx/onnx_priv.h"

/* ---- types ---- */

static ptq_status read_shape(ptq_graph *g, const pb_shape *s, const char *name, ptq_shape *out)
{
    if (!s) {
        *out = ptq_shape_unknown();
        return PTQ_OK;
    }
    if (s->n_dim > PTQ_MAX_RANK)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "value '%s' has rank %zu; at most %d is supported", name,
                        s->n_dim, PTQ_MAX_RANK);
    out->rank = (int)s->n_dim;
    for (size_t i = 0; i < s->n_dim; i++) {
        const pb_dim *d = s->dim[i];
        out->dims[i] = ptq_dim_unknown();
        if (d->value_case == PTQ_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) {
            /* Some exporters write -1 for a size they do not know. */
            if (d->dim_value >= 0)
                out->dims[i] = ptq_dim_of(d->dim_value);
        } else if (d->value_case == PTQ_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
                   d->dim_param && *d->dim_param) {
            out->dims[i] = ptq_dim_sym(ptq_symbol(g, d->dim_param));
        }
    }
    return PTQ_OK;
}

ptq_status ptq_onnx_read_type(ptq_graph *g, const pb_type *t, const char *name, ptq_dtype *dtype,
                              ptq_shape *shape)
{
    *dtype = PTQ_DT_UNDEFINED;
    *shape = ptq_shape_unknown();
    if (t && (t->value_case == PTQ_ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE ||
              t->value_case == PTQ_ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE)) {
        bool list = t->value_case == PTQ_ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
        const pb_type *of = list ? t->sequence_type->elem_type : t->optional_type->elem_type;
        PTQ_TRY(ptq_onnx_read_type(g, of, name, dtype, shape)); /* as deep as the guard lets it be */
        if (list && *dtype != PTQ_DT_UNDEFINED) /* sequences of sequences run nowhere here */
            *dtype = ptq_is_sequence(*dtype) ? PTQ_DT_UNDEFINED : ptq_sequence_of(*dtype);
        *shape = ptq_shape_unknown(); /* an optional value may not be there */
        return PTQ_OK;
    }
    if (!t || t->value_case != PTQ_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type)
        return PTQ_OK;
    int32_t elem = t->tensor_type->elem_type;
    if (elem < 0 || elem >= PTQ_DT_COUNT)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "value '%s': element type %d is not known", name,
                        (int)elem);
    *dtype = (ptq_dtype)elem;
    return read_shape(g, t->tensor_type->shape, name, shape);
}

static ptq_onnx_value_origin *origin_of(ptq_graph *g, ptq_value *v)
{
    if (!v->origin)
        v->origin = ptq_arena_alloc(g->arena, sizeof(ptq_onnx_value_origin));
    return (ptq_onnx_value_origin *)(uintptr_t)v->origin;
}

/* What the file declares fills in what is not known yet; a constant knows itself. */
static ptq_status declare(ptq_graph *g, ptq_value *v, const pb_value *p)
{
    ptq_dtype dtype;
    ptq_shape shape;
    PTQ_TRY(ptq_onnx_read_type(g, p->type, v->name, &dtype, &shape));
    if (v->dtype == PTQ_DT_UNDEFINED)
        v->dtype = dtype;
    else if (dtype != PTQ_DT_UNDEFINED && dtype != v->dtype)
        return ptq_fail(PTQ_ERR_MODEL, "value '%s' is declared as %s and as %s", v->name,
                        ptq_dtype_name(v->dtype), ptq_dtype_name(dtype));
    if (v->shape.rank < 0)
        v->shape = shape;
    return PTQ_OK;
}

/* ---- values ---- */

static ptq_status new_value(ptq_onnx_build *b, const char *name, const char *what, ptq_value **out)
{
    ptq_value *v;
    if (!name || !*name)
        return ptq_fail(PTQ_ERR_MODEL, "graph '%s': %s has no name", b->g->name, what);
    const ptq_value *had = ptq_graph_find(b->g, name);
    if (had)
        return ptq_fail(PTQ_ERR_MODEL, "%s '%s': the name is taken by %s%s", what, name,
                        had->producer   ? "an output of node "
                        : had->constant ? "an initializer"
                                        : "a graph input",
                        had->producer ? had->producer->name : "");
    PTQ_TRY(ptq_graph_value(b->g, name, &v));
    if (!origin_of(b->g, v))
        return ptq_fail_nomem();
    if (b->root != b->g)
        PTQ_TRY(ptq_graph_reserve_name(b->root, name));
    *out = v;
    return PTQ_OK;
}

/* Large payloads that do not lie on a whole element in the file are copied to where the memory may be taken back,
 * and the file's own pages go at once. */
static ptq_status view_of(ptq_onnx_build *b, const pb_tensor *p, ptq_tensor *t)
{
    enum { LARGE = 1 << 16 };
    const ptq_onnx_map *m = &b->file->main;
    const size_t align = (size_t)ptq_dtype_bits((ptq_dtype)p->data_type) / 8;
    pb_tensor moved = *p;
    if (!p->has_raw_data || p->raw_data.len < LARGE || align < 2 || (uintptr_t)p->raw_data.data % align == 0)
        return ptq_onnx_tensor_view(b->g->arena, p, t);
    moved.raw_data.data = ptq_graph_bytes(b->g, p->raw_data.len);
    if (!moved.raw_data.data)
        return ptq_fail_nomem();
    memcpy(moved.raw_data.data, p->raw_data.data, p->raw_data.len);
    if (m->p && p->raw_data.data >= m->p && p->raw_data.data < m->p + m->n)
        ptq_pages_rest(p->raw_data.data, p->raw_data.len);
    ptq_graph_rest(b->g, &(ptq_tensor){.data = moved.raw_data.data, .nbytes = moved.raw_data.len});
    return ptq_onnx_tensor_view(b->g->arena, &moved, t);
}

static ptq_status add_initializers(ptq_onnx_build *b)
{
    const pb_graph *p = b->p;
    if (p->n_sparse_initializer)
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "graph '%s' has sparse initializers; convert them to dense ones", b->g->name);
    for (size_t i = 0; i < p->n_initializer; i++) {
        ptq_value *v;
        ptq_tensor t;
        PTQ_TRY(new_value(b, p->initializer[i]->name, "initializer", &v));
        PTQ_TRY(view_of(b, p->initializer[i], &t));
        PTQ_TRY(ptq_value_make_constant(b->g, v, &t, false));
        ptq_onnx_value_origin *o = origin_of(b->g, v);
        o->init = p->initializer[i];
        o->data = t.data;
    }
    return PTQ_OK;
}

static ptq_status add_inputs(ptq_onnx_build *b)
{
    for (size_t i = 0; i < b->p->n_input; i++) {
        const pb_value *p = b->p->input[i];
        ptq_value *v = p->name ? ptq_graph_find(b->g, p->name) : NULL;
        bool weight = v && v->constant && !origin_of(b->g, v)->in;
        if (!weight) {
            PTQ_TRY(new_value(b, p->name, "graph input", &v));
            PTQ_TRY(ptq_graph_add_input(b->g, v));
        }
        origin_of(b->g, v)->in = p;
        PTQ_TRY(declare(b->g, v, p));
    }
    return PTQ_OK;
}

static ptq_status capture(ptq_onnx_build *b, ptq_value *outer, ptq_value **out)
{
    enum { MAX_CAPTURES = 1 << 16 }; /* each is compared with those before it */
    ptq_value *v;
    if (b->up_node->ncaptures >= MAX_CAPTURES)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s': its subgraphs read more than %d outer values",
                        b->up_node->name, MAX_CAPTURES);
    PTQ_TRY(ptq_node_capture(b->up->g, b->up_node, outer));
    PTQ_TRY(ptq_graph_value(b->g, outer->name, &v));
    v->dtype = outer->dtype;
    v->shape = ptq_shape_import(b->g, b->up->g, &outer->shape);
    if (!PTQ_VEC_PUSH(b->g->arena, &b->g->captured, v))
        return ptq_fail_nomem();
    *out = v;
    return PTQ_OK;
}

ptq_status ptq_onnx_resolve(ptq_onnx_build *b, const char *name, ptq_value **out)
{
    ptq_onnx_build *chain[PTQ_ONNX_MAX_DEPTH];
    int n = 0;
    ptq_value *v = NULL;
    for (ptq_onnx_build *at = b; at && !v; at = at->up) {
        v = ptq_graph_find(at->g, name);
        if (!v)
            chain[n++] = at;
    }
    while (v && n > 0) /* from the outside in: every graph on the way hands it on */
        PTQ_TRY(capture(chain[--n], v, &v));
    *out = v;
    return PTQ_OK;
}

/* ---- nodes ---- */

/* Names of nodes that have one, so that made-up names avoid them. */
static ptq_status node_name(ptq_graph *g, const ptq_map *given, const pb_node *p, size_t index,
                            const char **out)
{
    if (p->name && *p->name) {
        *out = p->name;
        return PTQ_OK;
    }
    const char *name = ptq_arena_printf(g->arena, "%s_%zu", p->op_type, index);
    while (name && ptq_map_get(given, name))
        name = ptq_arena_printf(g->arena, "%s_", name);
    *out = name;
    return name ? PTQ_OK : ptq_fail_nomem();
}

ptq_status ptq_onnx_check_arity(const ptq_node *n)
{
    const ptq_op *def = n->def;
    if (n->nin < def->min_in || (def->max_in >= 0 && n->nin > def->max_in))
        return ptq_fail(PTQ_ERR_MODEL, "node '%s': %s takes %d%s inputs, has %d", n->name, n->op,
                        def->min_in, def->max_in < 0 ? " or more" : "", n->nin);
    if (n->nout < def->min_out || (def->max_out >= 0 && n->nout > def->max_out))
        return ptq_fail(PTQ_ERR_MODEL, "node '%s': %s gives at least %d and at most %d outputs, has %d",
                        n->name, n->op, def->min_out, def->max_out, n->nout);
    /* In ai.onnx only operators with an open list may omit an input before the last needed one. */
    if (!*n->domain && def->max_in >= 0)
        for (int i = 0; i < def->min_in; i++)
            if (!n->in[i])
                return ptq_fail(PTQ_ERR_MODEL, "node '%s': %s needs input %d", n->name, n->op, i);
    return PTQ_OK;
}

static ptq_status add_node(ptq_onnx_build *b, const ptq_map *given, size_t index)
{
    const pb_node *p = b->p->node[index];
    const char *name, *domain = ptq_onnx_domain(p->domain);
    ptq_node *n;
    if (!p->op_type || !*p->op_type)
        return ptq_fail(PTQ_ERR_MODEL, "node %zu ('%s') has no operator type", index,
                        ptq_onnx_str(p->name));
    if (p->n_input > INT16_MAX * 2 || p->n_output > INT16_MAX * 2)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s' (%s) has more than 65534 inputs or outputs",
                        ptq_onnx_str(p->name), p->op_type);
    PTQ_TRY(node_name(b->g, given, p, index, &name));
    if (!ptq_map_get(b->domains, domain))
        return ptq_fail(PTQ_ERR_MODEL, "node '%s': %s is of domain '%s', which opset_import does not "
                                       "list", name, p->op_type, *domain ? domain : "ai.onnx");
    PTQ_TRY(ptq_graph_node(b->g, p->op_type, domain, name, (int)p->n_input, (int)p->n_output, NULL,
                           &n));
    n->origin = p;
    const pb_function *called;
    PTQ_TRY(ptq_onnx_called(b, n, &called));
    if (called)
        n->def = NULL;
    for (size_t i = 0; i < p->n_output; i++) {
        ptq_value *v;
        if (!*p->output[i])
            continue;
        if (ptq_graph_find(b->g, p->output[i]))
            return ptq_fail(PTQ_ERR_MODEL, "tensor '%s', output of node '%s' (%s), is defined elsewhere "
                                           "as well", p->output[i], n->name, n->op);
        PTQ_TRY(new_value(b, p->output[i], "node output", &v));
        ptq_node_set_output(b->g, n, (int)i, v);
    }
    return PTQ_OK;
}

static ptq_status add_nodes(ptq_onnx_build *b)
{
    const pb_graph *p = b->p;
    ptq_map *given = ptq_map_new();
    ptq_status s = given ? PTQ_OK : ptq_fail_nomem();
    for (size_t i = 0; i < p->n_node && s == PTQ_OK; i++)
        if (p->node[i]->name && *p->node[i]->name &&
            !ptq_map_put(given, p->node[i]->name, p->node[i]))
            s = ptq_fail_nomem();
    for (size_t i = 0; i < p->n_node && s == PTQ_OK; i++)
        s = add_node(b, given, i);
    ptq_map_free(given);
    return s;
}

static ptq_status connect(ptq_onnx_build *b, ptq_node *n)
{
    const pb_node *p = n->origin;
    for (int i = 0; i < n->nin; i++) {
        ptq_value *v;
        if (!*p->input[i])
            continue;
        PTQ_TRY(ptq_onnx_resolve(b, p->input[i], &v));
        if (!v)
            return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): input %d, '%s', is neither made by a node nor "
                                           "an input or initializer", n->name, n->op, i, p->input[i]);
        ptq_node_set_input(b->g, n, i, v);
    }
    if (n->def)
        PTQ_TRY(ptq_onnx_check_arity(n));
    return PTQ_OK;
}

/* ---- the graph ---- */

static ptq_status add_outputs(ptq_onnx_build *b)
{
    for (size_t i = 0; i < b->p->n_output; i++) {
        const pb_value *p = b->p->output[i];
        ptq_value *v = NULL;
        if (p->name && *p->name)
            PTQ_TRY(ptq_onnx_resolve(b, p->name, &v));
        if (!v)
            return ptq_fail(PTQ_ERR_MODEL, "graph output '%s' is neither made by a node nor an input or "
                                           "initializer", ptq_onnx_str(p->name));
        if (v->is_output)
            return ptq_fail(PTQ_ERR_MODEL, "graph output '%s' is listed twice", v->name);
        PTQ_TRY(ptq_graph_add_output(b->g, v));
        ptq_onnx_value_origin *o = origin_of(b->g, v);
        if (!o)
            return ptq_fail_nomem();
        o->out = p;
        PTQ_TRY(declare(b->g, v, p));
    }
    return PTQ_OK;
}

static ptq_status add_value_info(ptq_onnx_build *b, bool *dangling)
{
    for (size_t i = 0; i < b->p->n_value_info; i++) {
        const pb_value *p = b->p->value_info[i];
        ptq_value *v = p->name ? ptq_graph_find(b->g, p->name) : NULL;
        ptq_onnx_value_origin *o = v ? origin_of(b->g, v) : NULL;
        dangling[i] = !v;
        if (!v || (o && o->info))
            continue;
        if (!o)
            return ptq_fail_nomem();
        o->info = p;
        PTQ_TRY(declare(b->g, v, p));
    }
    return PTQ_OK;
}

static ptq_status set_origin(ptq_onnx_build *b)
{
    ptq_onnx_origin *o = ptq_arena_alloc(b->g->arena, sizeof *o);
    bool *dangling = ptq_arena_array(b->g->arena, b->p->n_value_info, sizeof *dangling);
    const char *name = ptq_arena_strdup(b->g->arena, ptq_onnx_str(b->p->name));
    if (!o || !dangling || !name)
        return ptq_fail_nomem();
    *o = (ptq_onnx_origin){b->file, b->p, dangling};
    b->g->origin = o;
    b->g->name = name;
    return add_value_info(b, dangling);
}

static ptq_status sort(ptq_onnx_build *b)
{
    bool moved;
    PTQ_TRY(ptq_graph_sort(b->g, &moved));
    if (moved && b->keep_order)
        return ptq_fail(PTQ_ERR_MODEL, "graph '%s': the nodes are not in execution order", b->g->name);
    if (moved)
        ptq_log(PTQ_LOG_WARN, "graph '%s': the nodes were not in execution order; sorted", b->g->name);
    return PTQ_OK;
}

ptq_status ptq_onnx_build_graph(ptq_onnx_build *b)
{
    PTQ_TRY(add_initializers(b));
    PTQ_TRY(add_inputs(b));
    PTQ_TRY(add_nodes(b));
    PTQ_TRY(set_origin(b));
    PTQ_GRAPH_EACH_NODE (b->g, n)
        PTQ_TRY(connect(b, n));
    PTQ_TRY(add_outputs(b));
    PTQ_GRAPH_EACH_NODE (b->g, n)
        PTQ_TRY(ptq_onnx_read_attrs(b, n, n->origin));
    for (size_t i = 0; i < b->g->values.n; i++) {
        ptq_value *v = b->g->values.v[i];
        if (v->constant && v->origin)
            origin_of(b->g, v)->unused = v->uses.n == 0 && !v->is_output;
    }
    PTQ_TRY(sort(b));
    return ptq_onnx_inline_calls(b);
}
