/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/core/team.h"

#include "tests/team_kit.h"

/* ---- broadcast and agreement ---- */

static void broadcast(void *ctx, const ptq_team *t)
{
    (void)ctx;
    for (int root = 0; root < t->ranks; root++) {
        int v[3] = {t->rank, root, 7 * t->rank};
        ck_assert_ok(ptq_team_broadcast(t, root, v, sizeof v));
        ck_assert(v[0] == root && v[1] == root && v[2] == 7 * root);
        ck_assert_ok(ptq_team_broadcast(t, root, v, 0));
    }
}

static void agree(void *ctx, const ptq_team *t)
{
    const unsigned fails = *(const unsigned *)ctx; /* bit per rank */
    ptq_status mine = fails >> t->rank & 1 ? ptq_fail(PTQ_ERR_DATA - t->rank % 2, "rank %d has it", t->rank) : PTQ_OK;
    ptq_status s = ptq_team_agree(t, mine);
    const int first = fails ? __builtin_ctz(fails) : 0;
    char text[32];
    snprintf(text, sizeof text, "rank %d has it", first);
    ck_assert_int_eq(s, fails ? PTQ_ERR_DATA - first % 2 : PTQ_OK);
    if (fails)
        ck_assert_str_eq(ptq_last_error(), text);
}

START_TEST(team__broadcast_and_agree)
{
    for (int ranks = 1; ranks <= KIT_RANKS; ranks++) {
        kit_team(ranks, broadcast, NULL);
        for (unsigned fails = 0; fails < 1u << (ranks < 4 ? ranks : 4); fails++)
            kit_team(ranks, agree, &fails);
    }
    ck_assert_ok(ptq_team_agree(NULL, PTQ_OK));
    ck_assert_int_eq(ptq_team_agree(NULL, PTQ_ERR_IO), PTQ_ERR_IO);
    ck_assert_ok(ptq_team_broadcast(NULL, 0, NULL, 0));
}
END_TEST

/* ---- turns ---- */

typedef struct turn_case {
    size_t count, fail_at; /* fail_at: count and above: never */
    double want;
} turn_case;

static double term(size_t k)
{
    return 1.0 / (double)(3 * k + 1) - 0.3 / (double)(k + 2);
}

static void take_turns(void *ctx, const ptq_team *t)
{
    const turn_case *c = ctx;
    double sum = 0.0;
    uint64_t seen = 0;
    const ptq_part parts[] = {{&sum, sizeof sum}, {&seen, sizeof seen}};
    const ptq_turns turns = {t, parts, PTQ_COUNT(parts), c->count};
    ptq_status s = PTQ_OK;
    for (size_t k = 0; k < c->count; k++) {
        if (!ptq_turn_is_mine(&turns, k))
            continue;
        if (s == PTQ_OK && k >= c->fail_at && k % 3 == c->fail_at % 3)
            s = ptq_fail(PTQ_ERR_IO, "piece %zu", k);
        ptq_status before = ptq_turn_take(&turns, k);
        s = before != PTQ_OK ? before : s;
        sum += term(k);
        seen++;
        s = ptq_turn_give(&turns, k, s);
    }
    s = ptq_turns_end(&turns, s);
    if (c->fail_at < c->count) {
        char text[32];
        snprintf(text, sizeof text, "piece %zu", c->fail_at);
        ck_assert_int_eq(s, PTQ_ERR_IO);
        ck_assert_str_eq(ptq_last_error(), text);
    } else {
        ck_assert_ok(s);
        ck_assert_uint_eq(seen, c->count);
        ck_assert(sum == c->want); /* one order, whoever adds */
    }
}

START_TEST(team__turns)
{
    static const size_t counts[] = {0, 1, 2, 5, 8, 23};
    for (int ranks = 1; ranks <= KIT_RANKS; ranks++)
        for (size_t i = 0; i < PTQ_COUNT(counts); i++)
            for (size_t fail = 0; fail <= counts[i]; fail++) {
                turn_case c = {counts[i], fail, 0.0};
                for (size_t k = 0; k < c.count; k++)
                    c.want += term(k);
                kit_team(ranks, take_turns, &c);
            }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("core_team");
    TCase *t = tcase_create("all");
    tcase_add_test(t, team__broadcast_and_agree);
    tcase_add_test(t, team__turns);
    suite_add_tcase(s, t);
    return unit_run(s);
}
