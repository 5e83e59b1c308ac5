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

static void scan_plain(const float *values, size_t n, uint32_t *index, ptq_extremes *e)
{
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        const uint32_t magnitude = (uint32_t)bits & 0x7fffffff;
        const int32_t key = order_key(bits);
        e->lo = key < e->lo ? key : e->lo;
        e->hi = key > e->hi ? key : e->hi;
        e->least = magnitude && magnitude < e->least ? magnitude : e->least;
        if (index)
            index[i] = magnitude ? (uint32_t)bits >> PTQ_HIST_SHIFT : PTQ_SCAN_ZERO + (uint32_t)i % PTQ_SCAN_LANES;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void scan_avx2(const float *values, size_t n, uint32_t *index, ptq_extremes *e)
{
    enum { LANES = 8 };
    const __m256i positive = _mm256_set1_epi32(0x7fffffff), one = _mm256_set1_epi32(1);
    __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(PTQ_SCAN_ZERO));
    __m256i lo = _mm256_set1_epi32(e->lo), hi = _mm256_set1_epi32(e->hi), least = _mm256_set1_epi32(-1);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        _mm_prefetch((const char *)(values + i + PTQ_SCAN_CHUNK), _MM_HINT_T0); /* it comes while these are counted */
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(values + i));
        const __m256i magnitude = _mm256_and_si256(x, positive);
        const __m256i key = _mm256_xor_si256(x, _mm256_and_si256(_mm256_srai_epi32(x, 31), positive));
        lo = _mm256_min_epi32(lo, key);
        hi = _mm256_max_epi32(hi, key);
        least = _mm256_min_epu32(least, _mm256_sub_epi32(magnitude, one)); /* 0 wraps around */
        if (index) {
            const __m256i zero = _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256());
            _mm256_storeu_si256((__m256i *)(void *)(index + i),
                                _mm256_blendv_epi8(_mm256_srli_epi32(x, PTQ_HIST_SHIFT), lane, zero));
            lane = _mm256_xor_si256(lane, _mm256_set1_epi32(LANES));
        }
    }
    int32_t l[LANES], h[LANES];
    uint32_t m[LANES];
    memcpy(l, &lo, sizeof l);
    memcpy(h, &hi, sizeof h);
    memcpy(m, &least, sizeof m);
    for (int j = 0; j < LANES; j++) {
        e->lo = l[j] < e->lo ? l[j] : e->lo;
        e->hi = h[j] > e->hi ? h[j] : e->hi;
        e->least = m[j] < e->least - 1 ? m[j] + 1 : e->least;
    }
    scan_plain(values + i, n - i, index ? index + i : NULL, e);
}

typedef struct lanes512 {
    __m512i lo, hi, least;
} lanes512;

/* The values of the lanes `in`; what is stored behind the last one is overwritten later or not read. */
__attribute__((target("avx512f"), always_inline)) static inline void step512(__m512i x, __mmask16 in, uint32_t *index,
                                                                             lanes512 *e)
{
    const __m512i positive = _mm512_set1_epi32(0x7fffffff);
    const __m512i lane = _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                          _mm512_set1_epi32(PTQ_SCAN_ZERO));
    const __m512i key = _mm512_xor_si512(x, _mm512_and_si512(_mm512_srai_epi32(x, 31), positive));
    const __m512i before = _mm512_sub_epi32(_mm512_and_si512(x, positive), _mm512_set1_epi32(1)); /* 0 wraps around */
    e->lo = _mm512_mask_min_epi32(e->lo, in, e->lo, key);
    e->hi = _mm512_mask_max_epi32(e->hi, in, e->hi, key);
    e->least = _mm512_min_epu32(e->least, before);
    if (index)
        _mm512_storeu_si512(index, _mm512_mask_srli_epi32(lane, _mm512_test_epi32_mask(x, positive), x, PTQ_HIST_SHIFT));
}

__attribute__((target("avx512f"), always_inline)) static inline void
loop512(const float *values, size_t n, uint32_t *index, ptq_extremes *e)
{
    enum { LANES = 16 };
    lanes512 l = {_mm512_set1_epi32(e->lo), _mm512_set1_epi32(e->hi), _mm512_set1_epi32(-1)};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        _mm_prefetch((const char *)(values + i + PTQ_SCAN_CHUNK), _MM_HINT_T0); /* it comes while these are counted */
        step512(_mm512_loadu_si512(values + i), 0xffff, index ? index + i : NULL, &l);
    }
    if (i < n) {
        const __mmask16 in = (__mmask16)((1u << (n - i)) - 1);
        step512(_mm512_maskz_loadu_epi32(in, values + i), in, index ? index + i : NULL, &l);
    }
    e->lo = _mm512_reduce_min_epi32(l.lo);
    e->hi = _mm512_reduce_max_epi32(l.hi);
    const uint32_t before = _mm512_reduce_min_epu32(l.least);
    e->least = before < e->least - 1 ? before + 1 : e->least;
}

__attribute__((target("avx512f"))) static void scan_avx512(const float *values, size_t n, uint32_t *index,
                                                           ptq_extremes *e)
{
    if (index)
        loop512(values, n, index, e);
    else
        loop512(values, n, NULL, e);
}
#endif

ptq_scan_fn ptq_scan_form(int i)
{
#if defined(__x86_64__)
    if (i == 2)
        return __builtin_cpu_supports("avx512f") ? scan_avx512 : NULL;
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

uint32_t ptq_scan(const float *values, size_t n, uint32_t *index, ptq_summary *out)
{
    ptq_extremes e = PTQ_EXTREMES_NONE;
    if (n == 0)
        return e.least;
    best_form()(values, n, index, &e);
    /* Order keys of -Inf and +Inf: beyond them lie only NaN. */
    if (e.lo <= (int32_t)0x807fffff || e.hi >= 0x7f800000) {
        summarize_nonfinite(values, n, out);
        return e.least;
    }
    ptq_summary chunk = {.finite = n, .min = from_order_key(e.lo), .max = from_order_key(e.hi)};
    ptq_summary_merge(out, &chunk);
    return e.least;
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
    for (size_t i = 0; i < n; i += PTQ_SCAN_CHUNK)
        ptq_scan(values + i, n - i < PTQ_SCAN_CHUNK ? n - i : PTQ_SCAN_CHUNK, NULL, out);
}
