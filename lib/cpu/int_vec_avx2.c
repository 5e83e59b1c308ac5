/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise rows in AVX2; tails through small copies. */
/* The flags say -O3, but the -O2 of the user's CFLAGS comes later and wins. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include <immintrin.h>
#include <string.h>

#include "lib/cpu/int.h"
#include "lib/cpu/int_avx2.h"

enum { LANES = 8 };
#define VEC_NAME ptq_int_vec_avx2
typedef __m256i I;
typedef __m256 F;

static inline I widen(const uint8_t *p, size_t left, bool sgn)
{
    __m128i b = load8(p, (int64_t)left);
    return sgn ? _mm256_cvtepi8_epi32(b) : _mm256_cvtepu8_epi32(b);
}
static inline void narrow(uint8_t *p, I v, size_t left)
{
    store8(p, v, (int64_t)left);
}
static inline F load_f(const float *p, size_t left)
{
    float tmp[LANES] = {0};
    if (left < LANES) {
        memcpy(tmp, p, left * sizeof *p);
        p = tmp;
    }
    return _mm256_loadu_ps(p);
}
static inline void store_f(float *p, F v, size_t left)
{
    store8_f(p, v, (int64_t)left);
}
static inline I load_i(const int32_t *p, size_t left)
{
    int32_t tmp[LANES] = {0};
    if (left < LANES) {
        memcpy(tmp, p, left * sizeof *p);
        p = tmp;
    }
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
static inline void store_i(int32_t *p, I v, size_t left)
{
    int32_t tmp[LANES];
    if (left >= LANES) {
        _mm256_storeu_si256((__m256i *)(void *)p, v);
        return;
    }
    _mm256_storeu_si256((__m256i *)(void *)tmp, v);
    memcpy(p, tmp, left * sizeof *p);
}
#define set_i _mm256_set1_epi32
#define set_f _mm256_set1_ps
#define add_i _mm256_add_epi32
#define sub_i _mm256_sub_epi32
#define mul_lo _mm256_mullo_epi32
#define to_f _mm256_cvtepi32_ps
#define to_i _mm256_cvtps_epi32
#define add_f _mm256_add_ps
#define mul_f _mm256_mul_ps
#define div_f _mm256_div_ps
#define fma_f _mm256_fmadd_ps
#define min_f _mm256_min_ps
#define max_f _mm256_max_ps

static void lut(const uint8_t *x, uint8_t *y, size_t n, const uint8_t *table)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint8_t v0 = table[x[i]], v1 = table[x[i + 1]], v2 = table[x[i + 2]], v3 = table[x[i + 3]];
        y[i] = v0;
        y[i + 1] = v1;
        y[i + 2] = v2;
        y[i + 3] = v3;
    }
    for (; i < n; i++)
        y[i] = table[x[i]];
}

static void max(uint8_t *acc, const uint8_t *x, size_t n, bool sgn)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        I *at = (I *)(void *)(acc + i);
        I a = _mm256_loadu_si256(at), b = _mm256_loadu_si256((const I *)(const void *)(x + i));
        _mm256_storeu_si256(at, sgn ? _mm256_max_epi8(a, b) : _mm256_max_epu8(a, b));
    }
    for (; i < n; i++)
        if (sgn ? (int8_t)x[i] > (int8_t)acc[i] : x[i] > acc[i])
            acc[i] = x[i];
}

#include "lib/cpu/int_vec_tmpl.h"
