/* SPDX-License-Identifier: Apache-2.0 */
/* Inside lowering. A pattern looks at an anchor node and, when it fits, makes a unit: the nodes
 * that become one integer step. Patterns are rows of patterns.def, in the order of preference. */
#ifndef PTQ_EXEC_LOWER_H
#define PTQ_EXEC_LOWER_H

#include "lib/exec/eval.h"
#include "lib/exec/plugin.h"
#include "lib/exec/program.h"

typedef struct ptq_unit_value { /* an input or output of a unit */
    const ptq_value *value;     /* NULL: omitted */
    bool quantized;
    ptq_affine q;
} ptq_unit_value;

typedef struct ptq_unit_alias { /* `value` is the same bytes as output `out` of the unit */
    const ptq_value *value;
    int out;
} ptq_unit_alias;

typedef struct ptq_unit {
    const ptq_step_def *def;
    const ptq_node *anchor; /* the step takes its place in the order */
    const ptq_node *node;   /* gives the step its name and attributes */
    const void *params;
    ptq_unit_value *in, *out;
    int nin, nout;
    PTQ_VEC(const ptq_node *) members; /* without the anchor */
    PTQ_VEC(ptq_unit_alias) aliases;
} ptq_unit;

typedef struct ptq_lower_ctx {
    const ptq_graph *g;
    const ptq_lower_options *opt;
    ptq_program *p;
    ptq_arena *scratch;       /* dies with the lowering */
    ptq_evaluator *eval;
    int *pv;                  /* [values of the graph] program value; -1: none yet */
    ptq_unit **unit;          /* [node ids] unit that the node is part of */
    int *order;               /* [node ids] place in the execution order */
    bool *demanded;           /* [values of the graph] */
    bool *taken;              /* [node ids] in the end of an earlier float step */
    size_t folded;            /* bytes of large constants that were computed */
} ptq_lower_ctx;

/* PTQ_OK with *unit NULL when the pattern does not fit. */
typedef ptq_status (*ptq_pattern_fn)(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit);

/* ---- lower.c ---- */
bool ptq_lower_kept(const ptq_lower_ctx *l, const ptq_value *v); /* graph output or tapped */
void ptq_lower_note(ptq_lower_ctx *l, const ptq_node *n, const char *reason);
/* Constant tensor of v: initializer or Constant node; NULL otherwise. */
const ptq_tensor *ptq_lower_constant(const ptq_value *v);
ptq_status ptq_lower_value(ptq_lower_ctx *l, const ptq_value *v, int *out);
ptq_status ptq_lower_new_value(ptq_program *p, ptq_pvalue v, int *out);

/* ---- lower_float.c ---- */
ptq_status ptq_lower_float_node(ptq_lower_ctx *l, const ptq_node *n);
/* Folds a node whose inputs are all constants of the program; *done false when it cannot be. */
ptq_status ptq_lower_fold(ptq_lower_ctx *l, const ptq_node *n, bool *done);
/* Clamp bounds of Relu or Clip with constant bounds; false for other nodes. */
bool ptq_lower_clamp(const ptq_node *n, ptq_act *act);

/* ---- lower_int.c: units ---- */
ptq_status ptq_lower_match(ptq_lower_ctx *l);
ptq_status ptq_lower_unit(ptq_lower_ctx *l, const ptq_unit *u);
ptq_status ptq_unit_new(ptq_lower_ctx *l, const char *step, const ptq_node *anchor, int nin,
                        int nout, ptq_unit **out);
ptq_status ptq_unit_member(ptq_lower_ctx *l, ptq_unit *u, const ptq_node *n);

/* Per-tensor parameters behind a DequantizeLinear; q is the quantized value. */
typedef struct ptq_dq {
    const ptq_node *node;
    const ptq_value *q;
    ptq_dtype dtype;
    ptq_affine affine;
} ptq_dq;
bool ptq_match_dq(const ptq_lower_ctx *l, const ptq_value *v, ptq_dq *out);
/* Parameters and type of a QuantizeLinear to 8 bits with one scale. */
bool ptq_match_q(const ptq_node *n, ptq_affine *a, ptq_dtype *t);
/* Scale and zero point read from a pair of values; false unless both are constant scalars (zp
 * may be NULL: 0). */
bool ptq_match_affine(const ptq_value *scale, const ptq_value *zp, ptq_affine *out);

/* What stands between an operator's output and the quantized value behind it. */
typedef struct ptq_quants {
    ptq_affine affine;
    ptq_dtype dtype;
    int32_t qlo, qhi;              /* with the absorbed Relu/Clip */
    const ptq_node *nodes[16];     /* absorbed activations and QuantizeLinear nodes */
    int nnodes;
    const ptq_value *out;          /* output of the first QuantizeLinear */
    const ptq_value *same[16];     /* outputs of further, identical ones */
    int nsame;
} ptq_quants;
/* v must have no reader but (Relu/Clip)* QuantizeLinear, all with the same parameters. */
bool ptq_match_quants(const ptq_lower_ctx *l, const ptq_value *v, bool acts, ptq_quants *out);
/* The first QuantizeLinear among the readers of v with those that are identical; `others`: v is needed
 * besides. */
bool ptq_match_some_quants(const ptq_lower_ctx *l, const ptq_value *v, ptq_quants *out, bool *others);
/* Makes output i of the unit the quantized value, its nodes members. */
ptq_status ptq_unit_quants(ptq_lower_ctx *l, ptq_unit *u, int i, const ptq_quants *q);
bool ptq_same_shape(const ptq_value *a, const ptq_value *b); /* proven */
/* ---- lower_int_tail.c ---- */
/* Takes float operations behind the product into the unit of a qgemm with a float result; its anchor is
 * then the last of them. */
ptq_status ptq_tail_absorb(ptq_lower_ctx *l, ptq_unit *u);
/* ---- lower_int_linear.c ---- */
/* The unit of a Conv in front of q, anchored at the Conv; NULL where it does not run in integers. */
ptq_status ptq_linear_conv(ptq_lower_ctx *l, const ptq_node *n, const ptq_quants *q, ptq_unit **unit);

static inline bool ptq_is_8bit(ptq_dtype t)
{
    return t == PTQ_DT_U8 || t == PTQ_DT_S8;
}

/* Steps that make and read the values of the program so far. */
enum { PTQ_LINK_NONE = -1, PTQ_LINK_SEVERAL = -2 };
typedef struct ptq_links {
    int *maker, *reader; /* [values] a step, PTQ_LINK_* */
} ptq_links;
ptq_status ptq_lower_links(ptq_lower_ctx *l, ptq_links *links); /* in scratch memory */
/* Takes steps out of the program. */
void ptq_lower_drop(ptq_program *p, const bool *gone);

/* ---- lower_pool.c ---- */
/* Makes a convolution and the MaxPool behind it one step where the backend asks for it. */
ptq_status ptq_lower_pools(ptq_lower_ctx *l);

/* ---- lower_join.c ---- */
/* Makes one product of those that read the same rows for the same attention. */
ptq_status ptq_lower_join(ptq_lower_ctx *l);

/* ---- lower_layout.c ---- */
/* Chooses NHWC where it helps and inserts relayout steps. */
ptq_status ptq_lower_layouts(ptq_lower_ctx *l);

#define PTQ_PATTERN(op, domain, fn)                                                                \
    ptq_status ptq_pattern_##fn(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit);
#define PTQ_PATTERN_QLINEAR(op, domain, fn) PTQ_PATTERN(op, domain, fn)
#include "lib/exec/patterns.def"
#undef PTQ_PATTERN
#undef PTQ_PATTERN_QLINEAR

#endif
