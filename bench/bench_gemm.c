/* SPDX-License-Identifier: Apache-2.0 */
/* fp32 products in GFLOP/s beside the rate of the inner tile on operands in the first-level
 * cache (the multiply-add rate of one core). usage: bench_gemm [isa] [threads]. Times are processor time of the calling
 * thread for one thread (other work on the machine counts less), wall time otherwise. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/cpu/gemm.h"

static int threads = 1;

static double now(void)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *draw(size_t n)
{
    float *p = ptq_alloc_aligned(n * sizeof *p);
    ptq_rng r;
    ptq_rng_seed(&r, n);
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(7);
    }
    for (size_t i = 0; i < n; i++)
        p[i] = ptq_rng_uniform(&r) - 0.5f;
    return p;
}

/* The tile itself on operands in the first-level cache: the rate that the product could reach. */
enum { KC = 128 };

static double tile_rate(const ptq_f32_fns *f)
{
    float *a = draw(PTQ_A_PANEL * KC), *b = draw(PTQ_B_PANEL * KC), *c = draw(8 * PTQ_B_PANEL);
    ptq_f32_tile t = {.rows = f->tile_rows, .nv = f->tile_cols / f->lanes, .kc = KC, .a = a, .b = b,
                      .ldb = PTQ_B_PANEL, .c = c, .ldc = PTQ_B_PANEL, .first = true};
    double best = 1e9, flops = 2.0 * KC * f->tile_rows * f->tile_cols * 20;
    for (int i = 0; i < 1000; i++) {
        double s = now();
        for (int k = 0; k < 20; k++)
            f->tile(&t);
        s = now() - s;
        best = s < best ? s : best;
    }
    free(a);
    free(b);
    free(c);
    return flops / best * 1e-9;
}

typedef struct product {
    const float *pa, *b;
    float *c;
    int64_t n;
} product;

static void job(const void *ctx, int64_t i, ptq_gemm_job *out)
{
    const product *p = ctx;
    (void)i;
    *out = (ptq_gemm_job){.pa = p->pa, .b = p->b, .b_row = p->n, .b_col = 1, .c = p->c,
                          .ldc = p->n, .image = p->n};
}

static double rate(ptq_cpu *c, int64_t m, int64_t n, int64_t k)
{
    float *a = draw((size_t)(m * k)), *b = draw((size_t)(k * n)), *y = draw((size_t)(m * n));
    float *pa = draw(ptq_gemm_packed_a_floats(m, k));
    ptq_gemm_pack_all_a(a, k, 1, m, k, pa);
    product x = {pa, b, y, n};
    ptq_gemm_plan p = {.m = m, .n = n, .k = k, .njobs = 1, .job = job, .ctx = &x};
    double best = 1e9, start = ptq_now();
    for (int i = 0; i < 5 || ptq_now() - start < 0.3; i++) {
        double s = now();
        if (ptq_gemm_run(c, &p) != PTQ_OK)
            exit(1);
        s = now() - s;
        best = s < best ? s : best;
    }
    free(a);
    free(b);
    free(y);
    free(pa);
    return 2.0 * (double)m * (double)n * (double)k / best * 1e-9;
}

int main(int argc, char **argv)
{
    /* output channels, pixels, input channels x kernel of ResNet-50 at 64 x 64 and batch 16 or 1 */
    static const int64_t shapes[][3] = {
        {64, 4096, 64},   {64, 4096, 576},  {256, 4096, 64},  {128, 4096, 1152}, {512, 1024, 128},
        {256, 1024, 2304}, {1024, 1024, 256}, {512, 256, 4608}, {2048, 256, 512}, {512, 16, 4608},
        {2048, 4, 512},   {192, 65, 192},   {576, 16, 96},   {96, 16, 576}, {144, 256, 24}, {24, 256, 144}, {1000, 1, 2048},  {1024, 1024, 1024},
    };
    ptq_cpu c = {.isa = ptq_isa_best()};
    if (argc > 1 && ptq_isa_parse(argv[1], &c.isa) != PTQ_OK) {
        fprintf(stderr, "%s\n", ptq_last_error());
        return 2;
    }
    threads = argc > 2 ? atoi(argv[2]) : 1;
    if (ptq_pool_new(threads, &c.pool) != PTQ_OK)
        return 1;
    double peak = tile_rate(ptq_cpu_f32(&c));
    printf("%s, %d thread(s); tile in cache %.1f GFLOP/s per core\n", ptq_isa_name(c.isa), threads,
           peak);
    for (size_t i = 0; i < PTQ_COUNT(shapes); i++) {
        double r = rate(&c, shapes[i][0], shapes[i][1], shapes[i][2]);
        printf("%5lld %5lld %5lld  %7.1f GFLOP/s  %5.1f %%\n", (long long)shapes[i][0],
               (long long)shapes[i][1], (long long)shapes[i][2], r, 100 * r / (peak * threads));
    }
    ptq_pool_free(c.pool);
    free(c.scratch);
    return 0;
}
