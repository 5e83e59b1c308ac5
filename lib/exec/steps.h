/* SPDX-License-Identifier: Apache-2.0 */
/* What both backends run: steps. A float step is one graph node run as it stands (possibly with
 * an activation fused behind it); an integer step is a Q/DQ unit or a QLinear node lowered to
 * the integer law of lib/core/qmath.h. Adding a kind is one row in steps.def, one parameter
 * struct here, and a kernel row per backend. */
#ifndef PTQ_EXEC_STEPS_H
#define PTQ_EXEC_STEPS_H

#include "lib/graph/ops.h"

/* Physical order of a rank-4 tensor. Logical dims are always NCHW; NHWC only changes where the
 * bytes lie. Weights and everything of other rank are PLAIN. */
typedef enum ptq_layout { PTQ_LAYOUT_PLAIN, PTQ_LAYOUT_NHWC } ptq_layout;

/* Affine parameters of an 8-bit (or 16/32-bit) tensor: real = scale * (q - zp). */
typedef struct ptq_affine {
    float scale;
    int32_t zp;
} ptq_affine;

typedef struct ptq_pvalue { /* a value of the program */
    const char *name;         /* of the graph value that it carries */
    const ptq_value *value;   /* may be NULL for values made by lowering */
    ptq_dtype dtype;
    ptq_layout layout;
    const ptq_tensor *constant; /* NULL for computed values */
    bool quantized;           /* dtype is integer and q has its parameters */
    ptq_affine q;
    bool is_input, is_output;
    int first, last;          /* steps that make it (-1: input/constant) and read it last */
} ptq_pvalue;

/* Fused behind a float step or folded into an integer step's output range. */
typedef struct ptq_act {
    bool on;
    float lo, hi; /* clamp; Relu is (0, +inf) */
} ptq_act;

typedef struct ptq_step_def ptq_step_def;

typedef struct ptq_step {
    const ptq_step_def *def;
    const ptq_node *node;  /* anchor: its attributes and shape function hold for the step */
    const char *name;      /* anchor node's name, or name + suffix; unique in the program */
    int nin, nout;
    int *in, *out;         /* program value indices; -1: omitted. For integer steps the leading
                              inputs are in the slots of the anchor (x, w, bias, ...). */
    const void *params;    /* struct of the kind, below; lives in the program's arena */
    double macs;           /* multiply-accumulates when shapes are known, for reports; else 0 */
    bool half;             /* a product of floats whose operands are rounded to float16 (halves.h) */
    uint32_t over;         /* bit i: the kernel may write output 0 where input i lies, if that ends here, has its
                              type and shape and is no other input, too (ptq_backend_ops, bind.c) */
} ptq_step;

struct ptq_step_def {
    const char *name; /* "float", "qconv", ... */
    const char *summary;
    bool integer;
    bool nhwc; /* kernels of this kind take and give NHWC for rank-4 activations */
    /* Output types from input types; NULL: the anchor's shape function on the inputs (with the
     * output dtype of the program value). */
    ptq_status (*infer)(const ptq_step *s, ptq_infer *in);
};
const ptq_step_def *ptq_step_def_find(const char *name);

/* ---- parameters ---- */

typedef struct ptq_float_params { /* float */
    ptq_act act;
} ptq_float_params;

/* A sum folded into the end of a product: input 2, 8-bit, of the output's shape and layout. */
typedef struct ptq_residual_params {
    int kind;                /* PTQ_RESIDUAL_* of lib/core/qmath.h */
    bool skip_first;         /* input 2 is the first operand of the sum */
    ptq_affine skip;         /* of input 2 */
    ptq_affine product, sum; /* ROUNDED: the product as the sum reads it, the step's output */
    int32_t qlo, qhi;        /* ROUNDED: range of the sum */
} ptq_residual_params;

/* Float operations in the end of a product with float results, in this order, each rounded as its node
 * would round it: v = float(acc) * (x.scale * wscale[c]); v + bias[c]; v * factor; the GELU; v + input 2;
 * the output is v, or ptq_quantize(v) on the grid y, qlo, qhi of the product. float_out tells which; mult
 * is to float in both cases. */
typedef struct ptq_tail_params {
    bool on;
    const float *bias;  /* [channels] or NULL */
    bool scaled;
    float factor;
    int gelu;           /* PTQ_GELU_* of lib/core/fmath.h */
    bool residual;      /* input 2: float32, of the output's shape */
} ptq_tail_params;

/* A product made of several that read the same rows (lower_join.c) has the columns of each side by side. The
 * float operations behind those up to `end` have this factor (1: none) and give codes on this grid. */
typedef struct ptq_product_part {
    int64_t end;
    ptq_affine y;
    int32_t qlo, qhi;
    float factor;
} ptq_product_part;
enum { PTQ_PRODUCT_PARTS = 3, PTQ_PART_COLUMNS = 16 }; /* at most; their columns are multiples of this */

/* y = clamp(rint(float(acc) * mult[c]) ) + y.zp with acc = sum (x - x.zp)(w - wzp[c]) + bias[c];
 * padding counts as x.zp. act is already folded into [qlo, qhi]. */
typedef struct ptq_qlinear_params { /* qconv, qgemm (constant weight) and qmatmul (both computed) */
    ptq_affine x, y;
    int nw;               /* 1 or output channels */
    const float *wscale;  /* [nw] */
    const int32_t *wzp;   /* [nw], NULL when all are 0 */
    const float *mult;    /* [nw] ptq_requant_multiplier(x.scale, wscale[c], y.scale) */
    const int32_t *bias;  /* [channels] int32 at scale x.scale * wscale[c], or NULL */
    int64_t channels;     /* output channels (conv, gemm); 0 for qmatmul */
    int32_t qlo, qhi;
    bool float_out;       /* no Q behind: y = float(acc) * (x.scale * wscale[c]), out is float32 */
    bool trans_a, trans_b; /* Gemm */
    ptq_residual_params residual; /* y, mult, qlo, qhi: of the product (ROUNDED), of the output (FLOAT) */
    ptq_tail_params tail;  /* qgemm alone; then there is no `residual` */
    int nparts;            /* with a tail that ends in codes; 0: y, qlo, qhi and the tail's factor hold for all */
    ptq_product_part part[PTQ_PRODUCT_PARTS];
    const ptq_node *pool; /* conv: a MaxPool that takes the codes (lower_pool.c), or NULL; the output is the pool's */
    ptq_window window;    /* conv: attributes; auto_pad is resolved at run time from the shape */
} ptq_qlinear_params;

/* What holds for channel c behind a product with a tail. */
static inline ptq_product_part ptq_part_of_channel(const ptq_qlinear_params *p, int64_t c)
{
    for (int i = 0; i < p->nparts; i++)
        if (c < p->part[i].end)
            return p->part[i];
    return (ptq_product_part){INT64_MAX, p->y, p->qlo, p->qhi, p->tail.scaled ? p->tail.factor : 1.0f};
}

/* Elementwise on two 8-bit tensors with broadcasting (one type for all three): law of the kind. */
typedef struct ptq_qbinary_params { /* qadd, qmul */
    ptq_affine a, b, y;
    int32_t qlo, qhi;
} ptq_qbinary_params;

typedef struct ptq_qpool_params { /* qavgpool: float sum in the window's order; qglobalavgpool:
                                    * exact int32 sum (doc/numerics.md) */
    ptq_affine x, y;
    int32_t qlo, qhi;
} ptq_qpool_params;

typedef struct ptq_qlut_params { /* qlut: any unary function of an 8-bit tensor */
    uint8_t table[256]; /* indexed by the input byte (two's complement for int8) */
} ptq_qlut_params;

typedef struct ptq_qconcat_params { /* qconcat: one table per input; NULL where it is the identity */
    const uint8_t *const *tables;
} ptq_qconcat_params;

typedef struct ptq_quant_params { /* quantize, dequantize: per tensor or along axis */
    int axis, n;         /* n 1: per tensor */
    const float *scale;
    const int32_t *zp;
    int32_t qlo, qhi;
} ptq_quant_params;

/* Nodes that only move elements (Reshape, Transpose, ...), the first of which reads the tensor; or, where
 * `columns` is not 0, so many columns of its last axis from `from` on (a part of a product). */
typedef struct ptq_movers {
    const ptq_node *const *node;
    int n;
    int64_t from, columns;
} ptq_movers;

/* Attention on codes: input 0 (queries), 1 (keys), 2 (values), 3 (mask, float32, optional), each taken
 * through its movers, which make [..., m, d], [..., d, n] and [..., n, dv] of them.
 *   s = float(sum (q - q.zp)(k - k.zp)) * qk_mult; s * factor or s / factor; s + mask (broadcast)
 *   c = ptq_quantize(softmax over n of s) on the grid p
 *   acc = sum (c - p.zp)(v - v.zp)
 *   output: ptq_requantize(acc, pv_mult) with requant (the Q stands directly behind the product), else
 *   float(acc) * pv_mult, and with !float_out ptq_quantize of that; taken through the movers y_to. */
enum { PTQ_SCORES_AS_THEY_ARE, PTQ_SCORES_TIMES, PTQ_SCORES_OVER };
typedef struct ptq_qattention_params {
    ptq_affine q, k, v, p, y;
    float qk_mult, factor, pv_mult;
    int scores;            /* PTQ_SCORES_* */
    int32_t plo, phi, qlo, qhi;
    ptq_dtype ptype;       /* of the probabilities: PTQ_DT_S8 or PTQ_DT_U8 */
    bool requant, float_out;
    ptq_movers q_from, k_from, v_from, y_to;
} ptq_qattention_params;

/* LayerNormalization over the last axes with output 0 on a grid, and output 1 in float (or omitted).
 * Inputs: x, scale, bias (optional), float32; axis and epsilon are the anchor's. */
typedef struct ptq_qnorm_params {
    ptq_affine y;
    int32_t qlo, qhi;
} ptq_qnorm_params;

/* qmove: a data mover run on 8-bit elements, parameters unchanged: no params.
 * relayout: PLAIN <-> NHWC of one value: no params (the values' layouts say it). */

#endif
