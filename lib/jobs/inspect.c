/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/jobs/quantize.h"

static ptq_status tensors_json(const ptq_graph *g, ptq_value *const *list, size_t n, json_t *root, const char *key)
{
    json_t *out = json_array();
    char buf[256];
    PTQ_TRY(ptq_json_set(root, key, out));
    for (size_t i = 0; i < n; i++) {
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(out, o));
        PTQ_TRY(ptq_json_set(o, "name", ptq_json_name(list[i]->name)));
        PTQ_TRY(ptq_json_set(o, "type", json_string(ptq_dtype_name(list[i]->dtype))));
        PTQ_TRY(ptq_json_set(o, "shape", ptq_json_name(ptq_shape_print(&list[i]->shape, g->syms, buf, sizeof buf))));
    }
    return PTQ_OK;
}

/* Elements for one sample; symbolic dimensions count as 1. */
static double elements(const ptq_value *v)
{
    double n = 1.0;
    for (int i = 0; i < v->shape.rank; i++)
        n *= ptq_dim_known(v->shape.dims[i]) ? (double)v->shape.dims[i].add : 1.0;
    return v->shape.rank < 0 ? 0.0 : n;
}

static ptq_status add_operator(const ptq_placement *p, const ptq_node *n, json_t *ops)
{
    char name[256];
    snprintf(name, sizeof name, "%s%s%s", n->domain, n->domain[0] ? "::" : "", n->op);
    json_t *o = json_object_get(ops, name);
    if (!o) {
        o = json_object();
        json_t *key = ptq_json_name(name);
        ptq_status s = key ? ptq_json_set(ops, json_string_value(key), o) : ptq_fail_nomem();
        json_decref(key);
        PTQ_TRY(s);
    }
    PTQ_TRY(ptq_json_set(o, "nodes", json_integer((json_int_t)ptq_json_num(o, "nodes", 0) + 1)));
    json_int_t int8 = (json_int_t)ptq_json_num(o, "int8", 0) + ptq_place_in_integers(p, n);
    PTQ_TRY(ptq_json_set(o, "int8", json_integer(int8)));
    return ptq_json_set(o, "macs", ptq_json_real(ptq_json_num(o, "macs", 0) + ptq_node_macs(n)));
}

/* Operators with a form in integers; movers and tables beside them are flags of ops.def. */
static bool has_integer_form(const ptq_node *n)
{
#define PTQ_RULE(name, role) #name,
    static const char *const rules[] = {
#include "lib/quant/place_rules.def"
    };
#undef PTQ_RULE
    for (size_t i = 0; i < PTQ_COUNT(rules); i++)
        if (strcmp(rules[i], n->op) == 0)
            return true;
    return n->def && n->def->flags & (PTQ_OPF_MOVER | PTQ_OPF_UNARY);
}

/* Why a node is no candidate. */
static const char *why_other(const ptq_node *n)
{
    ptq_dtype t = n->nout && n->out[0] ? n->out[0]->dtype : PTQ_DT_UNDEFINED;
    if (!n->def)
        return "unknown operator";
    if (n->def->flags & PTQ_OPF_SHAPE)
        return "works on shapes";
    if (n->def->flags & PTQ_OPF_CONTROL)
        return "runs subgraphs, which stay in float";
    if (t != PTQ_DT_F32 && t != PTQ_DT_UNDEFINED)
        return "its values are not float32";
    return has_integer_form(n) ? "its inputs are not in 8 bits, or no reader wants them so" : "no 8-bit form of this operator";
}

static ptq_status node_json(const ptq_node *n, const char *reason, json_t *list)
{
    json_t *o = json_object();
    PTQ_TRY(ptq_json_push(list, o));
    PTQ_TRY(ptq_json_set(o, "node", ptq_json_name(n->name)));
    PTQ_TRY(ptq_json_set(o, "op", ptq_json_name(n->op)));
    return ptq_json_set(o, "reason", ptq_json_name(reason));
}

static ptq_status work_json(const ptq_graph *g, const ptq_placement *p, json_t *root)
{
    double macs = 0.0, moved = 0.0, params = 0.0, bytes = 0.0;
    json_t *ops = json_object(), *left = json_array(), *other = json_array();
    PTQ_TRY(ptq_json_set(root, "operators", ops));
    PTQ_TRY(ptq_json_set(root, "left_in_float", left));
    PTQ_TRY(ptq_json_set(root, "other_nodes", other));
    PTQ_GRAPH_EACH_NODE (g, n) {
        macs += ptq_node_macs(n);
        for (int i = 0; i < n->nin; i++)
            if (n->in[i])
                moved += elements(n->in[i]) * ptq_dtype_bits(n->in[i]->dtype) / 8.0;
        for (int i = 0; i < n->nout; i++)
            if (n->out[i])
                moved += elements(n->out[i]) * ptq_dtype_bits(n->out[i]->dtype) / 8.0;
        PTQ_TRY(add_operator(p, n, ops));
        const ptq_node_place *np = &p->nodes[n->id];
        if (ptq_place_in_integers(p, n))
            continue;
        PTQ_TRY(node_json(n, np->reason ? np->reason : why_other(n), np->reason ? left : other));
    }
    for (size_t i = 0; i < g->values.n; i++) {
        const ptq_value *v = g->values.v[i];
        if (!v || !v->constant || v->uses.n == 0)
            continue;
        params += (double)ptq_tensor_elements(v->constant);
        bytes += (double)v->constant->nbytes;
    }
    PTQ_TRY(ptq_json_set(root, "parameters", ptq_json_real(params)));
    PTQ_TRY(ptq_json_set(root, "weight_bytes", ptq_json_real(bytes)));
    PTQ_TRY(ptq_json_set(root, "macs", ptq_json_real(macs)));
    PTQ_TRY(ptq_json_set(root, "bytes_moved", ptq_json_real(moved)));
    return ptq_json_set(root, "macs_per_byte", ptq_json_real(moved > 0.0 ? macs / moved : 0.0));
}

static ptq_status fill(const ptq_model *m, const ptq_graph *g, const ptq_placement *p, json_t *root)
{
    PTQ_TRY(ptq_json_set(root, "model", ptq_json_name(m->path)));
    PTQ_TRY(ptq_json_set(root, "sha256", json_string(m->sha256)));
    PTQ_TRY(ptq_json_set(root, "opset", json_integer(m->graph->opset)));
    PTQ_TRY(ptq_json_set(root, "ir_version", json_integer(m->graph->ir_version)));
    PTQ_TRY(ptq_json_set(root, "nodes_in_file", json_integer(m->graph->nnodes)));
    PTQ_TRY(ptq_json_set(root, "nodes", json_integer(g->nnodes)));
    bool quantized = ptq_graph_is_quantized(m->graph);
    PTQ_TRY(ptq_json_set(root, "quantized", json_boolean(quantized)));
    PTQ_TRY(ptq_json_set(root, "target", json_string(p->target->name)));
    PTQ_TRY(ptq_json_set(root, "int8_mac_share", ptq_json_real(ptq_int8_mac_share(p, !quantized, false))));
    PTQ_TRY(tensors_json(g, g->inputs.v, g->inputs.n, root, "inputs"));
    PTQ_TRY(tensors_json(g, g->outputs.v, g->outputs.n, root, "outputs"));
    return work_json(g, p, root);
}

ptq_status ptq_model_inspect(const ptq_model *m, const char *target, ptq_report **out)
{
    PTQ_NEEDS(m);
    PTQ_NEEDS(out);
    const ptq_target *t;
    ptq_graph *g;
    ptq_model *copy = NULL;
    ptq_placement *p = NULL;
    ptq_report *r = NULL;
    PTQ_TRY(ptq_target_find(target ? target : "portable", &t));
    /* Looked at as it would be quantized; the model itself stays as it is. */
    PTQ_TRY(ptq_graph_clone(m->graph, &g));
    PTQ_TRY(ptq_model_wrap(g, &copy));
    copy->optimized = m->optimized;
    ptq_status s = ptq_model_optimize(copy);
    if (s == PTQ_OK)
        s = ptq_place(copy->graph, t, NULL, &p);
    if (s == PTQ_OK)
        s = ptq_report_new("inspect", &r);
    if (s == PTQ_OK)
        s = fill(m, copy->graph, p, r->root);
    ptq_placement_free(p);
    ptq_model_free(copy);
    if (s != PTQ_OK) {
        ptq_report_free(r);
        return s;
    }
    *out = r;
    return PTQ_OK;
}
