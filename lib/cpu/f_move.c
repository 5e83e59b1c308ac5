/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move elements of any type: the 8-bit movers of integer steps are these too. */
#include "lib/core/cast.h"
#include "lib/cpu/walk.h"
#include "lib/exec/moves.h"

#define ROW(symbol, op)                                                                            \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .takes = PTQ_TAKES_BYTES,               \
                                               .run = symbol##_run};

/* ---- another shape for the same bytes ---- */

static ptq_status copy_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    if (!r->out[0].data) { /* a sequence, or an optional value, through Identity */
        r->out[0] = *r->in[0];
        r->out[0].data = ptq_alloc_aligned(r->in[0]->nbytes);
        if (!r->out[0].data)
            return ptq_fail_nomem();
    }
    if (r->out[0].data != r->in[0]->data)
        memcpy(r->out[0].data, r->in[0]->data, r->in[0]->nbytes);
    return PTQ_OK;
}
#define COPY_ROW(symbol, op)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = copy_run};
extern const ptq_cpu_kernel ptq_cpu_f_identity;
const ptq_cpu_kernel ptq_cpu_f_identity = {.name = "Identity", .run = copy_run, .finds_shape = true};
COPY_ROW(reshape, "Reshape")
COPY_ROW(flatten, "Flatten")
COPY_ROW(squeeze, "Squeeze")
COPY_ROW(unsqueeze, "Unsqueeze")

/* Inference: nothing is dropped, the mask is all true. */
static ptq_status dropout_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *mode = ptq_in(r, 2), *ratio = ptq_in(r, 1);
    if ((mode && ptq_tensor_elements(mode) != 1) || (ratio && ptq_tensor_elements(ratio) != 1))
        return ptq_bad_args(r);
    bool drops = !ratio || !ptq_castable(ratio->dtype) || ptq_number_load(ratio->dtype, ratio->data, 0).d != 0.0;
    if (mode && *(const uint8_t *)mode->data && drops)
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

/* ---- strided copies ---- */

static ptq_status walk_copy(void *ctx, ptq_walk *w, void *dst, const void *src, size_t bytes)
{
    return ptq_walk_copy(ctx, w, dst, src, bytes);
}
#define COPIES_ROW(symbol, op, move)                                                               \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        return ptq_move_##move(r, walk_copy, c);                                                   \
    }                                                                                              \
    ROW(symbol, op)
COPIES_ROW(transpose, "Transpose", transpose)
COPIES_ROW(slice, "Slice", slice)
COPIES_ROW(split, "Split", split)
COPIES_ROW(concat, "Concat", concat)
COPIES_ROW(expand, "Expand", expand)
COPIES_ROW(tile, "Tile", tile)
COPIES_ROW(depth_to_space, "DepthToSpace", depth_to_space)
COPIES_ROW(space_to_depth, "SpaceToDepth", depth_to_space)

/* ---- Gather ---- */

typedef struct gather_ctx {
    ptq_gather g;
    const char *x;
    char *y;
    const void *at;
} gather_ctx;

static void gather_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const gather_ctx *v = ctx;
    const ptq_gather *g = &v->g;
    (void)worker;
    for (int64_t i = from; i < to; i++) {
        int64_t k = i / g->count * g->n + ptq_gather_index(g, v->at, i % g->count);
        memcpy(v->y + (size_t)i * g->block, v->x + (size_t)k * g->block, g->block);
    }
}

static ptq_status gather_run(ptq_cpu *c, const ptq_step_run *r)
{
    gather_ctx v = {.x = r->in[0]->data, .y = r->out[0].data, .at = r->in[1]->data};
    PTQ_TRY(ptq_gather_of(r, &v.g));
    return ptq_cpu_ranges(c, v.g.outer * v.g.count, 1 + (int64_t)(65536 / (v.g.block + 1)), gather_part, &v);
}
ROW(gather, "Gather")

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
        return ptq_bad_args(r);
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
