/* SPDX-License-Identifier: Apache-2.0 */
/* What a team finds is what one process finds, to the byte. */
#include "tests/jobs_kit.h"
#include "tests/team_kit.h"

typedef struct results {
    void *model;
    size_t n;
    char *quantized, *compared, *evaluated;
    ptq_statistics *stats;
} results;

typedef struct fixture {
    const ptq_model *m;
    jobs_data d;
    results want;
    size_t fail_at; /* this sample cannot be read; SIZE_MAX: all can */
    ptq_status how;
    double share;   /* that may be bad */
    bool mixed;     /* samples of two sizes */
} fixture;

static fixture *current; /* for read() */

static ptq_status read_some(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    if (i == current->fail_at)
        return ptq_fail(current->how, "sample %zu is broken", i);
    ptq_status s = jobs_read(ctx, i, in, n);
    if (s == PTQ_OK && current->mixed && i % 5 == 3) { /* half as high */
        in[0].dims[2] /= 2;
        in[0].nbytes /= 2;
    }
    return s;
}

static ptq_loop_options loop_options(const fixture *f, const ptq_team *t)
{
    ptq_loop_options o = PTQ_LOOP_OPTIONS_INIT;
    o.threads = 1;
    o.team = t;
    o.batch = 3;
    o.max_bad_share = f->share;
    return o;
}

static ptq_status run(const fixture *f, const ptq_team *t, results *out)
{
    ptq_calib_options co = PTQ_CALIB_OPTIONS_INIT;
    ptq_quant_options qo = PTQ_QUANT_OPTIONS_INIT;
    ptq_compare_options po = PTQ_COMPARE_OPTIONS_INIT;
    ptq_model *q;
    ptq_report *r;
    co.loop = qo.loop = po.loop = loop_options(f, t);
    qo.method = "auto";
    po.layers = true;
    po.latency_seconds = -1.0;
    PTQ_TRY(ptq_model_calibrate(f->m, &f->d.samples, &co, NULL, &out->stats));
    PTQ_TRY(ptq_model_quantize(f->m, out->stats, &f->d.samples, &qo, &q, &r));
    PTQ_TRY(ptq_report_json(r, &out->quantized));
    ptq_report_free(r);
    PTQ_TRY(ptq_model_save_memory(q, &out->model, &out->n));
    PTQ_TRY(ptq_compare(f->m, q, &f->d.samples, &po, &r));
    PTQ_TRY(ptq_report_json(r, &out->compared));
    ptq_report_free(r);
    PTQ_TRY(ptq_eval(q, &f->d.samples, &po.loop, &r));
    PTQ_TRY(ptq_report_json(r, &out->evaluated));
    ptq_report_free(r);
    ptq_model_free(q);
    return PTQ_OK;
}

static void free_results(results *r)
{
    ptq_statistics_free(r->stats);
    free(r->model);
    free(r->quantized);
    free(r->compared);
    free(r->evaluated);
}

static void check_statistics(const ptq_statistics *a, const ptq_statistics *b)
{
    ck_assert_uint_eq(a->ntensors, b->ntensors);
    for (size_t i = 0; i < a->ntensors; i++)
        ck_assert(ptq_stats_equal(a->tensors[i], b->tensors[i]));
    ck_assert_mem_eq(a->done, b->done, (a->total / 64 + 1) * 8);
    ck_assert_mem_eq(a->bad, b->bad, (a->total / 64 + 1) * 8);
    ck_assert_str_eq(a->data_sha256, b->data_sha256);
}

static void same(void *ctx, const ptq_team *t)
{
    const fixture *f = ctx;
    results got = {0};
    ck_assert_ok(run(f, t, &got));
    check_statistics(got.stats, f->want.stats);
    ck_assert_uint_eq(got.n, f->want.n);
    ck_assert_mem_eq(got.model, f->want.model, got.n);
    ck_assert_str_eq(got.quantized, f->want.quantized);
    ck_assert_str_eq(got.compared, f->want.compared);
    ck_assert_str_eq(got.evaluated, f->want.evaluated);
    free_results(&got);
}

static void fixture_init(fixture *f, ptq_model *m)
{
    *f = (fixture){.m = m, .fail_at = SIZE_MAX};
    jobs_data_init(&f->d);
    f->d.samples.ctx = &f->d;
    f->d.samples.read = read_some;
    current = f;
}

static void check_team(ptq_model *m, size_t fail_at, bool mixed)
{
    static const int ranks[] = {1, 2, 3, 4, 8};
    fixture f;
    fixture_init(&f, m);
    f.fail_at = fail_at;
    f.how = PTQ_ERR_DATA;
    f.share = 0.03; /* one of 40 */
    f.mixed = mixed;
    ck_assert_ok(run(&f, NULL, &f.want));
    for (size_t i = 0; i < PTQ_COUNT(ranks); i++) {
        f.d.hashed = 0;
        kit_team(ranks[i], same, &f);
        ck_assert_int_eq(f.d.hashed, 1);
    }
    free_results(&f.want);
    ptq_model_free(m);
}

START_TEST(team__same_bytes)
{
    check_team(_i ? jobs_chain() : jobs_model(), SIZE_MAX, false);
}
END_TEST

START_TEST(team__bad_sample)
{
    static const size_t at[] = {0, 8, 17, 39};
    check_team(jobs_model(), at[_i], false);
}
END_TEST

START_TEST(team__mixed_sizes)
{
    ptq_model *m = jobs_model_of("input x f32 [batch,3,h,w]\nconst w1 f32 [8,3,3,3]\nconst w2 f32 [8,6]\n"
                                 "const flat s64 [2] 0 -1\nc = Conv(x, w1)\nr = Relu(c)\np = GlobalAveragePool(r)\n"
                                 "f = Reshape(p, flat)\ny = MatMul(f, w2)\noutput y\n");
    check_team(m, SIZE_MAX, true);
}
END_TEST

static void calibrate_all(void *ctx, const ptq_team *t)
{
    const fixture *f = ctx;
    ptq_calib_options o = PTQ_CALIB_OPTIONS_INIT;
    ptq_statistics *s;
    o.loop = loop_options(f, t);
    ck_assert_ok(ptq_model_calibrate(f->m, &f->d.samples, &o, NULL, &s));
    check_statistics(s, f->want.stats);
    ptq_statistics_free(s);
}

/* Shards within a team, resumed by a team: every sample is read once. */
static void resume_shard(void *ctx, const ptq_team *t)
{
    const fixture *f = ctx;
    ptq_calib_options o = PTQ_CALIB_OPTIONS_INIT;
    ptq_statistics *s, *all;
    o.loop = loop_options(f, t);
    o.shard = 1;
    o.nshards = 3;
    ck_assert_ok(ptq_model_calibrate(f->m, &f->d.samples, &o, NULL, &s));
    ck_assert_uint_eq(ptq_statistics_done(s), 13);
    o.shard = o.nshards = 0;
    ck_assert_ok(ptq_model_calibrate(f->m, &f->d.samples, &o, s, &all));
    check_statistics(all, f->want.stats);
    ptq_statistics_free(s);
    ptq_statistics_free(all);
}

START_TEST(team__reads_once)
{
    fixture f;
    ptq_model *m = jobs_model();
    fixture_init(&f, m);
    ck_assert_ok(run(&f, NULL, &f.want));
    for (int ranks = 1; ranks <= 5; ranks++) {
        atomic_store(&f.d.reads, 0);
        kit_team(ranks, calibrate_all, &f);
        ck_assert_int_eq(atomic_load(&f.d.reads), JOBS_SAMPLES);
        atomic_store(&f.d.reads, 0);
        kit_team(ranks, resume_shard, &f);
        ck_assert_int_eq(atomic_load(&f.d.reads), JOBS_SAMPLES);
    }
    free_results(&f.want);
    ptq_model_free(m);
}
END_TEST

/* An error that only one of them meets ends all, with its status and text. */
static void meet_error(void *ctx, const ptq_team *t)
{
    fixture *f = ctx;
    ptq_calib_options co = PTQ_CALIB_OPTIONS_INIT;
    ptq_compare_options po = PTQ_COMPARE_OPTIONS_INIT;
    ptq_quant_options qo = PTQ_QUANT_OPTIONS_INIT;
    ptq_statistics *s = NULL;
    ptq_model *q = NULL;
    ptq_report *r = NULL;
    co.loop = po.loop = qo.loop = loop_options(f, t);
    po.layers = true;
    po.latency_seconds = -1.0;
    qo.method = "auto";
    ck_assert_int_eq(ptq_model_calibrate(f->m, &f->d.samples, &co, NULL, &s), f->how);
    ck_assert_says("sample 32 is broken");
    ck_assert_int_eq(ptq_eval(f->m, &f->d.samples, &po.loop, &r), f->how);
    ck_assert_says("sample 32 is broken");
    ck_assert_int_eq(ptq_compare(f->m, f->m, &f->d.samples, &po, &r), f->how);
    ck_assert_says("sample 32 is broken");
    if (f->how != PTQ_ERR_DATA) { /* what cannot be used is left out of the judging */
        ck_assert_int_eq(ptq_model_quantize(f->m, f->want.stats, &f->d.samples, &qo, &q, &r), f->how);
        ck_assert_says("sample 32 is broken");
    }
}

START_TEST(team__one_fails)
{
    static const ptq_status how[] = {PTQ_ERR_IO, PTQ_ERR_NOMEM, PTQ_ERR_DATA};
    fixture f;
    ptq_model *m = jobs_model();
    fixture_init(&f, m);
    ck_assert_ok(run(&f, NULL, &f.want));
    f.fail_at = 32; /* one of those that auto judges on */
    f.how = how[_i];
    f.share = -1.0;
    for (int ranks = 1; ranks <= 5; ranks++)
        kit_team(ranks, meet_error, &f);
    free_results(&f.want);
    ptq_model_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_team");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, team__same_bytes, 0, 2);
    tcase_add_loop_test(t, team__bad_sample, 0, 4);
    tcase_add_test(t, team__mixed_sizes);
    tcase_add_test(t, team__reads_once);
    tcase_add_loop_test(t, team__one_fails, 0, 3);
    suite_add_tcase(s, t);
    return unit_run(s);
}
