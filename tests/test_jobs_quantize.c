/* SPDX-License-Identifier: Apache-2.0 */
/* Quantizing from statistics. */
#include "tests/unit.h"

#include <math.h>
#include <string.h>

#include "tests/jobs_kit.h"

START_TEST(statistics__of_another_model)
{
    jobs_data d;
    ptq_model *m = jobs_model(), *q;
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    ptq_statistics *stats;
    ptq_report *r;
    jobs_data_init(&d);
    o.method = "mse";
    memset(m->sha256, 'a', 64);
    ck_assert_ok(ptq_model_calibrate(m, &d.samples, NULL, NULL, &stats));
    static const struct {
        char model, stats;
        ptq_status want;
    } rows[] = {{'a', 'a', PTQ_OK}, {'b', 'a', PTQ_ERR_DATA}, {'\0', 'a', PTQ_OK}, {'b', '\0', PTQ_OK}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        m->sha256[0] = rows[i].model;
        stats->model_sha256[0] = rows[i].stats;
        ptq_status s = ptq_model_quantize(m, stats, NULL, &o, &q, &r);
        ck_assert_int_eq(s, rows[i].want);
        if (s == PTQ_OK) {
            ptq_model_free(q);
            ptq_report_free(r);
        } else {
            ck_assert(strstr(ptq_last_error(), "another model"));
        }
    }
    ptq_statistics_free(stats);
    ptq_model_free(m);
}
END_TEST

/* Told before a calibration, which would speak of the activations. */
START_TEST(weights__not_finite)
{
    static const char *const names[] = {"w1", "b2", "w4"};
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < PTQ_COUNT(names); i++) {
        ptq_model *m = jobs_model();
        ck_assert_ok(ptq_quant_check(m, NULL, true));
        ((float *)ptq_graph_find(m->graph, names[i])->constant->data)[3] = values[i];
        ck_assert_fails(ptq_quant_check(m, NULL, true), PTQ_ERR_MODEL);
        ck_assert_says(names[i]);
        ck_assert_says("at element 3");
        const char *const ops[] = {"Conv", "Gemm", NULL};
        ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
        o.exclude_ops = ops;
        ck_assert_ok(ptq_quant_check(m, &o, true)); /* nodes in float may hold what they like */
        ptq_model_free(m);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_quantize");
    TCase *t = tcase_create("all");
    tcase_add_test(t, statistics__of_another_model);
    tcase_add_test(t, weights__not_finite);
    suite_add_tcase(s, t);
    return unit_run(s);
}
