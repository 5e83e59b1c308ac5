/* SPDX-License-Identifier: Apache-2.0 */
/* From options and statistics to decisions, and from decisions to a model. Shared by the
 * quantize job and by auto, which tries many decisions. */
#ifndef PTQ_JOBS_QUANTIZE_H
#define PTQ_JOBS_QUANTIZE_H

#include <jansson.h>

#include "lib/jobs/jobs.h"
#include "lib/quant/range.h"
#include "lib/report/report.h"

/* Options, checked against the tables. */
typedef struct ptq_qspec {
    const ptq_target *target;
    ptq_grid grid;          /* of activations */
    bool act_log2, qoperator;
    ptq_rewrite_options rewrite;
    ptq_range_options range;
    ptq_scope scope;
    json_t *overrides;      /* NULL or the parsed object */
    const char **patterns;  /* storage of scope */
} ptq_qspec;
ptq_status ptq_qspec_make(const ptq_quant_options *opt, ptq_qspec *out);
void ptq_qspec_clear(ptq_qspec *s);
/* PTQ_ERR_ARG for settings that there are not and tensors that the graph lacks; warns where an
 * entry has no effect. */
ptq_status ptq_check_overrides(const ptq_qspec *spec, const ptq_placement *p);

/* What was decided: which nodes, which parameters. */
typedef struct ptq_decision {
    ptq_placement *place;
    ptq_act_params *params; /* [place->ntensors] */
} ptq_decision;
/* Parameters that were solved before, by method and value id: auto asks for the same ones again
 * and again. For one graph, statistics and spec. */
typedef struct ptq_solved ptq_solved;
ptq_status ptq_solved_new(size_t nvalues, ptq_solved **out);
void ptq_solved_free(ptq_solved *s);

/* What the spec leaves open. Everything may be NULL, but not both of the first two. */
typedef struct ptq_choice {
    const ptq_range_algo *method; /* NULL leaves it to per_tensor */
    const ptq_range_algo *const *per_tensor; /* by value id; NULL entries take `method` */
    const bool *float_nodes; /* by node id: left in float besides the scope */
    ptq_solved *solved;
} ptq_choice;
ptq_status ptq_decide(const ptq_graph *g, const ptq_statistics *stats, const ptq_qspec *spec,
                      const ptq_choice *choice, ptq_decision *out);
void ptq_decision_clear(ptq_decision *d);

/* The quantized model: a rewritten copy that shares weights with `m`, and with a cache (see
 * ptq_rewrite_options; else NULL) borrows their codes from there. */
ptq_status ptq_build(const ptq_model *m, const ptq_decision *d, const ptq_qspec *spec, ptq_weight_cache *cache,
                     ptq_model **out, ptq_rewrite_report *report);

/* Share of multiply-accumulates that run in integers: by the plan (what reads codes already does, too), or of a
 * quantized model as it is. float_weights: those of the plan are decoded through a table, so that products with them
 * run in float. */
double ptq_int8_mac_share(const ptq_placement *p, bool planned, bool float_weights);

/* Tries methods, tensors and layers on the samples (every 8th, at most 64); notes what it did in
 * root["auto"]. per_tensor (by value id) and float_nodes (by node id) are filled. */
ptq_status ptq_auto(const ptq_model *m, const ptq_statistics *stats, const ptq_samples *samples,
                    const ptq_qspec *spec, const ptq_quant_options *opt, const ptq_range_algo **per_tensor,
                    bool *float_nodes, json_t *root);

#endif
