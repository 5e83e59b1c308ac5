/* SPDX-License-Identifier: Apache-2.0 */
/* Products of floats in float16: both operands are rounded to float16 (half to even; beyond its range to the largest
 * number, NaN stays), their products are exact and are added in float32, what follows is that of kernels_float.h.
 * Where all products and sums are whole numbers below 2^24 the result is exact; else its last bits depend on the
 * kernel, which is one for all launches below 2^30 rows or 2^31 pixels. */
#ifndef PTQ_GPU_KERNELS_HALF_H
#define PTQ_GPU_KERNELS_HALF_H

#include "lib/gpu/kernels_float.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(hidden)

/* k of a slice that passes through shared memory; rows of packed operands are whole slices, zeros behind. */
enum { PTQ_KF_HALF_SLICE = 32, PTQ_KF_HALF_CHANNELS = 16 };

/* How a row of weights (an output channel) of a convolution lies: [tap][cpad] with whole chunks of channels where
 * there are many in a group, so that neighbouring k have one tap; else [channel][tap]. */
typedef struct ptq_kf_half_order {
    int64_t outer, inner, pad, row; /* row: outer blocks of `inner` halves, `pad` apart, in whole slices */
    int32_t by_tap;
} ptq_kf_half_order;

static inline ptq_kf_half_order ptq_kf_half_order_of(int64_t channels, int64_t taps)
{
    int64_t c = PTQ_KF_HALF_CHANNELS, k = PTQ_KF_HALF_SLICE;
    ptq_kf_half_order o = {1, channels * taps, channels * taps, 0, 0};
    if (channels >= c) {
        o.outer = taps;
        o.inner = channels;
        o.pad = (channels + c - 1) / c * c;
        o.by_tap = 1;
    }
    o.row = (o.outer * o.pad + k - 1) / k * k;
    return o;
}

typedef struct ptq_kf_half_conv {
    ptq_kf_conv f;     /* not mirrored, `up` is 1; w is not read */
    const uint16_t *w; /* [m] rows */
    ptq_kf_half_order order;
} ptq_kf_half_conv;
ptq_status ptq_kf_run_half_conv(ptq_dev *d, const ptq_kf_half_conv *a);

typedef struct ptq_kf_half_matmul {
    ptq_kf_matmul f;
    const uint16_t *b; /* packed: a row for each column, [matrices of f.b][n] rows; NULL: f.b is read */
    int64_t row;       /* halves of a row */
} ptq_kf_half_matmul;
ptq_status ptq_kf_run_half_matmul(ptq_dev *d, const ptq_kf_half_matmul *a);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
