/* SPDX-License-Identifier: Apache-2.0 */
/* One source for two devices. A reference kernel is written between these macros: nvcc compiles it
 * for the GPU, and the tests compile the same file as plain C, where a launch is a loop. It may not
 * use shared memory or barriers; faster kernels, which do, are overrides proven against it.
 *
 *     PTQ_KERNEL(add_one, ptq_k_add_one a) { PTQ_EACH(i, a.n) a.y[i] = a.x[i] + 1; }
 *     ptq_status ptq_k_run_add_one(ptq_dev *d, const ptq_k_add_one *a)
 *     {
 *         return PTQ_LAUNCH(d, add_one, a->n, *a);
 *     }
 *
 * Kernels take their arguments as one struct of lib/gpu/kernels.h. */
#ifndef PTQ_GPU_LAUNCH_H
#define PTQ_GPU_LAUNCH_H

#include "lib/core/cast.h"
#include "lib/gpu/kernels.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>

#define PTQ_KERNEL(name, arg) static __global__ void __launch_bounds__(256) name(const __grid_constant__ arg)
#define PTQ_DEVICE static __device__ __forceinline__
#define PTQ_EACH(i, n)                                                                             \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                      \
         i += (int64_t)gridDim.x * blockDim.x)
static inline unsigned ptq_grid(int64_t n)
{
    int64_t blocks = (n + 255) / 256;
    return (unsigned)(blocks > 1 << 20 ? 1 << 20 : blocks);
}
#define PTQ_LAUNCH(d, name, n, arg)                                                                \
    ((n) > 0 ? (name<<<ptq_grid(n), 256, 0, (cudaStream_t)ptq_dev_stream(d)>>>(arg),               \
                ptq_dev_launched(d, #name))                                                        \
             : PTQ_OK)
#else
#define PTQ_KERNEL(name, arg) static void name(arg)
#define PTQ_DEVICE static inline
#define PTQ_EACH(i, n) for (int64_t i = 0; i < (n); i++)
#define PTQ_LAUNCH(d, name, n, arg) ((n) > 0 ? (name(arg), ptq_dev_launched(d, #name)) : PTQ_OK)
#endif

/* Element i of a float tensor that lies in memory as float32, or as float16: stored without infinities. */
PTQ_DEVICE float ptq_k_load_float(const void *p, int64_t i, int32_t half)
{
    return half ? ptq_half_to_float(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

PTQ_DEVICE void ptq_k_store_float(void *p, int64_t i, float v, int32_t half)
{
    if (half)
        ((uint16_t *)p)[i] = ptq_float_to_half(ptq_fclamp(v, -65504.0f, 65504.0f));
    else
        ((float *)p)[i] = v;
}

/* Element i of an 8-bit tensor. */
PTQ_DEVICE int32_t ptq_k_byte(const void *p, int64_t i, int32_t sgn)
{
    return sgn ? (int32_t)((const int8_t *)p)[i] : (int32_t)((const uint8_t *)p)[i];
}

#endif
