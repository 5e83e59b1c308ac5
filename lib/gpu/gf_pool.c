/* SPDX-License-Identifier: Apache-2.0 */
/* MaxPool and AveragePool. */
#include "lib/gpu/gf.h"

static ptq_status pool_of(const ptq_step_run *r, ptq_kf_pool *a)
{
    const ptq_tensor *x = r->in[0];
    ptq_pool_geometry q;
    PTQ_TRY(ptq_pool_geometry_of(r, &q));
    *a = (ptq_kf_pool){.x = x->data, .y = r->out[0].data, .planes = x->dims[0] * x->dims[1],
                       .index = r->step->nout > 1 ? r->out[1].data : NULL, .include_pad = q.include_pad,
                       .column_major = q.column_major, .dtype = x->dtype};
    for (int d = 0; d < 3; d++) {
        a->in[d] = q.in[d];
        a->out[d] = q.out[d];
        a->kernel[d] = q.k[d];
        a->stride[d] = q.stride[d];
        a->dilation[d] = q.dil[d];
        a->pad[d] = q.pad[d];
        a->pad_end[d] = q.pad_end[d];
    }
    return PTQ_OK;
}

static ptq_status run_average(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_kf_pool a;
    PTQ_TRY(pool_of(r, &a));
    return ptq_kf_run_average_pool(g->dev, &a);
}
PTQ_GF_ROW(average_pool, .name = "AveragePool", .supports = ptq_supports_f32, .run = run_average);

static bool supports_max(const ptq_program *p, const ptq_step *s, const char **why)
{
    ptq_dtype t = ptq_gpu_dtype(p, s, 0);
    if (t == PTQ_DT_F32 || ptq_gpu_is8(t))
        return true;
    if (why)
        *why = "only float32, int8 and uint8 are supported";
    return false;
}

static ptq_status run_max(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_kf_pool a;
    PTQ_TRY(pool_of(r, &a));
    return ptq_kf_run_max_pool(g->dev, &a);
}
PTQ_GF_ROW(max_pool, .name = "MaxPool", .supports = supports_max, .run = run_max);
