/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise functions of one tensor, Clip and Cast. */
#include "lib/cpu/fkernel.h"

typedef struct unary_ctx {
    ptq_f32_unary f;
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

typedef void (*loop_f64)(const double *x, double *y, int64_t n, double p0, double p1);

static ptq_status run_f64(ptq_cpu *c, const ptq_step_run *r, loop_f64 f, float p0, float p1)
{
    (void)c;
    f(r->in[0]->data, r->out[0].data, ptq_tensor_elements(r->in[0]), (double)p0, (double)p1);
    return PTQ_OK;
}

#define ROW(symbol, op, ...)                                                                       \
    extern const ptq_cpu_kernel ptq_cpu_f_##symbol;                                                \
    const ptq_cpu_kernel ptq_cpu_f_##symbol = {.name = op, .run = symbol##_run, __VA_ARGS__};

/* y = expr of v, p0 and p1, in double. */
#define LOOP_F64(symbol, expr)                                                                     \
    static void symbol##_f64(const double *x, double *y, int64_t n, double p0, double p1)          \
    {                                                                                              \
        (void)p0;                                                                                  \
        (void)p1;                                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                          \
            double v = x[i];                                                                       \
            y[i] = expr;                                                                           \
        }                                                                                          \
    }

/* A loop of float32 and the expression in double. */
#define FLOAT_ROW(symbol, op, loop, expr, p0_, p1_)                                                \
    LOOP_F64(symbol, expr)                                                                         \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        if (r->in[0]->dtype == PTQ_DT_F64)                                                         \
            return run_f64(c, r, symbol##_f64, p0_, p1_);                                          \
        return run_f32(c, r, loop, p0_, p1_);                                                      \
    }                                                                                              \
    ROW(symbol, op, .takes = PTQ_TAKES_FLOATS, .over = 1)

/* Those of the vector tables. */
#define VECTOR_ROW(symbol, op, loop, expr, p0, p1)                                                 \
    FLOAT_ROW(symbol, op, ptq_cpu_f32(c)->loop, expr, p0, p1)
VECTOR_ROW(exp, "Exp", exp, exp(v), 0, 0)
VECTOR_ROW(log, "Log", log, log(v), 0, 0)
VECTOR_ROW(tanh, "Tanh", tanh, tanh(v), 0, 0)
VECTOR_ROW(sigmoid, "Sigmoid", sigmoid, 1.0 / (1.0 + exp(-v)), 0, 0)
VECTOR_ROW(erf, "Erf", erf, erf(v), 0, 0)
VECTOR_ROW(softplus, "Softplus", softplus, v > 0 ? v + log1p(exp(-v)) : log1p(exp(v)), 0, 0)
VECTOR_ROW(hard_swish, "HardSwish", hard_swish, v *fmax(0.0, fmin(1.0, v / 6.0 + 0.5)), 0, 0)
VECTOR_ROW(sqrt, "Sqrt", sqrt, sqrt(v), 0, 0)
VECTOR_ROW(reciprocal, "Reciprocal", reciprocal, 1.0 / v, 0, 0)
VECTOR_ROW(hard_sigmoid, "HardSigmoid", hard_sigmoid, fmax(0.0, fmin(1.0, p0 *v + p1)),
           attr(r, "alpha", 0.2f), attr(r, "beta", 0.5f))
VECTOR_ROW(leaky_relu, "LeakyRelu", leaky_relu, v < 0 ? p0 * v : v, attr(r, "alpha", 0.01f), 0)
VECTOR_ROW(elu, "Elu", elu, v < 0 ? p0 * expm1(v) : v, attr(r, "alpha", 1.0f), 0)

LOOP_F64(gelu, 0.5 * v * (1.0 + erf(v * 0.70710678118654752)))
LOOP_F64(gelu_tanh, 0.5 * v * (1.0 + tanh(0.79788456080286536 * (v + 0.044715 * v * v * v))))
static ptq_status gelu_run(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_f32_fns *f = ptq_cpu_f32(c);
    bool approx = strcmp(ptq_attr_str(r->step->node, "approximate", "none"), "tanh") == 0;
    if (r->in[0]->dtype == PTQ_DT_F64)
        return run_f64(c, r, approx ? gelu_tanh_f64 : gelu_f64, 0, 0);
    return run_f32(c, r, approx ? f->gelu_tanh : f->gelu, 0, 0);
}
ROW(gelu, "Gelu", .takes = PTQ_TAKES_FLOATS, .over = 1)

/* Rare functions: plain loops, the same code on every instruction set. */
#define LOOP_F32(symbol, expr)                                                                     \
    static void symbol##_f32(const float *x, float *y, int64_t n, const float *par)                \
    {                                                                                              \
        float p0 = par[0], p1 = par[1];                                                            \
        (void)p0;                                                                                  \
        (void)p1;                                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                          \
            float v = x[i];                                                                        \
            y[i] = expr;                                                                           \
        }                                                                                          \
    }
#define SCALAR_ROW(symbol, op, fexpr, expr, p0, p1)                                                \
    LOOP_F32(symbol, fexpr)                                                                        \
    FLOAT_ROW(symbol, op, symbol##_f32, expr, p0, p1)
SCALAR_ROW(ceil, "Ceil", ceilf(v), ceil(v), 0, 0)
SCALAR_ROW(floor, "Floor", floorf(v), floor(v), 0, 0)
SCALAR_ROW(round, "Round", rintf(v), rint(v), 0, 0)
SCALAR_ROW(sin, "Sin", sinf(v), sin(v), 0, 0)
SCALAR_ROW(cos, "Cos", cosf(v), cos(v), 0, 0)
SCALAR_ROW(softsign, "Softsign", ptq_softsignf(v), v / (1.0 + fabs(v)), 0, 0)
SCALAR_ROW(mish, "Mish", ptq_mishf(v), v *tanh(log1p(exp(v))), 0, 0)
SCALAR_ROW(selu, "Selu", ptq_seluf(v, p0, p1), p1 *(v > 0 ? v : p0 * expm1(v)),
           attr(r, "alpha", 1.67326319f), attr(r, "gamma", 1.05070102f))
SCALAR_ROW(thresholded_relu, "ThresholdedRelu", v > p0 ? v : 0.0f, v > p0 ? v : 0.0,
           attr(r, "alpha", 1.0f), 0)

/* In double, rounded once. */
#define MATH(symbol, op, expr, a0, a1)                                                             \
    static double symbol##_one(double v, double p0, double p1)                                     \
    {                                                                                              \
        (void)p0;                                                                                  \
        (void)p1;                                                                                  \
        return expr;                                                                               \
    }                                                                                              \
    LOOP_F32(symbol, (float)symbol##_one((double)v, (double)p0, (double)p1))                       \
    FLOAT_ROW(symbol, op, symbol##_f32, symbol##_one(v, p0, p1), a0, a1)
MATH(tan, "Tan", tan(v), 0, 0)
MATH(asin, "Asin", asin(v), 0, 0)
MATH(acos, "Acos", acos(v), 0, 0)
MATH(atan, "Atan", atan(v), 0, 0)
MATH(sinh, "Sinh", sinh(v), 0, 0)
MATH(cosh, "Cosh", cosh(v), 0, 0)
MATH(asinh, "Asinh", asinh(v), 0, 0)
MATH(acosh, "Acosh", acosh(v), 0, 0)
MATH(atanh, "Atanh", atanh(v), 0, 0)
MATH(celu, "Celu", v > 0 ? v : p0 * expm1(v / p0), attr(r, "alpha", 1.0f), 0)

/* ---- functions that integers have too ---- */

#define EACH(T, expr)                                                                              \
    for (int64_t i = 0; i < n; i++) {                                                              \
        T v = ((const T *)x)[i];                                                                   \
        ((T *)y)[i] = (T)(expr);                                                                   \
    }

enum { SIGNED = PTQ_TAKES_FLOATS | PTQ_TAKES_S64 | PTQ_TAKES(PTQ_DT_S32) | PTQ_TAKES(PTQ_DT_S8) };

#define NUMBER_ROW(symbol, op, loop, p0, p1, iexpr)                                                \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        const void *x = r->in[0]->data;                                                            \
        void *y = r->out[0].data;                                                                  \
        int64_t n = ptq_tensor_elements(r->in[0]);                                                 \
        float a = p0, b = p1;                                                                      \
        (void)a;                                                                                   \
        (void)b;                                                                                   \
        switch (r->in[0]->dtype) {                                                                 \
        case PTQ_DT_F32: return run_f32(c, r, loop, a, b);                                         \
        case PTQ_DT_F64: EACH(double, iexpr) break;                                                \
        case PTQ_DT_S64: EACH(int64_t, iexpr) break;                                               \
        case PTQ_DT_S32: EACH(int32_t, iexpr) break;                                               \
        case PTQ_DT_S8: EACH(int8_t, iexpr) break;                                                 \
        default: return ptq_bad_type(r, r->in[0]->dtype);                                          \
        }                                                                                          \
        return PTQ_OK;                                                                             \
    }                                                                                              \
    ROW(symbol, op, .takes = SIGNED, .over = 1)
LOOP_F32(sign, ptq_signf(v))
LOOP_F32(shrink, v < -p0 ? v + p1 : v > p0 ? v - p1 : 0.0f)
NUMBER_ROW(neg, "Neg", ptq_cpu_f32(c)->neg, 0, INFINITY, -v)
NUMBER_ROW(abs, "Abs", ptq_cpu_f32(c)->abs, 0, INFINITY, v < 0 ? -v : v)
NUMBER_ROW(sign, "Sign", sign_f32, 0, 0, (v > 0) - (v < 0))
NUMBER_ROW(relu, "Relu", ptq_cpu_f32(c)->clip, 0, INFINITY, v < 0 ? 0 : v)
NUMBER_ROW(shrink, "Shrink", shrink_f32, attr(r, "lambd", 0.5f), attr(r, "bias", 0.0f),
           (double)v < -(double)a ? (double)v + (double)b : (double)v > (double)a ? (double)v - (double)b : 0)

/* ---- bool out ---- */

static ptq_status not_run(ptq_cpu *c, const ptq_step_run *r)
{
    (void)c;
    const uint8_t *x = r->in[0]->data;
    uint8_t *y = r->out[0].data;
    for (int64_t i = 0, n = ptq_tensor_elements(r->in[0]); i < n; i++)
        y[i] = !x[i];
    return PTQ_OK;
}
ROW(not, "Not", .takes = PTQ_TAKES(PTQ_DT_BOOL))

#define TEST_ROW(symbol, op, expr)                                                                 \
    static ptq_status symbol##_run(ptq_cpu *c, const ptq_step_run *r)                              \
    {                                                                                              \
        bool single = r->in[0]->dtype == PTQ_DT_F32;                                               \
        const void *x = r->in[0]->data;                                                            \
        uint8_t *y = r->out[0].data;                                                               \
        (void)c;                                                                                   \
        for (int64_t i = 0, n = ptq_tensor_elements(r->in[0]); i < n; i++) {                       \
            double v = single ? (double)((const float *)x)[i] : ((const double *)x)[i];            \
            y[i] = expr;                                                                           \
        }                                                                                          \
        return PTQ_OK;                                                                             \
    }                                                                                              \
    ROW(symbol, op, .takes = PTQ_TAKES_FLOATS, .keep_out = 1)
TEST_ROW(isnan, "IsNaN", v != v)
TEST_ROW(isinf, "IsInf",
         (v == INFINITY && ptq_attr_int(r->step->node, "detect_positive", 1)) ||
             (v == -INFINITY && ptq_attr_int(r->step->node, "detect_negative", 1)))

/* ---- Clip: bounds as attributes (before opset 11) or as inputs ---- */

#define CLIP_NUMBER(T, least, most)                                                                   \
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
    case PTQ_DT_F64: CLIP_NUMBER(double, -INFINITY, INFINITY)
    case PTQ_DT_S64: CLIP_NUMBER(int64_t, INT64_MIN, INT64_MAX)
    case PTQ_DT_U64: CLIP_NUMBER(uint64_t, 0, UINT64_MAX)
    case PTQ_DT_S32: CLIP_NUMBER(int32_t, INT32_MIN, INT32_MAX)
    case PTQ_DT_S8: CLIP_NUMBER(int8_t, INT8_MIN, INT8_MAX)
    case PTQ_DT_U8: CLIP_NUMBER(uint8_t, 0, UINT8_MAX)
    default: return ptq_bad_type(r, r->in[0]->dtype);
    }
    return PTQ_OK;
}
ROW(clip, "Clip", .takes = PTQ_TAKES_FLOATS | PTQ_TAKES_INTS | PTQ_TAKES(PTQ_DT_S32) | PTQ_TAKES(PTQ_DT_S8) |
                              PTQ_TAKES(PTQ_DT_U8), .over = 1)
