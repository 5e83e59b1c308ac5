/* SPDX-License-Identifier: Apache-2.0 */
/* Passes over the graph, in the order of passes.def. Each keeps the model's function: outputs
 * are the same within float rounding (folding BatchNormalization changes roundings, nothing
 * else may). */
#ifndef PTQ_GRAPH_PASS_H
#define PTQ_GRAPH_PASS_H

#include "lib/graph/ops.h"

/* Computes one node whose inputs are all constants; out[i] is allocated with
 * ptq_tensor_alloc and owned by the caller. PTQ_ERR_UNSUPPORTED leaves the node as it is. */
typedef ptq_status (*ptq_eval_fn)(void *ctx, const ptq_node *n, int opset, ptq_tensor *out);

typedef struct ptq_pass_ctx {
    ptq_graph *graph;
    ptq_eval_fn eval; /* NULL: constant folding is left out */
    void *eval_ctx;
    size_t fold_limit; /* largest folded tensor in bytes that is larger than its inputs together;
                          0: 1 MiB */
    int changes;       /* a pass adds what it changed */
} ptq_pass_ctx;

typedef struct ptq_pass {
    const char *name, *summary;
    ptq_status (*run)(ptq_pass_ctx *ctx);
} ptq_pass;

const ptq_pass *ptq_pass_find(const char *name);
size_t ptq_pass_count(void);
const ptq_pass *ptq_pass_at(size_t i);
/* Everything in order, until nothing changes any more (shape inference between). */
ptq_status ptq_passes_run(ptq_pass_ctx *ctx);

/* Upgrades the graph to `opset` (13 or newer) with the changes of meaning this brings;
 * PTQ_ERR_UNSUPPORTED names an operator that cannot be converted; after any failure the graph is
 * half converted and must be thrown away. Nodes of other domains stay. Never lowers. */
ptq_status ptq_graph_upgrade(ptq_graph *g, int opset);

/* A graph of before opset 7 becomes one of opset 7, where the forms of its operators can be told so
 * (broadcasting along an axis, a slope for each channel); else it stays. PTQ_ERR_UNSUPPORTED names
 * what trains. */
ptq_status ptq_graph_renew(ptq_graph *g);

/* A row of expansions.def: an operator that is others put together. */
struct ptq_expand; /* lib/graph/expand.h */
typedef struct ptq_expansion {
    const char *op, *domain;
    int min_in, max_in, max_out;
    int opset; /* of ai.onnx that the others need */
    void (*expand)(struct ptq_expand *x);
    const char *text; /* what it becomes */
} ptq_expansion;
size_t ptq_expansion_count(void);
const ptq_expansion *ptq_expansion_at(size_t i);
const ptq_expansion *ptq_expansion_find(const char *op, const char *domain);
/* Puts the operators of that table apart, in subgraphs too; the opset is raised where they need it. A graph
 * without them is not touched. */
ptq_status ptq_graph_expand(ptq_graph *g);

/* The first node, in subgraphs too, whose operator changed its meaning or form in the opsets above `low`
 * up to `high`; NULL: the graph means the same in all of them. */
const ptq_node *ptq_graph_changes_between(const ptq_graph *g, int low, int high);

#endif
