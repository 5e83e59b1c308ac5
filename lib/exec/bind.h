/* SPDX-License-Identifier: Apache-2.0 */
/* A program with the shapes of one set of inputs: types of all values, views, offsets. */
#ifndef PTQ_EXEC_BIND_H
#define PTQ_EXEC_BIND_H

#include "lib/exec/resolve.h"

enum { PTQ_IN_BLOCK, PTQ_IN_CONSTANT, PTQ_IN_INPUT, PTQ_IN_VIEW, PTQ_IN_DYNAMIC, PTQ_IN_NOWHERE };

typedef struct ptq_binding {
    int64_t *key;      /* rank and dims of every input, in order */
    size_t nkey;
    ptq_tensor *t;     /* [values]; data is set at run time */
    ptq_type *type;    /* [values] */
    ptq_contents **contents; /* [values], NULL where not known */
    uint8_t *place;    /* [values] PTQ_IN_... */
    int *root;         /* [values] the value whose bytes a view shows; itself otherwise */
    int *end;          /* [values] last step that needs the bytes, views included */
    int *over;         /* [values] the value of the block in whose bytes it is written; -1: in none */
    size_t *offset;    /* [values] in the block */
    size_t block_bytes;
    uint64_t used;     /* for the cache */
    void **known;      /* [values] device copies of contents that the shapes tell (lib/exec/copies.c), or NULL */
} ptq_binding;

/* inputs have been checked against the graph. */
ptq_status ptq_binding_new(const ptq_program *p, ptq_resolver *r, const ptq_tensor *inputs,
                           ptq_binding **out);
void ptq_binding_free(const ptq_program *p, ptq_binding *b);
bool ptq_binding_matches(const ptq_binding *b, const ptq_tensor *inputs, size_t n);

/* Bytes of the largest set of values in the block that are alive during one step. */
ptq_status ptq_binding_alive(const ptq_program *p, const ptq_binding *b, size_t *bytes);

/* Type, rank and dims of the inputs against what the graph declares; symbols must agree. */
ptq_status ptq_check_shapes(const ptq_graph *g, const ptq_tensor *inputs, size_t n);
/* The same, and that there are data. */
ptq_status ptq_check_inputs(const ptq_graph *g, const ptq_tensor *inputs, size_t n);

#endif
