/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of fast math against the law in double, for tests/test_gpu_fast.c. */
#ifndef PTQ_TESTS_GPU_FAST_H
#define PTQ_TESTS_GPU_FAST_H

/* How far results are from what they should be. */
typedef struct misses {
    const char *what;
    size_t n, off; /* off: codes that are not the nearest */
    double worst;  /* in units of the last place that is allowed */
} misses;

/* t: the exact quotient plus zero point; slack: how far the kernel's may be from it. */
static inline void miss_code(misses *m, double t, int code, int lo, int hi, double slack)
{
    double clamped = t < lo ? lo : t > hi ? hi : t, away = fabs(clamped - code);
    m->n++;
    m->off += rint(clamped) != code;
    if (away > 0.5 + slack)
        ck_abort_msg("%s: code %d for %.4f, slack %.4f", m->what, code, t, slack);
}

static inline void miss_float(misses *m, double want, double have, double slack)
{
    double miss = fabs(want - have) / slack;
    m->n++;
    m->worst = miss > m->worst ? miss : m->worst;
    if (!(miss <= 1.0))
        ck_abort_msg("%s: %.8g for %.8g, may differ by %.3g", m->what, have, want, slack);
}

/* Floats as they lie in memory, and what they are there. */
static inline void *as_stored(float *v, size_t n, bool half)
{
    uint16_t *h = malloc(n * sizeof *h + 1);
    ck_assert_ptr_nonnull(h);
    for (size_t i = 0; i < n && half; i++) {
        h[i] = ptq_float_to_half(v[i]);
        v[i] = ptq_half_to_float(h[i]);
    }
    void *d = half ? device(h, n * sizeof *h) : device(v, n * sizeof *v);
    free(h);
    return d;
}

static inline float *downloaded(const void *d, size_t n, bool half)
{
    float *v = malloc(n * sizeof *v + 1);
    uint16_t *h = malloc(n * sizeof *h + 1);
    ck_assert(v && h);
    ck_assert_ok(ptq_dev_download(dev, half ? (void *)h : v, d, n * (half ? sizeof *h : sizeof *v)));
    for (size_t i = 0; i < n && half; i++)
        v[i] = ptq_half_to_float(h[i]);
    free(h);
    return v;
}

/* ---- normalization ---- */

static const int norms[] = {8, 24, 64, 104, 256, 264, 512, 768, 1000, 1024, 1032, 1536, 2048, 2056, 7};
enum { NORMS = 15 };

static void check_norm(int64_t n, bool x_half, int kind)
{
    int64_t lines = pick(1, small_shapes() ? 9 : 67);
    size_t all = (size_t)(lines * n);
    float *x = malloc(all * 4), *scale = malloc((size_t)n * 4), *bias = malloc((size_t)n * 4);
    uint8_t *codes = malloc(all);
    bool sgn = pick(0, 1), with_bias = pick(0, 3) > 0;
    ptq_k_qnorm a = {.rows = lines, .n = n, .eps = 1e-5f, .s = 0.01f + 0.03f * ptq_rng_uniform(&rng),
                     .lo = sgn ? -128 : 0, .hi = sgn ? 127 : 255, .fast = 1, .x_half = x_half, .f_half = kind == 2};
    ck_assert(x && scale && bias && codes);
    a.z = pick(0, 1) ? 0 : pick(a.lo, a.hi);
    for (size_t i = 0; i < all; i++)
        x[i] = pick(0, 499) ? 8.0f * ptq_rng_uniform(&rng) - 3.0f : 300.0f;
    for (int64_t i = 0; i < n; i++) {
        scale[i] = 0.5f + ptq_rng_uniform(&rng);
        bias[i] = with_bias ? ptq_rng_uniform(&rng) - 0.5f : 0.0f;
    }
    a.x = as_stored(x, all, x_half);
    a.scale = device(scale, (size_t)n * 4);
    a.bias = with_bias ? device(bias, (size_t)n * 4) : NULL;
    a.y = device(NULL, all);
    a.f = kind ? device(NULL, all * 4) : NULL;
    ck_assert_ok(ptq_k_run_qnorm(dev, &a));
    ck_assert_ok(ptq_dev_download(dev, codes, a.y, all));
    float *f = kind ? downloaded(a.f, all, a.f_half) : NULL;
    misses m = {.what = "norm"};
    for (int64_t r = 0; r < lines; r++) {
        double mean = 0.0, var = 0.0;
        for (int64_t i = 0; i < n; i++)
            mean += (double)x[r * n + i] / (double)n;
        for (int64_t i = 0; i < n; i++)
            var += (x[r * n + i] - mean) * (x[r * n + i] - mean) / (double)n;
        for (int64_t i = 0; i < n; i++) {
            double y = (x[r * n + i] - mean) / sqrt(var + (double)a.eps) * scale[i] + bias[i];
            double slack = 2e-5 * (fabs(y) + 1.0);
            miss_code(&m, y / a.s + a.z, sgn ? (int8_t)codes[r * n + i] : codes[r * n + i], a.lo, a.hi, slack / a.s);
            if (f)
                miss_float(&m, y, f[r * n + i], slack + (a.f_half ? fabs(y) * 0x1p-11 : 0.0));
        }
    }
    ck_assert_msg(m.off * 200 <= m.n, "norm of %lld: %zu of %zu codes are off", (long long)n, m.off, m.n);
    free_all();
    free(x);
    free(scale);
    free(bias);
    free(codes);
    free(f);
}

START_TEST(gpu_fast__norm)
{
    ck_assert_ok(ptq_dev_open(0, &dev));
    ptq_rng_seed(&rng, 70 + (uint64_t)_i);
    for (int kind = 0; kind < 3; kind++) /* codes; and floats; and halves */
        for (int half = 0; half < 2; half++)
            if (norms[_i] != 7 || half || kind == 2) /* else the exact one */
                check_norm(norms[_i], half, kind);
    ptq_dev_close(dev);
}
END_TEST

/* ---- ends of products ---- */

#ifndef PTQ_TEST_FAKE /* the stand-in device has no such kernels */
typedef struct tail_case {
    ptq_k_gemm a;
    int32_t *acc; /* [m][n] with the bias */
    int32_t *start; /* [n] bias in the product */
    float *mult, *bias, *add;
} tail_case;

/* A table on the device in the order of the kernels. */
static void *placed(const void *table, int64_t npad)
{
    uint32_t *p = malloc((size_t)npad * 4);
    ck_assert_ptr_nonnull(p);
    for (int64_t i = 0; i < npad; i++)
        p[ptq_k_gemm_entry_of(i)] = ((const uint32_t *)table)[i];
    void *d = device(p, (size_t)npad * 4);
    free(p);
    return d;
}

static void *noise(size_t n, void **host)
{
    uint8_t *p = malloc(n + 16);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)ptq_rng_u64(&rng);
    *host = p;
    return device(p, n);
}

/* Operands, and their product. */
static void draw_product(tail_case *t, int64_t m, int n, int k)
{
    ptq_k_gemm *a = &t->a;
    int c = (k + 15) / 16 * 16, npad = (n + PTQ_K_GEMM_N - 1) / PTQ_K_GEMM_N * PTQ_K_GEMM_N;
    int kpad = (c + PTQ_K_GEMM_K - 1) / PTQ_K_GEMM_K * PTQ_K_GEMM_K, sgn = pick(0, 1);
    int zx = pick(0, 1) ? 0 : sgn ? pick(-128, 127) : pick(0, 255);
    void *x, *w;
    uint8_t *packed = calloc((size_t)npad, (size_t)kpad), zero[16];
    int32_t *bias = t->start = calloc((size_t)npad, sizeof *bias);
    t->acc = malloc((size_t)(m * n) * sizeof *t->acc);
    ck_assert(packed && bias && t->acc);
    *a = (ptq_k_gemm){.m = m, .n = n, .npad = npad, .kpad = kpad, .c = c, .in_h = 1, .in_w = 1, .out_h = 1, .out_w = 1,
                      .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1, .zx = zx,
                      .x_signed = sgn};
    a->x = noise((size_t)(m * c), &x);
    w = malloc((size_t)n * c);
    ck_assert_ptr_nonnull(w);
    for (int j = 0; j < n; j++) {
        int32_t sum = 0;
        for (int i = 0; i < c; i++) {
            int8_t v = (int8_t)pick(-127, 127);
            ((int8_t *)w)[j * c + i] = v;
            packed[ptq_k_gemm_row_of(j) * kpad + i] = (uint8_t)v;
            sum += v;
        }
        bias[j] = pick(-20000, 20000) - zx * sum;
    }
    a->bias = placed(bias, npad);
    for (int64_t i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            int32_t sum = bias[j];
            for (int e = 0; e < c; e++) {
                int32_t v = sgn ? ((int8_t *)x)[i * c + e] : ((uint8_t *)x)[i * c + e];
                sum += v * ((int8_t *)w)[j * c + e];
            }
            t->acc[i * n + j] = sum;
        }
    memset(zero, zx, sizeof zero);
    a->w = device(packed, (size_t)npad * (size_t)kpad);
    a->zero = device(zero, sizeof zero);
    t->bias = calloc((size_t)npad, sizeof *t->bias);
    t->mult = calloc((size_t)npad, sizeof *t->mult);
    ck_assert(t->bias && t->mult);
    float unit = 1.0f / (5500.0f * sqrtf((float)c)); /* results about normal, some large */
    for (int j = 0; j < n; j++) {
        t->mult[j] = unit * (0.5f + ptq_rng_uniform(&rng));
        t->bias[j] = ptq_rng_uniform(&rng) - 0.5f;
    }
    free(packed);
    free(x);
    free(w);
}

/* What holds for channel c. */
static ptq_k_part part_of(const ptq_k_gemm *a, int c)
{
    ptq_k_part p = {0, a->tail.factor, a->tail.s, a->zy, a->lo, a->hi};
    for (int i = a->tail.parts - 1; i >= 0; i--)
        p = c < a->tail.part[i].end ? a->tail.part[i] : p;
    return p;
}

/* The tables as lib/gpu/g_linear.c makes them. */
static void fast_tables(tail_case *t)
{
    ptq_k_gemm *a = &t->a;
    float *m = calloc((size_t)a->npad, sizeof *m), *b = calloc((size_t)a->npad, sizeof *b);
    ck_assert(m && b);
    for (int i = 0; i < a->n; i++) {
        ptq_k_part p = part_of(a, i);
        double unit = (a->tail.codes ? 1.0 / (double)p.s : 1.0) * (a->tail.gelu ? 0.5 : 1.0) * (double)p.factor;
        m[i] = (float)((double)t->mult[i] * unit);
        b[i] = (float)(((double)t->start[i] * (double)t->mult[i] + (double)t->bias[i]) * unit);
    }
    a->tail.fast_mult = placed(m, a->npad);
    a->tail.fast_bias = placed(b, a->npad);
    a->tail.bias = placed(t->bias, a->npad);
    a->mult = placed(t->mult, a->npad);
    free(m);
    free(b);
}

static void draw_end(tail_case *t, int kind)
{
    ptq_k_gemm *a = &t->a;
    size_t all = (size_t)(a->m * a->n);
    bool codes = kind < 2, sgn = pick(0, 1);
    a->tail = (ptq_k_tail){.on = 1, .codes = codes, .gelu = kind == 1 ? pick(1, 3) : 0,
                           .factor = kind == 1 || pick(0, 1) ? 1.0f : 0.125f, .tame = 1,
                           .s = codes ? 0.01f + 0.03f * ptq_rng_uniform(&rng) : 0.0f};
    a->lo = sgn ? -128 : 0;
    a->hi = a->lo + 255;
    a->zy = kind == 1 ? a->lo + pick(20, 60) : pick(0, 1) ? 0 : pick(a->lo, a->hi);
    if (kind == 0 && pick(0, 2) == 0)
        a->lo = a->zy;
    if (kind == 0)
        draw_parts(a, sgn);
    a->float_out = !codes;
    t->add = NULL;
    if (kind >= 2) {
        a->tail.y_half = kind == 2;
        a->tail.add_half = pick(0, 1);
        t->add = calloc(all + 1, sizeof *t->add);
        ck_assert_ptr_nonnull(t->add);
        if (pick(0, 3)) {
            for (size_t i = 0; i < all; i++)
                t->add[i] = pick(0, 999) ? 4.0f * ptq_rng_uniform(&rng) - 2.0f : 65504.0f; /* the sum may be more */
            a->tail.add = as_stored(t->add, all, a->tail.add_half);
        }
    }
    a->y = device(NULL, all * 4);
}

static double gelu(double x)
{
    return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
}

static void compare_end(const tail_case *t, const ptq_k_gemm_row *row)
{
    const ptq_k_gemm *a = &t->a;
    size_t all = (size_t)(a->m * a->n);
    uint8_t *codes = malloc(all + 1);
    misses m = {.what = row->name};
    ck_assert_ptr_nonnull(codes);
    float *y = a->tail.codes ? NULL : downloaded(a->y, all, a->tail.y_half);
    if (!y)
        ck_assert_ok(ptq_dev_download(dev, codes, a->y, all));
    for (size_t i = 0; i < all; i++) {
        int c = (int)(i % (size_t)a->n);
        ptq_k_part p = part_of(a, c);
        double v = ((double)t->acc[i] * t->mult[c] + t->bias[c]) * p.factor, slack = 1e-5 * (fabs(v) + 1.0);
        if (y) {
            v += t->add[i];
            if (a->tail.y_half)
                v = v > 65504.0 ? 65504.0 : v < -65504.0 ? -65504.0 : v;
            slack = 1e-5 * (fabs(v) + fabs((double)t->add[i]) + 1.0) + (a->tail.y_half ? fabs(v) * 0x1p-11 : 0.0);
            miss_float(&m, v, y[i], slack);
            continue;
        }
        double q = (a->tail.gelu ? gelu(v) : v) / p.s + p.zy;
        miss_code(&m, q, p.lo < 0 || p.hi < 128 ? (int8_t)codes[i] : codes[i], p.lo, p.hi,
                  (a->tail.gelu ? 2e-3 + slack : slack) / p.s);
    }
    size_t most = a->tail.gelu ? m.n / 8 : m.n / 200;
    ck_assert_msg(m.off <= most + 2, "%s: %zu of %zu codes are off", row->name, m.off, m.n);
    free(y);
    free(codes);
}

/* Rows of fast math that take a tail; then, and where something is float16, no other row takes it. */
static int rows_of_tail(const ptq_k_gemm *a)
{
    int fast = 0, others = 0;
    for (int i = 0; ptq_k_gemm_at(i); i++) {
        bool is_fast = strstr(ptq_k_gemm_at(i)->name, "fast") != NULL, takes = ptq_k_gemm_at(i)->supports(dev, a);
        fast += is_fast && takes;
        others += !is_fast && takes;
    }
    ck_assert_msg(!others || !(fast || a->tail.y_half || a->tail.add_half),
                  "%lld x %d x %d: %d rows of fast math and %d of the law", (long long)a->m, a->n, a->c, fast, others);
    return fast;
}

/* kind: codes, codes of a GELU, halves, floats */
static void check_tail(int64_t m, int n, int k, int kind)
{
    tail_case t = {.acc = NULL};
    draw_product(&t, m, n, k);
    draw_end(&t, kind);
    fast_tables(&t);
    int takers = rows_of_tail(&t.a);
    for (int i = 0; takers && ptq_k_gemm_at(i); i++) {
        const ptq_k_gemm_row *row = ptq_k_gemm_at(i);
        if (!row->supports(dev, &t.a))
            continue;
        ck_assert_ok(ptq_dev_zero(dev, t.a.y, (size_t)(m * n)));
        ck_assert_ok(row->run(dev, &t.a));
        compare_end(&t, row);
    }
    bool must = ptq_dev_capability(dev) >= 80 && (kind < 2 || n % 8 == 0);
    ck_assert_msg(takers > 0 || !must, "%lld x %d x %d, end %d: no row", (long long)m, n, k, kind);
    free_all();
    free(t.acc);
    free(t.mult);
    free(t.bias);
    free(t.start);
    free(t.add);
}

START_TEST(gpu_fast__tails)
{
    static const int sizes[] = {8, 16, 24, 40, 64, 72, 120, 128, 136, 200, 264, 5, 17, 33};
    ck_assert_ok(ptq_dev_open(0, &dev));
    ptq_rng_seed(&rng, 90 + (uint64_t)_i);
    for (size_t i = 0; i < PTQ_COUNT(sizes); i++)
        check_tail(pick(1, small_shapes() ? 70 : 300), sizes[i], pick(1, 5) * pick(8, 48), _i);
    if (!small_shapes())
        check_tail(2000, 520, 192, _i); /* several tiles for each processor */
    ptq_dev_close(dev);
}
END_TEST
#endif

#endif
