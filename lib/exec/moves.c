/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/moves.h"

#include <string.h>

#include "lib/graph/infer.h"

/* ---- steps of a dense tensor ---- */

static void dense_steps(const ptq_tensor *t, int64_t *step)
{
    int64_t at = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        step[d] = at;
        at *= t->dims[d];
    }
}

ptq_status ptq_move_transpose(const ptq_step_run *r, ptq_copy_fn copy, void *ctx)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    int64_t own[PTQ_MAX_RANK], step[PTQ_MAX_RANK];
    size_t n;
    const int64_t *perm = ptq_attr_ints(r->step->node, "perm", &n);
    ptq_walk w;
    dense_steps(x, own);
    for (int d = 0; d < x->rank; d++)
        step[d] = own[perm ? perm[d] : x->rank - 1 - d];
    ptq_walk_init(&w, y->rank, y->dims);
    ptq_walk_add_steps(&w, step, 0);
    return copy(ctx, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}

/* ---- Slice ---- */

/* Integers of an input, or of an attribute in older opsets. *n is -1 when neither is there. */
static bool ints_arg(const ptq_step_run *r, int slot, const char *attr, int64_t *v, int *n)
{
    size_t count;
    const int64_t *list = attr ? ptq_attr_ints(r->step->node, attr, &count) : NULL;
    const ptq_tensor *t = ptq_in(r, slot);
    *n = -1;
    if (list) {
        if (count > PTQ_MAX_RANK)
            return false;
        for (size_t i = 0; i < count; i++)
            v[i] = list[i];
        *n = (int)count;
        return true;
    }
    return !t || ptq_ints_of(t, v, PTQ_MAX_RANK, n);
}

ptq_status ptq_move_slice(const ptq_step_run *r, ptq_copy_fn copy, void *ctx)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    int64_t start[PTQ_MAX_RANK], end[PTQ_MAX_RANK], axes[PTQ_MAX_RANK], by[PTQ_MAX_RANK];
    int64_t step[PTQ_MAX_RANK], base = 0;
    int ns, ne, na, nb;
    if (!ints_arg(r, 1, "starts", start, &ns) || !ints_arg(r, 2, "ends", end, &ne) ||
        !ints_arg(r, 3, "axes", axes, &na) || !ints_arg(r, 4, NULL, by, &nb) || ns < 0 ||
        ne != ns || (na >= 0 && na != ns) || (nb >= 0 && nb != ns) || ns > x->rank)
        return ptq_bad_args(r);
    dense_steps(x, step);
    for (int i = 0; i < ns; i++) {
        int a = na < 0 ? i : ptq_axis(axes[i], x->rank);
        int64_t first, s = nb < 0 ? 1 : by[i];
        if (a < 0 || a >= x->rank || s == 0)
            return ptq_bad_args(r);
        if (ptq_slice_range(x->dims[a], start[i], end[i], s, &first) != y->dims[a])
            return ptq_bad_args(r);
        base += y->dims[a] ? first * step[a] : 0;
        step[a] *= s;
    }
    ptq_walk w;
    ptq_walk_init(&w, y->rank, y->dims);
    ptq_walk_add_steps(&w, step, base);
    return copy(ctx, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}

/* ---- Split, Concat ---- */

/* Copies a block of `dims` between two dense tensors whose shapes differ along `axis`. */
static ptq_status copy_block(ptq_copy_fn copy, void *ctx, const ptq_tensor *dst, int64_t dst_at,
                             const ptq_tensor *src, int64_t src_at, int axis, const int64_t *dims)
{
    ptq_walk w = {.rank = dst->rank, .nops = 2};
    int64_t ds[PTQ_MAX_RANK], ss[PTQ_MAX_RANK];
    dense_steps(dst, ds);
    dense_steps(src, ss);
    for (int d = 0; d < dst->rank; d++) {
        w.dims[d] = dims[d];
        w.step[0][d] = ds[d];
        w.step[1][d] = ss[d];
    }
    w.base[0] = dst_at * ds[axis];
    w.base[1] = src_at * ss[axis];
    return copy(ctx, &w, dst->data, src->data, ptq_elem_bytes(src->dtype));
}

ptq_status ptq_move_split(const ptq_step_run *r, ptq_copy_fn copy, void *ctx)
{
    const ptq_tensor *x = r->in[0];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", 0), x->rank);
    int64_t at = 0;
    for (int i = 0; i < r->step->nout; i++) {
        const ptq_tensor *y = &r->out[i];
        if (!y->data) { /* an output that nobody reads: its size follows from the others */
            int64_t sizes[PTQ_MAX_RANK];
            int n;
            int64_t even = (x->dims[axis] + r->step->nout - 1) / r->step->nout;
            if (!ints_arg(r, 1, "split", sizes, &n) || n > PTQ_MAX_RANK)
                return ptq_bad_args(r);
            at += n > i ? sizes[i] : even;
            continue;
        }
        PTQ_TRY(copy_block(copy, ctx, y, 0, x, at, axis, y->dims));
        at += y->dims[axis];
    }
    return PTQ_OK;
}

ptq_status ptq_move_concat(const ptq_step_run *r, ptq_copy_fn copy, void *ctx)
{
    const ptq_tensor *y = &r->out[0];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", 0), y->rank);
    int64_t at = 0;
    for (int i = 0; i < r->step->nin; i++) {
        PTQ_TRY(copy_block(copy, ctx, y, at, r->in[i], 0, axis, r->in[i]->dims));
        at += r->in[i]->dims[axis];
    }
    return PTQ_OK;
}

/* ---- Expand, Tile ---- */

ptq_status ptq_move_expand(const ptq_step_run *r, ptq_copy_fn copy, void *ctx)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    ptq_walk w;
    ptq_walk_init(&w, y->rank, y->dims);
    ptq_walk_add(&w, x->rank, x->dims);
    return copy(ctx, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}

ptq_status ptq_move_tile(const ptq_step_run *r, ptq_copy_fn copy, void *ctx)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    ptq_walk w = {.rank = 2 * x->rank, .nops = 2};
    int64_t xs[PTQ_MAX_RANK], ys[PTQ_MAX_RANK];
    dense_steps(x, xs);
    dense_steps(y, ys);
    for (int d = 0; d < x->rank; d++) { /* repeats, then the dimension itself */
        w.dims[2 * d] = x->dims[d] ? y->dims[d] / x->dims[d] : 0;
        w.step[0][2 * d] = ys[d] * x->dims[d];
        w.dims[2 * d + 1] = x->dims[d];
        w.step[0][2 * d + 1] = ys[d];
        w.step[1][2 * d + 1] = xs[d];
    }
    return copy(ctx, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}

/* ---- DepthToSpace, SpaceToDepth ---- */

/* Both are a transposition of [N, block, block, C, H, W] (depth first), [N, C, block, block, H, W]
 * (columns, rows, depth) to and from [N, C, H, block, W, block]. */
ptq_status ptq_move_depth_to_space(const ptq_step_run *r, ptq_copy_fn copy, void *ctx)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    bool to_space = strcmp(r->step->node->op, "DepthToSpace") == 0;
    const ptq_tensor *deep = to_space ? x : y;
    int64_t b = ptq_attr_int(r->step->node, "blocksize", 1);
    bool crd = to_space && strcmp(ptq_attr_str(r->step->node, "mode", "DCR"), "CRD") == 0;
    int64_t ch = deep->dims[1] / (b * b), h = deep->dims[2], v = deep->dims[3];
    /* in the order n, c, h, bh, w, bw */
    int64_t dims[6] = {deep->dims[0], ch, h, b, v, b};
    int64_t plane = h * v;
    int64_t deep_step[6] = {deep->dims[1] * plane, crd ? b * b * plane : plane, v,
                            crd ? b * plane : b * ch * plane, 1, crd ? plane : ch * plane};
    int64_t flat_step[6] = {ch * plane * b * b, plane * b * b, v * b * b, v * b, b, 1};
    ptq_walk w = {.rank = 6, .nops = 2};
    for (int d = 0; d < 6; d++) {
        w.dims[d] = dims[d];
        w.step[0][d] = to_space ? flat_step[d] : deep_step[d];
        w.step[1][d] = to_space ? deep_step[d] : flat_step[d];
    }
    return copy(ctx, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}

/* ---- Gather ---- */

ptq_status ptq_gather_shape(const ptq_step_run *r, ptq_gather *g)
{
    const ptq_tensor *x = r->in[0], *at = r->in[1];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", 0), x->rank);
    *g = (ptq_gather){.outer = ptq_product(x->dims, 0, axis), .count = ptq_tensor_elements(at),
                      .n = x->dims[axis], .wide = at->dtype == PTQ_DT_S64,
                      .block = (size_t)ptq_product(x->dims, axis + 1, x->rank) * ptq_elem_bytes(x->dtype)};
    return at->dtype == PTQ_DT_S64 || at->dtype == PTQ_DT_S32 ? PTQ_OK : ptq_bad_args(r);
}

ptq_status ptq_gather_check(const ptq_step_run *r, const ptq_gather *g)
{
    const ptq_tensor *at = r->in[1];
    for (int64_t i = 0; i < g->count; i++) {
        int64_t k = ptq_gather_index(g, at->data, i);
        if (k < 0 || k >= g->n)
            return ptq_fail(PTQ_ERR_DATA, "node %s: index %lld is outside of the %lld entries",
                            r->step->name, (long long)k, (long long)g->n);
    }
    return PTQ_OK;
}

ptq_status ptq_gather_of(const ptq_step_run *r, ptq_gather *g)
{
    PTQ_TRY(ptq_gather_shape(r, g));
    return ptq_gather_check(r, g);
}
