/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels on types that they have no loops for: an operator on a narrow type gives what the wide
 * type gives, rounded to the narrow one. */
#include "tests/cpu_float.h"
#include "tests/unit.h"

/* h is x in the narrow type; both results come back in the wide one. */
static const char frame[] = "opset 18\n"
                            "input x %s [2,6,5,4]\n"
                            "h = Cast(x) to=%d\n"
                            "w = Cast(h) to=%d\n"
                            "a = %s\n"
                            "b = %s\n"
                            "c = Cast(b) to=%d\n"
                            "y = Cast(a) to=%d\n"
                            "z = Cast(c) to=%d\n"
                            "output y\noutput z\n";

static void check(const char *type, int wide, int narrow, const char *call)
{
    char text[1024], on[2][200];
    for (int k = 0; k < 2; k++) { /* "@" is the operand */
        size_t n = 0;
        for (const char *p = call; *p && n + 1 < sizeof on[k]; p++)
            on[k][n++] = *p == '@' ? (k ? 'w' : 'h') : *p;
        on[k][n] = '\0';
    }
    snprintf(text, sizeof text, frame, type, narrow, wide, on[0], on[1], narrow, wide, wide);
    ptq_graph *g = cf_parse(text);
    cf_result r;
    cf_run(g, "ref", NULL, true, &r);
    ck_assert_msg(r.out[0].nbytes == r.out[1].nbytes && r.out[0].nbytes > 0 &&
                      memcmp(r.out[0].data, r.out[1].data, r.out[0].nbytes) == 0,
                  "%s on type %d", call, narrow);
    cf_free(&r);
    ptq_graph_free(g);
}

START_TEST(types__floats)
{
    static const char *const calls[] = {
        "Add(@, @)", "Mul(@, @)", "Div(@, @)", "Max(@, @)", "Exp(@)", "Tanh(@)", "Relu(@)", "Softmax(@)",
        "GlobalAveragePool(@)", "MaxPool(@) kernel_shape=[2,2]", "AveragePool(@) kernel_shape=[3,2]",
        "Transpose(@)", "LRN(@) size=3", "Tan(@)"};
    for (size_t i = 0; i < PTQ_COUNT(calls); i++) {
        check("f32", PTQ_DT_F32, PTQ_DT_F16, calls[i]);
        check("f32", PTQ_DT_F32, PTQ_DT_BF16, calls[i]);
    }
}
END_TEST

START_TEST(types__integers)
{
    static const char *const calls[] = {"Add(@, @)", "Sub(@, @)", "Mul(@, @)", "Div(@, @)",
                                        "Mod(@, @)", "Min(@, @)", "BitwiseXor(@, @)"};
    static const int types[] = {PTQ_DT_S8, PTQ_DT_U8, PTQ_DT_S16, PTQ_DT_U16, PTQ_DT_U32};
    for (size_t i = 0; i < PTQ_COUNT(calls); i++)
        for (size_t t = 0; t < PTQ_COUNT(types); t++)
            check("s64", PTQ_DT_S64, types[t], calls[i]);
}
END_TEST

/* float64 where there are no loops in double: as float32. */
START_TEST(types__double_as_float)
{
    ptq_graph *g = cf_parse("input x f32 [2,3,6,5]\nconst w f32 [4,3,3,3]\nd = Cast(x) to=11\nv = Cast(w) to=11\n"
                            "a = Conv(d, v)\nb = Softmax(d)\nc = MaxPool(d) kernel_shape=[2,2]\ne = Conv(x, w)\n"
                            "f = Softmax(x)\nh = MaxPool(x) kernel_shape=[2,2]\ni = Cast(a) to=1\nj = Cast(b) to=1\n"
                            "k = Cast(c) to=1\noutput i\noutput e\noutput j\noutput f\noutput k\noutput h\n");
    cf_result r;
    cf_run(g, "ref", NULL, true, &r);
    for (int i = 0; i < r.n; i += 2)
        ck_assert(r.out[i].nbytes == r.out[i + 1].nbytes &&
                  memcmp(r.out[i].data, r.out[i + 1].data, r.out[i].nbytes) == 0);
    cf_free(&r);
    ptq_graph_free(g);
}
END_TEST

/* Where the sign counts, uint64 is not int64. */
START_TEST(types__uint64)
{
    ptq_graph *g = cf_parse("const s s64 [3] -1 5 -7\nconst t s64 [1] 3\na = Cast(s) to=13\nb = Cast(t) to=13\n"
                            "c = Div(a, b)\nd = Greater(a, b)\ne = Max(a, b)\nf = Cast(c) to=7\nh = Cast(e) to=7\n"
                            "output f\noutput d\noutput h\n");
    cf_result r;
    cf_run(g, "ref", NULL, true, &r);
    const int64_t *q = r.out[0].data, *m = r.out[2].data;
    const uint8_t *more = r.out[1].data;
    ck_assert(q[0] == (int64_t)(UINT64_MAX / 3) && q[1] == 1 && q[2] == (int64_t)((UINT64_MAX - 6) / 3));
    ck_assert(more[0] && more[1] && more[2]);
    ck_assert(m[0] == -1 && m[1] == 5 && m[2] == -7);
    cf_free(&r);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu types");
    TCase *t = tcase_create("types");
    tcase_add_test(t, types__floats);
    tcase_add_test(t, types__integers);
    tcase_add_test(t, types__double_as_float);
    tcase_add_test(t, types__uint64);
    suite_add_tcase(s, t);
    return unit_run(s);
}
