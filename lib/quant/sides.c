/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/sides.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CELLS = 1024,
    EXACT_LEVELS = 256, /* beyond, a level is narrower than a bin: the error is scale^2 / 12 */
};

static ptq_moments bin_moments(const ptq_bin *b, double upto)
{
    /* Even density over [lo, upto]. */
    const double m = b->hi > b->lo ? (double)b->count * ((upto - b->lo) / (b->hi - b->lo))
                                   : (double)b->count;
    return (ptq_moments){m, m * (b->lo + upto) / 2,
                         m * (b->lo * b->lo + b->lo * upto + upto * upto) / 3};
}

static ptq_moments plus(ptq_moments a, ptq_moments b)
{
    return (ptq_moments){a.mass + b.mass, a.sum + b.sum, a.square + b.square};
}

static size_t cell_of(const ptq_side *s, double x)
{
    double c = x / s->max * CELLS;
    return c < CELLS ? (size_t)c : CELLS;
}

/* Fills `before` and `first` from n bins; first[c] is the first bin that ends at or after the
 * start of cell c. */
static void index_side(ptq_side *s)
{
    s->max = s->n ? s->bins[s->n - 1].hi : 0.0;
    s->before[0] = (ptq_moments){0, 0, 0};
    for (size_t i = 0; i < s->n; i++)
        s->before[i + 1] = plus(s->before[i], bin_moments(&s->bins[i], s->bins[i].hi));
    size_t cell = 0;
    for (size_t i = 0; i < s->n; i++) {
        const size_t end = cell_of(s, s->bins[i].hi);
        while (cell <= end)
            s->first[cell++] = (uint32_t)i;
    }
    while (cell <= CELLS + 1)
        s->first[cell++] = s->n ? (uint32_t)(s->n - 1) : 0;
}

ptq_status ptq_sides_make(const ptq_tensor_stats *stats, ptq_sides *out)
{
    ptq_bin *bins;
    size_t n, neg = 0, pos = 0;
    PTQ_TRY(ptq_stats_bins(stats, &bins, &n));
    for (size_t i = 0; i < n; i++) {
        neg += bins[i].lo < 0;
        pos += bins[i].hi > 0;
    }
    const size_t cells = CELLS + 2;
    const size_t bytes = (neg + pos) * sizeof(ptq_bin) + (neg + pos + 2) * sizeof(ptq_moments) +
                         2 * cells * sizeof(uint32_t);
    char *block = ptq_calloc(1, bytes);
    if (!block) {
        free(bins);
        return ptq_fail_nomem();
    }
    ptq_sides s = {.block = block, .zeros = (double)stats->hist.zeros};
    ptq_side *const side[2] = {&s.neg, &s.pos};
    for (int k = 0; k < 2; k++) {
        side[k]->n = k ? pos : neg;
        side[k]->bins = (ptq_bin *)(void *)block;
        block += side[k]->n * sizeof(ptq_bin);
        side[k]->before = (ptq_moments *)(void *)block;
        block += (side[k]->n + 1) * sizeof(ptq_moments);
    }
    for (int k = 0; k < 2; k++, block += cells * sizeof(uint32_t))
        side[k]->first = (uint32_t *)(void *)block;
    for (size_t i = 0; i < neg; i++)
        s.neg.bins[neg - 1 - i] = (ptq_bin){-bins[i].hi, -bins[i].lo, bins[i].count};
    if (pos)
        memcpy(s.pos.bins, bins + (n - pos), pos * sizeof *bins);
    free(bins);
    index_side(&s.neg);
    index_side(&s.pos);
    s.total = s.zeros + s.neg.before[neg].mass + s.pos.before[pos].mass;
    *out = s;
    return PTQ_OK;
}

void ptq_sides_clear(ptq_sides *s)
{
    free(s->block);
    memset(s, 0, sizeof *s);
}

ptq_moments ptq_side_upto(const ptq_side *s, double x)
{
    if (s->n == 0 || x >= s->max)
        return s->before[s->n];
    const size_t cell = cell_of(s, x);
    size_t a = s->first[cell], b = s->first[cell + 1];
    while (a < b) { /* the first bin that ends after x */
        size_t mid = (a + b) / 2;
        if (s->bins[mid].hi > x)
            b = mid;
        else
            a = mid + 1;
    }
    while (a < s->n && s->bins[a].hi <= x)
        a++;
    if (a == s->n || s->bins[a].lo >= x)
        return s->before[a];
    return plus(s->before[a], bin_moments(&s->bins[a], x));
}

/* Sum of (x - v)^2 over the values between two points. */
static double about(ptq_moments from, ptq_moments to, double v)
{
    double e = (to.square - from.square) - 2 * v * (to.sum - from.sum) +
               v * v * (to.mass - from.mass);
    return e > 0 ? e : 0;
}

double ptq_side_error(const ptq_side *s, double scale, int32_t top)
{
    const ptq_moments all = s->before[s->n];
    const int32_t exact = top < EXACT_LEVELS ? top : EXACT_LEVELS;
    ptq_moments from = {0, 0, 0};
    double error = 0;
    for (int32_t k = 0; k < exact; k++) {
        const double edge = ((double)k + 0.5) * scale;
        if (edge >= s->max)
            return error + about(from, all, (double)k * scale);
        ptq_moments to = ptq_side_upto(s, edge);
        error += about(from, to, (double)k * scale);
        from = to;
    }
    if (top > exact) {
        ptq_moments to = ptq_side_upto(s, ((double)top - 0.5) * scale);
        error += (to.mass - from.mass) * scale * scale / 12;
        from = to;
    }
    return error + about(from, all, (double)top * scale);
}

double ptq_side_clip_error(const ptq_side *s, double last)
{
    return last >= s->max ? 0.0 : about(ptq_side_upto(s, last), s->before[s->n], last);
}
