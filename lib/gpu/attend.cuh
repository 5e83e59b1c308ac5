/* SPDX-License-Identifier: Apache-2.0 */
/* What attention in one kernel shares, under the law (k_attend.cu) and with fast math (k_attend_fast.cu): arguments, and
 * keys and values of a head in shared memory. */
#ifndef PTQ_GPU_ATTEND_CUH
#define PTQ_GPU_ATTEND_CUH

#include "lib/exec/steps.h"
#include "lib/gpu/mma.cuh"

enum { PAD = 16, WARPS = 4, THREADS = 32 * WARPS };

struct attend {
    ptq_k_attention p;
    uint32_t q_flip, k_flip, v_flip; /* 0x80808080 where the codes are uint8 */
    int32_t zq, zk, zv;              /* of the int8 codes */
    int32_t lone;                    /* plo - zp: the code, less its zero point, of a row without numbers */
    float factor;                    /* of the scores: 1 where there is none */
    float p_inv, p_high;             /* 1 / sp, (phi - zp) * sp */
    float y_lo, y_hi, y_inv, y_low, y_high; /* lo - zy, hi - zy; 1 / sy, and those times sy */
};

static __device__ __forceinline__ int32_t byte_sum(uint32_t w, int32_t sum)
{
    return __dp4a((int)w, 0x01010101, sum);
}

/* Keys as they are, [key][D], and what each adds to its scores. */
template <int NB, int D>
static __device__ __forceinline__ void load_keys(const attend &g, const uint8_t *k, uint8_t *keys, int32_t *term)
{
    for (int i = (int)threadIdx.x; i < 32 * NB * (D / 16); i += THREADS) {
        int key = i / (D / 16), c = i % (D / 16) * 16;
        uint4 w = make_uint4(0, 0, 0, 0);
        if (key < g.p.n && c < g.p.d) {
            w = __ldg((const uint4 *)(k + (int64_t)key * g.p.ks.col + c));
            w.x ^= g.k_flip;
            w.y ^= g.k_flip;
            w.z ^= g.k_flip;
            w.w ^= g.k_flip;
        }
        *(uint4 *)(keys + key * (D + PAD) + c) = w;
    }
    __syncthreads();
    for (int key = (int)threadIdx.x; key < 32 * NB; key += THREADS) {
        int32_t sum = 0;
        for (int c = 0; c < D && g.zq; c += 4)
            sum = byte_sum(*(const uint32_t *)(keys + key * (D + PAD) + c), sum);
        term[key] = g.zq * (g.p.d * g.zk - sum);
    }
}

/* Values turned: row 8 t + c holds column D / 4 (c / 2) + 2 t + c % 2; of each 32 keys, bytes 16 h + 4 q + ..
 * hold keys 16 h + (2 q, 2 q + 1, 8 + 2 q, 9 + 2 q), as the scores of a thread lie. */
template <int NB, int D>
static __device__ __forceinline__ void load_values(const attend &g, const uint8_t *v, uint8_t *values)
{
    constexpr int PITCH = 32 * NB + PAD;
    for (int i = (int)threadIdx.x; i < 8 * NB * (D / 4); i += THREADS) {
        int c = i % (D / 4) * 4, group = i / (D / 4), key = group / 4 * 16 + group % 4 * 2;
        uint32_t w[4];
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int at = key + e / 2 * 8 + e % 2;
            const uint32_t *p = (const uint32_t *)(v + (int64_t)at * g.p.vs.row + c);
            w[e] = at < g.p.n && c < g.p.dv ? __ldg(p) ^ g.v_flip : 0;
        }
        uint32_t low = __byte_perm(w[0], w[1], 0x5140), high = __byte_perm(w[2], w[3], 0x5140);
        uint32_t low2 = __byte_perm(w[0], w[1], 0x7362), high2 = __byte_perm(w[2], w[3], 0x7362);
        uint32_t out[4] = {__byte_perm(low, high, 0x5410), __byte_perm(low, high, 0x7632),
                           __byte_perm(low2, high2, 0x5410), __byte_perm(low2, high2, 0x7632)};
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int in = (c + e) % (D / 4), row = in / 2 * 8 + (c + e) / (D / 4) * 2 + in % 2;
            *(uint32_t *)(values + row * PITCH + group * 4) = out[e];
        }
    }
}

/* Is this column outside? The tiles before FROM are full. */
template <int FROM> static __device__ __forceinline__ bool outside(const attend &g, int t, int col)
{
    return t >= FROM && col >= g.p.n;
}

/* NaN where one of them is. */
static __device__ __forceinline__ float max_or_nan(float a, float b)
{
    float y;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
}

struct starts { /* of a head's matrices */
    int64_t q, k, v, y, m;
};

static __device__ __forceinline__ starts starts_of(const ptq_k_attention &p, uint32_t head)
{
    starts s = {0, 0, 0, 0, 0};
    for (int d = p.nbd - 1; d >= 0; d--) {
        uint32_t dim = (uint32_t)p.bdim[d], i = head % dim;
        s.q += i * p.qs.batch[d];
        s.k += i * p.ks.batch[d];
        s.v += i * p.vs.batch[d];
        s.y += i * p.ys.batch[d];
        s.m += i * p.ms.batch[d];
        head /= dim;
    }
    return s;
}

/* ---- host ---- */

/* Blocks: heads, and the parts of the rows of each; of few heads, several blocks share the rows. */
static dim3 blocks_of(const ptq_dev *d, const ptq_k_attention *a)
{
    int tiles = (a->m + 15) / 16, most = (tiles + WARPS - 1) / WARPS;
    int64_t want = (4 * (int64_t)ptq_dev_processors(d) + a->batch - 1) / a->batch;
    return dim3((unsigned)a->batch, (unsigned)(want < 1 ? 1 : want > most ? most : want));
}

/* Of the scores: 1 where there is none. */
static float factor_of(const ptq_k_attention *a)
{
    return a->scores == PTQ_SCORES_TIMES ? a->factor : a->scores == PTQ_SCORES_OVER ? 1.0f / a->factor : 1.0f;
}

static attend attend_of(const ptq_k_attention *a)
{
    attend g;
    g.p = *a;
    g.q_flip = a->q_signed ? 0 : 0x80808080u;
    g.k_flip = a->k_signed ? 0 : 0x80808080u;
    g.v_flip = a->v_signed ? 0 : 0x80808080u;
    g.zq = a->zq - (a->q_signed ? 0 : 128);
    g.zk = a->zk - (a->k_signed ? 0 : 128);
    g.zv = a->zv - (a->v_signed ? 0 : 128);
    g.lone = a->plo - a->zp;
    g.factor = factor_of(a);
    g.p_inv = 1.0f / a->sp;
    g.p_high = (float)(a->phi - a->zp) * a->sp;
    g.y_lo = (float)(a->lo - a->zy);
    g.y_hi = (float)(a->hi - a->zy);
    g.y_inv = 1.0f / a->sy;
    g.y_low = g.y_lo * a->sy;
    g.y_high = g.y_hi * a->sy;
    return g;
}

/* Every row of every matrix starts at a multiple of `bytes`. */
static bool aligned(const ptq_k_attention *a, const void *p, const ptq_k_side *s, int64_t row, int bytes)
{
    bool good = (uintptr_t)p % (unsigned)bytes == 0 && row % bytes == 0;
    for (int i = 0; i < a->nbd; i++)
        good = good && s->batch[i] % bytes == 0;
    return good;
}

/* With fast math; asked where ptq_k_attention_fast has found that the exact kernel fits. */
extern "C" bool ptq_k_attend_quick_fits(const ptq_k_attention *a);
extern "C" ptq_status ptq_k_attend_quick(ptq_dev *d, const ptq_k_attention *a);

#endif
