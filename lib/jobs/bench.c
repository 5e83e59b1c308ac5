/* SPDX-License-Identifier: Apache-2.0 */
/* How fast an engine is: runs from device memory (one replay after the other, marks between them),
 * runs from host memory, each waited for, and two contexts in turn. Times are of rounds, so that the
 * spread between them tells what the machine did besides. */
#include "lib/jobs/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 5, WARM = 3, RUNS_MIN = 3, RUNS_MAX = 2000 }; /* RUNS: of one round */

static const ptq_bench_options defaults = PTQ_BENCH_OPTIONS_INIT;

/* ---- times ---- */

static ptq_status times_add(ptq_times *t, double seconds)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 256;
        double *v = realloc(t->v, cap * sizeof *v);
        if (!v)
            return ptq_fail_nomem();
        t->v = v;
        t->cap = cap;
    }
    t->v[t->n++] = seconds;
    return PTQ_OK;
}

void ptq_times_round(ptq_times *t, size_t n)
{
    double *v = t->v + t->n - n;
    ptq_sort(v, n);
    double median = v[n / 2];
    t->low = t->low == 0.0 || median < t->low ? median : t->low;
    t->high = median > t->high ? median : t->high;
}

ptq_status ptq_times_json(ptq_times *t, double samples, json_t *root, const char *key)
{
    json_t *o = json_object();
    PTQ_TRY(ptq_json_set(root, key, o));
    ptq_sort(t->v, t->n);
    double median = t->v[t->n / 2], sum = 0.0;
    for (size_t i = 0; i < t->n; i++)
        sum += t->v[i];
    PTQ_TRY(ptq_json_set(o, "runs", json_integer((json_int_t)t->n)));
    PTQ_TRY(ptq_json_set(o, "median_ms", ptq_json_real(1e3 * median)));
    PTQ_TRY(ptq_json_set(o, "p90_ms", ptq_json_real(1e3 * t->v[(t->n - 1) * 90 / 100])));
    PTQ_TRY(ptq_json_set(o, "p99_ms", ptq_json_real(1e3 * t->v[(t->n - 1) * 99 / 100])));
    PTQ_TRY(ptq_json_set(o, "min_ms", ptq_json_real(1e3 * t->v[0])));
    PTQ_TRY(ptq_json_set(o, "spread", ptq_json_real((t->high - t->low) / median)));
    return ptq_json_set(o, "samples_per_second", ptq_json_real(samples * (double)t->n / sum));
}

/* Runs of a round, so that the rounds take about the seconds. */
static size_t runs_of(double seconds, double one)
{
    double n = seconds / ROUNDS / (one > 1e-7 ? one : 1e-7);
    return n < RUNS_MIN ? RUNS_MIN : n > RUNS_MAX ? RUNS_MAX : (size_t)n;
}

/* ---- data ---- */

static ptq_status choose_shapes(ptq_bench_data *d, const ptq_bench_options *opt)
{
    const ptq_graph *g = d->e->model->graph;
    ptq_profile_shapes(d->e, d->profile, PTQ_AT_OPT, d->in);
    for (size_t i = 0; i < opt->nshapes; i++) {
        const ptq_shape_range *r = &opt->shapes[i];
        size_t k = 0;
        while (k < d->nin && strcmp(g->inputs.v[k]->name, r->input) != 0)
            k++;
        if (k == d->nin)
            return ptq_fail(PTQ_ERR_ARG, "the model has no input '%s'", r->input);
        d->in[k].rank = r->rank;
        memcpy(d->in[k].dims, r->opt, sizeof d->in[k].dims);
    }
    for (size_t k = 0; k < d->nin; k++)
        if (opt->batch > 0 && d->in[k].rank > 0)
            d->in[k].dims[0] = opt->batch;
    return ptq_profile_check(d->e, d->profile, d->in, d->nin);
}

static ptq_status device_copy(ptq_bench_data *d, ptq_tensor *to, const ptq_tensor *from)
{
    const ptq_backend_ops *ops = d->e->exe->ops;
    *to = *from;
    to->data = NULL;
    PTQ_TRY(ops->alloc(ptq_session_backend(d->session), from->nbytes, &to->data));
    return from->data ? ops->upload(ptq_session_backend(d->session), to->data, from->data, from->nbytes) : PTQ_OK;
}

static ptq_status make_device_data(ptq_bench_data *d)
{
    d->dev_in = ptq_calloc(d->nin, sizeof *d->dev_in);
    d->dev_out = ptq_calloc(d->nout, sizeof *d->dev_out);
    if (!d->dev_in || !d->dev_out)
        return ptq_fail_nomem();
    for (size_t i = 0; i < d->nin; i++)
        PTQ_TRY(device_copy(d, &d->dev_in[i], &d->in[i]));
    for (size_t i = 0; i < d->nout; i++)
        PTQ_TRY(device_copy(d, &d->dev_out[i], &d->out[i]));
    return PTQ_OK;
}

static ptq_status make_data(ptq_bench_data *d, const ptq_bench_options *opt)
{
    const ptq_graph *g = d->e->model->graph;
    ptq_session_options so = {.device = {.pool = d->e->pool}, .replay = true};
    d->in = ptq_calloc(d->nin, sizeof *d->in);
    d->out = ptq_calloc(d->nout, sizeof *d->out);
    if (!d->in || !d->out)
        return ptq_fail_nomem();
    PTQ_TRY(choose_shapes(d, opt));
    PTQ_TRY(ptq_session_on(d->e->exe, &so, &d->session));
    for (size_t i = 0; i < d->nin; i++) {
        PTQ_TRY(ptq_tensor_alloc(&d->in[i]));
        ptq_noise(g->inputs.v[i], 1, &d->in[i]); /* masks let everything through */
    }
    PTQ_TRY(ptq_session_reserve(d->session, d->in, d->nin));
    if (!ptq_session_outputs_known(d->session) || !d->e->exe->ops->streams)
        return PTQ_OK;
    PTQ_TRY(ptq_session_shapes(d->session, d->in, d->nin, d->out, d->nout));
    return make_device_data(d);
}

static void free_data(ptq_bench_data *d)
{
    for (size_t i = 0; d->in && i < d->nin; i++)
        free(d->in[i].data);
    for (size_t i = 0; i < d->nin + d->nout; i++) {
        ptq_tensor *list = i < d->nin ? d->dev_in : d->dev_out;
        if (list && list[i < d->nin ? i : i - d->nin].data)
            d->e->exe->ops->free(ptq_session_backend(d->session), list[i < d->nin ? i : i - d->nin].data);
    }
    ptq_session_free(d->session);
    free(d->in);
    free(d->out);
    free(d->dev_in);
    free(d->dev_out);
}

/* ---- from device memory ---- */

static ptq_status device_round(ptq_bench_data *d, void **mark, size_t n)
{
    const ptq_stream_ops *st = d->e->exe->ops->streams;
    ptq_backend *b = ptq_session_backend(d->session);
    PTQ_TRY(st->use(b, NULL));
    PTQ_TRY(st->mark(b, &mark[0]));
    for (size_t i = 0; i < n; i++) {
        PTQ_TRY(ptq_session_enqueue(d->session, d->dev_in, d->nin, d->dev_out, d->nout, NULL));
        PTQ_TRY(st->mark(b, &mark[i + 1]));
    }
    return d->e->exe->ops->sync(b);
}

static ptq_status device_times(ptq_bench_data *d, void **mark, ptq_times *t)
{
    const ptq_stream_ops *st = d->e->exe->ops->streams;
    ptq_backend *b = ptq_session_backend(d->session);
    PTQ_TRY(device_round(d, mark, WARM));
    double start = ptq_now();
    PTQ_TRY(device_round(d, mark, RUNS_MIN));
    size_t n = runs_of(d->seconds, (ptq_now() - start) / RUNS_MIN);
    for (int r = -1; r < ROUNDS; r++) { /* the first round brings the clocks up */
        PTQ_TRY(device_round(d, mark, n));
        for (size_t i = 0; i < n && r >= 0; i++) {
            double s;
            PTQ_TRY(st->between(b, mark[i], mark[i + 1], &s));
            PTQ_TRY(times_add(t, s));
        }
        if (r >= 0)
            ptq_times_round(t, n);
    }
    return PTQ_OK;
}

static ptq_status bench_device(ptq_bench_data *d, double samples, json_t *root)
{
    ptq_times t = {0};
    void **mark = ptq_calloc(RUNS_MAX + 1, sizeof *mark);
    ptq_status s = mark ? device_times(d, mark, &t) : ptq_fail_nomem();
    for (size_t i = 0; mark && i <= RUNS_MAX; i++)
        if (mark[i])
            d->e->exe->ops->streams->unmark(ptq_session_backend(d->session), mark[i]);
    if (s == PTQ_OK)
        s = ptq_times_json(&t, samples, root, "from_device");
    free(mark);
    free(t.v);
    return s;
}

/* ---- from host memory ---- */

typedef struct host_run {
    ptq_bench_data *d;
    ptq_context *c[2];
    ptq_tensor *in[2], *out[2]; /* of each context, in memory that the device copies directly */
} host_run;

static ptq_status pinned(ptq_context *c, const ptq_tensor *from, size_t n, ptq_tensor **out)
{
    ptq_tensor *t = *out = ptq_calloc(n, sizeof *t);
    if (!t)
        return ptq_fail_nomem();
    for (size_t i = 0; i < n; i++) {
        t[i] = from[i];
        t[i].data = NULL;
        PTQ_TRY(ptq_context_pin(c, from[i].nbytes, &t[i].data));
        if (from[i].data)
            memcpy(t[i].data, from[i].data, from[i].nbytes);
    }
    return PTQ_OK;
}

static ptq_status host_open(host_run *h)
{
    ptq_bench_data *d = h->d;
    ptq_tensor *shapes = ptq_calloc(d->nout, sizeof *shapes);
    ptq_status s = shapes ? PTQ_OK : ptq_fail_nomem();
    for (int i = 0; i < 2 && s == PTQ_OK; i++) {
        s = ptq_context_new(d->e, d->profile, &h->c[i]);
        s = s == PTQ_OK ? pinned(h->c[i], d->in, d->nin, &h->in[i]) : s;
        s = s == PTQ_OK ? ptq_context_shapes(h->c[i], d->in, d->nin, shapes, d->nout) : s;
        s = s == PTQ_OK ? pinned(h->c[i], shapes, d->nout, &h->out[i]) : s;
    }
    free(shapes);
    return s;
}

static void host_close(host_run *h)
{
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; h->in[i] && k < h->d->nin; k++)
            ptq_context_unpin(h->c[i], h->in[i][k].data);
        for (size_t k = 0; h->out[i] && k < h->d->nout; k++)
            ptq_context_unpin(h->c[i], h->out[i][k].data);
        free(h->in[i]);
        free(h->out[i]);
        ptq_context_free(h->c[i]);
    }
}

static ptq_status host_once(host_run *h, int i)
{
    return ptq_context_run(h->c[i], h->in[i], h->d->nin, h->out[i], h->d->nout);
}

static ptq_status host_times(host_run *h, ptq_times *t, size_t *runs)
{
    double start = 0.0;
    for (int i = 0; i < 2 * WARM; i++) {
        start = ptq_now();
        PTQ_TRY(host_once(h, i % 2));
    }
    *runs = runs_of(h->d->seconds, ptq_now() - start);
    for (int r = 0; r < ROUNDS; r++) {
        for (size_t i = 0; i < *runs; i++) {
            start = ptq_now();
            PTQ_TRY(host_once(h, 0));
            PTQ_TRY(times_add(t, ptq_now() - start));
        }
        ptq_times_round(t, *runs);
    }
    return PTQ_OK;
}

/* Two contexts in turn: the copies of one run beside the work of the other. Seconds of a run. */
static ptq_status host_overlapped(host_run *h, size_t runs, double *seconds)
{
    size_t n = runs * ROUNDS;
    double start = ptq_now();
    for (size_t i = 0; i < n; i++) {
        PTQ_TRY(ptq_context_wait(h->c[i % 2]));
        PTQ_TRY(ptq_context_submit(h->c[i % 2], h->in[i % 2], h->d->nin, h->out[i % 2], h->d->nout));
    }
    PTQ_TRY(ptq_context_wait(h->c[0]));
    PTQ_TRY(ptq_context_wait(h->c[1]));
    *seconds = (ptq_now() - start) / (double)n;
    return PTQ_OK;
}

static ptq_status bench_host(ptq_bench_data *d, double samples, json_t *root)
{
    host_run h = {.d = d};
    ptq_times t = {0};
    size_t runs;
    double one;
    ptq_status s = host_open(&h);
    if (s == PTQ_OK)
        s = host_times(&h, &t, &runs);
    if (s == PTQ_OK)
        s = ptq_times_json(&t, samples, root, "from_host");
    if (s == PTQ_OK && d->e->exe->ops->streams) {
        json_t *o = json_object();
        s = host_overlapped(&h, runs, &one);
        s = s == PTQ_OK ? ptq_json_set(root, "overlapped", o) : (json_decref(o), s);
        s = s == PTQ_OK ? ptq_json_set(o, "run_ms", ptq_json_real(1e3 * one)) : s;
        s = s == PTQ_OK ? ptq_json_set(o, "samples_per_second", ptq_json_real(samples / one)) : s;
    }
    host_close(&h);
    free(t.v);
    return s;
}

/* Outputs whose size the data tell: a session runs them, nothing else can be said before. */
static ptq_status bench_session(ptq_bench_data *d, double samples, json_t *root)
{
    ptq_times t = {0};
    double start = 0.0;
    ptq_status s = PTQ_OK;
    for (int i = 0; i < WARM && s == PTQ_OK; i++) {
        start = ptq_now();
        s = ptq_session_run(d->session, d->in, d->nin, d->out, d->nout);
    }
    size_t n = runs_of(d->seconds, ptq_now() - start);
    for (int r = 0; r < ROUNDS && s == PTQ_OK; r++) {
        for (size_t i = 0; i < n && s == PTQ_OK; i++) {
            start = ptq_now();
            s = ptq_session_run(d->session, d->in, d->nin, d->out, d->nout);
            s = s == PTQ_OK ? times_add(&t, ptq_now() - start) : s;
        }
        if (s == PTQ_OK)
            ptq_times_round(&t, n);
    }
    if (s == PTQ_OK)
        s = ptq_times_json(&t, samples, root, "from_host");
    free(t.v);
    return s;
}

/* ---- the whole ---- */

static ptq_status head_json(const ptq_bench_data *d, json_t *root, double *samples)
{
    json_t *inputs = json_array();
    char text[256];
    PTQ_TRY(ptq_json_set(root, "inputs", inputs));
    *samples = d->nin > 0 && d->in[0].rank > 0 ? (double)d->in[0].dims[0] : 1.0;
    PTQ_TRY(ptq_json_set(root, "backend", json_string(d->e->exe->ops->name)));
    PTQ_TRY(ptq_json_set(root, "device", ptq_json_name(d->e->kind)));
    PTQ_TRY(ptq_json_set(root, "precision", json_string(d->e->precision)));
    PTQ_TRY(ptq_json_set(root, "fast_math", json_boolean(d->e->fast_math)));
    PTQ_TRY(ptq_json_set(root, "threads", json_integer(ptq_pool_threads(d->e->pool))));
    PTQ_TRY(ptq_json_set(root, "batch", ptq_json_real(*samples)));
    for (size_t i = 0; i < d->nin; i++) {
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(inputs, o));
        PTQ_TRY(ptq_json_set(o, "name", ptq_json_name(d->e->model->graph->inputs.v[i]->name)));
        PTQ_TRY(ptq_json_set(o, "shape", json_string(ptq_shape_str(d->in[i].rank, d->in[i].dims, text, sizeof text))));
    }
    PTQ_TRY(ptq_json_set(root, "activation_bytes", ptq_json_real((double)ptq_session_activation_bytes(d->session))));
    return ptq_json_set(root, "alive_bytes", ptq_json_real((double)ptq_session_alive_bytes(d->session)));
}

static ptq_status peaks_json(const ptq_peaks *p, json_t *root)
{
    json_t *o = json_object();
    PTQ_TRY(ptq_json_set(root, "peaks", o));
    PTQ_TRY(ptq_json_set(o, "bytes_per_second", ptq_json_real(p->bytes)));
    PTQ_TRY(ptq_json_set(o, "int8_operations_per_second", ptq_json_real(p->int8)));
    PTQ_TRY(ptq_json_set(o, "float_operations_per_second", ptq_json_real(p->f32)));
    if (p->f16 > 0.0)
        PTQ_TRY(ptq_json_set(o, "float16_operations_per_second", ptq_json_real(p->f16)));
    return ptq_json_set(o, "source", ptq_json_name(p->source));
}

static ptq_status run_all(ptq_bench_data *d, json_t *root)
{
    const ptq_executable *x = d->e->exe;
    ptq_peaks peaks = {0};
    double samples;
    PTQ_TRY(head_json(d, root, &samples));
    if (d->dev_in)
        PTQ_TRY(bench_device(d, samples, root));
    PTQ_TRY(ptq_session_outputs_known(d->session) ? bench_host(d, samples, root) : bench_session(d, samples, root));
    if (x->ops->peaks)
        PTQ_TRY(x->ops->peaks(x->backend, &peaks));
    PTQ_TRY(peaks_json(&peaks, root));
    return ptq_bench_layers(d, &peaks, root);
}

ptq_status ptq_engine_bench(ptq_engine *e, const ptq_bench_options *opt, ptq_report **out)
{
    PTQ_NEEDS(e);
    PTQ_NEEDS(out);
    PTQ_OPTIONS(opt);
    opt = opt ? opt : &defaults;
    if (opt->profile >= e->nprofiles)
        return ptq_fail(PTQ_ERR_ARG, "the engine has %zu profiles, there is no profile %zu", e->nprofiles, opt->profile);
    if (!(opt->seconds >= 0.0 && isfinite(opt->seconds)) || opt->batch < 0)
        return ptq_fail(PTQ_ERR_ARG, "seconds and batch must be 0 or more");
    ptq_report *r;
    PTQ_TRY(ptq_report_new("bench", &r));
    ptq_bench_data d = {.e = e, .profile = opt->profile, .nin = e->model->graph->inputs.n, .nout = e->model->graph->outputs.n,
                        .seconds = opt->seconds > 0.0 ? opt->seconds : 2.0};
    ptq_status s = make_data(&d, opt);
    if (s == PTQ_OK)
        s = run_all(&d, r->root);
    free_data(&d);
    if (s != PTQ_OK) {
        ptq_report_free(r);
        return s;
    }
    *out = r;
    return PTQ_OK;
}
