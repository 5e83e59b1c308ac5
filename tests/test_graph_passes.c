/* SPDX-License-Identifier: Apache-2.0 */
/* Every pass alone and all together: the function stays, and what should happen happens. */
#include "tests/graph_eval.h"
#include "tests/graph_text.h"
#include "tests/unit.h"

#include "lib/graph/pass.h"

#define CONV_BN                                                                                    \
    "const w f32 [4,3,3,3]\nconst g f32 [4]\nconst b f32 [4]\nconst m f32 [4]\n"                   \
    "const v f32 [4] 0.5 1.5 2 0.1\n"

/* pass (NULL: all of them), graph, operators left in order. */
static const struct {
    const char *pass, *text, *ops;
} rows[] = {
    /* identity */
    {"identity", "input x f32 [n,3]\na = Identity(x)\nb = Relu(a)\ny = Identity(b)\noutput y", "Relu"},
    {"identity", "input x f32 [n,3]\ny = Identity(x)\noutput y", "Identity"},
    {"identity", "input x f32 [n,3]\na = Relu(x)\ny = Identity(a)\noutput a\noutput y",
     "Relu Identity"},
    {"identity", "input x f32 [n,3]\na = Relu(x)\ny = Identity(a)\nz = Mul(a, x)\noutput y\noutput z",
     "Relu Mul"},
    {"identity", "input x f32 [n,3]\na = Relu(x)\nb, mask = Dropout(a)\ny = Relu(b)\noutput y",
     "Relu Relu"},
    {"identity", "input x f32 [n,3]\nconst r f32 [] 0.5\nconst t bool [] 0\na = Dropout(x, r, t)\n"
                 "y = Relu(a)\noutput y",
     "Relu"},
    {"identity", "input x f32 [n,3]\nconst s s64 [2] 0 3\na = Reshape(x, s)\ny = Relu(a)\noutput y",
     "Relu"},
    {"identity", "input x f32 [n,4]\nconst s s64 [2] -1 2\na = Reshape(x, s)\ny = Relu(a)\noutput y",
     "Reshape Relu"},
    {"identity", "input x f32 [n,4]\na = Transpose(x) perm=[0,1]\nb = Cast(a) to=1\nc = Concat(b) axis=0\n"
                 "d = Flatten(c)\ny = Relu(d)\noutput y",
     "Relu"},
    {"identity", "input x f32 [n,4]\na = Transpose(x)\nb = Cast(a) to=7\ny = Identity(b)\noutput y",
     "Transpose Cast"},
    {"identity", "input x f32 [3,4]\nconst s s64 [1] -1\nconst e s64 [1] -9223372036854775807\n"
                 "const a s64 [1] 0\nz = Slice(x, s, e, a, s)\ny = Relu(z)\noutput y",
     "Slice Relu"},
    /* fold_const */
    {"fold_const", "input x f32 [n,3]\nconst c f32 [3,3]\nt = Transpose(c)\nu = Add(t, c)\n"
                   "y = MatMul(x, u)\noutput y",
     "MatMul"},
    {"fold_const", "input x f32 [2,3,4]\nh = Shape(x)\nconst i s64 [] 1\nd = Gather(h, i)\n"
                   "f = Cast(d) to=1\nr = Sqrt(f)\ny = Div(x, r)\noutput y",
     "Div"},
    {"fold_const", "input x f32 [n,3,4]\nh = Shape(x)\nconst i s64 [] 1\nd = Gather(h, i)\n"
                   "f = Cast(d) to=1\nr = Sqrt(f)\ny = Div(x, r)\noutput y",
     "Shape Div"},
    {"fold_const", "input x f32 [3]\nk = Constant() value_float=2.5\ny = Mul(x, k)\noutput y", "Mul"},
    {"fold_const", "input x f32 [4]\nk = Constant() value_ints=[2,2]\ny = Reshape(x, k)\noutput y",
     "Reshape"},
    /* an output is not turned into a constant */
    {"fold_const", "const c f32 [2]\ny = Relu(c)\noutput y", "Relu"},
    /* larger than the limit and than its inputs */
    {"fold_const", "input x f32 [2]\nconst c f32 [1]\nconst s s64 [2] 600 600\n"
                   "e = Expand(c, s)\nz = Relu(e)\ny = Flatten(z)\n",
     "Expand Relu Flatten"},
    /* shapes */
    {"shapes", "input x f32 [n,3,4]\nh = Shape(x)\nconst i s64 [1] 0\nb = Gather(h, i)\n"
               "const m s64 [1] -1\nc = Concat(b, m) axis=0\ny = Reshape(x, c)\noutput y",
     "Shape Gather Concat Reshape"},
    {NULL, "input x f32 [n,3,4]\nh = Shape(x)\nconst i s64 [1] 0\nb = Gather(h, i)\n"
           "const m s64 [1] -1\nc = Concat(b, m) axis=0\ny = Reshape(x, c) allowzero=1\noutput y",
     "Reshape"},
    /* the batch moves: [n,2,6] to [2n,6] */
    {NULL, "input x f32 [n,2,6]\nh = Shape(x)\nconst i s64 [1] 0\nconst t s64 [1] 2\nb = Gather(h, i)\n"
           "d = Mul(b, t)\nconst s s64 [1] 6\nc = Concat(d, s) axis=0\ny = Reshape(x, c)\noutput y",
     "Reshape"},
    /* movers */
    {"movers", "input x f32 [n,2,6]\nconst s s64 [3] -1 3 2\nconst t s64 [2] 0 -1\na = Reshape(x, s)\n"
               "const q s64 [2] -1 3\nb = Reshape(a, q)\ny = Reshape(b, q)\nz = Reshape(a, t)\n"
               "output y\noutput z",
     "Reshape Reshape Reshape Reshape"},
    {NULL, "input x f32 [n,2,6]\nconst s s64 [4] 0 2 3 2\na = Reshape(x, s)\nconst t s64 [3] 0 0 -1\n"
           "b = Reshape(a, t)\ny = Relu(b)\noutput y",
     "Relu"},
    {NULL, "input x f32 [n,2,6]\na = Transpose(x) perm=[2,0,1]\ny = Transpose(a) perm=[2,0,1]\noutput y",
     "Transpose"},
    {NULL, "input x f32 [n,2,6]\na = Transpose(x) perm=[2,0,1]\nb = Transpose(a) perm=[1,2,0]\n"
           "y = Relu(b)\noutput y",
     "Relu"},
    /* canonical */
    {"canonical", "input x f32 [3]\nconst l f32 [] 0\ny = Clip(x, l)\noutput y", "Relu"},
    {"canonical", "input x f32 [3]\nconst l f32 [1] 0\nconst h f32 [1] 6\ny = Clip(x, l, h)\noutput y",
     "Clip"},
    {"canonical", "input x f32 [3]\nz = Relu(x)\ny = Clip(z)\noutput y", "Relu"},
    {"canonical", "opset 9\ninput x f32 [3]\ny = Clip(x) min=0.0 max=1.0\noutput y", "Clip"},
    /* fold_bn */
    {"fold_bn", "input x f32 [n,3,5,5]\n" CONV_BN
                "c = Conv(x, w) pads=[1,1,1,1]\ny = BatchNormalization(c, g, b, m, v) epsilon=0.001\noutput y",
     "Conv"},
    {"fold_bn", "input x f32 [n,3,5,5]\nconst k f32 [4]\n" CONV_BN
                "c = Conv(x, w, k)\nd = BatchNormalization(c, g, b, m, v)\ny = Relu(d)\noutput y",
     "Conv Relu"},
    /* a shared weight is copied, a shared bias too */
    {"fold_bn", "input x f32 [n,3,5,5]\nconst k f32 [4]\n" CONV_BN
                "c = Conv(x, w, k)\nd = Conv(x, w, k) strides=[2,2]\n"
                "y = BatchNormalization(c, g, b, m, v)\nz = BatchNormalization(d, b, g, m, v)\n"
                "u = Conv(x, w, k)\noutput y\noutput z\noutput u",
     "Conv Conv Conv"},
    {"fold_bn", "input x f32 [n,4,5,5]\nconst w f32 [4,2,1,1]\nconst g f32 [4]\nconst v f32 [4] 1\n"
                "c = Conv(x, w) group=2\ny = BatchNormalization(c, g, g, g, v)\noutput y",
     "Conv"},
    /* the convolution has another reader; is an output; the statistics are not constant */
    {"fold_bn", "input x f32 [n,3,5,5]\n" CONV_BN "c = Conv(x, w)\n"
                "y = BatchNormalization(c, g, b, m, v)\nz = Relu(c)\noutput y\noutput z",
     "Conv BatchNormalization Relu"},
    {"fold_bn", "input x f32 [n,3,5,5]\n" CONV_BN "c = Conv(x, w)\n"
                "y = BatchNormalization(c, g, b, m, v)\noutput y\noutput c",
     "Conv BatchNormalization"},
    {"fold_bn", "input x f32 [n,4,5,5]\nconst g f32 [4]\nconst v f32 [4] 1\n"
                "y = BatchNormalization(x, g, g, g, v)\noutput y",
     "BatchNormalization"},
    /* cse */
    {"cse", "input x f32 [n,3]\na = Relu(x)\nb = Relu(x)\ny = Add(a, b)\noutput y", "Relu Add"},
    {"cse", "input x f32 [n,3]\nconst p s64 [1] 1\nconst q s64 [1] 1\na = Unsqueeze(x, p)\n"
            "b = Unsqueeze(x, q)\ny = Add(a, b)\noutput y",
     "Unsqueeze Add"},
    {"cse", "input x f32 [n,3]\na = Softmax(x) axis=0\nb = Softmax(x) axis=1\ny = Add(a, b)\noutput y",
     "Softmax Softmax Add"},
    {"cse", "input x f32 [n,3]\nconst p f32 [3] 1\nconst q f32 [3] 1\na = Mul(x, p)\nb = Mul(x, q)\n"
            "y = Add(a, b)\noutput y",
     "Mul Mul Add"}, /* weights keep their names */
    {"cse", "input x f32 [n,3]\ny = Relu(x)\nz = Relu(x)\noutput y\noutput z", "Relu Relu"},
    {"cse", "input x f32 [n,3]\na, b = Split(x) axis=0 num_outputs=2\nc, d = Split(x) axis=0 num_outputs=2\n"
            "e = Add(a, a)\nf = Add(c, c)\nu = Concat(e, b) axis=0\nv = Concat(f, d) axis=0\n"
            "y = Add(u, v)\noutput y\nopset 18",
     "Split Add Concat Add"},
    {"cse", "input x f32 [n,3]\na = Relu(x)\nb = Shape(x)\nc = Shape(a)\nd = Expand(x, b)\n"
            "e = Expand(x, c)\ny = Add(d, e)\nz = Mul(a, y)\noutput z",
     "Relu Shape Shape Expand Add Mul"},
    /* dead */
    {"dead", "input x f32 [n,3]\nconst c f32 [3]\na = Relu(x)\nb = Mul(a, c)\ny = Identity(x)\noutput y",
     "Identity"},
};

static void ops_of(const ptq_graph *g, char *buf, size_t n)
{
    size_t at = 0;
    buf[0] = 0;
    PTQ_GRAPH_EACH_NODE (g, m)
        at += (size_t)snprintf(buf + at, n - at, "%s%s", at ? " " : "", m->op);
}

static ptq_graph *optimized(const char *pass, const char *text, int *changes)
{
    ptq_graph *g = gt_parse(text);
    ptq_pass_ctx ctx = {.graph = g, .eval = ge_eval};
    if (pass) {
        ck_assert_ok(ptq_infer_graph(g));
        ck_assert_ok(ptq_pass_find(pass)->run(&ctx));
        ck_assert_ok(ptq_graph_verify(g));
        ck_assert_ok(ptq_infer_graph(g));
    } else {
        ck_assert_ok(ptq_passes_run(&ctx));
    }
    *changes = ctx.changes;
    return g;
}

START_TEST(passes__table)
{
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        char ops[512];
        int changes;
        ptq_graph *a = gt_parse(rows[i].text), *b = optimized(rows[i].pass, rows[i].text, &changes);
        ops_of(b, ops, sizeof ops);
        ck_assert_msg(strcmp(ops, rows[i].ops) == 0, "%s: leaves %s, want %s", rows[i].text, ops,
                      rows[i].ops);
        ge_same(a, b, 2e-6, rows[i].text);
        ptq_graph_free(b);
        b = optimized(NULL, rows[i].text, &changes);
        ge_same(a, b, 2e-6, rows[i].text);
        ptq_pass_ctx again = {.graph = b, .eval = ge_eval};
        ck_assert_ok(ptq_passes_run(&again));
        ck_assert_msg(again.changes == 0, "%s: a second run changes %d more", rows[i].text,
                      again.changes);
        ptq_graph_free(b);
        ptq_graph_free(a);
    }
}
END_TEST

START_TEST(passes__find)
{
    ck_assert_ptr_null(ptq_pass_find("nothing"));
    for (size_t i = 0; i < ptq_pass_count(); i++) {
        ck_assert_ptr_eq(ptq_pass_find(ptq_pass_at(i)->name), ptq_pass_at(i));
        bool tested = strcmp(ptq_pass_at(i)->name, "branches") == 0; /* below: rows have no subgraphs */
        for (size_t k = 0; k < PTQ_COUNT(rows); k++)
            tested = tested || (rows[k].pass && !strcmp(rows[k].pass, ptq_pass_at(i)->name));
        ck_assert_msg(tested, "pass %s has no test", ptq_pass_at(i)->name);
    }
    ck_assert_ptr_null(ptq_pass_at(ptq_pass_count()));
}
END_TEST

/* What a subgraph reads stays: the name is written inside the subgraph. */
START_TEST(passes__captures_stay)
{
    ptq_graph *g = gt_parse("input x f32 [3]\nconst c s64 [1] 1\nconst d s64 [1] 1\na = Identity(x)\n"
                            "b = Identity(x)\ne = Relu(b)\nf = Relu(x)\ny = Foo(x)\noutput y");
    ptq_node *foo = g->last;
    const char *kept[] = {"a", "c", "d", "f"};
    for (size_t i = 0; i < PTQ_COUNT(kept); i++)
        ck_assert_ok(ptq_node_capture(g, foo, ptq_graph_find(g, kept[i])));
    ptq_pass_ctx ctx = {.graph = g, .eval = ge_eval};
    ck_assert_ok(ptq_passes_run(&ctx));
    for (size_t i = 0; i < PTQ_COUNT(kept); i++)
        ck_assert_msg(ptq_graph_find(g, kept[i]) != NULL, "%s is gone", kept[i]);
    ck_assert_ptr_null(ptq_graph_find(g, "e"));
    ck_assert_int_eq(g->nnodes, 3);
    ck_assert_ptr_nonnull(ptq_graph_find(g, "a")->producer);
    ptq_graph_free(g);
}
END_TEST

/* A graph of 100,000 nodes of which nothing remains, and one where everything is common. */
START_TEST(passes__long_chains)
{
    enum { N = 100000 };
    for (int kind = 0; kind < 3; kind++) {
        ptq_graph *g = gt_parse("input x f32 [n,4]\nconst one f32 [4]\ny = Relu(x)\noutput y");
        ptq_value *prev = ptq_graph_find(g, kind == 2 ? "one" : "x");
        for (int i = 0; i < N; i++) {
            ptq_node *n;
            ptq_value *v;
            ck_assert_ok(ptq_graph_value(g, ptq_graph_unique_name(g, "t"), &v));
            ck_assert_ok(ptq_graph_node(g, kind ? "Relu" : "Identity", "", NULL, 1, 1, g->last, &n));
            ptq_node_set_input(g, n, 0, kind == 1 ? ptq_graph_find(g, "x") : prev);
            ptq_node_set_output(g, n, 0, v);
            prev = v;
        }
        ptq_node_set_input(g, g->last, 0, prev);
        double t0 = unit_cpu_seconds();
        ptq_pass_ctx ctx = {.graph = g, .eval = ge_eval};
        ck_assert_ok(ptq_passes_run(&ctx));
        ck_assert_int_le(g->nnodes, 2);
        ck_assert_msg(unit_cpu_seconds() - t0 < 30, "kind %d: %.2f s", kind, unit_cpu_seconds() - t0);
        ptq_graph_free(g);
    }
}
END_TEST

/* A constant condition: what the branch does stands where the If was, outputs keep their names. */
START_TEST(passes__branch_is_taken)
{
    for (int taken = 0; taken < 2; taken++) {
        ptq_graph *g = gt_parse(taken ? "input x f32 [3]\nconst k bool [] 1\ny, z, u = If(k)\nw = Relu(y)\noutput w\noutput z"
                                      : "input x f32 [3]\nconst k bool [] 0\ny, z, u = If(k)\nw = Relu(y)\noutput w\noutput z");
        ptq_node *n = g->first;
        static const char *const attrs[2] = {"else_branch", "then_branch"};
        static const char *const bodies[2] = {"x = Foo()\nc = Neg(x)\nd = Exp(c)\noutput c\noutput x\noutput d",
                                              "x = Foo()\nconst y f32 [3]\nc = Abs(x)\nd = Add(c, y)\noutput d\noutput y\noutput c"};
        for (int i = 0; i < 2; i++) {
            ptq_graph *b = gt_parse(bodies[i]);
            ptq_node_remove(b, b->first); /* x is of the graph around */
            ck_assert(PTQ_VEC_PUSH(b->arena, &b->captured, ptq_graph_find(b, "x")));
            gt_set_body(g, n, attrs[i], b);
        }
        ck_assert_ok(ptq_node_capture(g, n, ptq_graph_find(g, "x")));
        ptq_pass_ctx ctx = {.graph = g};
        ck_assert_ok(ptq_pass_find("branches")->run(&ctx));
        ck_assert_int_eq(ctx.changes, 1);
        ck_assert_ok(ptq_graph_verify(g));
        ck_assert_ok(ptq_infer_graph(g));
        char ops[512];
        ops_of(g, ops, sizeof ops);
        ck_assert_str_eq(ops, taken ? "Abs Add Identity Relu" : "Neg Exp Identity Relu");
        const ptq_value *y = ptq_graph_find(g, "y"), *z = ptq_graph_find(g, "z");
        ck_assert_str_eq(y->producer->op, taken ? "Add" : "Neg");
        ck_assert_int_eq(y->shape.rank, 1);
        ck_assert(z->is_output && !strcmp(z->producer->op, "Identity"));
        /* The branch's own "y" had to make room. */
        ck_assert(!taken || !strcmp(z->producer->in[0]->name, "If/y"));
        ptq_graph_free(g);
    }
}
END_TEST

static ptq_status broken(void *ctx, const ptq_node *n, int opset, ptq_tensor *out)
{
    (void)ctx, (void)opset, (void)out;
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "no %s", n->op);
}

START_TEST(passes__unsupported_is_left)
{
    ptq_graph *g = gt_parse("input x f32 [3]\nconst c f32 [3]\na = Relu(c)\ny = Add(x, a)\noutput y");
    ptq_pass_ctx ctx = {.graph = g, .eval = broken};
    ck_assert_ok(ptq_passes_run(&ctx));
    ck_assert_int_eq(g->nnodes, 2);
    ctx.eval = NULL;
    ck_assert_ok(ptq_passes_run(&ctx));
    ck_assert_int_eq(g->nnodes, 2);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("passes");
    TCase *t = tcase_create("passes");
    tcase_add_test(t, passes__table);
    tcase_add_test(t, passes__find);
    tcase_add_test(t, passes__branch_is_taken);
    tcase_add_test(t, passes__captures_stay);
    tcase_add_test(t, passes__long_chains);
    tcase_add_test(t, passes__unsupported_is_left);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    return unit_run(s);
}
