/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/rank.h"

#include "tests/unit.h"

enum { ITEMS = 5000 };

/* Gains that add up; trials are counted. */
typedef struct made_up {
    double gain[ITEMS];
    size_t trials, single;
    ptq_status fails_at;
} made_up;

static ptq_status gain_of(void *ctx, size_t first, size_t n, double *gain)
{
    made_up *m = ctx;
    ck_assert(n > 0 && first + n <= ITEMS);
    m->trials++;
    m->single += n == 1;
    if (m->fails_at && m->trials == 7)
        return ptq_fail(m->fails_at, "no more");
    *gain = 0.0;
    for (size_t i = 0; i < n; i++)
        *gain += m->gain[first + i];
    return PTQ_OK;
}

static made_up *make(void)
{
    static made_up m;
    m = (made_up){0};
    for (size_t i = 0; i < ITEMS; i++)
        m.gain[i] = i % 3 ? -1e-6 : 1e-6;
    m.gain[41] = 0.3;
    m.gain[4999] = 0.2;
    m.gain[2500] = 0.25;
    m.gain[2501] = 0.25;
    return &m;
}

START_TEST(rank__each_alone)
{
    made_up *m = make();
    static ptq_ranked list[ITEMS];
    size_t n, good = 0;
    ck_assert_ok(ptq_rank(ITEMS, ITEMS, gain_of, m, list, &n));
    for (size_t i = 0; i < ITEMS; i++)
        good += m->gain[i] > 0.0;
    ck_assert_uint_eq(m->trials, ITEMS);
    ck_assert_uint_eq(m->single, ITEMS);
    ck_assert_uint_eq(n, good);
    for (size_t i = 1; i < n; i++)
        ck_assert(list[i].gain < list[i - 1].gain || (list[i].gain == list[i - 1].gain && list[i].item > list[i - 1].item));
    ck_assert_uint_eq(list[0].item, 41);
    ck_assert_uint_eq(list[1].item, 2500);
    ck_assert_uint_eq(list[2].item, 2501);
    ck_assert_uint_eq(list[3].item, 4999);
}
END_TEST

/* The best four of 5,000 with a twelfth of the trials. */
START_TEST(rank__groups)
{
    static const size_t best[4] = {41, 2500, 2501, 4999};
    made_up *m = make();
    static ptq_ranked list[ITEMS];
    size_t n;
    ck_assert_ok(ptq_rank(ITEMS, 400, gain_of, m, list, &n));
    ck_assert_uint_le(m->trials, 400);
    ck_assert_uint_ge(n, 4);
    for (size_t i = 0; i < 4; i++)
        ck_assert_uint_eq(list[i].item, best[i]);
}
END_TEST

START_TEST(rank__few_and_none)
{
    made_up *m = make();
    static ptq_ranked list[ITEMS];
    size_t n = 9;
    ck_assert_ok(ptq_rank(0, 64, gain_of, m, list, &n));
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(m->trials, 0);
    for (size_t count = 1; count < 140; count++) {
        m->trials = 0;
        ck_assert_ok(ptq_rank(count, 64, gain_of, m, list, &n));
        ck_assert_uint_le(m->trials, 64);
        ck_assert(n >= 1 && n <= count);
    }
    m->trials = 0;
    m->fails_at = PTQ_ERR_INTERRUPTED;
    ck_assert_fails(ptq_rank(ITEMS, 200, gain_of, m, list, &n), PTQ_ERR_INTERRUPTED);
    ck_assert_uint_eq(m->trials, 7);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_rank");
    TCase *t = tcase_create("all");
    tcase_add_test(t, rank__each_alone);
    tcase_add_test(t, rank__groups);
    tcase_add_test(t, rank__few_and_none);
    suite_add_tcase(s, t);
    return unit_run(s);
}
