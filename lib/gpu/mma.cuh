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

static __device__ __forceinline__ void copy4_async(uint32_t dst, const void *src)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(dst), "l"(src) : "memory");
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

/* ---- the end of an integer product ---- */

/* The bytes of ptq_requantize less the zero point, for four accumulators: product, clamp, and half to
 * even by adding 1.5 * 2^23, whose low byte then is the result's. min and max send NaN to lo. */
static __device__ __forceinline__ uint32_t requantize4(const int32_t v[4], const float m[4], float lo, float hi)
{
    uint32_t b[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        b[i] = __float_as_uint(fminf(fmaxf((float)v[i] * m[i], lo), hi) + 12582912.0f);
    return __byte_perm(__byte_perm(b[0], b[1], 0x0040), __byte_perm(b[2], b[3], 0x0040), 0x5410);
}

/* Byte by byte, modulo 256; low is z's bytes without their top bits, high those bits. */
static __device__ __forceinline__ uint32_t add_bytes(uint32_t x, uint32_t low, uint32_t high)
{
    return ((x & 0x7f7f7f7fu) + low) ^ (x & 0x80808080u) ^ high;
}

/* Bias and multiplier of 16 neighbouring channels: read where they lie, in global or shared memory. */
struct channels {
    const int4 *b;
    const float4 *m;
    __device__ __forceinline__ channels(const int32_t *bias, const float *mult, int n)
        : b((const int4 *)(bias + n)), m((const float4 *)(mult + n))
    {
    }
};

/* Two rows (m and m + 8) of 16 neighbouring channels from n on. acc[4 j + 2 row + e] is channel
 * n + 2 j + e of its row. Rows from `end` on are not written. */
static __device__ __forceinline__ int32_t biased(const int32_t *acc, int row, int channel, int32_t bias)
{
    return (int32_t)((uint32_t)acc[channel / 2 * 4 + 2 * row + channel % 2] + (uint32_t)bias);
}

static __device__ __forceinline__ void finish_rows(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                   int64_t m, int n, int64_t end)
{
    if (n >= a.n)
        return;
    if (a.float_out) { /* apart, so that the common case has no branches */
#pragma unroll
        for (int e = 0; e < 32; e++) {
            int row = e / 16, ch = e % 16;
            int32_t v = biased(acc, row, ch, ((const int32_t *)c.b)[ch]);
            if (m + 8 * row < end && n + ch < a.n)
                ((float *)a.y)[(m + 8 * row) * a.n + n + ch] = (float)v * ((const float *)c.m)[ch];
        }
        return;
    }
    float lo = (float)(a.lo - a.zy), hi = (float)(a.hi - a.zy);
    uint32_t out[2][4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int4 b4 = c.b[i];
        float4 m4 = c.m[i];
        float mult[4] = {m4.x, m4.y, m4.z, m4.w};
        int32_t bias[4] = {b4.x, b4.y, b4.z, b4.w};
#pragma unroll
        for (int row = 0; row < 2; row++) {
            int32_t v[4];
#pragma unroll
            for (int e = 0; e < 4; e++)
                v[e] = biased(acc, row, 4 * i + e, bias[e]);
            out[row][i] = requantize4(v, mult, lo, hi);
        }
    }
    if (a.zy & 0xff) {
        uint32_t zy = (uint32_t)(a.zy & 0xff) * 0x01010101u, low = zy & 0x7f7f7f7fu, high = zy & 0x80808080u;
#pragma unroll
        for (int i = 0; i < 8; i++)
            out[i / 4][i % 4] = add_bytes(out[i / 4][i % 4], low, high);
    }
    uint8_t *y = (uint8_t *)a.y + m * a.n + n;
    if (a.n % 16 == 0) {
        if (m < end)
            *(uint4 *)y = make_uint4(out[0][0], out[0][1], out[0][2], out[0][3]);
        if (m + 8 < end)
            *(uint4 *)(y + 8 * a.n) = make_uint4(out[1][0], out[1][1], out[1][2], out[1][3]);
        return;
    }
#pragma unroll
    for (int e = 0; e < 32; e++)
        if (n + e % 16 < a.n && m + e / 16 * 8 < end)
            y[(int64_t)(e / 16 * 8) * a.n + e % 16] = (uint8_t)(out[e / 16][e % 16 / 4] >> (e % 4 * 8));
}

#endif
