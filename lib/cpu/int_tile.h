/* SPDX-License-Identifier: Apache-2.0 */
/* The tile kernel, written once and compiled for each instruction set. The including file defines
 * LANES, NV, MR, MR_NARROW, the vector type vi and the functions v_load, v_bcast (4 bytes to every
 * lane), v_dot (one k group), v_put (to aligned memory) and v_finish (the epilogue of one row of nv vectors,
 * see ptq_int_tile).
 * No include guard: once per compilation unit. */
#define INLINE static inline __attribute__((always_inline))

INLINE void tile_body(const ptq_int_tile *t, const int m, const int nv)
{
    vi acc[MR_NARROW][NV];
    const uint8_t *b = t->b;
    const size_t lda = t->lda;
    /* three rows per base pointer keep the addresses in registers */
    const uint8_t *a[(MR_NARROW + 2) / 3];
#pragma GCC unroll 16
    for (int i = 0; i < (m + 2) / 3; i++)
        a[i] = (const uint8_t *)t->a + (size_t)(3 * i) * lda;
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 16
        for (int j = 0; j < nv; j++)
            acc[i][j] = v_load(t->bias + j * LANES);
    /* Rows that lie far apart come too late by themselves: 64 x 256 outputs took 4 times as long. */
    for (int i = 0; t->sums && i < m; i++)
        __builtin_prefetch(t->ahead + (size_t)i * t->ld_skip, 0, 2);
    for (int64_t k = t->kgroups; k > 0; k--) {
        vi bv[NV];
#pragma GCC unroll 16
        for (int j = 0; j < nv; j++)
            bv[j] = v_load(b + j * LANES * 4);
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) {
            vi av = v_bcast(a[i / 3] + (size_t)(i % 3) * lda);
#pragma GCC unroll 16
            for (int j = 0; j < nv; j++)
                acc[i][j] = v_dot(acc[i][j], av, bv[j]);
        }
        b += nv * LANES * 4;
#pragma GCC unroll 16
        for (int i = 0; i < (m + 2) / 3; i++)
            a[i] += 4;
    }
    if (t->sums) { /* the end needs more registers than the loop leaves: apart */
#pragma GCC unroll 16
        for (int i = 0; i < m; i++)
#pragma GCC unroll 16
            for (int j = 0; j < nv; j++)
                v_put(t->sums + (i * NV + j) * LANES, acc[i][j]);
        return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
        v_finish(t, acc[i], i, nv);
}

#define TILE(M, N)                                                                                 \
    static void tile_##M##_##N(const ptq_int_tile *t)                                              \
    {                                                                                              \
        tile_body(t, M, N);                                                                        \
    }
