/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/dataset_kit.h"

#include "config.h"

#ifdef HAVE_PNG
#include <png.h>
#include <sys/stat.h>

static void put_png(const char *name, int w, int h, uint8_t value)
{
    static uint8_t pixels[64 * 64 * 3];
    png_image img = {.version = PNG_IMAGE_VERSION, .width = (png_uint_32)w,
                     .height = (png_uint_32)h, .format = PNG_FORMAT_RGB};
    memset(pixels, value, sizeof pixels);
    ck_assert(png_image_write_to_file(&img, scratch_at(name), 0, pixels, 0, NULL));
}

START_TEST(folder__content_order_labels)
{
    ptq_input_spec spec = {"x", PTQ_DT_F32, 4, {-1, 3, 4, 4}};
    ptq_dataset_options o = {.inputs = &spec, .n_inputs = 1};
    put_png("b.jpg", 4, 4, 2); /* the name lies */
    put_png("a.png", 4, 4, 1);
    put_png("B.dat", 4, 4, 3);
    put_png("wrong\n.png", 5, 4, 4);
    scratch_text("c.png", "GIF89a");
    scratch_text("notes.txt", "hello");
    scratch_text(".DS_Store", "x");
    ck_assert_int_eq(mkdir(scratch_at("sub"), 0700), 0);
    ck_assert_int_eq(symlink(scratch_dir, scratch_at("loop")), 0);
    ck_assert_int_eq(symlink("gone", scratch_at("dangling.png")), 0);
    scratch_text("labels.txt", "a.png 11\nB.dat 13\r\nunknown.png 5\n");
    ptq_dataset *ds;
    ck_assert_ok(ptq_dataset_open(scratch_dir, &o, &ds));
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
            ck_assert_says(want[i].error);
            ck_assert_says(want[i].name);
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
    ck_assert_int_eq(link(scratch_at("a.png"), scratch_at(".other name")), 0);
    ck_assert(ptq_dataset_reads(ds, scratch_at("a.png")) && ptq_dataset_reads(ds, scratch_at("labels.txt")));
    ck_assert(ptq_dataset_reads(ds, scratch_at("wrong\n.png")) && ptq_dataset_reads(ds, scratch_at(".other name")));
    ck_assert(!ptq_dataset_reads(ds, scratch_at("notes.txt")) && !ptq_dataset_reads(ds, scratch_at("none.png")));
    ptq_dataset_free(ds);
    scratch_text("labels.txt", "nobody.png 1\n");
    dsk_fails(scratch_dir, &o, PTQ_ERR_DATA, "no line names a file");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_folder");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, scratch_make, scratch_remove);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, folder__content_order_labels);
    suite_add_tcase(s, t);
    return unit_run(s);
}
#else
int main(void)
{
    return unit_skip("built without PNG");
}
#endif
