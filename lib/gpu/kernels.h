/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of the CUDA backend as plain C calls: one struct of arguments and one launcher each.
 * All pointers are device pointers, all steps are in elements. Launches are asynchronous, in the
 * order of the device's stream. The laws are those of doc/numerics.md. */
#ifndef PTQ_GPU_KERNELS_H
#define PTQ_GPU_KERNELS_H

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
