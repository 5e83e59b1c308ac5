/* SPDX-License-Identifier: Apache-2.0 */
/* Engines: the same bytes as a session in every form (built, from a plan, several contexts), profiles,
 * damaged plans, timing caches. On the CPU, on the stand-in device, and on a real one. */
#ifndef PTQ_TEST_GPU
#define PTQ_TEST_CPU
#endif
#include <unistd.h>

#include "lib/core/qmath.h"
#include "lib/jobs/engine.h"
#include "tests/gpu_session.h"
#include "tests/graph_text.h"
#include "tests/scratch.h"
#ifdef PTQ_TEST_FAKE
#include "tests/fake_dev.h"
#endif
#ifdef PTQ_TEST_GPU
#define BACKEND (&ptq_backend_cuda)
#else
#define BACKEND ptq_backend_find("cpu")
#endif

static gs_data images = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 32, 32}};

static ptq_model *quantized(void)
{
    ptq_model *m = gs_shapes(), *q = gs_quantize(m, &images, 8, "ort", "qdq");
    ptq_model_free(m);
    return q;
}

static ptq_engine *build(const ptq_model *m, const ptq_engine_options *opt)
{
    ptq_engine *e;
    ck_assert_ok(ptq_engine_build_on(BACKEND, m, opt, &e));
    return e;
}

static ptq_engine *through_plan(ptq_engine *e)
{
    void *bytes, *again;
    size_t n, m;
    ptq_engine *l;
    ck_assert_ok(ptq_engine_serialize(e, &bytes, &n));
    ck_assert_ok(ptq_engine_deserialize_on(BACKEND, bytes, n, NULL, &l));
    ck_assert_ok(ptq_engine_serialize(l, &again, &m));
    ck_assert_uint_eq(n, m);
    ck_assert_int_eq(memcmp(bytes, again, n), 0);
    free(bytes);
    free(again);
    ptq_engine_free(e);
    return l;
}

/* What a session on the CPU gives for this batch. */
static void expected(const ptq_model *m, const ptq_tensor *x, bool integer, gs_record *want)
{
    ptq_session *s;
    ptq_session_options o = gs_options(NULL, NULL);
    if (!integer)
        o.lower = (ptq_lower_options){.fuse = true};
    ck_assert_ok(ptq_session_new(m->graph, &o, &s));
    ck_assert_ok(gs_run(s, m->graph, x, want));
    ptq_session_free(s);
}

static void same_as_session(const ptq_model *m, ptq_context *c, int64_t batch, uint64_t seed, bool integer)
{
    gs_record want = {0};
    ptq_tensor x = gs_batch(&images, batch, seed), y;
    expected(m, &x, integer, &want);
    ck_assert_ok(ptq_context_shapes(c, &x, 1, &y, 1));
    ck_assert_uint_eq(y.nbytes, want.v[0].t.nbytes);
    y.data = malloc(y.nbytes);
    ck_assert_ok(ptq_context_run(c, &x, 1, &y, 1));
    ck_assert_int_eq(memcmp(y.data, want.v[0].t.data, y.nbytes), 0);
    free(y.data);
    free(x.data);
    gs_clear(&want);
}

START_TEST(engine__gives_the_bytes_of_a_session)
{
    bool integer = _i < 2, plan = _i % 2 == 1;
    ptq_model *q = quantized();
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    o.precision = integer ? NULL : "fp32";
    ptq_engine *e = build(q, &o);
    ptq_context *a, *b;
    if (plan)
        e = through_plan(e);
    ck_assert_str_eq(ptq_engine_precision(e), integer ? "model" : "fp32");
    ck_assert_ok(ptq_context_new(e, 0, &a));
    ck_assert_ok(ptq_context_new(e, 0, &b));
    for (int i = 0; i < 6; i++) {
        same_as_session(q, a, 1 + i % 3, 40 + (uint64_t)i, integer);
        same_as_session(q, b, 4, 60 + (uint64_t)i, integer);
    }
    ptq_context_free(a);
    ptq_context_free(b);
    ptq_engine_free(e);
    ptq_model_free(q);
}
END_TEST

static char logged[512];

static void keep_log(void *ctx, ptq_log_level level, const char *text)
{
    (void)ctx;
    (void)level;
    snprintf(logged, sizeof logged, "%s", text);
}

/* Kept by the plan and told by the report; a backend without it says so. */
START_TEST(engine__fast_math)
{
    ptq_model *q = quantized();
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    bool device = strcmp(BACKEND->name, "cuda") == 0;
    ptq_report *r;
    char *json;
    ptq_set_log(keep_log, NULL, PTQ_LOG_WARN);
    ptq_engine *e = build(q, NULL);
    ck_assert(!ptq_engine_fast_math(e));
    ptq_engine_free(e);
    ck_assert_str_eq(logged, "");
    o.fast_math = true;
    e = build(q, &o);
    ck_assert_str_eq(logged, device ? "" : "fast math changes nothing on backend cpu, whose results are exact");
    e = through_plan(e);
    ck_assert(ptq_engine_fast_math(e) == device);
    ck_assert_ok(ptq_engine_describe(e, &r));
    ck_assert_ok(ptq_report_json(r, &json));
    ck_assert_ptr_nonnull(strstr(json, device ? "\"fast_math\": true" : "\"fast_math\": false"));
    free(json);
    ptq_report_free(r);
    ptq_engine_free(e);
    ptq_model_free(q);
    ptq_set_log(NULL, NULL, PTQ_LOG_WARN);
}
END_TEST

#define NO_FAST "fast math changes nothing on backend cpu, whose results are exact"
static const struct {
    const char *asked;
    bool fast;
    const char *got, *got_on_cpu, *says_on_cpu;
} precisions[] = {
    {NULL, false, "model", "model", ""},
    {"model", false, "model", "model", ""},
    {"fp16", false, "fp16", "model", "precision fp16 changes nothing on backend cpu, whose results are exact"},
    {"fp32", false, "fp32", "fp32", ""},
    {NULL, true, "fp16", "model", NO_FAST}, /* fast math implies it, where nothing else is asked for */
    {"model", true, "model", "model", NO_FAST},
    {"fp16", true, "fp16", "model", NO_FAST},
    {"fp32", true, "fp32", "fp32", NO_FAST},
};

static size_t times_in(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, word)); p += strlen(word))
        n++;
    return n;
}

/* The relative error of a batch against the CPU. */
static double error_of(ptq_engine *e, const ptq_model *m)
{
    gs_record want = {0};
    ptq_context *c;
    ptq_tensor x = gs_batch(&images, 5, 3), y;
    double error = 0.0, size = 0.0;
    ck_assert_ok(ptq_context_new(e, 0, &c));
    expected(m, &x, false, &want);
    ck_assert_ok(ptq_context_shapes(c, &x, 1, &y, 1));
    ck_assert_uint_eq(y.nbytes, want.v[0].t.nbytes);
    y.data = malloc(y.nbytes);
    ck_assert_ok(ptq_context_run(c, &x, 1, &y, 1));
    for (size_t i = 0; i < y.nbytes / sizeof(float); i++) {
        double w = ((float *)want.v[0].t.data)[i], h = ((float *)y.data)[i];
        error += (h - w) * (h - w);
        size += w * w;
    }
    free(y.data);
    free(x.data);
    gs_clear(&want);
    ptq_context_free(c);
    return error / size;
}

/* Products of floats in float16: kept by the plan, told by the report, and integers have the same bytes. */
START_TEST(engine__precision)
{
    bool device = strcmp(BACKEND->name, "cuda") == 0;
    const char *got = device ? precisions[_i].got : precisions[_i].got_on_cpu;
    bool half = strcmp(got, "fp16") == 0;
    ptq_model *m = gs_shapes(), *q = quantized();
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_report *r;
    char *json, *text;
    o.precision = precisions[_i].asked;
    o.fast_math = precisions[_i].fast;
    logged[0] = '\0';
    ptq_set_log(keep_log, NULL, PTQ_LOG_WARN);
    ptq_engine *e = build(m, &o);
    ck_assert_str_eq(logged, device ? "" : precisions[_i].says_on_cpu);
    ptq_set_log(NULL, NULL, PTQ_LOG_WARN);
    e = through_plan(e);
    ck_assert_str_eq(ptq_engine_precision(e), got);
    ck_assert_ok(ptq_engine_describe(e, &r));
    ck_assert_ok(ptq_report_json(r, &json));
    ck_assert_ok(ptq_report_text(r, 200, true, &text));
    ck_assert_uint_eq(times_in(json, half ? "\"precision\": \"fp16\"" : "\"in_fp16\": []"), 1);
    ck_assert_uint_eq(times_in(text, "in fp16    "), half);
    ck_assert_uint_eq(times_in(text, "in fp32    "), half); /* depthwise */
    ck_assert_int_eq(times_in(text, "too small for the matrix units") > 0, half);
    free(json);
    free(text);
    ptq_report_free(r);
    double error = error_of(e, m);
    ck_assert_msg(half ? error > 1e-10 && error < 1e-5 : error == 0.0, "error %g", error);
    ptq_engine_free(e);
    if (strcmp(got, "fp32") != 0) {
        ptq_context *c;
        o.fast_math = false;
        e = build(q, &o);
        ck_assert_ok(ptq_context_new(e, 0, &c));
        same_as_session(q, c, 3, 8, true);
        ptq_context_free(c);
        ptq_engine_free(e);
    }
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

/* Two contexts in turn, each begun before the other has ended. */
START_TEST(engine__overlapping_runs)
{
    enum { N = 6 };
    ptq_model *q = quantized();
    ptq_engine *e = build(q, NULL);
    ptq_context *c[2];
    ptq_tensor x[N], y[N];
    gs_record want[N] = {{0}};
    for (int i = 0; i < 2; i++)
        ck_assert_ok(ptq_context_new(e, 0, &c[i]));
    for (int i = 0; i < N; i++) {
        x[i] = gs_batch(&images, 2, 5 + (uint64_t)i);
        expected(q, &x[i], true, &want[i]);
        ck_assert_ok(ptq_context_shapes(c[0], &x[i], 1, &y[i], 1));
        if (i % 3 == 2)
            ck_assert_ok(ptq_context_pin(c[0], y[i].nbytes, &y[i].data));
        else
            y[i].data = malloc(y[i].nbytes);
        ck_assert_ok(ptq_context_wait(c[i % 2]));
        ck_assert_ok(ptq_context_submit(c[i % 2], &x[i], 1, &y[i], 1));
    }
    ck_assert_ok(ptq_context_wait(c[0]));
    ck_assert_ok(ptq_context_wait(c[1]));
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(memcmp(y[i].data, want[i].v[0].t.data, y[i].nbytes), 0);
        if (i % 3 == 2)
            ptq_context_unpin(c[0], y[i].data);
        else
            free(y[i].data);
        free(x[i].data);
        gs_clear(&want[i]);
    }
    ptq_context_free(c[0]);
    ptq_context_free(c[1]);
    ptq_engine_free(e);
    ptq_model_free(q);
}
END_TEST

/* ---- profiles ---- */

START_TEST(engine__profiles)
{
    static const ptq_shape_range small = {"", 4, {1, 3, 32, 32}, {2, 3, 32, 32}, {4, 3, 32, 32}},
                                 large = {"", 4, {8, 3, 32, 32}, {16, 3, 32, 32}, {16, 3, 32, 32}};
    ptq_model *q = quantized();
    ptq_shape_range r[2] = {small, large}, got;
    ptq_profile p[2] = {{&r[0], 1}, {&r[1], 1}};
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_context *c;
    r[0].input = r[1].input = q->graph->inputs.v[0]->name;
    o.profiles = p;
    o.nprofiles = 2;
    ptq_engine *e = through_plan(build(q, &o));
    ck_assert_uint_eq(ptq_engine_profile_count(e), 2);
    ck_assert_ok(ptq_engine_range(e, 1, 0, &got));
    ck_assert_str_eq(got.input, r[0].input);
    ck_assert_int_eq(got.min[0], 8);
    ck_assert_int_eq(got.opt[0], 16);
    ck_assert_fails(ptq_engine_range(e, 2, 0, &got), PTQ_ERR_ARG);
    ck_assert_fails(ptq_context_new(e, 2, &c), PTQ_ERR_ARG);
    for (int i = 0; i < 2; i++) {
        ptq_tensor x = gs_batch(&images, i == 0 ? 5 : 7, 1), y = {.data = &x, .nbytes = 1 << 20};
        ck_assert_ok(ptq_context_new(e, (size_t)i, &c));
        ck_assert_fails(ptq_context_run(c, &x, 1, &y, 1), PTQ_ERR_ARG);
        ck_assert_says(i == 0 ? "dimension 0 is 5, outside the 1 to 4 of profile 0" : "outside the 8 to 16 of profile 1");
        free(x.data);
        same_as_session(q, c, i == 0 ? 1 : 16, 3, true);
        same_as_session(q, c, i == 0 ? 4 : 8, 4, true);
        ptq_context_free(c);
    }
    ptq_engine_free(e);
    ptq_model_free(q);
}
END_TEST

static const struct {
    const char *model;
    ptq_shape_range range;
    const char *says;
} wrong[] = {
    {"input x f32 [n,4]\ny = Relu(x)\noutput y\n", {"z", 2, {1, 4}, {1, 4}, {1, 4}}, "no input 'z'"},
    {"input x f32 [n,4]\ny = Relu(x)\noutput y\n", {"x", 3, {1, 4, 1}, {1, 4, 1}, {1, 4, 1}}, "has rank 3"},
    {"input x f32 [n,4]\ny = Relu(x)\noutput y\n", {"x", 2, {1, 5}, {1, 5}, {1, 5}}, "expected shape"},
    {"input x f32 [n,4]\ny = Relu(x)\noutput y\n", {"x", 2, {3, 4}, {2, 4}, {5, 4}}, "3 <= 2 <= 5 does not hold"},
    {"input x f32 [n,4]\ny = Relu(x)\noutput y\n", {"x", 2, {0, 4}, {2, 4}, {5, 4}}, "1 <= 0 <= 2"},
    {"input x f32 [n,m]\ny = Relu(x)\noutput y\n", {"", 0, {0}, {0}, {0}}, "symbolic dimension 1"},
    {"input x f32 [n,4]\ninput z f32 [n,4]\ny = Add(x, z)\noutput y\n", {"x", 2, {1, 4}, {2, 4}, {3, 4}}, "best shapes"},
};

START_TEST(engine__wrong_profiles)
{
    ptq_model *m;
    ptq_engine *e;
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_profile p = {&wrong[_i].range, 1};
    ck_assert_ok(ptq_model_wrap(gt_parse(wrong[_i].model), &m));
    ck_assert_ok(ptq_model_optimize(m));
    o.profiles = &p;
    o.nprofiles = *wrong[_i].range.input ? 1 : 0;
    ck_assert_fails(ptq_engine_build_on(BACKEND, m, &o, &e), PTQ_ERR_ARG);
    ck_assert_says(wrong[_i].says);
    ptq_model_free(m);
}
END_TEST

START_TEST(engine__wrong_uses)
{
    ptq_model *q = quantized();
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_engine *e;
    ptq_context *c;
    o.precision = "fp23";
    ck_assert_fails(ptq_engine_build(q, &o, &e), PTQ_ERR_ARG);
    ck_assert_says("fp32");
    o.precision = NULL;
    o.backend = "tpu";
    ck_assert_fails(ptq_engine_build(q, &o, &e), PTQ_ERR_ARG);
    e = build(q, NULL);
    ck_assert_ok(ptq_context_new(e, 0, &c));
    ptq_tensor x = gs_batch(&images, 2, 1), y = {.data = &x, .nbytes = 3};
    ck_assert_fails(ptq_context_run(c, &x, 1, &y, 1), PTQ_ERR_ARG);
    ck_assert_says("its buffer has 3");
    ck_assert_fails(ptq_context_run(c, &x, 1, &y, 2), PTQ_ERR_ARG);
    ck_assert_fails(ptq_context_run(c, &x, 0, &y, 1), PTQ_ERR_ARG);
    same_as_session(q, c, 2, 9, true); /* and works afterwards */
    free(x.data);
    ptq_context_free(c);
    ptq_engine_free(e);
    ptq_model_free(q);
}
END_TEST

/* ---- plans ---- */

START_TEST(engine__damaged_plans)
{
    ptq_model *m;
    ck_assert_ok(ptq_model_wrap(gt_parse("input x f32 [n,4]\ny = Relu(x)\noutput y\n"), &m));
    ck_assert_ok(ptq_model_optimize(m));
    ptq_engine *e = build(m, NULL), *l;
    void *bytes;
    size_t n;
    ck_assert_ok(ptq_engine_serialize(e, &bytes, &n));
    uint8_t *b = malloc(n + 1);
    for (size_t i = 0; i < n; i++) { /* cut at every byte */
        memcpy(b, bytes, i);
        ck_assert_fails(ptq_engine_deserialize_on(BACKEND, b, i, NULL, &l), PTQ_ERR_MODEL);
    }
    memcpy(b, bytes, n);
    b[n] = 0;
    ck_assert_fails(ptq_engine_deserialize_on(BACKEND, b, n + 1, NULL, &l), PTQ_ERR_MODEL);
    for (size_t i = 0; i < n; i++) { /* every byte changed */
        b[i] ^= 0x20;
        ptq_status s = ptq_engine_deserialize_on(BACKEND, b, n, NULL, &l);
        ck_assert_msg(s == PTQ_ERR_MODEL || (i >= 8 && i < 16 && s == PTQ_ERR_UNSUPPORTED), "byte %zu: %d", i, (int)s);
        b[i] ^= 0x20;
    }
    free(b);
    free(bytes);
    ptq_engine_free(e);
    ptq_model_free(m);
}
END_TEST

/* The header with `from` replaced by `to` of the same length, and the digest of that. */
static void edit(uint8_t *p, size_t n, const char *from, const char *to)
{
    size_t k = strlen(from);
    char hex[65];
    ck_assert_uint_eq(k, strlen(to));
    for (size_t i = 0; i + k < n; i++)
        if (memcmp(p + i, from, k) == 0) {
            memcpy(p + i, to, k);
            ptq_sha256_hex(p, n - 64, hex);
            memcpy(p + n - 64, hex, 64);
            return;
        }
    ck_abort_msg("'%s' is not in the plan", from);
}

static const struct {
    const char *from, *to, *says;
    ptq_status status;
} edits[] = {
    {"\"version\":\"0", "\"version\":\"9", "build it again", PTQ_ERR_UNSUPPORTED},
    {"\"backend\":\"c", "\"backend\":\"x", "which this build lacks", PTQ_ERR_UNSUPPORTED},
    {"\"kind\":\"", "\"kinf\":\"", "build it here", PTQ_ERR_UNSUPPORTED},
    {"\"precision\":\"m", "\"precision\":\"x", "no precision", PTQ_ERR_ARG},
    {"\"max\":[64,4]", "\"max\":[64,5]", "largest shapes", PTQ_ERR_ARG},
    {"\"max\":[64,4]", "\"max\":[6444]", "a profile", PTQ_ERR_MODEL},
    {"\"max\":[64,4]", "\"max\":\"abcd\"", "a profile", PTQ_ERR_MODEL},
    {"\"profiles\":", "\"profilet\":", "no profile", PTQ_ERR_MODEL},
    {"{\"backend\":", "[\"backend\":", "its header", PTQ_ERR_MODEL},
};

START_TEST(engine__plans_of_elsewhere)
{
    ptq_model *m;
    ptq_engine *e, *l;
    void *bytes;
    size_t n;
    ck_assert_ok(ptq_model_wrap(gt_parse("input x f32 [n,4]\ny = Relu(x)\noutput y\n"), &m));
    ck_assert_ok(ptq_model_optimize(m));
    e = build(m, NULL);
    ck_assert_ok(ptq_engine_serialize(e, &bytes, &n));
#ifndef PTQ_TEST_GPU
    if (strncmp(edits[_i].from, "\"kind\"", 6) != 0) /* a CPU is of no kind */
#endif
    {
        edit(bytes, n, edits[_i].from, edits[_i].to);
        ck_assert_fails(ptq_engine_deserialize_on(BACKEND, bytes, n, NULL, &l), edits[_i].status);
        ck_assert_says(edits[_i].says);
    }
    free(bytes);
    ptq_engine_free(e);
    ptq_model_free(m);
}
END_TEST

START_TEST(engine__files)
{
    const char *path = scratch_at("m.plan");
    ptq_model *q = quantized();
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_engine *e, *l;
    ptq_context *c;
    o.backend = "cpu";
    ck_assert_ok(ptq_engine_build(q, &o, &e));
    ck_assert_ok(ptq_engine_save(e, path, false));
    ck_assert_fails(ptq_engine_save(e, path, false), PTQ_ERR_IO);
    ck_assert_ok(ptq_engine_save(e, path, true));
    ck_assert_ok(ptq_engine_load(path, NULL, &l));
    ck_assert_str_eq(ptq_engine_backend(l), "cpu");
    ck_assert_uint_eq(ptq_engine_input_count(l), 1);
    ck_assert_ok(ptq_context_new(l, 0, &c));
    same_as_session(q, c, 3, 1, true);
    ptq_context_free(c);
    ptq_engine_free(l);
    ptq_engine_free(e);
    ck_assert_fails(ptq_engine_load(scratch_dir, NULL, &l), PTQ_ERR_IO);
    ck_assert_says("not a regular file");
    ck_assert_int_eq(truncate(path, 100), 0);
    ck_assert_fails(ptq_engine_load(path, NULL, &l), PTQ_ERR_MODEL);
    ck_assert_says(path);
    ptq_model_free(q);
}
END_TEST

/* ---- plugins ---- */

#define PTQ_EXAMPLE_NO_MAIN
#include "examples/plugin.c"

static const char swap_float[] = "input x f32 [n,4,3,3]\nr = Relu(x)\ny = com.example.Swap(r)\n"
                                 "z = Relu(y)\noutput z\n";
static const char swap_codes[] = "input x f32 [n,4,3,3]\nconst s f32 [] 0.05\nconst p s8 [] 3\n"
                                 "q = QuantizeLinear(x, s, p)\nd = DequantizeLinear(q, s, p)\n"
                                 "y = com.example.Swap(d)\nyq = QuantizeLinear(y, s, p)\nz = DequantizeLinear(yq, s, p)\n"
                                 "output z\n";
static const char swap_grids[] = "input x f32 [n,4,3,3]\nconst s f32 [] 0.05\nconst p s8 [] 3\n"
                                 "const t f32 [] 0.06\n"
                                 "q = QuantizeLinear(x, s, p)\nd = DequantizeLinear(q, s, p)\n"
                                 "y = com.example.Swap(d)\nyq = QuantizeLinear(y, t, p)\nz = DequantizeLinear(yq, t, p)\n"
                                 "output z\n";

static ptq_model *swap_model(const char *text)
{
    ptq_model *m;
    ck_assert_ok(ptq_model_wrap(gt_parse(text), &m));
    ck_assert_ok(ptq_model_optimize(m));
    return m;
}

/* The operator of the example on floats and on codes, built and from a plan. */
START_TEST(engine__plugin)
{
    const ptq_plugin *const plugins[] = {&example_swap};
    ptq_model *m = swap_model(_i % 2 ? swap_codes : swap_float);
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_engine *e, *l;
    ptq_context *c;
    gs_data d = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {4, 3, 3}};
    ptq_tensor x = gs_batch(&d, 5, 3), y;
    o.plugins = plugins;
    o.nplugins = 1;
    e = build(m, &o);
    if (_i >= 2) { /* a plan names its operators, not who brings them */
        void *bytes;
        size_t n;
        ck_assert_ok(ptq_engine_serialize(e, &bytes, &n));
        ck_assert_fails(ptq_engine_deserialize_on(BACKEND, bytes, n, NULL, &l), PTQ_ERR_UNSUPPORTED);
        ck_assert_says("com.example.Swap");
        ck_assert_ok(ptq_engine_deserialize_on(BACKEND, bytes, n, &o, &l));
        free(bytes);
        ptq_engine_free(e);
        e = l;
    }
    ck_assert_ok(ptq_context_new(e, 0, &c));
    ck_assert_ok(ptq_context_shapes(c, &x, 1, &y, 1));
    ck_assert_int_eq(y.rank, 4);
    ck_assert_int_eq(y.dims[0], 5);
    float *got = y.data = malloc(y.nbytes);
    ck_assert_ok(ptq_context_run(c, &x, 1, &y, 1));
    for (int64_t i = 0; i < 5 * 36; i++) {
        float v = ((float *)x.data)[i / 36 * 36 + (i % 36 + 18) % 36];
        float want = _i % 2 ? ((float)ptq_quantize(v, 0.05f, 3, -128, 127) - 3.0f) * 0.05f : v > 0.0f ? v : 0.0f;
        ck_assert_msg(got[i] == want, "element %lld: %g, not %g", (long long)i, (double)got[i], (double)want);
    }
    free(x.data);
    free(got);
    ptq_context_free(c);
    ptq_engine_free(e);
    ptq_model_free(m);
}
END_TEST

START_TEST(engine__plugin_errors)
{
    const ptq_plugin relu = {sizeof relu, "Relu", "", PTQ_PLUGIN_FLOAT, swap_shapes, swap_run, NULL, NULL};
    const ptq_plugin half = {sizeof half, "Swap", "com.example", PTQ_PLUGIN_FLOAT, swap_shapes, NULL, NULL, NULL};
    const ptq_plugin *list[1];
    ptq_model *m = swap_model(swap_float), *g = swap_model(swap_grids);
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_engine *e;
    ptq_context *c;
    gs_data d = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {4, 3, 3}};
    ptq_tensor x = gs_batch(&d, 2, 3), y = {.data = malloc(4096), .nbytes = 4096};
    ck_assert_fails(ptq_engine_build_on(BACKEND, m, &o, &e), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("com.example.Swap");
    o.plugins = list;
    o.nplugins = 1;
    list[0] = &relu;
    ck_assert_fails(ptq_engine_build_on(BACKEND, m, &o, &e), PTQ_ERR_ARG);
    ck_assert_says("Relu is the library's own");
    list[0] = &half;
    ck_assert_fails(ptq_engine_build_on(BACKEND, m, &o, &e), PTQ_ERR_ARG);
    ck_assert_says("lacks");
    list[0] = &example_swap;
    o.no_tuning = true; /* the error comes from a run */
    e = build(g, &o);
    ck_assert_ok(ptq_context_new(e, 0, &c));
    ck_assert_fails(ptq_context_run(c, &x, 1, &y, 1), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("plugin Swap: Swap moves codes");
    ptq_context_free(c);
    ptq_engine_free(e);
    ptq_model_free(g);
    g = swap_model("input x f32 [n,5,3,3]\ny = com.example.Swap(x)\noutput y\n");
    e = build(g, &o);
    ck_assert_fails(ptq_context_new(e, 0, &c), PTQ_ERR_MODEL);
    ck_assert_says("even number of channels");
    ptq_engine_free(e);
    free(x.data);
    free(y.data);
    ptq_model_free(m);
    ptq_model_free(g);
}
END_TEST

/* ---- timing cache ---- */

START_TEST(engine__timing_cache_files)
{
    const char *path = scratch_at("cache");
    char *text;
    ck_assert_ok(ptq_timing_cache_read(path, "device A", &text));
    ck_assert_ptr_null(text);
    ck_assert_ok(ptq_timing_cache_write(path, "device A", "one\ntwo\n"));
    ck_assert_ok(ptq_timing_cache_read(path, "device A", &text));
    ck_assert_str_eq(text, "one\ntwo\n");
    free(text);
    ck_assert_fails(ptq_timing_cache_read(path, "device", &text), PTQ_ERR_DATA);
    ck_assert_says("was measured on device A, this is device");
    ck_assert_ok(ptq_timing_cache_write(path, "device B", ""));
    ck_assert_ok(ptq_timing_cache_read(path, "device B", &text));
    ck_assert_str_eq(text, "");
    free(text);
    FILE *f = fopen(path, "w");
    fputs("something else\n", f);
    fclose(f);
    ck_assert_fails(ptq_timing_cache_read(path, "device A", &text), PTQ_ERR_DATA);
    ck_assert_says("not a timing cache");
}
END_TEST

/* ---- failures ---- */

#ifdef PTQ_TEST_FAKE
/* Build, a context and two runs with the n-th call of the device failing; false when none did. */
static bool fail_at(const ptq_model *m, const ptq_tensor *x, long n, const gs_record *want)
{
    ptq_engine *e = NULL;
    ptq_context *c = NULL;
    ptq_tensor y = {.data = malloc(4096), .nbytes = 4096};
    ptq_fake_fail(n, PTQ_ERR_DEVICE);
    ptq_status s = ptq_engine_build_on(BACKEND, m, NULL, &e);
    s = s == PTQ_OK ? ptq_context_new(e, 0, &c) : s;
    for (int i = 0; i < 2 && s == PTQ_OK; i++) {
        y.nbytes = 4096;
        s = ptq_context_run(c, x, 1, &y, 1);
    }
    bool failed = s != PTQ_OK;
    if (failed) {
        ck_assert_msg(s == PTQ_ERR_DEVICE, "call %ld: status %d: %s", n, (int)s, ptq_last_error());
        ck_assert_says("injected failure");
        ptq_fake_fail(0, PTQ_OK);
        y.nbytes = 4096;
        if (c)
            ck_assert_ok(ptq_context_run(c, x, 1, &y, 1));
    }
    if (c)
        ck_assert_int_eq(memcmp(y.data, want->v[0].t.data, y.nbytes), 0);
    ptq_context_free(c);
    ptq_engine_free(e);
    ck_assert_msg(ptq_fake_live == 0, "call %ld: %ld allocations are left", n, ptq_fake_live);
    free(y.data);
    return failed;
}

START_TEST(engine__every_call_may_fail)
{
    ptq_model *m;
    gs_record want = {0};
    ck_assert_ok(ptq_model_wrap(gt_parse("input x f32 [n,8]\nconst w f32 [8,3]\ny = MatMul(x, w)\nz = Relu(y)\noutput z\n"),
                                &m));
    ck_assert_ok(ptq_model_optimize(m));
    gs_data d = {.dtype = PTQ_DT_F32, .rank = 1, .dims = {8}};
    ptq_tensor x = gs_batch(&d, 5, 3);
    expected(m, &x, false, &want);
    long n = 1;
    while (fail_at(m, &x, n, &want))
        n++;
    ck_assert_int_gt(n, 20);
    free(x.data);
    gs_clear(&want);
    ptq_model_free(m);
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("jobs_engine");
    TCase *t = tcase_create("engine");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_add_loop_test(t, engine__gives_the_bytes_of_a_session, 0, 4);
    tcase_add_test(t, engine__fast_math);
    tcase_add_loop_test(t, engine__precision, 0, (int)PTQ_COUNT(precisions));
    tcase_add_test(t, engine__overlapping_runs);
    tcase_add_test(t, engine__profiles);
    tcase_add_loop_test(t, engine__wrong_profiles, 0, (int)PTQ_COUNT(wrong));
    tcase_add_test(t, engine__wrong_uses);
    tcase_add_test(t, engine__damaged_plans);
    tcase_add_loop_test(t, engine__plans_of_elsewhere, 0, (int)PTQ_COUNT(edits));
    tcase_add_test(t, engine__files);
    tcase_add_test(t, engine__timing_cache_files);
    tcase_add_loop_test(t, engine__plugin, 0, 4);
    tcase_add_test(t, engine__plugin_errors);
#ifdef PTQ_TEST_FAKE
    tcase_add_test(t, engine__every_call_may_fail);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
