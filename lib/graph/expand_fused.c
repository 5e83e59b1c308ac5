/* SPDX-License-Identifier: Apache-2.0 */
/* What ONNX Runtime's optimizer fuses: activations, normalizations, products (com.microsoft). */
#include <math.h>
#include <string.h>

#include "lib/graph/expand.h"

static ptq_dtype type_of(const ptq_expand *x)
{
    return x->n->in[0]->dtype;
}

/* ---- products ---- */

static ptq_value *transposed(ptq_expand *x, ptq_value *v, const char *attr)
{
    int64_t perm[PTQ_MAX_RANK];
    if (!ptq_attr_int(x->n, attr, 0))
        return v;
    int rank = ptq_x_rank(x, v, "what is transposed");
    if (rank < 2)
        return v; /* a vector stays one */
    for (int i = 0; i < rank; i++)
        perm[i] = i;
    perm[rank - 2] = rank - 1;
    perm[rank - 1] = rank - 2;
    return ptq_x_transpose(x, v, rank, perm);
}

void ptq_expand_fused_matmul(ptq_expand *x)
{
    const ptq_node *n = x->n;
    double alpha = (double)ptq_attr_float(n, "alpha", 1.0f);
    if (ptq_attr_int(n, "transBatchA", 0) || ptq_attr_int(n, "transBatchB", 0))
        ptq_x_fail(x, "transBatchA and transBatchB are not supported");
    ptq_value *y = PTQ_X(x, "MatMul", transposed(x, n->in[0], "transA"), transposed(x, n->in[1], "transB"));
    ptq_x_out(x, 0, alpha == 1.0 ? y : PTQ_X(x, "Mul", y, ptq_x_scalar(x, type_of(x), alpha)));
}

static ptq_value *product(ptq_expand *x, ptq_value *a, ptq_value *b)
{
    return PTQ_X(x, "Mul", a, b);
}

/* Integers of the product times the scales of both sides, in float. */
static void scaled_product(ptq_expand *x, ptq_value *a, ptq_value *b, ptq_value *a_zp, ptq_value *b_zp, ptq_value *scale,
                           ptq_value *bias, ptq_dtype t)
{
    ptq_value *sum = PTQ_X(x, "MatMulInteger", a, b, a_zp, b_zp), *y = product(x, ptq_x_cast(x, sum, t), scale);
    ptq_x_out(x, 0, bias ? PTQ_X(x, "Add", y, bias) : y);
}

void ptq_expand_dynamic_matmul(ptq_expand *x)
{
    ptq_value *a = PTQ_X(x, "DynamicQuantizeLinear", x->n->in[0]), *scale = ptq_x_more(x, a), *zp = ptq_x_more(x, a);
    scaled_product(x, a, x->n->in[1], zp, ptq_x_in(x, 3), product(x, scale, x->n->in[2]), ptq_x_in(x, 4), type_of(x));
}

void ptq_expand_integer_matmul(ptq_expand *x)
{
    ptq_value *const *in = x->n->in;
    ptq_dtype t = in[2] ? in[2]->dtype : PTQ_DT_F32;
    scaled_product(x, in[0], in[1], ptq_x_in(x, 4), ptq_x_in(x, 5), product(x, in[2], in[3]), ptq_x_in(x, 6), t);
}

/* ---- activations ---- */

/* 0.5 v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3))) */
static ptq_value *gelu_tanh(ptq_expand *x, ptq_value *v, ptq_dtype t)
{
    if (x->g->opset >= 20)
        return ptq_x_str(x, PTQ_X(x, "Gelu", v), "approximate", "tanh");
    ptq_value *square = product(x, v, v);
    ptq_value *factor = PTQ_X(x, "Add", product(x, square, ptq_x_scalar(x, t, 0.044715 * sqrt(2.0 / 3.14159265358979323846))),
                              ptq_x_scalar(x, t, sqrt(2.0 / 3.14159265358979323846)));
    ptq_value *whole = PTQ_X(x, "Add", PTQ_X(x, "Tanh", product(x, v, factor)), ptq_x_scalar(x, t, 1.0));
    return product(x, product(x, v, ptq_x_scalar(x, t, 0.5)), whole);
}

void ptq_expand_fast_gelu(ptq_expand *x)
{
    ptq_value *v = x->n->in[0], *bias = ptq_x_in(x, 1);
    ptq_x_out(x, 0, gelu_tanh(x, bias ? PTQ_X(x, "Add", v, bias) : v, type_of(x)));
}

void ptq_expand_bias_gelu(ptq_expand *x)
{
    ptq_value *v = PTQ_X(x, "Add", x->n->in[0], x->n->in[1]);
    ptq_x_out(x, 0, PTQ_X(x, x->g->opset >= 20 ? "Gelu" : "com.microsoft/Gelu", v));
}

void ptq_expand_quick_gelu(ptq_expand *x)
{
    ptq_value *v = x->n->in[0], *alpha = ptq_x_scalar(x, type_of(x), (double)ptq_attr_float(x->n, "alpha", 1.702f));
    ptq_x_out(x, 0, product(x, v, PTQ_X(x, "Sigmoid", product(x, v, alpha))));
}

/* The function that is named in the attribute `activation`, with up to three parameters. */
static ptq_value *activation(ptq_expand *x, ptq_value *v, const float *p, size_t n)
{
    const char *name = ptq_attr_str(x->n, "activation", "");
    ptq_dtype t = type_of(x);
    if (strcmp(name, "") == 0 || strcmp(name, "Identity") == 0)
        return v;
    if (strcmp(name, "Relu") == 0 || strcmp(name, "Tanh") == 0 || strcmp(name, "Sigmoid") == 0)
        return PTQ_X(x, name, v);
    if (strcmp(name, "LeakyRelu") == 0)
        return ptq_x_float(x, PTQ_X(x, name, v), "alpha", n > 0 ? p[0] : 0.01f);
    if (strcmp(name, "HardSigmoid") == 0)
        return ptq_x_float(x, ptq_x_float(x, PTQ_X(x, name, v), "alpha", n > 0 ? p[0] : 0.2f), "beta", n > 1 ? p[1] : 0.5f);
    if (strcmp(name, "Clip") == 0 && n > 1 && x->g->opset >= 11)
        return PTQ_X(x, name, v, ptq_x_scalar(x, t, (double)p[0]), ptq_x_scalar(x, t, (double)p[1]));
    ptq_x_fail(x, "activation \"%s\" with %zu parameters is not supported", name, n);
    return NULL;
}

void ptq_expand_fused_conv(ptq_expand *x)
{
    const ptq_node *n = x->n;
    ptq_value *bias = ptq_x_in(x, 2), *sum = ptq_x_in(x, 3);
    size_t count;
    const float *p = ptq_attr_floats(n, "activation_params", &count);
    ptq_value *y = bias ? PTQ_X(x, "Conv", n->in[0], n->in[1], bias) : PTQ_X(x, "Conv", n->in[0], n->in[1]);
    y = ptq_x_attrs(x, y, "activation");
    if (sum)
        y = PTQ_X(x, "Add", y, sum);
    ptq_x_out(x, 0, activation(x, y, p, count));
}

void ptq_expand_fused_gemm(ptq_expand *x)
{
    static const char *const names[] = {"activation_alpha", "activation_beta"};
    const ptq_node *n = x->n;
    ptq_value *c = ptq_x_in(x, 2);
    float p[2];
    size_t count = 0;
    while (count < 2 && ptq_attr_find(n, names[count])) {
        p[count] = ptq_attr_float(n, names[count], 0);
        count++;
    }
    ptq_value *y = c ? PTQ_X(x, "Gemm", n->in[0], n->in[1], c) : PTQ_X(x, "Gemm", n->in[0], n->in[1]);
    ptq_x_out(x, 0, activation(x, ptq_x_attrs(x, y, "activation"), p, count));
}

/* ---- normalizations ---- */

static ptq_value *layer_norm(ptq_expand *x, ptq_value *v, ptq_value *gamma, ptq_value *beta)
{
    ptq_value *y = beta ? PTQ_X(x, "LayerNormalization", v, gamma, beta) : PTQ_X(x, "LayerNormalization", v, gamma);
    return ptq_x_float(x, y, "epsilon", ptq_attr_float(x->n, "epsilon", 1e-12f));
}

/* Input plus skip, plus the bias in input `bias`. */
static ptq_value *skip_sum(ptq_expand *x, int bias)
{
    ptq_value *s = PTQ_X(x, "Add", x->n->in[0], x->n->in[1]), *b = ptq_x_in(x, bias);
    return b ? PTQ_X(x, "Add", s, b) : s;
}

void ptq_expand_skip_layer_norm(ptq_expand *x)
{
    ptq_value *s = skip_sum(x, 4), *y = layer_norm(x, s, x->n->in[2], ptq_x_in(x, 3));
    if (ptq_x_wants(x, 1) || ptq_x_wants(x, 2)) {
        ptq_value *mean = ptq_x_more(x, y), *inverse = ptq_x_more(x, y);
        ptq_x_out(x, 1, mean);
        ptq_x_out(x, 2, inverse);
    }
    ptq_x_out(x, 3, s);
    ptq_x_out(x, 0, y);
}

/* v / sqrt(mean of v^2 + epsilon) * gamma */
static ptq_value *rms_norm(ptq_expand *x, ptq_value *v, ptq_value *gamma, float epsilon)
{
    ptq_dtype t = type_of(x);
    ptq_value *mean = ptq_x_mean(x, product(x, v, v));
    ptq_value *root = PTQ_X(x, "Sqrt", PTQ_X(x, "Add", mean, ptq_x_scalar(x, t, (double)epsilon)));
    return product(x, PTQ_X(x, "Div", v, root), gamma);
}

void ptq_expand_simplified_layer_norm(ptq_expand *x)
{
    const ptq_node *n = x->n;
    int64_t axis = ptq_attr_int(n, "axis", -1);
    if (axis != -1 && axis != ptq_x_rank(x, n->in[0], "its input") - 1)
        ptq_x_fail(x, "axis %lld is not the last one", (long long)axis);
    ptq_x_out(x, 0, rms_norm(x, n->in[0], n->in[1], ptq_attr_float(n, "epsilon", 1e-5f)));
}

void ptq_expand_skip_simplified_layer_norm(ptq_expand *x)
{
    ptq_value *s = skip_sum(x, 3), *y = rms_norm(x, s, x->n->in[2], ptq_attr_float(x->n, "epsilon", 1e-12f));
    if (ptq_x_wants(x, 1) || ptq_x_wants(x, 2))
        ptq_x_fail(x, "its outputs 1 and 2 are used");
    ptq_x_out(x, 3, s);
    ptq_x_out(x, 0, y);
}

void ptq_expand_embed_layer_norm(ptq_expand *x)
{
    ptq_value *const *in = x->n->in;
    ptq_value *ids = in[0], *segments = in[1], *mask = ptq_x_in(x, 7), *positions = ptq_x_in(x, 8);
    if (!positions) { /* 0, 1, 2, ... */
        ptq_value *n = PTQ_X(x, "Squeeze", ptq_x_size(x, ids, 1));
        positions = PTQ_X(x, "Range", ptq_x_scalar(x, PTQ_DT_S64, 0.0), n, ptq_x_scalar(x, PTQ_DT_S64, 1.0));
    }
    ptq_value *s = PTQ_X(x, "Add", PTQ_X(x, "Gather", in[2], ids), PTQ_X(x, "Gather", in[3], positions));
    if (segments && in[4])
        s = PTQ_X(x, "Add", s, PTQ_X(x, "Gather", in[4], segments));
    ptq_value *y = layer_norm(x, s, in[5], in[6]);
    if (ptq_x_wants(x, 1) && !mask)
        ptq_x_fail(x, "its output 1 is used, and there is no mask");
    if (ptq_x_wants(x, 1))
        ptq_x_out(x, 1, ptq_x_int(x, PTQ_X(x, "ReduceSum", mask, PTQ_X_LIST(x, 1)), "keepdims", 0));
    ptq_x_out(x, 2, s);
    ptq_x_out(x, 0, y);
}

/* ---- operators on codes ---- */

static ptq_value *real_value(ptq_expand *x, ptq_value *codes, ptq_value *scale, ptq_value *zp)
{
    return zp ? PTQ_X(x, "DequantizeLinear", codes, scale, zp) : PTQ_X(x, "DequantizeLinear", codes, scale);
}

static ptq_value *codes_of(ptq_expand *x, ptq_value *v, ptq_value *scale, ptq_value *zp)
{
    return zp ? PTQ_X(x, "QuantizeLinear", v, scale, zp) : PTQ_X(x, "QuantizeLinear", v, scale);
}

void ptq_expand_qlinear_softmax(ptq_expand *x)
{
    ptq_value *const *in = x->n->in;
    int64_t axis = ptq_attr_int(x->n, "axis", -1);
    int rank = ptq_x_rank(x, in[0], "its input");
    if (ptq_attr_int(x->n, "opset", 13) < 13 && axis != -1 && axis != rank - 1)
        ptq_x_fail(x, "axis %lld of an opset before 13 is not the last one", (long long)axis);
    ptq_value *y = ptq_x_int(x, PTQ_X(x, "Softmax", real_value(x, in[0], in[1], in[2])), "axis", axis);
    ptq_x_out(x, 0, codes_of(x, y, in[3], in[4]));
}

void ptq_expand_qlinear_where(ptq_expand *x)
{
    ptq_value *const *in = x->n->in;
    ptq_value *y = PTQ_X(x, "Where", in[0], real_value(x, in[1], in[2], in[3]), real_value(x, in[4], in[5], in[6]));
    ptq_x_out(x, 0, codes_of(x, y, in[7], in[8]));
}
