/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/image_damage.h"

#include "config.h"

#ifdef HAVE_PNG
#include <png.h>
#include <string.h>

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
    image_damage(out.b, out.n, out.n);
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

int main(void)
{
    Suite *s = suite_create("calib_png");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, png__all_forms);
    tcase_add_test(t, png__damage_and_limits);
    suite_add_tcase(s, t);
    return unit_run(s);
}
#else
int main(void)
{
    return unit_skip("built without PNG");
}
#endif
