/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of model-local functions become their nodes: attributes, nested calls, subgraphs, versions, and
 * files that would make too many nodes of few bytes. */
#include "tests/unit.h"

#include "lib/onnx/onnx_io.h"
#include "tests/onnx_models.h"

static void strings(wire *n, unsigned field, const char *list)
{
    while (*list) {
        size_t k = strcspn(list, ",");
        wire_bytes(n, field, list, k);
        list += k + (list[k] == ',');
    }
}

/* NodeProto; names separated by commas; `attrs` (consumed) holds AttributeProtos. */
static void node(wire *w, unsigned field, const char *op, const char *domain, const char *in, const char *out, wire *attrs)
{
    wire n = {0};
    strings(&n, 1, in);
    strings(&n, 2, out);
    wire_str(&n, 4, op);
    wire_str(&n, 7, domain);
    if (attrs)
        wire_raw(&n, attrs->p, attrs->n);
    if (attrs)
        wire_free(attrs);
    wire_msg(w, field, &n);
}

/* AttributeProto of type float, a value or a reference to an attribute of the function. */
static void attr_float(wire *w, unsigned field, const char *name, float value, const char *ref)
{
    wire a = {0};
    wire_str(&a, 1, name);
    if (!ref) {
        wire_varint(&a, 2 << 3 | 5);
        wire_raw(&a, &value, 4);
    }
    wire_int(&a, 20, 1);
    if (ref)
        wire_str(&a, 21, ref);
    wire_msg(w, field, &a);
}

static wire function(const char *name, const char *in, const char *out, int opset)
{
    wire f = {0}, set = {0};
    wire_str(&f, 1, name);
    strings(&f, 4, in);
    strings(&f, 5, out);
    wire_str(&set, 1, "");
    wire_int(&set, 2, opset);
    wire_msg(&f, 9, &set);
    wire_str(&set, 1, "local");
    wire_int(&set, 2, 1);
    wire_msg(&f, 9, &set);
    wire_str(&f, 10, "local");
    return f;
}

/* The model around a graph from x to y, float [3,2]. */
static wire model(wire *g, int opset)
{
    wire set = {0};
    wire_str(g, 2, "g");
    wire_value(g, 11, "x", PTQ_DT_F32, 2, (int64_t[]){3, 2});
    wire_value(g, 12, "y", PTQ_DT_F32, 2, (int64_t[]){3, 2});
    wire m = wire_model(g, 8, opset);
    wire_str(&set, 1, "local");
    wire_int(&set, 2, 1);
    wire_msg(&m, 8, &set);
    return m;
}

static ptq_status load(wire *m, ptq_graph **g)
{
    static const ptq_onnx_load_options opt = {.inline_calls = true};
    return ptq_onnx_load_memory(m->p, m->n, NULL, &opt, g);
}

static void ops_are(const ptq_graph *g, const char *want)
{
    char have[512] = "";
    PTQ_GRAPH_EACH_NODE (g, n) {
        strcat(have, *have ? " " : "");
        strcat(have, n->op);
    }
    ck_assert_str_eq(have, want);
}

/* An If whose branches give Abs and Neg of `outer`. */
static wire branches(const char *outer)
{
    wire attrs = {0};
    for (int i = 0; i < 2; i++) {
        wire a = {0}, g = {0};
        wire_node(&g, 1, i ? "Neg" : "Abs", NULL, outer, NULL, i ? "no" : "yes");
        wire_str(&g, 2, "branch");
        wire_value(&g, 12, i ? "no" : "yes", PTQ_DT_F32, 2, (int64_t[]){3, 2});
        wire_str(&a, 1, i ? "else_branch" : "then_branch");
        wire_msg(&a, 6, &g);
        wire_int(&a, 20, 5);
        wire_msg(&attrs, 5, &a);
    }
    return attrs;
}

/* Scaled(x): LeakyRelu with alpha of the call, Elu with beta (default 0.5), Inner of both.
 * Inner(a, c): if c then |a| else -a. */
static wire two_calls(void)
{
    wire g = {0}, a = {0}, f, inner;
    attr_float(&a, 5, "alpha", 0.25f, NULL);
    node(&g, 1, "Scaled", "local", "x,c", "t", &a);
    attr_float(&a, 5, "alpha", 0.125f, NULL);
    attr_float(&a, 5, "beta", 2.0f, NULL);
    node(&g, 1, "Scaled", "local", "t,c", "y", &a);
    wire_tensor(&g, 5, "c", PTQ_DT_BOOL, 0, NULL, "\x01", 1);
    wire m = model(&g, 17);
    f = function("Scaled", "x,c", "out", 17);
    attr_float(&a, 5, "alpha", 0, "alpha");
    node(&f, 7, "LeakyRelu", "", "x", "t", &a);
    attr_float(&a, 5, "alpha", 0, "beta");
    node(&f, 7, "Elu", "", "t", "u", &a);
    node(&f, 7, "Inner", "local", "u,c", "out", NULL);
    wire_str(&f, 6, "alpha");
    attr_float(&f, 11, "beta", 0.5f, NULL);
    wire_msg(&m, 25, &f);
    inner = function("Inner", "a,c", "b", 17);
    a = branches("a");
    node(&inner, 7, "If", "", "c", "b", &a);
    wire_msg(&m, 25, &inner);
    return m;
}

START_TEST(functions__become_their_nodes)
{
    wire m = two_calls();
    ptq_graph *g, *back;
    void *bytes;
    size_t size;
    ck_assert_ok(load(&m, &g));
    ck_assert_ok(ptq_graph_verify(g));
    ops_are(g, "LeakyRelu Elu If LeakyRelu Elu If");
    const ptq_node *leaky = g->first, *elu = leaky->next, *iff = elu->next;
    ck_assert(ptq_attr_float(leaky, "alpha", 0) == 0.25f);
    ck_assert(ptq_attr_float(elu, "alpha", 0) == 0.5f); /* the function's default */
    ck_assert(ptq_attr_float(iff->next, "alpha", 0) == 0.125f);
    ck_assert(ptq_attr_float(iff->next->next, "alpha", 0) == 2.0f);
    ck_assert_str_eq(iff->out[0]->name, "t"); /* the name that the call's output had */
    ck_assert_str_eq(g->last->out[0]->name, "y");
    /* What the branch reads has the name of the value that the second call's Elu makes. */
    const ptq_graph *yes = ptq_node_body(g->last, "then_branch");
    ck_assert_ptr_eq(yes->captured.v[0], yes->first->in[0]);
    ck_assert_str_eq(yes->captured.v[0]->name, g->last->prev->out[0]->name);
    ck_assert_ptr_eq(g->last->captures[0], g->last->prev->out[0]);
    /* Written, the functions are gone, and all of that is read again. */
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &size));
    ptq_graph_free(g);
    ck_assert_ok(ptq_onnx_load_memory(bytes, size, NULL, NULL, &back));
    ops_are(back, "LeakyRelu Elu If LeakyRelu Elu If");
    ck_assert(ptq_attr_float(back->first->next, "alpha", 0) == 0.5f);
    ck_assert_str_eq(back->last->captures[0]->name, back->last->prev->out[0]->name);
    ptq_graph_free(back);
    free(bytes);
    /* Without the option a call stays one. */
    ck_assert_ok(ptq_onnx_load_memory(m.p, m.n, NULL, NULL, &g));
    ops_are(g, "Scaled Scaled");
    ptq_graph_free(g);
    wire_free(&m);
}
END_TEST

/* A function that gives its input, and a call from within a subgraph. */
START_TEST(functions__in_subgraphs)
{
    wire g = {0}, b = {0}, a = {0}, attrs = {0}, f;
    ptq_graph *graph;
    for (int i = 0; i < 2; i++) {
        node(&b, 1, "Same", "local", "x", i ? "p" : "q", NULL);
        wire_str(&b, 2, "b");
        wire_value(&b, 12, i ? "p" : "q", PTQ_DT_F32, 2, (int64_t[]){3, 2});
        wire_str(&a, 1, i ? "else_branch" : "then_branch");
        wire_msg(&a, 6, &b);
        wire_int(&a, 20, 5);
        wire_msg(&attrs, 5, &a);
    }
    node(&g, 1, "If", "", "c", "y", &attrs);
    wire_tensor(&g, 5, "c", PTQ_DT_BOOL, 0, NULL, "\x01", 1);
    wire m = model(&g, 17);
    f = function("Same", "v", "v", 17);
    wire_msg(&m, 25, &f);
    ck_assert_ok(load(&m, &graph));
    ck_assert_ok(ptq_graph_verify(graph));
    ops_are(ptq_node_body(graph->first, "then_branch"), "Identity");
    ops_are(ptq_node_body(graph->first, "else_branch"), "Identity");
    ptq_graph_free(graph);
    wire_free(&m);
}
END_TEST

/* A body of another opset is brought to the model's where an operator changed between the two. */
START_TEST(functions__opsets)
{
    static const struct {
        int model, function;
        const char *says; /* NULL: works */
        int inputs;       /* of the Clip then */
    } cases[] = {{11, 11, NULL, 2}, {13, 10, NULL, 3}, {12, 10, "convert the model", 0},
                 {10, 12, "convert the model", 0}, {17, 13, NULL, 2}, {13, 17, NULL, 2}};
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        wire g = {0}, a = {0}, f;
        ptq_graph *graph;
        bool attrs = cases[i].function < 11;
        node(&g, 1, "F", "local", "x", "y", NULL);
        float zero = 0;
        wire_tensor(&g, 5, "z", PTQ_DT_F32, 0, NULL, &zero, 4);
        wire m = model(&g, cases[i].model);
        f = function("F", "a", "b", cases[i].function);
        if (attrs) {
            attr_float(&a, 5, "min", 0.5f, NULL);
            attr_float(&a, 5, "max", 0.75f, NULL);
        }
        node(&f, 7, "Clip", "", attrs ? "a" : "a,a", "b", &a);
        wire_msg(&m, 25, &f);
        ptq_status s = load(&m, &graph);
        if (cases[i].says) {
            ck_assert_int_eq(s, PTQ_ERR_UNSUPPORTED);
            ck_assert_says(cases[i].says);
        } else {
            ck_assert_ok(s);
            ck_assert_int_eq(graph->first->nin, cases[i].inputs);
            ptq_graph_free(graph);
        }
        wire_free(&m);
    }
}
END_TEST

START_TEST(functions__refused)
{
    /* An input that the body needs; too many inputs; 40 levels; 8 levels of 10 calls. */
    static const char *const says[] = {"needs input 1", "has 1 inputs and 1 outputs, the call 2 and 1",
                                       "inside each other", "nodes in all"};
    for (int k = 0; k < 4; k++) {
        wire g = {0}, f;
        ptq_graph *graph;
        char name[16], next[16];
        node(&g, 1, "F0", "local", k == 1 ? "x,x" : "x", "y", NULL);
        wire m = model(&g, 17);
        int levels = k == 2 ? 40 : k == 3 ? 8 : 1, calls = k == 3 ? 10 : 1;
        for (int i = 0; i < levels; i++) {
            snprintf(name, sizeof name, "F%d", i);
            snprintf(next, sizeof next, "F%d", i + 1);
            f = function(name, k == 0 ? "a,b" : "v0", k == 0 ? "c" : calls == 10 ? "v10" : "v1", 17);
            for (int c = 0; c < calls; c++) {
                char in[16], out[16];
                snprintf(in, sizeof in, "v%d", c);
                snprintf(out, sizeof out, "v%d", c + 1);
                if (k == 0)
                    node(&f, 7, "Add", "", "a,b", "c", NULL);
                else
                    node(&f, 7, i + 1 < levels ? next : "Relu", i + 1 < levels ? "local" : "", in, out, NULL);
            }
            wire_msg(&m, 25, &f);
        }
        ck_assert_int_ne(load(&m, &graph), PTQ_OK);
        ck_assert_says(says[k]);
        wire_free(&m);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx_functions");
    TCase *t = tcase_create("functions");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, functions__become_their_nodes);
    tcase_add_test(t, functions__in_subgraphs);
    tcase_add_test(t, functions__opsets);
    tcase_add_test(t, functions__refused);
    suite_add_tcase(s, t);
    return unit_run(s);
}
