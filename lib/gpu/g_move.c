/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move elements of any type (qmove runs them on codes), and relayout. */
#include <string.h>

#include "lib/exec/moves.h"
#include "lib/gpu/gpu.h"

static bool whole_bytes(const ptq_program *p, const ptq_step *s, const char **why)
{
    int bits = ptq_dtype_bits(ptq_gpu_dtype(p, s, 0));
    if (bits == 8 || bits == 16 || bits == 32 || bits == 64)
        return true;
    if (why)
        *why = "elements of this type cannot be moved";
    return false;
}

/* Axes, shapes and indices are read on the host. */
static uint32_t all_but_data(const ptq_program *p, const ptq_step *s)
{
    (void)p;
    (void)s;
    return ~1u;
}

/* ---- strided copies ---- */

static ptq_status plain(void *ctx, ptq_walk *w, void *dst, const void *src, size_t bytes)
{
    return ptq_gpu_copy(ctx, w, dst, src, bytes, NULL);
}

static ptq_status run_same(ptq_gpu *g, const ptq_step_run *r)
{
    return ptq_dev_copy(g->dev, r->out[0].data, r->in[0]->data, r->in[0]->nbytes);
}

#define MOVER(symbol, op, fn)                                                                      \
    extern const ptq_gpu_kernel ptq_gpu_f_##symbol;                                                \
    const ptq_gpu_kernel ptq_gpu_f_##symbol = {                                                    \
        .name = op, .supports = whole_bytes, .host_inputs = all_but_data, .run = fn};
#define COPIES(symbol, op, move)                                                                   \
    static ptq_status run_##symbol(ptq_gpu *g, const ptq_step_run *r)                              \
    {                                                                                              \
        return ptq_move_##move(r, plain, g);                                                       \
    }                                                                                              \
    MOVER(symbol, op, run_##symbol)
MOVER(identity, "Identity", run_same)
MOVER(reshape, "Reshape", run_same)
MOVER(flatten, "Flatten", run_same)
MOVER(squeeze, "Squeeze", run_same)
MOVER(unsqueeze, "Unsqueeze", run_same)
COPIES(transpose, "Transpose", transpose)
COPIES(slice, "Slice", slice)
COPIES(split, "Split", split)
COPIES(expand, "Expand", expand)
COPIES(tile, "Tile", tile)
COPIES(depth_to_space, "DepthToSpace", depth_to_space)
COPIES(space_to_depth, "SpaceToDepth", depth_to_space)

/* ---- Gather: constant indices are checked and uploaded once, computed ones where they lie ---- */

/* An index that shapes alone may tell (few, of rank 0 or 1) is no data of the device yet. */
static uint32_t gather_host_inputs(const ptq_program *p, const ptq_step *s)
{
    return ptq_gpu_constant(p, s, 1) ? ~1u : ~3u;
}

static ptq_status prepare_gather(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    const ptq_tensor *at = ptq_gpu_constant(p, s, 1);
    return ptq_gpu_keep(g, at ? at->data : NULL, at ? at->nbytes : 0, state);
}

static void release_index(ptq_gpu *g, void *state)
{
    ptq_dev_free(g->dev, state);
}

static ptq_status run_gather(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_gather q;
    PTQ_TRY(ptq_gather_shape(r, &q));
    if (r->state)
        PTQ_TRY(ptq_gather_check(r, &q));
    ptq_k_gather a = {.x = r->in[0]->data, .y = r->out[0].data, .outer = q.outer, .count = q.count,
                      .entries = q.n, .bytes = 16, .wide = q.wide, .alarm = ptq_dev_alarm(g->dev), .name = r->step->name};
    while ((q.block | (size_t)(uintptr_t)a.x | (size_t)(uintptr_t)a.y) % (size_t)a.bytes)
        a.bytes /= 2;
    a.index = r->state ? r->state : r->in[1]->data;
    a.chunks = (int64_t)q.block / a.bytes;
    return ptq_k_run_gather(g->dev, &a);
}
extern const ptq_gpu_kernel ptq_gpu_f_gather;
const ptq_gpu_kernel ptq_gpu_f_gather = {.name = "Gather", .supports = whole_bytes,
                                         .host_inputs = gather_host_inputs, .prepare = prepare_gather,
                                         .release = release_index, .run = run_gather};

/* ---- qmove: the kernel of the anchor's operator ---- */

extern const ptq_gpu_kernel ptq_gpu_int_qmaxpool;

static const ptq_gpu_kernel *mover(const ptq_step *s)
{
    static const ptq_gpu_kernel *const rows[] = {
        &ptq_gpu_f_identity, &ptq_gpu_f_reshape, &ptq_gpu_f_flatten, &ptq_gpu_f_squeeze,
        &ptq_gpu_f_unsqueeze, &ptq_gpu_f_transpose, &ptq_gpu_f_slice, &ptq_gpu_f_split,
        &ptq_gpu_f_expand, &ptq_gpu_f_tile, &ptq_gpu_f_depth_to_space, &ptq_gpu_f_space_to_depth,
        &ptq_gpu_f_gather};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        if (strcmp(rows[i]->name, s->node->op) == 0)
            return rows[i];
    /* of rank 3 or 5; its indices are for the host */
    bool values = s->nout < 2 || s->out[1] < 0;
    return values && strcmp(s->node->op, "MaxPool") == 0 ? &ptq_gpu_int_qmaxpool : NULL;
}

static bool supports_move(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (mover(s))
        return mover(s)->supports(p, s, why);
    if (why)
        *why = "no CUDA kernel moves data for this operator";
    return false;
}

static uint32_t move_host_inputs(const ptq_program *p, const ptq_step *s)
{
    return mover(s)->host_inputs ? mover(s)->host_inputs(p, s) : 0;
}

static ptq_status prepare_move(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    return mover(s)->prepare ? mover(s)->prepare(g, p, s, state) : PTQ_OK;
}

static ptq_status run_move(ptq_gpu *g, const ptq_step_run *r)
{
    return mover(r->step)->run(g, r);
}

/* ---- relayout ---- */

static ptq_status run_relayout(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    ptq_int_view vx, vy;
    if (x->rank != 4 || r->in_layout[0] == r->out_layout[0])
        return run_same(g, r);
    ptq_int_view_of(x, r->in_layout[0], &vx);
    ptq_int_view_of(y, r->out_layout[0], &vy);
    bool to_nhwc = r->out_layout[0] == PTQ_LAYOUT_NHWC;
    ptq_walk w;
    ptq_walk_init(&w, 3, (int64_t[]){vy.n, to_nhwc ? vy.pixels : vy.c, to_nhwc ? vy.c : vy.pixels});
    ptq_walk_add_steps(&w, (int64_t[]){vx.ns, to_nhwc ? vx.ps : vx.cs, to_nhwc ? vx.cs : vx.ps}, 0);
    return ptq_gpu_copy(g, &w, y->data, x->data, (size_t)ptq_dtype_bits(x->dtype) / 8, NULL);
}

extern const ptq_gpu_kernel ptq_gpu_int_qmove, ptq_gpu_int_relayout;
const ptq_gpu_kernel ptq_gpu_int_qmove = {.name = "qmove", .supports = supports_move,
                                          .host_inputs = move_host_inputs, .prepare = prepare_move,
                                          .release = release_index, .run = run_move};
const ptq_gpu_kernel ptq_gpu_int_relayout = {.name = "relayout", .supports = whole_bytes, .run = run_relayout};
