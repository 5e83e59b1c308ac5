/* SPDX-License-Identifier: Apache-2.0 */
/* What jobs ask of samples. */
#include "tests/unit.h"

#include <string.h>
#include <unistd.h>

#include <ptq/io.h>

#include "tests/jobs_kit.h"
#include "tests/npy_io.h"

START_TEST(digest__only_calibration_asks)
{
    jobs_data d;
    ptq_model *m = jobs_model(), *q;
    ptq_statistics *s;
    ptq_report *r, *e, *c;
    jobs_data_init(&d);
    ck_assert_ok(ptq_model_calibrate(m, &d.samples, NULL, NULL, &s));
    ck_assert_int_eq(d.hashed, 1);
    char want[65] = {0};
    memset(want, 'd', 64);
    ck_assert_str_eq(s->data_sha256, want);
    ck_assert_ok(ptq_model_quantize(m, s, &d.samples, NULL, &q, &r));
    ck_assert_ok(ptq_eval(m, &d.samples, NULL, &e));
    ptq_compare_options co = PTQ_COMPARE_OPTIONS_INIT;
    co.latency_seconds = -1.0;
    ck_assert_ok(ptq_compare(m, q, &d.samples, &co, &c));
    ck_assert_int_eq(d.hashed, 1);
    ptq_report_free(r);
    ptq_report_free(e);
    ptq_report_free(c);
    ptq_statistics_free(s);
    ptq_model_free(q);
    ptq_model_free(m);
}
END_TEST

START_TEST(digest__may_be_missing_or_fail)
{
    jobs_data d;
    ptq_model *m = jobs_model();
    ptq_statistics *s;
    jobs_data_init(&d);
    d.hash_status = PTQ_ERR_IO;
    ck_assert_fails(ptq_model_calibrate(m, &d.samples, NULL, NULL, &s), PTQ_ERR_IO);
    ck_assert_str_eq(ptq_last_error(), "no digest today");
    d.samples.sha256 = NULL;
    ck_assert_ok(ptq_model_calibrate(m, &d.samples, NULL, NULL, &s));
    ck_assert_str_eq(s->data_sha256, "");
    ptq_statistics_free(s);
    ptq_model_free(m);
}
END_TEST

static void write_samples(const char *path, float value)
{
    float data[4 * 3 * 8 * 8];
    for (size_t i = 0; i < PTQ_COUNT(data); i++)
        data[i] = value + (float)i;
    ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = 4, .dims = {4, 3, 8, 8}, .data = data, .nbytes = sizeof data};
    ck_assert_ok(npy_write(path, &t));
}

/* The digest of a set of one file is that of the hexadecimal digest of the list of its files'
 * hexadecimal digests. */
static void expect(const char *path, char hex[65])
{
    char file[65], list[65];
    ck_assert_ok(ptq_sha256_file(path, file));
    ptq_sha256_hex(file, 64, list);
    ptq_sha256_hex(list, 64, hex);
}

START_TEST(digest__is_of_the_contents_when_asked)
{
    char path[] = "/tmp/ptq-samples-XXXXXX", want[65], got[65], before[65];
    ptq_model *m = jobs_model();
    ptq_data *d;
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    write_samples(path, 0.0f);
    expect(path, before);
    ck_assert_ok(ptq_data_open(path, m, NULL, &d));
    const ptq_samples *s = ptq_data_samples(d);
    ck_assert_ok(s->sha256(s->ctx, got));
    ck_assert_str_eq(got, before);
    write_samples(path, 1.0f);
    expect(path, want);
    ck_assert_str_ne(want, before);
    ck_assert_ok(s->sha256(s->ctx, got));
    ck_assert_str_eq(got, want);
    ptq_data_close(d);
    ptq_model_free(m);
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_samples");
    TCase *t = tcase_create("all");
    tcase_add_test(t, digest__only_calibration_asks);
    tcase_add_test(t, digest__may_be_missing_or_fail);
    tcase_add_test(t, digest__is_of_the_contents_when_asked);
    suite_add_tcase(s, t);
    return unit_run(s);
}
