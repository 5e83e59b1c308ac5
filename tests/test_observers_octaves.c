/* SPDX-License-Identifier: Apache-2.0 */
/* Stored counts: as narrow as they can be, and exact; and draining. */
#include "tests/stats_kit.h"

static void add(ptq_octaves *o, int32_t id, const uint64_t *counts)
{
    ck_assert_ok(ptq_octaves_add(o, id, counts, ptq_octave_bits(counts)));
}

/* The same counts in 32 bits, which are 0 afterwards. */
static void take(ptq_octaves *o, int32_t id, const uint64_t *counts)
{
    uint32_t narrow[PTQ_HIST_BINS];
    for (int b = 0; b < PTQ_HIST_BINS; b++)
        narrow[b] = (uint32_t)counts[b];
    ck_assert_ok(ptq_octaves_take(o, id, narrow));
    for (int b = 0; b < PTQ_HIST_BINS; b++)
        ck_assert_uint_eq(narrow[b], 0);
    ck_assert_ok(ptq_octaves_take(o, id, narrow)); /* nothing */
}

static void expect(const ptq_octaves *o, int32_t id, const uint64_t *want)
{
    uint64_t got[PTQ_HIST_BINS] = {0};
    const ptq_octave *v = ptq_octaves_find(o, id);
    ck_assert_ptr_nonnull(v);
    ptq_octave_add_to(v, got);
    ck_assert_mem_eq(got, want, sizeof got);
}

START_TEST(octaves__widths_follow_the_largest_count)
{
    static const struct {
        uint64_t first, second; /* counts of bin 7 */
        uint32_t width;
    } rows[] = {
        {1, 0, 1},         {255, 0, 1},          {256, 0, 2},         {200, 55, 1},        {200, 56, 2},
        {65535, 0, 2},     {65535, 1, 4},        {1, 65535, 4},       {UINT32_MAX, 0, 4},  {UINT32_MAX, 1, 8},
        {UINT64_MAX, 0, 8}, {UINT64_MAX - 9, 9, 8},
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_octaves o = {0};
        uint64_t a[PTQ_HIST_BINS] = {0}, sum[PTQ_HIST_BINS] = {0};
        a[7] = rows[i].first;
        add(&o, 300, a);
        a[7] = rows[i].second;
        if (rows[i].second)
            add(&o, 300, a);
        sum[7] = rows[i].first + rows[i].second;
        expect(&o, 300, sum);
        ck_assert_msg(ptq_octaves_find(&o, 300)->width == rows[i].width, "row %zu: width %u", i,
                      (unsigned)ptq_octaves_find(&o, 300)->width);
        ptq_octaves_clear(&o);
    }
}
END_TEST

/* Bounds of the counters add up; counts that never meet in a bin must not make them wide. */
START_TEST(octaves__stay_narrow_when_counts_do_not_meet)
{
    ptq_octaves o = {0};
    uint64_t want[PTQ_HIST_BINS] = {0};
    for (int i = 0; i < 2 * PTQ_HIST_BINS; i++) {
        uint64_t one[PTQ_HIST_BINS] = {0};
        one[i % PTQ_HIST_BINS] = 50;
        want[i % PTQ_HIST_BINS] += 50;
        add(&o, 1, one);
    }
    expect(&o, 1, want);
    ck_assert_uint_eq(ptq_octaves_find(&o, 1)->width, 1);
    ptq_octaves_clear(&o);
}
END_TEST

START_TEST(octaves__equal_plain_sums)
{
    enum { IDS = 40 };
    static uint64_t want[IDS][PTQ_HIST_BINS];
    ptq_octaves o = {0};
    ptq_rng r;
    ptq_rng_seed(&r, 3);
    memset(want, 0, sizeof want);
    for (int round = 0; round < 600; round++) {
        const uint32_t id = ptq_rng_below(&r, IDS);
        uint64_t counts[PTQ_HIST_BINS] = {0};
        for (int k = 0; k < 20; k++)
            counts[ptq_rng_below(&r, PTQ_HIST_BINS)] += ptq_rng_u64(&r) >> (24 + id);
        if (!ptq_octave_bits(counts))
            continue;
        if (round % 2 && ptq_octave_bits(counts) <= UINT32_MAX)
            take(&o, (int32_t)(id * 11), counts);
        else
            add(&o, (int32_t)(id * 11), counts);
        for (int b = 0; b < PTQ_HIST_BINS; b++)
            want[id][b] += counts[b];
    }
    for (uint32_t i = 0; i + 1 < o.n; i++)
        ck_assert_int_lt(o.v[i].id, o.v[i + 1].id);
    for (int id = 0; id < IDS; id++)
        expect(&o, id * 11, want[id]);
    ck_assert_ptr_null(ptq_octaves_find(&o, 5));
    ptq_octaves_clear(&o);
}
END_TEST

/* One object, drained after each sample into the totals of two tensors in turn, against plain
 * observation. */
START_TEST(drain__equals_observation)
{
    static float v[STK_VALUES];
    ptq_tensor_stats *total[2] = {stk_new(), stk_new()}, *plain[2] = {stk_new(), stk_new()}, *part = stk_new();
    for (size_t i = 0; i < 4 * STK_KINDS; i++) {
        const size_t n = stk_fill(1 + i % (STK_KINDS - 1), v), k = i / STK_KINDS % 2;
        const int64_t dims[2] = {50, (int64_t)n / 50};
        ck_assert_ok(ptq_stats_observe(part, v, n, 2, dims, (int)k));
        ck_assert_ok(ptq_stats_observe(plain[k], v, n, 2, dims, (int)k));
        ck_assert_ok(ptq_stats_drain(total[k], part));
        ck_assert_uint_eq(part->samples.samples, 0);
        ck_assert_uint_eq(ptq_hist_total(&part->hist), 0);
        ck_assert_int_eq(part->channel.channels, 0);
    }
    for (int k = 0; k < 2; k++) {
        ck_assert(ptq_stats_equal(total[k], plain[k]));
        ck_assert_uint_gt(total[k]->summary.finite, STK_VALUES);
    }
    /* What is stored drains as well. */
    ptq_tensor_stats *again = stk_new();
    ck_assert_ok(ptq_stats_drain(again, total[0]));
    ck_assert(ptq_stats_equal(again, plain[0]));
    ck_assert_uint_eq(ptq_hist_total(&total[0]->hist), 0);
    ck_assert_ok(ptq_stats_drain(total[0], again));
    ck_assert(ptq_stats_equal(total[0], plain[0]));
    for (int k = 0; k < 2; k++) {
        ptq_stats_free(total[k]);
        ptq_stats_free(plain[k]);
    }
    ptq_stats_free(part);
    ptq_stats_free(again);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("observers_octaves");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, octaves__widths_follow_the_largest_count);
    tcase_add_test(t, octaves__stay_narrow_when_counts_do_not_meet);
    tcase_add_test(t, octaves__equal_plain_sums);
    tcase_add_test(t, drain__equals_observation);
    suite_add_tcase(s, t);
    return unit_run(s);
}
