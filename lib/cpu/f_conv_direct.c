/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions with one input channel per group (depthwise): direct taps. Where every input
 * dimension is the stride times the output's, as with the usual padding, each tap of an output
 * reads the input (or one of its stride phases) a constant distance away: masks keep what lies in
 * the padding at zero and nothing is copied. Other shapes, and instruction sets without masks, go
 * through padded planes. */
#include "lib/cpu/f_conv.h"

/* ---- masked taps ---- */

typedef struct masked {
    const ptq_conv_direct *v;
    const ptq_f32_fns *f;
    ptq_f32_masks m;
    bool split; /* some stride is not 1: the phases of a plane are copied apart */
    char *scratch;
    size_t per_worker;
} masked;

static void masked_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    const masked *p = ctx;
    const ptq_conv_direct *v = p->v;
    const ptq_conv_geometry *g = v->g;
    float *phases = (float *)(void *)(p->scratch + (size_t)worker * p->per_worker);
    for (int64_t i = from; i < to; i++) {
        const float *x = v->x + i * g->isize;
        if (p->split) {
            ptq_conv_split_plane(g, p->f, x, phases, g->osize);
            x = phases;
        }
        int64_t m = i % g->c * g->mg;
        float *y = v->y + (i / g->c * g->m + m) * g->osize;
        for (int64_t k = 0; k < g->mg; k++, m++, y += g->osize)
            p->f->taps_masked(x, &p->m, v->w + m * g->kvol, v->bias ? v->bias + m : NULL, v->act, y);
    }
}

static ptq_status run_masked(ptq_cpu *c, const ptq_conv_direct *v)
{
    const ptq_conv_geometry *g = v->g;
    masked p = {.v = v, .f = ptq_cpu_f32(c), .split = g->isize != g->osize};
    p.m = (ptq_f32_masks){.n = g->osize, .vectors = (g->osize + 15) / 16, .taps = (int)g->kvol};
    size_t off_bytes = ((size_t)g->kvol * sizeof(int64_t) + 63) / 64 * 64;
    size_t mask_bytes = ((size_t)(g->kvol * p.m.vectors) * sizeof(uint16_t) + 63) / 64 * 64;
    p.per_worker = p.split ? ((size_t)g->isize * sizeof(float) + 127) / 64 * 64 : 0;
    char *s = ptq_cpu_scratch(c, off_bytes + mask_bytes +
                                     p.per_worker * (size_t)ptq_pool_threads(c->pool));
    if (!s)
        return ptq_fail_nomem();
    int64_t *off = (int64_t *)(void *)s;
    uint16_t *mask = (uint16_t *)(void *)(s + off_bytes);
    memset(mask, 0, mask_bytes);
    for (int64_t t = 0; t < g->kvol; t++)
        ptq_conv_tap_mask(g, t, 1, g->osize, &off[t], mask + t * p.m.vectors);
    p.m.off = off;
    p.m.mask = mask;
    p.scratch = s + off_bytes + mask_bytes;
    return ptq_cpu_ranges(c, g->batch * g->group, 1 + 65536 / (g->osize * g->kvol * g->mg), masked_range, &p);
}

/* ---- windows of 3 x 3, row by row ---- */

static bool fits_rows3(const ptq_conv_geometry *g)
{
    bool plain = g->in[0] == 1 && g->k[0] == 1 && g->out[0] == 1 && g->pad[0] == 0 && g->k[1] == 3 && g->k[2] == 3;
    for (int d = 0; d < 3; d++)
        plain = plain && g->dil[d] == 1 && g->up[d] == 1;
    /* Masks put several narrow rows into a vector, but rows of stride 2 must be split for that. */
    return plain && g->stride[1] == g->stride[2] && g->stride[1] <= 2 && g->out[2] >= (g->stride[1] == 1 ? 12 : 4);
}

typedef struct rows {
    const ptq_conv_direct *v;
    const ptq_f32_fns *f;
} rows;

static void rows_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const rows *p = ctx;
    const ptq_conv_direct *v = p->v;
    const ptq_conv_geometry *g = v->g;
    ptq_f32_rows3 t = {.height = g->in[1], .width = g->in[2], .out_height = g->out[1], .out_width = g->out[2],
                       .top = g->pad[1], .left = g->pad[2], .stride = (int)g->stride[1], .act = v->act};
    for (int64_t i = from; i < to; i++) { /* output planes */
        int64_t m = i % g->m;
        t.x = v->x + (i / g->m * g->c + m / g->mg) * g->isize;
        t.w = v->w + m * g->kvol;
        t.bias = v->bias ? v->bias + m : NULL;
        t.y = v->y + i * g->osize;
        p->f->rows3(&t);
    }
}

static ptq_status run_rows3(ptq_cpu *c, const ptq_conv_direct *v)
{
    rows p = {v, ptq_cpu_f32(c)};
    return ptq_cpu_ranges(c, v->g->batch * v->g->m, 1 + 16384 / v->g->osize, rows_range, &p);
}

/* ---- padded planes ----
 * Outputs are computed along whole padded rows; what falls between two rows is thrown away. */

typedef struct padded {
    const ptq_conv_direct *v;
    const ptq_f32_fns *f;
    ptq_conv_planes pl;
    int64_t span;       /* outputs computed per plane */
    const int64_t *off; /* [kvol] */
    char *scratch;
    size_t per_worker, y_at;
} padded;

static ptq_status padded_task(void *arg, size_t i, int worker)
{
    const padded *p = arg;
    const ptq_conv_direct *v = p->v;
    const ptq_conv_geometry *g = v->g;
    const int64_t *q = p->pl.q;
    int64_t image = (int64_t)i / g->group, group = (int64_t)i % g->group;
    float *x = (float *)(void *)(p->scratch + (size_t)worker * p->per_worker);
    float *tmp = (float *)(void *)(p->scratch + (size_t)worker * p->per_worker + p->y_at);
    ptq_conv_fill_plane(g, &p->pl, v->x + (image * g->c + group) * g->isize, x);
    for (int64_t mi = 0; mi < g->mg; mi++) {
        int64_t m = group * g->mg + mi;
        p->f->taps(x, p->off, v->w + m * g->kvol, (int)g->kvol, v->bias ? v->bias + m : NULL,
                   v->act, tmp, p->span);
        float *y = v->y + (image * g->m + m) * g->osize;
        for (int64_t o0 = 0; o0 < g->out[0]; o0++)
            for (int64_t o1 = 0; o1 < g->out[1]; o1++, y += g->out[2])
                ptq_conv_copy_row(tmp + (o0 * q[1] + o1) * q[2], 1, y, g->out[2]);
    }
    return PTQ_OK;
}

static ptq_status run_padded(ptq_cpu *c, const ptq_conv_direct *v)
{
    const ptq_conv_geometry *g = v->g;
    enum { SLACK = 64 }; /* vectors reach past the last element */
    padded p = {.v = v, .f = ptq_cpu_f32(c)};
    ptq_conv_planes *l = &p.pl;
    ptq_conv_lay_planes(g, l);
    p.span = ((g->out[0] - 1) * l->q[1] + g->out[1] - 1) * l->q[2] + g->out[2];
    p.y_at = (size_t)(l->size + SLACK) * sizeof(float) / 64 * 64 + 64;
    p.per_worker = p.y_at + ((size_t)(p.span + SLACK) * sizeof(float) / 64 + 1) * 64;
    size_t table = ((size_t)g->kvol * sizeof(int64_t) + 63) / 64 * 64;
    char *s = ptq_cpu_scratch(c, table + p.per_worker * (size_t)ptq_pool_threads(c->pool));
    if (!s)
        return ptq_fail_nomem();
    int64_t *off = (int64_t *)(void *)s;
    ptq_conv_tap_offsets(g, l, off);
    p.off = off;
    p.scratch = s + table;
    return ptq_pool_for(c->pool, (size_t)(g->batch * g->group), padded_task, &p);
}
ptq_status ptq_conv_run_direct(ptq_cpu *c, const ptq_conv_direct *v)
{
    if (ptq_cpu_f32(c)->rows3 && fits_rows3(v->g))
        return run_rows3(c, v);
    return ptq_cpu_f32(c)->taps_masked && ptq_conv_fits_window(v->g) ? run_masked(c, v) : run_padded(c, v);
}
