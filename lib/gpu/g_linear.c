/* SPDX-License-Identifier: Apache-2.0 */
/* qconv, qgemm, qmatmul: weights and epilogue tables are uploaded once, in the form of the kernel
 * that will use them: tensor cores, depthwise, or the reference. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/gpu/gpu.h"
#include "lib/gpu/stem.h"

extern const ptq_gpu_kernel ptq_gpu_int_qmaxpool;

typedef enum form { REFERENCE, GEMM, DEPTHWISE } form;

typedef struct linear {
    form form;
    void *w; /* as the form has it; NULL: the weight is computed */
    void *mult, *wzp, *bias, *zero;
    void *tail; /* float bias behind the multiplier */
    void *fast_mult, *fast_bias; /* fast math: of ptq_k_tail */
    bool tame, rising; /* rising: no multiplier is negative */
    int32_t near; /* ptq_k_gemm.near */
    int32_t n, npad, kpad, c; /* GEMM and DEPTHWISE; c is the padded number of channels */
} linear;

static bool eight_bits(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (ptq_gpu_is8(ptq_gpu_dtype(p, s, 0)) && ptq_gpu_is8(ptq_gpu_dtype(p, s, 1)))
        return true;
    if (why)
        *why = "only 8-bit operands";
    return false;
}

/* Everything but the activation is packed when it is constant. */
static uint32_t packed_inputs(const ptq_program *p, const ptq_step *s)
{
    uint32_t mask = 0;
    for (int i = 1; i < s->nin && i < 32; i++)
        if (ptq_gpu_constant(p, s, i))
            mask |= 1u << i;
    return mask;
}

static void release(ptq_gpu *g, void *state)
{
    linear *l = state;
    ptq_dev_free(g->dev, l->w);
    ptq_dev_free(g->dev, l->mult);
    ptq_dev_free(g->dev, l->wzp);
    ptq_dev_free(g->dev, l->bias);
    ptq_dev_free(g->dev, l->zero);
    ptq_dev_free(g->dev, l->tail);
    ptq_dev_free(g->dev, l->fast_mult);
    ptq_dev_free(g->dev, l->fast_bias);
    free(l);
}

static float multiplier(const ptq_qlinear_params *q, int64_t c)
{
    int64_t i = q->nw == 1 ? 0 : c;
    return q->float_out ? q->x.scale * q->wscale[i] : q->mult[i];
}

/* ---- packing ---- */

/* Weights as int8 with zero point 0: bytes as they are, or uint8 less 128. False when a zero point
 * is left, which costs row sums: the reference does those. */
static bool plain_weights(const ptq_qlinear_params *q, const ptq_tensor *w, uint8_t *flip)
{
    int32_t want = w->dtype == PTQ_DT_U8 ? 128 : 0;
    *flip = w->dtype == PTQ_DT_U8 ? 0x80 : 0;
    for (int i = 0; i < q->nw; i++)
        if ((q->wzp ? q->wzp[i] : 0) != want)
            return false;
    return true;
}

/* One product as the packers see it: element (k, n) of the weights lies at k_at(k) + n * n_step. */
typedef struct source {
    const uint8_t *data;
    uint8_t flip;
    int64_t n, taps, c;        /* k = tap * c + channel */
    int64_t width;             /* taps of one row */
    int64_t n_step, tap_step, c_step;
} source;

static int64_t round_up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

static int64_t entry_of(const linear *l, int64_t n)
{
    return l->form == GEMM ? ptq_k_gemm_entry_of(n) : n;
}

/* Float biases of a tail, and whether what they make is always finite. */
static ptq_status upload_tail(ptq_gpu *g, const ptq_qlinear_params *q, int64_t n, int64_t npad, linear *l)
{
    const ptq_tail_params *t = &q->tail;
    if (!t->on)
        return PTQ_OK;
    float *bias = ptq_calloc((size_t)npad, sizeof *bias);
    if (!bias)
        return ptq_fail_nomem();
    l->tame = true;
    for (int64_t i = 0; i < n; i++) {
        float b = t->bias ? t->bias[i] : 0.0f;
        bias[entry_of(l, i)] = b;
        float most = (0x1p31f * multiplier(q, i) + fabsf(b)) * fabsf(ptq_part_of_channel(q, i).factor);
        l->tame = l->tame && most < 0x1p100f; /* not where it is NaN */
    }
    ptq_status s = ptq_gpu_keep(g, bias, (size_t)npad * sizeof *bias, &l->tail);
    free(bias);
    return s;
}

/* What fast math makes of the tables of a tail: float(acc) * mult + bias is the float result, the code less its
 * zero point, or half of what that would be before a GELU. */
static ptq_status upload_fast(ptq_gpu *g, const ptq_qlinear_params *q, const int32_t *bias, const float *mult,
                              int64_t n, int64_t npad, linear *l)
{
    const ptq_tail_params *t = &q->tail;
    if (!g->fast || !t->on || (!l->tame && !q->float_out))
        return PTQ_OK;
    float *m = ptq_calloc((size_t)npad, sizeof *m), *b = ptq_calloc((size_t)npad, sizeof *b);
    ptq_status st = m && b ? PTQ_OK : ptq_fail_nomem();
    for (int64_t i = 0; i < n && st == PTQ_OK; i++) {
        const ptq_product_part p = ptq_part_of_channel(q, i);
        double unit = (q->float_out ? 1.0 : 1.0 / (double)p.y.scale) * (t->gelu ? 0.5 : 1.0) * (double)p.factor;
        int64_t at = entry_of(l, i);
        m[at] = (float)((double)mult[at] * unit);
        b[at] = (float)(((double)bias[at] * (double)mult[at] + (t->bias ? (double)t->bias[i] : 0.0)) * unit);
    }
    if (st == PTQ_OK)
        st = ptq_gpu_keep(g, m, (size_t)npad * sizeof *m, &l->fast_mult);
    if (st == PTQ_OK)
        st = ptq_gpu_keep(g, b, (size_t)npad * sizeof *b, &l->fast_bias);
    free(m);
    free(b);
    return st;
}

static ptq_status upload_tables(ptq_gpu *g, const ptq_qlinear_params *q, const source *s, int64_t npad, bool fold,
                                linear *l)
{
    int32_t *bias = ptq_calloc((size_t)npad, sizeof *bias);
    float *mult = ptq_calloc((size_t)npad, sizeof *mult);
    ptq_status st = bias && mult ? PTQ_OK : ptq_fail_nomem();
    l->rising = true;
    for (int64_t n = 0; n < s->n && st == PTQ_OK; n++) {
        uint32_t sum = 0;
        for (int64_t t = 0; t < s->taps && fold; t++)
            for (int64_t c = 0; c < s->c; c++)
                sum += (uint32_t)(int8_t)(s->data[n * s->n_step + t * s->tap_step + c * s->c_step] ^ s->flip);
        bias[entry_of(l, n)] = (int32_t)((uint32_t)(q->bias ? q->bias[n] : 0) - (uint32_t)q->x.zp * sum);
        mult[entry_of(l, n)] = multiplier(q, n);
        l->rising = l->rising && multiplier(q, n) >= 0.0f;
    }
    l->near = st == PTQ_OK && ptq_k_gemm_is_near(bias, mult, npad, l->kpad);
    if (st == PTQ_OK)
        st = ptq_gpu_keep(g, bias, (size_t)npad * sizeof *bias, &l->bias);
    if (st == PTQ_OK)
        st = ptq_gpu_keep(g, mult, (size_t)npad * sizeof *mult, &l->mult);
    if (st == PTQ_OK)
        st = upload_tail(g, q, s->n, npad, l);
    if (st == PTQ_OK)
        st = upload_fast(g, q, bias, mult, s->n, npad, l);
    free(bias);
    free(mult);
    return st;
}

static ptq_status pack_gemm(ptq_gpu *g, const ptq_qlinear_params *q, const source *s, linear *l)
{
    bool four = s->c <= 4 && s->width > 1; /* few channels: taps side by side */
    int64_t c = four ? 4 : round_up(s->c, 16), row = four ? round_up(s->width, 4) : s->width;
    int64_t npad = round_up(s->n, PTQ_K_GEMM_N), kpad = round_up(s->taps / s->width * row * c, PTQ_K_GEMM_K);
    uint8_t zero[16], *w;
    if (npad > INT32_MAX / 2 || kpad > INT32_MAX / 2 || !(w = ptq_calloc((size_t)npad, (size_t)kpad)))
        return ptq_fail_nomem();
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t t = 0; t < s->taps; t++)
            for (int64_t i = 0; i < s->c; i++)
                w[ptq_k_gemm_row_of(n) * kpad + (t / s->width * row + t % s->width) * c + i] =
                    s->data[n * s->n_step + t * s->tap_step + i * s->c_step] ^ s->flip;
    memset(zero, q->x.zp, sizeof zero);
    l->form = GEMM;
    l->n = (int32_t)s->n;
    l->npad = (int32_t)npad;
    l->kpad = (int32_t)kpad;
    l->c = (int32_t)c;
    ptq_status st = ptq_gpu_keep(g, w, (size_t)(npad * kpad), &l->w);
    free(w);
    PTQ_TRY(st);
    PTQ_TRY(ptq_gpu_keep(g, zero, sizeof zero, &l->zero));
    return upload_tables(g, q, s, npad, true, l);
}

static ptq_status pack_depthwise(ptq_gpu *g, const ptq_qlinear_params *q, const source *s, linear *l)
{
    int64_t cpad = round_up(s->n, 4);
    uint8_t *w = ptq_calloc((size_t)s->taps, (size_t)cpad);
    if (!w)
        return ptq_fail_nomem();
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t t = 0; t < s->taps; t++)
            w[t * cpad + n] = s->data[n * s->n_step + t * s->tap_step] ^ s->flip;
    l->form = DEPTHWISE;
    l->n = (int32_t)s->n;
    l->c = (int32_t)cpad;
    ptq_status st = ptq_gpu_keep(g, w, (size_t)(s->taps * cpad), &l->w);
    free(w);
    PTQ_TRY(st);
    return upload_tables(g, q, s, cpad, false, l);
}

static ptq_status upload_reference(ptq_gpu *g, const ptq_qlinear_params *q, const ptq_tensor *w, linear *l)
{
    float *m = ptq_calloc((size_t)q->nw, sizeof *m);
    if (!m)
        return ptq_fail_nomem();
    for (int i = 0; i < q->nw; i++)
        m[i] = multiplier(q, i);
    ptq_status s = ptq_gpu_keep(g, m, (size_t)q->nw * sizeof *m, &l->mult);
    free(m);
    PTQ_TRY(s);
    PTQ_TRY(ptq_gpu_keep(g, w ? w->data : NULL, w ? w->nbytes : 0, &l->w));
    PTQ_TRY(ptq_gpu_keep(g, q->wzp, (size_t)q->nw * sizeof *q->wzp, &l->wzp));
    PTQ_TRY(upload_tail(g, q, q->channels, q->channels, l));
    return ptq_gpu_keep(g, q->bias, (size_t)q->channels * sizeof *q->bias, &l->bias);
}

/* Channels last on both sides and at most two spatial dims: what the fast kernels take. */
static bool fast_conv(const ptq_program *p, const ptq_step *s, const ptq_tensor *w)
{
    return w->rank == 4 && p->values.v[s->in[0]].layout == PTQ_LAYOUT_NHWC &&
           p->values.v[s->out[0]].layout == PTQ_LAYOUT_NHWC;
}

/* The products of this device; PTQ_GPU_GEMM=none leaves them to the reference. */
static bool has_tensor_cores(const ptq_gpu *g)
{
    const char *forced = getenv("PTQ_GPU_GEMM");
    return ptq_dev_capability(g->dev) >= 80 && !(forced && strcmp(forced, "none") == 0);
}

static ptq_status upload(ptq_gpu *g, const ptq_program *p, const ptq_step *s, linear *l)
{
    const ptq_qlinear_params *q = s->params;
    const ptq_tensor *w = ptq_gpu_constant(p, s, 1);
    bool conv = strcmp(s->def->name, "qconv") == 0;
    source src = {0};
    if (!w || !plain_weights(q, w, &src.flip) || ptq_tensor_elements(w) == 0)
        return upload_reference(g, q, w, l);
    src.data = w->data;
    if (!conv && w->rank == 2 && !q->trans_a && strcmp(s->def->name, "qgemm") == 0) {
        src.n = w->dims[q->trans_b ? 0 : 1];
        src.c = w->dims[q->trans_b ? 1 : 0];
        src.taps = src.width = 1;
        src.n_step = q->trans_b ? src.c : 1;
        src.c_step = q->trans_b ? 1 : src.n;
        return has_tensor_cores(g) ? pack_gemm(g, q, &src, l) : upload_reference(g, q, w, l);
    }
    if (!conv || !fast_conv(p, s, w))
        return upload_reference(g, q, w, l);
    src.n = w->dims[0];
    src.c = w->dims[1];
    src.taps = w->dims[2] * w->dims[3];
    src.width = w->dims[3];
    src.n_step = src.c * src.taps;
    src.tap_step = 1;
    src.c_step = src.taps;
    int64_t group = ptq_attr_int(s->node, "group", 1);
    if (group == 1 && has_tensor_cores(g))
        return pack_gemm(g, q, &src, l);
    bool depthwise = group > 1 && group == src.n && src.c == 1 && !q->residual.kind;
    return depthwise ? pack_depthwise(g, q, &src, l) : upload_reference(g, q, w, l);
}

static ptq_status prepare(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state)
{
    linear *l = ptq_calloc(1, sizeof *l);
    if (!l)
        return ptq_fail_nomem();
    ptq_status st = upload(g, p, s, l);
    if (st != PTQ_OK) {
        release(g, l);
        return st;
    }
    *state = l;
    return PTQ_OK;
}

/* ---- running ---- */

static ptq_k_tail tail_of(const ptq_step_run *r)
{
    const ptq_qlinear_params *q = r->step->params;
    const linear *l = r->state;
    if (!q->tail.on)
        return (ptq_k_tail){0};
    ptq_k_tail t = {.on = 1, .codes = !q->float_out, .gelu = q->tail.gelu,
                    .factor = q->tail.scaled ? q->tail.factor : 1.0f, .bias = l->tail,
                    .add = q->tail.residual ? r->in[2]->data : NULL, .s = q->y.scale, .tame = l->tame,
                    .add_half = q->tail.residual && r->in[2]->dtype == PTQ_DT_F16,
                    .y_half = r->out[0].dtype == PTQ_DT_F16, .fast_mult = l->fast_mult, .fast_bias = l->fast_bias,
                    .parts = q->nparts};
    for (int i = 0; i < q->nparts; i++) {
        const ptq_product_part *p = &q->part[i];
        t.part[i] = (ptq_k_part){(int32_t)p->end, p->factor, p->y.scale, p->y.zp, p->qlo, p->qhi};
    }
    return t;
}
_Static_assert((int)PTQ_K_PARTS == (int)PTQ_PRODUCT_PARTS, "as many on the device");

static ptq_k_epilogue epilogue(const ptq_step_run *r)
{
    const ptq_qlinear_params *q = r->step->params;
    const linear *l = r->state;
    ptq_k_epilogue e = {.mult = l->mult, .wzp = l->wzp, .bias = l->bias, .nw = q->nw, .zx = q->x.zp,
                        .zy = q->y.zp, .lo = q->qlo, .hi = q->qhi,
                        .x_signed = r->in[0]->dtype == PTQ_DT_S8, .w_signed = r->in[1]->dtype == PTQ_DT_S8,
                        .float_out = q->float_out, .residual = ptq_int_residual(r), .tail = tail_of(r)};
    if (e.residual.kind) {
        e.skip = r->in[2]->data;
        e.skip_signed = r->in[2]->dtype == PTQ_DT_S8;
    }
    return e;
}

/* The activation with its channels padded, when they are not what the kernels read. */
static ptq_status padded(ptq_gpu *g, const void *x, int64_t pixels, int64_t c, int32_t to, const uint8_t **out)
{
    void *y;
    *out = x;
    if (c == to)
        return PTQ_OK;
    PTQ_TRY(ptq_gpu_scratch(g, 0, (size_t)(pixels * to), &y));
    *out = y;
    return ptq_k_run_pad_channels(g->dev, &(ptq_k_pad_channels){x, y, pixels, (int32_t)c, to});
}

/* Everything but the geometry, which the caller has set, and where the results go. */
static ptq_status fill_gemm(ptq_gpu *g, const ptq_step_run *r, int64_t in_pixels, int64_t c, ptq_k_gemm *a)
{
    const ptq_qlinear_params *q = r->step->params;
    const linear *l = r->state;
    PTQ_TRY(padded(g, r->in[0]->data, in_pixels, c, l->c, &a->x));
    a->w = l->w;
    a->y = r->out[0].data;
    a->zero = l->zero;
    a->bias = l->bias;
    a->mult = l->mult;
    a->n = l->n;
    a->npad = l->npad;
    a->kpad = l->kpad;
    a->c = l->c;
    a->zx = q->x.zp;
    a->zy = q->y.zp;
    a->lo = q->qlo;
    a->hi = q->qhi;
    a->x_signed = r->in[0]->dtype == PTQ_DT_S8;
    a->float_out = q->float_out;
    a->near = l->near;
    a->residual = ptq_int_residual(r);
    a->tail = tail_of(r);
    if (a->residual.kind) {
        a->skip = r->in[2]->data;
        a->skip_signed = r->in[2]->dtype == PTQ_DT_S8;
    }
    return PTQ_OK;
}

static ptq_status run_gemm(ptq_gpu *g, const ptq_k_gemm *a)
{
    const ptq_k_gemm_row *row;
    PTQ_TRY(ptq_gpu_tuner_choose(g->tuner, g->dev, a, &row));
    ptq_status s = row->run(g->dev, a);
    if (s != PTQ_ERR_NOMEM)
        return s;
    /* measured where there was more memory than here: the expected row needs none beside the operands */
    const ptq_k_gemm_row *own = ptq_k_gemm_choose(g->dev, a);
    return own && own != row ? own->run(g->dev, a) : s;
}

static ptq_status run_depthwise(ptq_gpu *g, const ptq_step_run *r, const ptq_window *w, const ptq_int_view *x,
                                const ptq_int_view *y)
{
    const ptq_qlinear_params *q = r->step->params;
    const linear *l = r->state;
    ptq_k_depthwise a = {
        .x = r->in[0]->data, .w = l->w, .y = r->out[0].data, .bias = l->bias, .mult = l->mult, .batch = x->n,
        .c = l->n, .cpad = l->c, .in_h = (int32_t)x->d[1], .in_w = (int32_t)x->d[2], .out_h = (int32_t)y->d[1],
        .out_w = (int32_t)y->d[2], .kernel_h = (int32_t)w->kernel[1], .kernel_w = (int32_t)w->kernel[2],
        .stride_h = (int32_t)w->stride[1], .stride_w = (int32_t)w->stride[2], .dil_h = (int32_t)w->dilation[1],
        .dil_w = (int32_t)w->dilation[2], .pad_h = (int32_t)w->pad_begin[1], .pad_w = (int32_t)w->pad_begin[2],
        .zx = q->x.zp, .zy = q->y.zp, .lo = q->qlo, .hi = q->qhi, .x_signed = r->in[0]->dtype == PTQ_DT_S8,
        .float_out = q->float_out};
    return ptq_k_run_depthwise(g->dev, &a);
}

static ptq_status run_reference(ptq_gpu *g, const ptq_step_run *r, const ptq_window *w, const ptq_int_view *x,
                                const ptq_int_view *y)
{
    const linear *l = r->state;
    ptq_k_conv a = {.x = r->in[0]->data, .w = l->w ? l->w : r->in[1]->data, .y = r->out[0].data, .n = x->n,
                    .c = x->c, .m = y->c, .groups = x->c / r->in[1]->dims[1], .x_ns = x->ns, .x_cs = x->cs,
                    .x_ps = x->ps, .y_ns = y->ns, .y_cs = y->cs, .y_ps = y->ps, .e = epilogue(r)};
    for (int i = 0; i < 3; i++) {
        a.in[i] = x->d[i];
        a.out[i] = y->d[i];
        a.kernel[i] = w->kernel[i];
        a.stride[i] = w->stride[i];
        a.dilation[i] = w->dilation[i];
        a.pad[i] = w->pad_begin[i];
    }
    return ptq_k_run_conv(g->dev, &a);
}

/* The convolution alone into y. */
static ptq_status run_single(ptq_gpu *g, const ptq_step_run *r, const ptq_window *w, const ptq_int_view *x,
                             const ptq_int_view *y, ptq_k_gemm *a)
{
    const linear *l = r->state;
    if (l->form == DEPTHWISE)
        return run_depthwise(g, r, w, x, y);
    return l->form == REFERENCE ? run_reference(g, r, w, x, y) : run_gemm(g, a);
}

static ptq_k_gemm conv_of(const ptq_window *w, const ptq_int_view *x, const ptq_int_view *y)
{
    return (ptq_k_gemm){
        .m = y->n * y->pixels, .in_h = (int32_t)x->d[1], .in_w = (int32_t)x->d[2], .out_h = (int32_t)y->d[1],
        .out_w = (int32_t)y->d[2], .kernel_h = (int32_t)w->kernel[1], .kernel_w = (int32_t)w->kernel[2],
        .stride_h = (int32_t)w->stride[1], .stride_w = (int32_t)w->stride[2], .dil_h = (int32_t)w->dilation[1],
        .dil_w = (int32_t)w->dilation[2], .pad_h = (int32_t)w->pad_begin[1], .pad_w = (int32_t)w->pad_begin[2],
        .padded = w->pad_begin[1] || w->pad_begin[2] || w->pad_end[1] || w->pad_end[2]};
}

/* ---- with a pool behind ---- */

/* The pool of a convolution as a step of its own that reads `between`, which nobody has made room for yet. */
typedef struct pooled {
    ptq_step step;
    ptq_step_run run;
    ptq_tensor between;
    const ptq_tensor *in;
    ptq_window window;
} pooled;

static ptq_status pool_of(const ptq_step_run *r, const ptq_window *conv, pooled *p)
{
    const ptq_qlinear_params *q = r->step->params;
    int missing = 3 - (r->in[0]->rank - 2); /* spatial dimensions in front */
    p->between = r->out[0];
    for (int i = 2; i < r->in[0]->rank; i++)
        p->between.dims[i] = ptq_window_out(conv, i - 2 + missing, r->in[0]->dims[i], false);
    p->between.nbytes = (size_t)ptq_tensor_elements(&p->between);
    p->between.data = NULL;
    p->in = &p->between;
    p->step = *r->step;
    p->step.node = q->pool;
    p->run = *r;
    p->run.step = &p->step;
    p->run.in = &p->in;
    p->run.in_layout = r->out_layout;
    return ptq_int_window(&p->run, NULL, &p->window);
}

/* One kernel for both; NULL where there is none. */
static ptq_k_pooled_run both_of(const ptq_gpu *g, const ptq_step_run *r, const ptq_k_gemm *a, const ptq_window *w,
                                ptq_k_pooled *both)
{
    const linear *l = r->state;
    ptq_int_view y;
    if (l->form != GEMM || !l->rising || !ptq_int_view_of(&r->out[0], r->out_layout[0], &y))
        return NULL;
    *both = (ptq_k_pooled){
        .conv = *a, .out_h = (int32_t)y.d[1], .out_w = (int32_t)y.d[2], .kernel_h = (int32_t)w->kernel[1],
        .kernel_w = (int32_t)w->kernel[2], .stride_h = (int32_t)w->stride[1], .stride_w = (int32_t)w->stride[2],
        .dil_h = (int32_t)w->dilation[1], .dil_w = (int32_t)w->dilation[2], .pad_h = (int32_t)w->pad_begin[1],
        .pad_w = (int32_t)w->pad_begin[2]};
    return ptq_k_pooled_fast(g->dev, both);
}

static ptq_status run_conv(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_qlinear_params *q = r->step->params;
    const linear *l = r->state;
    ptq_step_run single = *r;
    ptq_k_pooled both;
    ptq_int_view x, y;
    ptq_window w;
    pooled p;
    PTQ_TRY(ptq_int_window(r, r->in[1]->dims + 2, &w));
    if (q->pool) {
        PTQ_TRY(pool_of(r, &w, &p));
        single.out = &p.between;
    }
    if (!ptq_int_view_of(r->in[0], r->in_layout[0], &x) || !ptq_int_view_of(single.out, r->out_layout[0], &y))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "rank %d", r->in[0]->rank);
    ptq_k_gemm a = conv_of(&w, &x, &y);
    if (l->form == GEMM)
        PTQ_TRY(fill_gemm(g, r, x.n * x.pixels, x.c, &a));
    if (!q->pool)
        return run_single(g, r, &w, &x, &y, &a);
    ptq_k_pooled_run fast = both_of(g, r, &a, &p.window, &both);
    if (fast)
        return fast(g->dev, &both);
    PTQ_TRY(ptq_gpu_scratch(g, 1, p.between.nbytes, &p.between.data));
    a.y = p.between.data;
    PTQ_TRY(run_single(g, &single, &w, &x, &y, &a));
    return ptq_gpu_int_qmaxpool.run(g, &p.run);
}

/* First layers whose maximum k_stem_pool.cu takes. What only a run tells, such as sizes, is asked there. */
bool ptq_gpu_conv_pools(const ptq_program *p, const ptq_step *s, const ptq_node *pool)
{
    const ptq_tensor *w = ptq_gpu_constant(p, s, 1);
    const ptq_qlinear_params *q = s->params;
    ptq_window c, v;
    if (q->qlo != 0 && q->qlo != -128)
        return false;
    if (!w || w->rank != 4 || w->dims[1] > 4 || w->dims[3] < 2 || w->dims[0] % 16 != 0 || !eight_bits(p, s, NULL) ||
        ptq_window_read(s->node, 2, NULL, w->dims + 2, &c) != PTQ_OK || c.group != 1 ||
        ptq_window_read(pool, 2, NULL, NULL, &v) != PTQ_OK ||
        strncmp(ptq_attr_str(pool, "auto_pad", ""), "SAME", 4) == 0)
        return false;
    for (int d = 0; d < 2; d++)
        if (c.dilation[d] != 1 || v.kernel[d] != 3 || v.stride[d] != 2 || v.dilation[d] != 1 || v.pad_begin[d] > 1)
            return false;
    return true;
}

static ptq_status run_matmul(ptq_gpu *g, const ptq_step_run *r)
{
    const linear *l = r->state;
    ptq_int_mm mm;
    PTQ_TRY(ptq_int_mm_of(r, &mm));
    if (l->form == GEMM) { /* rows as the pixels of an image that is one wide: any number of them */
        ptq_k_gemm a = {.m = mm.batch * mm.m, .in_h = 1, .in_w = 1, .out_h = 1, .out_w = 1, .kernel_h = 1,
                        .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dil_h = 1, .dil_w = 1};
        PTQ_TRY(fill_gemm(g, r, a.m, mm.k, &a));
        return run_gemm(g, &a);
    }
    ptq_k_matmul a = {.a = r->in[0]->data, .b = l->w ? l->w : r->in[1]->data, .y = r->out[0].data,
                      .batch = mm.batch, .m = mm.m, .n = mm.n, .k = mm.k, .a_row = mm.a_row, .a_col = mm.a_col,
                      .b_row = mm.b_row, .b_col = mm.b_col, .nbd = mm.nbd, .e = epilogue(r)};
    for (int i = 0; i < mm.nbd; i++) {
        a.bdim[i] = mm.bdim[i];
        a.a_step[i] = mm.a_step[i];
        a.b_step[i] = mm.b_step[i];
    }
    ptq_k_matmul_run fast = has_tensor_cores(g) ? ptq_k_matmul_fast(g->dev, &a) : NULL;
    return fast ? fast(g->dev, &a) : ptq_k_run_matmul(g->dev, &a);
}

/* Floats behind weights that pack_gemm or the reference takes, whose rows are whole vectors of 16 bytes. */
uint32_t ptq_gpu_gemm_halves(const ptq_program *p, const ptq_step *s)
{
    const ptq_qlinear_params *q = s->params;
    const ptq_tensor *w = ptq_gpu_constant(p, s, 1);
    uint8_t flip;
    bool floats = q->tail.on && q->float_out && !q->tail.gelu;
    if (!floats || !w || w->rank != 2 || q->trans_a || w->dims[q->trans_b ? 0 : 1] % 8 != 0 ||
        !plain_weights(q, w, &flip))
        return 0;
    return 1u << PTQ_HALF_OUTPUT | (q->tail.residual ? 1u << 2 : 0);
}

extern const ptq_gpu_kernel ptq_gpu_int_qconv, ptq_gpu_int_qgemm, ptq_gpu_int_qmatmul;
const ptq_gpu_kernel ptq_gpu_int_qconv = {.name = "qconv", .supports = eight_bits, .host_inputs = packed_inputs,
                                          .prepare = prepare, .release = release, .run = run_conv};
const ptq_gpu_kernel ptq_gpu_int_qgemm = {.name = "qgemm", .supports = eight_bits, .host_inputs = packed_inputs,
                                          .prepare = prepare, .release = release, .run = run_matmul};
const ptq_gpu_kernel ptq_gpu_int_qmatmul = {.name = "qmatmul", .supports = eight_bits, .host_inputs = packed_inputs,
                                            .prepare = prepare, .release = release, .run = run_matmul};
