/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512BW without VNNI: 16-bit operands, vpmaddwd. vpmaddubsw would be shorter, but it saturates
 * pairs of products above 32767, so that 8-bit weights of full range lose their exact sum. */
/* The flags say -O3, but the -O2 of the user's CFLAGS comes later and wins. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include "lib/cpu/int_dot512.h"

static inline vi v_dot(vi acc, vi a, vi b)
{
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
}

static void pack_a(void *dst, const uint8_t *src, int64_t n, uint8_t flip, int32_t za)
{
    int16_t *y = dst;
    const __m512i z = _mm512_set1_epi16((int16_t)za);
    const __m256i f = _mm256_set1_epi8((char)flip);
    for (int64_t i = 0; i < n; i += 32) {
        __mmask32 mask = mask32(n - i);
        __m256i x = _mm256_xor_si256(_mm256_maskz_loadu_epi8(mask, src + i), f);
        _mm512_mask_storeu_epi16(y + i, mask, _mm512_sub_epi16(_mm512_cvtepu8_epi16(x), z));
    }
}

static void pack_b(void *dst, const uint8_t *const *row, int64_t n, uint8_t flip, const int16_t *zp,
                   int32_t *sum)
{
    int16_t *y = dst;
    const __m128i f = _mm_set1_epi8((char)flip);
    (void)sum;
    for (int64_t i = 0; i < n; i += LANES) {
        __m128i r0 = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)(row[0] + i)), f);
        __m128i r1 = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)(row[1] + i)), f);
        __m256i pairs = _mm256_set_m128i(_mm_unpackhi_epi8(r0, r1), _mm_unpacklo_epi8(r0, r1));
        _mm512_storeu_si512(y + 2 * i, _mm512_sub_epi16(_mm512_cvtepu8_epi16(pairs), v_load(zp + 2 * i)));
    }
}

const ptq_int_dot ptq_int_dot_avx512 = {
    .bytes = false,
    .kgroup = 2,
    .lanes = LANES,
    .nv = NV,
    .mr = MR,
    .mr_narrow = MR_NARROW,
    .tile = tile,
    .pack_a = pack_a,
    .pack_b = pack_b,
    .depthwise = depthwise,
};
