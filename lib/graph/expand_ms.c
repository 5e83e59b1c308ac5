/* SPDX-License-Identifier: Apache-2.0 */
/* Attention and MultiHeadAttention of com.microsoft, in the forms that exporters and ONNX Runtime's
 * optimizer of transformers write. */
#include "lib/graph/expand.h"

static ptq_value *split_heads(ptq_expand *x, ptq_value *v, int64_t heads)
{
    v = PTQ_X(x, "Reshape", v, PTQ_X_LIST(x, 0, 0, heads, -1));
    return ptq_x_transpose(x, v, 4, (int64_t[]){0, 2, 1, 3});
}

static ptq_value *join_heads(ptq_expand *x, ptq_value *v)
{
    return PTQ_X(x, "Reshape", ptq_x_transpose(x, v, 4, (int64_t[]){0, 2, 1, 3}), PTQ_X_LIST(x, 0, 0, -1));
}

/* A mask of integers, 1 where a key takes part: [batch, keys], [batch, queries, keys] or with heads. */
static ptq_value *mask_bias(ptq_expand *x, ptq_value *mask, ptq_dtype t, double masked)
{
    int rank = ptq_x_rank(x, mask, "the mask");
    if (x->status == PTQ_OK && (rank < 2 || rank > 4))
        ptq_x_fail(x, "a mask of rank %d is not supported; give the mask of every key", rank);
    ptq_value *off = PTQ_X(x, "Sub", ptq_x_scalar(x, t, 1.0), ptq_x_cast(x, mask, t));
    ptq_value *bias = PTQ_X(x, "Mul", off, ptq_x_scalar(x, t, masked));
    if (rank == 2)
        bias = ptq_x_unsqueeze(x, bias, 1);
    return rank <= 3 ? ptq_x_unsqueeze(x, bias, 1) : bias;
}

static void add_bias(ptq_expand *x, ptq_x_attention *a, ptq_value *bias)
{
    if (bias)
        a->bias = a->bias ? PTQ_X(x, "Add", a->bias, bias) : bias;
}

static ptq_x_attention begin(ptq_expand *x)
{
    const ptq_node *n = x->n;
    int64_t heads = ptq_attr_int(n, "num_heads", 0);
    return (ptq_x_attention){.q_heads = heads, .kv_heads = heads, .size = -1, .v_size = -1, .scale_once = true,
                             .scale = ptq_attr_float(n, "scale", 0), .causal = ptq_attr_int(n, "unidirectional", 0) != 0,
                             .masked = ptq_attr_float(n, "mask_filter_value", -10000.0f)};
}

/* ---- Attention ---- */

/* One product gives q, k and v side by side. */
static void split_product(ptq_expand *x, ptq_x_attention *a, ptq_value *all)
{
    const ptq_node *n = x->n;
    size_t count;
    const int64_t *sizes = ptq_attr_ints(n, "qkv_hidden_sizes", &count);
    ptq_value *bias = ptq_x_in(x, 2);
    int64_t width = ptq_x_dim(n->in[1], 1), own[3] = {width / 3, width / 3, width / 3};
    if (sizes && count == 3)
        for (int i = 0; i < 3; i++)
            own[i] = sizes[i];
    if (width < 1 || own[0] < 1 || own[1] < 1 || own[2] < 1 || own[0] > width || own[1] > width || own[2] > width ||
        own[0] + own[1] + own[2] != width || a->q_heads < 1) {
        ptq_x_fail(x, "num_heads, and weights of three known parts, are needed");
        return;
    }
    if (bias)
        all = PTQ_X(x, "Add", all, bias);
    ptq_value *parts = ptq_x_int(x, PTQ_X(x, "Split", all, PTQ_X_LIST(x, own[0], own[1], own[2])), "axis", -1);
    ptq_value *k = ptq_x_more(x, parts), *v = ptq_x_more(x, parts);
    a->q = split_heads(x, parts, a->q_heads);
    a->k = split_heads(x, k, a->q_heads);
    a->v = split_heads(x, v, a->q_heads);
    a->size = own[0] / a->q_heads;
    a->v_size = own[2] / a->q_heads;
}

/* [2, batch, heads, length, size]: keys, values. */
static void stacked_past(ptq_expand *x, ptq_x_attention *a, ptq_value *past)
{
    ptq_value *k = PTQ_X(x, "Gather", past, ptq_x_scalar(x, PTQ_DT_S64, 0.0));
    ptq_value *v = PTQ_X(x, "Gather", past, ptq_x_scalar(x, PTQ_DT_S64, 1.0));
    a->past_length = PTQ_X(x, "Squeeze", ptq_x_size(x, past, 3));
    a->k = ptq_x_int(x, PTQ_X(x, "Concat", k, a->k), "axis", 2);
    a->v = ptq_x_int(x, PTQ_X(x, "Concat", v, a->v), "axis", 2);
}

/* What follows the product; all of it in type t. */
static void attend(ptq_expand *x, ptq_value *all, ptq_value *mask, ptq_value *past, ptq_value *bias, ptq_dtype t)
{
    const ptq_node *n = x->n;
    ptq_value *present = NULL;
    ptq_x_attention a = begin(x);
    a.type = t;
    if (ptq_attr_int(n, "do_rotary", 0) || ptq_attr_int(n, "past_present_share_buffer", 0))
        ptq_x_fail(x, "do_rotary and past_present_share_buffer are not supported");
    split_product(x, &a, all);
    if (past)
        stacked_past(x, &a, past);
    if (mask)
        add_bias(x, &a, mask_bias(x, mask, t, (double)a.masked));
    add_bias(x, &a, bias);
    ptq_x_attend(x, &a);
    if (ptq_x_wants(x, 1))
        present = ptq_x_int(x, PTQ_X(x, "Concat", ptq_x_unsqueeze(x, a.k, 0), ptq_x_unsqueeze(x, a.v, 0)), "axis", 0);
    ptq_x_out(x, 1, present);
    ptq_x_out(x, 0, join_heads(x, a.y));
}

void ptq_expand_attention_ms(ptq_expand *x)
{
    ptq_value *const *in = x->n->in;
    attend(x, PTQ_X(x, "MatMul", in[0], in[1]), ptq_x_in(x, 3), ptq_x_in(x, 4), ptq_x_in(x, 5), in[0]->dtype);
}

/* Codes of input and weights; scales 3 and 4, zero points 6 and 7. */
void ptq_expand_qattention(ptq_expand *x)
{
    ptq_value *const *in = x->n->in;
    ptq_dtype t = in[3] ? in[3]->dtype : PTQ_DT_F32;
    ptq_value *sum = PTQ_X(x, "MatMulInteger", in[0], in[1], ptq_x_in(x, 6), ptq_x_in(x, 7));
    ptq_value *all = PTQ_X(x, "Mul", ptq_x_cast(x, sum, t), PTQ_X(x, "Mul", in[3], in[4]));
    attend(x, all, ptq_x_in(x, 5), ptq_x_in(x, 8), NULL, t);
}

/* ---- MultiHeadAttention: query, key, value, bias, key_padding_mask, attention_bias, past key and value ---- */

static ptq_value *biased_part(ptq_expand *x, ptq_value *v, ptq_value *bias, int64_t from, int64_t n)
{
    return bias ? PTQ_X(x, "Add", v, ptq_x_slice(x, bias, 0, from, from + n, 1)) : v;
}

/* Key and value are [batch, length, hidden], or, from another attention, split already. */
static void read_parts(ptq_expand *x, ptq_x_attention *a)
{
    ptq_value *q = x->n->in[0], *k = ptq_x_in(x, 1), *v = ptq_x_in(x, 2), *bias = ptq_x_in(x, 3);
    if (!k || !v || ptq_x_rank(x, q, "the query") != 3 || ptq_x_rank(x, k, "the key") != ptq_x_rank(x, v, "the value") ||
        a->q_heads < 1) {
        ptq_x_fail(x, "a query of rank 3, key and value of one rank, and num_heads are needed");
        return;
    }
    int64_t hidden = ptq_x_dim(q, 2), hidden_v = ptq_x_dim(v, v->shape.rank - 1);
    bool split = k->shape.rank == 4;
    if (hidden < 1 || hidden_v < 1 || (k->shape.rank != 3 && !split)) {
        ptq_x_fail(x, "the sizes of query, key and value are not known");
        return;
    }
    a->size = hidden / a->q_heads;
    a->v_size = split ? hidden_v : hidden_v / a->q_heads;
    a->q = split_heads(x, biased_part(x, q, bias, 0, hidden), a->q_heads);
    a->k = split ? k : split_heads(x, biased_part(x, k, bias, hidden, hidden), a->q_heads);
    a->v = split ? v : split_heads(x, biased_part(x, v, bias, 2 * hidden, hidden_v), a->q_heads);
}

void ptq_expand_multi_head(ptq_expand *x)
{
    ptq_dtype t = x->n->in[0]->dtype;
    ptq_value *mask = ptq_x_in(x, 4), *pk = ptq_x_in(x, 6), *pv = ptq_x_in(x, 7);
    ptq_x_attention a = begin(x);
    read_parts(x, &a);
    if (pk && pv) {
        a.k = ptq_x_int(x, PTQ_X(x, "Concat", pk, a.k), "axis", 2);
        a.v = ptq_x_int(x, PTQ_X(x, "Concat", pv, a.v), "axis", 2);
        a.past_length = PTQ_X(x, "Squeeze", ptq_x_size(x, pk, 2));
    }
    if (mask)
        add_bias(x, &a, mask_bias(x, mask, t, (double)a.masked));
    add_bias(x, &a, ptq_x_in(x, 5));
    ptq_x_attend(x, &a);
    ptq_x_out(x, 1, a.k);
    ptq_x_out(x, 2, a.v);
    ptq_x_out(x, 0, join_heads(x, a.y));
}
