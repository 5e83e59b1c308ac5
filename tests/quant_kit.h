/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of placement and rewriting: weights, convolutions, a residual block. */
#ifndef PTQ_TESTS_QUANT_KIT_H
#define PTQ_TESTS_QUANT_KIT_H

#include "lib/quant/place.h"
#include "tests/graph_kit.h"

static inline ptq_value *qk_weight(ptq_graph *g, const char *name, int64_t co, int64_t ci, int64_t k)
{
    float w[4096];
    ptq_rng r;
    ptq_rng_seed(&r, (uint64_t)co * 31 + (uint64_t)ci);
    for (int64_t i = 0; i < co * ci * k * k; i++)
        w[i] = ptq_rng_uniform(&r) - 0.5f;
    return kit_const(g, name, PTQ_DT_F32, 4, (int64_t[]){co, ci, k, k}, w);
}

static inline ptq_value *qk_conv(ptq_graph *g, const char *name, ptq_value *x, int64_t co, int64_t ci,
                                 int64_t k)
{
    char wname[64];
    snprintf(wname, sizeof wname, "%s_w", name);
    return KIT(g, "Conv", name, x, qk_weight(g, wname, co, ci, k));
}

static inline void qk_output(ptq_graph *g, ptq_value *v)
{
    ck_assert_ok(ptq_graph_add_output(g, v));
    ck_assert_ok(ptq_infer_graph(g));
}

static inline ptq_placement *qk_place(const ptq_graph *g, const char *target, const ptq_scope *scope)
{
    ptq_placement *p;
    const ptq_target *t;
    ck_assert_ok(ptq_target_find(target, &t));
    ck_assert_ok(ptq_place(g, t, scope, &p));
    return p;
}

/* x -> Conv a -> Relu ar -> Conv b -> Conv b2; b2 + ar -> Relu y -> Conv c -> average pool */
static inline ptq_graph *qk_residual(void)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 3, 6, 6});
    ptq_value *r = KIT(g, "Relu", "ar", qk_conv(g, "a", x, 4, 3, 1));
    ptq_value *b = qk_conv(g, "b", r, 4, 4, 1);
    ptq_value *b2 = qk_conv(g, "b2", b, 4, 4, 1);
    ptq_value *sum = KIT(g, "Add", "sum", b2, r);
    ptq_value *y = KIT(g, "Relu", "y", sum);
    ptq_value *c = qk_conv(g, "c", y, 4, 4, 1);
    qk_output(g, KIT(g, "GlobalAveragePool", "pool", c));
    return g;
}

#endif
