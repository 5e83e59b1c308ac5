/* SPDX-License-Identifier: Apache-2.0 */
/* Engines: a model made ready for one backend, with its kernels chosen and its weights packed. An
 * engine is immutable and may be used by several threads; each works in a context of its own.
 *
 *     ptq_engine_build(model, &options, &engine);    once, slow: kernels are measured
 *     ptq_engine_save(engine, "model.plan", false);   later: ptq_engine_load, fast
 *     ptq_context_new(engine, 0, &context);           one per stream or thread
 *     ptq_context_run(context, in, 1, out, 1);        from and into host memory
 *     ptq_context_enqueue(context, in, 1, out, 1, stream);  from and into device memory
 */
#ifndef PTQ_ENGINE_H
#define PTQ_ENGINE_H

#include <ptq/model.h>
#include <ptq/plugin.h>
#include <ptq/report.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ptq_engine ptq_engine;
typedef struct ptq_context ptq_context;

/* Shapes that one input may have: every min[i] <= dims[i] <= max[i]. Kernels are measured for min,
 * opt and max; shapes between take the choice of the nearest. */
typedef struct ptq_shape_range {
    const char *input;
    int rank;
    int64_t min[PTQ_MAX_RANK], opt[PTQ_MAX_RANK], max[PTQ_MAX_RANK];
} ptq_shape_range;

/* An optimization profile: ranges of inputs. Inputs that are not named keep their declared shape,
 * which must then be without symbols. */
typedef struct ptq_profile {
    const ptq_shape_range *ranges;
    size_t n;
} ptq_profile;

typedef struct ptq_engine_options {
    size_t size;
    const char *backend;   /* NULL or "auto": "cuda" where it works, else "cpu" */
    int device;            /* GPU index */
    int threads;           /* of each context, for what runs on the CPU; 0: one per processor */
    const char *isa;       /* cap on the CPU instruction set, as in ptq_runner_options */
    const char *precision; /* "model": layers between Q and DQ in 8-bit integers, the others in float32; "fp16": the
                              same, but products of floats (Conv, Gemm, MatMul) take operands rounded to float16 and
                              add in float32 on a GPU, the CPU tells that it has none; "fp32": everything in float32,
                              Q and DQ as they stand. NULL: "model", with fast_math "fp16" */
    const ptq_profile *profiles; /* none: the declared shapes; a symbolic axis 0 is the batch, 1 to 64,
                                    best at 8 */
    size_t nprofiles;
    const char *timing_cache; /* file with measured kernels: read where it exists, written afterwards */
    bool no_tuning;           /* take the kernels that are expected to be fastest */
    const ptq_plugin *const *plugins; /* operators of the caller; they outlive the engine, and are given
                                         again when its plan is loaded */
    size_t nplugins;
    bool fast_math;           /* faster kernels on a GPU whose results differ from the CPU's by roundings; the CPU
                                 tells that it has none, and is exact */
} ptq_engine_options;
#define PTQ_ENGINE_OPTIONS_INIT {sizeof(ptq_engine_options), 0, 0, 0, 0, 0, 0, 0, 0, false, 0, 0, false}

/* `m` optimized, quantized or not; it may be freed afterwards. PTQ_ERR_ARG names an input that lacks a
 * range, PTQ_ERR_UNSUPPORTED the operators that the backend (and the CPU beside it) cannot run. */
PTQ_API ptq_status ptq_engine_build(const ptq_model *m, const ptq_engine_options *opt, ptq_engine **out);
/* All contexts have been freed before. */
PTQ_API void ptq_engine_free(ptq_engine *e);

/* A plan: model, choices and profiles of one backend and one kind of device, with a checksum. It is
 * loaded by the version that wrote it and where the device is of the same kind; elsewhere the model
 * must be built again (PTQ_ERR_UNSUPPORTED). Of the options, device, threads, isa and plugins hold; precision and fast
 * math are those of the plan. */
PTQ_API ptq_status ptq_engine_serialize(const ptq_engine *e, void **bytes, size_t *n); /* free() */
PTQ_API ptq_status ptq_engine_deserialize(const void *bytes, size_t n, const ptq_engine_options *opt,
                                          ptq_engine **out);
PTQ_API ptq_status ptq_engine_save(const ptq_engine *e, const char *path, bool force);
PTQ_API ptq_status ptq_engine_load(const char *path, const ptq_engine_options *opt, ptq_engine **out);

/* As of a model; names are borrowed from the engine. */
PTQ_API size_t ptq_engine_input_count(const ptq_engine *e);
PTQ_API size_t ptq_engine_output_count(const ptq_engine *e);
PTQ_API ptq_status ptq_engine_input(const ptq_engine *e, size_t i, ptq_tensor_info *info);
PTQ_API ptq_status ptq_engine_output(const ptq_engine *e, size_t i, ptq_tensor_info *info);
PTQ_API size_t ptq_engine_profile_count(const ptq_engine *e);
/* Range of input i in a profile; range->input is borrowed. */
PTQ_API ptq_status ptq_engine_range(const ptq_engine *e, size_t profile, size_t i, ptq_shape_range *range);
PTQ_API const char *ptq_engine_backend(const ptq_engine *e);
PTQ_API const char *ptq_engine_precision(const ptq_engine *e); /* "model", "fp16" or "fp32" */
PTQ_API bool ptq_engine_fast_math(const ptq_engine *e);
/* What it is made of: backend, kind of device, steps by kind, steps left to the CPU with the reason, products in
 * float16 and with "fp16" those that are not, with the reason, bytes of weights and of activations per profile. */
PTQ_API ptq_status ptq_engine_describe(const ptq_engine *e, ptq_report **out);

/* What to run for a measurement. */
typedef struct ptq_bench_options {
    size_t size;
    size_t profile;
    const ptq_shape_range *shapes; /* opt of each is what runs; inputs that are not named: best shape of the
                                      profile. All must lie inside the profile. */
    size_t nshapes;
    int64_t batch;  /* axis 0 of every input; 0: as in the shapes */
    double seconds; /* of each part (device memory, host memory, layers), about; 0: 2 */
} ptq_bench_options;
#define PTQ_BENCH_OPTIONS_INIT {sizeof(ptq_bench_options), 0, 0, 0, 0, 0.0}
/* How fast the engine is here, on noise (indices are drawn from the table that they are looked up in). JSON:
 *   "from_device": runs that go from and into device memory, one after the other, each a replay once that
 *     is possible: runs, median_ms, p90_ms, p99_ms, min_ms, spread (slowest less fastest round's median, over
 *     the median), samples_per_second. Only where the backend has memory of its own.
 *   "from_host": the same, each run waited for, copies included; "overlapped": two contexts in turn,
 *     run_ms and samples_per_second.
 *   "activation_bytes", "alive_bytes": as ptq_context_activation_bytes.
 *   "peaks": what the machine does at most, bytes and operations per second, and the source of that.
 *   "layers": every step, slowest first: precision (int8, fp16, fp32: what it computes in, or of what it only moves),
 *     ms, share of all, macs, bytes that must move at least, tops, gb_per_second,
 *     least_ms = max(bytes / memory, operations / peak), of_limit = least_ms / ms, kernel, and why it takes so long, in words. */
PTQ_API ptq_status ptq_engine_bench(ptq_engine *e, const ptq_bench_options *opt, ptq_report **out);

/* Activations for the largest shapes of the profile are allocated here (PTQ_ERR_NOMEM). One thread at
 * a time per context. */
PTQ_API ptq_status ptq_context_new(ptq_engine *e, size_t profile, ptq_context **out);
PTQ_API void ptq_context_free(ptq_context *c);
/* Types and shapes of the outputs for these input shapes; data is neither read nor set. nbytes is the
 * size of a buffer. */
PTQ_API ptq_status ptq_context_shapes(ptq_context *c, const ptq_tensor *inputs, size_t ninputs,
                                      ptq_tensor *outputs, size_t noutputs);
/* data of inputs and outputs lies on the device, aligned to 16 bytes; outputs[].data are buffers of the
 * size that ptq_context_shapes tells, their shapes are filled in. Work goes to `stream` (a
 * cudaStream_t; NULL: the context's own) and is not waited for. Runs of one context follow each
 * other: on one stream, or waited for by the caller. The third and later runs with the same shapes
 * and buffers are one replay of a CUDA graph. An index outside of its table (Gather) is told by the next
 * call that waits (PTQ_ERR_DATA). */
PTQ_API ptq_status ptq_context_enqueue(ptq_context *c, const ptq_tensor *inputs, size_t ninputs,
                                       ptq_tensor *outputs, size_t noutputs, void *stream);
/* From and into host memory; the shapes of outputs[] are filled in, outputs[].nbytes says how large the
 * buffers are. Memory from ptq_context_pin is copied directly, other memory through pinned memory
 * of the context. submit returns at once and wait ends it; with two contexts in turn the copies of
 * one run beside the computing of the other. Buffers stay untouched until wait has returned. */
PTQ_API ptq_status ptq_context_run(ptq_context *c, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                                   size_t noutputs);
PTQ_API ptq_status ptq_context_submit(ptq_context *c, const ptq_tensor *inputs, size_t ninputs,
                                      ptq_tensor *outputs, size_t noutputs);
PTQ_API ptq_status ptq_context_wait(ptq_context *c);
/* Host memory that the device copies from and to directly. */
PTQ_API ptq_status ptq_context_pin(ptq_context *c, size_t nbytes, void **out);
PTQ_API void ptq_context_unpin(ptq_context *c, void *p);
/* Bytes of the activations, and of the largest set of tensors that are alive at once among them. What kernels
 * need inside a step (workspace of cuBLASLt, at most 32 MiB; the tensor before a pool that one kernel cannot take in) is
 * not among them. */
PTQ_API size_t ptq_context_activation_bytes(const ptq_context *c, size_t *alive);

#ifdef __cplusplus
}
#endif
#endif
