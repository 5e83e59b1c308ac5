/* SPDX-License-Identifier: Apache-2.0 */
/* Integer products on the device: every row of lib/gpu/gemm.def on the shapes that decide the speed of
 * networks, with random data, replayed from a CUDA graph, operands rotating over more memory than the
 * second-level cache holds. Prints the median and spread of microseconds, operations and bytes per
 * second, and the fraction of the limit max(bytes / 4.19 TB/s, operations / 1300 TOPS). Results are
 * proven by tests/test_gpu_gemm and tests/test_gpu_wide, not here. First depthwise convolution, quantize
 * and maximum pooling, which the memory limits (`memory`: them alone).
 *     bench_gpu [ROW | all | memory [SHAPE]]
 * SHAPE: part of a shape's name. */
#include "bench/gpu_kit.h"
#include "lib/gpu/stem.h"

typedef struct shape {
    const char *name;
    int images, hw, c, n, kernel, stride;
} shape;

static const shape shapes[] = {
    {"GEMM 8192 x 8192 x 8192", 8192, 1, 8192, 8192, 1, 1},
    {"GEMM 4096 x 4096 x 4096", 4096, 1, 4096, 4096, 1, 1},
    {"GEMM 49152 x 3072 x 768", 49152, 1, 768, 3072, 1, 1},
    {"GEMM 49152 x 768 x 768", 49152, 1, 768, 768, 1, 1},
    {"GEMM 128 x 768 x 3072", 128, 1, 3072, 768, 1, 1},
    {"1x1 56 64->256", 256, 56, 64, 256, 1, 1},
    {"1x1 56 64->64", 256, 56, 64, 64, 1, 1},
    {"1x1 28 128->512", 256, 28, 128, 512, 1, 1},
    {"1x1 14 256->1024", 256, 14, 256, 1024, 1, 1},
    {"1x1 14 1024->256", 256, 14, 1024, 256, 1, 1},
    {"1x1 7 512->2048", 256, 7, 512, 2048, 1, 1},
    {"3x3 56 64->64", 256, 56, 64, 64, 3, 1},
    {"3x3 28 128->128", 256, 28, 128, 128, 3, 1},
    {"3x3 14 256->256", 256, 14, 256, 256, 3, 1},
    {"3x3 7 512->512", 256, 7, 512, 512, 3, 1},
    {"3x3/2 28 256->256", 256, 28, 256, 256, 3, 2},
    {"7x7/2 224 4->64", 256, 224, 4, 64, 7, 2},
    {"7x7/2 224 4->64 batch 1", 1, 224, 4, 64, 7, 2},
    {"1x1 14 256->1024 batch 1", 1, 14, 256, 1024, 1, 1},
    {"3x3 7 512->512 batch 1", 1, 7, 512, 512, 3, 1},
};

typedef struct product {
    const ptq_k_gemm_row *row;
    const ptq_k_gemm *a;
} product;

static ptq_status run_product(ptq_dev *d, const void *arg)
{
    const product *p = arg;
    return p->row->run(d, p->a);
}

static double time_row(const ptq_k_gemm_row *row, const ptq_k_gemm *sets, int nsets, double *spread)
{
    product p[SETS];
    work w = {.run = run_product, .sets = nsets};
    for (int i = 0; i < nsets; i++) {
        p[i] = (product){row, &sets[i]};
        w.arg[i] = &p[i];
    }
    return time_work(&w, spread);
}

static ptq_status run_pooled(ptq_dev *d, const void *arg)
{
    const ptq_k_pooled *a = arg;
    return ptq_k_pooled_fast(d, a)(d, a);
}

/* The same convolutions with a maximum over windows of 3 x 3, stride 2, behind them. */
static void bench_pooled(const shape *s, const ptq_k_gemm *sets, int nsets)
{
    ptq_k_pooled a[SETS];
    char name[64];
    int out = (sets[0].out_h - 1) / 2 + 1;
    work w = {.run = run_pooled, .sets = nsets};
    for (int i = 0; i < nsets; i++) {
        a[i] = (ptq_k_pooled){.conv = sets[i], .out_h = out, .out_w = out, .kernel_h = 3, .kernel_w = 3, .stride_h = 2,
                              .stride_w = 2, .dil_h = 1, .dil_w = 1, .pad_h = 1, .pad_w = 1};
        w.arg[i] = &a[i];
    }
    snprintf(name, sizeof name, "%s, maxpool", s->name);
    if (ptq_k_pooled_fast(dev, &a[0]))
        report(name, &w, (double)s->images * ((double)s->hw * s->hw * s->c + (double)out * out * s->n));
}

static void run_shape(const shape *s, const char *only)
{
    ptq_k_gemm sets[SETS];
    int pad = s->kernel / 2, out = (s->hw + 2 * pad - s->kernel) / s->stride + 1, k = s->kernel * s->kernel * s->c;
    int width = s->c == 4 ? (s->kernel + 3) / 4 * 4 : s->kernel;
    int kpad = (s->kernel * width * s->c + PTQ_K_GEMM_K - 1) / PTQ_K_GEMM_K * PTQ_K_GEMM_K;
    int npad = (s->n + PTQ_K_GEMM_N - 1) / PTQ_K_GEMM_N * PTQ_K_GEMM_N;
    int64_t m = (int64_t)s->images * out * out, in = (int64_t)s->images * s->hw * s->hw * s->c;
    double bytes = (double)in + (double)s->n * k + (double)m * s->n, ops = 2.0 * (double)m * s->n * k;
    int nsets = sets_of(bytes);
    float *mult = malloc((size_t)npad * sizeof *mult);
    int32_t *bias = malloc((size_t)npad * sizeof *bias);
    ptq_rng rng;
    if (!mult || !bias)
        exit(1);
    ptq_rng_seed(&rng, 8);
    for (int i = 0; i < npad; i++) {
        mult[i] = 0.001f;
        bias[i] = (int32_t)(ptq_rng_u64(&rng) % 65536) - 32768;
    }
    for (int i = 0; i < nsets; i++) {
        sets[i] = (ptq_k_gemm){.x = random_bytes((size_t)in, 1 + (uint64_t)i), .m = m, .n = s->n, .npad = npad,
                               .w = random_bytes((size_t)npad * (size_t)kpad, 100 + (uint64_t)i), .kpad = kpad,
                               .c = s->c, .in_h = s->hw, .in_w = s->hw, .out_h = out, .out_w = out,
                               .kernel_h = s->kernel, .kernel_w = s->kernel, .stride_h = s->stride,
                               .stride_w = s->stride, .dil_h = 1, .dil_w = 1, .pad_h = pad, .pad_w = pad,
                               .lo = -128, .hi = 127, .x_signed = 1, .padded = pad > 0,
                               .zero = random_bytes(16, 7), .near = ptq_k_gemm_is_near(bias, mult, npad, kpad)};
        void *y, *mu, *b;
        must(ptq_dev_alloc(dev, (size_t)(m * s->n), &y));
        must(ptq_dev_alloc(dev, (size_t)npad * 4, &mu));
        must(ptq_dev_upload(dev, mu, mult, (size_t)npad * 4));
        must(ptq_dev_alloc(dev, (size_t)npad * 4, &b));
        must(ptq_dev_upload(dev, b, bias, (size_t)npad * 4));
        sets[i].bias = b;
        sets[i].y = y;
        sets[i].mult = mu;
    }
    free(mult);
    free(bias);
    double limit = bytes / 4.19e12 > ops / 1.3e15 ? bytes / 4.19e12 : ops / 1.3e15;
    const ptq_k_gemm_row *chosen = ptq_k_gemm_choose(dev, &sets[0]);
    for (int i = 0; ptq_k_gemm_at(i); i++) {
        const ptq_k_gemm_row *row = ptq_k_gemm_at(i);
        double spread;
        if ((only && strcmp(only, row->name) != 0) || !row->supports(dev, &sets[0]))
            continue;
        double us = time_row(row, sets, nsets, &spread);
        printf("%-26s %-14s%s %9.1f us (%4.1f %%) %7.0f TOPS %6.2f TB/s %5.1f %% of the limit\n", s->name, row->name,
               row == chosen ? "*" : " ", us, 100 * spread, ops / us * 1e-6, bytes / us * 1e-6, limit * 1e8 / us);
        fflush(stdout);
    }
    if (s->c == 4 && !only)
        bench_pooled(s, sets, nsets);
    for (int i = 0; i < nsets; i++) {
        const void *list[] = {sets[i].x, sets[i].w, sets[i].y, sets[i].zero, sets[i].bias, sets[i].mult};
        for (size_t j = 0; j < PTQ_COUNT(list); j++)
            ptq_dev_free(dev, (void *)(uintptr_t)list[j]);
    }
}

/* ---- steps that the memory limits ---- */

static ptq_status run_depthwise(ptq_dev *d, const void *a)
{
    return ptq_k_run_depthwise(d, a);
}

static ptq_status run_quantize(ptq_dev *d, const void *a)
{
    return ptq_k_run_quantize(d, a);
}

static ptq_status run_maxpool(ptq_dev *d, const void *a)
{
    return ptq_k_run_qmaxpool(d, a);
}

static void bench_depthwise(const char *name, int images, int hw, int c, int kernel, int stride)
{
    ptq_k_depthwise a[SETS];
    int out = (hw + 2 * (kernel / 2) - kernel) / stride + 1;
    size_t nx = (size_t)images * (size_t)hw * (size_t)hw * (size_t)c;
    size_t ny = (size_t)images * (size_t)out * (size_t)out * (size_t)c;
    work w = {.run = run_depthwise, .sets = sets_of((double)(nx + ny))};
    for (int i = 0; i < w.sets; i++) {
        a[i] = (ptq_k_depthwise){.x = random_bytes(nx, (uint64_t)i), .y = space(ny), .batch = images, .c = c, .cpad = c,
                                 .w = random_bytes((size_t)(kernel * kernel * c), 9), .in_h = hw, .in_w = hw,
                                 .bias = random_bytes((size_t)c * 4, 10), .mult = random_bytes((size_t)c * 4, 11),
                                 .out_h = out, .out_w = out, .kernel_h = kernel, .kernel_w = kernel,
                                 .stride_h = stride, .stride_w = stride, .dil_h = 1, .dil_w = 1,
                                 .pad_h = kernel / 2, .pad_w = kernel / 2, .zx = -128, .zy = -128, .lo = -128,
                                 .hi = 127, .x_signed = 1};
        w.arg[i] = &a[i];
    }
    report(name, &w, (double)(nx + ny));
    for (int i = 0; i < w.sets; i++) {
        const void *list[] = {a[i].x, a[i].w, a[i].y, a[i].bias, a[i].mult};
        for (size_t j = 0; j < PTQ_COUNT(list); j++)
            ptq_dev_free(dev, (void *)(uintptr_t)list[j]);
    }
}

/* planes: 0, or those of images that become pixels. */
static void bench_quantize(const char *name, int64_t n, int64_t pixels, int64_t planes)
{
    ptq_k_quant a[SETS];
    work w = {.run = run_quantize, .sets = sets_of(5.0 * (double)n)};
    for (int i = 0; i < w.sets; i++) {
        a[i] = (ptq_k_quant){.x = random_bytes((size_t)n * 4, (uint64_t)i), .y = space((size_t)n), .n = n,
                             .rows = planes ? pixels : 0, .cols = planes, .inner = 1, .channels = 1,
                             .one_scale = 0.02f, .one_zp = -3, .lo = -128, .hi = 127, .bytes = 1, .sgn = 1,
                             .lanes = planes ? 1 : 4};
        w.arg[i] = &a[i];
    }
    report(name, &w, 5.0 * (double)n);
    for (int i = 0; i < w.sets; i++) {
        ptq_dev_free(dev, (void *)(uintptr_t)a[i].x);
        ptq_dev_free(dev, a[i].y);
    }
}

static void bench_maxpool(const char *name, int images, int hw, int c)
{
    ptq_k_pool a[SETS];
    int out = (hw - 1) / 2 + 1;
    size_t nx = (size_t)images * (size_t)hw * (size_t)hw * (size_t)c;
    size_t ny = (size_t)images * (size_t)out * (size_t)out * (size_t)c;
    work w = {.run = run_maxpool, .sets = sets_of((double)(nx + ny))};
    for (int i = 0; i < w.sets; i++) {
        a[i] = (ptq_k_pool){.x = random_bytes(nx, (uint64_t)i), .y = space(ny), .n = images, .groups = c / 4,
                            .pixels = (int64_t)out * out, .in = {1, hw, hw}, .out = {1, out, out},
                            .kernel = {1, 3, 3}, .stride = {1, 2, 2}, .dilation = {1, 1, 1}, .pad = {0, 1, 1},
                            .x_ns = (int64_t)hw * hw * c, .x_cs = 1, .x_ps = c, .y_ns = (int64_t)out * out * c,
                            .y_cs = 1, .y_ps = c, .lanes = 4, .sgn = 1};
        w.arg[i] = &a[i];
    }
    report(name, &w, (double)(nx + ny));
    for (int i = 0; i < w.sets; i++) {
        ptq_dev_free(dev, (void *)(uintptr_t)a[i].x);
        ptq_dev_free(dev, a[i].y);
    }
}

static void bench_memory(void)
{
    bench_depthwise("depthwise 112 32", 256, 112, 32, 3, 1);
    bench_depthwise("depthwise 112 96 /2", 256, 112, 96, 3, 2);
    bench_depthwise("depthwise 56 144", 256, 56, 144, 3, 1);
    bench_depthwise("depthwise 56 144 /2", 256, 56, 144, 3, 2);
    bench_depthwise("depthwise 28 192", 256, 28, 192, 3, 1);
    bench_depthwise("depthwise 14 384", 256, 14, 384, 3, 1);
    bench_depthwise("depthwise 14 576", 256, 14, 576, 3, 1);
    bench_depthwise("depthwise 7 960", 256, 7, 960, 3, 1);
    bench_depthwise("depthwise 5x5 28 240", 256, 28, 240, 5, 1);
    bench_depthwise("depthwise 5x5 28 240 /2", 256, 28, 240, 5, 2);
    bench_depthwise("depthwise 56 144 batch 1", 1, 56, 144, 3, 1);
    bench_quantize("quantize 256x197x768", 256 * 197 * 768, 0, 0);
    bench_quantize("quantize 256 images 224", 256 * 3 * 224 * 224, 224 * 224, 3);
    bench_maxpool("maxpool 112 64", 256, 112, 64);
}

int main(int argc, char **argv)
{
    char text[256];
    must(ptq_dev_open(0, &dev));
    ptq_dev_describe(0, text, sizeof text);
    printf("%s\n", text);
    if (argc < 2 || strcmp(argv[1], "memory") == 0)
        bench_memory();
    for (size_t i = 0; i < PTQ_COUNT(shapes) && (argc < 2 || strcmp(argv[1], "memory") != 0); i++)
        if (argc < 3 || strstr(shapes[i].name, argv[2]))
            run_shape(&shapes[i], argc > 1 && strcmp(argv[1], "all") != 0 ? argv[1] : NULL);
    ptq_dev_close(dev);
    return 0;
}
