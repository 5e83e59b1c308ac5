/* SPDX-License-Identifier: Apache-2.0 */
/* Conv and ConvTranspose in fp32, 1 to 3 spatial dimensions. Law: one fmaf chain per output in the
 * order (input channel, kernel position), padding takes part as zeros, then + bias, then the clamp.
 * General case: product of packed weights with columns gathered into panels (implicit im2col).
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

typedef struct conv_ctx {
    geometry g;
    const ptq_f32_fns *f;
    const float *x, *packed, *w, *bias;
    float *y;
    bool merged; /* the columns of all images form one product per group */
    int table_rows;
} conv_ctx;

static bool supports_conv(const ptq_program *p, const ptq_step *s, const char **why)
{
    return ptq_supports_f32(p, s, why);
}

/* ---- columns ---- */

/* Index of the input element under column position o for one tap, or -1 in the padding. */
static int32_t index_of(const geometry *g, const int64_t o[3], const int64_t tap[3])
{
    int64_t at = 0;
    for (int d = 0; d < 3; d++) {
        int64_t u = o[d] * g->stride[d] + tap[d] * g->dil[d] - g->pad[d];
        if (u < 0 || u % g->up[d] != 0 || u / g->up[d] >= g->in[d])
            return -1;
        at = at * g->in[d] + u / g->up[d];
    }
    return (int32_t)at;
}

static void split3(int64_t i, const int64_t size[3], int64_t out[3])
{
    out[2] = i % size[2];
    out[1] = i / size[2] % size[1];
    out[0] = i / size[2] / size[1];
}

/* One row of the index table: 48 columns from j0 (nj real) for one tap. Walks o along the row. */
static void index_row(const conv_ctx *v, int64_t tap_index, int64_t j0, int nj, int64_t base_image,
                      int32_t *idx, uint8_t *run)
{
    const geometry *g = &v->g;
    int64_t tap[3], o[3];
    split3(tap_index, g->k, tap);
    int64_t image = j0 / g->osize;
    split3(j0 % g->osize, g->out, o);
    int64_t chan = g->c * g->isize;
    int pad = (nj + 15) / 16 * 16;
    for (int j = 0; j < nj; j++) {
        int32_t at = index_of(g, o, tap);
        idx[j] = at < 0 ? -1 : (int32_t)((image - base_image) * chan) + at;
        if (++o[2] < g->out[2])
            continue;
        o[2] = 0;
        if (++o[1] < g->out[1])
            continue;
        o[1] = 0;
        if (++o[0] < g->out[0])
            continue;
        o[0] = 0;
        image++;
    }
    for (int j = nj; j < pad; j++)
        idx[j] = -1;
    for (int b = 0; b < pad; b += 16) {
        run[b / 16] = idx[b] >= 0;
        for (int j = 1; j < 16; j++)
            run[b / 16] &= idx[b + j] == idx[b] + j;
    }
}

typedef struct table_row {
    int32_t idx[PTQ_B_PANEL];
    uint8_t run[4];
} table_row;

static void pack_columns(const void *ctx, int64_t job, int64_t k0, int64_t kc, int64_t j0, int nj,
                         float *dst, int64_t ld, void *work)
{
    const conv_ctx *v = ctx;
    const geometry *g = &v->g;
    int64_t image = v->merged ? j0 / g->osize : job / g->group;
    int64_t group = v->merged ? job : job % g->group;
    const float *x = v->x + (image * g->c + group * g->cg) * g->isize;
    int pad = (nj + 15) / 16 * 16;
    if (g->pointwise && j0 % g->osize + nj <= g->osize) {
        const float *src = x + k0 * g->isize + j0 % g->osize;
        for (int64_t k = 0; k < kc; k++, src += g->isize, dst += ld) {
            memcpy(dst, src, (size_t)nj * sizeof *dst);
            for (int j = nj; j < pad; j++)
                dst[j] = 0.0f;
        }
        return;
    }
    table_row *t = work;
    int64_t base = v->merged ? image : 0;
    bool whole = g->kvol <= v->table_rows;
    for (int64_t i = 0; whole && i < (kc < g->kvol ? kc : g->kvol); i++) {
        int64_t tap = (k0 + i) % g->kvol;
        index_row(v, tap, j0, nj, base, t[tap].idx, t[tap].run);
    }
    for (int64_t k = k0; k < k0 + kc; k++, dst += ld) {
        int64_t tap = k % g->kvol;
        table_row *row = whole ? &t[tap] : t;
        if (!whole)
            index_row(v, tap, j0, nj, base, row->idx, row->run);
        v->f->gather(x + k / g->kvol * g->isize, row->idx, row->run, pad, dst);
    }
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

static ptq_status run_product(ptq_cpu *c, conv_ctx *v, ptq_act act)
{
    const geometry *g = &v->g;
    enum { TABLE_ROWS = 512 };
    v->table_rows = g->kvol < TABLE_ROWS ? (int)g->kvol : TABLE_ROWS;
    /* Small images share panels; the index arithmetic is in 32 bits. */
    v->merged = g->osize < 4 * PTQ_B_PANEL && g->batch * g->c * g->isize < INT32_MAX;
    ptq_gemm_plan p = {
        .m = g->mg,
        .n = v->merged ? g->batch * g->osize : g->osize,
        .k = g->cg * g->kvol,
        .njobs = v->merged ? g->group : g->group * g->batch,
        .job = conv_job,
        .pack_b = pack_columns,
        .pack_bytes = (size_t)v->table_rows * sizeof(table_row),
        .ctx = v,
        .act = act,
    };
    return ptq_gemm_run(c, &p);
}

/* ---- one input channel per group ---- */

/* A padded plane split by stride phase, so that every tap reads neighbours: the element at padded
 * position u lies in phase u % stride at u / stride. Outputs are computed along whole padded rows;
 * what falls between two rows of the output is thrown away. */
typedef struct planes {
    const conv_ctx *v;
    ptq_act act;
    int64_t q[3];     /* size of one phase plane */
    int64_t volume;   /* q[0] * q[1] * q[2] */
    int64_t phases, span; /* outputs computed per plane */
    const int64_t *off;   /* [kvol] */
    char *scratch;
    size_t per_worker, y_at;
} planes;

static void fill_planes(const planes *p, const float *x, float *dst)
{
    const geometry *g = &p->v->g;
    memset(dst, 0, (size_t)(p->volume * p->phases) * sizeof *dst);
    int64_t s = g->stride[2], first = g->pad[2] % s;
    for (int64_t row = 0; row < g->in[0] * g->in[1]; row++) {
        int64_t u0 = row / g->in[1] + g->pad[0], u1 = row % g->in[1] + g->pad[1];
        int64_t q0 = u0 / g->stride[0], q1 = u1 / g->stride[1];
        if (q0 >= p->q[0] || q1 >= p->q[1])
            continue;
        int64_t phase = (u0 % g->stride[0] * g->stride[1] + u1 % g->stride[1]) * s;
        float *d = dst + phase * p->volume + (q0 * p->q[1] + q1) * p->q[2];
        const float *src = x + row * g->in[2];
        for (int64_t ph = 0; ph < s; ph++) {
            /* input i has u = i + pad, so phase ph starts at the first i with u % s == ph */
            int64_t i0 = (ph - first + s) % s, at = (i0 + g->pad[2]) / s;
            int64_t n = i0 < g->in[2] ? (g->in[2] - i0 + s - 1) / s : 0;
            n = n < p->q[2] - at ? n : p->q[2] - at;
            float *o = d + ph * p->volume + at;
            if (s == 1 && n > 0)
                memcpy(o, src, (size_t)n * sizeof *o);
            else
                for (int64_t i = 0; i < n; i++)
                    o[i] = src[i0 + i * s];
        }
    }
}

static ptq_status depthwise_task(void *arg, size_t i, int worker)
{
    const planes *p = arg;
    const conv_ctx *v = p->v;
    const geometry *g = &v->g;
    int64_t image = (int64_t)i / g->group, group = (int64_t)i % g->group;
    float *x = (float *)(void *)(p->scratch + (size_t)worker * p->per_worker);
    float *tmp = (float *)(void *)(p->scratch + (size_t)worker * p->per_worker + p->y_at);
    fill_planes(p, v->x + (image * g->c + group) * g->isize, x);
    for (int64_t mi = 0; mi < g->mg; mi++) {
        int64_t m = group * g->mg + mi;
        v->f->taps(x, p->off, v->w + m * g->kvol, (int)g->kvol, v->bias ? v->bias + m : NULL,
                   p->act, tmp, p->span);
        float *y = v->y + (image * g->m + m) * g->osize;
        for (int64_t row = 0; row < g->out[0] * g->out[1]; row++)
            memcpy(y + row * g->out[2],
                   tmp + (row / g->out[1] * p->q[1] + row % g->out[1]) * p->q[2],
                   (size_t)g->out[2] * sizeof *y);
    }
    return PTQ_OK;
}

static ptq_status run_depthwise(ptq_cpu *c, const conv_ctx *v, ptq_act act)
{
    const geometry *g = &v->g;
    enum { SLACK = 64 }; /* vectors reach past the last element */
    planes p = {.v = v, .act = act, .phases = g->stride[0] * g->stride[1] * g->stride[2]};
    for (int d = 0; d < 3; d++) {
        int64_t u = (g->out[d] - 1) * g->stride[d] + (g->k[d] - 1) * g->dil[d] + 1;
        p.q[d] = (u + g->stride[d] - 1) / g->stride[d];
    }
    p.volume = p.q[0] * p.q[1] * p.q[2];
    p.span = ((g->out[0] - 1) * p.q[1] + g->out[1] - 1) * p.q[2] + g->out[2];
    p.y_at = (size_t)(p.volume * p.phases + SLACK) * sizeof(float) / 64 * 64 + 64;
    p.per_worker = p.y_at + ((size_t)(p.span + SLACK) * sizeof(float) / 64 + 1) * 64;
    size_t table = ((size_t)g->kvol * sizeof(int64_t) + 63) / 64 * 64;
    char *s = ptq_cpu_scratch(c, table + p.per_worker * (size_t)ptq_pool_threads(c->pool));
    if (!s)
        return ptq_fail_nomem();
    int64_t *off = (int64_t *)(void *)s;
    for (int64_t t = 0; t < g->kvol; t++) {
        int64_t tap[3], phase = 0, at = 0;
        split3(t, g->k, tap);
        for (int d = 0; d < 3; d++) {
            int64_t u = tap[d] * g->dil[d];
            phase = phase * g->stride[d] + u % g->stride[d];
            at = at * p.q[d] + u / g->stride[d];
        }
        off[t] = phase * p.volume + at;
    }
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
