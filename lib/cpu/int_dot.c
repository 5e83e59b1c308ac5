/* SPDX-License-Identifier: Apache-2.0 */
/* Packed integer products: weights laid out for the tile kernels with the zero points folded into
 * the bias, rows of A gathered block by block, blocks shared out over the threads.
 *
 * With operands in bytes (a', w' shifted to u8 and s8)
 *   sum (a' - za)(w' - zw) = sum a' w' - za colsum(w') - zw rowsum(a') + K za zw,
 * all modulo 2^32. With 16-bit operands both zero points are subtracted while packing. */
#include <math.h>
#include <string.h>

#include "lib/cpu/int.h"

/* ---- weights ---- */

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

size_t ptq_int_packed_bytes(const ptq_int_dot *d, int64_t k, int64_t n)
{
    size_t kgroups = (size_t)((k + d->kgroup - 1) / d->kgroup);
    size_t npad = (size_t)round_up(n, d->lanes);
    return ptq_int_round64(npad * 4 * kgroups) + 3 * ptq_int_round64(npad * 4);
}

/* Whole groups of a column that lies in one run: s8 out of s8 or u8, their sum added to *sum. Returns how
 * many. */
static int64_t pack_run(const uint8_t *src, int64_t n, bool sgn, uint8_t *dst, size_t stride, uint32_t *sum)
{
    enum { FOURS = 0x00ff00ff, ADDS = 64 }; /* two sums in one word, while they fit 16 bits */
    int64_t k = 0;
    while (k + 4 <= n) {
        int64_t end = n - k < 4 * ADDS ? n : k + 4 * ADDS;
        uint32_t two = 0, first = (uint32_t)k;
        for (; k + 4 <= end; k += 4) {
            uint32_t four;
            memcpy(&four, src + k, 4);
            uint32_t up = sgn ? four ^ 0x80808080u : four, low = up ^ 0x80808080u; /* value + 128; value */
            memcpy(dst + (size_t)(k / 4) * stride, &low, 4);
            two += (up & FOURS) + (up >> 8 & FOURS);
        }
        *sum += (two & 0xffff) + (two >> 16) - 128 * ((uint32_t)k - first);
    }
    return k;
}

/* One column into its place: 4 bytes per k group, `stride` bytes from group to group. Returns the
 * sum of the packed values (bytes only). */
static int32_t pack_column(const ptq_int_dot *d, const ptq_int_b *b, int64_t n, int32_t zw, uint8_t *dst,
                           size_t stride)
{
    const uint8_t *src = (const uint8_t *)b->data + n * b->n_step;
    uint8_t flip_sign = b->sgn ? 0 : 0x80;
    uint32_t sum = 0;
    int64_t k = 0;
    if (d->bytes && b->k_step == 1) /* the column lies as it is wanted */
        k = pack_run(src, b->k, b->sgn, dst, stride, &sum);
    for (; k < b->k; k++) {
        uint8_t v = src[k * b->k_step];
        if (d->bytes) {
            v ^= flip_sign;
            dst[(size_t)(k / 4) * stride + (size_t)(k % 4)] = v;
            sum += (uint32_t)(int8_t)v;
        } else {
            int16_t w = (int16_t)((b->sgn ? (int32_t)(int8_t)v : (int32_t)v) - zw);
            memcpy(dst + (size_t)(k / 2) * stride + (size_t)(k % 2) * 2, &w, 2);
        }
    }
    return (int32_t)sum;
}

enum { PANEL = 64 }; /* columns of the widest panel */

/* The first `cols` columns (whole vectors) of a panel whose rows lie one behind the other. */
static void pack_rows(const ptq_int_dot *d, const ptq_int_b *b, int64_t n0, int64_t cols, const int32_t *zw,
                      uint8_t *dst, size_t stride, int32_t *sum)
{
    uint8_t none[PANEL];
    int16_t zp[2 * PANEL];
    uint8_t flip = d->bytes == b->sgn ? 0 : 0x80;
    for (int64_t n = 0; n < cols; n++) {
        int32_t z = d->bytes ? 0 : zw[n] + (b->sgn ? 128 : 0);
        zp[2 * n] = zp[2 * n + 1] = (int16_t)z;
        none[n] = (uint8_t)z ^ flip; /* packs to 0: rows past the end */
        sum[n] = 0;
    }
    const uint8_t *src = (const uint8_t *)b->data + n0;
    for (int64_t k = 0; k < b->k; k += d->kgroup, dst += stride) {
        const uint8_t *row[4];
        for (int i = 0; i < d->kgroup; i++)
            row[i] = k + i < b->k ? src + (k + i) * b->k_step : none;
        d->pack_b(dst, row, cols, flip, zp, sum);
    }
}

void ptq_int_pack(const ptq_int_dot *d, const ptq_int_b *b, void *mem, ptq_int_packed *out)
{
    const ptq_qlinear_params *p = b->p;
    ptq_int_packed w = {.n = b->n, .k = b->k, .small = true};
    w.kgroups = (b->k + d->kgroup - 1) / d->kgroup;
    w.npad = round_up(b->n, d->lanes);
    int64_t nr = (int64_t)d->nv * d->lanes;
    w.panels = (int)((b->n + nr - 1) / nr);
    uint8_t *at = mem;
    w.b = at;
    at += ptq_int_round64((size_t)w.npad * 4 * (size_t)w.kgroups);
    w.bias = (int32_t *)(void *)at;
    at += ptq_int_round64((size_t)w.npad * 4);
    w.wzp = (int32_t *)(void *)at;
    at += ptq_int_round64((size_t)w.npad * 4);
    w.mult = (float *)(void *)at;
    w.flip_a = b->a_sgn ? 0x80 : 0;
    w.za = p->x.zp + (w.flip_a ? 128 : 0);
    memset(w.bias, 0, (size_t)(at - (uint8_t *)w.bias) + (size_t)w.npad * 4);

    for (int64_t n0 = 0; n0 < b->n; n0 += nr) {
        int32_t zw[PANEL], sum[PANEL];
        int64_t valid = b->n - n0 < nr ? b->n - n0 : nr, cols = round_up(valid, d->lanes);
        int64_t fast = b->n_step == 1 ? valid / d->lanes * d->lanes : 0;
        size_t stride = (size_t)cols * 4;
        uint8_t *dst = (uint8_t *)w.b + (size_t)n0 * 4 * (size_t)w.kgroups;
        for (int64_t n = 0; n < valid; n++)
            zw[n] = ptq_int_wzp(p, b->c0 + n0 + n);
        if (fast < cols)
            memset(dst, 0, stride * (size_t)w.kgroups);
        if (fast > 0)
            pack_rows(d, b, n0, fast, zw, dst, stride, sum);
        for (int64_t n = fast; n < valid; n++)
            sum[n] = pack_column(d, b, n0 + n, zw[n], dst + n * 4, stride);
        for (int64_t n = 0; n < valid; n++) {
            uint32_t bias = p->bias ? (uint32_t)p->bias[b->c0 + n0 + n] : 0;
            if (d->bytes) {
                int32_t z = zw[n] - (b->sgn ? 0 : 128);
                bias += (uint32_t)w.za * ((uint32_t)z * (uint32_t)b->k - (uint32_t)sum[n]);
                w.wzp[n0 + n] = z;
                w.need_rowsum = w.need_rowsum || z != 0;
            }
            w.bias[n0 + n] = (int32_t)bias;
            w.mult[n0 + n] = ptq_int_mult(p, b->c0 + n0 + n);
            w.small = w.small && w.mult[n0 + n] <= 0.5f;
        }
    }
    *out = w;
}

/* ---- products ---- */

/* Rows of a block: the packed block should stay in the second-level cache beside a panel, and
 * there should be some blocks per thread. A multiple of both tile heights. */
static int64_t block_rows(const ptq_cpu *c, const ptq_int_dot *d, int64_t m, int64_t kgroups)
{
    int64_t unit = d->mr_narrow % d->mr == 0 ? d->mr_narrow : d->mr * d->mr_narrow;
    int64_t rows = 192 * 1024 / (kgroups * 4 + 1);
    int64_t fair = m / ((int64_t)ptq_pool_threads(c->pool) * 4) + 1;
    if (ptq_pool_threads(c->pool) > 1 && rows > fair)
        rows = fair;
    rows = rows > 240 ? 240 : rows;
    return round_up(rows < 1 ? 1 : rows, unit);
}

size_t ptq_int_product_scratch(const ptq_cpu *c, const ptq_int_dot *d, int64_t m, int64_t kgroups)
{
    size_t rows = (size_t)block_rows(c, d, m, kgroups);
    return (size_t)ptq_pool_threads(c->pool) *
           (ptq_int_round64(rows * (size_t)kgroups * 4) + ptq_int_round64(rows * 4));
}

typedef struct job {
    const ptq_int_dot *d;
    const ptq_int_product *g;
    int64_t rows, blocks;
    int splits;
} job;

/* The float results of a tile, rows of `ld` elements from row r and column n0 on, through the tail: columns of
 * one part. */
static void tail_part(const ptq_int_product *g, int m, int n, const ptq_product_part *part, float *v, size_t ld, int64_t r,
                      int64_t n0)
{
    const ptq_tail_params *p = &g->p->tail;
    const ptq_affine *y = &part->y;
    const ptq_qgrid grid = {part->qlo, part->qhi};
    const float *factor = part->factor == 1.0f ? NULL : &part->factor;
    for (int i = 0; i < m; i++, v += ld) {
        const float *add = g->add ? g->add + (r + i) * g->w->n + n0 : NULL;
        g->f->tail(v, p->bias ? p->bias + n0 : NULL, factor, p->gelu, add, n);
        if (!g->p->float_out)
            g->vec->quantize(v, g->y + (size_t)(r + i) * g->ldy + n0, (size_t)n, &y->scale, &y->zp, 0, grid);
    }
}

static void run_tail(const ptq_int_product *g, const ptq_int_tile *t, float *v, size_t ld, int64_t r, int64_t n0)
{
    int64_t end = n0 + t->n;
    for (int64_t n = n0; n < end;) {
        ptq_product_part part = ptq_part_of_channel(g->p, n);
        int64_t to = part.end < end ? part.end : end;
        tail_part(g, t->m, (int)(to - n), &part, v + (n - n0), ld, r, n);
        n = to;
    }
}

static void run_panel(const job *j, ptq_int_tile *t, const uint8_t *a, int64_t r0, int64_t rows,
                      const int32_t *rowsum, int panel)
{
    const ptq_int_dot *d = j->d;
    const ptq_int_packed *w = j->g->w;
    int64_t nr = (int64_t)d->nv * d->lanes, n0 = panel * nr;
    t->n = (int)(w->n - n0 < nr ? w->n - n0 : nr);
    int nv = (t->n + d->lanes - 1) / d->lanes;
    int mr = nv * 2 <= d->nv ? d->mr_narrow : d->mr;
    const ptq_int_skip *skip = j->g->skip;
    _Alignas(64) int32_t sums[PTQ_INT_TILE_SUMS];
    _Alignas(64) float part[PTQ_INT_TILE_SUMS];
    const bool tail = j->g->p->tail.on, aside = tail && !j->g->p->float_out;
    size_t es = j->g->p->float_out ? sizeof(float) : 1;
    t->b = (const uint8_t *)w->b + (size_t)n0 * 4 * (size_t)w->kgroups;
    t->bias = w->bias + n0;
    t->wzp = w->wzp + n0;
    t->mult = w->mult + n0;
    t->sums = skip ? sums : NULL;
    for (int64_t i = 0; i < rows; i += mr) {
        t->m = (int)(rows - i < mr ? rows - i : mr);
        t->a = a + (size_t)i * t->lda;
        t->rowsum = rowsum ? rowsum + i : NULL;
        t->y = aside ? (void *)part : j->g->y + (size_t)(r0 + i) * j->g->ldy + (size_t)n0 * es;
        t->ldy = aside ? (size_t)(nv * d->lanes) * sizeof(float) : j->g->ldy;
        if (skip) {
            t->skip = skip->x + (size_t)(r0 + i) * skip->ld + n0;
            t->ahead = panel + 1 < w->panels ? t->skip + nr : t->skip + (size_t)rows * skip->ld - n0;
        }
        d->tile(t, nv);
        if (tail)
            run_tail(j->g, t, t->y, t->ldy / sizeof(float), r0 + i, n0);
    }
}

/* How results become codes. */
static void set_range(const ptq_int_product *g, ptq_int_tile *t)
{
    enum { MOST = 1 << 20 }; /* times a code: below 2^28 */
    const ptq_qlinear_params *p = g->p;
    int32_t lo = p->qlo, hi = p->qhi;
    t->lo = (float)(p->qlo - p->y.zp);
    t->hi = (float)(p->qhi - p->y.zp);
    t->zy = p->y.zp;
    t->small = g->w->small;
    if (g->skip) {
        const ptq_residual *a = t->residual = &g->skip->law;
        bool rounded = a->kind == PTQ_RESIDUAL_ROUNDED;
        t->ld_skip = g->skip->ld;
        t->skip_sgn = g->skip->sgn;
        lo = rounded ? a->lo : lo;
        hi = rounded ? a->hi : hi;
        t->small = t->small && (rounded ? a->add.ra <= MOST && a->add.rb <= MOST && fabsf(a->add.fx) <= 256.0f * MOST
                                        : a->r <= MOST);
    }
    t->sgn = lo < 0;
    t->lo8 = 0x01010101u * (uint8_t)lo;
    t->hi8 = 0x01010101u * (uint8_t)hi;
}

static ptq_status run_block(void *arg, size_t i, int worker)
{
    const job *j = arg;
    const ptq_int_product *g = j->g;
    const ptq_int_packed *w = g->w;
    const ptq_qlinear_params *p = g->p;
    int64_t r0 = (int64_t)i / j->splits * j->rows;
    int64_t rows = g->m - r0 < j->rows ? g->m - r0 : j->rows;
    int split = (int)((int64_t)i % j->splits);
    size_t abytes = ptq_int_round64((size_t)j->rows * (size_t)w->kgroups * 4);
    uint8_t *pack = g->scratch + (size_t)worker * (abytes + ptq_int_round64((size_t)j->rows * 4));
    int32_t *rowsum = (int32_t *)(void *)(pack + abytes);
    ptq_int_tile t = {.kgroups = w->kgroups, .lda = (size_t)w->kgroups * 4, .ldy = g->ldy};
    t.float_out = p->float_out || p->tail.on;
    set_range(g, &t);
    const uint8_t *a = pack;
    if (g->direct) {
        a = g->direct + (size_t)r0 * g->direct_lda;
        t.lda = g->direct_lda;
    } else {
        g->fill(g->fill_ctx, pack, t.lda, r0, rows);
    }
    if (w->need_rowsum)
        for (int64_t r = 0; r < rows; r++)
            rowsum[r] = j->d->rowsum(a + (size_t)r * t.lda, w->k);
    for (int panel = w->panels * split / j->splits; panel < w->panels * (split + 1) / j->splits; panel++)
        run_panel(j, &t, a, r0, rows, w->need_rowsum ? rowsum : NULL, panel);
    return PTQ_OK;
}

ptq_status ptq_int_run_product(ptq_cpu *c, const ptq_int_dot *d, const ptq_int_product *g)
{
    if (g->m <= 0 || g->w->n <= 0)
        return PTQ_OK;
    job j = {.d = d, .g = g, .rows = block_rows(c, d, g->m, g->w->kgroups)};
    j.blocks = (g->m + j.rows - 1) / j.rows;
    j.splits = 1;
    int64_t want = (int64_t)ptq_pool_threads(c->pool) * 2;
    if (ptq_pool_threads(c->pool) > 1 && j.blocks < want) {
        int64_t s = (want + j.blocks - 1) / j.blocks;
        j.splits = (int)(s < g->w->panels ? s : g->w->panels);
    }
    return ptq_pool_for(c->pool, (size_t)j.blocks * (size_t)j.splits, run_block, &j);
}

/* ---- rows of A ---- */

void ptq_int_fill_rows(const void *ctx, uint8_t *dst, size_t lda, int64_t r0, int64_t n)
{
    const ptq_int_rows *g = ctx;
    int64_t es = g->d->bytes ? 1 : 2, k = g->w->k;
    for (int64_t r = r0; r < r0 + n; r++, dst += lda) {
        const uint8_t *src = g->a + r * g->row;
        uint8_t part[256];
        for (int64_t i = 0; i < k;) {
            int64_t len = k - i;
            const uint8_t *from = src + i;
            if (g->col != 1) {
                len = len < (int64_t)sizeof part ? len : (int64_t)sizeof part;
                for (int64_t e = 0; e < len; e++)
                    part[e] = src[(i + e) * g->col];
                from = part;
            }
            g->d->pack_a(dst + i * es, from, len, g->w->flip_a, g->w->za);
            i += len;
        }
        memset(dst + k * es, 0, lda - (size_t)(k * es));
    }
}

void ptq_int_set_rows(ptq_int_product *g, const ptq_int_rows *rows)
{
    g->fill = ptq_int_fill_rows;
    g->fill_ctx = rows;
    if (rows->d->bytes && rows->w->flip_a == 0 && rows->col == 1 && rows->w->k % 4 == 0) {
        g->direct = rows->a;
        g->direct_lda = (size_t)rows->row;
    }
}

/* ---- helpers of all kernels ---- */

typedef struct transpose_job {
    uint8_t *dst;
    const uint8_t *src;
    int64_t rows, cols;
    size_t size;
    int64_t bands; /* of 64 rows */
} transpose_job;

/* Tiles of 64 x 64, so that both sides stay in the first-level cache. */
#define TRANSPOSE(T)                                                                               \
    static void transpose_##T(T *restrict dst, const T *restrict src, int64_t rows, int64_t cols,  \
                              int64_t r0, int64_t r1)                                              \
    {                                                                                              \
        for (int64_t c0 = 0; c0 < cols; c0 += 64) {                                                \
            int64_t c1 = c0 + 64 < cols ? c0 + 64 : cols;                                          \
            for (int64_t c = c0; c < c1; c++)                                                      \
                for (int64_t r = r0; r < r1; r++)                                                  \
                    dst[c * rows + r] = src[r * cols + c];                                         \
        }                                                                                          \
    }
TRANSPOSE(uint8_t)
TRANSPOSE(uint16_t)
TRANSPOSE(uint32_t)
TRANSPOSE(uint64_t)

static void transpose_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const transpose_job *j = ctx;
    for (int64_t i = from; i < to; i++) {
        size_t base = (size_t)(i / j->bands) * (size_t)(j->rows * j->cols) * j->size;
        void *d = j->dst + base;
        const void *s = j->src + base;
        int64_t r0 = i % j->bands * 64, r1 = r0 + 64 < j->rows ? r0 + 64 : j->rows;
        if (j->size == 1)
            transpose_uint8_t(d, s, j->rows, j->cols, r0, r1);
        else if (j->size == 2)
            transpose_uint16_t(d, s, j->rows, j->cols, r0, r1);
        else if (j->size == 4)
            transpose_uint32_t(d, s, j->rows, j->cols, r0, r1);
        else
            transpose_uint64_t(d, s, j->rows, j->cols, r0, r1);
    }
}

ptq_status ptq_int_transpose(ptq_cpu *c, void *dst, const void *src, int64_t n, int64_t rows,
                             int64_t cols, size_t size)
{
    transpose_job j = {dst, src, rows, cols, size, (rows + 63) / 64};
    int64_t grain = 65536 / (64 * cols * (int64_t)size + 1) + 1;
    return ptq_cpu_ranges(c, n * j.bands, grain, transpose_range, &j);
}
