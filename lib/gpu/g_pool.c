/* SPDX-License-Identifier: Apache-2.0 */
/* qmaxpool, qavgpool, qglobalavgpool. */
#include "lib/gpu/gpu.h"

static bool supports(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (ptq_gpu_is8(ptq_gpu_dtype(p, s, 0)))
        return true;
    if (why)
        *why = "integer pools take int8 or uint8";
    return false;
}

static bool aligned4(const ptq_k_pool *a, int64_t channels)
{
    return a->x_cs == 1 && a->y_cs == 1 && channels % 4 == 0 && a->x_ps % 4 == 0 && a->y_ps % 4 == 0 &&
           ((uintptr_t)a->x | (uintptr_t)a->y) % 4 == 0;
}

/* Everything but the parameters of the law. */
static ptq_status geometry(const ptq_step_run *r, ptq_k_pool *a)
{
    ptq_int_view x, y;
    ptq_window w;
    PTQ_TRY(ptq_int_window(r, NULL, &w));
    ptq_int_view_of(r->in[0], r->in_layout[0], &x);
    ptq_int_view_of(&r->out[0], r->out_layout[0], &y);
    *a = (ptq_k_pool){.x = r->in[0]->data, .y = r->out[0].data, .n = y.n, .pixels = y.pixels,
                      .x_ns = x.ns, .x_cs = x.cs, .x_ps = x.ps, .y_ns = y.ns, .y_cs = y.cs, .y_ps = y.ps,
                      .sgn = r->in[0]->dtype == PTQ_DT_S8, .count_pad = w.count_include_pad};
    for (int i = 0; i < 3; i++) {
        a->in[i] = x.d[i];
        a->out[i] = y.d[i];
        a->kernel[i] = w.kernel[i];
        a->stride[i] = w.stride[i];
        a->dilation[i] = w.dilation[i];
        a->pad[i] = w.pad_begin[i];
    }
    a->lanes = aligned4(a, y.c) ? 4 : 1;
    a->groups = y.c / a->lanes;
    return PTQ_OK;
}

static ptq_status run_max(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_k_pool a;
    PTQ_TRY(geometry(r, &a));
    return ptq_k_run_qmaxpool(g->dev, &a);
}

static ptq_status run_avg(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_qpool_params *p = r->step->params;
    ptq_k_pool a;
    PTQ_TRY(geometry(r, &a));
    a.sx = p->x.scale;
    a.zx = p->x.zp;
    a.sy = p->y.scale;
    a.zy = p->y.zp;
    a.lo = p->qlo;
    a.hi = p->qhi;
    return ptq_k_run_qavgpool(g->dev, &a);
}

static ptq_status run_global(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_qpool_params *p = r->step->params;
    ptq_int_view v;
    if (!ptq_int_view_of(r->in[0], r->in_layout[0], &v))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "rank %d", r->in[0]->rank);
    ptq_k_globalpool a = {.x = r->in[0]->data, .y = r->out[0].data, .n = v.n, .c = v.c, .pixels = v.pixels,
                          .x_ns = v.ns, .x_cs = v.cs, .x_ps = v.ps,
                          .m = ptq_qgap_multiplier(p->x.scale, p->y.scale, (int32_t)v.pixels),
                          .sgn = r->in[0]->dtype == PTQ_DT_S8, .zx = p->x.zp, .zy = p->y.zp,
                          .lo = p->qlo, .hi = p->qhi};
    return ptq_k_run_qglobalavgpool(g->dev, &a);
}

extern const ptq_gpu_kernel ptq_gpu_int_qmaxpool, ptq_gpu_int_qavgpool, ptq_gpu_int_qglobalavgpool;
const ptq_gpu_kernel ptq_gpu_int_qmaxpool = {.name = "qmaxpool", .supports = supports, .run = run_max};
const ptq_gpu_kernel ptq_gpu_int_qavgpool = {.name = "qavgpool", .supports = supports, .run = run_avg};
const ptq_gpu_kernel ptq_gpu_int_qglobalavgpool = {
    .name = "qglobalavgpool", .supports = supports, .run = run_global};
