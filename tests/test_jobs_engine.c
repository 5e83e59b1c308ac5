/* SPDX-License-Identifier: Apache-2.0 */
/* Engines: the same bytes as a session in every form (built, from a plan, several contexts), precision, profiles,
 * and every call of a device failing in turn. */
#include "tests/engine_kit.h"
#include "tests/log_kit.h"
#ifdef PTQ_TEST_FAKE
#include "tests/fake_dev.h"
#endif

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
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, engine__gives_the_bytes_of_a_session, 0, 4);
    tcase_add_test(t, engine__fast_math);
    tcase_add_loop_test(t, engine__precision, 0, (int)PTQ_COUNT(precisions));
    tcase_add_test(t, engine__overlapping_runs);
    tcase_add_test(t, engine__profiles);
    tcase_add_loop_test(t, engine__wrong_profiles, 0, (int)PTQ_COUNT(wrong));
    tcase_add_test(t, engine__wrong_uses);
#ifdef PTQ_TEST_FAKE
    tcase_add_test(t, engine__every_call_may_fail);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
