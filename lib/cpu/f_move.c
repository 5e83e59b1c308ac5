/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move elements of any type: the 8-bit movers of integer steps are these too. */
#include "lib/cpu/walk.h"
#include "lib/graph/infer.h"

#define ROW(symbol, op)                                                                            \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .supports = whole_bytes,                \
                                               .run = symbol##_run};

static bool whole_bytes(const ptq_program *p, const ptq_step *s, const char **why)
{
    int bits = s->nin > 0 && s->in[0] >= 0 ? ptq_dtype_bits(p->values.v[s->in[0]].dtype) : 0;
    if (bits == 8 || bits == 16 || bits == 32 || bits == 64)
        return true;
    if (why)
        *why = "elements of this type cannot be moved";
    return false;
}

/* ---- another shape for the same bytes ---- */

static ptq_status copy_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    if (r->out[0].data != r->in[0]->data)
        memcpy(r->out[0].data, r->in[0]->data, r->in[0]->nbytes);
    return PTQ_OK;
}
#define COPY_ROW(symbol, op)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = copy_run};
COPY_ROW(identity, "Identity")
COPY_ROW(reshape, "Reshape")
COPY_ROW(flatten, "Flatten")
COPY_ROW(squeeze, "Squeeze")
COPY_ROW(unsqueeze, "Unsqueeze")

/* Inference: nothing is dropped, the mask is all true. */
static ptq_status dropout_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *mode = ptq_in(r, 2);
    if (mode && *(const uint8_t *)mode->data)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: Dropout in training mode is not supported",
                        r->step->name);
    PTQ_TRY(copy_run(c, r));
    ptq_tensor *mask = r->step->nout > 1 ? &r->out[1] : NULL;
    if (mask && mask->data && mask->dtype == PTQ_DT_BOOL)
        memset(mask->data, 1, mask->nbytes);
    else if (mask && mask->data)
        for (int64_t i = 0; mask->dtype == PTQ_DT_F32 && i < ptq_tensor_elements(mask); i++)
            ((float *)mask->data)[i] = 1.0f;
    return PTQ_OK;
}
ROW(dropout, "Dropout")

/* ---- steps of a dense tensor ---- */

static void dense_steps(const ptq_tensor *t, int64_t *step)
{
    int64_t at = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        step[d] = at;
        at *= t->dims[d];
    }
}

static ptq_status transpose_run(ptq_cpu *c, const ptq_step_run *r)
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
    return ptq_walk_copy(c, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}
ROW(transpose, "Transpose")

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

static ptq_status bad_args(const ptq_step_run *r)
{
    return ptq_fail(PTQ_ERR_MODEL, "node %s: the arguments of %s do not fit its input",
                    r->step->name, r->step->node->op);
}

static ptq_status slice_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    int64_t start[PTQ_MAX_RANK], end[PTQ_MAX_RANK], axes[PTQ_MAX_RANK], by[PTQ_MAX_RANK];
    int64_t step[PTQ_MAX_RANK], base = 0;
    int ns, ne, na, nb;
    if (!ints_arg(r, 1, "starts", start, &ns) || !ints_arg(r, 2, "ends", end, &ne) ||
        !ints_arg(r, 3, "axes", axes, &na) || !ints_arg(r, 4, NULL, by, &nb) || ns < 0 ||
        ne != ns || (na >= 0 && na != ns) || (nb >= 0 && nb != ns) || ns > x->rank)
        return bad_args(r);
    dense_steps(x, step);
    for (int i = 0; i < ns; i++) {
        int a = na < 0 ? i : ptq_axis(axes[i], x->rank);
        int64_t first, s = nb < 0 ? 1 : by[i];
        if (a < 0 || a >= x->rank || s == 0)
            return bad_args(r);
        if (ptq_slice_range(x->dims[a], start[i], end[i], s, &first) != y->dims[a])
            return bad_args(r);
        base += y->dims[a] ? first * step[a] : 0;
        step[a] *= s;
    }
    ptq_walk w;
    ptq_walk_init(&w, y->rank, y->dims);
    ptq_walk_add_steps(&w, step, base);
    return ptq_walk_copy(c, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}
ROW(slice, "Slice")

/* ---- Split, Concat ---- */

/* Copies a block of `dims` between two dense tensors whose shapes differ along `axis`. */
static ptq_status copy_block(ptq_cpu *c, const ptq_tensor *dst, int64_t dst_at,
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
    return ptq_walk_copy(c, &w, dst->data, src->data, ptq_elem_bytes(src->dtype));
}

static ptq_status split_run(ptq_cpu *c, const ptq_step_run *r)
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
                return bad_args(r);
            at += n > i ? sizes[i] : even;
            continue;
        }
        PTQ_TRY(copy_block(c, y, 0, x, at, axis, y->dims));
        at += y->dims[axis];
    }
    return PTQ_OK;
}
ROW(split, "Split")

static ptq_status concat_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *y = &r->out[0];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", 0), y->rank);
    int64_t at = 0;
    for (int i = 0; i < r->step->nin; i++) {
        PTQ_TRY(copy_block(c, y, at, r->in[i], 0, axis, r->in[i]->dims));
        at += r->in[i]->dims[axis];
    }
    return PTQ_OK;
}
ROW(concat, "Concat")

/* ---- Gather ---- */

typedef struct gather_ctx {
    const char *x;
    char *y;
    const void *at;
    bool wide; /* indices of 64 bits */
    int64_t count, n;
    size_t block;
} gather_ctx;

static int64_t gather_index(const gather_ctx *v, int64_t i)
{
    int64_t k = v->wide ? ((const int64_t *)v->at)[i] : ((const int32_t *)v->at)[i];
    return k < 0 ? k + v->n : k;
}

static void gather_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const gather_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++)
        memcpy(v->y + (size_t)i * v->block,
               v->x + (size_t)(i / v->count * v->n + gather_index(v, i % v->count)) * v->block,
               v->block);
}

static ptq_status gather_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *at = r->in[1];
    int axis = ptq_axis(ptq_attr_int(r->step->node, "axis", 0), x->rank);
    gather_ctx v = {.x = x->data, .y = r->out[0].data, .at = at->data, .n = x->dims[axis],
                    .wide = at->dtype == PTQ_DT_S64, .count = ptq_tensor_elements(at)};
    if (at->dtype != PTQ_DT_S64 && at->dtype != PTQ_DT_S32)
        return bad_args(r);
    for (int64_t i = 0; i < v.count; i++)
        if (gather_index(&v, i) < 0 || gather_index(&v, i) >= v.n)
            return ptq_fail(PTQ_ERR_DATA, "node %s: index %lld is outside of the %lld entries",
                            r->step->name, (long long)gather_index(&v, i), (long long)v.n);
    v.block = (size_t)ptq_product(x->dims, axis + 1, x->rank) * ptq_elem_bytes(x->dtype);
    int64_t outer = ptq_product(x->dims, 0, axis);
    return ptq_cpu_ranges(c, outer * v.count, 1 + (int64_t)(65536 / (v.block + 1)), gather_part, &v);
}
ROW(gather, "Gather")

/* ---- Expand, Tile, DepthToSpace, SpaceToDepth ---- */

static ptq_status expand_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    ptq_walk w;
    ptq_walk_init(&w, y->rank, y->dims);
    ptq_walk_add(&w, x->rank, x->dims);
    return ptq_walk_copy(c, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}
ROW(expand, "Expand")

static ptq_status tile_run(ptq_cpu *c, const ptq_step_run *r)
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
    return ptq_walk_copy(c, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}
ROW(tile, "Tile")

/* Both are a transposition of [N, block, block, C, H, W] (depth first), [N, C, block, block, H, W]
 * (columns, rows, depth) to and from [N, C, H, block, W, block]. */
static ptq_status depth_to_space_run(ptq_cpu *c, const ptq_step_run *r)
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
    return ptq_walk_copy(c, &w, y->data, x->data, ptq_elem_bytes(x->dtype));
}
ROW(depth_to_space, "DepthToSpace")
extern const ptq_cpu_kernel ptq_cpu_f_space_to_depth;
const ptq_cpu_kernel ptq_cpu_f_space_to_depth = {
    .name = "SpaceToDepth", .supports = whole_bytes, .run = depth_to_space_run};

/* ---- Trilu ---- */

static ptq_status trilu_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *k = ptq_in(r, 1);
    bool upper = ptq_attr_int(r->step->node, "upper", 1) != 0;
    int64_t rows = x->dims[x->rank - 2], cols = x->dims[x->rank - 1], shift = 0;
    size_t e = ptq_elem_bytes(x->dtype);
    int n;
    (void)c;
    if (k && (!ptq_ints_of(k, &shift, 1, &n) || n != 1))
        return bad_args(r);
    int64_t total = ptq_product(x->dims, 0, x->rank - 1);
    for (int64_t i = 0; i < total; i++) {
        const char *src = (const char *)x->data + (size_t)(i * cols) * e;
        char *dst = (char *)r->out[0].data + (size_t)(i * cols) * e;
        /* the diagonal's column in this row, and how many columns lie left of what is kept */
        int64_t diag = i % rows + shift;
        int64_t cut = upper ? diag : diag + 1;
        size_t left = (size_t)(cut < 0 ? 0 : cut > cols ? cols : cut) * e, all = (size_t)cols * e;
        if (upper) {
            memset(dst, 0, left);
            memcpy(dst + left, src + left, all - left);
        } else {
            memcpy(dst, src, left);
            memset(dst + left, 0, all - left);
        }
    }
    return PTQ_OK;
}
ROW(trilu, "Trilu")
