/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the integer kernels. Each step kind has a reference in int_ref_*.c (the law in plain
 * loops) and, where it pays, a fast form that works for every instruction set through the two
 * tables below. The fast forms are proven byte-equal by tests/test_cpu_int.c. */
#ifndef PTQ_CPU_INT_H
#define PTQ_CPU_INT_H

#include "lib/core/qmath.h"
#include "lib/cpu/f32.h"
#include "lib/exec/geometry.h"

/* ---- one output tile of an integer matrix product ---- */

/* Y[m, n] = epilogue(bias[n] + sum_k A[m, k] B[k, n] - rowsum[m] * wzp[n]).
 * A: rows of `lda` bytes. u8 (ops->bytes) or s16, padded to whole k groups.
 * B: one panel as ptq_int_pack laid it out: [k group][column][kgroup elements].
 * bias, wzp, mult: padded to whole vectors. */
typedef struct ptq_int_tile {
    const void *a;
    size_t lda;
    const void *b;
    int64_t kgroups;
    int m, n;              /* valid rows and columns */
    const int32_t *bias;
    const int32_t *rowsum; /* NULL: no weight zero points left to correct */
    const int32_t *wzp;
    const float *mult;
    float lo, hi; /* clamp before rounding: qlo - zy, qhi - zy */
    int32_t zy;
    void *y;
    size_t ldy;   /* bytes */
    bool float_out;
    bool sgn;     /* the output is int8; unsigned where no value is negative */
    /* No result before the clamp reaches +-2^31, so that it may be rounded first: then packing to bytes clamps, and
     * the range of the output, four times a byte, is applied to all of them together. */
    bool small;
    uint32_t lo8, hi8;
    /* With something to add: rows of codes, its law, and room for the sums of a tile in rows of a
     * full panel. */
    const uint8_t *skip;
    const uint8_t *ahead; /* the same rows in the next panel, or the next block: to be fetched */
    size_t ld_skip;
    bool skip_sgn;
    const ptq_residual *residual;
    int32_t *sums; /* NULL: nothing is added */
} ptq_int_tile;
enum { PTQ_INT_TILE_SUMS = 12 * 64 }; /* at most */

/* A run of output pixels of a depthwise convolution over c channels, channels innermost.
 * y[c] = epilogue(bias[c] + sum_t (tap[t][c] ^ flip) * w[t, c]); tap t of the next pixel lies
 * step[t] bytes further. */
typedef struct ptq_int_dw {
    const uint8_t *const *tap;
    const int64_t *step;
    int taps;
    int64_t pixels, c, cpad;
    uint8_t flip;
    const void *w; /* see depthwise and depthwise4 below */
    const int32_t *bias;
    const float *mult;
    float lo, hi;
    int32_t zy;
    void *y;
    size_t ldy; /* bytes from pixel to pixel */
    bool float_out, sgn;
} ptq_int_dw;

typedef struct ptq_int_dot {
    bool bytes;  /* operands are u8 x s8 in groups of 4; else s16 x s16 in groups of 2 */
    int kgroup;
    int lanes;   /* columns of one vector */
    int nv;      /* vectors of a full panel */
    int mr;      /* rows of a tile; narrow panels (nv / 2 vectors or fewer) take mr_narrow */
    int mr_narrow;
    void (*tile)(const ptq_int_tile *t, int nv);
    /* Writes n elements of A: u8 (src ^ flip), or s16 (src ^ flip) - za. */
    void (*pack_a)(void *dst, const uint8_t *src, int64_t n, uint8_t flip, int32_t za);
    int32_t (*rowsum)(const uint8_t *a, int64_t n); /* bytes only, else NULL */
    /* One k group of n columns (whole vectors) of B from its kgroup rows: s8 (row ^ flip), adding
     * each column to sum; or s16 (row ^ flip) - zp, with zp once per element of dst. */
    void (*pack_b)(void *dst, const uint8_t *const *row, int64_t n, uint8_t flip, const int16_t *zp,
                   int32_t *sum);
    /* w: 16-bit values in int32, [tap][cpad] */
    void (*depthwise)(const ptq_int_dw *d);
    /* Bytes, u8 x s8, 8-bit output alone; NULL: none. taps is a multiple of 4, w is [64 channels][4
     * taps][channel][4]; channels of w, bias and mult in the order of byte_place in int_depthwise.c. */
    void (*depthwise4)(const ptq_int_dw *d);
} ptq_int_dot;

/* ---- elementwise rows; `sgn` tells int8 from uint8 ---- */

typedef struct ptq_int_vec {
    /* b has step 0 or 1, a has step 0 or 1 */
    void (*add)(const uint8_t *a, int sa, const uint8_t *b, int sb, uint8_t *y, size_t n,
                ptq_qadd_coef k, ptq_qgrid g, bool sgn);
    void (*mul)(const uint8_t *a, int sa, int32_t za, const uint8_t *b, int sb, int32_t zb, uint8_t *y,
                size_t n, float m, int32_t zy, ptq_qgrid g, bool sgn);
    void (*lut)(const uint8_t *x, uint8_t *y, size_t n, const uint8_t *table);
    /* scale, zp: step 0 (one) or 1 (one per element) */
    void (*quantize)(const float *x, uint8_t *y, size_t n, const float *scale, const int32_t *zp,
                     int step, ptq_qgrid g);
    void (*dequantize)(const uint8_t *x, float *y, size_t n, const float *scale, const int32_t *zp,
                       int step, bool sgn);
    void (*max)(uint8_t *acc, const uint8_t *x, size_t n, bool sgn); /* acc = max(acc, x) */
    void (*sum_i32)(int32_t *acc, const uint8_t *x, size_t n, bool sgn); /* acc += x */
    /* acc += scale * (x - zp), one float addition per element */
    void (*sum_f32)(float *acc, const uint8_t *x, size_t n, float scale, int32_t zp, bool sgn);
    /* y = clamp(rint((acc / n) / sy + zy)) */
    void (*avg)(const float *acc, uint8_t *y, size_t n, int32_t count, float sy, int32_t zy,
                ptq_qgrid g);
    void (*requant)(const int32_t *acc, uint8_t *y, size_t n, int32_t add, float m, int32_t zy,
                    ptq_qgrid g);
} ptq_int_vec;

typedef struct ptq_int_isa {
    const char *name;
    const ptq_int_dot *dot;
    const ptq_int_vec *vec;
} ptq_int_isa;

extern const ptq_int_dot ptq_int_dot_avx2, ptq_int_dot_avx512, ptq_int_dot_vnni;
extern const ptq_int_vec ptq_int_vec_avx2, ptq_int_vec_avx512, ptq_int_vec_vbmi;
/* NULL for the reference. */
const ptq_int_isa *ptq_int_isa_of(const ptq_cpu *c);

/* ---- small things ---- */

/* The pixel of x that tap t of the window at output o reads; -1 in the padding. */
int64_t ptq_int_tap(const ptq_window *w, const ptq_int_view *x, const int64_t *o, int64_t t);

static inline bool ptq_int_signed(ptq_dtype t)
{
    return t == PTQ_DT_S8;
}
static inline int32_t ptq_int_byte(const void *p, int64_t i, bool sgn)
{
    return sgn ? (int32_t)((const int8_t *)p)[i] : (int32_t)((const uint8_t *)p)[i];
}
static inline bool ptq_int_is8(ptq_dtype t)
{
    return t == PTQ_DT_S8 || t == PTQ_DT_U8;
}
/* Per-channel parameter c of an array of nw (1: all channels share it). */
static inline int64_t ptq_int_ch(int64_t nw, int64_t c)
{
    return nw == 1 ? 0 : c;
}
/* Multiplier of channel c: to the output grid, or to float. */
static inline float ptq_int_mult(const ptq_qlinear_params *p, int64_t c)
{
    return p->float_out || p->tail.on ? p->x.scale * p->wscale[ptq_int_ch(p->nw, c)]
                                      : p->mult[ptq_int_ch(p->nw, c)];
}
static inline int32_t ptq_int_wzp(const ptq_qlinear_params *p, int64_t c)
{
    return p->wzp ? p->wzp[ptq_int_ch(p->nw, c)] : 0;
}
/* What is added in the end of a product: rows of `ld` bytes that lie as the output's do. */
typedef struct ptq_int_skip {
    ptq_residual law; /* NONE: nothing */
    const uint8_t *x;
    size_t ld;
    bool sgn;
} ptq_int_skip;
static inline ptq_int_skip ptq_int_skip_of(const ptq_step_run *r)
{
    ptq_int_skip s = {.law = ptq_int_residual(r)};
    if (s.law.kind) {
        s.x = r->in[2]->data;
        s.sgn = ptq_int_signed(r->in[2]->dtype);
    }
    return s;
}
/* One result v of channel c through the tail; `add`: the element of input 2, or NULL. */
static inline float ptq_int_tail_of(const ptq_tail_params *t, float v, int64_t c, float factor, const float *add)
{
    v = t->bias ? v + t->bias[c] : v;
    v = ptq_gelu_of(v * factor, t->gelu);
    return add ? v + *add : v;
}
/* Stores one result of the product law at y[i]. */
static inline void ptq_int_store(const ptq_qlinear_params *p, const ptq_int_skip *s, void *y, int64_t i,
                                 int32_t acc, float m)
{
    if (p->float_out)
        ((float *)y)[i] = (float)acc * m;
    else if (s->law.kind)
        ((uint8_t *)y)[i] = (uint8_t)ptq_requantize_residual(acc, m, p->y.zp, p->qlo, p->qhi,
                                                             ptq_int_byte(s->x, i, s->sgn), &s->law);
    else
        ((uint8_t *)y)[i] = (uint8_t)ptq_requantize(acc, m, p->y.zp, p->qlo, p->qhi);
}

/* ---- references ---- */
ptq_status ptq_int_ref_qconv(const ptq_step_run *r);
ptq_status ptq_int_ref_qgemm(const ptq_step_run *r);
ptq_status ptq_int_ref_qmatmul(const ptq_step_run *r);
struct ptq_int_attention; /* lib/cpu/int_attention.h */
void ptq_int_ref_qattention(const struct ptq_int_attention *t, void *scratch);
ptq_status ptq_int_ref_qadd(const ptq_step_run *r);
ptq_status ptq_int_ref_qmul(const ptq_step_run *r);
ptq_status ptq_int_ref_qlut(const ptq_step_run *r);
ptq_status ptq_int_ref_qconcat(const ptq_step_run *r);
ptq_status ptq_int_ref_qavgpool(const ptq_step_run *r);
ptq_status ptq_int_ref_qglobalavgpool(const ptq_step_run *r);
ptq_status ptq_int_ref_qmaxpool(const ptq_step_run *r);
ptq_status ptq_int_ref_quantize(const ptq_step_run *r);
ptq_status ptq_int_ref_dequantize(const ptq_step_run *r);
ptq_status ptq_int_ref_relayout(const ptq_step_run *r);

/* ---- depthwise convolution (int_depthwise.c) ---- */
enum { PTQ_INT_DW_TAPS = 512 }; /* at most */
typedef struct ptq_int_depthwise ptq_int_depthwise; /* packed weights */
ptq_status ptq_int_depthwise_new(const ptq_int_isa *isa, const ptq_qlinear_params *p,
                                 const ptq_tensor *w, bool x_sgn, ptq_int_depthwise **out);
void ptq_int_depthwise_free(ptq_int_depthwise *s);
/* data and out in NHWC */
ptq_status ptq_int_depthwise_run(ptq_cpu *c, const ptq_int_depthwise *s, const ptq_qlinear_params *p,
                                 const ptq_window *w, const ptq_int_view *x, const ptq_int_view *y,
                                 const uint8_t *data, uint8_t *out);

/* ---- the packed product (int_dot.c) ---- */

/* Weights of one product [K, N], packed for one instruction set, with what the epilogue needs. */
typedef struct ptq_int_packed {
    int64_t n, k, kgroups, npad;
    int panels;
    uint8_t flip_a; /* 0x80 when A is int8: both forms start from unsigned bytes */
    int32_t za;     /* zero point of A after the flip */
    bool need_rowsum;
    bool small;     /* no multiplier is above 1/2 */
    void *b;        /* panels one behind the other */
    int32_t *bias;  /* [npad] bias with the zero points folded in */
    int32_t *wzp;   /* [npad] */
    float *mult;    /* [npad] */
} ptq_int_packed;

/* Element (k, n) of B lies at b[k * k_step + n * n_step]. `c0`: channel of column 0 in params. */
typedef struct ptq_int_b {
    const void *data;
    bool sgn, a_sgn;
    int64_t k, n, k_step, n_step;
    int64_t c0;
    const ptq_qlinear_params *p;
} ptq_int_b;
size_t ptq_int_packed_bytes(const ptq_int_dot *d, int64_t k, int64_t n);
/* Lays a packed product out in `mem` (ptq_int_packed_bytes, 64-byte aligned). */
void ptq_int_pack(const ptq_int_dot *d, const ptq_int_b *b, void *mem, ptq_int_packed *out);

/* Fills `rows` rows of A from row r0 at dst (row stride lda bytes), unused k zero. */
typedef void (*ptq_int_fill_fn)(const void *ctx, uint8_t *dst, size_t lda, int64_t r0, int64_t rows);
typedef struct ptq_int_product {
    const ptq_int_packed *w;
    int64_t m;
    const uint8_t *direct; /* A as it lies in memory, when that is what the tile reads; or NULL */
    size_t direct_lda;
    ptq_int_fill_fn fill; /* else */
    const void *fill_ctx;
    uint8_t *y;
    size_t ldy; /* bytes */
    const ptq_qlinear_params *p;
    const ptq_int_skip *skip; /* NULL: nothing is added */
    const ptq_f32_fns *f;     /* with a tail: its loops, and the rows that it adds or NULL */
    const ptq_int_vec *vec;
    const float *add;
    uint8_t *scratch; /* ptq_int_product_scratch bytes, 64-byte aligned */
} ptq_int_product;
/* A ptq_int_fill_fn on rows of codes: element (r, k) at a[r * row + k * col]. */
typedef struct ptq_int_rows {
    const ptq_int_dot *d;
    const ptq_int_packed *w;
    const uint8_t *a;
    int64_t row, col;
} ptq_int_rows;
void ptq_int_fill_rows(const void *ctx, uint8_t *dst, size_t lda, int64_t r0, int64_t n);
/* Sets what is read of A: in place where the tile can, else through the fill; *rows stays in use. */
void ptq_int_set_rows(ptq_int_product *g, const ptq_int_rows *rows);
size_t ptq_int_product_scratch(const ptq_cpu *c, const ptq_int_dot *d, int64_t m, int64_t kgroups);
/* All of Y, in parallel. */
ptq_status ptq_int_run_product(ptq_cpu *c, const ptq_int_dot *d, const ptq_int_product *g);
/* dst[i][col][row] = src[i][row][col] of elements of `size` bytes (1, 2, 4, 8), in parallel. */
ptq_status ptq_int_transpose(ptq_cpu *c, void *dst, const void *src, int64_t n, int64_t rows,
                             int64_t cols, size_t size);
static inline size_t ptq_int_round64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

#endif
