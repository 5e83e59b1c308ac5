/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX files in and out: the only room that knows protobuf. */
#ifndef PTQ_ONNX_ONNX_IO_H
#define PTQ_ONNX_ONNX_IO_H

#include "lib/graph/graph.h"

typedef struct ptq_onnx_load_options {
    size_t memory_limit; /* bytes the unpacked model may take beyond its weights; 0: 2 GiB */
    bool keep_order;     /* refuse unsorted nodes instead of sorting them with a warning */
    bool inline_calls;   /* calls of model-local functions become the functions' nodes, and the functions
                            go; else they are carried, and such nodes have no table row */
} ptq_onnx_load_options;

/* Reads a model. Weights are used from a private read-only mapping of the file (or of the
 * external data files beside it) for as long as the graph lives. Nodes get their table row
 * (ptq_op_find; NULL when unknown), values their declared types; no inference is run.
 * Constant nodes stay nodes. Subgraphs are parsed, their reads of outer values become captures.
 * Errors: PTQ_ERR_IO (cannot read), PTQ_ERR_MODEL (damaged, not ONNX, breaks the rules),
 * PTQ_ERR_UNSUPPORTED (opset or IR version too new), PTQ_ERR_NOMEM (budget). The text names
 * file, node and tensor. */
ptq_status ptq_onnx_load(const char *path, const ptq_onnx_load_options *opt, ptq_graph **out);
/* The same from memory; external data is looked up in base_dir (NULL: refused). The bytes must
 * stay valid as long as the graph. */
ptq_status ptq_onnx_load_memory(const void *bytes, size_t n, const char *base_dir,
                                const ptq_onnx_load_options *opt, ptq_graph **out);

/* SHA-256 and size of the bytes that the graph was loaded from; the file may be another by now. */
void ptq_onnx_digest(const ptq_graph *g, char hex[65], size_t *n);

typedef struct ptq_onnx_save_options {
    bool force;                  /* replace an existing file */
    size_t external_threshold;   /* tensors of at least this many bytes go to NAME.data when the
                                    model would pass 2 GiB (or always, when external is set);
                                    0: 1024 */
    bool external;
    const char *const *not_over; /* files that must not be written over (the input model) */
    size_t n_not_over;
} ptq_onnx_save_options;

/* Writes the graph: what the loaded file carried and no pass changed is kept (names, doc
 * strings, metadata, unknown fields, functions, subgraphs). Temporary file, sync, verified by
 * loading it again, rename. */
ptq_status ptq_onnx_save(const ptq_graph *g, const char *path, const ptq_onnx_save_options *opt);
/* The same into memory (malloc'ed, caller frees); tensors are embedded. */
ptq_status ptq_onnx_save_memory(const ptq_graph *g, void **bytes, size_t *n);

/* Walks protobuf wire bytes before anything is unpacked: nesting (100), lengths, counts against
 * the budget, repeated singular messages, NUL and invalid UTF-8 in names. */
ptq_status ptq_onnx_guard(const void *bytes, size_t n, size_t memory_limit);

#endif
