/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512: tile of 8 rows x 48 columns, 24 accumulators. */
/* The flags say -O3, but the -O2 of the user's CFLAGS comes later and wins: then the loops over
 * exp and erf are not vectors. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include <immintrin.h>

#include "lib/cpu/f32.h"
#include "lib/cpu/mask512.h"

#define VF __m512
#define VW 16
#define TILE_ROWS 8
#define TILE_ROWS_NARROW 16
#define TILE_T_COLS 8
#define vload _mm512_loadu_ps
#define vstore _mm512_storeu_ps
#define vset1 _mm512_set1_ps
#define vadd _mm512_add_ps
#define vfma _mm512_fmadd_ps
/* max and min return the second operand when one is NaN: NaN stays. */
#define vclamp(x, lo, hi) _mm512_min_ps(vset1(hi), _mm512_max_ps(vset1(lo), (x)))
/* max gives its second operand when one is NaN, and of equal values (zeros); a NaN of x wins where p has none. */
#define vmax_sticky(p, x) \
    _mm512_mask_mov_ps(_mm512_max_ps((x), (p)),                                                            \
                       _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask((p), (p), _CMP_ORD_Q), (x), (x), _CMP_UNORD_Q), (x))

/* Lanes folded 8, 4, 2, 1. */
static inline float vmax_fold(__m512 p)
{
    p = vmax_sticky(p, _mm512_shuffle_f32x4(p, p, 0x4e));
    p = vmax_sticky(p, _mm512_shuffle_f32x4(p, p, 0xb1));
    p = vmax_sticky(p, _mm512_shuffle_ps(p, p, 0x4e));
    p = vmax_sticky(p, _mm512_shuffle_ps(p, p, 0xb1));
    return _mm512_cvtss_f32(p);
}

#include "lib/cpu/f32_loops.h"
#include "lib/cpu/f32_tile.h"

/* A gather costs about 16 loads; up to MAX_SEGMENTS loads with a mask are cheaper. */
enum { MAX_SEGMENTS = 5 };

PTQ_INLINE void columns_segments(const int S, const float *x, const int64_t *off, int64_t kc,
                                 const ptq_f32_lanes *g, float *dst, int64_t ld)
{
    for (int64_t k = 0; k < kc; k++) {
        const float *p = x + off[k];
        VF v = _mm512_maskz_loadu_ps(g->mask[0], p + g->from[0]);
#pragma GCC unroll 5
        for (int s = 1; s < S; s++)
            v = _mm512_mask_loadu_ps(v, g->mask[s], p + g->from[s]);
        vstore(dst + k * ld, v);
    }
}

static void columns_gather(const float *x, const int64_t *off, int64_t kc, const ptq_f32_lanes *g,
                           float *dst, int64_t ld)
{
    __m512i v = _mm512_loadu_si512(g->at);
    __mmask16 m = _mm512_cmpge_epi32_mask(v, _mm512_setzero_si512());
    for (int64_t k = 0; k < kc; k++)
        vstore(dst + k * ld,
               _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, v, x + off[k], 4));
}

static void columns(const float *x, const int64_t *off, int64_t kc, const ptq_f32_lanes *lanes,
                    int groups, float *dst, int64_t ld)
{
    for (int i = 0; i < groups; i++, dst += VW) {
        const ptq_f32_lanes *g = &lanes[i];
        switch (g->nseg <= MAX_SEGMENTS ? g->nseg : 0) {
        case 1: columns_segments(1, x, off, kc, g, dst, ld); break;
        case 2: columns_segments(2, x, off, kc, g, dst, ld); break;
        case 3: columns_segments(3, x, off, kc, g, dst, ld); break;
        case 4: columns_segments(4, x, off, kc, g, dst, ld); break;
        case 5: columns_segments(5, x, off, kc, g, dst, ld); break;
        default: columns_gather(x, off, kc, g, dst, ld); break;
        }
    }
}

/* V vectors of outputs from vector i on; lanes past the last output are neither read nor written. */
PTQ_INLINE void masked_body(const int V, const float *x, const ptq_f32_masks *m, int64_t i,
                            const float *w, const float *bias, ptq_act act, float *y)
{
    VF acc[4];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++)
        acc[v] = vset1(0.0f);
    const uint16_t *mask = m->mask + i;
    for (int t = 0; t < m->taps; t++, mask += m->vectors) {
        const float *p = x + m->off[t] + i * VW;
        VF wv = vset1(w[t]);
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            acc[v] = vfma(_mm512_maskz_loadu_ps(mask[v], p + v * VW), wv, acc[v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
        int64_t left = m->n - (i + v) * VW;
        if (bias)
            acc[v] = vadd(acc[v], vset1(*bias));
        if (act.on)
            acc[v] = vclamp(acc[v], act.lo, act.hi);
        _mm512_mask_storeu_ps(y + (i + v) * VW, mask16(left), acc[v]);
    }
}

static void taps_masked(const float *x, const ptq_f32_masks *m, const float *w, const float *bias,
                        ptq_act act, float *y)
{
    int64_t i = 0;
    for (; i + 4 <= m->vectors; i += 4)
        masked_body(4, x, m, i, w, bias, act, y);
    for (; i < m->vectors; i++)
        masked_body(1, x, m, i, w, bias, act, y);
}

#include "lib/cpu/f32_window512.h"
#include "lib/cpu/f32_rows512.h"

const ptq_f32_fns ptq_f32_avx512 = {
    .lanes = VW,
    .tile_rows = TILE_ROWS,
    .tile_rows_narrow = TILE_ROWS_NARROW,
    .tile_cols = 3 * VW,
    .tile_t_cols = TILE_T_COLS,
    .tile_t_rows = 2 * VW,
    .tile = tile,
    .tile_t = tile_t,
    .columns = columns,
    .taps = taps,
    .taps_masked = taps_masked,
    .window = window,
    .rows3 = rows3,
    F32_LOOPS,
};
