/* SPDX-License-Identifier: Apache-2.0 */
/* The main job on models whose outputs are not one row of scores. */
#include "tests/unit.h"

#include "tests/jobs_kit.h"

/* A model whose tail makes the outputs from c [batch,6,8,8] and s [batch,6]. */
static ptq_model *model(const char *tail)
{
    char text[4096];
    snprintf(text, sizeof text,
             "input x f32 [batch,3,8,8]\n"
             "const w1 f32 [8,3,3,3]\n"
             "const w2 f32 [6,8,1,1]\n"
             "h = Conv(x, w1) pads=[1,1,1,1]\n"
             "r = Relu(h)\n"
             "c = Conv(r, w2)\n"
             "p = GlobalAveragePool(c)\n"
             "s = Flatten(p)\n"
             "%s", tail);
    return jobs_model_of(text);
}

typedef struct result {
    ptq_report *quantized, *compared;
} result;

static result main_job(const char *tail, const char *method, bool labels)
{
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    ptq_compare_options co = PTQ_COMPARE_OPTIONS_INIT;
    ptq_model *m = model(tail), *q;
    ptq_statistics *stats;
    jobs_data d;
    result r;
    jobs_data_init(&d);
    d.samples.labels = labels ? jobs_labels : NULL;
    o.method = method;
    co.latency_seconds = -1.0;
    co.layers = true;
    ck_assert_ok(ptq_model_calibrate(m, &d.samples, NULL, NULL, &stats));
    ck_assert_ok(ptq_model_quantize(m, stats, &d.samples, &o, &q, &r.quantized));
    ck_assert_ok(ptq_compare(m, q, &d.samples, &co, &r.compared));
    ptq_statistics_free(stats);
    ptq_model_free(q);
    ptq_model_free(m);
    return r;
}

static void drop(result *r)
{
    ptq_report_free(r->quantized);
    ptq_report_free(r->compared);
}

static char *text_of(const ptq_report *r)
{
    char *text;
    ck_assert_ok(ptq_report_text(r, 80, false, &text));
    return text;
}

static const char classes[] = "z = ArgMax(s) axis=1 keepdims=0\noutput z\n";

/* Integers have no distance: how many are the same is told. The scores are those of float32. */
START_TEST(outputs__of_integers_and_floats)
{
    char tail[256];
    double v;
    snprintf(tail, sizeof tail, "%soutput s\n", classes);
    result r = main_job(tail, NULL, true);
    char *text = text_of(r.compared);
    ck_assert_ok(ptq_report_number(r.compared, "outputs.0.equal_percent", &v));
    ck_assert(v > 50.0 && v <= 100.0);
    ck_assert_ok(ptq_report_number(r.compared, "agreement", &v));
    double same;
    ck_assert_ok(ptq_report_number(r.compared, "outputs.0.equal_percent", &same));
    ck_assert(same == v); /* both count the same first choices */
    ck_assert_ok(ptq_report_number(r.compared, "outputs.1.sqnr_db", &v));
    ck_assert(v > 10.0);
    ck_assert_ok(ptq_report_number(r.compared, "top1", &v));
    ck_assert(strstr(text, "output z (int64): "));
    free(text);
    drop(&r);
}
END_TEST

/* auto has nothing to judge by there: the default is another method, and asking for it is refused at once. */
START_TEST(outputs__of_integers_alone)
{
    jobs_data d;
    ptq_model *m = model(classes);
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    jobs_data_init(&d);
    o.method = "auto";
    ck_assert_fails(ptq_quant_check(m, &o, true), PTQ_ERR_UNSUPPORTED);
    ptq_model_free(m);
    result r = main_job(classes, NULL, false);
    char *text = text_of(r.quantized);
    ck_assert(strstr(text, "ranges by mse"));
    free(text);
    drop(&r);
}
END_TEST

START_TEST(outputs__many)
{
    char tail[2048] = "";
    double v;
    for (int i = 0; i < 20; i++)
        snprintf(tail + strlen(tail), sizeof tail - strlen(tail),
                 "const k%d f32 [] %d\nm%d = Mul(s, k%d)\noutput m%d\n", i, i + 1, i, i, i);
    result r = main_job(tail, "auto", false);
    ck_assert_ok(ptq_report_number(r.compared, "outputs.19.sqnr_db", &v));
    ck_assert(v > 10.0);
    drop(&r);
}
END_TEST

/* The last axis of a map of pixels is no row of scores. */
START_TEST(outputs__maps_have_no_first_choice)
{
    double v;
    result r = main_job("output c\n", "minmax", false);
    ck_assert_fails(ptq_report_number(r.compared, "agreement", &v), PTQ_ERR_ARG);
    drop(&r);
    r = main_job("output s\n", "minmax", false);
    ck_assert_ok(ptq_report_number(r.compared, "agreement", &v));
    drop(&r);
}
END_TEST

/* No noise and no signal are no "nan". */
START_TEST(outputs__of_zeros)
{
    result r = main_job("const none f32 [] 0\nz = Mul(s, none)\noutput z\n", "auto", false);
    char *a = text_of(r.quantized), *b = text_of(r.compared);
    ck_assert_msg(!strstr(a, "nan") && strstr(a, "identical"), "%s", a);
    ck_assert_msg(!strstr(b, "nan") && strstr(b, "SQNR identical, cosine n/a"), "%s", b);
    free(a);
    free(b);
    drop(&r);
}
END_TEST

START_TEST(nothing__is_quantized)
{
    jobs_data d;
    ptq_model *m = jobs_model_of("input x f32 [batch,3,8,8]\ny = Abs(x)\noutput y\n"), *q;
    ptq_statistics *stats;
    ptq_report *r;
    jobs_data_init(&d);
    ck_assert_ok(ptq_model_calibrate(m, &d.samples, NULL, NULL, &stats));
    ck_assert_ok(ptq_model_quantize(m, stats, &d.samples, NULL, &q, &r));
    char *text = text_of(r);
    ck_assert_msg(strstr(text, "nothing is quantized"), "%s", text);
    free(text);
    ptq_report_free(r);
    ptq_statistics_free(stats);
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_outputs");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, outputs__of_integers_and_floats);
    tcase_add_test(t, outputs__of_integers_alone);
    tcase_add_test(t, outputs__many);
    tcase_add_test(t, outputs__maps_have_no_first_choice);
    tcase_add_test(t, outputs__of_zeros);
    tcase_add_test(t, nothing__is_quantized);
    suite_add_tcase(s, t);
    return unit_run(s);
}
