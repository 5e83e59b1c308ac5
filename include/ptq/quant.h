/* SPDX-License-Identifier: Apache-2.0 */
/* From statistics to a quantized model. */
#ifndef PTQ_QUANT_H
#define PTQ_QUANT_H

#include <ptq/calib.h>
#include <ptq/report.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ptq_quant_options {
    size_t size;
    const char *target;  /* "portable" (default), "ort", "tensorrt" */
    const char *format;  /* "qdq" (default), "qoperator" */
    const char *method;  /* range algorithm: "auto" (default with samples), "mse" (default without),
                            "minmax", "mean_minmax", "percentile", "entropy" */
    const char *act;     /* "s8", "u8", "log2"; NULL: the target's */
    const char *weight;  /* "s8" (default), "u8", "log2", "log2x2", "log2x16" */
    int act_symmetric;   /* 1, 0; -1: the target's */
    bool per_tensor;     /* weights per tensor instead of per output channel */
    bool weight_asymmetric;
    bool reduce_range;   /* 7-bit weights */
    double percentile;   /* 0: 99.99 */
    const char *const *only, *const *exclude, *const *exclude_ops; /* name patterns, NULL-terminated */
    const char *overrides; /* JSON text: {"tensors": {NAME: {"low", "high" or "method"}}, "float_nodes": [...]} */
    double min_int8_macs;  /* auto keeps at least this share of MACs in int8, 0 to 1; 0: 0.8 */
    bool requantize;       /* accept a model that is quantized already */
    ptq_loop_options loop; /* for auto */
} ptq_quant_options;
#define PTQ_QUANT_OPTIONS_INIT                                                                     \
    {sizeof(ptq_quant_options), 0, 0, 0, 0, 0, -1, false, false, false, 0.0, 0, 0, 0, 0, 0.0, false, \
     PTQ_LOOP_OPTIONS_INIT}

/* `m` optimized; `samples` may be NULL unless method is auto. The report says what was decided
 * and why: methods tried, layers left in float, ranges, weight errors, warnings. */
PTQ_API ptq_status ptq_model_quantize(const ptq_model *m, const ptq_statistics *stats, const ptq_samples *samples,
                                const ptq_quant_options *opt, ptq_model **out, ptq_report **report);

/* What ptq_model_quantize would refuse about the model and the options, before the work of a
 * calibration: unknown names, patterns that match no node, overrides of tensors that there are not,
 * weights that are NaN or infinite.
 * `samples`: whether it will be given samples. */
PTQ_API ptq_status ptq_quant_check(const ptq_model *m, const ptq_quant_options *opt, bool samples);

/* What is decided for every tensor, as JSON that can be edited and given back as overrides.
 * *json is malloc'ed. */
PTQ_API ptq_status ptq_quant_params_json(const ptq_report *quantize_report, char **json);

/* Row i of the range algorithms / weight algorithms / targets: name and one line; false past the
 * end. They feed --help. */
PTQ_API bool ptq_method_info(size_t i, const char **name, const char **summary);
PTQ_API bool ptq_weight_info(size_t i, const char **name, const char **summary);
PTQ_API bool ptq_target_info(size_t i, const char **name, const char **summary);

#ifdef __cplusplus
}
#endif
#endif
