/* SPDX-License-Identifier: Apache-2.0 */
/* Tile and depthwise kernels on 512-bit vectors; the including file defines v_dot. */
#include <immintrin.h>
#include <string.h>

#include "lib/cpu/int.h"
#include "lib/cpu/mask512.h"

enum { LANES = 16, NV = 4, MR = 6, MR_NARROW = 12 };
typedef __m512i vi;

static inline vi v_dot(vi acc, vi a, vi b);

static inline vi v_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

static inline void v_put(void *p, vi v)
{
    _mm512_store_si512(p, v);
}

static inline vi v_bcast(const void *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}

static inline vi v_quant(vi acc, const float *mult, float lo, float hi, int32_t zy)
{
    __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_loadu_ps(mult));
    f = _mm512_min_ps(_mm512_max_ps(f, _mm512_set1_ps(lo)), _mm512_set1_ps(hi));
    return _mm512_add_epi32(_mm512_cvtps_epi32(f), _mm512_set1_epi32(zy));
}

/* Four vectors of values on the output's grid to bytes, each 128-bit part on its own: part p holds
 * the four values p of the first vector, then those of the second and so on. */
static inline vi v_bytes(const vi *q, bool sgn)
{
    vi lo = _mm512_packs_epi32(q[0], q[1]), hi = _mm512_packs_epi32(q[2], q[3]);
    return sgn ? _mm512_packs_epi16(lo, hi) : _mm512_packus_epi16(lo, hi);
}

/* The same where rounding may come before the clamp: `q` on the output's grid, without its zero point if z. */
static inline __attribute__((always_inline)) vi v_codes(const ptq_int_tile *t, const vi *q, const bool z)
{
    vi lo = _mm512_packs_epi32(q[0], q[1]), hi = _mm512_packs_epi32(q[2], q[3]);
    const vi least = _mm512_set1_epi32((int32_t)t->lo8), most = _mm512_set1_epi32((int32_t)t->hi8);
    if (z) {
        lo = _mm512_adds_epi16(lo, _mm512_set1_epi16((int16_t)t->zy));
        hi = _mm512_adds_epi16(hi, _mm512_set1_epi16((int16_t)t->zy));
    }
    if (t->sgn)
        return _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(lo, hi), least), most);
    return _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(lo, hi), least), most);
}

static inline void v_store(vi acc, const float *mult, float lo, float hi, int32_t zy, bool float_out,
                           void *y, size_t at, int left)
{
    if (float_out) {
        __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_loadu_ps(mult));
        _mm512_mask_storeu_ps((float *)y + at, mask16(left), f);
        return;
    }
    vi q = v_quant(acc, mult, lo, hi, zy);
    _mm_mask_storeu_epi8((uint8_t *)y + at, mask16(left), _mm512_cvtepi32_epi8(q));
}

static inline __attribute__((always_inline)) void v_finish(const ptq_int_tile *t, vi *acc, int row,
                                                           const int nv)
{
    uint8_t *y = (uint8_t *)t->y + (size_t)row * t->ldy;
    if (t->rowsum)
        for (int j = 0; j < nv; j++)
            acc[j] = _mm512_sub_epi32(acc[j], _mm512_mullo_epi32(_mm512_set1_epi32(t->rowsum[row]),
                                                                 v_load(t->wzp + j * LANES)));
    if (t->float_out || nv == 1) {
        for (int j = 0; j < nv; j++)
            v_store(acc[j], t->mult + j * LANES, t->lo, t->hi, t->zy, t->float_out, y,
                    (size_t)(j * LANES), t->n - j * LANES);
        return;
    }
    /* one permutation and one store for the whole row */
    const vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    vi q[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
        if (j >= nv)
            q[j] = _mm512_setzero_si512();
        else if (t->small)
            q[j] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[j]), _mm512_loadu_ps(t->mult + j * LANES)));
        else
            q[j] = v_quant(acc[j], t->mult + j * LANES, t->lo, t->hi, t->zy);
    }
    vi bytes = _mm512_permutexvar_epi32(order, t->small ? v_codes(t, q, true) : v_bytes(q, t->sgn));
    if (t->n >= 64)
        _mm512_storeu_si512(y, bytes);
    else
        _mm512_mask_storeu_epi8(y, mask64(t->n), bytes);
}

#include "lib/cpu/int_tile.h"

/* ---- the end with a residual: the law of ptq_requantize_residual ---- */

typedef struct law {
    __m512 lo, hi, zy, r, ra, rb, fx, lo2, hi2;
    vi z, izy;
} law;

static inline law law_of(const ptq_int_tile *t)
{
    const ptq_residual *a = t->residual;
    return (law){.lo = _mm512_set1_ps(t->lo), .hi = _mm512_set1_ps(t->hi), .zy = _mm512_set1_ps((float)t->zy),
                 .r = _mm512_set1_ps(a->r), .ra = _mm512_set1_ps(a->add.ra), .rb = _mm512_set1_ps(a->add.rb),
                 .fx = _mm512_set1_ps(a->add.fx), .lo2 = _mm512_set1_ps((float)a->lo),
                 .hi2 = _mm512_set1_ps((float)a->hi), .z = _mm512_set1_epi32(a->z),
                 .izy = _mm512_set1_epi32(t->zy)};
}

enum { IN_FLOAT, SKIP_FIRST, SKIP_SECOND };

/* Without the last clamp where that comes later; the zero point of IN_FLOAT too. */
INLINE vi v_sum(const law *a, const int kind, const bool small, vi acc, const float *mult, vi s)
{
    __m512 f = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), _mm512_loadu_ps(mult));
    if (kind == IN_FLOAT) {
        f = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(s, a->z)), a->r, f);
        if (small)
            return _mm512_cvtps_epi32(f);
        return _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(f, a->lo), a->hi)), a->izy);
    }
    f = _mm512_min_ps(_mm512_max_ps(f, a->lo), a->hi);
    f = _mm512_add_ps(_mm512_roundscale_ps(f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), a->zy);
    __m512 g = _mm512_cvtepi32_ps(s); /* f is the product's code, exact */
    f = kind == SKIP_FIRST ? _mm512_fmadd_ps(g, a->ra, _mm512_fmadd_ps(f, a->rb, a->fx))
                           : _mm512_fmadd_ps(f, a->ra, _mm512_fmadd_ps(g, a->rb, a->fx));
    return _mm512_cvtps_epi32(small ? f : _mm512_min_ps(_mm512_max_ps(f, a->lo2), a->hi2));
}

/* m rows of nv vectors from t->sums. */
INLINE void sums_body(const ptq_int_tile *t, const int m, const int nv, const int kind, const bool sgn,
                      const bool small)
{
    const law a = law_of(t);
    const vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __mmask64 mask = mask64(t->n);
    const uint8_t *skip = t->skip;
    uint8_t *y = t->y;
    for (int i = 0; i < m; i++, skip += t->ld_skip, y += t->ldy) {
        vi q[NV];
        q[0] = q[1] = q[2] = q[3] = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) {
            if (j >= nv)
                break;
            vi acc = _mm512_load_si512(t->sums + (i * NV + j) * LANES);
            if (t->rowsum)
                acc = _mm512_sub_epi32(acc, _mm512_mullo_epi32(_mm512_set1_epi32(t->rowsum[i]),
                                                               v_load(t->wzp + j * LANES)));
            __m128i codes = _mm_maskz_loadu_epi8((__mmask16)(mask >> (j * LANES)), skip + j * LANES);
            vi s = sgn ? _mm512_cvtepi8_epi32(codes) : _mm512_cvtepu8_epi32(codes);
            q[j] = v_sum(&a, kind, small, acc, t->mult + j * LANES, s);
        }
        vi bytes = small ? v_codes(t, q, kind == IN_FLOAT) : v_bytes(q, t->sgn);
        _mm512_mask_storeu_epi8(y, mask, _mm512_permutexvar_epi32(order, bytes));
    }
}

/* The law is told apart outside of the loops, and whole panels, which are most. */
#define SUMS(KIND, SGN)                                                                            \
    static void sums_##KIND##_##SGN(const ptq_int_tile *t, int m, int nv)                          \
    {                                                                                              \
        if (nv == NV && t->small)                                                                  \
            sums_body(t, m, NV, KIND, SGN, true);                                                  \
        else                                                                                       \
            sums_body(t, m, nv, KIND, SGN, false);                                                 \
    }
SUMS(IN_FLOAT, 0)
SUMS(IN_FLOAT, 1)
SUMS(SKIP_FIRST, 0)
SUMS(SKIP_FIRST, 1)
SUMS(SKIP_SECOND, 0)
SUMS(SKIP_SECOND, 1)

static void finish_sums(const ptq_int_tile *t, int m, int nv)
{
    static void (*const table[3][2])(const ptq_int_tile *, int, int) = {
        {sums_IN_FLOAT_0, sums_IN_FLOAT_1},
        {sums_SKIP_FIRST_0, sums_SKIP_FIRST_1},
        {sums_SKIP_SECOND_0, sums_SKIP_SECOND_1},
    };
    const ptq_residual *a = t->residual;
    int kind = a->kind == PTQ_RESIDUAL_FLOAT ? IN_FLOAT : a->skip_first ? SKIP_FIRST : SKIP_SECOND;
    table[kind][t->skip_sgn](t, m, nv);
}

#define TILES(N) TILE(1, N) TILE(2, N) TILE(3, N) TILE(4, N) TILE(5, N) TILE(6, N)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILE(12, 1)
TILE(12, 2)

#define ROW(N) {tile_1_##N, tile_2_##N, tile_3_##N, tile_4_##N, tile_5_##N, tile_6_##N}

static void tile(const ptq_int_tile *t, int nv)
{
    static void (*const table[NV][MR])(const ptq_int_tile *) = {ROW(1), ROW(2), ROW(3), ROW(4)};
    if (t->m <= MR) {
        table[nv - 1][t->m - 1](t);
        if (t->sums)
            finish_sums(t, t->m, nv);
        return;
    }
    if (t->m == MR_NARROW) {
        (nv == 1 ? tile_12_1 : tile_12_2)(t);
        if (t->sums)
            finish_sums(t, t->m, nv);
        return;
    }
    ptq_int_tile part = *t;
    for (int m = t->m; m > 0; m -= MR) { /* a narrow panel's last rows can be more than MR */
        part.m = m < MR ? m : MR;
        table[nv - 1][part.m - 1](&part);
        if (t->sums)
            finish_sums(&part, part.m, nv);
        part.a = (const uint8_t *)part.a + MR * t->lda;
        part.y = (uint8_t *)part.y + MR * t->ldy;
        part.rowsum = part.rowsum ? part.rowsum + MR : NULL;
        part.skip = part.skip ? part.skip + MR * t->ld_skip : NULL;
        part.ahead = part.ahead ? part.ahead + MR * t->ld_skip : NULL;
    }
}

/* 16 or 64 channels at a time: byte x 16-bit products in 32-bit lanes whose upper halves are 0. */
INLINE void depthwise_part(const ptq_int_dw *d, int64_t p, int64_t c, const int nv)
{
    vi acc[NV];
    __mmask16 mask[NV];
    const __m128i flip = _mm_set1_epi8((char)d->flip);
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++) {
        mask[j] = mask16(d->c - c - j * LANES);
        acc[j] = v_load(d->bias + c + j * LANES);
    }
    for (int t = 0; t < d->taps; t++) {
        const uint8_t *x = d->tap[t] + p * d->step[t] + c;
        const int32_t *w = (const int32_t *)d->w + t * d->cpad + c;
#pragma GCC unroll 4
        for (int j = 0; j < nv; j++) {
            __m128i v = _mm_xor_si128(_mm_maskz_loadu_epi8(mask[j], x + j * LANES), flip);
            acc[j] = _mm512_add_epi32(
                acc[j], _mm512_madd_epi16(_mm512_cvtepu8_epi32(v), v_load(w + j * LANES)));
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++)
        v_store(acc[j], d->mult + c + j * LANES, d->lo, d->hi, d->zy, d->float_out,
                (uint8_t *)d->y + (size_t)p * d->ldy, (size_t)(c + j * LANES),
                (int)(d->c - c - j * LANES > LANES ? LANES : d->c - c - j * LANES));
}

static void depthwise(const ptq_int_dw *d)
{
    for (int64_t p = 0; p < d->pixels; p++) {
        int64_t c = 0;
        for (; d->c - c > 48; c += 64)
            depthwise_part(d, p, c, 4);
        for (; d->c - c > 0; c += 16)
            depthwise_part(d, p, c, 1);
    }
}
