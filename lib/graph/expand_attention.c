/* SPDX-License-Identifier: Apache-2.0 */
/* Attention and RotaryEmbedding of ai.onnx 23, as their functions have them since onnx 1.19, which mended
 * the first edition: heads of a rank-3 input are transposed, not only reshaped; heads of K and V repeat one
 * by one (h0 h0 h1 h1); a causal mask begins behind the past. */
#include <math.h>
#include <string.h>

#include "lib/graph/expand.h"

/* ---- the core ---- */

/* [batch, kv heads, length, size] with every head `times` times in a row. */
static ptq_value *repeat_heads(ptq_expand *x, ptq_value *v, int64_t times, int64_t heads, int64_t size)
{
    if (times == 1)
        return v;
    if (size < 0)
        ptq_x_fail(x, "the size of a head is not known");
    v = PTQ_X(x, "Expand", ptq_x_unsqueeze(x, v, 2), PTQ_X_LIST(x, 1, 1, times, 1, 1));
    return PTQ_X(x, "Reshape", v, PTQ_X_LIST(x, 0, heads, -1, size));
}

/* The scale of q, as a float scalar of its type. */
static ptq_value *scale_of(ptq_expand *x, const ptq_x_attention *a, ptq_dtype t)
{
    double s = a->scale != 0.0f ? (double)a->scale : 1.0 / sqrt((double)a->size);
    if (a->scale != 0.0f || a->size > 0)
        return ptq_x_scalar(x, t, a->scale_once ? s : sqrt(s));
    ptq_value *size = ptq_x_cast(x, ptq_x_size(x, a->q, 3), t), *one = ptq_x_scalar(x, t, 1.0);
    ptq_value *inverse = PTQ_X(x, "Div", one, PTQ_X(x, "Sqrt", size));
    return a->scale_once ? inverse : PTQ_X(x, "Sqrt", inverse);
}

/* [lengths of q, of k]: 0 where position j may be seen from i, that is j <= i + past. */
static ptq_value *causal_bias(ptq_expand *x, const ptq_x_attention *a, ptq_dtype t)
{
    ptq_value *shape = ptq_x_int(x, PTQ_X(x, "Concat", ptq_x_size(x, a->q, 2), ptq_x_size(x, a->k, 2)), "axis", 0);
    ptq_value *ones = PTQ_X(x, "Expand", ptq_x_scalar(x, PTQ_DT_S64, 1.0), shape);
    ptq_value *past = a->past_length ? a->past_length : ptq_x_scalar(x, PTQ_DT_S64, 0.0);
    ptq_value *seen = ptq_x_cast(x, ptq_x_int(x, PTQ_X(x, "Trilu", ones, past), "upper", 0), PTQ_DT_BOOL);
    return PTQ_X(x, "Where", seen, ptq_x_scalar(x, t, 0.0), ptq_x_scalar(x, t, (double)a->masked));
}

static ptq_value *scores_of(ptq_expand *x, const ptq_x_attention *a, ptq_value *k, ptq_dtype t)
{
    ptq_value *s = scale_of(x, a, t), *kt = ptq_x_transpose(x, k, 4, (int64_t[]){0, 1, 3, 2});
    if (a->scale_once)
        return PTQ_X(x, "Mul", PTQ_X(x, "MatMul", a->q, kt), s);
    return PTQ_X(x, "MatMul", PTQ_X(x, "Mul", a->q, s), PTQ_X(x, "Mul", kt, s));
}

void ptq_x_attend(ptq_expand *x, ptq_x_attention *a)
{
    ptq_dtype t = a->type ? a->type : x->n->in[0] ? x->n->in[0]->dtype : PTQ_DT_UNDEFINED;
    if (a->kv_heads < 1 || a->q_heads < 1 || a->q_heads % a->kv_heads != 0)
        ptq_x_fail(x, "%lld heads of the query cannot share %lld of key and value", (long long)a->q_heads,
                   (long long)a->kv_heads);
    if (x->status != PTQ_OK)
        return;
    int64_t times = a->q_heads / a->kv_heads;
    ptq_value *k = repeat_heads(x, a->k, times, a->q_heads, a->size);
    ptq_value *v = repeat_heads(x, a->v, times, a->q_heads, a->v_size);
    a->scores = scores_of(x, a, k, t);
    a->biased = a->scores;
    if (a->causal) {
        ptq_value *c = causal_bias(x, a, t);
        a->bias = a->bias ? PTQ_X(x, "Add", a->bias, c) : c;
    }
    if (a->bias)
        a->biased = PTQ_X(x, "Add", a->scores, a->bias);
    a->capped = a->biased;
    if (a->softcap != 0.0f) {
        ptq_value *cap = ptq_x_scalar(x, t, (double)a->softcap);
        a->capped = PTQ_X(x, "Mul", PTQ_X(x, "Tanh", PTQ_X(x, "Div", a->biased, cap)), cap);
    }
    bool cast = a->precision != PTQ_DT_UNDEFINED && a->precision != t;
    ptq_value *in = cast ? ptq_x_cast(x, a->capped, a->precision) : a->capped;
    a->weights = ptq_x_int(x, PTQ_X(x, "Softmax", in), "axis", -1);
    if (cast)
        a->weights = ptq_x_cast(x, a->weights, t);
    a->y = PTQ_X(x, "MatMul", a->weights, v);
}

/* ---- Attention ---- */

/* [batch, length, heads * size] to [batch, heads, length, size]. */
static ptq_value *split_heads(ptq_expand *x, ptq_value *v, int64_t heads)
{
    v = PTQ_X(x, "Reshape", v, PTQ_X_LIST(x, 0, 0, heads, -1));
    return ptq_x_transpose(x, v, 4, (int64_t[]){0, 2, 1, 3});
}

static int64_t head_size(const ptq_value *v, int64_t heads)
{
    int64_t n = ptq_x_dim(v, v->shape.rank - 1);
    return v->shape.rank == 4 ? n : n > 0 && heads > 0 ? n / heads : -1;
}

static void read_qkv(ptq_expand *x, ptq_x_attention *a)
{
    const ptq_node *n = x->n;
    int rank = ptq_x_rank(x, a->q, "Q");
    if (x->status == PTQ_OK && ((rank != 3 && rank != 4) || ptq_x_rank(x, a->k, "K") != rank || ptq_x_rank(x, a->v, "V") != rank))
        ptq_x_fail(x, "Q, K and V must all have rank 3 or rank 4");
    if (x->status != PTQ_OK)
        return;
    a->q_heads = rank == 4 ? ptq_x_dim(a->q, 1) : ptq_attr_int(n, "q_num_heads", 0);
    a->kv_heads = rank == 4 ? ptq_x_dim(a->k, 1) : ptq_attr_int(n, "kv_num_heads", 0);
    if (a->q_heads < 1 || a->kv_heads < 1) {
        ptq_x_fail(x, "the numbers of heads are not known; rank-3 inputs need q_num_heads and kv_num_heads");
        return;
    }
    a->size = head_size(a->q, a->q_heads);
    a->v_size = head_size(a->v, a->kv_heads);
    if (rank == 3) {
        a->q = split_heads(x, a->q, a->q_heads);
        a->k = split_heads(x, a->k, a->kv_heads);
        a->v = split_heads(x, a->v, a->kv_heads);
    }
}

static void read_past(ptq_expand *x, ptq_x_attention *a)
{
    ptq_value *pk = ptq_x_in(x, 4), *pv = ptq_x_in(x, 5);
    if (!pk != !pv)
        ptq_x_fail(x, "past_key and past_value are given together or not at all");
    if (!pk || !pv || x->status != PTQ_OK)
        return;
    a->k = ptq_x_int(x, PTQ_X(x, "Concat", pk, a->k), "axis", 2);
    a->v = ptq_x_int(x, PTQ_X(x, "Concat", pv, a->v), "axis", 2);
    a->past_length = PTQ_X(x, "Squeeze", ptq_x_size(x, pk, 2));
}

void ptq_expand_attention(ptq_expand *x)
{
    const ptq_node *n = x->n;
    ptq_dtype t = n->in[0]->dtype;
    ptq_value *mask = ptq_x_in(x, 3);
    bool flat = n->in[0]->shape.rank == 3;
    ptq_x_attention a = {.q = n->in[0], .k = n->in[1], .v = n->in[2], .scale = ptq_attr_float(n, "scale", 0),
                         .causal = ptq_attr_int(n, "is_causal", 0) != 0, .masked = -INFINITY,
                         .softcap = ptq_attr_float(n, "softcap", 0),
                         .precision = (ptq_dtype)ptq_attr_int(n, "softmax_precision", 0)};
    int64_t mode = ptq_attr_int(n, "qk_matmul_output_mode", 0);
    read_qkv(x, &a);
    read_past(x, &a);
    if (mask && mask->dtype == PTQ_DT_BOOL)
        a.bias = PTQ_X(x, "Where", mask, ptq_x_scalar(x, t, 0.0), ptq_x_scalar(x, t, -INFINITY));
    else
        a.bias = mask;
    ptq_x_attend(x, &a);
    ptq_value *y = a.y;
    if (flat)
        y = PTQ_X(x, "Reshape", ptq_x_transpose(x, y, 4, (int64_t[]){0, 2, 1, 3}), PTQ_X_LIST(x, 0, 0, -1));
    ptq_x_out(x, 3, mode == 1 ? a.biased : mode == 2 ? a.capped : mode == 3 ? a.weights : a.scores);
    ptq_x_out(x, 1, a.k);
    ptq_x_out(x, 2, a.v);
    ptq_x_out(x, 0, y);
}

/* ---- RotaryEmbedding ---- */

/* cos and sin: broadcast to the halves of v, whose last axis is the one that turns. */
static ptq_value *turn(ptq_expand *x, ptq_value *v, ptq_value *cos_v, ptq_value *sin_v, bool interleaved, int64_t size)
{
    ptq_value *a, *b;
    if (interleaved) {
        a = ptq_x_slice(x, v, -1, 0, INT64_MAX, 2);
        b = ptq_x_slice(x, v, -1, 1, INT64_MAX, 2);
    } else {
        a = ptq_x_slice(x, v, -1, 0, size / 2, 1);
        b = ptq_x_slice(x, v, -1, size / 2, size, 1);
    }
    ptq_value *re = PTQ_X(x, "Sub", PTQ_X(x, "Mul", cos_v, a), PTQ_X(x, "Mul", sin_v, b));
    ptq_value *im = PTQ_X(x, "Add", PTQ_X(x, "Mul", sin_v, a), PTQ_X(x, "Mul", cos_v, b));
    if (!interleaved)
        return ptq_x_int(x, PTQ_X(x, "Concat", re, im), "axis", -1);
    ptq_value *pairs = ptq_x_int(x, PTQ_X(x, "Concat", ptq_x_unsqueeze(x, re, -1), ptq_x_unsqueeze(x, im, -1)), "axis", -1);
    return PTQ_X(x, "Reshape", pairs, PTQ_X_LIST(x, 0, 0, 0, -1));
}

typedef struct rotary {
    ptq_value *v, *cos_v, *sin_v, *positions; /* positions [batch, length], or NULL: cos and sin are those */
    int64_t heads, size, turned;              /* of a rank-3 input; of a head; how many of them turn (0: all) */
    bool interleaved;
} rotary;

static void rotate(ptq_expand *x, rotary *r)
{
    int rank = ptq_x_rank(x, r->v, "its input");
    int64_t last = ptq_x_dim(r->v, rank - 1);
    if (x->status == PTQ_OK && (rank < 3 || rank > 4 || (rank == 3 && r->heads < 1) || last < 1))
        ptq_x_fail(x, "an input of rank 4, or of rank 3 with num_heads, and a known last axis are needed");
    if (x->status != PTQ_OK)
        return;
    r->size = rank == 4 ? last : last / r->heads;
    int64_t turned = r->turned > 0 ? r->turned : r->size;
    if (turned > r->size || turned % 2 != 0)
        ptq_x_fail(x, "%lld of %lld elements of a head turn", (long long)turned, (long long)r->size);
    ptq_value *v = r->v, *y, *c = r->cos_v, *s = r->sin_v;
    if (rank == 3)
        v = PTQ_X(x, "Reshape", v, PTQ_X_LIST(x, 0, 0, r->heads, -1));
    if (r->positions) {
        c = PTQ_X(x, "Gather", c, r->positions);
        s = PTQ_X(x, "Gather", s, r->positions);
    }
    if (ptq_x_dim(r->cos_v, r->cos_v->shape.rank - 1) != turned / 2) {
        c = ptq_x_slice(x, c, -1, 0, turned / 2, 1);
        s = ptq_x_slice(x, s, -1, 0, turned / 2, 1);
    }
    c = ptq_x_unsqueeze(x, c, rank == 3 ? 2 : 1); /* all heads turn alike */
    s = ptq_x_unsqueeze(x, s, rank == 3 ? 2 : 1);
    y = turn(x, turned < r->size ? ptq_x_slice(x, v, -1, 0, turned, 1) : v, c, s, r->interleaved, turned);
    if (turned < r->size)
        y = ptq_x_int(x, PTQ_X(x, "Concat", y, ptq_x_slice(x, v, -1, turned, r->size, 1)), "axis", -1);
    if (rank == 3)
        y = PTQ_X(x, "Reshape", y, PTQ_X_LIST(x, 0, 0, -1));
    ptq_x_out(x, 0, y);
}

void ptq_expand_rotary(ptq_expand *x)
{
    const ptq_node *n = x->n;
    rotary r = {.v = n->in[0], .cos_v = n->in[1], .sin_v = n->in[2], .positions = ptq_x_in(x, 3),
                .heads = ptq_attr_int(n, "num_heads", 0), .turned = ptq_attr_int(n, "rotary_embedding_dim", 0),
                .interleaved = ptq_attr_int(n, "interleaved", 0) != 0};
    rotate(x, &r);
}

/* Positions come second; a single one is where the first token stands. */
void ptq_expand_rotary_ms(ptq_expand *x)
{
    const ptq_node *n = x->n;
    rotary r = {.v = n->in[0], .cos_v = n->in[2], .sin_v = n->in[3], .positions = n->in[1],
                .heads = ptq_attr_int(n, "num_heads", 0), .turned = ptq_attr_int(n, "rotary_embedding_dim", 0),
                .interleaved = ptq_attr_int(n, "interleaved", 0) != 0};
    if (ptq_x_rank(x, r.positions, "position_ids") != 2 || ptq_attr_int(n, "is_packed_batching", 0) ||
        (double)ptq_attr_float(n, "scale", 1.0f) != 1.0)
        ptq_x_fail(x, "only positions of rank 2, without packed batching and scale, are supported");
    if (r.heads == 0 && r.v->shape.rank == 3) { /* told by the table */
        int64_t half = ptq_x_dim(r.cos_v, 1), hidden = ptq_x_dim(r.v, 2);
        r.heads = half > 0 && hidden > 0 ? hidden / (2 * half) : 0;
    }
    rotate(x, &r);
}
