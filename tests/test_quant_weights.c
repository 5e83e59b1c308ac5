/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/quant/log2.h"
#include "lib/quant/weight.h"

enum { C = 6, K = 40, N = C * K };
static float data[N];

/* [C, K] with channels of very different size; channel 2 is all zero, channel 3 constant. */
static void fill(void)
{
    ptq_rng r;
    ptq_rng_seed(&r, 11);
    for (int c = 0; c < C; c++) {
        for (int i = 0; i < K; i++) {
            float x = ptq_rng_normal(&r) * ldexpf(1.0f, 4 * c - 12);
            data[c * K + i] = c == 2 ? 0.0f : c == 3 ? -0.75f : x;
        }
    }
}

static ptq_weight weight(int axis)
{
    static const int64_t rows[2] = {C, K};
    return (ptq_weight){.name = "w", .data = data, .rank = 2, .dims = rows, .axis = axis};
}

static ptq_weight_codes quantize(const char *name, const ptq_weight *w,
                                 const ptq_weight_options *o, const ptq_weight_algo **algo)
{
    ptq_weight_codes q;
    const ptq_weight_algo *a;
    ck_assert_ok(ptq_weight_find(name, &a));
    ck_assert_ok(ptq_weight_quantize(a, w, o, &q));
    if (algo)
        *algo = a;
    return q;
}

START_TEST(linear__closed_form)
{
    fill();
    ptq_weight w = weight(0);
    ptq_weight_codes q = quantize("symmetric", &w, NULL, NULL);
    const int8_t *codes = q.codes;
    double error = 0;
    for (int c = 0; c < C; c++) {
        float amax = 0;
        for (int i = 0; i < K; i++)
            amax = fmaxf(amax, fabsf(data[c * K + i]));
        ck_assert(q.scale[c] == (amax > 0 ? (float)((double)amax / 127) : 1.0f));
        ck_assert_int_eq(q.zero_point[c], 0);
        for (int i = 0; i < K; i++) {
            const float x = data[c * K + i];
            ck_assert_int_eq(codes[c * K + i], (int)nearbyintf(x / q.scale[c]));
            error += pow((double)((float)codes[c * K + i] * q.scale[c]) - (double)x, 2);
        }
    }
    ck_assert_double_eq_tol(q.mse, error / N, 1e-12 * error);
    ptq_weight_codes_clear(&q);

    /* The same numbers with the channel last. */
    static float turned[N];
    for (int c = 0; c < C; c++) {
        for (int i = 0; i < K; i++)
            turned[i * C + c] = data[c * K + i];
    }
    ptq_weight t = {.name = "t", .data = turned, .rank = 2, .dims = (int64_t[]){K, C}, .axis = 1};
    ptq_weight_codes a = quantize("symmetric", &w, NULL, NULL);
    ptq_weight_codes b = quantize("symmetric", &t, NULL, NULL);
    for (int c = 0; c < C; c++) {
        ck_assert(a.scale[c] == b.scale[c]);
        for (int i = 0; i < K; i++)
            ck_assert_int_eq(((int8_t *)a.codes)[c * K + i], ((int8_t *)b.codes)[i * C + c]);
    }
    ptq_weight_codes_clear(&a);
    ptq_weight_codes_clear(&b);

    ptq_weight_options o = {.dtype = PTQ_DT_U8};
    q = quantize("asymmetric", &w, &o, NULL);
    for (int c = 0; c < C; c++) {
        float lo = 0, hi = 0;
        for (int i = 0; i < K; i++) {
            lo = fminf(lo, data[c * K + i]);
            hi = fmaxf(hi, data[c * K + i]);
        }
        if (hi > lo)
            ck_assert(q.scale[c] == (float)((double)(hi - lo) / 255));
        ck_assert(q.scale[c] > 0);
    }
    ptq_weight_codes_clear(&q);

    o = (ptq_weight_options){.reduced = true};
    q = quantize("symmetric", &w, &o, NULL);
    for (int i = 0; i < N; i++)
        ck_assert_int_le(abs(((int8_t *)q.codes)[i]), 64);
    ptq_weight_codes_clear(&q);
}
END_TEST

static double channel_error(const float *x, int64_t n, double s, int top)
{
    double e = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = fmin(fmax(rint((double)x[i] / s), -top), top) * s - (double)x[i];
        e += v * v;
    }
    return e;
}

START_TEST(mse__not_worse_than_brute_force)
{
    static float x[4096];
    for (int heavy = 0; heavy < 2; heavy++) {
        ptq_rng r;
        ptq_rng_seed(&r, 21);
        float amax = 0;
        for (int i = 0; i < 4096; i++) {
            float y = ptq_rng_normal(&r);
            x[i] = heavy ? y * ptq_rng_normal(&r) : y;
            amax = fmaxf(amax, fabsf(x[i]));
        }
        ptq_weight w = {.name = "w", .data = x, .rank = 1, .dims = (int64_t[]){4096}, .axis = -1};
        ptq_weight_codes q = quantize("mse", &w, NULL, NULL);
        ptq_weight_codes plain = quantize("symmetric", &w, NULL, NULL);
        double best = (double)INFINITY;
        for (int i = 0; i <= 300; i++)
            best = fmin(best, channel_error(x, 4096, (double)amax / 127 * (1 - i / 400.0), 127));
        ck_assert_msg(q.mse * 4096 <= best * 1.02, "%g, brute force %g", q.mse * 4096, best);
        ck_assert(q.mse <= plain.mse);
        ptq_weight_codes_clear(&q);
        ptq_weight_codes_clear(&plain);
    }
}
END_TEST

/* Nearest level in the log domain by logarithms. */
static int log2_reference(double r, int top)
{
    if (r == 0 || isnan(r))
        return 0;
    double e = rint(log2(fabs(r)));
    int level = e < 0 ? 0 : e > 20 ? 1 << 20 : 1 << (int)e;
    level = level < top ? level : top;
    return r < 0 ? -level : level;
}

START_TEST(log2__rounds_in_the_log_domain)
{
    ptq_rng r;
    ptq_rng_seed(&r, 31);
    for (int i = 0; i < 20000; i++) {
        float x = ldexpf(ptq_rng_uniform(&r) + 0.5f, (int)ptq_rng_below(&r, 14) - 4);
        x = i & 1 ? -x : x;
        ck_assert_int_eq(ptq_log2_level(x, 64), log2_reference((double)x, 64));
        ck_assert_int_eq(ptq_log2_level(x, 128), log2_reference((double)x, 128));
    }
    /* The floats around sqrt(2) 2^k and sqrt(1/2). */
    for (int k = 0; k < 6; k++) {
        ck_assert_int_eq(ptq_log2_level(ldexpf(0x1.6a09e6p+0f, k), 64), 1 << k);
        ck_assert_int_eq(ptq_log2_level(ldexpf(0x1.6a09e8p+0f, k), 64), 2 << k);
    }
    ck_assert_int_eq(ptq_log2_level(0x1.6a09e6p-1f, 64), 0);
    ck_assert_int_eq(ptq_log2_level(0x1.6a09e8p-1f, 64), 1);
    ck_assert_int_eq(ptq_log2_level(INFINITY, 64), 64);
    ck_assert_int_eq(ptq_log2_level(-INFINITY, 64), -64);
    ck_assert_int_eq(ptq_log2_level(NAN, 64), 0);
    ck_assert_int_eq(ptq_log2_level(-0.0f, 64), 0);
    ck_assert_int_eq(ptq_log2_level(FLT_TRUE_MIN, 64), 0);
}
END_TEST

START_TEST(log2__scale_near_brute_force)
{
    fill();
    for (int axis = -1; axis <= 0; axis++) {
        ptq_weight w = weight(axis);
        ptq_weight_codes q = quantize("log2", &w, NULL, NULL);
        double brute = 0;
        for (int64_t c = 0; c < q.channels; c++) {
            const float *x = data + (axis < 0 ? 0 : c * K);
            const int n = axis < 0 ? N : K;
            double best = (double)INFINITY, amax = 0;
            for (int i = 0; i < n; i++)
                amax = fmax(amax, fabs((double)x[i]));
            for (int j = -400; j <= 400 && amax > 0; j++) {
                double s = amax / 64 * exp2(j / 200.0), e = 0;
                for (int i = 0; i < n; i++)
                    e += pow(log2_reference((double)x[i] / s, 64) * s - (double)x[i], 2);
                best = fmin(best, e);
            }
            brute += amax > 0 ? best : 0;
        }
        ck_assert_msg(q.mse * N <= brute * 1.08, "axis %d: %g, brute force %g", axis, q.mse * N,
                      brute);
        for (int i = 0; i < N; i++) {
            int code = ((int8_t *)q.codes)[i], c = axis < 0 ? 0 : i / K;
            ck_assert_int_eq(code, log2_reference((double)(data[i] / q.scale[c]), 64));
        }
        ptq_weight_codes_clear(&q);
    }
}
END_TEST

START_TEST(table__levels_and_nearest)
{
    static const struct {
        const char *name;
        int steps;
    } rows[] = {{"log2x2", 2}, {"log2x16", 16}};
    fill();
    for (size_t k = 0; k < PTQ_COUNT(rows) * 2; k++) {
        const int steps = rows[k / 2].steps, axis = k & 1 ? 0 : -1;
        ptq_weight w = weight(axis);
        ptq_weight_codes q = quantize(rows[k / 2].name, &w, NULL, NULL);
        const uint8_t *codes = q.codes;
        ck_assert_int_eq(q.dtype, PTQ_DT_U8);
        ck_assert(q.table[0x80] == 0.0f);
        const double z = rint(steps * log2((double)q.table[0]));
        for (int m = 0; m < 128; m++) {
            const double level = exp2((z + m) / steps);
            ck_assert_double_eq_tol((double)q.table[m] / level, 1, 1e-7);
            ck_assert(m == 0 || q.table[0x80 | m] == -q.table[m]);
        }
        ck_assert(axis < 0 ? q.scale[0] == 1.0f : q.table[127] == 1.0f);
        for (int i = 0; i < N; i++) {
            const double s = (double)q.scale[axis < 0 ? 0 : i / K], x = (double)data[i] / s;
            const double lowest = exp2((z + (x < 0)) / steps), top = exp2((z + 127) / steps);
            const double y = (double)q.table[codes[i]];
            if (x == 0 || fabs(x) < lowest / 2) {
                ck_assert_uint_eq(codes[i], 0x80);
                continue;
            }
            ck_assert(y * x > 0);
            /* Half a step away in the log domain at most, unless at either end. */
            const double off = steps * (log2(fabs(x)) - log2(fabs(y)));
            ck_assert(fabs(off) <= 0.5 + 1e-5 || (fabs(x) < lowest && off < 0) ||
                      (fabs(x) > top && codes[i] % 128 == 127));
        }
        ptq_weight_codes_clear(&q);
    }
}
END_TEST

START_TEST(table__published_example)
{
    /* B5: z = rint(16 log2(c)) - 127; c = 1, so that code 127 is 1 and code 111 is 1/2. */
    static const float x[] = {1.0f, 0.5f, -0.5f, -1.0f, 0.0f, 0x1p-7f, 0x1p-20f, 0.51f, -0.0f};
    static const uint8_t want[] = {127, 111, 0x80 | 111, 0x80 | 127, 0x80, 15, 0x80, 111, 0x80};
    ptq_weight w = {.name = "w", .data = x, .rank = 1, .dims = (int64_t[]){9}, .axis = -1};
    ptq_weight_codes q = quantize("log2x16", &w, NULL, NULL);
    ck_assert_mem_eq(q.codes, want, 9);
    ptq_weight_codes_clear(&q);
}
END_TEST

/* Channels 1 and 2 hold nothing but zeros of either sign; the smallest float keeps 3 alive. */
START_TEST(dead__channels_on_any_axis)
{
    enum { D = 5 };
    float rows[D][2][3] = {{{0}}}, turned[2][3][D], middle[2][D][3];
    rows[0][0][1] = 1.0f;
    rows[2][1][0] = -0.0f;
    rows[3][1][2] = -FLT_TRUE_MIN;
    rows[4][0][0] = -2.0f;
    for (int i = 0; i < D * 6; i++) {
        const int c = i / 6, a = i / 3 % 2, b = i % 3;
        turned[a][b][c] = middle[a][c][b] = rows[c][a][b];
    }
    const struct {
        const float *data;
        int64_t dims[3];
        int axis, dead;
    } cases[] = {{&rows[0][0][0], {D, 2, 3}, 0, 2},
                 {&middle[0][0][0], {2, D, 3}, 1, 2},
                 {&turned[0][0][0], {2, 3, D}, 2, 2},
                 {&rows[0][0][0], {D, 2, 3}, -1, 0},
                 {&rows[1][0][0], {2, 2, 3}, -1, 1}};
    size_t n;
    const ptq_weight_algo *const *algos = ptq_weight_algos(&n);
    for (size_t k = 0; k < PTQ_COUNT(cases) * n; k++) {
        ptq_weight w = {.name = "w", .data = cases[k / n].data, .rank = 3, .dims = cases[k / n].dims,
                        .axis = cases[k / n].axis};
        ptq_weight_codes q = quantize(algos[k % n]->name, &w, NULL, NULL);
        ck_assert_int_eq(q.dead, cases[k / n].dead);
        ptq_weight_codes_clear(&q);
    }
}
END_TEST

START_TEST(bias__keeps_headroom)
{
    static const float input_scales[] = {1.0f, 0.02f, 1e-20f, 1e-30f};
    static const int64_t ks[] = {1, 576, 4608, 60000};
    static const char *const algos[] = {"symmetric", "asymmetric", "log2", "mse"};
    fill();
    for (size_t t = 0; t < PTQ_COUNT(input_scales) * PTQ_COUNT(ks) * PTQ_COUNT(algos) * 2; t++) {
        const float sx = input_scales[t % 4];
        const int64_t k = ks[t / 4 % 4], room = INT64_C(2147483648) - k * 255 * 128;
        const ptq_weight_algo *algo;
        ptq_weight w = weight(t & 64 ? 0 : -1);
        ptq_weight_codes q = quantize(algos[t / 16 % 4], &w, NULL, &algo), before;
        before = quantize(algos[t / 16 % 4], &w, NULL, NULL);
        const float bias[C] = {1e-3f, -5.0f, 300.0f, 0, 1e6f, -1e-12f};
        int32_t bq[C];
        float bs[C];
        int64_t enlarged, changed = 0;
        ck_assert_ok(ptq_weight_fit_bias(algo, &w, &q, bias, C, sx, k, bq, bs, &enlarged));
        for (int c = 0; c < C; c++) {
            const int64_t ch = q.channels == 1 ? 0 : c;
            ck_assert(bs[c] == sx * q.scale[ch] && bs[c] >= FLT_MIN);
            ck_assert_int_lt(llabs((int64_t)bq[c]), room);
            ck_assert(fabs((double)bq[c] * (double)bs[c] - (double)bias[c]) <=
                      0.5000001 * (double)bs[c]);
            ck_assert(q.scale[ch] >= before.scale[ch]);
            if (q.channels == C) {
                changed += q.scale[c] > before.scale[c];
                /* Only as much as was needed. */
                if (q.scale[c] > before.scale[c] && bs[c] > FLT_MIN * 1.001f)
                    ck_assert(llabs((int64_t)bq[c]) > room - 4 - room / 10000);
            }
        }
        if (q.channels == C)
            ck_assert_int_eq(enlarged, changed);
        /* Codes belong to the enlarged scales. */
        ptq_weight_codes again = q;
        uint8_t *copy = malloc(N);
        memcpy(copy, q.codes, N);
        for (int64_t c = 0; c < q.channels; c++)
            algo->encode(&w, &again, c);
        ck_assert_mem_eq(copy, q.codes, N);
        free(copy);
        ptq_weight_codes_clear(&q);
        ptq_weight_codes_clear(&before);
    }
    ptq_weight w = weight(0);
    const ptq_weight_algo *algo;
    ptq_weight_codes q = quantize("symmetric", &w, NULL, &algo);
    float bias[C] = {0}, bs[C];
    int32_t bq[C];
    int64_t enlarged;
    ck_assert_fails(ptq_weight_fit_bias(algo, &w, &q, bias, C, 1, 70000, bq, bs, &enlarged),
                    PTQ_ERR_UNSUPPORTED);
    ck_assert_fails(ptq_weight_fit_bias(algo, &w, &q, bias, C - 1, 1, 9, bq, bs, &enlarged),
                    PTQ_ERR_ARG);
    bias[1] = NAN;
    ck_assert_fails(ptq_weight_fit_bias(algo, &w, &q, bias, C, 1, 9, bq, bs, &enlarged),
                    PTQ_ERR_MODEL);
    ptq_weight_codes_clear(&q);
    q = quantize("log2x2", &w, NULL, &algo);
    ck_assert_fails(ptq_weight_fit_bias(algo, &w, &q, bias, C, 1, 9, bq, bs, &enlarged),
                    PTQ_ERR_ARG);
    ptq_weight_codes_clear(&q);
}
END_TEST

/* Codes from the cache are those without it, are shared, and stay as they are when a bias wants
 * wider scales. */
START_TEST(cache__quantizes_once)
{
    fill();
    size_t n;
    const ptq_weight_algo *const *algos = ptq_weight_algos(&n);
    for (size_t k = 0; k < n * 2; k++) {
        const ptq_weight_algo *a = algos[k / 2];
        ptq_weight w = weight(k & 1 ? 0 : -1);
        ptq_weight_cache *cache;
        ptq_weight_codes fresh = quantize(a->name, &w, NULL, NULL), one, two;
        ck_assert_ok(ptq_weight_cache_new(3, &cache));
        ck_assert_ok(ptq_weight_quantize_once(cache, 2, a, &w, NULL, &one));
        ck_assert_ok(ptq_weight_quantize_once(cache, 2, a, &w, NULL, &two));
        ck_assert(one.shared && two.shared && one.codes == two.codes);
        ck_assert_mem_eq(one.codes, fresh.codes, N);
        ck_assert_mem_eq(one.scale, fresh.scale, (size_t)fresh.channels * sizeof(float));
        ck_assert(one.mse == fresh.mse && one.dead == fresh.dead);
        if (!a->table) {
            float bias[C] = {1e6f, 1e6f, 0, 0, 0, 0}, bs[C], bs_fresh[C];
            int32_t bq[C], bq_fresh[C];
            int64_t wider, wider_fresh;
            ck_assert_ok(ptq_weight_fit_bias(a, &w, &fresh, bias, C, 1e-9f, 9, bq_fresh, bs_fresh, &wider_fresh));
            ck_assert_ok(ptq_weight_fit_bias(a, &w, &one, bias, C, 1e-9f, 9, bq, bs, &wider));
            ck_assert_int_gt(wider, 0);
            ck_assert_int_eq(wider, wider_fresh);
            ck_assert(!one.shared && one.codes != two.codes && one.mse == fresh.mse);
            ck_assert_mem_eq(one.codes, fresh.codes, N);
            ck_assert_mem_eq(bq, bq_fresh, sizeof bq);
            ptq_weight_codes_clear(&fresh);
            fresh = quantize(a->name, &w, NULL, NULL);
            ck_assert_mem_eq(two.codes, fresh.codes, N);
            ck_assert_mem_eq(two.scale, fresh.scale, (size_t)fresh.channels * sizeof(float));
        }
        ptq_weight_codes_clear(&one);
        ptq_weight_codes_clear(&two);
        ptq_weight_codes_clear(&fresh);
        ptq_weight_cache_free(cache);
    }
}
END_TEST

START_TEST(cache__knows_what_it_holds)
{
    fill();
    const ptq_weight_algo *plain, *mse;
    ptq_weight w = weight(0), other = weight(-1);
    const ptq_weight_options seven = {.reduced = true};
    ptq_weight_cache *cache;
    ptq_weight_codes first, q, want;
    ck_assert_ok(ptq_weight_find("symmetric", &plain));
    ck_assert_ok(ptq_weight_find("mse", &mse));
    ck_assert_ok(ptq_weight_cache_new(1, &cache));
    ck_assert_ok(ptq_weight_quantize_once(cache, 0, plain, &w, NULL, &first));
    const struct {
        size_t id;
        const ptq_weight_algo *algo;
        const ptq_weight *w;
        const ptq_weight_options *o;
    } rows[] = {{0, mse, &w, NULL}, {0, plain, &other, NULL}, {0, plain, &w, &seven}, {1, plain, &w, NULL}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ck_assert_ok(ptq_weight_quantize_once(cache, rows[i].id, rows[i].algo, rows[i].w, rows[i].o, &q));
        want = quantize(rows[i].algo->name, rows[i].w, rows[i].o, NULL);
        ck_assert(!q.shared && q.codes != first.codes);
        ck_assert_mem_eq(q.codes, want.codes, N);
        ptq_weight_codes_clear(&q);
        ptq_weight_codes_clear(&want);
    }
    ck_assert_ok(ptq_weight_quantize_once(NULL, 0, plain, &w, NULL, &q));
    ck_assert(!q.shared);
    ptq_weight_codes_clear(&q);
    ptq_weight_codes_clear(&first);
    ptq_weight_cache_free(cache);
}
END_TEST

START_TEST(act__table_from_linear_codes)
{
    uint8_t table[256];
    ck_assert_ok(ptq_log2_table(PTQ_DT_S8, 0.1f, -5, 0.2f, 0, table));
    for (int q = -128; q < 128; q++)
        ck_assert_int_eq((int8_t)table[(uint8_t)q], log2_reference((q + 5) * 0.5, 64));
    ck_assert_ok(ptq_log2_table(PTQ_DT_U8, 0.1f, 0, 0.1f, 0, table));
    for (int q = 0; q < 256; q++)
        ck_assert_int_eq(table[q], log2_reference(q, 128));
    ck_assert_ok(ptq_log2_table(PTQ_DT_U8, 1, 100, 1, 100, table));
    for (int q = 0; q < 256; q++)
        ck_assert_int_eq(table[q], 100 + log2_reference(q - 100, q < 100 ? 64 : 128));
    ck_assert_fails(ptq_log2_table(PTQ_DT_S16, 1, 0, 1, 0, table), PTQ_ERR_UNSUPPORTED);
    ck_assert_fails(ptq_log2_table(PTQ_DT_U8, 1, 0, 1, 300, table), PTQ_ERR_UNSUPPORTED);
}
END_TEST

START_TEST(act__scale_near_brute_force)
{
    enum { M = 5000 };
    static float x[M];
    for (int kind = 0; kind < 3; kind++) {
        const ptq_dtype t = kind == 1 ? PTQ_DT_U8 : PTQ_DT_S8;
        const int lo = kind == 1 ? 0 : -128, hi = kind == 1 ? 255 : 127, top = kind == 1 ? 128 : 64;
        ptq_rng r;
        ptq_rng_seed(&r, 51);
        double amax = 0, best = (double)INFINITY, got, at = 0;
        for (int i = 0; i < M; i++) {
            float y = ptq_rng_normal(&r);
            x[i] = kind == 1 ? fmaxf(y, 0) : kind == 2 ? y * y * y : y;
            amax = fmax(amax, fabs((double)x[i]));
        }
        ptq_tensor_stats *s;
        ck_assert_ok(ptq_stats_new("t", PTQ_DT_F32, &s));
        ck_assert_ok(ptq_stats_observe(s, x, M, 0, NULL, -1));
        float scale;
        ck_assert_ok(ptq_log2_act_scale(s, t, 0, &scale, &got));
        for (int j = -1; j <= 300; j++) { /* -1: the scale that was chosen */
            float c = j < 0 ? scale : (float)(amax * 2 / top * exp2(-j / 50.0));
            double e = 0;
            for (int i = 0; i < M; i++) {
                int q = ptq_quantize(x[i], c, 0, lo, hi);
                e += pow(log2_reference(q, top) * (double)c - (double)x[i], 2) / M;
            }
            best = fmin(best, e);
            at = j < 0 ? e : at;
        }
        ck_assert_msg(at <= best * 1.05, "kind %d: %g, brute force %g", kind, at, best);
        ck_assert_double_eq_tol(got, at, 0.02 * at);
        ptq_stats_free(s);
    }
}
END_TEST

/* Every row on hard weights: finite positive scales, decoded values near the weights. */
START_TEST(weights__conformance)
{
    static const float sets[][4] = {{0, 0, 0, 0},           {-0.0f, 0, -0.0f, 0},
                                    {7, 7, 7, 7},           {-3, -3, -3, -3},
                                    {1e38f, -1e38f, 0, 1}, {1e-42f, -1e-43f, 0, 0},
                                    {1e6f, 1, -1, 0.5f},    {1, -1, 0.5f, -0.5f}};
    size_t n_algos;
    const ptq_weight_algo *const *algos = ptq_weight_algos(&n_algos);
    ck_assert_uint_ge(n_algos, 6);
    for (size_t k = 0; k < n_algos * PTQ_COUNT(sets) * 8; k++) {
        const ptq_weight_algo *a = algos[k / 8 / PTQ_COUNT(sets)];
        const float *x = sets[k / 8 % PTQ_COUNT(sets)];
        ptq_weight w = {.name = "w", .data = x, .rank = 2, .axis = k & 1 ? 1 : -1};
        w.dims = (int64_t[]){2, 2};
        ptq_weight_options o = {.dtype = k & 2 ? PTQ_DT_U8 : PTQ_DT_S8, .pow2 = k & 4};
        ptq_weight_codes q;
        float y[4];
        ck_assert_ok(ptq_weight_quantize(a, &w, &o, &q));
        ptq_weight_decode(&w, &q, y);
        double error = 0;
        for (int i = 0; i < 4; i++) {
            const float s = q.scale[q.channels == 2 ? i % 2 : 0];
            ck_assert(isfinite(s) && s > 0);
            ck_assert_msg(isfinite(y[i]), "%s, set %zu: %g", a->name, k / 8 % PTQ_COUNT(sets),
                          (double)y[i]);
            error += pow((double)y[i] - (double)x[i], 2) / 4;
            ck_assert(x[i] != 0 || y[i] == 0); /* zero stays zero */
        }
        ck_assert(fabs(error - q.mse) <= 1e-9 * error);
        ck_assert(q.mse <= q.power * 0.1 + 1e-60);
        ptq_weight_codes_clear(&q);
    }
    for (size_t k = 0; k < n_algos; k++) { /* empty, and not finite */
        ptq_weight_codes q;
        ptq_weight w = {.name = "w", .data = NULL, .rank = 2, .dims = (int64_t[]){0, 3}, .axis = 0};
        for (int axis = -1; axis < 2; axis++) {
            w.axis = axis;
            ck_assert_ok(ptq_weight_quantize(algos[k], &w, NULL, &q));
            ck_assert_int_eq(q.n, 0);
            ptq_weight_codes_clear(&q);
        }
        w = (ptq_weight){.name = "w", .rank = 1, .dims = (int64_t[]){2}, .axis = -1};
        w.data = (float[]){1, NAN};
        ck_assert_fails(ptq_weight_quantize(algos[k], &w, NULL, &q), PTQ_ERR_MODEL);
        ck_assert_says("element 1");
        w.data = (float[]){-INFINITY, 0};
        ck_assert_fails(ptq_weight_quantize(algos[k], &w, NULL, &q), PTQ_ERR_MODEL);
    }
    const ptq_weight_algo *a;
    ck_assert_fails(ptq_weight_find("log2x61", &a), PTQ_ERR_ARG);
    ck_assert_says("log2x");
}
END_TEST

/* What a summary prints: on normal weights 16 steps are close to linear, one step is far. */
START_TEST(weights__error_order)
{
    static float x[8192];
    ptq_rng r;
    ptq_rng_seed(&r, 61);
    for (int i = 0; i < 8192; i++)
        x[i] = ptq_rng_normal(&r);
    static const struct {
        const char *name;
        double least_db, most_db;
    } rows[] = {{"symmetric", 38, 44}, {"mse", 39, 45},   {"log2x16", 36, 40},
                {"log2x2", 18, 21},    {"log2", 13, 16}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_weight w = {.name = "w", .data = x, .rank = 1, .dims = (int64_t[]){8192}, .axis = -1};
        ptq_weight_codes q = quantize(rows[i].name, &w, NULL, NULL);
        const double db = 10 * log10(q.power / q.mse);
        ck_assert_msg(db > rows[i].least_db && db < rows[i].most_db, "%s: %g dB", rows[i].name, db);
        ptq_weight_codes_clear(&q);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("weights");
    TCase *t = tcase_create("weights");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, linear__closed_form);
    tcase_add_test(t, mse__not_worse_than_brute_force);
    tcase_add_test(t, log2__rounds_in_the_log_domain);
    tcase_add_test(t, log2__scale_near_brute_force);
    tcase_add_test(t, table__levels_and_nearest);
    tcase_add_test(t, table__published_example);
    tcase_add_test(t, dead__channels_on_any_axis);
    tcase_add_test(t, bias__keeps_headroom);
    tcase_add_test(t, cache__quantizes_once);
    tcase_add_test(t, cache__knows_what_it_holds);
    tcase_add_test(t, act__table_from_linear_codes);
    tcase_add_test(t, act__scale_near_brute_force);
    tcase_add_test(t, weights__conformance);
    tcase_add_test(t, weights__error_order);
    suite_add_tcase(s, t);
    return unit_run(s);
}
