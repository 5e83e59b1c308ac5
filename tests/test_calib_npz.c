/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/dataset_kit.h"

#include "config.h"

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
    ptq_input_spec two[2] = {dsk_vec2, {"mask", PTQ_DT_S64, 2, {-1, 2}}};
    ptq_dataset_options o = {.inputs = two, .n_inputs = 2};
    last[0] = 9;
    zip_t *z = zip_open(scratch_at("d.npz"), ZIP_CREATE | ZIP_EXCL, NULL);
    add_member(z, "x.npy", b, dsk_npy(b, "<f4", "(100, 2)", a, sizeof a), ZIP_CM_DEFLATE);
    add_member(z, "mask.npy", b, dsk_npy(b, "<i8", "(100, 2)", m, sizeof m), ZIP_CM_STORE);
    add_member(z, "labels.npy", b, dsk_npy(b, "<i8", "(100,)", labels, sizeof labels), ZIP_CM_DEFLATE);
    add_member(z, "../evil.npy", "x", 1, ZIP_CM_STORE);
    ck_assert_int_eq(zip_close(z), 0);
    ptq_dataset *ds;
    ptq_tensor t[2];
    const int64_t *l;
    size_t n;
    ck_assert_ok(ptq_dataset_open(scratch_at("d.npz"), &o, &ds));
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
    dsk_fails(scratch_at("d.npz"), &o, PTQ_ERR_DATA, "no member for input masque; it has: x.npy");
    two[1].name = "../evil";
    dsk_fails(scratch_at("d.npz"), &o, PTQ_ERR_DATA, "not a .npy file");
    z = zip_open(scratch_at("e.npz"), ZIP_CREATE | ZIP_EXCL, NULL);
    add_member(z, "x", b, dsk_npy(b, "<f4", "(100, 2)", a, sizeof a), ZIP_CM_DEFLATE);
    add_member(z, "x.npy", b, dsk_npy(b, "<f4", "(100, 2)", a, sizeof a), ZIP_CM_DEFLATE);
    ck_assert_int_eq(zip_close(z), 0);
    dsk_fails(scratch_at("e.npz"), &dsk_one_vec2, PTQ_ERR_DATA, "several members");
    z = zip_open(scratch_at("f.npz"), ZIP_CREATE | ZIP_EXCL, NULL);
    add_member(z, "x.npy", b, dsk_npy(b, "<f4", "(999, 2)", a, sizeof a), ZIP_CM_DEFLATE);
    ck_assert_int_eq(zip_close(z), 0);
    dsk_fails(scratch_at("f.npz"), &dsk_one_vec2, PTQ_ERR_DATA, "cut off");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_npz");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, npz__members);
    suite_add_tcase(s, t);
    return unit_run(s);
}
#else
int main(void)
{
    return unit_skip("built without libzip");
}
#endif
