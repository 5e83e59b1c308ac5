/* SPDX-License-Identifier: Apache-2.0 */
/* Float kernels of the CUDA backend as plain C calls, in the manner of kernels.h. The law is that
 * of lib/core/fmath.h: every output has one order of operations, whatever the shape of a launch. */
#ifndef PTQ_GPU_KERNELS_FLOAT_H
#define PTQ_GPU_KERNELS_FLOAT_H

#include <stdint.h>

#include <ptq/types.h>

#include "lib/core/pad.h"
#include "lib/gpu/dev.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(hidden)

enum { PTQ_KF_OPS = 4, PTQ_KF_DIMS = 2 * PTQ_MAX_RANK };

/* Operands walked in the order of a dense output (operand 0): element i lies where the indices of i
 * in dim[] times the operand's steps say. */
typedef struct ptq_kf_walk {
    int32_t nd;
    int64_t dim[PTQ_KF_DIMS], step[PTQ_KF_OPS][PTQ_KF_DIMS];
} ptq_kf_walk;

/* Clamp behind a product. */
typedef struct ptq_kf_act {
    int32_t on;
    float lo, hi;
} ptq_kf_act;

/* ---- products ---- */

/* One fmaf chain per output in the order (input channel of the group, tap), padding as zeros, then
 * + bias, + add, then the clamp. up: zeros between input elements; mirrored: weights [c][m / groups]
 * with taps backwards (ConvTranspose); else [m][c / groups][taps]. */
typedef struct ptq_kf_conv {
    const float *x, *w, *bias; /* bias: [m] or NULL */
    const float *add;          /* of y's shape, or NULL */
    float *y;
    int64_t n, c, m, groups;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3], up[3];
    int32_t mirrored, pointwise; /* pointwise: outputs read the input at their own place alone */
    ptq_kf_act act;
} ptq_kf_conv;
ptq_status ptq_kf_run_conv(ptq_dev *d, const ptq_kf_conv *a);

/* Y[b] = A[b] B[b], dense [batch][m][n]; then + C, or with `scaled` fmaf(alpha, sum, beta * C)
 * (alpha * sum without C); then the clamp. */
typedef struct ptq_kf_matmul {
    const float *a, *b, *c; /* c: element (i, j) at i * c_row + j * c_col, or NULL */
    float *y;
    int64_t batch, m, n, k, a_row, a_col, b_row, b_col, c_row, c_col;
    int32_t nbd, scaled;
    int64_t bdim[PTQ_MAX_RANK], a_step[PTQ_MAX_RANK], b_step[PTQ_MAX_RANK];
    float alpha, beta;
    ptq_kf_act act;
} ptq_kf_matmul;
ptq_status ptq_kf_run_matmul(ptq_dev *d, const ptq_kf_matmul *a);

/* ---- elementwise ---- */

enum {
#define PTQ_UNARY(name, expr) PTQ_KF_UNARY_##name,
#include "lib/gpu/functions.def"
    PTQ_KF_UNARY_COUNT
};
enum {
#define PTQ_BINARY(name, expr) PTQ_KF_BINARY_##name,
#include "lib/gpu/functions.def"
    PTQ_KF_BINARY_COUNT
};
enum {
#define PTQ_COMPARE(name, expr) PTQ_KF_COMPARE_##name,
#define PTQ_LOGIC(name, expr) PTQ_KF_COMPARE_##name,
#include "lib/gpu/functions.def"
    PTQ_KF_COMPARE_COUNT
};

typedef struct ptq_kf_unary {
    const float *x;
    float *y; /* may be x */
    int64_t n;
    int32_t op;
    float p0, p1;
    ptq_kf_act act;
} ptq_kf_unary;
ptq_status ptq_kf_run_unary(ptq_dev *d, const ptq_kf_unary *a);

typedef struct ptq_kf_binary {
    const float *a, *b;
    float *y; /* may be an operand that is not broadcast */
    int64_t n;
    ptq_kf_walk w; /* y, a, b */
    int32_t op;
    ptq_kf_act act;
} ptq_kf_binary;
ptq_status ptq_kf_run_binary(ptq_dev *d, const ptq_kf_binary *a);

/* y is bool. */
typedef struct ptq_kf_compare {
    const void *a, *b;
    uint8_t *y;
    int64_t n;
    ptq_kf_walk w; /* y, a, b */
    int32_t op;
    ptq_dtype dtype; /* of a and b: f32, s64, s32, s8, u8, bool */
} ptq_kf_compare;
ptq_status ptq_kf_run_compare(ptq_dev *d, const ptq_kf_compare *a);

typedef struct ptq_kf_where {
    const uint8_t *cond;
    const void *a, *b;
    void *y;
    int64_t n;
    ptq_kf_walk w; /* y, cond, a, b */
    int32_t bytes; /* of an element: 1, 2, 4, 8 */
} ptq_kf_where;
ptq_status ptq_kf_run_where(ptq_dev *d, const ptq_kf_where *a);

typedef struct ptq_kf_cast {
    const void *x;
    void *y;
    int64_t n;
    ptq_dtype from, to;
} ptq_kf_cast;
ptq_status ptq_kf_run_cast(ptq_dev *d, const ptq_kf_cast *a);
ptq_status ptq_kf_run_not(ptq_dev *d, const ptq_kf_cast *a); /* bool to bool */

/* ---- rows ---- */

/* Row r = (outer, inner) of x[outer][n][inner]. */
typedef struct ptq_kf_softmax {
    const float *x;
    float *y; /* not x */
    int64_t outer, n, inner;
    int32_t logarithm;
} ptq_kf_softmax;
ptq_status ptq_kf_run_softmax(ptq_dev *d, const ptq_kf_softmax *a);

typedef struct ptq_kf_layer_norm {
    const float *x, *scale, *bias; /* scale, bias: [n]; bias may be NULL */
    float *y, *mean, *rstd;        /* mean, rstd: [rows] or NULL */
    int64_t rows, n;
    float eps;
} ptq_kf_layer_norm;
ptq_status ptq_kf_run_layer_norm(ptq_dev *d, const ptq_kf_layer_norm *a);

/* Planes [n][channels] of `size` elements: fmaf(x, a, b) with a = scale / sqrt(var + eps),
 * b = bias - mean * a; mean and variance of the channel, or of the plane itself where NULL. */
typedef struct ptq_kf_planes {
    const float *x, *scale, *bias, *mean, *var;
    float *y;
    int64_t n, channels, size;
    float eps;
    ptq_kf_act act;
} ptq_kf_planes;
ptq_status ptq_kf_run_planes(ptq_dev *d, const ptq_kf_planes *a);

enum {
    PTQ_KF_SUM, PTQ_KF_MEAN, PTQ_KF_MAX, PTQ_KF_MIN, PTQ_KF_PROD, PTQ_KF_L1, PTQ_KF_L2, PTQ_KF_SQUARE,
    PTQ_KF_LOG, PTQ_KF_LOGEXP, PTQ_KF_ARGMAX, PTQ_KF_ARGMIN
};

/* Output o reduces the elements i < n at (place of o in `stay`) + (place of i in `gone`). */
typedef struct ptq_kf_reduce {
    const float *x;
    void *y; /* float; int64 of ArgMax and ArgMin */
    int64_t outputs, n;
    ptq_kf_walk stay, gone; /* operand 1 is x */
    int32_t op, last;       /* last: of equals take the last index */
} ptq_kf_reduce;
ptq_status ptq_kf_run_reduce(ptq_dev *d, const ptq_kf_reduce *a);

/* ---- pools ---- */

typedef struct ptq_kf_pool {
    const void *x;
    void *y;
    int64_t *index; /* MaxPool's second output, or NULL */
    int64_t planes;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3], pad_end[3];
    int32_t include_pad, column_major;
    ptq_dtype dtype; /* MaxPool: f32, s8, u8 */
} ptq_kf_pool;
ptq_status ptq_kf_run_max_pool(ptq_dev *d, const ptq_kf_pool *a);
ptq_status ptq_kf_run_average_pool(ptq_dev *d, const ptq_kf_pool *a);

/* ---- QuantizeLinear, DequantizeLinear ---- */

/* Element (o, k, i) of [outer][n][inner] by the scale of k, or of its block with block > 0. */
typedef struct ptq_kf_quant {
    const void *x;
    void *y;
    const float *scale;
    const void *zp; /* of the type of the integers, or NULL */
    int64_t outer, n, inner, block;
    int32_t lo, hi;
    ptq_dtype dtype; /* of the integers: 8 or 16 bits, s32 for dequantize */
} ptq_kf_quant;
ptq_status ptq_kf_run_quantize(ptq_dev *d, const ptq_kf_quant *a);
ptq_status ptq_kf_run_dequantize(ptq_dev *d, const ptq_kf_quant *a);

/* ---- movers that are no strided copies ---- */

typedef struct ptq_kf_pad {
    const void *x;
    void *y;
    int64_t n; /* of the output */
    int32_t rank, bytes;
    ptq_pad_mode mode;
    int64_t xdim[PTQ_MAX_RANK], ydim[PTQ_MAX_RANK], before[PTQ_MAX_RANK];
    uint64_t value; /* of an element, in the low bytes */
} ptq_kf_pad;
ptq_status ptq_kf_run_pad(ptq_dev *d, const ptq_kf_pad *a);

typedef struct ptq_kf_trilu {
    const void *x;
    void *y;
    int64_t n, rows, cols, shift;
    int32_t upper, bytes;
} ptq_kf_trilu;
ptq_status ptq_kf_run_trilu(ptq_dev *d, const ptq_kf_trilu *a);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
