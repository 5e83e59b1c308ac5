/* SPDX-License-Identifier: Apache-2.0 */
/* What the jobs choose: samples to judge on, the method, layers in float, fixed ranges, and how
 * many unreadable samples are too many. */
#include "tests/unit.h"

#include <math.h>

#include "lib/jobs/judge.h"
#include "tests/jobs_kit.h"

static ptq_statistics *calibrated(const ptq_model *m, jobs_data *d)
{
    ptq_statistics *s;
    jobs_data_init(d);
    ck_assert_ok(ptq_model_calibrate(m, &d->samples, NULL, NULL, &s));
    return s;
}

/* ---- judge ---- */

static bool asked[JOBS_SAMPLES];

static ptq_status note_and_read(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    asked[i] = true;
    return jobs_read(ctx, i, in, n);
}

START_TEST(judge__every_8th_sample)
{
    static const struct {
        size_t samples, limit, kept;
    } rows[] = {{0, 64, 5}, {0, 3, 3}, {17, 64, 3}, {16, 64, 2}, {1, 64, 1}, {1000, 64, 5}};
    jobs_data d;
    ptq_model *m = jobs_model();
    jobs_data_init(&d);
    d.samples.read = note_and_read;
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_loop_options o = PTQ_LOOP_OPTIONS_INIT;
        ptq_judge *j;
        o.threads = 1;
        o.samples = rows[i].samples;
        memset(asked, 0, sizeof asked);
        ck_assert_ok(ptq_judge_new(m, &d.samples, &o, rows[i].limit, &j));
        ck_assert_uint_eq(ptq_judge_samples(j), rows[i].kept);
        for (size_t k = 0; k < JOBS_SAMPLES; k++)
            ck_assert_int_eq(asked[k], k % 8 == 0 && k / 8 < rows[i].kept);
        ptq_judge_free(j);
    }
    ptq_model_free(m);
}
END_TEST

/* ---- auto ---- */

static ptq_report *quantize_auto(const char *weight, double min_macs)
{
    jobs_data d;
    ptq_model *m = jobs_chain(), *q;
    ptq_statistics *stats = calibrated(m, &d);
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    ptq_report *r;
    o.method = "auto";
    o.weight = weight;
    o.min_int8_macs = min_macs;
    ck_assert_ok(ptq_model_quantize(m, stats, &d.samples, &o, &q, &r));
    ptq_model_free(q);
    ptq_statistics_free(stats);
    ptq_model_free(m);
    return r;
}

START_TEST(auto__takes_the_method_with_the_least_noise)
{
    static const char *const weights[] = {"s8", "log2x16", "log2"};
    ptq_report *r = quantize_auto(weights[_i], 0.0);
    const json_t *a = json_object_get(r->root, "auto"), *methods = json_object_get(a, "methods");
    const char *best = NULL, *chosen = ptq_json_str(a, "method", "?");
    double most = -INFINITY, least = INFINITY;
    for (size_t i = 0; i < json_array_size(methods); i++) {
        const json_t *m = json_array_get(methods, i);
        double db = ptq_json_num(m, "sqnr_db", NAN);
        best = db > most ? ptq_json_str(m, "method", "?") : best;
        most = fmax(most, db);
        least = fmin(least, db);
    }
    ck_assert(most > least);
    ck_assert_str_eq(chosen, best);
    ck_assert(ptq_json_num(a, "sqnr_db", NAN) >= most); /* what follows only improves */
    ptq_report_free(r);
}
END_TEST

/* Log weights lose so much that layers stay in float, but never beyond the share. */
START_TEST(auto__keeps_the_share_of_integer_work)
{
    static const double shares[] = {0.2, 0.5, 0.8, 0.95};
    ptq_report *r = quantize_auto("log2", shares[_i]);
    double share = ptq_json_num(r->root, "int8_mac_share", NAN);
    ck_assert(share >= shares[_i]);
    ck_assert(_i != 0 || share < 0.5);
    ptq_report_free(r);
}
END_TEST

/* ---- ranges known without data ---- */

START_TEST(decide__fixed_ranges)
{
    static const char text[] =
        "input x f32 [batch,3,8,8]\n"
        "const w1 f32 [4,3,1,1]\n"
        "const w2 f32 [4,4,1,1]\n"
        "c = Conv(x, w1)\n"
        "s = Sigmoid(c)\n"
        "y = Conv(s, w2)\n"
        "output y\n";
    jobs_data d;
    ptq_model *m = jobs_model_of(text);
    ptq_statistics *stats = calibrated(m, &d);
    static const char *const overrides[] = {NULL, "{\"tensors\": {\"s\": {\"method\": \"minmax\"}}}",
                                            "{\"tensors\": {\"s\": {\"low\": -1, \"high\": 0.5}}}"};
    static const char *const method[] = {"fixed", "minmax", "override"};
    for (size_t i = 0; i < PTQ_COUNT(overrides); i++) {
        ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
        ptq_report *r;
        ptq_model *q;
        o.method = "mse";
        o.target = "ort";
        o.overrides = overrides[i];
        ck_assert_ok(ptq_model_quantize(m, stats, NULL, &o, &q, &r));
        const json_t *list = json_object_get(r->root, "tensors");
        int seen = 0;
        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *t = json_array_get(list, k);
            if (strcmp(ptq_json_str(t, "name", "?"), "s") != 0) {
                ck_assert_str_eq(ptq_json_str(t, "method", "?"), "mse");
                continue;
            }
            seen++;
            double lo = ptq_json_num(t, "low", NAN), hi = ptq_json_num(t, "high", NAN);
            ck_assert_str_eq(ptq_json_str(t, "method", "?"), method[i]);
            ck_assert(i == 0 ? lo == 0 && hi == 1 : i == 1 ? lo == 0 && hi < 1 : lo == -1 && hi == 0.5);
        }
        ck_assert_int_eq(seen, 1);
        ptq_report_free(r);
        ptq_model_free(q);
    }
    ptq_statistics_free(stats);
    ptq_model_free(m);
}
END_TEST

/* ---- unreadable samples ---- */

static size_t bad_count;

static ptq_status read_but_bad(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    return i % 2 && i / 2 < bad_count ? ptq_fail(PTQ_ERR_DATA, "sample %zu is torn", i) : jobs_read(ctx, i, in, n);
}

/* Of 40 samples, 0.1 are 4: so many are still skipped. */
START_TEST(bad__share_is_tolerated)
{
    static const struct {
        size_t bad;
        double share;
        bool ok;
    } rows[] = {{4, 0.1, true}, {5, 0.1, false}, {0, -1, true}, {1, -1, false}, {1, 0, false}, {20, 0.5, true}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        jobs_data d;
        ptq_model *m = jobs_model();
        ptq_report *r;
        ptq_loop_options o = PTQ_LOOP_OPTIONS_INIT;
        jobs_data_init(&d);
        d.samples.read = read_but_bad;
        bad_count = rows[i].bad;
        o.max_bad_share = rows[i].share;
        o.threads = 1 + (int)(i % 3);
        ptq_status s = ptq_eval(m, &d.samples, &o, &r);
        ck_assert_msg((s == PTQ_OK) == rows[i].ok, "row %zu: %s", i, s == PTQ_OK ? "accepted" : ptq_last_error());
        if (s == PTQ_OK) {
            double n;
            ck_assert_ok(ptq_report_number(r, "samples", &n));
            ck_assert(n == (double)(JOBS_SAMPLES - bad_count));
            ptq_report_free(r);
        } else {
            ck_assert_int_eq(s, PTQ_ERR_DATA);
            ck_assert_says("cannot be used");
        }
        ptq_model_free(m);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_choices");
    TCase *t = tcase_create("all");
    tcase_add_test(t, judge__every_8th_sample);
    tcase_add_loop_test(t, auto__takes_the_method_with_the_least_noise, 0, 3);
    tcase_add_loop_test(t, auto__keeps_the_share_of_integer_work, 0, 4);
    tcase_add_test(t, decide__fixed_ranges);
    tcase_add_test(t, bad__share_is_tolerated);
    suite_add_tcase(s, t);
    return unit_run(s);
}
