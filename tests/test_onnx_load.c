/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/onnx/onnx_io.h"
#include "tests/onnx_models.h"

#define ck_assert_says(text) ck_assert_msg(strstr(ptq_last_error(), text), "%s", ptq_last_error())

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
        {8, 6, PTQ_ERR_UNSUPPORTED, "unsupported opset 6 (min 7)"},
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

int main(void)
{
    Suite *s = suite_create("onnx_load");
    TCase *t = tcase_create("load");
    tcase_add_test(t, load__builds_the_graph);
    tcase_add_test(t, load__sorts_and_finds_cycles);
    tcase_add_test(t, load__names_the_broken_rule);
    tcase_add_test(t, load__versions);
    suite_add_tcase(s, t);
    return unit_run(s);
}
