/* SPDX-License-Identifier: Apache-2.0 */
/* Samples that are not all alike: of other sizes, and unreadable ones at the places where a job looks first. */
#include "tests/unit.h"

#include "lib/observers/stats.h"
#include "tests/jobs_kit.h"

/* Takes images of any size. */
static const char text[] =
    "input x f32 [batch,3,h,w]\n"
    "const w1 f32 [8,3,3,3]\n"
    "const w2 f32 [6,8,1,1]\n"
    "const flat s64 [2] 0 -1\n"
    "c = Conv(x, w1) pads=[1,1,1,1]\n"
    "r = Relu(c)\n"
    "d = Conv(r, w2)\n"
    "p = GlobalAveragePool(d)\n"
    "y = Reshape(p, flat)\n"
    "output y\n";

/* 8 x 8, 11 x 11, ...; with no two neighbours alike, or runs of five, or all alike. */
static int sides;

static ptq_status read_mixed(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    jobs_data d = {.side = sides == 0 ? 8 : sides == 1 ? 8 + 3 * (int)(i % 3) : 8 + 3 * (int)(i / 5 % 2)};
    (void)ctx;
    return jobs_read(&d, i, in, n);
}

static ptq_status read_bad_first(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    return i % 16 < 2 ? ptq_fail(PTQ_ERR_DATA, "sample %zu is torn", i) : read_mixed(ctx, i, in, n);
}

static char *whole_job(const ptq_model *m, jobs_data *d, size_t batch, int threads, ptq_statistics **stats)
{
    ptq_calib_options c = PTQ_CALIB_OPTIONS_INIT;
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    ptq_compare_options co = PTQ_COMPARE_OPTIONS_INIT;
    ptq_report *r, *e;
    ptq_model *q;
    char *json;
    c.loop.batch = batch;
    c.loop.threads = threads;
    c.loop.max_bad_share = 0.5;
    ck_assert_ok(ptq_model_calibrate(m, &d->samples, &c, NULL, stats));
    o.loop = co.loop = c.loop;
    ck_assert_ok(ptq_model_quantize(m, *stats, &d->samples, &o, &q, &r));
    co.layers = true;
    co.latency_seconds = -1.0;
    ck_assert_ok(ptq_compare(m, q, &d->samples, &co, &e));
    ck_assert_ok(ptq_report_json(e, &json));
    ptq_report_free(r);
    ptq_report_free(e);
    ptq_model_free(q);
    return json;
}

/* Every step of the main job takes them, and no figure depends on the batch or the threads. */
START_TEST(mixed__sizes)
{
    ptq_model *m = jobs_model_of(text);
    jobs_data d;
    jobs_data_init(&d);
    d.samples.read = _i < 3 ? read_mixed : read_bad_first;
    sides = _i % 3;
    ptq_statistics *a, *b;
    char *one = whole_job(m, &d, 1, 1, &a), *many = whole_job(m, &d, 0, 2, &b);
    ck_assert_str_eq(one, many);
    ck_assert_uint_eq(ptq_statistics_done(a), _i < 3 ? JOBS_SAMPLES : JOBS_SAMPLES - 6);
    ck_assert_uint_eq(ptq_statistics_bad(a), JOBS_SAMPLES - ptq_statistics_done(a));
    ck_assert_uint_eq(ptq_statistics_bad(b), ptq_statistics_bad(a));
    for (size_t i = 0; i < a->ntensors; i++)
        ck_assert(ptq_summary_equal(&a->tensors[i]->summary, &b->tensors[i]->summary));
    ptq_statistics_free(a);
    ptq_statistics_free(b);
    free(one);
    free(many);
    ptq_model_free(m);
}
END_TEST

START_TEST(bad__first_sample_and_latency)
{
    ptq_model *m = jobs_model_of(text);
    ptq_compare_options co = PTQ_COMPARE_OPTIONS_INIT;
    ptq_report *r;
    double ms;
    jobs_data d;
    jobs_data_init(&d);
    d.samples.read = read_bad_first;
    sides = 0;
    co.loop.max_bad_share = 0.5;
    co.latency_seconds = 0.001;
    ck_assert_ok(ptq_compare(m, m, &d.samples, &co, &r));
    ck_assert_ok(ptq_report_number(r, "latency_ms.reference", &ms));
    ck_assert(ms > 0.0);
    ptq_report_free(r);
    ptq_model_free(m);
}
END_TEST

static ptq_status read_nothing(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    (void)ctx, (void)in, (void)n;
    return ptq_fail(PTQ_ERR_DATA, "sample %zu is torn", i);
}

START_TEST(bad__all)
{
    ptq_model *m = jobs_model_of(text);
    ptq_loop_options o = PTQ_LOOP_OPTIONS_INIT;
    ptq_report *r;
    jobs_data d;
    jobs_data_init(&d);
    d.samples.read = read_nothing;
    o.max_bad_share = 1.0;
    ck_assert_fails(ptq_eval(m, &d.samples, &o, &r), PTQ_ERR_DATA);
    ck_assert_says("not one of the 40 samples");
    ptq_model_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_mixed");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, mixed__sizes, 0, 6);
    tcase_add_test(t, bad__first_sample_and_latency);
    tcase_add_test(t, bad__all);
    suite_add_tcase(s, t);
    return unit_run(s);
}
