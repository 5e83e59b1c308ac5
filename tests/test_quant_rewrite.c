/* SPDX-License-Identifier: Apache-2.0 */
/* Rewriting of small graphs. What a rewritten graph computes is held against a plain computation
 * in this file. */
#include "tests/quant_kit.h"

#include <math.h>

#include "lib/exec/session.h"
#include "lib/quant/rewrite.h"

static const ptq_act_params s8_params = {PTQ_DT_S8, 0.0625f, 0, -8.0, 8.0, "test"};
static const ptq_act_params u8_params = {PTQ_DT_U8, 0.0625f, 100, -6.25, 9.6875, "test"};
static const ptq_act_params relu_params = {PTQ_DT_U8, 0.0625f, 0, 0.0, 15.9375, "test"};

/* Every tensor with parameters `all`; NULL: each with its own, in uint8. */
static ptq_graph *rewritten_with(const ptq_graph *g, const char *target, const ptq_act_params *all,
                                 const ptq_rewrite_options *o)
{
    ptq_placement *p = qk_place(g, target, NULL);
    ptq_act_params params[32];
    ptq_graph *q;
    ck_assert_int_le(p->ntensors, (int)PTQ_COUNT(params));
    for (int i = 0; i < p->ntensors; i++) {
        params[i] = all ? *all : u8_params;
        if (!all) {
            params[i].scale = 0.02f + 0.007f * (float)(i % 5);
            params[i].zp = 90 + 9 * i % 71;
        }
    }
    ck_assert_ok(ptq_graph_clone(g, &q));
    ck_assert_ok(ptq_rewrite_qdq(q, p, params, o, NULL));
    ck_assert_ok(ptq_graph_verify(q));
    ck_assert_ok(ptq_infer_graph(q));
    ptq_placement_free(p);
    return q;
}

/* int8 weights per channel. */
static ptq_graph *rewritten(const ptq_graph *g, const char *target)
{
    const bool u8 = strcmp(target, "ort") == 0;
    return rewritten_with(g, target, u8 ? &u8_params : &s8_params,
                          &(ptq_rewrite_options){.weight_dtype = PTQ_DT_S8, .per_channel = true});
}

static const ptq_lower_options simulation = {0};
static const ptq_lower_options integer = {.integer = true, .nhwc = true};

/* Runs on one input; all outputs behind one another into y, n numbers. */
static void run(const ptq_graph *g, const ptq_lower_options *lower, const float *x, const int64_t dims[4],
                float *y, size_t n)
{
    enum { MAX_OUT = 4 };
    ptq_session *s;
    ptq_session_options o = {.lower = *lower};
    ptq_tensor in = {.dtype = PTQ_DT_F32, .rank = 4}, out[MAX_OUT];
    size_t at = 0;
    ck_assert_uint_le(g->outputs.n, MAX_OUT);
    memcpy(in.dims, dims, 4 * sizeof *dims);
    ck_assert(ptq_tensor_nbytes(PTQ_DT_F32, 4, dims, &in.nbytes));
    memcpy(&in.data, &x, sizeof x);
    ck_assert_ok(ptq_session_new(g, &o, &s));
    ck_assert_ok(ptq_session_run(s, &in, 1, out, g->outputs.n));
    for (size_t i = 0; i < g->outputs.n; i++) {
        size_t count = (size_t)ptq_tensor_elements(&out[i]);
        ck_assert_uint_le(at + count, n);
        memcpy(y + at, out[i].data, count * sizeof *y);
        at += count;
    }
    ck_assert_uint_eq(at, n);
    ptq_session_free(s);
}

static void draw(float *x, size_t n, float width, uint64_t seed)
{
    ptq_rng r;
    ptq_rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        x[i] = width * (ptq_rng_uniform(&r) - 0.5f);
}

static int count_op(const ptq_graph *g, const char *op)
{
    int n = 0;
    PTQ_GRAPH_EACH_NODE (g, node)
        n += strcmp(node->op, op) == 0;
    return n;
}

static ptq_value *matrix(ptq_graph *g, const char *name, int64_t rows, int64_t columns)
{
    float w[1024];
    ptq_rng r;
    ptq_rng_seed(&r, (uint64_t)(rows * 131 + columns));
    for (int64_t i = 0; i < rows * columns; i++)
        w[i] = ptq_rng_uniform(&r) - 0.5f;
    return kit_const(g, name, PTQ_DT_F32, 2, (int64_t[]){rows, columns}, w);
}

/* One 1x1 convolution computed from the definition: quantize, integer sum, dequantize. */
START_TEST(rewrite__one_conv_from_the_definition)
{
    static const ptq_act_params high = {PTQ_DT_U8, 0.0625f, 200, -12.5, 3.4375, "test"};
    const ptq_act_params *p = _i ? &high : &s8_params;
    const float lo = _i ? 0 : -128, hi = _i ? 255 : 127, z = (float)p->zp, s = p->scale;
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 3, 2, 2});
    ptq_value *a = qk_conv(g, "a", x, 5, 3, 1);
    qk_output(g, KIT(g, "Sqrt", "y", KIT(g, "Abs", "abs", a)));
    ptq_graph *q = rewritten_with(g, _i ? "ort" : "portable", p,
                                  &(ptq_rewrite_options){.weight_dtype = PTQ_DT_S8, .per_channel = true});
    float in[12], y[20];
    draw(in, 12, 12.0f, 7);
    run(q, &integer, in, (int64_t[]){1, 3, 2, 2}, y, 20);
    const float *w = ptq_graph_find(g, "a_w")->constant->data;
    for (int co = 0; co < 5; co++) {
        float amax = 0.0f;
        for (int k = 0; k < 3; k++)
            amax = fmaxf(amax, fabsf(w[co * 3 + k]));
        float sw = amax / 127.0f;
        for (int px = 0; px < 4; px++) {
            int32_t acc = 0;
            for (int k = 0; k < 3; k++)
                acc += (int32_t)nearbyintf(w[co * 3 + k] / sw) *
                       (int32_t)(fmaxf(lo, fminf(hi, nearbyintf(in[k * 4 + px] / s) + z)) - z);
            float q8 = fmaxf(lo, fminf(hi, nearbyintf((float)acc * (s * sw / s)) + z)) - z;
            ck_assert_float_eq_tol(y[co * 4 + px], sqrtf(fabsf(q8 * s)), 1e-6f);
        }
    }
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

/* Channels whose ranges lie on either side of zero: every weight decodes to within half a step of
 * itself, with the step of its channel or of the whole. */
START_TEST(rewrite__linear_weights)
{
    enum { CO = 6, CI = 40, W = CO * CI };
    static const float from[CO] = {0.0f, -1.0f, -0.2f, -0.9f, -3.0f, 0.25f}, to[CO] = {1.0f, 0.0f, 0.9f, 0.2f, 3.0f, 0.5f};
    const bool asymmetric = _i & 1, per_channel = _i & 2;
    static float w[W], x[CI], y[CO + W];
    draw(w, W, 1.0f, 9);
    for (int i = 0; i < W; i++)
        w[i] = from[i / CI] + (to[i / CI] - from[i / CI]) * (w[i] + 0.5f);
    ptq_graph *g = kit_graph(13);
    ptq_value *in = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, CI, 1, 1});
    ptq_value *wv = kit_const(g, "w", PTQ_DT_F32, 4, (int64_t[]){CO, CI, 1, 1}, w);
    qk_output(g, KIT(g, "Identity", "y", KIT(g, "Conv", "c", in, wv)));
    ptq_graph *q = rewritten_with(g, "ort", &u8_params,
                                  &(ptq_rewrite_options){.weight = asymmetric ? "asymmetric" : "symmetric",
                                                         .weight_dtype = asymmetric ? PTQ_DT_U8 : PTQ_DT_S8,
                                                         .per_channel = per_channel});
    qk_output(q, ptq_graph_find(q, "c")->producer->in[1]);
    run(q, &integer, x, (int64_t[]){1, CI, 1, 1}, y, PTQ_COUNT(y));
    for (int i = 0; i < W; i++) {
        float lo = 0, hi = 0;
        for (int k = per_channel ? i / CI * CI : 0; k < (per_channel ? (i / CI + 1) * CI : W); k++) {
            lo = fminf(lo, w[k]);
            hi = fmaxf(hi, w[k]);
        }
        const double step = asymmetric ? ((double)hi - (double)lo) / 255 : (double)fmaxf(hi, -lo) / 127;
        /* The zero point is rounded, which moves the ends of the range by up to half a step. */
        const double end = fmin((double)(w[i] - lo), (double)(hi - w[i]));
        const double most = asymmetric && end < step / 2 ? 1 : 0.5;
        ck_assert_double_eq_tol((double)y[CO + i], (double)w[i], most * step * (1 + 1e-4));
    }
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

/* MatMul writes float: who reads it in float reads it as it is, not through Q and DQ. */
START_TEST(rewrite__float_reader_of_a_matmul)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 8});
    ptq_value *m = KIT(g, "MatMul", "m", x, matrix(g, "m_w", 8, 6));
    kit_output(g, KIT(g, "Softmax", "s", m));
    qk_output(g, KIT(g, "MatMul", "n", m, matrix(g, "n_w", 6, 4)));
    ptq_graph *q = rewritten(g, "portable");
    ck_assert_str_eq(ptq_graph_find(q, "s")->producer->in[0]->name, "m");
    const ptq_node *dq = ptq_graph_find(q, "n")->producer->in[0]->producer;
    ck_assert_str_eq(dq->op, "DequantizeLinear");
    ck_assert_str_eq(dq->in[0]->producer->in[0]->name, "m");
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

static ptq_value *with_ints(ptq_graph *g, ptq_value *v, const char *name, const int64_t *ints, size_t n)
{
    ck_assert_ok(ptq_attr_set_ints(g, v->producer, name, ints, n));
    return v;
}

/* Every operator that has a form on integers, and a Transpose and a MaxPool between equal scales. */
static ptq_graph *every_form(void)
{
    static const float bias[8] = {0.5f, -0.25f, 1.0f, -2.0f, 0.0f, 0.125f, 3.0f, -0.75f};
    static const int64_t two[] = {2, 2};
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 8, 8});
    ptq_value *a_b = kit_const(g, "a_b", PTQ_DT_F32, 1, (int64_t[]){8}, bias);
    ptq_value *g_b = kit_const(g, "g_b", PTQ_DT_F32, 1, (int64_t[]){8}, bias);
    ptq_value *a = KIT(g, "Conv", "a", x, qk_weight(g, "a_w", 8, 4, 1), a_b);
    ptq_value *leaky = KIT(g, "LeakyRelu", "leaky", a);
    ptq_value *gate = KIT(g, "Sigmoid", "gate", qk_conv(g, "b", leaky, 8, 8, 1));
    ptq_value *cat = KIT(g, "Concat", "cat", KIT(g, "Mul", "mul", leaky, gate), leaky);
    ck_assert_ok(ptq_attr_set_int(g, cat->producer, "axis", 1));
    ptq_value *avg = KIT(g, "AveragePool", "avg", cat);
    with_ints(g, avg, "kernel_shape", two, 2);
    ptq_value *max = KIT(g, "MaxPool", "max", avg);
    with_ints(g, max, "kernel_shape", two, 2);
    ptq_value *sum = KIT(g, "Add", "sum", max, qk_conv(g, "c", max, 16, 16, 1));
    ptq_value *flat = KIT(g, "Flatten", "flat", KIT(g, "GlobalAveragePool", "mean", sum));
    ptq_value *gemm = KIT(g, "Gemm", "gemm", flat, matrix(g, "g_w", 16, 8), g_b);
    kit_output(g, KIT(g, "MatMul", "y", gemm, matrix(g, "y_w", 8, 6)));
    ptq_value *tr = with_ints(g, KIT(g, "Transpose", "tr", sum), "perm", (int64_t[]){0, 2, 3, 1}, 4);
    ptq_value *mm = KIT(g, "MatMul", "mm", tr, matrix(g, "m_w", 16, 10));
    qk_output(g, KIT(g, "MatMul", "z", mm, matrix(g, "z_w", 10, 12)));
    return g;
}

static ptq_graph *qoperator(const ptq_graph *q)
{
    ptq_graph *o;
    ck_assert_ok(ptq_graph_clone(q, &o));
    ck_assert_ok(ptq_rewrite_qoperator(o));
    ck_assert_ok(ptq_graph_verify(o));
    ck_assert_ok(ptq_infer_graph(o));
    return o;
}

/* The QDQ and the QOperator form become the same integer steps: not one value may differ. */
START_TEST(rewrite__forms_agree)
{
    enum { N = 3, X = 4 * 8 * 8, Y = 6 + 12 * 36 };
    static const char *const forms[] = {"QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QLinearMul",
                                        "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSigmoid",
                                        "QLinearLeakyRelu", "QLinearConcat"};
    static float x[N * X], a[N * Y], b[N * Y];
    const ptq_rewrite_options opt = {.weight_dtype = _i & 1 ? PTQ_DT_U8 : PTQ_DT_S8, .per_channel = _i & 2};
    const ptq_lower_options lower = {.integer = true, .nhwc = _i & 4, .fuse = _i & 4};
    const int64_t dims[4] = {N, 4, 8, 8};
    ptq_graph *g = every_form();
    ptq_graph *q = rewritten_with(g, "ort", NULL, &opt), *o = qoperator(q);
    for (size_t i = 0; i < PTQ_COUNT(forms); i++)
        ck_assert_msg(count_op(o, forms[i]) > 0, "no %s", forms[i]);
    for (uint64_t seed = 0; seed < 10; seed++) {
        draw(x, N * X, 8.0f, seed);
        run(q, &lower, x, dims, a, N * Y);
        run(o, &lower, x, dims, b, N * Y);
        ck_assert_mem_eq(a, b, sizeof a);
        ck_assert(a[0] != a[6] && isfinite(a[0])); /* samples differ */
    }
    ptq_graph_free(o);
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

/* A Relu vanishes only where the zero point is the lowest code. */
START_TEST(rewrite__forms_agree_around_relu)
{
    enum { N = 7, X = 3 * 6 * 6 };
    static float x[N * X], a[N * 4], b[N * 4];
    const int64_t dims[4] = {N, 3, 6, 6};
    const ptq_rewrite_options opt = {.weight_dtype = PTQ_DT_S8, .per_channel = true};
    ptq_graph *g = qk_residual();
    ptq_graph *q = rewritten_with(g, "ort", _i ? &u8_params : &relu_params, &opt), *o = qoperator(q);
    ck_assert_int_eq(count_op(o, "Relu"), _i ? 2 : 0);
    ck_assert_int_eq(count_op(o, "Conv") + count_op(o, "Add"), _i ? 2 : 0);
    ck_assert_int_eq(count_op(o, "QLinearConv"), _i ? 3 : 4);
    for (uint64_t seed = 0; seed < 10; seed++) {
        draw(x, N * X, 8.0f, seed);
        run(q, &integer, x, dims, a, N * 4);
        run(o, &integer, x, dims, b, N * 4);
        ck_assert_mem_eq(a, b, sizeof a);
    }
    ptq_graph_free(o);
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

/* Weights in steps of 1/128 with 127/128 in every channel: their scales are 1/128. */
static void make_dyadic(ptq_graph *g, const char *name)
{
    const ptq_tensor *t = ptq_graph_find(g, name)->constant;
    float *w = t->data;
    int64_t n = ptq_tensor_elements(t), per = n / t->dims[0];
    for (int64_t i = 0; i < n; i++)
        w[i] = i % per == 0 ? 127.0f / 128 : rintf(w[i] * 254) / 128;
}

/* Where all scales are powers of two, float sums are exact, so that the simulation in float must
 * give what the integers give, ties included. (The zero point is even: QLinearAdd rounds behind
 * it, Q before it, which is the same for half-way values then.) */
START_TEST(rewrite__simulation_agrees)
{
    enum { N = 7, X = 3 * 6 * 6 };
    static const char *const weights[] = {"a_w", "b_w", "b2_w", "c_w"};
    static float x[N * X], a[N * 4], b[N * 4];
    const int64_t dims[4] = {N, 3, 6, 6};
    ptq_graph *g = qk_residual();
    for (size_t i = 0; i < PTQ_COUNT(weights); i++)
        make_dyadic(g, weights[i]);
    ptq_graph *q = rewritten(g, _i ? "ort" : "portable");
    for (uint64_t seed = 0; seed < 10; seed++) {
        draw(x, N * X, 8.0f, seed);
        run(q, &integer, x, dims, a, N * 4);
        run(q, &simulation, x, dims, b, N * 4);
        ck_assert_mem_eq(a, b, sizeof a);
    }
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

/* ---- logarithmic codes ---- */

/* The levels of one channel: 2^(j/steps) with j from lowest (lowest_neg for negative weights) to
 * full, times scale; weights below zero_below become 0 (doc/numerics.md). */
typedef struct log_levels {
    int steps;
    double scale, full, lowest, lowest_neg, zero_below, zero_below_neg;
} log_levels;

static log_levels levels_of(const ptq_graph *q, int steps, bool table, int64_t c, double amax)
{
    if (!table) { /* codes +-1 .. +-64 and the scale that the search chose */
        const ptq_tensor *s = ptq_graph_find(q, "w_scale")->constant;
        const float *scale = s->data;
        return (log_levels){1, (double)scale[s->rank ? c : 0], 6, 0, 0, sqrt(0.5), sqrt(0.5)};
    }
    double full = rint(steps * log2(amax));
    return (log_levels){steps, 1, full, full - 127, full - 126, exp2((full - 127) / steps) / 2,
                        exp2((full - 126) / steps) / 2};
}

enum { DECODED_ZERO, DECODED_UNDER, DECODED_NEAR, DECODED_OVER };

/* Asserts that x, of these levels, was decoded to y; returns by which part of the rule. */
static int check_decoded(const log_levels *l, float x, float y)
{
    const double r = fabs((double)x) / l->scale, d = fabs((double)y) / l->scale;
    const double lowest = x < 0 ? l->lowest_neg : l->lowest;
    if (r < (x < 0 ? l->zero_below_neg : l->zero_below)) {
        ck_assert(y == 0.0f);
        return DECODED_ZERO;
    }
    ck_assert_msg((x < 0) == (y < 0) && d > 0, "%a became %a", (double)x, (double)y);
    const double j = l->steps * log2(d), off = j - l->steps * log2(r), eps = 1e-5;
    ck_assert_msg(fabs(j - rint(j)) < eps && j > lowest - eps && j < l->full + eps,
                  "%a became %a, which is no level", (double)x, (double)y);
    if (fabs(off) <= 0.5 + eps)
        return DECODED_NEAR; /* within a factor of 2^(1 / (2 steps)) */
    ck_assert_msg(off > 0 ? j < lowest + eps : j > l->full - eps, "%a became %a", (double)x, (double)y);
    return off > 0 ? DECODED_UNDER : DECODED_OVER;
}

/* Weights over 78 octaves, most of them in the upper 8, and zeros of both signs: decoded by the
 * engine from the written graph; and the convolution with them against sums in double. */
START_TEST(rewrite__log_weights)
{
    enum { CO = 4, CI = 64, W = CO * CI, Y = CO * 4 };
    static const struct {
        const char *algo;
        int steps;
        bool table;
        int at_least[4]; /* weights that must meet each part of the rule, per channel */
    } rows[] = {{"log2", 1, false, {70, 0, 100, 1}}, {"log2x2", 2, true, {25, 2, 200, 0}},
                {"log2x16", 16, true, {60, 1, 100, 0}}};
    static float w[W], x[CI * 4], y[Y + W];
    const bool per_channel = _i & 1;
    const int row = _i / 2;
    draw(w, W, 2.8f, 5);
    for (int i = 0; i < W; i++) {
        /* So many ones that log2 rather clips the largest; one just below log2x2's levels. */
        float size = i % CI == 1 ? 1.4768f : i % CI == 2 ? 0x0.bp-63f : i & 1 ? 1.0f : 0.0f;
        w[i] = size > 0 || i % 16 == 0 ? copysignf(size, w[i])
                                       : ldexpf(w[i], -(i % 4 ? i / 4 % 8 : i % CI * 5 / 4));
        w[i] *= (float[]){1.0f, 1.3f, 1.6f, 2.1f}[i / CI];
    }
    draw(x, CI * 4, 12.0f, 6);
    ptq_graph *g = kit_graph(13);
    ptq_value *in = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, CI, 2, 2});
    ptq_value *wv = kit_const(g, "w", PTQ_DT_F32, 4, (int64_t[]){CO, CI, 1, 1}, w);
    qk_output(g, KIT(g, "Identity", "y", KIT(g, "Conv", "c", in, wv)));
    ptq_graph *q = rewritten_with(g, "portable", &s8_params,
                                  &(ptq_rewrite_options){.weight = rows[row].algo, .weight_dtype = PTQ_DT_S8,
                                                         .per_channel = per_channel});
    ck_assert_int_eq(count_op(q, "Gather"), rows[row].table);
    qk_output(q, ptq_graph_find(q, "c")->producer->in[1]);
    run(q, &integer, x, (int64_t[]){1, CI, 2, 2}, y, PTQ_COUNT(y));

    const float *decoded = y + Y;
    int seen[4] = {0};
    for (int c = 0; c < CO; c++) {
        const float *from = per_channel ? w + c * CI : w;
        double amax = 0;
        for (int i = 0; i < (per_channel ? CI : W); i++)
            amax = fmax(amax, fabs((double)from[i]));
        const log_levels l = levels_of(q, rows[row].steps, rows[row].table, c, amax);
        for (int i = c * CI; i < (c + 1) * CI; i++)
            seen[check_decoded(&l, w[i], decoded[i])]++;
        for (int p = 0; p < 4; p++) {
            double sum = 0, size = 0;
            for (int k = 0; k < CI; k++) {
                double xq = fmax(-128, fmin(127, rint((double)x[k * 4 + p] / 0.0625))) * 0.0625;
                sum += xq * (double)decoded[c * CI + k];
                size += fabs(xq * (double)decoded[c * CI + k]);
            }
            /* Half a step, and the roundings of CI products and sums in float. */
            double want = fmax(-128 * 0.0625, fmin(127 * 0.0625, sum));
            ck_assert_double_eq_tol((double)y[c * 4 + p], want, 0.0625 / 2 + size * CI * 0x1p-23);
        }
    }
    for (int i = 0; i < 4 && per_channel; i++)
        ck_assert_msg(seen[i] >= rows[row].at_least[i], "%s: %d weights by part %d", rows[row].algo, seen[i], i);
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

/* A weight of one: the codes pass through the convolution as they are. */
START_TEST(rewrite__log_activations_are_powers_of_two)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 1, 1, 8});
    float one = 1.0f;
    ptq_value *w = kit_const(g, "w", PTQ_DT_F32, 4, (int64_t[]){1, 1, 1, 1}, &one);
    qk_output(g, KIT(g, "Identity", "y", KIT(g, "Conv", "c", x, w)));
    ptq_graph *q = rewritten_with(g, "portable", &s8_params,
                                  &(ptq_rewrite_options){.weight = "symmetric", .weight_dtype = PTQ_DT_S8,
                                                         .per_channel = true, .act_log2 = true});
    static const float in[8] = {0.0f, 0.0625f, 0.2f, -0.9f, 1.0f, 3.1f, -3.9f, 100.0f};
    /* Codes of 1/16: 0, 1, 3, -14, 16, 50, -62, 127; of these the nearest power in the log
     * domain, 64 at most. */
    static const float level[8] = {0, 1, 4, -16, 16, 64, -64, 64};
    float y[8];
    run(q, &integer, in, (int64_t[]){1, 1, 1, 8}, y, 8);
    for (int i = 0; i < 8; i++)
        ck_assert_float_eq(y[i], level[i] * 0.0625f);
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

START_TEST(rewrite__shared_weight_and_captures)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 3, 3});
    ptq_value *w = qk_weight(g, "w", 4, 4, 1);
    ptq_value *a = KIT(g, "Conv", "a", x, w);
    qk_output(g, KIT(g, "Conv", "b", a, w));
    ptq_graph *q = rewritten(g, "portable");
    ptq_node *na = ptq_graph_find(q, "a")->producer, *nb = ptq_graph_find(q, "b")->producer;
    ck_assert_ptr_eq(na->in[1], nb->in[1]); /* one copy of the codes */
    ck_assert_ptr_nonnull(ptq_graph_find(q, "w_quantized"));
    ck_assert_ptr_null(ptq_graph_find(q, "w_quantized_1"));
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

/* What has no 8-bit kernel elsewhere keeps its float form between DQ and Q. */
START_TEST(rewrite__qoperator_leaves_alone)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 3, 6, 6});
    ptq_value *d = KIT(g, "DepthToSpace", "d", qk_conv(g, "a", x, 4, 3, 1));
    ck_assert_ok(ptq_attr_set_int(g, d->producer, "blocksize", 2));
    qk_output(g, qk_conv(g, "c", d, 4, 1, 1));
    ptq_graph *q = rewritten(g, "ort");
    ck_assert_ok(ptq_rewrite_qoperator(q));
    PTQ_GRAPH_EACH_NODE (q, n)
        if (strcmp(n->op, "DepthToSpace") == 0)
            ck_assert_int_eq(n->in[0]->dtype, PTQ_DT_F32);
    ck_assert_int_eq(count_op(q, "QLinearConv"), 1); /* c ends in a float output */
    ptq_graph_free(q);
    ptq_graph_free(g);
    g = kit_graph(13);
    float w[12] = {0};
    x = kit_input(g, "x", PTQ_DT_F32, 3, (int64_t[]){-1, 3, 6});
    ptq_value *line = KIT(g, "Conv", "a", x, kit_const(g, "w", PTQ_DT_F32, 3, (int64_t[]){4, 3, 1}, w));
    qk_output(g, KIT(g, "Abs", "y", KIT(g, "Relu", "r", line)));
    q = rewritten(g, "ort");
    ck_assert_ok(ptq_rewrite_qoperator(q));
    ck_assert_int_eq(count_op(q, "QLinearConv"), 0);
    ck_assert_int_eq(count_op(q, "Conv"), 1);
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quant_rewrite");
    TCase *t = tcase_create("rewrite");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, rewrite__one_conv_from_the_definition, 0, 2);
    tcase_add_loop_test(t, rewrite__linear_weights, 0, 4);
    tcase_add_test(t, rewrite__float_reader_of_a_matmul);
    tcase_add_loop_test(t, rewrite__forms_agree, 0, 8);
    tcase_add_loop_test(t, rewrite__forms_agree_around_relu, 0, 2);
    tcase_add_loop_test(t, rewrite__simulation_agrees, 0, 2);
    tcase_add_loop_test(t, rewrite__log_weights, 0, 6);
    tcase_add_test(t, rewrite__log_activations_are_powers_of_two);
    tcase_add_test(t, rewrite__shared_weight_and_captures);
    tcase_add_test(t, rewrite__qoperator_leaves_alone);
    suite_add_tcase(s, t);
    return unit_run(s);
}
