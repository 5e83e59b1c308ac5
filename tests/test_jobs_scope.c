/* SPDX-License-Identifier: Apache-2.0 */
/* What --only and --exclude leave: one set of statistics serves every choice of nodes. */
#include "tests/unit.h"

#include <math.h>

#include "lib/report/report.h"
#include "tests/jobs_kit.h"

/* Every way to hand a tensor on: clamps behind Conv, Add and Gemm, at the end of the graph too, x * f(x),
 * functions, movers, pools, Concat, and a residual. */
static const char text[] =
    "input x f32 [batch,3,8,8]\n"
    "const w1 f32 [8,3,3,3]\n"
    "const w2 f32 [8,8,1,1]\n"
    "const w3 f32 [8,8,1,1]\n"
    "const w4 f32 [8,8,1,1]\n"
    "const w5 f32 [4,16,1,1]\n"
    "const w6 f32 [4,6]\n"
    "const b6 f32 [6]\n"
    "const w7 f32 [6,6]\n"
    "const lo f32 [] 0\n"
    "const hi f32 [] 0.75\n"
    "const flat s64 [2] 0 -1\n"
    "c1 = Conv(x, w1) pads=[1,1,1,1]\n"
    "r1 = Clip(c1, lo, hi)\n"
    "c2 = Conv(r1, w2)\n"
    "s2 = Sigmoid(c2)\n"
    "m2 = Mul(c2, s2)\n"
    "c3 = Conv(m2, w3)\n"
    "a3 = Add(c3, r1)\n"
    "r3 = Relu(a3)\n"
    "c4 = Conv(r3, w4)\n"
    "r4 = Relu(c4)\n"
    "t4 = Transpose(r4) perm=[0,1,3,2]\n"
    "k = Concat(r3, t4) axis=1\n"
    "c5 = Conv(k, w5)\n"
    "z = Relu(c5)\n"
    "p = GlobalAveragePool(c5)\n"
    "f = Reshape(p, flat)\n"
    "g = Gemm(f, w6, b6)\n"
    "rg = Relu(g)\n"
    "y = MatMul(rg, w7)\n"
    "output y\n"
    "output z\n";

typedef struct fixture {
    ptq_model *m;
    ptq_statistics *stats;
} fixture;

static fixture calibrated(const char *model)
{
    fixture f = {.m = jobs_model_of(model)};
    jobs_data d;
    jobs_data_init(&d);
    ck_assert_ok(ptq_model_calibrate(f.m, &d.samples, NULL, NULL, &f.stats));
    return f;
}

static ptq_report *quantize(const fixture *f, const ptq_quant_options *o, const char *what)
{
    ptq_model *q;
    ptq_report *r;
    ptq_runner *run;
    ck_assert_msg(ptq_model_quantize(f->m, f->stats, NULL, o, &q, &r) == PTQ_OK, "%s: %s", what, ptq_last_error());
    ck_assert_msg(ptq_runner_new(q, NULL, &run) == PTQ_OK, "%s: %s", what, ptq_last_error());
    ptq_runner_free(run);
    ptq_model_free(q);
    return r;
}

START_TEST(scope__any_node_can_be_left_out)
{
    static const char *const targets[] = {"portable", "ort", "tensorrt"};
    fixture f = calibrated(text);
    int nodes = 0;
    PTQ_GRAPH_EACH_NODE (f.m->graph, n) {
        ck_assert(*n->name && strpbrk(n->name, "*?[") == NULL);
        nodes++;
        const char *const name[] = {n->name, NULL}, *const op[] = {n->op, NULL};
        ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
        o.target = targets[_i];
        o.exclude = name;
        ptq_report_free(quantize(&f, &o, n->name));
        o.exclude = NULL;
        o.exclude_ops = op;
        ptq_report_free(quantize(&f, &o, n->op));
        o.exclude_ops = NULL;
        o.only = name;
        ptq_report_free(quantize(&f, &o, n->name));
    }
    ck_assert_int_eq(nodes, 19);
    ptq_statistics_free(f.stats);
    ptq_model_free(f.m);
}
END_TEST

static double high_of(const ptq_report *r, const char *name)
{
    const json_t *list = json_object_get(r->root, "tensors");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(ptq_json_str(json_array_get(list, i), "name", "?"), name) == 0)
            return ptq_json_num(json_array_get(list, i), "high", NAN);
    return NAN;
}

/* What a clamp in float would drop costs the tensor before it no levels. */
START_TEST(scope__range_before_a_clamp_in_float)
{
    fixture f = calibrated(text);
    static const char *const ops[] = {"Clip", "Relu", NULL};
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    o.method = "minmax";
    o.target = "ort";
    ptq_report *all = quantize(&f, &o, "all");
    o.exclude_ops = ops;
    ptq_report *some = quantize(&f, &o, "without clamps");
    ck_assert(high_of(some, "c1") == high_of(all, "r1") && high_of(all, "r1") == 0.75);
    ck_assert(high_of(some, "c4") == high_of(all, "r4") && high_of(all, "r4") > 0.0);
    ck_assert(isnan(high_of(all, "c1")) && isnan(high_of(all, "c4")));
    ptq_report_free(all);
    ptq_report_free(some);
    ptq_statistics_free(f.stats);
    ptq_model_free(f.m);
}
END_TEST

/* With the clamp at the end of the graph nobody reads 8 bits behind the convolution, nor before it. */
START_TEST(scope__clamp_at_the_end)
{
    fixture f = calibrated("input x f32 [batch,3,8,8]\n"
                           "const w f32 [4,3,1,1]\n"
                           "c = Conv(x, w)\n"
                           "y = Relu(c)\n"
                           "output y\n");
    static const char *const ops[] = {"Relu", NULL};
    ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
    o.exclude_ops = ops;
    ptq_report *r = quantize(&f, &o, "Relu");
    ck_assert_uint_eq(json_array_size(json_object_get(r->root, "tensors")), 1);
    ptq_report_free(r);
    ptq_statistics_free(f.stats);
    ptq_model_free(f.m);
}
END_TEST

static size_t count_with_reason(const ptq_report *r, const char *list)
{
    size_t i;
    json_t *o;
    json_array_foreach (json_object_get(r->root, list), i, o)
        ck_assert_str_ne(ptq_json_str(o, "reason", ""), "");
    return json_array_size(json_object_get(r->root, list));
}

/* Each node runs in 8 bits, or something says why not. */
START_TEST(inspect__a_reason_for_every_node)
{
    ptq_model *m = jobs_model_of(
        "input x f32 [batch,4,8,8]\nconst w f32 [4,4,3,3]\nc = Conv(x, w) pads=[1,1,1,1]\nn = Shape(c)\n"
        "s = Softmax(c)\nt = Transpose(s) perm=[0,1,3,2]\ni = Cast(s) to=7\ny = Mul(t, s)\noutput y\noutput i\noutput n\n");
    static const char *const reasons[] = {"works on shapes", "no 8-bit form", "its values are not float32",
                                          "its inputs are not in 8 bits"};
    ptq_report *r;
    char *verbose, *brief;
    double nodes, int8 = 0;
    const char *op;
    json_t *o;
    ck_assert_ok(ptq_model_inspect(m, "portable", &r));
    ck_assert_ok(ptq_report_number(r, "nodes", &nodes));
    json_object_foreach (json_object_get(r->root, "operators"), op, o)
        int8 += ptq_json_num(o, "int8", 0);
    ck_assert(int8 >= 1);
    ck_assert_double_eq(nodes, int8 + (double)(count_with_reason(r, "left_in_float") + count_with_reason(r, "other_nodes")));
    ck_assert_ok(ptq_report_text(r, 200, true, &verbose));
    ck_assert_ok(ptq_report_text(r, 200, false, &brief));
    for (size_t i = 0; i < PTQ_COUNT(reasons); i++) {
        ck_assert_msg(strstr(verbose, reasons[i]) != NULL, "no '%s' in\n%s", reasons[i], verbose);
        ck_assert_ptr_null(strstr(brief, reasons[i]));
    }
    ck_assert_ptr_nonnull(strstr(brief, "-v shows them"));
    free(verbose);
    free(brief);
    ptq_report_free(r);
    ptq_model_free(m);
}
END_TEST

/* ---- how much runs in integers ---- */

static double count(const ptq_report *r, const char *list, const char *op)
{
    return ptq_json_num(json_object_get(r->root, list), op, 0.0);
}

/* A quantized model is looked at as it is, in either form: what the report of its making said. */
START_TEST(inspect__share_of_a_quantized_model)
{
    static const char *const formats[] = {"qdq", "qoperator"};
    fixture f = calibrated(text);
    const ptq_graph *g = f.m->graph;
    const char *const names[] = {ptq_graph_find(g, "c3")->producer->name, ptq_graph_find(g, "g")->producer->name, NULL};
    for (int left = 0; left < 2; left++) {
        ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
        ptq_model *q;
        ptq_report *made, *seen;
        double planned, share;
        o.target = "ort";
        o.format = formats[_i];
        o.exclude = left ? names : NULL;
        ck_assert_ok(ptq_model_quantize(f.m, f.stats, NULL, &o, &q, &made));
        ck_assert_ok(ptq_model_inspect(q, "ort", &seen));
        ck_assert_ok(ptq_report_number(made, "int8_mac_share", &planned));
        ck_assert_ok(ptq_report_number(seen, "int8_mac_share", &share));
        ck_assert_double_eq_tol(share, planned, 1e-12);
        ck_assert_int_eq(share < 0.95, left);
        ck_assert_double_gt(share, 0.3);
        /* the one x * f(x) */
        ck_assert_double_eq(count(made, "int8_nodes", "Sigmoid"), !left);
        ck_assert_double_eq(count(made, "int8_nodes", "Mul"), !left);
        ck_assert_double_eq(count(made, "float_nodes", "Sigmoid"), left);
        ck_assert_double_eq(count(made, "float_nodes", "Mul"), left);
        ptq_report_free(made);
        ptq_report_free(seen);
        ptq_model_free(q);
    }
    ptq_statistics_free(f.stats);
    ptq_model_free(f.m);
}
END_TEST

/* Codes that are powers of two are multiplied as they are; what a table decodes is a float. */
START_TEST(inspect__share_with_log_weights)
{
    fixture f = calibrated("input x f32 [batch,3,8,8]\nconst w f32 [4,3,1,1]\nc = Conv(x, w)\ny = Relu(c)\noutput y\n");
    static const char *const weights[] = {"s8", "log2", "log2x2", "log2x16"};
    for (size_t i = 0; i < PTQ_COUNT(weights); i++) {
        ptq_quant_options o = PTQ_QUANT_OPTIONS_INIT;
        ptq_model *q;
        ptq_report *made, *seen;
        double planned, share;
        bool integers = i < 2;
        o.target = "ort";
        o.weight = weights[i];
        ck_assert_ok(ptq_model_quantize(f.m, f.stats, NULL, &o, &q, &made));
        ck_assert_ok(ptq_model_inspect(q, "ort", &seen));
        ck_assert_ok(ptq_report_number(made, "int8_mac_share", &planned));
        ck_assert_ok(ptq_report_number(seen, "int8_mac_share", &share));
        ck_assert_double_eq(planned, integers);
        ck_assert_double_eq(share, integers);
        ck_assert_double_eq(count(made, "int8_nodes", "Conv"), integers);
        ck_assert_double_eq(count(made, "float_nodes", "Conv"), !integers);
        ck_assert_int_eq(json_is_true(json_object_get(made->root, "float_weights")), !integers);
        ptq_report_free(made);
        ptq_report_free(seen);
        ptq_model_free(q);
    }
    ptq_statistics_free(f.stats);
    ptq_model_free(f.m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jobs_scope");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, scope__any_node_can_be_left_out, 0, 3);
    tcase_add_test(t, scope__range_before_a_clamp_in_float);
    tcase_add_test(t, scope__clamp_at_the_end);
    tcase_add_test(t, inspect__a_reason_for_every_node);
    tcase_add_loop_test(t, inspect__share_of_a_quantized_model, 0, 2);
    tcase_add_test(t, inspect__share_with_log_weights);
    suite_add_tcase(s, t);
    return unit_run(s);
}
