/* SPDX-License-Identifier: Apache-2.0 */
/* The rewriter: placement and parameters into a graph with QuantizeLinear / DequantizeLinear
 * (QDQ), and from there into QOperator form. */
#ifndef PTQ_QUANT_REWRITE_H
#define PTQ_QUANT_REWRITE_H

#include "lib/quant/place.h"
#include "lib/quant/weight.h"

/* Parameters of one activation tensor. */
typedef struct ptq_act_params {
    ptq_dtype dtype;
    float scale;
    int32_t zp;
    double lo, hi;      /* range they were made from, for reports */
    const char *method; /* which algorithm, for reports; static text */
} ptq_act_params;

typedef struct ptq_rewrite_options {
    const char *weight;   /* row of weights.def; NULL: "symmetric" */
    ptq_dtype weight_dtype; /* PTQ_DT_S8 or PTQ_DT_U8 */
    bool per_channel;
    bool reduce_range;    /* 7-bit weights, for machines that add products in 16 bits */
    bool act_log2;        /* activation codes pass a table of powers of two */
    /* Codes from earlier rewrites of clones of the same graph, or NULL. The graph then borrows
     * codes from it and must not outlive it. */
    ptq_weight_cache *cache;
} ptq_rewrite_options;

/* What was done to one weight, for the summary. */
typedef struct ptq_weight_note {
    const char *node, *weight;
    double mse, mse_linear; /* mean squared error of the codes, and of the linear per-channel ones */
    int dead_channels;      /* all zero: scale set to 1 */
    int widened_channels;   /* scale enlarged for the int32 bias */
} ptq_weight_note;

typedef struct ptq_rewrite_report {
    ptq_arena *arena; /* the graph's */
    PTQ_VEC(ptq_weight_note) weights;
} ptq_rewrite_report;

/* Changes g, a clone of p->graph (same ids). params has p->ntensors entries; a tensor uses those
 * of its root. report may be NULL. */
ptq_status ptq_rewrite_qdq(ptq_graph *g, const ptq_placement *p, const ptq_act_params *params,
                           const ptq_rewrite_options *opt, ptq_rewrite_report *report);

/* Turns Q/DQ units into QLinear operators where the operator gives the same bytes; what has no
 * QLinear form stays QDQ. */
ptq_status ptq_rewrite_qoperator(ptq_graph *g);

#endif
