/* SPDX-License-Identifier: Apache-2.0 */
/* Placement on small graphs. */
#include "tests/quant_kit.h"

static bool has_tensor(const ptq_placement *p, const char *name)
{
    const ptq_value *v = ptq_graph_find(p->graph, name);
    return v && p->tensor_of[v->id] >= 0;
}

static bool quantized(const ptq_placement *p, const char *out)
{
    return p->nodes[ptq_graph_find(p->graph, out)->producer->id].quantized;
}

START_TEST(place__residual)
{
    ptq_graph *g = qk_residual();
    ptq_placement *p = qk_place(g, "portable", NULL);
    static const char *const in8[] = {"x", "ar", "b", "b2", "y", "c"};
    for (size_t i = 0; i < PTQ_COUNT(in8); i++)
        ck_assert_msg(has_tensor(p, in8[i]), "%s", in8[i]);
    ck_assert(!has_tensor(p, "a"));   /* Relu is absorbed behind it */
    ck_assert(!has_tensor(p, "sum"));
    ck_assert(!has_tensor(p, "pool")); /* a graph output that nobody reads in 8 bits */
    ck_assert(quantized(p, "sum"));
    ptq_placement_free(p);
    /* TensorRT: the convolution branch joins in float, the skip input is quantized. */
    p = qk_place(g, "tensorrt", NULL);
    ck_assert(!has_tensor(p, "b2"));
    ck_assert(has_tensor(p, "ar"));
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

/* Joins in float only where a kernel adds: not one channel per group, not broadcasting, no constant. */
START_TEST(place__branches_that_do_not_join_in_float)
{
    for (int form = 0; form < 4; form++) {
        ptq_graph *g = kit_graph(13);
        float k[4 * 36] = {0};
        ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){1, 4, 6, 6});
        ptq_value *a = qk_conv(g, "a", x, 4, 4, 1), *skip = a;
        ptq_value *b = qk_conv(g, "b", KIT(g, "Relu", "ar", a), 4, form == 1 ? 1 : 4, 1);
        ck_assert_ok(ptq_attr_set_int(g, b->producer, "group", form == 1 ? 4 : 1));
        if (form == 2)
            skip = KIT(g, "GlobalAveragePool", "pool", a);
        if (form == 3)
            skip = kit_const(g, "k", PTQ_DT_F32, 4, (int64_t[]){1, 4, 6, 6}, k);
        qk_output(g, qk_conv(g, "c", KIT(g, "Add", "sum", b, skip), 4, 4, 1));
        ptq_placement *p = qk_place(g, "tensorrt", NULL);
        ck_assert_msg(has_tensor(p, "b") == (form > 0), "form %d", form);
        ptq_placement_free(p);
        ptq_graph_free(g);
    }
}
END_TEST

START_TEST(place__float_stream_of_a_transformer)
{
    ptq_graph *g = kit_graph(13);
    float w[64] = {0}, b[8] = {0};
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 3, (int64_t[]){-1, 4, 8});
    ptq_value *wv = kit_const(g, "w", PTQ_DT_F32, 2, (int64_t[]){8, 8}, w);
    ptq_value *bv = kit_const(g, "b", PTQ_DT_F32, 1, (int64_t[]){8}, b);
    ptq_value *n = KIT(g, "Sqrt", "norm", x);
    ptq_value *m = KIT(g, "Add", "bias", KIT(g, "MatMul", "mm", n, wv), bv);
    ptq_value *s = KIT(g, "Add", "stream", m, x);
    ptq_value *t = KIT(g, "Transpose", "tr", s);
    ck_assert_ok(ptq_attr_set_ints(g, t->producer, "perm", (int64_t[]){0, 2, 1}, 3));
    qk_output(g, KIT(g, "MatMul", "mm2", s, t));
    ptq_placement *p = qk_place(g, "portable", NULL);
    ck_assert(has_tensor(p, "norm"));
    ck_assert(!has_tensor(p, "mm"));
    ck_assert(!quantized(p, "bias"));
    ck_assert(!quantized(p, "stream"));
    ck_assert(has_tensor(p, "stream"));
    ck_assert(has_tensor(p, "tr"));
    int i = p->tensor_of[ptq_graph_find(g, "stream")->id];
    ck_assert(p->tensors[i].float_source);
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

/* The table is there where codes come in and nothing but codes go out. */
START_TEST(place__silu_is_one_function)
{
    enum { BETWEEN, AT_THE_INPUT, FLOAT_READER, AN_OUTPUT, NO_READER };
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 3, 6, 6});
    ptq_value *a = _i == AT_THE_INPUT ? x : qk_conv(g, "a", x, 3, 3, 1);
    ptq_value *m = KIT(g, "Mul", "silu", a, KIT(g, "Sigmoid", "sig", a));
    if (_i != NO_READER)
        qk_output(g, qk_conv(g, "c", m, 4, 3, 1));
    if (_i == FLOAT_READER)
        qk_output(g, KIT(g, "Softmax", "soft", m));
    if (_i >= AN_OUTPUT)
        qk_output(g, m);
    ptq_placement *p = qk_place(g, "ort", NULL);
    ck_assert(_i == NO_READER || has_tensor(p, a->name));
    ck_assert(!has_tensor(p, "sig"));
    ck_assert(_i == NO_READER || has_tensor(p, "silu"));
    ck_assert_int_eq(ptq_place_in_integers(p, m->producer), _i == BETWEEN);
    ck_assert_int_eq(ptq_place_in_integers(p, ptq_graph_find(g, "sig")->producer), _i == BETWEEN);
    ck_assert(_i == NO_READER || ptq_place_in_integers(p, ptq_graph_find(g, "c")->producer));
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

START_TEST(place__scope)
{
    ptq_graph *g = qk_residual();
    static const char *const none[] = {"nothing*"}, *const b[] = {"b"}, *const ops[] = {"Add"}, *const bad[] = {"Ad"};
    ptq_placement *p;
    const ptq_target *t;
    ck_assert_ok(ptq_target_find("portable", &t));
    ck_assert_fails(ptq_place(g, t, &(ptq_scope){.exclude = none, .nexclude = 1}, &p), PTQ_ERR_ARG);
    ck_assert_fails(ptq_place(g, t, &(ptq_scope){.exclude_ops = bad, .nexclude_ops = 1}, &p), PTQ_ERR_ARG);
    ck_assert_says("'Add'"); /* did you mean */
    p = qk_place(g, "portable", &(ptq_scope){.only = b, .nonly = 1});
    ck_assert(quantized(p, "b"));
    ck_assert(!quantized(p, "a"));
    ck_assert(has_tensor(p, "ar"));
    ck_assert(!has_tensor(p, "x"));
    ptq_placement_free(p);
    p = qk_place(g, "portable", &(ptq_scope){.exclude_ops = ops, .nexclude_ops = 1});
    ck_assert(!quantized(p, "sum"));
    ck_assert(quantized(p, "b"));
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

/* A node is named by its own name, whatever a pattern would make of it. */
START_TEST(place__scope_of_odd_names)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 6, 6});
    qk_output(g, qk_conv(g, "c[1]", qk_conv(g, "c1", x, 4, 4, 1), 4, 4, 1));
    static const char *const name[] = {"c[1]"};
    ptq_placement *p = qk_place(g, "portable", &(ptq_scope){.exclude = name, .nexclude = 1});
    ck_assert(!quantized(p, "c[1]"));
    ck_assert(!quantized(p, "c1")); /* which the pattern matches */
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

START_TEST(place__movers_share)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 6, 6});
    ptq_value *t = KIT(g, "Transpose", "t", qk_conv(g, "a", x, 4, 4, 1));
    ck_assert_ok(ptq_attr_set_ints(g, t->producer, "perm", (int64_t[]){0, 1, 3, 2}, 4));
    ptq_value *u = KIT(g, "Transpose", "u", t);
    ck_assert_ok(ptq_attr_set_ints(g, u->producer, "perm", (int64_t[]){0, 1, 3, 2}, 4));
    qk_output(g, qk_conv(g, "c", u, 4, 4, 1));
    ptq_placement *p = qk_place(g, "portable", NULL);
    int root = p->tensor_of[ptq_graph_find(g, "a")->id];
    ck_assert_int_ge(root, 0);
    ck_assert_int_eq(p->tensors[p->tensor_of[ptq_graph_find(g, "t")->id]].root, root);
    ck_assert_int_eq(p->tensors[p->tensor_of[ptq_graph_find(g, "u")->id]].root, root);
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

/* A maximum over all positions has no 8-bit kernel, here and elsewhere. */
START_TEST(place__pools)
{
    static const char *const ops[] = {"GlobalMaxPool", "AveragePool", "MaxPool"};
    for (size_t i = 0; i < PTQ_COUNT(ops); i++) {
        ptq_graph *g = kit_graph(19);
        ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 3, 6, 6});
        ptq_value *m = KIT(g, ops[i], "m", qk_conv(g, "a", x, 4, 3, 1));
        if (i > 0)
            ck_assert_ok(ptq_attr_set_ints(g, m->producer, "kernel_shape", (int64_t[]){2, 2}, 2));
        qk_output(g, qk_conv(g, "c", m, 4, 4, 1));
        ptq_placement *p = qk_place(g, "ort", NULL);
        ck_assert(quantized(p, "a") && quantized(p, "c"));
        ck_assert_msg(quantized(p, "m") == (i > 0), "%s", ops[i]);
        ptq_placement_free(p);
        ptq_graph_free(g);
    }
}
END_TEST

START_TEST(place__products_that_stay_in_float)
{
    static const struct {
        int64_t k, columns, c; /* c: length of the added row; 0: none */
        const char *reason;
    } rows[] = {
        {8, 4, 4, NULL},
        {8, 4, 1, "one row"},
        {65760, 1, 0, NULL},
        {65761, 1, 0, "32-bit sums"},
        {65761, 1, 1, "32-bit sums"},
    };
    static const float zeros[65761];
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_graph *g = kit_graph(13);
        ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, rows[i].k});
        ptq_value *w = kit_const(g, "w", PTQ_DT_F32, 2, (int64_t[]){rows[i].k, rows[i].columns}, zeros);
        ptq_value *c = rows[i].c ? kit_const(g, "c", PTQ_DT_F32, 1, &rows[i].c, zeros) : NULL;
        qk_output(g, c ? KIT(g, "Gemm", "y", x, w, c) : KIT(g, "Gemm", "y", x, w));
        ptq_placement *p = qk_place(g, "ort", NULL);
        const char *reason = p->nodes[ptq_graph_find(g, "y")->producer->id].reason;
        ck_assert_int_eq(quantized(p, "y"), !rows[i].reason);
        ck_assert(!rows[i].reason || (reason && strstr(reason, rows[i].reason)));
        ptq_placement_free(p);
        ptq_graph_free(g);
    }
    ptq_graph *g = kit_graph(13); /* both sides computed */
    ptq_value *a = kit_input(g, "a", PTQ_DT_F32, 2, (int64_t[]){4, 65761});
    ptq_value *b = kit_input(g, "b", PTQ_DT_F32, 2, (int64_t[]){65761, 4});
    qk_output(g, KIT(g, "MatMul", "y", a, b));
    ptq_placement *p = qk_place(g, "ort", NULL);
    ck_assert(!quantized(p, "y"));
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quant_place");
    TCase *t = tcase_create("place");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, place__residual);
    tcase_add_test(t, place__branches_that_do_not_join_in_float);
    tcase_add_test(t, place__float_stream_of_a_transformer);
    tcase_add_loop_test(t, place__silu_is_one_function, 0, 5);
    tcase_add_test(t, place__scope);
    tcase_add_test(t, place__scope_of_odd_names);
    tcase_add_test(t, place__movers_share);
    tcase_add_test(t, place__pools);
    tcase_add_test(t, place__products_that_stay_in_float);
    suite_add_tcase(s, t);
    return unit_run(s);
}
