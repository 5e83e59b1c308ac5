/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include "lib/exec/plan.h"

static size_t rounded(size_t n)
{
    return (n + 63) / 64 * 64;
}

/* Random lifetimes: no two that meet in time may share a byte, and the block is at least the
 * largest sum of what lives at one time. */
START_TEST(plan__live_values_never_overlap)
{
    enum { N = 200, STEPS = 60 };
    ptq_plan_item it[N];
    ptq_rng r;
    for (unsigned seed = 0; seed < 20; seed++) {
        ptq_rng_seed(&r, seed);
        size_t n = 1 + ptq_rng_below(&r, N), total = 0, live_max = 0;
        for (size_t i = 0; i < n; i++) {
            int first = (int)ptq_rng_below(&r, STEPS);
            int span = (int)ptq_rng_below(&r, seed % 2 ? 4 : STEPS);
            it[i] = (ptq_plan_item){first, first + span, ptq_rng_below(&r, 5000), 0};
            if (ptq_rng_below(&r, 10) == 0)
                it[i].bytes = 0;
        }
        ck_assert_ok(ptq_plan_offsets(it, n, &total));
        for (size_t i = 0; i < n; i++) {
            ck_assert_uint_eq(it[i].offset % 64, 0);
            ck_assert_uint_le(it[i].offset + rounded(it[i].bytes), total);
            for (size_t k = 0; k < i && it[i].bytes; k++) {
                bool meet = it[i].first <= it[k].last && it[k].first <= it[i].last;
                bool share = it[k].bytes && it[i].offset < it[k].offset + it[k].bytes &&
                             it[k].offset < it[i].offset + it[i].bytes;
                ck_assert_msg(!meet || !share, "seed %u: items %zu and %zu: %d-%d %zu+%zu, %d-%d %zu+%zu", seed, i,
                              k, it[i].first, it[i].last, it[i].offset, it[i].bytes, it[k].first,
                              it[k].last, it[k].offset, it[k].bytes);
            }
        }
        for (int s = 0; s < 2 * STEPS; s++) {
            size_t live = 0;
            for (size_t i = 0; i < n; i++)
                live += it[i].first <= s && s <= it[i].last ? rounded(it[i].bytes) : 0;
            live_max = live > live_max ? live : live_max;
        }
        ck_assert_uint_ge(total, live_max);
        /* Not a proof, but a plan twice as large as needed would be a bug. */
        ck_assert_uint_le(total, 2 * live_max + 64);
    }
}
END_TEST

START_TEST(plan__chain_needs_two_buffers)
{
    enum { N = 20000 };
    static ptq_plan_item it[N];
    size_t total = 0;
    for (int i = 0; i < N; i++)
        it[i] = (ptq_plan_item){i, i + 1, 1000, 0};
    ck_assert_ok(ptq_plan_offsets(it, N, &total));
    ck_assert_uint_eq(total, 2048);
    ck_assert_ok(ptq_plan_offsets(it, 0, &total));
    ck_assert_uint_eq(total, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_plan");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, plan__live_values_never_overlap);
    tcase_add_test(t, plan__chain_needs_two_buffers);
    suite_add_tcase(s, t);
    return unit_run(s);
}
