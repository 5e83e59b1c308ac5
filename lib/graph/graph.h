/* SPDX-License-Identifier: Apache-2.0 */
/* The in-memory graph: values, nodes, attributes, constants. Everything lives in the graph's
 * arena and dies with it. The graph knows nothing of protobuf: what ONNX carries beyond it is
 * kept as opaque `origin` pointers that only lib/onnx reads.
 *
 * A constant's bytes may lie in a file mapping owned by the loader (see ptq_graph_own). */
#ifndef PTQ_GRAPH_GRAPH_H
#define PTQ_GRAPH_GRAPH_H

#include "lib/core/core.h"

typedef struct ptq_graph ptq_graph;
typedef struct ptq_node ptq_node;
typedef struct ptq_value ptq_value;
struct ptq_op; /* lib/graph/ops.h */

/* ---- symbolic shapes ---- */

/* A dimension is mul * symbol + add (sym > 0), a number (sym == 0, the value is add), or unknown
 * (sym == PTQ_SYM_UNKNOWN). Symbols are named by ptq_symtab; equal ids are equal sizes. */
enum { PTQ_SYM_NONE = 0, PTQ_SYM_UNKNOWN = -1 };
typedef struct ptq_dim {
    int64_t mul, add;
    int32_t sym;
} ptq_dim;

typedef struct ptq_shape {
    int rank; /* -1: not known */
    ptq_dim dims[PTQ_MAX_RANK];
} ptq_shape;

static inline ptq_dim ptq_dim_of(int64_t v) { return (ptq_dim){0, v, PTQ_SYM_NONE}; }
static inline ptq_dim ptq_dim_unknown(void) { return (ptq_dim){0, 0, PTQ_SYM_UNKNOWN}; }
static inline ptq_dim ptq_dim_sym(int32_t s) { return (ptq_dim){1, 0, s}; }
static inline bool ptq_dim_known(ptq_dim d) { return d.sym == PTQ_SYM_NONE; }
static inline bool ptq_dim_equal(ptq_dim a, ptq_dim b) /* proven equal */
{
    return a.sym != PTQ_SYM_UNKNOWN && a.sym == b.sym && a.mul == b.mul && a.add == b.add;
}
ptq_dim ptq_dim_add(ptq_dim a, ptq_dim b);
ptq_dim ptq_dim_sub(ptq_dim a, ptq_dim b);
ptq_dim ptq_dim_mul(ptq_dim a, ptq_dim b);
ptq_dim ptq_dim_div(ptq_dim a, ptq_dim b); /* floor division; unknown unless exact or numeric */
static inline ptq_shape ptq_shape_unknown(void) { return (ptq_shape){.rank = -1}; }
bool ptq_shape_known(const ptq_shape *s); /* rank and every dim are numbers */
/* "[batch,3,64,64]" into buf; symbols print by name when tab is given, unknown as "?". */
typedef struct ptq_symtab ptq_symtab;
const char *ptq_shape_print(const ptq_shape *s, const ptq_symtab *tab, char *buf, size_t n);

/* Symbol names. id 1.. ; the same name gives the same id; NULL name gives a fresh symbol. */
int32_t ptq_symbol(ptq_graph *g, const char *name);
const char *ptq_symbol_name(const ptq_symtab *tab, int32_t id);

/* ---- attributes ---- */

typedef enum ptq_attr_type {
    PTQ_ATTR_FLOAT = 1, /* numbers of ONNX AttributeProto.AttributeType */
    PTQ_ATTR_INT = 2,
    PTQ_ATTR_STRING = 3,
    PTQ_ATTR_TENSOR = 4,
    PTQ_ATTR_GRAPH = 5,
    PTQ_ATTR_FLOATS = 6,
    PTQ_ATTR_INTS = 7,
    PTQ_ATTR_STRINGS = 8,
    PTQ_ATTR_TENSORS = 9,
    PTQ_ATTR_GRAPHS = 10,
    PTQ_ATTR_OTHER = 99
} ptq_attr_type;

typedef struct ptq_attr {
    const char *name;
    ptq_attr_type type;
    size_t n; /* elements of the list types; bytes of `s` */
    float f;
    int64_t i;
    const char *s; /* NUL-terminated copy */
    const float *floats;
    const int64_t *ints;
    const char *const *strings;
    const ptq_tensor *tensor;
    ptq_graph *graph; /* subgraph; belongs to the graph of the node */
    const void *origin; /* the AttributeProto, for lib/onnx */
} ptq_attr;

/* ---- values and nodes ---- */

typedef struct ptq_use {
    ptq_node *node;
    int slot; /* input slot; -1: captured by a subgraph of the node */
} ptq_use;

struct ptq_value {
    const char *name; /* unique in the graph, never empty */
    int id;           /* index in graph->values */
    ptq_dtype dtype;  /* PTQ_DT_UNDEFINED when not known */
    ptq_shape shape;
    const ptq_tensor *constant; /* initializer or folded value; NULL otherwise */
    ptq_node *producer;         /* NULL for graph inputs and initializers */
    int producer_slot;
    PTQ_VEC(ptq_use) uses;
    bool is_input, is_output; /* of the graph. An initializer that is also listed as an input is
                                 a constant; lib/onnx keeps the listing (is_input is false). */
    const ptq_dim *contents; /* elements of a small integer tensor of rank 0 or 1, when known */
    int ncontents;
    const void *origin;       /* ValueInfoProto or TensorProto, for lib/onnx */
};

struct ptq_node {
    const char *name;   /* unique and not empty (made up when the file has none) */
    const char *op;     /* operator type */
    const char *domain; /* "" for ai.onnx */
    const struct ptq_op *def; /* row of the table; NULL: unknown operator */
    ptq_value **in;     /* NULL entries are omitted optional inputs */
    int nin;
    ptq_value **out;    /* NULL entries are unused optional outputs */
    int nout;
    ptq_attr *attrs;
    int nattrs;
    ptq_value **captures; /* outer values that subgraphs read */
    int ncaptures;
    ptq_node *prev, *next; /* execution order */
    int id;                /* below graph->next_node_id, unique */
    uint32_t *in_use;      /* where in in[i]->uses the use of slot i lies (graph.c) */
    bool linked;           /* false after ptq_node_remove */
    const void *origin; /* NodeProto, for lib/onnx; NULL for nodes made here */
    const char *doc;    /* doc string for nodes made here, or NULL */
};

typedef struct ptq_metadata {
    const char *key, *value;
} ptq_metadata;

/* Memory of a file mapping that constants lie in. */
typedef struct ptq_file_range {
    const char *p;
    size_t n;
} ptq_file_range;

struct ptq_graph {
    ptq_arena *arena;
    const char *name;
    const char *path; /* of the model file, for messages; "" when loaded from memory */
    int opset;        /* of domain "" */
    int opset_ms;     /* of com.microsoft, 0 when not imported */
    int ir_version;
    PTQ_VEC(ptq_value *) values; /* index = id; removed values stay as NULL */
    ptq_node *first, *last;
    int nnodes;
    int next_node_id;
    PTQ_VEC(ptq_value *) inputs;
    PTQ_VEC(ptq_value *) outputs;
    ptq_graph *outer; /* of a subgraph: the graph around it; NULL for the main graph */
    PTQ_VEC(ptq_value *) captured; /* of a subgraph: stand for the values of these names in `outer` */
    ptq_map *by_name; /* value by name */
    ptq_map *node_by_name;
    ptq_symtab *syms;
    void *origin; /* the loaded ModelProto and mapping; owned through `owned` */
    struct ptq_owned *owned;
    struct ptq_life *life; /* who still needs this graph */
    struct ptq_life *base; /* of the graph that this one is a clone of, or NULL */
    PTQ_VEC(struct ptq_file_range) files; /* memory that comes back from files by itself */
    char *pool; /* what is left of the memory for constants (ptq_graph_bytes), and how large the last piece was */
    size_t pool_left, pool_piece;
    PTQ_VEC(ptq_metadata) metadata; /* added or changed metadata_props */
    ptq_map *taken;    /* names that subgraphs use: never made up again */
    PTQ_VEC(const char *) taken_names;
    ptq_map *suffixes; /* last number that ptq_graph_unique_name tried, by base */
    bool nomem;        /* a use could not be recorded: the graph is unusable, see verify */
};

/* ---- building and changing ---- */

ptq_status ptq_graph_new(ptq_graph **out);
void ptq_graph_free(ptq_graph *g);
/* Makes the graph call release(thing) when it is freed (a mapping, an unpacked message). */
ptq_status ptq_graph_own(ptq_graph *g, void *thing, void (*release)(void *));
/* Tells that [p, p + n) is a mapping of a file, which outlives the graph. */
ptq_status ptq_graph_file_range(ptq_graph *g, const void *p, size_t n);
/* Where a constant of 1 MiB or more lies in a file, its pages leave this process's memory: what is read once in
 * a while need not stay. Nothing changes for who reads it. */
void ptq_graph_rest(const ptq_graph *g, const ptq_tensor *t);
/* The same for all that lies in files. */
void ptq_graph_rest_all(const ptq_graph *g);
/* Room for a constant that is made here; it dies with the graph. Of 64 KiB and more it lies in a file where there
 * can be one (lib/core/spill.h). Not zeroed, 64-byte aligned; NULL when out of memory. */
void *ptq_graph_bytes(ptq_graph *g, size_t n);
/* A copy of nodes and values. Strings, constants' bytes and origins are shared: `g` may be freed
 * before the copy, what they share then goes with the last of them. */
ptq_status ptq_graph_clone(const ptq_graph *g, ptq_graph **out);

/* Appends to the graph's inputs or outputs and sets the flag. */
ptq_status ptq_graph_add_input(ptq_graph *g, ptq_value *v);
ptq_status ptq_graph_add_output(ptq_graph *g, ptq_value *v);
/* Keeps ptq_graph_unique_name away from a name that a subgraph uses. */
ptq_status ptq_graph_reserve_name(ptq_graph *g, const char *name);

/* New value; PTQ_ERR_MODEL when the name is taken. */
ptq_status ptq_graph_value(ptq_graph *g, const char *name, ptq_value **out);
ptq_value *ptq_graph_find(const ptq_graph *g, const char *name);
/* `base`, or base_1, base_2, ... : one that no value (no node) has. Arena string; NULL when out
 * of memory. */
const char *ptq_graph_unique_name(ptq_graph *g, const char *base);
const char *ptq_graph_unique_node_name(ptq_graph *g, const char *base);
/* New constant value; name is made unique. The bytes are copied into the arena when copy. */
ptq_status ptq_graph_constant(ptq_graph *g, const char *name, const ptq_tensor *t, bool copy,
                              ptq_value **out);
/* New node at the end, or before `before`. Inputs and outputs are set with the calls below.
 * The name is made unique (from the operator's when NULL or empty). `def` is looked up. */
ptq_status ptq_graph_node(ptq_graph *g, const char *op, const char *domain, const char *name, int nin,
                          int nout, ptq_node *before, ptq_node **out);
void ptq_node_set_input(ptq_graph *g, ptq_node *n, int slot, ptq_value *v);  /* keeps uses */
/* Keeps producers: a former producer of v loses that output slot. */
void ptq_node_set_output(ptq_graph *g, ptq_node *n, int slot, ptq_value *v);
/* Grows or shrinks the input list (new slots NULL). */
ptq_status ptq_node_resize_inputs(ptq_graph *g, ptq_node *n, int nin);
ptq_status ptq_node_capture(ptq_graph *g, ptq_node *n, ptq_value *v);
/* Every reader of `from` (not the graph output list, not captures) reads `to` instead. */
void ptq_value_replace_uses(ptq_graph *g, ptq_value *from, ptq_value *to);
/* Unlinks a node from the order and from the uses of its inputs; its outputs lose their
 * producer. Its fields stay readable. */
void ptq_node_remove(ptq_graph *g, ptq_node *n);
void ptq_node_move_before(ptq_graph *g, ptq_node *n, ptq_node *before); /* NULL: to the end */
/* Unlinks a value without producer and uses that is neither input nor output. */
void ptq_value_remove(ptq_graph *g, ptq_value *v);
/* Turns v into a constant (its producer is detached from that slot). Bytes copied when copy. */
ptq_status ptq_value_make_constant(ptq_graph *g, ptq_value *v, const ptq_tensor *t, bool copy);
/* What n->attrs[name] holds when it is a graph, else NULL. */
ptq_graph *ptq_node_body(const ptq_node *n, const char *name);
/* Puts the nodes of `body` in the place of `at`, which is removed: its inputs are in[] (NULL: omitted),
 * what it captures are values of g, its outputs those of `at`. Names that are taken are made anew behind
 * `prefix` and a slash; constants' bytes are shared, so that g must own body. */
ptq_status ptq_graph_inline(ptq_graph *g, ptq_node *at, const ptq_graph *body, ptq_value *const *in,
                            size_t nin, const char *prefix);
/* A shape of graph `from` in the symbols of g: those with a name keep it, others become unknown. */
ptq_shape ptq_shape_import(ptq_graph *g, const ptq_graph *from, const ptq_shape *s);
/* Sorts nodes topologically (stable: file order where free); PTQ_ERR_MODEL names a cycle.
 * *moved tells whether the order changed. Linear time, no recursion. */
ptq_status ptq_graph_sort(ptq_graph *g, bool *moved);
/* Internal consistency (uses, producers, order, names): PTQ_ERR_INTERNAL when broken. */
ptq_status ptq_graph_verify(const ptq_graph *g);

#define PTQ_GRAPH_EACH_NODE(g, n) for (ptq_node *n = (g)->first; n; n = n->next)
/* Safe against removal of n itself. */
#define PTQ_GRAPH_EACH_NODE_SAFE(g, n, nx)                                                         \
    for (ptq_node *n = (g)->first, *nx = n ? n->next : NULL; n; n = nx, nx = n ? n->next : NULL)

/* ---- attribute access ---- */

const ptq_attr *ptq_attr_find(const ptq_node *n, const char *name); /* NULL when absent */
int64_t ptq_attr_int(const ptq_node *n, const char *name, int64_t dflt);
float ptq_attr_float(const ptq_node *n, const char *name, float dflt);
const char *ptq_attr_str(const ptq_node *n, const char *name, const char *dflt);
/* Borrowed list and its length; NULL and 0 when absent. */
const int64_t *ptq_attr_ints(const ptq_node *n, const char *name, size_t *count);
const float *ptq_attr_floats(const ptq_node *n, const char *name, size_t *count);
/* Add or replace; strings and lists are copied. */
ptq_status ptq_attr_set_int(ptq_graph *g, ptq_node *n, const char *name, int64_t v);
ptq_status ptq_attr_set_float(ptq_graph *g, ptq_node *n, const char *name, float v);
ptq_status ptq_attr_set_str(ptq_graph *g, ptq_node *n, const char *name, const char *v);
ptq_status ptq_attr_set_ints(ptq_graph *g, ptq_node *n, const char *name, const int64_t *v, size_t count);
ptq_status ptq_attr_set_floats(ptq_graph *g, ptq_node *n, const char *name, const float *v, size_t count);
ptq_status ptq_attr_set_strings(ptq_graph *g, ptq_node *n, const char *name, const char *const *v, size_t count);
void ptq_attr_remove(ptq_node *n, const char *name);
ptq_status ptq_graph_set_metadata(ptq_graph *g, const char *key, const char *value);

#endif
