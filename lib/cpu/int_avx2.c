/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2: 16-bit operands, vpmaddwd (vpmaddubsw saturates: see int_avx512.c). */
/* The flags say -O3, but the -O2 of the user's CFLAGS comes later and wins. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include <immintrin.h>
#include <string.h>

#include "lib/cpu/int.h"
#include "lib/cpu/int_avx2.h"

enum { LANES = 8, NV = 2, MR = 6, MR_NARROW = 6 };
typedef __m256i vi;

static inline vi v_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static inline void v_put(void *p, vi v)
{
    _mm256_store_si256(p, v);
}

static inline vi v_bcast(const void *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}

static inline vi v_dot(vi acc, vi a, vi b)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}

static inline void v_store(vi acc, const float *mult, float lo, float hi, int32_t zy, bool float_out,
                           void *y, size_t at, int left)
{
    __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(mult));
    if (float_out) {
        store8_f((float *)y + at, f, left);
        return;
    }
    f = _mm256_min_ps(_mm256_max_ps(f, _mm256_set1_ps(lo)), _mm256_set1_ps(hi));
    store8((uint8_t *)y + at, _mm256_add_epi32(_mm256_cvtps_epi32(f), _mm256_set1_epi32(zy)), left);
}

static inline void v_finish(const ptq_int_tile *t, const vi *acc, int row, int nv)
{
    for (int col = 0; col < nv * LANES; col += LANES)
        v_store(acc[col / LANES], t->mult + col, t->lo, t->hi, t->zy, t->float_out,
                (uint8_t *)t->y + (size_t)row * t->ldy, (size_t)col, t->n - col);
}

#include "lib/cpu/int_tile.h"

#define TILES(N) TILE(1, N) TILE(2, N) TILE(3, N) TILE(4, N) TILE(5, N) TILE(6, N)
TILES(1)
TILES(2)

#define ROW(N) {tile_1_##N, tile_2_##N, tile_3_##N, tile_4_##N, tile_5_##N, tile_6_##N}

/* The end with a residual: the law of ptq_requantize_residual, for 8 results. */
INLINE vi v_sum(const ptq_int_tile *t, vi acc, const float *mult, vi s)
{
    const ptq_residual *a = t->residual;
    __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(mult)), g;
    const __m256 lo = _mm256_set1_ps(t->lo), hi = _mm256_set1_ps(t->hi);
    if (a->kind == PTQ_RESIDUAL_FLOAT) {
        g = _mm256_cvtepi32_ps(_mm256_sub_epi32(s, _mm256_set1_epi32(a->z)));
        f = _mm256_fmadd_ps(g, _mm256_set1_ps(a->r), f);
        return _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(f, lo), hi)),
                                _mm256_set1_epi32(t->zy));
    }
    const __m256 ra = _mm256_set1_ps(a->add.ra), rb = _mm256_set1_ps(a->add.rb), fx = _mm256_set1_ps(a->add.fx);
    f = _mm256_round_ps(_mm256_min_ps(_mm256_max_ps(f, lo), hi), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    f = _mm256_add_ps(f, _mm256_set1_ps((float)t->zy)); /* the product's code, exact */
    g = _mm256_cvtepi32_ps(s);
    f = a->skip_first ? _mm256_fmadd_ps(g, ra, _mm256_fmadd_ps(f, rb, fx))
                      : _mm256_fmadd_ps(f, ra, _mm256_fmadd_ps(g, rb, fx));
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(f, _mm256_set1_ps((float)a->lo)),
                                            _mm256_set1_ps((float)a->hi)));
}

static void finish_sums(const ptq_int_tile *t, int nv)
{
    for (int i = 0; i < t->m; i++)
        for (int j = 0, at = 0; j < nv; j++, at += LANES) {
            __m128i b = load8(t->skip + (size_t)i * t->ld_skip + at, t->n - at);
            vi s = t->skip_sgn ? _mm256_cvtepi8_epi32(b) : _mm256_cvtepu8_epi32(b);
            vi q = v_sum(t, v_load(t->sums + (i * NV + j) * LANES), t->mult + at, s);
            store8((uint8_t *)t->y + (size_t)i * t->ldy + at, q, t->n - at);
        }
}

static void tile(const ptq_int_tile *t, int nv)
{
    static void (*const table[NV][MR])(const ptq_int_tile *) = {ROW(1), ROW(2)};
    table[nv - 1][t->m - 1](t);
    if (t->sums)
        finish_sums(t, nv);
}

static void pack_a(void *dst, const uint8_t *src, int64_t n, uint8_t flip, int32_t za)
{
    int16_t *y = dst;
    const __m256i z = _mm256_set1_epi16((int16_t)za);
    const __m128i f = _mm_set1_epi8((char)flip);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i x = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)(src + i)), f);
        _mm256_storeu_si256((__m256i *)(void *)(y + i), _mm256_sub_epi16(_mm256_cvtepu8_epi16(x), z));
    }
    for (; i < n; i++)
        y[i] = (int16_t)((src[i] ^ flip) - za);
}

static void pack_b(void *dst, const uint8_t *const *row, int64_t n, uint8_t flip, const int16_t *zp,
                   int32_t *sum)
{
    int16_t *y = dst;
    const __m128i f = _mm_set1_epi8((char)flip);
    (void)sum;
    for (int64_t i = 0; i < n; i += LANES) {
        __m128i r0 = _mm_xor_si128(_mm_loadl_epi64((const __m128i *)(const void *)(row[0] + i)), f);
        __m128i r1 = _mm_xor_si128(_mm_loadl_epi64((const __m128i *)(const void *)(row[1] + i)), f);
        vi pairs = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(r0, r1));
        _mm256_storeu_si256((vi *)(void *)(y + 2 * i), _mm256_sub_epi16(pairs, v_load(zp + 2 * i)));
    }
}

static void depthwise_pixel(const ptq_int_dw *d, int64_t p)
{
    const __m128i flip = _mm_set1_epi8((char)d->flip);
    uint8_t *y = (uint8_t *)d->y + (size_t)p * d->ldy;
    for (int64_t c = 0; c < d->c; c += 16) {
        vi acc0 = v_load(d->bias + c), acc1 = v_load(d->bias + c + 8);
        int64_t left = d->c - c;
        for (int t = 0; t < d->taps; t++) {
            const uint8_t *x = d->tap[t] + p * d->step[t] + c;
            const int32_t *w = (const int32_t *)d->w + t * d->cpad + c;
            __m128i v0 = _mm_xor_si128(load8(x, left), flip);
            acc0 = _mm256_add_epi32(acc0, _mm256_madd_epi16(_mm256_cvtepu8_epi32(v0), v_load(w)));
            if (left > 8) {
                __m128i v1 = _mm_xor_si128(load8(x + 8, left - 8), flip);
                acc1 = _mm256_add_epi32(acc1, _mm256_madd_epi16(_mm256_cvtepu8_epi32(v1), v_load(w + 8)));
            }
        }
        v_store(acc0, d->mult + c, d->lo, d->hi, d->zy, d->float_out, y, (size_t)c,
                (int)(left < LANES ? left : LANES));
        if (left > 8)
            v_store(acc1, d->mult + c + 8, d->lo, d->hi, d->zy, d->float_out, y, (size_t)(c + 8),
                    (int)(left - 8 < LANES ? left - 8 : LANES));
    }
}

static void depthwise(const ptq_int_dw *d)
{
    for (int64_t p = 0; p < d->pixels; p++)
        depthwise_pixel(d, p);
}

const ptq_int_dot ptq_int_dot_avx2 = {
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
