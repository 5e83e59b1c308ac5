/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/calib/reduce.h"
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
                                 const ptq_team *team, ptq_statistics **out)
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
        /* It may read all the data: once is enough. */
        if (samples->sha256 && ptq_team_rank(team) == 0)
            s = samples->sha256(samples->ctx, (*out)->data_sha256);
    }
    free(names);
    free(dtypes);
    return s;
}

typedef struct job {
    const ptq_model *m;
    const ptq_samples *samples;
    const ptq_calib_options *opt;
    const ptq_team *team;
    bool *select;
    ptq_statistics *stats;
    ptq_pool *pool;
} job;

static double bad_share(const job *j)
{
    const double share = j->opt->loop.max_bad_share;
    return share == 0.0 ? 0.01 : share < 0.0 ? 0.0 : share;
}

/* Samples that the whole team is to observe. */
static size_t count_pending(const job *j)
{
    const ptq_calib_options *o = j->opt;
    size_t n = 0, limit = o->loop.samples && o->loop.samples < j->samples->count ? o->loop.samples : j->samples->count;
    for (size_t i = 0; i < limit; i++)
        n += (o->nshards < 2 || i % o->nshards == o->shard) && !ptq_bit_get(j->stats->done, i) &&
             !ptq_bit_get(j->stats->bad, i);
    return n;
}

/* What is resumed counts once: on the first rank; the others only know which samples are done. */
static ptq_status take_resumed(job *j, const ptq_statistics *resume)
{
    if (ptq_team_rank(j->team) == 0)
        return ptq_statistics_merge(j->stats, resume);
    PTQ_TRY(ptq_statistics_compatible(j->stats, resume));
    for (size_t i = 0; i < j->stats->total; i++) {
        if (ptq_bit_get(resume->done, i))
            ptq_bit_set(j->stats->done, i);
        if (ptq_bit_get(resume->bad, i))
            ptq_bit_set(j->stats->bad, i);
    }
    return PTQ_OK;
}

static ptq_status prepare(job *j)
{
    PTQ_TRY(ptq_observed_values(j->m->graph, &j->select));
    PTQ_TRY(new_statistics(j->m, j->samples, j->select, j->team, &j->stats));
    return ptq_pool_new(j->opt->loop.threads, &j->pool);
}

/* This process's share: of the shard that was asked for, every so many-th sample. */
static ptq_status observe(job *j, size_t pending)
{
    const ptq_calib_options *o = j->opt;
    const size_t ranks = (size_t)ptq_team_ranks(j->team), shards = o->nshards ? o->nshards : 1;
    bridge b = {o};
    ptq_sample_source source = ptq_source_of(j->samples);
    ptq_calibrate_options co = {
        .select = j->select,
        .batch = o->loop.batch,
        .samples = o->loop.samples,
        .limit = pending,
        .shard = o->shard + shards * (size_t)ptq_team_rank(j->team),
        .nshards = shards * ranks,
        .pool = j->pool,
        .backend = o->loop.backend,
        .isa = o->loop.isa,
        .max_bad_share = bad_share(j),
        .nonfinite_ok = o->nonfinite_ok,
        .progress = on_progress,
        .checkpoint = o->checkpoint && ranks == 1 ? on_checkpoint : NULL,
        .checkpoint_every = o->checkpoint_every,
        .on_bad = on_bad,
        .ctx = &b,
    };
    return ptq_calibrate(j->m->graph, &source, &co, j->stats);
}

static ptq_status calibrate(job *j, const ptq_statistics *resume)
{
    PTQ_TRY(ptq_team_agree(j->team, prepare(j)));
    PTQ_TRY(ptq_team_broadcast(j->team, 0, j->stats->data_sha256, sizeof j->stats->data_sha256));
    if (resume)
        PTQ_TRY(ptq_team_agree(j->team, take_resumed(j, resume)));
    const size_t pending = count_pending(j), before = ptq_statistics_bad(j->stats);
    PTQ_TRY(ptq_team_agree(j->team, observe(j, pending)));
    if (ptq_team_ranks(j->team) == 1)
        return PTQ_OK;
    PTQ_TRY(ptq_statistics_reduce(j->team, j->stats));
    const size_t bad = ptq_statistics_bad(j->stats) - before;
    if ((double)bad > bad_share(j) * (double)pending)
        return ptq_fail(PTQ_ERR_DATA, "%zu of %zu samples cannot be used, more than the allowed %g %% (--skip-bad)",
                        bad, pending, 100.0 * bad_share(j));
    return PTQ_OK;
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
    job j = {.m = m, .samples = samples, .opt = opt, .team = opt->loop.team};
    ptq_status s = calibrate(&j, resume);
    ptq_pool_free(j.pool);
    free(j.select);
    if (s != PTQ_OK) {
        ptq_statistics_free(j.stats);
        return s;
    }
    *out = j.stats;
    return PTQ_OK;
}
