/* SPDX-License-Identifier: Apache-2.0 */
/* Custom layers: operators that the library does not know, brought by the program that embeds it.
 * examples/plugin.c adds one. A plugin is a const struct that outlives what was made with it; its
 * functions may be called from several threads, each call with tensors of its own. */
#ifndef PTQ_PLUGIN_H
#define PTQ_PLUGIN_H

#include <stdbool.h>

#include <ptq/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A tensor of a call. real = scale * (q - zero_point) where `quantized`, which only a plugin with the
 * format PTQ_PLUGIN_INT8 gets to see. An omitted input has dtype PTQ_DT_UNDEFINED. */
typedef struct ptq_plugin_tensor {
    ptq_tensor t;
    bool quantized;
    float scale;
    int32_t zero_point;
} ptq_plugin_tensor;

typedef struct ptq_plugin_call {
    const char *node;            /* its name in the model */
    const ptq_plugin_tensor *in; /* dense, row-major (NCHW) */
    size_t nin;
    ptq_plugin_tensor *out;
    size_t nout;
    void *stream;           /* cudaStream_t of `enqueue`; else NULL */
    const void *attributes; /* for the functions below */
} ptq_plugin_call;

enum { PTQ_PLUGIN_FLOAT = 1, PTQ_PLUGIN_INT8 = 2 };

typedef struct ptq_plugin {
    size_t size;             /* sizeof(ptq_plugin) */
    const char *op, *domain; /* of the node, such as "MyOp", "com.example" */
    /* PTQ_PLUGIN_INT8: where all its inputs come from DequantizeLinear and all its outputs go to
     * QuantizeLinear, with one scale each, it works on the codes between them. Elsewhere, and with
     * PTQ_PLUGIN_FLOAT alone, it works on what the model says. */
    int formats;
    /* Sets dtype, rank and dims of out[].t from those of in[].t. The data of constants is there, that
     * of others is NULL; out[].t.dtype comes set to that of the first input. */
    ptq_status (*shapes)(void *ctx, const ptq_plugin_call *c);
    /* Computes out[].t.data from in[].t.data, in host memory. */
    ptq_status (*run)(void *ctx, const ptq_plugin_call *c);
    /* The same in device memory, as work on c->stream that is not waited for and may be recorded as
     * a CUDA graph. NULL: `run` is called between two copies. */
    ptq_status (*enqueue)(void *ctx, const ptq_plugin_call *c);
    void *ctx;
} ptq_plugin;

/* Attributes of the node; `dflt` where there is none of that name and type. Strings and lists are
 * borrowed; of a list *n tells the length. */
PTQ_API int64_t ptq_plugin_int(const ptq_plugin_call *c, const char *name, int64_t dflt);
PTQ_API float ptq_plugin_float(const ptq_plugin_call *c, const char *name, float dflt);
PTQ_API const char *ptq_plugin_string(const ptq_plugin_call *c, const char *name, const char *dflt);
PTQ_API const int64_t *ptq_plugin_ints(const ptq_plugin_call *c, const char *name, size_t *n);
/* For the functions of a plugin: sets the text of the error that they return. */
PTQ_API ptq_status ptq_plugin_fail(ptq_status status, const char *text);

#ifdef __cplusplus
}
#endif
#endif
