/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/geometry.h"

#include <string.h>

bool ptq_int_view_of(const ptq_tensor *t, ptq_layout layout, ptq_int_view *v)
{
    if (t->rank < 2 || t->rank > 5)
        return false;
    v->n = t->dims[0];
    v->c = t->dims[1];
    v->pixels = 1;
    int nd = t->rank - 2;
    for (int i = 0; i < 3; i++) {
        v->d[i] = i < 3 - nd ? 1 : t->dims[2 + i - (3 - nd)];
        v->pixels *= v->d[i];
    }
    bool nhwc = layout == PTQ_LAYOUT_NHWC;
    v->ns = v->c * v->pixels;
    v->cs = nhwc ? 1 : v->pixels;
    v->ps = nhwc ? v->c : 1;
    return true;
}

ptq_status ptq_int_window(const ptq_step_run *r, const int64_t *kernel, ptq_window *w)
{
    const ptq_tensor *x = r->in[0];
    int nd = x->rank - 2;
    if (nd < 1 || nd > 3)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: %s of rank %d, 3 to 5 is supported",
                        r->step->name, r->step->def->name, x->rank);
    ptq_window v;
    PTQ_TRY(ptq_window_read(r->step->node, nd, x->dims + 2, kernel, &v));
    *w = v;
    w->nd = 3;
    for (int i = 0; i < 3; i++) {
        int s = i - (3 - nd);
        w->kernel[i] = s < 0 ? 1 : v.kernel[s];
        w->stride[i] = s < 0 ? 1 : v.stride[s];
        w->dilation[i] = s < 0 ? 1 : v.dilation[s];
        w->pad_begin[i] = s < 0 ? 0 : v.pad_begin[s];
        w->pad_end[i] = s < 0 ? 0 : v.pad_end[s];
    }
    return PTQ_OK;
}

ptq_residual ptq_int_residual(const ptq_step_run *r)
{
    const ptq_qlinear_params *q = r->step->params;
    const ptq_residual_params *p = &q->residual;
    ptq_residual a = {.kind = p->kind, .lo = p->qlo, .hi = p->qhi, .z = p->skip.zp};
    if (p->kind == PTQ_RESIDUAL_FLOAT)
        a.r = p->skip.scale / q->y.scale;
    if (p->kind != PTQ_RESIDUAL_ROUNDED)
        return a;
    /* as in ptq_int_bcast_plan: the operands of a single element change places */
    a.skip_first = p->skip_first != (ptq_tensor_elements(&r->out[0]) == 1);
    ptq_affine first = a.skip_first ? p->skip : p->product, second = a.skip_first ? p->product : p->skip;
    a.add = ptq_qadd_prepare(first.scale, first.zp, second.scale, second.zp, p->sum.scale, p->sum.zp);
    return a;
}

void ptq_int_steps(const ptq_tensor *t, ptq_layout layout, int64_t *step)
{
    int64_t s = 1;
    if (layout == PTQ_LAYOUT_NHWC && t->rank == 4) {
        static const int order[4] = {1, 3, 2, 0};
        for (int i = 0; i < 4; i++) {
            step[order[i]] = s;
            s *= t->dims[order[i]];
        }
        return;
    }
    for (int i = t->rank - 1; i >= 0; i--) {
        step[i] = s;
        s *= t->dims[i];
    }
}

/* Dims in memory order of y; neighbours that are contiguous in all three tensors become one. */
static void merge(ptq_int_bcast *b, const int64_t *dims, int64_t (*step)[3], const int *order, int rank)
{
    b->nd = 0;
    for (int i = 0; i < rank; i++) {
        int o = order[i];
        if (dims[o] == 1)
            continue;
        int l = b->nd - 1;
        bool fits = l >= 0;
        for (int t = 0; fits && t < 3; t++)
            fits = b->step[t][l] == step[o][t] * dims[o];
        if (!fits) {
            l = b->nd++;
            b->dim[l] = 1;
        }
        b->dim[l] *= dims[o];
        for (int t = 0; t < 3; t++)
            b->step[t][l] = step[o][t];
    }
    if (b->nd == 0) {
        b->nd = 1;
        b->dim[0] = 1;
        for (int t = 0; t < 3; t++)
            b->step[t][0] = 1;
    }
}

ptq_status ptq_int_bcast_plan(const ptq_step_run *r, ptq_int_bcast *b)
{
    const ptq_tensor *y = &r->out[0];
    int64_t step[PTQ_MAX_RANK][3], own[PTQ_MAX_RANK];
    memset(step, 0, sizeof step);
    ptq_int_steps(y, r->out_layout[0], own);
    for (int i = 0; i < y->rank; i++)
        step[i][2] = own[i];
    for (int t = 0; t < 2; t++) {
        const ptq_tensor *x = r->in[t];
        int lead = y->rank - x->rank;
        if (lead < 0)
            return ptq_fail(PTQ_ERR_INTERNAL, "node %s: input %d has rank %d above the output's %d",
                            r->step->name, t, x->rank, y->rank);
        ptq_int_steps(x, r->in_layout[t], own);
        for (int i = 0; i < x->rank; i++) {
            if (x->dims[i] != 1 && x->dims[i] != y->dims[lead + i])
                return ptq_fail(PTQ_ERR_INTERNAL, "node %s: input %d does not broadcast to the output",
                                r->step->name, t);
            step[lead + i][t] = x->dims[i] == 1 ? 0 : own[i];
        }
    }
    int order[PTQ_MAX_RANK];
    bool nhwc = r->out_layout[0] == PTQ_LAYOUT_NHWC && y->rank == 4;
    for (int i = 0; i < y->rank; i++)
        order[i] = nhwc ? (int[]){0, 2, 3, 1}[i] : i;
    b->total = ptq_tensor_elements(y);
    b->swapped = true; /* also when both are single elements */
    for (int i = y->rank - 1; i >= 0; i--) {
        if (y->dims[i] == 1)
            continue;
        int ia = i - (y->rank - r->in[0]->rank);
        b->swapped = ia < 0 || r->in[0]->dims[ia] == 1;
        break;
    }
    merge(b, y->dims, step, order, y->rank);
    return PTQ_OK;
}

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

ptq_status ptq_mm_of(const ptq_step_run *r, bool trans_a, bool trans_b, ptq_int_mm *mm)
{
    const ptq_tensor *a = r->in[0], *b = r->in[1];
    if (a->rank < 1 || b->rank < 1)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %s of a scalar", r->step->name, r->step->node->op);
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
    matrix_of(&a1, trans_a, &mm->m, &ak, &mm->a_row, &mm->a_col);
    matrix_of(&b1, trans_b, &bk, &mm->n, &mm->b_row, &mm->b_col);
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

ptq_status ptq_int_mm_of(const ptq_step_run *r, ptq_int_mm *mm)
{
    const ptq_qlinear_params *p = r->step->params;
    return ptq_mm_of(r, p->trans_a, p->trans_b, mm);
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
