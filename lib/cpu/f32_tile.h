/* SPDX-License-Identifier: Apache-2.0 */
/* Product tiles of one vector instruction set; the including file defines the vector type VF with
 * VW lanes, vload, vstore, vset1, vadd, vfma(a, b, c) = a * b + c, vclamp(x, lo, hi),
 * vmax_sticky(p, x), the tile's TILE_ROWS, TILE_ROWS_NARROW and TILE_T_COLS. All loop bounds are
 * constants after inlining, so the accumulators live in registers. */

/* Weights on the left are read once, from memory when there are many: fetched this many floats
 * ahead (64 lines). Past the end of a block lies the same panel's next one. */
enum { PREFETCH = 1024 };

#define PTQ_INLINE static inline __attribute__((always_inline))

PTQ_INLINE void tile_body(const int R, const int V, const ptq_f32_tile *t)
{
    VF acc[TILE_ROWS_NARROW][3];
    const float *a = t->a, *b = t->b;
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 3
        for (int v = 0; v < V; v++)
            acc[r][v] = t->first ? vset1(0.0f) : vload(t->c + r * t->ldc + v * VW);
    for (int64_t k = 0; k < t->kc; k++) {
        VF bv[3];
#pragma GCC unroll 3
        for (int v = 0; v < V; v++)
            bv[v] = vload(b + v * VW);
        if (t->fetch)
            __builtin_prefetch(a + PREFETCH);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            VF av = vset1(a[r]);
#pragma GCC unroll 3
            for (int v = 0; v < V; v++)
                acc[r][v] = vfma(av, bv[v], acc[r][v]);
        }
        a += PTQ_A_PANEL;
        b += t->ldb;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 3
        for (int v = 0; v < V; v++) {
            VF x = acc[r][v];
            if (t->last) {
                if (t->bias_row)
                    x = vadd(x, vset1(t->bias_row[r]));
                if (t->bias_col)
                    x = vadd(x, vload(t->bias_col + v * VW));
                if (t->act.on)
                    x = vclamp(x, t->act.lo, t->act.hi);
            }
            vstore(t->c + r * t->ldc + v * VW, x);
        }
}

#define TILE_CASES(R)                                                                              \
    case (R) * 4 + 2: tile_body(R, 2, t); break;                                                   \
    case (R) * 4 + 3: tile_body(R, 3, t); break;

/* One vector of columns has few accumulators per row: more rows hide the latency of the chains. */
static void tile_narrow(const ptq_f32_tile *t)
{
    switch (t->rows) {
    case 1: tile_body(1, 1, t); break;
    case 2: tile_body(2, 1, t); break;
    case 3: tile_body(3, 1, t); break;
    case 4: tile_body(4, 1, t); break;
    case 5: tile_body(5, 1, t); break;
    case 6: tile_body(6, 1, t); break;
    case 7: tile_body(7, 1, t); break;
    case 8: tile_body(8, 1, t); break;
#if TILE_ROWS_NARROW == 16
    case 9: tile_body(9, 1, t); break;
    case 10: tile_body(10, 1, t); break;
    case 11: tile_body(11, 1, t); break;
    case 12: tile_body(12, 1, t); break;
    case 13: tile_body(13, 1, t); break;
    case 14: tile_body(14, 1, t); break;
    case 15: tile_body(15, 1, t); break;
    case 16: tile_body(16, 1, t); break;
#endif
    default: break;
    }
}

static void tile(const ptq_f32_tile *t)
{
    if (t->nv == 1) {
        tile_narrow(t);
        return;
    }
    switch (t->rows * 4 + t->nv) {
        TILE_CASES(1)
        TILE_CASES(2)
        TILE_CASES(3)
        TILE_CASES(4)
#if TILE_ROWS == 8
        TILE_CASES(5)
        TILE_CASES(6)
        TILE_CASES(7)
        TILE_CASES(8)
#endif
    default: break;
    }
}

PTQ_INLINE void tile_t_body(const int N, const ptq_f32_tile_t *t)
{
    VF acc[TILE_T_COLS][2];
    const float *a = t->a, *b = t->b;
#pragma GCC unroll 8
    for (int j = 0; j < N; j++)
        acc[j][0] = acc[j][1] = vset1(0.0f);
    for (int64_t k = 0; k < t->kc; k++) {
        VF a0 = vload(a), a1 = vload(a + t->a_next);
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) {
            VF bv = vset1(b[j]);
            acc[j][0] = vfma(a0, bv, acc[j][0]);
            acc[j][1] = vfma(a1, bv, acc[j][1]);
        }
        a += PTQ_A_PANEL;
        b += t->ldb;
    }
#pragma GCC unroll 8
    for (int j = 0; j < N; j++) {
        vstore(t->c + j * 32, acc[j][0]);
        vstore(t->c + j * 32 + VW, acc[j][1]);
    }
}

static void tile_t(const ptq_f32_tile_t *t)
{
    switch (t->n) {
    case 1: tile_t_body(1, t); break;
    case 2: tile_t_body(2, t); break;
    case 3: tile_t_body(3, t); break;
    case 4: tile_t_body(4, t); break;
    case 5: tile_t_body(5, t); break;
    case 6: tile_t_body(6, t); break;
#if TILE_T_COLS == 8
    case 7: tile_t_body(7, t); break;
    case 8: tile_t_body(8, t); break;
#endif
    default: break;
    }
}

/* Depthwise taps: four vectors of outputs at a time hide the latency of the chains. */
PTQ_INLINE void taps_body(const int V, const float *x, const int64_t *off, const float *w,
                          int ntaps, const float *bias, ptq_act act, float *y)
{
    VF acc[4];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++)
        acc[v] = vset1(0.0f);
    for (int t = 0; t < ntaps; t++) {
        const float *p = x + off[t];
        VF wv = vset1(w[t]);
#pragma GCC unroll 4
        for (int v = 0; v < V; v++)
            acc[v] = vfma(vload(p + v * VW), wv, acc[v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
        if (bias)
            acc[v] = vadd(acc[v], vset1(*bias));
        if (act.on)
            acc[v] = vclamp(acc[v], act.lo, act.hi);
        vstore(y + v * VW, acc[v]);
    }
}

/* Reads and writes up to the next multiple of 16 elements. */
static void taps(const float *x, const int64_t *off, const float *w, int ntaps, const float *bias,
                 ptq_act act, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW)
        taps_body(4, x + i, off, w, ntaps, bias, act, y + i);
    for (; i < n; i += VW)
        taps_body(1, x + i, off, w, ntaps, bias, act, y + i);
}

/* Element i goes to partial i % 64, as in the reference, so that NaN come out alike. */
static float max_of(const float *x, int64_t n)
{
    VF p[PTQ_MAX_LANES / VW];
    float q[PTQ_MAX_LANES];
    int64_t i = 0;
    for (int j = 0; j < PTQ_MAX_LANES / VW; j++)
        p[j] = vset1(n > 0 ? x[0] : -INFINITY);
    for (; i + PTQ_MAX_LANES <= n; i += PTQ_MAX_LANES)
#pragma GCC unroll 8
        for (int j = 0; j < PTQ_MAX_LANES / VW; j++)
            p[j] = vmax_sticky(p[j], vload(x + i + j * VW));
    bool rest = i < n; /* single elements into the partials of the last vectors */
#pragma GCC unroll 8
    for (int j = 0; j < PTQ_MAX_LANES / VW; j++) {
        if (i + VW <= n) {
            p[j] = vmax_sticky(p[j], vload(x + i));
            i += VW;
        }
        if (rest)
            vstore(q + j * VW, p[j]);
    }
    if (rest) {
        for (; i < n; i++)
            q[i % PTQ_MAX_LANES] = ptq_maxf(q[i % PTQ_MAX_LANES], x[i]);
#pragma GCC unroll 8
        for (int j = 0; j < PTQ_MAX_LANES / VW; j++)
            p[j] = vload(q + j * VW);
    }
#pragma GCC unroll 4
    for (int w = PTQ_MAX_LANES / VW / 2; w > 0; w /= 2)
#pragma GCC unroll 4
        for (int j = 0; j < w; j++)
            p[j] = vmax_sticky(p[j], p[j + w]);
    return vmax_fold(p[0]);
}
