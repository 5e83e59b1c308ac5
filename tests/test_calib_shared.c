/* SPDX-License-Identifier: Apache-2.0 */
/* Real data through the readers: the digests are numpy's and Pillow's (golden/gen_calib.py). */
#include "tests/unit.h"

#include "config.h"

#include <pthread.h>
#include <string.h>

#include "lib/calib/dataset.h"

enum kind { IMAGE, STORED, TOKENS, FACES };

static const struct row {
    const char *path;
    enum kind kind;
    size_t count, index;
    const char *sha;
} rows[] = {
#define GOLDEN_SHARED
#include "tests/golden/calib.inc"
#undef GOLDEN_SHARED
};

static bool built(enum kind kind, const char *path)
{
    bool jpeg = false, png = false, h5 = false;
#ifdef HAVE_JPEG
    jpeg = true;
#endif
#ifdef HAVE_PNG
    png = true;
#endif
#ifdef HAVE_HDF5
    h5 = true;
#endif
    return strstr(path, ".h5") ? h5 : kind == FACES || strstr(path, "tiny") ? jpeg : png;
}

static ptq_dataset *open_row(const struct row *r)
{
    static const ptq_input_spec image = {"input", PTQ_DT_F32, 4, {-1, 3, -1, -1}};
    static const ptq_input_spec tokens = {"tokens", PTQ_DT_S64, 2, {-1, 128}};
    static const ptq_input_spec face = {"input", PTQ_DT_F32, 4, {1, 3, 240, 320}};
    const ptq_input_spec *spec = r->kind == TOKENS ? &tokens : r->kind == FACES ? &face : &image;
    char path[1024];
    ptq_preprocess pp;
    ptq_dataset *ds;
    ptq_preprocess_init(&pp);
    if (r->kind == IMAGE)
        ck_assert_ok(ptq_preprocess_set(&pp, "preprocess", "imagenet-norm"));
    if (r->kind == FACES) {
        ck_assert_ok(ptq_preprocess_set(&pp, "resize", "320x240"));
        ck_assert_ok(ptq_preprocess_set(&pp, "scale", "1"));
        ck_assert_ok(ptq_preprocess_set(&pp, "mean", "127"));
        ck_assert_ok(ptq_preprocess_set(&pp, "std", "128"));
    }
    ptq_dataset_options o = {.inputs = spec, .n_inputs = 1, .preprocess = &pp};
    snprintf(path, sizeof path, "%s/%s", unit_shared(), r->path);
    ck_assert_ok(ptq_dataset_open(path, &o, &ds));
    return ds;
}

START_TEST(shared__samples_equal_numpy)
{
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        if (!built(rows[i].kind, rows[i].path))
            continue;
        ptq_dataset *ds = open_row(&rows[i]);
        ptq_tensor t;
        char hex[65];
        ck_assert_uint_eq(ptq_dataset_count(ds), rows[i].count);
        ck_assert_ok(ptq_dataset_read(ds, rows[i].index, &t));
        ck_assert_int_eq(t.dims[0], 1);
        ptq_sha256_hex(t.data, t.nbytes, hex);
        ck_assert_msg(strcmp(hex, rows[i].sha) == 0, "%s sample %zu differs", rows[i].path,
                      rows[i].index);
        free(t.data);
        ptq_dataset_free(ds);
    }
}
END_TEST

START_TEST(shared__labels_and_descriptions)
{
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        if (!built(rows[i].kind, rows[i].path))
            continue;
        ptq_dataset *ds = open_row(&rows[i]);
        const int64_t *labels;
        size_t n;
        bool expected = rows[i].kind != FACES && strcmp(rows[i].path, "data/cifar10_calib") != 0;
        ck_assert_msg(ptq_dataset_has_labels(ds) == expected, "%s", rows[i].path);
        ptq_dataset_labels(ds, rows[i].index, &labels, &n);
        ck_assert_uint_eq(n, !expected ? 0 : rows[i].kind == TOKENS ? 128 : 1);
        if (strstr(rows[i].path, "tinyimagenet_calib") && rows[i].index == 0) {
            ck_assert_int_eq(labels[0], 123);
            ck_assert_str_eq(ptq_dataset_describe(ds), "512 images (512 jpeg)");
        }
        ptq_dataset_free(ds);
    }
}
END_TEST

/* Two threads and any order give what one gives. */
typedef struct job {
    ptq_dataset *ds;
    size_t from, step, n;
    char (*hex)[65];
} job;

static void *work(void *arg)
{
    const job *j = arg;
    for (size_t i = j->from; i < j->n; i += j->step) {
        ptq_tensor t;
        if (ptq_dataset_read(j->ds, i, &t) != PTQ_OK)
            return NULL;
        ptq_sha256_hex(t.data, t.nbytes, j->hex[i]);
        free(t.data);
    }
    return NULL;
}

START_TEST(shared__threads_agree)
{
    enum { N = 128 };
    static char one[N][65], two[N][65];
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        if (rows[i].index || rows[i].count < N || !built(rows[i].kind, rows[i].path))
            continue;
        ptq_dataset *ds = open_row(&rows[i]);
        job all = {ds, 0, 1, N, one}, odd = {ds, 1, 2, N, two}, even = {ds, 0, 2, N, two};
        pthread_t t;
        memset(two, 0, sizeof two);
        work(&all);
        ck_assert_int_eq(pthread_create(&t, NULL, work, &odd), 0);
        work(&even);
        pthread_join(t, NULL);
        ck_assert_msg(memcmp(one, two, sizeof one) == 0, "%s", rows[i].path);
        ck_assert(one[0][0] != '\0');
        ptq_dataset_free(ds);
    }
}
END_TEST

START_TEST(shared__hash_is_of_contents)
{
    char path[1024], hex[65], again[65];
    ptq_dataset *ds;
    snprintf(path, sizeof path, "%s/data/cifar10_calib", unit_shared());
    ck_assert_ok(ptq_dataset_open(path, NULL, &ds));
    ck_assert_ok(ptq_dataset_hash(ds, hex));
    ck_assert_ok(ptq_dataset_hash(ds, again));
    ck_assert_str_eq(hex, again);
    ptq_dataset_free(ds);
}
END_TEST

int main(void)
{
    size_t able = 0;
    if (!unit_shared())
        return unit_skip("PTQ_SHARED is not set");
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        bool runs = built(rows[i].kind, rows[i].path);
        able += runs;
        if (!runs)
            printf("left out, its reader is not built: %s\n", rows[i].path);
    }
    if (!able)
        return unit_skip("built without HDF5, PNG and JPEG");
    Suite *s = suite_create("calib_shared");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, shared__samples_equal_numpy);
    tcase_add_test(t, shared__labels_and_descriptions);
    tcase_add_test(t, shared__threads_agree);
    tcase_add_test(t, shared__hash_is_of_contents);
    suite_add_tcase(s, t);
    return unit_run(s);
}
