/* SPDX-License-Identifier: Apache-2.0 */
/* Batched integer products whose operands are both computed (attention) by mma.sync: a block computes
 * 64 x 64 elements of one product, k in steps of 64 bytes. Either operand may lie along k or across it;
 * the tile in shared memory keeps the order of memory, and the matrix is turned on its way into
 * registers. Rows may start anywhere. The zero points are taken out at the end:
 *
 *     sum (a - za)(b - zb) = sum a b - za sum b - zb sum a + k za zb   (modulo 2^32, as the sum itself)
 *
 * the sums are products with a matrix of ones. Runs on compute capability 8.0 and up. */
#include "lib/gpu/finish.h"
#include "lib/gpu/mma.cuh"

enum { TILE = 64, CHUNKS = TILE / 16, THREADS = 128, PITCH = TILE + 8, WORDS = TILE / 4 + 1 };
static constexpr uint32_t ones = 0x01010101u;

/* One side: lines of `line` bytes from each other, in [begin, end). Lines run along k, or are k where
 * the operand is turned. */
struct operand {
    const uint8_t *begin, *end;
    int64_t line;
    bool turned;
};

struct bmm {
    ptq_k_matmul p;
    operand a, b;
    uint32_t m_tiles, n_tiles;
};

/* The tiles, and in their place the accumulators when k is done. */
struct kept {
    union {
        uint8_t tile[2][TILE * TILE];
        int32_t acc[TILE * PITCH];
    };
    int32_t row_sum[TILE], term[TILE], zb[TILE]; /* term: all that a column adds to its accumulators */
    float mult[TILE];
};

/* Where chunk c of line r lies: ldmatrix meets every bank once, for 8 lines in a row and for those that
 * load_fragment reads of a turned tile. */
static __device__ __forceinline__ uint32_t swizzle(int r, int c)
{
    return (uint32_t)(r * TILE + ((c ^ (r >> 1) ^ (r >> 3)) & (CHUNKS - 1)) * 16);
}

/* Four bytes from an aligned address; those outside of the tensor are 0. */
static __device__ __forceinline__ uint32_t load_word(const uint8_t *p, const operand &o)
{
    if (p >= o.begin && o.end - p >= 4)
        return __ldg((const uint32_t *)p);
    uint32_t v = 0;
#pragma unroll 1
    for (int e = 0; e < 4; e++)
        if (p + e >= o.begin && p + e < o.end)
            v |= (uint32_t)p[e] << 8 * e;
    return v;
}

/* Up to 16 bytes from any address, zeros behind. */
static __device__ __forceinline__ uint4 load_chunk(const uint8_t *p, int valid, const operand &o)
{
    int odd = (int)((uintptr_t)p & 3);
    uint32_t w[5];
    if (valid <= 0)
        return make_uint4(0, 0, 0, 0);
    if (valid >= 16 && ((uintptr_t)p & 15) == 0)
        return __ldg((const uint4 *)p);
#pragma unroll
    for (int i = 0; i < 5; i++)
        w[i] = 4 * i < odd + valid ? load_word(p - odd + 4 * i, o) : 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int left = valid - 4 * i; /* bytes of this word */
        w[i] = __funnelshift_r(w[i], w[i + 1], (unsigned)(8 * odd));
        w[i] &= left >= 4 ? ~0u : left > 0 ? (1u << 8 * left) - 1 : 0;
    }
    return make_uint4(w[0], w[1], w[2], w[3]);
}

/* Fills a tile with `lines` lines of `width` bytes from `p` on, zeros around them. */
static __device__ __forceinline__ void stage(uint8_t *tile, const uint8_t *p, const operand &o, int lines,
                                             int width)
{
    int chunk = (int)threadIdx.x % CHUNKS, first = (int)threadIdx.x / CHUNKS, valid = width - 16 * chunk;
    uint4 v[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int r = first + i * (THREADS / CHUNKS);
        v[i] = load_chunk(p + r * o.line + 16 * chunk, r < lines ? valid : 0, o);
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
        *(uint4 *)(tile + swizzle(first + i * (THREADS / CHUNKS), chunk)) = v[i];
}

/* The 16 rows of A, or columns of B, from `first` on, bytes 32 k .. + 31 of k: r[h] and r[h + 2] are the
 * two halves of k of half h of them; `place` tells which they are. */
static __device__ __forceinline__ void load_fragment(uint32_t r[4], uint32_t tile, bool turned, int first, int k)
{
    int lane = (int)threadIdx.x % 32;
    if (!turned) {
        load_matrix4(r, tile + swizzle(first + lane % 16, 2 * k + lane / 16));
        return;
    }
    uint32_t x[4]; /* each has two neighbours at two steps of k: (k, even) (k, odd) (k + 1, even) (k + 1, odd) */
    int line = 32 * k + lane / 16 * 16 + lane % 8 / 2 * 4 + lane / 8 % 2 * 2 + lane % 2;
    load_matrix4_turned(x, tile + swizzle(line, first / 16));
    r[0] = __byte_perm(x[0], x[1], 0x6420);
    r[1] = __byte_perm(x[0], x[1], 0x7531);
    r[2] = __byte_perm(x[2], x[3], 0x6420);
    r[3] = __byte_perm(x[2], x[3], 0x7531);
}

/* Which of the 16 is number i of half h: the second eight, or in a turned tile the odd ones. */
static __device__ __forceinline__ int place(bool turned, int h, int i)
{
    return turned ? 2 * i + h : 8 * h + i;
}

/* What a warp computes: 32 x 32 of the tile, and one part in two of the sums of these rows and columns. */
struct sums {
    int32_t acc[2][4][4], row[4], col[2][4];
};

template <bool A_SIGNED, bool B_SIGNED>
static __device__ __forceinline__ void multiply(const bmm &g, const kept &s, sums &d, int wm, int wn)
{
    uint32_t sa = smem_address(s.tile[0]), sb = smem_address(s.tile[1]), one[4] = {ones, ones, ones, ones};
#pragma unroll 1
    for (int k = 0; k < TILE / 32; k++) {
        uint32_t fa[2][4], fb[2][4];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            load_fragment(fa[i], sa, g.a.turned, 32 * wm + 16 * i, k);
            load_fragment(fb[i], sb, g.b.turned, 32 * wn + 16 * i, k);
        }
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                mma_16x8x32<A_SIGNED, B_SIGNED>(d.acc[i][j], fa[i], fb[j / 2][j % 2], fb[j / 2][j % 2 + 2]);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            if (g.p.e.wzp && i == wn)
                mma_16x8x32<A_SIGNED, B_SIGNED>(d.row, fa[i], ones, ones);
            if (g.p.e.zx && i == wm)
#pragma unroll
                for (int h = 0; h < 2; h++)
                    mma_16x8x32<A_SIGNED, B_SIGNED>(d.col[h], one, fb[i][h], fb[i][h + 2]);
        }
    }
}

/* Lays the accumulators and sums of a warp out in the tile's order. */
static __device__ __forceinline__ void lay_out(const bmm &g, kept &s, const sums &d, int wm, int wn)
{
    int lane = (int)threadIdx.x % 32, pair = lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int row = 32 * wm + 16 * i + place(g.a.turned, e / 2, lane / 4);
                int col = 32 * wn + j / 2 * 16 + place(g.b.turned, j % 2, pair + e % 2);
                s.acc[row * PITCH + col] = d.acc[i][j][e];
            }
#pragma unroll
    for (int e = 0; e < 4; e++) {
        if (pair == 0 && e % 2 == 0)
            s.row_sum[32 * wm + 16 * wn + place(g.a.turned, e / 2, lane / 4)] = d.row[e];
        if (lane < 4) {
            int32_t *t = &s.term[32 * wn + 16 * wm + place(g.b.turned, e / 2, pair + e % 2)];
            *t = (int32_t)((uint32_t)*t - (uint32_t)g.p.e.zx * (uint32_t)d.col[e / 2][e % 2]);
        }
    }
}

static __device__ __forceinline__ int32_t total(const kept &s, int row, int col)
{
    return (int32_t)((uint32_t)s.acc[row * PITCH + col] + (uint32_t)s.term[col] -
                     (uint32_t)s.zb[col] * (uint32_t)s.row_sum[row]);
}

/* Writes rows x cols results; `at` is the first one's place in y. */
static __device__ __forceinline__ void write_floats(const bmm &g, const kept &s, int64_t at, int n0, int rows, int cols)
{
    int c = (int)threadIdx.x % TILE;
    float m = s.mult[c], *y = (float *)g.p.y + at + c;
    if (c < cols)
        for (int r = (int)threadIdx.x / TILE; r < rows; r += THREADS / TILE)
            y[r * g.p.n] = ptq_k_float(&g.p.e, at + r * g.p.n + c, n0 + c, m, total(s, r, c));
}

/* By aligned words, the ends of a row by bytes. */
static __device__ __forceinline__ void write_codes(const bmm &g, const kept &s, int64_t at, int n0, int rows, int cols)
{
    for (int i = (int)threadIdx.x; i < rows * WORDS; i += THREADS) {
        int r = i / WORDS;
        int64_t row = at + r * g.p.n;
        uint8_t *y = (uint8_t *)g.p.y + row;
        int c = i % WORDS * 4 - (int)((uintptr_t)y & 3);
        uint32_t v = 0;
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (c + e >= 0 && c + e < cols)
                v |= (uint32_t)ptq_k_code(&g.p.e, row + c + e, n0 + c + e, s.mult[c + e], total(s, r, c + e)) << 8 * e;
        if (c >= 0 && c + 4 <= cols) {
            *(uint32_t *)(y + c) = v;
            continue;
        }
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (c + e >= 0 && c + e < cols)
                y[c + e] = (uint8_t)(v >> 8 * e);
    }
}

/* What the columns add apart from their sums. */
static __device__ __forceinline__ void start_columns(const bmm &g, kept &s, int n0)
{
    int c = (int)threadIdx.x;
    if (c >= TILE)
        return;
    bool inside = n0 + c < g.p.n;
    int32_t zb = inside ? ptq_k_weight_zp(&g.p.e, n0 + c) : 0;
    s.zb[c] = zb;
    s.mult[c] = inside ? ptq_k_mult(&g.p.e, n0 + c) : 0.0f;
    s.term[c] = (int32_t)((uint32_t)(inside && g.p.e.bias ? g.p.e.bias[n0 + c] : 0) +
                          (uint32_t)g.p.k * (uint32_t)g.p.e.zx * (uint32_t)zb);
}

template <bool A_SIGNED, bool B_SIGNED>
static __global__ void __launch_bounds__(THREADS, 6) bmm_tiles(const __grid_constant__ bmm g)
{
    __shared__ __align__(128) kept s;
    const ptq_k_matmul &p = g.p;
    uint32_t rest = blockIdx.x / g.n_tiles, batch = rest / g.m_tiles;
    int n0 = (int)(blockIdx.x % g.n_tiles) * TILE, m0 = (int)(rest % g.m_tiles) * TILE;
    int rows = min((int)p.m - m0, TILE), cols = min((int)p.n - n0, TILE);
    int warp = (int)threadIdx.x / 32, wm = warp / 2, wn = warp % 2;
    const uint8_t *a = g.a.begin + m0 * p.a_row, *b = g.b.begin + n0 * p.b_col;
    rest = batch;
    for (int d = p.nbd - 1; d >= 0; d--) {
        uint32_t dim = (uint32_t)p.bdim[d], i = rest % dim;
        a += i * p.a_step[d];
        b += i * p.b_step[d];
        rest /= dim;
    }
    sums d = {};
    start_columns(g, s, n0);
    for (int left = (int)p.k; left > 0; left -= TILE) {
        __syncthreads();
        stage(s.tile[0], a, g.a, g.a.turned ? left : rows, g.a.turned ? rows : left);
        stage(s.tile[1], b, g.b, g.b.turned ? left : cols, g.b.turned ? cols : left);
        a += TILE * p.a_col;
        b += TILE * p.b_row;
        __syncthreads();
        multiply<A_SIGNED, B_SIGNED>(g, s, d, wm, wn);
    }
    __syncthreads();
    lay_out(g, s, d, wm, wn);
    __syncthreads();
    int64_t at = ((int64_t)batch * p.m + m0) * p.n + n0;
    if (ptq_k_is_float(&p.e))
        write_floats(g, s, at, n0, rows, cols);
    else
        write_codes(g, s, at, n0, rows, cols);
}

/* How many bytes an operand spans. */
static int64_t span(const ptq_k_matmul *a, const int64_t *step, int64_t rows, int64_t row, int64_t cols, int64_t col)
{
    int64_t last = (rows - 1) * row + (cols - 1) * col;
    for (int i = 0; i < a->nbd; i++)
        last += (a->bdim[i] - 1) * step[i];
    return last + 1;
}

static ptq_status run(ptq_dev *d, const ptq_k_matmul *a)
{
    const uint8_t *x = (const uint8_t *)a->a, *w = (const uint8_t *)a->b;
    bmm g;
    g.p = *a;
    g.a = {x, x + span(a, a->a_step, a->m, a->a_row, a->k, a->a_col), a->a_row, false};
    g.b = {w, w + span(a, a->b_step, a->k, a->b_row, a->n, a->b_col), a->b_col, false};
    if (a->a_col != 1)
        g.a.line = a->a_col, g.a.turned = true;
    if (a->b_row != 1)
        g.b.line = a->b_row, g.b.turned = true;
    g.m_tiles = (uint32_t)((a->m + TILE - 1) / TILE);
    g.n_tiles = (uint32_t)((a->n + TILE - 1) / TILE);
    auto kernel = a->e.x_signed ? a->e.w_signed ? bmm_tiles<true, true> : bmm_tiles<true, false>
                  : a->e.w_signed ? bmm_tiles<false, true> : bmm_tiles<false, false>;
    kernel<<<(unsigned)(a->batch * g.m_tiles * g.n_tiles), THREADS, 0, (cudaStream_t)ptq_dev_stream(d)>>>(g);
    return ptq_dev_launched(d, "bmm_tiles");
}

extern "C" ptq_k_matmul_run ptq_k_matmul_fast(const ptq_dev *d, const ptq_k_matmul *a)
{
    const int64_t most = INT32_MAX / 2;
    if (ptq_dev_capability(d) < 80 || (a->a_col != 1 && a->a_row != 1) || (a->b_row != 1 && a->b_col != 1) ||
        a->batch <= 0 || a->m <= 0 || a->n <= 0 || a->k <= 0 || a->m > most || a->n > most || a->k > most)
        return NULL;
    double blocks = (double)a->batch * (double)((a->m + TILE - 1) / TILE) * (double)((a->n + TILE - 1) / TILE);
    return blocks < 2147483647.0 ? run : NULL;
}
