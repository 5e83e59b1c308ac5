/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs on the models of the shared folder. */
#include "tests/unit.h"

#include "lib/quant/range.h"
#include "tests/jobs_kit.h"

/* A second is allowed for ResNet-50 with any method: no run of the model, which alone takes that
 * long with a handful of samples. */
START_TEST(solve__again_within_a_second)
{
    char path[1024];
    jobs_data d;
    ptq_model *m, *q;
    ptq_statistics *stats;
    ptq_report *r;
    size_t n;
    const ptq_range_algo *const *algos = ptq_range_algos(&n);
    snprintf(path, sizeof path, "%s/models/tinyimagenet-resnet50.onnx", unit_shared());
    ck_assert_ok(ptq_model_load(path, NULL, &m));
    ck_assert_ok(ptq_model_optimize(m));
    jobs_data_init(&d);
    d.side = 64;
    ptq_calib_options co = PTQ_CALIB_OPTIONS_INIT;
    co.loop.samples = 2;
    ck_assert_ok(ptq_model_calibrate(m, &d.samples, &co, NULL, &stats));
    const int reads = d.reads;
    for (size_t i = 0; i < n; i++) {
        ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
        o.method = algos[i]->name;
        const double t = unit_cpu_seconds();
        ck_assert_ok(ptq_model_quantize(m, stats, NULL, &o, &q, &r));
        ck_assert_msg(unit_cpu_seconds() - t < 1.0, "%s took %.2f s", o.method, unit_cpu_seconds() - t);
        ptq_model_free(q);
        ptq_report_free(r);
    }
    ck_assert_int_eq(d.reads, reads);
    ptq_statistics_free(stats);
    ptq_model_free(m);
}
END_TEST

int main(void)
{
    if (!unit_shared()) {
        printf("SKIP: PTQ_SHARED is not set\n");
        return 77;
    }
    Suite *s = suite_create("jobs_shared");
    TCase *t = tcase_create("all");
    tcase_add_test(t, solve__again_within_a_second);
    suite_add_tcase(s, t);
    return unit_run(s);
}
