/* SPDX-License-Identifier: Apache-2.0 */
/* The float law against libm in double, and the vector loops against the law's bytes. */
#include "tests/unit.h"

#include <math.h>
#include <string.h>

#include "lib/cpu/f32.h"
#include "lib/gpu/erfc16.h"
#include "lib/gpu/gelu_tanh.h"

/* Distance in units in the last place of the float nearest to `want`. */
static double ulps(float got, double want)
{
    if (isnan(want))
        return isnan(got) ? 0 : 1e9;
    float near = (float)want;
    if (isinf(near) || isinf(got))
        return got == near || fabs(want) > 3.4e38 ? 0 : 1e9;
    int e;
    frexp(want, &e);
    double unit = fmax(ldexp(1, e - 24), 0x1p-149);
    return fabs((double)got - want) / unit;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static const struct {
    const char *name;
    float (*f)(float);
    double (*want)(double);
    double bound;
    size_t loop;
} functions[] = {
    {"exp", ptq_expf, exp, 1.05, offsetof(ptq_f32_fns, exp)},
    {"log", ptq_logf, log, 0.85, offsetof(ptq_f32_fns, log)},
    {"tanh", ptq_tanhf, tanh, 1.4, offsetof(ptq_f32_fns, tanh)},
    {"sigmoid", ptq_sigmoidf, sigmoid, 2.3, offsetof(ptq_f32_fns, sigmoid)},
    {"erf", ptq_erff, erf, 1.3, offsetof(ptq_f32_fns, erf)},
    {"softplus", ptq_softplusf, softplus, 2.5, offsetof(ptq_f32_fns, softplus)},
};

/* Bit patterns over every sign and exponent, 32749 (a prime) apart. */
START_TEST(fmath__errors_are_bounded)
{
    for (size_t k = 0; k < PTQ_COUNT(functions); k++) {
        double worst = 0;
        float at = 0;
        for (uint64_t u = 0; u <= UINT32_MAX; u += 32749) {
            float x = ptq_bits_float((uint32_t)u);
            double d = ulps(functions[k].f(x), functions[k].want((double)x));
            if (d > worst) {
                worst = d;
                at = x;
            }
        }
        ck_assert_msg(worst <= functions[k].bound, "%s(%.9g) is off by %.3f units",
                      functions[k].name, (double)at, worst);
    }
}
END_TEST

START_TEST(fmath__special_values)
{
    ck_assert(ptq_expf(0.0f) == 1.0f && ptq_expf(-INFINITY) == 0.0f);
    ck_assert(ptq_expf(INFINITY) == INFINITY && isnan(ptq_expf(NAN)));
    ck_assert(ptq_logf(1.0f) == 0.0f && ptq_logf(0.0f) == -INFINITY && isnan(ptq_logf(-1.0f)));
    ck_assert(ptq_logf(INFINITY) == INFINITY && isnan(ptq_logf(NAN)));
    ck_assert(ptq_tanhf(40.0f) == 1.0f && ptq_tanhf(-INFINITY) == -1.0f);
    ck_assert(signbit(ptq_tanhf(-0.0f)) && signbit(ptq_erff(-0.0f)));
    ck_assert(ptq_erff(5.0f) == 1.0f && ptq_erff(-INFINITY) == -1.0f && isnan(ptq_erff(NAN)));
    ck_assert(ptq_sigmoidf(-INFINITY) == 0.0f && ptq_sigmoidf(INFINITY) == 1.0f);
}
END_TEST

static const ptq_f32_fns *table(int isa)
{
    ptq_cpu c = {.isa = (ptq_isa)isa};
    return ptq_cpu_f32(&c);
}

START_TEST(fmath__loops_have_the_bytes_of_the_law)
{
    enum { N = 100003 };
    float *x = calloc(N, sizeof *x), *y = calloc(N, sizeof *y);
    for (int i = 0; i < N; i++) /* all exponents, NaN too */
        x[i] = ptq_bits_float((uint32_t)i * 42949u);
    for (int isa = PTQ_ISA_REF; isa <= (int)ptq_isa_best(); isa++)
        for (size_t k = 0; k < PTQ_COUNT(functions); k++) {
            ptq_f32_unary f;
            memcpy(&f, (const char *)table(isa) + functions[k].loop, sizeof f);
            f(x, y, N, NULL);
            for (int i = 0; i < N; i++) {
                float want = functions[k].f(x[i]);
                bool nan = isnan(want) && isnan(y[i]);
                if (!nan && memcmp(&want, &y[i], 4) != 0)
                    ck_abort_msg("%s, %s: %a gives %a, not %a", ptq_isa_name((ptq_isa)isa),
                                 functions[k].name, (double)x[i], (double)y[i], (double)want);
            }
        }
    free(x);
    free(y);
}
END_TEST

START_TEST(fmath__sums_have_one_order)
{
    enum { N = 531 };
    float x[N];
    ptq_rng r;
    ptq_rng_seed(&r, 3);
    for (int i = 0; i < N; i++)
        x[i] = ptq_rng_normal(&r);
    for (int isa = PTQ_ISA_REF; isa <= (int)ptq_isa_best(); isa++)
        for (int n = 0; n <= N; n += n < 40 ? 1 : 97) {
            double exact = 0, squares = 0, bound = 0;
            for (int i = 0; i < n; i++) {
                exact += (double)x[i];
                bound += fabs((double)x[i]) * 0x1p-20;
                squares += ((double)x[i] - 0.25) * ((double)x[i] - 0.25);
            }
            float want = ptq_sum16(x, n, 1), sq = ptq_sumsq16(x, 0.25f, n, 1);
            ck_assert(table(isa)->sum(x, n) == want);
            ck_assert(table(isa)->sumsq(x, 0.25f, n) == sq);
            ck_assert(fabs((double)want - exact) <= bound);
            ck_assert(fabs((double)sq - squares) <= squares * 0x1p-20);
        }
}
END_TEST

/* Zeros of both signs and NaN: the earlier of equal values, NaN before all, of two the earlier. */
START_TEST(fmath__maxima_have_one_order)
{
    const float some[] = {0.0f, -0.0f, -1.0f, ptq_bits_float(0x7fc00001u), ptq_bits_float(0xffc00002u), 1.0f};
    ptq_rng r;
    ptq_rng_seed(&r, 9);
    for (int round = 0; round < 4000; round++) {
        float x[300];
        int n = 1 + (int)ptq_rng_below(&r, round % 2 ? 20 : 299);
        uint32_t kinds = round % 5 == 0 ? 6 : round % 5 == 1 ? 5 : 3;
        for (int i = 0; i < n; i++)
            x[i] = some[ptq_rng_below(&r, kinds)];
        float want = ptq_max64(x, n, 1);
        for (int isa = 0; isa <= (int)ptq_isa_best() && isa <= PTQ_ISA_AVX512; isa++) {
            float have = table(isa)->max_of(x, n);
            ck_assert_msg(ptq_float_bits(have) == ptq_float_bits(want),
                          "%s: %d values give %a, the law %a", ptq_isa_name((ptq_isa)isa), n, (double)have, (double)want);
        }
    }
}
END_TEST

/* What the device takes a GELU's code from (lib/gpu/erfc16.h), with its reciprocal up to 2 ulp off, over all
 * exponents. */
START_TEST(fmath__fast_gelu_is_near_the_law)
{
    static const int kinds[] = {PTQ_GELU_NODES, PTQ_GELU_EXACT, PTQ_GELU_HALVED};
    float most = 0.0f;
    for (uint64_t u = 0; u < UINT64_C(1) << 32; u += 1009) {
        float x = ptq_bits_float((uint32_t)u), a = fabsf(x);
        if (!(a < 1e30f))
            continue;
        for (int w = -1; w <= 1; w++) {
            float r = 1.0f / ptq_erfc16(a) * (1.0f + (float)w * 2.4e-7f);
            float y = fmaf(-0.5f * a, r, x > 0.0f ? x : 0.0f);
            for (size_t k = 0; k < PTQ_COUNT(kinds); k++)
                most = fmaxf(most, fabsf(y - ptq_gelu_of(x, kinds[k])));
        }
    }
    ck_assert_float_le(most, PTQ_FAST_GELU_ERROR);
    ck_assert_float_ge(most, 0.5f * PTQ_FAST_GELU_ERROR); /* or the bound says nothing */
}
END_TEST

/* The same of fast math (lib/gpu/gelu_tanh.h), with an exact tanh. */
START_TEST(fmath__tanh_gelu_is_near)
{
    double most = 0.0;
    for (double x = -12.0; x <= 12.0; x += 0.001) {
        double y = 0.5 * x * (1.0 + tanh(x * ((double)PTQ_TANH_GELU_A + (double)PTQ_TANH_GELU_B * x * x)));
        most = fmax(most, fabs(y - 0.5 * x * (1.0 + erf(x / sqrt(2.0)))));
    }
    ck_assert_double_le(most, (double)PTQ_TANH_GELU_ERROR);
    ck_assert_double_ge(most, 0.9 * (double)PTQ_TANH_GELU_ERROR);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu fmath");
    TCase *t = tcase_create("fmath");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, fmath__errors_are_bounded);
    tcase_add_test(t, fmath__special_values);
    tcase_add_test(t, fmath__loops_have_the_bytes_of_the_law);
    tcase_add_test(t, fmath__fast_gelu_is_near_the_law);
    tcase_add_test(t, fmath__tanh_gelu_is_near);
    tcase_add_test(t, fmath__sums_have_one_order);
    tcase_add_test(t, fmath__maxima_have_one_order);
    suite_add_tcase(s, t);
    return unit_run(s);
}
