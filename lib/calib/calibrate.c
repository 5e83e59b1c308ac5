/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/calibrate.h"

#include <stdlib.h>
#include <string.h>

#include "lib/calib/watch.h"

/* Samples that are read together. */
typedef struct batch {
    ptq_tensor *inputs;  /* [inputs of the graph] */
    size_t *kept, nkept; /* those that are readable */
    size_t used;         /* how many of the list it took */
    bool read;
} batch;

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
    ptq_batch_place *place; /* by value id: where the samples of a batch lie */
    float **packed;         /* [worker] a sample whose values do not lie side by side */
    size_t *packed_n;
    ptq_session *session;
    ptq_feed feed;
    size_t *list, count; /* samples to do */
    batch now, next;
    size_t size;         /* wished of a batch */
    size_t first, n;     /* samples of `now` that the current run takes */
    size_t most;         /* samples of a run */
    const ptq_tensor *t; /* tensor being observed */
    ptq_batch_place at;  /* of its samples */
    size_t groups;       /* of samples that one task observes */
    const char *name;
    const ptq_sample_source *source;
    ptq_watch *watch; /* on a device; NULL: values are observed on the host */
    bool on_cpu;      /* the device has no memory for one sample */
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

/* The values of sample i of the batch, n of them, side by side. */
static ptq_status values_of(const run *r, size_t i, size_t n, int worker, const float **out)
{
    *out = (const float *)r->t->data + i * n;
    if (r->n == 1 || r->at.outer == 1)
        return PTQ_OK;
    const size_t blocks = (size_t)r->at.outer, length = n / blocks;
    const float *from = (const float *)r->t->data + i * length;
    if (r->packed_n[worker] < n) {
        free(r->packed[worker]);
        r->packed[worker] = ptq_calloc(n, sizeof **r->packed);
        r->packed_n[worker] = r->packed[worker] ? n : 0;
    }
    float *to = r->packed[worker];
    if (!to)
        return ptq_fail_nomem();
    for (size_t b = 0; b < blocks; b++)
        memcpy(to + b * length, from + b * length * r->n, length * sizeof *to);
    *out = to;
    return PTQ_OK;
}

/* Observes sample i of the batch. */
static ptq_status observe_one(const run *r, ptq_tensor_stats *s, size_t i, int worker)
{
    const ptq_tensor *t = r->t;
    const size_t n = (size_t)ptq_tensor_elements(t) / r->n;
    const float *values;
    int64_t dims[PTQ_MAX_RANK] = {0};
    memcpy(dims, t->dims, sizeof dims);
    if (r->n > 1)
        dims[r->at.axis] /= (int64_t)r->n;
    PTQ_TRY(values_of(r, i, n, worker, &values));
    uint64_t before = s->summary.nan + s->summary.pos_inf + s->summary.neg_inf;
    PTQ_TRY(ptq_stats_observe(s, values, n, t->rank, dims, t->rank >= 2 ? 1 : -1));
    if (!r->opt->nonfinite_ok && s->summary.nan + s->summary.pos_inf + s->summary.neg_inf != before)
        return nonfinite(r, r->now.kept[r->first + i]);
    return PTQ_OK;
}

static ptq_status observe_group(void *arg, size_t g, int worker)
{
    const run *r = arg;
    for (size_t i = g * r->n / r->groups; i < (g + 1) * r->n / r->groups; i++)
        PTQ_TRY(observe_one(r, r->part[worker], i, worker));
    return PTQ_OK;
}

static ptq_status tap(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    enum { WORTH_WORKERS = 1 << 15 }; /* values: draining a worker's counts costs as much as some thousands */
    run *r = ctx;
    if (!v->value || t->dtype != PTQ_DT_F32)
        return PTQ_OK;
    const int at = r->slot[v->value->id];
    if (at < 0)
        return PTQ_OK;
    r->t = t;
    r->at = r->place[v->value->id];
    r->name = v->name;
    r->groups = ptq_tensor_elements(t) < WORTH_WORKERS ? 1 : r->n;
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
    return fine ? PTQ_OK : nonfinite(r, r->now.kept[r->first + i]);
}

static ptq_status make_parts(run *r)
{
    r->workers = ptq_pool_threads(r->opt->pool);
    r->part = ptq_calloc((size_t)r->workers, sizeof *r->part);
    r->slot = ptq_calloc(r->g->values.n, sizeof *r->slot);
    r->place = ptq_calloc(r->g->values.n, sizeof *r->place);
    r->packed = ptq_calloc((size_t)r->workers, sizeof *r->packed);
    r->packed_n = ptq_calloc((size_t)r->workers, sizeof *r->packed_n);
    if (!r->part || !r->slot || !r->place || !r->packed || !r->packed_n)
        return ptq_fail_nomem();
    for (int w = 0; w < r->workers; w++)
        PTQ_TRY(ptq_stats_new("", PTQ_DT_F32, &r->part[w]));
    for (size_t i = 0; i < r->g->values.n; i++) {
        r->slot[i] = -1;
        r->place[i] = (ptq_batch_place){.outer = 1};
    }
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
    for (int w = 0; r->packed && w < r->workers; w++)
        free(r->packed[w]);
    free(r->part);
    free(r->slot);
    free(r->place);
    free(r->packed);
    free(r->packed_n);
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
static ptq_status checkpoint(const run *r)
{
    if (r->watch)
        PTQ_TRY(ptq_watch_flush(r->watch));
    ptq_session_rest(r->session);
    return r->opt->checkpoint ? r->opt->checkpoint(r->opt->ctx, r->total) : PTQ_OK;
}

/* ---- batches ---- */

static ptq_status make_batch(const run *r, batch *b)
{
    b->inputs = ptq_calloc(r->g->inputs.n, sizeof *b->inputs);
    b->kept = ptq_calloc(r->size, sizeof *b->kept);
    return b->inputs && b->kept ? PTQ_OK : ptq_fail_nomem();
}

static void release_batch(const run *r, batch *b)
{
    if (b->read)
        ptq_feed_release(r->g, b->inputs);
    b->read = false;
}

static void free_batch(const run *r, batch *b)
{
    release_batch(r, b);
    free(b->inputs);
    free(b->kept);
}

/* The samples from list[at] on. */
static ptq_status read_batch(run *r, size_t at, batch *b)
{
    const size_t n = r->count - at < r->size ? r->count - at : r->size;
    PTQ_TRY(ptq_feed_batch(&r->feed, r->list + at, n, b->inputs, b->kept, &b->nkept, &b->used));
    b->read = true;
    return PTQ_OK;
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

static ptq_status open_session(run *r)
{
    ptq_session_options so = {
        .backend = r->on_cpu ? "cpu" : r->opt->backend,
        .ops = r->on_cpu ? NULL : r->opt->ops,
        .device = {.pool = r->opt->pool, .isa = r->opt->isa, .pack_bytes = PTQ_SESSION_MODEST},
        .lower = {.fuse = true, .fold_bytes = PTQ_SESSION_MODEST},
        .tap = tap,
        .tap_device = tap_device,
        .tap_select = select_value,
        .tap_ctx = r,
    };
    PTQ_TRY(ptq_session_new(r->g, &so, &r->session));
    const ptq_backend_ops *ops = ptq_session_ops(r->session);
    return ops->tally ? ptq_watch_new(ops, ptq_session_backend(r->session), r->total, r->size, &r->watch) : PTQ_OK;
}

/* The last resort: the numbers are the same. */
static ptq_status take_cpu(run *r)
{
    ptq_log(PTQ_LOG_WARN, "%s: going on with the CPU, which gives the same numbers", ptq_last_error());
    if (r->watch)
        PTQ_TRY(ptq_watch_flush(r->watch));
    ptq_watch_free(r->watch);
    ptq_session_free(r->session);
    r->watch = NULL;
    r->session = NULL;
    r->on_cpu = true;
    r->most = r->size;
    return open_session(r);
}

/* One run. While a device works on it the samples from list[ahead] on are read. */
static ptq_status run_part(run *r, size_t ahead, ptq_tensor *part)
{
    for (size_t i = 0; i < r->g->inputs.n; i++)
        part[i] = r->n < r->now.nkept ? rows_of(&r->now.inputs[i], r->first, r->n) : r->now.inputs[i];
    PTQ_TRY(ptq_session_begin(r->session, part, r->g->inputs.n));
    const bool last = r->first + r->n == r->now.nkept;
    ptq_status s = r->watch && last && ahead < r->count && !r->next.read ? read_batch(r, ahead, &r->next) : PTQ_OK;
    if (s == PTQ_OK)
        s = ptq_session_end(r->session, NULL, 0);
    return s == PTQ_OK && r->watch ? ptq_watch_end(r->watch, check_sample, r) : s;
}

/* In one run; where the device has no memory for it and nothing of it has been counted yet, in halves, and
 * at last on the CPU. */
static ptq_status run_batch(run *r, size_t ahead)
{
    ptq_tensor *part = ptq_calloc(r->g->inputs.n, sizeof *part);
    ptq_status s = part ? PTQ_OK : ptq_fail_nomem();
    for (r->first = 0; r->first < r->now.nkept && s == PTQ_OK; r->first += r->n) {
        r->n = r->now.nkept - r->first < r->most ? r->now.nkept - r->first : r->most;
        s = run_part(r, ahead, part);
        if (s != PTQ_ERR_NOMEM || !r->watch || ptq_watch_busy(r->watch))
            continue;
        s = PTQ_OK;
        if (r->n > 1) {
            r->most = (r->n + 1) / 2;
            ptq_log(PTQ_LOG_WARN, "%s: going on with %zu samples at a time", ptq_last_error(), r->most);
        } else {
            s = take_cpu(r);
        }
        r->n = 0;
    }
    free(part);
    return s;
}

/* The batch at list[at]; *used: how many of the list it was. */
static ptq_status do_batch(run *r, size_t at, size_t *used)
{
    if (r->next.read) {
        const batch b = r->now;
        r->now = r->next;
        r->next = b;
    } else {
        PTQ_TRY(read_batch(r, at, &r->now));
    }
    *used = r->now.used;
    PTQ_TRY(run_batch(r, at + *used));
    release_batch(r, &r->now);
    for (size_t i = 0; i < r->now.nkept; i++)
        ptq_bit_set(r->total->done, r->now.kept[i]);
    return PTQ_OK;
}

static ptq_status run_batches(run *r)
{
    size_t since = 0, n = r->count;
    for (size_t at = 0, used = 0; at < n; at += used) {
        if (r->opt->progress && !r->opt->progress(r->opt->ctx, at, n)) {
            PTQ_TRY(checkpoint(r));
            return ptq_fail(PTQ_ERR_INTERRUPTED, "interrupted after %zu of %zu samples", at, n);
        }
        PTQ_TRY(do_batch(r, at, &used));
        since += used;
        if (r->opt->checkpoint_every && since >= r->opt->checkpoint_every && at + used < n) {
            PTQ_TRY(checkpoint(r));
            since = 0;
        }
    }
    if (r->watch)
        PTQ_TRY(ptq_watch_flush(r->watch));
    if (r->opt->progress)
        r->opt->progress(r->opt->ctx, n, n);
    return PTQ_OK;
}

static bool wants_device(const ptq_calibrate_options *opt)
{
    const ptq_backend_ops *ops = opt->ops ? opt->ops : opt->backend ? ptq_backend_find(opt->backend) : NULL;
    return ops && ops->tally;
}

/* A device wants more work at a time. */
static size_t wished_batch(const ptq_calibrate_options *opt)
{
    return opt->batch ? opt->batch : wants_device(opt) ? 64 : 16;
}

/* Several samples at a time where it is known which value belongs to which of them; a device wants all values of a
 * sample side by side. */
static ptq_status choose_batch(run *r)
{
    char why[256];
    bool proven;
    r->size = wished_batch(r->opt);
    if (r->size == 1 || ptq_batch_proven(r->g, select_value, r, why, sizeof why))
        return PTQ_OK;
    if (!wants_device(r->opt)) {
        PTQ_TRY(ptq_batch_places(r->g, select_value, r, r->place, &proven));
        if (proven)
            return PTQ_OK;
    }
    ptq_log(PTQ_LOG_INFO, "one sample at a time: %s", why);
    r->size = 1;
    return PTQ_OK;
}

static ptq_status calibrate(run *r)
{
    PTQ_TRY(make_parts(r));
    PTQ_TRY(choose_batch(r));
    PTQ_TRY(pending(r, r->source->count, &r->list, &r->count));
    r->most = r->size = r->size < r->count || r->count == 0 ? r->size : r->count;
    r->feed = (ptq_feed){.source = r->source,
                         .graph = r->g,
                         .pool = r->opt->pool,
                         .max_bad_share = r->opt->max_bad_share,
                         .limit = r->opt->limit ? r->opt->limit : r->count,
                         .on_bad = on_bad,
                         .on_bad_ctx = r};
    PTQ_TRY(make_batch(r, &r->now));
    PTQ_TRY(make_batch(r, &r->next));
    ptq_status s = open_session(r);
    if (s == PTQ_ERR_NOMEM && !r->watch && wants_device(r->opt))
        s = take_cpu(r);
    return s == PTQ_OK ? run_batches(r) : s;
}

static void free_run(run *r)
{
    ptq_watch_free(r->watch);
    ptq_session_free(r->session);
    free_batch(r, &r->now);
    free_batch(r, &r->next);
    free(r->list);
    free_parts(r);
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
    ptq_status st = calibrate(&r);
    free_run(&r);
    return st;
}
