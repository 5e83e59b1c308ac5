/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of the reports against their definitions. */
#include "tests/unit.h"

#include <math.h>

#include "lib/report/metrics.h"

static const double z95 = 1.959963984540054; /* of the normal distribution */

/* The ends of Wilson's interval are the shares p whose own deviation puts k / n just z away. */
START_TEST(wilson__ends_from_the_definition)
{
    static const double rows[][2] = {{0, 1},  {1, 1},   {0, 10},      {8, 10},      {10, 10},
                                     {5, 10}, {1, 500}, {499, 1000}, {9999, 10000}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        double k = rows[i][0], n = rows[i][1], share = k / n, end[2];
        ptq_wilson(k, n, &end[0], &end[1]);
        ck_assert(end[0] >= -1e-15 && end[0] <= share + 1e-15 && share <= end[1] + 1e-15 && end[1] <= 1 + 1e-15);
        for (int e = 0; e < 2; e++)
            ck_assert_double_eq_tol(pow(end[e] - share, 2), z95 * z95 * end[e] * (1 - end[e]) / n, 1e-15);
        ck_assert(end[0] < end[1]);
    }
    double lo, hi;
    ptq_wilson(8, 10, &lo, &hi); /* the usual example */
    ck_assert_double_eq_tol(lo, 0.4901624715, 1e-9);
    ck_assert_double_eq_tol(hi, 0.9433178485, 1e-9);
    ptq_wilson(0, 0, &lo, &hi);
    ck_assert(lo == 0 && hi == 1);
}
END_TEST

/* Of n differences: +1 for each sample gained, -1 for each lost, 0 for the rest. */
START_TEST(paired__is_the_mean_of_differences)
{
    static const int rows[][3] = {{3, 7, 100}, {0, 5, 20}, {5, 0, 20}, {4, 4, 50}, {20, 0, 20}, {0, 0, 9}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        int gained = rows[i][0], lost = rows[i][1], n = rows[i][2];
        double mean = 0, var = 0, diff, half;
        for (int k = 0; k < n; k++)
            mean += (k < gained ? 1.0 : k < gained + lost ? -1.0 : 0.0) / n;
        for (int k = 0; k < n; k++)
            var += pow((k < gained ? 1.0 : k < gained + lost ? -1.0 : 0.0) - mean, 2) / n;
        ptq_paired_interval(gained, lost, n, &diff, &half);
        ck_assert_double_eq_tol(diff, mean, 1e-12);
        ck_assert_double_eq_tol(half, z95 * sqrt(var / n), 1e-7);
    }
    double diff, half;
    ptq_paired_interval(0, 0, 0, &diff, &half);
    ck_assert(diff == 0 && half == 0);
}
END_TEST

START_TEST(distance__of_outputs)
{
    static const float ref[] = {3, -4, 0, INFINITY, 1}, cand[] = {3.5f, -4, 0.25f, 1, NAN};
    ptq_distance d = {0};
    ck_assert(isnan(ptq_distance_sqnr(&d)) && isnan(ptq_distance_cosine(&d)));
    ptq_distance_add(&d, ref, cand, 2);
    ptq_distance_add(&d, ref + 2, cand + 2, 3);
    ck_assert_uint_eq(d.n, 3);
    ck_assert_uint_eq(d.nonfinite, 2);
    ck_assert(d.max_abs == 0.5);
    ck_assert_double_eq_tol(ptq_distance_sqnr(&d), 10 * log10(25 / (0.25 + 0.0625)), 1e-12);
    ck_assert_double_eq_tol(ptq_distance_cosine(&d), (10.5 + 16) / (5 * sqrt(12.25 + 16 + 0.0625)), 1e-12);
    d = (ptq_distance){0};
    ptq_distance_add(&d, ref, ref, 3);
    ck_assert(isinf(ptq_distance_sqnr(&d)) && ptq_distance_sqnr(&d) > 0);
    ck_assert(ptq_distance_cosine(&d) == 1.0);
}
END_TEST

/* Of equal scores the first class wins, in the rank as in the choice. */
START_TEST(rank__ties_go_to_the_first)
{
    static const float v[6] = {1, 5, 2, 5, 2, -INFINITY};
    static const int64_t rank[6] = {4, 0, 2, 1, 3, 5};
    ck_assert_int_eq(ptq_argmax(v, 6), 1);
    ck_assert_int_eq(ptq_argmax(v, 1), 0);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(ptq_label_rank(v, 6, i), rank[i]);
}
END_TEST

/* What is no number is never right, and no choice. */
START_TEST(rank__of_what_is_no_number)
{
    const float none[3] = {NAN, NAN, NAN}, some[3] = {NAN, 1.0f, 2.0f};
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ptq_label_rank(none, 3, i), 3);
    ck_assert_int_eq(ptq_argmax(none, 3), -1);
    ck_assert_int_eq(ptq_argmax(some, 3), 2);
    ck_assert_int_eq(ptq_label_rank(some, 3, 0), 3);
    ck_assert_int_eq(ptq_label_rank(some, 3, 2), 0);
}
END_TEST

START_TEST(cross_entropy__without_overflow)
{
    static const float v[4] = {0.5f, -1.0f, 2.0f, 0.0f};
    for (int shift = -1000; shift <= 1000; shift += 500)
        for (int label = 0; label < 4; label++) {
            float x[4];
            long double sum = 0;
            for (int i = 0; i < 4; i++) {
                x[i] = v[i] + (float)shift;
                sum += expl((long double)v[i]);
            }
            long double want = -logl(expl((long double)v[label]) / sum);
            ck_assert_double_eq_tol(ptq_cross_entropy(x, 4, label), (double)want, 1e-9);
        }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("report_metrics");
    TCase *t = tcase_create("all");
    tcase_add_test(t, wilson__ends_from_the_definition);
    tcase_add_test(t, paired__is_the_mean_of_differences);
    tcase_add_test(t, distance__of_outputs);
    tcase_add_test(t, rank__ties_go_to_the_first);
    tcase_add_test(t, rank__of_what_is_no_number);
    tcase_add_test(t, cross_entropy__without_overflow);
    suite_add_tcase(s, t);
    return unit_run(s);
}
