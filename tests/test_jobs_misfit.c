/* SPDX-License-Identifier: Apache-2.0 */
/* Models that do not fit each other, and outputs that are no numbers. */
#include "tests/unit.h"

#include <string.h>

#include "tests/jobs_kit.h"

/* x -> mean over positions -> `classes` scores y; scores are NaN where `broken`. */
static ptq_model *scores(int classes, bool broken)
{
    char text[512];
    snprintf(text, sizeof text,
             "input x f32 [batch,3,8,8]\n"
             "const w f32 [3,%d]\n"
             "p = GlobalAveragePool(x)\n"
             "f = Flatten(p)\n"
             "m = MatMul(f, w)\n"
             "a = Abs(m)\n"
             "n = Neg(a)\n"
             "y = %s(n)\n"
             "output y\n", classes, broken ? "Log" : "Exp");
    ptq_model *m;
    ck_assert_ok(ptq_model_wrap(gt_parse(text), &m));
    ck_assert_ok(ptq_model_optimize(m));
    return m;
}

START_TEST(compare__outputs_of_other_shapes)
{
    jobs_data d;
    ptq_model *six = scores(6, false), *many = scores(100000, false);
    ptq_compare_options o = PTQ_COMPARE_OPTIONS_INIT;
    ptq_report *r;
    o.latency_seconds = -1.0;
    jobs_data_init(&d);
    ck_assert_fails(ptq_compare(six, many, &d.samples, &o, &r), PTQ_ERR_MODEL);
    ck_assert_says("100000");
    ck_assert_fails(ptq_compare(many, six, &d.samples, &o, &r), PTQ_ERR_MODEL);
    ptq_model_free(six);
    ptq_model_free(many);
}
END_TEST

START_TEST(accuracy__nan_is_never_right)
{
    jobs_data d;
    ptq_model *good = scores(6, false), *bad = scores(6, true);
    ptq_compare_options o = PTQ_COMPARE_OPTIONS_INIT;
    ptq_report *r;
    double v;
    o.latency_seconds = -1.0;
    jobs_data_init(&d);
    ck_assert_ok(ptq_eval(bad, &d.samples, NULL, &r));
    ck_assert_ok(ptq_report_number(r, "top1", &v));
    ck_assert(v == 0.0);
    ptq_report_free(r);
    ck_assert_ok(ptq_compare(bad, bad, &d.samples, &o, &r));
    ck_assert_ok(ptq_report_number(r, "agreement", &v));
    ck_assert(v == 0.0);
    ptq_report_free(r);
    ck_assert_ok(ptq_compare(good, good, &d.samples, &o, &r));
    ck_assert_ok(ptq_report_number(r, "agreement", &v));
    ck_assert(v == 100.0);
    ptq_report_free(r);
    ptq_model_free(good);
    ptq_model_free(bad);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_misfit");
    TCase *t = tcase_create("all");
    tcase_add_test(t, compare__outputs_of_other_shapes);
    tcase_add_test(t, accuracy__nan_is_never_right);
    suite_add_tcase(s, t);
    return unit_run(s);
}
