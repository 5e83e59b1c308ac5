/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that take their sums from cuBLASLt (lt.h) and end them as the own kernels do: lt1 is the first of the ways that
 * it proposes, and so on. The ends take 16 channels of two rows from a thread, as the matrix units leave them:
 *     acc[4 j + 2 row + e], j < 8, row < 2, e < 2: channel n + 2 j + e of row m + 8 row, n = 64 g + 16 q,
 * where q = lane % 4. ptq_k_gemm_row_of puts channel 64 g + 16 q + 2 j + e at column 64 g + 8 j + 2 q + e of the
 * sums: with j and row fixed, e lies side by side, and the four lanes of a row read 32 bytes that lie together. A warp
 * ends 16 rows of 64 channels. */
#include "lib/gpu/lt.h"
#include "lib/gpu/parts.cuh"

enum { WARPS = 8 };

/* first: the row of the product that is the first of the sums. */
template <int END>
static __global__ void __launch_bounds__(32 * WARPS)
    lt_end(const __grid_constant__ ptq_k_gemm a, const int32_t *sums, int64_t first, int rows)
{
    int lane = (int)threadIdx.x % 32, groups = (a.n + 63) / 64;
    uint32_t item = blockIdx.x * WARPS + threadIdx.x / 32, tile = item / (uint32_t)groups;
    int group = (int)(item - tile * (uint32_t)groups), row = (int)tile * 16 + lane / 4;
    if ((int)tile * 16 >= rows) /* the whole warp */
        return;
    const int32_t *s = sums + (int64_t)row * 64 * groups + group * 64 + lane % 4 * 2;
    int32_t acc[32];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        int j = i / 2, below = i % 2 * 8;
        int2 v = make_int2(0, 0);
        if (row + below < rows)
            v = __ldcg((const int2 *)(s + (int64_t)below * 64 * groups + 8 * j));
        acc[2 * i] = v.x;
        acc[2 * i + 1] = v.y;
    }
    int n = group * 64 + lane % 4 * 16;
    finish_part<END, false>(a, channels_of<END>(a, n), acc, first + row, n);
}

template <int END>
static ptq_status launch(ptq_dev *d, const ptq_k_gemm *a, const int32_t *sums, int64_t first, int64_t rows)
{
    int64_t items = (rows + 15) / 16 * (ptq_lt_columns(a) / 64);
    lt_end<END><<<(unsigned)((items + WARPS - 1) / WARPS), 32 * WARPS, 0, (cudaStream_t)ptq_dev_stream(d)>>>(
        ptq_k_gemm_ends(a), sums, first, (int)rows);
    return ptq_dev_launched(d, "lt_end");
}

/* An end of the law. */
static ptq_status end(ptq_dev *d, const ptq_k_gemm *a, const int32_t *sums, int64_t first, int64_t rows)
{
    if (!a->tail.on && a->residual.kind)
        return launch<END_SKIP>(d, a, sums, first, rows);
    if (!a->tail.on)
        return launch<END_PLAIN>(d, a, sums, first, rows);
    switch (tail_end(a)) {
    case TAIL_CODES: return launch<END_TAIL + TAIL_CODES>(d, a, sums, first, rows);
    case TAIL_GELU: return launch<END_TAIL + TAIL_GELU>(d, a, sums, first, rows);
    case TAIL_FLOATS: return launch<END_TAIL + TAIL_FLOATS>(d, a, sums, first, rows);
    default: return launch<END_TAIL + TAIL_ANY>(d, a, sums, first, rows);
    }
}

static ptq_status end_fast(ptq_dev *d, const ptq_k_gemm *a, const int32_t *sums, int64_t first, int64_t rows)
{
    switch (fast_end(a)) {
    case FAST_CODES: return launch<END_FAST + FAST_CODES>(d, a, sums, first, rows);
    case FAST_GELU: return launch<END_FAST + FAST_GELU>(d, a, sums, first, rows);
    default: return launch<END_FAST + FAST_FLOATS>(d, a, sums, first, rows);
    }
}

/* Products of fast math are left to the rows of fast math: each row that can run costs time to measure. */
static bool has_end(const ptq_k_gemm *a)
{
    return !a->tail.on ||
           (fast_end(a) < 0 && (tail_end(a) >= 0 || (tail_is(a, TAIL_ANY) && !a->tail.parts)));
}

template <int WAY> static bool supports(const ptq_dev *d, const ptq_k_gemm *a)
{
    return has_end(a) && ptq_lt_can(ptq_dev_lt(d), a, WAY);
}

template <int WAY> static bool supports_fast(const ptq_dev *d, const ptq_k_gemm *a)
{
    return fast_end(a) >= 0 && ptq_lt_can(ptq_dev_lt(d), a, WAY);
}

template <int WAY> static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    return ptq_lt_product(ptq_dev_lt(d), d, a, WAY, end);
}

template <int WAY> static ptq_status run_fast(ptq_dev *d, const ptq_k_gemm *a)
{
    return ptq_lt_product(ptq_dev_lt(d), d, a, WAY, end_fast);
}

#define ROW(name, supports, run)                                                                   \
    extern const ptq_k_gemm_row ptq_k_gemm_##name;                                                 \
    const ptq_k_gemm_row ptq_k_gemm_##name = {#name, supports, run};
static_assert(PTQ_LT_WAYS == 3, "a row for each");
extern "C" {
ROW(lt1, supports<0>, run<0>)
ROW(lt2, supports<1>, run<1>)
ROW(lt3, supports<2>, run<2>)
ROW(lt_fast1, supports_fast<0>, run_fast<0>)
ROW(lt_fast2, supports_fast<1>, run_fast<1>)
ROW(lt_fast3, supports_fast<2>, run_fast<2>)
}
