/* SPDX-License-Identifier: Apache-2.0 */
/* Where the elements of an attention step's tensors lie, for the kernels of every backend. */
#ifndef PTQ_EXEC_ATTENTION_H
#define PTQ_EXEC_ATTENTION_H

#include "lib/exec/view.h"

/* Element steps of one tensor: batch dims, rows and columns of its matrices. */
typedef struct ptq_attention_steps {
    int64_t offset; /* of the first element (a Gather among the movers) */
    int64_t batch[PTQ_MAX_RANK], row, col;
    bool apart; /* its movers cannot be told as steps: these are of the dense result, which the caller
                   makes (q, k, v) or takes through them (y) */
} ptq_attention_steps;

/* Matrices of every combination of the batch dims: q [m][d], k [d][n], v [n][dv], y [m][dv], mask [m][n]. */
typedef struct ptq_attention {
    int nbd;
    int64_t bdim[PTQ_MAX_RANK], batch; /* batch: their product */
    int64_t m, n, d, dv;
    ptq_attention_steps q, k, v, y, mask;
    int yrank; /* of the dense result, whose batch dims may be fewer than nbd */
    int64_t ydims[PTQ_MAX_RANK];
} ptq_attention;

ptq_status ptq_attention_of(const ptq_step_run *r, ptq_attention *a);
/* Does attention read a tensor of these sizes in place, through such movers? */
bool ptq_attention_in_place(const ptq_movers *m, const int64_t *dims, int rank);

#endif
