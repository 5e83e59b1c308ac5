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
    const struct converter *row;
} unit;

typedef struct converter {
    const char *op;
    ptq_status (*convert)(unit *u); /* leaves the unit alone where the forms would differ */
    const char *quantized, *domain; /* the operator it becomes */
} converter;

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
static ptq_status replace(unit *u, ptq_value *const *in, int nin)
{
    ptq_node *n;
    const char *name = u->n->name;
    PTQ_TRY(ptq_graph_node(u->g, u->row->quantized, u->row->domain,
                           ptq_graph_unique_node_name(u->g, ptq_arena_printf(u->g->arena, "%s_quant", name)),
                           nin, 1, u->n, &n));
    for (int i = 0; i < nin; i++)
        ptq_node_set_input(u->g, n, i, in[i]);
    ptq_value *y = u->q ? u->q->out[0] : u->n->out[0];
    if (u->q)
        ptq_node_remove(u->g, u->q);
    if (u->act)
        ptq_node_remove(u->g, u->act);
    if (u->row->domain[0])
        u->g->opset_ms = 1;
    /* Attributes of the operator hold for its quantized form. */
    n->attrs = u->n->attrs;
    n->nattrs = u->n->nattrs;
    ptq_node_remove(u->g, u->n);
    ptq_node_set_output(u->g, n, 0, y);
    u->n = n;
    return PTQ_OK;
}

/* x, scale and zp of the n first inputs, one after another; false unless all are 8-bit DQs. */
static bool triples(const unit *u, int n, ptq_value **in)
{
    for (int i = 0; i < n; i++, in += 3) {
        const ptq_node *dq = dq_of(u->n, i);
        if (!dq || dq->nin < 3 || !dq->in[0] || !dq->in[2] ||
            (dq->in[2]->dtype != PTQ_DT_S8 && dq->in[2]->dtype != PTQ_DT_U8))
            return false;
        in[0] = dq->in[0];
        in[1] = dq->in[1];
        in[2] = dq->in[2];
    }
    return true;
}

/* Scale and zero point of the output. */
static void result(const unit *u, ptq_value **in)
{
    in[0] = u->q->in[1];
    in[1] = u->q->in[2];
}

/* Do the n triples have the output's type? com.microsoft operators know one type for all. */
static bool one_type(const unit *u, int n, ptq_value *const *in)
{
    for (int i = 0; i < n; i++)
        if (in[3 * i + 2]->dtype != u->q->in[2]->dtype)
            return false;
    return true;
}

/* The codes of a quantized bias; false when there is another one. */
static bool bias_codes(const unit *u, ptq_value **codes)
{
    *codes = NULL;
    if (u->n->nin < 3 || !u->n->in[2])
        return true;
    const ptq_node *dq = dq_of(u->n, 2);
    if (dq)
        *codes = dq->in[0];
    return dq != NULL;
}

static ptq_status to_conv(unit *u)
{
    ptq_value *in[9];
    /* One and three spatial dimensions run in QDQ form, and nowhere else here. */
    if (!u->q || !triples(u, 2, in) || !bias_codes(u, &in[8]) || in[3]->shape.rank != 4)
        return PTQ_OK;
    result(u, in + 6);
    return replace(u, in, in[8] ? 9 : 8);
}

static ptq_status to_matmul(unit *u)
{
    ptq_value *in[8];
    if (!u->q || !triples(u, 2, in))
        return PTQ_OK;
    result(u, in + 6);
    return replace(u, in, 8);
}

static ptq_status to_gemm(unit *u)
{
    ptq_value *in[9];
    if (!triples(u, 2, in) || !bias_codes(u, &in[6]) || ptq_attr_float(u->n, "beta", 1.0f) != 1.0f)
        return PTQ_OK;
    if (u->q)
        result(u, in + 7);
    PTQ_TRY(replace(u, in, u->q ? 9 : in[6] ? 7 : 6));
    ptq_attr_remove(u->n, "beta");
    return PTQ_OK;
}

static ptq_status to_binary(unit *u)
{
    ptq_value *in[8];
    if (!u->q || !triples(u, 2, in) || !one_type(u, 2, in))
        return PTQ_OK;
    result(u, in + 6);
    return replace(u, in, 8);
}

static ptq_status to_unary(unit *u)
{
    ptq_value *in[5];
    if (!u->q || u->act || !triples(u, 1, in) || !one_type(u, 1, in))
        return PTQ_OK;
    result(u, in + 3);
    return replace(u, in, 5);
}

static ptq_status to_concat(unit *u)
{
    const int n = u->n->nin;
    if (!u->q || u->act)
        return PTQ_OK;
    ptq_value **in = ptq_arena_array(u->g->arena, (size_t)(2 + 3 * n), sizeof *in);
    if (!in)
        return ptq_fail_nomem();
    if (!triples(u, n, in + 2) || !one_type(u, n, in + 2))
        return PTQ_OK;
    result(u, in);
    return replace(u, in, 2 + 3 * n);
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
    ptq_value *in[3];
    if (!u->q || u->act || !triples(u, 1, in) || !same_params(dq_of(u->n, 0), u->q))
        return PTQ_OK;
    ptq_value *y = u->q->out[0];
    ptq_node_set_input(u->g, u->n, 0, in[0]);
    ptq_node_remove(u->g, u->q);
    ptq_node_set_output(u->g, u->n, 0, y);
    return PTQ_OK;
}

#define MS "com.microsoft"
static const converter converters[] = {
    {"Conv", to_conv, "QLinearConv", ""},
    {"MatMul", to_matmul, "QLinearMatMul", ""},
    {"Gemm", to_gemm, "QGemm", MS},
    {"Add", to_binary, "QLinearAdd", MS},
    {"Mul", to_binary, "QLinearMul", MS},
    {"AveragePool", to_unary, "QLinearAveragePool", MS},
    {"GlobalAveragePool", to_unary, "QLinearGlobalAveragePool", MS},
    {"Sigmoid", to_unary, "QLinearSigmoid", MS},
    {"LeakyRelu", to_unary, "QLinearLeakyRelu", MS},
    {"Concat", to_concat, "QLinearConcat", MS},
};
static const converter mover = {"", to_mover, NULL, NULL};

/* Movers that ONNX Runtime has for floats alone. */
static const char *const float_movers[] = {"DepthToSpace", "SpaceToDepth"};

static const converter *converter_of(const ptq_node *n)
{
    for (size_t i = 0; i < PTQ_COUNT(float_movers); i++)
        if (strcmp(float_movers[i], n->op) == 0)
            return NULL;
    for (size_t i = 0; i < PTQ_COUNT(converters); i++)
        if (strcmp(converters[i].op, n->op) == 0)
            return &converters[i];
    return n->def && (n->def->flags & PTQ_OPF_MOVER) ? &mover : NULL;
}

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
        u.row = converter_of(n);
        if (u.row)
            PTQ_TRY(u.row->convert(&u));
    }
    sweep_dead(g);
    return PTQ_OK;
}
