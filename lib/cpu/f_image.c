/* SPDX-License-Identifier: Apache-2.0 */
/* Col2Im, DeformConv, NonMaxSuppression, in double. */
#include "lib/cpu/fkernel.h"

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};

/* Entry i of an integer attribute. */
static int64_t entry(const ptq_step_run *r, const char *name, size_t i, int64_t dflt)
{
    size_t n;
    const int64_t *v = ptq_attr_ints(r->step->node, name, &n);
    return v && i < n ? v[i] : dflt;
}

/* ---- Col2Im: columns [N, C * block, places] are added up where they came from ---- */

typedef struct col_ctx {
    int nd;
    int64_t image[PTQ_MAX_RANK], block[PTQ_MAX_RANK], places[PTQ_MAX_RANK];
    int64_t stride[PTQ_MAX_RANK], dil[PTQ_MAX_RANK], pad[PTQ_MAX_RANK];
} col_ctx;

static ptq_status read_col(const ptq_step_run *r, col_ctx *v)
{
    int n, m;
    if (!ptq_ints_of(r->in[1], v->image, PTQ_MAX_RANK, &n) ||
        !ptq_ints_of(r->in[2], v->block, PTQ_MAX_RANK, &m) || n != m)
        return ptq_bad_args(r);
    v->nd = n;
    int64_t total = 1;
    for (int d = 0; d < n; d++) {
        v->stride[d] = entry(r, "strides", (size_t)d, 1);
        v->dil[d] = entry(r, "dilations", (size_t)d, 1);
        v->pad[d] = entry(r, "pads", (size_t)d, 0);
        int64_t span = v->image[d] + v->pad[d] + entry(r, "pads", (size_t)(n + d), 0) -
                       v->dil[d] * (v->block[d] - 1) - 1;
        if (v->stride[d] < 1 || v->dil[d] < 1 || v->block[d] < 1 || span < 0)
            return ptq_bad_args(r);
        v->places[d] = span / v->stride[d] + 1;
        total *= v->places[d];
    }
    bool fits = r->in[0]->rank == 3 && r->in[0]->dims[2] == total &&
                r->in[0]->dims[1] == r->out[0].dims[1] * ptq_product(v->block, 0, n);
    return fits ? PTQ_OK : ptq_bad_args(r);
}

/* Element of the image under tap t of place p; -1 in the padding. */
static int64_t col_target(const col_ctx *v, int64_t t, int64_t p)
{
    int64_t at = 0, step = 1;
    for (int d = v->nd - 1; d >= 0; d--) {
        int64_t i = p % v->places[d] * v->stride[d] + t % v->block[d] * v->dil[d] - v->pad[d];
        if (i < 0 || i >= v->image[d])
            return -1;
        at += i * step;
        step *= v->image[d];
        t /= v->block[d];
        p /= v->places[d];
    }
    return at;
}

static ptq_status col2im_run(ptq_cpu *c, const ptq_step_run *r)
{
    col_ctx v;
    (void)c;
    PTQ_TRY(read_col(r, &v));
    int64_t taps = ptq_product(v.block, 0, v.nd), places = ptq_product(v.places, 0, v.nd);
    int64_t size = ptq_product(v.image, 0, v.nd), planes = r->out[0].dims[0] * r->out[0].dims[1];
    const double *x = r->in[0]->data;
    double *y = r->out[0].data;
    memset(y, 0, r->out[0].nbytes);
    for (int64_t i = 0; i < planes * taps; i++)
        for (int64_t p = 0; p < places; p++) {
            int64_t to = col_target(&v, i % taps, p);
            if (to >= 0)
                y[i / taps * size + to] += x[i * places + p];
        }
    return PTQ_OK;
}
ROW(col2im, "Col2Im", .takes = PTQ_TAKES(PTQ_DT_F64), .keep_in = 6)

/* ---- DeformConv: a convolution whose taps are moved by offsets, weighted by a mask ---- */

typedef struct deform_ctx {
    ptq_conv_geometry g;
    const double *x, *w, *off, *mask, *bias;
    double *y;
    int64_t groups; /* of offsets */
} deform_ctx;

static double bilinear(const double *x, int64_t h, int64_t w, double y0, double x0)
{
    if (!(y0 > -1 && y0 < (double)h && x0 > -1 && x0 < (double)w))
        return 0;
    int64_t r = (int64_t)floor(y0), c = (int64_t)floor(x0);
    double fy = y0 - (double)r, fx = x0 - (double)c, sum = 0;
    for (int k = 0; k < 4; k++) {
        int64_t i = r + k / 2, j = c + k % 2;
        double weight = (k / 2 ? fy : 1 - fy) * (k % 2 ? fx : 1 - fx);
        sum += i >= 0 && i < h && j >= 0 && j < w ? weight * x[i * w + j] : 0;
    }
    return sum;
}

static double deform_sum(const deform_ctx *v, int64_t n, int64_t m, int64_t at)
{
    const ptq_conv_geometry *g = &v->g;
    int64_t oy = at / g->out[2], ox = at % g->out[2], per = g->c / v->groups;
    double sum = v->bias ? v->bias[m] : 0;
    for (int64_t ci = 0; ci < g->cg; ci++) {
        int64_t ch = m / g->mg * g->cg + ci;
        const double *plane = v->x + (n * g->c + ch) * g->isize;
        for (int64_t t = 0; t < g->kvol; t++) {
            int64_t o = (n * v->groups + ch / per) * g->kvol + t; /* of the tap */
            double y = (double)(oy * g->stride[1] + t / g->k[2] * g->dil[1] - g->pad[1]);
            double x = (double)(ox * g->stride[2] + t % g->k[2] * g->dil[2] - g->pad[2]);
            y += v->off[2 * o * g->osize + at];
            x += v->off[(2 * o + 1) * g->osize + at];
            double s = bilinear(plane, g->in[1], g->in[2], y, x) * (v->mask ? v->mask[o * g->osize + at] : 1.0);
            sum += s * v->w[(m * g->cg + ci) * g->kvol + t];
        }
    }
    return sum;
}

static void deform_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const deform_ctx *v = ctx;
    (void)worker;
    for (int64_t i = from; i < to; i++)
        v->y[i] = deform_sum(v, i / v->g.osize / v->g.m, i / v->g.osize % v->g.m, i % v->g.osize);
}

static ptq_status deform_conv_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *off = r->in[2], *bias = ptq_in(r, 3), *mask = ptq_in(r, 4);
    deform_ctx v = {.x = r->in[0]->data, .w = r->in[1]->data, .off = off->data, .y = r->out[0].data,
                    .bias = bias ? bias->data : NULL, .mask = mask ? mask->data : NULL,
                    .groups = ptq_attr_int(r->step->node, "offset_group", 1)};
    if (r->in[0]->rank != 4)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: DeformConv of rank %d is not supported (4 is)", r->step->name,
                        r->in[0]->rank);
    PTQ_TRY(ptq_conv_geometry_of(r, false, &v.g));
    int64_t moved = v.g.batch * v.groups * v.g.kvol * v.g.osize;
    if (v.groups < 1 || v.g.c % v.groups != 0 || ptq_tensor_elements(off) != 2 * moved ||
        (mask && ptq_tensor_elements(mask) != moved))
        return ptq_bad_args(r);
    return ptq_cpu_ranges(c, v.g.batch * v.g.m * v.g.osize, 16, deform_part, &v);
}
ROW(deform_conv, "DeformConv", .takes = PTQ_TAKES(PTQ_DT_F64))

/* ---- NonMaxSuppression ---- */

typedef struct box {
    double y0, x0, y1, x1, score;
    int64_t at;
} box;

static box box_of(const double *p, bool center, double score, int64_t at)
{
    if (center) /* x, y, width, height */
        return (box){p[1] - p[3] / 2, p[0] - p[2] / 2, p[1] + p[3] / 2, p[0] + p[2] / 2, score, at};
    return (box){fmin(p[0], p[2]), fmin(p[1], p[3]), fmax(p[0], p[2]), fmax(p[1], p[3]), score, at};
}

static double overlap(const box *a, const box *b)
{
    double h = fmin(a->y1, b->y1) - fmax(a->y0, b->y0), w = fmin(a->x1, b->x1) - fmax(a->x0, b->x0);
    double both = h > 0 && w > 0 ? h * w : 0;
    double all = (a->y1 - a->y0) * (a->x1 - a->x0) + (b->y1 - b->y0) * (b->x1 - b->x0) - both;
    return all > 0 ? both / all : 0;
}

static int by_score(const void *pa, const void *pb)
{
    const box *a = pa, *b = pb;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

static double number_of(const ptq_step_run *r, int i, double dflt)
{
    const ptq_tensor *t = ptq_in(r, i);
    if (!t || ptq_tensor_elements(t) != 1)
        return dflt;
    return t->dtype == PTQ_DT_S64 ? (double)*(const int64_t *)t->data : *(const double *)t->data;
}

/* Of one class in one image: the chosen boxes come first; returns their number. */
static int64_t suppress(box *b, int64_t n, int64_t most, double threshold)
{
    int64_t kept = 0;
    qsort(b, (size_t)n, sizeof *b, by_score);
    for (int64_t i = 0; i < n && kept < most; i++) {
        bool keep = true;
        for (int64_t k = 0; k < kept && keep; k++)
            keep = !(overlap(&b[k], &b[i]) > threshold);
        if (keep)
            b[kept++] = b[i];
    }
    return kept;
}

static ptq_status nms_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *boxes = r->in[0], *scores = r->in[1];
    int64_t images = boxes->dims[0], n = boxes->dims[1], classes = scores->dims[1], count = 0;
    double most = number_of(r, 2, 0), iou = number_of(r, 3, 0), least = number_of(r, 4, -INFINITY);
    bool center = ptq_attr_int(r->step->node, "center_point_box", 0) != 0;
    int64_t limit = most < 0 ? 0 : most < (double)n ? (int64_t)most : n;
    size_t list = (size_t)(images * classes * limit * 3) * sizeof(int64_t);
    char *mem = ptq_cpu_scratch(c, (size_t)n * sizeof(box) + list);
    if (!mem)
        return ptq_fail_nomem();
    box *b = (box *)(void *)mem;
    int64_t *found = (int64_t *)(void *)(mem + (size_t)n * sizeof *b);
    for (int64_t i = 0; i < images * classes; i++) {
        int64_t candidates = 0;
        for (int64_t k = 0; k < n; k++) {
            double score = ((const double *)scores->data)[i * n + k];
            if (score > least)
                b[candidates++] = box_of((const double *)boxes->data + (i / classes * n + k) * 4, center, score, k);
        }
        int64_t kept = suppress(b, candidates, limit, iou);
        for (int64_t k = 0; k < kept; k++, count++)
            memcpy(found + 3 * count, (int64_t[]){i / classes, i % classes, b[k].at}, 3 * sizeof *found);
    }
    PTQ_TRY(ptq_cpu_out(r, 0, 2, (int64_t[]){count, 3}));
    if (count)
        memcpy(r->out[0].data, found, (size_t)count * 3 * sizeof *found);
    return PTQ_OK;
}
ROW(nms, "NonMaxSuppression", .takes = PTQ_TAKES(PTQ_DT_F64) | PTQ_TAKES_S64, .finds_shape = true)
