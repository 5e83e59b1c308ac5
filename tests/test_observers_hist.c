/* SPDX-License-Identifier: Apache-2.0 */
/* The histogram against plain counting, and the bins that the range algorithms see. */
#include "tests/stats_kit.h"

#include <float.h>

#include "lib/observers/scan.h"

/* One counter per bin, plain loops: what the fast path must equal. */
static void naive(const float *v, size_t n, uint64_t *counts, ptq_summary *s, uint64_t *zeros)
{
    *s = PTQ_SUMMARY_EMPTY;
    *zeros = 0;
    memset(counts, 0, sizeof(uint64_t) << 18);
    for (size_t i = 0; i < n; i++) {
        uint32_t u = ptq_float_bits(v[i]);
        if (isnan(v[i])) {
            s->nan++;
        } else if (isinf(v[i])) {
            s->pos_inf += v[i] > 0;
            s->neg_inf += v[i] < 0;
        } else {
            s->finite++;
            s->min = v[i] < s->min ? v[i] : s->min;
            s->max = v[i] > s->max ? v[i] : s->max;
            if (v[i] == 0)
                (*zeros)++;
            else
                counts[u >> 14]++;
        }
    }
}

START_TEST(hist__equals_naive_count)
{
    static float v[STK_VALUES];
    static uint64_t want[1 << 18];
    size_t n = stk_fill((size_t)_i, v);
    /* Lengths around the lanes and the chunk, at odd addresses. */
    static const size_t lengths[] = {0, 1, 7, 8, 9, 15, 2047, 2048, 2049, 4101, STK_VALUES - 3};
    for (size_t k = 0; k < PTQ_COUNT(lengths); k++) {
        size_t len = lengths[k] < n ? lengths[k] : n, at = len + 3 <= n ? 3 : 0;
        ptq_summary summary;
        uint64_t zeros;
        naive(v + at, len, want, &summary, &zeros);
        ptq_tensor_stats *s = stk_new();
        ck_assert_ok(ptq_stats_observe(s, v + at, len, 1, NULL, -1));
        ck_assert(ptq_summary_equal(&s->summary, &summary));
        ck_assert(!(s->summary.finite && (signbit(s->summary.min) && s->summary.min == 0)));
        ck_assert_uint_eq(s->hist.zeros, zeros);
        ck_assert_uint_eq(ptq_hist_total(&s->hist), summary.finite);
        int wrong = 0; /* an assertion per bin would take seconds */
        for (int32_t o = 0; o < PTQ_HIST_OCTAVES; o++) {
            uint64_t c[PTQ_HIST_BINS];
            ptq_hist_counts(&s->hist, o, c);
            for (int b = 0; b < PTQ_HIST_BINS; b++)
                wrong += c[b] != want[o * PTQ_HIST_BINS + b];
        }
        ck_assert_int_eq(wrong, 0);
        ptq_summary scanned = PTQ_SUMMARY_EMPTY;
        ptq_summary_scan(v + at, len, &scanned);
        ck_assert(ptq_summary_equal(&scanned, &summary));
        ptq_stats_free(s);
    }
}
END_TEST

/* Counters that are due: as many as the piece before may have left, and each of them once. */
static void check_due(int form, const float *v, size_t runs, size_t len, const uint32_t *want, size_t kept)
{
    enum { COUNTERS = 600 };
    static const size_t due[] = {0, 1, 3, 16, 17, 700, 2047, PTQ_SCAN_CHUNK};
    static uint32_t got[PTQ_SCAN_CHUNK + PTQ_SCAN_LANES], index[PTQ_SCAN_CHUNK], counts[COUNTERS], naive[COUNTERS];
    static ptq_extremes e[PTQ_SCAN_CHUNK];
    for (size_t k = 0; k < PTQ_COUNT(due); k++) {
        uint32_t least = UINT32_MAX;
        memset(counts, 0, sizeof counts);
        memset(naive, 0, sizeof naive);
        for (size_t i = 0; i < due[k]; i++) {
            index[i] = (uint32_t)(i % 5 ? i * 7919 % COUNTERS : 42);
            naive[index[i]]++;
        }
        ck_assert_uint_eq(ptq_scan_form(form)(v, runs, len, &(ptq_due){counts, index, due[k]}, got, e, &least), kept);
        ck_assert_mem_eq(counts, naive, sizeof counts);
        ck_assert_mem_eq(got, want, kept * sizeof *got);
    }
}

/* The loops of all instruction sets of this machine, on runs of many lengths. */
START_TEST(scan__forms_agree)
{
    static float v[STK_VALUES];
    static uint32_t want[PTQ_SCAN_CHUNK + PTQ_SCAN_LANES], got[PTQ_SCAN_CHUNK + PTQ_SCAN_LANES];
    static ptq_extremes a[PTQ_SCAN_CHUNK], b[PTQ_SCAN_CHUNK], c[PTQ_SCAN_CHUNK];
    static const size_t lengths[] = {1, 7, 8, 9, 15, 16, 17, 31, 33, 100, 2047, 2048};
    const size_t n = stk_fill((size_t)_i, v);
    const ptq_due none = {0};
    for (int form = 0; form < PTQ_SCAN_FORMS; form++)
        for (size_t k = 0; k < PTQ_COUNT(lengths) && ptq_scan_form(form); k++) {
            const size_t len = lengths[k] < n ? lengths[k] : n, at = len + 3 <= n ? 3 : 0;
            const size_t runs = (n - at < PTQ_SCAN_CHUNK ? n - at : PTQ_SCAN_CHUNK) / len;
            uint32_t la = UINT32_MAX, lb = UINT32_MAX, lc = UINT32_MAX;
            const size_t kept = ptq_scan_form(0)(v + at, runs, len, &none, want, a, &la);
            size_t nonzero = 0;
            for (size_t i = 0; i < runs * len; i++)
                nonzero += v[at + i] != 0; /* NaN is not */
            ck_assert_uint_eq(kept, nonzero);
            ck_assert_uint_eq(ptq_scan_form(form)(v + at, runs, len, &none, got, b, &lb), kept);
            ck_assert_uint_eq(ptq_scan_form(form)(v + at, runs, len, &none, NULL, c, &lc), 0);
            check_due(form, v + at, runs, len, want, kept);
            ck_assert(la == lb && la == lc);
            ck_assert_mem_eq(a, b, runs * sizeof *a);
            ck_assert_mem_eq(a, c, runs * sizeof *a);
            ck_assert_mem_eq(got, want, kept * sizeof *got);
        }
}
END_TEST

/* Counters of 32 bits are emptied before they could overflow. */
START_TEST(hist__counters_do_not_overflow)
{
    static const float v[] = {1.0f, -2.0f, 0.0f, 1.0f};
    uint64_t c[PTQ_HIST_BINS];
    ptq_tensor_stats *s = stk_new();
    ck_assert_ok(ptq_stats_observe(s, v, 4, 0, NULL, -1));
    s->hist.pending = UINT32_MAX - 3; /* as after so many values */
    ck_assert_ok(ptq_stats_observe(s, v, 4, 0, NULL, -1));
    ck_assert_uint_eq(s->hist.pending, 4);
    ck_assert_uint_eq(s->hist.stored.n, 2);
    ck_assert(ptq_hist_counts(&s->hist, 127, c) && c[0] == 4);
    ck_assert(ptq_hist_counts(&s->hist, 256 + 128, c) && c[0] == 2);
    ck_assert_uint_eq(ptq_hist_total(&s->hist), 8);
    ptq_stats_free(s);
}
END_TEST

START_TEST(hist__every_bin_holds_its_values)
{
    ptq_rng r;
    ptq_rng_seed(&r, 5);
    for (int i = 0; i < 20000; i++) {
        float x = ptq_bits_float((uint32_t)ptq_rng_u64(&r));
        if (!isfinite(x) || x == 0)
            continue;
        double lo, hi;
        ptq_hist_edges((int32_t)(ptq_float_bits(x) >> 23), (int)(ptq_float_bits(x) >> 14 & 511), &lo, &hi);
        ck_assert(x > 0 ? lo <= (double)x && (double)x < hi : lo < (double)x && (double)x <= hi);
        if (fabsf(x) >= FLT_MIN)
            ck_assert(hi - lo <= fabs((double)x) * 0x1p-9);
    }
    double lo, hi;
    ptq_hist_edges(254, 511, &lo, &hi);
    ck_assert(isfinite(hi) && hi == 0x1p128);
}
END_TEST

START_TEST(bins__ascending_and_cut)
{
    static float v[STK_VALUES];
    size_t n = stk_fill((size_t)_i, v), nbins;
    ptq_tensor_stats *s = stk_new();
    ck_assert_ok(ptq_stats_observe(s, v, n, 0, NULL, -1));
    ptq_bin *bins;
    ck_assert_ok(ptq_stats_bins(s, &bins, &nbins));
    uint64_t total = 0;
    for (size_t i = 0; i < nbins; i++) {
        ck_assert(bins[i].lo <= bins[i].hi && bins[i].count > 0);
        ck_assert(i == 0 || bins[i - 1].hi <= bins[i].lo);
        total += bins[i].count;
    }
    ck_assert_uint_eq(total, s->summary.finite);
    if (nbins) {
        ck_assert(bins[0].lo == (double)s->summary.min);
        ck_assert(bins[nbins - 1].hi == (double)s->summary.max);
    }
    free(bins);
    ptq_stats_free(s);
}
END_TEST

START_TEST(bins__linear_keeps_spikes)
{
    /* Relu6: 1000 zeros, 500 ones, 300 times the maximum, 200 of 2.5. */
    float v[2000];
    for (int i = 0; i < 2000; i++)
        v[i] = i < 1000 ? 0.0f : i < 1500 ? 1.0f : i < 1800 ? 6.0f : 2.5f;
    ptq_tensor_stats *s = stk_new();
    ck_assert_ok(ptq_stats_observe(s, v, 2000, 0, NULL, -1));
    ptq_bin *bins;
    size_t n;
    ck_assert_ok(ptq_stats_bins(s, &bins, &n));
    double h[12];
    ptq_bins_linear(bins, n, 0, 6, true, 12, h);
    ck_assert(h[0] == 1000 && h[2] == 500 && h[5] == 200 && h[11] == 300);
    ptq_bins_linear_abs(bins, n, 6, false, 12, h);
    ck_assert(h[0] == 0 && h[2] == 500 && h[5] == 200 && h[11] == 300);
    free(bins);
    for (int i = 0; i < 2000; i++)
        v[i] = -v[i];
    ptq_stats_free(s);
    s = stk_new();
    ck_assert_ok(ptq_stats_observe(s, v, 2000, 0, NULL, -1));
    ck_assert_ok(ptq_stats_bins(s, &bins, &n));
    ptq_bins_linear(bins, n, -6, 0, true, 12, h);
    ck_assert(h[0] == 300 && h[11] == 1000 && h[6] + h[7] == 200 && h[9] + h[10] == 500);
    ptq_bins_linear_abs(bins, n, 6, true, 12, h);
    ck_assert(h[0] == 1000 && h[2] == 500 && h[5] == 200 && h[11] == 300);
    free(bins);
    ptq_stats_free(s);
}
END_TEST

START_TEST(bins__linear_approaches_true_histogram)
{
    /* Against counts of the values themselves: linear bins much wider than the histogram's. */
    enum { N = 200000, LINEAR = 32 };
    float *v = malloc(N * sizeof *v);
    double want[LINEAR] = {0}, got[LINEAR], total = 0;
    ptq_rng r;
    ptq_rng_seed(&r, 4);
    for (int i = 0; i < N; i++)
        v[i] = ptq_rng_normal(&r);
    ptq_tensor_stats *s = stk_new();
    ck_assert_ok(ptq_stats_observe(s, v, N, 0, NULL, -1));
    double lo = (double)s->summary.min, hi = (double)s->summary.max;
    for (int i = 0; i < N; i++) {
        int k = (int)(((double)v[i] - lo) / (hi - lo) * LINEAR);
        want[k < LINEAR ? k : LINEAR - 1] += 1;
    }
    ptq_bin *bins;
    size_t n;
    ck_assert_ok(ptq_stats_bins(s, &bins, &n));
    ptq_bins_linear(bins, n, lo, hi, true, LINEAR, got);
    for (int k = 0; k < LINEAR; k++) {
        total += got[k];
        ck_assert(fabs(got[k] - want[k]) <= 20 + 0.01 * want[k]);
    }
    ck_assert_double_eq_tol(total, N, 1e-6);
    free(bins);
    free(v);
    ptq_stats_free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("observers_hist");
    TCase *t = tcase_create("hist");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, hist__equals_naive_count, 0, STK_KINDS);
    tcase_add_loop_test(t, scan__forms_agree, 0, STK_KINDS);
    tcase_add_test(t, hist__counters_do_not_overflow);
    tcase_add_test(t, hist__every_bin_holds_its_values);
    tcase_add_loop_test(t, bins__ascending_and_cut, 0, STK_KINDS);
    tcase_add_test(t, bins__linear_keeps_spikes);
    tcase_add_test(t, bins__linear_approaches_true_histogram);
    suite_add_tcase(s, t);
    return unit_run(s);
}
