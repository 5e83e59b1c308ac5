/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise rows on 512-bit vectors, tails by masks; the including file defines VEC_NAME and lut. */
#include <immintrin.h>

#include "lib/cpu/int.h"
#include "lib/cpu/mask512.h"

enum { LANES = 16 };
typedef __m512i I;
typedef __m512 F;

static inline I widen(const uint8_t *p, size_t left, bool sgn)
{
    __m128i b = _mm_maskz_loadu_epi8(mask16((int64_t)left), p);
    return sgn ? _mm512_cvtepi8_epi32(b) : _mm512_cvtepu8_epi32(b);
}
static inline void narrow(uint8_t *p, I v, size_t left)
{
    _mm512_mask_cvtepi32_storeu_epi8(p, mask16((int64_t)left), v);
}
static inline F load_f(const float *p, size_t left)
{
    return _mm512_maskz_loadu_ps(mask16((int64_t)left), p);
}
static inline void store_f(float *p, F v, size_t left)
{
    _mm512_mask_storeu_ps(p, mask16((int64_t)left), v);
}
static inline I load_i(const int32_t *p, size_t left)
{
    return _mm512_maskz_loadu_epi32(mask16((int64_t)left), p);
}
static inline void store_i(int32_t *p, I v, size_t left)
{
    _mm512_mask_storeu_epi32(p, mask16((int64_t)left), v);
}
#define set_i _mm512_set1_epi32
#define set_f _mm512_set1_ps
#define add_i _mm512_add_epi32
#define sub_i _mm512_sub_epi32
#define mul_lo _mm512_mullo_epi32
#define to_f _mm512_cvtepi32_ps
#define to_i _mm512_cvtps_epi32
#define add_f _mm512_add_ps
#define mul_f _mm512_mul_ps
#define div_f _mm512_div_ps
#define fma_f _mm512_fmadd_ps
#define min_f _mm512_min_ps
#define max_f _mm512_max_ps

static void lut(const uint8_t *x, uint8_t *y, size_t n, const uint8_t *table);

static void max(uint8_t *acc, const uint8_t *x, size_t n, bool sgn)
{
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 mask = mask64((int64_t)(n - i));
        __m512i a = _mm512_maskz_loadu_epi8(mask, acc + i), b = _mm512_maskz_loadu_epi8(mask, x + i);
        _mm512_mask_storeu_epi8(acc + i, mask, sgn ? _mm512_max_epi8(a, b) : _mm512_max_epu8(a, b));
    }
}

#include "lib/cpu/int_vec_tmpl.h"
