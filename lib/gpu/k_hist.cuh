/* SPDX-License-Identifier: Apache-2.0 */
/* One warp per part, for k_hist.cu (CUDA only). A block counts the octaves that hold nearly all values
 * in shared memory and adds them to the counters of the tensor at its end; other values, which are
 * rare, go there at once. */
#ifndef PTQ_GPU_K_HIST_CUH
#define PTQ_GPU_K_HIST_CUH

#include <stdlib.h>
#include <string.h>

enum {
    HIST_THREADS = PTQ_K_HIST_BINS, /* so that a block adds one octave at a time */
    HIST_WARPS = HIST_THREADS / 32,
    HIST_WINDOW = 16, /* octaves of each sign */
    HIST_SIDE = HIST_WINDOW * PTQ_K_HIST_BINS,
    HIST_SHARED = 2 * HIST_SIDE * (int)sizeof(uint32_t),
    HIST_UNROLL = 8,
    HIST_LEAST = 16384, /* values that are worth a block */
};
#define HIST_ALL 0xffffffffu

/* What a warp has seen of one sample. */
struct hist_seen {
    int64_t sample;
    ptq_k_extremes e;
};

static __device__ __forceinline__ void put_seen(const ptq_k_hist &a, const hist_seen &s)
{
    if (s.e.max && threadIdx.x % 32 == 0)
        widen(&a.sample[s.sample].finite, s.e);
}

/* The lowest octave of the window: its top is one above the largest exponent among the first values of
 * each warp. */
static __device__ uint32_t window_base(const ptq_k_hist &a, int64_t first, int64_t last)
{
    __shared__ uint32_t top;
    uint32_t exponent = 0;
    if (threadIdx.x == 0)
        top = 0;
    __syncthreads();
    if (first < last) {
        hist_part p = part_of(&a, first);
        for (int64_t j = threadIdx.x % 32; j < p.n && j < 128; j += 32) {
            uint32_t e = ptq_float_bits(p.x[j]) >> 23 & 255;
            exponent = e < 254 && e > exponent ? e : exponent;
        }
    }
    exponent = __reduce_max_sync(HIST_ALL, exponent);
    if (threadIdx.x % 32 == 0)
        atomicMax(&top, exponent);
    __syncthreads();
    uint32_t end = top ? top + 2 : 130; /* nothing but zeros: no better idea than values below 4 */
    return end > HIST_WINDOW ? end - HIST_WINDOW : 0;
}

static __device__ __forceinline__ void count_value(const ptq_k_hist &a, uint32_t *window, uint32_t base,
                                                   uint32_t bits, uint32_t &zeros)
{
    uint32_t magnitude = bits & 0x7fffffffu, at = (magnitude >> PTQ_K_HIST_SHIFT) - base * PTQ_K_HIST_BINS;
    if (magnitude == 0)
        zeros++;
    else if (at < HIST_SIDE)
        atomicAdd(&window[(bits >> 31 ? HIST_SIDE : 0) + at], 1u);
    else if (magnitude < 0x7f800000u)
        count_bin(&a, bits);
}

/* The extremes of a part with NaN or infinities in it, which are counted. */
static __device__ __noinline__ ptq_k_extremes finite_extremes(const float *x, int64_t n, ptq_k_hist_sample *s)
{
    ptq_k_extremes e = {0, 0};
    for (int64_t j = threadIdx.x % 32; j < n; j += 32) {
        uint32_t bits = ptq_float_bits(x[j]), order = order_of(bits);
        if (order < FIRST || order > LAST) {
            count_nonfinite(s, bits);
            continue;
        }
        e.max = max(e.max, order);
        e.min = max(e.min, ~order);
    }
    e.max = __reduce_max_sync(HIST_ALL, e.max);
    e.min = __reduce_max_sync(HIST_ALL, e.min);
    return e;
}

/* Counts a part; its extremes, for all threads of the warp. */
static __device__ __forceinline__ ptq_k_extremes count_part(const ptq_k_hist &a, const hist_part &p,
                                                            uint32_t *window, uint32_t base, uint32_t &zeros)
{
    ptq_k_extremes e = {0, 0};
    int n = (int)p.n, j = (int)threadIdx.x % 32;
    const float *x = p.x + j;
    for (; j < n; j += 32 * HIST_UNROLL, x += 32 * HIST_UNROLL) {
        float v[HIST_UNROLL];
#pragma unroll
        for (int k = 0; k < HIST_UNROLL; k++)
            v[k] = j + 32 * k < n ? x[32 * k] : 0.0f;
#pragma unroll
        for (int k = 0; k < HIST_UNROLL; k++) {
            if (j + 32 * k >= n)
                break;
            uint32_t bits = ptq_float_bits(v[k]), order = order_of(bits);
            e.max = max(e.max, order);
            e.min = max(e.min, ~order);
            count_value(a, window, base, bits, zeros);
        }
    }
    e.max = __reduce_max_sync(HIST_ALL, e.max);
    e.min = __reduce_max_sync(HIST_ALL, e.min);
    if (e.max > LAST || e.min > ~FIRST)
        e = finite_extremes(p.x, p.n, &a.sample[p.sample]);
    return e;
}

/* The block's counters to those of the tensor, an octave at a time. */
static __device__ void add_window(const ptq_k_hist &a, const uint32_t *window, uint32_t base)
{
    for (uint32_t o = 0; o < 2 * HIST_WINDOW; o++) {
        uint32_t count = window[o * PTQ_K_HIST_BINS + threadIdx.x];
        uint32_t octave = (o < HIST_WINDOW ? o : 256 + o - HIST_WINDOW) + base;
        if (count)
            atomicAdd(&a.counts[octave * PTQ_K_HIST_BINS + threadIdx.x], count);
        if (__syncthreads_or(count != 0) && threadIdx.x == 0)
            atomicOr(&a.head->octaves[octave / 32], 1u << octave % 32);
    }
}

static __global__ void __launch_bounds__(HIST_THREADS, 3) hist_warps(const __grid_constant__ ptq_k_hist a,
                                                                     int64_t parts)
{
    extern __shared__ uint32_t window[];
    int64_t warps = (int64_t)gridDim.x * HIST_WARPS, warp = (int64_t)blockIdx.x * HIST_WARPS + threadIdx.x / 32;
    int64_t first = parts * warp / warps, last = parts * (warp + 1) / warps;
    hist_seen seen = {-1, {0, 0}};
    uint32_t zeros = 0;
    for (int i = threadIdx.x; i < 2 * HIST_SIDE; i += HIST_THREADS)
        window[i] = 0;
    uint32_t base = window_base(a, first, last);
    for (int64_t i = first; i < last; i++) {
        hist_part p = part_of(&a, i);
        ptq_k_extremes e = count_part(a, p, window, base, zeros);
        if (p.sample != seen.sample) {
            put_seen(a, seen);
            seen = {p.sample, {0, 0}};
        }
        seen.e.max = max(seen.e.max, e.max);
        seen.e.min = max(seen.e.min, e.min);
        if (a.channel && threadIdx.x % 32 == 0)
            widen(&a.channel[p.channel], e);
    }
    put_seen(a, seen);
    zeros = __reduce_add_sync(HIST_ALL, zeros);
    if (zeros && threadIdx.x % 32 == 0)
        atomicAdd(&a.head->zeros, (unsigned long long)zeros);
    __syncthreads();
    add_window(a, window, base);
}

/* PTQ_GPU_REF=1: the specification, so that tests can compare. Numbers of parts times warps fit 64 bits. */
static bool hist_warps_fit(int64_t parts)
{
    const char *e = getenv("PTQ_GPU_REF");
    return !(e && strcmp(e, "1") == 0) && parts < (int64_t)1 << 40;
}

static ptq_status hist_warps_run(ptq_dev *d, const ptq_k_hist *a, int64_t parts)
{
    int64_t values = a->samples * a->outer * a->channels * a->inner, most = 3 * (int64_t)ptq_dev_processors(d);
    int64_t blocks = (values + HIST_LEAST - 1) / HIST_LEAST;
    blocks = blocks > most ? most : blocks;
    if (parts == 0 || blocks == 0)
        return PTQ_OK;
    cudaFuncSetAttribute(hist_warps, cudaFuncAttributeMaxDynamicSharedMemorySize, HIST_SHARED);
    hist_warps<<<(unsigned)blocks, HIST_THREADS, HIST_SHARED, (cudaStream_t)ptq_dev_stream(d)>>>(*a, parts);
    return ptq_dev_launched(d, "hist_warps");
}

#endif
