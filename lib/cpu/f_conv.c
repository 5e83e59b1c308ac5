/* SPDX-License-Identifier: Apache-2.0 */
/* Conv and ConvTranspose in fp32, 1 to 3 spatial dimensions. Law: one fmaf chain per output in the
 * order (input channel, kernel position), padding takes part as zeros, then + bias, then the clamp.
 * General case: product of packed weights with columns copied from padded planes into panels.
 * ConvTranspose is the same product on an input with `up` - 1 zeros between its elements and
 * mirrored weights. One input channel per group: f_conv_direct.c. */
#include "lib/cpu/f_conv.h"
#include "lib/cpu/gemm.h"

typedef struct conv_state {
    float *packed; /* [groups][packed A]; NULL: weights are computed */
} conv_state;

typedef struct conv_ctx {
    ptq_conv_geometry g;
    ptq_conv_planes pl;
    const ptq_f32_fns *f;
    const float *x, *packed, *w, *bias;
    float *y;
    const float *src;   /* the input itself or its planes */
    int64_t src_plane;  /* floats per channel of src */
    const int64_t *off; /* [cg * kvol]: where row k of the columns starts in a group of src */
    bool merged;        /* the columns of all images form one product per group */
} conv_ctx;

typedef struct fill_ctx {
    const ptq_conv_geometry *g;
    const ptq_conv_planes *pl;
    const float *x;
    float *dst;
} fill_ctx;

static void fill_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    const fill_ctx *f = ctx;
    for (int64_t i = from; i < to; i++)
        ptq_conv_fill_plane(f->g, f->pl, f->x + i * f->g->isize, f->dst + i * f->pl->size);
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
    const ptq_conv_geometry *g = &v->g;
    int64_t o[3], out[3] = {g->out[0], g->out[1], g->out[2]}, q[3] = {0, v->pl.q[1], v->pl.q[2]};
    if (g->pointwise) {
        out[0] = out[1] = 1;
        out[2] = g->osize;
    }
    for (int i = 0; i < (nj + 15) / 16; i++) {
        lanes[i].nseg = 0;
        memset(lanes[i].at, 0xff, sizeof lanes[i].at);
    }
    ptq_split3(j0 % g->osize, out, o);
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
    const ptq_conv_geometry *g = &v->g;
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
    const ptq_conv_geometry *g = &v->g;
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
    ptq_conv_geometry *g = &v.g;
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
    ptq_conv_tap_offsets(g, &v.pl, off);
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
    const ptq_conv_geometry *g = &v->g;
    enum { PLANE_FLOATS = 1 << 19 }; /* of a piece of the batch: they stay in the caches */
    ptq_conv_lay_planes(g, &v->pl);
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

typedef struct sum {
    const ptq_f32_fns *f;
    const float *x, *add;
    float *y;
    ptq_act act;
} sum;

static void add_range(const void *ctx, int64_t from, int64_t to, int worker)
{
    (void)worker;
    enum { PIECE = 2048 }; /* stays near for the clamp */
    const sum *s = ctx;
    for (int64_t i = from; i < to; i += PIECE) {
        int64_t n = to - i < PIECE ? to - i : PIECE;
        s->f->add(s->x + i, 1, s->add + i, 1, s->y + i, n);
        if (s->act.on)
            s->f->clip(s->y + i, s->y + i, n, (float[]){s->act.lo, s->act.hi});
    }
}

ptq_status ptq_conv_add(ptq_cpu *c, const float *x, const float *add, float *y, int64_t n, ptq_act act)
{
    sum s = {ptq_cpu_f32(c), x, add, y, act};
    return ptq_cpu_ranges(c, n, 1 << 14, add_range, &s);
}

static ptq_status conv_run(ptq_cpu *c, const ptq_step_run *r)
{
    const conv_state *st = r->state;
    conv_ctx v = {.f = ptq_cpu_f32(c), .x = r->in[0]->data, .w = r->in[1]->data,
                  .y = r->out[0].data, .packed = st ? st->packed : NULL};
    const ptq_tensor *bias = ptq_in(r, 2);
    PTQ_TRY(ptq_conv_geometry_of(r, false, &v.g));
    v.bias = bias ? bias->data : NULL;
    if (v.g.batch * v.g.m * v.g.osize == 0)
        return PTQ_OK;
    const float *add;
    ptq_act act = ptq_step_act(r->step);
    PTQ_TRY(ptq_conv_sum_of(r, &add));
    float *y = v.y, *pre = r->step->nout > 1 ? r->out[1].data : NULL;
    if (v.packed && ptq_conv_takes_window(c, &v.g)) {
        ptq_conv_window w = {&v.g, v.x, v.packed, v.bias, add, y, pre, act};
        return ptq_conv_run_window(c, &w);
    }
    v.y = pre ? pre : y;
    if (direct(v.g.cg, v.g.mg)) {
        ptq_conv_direct d = {&v.g, v.x, v.w, v.bias, v.y, add ? (ptq_act){0} : act};
        PTQ_TRY(ptq_conv_run_direct(c, &d));
    } else {
        PTQ_TRY(run_product(c, &v, add ? (ptq_act){0} : act));
    }
    return add ? ptq_conv_add(c, v.y, add, y, v.g.batch * v.g.m * v.g.osize, act) : PTQ_OK;
}

extern const ptq_cpu_kernel ptq_cpu_f_conv;
const ptq_cpu_kernel ptq_cpu_f_conv = {
    .name = "Conv",
    .takes = PTQ_TAKES_F32,
    .over_of_two = 1u << 3, /* the chains are in output 1, so that a sum is written last */
    .prepare = conv_prepare,
    .release = conv_release,
    .run = conv_run,
};

/* ---- ConvTranspose ---- */

/* [C, M/group, k...] to packed [group][M/group][C/group * k mirrored]. */
static ptq_status mirror_weights(const float *w, const ptq_conv_geometry *g, float **out)
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

static ptq_status conv_transpose_run(ptq_cpu *c, const ptq_step_run *r)
{
    conv_ctx v = {.f = ptq_cpu_f32(c), .x = r->in[0]->data, .w = r->in[1]->data,
                  .y = r->out[0].data};
    const ptq_tensor *bias = ptq_in(r, 2);
    PTQ_TRY(ptq_conv_geometry_of(r, true, &v.g));
    v.bias = bias ? bias->data : NULL;
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
    .takes = PTQ_TAKES_F32,
    .run = conv_transpose_run,
};
