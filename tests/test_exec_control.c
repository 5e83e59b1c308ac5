/* SPDX-License-Identifier: Apache-2.0 */
/* If, Loop, Scan: what they compute, from what, under other shapes, nested; what is refused. */
#include "tests/cpu_float.h"

#include "lib/graph/pass.h"

/* Runs text on floats (input x) and integers (input n) of rank 1, returns output 0. */
static ptq_tensor run(const char *text, int nx, const float *x, int nn, const int64_t *n, ptq_session **s)
{
    ptq_tensor out[4] = {{0}}, in[2];
    ptq_graph *g = gt_parse(text);
    ck_assert_ok(ptq_infer_graph(g));
    ck_assert_ok(ptq_session_new(g, NULL, s));
    in[0] = (ptq_tensor){.dtype = PTQ_DT_F32, .rank = 1, .dims = {nx}, .nbytes = (size_t)nx * 4};
    in[1] = (ptq_tensor){.dtype = PTQ_DT_S64, .rank = 1, .dims = {nn}, .nbytes = (size_t)nn * 8};
    memcpy(&in[0].data, &x, sizeof x);
    memcpy(&in[1].data, &n, sizeof n);
    ck_assert_ok(ptq_session_run(*s, in, g->inputs.n, out, g->outputs.n));
    return out[0];
}

static void check(const char *text, int nx, const float *x, int64_t n, const char *shape, const float *want)
{
    ptq_session *s;
    char buf[64];
    ptq_tensor t = run(text, nx, x, 1, &n, &s);
    ck_assert_int_eq(t.dtype, PTQ_DT_F32);
    ck_assert_str_eq(ptq_shape_str(t.rank, t.dims, buf, sizeof buf), shape);
    for (int64_t i = 0; i < ptq_tensor_elements(&t); i++)
        ck_assert_msg(((const float *)t.data)[i] == want[i], "%s: element %lld is %g, want %g", text, (long long)i,
                      (double)((const float *)t.data)[i], (double)want[i]);
    /* The graph outlives the session; both go through the program that borrows it. */
    ptq_graph *g = (ptq_graph *)(uintptr_t)ptq_session_program(s)->graph;
    ptq_session_free(s);
    ptq_graph_free(g);
}

#define IF_TEXT                                                                                                        \
    "input x f32 [n]\ninput n s64 [1]\nconst zero s64 [] 0\nconst two f32 [] 2\n"                                      \
    "sub yes\nouter x\nouter two\na = Mul(x, two)\noutput a\nend\n"                                                    \
    "sub no\nouter x\nconst s s64 [1] 1\nconst e s64 [1] 9\na = Slice(x, s, e)\noutput a\nend\n"                       \
    "k = Greater(n, zero)\nc = Squeeze(k)\nh = If(c) then_branch=@yes else_branch=@no\ny = Neg(h)\noutput y\n"

/* Captured values computed and constant, a branch with another shape than the other. */
START_TEST(control__if)
{
    check(IF_TEXT, 3, (float[]){1, 2, 3}, 1, "[3]", (float[]){-2, -4, -6});
    check(IF_TEXT, 3, (float[]){1, 2, 3}, 0, "[2]", (float[]){-2, -3});
}
END_TEST

/* A state that grows, a result per iteration, a captured value, an early end by the condition. */
START_TEST(control__loop)
{
    const char *text = "input x f32 [n]\ninput n s64 [1]\nconst t bool [] 1\n"
                       "sub body\nouter x\ninput i s64 []\ninput k bool []\ninput s f32 [...]\nvalue q f32 [1]\nconst three s64 [] 3\n"
                       "d = Concat(s, x) axis=0\nq = ReduceSum(d)\nko = Less(i, three)\noutput ko\noutput d\noutput q\nend\n"
                       "m = Squeeze(n)\nd, q = Loop(m, t, x) body=@body\noutput q\noutput d\n";
    check(text, 2, (float[]){1, 2}, 3, "[3,1]", (float[]){6, 9, 12});
    check(text, 2, (float[]){1, 2}, 99, "[4,1]", (float[]){6, 9, 12, 15}); /* i < 3 ends it */
    check(text, 2, (float[]){1, 2}, 0, "[0,1]", NULL);
    check(text, 1, (float[]){5}, 1, "[1,1]", (float[]){10});
}
END_TEST

/* Two states are exchanged: results of an iteration are read when all of them are there. */
START_TEST(control__loop_exchanges)
{
    const char *text = "input x f32 [2]\ninput n s64 [1]\n"
                       "sub body\ninput i s64 []\ninput k bool []\ninput a f32 [2]\ninput b f32 [2]\n"
                       "ko = Identity(k)\nb2 = Identity(b)\na2 = Add(a, b)\noutput ko\noutput b2\noutput a2\nend\n"
                       "m = Squeeze(n)\na, b = Loop(m, , x, x) body=@body\noutput a\noutput b\n";
    check(text, 2, (float[]){1, 10}, 6, "[2]", (float[]){13, 130}); /* Fibonacci */
}
END_TEST

/* Axes and directions. */
#define SCAN_TEXT(more)                                                                                                \
    "input x f32 [6]\nconst d s64 [2] 2 3\nconst z f32 [2] 0\nm = Reshape(x, d)\n"                                 \
    "sub body\ninput s f32 [2]\ninput v f32 [2]\nt = Add(s, v)\nu = Identity(t)\noutput t\noutput u\nend\n"            \
    "s, u = Scan(z, m) body=@body num_scan_inputs=1 scan_input_axes=[1] scan_output_axes=[-1]" more "\n"         \
    "output u\noutput s\n"
START_TEST(control__scan)
{
    const float x[] = {1, 2, 3, 10, 20, 30};
    check(SCAN_TEXT(""), 6, x, 0, "[2,3]", (float[]){1, 3, 6, 10, 30, 60});
    check(SCAN_TEXT(" scan_input_directions=[1] scan_output_directions=[1]"), 6, x, 0, "[2,3]", (float[]){6, 5, 3, 60, 50, 30});
}
END_TEST

/* A Loop in the branch of an If reads a value from two graphs further out. */
START_TEST(control__nested)
{
    const char *text = "input x f32 [2]\ninput n s64 [1]\nconst zero s64 [] 0\nm = Squeeze(n)\n"
                       "sub yes\nouter x\nouter m\n"
                       "sub body\nouter x\ninput i s64 []\ninput k bool []\ninput s f32 [2]\nko = Identity(k)\n"
                       "t = Mul(s, x)\noutput ko\noutput t\nend\n"
                       "p = Loop(m, , x) body=@body\noutput p\nend\n"
                       "sub no\nouter x\np = Neg(x)\noutput p\nend\n"
                       "c = Greater(m, zero)\ny = If(c) then_branch=@yes else_branch=@no\noutput y\n";
    check(text, 2, (float[]){2, 3}, 3, "[2]", (float[]){16, 81});
    check(text, 2, (float[]){2, 3}, -1, "[2]", (float[]){-2, -3});
    /* A copy owns its subgraphs: it runs when the original is gone. */
    ptq_graph *g = gt_parse(text), *copy;
    ck_assert_ok(ptq_graph_clone(g, &copy));
    ptq_graph_free(g);
    ck_assert_ok(ptq_infer_graph(copy));
    const ptq_graph *yes = ptq_node_body(copy->last, "then_branch");
    ck_assert_ptr_eq(yes->outer, copy);
    ck_assert_int_eq(ptq_graph_find(copy, "y")->dtype, PTQ_DT_F32);
    ptq_graph_free(copy);
}
END_TEST

/* Memory is planned around them as around any step: every thread count and instruction set, poisoned. */
START_TEST(control__same_bytes_everywhere)
{
    ptq_pool *pool;
    cf_result r;
    ck_assert_ok(ptq_pool_new(3, &pool));
    ptq_graph *g = cf_parse("input x f32 [4,9]\nconst w f32 [9,9]\nconst m s64 [] 5\na = Relu(x)\nb = Exp(a)\n"
                            "sub body\nouter w\nouter b\ninput i s64 []\ninput k bool []\ninput s f32 [4,9]\n"
                            "ko = Identity(k)\np = MatMul(s, w)\nq = Add(p, b)\nt = Tanh(q)\noutput ko\noutput t\noutput q\n"
                            "end\nh, q = Loop(m, , a) body=@body\nc = Relu(h)\ny = Add(c, b)\noutput y\noutput q\n");
    ck_assert_int_eq(setenv("PTQ_POISON", "1", 1), 0);
    cf_all_same(g, pool, "loop", &r);
    ck_assert_int_eq(unsetenv("PTQ_POISON"), 0);
    ck_assert_int_eq(r.out[1].dims[0], 5);
    cf_free(&r);
    ptq_graph_free(g);
    ptq_pool_free(pool);
}
END_TEST

/* Types that flow out of the subgraphs, before any run. */
START_TEST(control__infers)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {IF_TEXT, "f32 [?]"},
        {"input x f32 [n,4]\nconst c bool [] 1\nsub a\nouter x\nr = Relu(x)\noutput r\nend\n"
         "sub b\nouter x\nr = Neg(x)\noutput r\nend\ny = If(c) then_branch=@a else_branch=@b\noutput y\n", "f32 [n,4]"},
        {"input x f32 [n,4]\nconst m s64 [] 3\nsub a\nouter x\ninput i s64 []\ninput k bool []\nconst f f32 [2,5]\n"
         "r = Relu(f)\noutput k\noutput r\nend\ny = Loop(m, ,) body=@a\noutput y\n", "f32 [?,2,5]"},
        {"input x f32 [7,4]\nconst z f32 [4]\nsub a\ninput s f32 [4]\ninput v f32 [4]\nt = Add(s, v)\nu = Relu(t)\n"
         "output t\noutput u\nend\ns, y = Scan(z, x) body=@a num_scan_inputs=1\noutput y\n", "f32 [7,4]"},
    };
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        ptq_graph *g = cf_parse(cases[i].text);
        char have[128], shape[100];
        const ptq_value *y = ptq_graph_find(g, i == 0 ? "h" : "y");
        snprintf(have, sizeof have, "%s %s", y->dtype == PTQ_DT_F32 ? "f32" : "other",
                 ptq_shape_print(&y->shape, g->syms, shape, sizeof shape));
        ck_assert_str_eq(have, cases[i].want);
        ptq_graph_free(g);
    }
}
END_TEST

START_TEST(control__refuses)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"input x f32 [2]\nsub a\nouter x\nr = Neg(x)\noutput r\nend\ny = If(x) then_branch=@a\noutput y\n",
         "node 'If' (If): the subgraph else_branch is missing"},
        {"input x f32 [2]\nsub a\nouter x\nr = Neg(x)\noutput r\nend\ny = If(x) then_branch=@a else_branch=@a\noutput y\n",
         "the condition is not one bool"},
        {"input x f32 [2]\nsub a\ninput i s64 []\nr = Neg(i)\noutput r\nend\ny = Loop(, , x) body=@a\noutput y\n",
         "its subgraph has 1 inputs and 1 outputs, 3 and 2 are needed"},
        {"input x f32 [2]\nsub a\ninput i s64 []\ninput k bool []\ninput s f32 [2]\nq = Cast(s) to=7\noutput k\noutput q\n"
         "end\nconst m s64 [] 2\ny = Loop(m, , x) body=@a\noutput y\n", "value 0 of the loop turns from float32 into int64"},
        {"input x f32 [2]\nsub a\ninput i s64 []\ninput k bool []\ninput s f32 [2]\nq = Foo(s)\noutput k\noutput q\n"
         "end\nconst m s64 [] 2\ny = Loop(m, , x) body=@a\noutput y\n", "subgraph of node 'Loop' (Loop): backend cpu cannot run"},
        {"input x f32 [2]\nsub a\ninput i s64 []\ninput k bool []\nconst q f32 [] 1\noutput k\noutput q\nend\n"
         "y = Loop(, ,) body=@a\noutput y\n", "has not ended after 16777216 iterations"},
        {"input x f32 [2]\nsub a\ninput s f32 []\noutput s\nend\ny = Scan(x) body=@a num_scan_inputs=2\noutput y\n",
         "num_scan_inputs is 2, the node has 1 inputs"},
        {"input x f32 [2]\nsub a\ninput s f32 []\nt = Neg(s)\noutput t\nend\n"
         "y = Scan(x) body=@a num_scan_inputs=1 scan_input_axes=[1]\noutput y\n", "axis 1 is outside of rank 1"},
        {"input x f32 [2]\nsub a\ninput i s64 []\ninput k bool []\nc = Cast(i) to=7\nd = Unsqueeze(c) axes=[0]\n"
         "q = ConstantOfShape(d)\noutput k\noutput q\nend\nconst m s64 [] 3\ny = Loop(m, ,) body=@a\noutput y\n",
         "result 0 of iteration 1 has another shape"},
    };
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        ptq_graph *g = gt_parse(cases[i].text);
        ptq_session *s = NULL;
        float zeros[2] = {0};
        ptq_tensor in = {.dtype = PTQ_DT_F32, .rank = 1, .dims = {2}, .data = zeros, .nbytes = 8}, out;
        ptq_status st = ptq_infer_graph(g);
        if (st == PTQ_OK)
            st = ptq_session_new(g, NULL, &s);
        if (st == PTQ_OK)
            st = ptq_session_run(s, &in, 1, &out, 1);
        ck_assert_msg(st != PTQ_OK, "case %zu runs", i);
        ck_assert_msg(strstr(ptq_last_error(), cases[i].says) != NULL, "case %zu says \"%s\"", i, ptq_last_error());
        ptq_session_free(s);
        ptq_graph_free(g);
    }
}
END_TEST

/* An older opset inside of a subgraph is brought up with the graph around it. */
START_TEST(control__upgrades)
{
    ptq_graph *g = gt_parse("opset 11\ninput x f32 [2,3]\nconst m s64 [] 2\n"
                            "sub a\ninput i s64 []\ninput k bool []\ninput s f32 [2,3]\nc = Clip(s) min=0.5\n"
                            "u = Unsqueeze(c) axes=[0]\nq = Squeeze(u) axes=[0]\nko = Identity(k)\noutput ko\noutput q\nend\n"
                            "y = Loop(m, , x) body=@a\noutput y\n");
    ck_assert_ok(ptq_graph_upgrade(g, 13));
    const ptq_graph *body = ptq_node_body(g->first, "body");
    ck_assert_int_eq(body->opset, 13);
    PTQ_GRAPH_EACH_NODE (body, n)
        ck_assert_int_eq(n->nin, strcmp(n->op, "Squeeze") && strcmp(n->op, "Unsqueeze") ? 1 : 2);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec control");
    TCase *t = tcase_create("control");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, control__if);
    tcase_add_test(t, control__loop);
    tcase_add_test(t, control__loop_exchanges);
    tcase_add_test(t, control__scan);
    tcase_add_test(t, control__nested);
    tcase_add_test(t, control__same_bytes_everywhere);
    tcase_add_test(t, control__infers);
    tcase_add_test(t, control__refuses);
    tcase_add_test(t, control__upgrades);
    suite_add_tcase(s, t);
    return unit_run(s);
}
