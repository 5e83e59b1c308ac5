/* SPDX-License-Identifier: Apache-2.0 */
/* The law of qconv in plain loops: int32 sum of (x - zx)(w - zw), taps outside the input add
 * nothing, + bias, float multiplier, clamp, round half to even, + zy; or + residual. */
#include "lib/cpu/int.h"

typedef struct conv {
    const ptq_qlinear_params *p;
    const ptq_tensor *x, *w, *y;
    ptq_int_view xv, yv;
    ptq_window win;
    ptq_int_skip skip;
    int64_t cg, mg, taps; /* input and output channels of a group, taps of the window */
} conv;

static int32_t dot(const conv *c, int64_t n, int64_t m, const int64_t *o)
{
    bool xs = ptq_int_signed(c->x->dtype), ws = ptq_int_signed(c->w->dtype);
    int32_t zw = ptq_int_wzp(c->p, m);
    int64_t g = m / c->mg;
    uint32_t acc = 0; /* wraps like the int32 of every implementation */
    for (int64_t ci = 0; ci < c->cg; ci++)
        for (int64_t t = 0; t < c->taps; t++) {
            int64_t pixel = ptq_int_tap(&c->win, &c->xv, o, t);
            if (pixel < 0)
                continue;
            int64_t xi = n * c->xv.ns + (g * c->cg + ci) * c->xv.cs + pixel * c->xv.ps;
            int64_t wi = (m * c->cg + ci) * c->taps + t;
            acc += (uint32_t)((ptq_int_byte(c->x->data, xi, xs) - c->p->x.zp) *
                              (ptq_int_byte(c->w->data, wi, ws) - zw));
        }
    return (int32_t)(acc + (uint32_t)(c->p->bias ? c->p->bias[m] : 0));
}

ptq_status ptq_int_ref_qconv(const ptq_step_run *r)
{
    conv c = {.p = r->step->params, .x = r->in[0], .w = r->in[1], .y = &r->out[0], .skip = ptq_int_skip_of(r)};
    PTQ_TRY(ptq_int_window(r, c.w->dims + 2, &c.win));
    ptq_int_view_of(c.x, r->in_layout[0], &c.xv);
    ptq_int_view_of(c.y, r->out_layout[0], &c.yv);
    c.cg = c.w->dims[1];
    c.mg = c.yv.c / c.win.group;
    c.taps = c.win.kernel[0] * c.win.kernel[1] * c.win.kernel[2];
    for (int64_t n = 0; n < c.yv.n; n++)
        for (int64_t m = 0; m < c.yv.c; m++) {
            float mult = ptq_int_mult(c.p, m);
            for (int64_t px = 0; px < c.yv.pixels; px++) {
                int64_t o[3];
                ptq_split3(px, c.yv.d, o);
                int64_t yi = n * c.yv.ns + m * c.yv.cs + px * c.yv.ps;
                ptq_int_store(c.p, &c.skip, c.y->data, yi, dot(&c, n, m, o), mult);
            }
        }
    return PTQ_OK;
}
