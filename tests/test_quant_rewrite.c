/* SPDX-License-Identifier: Apache-2.0 */
/* Placement and rewriting on small graphs. What a rewritten graph computes is held against a
 * plain computation in this file. */
#include "tests/graph_kit.h"

#include <math.h>

#include "lib/core/qmath.h"
#include "lib/exec/session.h"
#include "lib/quant/rewrite.h"

static ptq_value *weight(ptq_graph *g, const char *name, int64_t co, int64_t ci, int64_t k)
{
    float w[4096];
    ptq_rng r;
    ptq_rng_seed(&r, (uint64_t)co * 31 + (uint64_t)ci);
    for (int64_t i = 0; i < co * ci * k * k; i++)
        w[i] = ptq_rng_uniform(&r) - 0.5f;
    return kit_const(g, name, PTQ_DT_F32, 4, (int64_t[]){co, ci, k, k}, w);
}

static ptq_value *conv(ptq_graph *g, const char *name, ptq_value *x, int64_t co, int64_t ci, int64_t k)
{
    char wname[64];
    snprintf(wname, sizeof wname, "%s_w", name);
    return KIT(g, "Conv", name, x, weight(g, wname, co, ci, k));
}

static void output(ptq_graph *g, ptq_value *v)
{
    ck_assert_ok(ptq_graph_add_output(g, v));
    ck_assert_ok(ptq_infer_graph(g));
}

static bool has_tensor(const ptq_placement *p, const char *name)
{
    const ptq_value *v = ptq_graph_find(p->graph, name);
    return v && p->tensor_of[v->id] >= 0;
}

static bool quantized(const ptq_placement *p, const char *out)
{
    return p->nodes[ptq_graph_find(p->graph, out)->producer->id].quantized;
}

static ptq_placement *place(const ptq_graph *g, const char *target, const ptq_scope *scope)
{
    ptq_placement *p;
    ck_assert_ok(ptq_place(g, ptq_target_find(target), scope, &p));
    return p;
}

/* x -> Conv a -> Relu -> Conv b, Conv s of the same Relu; b + s -> Relu -> pool -> Flatten */
static ptq_graph *residual_graph(void)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 3, 6, 6});
    ptq_value *r = KIT(g, "Relu", "ar", conv(g, "a", x, 4, 3, 1));
    ptq_value *b = conv(g, "b", r, 4, 4, 1);
    ptq_value *b2 = conv(g, "b2", b, 4, 4, 1);
    ptq_value *sum = KIT(g, "Add", "sum", b2, r);
    ptq_value *y = KIT(g, "Relu", "y", sum);
    ptq_value *c = conv(g, "c", y, 4, 4, 1);
    output(g, KIT(g, "GlobalAveragePool", "pool", c));
    return g;
}

START_TEST(place__residual)
{
    ptq_graph *g = residual_graph();
    ptq_placement *p = place(g, "portable", NULL);
    static const char *const in8[] = {"x", "ar", "b", "b2", "y", "c"};
    for (size_t i = 0; i < PTQ_COUNT(in8); i++)
        ck_assert_msg(has_tensor(p, in8[i]), "%s", in8[i]);
    ck_assert(!has_tensor(p, "a"));   /* Relu is absorbed behind it */
    ck_assert(!has_tensor(p, "sum"));
    ck_assert(!has_tensor(p, "pool")); /* a graph output that nobody reads in 8 bits */
    ck_assert(quantized(p, "sum"));
    ptq_placement_free(p);
    /* TensorRT: the convolution branch joins in float, the skip input is quantized. */
    p = place(g, "tensorrt", NULL);
    ck_assert(!has_tensor(p, "b2"));
    ck_assert(has_tensor(p, "ar"));
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

START_TEST(place__float_stream_of_a_transformer)
{
    ptq_graph *g = kit_graph(13);
    float w[64] = {0}, b[8] = {0};
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 3, (int64_t[]){-1, 4, 8});
    ptq_value *wv = kit_const(g, "w", PTQ_DT_F32, 2, (int64_t[]){8, 8}, w);
    ptq_value *bv = kit_const(g, "b", PTQ_DT_F32, 1, (int64_t[]){8}, b);
    ptq_value *n = KIT(g, "Sqrt", "norm", x);
    ptq_value *m = KIT(g, "Add", "bias", KIT(g, "MatMul", "mm", n, wv), bv);
    ptq_value *s = KIT(g, "Add", "stream", m, x);
    ptq_value *t = KIT(g, "Transpose", "tr", s);
    ck_assert_ok(ptq_attr_set_ints(g, t->producer, "perm", (int64_t[]){0, 2, 1}, 3));
    output(g, KIT(g, "MatMul", "mm2", s, t));
    ptq_placement *p = place(g, "portable", NULL);
    ck_assert(has_tensor(p, "norm"));
    ck_assert(!has_tensor(p, "mm"));
    ck_assert(!quantized(p, "bias"));
    ck_assert(!quantized(p, "stream"));
    ck_assert(has_tensor(p, "stream"));
    ck_assert(has_tensor(p, "tr"));
    int i = p->tensor_of[ptq_graph_find(g, "stream")->id];
    ck_assert(p->tensors[i].float_source);
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

START_TEST(place__silu_is_one_function)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 3, 6, 6});
    ptq_value *a = conv(g, "a", x, 4, 3, 1);
    ptq_value *m = KIT(g, "Mul", "silu", a, KIT(g, "Sigmoid", "sig", a));
    output(g, conv(g, "c", m, 4, 4, 1));
    ptq_placement *p = place(g, "ort", NULL);
    ck_assert(has_tensor(p, "a"));
    ck_assert(!has_tensor(p, "sig"));
    ck_assert(has_tensor(p, "silu"));
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

START_TEST(place__scope)
{
    ptq_graph *g = residual_graph();
    static const char *const none[] = {"nothing*"}, *const b[] = {"b"}, *const ops[] = {"Add"}, *const bad[] = {"Ad"};
    ptq_placement *p;
    const ptq_target *t = ptq_target_find("portable");
    ck_assert_fails(ptq_place(g, t, &(ptq_scope){.exclude = none, .nexclude = 1}, &p), PTQ_ERR_ARG);
    ck_assert_fails(ptq_place(g, t, &(ptq_scope){.exclude_ops = bad, .nexclude_ops = 1}, &p), PTQ_ERR_ARG);
    ck_assert_says("'Add'"); /* did you mean */
    p = place(g, "portable", &(ptq_scope){.only = b, .nonly = 1});
    ck_assert(quantized(p, "b"));
    ck_assert(!quantized(p, "a"));
    ck_assert(has_tensor(p, "ar"));
    ck_assert(!has_tensor(p, "x"));
    ptq_placement_free(p);
    p = place(g, "portable", &(ptq_scope){.exclude_ops = ops, .nexclude_ops = 1});
    ck_assert(!quantized(p, "sum"));
    ck_assert(quantized(p, "b"));
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

START_TEST(place__movers_share)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 6, 6});
    ptq_value *t = KIT(g, "Transpose", "t", conv(g, "a", x, 4, 4, 1));
    ck_assert_ok(ptq_attr_set_ints(g, t->producer, "perm", (int64_t[]){0, 1, 3, 2}, 4));
    ptq_value *u = KIT(g, "Transpose", "u", t);
    ck_assert_ok(ptq_attr_set_ints(g, u->producer, "perm", (int64_t[]){0, 1, 3, 2}, 4));
    output(g, conv(g, "c", u, 4, 4, 1));
    ptq_placement *p = place(g, "portable", NULL);
    int root = p->tensor_of[ptq_graph_find(g, "a")->id];
    ck_assert_int_ge(root, 0);
    ck_assert_int_eq(p->tensors[p->tensor_of[ptq_graph_find(g, "t")->id]].root, root);
    ck_assert_int_eq(p->tensors[p->tensor_of[ptq_graph_find(g, "u")->id]].root, root);
    ptq_placement_free(p);
    ptq_graph_free(g);
}
END_TEST

/* ---- rewriting ---- */

static ptq_graph *rewritten(const ptq_graph *g, const char *target, const char *weight_algo, bool act_log2)
{
    ptq_placement *p = place(g, target, NULL);
    ptq_act_params params[32];
    ptq_graph *q;
    bool u8 = strcmp(target, "ort") == 0;
    for (int i = 0; i < p->ntensors; i++)
        params[i] = (ptq_act_params){.dtype = u8 ? PTQ_DT_U8 : PTQ_DT_S8, .scale = 0.0625f, .zp = u8 ? 100 : 0,
                                     .lo = -8.0, .hi = 8.0, .method = "test"};
    ptq_rewrite_options o = {.weight = weight_algo, .weight_dtype = PTQ_DT_S8, .per_channel = true, .act_log2 = act_log2};
    ck_assert_ok(ptq_graph_clone(g, &q));
    ck_assert_ok(ptq_rewrite_qdq(q, p, params, &o, NULL));
    ck_assert_ok(ptq_graph_verify(q));
    ck_assert_ok(ptq_infer_graph(q));
    ptq_placement_free(p);
    return q;
}

static void run(const ptq_graph *g, bool integer, const float *x, const int64_t dims[4], float *y, size_t n)
{
    ptq_session *s;
    ptq_session_options o = {.lower = {.integer = integer, .nhwc = integer}};
    ptq_tensor in = {.dtype = PTQ_DT_F32, .rank = 4}, out;
    memcpy(in.dims, dims, 4 * sizeof *dims);
    ck_assert(ptq_tensor_nbytes(PTQ_DT_F32, 4, dims, &in.nbytes));
    memcpy(&in.data, &x, sizeof x);
    ck_assert_ok(ptq_session_new(g, &o, &s));
    ck_assert_ok(ptq_session_run(s, &in, 1, &out, 1));
    ck_assert_uint_eq((size_t)ptq_tensor_elements(&out), n);
    memcpy(y, out.data, n * sizeof *y);
    ptq_session_free(s);
}

static int count_op(const ptq_graph *g, const char *op)
{
    int n = 0;
    PTQ_GRAPH_EACH_NODE (g, node)
        n += strcmp(node->op, op) == 0;
    return n;
}

/* One 1x1 convolution computed from the definition: quantize, integer sum, dequantize. */
START_TEST(rewrite__one_conv_from_the_definition)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 3, 2, 2});
    ptq_value *a = conv(g, "a", x, 5, 3, 1);
    output(g, KIT(g, "Sqrt", "y", KIT(g, "Abs", "abs", a)));
    ptq_graph *q = rewritten(g, "portable", "symmetric", false);
    float in[12], y[20];
    ptq_rng r;
    ptq_rng_seed(&r, 7);
    for (int i = 0; i < 12; i++)
        in[i] = 12.0f * (ptq_rng_uniform(&r) - 0.5f);
    run(q, true, in, (int64_t[]){1, 3, 2, 2}, y, 20);
    const float *w = ptq_graph_find(g, "a_w")->constant->data;
    for (int co = 0; co < 5; co++) {
        float amax = 0.0f;
        for (int k = 0; k < 3; k++)
            amax = fmaxf(amax, fabsf(w[co * 3 + k]));
        float sw = amax / 127.0f;
        for (int p = 0; p < 4; p++) {
            int32_t acc = 0;
            for (int k = 0; k < 3; k++)
                acc += (int32_t)nearbyintf(w[co * 3 + k] / sw) *
                       (int32_t)fmaxf(-128.0f, fminf(127.0f, nearbyintf(in[k * 4 + p] / 0.0625f)));
            float q8 = fmaxf(-128.0f, fminf(127.0f, nearbyintf((float)acc * (0.0625f * sw / 0.0625f))));
            ck_assert_float_eq_tol(y[co * 4 + p], sqrtf(fabsf(q8 * 0.0625f)), 1e-6f);
        }
    }
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

START_TEST(rewrite__forms_agree)
{
    ptq_graph *g = residual_graph();
    float x[3 * 36], a[4], b[4], c[4];
    ptq_rng r;
    ptq_rng_seed(&r, 3);
    for (size_t i = 0; i < PTQ_COUNT(x); i++)
        x[i] = 8.0f * (ptq_rng_uniform(&r) - 0.5f);
    ptq_graph *q = rewritten(g, "ort", "symmetric", false), *o;
    run(q, true, x, (int64_t[]){1, 3, 6, 6}, a, 4);
    ck_assert_ok(ptq_graph_clone(q, &o));
    ck_assert_ok(ptq_rewrite_qoperator(o));
    ck_assert_ok(ptq_graph_verify(o));
    ck_assert_ok(ptq_infer_graph(o));
    ck_assert_int_eq(count_op(o, "Conv") + count_op(o, "Add"), 2); /* Relu with zp 100 cannot vanish */
    ck_assert_int_ge(count_op(o, "QLinearConv"), 3);
    run(o, true, x, (int64_t[]){1, 3, 6, 6}, b, 4);
    run(q, false, x, (int64_t[]){1, 3, 6, 6}, c, 4);
    for (int i = 0; i < 4; i++) {
        ck_assert_float_eq_tol(a[i], b[i], 0.07f);
        ck_assert_float_eq_tol(a[i], c[i], 0.07f); /* the simulation may round a tie the other way */
    }
    ptq_graph_free(o);
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

/* 16 steps per octave decode to within 2^(1/32) of each weight, so the outputs are close. */
START_TEST(rewrite__log_weights)
{
    ptq_graph *g = residual_graph();
    float x[3 * 36], fp[4], y[4];
    for (size_t i = 0; i < PTQ_COUNT(x); i++)
        x[i] = (float)(i % 17) * 0.125f - 1.0f;
    run(g, false, x, (int64_t[]){1, 3, 6, 6}, fp, 4);
    static const struct {
        const char *algo;
        float tol;
        int gathers;
    } rows[] = {{"log2x16", 0.15f, 4}, {"log2x2", 0.6f, 4}, {"log2", 1.2f, 0}};
    for (size_t k = 0; k < PTQ_COUNT(rows); k++) {
        ptq_graph *q = rewritten(g, "portable", rows[k].algo, false);
        ck_assert_int_eq(count_op(q, "Gather"), rows[k].gathers);
        run(q, true, x, (int64_t[]){1, 3, 6, 6}, y, 4);
        for (int i = 0; i < 4; i++)
            ck_assert_float_eq_tol(y[i], fp[i], rows[k].tol);
        ptq_graph_free(q);
    }
    ptq_graph_free(g);
}
END_TEST

START_TEST(rewrite__log_activations_are_powers_of_two)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 1, 1, 8});
    float one = 1.0f;
    ptq_value *w = kit_const(g, "w", PTQ_DT_F32, 4, (int64_t[]){1, 1, 1, 1}, &one);
    output(g, KIT(g, "Identity", "y", KIT(g, "Conv", "c", x, w)));
    ptq_graph *q = rewritten(g, "portable", "symmetric", true);
    float in[8] = {0.0f, 0.0625f, 0.2f, -0.9f, 1.0f, 3.1f, -3.9f, 100.0f}, y[8];
    run(q, true, in, (int64_t[]){1, 1, 1, 8}, y, 8);
    for (int i = 0; i < 8; i++) {
        int e;
        ck_assert(y[i] == 0.0f || fabsf(frexpf(y[i] / 0.0625f, &e)) == 0.5f);
        ck_assert(in[i] == 0.0f || in[i] > 4.0f || fabsf(y[i] / in[i]) < 1.5f);
        ck_assert(in[i] == 0.0f || in[i] > 4.0f || fabsf(y[i] / in[i]) > 0.66f);
    }
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

START_TEST(rewrite__shared_weight_and_captures)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 3, 3});
    ptq_value *w = weight(g, "w", 4, 4, 1);
    ptq_value *a = KIT(g, "Conv", "a", x, w);
    output(g, KIT(g, "Conv", "b", a, w));
    ptq_graph *q = rewritten(g, "portable", "symmetric", false);
    ptq_node *na = ptq_graph_find(q, "a")->producer, *nb = ptq_graph_find(q, "b")->producer;
    ck_assert_ptr_eq(na->in[1], nb->in[1]); /* one copy of the codes */
    ck_assert_ptr_nonnull(ptq_graph_find(q, "w_quantized"));
    ck_assert_ptr_null(ptq_graph_find(q, "w_quantized_1"));
    ptq_graph_free(q);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quant_rewrite");
    TCase *t = tcase_create("rewrite");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, place__residual);
    tcase_add_test(t, place__float_stream_of_a_transformer);
    tcase_add_test(t, place__silu_is_one_function);
    tcase_add_test(t, place__scope);
    tcase_add_test(t, place__movers_share);
    tcase_add_test(t, rewrite__one_conv_from_the_definition);
    tcase_add_test(t, rewrite__forms_agree);
    tcase_add_test(t, rewrite__log_weights);
    tcase_add_test(t, rewrite__log_activations_are_powers_of_two);
    tcase_add_test(t, rewrite__shared_weight_and_captures);
    suite_add_tcase(s, t);
    return unit_run(s);
}
