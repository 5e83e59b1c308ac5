/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that are others put together. For the files expand_*.c: each function makes nodes before the
 * operator's node and names its outputs; an error is kept until the end, so that calls can follow each other. */
#ifndef PTQ_GRAPH_EXPAND_H
#define PTQ_GRAPH_EXPAND_H

#include "lib/graph/ops.h"

typedef struct ptq_expand {
    ptq_graph *g;
    ptq_node *n;       /* becomes others; gone afterwards */
    ptq_status status; /* the first error */
    int first_id;      /* nodes made here have this id or a higher one */
} ptq_expand;

#define PTQ_EXPANSION(op, domain, min_in, max_in, max_out, opset, fn, text) void ptq_expand_##fn(ptq_expand *x);
#include "lib/graph/expansions.def"
#undef PTQ_EXPANSION

/* ---- making nodes; values are NULL after an error ---- */

ptq_value *ptq_x_node(ptq_expand *x, const char *op, int nin, ptq_value *const *in);
#define PTQ_X(x, op, ...)                                                                                              \
    ptq_x_node(x, op, (int)PTQ_COUNT(((ptq_value *[]){__VA_ARGS__})), (ptq_value *[]){__VA_ARGS__})
/* Attributes of the node that makes v; they give v back. */
ptq_value *ptq_x_int(ptq_expand *x, ptq_value *v, const char *name, int64_t i);
ptq_value *ptq_x_float(ptq_expand *x, ptq_value *v, const char *name, float f);
ptq_value *ptq_x_str(ptq_expand *x, ptq_value *v, const char *name, const char *s);
/* The attributes of the operator's node but those whose names begin with `without`. */
ptq_value *ptq_x_attrs(ptq_expand *x, ptq_value *v, const char *without);
/* One more output of the node that makes v. */
ptq_value *ptq_x_more(ptq_expand *x, ptq_value *v);
/* Constants: a list of int64, a number of type t (a float type or int64), as a scalar. */
ptq_value *ptq_x_list(ptq_expand *x, int n, const int64_t *v);
#define PTQ_X_LIST(x, ...) ptq_x_list(x, (int)PTQ_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__})
ptq_value *ptq_x_scalar(ptq_expand *x, ptq_dtype t, double v);
/* What most of them use; older forms of the operators where the graph's opset needs them. */
ptq_value *ptq_x_transpose(ptq_expand *x, ptq_value *v, int rank, const int64_t *perm);
ptq_value *ptq_x_cast(ptq_expand *x, ptq_value *v, ptq_dtype t);
ptq_value *ptq_x_slice(ptq_expand *x, ptq_value *v, int64_t axis, int64_t from, int64_t to, int64_t step);
ptq_value *ptq_x_unsqueeze(ptq_expand *x, ptq_value *v, int64_t axis);
ptq_value *ptq_x_size(ptq_expand *x, ptq_value *v, int64_t axis); /* [1] int64 */
/* Mean over the last axis, which stays as 1. */
ptq_value *ptq_x_mean(ptq_expand *x, ptq_value *v);

/* ---- the operator's node ---- */

ptq_value *ptq_x_in(const ptq_expand *x, int i); /* NULL: omitted */
bool ptq_x_wants(const ptq_expand *x, int i);    /* has output i */
/* v is output i (nothing when the node has none), and gone: to be called when all else is made, with
 * another value each time. */
void ptq_x_out(ptq_expand *x, int i, ptq_value *v);
/* PTQ_ERR_UNSUPPORTED with the node's name before the text. */
void ptq_x_fail(ptq_expand *x, const char *fmt, ...) PTQ_PRINTF(2, 3);
/* Rank of v; an error (and -1) where it is not known. */
int ptq_x_rank(ptq_expand *x, const ptq_value *v, const char *what);
/* Dimension i of v when it is a number, else -1. */
int64_t ptq_x_dim(const ptq_value *v, int i);

/* ---- shared by the attentions ---- */

typedef struct ptq_x_attention {
    ptq_value *q, *k, *v;       /* [batch, heads, length, size]; k and v with the past */
    int64_t q_heads, kv_heads;
    int64_t size, v_size;       /* of a head; -1 where not known */
    float scale;                /* 0: 1 / sqrt(size) */
    bool scale_once;            /* of the product, not its root on both sides */
    bool causal;
    ptq_value *past_length;     /* int64 scalar; NULL: 0 */
    ptq_value *bias;            /* added to the scores; NULL: none */
    float masked;               /* what a causal mask adds */
    ptq_dtype type;             /* of q; undefined: that of the operator's first input */
    float softcap;              /* 0: none */
    ptq_dtype precision;        /* of the softmax; undefined: that of q */
    ptq_value *scores, *biased, *capped, *weights, *y; /* results; y: [batch, heads, length, v_size] */
} ptq_x_attention;
void ptq_x_attend(ptq_expand *x, ptq_x_attention *a);

#endif
