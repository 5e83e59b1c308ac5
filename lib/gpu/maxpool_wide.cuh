/* SPDX-License-Identifier: Apache-2.0 */
/* Maximum over windows 2x2 and 3x3 of NHWC bytes, for k_pool.cu (CUDA only). A thread makes 16 (or 4)
 * channels of one output pixel. Taps outside of x read the nearest pixel that is inside: it belongs to
 * the window too (no dilation, no window outside of x), and a maximum may count it twice. */
#ifndef PTQ_GPU_MAXPOOL_WIDE_CUH
#define PTQ_GPU_MAXPOOL_WIDE_CUH

#include "lib/gpu/kf.h"

/* n threads, `groups` to a pixel. */
typedef struct maxpool_size {
    uint32_t n, groups;
} maxpool_size;

template <bool SIGNED> static __device__ __forceinline__ uint32_t max_bytes(uint32_t a, uint32_t b)
{
    return SIGNED ? __vmaxs4(a, b) : __vmaxu4(a, b);
}

template <bool SIGNED> static __device__ __forceinline__ void keep_max(uint32_t &a, uint32_t b)
{
    a = max_bytes<SIGNED>(a, b);
}

template <bool SIGNED> static __device__ __forceinline__ void keep_max(uint4 &a, uint4 b)
{
    a.x = max_bytes<SIGNED>(a.x, b.x);
    a.y = max_bytes<SIGNED>(a.y, b.y);
    a.z = max_bytes<SIGNED>(a.z, b.z);
    a.w = max_bytes<SIGNED>(a.w, b.w);
}

template <int K, bool SIGNED, class V>
static __global__ void __launch_bounds__(256)
    maxpool_wide(const __grid_constant__ ptq_k_pool a, const __grid_constant__ maxpool_size s)
{
    uint32_t i = blockIdx.x * 256 + threadIdx.x;
    if (i >= s.n)
        return;
    uint32_t p = i / s.groups, pixels = (uint32_t)a.pixels, width = (uint32_t)a.out[2], image = p / pixels;
    uint32_t c = (i - p * s.groups) * (uint32_t)sizeof(V), at = p - image * pixels, row = at / width;
    int h0 = (int)row * (int)a.stride[1] - (int)a.pad[1];
    int w0 = (int)(at - row * width) * (int)a.stride[2] - (int)a.pad[2];
    const uint8_t *x = (const uint8_t *)a.x + image * a.x_ns + c;
    int in_h = (int)a.in[1], in_w = (int)a.in[2], step = (int)a.x_ps;
    V v[K * K];
#pragma unroll
    for (int k = 0; k < K * K; k++) {
        int h = min(max(h0 + k / K, 0), in_h - 1), w = min(max(w0 + k % K, 0), in_w - 1);
        v[k] = __ldg((const V *)(x + (int64_t)(h * in_w + w) * step));
    }
#pragma unroll
    for (int k = 1; k < K * K; k++)
        keep_max<SIGNED>(v[0], v[k]);
    *(V *)((uint8_t *)a.y + image * a.y_ns + at * a.y_ps + c) = v[0];
}

/* Every window of dimension d meets x. */
static bool maxpool_meets(const ptq_k_pool *a, int d)
{
    return a->pad[d] < a->kernel[d] && (a->out[d] - 1) * a->stride[d] - a->pad[d] < a->in[d] && a->in[d] < 1 << 20 &&
           a->out[d] < 1 << 20 && a->stride[d] < 1 << 10;
}

static bool maxpool_fits(const ptq_k_pool *a)
{
    int64_t k = a->kernel[1];
    return !ptq_kf_reference_only() && a->lanes == 4 && a->kernel[0] == 1 && a->in[0] == 1 && a->out[0] == 1 &&
           a->pad[0] == 0 && (k == 2 || k == 3) && a->kernel[2] == k && a->dilation[1] == 1 && a->dilation[2] == 1 &&
           maxpool_meets(a, 1) && maxpool_meets(a, 2) && a->x_cs == 1 && a->y_cs == 1 &&
           a->n * a->groups * a->pixels < 1 << 30 && a->in[1] * a->in[2] < 1 << 30 && a->x_ps < 1 << 30;
}

template <int K, class V> static void maxpool_launch(ptq_dev *d, const ptq_k_pool *a, maxpool_size s)
{
    auto kernel = a->sgn ? maxpool_wide<K, true, V> : maxpool_wide<K, false, V>;
    kernel<<<(s.n + 255) / 256, 256, 0, (cudaStream_t)ptq_dev_stream(d)>>>(*a, s);
}

static ptq_status maxpool_run(ptq_dev *d, const ptq_k_pool *a)
{
    int64_t steps = a->x_ns | a->x_ps | a->y_ns | a->y_ps | (int64_t)((uintptr_t)a->x | (uintptr_t)a->y);
    bool wide = steps % 16 == 0 && a->groups % 4 == 0;
    int64_t groups = wide ? a->groups / 4 : a->groups;
    maxpool_size s = {(uint32_t)(a->n * groups * a->pixels), (uint32_t)groups};
    if (s.n == 0)
        return PTQ_OK;
    if (a->kernel[1] == 3)
        (wide ? maxpool_launch<3, uint4> : maxpool_launch<3, uint32_t>)(d, a, s);
    else
        (wide ? maxpool_launch<2, uint4> : maxpool_launch<2, uint32_t>)(d, a, s);
    return ptq_dev_launched(d, "maxpool_wide");
}

#endif
