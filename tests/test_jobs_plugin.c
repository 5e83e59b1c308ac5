/* SPDX-License-Identifier: Apache-2.0 */
/* Operators from outside of the library: the example's, in engines. */
#include "lib/core/qmath.h"
#include "tests/engine_kit.h"
#define PTQ_EXAMPLE_NO_MAIN
#include "examples/plugin.c"

static const char swap_float[] = "input x f32 [n,4,3,3]\nr = Relu(x)\ny = com.example.Swap(r)\n"
                                 "z = Relu(y)\noutput z\n";
static const char swap_codes[] = "input x f32 [n,4,3,3]\nconst s f32 [] 0.05\nconst p s8 [] 3\n"
                                 "q = QuantizeLinear(x, s, p)\nd = DequantizeLinear(q, s, p)\n"
                                 "y = com.example.Swap(d)\nyq = QuantizeLinear(y, s, p)\nz = DequantizeLinear(yq, s, p)\n"
                                 "output z\n";
static const char swap_grids[] = "input x f32 [n,4,3,3]\nconst s f32 [] 0.05\nconst p s8 [] 3\n"
                                 "const t f32 [] 0.06\n"
                                 "q = QuantizeLinear(x, s, p)\nd = DequantizeLinear(q, s, p)\n"
                                 "y = com.example.Swap(d)\nyq = QuantizeLinear(y, t, p)\nz = DequantizeLinear(yq, t, p)\n"
                                 "output z\n";

static ptq_model *swap_model(const char *text)
{
    ptq_model *m;
    ck_assert_ok(ptq_model_wrap(gt_parse(text), &m));
    ck_assert_ok(ptq_model_optimize(m));
    return m;
}

/* The operator of the example on floats and on codes, built and from a plan. */
START_TEST(plugin__gives_its_results)
{
    const ptq_plugin *const plugins[] = {&example_swap};
    ptq_model *m = swap_model(_i % 2 ? swap_codes : swap_float);
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_engine *e, *l;
    ptq_context *c;
    gs_data d = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {4, 3, 3}};
    ptq_tensor x = gs_batch(&d, 5, 3), y;
    o.plugins = plugins;
    o.nplugins = 1;
    e = build(m, &o);
    if (_i >= 2) { /* a plan names its operators, not who brings them */
        void *bytes;
        size_t n;
        ck_assert_ok(ptq_engine_serialize(e, &bytes, &n));
        ck_assert_fails(ptq_engine_deserialize_on(BACKEND, bytes, n, NULL, &l), PTQ_ERR_UNSUPPORTED);
        ck_assert_says("com.example.Swap");
        ck_assert_ok(ptq_engine_deserialize_on(BACKEND, bytes, n, &o, &l));
        free(bytes);
        ptq_engine_free(e);
        e = l;
    }
    ck_assert_ok(ptq_context_new(e, 0, &c));
    ck_assert_ok(ptq_context_shapes(c, &x, 1, &y, 1));
    ck_assert_int_eq(y.rank, 4);
    ck_assert_int_eq(y.dims[0], 5);
    float *got = y.data = malloc(y.nbytes);
    ck_assert_ok(ptq_context_run(c, &x, 1, &y, 1));
    for (int64_t i = 0; i < 5 * 36; i++) {
        float v = ((float *)x.data)[i / 36 * 36 + (i % 36 + 18) % 36];
        float want = _i % 2 ? ((float)ptq_quantize(v, 0.05f, 3, -128, 127) - 3.0f) * 0.05f : v > 0.0f ? v : 0.0f;
        ck_assert_msg(got[i] == want, "element %lld: %g, not %g", (long long)i, (double)got[i], (double)want);
    }
    free(x.data);
    free(got);
    ptq_context_free(c);
    ptq_engine_free(e);
    ptq_model_free(m);
}
END_TEST

START_TEST(plugin__errors)
{
    const ptq_plugin relu = {sizeof relu, "Relu", "", PTQ_PLUGIN_FLOAT, swap_shapes, swap_run, NULL, NULL};
    const ptq_plugin half = {sizeof half, "Swap", "com.example", PTQ_PLUGIN_FLOAT, swap_shapes, NULL, NULL, NULL};
    const ptq_plugin *list[1];
    ptq_model *m = swap_model(swap_float), *g = swap_model(swap_grids);
    ptq_engine_options o = PTQ_ENGINE_OPTIONS_INIT;
    ptq_engine *e;
    ptq_context *c;
    gs_data d = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {4, 3, 3}};
    ptq_tensor x = gs_batch(&d, 2, 3), y = {.data = malloc(4096), .nbytes = 4096};
    ck_assert_fails(ptq_engine_build_on(BACKEND, m, &o, &e), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("com.example.Swap");
    o.plugins = list;
    o.nplugins = 1;
    list[0] = &relu;
    ck_assert_fails(ptq_engine_build_on(BACKEND, m, &o, &e), PTQ_ERR_ARG);
    ck_assert_says("Relu is the library's own");
    list[0] = &half;
    ck_assert_fails(ptq_engine_build_on(BACKEND, m, &o, &e), PTQ_ERR_ARG);
    ck_assert_says("lacks");
    list[0] = &example_swap;
    o.no_tuning = true; /* the error comes from a run */
    e = build(g, &o);
    ck_assert_ok(ptq_context_new(e, 0, &c));
    ck_assert_fails(ptq_context_run(c, &x, 1, &y, 1), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("plugin Swap: Swap moves codes");
    ptq_context_free(c);
    ptq_engine_free(e);
    ptq_model_free(g);
    g = swap_model("input x f32 [n,5,3,3]\ny = com.example.Swap(x)\noutput y\n");
    e = build(g, &o);
    ck_assert_fails(ptq_context_new(e, 0, &c), PTQ_ERR_MODEL);
    ck_assert_says("even number of channels");
    ptq_engine_free(e);
    free(x.data);
    free(y.data);
    ptq_model_free(m);
    ptq_model_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_plugin");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, plugin__gives_its_results, 0, 4);
    tcase_add_test(t, plugin__errors);
    suite_add_tcase(s, t);
    return unit_run(s);
}
