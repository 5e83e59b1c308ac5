/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include <locale.h>
#include <math.h>
#include <string.h>

#include "lib/calib/convert.h"
#include "lib/calib/preprocess.h"

static uint32_t lcg_state;

static uint8_t lcg(void)
{
    lcg_state = lcg_state * 1664525u + 1013904223u;
    return (uint8_t)(lcg_state >> 24);
}

static ptq_image noise(int w, int h, int c, bool f32)
{
    ptq_image img = {.orientation = 1};
    ck_assert_ok(ptq_image_alloc(&img, w, h, c, f32));
    lcg_state = 12345;
    for (int i = 0; i < w * h * c; i++) {
        if (f32)
            img.f32[i] = (float)lcg() * 0.7f;
        else
            img.u8[i] = lcg();
    }
    return img;
}

static void check_digest(const ptq_image *img, const char *want, const char *what, size_t row)
{
    char hex[65];
    size_t n = (size_t)img->w * (size_t)img->h * (size_t)img->c;
    ptq_sha256_hex(img->u8 ? (const void *)img->u8 : img->f32, img->u8 ? n : n * 4, hex);
    ck_assert_msg(strcmp(hex, want) == 0, "%s row %zu differs from Pillow", what, row);
}

START_TEST(resize__equals_pillow)
{
    static const struct {
        ptq_filter filter;
        bool f32;
        int w, h, c, ow, oh;
        const char *sha;
    } rows[] = {
#define GOLDEN_RESIZE
#include "tests/golden/calib.inc"
#undef GOLDEN_RESIZE
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_image img = noise(rows[i].w, rows[i].h, rows[i].c, rows[i].f32);
        ck_assert_ok(ptq_image_resize(&img, rows[i].ow, rows[i].oh, rows[i].filter));
        ck_assert_int_eq(img.w, rows[i].ow);
        ck_assert_int_eq(img.h, rows[i].oh);
        check_digest(&img, rows[i].sha, "resize", i);
        ptq_image_free(&img);
    }
}
END_TEST

static const ptq_input_spec nchw = {"x", PTQ_DT_F32, 4, {-1, 3, 4, 6}};

START_TEST(gray__equals_pillow)
{
    static const char *sha =
#define GOLDEN_GRAY
#include "tests/golden/calib.inc"
#undef GOLDEN_GRAY
        ;
    ptq_input_spec spec = {"x", PTQ_DT_U8, 4, {1, 1, 64, 64}};
    ptq_image img = noise(64, 64, 3, false);
    ptq_preprocess pp;
    ptq_tensor t;
    char hex[65];
    ptq_preprocess_init(&pp);
    ck_assert_ok(ptq_preprocess_image(&pp, &img, false, &spec, &t));
    ck_assert_uint_eq(t.nbytes, 64 * 64);
    ptq_sha256_hex(t.data, t.nbytes, hex);
    ck_assert_str_eq(hex, sha);
    free(t.data);
    ptq_image_free(&img);
}
END_TEST

START_TEST(numbers__fractions)
{
    static const struct {
        const char *s;
        bool ok;
        double v;
    } rows[] = {
        {"1/255", true, 1.0 / 255},  {"0.5", true, 0.5},   {"-1e-3", true, -1e-3},
        {"3", true, 3},              {"1/0", false, 0},    {"", false, 0},
        {"abc", false, 0},           {"1/", false, 0},     {"1,5", false, 0},
        {"nan", false, 0},           {"inf", false, 0},    {"1/2/3", false, 0},
        {" 1", false, 0},            {"1 ", false, 0},     {".5/2", true, 0.25},
        {"0x10", true, 16},          {"1e999", false, 0},
    };
    double v;
    char buf[40];
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        v = 0;
        ck_assert_msg(ptq_parse_number(rows[i].s, &v) == rows[i].ok, "'%s'", rows[i].s);
        ck_assert_msg(!rows[i].ok || v == rows[i].v, "'%s' is %g", rows[i].s, v);
    }
    if (setlocale(LC_ALL, "de_DE.UTF-8")) {
        ck_assert(ptq_parse_number("0.25", &v) && v == 0.25);
        ck_assert_str_eq(ptq_format_number(0.25, buf, sizeof buf), "0.25");
        setlocale(LC_ALL, "C");
    }
    ck_assert_str_eq(ptq_format_number(1.0 / 3, buf, sizeof buf), "0.33333333");
}
END_TEST

/* The imagenet preset follows the size of the model, unless somebody chose another. */
START_TEST(options__imagenet_fits_the_model)
{
    static const struct {
        int64_t c, h, w; /* dims behind the batch */
        const char *key, *value, *text;
    } rows[] = {
        {3, 224, 224, NULL, NULL, "resize shorter:256,bilinear; crop 224x224;"},
        {3, 32, 32, NULL, NULL, "resize shorter:37,bilinear; crop 32x32;"},
        {3, 64, 64, NULL, NULL, "resize shorter:73,bilinear; crop 64x64;"},
        {3, 299, 299, NULL, NULL, "resize shorter:342,bilinear; crop 299x299;"},
        {3, 240, 320, NULL, NULL, "resize shorter:366,bilinear; crop 320x240;"},
        {96, 96, 3, NULL, NULL, "resize shorter:110,bilinear; crop 96x96;"},
        {3, -1, -1, NULL, NULL, "resize shorter:256,bilinear; crop 224x224;"},
        {5, 32, 32, NULL, NULL, "resize shorter:256,bilinear; crop 224x224;"},
        {3, 32, 32, "crop", "24", "resize shorter:256,bilinear; crop 24x24;"},
        {3, 32, 32, "resize", "32x32", "resize exact:32x32,bilinear; crop 224x224;"},
        {3, 32, 32, "preprocess", "none", "resize none; rgb;"},
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        char text[512];
        ptq_preprocess pp;
        ptq_input_spec in = {"x", PTQ_DT_F32, 4, {-1, rows[i].c, rows[i].h, rows[i].w}};
        ptq_preprocess_init(&pp);
        ck_assert_ok(ptq_preprocess_set(&pp, "preprocess", "imagenet"));
        if (rows[i].key)
            ck_assert_ok(ptq_preprocess_set(&pp, rows[i].key, rows[i].value));
        ptq_preprocess_fit(&pp, &in);
        ptq_preprocess_text(&pp, text, sizeof text);
        ck_assert_msg(strncmp(text, rows[i].text, strlen(rows[i].text)) == 0, "%zu: %s", i, text);
    }
}
END_TEST

START_TEST(options__parsed_and_refused)
{
    static const struct {
        const char *key, *value, *text; /* NULL: refused */
    } rows[] = {
        {"preprocess", "imagenet",
         "resize shorter:256,bilinear; crop 224x224; rgb; scale 0.003921569; mean "
         "0.485,0.456,0.406; std 0.229,0.224,0.225; layout auto"},
        {"preprocess", "tf",
         "resize none; rgb; scale 0.007843138; mean 1; std 1; layout auto"},
        {"preprocess", "yolo",
         "resize letterbox,bilinear; pad 114; rgb; scale 0.003921569; mean 0; std 1; layout "
         "auto"},
        {"preprocess", "caffe", "resize none; bgr; scale 1; mean 104,117,123; std 1; layout auto"},
        {"preprocess", "coffee", NULL},
        {"resize", "shorter:256,bicubic",
         "resize shorter:256,bicubic; rgb; scale 1; mean 0; std 1; layout auto"},
        {"resize", "320x240", "resize exact:320x240,bilinear; rgb; scale 1; mean 0; std 1; layout "
                              "auto"},
        {"resize", "letterbox:640",
         "resize letterbox:640x640,bilinear; pad 114; rgb; scale 1; mean 0; std 1; layout auto"},
        {"resize", "shorter", NULL},
        {"resize", "shorter:2x3", NULL},
        {"resize", "0x5", NULL},
        {"resize", "5x", NULL},
        {"resize", "999999", NULL},
        {"resize", "64x64,lanczos", NULL},
        {"crop", "center:8", "resize none; crop 8x8; rgb; scale 1; mean 0; std 1; layout auto"},
        {"crop", "8x9z", NULL},
        {"scale", "0", NULL},
        {"mean", "1,2,3,4,5", NULL},
        {"mean", "1,,2", NULL},
        {"mean", "1,2,", NULL},
        {"mean", "1, 2, 3", "resize none; rgb; scale 1; mean 1,2,3; std 1; layout auto"},
        {"std", "1,0,1", NULL},
        {"layout", "nhwc", "resize none; rgb; scale 1; mean 0; std 1; layout nhwc"},
        {"layout", "hwc", NULL},
        {"color", "cmyk", NULL},
        {"pad", "letterbox:0", "resize letterbox,bilinear; pad 0; rgb; scale 1; mean 0; std 1; "
                               "layout auto"},
        {"pad", "256", NULL},
        {"sharpen", "1", NULL},
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_preprocess pp, before;
        char text[512];
        ptq_preprocess_init(&pp);
        before = pp;
        ptq_status s = ptq_preprocess_set(&pp, rows[i].key, rows[i].value);
        ck_assert_msg((s == PTQ_OK) == (rows[i].text != NULL), "%s=%s", rows[i].key, rows[i].value);
        if (rows[i].text) {
            ck_assert_str_eq(ptq_preprocess_text(&pp, text, sizeof text), rows[i].text);
        } else {
            ck_assert_int_eq(s, PTQ_ERR_ARG);
            ck_assert_int_eq(memcmp(&pp, &before, sizeof pp), 0);
        }
    }
    char small[8];
    ptq_preprocess pp;
    ptq_preprocess_init(&pp);
    ck_assert_str_eq(ptq_preprocess_text(&pp, small, sizeof small), "resize ");
}
END_TEST

START_TEST(options__users_choice_wins)
{
    ptq_preprocess user, file;
    ptq_preprocess_init(&user);
    ptq_preprocess_init(&file);
    ck_assert_ok(ptq_preprocess_set(&user, "mean", "7"));
    ck_assert_ok(ptq_preprocess_set(&file, "mean", "1,2,3"));
    ck_assert_ok(ptq_preprocess_set(&file, "std", "4,5,6"));
    ck_assert_ok(ptq_preprocess_set(&file, "scale", "1/2"));
    ptq_preprocess_fill(&user, &file);
    ck_assert_int_eq(user.n_mean, 1);
    ck_assert(user.mean[0] == 7.0f);
    ck_assert_int_eq(user.n_std, 3);
    ck_assert(user.std[2] == 6.0f && user.scale == 0.5f);
}
END_TEST

/* The documented expression, channel order and layout, against plain loops. */
START_TEST(image__expression_color_layout)
{
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, std[3] = {0.229f, 0.224f, 0.225f};
    const float scale = (float)(1.0 / 255);
    for (int variant = 0; variant < 16; variant++) {
        bool model_bgr = variant & 1, file_bgr = variant & 2, last = variant & 4, f32 = variant & 8;
        ptq_preprocess pp;
        ptq_preprocess_init(&pp);
        ck_assert_ok(ptq_preprocess_set(&pp, "preprocess", "imagenet-norm"));
        ck_assert_ok(ptq_preprocess_set(&pp, "color", model_bgr ? "bgr" : "rgb"));
        ptq_input_spec spec = nchw;
        if (last)
            spec = (ptq_input_spec){"x", PTQ_DT_F32, 4, {-1, 4, 6, 3}};
        ptq_image img = noise(6, 4, 3, f32), copy = noise(6, 4, 3, f32);
        ptq_tensor t;
        ck_assert_ok(ptq_preprocess_image(&pp, &img, file_bgr, &spec, &t));
        ck_assert_int_eq(t.rank, 4);
        ck_assert_int_eq(t.dims[0], 1);
        ck_assert_int_eq(t.dims[1], last ? 4 : 3);
        const float *out = t.data;
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 6; x++)
                for (int k = 0; k < 3; k++) {
                    int at = (y * 6 + x) * 3 + (model_bgr == file_bgr ? k : 2 - k);
                    volatile float v = f32 ? copy.f32[at] : (float)copy.u8[at];
                    v = v * scale;
                    v = v - mean[k];
                    v = v / std[k];
                    float got = last ? out[(y * 6 + x) * 3 + k] : out[k * 24 + y * 6 + x];
                    ck_assert_msg(got == v, "variant %d", variant);
                }
        free(t.data);
        ptq_image_free(&img);
        ptq_image_free(&copy);
    }
}
END_TEST

START_TEST(image__crop_letterbox_types)
{
    ptq_preprocess pp;
    ptq_tensor t;
    ptq_preprocess_init(&pp);
    ck_assert_ok(ptq_preprocess_set(&pp, "crop", "4x3"));
    ptq_input_spec spec = {"x", PTQ_DT_F32, 4, {1, 1, 3, 4}};
    ptq_image img = {.orientation = 1};
    ck_assert_ok(ptq_image_alloc(&img, 7, 8, 1, false));
    for (int i = 0; i < 56; i++)
        img.u8[i] = (uint8_t)i;
    ck_assert_ok(ptq_preprocess_image(&pp, &img, false, &spec, &t));
    /* (7 - 4) / 2 = 1.5 -> 2 and (8 - 3) / 2 = 2.5 -> 2: Python's round. */
    ck_assert(((float *)t.data)[0] == 2 * 7 + 2);
    ck_assert(((float *)t.data)[11] == 4 * 7 + 5);
    free(t.data);
    ptq_image_free(&img);

    ptq_preprocess_init(&pp);
    ck_assert_ok(ptq_preprocess_set(&pp, "preprocess", "yolo"));
    ck_assert_ok(ptq_preprocess_set(&pp, "scale", "1"));
    spec = (ptq_input_spec){"x", PTQ_DT_S8, 4, {-1, 3, 8, 8}};
    img = noise(8, 4, 3, false);
    uint8_t first = img.u8[0];
    ck_assert_ok(ptq_preprocess_image(&pp, &img, false, &spec, &t));
    const int8_t *p = t.data;
    ck_assert_int_eq(p[0], 114);
    ck_assert_int_eq(p[15], 114);
    ck_assert_int_eq(p[16], first > 127 ? 127 : first); /* saturated */
    ck_assert_int_eq(p[48], 114);
    free(t.data);
    ptq_image_free(&img);

    /* shorter:N keeps the proportions and cuts the long side to an integer */
    ptq_preprocess_init(&pp);
    ck_assert_ok(ptq_preprocess_set(&pp, "resize", "shorter:10"));
    spec = (ptq_input_spec){"x", PTQ_DT_F32, 4, {-1, 3, -1, -1}};
    img = noise(15, 13, 3, false);
    ck_assert_ok(ptq_preprocess_image(&pp, &img, false, &spec, &t));
    ck_assert_int_eq(t.dims[2], 10);
    ck_assert_int_eq(t.dims[3], 11);
    free(t.data);
    ptq_image_free(&img);
}
END_TEST

START_TEST(image__mismatch_names_the_way_out)
{
    static const struct {
        const char *key, *value;
        ptq_input_spec spec;
        ptq_status status;
        const char *text;
    } rows[] = {
        {"scale", "1", {"img", PTQ_DT_F32, 4, {1, 3, 64, 48}}, PTQ_ERR_DATA, "--resize 48x64"},
        {"scale", "1", {"img", PTQ_DT_F32, 2, {1, 128}}, PTQ_ERR_DATA, "shape [1,128]"},
        {"scale", "1", {"img", PTQ_DT_F32, 4, {1, 16, 4, 6}}, PTQ_ERR_DATA, "--layout"},
        {"color", "gray", {"img", PTQ_DT_F32, 4, {1, 3, 4, 6}}, PTQ_ERR_DATA, "--color"},
        {"layout", "nhwc", {"img", PTQ_DT_F32, 4, {1, 3, 4, 6}}, PTQ_ERR_DATA, "NHWC"},
        {"crop", "99", {"img", PTQ_DT_F32, 4, {1, 3, 4, 6}}, PTQ_ERR_DATA, "smaller than the crop"},
        {"mean", "1,2", {"img", PTQ_DT_F32, 4, {1, 3, 4, 6}}, PTQ_ERR_ARG, "--mean has 2"},
        {"resize", "exact", {"img", PTQ_DT_F32, 4, {1, 3, -1, 6}}, PTQ_ERR_DATA, "--resize WxH"},
        {"scale", "1", {"img", PTQ_DT_STRING, 4, {1, 3, 4, 6}}, PTQ_ERR_DATA, "string"},
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_preprocess pp;
        ptq_tensor t = {0};
        ptq_preprocess_init(&pp);
        ck_assert_ok(ptq_preprocess_set(&pp, rows[i].key, rows[i].value));
        ptq_image img = noise(6, 4, 3, false);
        ck_assert_fails(ptq_preprocess_image(&pp, &img, false, &rows[i].spec, &t), rows[i].status);
        ck_assert_says(rows[i].text);
        ck_assert_ptr_null(t.data);
        ptq_image_free(&img);
    }
}
END_TEST

START_TEST(convert__half_exhaustive)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = ptq_half_to_float((uint16_t)h);
        if (isnan(f))
            ck_assert_uint_eq(h >> 10 & 31, 31);
        else
            ck_assert_uint_eq(ptq_float_to_half(f), h);
    }
#ifdef __FLT16_MAX__ /* the compiler's own conversion */
    ptq_rng r;
    ptq_rng_seed(&r, 1);
    for (int i = 0; i < 200000; i++) {
        uint32_t bits = (uint32_t)ptq_rng_u64(&r);
        if (i & 1) /* near the range of half */
            bits = (bits & 0x87FFFFFF) | (uint32_t)(96 + bits % 52) << 23;
        float f;
        memcpy(&f, &bits, sizeof f);
        _Float16 h = (_Float16)f;
        uint16_t want;
        memcpy(&want, &h, sizeof want);
        ck_assert_msg(isnan(f) || ptq_float_to_half(f) == want, "%a", (double)f);
    }
#endif
}
END_TEST

START_TEST(convert__range_checked)
{
    int64_t big = 300, minus = -1, out64;
    double whole = 5.0, part = 5.5;
    uint64_t huge = UINT64_MAX;
    uint8_t u8;
    float f;
    ck_assert_ok(ptq_convert(&whole, PTQ_DT_F64, &out64, PTQ_DT_S64, 1));
    ck_assert_int_eq(out64, 5);
    ck_assert_fails(ptq_convert(&part, PTQ_DT_F64, &out64, PTQ_DT_S64, 1), PTQ_ERR_DATA);
    ck_assert_fails(ptq_convert(&big, PTQ_DT_S64, &u8, PTQ_DT_U8, 1), PTQ_ERR_DATA);
    ck_assert_fails(ptq_convert(&minus, PTQ_DT_S64, &u8, PTQ_DT_U8, 1), PTQ_ERR_DATA);
    ck_assert_fails(ptq_convert(&huge, PTQ_DT_U64, &out64, PTQ_DT_S64, 1), PTQ_ERR_DATA);
    ck_assert_fails(ptq_convert(&big, PTQ_DT_STRING, &f, PTQ_DT_F32, 1), PTQ_ERR_DATA);
    ck_assert_ok(ptq_convert(&minus, PTQ_DT_S64, &f, PTQ_DT_F32, 1));
    ck_assert(f == -1.0f);
    float nan = NAN;
    ck_assert_ok(ptq_convert_pixels(&nan, &u8, PTQ_DT_U8, 1));
    ck_assert_uint_eq(u8, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_preprocess");
    TCase *t = tcase_create("all");
    tcase_add_test(t, resize__equals_pillow);
    tcase_add_test(t, gray__equals_pillow);
    tcase_add_test(t, numbers__fractions);
    tcase_add_test(t, options__imagenet_fits_the_model);
    tcase_add_test(t, options__parsed_and_refused);
    tcase_add_test(t, options__users_choice_wins);
    tcase_add_test(t, image__expression_color_layout);
    tcase_add_test(t, image__crop_letterbox_types);
    tcase_add_test(t, image__mismatch_names_the_way_out);
    tcase_add_test(t, convert__half_exhaustive);
    tcase_add_test(t, convert__range_checked);
    suite_add_tcase(s, t);
    return unit_run(s);
}
