/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for images of every kind. */
#include "tests/unit.h"

#include "config.h"

#include "lib/calib/image.h"

START_TEST(content__guessed)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *what;
    } rows[] = {
        {"GIF89a....", 10, "GIF image"},
        {"RIFF....WEBPVP8 ", 16, "WebP image"},
        {"....ftypheic", 12, "HEIC"},
        {"hello world\n", 12, "text"},
        {"", 0, "empty"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "Git LFS"},
        {"\1\2\3\4", 4, "binary"},
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_image img;
        ck_assert_fails(ptq_image_decode((const uint8_t *)rows[i].bytes, rows[i].n, &img),
                        PTQ_ERR_DATA);
        ck_assert_says(rows[i].what);
    }
}
END_TEST

START_TEST(image__limits)
{
    ptq_image img = {0};
    ck_assert_fails(ptq_image_alloc(&img, 16385, 1, 3, false), PTQ_ERR_DATA);
    ck_assert_fails(ptq_image_alloc(&img, 16384, 16384, 3, false), PTQ_ERR_DATA);
    ck_assert_fails(ptq_image_alloc(&img, 0, 1, 3, false), PTQ_ERR_DATA);
    ck_assert_fails(ptq_image_alloc(&img, -1, -1, 3, true), PTQ_ERR_DATA);
}
END_TEST

#if !defined(HAVE_PNG) || !defined(HAVE_JPEG)
/* What a build leaves out is known by its first bytes all the same. */
START_TEST(decoder__not_built)
{
    ptq_image img;
#ifndef HAVE_PNG
    ck_assert_fails(ptq_image_decode((const uint8_t *)"\x89PNG\r\n\x1a\n....", 12, &img), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("built without libpng");
#endif
#ifndef HAVE_JPEG
    ck_assert_fails(ptq_image_decode((const uint8_t *)"\xff\xd8\xff\xe0....", 8, &img), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("built without libjpeg");
#endif
    (void)img;
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("calib_image");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, content__guessed);
    tcase_add_test(t, image__limits);
#if !defined(HAVE_PNG) || !defined(HAVE_JPEG)
    tcase_add_test(t, decoder__not_built);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
