/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/core/spill.h"
#include "lib/quant/rewrite_impl.h"

static int channel_axis(const ptq_node *n)
{
    if (strcmp(n->op, "Conv") == 0)
        return 0;
    if (strcmp(n->op, "Gemm") == 0)
        return ptq_attr_int(n, "transB", 0) ? 0 : 1;
    return n->in[1]->constant->rank - 1; /* MatMul */
}

/* Products in one dot product. */
static int64_t dot_length(const ptq_node *n, int axis)
{
    const ptq_tensor *w = n->in[1]->constant;
    int64_t k = 1;
    for (int i = 0; i < w->rank; i++)
        if (i != axis)
            k *= w->dims[i];
    return k;
}

/* The codes as a constant of the graph, which takes them over where they are not shared. */
static ptq_status give_codes(ptq_graph *g, const char *base, const char *suffix, ptq_dtype dtype, const ptq_weight *w,
                             ptq_weight_codes *q, ptq_value **out)
{
    void *codes = q->codes;
    if (ptq_spill_in_file(codes))
        PTQ_TRY(ptq_graph_file_range(g, codes, (size_t)q->n));
    if (!q->shared) {
        PTQ_TRY(ptq_graph_own(g, codes, ptq_spill_free));
        q->codes = NULL;
    }
    PTQ_TRY(ptq_emit_constant(g, base, suffix, dtype, w->rank, w->dims, codes, false, out));
    ptq_graph_rest(g, (*out)->constant);
    return PTQ_OK;
}

/* Linear codes of the value `base`, turned into real values by DequantizeLinear. */
static ptq_status emit_codes(ptq_graph *g, const char *base, const ptq_weight *w, ptq_weight_codes *q,
                             ptq_node *before, ptq_value **real)
{
    ptq_value *codes, *scale, *zp;
    int64_t per[1] = {q->channels};
    int srank = q->axis >= 0 ? 1 : 0;
    PTQ_TRY(give_codes(g, base, "_quantized", q->dtype, w, q, &codes));
    uint8_t *z = ptq_arena_alloc(g->arena, (size_t)q->channels);
    if (!z)
        return ptq_fail_nomem();
    for (int64_t c = 0; c < q->channels; c++)
        z[c] = (uint8_t)q->zero_point[c];
    PTQ_TRY(ptq_emit_constant(g, base, "_scale", PTQ_DT_F32, srank, per, q->scale, true, &scale));
    PTQ_TRY(ptq_emit_constant(g, base, "_zero_point", q->dtype, srank, per, z, false, &zp));
    return ptq_emit_dq(g, base, codes, scale, zp, q->axis, before, real);
}

/* Table codes: Gather(table, Cast(codes)), times the channel's scale when there is one. */
static ptq_status emit_table(ptq_rewriter *r, ptq_node *n, const ptq_weight *w, ptq_weight_codes *q,
                             ptq_value **real)
{
    ptq_graph *g = r->g;
    const char *base = n->in[1]->name;
    ptq_value *codes, *table, *scale;
    ptq_node *node;
    PTQ_TRY(give_codes(g, base, "_log_codes", PTQ_DT_U8, w, q, &codes));
    PTQ_TRY(ptq_emit_constant(g, base, "_log_table", PTQ_DT_F32, 1, (int64_t[]){256}, q->table, true, &table));
    PTQ_TRY(ptq_emit_op(g, "Cast", base, "_log_index", codes, NULL, PTQ_DT_S32, n, &node));
    PTQ_TRY(ptq_attr_set_int(g, node, "to", PTQ_DT_S32));
    PTQ_TRY(ptq_emit_op(g, "Gather", base, "_log_decoded", table, node->out[0], PTQ_DT_F32, n, &node));
    PTQ_TRY(ptq_attr_set_int(g, node, "axis", 0));
    if (q->axis >= 0) {
        int64_t dims[PTQ_MAX_RANK];
        for (int i = 0; i < w->rank; i++)
            dims[i] = i == q->axis ? q->channels : 1;
        PTQ_TRY(ptq_emit_constant(g, base, "_log_scale", PTQ_DT_F32, w->rank, dims, q->scale, true, &scale));
        PTQ_TRY(ptq_emit_op(g, "Mul", base, "_log_real", node->out[0], scale, PTQ_DT_F32, n, &node));
    }
    *real = node->out[0];
    (*real)->shape = n->in[1]->shape;
    return PTQ_OK;
}

static ptq_status emit_bias(ptq_rewriter *r, ptq_node *n, const int32_t *bias_q, const float *bias_scale,
                            int64_t count, bool per_channel)
{
    ptq_graph *g = r->g;
    const char *base = n->in[2]->name;
    ptq_value *b, *scale, *zp, *real;
    int64_t dims[1] = {count};
    int32_t *zeros = ptq_arena_array(g->arena, (size_t)count, sizeof *zeros);
    if (!zeros)
        return ptq_fail_nomem();
    int srank = per_channel ? 1 : 0;
    PTQ_TRY(ptq_emit_constant(g, base, "_quantized", PTQ_DT_S32, 1, dims, bias_q, true, &b));
    PTQ_TRY(ptq_emit_constant(g, base, "_quantized_scale", PTQ_DT_F32, srank, dims, bias_scale, true, &scale));
    PTQ_TRY(ptq_emit_constant(g, base, "_quantized_zero_point", PTQ_DT_S32, srank, dims, zeros, false, &zp));
    PTQ_TRY(ptq_emit_dq(g, base, b, scale, zp, per_channel ? 0 : -1, n, &real));
    ptq_node_set_input(g, n, 2, real);
    return PTQ_OK;
}

/* Codes of the weight, with scales wide enough for the bias; the bias in int32, or in float where the
 * target wants that: who runs it in integers can then round it to the accumulator's unit. */
static ptq_status quantize_both(ptq_rewriter *r, ptq_node *n, const ptq_weight *w, const ptq_weight_options *wo, float sx,
                                ptq_weight_codes *q, ptq_weight_note *note)
{
    PTQ_TRY(ptq_weight_quantize_once(r->opt->cache, (size_t)n->in[1]->id, r->algo, w, wo, q));
    const ptq_tensor *b = n->nin > 2 && n->in[2] ? n->in[2]->constant : NULL;
    if (q->table || !b)
        return PTQ_OK;
    int64_t count = ptq_tensor_elements(b), enlarged = 0;
    int32_t *bias_q = ptq_calloc((size_t)count, sizeof *bias_q);
    float *bias_scale = ptq_calloc((size_t)count, sizeof *bias_scale);
    ptq_status s = bias_q && bias_scale ? PTQ_OK : ptq_fail_nomem();
    if (s == PTQ_OK)
        s = ptq_weight_fit_bias(r->algo, w, q, b->data, count, sx, dot_length(n, channel_axis(n)), bias_q,
                                bias_scale, &enlarged);
    if (s == PTQ_OK && r->p->target->bias_int32)
        s = emit_bias(r, n, bias_q, bias_scale, count, q->axis >= 0);
    note->widened_channels = (int)enlarged;
    free(bias_q);
    free(bias_scale);
    return s;
}

/* Error of plain int8 codes, per channel or tensor as asked, to stand beside that of another method. */
static ptq_status linear_mse(const ptq_weight *w, const ptq_weight_options *wo, double *mse)
{
    const ptq_weight_algo *linear;
    ptq_weight_codes q = {0};
    PTQ_TRY(ptq_weight_find("symmetric", &linear));
    PTQ_TRY(ptq_weight_quantize(linear, w, wo, &q));
    *mse = q.mse;
    ptq_weight_codes_clear(&q);
    return PTQ_OK;
}

static bool reusable(const ptq_node *n, const ptq_written *old)
{
    bool biased = n->nin > 2 && n->in[2] && n->in[2]->constant;
    /* A bias may need wider scales than the first reader's: those are written again. */
    return old->real && old->axis == channel_axis(n) && !biased;
}

ptq_status ptq_rewrite_weight(ptq_rewriter *r, ptq_node *n, float sx)
{
    ptq_value *v = n->in[1], *real;
    ptq_written *old = &r->written[v->id];
    if (reusable(n, old)) {
        ptq_node_set_input(r->g, n, 1, old->real);
        return PTQ_OK;
    }
    const ptq_tensor *t = v->constant;
    int axis = channel_axis(n);
    ptq_weight w = {.name = v->name, .data = t->data, .rank = t->rank, .dims = t->dims,
                    .axis = r->opt->per_channel ? axis : -1};
    ptq_weight_options wo = {.dtype = r->opt->weight_dtype, .reduced = r->opt->reduce_range};
    ptq_weight_codes q = {0};
    ptq_weight_note note = {.node = n->name, .weight = v->name};
    ptq_status s = quantize_both(r, n, &w, &wo, sx, &q, &note);
    if (s == PTQ_OK)
        s = q.table ? emit_table(r, n, &w, &q, &real) : emit_codes(r->g, v->name, &w, &q, n, &real);
    note.mse = note.mse_linear = q.mse;
    note.dead_channels = (int)q.dead;
    ptq_weight_codes_clear(&q);
    if (s == PTQ_OK && r->report && r->algo->steps > 0)
        s = linear_mse(&w, &wo, &note.mse_linear);
    ptq_graph_rest(r->g, t);
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "node %s", n->name);
    ptq_node_set_input(r->g, n, 1, real);
    if (!old->real)
        *old = (ptq_written){.real = real, .axis = axis};
    if (r->report && !PTQ_VEC_PUSH(r->report->arena, &r->report->weights, note))
        return ptq_fail_nomem();
    return PTQ_OK;
}

ptq_status ptq_rewrite_operand(ptq_rewriter *r, ptq_node *n, int slot)
{
    ptq_value *v = n->in[slot], *real;
    ptq_graph *g = r->g;
    ptq_written *old = &r->written[v->id];
    if (old->real && old->axis == -1) {
        ptq_node_set_input(g, n, slot, old->real);
        return PTQ_OK;
    }
    /* The type of the other operands: QLinear operators take one type for all. */
    ptq_dtype dtype = r->p->target->act;
    bool symmetric = r->p->target->act_symmetric;
    for (int i = 0; i < n->nin; i++) {
        int t = n->in[i] ? r->p->tensor_of[n->in[i]->id] : -1;
        if (t >= 0)
            dtype = r->params[r->p->tensors[t].root].dtype;
    }
    if (dtype == PTQ_DT_U8)
        symmetric = false;
    const ptq_tensor *t = v->constant;
    ptq_weight w = {.name = v->name, .data = t->data, .rank = t->rank, .dims = t->dims, .axis = -1};
    const ptq_weight_algo *algo;
    ptq_weight_options wo = {.dtype = dtype};
    ptq_weight_codes q = {0};
    PTQ_TRY(ptq_weight_find(symmetric ? "symmetric" : "asymmetric", &algo));
    PTQ_TRY(ptq_weight_quantize(algo, &w, &wo, &q));
    ptq_status s = emit_codes(g, v->name, &w, &q, n, &real);
    ptq_weight_codes_clear(&q);
    PTQ_TRY(s);
    ptq_node_set_input(g, n, slot, real);
    *old = (ptq_written){.real = real, .axis = -1};
    return PTQ_OK;
}
