/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise functions of one tensor, Clip and Cast. */
#include "lib/cpu/fkernel.h"

typedef struct unary_ctx {
    ptq_f32_unary f;
    void (*scalar)(const float *x, float *y, int64_t n, const float *par);
    const float *x;
    float *y;
    float par[4];
    ptq_act act;
    ptq_f32_unary clip;
} unary_ctx;

static void unary_part(const void *ctx, int64_t from, int64_t to, int worker)
{
    const unary_ctx *v = ctx;
    (void)worker;
    v->f(v->x + from, v->y + from, to - from, v->par);
    if (v->act.on) {
        float par[2] = {v->act.lo, v->act.hi};
        v->clip(v->y + from, v->y + from, to - from, par);
    }
}

enum { GRAIN = 8192 };

static ptq_status run_f32(ptq_cpu *c, const ptq_step_run *r, ptq_f32_unary f, float p0, float p1)
{
    unary_ctx v = {.f = f, .x = r->in[0]->data, .y = r->out[0].data, .par = {p0, p1},
                   .act = ptq_step_act(r->step), .clip = ptq_cpu_f32(c)->clip};
    return ptq_cpu_ranges(c, ptq_tensor_elements(r->in[0]), GRAIN, unary_part, &v);
}

static float attr(const ptq_step_run *r, const char *name, float dflt)
{
    return ptq_attr_float(r->step->node, name, dflt);
}

#define ROW(symbol, op, supported)                                                                 \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .supports = supported,                  \
                                               .run = symbol##_run};

/* A loop of the vector tables. */
#define VECTOR_ROW(symbol, op, loop, p0, p1)                                                       \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        return run_f32(c, r, ptq_cpu_f32(c)->loop, p0, p1);                                        \
    }                                                                                              \
    ROW(symbol, op, ptq_supports_f32)
VECTOR_ROW(exp, "Exp", exp, 0, 0)
VECTOR_ROW(log, "Log", log, 0, 0)
VECTOR_ROW(tanh, "Tanh", tanh, 0, 0)
VECTOR_ROW(sigmoid, "Sigmoid", sigmoid, 0, 0)
VECTOR_ROW(erf, "Erf", erf, 0, 0)
VECTOR_ROW(softplus, "Softplus", softplus, 0, 0)
VECTOR_ROW(hard_swish, "HardSwish", hard_swish, 0, 0)
VECTOR_ROW(sqrt, "Sqrt", sqrt, 0, 0)
VECTOR_ROW(reciprocal, "Reciprocal", reciprocal, 0, 0)
VECTOR_ROW(hard_sigmoid, "HardSigmoid", hard_sigmoid, attr(r, "alpha", 0.2f), attr(r, "beta", 0.5f))
VECTOR_ROW(leaky_relu, "LeakyRelu", leaky_relu, attr(r, "alpha", 0.01f), 0)
VECTOR_ROW(elu, "Elu", elu, attr(r, "alpha", 1.0f), 0)

static ptq_status gelu_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_f32_fns *f = ptq_cpu_f32(c);
    bool approx = strcmp(ptq_attr_str(r->step->node, "approximate", "none"), "tanh") == 0;
    return run_f32(c, r, approx ? f->gelu_tanh : f->gelu, 0, 0);
}
ROW(gelu, "Gelu", ptq_supports_f32)

/* Rare functions: plain loops, the same code on every instruction set. */
#define SCALAR_ROW(symbol, op, expr, p0_, p1_)                                                     \
    static void symbol##_loop(const float *x, float *y, int64_t n, const float *par)               \
    {                                                                                              \
        float p0 = par[0], p1 = par[1];                                                            \
        (void)p0;                                                                                  \
        (void)p1;                                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                          \
            float v = x[i];                                                                        \
            y[i] = expr;                                                                           \
        }                                                                                          \
    }                                                                                              \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        return run_f32(c, r, symbol##_loop, p0_, p1_);                                             \
    }                                                                                              \
    ROW(symbol, op, ptq_supports_f32)
SCALAR_ROW(ceil, "Ceil", ceilf(v), 0, 0)
SCALAR_ROW(floor, "Floor", floorf(v), 0, 0)
SCALAR_ROW(round, "Round", rintf(v), 0, 0)
SCALAR_ROW(sin, "Sin", sinf(v), 0, 0)
SCALAR_ROW(cos, "Cos", cosf(v), 0, 0)
SCALAR_ROW(softsign, "Softsign", ptq_softsignf(v), 0, 0)
SCALAR_ROW(mish, "Mish", ptq_mishf(v), 0, 0)
SCALAR_ROW(selu, "Selu", ptq_seluf(v, p0, p1), attr(r, "alpha", 1.67326319f), attr(r, "gamma", 1.05070102f))
SCALAR_ROW(thresholded_relu, "ThresholdedRelu", v > p0 ? v : 0.0f, attr(r, "alpha", 1.0f), 0)

/* ---- functions that integers have too ---- */

#define EACH(T, expr)                                                                              \
    for (int64_t i = 0; i < n; i++) {                                                              \
        T v = ((const T *)x)[i];                                                                   \
        ((T *)y)[i] = (T)(expr);                                                                   \
    }

#define NUMBER_ROW(symbol, op, loop, iexpr)                                                        \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        const void *x = r->in[0]->data;                                                            \
        void *y = r->out[0].data;                                                                  \
        int64_t n = ptq_tensor_elements(r->in[0]);                                                 \
        switch (r->in[0]->dtype) {                                                                 \
        case PTQ_DT_F32: return run_f32(c, r, loop, 0, INFINITY);                                  \
        case PTQ_DT_F64: EACH(double, iexpr) break;                                                \
        case PTQ_DT_S64: EACH(int64_t, iexpr) break;                                               \
        case PTQ_DT_S32: EACH(int32_t, iexpr) break;                                               \
        case PTQ_DT_S8: EACH(int8_t, iexpr) break;                                                 \
        default: return ptq_bad_type(r, r->in[0]->dtype);                                                               \
        }                                                                                          \
        return PTQ_OK;                                                                             \
    }                                                                                              \
    ROW(symbol, op, NULL)
static void sign_loop(const float *x, float *y, int64_t n, const float *par)
{
    (void)par;
    for (int64_t i = 0; i < n; i++)
        y[i] = ptq_signf(x[i]);
}
NUMBER_ROW(neg, "Neg", ptq_cpu_f32(c)->neg, -v)
NUMBER_ROW(abs, "Abs", ptq_cpu_f32(c)->abs, v < 0 ? -v : v)
NUMBER_ROW(sign, "Sign", sign_loop, (v > 0) - (v < 0))
NUMBER_ROW(relu, "Relu", ptq_cpu_f32(c)->clip, v < 0 ? 0 : v)

static ptq_status not_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    const uint8_t *x = r->in[0]->data;
    uint8_t *y = r->out[0].data;
    for (int64_t i = 0, n = ptq_tensor_elements(r->in[0]); i < n; i++)
        y[i] = !x[i];
    return PTQ_OK;
}
ROW(not, "Not", NULL)

static ptq_status isnan_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    const float *x = r->in[0]->data;
    uint8_t *y = r->out[0].data;
    for (int64_t i = 0, n = ptq_tensor_elements(r->in[0]); i < n; i++)
        y[i] = x[i] != x[i];
    return PTQ_OK;
}
ROW(isnan, "IsNaN", ptq_supports_f32)

/* ---- Clip: bounds as attributes (before opset 11) or as inputs ---- */

#define CLIP_INT(T, least, most)                                                                   \
    {                                                                                              \
        T lo = lo_t ? *(const T *)lo_t->data : least, hi = hi_t ? *(const T *)hi_t->data : most;   \
        EACH(T, v < lo ? (hi < lo ? hi : lo) : v > hi ? hi : v)                                    \
        break;                                                                                     \
    }

static ptq_status clip_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_tensor *lo_t = ptq_in(r, 1), *hi_t = ptq_in(r, 2);
    const void *x = r->in[0]->data;
    void *y = r->out[0].data;
    int64_t n = ptq_tensor_elements(r->in[0]);
    if ((lo_t && ptq_tensor_elements(lo_t) != 1) || (hi_t && ptq_tensor_elements(hi_t) != 1))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: the bounds of Clip must be scalars", r->step->name);
    switch (r->in[0]->dtype) {
    case PTQ_DT_F32: {
        float lo = lo_t ? *(const float *)lo_t->data : attr(r, "min", -INFINITY);
        float hi = hi_t ? *(const float *)hi_t->data : attr(r, "max", INFINITY);
        return run_f32(c, r, ptq_cpu_f32(c)->clip, lo, hi);
    }
    case PTQ_DT_S64: CLIP_INT(int64_t, INT64_MIN, INT64_MAX)
    case PTQ_DT_S32: CLIP_INT(int32_t, INT32_MIN, INT32_MAX)
    case PTQ_DT_S8: CLIP_INT(int8_t, INT8_MIN, INT8_MAX)
    case PTQ_DT_U8: CLIP_INT(uint8_t, 0, UINT8_MAX)
    default: return ptq_bad_type(r, r->in[0]->dtype);
    }
    return PTQ_OK;
}
ROW(clip, "Clip", NULL)
