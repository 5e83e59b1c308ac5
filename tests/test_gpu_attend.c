/* SPDX-License-Identifier: Apache-2.0 */
/* Attention in one kernel, rows of scores to codes, and normalization to codes, against the law in plain
 * loops, byte by byte: sizes that straddle the tiles, operands in any order of axes, every zero point and sign,
 * masks with -infinity, whole rows of it, NaN, and both roundings of the result. Attention with fast math against its
 * own weights in double. */
#include "lib/core/fmath.h"
#include "lib/exec/steps.h"
#include "tests/gpu_kit.h"

static uint8_t *bytes(size_t n)
{
    uint8_t *p = malloc(n + 16);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)ptq_rng_u64(&rng);
    return p;
}

/* ---- the law ---- */

typedef struct host { /* the arguments with operands in host memory */
    ptq_k_attention a;
    const uint8_t *q, *k, *v;
    const float *mask;
} host;

static int64_t place(const ptq_k_attention *a, const ptq_k_side *s, int64_t batch)
{
    int64_t at = 0;
    for (int d = a->nbd - 1; d >= 0; d--) {
        at += batch % a->bdim[d] * s->batch[d];
        batch /= a->bdim[d];
    }
    return at;
}

static int32_t code(const uint8_t *p, int64_t at, int sgn)
{
    return sgn ? (int8_t)p[at] : p[at];
}

static float scaled(const ptq_k_attention *a, float v)
{
    return a->scores == PTQ_SCORES_TIMES ? v * a->factor : a->scores == PTQ_SCORES_OVER ? v / a->factor : v;
}

static void law_row(const host *h, int64_t b, int64_t i, int32_t *c)
{
    const ptq_k_attention *a = &h->a;
    static float s[512];
    int64_t q0 = place(a, &a->qs, b) + i * a->qs.row, k0 = place(a, &a->ks, b), m0 = place(a, &a->ms, b);
    for (int64_t j = 0; j < a->n; j++) {
        int32_t acc = 0;
        for (int64_t e = 0; e < a->d; e++)
            acc += (code(h->q, q0 + e * a->qs.col, a->q_signed) - a->zq) *
                   (code(h->k, k0 + e * a->ks.row + j * a->ks.col, a->k_signed) - a->zk);
        s[j] = scaled(a, (float)acc * a->qk_mult);
        if (h->mask)
            s[j] += h->mask[m0 + i * a->ms.row + j * a->ms.col];
    }
    float max = ptq_max64(s, a->n, 1);
    for (int64_t j = 0; j < a->n; j++)
        s[j] = ptq_expf(s[j] - max);
    float inv = 1.0f / ptq_sum16(s, a->n, 1);
    for (int64_t j = 0; j < a->n; j++)
        c[j] = ptq_quantize(s[j] * inv, a->sp, a->zp, a->plo, a->phi);
}

/* ---- drawing ---- */

/* Steps of a tensor whose axes lie in any order, but for the columns of q, v and y and the rows of k. */
static int64_t steps(const ptq_k_attention *a, ptq_k_side *s, int64_t lines, int64_t width, bool k, bool shared)
{
    int64_t at = width, *line = k ? &s->col : &s->row;
    int first = pick(0, a->nbd); /* the lines lie inside of these batch dims, outside of the others */
    *(k ? &s->row : &s->col) = 1;
    for (int i = a->nbd; i >= 0; i--) {
        if (i == first) {
            *line = at;
            at *= lines;
        }
        if (i == 0)
            break;
        bool without = shared && pick(0, 5) == 0;
        s->batch[i - 1] = without ? 0 : at;
        at *= without ? 1 : a->bdim[i - 1];
    }
    return at;
}

static int zero_point(int sgn)
{
    return pick(0, 2) == 0 ? 0 : sgn ? pick(-128, 127) : pick(0, 255);
}

static float *draw_mask(ptq_k_attention *a)
{
    bool per_row = pick(0, 1);
    int kind = pick(0, 4);
    int64_t n = a->n * (per_row ? a->m : 1);
    float *p = malloc((size_t)n * sizeof *p);
    ck_assert_ptr_nonnull(p);
    a->ms = (ptq_k_side){.row = per_row ? a->n : 0, .col = 1};
    for (int64_t i = 0; i < n; i++) {
        bool off = pick(0, 3) == 0, row_off = per_row && i / a->n % 5 == 2;
        float low = kind == 0 ? -3.40282347e38f : kind == 1 ? -10000.0f : -INFINITY;
        p[i] = off || (row_off && kind > 1) ? low : kind == 3 && pick(0, 200) == 0 ? NAN : 2.0f * ptq_rng_uniform(&rng);
    }
    return p;
}

static void draw_grids(ptq_k_attention *a)
{
    bool ps = pick(0, 1), ys = pick(0, 1), low = ps && pick(0, 1);
    a->q_signed = pick(0, 1);
    a->k_signed = pick(0, 1);
    a->v_signed = pick(0, 1);
    a->zq = zero_point(a->q_signed);
    a->zk = zero_point(a->k_signed);
    a->zv = zero_point(a->v_signed);
    a->plo = ps ? -128 : 0;
    a->phi = a->plo + 255;
    a->zp = low ? -128 : 0;
    a->sp = pick(0, 1) ? 1.0f / (float)(a->phi - a->zp) : 0.001f + 0.01f * ptq_rng_uniform(&rng);
    a->lo = ys ? -128 : 0;
    a->hi = a->lo + 255;
    a->zy = pick(0, 1) ? 0 : pick(a->lo, a->hi);
    a->sy = 0.01f + 0.1f * ptq_rng_uniform(&rng);
    a->scores = pick(0, 2);
    a->factor = a->scores == PTQ_SCORES_OVER ? 8.0f : 0.125f;
    a->qk_mult = (pick(0, 4) ? 0.003f : 0.2f) * (0.5f + ptq_rng_uniform(&rng)); /* now and then scores far apart */
    a->float_out = pick(0, 3) == 0;
    a->requant = !a->float_out && pick(0, 1);
    a->pv_mult = (a->requant ? 0.02f : 0.0005f) * (0.5f + ptq_rng_uniform(&rng));
}

static host draw(bool small)
{
    static const int keys[] = {1, 5, 16, 31, 64, 65, 128, 129, 197, 224, 225, 256};
    static const int sizes[] = {1, 3, 15, 16, 17, 64, 130, 197};
    static const int widths[] = {16, 32, 48, 64, 64, 64, 80, 128};
    host h = {.a = {.nbd = pick(0, 3), .batch = 1}};
    ptq_k_attention *a = &h.a;
    a->m = sizes[pick(0, small ? 4 : 7)];
    a->n = keys[pick(0, small ? 5 : 11)];
    a->d = widths[pick(0, 7)];
    a->dv = pick(0, 2) ? a->d : widths[pick(0, 7)];
    for (int i = 0; i < a->nbd; i++)
        a->batch *= a->bdim[i] = pick(1, small ? 2 : 3);
    draw_grids(a);
    size_t nq = (size_t)steps(a, &a->qs, a->m, a->d, false, true);
    size_t nk = (size_t)steps(a, &a->ks, a->n, a->d, true, true);
    size_t nv = (size_t)steps(a, &a->vs, a->n, a->dv, false, true);
    h.q = bytes(nq);
    h.k = bytes(nk);
    h.v = bytes(nv);
    if (pick(0, 2) == 0)
        h.mask = draw_mask(a);
    a->q = device(h.q, nq);
    a->k = device(h.k, nk);
    a->v = device(h.v, nv);
    a->mask = h.mask ? device(h.mask, (size_t)a->n * (size_t)(a->ms.row ? a->m : 1) * sizeof *h.mask) : NULL;
    return h;
}

static void compare(const host *h, const uint8_t *want, const uint8_t *have, size_t n, size_t all, const char *what)
{
    size_t wrong = 0, first = 0;
    const ptq_k_attention *a = &h->a;
    for (size_t i = 0; i < n; i++)
        if (have[i] != want[i] && wrong++ == 0)
            first = i;
    for (size_t i = n; i < all; i++)
        wrong += have[i] != 0xa5;
    if (wrong)
        ck_abort_msg("%s: %zu of %zu bytes differ, the first at %zu: %d, not %d (batch %lld m %d n %d d %d dv %d, "
                     "zero points %d %d %d %d, signed %d %d %d, scores %d, requant %d float %d mask %d)",
                     what, wrong, n, first, have[first], want[first], (long long)a->batch, a->m, a->n, a->d, a->dv,
                     a->zq, a->zk, a->zv, a->zp, a->q_signed, a->k_signed, a->v_signed, a->scores, a->requant,
                     a->float_out, h->mask != NULL);
}

static void release(host *h)
{
    free_all();
    free((void *)(uintptr_t)h->q);
    free((void *)(uintptr_t)h->k);
    free((void *)(uintptr_t)h->v);
    free((void *)(uintptr_t)h->mask);
}

#ifndef PTQ_TEST_FAKE /* the stand-in device has no such kernel */
static void law(const host *h, void *y)
{
    const ptq_k_attention *a = &h->a;
    int32_t c[512];
    for (int64_t b = 0; b < a->batch; b++)
        for (int64_t i = 0; i < a->m; i++) {
            law_row(h, b, i, c);
            int64_t v0 = place(a, &a->vs, b), y0 = place(a, &a->ys, b) + i * a->ys.row;
            for (int64_t e = 0; e < a->dv; e++) {
                int32_t acc = 0;
                for (int64_t j = 0; j < a->n; j++)
                    acc += (c[j] - a->zp) * (code(h->v, v0 + j * a->vs.row + e * a->vs.col, a->v_signed) - a->zv);
                float v = (float)acc * a->pv_mult;
                if (a->float_out)
                    ((float *)y)[y0 + e * a->ys.col] = v;
                else if (a->requant)
                    ((uint8_t *)y)[y0 + e * a->ys.col] = (uint8_t)ptq_requantize(acc, a->pv_mult, a->zy, a->lo, a->hi);
                else
                    ((uint8_t *)y)[y0 + e * a->ys.col] = (uint8_t)ptq_quantize(v, a->sy, a->zy, a->lo, a->hi);
            }
        }
}

START_TEST(gpu_attend__equals_the_law)
{
    int cases = small_shapes() ? 24 : 300, ran = 0;
    ck_assert_ok(ptq_dev_open(0, &dev));
    ptq_rng_seed(&rng, 31);
    for (int i = 0; i < cases; i++) {
        host h = draw(small_shapes());
        ptq_k_attention *a = &h.a;
        size_t n = (size_t)steps(a, &a->ys, a->m, a->dv, false, false) * (a->float_out ? 4 : 1), all = n + 64;
        uint8_t *want = malloc(n), *have = malloc(all);
        ck_assert(want && have);
        memset(have, 0xa5, all);
        a->y = device(have, all);
        ptq_k_attention_run fast = ptq_k_attention_fast(dev, a);
        if (fast) {
            law(&h, want);
            ck_assert_ok(fast(dev, a));
            ck_assert_ok(ptq_dev_download(dev, have, a->y, all));
            compare(&h, want, have, n, all, "attention");
            ran++;
        }
        free(want);
        free(have);
        release(&h);
    }
    printf("%d of %d cases\n", ran, cases);
    ck_assert(ptq_dev_capability(dev) < 80 || ran == cases);
    ptq_dev_close(dev);
}
END_TEST
#endif

#ifndef PTQ_TEST_FAKE
/* Fast math in double: weights are codes against the largest of their row, whatever the grid of the probabilities. In
 * units of one value's code, times `unit` for the result's. */
static void quick_row(const host *h, int64_t b, int64_t i, double *out)
{
    const ptq_k_attention *a = &h->a;
    static double s[512];
    int64_t q0 = place(a, &a->qs, b) + i * a->qs.row, m0 = place(a, &a->ms, b) + i * a->ms.row;
    int64_t k0 = place(a, &a->ks, b), v0 = place(a, &a->vs, b);
    double max = -INFINITY, sum = 0.0, factor = a->scores ? 0.125 : 1.0;
    bool lone = false;
    for (int64_t j = 0; j < a->n; j++) {
        int32_t acc = 0;
        for (int64_t e = 0; e < a->d; e++)
            acc += (code(h->q, q0 + e * a->qs.col, a->q_signed) - a->zq) *
                   (code(h->k, k0 + e * a->ks.row + j * a->ks.col, a->k_signed) - a->zk);
        s[j] = (double)acc * (double)a->qk_mult * factor + (h->mask ? (double)h->mask[m0 + j * a->ms.col] : 0.0);
        lone = lone || isnan(s[j]);
        max = s[j] > max ? s[j] : max;
    }
    lone = lone || isinf(max);
    for (int64_t j = 0; j < a->n; j++)
        sum += s[j] = lone ? 1.0 : rint(255.0 * exp(s[j] - max));
    for (int64_t e = 0; e < a->dv; e++) {
        double acc = 0.0;
        for (int64_t j = 0; j < a->n; j++)
            acc += s[j] * (code(h->v, v0 + j * a->vs.row + e * a->vs.col, a->v_signed) - a->zv);
        out[e] = lone ? acc * (a->plo - a->zp) * (double)a->sp : acc / sum;
    }
}

typedef struct quick_misses {
    size_t n, far; /* far: more than one code away */
    double sum, worst;
} quick_misses;

static void compare_quick(const host *h, const void *y, quick_misses *m)
{
    const ptq_k_attention *a = &h->a;
    static double want[256];
    double unit = (double)a->pv_mult / (double)a->sp;
    for (int64_t b = 0; b < a->batch; b++)
        for (int64_t i = 0; i < a->m; i++) {
            int64_t y0 = place(a, &a->ys, b) + i * a->ys.row;
            quick_row(h, b, i, want);
            for (int64_t e = 0; e < a->dv; e++) {
                int64_t at = y0 + e * a->ys.col;
                double t = want[e], have;
                if (a->float_out) {
                    have = (double)((const float *)y)[at] / unit;
                } else {
                    t = t * unit / (a->requant ? 1.0 : (double)a->sy) + a->zy;
                    t = t < a->lo ? a->lo : t > a->hi ? a->hi : t;
                    have = code(y, at, a->lo < 0);
                }
                double away = fabs(t - have);
                m->n++;
                m->far += away > 1.5;
                m->sum += away;
                m->worst = away > m->worst || isnan(away) ? away : m->worst;
            }
        }
}

/* Against the same weights in double. Where the start of a row is rounded, and in a mask's last bits, weights are a
 * little less than those: a result is an average of values with weights of 8 bits, whose last place they move; that is
 * less than one code here, and the result is rounded to the nearest. */
START_TEST(gpu_attend__fast_math)
{
    int cases = small_shapes() ? 24 : 200, ran = 0, exact = 0;
    ck_assert_ok(ptq_dev_open(0, &dev));
    ptq_rng_seed(&rng, 34);
    for (int i = 0; i < cases; i++) {
        host h = draw(small_shapes());
        ptq_k_attention *a = &h.a;
        size_t n = (size_t)steps(a, &a->ys, a->m, a->dv, false, false) * (a->float_out ? 4 : 1), all = n + 64;
        uint8_t *have = malloc(all);
        ck_assert_ptr_nonnull(have);
        memset(have, 0xa5, all);
        a->fast = 1;
        a->pv_mult = a->sp * (a->requant || a->float_out ? 1.0f : a->sy) * (0.2f + 0.8f * ptq_rng_uniform(&rng));
        a->y = device(have, all);
        ptq_k_attention_run fast = ptq_k_attention_fast(dev, a);
        ptq_dev_kernel(dev);
        if (fast) {
            quick_misses m = {0};
            ck_assert_ok(fast(dev, a));
            bool quick = strcmp(ptq_dev_kernel(dev), "attention_fast") == 0;
            ck_assert_ok(ptq_dev_download(dev, have, a->y, all));
            ran += quick;
            exact += !quick;
            if (quick)
                compare_quick(&h, have, &m);
            for (size_t e = n; e < all; e++)
                ck_assert_int_eq(have[e], 0xa5);
            if (quick && !(m.worst <= 2.5 && m.far * 200 <= m.n && m.sum <= 0.35 * (double)m.n))
                ck_abort_msg("batch %lld m %d n %d d %d dv %d, zero points %d %d %d %d, scores %d, requant %d float %d "
                             "mask %d: mean %.3f, worst %.3f, %zu of %zu far", (long long)a->batch, a->m, a->n, a->d,
                             a->dv, a->zq, a->zk, a->zv, a->zp, a->scores, a->requant, a->float_out, h.mask != NULL,
                             m.sum / (double)m.n, m.worst, m.far, m.n);
        }
        free(have);
        release(&h);
    }
    printf("%d of %d cases, %d by the exact kernel\n", ran, cases, exact);
    ck_assert(ptq_dev_capability(dev) < 80 || ran > cases / 3);
    ptq_dev_close(dev);
}
END_TEST
#endif

START_TEST(gpu_attend__rows_equal_the_law)
{
    int cases = small_shapes() ? 12 : 60;
    ck_assert_ok(ptq_dev_open(0, &dev));
    ptq_rng_seed(&rng, 32);
    for (int i = 0; i < cases; i++) {
        host h = draw(small_shapes());
        ptq_k_attention *a = &h.a;
        size_t n = (size_t)(a->batch * a->m * a->n);
        float *x = malloc(n * sizeof *x);
        uint8_t *want = malloc(n), *have = malloc(n + 64);
        ck_assert(x && want && have);
        for (int64_t b = 0; b < a->batch; b++)
            for (int64_t r = 0; r < a->m; r++) {
                int32_t c[512];
                law_row(&h, b, r, c);
                for (int64_t j = 0; j < a->n; j++)
                    want[(b * a->m + r) * a->n + j] = (uint8_t)c[j];
            }
        /* the scores again, as the product gives them */
        for (int64_t e = 0; e < (int64_t)n; e++) {
            int64_t b = e / a->n / a->m, r = e / a->n % a->m, j = e % a->n;
            int64_t q0 = place(a, &a->qs, b) + r * a->qs.row, k0 = place(a, &a->ks, b) + j * a->ks.col;
            int32_t acc = 0;
            for (int64_t k = 0; k < a->d; k++)
                acc += (code(h.q, q0 + k * a->qs.col, a->q_signed) - a->zq) *
                       (code(h.k, k0 + k * a->ks.row, a->k_signed) - a->zk);
            x[e] = (float)acc * a->qk_mult;
        }
        memset(have, 0xa5, n + 64);
        ptq_k_attention_rows rows = {.x = device(x, n * sizeof *x), .mask = a->mask, .y = device(have, n + 64),
                                     .batch = a->batch, .m = a->m, .n = a->n, .nbd = a->nbd, .scores = a->scores,
                                     .mask_row = a->ms.row, .mask_col = a->ms.col, .factor = a->factor, .s = a->sp,
                                     .z = a->zp, .lo = a->plo, .hi = a->phi};
        for (int d = 0; d < a->nbd; d++)
            rows.bdim[d] = a->bdim[d];
        ck_assert_ok(ptq_k_run_attention_rows(dev, &rows));
        ck_assert_ok(ptq_dev_download(dev, have, rows.y, n + 64));
        compare(&h, want, have, n, n + 64, "rows");
        free(x);
        free(want);
        free(have);
        release(&h);
    }
    ptq_dev_close(dev);
}
END_TEST

static void check_norm(int64_t rows, int64_t n, bool with_float)
{
    size_t all = (size_t)(rows * n);
    float *x = malloc(all * 4), *f = malloc(all * 4), *scale = malloc((size_t)n * 4), *bias = malloc((size_t)n * 4);
    uint8_t *have = malloc(all);
    bool sgn = pick(0, 1);
    ptq_k_qnorm a = {.rows = rows, .n = n, .eps = 1e-6f, .s = 0.005f + 0.03f * ptq_rng_uniform(&rng),
                     .lo = sgn ? -128 : 0, .hi = sgn ? 127 : 255};
    ck_assert(x && f && scale && bias && have);
    a.z = pick(0, 1) ? 0 : pick(a.lo, a.hi);
    for (size_t i = 0; i < all; i++)
        x[i] = pick(0, 999) ? 8.0f * ptq_rng_uniform(&rng) - 3.0f : 1e4f;
    for (int64_t i = 0; i < n; i++) {
        scale[i] = 0.5f + ptq_rng_uniform(&rng);
        bias[i] = ptq_rng_uniform(&rng) - 0.5f;
    }
    a.x = device(x, all * 4);
    a.scale = device(scale, (size_t)n * 4);
    a.bias = pick(0, 3) ? device(bias, (size_t)n * 4) : NULL;
    a.y = device(NULL, all);
    a.f = with_float ? device(NULL, all * 4) : NULL;
    ck_assert_ok(ptq_k_run_qnorm(dev, &a));
    ck_assert_ok(ptq_dev_download(dev, have, a.y, all));
    if (a.f)
        ck_assert_ok(ptq_dev_download(dev, f, a.f, all * 4));
    for (int64_t r = 0; r < rows; r++) {
        const float *v = x + r * n;
        float mean = ptq_sum16(v, n, 1) / (float)n;
        float rstd = 1.0f / sqrtf(ptq_sumsq16(v, mean, n, 1) / (float)n + a.eps);
        for (int64_t i = 0; i < n; i++) {
            float y = ptq_normalizef(v[i], mean, rstd, scale[i], a.bias ? bias[i] : 0.0f);
            ck_assert_int_eq(have[r * n + i], (uint8_t)ptq_quantize(y, a.s, a.z, a.lo, a.hi));
            ck_assert(!a.f || memcmp(&f[r * n + i], &y, 4) == 0);
        }
    }
    free_all();
    free(x);
    free(f);
    free(scale);
    free(bias);
    free(have);
}

START_TEST(gpu_attend__norm_equals_the_law)
{
    static const int sizes[] = {1, 7, 48, 64, 100, 128, 192, 256, 320, 512, 768, 1000, 1024, 1536};
    ck_assert_ok(ptq_dev_open(0, &dev));
    ptq_rng_seed(&rng, 33);
    for (size_t i = 0; i < PTQ_COUNT(sizes); i++)
        for (int with = 0; with < 2; with++)
            check_norm(pick(1, small_shapes() ? 20 : 70), sizes[i], with);
    ptq_dev_close(dev);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("attention on the device");
#ifndef PTQ_TEST_FAKE
    tcase_add_test(add_case(s, "law"), gpu_attend__equals_the_law);
    tcase_add_test(add_case(s, "fast"), gpu_attend__fast_math);
#endif
    TCase *rows = add_case(s, "rows");
    tcase_add_test(rows, gpu_attend__rows_equal_the_law);
    tcase_add_test(rows, gpu_attend__norm_equals_the_law);
    return unit_run(s);
}
