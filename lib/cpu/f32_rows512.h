/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise windows of 3 x 3 with AVX-512; included by f32_avx512.c. Sixteen columns of outputs at a time go down
 * the plane: three rows of the window rest in registers, each row is read once, and masks in registers keep what
 * lies left and right of it at zero. */

typedef struct columns3 { /* of one sixteen of outputs */
    int64_t plane;        /* floats to the next plane, which is fetched meanwhile */
    int64_t at;           /* input column of the first output's first tap */
    __mmask16 lo[3], hi[3]; /* lanes inside: stride 1 of tap kx; stride 2 of the two vectors from columns 0 and 2 on */
} columns3;

/* Lanes l with 0 <= at + l < n. */
static inline __mmask16 lanes_inside(int64_t at, int64_t n)
{
    unsigned upper = at >= n ? 0 : n - at >= 16 ? 0xffff : (1u << (n - at)) - 1;
    unsigned lower = at <= -16 ? 0xffff : at < 0 ? (1u << -at) - 1 : 0;
    return (__mmask16)(upper & ~lower);
}

/* The elements that the three taps of a row read; x: the row, NULL in the padding. */
PTQ_INLINE void rows3_load(const int S, const columns3 *c, const float *x, VF *v)
{
    if (!x) {
        v[0] = v[1] = v[2] = vset1(0.0f);
        return;
    }
    x += c->at;
    __builtin_prefetch(x + c->plane + 1, 0, 2);
    if (S == 2)
        __builtin_prefetch(x + c->plane + 1 + VW, 0, 2);
    if (S == 1) {
        for (int i = 0; i < 3; i++)
            v[i] = _mm512_maskz_loadu_ps(c->lo[i], x + i);
        return;
    }
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    VF a = _mm512_maskz_loadu_ps(c->lo[0], x), b = _mm512_maskz_loadu_ps(c->hi[0], x + VW);
    v[0] = _mm512_permutex2var_ps(a, even, b);
    v[1] = _mm512_permutex2var_ps(a, odd, b);
    v[2] = _mm512_permutex2var_ps(_mm512_maskz_loadu_ps(c->lo[2], x + 2), even,
                                  _mm512_maskz_loadu_ps(c->hi[2], x + 2 + VW));
}

PTQ_INLINE void rows3_body(const int S, const ptq_f32_rows3 *t, int64_t col)
{
    columns3 c = {.plane = t->height * t->width, .at = col * S - t->left};
    for (int i = 0; i < 3; i++) {
        c.lo[i] = lanes_inside(c.at + i, t->width);
        c.hi[i] = lanes_inside(c.at + i + VW, t->width);
    }
    VF w[9], r[3][3];
    for (int i = 0; i < 9; i++)
        w[i] = vset1(t->w[i]);
    VF bias = t->bias ? vset1(*t->bias) : vset1(0.0f);
    __mmask16 keep = mask16(t->out_width - col);
    float *y = t->y + col;
    int64_t row = -t->top; /* of the window's first line */
    for (int i = 0; i < 3; i++)
        rows3_load(S, &c, row + i >= 0 && row + i < t->height ? t->x + (row + i) * t->width : NULL, r[i]);
    for (int64_t o = 0; o < t->out_height; o++, y += t->out_width) {
        VF acc = vset1(0.0f);
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++)
#pragma GCC unroll 3
            for (int k = 0; k < 3; k++)
                acc = vfma(r[i][k], w[i * 3 + k], acc);
        if (t->bias)
            acc = vadd(acc, bias);
        if (t->act.on)
            acc = vclamp(acc, t->act.lo, t->act.hi);
        _mm512_mask_storeu_ps(y, keep, acc);
#pragma GCC unroll 2
        for (int s = 0; s < S; s++) {
            int64_t next = row + 3 + s;
#pragma GCC unroll 3
            for (int k = 0; k < 3; k++) {
                r[0][k] = r[1][k];
                r[1][k] = r[2][k];
            }
            rows3_load(S, &c, next >= 0 && next < t->height ? t->x + next * t->width : NULL, r[2]);
        }
        row += S;
    }
}

static void rows3(const ptq_f32_rows3 *t)
{
    for (int64_t col = 0; col < t->out_width; col += VW)
        if (t->stride == 1)
            rows3_body(1, t, col);
        else
            rows3_body(2, t, col);
}
