/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/observers/scan.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Float bits to integers in the order of the floats, and back: -0.0 is -1, just below +0.0. */
static inline int32_t order_key(int32_t bits)
{
    return bits ^ (bits >> 31 & 0x7fffffff);
}

static float from_order_key(int32_t key)
{
    float x;
    key = order_key(key);
    memcpy(&x, &key, sizeof x);
    return x + 0.0f; /* -0.0 becomes +0.0 */
}

/* The next k of them. */
__attribute__((always_inline)) static inline void raise_some(ptq_due *due, size_t k)
{
    uint32_t *restrict counts = due->counts;
    const uint32_t *restrict index = due->index;
#pragma GCC unroll 16
    for (size_t i = 0; i < k; i++)
        counts[index[i]]++;
    due->index += k;
    due->n -= k;
}

void ptq_raise(const ptq_due *due)
{
    ptq_due d = *due;
    raise_some(&d, d.n);
}

static void run_plain(const float *values, size_t n, uint32_t **index, ptq_extremes *e, uint32_t *least)
{
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        const uint32_t magnitude = (uint32_t)bits & 0x7fffffff;
        const int32_t key = order_key(bits);
        e->lo = key < e->lo ? key : e->lo;
        e->hi = key > e->hi ? key : e->hi;
        *least = magnitude && magnitude < *least ? magnitude : *least;
        if (*index) {
            **index = (uint32_t)bits >> PTQ_HIST_SHIFT;
            *index += magnitude != 0;
        }
    }
}

static size_t scan_plain(const float *values, size_t runs, size_t inner, const ptq_due *due, uint32_t *index,
                         ptq_extremes *e, uint32_t *least)
{
    uint32_t *to = index;
    ptq_raise(due);
    for (size_t r = 0; r < runs; r++) {
        e[r] = (ptq_extremes){INT32_MAX, INT32_MIN};
        run_plain(values + r * inner, inner, &to, &e[r], least);
    }
    return index ? (size_t)(to - index) : 0;
}

#if defined(__x86_64__)
typedef struct lanes256 {
    __m256i lo, hi, least;
} lanes256;

/* The indices of eight values but those of the lanes in `zeros`. */
__attribute__((target("avx2"))) static uint32_t *keep256(__m256i x, unsigned zeros, uint32_t *index)
{
    enum { LANES = 8 };
    const __m256i all = _mm256_srli_epi32(x, PTQ_HIST_SHIFT);
    uint32_t v[LANES];
    if (!zeros) {
        _mm256_storeu_si256((__m256i *)(void *)index, all);
        return index + LANES;
    }
    memcpy(v, &all, sizeof v);
    for (int j = 0; j < LANES; j++) {
        *index = v[j];
        index += !(zeros >> j & 1);
    }
    return index;
}

__attribute__((target("avx2"))) static void run_avx2(const float *values, size_t n, ptq_due *due, size_t each,
                                                     uint32_t **index, ptq_extremes *e, uint32_t *least)
{
    enum { LANES = 8 };
    const __m256i positive = _mm256_set1_epi32(0x7fffffff), one = _mm256_set1_epi32(1);
    lanes256 a = {_mm256_set1_epi32(e->lo), _mm256_set1_epi32(e->hi), _mm256_set1_epi32(-1)};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        _mm_prefetch((const char *)(values + i + PTQ_SCAN_CHUNK), _MM_HINT_T0);
        raise_some(due, each);
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(values + i));
        const __m256i magnitude = _mm256_and_si256(x, positive);
        const __m256i key = _mm256_xor_si256(x, _mm256_and_si256(_mm256_srai_epi32(x, 31), positive));
        const __m256i zero = _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256());
        a.lo = _mm256_min_epi32(a.lo, key);
        a.hi = _mm256_max_epi32(a.hi, key);
        a.least = _mm256_min_epu32(a.least, _mm256_sub_epi32(magnitude, one)); /* 0 wraps around */
        if (*index)
            *index = keep256(x, (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(zero)), *index);
    }
    int32_t l[LANES], h[LANES];
    uint32_t m[LANES];
    memcpy(l, &a.lo, sizeof l);
    memcpy(h, &a.hi, sizeof h);
    memcpy(m, &a.least, sizeof m);
    for (int j = 0; j < LANES; j++) {
        e->lo = l[j] < e->lo ? l[j] : e->lo;
        e->hi = h[j] > e->hi ? h[j] : e->hi;
        *least = m[j] < *least - 1 ? m[j] + 1 : *least;
    }
    run_plain(values + i, n - i, index, e, least);
}

__attribute__((target("avx2"))) static size_t scan_avx2(const float *values, size_t runs, size_t inner,
                                                        const ptq_due *due, uint32_t *index, ptq_extremes *e,
                                                        uint32_t *least)
{
    enum { LANES = 8 };
    uint32_t *to = index;
    ptq_due d = *due;
    const size_t each = inner < LANES ? 0 : d.n / (runs * (inner / LANES));
    for (size_t r = 0; r < runs; r++) {
        e[r] = (ptq_extremes){INT32_MAX, INT32_MIN};
        run_avx2(values + r * inner, inner, &d, each, &to, &e[r], least);
    }
    raise_some(&d, d.n);
    return index ? (size_t)(to - index) : 0;
}

#define TARGET512 __attribute__((target("avx512f,popcnt"), always_inline)) static inline

typedef struct lanes512 {
    __m512i lo, hi, least;
} lanes512;

/* The values of the lanes `in`; returns how many are not zero. What is stored behind those is overwritten later or
 * not read. */
TARGET512 size_t step512(__m512i x, __mmask16 in, uint32_t *index, lanes512 *e)
{
    const __m512i positive = _mm512_set1_epi32(0x7fffffff);
    const __m512i key = _mm512_xor_si512(x, _mm512_and_si512(_mm512_srai_epi32(x, 31), positive));
    const __m512i before = _mm512_sub_epi32(_mm512_and_si512(x, positive), _mm512_set1_epi32(1)); /* 0 wraps around */
    e->lo = _mm512_mask_min_epi32(e->lo, in, e->lo, key);
    e->hi = _mm512_mask_max_epi32(e->hi, in, e->hi, key);
    e->least = _mm512_min_epu32(e->least, before); /* lanes without a value are 0 */
    if (!index)
        return 0;
    const __mmask16 kept = _mm512_test_epi32_mask(x, positive);
    _mm512_storeu_si512(index, _mm512_maskz_compress_epi32(kept, _mm512_srli_epi32(x, PTQ_HIST_SHIFT)));
    return (size_t)__builtin_popcount(kept);
}

/* each: of the counters that are due after each step, a constant, as a loop of unknown length would be mispredicted. */
TARGET512 size_t loop512(const float *values, size_t runs, size_t inner, const ptq_due *due, uint32_t *index,
                         ptq_extremes *e, uint32_t *least, const size_t each)
{
    enum { LANES = 16 };
    ptq_due d = *due;
    lanes512 l = {.least = _mm512_set1_epi32(-1)};
    const __mmask16 rest = (__mmask16)((1u << inner % LANES) - 1);
    size_t n = 0;
    for (size_t r = 0; r < runs; r++, values += inner) {
        size_t i = 0;
        l.lo = _mm512_set1_epi32(INT32_MAX);
        l.hi = _mm512_set1_epi32(INT32_MIN);
        for (; i + LANES <= inner; i += LANES) {
            _mm_prefetch((const char *)(values + i + PTQ_SCAN_CHUNK), _MM_HINT_T0);
            n += step512(_mm512_loadu_si512(values + i), 0xffff, index ? index + n : NULL, &l);
            raise_some(&d, each);
        }
        if (rest) {
            n += step512(_mm512_maskz_loadu_epi32(rest, values + i), rest, index ? index + n : NULL, &l);
            raise_some(&d, each);
        }
        e[r] = (ptq_extremes){_mm512_reduce_min_epi32(l.lo), _mm512_reduce_max_epi32(l.hi)};
    }
    const uint32_t before = _mm512_reduce_min_epu32(l.least);
    *least = before < *least - 1 ? before + 1 : *least;
    raise_some(&d, d.n);
    return n;
}

__attribute__((target("avx512f,popcnt"))) static size_t scan_avx512(const float *values, size_t runs, size_t inner,
                                                                    const ptq_due *due, uint32_t *index,
                                                                    ptq_extremes *e, uint32_t *least)
{
    enum { LANES = 16 };
    const size_t each = due->n / (runs * ((inner + LANES - 1) / LANES));
    if (!index)
        return loop512(values, runs, inner, due, NULL, e, least, 0);
    switch (each) {
#define EACH(k) case k: return loop512(values, runs, inner, due, index, e, least, k)
        EACH(0); EACH(1); EACH(2); EACH(3); EACH(4); EACH(5); EACH(6); EACH(7); EACH(8);
        EACH(9); EACH(10); EACH(11); EACH(12); EACH(13); EACH(14); EACH(15);
#undef EACH
    default: return loop512(values, runs, inner, due, index, e, least, LANES);
    }
}
#endif

ptq_scan_fn ptq_scan_form(int i)
{
#if defined(__x86_64__)
    if (i == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("popcnt") ? scan_avx512 : NULL;
    if (i == 1)
        return __builtin_cpu_supports("avx2") ? scan_avx2 : NULL;
#endif
    return i == 0 ? scan_plain : NULL;
}

static ptq_scan_fn best_form(void)
{
    int i = PTQ_SCAN_FORMS - 1;
    while (!ptq_scan_form(i))
        i--;
    return ptq_scan_form(i);
}

/* The values' own loop, for the rare chunk that holds NaN or infinities. */
static void summarize_nonfinite(const float *values, size_t n, ptq_summary *out)
{
    for (size_t i = 0; i < n; i++) {
        float x = values[i] + 0.0f;
        if (isnan(x)) {
            out->nan++;
        } else if (isinf(x)) {
            out->pos_inf += x > 0;
            out->neg_inf += x < 0;
        } else {
            out->finite++;
            out->min = x < out->min ? x : out->min;
            out->max = x > out->max ? x : out->max;
        }
    }
}

/* Order keys of -Inf and +Inf: beyond them lie only NaN. */
static bool all_finite(const ptq_extremes *e)
{
    return e->lo > (int32_t)0x807fffff && e->hi < 0x7f800000;
}

static ptq_summary summary_of(const float *values, size_t n, const ptq_extremes *e)
{
    ptq_summary s = PTQ_SUMMARY_EMPTY;
    if (all_finite(e))
        return (ptq_summary){.finite = n, .min = from_order_key(e->lo), .max = from_order_key(e->hi)};
    summarize_nonfinite(values, n, &s);
    return s;
}

/* Runs may be as short as a vector, so that little is done for each. */
static void add_runs(const float *values, size_t runs, size_t inner, const ptq_extremes *e, float *run_min,
                     float *run_max)
{
    for (size_t r = 0; r < runs; r++) {
        float lo = from_order_key(e[r].lo), hi = from_order_key(e[r].hi);
        if (!all_finite(&e[r])) {
            const ptq_summary s = summary_of(values + r * inner, inner, &e[r]);
            lo = s.min;
            hi = s.max;
        }
        run_min[r] = lo < run_min[r] ? lo : run_min[r];
        run_max[r] = hi > run_max[r] ? hi : run_max[r];
    }
}

size_t ptq_scan(const float *values, size_t runs, size_t inner, const ptq_due *due, uint32_t *index, uint32_t *least,
                ptq_summary *out, float *run_min, float *run_max)
{
    ptq_extremes e[PTQ_SCAN_CHUNK], all = {INT32_MAX, INT32_MIN};
    *least = UINT32_MAX;
    if (runs == 0 || inner == 0) {
        ptq_raise(due);
        return 0;
    }
    const size_t n = best_form()(values, runs, inner, due, index, e, least);
    for (size_t r = 0; r < runs; r++) {
        all.lo = e[r].lo < all.lo ? e[r].lo : all.lo;
        all.hi = e[r].hi > all.hi ? e[r].hi : all.hi;
    }
    const ptq_summary chunk = summary_of(values, runs * inner, &all);
    ptq_summary_merge(out, &chunk);
    if (run_min)
        add_runs(values, runs, inner, e, run_min, run_max);
    return n;
}

void ptq_summary_merge(ptq_summary *dst, const ptq_summary *src)
{
    dst->finite += src->finite;
    dst->nan += src->nan;
    dst->pos_inf += src->pos_inf;
    dst->neg_inf += src->neg_inf;
    dst->min = src->min < dst->min ? src->min : dst->min;
    dst->max = src->max > dst->max ? src->max : dst->max;
}

bool ptq_summary_equal(const ptq_summary *a, const ptq_summary *b)
{
    return a->finite == b->finite && a->nan == b->nan && a->pos_inf == b->pos_inf &&
           a->neg_inf == b->neg_inf && a->min == b->min && a->max == b->max;
}

void ptq_summary_scan(const float *values, size_t n, ptq_summary *out)
{
    const ptq_due nothing = {0};
    uint32_t least;
    for (size_t i = 0; i < n; i += PTQ_SCAN_CHUNK)
        ptq_scan(values + i, 1, n - i < PTQ_SCAN_CHUNK ? n - i : PTQ_SCAN_CHUNK, &nothing, NULL, &least, out, NULL,
                 NULL);
}
