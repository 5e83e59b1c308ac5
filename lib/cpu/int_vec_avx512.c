/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise rows in AVX-512BW. */
/* The flags say -O3, but the -O2 of the user's CFLAGS comes later and wins. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#define VEC_NAME ptq_int_vec_avx512
#include "lib/cpu/int_vec512.h"

/* The table as 16 registers; the low half of a byte picks within one, the high half picks which. */
static void lut(const uint8_t *x, uint8_t *y, size_t n, const uint8_t *table)
{
    __m512i t[16];
    for (int i = 0; i < 16; i++)
        t[i] = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(table + 16 * i)));
    const __m512i low = _mm512_set1_epi8(15);
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 mask = mask64((int64_t)(n - i));
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
