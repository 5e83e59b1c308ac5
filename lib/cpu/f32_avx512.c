/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512: tile of 8 rows x 48 columns, 24 accumulators. */
#include <immintrin.h>

#include "lib/cpu/f32.h"

#define VF __m512
#define VW 16
#define TILE_ROWS 8
#define TILE_T_COLS 8
#define vload _mm512_loadu_ps
#define vstore _mm512_storeu_ps
#define vset1 _mm512_set1_ps
#define vadd _mm512_add_ps
#define vfma _mm512_fmadd_ps
/* max and min return the second operand when one is NaN: NaN stays. */
#define vclamp(x, lo, hi) _mm512_min_ps(vset1(hi), _mm512_max_ps(vset1(lo), (x)))

#include "lib/cpu/f32_loops.h"
#include "lib/cpu/f32_tile.h"

static void gather(const float *src, const int32_t *idx, const uint8_t *run, int n, float *dst)
{
    for (int i = 0; i < n; i += 16) {
        if (run[i / 16]) {
            vstore(dst + i, vload(src + idx[i]));
            continue;
        }
        __m512i v = _mm512_loadu_si512(idx + i);
        __mmask16 m = _mm512_cmpge_epi32_mask(v, _mm512_setzero_si512());
        vstore(dst + i, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, v, src, 4));
    }
}

const ptq_f32_fns ptq_f32_avx512 = {
    .lanes = VW,
    .tile_rows = TILE_ROWS,
    .tile_cols = 3 * VW,
    .tile_t_cols = TILE_T_COLS,
    .tile_t_rows = 2 * VW,
    .tile = tile,
    .tile_t = tile_t,
    .gather = gather,
    .taps = taps,
    F32_LOOPS,
};
