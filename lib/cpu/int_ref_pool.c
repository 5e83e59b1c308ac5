/* SPDX-License-Identifier: Apache-2.0 */
/* The laws of the pools in plain loops. */
#include "lib/cpu/int.h"

typedef struct pool {
    const ptq_step_run *r;
    const ptq_qpool_params *p; /* NULL for qmaxpool */
    ptq_window win;
    ptq_int_view x, y;
    int64_t size; /* of the kernel */
} pool;

/* Calls nothing outside the input; the elements come in the order of the window. */
static int32_t window_max(const pool *c, int64_t n, int64_t ch, const int64_t *o)
{
    bool sgn = ptq_int_signed(c->r->in[0]->dtype);
    int32_t best = sgn ? -128 : 0;
    for (int64_t t = 0; t < c->size; t++) {
        int64_t pixel = ptq_int_tap(&c->win, &c->x, o, t);
        if (pixel < 0)
            continue;
        int32_t v = ptq_int_byte(c->r->in[0]->data, n * c->x.ns + ch * c->x.cs + pixel * c->x.ps, sgn);
        best = v > best ? v : best;
    }
    return best;
}

static int32_t window_avg(const pool *c, int64_t n, int64_t ch, const int64_t *o)
{
    const ptq_qpool_params *p = c->p;
    bool sgn = ptq_int_signed(c->r->in[0]->dtype);
    float sum = 0.0f;
    int32_t count = 0;
    for (int64_t t = 0; t < c->size; t++) {
        int64_t pixel = ptq_int_tap(&c->win, &c->x, o, t);
        if (pixel < 0)
            continue;
        int64_t xi = n * c->x.ns + ch * c->x.cs + pixel * c->x.ps;
        sum += ptq_dequantize(ptq_int_byte(c->r->in[0]->data, xi, sgn), p->x.scale, p->x.zp);
        count++;
    }
    if (c->win.count_include_pad)
        count = (int32_t)c->size;
    return ptq_qavgpool(sum, count, p->y.scale, p->y.zp, p->qlo, p->qhi);
}

static ptq_status run_pool(const ptq_step_run *r, const ptq_qpool_params *p,
                           int32_t (*one)(const pool *, int64_t, int64_t, const int64_t *))
{
    pool c = {.r = r, .p = p};
    PTQ_TRY(ptq_int_window(r, NULL, &c.win));
    ptq_int_view_of(r->in[0], r->in_layout[0], &c.x);
    ptq_int_view_of(&r->out[0], r->out_layout[0], &c.y);
    c.size = c.win.kernel[0] * c.win.kernel[1] * c.win.kernel[2];
    for (int64_t n = 0; n < c.y.n; n++)
        for (int64_t ch = 0; ch < c.y.c; ch++)
            for (int64_t px = 0; px < c.y.pixels; px++) {
                int64_t o[3];
                ptq_split3(px, c.y.d, o);
                ((uint8_t *)r->out[0].data)[n * c.y.ns + ch * c.y.cs + px * c.y.ps] =
                    (uint8_t)one(&c, n, ch, o);
            }
    return PTQ_OK;
}

ptq_status ptq_int_ref_qavgpool(const ptq_step_run *r)
{
    return run_pool(r, r->step->params, window_avg);
}

ptq_status ptq_int_ref_qmaxpool(const ptq_step_run *r)
{
    return run_pool(r, NULL, window_max);
}

ptq_status ptq_int_ref_qglobalavgpool(const ptq_step_run *r)
{
    const ptq_qpool_params *p = r->step->params;
    bool sgn = ptq_int_signed(r->in[0]->dtype);
    ptq_int_view v;
    if (!ptq_int_view_of(r->in[0], r->in_layout[0], &v))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: rank %d", r->step->name, r->in[0]->rank);
    float m = ptq_qgap_multiplier(p->x.scale, p->y.scale, (int32_t)v.pixels);
    for (int64_t n = 0; n < v.n; n++)
        for (int64_t c = 0; c < v.c; c++) {
            int32_t acc = 0;
            for (int64_t px = 0; px < v.pixels; px++)
                acc += ptq_int_byte(r->in[0]->data, n * v.ns + c * v.cs + px * v.ps, sgn) - p->x.zp;
            ((uint8_t *)r->out[0].data)[n * v.c + c] =
                (uint8_t)ptq_requantize(acc, m, p->y.zp, p->qlo, p->qhi);
        }
    return PTQ_OK;
}
