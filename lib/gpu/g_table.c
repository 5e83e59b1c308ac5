/* SPDX-License-Identifier: Apache-2.0 */
/* qlut, qconcat: copies whose bytes go through a table, which lies in device memory: there a warp's
 * 32 different entries come together, while constant memory would serve one at a time. */
#include <stdlib.h>
#include <string.h>

#include "lib/gpu/gpu.h"

static bool supports(const ptq_program *p, const ptq_step *s, const char **why)
{
    for (int i = 0; i < s->nin; i++)
        if (s->in[i] >= 0 && ptq_dtype_bits(ptq_gpu_dtype(p, s, i)) != 8) {
            if (why)
                *why = "8-bit elements are needed";
            return false;
        }
    return true;
}

static void release(ptq_gpu *g, void *state)
{
    ptq_dev_free(g->dev, state);
}

/* ---- qlut ---- */

static ptq_status prepare_lut(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    const ptq_qlut_params *q = s->params;
    (void)p;
    return ptq_gpu_keep(g, q->table, sizeof q->table, state);
}

static ptq_status run_lut(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_walk w;
    int64_t n = ptq_tensor_elements(&r->out[0]);
    ptq_walk_init(&w, 1, &n);
    ptq_walk_add(&w, 1, &n);
    return ptq_gpu_copy(g, &w, r->out[0].data, r->in[0]->data, 1, r->state);
}

/* ---- qconcat: the tables one behind the other, by input ---- */

static ptq_status prepare_concat(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    const ptq_qconcat_params *q = s->params;
    uint8_t *all;
    bool any = false;
    (void)p;
    for (int i = 0; q->tables && i < s->nin; i++)
        any = any || q->tables[i];
    if (!any)
        return PTQ_OK;
    if (!(all = ptq_calloc((size_t)s->nin, 256)))
        return ptq_fail_nomem();
    for (int i = 0; i < s->nin; i++)
        if (q->tables[i])
            memcpy(all + (size_t)i * 256, q->tables[i], 256);
    ptq_status st = ptq_gpu_keep(g, all, (size_t)s->nin * 256, state);
    free(all);
    return st;
}

/* Input i to its place along the axis, the dimensions in the output's memory order. */
static ptq_status copy_input(ptq_gpu *g, const ptq_step_run *r, int i, int64_t base)
{
    const ptq_qconcat_params *p = r->step->params;
    const ptq_tensor *x = r->in[i], *y = &r->out[0];
    int64_t xs[PTQ_MAX_RANK], ys[PTQ_MAX_RANK];
    bool nhwc = r->out_layout[0] == PTQ_LAYOUT_NHWC && y->rank == 4;
    const uint8_t *table = p->tables && p->tables[i] ? (const uint8_t *)r->state + (size_t)i * 256 : NULL;
    ptq_walk w = {.rank = x->rank, .nops = 2, .base = {base}};
    ptq_int_steps(x, r->in_layout[i], xs);
    ptq_int_steps(y, r->out_layout[0], ys);
    for (int d = 0; d < x->rank; d++) {
        int o = nhwc ? (int[]){0, 2, 3, 1}[d] : d;
        w.dims[d] = x->dims[o];
        w.step[0][d] = ys[o];
        w.step[1][d] = xs[o];
    }
    return ptq_gpu_copy(g, &w, y->data, x->data, 1, table);
}

static ptq_status run_concat(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *y = &r->out[0];
    int64_t ys[PTQ_MAX_RANK], base = 0, axis = ptq_attr_int(r->step->node, "axis", 1);
    axis += axis < 0 ? y->rank : 0;
    ptq_int_steps(y, r->out_layout[0], ys);
    for (int i = 0; i < r->step->nin; i++) {
        if (!r->in[i])
            continue;
        PTQ_TRY(copy_input(g, r, i, base));
        base += r->in[i]->dims[axis] * ys[axis];
    }
    return PTQ_OK;
}

extern const ptq_gpu_kernel ptq_gpu_int_qlut, ptq_gpu_int_qconcat;
const ptq_gpu_kernel ptq_gpu_int_qlut = {
    .name = "qlut", .supports = supports, .prepare = prepare_lut, .release = release, .run = run_lut};
const ptq_gpu_kernel ptq_gpu_int_qconcat = {.name = "qconcat", .supports = supports, .prepare = prepare_concat,
                                            .release = release, .run = run_concat};
