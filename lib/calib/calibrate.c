/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/calibrate.h"

#include <stdlib.h>
#include <string.h>

#include "lib/calib/watch.h"

/* On a device values are counted where they lie (watch.h). On the host each worker observes into
 * statistics of its own, which are drained into the total after each tensor. That is exact, so the
 * result does not depend on who observed what; and there is only one copy of the statistics of all
 * tensors. */
typedef struct run {
    const ptq_graph *g;
    const ptq_calibrate_options *opt;
    ptq_statistics *total;
    ptq_tensor_stats **part; /* [worker] */
    int workers;
    int *slot;       /* by value id: index into total->tensors or -1 */
    size_t *kept;    /* samples of the current batch */
    size_t nkept;
    size_t first, n; /* those of the current run: a batch may take several */
    size_t most;     /* samples of a run */
    const ptq_tensor *t; /* tensor being observed */
    size_t groups;       /* of samples that one task observes */
    const char *name;
    const ptq_sample_source *source;
    ptq_watch *watch; /* on a device; NULL: values are observed on the host */
} run;

static bool select_value(void *ctx, const ptq_value *v)
{
    return ((run *)ctx)->slot[v->id] >= 0;
}

static ptq_status nonfinite(const run *r, size_t sample)
{
    return ptq_fail(PTQ_ERR_DATA,
                    "tensor '%s' holds NaN or infinity for sample %zu%s%s; check the preprocessing and the "
                    "model, or leave such values out with --nonfinite ignore",
                    r->name, sample, r->source->name ? ", " : "",
                    r->source->name ? r->source->name(r->source->ctx, sample) : "");
}

/* Observes sample i of the batch. */
static ptq_status observe_one(const run *r, ptq_tensor_stats *s, size_t i)
{
    const ptq_tensor *t = r->t;
    size_t n = (size_t)ptq_tensor_elements(t);
    int64_t dims[PTQ_MAX_RANK] = {0};
    memcpy(dims, t->dims, sizeof dims);
    if (r->n > 1) {
        n /= r->n;
        dims[0] = 1;
    }
    uint64_t before = s->summary.nan + s->summary.pos_inf + s->summary.neg_inf;
    PTQ_TRY(ptq_stats_observe(s, (const float *)t->data + i * n, n, t->rank, dims, t->rank >= 2 ? 1 : -1));
    if (!r->opt->nonfinite_ok && s->summary.nan + s->summary.pos_inf + s->summary.neg_inf != before)
        return nonfinite(r, r->kept[r->first + i]);
    return PTQ_OK;
}

static ptq_status observe_group(void *arg, size_t g, int worker)
{
    const run *r = arg;
    for (size_t i = g * r->n / r->groups; i < (g + 1) * r->n / r->groups; i++)
        PTQ_TRY(observe_one(r, r->part[worker], i));
    return PTQ_OK;
}

static ptq_status tap(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    enum { WORTH_A_WORKER = 1 << 16 }; /* values: draining a worker's counts costs as much as some thousands */
    run *r = ctx;
    if (!v->value || t->dtype != PTQ_DT_F32)
        return PTQ_OK;
    const int at = r->slot[v->value->id];
    if (at < 0)
        return PTQ_OK;
    r->t = t;
    r->name = v->name;
    r->groups = (size_t)ptq_tensor_elements(t) / WORTH_A_WORKER + 1;
    r->groups = r->groups < r->n ? r->groups : r->n;
    PTQ_TRY(ptq_pool_for(r->opt->pool, r->groups, observe_group, r));
    for (int w = 0; w < r->workers; w++)
        if (r->part[w]->samples.samples)
            PTQ_TRY(ptq_stats_drain(r->total->tensors[at], r->part[w]));
    return PTQ_OK;
}

static ptq_status tap_device(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    run *r = ctx;
    if (!v->value || r->slot[v->value->id] < 0)
        return PTQ_OK;
    return ptq_watch_add(r->watch, (size_t)r->slot[v->value->id], t, v->layout, r->n);
}

static ptq_status check_sample(void *ctx, size_t at, size_t i, const ptq_summary *s)
{
    run *r = ctx;
    r->name = r->total->tensors[at]->name;
    const bool fine = r->opt->nonfinite_ok || s->nan + s->pos_inf + s->neg_inf == 0;
    return fine ? PTQ_OK : nonfinite(r, r->kept[r->first + i]);
}

static ptq_status make_parts(run *r)
{
    r->workers = ptq_pool_threads(r->opt->pool);
    r->part = ptq_calloc((size_t)r->workers, sizeof *r->part);
    r->slot = ptq_calloc(r->g->values.n, sizeof *r->slot);
    if (!r->part || !r->slot)
        return ptq_fail_nomem();
    for (int w = 0; w < r->workers; w++)
        PTQ_TRY(ptq_stats_new("", PTQ_DT_F32, &r->part[w]));
    for (size_t i = 0; i < r->g->values.n; i++)
        r->slot[i] = -1;
    for (size_t i = 0; i < r->total->ntensors; i++) {
        const ptq_value *v = ptq_graph_find(r->g, r->total->tensors[i]->name);
        if (!v)
            return ptq_fail(PTQ_ERR_DATA, "statistics name tensor '%s', which the model lacks",
                            r->total->tensors[i]->name);
        r->slot[v->id] = (int)i;
    }
    return PTQ_OK;
}

static void free_parts(run *r)
{
    for (int w = 0; r->part && w < r->workers; w++)
        ptq_stats_free(r->part[w]);
    free(r->part);
    free(r->slot);
}

/* Samples still to do, in order. */
static ptq_status pending(const run *r, size_t count, size_t **out, size_t *n)
{
    size_t limit = r->opt->samples && r->opt->samples < count ? r->opt->samples : count;
    size_t *list = ptq_calloc(limit, sizeof *list);
    if (!list)
        return ptq_fail_nomem();
    *n = 0;
    for (size_t i = 0; i < limit; i++) {
        bool mine = r->opt->nshards < 2 || i % r->opt->nshards == r->opt->shard;
        if (mine && !ptq_bit_get(r->total->done, i) && !ptq_bit_get(r->total->bad, i))
            list[(*n)++] = i;
    }
    *out = list;
    return PTQ_OK;
}

static ptq_status on_bad(void *ctx, size_t i, const char *why)
{
    run *r = ctx;
    ptq_bit_set(r->total->bad, i);
    return r->opt->on_bad ? r->opt->on_bad(r->opt->ctx, i, why) : PTQ_OK;
}

/* Writing a checkpoint takes memory, which the activations can spare. */
static ptq_status checkpoint(const run *r, ptq_session *session)
{
    if (r->watch)
        PTQ_TRY(ptq_watch_flush(r->watch));
    ptq_session_rest(session);
    return r->opt->checkpoint ? r->opt->checkpoint(r->opt->ctx, r->total) : PTQ_OK;
}

/* Samples first ... first + n of a batch of several. */
static ptq_tensor rows_of(const ptq_tensor *t, size_t first, size_t n)
{
    ptq_tensor v = *t;
    v.nbytes = t->nbytes / (size_t)t->dims[0] * n;
    v.data = (char *)t->data + t->nbytes / (size_t)t->dims[0] * first;
    v.dims[0] = (int64_t)n;
    return v;
}

static ptq_status run_part(run *r, ptq_session *session, const ptq_tensor *inputs, ptq_tensor *part,
                           ptq_tensor *outputs)
{
    for (size_t i = 0; i < r->g->inputs.n; i++)
        part[i] = r->n < r->nkept ? rows_of(&inputs[i], r->first, r->n) : inputs[i];
    PTQ_TRY(ptq_session_run(session, part, r->g->inputs.n, outputs, r->g->outputs.n));
    return r->watch ? ptq_watch_end(r->watch, check_sample, r) : PTQ_OK;
}

/* In one run; where the device has no memory for it and nothing has been counted yet, in halves. */
static ptq_status run_batch(run *r, ptq_session *session, const ptq_tensor *inputs, ptq_tensor *part,
                            ptq_tensor *outputs)
{
    for (r->first = 0; r->first < r->nkept; r->first += r->n) {
        r->n = r->nkept - r->first < r->most ? r->nkept - r->first : r->most;
        ptq_status s = run_part(r, session, inputs, part, outputs);
        if (s == PTQ_ERR_NOMEM && r->watch && !ptq_watch_busy(r->watch) && r->n > 1) {
            r->most = (r->n + 1) / 2;
            ptq_log(PTQ_LOG_WARN, "%s: going on with %zu samples at a time", ptq_last_error(), r->most);
            r->n = 0;
            continue;
        }
        PTQ_TRY(s);
    }
    return PTQ_OK;
}

static ptq_status run_batches(run *r, ptq_session *session, ptq_feed *feed, const size_t *list, size_t n,
                              size_t batch)
{
    size_t ni = r->g->inputs.n, no = r->g->outputs.n, since = 0;
    ptq_tensor *inputs = ptq_calloc(2 * ni, sizeof *inputs), *outputs = ptq_calloc(no, sizeof *outputs);
    ptq_status s = inputs && outputs ? PTQ_OK : ptq_fail_nomem();
    r->most = batch;
    for (size_t at = 0, m = 0; at < n && s == PTQ_OK; at += m) {
        if (r->opt->progress && !r->opt->progress(r->opt->ctx, at, n)) {
            s = checkpoint(r, session);
            if (s == PTQ_OK)
                s = ptq_fail(PTQ_ERR_INTERRUPTED, "interrupted after %zu of %zu samples", at, n);
            break;
        }
        s = ptq_feed_batch(feed, list + at, n - at < batch ? n - at : batch, inputs, r->kept, &r->nkept, &m);
        if (s == PTQ_OK)
            s = run_batch(r, session, inputs, inputs + ni, outputs);
        ptq_feed_release(r->g, inputs);
        for (size_t i = 0; i < r->nkept && s == PTQ_OK; i++)
            ptq_bit_set(r->total->done, r->kept[i]);
        since += m;
        if (s == PTQ_OK && r->opt->checkpoint_every && since >= r->opt->checkpoint_every && at + m < n) {
            s = checkpoint(r, session);
            since = 0;
        }
    }
    if (s == PTQ_OK && r->watch)
        s = ptq_watch_flush(r->watch);
    if (s == PTQ_OK && r->opt->progress)
        r->opt->progress(r->opt->ctx, n, n);
    free(inputs);
    free(outputs);
    return s;
}

/* A device wants more work at a time. */
static size_t wished_batch(const ptq_calibrate_options *opt)
{
    const ptq_backend_ops *ops = opt->ops ? opt->ops : opt->backend ? ptq_backend_find(opt->backend) : NULL;
    return opt->batch ? opt->batch : ops && ops->tally ? 64 : 16;
}

static ptq_status calibrate(run *r, const ptq_sample_source *source)
{
    size_t *list = NULL, n = 0, batch = wished_batch(r->opt);
    char why[256];
    PTQ_TRY(make_parts(r));
    if (batch > 1 && !ptq_batch_proven(r->g, select_value, r, why, sizeof why)) {
        ptq_log(PTQ_LOG_INFO, "one sample at a time: %s", why);
        batch = 1;
    }
    PTQ_TRY(pending(r, source->count, &list, &n));
    batch = batch < n || n == 0 ? batch : n;
    ptq_session_options so = {
        .backend = r->opt->backend,
        .ops = r->opt->ops,
        .device = {.pool = r->opt->pool, .isa = r->opt->isa},
        .lower = {.fuse = true},
        .tap = tap,
        .tap_device = tap_device,
        .tap_select = select_value,
        .tap_ctx = r,
    };
    ptq_feed feed = {.source = source,
                     .graph = r->g,
                     .pool = r->opt->pool,
                     .max_bad_share = r->opt->max_bad_share,
                     .limit = n,
                     .on_bad = on_bad,
                     .on_bad_ctx = r};
    ptq_session *session = NULL;
    r->kept = ptq_calloc(batch, sizeof *r->kept);
    ptq_status s = r->kept ? ptq_session_new(r->g, &so, &session) : ptq_fail_nomem();
    if (s == PTQ_OK && ptq_session_ops(session)->tally)
        s = ptq_watch_new(ptq_session_ops(session), ptq_session_backend(session), r->total, batch, &r->watch);
    if (s == PTQ_OK)
        s = run_batches(r, session, &feed, list, n, batch);
    ptq_watch_free(r->watch);
    ptq_session_free(session);
    free(r->kept);
    free(list);
    return s;
}

ptq_status ptq_calibrate(const ptq_graph *g, const ptq_sample_source *source,
                         const ptq_calibrate_options *opt, ptq_statistics *s)
{
    run r = {.g = g, .opt = opt, .total = s, .source = source};
    if (source->count != s->total)
        return ptq_fail(PTQ_ERR_DATA, "the data set has %zu samples, the statistics speak of %zu",
                        source->count, s->total);
    if (source->count == 0)
        return ptq_fail(PTQ_ERR_DATA, "the data set is empty");
    ptq_status st = calibrate(&r, source);
    free_parts(&r);
    return st;
}
