/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of the CUDA backend as plain C calls: one struct of arguments and one launcher each.
 * All pointers are device pointers, all steps are in elements. Launches are asynchronous, in the
 * order of the device's stream. The laws are those of doc/numerics.md. */
#ifndef PTQ_GPU_KERNELS_H
#define PTQ_GPU_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/qmath.h"
#include "lib/gpu/dev.h"
#include "lib/gpu/erfc16.h"
#include "lib/gpu/gelu_tanh.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(hidden)

enum { PTQ_K_RANK = 8, PTQ_K_PARTS = 3 };

/* Channels up to `end` of a product that was several (ptq_product_part): factor, scale and grid of the codes. */
typedef struct ptq_k_part {
    int32_t end; /* a multiple of 16 in ptq_k_gemm: a thread's 16 channels are of one part */
    float factor, s;
    int32_t zy, lo, hi;
} ptq_k_part;

/* Float operations behind a product with float results (ptq_tail_params): v + bias, v * factor, GELU, v + add;
 * the output is v, or a code of it on the product's grid with scale `s`. */
typedef struct ptq_k_tail {
    int32_t on, codes;
    int32_t gelu;      /* PTQ_GELU_* of lib/core/fmath.h */
    float factor;      /* 1 where there is none */
    const float *bias; /* one per channel (npad of them in ptq_k_gemm), zeros where there are none */
    const float *add;  /* where y's elements lie; NULL: nothing */
    float s;           /* scale of the codes */
    int32_t tame;      /* no v before the GELU can be infinite or NaN */
    /* Fast math. `add` and y are float16, each for itself (lib/exec/halves.h). What makes of a sum of products what
     * fast_tail.cuh goes on with, one per channel as `bias`; NULL: the law. */
    int32_t add_half, y_half;
    const float *fast_mult, *fast_bias;
    int32_t parts;     /* with codes; 0: factor, s and the product's grid hold for all channels */
    ptq_k_part part[PTQ_K_PARTS];
} ptq_k_tail;

/* What ends an integer product: bias, multiplier, output grid (lib/exec/steps.h). */
typedef struct ptq_k_epilogue {
    const float *mult;   /* [nw] to the output grid, or to float with float_out */
    const int32_t *wzp;  /* [nw] or NULL */
    const int32_t *bias; /* [channels] or NULL */
    int64_t nw;          /* 1 or channels */
    int32_t zx, zy, lo, hi;
    int32_t x_signed, w_signed, float_out;
    const void *skip; /* what is added, where y's elements lie; read where residual.kind is not 0 */
    ptq_residual residual;
    int32_t skip_signed;
    ptq_k_tail tail; /* then mult is to float */
} ptq_k_epilogue;

/* Convolution with three spatial dims (missing ones are 1, in front). Activations by steps ns, cs
 * and ps (element (n, c, pixel) at n * ns + c * cs + pixel * ps); weights [m][c / groups][taps]. */
typedef struct ptq_k_conv {
    const void *x, *w;
    void *y;
    int64_t n, c, m, groups;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
    int64_t x_ns, x_cs, x_ps, y_ns, y_cs, y_ps;
    ptq_k_epilogue e;
} ptq_k_conv;
ptq_status ptq_k_run_conv(ptq_dev *d, const ptq_k_conv *a);

/* The same product on the tensor cores, as an implicit GEMM: rows are output pixels, columns output
 * channels, k runs over (tap, channel). Activations are NHWC with c a multiple of 16; a matrix
 * product is a convolution with one tap. Or c is 4, and k runs over (row of taps, tap, channel) with
 * the rows of taps rounded up to 4 taps. Bytes outside the input read as the zero point from
 * `zero`, so that one constant per channel takes the zero point out again (it is in `bias`). */
typedef struct ptq_k_gemm {
    const uint8_t *x;
    const int8_t *w;     /* [npad][kpad]: row ptq_k_gemm_row_of(n) holds channel n, k = tap * c + input
                            channel, zeros behind; 16-byte aligned */
    void *y;             /* [m][n] bytes, or floats with float_out */
    const uint8_t *zero; /* 16 bytes of the zero point of x */
    const int32_t *bias; /* [npad] bias - zx * sum of the column's weights, modulo 2^32; at ptq_k_gemm_entry_of(n) */
    const float *mult;   /* [npad], at ptq_k_gemm_entry_of(n) */
    int64_t m;           /* batch * out_h * out_w */
    int32_t n, npad, kpad, c;
    int32_t in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, dil_h, dil_w, pad_h, pad_w;
    int32_t zx, zy, lo, hi, x_signed, float_out;
    int32_t padded; /* some window reaches outside the input */
    int32_t near;   /* ptq_k_gemm_is_near of these weights: no result is beyond 2^22 steps of the output */
    int32_t skip_signed;
    const uint8_t *skip; /* [m][n] what is added; read where residual.kind is not 0 */
    ptq_residual residual;
    ptq_k_tail tail; /* then mult is to float, and there is no residual; its bias at ptq_k_gemm_entry_of(n) */
    struct { /* the law's numbers as the kernels use them, made by ptq_k_gemm_ends */
        float lo, hi, lo2, hi2, base, zy;
        uint32_t flip;
        float inv, low, high, sure; /* tails: 1 / s; clamp of v; a code is known this near to a whole number */
        float code, gelu, gelu3;    /* fast math: what a code is rounded by; factors of y and y^3 in the tanh */
        struct { /* those of all channels where there are no parts */
            float factor, s, inv, low, high, lo, hi, code;
            int32_t zy;
        } part[PTQ_K_PARTS];
        int32_t shift, span; /* near: from the bits of a sum with 1.5 * 2^23 to a code's distance from lo; hi - lo */
        uint32_t top;        /* near: lo of four codes */
    } ends;
} ptq_k_gemm;
/* Is every product of these multipliers within 2^22, whatever the operands? (They are bytes; k as packed.) Only
 * then the bits of its sum with 1.5 * 2^23, taken as an integer, are in the order of the values. */
static inline int32_t ptq_k_gemm_is_near(const int32_t *bias, const float *mult, int64_t n, int64_t kpad)
{
    for (int64_t i = 0; i < n; i++) {
        double most = 255.0 * 128.0 * (double)kpad + (bias[i] < 0 ? -(double)bias[i] : (double)bias[i]);
        if (!(most * (double)mult[i] < 0x1p22 && most * (double)mult[i] > -0x1p22) || most >= 0x1p31)
            return 0;
    }
    return 1;
}
/* Do the results of this product end as codes that are near, alone or with a residual in float? Not every row takes
 * both kinds. The sum too must stay below 2^23. */
static inline bool ptq_k_gemm_ends_near(const ptq_k_gemm *a)
{
    bool codes = a->near && !a->float_out && !a->tail.on && (a->lo == 0 || a->lo == -128) && a->n % 16 == 0 &&
                 a->m < INT32_MAX - 256;
    return codes && (!a->residual.kind || (a->residual.kind == PTQ_RESIDUAL_FLOAT && a->residual.r < 0x1p13f));
}
/* A code becomes a float as the low byte of 2^23, from which `base` is taken off again; a product is
 * rounded by adding 1.5 * 2^23, and `zy` makes a code of it: all exact. */
static inline ptq_k_gemm ptq_k_gemm_ends(const ptq_k_gemm *a)
{
    ptq_k_gemm b = *a;
    bool in_float = a->residual.kind == PTQ_RESIDUAL_FLOAT;
    b.ends.lo = (float)(a->lo - a->zy);
    b.ends.hi = (float)(a->hi - a->zy);
    b.ends.lo2 = (float)a->residual.lo;
    b.ends.hi2 = (float)a->residual.hi;
    b.ends.base = 8388608.0f + (float)((a->skip_signed ? 128 : 0) + (in_float ? a->residual.z : 0));
    b.ends.zy = 12582912.0f - (float)a->zy;
    b.ends.flip = a->skip_signed ? 0x80808080u : 0;
    b.ends.inv = 1.0f / a->tail.s;
    b.ends.low = b.ends.lo * a->tail.s;
    b.ends.high = b.ends.hi * a->tail.s;
    for (int i = 0; i < PTQ_K_PARTS; i++) {
        ptq_k_part p = {0, a->tail.factor, a->tail.s, a->zy, a->lo, a->hi};
        if (i < a->tail.parts)
            p = a->tail.part[i];
        b.ends.part[i].factor = p.factor;
        b.ends.part[i].s = p.s;
        b.ends.part[i].inv = 1.0f / p.s;
        b.ends.part[i].lo = (float)(p.lo - p.zy);
        b.ends.part[i].hi = (float)(p.hi - p.zy);
        b.ends.part[i].low = b.ends.part[i].lo * p.s;
        b.ends.part[i].high = b.ends.part[i].hi * p.s;
        b.ends.part[i].code = 12582912.0f + (float)p.zy;
        b.ends.part[i].zy = p.zy;
    }
    b.ends.shift = a->zy - a->lo - 0x4b400000;
    b.ends.span = a->hi - a->lo;
    b.ends.top = a->lo < 0 ? 0x80808080u : 0;
    /* Four roundings are less than 2.5e-7 of a quotient. */
    b.ends.sure = a->tail.tame ? 0.5f - (PTQ_FAST_GELU_ERROR * b.ends.inv + 2.5e-7f * (float)(a->hi - a->zy)) : -1.0f;
    float twice = 2.0f * a->tail.s; /* fast_bias and fast_mult make half a code of x */
    b.ends.code = 12582912.0f + (float)a->zy;
    b.ends.gelu = PTQ_TANH_GELU_A * twice;
    b.ends.gelu3 = PTQ_TANH_GELU_B * twice * twice * twice;
    return b;
}
enum { PTQ_K_GEMM_N = 128, PTQ_K_GEMM_K = 64 }; /* npad and kpad are multiples of these */
/* Where the weights of channel n lie. A thread of the matrix units owns columns 8 j + 2 q and the next
 * of each 64; in this order they are 16 neighbouring channels, which it can write at once. */
static inline int64_t ptq_k_gemm_row_of(int64_t n)
{
    int64_t r = n & 63;
    return (n - r) + (r >> 1 & 7) * 8 + (r >> 4) * 2 + (r & 1);
}
/* Where bias, multiplier and tail bias of channel n lie. Each of four neighbouring threads reads four of its 16
 * channels at once; in this order the four read side by side. */
PTQ_HD int64_t ptq_k_gemm_entry_of(int64_t n)
{
    int64_t r = n & 63;
    return (n - r) + (r >> 2 & 3) * 16 + (r >> 4) * 4 + (r & 3);
}
/* Kernel rows that can run a product, for the tuner and the tests; NULL past the end. A row tells
 * whether it can run these arguments on this device. */
typedef struct ptq_k_gemm_row {
    const char *name;
    bool (*supports)(const ptq_dev *d, const ptq_k_gemm *a);
    ptq_status (*run)(ptq_dev *d, const ptq_k_gemm *a);
} ptq_k_gemm_row;
const ptq_k_gemm_row *ptq_k_gemm_at(int i);
/* The row that is expected to be fastest; NULL where none can run. */
const ptq_k_gemm_row *ptq_k_gemm_choose(const ptq_dev *d, const ptq_k_gemm *a);
/* PTQ_ERR_DEVICE: the driver makes no maps of this product's operands. */
ptq_status ptq_k_gemm_unmapped(const ptq_k_gemm *a);

/* Depthwise convolution, one input and one output channel per group, NHWC, two spatial dims. */
typedef struct ptq_k_depthwise {
    const uint8_t *x;
    const int8_t *w; /* [tap][cpad] */
    void *y;
    const int32_t *bias; /* [cpad] as given: the zero point is taken off each tap */
    const float *mult;   /* [cpad] */
    int64_t batch;
    int32_t c, cpad; /* cpad: c rounded up to 4 */
    int32_t in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, dil_h, dil_w, pad_h, pad_w;
    int32_t zx, zy, lo, hi, x_signed, float_out;
} ptq_k_depthwise;
ptq_status ptq_k_run_depthwise(ptq_dev *d, const ptq_k_depthwise *a);

/* NHWC bytes with more channels: y[pixel][0 .. to) = x[pixel][0 .. from), then zeros. */
typedef struct ptq_k_pad_channels {
    const void *x;
    void *y;
    int64_t pixels;
    int32_t from, to; /* `to` is a multiple of 4 */
} ptq_k_pad_channels;
ptq_status ptq_k_run_pad_channels(ptq_dev *d, const ptq_k_pad_channels *a);

/* C[b] = A[b] B[b]; C is dense [batch][m][n]. */
typedef struct ptq_k_matmul {
    const void *a, *b;
    void *y;
    int64_t batch, m, n, k, a_row, a_col, b_row, b_col;
    int32_t nbd;
    int64_t bdim[PTQ_K_RANK], a_step[PTQ_K_RANK], b_step[PTQ_K_RANK];
    ptq_k_epilogue e;
} ptq_k_matmul;
ptq_status ptq_k_run_matmul(ptq_dev *d, const ptq_k_matmul *a);
/* The tensor-core form of ptq_k_run_matmul; NULL where the device has none or it cannot run these arguments. */
typedef ptq_status (*ptq_k_matmul_run)(ptq_dev *d, const ptq_k_matmul *a);
ptq_k_matmul_run ptq_k_matmul_fast(const ptq_dev *d, const ptq_k_matmul *a);

/* Attention on codes (ptq_qattention_params of lib/exec/steps.h), in three parts: products with float
 * results (ptq_k_matmul), rows of scores to rows of codes, products; or all in one.
 * rows: scores x [batch][m][n] become codes y; the mask is added by its steps. */
typedef struct ptq_k_attention_rows {
    const float *x, *mask; /* mask: NULL for none */
    uint8_t *y;
    int64_t batch, m, n;
    int32_t nbd, scores; /* PTQ_SCORES_* */
    int64_t bdim[PTQ_K_RANK], mask_step[PTQ_K_RANK], mask_row, mask_col;
    float factor, s;
    int32_t z, lo, hi;
} ptq_k_attention_rows;
ptq_status ptq_k_run_attention_rows(ptq_dev *d, const ptq_k_attention_rows *a);

typedef struct ptq_k_side { /* of one operand: steps of the batch dims, rows, columns */
    int64_t batch[PTQ_K_RANK], row, col;
} ptq_k_side;
typedef struct ptq_k_attention {
    const uint8_t *q, *k, *v; /* [m][d], [d][n], [n][dv] */
    const float *mask;
    void *y;
    int32_t nbd, m, n, d, dv;
    int64_t batch, bdim[PTQ_K_RANK];
    ptq_k_side qs, ks, vs, ys, ms;
    int32_t q_signed, k_signed, v_signed, scores, requant, float_out;
    int32_t zq, zk, zv, zp, zy, plo, phi, lo, hi;
    float qk_mult, factor, pv_mult, sp, sy; /* sp, sy: scales of the probabilities and of the output */
    int32_t fast; /* fast math */
} ptq_k_attention;
/* NULL where the device has no such kernel or it cannot run these arguments. */
typedef ptq_status (*ptq_k_attention_run)(ptq_dev *d, const ptq_k_attention *a);
ptq_k_attention_run ptq_k_attention_fast(const ptq_dev *d, const ptq_k_attention *a);

/* LayerNormalization of rows of n floats to codes and, where f is not NULL, floats. */
typedef struct ptq_k_qnorm {
    const void *x; /* float, or float16 with x_half */
    const float *scale, *bias; /* bias: NULL for none */
    uint8_t *y;
    void *f; /* float, or float16 with f_half */
    int64_t rows, n;
    float eps, s;
    int32_t z, lo, hi;
    int32_t fast, x_half, f_half; /* fast math; the halves only then */
} ptq_k_qnorm;
ptq_status ptq_k_run_qnorm(ptq_dev *d, const ptq_k_qnorm *a);

/* Copies n elements of `bytes` bytes (1, 2, 4, 8, 16; x and y are aligned to it); each byte goes
 * through `table` unless it is NULL. With one dimension, `tail` more bytes lie behind them. */
typedef struct ptq_k_move {
    const void *x;
    void *y;
    const uint8_t *table;
    int64_t n, dim[2 * PTQ_K_RANK], xs[2 * PTQ_K_RANK], ys[2 * PTQ_K_RANK];
    int32_t nd, bytes, tail;
    /* x lies dense along dimension nd - 2 and y along nd - 1, both of which, like all other steps,
     * are multiples of 4; up to 4 bytes, no table */
    int32_t squares;
} ptq_k_move;
ptq_status ptq_k_run_move(ptq_dev *d, const ptq_k_move *a);

/* y[o][i] = x[o][index[i]] of blocks of `chunks` times `bytes` bytes. */
typedef struct ptq_k_gather {
    const void *x, *index;
    void *y;
    const char **alarm, *name; /* *alarm = name where an index is outside (ptq_dev_alarm) */
    int64_t outer, count, entries, chunks;
    int32_t bytes, wide; /* indices of 64 bits */
} ptq_k_gather;
ptq_status ptq_k_run_gather(ptq_dev *d, const ptq_k_gather *a);

/* Sum or product of two 8-bit tensors over n chunks of `bytes` elements (x and y are aligned to it).
 * Where the inner step of an operand is 0, all elements of a chunk are its one byte; steps are in
 * elements, those of the innermost dimension in chunks. With one dimension, `tail` more elements
 * lie behind the chunks. */
typedef struct ptq_k_binary {
    const void *a, *b;
    void *y;
    int64_t n, dim[PTQ_K_RANK], as[PTQ_K_RANK], bs[PTQ_K_RANK], ys[PTQ_K_RANK];
    int32_t nd, bytes, tail, sgn, a_one, b_one;
    ptq_qadd_coef add; /* qadd: of the operands in this order */
    float m;           /* qmul */
    int32_t za, zb, zy, lo, hi;
} ptq_k_binary;
ptq_status ptq_k_run_qadd(ptq_dev *d, const ptq_k_binary *a);
ptq_status ptq_k_run_qmul(ptq_dev *d, const ptq_k_binary *a);

/* Pools over windows: a thread makes a group of `lanes` (1 or 4) channels of one output pixel, 4 only
 * where both tensors have them side by side. */
typedef struct ptq_k_pool {
    const void *x;
    void *y;
    int64_t n, groups, pixels; /* of y */
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
    int64_t x_ns, x_cs, x_ps, y_ns, y_cs, y_ps;
    int32_t lanes, sgn, count_pad; /* count_pad: the mean is over the whole window */
    float sx, sy;
    int32_t zx, zy, lo, hi;
} ptq_k_pool;
ptq_status ptq_k_run_qmaxpool(ptq_dev *d, const ptq_k_pool *a);
ptq_status ptq_k_run_qavgpool(ptq_dev *d, const ptq_k_pool *a);

/* Mean over all pixels; y is dense [n][c]. */
typedef struct ptq_k_globalpool {
    const void *x;
    void *y;
    int64_t n, c, pixels, x_ns, x_cs, x_ps;
    float m;
    int32_t sgn, zx, zy, lo, hi;
} ptq_k_globalpool;
ptq_status ptq_k_run_qglobalavgpool(ptq_dev *d, const ptq_k_globalpool *a);

/* float to integers and back: y in memory order, element i with parameter i / inner % channels.
 * Where `rows` is not 0, x is y's [rows][cols] turned; else a thread makes `lanes` (1 or 4)
 * elements, and x and y are aligned to that many. */
typedef struct ptq_k_quant {
    const void *x;
    void *y;
    const float *scale; /* [channels], or NULL: one_scale, one_zp */
    const int32_t *zp;  /* [channels], or NULL: 0 */
    int64_t n, inner, channels, rows, cols;
    float one_scale;
    int32_t one_zp, lo, hi;
    int32_t bytes, sgn, lanes; /* of the integers */
} ptq_k_quant;
ptq_status ptq_k_run_quantize(ptq_dev *d, const ptq_k_quant *a);
ptq_status ptq_k_run_dequantize(ptq_dev *d, const ptq_k_quant *a);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
