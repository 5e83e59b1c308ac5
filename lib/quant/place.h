/* SPDX-License-Identifier: Apache-2.0 */
/* Placement: which nodes run in integers, which tensors get a scale, who shares one. Pure
 * decision over the graph; nothing is changed here. */
#ifndef PTQ_QUANT_PLACE_H
#define PTQ_QUANT_PLACE_H

#include "lib/graph/ops.h"
#include "lib/quant/target.h"

/* How a node takes part (rows of place_rules.def say which operators have which role). */
typedef enum ptq_role {
    PTQ_ROLE_NONE,     /* stays in float */
    PTQ_ROLE_WEIGHTED, /* Conv, Gemm, MatMul with a constant weight */
    PTQ_ROLE_MATMUL,   /* MatMul of two computed tensors */
    PTQ_ROLE_BINARY,   /* Add, Mul */
    PTQ_ROLE_POOL,     /* average pools */
    PTQ_ROLE_CONCAT,
    PTQ_ROLE_MOVER,    /* output shares the input's parameters */
    PTQ_ROLE_UNARY,    /* a table between two quantized tensors */
    PTQ_ROLE_ACT       /* Relu or Clip absorbed into the producer's output range */
} ptq_role;

typedef struct ptq_node_place {
    ptq_role role;
    bool quantized;     /* reads and writes quantized tensors (WEIGHTED, BINARY, ...) */
    const char *reason; /* why not, when a candidate stays in float; arena or static text */
} ptq_node_place;

typedef struct ptq_tensor_place {
    const ptq_value *value;
    const ptq_value *observed; /* whose statistics give the range: `value`, or the output of the Relu or
                          Clip behind it, when that one alone reads it and is left in float: it drops
                          what lies outside anyway, and calibration does not observe what is before it */
    int root;          /* tensor index whose parameters it uses (itself, or the input of the first
                          mover of a chain) */
    bool fixed;        /* range known without data: [fixed_lo, fixed_hi] */
    double fixed_lo, fixed_hi;
    bool float_source; /* the producer runs in float: float readers keep reading the float value */
} ptq_tensor_place;

typedef struct ptq_scope {
    const char *const *only, *const *exclude; /* glob patterns on node names */
    size_t nonly, nexclude;
    size_t nfile; /* the last so many of `exclude` come from the overrides */
    const char *const *exclude_ops; /* operator types */
    size_t nexclude_ops;
    const bool *float_nodes; /* by node id: also left in float (set by auto), or NULL */
} ptq_scope;

typedef struct ptq_placement {
    ptq_arena *arena;
    const ptq_graph *graph;
    const ptq_target *target;
    ptq_node_place *nodes;   /* by node id */
    int nnodes;
    ptq_tensor_place *tensors;
    int ntensors;
    int *tensor_of;          /* by value id: tensor index or -1 */
} ptq_placement;

/* PTQ_ERR_ARG: a pattern of the scope matches nothing (the text suggests names). */
ptq_status ptq_place(const ptq_graph *g, const ptq_target *t, const ptq_scope *scope,
                     ptq_placement **out);
void ptq_placement_free(ptq_placement *p);

/* Does `n` run in integers: quantized, or one of a pair x * f(x) that is a table from codes to codes? */
bool ptq_place_in_integers(const ptq_placement *p, const ptq_node *n);

/* Does `n` (a node of p->graph or of its clone) take input `slot` in 8 bits? */
bool ptq_place_reads_quantized(const ptq_placement *p, const ptq_node *n, int slot);

/* Multiply-accumulates of Conv, Gemm, MatMul and their QOperator forms for one sample from the inferred shapes (symbolic
 * dimensions count as 1); 0 for everything else. */
double ptq_node_macs(const ptq_node *n);

#endif
