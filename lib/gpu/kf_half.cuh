/* SPDX-License-Identifier: Apache-2.0 */
/* Products of floats in float16 on the matrix units (mma.sync, compute capability 8.0 and up) for kf_half.cu (CUDA
 * only). A block of 8 warps makes 64 QM x 64 QN outputs; slices of 32 k pass through two buffers in shared memory, as
 * halves, k side by side. Packed operands come by asynchronous copies, floats through registers, where they are
 * rounded; those of the next slice are on their way while one is multiplied. An output's k are added in rising order,
 * 16 at a time, in every form: bytes do not depend on the tile. */
#ifndef PTQ_GPU_KF_HALF_H
#define PTQ_GPU_KF_HALF_H

#include "lib/gpu/mma.cuh"

enum { HALF_K = PTQ_KF_HALF_SLICE, HALF_THREADS = 256 };

template <int Q> struct half_slice { /* 8 halves more in a row keep the banks apart */
    alignas(16) uint16_t v[64 * Q][HALF_K + 8];
};

/* Rounded to nearest, beyond the range to the largest number; NaN stays. */
static __device__ __forceinline__ uint32_t two_halves(float low, float high)
{
    uint32_t h;
    asm("cvt.rn.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(h) : "f"(high), "f"(low));
    return h;
}

/* `each` neighbouring k of one row. */
template <int Q> static __device__ __forceinline__ void put_row(uint16_t *to, const float (&v)[8 * Q])
{
#pragma unroll
    for (int q = 0; q < Q; q++)
        *(uint4 *)(to + 8 * q) =
            make_uint4(two_halves(v[8 * q], v[8 * q + 1]), two_halves(v[8 * q + 2], v[8 * q + 3]),
                       two_halves(v[8 * q + 4], v[8 * q + 5]), two_halves(v[8 * q + 6], v[8 * q + 7]));
}

/* d += A (16 x 16) B (16 x 8) */
static __device__ __forceinline__ void mma_half(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* ---- operands: where the rows of A, or the columns of B, of a block come from. announce(t) stands two slices before
 * fetch(t), a barrier between; put() ends what the last fetch began ---- */

/* Rows of halves, zeros behind. */
template <int Q> struct half_packed {
    const uint16_t *p; /* of the thread's first row, at its first k */
    int64_t row;
    int left; /* rows from there on */

    __device__ void start(const uint16_t *first, int64_t halves, int64_t rows, int row0)
    {
        int r = (int)threadIdx.x / 4;
        p = first + row0 * halves + 8 * (threadIdx.x % 4) + (row0 + r < rows ? r * halves : 0);
        row = halves;
        left = (int)rows - row0 - r;
    }
    __device__ void announce(int) {}
    __device__ void fetch(int t, half_slice<Q> *to)
    {
#pragma unroll
        for (int i = 0; i < Q; i++) {
            bool inside = 64 * i < left;
            uint32_t at = smem_address(&to->v[threadIdx.x / 4 + 64 * i][8 * (threadIdx.x % 4)]);
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at),
                         "l"(p + (inside ? 64 * i * row : 0) + t * HALF_K), "r"(inside ? 16 : 0)
                         : "memory");
        }
    }
    __device__ void put(half_slice<Q> *) {}
};

/* Floats: k side by side, or anywhere else (then threads have neighbouring rows). */
template <int Q> struct half_floats {
    const float *p; /* of the thread's first row, at its first k of the next slice */
    int64_t step;   /* along k: from row to row; else from k to k */
    int rows, ks;   /* that are left, from there on */
    bool along, whole;
    float v[8 * Q];

    __device__ void start(const float *first, int64_t row_step, int64_t k_step, int64_t m, int64_t k, int row0)
    {
        along = k_step == 1;
        int r = along ? (int)threadIdx.x / 8 : (int)threadIdx.x % (64 * Q);
        int at = along ? (int)threadIdx.x % 8 * 4 : (int)threadIdx.x / (64 * Q) * (8 * Q);
        p = first + (row0 + r < m ? row0 + r : 0) * row_step + at * k_step;
        step = along ? row_step : k_step;
        rows = (int)m - row0 - r;
        ks = (int)k - at;
        whole = along && row_step % 4 == 0 && k % 4 == 0 && (uintptr_t)first % 16 == 0;
    }
    __device__ void announce(int) {}
    __device__ void fetch(int, half_slice<Q> *)
    {
        if (!along) {
            int n = rows > 0 ? ks : 0;
#pragma unroll
            for (int j = 0; j < 8 * Q; j++)
                v[j] = j < n ? p[j * step] : 0.0f;
            p += HALF_K * step;
        } else {
#pragma unroll
            for (int i = 0; i < 2 * Q; i++) {
                int n = 32 * i < rows ? ks : 0;
                const float *q = p + 32 * i * step;
                float4 f = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (whole && n > 0)
                    f = *(const float4 *)q;
                else if (n > 0)
                    f = make_float4(q[0], n > 1 ? q[1] : 0.0f, n > 2 ? q[2] : 0.0f, n > 3 ? q[3] : 0.0f);
                v[4 * i] = f.x, v[4 * i + 1] = f.y, v[4 * i + 2] = f.z, v[4 * i + 3] = f.w;
            }
            p += HALF_K;
        }
        ks -= HALF_K;
    }
    __device__ void put(half_slice<Q> *to)
    {
        if (!along) {
            put_row<Q>(&to->v[threadIdx.x % (64 * Q)][threadIdx.x / (64 * Q) * (8 * Q)], v);
            return;
        }
#pragma unroll
        for (int i = 0; i < 2 * Q; i++)
            *(uint2 *)&to->v[threadIdx.x / 8 + 32 * i][threadIdx.x % 8 * 4] =
                make_uint2(two_halves(v[4 * i], v[4 * i + 1]), two_halves(v[4 * i + 2], v[4 * i + 3]));
    }
};

/* The column of a thread in a convolution: pixel `column` of all images of a group, side by side. */
struct half_pixel {
    const float *x; /* the group's channels of its image */
    int o[3];       /* where its window begins */
    bool valid;

    __device__ void start(const ptq_kf_conv &g, int group, int column)
    {
        int pixels = (int)(g.out[0] * g.out[1] * g.out[2]), pixel = column % pixels, image = column / pixels;
        valid = image < g.n;
        x = g.x + ((valid ? image : 0) * g.c + group * (g.c / g.groups)) * (g.in[0] * g.in[1] * g.in[2]);
        o[2] = pixel % (int)g.out[2] * (int)g.stride[2] - (int)g.pad[2];
        o[1] = pixel / (int)g.out[2] % (int)g.out[1] * (int)g.stride[1] - (int)g.pad[1];
        o[0] = pixel / (int)(g.out[2] * g.out[1]) * (int)g.stride[0] - (int)g.pad[0];
    }
};

/* k is [tap][channels in chunks of 16]: a thread's k of a slice have one tap. */
template <int Q> struct half_by_tap {
    const ptq_kf_half_conv *g;
    const float *x, *p; /* p: channel 0 under the tap */
    int i[3], k[3];     /* the tap's place in the input, and in the window */
    int c, size, channels;
    bool valid, inside;
    float v[8 * Q];

    __device__ void look()
    {
        inside = valid && k[0] < (int)g->f.kernel[0] && (unsigned)i[0] < (unsigned)g->f.in[0] &&
                 (unsigned)i[1] < (unsigned)g->f.in[1] && (unsigned)i[2] < (unsigned)g->f.in[2];
        p = x + (inside ? (i[0] * (int)g->f.in[1] + i[1]) * (int)g->f.in[2] + i[2] : 0);
    }
    __device__ void next_tap()
    {
        i[2] += (int)g->f.dilation[2];
        if (++k[2] == (int)g->f.kernel[2]) {
            k[2] = 0;
            i[2] -= (int)(g->f.kernel[2] * g->f.dilation[2]);
            i[1] += (int)g->f.dilation[1];
            if (++k[1] == (int)g->f.kernel[1]) {
                k[1] = 0;
                i[1] -= (int)(g->f.kernel[1] * g->f.dilation[1]);
                i[0] += (int)g->f.dilation[0];
                k[0]++;
            }
        }
    }
    __device__ void step(int n)
    {
        bool moved = false;
        for (c += n; c >= (int)g->order.pad; c -= (int)g->order.pad, moved = true)
            next_tap();
        if (moved)
            look();
    }
    __device__ void start(const ptq_kf_half_conv *conv, int4 (*)[HALF_K], int group, int column0)
    {
        half_pixel at;
        g = conv;
        at.start(g->f, group, column0 + (int)threadIdx.x % (64 * Q));
        x = at.x;
        valid = at.valid;
        size = (int)(g->f.in[0] * g->f.in[1] * g->f.in[2]);
        channels = (int)g->order.inner;
        c = k[0] = k[1] = k[2] = 0;
        i[0] = at.o[0], i[1] = at.o[1], i[2] = at.o[2];
        look();
        step((int)threadIdx.x / (64 * Q) * (8 * Q));
    }
    __device__ void announce(int) {}
    __device__ void fetch(int, half_slice<Q> *)
    {
        int n = inside ? channels - c : 0;
        const float *q = p + (int64_t)c * size;
#pragma unroll
        for (int j = 0; j < 8 * Q; j++)
            v[j] = j < n ? q[(int64_t)j * size] : 0.0f;
        step(HALF_K);
    }
    __device__ void put(half_slice<Q> *to)
    {
        put_row<Q>(&to->v[threadIdx.x % (64 * Q)][threadIdx.x / (64 * Q) * (8 * Q)], v);
    }
};

/* k is [channel][tap], few channels: a table of a slice's k says where each lies. */
template <int Q> struct half_by_table {
    const ptq_kf_half_conv *g;
    int4 (*table)[HALF_K]; /* offset from the window's first element, and the tap's place in each dimension */
    const float *x;
    int o[3], left;
    float v[8 * Q];

    __device__ void start(const ptq_kf_half_conv *conv, int4 (*taps)[HALF_K], int group, int column0)
    {
        half_pixel at;
        g = conv;
        table = taps;
        at.start(g->f, group, column0 + (int)threadIdx.x % (64 * Q));
        o[0] = at.o[0], o[1] = at.o[1], o[2] = at.o[2];
        x = at.x + ((int64_t)o[0] * (int)g->f.in[1] + o[1]) * (int)g->f.in[2] + o[2];
        left = at.valid ? (int)g->order.inner - (int)threadIdx.x / (64 * Q) * (8 * Q) : 0;
    }
    __device__ void announce(int t)
    {
        int at = t * HALF_K + (int)threadIdx.x, k1 = (int)g->f.kernel[1], k2 = (int)g->f.kernel[2];
        if (threadIdx.x >= HALF_K)
            return;
        at = at < (int)g->order.inner ? at : 0;
        int volume = (int)g->f.kernel[0] * k1 * k2, c = at / volume, tap = at % volume;
        int d0 = tap / (k1 * k2) * (int)g->f.dilation[0], d1 = tap / k2 % k1 * (int)g->f.dilation[1],
            d2 = tap % k2 * (int)g->f.dilation[2];
        int offset = ((c * (int)g->f.in[0] + d0) * (int)g->f.in[1] + d1) * (int)g->f.in[2] + d2;
        table[t & 1][threadIdx.x] = make_int4(offset, d0, d1, d2);
    }
    __device__ void fetch(int t, half_slice<Q> *)
    {
#pragma unroll
        for (int j = 0; j < 8 * Q; j++) {
            int4 d = table[t & 1][threadIdx.x / (64 * Q) * (8 * Q) + j];
            bool inside = j < left && (unsigned)(o[0] + d.y) < (unsigned)g->f.in[0] &&
                          (unsigned)(o[1] + d.z) < (unsigned)g->f.in[1] &&
                          (unsigned)(o[2] + d.w) < (unsigned)g->f.in[2];
            v[j] = inside ? x[d.x] : 0.0f;
        }
        left -= HALF_K;
    }
    __device__ void put(half_slice<Q> *to)
    {
        put_row<Q>(&to->v[threadIdx.x % (64 * Q)][threadIdx.x / (64 * Q) * (8 * Q)], v);
    }
};

/* ---- a block's outputs ---- */

/* A warp has 32 QM rows and 16 QN columns: acc[i][j] are rows 16 i + lane / 4 and + 8, columns 8 j + 2 (lane % 4) and
 * + 1, row by row. */
template <int QM> static __device__ __forceinline__ int half_row(int i, int h)
{
    return (int)threadIdx.x / 128 * (32 * QM) + 16 * i + 8 * h + (int)threadIdx.x % 32 / 4;
}
template <int QN> static __device__ __forceinline__ int half_column(int j)
{
    return (int)threadIdx.x / 32 % 4 * (16 * QN) + 8 * j + 2 * ((int)threadIdx.x % 4);
}

template <int QM, int QN>
static __device__ __forceinline__ void add_slice(const half_slice<QM> *sa, const half_slice<QN> *sb,
                                                 float (&acc)[2 * QM][2 * QN][4])
{
    int lane = (int)threadIdx.x % 32;
    int m0 = (int)threadIdx.x / 128 * (32 * QM), n0 = (int)threadIdx.x / 32 % 4 * (16 * QN);
#pragma unroll
    for (int k = 0; k < HALF_K; k += 16) {
        uint32_t a[2 * QM][4], b[QN][4]; /* b: k 0 .. 7 and 8 .. 15 of eight columns, then of the next eight */
#pragma unroll
        for (int i = 0; i < 2 * QM; i++)
            load_matrix4(a[i], smem_address(&sa->v[m0 + 16 * i + lane % 16][k + lane / 16 * 8]));
#pragma unroll
        for (int j = 0; j < QN; j++)
            load_matrix4(b[j], smem_address(&sb->v[n0 + 16 * j + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]));
#pragma unroll
        for (int i = 0; i < 2 * QM; i++)
#pragma unroll
            for (int j = 0; j < 2 * QN; j++)
                mma_half(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
}

template <int QM, int QN, class A, class B>
static __device__ __forceinline__ void add_slices(int slices, A &a, B &b, float (&acc)[2 * QM][2 * QN][4])
{
    __shared__ half_slice<QM> sa[2];
    __shared__ half_slice<QN> sb[2];
#pragma unroll
    for (int i = 0; i < 2 * QM; i++)
#pragma unroll
        for (int j = 0; j < 2 * QN; j++)
            acc[i][j][0] = acc[i][j][1] = acc[i][j][2] = acc[i][j][3] = 0.0f;
    b.announce(0);
    b.announce(1);
    __syncthreads();
    a.fetch(0, &sa[0]);
    b.fetch(0, &sb[0]);
    commit_async();
    a.put(&sa[0]);
    b.put(&sb[0]);
    wait_async<0>();
    __syncthreads();
    for (int t = 0; t < slices; t++) {
        bool more = t + 1 < slices;
        if (more) {
            a.fetch(t + 1, &sa[t + 1 & 1]);
            b.fetch(t + 1, &sb[t + 1 & 1]);
            commit_async();
            b.announce(t + 2);
        }
        add_slice<QM, QN>(&sa[t & 1], &sb[t & 1], acc);
        if (more) {
            a.put(&sa[t + 1 & 1]);
            b.put(&sb[t + 1 & 1]);
            wait_async<0>();
        }
        __syncthreads();
    }
}

/* ---- convolution: A are the weights of a group, B its columns; blocks that share columns follow each other ---- */

static __device__ __forceinline__ float half_end(const ptq_kf_conv &g, float v, float bias, float add)
{
    return ptq_kf_clamp(&g.act, v + bias + add);
}

template <int QM, int QN>
static __device__ __forceinline__ void put_columns(const ptq_kf_conv &g, int group, int m0, int n0,
                                                   const float (&acc)[2 * QM][2 * QN][4])
{
    int mg = (int)g.m / (int)g.groups, pixels = (int)(g.out[0] * g.out[1] * g.out[2]);
    bool pairs = pixels % 2 == 0 && ((uintptr_t)g.y | (uintptr_t)g.add) % 8 == 0;
#pragma unroll
    for (int j = 0; j < 2 * QN; j++) {
        int column = n0 + half_column<QN>(j);
        int64_t at[2];
        bool there[2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
            int image = (column + e) / pixels;
            there[e] = image < g.n;
            at[e] = (image * g.m + group * mg) * pixels + (column + e) % pixels;
        }
#pragma unroll
        for (int i = 0; i < 4 * QM; i++) {
            int m = m0 + half_row<QM>(i / 2, i % 2);
            if (m >= mg)
                continue;
            const float *v = &acc[i / 2][j][i % 2 * 2], bias = g.bias ? g.bias[group * mg + m] : 0.0f;
            int64_t row = (int64_t)m * pixels;
            if (pairs && there[0]) {
                float2 s = make_float2(0.0f, 0.0f);
                if (g.add)
                    s = *(const float2 *)(g.add + at[0] + row);
                *(float2 *)(g.y + at[0] + row) =
                    make_float2(half_end(g, v[0], bias, s.x), half_end(g, v[1], bias, s.y));
                continue;
            }
#pragma unroll
            for (int e = 0; e < 2; e++)
                if (there[e])
                    g.y[at[e] + row] = half_end(g, v[e], bias, g.add ? g.add[at[e] + row] : 0.0f);
        }
    }
}

template <int QM, int QN, class COLUMNS>
static __global__ void __launch_bounds__(HALF_THREADS, 2) half_conv_tile(const __grid_constant__ ptq_kf_half_conv g)
{
    __shared__ int4 taps[2][HALF_K];
    int mg = (int)g.f.m / (int)g.f.groups, rows = (mg + 64 * QM - 1) / (64 * QM);
    int m0 = (int)blockIdx.x % rows * (64 * QM), n0 = (int)blockIdx.x / rows * (64 * QN), group = (int)blockIdx.y;
    float acc[2 * QM][2 * QN][4];
    half_packed<QM> a;
    COLUMNS b;
    a.start(g.w + group * (int64_t)mg * g.order.row, g.order.row, mg, m0);
    b.start(&g, taps, group, n0);
    add_slices<QM, QN>((int)(g.order.row / HALF_K), a, b, acc);
    put_columns<QM, QN>(g.f, group, m0, n0, acc);
}

/* ---- MatMul, Gemm: blocks that share rows follow each other ---- */

template <int Q>
static __device__ __forceinline__ void start_b(half_packed<Q> &b, const ptq_kf_half_matmul &h, int64_t b0, int n0)
{
    b.start(h.b + ptq_kf_half_place(&h, b0), h.row, h.f.n, n0);
}
template <int Q>
static __device__ __forceinline__ void start_b(half_floats<Q> &b, const ptq_kf_half_matmul &h, int64_t b0, int n0)
{
    b.start(h.f.b + b0, h.f.b_col, h.f.b_row, h.f.n, h.f.k, n0);
}

template <int QM, int QN, class B>
static __global__ void __launch_bounds__(HALF_THREADS, 2) half_matmul_tile(const __grid_constant__ ptq_kf_half_matmul h)
{
    const ptq_kf_matmul &g = h.f;
    int columns = ((int)g.n + 64 * QN - 1) / (64 * QN), rows = ((int)g.m + 64 * QM - 1) / (64 * QM);
    int tile = (int)blockIdx.x % (rows * columns), batch = (int)blockIdx.x / (rows * columns);
    int m0 = tile / columns * (64 * QM), n0 = tile % columns * (64 * QN);
    int64_t a0, b0;
    float acc[2 * QM][2 * QN][4];
    half_floats<QM> a;
    B b;
    ptq_kf_batch(&g, batch, &a0, &b0);
    a.start(g.a + a0, g.a_row, g.a_col, g.m, g.k, m0);
    start_b<QN>(b, h, b0, n0);
    add_slices<QM, QN>((int)((g.k + HALF_K - 1) / HALF_K), a, b, acc);
    float *y = g.y + batch * g.m * g.n;
    bool pairs = g.n % 2 == 0 && (uintptr_t)g.y % 8 == 0;
#pragma unroll
    for (int i = 0; i < 4 * QM; i++) {
        int m = m0 + half_row<QM>(i / 2, i % 2);
#pragma unroll
        for (int j = 0; j < 2 * QN; j++) {
            int n = n0 + half_column<QN>(j);
            if (m >= (int)g.m || n >= (int)g.n)
                continue;
            float *to = y + m * g.n + n, *v = &acc[i / 2][j][i % 2 * 2];
            if (pairs) {
                *(float2 *)to = make_float2(ptq_kf_finish(&g, v[0], m, n), ptq_kf_finish(&g, v[1], m, n + 1));
                continue;
            }
            to[0] = ptq_kf_finish(&g, v[0], m, n);
            if (n + 1 < (int)g.n)
                to[1] = ptq_kf_finish(&g, v[1], m, n + 1);
        }
    }
}

/* ---- which kernel ---- */

enum { HALF_MOST = 1 << 30 };

static int64_t half_tiles(int64_t m, int64_t n, int qm, int qn)
{
    return (m + 64 * qm - 1) / (64 * qm) * ((n + 64 * qn - 1) / (64 * qn));
}

/* PTQ_GPU_HALF names a tile, so that tests can force each. */
static bool half_tile_is(const char *name, bool fits)
{
    const char *forced = getenv("PTQ_GPU_HALF");
    return forced ? strcmp(forced, name) == 0 : fits;
}

#define HALF_LAUNCH(d, name, grid, arg, ...)                                                                    \
    (__VA_ARGS__<<<grid, HALF_THREADS, 0, (cudaStream_t)ptq_dev_stream(d)>>>(arg), ptq_dev_launched(d, name))

/* Places are counted in 32 bits, those in an image with all channels of a group too. */
static bool half_conv_fits(const ptq_kf_half_conv *h)
{
    const ptq_kf_conv *a = &h->f;
    int64_t size = a->in[0] * a->in[1] * a->in[2], pixels = a->out[0] * a->out[1] * a->out[2], reach = 0;
    for (int d = 0; d < 3; d++) {
        if (a->kernel[d] > 1 << 12 || a->dilation[d] > 1 << 16 || a->pad[d] > HALF_MOST ||
            a->stride[d] > HALF_MOST || (a->out[d] - 1) * a->stride[d] > HALF_MOST)
            return false;
        reach = reach * a->in[d] + (a->kernel[d] - 1) * a->dilation[d];
    }
    return !ptq_kf_reference_only() && a->groups <= 65535 && a->c < INT32_MAX && a->m < INT32_MAX &&
           h->order.row < HALF_MOST && a->c / a->groups * size + reach < INT32_MAX &&
           a->n * pixels < INT32_MAX - 1024 && half_tiles(a->m / a->groups, a->n * pixels, 1, 1) < INT32_MAX;
}

template <int QM, int QN> static ptq_status half_conv_launch(ptq_dev *d, const char *name, const ptq_kf_half_conv *a)
{
    int64_t n = a->f.n * a->f.out[0] * a->f.out[1] * a->f.out[2];
    dim3 grid((unsigned)half_tiles(a->f.m / a->f.groups, n, QM, QN), (unsigned)a->f.groups);
    return a->order.by_tap ? HALF_LAUNCH(d, name, grid, *a, half_conv_tile<QM, QN, half_by_tap<QN>>)
                           : HALF_LAUNCH(d, name, grid, *a, half_conv_tile<QM, QN, half_by_table<QN>>);
}

static ptq_status half_conv_run(ptq_dev *d, const ptq_kf_half_conv *a)
{
    int64_t n = a->f.n * a->f.out[0] * a->f.out[1] * a->f.out[2], mg = a->f.m / a->f.groups;
    int64_t least = ptq_dev_processors(d);
    if (half_tile_is("128x128", mg > 64 && half_tiles(mg, n, 2, 2) * a->f.groups >= least))
        return half_conv_launch<2, 2>(d, "half_conv_128x128", a);
    if (half_tile_is("64x128", half_tiles(mg, n, 1, 2) * a->f.groups >= least))
        return half_conv_launch<1, 2>(d, "half_conv_64x128", a);
    return half_conv_launch<1, 1>(d, "half_conv_64x64", a);
}

static bool half_matmul_fits(const ptq_kf_half_matmul *h)
{
    const ptq_kf_matmul *a = &h->f;
    return !ptq_kf_reference_only() && a->k > 0 && a->k < HALF_MOST && a->m < HALF_MOST && a->n < HALF_MOST &&
           half_tiles(a->m, a->n, 1, 1) < INT32_MAX && half_tiles(a->m, a->n, 1, 1) * a->batch < INT32_MAX;
}

template <int QM> static ptq_status half_matmul_launch(ptq_dev *d, const char *name, const ptq_kf_half_matmul *a)
{
    unsigned grid = (unsigned)(half_tiles(a->f.m, a->f.n, QM, 1) * a->f.batch);
    return a->b ? HALF_LAUNCH(d, name, grid, *a, half_matmul_tile<QM, 1, half_packed<1>>)
                : HALF_LAUNCH(d, name, grid, *a, half_matmul_tile<QM, 1, half_floats<1>>);
}

/* Two computed operands have no form of 128 x 128: what is on its way would not fit into registers. */

static ptq_status half_matmul_run(ptq_dev *d, const ptq_kf_half_matmul *a)
{
    int64_t m = a->f.m, n = a->f.n, least = ptq_dev_processors(d);
    if (a->b && half_tile_is("128x128", m > 64 && n > 64 && half_tiles(m, n, 2, 2) * a->f.batch >= least)) {
        unsigned grid = (unsigned)(half_tiles(m, n, 2, 2) * a->f.batch);
        return HALF_LAUNCH(d, "half_matmul_128x128", grid, *a, half_matmul_tile<2, 2, half_packed<2>>);
    }
    if (half_tile_is("128x64", m > 64 && half_tiles(m, n, 2, 1) * a->f.batch >= least))
        return half_matmul_launch<2>(d, "half_matmul_128x64", a);
    return half_matmul_launch<1>(d, "half_matmul_64x64", a);
}

#endif
