/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise float operators, comparisons, Where, Cast. */
#include <math.h>
#include <string.h>

#include "lib/core/cast.h"
#include "lib/gpu/gf.h"

static bool refuse(const char **why, const char *text)
{
    if (why)
        *why = text;
    return false;
}

static float attr(const ptq_step_run *r, const char *name, float dflt)
{
    return ptq_attr_float(r->step->node, name, dflt);
}

/* ---- functions of one tensor ---- */

static ptq_status run_unary(ptq_gpu *g, const ptq_step_run *r, int op, float p0, float p1)
{
    ptq_kf_unary a = {.x = r->in[0]->data, .y = r->out[0].data, .n = ptq_tensor_elements(r->in[0]),
                      .op = op, .p0 = p0, .p1 = p1, .act = ptq_gf_act(r)};
    return ptq_kf_run_unary(g->dev, &a);
}

#define UNARY_ROW(symbol, op, a, b)                                                                \
    static ptq_status run_##symbol(ptq_gpu *g, const ptq_step_run *r)                              \
    {                                                                                              \
        return run_unary(g, r, PTQ_KF_UNARY_##symbol, a, b);                                       \
    }                                                                                              \
    PTQ_GF_ROW(symbol, .name = op, .supports = ptq_supports_f32, .run = run_##symbol);
UNARY_ROW(exp, "Exp", 0, 0)
UNARY_ROW(log, "Log", 0, 0)
UNARY_ROW(tanh, "Tanh", 0, 0)
UNARY_ROW(sigmoid, "Sigmoid", 0, 0)
UNARY_ROW(erf, "Erf", 0, 0)
UNARY_ROW(softplus, "Softplus", 0, 0)
UNARY_ROW(hard_swish, "HardSwish", 0, 0)
UNARY_ROW(sqrt, "Sqrt", 0, 0)
UNARY_ROW(reciprocal, "Reciprocal", 0, 0)
UNARY_ROW(ceil, "Ceil", 0, 0)
UNARY_ROW(floor, "Floor", 0, 0)
UNARY_ROW(round, "Round", 0, 0)
UNARY_ROW(softsign, "Softsign", 0, 0)
UNARY_ROW(mish, "Mish", 0, 0)
UNARY_ROW(neg, "Neg", 0, 0)
UNARY_ROW(abs, "Abs", 0, 0)
UNARY_ROW(sign, "Sign", 0, 0)
UNARY_ROW(hard_sigmoid, "HardSigmoid", attr(r, "alpha", 0.2f), attr(r, "beta", 0.5f))
UNARY_ROW(leaky_relu, "LeakyRelu", attr(r, "alpha", 0.01f), 0)
UNARY_ROW(elu, "Elu", attr(r, "alpha", 1.0f), 0)
UNARY_ROW(selu, "Selu", attr(r, "alpha", 1.67326319f), attr(r, "gamma", 1.05070102f))
UNARY_ROW(thresholded_relu, "ThresholdedRelu", attr(r, "alpha", 1.0f), 0)

static ptq_status run_relu(ptq_gpu *g, const ptq_step_run *r)
{
    return run_unary(g, r, PTQ_KF_UNARY_clip, 0.0f, INFINITY);
}
PTQ_GF_ROW(relu, .name = "Relu", .supports = ptq_supports_f32, .run = run_relu);

static ptq_status run_gelu(ptq_gpu *g, const ptq_step_run *r)
{
    bool approx = strcmp(ptq_attr_str(r->step->node, "approximate", "none"), "tanh") == 0;
    return run_unary(g, r, approx ? PTQ_KF_UNARY_gelu_tanh : PTQ_KF_UNARY_gelu, 0, 0);
}
PTQ_GF_ROW(gelu, .name = "Gelu", .supports = ptq_supports_f32, .run = run_gelu);

/* Bounds as attributes (before opset 11) or as inputs. */
static ptq_status run_clip(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *lo = ptq_in(r, 1), *hi = ptq_in(r, 2);
    if ((lo && ptq_tensor_elements(lo) != 1) || (hi && ptq_tensor_elements(hi) != 1))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: the bounds of Clip must be scalars", r->step->name);
    return run_unary(g, r, PTQ_KF_UNARY_clip,
                     lo ? *(const float *)lo->data : attr(r, "min", -INFINITY),
                     hi ? *(const float *)hi->data : attr(r, "max", INFINITY));
}
PTQ_GF_ROW(clip, .name = "Clip", .supports = ptq_supports_f32, .host_inputs = ptq_gf_all_but_data,
           .run = run_clip);

/* A constant scalar exponent whose powers need no libm. */
static bool exponent(const ptq_tensor *t, float *e)
{
    if (!t || ptq_tensor_elements(t) != 1)
        return false;
    switch (t->dtype) {
    case PTQ_DT_F32: *e = *(const float *)t->data; break;
    case PTQ_DT_S32: *e = (float)*(const int32_t *)t->data; break;
    case PTQ_DT_S64: *e = (float)*(const int64_t *)t->data; break;
    default: return false;
    }
    return ptq_pow_is_exact(*e);
}

static bool supports_pow(const ptq_program *p, const ptq_step *s, const char **why)
{
    float e;
    if (!ptq_inputs_are(p, s, 0, 1, PTQ_DT_F32))
        return refuse(why, "only float32 is supported");
    return exponent(ptq_const_in(p, s, 1), &e) || refuse(why, "only the constant exponents 0.5, 2 and 3");
}

static ptq_status run_pow(ptq_gpu *g, const ptq_step_run *r)
{
    float e = 0.0f;
    exponent(r->in[1], &e);
    return run_unary(g, r, PTQ_KF_UNARY_pow, e, 0);
}
PTQ_GF_ROW(pow, .name = "Pow", .supports = supports_pow, .host_inputs = ptq_gf_all_but_data, .run = run_pow);

/* ---- functions of two and more tensors ---- */

static ptq_status run_pair(ptq_gpu *g, const ptq_tensor *a, const ptq_tensor *b, const ptq_tensor *y, int op,
                           ptq_kf_act act)
{
    const ptq_tensor *in[] = {a, b};
    ptq_kf_binary k = {.a = a->data, .b = b->data, .y = y->data, .n = ptq_tensor_elements(y), .op = op,
                       .w = ptq_gf_broadcast(in, 2, y), .act = act};
    return ptq_kf_run_binary(g->dev, &k);
}

/* Folded from the left into the output, as the law has it. */
static ptq_status run_fold(ptq_gpu *g, const ptq_step_run *r, int op)
{
    const ptq_tensor *y = &r->out[0];
    int n = r->step->nin;
    if (n == 1)
        return ptq_dev_copy(g->dev, y->data, r->in[0]->data, y->nbytes);
    for (int i = 1; i < n; i++)
        PTQ_TRY(run_pair(g, i == 1 ? r->in[0] : y, r->in[i], y, op, i == n - 1 ? ptq_gf_act(r) : (ptq_kf_act){0}));
    return PTQ_OK;
}

#define BINARY_ROW(symbol, op, function)                                                           \
    static ptq_status run_##symbol(ptq_gpu *g, const ptq_step_run *r)                              \
    {                                                                                              \
        return run_fold(g, r, PTQ_KF_BINARY_##function);                                           \
    }                                                                                              \
    PTQ_GF_ROW(symbol, .name = op, .supports = ptq_supports_f32, .run = run_##symbol);
BINARY_ROW(add, "Add", add)
BINARY_ROW(sub, "Sub", sub)
BINARY_ROW(mul, "Mul", mul)
BINARY_ROW(div, "Div", div)
BINARY_ROW(min, "Min", min)
BINARY_ROW(max, "Max", max)
BINARY_ROW(sum, "Sum", add)
BINARY_ROW(prelu, "PRelu", prelu)

static ptq_status run_mean(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *y = &r->out[0];
    PTQ_TRY(run_fold(g, r, PTQ_KF_BINARY_add));
    ptq_kf_unary a = {.x = y->data, .y = y->data, .n = ptq_tensor_elements(y), .op = PTQ_KF_UNARY_divide,
                      .p0 = (float)r->step->nin};
    return ptq_kf_run_unary(g->dev, &a);
}
PTQ_GF_ROW(mean, .name = "Mean", .supports = ptq_supports_f32, .run = run_mean);

static bool supports_mod(const ptq_program *p, const ptq_step *s, const char **why)
{
    if (!ptq_attr_int(s->node, "fmod", 0))
        return refuse(why, "only with fmod");
    return ptq_supports_f32(p, s, why);
}

static ptq_status run_mod(ptq_gpu *g, const ptq_step_run *r)
{
    return run_fold(g, r, PTQ_KF_BINARY_fmod);
}
PTQ_GF_ROW(mod, .name = "Mod", .supports = supports_mod, .run = run_mod);

/* ---- comparisons and logic ---- */

static bool same_types(const ptq_program *p, const ptq_step *s, const char **why)
{
    ptq_dtype t = ptq_gpu_dtype(p, s, 0);
    bool known = t == PTQ_DT_F32 || t == PTQ_DT_S64 || t == PTQ_DT_S32 || t == PTQ_DT_BOOL || ptq_gpu_is8(t);
    return (known && ptq_gpu_dtype(p, s, 1) == t) || refuse(why, "elements of this type cannot be compared");
}

static bool bools(const ptq_program *p, const ptq_step *s, const char **why)
{
    return ptq_inputs_are(p, s, 0, s->nin, PTQ_DT_BOOL) || refuse(why, "only bool is supported");
}

static ptq_status run_compare(ptq_gpu *g, const ptq_step_run *r, int op)
{
    ptq_kf_compare a = {.a = r->in[0]->data, .b = r->in[1]->data, .y = r->out[0].data,
                        .n = ptq_tensor_elements(&r->out[0]), .w = ptq_gf_broadcast(r->in, 2, &r->out[0]),
                        .op = op, .dtype = r->in[0]->dtype};
    return ptq_kf_run_compare(g->dev, &a);
}

#define COMPARE_ROW(symbol, op, function, supported)                                               \
    static ptq_status run_##symbol(ptq_gpu *g, const ptq_step_run *r)                              \
    {                                                                                              \
        return run_compare(g, r, PTQ_KF_COMPARE_##function);                                       \
    }                                                                                              \
    PTQ_GF_ROW(symbol, .name = op, .supports = supported, .run = run_##symbol);
COMPARE_ROW(equal, "Equal", equal, same_types)
COMPARE_ROW(less, "Less", less, same_types)
COMPARE_ROW(greater, "Greater", greater, same_types)
COMPARE_ROW(less_or_equal, "LessOrEqual", less_or_equal, same_types)
COMPARE_ROW(greater_or_equal, "GreaterOrEqual", greater_or_equal, same_types)
COMPARE_ROW(and, "And", both, bools)
COMPARE_ROW(or, "Or", either, bools)
COMPARE_ROW(xor, "Xor", one, bools)

/* ---- Where ---- */

static bool supports_where(const ptq_program *p, const ptq_step *s, const char **why)
{
    int bits = ptq_dtype_bits(ptq_gpu_dtype(p, s, 1));
    bool known = bits == 8 || bits == 16 || bits == 32 || bits == 64;
    return known || refuse(why, "elements of this type cannot be moved");
}

static ptq_status run_where(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *y = &r->out[0];
    ptq_kf_where a = {.cond = r->in[0]->data, .a = r->in[1]->data, .b = r->in[2]->data, .y = y->data,
                      .n = ptq_tensor_elements(y), .w = ptq_gf_broadcast(r->in, 3, y),
                      .bytes = (int32_t)ptq_elem_bytes(y->dtype)};
    return ptq_kf_run_where(g->dev, &a);
}
PTQ_GF_ROW(where, .name = "Where", .supports = supports_where, .run = run_where);

/* ---- Cast, Not ---- */

static bool supports_cast(const ptq_program *p, const ptq_step *s, const char **why)
{
    bool known = ptq_castable(ptq_gpu_dtype(p, s, 0)) && ptq_castable(p->values.v[s->out[0]].dtype);
    return known || refuse(why, "this pair of types");
}

static ptq_status run_cast(ptq_gpu *g, const ptq_step_run *r)
{
    const ptq_tensor *x = r->in[0], *y = &r->out[0];
    ptq_kf_cast a = {.x = x->data, .y = y->data, .n = ptq_tensor_elements(x), .from = x->dtype, .to = y->dtype};
    if (x->dtype == y->dtype)
        return ptq_dev_copy(g->dev, y->data, x->data, x->nbytes);
    return ptq_kf_run_cast(g->dev, &a);
}
PTQ_GF_ROW(cast, .name = "Cast", .supports = supports_cast, .run = run_cast);

static ptq_status run_not(ptq_gpu *g, const ptq_step_run *r)
{
    ptq_kf_cast a = {.x = r->in[0]->data, .y = r->out[0].data, .n = ptq_tensor_elements(r->in[0])};
    return ptq_kf_run_not(g->dev, &a);
}
PTQ_GF_ROW(not, .name = "Not", .supports = bools, .run = run_not);
