/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolution and channel padding, NHWC. A thread makes four channels of one pixel. */
#include "lib/gpu/launch.h"
#ifdef __CUDACC__
#include "lib/gpu/depthwise_strip.cuh"
#endif

PTQ_DEVICE uint32_t load4(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* Byte i of a word. */
PTQ_DEVICE int32_t byte_of(uint32_t w, int i, int32_t sgn)
{
    uint32_t b = w >> (8 * i) & 0xffu;
    return sgn ? (int32_t)(int8_t)b : (int32_t)b;
}

PTQ_KERNEL(depthwise, ptq_k_depthwise a)
{
    int64_t quads = a.cpad / 4;
    PTQ_EACH(i, a.batch * a.out_h * a.out_w * quads)
    {
        int64_t p = i / quads;
        int32_t c = (int32_t)(i % quads) * 4, left = a.c - c < 4 ? a.c - c : 4;
        int32_t ow = (int32_t)(p % a.out_w), oh = (int32_t)(p / a.out_w % a.out_h);
        const uint8_t *image = a.x + p / ((int64_t)a.out_w * a.out_h) * a.in_h * a.in_w * a.c;
        uint32_t acc[4];
        for (int e = 0; e < 4; e++)
            acc[e] = (uint32_t)a.bias[c + e];
        for (int32_t kh = 0; kh < a.kernel_h; kh++)
            for (int32_t kw = 0; kw < a.kernel_w; kw++) {
                int32_t h = oh * a.stride_h - a.pad_h + kh * a.dil_h, w = ow * a.stride_w - a.pad_w + kw * a.dil_w;
                if (h < 0 || h >= a.in_h || w < 0 || w >= a.in_w)
                    continue;
                const uint8_t *x = image + ((int64_t)h * a.in_w + w) * a.c + c;
                uint32_t vx = 0, vw = load4(a.w + ((int64_t)kh * a.kernel_w + kw) * a.cpad + c);
                if (a.c % 4 == 0)
                    vx = load4(x);
                else
                    for (int32_t e = 0; e < left; e++)
                        vx |= (uint32_t)x[e] << (8 * e);
                for (int e = 0; e < 4; e++)
                    acc[e] += (uint32_t)((byte_of(vx, e, a.x_signed) - a.zx) * byte_of(vw, e, 1));
            }
        if (a.float_out) {
            for (int32_t e = 0; e < left; e++)
                ((float *)a.y)[p * a.c + c + e] = (float)(int32_t)acc[e] * a.mult[c + e];
            continue;
        }
        uint32_t out = 0;
        for (int e = 0; e < 4; e++)
            out |= ((uint32_t)ptq_requantize((int32_t)acc[e], a.mult[c + e], a.zy, a.lo, a.hi) & 0xffu) << (8 * e);
        uint8_t *y = (uint8_t *)a.y + p * a.c + c;
        if (a.c % 4 == 0)
            memcpy(y, &out, 4);
        else
            for (int32_t e = 0; e < left; e++)
                y[e] = (uint8_t)(out >> (8 * e));
    }
}

ptq_status ptq_k_run_depthwise(ptq_dev *d, const ptq_k_depthwise *a)
{
#ifdef __CUDACC__
    if (strips_fit(a))
        return strips_run(d, a);
#endif
    return PTQ_LAUNCH(d, depthwise, a->batch * a->out_h * a->out_w * (a->cpad / 4), *a);
}

PTQ_KERNEL(pad_channels, ptq_k_pad_channels a)
{
    int64_t words = a.to / 4;
    PTQ_EACH(i, a.pixels * words)
    {
        int64_t p = i / words;
        int32_t c = (int32_t)(i % words) * 4;
        uint32_t v = 0;
        for (int32_t e = 0; e < 4 && c + e < a.from; e++)
            v |= (uint32_t)((const uint8_t *)a.x)[p * a.from + c + e] << (8 * e);
        memcpy((uint8_t *)a.y + i * 4, &v, 4);
    }
}

ptq_status ptq_k_run_pad_channels(ptq_dev *d, const ptq_k_pad_channels *a)
{
    return PTQ_LAUNCH(d, pad_channels, a->pixels * (a->to / 4), *a);
}
