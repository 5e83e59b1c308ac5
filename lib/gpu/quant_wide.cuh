/* SPDX-License-Identifier: Apache-2.0 */
/* float to bytes with one scale, for k_quant.cu (CUDA only): dense tensors, and images of three planes
 * that become pixels of three channels. The law's true division comes from a reciprocal here, which the
 * host divides once:
 *   - x is clamped to [(lo - z) s, (hi - z) s] instead of its quotient. Rounding is monotone, and the
 *     quotients at both ends are within 2^-22 of a whole number, so that codes do not change; and what
 *     follows meets neither NaN nor infinity.
 *   - y = RN(1 / s), q0 = RN(x y) is within 2 ulp of x / s, q1 = RN(q0 + y (x - q0 s)) within one; then
 *     RN(q1 + y (x - q1 s)) is RN(x / s) (Markstein: y correctly rounded, q1 faithful, the residual
 *     exact). With 2^-60 <= s <= 2^60 the residual is exact from |x / s| = 1/4 on, as its last bit is at
 *     least 2^-108; below, every quotient that comes out is rounded to 0. */
#ifndef PTQ_GPU_QUANT_WIDE_CUH
#define PTQ_GPU_QUANT_WIDE_CUH

#include "lib/gpu/kf.h"
#include "lib/gpu/mma.cuh"

enum { QUANT_THREADS = 256, QUANT_PASSES = 4 };

typedef struct quant_law {
    float s, y, lo, hi; /* lo, hi: of x */
    uint32_t zp_low, zp_high;
} quant_law;

static __device__ __forceinline__ float quotient(const quant_law &l, float x)
{
    return quotient(clamped(x, l.lo, l.hi), l.s, l.y);
}

static __device__ __forceinline__ uint32_t quant_codes(const quant_law &l, float a, float b, float c, float d)
{
    float f[4] = {quotient(l, a), quotient(l, b), quotient(l, c), quotient(l, d)};
    return add_bytes(low_bytes(f), l.zp_low, l.zp_high);
}

/* n: groups of four elements; `tail` more elements lie behind them. */
static __global__ void __launch_bounds__(QUANT_THREADS)
    quantize_wide(const float *x, uint8_t *y, int64_t n, int tail, const __grid_constant__ quant_law l)
{
    int64_t at = (int64_t)blockIdx.x * (QUANT_THREADS * QUANT_PASSES) + threadIdx.x;
    float4 v[QUANT_PASSES];
#pragma unroll
    for (int i = 0; i < QUANT_PASSES; i++)
        if (at + i * QUANT_THREADS < n)
            v[i] = __ldg((const float4 *)x + at + i * QUANT_THREADS);
#pragma unroll
    for (int i = 0; i < QUANT_PASSES; i++)
        if (at + i * QUANT_THREADS < n)
            ((uint32_t *)y)[at + i * QUANT_THREADS] = quant_codes(l, v[i].x, v[i].y, v[i].z, v[i].w);
    if (at < tail)
        y[4 * n + at] = (uint8_t)quant_codes(l, x[4 * n + at], 0.0f, 0.0f, 0.0f);
}

/* Four pixels of three planes; `fours` are in a plane, n in all images. */
static __global__ void __launch_bounds__(QUANT_THREADS)
    quantize_image(const float *x, uint8_t *y, uint32_t n, uint32_t fours, const __grid_constant__ quant_law l)
{
    uint32_t i = blockIdx.x * QUANT_THREADS + threadIdx.x;
    if (i >= n)
        return;
    uint32_t image = i / fours;
    const float4 *p = (const float4 *)x + (int64_t)image * 3 * fours + (i - image * fours);
    float4 r = __ldg(p), g = __ldg(p + fours), b = __ldg(p + 2 * (int64_t)fours);
    uint32_t *out = (uint32_t *)y + (int64_t)i * 3;
    out[0] = quant_codes(l, r.x, g.x, b.x, r.y);
    out[1] = quant_codes(l, g.y, b.y, r.z, g.z);
    out[2] = quant_codes(l, b.z, r.w, g.w, b.w);
}

static bool quant_fits(const ptq_k_quant *a)
{
    bool image = a->rows % 4 == 0 && a->cols == 3 && a->n / 4 < 1u << 31;
    return !ptq_kf_reference_only() && !a->scale && a->bytes == 1 && ptq_plain_scale(a->one_scale) &&
           (uintptr_t)a->x % 16 == 0 && (uintptr_t)a->y % 4 == 0 && (!a->rows || image) &&
           a->n < (int64_t)1 << 40;
}

static ptq_status quant_run(ptq_dev *d, const ptq_k_quant *a)
{
    cudaStream_t stream = (cudaStream_t)ptq_dev_stream(d);
    uint32_t zp = (uint32_t)(a->one_zp & 0xff) * 0x01010101u;
    float s = a->one_scale;
    quant_law l = {s, 1.0f / s, (float)(a->lo - a->one_zp) * s, (float)(a->hi - a->one_zp) * s, zp & 0x7f7f7f7fu,
                   zp & 0x80808080u};
    if (a->n == 0)
        return PTQ_OK;
    if (a->rows) {
        uint32_t n = (uint32_t)(a->n / 12);
        quantize_image<<<(n + QUANT_THREADS - 1) / QUANT_THREADS, QUANT_THREADS, 0, stream>>>(
            (const float *)a->x, (uint8_t *)a->y, n, (uint32_t)(a->rows / 4), l);
        return ptq_dev_launched(d, "quantize_image");
    }
    int64_t n = a->n / 4, block = QUANT_THREADS * QUANT_PASSES, blocks = (n + block - 1) / block;
    quantize_wide<<<(unsigned)(blocks ? blocks : 1), QUANT_THREADS, 0, stream>>>(
        (const float *)a->x, (uint8_t *)a->y, n, (int)(a->n % 4), l);
    return ptq_dev_launched(d, "quantize_wide");
}

#endif
