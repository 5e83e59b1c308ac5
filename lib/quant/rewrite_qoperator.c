/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/quant/rewrite_impl.h"

/* A unit: DequantizeLinear on every data input, the operator, perhaps an absorbed Relu or Clip,
 * one QuantizeLinear. It becomes one operator on the integers. */
typedef struct unit {
    ptq_graph *g;
    ptq_node *n;   /* the operator */
    ptq_node *act; /* absorbed activation, or NULL */
    ptq_node *q;   /* NULL: float output */
} unit;

typedef ptq_status (*convert_fn)(unit *u);

static bool is_op(const ptq_node *n, const char *op)
{
    return n && strcmp(n->op, op) == 0 && n->domain[0] == '\0';
}

static ptq_node *dq_of(const ptq_node *n, int slot)
{
    ptq_node *p = slot < n->nin && n->in[slot] ? n->in[slot]->producer : NULL;
    return is_op(p, "DequantizeLinear") ? p : NULL;
}

static ptq_node *only_reader(const ptq_value *v)
{
    return v->uses.n == 1 && v->uses.v[0].slot == 0 && !v->is_output ? v->uses.v[0].node : NULL;
}

static bool scalar_float(const ptq_value *v, float *out)
{
    if (!v || !v->constant || v->constant->dtype != PTQ_DT_F32 || ptq_tensor_elements(v->constant) != 1)
        return false;
    *out = *(const float *)v->constant->data;
    return true;
}

static bool scalar_zp(const ptq_value *v, int32_t *zp, ptq_qgrid *grid)
{
    if (!v || !v->constant || ptq_tensor_elements(v->constant) != 1)
        return false;
    if (v->constant->dtype == PTQ_DT_U8) {
        *zp = *(const uint8_t *)v->constant->data;
        *grid = (ptq_qgrid){0, 255};
        return true;
    }
    if (v->constant->dtype == PTQ_DT_S8) {
        *zp = *(const int8_t *)v->constant->data;
        *grid = (ptq_qgrid){-128, 127};
        return true;
    }
    return false;
}

/* An activation may go when clamping at its bounds and then quantizing cannot differ from
 * quantizing alone: both bounds quantize to the ends of the grid. */
static bool absorbed(const ptq_node *act, const ptq_node *q)
{
    float s, lo = 0.0f, hi = INFINITY;
    int32_t z;
    ptq_qgrid grid;
    if (!scalar_float(q->in[1], &s) || !scalar_zp(q->in[2], &z, &grid))
        return false;
    if (is_op(act, "Clip")) {
        if (act->nin > 1 && act->in[1] && !scalar_float(act->in[1], &lo))
            return false;
        if (act->nin <= 1 || !act->in[1])
            lo = -INFINITY;
        if (act->nin > 2 && act->in[2] && !scalar_float(act->in[2], &hi))
            return false;
    } else if (!is_op(act, "Relu")) {
        return false;
    }
    return ptq_quantize(lo, s, z, grid.lo, grid.hi) == grid.lo &&
           ptq_quantize(hi, s, z, grid.lo, grid.hi) == grid.hi;
}

static bool find_unit(ptq_graph *g, ptq_node *n, unit *u)
{
    *u = (unit){.g = g, .n = n};
    if (n->nout != 1 || !n->out[0])
        return false;
    ptq_node *next = only_reader(n->out[0]);
    if (is_op(next, "QuantizeLinear")) {
        u->q = next;
    } else if (next && (is_op(next, "Relu") || is_op(next, "Clip"))) {
        ptq_node *q = only_reader(next->out[0]);
        if (is_op(q, "QuantizeLinear") && absorbed(next, q)) {
            u->act = next;
            u->q = q;
        }
    }
    return true;
}

/* New node in place of the unit; its output is the Q's output value. */
static ptq_status replace(unit *u, const char *op, const char *domain, ptq_value *const *in, int nin,
                          ptq_node **out)
{
    ptq_node *n;
    const char *name = u->n->name;
    PTQ_TRY(ptq_graph_node(u->g, op, domain,
                           ptq_graph_unique_node_name(u->g, ptq_arena_printf(u->g->arena, "%s_quant", name)),
                           nin, 1, u->n, &n));
    for (int i = 0; i < nin; i++)
        ptq_node_set_input(u->g, n, i, in[i]);
    ptq_value *y = u->q ? u->q->out[0] : u->n->out[0];
    if (u->q)
        ptq_node_remove(u->g, u->q);
    if (u->act)
        ptq_node_remove(u->g, u->act);
    if (domain[0])
        u->g->opset_ms = 1;
    /* Attributes of the operator hold for its quantized form. */
    n->attrs = u->n->attrs;
    n->nattrs = u->n->nattrs;
    ptq_node *old = u->n;
    ptq_node_remove(u->g, old);
    ptq_node_set_output(u->g, n, 0, y);
    *out = n;
    return PTQ_OK;
}

/* x, scale, zp of a DQ into in[0..3). */
static void triple(const ptq_node *dq, ptq_value **in)
{
    in[0] = dq->in[0];
    in[1] = dq->in[1];
    in[2] = dq->nin > 2 ? dq->in[2] : NULL;
}

static bool int8_triple(const ptq_node *dq)
{
    return dq && dq->nin > 2 && dq->in[2] && dq->in[0] &&
           (dq->in[2]->dtype == PTQ_DT_S8 || dq->in[2]->dtype == PTQ_DT_U8);
}

static ptq_status to_conv(unit *u)
{
    ptq_node *x = dq_of(u->n, 0), *w = dq_of(u->n, 1), *b = u->n->nin > 2 && u->n->in[2] ? dq_of(u->n, 2) : NULL;
    if (!u->q || !int8_triple(x) || !int8_triple(w) || (u->n->nin > 2 && u->n->in[2] && !b))
        return PTQ_OK;
    ptq_value *in[9];
    triple(x, in);
    triple(w, in + 3);
    in[6] = u->q->in[1];
    in[7] = u->q->in[2];
    if (b)
        in[8] = b->in[0];
    ptq_node *n;
    return replace(u, "QLinearConv", "", in, b ? 9 : 8, &n);
}

static ptq_status to_matmul(unit *u)
{
    ptq_node *a = dq_of(u->n, 0), *b = dq_of(u->n, 1);
    if (!u->q || !int8_triple(a) || !int8_triple(b))
        return PTQ_OK;
    ptq_value *in[8];
    triple(a, in);
    triple(b, in + 3);
    in[6] = u->q->in[1];
    in[7] = u->q->in[2];
    ptq_node *n;
    return replace(u, "QLinearMatMul", "", in, 8, &n);
}

static ptq_status to_gemm(unit *u)
{
    ptq_node *a = dq_of(u->n, 0), *b = dq_of(u->n, 1), *c = NULL;
    bool has_c = u->n->nin > 2 && u->n->in[2];
    if (has_c)
        c = dq_of(u->n, 2);
    if (!int8_triple(a) || !int8_triple(b) || (has_c && !c) || ptq_attr_float(u->n, "beta", 1.0f) != 1.0f)
        return PTQ_OK;
    ptq_value *in[9] = {0};
    triple(a, in);
    triple(b, in + 3);
    in[6] = c ? c->in[0] : NULL;
    if (u->q) {
        in[7] = u->q->in[1];
        in[8] = u->q->in[2];
    }
    ptq_node *n;
    PTQ_TRY(replace(u, "QGemm", "com.microsoft", in, u->q ? 9 : has_c ? 7 : 6, &n));
    ptq_attr_remove(n, "beta");
    return PTQ_OK;
}

static ptq_status to_binary(unit *u)
{
    ptq_node *a = dq_of(u->n, 0), *b = dq_of(u->n, 1);
    if (!u->q || !int8_triple(a) || !int8_triple(b) || a->in[2]->dtype != b->in[2]->dtype ||
        a->in[2]->dtype != u->q->in[2]->dtype)
        return PTQ_OK;
    ptq_value *in[8];
    triple(a, in);
    triple(b, in + 3);
    in[6] = u->q->in[1];
    in[7] = u->q->in[2];
    ptq_node *n;
    return replace(u, is_op(u->n, "Add") ? "QLinearAdd" : "QLinearMul", "com.microsoft", in, 8, &n);
}

static ptq_status to_unary5(unit *u, const char *op)
{
    ptq_node *x = dq_of(u->n, 0);
    if (!u->q || u->act || !int8_triple(x) || x->in[2]->dtype != u->q->in[2]->dtype)
        return PTQ_OK;
    ptq_value *in[5];
    triple(x, in);
    in[3] = u->q->in[1];
    in[4] = u->q->in[2];
    ptq_node *n;
    return replace(u, op, "com.microsoft", in, 5, &n);
}

static ptq_status to_avgpool(unit *u)
{
    return to_unary5(u, "QLinearAveragePool");
}

static ptq_status to_global_avgpool(unit *u)
{
    return to_unary5(u, "QLinearGlobalAveragePool");
}

static ptq_status to_sigmoid(unit *u)
{
    return to_unary5(u, "QLinearSigmoid");
}

static ptq_status to_leaky(unit *u)
{
    return to_unary5(u, "QLinearLeakyRelu");
}

static ptq_status to_concat(unit *u)
{
    int nin = u->n->nin;
    if (!u->q || u->act)
        return PTQ_OK;
    ptq_value **in = ptq_arena_array(u->g->arena, (size_t)(2 + 3 * nin), sizeof *in);
    if (!in)
        return ptq_fail_nomem();
    in[0] = u->q->in[1];
    in[1] = u->q->in[2];
    for (int i = 0; i < nin; i++) {
        ptq_node *x = dq_of(u->n, i);
        if (!int8_triple(x) || x->in[2]->dtype != u->q->in[2]->dtype)
            return PTQ_OK;
        triple(x, in + 2 + 3 * i);
    }
    ptq_node *n;
    return replace(u, "QLinearConcat", "com.microsoft", in, 2 + 3 * nin, &n);
}

static bool same_params(const ptq_node *dq, const ptq_node *q)
{
    float a, b;
    int32_t za, zb;
    ptq_qgrid ga, gb;
    return scalar_float(dq->in[1], &a) && scalar_float(q->in[1], &b) && scalar_zp(dq->in[2], &za, &ga) &&
           scalar_zp(q->in[2], &zb, &gb) && a == b && za == zb && ga.lo == gb.lo;
}

/* A data mover between equal parameters runs on the integers themselves. */
static ptq_status to_mover(unit *u)
{
    ptq_node *x = dq_of(u->n, 0);
    if (!u->q || u->act || !int8_triple(x) || !same_params(x, u->q))
        return PTQ_OK;
    ptq_value *y = u->q->out[0];
    ptq_node_set_input(u->g, u->n, 0, x->in[0]);
    ptq_node_remove(u->g, u->q);
    ptq_node_set_output(u->g, u->n, 0, y);
    return PTQ_OK;
}

static const struct {
    const char *op;
    convert_fn convert;
} converters[] = {
    {"Conv", to_conv},
    {"MatMul", to_matmul},
    {"Gemm", to_gemm},
    {"Add", to_binary},
    {"Mul", to_binary},
    {"AveragePool", to_avgpool},
    {"GlobalAveragePool", to_global_avgpool},
    {"Sigmoid", to_sigmoid},
    {"LeakyRelu", to_leaky},
    {"Concat", to_concat},
};

/* Removes DequantizeLinear nodes that nobody reads any more. */
static void sweep_dead(ptq_graph *g)
{
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next) {
        if (is_op(n, "DequantizeLinear") && n->out[0] && n->out[0]->uses.n == 0 && !n->out[0]->is_output)
            ptq_node_remove(g, n);
    }
}

ptq_status ptq_rewrite_qoperator(ptq_graph *g)
{
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next) {
        unit u;
        if (n->domain[0] || !find_unit(g, n, &u))
            continue;
        /* The unit may take its Q (and activation) out of the list: step over them first. */
        while (next && (next == u.act || next == u.q))
            next = next->next;
        bool known = false;
        for (size_t i = 0; i < PTQ_COUNT(converters) && !known; i++)
            if (strcmp(converters[i].op, n->op) == 0) {
                known = true;
                PTQ_TRY(converters[i].convert(&u));
            }
        if (!known && n->def && (n->def->flags & PTQ_OPF_MOVER))
            PTQ_TRY(to_mover(&u));
    }
    sweep_dead(g);
    return PTQ_OK;
}
