/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a transformer on the device: products that end in float operations (every row of
 * lib/gpu/gemm.def that has them), attention, normalization to codes. Shapes of ViT-B/16 at batch 256 and
 * BERT-base at batch 128, sequence 128. Prints median and spread of microseconds and the fraction of the limit
 * max(bytes / 4.19 TB/s, operations / 1300 TOPS).
 *     bench_tails [--fast-math] [ROW | attention | norm] */
#include "bench/gpu_kit.h"
#include "lib/core/cast.h"

static bool fast; /* --fast-math: its kernels, floats as halves */

static void *numbers(size_t n, float low, float high, bool half)
{
    ptq_rng r;
    float *p = malloc(n * sizeof *p);
    size_t bytes = n * (half ? 2 : 4);
    if (!p)
        exit(1);
    ptq_rng_seed(&r, 5);
    for (size_t i = 0; i < n; i++) {
        float v = low + (high - low) * ptq_rng_uniform(&r);
        uint16_t h = ptq_float_to_half(v);
        memcpy((char *)p + i * (half ? 2 : 4), half ? (void *)&h : &v, half ? 2 : 4);
    }
    void *d = space(bytes);
    must(ptq_dev_upload(dev, d, p, bytes));
    free(p);
    return d;
}

static void *floats(size_t n, float low, float high)
{
    return numbers(n, low, high, false);
}

typedef struct tail {
    const char *name;
    int64_t m;
    int k, n, codes, gelu, add;
} tail;

static const tail tails[] = {
    {"ViT projection, codes", 50432, 768, 768, 1, 0, 0}, {"ViT projection, sum", 50432, 768, 768, 0, 0, 1},
    {"ViT mlp 1, GELU, codes", 50432, 768, 3072, 1, 1, 0}, {"ViT mlp 2, sum", 50432, 3072, 768, 0, 0, 1},
    {"BERT projection, codes", 16384, 768, 768, 1, 0, 0}, {"BERT projection, sum", 16384, 768, 768, 0, 0, 1},
    {"BERT mlp 1, GELU, codes", 16384, 768, 3072, 1, 1, 0}, {"BERT mlp 2, sum", 16384, 3072, 768, 0, 0, 1},
};

typedef struct product {
    const ptq_k_gemm_row *row;
    ptq_k_gemm a;
} product;

static ptq_status run_product(ptq_dev *d, const void *arg)
{
    const product *p = arg;
    return p->row->run(d, &p->a);
}

static void bench_tail(const tail *t, const char *only)
{
    product p[SETS];
    size_t wide = fast ? 2 : 4, unit = t->codes ? 1 : wide;
    size_t in = (size_t)t->m * (size_t)t->k, out = (size_t)t->m * (size_t)t->n;
    double bytes = (double)in + (double)t->k * t->n + (double)out * (double)(unit + (t->add ? wide : 0));
    double ops = 2.0 * (double)in * t->n, limit = bytes / 4.19e12 > ops / 1.3e15 ? bytes / 4.19e12 : ops / 1.3e15;
    work w = {.run = run_product, .sets = sets_of(bytes)};
    for (int i = 0; i < w.sets; i++) {
        p[i].a = (ptq_k_gemm){.x = random_bytes(in, 1 + (uint64_t)i), .w = random_bytes((size_t)t->n * (size_t)t->k, 9),
                              .y = space(out * unit), .zero = random_bytes(16, 7), .m = t->m, .n = t->n, .npad = t->n,
                              .kpad = t->k, .c = t->k, .in_h = 1, .in_w = 1, .out_h = 1, .out_w = 1, .kernel_h = 1,
                              .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1, .lo = -128, .hi = 127,
                              .x_signed = 1, .float_out = !t->codes};
        p[i].a.bias = random_bytes((size_t)t->n * 4, 8);
        must(ptq_dev_zero(dev, (void *)(uintptr_t)p[i].a.bias, (size_t)t->n * 4));
        float scale = 1.0f / (5500.0f * sqrtf((float)t->k)); /* results about normal */
        p[i].a.mult = floats((size_t)t->n, scale, 1.2f * scale);
        p[i].a.tail = (ptq_k_tail){.on = 1, .codes = t->codes, .gelu = t->gelu ? PTQ_GELU_NODES : 0, .factor = 1.0f,
                                   .bias = floats((size_t)t->n, -0.1f, 0.1f),
                                   .add = t->add ? numbers(out, -1.0f, 1.0f, fast) : NULL, .s = 0.03f, .tame = 1,
                                   .add_half = fast && t->add, .y_half = fast && !t->codes};
        if (fast) { /* as lib/gpu/g_linear.c makes them */
            float end = t->codes ? (t->gelu ? 0.5f : 1.0f) / 0.03f : 1.0f;
            p[i].a.tail.fast_mult = floats((size_t)t->n, end * scale, 1.2f * end * scale);
            p[i].a.tail.fast_bias = floats((size_t)t->n, -0.1f * end, 0.1f * end);
        }
        w.arg[i] = &p[i];
    }
    for (int r = 0; ptq_k_gemm_at(r); r++) {
        const ptq_k_gemm_row *row = ptq_k_gemm_at(r);
        double spread;
        if ((only && strcmp(only, row->name) != 0) || !row->supports(dev, &p[0].a) || strncmp(row->name, "mma_any", 7) == 0)
            continue;
        for (int i = 0; i < w.sets; i++)
            p[i].row = row;
        double us = time_work(&w, &spread);
        printf("%-26s %-20s %9.1f us (%4.1f %%) %7.0f TOPS %6.2f TB/s %5.1f %% of the limit\n", t->name, row->name, us,
               100 * spread, ops / us * 1e-6, bytes / us * 1e-6, limit * 1e8 / us);
        fflush(stdout);
    }
    for (int i = 0; i < w.sets; i++) {
        const void *list[] = {p[i].a.x, p[i].a.w, p[i].a.y, p[i].a.zero, p[i].a.bias, p[i].a.mult, p[i].a.tail.bias,
                              p[i].a.tail.add, p[i].a.tail.fast_mult, p[i].a.tail.fast_bias};
        for (size_t j = 0; j < PTQ_COUNT(list); j++)
            ptq_dev_free(dev, (void *)(uintptr_t)list[j]);
    }
}

static ptq_status run_attention(ptq_dev *d, const void *arg)
{
    ptq_k_attention_run f = ptq_k_attention_fast(d, arg);
    return f ? f(d, arg) : ptq_fail(PTQ_ERR_UNSUPPORTED, "no kernel");
}

/* [images][tokens][heads][d], as projections leave their results. */
static void bench_attention(const char *name, int images, int heads, int tokens, int d, bool mask)
{
    ptq_k_attention a[SETS];
    size_t n = (size_t)images * (size_t)heads * (size_t)tokens * (size_t)d;
    ptq_k_side s = {.batch = {(int64_t)tokens * heads * d, d}, .row = (int64_t)heads * d, .col = 1}, k = s;
    work w = {.run = run_attention, .sets = sets_of(4.0 * (double)n)};
    k.row = 1;
    k.col = s.row;
    for (int i = 0; i < w.sets; i++) {
        a[i] = (ptq_k_attention){.q = random_bytes(n, 1 + (uint64_t)i), .k = random_bytes(n, 2 + (uint64_t)i),
                                 .v = random_bytes(n, 3 + (uint64_t)i), .y = space(n), .nbd = 2, .m = tokens, .n = tokens,
                                 .d = d, .dv = d, .batch = (int64_t)images * heads, .bdim = {images, heads}, .qs = s,
                                 .ks = k, .vs = s, .ys = s, .q_signed = 1, .k_signed = 1, .v_signed = 1, .plo = -128,
                                 .phi = 127, .lo = -128, .hi = 127, .qk_mult = 3e-5f, .factor = 1.0f, .pv_mult = 0.001f,
                                 .sp = 1.0f / 127.0f, .sy = 0.02f, .fast = fast};
        if (mask) {
            a[i].mask = floats((size_t)images * (size_t)tokens * (size_t)tokens, 0.0f, 0.0f);
            a[i].ms = (ptq_k_side){.batch = {(int64_t)tokens * tokens, 0}, .row = tokens, .col = 1};
        }
        w.arg[i] = &a[i];
    }
    report(name, &w, 4.0 * (double)n);
    for (int i = 0; i < w.sets; i++) {
        const void *list[] = {a[i].q, a[i].k, a[i].v, a[i].y, a[i].mask};
        for (size_t j = 0; j < PTQ_COUNT(list); j++)
            ptq_dev_free(dev, (void *)(uintptr_t)list[j]);
    }
}

static ptq_status run_norm(ptq_dev *d, const void *arg)
{
    return ptq_k_run_qnorm(d, arg);
}

static void bench_norm(const char *name, int64_t rows, int64_t n, bool both)
{
    ptq_k_qnorm a[SETS];
    size_t all = (size_t)(rows * n);
    double wide = fast ? 2.0 : 4.0, bytes = (double)all * (1.0 + (both ? 2.0 * wide : wide));
    work w = {.run = run_norm, .sets = sets_of(bytes)};
    for (int i = 0; i < w.sets; i++) {
        a[i] = (ptq_k_qnorm){.x = numbers(all, -2.0f, 2.0f, fast), .fast = fast, .x_half = fast, .f_half = fast,
                             .scale = floats((size_t)n, 0.5f, 1.5f),
                             .bias = floats((size_t)n, -0.5f, 0.5f), .y = space(all), .f = both ? space(all * 4) : NULL,
                             .rows = rows, .n = n, .eps = 1e-6f, .s = 0.03f, .lo = -128, .hi = 127};
        w.arg[i] = &a[i];
    }
    report(name, &w, bytes);
    for (int i = 0; i < w.sets; i++) {
        const void *list[] = {a[i].x, a[i].scale, a[i].bias, a[i].y, a[i].f};
        for (size_t j = 0; j < PTQ_COUNT(list); j++)
            ptq_dev_free(dev, (void *)(uintptr_t)list[j]);
    }
}

int main(int argc, char **argv)
{
    char text[256];
    fast = argc > 1 && strcmp(argv[1], "--fast-math") == 0;
    const char *only = argc > 1 + fast ? argv[1 + fast] : NULL;
    bool attention = !only || strcmp(only, "attention") == 0, norm = !only || strcmp(only, "norm") == 0;
    must(ptq_dev_open(0, &dev));
    ptq_dev_describe(0, text, sizeof text);
    printf("%s\n", text);
    if (attention) {
        bench_attention("ViT attention", 256, 12, 197, 64, false);
        bench_attention("BERT attention", 128, 12, 128, 64, true);
        bench_attention("BERT attention, no mask", 128, 12, 128, 64, false);
    }
    if (norm) {
        bench_norm("ViT norm", 50432, 768, false);
        bench_norm("BERT norm, both", 16384, 768, true);
    }
    for (size_t i = 0; i < PTQ_COUNT(tails) && (!only || (!(attention || norm))); i++)
        bench_tail(&tails[i], only);
    ptq_dev_close(dev);
    return 0;
}
