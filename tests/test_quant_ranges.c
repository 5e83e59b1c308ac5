/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/quant/kl.h"
#include "lib/quant/range.h"
#include "lib/quant/sides.h"
#include "tests/golden/quant_golden.h"

/* -- scales --------------------------------------------------------------------------------- */

START_TEST(grid__equals_onnxruntime)
{
    for (size_t i = 0; i < PTQ_COUNT(golden_scales); i++) {
        const struct golden_scale *g = &golden_scales[i];
        ptq_grid grid;
        float scale;
        int32_t z;
        ck_assert_ok(ptq_grid_make((ptq_dtype)g->dtype, g->symmetric, g->reduced, &grid));
        ptq_grid_scale(&grid, g->low, g->high, &scale, &z);
        ck_assert_msg(scale == g->scale && z == g->zero_point, "row %zu: %a %d, must be %a %d", i,
                      (double)scale, (int)z, (double)g->scale, g->zero_point);
    }
}
END_TEST

START_TEST(grid__edge_cases)
{
    static const float ends[][2] = {{0, 0},         {-0.0f, 0},      {5, 5},     {-5, -5},
                                    {0x1p-149f, 0x1p-140f}, {-FLT_MAX, FLT_MAX}, {0, FLT_MAX},
                                    {-1e-30f, 1e30f}, {-3, 1e-38f}, {0, 1e-40f}};
    static const ptq_dtype types[] = {PTQ_DT_U8, PTQ_DT_S8, PTQ_DT_U16, PTQ_DT_S16, PTQ_DT_S4,
                                      PTQ_DT_U4};
    for (size_t t = 0; t < PTQ_COUNT(types); t++) {
        for (int flags = 0; flags < 8; flags++) {
            ptq_grid g;
            int32_t lo, hi, z;
            ck_assert_ok(ptq_grid_make(types[t], flags & 1, flags & 2, &g));
            ck_assert(ptq_dtype_limits(types[t], &lo, &hi) && lo <= g.qmin && g.qmax <= hi);
            g.pow2 = flags & 4;
            for (size_t i = 0; i < PTQ_COUNT(ends); i++) {
                float s;
                ptq_grid_scale(&g, ends[i][0], ends[i][1], &s, &z);
                ck_assert(isfinite(s) && s >= PTQ_MIN_SCALE && z >= g.qmin && z <= g.qmax);
                int e;
                ck_assert(!g.pow2 || frexpf(s, &e) == 0.5f);
                /* 0.0 is exact; both ends lie within a step of what the codes reach. */
                ck_assert(ptq_dequantize(ptq_quantize(0.0f, s, z, lo, hi), s, z) == 0.0f);
                ck_assert(isfinite(ptq_dequantize(lo, s, z)) && isfinite(ptq_dequantize(hi, s, z)));
                if (ends[i][0] == 0 && ends[i][1] == 0) {
                    ck_assert(s == 1.0f);
                    continue;
                }
                if (ends[i][1] == FLT_MAX) /* the codes beyond the grid shape the scale too */
                    continue;
                ck_assert((double)ends[i][1] <= (double)(g.qmax - z + 1) * (double)s);
                ck_assert((double)ends[i][0] >= (double)(g.qmin - z - 1) * (double)s);
            }
        }
    }
    ptq_grid g;
    ck_assert_fails(ptq_grid_make(PTQ_DT_F32, true, false, &g), PTQ_ERR_UNSUPPORTED);
}
END_TEST

/* -- KL ------------------------------------------------------------------------------------- */

/* The counts of gen_quant.py. */
static void golden_histogram(int kind, int n, double *h)
{
    uint64_t s = 12345 + (uint64_t)kind;
    for (uint64_t i = 0; i < (uint64_t)n; i++) {
        s = (s * 1103515245 + 12345) & 0x7fffffff;
        const uint64_t r = s >> 16;
        uint64_t c;
        if (kind == 0)
            c = 400000000 / ((i + 20) * (i + 20));
        else if (kind == 1)
            c = r % (1 + 40000000 / ((i + 10) * (i + 10)));
        else if (kind == 2)
            c = 1000 + r % 100;
        else
            c = (i < (uint64_t)n / 4 ? 50000 / (1 + (i / 16) * (i / 16)) : 0) +
                (i + 1 == (uint64_t)n ? 7 : 0);
        h[i] = (double)c;
    }
}

START_TEST(kl__equals_term_by_term)
{
    double h[2048];
    ptq_kl k;
    for (size_t i = 0; i < PTQ_COUNT(golden_divergences); i++) {
        const struct golden_divergence *g = &golden_divergences[i];
        golden_histogram(g->kind, g->n, h);
        ck_assert_ok(ptq_kl_make(h, (size_t)g->n, &k));
        double d = ptq_kl_divergence(&k, (size_t)g->first, (size_t)g->last, (size_t)g->levels);
        ck_assert_msg(g->d < 0 ? isinf(d) : fabs(d - g->d) < 1e-10, "row %zu: %.15g", i, d);
        ptq_kl_clear(&k);
    }
    for (size_t i = 0; i < PTQ_COUNT(golden_kl); i++) {
        const struct golden_kl *g = &golden_kl[i];
        golden_histogram(g->kind, g->n, h);
        ck_assert_ok(ptq_kl_make(h, (size_t)g->n, &k));
        ck_assert_uint_eq(ptq_kl_search_end(&k, 0, (size_t)g->levels), g->end);
        ptq_kl_clear(&k);
    }
}
END_TEST

/* -- ranges of data ------------------------------------------------------------------------- */

enum { N = 20000 };
static float data[N];

/* Kinds of activations; returns the number of values. */
static size_t fill(size_t kind)
{
    ptq_rng r;
    ptq_rng_seed(&r, 40 + kind);
    for (int i = 0; i < N; i++) {
        float x = ptq_rng_normal(&r), y = ptq_rng_normal(&r);
        switch (kind) {
        case 0: data[i] = x; break;
        case 1: data[i] = x > 0 ? x : 0; break;                     /* Relu */
        case 2: data[i] = fminf(fmaxf(2 * x, 0), 6); break;         /* Relu6 */
        case 3: data[i] = x * y * y * y; break;                     /* heavy tails */
        case 4: data[i] = x / (1 + expf(-x)); break;                /* Swish */
        case 5: data[i] = x * 0.1f - 4; break;                      /* all negative */
        case 6: data[i] = i == 9 ? 300.0f : x; break;               /* one outlier */
        default: data[i] = i < 4 ? -50.0f : x > 0 ? x * 0.01f : 0; break;
        }
    }
    return N;
}
enum { KINDS = 8 };

static ptq_tensor_stats *observe(const float *v, size_t n, size_t samples)
{
    ptq_tensor_stats *s;
    ck_assert_ok(ptq_stats_new("t", PTQ_DT_F32, &s));
    for (size_t i = 0; i < samples; i++)
        ck_assert_ok(ptq_stats_observe(s, v + n / samples * i, n / samples, 0, NULL, -1));
    return s;
}

static void solve(const char *name, const ptq_tensor_stats *s, ptq_dtype t, bool symmetric,
                  float *lo, float *hi)
{
    const ptq_range_algo *a;
    ptq_grid g;
    ck_assert_ok(ptq_range_find(name, &a));
    ck_assert_ok(ptq_grid_make(t, symmetric, false, &g));
    ck_assert_ok(ptq_range_solve(a, s, NULL, &g, lo, hi));
}

/* Squared error of the values themselves. */
static double true_error(const float *v, size_t n, ptq_dtype t, float scale, int32_t z)
{
    int32_t lo = 0, hi = 0;
    double sum = 0;
    ptq_dtype_limits(t, &lo, &hi);
    for (size_t i = 0; i < n; i++) {
        double d = (double)ptq_dequantize(ptq_quantize(v[i], scale, z, lo, hi), scale, z) -
                   (double)v[i];
        sum += d * d;
    }
    return sum / (double)n;
}

START_TEST(range__minmax_and_mean)
{
    fill((size_t)_i);
    ptq_tensor_stats *s = observe(data, N, 10);
    double mean_lo = 0, mean_hi = 0;
    float lo = INFINITY, hi = -INFINITY, a, b;
    for (int k = 0; k < 10; k++) {
        float l = INFINITY, h = -INFINITY;
        for (int i = 0; i < N / 10; i++) {
            l = fminf(l, data[k * (N / 10) + i]);
            h = fmaxf(h, data[k * (N / 10) + i]);
        }
        mean_lo += (double)l / 10;
        mean_hi += (double)h / 10;
        lo = fminf(lo, l);
        hi = fmaxf(hi, h);
    }
    solve("minmax", s, PTQ_DT_U8, false, &a, &b);
    ck_assert(a == fminf(lo, 0) && b == fmaxf(hi, 0));
    solve("minmax", s, PTQ_DT_S8, true, &a, &b);
    ck_assert(b == fmaxf(-lo, hi) && a == -b);
    solve("mean_minmax", s, PTQ_DT_U8, false, &a, &b);
    ck_assert_double_eq_tol((double)a, fmin(mean_lo, 0), 1e-5 * (1 + fabs(mean_lo)));
    ck_assert_double_eq_tol((double)b, fmax(mean_hi, 0), 1e-5 * (1 + fabs(mean_hi)));
    ptq_stats_free(s);
}
END_TEST

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

START_TEST(range__percentile_of_sorted_values)
{
    static const double percents[] = {50, 90, 99, 99.9, 100};
    fill((size_t)_i);
    ptq_tensor_stats *s = observe(data, N, 10);
    const ptq_range_algo *algo;
    ck_assert_ok(ptq_range_find("percentile", &algo));
    for (size_t k = 0; k < PTQ_COUNT(percents); k++) {
        const double p = percents[k] / 100;
        ptq_range_options o = {.percentile = percents[k]};
        ptq_grid g;
        float a, b, sorted[N];
        ck_assert_ok(ptq_grid_make(PTQ_DT_U8, false, false, &g));
        ck_assert_ok(ptq_range_solve(algo, s, &o, &g, &a, &b));
        memcpy(sorted, data, sizeof sorted);
        qsort(sorted, N, sizeof *sorted, by_value);
        size_t cut = (size_t)((1 - p) / 2 * N + 1e-6);
        /* A bin is 2^-9 wide, and neighbours in rank may be further apart in the tails. */
        float want_b[2] = {fmaxf(sorted[N - 1 - cut - (cut + 1 < N / 2)], 0),
                           fmaxf(sorted[cut > 0 ? N - cut : N - 1], 0)};
        float want_a[2] = {fminf(sorted[cut > 0 ? cut - 1 : 0], 0), fminf(sorted[cut + 1], 0)};
        ck_assert_msg(b >= want_b[0] * (1 - 0x1p-8f) && b <= want_b[1] * (1 + 0x1p-8f),
                      "p %g: high %g, not in [%g, %g]", percents[k], (double)b, (double)want_b[0],
                      (double)want_b[1]);
        ck_assert(a >= want_a[0] * (1 + 0x1p-8f) && a <= want_a[1] * (1 - 0x1p-8f));
        ck_assert_ok(ptq_grid_make(PTQ_DT_S8, true, false, &g));
        ck_assert_ok(ptq_range_solve(algo, s, &o, &g, &a, &b));
        for (int i = 0; i < N; i++)
            sorted[i] = fabsf(data[i]);
        qsort(sorted, N, sizeof *sorted, by_value);
        size_t at = (size_t)(p * N + 0.5);
        at = at < 1 ? 1 : at;
        ck_assert(b >= sorted[at > 1 ? at - 2 : 0] * (1 - 0x1p-8f));
        ck_assert(b <= sorted[at < N ? at : N - 1] * (1 + 0x1p-8f));
    }
    ptq_range_options bad = {.percentile = 101};
    ptq_grid g;
    float a, b;
    ck_assert_ok(ptq_grid_make(PTQ_DT_S8, true, false, &g));
    ck_assert_fails(ptq_range_solve(algo, s, &bad, &g, &a, &b), PTQ_ERR_ARG);
    ptq_stats_free(s);
}
END_TEST

/* The expected error on the histogram is the error of the values, nearly. */
START_TEST(mse__histogram_error_is_true_error)
{
    fill((size_t)_i);
    ptq_tensor_stats *s = observe(data, N, 10);
    for (int k = 0; k < 4; k++) {
        ptq_grid g;
        float scale;
        int32_t z;
        double got;
        const float f = k & 1 ? 0.4f : 1.0f;
        ptq_dtype t = k & 2 ? PTQ_DT_U8 : PTQ_DT_S8;
        ck_assert_ok(ptq_grid_make(t, false, false, &g));
        ptq_grid_scale(&g, s->summary.min * f, s->summary.max * f, &scale, &z);
        ck_assert_ok(ptq_range_mse(s, t, scale, z, &got));
        double want = true_error(data, N, t, scale, z);
        /* Values of a spike sit on one point, where the histogram spreads them over their bin. */
        ck_assert_msg(fabs(got - want) <= 0.02 * want + 2e-5 * (double)(scale * scale),
                      "kind %d, %d: %g, must be %g", _i, k, got, want);
    }
    ptq_stats_free(s);
}
END_TEST

START_TEST(mse__not_worse_than_brute_force)
{
    fill((size_t)_i);
    const float *v = data;
    const size_t n = N / 10; /* every tenth of the values would do for the search, not for time */
    ptq_tensor_stats *s = observe(v, n, 10);
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        const ptq_dtype t = symmetric ? PTQ_DT_S8 : PTQ_DT_U8;
        ptq_grid g;
        float lo, hi, scale;
        int32_t z;
        ck_assert_ok(ptq_grid_make(t, symmetric, false, &g));
        solve("mse", s, t, symmetric, &lo, &hi);
        ptq_grid_scale(&g, lo, hi, &scale, &z);
        const double got = true_error(v, n, t, scale, z);
        double best = (double)INFINITY;
        for (int i = 0; i <= 40; i++) {
            for (int j = 0; j <= (symmetric || s->summary.min >= 0 ? 0 : 40); j++) {
                float a = s->summary.min * exp2f(-(float)j / 12);
                float b = (symmetric ? fmaxf(s->summary.max, -s->summary.min) : s->summary.max) *
                          exp2f(-(float)i / 12);
                ptq_grid_scale(&g, symmetric ? -b : a, b, &scale, &z);
                best = fmin(best, true_error(v, n, t, scale, z));
            }
        }
        ck_assert_msg(got <= best * 1.03, "kind %d, symmetric %d: %g, brute force %g", _i,
                      symmetric, got, best);
    }
    ptq_stats_free(s);
}
END_TEST

/* The search ends where no end that is moved by a 64th of an octave gives less error. */
START_TEST(mse__no_neighbour_is_better)
{
    fill((size_t)_i);
    ptq_tensor_stats *s = observe(data, N, 10);
    const float min = s->summary.min, max = s->summary.max;
    ptq_grid g;
    float lo, hi, scale;
    int32_t z;
    double least, e;
    ck_assert_ok(ptq_grid_make(PTQ_DT_U8, false, false, &g));
    solve("mse", s, PTQ_DT_U8, false, &lo, &hi);
    ptq_grid_scale(&g, lo, hi, &scale, &z);
    ck_assert_ok(ptq_range_mse(s, PTQ_DT_U8, scale, z, &least));
    for (int a = -1; a <= 1; a++)
        for (int b = -1; b <= 1; b++) {
            float l = lo * exp2f((float)a / 64), h = hi * exp2f((float)b / 64);
            ptq_grid_scale(&g, fmaxf(l, fminf(min, 0)), fminf(h, fmaxf(max, 0)), &scale, &z);
            ck_assert_ok(ptq_range_mse(s, PTQ_DT_U8, scale, z, &e));
            ck_assert_msg(e >= least * (1 - 1e-6), "kind %d: %g at [%g, %g], %g for %d, %d", _i, least,
                          (double)lo, (double)hi, e, a, b);
        }
    ptq_stats_free(s);
}
END_TEST

/* Magnitudes: 2048 bins up to the largest, as many levels as codes have magnitudes (128 of int8)
 * or, for values of one sign, codes (256 of uint8), and half a bin more than is kept. */
START_TEST(entropy__bins_and_levels)
{
    static const struct {
        size_t kind;
        ptq_dtype type;
        bool symmetric;
        size_t levels;
    } rows[] = {{0, PTQ_DT_S8, true, 128}, {3, PTQ_DT_S8, true, 128}, {4, PTQ_DT_S8, true, 128},
                {6, PTQ_DT_S8, true, 128}, {1, PTQ_DT_U8, false, 256}, {1, PTQ_DT_S8, true, 128}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        double h[2048];
        ptq_bin *bins;
        size_t n;
        ptq_kl k;
        float lo, hi;
        fill(rows[i].kind);
        ptq_tensor_stats *s = observe(data, N, 10);
        const double amax = (double)fmaxf(s->summary.max, -s->summary.min);
        ck_assert_ok(ptq_stats_bins(s, &bins, &n));
        ptq_bins_linear_abs(bins, n, amax, false, 2048, h);
        ck_assert_ok(ptq_kl_make(h, 2048, &k));
        double kept = ((double)ptq_kl_search_end(&k, 0, rows[i].levels) + 0.5) * amax / 2048;
        solve("entropy", s, rows[i].type, rows[i].symmetric, &lo, &hi);
        ck_assert_double_eq_tol((double)hi, fmin(kept, amax), 1e-6 * amax);
        ptq_kl_clear(&k);
        free(bins);
        ptq_stats_free(s);
    }
}
END_TEST

START_TEST(entropy__clips_tails_keeps_bulk)
{
    float lo, hi;
    fill(0);
    ptq_tensor_stats *s = observe(data, N, 10);
    solve("entropy", s, PTQ_DT_S8, true, &lo, &hi);
    ck_assert(hi > 2 && hi <= fmaxf(s->summary.max, -s->summary.min) && lo == -hi);
    solve("entropy", s, PTQ_DT_U8, false, &lo, &hi);
    ck_assert(lo < -2 && hi > 2);
    ptq_stats_free(s);
    s = observe(data, N, 1); /* one sample: all values */
    solve("entropy", s, PTQ_DT_U8, false, &lo, &hi);
    ck_assert(lo == s->summary.min && hi == s->summary.max);
    ptq_stats_free(s);
    fill(3);
    s = observe(data, N, 10);
    solve("entropy", s, PTQ_DT_S8, true, &lo, &hi);
    ck_assert(hi < 0.8f * fmaxf(s->summary.max, -s->summary.min));
    solve("entropy", s, PTQ_DT_S16, true, &lo, &hi); /* more levels than bins: all values */
    ck_assert(hi == fmaxf(s->summary.max, -s->summary.min));
    ptq_stats_free(s);
    fill(1);
    s = observe(data, N, 10);
    solve("entropy", s, PTQ_DT_U8, false, &lo, &hi);
    ck_assert(lo == 0 && hi > 2);
    ptq_stats_free(s);
}
END_TEST

/* TensorRT's caches: a softmax output (amax 1) whose whole range is kept has scale
 * (2048.5 / 2048) / 127; ours is cut to the observed maximum, so the search is asked itself. */
START_TEST(entropy__flat_histogram_keeps_all)
{
    double h[2048];
    ptq_kl k;
    for (int i = 0; i < 2048; i++)
        h[i] = 10;
    ck_assert_ok(ptq_kl_make(h, 2048, &k));
    /* D = 0 where every level covers whole bins of equal mass; only without a pile: at the end. */
    ck_assert_uint_eq(ptq_kl_search_end(&k, 0, 128), 2048);
    ck_assert(fabs(ptq_kl_divergence(&k, 0, 2048, 128)) < 1e-12);
    ptq_kl_clear(&k);
}
END_TEST

/* Every algorithm on every grid: hard cases end in a finite range with a usable scale. */
START_TEST(ranges__conformance)
{
    static const struct {
        const char *what;
        float a, b;
        int n;
    } rows[] = {{"one value", 3, 3, 1},       {"constant", -2.5f, -2.5f, 100},
                {"zero", 0, -0.0f, 50},       {"two values", -1, 1, 100},
                {"subnormal", 1e-42f, -3e-41f, 64}, {"huge", FLT_MAX, -FLT_MAX, 64},
                {"mixed", 1e-30f, 1e30f, 64}, {"with NaN", 1, NAN, 64},
                {"with Inf", -INFINITY, 2, 64}};
    static const ptq_dtype types[] = {PTQ_DT_S8, PTQ_DT_U8, PTQ_DT_S16, PTQ_DT_U16};
    size_t n_algos;
    const ptq_range_algo *const *algos = ptq_range_algos(&n_algos);
    ck_assert_uint_ge(n_algos, 5);
    for (size_t r = 0; r < PTQ_COUNT(rows); r++) {
        float v[100];
        for (int i = 0; i < rows[r].n; i++)
            v[i] = i & 1 ? rows[r].b : rows[r].a;
        for (int samples = 1; samples <= (rows[r].n > 1 ? 2 : 1); samples++) {
            ptq_tensor_stats *s = observe(v, (size_t)rows[r].n, (size_t)samples);
            for (size_t k = 0; k < n_algos * PTQ_COUNT(types) * 4; k++) {
                const ptq_range_algo *algo = algos[k / 4 / PTQ_COUNT(types)];
                ptq_grid g;
                float lo, hi, scale;
                int32_t z;
                ck_assert_ok(ptq_grid_make(types[k / 4 % PTQ_COUNT(types)], k & 1, false, &g));
                g.pow2 = k & 2;
                ck_assert_ok(ptq_range_solve(algo, s, NULL, &g, &lo, &hi));
                ck_assert_msg(isfinite(lo) && isfinite(hi) && lo <= 0 && hi >= 0, "%s, %s: [%g, %g]",
                              rows[r].what, algo->name, (double)lo, (double)hi);
                ck_assert(!g.symmetric || lo == -hi);
                ck_assert(g.symmetric || (lo >= fminf(s->summary.min, 0) &&
                                          hi <= fmaxf(s->summary.max, 0)));
                ptq_grid_scale(&g, lo, hi, &scale, &z);
                ck_assert(isfinite(scale) && scale >= PTQ_MIN_SCALE);
                /* A constant must survive on every grid. */
                if (rows[r].a == rows[r].b && !g.pow2) {
                    int32_t qlo, qhi;
                    ptq_dtype_limits(g.dtype, &qlo, &qhi);
                    float y = ptq_dequantize(ptq_quantize(v[0], scale, z, qlo, qhi), scale, z);
                    ck_assert_msg(fabsf(y - v[0]) <= 0.02f * fabsf(v[0]), "%s %s: %g",
                                  rows[r].what, algo->name, (double)y);
                }
            }
            ptq_stats_free(s);
        }
    }
    ptq_tensor_stats *s = observe((float[]){NAN, INFINITY}, 2, 1);
    ptq_grid g;
    float lo, hi;
    ck_assert_ok(ptq_grid_make(PTQ_DT_S8, true, false, &g));
    for (size_t k = 0; k < n_algos; k++)
        ck_assert_fails(ptq_range_solve(algos[k], s, NULL, &g, &lo, &hi), PTQ_ERR_DATA);
    ptq_stats_free(s);
    const ptq_range_algo *algo;
    ck_assert_fails(ptq_range_find("entrpy", &algo), PTQ_ERR_ARG);
    ck_assert_says("entropy");
}
END_TEST

/* Negating all values mirrors the range. */
START_TEST(ranges__mirror)
{
    static const char *const names[] = {"minmax", "mean_minmax", "percentile", "mse"};
    fill((size_t)_i);
    ptq_tensor_stats *s = observe(data, N, 10);
    for (int i = 0; i < N; i++)
        data[i] = -data[i];
    ptq_tensor_stats *m = observe(data, N, 10);
    for (size_t k = 0; k < PTQ_COUNT(names); k++) {
        float a, b, c, d;
        solve(names[k], s, PTQ_DT_S8, true, &a, &b);
        solve(names[k], m, PTQ_DT_S8, true, &c, &d);
        /* int8 has one negative code more than positive ones, which moves the flat minimum. */
        ck_assert_msg(fabsf(b - d) <= 0.05f * b, "%s: %g, mirrored %g", names[k], (double)b,
                      (double)d);
    }
    ptq_stats_free(s);
    ptq_stats_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ranges");
    TCase *t = tcase_create("ranges");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, grid__equals_onnxruntime);
    tcase_add_test(t, grid__edge_cases);
    tcase_add_test(t, kl__equals_term_by_term);
    tcase_add_loop_test(t, range__minmax_and_mean, 0, KINDS);
    tcase_add_loop_test(t, range__percentile_of_sorted_values, 0, KINDS);
    tcase_add_loop_test(t, mse__histogram_error_is_true_error, 0, KINDS);
    tcase_add_loop_test(t, mse__not_worse_than_brute_force, 0, KINDS);
    tcase_add_loop_test(t, mse__no_neighbour_is_better, 0, KINDS);
    tcase_add_test(t, entropy__bins_and_levels);
    tcase_add_test(t, entropy__clips_tails_keeps_bulk);
    tcase_add_test(t, entropy__flat_histogram_keeps_all);
    tcase_add_test(t, ranges__conformance);
    tcase_add_loop_test(t, ranges__mirror, 0, KINDS);
    suite_add_tcase(s, t);
    return unit_run(s);
}
