/* SPDX-License-Identifier: Apache-2.0 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "lib/cpu/int.h"

#include <string.h>

const ptq_int_isa *ptq_int_isa_of(const ptq_cpu *c)
{
    if (c->int_isa)
        return c->int_isa->dot ? c->int_isa : NULL;
#if defined(PTQ_X86)
    static const ptq_int_isa isas[] = {
        [PTQ_ISA_REF] = {"ref", NULL, NULL},
        [PTQ_ISA_AVX2] = {"avx2", &ptq_int_dot_avx2, &ptq_int_vec_avx2},
        [PTQ_ISA_AVX512] = {"avx512", &ptq_int_dot_avx512, &ptq_int_vec_avx512},
        [PTQ_ISA_VNNI] = {"vnni", &ptq_int_dot_vnni, &ptq_int_vec_avx512},
    };
    if ((size_t)c->isa < PTQ_COUNT(isas) && isas[c->isa].dot)
        return &isas[c->isa];
#endif
    return NULL;
}

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
