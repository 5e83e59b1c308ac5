/* SPDX-License-Identifier: Apache-2.0 */
/* The fast forms of depthwise convolution, quantize and maximum pooling against the reference kernels
 * on the device (PTQ_GPU_REF=1), byte by byte: random shapes, steps, pads and zero points, extreme
 * codes, floats around ties, infinities and NaN; nothing may be written behind the result. */
#include "lib/core/fmath.h"
#include "tests/gpu_kit.h"

enum { GUARD = 64 };
static int64_t fast_runs;

#define ONE_OF(...) ((int[]){__VA_ARGS__})[pick(0, (int)PTQ_COUNT(((int[]){__VA_ARGS__})) - 1)]

static void *random_bytes(size_t n, bool extreme)
{
    uint8_t *p = malloc(n + 1);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < n; i++)
        p[i] = extreme ? (uint8_t)ONE_OF(0, 0x7f, 0x80, 0xff) : (uint8_t)ptq_rng_u64(&rng);
    void *d = device(p, n);
    free(p);
    return d;
}

static void result_of(ptq_dev_work run, const void *arg, void *y, uint8_t *out, size_t n, bool reference)
{
    memset(out, 0xa5, n + GUARD);
    ck_assert_ok(ptq_dev_upload(dev, y, out, n + GUARD));
    setenv("PTQ_GPU_REF", reference ? "1" : "0", 1);
    ck_assert_ok(run(dev, arg));
    unsetenv("PTQ_GPU_REF");
    ck_assert_ok(ptq_dev_download(dev, out, y, n + GUARD));
}

/* Runs both forms; `fast` is the name of the kernel that must have run, or NULL for either. */
static void same(ptq_dev_work run, const void *arg, void *y, size_t n, const char *fast, const char *what)
{
    uint8_t *want = malloc(n + GUARD), *have = malloc(n + GUARD);
    ck_assert(want && have);
    result_of(run, arg, y, want, n, true);
    ptq_dev_kernel(dev);
    result_of(run, arg, y, have, n, false);
    const char *kernel = ptq_dev_kernel(dev);
    if (fast && n)
        ck_assert_msg(kernel && strcmp(kernel, fast) == 0, "%s: ran %s, not %s", what, kernel, fast);
    fast_runs += fast && n;
    if (memcmp(want, have, n + GUARD) != 0) {
        size_t first = 0, wrong = 0;
        for (size_t i = n + GUARD; i-- > 0;)
            if (want[i] != have[i]) {
                first = i;
                wrong++;
            }
        ck_abort_msg("%s: %zu of %zu bytes differ, the first at %zu: %d, not %d", what, wrong, n, first, have[first],
                     want[first]);
    }
    free(want);
    free(have);
    free_all();
}

/* ---- depthwise ---- */

static ptq_status run_depthwise(ptq_dev *d, const void *a)
{
    return ptq_k_run_depthwise(d, a);
}

/* The geometry is in `a`; draws the rest. */
static void check_depthwise(ptq_k_depthwise a, bool extreme)
{
    char what[200];
    int taps = a.kernel_h * a.kernel_w;
    a.cpad = (a.c + 3) / 4 * 4;
    a.x_signed = pick(0, 1);
    a.zx = extreme ? (a.x_signed ? -128 : 255) : a.x_signed ? pick(-128, 127) : pick(0, 255);
    a.lo = pick(0, 1) ? -128 : 0;
    a.hi = a.lo + 255;
    a.zy = pick(0, 2) ? pick(a.lo, a.hi) : a.lo;
    if (pick(0, 2) == 0)
        a.lo = a.zy;
    float *mult = malloc((size_t)a.cpad * sizeof *mult);
    int32_t *bias = malloc((size_t)a.cpad * sizeof *bias);
    for (int i = 0; i < a.cpad; i++) {
        mult[i] = (0.2f + ptq_rng_uniform(&rng)) / (float)(extreme ? 900 * taps : 80 * taps);
        bias[i] = pick(0, 9) ? pick(-20000, 20000) : pick(0, 1) ? INT32_MAX : INT32_MIN;
    }
    size_t out = (size_t)(a.batch * a.out_h * a.out_w * a.c);
    a.x = random_bytes((size_t)(a.batch * a.in_h * a.in_w * a.c), extreme);
    a.w = random_bytes((size_t)taps * (size_t)a.cpad, extreme);
    a.mult = device(mult, (size_t)a.cpad * sizeof *mult);
    a.bias = device(bias, (size_t)a.cpad * sizeof *bias);
    a.y = device(NULL, out + GUARD);
    free(mult);
    free(bias);
    bool fast = a.c % 4 == 0 && a.kernel_h == a.kernel_w && (a.kernel_h == 3 || a.kernel_h == 5) &&
                a.stride_h == a.stride_w && a.stride_h < 3;
    snprintf(what, sizeof what, "depthwise %lld x %dx%d x %d to %dx%d, kernel %dx%d, steps %d, %d, pads %d, %d, zx %d",
             (long long)a.batch, a.in_h, a.in_w, a.c, a.out_h, a.out_w, a.kernel_h, a.kernel_w, a.stride_h,
             a.stride_w, a.pad_h, a.pad_w, a.zx);
    same(run_depthwise, &a, a.y, out, fast ? "depthwise_strip" : NULL, what);
}

static int out_size(int in, int kernel, int stride, int *pad)
{
    int end = pick(0, kernel);
    *pad = pick(0, kernel);
    while (in + *pad + end < kernel)
        end++;
    return (in + *pad + end - kernel) / stride + 1;
}

START_TEST(gpu_wide__depthwise)
{
    ptq_rng_seed(&rng, 400 + (uint64_t)_i);
    for (int i = 0; i < 60; i++) {
        ptq_k_depthwise a = {.batch = ONE_OF(0, 1, 1, 2, 3, 7), .c = ONE_OF(3, 4, 6, 8, 12, 16, 20, 36, 144, 160),
                             .in_h = pick(1, 23), .in_w = pick(1, 23), .kernel_h = ONE_OF(3, 3, 3, 5, 5, 2),
                             .stride_h = ONE_OF(1, 1, 2, 2, 3), .dil_h = 1, .dil_w = 1};
        a.kernel_w = pick(0, 9) ? a.kernel_h : ONE_OF(3, 5);
        a.stride_w = pick(0, 9) ? a.stride_h : ONE_OF(1, 2);
        a.out_h = out_size(a.in_h, a.kernel_h, a.stride_h, &a.pad_h);
        a.out_w = out_size(a.in_w, a.kernel_w, a.stride_w, &a.pad_w);
        check_depthwise(a, pick(0, 3) == 0);
    }
    if (small_shapes())
        return;
    /* enough columns for strips of many rows */
    int k = _i & 1 ? 5 : 3, s = 1 + _i / 2 % 2;
    check_depthwise((ptq_k_depthwise){.batch = 97, .c = 288, .in_h = 30 * s, .in_w = 61 * s, .kernel_h = k,
                                      .kernel_w = k, .stride_h = s, .stride_w = s, .dil_h = 1, .dil_w = 1,
                                      .pad_h = k / 2, .pad_w = k / 2, .out_h = 30, .out_w = 61}, false);
}
END_TEST

/* ---- quantize ---- */

static ptq_status run_quantize(ptq_dev *d, const void *a)
{
    return ptq_k_run_quantize(d, a);
}

/* Around the ties of the grid, beyond its ends, of any size, and no numbers at all. */
static float hard_float(float s)
{
    float tie = ((float)pick(-300, 300) + 0.5f) * s;
    switch (pick(0, 9)) {
    case 0: return ONE_OF(0, 1) ? INFINITY : -INFINITY;
    case 1: return pick(0, 1) ? NAN : -NAN;
    case 2: return ptq_bits_float((uint32_t)ptq_rng_u64(&rng));
    case 3: return ((float)pick(-300, 300) + ptq_rng_uniform(&rng)) * s;
    default: return ptq_bits_float(ptq_float_bits(tie) + (uint32_t)pick(-3, 3));
    }
}

static void check_quantize(int64_t n, int64_t rows, int64_t cols, float s)
{
    char what[120];
    ptq_k_quant a = {.n = n, .rows = rows, .cols = cols, .one_scale = s, .bytes = 1, .sgn = pick(0, 1),
                     .lanes = rows ? 1 : 4, .inner = 1, .channels = 1};
    float *x = malloc((size_t)(n + 1) * sizeof *x);
    a.lo = a.sgn ? -128 : 0;
    a.hi = a.lo + 255;
    a.one_zp = pick(0, 2) ? pick(a.lo, a.hi) : 0;
    if (pick(0, 3) == 0)
        a.lo = pick(0, 1) ? a.one_zp : a.lo + 1;
    for (int64_t i = 0; i < n; i++)
        x[i] = hard_float(s);
    a.x = device(x, (size_t)n * sizeof *x);
    a.y = device(NULL, (size_t)n + GUARD);
    free(x);
    bool fast = s >= 0x1p-60f && s <= 0x1p60f && (!rows || (rows % 4 == 0 && cols == 3));
    snprintf(what, sizeof what, "quantize %lld, %lld x %lld, scale %a, zero point %d", (long long)n, (long long)rows,
             (long long)cols, (double)s, a.one_zp);
    same(run_quantize, &a, a.y, (size_t)n, !fast ? NULL : rows ? "quantize_image" : "quantize_wide", what);
}

static float any_scale(void)
{
    switch (pick(0, 5)) {
    case 0: return ldexpf(1.0f, pick(-66, 66));
    case 1: return ptq_bits_float((uint32_t)pick(127 - 60, 127 + 59) << 23 | 0x7fffffu); /* all ones */
    case 2: return ptq_bits_float((uint32_t)pick(127 - 60, 127 + 59) << 23 | 1u);
    case 3: return ldexpf(1.0f + ptq_rng_uniform(&rng), pick(-70, 70));
    default: return 0.001f + 0.1f * ptq_rng_uniform(&rng);
    }
}

START_TEST(gpu_wide__quantize)
{
    ptq_rng_seed(&rng, 500 + (uint64_t)_i);
    for (int i = 0; i < 24; i++) {
        int64_t rows = ONE_OF(1, 4, 8, 25, 28, 1024, 3136), images = ONE_OF(0, 1, 2, 7), cols = ONE_OF(3, 3, 3, 1, 4);
        check_quantize(ONE_OF(0, 1, 2, 3, 4, 5, 1023, 4096, 4099, 70001), 0, 0, any_scale());
        check_quantize(images * rows * cols, rows, cols, any_scale());
    }
    for (int i = 0; i < 8; i++)
        check_quantize(300003, 0, 0, any_scale());
}
END_TEST

/* ---- maximum ---- */

static ptq_status run_maxpool(ptq_dev *d, const void *a)
{
    return ptq_k_run_qmaxpool(d, a);
}

static void check_maxpool(bool extreme)
{
    char what[160];
    int c = ONE_OF(1, 4, 8, 12, 16, 20, 48, 64), k = ONE_OF(2, 3, 3, 3, 4), in[3] = {1, pick(1, 20), pick(1, 20)};
    ptq_k_pool a = {.n = ONE_OF(0, 1, 2, 7), .sgn = pick(0, 1), .lanes = c % 4 == 0 ? 4 : 1, .x_cs = 1, .y_cs = 1};
    bool meets = true;
    a.groups = c / a.lanes;
    a.pixels = 1;
    for (int d = 0; d < 3; d++) {
        int pad = 0;
        a.in[d] = in[d];
        a.stride[d] = d ? pick(1, 3) : 1;
        a.dilation[d] = d && pick(0, 9) == 0 ? 2 : 1;
        a.kernel[d] = d ? k : 1;
        a.out[d] = d ? out_size(in[d], (int)a.dilation[d] * (k - 1) + 1, (int)a.stride[d], &pad) : 1;
        a.pad[d] = pad;
        a.pixels *= a.out[d];
        meets = meets && a.dilation[d] == 1 && pad < a.kernel[d] && (a.out[d] - 1) * a.stride[d] - pad < in[d];
    }
    a.x_ps = a.y_ps = c;
    a.x_ns = (int64_t)in[1] * in[2] * c;
    a.y_ns = a.pixels * c;
    a.x = random_bytes((size_t)(a.n * a.x_ns), extreme);
    a.y = device(NULL, (size_t)(a.n * a.y_ns) + GUARD);
    snprintf(what, sizeof what, "maxpool %lld x %dx%d x %d to %lldx%lld, kernel %d, pads %lld, %lld", (long long)a.n,
             in[1], in[2], c, (long long)a.out[1], (long long)a.out[2], k, (long long)a.pad[1], (long long)a.pad[2]);
    same(run_maxpool, &a, a.y, (size_t)(a.n * a.y_ns), meets && a.lanes == 4 && k < 4 ? "maxpool_wide" : NULL, what);
}

START_TEST(gpu_wide__maxpool)
{
    ptq_rng_seed(&rng, 600 + (uint64_t)_i);
    for (int i = 0; i < 60; i++)
        check_maxpool(pick(0, 3) == 0);
}
END_TEST

START_TEST(gpu_wide__ran)
{
    printf("%lld runs of fast forms\n", (long long)fast_runs);
    ck_assert_int_gt(fast_runs, 200);
}
END_TEST

static void open_device(void)
{
    ck_assert_ok(ptq_dev_open(0, &dev));
}

static void close_device(void)
{
    ptq_dev_close(dev);
}

int main(void)
{
    Suite *s = suite_create("fast forms on the device");
    TCase *t = tcase_create("wide");
    tcase_add_unchecked_fixture(t, open_device, close_device);
    tcase_add_checked_fixture(t, NULL, free_all); /* after a failure too */
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, gpu_wide__depthwise, 0, 4);
    tcase_add_loop_test(t, gpu_wide__quantize, 0, 4);
    tcase_add_loop_test(t, gpu_wide__maxpool, 0, 4);
    tcase_add_test(t, gpu_wide__ran);
    suite_add_tcase(s, t);
    return unit_run(s);
}
