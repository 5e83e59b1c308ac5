/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring an engine: the figures fit each other, the text has what the JSON has, wrong uses are told,
 * and nothing is left behind where a call of the device fails. On the CPU, on the stand-in device, and on
 * a real one. */
#ifndef PTQ_TEST_GPU
#define PTQ_TEST_CPU
#endif
#include <math.h>

#include "lib/jobs/engine.h"
#include "lib/quant/place.h"
#include "lib/report/report.h"
#include "tests/gpu_session.h"
#include "tests/graph_text.h"
#ifdef PTQ_TEST_FAKE
#include "tests/fake_dev.h"
#endif
#ifdef PTQ_TEST_GPU
#define BACKEND (&ptq_backend_cuda)
enum { DEVICE = 1 };
#else
#define BACKEND ptq_backend_find("cpu")
enum { DEVICE = 0 };
#endif

static gs_data images = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 32, 32}};

static ptq_model *parsed(const char *text)
{
    ptq_model *m;
    ck_assert_ok(ptq_model_wrap(gt_parse(text), &m));
    ck_assert_ok(ptq_model_optimize(m));
    return m;
}

static ptq_engine *build_in(ptq_model *m, const char *precision)
{
    ptq_engine *e;
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    o.precision = precision;
    ck_assert_ok(ptq_engine_build_on(BACKEND, m, &o, &e));
    ptq_model_free(m);
    return e;
}

static ptq_engine *build(ptq_model *m)
{
    return build_in(m, NULL);
}

static double at(const json_t *o, const char *key)
{
    ck_assert_msg(json_is_number(json_object_get(o, key)), "%s is no number", key);
    return json_number_value(json_object_get(o, key));
}

static void check_times(const json_t *root, const char *key, double batch)
{
    const json_t *o = json_object_get(root, key);
    ck_assert_msg(json_is_object(o), "there is no %s", key);
    ck_assert_double_gt(at(o, "min_ms"), 0.0);
    ck_assert_double_le(at(o, "min_ms"), at(o, "median_ms"));
    ck_assert_double_le(at(o, "median_ms"), at(o, "p90_ms"));
    ck_assert_double_le(at(o, "p90_ms"), at(o, "p99_ms"));
    ck_assert_double_ge(at(o, "spread"), 0.0);
    ck_assert_double_ge(at(o, "runs"), 15.0);
    double slowest = batch / at(o, "p99_ms") * 1e3, mean = at(o, "samples_per_second");
    ck_assert_double_gt(mean, 0.0);
    ck_assert_msg(mean <= batch / at(o, "min_ms") * 1e3 * (1.0 + 1e-9), "%s: %g samples/s at %g", key, mean, slowest);
}

static int halves; /* layers in float16 */

/* Codes are made of floats, and floats of codes, in floats. */
static bool computes_floats(const json_t *layer)
{
    static const char *const kinds[] = {"float", "quantize", "dequantize", "qnorm"};
    for (size_t i = 0; i < PTQ_COUNT(kinds); i++)
        if (strcmp(ptq_json_str(layer, "kind", ""), kinds[i]) == 0)
            return true;
    return false;
}

/* Sums, shares, rates and limits of every layer; the sum of multiply-accumulates. */
static double check_layers(const json_t *root)
{
    const json_t *list = json_object_get(root, "layers"), *peaks = json_object_get(root, "peaks");
    double ms = 0.0, share = 0.0, least = 0.0, macs = 0.0, before = INFINITY;
    size_t i;
    json_t *o;
    halves = 0;
    ck_assert_double_gt(at(peaks, "bytes_per_second"), 1e8);
    ck_assert_double_gt(at(peaks, "int8_operations_per_second"), 1e8);
    ck_assert_double_gt(at(peaks, "float_operations_per_second"), 1e8);
    json_array_foreach (list, i, o) {
        double t = at(o, "ms"), s = 1e-3 * t, memory = at(o, "bytes") / at(peaks, "bytes_per_second");
        bool is_float = strcmp(ptq_json_str(o, "kind", ""), "float") == 0;
        bool half = strcmp(ptq_json_str(o, "precision", ""), "fp16") == 0;
        const char *rate = half ? "float16_operations_per_second" : is_float ? "float_operations_per_second"
                                                                             : "int8_operations_per_second";
        double work = 2.0 * at(o, "macs") / at(peaks, rate);
        if (strcmp(ptq_json_str(o, "kind", ""), "relayout") != 0) /* it moves either */
            ck_assert_str_eq(ptq_json_str(o, "precision", ""), !computes_floats(o) ? "int8" : half ? "fp16" : "fp32");
        halves += half;
        ck_assert_double_le(t, before);
        ck_assert_double_eq_tol(1e-3 * at(o, "least_ms"), memory > work ? memory : work, 1e-15 + 1e-9 * memory);
        ck_assert_double_eq_tol(at(o, "tops") * s, 2e-12 * at(o, "macs"), 1e-15);
        ck_assert_double_eq_tol(at(o, "gb_per_second") * s, t > 0.0 ? 1e-9 * at(o, "bytes") : 0.0, 1e-12);
        ck_assert_double_eq_tol(at(o, "of_limit") * t, t > 0.0 ? at(o, "least_ms") : 0.0, 1e-12);
        ck_assert(*ptq_json_str(o, "why", ""));
        before = t;
        ms += t;
        share += at(o, "share");
        least += at(o, "least_ms");
        macs += at(o, "macs");
    }
    ck_assert_uint_gt(i, 0);
    ck_assert_double_eq_tol(ms, at(root, "layers_ms"), 1e-9 * ms);
    ck_assert_double_eq_tol(least, at(root, "layers_least_ms"), 1e-9 * least);
    ck_assert_double_eq_tol(share, 1.0, 1e-9);
    return macs;
}

static double graph_macs(const ptq_model *m)
{
    double sum = 0.0;
    for (const ptq_node *n = m->graph->first; n; n = n->next)
        sum += ptq_node_macs(n);
    return sum;
}

/* ---- figures ---- */

START_TEST(bench__figures_fit_each_other)
{
    bool integer = _i == 1;
    ptq_model *m = gs_shapes(), *q = integer ? gs_quantize(m, &images, 4, "ort", "qdq") : m;
    double want = graph_macs(m);
    ptq_engine *e = build_in(q, _i == 2 ? "fp16" : NULL);
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_report *r;
    o.batch = 3;
    o.seconds = 0.02;
    ck_assert_ok(ptq_engine_bench(e, &o, &r));
    ck_assert_double_eq(at(r->root, "batch"), 3.0);
    check_times(r->root, "from_host", 3.0);
    ck_assert_int_eq(json_object_get(r->root, "from_device") != NULL, DEVICE);
    ck_assert_int_eq(json_object_get(r->root, "overlapped") != NULL, DEVICE);
    if (DEVICE)
        check_times(r->root, "from_device", 3.0);
    ck_assert_double_eq(check_layers(r->root), 3.0 * want);
    ck_assert_int_eq(halves > 5, _i == 2 && DEVICE);
    ck_assert_double_ge(at(r->root, "activation_bytes"), at(r->root, "alive_bytes"));
    ptq_report_free(r);
    ptq_engine_free(e);
    if (integer)
        ptq_model_free(m);
}
END_TEST

/* A first layer as a network has it: its pool is taken in on a device. The multiply-accumulates are those of the
 * convolution, the bytes those of what is left to read and write. */
START_TEST(bench__a_convolution_and_its_pool)
{
    ptq_model *m = parsed("input x f32 [batch,3,32,32]\nconst w f32 [32,3,7,7]\nconst v f32 [16,32,1,1]\n"
                          "c = Conv(x, w) pads=[3,3,3,3] strides=[2,2]\nr = Relu(c)\n"
                          "p = MaxPool(r) kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1]\ny = Conv(p, v)\noutput y\n");
    const double image = 3 * 32 * 32, between = 32 * 16 * 16, last = 32 * 8 * 8, weights = 32 * 3 * 7 * 7;
    const double first = weights * 16 * 16, second = 16 * last;
    ptq_model *q = gs_quantize(m, &images, 4, "portable", "qdq");
    ptq_engine *e = build(q);
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_report *r;
    size_t i;
    int found = 0, pools = 0;
    json_t *layer;
    o.batch = 3;
    o.seconds = 0.01;
    ck_assert_ok(ptq_engine_bench(e, &o, &r));
    ck_assert_double_eq(graph_macs(m), first + second);
    ck_assert_double_eq(check_layers(r->root), 3.0 * (first + second));
    json_array_foreach (json_object_get(r->root, "layers"), i, layer) {
        const char *kind = ptq_json_str(layer, "kind", "");
        bool stem = strcmp(kind, "qconv") == 0 && at(layer, "macs") > 3.0 * second;
        pools += strcmp(kind, "qmaxpool") == 0;
        if (!stem)
            continue;
        ck_assert_double_eq(at(layer, "macs"), 3.0 * first);
        ck_assert_double_eq(at(layer, "bytes"), 3.0 * (image + (DEVICE ? last : between)) + weights);
        found++;
    }
    ck_assert_int_eq(found, 1);
    ck_assert_int_eq(pools, DEVICE ? 0 : 1);
    ptq_report_free(r);
    ptq_engine_free(e);
    ptq_model_free(m);
}
END_TEST

/* What a step that changes the layout moves: codes. */
START_TEST(bench__precision_of_moves)
{
    static const char text[] = "input x f32 [n,8,6,6]\nconst s f32 [] 0.05\nconst z s8 [] 0\nconst c s8 [16,8,3,3] 3\n"
                               "q = QuantizeLinear(x, s, z)\nd = DequantizeLinear(q, s, z)\n"
                               "w = DequantizeLinear(c, s, z)\na = Conv(d, w)\ny = QuantizeLinear(a, s, z)\n"
                               "output y\n";
    ptq_engine *e = build(parsed(text));
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_report *r;
    size_t i;
    int moves = 0;
    json_t *layer;
    o.batch = 1;
    o.seconds = 0.001;
    ck_assert_ok(ptq_engine_bench(e, &o, &r));
    json_array_foreach (json_object_get(r->root, "layers"), i, layer) {
        if (strcmp(ptq_json_str(layer, "kind", ""), "relayout") != 0)
            continue;
        ck_assert_str_eq(ptq_json_str(layer, "precision", ""), "int8");
        ck_assert_double_eq(at(layer, "bytes"), 2.0 * 16 * 4 * 4);
        moves++;
    }
    ck_assert_int_eq(moves, 1);
    ptq_report_free(r);
    ptq_engine_free(e);
}
END_TEST

START_TEST(bench__text_has_what_the_json_has)
{
    ptq_engine *e = build_in(gs_shapes(), _i ? "fp16" : NULL);
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_report *r;
    char *all, *some, figure[64];
    size_t i;
    json_t *layer;
    o.seconds = 0.01;
    ck_assert_ok(ptq_engine_bench(e, &o, &r));
    ck_assert_ok(ptq_report_text(r, 200, true, &all));
    ck_assert_ok(ptq_report_text(r, 200, false, &some));
    snprintf(figure, sizeof figure, "median %.3f ms", at(json_object_get(r->root, "from_host"), "median_ms"));
    ck_assert_ptr_nonnull(strstr(some, figure));
    ck_assert_ptr_nonnull(strstr(some, "[8,3,32,32]"));
    ck_assert_ptr_nonnull(strstr(some, "the slowest 10 of"));
    ck_assert_ptr_null(strstr(all, "the slowest 10 of"));
    ck_assert_int_eq(strstr(all, " in fp16") != NULL, _i && DEVICE);
    ck_assert_int_eq(strstr(all, "precision fp16") != NULL, _i && DEVICE);
    json_array_foreach (json_object_get(r->root, "layers"), i, layer) {
        snprintf(figure, sizeof figure, " %%  %.20s", ptq_json_str(layer, "step", "?"));
        ck_assert_msg(strstr(all, figure), "no line of %s", figure);
        ck_assert_msg(strstr(all, ptq_json_str(layer, "why", "?")), "why is missing: %s", figure);
        snprintf(figure, sizeof figure, "%9.4f %5.1f", at(layer, "ms"), 100.0 * at(layer, "share"));
        ck_assert_msg(strstr(all, figure), "no line with %s", figure);
    }
    free(all);
    free(some);
    ptq_report_free(r);
    ptq_engine_free(e);
}
END_TEST

/* An index outside its table would end the run with an error. */
START_TEST(bench__indices_lie_in_their_table)
{
    ptq_engine *e = build(parsed("input x s64 [n,5]\nconst t f32 [3,4]\ny = Gather(t, x)\noutput y\n"));
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_report *r;
    o.seconds = 0.01;
#ifdef PTQ_TEST_FAKE
    ptq_fake_records = true; /* indices on the device are looked up there */
#endif
    ck_assert_ok(ptq_engine_bench(e, &o, &r));
#ifdef PTQ_TEST_FAKE
    ptq_fake_records = false;
    ck_assert_ptr_nonnull(strstr(ptq_json_str(r->root, "layers_timed_by", ""), "replayed recording"));
#endif
    check_times(r->root, "from_host", 8.0);
    ptq_report_free(r);
    ptq_engine_free(e);
}
END_TEST

START_TEST(bench__outputs_whose_size_depends_on_the_data)
{
    ptq_engine *e = build(parsed("input x s64 []\nconst a s64 [] 0\nconst b s64 [] 1\ny = Range(a, x, b)\noutput y\n"));
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_report *r;
    o.seconds = 0.01;
    ck_assert_ok(ptq_engine_bench(e, &o, &r));
    check_times(r->root, "from_host", 1.0);
    ck_assert_ptr_null(json_object_get(r->root, "from_device"));
    ck_assert_ptr_null(json_object_get(r->root, "overlapped"));
    ck_assert_uint_eq(json_array_size(json_object_get(r->root, "layers")), 1);
    ptq_report_free(r);
    ptq_engine_free(e);
}
END_TEST

/* ---- wrong uses ---- */

START_TEST(bench__wrong_uses)
{
    ptq_engine *e = build(parsed("input x f32 [n,4]\ny = Relu(x)\noutput y\n"));
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_shape_range s = {"z", 2, {0}, {2, 4}, {0}};
    ptq_report *r;
    o.profile = 1;
    ck_assert_fails(ptq_engine_bench(e, &o, &r), PTQ_ERR_ARG);
    ck_assert_says("there is no profile 1");
    o.profile = 0;
    o.batch = 65;
    ck_assert_fails(ptq_engine_bench(e, &o, &r), PTQ_ERR_ARG);
    ck_assert_says("dimension 0 is 65");
    o.batch = 0;
    o.shapes = &s;
    o.nshapes = 1;
    ck_assert_fails(ptq_engine_bench(e, &o, &r), PTQ_ERR_ARG);
    ck_assert_says("no input 'z'");
    s.input = "x";
    s.opt[1] = 5;
    ck_assert_fails(ptq_engine_bench(e, &o, &r), PTQ_ERR_ARG);
    ck_assert_says("dimension 1 is 5");
    o.nshapes = 0;
    o.seconds = NAN;
    ck_assert_fails(ptq_engine_bench(e, &o, &r), PTQ_ERR_ARG);
    o.size = 1;
    ck_assert_fails(ptq_engine_bench(e, &o, &r), PTQ_ERR_ARG);
    ck_assert_fails(ptq_engine_bench(NULL, NULL, &r), PTQ_ERR_ARG);
    ptq_engine_free(e);
}
END_TEST

/* ---- the device ---- */

#ifdef PTQ_TEST_FAKE
START_TEST(bench__kernels_and_recordings)
{
    ptq_engine *e = build(parsed("input x f32 [n,8]\nconst w f32 [8,3]\ny = MatMul(x, w)\nz = Tanh(y)\noutput z\n"));
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_report *r;
    size_t i;
    json_t *layer;
    o.seconds = 0.001;
    ptq_fake_records = _i == 1;
    ck_assert_ok(ptq_engine_bench(e, &o, &r));
    ptq_fake_records = false;
    ck_assert_ptr_nonnull(strstr(ptq_json_str(r->root, "layers_timed_by", ""),
                                 _i == 1 ? "replayed recording" : "cannot be recorded"));
    json_array_foreach (json_object_get(r->root, "layers"), i, layer) {
        bool product = strcmp(ptq_json_str(layer, "op", ""), "MatMul") == 0;
        ck_assert_msg(strstr(ptq_json_str(layer, "kernel", "none"), product ? "matmul" : "unary"), "%s: %s",
                      ptq_json_str(layer, "op", ""), ptq_json_str(layer, "kernel", "none"));
    }
    ck_assert_uint_eq(i, 2);
    ptq_report_free(r);
    ptq_engine_free(e);
    ck_assert_int_eq(ptq_fake_live, 0);
}
END_TEST

START_TEST(bench__calls_may_fail)
{
    ptq_engine *e = build(parsed("input x f32 [n,8]\ny = Tanh(x)\noutput y\n"));
    ptq_bench_options o = PTQ_BENCH_OPTIONS_INIT;
    ptq_report *r;
    o.seconds = 1e-6;
    ptq_fake_fail(0, PTQ_OK);
    ck_assert_ok(ptq_engine_bench(e, &o, &r));
    ptq_report_free(r);
    long calls = ptq_fake_calls, live = ptq_fake_live;
    ck_assert_int_gt(calls, 200);
    long failed = 0;
    for (long n = 1; n <= calls; n++) {
        ptq_fake_fail(n, PTQ_ERR_DEVICE);
        ptq_status s = ptq_engine_bench(e, &o, &r);
        ck_assert(s == PTQ_OK || s == PTQ_ERR_DEVICE);
        if (s == PTQ_OK) /* inside of a recording: the run goes step by step then */
            ptq_report_free(r);
        else
            ck_assert_says("injected failure");
        failed += s != PTQ_OK;
        ck_assert_msg(ptq_fake_live == live, "call %ld: %ld allocations are left", n, ptq_fake_live - live);
    }
    ptq_fake_fail(0, PTQ_OK);
    ck_assert_int_gt(failed, calls - 20);
    ptq_engine_free(e);
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("jobs_bench");
    TCase *t = tcase_create("bench");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, bench__figures_fit_each_other, 0, 3);
    tcase_add_test(t, bench__a_convolution_and_its_pool);
    tcase_add_test(t, bench__precision_of_moves);
    tcase_add_loop_test(t, bench__text_has_what_the_json_has, 0, 2);
    tcase_add_test(t, bench__indices_lie_in_their_table);
    tcase_add_test(t, bench__outputs_whose_size_depends_on_the_data);
    tcase_add_test(t, bench__wrong_uses);
#ifdef PTQ_TEST_FAKE
    tcase_add_loop_test(t, bench__kernels_and_recordings, 0, 2);
    tcase_add_test(t, bench__calls_may_fail);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
