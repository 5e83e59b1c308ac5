/* SPDX-License-Identifier: Apache-2.0 */
/* The integer products, one output per thread: the specification on the device. */
#include "lib/gpu/finish.h"

/* Threads run along the output's memory: channels first where they lie together. */
PTQ_KERNEL(conv, ptq_k_conv a)
{
    int64_t pixels = a.out[0] * a.out[1] * a.out[2], cg = a.c / a.groups, mg = a.m / a.groups;
    int64_t taps = a.kernel[0] * a.kernel[1] * a.kernel[2];
    PTQ_EACH(i, a.n * a.m * pixels)
    {
        int64_t m, p, n = i / (a.m * pixels), r = i % (a.m * pixels);
        if (a.y_cs == 1) {
            m = r % a.m;
            p = r / a.m;
        } else {
            p = r % pixels;
            m = r / pixels;
        }
        int64_t o2 = p % a.out[2], o1 = p / a.out[2] % a.out[1], o0 = p / (a.out[2] * a.out[1]);
        int32_t wz = ptq_k_weight_zp(&a.e, m);
        uint32_t acc = a.e.bias ? (uint32_t)a.e.bias[m] : 0; /* unsigned: it wraps as the CPU's does */
        for (int64_t t = 0; t < taps; t++) {
            int64_t k2 = t % a.kernel[2], k1 = t / a.kernel[2] % a.kernel[1], k0 = t / (a.kernel[2] * a.kernel[1]);
            int64_t i0 = o0 * a.stride[0] - a.pad[0] + k0 * a.dilation[0];
            int64_t i1 = o1 * a.stride[1] - a.pad[1] + k1 * a.dilation[1];
            int64_t i2 = o2 * a.stride[2] - a.pad[2] + k2 * a.dilation[2];
            if (i0 < 0 || i0 >= a.in[0] || i1 < 0 || i1 >= a.in[1] || i2 < 0 || i2 >= a.in[2])
                continue; /* padding counts as the zero point */
            int64_t x = n * a.x_ns + ((i0 * a.in[1] + i1) * a.in[2] + i2) * a.x_ps + m / mg * cg * a.x_cs;
            for (int64_t c = 0; c < cg; c++)
                acc += (uint32_t)((ptq_k_byte(a.x, x + c * a.x_cs, a.e.x_signed) - a.e.zx) *
                                  (ptq_k_byte(a.w, (m * cg + c) * taps + t, a.e.w_signed) - wz));
        }
        ptq_k_finish(&a.e, a.y, n * a.y_ns + m * a.y_cs + p * a.y_ps, m, (int32_t)acc);
    }
}

ptq_status ptq_k_run_conv(ptq_dev *d, const ptq_k_conv *a)
{
    return PTQ_LAUNCH(d, conv, a->n * a->m * a->out[0] * a->out[1] * a->out[2], *a);
}

PTQ_KERNEL(matmul, ptq_k_matmul a)
{
    PTQ_EACH(i, a.batch * a.m * a.n)
    {
        int64_t n = i % a.n, m = i / a.n % a.m, rest = i / (a.n * a.m), a0 = 0, b0 = 0;
        for (int d = a.nbd - 1; d >= 0; d--) {
            a0 += rest % a.bdim[d] * a.a_step[d];
            b0 += rest % a.bdim[d] * a.b_step[d];
            rest /= a.bdim[d];
        }
        a0 += m * a.a_row;
        b0 += n * a.b_col;
        int32_t zb = ptq_k_weight_zp(&a.e, n);
        uint32_t acc = a.e.bias ? (uint32_t)a.e.bias[n] : 0;
        for (int64_t k = 0; k < a.k; k++)
            acc += (uint32_t)((ptq_k_byte(a.a, a0 + k * a.a_col, a.e.x_signed) - a.e.zx) *
                              (ptq_k_byte(a.b, b0 + k * a.b_row, a.e.w_signed) - zb));
        ptq_k_finish(&a.e, a.y, i, n, (int32_t)acc);
    }
}

ptq_status ptq_k_run_matmul(ptq_dev *d, const ptq_k_matmul *a)
{
    return PTQ_LAUNCH(d, matmul, a->batch * a->m * a->n, *a);
}
