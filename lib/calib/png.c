/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <string.h>

#include "lib/calib/image.h"

static bool probe(const uint8_t *bytes, size_t n)
{
    return n >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}

#ifdef HAVE_PNG
#include <png.h>
#include <stdlib.h>

typedef struct source {
    const uint8_t *bytes;
    size_t n, at;
    char error[160];
} source;

static void read_bytes(png_structp png, png_bytep to, size_t n)
{
    source *src = png_get_io_ptr(png);
    if (n > src->n - src->at)
        png_error(png, "the file ends too early");
    memcpy(to, src->bytes + src->at, n);
    src->at += n;
}

static void on_error(png_structp png, png_const_charp text)
{
    source *src = png_get_error_ptr(png);
    snprintf(src->error, sizeof src->error, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text; /* ancillary chunks: nothing that changes pixels */
}

/* What a decode holds; a struct, so that nothing in registers matters after a longjmp. */
typedef struct work {
    source src;
    png_structp png;
    png_infop info;
    ptq_image *img;
    uint16_t *wide; /* rows of a 16-bit image */
    png_bytep *rows;
    ptq_status status;
} work;

/* To 8- or 16-bit gray or RGB. The alpha channel is dropped, gamma and colour profiles are
 * ignored, as Pillow's convert("RGB") does. */
static void set_transforms(png_structp png, png_infop info)
{
    png_byte color = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
    if (color == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    if (color == PNG_COLOR_TYPE_GRAY && depth < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    png_set_strip_alpha(png);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (depth == 16)
        png_set_swap(png);
#endif
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
}

static ptq_status allocate(work *w)
{
    size_t width = png_get_image_width(w->png, w->info), height = png_get_image_height(w->png, w->info);
    int c = png_get_channels(w->png, w->info);
    bool wide = png_get_bit_depth(w->png, w->info) == 16;
    if ((c != 1 && c != 3) || width > PTQ_IMAGE_MAX_SIDE || height > PTQ_IMAGE_MAX_SIDE)
        return ptq_fail(PTQ_ERR_DATA, "PNG of %zu x %zu pixels, %d channels is refused", width,
                        height, c);
    PTQ_TRY(ptq_image_alloc(w->img, (int)width, (int)height, c, wide));
    size_t row = width * (size_t)c;
    w->rows = ptq_calloc(height, sizeof *w->rows);
    w->wide = wide ? ptq_calloc(height, row * sizeof *w->wide) : NULL;
    if (!w->rows || (wide && !w->wide))
        return ptq_fail_nomem();
    for (size_t y = 0; y < height; y++)
        w->rows[y] = wide ? (png_bytep)(w->wide + y * row) : w->img->u8 + y * row;
    return PTQ_OK;
}

static void run(work *w)
{
    if (setjmp(png_jmpbuf(w->png))) {
        w->status = ptq_fail(PTQ_ERR_DATA, "damaged PNG: %s", w->src.error);
        return;
    }
    png_set_user_limits(w->png, PTQ_IMAGE_MAX_SIDE, PTQ_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(w->png, 8u << 20);
    png_set_chunk_cache_max(w->png, 128);
    png_set_read_fn(w->png, &w->src, read_bytes);
    png_read_info(w->png, w->info);
    set_transforms(w->png, w->info);
    w->status = allocate(w);
    if (w->status != PTQ_OK)
        return;
    png_read_image(w->png, w->rows);
    png_read_end(w->png, NULL);
    if (w->wide) {
        size_t n = (size_t)w->img->w * (size_t)w->img->h * (size_t)w->img->c;
        for (size_t i = 0; i < n; i++)
            w->img->f32[i] = (float)w->wide[i] / 257.0f;
    }
}

static ptq_status decode(const uint8_t *bytes, size_t n, ptq_image *img)
{
    work *w = ptq_calloc(1, sizeof *w);
    if (!w)
        return ptq_fail_nomem();
    w->src.bytes = bytes;
    w->src.n = n;
    w->img = img;
    w->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &w->src, on_error, on_warning);
    w->info = w->png ? png_create_info_struct(w->png) : NULL;
    if (w->info)
        run(w);
    else
        w->status = ptq_fail_nomem();
    png_destroy_read_struct(&w->png, &w->info, NULL);
    ptq_status s = w->status;
    free(w->wide);
    free(w->rows);
    free(w);
    return s;
}

#else

static ptq_status decode(const uint8_t *bytes, size_t n, ptq_image *img)
{
    (void)bytes, (void)n, (void)img;
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "is a PNG image, but this program was built without libpng");
}

#endif

const ptq_decoder ptq_decoder_png = {
    .name = "png",
    .probe = probe,
    .decode = decode,
};
