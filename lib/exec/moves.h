/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that only move elements, told as strided copies of elements of any size: a backend
 * brings the copy. Arguments beside input 0 (axes, starts, sizes) are read in host memory. */
#ifndef PTQ_EXEC_MOVES_H
#define PTQ_EXEC_MOVES_H

#include "lib/exec/args.h"
#include "lib/exec/walk.h"

/* Copies elements of `bytes` bytes: operand 0 of the walk is written, operand 1 read. */
typedef ptq_status (*ptq_copy_fn)(void *ctx, ptq_walk *w, void *dst, const void *src, size_t bytes);

ptq_status ptq_move_transpose(const ptq_step_run *r, ptq_copy_fn copy, void *ctx);
ptq_status ptq_move_slice(const ptq_step_run *r, ptq_copy_fn copy, void *ctx);
ptq_status ptq_move_split(const ptq_step_run *r, ptq_copy_fn copy, void *ctx);
ptq_status ptq_move_concat(const ptq_step_run *r, ptq_copy_fn copy, void *ctx);
ptq_status ptq_move_expand(const ptq_step_run *r, ptq_copy_fn copy, void *ctx);
ptq_status ptq_move_tile(const ptq_step_run *r, ptq_copy_fn copy, void *ctx);
ptq_status ptq_move_depth_to_space(const ptq_step_run *r, ptq_copy_fn copy, void *ctx); /* both ways */

/* Gather: block (o, i) of the output is block (o, index i) of the input. */
typedef struct ptq_gather {
    int64_t outer, count, n; /* indices, and entries along the axis */
    size_t block;            /* bytes */
    bool wide;               /* indices of 64 bits */
} ptq_gather;
/* The shape alone, from shapes and types; and the indices, which are in host memory. */
ptq_status ptq_gather_shape(const ptq_step_run *r, ptq_gather *g);
ptq_status ptq_gather_check(const ptq_step_run *r, const ptq_gather *g);
/* Both. */
ptq_status ptq_gather_of(const ptq_step_run *r, ptq_gather *g);
static inline int64_t ptq_gather_index(const ptq_gather *g, const void *at, int64_t i)
{
    int64_t k = g->wide ? ((const int64_t *)at)[i] : ((const int32_t *)at)[i];
    return k < 0 ? k + g->n : k;
}

#endif
