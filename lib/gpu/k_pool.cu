/* SPDX-License-Identifier: Apache-2.0 */
/* qmaxpool, qavgpool, qglobalavgpool. */
#include "lib/gpu/chunk.h"
#ifdef __CUDACC__
#include "lib/gpu/maxpool_wide.cuh"
#endif

typedef struct window {
    int64_t x, y;    /* first channel: in x without the pixel, in y */
    int64_t from[3]; /* input coordinates of the first tap */
} window;

/* Threads run along the channels where these lie together, else along the pixels. */
PTQ_DEVICE window window_of(const ptq_k_pool *a, int64_t i)
{
    bool by_channel = a->y_cs == 1;
    int64_t fast = by_channel ? a->groups : a->pixels, slow = by_channel ? a->pixels : a->groups;
    int64_t q = i / fast, r = i - q * fast, n = q / slow;
    q -= n * slow;
    int64_t c = by_channel ? r : q, p = by_channel ? q : r;
    int64_t row = p / a->out[2], plane = row / a->out[1];
    int64_t o[3] = {plane, row - plane * a->out[1], p - row * a->out[2]};
    window w;
    c *= a->lanes;
    w.x = n * a->x_ns + c * a->x_cs;
    w.y = n * a->y_ns + c * a->y_cs + p * a->y_ps;
    for (int d = 0; d < 3; d++)
        w.from[d] = o[d] * a->stride[d] - a->pad[d];
    return w;
}

/* Where the tap's elements lie, or -1 outside of the input. */
PTQ_DEVICE int64_t tap_at(const ptq_k_pool *a, const window *w, int k0, int k1, int k2)
{
    int64_t i0 = w->from[0] + k0 * a->dilation[0], i1 = w->from[1] + k1 * a->dilation[1];
    int64_t i2 = w->from[2] + k2 * a->dilation[2];
    if (i0 < 0 || i0 >= a->in[0] || i1 < 0 || i1 >= a->in[1] || i2 < 0 || i2 >= a->in[2])
        return -1;
    return w->x + ((i0 * a->in[1] + i1) * a->in[2] + i2) * a->x_ps;
}

#define EACH_TAP(a)                                                                                \
    for (int k0 = 0; k0 < (a).kernel[0]; k0++)                                                     \
        for (int k1 = 0; k1 < (a).kernel[1]; k1++)                                                 \
            for (int k2 = 0; k2 < (a).kernel[2]; k2++)

PTQ_KERNEL(qmaxpool, ptq_k_pool a)
{
    PTQ_EACH(i, a.n * a.groups * a.pixels)
    {
        window w = window_of(&a, i);
        int32_t lowest = a.sgn ? -128 : 0, best[4] = {lowest, lowest, lowest, lowest};
        EACH_TAP(a)
        {
            int64_t at = tap_at(&a, &w, k0, k1, k2);
            if (at < 0)
                continue;
            ptq_k_chunk x = ptq_k_load((const uint8_t *)a.x + at, a.lanes);
            PTQ_UNROLL
            for (int e = 0; e < 4; e++) {
                int32_t v = ptq_k_code(&x, e, a.sgn);
                best[e] = v > best[e] ? v : best[e];
            }
        }
        ptq_k_chunk y = {{0, 0, 0, 0}};
        PTQ_UNROLL
        for (int e = 0; e < 4; e++)
            ptq_k_put(&y, e, (uint32_t)best[e]);
        ptq_k_store((uint8_t *)a.y + w.y, y, a.lanes);
    }
}

ptq_status ptq_k_run_qmaxpool(ptq_dev *d, const ptq_k_pool *a)
{
#ifdef __CUDACC__
    if (maxpool_fits(a))
        return maxpool_run(d, a);
#endif
    return PTQ_LAUNCH(d, qmaxpool, a->n * a->groups * a->pixels, *a);
}

/* The float sum in the order of the window is the law. */
PTQ_KERNEL(qavgpool, ptq_k_pool a)
{
    PTQ_EACH(i, a.n * a.groups * a.pixels)
    {
        window w = window_of(&a, i);
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        int32_t count = 0;
        EACH_TAP(a)
        {
            int64_t at = tap_at(&a, &w, k0, k1, k2);
            if (at < 0)
                continue;
            ptq_k_chunk x = ptq_k_load((const uint8_t *)a.x + at, a.lanes);
            PTQ_UNROLL
            for (int e = 0; e < 4; e++)
                sum[e] += ptq_dequantize(ptq_k_code(&x, e, a.sgn), a.sx, a.zx);
            count++;
        }
        if (a.count_pad)
            count = (int32_t)(a.kernel[0] * a.kernel[1] * a.kernel[2]);
        ptq_k_chunk y = {{0, 0, 0, 0}};
        PTQ_UNROLL
        for (int e = 0; e < 4; e++)
            ptq_k_put(&y, e, (uint32_t)ptq_qavgpool(sum[e], count, a.sy, a.zy, a.lo, a.hi));
        ptq_k_store((uint8_t *)a.y + w.y, y, a.lanes);
    }
}

ptq_status ptq_k_run_qavgpool(ptq_dev *d, const ptq_k_pool *a)
{
    return PTQ_LAUNCH(d, qavgpool, a->n * a->groups * a->pixels, *a);
}

PTQ_KERNEL(qglobalavgpool, ptq_k_globalpool a)
{
    PTQ_EACH(i, a.n * a.c)
    {
        int64_t x = i / a.c * a.x_ns + i % a.c * a.x_cs;
        uint32_t acc = 0;
        for (int64_t p = 0; p < a.pixels; p++)
            acc += (uint32_t)(ptq_k_byte(a.x, x + p * a.x_ps, a.sgn) - a.zx);
        ((uint8_t *)a.y)[i] = (uint8_t)ptq_requantize((int32_t)acc, a.m, a.zy, a.lo, a.hi);
    }
}

ptq_status ptq_k_run_qglobalavgpool(ptq_dev *d, const ptq_k_globalpool *a)
{
    return PTQ_LAUNCH(d, qglobalavgpool, a->n * a->c, *a);
}
