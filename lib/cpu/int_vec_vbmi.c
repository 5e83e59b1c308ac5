/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise rows in AVX-512BW with the table lookup of VBMI, which nearly all processors with
 * VNNI have: ptq_int_isa_of asks. */
/* The flags say -O3, but the -O2 of the user's CFLAGS comes later and wins. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#define VEC_NAME ptq_int_vec_vbmi
#include "lib/cpu/int_vec512.h"

/* One instruction picks from 128 entries by the low 7 bits; the eighth chooses the half. */
__attribute__((target("avx512vbmi"))) static void lut(const uint8_t *x, uint8_t *y, size_t n,
                                                      const uint8_t *table)
{
    __m512i t[4];
    for (int i = 0; i < 4; i++)
        t[i] = _mm512_loadu_si512(table + 64 * i);
    for (size_t i = 0; i < n; i += 64) {
        __mmask64 mask = mask64((int64_t)(n - i));
        __m512i v = _mm512_maskz_loadu_epi8(mask, x + i);
        __m512i low = _mm512_permutex2var_epi8(t[0], v, t[1]);
        __m512i high = _mm512_permutex2var_epi8(t[2], v, t[3]);
        _mm512_mask_storeu_epi8(y + i, mask, _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(v), high));
    }
}
