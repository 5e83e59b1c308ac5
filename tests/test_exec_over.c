/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise results in the place of an input that ends there: the bytes are those of a run in which every result
 * lies apart, whatever else reads the input. */
#include <stdlib.h>

#include "lib/exec/session.h"
#include "tests/graph_kit.h"

enum { ROWS = 3, COLUMNS = 8, BYTES = ROWS * COLUMNS * (int)sizeof(float) };

static ptq_value *input(ptq_graph *g)
{
    return kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, COLUMNS});
}

static ptq_session *session_of(const ptq_graph *g, const ptq_backend_ops *ops)
{
    ptq_session *s;
    ptq_session_options o = {.ops = ops, .lower = {.fuse = true}};
    ck_assert_ok(ptq_session_new(g, &o, &s));
    return s;
}

/* Runs the graph, with unwritten results poisoned; *block: bytes of activations, *alive: of those at one time. */
static void run(const ptq_graph *g, const ptq_backend_ops *ops, float *out, size_t *block, size_t *alive)
{
    float values[ROWS * COLUMNS];
    ptq_rng r;
    ptq_rng_seed(&r, 4);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        values[i] = ptq_rng_normal(&r);
    float x[ROWS * COLUMNS];
    memcpy(x, values, sizeof x);
    ptq_tensor in = {PTQ_DT_F32, 2, {ROWS, COLUMNS}, x, sizeof x}, *y = ptq_calloc(g->outputs.n, sizeof *y);
    ck_assert_int_eq(setenv("PTQ_POISON", "1", 1), 0);
    ptq_session *s = session_of(g, ops);
    ck_assert_int_eq(unsetenv("PTQ_POISON"), 0);
    ck_assert_ok(ptq_session_reserve(s, &in, 1));
    for (int twice = 0; twice < 2; twice++)
        ck_assert_ok(ptq_session_run(s, &in, 1, y, g->outputs.n));
    ck_assert_mem_eq(x, values, sizeof x); /* the caller's */
    for (size_t i = 0; i < g->outputs.n; i++) {
        ck_assert_uint_eq(y[i].nbytes, BYTES);
        memcpy(out + i * ROWS * COLUMNS, y[i].data, BYTES);
    }
    *block = ptq_session_activation_bytes(s);
    *alive = ptq_session_alive_bytes(s);
    ptq_session_free(s);
    free(y);
}

/* Bytes of the block, and that of a run with all results apart; the results are the same. */
static void both(ptq_graph *g, size_t *over, size_t *apart)
{
    ptq_backend_ops plain = *ptq_backend_find("cpu");
    const size_t n = g->outputs.n * ROWS * COLUMNS;
    size_t alive[2];
    float *a = ptq_calloc(n, sizeof *a), *b = ptq_calloc(n, sizeof *b);
    ck_assert_ptr_nonnull(plain.over);
    plain.over = NULL;
    kit_finish(g);
    run(g, NULL, a, over, &alive[0]);
    run(g, &plain, b, apart, &alive[1]);
    ck_assert_uint_le(alive[0], alive[1]); /* what lies in one place is counted once */
    ck_assert_uint_le(alive[0], *over);
    ck_assert_mem_eq(a, b, n * sizeof *a);
    ck_assert_uint_le(*over, *apart);
    free(a);
    free(b);
    ptq_graph_free(g);
}

static size_t place(size_t values)
{
    return values * ((BYTES + 63) / 64 * 64);
}

START_TEST(over__a_chain_needs_one_place)
{
    size_t over, apart;
    ptq_graph *g = kit_graph(13);
    ptq_value *v = KIT(g, "Exp", "a", input(g));
    v = KIT(g, "Sqrt", "b", v);
    v = KIT(g, "Mul", "c", v, kit_f32(g, 3.0f)); /* what is broadcast is no place */
    v = KIT(g, "Clip", "d", v, kit_f32(g, 0.5f), kit_f32(g, 2.0f));
    kit_output(g, KIT(g, "Tanh", "e", v));
    both(g, &over, &apart);
    ck_assert_uint_eq(over, place(1));
    ck_assert_uint_eq(apart, place(2));
}
END_TEST

/* The second input's place is as good; where both end, one of them is taken. */
START_TEST(over__sums_take_what_ends)
{
    size_t over, apart;
    ptq_graph *g = kit_graph(13);
    ptq_value *x = input(g), *a = KIT(g, "Exp", "a", x), *b = KIT(g, "Neg", "b", a);
    ptq_value *c = KIT(g, "Sub", "c", a, b);          /* a and b end */
    ptq_value *d = KIT(g, "Div", "d", x, c);          /* c ends, x is the caller's */
    kit_output(g, KIT(g, "Sum", "e", x, d, x)); /* d ends */
    both(g, &over, &apart);
    ck_assert_uint_eq(over, place(2));
    ck_assert_uint_eq(apart, place(3));
}
END_TEST

START_TEST(over__what_is_read_later_stays)
{
    size_t over, apart;
    ptq_graph *g = kit_graph(13);
    ptq_value *a = KIT(g, "Exp", "a", input(g)), *b = KIT(g, "Neg", "b", a), *c = KIT(g, "Abs", "c", b);
    kit_output(g, b);                      /* an output lives to the end */
    kit_output(g, KIT(g, "Mul", "d", a, c)); /* a is read by b and here */
    kit_output(g, KIT(g, "Add", "e", a, a)); /* twice by one step */
    both(g, &over, &apart);
    ck_assert_uint_ge(over, place(3));
}
END_TEST

/* A view keeps the bytes that it shows. */
START_TEST(over__views_keep_their_bytes)
{
    size_t over, apart;
    ptq_graph *g = kit_graph(13);
    const int64_t flat[] = {-1}, back[] = {-1, COLUMNS}, one = 1, two = 2;
    ptq_value *a = KIT(g, "Exp", "a", input(g));
    ptq_value *v = KIT(g, "Reshape", "v", a, kit_const(g, "flat", PTQ_DT_S64, 1, &one, flat));
    ptq_value *b = KIT(g, "Neg", "b", a);  /* a's bytes are read through v behind this */
    ptq_value *c = KIT(g, "Sqrt", "c", v); /* the last look at them: through the view */
    ptq_value *w = KIT(g, "Reshape", "w", c, kit_const(g, "back", PTQ_DT_S64, 1, &two, back));
    kit_output(g, KIT(g, "Add", "d", b, w));
    both(g, &over, &apart);
    ck_assert_uint_eq(over, place(2));
    ck_assert_uint_eq(apart, place(3));
}
END_TEST

/* One of the values so far. */
static ptq_value *any(ptq_value *const *v, int n, ptq_rng *r)
{
    const int back = (int)ptq_rng_below(r, 4); /* mostly the newest */
    return v[back && n > back ? n - back : (int)ptq_rng_below(r, (uint32_t)n)];
}

static ptq_value *random_node(ptq_graph *g, ptq_value *const *v, int n, ptq_rng *r)
{
    static const char *const unary[] = {"Neg", "Abs", "Relu", "Tanh", "Sigmoid", "HardSwish", "Erf", "Softplus"};
    static const char *const binary[] = {"Add", "Sub", "Mul", "Max", "Min"};
    char name[16];
    snprintf(name, sizeof name, "v%d", n);
    switch (ptq_rng_below(r, 8)) {
    case 0: case 1: case 2:
        return KIT(g, unary[ptq_rng_below(r, PTQ_COUNT(unary))], name, any(v, n, r));
    case 3: return KIT(g, "Sum", name, any(v, n, r), any(v, n, r), any(v, n, r));
    case 4: return KIT(g, "Mul", name, kit_f32(g, 0.75f), any(v, n, r));
    case 5: return KIT(g, "Identity", name, any(v, n, r));
    default:
        return KIT(g, binary[ptq_rng_below(r, PTQ_COUNT(binary))], name, any(v, n, r), any(v, n, r));
    }
}

START_TEST(over__random_graphs)
{
    enum { GRAPHS = 60, NODES = 24 };
    ptq_value *v[NODES + 1];
    ptq_rng r;
    int less = 0;
    ptq_rng_seed(&r, 12 + (uint64_t)_i);
    for (int k = 0; k < GRAPHS; k++) {
        size_t over, apart;
        ptq_graph *g = kit_graph(14);
        v[0] = input(g);
        for (int i = 1; i <= NODES; i++)
            v[i] = random_node(g, v, i, &r);
        kit_output(g, v[NODES / 2]);
        kit_output(g, v[NODES]);
        both(g, &over, &apart);
        less += over < apart;
    }
    ck_assert_int_ge(less, GRAPHS / 4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_over");
    TCase *t = tcase_create("over");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, over__a_chain_needs_one_place);
    tcase_add_test(t, over__sums_take_what_ends);
    tcase_add_test(t, over__what_is_read_later_stays);
    tcase_add_test(t, over__views_keep_their_bytes);
    tcase_add_loop_test(t, over__random_graphs, 0, 4);
    suite_add_tcase(s, t);
    return unit_run(s);
}
