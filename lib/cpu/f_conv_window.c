/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions whose input dimensions are the stride times the output's, as with the usual padding: each tap
 * of an output reads the input (or one of its stride phases) a constant distance away, so that sixteen outputs
 * side by side read sixteen elements side by side. Masks keep what lies in the padding at zero, and nothing is
 * gathered. Images that fill vectors badly are laid side by side first. */
#include "lib/cpu/f_conv.h"
#include "lib/cpu/gemm.h"

/* A block of weights (ROWS x KC floats) and the outputs of a task stay in the second-level cache. What is copied is
 * asked for AHEAD floats or NEXT rows before, because processors hardly look beyond the page that they read. */
enum { LANES = 16, KC = 288, ROWS = 256, VECTORS = 12, NEAR = 9, NEAR_ROWS = 128, AHEAD = 2048, NEXT = 4 };

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

/* A window of one element reads phase (0, 0, 0) alone; of the others the last dimension's are made beside it. */
static bool reads_first_phase(const ptq_conv_geometry *g)
{
    return g->kvol == 1 && !g->pad[0] && !g->pad[1] && !g->pad[2];
}

static int64_t split_floats(const ptq_conv_geometry *g)
{
    return reads_first_phase(g) ? g->osize * g->stride[2] : g->isize;
}

/* Phase (a, b, c) of the plane holds elements (a + i s0, b + j s1, c + k s2). */
void ptq_conv_split_plane(const ptq_conv_geometry *g, const ptq_f32_fns *f, const float *plane, float *dst,
                          int64_t phase_floats)
{
    bool one = reads_first_phase(g);
    int64_t s2 = g->stride[2], n = g->out[2];
    for (int64_t i = 0; i < g->in[0]; i += one ? g->stride[0] : 1)
        for (int64_t j = 0; j < g->in[1]; j += one ? g->stride[1] : 1) {
            const float *x = plane + (i * g->in[1] + j) * g->in[2];
            int64_t phase = (i % g->stride[0] * g->stride[1] + j % g->stride[1]) * s2;
            float *row = dst + phase * phase_floats + (i / g->stride[0] * g->out[1] + j / g->stride[1]) * n;
            for (int64_t l = 0; l < g->in[2]; l += LANES)
                __builtin_prefetch(x + l + AHEAD);
            if (s2 == 2)
                f->split2(x, row, row + phase_floats, n);
            else
                for (int64_t p = 0; p < s2; p++)
                    ptq_conv_copy_row(x + p, s2, row + p * phase_floats, n);
        }
}

/* ---- the product ---- */

typedef struct window {
    const ptq_conv_window *v;
    const ptq_conv_geometry *g;
    const ptq_f32_fns *f;
    bool merged, split; /* images side by side; stride phases apart: src is a copy */
    int64_t images, columns, vectors; /* vectors per image of `columns` outputs; merged: one image */
    const float *src;
    int64_t src_image, src_plane;
    float *y; /* of the product */
    ptq_act act;
    int64_t *off;   /* [taps] */
    uint16_t *mask; /* [taps][vectors]; NULL: all lanes of one tap at 0 */
    int64_t mparts, vparts; /* tasks per group: rows, vectors */
    bool tiles;             /* vparts in whole tiles */
    int64_t ldc;            /* merged: outputs of a task, per row */
    /* near: channels lie a multiple of 4 KiB apart, in the same few lines of the first-level cache, so a task
     * copies what it reads of a block of channels, if rows of weights are enough to read it again and again; vparts
     * tasks divide evenly among the images then. */
    bool near;
    int64_t reach[2];       /* lowest and highest off */
    int64_t near_ld;
    char *scratch;
    size_t per_worker;
} window;

/* What a task works on. */
typedef struct part {
    int64_t group, c0, channels; /* block of channels */
    int64_t i[2], v[2];          /* rows of the group, vectors */
    float *block;                /* merged: results */
    float *copy;                 /* near: channels of the block */
    int64_t from;                /* near: the first element copied of a channel */
} part;

static int64_t div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t block_channels(const ptq_conv_geometry *g)
{
    return KC / g->kvol < 1 ? 1 : KC / g->kvol;
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
            ptq_conv_copy_row(c + x, 1, w->y + (image * g->m + row) * g->osize + at, len);
            x += len;
        }
    }
}

/* Where a vector of the part reads channel c0 + ch. */
static const float *source(const window *w, const part *p, int64_t vector, int64_t ch)
{
    int64_t image = vector / w->vectors, pos = vector % w->vectors;
    return w->near ? p->copy + (pos * LANES - p->from)
                   : w->src + image * w->src_image + (p->group * w->g->cg + p->c0 + ch) * w->src_plane + pos * LANES;
}

/* Vectors [first, first + nv) of the part. */
static void place(const window *w, const part *p, ptq_f32_window *t, int64_t first)
{
    const ptq_conv_geometry *g = w->g;
    bool more = first + t->nv < p->v[1]; /* else the next block of channels, and at last the next vectors */
    int64_t next = more ? first + t->nv : t->last ? p->v[1] % (w->images * w->vectors) : p->v[0];
    int64_t ch = more ? 0 : t->last ? -p->c0 : p->channels;
    for (int v = 0; v < t->nv; v++) {
        int64_t image = (first + v) / w->vectors, pos = (first + v) % w->vectors;
        int64_t left = w->columns - pos * LANES, y = (image * g->m + p->group * g->mg + p->i[0]) * g->osize + pos * LANES;
        t->x[v] = source(w, p, first + v, 0);
        t->ahead[v] = w->near ? t->x[v] : source(w, p, next + v, ch);
        t->mask[v] = w->mask ? w->mask + pos : NULL;
        t->keep[v] = (uint16_t)(left >= LANES ? 0xffff : (1 << left) - 1);
        t->add[v] = w->v->add && !p->block ? w->v->add + y : NULL;
        t->sum[v] = w->v->pre && !p->block ? w->v->y + y : NULL;
        t->c[v] = p->block ? p->block + (first + v - p->v[0]) * LANES : w->y + y;
    }
}

static void copy_near(const window *w, part *p)
{
    const ptq_conv_geometry *g = w->g;
    int64_t image = p->v[0] / w->vectors, at = p->v[0] % w->vectors * LANES + w->reach[0];
    int64_t to = (p->v[1] - image * w->vectors) * LANES + w->reach[1];
    to = min64(to, w->src_plane);
    p->from = at < 0 ? 0 : at;
    const float *x = w->src + image * w->src_image + (p->group * g->cg + p->c0) * w->src_plane;
    for (int64_t ch = 0; ch < p->channels; ch++, x += w->src_plane) {
        for (int64_t l = p->from; l < to + LANES; l += LANES)
            __builtin_prefetch(x + l + NEXT * w->src_plane);
        ptq_conv_copy_row(x + p->from, 1, p->copy + ch * w->near_ld, to - p->from);
    }
}

/* One block of channels. */
static void block_product(const window *w, const part *p, ptq_f32_window *t)
{
    const ptq_conv_geometry *g = w->g;
    int64_t k = g->cg * g->kvol, steps = p->channels * g->kvol;
    const float *a = w->v->packed + (size_t)p->group * ptq_gemm_packed_a_floats(g->mg, k) + p->c0 * g->kvol * PTQ_A_PANEL;
    for (int64_t at = p->v[0]; at < p->v[1]; at += t->nv) {
        int64_t left = p->v[1] - at;
        t->nv = left == 4 ? 2 : (int)min64(left, 3);
        place(w, p, t, at);
        int step = t->nv == 1 ? PTQ_A_PANEL : PTQ_A_PANEL / 2;
        const float *after = a + p->i[0] * k + (at + t->nv < p->v[1] ? 0 : steps * PTQ_A_PANEL);
        t->next_step = step; /* a panel's tiles fetch the next panel, each its part */
        for (int64_t r = p->i[0]; r < p->i[1]; r += step) {
            t->rows = (int)min64(p->i[1] - r, step);
            const float *panel = a + r / PTQ_A_PANEL * PTQ_A_PANEL * k;
            t->a = panel + r % PTQ_A_PANEL;
            t->next = r / PTQ_A_PANEL + 1 < div_up(p->i[1], PTQ_A_PANEL) ? panel + PTQ_A_PANEL * k : after;
            t->next += r % PTQ_A_PANEL * steps;
            t->bias = w->v->bias ? w->v->bias + p->group * g->mg + r : NULL;
            w->f->window(t);
            for (int n = 0; n < t->nv; n++) {
                t->ahead[n] = t->x[n];
                t->c[n] += step * t->ldc;
                t->add[n] += t->add[n] ? step * t->add_ld : 0;
                t->sum[n] += t->sum[n] ? step * t->add_ld : 0;
            }
        }
    }
}

/* All channels for some rows and vectors. */
static void rows_product(const window *w, part *p)
{
    const ptq_conv_geometry *g = w->g;
    int64_t kc = block_channels(g);
    for (p->c0 = 0; p->c0 < g->cg; p->c0 += kc) {
        p->channels = min64(kc, g->cg - p->c0);
        if (w->near)
            copy_near(w, p);
        ptq_f32_window t = {.taps = (int)g->kvol, .channels = p->channels, .plane = w->near ? w->near_ld : w->src_plane,
                            .off = w->off, .mask_step = w->vectors, .ldc = w->merged ? w->ldc : g->osize,
                            .add_ld = g->osize, .first = p->c0 == 0, .last = p->c0 + kc >= g->cg, .act = w->act};
        block_product(w, p, &t);
    }
}

static int64_t part_from(const window *w, int64_t i)
{
    int64_t at = i * w->images * w->vectors / w->vparts;
    return i < w->vparts && w->tiles ? at / 3 * 3 : at;
}

static ptq_status task(void *arg, size_t index, int worker)
{
    const window *w = arg;
    const ptq_conv_geometry *g = w->g;
    int64_t parts = w->mparts * w->vparts, mp = (int64_t)index % parts % w->mparts, vp = (int64_t)index % parts / w->mparts;
    int64_t panels = div_up(g->mg, PTQ_A_PANEL), each = w->vparts / w->images;
    float *work = (float *)(void *)(w->scratch + (size_t)worker * w->per_worker);
    part p = {.group = (int64_t)index / parts, .block = w->merged ? work : NULL, .copy = work};
    if (w->near) {
        p.v[0] = vp / each * w->vectors + vp % each * w->vectors / each;
        p.v[1] = vp / each * w->vectors + (vp % each + 1) * w->vectors / each;
    } else {
        p.v[0] = part_from(w, vp);
        p.v[1] = part_from(w, vp + 1);
    }
    int64_t end = min64((mp + 1) * panels / w->mparts * PTQ_A_PANEL, g->mg);
    for (int64_t r = mp * panels / w->mparts * PTQ_A_PANEL; r < end; r += ROWS) {
        p.i[0] = r;
        p.i[1] = min64(r + ROWS, end);
        rows_product(w, &p);
        if (w->merged)
            scatter(w, work, p.group * g->mg + r, p.i[1] - r, p.v[0] * LANES,
                    min64(p.v[1] * LANES, w->columns) - p.v[0] * LANES);
    }
    return PTQ_OK;
}

/* Tasks of equal size, a multiple of the threads: columns are divided first, where they are few rows of weights. */
static void divide(const ptq_cpu *c, window *w)
{
    const ptq_conv_geometry *g = w->g;
    int64_t threads = ptq_pool_threads(c->pool), all = w->images * w->vectors, panels = div_up(g->mg, PTQ_A_PANEL);
    w->mparts = 1;
    w->vparts = w->near ? w->images * (w->vectors / NEAR) : div_up(all, VECTORS);
    if (threads > 1 && g->group * w->vparts < 2 * threads && panels >= 2 * threads) {
        bool fine = panels % (2 * threads) == 0 || panels >= 8 * threads;
        w->mparts = fine ? 2 * threads : threads;
    } else if (g->group * w->vparts % threads != 0) {
        int64_t unit = w->near ? w->images : 1, parts = w->vparts / unit;
        parts = div_up(parts, threads) * threads * unit;
        if (all >= 3 * parts)
            w->vparts = parts;
        else if (!w->near)
            w->vparts = min64(all, threads);
    }
    /* Whole tiles are a little faster, but threads must not wait for one who has a tile more. */
    w->tiles = all >= 6 * w->vparts && (threads == 1 || all / w->vparts % 3 == 0);
    w->ldc = (div_up(all, w->vparts) + VECTORS) * LANES;
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

/* Memory for the channels of a block; rows lie an odd number of lines apart. */
static size_t near_bytes(window *w)
{
    const ptq_conv_geometry *g = w->g;
    int64_t n = w->src_plane;
    w->reach[0] = w->reach[1] = 0;
    for (int64_t t = 0, off; t < g->kvol; t++) {
        ptq_conv_tap_mask(g, t, 0, w->columns, &off, NULL);
        w->reach[0] = min64(w->reach[0], off);
        w->reach[1] = off > w->reach[1] ? off : w->reach[1];
    }
    n = min64(n, (w->vectors * w->images / w->vparts + 1) * LANES + w->reach[1] - w->reach[0]);
    w->near_ld = (div_up(n, LANES) | 1) * LANES;
    return (size_t)(w->near_ld * min64(block_channels(g), g->cg) + LANES) * sizeof(float) / 64 * 64 + 64;
}

/* Some images; x and y of v are those of the first. */
static ptq_status run_images(ptq_cpu *c, const ptq_conv_window *v)
{
    const ptq_conv_geometry *g = v->g;
    window w = {.v = v, .g = g, .f = ptq_cpu_f32(c), .merged = merges(g), .split = g->isize != g->osize};
    bool apart = w.merged && v->add; /* the sum goes over the results in their places */
    w.act = apart ? (ptq_act){0} : v->act;
    w.y = v->pre ? v->pre : v->y;
    w.images = w.merged ? 1 : g->batch;
    w.columns = w.merged ? g->batch * g->osize : g->osize;
    w.vectors = div_up(w.columns, LANES);
    bool copied = w.merged || w.split;
    w.src_plane = copied ? (w.split ? split_floats(g) : g->isize) * g->batch / w.images : g->isize;
    w.src_image = g->c * w.src_plane;
    w.near = (g->kvol > 1 || g->mg >= NEAR_ROWS) && !w.merged && w.src_plane % 1024 == 0 && w.vectors >= NEAR;
    divide(c, &w);
    bool masks = g->kvol > 1 || w.columns % LANES != 0 || g->pad[0] || g->pad[1] || g->pad[2];
    size_t off_bytes = ((size_t)g->kvol * sizeof(int64_t) + 63) / 64 * 64;
    size_t mask_bytes = masks ? ((size_t)(g->kvol * w.vectors) * sizeof(uint16_t) + 63) / 64 * 64 : 0;
    size_t src_bytes = copied ? (size_t)(w.images * w.src_image) * sizeof(float) / 64 * 64 + 128 : 0;
    w.per_worker = w.merged ? (size_t)(ROWS * w.ldc) * sizeof(float) : w.near ? near_bytes(&w) : 0;
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
    PTQ_TRY(ptq_pool_for(c->pool, (size_t)(g->group * w.mparts * w.vparts), task, &w));
    return apart ? ptq_conv_add(c, w.y, v->add, v->y, g->batch * g->m * g->osize, v->act) : PTQ_OK;
}

ptq_status ptq_conv_run_window(ptq_cpu *c, const ptq_conv_window *v)
{
    enum { COPY_FLOATS = 1 << 19, FILL = 12 * LANES }; /* copies stay in the caches, vectors are filled */
    ptq_conv_geometry g = *v->g;
    int64_t piece = g.batch, fit = COPY_FLOATS / (g.c * g.isize), fill = div_up(FILL, g.osize);
    if (g.isize != g.osize || merges(&g))
        piece = min64(piece, fit > fill ? fit : fill);
    for (int64_t i = 0; i < v->g->batch; i += piece) {
        ptq_conv_window some = *v;
        g.batch = min64(piece, v->g->batch - i);
        some.g = &g;
        some.x += i * g.c * g.isize;
        some.y += i * g.m * g.osize;
        some.add += some.add ? i * g.m * g.osize : 0;
        some.pre += some.pre ? i * g.m * g.osize : 0;
        PTQ_TRY(run_images(c, &some));
    }
    return PTQ_OK;
}
