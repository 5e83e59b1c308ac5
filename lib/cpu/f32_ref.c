/* SPDX-License-Identifier: Apache-2.0 */
/* Plain C: the specification of the float inner loops, and the choice between the tables. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "lib/cpu/f32.h"

#include "lib/cpu/f32_loops.h"

enum { LANES = 16 };

static void tile(const ptq_f32_tile *t)
{
    for (int r = 0; r < t->rows; r++)
        for (int j = 0; j < t->nv * LANES; j++) {
            float acc = t->first ? 0.0f : t->c[r * t->ldc + j];
            for (int64_t k = 0; k < t->kc; k++)
                acc = fmaf(t->a[k * PTQ_A_PANEL + r], t->b[k * t->ldb + j], acc);
            if (t->last && t->bias_row)
                acc += t->bias_row[r];
            if (t->last && t->bias_col)
                acc += t->bias_col[j];
            if (t->last && t->act.on)
                acc = ptq_fclamp(acc, t->act.lo, t->act.hi);
            t->c[r * t->ldc + j] = acc;
        }
}

static float max_of(const float *x, int64_t n)
{
    return ptq_max64(x, n, 1);
}

static void columns(const float *x, const int64_t *off, int64_t kc, const ptq_f32_lanes *lanes,
                    int groups, float *dst, int64_t ld)
{
    for (int64_t k = 0; k < kc; k++)
        for (int i = 0; i < groups * LANES; i++) {
            int32_t at = lanes[i / LANES].at[i % LANES];
            dst[k * ld + i] = at < 0 ? 0.0f : x[off[k] + at];
        }
}

static void taps(const float *x, const int64_t *off, const float *w, int ntaps, const float *bias,
                 ptq_act act, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float acc = 0.0f;
        for (int t = 0; t < ntaps; t++)
            acc = fmaf(x[off[t] + i], w[t], acc);
        if (bias)
            acc += *bias;
        y[i] = act.on ? ptq_fclamp(acc, act.lo, act.hi) : acc;
    }
}

const ptq_f32_fns ptq_f32_ref = {
    .lanes = LANES,
    .tile_rows = 8,
    .tile_rows_narrow = 8,
    .tile_cols = 48,
    .tile = tile,
    .columns = columns,
    .taps = taps,
    F32_LOOPS,
};

const ptq_f32_fns *ptq_cpu_f32(const ptq_cpu *c)
{
#if defined(PTQ_X86)
    if (c->isa >= PTQ_ISA_AVX512)
        return &ptq_f32_avx512;
    if (c->isa == PTQ_ISA_AVX2)
        return &ptq_f32_avx2;
#endif
    (void)c;
    return &ptq_f32_ref;
}
