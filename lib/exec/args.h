/* SPDX-License-Identifier: Apache-2.0 */
/* What kernels of every backend ask of the step they run. */
#ifndef PTQ_EXEC_ARGS_H
#define PTQ_EXEC_ARGS_H

#include "lib/exec/backend.h"

static inline const ptq_tensor *ptq_in(const ptq_step_run *r, int i)
{
    return i < r->step->nin ? r->in[i] : NULL;
}

static inline int64_t ptq_product(const int64_t *d, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++)
        n *= d[i];
    return n;
}

/* Axis attribute into [0, rank]. */
static inline int ptq_axis(int64_t axis, int rank)
{
    return (int)(axis < 0 ? axis + rank : axis);
}

static inline size_t ptq_elem_bytes(ptq_dtype t)
{
    return (size_t)ptq_dtype_bits(t) / 8;
}

/* Integers of a small s32 or s64 tensor; false when it is neither or has more than max. */
bool ptq_ints_of(const ptq_tensor *t, int64_t *v, int max, int *n);

/* A copy of t, malloc'ed, as output i whose shape the step alone knows; the runner frees it. */
ptq_status ptq_give_copy(const ptq_step_run *r, int i, const ptq_tensor *t);

/* PTQ_ERR_MODEL: the step's arguments do not fit its input. */
ptq_status ptq_bad_args(const ptq_step_run *r);

#endif
