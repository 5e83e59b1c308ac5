/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration of a model on images that lie in memory, and where its time goes: reading the samples, the
 * forward run, the observation of its tensors, the ranges. Without a model: ResNet-50 for 224 x 224 with
 * random weights. Random images, or the samples of a .npy file.
 *     bench_calib [-m MODEL.onnx] [-x SAMPLES.npy] [-n IMAGES] [-b BATCH] [-d BACKEND] [-t THREADS] [-r REPEATS]
 *                 [-M METHOD] [-s STEPS]
 * METHOD: of the ranges (default entropy). STEPS: how many of the slowest are listed (default 12). On one thread of
 * the CPU it is processor time, so that other work on the machine counts less. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/jobs/jobs.h"
#include "lib/jobs/quantize.h"
#include "lib/quant/place.h"
#include "tests/npy_io.h"

static clockid_t clock_used = CLOCK_MONOTONIC;

static double now(void)
{
    struct timespec t;
    clock_gettime(clock_used, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(ptq_status s)
{
    if (s == PTQ_OK)
        return;
    fprintf(stderr, "error: %s\n", ptq_last_error());
    exit(1);
}

/* ---- ResNet-50, batch normalization folded ---- */

static ptq_graph *g;
static ptq_rng rng;

static ptq_value *constant(int rank, const int64_t *dims, double spread)
{
    ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = rank};
    ptq_value *v;
    memcpy(t.dims, dims, sizeof *dims * (size_t)rank);
    must(ptq_tensor_alloc(&t));
    for (int64_t i = 0; i < ptq_tensor_elements(&t); i++)
        ((float *)t.data)[i] = (float)(spread * (double)ptq_rng_normal(&rng));
    must(ptq_graph_constant(g, "w", &t, true, &v));
    free(t.data);
    return v;
}

static ptq_value *result(ptq_node *n)
{
    ptq_value *v;
    must(ptq_graph_value(g, ptq_graph_unique_name(g, n->op), &v));
    ptq_node_set_output(g, n, 0, v);
    return v;
}

static ptq_value *node(const char *op, int nin, ptq_value *const *in, ptq_node **out)
{
    must(ptq_graph_node(g, op, "", NULL, nin, 1, NULL, out));
    for (int i = 0; i < nin; i++)
        ptq_node_set_input(g, *out, i, in[i]);
    return result(*out);
}

static ptq_value *apply(const char *op, ptq_value *a, ptq_value *b)
{
    ptq_node *n;
    return node(op, b ? 2 : 1, (ptq_value *[]){a, b}, &n);
}

static void window(ptq_node *n, int64_t k, int64_t stride)
{
    const int64_t p = k / 2;
    must(ptq_attr_set_ints(g, n, "kernel_shape", (int64_t[]){k, k}, 2));
    must(ptq_attr_set_ints(g, n, "strides", (int64_t[]){stride, stride}, 2));
    must(ptq_attr_set_ints(g, n, "pads", (int64_t[]){p, p, p, p}, 4));
}

static ptq_value *conv(ptq_value *x, int64_t c, int64_t m, int64_t k, int64_t stride, double gain)
{
    ptq_node *n;
    ptq_value *w = constant(4, (int64_t[]){m, c, k, k}, gain * sqrt(2.0 / (double)(c * k * k)));
    ptq_value *y = node("Conv", 3, (ptq_value *[]){x, w, constant(1, &m, 0.1)}, &n);
    window(n, k, stride);
    return y;
}

static ptq_value *bottleneck(ptq_value *x, int64_t c, int64_t width, int64_t stride)
{
    ptq_value *y = apply("Relu", conv(x, c, width, 1, 1, 1.0), NULL);
    y = apply("Relu", conv(y, width, width, 3, stride, 1.0), NULL);
    y = conv(y, width, 4 * width, 1, 1, 0.3);
    if (c != 4 * width)
        x = conv(x, c, 4 * width, 1, stride, 0.7);
    return apply("Relu", apply("Add", y, x), NULL);
}

static ptq_graph *resnet50(void)
{
    static const int blocks[4] = {3, 4, 6, 3};
    ptq_node *n;
    ptq_value *x;
    must(ptq_graph_new(&g));
    g->opset = 17;
    ptq_rng_seed(&rng, 1);
    must(ptq_graph_value(g, "x", &x));
    x->dtype = PTQ_DT_F32;
    x->shape = (ptq_shape){4, {ptq_dim_sym(ptq_symbol(g, "batch")), ptq_dim_of(3), ptq_dim_of(224), ptq_dim_of(224)}};
    must(ptq_graph_add_input(g, x));
    x = apply("Relu", conv(x, 3, 64, 7, 2, 1.0), NULL);
    x = node("MaxPool", 1, &x, &n);
    window(n, 3, 2);
    for (int64_t stage = 0, c = 64; stage < 4; stage++)
        for (int i = 0; i < blocks[stage]; i++, c = 256 << stage)
            x = bottleneck(x, c, 64 << stage, i == 0 && stage > 0 ? 2 : 1);
    x = apply("Flatten", apply("GlobalAveragePool", x, NULL), NULL);
    x = node("Gemm", 2, (ptq_value *[]){x, constant(2, (int64_t[]){2048, 1000}, 0.03)}, &n);
    must(ptq_graph_add_output(g, x));
    return g;
}

/* ---- samples in memory ---- */

typedef struct memory {
    ptq_tensor one; /* shape of a sample */
    size_t count;
    void *values;
} memory;

static ptq_status read_sample(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    const memory *m = ctx;
    (void)n;
    in[0] = m->one;
    PTQ_TRY(ptq_tensor_alloc(&in[0]));
    memcpy(in[0].data, (const char *)m->values + i * in[0].nbytes, in[0].nbytes);
    return PTQ_OK;
}

/* The samples of a file, at most `count`. */
static memory samples_of(const char *path, size_t count)
{
    ptq_tensor t;
    must(npy_read(path, &t));
    memory m = {.one = t, .count = (size_t)t.dims[0] < count ? (size_t)t.dims[0] : count, .values = t.data};
    m.one.nbytes = t.nbytes / (size_t)t.dims[0];
    m.one.dims[0] = 1;
    m.one.data = NULL;
    return m;
}

static memory images_of(const ptq_graph *graph, size_t count)
{
    const ptq_value *x = graph->inputs.v[0];
    memory m = {.one = {.dtype = PTQ_DT_F32, .rank = x->shape.rank, .dims = {1}}, .count = count};
    if (graph->inputs.n != 1 || x->dtype != PTQ_DT_F32) {
        fprintf(stderr, "error: the model needs one float input\n");
        exit(1);
    }
    for (int d = 1; d < x->shape.rank; d++)
        m.one.dims[d] = x->shape.dims[d].sym == PTQ_SYM_NONE ? x->shape.dims[d].add : 224;
    size_t n = (size_t)ptq_tensor_elements(&m.one) * count;
    must(ptq_tensor_nbytes(PTQ_DT_F32, m.one.rank, m.one.dims, &m.one.nbytes) ? PTQ_OK : PTQ_ERR_ARG);
    float *values = malloc(n * sizeof *values);
    if (!values)
        must(ptq_fail_nomem());
    m.values = values;
    ptq_rng_seed(&rng, 2);
    for (size_t i = 0; i < n; i++) /* uniform in [-2, 2], cheap to draw */
        values[i] = 4.0f * ptq_rng_uniform(&rng) - 2.0f;
    return m;
}

/* ---- what is timed ---- */

typedef struct bench {
    ptq_model *model;
    memory images;
    ptq_sample_source source;
    ptq_pool *pool;
    const char *backend, *method;
    size_t batch, listed;
} bench;

/* Reading and joining, and with a session the untapped run. */
static double forward(const bench *b, ptq_session *s)
{
    const ptq_graph *graph = b->model->graph;
    ptq_feed feed = {.source = &b->source, .graph = graph, .pool = b->pool, .limit = b->images.count};
    ptq_tensor in[1], *out = ptq_calloc(graph->outputs.n, sizeof *out);
    size_t *idx = ptq_calloc(3 * b->batch, sizeof *idx), *kept = idx + b->batch, nkept, used;
    double t0 = now();
    for (size_t at = 0; at < b->images.count; at += used) {
        size_t n = b->images.count - at < b->batch ? b->images.count - at : b->batch;
        for (size_t i = 0; i < n; i++)
            idx[i] = at + i;
        must(ptq_feed_batch(&feed, idx, n, in, kept, &nkept, &used));
        if (s)
            must(ptq_session_run(s, in, 1, out, graph->outputs.n));
        ptq_feed_release(graph, in);
    }
    double t = now() - t0;
    free(idx);
    free(out);
    return t;
}

static ptq_session *session_of(const bench *b)
{
    ptq_session *s;
    ptq_session_options o = {.backend = b->backend, .device = {.pool = b->pool}, .lower = {.fuse = true}};
    must(ptq_session_new(b->model->graph, &o, &s));
    return s;
}

static bool note_start(void *ctx, size_t done, size_t total)
{
    (void)total;
    if (done == 0)
        *(double *)ctx = now();
    return true;
}

/* Seconds from the first batch on. */
static double calibrate(const bench *b, ptq_statistics **out)
{
    const ptq_graph *graph = b->model->graph;
    bool *select;
    double start = 0.0;
    const char **names = ptq_calloc(graph->values.n, sizeof *names);
    ptq_dtype *types = ptq_calloc(graph->values.n, sizeof *types);
    size_t n = 0;
    must(ptq_observed_values(graph, &select));
    for (size_t i = 0; i < graph->values.n; i++)
        if (select[i]) {
            names[n] = graph->values.v[i]->name;
            types[n++] = PTQ_DT_F32;
        }
    must(ptq_statistics_new(names, types, n, b->images.count, "", out));
    ptq_calibrate_options o = {.select = select, .batch = b->batch, .pool = b->pool, .backend = b->backend,
                               .progress = note_start, .ctx = &start};
    must(ptq_calibrate(graph, &b->source, &o, *out));
    double t = now() - start;
    free(names);
    free(types);
    free(select);
    return t;
}

static double solve(const bench *b, const ptq_statistics *stats)
{
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    ptq_choice choice = {0};
    ptq_qspec spec;
    ptq_decision d;
    must(ptq_qspec_make(&o, &spec));
    must(ptq_range_find(b->method, &choice.method));
    double t0 = now();
    must(ptq_decide(b->model->graph, stats, &spec, &choice, &d));
    double t = now() - t0;
    ptq_decision_clear(&d);
    ptq_qspec_clear(&spec);
    return t;
}

typedef struct cost {
    const char *name, *op;
    double seconds;
    bool host;
} cost;

static int by_cost(const void *a, const void *b)
{
    double x = ((const cost *)a)->seconds, y = ((const cost *)b)->seconds;
    return (x < y) - (x > y);
}

/* Times of the steps in untapped runs of the first batch. */
static void time_steps(const bench *b, ptq_session *s, ptq_step_time *t)
{
    enum { RUNS = 5 };
    const ptq_graph *graph = b->model->graph;
    size_t n = b->batch < b->images.count ? b->batch : b->images.count, nkept = 0, used;
    size_t *idx = ptq_calloc(n, sizeof *idx), *kept = ptq_calloc(n, sizeof *kept);
    ptq_tensor in[1], *out = ptq_calloc(graph->outputs.n, sizeof *out);
    ptq_feed feed = {.source = &b->source, .graph = graph, .pool = b->pool, .limit = n};
    bool recorded;
    for (size_t i = 0; i < n; i++)
        idx[i] = i;
    must(ptq_feed_batch(&feed, idx, n, in, kept, &nkept, &used));
    must(ptq_session_profile(s, in, 1, out, graph->outputs.n, false, RUNS, t, &recorded));
    ptq_feed_release(graph, in);
    free(idx);
    free(kept);
    free(out);
}

/* The steps that take most of a run. */
static void slowest(const bench *b)
{
    ptq_session *s = session_of(b);
    const ptq_program *p = ptq_session_program(s);
    cost *c = ptq_calloc(p->steps.n, sizeof *c);
    ptq_step_time *t = ptq_calloc(p->steps.n, sizeof *t);
    double all = 0.0;
    time_steps(b, s, t);
    for (size_t i = 0; i < p->steps.n; i++) {
        const ptq_step *st = &p->steps.v[i];
        c[i] = (cost){st->name, st->node ? st->node->op : st->def->name, t[i].seconds,
                      ptq_session_step_on_host(s, (int)i)};
        all += c[i].seconds;
    }
    qsort(c, p->steps.n, sizeof *c, by_cost);
    printf("slowest of %zu steps, %.3f s together in a run of one batch:\n", p->steps.n, all);
    for (size_t i = 0; i < p->steps.n && i < b->listed; i++)
        printf("  %8.1f ms  %-12s %s%s\n", 1e3 * c[i].seconds, c[i].op, c[i].name, c[i].host ? " (on the host)" : "");
    free(c);
    free(t);
    ptq_session_free(s);
}

static void report(const bench *b)
{
    ptq_statistics *stats;
    ptq_session *s = session_of(b);
    double fed = forward(b, NULL), ran = forward(b, s);
    double again = forward(b, s);
    ran = again < ran ? again : ran;
    ptq_session_free(s);
    double all = calibrate(b, &stats), solved = solve(b, stats);
    double values = 0.0;
    for (size_t i = 0; i < stats->ntensors; i++)
        values += (double)stats->tensors[i]->summary.finite;
    printf("%zu tensors, %.1f million values: read %.3f s, forward %.3f s, observe %.3f s, together %.3f s; ranges (%s) %.3f s; "
           "first batch to all scales %.3f s\n",
           stats->ntensors, 1e-6 * values, fed, ran - fed, all - ran, all, b->method, solved, all + solved);
    fflush(stdout);
    ptq_statistics_free(stats);
}

int main(int argc, char **argv)
{
    const char *path = NULL, *samples = NULL;
    size_t images = 512, repeats = 3;
    int threads = 0, c;
    bench b = {.batch = 64, .backend = "cuda", .method = "entropy", .listed = 12};
    while ((c = getopt(argc, argv, "m:n:b:d:t:r:x:M:s:")) != -1)
        switch (c) {
        case 'm': path = optarg; break;
        case 'n': images = strtoul(optarg, NULL, 10); break;
        case 'b': b.batch = strtoul(optarg, NULL, 10); break;
        case 'd': b.backend = optarg; break;
        case 't': threads = (int)strtol(optarg, NULL, 10); break;
        case 'x': samples = optarg; break;
        case 'M': b.method = optarg; break;
        case 's': b.listed = strtoul(optarg, NULL, 10); break;
        case 'r': repeats = strtoul(optarg, NULL, 10); break;
        default: return 2;
        }
    must(path ? ptq_model_load(path, NULL, &b.model) : ptq_model_wrap(resnet50(), &b.model));
    must(ptq_model_optimize(b.model));
    must(ptq_pool_new(threads, &b.pool));
    if (threads == 1 && strcmp(b.backend, "cpu") == 0)
        clock_used = CLOCK_THREAD_CPUTIME_ID;
    b.images = samples ? samples_of(samples, images) : images_of(b.model->graph, images);
    b.source = (ptq_sample_source){.ctx = &b.images, .count = b.images.count, .read = read_sample};
    printf("%s, %zu images, batches of %zu, %d threads, backend %s\n", path ? path : "ResNet-50 224", b.images.count, b.batch,
           ptq_pool_threads(b.pool), b.backend);
    for (size_t i = 0; i < repeats; i++)
        report(&b);
    if (b.listed > 0)
        slowest(&b);
    ptq_pool_free(b.pool);
    ptq_model_free(b.model);
    free(b.images.values);
    return 0;
}
