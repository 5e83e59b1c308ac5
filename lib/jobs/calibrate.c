/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/jobs/jobs.h"

ptq_sample_source ptq_source_of(const ptq_samples *s)
{
    return (ptq_sample_source){.ctx = s->ctx, .count = s->count, .read = s->read, .name = s->name};
}

ptq_status ptq_check_loop(const ptq_samples *samples, const ptq_loop_options *opt)
{
    PTQ_OPTIONS(opt);
    return samples && samples->read ? PTQ_OK : ptq_fail(PTQ_ERR_ARG, "no samples, or samples without a function read");
}

ptq_status ptq_observed_values(const ptq_graph *g, bool **out)
{
    bool *select = ptq_calloc(g->values.n, sizeof *select);
    if (!select)
        return ptq_fail_nomem();
    for (size_t i = 0; i < ptq_target_count(); i++) {
        ptq_placement *p;
        ptq_status s = ptq_place(g, ptq_target_at(i), NULL, &p);
        if (s != PTQ_OK) {
            free(select);
            return s;
        }
        for (int t = 0; t < p->ntensors; t++)
            select[p->tensors[t].value->id] = true;
        ptq_placement_free(p);
    }
    *out = select;
    return PTQ_OK;
}

/* Bridges the public callbacks to those of the loop. */
typedef struct bridge {
    const ptq_calib_options *opt;
} bridge;

static bool on_progress(void *ctx, size_t done, size_t total)
{
    const ptq_loop_options *l = &((bridge *)ctx)->opt->loop;
    return !l->progress || l->progress(l->ctx, "calibrating", done, total);
}

static ptq_status on_checkpoint(void *ctx, const ptq_statistics *s)
{
    const ptq_calib_options *o = ((bridge *)ctx)->opt;
    return o->checkpoint(o->checkpoint_ctx, s);
}

static ptq_status on_bad(void *ctx, size_t i, const char *why)
{
    const ptq_loop_options *l = &((bridge *)ctx)->opt->loop;
    if (l->bad_sample)
        l->bad_sample(l->ctx, i, why);
    return PTQ_OK;
}

static ptq_status new_statistics(const ptq_model *m, const ptq_samples *samples, const bool *select,
                                 ptq_statistics **out)
{
    const ptq_graph *g = m->graph;
    const char **names = ptq_calloc(g->values.n, sizeof *names);
    ptq_dtype *dtypes = ptq_calloc(g->values.n, sizeof *dtypes);
    size_t n = 0;
    ptq_status s = names && dtypes ? PTQ_OK : ptq_fail_nomem();
    for (size_t i = 0; i < g->values.n && s == PTQ_OK; i++)
        if (select[i]) {
            names[n] = g->values.v[i]->name;
            dtypes[n++] = g->values.v[i]->dtype;
        }
    if (s == PTQ_OK)
        s = ptq_statistics_new(names, dtypes, n, samples->count, samples->preprocess, out);
    if (s == PTQ_OK) {
        memcpy((*out)->model_sha256, m->sha256, sizeof (*out)->model_sha256);
        if (samples->sha256)
            s = samples->sha256(samples->ctx, (*out)->data_sha256);
    }
    free(names);
    free(dtypes);
    return s;
}

ptq_status ptq_model_calibrate(const ptq_model *m, const ptq_samples *samples, const ptq_calib_options *opt,
                               const ptq_statistics *resume, ptq_statistics **out)
{
    static const ptq_calib_options dflt = PTQ_CALIB_OPTIONS_INIT;
    PTQ_NEEDS(m);
    PTQ_NEEDS(out);
    PTQ_OPTIONS(opt);
    if (!opt)
        opt = &dflt;
    PTQ_TRY(ptq_check_loop(samples, &opt->loop));
    if (opt->nshards ? opt->shard >= opt->nshards : opt->shard)
        return ptq_fail(PTQ_ERR_ARG, "there is no shard %zu of %zu: the first is 0", opt->shard, opt->nshards);
    if (!m->optimized)
        return ptq_fail(PTQ_ERR_ARG, "the model must be optimized before calibration");
    bool *select = NULL;
    ptq_statistics *stats = NULL;
    ptq_pool *pool = NULL;
    bridge b = {opt};
    ptq_sample_source source = ptq_source_of(samples);
    PTQ_TRY(ptq_observed_values(m->graph, &select));
    ptq_status s = new_statistics(m, samples, select, &stats);
    if (s == PTQ_OK && resume)
        s = ptq_statistics_merge(stats, resume);
    if (s == PTQ_OK)
        s = ptq_pool_new(opt->loop.threads, &pool);
    double share = opt->loop.max_bad_share;
    ptq_calibrate_options co = {
        .select = select,
        .batch = opt->loop.batch,
        .samples = opt->loop.samples,
        .shard = opt->shard,
        .nshards = opt->nshards,
        .pool = pool,
        .backend = opt->loop.backend,
        .isa = opt->loop.isa,
        .max_bad_share = share == 0.0 ? 0.01 : share < 0.0 ? 0.0 : share,
        .nonfinite_ok = opt->nonfinite_ok,
        .progress = on_progress,
        .checkpoint = opt->checkpoint ? on_checkpoint : NULL,
        .checkpoint_every = opt->checkpoint_every,
        .on_bad = on_bad,
        .ctx = &b,
    };
    if (s == PTQ_OK)
        s = ptq_calibrate(m->graph, &source, &co, stats);
    ptq_pool_free(pool);
    free(select);
    if (s != PTQ_OK) {
        ptq_statistics_free(stats);
        return s;
    }
    *out = stats;
    return PTQ_OK;
}
