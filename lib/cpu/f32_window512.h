/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles of ptq_f32_window with AVX-512; included by f32_avx512.c behind f32_tile.h. */

/* Where a tile reads: moved on channel by channel. */
typedef struct window_place {
    const float *a, *next, *x[3], *ahead[3];
} window_place;

PTQ_INLINE void window_channel(const int R, const int V, const bool M, const ptq_f32_window *t, VF acc[16][3],
                               window_place *p)
{
#pragma GCC unroll 3
    for (int v = 0; v < V && V > 1; v++) { /* few outputs are near anyway, and loads are dear there */
        __builtin_prefetch(p->ahead[v], 0, 2);
        p->ahead[v] += t->plane;
    }
    for (int tap = 0; tap < (M ? t->taps : 1); tap++) {
        VF bv[3];
#pragma GCC unroll 3
        for (int v = 0; v < V; v++)
            bv[v] = M ? _mm512_maskz_loadu_ps(t->mask[v][tap * t->mask_step], p->x[v] + t->off[tap]) : vload(p->x[v]);
        __builtin_prefetch(p->next, 0, 2);
        p->next += t->next_step;
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            VF av = vset1(p->a[r]);
#pragma GCC unroll 3
            for (int v = 0; v < V; v++)
                acc[r][v] = vfma(av, bv[v], acc[r][v]);
        }
        p->a += PTQ_A_PANEL;
    }
#pragma GCC unroll 3
    for (int v = 0; v < V; v++)
        p->x[v] += t->plane;
}

/* Are sums written elsewhere than what is added lies, and than c? */
PTQ_INLINE bool sums_apart(const ptq_f32_window *t)
{
    return t->sum[0] && t->sum[0] != t->add[0];
}

/* Rows of results lie far apart, as do those that are added: asked for a row with each channel, because more at
 * once wait for each other, and loads for them. ch: below R for each kind that there is. */
PTQ_INLINE void ask_for_row(const int R, const int V, const ptq_f32_window *t, int64_t ch)
{
    float *const *at = t->c;
    int64_t ld = t->ldc;
    if (t->last && t->add[0]) {
        if (ch < R) {
#pragma GCC unroll 3
            for (int v = 0; v < V; v++)
                __builtin_prefetch(t->add[v] + ch * t->add_ld);
            return;
        }
        ch -= R;
        bool sum = sums_apart(t) && ch < R;
        ch -= sums_apart(t) && !sum ? R : 0;
        at = sum ? t->sum : at;
        ld = sum ? t->add_ld : ld;
    }
#pragma GCC unroll 3
    for (int v = 0; v < V; v++)
        __builtin_prefetch(at[v] + ch * ld, 1);
}

/* R rows (what lies beyond t->rows is computed and not stored), V vectors, M: masks. */
PTQ_INLINE void window_body(const int R, const int V, const bool M, const ptq_f32_window *t)
{
    VF acc[16][3];
    window_place p = {.a = t->a, .next = t->next};
#pragma GCC unroll 3
    for (int v = 0; v < V; v++) {
        p.x[v] = t->x[v];
        p.ahead[v] = t->ahead[v];
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 3
        for (int v = 0; v < V; v++)
            acc[r][v] = t->first || r >= t->rows
                            ? vset1(0.0f)
                            : _mm512_maskz_loadu_ps(t->keep[v], t->c[v] + r * t->ldc);
    int64_t asks = R * ((t->last && t->add[0] ? sums_apart(t) ? 2 : 1 : 0) + (t->first ? 1 : 0)), ch = 0;
    for (; ch < t->channels && ch < asks; ch++) {
        ask_for_row(R, V, t, ch);
        window_channel(R, V, M, t, acc, &p);
    }
    for (; ch < t->channels; ch++)
        window_channel(R, V, M, t, acc, &p);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
        if (r >= t->rows)
            break;
#pragma GCC unroll 3
        for (int v = 0; v < V; v++) {
            VF y = acc[r][v];
            float *to = t->c[v] + r * t->ldc;
            if (t->last) {
                if (t->bias)
                    y = vadd(y, vset1(t->bias[r]));
                if (t->sum[0]) {
                    _mm512_mask_storeu_ps(to, t->keep[v], y);
                    to = t->sum[v] + r * t->add_ld;
                }
                if (t->add[0])
                    y = vadd(y, _mm512_maskz_loadu_ps(t->keep[v], t->add[v] + r * t->add_ld));
                if (t->act.on)
                    y = vclamp(y, t->act.lo, t->act.hi);
            }
            _mm512_mask_storeu_ps(to, t->keep[v], y);
        }
    }
}

static void window(const ptq_f32_window *t)
{
    bool masks = t->mask[0] != NULL;
    switch ((t->nv * 2 + (t->rows > 8)) * 2 + masks) {
    case 4: window_body(8, 1, false, t); break;
    case 5: window_body(8, 1, true, t); break;
    case 6: window_body(16, 1, false, t); break;
    case 7: window_body(16, 1, true, t); break;
    case 8: window_body(8, 2, false, t); break;
    case 9: window_body(8, 2, true, t); break;
    case 12: window_body(8, 3, false, t); break;
    case 13: window_body(8, 3, true, t); break;
    default: break;
    }
}
