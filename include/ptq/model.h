/* SPDX-License-Identifier: Apache-2.0 */
/* Models: load, look at, optimize, run, save. */
#ifndef PTQ_MODEL_H
#define PTQ_MODEL_H

#include <stdbool.h>

#include <ptq/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ptq_model ptq_model;

typedef struct ptq_load_options {
    size_t size;         /* sizeof(ptq_load_options) */
    size_t memory_limit; /* bytes the description may take beyond its weights; 0: 2 GiB */
} ptq_load_options;
#define PTQ_LOAD_OPTIONS_INIT {sizeof(ptq_load_options), 0}

/* Reads an ONNX file (opset 7 to 23; older ones where opset 7 reads their operators, or they can be told in it). Weights stay in a read-only mapping of the file. */
PTQ_API ptq_status ptq_model_load(const char *path, const ptq_load_options *opt, ptq_model **out);
/* From memory; `bytes` must stay valid as long as the model and those made from it. */
PTQ_API ptq_status ptq_model_load_memory(const void *bytes, size_t n, const ptq_load_options *opt,
                                         ptq_model **out);
PTQ_API void ptq_model_free(ptq_model *m);

/* Upgrades to opset 13 where older, infers shapes, folds constants and BatchNormalization, removes
 * what is dead or double. Outputs stay the same within float rounding. Idempotent. */
PTQ_API ptq_status ptq_model_optimize(ptq_model *m);

/* Writes to a temporary file, reads it back, renames. Never over a file the model was loaded
 * from; an existing file only with force. */
PTQ_API ptq_status ptq_model_save(const ptq_model *m, const char *path, bool force);
/* *bytes is malloc'ed; free() it. */
PTQ_API ptq_status ptq_model_save_memory(const ptq_model *m, void **bytes, size_t *n);

/* An input or output. Names are borrowed from the model. */
typedef struct ptq_tensor_info {
    const char *name;
    ptq_dtype dtype;
    int rank;                                /* -1: unknown */
    int64_t dims[PTQ_MAX_RANK];              /* -1: symbolic or unknown */
    const char *dim_names[PTQ_MAX_RANK];     /* name of a symbolic dimension, else NULL */
} ptq_tensor_info;
PTQ_API size_t ptq_model_input_count(const ptq_model *m);
PTQ_API size_t ptq_model_output_count(const ptq_model *m);
PTQ_API ptq_status ptq_model_input(const ptq_model *m, size_t i, ptq_tensor_info *info);
PTQ_API ptq_status ptq_model_output(const ptq_model *m, size_t i, ptq_tensor_info *info);
PTQ_API int ptq_model_opset(const ptq_model *m);         /* of the file, before any upgrade */
PTQ_API size_t ptq_model_node_count(const ptq_model *m); /* in the file */
PTQ_API size_t ptq_model_parameters(const ptq_model *m); /* elements of the constants that nodes read now */
PTQ_API const char *ptq_model_sha256(const ptq_model *m); /* of the file; "" for memory */
PTQ_API const char *ptq_model_path(const ptq_model *m);   /* "" for memory */

/* ---- running ---- */

typedef struct ptq_runner ptq_runner;
typedef struct ptq_runner_options {
    size_t size;
    const char *backend; /* NULL or "auto": "cpu"; "cuda" */
    const char *isa;     /* cap on the CPU instruction set: "ref", "avx2", "avx512", "vnni" */
    int threads;         /* 0: one per processor */
    bool simulate;       /* run Q/DQ nodes in float as they stand instead of in integers */
    bool fast_math;      /* as in ptq_engine_options */
    const char *precision; /* the same */
} ptq_runner_options;
#define PTQ_RUNNER_OPTIONS_INIT {sizeof(ptq_runner_options), 0, 0, 0, false, false, 0}

/* The model must outlive the runner and must not change. Unsupported operators are named before
 * any work (PTQ_ERR_UNSUPPORTED). One thread at a time per runner. */
PTQ_API ptq_status ptq_runner_new(const ptq_model *m, const ptq_runner_options *opt, ptq_runner **out);
PTQ_API void ptq_runner_free(ptq_runner *r);
/* One tensor for each input of the model, in its order; their data is only read, during the call.
 * outputs[] (one for each output) are views, valid until the next run or free. */
PTQ_API ptq_status ptq_runner_run(ptq_runner *r, const ptq_tensor *inputs, size_t ninputs,
                                  ptq_tensor *outputs, size_t noutputs);

/* Backends of this build and machine, row i: name and one line of text; false past the end.
 * `works` tells whether it can be used here. */
PTQ_API bool ptq_backend_info(size_t i, const char **name, char *text, size_t n, bool *works);

#ifdef __cplusplus
}
#endif
#endif
