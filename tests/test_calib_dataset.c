/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for every kind of data set, on .npy files and lists. */
#include "tests/dataset_kit.h"

#include "config.h"

#include <sys/stat.h>

START_TEST(npy__samples_labels_hash)
{
    static const float v[6] = {1, 2, 3, 4, 5, 6};
    static const int32_t classes[3] = {7, 8, 9};
    const char *path = dsk_put_npy("x.npy", "<f4", "(3, 2)", v, sizeof v);
    const char *labels = dsk_put_npy("y.npy", "<i4", "(3,)", classes, sizeof classes);
    ptq_dataset_options o = dsk_one_vec2;
    o.labels = labels;
    ptq_dataset *ds;
    ck_assert_ok(ptq_dataset_open(path, &o, &ds));
    ck_assert_uint_eq(ptq_dataset_count(ds), 3);
    ck_assert_ptr_nonnull(strstr(ptq_dataset_describe(ds), "3 samples (npy, float32 [3,2])"));
    for (size_t i = 0; i < 3; i++) {
        ptq_tensor t;
        const int64_t *l;
        size_t n;
        ck_assert_ok(ptq_dataset_read(ds, i, &t));
        ck_assert_int_eq(t.rank, 2);
        ck_assert_int_eq(t.dims[0], 1);
        ck_assert_int_eq(memcmp(t.data, v + 2 * i, 8), 0);
        free(t.data);
        ptq_dataset_labels(ds, i, &l, &n);
        ck_assert_uint_eq(n, 1);
        ck_assert_int_eq(l[0], 7 + (int)i);
    }
    ptq_tensor t;
    ck_assert_fails(ptq_dataset_read(ds, 3, &t), PTQ_ERR_ARG);
    char a[65], b[65];
    ck_assert_ok(ptq_dataset_hash(ds, a));
    ptq_dataset_free(ds);
    static const float w[6] = {1, 2, 3, 4, 5, 7};
    path = dsk_put_npy("w.npy", "<f4", "(3, 2)", w, sizeof w);
    ck_assert_ok(ptq_dataset_open(path, &dsk_one_vec2, &ds));
    ck_assert_ok(ptq_dataset_hash(ds, b));
    ck_assert_str_ne(a, b);
    ptq_dataset_free(ds);
    o.labels = scratch_text("short.txt", "1\n2\n");
    dsk_fails(path, &o, PTQ_ERR_DATA, "2 labels for 3 samples");
    o.labels = scratch_text("long.txt", "1\n2\n3\n4\n");
    dsk_fails(path, &o, PTQ_ERR_DATA, "more labels than");
    o.labels = scratch_text("words.txt", "1\ncat\n3\n");
    dsk_fails(path, &o, PTQ_ERR_DATA, "words.txt:2");
    o.labels = scratch_at("missing.txt");
    dsk_fails(path, &o, PTQ_ERR_IO, "missing.txt");
}
END_TEST

START_TEST(open__refused)
{
    static const float v[6] = {0};
    ptq_input_spec two[2] = {dsk_vec2, {"mask", PTQ_DT_S64, 2, {-1, 2}}};
    ptq_dataset_options both = {.inputs = two, .n_inputs = 2};
    dsk_fails(scratch_at("nothing"), &dsk_one_vec2, PTQ_ERR_IO, "nothing");
    dsk_fails(scratch_dir, &dsk_one_vec2, PTQ_ERR_DATA, "no PNG, JPEG or .npy");
    dsk_fails("/dev/zero", &dsk_one_vec2, PTQ_ERR_DATA, "neither a folder");
    dsk_fails(scratch_put("empty", "", 0), &dsk_one_vec2, PTQ_ERR_DATA, "is empty");
    dsk_fails(scratch_put("elf", "\x7f" "ELF\1\2\3", 7), &dsk_one_vec2, PTQ_ERR_DATA, "program");
    dsk_fails(scratch_put("gif.png", "GIF89a\1\2", 8), &dsk_one_vec2, PTQ_ERR_DATA, "GIF");
    ck_assert_int_eq(mkfifo(scratch_at("fifo"), 0600), 0);
    dsk_fails(scratch_at("fifo"), &dsk_one_vec2, PTQ_ERR_DATA, "neither a folder");
    const char *npy = dsk_put_npy("x.npy", "<f4", "(3, 2)", v, sizeof v);
    dsk_fails(npy, &both, PTQ_ERR_DATA, "--input NAME=PATH");
    dsk_fails(dsk_put_npy("zero.npy", "<f4", "(0, 2)", v, 0), &dsk_one_vec2, PTQ_ERR_DATA, "no samples");
    dsk_fails(dsk_put_npy("obj.npy", "|O", "(3, 2)", v, 24), &dsk_one_vec2, PTQ_ERR_DATA, "pickle");
    dsk_fails(NULL, &dsk_one_vec2, PTQ_ERR_ARG, "--input x=PATH");
    ptq_dataset_input own = {"y", npy};
    ptq_dataset_options o = {.inputs = two, .n_inputs = 2, .own = &own, .n_own = 1};
    dsk_fails(npy, &o, PTQ_ERR_ARG, "no input y");
    dsk_fails(scratch_text("x.npz", "PK\3\4 not an archive"), &dsk_one_vec2,
#ifdef HAVE_ZIP
          PTQ_ERR_DATA, "damaged archive");
#else
          PTQ_ERR_UNSUPPORTED, "without libzip");
#endif
    dsk_fails(scratch_put("x.h5", "\x89HDF\r\n\x1a\n not hdf5", 17), &dsk_one_vec2,
#ifdef HAVE_HDF5
          PTQ_ERR_DATA, "damaged HDF5");
#else
          PTQ_ERR_UNSUPPORTED, "without HDF5");
#endif
}
END_TEST

START_TEST(sample__shape_mismatch_hints)
{
    static const float v[24] = {0};
    ptq_input_spec spec = {"x", PTQ_DT_F32, 4, {-1, 3, 2, 4}};
    ptq_dataset_options o = {.inputs = &spec, .n_inputs = 1};
    ptq_dataset *ds;
    ptq_tensor t;
    ck_assert_ok(ptq_dataset_open(dsk_put_npy("a.npy", "<f4", "(1, 2, 4, 3)", v, sizeof v), &o, &ds));
    ck_assert_fails(ptq_dataset_read(ds, 0, &t), PTQ_ERR_DATA);
    ck_assert_says("a.npy[0]");
    ck_assert_says("NHWC");
    ptq_dataset_free(ds);
    /* The way out that the message names. */
    ptq_preprocess pp;
    ptq_preprocess_init(&pp);
    ck_assert_ok(ptq_preprocess_set(&pp, "scale", "2"));
    float w[24];
    for (int i = 0; i < 24; i++)
        w[i] = (float)i;
    o.preprocess = &pp;
    ck_assert_ok(ptq_dataset_open(dsk_put_npy("b.npy", "<f4", "(1, 2, 4, 3)", w, sizeof w), &o, &ds));
    ck_assert_ok(ptq_dataset_read(ds, 0, &t));
    ck_assert_int_eq(t.dims[1], 3);
    ck_assert(((float *)t.data)[8] == 2.0f && ((float *)t.data)[1] == 6.0f);
    free(t.data);
    ptq_dataset_free(ds);
}
END_TEST

/* uint8 [2,2,2,3] without a word about scale. */
START_TEST(preprocess__default_scale)
{
    static const uint8_t v[24] = {10, 20, 30};
    static const struct {
        ptq_dtype dtype;
        const char *key, *value;
        float scale;
    } rows[] = {{PTQ_DT_F32, "color", "rgb", (float)(1.0 / 255)}, {PTQ_DT_U8, "color", "rgb", 1.0f},
                {PTQ_DT_F32, "scale", "1", 1.0f}, {PTQ_DT_F32, "preprocess", "none", 1.0f},
                {PTQ_DT_F32, "preprocess", "caffe", 1.0f}, {PTQ_DT_F32, "mean", "0.5", (float)(1.0 / 255)}};
    const char *path = dsk_put_npy("u8.npy", "|u1", "(2, 2, 2, 3)", v, sizeof v);
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_input_spec spec = {"x", rows[i].dtype, 4, {-1, 3, 2, 2}};
        ptq_preprocess pp;
        ptq_preprocess_init(&pp);
        ck_assert_ok(ptq_preprocess_set(&pp, rows[i].key, rows[i].value));
        ptq_dataset_options o = {.inputs = &spec, .n_inputs = 1, .preprocess = &pp};
        ptq_dataset *ds;
        ptq_tensor t;
        ck_assert_ok(ptq_dataset_open(path, &o, &ds));
        ck_assert(ptq_dataset_preprocess(ds)->scale == rows[i].scale);
        ck_assert_ok(ptq_dataset_read(ds, 0, &t));
        if (i == 0)
            ck_assert(((float *)t.data)[4] == 20.0f * (float)(1.0 / 255));
        if (i == 1)
            ck_assert_uint_eq(((uint8_t *)t.data)[8], 30);
        free(t.data);
        ptq_dataset_free(ds);
    }
}
END_TEST

START_TEST(list__columns_labels)
{
    static const float a[2] = {1, 2}, b[2] = {3, 4};
    static const int64_t m[2] = {5, 6};
    ptq_input_spec two[2] = {dsk_vec2, {"mask", PTQ_DT_S64, 2, {-1, 2}}};
    ptq_dataset_options o = {.inputs = two, .n_inputs = 2};
    ptq_dataset *ds;
    ptq_tensor t[2];
    dsk_put_npy("a.npy", "<f4", "(2,)", a, sizeof a);
    dsk_put_npy("b b.npy", "<f4", "(1, 2)", b, sizeof b);
    dsk_put_npy("m.npy", "<i8", "(2,)", m, sizeof m);
    const char *path = scratch_text("list.txt", "# comment\r\na.npy\tm.npy\t1,2\r\n\nb b.npy\tm.npy\t3,4");
    ck_assert_ok(ptq_dataset_open(path, &o, &ds));
    ck_assert_uint_eq(ptq_dataset_count(ds), 2);
    ck_assert_ok(ptq_dataset_read(ds, 1, t));
    ck_assert(((float *)t[0].data)[1] == 4.0f);
    ck_assert_int_eq(((int64_t *)t[1].data)[1], 6);
    free(t[0].data);
    free(t[1].data);
    const int64_t *l;
    size_t n;
    ptq_dataset_labels(ds, 1, &l, &n);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(l[0], 3);
    ck_assert(ptq_dataset_reads(ds, path) && ptq_dataset_reads(ds, scratch_at("a.npy")));
    ck_assert(ptq_dataset_reads(ds, scratch_at("b b.npy")) && ptq_dataset_reads(ds, scratch_at("m.npy")));
    ck_assert(!ptq_dataset_reads(ds, scratch_text("not.npy", "x")) && !ptq_dataset_reads(ds, scratch_at("gone.npy")));
    ptq_dataset_free(ds);
    char with_at[128];
    snprintf(with_at, sizeof with_at, "@%s", path);
    ck_assert_ok(ptq_dataset_open(with_at, &o, &ds));
    ptq_dataset_free(ds);
    /* A missing file is a bad sample, not a bad set; the rest is released. */
    ck_assert_ok(ptq_dataset_open(scratch_text("l2.txt", "a.npy\tgone.npy\n"), &o, &ds));
    ck_assert_fails(ptq_dataset_read(ds, 0, t), PTQ_ERR_DATA);
    ck_assert_says("gone.npy");
    ptq_dataset_free(ds);
    dsk_fails(scratch_text("l3.txt", "a.npy\n"), &o, PTQ_ERR_DATA, "l3.txt:1");
    dsk_fails(scratch_text("l4.txt", "a.npy\tm.npy\tcat\n"), &o, PTQ_ERR_DATA, "l4.txt:1");
    dsk_fails(scratch_text("l5.txt", "a.npy\tm.npy\t1,,2\n"), &o, PTQ_ERR_DATA, "integers");
    dsk_fails(scratch_text("l6.txt", "\n# nothing\n"), &o, PTQ_ERR_DATA, "empty");
}
END_TEST

START_TEST(inputs__own_paths)
{
    static const float a[4] = {1, 2, 3, 4};
    static const int64_t m[6] = {5, 6, 7, 8, 9, 10};
    ptq_input_spec two[2] = {{"mask", PTQ_DT_S64, 2, {-1, 2}}, dsk_vec2};
    const char *x = dsk_put_npy("x.npy", "<f4", "(2, 2)", a, sizeof a);
    ptq_dataset_input own = {"mask", dsk_put_npy("m.npy", "<i8", "(2, 2)", m, 32)};
    ptq_dataset_options o = {.inputs = two, .n_inputs = 2, .own = &own, .n_own = 1};
    ptq_dataset *ds;
    ptq_tensor t[2];
    ck_assert_ok(ptq_dataset_open(x, &o, &ds));
    ck_assert_ok(ptq_dataset_read(ds, 1, t));
    ck_assert_int_eq(t[0].dtype, PTQ_DT_S64);
    ck_assert_int_eq(((int64_t *)t[0].data)[0], 7);
    ck_assert(((float *)t[1].data)[0] == 3.0f);
    free(t[0].data);
    free(t[1].data);
    ptq_dataset_free(ds);
    own.path = dsk_put_npy("m3.npy", "<i8", "(3, 2)", m, 48);
    dsk_fails(x, &o, PTQ_ERR_DATA, "has 3 samples but");
    ptq_dataset_input twice[2] = {{"x", x}, {"x", x}};
    o.own = twice;
    o.n_own = 2;
    dsk_fails(NULL, &o, PTQ_ERR_ARG, "given twice");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_dataset");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, npy__samples_labels_hash);
    tcase_add_test(t, open__refused);
    tcase_add_test(t, sample__shape_mismatch_hints);
    tcase_add_test(t, preprocess__default_scale);
    tcase_add_test(t, list__columns_labels);
    tcase_add_test(t, inputs__own_paths);
    suite_add_tcase(s, t);
    return unit_run(s);
}
