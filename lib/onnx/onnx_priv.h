/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside lib/onnx. */
#ifndef PTQ_ONNX_ONNX_PRIV_H
#define PTQ_ONNX_ONNX_PRIV_H

#include "lib/onnx/onnx.pb-c.h"
#include "lib/onnx/onnx_io.h"

/* Messages inside messages that a file may have below ModelProto; the limit of Google's parser,
 * so that whatever is accepted here loads elsewhere. 33 subgraphs. */
enum { PTQ_ONNX_MAX_DEPTH = 100 };
#define PTQ_ONNX_DEFAULT_LIMIT ((size_t)2 << 30)

/* One place where the bytes handed to protobuf-c differ from the file's: the payload of a
 * raw_data field is replaced by a ptq_onnx_cut, and the lengths around it follow. */
typedef struct ptq_onnx_edit {
    size_t pos;     /* of the length varint in the file */
    size_t varint;  /* its size there */
    size_t len;     /* payload size there */
    size_t new_len; /* payload size after all edits */
    bool cut;       /* a raw_data field; otherwise an enclosing message */
} ptq_onnx_edit;

typedef struct ptq_onnx_cut {
    uint64_t offset, len; /* of the payload in the file */
} ptq_onnx_cut;

typedef struct ptq_onnx_walk {
    ptq_onnx_edit *edits; /* malloc'ed; only collected when want_edits */
    size_t nedits, cap;
    bool want_edits;
    size_t stripped; /* size of the file after the edits */
    int depth;       /* deepest message seen; 0 is ModelProto */
} ptq_onnx_walk;

/* The guard's walk; the caller frees w->edits in every case. */
ptq_status ptq_onnx_walk_bytes(const void *bytes, size_t n, size_t memory_limit, ptq_onnx_walk *w);

/* What a file that is not ONNX looks like ("a PNG image"), or NULL. */
const char *ptq_onnx_sniff(const void *bytes, size_t n);

/* Bytes that protobuf-c's allocator adds to each block here (list links, malloc's own header). */
enum { PTQ_ONNX_BLOCK_COST = 48 };

#endif
