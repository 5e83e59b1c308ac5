/* SPDX-License-Identifier: Apache-2.0 */
/* PTX that the tensor-core kernels share (compute capability 8.0 and up). */
#ifndef PTQ_GPU_MMA_CUH
#define PTQ_GPU_MMA_CUH

#include <cuda_runtime.h>

#include "lib/core/qmath.h"
#include "lib/gpu/kernels.h"

static __device__ __forceinline__ uint32_t smem_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

static __device__ __forceinline__ void copy16_async(uint32_t dst, const void *src)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory");
}

static __device__ __forceinline__ void commit_async()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int LEFT> static __device__ __forceinline__ void wait_async()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

/* Four 8 x 16-byte matrices: lane l holds row l / 4, bytes 4 (l % 4) .. + 3 of each; lanes
 * 8 i .. 8 i + 7 give the row addresses of matrix i. */
static __device__ __forceinline__ void load_matrix4(uint32_t r[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/* d += A (16 x 32) B (32 x 8); B is int8. */
template <bool SIGNED>
static __device__ __forceinline__ void mma_16x8x32(int32_t d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    if (SIGNED)
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                     "{%8, %9}, {%0, %1, %2, %3};"
                     : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                     "{%8, %9}, {%0, %1, %2, %3};"
                     : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* ptq_requantize with the bounds already less the zero point: product, clamp, half to even. */
static __device__ __forceinline__ uint32_t requantize_byte(int32_t acc, float m, float lo, float hi, int32_t zy)
{
    return (uint32_t)(ptq_rint(ptq_clampf((float)acc * m, lo, hi)) + zy) & 0xffu;
}

#endif
