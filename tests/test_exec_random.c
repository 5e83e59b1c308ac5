/* SPDX-License-Identifier: Apache-2.0 */
/* Random quantized graphs of products, movers, sums, GELU, LayerNormalization: no fusion and no rewriting
 * changes a byte of the outputs. */
#include "tests/fused.h"

typedef struct maker {
    ptq_graph *g;
    ptq_rng r;
    ptq_value *made[64]; /* floats */
    int n;
} maker;

static int below(maker *m, int n)
{
    return (int)ptq_rng_below(&m->r, (uint32_t)n);
}

static ptq_value *op(maker *m, const char *name, int nin, ptq_value *const *in)
{
    ptq_node *n;
    ptq_value *y;
    ck_assert_ok(ptq_graph_node(m->g, name, "", NULL, nin, 1, NULL, &n));
    for (int i = 0; i < nin; i++)
        ptq_node_set_input(m->g, n, i, in[i]);
    ck_assert_ok(ptq_graph_value(m->g, ptq_graph_unique_name(m->g, name), &y));
    ptq_node_set_output(m->g, n, 0, y);
    return y;
}
#define OP(m, name, ...) op(m, name, (int)PTQ_COUNT(((ptq_value *[]){__VA_ARGS__})), (ptq_value *[]){__VA_ARGS__})

static ptq_value *done(maker *m, ptq_value *v)
{
    ck_assert_ok(ptq_infer_node(m->g, v->producer));
    return v;
}

static ptq_value *constant(maker *m, ptq_dtype t, int rank, const int64_t *dims, float most)
{
    ptq_tensor x = {.dtype = t, .rank = rank};
    ptq_value *v;
    for (int i = 0; i < rank; i++)
        x.dims[i] = dims[i];
    ck_assert_ok(ptq_tensor_alloc(&x));
    for (int64_t i = 0; i < ptq_tensor_elements(&x); i++)
        gt_store(&x, i, t == PTQ_DT_F32 ? (double)(most * (2 * ptq_rng_uniform(&m->r) - 1)) : below(m, 255) - 127);
    ck_assert_ok(ptq_graph_constant(m->g, "c", &x, true, &v));
    free(x.data);
    return v;
}

static ptq_value *numbers(maker *m, const int64_t *v, int n)
{
    ptq_tensor t = {.dtype = PTQ_DT_S64, .rank = n < 0 ? 0 : 1, .dims = {n}, .nbytes = (size_t)(n < 0 ? 1 : n) * 8};
    ptq_value *c;
    memcpy(&t.data, &v, sizeof v);
    ck_assert_ok(ptq_graph_constant(m->g, "n", &t, true, &c));
    return c;
}

static ptq_value *qdq(maker *m, ptq_value *v)
{
    ptq_value *s = ptq_graph_find(m->g, below(m, 3) ? "s" : "sv"), *z = ptq_graph_find(m->g, "z");
    ptq_value *q = done(m, OP(m, "QuantizeLinear", v, s, z));
    if (below(m, 3) == 0 && q->shape.rank == 3) {
        q = OP(m, "Transpose", q);
        ck_assert_ok(ptq_attr_set_ints(m->g, q->producer, "perm", (int64_t[]){1, 0, 2}, 3));
        done(m, q);
    }
    return done(m, OP(m, "DequantizeLinear", q, s, z));
}

static ptq_value *linear(maker *m, ptq_value *v, int64_t k)
{
    int64_t n = 4 + 4 * below(m, 3);
    ptq_value *w = constant(m, PTQ_DT_S8, 2, (int64_t[]){k, n}, 0);
    w = done(m, OP(m, "DequantizeLinear", w, ptq_graph_find(m->g, "sw"), ptq_graph_find(m->g, "z")));
    v = qdq(m, v);
    if (v->shape.rank == 3 && below(m, 3) == 0 && ptq_dim_known(v->shape.dims[1])) {
        int64_t rows = v->shape.dims[1].add;
        v = done(m, OP(m, "Reshape", v, numbers(m, (int64_t[]){-1, k}, 2)));
        v = done(m, OP(m, "Gemm", qdq(m, v), w, constant(m, PTQ_DT_F32, 1, &n, 1)));
        return done(m, OP(m, "Reshape", v, numbers(m, (int64_t[]){-1, rows, n}, 3)));
    }
    v = done(m, OP(m, "MatMul", v, w));
    return below(m, 5) ? done(m, OP(m, "Add", v, constant(m, PTQ_DT_F32, 1, &n, 1))) : v;
}

static ptq_value *reshape(maker *m, ptq_value *v, int64_t last)
{
    if (v->shape.rank == 3 && last == 8)
        return done(m, OP(m, "Reshape", v, numbers(m, (int64_t[]){0, 0, 2, 4}, 4)));
    if (v->shape.rank == 4 && last && ptq_dim_known(v->shape.dims[2]))
        return done(m, OP(m, "Reshape", v, numbers(m, (int64_t[]){0, 0, v->shape.dims[2].add * last}, 3)));
    return v;
}

static ptq_value *transpose(maker *m, ptq_value *v)
{
    int64_t perm[4];
    for (int i = 0; i < v->shape.rank; i++) {
        int at = below(m, i + 1);
        perm[i] = perm[at];
        perm[at] = i;
    }
    v = OP(m, "Transpose", v);
    ck_assert_ok(ptq_attr_set_ints(m->g, v->producer, "perm", perm, (size_t)v->producer->in[0]->shape.rank));
    return done(m, v);
}

static ptq_value *gather(maker *m, ptq_value *v)
{
    int axis = below(m, v->shape.rank);
    if (v->shape.rank < 3 || !ptq_dim_known(v->shape.dims[axis]))
        return v;
    v = OP(m, "Gather", v, numbers(m, (int64_t[]){below(m, 2)}, -1));
    ck_assert_ok(ptq_attr_set_int(m->g, v->producer, "axis", axis));
    return done(m, v);
}

static ptq_value *gelu(maker *m, ptq_value *x)
{
    ptq_value *one = ptq_graph_find(m->g, "one"), *half = ptq_graph_find(m->g, "half");
    ptq_value *e = done(m, OP(m, "Erf", done(m, OP(m, "Div", x, ptq_graph_find(m->g, "root")))));
    e = done(m, OP(m, "Add", e, one));
    if (below(m, 2))
        return done(m, OP(m, "Mul", x, done(m, OP(m, "Mul", e, half))));
    return done(m, OP(m, "Mul", done(m, OP(m, "Mul", x, e)), half));
}

static ptq_value *residual(maker *m, ptq_value *v)
{
    ptq_value *u = m->made[below(m, m->n)];
    bool same = u != v && u->shape.rank == v->shape.rank;
    for (int i = 0; i < v->shape.rank && same; i++)
        same = ptq_dim_equal(u->shape.dims[i], v->shape.dims[i]);
    return same ? done(m, below(m, 2) ? OP(m, "Add", u, v) : OP(m, "Add", v, u)) : v;
}

/* Scores, Softmax, weighted sum; the operands are v itself, quantized three times. */
static ptq_value *attention(maker *m, ptq_value *v)
{
    int64_t perm[4] = {0, 1, 2, 3};
    int rank = v->shape.rank;
    if (rank < 3)
        return v;
    perm[rank - 1] = rank - 2;
    perm[rank - 2] = rank - 1;
    ptq_value *k = OP(m, "Transpose", v), *s = ptq_graph_find(m->g, "s"), *z = ptq_graph_find(m->g, "z");
    ck_assert_ok(ptq_attr_set_ints(m->g, k->producer, "perm", perm, (size_t)rank));
    k = done(m, k);
    k = done(m, OP(m, "DequantizeLinear", done(m, OP(m, "QuantizeLinear", k, s, z)), s, z));
    ptq_value *q = done(m, OP(m, "DequantizeLinear", done(m, OP(m, "QuantizeLinear", v, s, z)), s, z));
    ptq_value *scores = done(m, OP(m, "MatMul", q, k)), *p = ptq_graph_find(m->g, "sp");
    if (below(m, 2))
        scores = done(m, OP(m, "Mul", scores, ptq_graph_find(m->g, "factor")));
    scores = done(m, OP(m, "Softmax", scores));
    scores = done(m, OP(m, "DequantizeLinear", done(m, OP(m, "QuantizeLinear", scores, p, z)), p, z));
    ptq_value *u = below(m, 2) ? q
                               : done(m, OP(m, "DequantizeLinear", done(m, OP(m, "QuantizeLinear", v, s, z)), s, z));
    return done(m, OP(m, "MatMul", scores, u));
}

/* A projection of the codes d to two heads: [batch, head, token, column], or the last two turned. */
static ptq_value *heads(maker *m, ptq_value *d, int64_t k, bool turned)
{
    int64_t n = 32, perm[2][4] = {{0, 2, 1, 3}, {0, 2, 3, 1}};
    ptq_value *s = ptq_graph_find(m->g, below(m, 2) ? "s" : "sv"), *z = ptq_graph_find(m->g, below(m, 2) ? "z" : "z1");
    ptq_value *w = constant(m, PTQ_DT_S8, 2, (int64_t[]){k, n}, 0);
    w = done(m, OP(m, "DequantizeLinear", w, ptq_graph_find(m->g, "sw"), ptq_graph_find(m->g, "z")));
    ptq_value *v = done(m, OP(m, "MatMul", d, w));
    if (below(m, 6))
        v = done(m, OP(m, "Add", v, constant(m, PTQ_DT_F32, 1, &n, 1)));
    if (below(m, 4) == 0)
        v = done(m, OP(m, "Mul", v, ptq_graph_find(m->g, "factor")));
    v = OP(m, "Transpose", done(m, OP(m, "Reshape", v, numbers(m, (int64_t[]){0, 0, 2, 16}, 4))));
    ck_assert_ok(ptq_attr_set_ints(m->g, v->producer, "perm", perm[turned], 4));
    v = done(m, v);
    if (below(m, 8) == 0)
        m->made[m->n++] = v;
    return done(m, OP(m, "DequantizeLinear", done(m, OP(m, "QuantizeLinear", v, s, z)), s, z));
}

/* Attention whose operands are projections of one tensor. */
static ptq_value *projected(maker *m, ptq_value *v, int64_t k)
{
    if (v->shape.rank != 3)
        return v;
    v = qdq(m, v);
    ptq_value *q = heads(m, v, k, false), *p = ptq_graph_find(m->g, "sp"), *z = ptq_graph_find(m->g, "z");
    q = done(m, OP(m, "Softmax", done(m, OP(m, "MatMul", q, heads(m, v, k, true)))));
    q = done(m, OP(m, "DequantizeLinear", done(m, OP(m, "QuantizeLinear", q, p, z)), p, z));
    return done(m, OP(m, "MatMul", q, heads(m, v, k, false)));
}

/* Packed in three: the parts' sum comes out. */
static ptq_value *packed(maker *m, ptq_value *v, int64_t k)
{
    int64_t n = 12, part = 4, parts[4] = {0, 0, 3, 4};
    ptq_value *w = constant(m, PTQ_DT_S8, 2, (int64_t[]){k, n}, 0), *y[3];
    if (v->shape.rank != 3)
        return v;
    w = done(m, OP(m, "DequantizeLinear", w, ptq_graph_find(m->g, "sw"), ptq_graph_find(m->g, "z")));
    v = done(m, OP(m, "Add", done(m, OP(m, "MatMul", qdq(m, v), w)), constant(m, PTQ_DT_F32, 1, &n, 1)));
    bool slices = below(m, 2);
    if (!slices)
        v = done(m, OP(m, "Reshape", v, numbers(m, parts, 4)));
    for (int i = 0; i < 3; i++) {
        if (slices) {
            ptq_value *last = numbers(m, (int64_t[]){-1}, 1);
            y[i] = OP(m, "Slice", v, numbers(m, (int64_t[]){i * part}, 1), numbers(m, (int64_t[]){(i + 1) * part}, 1),
                      last);
        } else {
            y[i] = OP(m, "Gather", v, numbers(m, (int64_t[]){i}, -1));
            ck_assert_ok(ptq_attr_set_int(m->g, y[i]->producer, "axis", 2));
        }
        done(m, y[i]);
        if (below(m, 3) == 0)
            y[i] = qdq(m, transpose(m, y[i]));
        m->made[m->n++] = y[i];
    }
    return y[below(m, 3)];
}

static ptq_value *next(maker *m, ptq_value *v)
{
    ptq_dim d = v->shape.dims[v->shape.rank - 1];
    int64_t last = ptq_dim_known(d) ? d.add : 0;
    switch (below(m, 17)) {
    case 0: case 1: return last ? linear(m, v, last) : v;
    case 2: return reshape(m, v, last);
    case 3: case 4: return transpose(m, v);
    case 5: return done(m, OP(m, "Mul", v, ptq_graph_find(m->g, "factor")));
    case 6: return last ? done(m, OP(m, "Add", constant(m, PTQ_DT_F32, 1, &last, 1), v)) : v;
    case 7: return gelu(m, v);
    case 8: return last > 1 ? done(m, OP(m, "LayerNormalization", v, constant(m, PTQ_DT_F32, 1, &last, 2))) : v;
    case 9: case 10: return residual(m, v);
    case 11: return qdq(m, v);
    case 12: return gather(m, v);
    case 13: return attention(m, v);
    case 14: return last ? packed(m, v, last) : v;
    case 15: return last ? projected(m, v, last) : v;
    default: return done(m, below(m, 2) ? OP(m, "Relu", v) : OP(m, "Tanh", v));
    }
}

START_TEST(random__graphs)
{
    for (int round = 0; round < 150; round++) {
        maker m = {.g = parse(SHARED "const z1 s8 [] 9\ninput x f32 [batch,5,8]\n")};
        ptq_rng_seed(&m.r, 1000 * (uint64_t)_i + (uint64_t)round);
        ptq_value *v = m.made[m.n++] = ptq_graph_find(m.g, "x");
        for (int i = 0; i < 12; i++) {
            v = next(&m, below(&m, 6) ? v : m.made[below(&m, m.n)]);
            m.made[m.n++] = v;
        }
        if (below(&m, 4) == 0 && !m.made[m.n / 2]->is_output && !m.made[m.n / 2]->is_input)
            ck_assert_ok(ptq_graph_add_output(m.g, m.made[m.n / 2]));
        if (v->producer && !v->is_output)
            ck_assert_ok(ptq_graph_add_output(m.g, v));
        ck_assert_ok(ptq_infer_graph(m.g));
        char steps[3][2048];
        for (int64_t batch = 1; batch <= 3 && m.g->outputs.n; batch += 2) {
            outputs o[3] = {run(m.g, &plain, batch, steps[0], sizeof steps[0]),
                            run(m.g, &fused, batch, steps[1], sizeof steps[1]),
                            run(m.g, &whole, batch, steps[2], sizeof steps[2])};
            check_same(&o[1], &o[0]);
            check_same(&o[2], &o[0]);
            for (int k = 0; k < 3; k++)
                free_outputs(&o[k]);
        }
        ptq_graph_free(m.g);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_random");
    TCase *t = tcase_create("graphs");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, random__graphs, 0, 4);
    suite_add_tcase(s, t);
    return unit_run(s);
}
