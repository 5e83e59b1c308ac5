/* SPDX-License-Identifier: Apache-2.0 */
/* Attention in one kernel with fast math: k_attend.cu less what the law costs. Heads of up to 64 columns.
 *
 * A score is a number of units on top of the bits of 1.5 * 2^23, so that it is a float as it comes out of the matrix
 * units; what a row adds to all of its scores (the zero point of the keys) changes no softmax and is left out. A weight
 * is 2^(k s - k max + log2 255) in one fused operation and one approximate exponential, rounded to a whole number by
 * adding 1.5 * 2^23: a code against the largest of its row, whatever the grid of the probabilities. The matrix units add
 * the codes of a row up as well, and the result is divided by that. */
#include "lib/core/fmath.h"
#include "lib/gpu/attend.cuh"

enum { MAGIC = 0x4b400000 }; /* the bits of 1.5 * 2^23 */
#define LOG2_255 7.99435329f /* less than log2 255, so that no weight is above 255 */

struct quick {
    attend a;
    float unit, octave; /* of a score: to the argument of e^x, of 2^x */
    float weight, lone; /* of a sum of codes and values, over the sum of codes; of values alone in a row without numbers */
    float low, high, code;
    int32_t full; /* the mask has rows of its own */
};

/* d = A B + c, each row of c one number for its even and one for its odd columns; A of either sign, B of int8. */
#define PTQ_MMA_FROM(types)                                                                        \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." types ".s32 {%0, %1, %2, %3}, "          \
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"                               \
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])                                  \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c0), "r"(c1), "r"(c2), "r"(c3))
template <bool A_SIGNED>
static __device__ __forceinline__ void mma_from(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                                int32_t c0, int32_t c1, int32_t c2, int32_t c3)
{
    if (A_SIGNED)
        PTQ_MMA_FROM("s8.s8");
    else
        PTQ_MMA_FROM("u8.s8");
}
#undef PTQ_MMA_FROM

template <int D>
static __device__ __forceinline__ void load_queries(const attend &g, const uint8_t *q, int row, uint32_t (&f)[D / 32][4])
{
    int pair = (int)threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < D / 32; k++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int r = row + e % 2 * 8, c = 32 * k + e / 2 * 16 + 4 * pair;
            bool inside = r < g.p.m && c < g.p.d;
            f[k][e] = inside ? __ldg((const uint32_t *)(q + (int64_t)r * g.p.qs.row + c)) ^ g.q_flip : 0;
        }
}

/* s[t][2 h + e]: row h, column 8 t + 2 (lane % 4) + e, as bits of a float. */
template <int NT, int D, bool TERMS>
static __device__ __forceinline__ void products(uint32_t keys, const int32_t *term, const uint32_t (&f)[D / 32][4],
                                                int32_t (&s)[NT][4])
{
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < NT; t += 2)
#pragma unroll
        for (int k = 0; k < D / 32; k++) {
            uint32_t b[4]; /* two tiles, two halves of k each */
            int row = 8 * t + lane / 16 * 8 + lane % 8;
            load_matrix4(b, keys + (uint32_t)(row * (D + PAD) + 32 * k + lane / 8 % 2 * 16));
            if (k > 0) {
                mma_16x8x32<true>(s[t], f[k], b[0], b[1]);
                mma_16x8x32<true>(s[t + 1], f[k], b[2], b[3]);
                continue;
            }
            int2 x = make_int2(0, 0), y = x;
            if (TERMS) {
                x = *(const int2 *)(term + 8 * t + lane % 4 * 2);
                y = *(const int2 *)(term + 8 * t + 8 + lane % 4 * 2);
            }
            mma_from<true>(s[t], f[k], b[0], b[1], MAGIC + x.x, MAGIC + x.y, MAGIC + x.x, MAGIC + x.y);
            mma_from<true>(s[t + 1], f[k], b[2], b[3], MAGIC + y.x, MAGIC + y.y, MAGIC + y.x, MAGIC + y.y);
        }
}

/* Scores plus mask, in place, in units of the argument of e^x; columns outside are -infinity. `columns`: a mask that is
 * the same for all rows, in shared memory, -infinity outside. */
template <int NT, int FROM>
static __device__ __forceinline__ void add_mask(const quick &g, const float *mask, const float *columns, int row,
                                                int32_t (&s)[NT][4])
{
    int col = (int)threadIdx.x % 4 * 2, pitch = (int)g.a.p.ms.row;
#pragma unroll
    for (int t = 0; t < NT; t++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[t][i] = __float_as_int(__int_as_float(s[t][i]) - 12582912.0f);
    if (!g.full) {
#pragma unroll
        for (int t = 0; t < NT; t++) {
            float2 v = *(const float2 *)(columns + 8 * t + col);
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[t][i] = __float_as_int(fmaf(__int_as_float(s[t][i]), g.unit, i % 2 ? v.y : v.x));
        }
        return;
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const float *line = mask + (row + 8 * h < g.a.p.m ? row + 8 * h : 0) * pitch + col;
#pragma unroll
        for (int t = 0; t < NT; t++) {
            float2 v = make_float2(-INFINITY, -INFINITY);
            if (!outside<FROM>(g.a, t, 8 * t + col)) /* there is an even number of columns */
                v = __ldg((const float2 *)(line + 8 * t));
            s[t][2 * h] = __float_as_int(fmaf(__int_as_float(s[t][2 * h]), g.unit, v.x));
            s[t][2 * h + 1] = __float_as_int(fmaf(__int_as_float(s[t][2 * h + 1]), g.unit, v.y));
        }
    }
}

template <int NT> static __device__ __forceinline__ void row_max(const int32_t (&s)[NT][4], float (&max)[2])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float a = __int_as_float(s[0][2 * h]), b = __int_as_float(s[0][2 * h + 1]); /* two chains */
#pragma unroll
        for (int t = 1; t < NT; t++) {
            a = max_or_nan(a, __int_as_float(s[t][2 * h]));
            b = max_or_nan(b, __int_as_float(s[t][2 * h + 1]));
        }
        max[h] = max_or_nan(a, b);
        max[h] = max_or_nan(max[h], __shfl_xor_sync(0xffffffffu, max[h], 1));
        max[h] = max_or_nan(max[h], __shfl_xor_sync(0xffffffffu, max[h], 2));
    }
}

static __device__ __forceinline__ uint32_t rounded_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return __float_as_uint(y + 12582912.0f);
}

/* Weights as the first operand of the second product: c[u] for keys 32 u .. + 31. MASKED: scores of add_mask. */
template <int NB, int NT, bool MASKED>
static __device__ __forceinline__ void weights(const quick &g, const int32_t (&s)[NT][4], const float (&max)[2],
                                               uint32_t (&c)[NB][4])
{
    float start[2];
#pragma unroll
    for (int h = 0; h < 2; h++)
        start[h] = __fmaf_rd(-max[h], g.octave, LOG2_255);
#pragma unroll
    for (int u = 0; u < NB; u++)
#pragma unroll
        for (int i = 0; i < 4; i++) { /* row i % 2, half i / 2 of the keys */
            uint32_t b[4] = {};
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int t = 4 * u + i / 2 * 2 + e / 2;
                if (t >= NT)
                    continue;
                float x = __int_as_float(s[t][i % 2 * 2 + e % 2]);
                b[e] = rounded_exp2(MASKED ? fmaf(x - max[i % 2], 1.44269504f, LOG2_255) : fmaf(x, g.octave, start[i % 2]));
            }
            c[u][i] = four_bytes(b);
        }
}

/* A row whose largest score is no number or infinite has the lowest code everywhere. Ones here, and that code as a
 * factor behind the product. */
template <int NB> static __device__ __forceinline__ void lone_row(const quick &g, int h, uint32_t (&c)[NB][4])
{
    int pair = (int)threadIdx.x % 4;
#pragma unroll
    for (int u = 0; u < NB; u++)
#pragma unroll
        for (int i = h; i < 4; i += 2) {
            c[u][i] = 0;
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (32 * u + i / 2 * 16 + e / 2 * 8 + pair * 2 + e % 2 < g.a.p.n)
                    c[u][i] |= 1u << 8 * e;
        }
}

/* Columns D / 4 (lane % 4) .. of a row lie in one thread: v[4 t + e] is column 2 t + e of them. */
template <int D> static __device__ __forceinline__ void write_row(const quick &g, int64_t at, const float (&v)[D / 2])
{
    int first = (int)threadIdx.x % 4 * (D / 4);
    if (g.a.p.float_out) {
        float *y = (float *)g.a.p.y + at + first;
#pragma unroll
        for (int t = 0; t < D / 8; t += 2)
            if (first + 2 * t < g.a.p.dv)
                *(float4 *)(y + 2 * t) = make_float4(v[4 * t], v[4 * t + 1], v[4 * t + 4], v[4 * t + 5]);
        return;
    }
    uint8_t *y = (uint8_t *)g.a.p.y + at + first;
    uint32_t w[D / 16];
#pragma unroll
    for (int t = 0; t < D / 8; t += 2) {
        const float x[4] = {v[4 * t], v[4 * t + 1], v[4 * t + 4], v[4 * t + 5]};
        uint32_t b[4];
#pragma unroll
        for (int e = 0; e < 4; e++)
            b[e] = __float_as_uint(clamped(x[e], g.low, g.high) + g.code);
        w[t / 2] = four_bytes(b);
    }
    if (D >= 64 && g.a.p.dv == D) {
#pragma unroll
        for (int i = 0; i + 3 < D / 16; i += 4)
            *(uint4 *)(y + 4 * i) = make_uint4(w[i], w[i + 1], w[i + 2], w[i + 3]);
        return;
    }
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        if (first + 4 * i < g.a.p.dv)
            *(uint32_t *)(y + 4 * i) = w[i];
}

template <int NB, int D>
static __device__ __forceinline__ void weigh(const quick &g, uint32_t values, const uint32_t (&c)[NB][4],
                                             const float (&max)[2], int row, int64_t y0)
{
    constexpr int PITCH = 32 * NB + PAD;
    int lane = (int)threadIdx.x % 32;
    int32_t sum[4], acc[D / 8][4];
#pragma unroll
    for (int u = 0; u < NB; u++)
        mma_from<false>(sum, c[u], 0x01010101u, 0x01010101u, u ? sum[0] : 0, u ? sum[1] : 0, u ? sum[2] : 0, u ? sum[3] : 0);
    int32_t start[2] = {-g.a.zv * sum[0], -g.a.zv * sum[2]};
#pragma unroll
    for (int u = 0; u < NB; u++)
#pragma unroll
        for (int t = 0; t < D / 8; t += 2) {
            uint32_t b[4];
            int line = 8 * t + lane / 16 * 8 + lane % 8;
            load_matrix4(b, values + (uint32_t)(line * PITCH + 32 * u + lane / 8 % 2 * 16));
            if (u == 0) {
                mma_from<false>(acc[t], c[u], b[0], b[1], start[0], start[0], start[1], start[1]);
                mma_from<false>(acc[t + 1], c[u], b[2], b[3], start[0], start[0], start[1], start[1]);
            } else {
                mma_16x8x32<false>(acc[t], c[u], b[0], b[1]);
                mma_16x8x32<false>(acc[t + 1], c[u], b[2], b[3]);
            }
        }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float v[D / 2], w = fabsf(max[h]) <= 3.40282347e38f ? __fdividef(g.weight, (float)sum[2 * h]) : g.lone;
        if (row + 8 * h >= g.a.p.m)
            continue;
#pragma unroll
        for (int t = 0; t < D / 8; t++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                v[4 * t + e] = (float)acc[t][2 * h + e] * w;
        write_row<D>(g, y0 + (int64_t)(row + 8 * h) * g.a.p.ys.row, v);
    }
}

/* A mask that is the same for all rows, -infinity outside; true where it is zero in all columns. */
template <int NB> static __device__ __forceinline__ bool load_columns(const quick &g, const float *mask, float *columns)
{
    bool zero = true;
    for (int i = (int)threadIdx.x; i < 32 * NB; i += THREADS) {
        float v = i < g.a.p.n ? __ldg(mask + (int64_t)i * g.a.p.ms.col) : -INFINITY;
        zero = zero && (i >= g.a.p.n || v == 0.0f);
        columns[i] = v;
    }
    return zero;
}

template <int NT, int FROM, int D, bool MASKED>
static __global__ void __launch_bounds__(THREADS, NT > 28 ? 2 : NT > 16 ? 3 : 4)
    attention_fast(const __grid_constant__ quick g)
{
    constexpr int NB = (NT + 3) / 4;
    extern __shared__ __align__(16) uint8_t smem[];
    uint8_t *keys = smem, *values = smem + 32 * NB * (D + PAD);
    int32_t *term = (int32_t *)(values + D * (32 * NB + PAD));
    float *columns = (float *)(term + 32 * NB);
    const ptq_k_attention &p = g.a.p;
    const starts at = starts_of(p, blockIdx.x);
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, step = WARPS * (int)gridDim.y;
    int tile = (int)blockIdx.y * WARPS + warp;
    uint32_t f[D / 32][4];
    load_queries<D>(g.a, p.q + at.q, tile * 16 + lane / 4, f); /* under way while keys and values are laid out */
    load_values<NB, D>(g.a, p.v + at.v, values);
    load_keys<NB, D>(g.a, p.k + at.k, keys, term);
    bool masked = MASKED;
    if (MASKED && !g.full)
        masked = !__syncthreads_and(load_columns<NB>(g, p.mask + at.m, columns));
    else
        __syncthreads();
    for (; tile * 16 < p.m; tile += step) {
        int row = tile * 16 + lane / 4;
        uint32_t c[NB][4];
        int32_t s[NT][4];
        float max[2];
        if (g.a.zq)
            products<NT, D, true>(smem_address(keys), term, f, s);
        else
            products<NT, D, false>(smem_address(keys), term, f, s);
        if ((tile + step) * 16 < p.m)
            load_queries<D>(g.a, p.q + at.q, row + step * 16, f);
        if (masked) {
            add_mask<NT, FROM>(g, p.mask + at.m, columns, row, s);
            row_max(s, max);
            weights<NB, NT, true>(g, s, max, c);
#pragma unroll
            for (int h = 0; h < 2; h++)
                if (!(fabsf(max[h]) <= 3.40282347e38f))
                    lone_row<NB>(g, h, c);
        } else {
#pragma unroll
            for (int t = FROM; t < NT; t++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (outside<FROM>(g.a, t, 8 * t + lane % 4 * 2 + i % 2))
                        s[t][i] = __float_as_int(-1e38f);
            row_max(s, max);
            weights<NB, NT, false>(g, s, max, c);
        }
        weigh<NB, D>(g, smem_address(values), c, max, row, at.y);
    }
}

/* ---- host ---- */

/* NT tiles of 8 keys, more than FROM of them full. */
template <int NT, int FROM, int D> static ptq_status launch(ptq_dev *d, const quick &g)
{
    constexpr int NB = (NT + 3) / 4, bytes = 32 * NB * (D + PAD) + D * (32 * NB + PAD) + 2 * 32 * NB * 4;
    auto kernel = g.a.p.mask ? attention_fast<NT, FROM, D, true> : attention_fast<NT, FROM, D, false>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    kernel<<<blocks_of(d, &g.a.p), THREADS, bytes, (cudaStream_t)ptq_dev_stream(d)>>>(g);
    return ptq_dev_launched(d, "attention_fast");
}

template <int D> static ptq_status launch_keys(ptq_dev *d, const quick &g)
{
    int n = g.a.p.n;
    if (n <= 64)
        return launch<8, 0, D>(d, g);
    if constexpr (D != 64)
        return n <= 128 ? launch<16, 8, D>(d, g) : launch<32, 16, D>(d, g);
    else
        return n <= 128   ? launch<16, 8, D>(d, g)
               : n <= 160 ? launch<20, 16, D>(d, g)
               : n <= 208 ? launch<26, 20, D>(d, g)
                          : launch<32, 26, D>(d, g);
}

static float octave_of(const ptq_k_attention *a)
{
    return a->qk_mult * factor_of(a) * 1.44269504f;
}

extern "C" ptq_status ptq_k_attend_quick(ptq_dev *d, const ptq_k_attention *a)
{
    quick g;
    g.a = attend_of(a);
    g.octave = octave_of(a);
    g.unit = a->qk_mult * g.a.factor;
    float to = a->float_out || a->requant ? a->pv_mult : a->pv_mult * g.a.y_inv;
    g.weight = to / a->sp;
    g.lone = to * (float)g.a.lone;
    g.low = g.a.y_lo;
    g.high = g.a.y_hi;
    g.code = 12582912.0f + (float)a->zy;
    g.full = a->mask && a->ms.row != 0 && a->m > 1;
    return a->d <= 32 && a->dv <= 32 ? launch_keys<32>(d, g) : launch_keys<64>(d, g);
}

/* A mask with rows of its own is read in pairs. Up to a quarter of an octave, the largest weight of a row loses
 * nothing by the rounding of its start (fmaf_rd), which is that of 1.5 * 2^23 units. */
extern "C" bool ptq_k_attend_quick_fits(const ptq_k_attention *a)
{
    float octave = octave_of(a);
    bool pairs = a->n % 2 == 0 && a->ms.col == 1 && a->ms.row % 2 == 0 && (uintptr_t)a->mask % 8 == 0;
    for (int i = 0; i < a->nbd; i++)
        pairs = pairs && a->ms.batch[i] % 2 == 0;
    return a->d <= 64 && a->dv <= 64 && octave >= 1e-20f && octave <= 0.25f &&
           (!a->mask || a->ms.row == 0 || a->m == 1 || pairs);
}
