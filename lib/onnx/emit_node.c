/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes, attributes, tensors and value types as messages. */
#include <string.h>

#include "lib/core/sequence.h"
#include "lib/onnx/onnx_priv.h"

/* ---- tensors ---- */

ptq_status ptq_onnx_emit_tensor(ptq_arena *a, const char *name, const ptq_tensor *t, pb_tensor **out)
{
    pb_tensor *p = ptq_arena_alloc(a, sizeof *p);
    int64_t *dims = ptq_arena_array(a, (size_t)t->rank, sizeof *dims);
    if (!p || !dims)
        return ptq_fail_nomem();
    if (t->dtype == PTQ_DT_STRING || t->dtype == PTQ_DT_UNDEFINED)
        return ptq_fail(PTQ_ERR_INTERNAL, "tensor '%s' of type %s cannot be written", name,
                        ptq_dtype_name(t->dtype));
    ptq_onnx__tensor_proto__init(p);
    for (int i = 0; i < t->rank; i++)
        dims[i] = t->dims[i];
    p->n_dims = (size_t)t->rank;
    p->dims = dims;
    p->has_data_type = 1;
    p->data_type = (int32_t)t->dtype;
    p->name = ptq_onnx_mut(name);
    p->has_raw_data = 1;
    p->raw_data.len = t->nbytes;
    p->raw_data.data = t->data;
    *out = p;
    return PTQ_OK;
}

/* ---- types ---- */

/* A symbol that the file named; those made up here say nothing to a reader. */
static const char *given_name(const ptq_graph *g, ptq_dim d)
{
    const char *name = d.mul == 1 && d.add == 0 ? ptq_symbol_name(g->syms, d.sym) : NULL;
    return name && strncmp(name, "unk__", 5) != 0 ? name : NULL;
}

/* Whether the declared dimension may stay: it says the same, or the graph has nothing better. */
static bool dim_holds(const ptq_graph *g, const pb_dim *p, ptq_dim d)
{
    if (ptq_dim_known(d))
        return p->value_case == PTQ_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
               p->dim_value == d.add;
    const char *name = given_name(g, d);
    return !name || (p->value_case == PTQ_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
                     strcmp(ptq_onnx_str(p->dim_param), name) == 0);
}

static bool type_holds(const ptq_graph *g, const ptq_value *v, const pb_type *t)
{
    if (v->dtype == PTQ_DT_UNDEFINED)
        return true;
    if (!t || t->value_case != PTQ_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type)
        return false;
    const pb_shape *s = t->tensor_type->shape;
    if (t->tensor_type->elem_type != (int32_t)v->dtype)
        return false;
    if (v->shape.rank < 0)
        return true;
    if (!s || s->n_dim != (size_t)v->shape.rank)
        return false;
    for (size_t i = 0; i < s->n_dim; i++)
        if (!dim_holds(g, s->dim[i], v->shape.dims[i]))
            return false;
    return true;
}

static ptq_status emit_shape(const ptq_graph *g, ptq_arena *a, const ptq_shape *s, const pb_shape *old,
                             pb_shape **out)
{
    pb_shape *p = ptq_arena_alloc(a, sizeof *p);
    pb_dim **list = ptq_arena_array(a, (size_t)s->rank, sizeof *list);
    pb_dim *dims = ptq_arena_array(a, (size_t)s->rank, sizeof *dims);
    if (!p || !list || !dims)
        return ptq_fail_nomem();
    ptq_onnx__tensor_shape_proto__init(p);
    bool same_rank = old && old->n_dim == (size_t)s->rank;
    for (int i = 0; i < s->rank; i++) {
        ptq_dim d = s->dims[i];
        ptq_onnx__tensor_shape_proto__dimension__init(&dims[i]);
        list[i] = &dims[i];
        if (same_rank) /* keeps the denotation */
            dims[i] = *old->dim[i];
        if (same_rank && dim_holds(g, old->dim[i], d))
            continue;
        const char *name = given_name(g, d);
        if (ptq_dim_known(d)) {
            dims[i].value_case = PTQ_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dims[i].dim_value = d.add;
        } else if (name) {
            dims[i].value_case = PTQ_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dims[i].dim_param = ptq_onnx_mut(name);
        }
    }
    p->n_dim = (size_t)s->rank;
    p->dim = list;
    *out = p;
    return PTQ_OK;
}

ptq_status ptq_onnx_emit_value(const ptq_graph *g, ptq_arena *a, const ptq_value *v, const pb_value *p,
                               pb_value **out)
{
    /* Sequences and optional values keep the type that the file declares. */
    bool open = p && p->type && p->type->value_case != PTQ_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE &&
                p->type->value_case != PTQ_ONNX__TYPE_PROTO__VALUE__NOT_SET;
    if (p && (open || type_holds(g, v, p->type))) {
        *out = ptq_onnx_mut(p);
        return PTQ_OK;
    }
    pb_value *n = ptq_arena_alloc(a, sizeof *n);
    pb_type *type = ptq_arena_alloc(a, sizeof *type);
    PtqOnnx__TypeProto__Tensor *tensor = ptq_arena_alloc(a, sizeof *tensor);
    if (!n || !type || !tensor)
        return ptq_fail_nomem();
    ptq_onnx__value_info_proto__init(n);
    ptq_onnx__type_proto__init(type);
    ptq_onnx__type_proto__tensor__init(tensor);
    const pb_shape *old = NULL;
    if (p)
        *n = *p;
    if (p && p->type && p->type->value_case == PTQ_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        *type = *p->type;
        old = p->type->tensor_type->shape;
    }
    n->name = ptq_onnx_mut(v->name);
    n->type = type;
    tensor->has_elem_type = 1;
    tensor->elem_type = (int32_t)ptq_sequence_element(v->dtype);
    if (ptq_is_sequence(v->dtype)) {
        pb_type *of = ptq_arena_alloc(a, sizeof *of);
        PtqOnnx__TypeProto__Sequence *list = ptq_arena_alloc(a, sizeof *list);
        if (!of || !list)
            return ptq_fail_nomem();
        ptq_onnx__type_proto__init(of);
        ptq_onnx__type_proto__sequence__init(list);
        type->value_case = PTQ_ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
        type->sequence_type = list;
        list->elem_type = of;
        type = of;
    }
    type->value_case = PTQ_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    if (v->shape.rank >= 0)
        PTQ_TRY(emit_shape(g, a, &v->shape, old, &tensor->shape));
    *out = n;
    return PTQ_OK;
}

/* ---- attributes ---- */

static ptq_status new_attr(ptq_arena *a, const ptq_node *n, const ptq_attr *at, pb_attr **out)
{
    pb_attr *p = ptq_arena_alloc(a, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    ptq_onnx__attribute_proto__init(p);
    p->name = ptq_onnx_mut(at->name);
    p->has_type = 1;
    p->type = (PtqOnnx__AttributeProto__AttributeType)at->type;
    switch (at->type) {
    case PTQ_ATTR_FLOAT:
        p->has_f = 1;
        p->f = at->f;
        break;
    case PTQ_ATTR_INT:
        p->has_i = 1;
        p->i = at->i;
        break;
    case PTQ_ATTR_STRING:
        p->has_s = 1;
        p->s.len = at->n;
        p->s.data = ptq_onnx_mut(at->s);
        break;
    case PTQ_ATTR_TENSOR:
        PTQ_TRY(ptq_onnx_emit_tensor(a, at->name, at->tensor, &p->t));
        break;
    case PTQ_ATTR_FLOATS:
        p->n_floats = at->n;
        p->floats = ptq_onnx_mut(at->floats);
        break;
    case PTQ_ATTR_INTS:
        p->n_ints = at->n;
        p->ints = ptq_onnx_mut(at->ints);
        break;
    case PTQ_ATTR_STRINGS:
        p->n_strings = at->n;
        p->strings = ptq_arena_array(a, at->n, sizeof *p->strings);
        if (!p->strings)
            return ptq_fail_nomem();
        for (size_t i = 0; i < at->n; i++) {
            p->strings[i].len = strlen(at->strings[i]);
            p->strings[i].data = ptq_onnx_mut(at->strings[i]);
        }
        break;
    default:
        return ptq_fail(PTQ_ERR_INTERNAL, "node '%s': attribute '%s' cannot be written", n->name,
                        at->name);
    }
    *out = p;
    return PTQ_OK;
}

/* The subgraph as it is now, with what else the file said of the attribute. */
static ptq_status graph_attr(ptq_arena *a, const ptq_attr *at, pb_attr **out)
{
    pb_attr *p = ptq_arena_alloc(a, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    if (at->origin)
        *p = *(const pb_attr *)at->origin;
    else
        ptq_onnx__attribute_proto__init(p);
    p->name = ptq_onnx_mut(at->name);
    p->has_type = 1;
    p->type = PTQ_ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
    *out = p;
    return ptq_onnx_emit_body(at->graph, a, &p->g);
}

static ptq_status emit_attrs(ptq_arena *a, const ptq_node *n, pb_node *p)
{
    const pb_node *o = n->origin;
    bool same = o && (size_t)n->nattrs == o->n_attribute;
    for (int i = 0; i < n->nattrs && same; i++)
        same = n->attrs[i].origin == o->attribute[i] && n->attrs[i].type != PTQ_ATTR_GRAPH;
    if (same)
        return PTQ_OK;
    p->n_attribute = (size_t)n->nattrs;
    p->attribute = ptq_arena_array(a, (size_t)n->nattrs, sizeof *p->attribute);
    if (!p->attribute)
        return ptq_fail_nomem();
    for (int i = 0; i < n->nattrs; i++) {
        p->attribute[i] = ptq_onnx_mut(n->attrs[i].origin);
        if (n->attrs[i].type == PTQ_ATTR_GRAPH)
            PTQ_TRY(graph_attr(a, &n->attrs[i], &p->attribute[i]));
        else if (!p->attribute[i])
            PTQ_TRY(new_attr(a, n, &n->attrs[i], &p->attribute[i]));
    }
    return PTQ_OK;
}

/* ---- nodes ---- */

static ptq_status emit_names(ptq_arena *a, ptq_value *const *v, int n, size_t *count, char ***names)
{
    char **list = ptq_arena_array(a, (size_t)n, sizeof *list);
    if (!list)
        return ptq_fail_nomem();
    for (int i = 0; i < n; i++)
        list[i] = ptq_onnx_mut(v[i] ? v[i]->name : "");
    *names = list;
    *count = (size_t)n;
    return PTQ_OK;
}

ptq_status ptq_onnx_emit_node(const ptq_graph *g, ptq_arena *a, const ptq_node *n, pb_node **out)
{
    const pb_node *o = n->origin;
    pb_node *p = ptq_arena_alloc(a, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    if (o)
        *p = *o;
    else
        ptq_onnx__node_proto__init(p);
    PTQ_TRY(emit_names(a, n->in, n->nin, &p->n_input, &p->input));
    PTQ_TRY(emit_names(a, n->out, n->nout, &p->n_output, &p->output));
    /* Names made up by the loader are written once the graph was worked on, so that reports that
     * use them can be matched with the file. */
    bool nameless = o && !*ptq_onnx_str(o->name) && g->metadata.n == 0;
    if (!nameless)
        p->name = ptq_onnx_mut(n->name);
    p->op_type = ptq_onnx_mut(n->op);
    if (strcmp(ptq_onnx_domain(p->domain), n->domain) != 0)
        p->domain = ptq_onnx_mut(n->domain);
    if (!o && n->doc)
        p->doc_string = ptq_onnx_mut(n->doc);
    PTQ_TRY(emit_attrs(a, n, p));
    *out = p;
    return PTQ_OK;
}
