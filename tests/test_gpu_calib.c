/* SPDX-License-Identifier: Apache-2.0 */
/* Observation on the device: the statistics of values and of whole calibrations are the CPU's, count
 * for count, and (on the stand-in device) every call fails in turn. */
#include "lib/calib/calibrate.h"
#include "lib/calib/stats_h5.h"
#include "lib/jobs/jobs.h"
#include "tests/gpu.h"
#include "tests/graph_text.h"
#include "tests/stats_kit.h"
#ifdef PTQ_TEST_FAKE
#include "tests/fake_dev.h"
#endif

/* ---- values ---- */

typedef struct drawn { /* [samples][outer][channels][inner] */
    int64_t samples, outer, channels, inner;
} drawn;

static const drawn layouts[] = {
    {1, 1, 1, 1}, {1, 1, 1, 31}, {1, 1, 1, 2049}, {1, 3, 5, 7}, {7, 1, 64, 49}, {2, 1, 3, 4097},
    {3, 5, 17, 1}, {5, 1, 1000, 1}, {7, 1, 13, 33}, {1, 2, 4, 0}, {3, 1, 0, 5}, {64, 1, 3, 1000}, {2, 1, 24, 8111},
};

static float *draw(const drawn *d, size_t kind, uint64_t seed)
{
    static float kinds[STK_VALUES];
    size_t have = stk_fill(kind, kinds), n = (size_t)(d->samples * d->outer * d->channels * d->inner);
    float *v = malloc((n + 1) * sizeof *v);
    ptq_rng r;
    ptq_rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        v[i] = kinds[ptq_rng_below(&r, (uint32_t)have)];
    return v;
}

static void on_host(ptq_tensor_stats *s, const drawn *d, int axis, const float *v)
{
    int64_t n = d->outer * d->channels * d->inner, dims[3] = {d->outer, d->channels, d->inner};
    for (int64_t i = 0; i < d->samples; i++)
        ck_assert_ok(ptq_stats_observe(s, v + i * n, (size_t)n, 3, dims, axis));
}

static void on_device(ptq_backend *b, ptq_tally *t, ptq_tensor_stats *s, const drawn *d, int axis, const float *v,
                      size_t at)
{
    void *x;
    const ptq_summary *all;
    size_t nbytes = (size_t)(d->samples * d->outer * d->channels * d->inner) * sizeof *v;
    ck_assert_ok(ptq_backend_cuda.alloc(b, nbytes ? nbytes : 1, &x));
    ck_assert_ok(ptq_backend_cuda.upload(b, x, v, nbytes));
    ptq_tally_values in = {x, (size_t)d->samples, d->outer, d->channels, d->inner, axis};
    ck_assert_ok(ptq_backend_cuda.tally->add(t, at, at, &in));
    ck_assert_ok(ptq_backend_cuda.tally->samples(t, &all));
    for (int64_t i = 0; i < d->samples; i++)
        ptq_stats_add_sample(s, &all[at * 64 + (size_t)i]);
    ptq_backend_cuda.free(b, x);
}

static void take(ptq_tally *t, ptq_tensor_stats *s, size_t at)
{
    ptq_counts c;
    ck_assert_ok(ptq_backend_cuda.tally->take(t, at, &c));
    ck_assert_ok(ptq_stats_add_counts(s, &c));
}

/* Each layout twice with other values, counts taken between the two, behind them, or both. */
static void all_layouts(ptq_backend *b, ptq_tally *t, size_t kind)
{
    for (size_t l = 0; l < PTQ_COUNT(layouts); l++) {
        const drawn *d = &layouts[l];
        int axis = l % 4 == 3 ? -1 : 1;
        ptq_tensor_stats *want = stk_new(), *got = stk_new();
        for (uint64_t turn = 0; turn < 2; turn++) {
            float *v = draw(d, turn ? kind : (kind + l) % STK_KINDS, 10 * l + turn);
            on_host(want, d, axis, v);
            on_device(b, t, got, d, axis, v, l % 3);
            if (turn || l % 2)
                take(t, got, l % 3);
            free(v);
        }
        ck_assert_msg(ptq_stats_equal(want, got), "kind %zu, layout %zu", kind, l);
        take(t, got, l % 3); /* nothing */
        ck_assert_msg(ptq_stats_equal(want, got), "kind %zu, layout %zu: taken twice", kind, l);
        ptq_stats_free(want);
        ptq_stats_free(got);
    }
}

START_TEST(values__counted_as_on_the_host)
{
    ptq_backend *b;
    ptq_tally *t;
    ck_assert_ok(ptq_backend_cuda.open(NULL, &b));
    for (int reference = 0; reference < 2; reference++) {
        setenv("PTQ_GPU_REF", reference ? "1" : "0", 1);
        ck_assert_ok(ptq_backend_cuda.tally->open(b, 3, 3, 64, &t));
        all_layouts(b, t, (size_t)_i);
        ptq_backend_cuda.tally->close(t);
    }
    unsetenv("PTQ_GPU_REF");
    ptq_backend_cuda.close(b);
}
END_TEST

/* ---- calibrations ---- */

typedef struct source { /* of a model with one input */
    ptq_sample_source s;
    const ptq_graph *g;
    size_t bad;    /* this sample holds a NaN; SIZE_MAX: none */
    size_t broken; /* this one cannot be read; SIZE_MAX: all can */
    bool ragged; /* samples differ in axis 1; the fourth is empty */
} source;

static ptq_status read_sample(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    const source *s = ctx;
    const ptq_shape *shape = &s->g->inputs.v[0]->shape;
    ptq_rng r;
    ck_assert_uint_eq(n, 1);
    if (i == s->broken)
        return ptq_fail(PTQ_ERR_DATA, "broken");
    in[0] = (ptq_tensor){.dtype = PTQ_DT_F32, .rank = shape->rank, .dims = {1}};
    for (int d = 1; d < shape->rank; d++)
        in[0].dims[d] = s->ragged && d == 1 ? (int64_t)(3 - i % 4) : shape->dims[d].add;
    PTQ_TRY(ptq_tensor_alloc(&in[0]));
    ptq_rng_seed(&r, 500 + i);
    for (int64_t k = 0; k < ptq_tensor_elements(&in[0]); k++)
        ((float *)in[0].data)[k] = ptq_rng_normal(&r);
    if (i == s->bad)
        ((float *)in[0].data)[3] = NAN;
    return PTQ_OK;
}

static source source_of(const ptq_graph *g, size_t count)
{
    return (source){.s = {.count = count, .read = read_sample}, .g = g, .bad = SIZE_MAX, .broken = SIZE_MAX};
}

static ptq_statistics *empty(const ptq_graph *g, size_t count)
{
    const char **names = calloc(g->values.n, sizeof *names);
    ptq_dtype *types = calloc(g->values.n, sizeof *types);
    ptq_statistics *s;
    size_t n = 0;
    for (size_t i = 0; i < g->values.n; i++)
        if (g->values.v[i] && g->values.v[i]->dtype == PTQ_DT_F32 && !g->values.v[i]->constant) {
            names[n] = g->values.v[i]->name;
            types[n++] = PTQ_DT_F32;
        }
    ck_assert_ok(ptq_statistics_new(names, types, n, count, "", &s));
    free(names);
    free(types);
    return s;
}

static ptq_status run_on(const ptq_backend_ops *ops, source *src, ptq_calibrate_options o, ptq_statistics **out)
{
    o.ops = ops;
    src->s.ctx = src;
    *out = empty(src->g, src->s.count);
    return ptq_calibrate(src->g, &src->s, &o, *out);
}

static void same(const ptq_statistics *a, const ptq_statistics *b, const char *what)
{
    char x[65], y[65];
    ck_assert_uint_eq(a->ntensors, b->ntensors);
    for (size_t i = 0; i < a->ntensors; i++)
        ck_assert_msg(ptq_stats_equal(a->tensors[i], b->tensors[i]), "%s: %s", what, a->tensors[i]->name);
    ck_assert_ok(ptq_stats_digest(a, x));
    ck_assert_ok(ptq_stats_digest(b, y));
    ck_assert_str_eq(x, y);
}

/* The same statistics from both, in batches of any size, and from shards of either. */
static void both(const ptq_graph *g, size_t count, const char *what)
{
    static const size_t batches[] = {1, 7, 0};
    source src = source_of(g, count);
    ptq_statistics *want, *got, *part;
    ck_assert_ok(run_on(NULL, &src, (ptq_calibrate_options){0}, &want));
    ck_assert_uint_gt(want->ntensors, 1);
    for (size_t i = 0; i < PTQ_COUNT(batches); i++) {
        ck_assert_ok(run_on(&ptq_backend_cuda, &src, (ptq_calibrate_options){.batch = batches[i]}, &got));
        same(want, got, what);
        ptq_statistics_free(got);
    }
    for (size_t k = 0; k < 2; k++) {
        ptq_calibrate_options o = {.nshards = 2, .shard = k};
        ck_assert_ok(run_on(&ptq_backend_cuda, &src, o, &got));
        o.shard = 1 - k;
        ck_assert_ok(run_on(NULL, &src, o, &part));
        ck_assert_ok(ptq_statistics_merge(got, part));
        same(want, got, "shards");
        ptq_statistics_free(part);
        ptq_statistics_free(got);
    }
    ptq_statistics_free(want);
}

START_TEST(calibrate__embedded_model)
{
    char path[1024];
    const char *src = getenv("srcdir");
    ptq_model *m;
    snprintf(path, sizeof path, "%s/data/shapes.onnx", src ? src : ".");
    ck_assert_ok(ptq_model_load(path, NULL, &m));
    ck_assert_ok(ptq_model_optimize(m));
    both(m->graph, 19, "shapes");
    ptq_model_free(m);
}
END_TEST

static const char *const graphs[] = {
    "input x f32 [b,5,9,7]\nconst w f32 [17,5,3,3]\nc = Conv(x, w) pads=[1,1,1,1]\nr = Relu(c)\n"
    "p = MaxPool(r) kernel_shape=[3,3] strides=[2,2]\nf = Flatten(p)\nconst v f32 [204,10]\ny = MatMul(f, v)\n"
    "s = Softmax(y) axis=-1\noutput s\n",
    /* an operator without a kernel: its result comes from the host */
    "input x f32 [b,11,24]\nconst w f32 [24,9]\nh = MatMul(x, w)\ns = Sin(h)\nt = Transpose(s) perm=[0,2,1]\n"
    "const k f32 [] 1e-42\nd = Mul(t, k)\nq = Sqrt(t)\noutput d\noutput q\n",
    "input x f32 [b]\ny = Neg(x)\nz = Abs(y)\noutput z\n",
};

START_TEST(calibrate__graphs)
{
    ptq_graph *g = gt_parse(graphs[_i]);
    ck_assert_ok(ptq_infer_graph(g));
    source src = source_of(g, 9);
    char what[32];
    snprintf(what, sizeof what, "graph %d", _i);
    if (_i != 1) {
        both(g, 9, what);
    } else { /* Sqrt gives NaN */
        ptq_statistics *want, *got;
        ptq_calibrate_options o = {.nonfinite_ok = true, .batch = 4};
        ck_assert_ok(run_on(NULL, &src, o, &want));
        ck_assert_ok(run_on(&ptq_backend_cuda, &src, o, &got));
        same(want, got, what);
        ck_assert_uint_gt(ptq_statistics_find(got, "q")->summary.nan, 0);
        ptq_statistics_free(want);
        ptq_statistics_free(got);
    }
    ptq_graph_free(g);
}
END_TEST

/* Unreadable samples, at any place of a batch that is read while the one before runs. */
START_TEST(calibrate__unreadable_samples)
{
    ptq_graph *g = gt_parse(graphs[0]);
    ck_assert_ok(ptq_infer_graph(g));
    source src = source_of(g, 9);
    ptq_calibrate_options o = {.batch = 2, .max_bad_share = 0.2};
    for (src.broken = 0; src.broken < 9; src.broken++) {
        ptq_statistics *want, *got;
        ck_assert_ok(run_on(NULL, &src, o, &want));
        ck_assert_ok(run_on(&ptq_backend_cuda, &src, o, &got));
        ck_assert_uint_eq(ptq_statistics_bad(got), 1);
        same(want, got, "unreadable");
        ptq_statistics_free(want);
        ptq_statistics_free(got);
    }
    ptq_graph_free(g);
}
END_TEST

/* More tensors than slots on the device, and channels that change from sample to sample. */
START_TEST(calibrate__many_tensors_of_any_shape)
{
    char *text = malloc(1 << 16);
    size_t at = (size_t)sprintf(text, "input v0 f32 [b,n,3]\n");
    for (int i = 1; i <= 300; i++)
        at += (size_t)sprintf(text + at, "v%d = %s(v%d)\n", i, i % 2 ? "Neg" : "Relu", i - 1);
    sprintf(text + at, "output v300\n");
    ptq_graph *g = gt_parse(text);
    ck_assert_ok(ptq_infer_graph(g));
    source src = source_of(g, 8);
    ptq_statistics *want, *got;
    for (int ragged = 0; ragged < 2; ragged++) {
        src.ragged = ragged;
        ((ptq_value *)g->inputs.v[0])->shape.dims[1].add = ragged ? 0 : 2;
        ck_assert_ok(run_on(NULL, &src, (ptq_calibrate_options){.batch = 1}, &want));
        ck_assert_ok(run_on(&ptq_backend_cuda, &src, (ptq_calibrate_options){.batch = 1}, &got));
        same(want, got, "many");
        ck_assert_int_eq(ptq_statistics_find(got, "v7")->channel.channels, ragged ? -1 : 2);
        ptq_statistics_free(want);
        ptq_statistics_free(got);
    }
    ptq_graph_free(g);
    free(text);
}
END_TEST

START_TEST(calibrate__nonfinite_sample_is_named)
{
    ptq_graph *g = gt_parse(graphs[0]);
    ck_assert_ok(ptq_infer_graph(g));
    source src = source_of(g, 9);
    ptq_statistics *s;
    char says[300];
    src.bad = 5;
    ck_assert_fails(run_on(NULL, &src, (ptq_calibrate_options){.batch = 4}, &s), PTQ_ERR_DATA);
    snprintf(says, sizeof says, "%s", ptq_last_error());
    ptq_statistics_free(s);
    ck_assert_fails(run_on(&ptq_backend_cuda, &src, (ptq_calibrate_options){.batch = 4}, &s), PTQ_ERR_DATA);
    ck_assert_str_eq(ptq_last_error(), says);
    ck_assert_says("'x' holds NaN or infinity for sample 5");
    ptq_statistics_free(s);
    ptq_graph_free(g);
}
END_TEST

static bool stop_after(void *ctx, size_t done, size_t total)
{
    (void)total;
    return done < *(size_t *)ctx;
}

START_TEST(calibrate__interrupted_and_resumed)
{
    ptq_graph *g = gt_parse(graphs[0]);
    ck_assert_ok(ptq_infer_graph(g));
    source src = source_of(g, 9);
    size_t stop = 4;
    ptq_statistics *want, *got;
    ptq_calibrate_options o = {.batch = 2, .progress = stop_after, .ctx = &stop};
    ck_assert_ok(run_on(NULL, &src, (ptq_calibrate_options){0}, &want));
    ck_assert_fails(run_on(&ptq_backend_cuda, &src, o, &got), PTQ_ERR_INTERRUPTED);
    ck_assert_uint_eq(ptq_statistics_done(got), 4);
    ck_assert_ok(ptq_calibrate(g, &src.s, &(ptq_calibrate_options){.ops = &ptq_backend_cuda}, got));
    same(want, got, "resumed");
    ptq_statistics_free(want);
    ptq_statistics_free(got);
    ptq_graph_free(g);
}
END_TEST

/* ---- failures ---- */

#ifdef PTQ_TEST_FAKE
static void fail_everywhere(source *src, ptq_status status)
{
    ptq_statistics *want, *got;
    ptq_calibrate_options o = {.batch = 4};
    size_t went_on = 0;
    ck_assert_ok(run_on(NULL, src, o, &want));
    for (long n = 1;; n++) {
        ptq_fake_fail(n, status);
        ptq_status s = run_on(&ptq_backend_cuda, src, o, &got);
        long calls = ptq_fake_calls;
        ptq_fake_fail(0, PTQ_OK);
        ck_assert_msg(ptq_fake_live == 0, "call %ld: %ld allocations are left", n, ptq_fake_live);
        if (s == PTQ_OK)
            same(want, got, "after a failure");
        else
            ck_assert_msg(s == status && strstr(ptq_last_error(), ": injected failure"), "call %ld: %d: %s", n, (int)s,
                          ptq_last_error());
        ptq_statistics_free(got);
        if (calls < n)
            break;
        went_on += s == PTQ_OK;
    }
    /* Where memory is short before anything is counted, a batch goes in halves. */
    ck_assert_uint_eq(went_on > 0, status == PTQ_ERR_NOMEM);
    ptq_statistics_free(want);
}

START_TEST(calibrate__every_call_may_fail)
{
    ptq_graph *g = gt_parse(graphs[0]);
    ck_assert_ok(ptq_infer_graph(g));
    source src = source_of(g, 9);
    fail_everywhere(&src, _i ? PTQ_ERR_NOMEM : PTQ_ERR_DEVICE);
    ptq_graph_free(g);
}
END_TEST
/* From no memory to plenty: the same statistics, or (where it ends within a run) the error. */
START_TEST(calibrate__little_memory)
{
    ptq_graph *g = gt_parse(graphs[0]);
    size_t good = 0, tried = 0;
    ck_assert_ok(ptq_infer_graph(g));
    source src = source_of(g, 9);
    ptq_statistics *want, *got;
    ptq_calibrate_options o = {.batch = 8};
    ck_assert_ok(run_on(NULL, &src, o, &want));
    for (size_t memory = 1; memory < (size_t)1 << 33; memory += 1 + memory / 3) {
        ptq_fake_memory = memory;
        ptq_status s = run_on(&ptq_backend_cuda, &src, o, &got);
        ptq_fake_memory = 0;
        ck_assert_int_eq(ptq_fake_live, 0);
        ck_assert_msg(s == PTQ_OK || s == PTQ_ERR_NOMEM, "%zu bytes: %d: %s", memory, (int)s, ptq_last_error());
        if (s == PTQ_OK)
            same(want, got, "little memory");
        ck_assert_msg(s == PTQ_OK || memory > 1024, "%zu bytes: %s", memory, ptq_last_error());
        ptq_statistics_free(got);
        good += s == PTQ_OK;
        tried++;
    }
    printf("%zu of %zu sizes of memory were enough, or the CPU took over\n", good, tried);
    ck_assert_uint_gt(good, tried / 2);
    ptq_statistics_free(want);
    ptq_graph_free(g);
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("gpu_calib");
    TCase *t = tcase_create("calib");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, values__counted_as_on_the_host, 0, STK_KINDS);
    tcase_add_test(t, calibrate__embedded_model);
    tcase_add_loop_test(t, calibrate__graphs, 0, (int)PTQ_COUNT(graphs));
    tcase_add_test(t, calibrate__unreadable_samples);
    tcase_add_test(t, calibrate__many_tensors_of_any_shape);
    tcase_add_test(t, calibrate__nonfinite_sample_is_named);
    tcase_add_test(t, calibrate__interrupted_and_resumed);
#ifdef PTQ_TEST_FAKE
    tcase_add_test(t, calibrate__little_memory);
    tcase_add_loop_test(t, calibrate__every_call_may_fail, 0, 2);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
