/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise qconv in NHWC: vectors over the channels, line by line; the pixels of a line whose
 * window lies wholly inside are one call of the kernel. Padding reads a row of zero points. */
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/int.h"

struct ptq_int_depthwise {
    void (*kernel)(const ptq_int_dw *d);
    int64_t c, cpad;
    int taps, padded; /* padded: to whole groups of 4 where the kernel takes bytes */
    uint8_t flip;
    void *w;
    int32_t *bias;
    float *mult;
    uint8_t *zero; /* cpad bytes of x.zp */
};

void ptq_int_depthwise_free(ptq_int_depthwise *s)
{
    if (s)
        free(s->w);
    free(s);
}

/* Place of channel c in the arrays of the kernel for bytes: within 64 channels, vector j holds
 * channels 16 l + 4 j .. + 3 in its 128-bit part l. */
static int64_t byte_place(int64_t c)
{
    return c / 64 * 64 + c % 16 / 4 * 16 + c % 64 / 16 * 4 + c % 4;
}

static void put_weight(const ptq_int_depthwise *s, bool bytes, int64_t c, int t, int32_t v)
{
    if (!bytes) /* the upper half stays 0: the kernel multiplies pairs of 16-bit values */
        ((int32_t *)s->w)[t * s->cpad + c] = v & 0xffff;
    else
        ((int8_t *)s->w)[(c / 64 * 64 * (s->padded / 4) + t / 4 * 64 + byte_place(c) % 64) * 4 + t % 4] =
            (int8_t)v;
}

ptq_status ptq_int_depthwise_new(const ptq_int_isa *isa, const ptq_qlinear_params *p,
                                 const ptq_tensor *w, bool x_sgn, ptq_int_depthwise **out)
{
    bool w_sgn = ptq_int_signed(w->dtype), bytes = isa->dot->depthwise4 && w_sgn && !p->float_out;
    ptq_int_depthwise *s = ptq_calloc(1, sizeof *s);
    if (!s)
        return ptq_fail_nomem();
    s->c = w->dims[0];
    s->cpad = (s->c + 63) & ~INT64_C(63);
    s->taps = (int)(ptq_tensor_elements(w) / s->c);
    s->flip = x_sgn ? 0x80 : 0;
    for (int64_t c = 0; c < s->c; c++)
        bytes = bytes && ptq_int_wzp(p, c) == 0;
    s->kernel = bytes ? isa->dot->depthwise4 : isa->dot->depthwise;
    s->padded = bytes ? (s->taps + 3) / 4 * 4 : s->taps;
    size_t weights = (size_t)(s->cpad * s->padded) * (bytes ? 1 : 4), row = (size_t)s->cpad * 4;
    s->w = ptq_alloc_aligned(weights + 2 * row + (size_t)s->cpad);
    if (!s->w) {
        free(s);
        return ptq_fail_nomem();
    }
    memset(s->w, 0, weights + 2 * row);
    s->bias = (int32_t *)(void *)((char *)s->w + weights);
    s->mult = (float *)(void *)(s->bias + s->cpad);
    s->zero = (uint8_t *)(s->mult + s->cpad);
    memset(s->zero, (int)(uint8_t)p->x.zp, (size_t)s->cpad);
    uint32_t zx = (uint32_t)(p->x.zp + (x_sgn ? 128 : 0));
    for (int64_t c = 0; c < s->c; c++) {
        uint32_t bias = p->bias ? (uint32_t)p->bias[c] : 0;
        for (int t = 0; t < s->taps; t++) {
            int32_t v = ptq_int_byte(w->data, c * s->taps + t, w_sgn) - ptq_int_wzp(p, c);
            put_weight(s, bytes, c, t, v);
            bias -= zx * (uint32_t)v;
        }
        int64_t at = bytes ? byte_place(c) : c;
        s->bias[at] = (int32_t)bias;
        s->mult[at] = ptq_int_mult(p, c);
    }
    *out = s;
    return PTQ_OK;
}

typedef struct job {
    const ptq_int_depthwise *s;
    const ptq_qlinear_params *p;
    const ptq_window *w;
    const ptq_int_view *x, *y;
    const uint8_t *data;
    uint8_t *out;
} job;

/* Taps of the output pixel o of image n, and how far each moves to the next pixel while all stay
 * inside. */
static void find_taps(const job *j, int64_t n, const int64_t *o, const uint8_t **tap, int64_t *step)
{
    int t = 0;
    for (; t < j->s->taps; t++) {
        int64_t px = ptq_int_tap(j->w, j->x, o, t);
        tap[t] = px < 0 ? j->s->zero : j->data + (n * j->x->pixels + px) * j->s->c;
        step[t] = px < 0 ? 0 : j->w->stride[2] * j->s->c;
    }
    for (; t < j->s->padded; t++) {
        tap[t] = j->s->zero;
        step[t] = 0;
    }
}

/* How many pixels from o2 on have windows inside their line of x; 1 when not even the first. */
static int64_t run_length(const job *j, int64_t o2)
{
    const ptq_window *w = j->w;
    int64_t w0 = o2 * w->stride[2] - w->pad_begin[2], reach = (w->kernel[2] - 1) * w->dilation[2];
    int64_t room = j->x->d[2] - 1 - reach - w0;
    if (w0 < 0 || room < 0)
        return 1;
    int64_t n = room / w->stride[2] + 1, left = j->y->d[2] - o2;
    return n < left ? n : left;
}

static void lines(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const job *j = ctx;
    const ptq_int_depthwise *s = j->s;
    const ptq_qlinear_params *p = j->p;
    const uint8_t *tap[PTQ_INT_DW_TAPS + 3];
    int64_t step[PTQ_INT_DW_TAPS + 3];
    ptq_int_dw d = {.tap = tap, .step = step, .taps = s->padded, .c = s->c, .cpad = s->cpad,
                    .flip = s->flip, .w = s->w, .bias = s->bias, .mult = s->mult, .zy = p->y.zp,
                    .lo = (float)(p->qlo - p->y.zp), .hi = (float)(p->qhi - p->y.zp),
                    .float_out = p->float_out, .sgn = p->qlo < 0};
    d.ldy = (size_t)s->c * (p->float_out ? sizeof(float) : 1);
    for (int64_t line = from; line < to; line++) {
        int64_t o[3] = {line / j->y->d[1] % j->y->d[0], line % j->y->d[1], 0};
        int64_t n = line / j->y->d[1] / j->y->d[0];
        for (; o[2] < j->y->d[2]; o[2] += d.pixels) {
            d.pixels = run_length(j, o[2]);
            d.y = j->out + (size_t)(line * j->y->d[2] + o[2]) * d.ldy;
            find_taps(j, n, o, tap, step);
            s->kernel(&d);
        }
    }
}

ptq_status ptq_int_depthwise_run(ptq_cpu *c, const ptq_int_depthwise *s, const ptq_qlinear_params *p,
                                 const ptq_window *w, const ptq_int_view *x, const ptq_int_view *y,
                                 const uint8_t *data, uint8_t *out)
{
    job j = {.s = s, .p = p, .w = w, .x = x, .y = y, .data = data, .out = out};
    int64_t grain = 65536 / (y->d[2] * s->c * s->taps + 1) + 1;
    return ptq_cpu_ranges(c, y->n * y->d[0] * y->d[1], grain, lines, &j);
}
