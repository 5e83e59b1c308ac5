/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernel row runs a product, as far as the host knows: products whose results are near, what tells two products
 * apart, and lines of measurements that are left out. On the stand-in device, with rows of its own. */
#include <math.h>

#include "lib/gpu/tune.h"
#include "tests/fake_dev.h"
#include "tests/unit.h"

/* ---- near ---- */

enum { N = PTQ_K_GEMM_N };

/* One channel with this bias and multiplier, k = 64, among channels that are near. */
static bool near_at(int channel, int32_t bias, float mult)
{
    int32_t b[N] = {0};
    float m[N];
    for (int i = 0; i < N; i++)
        m[i] = 0x1p-12f;
    b[channel] = bias;
    m[channel] = mult;
    return ptq_k_gemm_is_near(b, m, N, PTQ_K_GEMM_K);
}

START_TEST(tune__near)
{
    const int32_t products = 255 * 128 * PTQ_K_GEMM_K, rest = (1 << 22) - products;
    static const int channels[] = {0, 1, 63, N - 1};
    for (size_t i = 0; i < PTQ_COUNT(channels); i++) {
        int c = channels[i];
        ck_assert(near_at(c, 0, 0.0f));
        /* 2^22 steps of the output, of either sign */
        ck_assert(near_at(c, rest - 1, 1.0f) && near_at(c, 1 - rest, 1.0f));
        ck_assert(near_at(c, rest - 1, -1.0f) && near_at(c, 1 - rest, -1.0f));
        ck_assert(!near_at(c, rest, 1.0f) && !near_at(c, -rest, 1.0f));
        ck_assert(!near_at(c, rest, -1.0f) && !near_at(c, -rest, -1.0f));
        ck_assert(near_at(c, 0, 2.0f) && !near_at(c, 0, 2.01f) && !near_at(c, 0, -2.01f));
        /* 2^31: the sum with the bias may wrap */
        ck_assert(near_at(c, INT32_MAX - products, 0x1p-20f) && near_at(c, products - INT32_MAX, 0x1p-20f));
        ck_assert(!near_at(c, INT32_MAX - products + 1, 0x1p-20f) && !near_at(c, products - INT32_MAX - 1, 0x1p-20f));
        ck_assert(!near_at(c, INT32_MAX, 0.0f) && !near_at(c, INT32_MIN, 0.0f));
        ck_assert(!near_at(c, 0, NAN) && !near_at(c, 0, INFINITY) && !near_at(c, 0, -INFINITY));
    }
}
END_TEST

static ptq_k_gemm product(int64_t m, bool near)
{
    return (ptq_k_gemm){.m = m, .n = 64, .npad = N, .kpad = PTQ_K_GEMM_K, .c = 64, .in_h = 1, .in_w = 1, .out_h = 1,
                        .out_w = 1, .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dil_h = 1,
                        .dil_w = 1, .lo = -128, .hi = 127, .near = near};
}

START_TEST(tune__ends_near)
{
    ptq_k_gemm a = product(100, true);
    ck_assert(ptq_k_gemm_ends_near(&a));
    a.lo = 0;
    ck_assert(ptq_k_gemm_ends_near(&a));
    a.residual = (ptq_residual){.kind = PTQ_RESIDUAL_FLOAT, .r = nextafterf(0x1p13f, 0.0f)};
    ck_assert(ptq_k_gemm_ends_near(&a));
    a.residual.r = 0x1p13f;
    ck_assert(!ptq_k_gemm_ends_near(&a));
    a.residual.r = NAN;
    ck_assert(!ptq_k_gemm_ends_near(&a));
    a.residual = (ptq_residual){.kind = PTQ_RESIDUAL_ROUNDED, .r = 1.0f};
    ck_assert(!ptq_k_gemm_ends_near(&a));
    for (int i = 0; i < 5; i++) {
        a = product(100, i != 0);
        a.lo = i == 1 ? 7 : a.lo;
        a.n = i == 2 ? 65 : a.n;
        a.float_out = i == 3;
        a.tail.on = i == 4;
        ck_assert(!ptq_k_gemm_ends_near(&a));
    }
}
END_TEST

/* ---- choices ---- */

static int runs;

static bool takes_near(const ptq_dev *d, const ptq_k_gemm *a)
{
    (void)d;
    return ptq_k_gemm_ends_near(a);
}

static bool takes_all(const ptq_dev *d, const ptq_k_gemm *a)
{
    (void)d;
    (void)a;
    return true;
}

static ptq_status run(ptq_dev *d, const ptq_k_gemm *a)
{
    (void)d;
    (void)a;
    runs++;
    return PTQ_OK;
}

static const ptq_k_gemm_row row_near = {"near_64x64", takes_near, run}, row_all = {"all_64x64", takes_all, run};
static const ptq_k_gemm_row *const rows[] = {&row_near, &row_all, NULL};

static ptq_gpu_tuner *tuner;
static ptq_dev *dev;

static void start(void)
{
    ptq_fake_rows = rows;
    runs = 0;
    ck_assert_ok(ptq_dev_open(0, &dev));
    ck_assert_ok(ptq_gpu_tuner_new(&tuner));
}

static void stop(void)
{
    ptq_gpu_tuner_free(tuner);
    ptq_dev_close(dev);
}

static const char *choice(int64_t m, bool near)
{
    ptq_k_gemm a = product(m, near);
    const ptq_k_gemm_row *row;
    ck_assert_ok(ptq_gpu_tuner_choose(tuner, dev, &a, &row));
    ck_assert(row->supports(dev, &a));
    return row->name;
}

static char *written(void)
{
    char *text;
    ck_assert_ok(ptq_gpu_tuner_write(tuner, &text));
    return text;
}

static int lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* Two products of one shape keep a choice each, also when they come in turns, and when they are read back. */
START_TEST(tune__near_is_told_apart)
{
    int measured = 0;
    for (int i = 0; i < 3; i++) {
        ck_assert_str_eq(choice(100, true), "near_64x64");
        ck_assert_int_gt(runs, 0);
        ck_assert_str_eq(choice(100, false), "all_64x64");
        measured = i == 0 ? runs : measured;
        ck_assert_int_eq(runs, measured); /* each shape once */
    }
    char *text = written();
    ck_assert_int_eq(lines(text), 2);
    stop();
    start();
    ck_assert_ok(ptq_gpu_tuner_read(tuner, text, true));
    ck_assert_str_eq(choice(100, true), "near_64x64");
    ck_assert_str_eq(choice(100, false), "all_64x64");
    ck_assert_str_eq(choice(999, true), "near_64x64"); /* from the nearest */
    ck_assert_str_eq(choice(999, false), "all_64x64");
    ck_assert_int_eq(runs, 0);
    char *again = written();
    ck_assert_str_eq(again, text);
    free(again);
    free(text);
}
END_TEST

/* As the rows for the ends of GELUs: not all of one shape. */
static bool takes_gelu(const ptq_dev *d, const ptq_k_gemm *a)
{
    (void)d;
    return a->tail.gelu && a->tail.factor == 1.0f && (float)(a->zy - a->lo) * a->tail.s > 0.18f;
}

static const ptq_k_gemm_row row_gelu = {"gelu_64x64", takes_gelu, run};
static const ptq_k_gemm_row *const gelu_rows[] = {&row_gelu, &row_all, NULL};

static const char *gelu_choice(float factor, int32_t zy)
{
    ptq_k_gemm a = product(100, false);
    const ptq_k_gemm_row *row;
    a.zy = zy;
    a.tail = (ptq_k_tail){.on = 1, .codes = 1, .gelu = 1, .factor = factor, .s = 0.05f};
    ck_assert_ok(ptq_gpu_tuner_choose(tuner, dev, &a, &row));
    return row->name;
}

START_TEST(tune__gelus_are_told_apart)
{
    ptq_fake_rows = gelu_rows;
    for (int i = 0; i < 2; i++) { /* whichever comes first */
        ck_assert_str_eq(gelu_choice(_i ? 0.5f : 1.0f, 0), _i ? "all_64x64" : "gelu_64x64");
        ck_assert_str_eq(gelu_choice(_i ? 1.0f : 0.5f, 0), _i ? "gelu_64x64" : "all_64x64");
        ck_assert_str_eq(gelu_choice(1.0f, -125), "all_64x64"); /* codes down to -0.15 */
        ck_assert_str_eq(gelu_choice(1.0f, -124), "gelu_64x64");
    }
    char *text = written();
    ck_assert_int_eq(lines(text), 2);
    free(text);
}
END_TEST

static void check_left_out(const char *line)
{
    ck_assert_ok(ptq_gpu_tuner_read(tuner, line, true));
    char *text = written();
    ck_assert_msg(!*text, "'%s' was read as %s", line, text);
    free(text);
}

/* The line less its key number `key`, with `put` for it. */
static void edited(const char *line, int key, const char *put, char *out, size_t n)
{
    const char *at = line + strlen("gemm");
    for (int i = 0; i < key; i++)
        at += 1 + strcspn(at + 1, " ");
    snprintf(out, n, "%.*s%s%s", (int)(at - line), line, put, at + 1 + strcspn(at + 1, " "));
}

START_TEST(tune__lines_left_out)
{
    char line[1024];
    choice(100, true);
    char *text = written();
    int keys = -2; /* the word in front, the row and the time are none */
    for (const char *p = text; *p; p++)
        keys += *p == ' ';
    ck_assert_int_gt(keys, 15);
    for (int k = 0; k < keys; k++) {
        static const char *const wrong[] = {" -1", " -9223372036854775808", " x", " 1x", ""};
        for (size_t i = 0; i < PTQ_COUNT(wrong); i++) { /* the last: a line of a build that knew less */
            stop();
            start();
            edited(text, k, wrong[i], line, sizeof line);
            check_left_out(line);
        }
    }
    stop();
    start();
    static const char *const ends[] = {"other_64x64 1.000", "near_64x64 0.000", "near_64x64 -1.0", "near_64x64 1.0 x",
                                       "near_64x64"};
    for (size_t i = 0; i < PTQ_COUNT(ends); i++) {
        snprintf(line, sizeof line, "%.*s%s\n", (int)(strstr(text, "near_") - text), text, ends[i]);
        check_left_out(line);
    }
    check_left_out("conv 1 2 3 near_64x64 1.000\n\ngemm\n");
    /* the largest number is no neighbour of what is measured, and no harm */
    edited(text, 0, " 9223372036854775807", line, sizeof line);
    ck_assert_ok(ptq_gpu_tuner_read(tuner, line, true));
    ck_assert_ok(ptq_gpu_tuner_read(tuner, text, true));
    ck_assert_str_eq(choice(1, true), "near_64x64");
    free(text);
}
END_TEST

int main(void)
{
    unsetenv("PTQ_GPU_GEMM");
    unsetenv("PTQ_GPU_TUNE");
    Suite *s = suite_create("choices of kernels");
    TCase *near = tcase_create("near"), *t = tcase_create("choices");
    tcase_add_test(near, tune__near);
    tcase_add_test(near, tune__ends_near);
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, tune__near_is_told_apart);
    tcase_add_loop_test(t, tune__gelus_are_told_apart, 0, 2);
    tcase_add_test(t, tune__lines_left_out);
    suite_add_tcase(s, near);
    suite_add_tcase(s, t);
    return unit_run(s);
}
