/* SPDX-License-Identifier: Apache-2.0 */
/* The histogram as intervals, and intervals spread over linear bins. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/observers/stats.h"

static size_t append_octave(const ptq_tensor_stats *s, int32_t id, ptq_bin *out)
{
    const double min = (double)s->summary.min, max = (double)s->summary.max;
    uint64_t counts[PTQ_HIST_BINS];
    size_t n = 0;
    ptq_hist_counts(&s->hist, id, counts);
    for (int i = 0; i < PTQ_HIST_BINS; i++) {
        const int b = id < 256 ? i : PTQ_HIST_BINS - 1 - i;
        if (counts[b] == 0)
            continue;
        ptq_bin bin = {.count = counts[b]};
        ptq_hist_edges(id, b, &bin.lo, &bin.hi);
        bin.lo = fmax(bin.lo, min);
        bin.hi = fmin(bin.hi, max);
        out[n++] = bin;
    }
    return n;
}

ptq_status ptq_stats_bins(const ptq_tensor_stats *s, ptq_bin **out, size_t *n)
{
    int32_t ids[PTQ_HIST_OCTAVES];
    const int octaves = ptq_hist_octaves(&s->hist, ids);
    *n = 0;
    *out = NULL;
    if (octaves == 0 && s->hist.zeros == 0)
        return PTQ_OK;
    ptq_bin *bins = ptq_calloc((size_t)octaves * PTQ_HIST_BINS + 1, sizeof *bins);
    if (!bins)
        return ptq_fail_nomem();
    size_t used = 0;
    for (int i = octaves - 1; i >= 0 && ids[i] >= 256; i--)
        used += append_octave(s, ids[i], bins + used);
    if (s->hist.zeros)
        bins[used++] = (ptq_bin){.count = s->hist.zeros};
    for (int i = 0; i < octaves && ids[i] < 256; i++)
        used += append_octave(s, ids[i], bins + used);
    *out = bins;
    *n = used;
    return PTQ_OK;
}

/* Adds `count` values spread evenly over [a, b], given in units of linear bins. */
static void spread(double *hist, size_t n, double a, double b, double count)
{
    const double top = (double)(n - 1);
    const double first = fmin(fmax(floor(a), 0.0), top), last = fmin(fmax(floor(b), 0.0), top);
    if (first == last || !(b > a)) {
        hist[(size_t)first] += count;
        return;
    }
    const double density = count / (b - a);
    hist[(size_t)first] += density * (first + 1.0 - a);
    for (size_t k = (size_t)first + 1; k < (size_t)last; k++)
        hist[k] += density;
    hist[(size_t)last] += density * (b - last);
}

void ptq_bins_linear(const ptq_bin *bins, size_t nbins, double lo, double hi, bool with_zeros,
                     size_t n, double *hist)
{
    const double width = (hi - lo) / (double)n;
    memset(hist, 0, n * sizeof *hist);
    for (size_t i = 0; i < nbins; i++) {
        if (!with_zeros && bins[i].lo == 0 && bins[i].hi == 0)
            continue;
        spread(hist, n, (bins[i].lo - lo) / width, (bins[i].hi - lo) / width,
               (double)bins[i].count);
    }
}

void ptq_bins_linear_abs(const ptq_bin *bins, size_t nbins, double hi, bool with_zeros, size_t n,
                         double *hist)
{
    const double width = hi / (double)n;
    memset(hist, 0, n * sizeof *hist);
    for (size_t i = 0; i < nbins; i++) {
        if (!with_zeros && bins[i].lo == 0 && bins[i].hi == 0)
            continue;
        const bool negative = bins[i].lo < 0;
        const double a = negative ? -bins[i].hi : bins[i].lo;
        const double b = negative ? -bins[i].lo : bins[i].hi;
        spread(hist, n, a / width, b / width, (double)bins[i].count);
    }
}
