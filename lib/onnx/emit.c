/* SPDX-License-Identifier: Apache-2.0 */
/* ptq_graph to ModelProto. Messages that came with the file are taken over as they are, unknown
 * fields included; only what the graph changed is made anew. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/onnx/onnx_priv.h"

typedef struct emitter {
    const ptq_graph *g;
    const pb_graph *old; /* NULL: the graph was built here */
    const bool *dangling;
    ptq_arena *a;
    bool unlist; /* initializers are not listed as inputs any more */
} emitter;

static const ptq_onnx_value_origin *origin_of(const ptq_value *v)
{
    static const ptq_onnx_value_origin none;
    return v->origin ? v->origin : &none;
}

/* Constants that lost their last reader are left out; what was unused in the file stays. */
bool ptq_onnx_is_initializer(const ptq_value *v)
{
    return v && v->constant && !v->producer && !v->is_input &&
           (v->uses.n > 0 || v->is_output || (origin_of(v)->init && origin_of(v)->unused));
}

/* ---- initializers, inputs, outputs, value_info ---- */

static ptq_status emit_initializer(emitter *e, const ptq_value *v, pb_tensor **out)
{
    const ptq_onnx_value_origin *o = origin_of(v);
    const ptq_tensor *t = v->constant;
    bool same = o->init && o->data == t->data && o->init->data_type == (int32_t)t->dtype &&
                o->init->n_dims == (size_t)t->rank;
    for (int i = 0; i < t->rank && same; i++)
        same = o->init->dims[i] == t->dims[i];
    if (!same)
        return ptq_onnx_emit_tensor(e->a, v->name, t, out);
    pb_tensor *p = ptq_arena_alloc(e->a, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    *p = *o->init; /* a copy: the writer may move its data to another file */
    *out = p;
    return PTQ_OK;
}

static ptq_status emit_initializers(emitter *e, pb_graph *p)
{
    p->initializer = ptq_arena_array(e->a, e->g->values.n, sizeof *p->initializer);
    p->n_initializer = 0;
    if (!p->initializer)
        return ptq_fail_nomem();
    for (size_t i = 0; i < e->g->values.n; i++)
        if (ptq_onnx_is_initializer(e->g->values.v[i]))
            PTQ_TRY(emit_initializer(e, e->g->values.v[i], &p->initializer[p->n_initializer++]));
    return PTQ_OK;
}

static ptq_status emit_inputs(emitter *e, pb_graph *p)
{
    size_t nold = e->old ? e->old->n_input : 0;
    p->input = ptq_arena_array(e->a, nold + e->g->inputs.n, sizeof *p->input);
    p->n_input = 0;
    if (!p->input)
        return ptq_fail_nomem();
    for (size_t i = 0; i < nold; i++) { /* with the initializers that are listed here */
        const ptq_value *v = ptq_graph_find(e->g, e->old->input[i]->name);
        if (v && (v->is_input || (!e->unlist && ptq_onnx_is_initializer(v))))
            PTQ_TRY(ptq_onnx_emit_value(e->g, e->a, v, e->old->input[i], &p->input[p->n_input++]));
    }
    for (size_t i = 0; i < e->g->inputs.n; i++)
        if (!origin_of(e->g->inputs.v[i])->in)
            PTQ_TRY(ptq_onnx_emit_value(e->g, e->a, e->g->inputs.v[i], NULL, &p->input[p->n_input++]));
    return PTQ_OK;
}

static ptq_status emit_outputs(emitter *e, pb_graph *p)
{
    p->n_output = e->g->outputs.n;
    p->output = ptq_arena_array(e->a, p->n_output, sizeof *p->output);
    if (!p->output)
        return ptq_fail_nomem();
    for (size_t i = 0; i < p->n_output; i++)
        PTQ_TRY(ptq_onnx_emit_value(e->g, e->a, e->g->outputs.v[i], origin_of(e->g->outputs.v[i])->out,
                                    &p->output[i]));
    return PTQ_OK;
}

static bool new_info(const ptq_value *v)
{
    return v && !origin_of(v)->info && !v->is_output && v->dtype != PTQ_DT_UNDEFINED &&
           v->shape.rank >= 0;
}

static ptq_status emit_value_info(emitter *e, pb_graph *p)
{
    size_t nold = e->old ? e->old->n_value_info : 0, n = nold;
    PTQ_GRAPH_EACH_NODE (e->g, node)
        n += node->origin ? 0 : (size_t)node->nout;
    p->value_info = ptq_arena_array(e->a, n, sizeof *p->value_info);
    p->n_value_info = 0;
    if (!p->value_info)
        return ptq_fail_nomem();
    for (size_t i = 0; i < nold; i++) {
        const pb_value *info = e->old->value_info[i];
        const ptq_value *v = info->name ? ptq_graph_find(e->g, info->name) : NULL;
        if (v)
            PTQ_TRY(ptq_onnx_emit_value(e->g, e->a, v, info, &p->value_info[p->n_value_info++]));
        else if (e->dangling[i])
            p->value_info[p->n_value_info++] = ptq_onnx_mut(info);
    }
    PTQ_GRAPH_EACH_NODE (e->g, node)
        for (int i = 0; !node->origin && i < node->nout; i++)
            if (new_info(node->out[i]))
                PTQ_TRY(ptq_onnx_emit_value(e->g, e->a, node->out[i], NULL,
                                            &p->value_info[p->n_value_info++]));
    return PTQ_OK;
}

/* Annotations of tensors that are gone would make the model invalid. */
static ptq_status emit_annotations(emitter *e, pb_graph *p)
{
    size_t n = p->n_quantization_annotation;
    PtqOnnx__TensorAnnotation **old = p->quantization_annotation;
    if (n == 0)
        return PTQ_OK;
    p->quantization_annotation = ptq_arena_array(e->a, n, sizeof *old);
    p->n_quantization_annotation = 0;
    if (!p->quantization_annotation)
        return ptq_fail_nomem();
    for (size_t i = 0; i < n; i++) {
        bool keep = ptq_graph_find(e->g, ptq_onnx_str(old[i]->tensor_name)) != NULL;
        for (size_t k = 0; k < old[i]->n_quant_parameter_tensor_names && keep; k++) {
            const char *name = ptq_onnx_str(old[i]->quant_parameter_tensor_names[k]->value);
            keep = ptq_onnx_is_initializer(ptq_graph_find(e->g, name));
        }
        if (keep)
            p->quantization_annotation[p->n_quantization_annotation++] = old[i];
    }
    return PTQ_OK;
}

static ptq_status emit_graph(emitter *e, pb_graph **out)
{
    pb_graph *p = ptq_arena_alloc(e->a, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    if (e->old)
        *p = *e->old;
    else
        ptq_onnx__graph_proto__init(p);
    /* The checker wants a name; a file that had none keeps that unless the graph was worked on. */
    if (!e->old || e->g->metadata.n > 0)
        p->name = ptq_onnx_mut(*e->g->name ? e->g->name : "graph");
    p->n_node = 0;
    p->node = ptq_arena_array(e->a, (size_t)e->g->nnodes, sizeof *p->node);
    if (!p->node)
        return ptq_fail_nomem();
    PTQ_GRAPH_EACH_NODE (e->g, n)
        PTQ_TRY(ptq_onnx_emit_node(e->g, e->a, n, &p->node[p->n_node++]));
    PTQ_TRY(emit_initializers(e, p));
    PTQ_TRY(emit_inputs(e, p));
    PTQ_TRY(emit_outputs(e, p));
    PTQ_TRY(emit_value_info(e, p));
    PTQ_TRY(emit_annotations(e, p));
    *out = p;
    return PTQ_OK;
}

/* ---- versions ---- */

/* The IR version that came with each opset of ai.onnx. */
static int ir_of_opset(int opset)
{
    static const unsigned char ir[] = {3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 6,
                                       7, 7, 7, 8, 8, 8, 8, 9, 9, 10, 10, 11};
    return opset < (int)sizeof ir ? ir[opset] : PTQ_ONNX_MAX_IR;
}

static int64_t old_version(const pb_model *m, const char *domain)
{
    for (size_t i = 0; i < m->n_opset_import; i++)
        if (strcmp(ptq_onnx_domain(m->opset_import[i]->domain), domain) == 0)
            return m->opset_import[i]->version;
    return 0;
}

static ptq_status import(emitter *e, pb_model *m, const char *domain, int version)
{
    if (version == 0 || old_version(m, domain) == version)
        return PTQ_OK;
    pb_opset *p = ptq_arena_alloc(e->a, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    ptq_onnx__operator_set_id_proto__init(p);
    p->domain = ptq_onnx_mut(domain);
    p->has_version = 1;
    p->version = version;
    pb_opset **list = ptq_arena_array(e->a, m->n_opset_import + 1, sizeof *list);
    if (!list)
        return ptq_fail_nomem();
    size_t n = 0;
    bool found = false;
    for (size_t i = 0; i < m->n_opset_import; i++) {
        bool this = strcmp(ptq_onnx_domain(m->opset_import[i]->domain), domain) == 0;
        list[n++] = this ? p : m->opset_import[i];
        found = found || this;
    }
    if (!found)
        list[n++] = p;
    m->opset_import = list;
    m->n_opset_import = n;
    return PTQ_OK;
}

/* Raised where the opset was, and above 3 where an initializer is not listed as an input. */
static int64_t needed_ir(const emitter *e, const pb_model *old)
{
    int64_t ir = old ? old->ir_version : e->g->ir_version;
    if (!old || old_version(old, "") != e->g->opset) {
        int need = ir_of_opset(e->g->opset);
        ir = ir > need ? ir : need;
    }
    for (size_t i = 0; i < e->g->values.n && ir < 4; i++)
        if (ptq_onnx_is_initializer(e->g->values.v[i]) && !origin_of(e->g->values.v[i])->in)
            ir = 4;
    return ir;
}

/* ---- metadata ---- */

static ptq_status set_entry(emitter *e, pb_model *m, const char *key, const char *value)
{
    pb_entry *p = ptq_arena_alloc(e->a, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    ptq_onnx__string_string_entry_proto__init(p);
    p->key = ptq_onnx_mut(key);
    p->value = ptq_onnx_mut(value);
    for (size_t i = 0; i < m->n_metadata_props; i++)
        if (strcmp(ptq_onnx_str(m->metadata_props[i]->key), key) == 0) {
            m->metadata_props[i] = p;
            return PTQ_OK;
        }
    m->metadata_props[m->n_metadata_props++] = p;
    return PTQ_OK;
}

/* A graph that a pass has marked names this program as its producer and keeps the former one. */
static ptq_status emit_metadata(emitter *e, pb_model *m, bool loaded)
{
    size_t n = m->n_metadata_props;
    if (loaded && e->g->metadata.n == 0)
        return PTQ_OK;
    pb_entry **list = ptq_arena_array(e->a, n + e->g->metadata.n + 1, sizeof *list);
    if (!list)
        return ptq_fail_nomem();
    if (n)
        memcpy(list, m->metadata_props, n * sizeof *list);
    m->metadata_props = list;
    for (size_t i = 0; i < e->g->metadata.n; i++)
        PTQ_TRY(set_entry(e, m, e->g->metadata.v[i].key, e->g->metadata.v[i].value));
    const char *producer = ptq_onnx_str(m->producer_name), *version = ptq_onnx_str(m->producer_version);
    if (*producer && strcmp(producer, PACKAGE_NAME) != 0) {
        char *source = ptq_arena_printf(e->a, "%s%s%s", producer, *version ? " " : "", version);
        if (!source)
            return ptq_fail_nomem();
        PTQ_TRY(set_entry(e, m, "ptq.source_producer", source));
    }
    m->producer_name = ptq_onnx_mut(PACKAGE_NAME);
    m->producer_version = ptq_onnx_mut(PACKAGE_VERSION);
    return PTQ_OK;
}

ptq_status ptq_onnx_emit_body(const ptq_graph *g, ptq_arena *a, pb_graph **out)
{
    const ptq_onnx_origin *o = g->origin;
    emitter e = {.g = g, .old = o ? o->graph : NULL, .dangling = o ? o->dangling : NULL, .a = a};
    return g->nomem ? ptq_fail_nomem() : emit_graph(&e, out);
}

ptq_status ptq_onnx_emit(const ptq_graph *g, ptq_arena *a, pb_model **out)
{
    const ptq_onnx_origin *o = g->origin;
    const pb_model *old = o ? o->file->model : NULL;
    emitter e = {.g = g, .old = o ? o->graph : NULL, .dangling = o ? o->dangling : NULL, .a = a};
    pb_model *m = ptq_arena_alloc(a, sizeof *m);
    if (!m)
        return ptq_fail_nomem();
    if (g->nomem)
        return ptq_fail_nomem();
    if (!old && g->opset == 0)
        return ptq_fail(PTQ_ERR_ARG, "the graph states no opset");
    if (old)
        *m = *old;
    else
        ptq_onnx__model_proto__init(m);
    PTQ_TRY(import(&e, m, "", g->opset));
    PTQ_TRY(import(&e, m, "com.microsoft", g->opset_ms));
    PTQ_GRAPH_EACH_NODE (g, n) /* domains of a graph that was never a file */
        if (n->domain[0] && old_version(m, n->domain) == 0)
            PTQ_TRY(import(&e, m, n->domain, 1));
    if (o && o->file->inline_calls && m->n_training_info == 0)
        m->n_functions = 0;
    m->has_ir_version = 1;
    m->ir_version = needed_ir(&e, old);
    /* Listed, an initializer is a default that a caller may replace; a graph that was worked on
     * has taken it as a constant. Below IR 4 every initializer must be listed. */
    e.unlist = g->metadata.n > 0 && m->ir_version >= 4;
    PTQ_TRY(emit_metadata(&e, m, old != NULL));
    PTQ_TRY(emit_graph(&e, &m->graph));
    *out = m;
    return PTQ_OK;
}
