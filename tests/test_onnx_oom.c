/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of load, clone and save fails once: an error, never a crash or a leak (the
 * sanitizer build watches). Linked with --wrap for the allocation functions. */
#include "lib/onnx/onnx_io.h"
#include "tests/onnx_models.h"
#include "tests/scratch.h"

static long countdown = -1; /* allocations until one fails; negative: none fails */

static bool fails(void)
{
    return countdown >= 0 && countdown-- == 0;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return fails() ? NULL : __real_aligned_alloc(align, n);
}

static ptq_status job(const wire *m, const char *path)
{
    static const ptq_onnx_save_options opt = {.force = true, .external = true, .external_threshold = 1};
    ptq_graph *g, *clone = NULL;
    ptq_status s = ptq_onnx_load_memory(m->p, m->n, NULL, NULL, &g);
    if (s != PTQ_OK)
        return s;
    s = ptq_graph_clone(g, &clone);
    if (s == PTQ_OK)
        s = ptq_graph_set_metadata(clone, "key", "value");
    if (s == PTQ_OK)
        s = ptq_onnx_save(clone, path, &opt);
    ptq_graph_free(clone);
    ptq_graph_free(g);
    return s;
}

START_TEST(oom__every_allocation)
{
    wire m = rich_model();
    const char *path = scratch_at("m.onnx"), *data = scratch_at("m.onnx.data");
    long n = 0;
    for (ptq_status s = PTQ_ERR_NOMEM; s != PTQ_OK && n < 100000; n++) {
        countdown = n;
        s = job(&m, path);
        bool all = countdown >= 0; /* none was left to fail */
        countdown = -1;
        ck_assert_msg(s == PTQ_OK ? true : s == PTQ_ERR_NOMEM, "allocation %ld: %s", n, ptq_last_error());
        if (!all && s == PTQ_OK)
            s = PTQ_ERR_NOMEM; /* did without it (a symbol's name); go on */
        if (!all)
            ck_assert(access(path, F_OK) != 0 || access(data, F_OK) == 0);
    }
    ck_assert(n > 100 && n < 100000);
    ck_assert_int_eq(unlink(path) | unlink(data), 0);
    ck_assert_int_eq(scratch_entries(), 0); /* no temporary is left */
    wire_free(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx_oom");
    TCase *t = tcase_create("oom");
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, oom__every_allocation);
    suite_add_tcase(s, t);
    return unit_run(s);
}
