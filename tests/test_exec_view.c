/* SPDX-License-Identifier: Apache-2.0 */
/* Views through movers against really moving the elements. */
#include "tests/graph_kit.h"

#include "lib/exec/eval.h"
#include "lib/exec/view.h"

enum { MOST = 4096, CHAIN = 6 };

static ptq_rng rng;

static int64_t pick(int64_t lo, int64_t hi)
{
    return lo + (int64_t)ptq_rng_below(&rng, (uint32_t)(hi - lo + 1));
}

static ptq_value *numbers(ptq_graph *g, const int64_t *v, int n)
{
    return kit_const(g, "numbers", PTQ_DT_S64, 1, (int64_t[]){n}, v);
}

/* A random shape of `total` elements; sometimes with a -1, or a 0 where it copies the same size. */
static ptq_value *target(ptq_graph *g, const ptq_tensor *x)
{
    int64_t dims[6], left = ptq_tensor_elements(x);
    int n = 0;
    for (; n < 4 && pick(0, 3); n++) {
        int64_t d = pick(1, 6);
        dims[n] = left % d == 0 ? d : 1;
        left /= dims[n];
    }
    dims[n++] = left;
    int at = (int)pick(0, n - 1);
    if (pick(0, 2) == 0)
        dims[at] = -1;
    else if (at < x->rank && dims[at] == x->dims[at] && dims[at] != 0)
        dims[at] = 0;
    return numbers(g, dims, n);
}

static ptq_node *transpose(ptq_graph *g, ptq_value *v, int rank)
{
    int64_t perm[8];
    for (int i = 0; i < rank; i++) {
        int at = (int)pick(0, i);
        perm[i] = perm[at];
        perm[at] = i;
    }
    ptq_node *n = kit_op(g, "Transpose", "", ptq_graph_unique_name(g, "t"), 1, &v);
    if (rank > 0 && pick(0, 4))
        ck_assert_ok(ptq_attr_set_ints(g, n, "perm", perm, (size_t)rank));
    return n;
}

static ptq_node *gather(ptq_graph *g, ptq_value *v, const ptq_tensor *x)
{
    int64_t axis = pick(0, x->rank - 1), at = pick(-x->dims[axis], x->dims[axis] - 1);
    ptq_value *in[2] = {v, kit_const(g, "at", PTQ_DT_S64, 0, NULL, &at)};
    ptq_node *n = kit_op(g, "Gather", "", ptq_graph_unique_name(g, "g"), 2, in);
    ck_assert_ok(ptq_attr_set_int(g, n, "axis", pick(0, 1) ? axis : axis - x->rank));
    return n;
}

/* A mover that can read x. */
static ptq_node *mover(ptq_graph *g, ptq_value *v, const ptq_tensor *x)
{
    ptq_value *in[2] = {v, NULL};
    const char *name = ptq_graph_unique_name(g, "m");
    switch (pick(0, 7)) {
    case 0: case 1:
        in[1] = target(g, x);
        return kit_op(g, "Reshape", "", name, 2, in);
    case 2: case 3:
        return transpose(g, v, x->rank);
    case 4:
        if (x->rank < 6) {
            int64_t a = pick(0, x->rank);
            in[1] = numbers(g, &a, 1);
            return kit_op(g, "Unsqueeze", "", name, 2, in);
        }
        break;
    case 5:
        for (int64_t a = 0; a < x->rank; a++)
            if (x->dims[a] == 1) {
                in[1] = numbers(g, &a, 1);
                return kit_op(g, "Squeeze", "", name, 2, in);
            }
        break;
    case 6:
        if (x->rank > 1 && pick(0, 2) == 0)
            return gather(g, v, x);
        break;
    default: {
        ptq_node *n = kit_op(g, "Flatten", "", name, 1, in);
        ck_assert_ok(ptq_attr_set_int(g, n, "axis", pick(0, x->rank)));
        return n;
    }
    }
    return kit_op(g, "Identity", "", name, 1, in);
}

/* Elements of v in order out of data. */
static void copy(const ptq_view *v, const int32_t *data, int32_t *out)
{
    int n = v->first[v->rank];
    int64_t total = 1;
    for (int i = 0; i < n; i++)
        total *= v->size[i];
    for (int64_t i = 0; i < total; i++) {
        int64_t rest = i, at = v->offset;
        for (int k = n - 1; k >= 0; k--) {
            at += rest % v->size[k] * v->step[k];
            rest /= v->size[k];
        }
        out[i] = data[at];
    }
}

/* The chain as views, with copies where a view ends; returns how many. */
static int by_views(const ptq_movers *m, const ptq_tensor *x, int32_t *out, ptq_view *v)
{
    static int32_t data[MOST];
    int stops = 0, from = 0;
    memcpy(data, x->data, x->nbytes);
    ptq_view_dense(x->dims, x->rank, v);
    for (;;) {
        ck_assert_ok(ptq_view_through(m, &from, v));
        copy(v, data, out);
        if (from == m->n)
            return stops;
        int64_t dims[PTQ_MAX_RANK], total = 1;
        for (int i = 0; i < v->rank; i++)
            total *= dims[i] = ptq_view_dim(v, i);
        memcpy(data, out, (size_t)total * sizeof *data);
        ptq_view_dense(dims, v->rank, v);
        stops++;
    }
}

static ptq_tensor random_tensor(ptq_graph *g, ptq_value **v)
{
    int64_t dims[4];
    int rank = (int)pick(1, 4);
    for (int i = 0; i < rank; i++)
        dims[i] = pick(1, 6);
    *v = kit_input(g, "x", PTQ_DT_S32, rank, dims);
    ptq_tensor x = {.dtype = PTQ_DT_S32, .rank = rank};
    memcpy(x.dims, dims, sizeof dims);
    ck_assert_ok(ptq_tensor_alloc(&x));
    for (int64_t i = 0; i < ptq_tensor_elements(&x); i++)
        ((int32_t *)x.data)[i] = (int32_t)i;
    return x;
}

START_TEST(view__random_chains)
{
    ptq_evaluator *e;
    int whole = 0, stopped = 0;
    ptq_rng_seed(&rng, 40 + (uint64_t)_i);
    ck_assert_ok(ptq_evaluator_new(&e));
    for (int round = 0; round < 400; round++) {
        static int32_t got[MOST];
        const ptq_node *node[CHAIN];
        ptq_graph *g = kit_graph(17);
        ptq_value *v;
        ptq_tensor x = random_tensor(g, &v), now = x;
        int n = (int)pick(1, CHAIN);
        for (int i = 0; i < n; i++) {
            ptq_node *m = mover(g, v, &now);
            const ptq_tensor *in[2] = {&now, m->nin > 1 ? m->in[1]->constant : NULL};
            ptq_tensor next;
            ck_assert(ptq_view_knows(m));
            ck_assert_ok(ptq_evaluate(e, m, 17, in, &next));
            if (now.data != x.data)
                free(now.data);
            now = next;
            node[i] = m;
            v = m->out[0];
        }
        ptq_view w;
        int stops = by_views(&(ptq_movers){.node = node, .n = n}, &x, got, &w);
        stopped += stops > 0;
        whole += stops == 0;
        ck_assert_int_eq(w.rank, now.rank);
        for (int i = 0; i < w.rank; i++)
            ck_assert_int_eq(ptq_view_dim(&w, i), now.dims[i]);
        ck_assert_mem_eq(got, now.data, now.nbytes);
        if (now.data != x.data)
            free(now.data);
        free(x.data);
        ptq_graph_free(g);
    }
    ck_assert_int_gt(whole, 200);
    ck_assert_int_gt(stopped, 5);
    ptq_evaluator_free(e);
}
END_TEST

START_TEST(view__what_it_does_not_know)
{
    ptq_graph *g = kit_graph(17);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){2, 3});
    ptq_value *s = kit_input(g, "s", PTQ_DT_S64, 1, (int64_t[]){2});
    ptq_value *one = numbers(g, (int64_t[]){0}, 1);
    ck_assert(!ptq_view_knows(KIT(g, "Reshape", "r", x, s)->producer));
    ck_assert(!ptq_view_knows(KIT(g, "Gather", "g", x, one)->producer)); /* a list of one keeps the axis */
    ck_assert(!ptq_view_knows(KIT(g, "Squeeze", "q", x)->producer));
    ck_assert(!ptq_view_knows(KIT(g, "Slice", "l", x, one, s)->producer));
    ck_assert(!ptq_view_knows(KIT(g, "Add", "a", x, x)->producer));
    ptq_graph_free(g);
}
END_TEST

/* Arguments that cannot be right are errors that name the node. */
START_TEST(view__misfits)
{
    ptq_graph *g = kit_graph(17);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){2, 3});
    int64_t far = 3;
    const ptq_node *bad[] = {
        KIT(g, "Reshape", "r1", x, numbers(g, (int64_t[]){4, 2}, 2))->producer,
        KIT(g, "Reshape", "r2", x, numbers(g, (int64_t[]){1, 6, 0}, 3))->producer,
        KIT(g, "Squeeze", "q1", x, numbers(g, (int64_t[]){0}, 1))->producer,
        KIT(g, "Unsqueeze", "u1", x, numbers(g, (int64_t[]){4}, 1))->producer,
        KIT(g, "Gather", "g1", x, kit_const(g, "at", PTQ_DT_S64, 0, NULL, &far))->producer,
    };
    for (size_t i = 0; i < PTQ_COUNT(bad); i++) {
        ptq_view v;
        int from = 0;
        ptq_view_dense((int64_t[]){2, 3}, 2, &v);
        ck_assert_int_ne(ptq_view_through(&(ptq_movers){.node = &bad[i], .n = 1}, &from, &v), PTQ_OK);
        ck_assert_says(bad[i]->name);
    }
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_view");
    TCase *t = tcase_create("view");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, view__random_chains, 0, 4);
    tcase_add_test(t, view__what_it_does_not_know);
    tcase_add_test(t, view__misfits);
    suite_add_tcase(s, t);
    return unit_run(s);
}
