/* SPDX-License-Identifier: Apache-2.0 */
/* Several tensors of one logical shape walked at once, each with its own steps (0 where it is
 * broadcast). Neighbouring dimensions that all operands run through alike become one, so that
 * inner runs are long. */
#ifndef PTQ_EXEC_WALK_H
#define PTQ_EXEC_WALK_H

#include <ptq/types.h>

#include "lib/core/core.h"

enum { PTQ_WALK_OPS = 4, PTQ_WALK_DIMS = 2 * PTQ_MAX_RANK };

typedef struct ptq_walk {
    int rank, nops;
    int64_t dims[PTQ_WALK_DIMS];
    int64_t step[PTQ_WALK_OPS][PTQ_WALK_DIMS]; /* in elements */
    int64_t base[PTQ_WALK_OPS];
} ptq_walk;

/* Operand 0 is the dense output of this shape. */
void ptq_walk_init(ptq_walk *w, int rank, const int64_t *dims);
/* Adds a dense operand that broadcasts to the walk's shape (numpy rule). */
void ptq_walk_add(ptq_walk *w, int rank, const int64_t *dims);
/* Adds an operand with given steps. */
void ptq_walk_add_steps(ptq_walk *w, const int64_t *step, int64_t base);
/* At least one dimension is left. */
void ptq_walk_merge(ptq_walk *w);

#endif
