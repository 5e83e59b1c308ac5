/* SPDX-License-Identifier: Apache-2.0 */
/* Products of floats in float16, one output per thread: the specification. kf_half.cuh has the kernels for the matrix
 * units. */
#include "lib/gpu/kernels_half.h"
#include "lib/gpu/kf.h"

/* Where the packed matrix lies that begins at element b0 of f.b. */
PTQ_DEVICE int64_t ptq_kf_half_place(const ptq_kf_half_matmul *a, int64_t b0)
{
    int64_t size = a->f.n * a->f.k;
    return size ? b0 / size * a->f.n * a->row : 0;
}

#ifdef __CUDACC__
#include "lib/gpu/kf_half.cuh"
#endif

PTQ_DEVICE float half_of(float v)
{
    return ptq_half_to_float(ptq_float_to_half(ptq_fclamp(v, -65504.0f, 65504.0f)));
}

/* Taps in the padding add nothing: weights are finite here. */
PTQ_DEVICE float half_taps(const ptq_kf_half_conv *h, const int64_t *o, const float *x, const uint16_t *w)
{
    const ptq_kf_conv *a = &h->f;
    int64_t size = a->in[0] * a->in[1] * a->in[2], channels = a->c / a->groups;
    int64_t taps = a->kernel[0] * a->kernel[1] * a->kernel[2];
    int64_t w_tap = h->order.by_tap ? h->order.pad : 1, w_channel = h->order.by_tap ? 1 : taps;
    float acc = 0.0f;
    for (int64_t t = 0; t < taps; t++, w += w_tap) {
        int64_t i2 = o[2] + t % a->kernel[2] * a->dilation[2];
        int64_t i1 = o[1] + t / a->kernel[2] % a->kernel[1] * a->dilation[1];
        int64_t i0 = o[0] + t / (a->kernel[2] * a->kernel[1]) * a->dilation[0];
        if (i0 < 0 || i0 >= a->in[0] || i1 < 0 || i1 >= a->in[1] || i2 < 0 || i2 >= a->in[2])
            continue;
        const float *p = x + (i0 * a->in[1] + i1) * a->in[2] + i2;
        for (int64_t c = 0; c < channels; c++)
            acc = fmaf(half_of(p[c * size]), ptq_half_to_float(w[c * w_channel]), acc);
    }
    return acc;
}

PTQ_KERNEL(half_conv, ptq_kf_half_conv h)
{
    const ptq_kf_conv *a = &h.f;
    int64_t pixels = a->out[0] * a->out[1] * a->out[2], size = a->in[0] * a->in[1] * a->in[2];
    int64_t channels = a->c / a->groups, mg = a->m / a->groups;
    PTQ_EACH(i, a->n * a->m * pixels)
    {
        int64_t p, m, o[3];
        int64_t n = ptq_kf_divide(ptq_kf_divide(i, pixels, &p), a->m, &m);
        o[2] = p % a->out[2] * a->stride[2] - a->pad[2];
        o[1] = p / a->out[2] % a->out[1] * a->stride[1] - a->pad[1];
        o[0] = p / (a->out[2] * a->out[1]) * a->stride[0] - a->pad[0];
        float acc = half_taps(&h, o, a->x + (n * a->c + m / mg * channels) * size, h.w + m * h.order.row);
        if (a->bias)
            acc += a->bias[m];
        if (a->add)
            acc += a->add[i];
        a->y[i] = ptq_kf_clamp(&a->act, acc);
    }
}

ptq_status ptq_kf_run_half_conv(ptq_dev *d, const ptq_kf_half_conv *a)
{
    int64_t n = a->f.n * a->f.m * a->f.out[0] * a->f.out[1] * a->f.out[2];
#ifdef __CUDACC__
    if (n > 0 && half_conv_fits(a))
        return half_conv_run(d, a);
#endif
    return PTQ_LAUNCH(d, half_conv, n, *a);
}

PTQ_KERNEL(half_matmul, ptq_kf_half_matmul h)
{
    const ptq_kf_matmul *a = &h.f;
    PTQ_EACH(i, a->batch * a->m * a->n)
    {
        int64_t n, m, a0, b0;
        int64_t batch = ptq_kf_divide(ptq_kf_divide(i, a->n, &n), a->m, &m);
        ptq_kf_batch(a, batch, &a0, &b0);
        const float *pa = a->a + a0 + m * a->a_row, *pb = a->b + b0 + n * a->b_col;
        const uint16_t *packed = h.b ? h.b + ptq_kf_half_place(&h, b0) + n * h.row : NULL;
        float acc = 0.0f;
        for (int64_t k = 0; k < a->k; k++) {
            float b = packed ? ptq_half_to_float(packed[k]) : half_of(pb[k * a->b_row]);
            acc = fmaf(half_of(pa[k * a->a_col]), b, acc);
        }
        a->y[i] = ptq_kf_finish(a, acc, m, n);
    }
}

ptq_status ptq_kf_run_half_matmul(ptq_dev *d, const ptq_kf_half_matmul *a)
{
    int64_t n = a->f.batch * a->f.m * a->f.n;
#ifdef __CUDACC__
    if (n > 0 && half_matmul_fits(a))
        return half_matmul_run(d, a);
#endif
    return PTQ_LAUNCH(d, half_matmul, n, *a);
}
