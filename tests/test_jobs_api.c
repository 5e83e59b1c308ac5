/* SPDX-License-Identifier: Apache-2.0 */
/* Wrong calls of the public interface: each is refused with a status and a text. */
#include "tests/unit.h"

#include <string.h>

#include "tests/jobs_kit.h"
#include "tests/log_kit.h"

typedef struct world {
    ptq_model *m;
    ptq_statistics *stats;
    ptq_model *q;
    ptq_report *r;
} world;

static world make(void)
{
    world w = {.m = jobs_model()};
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    jobs_data d;
    jobs_data_init(&d);
    o.method = "minmax";
    ck_assert_ok(ptq_model_calibrate(w.m, &d.samples, NULL, NULL, &w.stats));
    ck_assert_ok(ptq_model_quantize(w.m, w.stats, NULL, &o, &w.q, &w.r));
    return w;
}

static void drop(world *w)
{
    ptq_statistics_free(w->stats);
    ptq_report_free(w->r);
    ptq_model_free(w->q);
    ptq_model_free(w->m);
}

#define REFUSED(call)                                                                              \
    do {                                                                                           \
        ck_assert_fails(call, PTQ_ERR_ARG);                                                        \
        ck_assert(*ptq_last_error());                                                              \
    } while (0)

START_TEST(api__null)
{
    world w = make();
    ptq_model *m;
    ptq_runner *run;
    ptq_report *r;
    ptq_statistics *s;
    ptq_tensor_info info;
    void *bytes;
    char *text;
    size_t n;
    double v;
    bool holds;
    ptq_samples none = {.count = 4};
    REFUSED(ptq_model_load(NULL, NULL, &m));
    REFUSED(ptq_model_load("x", NULL, NULL));
    REFUSED(ptq_model_load_memory(NULL, 4, NULL, &m));
    REFUSED(ptq_model_optimize(NULL));
    REFUSED(ptq_model_save(NULL, "x", false));
    REFUSED(ptq_model_save(w.m, NULL, false));
    REFUSED(ptq_model_save_memory(w.m, NULL, &n));
    REFUSED(ptq_model_save_memory(NULL, &bytes, &n));
    REFUSED(ptq_model_input(NULL, 0, &info));
    REFUSED(ptq_model_output(w.m, 0, NULL));
    REFUSED(ptq_runner_new(NULL, NULL, &run));
    REFUSED(ptq_runner_run(NULL, NULL, 0, NULL, 0));
    REFUSED(ptq_model_calibrate(NULL, &none, NULL, NULL, &s));
    REFUSED(ptq_model_calibrate(w.m, NULL, NULL, NULL, &s));
    REFUSED(ptq_model_calibrate(w.m, &none, NULL, NULL, &s));
    REFUSED(ptq_model_quantize(w.m, NULL, NULL, NULL, &m, &r));
    REFUSED(ptq_model_quantize(w.m, w.stats, NULL, NULL, &m, NULL));
    REFUSED(ptq_model_quantize(w.m, w.stats, &none, NULL, &m, &r));
    REFUSED(ptq_quant_check(NULL, NULL, true));
    REFUSED(ptq_quant_params_json(NULL, &text));
    REFUSED(ptq_eval(NULL, &none, NULL, &r));
    REFUSED(ptq_eval(w.m, &none, NULL, &r));
    REFUSED(ptq_compare(w.m, NULL, &none, NULL, &r));
    REFUSED(ptq_compare(w.m, w.q, NULL, NULL, &r));
    REFUSED(ptq_model_inspect(NULL, NULL, &r));
    REFUSED(ptq_statistics_merge(w.stats, NULL));
    REFUSED(ptq_report_json(NULL, &text));
    REFUSED(ptq_report_text(w.r, 80, false, NULL));
    REFUSED(ptq_report_number(w.r, NULL, &v));
    REFUSED(ptq_report_gate(w.r, NULL, &holds));
    REFUSED(ptq_save_text("x", NULL, true));
    REFUSED(ptq_can_save(NULL, true));
    drop(&w);
}
END_TEST

/* Options of all zeros were begun without their macro, or by the headers of another version. */
START_TEST(api__options_without_their_size)
{
    world w = make();
    jobs_data d;
    jobs_data_init(&d);
    ptq_model *m;
    ptq_runner *run;
    ptq_report *r;
    ptq_statistics *s;
    ptq_calib_options inner = PTQ_CALIB_OPTIONS_INIT;
    inner.loop.size = 3;
    REFUSED(ptq_model_load("x", &(ptq_load_options){0}, &m));
    REFUSED(ptq_runner_new(w.m, &(ptq_runner_options){0}, &run));
    REFUSED(ptq_model_calibrate(w.m, &d.samples, &(ptq_calib_options){0}, NULL, &s));
    REFUSED(ptq_model_calibrate(w.m, &d.samples, &inner, NULL, &s));
    REFUSED(ptq_model_quantize(w.m, w.stats, NULL, &(ptq_quant_options){0}, &m, &r));
    REFUSED(ptq_eval(w.m, &d.samples, &(ptq_loop_options){0}, &r));
    REFUSED(ptq_compare(w.m, w.q, &d.samples, &(ptq_compare_options){0}, &r));
    ck_assert_says("_INIT");
    drop(&w);
}
END_TEST

START_TEST(api__values_out_of_range)
{
    world w = make();
    jobs_data d;
    jobs_data_init(&d);
    ptq_model *m;
    ptq_report *r;
    ptq_statistics *s;
    ptq_calib_options c = PTQ_CALIB_OPTIONS_INIT;
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    c.shard = 2;
    c.nshards = 2;
    REFUSED(ptq_model_calibrate(w.m, &d.samples, &c, NULL, &s));
    ck_assert_says("shard 2 of 2");
    c.nshards = 0;
    REFUSED(ptq_model_calibrate(w.m, &d.samples, &c, NULL, &s));
    o.min_int8_macs = 1.5;
    REFUSED(ptq_model_quantize(w.m, w.stats, &d.samples, &o, &m, &r));
    ck_assert_fails(ptq_model_load_memory("", 0, NULL, &m), PTQ_ERR_MODEL);
    ck_assert_says("model in memory");
    drop(&w);
}
END_TEST

static size_t wrong_bytes;

static ptq_status read_wrong(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    PTQ_TRY(jobs_read(ctx, i, in, n));
    in[0].nbytes = wrong_bytes;
    return PTQ_OK;
}

/* A caller's tensor is as large as it says, or nothing is read from it. */
START_TEST(api__tensors_that_lie)
{
    world w = make();
    jobs_data d;
    jobs_data_init(&d);
    static float x[3 * 8 * 8];
    const size_t right = sizeof x, wrong[] = {0, 4, right - 4};
    ptq_runner *run;
    ptq_tensor out, in = {.dtype = PTQ_DT_F32, .rank = 4, .dims = {1, 3, 8, 8}, .data = x};
    ptq_statistics *s;
    ck_assert_ok(ptq_runner_new(w.m, NULL, &run));
    d.samples.read = read_wrong;
    for (size_t i = 0; i < PTQ_COUNT(wrong); i++) {
        in.nbytes = wrong_bytes = wrong[i];
        REFUSED(ptq_runner_run(run, &in, 1, &out, 1));
        ck_assert_says("nbytes");
        REFUSED(ptq_model_calibrate(w.m, &d.samples, NULL, NULL, &s));
        ck_assert_says("nbytes");
    }
    in.nbytes = wrong_bytes = right + 4; /* a buffer may have more room */
    ck_assert_ok(ptq_runner_run(run, &in, 1, &out, 1));
    ck_assert_ok(ptq_model_calibrate(w.m, &d.samples, NULL, NULL, &s));
    ptq_statistics_free(s);
    ptq_runner_free(run);
    drop(&w);
}
END_TEST

/* A runner on the CPU says what it does not do, as engines and commands do. */
START_TEST(api__runner_tells_what_precision_it_has_not)
{
    static const char *const backends[] = {NULL, "auto", "cpu"};
    world w = make();
    ptq_runner_options o = PTQ_RUNNER_OPTIONS_INIT;
    ptq_runner *run;
    ptq_set_log(keep_log, NULL, PTQ_LOG_WARN);
    for (size_t i = 0; i < PTQ_COUNT(backends); i++) {
        o.backend = backends[i];
        o.precision = "model";
        logged[0] = '\0';
        ck_assert_ok(ptq_runner_new(w.m, &o, &run));
        ptq_runner_free(run);
        ck_assert_str_eq(logged, "");
        o.precision = "fp16";
        ck_assert_ok(ptq_runner_new(w.m, &o, &run));
        ptq_runner_free(run);
        ck_assert_str_eq(logged, "precision fp16 changes nothing on backend cpu, whose results are exact");
    }
    ptq_set_log(NULL, NULL, PTQ_LOG_WARN);
    o.precision = "fp8";
    REFUSED(ptq_runner_new(w.m, &o, &run));
    drop(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_api");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, api__null);
    tcase_add_test(t, api__options_without_their_size);
    tcase_add_test(t, api__values_out_of_range);
    tcase_add_test(t, api__tensors_that_lie);
    tcase_add_test(t, api__runner_tells_what_precision_it_has_not);
    suite_add_tcase(s, t);
    return unit_run(s);
}
