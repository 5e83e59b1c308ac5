/* SPDX-License-Identifier: Apache-2.0 */
/* Runs walks of lib/exec/walk.h on the CPU; the outer part is spread over the pool. */
#ifndef PTQ_CPU_WALK_H
#define PTQ_CPU_WALK_H

#include "lib/cpu/fkernel.h"
#include "lib/exec/walk.h"

/* One inner run: n elements, operand i at offset off[i], step[i] elements apart. */
typedef void (*ptq_walk_fn)(const void *ctx, const int64_t *off, const int64_t *step, int64_t n);

/* Merges, then runs. */
ptq_status ptq_walk_run(ptq_cpu *c, ptq_walk *w, ptq_walk_fn fn, const void *ctx);

/* Copies elements of `bytes` (1, 2, 4 or 8) bytes: operand 0 is written, operand 1 read. */
ptq_status ptq_walk_copy(ptq_cpu *c, ptq_walk *w, void *dst, const void *src, size_t bytes);

#endif
