/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise rows in AVX-512BW; tails by masks. */
/* The flags say -O3, but the -O2 of the user's CFLAGS comes later and wins. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include <immintrin.h>

#include "lib/cpu/int.h"

enum { LANES = 16 };
#define VEC_NAME ptq_int_vec_avx512
typedef __m512i I;
typedef __m512 F;

static inline __mmask16 tail(size_t left)
{
    return (__mmask16)(left >= LANES ? 0xffff : (1u << left) - 1);
}
static inline I widen(const uint8_t *p, size_t left, bool sgn)
{
    __m128i b = _mm_maskz_loadu_epi8(tail(left), p);
    return sgn ? _mm512_cvtepi8_epi32(b) : _mm512_cvtepu8_epi32(b);
}
static inline void narrow(uint8_t *p, I v, size_t left)
{
    _mm512_mask_cvtepi32_storeu_epi8(p, tail(left), v);
}
static inline F load_f(const float *p, size_t left)
{
    return _mm512_maskz_loadu_ps(tail(left), p);
}
static inline void store_f(float *p, F v, size_t left)
{
    _mm512_mask_storeu_ps(p, tail(left), v);
}
static inline I load_i(const int32_t *p, size_t left)
{
    return _mm512_maskz_loadu_epi32(tail(left), p);
}
static inline void store_i(int32_t *p, I v, size_t left)
{
    _mm512_mask_storeu_epi32(p, tail(left), v);
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

/* The table as 16 registers; the low half of a byte picks within one, the high half picks which. */
static void lut(const uint8_t *x, uint8_t *y, size_t n, const uint8_t *table)
{
    __m512i t[16];
    for (int i = 0; i < 16; i++)
        t[i] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(table + 16 * i)));
    const __m512i low = _mm512_set1_epi8(15);
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 mask = n - i >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (n - i)) - 1;
        __m512i v = _mm512_maskz_loadu_epi8(mask, x + i), idx = _mm512_and_si512(v, low);
        __m512i row = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
        __m512i r = _mm512_shuffle_epi8(t[0], idx);
#pragma GCC unroll 16
        for (int k = 1; k < 16; k++)
            r = _mm512_mask_shuffle_epi8(r, _mm512_cmpeq_epi8_mask(row, _mm512_set1_epi8((char)k)), t[k],
                                         idx);
        _mm512_mask_storeu_epi8(y + i, mask, r);
    }
}

static void max(uint8_t *acc, const uint8_t *x, size_t n, bool sgn)
{
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 mask = n - i >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (n - i)) - 1;
        __m512i a = _mm512_maskz_loadu_epi8(mask, acc + i), b = _mm512_maskz_loadu_epi8(mask, x + i);
        _mm512_mask_storeu_epi8(acc + i, mask, sgn ? _mm512_max_epi8(a, b) : _mm512_max_epu8(a, b));
    }
}

#include "lib/cpu/int_vec_tmpl.h"
