/* SPDX-License-Identifier: Apache-2.0 */
/* The law of qgemm and qmatmul in plain loops, and the shapes of a batched product. */
#include "lib/cpu/int.h"

/* Row and column steps of the matrix in the last two dims; batch steps of the others against the
 * output's batch dims. */
static void matrix_of(const ptq_tensor *t, bool trans, int64_t *rows, int64_t *cols, int64_t *row,
                      int64_t *col)
{
    int64_t d0 = t->rank > 1 ? t->dims[t->rank - 2] : 1, d1 = t->dims[t->rank - 1];
    *rows = trans ? d1 : d0;
    *cols = trans ? d0 : d1;
    *row = trans ? 1 : d1;
    *col = trans ? d1 : 1;
}

ptq_status ptq_int_mm_of(const ptq_step_run *r, ptq_int_mm *mm)
{
    const ptq_qlinear_params *p = r->step->params;
    const ptq_tensor *a = r->in[0], *b = r->in[1];
    ptq_tensor a1 = *a, b1 = *b; /* vectors as matrices, as MatMul has it */
    if (a->rank == 1) {
        a1.rank = 2;
        a1.dims[0] = 1;
        a1.dims[1] = a->dims[0];
    }
    if (b->rank == 1) {
        b1.rank = 2;
        b1.dims[1] = 1;
    }
    int64_t ak, bk;
    matrix_of(&a1, p->trans_a, &mm->m, &ak, &mm->a_row, &mm->a_col);
    matrix_of(&b1, p->trans_b, &bk, &mm->n, &mm->b_row, &mm->b_col);
    if (ak != bk)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: inner sizes %lld and %lld differ", r->step->name,
                        (long long)ak, (long long)bk);
    mm->k = ak;
    mm->nbd = (a1.rank > b1.rank ? a1.rank : b1.rank) - 2;
    mm->batch = 1;
    int64_t as = a1.dims[a1.rank - 2] * a1.dims[a1.rank - 1];
    int64_t bs = b1.dims[b1.rank - 2] * b1.dims[b1.rank - 1];
    for (int i = mm->nbd - 1; i >= 0; i--) {
        int ia = i - (mm->nbd - (a1.rank - 2)), ib = i - (mm->nbd - (b1.rank - 2));
        int64_t da = ia < 0 ? 1 : a1.dims[ia], db = ib < 0 ? 1 : b1.dims[ib];
        if (da != db && da != 1 && db != 1)
            return ptq_fail(PTQ_ERR_MODEL, "node %s: batch sizes %lld and %lld do not broadcast",
                            r->step->name, (long long)da, (long long)db);
        mm->bdim[i] = da == 1 ? db : da;
        mm->a_step[i] = da == 1 ? 0 : as;
        mm->b_step[i] = db == 1 ? 0 : bs;
        as *= da;
        bs *= db;
        mm->batch *= mm->bdim[i];
    }
    return PTQ_OK;
}

void ptq_int_mm_offsets(const ptq_int_mm *mm, int64_t i, int64_t *a, int64_t *b)
{
    *a = *b = 0;
    for (int d = mm->nbd - 1; d >= 0; d--) {
        int64_t at = i % mm->bdim[d];
        i /= mm->bdim[d];
        *a += at * mm->a_step[d];
        *b += at * mm->b_step[d];
    }
}

static ptq_status product(const ptq_step_run *r)
{
    const ptq_qlinear_params *p = r->step->params;
    bool as = ptq_int_signed(r->in[0]->dtype), bs = ptq_int_signed(r->in[1]->dtype);
    ptq_int_mm mm;
    PTQ_TRY(ptq_int_mm_of(r, &mm));
    for (int64_t i = 0; i < mm.batch; i++) {
        int64_t a0, b0;
        ptq_int_mm_offsets(&mm, i, &a0, &b0);
        for (int64_t m = 0; m < mm.m; m++)
            for (int64_t n = 0; n < mm.n; n++) {
                int32_t zb = ptq_int_wzp(p, n);
                uint32_t acc = p->bias ? (uint32_t)p->bias[n] : 0;
                for (int64_t k = 0; k < mm.k; k++)
                    acc += (uint32_t)(
                        (ptq_int_byte(r->in[0]->data, a0 + m * mm.a_row + k * mm.a_col, as) - p->x.zp) *
                        (ptq_int_byte(r->in[1]->data, b0 + k * mm.b_row + n * mm.b_col, bs) - zb));
                ptq_int_store(p, r->out[0].data, (i * mm.m + m) * mm.n + n, (int32_t)acc,
                              ptq_int_mult(p, n));
            }
    }
    return PTQ_OK;
}

ptq_status ptq_int_ref_qgemm(const ptq_step_run *r)
{
    return product(r);
}

ptq_status ptq_int_ref_qmatmul(const ptq_step_run *r)
{
    return product(r);
}
