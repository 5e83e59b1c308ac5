/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/image.h"

#include <stdlib.h>
#include <string.h>

#define PTQ_DECODER(name) extern const ptq_decoder ptq_decoder_##name;
#include "lib/calib/decoders.def"
#undef PTQ_DECODER

static const ptq_decoder *const decoders[] = {
#define PTQ_DECODER(name) &ptq_decoder_##name,
#include "lib/calib/decoders.def"
#undef PTQ_DECODER
};

size_t ptq_decoder_count(void)
{
    return PTQ_COUNT(decoders);
}

const ptq_decoder *ptq_decoder_at(size_t i)
{
    return decoders[i];
}

const ptq_decoder *ptq_decoder_find(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < PTQ_COUNT(decoders); i++)
        if (decoders[i]->probe(bytes, n))
            return decoders[i];
    return NULL;
}

static const struct {
    const char *magic;
    size_t at, n;
    const char *what;
} signatures[] = {
    {"GIF8", 0, 4, "GIF image"},
    {"WEBP", 8, 4, "WebP image"},
    {"ftyp", 4, 4, "HEIC, AVIF or MP4 file"},
    {"BM", 0, 2, "BMP image"},
    {"II*\0", 0, 4, "TIFF image"},
    {"MM\0*", 0, 4, "TIFF image"},
    {"\x93NUMPY", 0, 6, ".npy array"},
    {"\x89HDF\r\n\x1a\n", 0, 8, "HDF5 file"},
    {"PK\3\4", 0, 4, "zip archive"},
    {"\x1f\x8b", 0, 2, "gzip file"},
    {"%PDF", 0, 4, "PDF document"},
    {"\x7f" "ELF", 0, 4, "program"},
    {"version https://git-lfs", 0, 23, "Git LFS pointer: fetch the file itself"},
};

const char *ptq_content_guess(const uint8_t *bytes, size_t n)
{
    if (n == 0)
        return "empty file";
    for (size_t i = 0; i < PTQ_COUNT(signatures); i++)
        if (n >= signatures[i].at + signatures[i].n &&
            memcmp(bytes + signatures[i].at, signatures[i].magic, signatures[i].n) == 0)
            return signatures[i].what;
    for (size_t i = 0; i < n && i < 64; i++)
        if (bytes[i] < 0x20 && bytes[i] != '\n' && bytes[i] != '\r' && bytes[i] != '\t')
            return "unknown binary content";
    return "text";
}

ptq_status ptq_image_decode(const uint8_t *bytes, size_t n, ptq_image *img)
{
    const ptq_decoder *d = ptq_decoder_find(bytes, n);
    if (!d)
        return ptq_fail(PTQ_ERR_DATA, "not a PNG or JPEG image (looks like: %s)",
                        ptq_content_guess(bytes, n));
    ptq_image made = {0};
    made.orientation = 1;
    ptq_status s = d->decode(bytes, n, &made);
    if (s != PTQ_OK) {
        ptq_image_free(&made);
        return s;
    }
    *img = made;
    return PTQ_OK;
}

ptq_status ptq_image_alloc(ptq_image *img, int w, int h, int c, bool f32)
{
    if (w < 1 || h < 1 || w > PTQ_IMAGE_MAX_SIDE || h > PTQ_IMAGE_MAX_SIDE ||
        (int64_t)w * h > PTQ_IMAGE_MAX_PIXELS)
        return ptq_fail(PTQ_ERR_DATA,
                        "image of %d x %d pixels is refused (limits: side %d, %d million pixels)",
                        w, h, PTQ_IMAGE_MAX_SIDE, PTQ_IMAGE_MAX_PIXELS >> 20);
    size_t n = (size_t)w * (size_t)h * (size_t)c;
    uint8_t *u8 = f32 ? NULL : ptq_alloc_aligned(n);
    float *f = f32 ? ptq_alloc_aligned(n * sizeof *f) : NULL;
    if (!u8 && !f)
        return ptq_fail_nomem();
    img->w = w;
    img->h = h;
    img->c = c;
    img->u8 = u8;
    img->f32 = f;
    return PTQ_OK;
}

void ptq_image_free(ptq_image *img)
{
    if (!img)
        return;
    free(img->u8);
    free(img->f32);
    img->u8 = NULL;
    img->f32 = NULL;
}

static void replace(ptq_image *img, ptq_image *by)
{
    by->orientation = img->orientation;
    ptq_image_free(img);
    *img = *by;
}

/* Copies a w x h block between images of equal type. */
static void blit(ptq_image *to, int tx, int ty, const ptq_image *from, int fx, int fy, int w, int h)
{
    size_t c = (size_t)to->c, size = to->u8 ? 1 : sizeof(float);
    char *t = to->u8 ? (char *)to->u8 : (char *)to->f32;
    const char *f = from->u8 ? (const char *)from->u8 : (const char *)from->f32;
    for (int y = 0; y < h; y++) {
        size_t ti = ((size_t)(ty + y) * (size_t)to->w + (size_t)tx) * c * size;
        size_t fi = ((size_t)(fy + y) * (size_t)from->w + (size_t)fx) * c * size;
        memcpy(t + ti, f + fi, (size_t)w * c * size);
    }
}

ptq_status ptq_image_crop(ptq_image *img, int x, int y, int w, int h)
{
    ptq_image made = {0};
    PTQ_TRY(ptq_image_alloc(&made, w, h, img->c, img->f32 != NULL));
    blit(&made, 0, 0, img, x, y, w, h);
    replace(img, &made);
    return PTQ_OK;
}

ptq_status ptq_image_pad(ptq_image *img, int x, int y, int w, int h, float value)
{
    ptq_image made = {0};
    PTQ_TRY(ptq_image_alloc(&made, w, h, img->c, img->f32 != NULL));
    size_t n = (size_t)w * (size_t)h * (size_t)img->c;
    if (made.u8)
        memset(made.u8, (int)value, n);
    else
        for (size_t i = 0; i < n; i++)
            made.f32[i] = value;
    blit(&made, x, y, img, 0, 0, img->w, img->h);
    replace(img, &made);
    return PTQ_OK;
}
