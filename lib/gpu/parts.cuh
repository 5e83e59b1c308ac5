/* SPDX-License-Identifier: Apache-2.0 */
/* Products that were several: each part of the channels ends in codes on a grid of its own (ptq_k_part). */
#ifndef PTQ_GPU_PARTS_CUH
#define PTQ_GPU_PARTS_CUH

#include "lib/gpu/tail.cuh"

/* The arguments with what holds for channel n; of the copy remains what the end reads. */
static __device__ __forceinline__ ptq_k_gemm of_part(const ptq_k_gemm &a, int n)
{
    ptq_k_gemm b = a;
    int i = 0;
#pragma unroll
    for (int k = 1; k < PTQ_K_PARTS; k++)
        i += k < a.tail.parts && n >= a.tail.part[k - 1].end;
    b.tail.factor = a.ends.part[i].factor;
    b.tail.s = a.ends.part[i].s;
    b.zy = a.ends.part[i].zy;
    b.ends.inv = a.ends.part[i].inv;
    b.ends.low = a.ends.part[i].low;
    b.ends.high = a.ends.part[i].high;
    b.ends.lo = a.ends.part[i].lo;
    b.ends.hi = a.ends.part[i].hi;
    b.ends.code = a.ends.part[i].code;
    return b;
}

/* finish_end of tail.cuh for a thread's 16 channels from n on. Codes behind float operations alone have parts:
 * the other ends stay as they are, and the row that takes any end does not take parts. */
template <int END, bool WHOLE = true>
static __device__ __forceinline__ void finish_part(const ptq_k_gemm &a, const channels &c, const int32_t *acc,
                                                   int64_t m, int n)
{
    if constexpr (END == END_TAIL + TAIL_CODES || END == END_FAST + FAST_CODES)
        finish_end<END, WHOLE>(of_part(a, n), c, acc, m, n);
    else
        finish_end<END, WHOLE>(a, c, acc, m, n);
}

#endif
