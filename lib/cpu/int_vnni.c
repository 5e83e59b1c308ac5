/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 VNNI: operands in bytes, vpdpbusd. With PTQ_VNNI_EMULATION the instruction is spelled
 * out in AVX-512BW, so that the packing and the tiles can be tested on machines without it. */
/* The flags say -O3, but the -O2 of the user's CFLAGS comes later and wins. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include "lib/cpu/int_dot512.h"

#ifdef PTQ_VNNI_EMULATION
#define DOT_NAME ptq_int_dot_vnni_emu
extern const ptq_int_dot DOT_NAME;
static inline vi v_dot(vi acc, vi a, vi b)
{
    vi a0 = _mm512_and_si512(a, _mm512_set1_epi16(0xff)), a1 = _mm512_srli_epi16(a, 8);
    vi b0 = _mm512_srai_epi16(_mm512_slli_epi16(b, 8), 8), b1 = _mm512_srai_epi16(b, 8);
    return _mm512_add_epi32(
        acc, _mm512_add_epi32(_mm512_madd_epi16(a0, b0), _mm512_madd_epi16(a1, b1)));
}
#else
#define DOT_NAME ptq_int_dot_vnni
static inline vi v_dot(vi acc, vi a, vi b)
{
    return _mm512_dpbusd_epi32(acc, a, b);
}
#endif

static void pack_a(void *dst, const uint8_t *src, int64_t n, uint8_t flip, int32_t za)
{
    uint8_t *y = dst;
    const __m512i f = _mm512_set1_epi8((char)flip);
    (void)za; /* folded into the bias */
    int64_t i = 0;
    for (; n - i >= 64; i += 64)
        _mm512_storeu_si512(y + i, _mm512_xor_si512(_mm512_loadu_si512(src + i), f));
    if (i < n) {
        __mmask64 mask = mask64(n - i);
        _mm512_mask_storeu_epi8(y + i, mask, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, src + i), f));
    }
}

static int32_t rowsum(const uint8_t *a, int64_t n)
{
    __m512i sum = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i += 64) {
        __mmask64 mask = mask64(n - i);
        sum = _mm512_add_epi64(
            sum, _mm512_sad_epu8(_mm512_maskz_loadu_epi8(mask, a + i), _mm512_setzero_si512()));
    }
    return (int32_t)_mm512_reduce_add_epi64(sum);
}

static void pack_b(void *dst, const uint8_t *const *row, int64_t n, uint8_t flip, const int16_t *zp,
                   int32_t *sum)
{
    const __m128i f = _mm_set1_epi8((char)flip);
    const __m512i ones8 = _mm512_set1_epi8(1), ones16 = _mm512_set1_epi16(1);
    (void)zp; /* folded into bias and rowsum */
    for (int64_t i = 0; i < n; i += LANES) {
        __m128i r[4];
        for (int k = 0; k < 4; k++)
            r[k] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)(row[k] + i)), f);
        __m128i lo01 = _mm_unpacklo_epi8(r[0], r[1]), lo23 = _mm_unpacklo_epi8(r[2], r[3]);
        __m128i hi01 = _mm_unpackhi_epi8(r[0], r[1]), hi23 = _mm_unpackhi_epi8(r[2], r[3]);
        __m256i lo = _mm256_set_m128i(_mm_unpackhi_epi16(lo01, lo23), _mm_unpacklo_epi16(lo01, lo23));
        __m256i hi = _mm256_set_m128i(_mm_unpackhi_epi16(hi01, hi23), _mm_unpacklo_epi16(hi01, hi23));
        __m512i v = _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
        _mm512_storeu_si512((uint8_t *)dst + 4 * i, v);
        __m512i s = _mm512_madd_epi16(_mm512_maddubs_epi16(ones8, v), ones16);
        _mm512_storeu_si512(sum + i, _mm512_add_epi32(v_load(sum + i), s));
    }
}

/* 64 channels of all pixels. The bytes of four taps are interleaved, so that one instruction adds
 * the products of four taps in a channel's lane. `groups`: of four taps. */
INLINE void depthwise4_part(const ptq_int_dw *d, int64_t c, const int groups)
{
    const int8_t *w = (const int8_t *)d->w + c * 4 * groups;
    const __mmask64 mask = mask64(d->c - c);
    const vi flip = _mm512_set1_epi8((char)d->flip);
    for (int64_t p = 0; p < d->pixels; p++) {
        vi acc[4], q[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            acc[j] = v_load(d->bias + c + j * LANES);
#pragma GCC unroll 3
        for (int g = 0; g < groups; g++) {
            vi r[4];
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                const uint8_t *x = d->tap[4 * g + k] + p * d->step[4 * g + k] + c;
                r[k] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, x), flip);
            }
            vi lo01 = _mm512_unpacklo_epi8(r[0], r[1]), lo23 = _mm512_unpacklo_epi8(r[2], r[3]);
            vi hi01 = _mm512_unpackhi_epi8(r[0], r[1]), hi23 = _mm512_unpackhi_epi8(r[2], r[3]);
            acc[0] = v_dot(acc[0], _mm512_unpacklo_epi16(lo01, lo23), v_load(w + g * 256));
            acc[1] = v_dot(acc[1], _mm512_unpackhi_epi16(lo01, lo23), v_load(w + g * 256 + 64));
            acc[2] = v_dot(acc[2], _mm512_unpacklo_epi16(hi01, hi23), v_load(w + g * 256 + 128));
            acc[3] = v_dot(acc[3], _mm512_unpackhi_epi16(hi01, hi23), v_load(w + g * 256 + 192));
        }
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            q[j] = v_quant(acc[j], d->mult + c + j * LANES, d->lo, d->hi, d->zy);
        _mm512_mask_storeu_epi8((uint8_t *)d->y + (size_t)p * d->ldy + c, mask, v_bytes(q, d->sgn));
    }
}

static void depthwise4(const ptq_int_dw *d)
{
    for (int64_t c = 0; c < d->c; c += 64)
        if (d->taps == 12)
            depthwise4_part(d, c, 3);
        else
            depthwise4_part(d, c, d->taps / 4);
}

const ptq_int_dot DOT_NAME = {
    .bytes = true,
    .kgroup = 4,
    .lanes = LANES,
    .nv = NV,
    .mr = MR,
    .mr_narrow = MR_NARROW,
    .tile = tile,
    .pack_a = pack_a,
    .pack_b = pack_b,
    .rowsum = rowsum,
    .depthwise = depthwise,
    .depthwise4 = depthwise4,
};
