/* SPDX-License-Identifier: Apache-2.0 */
/* qconv: an implicit product in NHWC. Rows are output pixels, k runs over (window, channels of the
 * group), padding holds the zero point. Depthwise convolutions: int_depthwise.c. A PLAIN
 * tensor is turned to NHWC first. */
#include <stdlib.h>
#include <string.h>

#include "lib/cpu/int.h"

typedef struct state {
    const ptq_int_isa *isa;
    ptq_int_depthwise *depthwise; /* or NULL: groups of products */
    int64_t groups, taps;
    ptq_int_packed *w; /* [groups] */
    void *mem;
} state;

static bool supports(const ptq_program *p, const ptq_step *s, const char **why)
{
    const ptq_pvalue *x = &p->values.v[s->in[0]], *w = &p->values.v[s->in[1]];
    if (!ptq_int_is8(x->dtype) || !ptq_int_is8(w->dtype)) {
        *why = "qconv takes int8 or uint8";
        return false;
    }
    if (!w->constant || w->constant->rank < 3 || w->constant->rank > 5) {
        *why = "qconv takes a constant weight of 1 to 3 spatial dimensions";
        return false;
    }
    if (((const ptq_qlinear_params *)s->params)->pool) {
        *why = "a convolution with a MaxPool in it is a step for devices";
        return false;
    }
    return true;
}

static void release(void *p)
{
    state *s = p;
    if (!s)
        return;
    ptq_int_depthwise_free(s->depthwise);
    free(s->w);
    free(s->mem);
    free(s);
}

static int64_t spatial_size(const ptq_tensor *w)
{
    int64_t n = 1;
    for (int i = 2; i < w->rank; i++)
        n *= w->dims[i];
    return n;
}

/* Weights [m][ci][tap] become [m][tap][ci], then panels, group by group. */
static ptq_status prepare_groups(state *s, const ptq_qlinear_params *p, const ptq_tensor *w, bool x_sgn)
{
    const ptq_int_dot *d = s->isa->dot;
    int64_t mg = w->dims[0] / s->groups, cg = w->dims[1], k = cg * s->taps;
    size_t one = ptq_int_packed_bytes(d, k, mg);
    s->w = ptq_calloc((size_t)s->groups, sizeof *s->w);
    s->mem = ptq_alloc_aligned(one * (size_t)s->groups);
    uint8_t *turned = malloc((size_t)(mg * k) + 1);
    if (!s->w || !s->mem || !turned) {
        free(turned);
        return ptq_fail_nomem();
    }
    for (int64_t g = 0; g < s->groups; g++) {
        const uint8_t *src = (const uint8_t *)w->data + g * mg * k;
        for (int64_t m = 0; m < mg; m++)
            for (int64_t t = 0; t < s->taps; t++)
                for (int64_t ci = 0; ci < cg; ci++)
                    turned[(m * s->taps + t) * cg + ci] = src[(m * cg + ci) * s->taps + t];
        ptq_int_b b = {.data = turned, .sgn = ptq_int_signed(w->dtype), .a_sgn = x_sgn, .k = k, .n = mg,
                       .k_step = 1, .n_step = k, .c0 = g * mg, .p = p};
        ptq_int_pack(d, &b, (uint8_t *)s->mem + one * (size_t)g, &s->w[g]);
    }
    free(turned);
    return PTQ_OK;
}

static ptq_status prepare(ptq_cpu *c, const ptq_program *prog, const ptq_step *step, void **out)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    const ptq_qlinear_params *p = step->params;
    const ptq_tensor *w = prog->values.v[step->in[1]].constant;
    bool x_sgn = ptq_int_signed(prog->values.v[step->in[0]].dtype);
    if (!isa)
        return PTQ_OK;
    int64_t groups = ptq_attr_int(step->node, "group", 1);
    if (groups < 1 || w->dims[0] % groups != 0)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %lld groups do not divide %lld output channels",
                        step->name, (long long)groups, (long long)w->dims[0]);
    state *s = ptq_calloc(1, sizeof *s);
    if (!s)
        return ptq_fail_nomem();
    s->isa = isa;
    s->groups = groups;
    s->taps = spatial_size(w);
    bool depthwise = groups > 1 && w->dims[1] == 1 && w->dims[0] == groups && !p->residual.kind;
    ptq_status st = depthwise ? ptq_int_depthwise_new(isa, p, w, x_sgn, &s->depthwise)
                              : prepare_groups(s, p, w, x_sgn);
    if (st != PTQ_OK) {
        release(s);
        return st;
    }
    *out = s;
    return PTQ_OK;
}

/* ---- gathering ---- */

typedef struct gather {
    const ptq_int_dot *d;
    const ptq_int_packed *w;
    const ptq_window *win;
    const ptq_int_view *x, *y;
    const uint8_t *data; /* NHWC */
    int64_t c0, cg;      /* first channel and channels of the group */
    int es;              /* bytes of one packed element */
} gather;

static uint8_t *put_pad(const gather *g, uint8_t *dst, int64_t elements)
{
    memset(dst, g->d->bytes ? g->w->za & 0xff : 0, (size_t)(elements * g->es));
    return dst + elements * g->es;
}

static uint8_t *put_x(const gather *g, uint8_t *dst, int64_t pixel, int64_t elements)
{
    g->d->pack_a(dst, g->data + pixel * g->x->c + g->c0, elements, g->w->flip_a, g->w->za);
    return dst + elements * g->es;
}

/* The window's innermost row: pixels of one line of x, from w0 on. */
static uint8_t *put_line(const gather *g, uint8_t *dst, int64_t line, int64_t w0)
{
    const ptq_window *w = g->win;
    int64_t kw = w->kernel[2], dw = w->dilation[2], width = g->x->d[2];
    if (dw == 1 && g->cg == g->x->c) { /* neighbours are contiguous */
        int64_t from = w0 < 0 ? -w0 : 0, to = width - w0 < kw ? width - w0 : kw;
        from = from > kw ? kw : from;
        to = to < from ? from : to;
        if (from > 0)
            dst = put_pad(g, dst, from * g->cg);
        if (to > from)
            dst = put_x(g, dst, line * width + w0 + from, (to - from) * g->cg);
        if (to < kw)
            dst = put_pad(g, dst, (kw - to) * g->cg);
        return dst;
    }
    for (int64_t k = 0; k < kw; k++) {
        int64_t at = w0 + k * dw;
        dst = at >= 0 && at < width ? put_x(g, dst, line * width + at, g->cg) : put_pad(g, dst, g->cg);
    }
    return dst;
}

/* Where an output pixel lies; stepped along, because divisions cost more than a short gather. */
typedef struct place {
    int64_t n, o[3];
} place;

static place place_of(const ptq_int_view *y, int64_t r)
{
    place p = {.n = r / y->pixels};
    ptq_split3(r % y->pixels, y->d, p.o);
    return p;
}

static void place_next(const ptq_int_view *y, place *p)
{
    if (++p->o[2] < y->d[2])
        return;
    p->o[2] = 0;
    if (++p->o[1] < y->d[1])
        return;
    p->o[1] = 0;
    if (++p->o[0] < y->d[0])
        return;
    p->o[0] = 0;
    p->n++;
}

static bool pointwise(const ptq_window *w)
{
    bool one = true;
    for (int i = 0; i < 3; i++)
        one = one && w->kernel[i] == 1 && w->stride[i] == 1 && w->pad_begin[i] == 0 && w->pad_end[i] == 0;
    return one;
}

static void fill(const void *ctx, uint8_t *dst, size_t lda, int64_t r0, int64_t rows)
{
    const gather *g = ctx;
    const ptq_window *w = g->win;
    size_t used = (size_t)(g->w->k * g->es);
    place p = place_of(g->y, r0);
    if (g->cg == g->x->c && used == lda && pointwise(w)) { /* the block is one run of x */
        put_x(g, dst, r0, rows * g->cg);
        return;
    }
    for (int64_t r = 0; r < rows; r++, dst += lda, place_next(g->y, &p)) {
        int64_t d0 = p.o[0] * w->stride[0] - w->pad_begin[0], h0 = p.o[1] * w->stride[1] - w->pad_begin[1];
        int64_t w0 = p.o[2] * w->stride[2] - w->pad_begin[2];
        uint8_t *at = dst;
        for (int64_t kd = 0, d = d0; kd < w->kernel[0]; kd++, d += w->dilation[0])
            for (int64_t kh = 0, h = h0; kh < w->kernel[1]; kh++, h += w->dilation[1]) {
                bool inside = d >= 0 && d < g->x->d[0] && h >= 0 && h < g->x->d[1];
                int64_t line = (p.n * g->x->d[0] + d) * g->x->d[1] + h;
                at = inside ? put_line(g, at, line, w0) : put_pad(g, at, w->kernel[2] * g->cg);
            }
        for (; at < dst + lda; at++)
            *at = 0; /* at most one k group */
    }
}

/* Is x itself the matrix that the tile reads? */
static bool reads_x(const state *s, const ptq_window *w, int64_t c)
{
    return s->isa->dot->bytes && s->groups == 1 && s->w[0].flip_a == 0 && c % 4 == 0 && pointwise(w);
}

/* ---- run ---- */

/* x and y in NHWC; turned copies where they are PLAIN. */
typedef struct sides {
    const uint8_t *x;
    uint8_t *y, *product;
    bool turn_x, turn_y;
    ptq_int_skip skip; /* lies as y does: turned where y is */
} sides;

static ptq_status make_sides(ptq_cpu *c, const ptq_step_run *r, const ptq_int_view *x,
                             const ptq_int_view *y, size_t product, size_t es, sides *o)
{
    o->turn_x = x->cs != 1 && x->c > 1 && x->pixels > 1;
    o->turn_y = y->cs != 1 && y->c > 1 && y->pixels > 1;
    size_t xb = o->turn_x ? ptq_int_round64((size_t)(x->n * x->c * x->pixels)) : 0;
    size_t yb = o->turn_y ? ptq_int_round64((size_t)(y->n * y->c * y->pixels) * es) : 0;
    o->skip = ptq_int_skip_of(r);
    o->skip.ld = (size_t)y->c;
    size_t sb = o->turn_y && o->skip.law.kind ? yb : 0;
    uint8_t *mem = ptq_cpu_scratch(c, xb + yb + sb + product + 64);
    if (!mem)
        return ptq_fail_nomem();
    o->x = o->turn_x ? mem : r->in[0]->data;
    o->y = o->turn_y ? mem + xb : r->out[0].data;
    o->product = mem + xb + yb + sb;
    if (sb) {
        PTQ_TRY(ptq_int_transpose(c, mem + xb + yb, o->skip.x, y->n, y->c, y->pixels, 1));
        o->skip.x = mem + xb + yb;
    }
    return o->turn_x ? ptq_int_transpose(c, mem, r->in[0]->data, x->n, x->c, x->pixels, 1) : PTQ_OK;
}

static ptq_status run_groups(ptq_cpu *c, const state *s, const ptq_qlinear_params *p,
                             const ptq_window *w, const ptq_int_view *x, const ptq_int_view *y,
                             const sides *o, size_t es)
{
    const ptq_int_dot *d = s->isa->dot;
    for (int64_t g = 0; g < s->groups; g++) {
        const ptq_int_packed *pw = &s->w[g];
        gather ga = {.d = d, .w = pw, .win = w, .x = x, .y = y, .data = o->x, .cg = x->c / s->groups};
        ga.c0 = g * ga.cg;
        ga.es = d->bytes ? 1 : 2;
        ptq_int_product pr = {.w = pw, .m = y->n * y->pixels, .fill = fill, .fill_ctx = &ga,
                              .y = o->y + (size_t)(g * pw->n) * es, .ldy = (size_t)y->c * es, .p = p,
                              .scratch = o->product};
        ptq_int_skip skip = o->skip;
        if (skip.law.kind) {
            skip.x += g * pw->n;
            pr.skip = &skip;
        }
        if (reads_x(s, w, x->c)) {
            pr.direct = o->x;
            pr.direct_lda = (size_t)x->c;
        }
        PTQ_TRY(ptq_int_run_product(c, d, &pr));
    }
    return PTQ_OK;
}

static ptq_status run(ptq_cpu *c, const ptq_step_run *r)
{
    const state *s = r->state;
    const ptq_qlinear_params *p = r->step->params;
    if (!s || (s->depthwise && s->taps > PTQ_INT_DW_TAPS))
        return ptq_int_ref_qconv(r);
    ptq_window w;
    ptq_int_view x, y;
    PTQ_TRY(ptq_int_window(r, r->in[1]->dims + 2, &w));
    ptq_int_view_of(r->in[0], r->in_layout[0], &x);
    ptq_int_view_of(&r->out[0], r->out_layout[0], &y);
    size_t es = p->float_out ? sizeof(float) : 1, product = 0;
    if (!s->depthwise)
        product = ptq_int_product_scratch(c, s->isa->dot, y.n * y.pixels, s->w[0].kgroups);
    sides o = {0};
    PTQ_TRY(make_sides(c, r, &x, &y, product, es, &o));
    if (s->depthwise)
        PTQ_TRY(ptq_int_depthwise_run(c, s->depthwise, p, &w, &x, &y, o.x, o.y));
    else
        PTQ_TRY(run_groups(c, s, p, &w, &x, &y, &o, es));
    if (o.turn_y)
        return ptq_int_transpose(c, r->out[0].data, o.y, y.n, y.pixels, y.c, es);
    return PTQ_OK;
}

extern const ptq_cpu_kernel ptq_cpu_int_qconv;
const ptq_cpu_kernel ptq_cpu_int_qconv = {
    .name = "qconv",
    .supports = supports,
    .prepare = prepare,
    .release = release,
    .run = run,
};
