/* SPDX-License-Identifier: Apache-2.0 */
/* Where the elements of an integer step's tensors lie: what kernels of every backend need before
 * they start. */
#ifndef PTQ_EXEC_GEOMETRY_H
#define PTQ_EXEC_GEOMETRY_H

#include "lib/core/qmath.h"
#include "lib/exec/backend.h"

/* A rank-3..5 activation [N, C, spatial...] as bytes: element (n, c, pixel) lies at
 * n * ns + c * cs + pixel * ps; the spatial dims are padded in front to three. */
typedef struct ptq_int_view {
    int64_t n, c, d[3], pixels;
    int64_t ns, cs, ps;
} ptq_int_view;
bool ptq_int_view_of(const ptq_tensor *t, ptq_layout layout, ptq_int_view *v);
/* Window of the anchor with spatial dims padded in front to three. */
ptq_status ptq_int_window(const ptq_step_run *r, const int64_t *kernel, ptq_window *w);

/* The law of a residual for this run; kind is NONE where the product has none. */
ptq_residual ptq_int_residual(const ptq_step_run *r);

/* Broadcasting of up to three tensors over the output's elements, in the output's memory order:
 * merged dims, outermost first; step[t][i] in elements of tensor t (0 a, 1 b, 2 y). */
typedef struct ptq_int_bcast {
    int nd;
    int64_t dim[PTQ_MAX_RANK];
    int64_t step[3][PTQ_MAX_RANK];
    int64_t total;
    bool swapped; /* a is the scalar of the innermost logical span (see doc/numerics.md, qadd) */
} ptq_int_bcast;
ptq_status ptq_int_bcast_plan(const ptq_step_run *r, ptq_int_bcast *b);
/* Memory steps of the logical dims of a tensor. */
void ptq_int_steps(const ptq_tensor *t, ptq_layout layout, int64_t *step);

/* Batched product shapes, shared by Gemm, MatMul, qgemm and qmatmul: C[b] = A[b] B[b]. */
typedef struct ptq_int_mm {
    int64_t batch, m, n, k;
    int64_t a_row, a_col, b_row, b_col; /* element steps */
    int nbd;                            /* batch dims of the output and steps of a and b in them */
    int64_t bdim[PTQ_MAX_RANK], a_step[PTQ_MAX_RANK], b_step[PTQ_MAX_RANK];
} ptq_int_mm;
ptq_status ptq_mm_of(const ptq_step_run *r, bool trans_a, bool trans_b, ptq_int_mm *mm);
ptq_status ptq_int_mm_of(const ptq_step_run *r, ptq_int_mm *mm); /* of an integer step */
/* Element offsets of batch i of a and b. */
void ptq_int_mm_offsets(const ptq_int_mm *mm, int64_t i, int64_t *a, int64_t *b);

#endif
