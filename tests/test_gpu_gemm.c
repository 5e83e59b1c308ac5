/* SPDX-License-Identifier: Apache-2.0 */
/* Every row of lib/gpu/gemm.def, and the batched product of two computed operands, against the reference
 * kernels on the device, byte by byte: shapes that straddle the tiles, windows, steps and pads of all
 * kinds, operands of either sign that lie along k or across it and are read again for other batches,
 * every zero point, extreme values, int8 and float results, residuals of both laws, and
 * float operations behind the product. */
#include "tests/gpu_kit.h"

static uint8_t *bytes(size_t n, bool extreme)
{
    uint8_t *p = malloc(n + 16);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < n; i++)
        p[i] = extreme ? (uint8_t)(pick(0, 1) ? 0x7f : 0x80) : (uint8_t)ptq_rng_u64(&rng);
    return p;
}

typedef struct product {
    ptq_k_gemm a;
    ptq_k_conv ref;
    size_t out_bytes;
} product;

/* Windows of stride 1, results that are codes, nothing behind: what some rows ask for and few draws are. */
static bool usual;

/* One time in two a residual; with scales that are multiples of one unit, so that both roundings and the
 * order of operands show; or one that alone goes far beyond the codes, on both sides of what is near. */
static void draw_residual(product *p, bool y_signed)
{
    ptq_k_gemm *a = &p->a;
    ptq_residual *r = &a->residual;
    static const int far[] = {12, 13, 17, 18, 19, 20};
    if (usual || a->float_out || pick(0, 1))
        return;
    r->kind = pick(0, 2) == 0 ? PTQ_RESIDUAL_FLOAT : PTQ_RESIDUAL_ROUNDED;
    a->skip_signed = r->kind == PTQ_RESIDUAL_FLOAT ? pick(0, 1) : y_signed;
    int lo = a->skip_signed ? -128 : 0, zs = pick(0, 2) == 0 ? 0 : pick(lo, lo + 255);
    r->skip_first = pick(0, 1);
    r->z = zs;
    r->r = pick(0, 2) ? (float)pick(1, 12) / 8.0f : ldexpf((float)pick(4, 7) / 4.0f, far[pick(0, 5)]);
    float unit = 0.01f + ptq_rng_uniform(&rng), sp = (float)pick(1, 12) * unit, ss = (float)pick(1, 12) * unit;
    r->add = r->skip_first ? ptq_qadd_prepare(ss, zs, sp, a->zy, (float)pick(1, 12) * unit, pick(lo, lo + 255))
                           : ptq_qadd_prepare(sp, a->zy, ss, zs, (float)pick(1, 12) * unit, pick(lo, lo + 255));
    r->lo = lo + (pick(0, 2) == 0 ? 100 : 0);
    r->hi = lo + 255;
    uint8_t *s = bytes((size_t)a->m * (size_t)a->n, pick(0, 4) == 0);
    a->skip = device(s, (size_t)a->m * (size_t)a->n);
    free(s);
}

/* Float operations behind the product, one time in two. */
static void draw_tail(product *p, bool y_signed)
{
    ptq_k_gemm *a = &p->a;
    ptq_k_tail *t = &a->tail;
    if (usual || a->residual.kind || pick(0, 1))
        return;
    size_t n = (size_t)a->m * (size_t)a->n;
    size_t npad = (size_t)a->npad;
    float *bias = calloc(npad, sizeof *bias), *placed = calloc(npad, sizeof *placed);
    float *add = malloc((n + 4) * sizeof *add);
    ck_assert(bias && placed && add);
    for (int i = 0; i < a->n; i++)
        placed[ptq_k_gemm_entry_of(i)] = bias[i] = pick(0, 9) ? ptq_rng_uniform(&rng) - 0.5f : 0.0f;
    for (size_t i = 0; i < n; i++)
        add[i] = 4.0f * ptq_rng_uniform(&rng) - 2.0f;
    *t = (ptq_k_tail){.on = 1, .codes = !a->float_out, .gelu = pick(0, 1) ? pick(1, 2) : 0,
                      .factor = pick(0, 1) ? 0.125f + ptq_rng_uniform(&rng) : 1.0f, .tame = pick(0, 5) > 0};
    t->s = t->codes ? 0.0005f + 0.05f * ptq_rng_uniform(&rng) : 0.0f;
    t->bias = device(placed, npad * sizeof *placed);
    if (pick(0, 2) == 0)
        t->add = device(add, n * sizeof *add);
    draw_parts(a, y_signed);
    p->ref.e.tail = *t;
    p->ref.e.tail.bias = device(bias, npad * sizeof *bias);
    free(bias);
    free(placed);
    free(add);
}

/* Steps, dilation and pads of a window over hw pixels each way. */
static void draw_window(ptq_k_gemm *a, int images, int hw, int kernel)
{
    a->in_h = hw;
    a->in_w = hw + pick(0, 2);
    a->kernel_h = a->kernel_w = kernel;
    if (kernel > 1 && pick(0, 3) == 0)
        a->kernel_w = 1;
    if (usual)
        a->kernel_w = kernel;
    a->stride_h = kernel > 1 || pick(0, 3) == 0 ? pick(1, 2) : 1;
    a->stride_w = kernel > 1 && pick(0, 4) == 0 ? pick(1, 3) : a->stride_h;
    a->dil_h = a->dil_w = pick(0, 4) == 0 ? 2 : 1;
    if (usual)
        a->stride_h = a->stride_w = 1;
    if (usual || hw < (kernel - 1) * a->dil_h + 1)
        a->dil_h = a->dil_w = 1;
    int pad_end_h = 0, pad_end_w = 0;
    if (kernel > 1 && pick(0, 4) > 0) {
        a->pad_h = pick(0, kernel / 2);
        a->pad_w = pick(0, a->kernel_w / 2);
        pad_end_h = pick(0, kernel / 2);
        pad_end_w = a->pad_w;
    }
    a->padded = a->pad_h || a->pad_w || pad_end_h || pad_end_w;
    a->out_h = (a->in_h + a->pad_h + pad_end_h - (a->kernel_h - 1) * a->dil_h - 1) / a->stride_h + 1;
    a->out_w = (a->in_w + a->pad_w + pad_end_w - (a->kernel_w - 1) * a->dil_w - 1) / a->stride_w + 1;
    a->m = (int64_t)images * a->out_h * a->out_w;
}

/* Types, zero points, range. Returns the sign of the results. */
static bool draw_grids(ptq_k_gemm *a)
{
    a->x_signed = pick(0, 1);
    a->float_out = pick(0, 5) == 0;
    a->zx = pick(0, 2) == 0 ? 0 : a->x_signed ? pick(-128, 127) : pick(0, 255);
    if (usual) {
        a->float_out = 0;
        a->zx = a->padded ? 0 : a->zx;
    }
    bool y_signed = pick(0, 1);
    a->lo = y_signed ? -128 : 0;
    a->hi = a->lo + 255;
    a->zy = pick(a->lo, a->hi);
    if (pick(0, 2) == 0) { /* a Relu, whose zero point often is the least code */
        a->zy = pick(0, 1) ? a->lo : a->zy;
        a->lo = a->zy;
    }
    return y_signed;
}

/* Biases and multipliers of both kernels; `sums` are those of the columns of weights. */
static void draw_tables(product *p, const uint32_t *sums)
{
    ptq_k_gemm *a = &p->a;
    size_t npad = (size_t)a->npad;
    int k = a->kernel_h * a->kernel_w * a->c;
    int32_t *bias = calloc(npad, sizeof *bias), *raw = calloc(npad, sizeof *raw);
    float *mult = calloc(npad, sizeof *mult), *placed = calloc(npad, sizeof *placed);
    ck_assert(bias && raw && mult && placed);
    for (int j = 0; j < a->n; j++) {
        raw[j] = pick(-100000, 100000);
        bias[ptq_k_gemm_entry_of(j)] = (int32_t)((uint32_t)raw[j] - (uint32_t)a->zx * sums[j]);
        mult[j] = (0.2f + ptq_rng_uniform(&rng)) / (300.0f * (float)k);
    }
    if (pick(0, 4) == 0) /* results far beyond the codes, on both sides of what is near */
        mult[pick(0, a->n - 1)] *= powf(10.0f, (float)pick(3, 7));
    for (int j = 0; j < a->n; j++)
        placed[ptq_k_gemm_entry_of(j)] = mult[j];
    a->near = ptq_k_gemm_is_near(bias, placed, a->npad, a->kpad);
    a->bias = device(bias, npad * 4);
    a->mult = device(placed, npad * 4);
    p->ref.e.bias = device(raw, npad * 4);
    p->ref.e.mult = device(mult, npad * 4);
    free(bias);
    free(raw);
    free(mult);
    free(placed);
}

/* Operands; packed, the taps of a row with four channels are a multiple of four. */
static void draw_data(product *p, int images, bool extreme)
{
    ptq_k_gemm *a = &p->a;
    int taps = a->kernel_h * a->kernel_w, k = taps * a->c, row = a->c == 4 ? (a->kernel_w + 3) / 4 * 4 : a->kernel_w;
    a->npad = (a->n + PTQ_K_GEMM_N - 1) / PTQ_K_GEMM_N * PTQ_K_GEMM_N;
    a->kpad = (a->kernel_h * row * a->c + PTQ_K_GEMM_K - 1) / PTQ_K_GEMM_K * PTQ_K_GEMM_K;
    size_t nx = (size_t)images * a->in_h * a->in_w * a->c, nw = (size_t)a->n * k;
    uint8_t *x = bytes(nx, extreme), *w = bytes(nw, extreme), zero[16];
    uint8_t *packed = calloc((size_t)a->npad, (size_t)a->kpad);
    uint32_t *sums = calloc((size_t)a->n, sizeof *sums);
    ck_assert(packed && sums);
    for (int j = 0; j < a->n; j++)
        for (int i = 0; i < a->c; i++)
            for (int t = 0; t < taps; t++) {
                uint8_t v = w[((size_t)j * a->c + i) * taps + t];
                packed[ptq_k_gemm_row_of(j) * a->kpad + (t / a->kernel_w * row + t % a->kernel_w) * a->c + i] = v;
                sums[j] += (uint32_t)(int8_t)v;
            }
    memset(zero, a->zx, sizeof zero);
    a->x = device(x, nx);
    a->w = device(packed, (size_t)a->npad * a->kpad);
    a->zero = device(zero, sizeof zero);
    p->ref.x = a->x;
    p->ref.w = device(w, nw);
    draw_tables(p, sums);
    free(x);
    free(w);
    free(packed);
    free(sums);
}

/* The same product for the reference; what was drawn for it alone stays. */
static void set_reference(product *p, int images)
{
    const ptq_k_gemm *a = &p->a;
    ptq_k_epilogue e = p->ref.e;
    p->ref = (ptq_k_conv){.x = a->x, .w = p->ref.w, .y = a->y, .n = images, .c = a->c, .m = a->n, .groups = 1,
                          .in = {1, a->in_h, a->in_w}, .out = {1, a->out_h, a->out_w},
                          .kernel = {1, a->kernel_h, a->kernel_w}, .stride = {1, a->stride_h, a->stride_w},
                          .dilation = {1, a->dil_h, a->dil_w}, .pad = {0, a->pad_h, a->pad_w},
                          .x_ns = (int64_t)a->in_h * a->in_w * a->c, .x_cs = 1, .x_ps = a->c,
                          .y_ns = (int64_t)a->out_h * a->out_w * a->n, .y_cs = 1, .y_ps = a->n};
    p->ref.e = (ptq_k_epilogue){.mult = e.mult, .bias = e.bias, .nw = a->n, .zx = a->zx, .zy = a->zy, .lo = a->lo,
                                .hi = a->hi, .x_signed = a->x_signed, .w_signed = 1, .float_out = a->float_out,
                                .skip = a->skip, .skip_signed = a->skip_signed, .residual = a->residual,
                                .tail = e.tail};
}

/* Draws a product; images, size, channels and window are given. */
static product draw(int images, int hw, int c, int n, int kernel, bool extreme)
{
    product p = {.a = {.c = c, .n = n}};
    draw_window(&p.a, images, hw, kernel);
    bool y_signed = draw_grids(&p.a);
    draw_residual(&p, y_signed);
    draw_data(&p, images, extreme);
    draw_tail(&p, y_signed);
    p.out_bytes = (size_t)p.a.m * n * (p.a.float_out ? 4 : 1);
    p.a.y = device(NULL, p.out_bytes + 64);
    set_reference(&p, images);
    return p;
}

static int check(product *p, const char *only)
{
    uint8_t *want = malloc(p->out_bytes + 64), *have = malloc(p->out_bytes + 64);
    int ran = 0;
    ck_assert_ok(ptq_k_run_conv(dev, &p->ref));
    ck_assert_ok(ptq_dev_download(dev, want, p->ref.y, p->out_bytes));
    for (int i = 0; ptq_k_gemm_at(i); i++) {
        const ptq_k_gemm_row *r = ptq_k_gemm_at(i);
        if (!r->supports(dev, &p->a) || (only && *only && strcmp(only, r->name) != 0))
            continue;
        memset(have, 0xa5, p->out_bytes + 64);
        ck_assert_ok(ptq_dev_upload(dev, p->a.y, have, p->out_bytes + 64));
        ck_assert_ok(r->run(dev, &p->a));
        ck_assert_ok(ptq_dev_download(dev, have, p->a.y, p->out_bytes + 64));
        size_t wrong = 0, first = 0;
        for (size_t e = 0; e < p->out_bytes; e++)
            if (have[e] != want[e] && wrong++ == 0)
                first = e;
        for (size_t e = 0; e < 64; e++)
            wrong += have[p->out_bytes + e] != 0xa5;
        if (wrong)
            ck_abort_msg("%s: %zu of %zu bytes differ, the first at %zu (m %lld n %d c %d in %dx%d out %dx%d kernel "
                         "%dx%d stride %dx%d dilation %d pad %dx%d zx %d signed %d float %d near %d residual %d by %g, "
                         "skip first %d, tail %d gelu %d add %d parts %d)",
                         r->name, wrong, p->out_bytes, first, (long long)p->a.m, p->a.n, p->a.c, p->a.in_h, p->a.in_w,
                         p->a.out_h, p->a.out_w, p->a.kernel_h, p->a.kernel_w, p->a.stride_h, p->a.stride_w,
                         p->a.dil_h, p->a.pad_h, p->a.pad_w, p->a.zx, p->a.x_signed, p->a.float_out, p->a.near,
                         p->a.residual.kind, (double)p->a.residual.r, p->a.residual.skip_first, p->a.tail.on,
                         p->a.tail.gelu, p->a.tail.add != NULL, p->a.tail.parts);
        ran++;
    }
    free(want);
    free(have);
    free_all();
    return ran;
}

/* PTQ_GPU_SMALL=1: shapes up to three tiles, for the memory and race checkers. PTQ_GPU_GEMM: one row. */
START_TEST(gpu_gemm__rows_equal_the_reference)
{
    static const int channels[] = {4, 16, 32, 48, 64, 80, 128, 144, 192, 256, 512};
    static const int columns[] = {1, 3, 5, 8, 17, 63, 64, 65, 127, 128, 129, 160, 255, 256, 257, 384};
    static const int sizes[] = {1, 2, 7, 8, 11, 13, 16, 28};
    const char *only = getenv("PTQ_GPU_GEMM");
    bool small = small_shapes();
    int runs = 0, cases = small ? (only && *only ? 160 : 24) : 400; /* a row takes a part of the cases */
    ck_assert_ok(ptq_dev_open(0, &dev));
    ptq_rng_seed(&rng, 2027);
    for (int i = 0; i < cases; i++) {
        int hw = sizes[pick(0, small ? 4 : 7)], odd = hw >= 7 && pick(0, 3) == 0 ? 5 : 3;
        int kernel = hw >= 3 && pick(0, 1) ? odd : 1;
        int images = pick(0, 4) == 0 ? 7 : pick(1, 3);
        product p = draw(small ? 1 : images, hw, channels[pick(0, small ? 6 : 10)], columns[pick(0, 15)], kernel,
                         pick(0, 4) == 0);
        runs += check(&p, only);
    }
    for (int i = 0; i < (small ? 64 : 160); i++) { /* what rows ask for that keep their weights: matrices, vectors */
        static const int wide[] = {64, 128, 192, 256, 320, 768}, deep[] = {16, 64, 144, 256, 512, 768, 1024};
        int hw = sizes[pick(2, small ? 4 : 7)], c = deep[pick(0, 6)];
        product p = draw(pick(1, small ? 1 : 4), hw, c, wide[pick(0, 5)], 1, false);
        runs += check(&p, only);
    }
    for (int i = 0; i < (small ? 30 : 60); i++) { /* lines that are read once: 64 channels, more pixels than a block */
        static const int wide[] = {16, 64, 80, 128, 192}, large[] = {3, 5, 13, 16, 28, 30, 56, 61};
        usual = true;
        product p = draw(pick(1, small ? 1 : 5), large[pick(0, small ? 3 : 7)], 64, wide[pick(0, 4)], 3, pick(0, 4) == 0);
        usual = false;
        runs += check(&p, only);
    }
    for (int i = 0; i < 12 && !small; i++) { /* several tiles for each processor: what comes after the first one */
        product p = draw(40, 28, i % 2 ? 768 : 192, 384, i % 4 == 2 ? 3 : 1, false);
        runs += check(&p, only);
    }
    printf("%d cases, %d kernel runs\n", cases, runs);
    ck_assert_int_gt(runs, only && *only ? cases / 20 : cases);
    ptq_dev_close(dev);
}
END_TEST

/* The batch dims of a product; an operand that does not have one is read again. */
static void draw_batch(ptq_k_matmul *a, int64_t *na, int64_t *nb, bool small)
{
    *na = a->m * a->k;
    *nb = a->k * a->n;
    a->batch = 1;
    a->nbd = pick(0, 3);
    for (int i = a->nbd - 1; i >= 0; i--) {
        int without = pick(0, 4);
        a->bdim[i] = pick(1, small ? 2 : 4);
        a->a_step[i] = without == 0 ? 0 : *na;
        a->b_step[i] = without == 1 ? 0 : *nb;
        *na *= without == 0 ? 1 : a->bdim[i];
        *nb *= without == 1 ? 1 : a->bdim[i];
        a->batch *= a->bdim[i];
    }
}

static void draw_end(ptq_k_matmul *a)
{
    ptq_k_gemm g = {.m = a->batch * a->m, .n = (int32_t)a->n, .float_out = pick(0, 2) == 0};
    product p = {.a = g};
    bool y_signed = pick(0, 1);
    ptq_k_epilogue *e = &a->e;
    int32_t *zp = malloc((size_t)a->n * sizeof *zp), *bias = malloc((size_t)a->n * sizeof *bias);
    float *mult = malloc((size_t)a->n * sizeof *mult);
    ck_assert(zp && bias && mult);
    for (int i = 0; i < a->n; i++) {
        zp[i] = e->w_signed ? pick(-128, 127) : pick(0, 255);
        bias[i] = pick(-100000, 100000);
        mult[i] = (0.2f + ptq_rng_uniform(&rng)) / (300.0f * (float)a->k);
    }
    p.a.lo = y_signed ? -128 : 0;
    p.a.hi = p.a.lo + 255;
    p.a.zy = pick(p.a.lo, p.a.hi);
    draw_residual(&p, y_signed);
    e->nw = pick(0, 2) == 0 ? a->n : 1;
    e->mult = device(mult, (size_t)a->n * sizeof *mult);
    e->wzp = pick(0, 2) ? device(zp, (size_t)a->n * sizeof *zp) : NULL;
    e->bias = pick(0, 2) == 0 ? device(bias, (size_t)a->n * sizeof *bias) : NULL;
    e->zx = pick(0, 2) == 0 ? 0 : e->x_signed ? pick(-128, 127) : pick(0, 255);
    e->zy = p.a.zy;
    e->lo = p.a.lo;
    e->hi = p.a.hi;
    e->float_out = p.a.float_out;
    e->skip = p.a.skip;
    e->skip_signed = p.a.skip_signed;
    e->residual = p.a.residual;
    free(zp);
    free(bias);
    free(mult);
}

/* Operands that start at any byte, and end where their memory ends. */
static void draw_operands(ptq_k_matmul *a, int64_t na, int64_t nb)
{
    bool extreme = pick(0, 4) == 0;
    int at_a = pick(0, 1) ? 0 : pick(1, 17), at_b = pick(0, 1) ? 0 : pick(1, 17);
    uint8_t *x = bytes((size_t)(na + at_a), extreme), *w = bytes((size_t)(nb + at_b), extreme);
    a->a = (uint8_t *)device(x, (size_t)(na + at_a)) + at_a;
    a->b = (uint8_t *)device(w, (size_t)(nb + at_b)) + at_b;
    free(x);
    free(w);
}

static void check_matmul(ptq_k_matmul a)
{
    size_t unit = a.e.float_out ? 4 : 1, n = (size_t)(a.batch * a.m * a.n) * unit, wrong = 0, first = 0;
    size_t front = unit * (size_t)pick(0, 3), all = front + n + 64;
    uint8_t *want = malloc(n), *have = malloc(all), *y = device(NULL, all);
    ck_assert(want && have);
    a.y = y + front;
    ck_assert_ok(ptq_k_run_matmul(dev, &a));
    ck_assert_ok(ptq_dev_download(dev, want, a.y, n));
    memset(have, 0xa5, all);
    ck_assert_ok(ptq_dev_upload(dev, y, have, all));
    ptq_k_matmul_run fast = ptq_k_matmul_fast(dev, &a);
    ck_assert(fast != NULL);
    ck_assert_ok(fast(dev, &a));
    ck_assert_ok(ptq_dev_download(dev, have, y, all));
    for (size_t i = 0; i < n; i++)
        if (have[front + i] != want[i] && wrong++ == 0)
            first = i;
    for (size_t i = 0; i < all; i++)
        wrong += (i < front || i >= front + n) && have[i] != 0xa5;
    if (wrong)
        ck_abort_msg("%zu of %zu bytes differ, the first at %zu (%lld of %lld x %lld x %lld, steps %lld %lld, %lld "
                     "%lld, signed %d %d, zero points %d %d, float %d, bias %d, residual %d)",
                     wrong, n, first, (long long)a.batch, (long long)a.m, (long long)a.n, (long long)a.k,
                     (long long)a.a_row, (long long)a.a_col, (long long)a.b_row, (long long)a.b_col, a.e.x_signed,
                     a.e.w_signed, a.e.zx, a.e.wzp != NULL, a.e.float_out, a.e.bias != NULL, a.e.residual.kind);
    free(want);
    free(have);
    free_all();
}

START_TEST(gpu_gemm__computed_operands_equal_the_reference)
{
    static const int sizes[] = {1, 3, 16, 17, 63, 64, 65, 128, 197};
    bool small = small_shapes();
    int cases = small ? 24 : 600;
    ck_assert_ok(ptq_dev_open(0, &dev));
    ptq_rng_seed(&rng, 2028);
    if (ptq_dev_capability(dev) < 80)
        cases = 0; /* no such kernel */
    for (int i = 0; i < cases; i++) {
        ptq_k_matmul a = {.m = sizes[pick(0, small ? 6 : 8)], .n = sizes[pick(0, small ? 6 : 8)],
                          .k = sizes[pick(0, small ? 6 : 8)], .e = {.x_signed = pick(0, 1), .w_signed = pick(0, 1)}};
        bool turn_a = pick(0, 3) == 0, turn_b = pick(0, 1);
        int64_t na, nb;
        a.a_row = turn_a ? 1 : a.k;
        a.a_col = turn_a ? a.m : 1;
        a.b_row = turn_b ? a.n : 1;
        a.b_col = turn_b ? 1 : a.k;
        draw_batch(&a, &na, &nb, small);
        draw_operands(&a, na, nb);
        draw_end(&a);
        check_matmul(a);
    }
    ptq_dev_close(dev);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("integer products on the device");
    TCase *t = tcase_create("gemm");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, gpu_gemm__rows_equal_the_reference);
    tcase_add_test(t, gpu_gemm__computed_operands_equal_the_reference);
    suite_add_tcase(s, t);
    return unit_run(s);
}
