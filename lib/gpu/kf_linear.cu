/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution and matrix product in fp32, one output per thread: the specification on the device.
 * kf_tile.cuh has the faster kernels. */
#include "lib/gpu/kf.h"
#ifdef __CUDACC__
#include "lib/gpu/kf_tile.cuh"
#endif

/* Where position u of the padded and spread input lies in an input of n; -1: a zero. */
PTQ_DEVICE int place(int u, int up, int n)
{
    if (up > 1) {
        if (u % up != 0)
            return -1;
        u /= up;
    }
    return u >= 0 && u < n ? u : -1;
}

/* The chain over the taps of one input channel, on top of `acc`; o0, o1, o2 is where the window
 * begins. Taps in the padding count, as zeros: they can turn -0 into +0 and an infinite weight
 * into NaN. */
PTQ_DEVICE float add_taps(const ptq_kf_conv *a, int o0, int o1, int o2, const float *x, const float *w, float acc)
{
    int64_t step = a->mirrored ? -1 : 1;
    for (int k0 = 0; k0 < (int)a->kernel[0]; k0++) {
        int i0 = place(o0 + k0 * (int)a->dilation[0], (int)a->up[0], (int)a->in[0]);
        for (int k1 = 0; k1 < (int)a->kernel[1]; k1++) {
            int i1 = place(o1 + k1 * (int)a->dilation[1], (int)a->up[1], (int)a->in[1]);
            int row = i0 < 0 || i1 < 0 ? -1 : (i0 * (int)a->in[1] + i1) * (int)a->in[2];
            for (int k2 = 0; k2 < (int)a->kernel[2]; k2++, w += step) {
                int i2 = place(o2 + k2 * (int)a->dilation[2], (int)a->up[2], (int)a->in[2]);
                acc = fmaf(*w, row < 0 || i2 < 0 ? 0.0f : x[row + i2], acc);
            }
        }
    }
    return acc;
}

PTQ_KERNEL(conv, ptq_kf_conv a)
{
    int64_t pixels = a.out[0] * a.out[1] * a.out[2], size = a.in[0] * a.in[1] * a.in[2];
    int64_t taps = a.kernel[0] * a.kernel[1] * a.kernel[2];
    int cg = (int)a.c / (int)a.groups, mg = (int)a.m / (int)a.groups;
    PTQ_EACH(i, a.n * a.m * pixels)
    {
        int64_t p, m;
        int64_t n = ptq_kf_divide(ptq_kf_divide(i, pixels, &p), a.m, &m);
        int g = (int)m / mg, p2 = (int)p % (int)a.out[2], p1 = (int)p / (int)a.out[2] % (int)a.out[1];
        int p0 = (int)p / (int)(a.out[1] * a.out[2]);
        int o0 = p0 * (int)a.stride[0] - (int)a.pad[0], o1 = p1 * (int)a.stride[1] - (int)a.pad[1];
        int o2 = p2 * (int)a.stride[2] - (int)a.pad[2];
        const float *x = a.x + (n * a.c + (int64_t)g * cg) * size;
        const float *w = a.mirrored ? a.w + ((int64_t)g * cg * mg + m % mg + 1) * taps - 1 : a.w + m * cg * taps;
        float acc = 0.0f;
        for (int c = 0; c < cg; c++) {
            acc = add_taps(&a, o0, o1, o2, x, w, acc);
            x += size;
            w += taps * (a.mirrored ? mg : 1);
        }
        if (a.bias)
            acc += a.bias[m];
        if (a.add)
            acc += a.add[i];
        a.y[i] = ptq_kf_clamp(&a.act, acc);
    }
}

ptq_status ptq_kf_run_conv(ptq_dev *d, const ptq_kf_conv *a)
{
#ifdef __CUDACC__
    if (ptq_kf_tile_conv_fits(d, a))
        return ptq_kf_tile_conv(d, a);
#endif
    return PTQ_LAUNCH(d, conv, a->n * a->m * a->out[0] * a->out[1] * a->out[2], *a);
}

PTQ_KERNEL(matmul, ptq_kf_matmul a)
{
    PTQ_EACH(i, a.batch * a.m * a.n)
    {
        int64_t n, m, a0, b0;
        int64_t batch = ptq_kf_divide(ptq_kf_divide(i, a.n, &n), a.m, &m);
        ptq_kf_batch(&a, batch, &a0, &b0);
        const float *pa = a.a + a0 + m * a.a_row, *pb = a.b + b0 + n * a.b_col;
        float acc = 0.0f;
        for (int64_t k = 0; k < a.k; k++)
            acc = fmaf(pa[k * a.a_col], pb[k * a.b_row], acc);
        a.y[i] = ptq_kf_finish(&a, acc, m, n);
    }
}

ptq_status ptq_kf_run_matmul(ptq_dev *d, const ptq_kf_matmul *a)
{
#ifdef __CUDACC__
    if (ptq_kf_tile_matmul_fits(d, a))
        return ptq_kf_tile_matmul(d, a);
#endif
    return PTQ_LAUNCH(d, matmul, a->batch * a->m * a->n, *a);
}
