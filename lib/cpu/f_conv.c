/* SPDX-License-Identifier: Apache-2.0 */
/* Conv and ConvTranspose in fp32, 1 to 3 spatial dimensions. Law: one fmaf chain per output in the
 * order (input channel, kernel position), padding takes part as zeros, then + bias, then the clamp.
 * General case: product of packed weights with columns copied from padded planes into panels.
 * ConvTranspose is the same product on an input with `up` - 1 zeros between its elements and
 * mirrored weights. One input channel per group: direct taps over padded planes. */
#include "lib/cpu/fkernel.h"
#include "lib/cpu/gemm.h"

typedef struct conv_state {
    float *packed; /* [groups][packed A]; NULL: weights are computed */
} conv_state;

/* Spatial sizes as three dimensions, missing ones are 1. */
typedef struct geometry {
    int64_t in[3], out[3], k[3], stride[3], dil[3], pad[3], up[3];
    int64_t batch, c, m, group, cg, mg, kvol, isize, osize;
    bool pointwise; /* an output element needs the input elements at its own place only */
} geometry;

/* The elements from, from + stride, ... of an input row lie side by side from `to` on. */
enum { FAST_STRIDE = 4 };
typedef struct row_piece {
    int64_t from, to, n;
} row_piece;

/* A padded plane split by stride phase, so that every tap reads neighbours for neighbouring outputs:
 * the element at padded position u lies in phase u % stride at u / stride. Phases that no tap
 * reads are left out. */
typedef struct planes {
    int64_t q[3];  /* size of one phase plane */
    int64_t np[3]; /* phases kept per dimension */
    int64_t volume, size; /* floats of one phase, of all of them */
    int64_t phase0[3], at0[3]; /* where input element 0 lies */
    row_piece row[FAST_STRIDE]; /* of the last dimension by phase, up to that stride */
} planes;

typedef struct conv_ctx {
    geometry g;
    planes pl;
    const ptq_f32_fns *f;
    const float *x, *packed, *w, *bias;
    float *y;
    const float *src;   /* the input itself or its planes */
    int64_t src_plane;  /* floats per channel of src */
    const int64_t *off; /* [cg * kvol]: where row k of the columns starts in a group of src */
    bool merged;        /* the columns of all images form one product per group */
} conv_ctx;

static bool supports_conv(const ptq_program *p, const ptq_step *s, const char **why)
{
    return ptq_supports_f32(p, s, why);
}

/* ---- padded planes ---- */

static void split3(int64_t i, const int64_t size[3], int64_t out[3])
{
    out[2] = i % size[2];
    out[1] = i / size[2] % size[1];
    out[0] = i / size[2] / size[1];
}

static void lay_planes(const geometry *g, planes *p)
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
        row_piece *r = &p->row[ph];
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

/* Where each tap starts in the planes of a channel. */
static void tap_offsets(const geometry *g, const planes *p, int64_t *off)
{
    for (int64_t t = 0; t < g->kvol; t++) {
        int64_t tap[3], phase = 0, at = 0;
        split3(t, g->k, tap);
        for (int d = 0; d < 3; d++) {
            int64_t u = tap[d] * g->dil[d];
            phase = phase * p->np[d] + u % g->stride[d];
            at = at * p->q[d] + u / g->stride[d];
        }
        off[t] = phase * p->volume + at;
    }
}

/* Copies rows of n floats; short rows are the common case, calls would cost more than the copy. */
static void copy_row(const float *x, int64_t step, float *dst, int64_t n)
{
    if (step == 1 && n >= 16) {
        memcpy(dst, x, (size_t)n * sizeof *dst);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = x[i * step];
}

/* One row of input elements into every kept phase of the last dimension. */
static void fill_row(const geometry *g, const planes *p, const float *x, float *dst)
{
    int64_t s = g->stride[2], up = g->up[2], n = g->in[2];
    if (up == 1 && s <= FAST_STRIDE) {
        for (int64_t ph = 0; ph < p->np[2]; ph++) {
            const row_piece *r = &p->row[ph];
            copy_row(x + r->from, s, dst + ph * p->volume + r->to, r->n);
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

static void fill_plane(const geometry *g, const planes *p, const float *x, float *dst)
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

typedef struct fill_ctx {
    const geometry *g;
    const planes *pl;
    const float *x;
    float *dst;
} fill_ctx;

static void fill_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const fill_ctx *f = ctx;
    for (int64_t i = from; i < to; i++)
        fill_plane(f->g, f->pl, f->x + i * f->g->isize, f->dst + i * f->pl->size);
}

/* ---- columns ---- */

/* Lanes [j, j + n) read n neighbours from `at` on. */
static void add_run(ptq_f32_lanes *lanes, int j, int64_t n, int64_t at)
{
    while (n > 0) {
        ptq_f32_lanes *g = &lanes[j / 16];
        int l = j % 16, w = n < 16 - l ? (int)n : 16 - l;
        uint16_t mask = (uint16_t)(((1u << w) - 1) << l);
        int32_t from = (int32_t)at - l;
        if (g->nseg > 0 && g->from[g->nseg - 1] == from) {
            g->mask[g->nseg - 1] |= mask;
        } else {
            g->from[g->nseg] = from;
            g->mask[g->nseg++] = mask;
        }
        for (int i = 0; i < w; i++)
            g->at[l + i] = (int32_t)at + i;
        j += w;
        at += w;
        n -= w;
    }
}

/* Columns [j0, j0 + nj) of the product, relative to the image that j0 lies in. */
static void place_columns(const conv_ctx *v, int64_t j0, int nj, ptq_f32_lanes *lanes)
{
    const geometry *g = &v->g;
    int64_t o[3], out[3] = {g->out[0], g->out[1], g->out[2]}, q[3] = {0, v->pl.q[1], v->pl.q[2]};
    if (g->pointwise) {
        out[0] = out[1] = 1;
        out[2] = g->osize;
    }
    for (int i = 0; i < (nj + 15) / 16; i++) {
        lanes[i].nseg = 0;
        memset(lanes[i].at, 0xff, sizeof lanes[i].at);
    }
    split3(j0 % g->osize, out, o);
    int64_t image = 0;
    for (int j = 0; j < nj;) {
        int64_t n = out[2] - o[2] < nj - j ? out[2] - o[2] : nj - j;
        add_run(lanes, j, n, image + (o[0] * q[1] + o[1]) * q[2] + o[2]);
        j += (int)n;
        o[2] = 0;
        if (++o[1] < out[1])
            continue;
        o[1] = 0;
        if (++o[0] < out[0])
            continue;
        o[0] = 0;
        image += g->c * v->src_plane;
    }
}

static void pack_columns(const void *ctx, int64_t job, int64_t k0, int64_t kc, int64_t j0, int nj,
                         float *dst, int64_t ld, void *work)
{
    (void)work;
    const conv_ctx *v = ctx;
    const geometry *g = &v->g;
    ptq_f32_lanes lanes[PTQ_B_PANEL / 16];
    int64_t image = v->merged ? j0 / g->osize : job / g->group;
    int64_t group = v->merged ? job : job % g->group;
    place_columns(v, j0, nj, lanes);
    v->f->columns(v->src + (image * g->c + group * g->cg) * v->src_plane, v->off + k0, kc, lanes,
                  (nj + 15) / 16, dst, ld);
}

static void conv_job(const void *ctx, int64_t i, ptq_gemm_job *out)
{
    const conv_ctx *v = ctx;
    const geometry *g = &v->g;
    int64_t image = v->merged ? 0 : i / g->group, group = v->merged ? i : i % g->group;
    int64_t k = g->cg * g->kvol;
    *out = (ptq_gemm_job){
        .pa = v->packed ? v->packed + (size_t)group * ptq_gemm_packed_a_floats(g->mg, k) : NULL,
        .a = v->w + group * g->mg * k,
        .a_row = k,
        .a_col = 1,
        .c = v->y + (image * g->m + group * g->mg) * g->osize,
        .ldc = g->osize,
        .image = g->osize,
        .image_next = g->m * g->osize,
        .bias_row = v->bias ? v->bias + group * g->mg : NULL,
    };
}

/* Some images: their planes, then their products. x and y are those of the first. */
static ptq_status run_images(ptq_cpu *c, const conv_ctx *whole, int64_t first, int64_t n, ptq_act act)
{
    conv_ctx v = *whole;
    geometry *g = &v.g;
    int64_t k = g->cg * g->kvol;
    g->batch = n;
    v.x += first * g->c * g->isize;
    v.y += first * g->m * g->osize;
    v.src = v.x;
    v.src_plane = g->pointwise ? g->isize : v.pl.size;
    /* Small images share panels; places within a panel's images are 32 bit numbers. */
    v.merged = g->osize < 4 * PTQ_B_PANEL &&
               (PTQ_B_PANEL / g->osize + 2) * g->c * v.src_plane < INT32_MAX;
    ptq_gemm_plan p = {
        .m = g->mg,
        .n = v.merged ? n * g->osize : g->osize,
        .k = k,
        .njobs = v.merged ? g->group : g->group * n,
        .job = conv_job,
        .pack_b = pack_columns,
        .ctx = &v,
        .act = act,
    };
    size_t off_bytes = ((size_t)k * sizeof(int64_t) + 63) / 64 * 64;
    size_t plane_bytes = g->pointwise ? 0 : (size_t)(n * g->c * v.pl.size) * sizeof(float);
    plane_bytes = (plane_bytes + 63) / 64 * 64;
    char *s = ptq_cpu_scratch(c, off_bytes + plane_bytes + ptq_gemm_scratch_bytes(c, &p));
    if (!s)
        return ptq_fail_nomem();
    int64_t *off = (int64_t *)(void *)s;
    tap_offsets(g, &v.pl, off);
    for (int64_t i = g->kvol; i < k; i++)
        off[i] = off[i - g->kvol] + v.src_plane;
    v.off = off;
    p.scratch = s + off_bytes + plane_bytes;
    if (!g->pointwise) {
        float *dst = (float *)(void *)(s + off_bytes);
        fill_ctx f = {.g = g, .pl = &v.pl, .x = v.x, .dst = dst};
        v.src = dst;
        PTQ_TRY(ptq_cpu_ranges(c, n * g->c, 1 + 4096 / (v.pl.size + 1), fill_range, &f));
    }
    return ptq_gemm_run(c, &p);
}

static ptq_status run_product(ptq_cpu *c, conv_ctx *v, ptq_act act)
{
    const geometry *g = &v->g;
    enum { PLANE_FLOATS = 1 << 19 }; /* of a piece of the batch: they stay in the caches */
    lay_planes(g, &v->pl);
    if (v->pl.size >= INT32_MAX)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "a padded image of %lld elements is too large",
                        (long long)v->pl.size);
    int64_t piece = g->batch;
    if (!g->pointwise) {
        int64_t fit = PLANE_FLOATS / (g->c * v->pl.size), wide = 4 * PTQ_B_PANEL / g->osize;
        piece = fit > wide ? fit : wide;
        piece = piece < 1 ? 1 : piece;
    }
    for (int64_t i = 0; i < g->batch; i += piece)
        PTQ_TRY(run_images(c, v, i, g->batch - i < piece ? g->batch - i : piece, act));
    return PTQ_OK;
}

/* ---- one input channel per group ----
 * Outputs are computed along whole padded rows; what falls between two rows is thrown away. */

typedef struct depthwise {
    const conv_ctx *v;
    ptq_act act;
    int64_t span;       /* outputs computed per plane */
    const int64_t *off; /* [kvol] */
    char *scratch;
    size_t per_worker, y_at;
} depthwise;

static ptq_status depthwise_task(void *arg, size_t i, int worker)
{
    const depthwise *p = arg;
    const conv_ctx *v = p->v;
    const geometry *g = &v->g;
    const int64_t *q = v->pl.q;
    int64_t image = (int64_t)i / g->group, group = (int64_t)i % g->group;
    float *x = (float *)(void *)(p->scratch + (size_t)worker * p->per_worker);
    float *tmp = (float *)(void *)(p->scratch + (size_t)worker * p->per_worker + p->y_at);
    fill_plane(g, &v->pl, v->x + (image * g->c + group) * g->isize, x);
    for (int64_t mi = 0; mi < g->mg; mi++) {
        int64_t m = group * g->mg + mi;
        v->f->taps(x, p->off, v->w + m * g->kvol, (int)g->kvol, v->bias ? v->bias + m : NULL,
                   p->act, tmp, p->span);
        float *y = v->y + (image * g->m + m) * g->osize;
        for (int64_t o0 = 0; o0 < g->out[0]; o0++)
            for (int64_t o1 = 0; o1 < g->out[1]; o1++, y += g->out[2])
                copy_row(tmp + (o0 * q[1] + o1) * q[2], 1, y, g->out[2]);
    }
    return PTQ_OK;
}

static ptq_status run_depthwise(ptq_cpu *c, conv_ctx *v, ptq_act act)
{
    const geometry *g = &v->g;
    planes *l = &v->pl;
    enum { SLACK = 64 }; /* vectors reach past the last element */
    lay_planes(g, l);
    depthwise p = {.v = v, .act = act};
    p.span = ((g->out[0] - 1) * l->q[1] + g->out[1] - 1) * l->q[2] + g->out[2];
    p.y_at = (size_t)(l->size + SLACK) * sizeof(float) / 64 * 64 + 64;
    p.per_worker = p.y_at + ((size_t)(p.span + SLACK) * sizeof(float) / 64 + 1) * 64;
    size_t table = ((size_t)g->kvol * sizeof(int64_t) + 63) / 64 * 64;
    char *s = ptq_cpu_scratch(c, table + p.per_worker * (size_t)ptq_pool_threads(c->pool));
    if (!s)
        return ptq_fail_nomem();
    int64_t *off = (int64_t *)(void *)s;
    tap_offsets(g, l, off);
    p.off = off;
    p.scratch = s + table;
    return ptq_pool_for(c->pool, (size_t)(g->batch * g->group), depthwise_task, &p);
}

/* ---- geometry ---- */

static ptq_status conv_geometry(const ptq_step_run *r, bool transposed, geometry *g)
{
    const ptq_tensor *x = r->in[0], *w = r->in[1], *y = &r->out[0];
    int nd = x->rank - 2, lead = 3 - nd;
    ptq_window win;
    if (nd < 1 || nd > 3 || w->rank != x->rank)
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "node %s: convolution of rank %d is not supported (3 to 5 are)",
                        r->step->name, x->rank);
    PTQ_TRY(ptq_window_read(r->step->node, nd, x->dims + 2, w->dims + 2, &win));
    *g = (geometry){.batch = x->dims[0], .c = x->dims[1], .m = y->dims[1], .group = win.group};
    g->cg = g->c / g->group;
    g->mg = g->m / g->group;
    g->pointwise = true;
    for (int d = 0; d < 3; d++) {
        g->in[d] = g->out[d] = g->k[d] = g->stride[d] = g->dil[d] = g->up[d] = 1;
        if (d < lead)
            continue;
        int s = d - lead;
        g->in[d] = x->dims[2 + s];
        g->out[d] = y->dims[2 + s];
        g->k[d] = w->dims[2 + s];
        g->dil[d] = win.dilation[s];
        g->stride[d] = transposed ? 1 : win.stride[s];
        g->up[d] = transposed ? win.stride[s] : 1;
        g->pad[d] = win.pad_begin[s];
        if (transposed)
            g->pad[d] = win.dilation[s] * (g->k[d] - 1) - win.pad_begin[s];
        if (g->k[d] != 1 || g->stride[d] != 1 || g->pad[d] != 0 || g->up[d] != 1 ||
            g->in[d] != g->out[d])
            g->pointwise = false;
    }
    g->kvol = ptq_product(g->k, 0, 3);
    g->isize = ptq_product(g->in, 0, 3);
    g->osize = ptq_product(g->out, 0, 3);
    if (g->isize >= INT32_MAX)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: an image of %lld elements is too large",
                        r->step->name, (long long)g->isize);
    return PTQ_OK;
}

/* ---- Conv ---- */

static ptq_status pack_weights(const float *w, int64_t m, int64_t k, int64_t group, float **out)
{
    size_t each = ptq_gemm_packed_a_floats(m / group, k);
    float *p = ptq_alloc_aligned(each * (size_t)group * sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    for (int64_t g = 0; g < group; g++)
        ptq_gemm_pack_all_a(w + g * (m / group) * k, k, 1, m / group, k, p + (size_t)g * each);
    *out = p;
    return PTQ_OK;
}

static bool direct(int64_t cg, int64_t mg)
{
    return cg == 1 && mg <= 2;
}

static ptq_status conv_prepare(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **state)
{
    (void)c;
    const ptq_tensor *w = ptq_const_in(p, s, 1);
    if (!w || w->rank < 3)
        return PTQ_OK;
    int64_t group = ptq_attr_int(s->node, "group", 1), m = w->dims[0];
    if (group < 1 || m % group != 0)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %lld output channels do not divide into %lld groups",
                        s->name, (long long)m, (long long)group);
    if (direct(w->dims[1], m / group))
        return PTQ_OK;
    conv_state *st = ptq_calloc(1, sizeof *st);
    if (!st)
        return ptq_fail_nomem();
    ptq_status e = pack_weights(w->data, m, ptq_product(w->dims, 1, w->rank), group, &st->packed);
    if (e != PTQ_OK) {
        free(st);
        return e;
    }
    *state = st;
    return PTQ_OK;
}

static void conv_release(void *state)
{
    conv_state *st = state;
    if (st)
        free(st->packed);
    free(st);
}

static ptq_status conv_run(ptq_cpu *c, const ptq_step_run *r)
{
    const conv_state *st = r->state;
    conv_ctx v = {.f = ptq_cpu_f32(c), .x = r->in[0]->data, .w = r->in[1]->data,
                  .y = r->out[0].data, .packed = st ? st->packed : NULL};
    const ptq_tensor *bias = ptq_in(r, 2);
    PTQ_TRY(conv_geometry(r, false, &v.g));
    v.bias = bias ? bias->data : NULL;
    if (v.g.batch * v.g.m * v.g.osize == 0)
        return PTQ_OK;
    if (direct(v.g.cg, v.g.mg))
        return run_depthwise(c, &v, ptq_step_act(r->step));
    return run_product(c, &v, ptq_step_act(r->step));
}

extern const ptq_cpu_kernel ptq_cpu_f_conv;
const ptq_cpu_kernel ptq_cpu_f_conv = {
    .name = "Conv",
    .supports = supports_conv,
    .prepare = conv_prepare,
    .release = conv_release,
    .run = conv_run,
};

/* ---- ConvTranspose ---- */

/* [C, M/group, k...] to packed [group][M/group][C/group * k mirrored]. */
static ptq_status mirror_weights(const float *w, const geometry *g, float **out)
{
    int64_t k = g->cg * g->kvol;
    float *t = ptq_alloc_aligned((size_t)(g->m * k) * sizeof *t);
    if (!t)
        return ptq_fail_nomem();
    for (int64_t m = 0; m < g->m; m++)
        for (int64_t ci = 0; ci < g->cg; ci++)
            for (int64_t j = 0; j < g->kvol; j++)
                t[m * k + ci * g->kvol + g->kvol - 1 - j] =
                    w[((m / g->mg * g->cg + ci) * g->mg + m % g->mg) * g->kvol + j];
    ptq_status e = pack_weights(t, g->m, k, g->group, out);
    free(t);
    return e;
}

/* The padding at the beginning follows from the output's size when the attributes leave it open. */
static void transpose_pads(const ptq_step_run *r, geometry *g)
{
    const ptq_node *n = r->step->node;
    size_t no, np;
    int nd = r->in[0]->rank - 2;
    const char *mode = ptq_attr_str(n, "auto_pad", "NOTSET");
    const int64_t *op = ptq_attr_ints(n, "output_padding", &np);
    bool same = strncmp(mode, "SAME", 4) == 0;
    if (!same && !ptq_attr_ints(n, "output_shape", &no))
        return;
    for (int d = 3 - nd; d < 3; d++) {
        int s = d - (3 - nd);
        int64_t reach = (g->k[d] - 1) * g->dil[d];
        int64_t total = g->up[d] * (g->in[d] - 1) + (op && (size_t)s < np ? op[s] : 0) + reach + 1 -
                        g->out[d];
        total = total > 0 ? total : 0;
        int64_t begin = strcmp(mode, "SAME_UPPER") == 0 ? total / 2 : total - total / 2;
        g->pad[d] = reach - begin;
    }
}

static ptq_status conv_transpose_run(ptq_cpu *c, const ptq_step_run *r)
{
    conv_ctx v = {.f = ptq_cpu_f32(c), .x = r->in[0]->data, .w = r->in[1]->data,
                  .y = r->out[0].data};
    const ptq_tensor *bias = ptq_in(r, 2);
    PTQ_TRY(conv_geometry(r, true, &v.g));
    transpose_pads(r, &v.g);
    v.bias = bias ? bias->data : NULL;
    v.g.pointwise = false;
    if (v.g.batch * v.g.m * v.g.osize == 0)
        return PTQ_OK;
    float *packed = NULL;
    PTQ_TRY(mirror_weights(v.w, &v.g, &packed));
    v.packed = packed;
    ptq_status e = run_product(c, &v, ptq_step_act(r->step));
    free(packed);
    return e;
}

extern const ptq_cpu_kernel ptq_cpu_f_conv_transpose;
const ptq_cpu_kernel ptq_cpu_f_conv_transpose = {
    .name = "ConvTranspose",
    .supports = supports_conv,
    .run = conv_transpose_run,
};
