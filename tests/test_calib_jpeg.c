/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/image_damage.h"

#include "config.h"

#ifdef HAVE_JPEG
#include <jpeglib.h>
#include <string.h>

/* Quality 100 without chroma subsampling: pixels return within a few steps. */
static unsigned char *write_jpeg(int w, int h, J_COLOR_SPACE space, int channels, bool progressive,
                                 int orientation, unsigned long *n)
{
    struct jpeg_compress_struct j;
    struct jpeg_error_mgr err;
    unsigned char *out = NULL;
    uint8_t line[64 * 4];
    *n = 0;
    j.err = jpeg_std_error(&err);
    jpeg_create_compress(&j);
    jpeg_mem_dest(&j, &out, n);
    j.image_width = (JDIMENSION)w;
    j.image_height = (JDIMENSION)h;
    j.input_components = channels;
    j.in_color_space = space;
    jpeg_set_defaults(&j);
    jpeg_set_quality(&j, 100, TRUE);
    j.comp_info[0].h_samp_factor = j.comp_info[0].v_samp_factor = 1;
    if (progressive)
        jpeg_simple_progression(&j);
    jpeg_start_compress(&j, TRUE);
    if (orientation) {
        uint8_t exif[] = {'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12,
                          0, 3, 0, 0, 0, 1, 0, (uint8_t)orientation, 0, 0, 0, 0, 0, 0};
        jpeg_write_marker(&j, JPEG_APP0 + 1, exif, sizeof exif);
    }
    for (int y = 0; y < h; y++) {
        for (int i = 0; i < w * channels; i++)
            line[i] = (uint8_t)(10 * y + 3 * i);
        JSAMPROW p = line;
        jpeg_write_scanlines(&j, &p, 1);
    }
    jpeg_finish_compress(&j);
    jpeg_destroy_compress(&j);
    return out;
}

START_TEST(jpeg__forms)
{
    static const struct {
        J_COLOR_SPACE space;
        int channels;
        bool progressive;
        int orientation;
    } rows[] = {{JCS_RGB, 3, false, 0}, {JCS_RGB, 3, true, 6}, {JCS_GRAYSCALE, 1, false, 3},
                {JCS_GRAYSCALE, 1, true, 0}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        unsigned long n;
        unsigned char *b = write_jpeg(17, 9, rows[i].space, rows[i].channels, rows[i].progressive,
                                      rows[i].orientation, &n);
        ptq_image img;
        ck_assert_ok(ptq_image_decode(b, n, &img));
        ck_assert_int_eq(img.w, 17);
        ck_assert_int_eq(img.h, 9);
        ck_assert_int_eq(img.c, rows[i].channels);
        ck_assert_int_eq(img.orientation, rows[i].orientation ? rows[i].orientation : 1);
        for (int y = 0; y < 9; y++)
            for (int k = 0; k < 17 * img.c; k++) {
                int d = img.u8[y * 17 * img.c + k] - (10 * y + 3 * k) % 256;
                ck_assert_msg(d > -6 && d < 6, "row %zu: off by %d", i, d);
            }
        ptq_image_free(&img);
        free(b);
    }
}
END_TEST

START_TEST(jpeg__refused)
{
    unsigned long n;
    ptq_image img;
    unsigned char *b = write_jpeg(8, 8, JCS_CMYK, 4, false, 0, &n);
    ck_assert_fails(ptq_image_decode(b, n, &img), PTQ_ERR_DATA);
    ck_assert_says("CMYK");
    free(b);
    b = write_jpeg(16, 16, JCS_RGB, 3, true, 1, &n);
    image_damage(b, n, n - 2); /* the end marker itself may be missing */
    /* The frame header's size, 65000 x 65000. */
    for (size_t i = 0; i + 9 < n; i++)
        if (b[i] == 0xFF && b[i + 1] == 0xC2)
            memcpy(b + i + 5, "\xFD\xE8\xFD\xE8", 4);
    ck_assert_fails(ptq_image_decode(b, n, &img), PTQ_ERR_DATA);
    ck_assert_says("65000");
    free(b);
}
END_TEST

/* The last scan of a progressive file again and again. */
START_TEST(jpeg__scan_bomb)
{
    unsigned long n;
    unsigned char *b = write_jpeg(16, 16, JCS_GRAYSCALE, 1, true, 0, &n);
    size_t sos = 0;
    for (size_t i = 2; i + 1 < n; i++)
        if (b[i] == 0xFF && b[i + 1] == 0xDA)
            sos = i;
    size_t scan = n - 2 - sos, repeats = 400, total = n + repeats * scan;
    uint8_t *bomb = malloc(total);
    memcpy(bomb, b, n - 2);
    for (size_t i = 0; i < repeats; i++)
        memcpy(bomb + n - 2 + i * scan, b + sos, scan);
    memcpy(bomb + total - 2, "\xFF\xD9", 2);
    ptq_image img;
    ck_assert_fails(ptq_image_decode(bomb, total, &img), PTQ_ERR_DATA);
    free(bomb);
    free(b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_jpeg");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, jpeg__forms);
    tcase_add_test(t, jpeg__refused);
    tcase_add_test(t, jpeg__scan_bomb);
    suite_add_tcase(s, t);
    return unit_run(s);
}
#else
int main(void)
{
    return unit_skip("built without JPEG");
}
#endif
