/* SPDX-License-Identifier: Apache-2.0 */
/* Fast math: which values become float16, what the planner counts, and that results stay close to the exact ones; on
 * a real device the kernels against the law in double: odd sizes, every end, halves and floats on either side. Fast
 * attention is in tests/test_gpu_attend.c, next to the exact one. */
#include "lib/core/cast.h"
#include "tests/fused.h"
#include "tests/gpu_kit.h"
#include "tests/gpu_fast.h"

/* ---- graphs ---- */

#define START(width) \
    "const s f32 [] 0.05\nconst z s8 [] 0\nconst sw f32 [] 0.004\n" \
    "const lw f32 [" #width "]\nconst lb f32 [" #width "]\n" \
    "const half f32 [] 0.5\nconst one f32 [] 1\nconst root f32 [] 1.41421354\ninput x f32 [batch,5," #width "]\n"
#define QDQ(out, in) out "_q = QuantizeLinear(" in ", s, z)\n" out " = DequantizeLinear(" out "_q, s, z)\n"
#define LINEAR(out, in, from, to) \
    "const " out "_c s8 [" #from "," #to "]\n" out "_w = DequantizeLinear(" out "_c, sw, z)\n" \
    "const " out "_b f32 [" #to "]\n" \
    out "_m = MatMul(" in ", " out "_w)\n" out " = Add(" out "_b, " out "_m)\n"
#define GELU(out, in) \
    out "1 = Div(" in ", root)\n" out "2 = Erf(" out "1)\n" out "3 = Add(" out "2, one)\n" out "4 = Mul(" in ", " out \
        "3)\n" out " = Mul(" out "4, half)\n"
#define NORM(out, in) out " = LayerNormalization(" in ", lw, lb) axis=-1\n"
/* y = branch(in) + in */
#define BRANCH(y, h, in, width) \
    LINEAR(h "a", in, width, 32) GELU(h "g", h "a") QDQ(h "d", h "g") LINEAR(h "o", h "d", 32, width)
#define END(in, width) QDQ("e", in) LINEAR("y", "e", width, 16) "output y\n"

/* Normalization in front of the branches (ViT), and behind the sums (BERT). */
#define VIT(width, between, second) \
    START(width) NORM("n0", "x") QDQ("d0", "n0") BRANCH("x1", "h", "d0", width) "x1 = Add(x, ho)\n" between \
    NORM("n1", second) QDQ("d1", "n1") BRANCH("x2", "k", "d1", width) "x2 = Add(" second ", ko)\n" NORM("n2", "x2") \
    END("n2", width)
#define BERT(width) \
    START(width) QDQ("d0", "x") BRANCH("x1", "h", "d0", width) "x1 = Add(ho, x)\n" NORM("n1", "x1") QDQ("d1", "n1") \
    BRANCH("x2", "k", "d1", width) "x2 = Add(ko, n1)\n" NORM("n2", "x2") END("n2", width)

typedef struct row {
    const char *text, *halves; /* names of the values that lie in float16 */
    const char *kept;          /* is tapped */
    double worst;              /* relative error against exact mode that is allowed; 0: exact mode itself */
} row;
static const row rows[] = {
    {VIT(64, "", "x1"), "x1 x2", NULL, 1e-2},
    {BERT(64), "x1 n1 x2", NULL, 1.2e-2},                          /* codes of a normalization, too */
    {VIT(64, "", "x1"), "", NULL, 0.0},
    {VIT(64, "const to s64 [3] 0 -1 64\nx1r = Reshape(x1, to)\n", "x1r"), "x1 x1r x2", NULL, 1e-2},
    {VIT(64, "", "x1"), "x2", "x1", 1e-2},                            /* tapped */
    {VIT(64, "", "x1") "output x1\n", "x2", NULL, 1e-2},              /* an output */
    {VIT(64, "", "x1") "o = Exp(x2)\noutput o\n", "x1", NULL, 1e-2},  /* somebody else reads it */
    {VIT(64, "const to s64 [3] 0 -1 64\nx1r = Reshape(x1, to)\no = Exp(x1r)\noutput o\n", "x1r"), "x2", NULL, 1e-2},
    {VIT(60, "", "x1"), "", NULL, 1e-2},                              /* rows that are no whole vectors */
};

static bool is_kept(void *ctx, const ptq_value *v)
{
    return ctx && strcmp(v->name, ctx) == 0;
}

static ptq_status no_tap(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    (void)ctx;
    ck_assert_int_eq(v->dtype, PTQ_DT_F32);
    ck_assert_uint_eq(t->nbytes, (size_t)ptq_tensor_elements(t) * 4);
    return PTQ_OK;
}

static ptq_session *open_fast(const ptq_graph *g, bool fast, const char *kept)
{
    ptq_session *s;
    ptq_session_options o = {.ops = &ptq_backend_cuda, .lower = fused, .device = {.fast_math = fast}};
    if (kept) {
        o.tap = no_tap;
        o.tap_select = is_kept;
        o.tap_ctx = (void *)(uintptr_t)kept;
    }
    ck_assert_ok(ptq_session_new(g, &o, &s));
    return s;
}

static void check_halves(const ptq_session *s, const char *want)
{
    const ptq_program *p = ptq_session_program(s);
    char have[256] = "";
    for (size_t i = 0; i < p->values.n; i++)
        if (p->values.v[i].dtype == PTQ_DT_F16)
            snprintf(have + strlen(have), sizeof have - strlen(have), "%s%s", *have ? " " : "", p->values.v[i].name);
    ck_assert_str_eq(have, want);
}

/* Output y, and the bytes that are alive at once. */
static float *run_session(ptq_session *s, const ptq_graph *g, const ptq_tensor *in, size_t *n, size_t *alive)
{
    ptq_tensor out[4];
    size_t k = 0;
    while (strcmp(g->outputs.v[k]->name, "y") != 0)
        k++;
    ck_assert_ok(ptq_session_run(s, in, 1, out, g->outputs.n));
    ck_assert_int_eq(out[k].dtype, PTQ_DT_F32);
    float *y = malloc(out[k].nbytes);
    ck_assert_ptr_nonnull(y);
    memcpy(y, out[k].data, out[k].nbytes);
    *n = out[k].nbytes / sizeof *y;
    ck_assert_ok(ptq_session_reserve(s, in, 1));
    *alive = ptq_session_alive_bytes(s);
    return y;
}

START_TEST(gpu_fast__graphs)
{
    const row *r = &rows[_i];
    ptq_graph *g = parse(r->text);
    ptq_session *fast = open_fast(g, r->worst > 0.0, r->kept), *exact = open_fast(g, false, r->kept);
    int64_t width = g->inputs.v[0]->shape.dims[2].add;
    ptq_tensor x = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {7, 5, width}};
    ptq_rng random;
    size_t n, m, alive, all;
    check_halves(fast, r->halves);
    check_halves(exact, "");
    ptq_rng_seed(&random, 3);
    ck_assert_ok(ptq_tensor_alloc(&x));
    fill(&x, &random);
    float *a = run_session(fast, g, &x, &n, &alive), *b = run_session(exact, g, &x, &m, &all);
    double error = 0.0, size = 0.0;
    ck_assert_uint_eq(n, m);
    for (size_t i = 0; i < n; i++) {
        error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    printf("%s: relative error %.2e, alive %zu of %zu bytes\n", *r->halves ? r->halves : "none", sqrt(error / size),
           alive, all);
    ck_assert(size > 0.0 && error <= r->worst * r->worst * size);
    ck_assert(*r->halves ? error > 0.0 && alive <= all : alive == all);
    ck_assert(!strchr(r->halves, ' ') || alive < 0.6 * (double)all); /* two that are alive at once */
    free(a);
    free(b);
    free(x.data);
    ptq_session_free(fast);
    ptq_session_free(exact);
    ptq_graph_free(g);
}
END_TEST

START_TEST(gpu_fast__not_on_the_cpu)
{
    ptq_graph *g = parse(rows[0].text);
    ptq_session *s;
    ptq_session_options o = {.backend = "cpu", .lower = fused, .device = {.fast_math = true}};
    ck_assert_ok(ptq_session_new(g, &o, &s));
    check_halves(s, "");
    ck_assert(!ptq_backend_fast_math(ptq_backend_find("cpu"), true));
    ck_assert(ptq_backend_fast_math(&ptq_backend_cuda, true));
    ck_assert(!ptq_backend_fast_math(&ptq_backend_cuda, false));
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fast math");
    TCase *graphs = add_case(s, "graphs");
    tcase_add_loop_test(graphs, gpu_fast__graphs, 0, (int)PTQ_COUNT(rows));
    tcase_add_test(graphs, gpu_fast__not_on_the_cpu);
    tcase_add_loop_test(add_case(s, "norm"), gpu_fast__norm, 0, NORMS);
#ifndef PTQ_TEST_FAKE
    tcase_add_loop_test(add_case(s, "tails"), gpu_fast__tails, 0, 4);
#endif
    return unit_run(s);
}
