/* SPDX-License-Identifier: Apache-2.0 */
/* qavgpool, qglobalavgpool, qmaxpool: vectors over the channels of NHWC; PLAIN takes the
 * reference (its own loops are fast enough for what stays PLAIN). */
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/int.h"

static bool supports(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (ptq_int_is8(p->values.v[s->in[0]].dtype))
        return true;
    *why = "integer pools take int8 or uint8";
    return false;
}

typedef struct pool_job {
    const ptq_int_vec *v;
    const ptq_qpool_params *p; /* NULL: maximum */
    ptq_window w;
    ptq_int_view x, y;
    const uint8_t *in;
    uint8_t *out;
    ptq_qgrid g;
    bool sgn;
} pool_job;

enum { CHUNK = 1024 }; /* channels summed at a time */

/* Calls the row function for each pixel of the window inside x; returns their number. */
static int32_t window_each(const pool_job *j, int64_t n, const int64_t *o, int64_t c0, int64_t nc,
                           float *sum, uint8_t *best)
{
    int64_t taps = j->w.kernel[0] * j->w.kernel[1] * j->w.kernel[2];
    int32_t count = 0;
    for (int64_t t = 0; t < taps; t++) {
        int64_t px = ptq_int_tap(&j->w, &j->x, o, t);
        if (px < 0)
            continue;
        const uint8_t *x = j->in + (n * j->x.pixels + px) * j->x.c + c0;
        if (best)
            j->v->max(best, x, (size_t)nc, j->sgn);
        else
            j->v->sum_f32(sum, x, (size_t)nc, j->p->x.scale, j->p->x.zp, j->sgn);
        count++;
    }
    return count;
}

static void pool_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const pool_job *j = ctx;
    float sum[CHUNK];
    int32_t size = (int32_t)(j->w.kernel[0] * j->w.kernel[1] * j->w.kernel[2]);
    for (int64_t i = from; i < to; i++) {
        int64_t n = i / j->y.pixels, o[3];
        ptq_split3(i % j->y.pixels, j->y.d, o);
        uint8_t *y = j->out + i * j->y.c;
        if (!j->p) {
            memset(y, j->sgn ? 0x80 : 0, (size_t)j->y.c);
            window_each(j, n, o, 0, j->y.c, NULL, y);
            continue;
        }
        for (int64_t c0 = 0; c0 < j->y.c; c0 += CHUNK) {
            int64_t nc = j->y.c - c0 < CHUNK ? j->y.c - c0 : CHUNK;
            memset(sum, 0, sizeof sum[0] * (size_t)nc);
            int32_t count = window_each(j, n, o, c0, nc, sum, NULL);
            j->v->avg(sum, y + c0, (size_t)nc, j->w.count_include_pad ? size : count, j->p->y.scale,
                      j->p->y.zp, j->g);
        }
    }
}

static bool both_nhwc(const ptq_step_run *r)
{
    return r->in[0]->rank == 4 && r->in_layout[0] == PTQ_LAYOUT_NHWC &&
           r->out_layout[0] == PTQ_LAYOUT_NHWC;
}

static ptq_status run_windows(ptq_cpu *c, const ptq_step_run *r, const ptq_int_isa *isa,
                              const ptq_qpool_params *p)
{
    pool_job j = {.v = isa->vec, .p = p, .in = r->in[0]->data, .out = r->out[0].data};
    PTQ_TRY(ptq_int_window(r, NULL, &j.w));
    ptq_int_view_of(r->in[0], r->in_layout[0], &j.x);
    ptq_int_view_of(&r->out[0], r->out_layout[0], &j.y);
    j.sgn = ptq_int_signed(r->in[0]->dtype);
    if (p)
        j.g = (ptq_qgrid){p->qlo, p->qhi};
    return ptq_cpu_ranges(c, j.y.n * j.y.pixels, 4096 / (j.y.c + 1) + 1, pool_range, &j);
}

static ptq_status run_avg(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    return isa && both_nhwc(r) ? run_windows(c, r, isa, r->step->params) : ptq_int_ref_qavgpool(r);
}

static ptq_status run_max(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    return isa && both_nhwc(r) ? run_windows(c, r, isa, NULL) : ptq_int_ref_qmaxpool(r);
}

typedef struct gap_job {
    const ptq_int_vec *v;
    const ptq_qpool_params *p;
    ptq_int_view x;
    const uint8_t *in;
    uint8_t *out;
    float m;
    bool sgn;
    int64_t chunks; /* of the channels */
} gap_job;

static void gap_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const gap_job *j = ctx;
    int32_t acc[CHUNK];
    ptq_qgrid g = {j->p->qlo, j->p->qhi};
    for (int64_t i = from; i < to; i++) {
        int64_t n = i / j->chunks, c0 = i % j->chunks * CHUNK;
        int64_t nc = j->x.c - c0 < CHUNK ? j->x.c - c0 : CHUNK;
        memset(acc, 0, sizeof acc[0] * (size_t)nc);
        for (int64_t px = 0; px < j->x.pixels; px++)
            j->v->sum_i32(acc, j->in + n * j->x.ns + px * j->x.c + c0, (size_t)nc, j->sgn);
        j->v->requant(acc, j->out + n * j->x.c + c0, (size_t)nc,
                      (int32_t)-(uint32_t)(j->p->x.zp * (int32_t)j->x.pixels), j->m, j->p->y.zp, g);
    }
}

static ptq_status run_gap(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    const ptq_qpool_params *p = r->step->params;
    if (!isa || !both_nhwc(r))
        return ptq_int_ref_qglobalavgpool(r);
    gap_job j = {.v = isa->vec, .p = p, .in = r->in[0]->data, .out = r->out[0].data};
    ptq_int_view_of(r->in[0], r->in_layout[0], &j.x);
    j.m = ptq_qgap_multiplier(p->x.scale, p->y.scale, (int32_t)j.x.pixels);
    j.sgn = ptq_int_signed(r->in[0]->dtype);
    j.chunks = (j.x.c + CHUNK - 1) / CHUNK;
    return ptq_cpu_ranges(c, j.x.n * j.chunks, 1, gap_range, &j);
}

extern const ptq_cpu_kernel ptq_cpu_int_qavgpool, ptq_cpu_int_qglobalavgpool, ptq_cpu_int_qmaxpool;
const ptq_cpu_kernel ptq_cpu_int_qavgpool = {.name = "qavgpool", .supports = supports, .run = run_avg};
const ptq_cpu_kernel ptq_cpu_int_qglobalavgpool = {
    .name = "qglobalavgpool", .supports = supports, .run = run_gap};
const ptq_cpu_kernel ptq_cpu_int_qmaxpool = {.name = "qmaxpool", .supports = supports, .run = run_max};
