/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of the CUDA backend as plain C calls: one struct of arguments and one launcher each.
 * All pointers are device pointers, all steps are in elements. Launches are asynchronous, in the
 * order of the device's stream. The laws are those of doc/numerics.md. */
#ifndef PTQ_GPU_KERNELS_H
#define PTQ_GPU_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/gpu/dev.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(hidden)

enum { PTQ_K_RANK = 8 };

/* What ends an integer product: bias, multiplier, output grid (lib/exec/steps.h). */
typedef struct ptq_k_epilogue {
    const float *mult;   /* [nw] to the output grid, or to float with float_out */
    const int32_t *wzp;  /* [nw] or NULL */
    const int32_t *bias; /* [channels] or NULL */
    int64_t nw;          /* 1 or channels */
    int32_t zx, zy, lo, hi;
    int32_t x_signed, w_signed, float_out;
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
 * product is a convolution with one tap. Bytes outside the input read as the zero point from
 * `zero`, so that one constant per channel takes the zero point out again (it is in `bias`). */
typedef struct ptq_k_gemm {
    const uint8_t *x;
    const int8_t *w;     /* [npad][kpad]: k = tap * c + channel, zeros behind; 16-byte aligned */
    void *y;             /* [m][n] bytes, or floats with float_out */
    const uint8_t *zero; /* 16 bytes of the zero point of x */
    const int32_t *bias; /* [npad] bias - zx * sum of the column's weights, modulo 2^32 */
    const float *mult;   /* [npad] */
    int64_t m;           /* batch * out_h * out_w */
    int32_t n, npad, kpad, c;
    int32_t in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, dil_h, dil_w, pad_h, pad_w;
    int32_t zx, zy, lo, hi, x_signed, float_out;
    int32_t padded; /* some window reaches outside the input */
} ptq_k_gemm;
enum { PTQ_K_GEMM_N = 128, PTQ_K_GEMM_K = 64 }; /* npad and kpad are multiples of these */
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

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
