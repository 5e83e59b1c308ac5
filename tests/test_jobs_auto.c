/* SPDX-License-Identifier: Apache-2.0 */
/* What auto keeps between its trials changes no result. */
#include "tests/unit.h"

#include <string.h>

#include "lib/jobs/judge.h"
#include "tests/jobs_kit.h"

static const struct {
    const char *target, *weight, *act;
    int per_tensor;
} specs[] = {
    {NULL, NULL, NULL, 0},      {"ort", "u8", "u8", 0},       {NULL, NULL, NULL, 1},
    {NULL, "log2", "log2", 0},  {NULL, "log2x2", NULL, 0},    {"tensorrt", NULL, NULL, 0},
};

static ptq_quant_options options(size_t i)
{
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    o.target = specs[i].target;
    o.weight = specs[i].weight;
    o.act = specs[i].act;
    o.per_tensor = specs[i].per_tensor;
    return o;
}

static ptq_statistics *calibrated(const ptq_model *m, jobs_data *d)
{
    ptq_statistics *s;
    jobs_data_init(d);
    ck_assert_ok(ptq_model_calibrate(m, &d->samples, NULL, NULL, &s));
    return s;
}

static void check_same_file(const ptq_model *a, const ptq_model *b)
{
    void *x, *y;
    size_t n, k;
    ck_assert_ok(ptq_model_save_memory(a, &x, &n));
    ck_assert_ok(ptq_model_save_memory(b, &y, &k));
    ck_assert_uint_eq(n, k);
    ck_assert_mem_eq(x, y, n);
    free(x);
    free(y);
}

/* Each method twice, with what was solved and quantized before and without. */
START_TEST(kept__parameters_and_codes)
{
    jobs_data d;
    ptq_model *m = jobs_model();
    ptq_statistics *stats = calibrated(m, &d);
    ptq_quant_options o = options((size_t)_i);
    ptq_qspec spec;
    ptq_solved *solved;
    ptq_weight_cache *cache;
    size_t n;
    const ptq_range_algo *const *algos = ptq_range_algos(&n);
    ck_assert_ok(ptq_qspec_make(&o, &spec));
    ck_assert_ok(ptq_solved_new(m->graph->values.n, &solved));
    ck_assert_ok(ptq_weight_cache_new(m->graph->values.n, &cache));
    for (size_t k = 0; k < 2 * n; k++) {
        ptq_choice c = {.method = algos[k % n]};
        ptq_decision one, two;
        ptq_model *a, *b;
        ck_assert_ok(ptq_decide(m->graph, stats, &spec, &c, &one));
        c.solved = solved;
        ck_assert_ok(ptq_decide(m->graph, stats, &spec, &c, &two));
        ck_assert_int_gt(one.place->ntensors, 2);
        for (int i = 0; i < one.place->ntensors; i++) {
            const ptq_act_params *p = &one.params[i], *q = &two.params[i];
            ck_assert(p->scale == q->scale && p->zp == q->zp && p->lo == q->lo && p->hi == q->hi);
            ck_assert_str_eq(p->method, q->method);
        }
        ck_assert_ok(ptq_build(m, &one, &spec, NULL, &a, NULL));
        ck_assert_ok(ptq_build(m, &two, &spec, cache, &b, NULL));
        check_same_file(a, b);
        ptq_model_free(a);
        ptq_model_free(b);
        ptq_decision_clear(&one);
        ptq_decision_clear(&two);
    }
    ptq_weight_cache_free(cache);
    ptq_solved_free(solved);
    ptq_qspec_clear(&spec);
    ptq_statistics_free(stats);
    ptq_model_free(m);
}
END_TEST

START_TEST(kept__scores)
{
    jobs_data d;
    ptq_model *m = jobs_model();
    ptq_statistics *stats = calibrated(m, &d);
    ptq_quant_options o = options((size_t)_i);
    ptq_qspec spec;
    ptq_judge *used, *fresh;
    size_t n;
    const ptq_range_algo *const *algos = ptq_range_algos(&n);
    ck_assert_ok(ptq_qspec_make(&o, &spec));
    ck_assert_ok(ptq_judge_new(m, &d.samples, &o.loop, 64, &used));
    for (size_t k = 0; k < n; k++) {
        ptq_choice c = {.method = algos[k]};
        ptq_decision dec;
        double a, b;
        ck_assert_ok(ptq_decide(m->graph, stats, &spec, &c, &dec));
        ck_assert_ok(ptq_judge_new(m, &d.samples, &o.loop, 64, &fresh));
        ck_assert_ok(ptq_judge_score(used, &dec, &spec, 0, &a));
        ck_assert_ok(ptq_judge_score(fresh, &dec, &spec, 0, &b));
        ck_assert(a == b && a > 0.0);
        ptq_judge_free(fresh);
        ptq_decision_clear(&dec);
    }
    ptq_judge_free(used);
    ptq_qspec_clear(&spec);
    ptq_statistics_free(stats);
    ptq_model_free(m);
}
END_TEST

START_TEST(auto__threads_agree)
{
    jobs_data d;
    ptq_model *m = jobs_model(), *q[2];
    ptq_statistics *stats = calibrated(m, &d);
    for (int k = 0; k < 2; k++) {
        ptq_quant_options o = options((size_t)_i);
        ptq_report *r;
        o.method = "auto";
        o.loop.threads = k ? 3 : 1;
        ck_assert_ok(ptq_model_quantize(m, stats, &d.samples, &o, &q[k], &r));
        ptq_report_free(r);
    }
    check_same_file(q[0], q[1]);
    ptq_model_free(q[0]);
    ptq_model_free(q[1]);
    ptq_statistics_free(stats);
    ptq_model_free(m);
}
END_TEST

/* A score where fp32 has no number is judged by the others, and not at all where there are none. */
START_TEST(auto__fp32_has_nan)
{
    static const struct {
        const char *end;
        bool all;
    } rows[] = {{"z = Log(y)\noutput z\n", false}, {"v = Sub(y, big)\nz = Log(v)\noutput z\n", true}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        char text[1024];
        jobs_data d;
        ptq_calib_options co = PTQ_CALIB_OPTIONS_INIT;
        ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
        ptq_statistics *stats;
        ptq_report *r;
        ptq_model *q;
        snprintf(text, sizeof text, "input x f32 [batch,3,8,8]\nconst w1 f32 [8,3,3,3]\nconst w2 f32 [288,6]\n"
                 "const big f32 [] 1e9\nconst flat s64 [2] 0 -1\nc = Conv(x, w1)\nr = Relu(c)\n"
                 "f = Reshape(r, flat)\ny = MatMul(f, w2)\n%s", rows[i].end);
        ptq_model *m = jobs_model_of(text);
        jobs_data_init(&d);
        co.nonfinite_ok = true;
        o.method = "auto";
        ck_assert_ok(ptq_model_calibrate(m, &d.samples, &co, NULL, &stats));
        ptq_status s = ptq_model_quantize(m, stats, &d.samples, &o, &q, &r);
        if (rows[i].all) {
            ck_assert_int_eq(s, PTQ_ERR_MODEL);
            ck_assert_says("all of them are NaN");
        } else {
            double bad, db, most = -1e9, least = 1e9;
            ck_assert_ok(s);
            ck_assert_ok(ptq_report_number(r, "auto.nonfinite", &bad));
            ck_assert(bad > 0 && bad < 5 * JOBS_CLASSES); /* every 8th of 40 samples is judged on */
            for (int k = 0; k < 5; k++) {
                char path[64];
                snprintf(path, sizeof path, "auto.methods.%d.sqnr_db", k);
                ck_assert_ok(ptq_report_number(r, path, &db));
                most = db > most ? db : most;
                least = db < least ? db : least;
            }
            ck_assert_msg(most > 10.0 && most > least, "%g .. %g dB", least, most);
            ptq_report_free(r);
            ptq_model_free(q);
        }
        ptq_statistics_free(stats);
        ptq_model_free(m);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_auto");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, kept__parameters_and_codes, 0, PTQ_COUNT(specs));
    tcase_add_loop_test(t, kept__scores, 0, PTQ_COUNT(specs));
    tcase_add_loop_test(t, auto__threads_agree, 0, PTQ_COUNT(specs));
    tcase_add_test(t, auto__fp32_has_nan);
    suite_add_tcase(s, t);
    return unit_run(s);
}
