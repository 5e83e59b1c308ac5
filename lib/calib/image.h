/* SPDX-License-Identifier: Apache-2.0 */
/* Decoded images, decoders and resampling. */
#ifndef PTQ_CALIB_IMAGE_H
#define PTQ_CALIB_IMAGE_H

#include "lib/core/core.h"

/* Rows from the top, channels interleaved. Exactly one of u8 and f32 is set. */
typedef struct ptq_image {
    int w, h;
    int c;           /* 1 gray or 3 RGB */
    uint8_t *u8;
    float *f32;      /* 0..255 with fractions: 16-bit files (value / 257), float arrays */
    int orientation; /* EXIF tag 1..8; it is not applied */
} ptq_image;

enum {
    PTQ_IMAGE_MAX_SIDE = 16384,
    PTQ_IMAGE_MAX_PIXELS = 64 << 20,
    PTQ_IMAGE_MAX_FILE = 256 << 20 /* bytes */
};

/* Allocates pixels for w, h, c; PTQ_ERR_DATA beyond the limits above. */
ptq_status ptq_image_alloc(ptq_image *img, int w, int h, int c, bool f32);
void ptq_image_free(ptq_image *img);

/* A row of decoders.def. A build without the library keeps the row and says so in decode (PTQ_ERR_UNSUPPORTED). */
typedef struct ptq_decoder {
    const char *name;
    bool (*probe)(const uint8_t *bytes, size_t n);
    ptq_status (*decode)(const uint8_t *bytes, size_t n, ptq_image *img);
} ptq_decoder;

/* By content; NULL when no decoder knows it. 16 bytes are enough. */
const ptq_decoder *ptq_decoder_find(const uint8_t *bytes, size_t n);
size_t ptq_decoder_count(void);
const ptq_decoder *ptq_decoder_at(size_t i);
/* "GIF image", "text", ...: what an unknown file looks like. Static. */
const char *ptq_content_guess(const uint8_t *bytes, size_t n);
/* PTQ_ERR_DATA with the reason (without a file name) for anything that is no sound image. */
ptq_status ptq_image_decode(const uint8_t *bytes, size_t n, ptq_image *img);

typedef enum ptq_filter { PTQ_FILTER_BILINEAR, PTQ_FILTER_BICUBIC, PTQ_FILTER_NEAREST } ptq_filter;

/* Separable resampling with antialiasing, byte for byte what Pillow gives for 8-bit images:
 * coefficients with 22 fractional bits, horizontal pass first, 8-bit values between passes. */
ptq_status ptq_image_resize(ptq_image *img, int w, int h, ptq_filter filter);
/* Keeps the rectangle at (x, y); it must lie inside. */
ptq_status ptq_image_crop(ptq_image *img, int x, int y, int w, int h);
/* Puts img at (x, y) of a w x h image filled with `value`. */
ptq_status ptq_image_pad(ptq_image *img, int x, int y, int w, int h, float value);

#endif
