/* SPDX-License-Identifier: Apache-2.0 */
/* Pools over windows: one output per thread, taps in the order of the window. */
#include "lib/core/cast.h"
#include "lib/gpu/kf.h"

/* Taps of output o in dimension d that count in an average. */
PTQ_DEVICE int64_t counted(const ptq_kf_pool *a, int d, int64_t o)
{
    int64_t n = 0;
    for (int64_t k = 0; k < a->kernel[d]; k++) {
        int64_t at = o * a->stride[d] + k * a->dilation[d] - a->pad[d];
        n += a->include_pad ? at < a->in[d] + a->pad_end[d] : at >= 0 && at < a->in[d];
    }
    return n;
}

/* Plane and place of output i. */
PTQ_DEVICE int64_t split(const ptq_kf_pool *a, int64_t i, int64_t o[3])
{
    for (int d = 2; d >= 0; d--)
        i = ptq_kf_divide(i, a->out[d], &o[d]);
    return i;
}

/* Position of tap k in dimension d, or -1 outside of the input. */
PTQ_DEVICE int64_t tap(const ptq_kf_pool *a, int d, int64_t o, int64_t k)
{
    int64_t at = o * a->stride[d] + k * a->dilation[d] - a->pad[d];
    return at < a->in[d] ? at : -1;
}

PTQ_KERNEL(average_pool, ptq_kf_pool a)
{
    PTQ_EACH(i, a.planes * a.out[0] * a.out[1] * a.out[2])
    {
        int64_t o[3], plane = split(&a, i, o);
        const float *x = (const float *)a.x + plane * a.in[0] * a.in[1] * a.in[2];
        float sum = 0.0f;
        for (int64_t k0 = 0; k0 < a.kernel[0]; k0++)
            for (int64_t k1 = 0; k1 < a.kernel[1]; k1++)
                for (int64_t k2 = 0; k2 < a.kernel[2]; k2++) {
                    int64_t i0 = tap(&a, 0, o[0], k0), i1 = tap(&a, 1, o[1], k1), i2 = tap(&a, 2, o[2], k2);
                    if (i0 >= 0 && i1 >= 0 && i2 >= 0)
                        sum += x[(i0 * a.in[1] + i1) * a.in[2] + i2];
                }
        int64_t n = counted(&a, 0, o[0]) * counted(&a, 1, o[1]);
        ((float *)a.y)[i] = sum / (float)(n * counted(&a, 2, o[2]));
    }
}

ptq_status ptq_kf_run_average_pool(ptq_dev *d, const ptq_kf_pool *a)
{
    return PTQ_LAUNCH(d, average_pool, a->planes * a->out[0] * a->out[1] * a->out[2], *a);
}

/* Bytes are compared as the floats they are exactly. */
PTQ_DEVICE float value(const ptq_kf_pool *a, int64_t i)
{
    return a->dtype == PTQ_DT_F32 ? ((const float *)a->x)[i]
                                  : (float)ptq_k_byte(a->x, i, a->dtype == PTQ_DT_S8);
}

PTQ_DEVICE int64_t index_of(const ptq_kf_pool *a, int64_t i0, int64_t i1, int64_t i2)
{
    if (!a->column_major)
        return (i0 * a->in[1] + i1) * a->in[2] + i2;
    return (i2 * a->in[1] + i1) * a->in[0] + i0;
}

PTQ_KERNEL(max_pool, ptq_kf_pool a)
{
    PTQ_EACH(i, a.planes * a.out[0] * a.out[1] * a.out[2])
    {
        int64_t o[3], plane = split(&a, i, o), base = plane * a.in[0] * a.in[1] * a.in[2], best = -1;
        float max = a.dtype == PTQ_DT_F32 ? -INFINITY : a.dtype == PTQ_DT_S8 ? -128.0f : 0.0f;
        for (int64_t k0 = 0; k0 < a.kernel[0]; k0++)
            for (int64_t k1 = 0; k1 < a.kernel[1]; k1++)
                for (int64_t k2 = 0; k2 < a.kernel[2]; k2++) {
                    int64_t i0 = tap(&a, 0, o[0], k0), i1 = tap(&a, 1, o[1], k1), i2 = tap(&a, 2, o[2], k2);
                    if (i0 < 0 || i1 < 0 || i2 < 0)
                        continue;
                    float v = value(&a, base + (i0 * a.in[1] + i1) * a.in[2] + i2);
                    int take = max == max && (v > max || v != v);
                    max = take ? v : max;
                    best = take || best < 0 ? base + index_of(&a, i0, i1, i2) : best;
                }
        if (a.dtype == PTQ_DT_F32)
            ((float *)a.y)[i] = max;
        else
            ((uint8_t *)a.y)[i] = (uint8_t)(int32_t)max;
        if (a.index)
            a.index[i] = best;
    }
}

ptq_status ptq_kf_run_max_pool(ptq_dev *d, const ptq_kf_pool *a)
{
    return PTQ_LAUNCH(d, max_pool, a->planes * a->out[0] * a->out[1] * a->out[2], *a);
}
