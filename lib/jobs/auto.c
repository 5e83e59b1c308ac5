/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/jobs/judge.h"
#include "lib/jobs/rank.h"

/* Three questions, each answered by running the quantized model on kept samples:
 *   1. Which method serves the model best?
 *   2. Which tensors are served better by another one?
 *   3. Which layers lose so much in int8 that they stay in float?
 * The numbers of trials are bounded by counts, never by time, so that the same input gives the
 * same answer on every machine. */
enum {
    JUDGE_SAMPLES = 64,  /* for the first question and for every acceptance */
    TRIAL_SAMPLES = 16,  /* for ranking */
    TENSOR_TRIALS = 24,  /* tensors looked at for the second question */
    RANK_NODES = 1 << 20, /* nodes in all trials of the third question together, */
    RANK_LEAST = 64       /* but at least so many trials */
};
static const double KEEP_GAIN = 0.01;   /* a tensor's change must lower the noise by this share */
static const double FLOAT_GAIN = 0.02;  /* a layer in float must lower the noise by this share */
static const double GOOD_DB = 26.0;     /* output SQNR from which no layer is left in float */

typedef struct state {
    const ptq_model *m;
    const ptq_statistics *stats;
    const ptq_qspec *spec;
    const ptq_quant_options *opt;
    ptq_judge *judge;
    ptq_solved *solved;
    const ptq_range_algo *method;
    const ptq_range_algo **per_tensor;
    bool *float_nodes;
    double nsr;       /* of the best decision so far, all samples */
    double min_macs;
    size_t trial, ntrials; /* for progress */
} state;

static ptq_status progress(state *s)
{
    const ptq_loop_options *o = &s->opt->loop;
    if (o->progress && !o->progress(o->ctx, "choosing", s->trial, s->ntrials > s->trial ? s->ntrials : s->trial + 1))
        return ptq_fail(PTQ_ERR_INTERRUPTED, "interrupted while choosing ranges");
    s->trial++;
    return PTQ_OK;
}

/* With the layers left in float so far. per_tensor may be NULL. */
static ptq_status decide(state *s, const ptq_range_algo *method, const ptq_range_algo *const *per_tensor,
                         ptq_decision *out)
{
    ptq_choice c = {.method = method, .per_tensor = per_tensor, .float_nodes = s->float_nodes, .solved = s->solved};
    return ptq_decide(s->m->graph, s->stats, s->spec, &c, out);
}

static ptq_status score(state *s, const ptq_range_algo *method, size_t n, double *nsr)
{
    ptq_decision d;
    PTQ_TRY(progress(s));
    PTQ_TRY(decide(s, method, s->per_tensor, &d));
    ptq_status st = ptq_judge_score(s->judge, &d, s->spec, n, nsr);
    ptq_decision_clear(&d);
    return st;
}

/* ---- 1: the method ---- */

static ptq_status choose_method(state *s, json_t *root)
{
    size_t n;
    const ptq_range_algo *const *algos = ptq_range_algos(&n);
    json_t *list = json_array();
    PTQ_TRY(ptq_json_set(root, "methods", list));
    for (size_t i = 0; i < n; i++) {
        double nsr;
        PTQ_TRY(score(s, algos[i], 0, &nsr));
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(list, o));
        PTQ_TRY(ptq_json_set(o, "method", json_string(algos[i]->name)));
        PTQ_TRY(ptq_json_set(o, "sqnr_db", ptq_json_real(ptq_judge_db(nsr))));
        if (!s->method || nsr < s->nsr) {
            s->method = algos[i];
            s->nsr = nsr;
        }
    }
    return ptq_json_set(root, "method", json_string(s->method->name));
}

/* ---- 2: tensors ---- */

typedef struct alternative {
    int value;              /* id */
    const ptq_range_algo *algo;
    double step;            /* how much the scale would change: |log(new / old)| */
} alternative;

static int by_step(const void *a, const void *b)
{
    const alternative *x = a, *y = b;
    if (x->step != y->step)
        return x->step < y->step ? 1 : -1;
    return (x->value > y->value) - (x->value < y->value);
}

/* For each tensor the method that changes its scale most, as far as it changes it by 5 %. */
static ptq_status list_alternatives(state *s, alternative **out, size_t *count)
{
    size_t n;
    const ptq_range_algo *const *algos = ptq_range_algos(&n);
    ptq_decision base;
    PTQ_TRY(decide(s, s->method, NULL, &base));
    int nt = base.place->ntensors;
    alternative *list = ptq_calloc((size_t)nt * n, sizeof *list);
    ptq_status st = list ? PTQ_OK : ptq_fail_nomem();
    *count = 0;
    for (size_t a = 0; a < n && st == PTQ_OK; a++) {
        ptq_decision d;
        if (algos[a] == s->method)
            continue;
        st = decide(s, algos[a], NULL, &d);
        for (int i = 0; i < nt && st == PTQ_OK; i++) {
            double step = fabs(log((double)d.params[i].scale / (double)base.params[i].scale));
            if (base.place->tensors[i].root == i && !base.place->tensors[i].fixed && step > 0.05)
                list[(*count)++] = (alternative){base.place->tensors[i].value->id, algos[a], step};
        }
        if (st == PTQ_OK)
            ptq_decision_clear(&d);
    }
    ptq_decision_clear(&base);
    if (st != PTQ_OK) {
        free(list);
        return st;
    }
    qsort(list, *count, sizeof *list, by_step);
    *out = list;
    return PTQ_OK;
}

static ptq_status try_tensors(state *s, const alternative *list, size_t count, double *trial_nsr, json_t *out)
{
    int tried = 0;
    for (size_t i = 0; i < count && tried < TENSOR_TRIALS; i++) {
        const ptq_range_algo **slot = &s->per_tensor[list[i].value], *old = *slot;
        double nsr, full;
        if (old)
            continue; /* this tensor has its change already */
        tried++;
        *slot = list[i].algo;
        PTQ_TRY(score(s, s->method, TRIAL_SAMPLES, &nsr));
        bool keep = nsr < *trial_nsr * (1.0 - KEEP_GAIN);
        if (keep) { /* again on all samples, so that a few do not decide */
            PTQ_TRY(score(s, s->method, 0, &full));
            keep = full < s->nsr * (1.0 - KEEP_GAIN);
        }
        if (!keep) {
            *slot = old;
            continue;
        }
        *trial_nsr = nsr;
        s->nsr = full;
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(out, o));
        PTQ_TRY(ptq_json_set(o, "tensor", ptq_json_name(s->m->graph->values.v[list[i].value]->name)));
        PTQ_TRY(ptq_json_set(o, "method", json_string(list[i].algo->name)));
        PTQ_TRY(ptq_json_set(o, "sqnr_db", ptq_json_real(ptq_judge_db(full))));
    }
    return PTQ_OK;
}

static ptq_status choose_tensors(state *s, json_t *root)
{
    alternative *list;
    size_t count;
    double trial_nsr;
    json_t *out = json_array();
    PTQ_TRY(ptq_json_set(root, "tensors", out));
    PTQ_TRY(score(s, s->method, TRIAL_SAMPLES, &trial_nsr));
    PTQ_TRY(list_alternatives(s, &list, &count));
    ptq_status st = try_tensors(s, list, count, &trial_nsr, out);
    free(list);
    return st;
}

/* ---- 3: layers in float ---- */

typedef struct layer {
    const ptq_node *node;
    double gain; /* share of the noise that goes when it runs in float */
    double macs;
} layer;

typedef struct layers {
    state *s;
    layer *list;
    size_t n;
    double base, total_macs;
} layers;

/* What these layers gain in float. */
static ptq_status gain_of(void *ctx, size_t first, size_t n, double *gain)
{
    layers *l = ctx;
    double nsr;
    for (size_t i = first; i < first + n; i++)
        l->s->float_nodes[l->list[i].node->id] = true;
    ptq_status st = score(l->s, l->s->method, TRIAL_SAMPLES, &nsr);
    for (size_t i = first; i < first + n; i++)
        l->s->float_nodes[l->list[i].node->id] = false;
    *gain = st == PTQ_OK ? (l->base - nsr) / l->base : 0.0;
    return st;
}

static int by_id(const void *a, const void *b)
{
    return ((const layer *)a)->node->id - ((const layer *)b)->node->id;
}

/* Movers and absorbed activations follow their neighbours. */
static void list_layers(layers *l, const ptq_placement *p)
{
    PTQ_GRAPH_EACH_NODE (l->s->m->graph, n) {
        ptq_role role = p->nodes[n->id].role;
        double macs = ptq_node_macs(n);
        l->total_macs += macs;
        if (p->nodes[n->id].quantized && role != PTQ_ROLE_MOVER && role != PTQ_ROLE_ACT)
            l->list[l->n++] = (layer){.node = n, .macs = macs};
    }
    qsort(l->list, l->n, sizeof *l->list, by_id);
}

/* The layers that gain something become the list, the best first. */
static ptq_status rank_list(layers *l)
{
    size_t n, trials = RANK_NODES / ((size_t)l->s->m->graph->nnodes + 1);
    ptq_ranked *r = ptq_calloc(l->n, sizeof *r);
    layer *best = ptq_calloc(l->n, sizeof *best);
    ptq_status st = r && best ? PTQ_OK : ptq_fail_nomem();
    if (st == PTQ_OK)
        st = ptq_rank(l->n, trials > RANK_LEAST ? trials : RANK_LEAST, gain_of, l, r, &n);
    for (size_t i = 0; st == PTQ_OK && i < n; i++) {
        best[i] = l->list[r[i].item];
        best[i].gain = r[i].gain;
    }
    free(r);
    if (st != PTQ_OK) {
        free(best);
        return st;
    }
    free(l->list);
    l->list = best;
    l->n = n;
    return PTQ_OK;
}

static ptq_status rank_layers(layers *l)
{
    ptq_decision d;
    PTQ_TRY(score(l->s, l->s->method, TRIAL_SAMPLES, &l->base));
    PTQ_TRY(decide(l->s, l->s->method, l->s->per_tensor, &d));
    l->list = ptq_calloc((size_t)d.place->nnodes, sizeof *l->list);
    if (l->list)
        list_layers(l, d.place);
    ptq_decision_clear(&d);
    return l->list ? rank_list(l) : ptq_fail_nomem();
}

static ptq_status leave_layers(state *s, const layer *list, size_t count, double total_macs, json_t *out)
{
    double float_macs = 0.0;
    for (size_t i = 0; i < count && ptq_judge_db(s->nsr) < GOOD_DB; i++) {
        double nsr;
        if (list[i].gain < FLOAT_GAIN)
            break;
        if (float_macs + list[i].macs > (1.0 - s->min_macs) * total_macs)
            continue;
        s->float_nodes[list[i].node->id] = true;
        PTQ_TRY(score(s, s->method, 0, &nsr));
        if (nsr > s->nsr * (1.0 - 0.5 * FLOAT_GAIN)) {
            s->float_nodes[list[i].node->id] = false;
            continue;
        }
        s->nsr = nsr;
        float_macs += list[i].macs;
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(out, o));
        PTQ_TRY(ptq_json_set(o, "node", ptq_json_name(list[i].node->name)));
        PTQ_TRY(ptq_json_set(o, "op", ptq_json_name(list[i].node->op)));
        PTQ_TRY(ptq_json_set(o, "noise_removed_percent", ptq_json_real(100.0 * list[i].gain)));
        PTQ_TRY(ptq_json_set(o, "macs_percent", ptq_json_real(total_macs > 0.0 ? 100.0 * list[i].macs / total_macs : 0.0)));
        PTQ_TRY(ptq_json_set(o, "sqnr_db", ptq_json_real(ptq_judge_db(nsr))));
    }
    return PTQ_OK;
}

static ptq_status choose_layers(state *s, json_t *root)
{
    json_t *out = json_array();
    layers l = {.s = s};
    PTQ_TRY(ptq_json_set(root, "float_layers", out));
    if (ptq_judge_db(s->nsr) >= GOOD_DB)
        return PTQ_OK;
    ptq_status st = rank_layers(&l);
    if (st == PTQ_OK)
        st = leave_layers(s, l.list, l.n, l.total_macs, out);
    free(l.list);
    return st;
}

static ptq_status run(state *s, json_t *root)
{
    json_t *o = json_object();
    PTQ_TRY(ptq_json_set(root, "auto", o));
    PTQ_TRY(ptq_json_set(o, "samples", json_integer((json_int_t)ptq_judge_samples(s->judge))));
    if (ptq_judge_nonfinite(s->judge))
        PTQ_TRY(ptq_json_set(o, "nonfinite", json_integer((json_int_t)ptq_judge_nonfinite(s->judge))));
    PTQ_TRY(choose_method(s, o));
    PTQ_TRY(choose_layers(s, o));
    PTQ_TRY(choose_tensors(s, o));
    PTQ_TRY(ptq_json_set(o, "sqnr_db", ptq_json_real(ptq_judge_db(s->nsr))));
    for (size_t i = 0; i < s->m->graph->values.n; i++)
        if (!s->per_tensor[i])
            s->per_tensor[i] = s->method;
    return PTQ_OK;
}

ptq_status ptq_auto(const ptq_model *m, const ptq_statistics *stats, const ptq_samples *samples,
                    const ptq_qspec *spec, const ptq_quant_options *opt, const ptq_range_algo **per_tensor,
                    bool *float_nodes, json_t *root)
{
    state s = {.m = m, .stats = stats, .spec = spec, .opt = opt, .per_tensor = per_tensor, .float_nodes = float_nodes,
               .min_macs = opt->min_int8_macs > 0.0 ? opt->min_int8_macs : 0.8};
    size_t nalgos;
    ptq_range_algos(&nalgos);
    s.ntrials = nalgos + TENSOR_TRIALS + 4;
    PTQ_TRY(ptq_solved_new(m->graph->values.n, &s.solved));
    ptq_status st = ptq_judge_new(m, samples, &opt->loop, JUDGE_SAMPLES, &s.judge);
    if (st == PTQ_OK)
        st = run(&s, root);
    ptq_judge_free(s.judge);
    ptq_solved_free(s.solved);
    return st;
}
