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

typedef PtqOnnx__ModelProto pb_model;
typedef PtqOnnx__GraphProto pb_graph;
typedef PtqOnnx__NodeProto pb_node;
typedef PtqOnnx__AttributeProto pb_attr;
typedef PtqOnnx__TensorProto pb_tensor;
typedef PtqOnnx__ValueInfoProto pb_value;
typedef PtqOnnx__TypeProto pb_type;
typedef PtqOnnx__TensorShapeProto pb_shape;
typedef PtqOnnx__TensorShapeProto__Dimension pb_dim;
typedef PtqOnnx__FunctionProto pb_function;
typedef PtqOnnx__OperatorSetIdProto pb_opset;
typedef PtqOnnx__StringStringEntryProto pb_entry;

enum {
    /* Graphs of before opset 7 become such of opset 7 where they can (ptq_graph_renew). */
    PTQ_ONNX_MIN_OPSET = 1,
    PTQ_ONNX_MAX_OPSET = 23,
    PTQ_ONNX_MIN_IR = 3,
    /* Opset 23 came with IR 11. 12 and 13 added element types (refused by name where they occur)
     * and device annotations (carried as unknown fields), and recent exporters write them around
     * older opsets; so the opset decides what is understood, and the IR may be a little newer. */
    PTQ_ONNX_MAX_IR = 13
};

/* Blocks of protobuf-c, kept in a list: releasing them needs no walk over the messages. */
typedef struct ptq_onnx_block {
    struct ptq_onnx_block *prev, *next;
    size_t size, pad;
} ptq_onnx_block;

typedef struct ptq_onnx_heap {
    ptq_onnx_block head;
    size_t used, limit;
    bool over_limit, no_memory;
    ProtobufCAllocator allocator;
} ptq_onnx_heap;

/* A file mapped read-only, and what is needed to notice that it was changed or is written to. */
typedef struct ptq_onnx_map {
    const uint8_t *p; /* NULL: not mapped */
    size_t n;
    uint64_t dev, ino;
    int64_t mtime_s, mtime_ns;
} ptq_onnx_map;

typedef struct ptq_onnx_range {
    size_t offset, len;
} ptq_onnx_range;

typedef struct ptq_onnx_external {
    struct ptq_onnx_external *next;
    char *location, *path;
    ptq_onnx_map map;
    ptq_onnx_range *ranges; /* used by tensors, for the overlap check */
    size_t nranges, cap;
} ptq_onnx_external;

/* Everything behind a loaded graph: the unpacked message and the mappings it points into. */
typedef struct ptq_onnx_file {
    ptq_onnx_heap heap;
    pb_model *model;
    ptq_onnx_map main;
    const uint8_t *bytes; /* main.p, or the caller's */
    size_t nbytes;
    const char *base_dir; /* of external data, while loading; NULL: refused */
    int base_fd;          /* -1: not opened */
    ptq_onnx_external *externals;
    const char *alias_location, *alias_path; /* verification of a file not yet renamed */
    bool unknown_keys_warned;
    bool inline_calls; /* an option of the load; the functions are gone afterwards */
} ptq_onnx_file;

/* graph->origin */
typedef struct ptq_onnx_origin {
    ptq_onnx_file *file;
    const pb_graph *graph;
    const bool *dangling; /* value_info entries that named no value when loaded */
} ptq_onnx_origin;

/* value->origin */
typedef struct ptq_onnx_value_origin {
    const pb_value *in, *out, *info; /* how the file declares it */
    const pb_tensor *init;
    const void *data; /* of the constant made from init: tells whether it was replaced */
    bool unused;      /* when loaded */
} ptq_onnx_value_origin;

void ptq_onnx_heap_init(ptq_onnx_heap *h, size_t limit);
void ptq_onnx_heap_free(ptq_onnx_heap *h);

ptq_status ptq_onnx_map_fd(int fd, const char *name, ptq_onnx_map *out); /* closes nothing */
void ptq_onnx_unmap(ptq_onnx_map *m);
ptq_onnx_file *ptq_onnx_file_new(size_t memory_limit);
void ptq_onnx_file_free(void *file);
/* PTQ_ERR_IO when a mapped file is no longer what was loaded. */
ptq_status ptq_onnx_file_unchanged(const ptq_graph *g);
/* Guard, unpack, checks and build for file->bytes; takes the file in every case. */
ptq_status ptq_onnx_load_file(ptq_onnx_file *f, const char *path, const ptq_onnx_load_options *opt,
                              ptq_graph **out);

/* Guard, then unpack file->bytes into file->model with raw_data pointing into file->bytes. */
ptq_status ptq_onnx_unpack(ptq_onnx_file *f);
/* Calls fn for every TensorProto below root. */
typedef ptq_status (*ptq_onnx_tensor_fn)(void *ctx, pb_tensor *t);
ptq_status ptq_onnx_each_tensor(ProtobufCMessage *root, ptq_onnx_tensor_fn fn, void *ctx);

/* Type, dims and data agree; external data becomes raw_data. */
ptq_status ptq_onnx_tensor_check(ptq_onnx_file *f, pb_tensor *t);
/* A checked tensor's elements in raw layout, aligned to their size: pointers into the message or
 * the file where possible, otherwise a copy in the arena. Strings have no data. */
ptq_status ptq_onnx_tensor_view(ptq_arena *a, const pb_tensor *t, ptq_tensor *out);
const char *ptq_onnx_tensor_name(const pb_tensor *t);
/* Points raw_data into the mapped file that external_data names; `expect` bytes. */
ptq_status ptq_onnx_external_resolve(ptq_onnx_file *f, pb_tensor *t, size_t expect);
/* Opens a cleaned relative path below dir without following links, component by component (where
 * the kernel has no openat2); `path` is overwritten. -1 with errno. */
int ptq_onnx_open_stepwise(int dir, char *path);
/* Warns where tensors of one external file overlap without being the same. */
void ptq_onnx_external_check_overlap(ptq_onnx_file *f);

/* "domain\nname\noverload"; NULL: no memory. */
const char *ptq_onnx_function_key(ptq_arena *a, const char *domain, const char *name, const char *overload);
/* Refuses functions that call each other in a circle. */
ptq_status ptq_onnx_check_functions(const pb_model *m);

/* One graph under construction; subgraphs see the graphs around them. */
typedef struct ptq_onnx_build {
    ptq_onnx_file *file;
    ptq_graph *g, *root;
    const pb_graph *p;
    struct ptq_onnx_build *up; /* NULL for the main graph */
    ptq_node *up_node;         /* of up->g, whose attribute this graph is */
    const ptq_map *functions;  /* "domain\nname\noverload" of model-local functions */
    const ptq_map *domains;    /* imported */
    bool keep_order;
    int depth;                 /* graphs and functions around this one */
    const pb_function *function; /* whose body this graph is, and the node that calls it; else NULL */
    const ptq_node *call;
    size_t *inlined;           /* nodes that came from functions */
} ptq_onnx_build;

ptq_status ptq_onnx_build_graph(ptq_onnx_build *b);
/* Calls of model-local functions in b->g become their bodies. */
ptq_status ptq_onnx_inline_calls(ptq_onnx_build *b);
/* The function that a node calls, or NULL. */
ptq_status ptq_onnx_called(const ptq_onnx_build *b, const ptq_node *n, const pb_function **out);
/* Numbers of inputs and outputs against the table's row; n->def is set. */
ptq_status ptq_onnx_check_arity(const ptq_node *n);
/* The value of that name in b or, captured, in the graphs around it; *out NULL: none. */
ptq_status ptq_onnx_resolve(ptq_onnx_build *b, const char *name, ptq_value **out);
ptq_status ptq_onnx_read_attrs(ptq_onnx_build *b, ptq_node *n, const pb_node *p);
/* Reads a declared tensor type; other types leave undefined and rank -1. */
ptq_status ptq_onnx_read_type(ptq_graph *g, const pb_type *t, const char *name, ptq_dtype *dtype,
                              ptq_shape *shape);

/* ptq_onnx_load, with the external file `location` read from another path (NULL: none). */
ptq_status ptq_onnx_load_alias(const char *path, const char *location, const char *location_path,
                               ptq_graph **out);

/* ---- saving ---- */

/* The graph as messages in `a`, which share all they can with what was loaded. */
ptq_status ptq_onnx_emit(const ptq_graph *g, ptq_arena *a, pb_model **out);
/* The constants of g that belong into a file as initializers. */
bool ptq_onnx_is_initializer(const ptq_value *v);
ptq_status ptq_onnx_emit_tensor(ptq_arena *a, const char *name, const ptq_tensor *t, pb_tensor **out);
/* ValueInfoProto of v; `p` (may be NULL) where it still says the truth. */
ptq_status ptq_onnx_emit_value(const ptq_graph *g, ptq_arena *a, const ptq_value *v, const pb_value *p,
                               pb_value **out);
/* A subgraph. */
ptq_status ptq_onnx_emit_body(const ptq_graph *g, ptq_arena *a, pb_graph **out);
ptq_status ptq_onnx_emit_node(const ptq_graph *g, ptq_arena *a, const ptq_node *n, pb_node **out);

/* protobuf-c's structs know no const; what is put in with this is only read. */
static inline void *ptq_onnx_mut(const void *p)
{
    return (void *)(uintptr_t)p;
}

static inline const char *ptq_onnx_str(const char *s)
{
    return s ? s : "";
}

/* "" for ai.onnx */
static inline const char *ptq_onnx_domain(const char *s)
{
    return !s || __builtin_strcmp(s, "ai.onnx") == 0 ? "" : s;
}

#endif
