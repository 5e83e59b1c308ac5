/* SPDX-License-Identifier: Apache-2.0 */
/* Counting over batches that are written down here. */
#include "tests/unit.h"

#include <math.h>

#include "lib/jobs/accuracy.h"

enum { CLASSES = 7 };

/* Scores in which `first` leads and the rest fall by their distance to it, in a circle. */
static void scores(float *v, int first)
{
    for (int i = 0; i < CLASSES; i++)
        v[i] = 10.0f - 2.0f * (float)((i - first + CLASSES) % CLASSES);
}

static int64_t labels[8];

static ptq_status read_labels(void *ctx, size_t i, const int64_t **out, size_t *n)
{
    const size_t *rows = ctx;
    *out = labels + i * *rows;
    *n = *rows;
    return PTQ_OK;
}

/* What `scores` gives a label that is `far` places behind the first. */
static double nats(int far)
{
    double sum = 0;
    for (int i = 0; i < CLASSES; i++)
        sum += exp(-2.0 * i);
    return log(sum) + 2.0 * far;
}

/* Four samples in one batch; what each model puts first, and where the label lies behind it. */
START_TEST(accuracy__one_row_each)
{
    static const int first[2][4] = {{0, 1, 2, 3}, {0, 2, 2, 5}};
    static const int64_t want[4] = {0, 1, 6, 3}; /* ranks 0 0 4 0 and 0 6 4 5 */
    static const size_t index[4] = {0, 1, 2, 3};
    float v[2][4 * CLASSES];
    ptq_tensor out[2];
    size_t rows = 1;
    ptq_accuracy a = {.nmodels = 2};
    ptq_samples samples = {.ctx = &rows, .count = 4, .labels = read_labels};
    ptq_batch b = {.index = index, .n = 4, .outputs = {&out[0], &out[1]}, .noutputs = 1, .joined = true};
    for (int m = 0; m < 2; m++) {
        for (int i = 0; i < 4; i++)
            scores(v[m] + i * CLASSES, first[m][i]);
        out[m] = (ptq_tensor){.dtype = PTQ_DT_F32, .rank = 2, .dims = {4, CLASSES}, .data = v[m]};
    }
    memcpy(labels, want, sizeof want);
    ck_assert_ok(ptq_accuracy_add(&a, &samples, &b));
    ck_assert(a.samples == 4 && a.n == 4 && a.seqs == 4 && !a.tokens);
    ck_assert(a.top1[0] == 3 && a.top1[1] == 1);
    ck_assert(a.top5[0] == 4 && a.top5[1] == 2);
    ck_assert(a.lost == 2 && a.gained == 0 && a.agree == 2);
    ck_assert_double_eq_tol(a.nats[0], 3 * nats(0) + nats(4), 1e-6);
    ck_assert_double_eq_tol(a.nats[1], nats(0) + nats(6) + nats(4) + nats(5), 1e-6);
    ck_assert_double_eq_tol(a.diff, 2.0 * (6 + 5), 1e-6); /* the second is worse */
    ck_assert_double_eq_tol(a.diff2, 144 + 100, 1e-5);
    /* the other way round */
    ptq_batch r = b;
    ptq_accuracy c = {.nmodels = 2};
    r.outputs[0] = &out[1];
    r.outputs[1] = &out[0];
    ck_assert_ok(ptq_accuracy_add(&c, &samples, &r));
    ck_assert(c.gained == 2 && c.lost == 0 && c.agree == 2);
    ck_assert_double_eq_tol(c.diff, -a.diff, 1e-9);
    ck_assert_uint_eq(c.out[0].d.n, 4 * CLASSES);
    ptq_accuracy_clear(&a);
    ptq_accuracy_clear(&c);
}
END_TEST

/* Two rows for each sample, in two batches of one: the mean over a sample's rows counts. */
START_TEST(accuracy__tokens)
{
    static const int64_t want[4] = {0, 3, 2, 2};
    float v[2][2 * CLASSES];
    ptq_tensor out[2];
    size_t rows = 2;
    ptq_accuracy a = {.nmodels = 2};
    ptq_samples samples = {.ctx = &rows, .count = 2, .labels = read_labels};
    memcpy(labels, want, sizeof want);
    for (size_t i = 0; i < 2; i++) {
        ptq_batch b = {.index = &i, .n = 1, .outputs = {&out[0], &out[1]}, .noutputs = 1};
        for (int m = 0; m < 2; m++) {
            scores(v[m], i == 0 ? 0 : 2);
            scores(v[m] + CLASSES, m == 0 ? 2 : 1);
            out[m] = (ptq_tensor){.dtype = PTQ_DT_F32, .rank = 3, .dims = {1, 2, CLASSES}, .data = v[m]};
        }
        ck_assert_ok(ptq_accuracy_add(&a, &samples, &b));
    }
    ck_assert(a.tokens && a.n == 4 && a.seqs == 2 && a.samples == 2);
    ck_assert(a.top1[0] == 3 && a.top1[1] == 2 && a.lost == 1 && a.gained == 0 && a.agree == 2);
    ck_assert_double_eq_tol(a.diff, (2.0 * 1 + 2.0 * 1) / 2, 1e-6);
    ck_assert_double_eq_tol(a.diff2, 1.0 + 1.0, 1e-6);
    ptq_accuracy_clear(&a);
}
END_TEST

START_TEST(accuracy__labels_must_fit)
{
    static const int64_t bad[] = {CLASSES, -1};
    static const size_t index = 0;
    float v[CLASSES];
    size_t rows = 1;
    ptq_tensor out = {.dtype = PTQ_DT_F32, .rank = 2, .dims = {1, CLASSES}, .data = v};
    ptq_samples samples = {.ctx = &rows, .count = 1, .labels = read_labels};
    ptq_batch b = {.index = &index, .n = 1, .outputs = {&out}, .noutputs = 1};
    scores(v, 0);
    labels[0] = CLASSES - 1;
    ck_assert_ok(ptq_accuracy_add(&(ptq_accuracy){.nmodels = 1}, &samples, &b));
    for (size_t i = 0; i < PTQ_COUNT(bad); i++) {
        labels[0] = bad[i];
        ck_assert_fails(ptq_accuracy_add(&(ptq_accuracy){.nmodels = 1}, &samples, &b), PTQ_ERR_DATA);
        ck_assert_says("has classes 0 to 6");
    }
    labels[0] = 0;
    rows = 2;
    ck_assert_fails(ptq_accuracy_add(&(ptq_accuracy){.nmodels = 1}, &samples, &b), PTQ_ERR_DATA);
    ck_assert_says("2 labels");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_accuracy");
    TCase *t = tcase_create("all");
    tcase_add_test(t, accuracy__one_row_each);
    tcase_add_test(t, accuracy__tokens);
    tcase_add_test(t, accuracy__labels_must_fit);
    suite_add_tcase(s, t);
    return unit_run(s);
}
