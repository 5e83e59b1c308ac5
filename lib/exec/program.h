/* SPDX-License-Identifier: Apache-2.0 */
/* A program: the graph lowered to steps, without shapes. The same for every backend. */
#ifndef PTQ_EXEC_PROGRAM_H
#define PTQ_EXEC_PROGRAM_H

#include "lib/exec/steps.h"

/* Why a node that looked like an integer unit stayed in float. */
typedef struct ptq_lower_remark {
    const ptq_node *node;
    const char *reason;
} ptq_lower_remark;

typedef struct ptq_program_piece {
    void *data;
    size_t n;
} ptq_program_piece;

typedef struct ptq_program {
    ptq_arena *arena;
    const ptq_graph *graph; /* borrowed; must outlive the program */
    PTQ_VEC(ptq_pvalue) values;
    PTQ_VEC(ptq_step) steps; /* in execution order */
    int *inputs, *outputs;   /* program values of the graph's inputs and outputs, in order */
    int ninputs, noutputs;
    PTQ_VEC(ptq_lower_remark) remarks;
    PTQ_VEC(ptq_program_piece) large; /* weights that lowering made */
} ptq_program;

typedef struct ptq_lower_options {
    bool integer; /* lower Q/DQ units and QLinear nodes to integer steps; false: every node
                     runs as it stands (Q/DQ round the floats), which is the simulation */
    bool nhwc;    /* keep rank-4 8-bit activations in NHWC between integer steps */
    bool float_out; /* with integer: Gemm and MatMul without a Q behind multiply integers too and
                       give float(acc) * (sx * sw), as ONNX Runtime does; else they stay float, so
                       that the result is that of the simulation to the last bit */
    const struct ptq_plugin *const *plugins; /* operators from outside (ptq/plugin.h) */
    size_t nplugins;
    size_t fold_bytes; /* at most so many bytes of large constants are computed here; what is beyond is computed
                          in each run. 0: all */
    bool fuse;    /* fuse float Conv/Gemm/Add + Relu/Clip */
    bool sums;    /* with fuse: a float Conv takes in the Add behind it as input 3; set by the executable where
                     the backend's kernel does (ptq_backend_ops) */
    bool sums_apart; /* with sums: also where the convolution's own result is kept, which becomes output 1 */
    /* With integer and fuse: may this qconv take in the MaxPool behind it? Set by the executable where the backend
     * has such a kernel (ptq_backend_ops); NULL: none does. */
    bool (*pools)(const ptq_program *p, const ptq_step *conv, const ptq_node *pool);
    bool rearrange; /* with integer and fuse, where nothing is kept: the executable lowers a rewritten
                       copy of the graph (rearrange.h), and products that read the same rows for one attention
                       are joined */
    /* Values that must exist as they are (taps): no fusion hides them. NULL: none. */
    bool (*keep)(void *ctx, const ptq_value *v);
    void *keep_ctx;
} ptq_lower_options;

/* QLinear nodes become integer steps in both modes. Constants that feed float steps through
 * DequantizeLinear, Gather and the like are computed here, so that a model with packed weights
 * runs at float speed. Whether a backend has the kernels is asked by ptq_session_new. */
ptq_status ptq_lower(const ptq_graph *g, const ptq_lower_options *opt, ptq_program **out);
void ptq_program_free(ptq_program *p);
/* Memory of the program for a large constant; where it lies in a file (lib/core/spill.h), rest gives its pages
 * back. */
ptq_status ptq_program_alloc(ptq_program *p, size_t n, void **out);
void ptq_program_rest(const ptq_program *p);

#endif
