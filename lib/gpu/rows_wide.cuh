/* SPDX-License-Identifier: Apache-2.0 */
/* Rows to codes, 16 threads each, for k_attention.cu (CUDA only): thread l keeps partial l of a sum, as in
 * kf_lanes.cuh. */
#ifndef PTQ_GPU_ROWS_WIDE_CUH
#define PTQ_GPU_ROWS_WIDE_CUH

#include "lib/gpu/kf_lanes.cuh"
#include "lib/gpu/quant_wide.cuh"

/* ---- attention ---- */

static __device__ const float *mask_row(const ptq_k_attention_rows *a, int64_t row);
static __device__ float score(const ptq_k_attention_rows *a, const float *x, const float *mask, int64_t k);

static __global__ void __launch_bounds__(LANES_THREADS)
    attention_rows_lanes(const __grid_constant__ ptq_k_attention_rows a)
{
    bool writes;
    int64_t row = row_of(a.batch * a.m, &writes);
    const float *x = a.x + row * a.n, *mask = mask_row(&a, row);
    float max = score(&a, x, mask, 0), p = 0.0f;
    for (int64_t i = lane(); i < a.n; i += PTQ_LANES)
        max = ptq_maxf(max, score(&a, x, mask, i)); /* -0 and +0 are the same to what follows; NaN stays */
#pragma unroll
    for (int w = PTQ_LANES / 2; w > 0; w /= 2)
        max = ptq_maxf(max, __shfl_xor_sync(0xffffffffu, max, w, PTQ_LANES));
    for (int64_t i = lane(); i < a.n; i += PTQ_LANES)
        p += ptq_expf(score(&a, x, mask, i) - max);
    float inv = 1.0f / fold_lanes(p);
    for (int64_t i = lane(); writes && i < a.n; i += PTQ_LANES)
        a.y[row * a.n + i] = (uint8_t)ptq_quantize(ptq_expf(score(&a, x, mask, i) - max) * inv, a.s, a.z, a.lo, a.hi);
}

static bool rows_wide_fit(int64_t n)
{
    return ptq_kf_lanes_fit(n);
}

static ptq_status attention_rows_wide(ptq_dev *d, const ptq_k_attention_rows *a)
{
    return PTQ_LAUNCH_LANES(d, attention_rows_lanes, a->batch * a->m, *a);
}

/* ---- normalization ---- */

/* Four lanes with four bytes each exchange them: lane j gets byte j of all four. */
static __device__ __forceinline__ uint32_t turn_bytes(uint32_t w, int lane)
{
    uint32_t other = __shfl_xor_sync(0xffffffffu, w, 1);
    w = lane & 1 ? __byte_perm(other, w, 0x7351) : __byte_perm(w, other, 0x6240); /* bytes 1 3 | 0 2 of both */
    other = __shfl_xor_sync(0xffffffffu, w, 2);
    return lane & 2 ? __byte_perm(other, w, 0x7632) : __byte_perm(w, other, 0x5410);
}

/* A row of n = 64 G floats in the registers of 16 threads, G <= MOST. All places are one address and a number
 * that the compiler knows. */
template <int MOST, bool FLOATS, bool BIAS>
static __global__ void __launch_bounds__(LANES_THREADS)
    qnorm_rows(const __grid_constant__ ptq_k_qnorm a, const __grid_constant__ quant_law law)
{
    bool writes;
    int64_t row = row_of(a.rows, &writes);
    int l = lane(), groups = (int)a.n / 64;
    const float *x = (const float *)a.x + row * a.n + l, *scale = a.scale + l, *bias = a.bias + l;
    float *f = (float *)a.f + row * a.n + l;
    uint8_t *y = a.y + row * a.n + 16 * (l & 3) + (l & 12); /* where the bytes of turn_bytes lie */
    float v[4 * MOST], p = 0.0f;
#pragma unroll
    for (int i = 0; i < 4 * MOST; i++)
        v[i] = i / 4 < groups ? __ldcs(x + 16 * i) : 0.0f;
#pragma unroll
    for (int i = 0; i < 4 * MOST; i++)
        if (i / 4 < groups)
            p += v[i];
    float mean = fold_lanes(p) / (float)a.n;
    p = 0.0f;
#pragma unroll
    for (int i = 0; i < 4 * MOST; i++) {
        v[i] -= mean;
        if (i / 4 < groups)
            p = fmaf(v[i], v[i], p);
    }
    float rstd = 1.0f / sqrtf(fold_lanes(p) / (float)a.n + a.eps);
#pragma unroll
    for (int g = 0; g < MOST; g++) {
        if (g >= groups)
            break;
        float u[4];
#pragma unroll
        for (int e = 0; e < 4; e++) { /* ptq_normalizef */
            int k = 64 * g + 16 * e;
            u[e] = fmaf(v[4 * g + e] * rstd, __ldg(scale + k), BIAS ? __ldg(bias + k) : 0.0f);
            if (FLOATS && writes)
                f[k] = u[e];
        }
        uint32_t w = turn_bytes(quant_codes(law, u[0], u[1], u[2], u[3]), l);
        if (writes)
            *(uint32_t *)(y + 64 * g) = w;
    }
}

template <bool FLOATS, bool BIAS> static auto qnorm_kernel(int64_t n)
{
    return n <= 256   ? qnorm_rows<4, FLOATS, BIAS>
           : n <= 512 ? qnorm_rows<8, FLOATS, BIAS>
           : n <= 768 ? qnorm_rows<12, FLOATS, BIAS>
                      : qnorm_rows<16, FLOATS, BIAS>;
}

static bool qnorm_wide_fits(const ptq_k_qnorm *a)
{
    return !ptq_kf_reference_only() && a->n % 64 == 0 && a->n >= 64 && a->n <= 1024 && (uintptr_t)a->y % 4 == 0 &&
           ptq_plain_scale(a->s);
}

static ptq_status qnorm_wide_run(ptq_dev *d, const ptq_k_qnorm *a)
{
    uint32_t zp = (uint32_t)(a->z & 0xff) * 0x01010101u;
    quant_law law = {a->s, 1.0f / a->s, (float)(a->lo - a->z) * a->s, (float)(a->hi - a->z) * a->s, zp & 0x7f7f7f7fu,
                     zp & 0x80808080u};
    auto kernel = a->f ? a->bias ? qnorm_kernel<true, true>(a->n) : qnorm_kernel<true, false>(a->n)
                  : a->bias ? qnorm_kernel<false, true>(a->n) : qnorm_kernel<false, false>(a->n);
    if (a->rows == 0)
        return PTQ_OK;
    cudaStream_t stream = (cudaStream_t)ptq_dev_stream(d);
    kernel<<<(unsigned)((a->rows + LANES_ROWS - 1) / LANES_ROWS), LANES_THREADS, 0, stream>>>(*a, law);
    return ptq_dev_launched(d, "qnorm_rows");
}

#endif
