/* SPDX-License-Identifier: Apache-2.0 */
/* Rows shared by 16 threads each, for kf_rows.cu (CUDA only): thread l keeps partial l of a sum
 * and partials l, l + 16, l + 32, l + 48 of a maximum, so the orders of fmath.h stay as they are. */
#ifndef PTQ_GPU_KF_LANES_H
#define PTQ_GPU_KF_LANES_H

#include "lib/gpu/kf.h"

enum { LANES_THREADS = 256, LANES_ROWS = LANES_THREADS / PTQ_LANES };

#ifndef PTQ_LAUNCH_LANES
#define PTQ_LAUNCH_LANES(d, name, rows, arg)                                                       \
    ((rows) > 0 ? (name<<<(unsigned)(((rows) + LANES_ROWS - 1) / LANES_ROWS), LANES_THREADS, 0,    \
                     (cudaStream_t)ptq_dev_stream(d)>>>(arg),                                      \
                   ptq_dev_launched(d, #name))                                                     \
                : PTQ_OK)
#endif

static __device__ __forceinline__ int lane(void)
{
    return (int)threadIdx.x % PTQ_LANES;
}

/* The row of this thread; those beyond the last compute it again and write nothing. */
static __device__ __forceinline__ int64_t row_of(int64_t rows, bool *writes)
{
    int64_t r = (int64_t)blockIdx.x * LANES_ROWS + threadIdx.x / PTQ_LANES;
    *writes = r < rows;
    return *writes ? r : rows - 1;
}

/* ptq_fold16 of the partials of 16 threads, for all of them. */
static __device__ __forceinline__ float fold_lanes(float p)
{
#pragma unroll
    for (int w = PTQ_LANES / 2; w > 0; w /= 2)
        p += __shfl_down_sync(0xffffffffu, p, (unsigned)w, PTQ_LANES);
    return __shfl_sync(0xffffffffu, p, 0, PTQ_LANES);
}

static __device__ __forceinline__ float sum_lanes(const float *x, int64_t n)
{
    float p = 0.0f;
    for (int64_t i = lane(); i < n; i += PTQ_LANES)
        p += x[i];
    return fold_lanes(p);
}

static __device__ __forceinline__ float sumsq_lanes(const float *x, float mean, int64_t n)
{
    float p = 0.0f;
    for (int64_t i = lane(); i < n; i += PTQ_LANES) {
        float v = x[i] - mean;
        p = fmaf(v, v, p);
    }
    return fold_lanes(p);
}

/* ptq_max64; n > 0. */
static __device__ __forceinline__ float max_lanes(const float *x, int64_t n)
{
    enum { EACH = PTQ_MAX_LANES / PTQ_LANES };
    float p[EACH];
#pragma unroll
    for (int j = 0; j < EACH; j++)
        p[j] = x[0];
    for (int64_t i = lane(); i < n; i += PTQ_MAX_LANES)
#pragma unroll
        for (int j = 0; j < EACH; j++)
            if (i + j * PTQ_LANES < n)
                p[j] = ptq_maxf(p[j], x[i + j * PTQ_LANES]);
#pragma unroll
    for (int w = EACH / 2; w > 0; w /= 2)
#pragma unroll
        for (int j = 0; j < w; j++)
            p[j] = ptq_maxf(p[j], p[j + w]);
    float v = p[0];
#pragma unroll
    for (int w = PTQ_LANES / 2; w > 0; w /= 2)
        v = ptq_maxf(v, __shfl_down_sync(0xffffffffu, v, (unsigned)w, PTQ_LANES));
    return __shfl_sync(0xffffffffu, v, 0, PTQ_LANES);
}

static __global__ void __launch_bounds__(LANES_THREADS) softmax_lanes(const __grid_constant__ ptq_kf_softmax a)
{
    bool writes;
    int64_t row = row_of(a.outer, &writes);
    const float *x = a.x + row * a.n;
    float *y = a.y + row * a.n, max = max_lanes(x, a.n), p = 0.0f;
    for (int64_t i = lane(); i < a.n; i += PTQ_LANES) {
        float e = ptq_expf(x[i] - max);
        if (writes && !a.logarithm)
            y[i] = e;
        p += e;
    }
    float sum = fold_lanes(p), l = ptq_logf(sum), inv = 1.0f / sum;
    for (int64_t i = lane(); writes && i < a.n; i += PTQ_LANES)
        y[i] = a.logarithm ? (x[i] - max) - l : y[i] * inv;
}

static __global__ void __launch_bounds__(LANES_THREADS) layer_norm_lanes(const __grid_constant__ ptq_kf_layer_norm a)
{
    bool writes;
    int64_t row = row_of(a.rows, &writes);
    const float *x = a.x + row * a.n;
    float mean = sum_lanes(x, a.n) / (float)a.n;
    float rstd = 1.0f / sqrtf(sumsq_lanes(x, mean, a.n) / (float)a.n + a.eps);
    for (int64_t i = lane(); writes && i < a.n; i += PTQ_LANES)
        a.y[row * a.n + i] = ptq_normalizef(x[i], mean, rstd, a.scale[i], a.bias ? a.bias[i] : 0.0f);
    if (writes && lane() == 0 && a.mean)
        a.mean[row] = mean;
    if (writes && lane() == 0 && a.rstd)
        a.rstd[row] = rstd;
}

static __global__ void __launch_bounds__(LANES_THREADS) reduce_lanes(const __grid_constant__ ptq_kf_reduce a)
{
    bool writes;
    int64_t row = row_of(a.outputs, &writes);
    const float *x = a.x + row * a.stay.step[1][0];
    float v = a.op == PTQ_KF_MAX ? max_lanes(x, a.n) : ptq_kf_end(a.op, sum_lanes(x, a.n), a.n, 0.0f);
    if (writes && lane() == 0)
        ((float *)a.y)[row] = v;
}

/* Short rows are better off in one thread. */
static bool ptq_kf_lanes_fit(int64_t n)
{
    return n >= 2 * PTQ_LANES && !ptq_kf_reference_only();
}

static ptq_status ptq_kf_lanes_softmax(ptq_dev *d, const ptq_kf_softmax *a)
{
    return PTQ_LAUNCH_LANES(d, softmax_lanes, a->outer, *a);
}

static ptq_status ptq_kf_lanes_layer_norm(ptq_dev *d, const ptq_kf_layer_norm *a)
{
    return PTQ_LAUNCH_LANES(d, layer_norm_lanes, a->rows, *a);
}

static ptq_status ptq_kf_lanes_reduce(ptq_dev *d, const ptq_kf_reduce *a)
{
    return PTQ_LAUNCH_LANES(d, reduce_lanes, a->outputs, *a);
}

#endif
