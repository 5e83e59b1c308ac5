/* SPDX-License-Identifier: Apache-2.0 */
/* Attention on codes in one kernel (compute capability 8.0 and up): a block holds the keys and values of
 * one head in shared memory; a warp takes 16 queries at a time, keeps their scores in registers, and makes
 * codes of them that are the operand of the second product as they lie. Up to 256 keys.
 *
 * Signs: all codes become int8 (byte ^ 0x80, zero point - 128). The sums that zero points need,
 *     sum (q - zq)(k - zk) = sum q k - zq sum k - zk sum q + d zq zk,
 * start the accumulators. Probabilities less their zero point are 0 .. 255, as p >= 0 and plo <= zp.
 *
 * Order of the law: of a row of scores, a thread owns columns 16 u + 8 h + 2 q + e (q: lane % 4), which is
 * all of partial 8 h + 2 q + e of the sum, in order. */
#include "lib/core/fmath.h"
#include "lib/gpu/attend.cuh"

/* ptq_expf of x <= 0. 2^n p is rounded once, from 2^(n + 64) p, which is a normal number. */
static __device__ __forceinline__ float exp_negative(float x)
{
    const float magic = 12582912.0f + 64.0f;
    float c = fmaxf(x, -104.0f), k = fmaf(c, 1.44269504f, magic);
    uint32_t shift = __float_as_uint(k) << 23;
    k -= magic;
    float r = fmaf(k, -1.42860677e-6f, fmaf(k, -0.693145752f, c)), p = 0.00139506289f;
    p = fmaf(p, r, 0.00836896989f);
    p = fmaf(p, r, 0.0416662022f);
    p = fmaf(p, r, 0.166665182f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(r * r, p, r) + 1.0f;
    return __uint_as_float(__float_as_uint(p) + shift) * 0x1p-64f;
}

/* The queries of a lane's two rows, and what they add to all scores of their rows. */
template <int D>
static __device__ __forceinline__ void load_queries(const attend &g, const uint8_t *q, int row,
                                                    uint32_t (&f)[D / 32][4], int32_t (&term)[2])
{
    int pair = (int)threadIdx.x % 4;
    term[0] = term[1] = 0;
#pragma unroll
    for (int k = 0; k < D / 32; k++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int r = row + e % 2 * 8, c = 32 * k + e / 2 * 16 + 4 * pair;
            bool inside = r < g.p.m && c < g.p.d;
            f[k][e] = inside ? __ldg((const uint32_t *)(q + (int64_t)r * g.p.qs.row + c)) ^ g.q_flip : 0;
            term[e % 2] = byte_sum(f[k][e], term[e % 2]);
        }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        term[h] += __shfl_xor_sync(0xffffffffu, term[h], 1);
        term[h] += __shfl_xor_sync(0xffffffffu, term[h], 2);
        term[h] *= -g.zk;
    }
}

/* s[t][2 h + e]: row h, column 8 t + 2 (lane % 4) + e. Up to 64 products of bytes are below 2^22, so that a sum
 * on top of the bits of 1.5 * 2^23 is a float. */
template <int NT, int D>
static __device__ __forceinline__ void products(const attend &g, uint32_t keys, const int32_t *term,
                                                const uint32_t (&f)[D / 32][4], const int32_t (&row_term)[2],
                                                int32_t (&s)[NT][4])
{
    int lane = (int)threadIdx.x % 32;
    const int32_t start = D <= 64 ? 0x4b400000 : 0;
#pragma unroll
    for (int t = 0; t < NT; t += 2)
#pragma unroll
        for (int k = 0; k < D / 32; k++) {
            uint32_t b[4]; /* two tiles, two halves of k each */
            int row = 8 * t + lane / 16 * 8 + lane % 8;
            load_matrix4(b, keys + (uint32_t)(row * (D + PAD) + 32 * k + lane / 8 % 2 * 16));
#pragma unroll
            for (int i = 0; i < 8 && k == 0; i++)
                s[t + i / 4][i % 4] = start;
            mma_16x8x32<true>(s[t], f[k], b[0], b[1]);
            mma_16x8x32<true>(s[t + 1], f[k], b[2], b[3]);
        }
    if (!g.zq && !g.zk)
        return;
#pragma unroll
    for (int t = 0; t < NT; t++) {
        int2 b = *(const int2 *)(term + 8 * t + lane % 4 * 2);
        s[t][0] += b.x + row_term[0];
        s[t][1] += b.y + row_term[0];
        s[t][2] += b.x + row_term[1];
        s[t][3] += b.y + row_term[1];
    }
}

/* Scores in float, in place; columns outside are -infinity. */
template <int NT, int FROM, int D>
static __device__ __forceinline__ void scores(const attend &g, const float *mask, int row, int32_t (&s)[NT][4])
{
    int col = (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int t = 0; t < NT; t++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float v = D <= 64 ? __int_as_float(s[t][i]) - 12582912.0f : (float)s[t][i];
            s[t][i] = __float_as_int(v * g.p.qk_mult);
        }
    if (g.factor != 1.0f)
#pragma unroll
        for (int t = 0; t < NT; t++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[t][i] = __float_as_int(__int_as_float(s[t][i]) * g.factor);
    if (mask) { /* apart: the code of the common case stays short */
        int pitch = (int)g.p.ms.row, step = (int)g.p.ms.col; /* fast: they fit */
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float *line = mask + (row + 8 * h < g.p.m ? row + 8 * h : 0) * pitch + col * step;
#pragma unroll
            for (int t = 0; t < NT; t++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    if (!outside<FROM>(g, t, 8 * t + col + e)) {
                        float v = __int_as_float(s[t][2 * h + e]) + __ldg(line + (8 * t + e) * step);
                        s[t][2 * h + e] = __float_as_int(v);
                    }
        }
    }
#pragma unroll
    for (int t = FROM; t < NT; t++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (outside<FROM>(g, t, 8 * t + col + i % 2))
                s[t][i] = __float_as_int(-INFINITY);
}

/* Scores become e^(s - max), their sums 1 / sum. */
template <int NT, int FROM>
static __device__ __forceinline__ void exponentials(const attend &g, int32_t (&s)[NT][4], float (&max)[2],
                                                    float (&inv)[2])
{
    int col = (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float p[2][2] = {};
        max[h] = -INFINITY;
#pragma unroll
        for (int t = 0; t < NT; t++)
            max[h] = max_or_nan(max[h], max_or_nan(__int_as_float(s[t][2 * h]), __int_as_float(s[t][2 * h + 1])));
        max[h] = max_or_nan(max[h], __shfl_xor_sync(0xffffffffu, max[h], 1));
        max[h] = max_or_nan(max[h], __shfl_xor_sync(0xffffffffu, max[h], 2));
#pragma unroll
        for (int t = 0; t < NT; t++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float y = exp_negative(__int_as_float(s[t][2 * h + e]) - max[h]);
                if (outside<FROM>(g, t, 8 * t + col + e))
                    y = 0.0f;
                s[t][2 * h + e] = __float_as_int(y);
                p[t % 2][e] += y;
            }
        float a = p[0][0] + p[1][0], b = p[0][1] + p[1][1]; /* 8 */
#pragma unroll
        for (int w = 2; w > 0; w /= 2) { /* 4, 2 */
            a += __shfl_xor_sync(0xffffffffu, a, w);
            b += __shfl_xor_sync(0xffffffffu, b, w);
        }
        inv[h] = 1.0f / (a + b);
    }
}

/* Codes less their zero point, as the first operand of the second product: c[u] for keys 32 u .. + 31. */
template <int NB, int NT>
static __device__ __forceinline__ void codes(const attend &g, const int32_t (&s)[NT][4], const float (&inv)[2],
                                             uint32_t (&c)[NB][4], int32_t (&sum)[2])
{
    sum[0] = sum[1] = 0;
#pragma unroll
    for (int u = 0; u < NB; u++)
#pragma unroll
        for (int i = 0; i < 4; i++) { /* row i % 2, half i / 2 of the keys */
            float t[4];
#pragma unroll
            for (int e = 0; e < 4; e++) {
                if (4 * u + i / 2 * 2 >= NT) { /* as no number: zero */
                    t[e] = 0.0f;
                    continue;
                }
                float x = __int_as_float(s[4 * u + i / 2 * 2 + e / 2][i % 2 * 2 + e % 2]) * inv[i % 2];
                x = fminf(x, g.p_high);
                t[e] = quotient(x, g.p.sp, g.p_inv);
            }
            c[u][i] = low_bytes(t);
            sum[i % 2] = (int32_t)__dp4a(c[u][i], 0x01010101u, (uint32_t)sum[i % 2]);
        }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
    }
}

/* A row whose largest score is no number or infinite has no finite result: the lowest code everywhere. Ones
 * here, and that code as a factor behind the product. */
template <int NB>
static __device__ __forceinline__ void lone_rows(const attend &g, const float (&max)[2], uint32_t (&c)[NB][4],
                                                 int32_t (&sum)[2], int32_t (&times)[2])
{
    int pair = (int)threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        times[h] = 1;
        if (fabsf(max[h]) <= 3.40282347e38f)
            continue;
        times[h] = g.lone;
        sum[h] = g.p.n;
#pragma unroll
        for (int u = 0; u < NB; u++)
#pragma unroll
            for (int i = h; i < 4; i += 2) {
                c[u][i] = 0;
#pragma unroll
                for (int e = 0; e < 4; e++)
                    if (32 * u + i / 2 * 16 + e / 2 * 8 + pair * 2 + e % 2 < g.p.n)
                        c[u][i] |= 1u << 8 * e;
            }
    }
}

static __device__ __forceinline__ float out_value(const attend &g, int32_t acc)
{
    float v = (float)acc * g.p.pv_mult;
    if (g.p.requant)
        return clamped(v, g.y_lo, g.y_hi);
    return quotient(clamped(v, g.y_low, g.y_high), g.p.sy, g.y_inv);
}

/* Columns D / 4 (lane % 4) .. of a row lie in one thread: v[4 t + e] is column 2 t + e of them. */
template <int D> static __device__ __forceinline__ void write_floats(const attend &g, int64_t at, const int32_t *v)
{
    int first = (int)threadIdx.x % 4 * (D / 4);
    float *y = (float *)g.p.y + at + first;
#pragma unroll
    for (int t = 0; t < D / 8; t += 2)
        if (first + 2 * t < g.p.dv)
            *(float4 *)(y + 2 * t) = make_float4((float)v[4 * t] * g.p.pv_mult, (float)v[4 * t + 1] * g.p.pv_mult,
                                                 (float)v[4 * t + 4] * g.p.pv_mult, (float)v[4 * t + 5] * g.p.pv_mult);
}

template <int D> static __device__ __forceinline__ void write_codes(const attend &g, int64_t at, const int32_t *v)
{
    int first = (int)threadIdx.x % 4 * (D / 4);
    uint32_t zy = (uint32_t)(g.p.zy & 0xff) * 0x01010101u, low = zy & 0x7f7f7f7fu, high = zy & 0x80808080u, w[D / 16];
    uint8_t *y = (uint8_t *)g.p.y + at + first;
#pragma unroll
    for (int t = 0; t < D / 8; t += 2) {
        float f[4] = {out_value(g, v[4 * t]), out_value(g, v[4 * t + 1]), out_value(g, v[4 * t + 4]),
                      out_value(g, v[4 * t + 5])};
        w[t / 2] = add_bytes(low_bytes(f), low, high);
    }
    if (D >= 64 && g.p.dv == D) {
#pragma unroll
        for (int i = 0; i + 3 < D / 16; i += 4)
            *(uint4 *)(y + 4 * i) = make_uint4(w[i], w[i + 1], w[i + 2], w[i + 3]);
        return;
    }
#pragma unroll
    for (int i = 0; i < D / 16; i++)
        if (first + 4 * i < g.p.dv)
            *(uint32_t *)(y + 4 * i) = w[i];
}

template <int NB, int D>
static __device__ __forceinline__ void weigh(const attend &g, uint32_t values, const uint32_t (&c)[NB][4],
                                             const int32_t (&sum)[2], const int32_t (&times)[2], int row, int64_t y0)
{
    constexpr int PITCH = 32 * NB + PAD;
    int lane = (int)threadIdx.x % 32;
    int32_t acc[D / 8][4];
#pragma unroll
    for (int t = 0; t < D / 8; t++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            acc[t][i] = -g.zv * sum[i / 2];
#pragma unroll
    for (int u = 0; u < NB; u++)
#pragma unroll
        for (int t = 0; t < D / 8; t += 2) {
            uint32_t b[4];
            int line = 8 * t + lane / 16 * 8 + lane % 8;
            load_matrix4(b, values + (uint32_t)(line * PITCH + 32 * u + lane / 8 % 2 * 16));
            mma_16x8x32<false>(acc[t], c[u], b[0], b[1]);
            mma_16x8x32<false>(acc[t + 1], c[u], b[2], b[3]);
        }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (row + 8 * h >= g.p.m)
            continue;
        int32_t v[D / 2];
#pragma unroll
        for (int t = 0; t < D / 8; t++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                v[4 * t + e] = (int32_t)((uint32_t)acc[t][2 * h + e] * (uint32_t)times[h]);
        int64_t at = y0 + (int64_t)(row + 8 * h) * g.p.ys.row;
        if (g.p.float_out)
            write_floats<D>(g, at, v);
        else
            write_codes<D>(g, at, v);
    }
}

template <int NT, int FROM, int D>
static __global__ void __launch_bounds__(THREADS, NT > 28 ? 2 : NT > 16 ? 3 : 4)
    attention(const __grid_constant__ attend g)
{
    constexpr int NB = (NT + 3) / 4;
    extern __shared__ __align__(16) uint8_t smem[];
    uint8_t *keys = smem, *values = smem + 32 * NB * (D + PAD);
    int32_t *term = (int32_t *)(values + D * (32 * NB + PAD));
    const starts at = starts_of(g.p, blockIdx.x);
    load_values<NB, D>(g, g.p.v + at.v, values);
    load_keys<NB, D>(g, g.p.k + at.k, keys, term);
    __syncthreads();
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, step = WARPS * (int)gridDim.y;
    for (int tile = (int)blockIdx.y * WARPS + warp; tile * 16 < g.p.m; tile += step) {
        int row = tile * 16 + lane / 4;
        uint32_t f[D / 32][4], c[NB][4];
        int32_t s[NT][4], row_term[2], sum[2], times[2];
        float max[2], inv[2];
        load_queries<D>(g, g.p.q + at.q, row, f, row_term);
        products<NT, D>(g, smem_address(keys), term, f, row_term, s);
        scores<NT, FROM, D>(g, g.p.mask ? g.p.mask + at.m : nullptr, row, s);
        exponentials<NT, FROM>(g, s, max, inv);
        codes<NB, NT>(g, s, inv, c, sum);
        lone_rows<NB>(g, max, c, sum, times);
        weigh<NB, D>(g, smem_address(values), c, sum, times, row, at.y);
    }
}

/* ---- host ---- */

/* NT tiles of 8 keys, more than FROM of them full. */
template <int NT, int FROM, int D> static ptq_status launch(ptq_dev *d, const attend &g)
{
    constexpr int NB = (NT + 3) / 4, bytes = 32 * NB * (D + PAD) + D * (32 * NB + PAD) + 32 * NB * 4;
    cudaFuncSetAttribute(attention<NT, FROM, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    attention<NT, FROM, D><<<blocks_of(d, &g.p), THREADS, bytes, (cudaStream_t)ptq_dev_stream(d)>>>(g);
    return ptq_dev_launched(d, "attention");
}

/* The common width has more sizes than the others. */
template <int D> static ptq_status launch_keys(ptq_dev *d, const attend &g)
{
    int n = g.p.n;
    if (n <= 64)
        return launch<8, 0, D>(d, g);
    if constexpr (D != 64)
        return n <= 128 ? launch<16, 8, D>(d, g) : launch<32, 16, D>(d, g);
    else
        return n <= 112   ? launch<14, 8, D>(d, g)
               : n <= 128 ? launch<16, 14, D>(d, g)
               : n <= 160 ? launch<20, 16, D>(d, g)
               : n <= 192 ? launch<24, 20, D>(d, g)
               : n <= 208 ? launch<26, 24, D>(d, g)
               : n <= 224 ? launch<28, 26, D>(d, g)
                          : launch<32, 28, D>(d, g);
}

static ptq_status run(ptq_dev *d, const ptq_k_attention *a)
{
    attend g = attend_of(a);
    return a->d <= 32 && a->dv <= 32 ? launch_keys<32>(d, g)
           : a->d <= 64 && a->dv <= 64 ? launch_keys<64>(d, g) : launch_keys<128>(d, g);
}

/* Places in a mask are told in 32 bits. */
static bool small_mask(const ptq_k_attention *a)
{
    return !a->mask || (a->ms.row >= 0 && a->ms.col >= 0 && a->ms.row < 1 << 20 && a->ms.col < 1 << 20 &&
                        (int64_t)a->m * a->ms.row + (int64_t)a->n * a->ms.col < INT32_MAX);
}

/* Is x / f the same as x (1 / f)? */
static bool power_of_two(float f)
{
    int e;
    return fabsf(frexpf(f, &e)) == 0.5f && e > -100 && e < 100;
}

extern "C" ptq_k_attention_run ptq_k_attention_fast(const ptq_dev *d, const ptq_k_attention *a)
{
    int out = a->float_out ? 4 : 1;
    bool sizes = a->n >= 1 && a->n <= 256 && a->m >= 1 && a->m < 1 << 30 && a->batch >= 1 && a->batch < INT32_MAX &&
                 a->d % 16 == 0 && a->dv % 16 == 0 && a->d >= 16 && a->dv >= 16 && a->d <= 128 && a->dv <= 128;
    bool places = a->qs.col == 1 && a->ks.row == 1 && a->vs.col == 1 && a->ys.col == 1 && small_mask(a) &&
                  aligned(a, a->q, &a->qs, a->qs.row, 4) && aligned(a, a->k, &a->ks, a->ks.col, 16) &&
                  aligned(a, a->v, &a->vs, a->vs.row, 4) && aligned(a, a->y, &a->ys, a->ys.row, 16 / out) &&
                  (uintptr_t)a->y % 16 == 0;
    bool grids = a->plo <= a->zp && a->phi - a->zp <= 255 && a->phi > a->zp && ptq_plain_scale(a->sp) &&
                 (a->float_out || a->requant || ptq_plain_scale(a->sy)) &&
                 (a->scores != PTQ_SCORES_OVER || power_of_two(a->factor));
    bool good = ptq_dev_capability(d) >= 80 && sizes && places && grids;
    return !good ? nullptr : a->fast && ptq_k_attend_quick_fits(a) ? ptq_k_attend_quick : run;
}
