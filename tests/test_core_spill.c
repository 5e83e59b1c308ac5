/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/core/spill.h"

#include <signal.h>
#include <sys/resource.h>

#include "lib/graph/graph.h"
#include "tests/unit.h"

static bool filled(const unsigned char *p, size_t n, unsigned char with)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != with)
            return false;
    return true;
}

START_TEST(spill__sizes)
{
    static const size_t sizes[] = {0, 1, 4095, 1 << 20, (4 << 20) - 1, 4 << 20, (9 << 20) + 5};
    for (size_t i = 0; i < PTQ_COUNT(sizes); i++) {
        unsigned char *p = ptq_spill_alloc(sizes[i]);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        ck_assert(filled(p, sizes[i], 0));
        memset(p, 7, sizes[i]);
        if (sizes[i] < (4 << 20))
            ck_assert(!ptq_spill_in_file(p));
        if (ptq_spill_in_file(p)) /* what is dropped comes back */
            ptq_pages_rest(p, sizes[i]);
        ck_assert(filled(p, sizes[i], 7));
        ptq_spill_free(p);
    }
    ptq_spill_free(NULL);
    ck_assert(!ptq_spill_in_file(NULL));
    ck_assert_ptr_null(ptq_spill_alloc(SIZE_MAX - 10));
}
END_TEST

/* Constants of a graph stay what they are when it rests, also in its copies and after it is gone. */
START_TEST(graph__rest)
{
    ptq_graph *g, *copy;
    ptq_value *v[3];
    static const size_t sizes[3] = {100, 300000, 6 << 20};
    ck_assert_ok(ptq_graph_new(&g));
    for (int i = 0; i < 3; i++) {
        ptq_tensor t = {.dtype = PTQ_DT_U8, .rank = 1, .dims = {(int64_t)sizes[i]}, .nbytes = sizes[i]};
        t.data = ptq_graph_bytes(g, sizes[i]);
        ck_assert_ptr_nonnull(t.data);
        ck_assert_uint_eq((uintptr_t)t.data % 64, 0);
        memset(t.data, i + 1, sizes[i]);
        ck_assert_ok(ptq_graph_constant(g, "c", &t, false, &v[i]));
        ptq_graph_rest(g, v[i]->constant);
    }
    ptq_graph_rest_all(g);
    ck_assert_ok(ptq_graph_clone(g, &copy));
    ptq_graph_free(g);
    ptq_graph_rest_all(copy);
    for (int i = 0; i < 3; i++)
        ck_assert(filled(copy->values.v[i]->constant->data, sizes[i], (unsigned char)(i + 1)));
    ptq_graph_free(copy);
}
END_TEST

/* Where files may not grow, as on a full disk, it is ordinary memory, and resting leaves it alone. */
START_TEST(spill__no_room)
{
    ptq_graph *g;
    ptq_value *v;
    enum { SIZE = 5 << 20 };
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, 1 << 20}), 0);
    unsigned char *p = ptq_spill_alloc(SIZE);
    ck_assert_ptr_nonnull(p);
    ck_assert(!ptq_spill_in_file(p));
    memset(p, 9, SIZE);
    ck_assert(filled(p, SIZE, 9));
    ptq_spill_free(p);
    ck_assert_ok(ptq_graph_new(&g));
    ptq_tensor t = {.dtype = PTQ_DT_U8, .rank = 1, .dims = {SIZE}, .data = ptq_graph_bytes(g, SIZE), .nbytes = SIZE};
    memset(t.data, 5, SIZE);
    ck_assert_ok(ptq_graph_constant(g, "c", &t, false, &v));
    ptq_graph_rest(g, v->constant);
    ptq_graph_rest_all(g);
    ck_assert(filled(v->constant->data, SIZE, 5));
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("core_spill");
    TCase *t = tcase_create("all");
    tcase_add_test(t, spill__sizes);
    tcase_add_test(t, spill__no_room);
    tcase_add_test(t, graph__rest);
    suite_add_tcase(s, t);
    return unit_run(s);
}
