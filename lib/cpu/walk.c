/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/cpu/walk.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

enum { CHUNK = 16384 };

typedef struct walk_run {
    const ptq_walk *w;
    ptq_walk_fn fn;
    const void *ctx;
    int64_t pieces; /* of one inner run */
} walk_run;

static void walk_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const walk_run *r = ctx;
    const ptq_walk *w = r->w;
    int last = w->rank - 1;
    int64_t step[PTQ_WALK_OPS], pos[PTQ_WALK_DIMS], row[PTQ_WALK_OPS];
    (void)worker;
    for (int op = 0; op < w->nops; op++) {
        step[op] = w->step[op][last];
        row[op] = w->base[op];
    }
    int64_t rest = from / r->pieces;
    for (int d = last - 1; d >= 0; d--) {
        pos[d] = rest % w->dims[d];
        rest /= w->dims[d];
        for (int op = 0; op < w->nops; op++)
            row[op] += pos[d] * w->step[op][d];
    }
    for (int64_t i = from; i < to; i++) {
        int64_t off[PTQ_WALK_OPS], at = i % r->pieces * CHUNK;
        int64_t n = r->pieces == 1 ? w->dims[last]
                    : w->dims[last] - at < CHUNK ? w->dims[last] - at : CHUNK;
        for (int op = 0; op < w->nops; op++)
            off[op] = row[op] + at * step[op];
        r->fn(r->ctx, off, step, n);
        if ((i + 1) % r->pieces != 0)
            continue;
        for (int d = last - 1; d >= 0; d--) { /* next row */
            for (int op = 0; op < w->nops; op++)
                row[op] += w->step[op][d];
            if (++pos[d] < w->dims[d])
                break;
            for (int op = 0; op < w->nops; op++)
                row[op] -= w->step[op][d] * w->dims[d];
            pos[d] = 0;
        }
    }
}

/* per: elements that one index of the walk stands for */
static ptq_status run_weighted(ptq_cpu *c, ptq_walk *w, ptq_walk_fn fn, const void *ctx, int64_t per)
{
    for (int d = 0; d < w->rank; d++)
        if (w->dims[d] == 0)
            return PTQ_OK;
    ptq_walk_merge(w);
    int64_t n = w->dims[w->rank - 1], rows = ptq_product(w->dims, 0, w->rank - 1);
    walk_run r = {.w = w, .fn = fn, .ctx = ctx, .pieces = (n + CHUNK - 1) / CHUNK};
    int64_t each = n < CHUNK ? n : CHUNK;
    return ptq_cpu_ranges(c, rows * r.pieces, CHUNK / each / per, walk_part, &r);
}

ptq_status ptq_walk_run(ptq_cpu *c, ptq_walk *w, ptq_walk_fn fn, const void *ctx)
{
    return run_weighted(c, w, fn, ctx, 1);
}

/* ---- copies ---- */

typedef struct copy_ctx {
    char *dst;
    const char *src;
    size_t bytes;
    int64_t inner; /* transposed blocks: length of the inner dimension and its steps */
    int64_t inner_dst, inner_src;
} copy_ctx;

#define COPY_STRIDED(T)                                                                            \
    for (int64_t i = 0; i < n; i++)                                                                \
        ((T *)(void *)d)[i * ds] = ((const T *)(const void *)s)[i * ss];

static void copy_run(const void *ctx, const int64_t *off, const int64_t *step, int64_t n)
{
    const copy_ctx *v = ctx;
    char *d = v->dst + off[0] * (int64_t)v->bytes;
    const char *s = v->src + off[1] * (int64_t)v->bytes;
    int64_t ds = step[0], ss = step[1];
    if (ds == 1 && ss == 1) {
        memcpy(d, s, (size_t)n * v->bytes);
        return;
    }
    switch (v->bytes) {
    case 1: COPY_STRIDED(uint8_t) break;
    case 2: COPY_STRIDED(uint16_t) break;
    case 4: COPY_STRIDED(uint32_t) break;
    default: COPY_STRIDED(uint64_t) break;
    }
}

/* A block of rows (read side by side) times the inner dimension (written side by side), in squares
 * that stay in the cache. */
#define COPY_SQUARES(T)                                                                            \
    for (int64_t j0 = 0; j0 < v->inner; j0 += 16)                                                  \
        for (int64_t i0 = 0; i0 < n; i0 += 16) {                                                   \
            int64_t j1 = j0 + 16 < v->inner ? j0 + 16 : v->inner, i1 = i0 + 16 < n ? i0 + 16 : n;  \
            for (int64_t i = i0; i < i1; i++)                                                      \
                for (int64_t j = j0; j < j1; j++)                                                  \
                    ((T *)(void *)d)[i * step[0] + j * v->inner_dst] =                             \
                        ((const T *)(const void *)s)[i * step[1] + j * v->inner_src];              \
        }

#if defined(__SSE2__)
/* The same for 4 bytes, dense on both sides: 4 x 4 of them in registers. */
static void copy_squares4(const copy_ctx *v, float *d, const float *s, int64_t ds, int64_t n)
{
    const int64_t ss = v->inner_src;
    for (int64_t j0 = 0; j0 < v->inner; j0 += 16)
        for (int64_t i0 = 0; i0 < n; i0 += 16) {
            const int64_t j1 = j0 + 16 < v->inner ? j0 + 16 : v->inner, i1 = i0 + 16 < n ? i0 + 16 : n;
            const int64_t j4 = j1 / 4 * 4, i4 = i1 / 4 * 4;
            for (int64_t j = j0; j < j4; j += 4)
                for (int64_t i = i0; i < i4; i += 4) {
                    const float *from = s + i + j * ss;
                    float *to = d + i * ds + j;
                    __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + ss);
                    __m128 e = _mm_loadu_ps(from + 2 * ss), f = _mm_loadu_ps(from + 3 * ss);
                    _MM_TRANSPOSE4_PS(a, b, e, f);
                    _mm_storeu_ps(to, a);
                    _mm_storeu_ps(to + ds, b);
                    _mm_storeu_ps(to + 2 * ds, e);
                    _mm_storeu_ps(to + 3 * ds, f);
                }
            for (int64_t i = i0; i < i1; i++)
                for (int64_t j = i < i4 ? j4 : j0; j < j1; j++)
                    memcpy(&d[i * ds + j], &s[i + j * ss], sizeof *d); /* any bytes */
        }
}
#endif

static void copy_squares(const void *ctx, const int64_t *off, const int64_t *step, int64_t n)
{
    const copy_ctx *v = ctx;
    char *d = v->dst + off[0] * (int64_t)v->bytes;
    const char *s = v->src + off[1] * (int64_t)v->bytes;
#if defined(__SSE2__)
    if (v->bytes == 4 && v->inner_dst == 1 && step[1] == 1) {
        copy_squares4(v, (float *)(void *)d, (const float *)(const void *)s, step[0], n);
        return;
    }
#endif
    switch (v->bytes) {
    case 1: COPY_SQUARES(uint8_t) break;
    case 2: COPY_SQUARES(uint16_t) break;
    case 4: COPY_SQUARES(uint32_t) break;
    default: COPY_SQUARES(uint64_t) break;
    }
}

ptq_status ptq_walk_copy(ptq_cpu *c, ptq_walk *w, void *dst, const void *src, size_t bytes)
{
    copy_ctx v = {.dst = dst, .src = src, .bytes = bytes};
    for (int d = 0; d < w->rank; d++)
        if (w->dims[d] == 0)
            return PTQ_OK;
    ptq_walk_merge(w);
    int last = w->rank - 1;
    int along = -1; /* the dimension in which the source is dense */
    for (int d = 0; d < last; d++)
        if (w->step[1][d] == 1 && w->dims[d] >= 4)
            along = d;
    if (along < 0 || w->step[1][last] == 1 || w->step[1][last] == 0)
        return ptq_walk_run(c, w, copy_run, &v);
    v.inner = w->dims[last];
    v.inner_dst = w->step[0][last];
    v.inner_src = w->step[1][last];
    ptq_walk t = {.nops = 2, .base = {w->base[0], w->base[1]}};
    for (int d = 0; d < last; d++) { /* `along` last */
        int from = d < along ? d : d + 1 < last ? d + 1 : along;
        t.dims[d] = w->dims[from];
        t.step[0][d] = w->step[0][from];
        t.step[1][d] = w->step[1][from];
    }
    t.rank = last;
    return run_weighted(c, &t, copy_squares, &v, v.inner);
}
