/* SPDX-License-Identifier: Apache-2.0 */
/* What the rules of rearrange.def share. */
#ifndef PTQ_EXEC_REARRANGE_IMPL_H
#define PTQ_EXEC_REARRANGE_IMPL_H

#include "lib/exec/lower.h"
#include "lib/exec/rearrange.h"
#include "lib/exec/view.h"
#include "lib/graph/infer.h"
#include "lib/graph/pass_impl.h"

/* A rule goes over the graph once and adds what it changed. */
typedef ptq_status (*ptq_rearrange_fn)(ptq_graph *g, int *changes);
#define PTQ_REARRANGE(name, summary) ptq_status ptq_rearrange_##name(ptq_graph *g, int *changes);
#include "lib/exec/rearrange.def"
#undef PTQ_REARRANGE

/* The one node that reads v, in `slot`; NULL: there are others, or v is an output. */
ptq_node *ptq_only_reader(const ptq_value *v, int slot);
/* Does n move all elements of input 0, and nothing else? */
bool ptq_moves_all(const ptq_node *n);
/* Does it keep the last axis, of known size, in place? */
bool ptq_keeps_last(const ptq_node *n);
/* The DequantizeLinear, of one scale for the tensor, of computed 8-bit codes. */
ptq_node *ptq_dq_of(const ptq_value *v);
/* A weight of rank 2: codes, constant, behind DequantizeLinear. */
const ptq_tensor *ptq_weight_of(const ptq_value *v);

/* May a QuantizeLinear stand behind what makes x, and round as it did elsewhere? */
bool ptq_quantizes(const ptq_value *x);

/* A Gemm (or QGemm with a float result) of computed codes with a constant weight. */
typedef struct ptq_rows {
    ptq_node *gemm, *dq, *reshape, *transpose; /* dq NULL: the operator reads the codes itself */
    ptq_value *codes;
    int64_t dims[PTQ_MAX_RANK], k, n; /* target of the Reshape; columns of the operand, of the weight */
    int rank;
} ptq_rows;
bool ptq_match_gemm(ptq_node *n, ptq_rows *r);
/* Sizes of a Reshape to constant dims without a 0; -1 may be among them. */
bool ptq_reshape_target(const ptq_node *n, int64_t *dims, int *rank);

/* New things. The value is of the type and shape given, its name made from `base`. */
ptq_status ptq_new_value(ptq_graph *g, const char *base, ptq_dtype t, const ptq_shape *s, ptq_value **out);
ptq_status ptq_new_numbers(ptq_graph *g, const char *base, const int64_t *v, int n, ptq_value **out);
/* Node of one output in front of `before`: input 0 is x, input 1 (NULL: none) `arg`; its output is a new
 * value, or `y`. Inferred. */
ptq_status ptq_new_node(ptq_graph *g, const char *op, ptq_node *before, ptq_value *x, ptq_value *arg, ptq_value *y,
                        ptq_node **out);
/* The same operator with the same attributes, on the first `nin` inputs given and the others of n. */
ptq_status ptq_copy_node(ptq_graph *g, const ptq_node *n, ptq_node *before, ptq_value *const *in, int nin,
                         ptq_value *y, ptq_node **out);

#endif
