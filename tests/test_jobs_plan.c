/* SPDX-License-Identifier: Apache-2.0 */
/* What engines leave on disk: plans, damaged and of elsewhere, and timing caches. */
#include <unistd.h>

#include "tests/engine_kit.h"
#include "tests/scratch.h"

START_TEST(plan__damaged)
{
    ptq_model *m;
    ck_assert_ok(ptq_model_wrap(gt_parse("input x f32 [n,4]\ny = Relu(x)\noutput y\n"), &m));
    ck_assert_ok(ptq_model_optimize(m));
    ptq_engine *e = build(m, NULL), *l;
    void *bytes;
    size_t n;
    ck_assert_ok(ptq_engine_serialize(e, &bytes, &n));
    uint8_t *b = malloc(n + 1);
    for (size_t i = 0; i < n; i++) { /* cut at every byte */
        memcpy(b, bytes, i);
        ck_assert_fails(ptq_engine_deserialize_on(BACKEND, b, i, NULL, &l), PTQ_ERR_MODEL);
    }
    memcpy(b, bytes, n);
    b[n] = 0;
    ck_assert_fails(ptq_engine_deserialize_on(BACKEND, b, n + 1, NULL, &l), PTQ_ERR_MODEL);
    for (size_t i = 0; i < n; i++) { /* every byte changed */
        b[i] ^= 0x20;
        ptq_status s = ptq_engine_deserialize_on(BACKEND, b, n, NULL, &l);
        ck_assert_msg(s == PTQ_ERR_MODEL || (i >= 8 && i < 16 && s == PTQ_ERR_UNSUPPORTED), "byte %zu: %d", i, (int)s);
        b[i] ^= 0x20;
    }
    free(b);
    free(bytes);
    ptq_engine_free(e);
    ptq_model_free(m);
}
END_TEST

/* The header with `from` replaced by `to` of the same length, and the digest of that. */
static void edit(uint8_t *p, size_t n, const char *from, const char *to)
{
    size_t k = strlen(from);
    char hex[65];
    ck_assert_uint_eq(k, strlen(to));
    for (size_t i = 0; i + k < n; i++)
        if (memcmp(p + i, from, k) == 0) {
            memcpy(p + i, to, k);
            ptq_sha256_hex(p, n - 64, hex);
            memcpy(p + n - 64, hex, 64);
            return;
        }
    ck_abort_msg("'%s' is not in the plan", from);
}

static const struct {
    const char *from, *to, *says;
    ptq_status status;
} edits[] = {
    {"\"version\":\"0", "\"version\":\"9", "build it again", PTQ_ERR_UNSUPPORTED},
    {"\"backend\":\"c", "\"backend\":\"x", "which this build lacks", PTQ_ERR_UNSUPPORTED},
    {"\"kind\":\"", "\"kinf\":\"", "build it here", PTQ_ERR_UNSUPPORTED},
    {"\"precision\":\"m", "\"precision\":\"x", "no precision", PTQ_ERR_ARG},
    {"\"max\":[64,4]", "\"max\":[64,5]", "largest shapes", PTQ_ERR_ARG},
    {"\"max\":[64,4]", "\"max\":[6444]", "a profile", PTQ_ERR_MODEL},
    {"\"max\":[64,4]", "\"max\":\"abcd\"", "a profile", PTQ_ERR_MODEL},
    {"\"profiles\":", "\"profilet\":", "no profile", PTQ_ERR_MODEL},
    {"{\"backend\":", "[\"backend\":", "its header", PTQ_ERR_MODEL},
};

START_TEST(plan__of_elsewhere)
{
    ptq_model *m;
    ptq_engine *e, *l;
    void *bytes;
    size_t n;
    ck_assert_ok(ptq_model_wrap(gt_parse("input x f32 [n,4]\ny = Relu(x)\noutput y\n"), &m));
    ck_assert_ok(ptq_model_optimize(m));
    e = build(m, NULL);
    ck_assert_ok(ptq_engine_serialize(e, &bytes, &n));
#ifndef PTQ_TEST_GPU
    if (strncmp(edits[_i].from, "\"kind\"", 6) != 0) /* a CPU is of no kind */
#endif
    {
        edit(bytes, n, edits[_i].from, edits[_i].to);
        ck_assert_fails(ptq_engine_deserialize_on(BACKEND, bytes, n, NULL, &l), edits[_i].status);
        ck_assert_says(edits[_i].says);
    }
    free(bytes);
    ptq_engine_free(e);
    ptq_model_free(m);
}
END_TEST

START_TEST(plan__files)
{
    const char *path = scratch_at("m.plan");
    ptq_model *q = quantized();
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_engine *e, *l;
    ptq_context *c;
    o.backend = "cpu";
    ck_assert_ok(ptq_engine_build(q, &o, &e));
    ck_assert_ok(ptq_engine_save(e, path, false));
    ck_assert_fails(ptq_engine_save(e, path, false), PTQ_ERR_IO);
    ck_assert_ok(ptq_engine_save(e, path, true));
    ck_assert_ok(ptq_engine_load(path, NULL, &l));
    ck_assert_str_eq(ptq_engine_backend(l), "cpu");
    ck_assert_uint_eq(ptq_engine_input_count(l), 1);
    ck_assert_ok(ptq_context_new(l, 0, &c));
    same_as_session(q, c, 3, 1, true);
    ptq_context_free(c);
    ptq_engine_free(l);
    ptq_engine_free(e);
    ck_assert_fails(ptq_engine_load(scratch_dir, NULL, &l), PTQ_ERR_IO);
    ck_assert_says("not a regular file");
    ck_assert_int_eq(truncate(path, 100), 0);
    ck_assert_fails(ptq_engine_load(path, NULL, &l), PTQ_ERR_MODEL);
    ck_assert_says(path);
    ptq_model_free(q);
}
END_TEST

START_TEST(timing_cache__files)
{
    const char *path = scratch_at("cache");
    char *text;
    ck_assert_ok(ptq_timing_cache_read(path, "device A", &text));
    ck_assert_ptr_null(text);
    ck_assert_ok(ptq_timing_cache_write(path, "device A", "one\ntwo\n"));
    ck_assert_ok(ptq_timing_cache_read(path, "device A", &text));
    ck_assert_str_eq(text, "one\ntwo\n");
    free(text);
    ck_assert_fails(ptq_timing_cache_read(path, "device", &text), PTQ_ERR_DATA);
    ck_assert_says("was measured on device A, this is device");
    ck_assert_ok(ptq_timing_cache_write(path, "device B", ""));
    ck_assert_ok(ptq_timing_cache_read(path, "device B", &text));
    ck_assert_str_eq(text, "");
    free(text);
    FILE *f = fopen(path, "w");
    fputs("something else\n", f);
    fclose(f);
    ck_assert_fails(ptq_timing_cache_read(path, "device A", &text), PTQ_ERR_DATA);
    ck_assert_says("not a timing cache");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_plan");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_add_test(t, plan__damaged);
    tcase_add_loop_test(t, plan__of_elsewhere, 0, (int)PTQ_COUNT(edits));
    tcase_add_test(t, plan__files);
    tcase_add_test(t, timing_cache__files);
    suite_add_tcase(s, t);
    return unit_run(s);
}
