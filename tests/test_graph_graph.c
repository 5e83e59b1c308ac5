/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include <string.h>

#include "lib/graph/graph.h"
#include "lib/graph/ops.h"

static ptq_graph *new_graph(void)
{
    ptq_graph *g;
    ck_assert_ok(ptq_graph_new(&g));
    g->opset = 13;
    return g;
}

static ptq_value *value(ptq_graph *g, const char *name)
{
    ptq_value *v = ptq_graph_find(g, name);
    if (!v)
        ck_assert_ok(ptq_graph_value(g, name, &v));
    return v;
}

/* A node op(a, b) -> out; b may be NULL. */
static ptq_node *node(ptq_graph *g, const char *op, const char *a, const char *b, const char *out)
{
    ptq_node *n;
    ck_assert_ok(ptq_graph_node(g, op, "", NULL, b ? 2 : 1, 1, NULL, &n));
    ptq_node_set_input(g, n, 0, value(g, a));
    if (b)
        ptq_node_set_input(g, n, 1, value(g, b));
    ptq_node_set_output(g, n, 0, value(g, out));
    return n;
}

START_TEST(graph__links)
{
    ptq_graph *g = new_graph();
    ck_assert_ok(ptq_graph_add_input(g, value(g, "x")));
    ptq_node *a = node(g, "Relu", "x", NULL, "a");
    ptq_node *b = node(g, "Add", "a", "a", "b");
    ptq_node *c = node(g, "Mul", "a", "b", "y");
    ck_assert_ok(ptq_graph_add_output(g, value(g, "y")));
    ck_assert_ok(ptq_graph_verify(g));
    ck_assert_uint_eq(value(g, "a")->uses.n, 3);
    ck_assert_ptr_nonnull(a->def);
    ck_assert(a->def->flags & PTQ_OPF_UNARY);

    /* Same operator twice: names differ. */
    ptq_node *d = node(g, "Relu", "x", NULL, "d");
    ck_assert_str_eq(a->name, "Relu");
    ck_assert_str_eq(d->name, "Relu_1");
    ptq_value_replace_uses(g, value(g, "a"), value(g, "d"));
    ck_assert_uint_eq(value(g, "a")->uses.n, 0);
    ck_assert_uint_eq(value(g, "d")->uses.n, 3);
    ck_assert_fails(ptq_graph_verify(g), PTQ_ERR_INTERNAL); /* d is behind its readers */
    ptq_node_move_before(g, d, b);
    ck_assert_ok(ptq_graph_verify(g));
    ptq_node_remove(g, a);
    ptq_node_remove(g, a); /* a second time does nothing */
    ptq_value_remove(g, value(g, "a"));
    ck_assert_ptr_null(ptq_graph_find(g, "a"));
    ck_assert_ok(ptq_graph_verify(g));
    ck_assert_int_eq(g->nnodes, 3);

    /* The same slot may change its value and back. */
    ptq_node_set_input(g, c, 0, value(g, "x"));
    ptq_node_set_input(g, b, 1, NULL);
    ck_assert_uint_eq(value(g, "d")->uses.n, 1);
    ck_assert_ok(ptq_node_resize_inputs(g, b, 4));
    ptq_node_set_input(g, b, 3, value(g, "d"));
    ck_assert_ok(ptq_graph_verify(g));
    ck_assert_ok(ptq_node_resize_inputs(g, b, 1));
    ck_assert_uint_eq(value(g, "d")->uses.n, 1);
    ck_assert_ok(ptq_graph_verify(g));

    /* A value that gets another producer leaves the first. */
    ptq_node_set_output(g, d, 0, value(g, "b"));
    ck_assert_ptr_null(b->out[0]);
    ck_assert_ptr_eq(value(g, "b")->producer, d);
    ck_assert_ptr_null(value(g, "d")->producer);
    ptq_graph_free(g);
}
END_TEST

START_TEST(graph__names)
{
    ptq_graph *g = new_graph();
    ptq_value *v;
    ck_assert_ok(ptq_graph_value(g, "x", &v));
    ck_assert_fails(ptq_graph_value(g, "x", &v), PTQ_ERR_MODEL);
    ck_assert_fails(ptq_graph_value(g, "", &v), PTQ_ERR_MODEL);
    ck_assert_str_eq(ptq_graph_unique_name(g, "z"), "z");
    ck_assert_ok(ptq_graph_reserve_name(g, "x_1"));
    ck_assert_str_eq(ptq_graph_unique_name(g, "x"), "x_2");
    char big[600];
    memset(big, 'n', sizeof big - 1);
    big[sizeof big - 1] = 0;
    ck_assert_ok(ptq_graph_value(g, big, &v));
    const char *u = ptq_graph_unique_name(g, big);
    ck_assert_uint_eq(strlen(u), strlen(big) + 2);

    int64_t dims = 3;
    ptq_tensor t = {.dtype = PTQ_DT_S64, .rank = 0, .data = &dims, .nbytes = sizeof dims};
    ck_assert_ok(ptq_graph_constant(g, "x", &t, true, &v));
    ck_assert_str_eq(v->name, "x_3");
    ck_assert_ptr_ne(v->constant->data, &dims);
    ck_assert_int_eq(v->shape.rank, 0);
    ck_assert_int_eq(*(int64_t *)v->constant->data, 3);
    ptq_graph_free(g);
}
END_TEST

START_TEST(graph__make_constant_detaches)
{
    ptq_graph *g = new_graph();
    ptq_node *n = node(g, "Relu", "x", NULL, "a");
    node(g, "Relu", "a", NULL, "y");
    float one[2] = {1, 2};
    ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = 1, .dims = {2}, .data = one, .nbytes = sizeof one};
    ck_assert_ok(ptq_value_make_constant(g, value(g, "a"), &t, false));
    ck_assert_ptr_null(n->out[0]);
    ck_assert_ptr_null(value(g, "a")->producer);
    ck_assert_ptr_eq(value(g, "a")->constant->data, one);
    ptq_node_remove(g, n);
    ck_assert_ok(ptq_graph_verify(g));
    ptq_graph_free(g);
}
END_TEST

START_TEST(graph__sorts)
{
    ptq_graph *g = new_graph();
    bool moved;
    ck_assert_ok(ptq_graph_sort(g, &moved));
    ptq_node *c = node(g, "Add", "a", "b", "c");
    ptq_node *a = node(g, "Relu", "x", NULL, "a");
    ptq_node *b = node(g, "Relu", "a", NULL, "b");
    ptq_node *d = node(g, "Relu", "x", NULL, "d");
    ck_assert_ok(ptq_node_capture(g, a, value(g, "d")));
    ck_assert_ok(ptq_node_capture(g, a, value(g, "d")));
    ck_assert_int_eq(a->ncaptures, 1);
    ck_assert_ok(ptq_graph_sort(g, &moved));
    ck_assert(moved);
    ck_assert_ok(ptq_graph_verify(g));
    ptq_node *want[] = {d, a, b, c};
    size_t i = 0;
    PTQ_GRAPH_EACH_NODE (g, n)
        ck_assert_ptr_eq(n, want[i++]);
    ck_assert_ok(ptq_graph_sort(g, &moved));
    ck_assert(!moved);
    /* Captures stay when uses are replaced, and go with the node. */
    ptq_value_replace_uses(g, value(g, "d"), value(g, "x"));
    ck_assert_uint_eq(value(g, "d")->uses.n, 1);
    ptq_node_remove(g, a);
    ck_assert_uint_eq(value(g, "d")->uses.n, 0);

    ptq_node_set_input(g, d, 0, value(g, "c"));
    ptq_node_set_input(g, b, 0, value(g, "d"));
    ck_assert_fails(ptq_graph_sort(g, &moved), PTQ_ERR_MODEL);
    ck_assert_says("cycle");
    ptq_graph_free(g);
}
END_TEST

/* A chain that is given backwards: as deep as it is long. */
START_TEST(graph__long_chain)
{
    enum { N = 100000 };
    ptq_graph *g = new_graph();
    ptq_value *shared = value(g, "shared"), *prev = value(g, "x");
    ptq_node *before = NULL, *n;
    double t0 = unit_cpu_seconds();
    for (int i = 0; i < N; i++) {
        ptq_value *v;
        ck_assert_ok(ptq_graph_value(g, ptq_graph_unique_name(g, "t"), &v));
        ck_assert_ok(ptq_graph_node(g, "Add", "", "add", 2, 1, before, &n));
        ptq_node_set_input(g, n, 0, prev);
        ptq_node_set_input(g, n, 1, shared);
        ptq_node_set_output(g, n, 0, v);
        before = n;
        prev = v;
    }
    bool moved;
    ck_assert_ok(ptq_graph_sort(g, &moved));
    ck_assert(moved);
    ck_assert_ok(ptq_graph_verify(g));
    ptq_graph *c;
    ck_assert_ok(ptq_graph_clone(g, &c));
    ck_assert_ok(ptq_graph_verify(c));
    PTQ_GRAPH_EACH_NODE_SAFE (c, m, next)
        ptq_node_remove(c, m);
    ck_assert_int_eq(c->nnodes, 0);
    ck_assert_uint_eq(ptq_graph_find(c, "shared")->uses.n, 0);
    ck_assert_ok(ptq_graph_verify(c));
    ptq_graph_free(c);
    ck_assert_ok(ptq_graph_verify(g));
    ptq_graph_free(g);
    ck_assert_msg(unit_cpu_seconds() - t0 < 30, "%.2f s", unit_cpu_seconds() - t0); /* quadratic would be minutes */
}
END_TEST

static void bump(void *p)
{
    ++*(int *)p;
}

START_TEST(graph__clone_and_own)
{
    ptq_graph *g = new_graph();
    int freed = 0;
    ck_assert_ok(ptq_graph_own(g, &freed, bump));
    ck_assert_ok(ptq_graph_own(g, &freed, bump));
    ck_assert_ok(ptq_graph_add_input(g, value(g, "x")));
    value(g, "x")->shape = (ptq_shape){.rank = 1, .dims = {ptq_dim_sym(ptq_symbol(g, "batch"))}};
    value(g, "gone");
    ptq_value_remove(g, value(g, "gone"));
    ptq_node *n = node(g, "Elu", "x", "x", "y");
    ck_assert_ok(ptq_attr_set_float(g, n, "alpha", 2));
    ck_assert_ok(ptq_node_capture(g, n, value(g, "x")));
    ck_assert_ok(ptq_graph_add_output(g, value(g, "y")));
    ck_assert_ok(ptq_graph_set_metadata(g, "k", "v"));
    ptq_graph *c;
    ck_assert_ok(ptq_graph_clone(g, &c));
    ck_assert_ok(ptq_graph_verify(c));
    /* What is done to the copy is not done to the original. */
    ck_assert_ok(ptq_attr_set_float(c, c->first, "alpha", 3));
    ptq_node_set_input(c, c->first, 1, NULL);
    ck_assert(ptq_attr_float(n, "alpha", 0) == 2.0f);
    ck_assert_ptr_eq(n->in[1], value(g, "x"));
    ck_assert_int_eq(ptq_symbol(c, "batch"), ptq_symbol(g, "batch"));
    ck_assert_ptr_ne(ptq_graph_find(c, "x"), value(g, "x"));
    ck_assert_str_eq(c->metadata.v[0].value, "v");
    ptq_graph_free(c);
    ck_assert_int_eq(freed, 0);
    ck_assert_ok(ptq_graph_verify(g));
    /* What copies of copies share goes with the last of them. */
    ptq_graph *d, *e;
    ck_assert_ok(ptq_graph_clone(g, &c));
    ck_assert_ok(ptq_graph_clone(c, &d));
    ck_assert_ok(ptq_graph_clone(g, &e));
    ptq_graph_free(g);
    ptq_graph_free(c);
    ck_assert_ok(ptq_graph_verify(d));
    ck_assert_ok(ptq_graph_verify(e));
    ck_assert_str_eq(ptq_graph_find(d, "x")->name, "x");
    ptq_graph_free(e);
    ck_assert_int_eq(freed, 0);
    ptq_graph_free(d);
    ck_assert_int_eq(freed, 2);
}
END_TEST

START_TEST(attr__set_find_remove)
{
    ptq_graph *g = new_graph();
    ptq_node *n = node(g, "Conv", "x", "w", "y");
    size_t count;
    ck_assert_ok(ptq_attr_set_ints(g, n, "pads", (int64_t[]){1, 2, 3, 4}, 4));
    ck_assert_ok(ptq_attr_set_int(g, n, "group", 2));
    ck_assert_ok(ptq_attr_set_str(g, n, "auto_pad", "VALID"));
    ck_assert_ok(ptq_attr_set_int(g, n, "group", 4));
    ck_assert_int_eq(n->nattrs, 3);
    ck_assert_int_eq(ptq_attr_int(n, "group", 1), 4);
    ck_assert_int_eq(ptq_attr_int(n, "pads", 7), 7); /* another type is not there */
    ck_assert_str_eq(ptq_attr_str(n, "auto_pad", ""), "VALID");
    ck_assert_int_eq(ptq_attr_ints(n, "pads", &count)[2], 3);
    ck_assert_uint_eq(count, 4);
    ck_assert_ptr_null(ptq_attr_floats(n, "pads", &count));
    ptq_attr_remove(n, "pads");
    ptq_attr_remove(n, "pads");
    ck_assert_int_eq(n->nattrs, 2);
    ck_assert_str_eq(ptq_attr_str(n, "auto_pad", ""), "VALID");
    ptq_graph_free(g);
}
END_TEST

START_TEST(dim__arithmetic)
{
    ptq_graph *g = new_graph();
    ptq_dim b = ptq_dim_sym(ptq_symbol(g, "batch")), t = ptq_dim_sym(ptq_symbol(g, NULL));
    ck_assert_int_eq(ptq_symbol(g, "batch"), b.sym);
    ck_assert_int_ne(ptq_symbol(g, NULL), t.sym);
    ptq_dim b2 = ptq_dim_mul(b, ptq_dim_of(2)), b2p4 = ptq_dim_add(b2, ptq_dim_of(4));
    const struct {
        ptq_dim got, want;
    } rows[] = {
        {ptq_dim_add(ptq_dim_of(2), ptq_dim_of(3)), ptq_dim_of(5)},
        {ptq_dim_add(b, b), b2},
        {ptq_dim_sub(b, b), ptq_dim_of(0)},
        {ptq_dim_sub(b2, b), b},
        {ptq_dim_mul(b, ptq_dim_of(0)), ptq_dim_of(0)},
        {ptq_dim_mul(ptq_dim_unknown(), ptq_dim_of(0)), ptq_dim_of(0)},
        {ptq_dim_mul(ptq_dim_of(3), ptq_dim_of(-4)), ptq_dim_of(-12)},
        {ptq_dim_div(b2p4, ptq_dim_of(2)), ptq_dim_add(b, ptq_dim_of(2))},
        {ptq_dim_div(ptq_dim_add(b2, ptq_dim_of(5)), ptq_dim_of(2)), ptq_dim_add(b, ptq_dim_of(2))},
        {ptq_dim_div(ptq_dim_of(-7), ptq_dim_of(2)), ptq_dim_of(-4)},
        {ptq_dim_div(ptq_dim_of(7), ptq_dim_of(-2)), ptq_dim_of(-4)},
        {ptq_dim_div(b2, b), ptq_dim_of(2)},
        {ptq_dim_div(b2p4, ptq_dim_add(b, ptq_dim_of(2))), ptq_dim_of(2)},
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        ck_assert_msg(ptq_dim_equal(rows[i].got, rows[i].want), "row %zu", i);
    const ptq_dim unknown[] = {
        ptq_dim_add(b, t), ptq_dim_mul(b, b), ptq_dim_div(b, ptq_dim_of(2)),
        ptq_dim_div(b, ptq_dim_of(0)), ptq_dim_div(b2p4, b), ptq_dim_add(b, ptq_dim_unknown()),
        ptq_dim_mul(ptq_dim_of(INT64_MAX), ptq_dim_of(2)),
        ptq_dim_div(ptq_dim_of(INT64_MIN), ptq_dim_of(-1)),
    };
    for (size_t i = 0; i < PTQ_COUNT(unknown); i++)
        ck_assert_msg(unknown[i].sym == PTQ_SYM_UNKNOWN, "row %zu", i);

    char buf[128];
    ptq_shape s = {.rank = 4, .dims = {b, ptq_dim_sub(b2, ptq_dim_of(1)), ptq_dim_of(7), unknown[0]}};
    ck_assert_str_eq(ptq_shape_print(&s, g->syms, buf, sizeof buf), "[batch,2*batch-1,7,?]");
    ck_assert_str_eq(ptq_shape_print(&s, NULL, buf, sizeof buf), "[s1,2*s1-1,7,?]");
    ck_assert_uint_lt(strlen(ptq_shape_print(&s, g->syms, buf, 8)), 8);
    s.rank = -1;
    ck_assert_str_eq(ptq_shape_print(&s, NULL, buf, sizeof buf), "[...]");
    ck_assert(!ptq_shape_known(&s));
    ptq_graph_free(g);
}
END_TEST

START_TEST(ops__lookup)
{
    ck_assert_ptr_nonnull(ptq_op_find("Conv", "", 7));
    ck_assert_ptr_null(ptq_op_find("Conv", "com.microsoft", 1));
    ck_assert_ptr_null(ptq_op_find("Gelu", "", 17));
    ck_assert_ptr_nonnull(ptq_op_find("Gelu", "", 20));
    ck_assert_ptr_nonnull(ptq_op_find("Upsample", "", 9));
    ck_assert_ptr_null(ptq_op_find("Upsample", "", 10));
    ck_assert_ptr_nonnull(ptq_op_find("QLinearAdd", "com.microsoft", 1));
    ck_assert_ptr_null(ptq_op_at(ptq_op_count()));
    for (size_t i = 0; i < ptq_op_count(); i++) { /* every row can be found: no row hides another */
        const ptq_op *op = ptq_op_at(i);
        ck_assert_ptr_eq(ptq_op_find(op->name, op->domain, op->since), op);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("graph");
    TCase *t = tcase_create("graph");
    tcase_add_test(t, graph__links);
    tcase_add_test(t, graph__names);
    tcase_add_test(t, graph__make_constant_detaches);
    tcase_add_test(t, graph__sorts);
    tcase_add_test(t, graph__long_chain);
    tcase_add_test(t, graph__clone_and_own);
    tcase_add_test(t, attr__set_find_remove);
    tcase_add_test(t, dim__arithmetic);
    tcase_add_test(t, ops__lookup);
    tcase_set_timeout(t, 30);
    suite_add_tcase(s, t);
    return unit_run(s);
}
