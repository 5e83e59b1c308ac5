/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/dataset_kit.h"

#include "config.h"

#ifdef HAVE_HDF5
#include <fcntl.h>
#include <hdf5.h>

static hid_t create(const char *name)
{
    hid_t f = H5Fcreate(scratch_at(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
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
    ck_assert_ok(ptq_dataset_open(scratch_at("d.h5"), &o, &ds));
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
    snprintf(path, sizeof path, "%s:/images", scratch_at("d.h5"));
    ck_assert_ok(ptq_dataset_open(path, &o, &ds));
    ck_assert_ok(ptq_dataset_read(ds, 0, &t));
    ck_assert(((float *)t.data)[0] == (float)pixels[0][2][0][0]);
    free(t.data);
    ptq_dataset_free(ds);
    snprintf(path, sizeof path, "%s:/pictures", scratch_at("d.h5"));
    dsk_fails(path, &o, PTQ_ERR_DATA, "no dataset /pictures; there is: /images");
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
    ptq_input_spec two[2] = {{"group/mask", PTQ_DT_S64, 2, {-1, 2}}, dsk_vec2};
    ptq_dataset_options o = {.inputs = two, .n_inputs = 2};
    ptq_dataset *ds;
    ptq_tensor t[2];
    ck_assert_ok(ptq_dataset_open(scratch_at("m.h5"), &o, &ds));
    ck_assert_ok(ptq_dataset_read(ds, 2, t));
    ck_assert_int_eq(((int64_t *)t[0].data)[0], 5);
    ck_assert(((float *)t[1].data)[1] == 6.0f);
    free(t[0].data);
    free(t[1].data);
    ptq_dataset_free(ds);
    two[0].name = "mask";
    dsk_fails(scratch_at("m.h5"), &o, PTQ_ERR_DATA, "no dataset for input mask");
    /* one input, several candidates: it asks */
    o.n_inputs = 1;
    dsk_fails(scratch_at("m.h5"), &o, PTQ_ERR_DATA, "there is: /spare, /x; choose one");
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
    dsk_fails(scratch_at("external.h5"), &o, PTQ_ERR_DATA, "external storage");

    f = create("source.h5");
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, H5P_DEFAULT, pixels);
    H5Fclose(f);
    f = create("links.h5");
    H5Lcreate_external("source.h5", "/images", f, "images", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/data", f, "data", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(f);
    dsk_fails(scratch_at("links.h5"), &o, PTQ_ERR_DATA, "there is: none");

    f = create("virtual.h5");
    plist = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(4, dims, NULL);
    H5Pset_virtual(plist, space, scratch_at("source.h5"), "/images", space);
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, plist, NULL);
    H5Pclose(plist);
    H5Sclose(space);
    H5Fclose(f);
    dsk_fails(scratch_at("virtual.h5"), &o, PTQ_ERR_DATA, "virtual");

    f = create("filter.h5");
    plist = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, 4, dims);
    H5Pset_nbit(plist);
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, plist, NULL);
    H5Pclose(plist);
    H5Fclose(f);
    dsk_fails(scratch_at("filter.h5"), &o, PTQ_ERR_DATA, "filter");

    f = create("strings.h5");
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    add_dataset(f, "images", text, 1, &one, H5P_DEFAULT, NULL);
    H5Tclose(text);
    H5Fclose(f);
    dsk_fails(scratch_at("strings.h5"), &o, PTQ_ERR_DATA, "plain integers or floats");

    f = create("huge.h5");
    plist = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t big[4] = {5, 100000, 100000, 3};
    H5Pset_chunk(plist, 4, (hsize_t[]){1, 100, 100, 3});
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, big, plist, NULL);
    H5Pclose(plist);
    H5Fclose(f);
    dsk_fails(scratch_at("huge.h5"), &o, PTQ_ERR_DATA, "larger than 1 GiB");

    f = create("labels.h5");
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, H5P_DEFAULT, pixels);
    add_dataset(f, "labels", H5T_NATIVE_INT32, 1, &four, H5P_DEFAULT, NULL);
    H5Fclose(f);
    dsk_fails(scratch_at("labels.h5"), &o, PTQ_ERR_DATA, "4 labels for 5 samples");

    f = create("std.h5");
    add_dataset(f, "images", H5T_NATIVE_UINT8, 4, dims, H5P_DEFAULT, pixels);
    add_numbers(f, "std", (double[]){1, 0, 1}, 3);
    H5Fclose(f);
    dsk_fails(scratch_at("std.h5"), &o, PTQ_ERR_DATA, "attribute std");
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
    int fd = open(scratch_at("d.h5"), O_RDONLY);
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
        ptq_status s = ptq_dataset_open(scratch_put("bad.h5", b, len), &o, &ds);
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

int main(void)
{
    Suite *s = suite_create("calib_hdf5");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, hdf5__images_attributes_labels);
    tcase_add_test(t, hdf5__several_inputs);
    tcase_add_test(t, hdf5__refused);
    tcase_add_test(t, hdf5__damage);
    suite_add_tcase(s, t);
    return unit_run(s);
}
#else
int main(void)
{
    return unit_skip("built without HDF5");
}
#endif
