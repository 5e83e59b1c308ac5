/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include "config.h"

#include <string.h>

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

#if defined(HAVE_PNG) || defined(HAVE_JPEG)
/* Prefix and bit-flip damage: an answer always, and the memory is that of a small image. The
 * copies have their exact size, so that the sanitizers see a read past the end. */
static void damage(const uint8_t *b, size_t n, size_t must_fail_below)
{
    for (size_t cut = 0; cut < n; cut++) {
        ptq_image img;
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, b, cut);
        ptq_status s = ptq_image_decode(copy, cut, &img);
        free(copy);
        if (s == PTQ_OK)
            ptq_image_free(&img);
        ck_assert_msg(s == PTQ_ERR_DATA || (s == PTQ_OK && cut >= must_fail_below),
                      "cut at %zu of %zu: %d", cut, n, (int)s);
    }
    uint8_t *copy = malloc(n);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        ptq_image img;
        memcpy(copy, b, n);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ptq_status s = ptq_image_decode(copy, n, &img);
        ck_assert(s == PTQ_OK || s == PTQ_ERR_DATA);
        if (s == PTQ_OK)
            ptq_image_free(&img);
    }
    free(copy);
}
#endif

#ifdef HAVE_PNG
#include <png.h>

typedef struct buffer {
    uint8_t b[1 << 16];
    size_t n;
} buffer;

static void put(png_structp png, png_bytep data, size_t n)
{
    buffer *out = png_get_io_ptr(png);
    ck_assert_uint_le(out->n + n, sizeof out->b);
    memcpy(out->b + out->n, data, n);
    out->n += n;
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

typedef struct png_row {
    int color, depth, channels, interlaced;
    bool palette_alpha;
} png_row;

/* Writes `rows` (packed as PNG stores them) of a w x h image. */
static void write_png(buffer *out, const png_row *r, int w, int h, uint8_t *pixels, size_t stride)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    out->n = 0;
    png_set_write_fn(png, out, put, flush_nothing);
    png_set_IHDR(png, info, (png_uint_32)w, (png_uint_32)h, r->depth, r->color,
                 r->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
    if (r->color == PNG_COLOR_TYPE_PALETTE) {
        png_color palette[4] = {{10, 20, 30}, {40, 50, 60}, {70, 80, 90}, {100, 110, 120}};
        png_byte alpha[2] = {0, 128};
        png_set_PLTE(png, info, palette, 4);
        if (r->palette_alpha)
            png_set_tRNS(png, info, alpha, 2, NULL);
    }
    png_bytep lines[64];
    for (int y = 0; y < h; y++)
        lines[y] = pixels + (size_t)y * stride;
    png_set_rows(png, info, lines);
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    png_destroy_write_struct(&png, &info);
}

/* Every colour type and depth, plain and interlaced, against the pixels that were written. */
START_TEST(png__all_forms)
{
    static const png_row forms[] = {
        {PNG_COLOR_TYPE_GRAY, 1, 1, 0, false},      {PNG_COLOR_TYPE_GRAY, 2, 1, 0, false},
        {PNG_COLOR_TYPE_GRAY, 4, 1, 1, false},      {PNG_COLOR_TYPE_GRAY, 8, 1, 0, false},
        {PNG_COLOR_TYPE_GRAY, 16, 1, 1, false},     {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 2, 0, false},
        {PNG_COLOR_TYPE_GRAY_ALPHA, 16, 2, 0, false}, {PNG_COLOR_TYPE_RGB, 8, 3, 0, false},
        {PNG_COLOR_TYPE_RGB, 8, 3, 1, false},       {PNG_COLOR_TYPE_RGB, 16, 3, 0, false},
        {PNG_COLOR_TYPE_RGBA, 8, 4, 0, false},      {PNG_COLOR_TYPE_RGBA, 16, 4, 1, false},
        {PNG_COLOR_TYPE_PALETTE, 2, 1, 0, false},   {PNG_COLOR_TYPE_PALETTE, 8, 1, 1, true},
    };
    enum { W = 19, H = 11 };
    static const uint8_t palette[4][3] = {{10, 20, 30}, {40, 50, 60}, {70, 80, 90}, {100, 110, 120}};
    static uint8_t pixels[H][W * 8];
    static buffer out;
    for (size_t f = 0; f < PTQ_COUNT(forms); f++) {
        const png_row *r = &forms[f];
        bool indexed = r->color == PNG_COLOR_TYPE_PALETTE, color = r->color & PNG_COLOR_MASK_COLOR;
        static uint16_t value[H][W][4];
        memset(pixels, 0, sizeof pixels);
        ptq_rng rng;
        ptq_rng_seed(&rng, f);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int c = 0; c < r->channels; c++) {
                    uint32_t v = ptq_rng_below(&rng, indexed ? 4 : 1u << r->depth);
                    value[y][x][c] = (uint16_t)v;
                    int at = (x * r->channels + c) * r->depth;
                    if (r->depth == 16) {
                        pixels[y][at / 8] = (uint8_t)(v >> 8);
                        pixels[y][at / 8 + 1] = (uint8_t)v;
                    } else {
                        pixels[y][at / 8] |= (uint8_t)(v << (8 - r->depth - at % 8));
                    }
                }
        write_png(&out, r, W, H, pixels[0], sizeof pixels[0]);
        ptq_image img;
        ck_assert_ok(ptq_image_decode(out.b, out.n, &img));
        ck_assert_int_eq(img.w, W);
        ck_assert_int_eq(img.h, H);
        ck_assert_int_eq(img.c, color || indexed ? 3 : 1);
        ck_assert((img.f32 != NULL) == (r->depth == 16));
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int c = 0; c < img.c; c++) {
                    int at = (y * W + x) * img.c + c;
                    float got = img.u8 ? (float)img.u8[at] : img.f32[at];
                    float want = indexed ? (float)palette[value[y][x][0]][c]
                                         : (float)value[y][x][c] * 255.0f / (float)((1 << r->depth) - 1);
                    ck_assert_msg(got - want < 1e-4f && want - got < 1e-4f,
                                  "form %zu at %d,%d,%d: %g for %g", f, x, y, c, (double)got,
                                  (double)want);
                }
        ptq_image_free(&img);
    }
}
END_TEST

START_TEST(png__damage_and_limits)
{
    static const png_row rgb = {PNG_COLOR_TYPE_RGB, 8, 3, 1, false};
    static uint8_t pixels[5][32];
    static buffer out;
    memset(pixels, 77, sizeof pixels);
    write_png(&out, &rgb, 6, 5, pixels[0], sizeof pixels[0]);
    damage(out.b, out.n, out.n);
    /* The announced size alone must not cost memory: 30000 x 30000, and zero. */
    static const uint32_t sizes[][2] = {{30000, 30000}, {0, 5}, {16385, 1}, {16384, 16384}};
    for (size_t i = 0; i < PTQ_COUNT(sizes); i++) {
        buffer copy = out;
        for (int k = 0; k < 4; k++) {
            copy.b[16 + k] = (uint8_t)(sizes[i][0] >> (24 - 8 * k));
            copy.b[20 + k] = (uint8_t)(sizes[i][1] >> (24 - 8 * k));
        }
        uint32_t crc = 0xFFFFFFFF; /* of "IHDR" and its 13 bytes (ISO 3309) */
        for (int k = 12; k < 29; k++) {
            crc ^= copy.b[k];
            for (int bit = 0; bit < 8; bit++)
                crc = crc & 1 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
        }
        for (int k = 0; k < 4; k++)
            copy.b[29 + k] = (uint8_t)(~crc >> (24 - 8 * k));
        ptq_image img;
        ck_assert_fails(ptq_image_decode(copy.b, copy.n, &img), PTQ_ERR_DATA);
        ck_assert_msg(!strstr(ptq_last_error(), "CRC"), "%s", ptq_last_error());
    }
}
END_TEST
#endif

#ifdef HAVE_JPEG
#include <jpeglib.h>

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
    damage(b, n, n - 2); /* the end marker itself may be missing */
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
#endif

START_TEST(image__limits)
{
    ptq_image img = {0};
    ck_assert_fails(ptq_image_alloc(&img, 16385, 1, 3, false), PTQ_ERR_DATA);
    ck_assert_fails(ptq_image_alloc(&img, 16384, 16384, 3, false), PTQ_ERR_DATA);
    ck_assert_fails(ptq_image_alloc(&img, 0, 1, 3, false), PTQ_ERR_DATA);
    ck_assert_fails(ptq_image_alloc(&img, -1, -1, 3, true), PTQ_ERR_DATA);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("calib_image");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, content__guessed);
    tcase_add_test(t, image__limits);
#ifdef HAVE_PNG
    tcase_add_test(t, png__all_forms);
    tcase_add_test(t, png__damage_and_limits);
#endif
#ifdef HAVE_JPEG
    tcase_add_test(t, jpeg__forms);
    tcase_add_test(t, jpeg__refused);
    tcase_add_test(t, jpeg__scan_bomb);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
