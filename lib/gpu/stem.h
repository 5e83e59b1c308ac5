/* SPDX-License-Identifier: Apache-2.0 */
/* A first convolution with the maximum over windows behind it as one kernel (k_stem_pool.cu): what lies between
 * the two, the largest tensor of many networks, is never written. */
#ifndef PTQ_GPU_STEM_H
#define PTQ_GPU_STEM_H

#include "lib/gpu/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(hidden)

typedef struct ptq_k_pooled {
    ptq_k_gemm conv; /* m, out_h, out_w: of the convolution; y: of the pool, NHWC */
    int32_t out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, dil_h, dil_w, pad_h, pad_w; /* of the pool */
} ptq_k_pooled;
typedef ptq_status (*ptq_k_pooled_run)(ptq_dev *d, const ptq_k_pooled *a);
/* NULL where the device has no such kernel or it cannot run these arguments. */
ptq_k_pooled_run ptq_k_pooled_fast(const ptq_dev *d, const ptq_k_pooled *a);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
