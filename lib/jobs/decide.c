/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/graph/ops.h"
#include "lib/jobs/quantize.h"
#include "lib/quant/log2.h"

typedef struct decide {
    const ptq_graph *g;
    const ptq_statistics *stats;
    const ptq_qspec *spec;
    const ptq_choice *choice;
} decide;

struct ptq_solved {
    size_t nvalues;
    ptq_act_params *params; /* [methods][nvalues]; method is NULL where nothing was solved */
};

ptq_status ptq_solved_new(size_t nvalues, ptq_solved **out)
{
    size_t n;
    ptq_range_algos(&n);
    ptq_solved *s = ptq_calloc(1, sizeof *s);
    if (s)
        s->params = ptq_calloc(n * nvalues, sizeof *s->params);
    if (!s || !s->params) {
        free(s);
        return ptq_fail_nomem();
    }
    s->nvalues = nvalues;
    *out = s;
    return PTQ_OK;
}

void ptq_solved_free(ptq_solved *s)
{
    if (s)
        free(s->params);
    free(s);
}

/* Where the parameters of a tensor by a method are kept; NULL: nowhere. */
static ptq_act_params *kept(const ptq_solved *s, const ptq_range_algo *algo, int id)
{
    size_t n;
    const ptq_range_algo *const *rows = ptq_range_algos(&n);
    for (size_t i = 0; s && i < n; i++)
        if (rows[i] == algo)
            return &s->params[i * s->nvalues + (size_t)id];
    return NULL;
}

static ptq_status from_range(const ptq_grid *grid, double lo, double hi, const char *method, ptq_act_params *q)
{
    *q = (ptq_act_params){.dtype = grid->dtype, .lo = lo, .hi = hi, .method = method};
    ptq_grid_scale(grid, (float)lo, (float)hi, &q->scale, &q->zp);
    return PTQ_OK;
}

/* What the overrides say about a tensor; *done when that settles it. */
static ptq_status apply_override(const decide *d, const char *name, json_t *o, const ptq_range_algo **algo,
                                 ptq_act_params *q, bool *done)
{
    json_t *lo = json_object_get(o, "low"), *hi = json_object_get(o, "high");
    const char *method = json_string_value(json_object_get(o, "method"));
    *done = false;
    if (lo || hi) {
        double a = json_number_value(lo), b = json_number_value(hi);
        if (!json_is_number(lo) || !json_is_number(hi) || !(a <= b) || !isfinite((float)a) || !isfinite((float)b))
            return ptq_fail(PTQ_ERR_ARG, "overrides: tensor '%s' needs numbers low <= high, both of them floats", name);
        *done = true;
        return from_range(&d->spec->grid, a < 0.0 ? a : 0.0, b > 0.0 ? b : 0.0, "override", q);
    }
    if (method)
        PTQ_TRY(ptq_range_find(method, algo));
    return PTQ_OK;
}

static ptq_status solve_by(const decide *d, const ptq_tensor_place *t, const ptq_range_algo *algo, ptq_act_params *q)
{
    const char *name = t->observed->name;
    float lo = 0.0f, hi = 0.0f;
    const ptq_tensor_stats *st = ptq_statistics_find(d->stats, name);
    if (!st)
        return ptq_fail(PTQ_ERR_DATA, "the statistics hold nothing about tensor '%s'; calibrate this model again",
                        name);
    ptq_status s = ptq_range_solve(algo, st, &d->spec->range, &d->spec->grid, &lo, &hi);
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "tensor '%s'", name);
    PTQ_TRY(from_range(&d->spec->grid, (double)lo, (double)hi, algo->name, q));
    if (d->spec->act_log2)
        return ptq_log2_act_scale(st, q->dtype, q->zp, &q->scale, NULL);
    return PTQ_OK;
}

static ptq_status solve_tensor(const decide *d, const ptq_tensor_place *t, ptq_act_params *q)
{
    const char *name = t->value->name;
    const ptq_choice *c = d->choice;
    const ptq_range_algo *algo = c->method;
    json_t *o = json_object_get(json_object_get(d->spec->overrides, "tensors"), name);
    bool done = false;
    if (c->per_tensor && c->per_tensor[t->value->id])
        algo = c->per_tensor[t->value->id];
    if (o) {
        PTQ_TRY(apply_override(d, name, o, &algo, q, &done));
        if (done)
            return PTQ_OK;
    }
    if (t->fixed && !o)
        return from_range(&d->spec->grid, t->fixed_lo, t->fixed_hi, "fixed", q);
    ptq_act_params *old = kept(c->solved, algo, t->value->id);
    if (!old || !old->method) {
        PTQ_TRY(solve_by(d, t, algo, q));
        if (old)
            *old = *q;
        return PTQ_OK;
    }
    *q = *old;
    return PTQ_OK;
}

static ptq_status check_override(const char *name, json_t *o)
{
    static const char *const keys[] = {"low", "high", "method", "comment"};
    const char *key;
    json_t *v;
    size_t i;
    if (!json_is_object(o))
        return ptq_fail(PTQ_ERR_ARG, "overrides: tensor '%s' is not an object", name);
    json_object_foreach (o, key, v) {
        PTQ_TRY(ptq_find_name("setting", key, keys, PTQ_COUNT(keys), &i) == PTQ_OK
                    ? PTQ_OK
                    : ptq_fail_prefix(PTQ_ERR_ARG, "overrides: tensor '%s'", name));
        if (i >= 2 && !json_is_string(v))
            return ptq_fail(PTQ_ERR_ARG, "overrides: tensor '%s': %s is not a string", name, key);
    }
    return PTQ_OK;
}

static ptq_status no_tensor(const ptq_placement *p, const char *name)
{
    const char *names[4096];
    size_t n = 0;
    for (int i = 0; i < p->ntensors && n < PTQ_COUNT(names); i++)
        names[n++] = p->tensors[i].value->name;
    return ptq_fail_unknown(name, names, n, "overrides: no tensor '%s'", name);
}

ptq_status ptq_check_overrides(const ptq_qspec *spec, const ptq_placement *p)
{
    const char *key;
    json_t *o;
    json_object_foreach (json_object_get(spec->overrides, "tensors"), key, o) {
        PTQ_TRY(check_override(key, o));
        const ptq_value *v = ptq_graph_find(p->graph, key);
        if (!v)
            return no_tensor(p, key);
        if (p->tensor_of[v->id] < 0)
            ptq_log(PTQ_LOG_WARN, "overrides: tensor '%s' is not quantized here, so its entry does nothing", key);
    }
    return PTQ_OK;
}

ptq_status ptq_decide(const ptq_graph *g, const ptq_statistics *stats, const ptq_qspec *spec,
                      const ptq_choice *choice, ptq_decision *out)
{
    decide d = {.g = g, .stats = stats, .spec = spec, .choice = choice};
    ptq_scope scope = spec->scope;
    ptq_decision r = {0};
    scope.float_nodes = choice->float_nodes;
    PTQ_TRY(ptq_place(g, spec->target, &scope, &r.place));
    r.params = ptq_calloc((size_t)r.place->ntensors, sizeof *r.params);
    ptq_status s = r.params ? PTQ_OK : ptq_fail_nomem();
    for (int i = 0; i < r.place->ntensors && s == PTQ_OK; i++)
        if (r.place->tensors[i].root == i)
            s = solve_tensor(&d, &r.place->tensors[i], &r.params[i]);
    for (int i = 0; i < r.place->ntensors && s == PTQ_OK; i++)
        r.params[i] = r.params[r.place->tensors[i].root];
    if (s != PTQ_OK) {
        ptq_decision_clear(&r);
        return s;
    }
    *out = r;
    return PTQ_OK;
}

void ptq_decision_clear(ptq_decision *d)
{
    ptq_placement_free(d->place);
    free(d->params);
    *d = (ptq_decision){0};
}

/* A product of a model that is quantized already. */
static bool multiplies_codes(const ptq_node *n)
{
    bool codes = n->nin >= 2;
    for (int i = 0; i < 2 && codes; i++) {
        const ptq_node *d = n->in[i] ? n->in[i]->producer : NULL;
        codes = d && strcmp(d->op, "DequantizeLinear") == 0 && ptq_dtype_bits(d->in[0]->dtype) == 8;
    }
    return codes || n->op[0] == 'Q'; /* QLinearConv */
}

double ptq_int8_mac_share(const ptq_placement *p, bool planned, bool float_weights)
{
    double all = 0.0, int8 = 0.0;
    PTQ_GRAPH_EACH_NODE (p->graph, n) {
        double macs = ptq_node_macs(n);
        all += macs;
        const ptq_node_place *np = &p->nodes[n->id];
        bool float_product = float_weights && np->role == PTQ_ROLE_WEIGHTED;
        if ((planned && np->quantized && !float_product) || multiplies_codes(n))
            int8 += macs;
    }
    return all > 0.0 ? int8 / all : 1.0;
}

static ptq_status rewrite(ptq_graph *g, const ptq_decision *d, const ptq_qspec *spec, ptq_weight_cache *cache,
                          ptq_rewrite_report *report)
{
    ptq_rewrite_options o = spec->rewrite;
    o.cache = cache;
    PTQ_TRY(ptq_rewrite_qdq(g, d->place, d->params, &o, report));
    if (spec->qoperator)
        PTQ_TRY(ptq_rewrite_qoperator(g));
    /* Constants and values that nobody reads any more stay out of the file. */
    for (size_t i = 0; i < g->values.n; i++) {
        ptq_value *v = g->values.v[i];
        if (v && v->constant && v->uses.n == 0 && !v->is_output)
            ptq_value_remove(g, v);
    }
    PTQ_TRY(ptq_graph_sort(g, &(bool){false}));
    return ptq_infer_graph(g);
}

ptq_status ptq_build(const ptq_model *m, const ptq_decision *d, const ptq_qspec *spec, ptq_weight_cache *cache,
                     ptq_model **out, ptq_rewrite_report *report)
{
    ptq_graph *g;
    PTQ_TRY(ptq_graph_clone(m->graph, &g));
    ptq_status s = rewrite(g, d, spec, cache, report);
    if (s != PTQ_OK) {
        ptq_graph_free(g);
        return s;
    }
    PTQ_TRY(ptq_model_wrap(g, out));
    (*out)->optimized = true;
    return PTQ_OK;
}
