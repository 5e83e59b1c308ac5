/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/latency.h"

#include <stdlib.h>

#include "lib/jobs/precision.h"

enum { MAX_RUNS = 2000, MIN_RUNS = 5 };

static ptq_status measure(ptq_session *s, const ptq_graph *g, const ptq_tensor *in, ptq_tensor *out,
                          double seconds, double *median)
{
    double *t = ptq_calloc(MAX_RUNS, sizeof *t);
    if (!t)
        return ptq_fail_nomem();
    ptq_status st = PTQ_OK;
    for (int i = 0; i < 3 && st == PTQ_OK; i++)
        st = ptq_session_run(s, in, g->inputs.n, out, g->outputs.n);
    int n = 0;
    for (double start = ptq_now(); st == PTQ_OK && n < MAX_RUNS && (n < MIN_RUNS || ptq_now() - start < seconds);) {
        double t0 = ptq_now();
        st = ptq_session_run(s, in, g->inputs.n, out, g->outputs.n);
        t[n++] = ptq_now() - t0;
    }
    if (st == PTQ_OK) {
        ptq_sort(t, (size_t)n);
        *median = t[n / 2];
    }
    free(t);
    return st;
}

ptq_status ptq_latency(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt,
                       double seconds, double *median)
{
    const ptq_graph *g = m->graph;
    ptq_pool *pool = NULL;
    ptq_session *session = NULL;
    ptq_tensor *in = ptq_calloc(g->inputs.n, sizeof *in), *out = ptq_calloc(g->outputs.n, sizeof *out);
    size_t kept, nkept = 0, used;
    ptq_sample_source source = ptq_source_of(samples);
    ptq_feed feed = {.source = &source, .graph = g, .limit = samples->count, .max_bad_share = 1.0};
    ptq_precision how = {NULL, true, false};
    ptq_status s = in && out ? ptq_pool_new(opt->threads, &pool) : ptq_fail_nomem();
    if (s == PTQ_OK)
        s = ptq_precision_of(opt->precision, opt->fast_math, NULL, &how);
    bool integer = how.integer && ptq_graph_is_quantized(g);
    ptq_session_options so = {
        .backend = opt->backend,
        .device = {.pool = pool, .isa = opt->isa, .fast_math = opt->fast_math, .half_products = how.half},
        .lower = {.integer = integer, .nhwc = integer, .float_out = integer, .fuse = true,
                  .rearrange = integer},
    };
    if (s == PTQ_OK)
        s = ptq_session_new(g, &so, &session);
    for (size_t i = 0; i < samples->count && s == PTQ_OK && nkept == 0; i++) /* the first readable one */
        s = ptq_feed_batch(&feed, &i, 1, in, &kept, &nkept, &used);
    if (s == PTQ_OK && nkept == 0)
        s = ptq_fail(PTQ_ERR_DATA, "no sample could be read to measure the latency on");
    if (s == PTQ_OK)
        s = measure(session, g, in, out, seconds, median);
    if (in)
        ptq_feed_release(g, in);
    ptq_session_free(session);
    ptq_pool_free(pool);
    free(in);
    free(out);
    return s;
}
