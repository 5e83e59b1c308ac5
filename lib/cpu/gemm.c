/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/cpu/gemm.h"

#include <stdlib.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

/* Blocks, in elements. A K block of one B panel (48 x 256 floats, 48 KB) and of the A panels that
 * pass by it stay in the second-level cache; longer blocks save little on reading C again. */
enum { KC = 256, NC = 4 * PTQ_B_PANEL, MC = 8 * PTQ_A_PANEL, C_FLOATS = 1 << 17 };

static int64_t div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- packing ---- */

size_t ptq_gemm_packed_a_floats(int64_t m, int64_t k)
{
    return (size_t)(div_up(m, PTQ_A_PANEL) * PTQ_A_PANEL * k);
}

size_t ptq_gemm_packed_b_floats(int64_t n, int64_t k)
{
    return (size_t)(div_up(n, PTQ_B_PANEL) * PTQ_B_PANEL * k);
}

/* Transposes 16 rows in squares of 4 x 4; returns how many k are done. */
static int64_t pack_squares(const float *src, int64_t row, int64_t kc, float *dst)
{
    int64_t done = 0;
#if defined(__SSE__)
    for (; done + 4 <= kc; done += 4)
        for (int r = 0; r < PTQ_A_PANEL; r += 4) {
            const float *p = src + r * row + done;
            float *d = dst + done * PTQ_A_PANEL + r;
            __m128 a0 = _mm_loadu_ps(p), a1 = _mm_loadu_ps(p + row);
            __m128 a2 = _mm_loadu_ps(p + 2 * row), a3 = _mm_loadu_ps(p + 3 * row);
            _MM_TRANSPOSE4_PS(a0, a1, a2, a3);
            _mm_storeu_ps(d, a0);
            _mm_storeu_ps(d + PTQ_A_PANEL, a1);
            _mm_storeu_ps(d + 2 * PTQ_A_PANEL, a2);
            _mm_storeu_ps(d + 3 * PTQ_A_PANEL, a3);
        }
#else
    (void)src;
    (void)row;
    (void)kc;
    (void)dst;
#endif
    return done;
}

void ptq_gemm_pack_a(const float *a, int64_t row, int64_t col, int64_t m, int64_t i0, int64_t k0,
                     int64_t kc, float *dst)
{
    int rows = (int)min64(m - i0, PTQ_A_PANEL);
    const float *src = a + i0 * row + k0 * col;
    if (rows < PTQ_A_PANEL)
        memset(dst, 0, (size_t)kc * PTQ_A_PANEL * sizeof *dst);
    if (row == 1) {
        for (int64_t k = 0; k < kc; k++)
            memcpy(dst + k * PTQ_A_PANEL, src + k * col, (size_t)rows * sizeof *dst);
        return;
    }
    int64_t done = col == 1 && rows == PTQ_A_PANEL ? pack_squares(src, row, kc, dst) : 0;
    for (int r = 0; r < rows; r++)
        for (int64_t k = done; k < kc; k++)
            dst[k * PTQ_A_PANEL + r] = src[r * row + k * col];
}

void ptq_gemm_pack_all_a(const float *a, int64_t row, int64_t col, int64_t m, int64_t k, float *dst)
{
    for (int64_t i = 0; i < m; i += PTQ_A_PANEL)
        ptq_gemm_pack_a(a, row, col, m, i, 0, k, dst + i * k);
}

static void pack_b(const float *b, int64_t row, int64_t col, int64_t k0, int64_t kc, int64_t j0,
                   int nj, float *dst, int64_t ld)
{
    const float *src = b + k0 * row + j0 * col;
    int pad = (nj + 15) / 16 * 16;
    if (col == 1) {
        for (int64_t k = 0; k < kc; k++) {
            if (nj == PTQ_B_PANEL) { /* a constant size needs no call */
                memcpy(dst + k * ld, src + k * row, PTQ_B_PANEL * sizeof *dst);
                continue;
            }
            memcpy(dst + k * ld, src + k * row, (size_t)nj * sizeof *dst);
            for (int j = nj; j < pad; j++)
                dst[k * ld + j] = 0.0f;
        }
        return;
    }
    for (int j = 0; j < pad; j++)
        for (int64_t k = 0; k < kc; k++)
            dst[k * ld + j] = j < nj ? src[j * col + k * row] : 0.0f;
}

void ptq_gemm_pack_all_b(const float *b, int64_t row, int64_t col, int64_t n, int64_t k, float *dst)
{
    for (int64_t j = 0; j < n; j += PTQ_B_PANEL)
        pack_b(b, row, col, 0, k, j, (int)min64(n - j, PTQ_B_PANEL), dst + j * k, PTQ_B_PANEL);
}

/* ---- one task: a block of rows and columns of one job ---- */

typedef struct run {
    const ptq_f32_fns *f;
    const ptq_gemm_plan *p;
    int64_t mb, nb;           /* rows and columns per task */
    int64_t mtasks, ntasks;
    bool own_a, own_b;        /* packed by the task */
    bool own_c;               /* columns that do not lie side by side: chains rest in a block */
    char *scratch;
    size_t per_worker, b_at, c_at, pack_at; /* A block at 0 */
} run;

static float *column(const ptq_gemm_job *j, int64_t col)
{
    return j->c + col / j->image * j->image_next + col % j->image;
}

/* Copies n columns from `col` on between C and buf (rows ld apart), run by run. */
static void copy_columns(const ptq_gemm_job *j, int64_t col, int64_t n, int64_t rows, float *buf,
                         int64_t ld, bool to_c)
{
    for (int64_t i = 0; i < rows; i++, buf += ld) {
        int64_t at = col % j->image;
        float *c = column(j, col) + i * j->ldc;
        for (int64_t x = 0; x < n;) {
            int64_t w = min64(n - x, j->image - at);
            for (int64_t l = 0; l < w; l++) {
                if (to_c)
                    c[l] = buf[x + l];
                else
                    buf[x + l] = c[l];
            }
            x += w;
            c += j->image_next - at;
            at = 0;
        }
    }
}

/* A tile whose columns do not lie side by side in C, or reach past its end, goes through a copy. */
static void tile_by_copy(const run *r, const ptq_gemm_job *j, ptq_f32_tile *t, int64_t col, int n)
{
    float buf[PTQ_A_PANEL * PTQ_B_PANEL], bias[PTQ_B_PANEL];
    t->ldc = PTQ_B_PANEL;
    t->c = buf;
    if (t->bias_col) {
        memset(bias, 0, sizeof bias);
        memcpy(bias, t->bias_col, (size_t)n * sizeof *bias);
        t->bias_col = bias;
    }
    if (!t->first) { /* the columns past the end are computed too; keep them defined */
        for (int i = 0; i < t->rows; i++)
            for (int x = n; x < t->nv * r->f->lanes; x++)
                buf[i * PTQ_B_PANEL + x] = 0.0f;
        copy_columns(j, col, n, t->rows, buf, PTQ_B_PANEL, false);
    }
    r->f->tile(t);
    copy_columns(j, col, n, t->rows, buf, PTQ_B_PANEL, true);
}

/* Rows [i0, i0 + rows) of one A panel times columns [col, col + n) of one B panel. */
static void panel_product(const run *r, const ptq_gemm_job *j, ptq_f32_tile *t, int64_t i0,
                          int rows, int64_t col, int n, const float *a, const float *b)
{
    const ptq_f32_fns *f = r->f;
    int64_t ldc = j->ldc;
    for (int x = 0; x < n; x += f->tile_cols) {
        int w = n - x < f->tile_cols ? n - x : f->tile_cols;
        t->nv = (w + f->lanes - 1) / f->lanes;
        bool flat = r->own_c || (w == t->nv * f->lanes &&
                                 (col + x + w <= j->image ||
                                  (col + x) / j->image == (col + x + w - 1) / j->image));
        float *base = column(j, col + x);
        int step = t->nv == 1 ? f->tile_rows_narrow : f->tile_rows;
        for (int i = 0; i < rows; i += step) {
            t->rows = rows - i < step ? rows - i : step;
            t->a = a + i;
            t->b = b + x;
            t->bias_row = j->bias_row ? j->bias_row + i0 + i : NULL;
            t->bias_col = j->bias_col ? j->bias_col + col + x : NULL;
            t->ldc = ldc;
            t->c = base + (i0 + i) * ldc;
            if (flat) {
                f->tile(t);
            } else {
                ptq_gemm_job sub = *j;
                sub.c = j->c + (i0 + i) * ldc;
                tile_by_copy(r, &sub, t, col + x, w);
            }
        }
    }
}

static const float *take_b(const run *r, const ptq_gemm_job *j, int64_t job, int64_t k0, int64_t kc,
                           int64_t col, int n, char *work)
{
    const ptq_gemm_plan *p = r->p;
    if (!r->own_b)
        return j->pb + col * p->k + k0 * PTQ_B_PANEL;
    float *dst = (float *)(void *)(work + r->b_at);
    if (p->pack_b)
        p->pack_b(p->ctx, job, k0, kc, col, n, dst, PTQ_B_PANEL, work + r->pack_at);
    else
        pack_b(j->b, j->b_row, j->b_col, k0, kc, col, n, dst, PTQ_B_PANEL);
    return dst;
}

static ptq_status task(void *arg, size_t index, int worker)
{
    const run *r = arg;
    const ptq_gemm_plan *p = r->p;
    int64_t job = (int64_t)index / (r->mtasks * r->ntasks);
    int64_t rest = (int64_t)index % (r->mtasks * r->ntasks);
    int64_t i0 = rest % r->mtasks * r->mb, j0 = rest / r->mtasks * r->nb;
    int64_t i1 = min64(i0 + r->mb, p->m), j1 = min64(j0 + r->nb, p->n);
    char *work = r->scratch + (size_t)worker * r->per_worker;
    float *abuf = (float *)(void *)work;
    ptq_gemm_job j = {0};
    p->job(p->ctx, job, &j);
    ptq_gemm_job block = j; /* where the chains rest, columns from j0 on */
    float *cbuf = (float *)(void *)(work + r->c_at);
    if (r->own_c) {
        block.c = cbuf;
        block.ldc = block.image = r->nb;
        block.bias_row = j.bias_row ? j.bias_row + i0 : NULL;
    }
    for (int64_t k0 = 0; k0 < p->k || k0 == 0; k0 += KC) {
        int64_t kc = min64(p->k - k0, KC);
        ptq_f32_tile t = {.kc = kc, .ldb = PTQ_B_PANEL, .first = k0 == 0,
                          .last = k0 + kc == p->k, .fetch = !r->own_a, .act = p->act};
        if (r->own_a)
            for (int64_t i = i0; i < i1; i += PTQ_A_PANEL)
                ptq_gemm_pack_a(j.a, j.a_row, j.a_col, p->m, i, k0, kc, abuf + (i - i0) * kc);
        for (int64_t col = j0; col < j1; col += PTQ_B_PANEL) {
            int n = (int)min64(j1 - col, PTQ_B_PANEL);
            const float *b = take_b(r, &j, job, k0, kc, col, n, work);
            for (int64_t i = i0; i < i1; i += PTQ_A_PANEL) {
                const float *a = r->own_a ? abuf + (i - i0) * kc
                                          : j.pa + i * p->k + k0 * PTQ_A_PANEL;
                int rows = (int)min64(i1 - i, PTQ_A_PANEL);
                if (r->own_c)
                    panel_product(r, &block, &t, i - i0, rows, col - j0, n, a, b);
                else
                    panel_product(r, &j, &t, i, rows, col, n, a, b);
            }
        }
    }
    if (r->own_c) {
        ptq_gemm_job rows = j;
        rows.c = j.c + i0 * j.ldc;
        copy_columns(&rows, j0, j1 - j0, i1 - i0, cbuf, r->nb, true);
    }
    return PTQ_OK;
}

/* ---- few columns: lanes are rows ---- */

typedef struct run_t {
    const ptq_f32_fns *f;
    const ptq_gemm_plan *p;
    ptq_gemm_job job;
    const float *b; /* [k][16] */
} run_t;

static ptq_status task_t(void *arg, size_t index, int worker)
{
    (void)worker;
    const run_t *r = arg;
    const ptq_gemm_plan *p = r->p;
    const ptq_gemm_job *j = &r->job;
    float buf[8 * 32];
    int64_t i0 = (int64_t)index * r->f->tile_t_rows;
    int rows = (int)min64(p->m - i0, r->f->tile_t_rows);
    bool wide = r->f->tile_t_rows > PTQ_A_PANEL; /* two panels at a time */
    for (int64_t col = 0; col < p->n; col += r->f->tile_t_cols) {
        ptq_f32_tile_t t = {.n = (int)min64(p->n - col, r->f->tile_t_cols), .kc = p->k,
                            .a = j->pa + i0 * p->k, .b = r->b + col, .ldb = PTQ_A_PANEL, .c = buf};
        t.a_next = !wide ? r->f->lanes : rows > PTQ_A_PANEL ? PTQ_A_PANEL * p->k : 0;
        r->f->tile_t(&t);
        for (int x = 0; x < t.n; x++) {
            float *c = column(j, col + x);
            for (int i = 0; i < rows; i++) {
                float v = buf[x * 32 + i];
                if (j->bias_row)
                    v += j->bias_row[i0 + i];
                if (j->bias_col)
                    v += j->bias_col[col + x];
                c[(i0 + i) * j->ldc] = p->act.on ? ptq_fclamp(v, p->act.lo, p->act.hi) : v;
            }
        }
    }
    return PTQ_OK;
}

static size_t few_columns_b_bytes(const ptq_gemm_plan *p)
{
    return ((size_t)p->k * PTQ_A_PANEL * sizeof(float) + 63) / 64 * 64;
}

static ptq_status run_few_columns(ptq_cpu *c, const ptq_gemm_plan *p, const ptq_gemm_job *j,
                                  char *s)
{
    float *b = (float *)(void *)s;
    if (p->pack_b)
        p->pack_b(p->ctx, 0, 0, p->k, 0, (int)p->n, b, PTQ_A_PANEL, s + few_columns_b_bytes(p));
    else
        pack_b(j->b, j->b_row, j->b_col, 0, p->k, 0, (int)p->n, b, PTQ_A_PANEL);
    run_t r = {.f = ptq_cpu_f32(c), .p = p, .job = *j, .b = b};
    return ptq_pool_for(c->pool, (size_t)div_up(p->m, r.f->tile_t_rows), task_t, &r);
}

/* ---- the plan ---- */

/* Blocks so large that packing is shared, so small that every thread has work. */
static void choose_blocks(const ptq_cpu *c, run *r)
{
    const ptq_gemm_plan *p = r->p;
    int64_t want = ptq_pool_threads(c->pool) > 1 ? 3 * (int64_t)ptq_pool_threads(c->pool) : 1;
    r->nb = NC;
    r->mb = r->own_a ? MC : div_up(p->m, PTQ_A_PANEL) * PTQ_A_PANEL;
    if (r->own_a && !r->own_b)
        r->nb = 4 * NC; /* A is packed by each task: let it serve more columns */
    while (r->own_c && r->nb > PTQ_B_PANEL && r->mb * r->nb > C_FLOATS)
        r->nb -= PTQ_B_PANEL;
    for (;;) {
        r->mtasks = div_up(p->m, r->mb);
        r->ntasks = div_up(p->n, r->nb);
        if (p->njobs * r->mtasks * r->ntasks >= want)
            break;
        if (r->nb > PTQ_B_PANEL && p->n > PTQ_B_PANEL)
            r->nb = div_up(r->nb / 2, PTQ_B_PANEL) * PTQ_B_PANEL;
        else if (r->mb > 2 * PTQ_A_PANEL && p->m > 2 * PTQ_A_PANEL)
            r->mb = div_up(min64(r->mb, p->m) / 2, PTQ_A_PANEL) * PTQ_A_PANEL;
        else
            break;
    }
}

static bool few_columns(const ptq_gemm_plan *p, const ptq_gemm_job *j, const ptq_f32_fns *f)
{
    return p->njobs == 1 && p->n < PTQ_A_PANEL && j->pa && !j->pb && f->tile_t;
}

/* Blocks and the layout of the scratch memory; returns its size. */
static size_t lay_out(const ptq_cpu *c, const ptq_gemm_job *j, run *r)
{
    const ptq_gemm_plan *p = r->p;
    int64_t kc = min64(p->k, KC);
    r->own_a = !j->pa;
    r->own_b = !j->pb;
    r->own_c = j->image < p->n && !j->bias_col;
    choose_blocks(c, r);
    r->b_at = r->own_a ? (size_t)(r->mb * kc) * sizeof(float) : 0;
    r->c_at = r->b_at + (r->own_b ? (size_t)(PTQ_B_PANEL * kc) * sizeof(float) : 0);
    r->pack_at = r->c_at + (r->own_c ? (size_t)(r->mb * r->nb) * sizeof(float) : 0);
    r->per_worker = (r->pack_at + p->pack_bytes + 127) / 64 * 64;
    return r->per_worker * (size_t)ptq_pool_threads(c->pool);
}

size_t ptq_gemm_scratch_bytes(const ptq_cpu *c, const ptq_gemm_plan *p)
{
    if (p->m == 0 || p->n == 0 || p->njobs == 0)
        return 0;
    run r = {.f = ptq_cpu_f32(c), .p = p};
    ptq_gemm_job j = {0};
    p->job(p->ctx, 0, &j);
    if (few_columns(p, &j, r.f))
        return few_columns_b_bytes(p) + p->pack_bytes;
    return lay_out(c, &j, &r);
}

ptq_status ptq_gemm_run(ptq_cpu *c, const ptq_gemm_plan *p)
{
    if (p->m == 0 || p->n == 0 || p->njobs == 0)
        return PTQ_OK;
    run r = {.f = ptq_cpu_f32(c), .p = p};
    ptq_gemm_job j = {0};
    p->job(p->ctx, 0, &j);
    r.scratch = p->scratch ? p->scratch : ptq_cpu_scratch(c, ptq_gemm_scratch_bytes(c, p));
    if (!r.scratch)
        return ptq_fail_nomem();
    if (few_columns(p, &j, r.f))
        return run_few_columns(c, p, &j, r.scratch);
    lay_out(c, &j, &r);
    return ptq_pool_for(c->pool, (size_t)(p->njobs * r.mtasks * r.ntasks), task, &r);
}

/* ---- the plain product of cpu.h ---- */

static void plain_job(const void *ctx, int64_t i, ptq_gemm_job *out)
{
    (void)i;
    const ptq_gemm_f32 *g = ctx;
    *out = (ptq_gemm_job){
        .a = g->a,
        .a_row = g->trans_a ? 1 : g->lda,
        .a_col = g->trans_a ? g->lda : 1,
        .b = g->b,
        .b_row = g->trans_b ? 1 : g->ldb,
        .b_col = g->trans_b ? g->ldb : 1,
        .c = g->c,
        .ldc = g->ldc,
        .image = g->n,
        .bias_row = g->bias_row ? g->bias : NULL,
        .bias_col = g->bias_row ? NULL : g->bias,
    };
}

ptq_status ptq_cpu_gemm_f32(ptq_cpu *c, const ptq_gemm_f32 *g)
{
    ptq_gemm_plan p = {.m = g->m, .n = g->n, .k = g->k, .njobs = 1, .job = plain_job, .ctx = g,
                       .act = g->act};
    return ptq_gemm_run(c, &p);
}
