/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include "config.h"

#include <ptq/io.h>

#include <fcntl.h>
#include <math.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "lib/calib/stats_h5.h"
#include "tests/scratch.h"

enum { SAMPLES = 130, CHANNELS = 5, PIXELS = 77 };

static const char *const names[3] = {"conv/1 \xC3\xA9", "a", "input"};
static const ptq_dtype dtypes[3] = {PTQ_DT_F32, PTQ_DT_F16, PTQ_DT_F32};

/* No test leaves anything but these behind. */
static void teardown(void)
{
    static const char *const all[] = {"one.h5", "two.h5", "merged.h5", "bad.h5", "other.h5"};
    for (size_t i = 0; i < PTQ_COUNT(all); i++)
        unlink(scratch_at(all[i]));
    ck_assert_int_eq(scratch_entries(), 0);
    scratch_remove();
}

static ptq_statistics *make(void)
{
    ptq_statistics *s;
    ck_assert_ok(ptq_statistics_new(names, dtypes, 3, SAMPLES, "rgb; scale 1", &s));
    memset(s->model_sha256, 'a', 64);
    memset(s->data_sha256, 'b', 64);
    return s;
}

/* Sample i of the three tensors: wide ranges, zeros, an outlier, some NaN. */
static void observe(ptq_statistics *s, size_t i)
{
    int64_t dims[3] = {1, CHANNELS, PIXELS};
    float v[CHANNELS * PIXELS];
    ptq_rng r;
    ptq_rng_seed(&r, i + 1);
    for (size_t t = 0; t < s->ntensors; t++) {
        for (size_t k = 0; k < PTQ_COUNT(v); k++)
            v[k] = ptq_rng_normal(&r) * (float)(1 + k % 40) * (t == 1 ? 1e-6f : 1.0f);
        v[3] = 0.0f;
        if (i == 7 && t == 2)
            v[5] = 1e30f;
        if (i % 11 == 0)
            v[9] = NAN;
        ck_assert_ok(ptq_stats_observe(s->tensors[t], v, PTQ_COUNT(v), 3, dims, t ? 1 : -1));
    }
    ptq_bit_set(s->done, i);
}

static bool equal_files(const char *a, const char *b, size_t *n)
{
    FILE *fa = fopen(a, "rb"), *fb = fopen(b, "rb");
    ck_assert(fa && fb);
    int ca, cb;
    *n = 0;
    do {
        ca = fgetc(fa);
        cb = fgetc(fb);
        (*n)++;
    } while (ca == cb && ca != EOF);
    fclose(fa);
    fclose(fb);
    return ca == cb;
}

static bool equal_statistics(const ptq_statistics *a, const ptq_statistics *b)
{
    if (ptq_statistics_compatible(a, b) != PTQ_OK || memcmp(a->done, b->done, 24) != 0 ||
        memcmp(a->bad, b->bad, 24) != 0)
        return false;
    for (size_t i = 0; i < a->ntensors; i++)
        if (!ptq_stats_equal(a->tensors[i], b->tensors[i]))
            return false;
    return true;
}

#ifdef HAVE_HDF5

START_TEST(file__round_trip)
{
    ptq_statistics *s = make(), *back = NULL;
    for (size_t i = 0; i < SAMPLES - 1; i++)
        observe(s, i);
    ptq_bit_set(s->bad, SAMPLES - 1);
    ck_assert_ok(ptq_statistics_save(s, scratch_at("one.h5"), false));
    ck_assert_ok(ptq_statistics_load(scratch_at("one.h5"), &back));
    ck_assert(equal_statistics(s, back));
    ck_assert_uint_eq(back->ntensors, 3);
    ck_assert_str_eq(back->tensors[0]->name, "a");
    ck_assert_int_eq(back->tensors[0]->dtype, PTQ_DT_F16);
    ck_assert_str_eq(back->preprocess, "rgb; scale 1");
    ck_assert_uint_eq(ptq_statistics_done(back), SAMPLES - 1);
    ck_assert_uint_eq(ptq_statistics_total(back), SAMPLES);
    ck_assert_uint_eq(ptq_statistics_bad(back), 1);
    /* never over an existing file without force */
    ck_assert_fails(ptq_statistics_save(s, scratch_at("one.h5"), false), PTQ_ERR_IO);
    ck_assert_ok(ptq_statistics_save(back, scratch_at("one.h5"), true));
    ptq_statistics_free(s);
    ptq_statistics_free(back);
    /* statistics of nothing */
    s = make();
    ck_assert_ok(ptq_statistics_save(s, scratch_at("two.h5"), false));
    ck_assert_ok(ptq_statistics_load(scratch_at("two.h5"), &back));
    ck_assert(equal_statistics(s, back));
    ptq_statistics_free(s);
    ptq_statistics_free(back);
}
END_TEST

/* One run; three shards in another order, each through a file; an interrupted and resumed run. */
START_TEST(file__shards_and_resume_equal_one_run)
{
    ptq_statistics *one = make(), *merged = NULL, *resumed = make(), *back = NULL;
    size_t n;
    for (size_t i = 0; i < SAMPLES; i++)
        observe(one, i);
    ck_assert_ok(ptq_statistics_save(one, scratch_at("one.h5"), false));
    for (size_t shard = 3; shard-- > 0;) {
        ptq_statistics *part = make();
        for (size_t i = SAMPLES; i-- > 0;)
            if (i % 3 == shard)
                observe(part, i);
        ck_assert_ok(ptq_statistics_save(part, scratch_at("two.h5"), true));
        ptq_statistics_free(part);
        ck_assert_ok(ptq_statistics_load(scratch_at("two.h5"), &part));
        if (merged) {
            ck_assert_ok(ptq_statistics_merge(merged, part));
            ck_assert_fails(ptq_statistics_merge(merged, part), PTQ_ERR_DATA);
            ptq_statistics_free(part);
        } else {
            merged = part;
        }
    }
    ck_assert_ok(ptq_statistics_save(merged, scratch_at("merged.h5"), false));
    ck_assert_msg(equal_files(scratch_at("one.h5"), scratch_at("merged.h5"), &n), "files differ at byte %zu", n);
    for (size_t i = 0; i < 41; i++)
        observe(resumed, i);
    ck_assert_ok(ptq_statistics_save(resumed, scratch_at("two.h5"), true));
    ck_assert_ok(ptq_statistics_load(scratch_at("two.h5"), &back));
    for (size_t i = 41; i < SAMPLES; i++)
        observe(back, i);
    ck_assert_ok(ptq_statistics_save(back, scratch_at("two.h5"), true));
    ck_assert_msg(equal_files(scratch_at("one.h5"), scratch_at("two.h5"), &n), "files differ at byte %zu", n);
    ck_assert_uint_gt(n, 10000);
    ptq_statistics_free(one);
    ptq_statistics_free(merged);
    ptq_statistics_free(resumed);
    ptq_statistics_free(back);
}
END_TEST

#include <hdf5.h>

static void edit_number(hid_t f, const char *attribute, uint64_t v)
{
    hid_t a = H5Aopen(f, attribute, H5P_DEFAULT);
    H5Awrite(a, H5T_NATIVE_UINT64, &v);
    H5Aclose(a);
}

static void edit(hid_t f, int what)
{
    uint64_t u[4];
    float range[2];
    hid_t d;
    switch (what) {
    case 0: edit_number(f, "version", 2); break;
    case 1: edit_number(f, "total", SAMPLES + 64); break;
    case 2: edit_number(f, "total", UINT64_MAX); break;
    case 3: H5Ldelete(f, "bad", H5P_DEFAULT); break;
    case 4: H5Ldelete(f, "/tensors/000001", H5P_DEFAULT); break;
    case 5: /* one more zero: the histogram no longer fits the counts */
        d = H5Dopen2(f, "/tensors/000000/zeros", H5P_DEFAULT);
        H5Dread(d, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, u);
        u[0]++;
        H5Dwrite(d, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, u);
        H5Dclose(d);
        break;
    case 6: /* consistent in itself, but not what was written: NaN count */
        d = H5Dopen2(f, "/tensors/000000/counts", H5P_DEFAULT);
        H5Dread(d, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, u);
        u[1] += 5;
        H5Dwrite(d, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, u);
        H5Dclose(d);
        break;
    case 7:
        d = H5Dopen2(f, "/tensors/000000/range", H5P_DEFAULT);
        H5Dread(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, range);
        range[1] = nextafterf(range[1], 0.0f);
        H5Dwrite(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, range);
        H5Dclose(d);
        break;
    case 8: /* a done sample that does not exist */
        d = H5Dopen2(f, "/done", H5P_DEFAULT);
        H5Dread(d, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, u);
        u[2] |= UINT64_C(1) << 63;
        H5Dwrite(d, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, u);
        H5Dclose(d);
        break;
    case 9: /* a done sample that was none */
        d = H5Dopen2(f, "/done", H5P_DEFAULT);
        H5Dread(d, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, u);
        u[0] &= ~UINT64_C(1);
        H5Dwrite(d, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, u);
        H5Dclose(d);
        break;
    case 10: H5Adelete(f, "digest"); break;
    default: /* two tensors in the wrong order */
        H5Lmove(f, "/tensors/000000", f, "/tensors/x", H5P_DEFAULT, H5P_DEFAULT);
        H5Lmove(f, "/tensors/000001", f, "/tensors/000000", H5P_DEFAULT, H5P_DEFAULT);
        H5Lmove(f, "/tensors/x", f, "/tensors/000001", H5P_DEFAULT, H5P_DEFAULT);
        break;
    }
}

static void copy(const char *from, const char *to, size_t limit)
{
    FILE *a = fopen(from, "rb"), *b = fopen(to, "wb");
    ck_assert(a && b);
    for (int c; limit-- && (c = fgetc(a)) != EOF;)
        fputc(c, b);
    fclose(a);
    fclose(b);
}

START_TEST(file__edited_truncated_foreign)
{
    static const char *const text[] = {
        "version 2", "number of samples", "out of range", "no /bad", "000001", "histogram",
        "changed after", "changed after|histogram", "beyond the last", "changed after",
        "attribute is missing", "out of order",
    };
    ptq_statistics *s = make(), *back = NULL;
    for (size_t i = 0; i < 20; i++)
        observe(s, i);
    ck_assert_ok(ptq_statistics_save(s, scratch_at("one.h5"), false));
    for (int i = 0; i < (int)PTQ_COUNT(text); i++) {
        copy(scratch_at("one.h5"), scratch_at("bad.h5"), SIZE_MAX);
        hid_t f = H5Fopen(scratch_at("bad.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
        ck_assert_int_ge(f, 0);
        edit(f, i);
        H5Fclose(f);
        ck_assert_fails(ptq_statistics_load(scratch_at("bad.h5"), &back), PTQ_ERR_DATA);
        const char *bar = strchr(text[i], '|');
        char first[32];
        snprintf(first, sizeof first, "%.*s", bar ? (int)(bar - text[i]) : 31, text[i]);
        ck_assert_msg(strstr(ptq_last_error(), first) ||
                          (bar && strstr(ptq_last_error(), bar + 1)),
                      "edit %d: %s", i, ptq_last_error());
        ck_assert_ptr_null(back);
    }
    struct stat st;
    ck_assert_int_eq(stat(scratch_at("one.h5"), &st), 0);
    for (size_t n = 0; n < (size_t)st.st_size; n += (size_t)st.st_size / 20) {
        copy(scratch_at("one.h5"), scratch_at("bad.h5"), n);
        ck_assert_fails(ptq_statistics_load(scratch_at("bad.h5"), &back), PTQ_ERR_DATA);
    }
    hid_t f = H5Fcreate(scratch_at("other.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(f);
    ck_assert_fails(ptq_statistics_load(scratch_at("other.h5"), &back), PTQ_ERR_DATA);
    ck_assert_says("not a statistics file");
    ck_assert_fails(ptq_statistics_load(scratch_at("none.h5"), &back), PTQ_ERR_IO);
    ck_assert_fails(ptq_statistics_load("/dev/null", &back), PTQ_ERR_DATA);
    ptq_statistics_free(s);
}
END_TEST

START_TEST(file__other_model_is_refused)
{
    ptq_statistics *a = make(), *b = make();
    memset(b->model_sha256, 'c', 64);
    ck_assert_fails(ptq_statistics_merge(a, b), PTQ_ERR_DATA);
    ck_assert_says("another model");
    memset(b->model_sha256, 'a', 64);
    memset(b->data_sha256, 'c', 64);
    ck_assert_fails(ptq_statistics_merge(a, b), PTQ_ERR_DATA);
    ptq_statistics_free(a);
    ptq_statistics_free(b);
}
END_TEST

/* A full disk: an error, the old file intact, no temporary left (teardown looks). */
START_TEST(file__write_fails)
{
    ptq_statistics *s = make(), *back = NULL;
    observe(s, 0);
    ck_assert_ok(ptq_statistics_save(s, scratch_at("one.h5"), false));
    observe(s, 1);
    struct rlimit r = {4096, 4096};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &r), 0);
    ck_assert_fails(ptq_statistics_save(s, scratch_at("one.h5"), true), PTQ_ERR_IO);
    ck_assert_ok(ptq_statistics_load(scratch_at("one.h5"), &back));
    ck_assert_uint_eq(ptq_statistics_done(back), 1);
    ck_assert_fails(ptq_statistics_save(s, "/nonexistent/x.h5", false), PTQ_ERR_IO);
    ptq_statistics_free(s);
    ptq_statistics_free(back);
}
END_TEST

#else

START_TEST(file__not_built)
{
    ptq_statistics *s = make();
    observe(s, 0);
    ck_assert(equal_statistics(s, s));
    ck_assert_fails(ptq_statistics_save(s, scratch_at("one.h5"), false), PTQ_ERR_UNSUPPORTED);
    size_t n;
    (void)equal_files;
    (void)n;
    ptq_statistics_free(s);
}
END_TEST

#endif

/* Every part of the statistics is in the digest. */
START_TEST(digest__covers_everything)
{
    char first[65], hex[65];
    for (int i = 0; i < 8; i++) {
        ptq_statistics *s = make();
        observe(s, 1);
        ck_assert_ok(ptq_stats_digest(s, hex));
        if (i == 0)
            memcpy(first, hex, sizeof first);
        ck_assert_str_eq(hex, first);
        if (i == 0)
            s->model_sha256[3] = 'x';
        else if (i == 1)
            s->data_sha256[3] = 'x';
        else if (i == 2)
            s->preprocess[0] = 'x';
        else if (i == 3)
            ptq_bit_set(s->done, 128);
        else if (i == 4)
            ptq_bit_set(s->bad, 128);
        else if (i == 5)
            s->tensors[1]->name[0] ^= 1;
        else if (i == 6)
            s->tensors[1]->dtype = PTQ_DT_F64;
        else
            s->tensors[1]->summary.nan++;
        ck_assert_ok(ptq_stats_digest(s, hex));
        ck_assert_msg(strcmp(hex, first) != 0, "change %d goes unnoticed", i);
        ptq_statistics_free(s);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_stats_file");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, scratch_make, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, digest__covers_everything);
#ifdef HAVE_HDF5
    tcase_add_test(t, file__round_trip);
    tcase_add_test(t, file__shards_and_resume_equal_one_run);
    tcase_add_test(t, file__edited_truncated_foreign);
    tcase_add_test(t, file__other_model_is_refused);
    tcase_add_test(t, file__write_fails);
#else
    tcase_add_test(t, file__not_built);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
