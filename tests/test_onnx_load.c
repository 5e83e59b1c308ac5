/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/onnx/onnx_io.h"
#include "tests/onnx_models.h"

static ptq_status load(const wire *m, ptq_graph **out)
{
    return ptq_onnx_load_memory(m->p, m->n, NULL, NULL, out);
}

START_TEST(load__builds_the_graph)
{
    wire g = small_graph();
    wire m = wire_model(&g, 8, 17);
    ptq_graph *out;
    ck_assert_ok(load(&m, &out));
    ck_assert_ok(ptq_graph_verify(out));
    ck_assert_str_eq(out->name, "small");
    ck_assert_int_eq(out->opset, 17);
    ck_assert_int_eq(out->nnodes, 2);
    ck_assert_str_eq(out->first->op, "Add");
    ck_assert_str_eq(out->last->name, "Relu_1");
    ck_assert_ptr_nonnull(out->last->def);
    const ptq_value *w = ptq_graph_find(out, "w"), *x = ptq_graph_find(out, "x");
    ck_assert(x->is_input && !w->is_input && w->constant && ptq_graph_find(out, "y")->is_output);
    ck_assert_int_eq(x->shape.rank, 2);
    ck_assert(ptq_dim_equal(x->shape.dims[0], ptq_dim_of(3)));
    ck_assert_uint_eq((uintptr_t)w->constant->data % sizeof(float), 0);
    ck_assert(((const float *)w->constant->data)[1] == -2.5f);
    ptq_graph_free(out);
    wire_free(&m);
}
END_TEST

START_TEST(load__sorts_and_finds_cycles)
{
    wire g = {0};
    ptq_graph *out;
    wire_node(&g, 1, "Relu", "b", "t", NULL, "y");
    wire_node(&g, 1, "Abs", "a", "x", NULL, "t");
    wire_value(&g, 11, "x", PTQ_DT_F32, 0, NULL);
    wire_value(&g, 12, "y", PTQ_DT_F32, 0, NULL);
    wire m = wire_model(&g, 8, 17);
    ck_assert_ok(load(&m, &out));
    ck_assert_str_eq(out->first->name, "a");
    ptq_graph_free(out);
    ptq_onnx_load_options keep = {.keep_order = true};
    ck_assert_fails(ptq_onnx_load_memory(m.p, m.n, NULL, &keep, &out), PTQ_ERR_MODEL);
    wire_free(&m);
    wire_node(&g, 1, "Relu", "b", "t", NULL, "y");
    wire_node(&g, 1, "Abs", "a", "y", NULL, "t");
    m = wire_model(&g, 8, 17);
    ck_assert_fails(load(&m, &out), PTQ_ERR_MODEL);
    ck_assert_says("cycle");
    wire_free(&m);
}
END_TEST

START_TEST(load__names_the_broken_rule)
{
    enum { DUP_INIT, DUP_OUT, OUT_IS_INPUT, MISSING, NO_OUTPUT, NO_OP, DOMAIN, ARITY, NO_WEIGHT, CASES };
    static const struct {
        ptq_status status;
        const char *says;
    } expect[CASES] = {
        [DUP_INIT] = {PTQ_ERR_MODEL, "initializer 'w'"}, [DUP_OUT] = {PTQ_ERR_MODEL, "'s', output of node"},
        [OUT_IS_INPUT] = {PTQ_ERR_MODEL, "defined elsewhere"}, [MISSING] = {PTQ_ERR_MODEL, "'nowhere'"},
        [NO_OUTPUT] = {PTQ_ERR_MODEL, "graph output"},   [NO_OP] = {PTQ_ERR_MODEL, "no operator type"},
        [DOMAIN] = {PTQ_ERR_MODEL, "opset_import"},      [ARITY] = {PTQ_ERR_MODEL, "takes 2 inputs"},
        [NO_WEIGHT] = {PTQ_ERR_MODEL, "needs input 1"},
    };
    for (int i = 0; i < CASES; i++) {
        wire g = small_graph(), extra = {0};
        ptq_graph *out;
        if (i == DUP_INIT) {
            wire_int(&extra, 2, PTQ_DT_F32);
            wire_str(&extra, 8, "w");
            wire_bytes(&extra, 9, "abcd", 4);
            wire_msg(&g, 5, &extra);
        } else if (i == DUP_OUT) {
            wire_node(&g, 1, "Abs", "other", "x", NULL, "s");
        } else if (i == OUT_IS_INPUT) {
            wire_value(&g, 11, "s", PTQ_DT_F32, 0, NULL);
        } else if (i == MISSING) {
            wire_node(&g, 1, "Abs", "a", "nowhere", NULL, "z");
        } else if (i == NO_OUTPUT) {
            wire_value(&g, 12, "z", PTQ_DT_F32, 0, NULL);
        } else if (i == NO_OP) {
            wire_node(&g, 1, "", "a", "x", NULL, "z");
        } else if (i == DOMAIN) {
            wire_str(&extra, 1, "x");
            wire_str(&extra, 2, "z");
            wire_str(&extra, 4, "Thing");
            wire_str(&extra, 7, "org.example");
            wire_msg(&g, 1, &extra);
        } else if (i == ARITY) {
            wire_node(&g, 1, "Add", "a", "x", NULL, "z");
        } else {
            wire_node(&g, 1, "Add", "a", "x", "", "z");
        }
        wire m = wire_model(&g, 8, 17);
        ck_assert_fails(load(&m, &out), expect[i].status);
        ck_assert_says(expect[i].says);
        wire_free(&m);
    }
}
END_TEST

START_TEST(load__versions)
{
    static const struct {
        int ir, opset;
        ptq_status status;
        const char *says;
    } cases[] = {
        {8, 99, PTQ_ERR_UNSUPPORTED, "unsupported opset 99 (max 23)"},
        {8, -1, PTQ_ERR_UNSUPPORTED, "unsupported opset -1 (min 1)"},
        {99, 17, PTQ_ERR_UNSUPPORTED, "unsupported IR version 99"},
        {2, 17, PTQ_ERR_UNSUPPORTED, "unsupported IR version 2"},
        {0, 17, PTQ_ERR_MODEL, "no IR version"},
        {8, 0, PTQ_ERR_MODEL, "opset_import"},
    };
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        ptq_graph *out;
        wire g = small_graph();
        wire m = wire_model(&g, cases[i].ir, cases[i].opset);
        ck_assert_fails(load(&m, &out), cases[i].status);
        ck_assert_says(cases[i].says);
        wire_free(&m);
    }
    for (int opset = 7; opset <= 23; opset++) {
        ptq_graph *out;
        wire g = small_graph();
        wire m = wire_model(&g, 10, opset);
        ck_assert_ok(load(&m, &out));
        ck_assert_int_eq(out->opset, opset);
        ptq_graph_free(out);
        wire_free(&m);
    }
}
END_TEST

/* A node "n" of an unknown operator with one attribute per entry; `attr` writes its content. */
static ptq_status load_attr(wire *attr, ptq_graph **out)
{
    wire g = {0}, n = {0};
    wire_str(&n, 1, "x");
    wire_str(&n, 2, "y");
    wire_str(&n, 3, "n");
    wire_str(&n, 4, "Thing");
    wire_msg(&n, 5, attr);
    wire_msg(&g, 1, &n);
    wire_value(&g, 11, "x", PTQ_DT_F32, 0, NULL);
    wire m = wire_model(&g, 8, 17);
    ptq_status s = load(&m, out);
    /* The bytes must outlive the graph: kept until the next call. */
    static wire kept;
    wire_free(&kept);
    kept = m;
    return s;
}

static wire attr(int type)
{
    wire a = {0};
    wire_str(&a, 1, "a");
    if (type)
        wire_int(&a, 20, type);
    return a;
}

START_TEST(load__attributes)
{
    static const float f[2] = {1.5f, -2.0f};
    ptq_graph *g;
    for (int typed = 0; typed < 2; typed++) { /* old writers leave the type out */
        wire a = attr(typed ? PTQ_ATTR_FLOATS : 0);
        wire_bytes(&a, 7, f, sizeof f); /* packed */
        ck_assert_ok(load_attr(&a, &g));
        size_t n;
        const float *v = ptq_attr_floats(g->first, "a", &n);
        ck_assert(n == 2 && v[0] == 1.5f && v[1] == -2.0f);
        ptq_graph_free(g);

        a = attr(typed ? PTQ_ATTR_STRINGS : 0);
        wire_str(&a, 9, "one");
        wire_str(&a, 9, "");
        ck_assert_ok(load_attr(&a, &g));
        ck_assert_int_eq(g->first->attrs[0].type, PTQ_ATTR_STRINGS);
        ck_assert_uint_eq(g->first->attrs[0].n, 2);
        ck_assert_str_eq(g->first->attrs[0].strings[0], "one");
        ck_assert_str_eq(g->first->attrs[0].strings[1], "");
        ptq_graph_free(g);

        a = attr(typed ? PTQ_ATTR_INTS : 0);
        wire_int(&a, 8, -7);
        ck_assert_ok(load_attr(&a, &g));
        ck_assert_int_eq(ptq_attr_ints(g->first, "a", &n)[0], -7);
        ptq_graph_free(g);

        a = attr(typed ? PTQ_ATTR_INT : 0);
        wire_int(&a, 3, -9);
        ck_assert_ok(load_attr(&a, &g));
        ck_assert_int_eq(ptq_attr_int(g->first, "a", 0), -9);
        ptq_graph_free(g);

        a = attr(typed ? PTQ_ATTR_TENSOR : 0);
        wire_tensor(&a, 5, "", PTQ_DT_S8, 1, (int64_t[]){3}, "abc", 3);
        ck_assert_ok(load_attr(&a, &g));
        ck_assert_mem_eq(g->first->attrs[0].tensor->data, "abc", 3);
        ptq_graph_free(g);

        a = attr(typed ? PTQ_ATTR_TENSORS : 0);
        wire_tensor(&a, 10, "", PTQ_DT_S8, 1, (int64_t[]){3}, "abc", 3);
        ck_assert_ok(load_attr(&a, &g));
        ck_assert_int_eq(g->first->attrs[0].type, PTQ_ATTR_TENSORS);
        ptq_graph_free(g);

        wire sub = {0};
        wire_node(&sub, 1, "Abs", NULL, "x", NULL, "inner");
        a = attr(typed ? PTQ_ATTR_GRAPHS : 0);
        wire_msg(&a, 11, &sub);
        ck_assert_ok(load_attr(&a, &g));
        ck_assert_int_eq(g->first->attrs[0].type, PTQ_ATTR_GRAPHS);
        ck_assert_int_eq(g->first->ncaptures, 1);
        ptq_graph_free(g);
    }
    wire a = attr(0); /* nothing at all */
    ck_assert_ok(load_attr(&a, &g));
    ck_assert_int_eq(g->first->attrs[0].type, PTQ_ATTR_OTHER);
    ptq_graph_free(g);
}
END_TEST

START_TEST(load__attribute_errors)
{
    ptq_graph *g;
    wire a = attr(PTQ_ATTR_TENSOR);
    ck_assert_fails(load_attr(&a, &g), PTQ_ERR_MODEL);
    ck_assert_says("node 'n' (Thing): attribute 'a' holds no tensor");
    a = attr(PTQ_ATTR_GRAPH);
    ck_assert_fails(load_attr(&a, &g), PTQ_ERR_MODEL);
    ck_assert_says("holds no graph");
    a = attr(PTQ_ATTR_INT);
    wire_str(&a, 21, "outer");
    ck_assert_fails(load_attr(&a, &g), PTQ_ERR_MODEL);
    ck_assert_says("inside a function");
    wire_int(&a, 20, PTQ_ATTR_INT);
    ck_assert_fails(load_attr(&a, &g), PTQ_ERR_MODEL);
    ck_assert_says("has no name");
    wire sub = {0};
    wire_node(&sub, 1, "Abs", "deep", "nowhere", NULL, "inner");
    a = attr(PTQ_ATTR_GRAPH);
    wire_msg(&a, 6, &sub);
    ck_assert_fails(load_attr(&a, &g), PTQ_ERR_MODEL);
    ck_assert_says("subgraph of node 'n' (Thing): node 'deep' (Abs): input 0, 'nowhere'");

    wire m, graph = {0}, n = {0};
    wire_str(&n, 2, "y");
    wire_str(&n, 4, "Thing");
    for (int i = 0; i < 2; i++) {
        a = attr(PTQ_ATTR_INT);
        wire_msg(&n, 5, &a);
    }
    wire_msg(&graph, 1, &n);
    m = wire_model(&graph, 8, 17);
    ck_assert_fails(load(&m, &g), PTQ_ERR_MODEL);
    ck_assert_says("given twice");
    wire_free(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx_load");
    TCase *t = tcase_create("load");
    tcase_add_test(t, load__builds_the_graph);
    tcase_add_test(t, load__sorts_and_finds_cycles);
    tcase_add_test(t, load__names_the_broken_rule);
    tcase_add_test(t, load__versions);
    tcase_add_test(t, load__attributes);
    tcase_add_test(t, load__attribute_errors);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    return unit_run(s);
}
