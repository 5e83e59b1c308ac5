/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/quant/kl.h"
#include "lib/quant/range.h"

enum {
    LINEAR_BINS = 2048,
    COARSE = 8, /* of the search over both ends */
};

/* ln of what each non-empty bin of a level has in Q; the level is not empty. */
static double log_share(const ptq_kl *k, size_t from, size_t to)
{
    return log(k->mass[to] - k->mass[from]) - k->log_count[k->used[to] - k->used[from]];
}

static double level_term(const ptq_kl *k, size_t from, size_t to)
{
    return k->used[to] == k->used[from] ? 0 : (k->mass[to] - k->mass[from]) * log_share(k, from, to);
}

ptq_status ptq_kl_make(const double *hist, size_t n, ptq_kl *out)
{
    double *d = ptq_calloc(3 * (n + 1), sizeof *d);
    uint32_t *used = ptq_calloc(n + 1, sizeof *used);
    double *term = ptq_calloc(n + 1, PTQ_KL_SHORT * sizeof *term);
    if (!d || !used || !term) {
        free(d);
        free(used);
        free(term);
        return ptq_fail_nomem();
    }
    ptq_kl k = {.n = n, .hist = hist, .mass = d, .entropy = d + (n + 1), .used = used,
                .log_count = d + 2 * (n + 1), .term = term};
    for (size_t i = 0; i < n; i++) {
        k.mass[i + 1] = k.mass[i] + hist[i];
        k.entropy[i + 1] = k.entropy[i] + (hist[i] > 0 ? hist[i] * log(hist[i]) : 0);
        k.used[i + 1] = k.used[i] + (hist[i] > 0);
        k.log_count[i + 1] = log((double)(i + 1));
    }
    for (size_t i = 0; i < n; i++)
        for (size_t w = 1; w <= PTQ_KL_SHORT && i + w <= n; w++)
            term[i * PTQ_KL_SHORT + w - 1] = level_term(&k, i, i + w);
    *out = k;
    return PTQ_OK;
}

void ptq_kl_clear(ptq_kl *k)
{
    free(k->mass);
    free(k->used);
    free(k->term);
    memset(k, 0, sizeof *k);
}

double ptq_kl_divergence(const ptq_kl *k, size_t first, size_t last, size_t levels)
{
    const size_t width = last - first;
    const double below = k->mass[first], above = k->mass[k->n] - k->mass[last];
    const double inside = k->mass[last] - k->mass[first], all = k->mass[k->n];
    const double h0 = k->hist[first], h1 = k->hist[last - 1];
    if (!(inside > 0) || (below > 0 && h0 == 0) || (above > 0 && h1 == 0))
        return (double)INFINITY;
    /* sum of P ln P, and of P ln Q, before normalization */
    double p = k->entropy[last] - k->entropy[first], cross = 0;
    /* Level j ends before bin ceil((j + 1) * width / levels), stepped without division. */
    const size_t whole = width / levels, part = width % levels;
    size_t from = first, to = first, rest = levels - 1;
    for (size_t j = 0; j < levels; j++) {
        to += whole;
        rest += part;
        if (rest >= levels) {
            rest -= levels;
            to++;
        }
        if (to == from)
            continue;
        cross += to - from <= PTQ_KL_SHORT ? k->term[from * PTQ_KL_SHORT + (to - from) - 1] : level_term(k, from, to);
        if (from == first && below > 0)
            cross += below * log_share(k, from, to);
        if (to == last && above > 0)
            cross += above * log_share(k, from, to);
        from = to;
    }
    const double e0 = h0 + below, e1 = h1 + above;
    if (width == 1) {
        p = all * log(all);
    } else {
        if (below > 0)
            p += e0 * log(e0) - h0 * log(h0);
        if (above > 0)
            p += e1 * log(e1) - h1 * log(h1);
    }
    return (p - cross) / all - log(all) + log(inside);
}

size_t ptq_kl_search_end(const ptq_kl *k, size_t first, size_t levels)
{
    size_t best_end = k->n;
    double best = (double)INFINITY;
    for (size_t end = first + levels; end <= k->n; end++) {
        double d = ptq_kl_divergence(k, first, end, levels);
        if (d < best) {
            best = d;
            best_end = end;
        }
    }
    return best_end;
}

/* Magnitudes on [0, amax]; the threshold lies in the middle of the bin after the last one kept,
 * as in TensorRT's caches (a softmax output with amax 1 has scale 2048.5 / 2048 / 127). */
static ptq_status search_magnitude(const ptq_bin *bins, size_t nbins, double amax, size_t levels,
                                   double *threshold)
{
    double hist[LINEAR_BINS];
    ptq_kl k;
    ptq_bins_linear_abs(bins, nbins, amax, false, LINEAR_BINS, hist);
    PTQ_TRY(ptq_kl_make(hist, LINEAR_BINS, &k));
    size_t m = ptq_kl_search_end(&k, 0, levels);
    *threshold = ((double)m + 0.5) * (amax / LINEAR_BINS);
    ptq_kl_clear(&k);
    return PTQ_OK;
}

/* The end (or the start, when `start` moves) with the least divergence while the other one stays:
 * every COARSE-th first, then all around the best of these. The window keeps the bin of zero. */
static size_t search_side(const ptq_kl *k, size_t start, size_t end, size_t zero, size_t levels,
                          bool move_start)
{
    const size_t lo = move_start ? 0 : start + levels > zero + 1 ? start + levels : zero + 1;
    const size_t hi = !move_start ? k->n : end - levels < zero ? end - levels : zero;
    size_t best_at = move_start ? start : end;
    double best = ptq_kl_divergence(k, start, end, levels);
    for (int round = 0; round < 2; round++) {
        const size_t centre = best_at, step = round ? 1 : COARSE;
        size_t at = round && centre > lo + COARSE ? centre - COARSE : lo;
        const size_t stop = round && centre + COARSE < hi ? centre + COARSE : hi;
        for (; at <= stop; at += step) {
            double d = move_start ? ptq_kl_divergence(k, at, end, levels)
                                  : ptq_kl_divergence(k, start, at, levels);
            if (d < best) {
                best = d;
                best_at = at;
            }
        }
    }
    return best_at;
}

/* Both ends: a histogram over [min, max], the ends moved in turn (upper, lower, upper, lower). */
static ptq_status search_window(const ptq_bin *bins, size_t nbins, double min, double max,
                                size_t levels, double *low, double *high)
{
    double hist[LINEAR_BINS];
    ptq_kl k;
    const double width = (max - min) / LINEAR_BINS;
    size_t zero = (size_t)(-min / width), start = 0, end = LINEAR_BINS;
    zero = zero < LINEAR_BINS ? zero : LINEAR_BINS - 1;
    ptq_bins_linear(bins, nbins, min, max, false, LINEAR_BINS, hist);
    PTQ_TRY(ptq_kl_make(hist, LINEAR_BINS, &k));
    for (int round = 0; round < 2; round++) {
        end = search_side(&k, start, end, zero, levels, false);
        start = search_side(&k, start, end, zero, levels, true);
    }
    *low = start == 0 ? min : min + ((double)start - 0.5) * width;
    *high = min + ((double)end + 0.5) * width;
    ptq_kl_clear(&k);
    return PTQ_OK;
}

/* TensorRT's search over magnitudes where the grid is symmetric or the values have one sign, with
 * as many levels as the grid has for them (128 for symmetric int8, 256 for uint8 after Relu).
 * Otherwise the window's two ends are searched. Exact zeros are left out: after Relu they are
 * half of the values, cost nothing on any grid, and would hide the rest.
 * One sample is too few to tell outliers from values, and grids of more levels than the linear
 * histogram can tell apart gain nothing: both keep all values. */
static ptq_status entropy(const ptq_tensor_stats *stats, const ptq_range_options *options,
                          const ptq_grid *grid, double *low, double *high)
{
    const double min = (double)stats->summary.min, max = (double)stats->summary.max;
    const double amax = fmax(-min, max);
    const int64_t codes = (int64_t)grid->qmax - grid->qmin + 1;
    (void)options;
    *low = min;
    *high = max;
    if (stats->samples.samples == 1 || codes > LINEAR_BINS / 4 || amax == 0 ||
        amax / LINEAR_BINS == 0)
        return PTQ_OK;
    ptq_bin *bins;
    size_t nbins;
    ptq_status st;
    PTQ_TRY(ptq_stats_bins(stats, &bins, &nbins));
    if (grid->symmetric || min >= 0 || max <= 0) {
        const size_t levels = (size_t)(grid->symmetric ? (codes + 1) / 2 : codes);
        double t = amax;
        st = search_magnitude(bins, nbins, amax, levels, &t);
        *low = -t;
        *high = t;
    } else {
        st = search_window(bins, nbins, min, max, (size_t)codes, low, high);
    }
    free(bins);
    return st;
}

const ptq_range_algo ptq_range_entropy = {
    .name = "entropy",
    .summary = "least KL divergence, 2048 bins of |x| to 128 levels (TensorRT)",
    .solve = entropy,
};
