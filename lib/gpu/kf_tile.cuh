/* SPDX-License-Identifier: Apache-2.0 */
/* Register-blocked fp32 products for kf_linear.cu (CUDA only). A block of 256 threads makes
 * 64 QM x 64 QN outputs, a thread 4 QM x 4 QN of them; slices of 8 k pass through shared memory.
 * Each output stays in one register and takes its k in rising order, so the bytes are those of the
 * reference kernels. Beyond the last k, A is +0 and B is -0: their product -0 changes no sum. */
#ifndef PTQ_GPU_KF_TILE_H
#define PTQ_GPU_KF_TILE_H

#include "lib/gpu/kf.h"

#ifndef PTQ_LAUNCH_BLOCKS /* kernel last: its template arguments hold commas */
#define PTQ_LAUNCH_BLOCKS(d, name, grid, arg, ...)                                                 \
    (__VA_ARGS__<<<grid, TILE_THREADS, 0, (cudaStream_t)ptq_dev_stream(d)>>>(arg),                 \
     ptq_dev_launched(d, name))
#endif

enum { TILE_K = 8, TILE_THREADS = 256 };

template <int Q> struct tile_slice { /* a slice of A or B; 4 more columns keep the banks apart */
    float v[TILE_K][64 * Q + 4];
};

/* Which elements of a slice this thread fetches: `each` neighbouring k of one row (A) or column (B),
 * so that threads read neighbours in memory: along k when it is dense there, else along the rows. */
template <int Q> struct tile_share {
    static const int each = 64 * Q * TILE_K / TILE_THREADS;
    int row, k;
};

template <int Q> static __device__ tile_share<Q> share_of(bool along_k)
{
    const int each = tile_share<Q>::each, per_row = TILE_K / each, t = (int)threadIdx.x;
    tile_share<Q> s;
    s.row = along_k ? t / per_row : t % (64 * Q);
    s.k = (along_k ? t % per_row : t / (64 * Q)) * each;
    return s;
}

template <int Q>
static __device__ void put_share(tile_slice<Q> *s, tile_share<Q> at, const float (&v)[tile_share<Q>::each])
{
#pragma unroll
    for (int j = 0; j < tile_share<Q>::each; j++)
        s->v[at.k + j][at.row] = v[j];
}

/* Row of register i of a thread: quads of neighbours, 64 apart. */
static __device__ int tile_row(int lane, int i)
{
    return i / 4 * 64 + lane * 4 + i % 4;
}

template <int Q> static __device__ void get_quads(const float *row, int lane, float (&v)[4 * Q])
{
#pragma unroll
    for (int q = 0; q < Q; q++) {
        float4 f = *(const float4 *)(row + q * 64 + lane * 4);
        v[4 * q] = f.x;
        v[4 * q + 1] = f.y;
        v[4 * q + 2] = f.z;
        v[4 * q + 3] = f.w;
    }
}

template <int QM, int QN>
static __device__ void add_slice(const tile_slice<QM> *sa, const tile_slice<QN> *sb, float (&acc)[4 * QM][4 * QN])
{
    int tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;
#pragma unroll
    for (int k = 0; k < TILE_K; k++) {
        float a[4 * QM], b[4 * QN];
        get_quads<QM>(sa->v[k], ty, a);
        get_quads<QN>(sb->v[k], tx, b);
#pragma unroll
        for (int i = 0; i < 4 * QM; i++)
#pragma unroll
            for (int j = 0; j < 4 * QN; j++)
                acc[i][j] = fmaf(a[i], b[j], acc[i][j]);
    }
}

/* All slices of one block. announce(t) comes two slices before fetch(t, v). */
template <int QM, int QN, class A, class B>
static __device__ void add_slices(int slices, A &a, B &b, float (&acc)[4 * QM][4 * QN])
{
    __shared__ tile_slice<QM> sa[2];
    __shared__ tile_slice<QN> sb[2];
    float va[tile_share<QM>::each], vb[tile_share<QN>::each];
#pragma unroll
    for (int i = 0; i < 4 * QM; i++)
#pragma unroll
        for (int j = 0; j < 4 * QN; j++)
            acc[i][j] = 0.0f;
    b.announce(0);
    b.announce(1);
    __syncthreads();
    a.fetch(0, va);
    b.fetch(0, vb);
    put_share<QM>(&sa[0], a.share, va);
    put_share<QN>(&sb[0], b.share, vb);
    __syncthreads();
    for (int t = 0; t < slices; t++) {
        bool more = t + 1 < slices;
        if (more) {
            a.fetch(t + 1, va);
            b.fetch(t + 1, vb);
            b.announce(t + 2);
        }
        add_slice<QM, QN>(&sa[t & 1], &sb[t & 1], acc);
        if (more) {
            put_share<QM>(&sa[t + 1 & 1], a.share, va);
            put_share<QN>(&sb[t + 1 & 1], b.share, vb);
        }
        __syncthreads();
    }
}

/* A matrix in memory. Slices are fetched one after the other, from the first on. */
template <int Q> struct tile_matrix {
    const float *p; /* of the thread's row, at its first k of the next slice */
    int64_t step;   /* from k to k + 1 */
    int left;       /* k that are left, from there on; below 1 there is nothing to fetch */
    float beyond;
    tile_share<Q> share;

    __device__ void start(const float *first, int64_t row_step, int64_t k_step, int64_t rows, int ks, int64_t row0,
                          float outside)
    {
        share = share_of<Q>(k_step == 1);
        bool valid = row0 + share.row < rows;
        p = first + (valid ? row0 + share.row : 0) * row_step + share.k * k_step;
        step = k_step;
        left = valid ? ks - share.k : 0;
        beyond = outside;
    }
    __device__ void announce(int) {}
    __device__ void fetch(int, float (&v)[tile_share<Q>::each])
    {
#pragma unroll
        for (int j = 0; j < tile_share<Q>::each; j++)
            v[j] = j < left ? p[j * step] : beyond;
        p += TILE_K * step;
        left -= TILE_K;
    }
};

/* ---- MatMul, Gemm ---- */

template <int QM, int QN>
static __global__ void __launch_bounds__(TILE_THREADS, 2) matmul_tile(const __grid_constant__ ptq_kf_matmul g)
{
    int rows = ((int)g.m + 64 * QM - 1) / (64 * QM), m0 = (int)blockIdx.x % rows * (64 * QM);
    int n0 = (int)blockIdx.x / rows * (64 * QN);
    int64_t a0, b0;
    float acc[4 * QM][4 * QN];
    tile_matrix<QM> a;
    tile_matrix<QN> b;
    ptq_kf_batch(&g, blockIdx.z, &a0, &b0);
    a.start(g.a + a0, g.a_row, g.a_col, g.m, (int)g.k, m0, 0.0f);
    b.start(g.b + b0, g.b_col, g.b_row, g.n, (int)g.k, n0, -0.0f);
    add_slices<QM, QN>((int)((g.k + TILE_K - 1) / TILE_K), a, b, acc);
    float *y = g.y + blockIdx.z * g.m * g.n;
#pragma unroll
    for (int i = 0; i < 4 * QM; i++)
#pragma unroll
        for (int j = 0; j < 4 * QN; j++) {
            int m = m0 + tile_row((int)threadIdx.x / 16, i), n = n0 + tile_row((int)threadIdx.x % 16, j);
            if (m < (int)g.m && n < (int)g.n)
                y[m * g.n + n] = ptq_kf_finish(&g, acc[i][j], m, n);
        }
}

/* ---- convolution: A are the weights of a group, B its columns, all images side by side ---- */

/* Four numbers per k: offset in the group's channels, and the tap's place in each dimension. */
struct tile_taps {
    int4 v[2][TILE_K];
    int m0, n0; /* of the block: kept here while registers are short */
};

template <int Q, bool POINT> struct tile_columns {
    const ptq_kf_conv *g;
    tile_taps *taps;
    const float *x; /* where the first tap of the thread's column lies, or would lie */
    int o0, o1, o2; /* its place in the input; far outside for columns beyond the last */
    int left, size;
    tile_share<Q> share;

    __device__ void start(const ptq_kf_conv *conv, tile_taps *table, int group, int column0)
    {
        g = conv;
        taps = table;
        share = share_of<Q>(false);
        int pixels = (int)(g->out[0] * g->out[1] * g->out[2]);
        int column = column0 + share.row, pixel = column % pixels, image = column / pixels;
        bool valid = image < g->n;
        size = (int)(g->in[0] * g->in[1] * g->in[2]);
        int cg = (int)g->c / (int)g->groups;
        left = cg * (int)(g->kernel[0] * g->kernel[1] * g->kernel[2]) - share.k;
        x = g->x + ((valid ? image : 0) * g->c + group * cg) * size;
        o2 = pixel % (int)g->out[2] * (int)g->stride[2] - (int)g->pad[2];
        o1 = pixel / (int)g->out[2] % (int)g->out[1] * (int)g->stride[1] - (int)g->pad[1];
        o0 = pixel / (int)(g->out[2] * g->out[1]) * (int)g->stride[0] - (int)g->pad[0];
        x += (o0 * (int)g->in[1] + o1) * (int)g->in[2] + o2;
        if (POINT) {
            x += share.k * size;
            left = valid ? left : 0;
        }
        o0 = valid ? o0 : INT32_MIN / 2;
    }
    /* Writes the taps of slice t; they may be read after the next barrier. */
    __device__ void announce(int t)
    {
        if (POINT || threadIdx.x >= TILE_K)
            return;
        int k = t * TILE_K + (int)threadIdx.x, k1 = (int)g->kernel[1], k2 = (int)g->kernel[2];
        int volume = (int)g->kernel[0] * k1 * k2, c = k / volume, tap = k % volume;
        int d0 = tap / (k1 * k2) * (int)g->dilation[0], d1 = tap / k2 % k1 * (int)g->dilation[1],
            d2 = tap % k2 * (int)g->dilation[2];
        int offset = c * size + (d0 * (int)g->in[1] + d1) * (int)g->in[2] + d2;
        taps->v[t & 1][threadIdx.x] = make_int4(offset, d0, d1, d2);
    }
    __device__ void fetch(int t, float (&v)[tile_share<Q>::each])
    {
#pragma unroll
        for (int j = 0; j < tile_share<Q>::each; j++) {
            if (POINT) {
                v[j] = j < left ? x[j * size] : -0.0f;
                continue;
            }
            int4 p = taps->v[t & 1][share.k + j];
            bool inside = (unsigned)(o0 + p.y) < (unsigned)g->in[0] &&
                          (unsigned)(o1 + p.z) < (unsigned)g->in[1] && (unsigned)(o2 + p.w) < (unsigned)g->in[2];
            v[j] = j >= left ? -0.0f : inside ? x[p.x] : 0.0f;
        }
        x += POINT ? (int64_t)TILE_K * size : 0;
        left -= TILE_K;
    }
};

/* +0 would turn -0 into +0 where nothing is added. */
static __device__ __forceinline__ float end_of(const ptq_kf_conv *g, float v, float add)
{
    return ptq_kf_clamp(&g->act, g->add ? v + add : v);
}

/* Outputs of one quad of columns: four floats at once where they lie side by side and aligned. */
template <int QM, int QN>
static __device__ void put_columns(const ptq_kf_conv *g, int group, int m0, int column, int quad,
                                   const float (&acc)[4 * QM][4 * QN])
{
    int mg = (int)g->m / (int)g->groups, pixels = (int)(g->out[0] * g->out[1] * g->out[2]);
    bool together = pixels % 4 == 0 && column + 4 <= (int)g->n * pixels;
#pragma unroll
    for (int i = 0; i < 4 * QM; i++) {
        int m = m0 + tile_row((int)threadIdx.x / 16, i);
        if (m >= mg)
            continue;
        m += group * mg;
        float v[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            v[j] = acc[i][4 * quad + j];
            if (g->bias)
                v[j] += g->bias[m];
        }
        if (together) {
            int64_t at = (column / pixels * g->m + m) * pixels + column % pixels;
            float4 s = g->add ? *(const float4 *)(g->add + at) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            *(float4 *)(g->y + at) = make_float4(end_of(g, v[0], s.x), end_of(g, v[1], s.y), end_of(g, v[2], s.z),
                                                 end_of(g, v[3], s.w));
            continue;
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int image = (column + j) / pixels, pixel = (column + j) % pixels;
            int64_t at = (image * g->m + m) * pixels + pixel;
            if (image < (int)g->n)
                g->y[at] = end_of(g, v[j], g->add ? g->add[at] : 0.0f);
        }
    }
}

template <int QM, int QN, bool POINT>
static __global__ void __launch_bounds__(TILE_THREADS, 2) conv_tile(const __grid_constant__ ptq_kf_conv g)
{
    __shared__ tile_taps taps;
    int group = (int)blockIdx.z, mg = (int)g.m / (int)g.groups;
    int ks = (int)g.c / (int)g.groups * (int)(g.kernel[0] * g.kernel[1] * g.kernel[2]);
    int rows = (mg + 64 * QM - 1) / (64 * QM), m0 = (int)blockIdx.x % rows * (64 * QM);
    int n0 = (int)blockIdx.x / rows * (64 * QN);
    float acc[4 * QM][4 * QN];
    tile_matrix<QM> a;
    tile_columns<QN, POINT> b;
    a.start(g.w + (int64_t)group * mg * ks, ks, 1, mg, ks, m0, 0.0f);
    b.start(&g, &taps, group, n0);
    if (threadIdx.x == 0) {
        taps.m0 = m0;
        taps.n0 = n0;
    }
    add_slices<QM, QN>((ks + TILE_K - 1) / TILE_K, a, b, acc);
#pragma unroll
    for (int q = 0; q < QN; q++)
        put_columns<QM, QN>(&g, group, taps.m0, taps.n0 + tile_row((int)threadIdx.x % 16, 4 * q), q, acc);
}

/* ---- which kernel ---- */

static int64_t tiles(int64_t m, int64_t n, int qm, int qn)
{
    return (m + 64 * qm - 1) / (64 * qm) * ((n + 64 * qn - 1) / (64 * qn));
}

static bool ptq_kf_tile_conv_fits(ptq_dev *d, const ptq_kf_conv *a)
{
    int64_t size = a->in[0] * a->in[1] * a->in[2], pixels = a->out[0] * a->out[1] * a->out[2];
    int64_t cg = a->c / a->groups, mg = a->m / a->groups;
    (void)d;
    return !ptq_kf_reference_only() && !a->mirrored && mg >= 16 && a->n * pixels >= 32 && a->groups <= 65535 &&
           cg * size < INT32_MAX && a->n * pixels < INT32_MAX - 1024 && a->c < INT32_MAX && a->m < INT32_MAX &&
           tiles(mg, a->n * pixels, 1, 1) < INT32_MAX &&
           cg * a->kernel[0] * a->kernel[1] * a->kernel[2] < INT32_MAX - 1024;
}

static ptq_status ptq_kf_tile_conv(ptq_dev *d, const ptq_kf_conv *a)
{
    int64_t n = a->n * a->out[0] * a->out[1] * a->out[2], mg = a->m / a->groups, least = ptq_dev_processors(d);
    if (mg > 64 && tiles(mg, n, 2, 2) * a->groups >= least) {
        dim3 grid((unsigned)tiles(mg, n, 2, 2), 1, (unsigned)a->groups);
        return a->pointwise ? PTQ_LAUNCH_BLOCKS(d, "conv_tile", grid, *a, conv_tile<2, 2, true>)
                            : PTQ_LAUNCH_BLOCKS(d, "conv_tile", grid, *a, conv_tile<2, 2, false>);
    }
    if (tiles(mg, n, 1, 2) * a->groups >= least) {
        dim3 grid((unsigned)tiles(mg, n, 1, 2), 1, (unsigned)a->groups);
        return a->pointwise ? PTQ_LAUNCH_BLOCKS(d, "conv_tile", grid, *a, conv_tile<1, 2, true>)
                            : PTQ_LAUNCH_BLOCKS(d, "conv_tile", grid, *a, conv_tile<1, 2, false>);
    }
    dim3 grid((unsigned)tiles(mg, n, 1, 1), 1, (unsigned)a->groups);
    return a->pointwise ? PTQ_LAUNCH_BLOCKS(d, "conv_tile", grid, *a, conv_tile<1, 1, true>)
                        : PTQ_LAUNCH_BLOCKS(d, "conv_tile", grid, *a, conv_tile<1, 1, false>);
}

static bool ptq_kf_tile_matmul_fits(ptq_dev *d, const ptq_kf_matmul *a)
{
    (void)d;
    return !ptq_kf_reference_only() && a->m * a->n >= 1024 && a->k >= TILE_K && a->k < INT32_MAX - 1024 &&
           a->batch <= 65535 && a->m < INT32_MAX - 1024 && a->n < INT32_MAX - 1024 &&
           tiles(a->m, a->n, 1, 1) < INT32_MAX;
}

static ptq_status ptq_kf_tile_matmul(ptq_dev *d, const ptq_kf_matmul *a)
{
    bool large = a->m > 64 && a->n > 64 && tiles(a->m, a->n, 2, 2) * a->batch >= ptq_dev_processors(d);
    int q = large ? 2 : 1;
    dim3 grid((unsigned)tiles(a->m, a->n, q, q), 1, (unsigned)a->batch);
    return large ? PTQ_LAUNCH_BLOCKS(d, "matmul_tile", grid, *a, matmul_tile<2, 2>)
                 : PTQ_LAUNCH_BLOCKS(d, "matmul_tile", grid, *a, matmul_tile<1, 1>);
}

#endif
