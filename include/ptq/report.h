/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring models and telling about it. A report is a tree of named figures and lists; the same
 * tree is printed as text, written as JSON, and asked by gates. */
#ifndef PTQ_REPORT_H
#define PTQ_REPORT_H

#include <ptq/calib.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ptq_report ptq_report;
PTQ_API void ptq_report_free(ptq_report *r);
/* malloc'ed text, free(). JSON: sorted keys, no time stamps, "null" for what could not be measured. */
PTQ_API ptq_status ptq_report_json(const ptq_report *r, char **json);
/* Lines for a person, at most `columns` wide (0: 80; at least 20); control bytes in names are made harmless. */
PTQ_API ptq_status ptq_report_text(const ptq_report *r, int columns, bool verbose, char **text);
/* A figure by its path in the JSON, such as "candidate_accuracy.top1.percent", or by the name of a
 * gate; PTQ_ERR_ARG where there is none. */
PTQ_API ptq_status ptq_report_number(const ptq_report *r, const char *path, double *value);
/* "PATH OP NUMBER" (OP: < <= > >= ==), e.g. "top1_drop>1.0"; *holds tells whether the condition
 * is true. `r` may be NULL: then the form of the expression is checked, and
 * that a comparison or an evaluation can have such a figure. Short names of the gates stand in quantize(1). */
PTQ_API ptq_status ptq_report_gate(const ptq_report *r, const char *expression, bool *holds);

/* Writes `text` and a newline to `path`: whole or not at all, over an existing file only with `force`
 * (PTQ_ERR_IO otherwise), never over a link, directory or device. */
PTQ_API ptq_status ptq_save_text(const char *text, const char *path, bool force);
/* Whether a file can be saved there, before the work that fills it: what ptq_save_text, ptq_model_save
 * and ptq_statistics_save would refuse about the path. */
PTQ_API ptq_status ptq_can_save(const char *path, bool force);

/* Inputs, operators, sizes, MACs, bytes moved, arithmetic density, what would be quantized for
 * `target` and why not. */
PTQ_API ptq_status ptq_model_inspect(const ptq_model *m, const char *target, ptq_report **out);

/* A quantized model as it stands in its file: scales, zero points, bias scales ("problems", empty when
 * all is well), and on `samples` (may be NULL; opt->samples of them, 0: 8) the integer run against the
 * run of its Q/DQ nodes in float on the CPU: bytes of 8-bit tensors that agree, outputs. */
PTQ_API ptq_status ptq_model_check(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt,
                                   ptq_report **out);

/* Accuracy of one model: top-1, top-5 (or cross-entropy per token), each with a 95 % interval. */
PTQ_API ptq_status ptq_eval(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt,
                            ptq_report **out);

typedef struct ptq_compare_options {
    size_t size;
    ptq_loop_options loop;
    size_t tensor_samples; /* samples for the per-tensor part; 0: 32 */
    bool layers;           /* per-tensor SQNR and cosine, each layer alone and accumulated */
    double latency_seconds; /* time spent on measuring each model's latency; 0: 1 s; < 0: none */
} ptq_compare_options;
#define PTQ_COMPARE_OPTIONS_INIT {sizeof(ptq_compare_options), PTQ_LOOP_OPTIONS_INIT, 0, false, 0.0}
/* Reference (fp32) against candidate (quantized) on the same samples: outputs, agreement,
 * accuracy with paired 95 % intervals, tensors, worst layers, size, latency. */
PTQ_API ptq_status ptq_compare(const ptq_model *ref, const ptq_model *cand, const ptq_samples *samples,
                               const ptq_compare_options *opt, ptq_report **out);

/* What to do next, from the figures: what is lost and which options may help, how certain that is, what
 * costs speed, what stayed in float; "nothing to do" where there is nothing. `checked` and `compared`
 * may be NULL; `seen`: the comparison was made on the samples of the calibration. */
PTQ_API ptq_status ptq_report_next(const ptq_report *quantized, const ptq_report *checked,
                                   const ptq_report *compared, bool seen, ptq_report **out);

#ifdef __cplusplus
}
#endif
#endif
