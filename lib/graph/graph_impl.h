/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that implement graph.h; nobody else includes it. */
#ifndef PTQ_GRAPH_GRAPH_IMPL_H
#define PTQ_GRAPH_GRAPH_IMPL_H

#include <stdatomic.h>

#include "lib/graph/graph.h"

struct ptq_symtab {
    PTQ_VEC(const char *) names; /* id - 1 */
    ptq_map *by_name;            /* name -> id */
    int fresh;
};

typedef struct ptq_owned {
    void *thing;
    void (*release)(void *);
    struct ptq_owned *next;
} ptq_owned;

/* A graph's memory goes when the last of its users has: itself and the clones that share it. */
typedef struct ptq_life {
    atomic_int users;
    ptq_graph *graph;
} ptq_life;

ptq_symtab *ptq_symtab_new(ptq_arena *a);
void ptq_symtab_free(ptq_symtab *t);
bool ptq_symtab_copy(ptq_arena *a, ptq_symtab *to, const ptq_symtab *from);

#endif
