/* SPDX-License-Identifier: Apache-2.0 */
/* Ends of rows in AVX2, which has no masks: through small copies. `left` elements are there, whole
 * vectors of 8 when it is 8 or more. */
#ifndef PTQ_CPU_INT_AVX2_H
#define PTQ_CPU_INT_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static inline __m128i load8(const uint8_t *p, int64_t left)
{
    uint8_t tmp[8] = {0};
    if (left < 8) {
        memcpy(tmp, p, (size_t)left);
        p = tmp;
    }
    return _mm_loadl_epi64((const __m128i *)(const void *)p);
}

/* The low bytes of 8 values. */
static inline void store8(uint8_t *p, __m256i v, int64_t left)
{
    const __m256i pick = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8,
                                          12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i q = _mm256_shuffle_epi8(v, pick);
    __m128i b = _mm_unpacklo_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    uint8_t tmp[16];
    if (left >= 8) {
        _mm_storel_epi64((__m128i *)(void *)p, b);
        return;
    }
    _mm_storeu_si128((__m128i *)(void *)tmp, b);
    memcpy(p, tmp, (size_t)left);
}

static inline void store8_f(float *p, __m256 v, int64_t left)
{
    float tmp[8];
    if (left >= 8) {
        _mm256_storeu_ps(p, v);
        return;
    }
    _mm256_storeu_ps(tmp, v);
    memcpy(p, tmp, (size_t)left * sizeof *p);
}

#endif
