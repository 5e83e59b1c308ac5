/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/core/atomic_file.h"
#include "lib/core/pool.h"
#include "lib/core/qmath.h"
#include "tests/scratch.h"

START_TEST(status__text_and_prefix)
{
    ck_assert_int_eq(ptq_fail(PTQ_ERR_MODEL, "node %s", "a"), PTQ_ERR_MODEL);
    ck_assert_int_eq(ptq_fail_prefix(PTQ_ERR_MODEL, "file"), PTQ_ERR_MODEL);
    ck_assert_str_eq(ptq_last_error(), "file: node a");
    ck_assert_int_eq(ptq_exit_code(PTQ_ERR_MODEL), 3);
    ck_assert_int_eq(ptq_exit_code(PTQ_ERR_INTERRUPTED), 130);
    ck_assert_int_eq(ptq_exit_code(PTQ_OK), 0);
}
END_TEST

START_TEST(mem__arena_and_map)
{
    ptq_arena *a = ptq_arena_new();
    ptq_map *m = ptq_map_new();
    PTQ_VEC(int) v = {0};
    for (int i = 0; i < 5000; i++) {
        char *k = ptq_arena_printf(a, "key%d", i);
        ck_assert(ptq_map_put(m, k, k));
        ck_assert(PTQ_VEC_PUSH(a, &v, i));
    }
    for (int i = 0; i < 5000; i += 3) {
        char k[32];
        snprintf(k, sizeof k, "key%d", i);
        ptq_map_del(m, k);
    }
    for (int i = 0; i < 5000; i++) {
        char k[32];
        snprintf(k, sizeof k, "key%d", i);
        ck_assert_int_eq(ptq_map_get(m, k) != NULL, i % 3 != 0);
        ck_assert_int_eq(v.v[i], i);
    }
    char *big = ptq_arena_alloc(a, 1 << 20);
    ck_assert_ptr_nonnull(big);
    memset(big, 1, 1 << 20);
    ck_assert_ptr_null(ptq_arena_array(a, SIZE_MAX / 2, 4));
    ptq_map_free(m);
    ptq_arena_free(a);
}
END_TEST

START_TEST(mem__sizes_overflow)
{
    size_t n;
    int64_t e;
    ck_assert(!ptq_mul_size(SIZE_MAX, 2, &n));
    ck_assert(!ptq_tensor_nbytes(PTQ_DT_F32, 2, (int64_t[]){INT64_C(1) << 40, INT64_C(1) << 40}, &n));
    ck_assert(!ptq_shape_elements(1, (int64_t[]){-1}, &e));
    ck_assert(ptq_tensor_nbytes(PTQ_DT_S4, 1, (int64_t[]){3}, &n));
    ck_assert_uint_eq(n, 2);
}
END_TEST

START_TEST(util__glob)
{
    static const struct {
        const char *p, *s;
        bool hit;
    } rows[] = {
        {"*", "", true},           {"a*b", "axxb", true},  {"a*b", "axxc", false},
        {"?b", "ab", true},        {"?b", "b", false},     {"[a-c]x", "bx", true},
        {"[!a-c]x", "bx", false},  {"/l*/conv", "/l1/c/conv", true},
        {"*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"conv", "conv1", false},
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        ck_assert_msg(ptq_glob_match(rows[i].p, rows[i].s) == rows[i].hit, "%s ~ %s", rows[i].p,
                      rows[i].s);
    const char *words[] = {"minmax", "entropy", "percentile"};
    ck_assert_str_eq(ptq_closest("entrpy", words, 3), "entropy");
    ck_assert_ptr_null(ptq_closest("zzzzzz", words, 3));
}
END_TEST

START_TEST(util__unknown_names)
{
    const char *words[] = {"minmax", "entropy", "percentile"};
    size_t i = 9;
    ck_assert_ok(ptq_find_name("method", "entropy", words, 3, &i));
    ck_assert_uint_eq(i, 1);
    ck_assert_fails(ptq_find_name("method", "entrpy", words, 3, &i), PTQ_ERR_ARG);
    ck_assert_str_eq(ptq_last_error(),
                     "no method 'entrpy'; there are minmax, entropy, percentile; did you mean 'entropy'?");
    ck_assert_fails(ptq_fail_unknown("zzzzzz", words, 3, "no %s", "z"), PTQ_ERR_ARG);
    ck_assert_str_eq(ptq_last_error(), "no z");
    ck_assert_uint_eq(i, 1);
    const char *many[100]; /* more than a message holds */
    for (size_t k = 0; k < PTQ_COUNT(many); k++)
        many[k] = words[2];
    ck_assert_fails(ptq_find_name("method", "entropy", many, PTQ_COUNT(many), &i), PTQ_ERR_ARG);
}
END_TEST

START_TEST(util__sha256)
{
    char hex[65];
    ptq_sha256_hex("abc", 3, hex);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

struct sum {
    atomic_size_t total;
    size_t fail_at;
};

static ptq_status add_task(void *arg, size_t i, int worker)
{
    struct sum *s = arg;
    (void)worker;
    if (i >= s->fail_at)
        return ptq_fail(PTQ_ERR_DATA, "task %zu", i);
    atomic_fetch_add(&s->total, i);
    return PTQ_OK;
}

START_TEST(pool__runs_all_and_reports_failure)
{
    for (int threads = 1; threads <= 4; threads++) {
        ptq_pool *p;
        ck_assert_ok(ptq_pool_new(threads, &p));
        for (int round = 0; round < 200; round++) {
            struct sum s = {.fail_at = SIZE_MAX};
            ck_assert_ok(ptq_pool_for(p, 1000, add_task, &s));
            ck_assert_uint_eq(atomic_load(&s.total), 999 * 1000 / 2);
        }
        struct sum s = {.fail_at = 7};
        ck_assert_fails(ptq_pool_for(p, 8, add_task, &s), PTQ_ERR_DATA);
        ck_assert_str_eq(ptq_last_error(), "task 7");
        ptq_pool_free(p);
    }
}
END_TEST

static int masks; /* how often the mask of the process was changed */

mode_t umask(mode_t mask)
{
    masks++;
    return (mode_t)syscall(SYS_umask, mask);
}

/* Files have the mode that the process asks for, and its mask is left alone: other threads create files. */
START_TEST(atomic_file__mode)
{
    scratch_make();
    umask(027);
    masks = 0;
    ptq_atomic_file *f;
    struct stat st;
    ck_assert_ok(ptq_atomic_open(scratch_at("out"), false, &f));
    ck_assert_ok(ptq_atomic_commit(f));
    ck_assert_int_eq(stat(scratch_at("out"), &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0640);
    ck_assert_int_eq(masks, 0);
    unlink(scratch_at("out"));
    scratch_remove();
    ck_assert_fails(ptq_atomic_open("", true, &f), PTQ_ERR_ARG);
}
END_TEST

START_TEST(atomic_file__all_or_nothing)
{
    char text[16] = "";
    scratch_make();
    const char *path = scratch_at("out");
    ptq_atomic_file *f;
    ck_assert_ok(ptq_atomic_open(path, false, &f));
    ck_assert_ok(ptq_atomic_write(f, "one", 3));
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_ok(ptq_atomic_commit(f));
    ck_assert_fails(ptq_atomic_open(path, false, &f), PTQ_ERR_IO);
    ck_assert_ok(ptq_atomic_open(path, true, &f));
    ck_assert_ok(ptq_atomic_write(f, "two", 3));
    ptq_atomic_abort(f);
    int fd = open(path, O_RDONLY);
    ck_assert_int_eq(read(fd, text, sizeof text), 3);
    close(fd);
    ck_assert_str_eq(text, "one");
    ck_assert_fails(ptq_atomic_open(scratch_dir, true, &f), PTQ_ERR_IO);
    unlink(path);
    ck_assert_int_eq(scratch_entries(), 0); /* no temporary was left */
    scratch_remove();
    ck_assert_fails(ptq_atomic_open("/nonexistent/x", false, &f), PTQ_ERR_IO);
}
END_TEST

START_TEST(qmath__law)
{
    ck_assert_int_eq(ptq_quantize(0.5f, 1.0f, 0, -128, 127), 0); /* half to even */
    ck_assert_int_eq(ptq_quantize(1.5f, 1.0f, 0, -128, 127), 2);
    ck_assert_int_eq(ptq_quantize(0.5f, 1.0f, 1, -128, 127), 1); /* rounds before adding z */
    ck_assert_int_eq(ptq_quantize(1e30f, 1e-30f, 3, 0, 255), 255);
    ck_assert_int_eq(ptq_quantize(-INFINITY, 1.0f, 3, 0, 255), 0);
    ck_assert_int_eq(ptq_quantize(NAN, 1.0f, 3, 0, 255), 0);
    ck_assert_int_eq(ptq_requantize(INT32_MAX, 1.0f, 5, -128, 127), 127);
    ck_assert_int_eq(ptq_requantize(INT32_MIN, 1.0f, 5, -128, 127), -128);
    ck_assert_int_eq(ptq_requantize(3, 0.5f, 1, -128, 127), 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("core");
    TCase *t = tcase_create("core");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, status__text_and_prefix);
    tcase_add_test(t, mem__arena_and_map);
    tcase_add_test(t, mem__sizes_overflow);
    tcase_add_test(t, util__glob);
    tcase_add_test(t, util__unknown_names);
    tcase_add_test(t, util__sha256);
    tcase_add_test(t, pool__runs_all_and_reports_failure);
    tcase_add_test(t, atomic_file__mode);
    tcase_add_test(t, atomic_file__all_or_nothing);
    tcase_add_test(t, qmath__law);
    suite_add_tcase(s, t);
    return unit_run(s);
}
