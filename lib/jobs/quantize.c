/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static ptq_status count_ops(const ptq_placement *p, bool float_weights, json_t *root)
{
    json_t *int8 = json_object(), *fp = json_object();
    json_int_t other = 0;
    PTQ_TRY(ptq_json_set(root, "int8_nodes", int8));
    PTQ_TRY(ptq_json_set(root, "float_nodes", fp));
    PTQ_GRAPH_EACH_NODE (p->graph, n) {
        const ptq_node_place *np = &p->nodes[n->id];
        if (np->role == PTQ_ROLE_NONE && !np->reason) { /* not a candidate: shapes, normalization, ... */
            other++;
            continue;
        }
        bool float_product = float_weights && np->role == PTQ_ROLE_WEIGHTED;
        json_t *o = ptq_place_in_integers(p, n) && !float_product ? int8 : fp;
        json_int_t k = json_integer_value(json_object_get(o, n->op));
        PTQ_TRY(ptq_json_set(o, n->op, json_integer(k + 1)));
    }
    return ptq_json_set(root, "other_nodes", json_integer(other));
}

static ptq_status list_tensors(const ptq_decision *d, json_t *root)
{
    json_t *list = json_array();
    PTQ_TRY(ptq_json_set(root, "tensors", list));
    for (int i = 0; i < d->place->ntensors; i++) {
        const ptq_tensor_place *t = &d->place->tensors[i];
        const ptq_act_params *q = &d->params[i];
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(list, o));
        PTQ_TRY(ptq_json_set(o, "name", ptq_json_name(t->value->name)));
        PTQ_TRY(ptq_json_set(o, "type", json_string(ptq_dtype_name(q->dtype))));
        PTQ_TRY(ptq_json_set(o, "scale", ptq_json_real((double)q->scale)));
        PTQ_TRY(ptq_json_set(o, "zero_point", json_integer(q->zp)));
        PTQ_TRY(ptq_json_set(o, "low", ptq_json_real(q->lo)));
        PTQ_TRY(ptq_json_set(o, "high", ptq_json_real(q->hi)));
        PTQ_TRY(ptq_json_set(o, "method", json_string(q->method)));
        if (t->root != i)
            PTQ_TRY(ptq_json_set(o, "shares", ptq_json_name(d->place->tensors[t->root].value->name)));
    }
    return PTQ_OK;
}

static ptq_status list_float(const ptq_placement *p, json_t *root)
{
    json_t *list = json_array();
    PTQ_TRY(ptq_json_set(root, "left_in_float", list));
    PTQ_GRAPH_EACH_NODE (p->graph, n) {
        const ptq_node_place *np = &p->nodes[n->id];
        if (ptq_place_in_integers(p, n) || !np->reason)
            continue;
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(list, o));
        PTQ_TRY(ptq_json_set(o, "node", ptq_json_name(n->name)));
        PTQ_TRY(ptq_json_set(o, "op", ptq_json_name(n->op)));
        PTQ_TRY(ptq_json_set(o, "reason", ptq_json_name(np->reason)));
        PTQ_TRY(ptq_json_set(o, "macs", ptq_json_real(ptq_node_macs(n))));
    }
    return PTQ_OK;
}

static ptq_status list_weights(const ptq_rewrite_report *w, json_t *root)
{
    json_t *list = json_array();
    PTQ_TRY(ptq_json_set(root, "weights", list));
    for (size_t i = 0; i < w->weights.n; i++) {
        const ptq_weight_note *n = &w->weights.v[i];
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(list, o));
        PTQ_TRY(ptq_json_set(o, "node", ptq_json_name(n->node)));
        PTQ_TRY(ptq_json_set(o, "weight", ptq_json_name(n->weight)));
        PTQ_TRY(ptq_json_set(o, "mse", ptq_json_real(n->mse)));
        PTQ_TRY(ptq_json_set(o, "mse_linear", ptq_json_real(n->mse_linear)));
        if (n->dead_channels)
            PTQ_TRY(ptq_json_set(o, "dead_channels", json_integer(n->dead_channels)));
        if (n->widened_channels)
            PTQ_TRY(ptq_json_set(o, "widened_channels", json_integer(n->widened_channels)));
    }
    return PTQ_OK;
}

static ptq_status fill(const ptq_qspec *spec, const ptq_decision *d, const ptq_rewrite_report *w, const char *method,
                       size_t samples, json_t *root)
{
    const ptq_weight_algo *algo;
    PTQ_TRY(ptq_weight_find(spec->rewrite.weight, &algo));
    PTQ_TRY(ptq_json_set(root, "version", json_string(ptq_version())));
    PTQ_TRY(ptq_json_set(root, "target", json_string(spec->target->name)));
    PTQ_TRY(ptq_json_set(root, "format", json_string(spec->qoperator ? "qoperator" : "qdq")));
    PTQ_TRY(ptq_json_set(root, "method", json_string(method)));
    PTQ_TRY(ptq_json_set(root, "samples", json_integer((json_int_t)samples)));
    PTQ_TRY(ptq_json_set(root, "weight", json_string(spec->rewrite.weight)));
    PTQ_TRY(ptq_json_set(root, "float_weights", json_boolean(algo->table)));
    PTQ_TRY(ptq_json_set(root, "per_channel", json_boolean(spec->rewrite.per_channel)));
    PTQ_TRY(ptq_json_set(root, "act_type", json_string(ptq_dtype_name(spec->grid.dtype))));
    PTQ_TRY(ptq_json_set(root, "act_symmetric", json_boolean(spec->grid.symmetric)));
    PTQ_TRY(ptq_json_set(root, "act_log2", json_boolean(spec->act_log2)));
    PTQ_TRY(ptq_json_set(root, "int8_mac_share", ptq_json_real(ptq_int8_mac_share(d->place, true, algo->table))));
    PTQ_TRY(count_ops(d->place, algo->table, root));
    PTQ_TRY(list_tensors(d, root));
    PTQ_TRY(list_float(d->place, root));
    return list_weights(w, root);
}

static ptq_status set_metadata(ptq_graph *g, const ptq_statistics *stats, const ptq_qspec *spec, const char *method)
{
    char samples[32];
    snprintf(samples, sizeof samples, "%zu", ptq_statistics_done(stats));
    PTQ_TRY(ptq_graph_set_metadata(g, "ptq.version", ptq_version()));
    PTQ_TRY(ptq_graph_set_metadata(g, "ptq.target", spec->target->name));
    PTQ_TRY(ptq_graph_set_metadata(g, "ptq.method", method));
    PTQ_TRY(ptq_graph_set_metadata(g, "ptq.samples", samples));
    if (stats->data_sha256[0])
        PTQ_TRY(ptq_graph_set_metadata(g, "ptq.data_sha256", stats->data_sha256));
    if (stats->model_sha256[0])
        PTQ_TRY(ptq_graph_set_metadata(g, "ptq.model_sha256", stats->model_sha256));
    return PTQ_OK;
}

typedef struct job {
    ptq_qspec spec;
    ptq_decision decision;
    ptq_report *report;
    ptq_model *model;
    const ptq_range_algo **per_tensor;
    bool *float_nodes;
} job;

static bool has_float_output(const ptq_graph *g)
{
    for (size_t i = 0; i < g->outputs.n; i++)
        if (g->outputs.v[i]->dtype == PTQ_DT_F32 || g->outputs.v[i]->dtype == PTQ_DT_UNDEFINED)
            return true;
    return false;
}

/* auto needs samples, and outputs whose distance can be measured. */
static const char *method_of(const ptq_model *m, const ptq_quant_options *opt, bool samples)
{
    return opt->method ? opt->method : samples && has_float_output(m->graph) ? "auto" : "mse";
}

static ptq_status run(job *j, const ptq_model *m, const ptq_statistics *stats, const ptq_samples *samples,
                      const ptq_quant_options *opt)
{
    const char *method = method_of(m, opt, samples != NULL);
    const ptq_range_algo *algo = NULL;
    ptq_rewrite_report weights = {0};
    PTQ_TRY(ptq_qspec_make(opt, &j->spec));
    PTQ_TRY(ptq_report_new("quantize", &j->report));
    if (strcmp(method, "auto") == 0) { /* ptq_quant_check has seen to the samples */
        j->per_tensor = ptq_calloc(m->graph->values.n, sizeof *j->per_tensor);
        j->float_nodes = ptq_calloc((size_t)m->graph->next_node_id, sizeof *j->float_nodes);
        if (!j->per_tensor || !j->float_nodes)
            return ptq_fail_nomem();
        PTQ_TRY(ptq_auto(m, stats, samples, &j->spec, opt, j->per_tensor, j->float_nodes, j->report->root));
    } else {
        PTQ_TRY(ptq_range_find(method, &algo));
    }
    ptq_choice choice = {.method = algo, .per_tensor = j->per_tensor, .float_nodes = j->float_nodes};
    PTQ_TRY(ptq_decide(m->graph, stats, &j->spec, &choice, &j->decision));
    PTQ_TRY(ptq_build(m, &j->decision, &j->spec, NULL, &j->model, &weights));
    PTQ_TRY(set_metadata(j->model->graph, stats, &j->spec, method));
    return fill(&j->spec, &j->decision, &weights, method, ptq_statistics_done(stats), j->report->root);
}

/* Models from memory have no digest: what their tensors are called must do. */
static ptq_status check_same_model(const ptq_model *m, const ptq_statistics *stats)
{
    if (!m->sha256[0] || !stats->model_sha256[0] || strcmp(m->sha256, stats->model_sha256) == 0)
        return PTQ_OK;
    return ptq_fail(PTQ_ERR_DATA, "the statistics belong to another model (sha256 %.12s...) than %s (%.12s...): "
                    "calibrate this one", stats->model_sha256, m->path, m->sha256);
}

static ptq_status check_finite(const ptq_graph *g, const ptq_node *n, const ptq_value *v)
{
    const ptq_tensor *t = v ? v->constant : NULL;
    if (!t || t->dtype != PTQ_DT_F32)
        return PTQ_OK;
    const float *x = t->data;
    for (int64_t i = 0, count = ptq_tensor_elements(t); i < count; i++)
        if (!isfinite(x[i]))
            return ptq_fail(PTQ_ERR_MODEL, "node %s: constant %s holds %s at element %lld; repair the model, or leave "
                            "the node in float with --exclude", n->name, v->name, isnan(x[i]) ? "NaN" : "infinity",
                            (long long)i);
    ptq_graph_rest(g, t);
    return PTQ_OK;
}

/* Told from the weights, before activations that are NaN everywhere are blamed. */
static ptq_status check_weights(const ptq_placement *p)
{
    PTQ_GRAPH_EACH_NODE (p->graph, n)
        if (p->nodes[n->id].role == PTQ_ROLE_WEIGHTED)
            for (int i = 1; i < n->nin; i++)
                PTQ_TRY(check_finite(p->graph, n, n->in[i]));
    return PTQ_OK;
}

ptq_status ptq_quant_check(const ptq_model *m, const ptq_quant_options *opt, bool samples)
{
    static const ptq_quant_options dflt = PTQ_QUANT_OPTIONS_INIT;
    const ptq_range_algo *algo;
    ptq_qspec spec;
    ptq_placement *p = NULL;
    PTQ_NEEDS(m);
    PTQ_OPTIONS(opt);
    if (!opt)
        opt = &dflt;
    if (!(opt->min_int8_macs >= 0.0 && opt->min_int8_macs <= 1.0))
        return ptq_fail(PTQ_ERR_ARG, "min_int8_macs is a share from 0 to 1, not %g", opt->min_int8_macs);
    if (!m->optimized)
        return ptq_fail(PTQ_ERR_ARG, "the model must be optimized before it is quantized");
    if (ptq_graph_is_quantized(m->graph) && !opt->requantize)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "%s is quantized already; start from the float model (--requantize quantizes "
                        "only the layers that this one has in float)",
                        m->path[0] ? m->path : "the model");
    bool automatic = strcmp(method_of(m, opt, samples), "auto") == 0;
    if (automatic && !samples)
        return ptq_fail(PTQ_ERR_ARG, "method auto needs the samples (-d); without them use --method mse");
    if (automatic && !has_float_output(m->graph))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "method auto judges by float32 outputs, and the model has none: use "
                        "--method mse");
    if (opt->method && !automatic && ptq_range_find(opt->method, &algo) != PTQ_OK)
        return ptq_fail_prefix(PTQ_ERR_ARG, "--method takes auto or a range algorithm");
    PTQ_TRY(ptq_qspec_make(opt, &spec));
    ptq_status s = ptq_place(m->graph, spec.target, &spec.scope, &p);
    if (s == PTQ_OK)
        s = ptq_check_overrides(&spec, p);
    if (s == PTQ_OK)
        s = check_weights(p);
    ptq_placement_free(p);
    ptq_qspec_clear(&spec);
    return s;
}

ptq_status ptq_model_quantize(const ptq_model *m, const ptq_statistics *stats, const ptq_samples *samples,
                        const ptq_quant_options *opt, ptq_model **out, ptq_report **report)
{
    static const ptq_quant_options dflt = PTQ_QUANT_OPTIONS_INIT;
    job j = {0};
    PTQ_NEEDS(stats);
    PTQ_NEEDS(out);
    PTQ_NEEDS(report);
    PTQ_TRY(ptq_quant_check(m, opt, samples != NULL));
    if (!opt)
        opt = &dflt;
    if (samples)
        PTQ_TRY(ptq_check_loop(samples, &opt->loop));
    PTQ_TRY(check_same_model(m, stats));
    ptq_status s = run(&j, m, stats, samples, opt);
    ptq_qspec_clear(&j.spec);
    ptq_decision_clear(&j.decision);
    free(j.per_tensor);
    free(j.float_nodes);
    if (s != PTQ_OK) {
        ptq_model_free(j.model);
        ptq_report_free(j.report);
        return s;
    }
    *out = j.model;
    *report = j.report;
    return PTQ_OK;
}

ptq_status ptq_quant_params_json(const ptq_report *r, char **json)
{
    PTQ_NEEDS(r);
    PTQ_NEEDS(json);
    json_t *root = json_object(), *tensors = json_object(), *nodes = json_array(), *t;
    size_t i;
    ptq_status s = ptq_json_set(root, "tensors", tensors);
    if (s == PTQ_OK)
        s = ptq_json_set(root, "float_nodes", nodes);
    json_array_foreach (json_object_get(r->root, "tensors"), i, t) {
        json_t *o = json_object();
        if (s == PTQ_OK)
            s = ptq_json_set(tensors, ptq_json_str(t, "name", "?"), o);
        if (s == PTQ_OK)
            s = ptq_json_set(o, "low", json_real(ptq_json_num(t, "low", 0.0)));
        if (s == PTQ_OK)
            s = ptq_json_set(o, "high", json_real(ptq_json_num(t, "high", 0.0)));
        if (s == PTQ_OK)
            s = ptq_json_set(o, "comment", json_string(ptq_json_str(t, "method", "")));
    }
    json_array_foreach (json_object_get(r->root, "left_in_float"), i, t)
        if (s == PTQ_OK && strcmp(ptq_json_str(t, "reason", ""), "left in float by auto") == 0)
            s = ptq_json_push(nodes, json_string(ptq_json_str(t, "node", "")));
    char *text = s == PTQ_OK ? json_dumps(root, JSON_SORT_KEYS | JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (s == PTQ_OK && !text)
        s = ptq_fail_nomem();
    if (s == PTQ_OK)
        *json = text;
    return s;
}
