/* SPDX-License-Identifier: Apache-2.0 */
/* What this processor does at most, measured in a few hundredths of a second: the product tiles that the
 * kernels are made of, on operands in the first-level cache, and a copy of more than the caches hold; on
 * all threads of the backend at once, the best of a few turns. */
#include "lib/cpu/peaks.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cpu/f32.h"
#include "lib/cpu/int.h"

enum { K = 64, COLUMNS = 64, ROWS = 32, TURNS = 4 };
#define TURN 0.004 /* seconds of one turn */
#define COPY ((size_t)96 << 20)

typedef struct work {
    const ptq_int_dot *dot; /* or: */
    const ptq_f32_fns *f32;
    int calls;
} work;

/* Operands of one thread; all zero: the units do not care. */
typedef struct operands {
    _Alignas(64) char a[ROWS * K * 4], b[COLUMNS * K * 4];
    _Alignas(64) char c[ROWS * COLUMNS * 4], bias[COLUMNS * 4], mult[COLUMNS * 4];
} operands;

static void int_tiles(const work *w, operands *o)
{
    ptq_int_tile t = {.a = o->a, .lda = K * 4, .b = o->b, .kgroups = K, .m = w->dot->mr, .n = w->dot->nv * w->dot->lanes,
                      .bias = (const int32_t *)(const void *)o->bias, .mult = (const float *)(const void *)o->mult,
                      .lo = -128.0f, .hi = 127.0f, .y = o->c, .ldy = COLUMNS, .sgn = true};
    for (int i = 0; i < w->calls; i++)
        w->dot->tile(&t, w->dot->nv);
}

static void f32_tiles(const work *w, operands *o)
{
    ptq_f32_tile t = {.rows = w->f32->tile_rows, .nv = w->f32->tile_cols / w->f32->lanes, .kc = K,
                      .a = (const float *)(const void *)o->a, .b = (const float *)(const void *)o->b, .ldb = PTQ_B_PANEL,
                      .c = (float *)(void *)o->c, .ldc = COLUMNS, .first = true};
    for (int i = 0; i < w->calls; i++)
        w->f32->tile(&t);
}

static ptq_status run_tiles(void *arg, size_t i, int worker)
{
    const work *w = arg;
    operands *o = ptq_alloc_aligned(sizeof *o);
    (void)i;
    (void)worker;
    if (!o)
        return ptq_fail_nomem();
    memset(o, 0, sizeof *o);
    (w->dot ? int_tiles : f32_tiles)(w, o);
    free(o);
    return PTQ_OK;
}

/* Operations per second of all threads together. */
static ptq_status tile_rate(ptq_pool *pool, work *w, double *out)
{
    double ops = w->dot ? 2.0 * w->dot->mr * w->dot->nv * w->dot->lanes * w->dot->kgroup * K
                        : 2.0 * w->f32->tile_rows * w->f32->tile_cols * K;
    int threads = ptq_pool_threads(pool);
    double took = 0.0;
    for (w->calls = 16; took < TURN && w->calls < 1 << 24; w->calls *= 2) {
        double start = ptq_now();
        PTQ_TRY(run_tiles(w, 0, 0));
        took = ptq_now() - start;
    }
    *out = 0.0;
    for (int turn = 0; turn < TURNS; turn++) {
        double start = ptq_now();
        PTQ_TRY(ptq_pool_for(pool, (size_t)threads, run_tiles, w));
        double rate = ops * w->calls * threads / (ptq_now() - start);
        *out = rate > *out ? rate : *out;
    }
    return PTQ_OK;
}

typedef struct copy {
    char *dst;
    const char *src;
    size_t piece;
} copy;

static ptq_status run_copy(void *arg, size_t i, int worker)
{
    const copy *c = arg;
    (void)worker;
    memcpy(c->dst + i * c->piece, c->src + i * c->piece, c->piece);
    return PTQ_OK;
}

static ptq_status copy_rate(ptq_pool *pool, double *out)
{
    size_t pieces = 4 * (size_t)ptq_pool_threads(pool);
    copy c = {ptq_alloc_aligned(COPY), NULL, COPY / pieces};
    char *src = ptq_alloc_aligned(COPY);
    ptq_status s = c.dst && src ? PTQ_OK : ptq_fail_nomem();
    if (s == PTQ_OK)
        memset(src, 1, COPY);
    c.src = src;
    *out = 0.0;
    for (int turn = 0; turn < TURNS && s == PTQ_OK; turn++) { /* the first one brings the pages */
        double start = ptq_now();
        s = ptq_pool_for(pool, pieces, run_copy, &c);
        double rate = 2.0 * (double)(c.piece * pieces) / (ptq_now() - start);
        *out = rate > *out ? rate : *out;
    }
    free(src);
    free(c.dst);
    return s;
}

ptq_status ptq_cpu_peaks(const ptq_cpu *c, ptq_peaks *out)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    ptq_peaks p = {0};
    work f = {.f32 = ptq_cpu_f32(c)}, q = {.dot = isa ? isa->dot : NULL};
    PTQ_TRY(tile_rate(c->pool, &f, &p.f32));
    p.int8 = p.f32; /* the reference has no tile of its own: plain loops, at best as fast */
    if (isa)
        PTQ_TRY(tile_rate(c->pool, &q, &p.int8));
    PTQ_TRY(copy_rate(c->pool, &p.bytes));
    snprintf(p.source, sizeof p.source,
             "measured: product tiles of %s in the first-level cache and a copy of %zu MB, on %d threads",
             ptq_isa_name(c->isa), COPY / 1000000, ptq_pool_threads(c->pool));
    *out = p;
    return PTQ_OK;
}
