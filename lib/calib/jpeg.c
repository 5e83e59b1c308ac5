/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "lib/calib/image.h"

static bool probe(const uint8_t *bytes, size_t n)
{
    return n >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

#ifdef HAVE_JPEG
#include <jpeglib.h>

#include <jerror.h>
#include <setjmp.h>
#include <stdlib.h>

/* A progressive file may repeat scans of a large image thousands of times. */
enum { MAX_SCANS = 200 };

typedef struct work {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr err;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    char text[JMSG_LENGTH_MAX];
    ptq_image *img;
    ptq_status status;
} work;

static void on_error(j_common_ptr info)
{
    work *w = info->client_data;
    if (!w->text[0])
        info->err->format_message(info, w->text);
    longjmp(w->jump, 1);
}

/* Warnings mean guessed pixels (truncated or corrupt data), except these. */
static bool harmless(int code)
{
    return code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR ||
           code == JWRN_BOGUS_PROGRESSION;
}

static void on_message(j_common_ptr info, int level)
{
    if (level < 0 && !harmless(info->err->msg_code))
        on_error(info);
}

static void on_progress(j_common_ptr info)
{
    work *w = info->client_data;
    if (w->jpeg.input_scan_number > MAX_SCANS) {
        snprintf(w->text, sizeof w->text, "more than %d scans", MAX_SCANS);
        longjmp(w->jump, 1);
    }
}

static unsigned get16(const uint8_t *p, bool big)
{
    return big ? (unsigned)p[0] << 8 | p[1] : (unsigned)p[1] << 8 | p[0];
}

/* Orientation (tag 0x0112) of the first image directory of an Exif block; 1 when absent. */
static int exif_orientation(const uint8_t *p, size_t n)
{
    if (n < 14 || memcmp(p, "Exif\0", 6) != 0)
        return 1;
    p += 6;
    n -= 6;
    bool big = p[0] == 'M';
    size_t at = big ? (size_t)get16(p + 4, true) << 16 | get16(p + 6, true)
                    : (size_t)get16(p + 6, false) << 16 | get16(p + 4, false);
    if (at > n - 2)
        return 1;
    size_t entries = get16(p + at, big);
    for (size_t i = 0; i < entries && at + 2 + (i + 1) * 12 <= n; i++) {
        const uint8_t *e = p + at + 2 + i * 12;
        if (get16(e, big) == 0x0112) {
            unsigned v = get16(e + 8, big);
            return v >= 1 && v <= 8 ? (int)v : 1;
        }
    }
    return 1;
}

static ptq_status start(work *w)
{
    struct jpeg_decompress_struct *j = &w->jpeg;
    jpeg_save_markers(j, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(j, TRUE);
    if (j->num_components != 1 && j->num_components != 3)
        return ptq_fail(PTQ_ERR_DATA, "%s JPEG is not supported; convert it to RGB",
                        j->jpeg_color_space == JCS_YCCK ? "YCCK"
                        : j->num_components == 4        ? "CMYK"
                                                        : "2-component");
    int c = j->num_components;
    j->out_color_space = c == 1 ? JCS_GRAYSCALE : JCS_RGB;
    j->dct_method = JDCT_ISLOW;
    if (j->image_width > PTQ_IMAGE_MAX_SIDE || j->image_height > PTQ_IMAGE_MAX_SIDE)
        return ptq_fail(PTQ_ERR_DATA, "JPEG of %u x %u pixels is refused (limit %d)",
                        j->image_width, j->image_height, PTQ_IMAGE_MAX_SIDE);
    PTQ_TRY(ptq_image_alloc(w->img, (int)j->image_width, (int)j->image_height, c, false));
    w->img->orientation = 1;
    for (jpeg_saved_marker_ptr m = j->marker_list; m; m = m->next)
        if (w->img->orientation == 1)
            w->img->orientation = exif_orientation(m->data, m->data_length);
    return PTQ_OK;
}

static void run(work *w)
{
    if (setjmp(w->jump)) {
        w->status = ptq_fail(PTQ_ERR_DATA, "damaged or unsupported JPEG: %s", w->text);
        return;
    }
    w->status = start(w);
    if (w->status != PTQ_OK)
        return;
    jpeg_start_decompress(&w->jpeg);
    size_t row = (size_t)w->img->w * (size_t)w->img->c;
    while (w->jpeg.output_scanline < w->jpeg.output_height) {
        JSAMPROW p = w->img->u8 + row * w->jpeg.output_scanline;
        jpeg_read_scanlines(&w->jpeg, &p, 1);
    }
    jpeg_finish_decompress(&w->jpeg);
}

static ptq_status decode(const uint8_t *bytes, size_t n, ptq_image *img)
{
    work *w = ptq_calloc(1, sizeof *w);
    if (!w)
        return ptq_fail_nomem();
    w->img = img;
    w->jpeg.err = jpeg_std_error(&w->err);
    w->err.error_exit = on_error;
    w->err.emit_message = on_message;
    w->jpeg.client_data = w;
    if (setjmp(w->jump)) {
        w->status = ptq_fail(PTQ_ERR_DATA, "libjpeg: %s", w->text);
    } else {
        jpeg_create_decompress(&w->jpeg);
        w->jpeg.client_data = w;
        w->progress.progress_monitor = on_progress;
        w->jpeg.progress = &w->progress;
        jpeg_mem_src(&w->jpeg, bytes, (unsigned long)n);
        run(w);
    }
    jpeg_destroy_decompress(&w->jpeg);
    ptq_status s = w->status;
    free(w);
    return s;
}

#else

static ptq_status decode(const uint8_t *bytes, size_t n, ptq_image *img)
{
    (void)bytes, (void)n, (void)img;
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "is a JPEG image, but this program was built without libjpeg");
}

#endif

const ptq_decoder ptq_decoder_jpeg = {
    .name = "jpeg",
    .probe = probe,
    .decode = decode,
};
