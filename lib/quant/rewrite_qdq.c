/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/quant/log2.h"
#include "lib/quant/rewrite_impl.h"

ptq_status ptq_emit_constant(ptq_graph *g, const char *base, const char *suffix, ptq_dtype dtype, int rank,
                             const int64_t *dims, const void *data, bool copy, ptq_value **out)
{
    ptq_tensor t = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++)
        t.dims[i] = dims[i];
    if (!ptq_tensor_nbytes(dtype, rank, t.dims, &t.nbytes))
        return ptq_fail(PTQ_ERR_INTERNAL, "%s%s: shape overflows", base, suffix);
    /* Nobody writes through it; this only drops const for the shared struct. */
    memcpy(&t.data, &data, sizeof data);
    const char *name = ptq_arena_printf(g->arena, "%s%s", base, suffix);
    if (!name)
        return ptq_fail_nomem();
    return ptq_graph_constant(g, name, &t, copy, out);
}

static ptq_status emit_node(ptq_graph *g, const char *op, const char *base, ptq_value *x, ptq_value *scale,
                            ptq_value *zp, ptq_dtype dtype, ptq_node *before, ptq_node **node)
{
    const char *suffix = strcmp(op, "QuantizeLinear") == 0 ? "QuantizeLinear" : "DequantizeLinear";
    const char *node_name = ptq_arena_printf(g->arena, "%s_%s", base, suffix);
    const char *out_name = node_name ? ptq_arena_printf(g->arena, "%s_Output", node_name) : NULL;
    if (!out_name)
        return ptq_fail_nomem();
    ptq_node *n;
    ptq_value *y;
    PTQ_TRY(ptq_graph_node(g, op, "", ptq_graph_unique_node_name(g, node_name), 3, 1, before, &n));
    PTQ_TRY(ptq_graph_value(g, ptq_graph_unique_name(g, out_name), &y));
    y->dtype = dtype;
    y->shape = x->shape;
    ptq_node_set_input(g, n, 0, x);
    ptq_node_set_input(g, n, 1, scale);
    ptq_node_set_input(g, n, 2, zp);
    ptq_node_set_output(g, n, 0, y);
    *node = n;
    return PTQ_OK;
}

ptq_status ptq_emit_dq(ptq_graph *g, const char *base, ptq_value *x, ptq_value *scale, ptq_value *zp,
                       int axis, ptq_node *before, ptq_value **out)
{
    ptq_node *n;
    PTQ_TRY(emit_node(g, "DequantizeLinear", base, x, scale, zp, PTQ_DT_F32, before, &n));
    if (axis >= 0)
        PTQ_TRY(ptq_attr_set_int(g, n, "axis", axis));
    *out = n->out[0];
    return PTQ_OK;
}

ptq_status ptq_emit_op(ptq_graph *g, const char *op, const char *base, const char *suffix, ptq_value *a,
                       ptq_value *b, ptq_dtype dtype, ptq_node *before, ptq_node **out)
{
    const char *name = ptq_arena_printf(g->arena, "%s%s", base, suffix);
    ptq_value *y;
    if (!name)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_graph_node(g, op, "", ptq_graph_unique_node_name(g, name), b ? 2 : 1, 1, before, out));
    PTQ_TRY(ptq_graph_value(g, ptq_graph_unique_name(g, name), &y));
    y->dtype = dtype;
    ptq_node_set_input(g, *out, 0, a);
    if (b)
        ptq_node_set_input(g, *out, 1, b);
    ptq_node_set_output(g, *out, 0, y);
    return PTQ_OK;
}

static ptq_status scale_and_zp(ptq_rewriter *r, const ptq_act_params *q, const char *base, ptq_value **scale,
                               ptq_value **zp)
{
    int8_t s8 = (int8_t)q->zp;
    uint8_t u8 = (uint8_t)q->zp;
    int16_t s16 = (int16_t)q->zp;
    uint16_t u16 = (uint16_t)q->zp;
    const void *data = q->dtype == PTQ_DT_S8    ? (const void *)&s8
                       : q->dtype == PTQ_DT_U8  ? (const void *)&u8
                       : q->dtype == PTQ_DT_S16 ? (const void *)&s16
                                                : (const void *)&u16;
    PTQ_TRY(ptq_emit_constant(r->g, base, "_scale", PTQ_DT_F32, 0, NULL, &q->scale, true, scale));
    return ptq_emit_constant(r->g, base, "_zero_point", q->dtype, 0, NULL, data, true, zp);
}

/* Codes of powers of two: a table on the linear codes, same type, scale and zero point. Gather
 * counts negative indices from the end, which is the order of a signed byte's bit patterns. */
static ptq_status emit_act_log2(ptq_rewriter *r, const ptq_act_params *q, const char *base, ptq_node *before,
                                ptq_value **x)
{
    uint8_t table[256];
    ptq_graph *g = r->g;
    ptq_value *tv;
    ptq_node *cast, *gather;
    PTQ_TRY(ptq_log2_table(q->dtype, q->scale, q->zp, q->scale, q->zp, table));
    PTQ_TRY(ptq_emit_constant(g, base, "_log2_table", q->dtype, 1, (int64_t[]){256}, table, true, &tv));
    PTQ_TRY(ptq_emit_op(g, "Cast", base, "_log2_index", *x, NULL, PTQ_DT_S32, before, &cast));
    PTQ_TRY(ptq_attr_set_int(g, cast, "to", PTQ_DT_S32));
    PTQ_TRY(ptq_emit_op(g, "Gather", base, "_log2", tv, cast->out[0], q->dtype, before, &gather));
    PTQ_TRY(ptq_attr_set_int(g, gather, "axis", 0));
    cast->out[0]->shape = gather->out[0]->shape = (*x)->shape;
    *x = gather->out[0];
    return PTQ_OK;
}

/* Q and DQ behind v; the readers that take 8 bits are moved to the DQ's output. */
static ptq_status emit_tensor(ptq_rewriter *r, int index)
{
    const ptq_tensor_place *t = &r->p->tensors[index];
    const ptq_act_params *q = &r->params[t->root];
    ptq_value *v = r->g->values.v[t->value->id], *scale, *zp;
    ptq_node *before = v->producer ? v->producer->next : r->g->first, *qn;
    PTQ_TRY(scale_and_zp(r, q, v->name, &scale, &zp));
    size_t nuses = v->uses.n;
    ptq_use *uses = ptq_calloc(nuses, sizeof *uses);
    if (!uses)
        return ptq_fail_nomem();
    memcpy(uses, v->uses.v, nuses * sizeof *uses);
    ptq_value *x = NULL, *dq = NULL;
    ptq_status s = emit_node(r->g, "QuantizeLinear", v->name, v, scale, zp, q->dtype, before, &qn);
    if (s == PTQ_OK) {
        x = qn->out[0];
        if (r->opt->act_log2)
            s = emit_act_log2(r, q, v->name, before, &x);
    }
    if (s == PTQ_OK)
        s = ptq_emit_dq(r->g, v->name, x, scale, zp, -1, before, &dq);
    for (size_t i = 0; i < nuses && s == PTQ_OK; i++)
        if (uses[i].slot >= 0 &&
            (!t->float_source || ptq_place_reads_quantized(r->p, uses[i].node, uses[i].slot)))
            ptq_node_set_input(r->g, uses[i].node, uses[i].slot, dq);
    free(uses);
    return s;
}

static ptq_status emit_weights(ptq_rewriter *r)
{
    PTQ_GRAPH_EACH_NODE_SAFE (r->g, n, next) {
        if (n->id >= r->p->nnodes || !r->p->nodes[n->id].quantized)
            continue;
        ptq_role role = r->p->nodes[n->id].role;
        if (role == PTQ_ROLE_WEIGHTED) {
            int t = r->p->tensor_of[n->in[0]->id];
            if (t < 0)
                return ptq_fail(PTQ_ERR_INTERNAL, "node %s: its data input has no parameters", n->name);
            PTQ_TRY(ptq_rewrite_weight(r, n, r->params[r->p->tensors[t].root].scale));
        } else if (role == PTQ_ROLE_BINARY) {
            for (int i = 0; i < n->nin; i++)
                if (n->in[i] && n->in[i]->constant)
                    PTQ_TRY(ptq_rewrite_operand(r, n, i));
        }
    }
    return PTQ_OK;
}

ptq_status ptq_rewrite_qdq(ptq_graph *g, const ptq_placement *p, const ptq_act_params *params,
                           const ptq_rewrite_options *opt, ptq_rewrite_report *report)
{
    ptq_rewriter r = {.g = g, .p = p, .params = params, .opt = opt, .report = report};
    size_t nv = g->values.n;
    if (report) {
        memset(report, 0, sizeof *report);
        report->arena = g->arena;
    }
    PTQ_TRY(ptq_weight_find(opt->weight ? opt->weight : "symmetric", &r.algo));
    r.written = ptq_calloc(nv, sizeof *r.written);
    ptq_status s = r.written ? emit_weights(&r) : ptq_fail_nomem();
    for (int i = 0; i < p->ntensors && s == PTQ_OK; i++)
        s = emit_tensor(&r, i);
    free(r.written);
    return s;
}
