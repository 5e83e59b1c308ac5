/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/observers/scan.h"

#include <math.h>
#include <string.h>

typedef int32_t lanes __attribute__((vector_size(4 * PTQ_SCAN_LANES), aligned(4), may_alias));
typedef uint32_t ulanes __attribute__((vector_size(4 * PTQ_SCAN_LANES), aligned(4), may_alias));

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

/* Extremes of the order keys of whole groups of lanes, in each lane. Written with the compiler's
 * vectors, so that every instruction set runs the same text. */
static inline __attribute__((always_inline)) void scan_lanes(const float *values, size_t groups,
                                                             uint32_t *index, lanes *min,
                                                             lanes *max)
{
    const ulanes zero_index = (ulanes){0, 1, 2, 3, 4, 5, 6, 7} + PTQ_HIST_OCTAVES * PTQ_HIST_BINS;
    lanes lo = *min, hi = *max;
    for (size_t i = 0; i < groups; i++) {
        lanes bits;
        memcpy(&bits, values + i * PTQ_SCAN_LANES, sizeof bits);
        lanes key = bits ^ (bits >> 31 & 0x7fffffff);
        lanes less = key < lo, more = key > hi;
        lo = (key & less) | (lo & ~less);
        hi = (key & more) | (hi & ~more);
        if (index) {
            ulanes zero = (ulanes)((bits & 0x7fffffff) == 0);
            ulanes k = ((ulanes)bits >> PTQ_HIST_SHIFT & ~zero) | (zero_index & zero);
            memcpy(index + i * PTQ_SCAN_LANES, &k, sizeof k);
        }
    }
    *min = lo;
    *max = hi;
}

static void scan_any(const float *values, size_t groups, uint32_t *index, lanes *min, lanes *max)
{
    if (index)
        scan_lanes(values, groups, index, min, max);
    else
        scan_lanes(values, groups, NULL, min, max);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void scan_avx2(const float *values, size_t groups,
                                                      uint32_t *index, lanes *min, lanes *max)
{
    if (index)
        scan_lanes(values, groups, index, min, max);
    else
        scan_lanes(values, groups, NULL, min, max);
}
#endif

static void scan_groups(const float *values, size_t groups, uint32_t *index, lanes *min,
                        lanes *max)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        scan_avx2(values, groups, index, min, max);
        return;
    }
#endif
    scan_any(values, groups, index, min, max);
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

void ptq_scan(const float *values, size_t n, uint32_t *index, ptq_summary *out)
{
    if (n == 0)
        return;
    lanes min, max;
    size_t groups = n / PTQ_SCAN_LANES, tail = n % PTQ_SCAN_LANES;
    for (int j = 0; j < PTQ_SCAN_LANES; j++) {
        min[j] = INT32_MAX;
        max[j] = INT32_MIN;
    }
    scan_groups(values, groups, index, &min, &max);
    if (tail) { /* filled up with the last value, which changes no extreme */
        float last[PTQ_SCAN_LANES];
        for (size_t j = 0; j < PTQ_SCAN_LANES; j++)
            last[j] = values[n - tail + (j < tail ? j : tail - 1)];
        scan_groups(last, 1, index ? index + (n - tail) : NULL, &min, &max);
    }
    int32_t lo = min[0], hi = max[0];
    for (int j = 1; j < PTQ_SCAN_LANES; j++) {
        lo = min[j] < lo ? min[j] : lo;
        hi = max[j] > hi ? max[j] : hi;
    }
    /* Order keys of -Inf and +Inf: beyond them lie only NaN. */
    if (lo <= (int32_t)0x807fffff || hi >= 0x7f800000) {
        summarize_nonfinite(values, n, out);
        return;
    }
    ptq_summary chunk = {.finite = n, .min = from_order_key(lo), .max = from_order_key(hi)};
    ptq_summary_merge(out, &chunk);
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
