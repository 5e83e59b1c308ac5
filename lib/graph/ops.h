/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of operators: lib/graph/ops.def has a row per operator, each family's file has
 * the shape functions. Everything that knows an operator by name finds it here. */
#ifndef PTQ_GRAPH_OPS_H
#define PTQ_GRAPH_OPS_H

#include "lib/graph/graph.h"

/* Properties that passes and the rewriter ask for. */
enum {
    PTQ_OPF_MOVER = 1 << 0,   /* moves or selects elements of input 0 unchanged: the output may share
                                 its scale and zero point (Reshape, Transpose, MaxPool, ...) */
    PTQ_OPF_UNARY = 1 << 1,   /* elementwise function of input 0 alone: a lookup table in 8 bits */
    PTQ_OPF_BINARY = 1 << 2,  /* elementwise with broadcasting of two inputs */
    PTQ_OPF_WEIGHTED = 1 << 3, /* input 1 may be a weight: Conv, Gemm, MatMul, ConvTranspose */
    PTQ_OPF_SHAPE = 1 << 4,   /* works on shapes, not on data */
    PTQ_OPF_RANDOM = 1 << 5,  /* not a function of its inputs: never folded or shared */
    PTQ_OPF_VIEW = 1 << 6,    /* the output is input 0's bytes under another shape (Reshape, Flatten) */
    PTQ_OPF_CONTROL = 1 << 7  /* runs subgraphs */
};

/* What a shape function sees. Inputs that are omitted have dtype PTQ_DT_UNDEFINED and rank -1. */
typedef struct ptq_type {
    ptq_dtype dtype;
    ptq_shape shape;
} ptq_type;

/* Elements of a small integer tensor (rank 0 or 1, at most PTQ_CONTENTS_MAX) as dimensions. */
enum { PTQ_CONTENTS_MAX = 64 };
typedef struct ptq_contents {
    int n; /* -1: not known */
    int rank;
    ptq_dim v[PTQ_CONTENTS_MAX];
} ptq_contents;

enum { PTQ_MAX_OUT = 64 };
typedef struct ptq_infer {
    const ptq_node *node;
    int opset;
    ptq_graph *graph; /* for fresh symbols; NULL at run time, where all dims are numbers */
    int nin, nout;
    const ptq_type *in;
    const ptq_tensor *const *value;  /* data of constant inputs, else NULL entries. At run time
                                        integer inputs are given as well. */
    const ptq_contents *in_contents; /* n == -1 where not known; constants are filled in too */
    ptq_type *out;             /* to fill: nout entries, preset to undefined / rank -1 */
    ptq_contents *out_contents; /* to fill where the operator computes shapes; preset to -1 */
} ptq_infer;

/* Fills in->out[]. Leaves unknown what cannot be known; fails (PTQ_ERR_MODEL) only when the
 * inputs can never be right, naming node, tensor and shapes. Used before any run (symbolic) and
 * at run time (all numbers), so it is the only place that knows an operator's output shape. */
typedef ptq_status (*ptq_infer_fn)(ptq_infer *in);

typedef struct ptq_op {
    const char *name, *domain;
    int since, until;     /* opsets this row covers; until 0 means to the newest */
    int min_in, max_in;   /* max -1: any number */
    int min_out, max_out;
    unsigned flags;
    ptq_infer_fn infer;
} ptq_op;

/* NULL when the operator (in that opset; 0: any) is not in the table. */
const ptq_op *ptq_op_find(const char *name, const char *domain, int opset);
size_t ptq_op_count(void);
const ptq_op *ptq_op_at(size_t i);

/* Infers one node from its inputs' value->dtype, shape, constant and contents into its outputs. */
ptq_status ptq_infer_node(ptq_graph *g, ptq_node *n);
/* All nodes in order. A declared shape (value_info, graph output) that contradicts the inferred
 * one is PTQ_ERR_MODEL. */
ptq_status ptq_infer_graph(ptq_graph *g);

/* Helpers for shape functions (lib/graph/infer.c). */
ptq_status ptq_infer_broadcast(ptq_infer *in, int a, int b, ptq_shape *out);
/* Axis attribute or input value into [0, rank); PTQ_ERR_MODEL names the node. */
ptq_status ptq_infer_axis(const ptq_infer *in, int64_t axis, int rank, int *out);
/* Integer list from input `slot` (constant or contents), or from attribute `attr` in older
 * opsets. *n = -1 when present but not known, -2 when absent. */
ptq_status ptq_infer_int_list(const ptq_infer *in, int slot, const char *attr, int64_t *v, int max,
                              int *n);

/* Convolution and pooling geometry, shared by shape functions, kernels and lowering. */
typedef struct ptq_window {
    int nd; /* spatial dimensions, 1 to 3 */
    int64_t kernel[3], stride[3], dilation[3], pad_begin[3], pad_end[3];
    int64_t group;
    bool ceil_mode, count_include_pad;
    bool starts_inside; /* ceil_mode of opset 22: no window begins in the padding at the end */
} ptq_window;
/* Reads the attributes of a Conv or pooling node; `spatial` are the input's spatial sizes (all
 * numbers, needed for auto_pad SAME; may be NULL when auto_pad is not SAME_*), `kernel` the
 * weight's spatial sizes or NULL (then kernel_shape is needed). */
ptq_status ptq_window_read(const ptq_node *n, int nd, const int64_t *spatial, const int64_t *kernel,
                           ptq_window *out);
/* Output size of one spatial dimension; negative when the window does not fit. */
int64_t ptq_window_out(const ptq_window *w, int d, int64_t in, bool pooling);

#endif
