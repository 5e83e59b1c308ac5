/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/loop.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exec/sturdy.h"

typedef struct loop {
    const ptq_loop_spec *spec;
    ptq_pool *pool;
    ptq_sturdy *session[PTQ_LOOP_MODELS];
    ptq_tensor *inputs, *outputs[PTQ_LOOP_MODELS];
    size_t *list, n, *kept, batch, done; /* done: samples that were run */
} loop;

static bool is_output(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return v->is_output;
}

static ptq_status open_session(loop *l, size_t m)
{
    const ptq_loop_spec *sp = l->spec;
    bool integer = ptq_graph_is_quantized(sp->models[m]->graph);
    ptq_session_options so = {
        .backend = sp->opt->backend,
        .device = {.pool = l->pool, .isa = sp->opt->isa, .pack_bytes = PTQ_SESSION_MODEST},
        .lower = {.integer = integer, .nhwc = integer, .float_out = integer, .fuse = true, .fold_bytes = PTQ_SESSION_MODEST},
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

static ptq_status one_batch(loop *l, ptq_feed *feed, size_t at, size_t n, size_t *used)
{
    const ptq_loop_spec *sp = l->spec;
    const ptq_graph *g = sp->models[0]->graph;
    size_t kept = 0;
    PTQ_TRY(ptq_feed_batch(feed, l->list + at, n, l->inputs, l->kept, &kept, used));
    ptq_status s = PTQ_OK;
    ptq_batch b = {.index = l->kept, .n = kept, .inputs = l->inputs, .noutputs = g->outputs.n, .joined = l->batch > 1};
    for (size_t m = 0; m < sp->nmodels && s == PTQ_OK && kept > 0; m++) {
        s = ptq_sturdy_run(l->session[m], l->inputs, g->inputs.n, l->outputs[m], g->outputs.n);
        b.outputs[m] = l->outputs[m];
    }
    if (s == PTQ_OK && kept > 0)
        s = sp->fn(sp->ctx, &b);
    l->done += kept;
    ptq_feed_release(g, l->inputs);
    return s;
}

static ptq_status run(loop *l)
{
    const ptq_loop_spec *sp = l->spec;
    const ptq_graph *g = sp->models[0]->graph;
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
    if (!l->inputs || !l->kept)
        return ptq_fail_nomem();
    double share = sp->opt->max_bad_share;
    ptq_sample_source source = ptq_source_of(sp->samples);
    ptq_feed feed = {.source = &source,
                     .graph = g,
                     .pool = l->pool,
                     .limit = l->n,
                     .max_bad_share = share == 0.0 ? 0.01 : share < 0.0 ? 0.0 : share,
                     .on_bad = on_bad,
                     .on_bad_ctx = l};
    for (size_t at = 0, used = 0; at < l->n; at += used) {
        if (sp->opt->progress && !sp->opt->progress(sp->opt->ctx, sp->what, at, l->n))
            return ptq_fail(PTQ_ERR_INTERRUPTED, "interrupted after %zu of %zu samples", at, l->n);
        PTQ_TRY(one_batch(l, &feed, at, l->n - at < l->batch ? l->n - at : l->batch, &used));
    }
    if (sp->opt->progress)
        sp->opt->progress(sp->opt->ctx, sp->what, l->n, l->n);
    return l->done ? PTQ_OK : ptq_fail(PTQ_ERR_DATA, "not one of the %zu samples can be read", l->n);
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
