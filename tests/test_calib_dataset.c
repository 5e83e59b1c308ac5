/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/calib/dataset.h"

static char dir[64];

static void setup(void)
{
    strcpy(dir, "/tmp/ptq-data-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

/* Two levels are all that the tests make. */
static void empty(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char p[512];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(p, sizeof p, "%s/%.200s", path, e->d_name);
        if (unlink(p) != 0) {
            empty(p);
            rmdir(p);
        }
    }
    if (d)
        closedir(d);
}

static void teardown(void)
{
    empty(dir);
    rmdir(dir);
}

/* A path in the test's folder; a few live at once. */
static const char *at(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static const char *put(const char *name, const void *data, size_t n)
{
    const char *p = at(name);
    FILE *f = fopen(p, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, n, f), n);
    fclose(f);
    return p;
}

static const char *put_text(const char *name, const char *text)
{
    return put(name, text, strlen(text));
}

static size_t build_npy(uint8_t *b, const char *descr, const char *shape, const void *data, size_t n)
{
    char header[128];
    int len = snprintf(header, sizeof header,
                       "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", descr, shape);
    memcpy(b, "\x93NUMPY\1\0", 8);
    b[8] = (uint8_t)len;
    b[9] = 0;
    memcpy(b + 10, header, (size_t)len);
    memcpy(b + 10 + len, data, n);
    return 10 + (size_t)len + n;
}

static const char *put_npy(const char *name, const char *descr, const char *shape, const void *data,
                           size_t n)
{
    uint8_t b[4096];
    return put(name, b, build_npy(b, descr, shape, data, n));
}

static void fails(const char *path, const ptq_dataset_options *o, ptq_status status, const char *text)
{
    ptq_dataset *ds = NULL;
    ck_assert_fails(ptq_dataset_open(path, o, &ds), status);
    ck_assert_msg(strstr(ptq_last_error(), text), "'%s' is not in: %s", text, ptq_last_error());
    ck_assert_ptr_null(ds);
}

static const ptq_input_spec vec2 = {"x", PTQ_DT_F32, 2, {-1, 2}};
static const ptq_dataset_options one_vec2 = {.inputs = &vec2, .n_inputs = 1};

START_TEST(npy__samples_labels_hash)
{
    static const float v[6] = {1, 2, 3, 4, 5, 6};
    static const int32_t classes[3] = {7, 8, 9};
    const char *path = put_npy("x.npy", "<f4", "(3, 2)", v, sizeof v);
    const char *labels = put_npy("y.npy", "<i4", "(3,)", classes, sizeof classes);
    ptq_dataset_options o = one_vec2;
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
    path = put_npy("w.npy", "<f4", "(3, 2)", w, sizeof w);
    ck_assert_ok(ptq_dataset_open(path, &one_vec2, &ds));
    ck_assert_ok(ptq_dataset_hash(ds, b));
    ck_assert_str_ne(a, b);
    ptq_dataset_free(ds);
    o.labels = put_text("short.txt", "1\n2\n");
    fails(path, &o, PTQ_ERR_DATA, "2 labels for 3 samples");
    o.labels = put_text("long.txt", "1\n2\n3\n4\n");
    fails(path, &o, PTQ_ERR_DATA, "more labels than");
    o.labels = put_text("words.txt", "1\ncat\n3\n");
    fails(path, &o, PTQ_ERR_DATA, "words.txt:2");
    o.labels = at("missing.txt");
    fails(path, &o, PTQ_ERR_DATA, "missing.txt");
}
END_TEST

START_TEST(open__refused)
{
    static const float v[6] = {0};
    ptq_input_spec two[2] = {vec2, {"mask", PTQ_DT_S64, 2, {-1, 2}}};
    ptq_dataset_options both = {.inputs = two, .n_inputs = 2};
    fails(at("nothing"), &one_vec2, PTQ_ERR_IO, "nothing");
    fails(dir, &one_vec2, PTQ_ERR_DATA, "no PNG, JPEG or .npy");
    fails("/dev/zero", &one_vec2, PTQ_ERR_DATA, "neither a folder");
    fails(put("empty", "", 0), &one_vec2, PTQ_ERR_DATA, "is empty");
    fails(put("elf", "\x7f" "ELF\1\2\3", 7), &one_vec2, PTQ_ERR_DATA, "program");
    fails(put("gif.png", "GIF89a\1\2", 8), &one_vec2, PTQ_ERR_DATA, "GIF");
    ck_assert_int_eq(mkfifo(at("fifo"), 0600), 0);
    fails(at("fifo"), &one_vec2, PTQ_ERR_DATA, "neither a folder");
    const char *npy = put_npy("x.npy", "<f4", "(3, 2)", v, sizeof v);
    fails(npy, &both, PTQ_ERR_DATA, "--input NAME=PATH");
    fails(put_npy("zero.npy", "<f4", "(0, 2)", v, 0), &one_vec2, PTQ_ERR_DATA, "no samples");
    fails(put_npy("obj.npy", "|O", "(3, 2)", v, 24), &one_vec2, PTQ_ERR_DATA, "pickle");
    fails(NULL, &one_vec2, PTQ_ERR_ARG, "--input x=PATH");
    ptq_dataset_input own = {"y", npy};
    ptq_dataset_options o = {.inputs = two, .n_inputs = 2, .own = &own, .n_own = 1};
    fails(npy, &o, PTQ_ERR_ARG, "no input y");
    fails(put_text("x.npz", "PK\3\4 not an archive"), &one_vec2,
#ifdef HAVE_ZIP
          PTQ_ERR_DATA, "damaged archive");
#else
          PTQ_ERR_UNSUPPORTED, "without libzip");
#endif
    fails(put("x.h5", "\x89HDF\r\n\x1a\n not hdf5", 17), &one_vec2,
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
    ck_assert_ok(ptq_dataset_open(put_npy("a.npy", "<f4", "(1, 2, 4, 3)", v, sizeof v), &o, &ds));
    ck_assert_fails(ptq_dataset_read(ds, 0, &t), PTQ_ERR_DATA);
    ck_assert_ptr_nonnull(strstr(ptq_last_error(), "a.npy[0]"));
    ck_assert_ptr_nonnull(strstr(ptq_last_error(), "NHWC"));
    ptq_dataset_free(ds);
    /* The way out that the message names. */
    ptq_preprocess pp;
    ptq_preprocess_init(&pp);
    ck_assert_ok(ptq_preprocess_set(&pp, "scale", "2"));
    float w[24];
    for (int i = 0; i < 24; i++)
        w[i] = (float)i;
    o.preprocess = &pp;
    ck_assert_ok(ptq_dataset_open(put_npy("b.npy", "<f4", "(1, 2, 4, 3)", w, sizeof w), &o, &ds));
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
    const char *path = put_npy("u8.npy", "|u1", "(2, 2, 2, 3)", v, sizeof v);
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
    ptq_input_spec two[2] = {vec2, {"mask", PTQ_DT_S64, 2, {-1, 2}}};
    ptq_dataset_options o = {.inputs = two, .n_inputs = 2};
    ptq_dataset *ds;
    ptq_tensor t[2];
    put_npy("a.npy", "<f4", "(2,)", a, sizeof a);
    put_npy("b b.npy", "<f4", "(1, 2)", b, sizeof b);
    put_npy("m.npy", "<i8", "(2,)", m, sizeof m);
    const char *path = put_text("list.txt", "# comment\r\na.npy\tm.npy\t1,2\r\n\nb b.npy\tm.npy\t3,4");
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
    ptq_dataset_free(ds);
    char with_at[128];
    snprintf(with_at, sizeof with_at, "@%s", path);
    ck_assert_ok(ptq_dataset_open(with_at, &o, &ds));
    ptq_dataset_free(ds);
    /* A missing file is a bad sample, not a bad set; the rest is released. */
    ck_assert_ok(ptq_dataset_open(put_text("l2.txt", "a.npy\tgone.npy\n"), &o, &ds));
    ck_assert_fails(ptq_dataset_read(ds, 0, t), PTQ_ERR_DATA);
    ck_assert_ptr_nonnull(strstr(ptq_last_error(), "gone.npy"));
    ptq_dataset_free(ds);
    fails(put_text("l3.txt", "a.npy\n"), &o, PTQ_ERR_DATA, "l3.txt:1");
    fails(put_text("l4.txt", "a.npy\tm.npy\tcat\n"), &o, PTQ_ERR_DATA, "l4.txt:1");
    fails(put_text("l5.txt", "a.npy\tm.npy\t1,,2\n"), &o, PTQ_ERR_DATA, "integers");
    fails(put_text("l6.txt", "\n# nothing\n"), &o, PTQ_ERR_DATA, "empty");
}
END_TEST

START_TEST(inputs__own_paths)
{
    static const float a[4] = {1, 2, 3, 4};
    static const int64_t m[6] = {5, 6, 7, 8, 9, 10};
    ptq_input_spec two[2] = {{"mask", PTQ_DT_S64, 2, {-1, 2}}, vec2};
    const char *x = put_npy("x.npy", "<f4", "(2, 2)", a, sizeof a);
    ptq_dataset_input own = {"mask", put_npy("m.npy", "<i8", "(2, 2)", m, 32)};
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
    own.path = put_npy("m3.npy", "<i8", "(3, 2)", m, 48);
    fails(x, &o, PTQ_ERR_DATA, "has 3 samples but");
    ptq_dataset_input twice[2] = {{"x", x}, {"x", x}};
    o.own = twice;
    o.n_own = 2;
    fails(NULL, &o, PTQ_ERR_ARG, "given twice");
}
END_TEST

#ifdef HAVE_PNG
#include <png.h>

static void put_png(const char *name, int w, int h, uint8_t value)
{
    static uint8_t pixels[64 * 64 * 3];
    png_image img = {.version = PNG_IMAGE_VERSION, .width = (png_uint_32)w,
                     .height = (png_uint_32)h, .format = PNG_FORMAT_RGB};
    memset(pixels, value, sizeof pixels);
    ck_assert(png_image_write_to_file(&img, at(name), 0, pixels, 0, NULL));
}

START_TEST(folder__content_order_labels)
{
    ptq_input_spec spec = {"x", PTQ_DT_F32, 4, {-1, 3, 4, 4}};
    ptq_dataset_options o = {.inputs = &spec, .n_inputs = 1};
    put_png("b.jpg", 4, 4, 2); /* the name lies */
    put_png("a.png", 4, 4, 1);
    put_png("B.dat", 4, 4, 3);
    put_png("wrong\n.png", 5, 4, 4);
    put_text("c.png", "GIF89a");
    put_text("notes.txt", "hello");
    put_text(".DS_Store", "x");
    ck_assert_int_eq(mkdir(at("sub"), 0700), 0);
    ck_assert_int_eq(symlink(dir, at("loop")), 0);
    ck_assert_int_eq(symlink("gone", at("dangling.png")), 0);
    put_text("labels.txt", "a.png 11\nB.dat 13\r\nunknown.png 5\n");
    ptq_dataset *ds;
    ck_assert_ok(ptq_dataset_open(dir, &o, &ds));
    ck_assert_str_eq(ptq_dataset_describe(ds), "6 images (4 png, 2 of unknown format), 1 other "
                                               "files ignored, 2 sub-folders not entered");
    static const struct {
        const char *name;
        int value, label;
        const char *error;
    } want[6] = {{"B.dat", 3, 13, NULL},      {"a.png", 1, 11, NULL},
                 {"b.jpg", 2, -1, NULL},      {"c.png", 0, -1, "GIF image"},
                 {"dangling.png", 0, -1, "No such file"}, {"wrong?.png", 0, -1, "--resize 4x4"}};
    for (size_t i = 0; i < 6; i++) {
        char name[256];
        ptq_tensor t;
        const int64_t *l;
        size_t n;
        ptq_dataset_sample_name(ds, i, name, sizeof name);
        ck_assert_str_eq(strrchr(name, '/') + 1, want[i].name);
        ptq_status s = ptq_dataset_read(ds, i, &t);
        if (want[i].error) {
            ck_assert_int_eq(s, PTQ_ERR_DATA);
            ck_assert_msg(strstr(ptq_last_error(), want[i].error), "%s", ptq_last_error());
            ck_assert_ptr_nonnull(strstr(ptq_last_error(), want[i].name));
        } else {
            ck_assert_msg(s == PTQ_OK, "%s", ptq_last_error());
            ck_assert(((float *)t.data)[47] == (float)want[i].value * (float)(1.0 / 255));
            free(t.data);
        }
        ptq_dataset_labels(ds, i, &l, &n);
        ck_assert_uint_eq(n, want[i].label >= 0);
        if (n)
            ck_assert_int_eq(l[0], want[i].label);
    }
    ptq_dataset_free(ds);
    put_text("labels.txt", "nobody.png 1\n");
    fails(dir, &o, PTQ_ERR_DATA, "no line names a file");
}
END_TEST
#endif

#ifdef HAVE_ZIP
#include <zip.h>

static void add_member(zip_t *z, const char *name, const void *data, size_t n, int method)
{
    void *copy = malloc(n + 1);
    memcpy(copy, data, n);
    zip_int64_t i = zip_file_add(z, name, zip_source_buffer(z, copy, n, 1), 0);
    ck_assert_int_ge(i, 0);
    zip_set_file_compression(z, (zip_uint64_t)i, method, 0);
}

START_TEST(npz__members)
{
    static float a[200], *last = a + 198;
    static const int64_t m[200] = {0}, labels[100] = {0, 0, 42};
    uint8_t b[4096];
    ptq_input_spec two[2] = {vec2, {"mask", PTQ_DT_S64, 2, {-1, 2}}};
    ptq_dataset_options o = {.inputs = two, .n_inputs = 2};
    last[0] = 9;
    zip_t *z = zip_open(at("d.npz"), ZIP_CREATE | ZIP_EXCL, NULL);
    add_member(z, "x.npy", b, build_npy(b, "<f4", "(100, 2)", a, sizeof a), ZIP_CM_DEFLATE);
    add_member(z, "mask.npy", b, build_npy(b, "<i8", "(100, 2)", m, sizeof m), ZIP_CM_STORE);
    add_member(z, "labels.npy", b, build_npy(b, "<i8", "(100,)", labels, sizeof labels), ZIP_CM_DEFLATE);
    add_member(z, "../evil.npy", "x", 1, ZIP_CM_STORE);
    ck_assert_int_eq(zip_close(z), 0);
    ptq_dataset *ds;
    ptq_tensor t[2];
    const int64_t *l;
    size_t n;
    ck_assert_ok(ptq_dataset_open(at("d.npz"), &o, &ds));
    ck_assert_uint_eq(ptq_dataset_count(ds), 100);
    ck_assert_ok(ptq_dataset_read(ds, 99, t));
    ck_assert(((float *)t[0].data)[0] == 9.0f);
    free(t[0].data);
    free(t[1].data);
    ptq_dataset_labels(ds, 2, &l, &n);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(l[0], 42);
    ptq_dataset_free(ds);
    two[1].name = "masque";
    fails(at("d.npz"), &o, PTQ_ERR_DATA, "no member for input masque; it has: x.npy");
    two[1].name = "../evil";
    fails(at("d.npz"), &o, PTQ_ERR_DATA, "not a .npy file");
    z = zip_open(at("e.npz"), ZIP_CREATE | ZIP_EXCL, NULL);
    add_member(z, "x", b, build_npy(b, "<f4", "(100, 2)", a, sizeof a), ZIP_CM_DEFLATE);
    add_member(z, "x.npy", b, build_npy(b, "<f4", "(100, 2)", a, sizeof a), ZIP_CM_DEFLATE);
    ck_assert_int_eq(zip_close(z), 0);
    fails(at("e.npz"), &one_vec2, PTQ_ERR_DATA, "several members");
    z = zip_open(at("f.npz"), ZIP_CREATE | ZIP_EXCL, NULL);
    add_member(z, "x.npy", b, build_npy(b, "<f4", "(999, 2)", a, sizeof a), ZIP_CM_DEFLATE);
    ck_assert_int_eq(zip_close(z), 0);
    fails(at("f.npz"), &one_vec2, PTQ_ERR_DATA, "cut off");
}
END_TEST
#endif

#ifdef HAVE_HDF5
#include <hdf5.h>

static hid_t create(const char *name)
{
    hid_t f = H5Fcreate(at(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(f, 0);
    return f;
}

static void add_dataset(hid_t f, const char *name, hid_t type, int rank, const hsize_t *dims,
                        hid_t plist, const void *data)
{
    hid_t space = H5Screate_simple(rank, dims, NULL);
    hid_t d = H5Dcreate2(f, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    ck_assert_int_ge(d, 0);
    if (data)
        ck_assert_int_ge(H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), 0);
    H5Dclose(d);
    H5Sclose(space);
}

static void add_text(hid_t f, const char *dataset, const char *name, const char *text)
{
    hid_t d = H5Dopen2(f, dataset, H5P_DEFAULT), space = H5Screate(H5S_SCALAR);
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(text));
    hid_t a = H5Acreate2(d, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(H5Awrite(a, type, text), 0);
    H5Aclose(a);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(d);
}

static void add_numbers(hid_t f, const char *name, const double *v, hsize_t n)
{
    hid_t space = H5Screate_simple(1, &n, NULL);
    hid_t a = H5Acreate2(f, name, H5T_IEEE_F64BE, space, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(H5Awrite(a, H5T_NATIVE_DOUBLE, v), 0);
    H5Aclose(a);
    H5Sclose(space);
}

START_TEST(hdf5__images_attributes_labels)
{
    uint8_t pixels[5][3][2][4];
    int16_t labels[5] = {4, 3, 2, 1, 0};
    for (int i = 0; i < 120; i++)
        (&pixels[0][0][0][0])[i] = (uint8_t)(i * 2);
    hsize_t dims[4] = {5, 3, 2, 4};
    hid_t f = create("d.h5"), plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 4, (hsize_t[]){2, 3, 2, 4});
    H5Pset_shuffle(plist);
    H5Pset_deflate(plist, 4);
    H5Pset_fletcher32(plist);
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, plist, pixels);
    add_dataset(f, "labels", H5T_NATIVE_INT16, 1, dims, H5P_DEFAULT, labels);
    add_text(f, "images", "layout", "NCHW");
    add_text(f, "images", "color", "BGR");
    add_numbers(f, "scale", (double[]){0.5}, 1);
    add_numbers(f, "mean", (double[]){1, 2, 3}, 3);
    add_numbers(f, "std", (double[]){2}, 1);
    H5Pclose(plist);
    H5Fclose(f);
    ptq_input_spec spec = {"data", PTQ_DT_F32, 4, {-1, 2, 4, 3}};
    ptq_dataset_options o = {.inputs = &spec, .n_inputs = 1};
    ptq_dataset *ds;
    ptq_tensor t;
    ck_assert_ok(ptq_dataset_open(at("d.h5"), &o, &ds));
    ck_assert_uint_eq(ptq_dataset_count(ds), 5);
    ck_assert_int_eq(ptq_dataset_preprocess(ds)->n_mean, 3);
    ck_assert_ok(ptq_dataset_read(ds, 3, &t));
    for (int y = 0; y < 2; y++)
        for (int x = 0; x < 4; x++)
            for (int c = 0; c < 3; c++) {
                float want = ((float)pixels[3][2 - c][y][x] * 0.5f - (float)(c + 1)) / 2.0f;
                ck_assert(((float *)t.data)[(y * 4 + x) * 3 + c] == want);
            }
    free(t.data);
    const int64_t *l;
    size_t n;
    ptq_dataset_labels(ds, 1, &l, &n);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(l[0], 3);
    ptq_dataset_free(ds);
    /* What the user chose wins over the attributes. */
    ptq_preprocess pp;
    ptq_preprocess_init(&pp);
    ck_assert_ok(ptq_preprocess_set(&pp, "preprocess", "none"));
    o.preprocess = &pp;
    char path[300];
    snprintf(path, sizeof path, "%s:/images", at("d.h5"));
    ck_assert_ok(ptq_dataset_open(path, &o, &ds));
    ck_assert_ok(ptq_dataset_read(ds, 0, &t));
    ck_assert(((float *)t.data)[0] == (float)pixels[0][2][0][0]);
    free(t.data);
    ptq_dataset_free(ds);
    snprintf(path, sizeof path, "%s:/pictures", at("d.h5"));
    fails(path, &o, PTQ_ERR_DATA, "no dataset /pictures; there is: /images");
}
END_TEST

START_TEST(hdf5__several_inputs)
{
    double a[6] = {1, 2, 3, 4, 5, 6};
    uint16_t m[6] = {9, 8, 7, 6, 5, 4};
    hsize_t dims[2] = {3, 2};
    hid_t f = create("m.h5"), g = H5Gcreate2(f, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    add_dataset(f, "x", H5T_NATIVE_DOUBLE, 2, dims, H5P_DEFAULT, a);
    add_dataset(g, "mask", H5T_STD_U16BE, 2, dims, H5P_DEFAULT, NULL);
    hid_t d = H5Dopen2(g, "mask", H5P_DEFAULT);
    H5Dwrite(d, H5T_NATIVE_UINT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, m);
    H5Dclose(d);
    H5Gclose(g);
    add_dataset(f, "spare", H5T_NATIVE_DOUBLE, 2, dims, H5P_DEFAULT, a);
    H5Fclose(f);
    ptq_input_spec two[2] = {{"group/mask", PTQ_DT_S64, 2, {-1, 2}}, vec2};
    ptq_dataset_options o = {.inputs = two, .n_inputs = 2};
    ptq_dataset *ds;
    ptq_tensor t[2];
    ck_assert_ok(ptq_dataset_open(at("m.h5"), &o, &ds));
    ck_assert_ok(ptq_dataset_read(ds, 2, t));
    ck_assert_int_eq(((int64_t *)t[0].data)[0], 5);
    ck_assert(((float *)t[1].data)[1] == 6.0f);
    free(t[0].data);
    free(t[1].data);
    ptq_dataset_free(ds);
    two[0].name = "mask";
    fails(at("m.h5"), &o, PTQ_ERR_DATA, "no dataset for input mask");
    /* one input, several candidates: it asks */
    o.n_inputs = 1;
    fails(at("m.h5"), &o, PTQ_ERR_DATA, "there is: /spare, /x; choose one");
}
END_TEST

/* Everything that is refused, by name of the file that holds it. */
START_TEST(hdf5__refused)
{
    static const uint8_t pixels[5 * 12] = {0};
    hsize_t dims[4] = {5, 2, 2, 3}, one = 5, four = 4;
    hid_t f, plist;
    ptq_input_spec spec = {"data", PTQ_DT_F32, 4, {-1, 3, 2, 2}};
    ptq_dataset_options o = {.inputs = &spec, .n_inputs = 1};

    f = create("external.h5");
    plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(plist, "/etc/passwd", 0, 60);
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, plist, NULL);
    H5Pclose(plist);
    H5Fclose(f);
    fails(at("external.h5"), &o, PTQ_ERR_DATA, "external storage");

    f = create("source.h5");
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, H5P_DEFAULT, pixels);
    H5Fclose(f);
    f = create("links.h5");
    H5Lcreate_external("source.h5", "/images", f, "images", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/data", f, "data", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(f);
    fails(at("links.h5"), &o, PTQ_ERR_DATA, "there is: none");

    f = create("virtual.h5");
    plist = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(4, dims, NULL);
    H5Pset_virtual(plist, space, at("source.h5"), "/images", space);
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, plist, NULL);
    H5Pclose(plist);
    H5Sclose(space);
    H5Fclose(f);
    fails(at("virtual.h5"), &o, PTQ_ERR_DATA, "virtual");

    f = create("filter.h5");
    plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 4, dims);
    H5Pset_nbit(plist);
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, plist, NULL);
    H5Pclose(plist);
    H5Fclose(f);
    fails(at("filter.h5"), &o, PTQ_ERR_DATA, "filter");

    f = create("strings.h5");
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    add_dataset(f, "images", text, 1, &one, H5P_DEFAULT, NULL);
    H5Tclose(text);
    H5Fclose(f);
    fails(at("strings.h5"), &o, PTQ_ERR_DATA, "plain integers or floats");

    f = create("huge.h5");
    plist = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t big[4] = {5, 100000, 100000, 3};
    H5Pset_chunk(plist, 4, (hsize_t[]){1, 100, 100, 3});
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, big, plist, NULL);
    H5Pclose(plist);
    H5Fclose(f);
    fails(at("huge.h5"), &o, PTQ_ERR_DATA, "larger than 1 GiB");

    f = create("labels.h5");
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, H5P_DEFAULT, pixels);
    add_dataset(f, "labels", H5T_NATIVE_INT32, 1, &four, H5P_DEFAULT, NULL);
    H5Fclose(f);
    fails(at("labels.h5"), &o, PTQ_ERR_DATA, "4 labels for 5 samples");

    f = create("std.h5");
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, H5P_DEFAULT, pixels);
    add_numbers(f, "std", (double[]){1, 0, 1}, 3);
    H5Fclose(f);
    fails(at("std.h5"), &o, PTQ_ERR_DATA, "attribute std");
}
END_TEST

/* Damage of the file: an answer within the time limit, whatever the library does. */
START_TEST(hdf5__damage)
{
    static uint8_t pixels[4 * 12], b[1 << 16];
    hsize_t dims[4] = {4, 2, 2, 3};
    ptq_input_spec spec = {"data", PTQ_DT_F32, 4, {-1, 3, 2, 2}};
    ptq_dataset_options o = {.inputs = &spec, .n_inputs = 1};
    hid_t f = create("d.h5"), plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 4, (hsize_t[]){1, 2, 2, 3});
    H5Pset_deflate(plist, 1);
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, plist, pixels);
    H5Pclose(plist);
    H5Fclose(f);
    int fd = open(at("d.h5"), O_RDONLY);
    ssize_t n = read(fd, b, sizeof b);
    close(fd);
    ck_assert_int_gt(n, 500);
    ptq_rng r;
    ptq_rng_seed(&r, 3);
    size_t good = 0, bad = 0;
    for (int i = 0; i < 150; i++) {
        ptq_dataset *ds;
        uint32_t where = 8 + ptq_rng_below(&r, (uint32_t)n - 8);
        uint8_t old = b[where];
        size_t len = i % 3 ? (size_t)n : where;
        b[where] = (uint8_t)(ptq_rng_u64(&r) >> 40);
        ptq_status s = ptq_dataset_open(put("bad.h5", b, len), &o, &ds);
        b[where] = old;
        ck_assert_msg(s == PTQ_OK || s == PTQ_ERR_DATA || s == PTQ_ERR_NOMEM, "%d %s", (int)s,
                      ptq_last_error());
        for (size_t k = 0; s == PTQ_OK && k < 4; k++) {
            ptq_tensor t;
            if (ptq_dataset_count(ds) <= k)
                break;
            ptq_status q = ptq_dataset_read(ds, k, &t);
            ck_assert(q == PTQ_OK || q == PTQ_ERR_DATA || q == PTQ_ERR_NOMEM);
            if (q == PTQ_OK)
                free(t.data);
        }
        if (s == PTQ_OK)
            ptq_dataset_free(ds);
        good += s == PTQ_OK;
        bad += s != PTQ_OK;
    }
    ck_assert_uint_gt(bad, 40);
    ck_assert_uint_gt(good, 10);
}
END_TEST

#include <signal.h>
#include <sys/wait.h>

#include "lib/calib/worker.h"

static ptq_status misbehave(void *state, const void *request, size_t n, ptq_bytes *reply)
{
    char what = n ? *(const char *)request : 0;
    if (what == 'c')
        raise(SIGSEGV);
    if (what == 'e')
        _exit(0);
    if (what == 'f')
        return ptq_fail(PTQ_ERR_DATA, "told so");
    if (what == 'w') {
        int fd = open((const char *)state, O_RDWR | O_CREAT, 0600);
        char c = write(fd, "x", 1) == 1 ? 'W' : 'n'; /* SIGXFSZ or EFBIG */
        ptq_bytes_add(reply, &c, 1);
        return PTQ_OK;
    }
    ptq_bytes_add(reply, "echo", 4);
    return PTQ_OK;
}

START_TEST(worker__death_is_bad_data)
{
    static const struct {
        const char *request, *text;
        bool dead;
    } rows[] = {{"c", "crashed", true}, {"e", "ended early", true}, {"f", "told so", false},
                {"w", "crashed", true}};
    uint8_t *reply = NULL;
    size_t n;
    char file[128];
    snprintf(file, sizeof file, "%s", at("file"));
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_worker *w;
        ck_assert_ok(ptq_worker_start(misbehave, file, false, &w));
        ck_assert_fails(ptq_worker_call(w, rows[i].request, 1, &reply, &n), PTQ_ERR_DATA);
        ck_assert_msg(strstr(ptq_last_error(), rows[i].text), "%s", ptq_last_error());
        ptq_status again = ptq_worker_call(w, "x", 1, &reply, &n);
        ck_assert_int_eq(again == PTQ_ERR_DATA, rows[i].dead);
        if (again == PTQ_OK) {
            ck_assert_uint_eq(n, 4);
            free(reply);
        }
        ptq_worker_stop(w);
    }
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("calib_dataset");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, npy__samples_labels_hash);
    tcase_add_test(t, open__refused);
    tcase_add_test(t, sample__shape_mismatch_hints);
    tcase_add_test(t, preprocess__default_scale);
    tcase_add_test(t, list__columns_labels);
    tcase_add_test(t, inputs__own_paths);
#ifdef HAVE_PNG
    tcase_add_test(t, folder__content_order_labels);
#endif
#ifdef HAVE_ZIP
    tcase_add_test(t, npz__members);
#endif
#ifdef HAVE_HDF5
    tcase_add_test(t, hdf5__images_attributes_labels);
    tcase_add_test(t, hdf5__several_inputs);
    tcase_add_test(t, hdf5__refused);
    tcase_add_test(t, hdf5__damage);
    tcase_add_test(t, worker__death_is_bad_data);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
