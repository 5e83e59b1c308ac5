/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions whose input dimensions are the stride times the output's, as with the usual padding: each tap
 * of an output reads the input (or one of its stride phases) a constant distance away, so that sixteen outputs
 * side by side read sixteen elements side by side. Masks keep what lies in the padding at zero, and nothing is
 * gathered. Images that fill vectors badly are laid side by side first. */
#include "lib/cpu/f_conv.h"
#include "lib/cpu/gemm.h"

bool ptq_conv_fits_window(const ptq_conv_geometry *g)
{
    for (int d = 0; d < 3; d++)
        if (g->in[d] != g->out[d] * g->stride[d] || g->up[d] != 1)
            return false;
    return true;
}

/* Sets bits [from, to). */
static void set_bits(uint16_t *mask, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to;) {
        int lo = (int)(i % 16), hi = to - i + lo < 16 ? (int)(to - i) + lo : 16;
        mask[i / 16] |= (uint16_t)((0xffffu << lo) & (0xffffu >> (16 - hi)));
        i += hi - lo;
    }
}

/* Tap position o * stride + t * dilation - pad: phase and shift of each dimension, the outputs whose
 * tap lies inside, and so where the tap reads and for which lanes. */
void ptq_conv_tap_mask(const ptq_conv_geometry *g, int64_t tap, int64_t images, int64_t phase_floats, int64_t *off,
                       uint16_t *mask)
{
    int64_t t[3], from[3], to[3], phase = 0, at = 0;
    ptq_split3(tap, g->k, t);
    for (int d = 0; d < 3; d++) {
        int64_t u = t[d] * g->dil[d] - g->pad[d], s = g->stride[d], ph = (u % s + s) % s;
        int64_t shift = (u - ph) / s;
        phase = phase * s + ph;
        at = at * g->out[d] + shift;
        from[d] = shift < 0 ? -shift : 0;
        to[d] = shift > 0 ? g->out[d] - shift : g->out[d];
    }
    *off = phase * phase_floats + at;
    for (int64_t i = 0; i < images; i++)
        for (int64_t o0 = from[0]; o0 < to[0]; o0++)
            for (int64_t o1 = from[1]; o1 < to[1]; o1++) {
                int64_t row = ((i * g->out[0] + o0) * g->out[1] + o1) * g->out[2];
                set_bits(mask, row + from[2], row + to[2]);
            }
}

/* Phase (a, b, c) of the plane holds elements (a + i s0, b + j s1, c + k s2). */
void ptq_conv_split_plane(const ptq_conv_geometry *g, const ptq_f32_fns *f, const float *x, float *dst,
                          int64_t phase_floats)
{
    int64_t s2 = g->stride[2], n = g->out[2];
    for (int64_t i = 0; i < g->in[0]; i++)
        for (int64_t j = 0; j < g->in[1]; j++, x += g->in[2]) {
            int64_t phase = (i % g->stride[0] * g->stride[1] + j % g->stride[1]) * s2;
            float *row = dst + phase * phase_floats + (i / g->stride[0] * g->out[1] + j / g->stride[1]) * n;
            if (s2 == 2)
                f->split2(x, row, row + phase_floats, n);
            else
                for (int64_t p = 0; p < s2; p++)
                    ptq_conv_copy_row(x + p, s2, row + p * phase_floats, n);
        }
}

/* ---- the product ---- */

/* A block of weights (ROWS x KC floats) and the outputs of a task stay in the second-level cache. */
enum { LANES = 16, KC = 288, ROWS = 256, VECTORS = 12 };

typedef struct window {
    const ptq_conv_window *v;
    const ptq_conv_geometry *g;
    const ptq_f32_fns *f;
    bool merged, split; /* images side by side; stride phases apart: src is a copy */
    int64_t images, columns, vectors; /* vectors per image of `columns` outputs; merged: one image */
    const float *src;
    int64_t src_image, src_plane;
    int64_t *off;   /* [taps] */
    uint16_t *mask; /* [taps][vectors]; NULL: all lanes of one tap at 0 */
    int64_t mparts, vparts; /* tasks per group: rows, triples of vectors */
    int64_t ldc;            /* merged: outputs of a task, per row */
    char *scratch;
    size_t per_worker;
} window;

static int64_t div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Input planes into src: [image or 1][channel][phase][columns]. */
static void copy_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const window *w = ctx;
    const ptq_conv_geometry *g = w->g;
    for (int64_t i = from; i < to; i++) {
        int64_t ch = i / g->batch, image = i % g->batch;
        const float *x = w->v->x + (image * g->c + ch) * g->isize;
        float *dst = (float *)(uintptr_t)w->src + ch * w->src_plane +
                     (w->merged ? image * g->osize : image * w->src_image);
        if (w->split)
            ptq_conv_split_plane(g, w->f, x, dst, w->columns);
        else
            ptq_conv_copy_row(x, 1, dst, g->osize);
    }
}

/* Outputs [from, from + n) of the images side by side back to their places. */
static void scatter(const window *w, const float *c, int64_t row, int64_t rows, int64_t from, int64_t n)
{
    const ptq_conv_geometry *g = w->g;
    for (int64_t i = 0; i < rows; i++, row++, c += w->ldc) {
        int64_t image = from / g->osize, at = from % g->osize;
        for (int64_t x = 0; x < n; image++, at = 0) {
            int64_t len = min64(n - x, g->osize - at);
            ptq_conv_copy_row(c + x, 1, w->v->y + (image * g->m + row) * g->osize + at, len);
            x += len;
        }
    }
}

/* Sets up vectors [first, first + nv) of channel c0 on: group's first row of C is at row. */
static void place(const window *w, ptq_f32_window *t, int64_t group, int64_t c0, int64_t first, int64_t row,
                  float *block, int64_t v0)
{
    const ptq_conv_geometry *g = w->g;
    for (int v = 0; v < t->nv; v++) {
        int64_t image = (first + v) / w->vectors, pos = (first + v) % w->vectors;
        int64_t left = w->columns - pos * LANES;
        t->x[v] = w->src + image * w->src_image + (group * g->cg + c0) * w->src_plane + pos * LANES;
        t->mask[v] = w->mask ? w->mask + pos : NULL;
        t->keep[v] = (uint16_t)(left >= LANES ? 0xffff : (1 << left) - 1);
        t->c[v] = block ? block + (first + v - v0) * LANES
                        : w->v->y + (image * g->m + group * g->mg + row) * g->osize + pos * LANES;
    }
}

/* Rows [i0, i1) of the group times vectors [v0, v1) for one block of channels. */
static void block_product(const window *w, ptq_f32_window *t, int64_t group, int64_t c0, const int64_t *i,
                          const int64_t *v, float *block)
{
    const ptq_conv_geometry *g = w->g;
    int64_t k = g->cg * g->kvol;
    const float *a = w->v->packed + (size_t)group * ptq_gemm_packed_a_floats(g->mg, k) + c0 * g->kvol * PTQ_A_PANEL;
    for (int64_t at = v[0]; at < v[1]; at += t->nv) {
        int64_t left = v[1] - at;
        t->nv = left == 4 ? 2 : (int)min64(left, 3);
        place(w, t, group, c0, at, i[0], block, v[0]);
        int step = t->nv == 1 ? 16 : 8;
        for (int64_t r = i[0]; r < i[1]; r += step) {
            t->rows = (int)min64(i[1] - r, step);
            t->a = a + r / PTQ_A_PANEL * PTQ_A_PANEL * k + r % PTQ_A_PANEL;
            t->bias = w->v->bias ? w->v->bias + group * g->mg + r : NULL;
            w->f->window(t);
            for (int n = 0; n < t->nv; n++)
                t->c[n] += step * t->ldc;
        }
    }
}

static ptq_status task(void *arg, size_t index, int worker)
{
    const window *w = arg;
    const ptq_conv_geometry *g = w->g;
    int64_t parts = w->mparts * w->vparts, group = (int64_t)index / parts, part = (int64_t)index % parts;
    int64_t panels = div_up(g->mg, PTQ_A_PANEL), triples = div_up(w->images * w->vectors, 3);
    int64_t mp = part % w->mparts, vp = part / w->mparts;
    int64_t i[2] = {mp * panels / w->mparts * PTQ_A_PANEL, (mp + 1) * panels / w->mparts * PTQ_A_PANEL};
    int64_t v[2] = {vp * triples / w->vparts * 3, (vp + 1) * triples / w->vparts * 3};
    int64_t kc = KC / g->kvol < 1 ? 1 : KC / g->kvol;
    i[1] = min64(i[1], g->mg);
    v[1] = min64(v[1], w->images * w->vectors);
    float *block = w->merged ? (float *)(void *)(w->scratch + (size_t)worker * w->per_worker) : NULL;
    for (int64_t r = i[0]; r < i[1]; r += ROWS) {
        int64_t rows[2] = {r, min64(r + ROWS, i[1])};
        for (int64_t c0 = 0; c0 < g->cg; c0 += kc) {
            ptq_f32_window t = {.taps = (int)g->kvol, .channels = min64(kc, g->cg - c0), .plane = w->src_plane,
                                .off = w->off, .mask_step = w->vectors, .ldc = w->merged ? w->ldc : g->osize,
                                .first = c0 == 0, .last = c0 + kc >= g->cg, .fetch = true, .act = w->v->act};
            block_product(w, &t, group, c0, rows, v, block);
        }
        if (w->merged)
            scatter(w, block, group * g->mg + r, rows[1] - r, v[0] * LANES,
                    min64(v[1] * LANES, w->columns) - v[0] * LANES);
    }
    return PTQ_OK;
}

/* Tasks of equal size, several for each thread; the larger side is divided first. */
static void divide(const ptq_cpu *c, window *w)
{
    const ptq_conv_geometry *g = w->g;
    int64_t threads = ptq_pool_threads(c->pool), want = threads > 1 ? 3 * threads : 1;
    int64_t panels = div_up(g->mg, PTQ_A_PANEL), triples = div_up(w->images * w->vectors, 3);
    w->mparts = 1;
    w->vparts = div_up(triples, VECTORS / 3);
    while (g->group * w->mparts * w->vparts < want) {
        int64_t rows = panels / w->mparts, columns = triples / w->vparts;
        if (rows >= 2 && rows >= columns)
            w->mparts++;
        else if (columns >= 2)
            w->vparts++;
        else
            break;
    }
    w->ldc = (div_up(triples, w->vparts)) * 3 * LANES;
}

/* Images side by side where vectors would be badly filled. */
static bool merges(const ptq_conv_geometry *g)
{
    int64_t apart = g->batch * div_up(g->osize, LANES), together = div_up(g->batch * g->osize, LANES);
    return apart * 7 > together * 8;
}

bool ptq_conv_takes_window(const ptq_cpu *c, const ptq_conv_geometry *g)
{
    enum { FEW = 1 << 12 }; /* tables and copies stay small beside the product */
    return ptq_cpu_f32(c)->window && ptq_conv_fits_window(g) && g->batch * g->osize >= LANES && g->kvol < FEW;
}

/* Some images; x and y of v are those of the first. */
static ptq_status run_images(ptq_cpu *c, const ptq_conv_window *v)
{
    const ptq_conv_geometry *g = v->g;
    window w = {.v = v, .g = g, .f = ptq_cpu_f32(c), .merged = merges(g), .split = g->isize != g->osize};
    w.images = w.merged ? 1 : g->batch;
    w.columns = w.merged ? g->batch * g->osize : g->osize;
    w.vectors = div_up(w.columns, LANES);
    bool copied = w.merged || w.split;
    w.src_plane = copied ? g->isize * g->batch / w.images : g->isize;
    w.src_image = g->c * w.src_plane;
    divide(c, &w);
    bool masks = g->kvol > 1 || w.columns % LANES != 0 || g->pad[0] || g->pad[1] || g->pad[2];
    size_t off_bytes = ((size_t)g->kvol * sizeof(int64_t) + 63) / 64 * 64;
    size_t mask_bytes = masks ? ((size_t)(g->kvol * w.vectors) * sizeof(uint16_t) + 63) / 64 * 64 : 0;
    size_t src_bytes = copied ? (size_t)(w.images * w.src_image) * sizeof(float) / 64 * 64 + 128 : 0;
    w.per_worker = w.merged ? (size_t)(ROWS * w.ldc) * sizeof(float) : 0;
    char *s = ptq_cpu_scratch(c, off_bytes + mask_bytes + src_bytes + w.per_worker * (size_t)ptq_pool_threads(c->pool));
    if (!s)
        return ptq_fail_nomem();
    w.off = (int64_t *)(void *)s;
    w.mask = masks ? (uint16_t *)(void *)(s + off_bytes) : NULL;
    w.src = copied ? (float *)(void *)(s + off_bytes + mask_bytes) : v->x;
    w.scratch = s + off_bytes + mask_bytes + src_bytes;
    if (masks)
        memset(w.mask, 0, mask_bytes);
    for (int64_t t = 0; t < g->kvol && masks; t++)
        ptq_conv_tap_mask(g, t, w.merged ? g->batch : 1, w.columns, &w.off[t], w.mask + t * w.vectors);
    if (copied)
        PTQ_TRY(ptq_cpu_ranges(c, g->c * g->batch, 1 + 4096 / g->isize, copy_range, &w));
    return ptq_pool_for(c->pool, (size_t)(g->group * w.mparts * w.vparts), task, &w);
}

ptq_status ptq_conv_run_window(ptq_cpu *c, const ptq_conv_window *v)
{
    enum { COPY_FLOATS = 1 << 19, FILL = 12 * LANES }; /* copies stay in the caches, vectors are filled */
    ptq_conv_geometry g = *v->g;
    int64_t piece = g.batch, fit = COPY_FLOATS / (g.c * g.isize), fill = div_up(FILL, g.osize);
    if (g.isize != g.osize || merges(&g))
        piece = min64(piece, fit > fill ? fit : fill);
    for (int64_t i = 0; i < v->g->batch; i += piece) {
        ptq_conv_window part = *v;
        g.batch = min64(piece, v->g->batch - i);
        part.g = &g;
        part.x += i * g.c * g.isize;
        part.y += i * g.m * g.osize;
        PTQ_TRY(run_images(c, &part));
    }
    return PTQ_OK;
}
