/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions and matrix products: Q/DQ units and QLinear nodes to qconv, qgemm, qmatmul. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/qmath.h"
#include "lib/exec/lower.h"

/* A weight behind DequantizeLinear (or beside its scale in a QLinear node). */
typedef struct weight {
    const ptq_value *value;  /* quantized; constant */
    const ptq_tensor *q;
    const ptq_tensor *scale; /* 1 or one per channel */
    const ptq_tensor *zp;    /* NULL: 0 */
    int64_t axis;            /* of the per-channel scale; -1: not given */
    const ptq_node *dq;
} weight;

/* Everything the step needs; filled by the two front ends. */
typedef struct linear {
    const ptq_value *x;
    ptq_dtype xtype;
    ptq_affine xa, ya;
    weight w;
    const ptq_tensor *bias; /* int32, 1 or channels elements; NULL */
    const ptq_value *bias_f; /* float constant instead */
    int64_t channels, k;
    bool trans_b, float_out;
    int32_t qlo, qhi;
} linear;

/* Codes of a weight: a constant, or QuantizeLinear of a float constant, computed here. */
static const ptq_tensor *codes_of(ptq_lower_ctx *l, const ptq_value *q)
{
    const ptq_tensor *t = ptq_lower_constant(q);
    bool done = false;
    if (t || !q->producer || strcmp(q->producer->op, "QuantizeLinear") != 0 || l->unit[q->producer->id])
        return t;
    if (l->pv[q->id] < 0 && (ptq_lower_fold(l, q->producer, &done) != PTQ_OK || !done))
        return NULL;
    return l->p->values.v[l->pv[q->id]].constant;
}

static bool weight_of(ptq_lower_ctx *l, const ptq_value *q, const ptq_value *scale,
                      const ptq_value *zp, weight *w)
{
    w->value = q;
    w->q = codes_of(l, q);
    w->scale = ptq_lower_constant(scale);
    w->zp = ptq_lower_constant(zp);
    return w->q && ptq_is_8bit(w->q->dtype) && w->scale && w->scale->dtype == PTQ_DT_F32 &&
           w->scale->rank <= 1 && (!zp || w->zp) &&
           (!w->zp || (w->zp->dtype == w->q->dtype &&
                       ptq_tensor_elements(w->zp) == ptq_tensor_elements(w->scale)));
}

static bool match_weight(ptq_lower_ctx *l, const ptq_value *v, weight *w)
{
    const ptq_node *n = v ? v->producer : NULL;
    if (!n || strcmp(n->op, "DequantizeLinear") != 0 || n->domain[0] ||
        ptq_attr_int(n, "block_size", 0) != 0)
        return false;
    if (!n->in[0] || !weight_of(l, n->in[0], n->in[1], n->nin > 2 ? n->in[2] : NULL, w))
        return false;
    w->dq = n;
    w->axis = ptq_attr_int(n, "axis", 1);
    if (w->axis < 0)
        w->axis += w->q->rank;
    return true;
}

static int32_t byte_at(const ptq_tensor *t, int64_t i)
{
    return t->dtype == PTQ_DT_U8 ? ((const uint8_t *)t->data)[i] : ((const int8_t *)t->data)[i];
}

/* The scale is one number, or lies along the channels. */
static bool scale_fits(const weight *w, int64_t channels, int64_t channel_axis)
{
    int64_t n = ptq_tensor_elements(w->scale);
    return n == 1 || (n == channels && (w->axis < 0 || w->axis == channel_axis));
}

/* May a float bias be rounded to the accumulator's unit? In float results the rounding is less than
 * that of one activation times one weight; else it must be far below a step of the output. */
static bool rounds_bias(const linear *s, float unit)
{
    return s->float_out || unit <= 0.125f * s->ya.scale;
}

/* int32 bias of channel c, from int32 or from a float constant, which is a whole multiple of the
 * accumulator's unit or is rounded to one. */
static bool bias_at(const linear *s, int64_t c, float unit, int32_t *out)
{
    *out = 0;
    if (s->bias) {
        *out = ((const int32_t *)s->bias->data)[ptq_tensor_elements(s->bias) == 1 ? 0 : c];
    } else if (s->bias_f) {
        const ptq_tensor *t = ptq_lower_constant(s->bias_f);
        float b = ((const float *)t->data)[ptq_tensor_elements(t) == 1 ? 0 : c];
        double q = rint((double)b / (double)unit);
        if (!(fabs(q) < 0x1p31) || (!rounds_bias(s, unit) && (float)q * unit != b))
            return false;
        *out = (int32_t)q;
    }
    return true;
}

static int64_t span(ptq_dtype t, int32_t zp)
{
    int32_t lo, hi;
    ptq_dtype_range(t, &lo, &hi);
    return hi - zp > zp - lo ? hi - zp : zp - lo;
}

/* The largest |sum| that channel c can reach, from its own weights. */
static int64_t worst_sum(const linear *s, int64_t c, int32_t wzp)
{
    const ptq_tensor *w = s->w.q;
    bool rows = s->trans_b || w->rank != 2; /* channel-major */
    int64_t sum = 0;
    for (int64_t k = 0; k < s->k; k++) {
        int32_t v = byte_at(w, rows ? c * s->k + k : k * s->channels + c) - wzp;
        sum += v < 0 ? -v : v;
    }
    return sum * span(s->xtype, s->xa.zp);
}

/* Does channel c fit an int32 accumulator? The types alone say so for all but very long sums. */
static bool fits(const linear *s, int64_t c, int32_t wzp, int32_t bias)
{
    const int64_t room = INT32_MAX - llabs((long long)bias);
    const int64_t product = span(s->w.q->dtype, wzp) * span(s->xtype, s->xa.zp);
    return s->k * product <= room || worst_sum(s, c, wzp) <= room;
}

static ptq_status make_params(ptq_lower_ctx *l, const linear *s, ptq_qlinear_params **out,
                              const char **why)
{
    ptq_arena *a = l->p->arena;
    int64_t nw = ptq_tensor_elements(s->w.scale), channels = s->channels;
    ptq_qlinear_params *p = ptq_arena_alloc(a, sizeof *p);
    float *mult = ptq_arena_array(a, (size_t)nw, sizeof *mult);
    int32_t *wzp = ptq_arena_array(a, (size_t)nw, sizeof *wzp);
    int32_t *bias = ptq_arena_array(a, (size_t)channels, sizeof *bias);
    if (!p || !mult || !wzp || !bias)
        return ptq_fail_nomem();
    const float *scale = s->w.scale->data;
    bool any_zp = false;
    *out = NULL;
    for (int64_t i = 0; i < nw; i++) {
        mult[i] = s->float_out ? s->xa.scale * scale[i]
                               : ptq_requant_multiplier(s->xa.scale, scale[i], s->ya.scale);
        wzp[i] = s->w.zp ? byte_at(s->w.zp, i) : 0;
        any_zp |= wzp[i] != 0;
        if (!(mult[i] > 0.0f) || !isfinite(mult[i])) {
            *why = "the product of the scales is not a normal positive number";
            return PTQ_OK;
        }
    }
    for (int64_t c = 0; c < channels; c++) {
        int64_t i = nw == 1 ? 0 : c;
        if (!bias_at(s, c, s->xa.scale * scale[i], &bias[c])) {
            *why = "its bias is float and needs finer steps than the accumulator has, or more of them";
            return PTQ_OK;
        }
        if (!fits(s, c, wzp[i], bias[c])) {
            *why = "its sums do not fit an int32 accumulator";
            return PTQ_OK;
        }
    }
    *p = (ptq_qlinear_params){.x = s->xa, .y = s->ya, .nw = (int)nw, .wscale = scale,
                              .wzp = any_zp ? wzp : NULL, .mult = mult,
                              .bias = s->bias || s->bias_f ? bias : NULL, .channels = channels,
                              .qlo = s->qlo, .qhi = s->qhi, .float_out = s->float_out,
                              .trans_b = s->trans_b};
    *out = p;
    return PTQ_OK;
}

/* Bias input of a Q/DQ unit: DQ of int32 with scale sx * sw, or a float constant. */
static bool match_bias(const ptq_value *v, linear *s, const char **why)
{
    if (!v)
        return true;
    const ptq_node *n = v->producer;
    const ptq_tensor *c = ptq_lower_constant(v);
    if (c) {
        int64_t e = ptq_tensor_elements(c);
        s->bias_f = v;
        return c->dtype == PTQ_DT_F32 && (e == 1 || e == s->channels);
    }
    if (!n || strcmp(n->op, "DequantizeLinear") != 0 || n->domain[0])
        return false;
    const ptq_tensor *q = ptq_lower_constant(n->in[0]), *sc = ptq_lower_constant(n->in[1]);
    const ptq_tensor *z = n->nin > 2 ? ptq_lower_constant(n->in[2]) : NULL;
    if (!q || q->dtype != PTQ_DT_S32 || !sc || sc->dtype != PTQ_DT_F32)
        return false;
    int64_t e = ptq_tensor_elements(q), es = ptq_tensor_elements(sc);
    if ((e != 1 && e != s->channels) || (es != 1 && es != e))
        return false;
    for (int64_t i = 0; z && i < ptq_tensor_elements(z); i++)
        if (((const int32_t *)z->data)[i] != 0)
            return false;
    int64_t nw = ptq_tensor_elements(s->w.scale);
    for (int64_t i = 0; i < (es > nw ? es : nw); i++) {
        float want = s->xa.scale * ((const float *)s->w.scale->data)[nw == 1 ? 0 : i];
        float have = ((const float *)sc->data)[es == 1 ? 0 : i];
        /* Writers compute the product in float or in double. */
        if (!(fabsf(have - want) <= 1e-6f * want)) {
            *why = "the scale of its bias is not the product of input and weight scale";
            return false;
        }
    }
    s->bias = q;
    return true;
}

/* Makes the unit once the parts are known; `kind` is qconv or qgemm. */
static ptq_status finish(ptq_lower_ctx *l, const ptq_node *n, const char *kind, linear *s,
                         const ptq_value *y, const ptq_quants *quants, ptq_unit **out)
{
    ptq_qlinear_params *p;
    const char *why = NULL;
    ptq_unit *u;
    PTQ_TRY(make_params(l, s, &p, &why));
    if (!p) {
        ptq_lower_note(l, n, why);
        return PTQ_OK;
    }
    if (strcmp(kind, "qconv") == 0) {
        const ptq_tensor *w = s->w.q;
        const char *pad = ptq_attr_str(n, "auto_pad", "NOTSET");
        /* SAME_* needs the input's size: the kernel reads the attributes again then. */
        if (strncmp(pad, "SAME", 4) != 0)
            PTQ_TRY(ptq_window_read(n, w->rank - 2, NULL, w->dims + 2, &p->window));
    }
    PTQ_TRY(ptq_unit_new(l, kind, n, 2, 1, &u));
    u->params = p;
    u->in[0] = (ptq_unit_value){s->x, true, s->xa};
    u->in[1] = (ptq_unit_value){.value = s->w.value};
    if (quants && quants->out)
        PTQ_TRY(ptq_unit_quants(l, u, 0, quants));
    else
        u->out[0] = (ptq_unit_value){y, !s->float_out, s->ya};
    if (strcmp(kind, "qgemm") == 0)
        PTQ_TRY(ptq_tail_absorb(l, u));
    *out = u;
    return PTQ_OK;
}

/* The Q behind a product; or none, where float products may be made (q->out is NULL then). */
static bool match_behind(ptq_lower_ctx *l, const ptq_node *n, ptq_quants *q)
{
    if (ptq_match_quants(l, n->out[0], true, q))
        return true;
    *q = (ptq_quants){0};
    return l->opt->float_out && strcmp(n->op, "Conv") != 0 && n->out[0]->dtype == PTQ_DT_F32;
}

/* Common part of the Q/DQ units: x and w. */
static bool match_sides(ptq_lower_ctx *l, const ptq_node *n, const ptq_quants *q, linear *s)
{
    ptq_dq x;
    if (n->nin < 2 || !ptq_match_dq(l, n->in[0], &x) || !match_weight(l, n->in[1], &s->w))
        return false;
    s->float_out = !q->out;
    s->x = x.q;
    s->xtype = x.dtype;
    s->xa = x.affine;
    s->ya = q->affine;
    s->qlo = q->qlo;
    s->qhi = q->qhi;
    return true;
}

static bool conv_shape(linear *s)
{
    const ptq_tensor *w = s->w.q;
    if (w->rank != 4)
        return false;
    s->channels = w->dims[0];
    s->k = w->dims[1] * w->dims[2] * w->dims[3];
    return scale_fits(&s->w, s->channels, 0);
}

ptq_status ptq_linear_conv(ptq_lower_ctx *l, const ptq_node *n, const ptq_quants *q, ptq_unit **unit)
{
    linear s = {0};
    const char *why = NULL;
    if (!match_sides(l, n, q, &s) || !conv_shape(&s))
        return PTQ_OK;
    if (!match_bias(n->nin > 2 ? n->in[2] : NULL, &s, &why)) {
        ptq_lower_note(l, n, why ? why : "its bias is not a constant that int32 can hold");
        return PTQ_OK;
    }
    return finish(l, n, "qconv", &s, NULL, q, unit);
}

ptq_status ptq_pattern_conv(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_quants q;
    return match_behind(l, n, &q) ? ptq_linear_conv(l, n, &q, unit) : PTQ_OK;
}

static bool gemm_shape(linear *s, bool trans_b)
{
    const ptq_tensor *w = s->w.q;
    if (w->rank != 2)
        return false;
    s->trans_b = trans_b;
    s->channels = w->dims[trans_b ? 0 : 1];
    s->k = w->dims[trans_b ? 1 : 0];
    return scale_fits(&s->w, s->channels, trans_b ? 0 : 1);
}

ptq_status ptq_pattern_gemm(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    linear s = {0};
    ptq_quants q;
    const char *why = NULL;
    bool has_c = n->nin > 2 && n->in[2];
    if (ptq_attr_int(n, "transA", 0) != 0 || ptq_attr_float(n, "alpha", 1.0f) != 1.0f ||
        (has_c && ptq_attr_float(n, "beta", 1.0f) != 1.0f))
        return PTQ_OK;
    if (!match_behind(l, n, &q) || !match_sides(l, n, &q, &s) ||
        !gemm_shape(&s, ptq_attr_int(n, "transB", 0) != 0))
        return PTQ_OK;
    if (!match_bias(has_c ? n->in[2] : NULL, &s, &why)) {
        ptq_lower_note(l, n, why ? why : "its bias is not a constant that int32 can hold");
        return PTQ_OK;
    }
    return finish(l, n, "qgemm", &s, n->out[0], &q, unit);
}

/* Both operands computed (or a batched constant): one scale each. */
static ptq_status make_matmul(ptq_lower_ctx *l, const ptq_node *n, const ptq_unit_value ab[2],
                              const ptq_dtype t[2], ptq_affine y, int32_t qlo, int32_t qhi,
                              ptq_unit **out)
{
    ptq_arena *a = l->p->arena;
    ptq_qlinear_params *p = ptq_arena_alloc(a, sizeof *p);
    float *scale = ptq_arena_array(a, 2, sizeof *scale);
    int32_t *zp = ptq_arena_alloc(a, sizeof *zp);
    if (!p || !scale || !zp)
        return ptq_fail_nomem();
    scale[0] = ab[1].q.scale;
    bool float_out = y.scale == 0.0f; /* no Q behind */
    scale[1] = float_out ? ab[0].q.scale * ab[1].q.scale
                         : ptq_requant_multiplier(ab[0].q.scale, ab[1].q.scale, y.scale);
    zp[0] = ab[1].q.zp;
    const ptq_shape *sa = &ab[0].value->shape;
    if (sa->rank > 0 && ptq_dim_known(sa->dims[sa->rank - 1]) &&
        sa->dims[sa->rank - 1].add > INT32_MAX / (span(t[0], ab[0].q.zp) * span(t[1], zp[0]))) {
        ptq_lower_note(l, n, "its sums do not fit an int32 accumulator");
        return PTQ_OK;
    }
    if (!(scale[1] > 0.0f) || !isfinite(scale[1]))
        return PTQ_OK;
    *p = (ptq_qlinear_params){.x = ab[0].q, .y = y, .nw = 1, .wscale = scale,
                              .wzp = zp[0] ? zp : NULL, .mult = scale + 1, .qlo = qlo, .qhi = qhi,
                              .float_out = float_out};
    PTQ_TRY(ptq_unit_new(l, "qmatmul", n, 2, 1, out));
    (*out)->params = p;
    (*out)->in[0] = ab[0];
    (*out)->in[1] = ab[1];
    return PTQ_OK;
}

ptq_status ptq_pattern_matmul(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    linear s = {0};
    ptq_quants q;
    ptq_dq a, b;
    if (!match_behind(l, n, &q))
        return PTQ_OK;
    if (match_sides(l, n, &q, &s) && gemm_shape(&s, false))
        return finish(l, n, "qgemm", &s, n->out[0], &q, unit);
    if (!ptq_match_dq(l, n->in[0], &a) || !ptq_match_dq(l, n->in[1], &b))
        return PTQ_OK;
    ptq_unit_value ab[2] = {{a.q, true, a.affine}, {b.q, true, b.affine}};
    ptq_unit *u = NULL;
    PTQ_TRY(make_matmul(l, n, ab, (ptq_dtype[]){a.dtype, b.dtype}, q.affine, q.qlo, q.qhi, &u));
    if (!u)
        return PTQ_OK;
    if (q.out)
        PTQ_TRY(ptq_unit_quants(l, u, 0, &q));
    else
        u->out[0] = (ptq_unit_value){.value = n->out[0]};
    *unit = u;
    return PTQ_OK;
}

/* ---- QLinear nodes: the parts lie side by side ---- */

static ptq_dtype type_of(const ptq_value *v)
{
    const ptq_tensor *c = ptq_lower_constant(v);
    return c ? c->dtype : v ? v->dtype : PTQ_DT_UNDEFINED;
}

/* x, xs, xz, w, ws, wz, ys, yz in inputs 0 to 5 and at `y`. */
static bool read_qlinear(ptq_lower_ctx *l, const ptq_node *n, linear *s, int y)
{
    const ptq_value *zp = y + 1 < n->nin ? n->in[y + 1] : NULL;
    s->x = n->in[0];
    s->xtype = type_of(n->in[0]);
    if (!ptq_is_8bit(s->xtype) || !ptq_match_affine(n->in[1], n->in[2], &s->xa) ||
        !ptq_match_affine(n->in[y], zp, &s->ya) || !weight_of(l, n->in[3], n->in[4], n->in[5], &s->w))
        return false;
    s->w.axis = -1;
    ptq_dtype t = zp ? type_of(zp) : s->xtype;
    ptq_dtype_range(t, &s->qlo, &s->qhi);
    return ptq_is_8bit(t);
}

static bool read_bias32(const ptq_value *v, linear *s)
{
    s->bias = ptq_lower_constant(v);
    return !v || (s->bias && s->bias->dtype == PTQ_DT_S32 &&
                  (ptq_tensor_elements(s->bias) == s->channels || ptq_tensor_elements(s->bias) == 1));
}

ptq_status ptq_pattern_qlinear_conv(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    linear s = {0};
    if (n->nin < 8 || !read_qlinear(l, n, &s, 6) || !conv_shape(&s) ||
        !read_bias32(n->nin > 8 ? n->in[8] : NULL, &s))
        return PTQ_OK;
    return finish(l, n, "qconv", &s, n->out[0], NULL, unit);
}

ptq_status ptq_pattern_qlinear_matmul(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    linear s = {0};
    if (n->nin < 8)
        return PTQ_OK;
    if (read_qlinear(l, n, &s, 6) && gemm_shape(&s, false))
        return finish(l, n, "qgemm", &s, n->out[0], NULL, unit);
    ptq_affine a, b, y;
    ptq_dtype t[3] = {type_of(n->in[0]), type_of(n->in[3]), type_of(n->in[7])};
    if (!ptq_match_affine(n->in[1], n->in[2], &a) || !ptq_match_affine(n->in[4], n->in[5], &b) ||
        !ptq_match_affine(n->in[6], n->in[7], &y) || !ptq_is_8bit(t[0]) || !ptq_is_8bit(t[1]) ||
        !ptq_is_8bit(t[2]))
        return PTQ_OK;
    int32_t lo, hi;
    ptq_dtype_range(t[2], &lo, &hi);
    ptq_unit_value ab[2] = {{n->in[0], true, a}, {n->in[3], true, b}};
    PTQ_TRY(make_matmul(l, n, ab, t, y, lo, hi, unit));
    if (*unit)
        (*unit)->out[0] = (ptq_unit_value){n->out[0], true, y};
    return PTQ_OK;
}

/* A, as, az, B, bs, bz, C, ys, yz; without ys the output is float. */
ptq_status ptq_pattern_qlinear_gemm(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    linear s = {0};
    if (n->nin < 6 || ptq_attr_int(n, "transA", 0) != 0 || ptq_attr_float(n, "alpha", 1.0f) != 1.0f)
        return PTQ_OK;
    s.float_out = n->nin < 8 || !n->in[7];
    if (s.float_out) {
        s.x = n->in[0];
        s.xtype = type_of(n->in[0]);
        s.w.axis = -1;
        if (!ptq_is_8bit(s.xtype) || !ptq_match_affine(n->in[1], n->in[2], &s.xa) ||
            !weight_of(l, n->in[3], n->in[4], n->in[5], &s.w))
            return PTQ_OK;
    } else if (!read_qlinear(l, n, &s, 7)) {
        return PTQ_OK;
    }
    s.w.axis = -1;
    if (!gemm_shape(&s, ptq_attr_int(n, "transB", 0) != 0) ||
        !read_bias32(n->nin > 6 ? n->in[6] : NULL, &s))
        return PTQ_OK;
    return finish(l, n, "qgemm", &s, n->out[0], NULL, unit);
}
