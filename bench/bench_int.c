/* SPDX-License-Identifier: Apache-2.0 */
/* Billions of operations per second (a multiply-accumulate is two) of the integer kernels on
 * shapes of ResNet-50 and others, for every kernel set of this machine, beside the same product
 * in fp32.  usage: bench_int [threads] */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>

#include "tests/cpu_int.h"

typedef struct shape {
    const char *name;
    int64_t n, c, hw, m, k, stride, pad, group;
    int residual; /* PTQ_RESIDUAL_* */
} shape;

static const shape convs[] = {
    {"conv1 7x7/2 3-64 224", 1, 3, 224, 64, 7, 2, 3, 1, 0},
    {"1x1 64-64 56", 1, 64, 56, 64, 1, 1, 0, 1, 0},
    {"3x3 64-64 56", 1, 64, 56, 64, 3, 1, 1, 1, 0},
    {"1x1 64-256 56", 1, 64, 56, 256, 1, 1, 0, 1, 0},
    {"1x1 256-64 56", 1, 256, 56, 64, 1, 1, 0, 1, 0},
    {"3x3 128-128 28", 1, 128, 28, 128, 3, 1, 1, 1, 0},
    {"1x1 512-128 28", 1, 512, 28, 128, 1, 1, 0, 1, 0},
    {"3x3 256-256 14", 1, 256, 14, 256, 3, 1, 1, 1, 0},
    {"1x1 1024-256 14", 1, 1024, 14, 256, 1, 1, 0, 1, 0},
    {"3x3 512-512 7", 1, 512, 7, 512, 3, 1, 1, 1, 0},
    {"1x1 512-2048 7", 1, 512, 7, 2048, 1, 1, 0, 1, 0},
    {"1x1 64-256 32 x16", 16, 64, 32, 256, 1, 1, 0, 1, 0},
    {"  residual, rounded", 16, 64, 32, 256, 1, 1, 0, 1, PTQ_RESIDUAL_ROUNDED},
    {"  residual, float", 16, 64, 32, 256, 1, 1, 0, 1, PTQ_RESIDUAL_FLOAT},
    {"1x1 128-512 16 x16", 16, 128, 16, 512, 1, 1, 0, 1, 0},
    {"  residual, rounded", 16, 128, 16, 512, 1, 1, 0, 1, PTQ_RESIDUAL_ROUNDED},
    {"  residual, float", 16, 128, 16, 512, 1, 1, 0, 1, PTQ_RESIDUAL_FLOAT},
    {"dw 3x3 96 56", 1, 96, 56, 96, 3, 1, 1, 96, 0},
    {"dw 5x5 240 28", 1, 240, 28, 240, 5, 1, 2, 240, 0},
};

static ptq_qlinear_params params;
static float ones[4096];

static void make_conv(bed *b, const shape *s, ptq_dtype xt)
{
    int64_t o = (s->hw + 2 * s->pad - s->k) / s->stride + 1;
    *b = (bed){.kind = "qconv", .nin = 2, .constant = {false, true}, .params = &params};
    b->in[0] = bed_tensor(xt, 4, (int64_t[]){s->n, s->c, s->hw, s->hw});
    b->in[1] = bed_tensor(PTQ_DT_S8, 4, (int64_t[]){s->m, s->c / s->group, s->k, s->k});
    b->in_layout[0] = b->out_layout = PTQ_LAYOUT_NHWC;
    b->out = (ptq_tensor){.dtype = xt, .rank = 4, .dims = {s->n, s->m, o, o}};
    params.channels = s->m;
    params.nw = (int)s->m;
    params.residual = (ptq_residual_params){.kind = s->residual, .skip = {0.1f, 3}, .product = {0.1f, 5},
                                            .sum = {0.2f, 5}, .qhi = 127};
    if (s->residual) {
        b->nin = 3;
        b->in[2] = bed_tensor(xt, 4, b->out.dims);
        b->in_layout[2] = PTQ_LAYOUT_NHWC;
        memset(b->in[2].data, 0x3c, b->in[2].nbytes);
    }
    bed_ints(b, "strides", 2, (int64_t[]){s->stride, s->stride});
    bed_ints(b, "pads", 4, (int64_t[]){s->pad, s->pad, s->pad, s->pad});
    bed_int(b, "group", s->group);
    for (size_t i = 0; i < b->in[0].nbytes; i++)
        ((uint8_t *)b->in[0].data)[i] = (uint8_t)(i * 37);
    for (size_t i = 0; i < b->in[1].nbytes; i++)
        ((uint8_t *)b->in[1].data)[i] = (uint8_t)(i * 91);
}

/* Seconds of one run, packing left out: the best of several. */
static double seconds(bed *b, ptq_cpu *c)
{
    const ptq_cpu_kernel *k = ptq_cpu_kernel_int(b->kind);
    void *state = NULL;
    double best = 1e9, spent = 0;
    if (k->prepare && k->prepare(c, &b->prog, &b->step, &state) != PTQ_OK)
        return 0;
    b->run.state = state;
    for (int i = 0; i < 4 || (spent < 0.15 && i < 1000); i++) {
        double t = ptq_now();
        if (k->run(c, &b->run) != PTQ_OK)
            break;
        t = ptq_now() - t;
        spent += t;
        best = t < best ? t : best;
    }
    if (k->release)
        k->release(state);
    return best;
}

/* The product of the same size in fp32, weights as they lie, no gathering. */
static double float_seconds(ptq_cpu *c, int64_t m, int64_t n, int64_t k)
{
    ptq_tensor a = bed_tensor(PTQ_DT_F32, 2, (int64_t[]){m, k}), w = bed_tensor(PTQ_DT_F32, 2, (int64_t[]){k, n});
    ptq_tensor y = bed_tensor(PTQ_DT_F32, 2, (int64_t[]){m, n});
    memset(a.data, 0, a.nbytes);
    memset(w.data, 0, w.nbytes);
    ptq_gemm_f32 g = {.m = m, .n = n, .k = k, .a = a.data, .b = w.data, .c = y.data, .lda = k, .ldb = n, .ldc = n};
    double best = 1e9;
    for (int i = 0; i < 4; i++) {
        double t = ptq_now();
        if (ptq_cpu_gemm_f32(c, &g) != PTQ_OK)
            break;
        t = ptq_now() - t;
        best = t < best ? t : best;
    }
    free(a.data);
    free(w.data);
    free(y.data);
    return best;
}

static void row(bed *b, const char *name, double ops, ptq_pool *pool, double fp32)
{
    ptq_int_isa isas[8];
    size_t n = bed_isas(isas);
    bed_open(b);
    printf("%-22s %8.1f", name, fp32 > 0 ? ops / fp32 * 1e-9 : 0.0);
    for (size_t i = 1; i < n; i++) {
        ptq_cpu c = {.pool = pool, .int_isa = &isas[i]};
        printf(" %13.1f", ops / seconds(b, &c) * 1e-9);
        free(c.scratch);
    }
    printf("\n");
    fflush(stdout);
    bed_close(b);
}

static void elementwise(ptq_pool *pool)
{
    static const int64_t dims[] = {1, 256, 56, 56};
    ptq_qbinary_params p = {{0.1f, 3}, {0.2f, 5}, {0.3f, 7}, 0, 255};
    ptq_qlut_params lut = {.table = {1, 2, 3}};
    ptq_quant_params q = {.n = 1, .scale = (float[]){0.1f}, .zp = (int32_t[]){3}, .qhi = 255};
    const struct {
        const char *kind, *name;
        int nin;
        const void *params;
        ptq_dtype in, out;
    } rows[] = {
        {"qadd", "qadd (Gelement/s)", 2, &p, PTQ_DT_U8, PTQ_DT_U8},
        {"qmul", "qmul", 2, &p, PTQ_DT_U8, PTQ_DT_U8},
        {"qlut", "qlut", 1, &lut, PTQ_DT_U8, PTQ_DT_U8},
        {"quantize", "quantize", 1, &q, PTQ_DT_F32, PTQ_DT_U8},
        {"dequantize", "dequantize", 1, &q, PTQ_DT_U8, PTQ_DT_F32},
        {"relayout", "relayout", 1, NULL, PTQ_DT_U8, PTQ_DT_U8},
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        bed b = {.kind = rows[i].kind, .nin = rows[i].nin, .params = rows[i].params};
        for (int e = 0; e < rows[i].nin; e++) {
            b.in[e] = bed_tensor(rows[i].in, 4, dims);
            memset(b.in[e].data, 0x3c, b.in[e].nbytes);
        }
        b.out = (ptq_tensor){.dtype = rows[i].out, .rank = 4, .dims = {1, 256, 56, 56}};
        if (strcmp(rows[i].kind, "relayout") == 0)
            b.out_layout = PTQ_LAYOUT_NHWC;
        row(&b, rows[i].name, 256.0 * 56 * 56, pool, 0);
    }
}

int main(int argc, char **argv)
{
    ptq_pool *pool = NULL;
    ptq_int_isa isas[8];
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads != 1 && ptq_pool_new(threads, &pool) != PTQ_OK)
        return 1;
    for (size_t i = 0; i < PTQ_COUNT(ones); i++)
        ones[i] = 0.001f;
    params = (ptq_qlinear_params){.x = {0.1f, 3}, .y = {0.1f, 5}, .wscale = ones, .mult = ones, .qlo = 0, .qhi = 127};
    printf("%d thread(s), GOP/s\n%-22s %8s", ptq_pool_threads(pool), "", "fp32");
    for (size_t i = 1, n = bed_isas(isas); i < n; i++)
        printf(" %13s", isas[i].name);
    printf("\n");
    for (size_t i = 0; i < PTQ_COUNT(convs); i++) {
        const shape *s = &convs[i];
        bed b;
        make_conv(&b, s, PTQ_DT_U8);
        int64_t pixels = s->n * b.out.dims[2] * b.out.dims[3], k = s->c / s->group * s->k * s->k;
        ptq_cpu c = {.pool = pool, .isa = ptq_isa_best()};
        double f = s->group == 1 ? float_seconds(&c, pixels, s->m, k) : 0;
        free(c.scratch);
        row(&b, s->name, 2.0 * (double)pixels * (double)s->m * (double)k, pool, f);
    }
    params.residual = (ptq_residual_params){0};
    bed b = {.kind = "qgemm", .nin = 2, .constant = {false, true}, .params = &params};
    b.in[0] = bed_tensor(PTQ_DT_S8, 2, (int64_t[]){128, 768});
    b.in[1] = bed_tensor(PTQ_DT_S8, 2, (int64_t[]){768, 3072});
    memset(b.in[0].data, 3, b.in[0].nbytes);
    memset(b.in[1].data, 5, b.in[1].nbytes);
    b.out = (ptq_tensor){.dtype = PTQ_DT_S8, .rank = 2, .dims = {128, 3072}};
    params.channels = 3072;
    params.nw = 1;
    ptq_cpu c = {.pool = pool, .isa = ptq_isa_best()};
    double f = float_seconds(&c, 128, 3072, 768);
    free(c.scratch);
    row(&b, "gemm 128x768x3072 s8", 2.0 * 128 * 768 * 3072, pool, f);
    elementwise(pool);
    ptq_pool_free(pool);
    return 0;
}
