/* SPDX-License-Identifier: Apache-2.0 */
/* Small graphs for tests, a call per node. */
#ifndef PTQ_TESTS_GRAPH_KIT_H
#define PTQ_TESTS_GRAPH_KIT_H

#include <string.h>

#include "lib/graph/ops.h"
#include "tests/unit.h"

static inline ptq_graph *kit_graph(int opset)
{
    ptq_graph *g;
    ck_assert_ok(ptq_graph_new(&g));
    g->opset = opset;
    g->opset_ms = 1;
    return g;
}

/* dims: -1 is the symbol "batch". */
static inline ptq_value *kit_input(ptq_graph *g, const char *name, ptq_dtype t, int rank,
                                   const int64_t *dims)
{
    ptq_value *v;
    ck_assert_ok(ptq_graph_value(g, name, &v));
    v->dtype = t;
    v->shape.rank = rank;
    for (int i = 0; i < rank; i++)
        v->shape.dims[i] = dims[i] < 0 ? ptq_dim_sym(ptq_symbol(g, "batch")) : ptq_dim_of(dims[i]);
    ck_assert_ok(ptq_graph_add_input(g, v));
    return v;
}

static inline ptq_value *kit_const(ptq_graph *g, const char *name, ptq_dtype dtype, int rank,
                                   const int64_t *dims, const void *data)
{
    ptq_value *v;
    ptq_tensor t = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++)
        t.dims[i] = dims[i];
    ck_assert(ptq_tensor_nbytes(dtype, rank, dims, &t.nbytes));
    memcpy(&t.data, &data, sizeof data); /* copied below */
    ck_assert_ok(ptq_graph_constant(g, name, &t, true, &v));
    return v;
}

static inline ptq_value *kit_f32(ptq_graph *g, float f)
{
    return kit_const(g, "f", PTQ_DT_F32, 0, NULL, &f);
}

static inline ptq_value *kit_zp(ptq_graph *g, ptq_dtype t, int zp)
{
    int8_t s = (int8_t)zp;
    uint8_t u = (uint8_t)zp;
    int32_t w = zp;
    return kit_const(g, "zp", t, 0, NULL,
                     t == PTQ_DT_S8 ? (void *)&s : t == PTQ_DT_U8 ? (void *)&u : (void *)&w);
}

/* op(in...) -> a new value named `out`; a NULL input is omitted. */
static inline ptq_node *kit_op(ptq_graph *g, const char *op, const char *domain, const char *out,
                               int nin, ptq_value *const *in)
{
    ptq_node *n;
    ptq_value *v;
    ck_assert_ok(ptq_graph_node(g, op, domain, out, nin, 1, NULL, &n));
    for (int i = 0; i < nin; i++)
        ptq_node_set_input(g, n, i, in[i]);
    ck_assert_ok(ptq_graph_value(g, out, &v));
    ptq_node_set_output(g, n, 0, v);
    return n;
}
#define KIT(g, op, name, ...)                                                                       \
    (kit_op((g), (op), "", (name), (int)PTQ_COUNT(((ptq_value *[]){__VA_ARGS__})),                  \
            (ptq_value *[]){__VA_ARGS__})                                                          \
         ->out[0])

static inline ptq_value *kit_q(ptq_graph *g, const char *out, ptq_value *v, float s, ptq_dtype t, int zp)
{
    return KIT(g, "QuantizeLinear", out, v, kit_f32(g, s), kit_zp(g, t, zp));
}

static inline ptq_value *kit_dq(ptq_graph *g, const char *out, ptq_value *v, float s, ptq_dtype t,
                                int zp)
{
    return KIT(g, "DequantizeLinear", out, v, kit_f32(g, s), kit_zp(g, t, zp));
}

/* DQ, named `name`, of a constant of int8 codes "<name>_q". */
static inline ptq_value *kit_weight(ptq_graph *g, const char *name, int rank, const int64_t *dims,
                                    const int8_t *codes, float s)
{
    char q[64];
    snprintf(q, sizeof q, "%s_q", name);
    return kit_dq(g, name, kit_const(g, q, PTQ_DT_S8, rank, dims, codes), s, PTQ_DT_S8, 0);
}

/* Q and DQ behind v; the DQ's output is "<name>_dq", the codes are "<name>_q". */
static inline ptq_value *kit_qdq(ptq_graph *g, const char *name, ptq_value *v, float s, ptq_dtype t,
                                 int zp)
{
    char q[64], d[64];
    snprintf(q, sizeof q, "%s_q", name);
    snprintf(d, sizeof d, "%s_dq", name);
    return kit_dq(g, d, kit_q(g, q, v, s, t, zp), s, t, zp);
}

static inline void kit_output(ptq_graph *g, ptq_value *v)
{
    ck_assert_ok(ptq_graph_add_output(g, v));
}

static inline void kit_finish(ptq_graph *g)
{
    ck_assert_ok(ptq_graph_verify(g));
    ck_assert_ok(ptq_infer_graph(g));
}

#endif
