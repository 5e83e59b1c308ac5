/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 and FMA: tile of 4 rows x 24 columns, 12 accumulators. */
/* The flags say -O3, but the -O2 of the user's CFLAGS comes later and wins: then the loops over
 * exp and erf are not vectors. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include <immintrin.h>

#include "lib/cpu/f32.h"

#define VF __m256
#define VW 8
#define TILE_ROWS 4
#define TILE_ROWS_NARROW 8
#define TILE_T_COLS 6
#define vload _mm256_loadu_ps
#define vstore _mm256_storeu_ps
#define vset1 _mm256_set1_ps
#define vadd _mm256_add_ps
#define vfma _mm256_fmadd_ps
/* max and min return the second operand when one is NaN: NaN stays. */
#define vclamp(x, lo, hi) _mm256_min_ps(vset1(hi), _mm256_max_ps(vset1(lo), (x)))
/* max gives its second operand when one is NaN, and of equal values (zeros); a NaN of x wins where p has none. */
#define vmax_sticky(p, x) \
    _mm256_blendv_ps(_mm256_max_ps((x), (p)), (x),                                                         \
                     _mm256_andnot_ps(_mm256_cmp_ps((p), (p), _CMP_UNORD_Q), _mm256_cmp_ps((x), (x), _CMP_UNORD_Q)))

/* Lanes folded 4, 2, 1. */
static inline float vmax_fold(__m256 p)
{
    p = vmax_sticky(p, _mm256_permute2f128_ps(p, p, 1));
    p = vmax_sticky(p, _mm256_shuffle_ps(p, p, 0x4e));
    p = vmax_sticky(p, _mm256_shuffle_ps(p, p, 0xb1));
    return _mm256_cvtss_f32(p);
}

#include "lib/cpu/f32_loops.h"
#include "lib/cpu/f32_tile.h"

/* Eight of sixteen lanes. */
static void columns8(const float *x, const int64_t *off, int64_t kc, const int32_t *at, float *dst,
                     int64_t ld)
{
    bool run = at[0] >= 0;
    for (int l = 1; l < VW; l++)
        run &= at[l] == at[0] + l;
    if (run) {
        for (int64_t k = 0; k < kc; k++)
            vstore(dst + k * ld, vload(x + off[k] + at[0]));
        return;
    }
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256 m = _mm256_castsi256_ps(_mm256_cmpgt_epi32(v, _mm256_set1_epi32(-1)));
    for (int64_t k = 0; k < kc; k++)
        vstore(dst + k * ld,
               _mm256_mask_i32gather_ps(_mm256_setzero_ps(), x + off[k], v, m, 4));
}

static void columns(const float *x, const int64_t *off, int64_t kc, const ptq_f32_lanes *lanes,
                    int groups, float *dst, int64_t ld)
{
    for (int i = 0; i < groups * 2; i++)
        columns8(x, off, kc, lanes[i / 2].at + i % 2 * VW, dst + i * VW, ld);
}

const ptq_f32_fns ptq_f32_avx2 = {
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
    F32_LOOPS,
};
