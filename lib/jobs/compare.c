/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/jobs/accuracy.h"
#include "lib/jobs/latency.h"
#include "lib/jobs/layers.h"

typedef struct compare {
    ptq_accuracy acc;
    const ptq_model *ref, *cand;
    const ptq_samples *samples;
    const ptq_compare_options *opt;
} compare;

static ptq_status add(void *ctx, const ptq_batch *b)
{
    compare *c = ctx;
    return ptq_accuracy_add(&c->acc, c->samples, b);
}

static ptq_status outputs_json(const compare *c, json_t *root)
{
    json_t *list = json_array();
    PTQ_TRY(ptq_json_set(root, "outputs", list));
    for (size_t k = 0; k < c->acc.nout; k++) {
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(list, o));
        PTQ_TRY(ptq_json_set(o, "name", ptq_json_name(c->ref->graph->outputs.v[k]->name)));
        const ptq_output_distance *d = &c->acc.out[k];
        if (d->dtype == PTQ_DT_F32) {
            PTQ_TRY(ptq_distance_json(&d->d, o));
            continue;
        }
        PTQ_TRY(ptq_json_set(o, "type", json_string(ptq_dtype_name(d->dtype))));
        PTQ_TRY(ptq_json_set(o, "equal_percent", ptq_json_real(100.0 * (double)d->equal / (double)d->n)));
    }
    return PTQ_OK;
}

/* Second minus first, in points, with the paired 95 % interval. */
static ptq_status paired_json(const ptq_accuracy *a, json_t *root)
{
    double diff, half;
    ptq_paired_interval(a->gained, a->lost, a->n, &diff, &half);
    json_t *o = json_object();
    PTQ_TRY(ptq_json_set(root, "top1_change", o));
    PTQ_TRY(ptq_json_set(o, "points", ptq_json_real(100.0 * diff)));
    PTQ_TRY(ptq_json_set(o, "ci95_low", ptq_json_real(100.0 * (diff - half))));
    PTQ_TRY(ptq_json_set(o, "ci95_high", ptq_json_real(100.0 * (diff + half))));
    PTQ_TRY(ptq_json_set(o, "lost", json_integer((json_int_t)a->lost)));
    PTQ_TRY(ptq_json_set(o, "gained", json_integer((json_int_t)a->gained)));
    double mean = a->diff / a->seqs;
    double var = a->diff2 / a->seqs - mean * mean;
    half = 1.959963984540054 * sqrt(var > 0.0 ? var / a->seqs : 0.0);
    o = json_object();
    PTQ_TRY(ptq_json_set(root, "nats_change", o));
    PTQ_TRY(ptq_json_set(o, "nats", ptq_json_real(mean)));
    PTQ_TRY(ptq_json_set(o, "ci95_low", ptq_json_real(mean - half)));
    return ptq_json_set(o, "ci95_high", ptq_json_real(mean + half));
}

static ptq_status accuracy_json(const compare *c, json_t *root)
{
    const ptq_accuracy *a = &c->acc;
    if (a->n > 0.0) {
        double lo, hi;
        ptq_wilson(a->agree, a->n, &lo, &hi);
        json_t *o = json_object();
        PTQ_TRY(ptq_json_set(root, "agreement", o));
        PTQ_TRY(ptq_json_set(o, "percent", ptq_json_real(100.0 * a->agree / a->n)));
        PTQ_TRY(ptq_json_set(o, "ci95_low", ptq_json_real(100.0 * lo)));
        PTQ_TRY(ptq_json_set(o, "ci95_high", ptq_json_real(100.0 * hi)));
    }
    if (!a->labelled || a->n == 0.0)
        return PTQ_OK;
    json_t *r = json_object(), *q = json_object();
    PTQ_TRY(ptq_json_set(root, "reference_accuracy", r));
    PTQ_TRY(ptq_json_set(root, "candidate_accuracy", q));
    PTQ_TRY(ptq_accuracy_json(a, 0, r));
    PTQ_TRY(ptq_accuracy_json(a, 1, q));
    return paired_json(a, root);
}

static ptq_status size_json(const compare *c, json_t *root)
{
    size_t a, b;
    PTQ_TRY(ptq_model_bytes(c->ref, &a));
    PTQ_TRY(ptq_model_bytes(c->cand, &b));
    json_t *o = json_object();
    PTQ_TRY(ptq_json_set(root, "bytes", o));
    PTQ_TRY(ptq_json_set(o, "reference", json_integer((json_int_t)a)));
    PTQ_TRY(ptq_json_set(o, "candidate", json_integer((json_int_t)b)));
    return ptq_json_set(o, "ratio", ptq_json_real((double)a / (double)b));
}

static size_t constant_bytes(const ptq_graph *g)
{
    size_t sum = 0;
    for (size_t i = 0; i < g->values.n; i++)
        if (g->values.v[i] && g->values.v[i]->constant)
            sum += g->values.v[i]->constant->nbytes;
    return sum;
}

static ptq_status latency_json(const compare *c, json_t *root)
{
    double seconds = c->opt->latency_seconds, a, b;
    char machine[256];
    if (seconds < 0.0 || ptq_team_rank(c->opt->loop.team) > 0) /* others running would show in it: rank 0 alone */
        return PTQ_OK;
    if (constant_bytes(c->ref->graph) > (size_t)1 << 30) {
        ptq_log(PTQ_LOG_WARN, "the latency is not measured: for that, more than 1 GiB of weights would have to be held in "
                "memory a second time; quantize bench does it");
        return PTQ_OK;
    }
    ptq_loop_options exact = c->opt->loop;
    exact.fast_math = false;
    exact.precision = NULL;
    seconds = seconds > 0.0 ? seconds : 1.0;
    PTQ_TRY(ptq_latency(c->ref, c->samples, &exact, seconds, &a));
    PTQ_TRY(ptq_latency(c->cand, c->samples, &c->opt->loop, seconds, &b));
    PTQ_TRY(ptq_loop_machine(&c->opt->loop, machine, sizeof machine));
    json_t *o = json_object();
    PTQ_TRY(ptq_json_set(root, "latency_ms", o));
    PTQ_TRY(ptq_json_set(o, "machine", ptq_json_name(machine)));
    PTQ_TRY(ptq_json_set(o, "reference", ptq_json_real(1e3 * a)));
    PTQ_TRY(ptq_json_set(o, "candidate", ptq_json_real(1e3 * b)));
    return ptq_json_set(o, "speedup", ptq_json_real(a / b));
}

static ptq_status layer_json(const ptq_layer_distance *l, json_t *list)
{
    json_t *o = json_object(), *e = json_object();
    PTQ_TRY(ptq_json_push(list, o));
    PTQ_TRY(ptq_json_set(o, "tensor", ptq_json_name(l->name)));
    PTQ_TRY(ptq_json_set(o, "node", ptq_json_name(l->node)));
    PTQ_TRY(ptq_json_set(o, "entire", e));
    PTQ_TRY(ptq_distance_json(&l->entire, e));
    if (l->single.n == 0)
        return PTQ_OK;
    e = json_object();
    PTQ_TRY(ptq_json_set(o, "single", e));
    return ptq_distance_json(&l->single, e);
}

static ptq_status layers_json(const compare *c, json_t *root)
{
    ptq_layer_distance *layers;
    size_t n, samples = c->opt->tensor_samples ? c->opt->tensor_samples : 32;
    if (!c->opt->layers)
        return PTQ_OK;
    PTQ_TRY(ptq_layer_distances(c->ref, c->cand, c->samples, &c->opt->loop, samples, &layers, &n));
    json_t *list = json_array();
    ptq_status s = ptq_json_set(root, "layers", list);
    for (size_t i = 0; i < n && s == PTQ_OK; i++)
        if (layers[i].entire.n)
            s = layer_json(&layers[i], list);
    free(layers);
    return s;
}

static ptq_status fill(const compare *c, json_t *root)
{
    PTQ_TRY(ptq_json_set(root, "reference", ptq_json_name(c->ref->path)));
    PTQ_TRY(ptq_json_set(root, "candidate", ptq_json_name(c->cand->path)));
    PTQ_TRY(ptq_json_set(root, "reference_quantized", json_boolean(ptq_graph_is_quantized(c->ref->graph))));
    PTQ_TRY(ptq_json_set(root, "candidate_quantized", json_boolean(ptq_graph_is_quantized(c->cand->graph))));
    PTQ_TRY(ptq_json_set(root, "samples", json_integer((json_int_t)c->acc.samples)));
    PTQ_TRY(size_json(c, root));
    PTQ_TRY(outputs_json(c, root));
    PTQ_TRY(accuracy_json(c, root));
    PTQ_TRY(layers_json(c, root));
    return latency_json(c, root);
}

static bool may_be_equal(const ptq_value *a, const ptq_value *b)
{
    if (a->dtype != b->dtype && a->dtype != PTQ_DT_UNDEFINED && b->dtype != PTQ_DT_UNDEFINED)
        return false;
    if (a->shape.rank < 0 || b->shape.rank < 0)
        return true;
    for (int i = 0; i < a->shape.rank && i < b->shape.rank; i++) {
        ptq_dim x = a->shape.dims[i], y = b->shape.dims[i];
        if (ptq_dim_known(x) && ptq_dim_known(y) && x.add != y.add)
            return false;
    }
    return a->shape.rank == b->shape.rank;
}

/* Both models get the same samples. */
static ptq_status check_inputs(const ptq_model *ref, const ptq_model *cand)
{
    const ptq_graph *a = ref->graph, *b = cand->graph;
    char x[256], y[256];
    if (a->inputs.n != b->inputs.n)
        return ptq_fail(PTQ_ERR_MODEL, "the reference %s has %zu inputs and the candidate %s has %zu", ref->path,
                        a->inputs.n, cand->path, b->inputs.n);
    for (size_t i = 0; i < a->inputs.n; i++) {
        const ptq_value *v = a->inputs.v[i], *w = b->inputs.v[i];
        if (!may_be_equal(v, w))
            return ptq_fail(PTQ_ERR_MODEL, "input '%s' is %s %s in the reference %s and %s %s in the candidate %s: both "
                            "models must take the same samples", v->name, ptq_dtype_name(v->dtype),
                            ptq_shape_print(&v->shape, a->syms, x, sizeof x), ref->path, ptq_dtype_name(w->dtype),
                            ptq_shape_print(&w->shape, b->syms, y, sizeof y), cand->path);
    }
    return PTQ_OK;
}

static ptq_status check_same(const ptq_graph *a, const ptq_graph *b)
{
    for (size_t i = 0; i < a->outputs.n && i < b->outputs.n; i++)
        if (strcmp(a->outputs.v[i]->name, b->outputs.v[i]->name) != 0)
            return ptq_fail(PTQ_ERR_MODEL, "output %zu is '%s' in the reference and '%s' in the candidate", i,
                            a->outputs.v[i]->name, b->outputs.v[i]->name);
    for (size_t i = 0; i < a->inputs.n && i < b->inputs.n; i++)
        if (strcmp(a->inputs.v[i]->name, b->inputs.v[i]->name) != 0)
            return ptq_fail(PTQ_ERR_MODEL, "input %zu is '%s' in the reference and '%s' in the candidate", i,
                            a->inputs.v[i]->name, b->inputs.v[i]->name);
    return PTQ_OK;
}

ptq_status ptq_compare(const ptq_model *ref, const ptq_model *cand, const ptq_samples *samples,
                       const ptq_compare_options *opt, ptq_report **out)
{
    static const ptq_compare_options dflt = PTQ_COMPARE_OPTIONS_INIT;
    compare c = {.acc = {.nmodels = 2}, .ref = ref, .cand = cand, .samples = samples, .opt = opt ? opt : &dflt};
    PTQ_NEEDS(ref);
    PTQ_NEEDS(cand);
    PTQ_NEEDS(out);
    PTQ_OPTIONS(opt);
    PTQ_TRY(ptq_check_loop(samples, &c.opt->loop));
    PTQ_TRY(check_same(ref->graph, cand->graph));
    PTQ_TRY(check_inputs(ref, cand));
    ptq_part parts[PTQ_LOOP_PARTS];
    size_t nparts;
    PTQ_TRY(ptq_accuracy_parts(&c.acc, ref->graph->outputs.n, parts, &nparts));
    ptq_loop_spec spec = {.models = {ref, cand}, .nmodels = 2, .samples = samples, .opt = &c.opt->loop,
                          .what = "comparing", .fn = add, .ctx = &c, .parts = parts, .nparts = nparts};
    ptq_report *r = NULL;
    ptq_status s = ptq_loop_run(&spec);
    if (s == PTQ_OK)
        s = ptq_report_new("compare", &r);
    if (s == PTQ_OK)
        s = fill(&c, r->root);
    ptq_accuracy_clear(&c.acc);
    if (s != PTQ_OK) {
        ptq_report_free(r);
        return s;
    }
    *out = r;
    return PTQ_OK;
}
