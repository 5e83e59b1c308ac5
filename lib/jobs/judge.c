/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/team.h"
#include "lib/exec/sturdy.h"
#include "lib/report/metrics.h"

enum { EVERY = 8 };

/* One joined run: inputs and the fp32 outputs to them. A team deals them out; whose they are not knows their
 * number of samples. */
typedef struct kept_batch {
    ptq_tensor *inputs; /* NULL: another process has it */
    float **outputs; /* [noutputs] */
    size_t n;
    uint64_t *nonfinite; /* [noutputs] values that fp32 itself has no number for */
    uint64_t all, bad;   /* values of all outputs, and those without a number */
} kept_batch;

struct ptq_judge {
    const ptq_model *m;
    const ptq_loop_options *opt;
    ptq_pool *pool;
    kept_batch *batches; /* by the number of its first sample */
    size_t nbatches, piece; /* of samples that one process has together */
    struct {
        uint64_t samples, values, nonfinite; /* the last two of the fp32 outputs */
    } sum;
    uint64_t *n; /* [nbatches] samples in each batch */
    ptq_weight_cache *codes; /* of weights, which no decision changes */
};

static ptq_status copy_outputs(const ptq_judge *j, kept_batch *b, const ptq_tensor *out)
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
        for (int64_t i = 0, n = ptq_tensor_elements(&out[k]); i < n; i++, b->all++)
            b->nonfinite[k] += !isfinite(b->outputs[k][i]);
        b->bad += b->nonfinite[k];
    }
    return PTQ_OK;
}

static bool is_output(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return v->is_output;
}

typedef struct filling {
    ptq_judge *j;
    ptq_sturdy *session;
    ptq_feed feed;
    ptq_tensor *out; /* [outputs] */
} filling;

/* Samples `at` ... of those that are kept, up to `end`, as one batch or less; their outputs. */
static ptq_status fill_batch(filling *f, size_t at, size_t end, size_t *used)
{
    ptq_judge *j = f->j;
    const ptq_graph *g = j->m->graph;
    kept_batch *b = &j->batches[at];
    size_t idx[EVERY], kept[EVERY];
    for (size_t i = at; i < end; i++)
        idx[i - at] = i * EVERY;
    b->inputs = ptq_calloc(g->inputs.n, sizeof *b->inputs);
    if (!b->inputs)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_feed_batch(&f->feed, idx, end - at, b->inputs, kept, &b->n, used));
    if (b->n == 0)
        return PTQ_OK;
    PTQ_TRY(ptq_sturdy_run(f->session, b->inputs, g->inputs.n, f->out, g->outputs.n));
    return copy_outputs(j, b, f->out);
}

static ptq_status fill_pieces(filling *f)
{
    ptq_judge *j = f->j;
    const ptq_part parts[] = {{&j->sum, sizeof j->sum}, {j->n, j->nbatches * sizeof *j->n}};
    const ptq_turns t = {j->opt->team, parts, PTQ_COUNT(parts), (j->nbatches + j->piece - 1) / j->piece};
    ptq_status s = PTQ_OK;
    for (size_t k = 0; k < t.count; k++) {
        if (!ptq_turn_is_mine(&t, k))
            continue;
        const size_t first = k * j->piece, end = first + j->piece < j->nbatches ? first + j->piece : j->nbatches;
        for (size_t at = first, used = 0; at < end && s == PTQ_OK; at += used)
            s = fill_batch(f, at, end, &used);
        ptq_status before = ptq_turn_take(&t, k);
        s = before != PTQ_OK ? before : s;
        for (size_t at = first; at < end; at++) {
            const kept_batch *b = &j->batches[at];
            j->n[at] = b->n;
            j->sum.samples += b->n;
            j->sum.values += b->all;
            j->sum.nonfinite += b->bad;
        }
        s = ptq_turn_give(&t, k, s);
    }
    return ptq_turns_end(&t, s);
}

static ptq_status prepare_filling(filling *f, const ptq_samples *samples, size_t limit)
{
    ptq_judge *j = f->j;
    const ptq_graph *g = j->m->graph;
    char why[256];
    size_t count = j->opt->samples && j->opt->samples < samples->count ? j->opt->samples : samples->count;
    size_t total = (count + EVERY - 1) / EVERY;
    j->nbatches = total < limit ? total : limit;
    j->piece = ptq_batch_proven(g, is_output, NULL, why, sizeof why) ? EVERY : 1;
    PTQ_TRY(ptq_pool_new(j->opt->threads, &j->pool));
    PTQ_TRY(ptq_weight_cache_new(g->values.n, &j->codes));
    j->batches = ptq_calloc(j->nbatches, sizeof *j->batches);
    j->n = ptq_calloc(j->nbatches, sizeof *j->n);
    f->out = ptq_calloc(g->outputs.n, sizeof *f->out);
    if (!j->batches || !j->n || !f->out)
        return ptq_fail_nomem();
    ptq_session_options so = {.backend = j->opt->backend,
                              .device = {.pool = j->pool, .isa = j->opt->isa, .pack_bytes = PTQ_SESSION_MODEST},
                              .lower = {.fuse = true, .fold_bytes = PTQ_SESSION_MODEST}};
    return ptq_sturdy_new(g, &so, &f->session);
}

static ptq_status fill(ptq_judge *j, const ptq_samples *samples, size_t limit)
{
    filling f = {.j = j};
    ptq_sample_source source = ptq_source_of(samples);
    ptq_status s = ptq_team_agree(j->opt->team, prepare_filling(&f, samples, limit));
    f.feed = (ptq_feed){.source = &source, .graph = j->m->graph, .pool = j->pool, .limit = j->nbatches,
                        .max_bad_share = 1.0};
    if (s == PTQ_OK)
        s = fill_pieces(&f);
    ptq_sturdy_free(f.session);
    free(f.out);
    if (s == PTQ_OK && j->sum.samples == 0)
        s = ptq_fail(PTQ_ERR_DATA, "no sample could be read to judge methods on");
    if (s == PTQ_OK && j->sum.values && j->sum.nonfinite == j->sum.values)
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
    ptq_status s = fill(j, samples, limit);
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
    for (size_t i = 0; j->batches && i < j->nbatches; i++) {
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
    free(j->n);
    ptq_weight_cache_free(j->codes);
    ptq_pool_free(j->pool);
    free(j);
}

uint64_t ptq_judge_nonfinite(const ptq_judge *j)
{
    return j->sum.nonfinite;
}

size_t ptq_judge_samples(const ptq_judge *j)
{
    return (size_t)j->sum.samples;
}

double ptq_judge_db(double nsr)
{
    return nsr > 0.0 ? -10.0 * log10(nsr) : INFINITY;
}

/* The outputs of one batch against fp32, added when the batches before are. */
static ptq_status judge_piece(const ptq_judge *j, const ptq_turns *t, size_t k, size_t nbatches, ptq_sturdy *session,
                              ptq_tensor *out, ptq_distance *dist, ptq_status s)
{
    const ptq_graph *g = j->m->graph;
    const size_t end = (k + 1) * j->piece < nbatches ? (k + 1) * j->piece : nbatches;
    bool taken = false;
    for (size_t i = k * j->piece; i < end || !taken; i++) {
        const kept_batch *b = i < end ? &j->batches[i] : NULL;
        const bool run = s == PTQ_OK && b && b->n > 0;
        if (run)
            s = ptq_sturdy_run(session, b->inputs, g->inputs.n, out, g->outputs.n);
        if (!taken && (run || i + 1 >= end)) {
            ptq_status before = ptq_turn_take(t, k);
            s = before != PTQ_OK ? before : s;
            taken = true;
        }
        for (size_t o = 0; run && s == PTQ_OK && o < g->outputs.n; o++)
            if (b->outputs[o]) {
                ptq_distance_add(&dist[o], b->outputs[o], out[o].data, (size_t)ptq_tensor_elements(&out[o]));
                dist[o].nonfinite -= b->nonfinite[o]; /* those that int8 alone has no number for are left */
            }
    }
    return ptq_turn_give(t, k, s);
}

/* Batches that hold the first `limit` samples; each is judged whole. */
static size_t count_batches(const ptq_judge *j, uint64_t limit)
{
    uint64_t seen = 0;
    size_t i = 0;
    while (i < j->nbatches && seen < limit)
        seen += j->n[i++];
    return i;
}

static ptq_status run_all(const ptq_judge *j, ptq_status s, ptq_sturdy *session, uint64_t limit, ptq_tensor *out,
                          ptq_distance *dist)
{
    const ptq_part part = {dist, j->m->graph->outputs.n * sizeof *dist};
    const size_t n = count_batches(j, limit);
    const ptq_turns t = {j->opt->team, &part, 1, (n + j->piece - 1) / j->piece};
    PTQ_TRY(ptq_team_agree(j->opt->team, s));
    for (size_t k = 0; k < t.count; k++)
        if (ptq_turn_is_mine(&t, k))
            s = judge_piece(j, &t, k, n, session, out, dist, s);
    return ptq_turns_end(&t, s);
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
        .lower = {.integer = true, .nhwc = true, .float_out = true, .fuse = true, .rearrange = true,
                  .fold_bytes = PTQ_SESSION_MODEST},
    };
    ptq_model *q = NULL;
    ptq_sturdy *session = NULL;
    ptq_distance *dist = ptq_calloc(no, sizeof *dist);
    ptq_tensor *out = ptq_calloc(no, sizeof *out);
    ptq_status s = dist && out ? ptq_build(j->m, d, spec, j->codes, &q, NULL) : ptq_fail_nomem();
    if (s == PTQ_OK)
        s = ptq_sturdy_new(q->graph, &so, &session);
    s = dist ? run_all(j, s, session, n ? n : j->sum.samples, out, dist) : ptq_team_agree(j->opt->team, s);
    if (s == PTQ_OK)
        *nsr = mean_nsr(dist, no);
    ptq_sturdy_free(session);
    ptq_model_free(q);
    free(out);
    free(dist);
    return s;
}
