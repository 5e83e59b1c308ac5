/* SPDX-License-Identifier: Apache-2.0 */
/* Padded planes of a convolution. */
#include "lib/cpu/f_conv.h"

void ptq_conv_lay_planes(const ptq_conv_geometry *g, ptq_conv_planes *p)
{
    for (int d = 0; d < 3; d++) {
        int64_t reach = (g->k[d] - 1) * g->dil[d];
        int64_t u = (g->out[d] - 1) * g->stride[d] + reach + 1;
        p->q[d] = (u + g->stride[d] - 1) / g->stride[d];
        p->np[d] = reach + 1 < g->stride[d] ? reach + 1 : g->stride[d];
        p->phase0[d] = (g->pad[d] % g->stride[d] + g->stride[d]) % g->stride[d];
        p->at0[d] = (g->pad[d] - p->phase0[d]) / g->stride[d];
    }
    int64_t s = g->stride[2], pad = g->pad[2];
    for (int64_t ph = 0; ph < p->np[2] && s <= FAST_STRIDE; ph++) {
        ptq_conv_row *r = &p->row[ph];
        int64_t i0 = (ph - p->phase0[2] + s) % s; /* the first element of this phase */
        while (i0 + pad < 0)
            i0 += s;
        r->from = i0;
        r->to = (i0 + pad) / s;
        r->n = i0 < g->in[2] ? (g->in[2] - i0 + s - 1) / s : 0;
        if (r->n > p->q[2] - r->to)
            r->n = p->q[2] > r->to ? p->q[2] - r->to : 0;
    }
    p->volume = p->q[0] * p->q[1] * p->q[2];
    p->size = p->volume * p->np[0] * p->np[1] * p->np[2];
}

void ptq_conv_tap_offsets(const ptq_conv_geometry *g, const ptq_conv_planes *p, int64_t *off)
{
    for (int64_t t = 0; t < g->kvol; t++) {
        int64_t tap[3], phase = 0, at = 0;
        ptq_split3(t, g->k, tap);
        for (int d = 0; d < 3; d++) {
            int64_t u = tap[d] * g->dil[d];
            phase = phase * p->np[d] + u % g->stride[d];
            at = at * p->q[d] + u / g->stride[d];
        }
        off[t] = phase * p->volume + at;
    }
}

/* One row of input elements into every kept phase of the last dimension. */
static void fill_row(const ptq_conv_geometry *g, const ptq_conv_planes *p, const float *x, float *dst)
{
    int64_t s = g->stride[2], up = g->up[2], n = g->in[2];
    if (up == 1 && s <= FAST_STRIDE) {
        for (int64_t ph = 0; ph < p->np[2]; ph++) {
            const ptq_conv_row *r = &p->row[ph];
            ptq_conv_copy_row(x + r->from, s, dst + ph * p->volume + r->to, r->n);
        }
        return;
    }
    int64_t phase = p->phase0[2], at = p->at0[2];
    for (int64_t i = 0; i < n; i++) {
        if (phase < p->np[2] && at >= 0 && at < p->q[2])
            dst[phase * p->volume + at] = x[i];
        for (phase += up; phase >= s; phase -= s)
            at++;
    }
}

void ptq_conv_fill_plane(const ptq_conv_geometry *g, const ptq_conv_planes *p, const float *x, float *dst)
{
    memset(dst, 0, (size_t)p->size * sizeof *dst);
    int64_t ph0 = p->phase0[0], at0 = p->at0[0];
    for (int64_t i0 = 0; i0 < g->in[0]; i0++) {
        int64_t ph1 = p->phase0[1], at1 = p->at0[1];
        bool in0 = ph0 < p->np[0] && at0 >= 0 && at0 < p->q[0];
        for (int64_t i1 = 0; i1 < g->in[1]; i1++, x += g->in[2]) {
            if (in0 && ph1 < p->np[1] && at1 >= 0 && at1 < p->q[1])
                fill_row(g, p, x,
                         dst + (ph0 * p->np[1] + ph1) * p->np[2] * p->volume +
                             (at0 * p->q[1] + at1) * p->q[2]);
            for (ph1 += g->up[1]; ph1 >= g->stride[1]; ph1 -= g->stride[1])
                at1++;
        }
        for (ph0 += g->up[0]; ph0 >= g->stride[0]; ph0 -= g->stride[0])
            at0++;
    }
}
