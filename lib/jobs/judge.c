/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/exec/sturdy.h"
#include "lib/report/metrics.h"

enum { EVERY = 8 };

/* One joined run: inputs and the fp32 outputs to them. */
typedef struct kept_batch {
    ptq_tensor *inputs;
    float **outputs; /* [noutputs] */
    size_t n;
    uint64_t *nonfinite; /* [noutputs] values that fp32 itself has no number for */
} kept_batch;

struct ptq_judge {
    const ptq_model *m;
    const ptq_loop_options *opt;
    ptq_pool *pool;
    kept_batch *batches;
    size_t nbatches, nsamples;
    uint64_t values, nonfinite; /* of the fp32 outputs */
    ptq_weight_cache *codes; /* of weights, which no decision changes */
};

static ptq_status copy_outputs(ptq_judge *j, kept_batch *b, const ptq_tensor *out)
{
    size_t no = j->m->graph->outputs.n;
    b->outputs = ptq_calloc(no, sizeof *b->outputs);
    b->nonfinite = ptq_calloc(no, sizeof *b->nonfinite);
    if (!b->outputs || !b->nonfinite)
        return ptq_fail_nomem();
    for (size_t k = 0; k < no; k++) {
        if (out[k].dtype != PTQ_DT_F32)
            continue;
        b->outputs[k] = malloc(out[k].nbytes ? out[k].nbytes : 1);
        if (!b->outputs[k])
            return ptq_fail_nomem();
        memcpy(b->outputs[k], out[k].data, out[k].nbytes);
        for (int64_t i = 0, n = ptq_tensor_elements(&out[k]); i < n; i++, j->values++)
            b->nonfinite[k] += !isfinite(b->outputs[k][i]);
        j->nonfinite += b->nonfinite[k];
    }
    return PTQ_OK;
}

static bool is_output(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return v->is_output;
}

static ptq_status fill(ptq_judge *j, const ptq_samples *samples, size_t limit)
{
    const ptq_graph *g = j->m->graph;
    char why[256];
    size_t batch = ptq_batch_proven(g, is_output, NULL, why, sizeof why) ? EVERY : 1;
    size_t count = j->opt->samples && j->opt->samples < samples->count ? j->opt->samples : samples->count;
    size_t total = (count + EVERY - 1) / EVERY;
    if (total > limit)
        total = limit;
    ptq_session_options so = {.backend = j->opt->backend, 
                              .device = {.pool = j->pool, .isa = j->opt->isa, .pack_bytes = PTQ_SESSION_MODEST},
                              .lower = {.fuse = true, .fold_bytes = PTQ_SESSION_MODEST}};
    ptq_sturdy *session;
    ptq_sample_source source = ptq_source_of(samples);
    ptq_feed feed = {.source = &source, .graph = g, .pool = j->pool, .limit = total, .max_bad_share = 1.0};
    ptq_tensor *out = ptq_calloc(g->outputs.n, sizeof *out);
    j->batches = ptq_calloc(total, sizeof *j->batches);
    ptq_status s = out && j->batches ? ptq_sturdy_new(g, &so, &session) : ptq_fail_nomem();
    if (s != PTQ_OK) {
        free(out);
        return s;
    }
    for (size_t at = 0, used = 0; at < total && s == PTQ_OK; at += used) {
        size_t idx[EVERY], kept[EVERY], n = total - at < batch ? total - at : batch;
        kept_batch *b = &j->batches[j->nbatches];
        for (size_t i = 0; i < n; i++)
            idx[i] = (at + i) * EVERY;
        b->inputs = ptq_calloc(g->inputs.n, sizeof *b->inputs);
        s = b->inputs ? ptq_feed_batch(&feed, idx, n, b->inputs, kept, &b->n, &used) : ptq_fail_nomem();
        if (s == PTQ_OK && b->n == 0) {
            free(b->inputs);
            b->inputs = NULL;
            continue;
        }
        j->nbatches++; /* freed with the judge from here on */
        if (s == PTQ_OK)
            s = ptq_sturdy_run(session, b->inputs, g->inputs.n, out, g->outputs.n);
        if (s == PTQ_OK)
            s = copy_outputs(j, b, out);
        j->nsamples += b->n;
    }
    ptq_sturdy_free(session);
    free(out);
    if (s == PTQ_OK && j->nsamples == 0)
        s = ptq_fail(PTQ_ERR_DATA, "no sample could be read to judge methods on");
    if (s == PTQ_OK && j->values && j->nonfinite == j->values)
        s = ptq_fail(PTQ_ERR_MODEL, "method auto judges by the outputs, and in fp32 all of them are NaN or infinite on "
                     "these samples: check the model and the preprocessing, or use --method mse");
    return s;
}

ptq_status ptq_judge_new(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt,
                         size_t limit, ptq_judge **out)
{
    ptq_judge *j = calloc(1, sizeof *j);
    if (!j)
        return ptq_fail_nomem();
    j->m = m;
    j->opt = opt;
    ptq_status s = ptq_pool_new(opt->threads, &j->pool);
    if (s == PTQ_OK)
        s = ptq_weight_cache_new(m->graph->values.n, &j->codes);
    if (s == PTQ_OK)
        s = fill(j, samples, limit);
    if (s != PTQ_OK) {
        ptq_judge_free(j);
        return s;
    }
    *out = j;
    return PTQ_OK;
}

void ptq_judge_free(ptq_judge *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < j->nbatches; i++) {
        kept_batch *b = &j->batches[i];
        if (b->inputs)
            ptq_feed_release(j->m->graph, b->inputs);
        free(b->inputs);
        for (size_t k = 0; b->outputs && k < j->m->graph->outputs.n; k++)
            free(b->outputs[k]);
        free(b->outputs);
        free(b->nonfinite);
    }
    free(j->batches);
    ptq_weight_cache_free(j->codes);
    ptq_pool_free(j->pool);
    free(j);
}

uint64_t ptq_judge_nonfinite(const ptq_judge *j)
{
    return j->nonfinite;
}

size_t ptq_judge_samples(const ptq_judge *j)
{
    return j->nsamples;
}

double ptq_judge_db(double nsr)
{
    return nsr > 0.0 ? -10.0 * log10(nsr) : INFINITY;
}

static ptq_status run_all(const ptq_judge *j, ptq_sturdy *session, size_t limit, ptq_tensor *out, ptq_distance *dist)
{
    const ptq_graph *g = j->m->graph;
    size_t seen = 0;
    for (size_t i = 0; i < j->nbatches && seen < limit; i++) {
        kept_batch *b = &j->batches[i];
        PTQ_TRY(ptq_sturdy_run(session, b->inputs, g->inputs.n, out, g->outputs.n));
        for (size_t k = 0; k < g->outputs.n; k++)
            if (b->outputs[k]) {
                ptq_distance_add(&dist[k], b->outputs[k], out[k].data, (size_t)ptq_tensor_elements(&out[k]));
                dist[k].nonfinite -= b->nonfinite[k]; /* those that int8 alone has no number for are left */
            }
        seen += b->n;
    }
    return PTQ_OK;
}

/* Noise over signal, the mean of the outputs that have a signal. */
static double mean_nsr(const ptq_distance *dist, size_t n)
{
    double sum = 0.0, used = 0.0;
    for (size_t k = 0; k < n; k++)
        if (dist[k].signal > 0.0) {
            sum += dist[k].nonfinite ? 1e9 : dist[k].noise / dist[k].signal;
            used += 1.0;
        }
    return used > 0.0 ? sum / used : 0.0;
}

ptq_status ptq_judge_score(ptq_judge *j, const ptq_decision *d, const ptq_qspec *spec, size_t n, double *nsr)
{
    size_t no = j->m->graph->outputs.n;
    ptq_session_options so = {
        .backend = j->opt->backend,
        .device = {.pool = j->pool, .isa = j->opt->isa, .pack_bytes = PTQ_SESSION_MODEST},
        .lower = {.integer = true, .nhwc = true, .float_out = true, .fuse = true, .fold_bytes = PTQ_SESSION_MODEST},
    };
    ptq_model *q = NULL;
    ptq_sturdy *session = NULL;
    ptq_distance *dist = ptq_calloc(no, sizeof *dist);
    ptq_tensor *out = ptq_calloc(no, sizeof *out);
    ptq_status s = dist && out ? ptq_build(j->m, d, spec, j->codes, &q, NULL) : ptq_fail_nomem();
    if (s == PTQ_OK)
        s = ptq_sturdy_new(q->graph, &so, &session);
    if (s == PTQ_OK)
        s = run_all(j, session, n ? n : j->nsamples, out, dist);
    if (s == PTQ_OK)
        *nsr = mean_nsr(dist, no);
    ptq_sturdy_free(session);
    ptq_model_free(q);
    free(out);
    free(dist);
    return s;
}
