/* SPDX-License-Identifier: Apache-2.0 */
/* Float inner loops per instruction set: one table of functions for each, the same bytes from all.
 * f32_loops.h is compiled once per set; f32_tile.h holds the product tiles of the vector sets. */
#ifndef PTQ_CPU_F32_H
#define PTQ_CPU_F32_H

#include "lib/core/fmath.h"
#include "lib/cpu/cpu.h"

/* Packed operands, the same for every instruction set: A in panels of 16 rows, [k][16]; B in panels
 * of 48 columns, [k][48]. Missing rows are zeros in the last A panel. */
enum { PTQ_A_PANEL = 16, PTQ_B_PANEL = 48 };

/* One tile of C: rows x (nv vectors of columns), kc steps of the chains. */
typedef struct ptq_f32_tile {
    int rows, nv;
    int64_t kc;
    const float *a; /* element (r, k) at a[k * 16 + r] */
    const float *b; /* element (k, j) at b[k * ldb + j] */
    int64_t ldb;
    float *c;
    int64_t ldc;
    bool first; /* chains start at +0; else they go on from C */
    bool last;  /* bias and clamp follow */
    bool fetch; /* A is a weight and may lie in memory: fetch it ahead */
    const float *bias_row, *bias_col; /* of this tile; at most one is set */
    ptq_act act;
} ptq_f32_tile;

/* The same tile with the roles of the lanes exchanged, for few columns: lanes are rows of C. */
typedef struct ptq_f32_tile_t {
    int n; /* columns, at most tile_t_cols */
    int64_t kc;
    const float *a;
    int64_t a_next; /* distance to the second vector of rows */
    const float *b; /* element (k, j) at b[k * ldb + j] */
    int64_t ldb;
    float *c; /* [n][32]: two vectors of rows per column */
} ptq_f32_tile_t;

/* Sixteen columns of a gathered row. Lane l reads x[at[l]] for at[l] >= 0, else it is zero. Lanes
 * that read neighbours form a segment: segment s serves the lanes of mask[s], and its lane l reads
 * x[from[s] + l]. */
typedef struct ptq_f32_lanes {
    int32_t at[16];
    int nseg;
    int32_t from[16];
    uint16_t mask[16];
} ptq_f32_lanes;

/* Taps that each read a constant distance from their output: output i (of n) takes x[off[t] + i] where bit i
 * of the tap's mask is set, else 0. mask: [taps][vectors], 16 outputs each. */
typedef struct ptq_f32_masks {
    int64_t n, vectors;
    int taps;
    const int64_t *off;
    const uint16_t *mask;
} ptq_f32_masks;

/* A tile of a convolution whose outputs read their own place in the input and others a constant distance away:
 * rows x (nv vectors of 16 outputs), which may lie anywhere. Vector v takes x[v][channel * plane + off[tap] + lane]
 * where its mask for the tap has the lane, else 0. */
typedef struct ptq_f32_window {
    int rows, nv; /* at most 16 rows in tiles one vector wide, else 8; at most 3 vectors */
    int taps;
    int64_t channels, plane;
    const float *a; /* [channels][taps][16] */
    const float *x[3];
    const float *ahead[3]; /* outputs that come next: channel by channel fetched meanwhile */
    const int64_t *off;
    const uint16_t *mask[3]; /* [taps], mask_step apart; NULL: one tap, off 0, all lanes */
    int64_t mask_step;
    float *c[3]; /* rows ldc apart */
    int64_t ldc;
    uint16_t keep[3]; /* lanes of c that are read and written */
    bool first, last;  /* as in ptq_f32_tile */
    const float *next; /* weights that come next: fetched meanwhile, next_step floats per step of the chains */
    int64_t next_step;
    const float *bias; /* [rows] or NULL */
    const float *add[3]; /* laid out as c, added behind the bias; add[0] NULL: nothing */
    float *sum[3]; /* the same, may be add; where the sum goes, c keeps what add is added to. sum[0] NULL: to c */
    int64_t add_ld; /* of both */
    ptq_act act;
} ptq_f32_window;

/* A plane under a window of 3 x 3: chain over the taps row by row from +0, then + *bias, then the clamp. */
typedef struct ptq_f32_rows3 {
    const float *x, *w, *bias; /* bias may be NULL */
    float *y;
    int64_t height, width, out_height, out_width;
    int64_t top, left; /* padding */
    int stride;        /* 1 or 2, of rows and columns */
    ptq_act act;
} ptq_f32_rows3;

typedef void (*ptq_f32_unary)(const float *x, float *y, int64_t n, const float *par);
/* sa, sb: 1 contiguous, 0 one value for all. */
typedef void (*ptq_f32_binary)(const float *a, int sa, const float *b, int sb, float *y, int64_t n);

typedef struct ptq_f32_fns {
    int lanes;       /* floats per vector */
    int tile_rows;   /* divides PTQ_A_PANEL */
    int tile_rows_narrow; /* of tiles one vector wide; divides it too */
    int tile_cols;   /* divides PTQ_B_PANEL */
    int tile_t_cols; /* 0: no tile_t */
    int tile_t_rows; /* rows per call of tile_t: 16 or 32 */
    void (*tile)(const ptq_f32_tile *t);
    void (*tile_t)(const ptq_f32_tile_t *t);
    /* Rows k < kc of `groups` times 16 columns to dst + k * ld, read from x + off[k]. */
    void (*columns)(const float *x, const int64_t *off, int64_t kc, const ptq_f32_lanes *lanes,
                    int groups, float *dst, int64_t ld);
    /* y[i] = chain over taps of x[off[t] + i] * w[t] from +0, then + *bias, then the clamp. */
    void (*taps)(const float *x, const int64_t *off, const float *w, int ntaps, const float *bias,
                 ptq_act act, float *y, int64_t n);
    /* The same with masks; NULL where the instruction set has none. */
    void (*taps_masked)(const float *x, const ptq_f32_masks *m, const float *w, const float *bias,
                        ptq_act act, float *y);
    /* NULL where the instruction set has no masks. */
    void (*window)(const ptq_f32_window *t);
    void (*rows3)(const ptq_f32_rows3 *t); /* the same */
    /* even[i] = x[2 i], odd[i] = x[2 i + 1] */
    void (*split2)(const float *x, float *even, float *odd, int64_t n);
    ptq_f32_unary exp, log, tanh, sigmoid, erf, gelu, gelu_tanh, softplus, hard_sigmoid, hard_swish,
        clip, leaky_relu, elu, neg, abs, sqrt, reciprocal;
    ptq_f32_binary add, sub, mul, div, min, max;
    /* Reductions of the law over n contiguous values. */
    float (*sum)(const float *x, int64_t n);
    float (*sumsq)(const float *x, float mean, int64_t n);
    float (*max_of)(const float *x, int64_t n); /* NaN wins */
    float (*exp_sum)(const float *x, float shift, float *y, int64_t n); /* y = e^(x - shift) */
    void (*normalize)(const float *x, float mean, float rstd, const float *scale,
                      const float *bias, float *y, int64_t n);
    void (*affine)(const float *x, float scale, float bias, float *y, int64_t n); /* fmaf */
    /* p[i % 16 of the reduced index][j] += x[j]: reductions over a leading axis, n columns. */
    void (*acc_rows)(const float *x, int64_t n, int64_t ld, int64_t cols, float *y);
    /* QuantizeLinear with one scale; out is 8 bits per element. */
    void (*quant8)(const float *x, float scale, int32_t zp, int32_t lo, int32_t hi, uint8_t *y,
                   int64_t n);
    /* The end of an integer product (ptq_tail_params), in place; NULL where left out. */
    void (*tail)(float *v, const float *bias, const float *factor, int gelu, const float *add, int64_t n);
    void (*dequant_s8)(const int8_t *x, float scale, int32_t zp, float *y, int64_t n);
    void (*dequant_u8)(const uint8_t *x, float scale, int32_t zp, float *y, int64_t n);
} ptq_f32_fns;

const ptq_f32_fns *ptq_cpu_f32(const ptq_cpu *c);

extern const ptq_f32_fns ptq_f32_ref, ptq_f32_avx2, ptq_f32_avx512;

#endif
