/* SPDX-License-Identifier: Apache-2.0 */
/* LayerNormalization to codes with fast math, for k_attention.cu (CUDA only): a warp has two rows in its registers,
 * 8 neighbouring elements of each per lane and vector; sums are plain, what is read and written in float may be
 * float16. */
#ifndef PTQ_GPU_ROWS_FAST_CUH
#define PTQ_GPU_ROWS_FAST_CUH

#include "lib/gpu/fast_tail.cuh"
#include "lib/gpu/kf.h"

enum { FAST_ROW_WARPS = 4, FAST_ROWS = 2 };

struct fast_law {
    float inv, lo, hi, code; /* 1 / s; lo - z, hi - z; what a code is rounded by */
};

template <bool HALF> static __device__ __forceinline__ void load_eight(const void *p, int64_t at, float (&v)[8])
{
    if (HALF) {
        uint4 w = __ldcs((const uint4 *)((const __half *)p + at));
        float2 a = from_half2(w.x), b = from_half2(w.y), c = from_half2(w.z), d = from_half2(w.w);
        v[0] = a.x, v[1] = a.y, v[2] = b.x, v[3] = b.y, v[4] = c.x, v[5] = c.y, v[6] = d.x, v[7] = d.y;
    } else {
        const float *x = (const float *)p + at;
        float4 a = __ldcs((const float4 *)x), b = __ldcs((const float4 *)(x + 4));
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    }
}

static __device__ __forceinline__ void store_eight(void *p, int64_t at, const float (&v)[8], bool half)
{
    if (half) {
        *(uint4 *)((__half *)p + at) =
            make_uint4(to_half2(v[0], v[1]), to_half2(v[2], v[3]), to_half2(v[4], v[5]), to_half2(v[6], v[7]));
        return;
    }
    *(float4 *)((float *)p + at) = make_float4(v[0], v[1], v[2], v[3]);
    *(float4 *)((float *)p + at + 4) = make_float4(v[4], v[5], v[6], v[7]);
}

static __device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
    for (int w = 16; w > 0; w /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, w);
    return v;
}

static __device__ __forceinline__ uint32_t four_codes(const fast_law &l, const float *v)
{
    uint32_t b[4];
#pragma unroll
    for (int e = 0; e < 4; e++)
        b[e] = __float_as_uint(clamped(v[e] * l.inv, l.lo, l.hi) + l.code);
    return four_bytes(b);
}

/* A row less its mean; returns 1 / its deviation. */
template <int VECTORS>
static __device__ __forceinline__ float centered(float (&v)[VECTORS][8], int col, int n, float eps)
{
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < VECTORS; i++)
#pragma unroll
        for (int e = 0; e < 8; e++)
            sum += v[i][e];
    float mean = warp_sum(sum) / (float)n;
#pragma unroll
    for (int i = 0; i < VECTORS; i++)
#pragma unroll
        for (int e = 0; e < 8; e++) {
            v[i][e] -= mean;
            if (col + 256 * i < n)
                squares = fmaf(v[i][e], v[i][e], squares);
        }
    return 1.0f / sqrtf(warp_sum(squares) / (float)n + eps);
}

/* n <= 256 VECTORS, a multiple of 8. */
template <int VECTORS, int ROWS, bool HALF>
static __global__ void __launch_bounds__(32 * FAST_ROW_WARPS)
    qnorm_fast(const __grid_constant__ ptq_k_qnorm a, const __grid_constant__ fast_law law)
{
    int n = (int)a.n, col = (int)threadIdx.x % 32 * 8;
    int64_t first = ((int64_t)blockIdx.x * FAST_ROW_WARPS + threadIdx.x / 32) * ROWS;
    float v[ROWS][VECTORS][8], rstd[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
#pragma unroll
            for (int e = 0; e < 8; e++)
                v[r][i][e] = 0.0f;
            if (first + r < a.rows && col + 256 * i < n)
                load_eight<HALF>(a.x, (first + r) * n + col + 256 * i, v[r][i]);
        }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        rstd[r] = centered(v[r], col, n, a.eps);
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        int k = col + 256 * i;
        if (k >= n)
            break;
        float4 s0 = __ldg((const float4 *)(a.scale + k)), s1 = __ldg((const float4 *)(a.scale + k + 4));
        float4 b0 = {}, b1 = {};
        if (a.bias) {
            b0 = __ldg((const float4 *)(a.bias + k));
            b1 = __ldg((const float4 *)(a.bias + k + 4));
        }
        const float s[8] = {s0.x, s0.y, s0.z, s0.w, s1.x, s1.y, s1.z, s1.w};
        const float b[8] = {b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w};
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            if (first + r >= a.rows)
                break;
#pragma unroll
            for (int e = 0; e < 8; e++)
                v[r][i][e] = fmaf(v[r][i][e] * rstd[r], s[e], b[e]);
            int64_t at = (first + r) * n + k;
            *(uint2 *)(a.y + at) = make_uint2(four_codes(law, v[r][i]), four_codes(law, v[r][i] + 4));
            if (a.f)
                store_eight(a.f, at, v[r][i], a.f_half);
        }
    }
}

static bool qnorm_fast_fits(const ptq_k_qnorm *a)
{
    return a->fast && !ptq_kf_reference_only() && a->n % 8 == 0 && a->n >= 8 && a->n <= 2048 && a->rows > 0 &&
           (uintptr_t)a->x % 16 == 0 && (uintptr_t)a->f % 16 == 0 && (uintptr_t)a->y % 8 == 0 &&
           (uintptr_t)a->scale % 16 == 0 && (uintptr_t)a->bias % 16 == 0 && ptq_plain_scale(a->s);
}

template <bool HALF> static ptq_status qnorm_fast_launch(ptq_dev *d, const ptq_k_qnorm *a)
{
    fast_law law = {1.0f / a->s, (float)(a->lo - a->z), (float)(a->hi - a->z), 12582912.0f + (float)a->z};
    int rows = a->n <= 1024 ? FAST_ROWS : 1, each = rows * FAST_ROW_WARPS;
    auto kernel = a->n <= 256   ? qnorm_fast<1, FAST_ROWS, HALF>
                  : a->n <= 512 ? qnorm_fast<2, FAST_ROWS, HALF>
                  : a->n <= 768 ? qnorm_fast<3, FAST_ROWS, HALF>
                  : rows > 1    ? qnorm_fast<4, FAST_ROWS, HALF>
                                : qnorm_fast<8, 1, HALF>;
    cudaStream_t stream = (cudaStream_t)ptq_dev_stream(d);
    kernel<<<(unsigned)((a->rows + each - 1) / each), 32 * FAST_ROW_WARPS, 0, stream>>>(*a, law);
    return ptq_dev_launched(d, "qnorm_fast");
}

static ptq_status qnorm_fast_run(ptq_dev *d, const ptq_k_qnorm *a)
{
    return a->x_half ? qnorm_fast_launch<true>(d, a) : qnorm_fast_launch<false>(d, a);
}

#endif
