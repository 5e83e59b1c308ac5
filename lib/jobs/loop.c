/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/loop.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exec/sturdy.h"
#include "lib/jobs/precision.h"

typedef struct loop {
    const ptq_loop_spec *spec;
    ptq_pool *pool;
    ptq_sturdy *session[PTQ_LOOP_MODELS];
    ptq_tensor *inputs, *outputs[PTQ_LOOP_MODELS];
    size_t *list, n, *kept, batch;
    ptq_feed feed;
    ptq_turns turns;
    ptq_precision precision; /* of the last model */
    struct {
        uint64_t done, bad; /* samples that were run, and that cannot be used */
    } tally;
} loop;

static bool is_output(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return v->is_output;
}

static ptq_status open_session(loop *l, size_t m)
{
    const ptq_loop_spec *sp = l->spec;
    bool last = m + 1 == sp->nmodels;
    bool integer = ptq_graph_is_quantized(sp->models[m]->graph) && (!last || l->precision.integer);
    ptq_session_options so = {
        .backend = sp->opt->backend,
        .device = {.pool = l->pool, .isa = sp->opt->isa, .pack_bytes = PTQ_SESSION_HALF,
                   .fast_math = last && sp->opt->fast_math, .half_products = last && l->precision.half},
        .lower = {.integer = integer, .nhwc = integer, .float_out = integer, .fuse = true, .rearrange = integer,
                  .fold_bytes = PTQ_SESSION_HALF},
    };
    return ptq_sturdy_new(sp->models[m]->graph, &so, &l->session[m]);
}

/* A batch above 1 only where axis 0 of every output is proven to be the batch. */
static size_t choose_batch(const ptq_loop_spec *sp)
{
    size_t batch = sp->opt->batch ? sp->opt->batch : 16;
    char why[256];
    for (size_t m = 0; m < sp->nmodels && batch > 1; m++)
        if (!ptq_batch_proven(sp->models[m]->graph, is_output, NULL, why, sizeof why))
            batch = 1;
    return batch;
}

static ptq_status make_list(loop *l)
{
    const ptq_loop_spec *sp = l->spec;
    size_t count = sp->samples->count;
    l->n = sp->opt->samples && sp->opt->samples < count ? sp->opt->samples : count;
    if (l->n == 0)
        return ptq_fail(PTQ_ERR_DATA, "the data set has no samples");
    l->list = ptq_calloc(l->n, sizeof *l->list);
    if (!l->list)
        return ptq_fail_nomem();
    for (size_t i = 0; i < l->n; i++)
        l->list[i] = i;
    return PTQ_OK;
}

static ptq_status on_bad(void *ctx, size_t i, const char *why)
{
    const ptq_loop_options *o = ((loop *)ctx)->spec->opt;
    if (o->bad_sample)
        o->bad_sample(o->ctx, i, why);
    return PTQ_OK;
}

static double bad_share(const loop *l)
{
    double share = l->spec->opt->max_bad_share;
    return share == 0.0 ? 0.01 : share < 0.0 ? 0.0 : share;
}

/* Reads samples from `at` on and runs them. */
static ptq_status run_batch(loop *l, size_t at, size_t n, ptq_batch *b, size_t *used)
{
    const ptq_loop_spec *sp = l->spec;
    const ptq_graph *g = sp->models[0]->graph;
    *b = (ptq_batch){.index = l->kept, .inputs = l->inputs, .noutputs = g->outputs.n, .joined = l->batch > 1};
    PTQ_TRY(ptq_feed_batch(&l->feed, l->list + at, n, l->inputs, l->kept, &b->n, used));
    for (size_t m = 0; m < sp->nmodels && b->n > 0; m++) {
        PTQ_TRY(ptq_sturdy_run(l->session[m], l->inputs, g->inputs.n, l->outputs[m], g->outputs.n));
        b->outputs[m] = l->outputs[m];
    }
    return PTQ_OK;
}

/* Adds a batch, and the samples since the last that cannot be used. */
static ptq_status add_batch(loop *l, const ptq_batch *b, size_t bad)
{
    l->tally.bad += bad;
    l->tally.done += b->n;
    if ((double)l->tally.bad > bad_share(l) * (double)l->n)
        return ptq_fail(PTQ_ERR_DATA, "%zu of %zu samples cannot be used, more than the allowed %g %% (--skip-bad)",
                        (size_t)l->tally.bad, l->n, 100.0 * bad_share(l));
    return b->n > 0 ? l->spec->fn(l->spec->ctx, b) : PTQ_OK;
}

static ptq_status check_progress(const loop *l, size_t at)
{
    const ptq_loop_options *o = l->spec->opt;
    if (!o->progress || o->progress(o->ctx, l->spec->what, at, l->n))
        return PTQ_OK;
    return ptq_fail(PTQ_ERR_INTERRUPTED, "interrupted after %zu of %zu samples", at, l->n);
}

/* Piece k of the samples: one batch, or several where they differ in shape. s: of the pieces before. */
static ptq_status do_piece(loop *l, size_t k, ptq_status s)
{
    const ptq_graph *g = l->spec->models[0]->graph;
    const size_t end = (k + 1) * l->batch < l->n ? (k + 1) * l->batch : l->n;
    bool taken = false;
    if (s == PTQ_OK)
        s = check_progress(l, k * l->batch);
    for (size_t at = k * l->batch, used = 0; at < end && (s == PTQ_OK || !taken); at += used) {
        ptq_batch b = {0};
        const size_t bad = l->feed.nbad;
        if (s == PTQ_OK)
            s = run_batch(l, at, end - at, &b, &used);
        if (!taken) {
            ptq_status before = ptq_turn_take(&l->turns, k);
            s = before != PTQ_OK ? before : s;
            taken = true;
        }
        if (s == PTQ_OK)
            s = add_batch(l, &b, l->feed.nbad - bad);
        ptq_feed_release(g, l->inputs);
    }
    return ptq_turn_give(&l->turns, k, s);
}

static ptq_status prepare(loop *l)
{
    const ptq_loop_spec *sp = l->spec;
    const ptq_graph *g = sp->models[0]->graph;
    PTQ_TRY(ptq_precision_on(sp->opt->backend, sp->opt->precision, sp->opt->fast_math, &l->precision));
    PTQ_TRY(ptq_pool_new(sp->opt->threads, &l->pool));
    PTQ_TRY(make_list(l));
    for (size_t m = 0; m < sp->nmodels; m++) {
        if (sp->models[m]->graph->outputs.n != g->outputs.n || sp->models[m]->graph->inputs.n != g->inputs.n)
            return ptq_fail(PTQ_ERR_MODEL, "the models differ in their inputs or outputs");
        PTQ_TRY(open_session(l, m));
        l->outputs[m] = ptq_calloc(g->outputs.n, sizeof(ptq_tensor));
        if (!l->outputs[m])
            return ptq_fail_nomem();
    }
    l->batch = choose_batch(sp);
    l->batch = l->batch < l->n ? l->batch : l->n;
    l->inputs = ptq_calloc(g->inputs.n, sizeof *l->inputs);
    l->kept = ptq_calloc(l->batch, sizeof *l->kept);
    return l->inputs && l->kept ? PTQ_OK : ptq_fail_nomem();
}

static ptq_status run(loop *l)
{
    const ptq_loop_spec *sp = l->spec;
    PTQ_TRY(ptq_team_agree(sp->opt->team, prepare(l)));
    ptq_sample_source source = ptq_source_of(sp->samples);
    ptq_part parts[PTQ_LOOP_PARTS + 1] = {{&l->tally, sizeof l->tally}};
    for (size_t i = 0; i < sp->nparts; i++)
        parts[i + 1] = sp->parts[i];
    l->turns = (ptq_turns){sp->opt->team, parts, sp->nparts + 1, (l->n + l->batch - 1) / l->batch};
    l->feed = (ptq_feed){.source = &source,
                         .graph = sp->models[0]->graph,
                         .pool = l->pool,
                         .limit = l->n,
                         .max_bad_share = bad_share(l),
                         .on_bad = on_bad,
                         .on_bad_ctx = l};
    ptq_status s = PTQ_OK;
    for (size_t k = 0; k < l->turns.count; k++)
        if (ptq_turn_is_mine(&l->turns, k))
            s = do_piece(l, k, s);
    PTQ_TRY(ptq_turns_end(&l->turns, s));
    if (sp->opt->progress)
        sp->opt->progress(sp->opt->ctx, sp->what, l->n, l->n);
    return l->tally.done ? PTQ_OK : ptq_fail(PTQ_ERR_DATA, "not one of the %zu samples can be read", l->n);
}

ptq_status ptq_loop_run(const ptq_loop_spec *spec)
{
    loop l = {.spec = spec};
    ptq_status s = run(&l);
    for (size_t m = 0; m < PTQ_LOOP_MODELS; m++) {
        ptq_sturdy_free(l.session[m]);
        free(l.outputs[m]);
    }
    free(l.inputs);
    free(l.kept);
    free(l.list);
    ptq_pool_free(l.pool);
    return s;
}

const float *ptq_batch_row(const ptq_batch *b, size_t model, size_t output, size_t i, size_t *n)
{
    const ptq_tensor *t = &b->outputs[model][output];
    *n = (size_t)ptq_tensor_elements(t) / (b->joined ? b->n : 1);
    return (const float *)t->data + i * *n;
}
