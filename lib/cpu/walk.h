/* SPDX-License-Identifier: Apache-2.0 */
/* Walks several tensors of one logical shape at once, each with its own steps (0 where it is
 * broadcast). Neighbouring dimensions that all operands run through alike become one, so that
 * inner loops are long; the outer part is spread over the pool. */
#ifndef PTQ_CPU_WALK_H
#define PTQ_CPU_WALK_H

#include "lib/cpu/fkernel.h"

enum { PTQ_WALK_OPS = 4, PTQ_WALK_DIMS = 2 * PTQ_MAX_RANK };

typedef struct ptq_walk {
    int rank, nops;
    int64_t dims[PTQ_WALK_DIMS];
    int64_t step[PTQ_WALK_OPS][PTQ_WALK_DIMS]; /* in elements */
    int64_t base[PTQ_WALK_OPS];
} ptq_walk;

/* One inner run: n elements, operand i at offset off[i], step[i] elements apart. */
typedef void (*ptq_walk_fn)(const void *ctx, const int64_t *off, const int64_t *step, int64_t n);

/* Operand 0 is the dense output of this shape. */
void ptq_walk_init(ptq_walk *w, int rank, const int64_t *dims);
/* Adds a dense operand that broadcasts to the walk's shape (numpy rule). */
void ptq_walk_add(ptq_walk *w, int rank, const int64_t *dims);
/* Adds an operand with given steps. */
void ptq_walk_add_steps(ptq_walk *w, const int64_t *step, int64_t base);
void ptq_walk_merge(ptq_walk *w);
/* Merges, then runs. */
ptq_status ptq_walk_run(ptq_cpu *c, ptq_walk *w, ptq_walk_fn fn, const void *ctx);

/* Copies elements of `bytes` (1, 2, 4 or 8) bytes: operand 0 is written, operand 1 read. */
ptq_status ptq_walk_copy(ptq_cpu *c, ptq_walk *w, void *dst, const void *src, size_t bytes);

#endif
