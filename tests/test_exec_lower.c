/* SPDX-License-Identifier: Apache-2.0 */
/* The structure of programs: which steps a graph becomes, and where NHWC lies. */
#include "tests/graph_kit.h"

#include <math.h>

#include "lib/core/qmath.h"
#include "lib/exec/program.h"

static const ptq_lower_options integer = {.integer = true, .nhwc = true, .fuse = true};

/* "quantize/nhwc qconv/nhwc dequantize" */
static const char *steps_of(const ptq_program *p, char *buf, size_t n)
{
    size_t at = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < p->steps.n; i++) {
        const ptq_step *s = &p->steps.v[i];
        const char *name = strcmp(s->def->name, "float") == 0 ? s->node->op : s->def->name;
        bool nhwc = p->values.v[s->out[0]].layout == PTQ_LAYOUT_NHWC;
        at += (size_t)snprintf(buf + at, n - at, "%s%s%s", at ? " " : "", name, nhwc ? "/nhwc" : "");
    }
    return buf;
}

static ptq_program *expect(ptq_graph *g, const ptq_lower_options *opt, const char *want)
{
    char buf[1024];
    ptq_program *p;
    kit_finish(g);
    ck_assert_ok(ptq_lower(g, opt, &p));
    ck_assert_str_eq(steps_of(p, buf, sizeof buf), want);
    return p;
}

static void done(ptq_program *p, ptq_graph *g)
{
    ptq_program_free(p);
    ptq_graph_free(g);
}

/* DQ of a constant int8 weight [m,c,k,k] with values 1, 2, 3, ... */
static ptq_value *weight(ptq_graph *g, const char *name, int64_t m, int64_t c, int64_t k, float s)
{
    int8_t w[4096];
    int64_t dims[] = {m, c, k, k};
    for (int64_t i = 0; i < m * c * k * k; i++)
        w[i] = (int8_t)(i % 7 - 3);
    return kit_weight(g, name, 4, dims, w, s);
}

static ptq_value *image(ptq_graph *g)
{
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 5, 5});
    return kit_qdq(g, "x", x, 0.5f, PTQ_DT_U8, 3);
}

START_TEST(lower__convolution_chain)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = image(g);
    int32_t b[4] = {1, -2, 3, 4};
    ptq_value *bias = kit_dq(g, "b", kit_const(g, "b_q", PTQ_DT_S32, 1, (int64_t[]){4}, b), 0.125f,
                             PTQ_DT_S32, 0);
    ptq_value *c1 = KIT(g, "Conv", "c1", x, weight(g, "w1", 4, 4, 1, 0.25f), bias);
    ptq_value *r1 = kit_qdq(g, "r1", KIT(g, "Relu", "relu", c1), 0.5f, PTQ_DT_U8, 10);
    ptq_value *c2 = KIT(g, "Conv", "c2", r1, weight(g, "w2", 4, 4, 1, 0.25f));
    ptq_value *a = KIT(g, "Add", "a", kit_qdq(g, "c2", c2, 0.5f, PTQ_DT_U8, 10), r1);
    ptq_value *aq = kit_qdq(g, "a", a, 0.5f, PTQ_DT_U8, 10);
    ptq_value *gap = KIT(g, "GlobalAveragePool", "gap", aq);
    ptq_value *f = KIT(g, "Flatten", "flat", kit_qdq(g, "gap", gap, 0.5f, PTQ_DT_U8, 10));
    ptq_value *fq = kit_qdq(g, "flat", f, 0.5f, PTQ_DT_U8, 10);
    int8_t w[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    ptq_value *wg = kit_weight(g, "wg", 2, (int64_t[]){3, 4}, w, 0.5f);
    ptq_node *gemm = kit_op(g, "Gemm", "", "y", 2, (ptq_value *[]){fq, wg});
    ck_assert_ok(ptq_attr_set_int(g, gemm, "transB", 1));
    kit_output(g, kit_qdq(g, "y", gemm->out[0], 0.5f, PTQ_DT_U8, 10));
    ptq_program *p = expect(g, &integer,
                            "quantize/nhwc qconv/nhwc qconv/nhwc qglobalavgpool/nhwc "
                            "relayout qmove qgemm dequantize");
    const ptq_qlinear_params *q = p->steps.v[1].params;
    ck_assert_int_eq(q->qlo, 10); /* Relu: nothing below real 0 */
    ck_assert_int_eq(q->qhi, 255);
    ck_assert_int_eq(q->bias[1], -2);
    ck_assert_int_eq((int)q->channels, 4);
    ck_assert(q->mult[0] == (0.5f * 0.25f) / 0.5f);
    ck_assert_ptr_null(q->wzp);
    const ptq_qlinear_params *q2 = p->steps.v[2].params;
    ck_assert_int_eq(q2->qlo, 0);
    ck_assert_ptr_null(q2->bias);
    ck_assert_int_eq(q2->residual.kind, PTQ_RESIDUAL_ROUNDED);
    ck_assert_str_eq(p->steps.v[2].name, "c2");
    const ptq_qlinear_params *qg = p->steps.v[6].params;
    ck_assert(qg->trans_b && qg->channels == 3);
    ptq_program_free(p);
    p = expect(g, &(ptq_lower_options){.integer = true},
               "quantize qconv qconv qglobalavgpool qmove qgemm dequantize");
    done(p, g);
}
END_TEST

START_TEST(lower__simulation_keeps_every_node)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *c = KIT(g, "Conv", "c", image(g), weight(g, "w", 4, 4, 1, 0.25f));
    kit_output(g, kit_qdq(g, "c", c, 0.5f, PTQ_DT_U8, 10));
    /* The weight's DequantizeLinear is computed once, here. */
    done(expect(g, &(ptq_lower_options){0},
                "quantize dequantize Conv quantize dequantize"),
         g);
}
END_TEST

static bool keep_relu(void *ctx, const ptq_value *v)
{
    return strcmp(v->name, (const char *)ctx) == 0;
}

START_TEST(lower__kept_values_are_not_hidden)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *c = KIT(g, "Conv", "c", image(g), weight(g, "w", 4, 4, 1, 0.25f));
    kit_output(g, kit_qdq(g, "r", KIT(g, "Relu", "r", c), 0.5f, PTQ_DT_U8, 10));
    char name[] = "c";
    ptq_lower_options opt = integer;
    opt.keep = keep_relu;
    opt.keep_ctx = name;
    ptq_program *p = expect(g, &opt, "quantize dequantize Conv Relu quantize dequantize");
    ptq_program_free(p);
    name[0] = 'r';
    p = expect(g, &opt, "quantize dequantize Conv quantize dequantize"); /* Conv + Relu in one */
    const ptq_float_params *f = p->steps.v[2].params;
    ck_assert(f->act.on && f->act.lo == 0.0f && isinf(f->act.hi));
    done(p, g);
}
END_TEST

/* A value with a name of one letter, which is among those of ctx. */
static bool keep_one_of(void *ctx, const ptq_value *v)
{
    return strlen(v->name) == 1 && strchr((const char *)ctx, v->name[0]);
}

/* A weight that comes as float - Q - DQ. */
/* Add in float and the Relu behind it are one step; integers have no activation to fuse. */
START_TEST(lower__sum_takes_the_activation)
{
    ptq_graph *g = kit_graph(14);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 1, (int64_t[]){6});
    ptq_value *n = kit_input(g, "n", PTQ_DT_S32, 1, (int64_t[]){6});
    kit_output(g, KIT(g, "Relu", "r", KIT(g, "Add", "a", x, x)));
    kit_output(g, KIT(g, "Relu", "s", KIT(g, "Add", "b", n, n)));
    ptq_program *p = expect(g, &(ptq_lower_options){.fuse = true}, "Add Add Relu");
    const ptq_float_params *f = p->steps.v[0].params, *i = p->steps.v[1].params;
    ck_assert(f->act.on && f->act.lo == 0.0f && isinf(f->act.hi));
    ck_assert(!i->act.on);
    done(p, g);
}
END_TEST

/* A float Conv takes in the sum behind it when the other operand is there before it runs: the later of two does.
 * Not where the product is needed by itself, shapes differ, or an activation stands between. */
START_TEST(lower__sum_in_the_end_of_a_convolution)
{
    static const ptq_lower_options sums = {.fuse = true, .sums = true};
    float one[16] = {1};
    static const struct {
        const char *want;
        int form;
    } cases[] = {{"Conv", 0}, {"Conv Conv", 1}, {"Conv Add", 2}, {"Conv Add", 3}, {"Conv Add", 4}};
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        int form = cases[i].form;
        ptq_graph *g = kit_graph(14);
        ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 5, 5});
        ptq_value *w = kit_const(g, "w", PTQ_DT_F32, 4, (int64_t[]){4, 4, 1, 1}, one);
        ptq_value *other = x;
        if (form == 3)
            other = kit_input(g, "n", PTQ_DT_F32, 4, (int64_t[]){1, 4, 1, 1});
        ptq_value *a = KIT(g, "Conv", "a", x, w);
        if (form == 1)
            other = KIT(g, "Conv", "c", x, w);
        if (form == 2)
            kit_output(g, a);
        kit_output(g, KIT(g, "Relu", "r", KIT(g, "Add", "s", form == 4 ? KIT(g, "Relu", "q", a) : a, other)));
        ptq_program *p = expect(g, &sums, cases[i].want);
        const ptq_step *last = &p->steps.v[p->steps.n - 1];
        ck_assert(((const ptq_float_params *)last->params)->act.on);
        ck_assert_str_eq(p->values.v[last->out[0]].name, "r");
        if (form < 2) {
            ck_assert_int_eq(last->nin, 4);
            ck_assert_int_eq(last->in[2], -1);
            ck_assert_str_eq(p->values.v[last->in[3]].name, form ? "a" : "x");
        }
        ptq_program_free(p);
        ck_assert_ok(ptq_lower(g, &(ptq_lower_options){.fuse = true}, &p));
        ck_assert_int_eq(p->steps.n, form == 1 ? 3 : 2);
        done(p, g);
    }
}
END_TEST

/* Where the product is needed by itself, it is output 1; the sum is not made for its own sake. */
START_TEST(lower__what_is_kept_before_a_sum)
{
    static const struct {
        const char *kept, *want, *first;
    } cases[] = {{"a", "Conv", "r"}, {"s", "Conv Relu", "s"}, {"as", "Conv Relu", "s"}, {"r", "Conv", "r"}};
    float one[16] = {1};
    char kept[4];
    ptq_lower_options opt = {.fuse = true, .sums = true, .sums_apart = true, .keep = keep_one_of, .keep_ctx = kept};
    for (size_t i = 0; i <= PTQ_COUNT(cases); i++) {
        bool dead = i == PTQ_COUNT(cases);
        ptq_graph *g = kit_graph(14);
        ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 5, 5});
        ptq_value *a = KIT(g, "Conv", "a", x, kit_const(g, "w", PTQ_DT_F32, 4, (int64_t[]){4, 4, 1, 1}, one));
        ptq_value *r = KIT(g, "Relu", "r", KIT(g, "Add", "s", x, a));
        kit_output(g, dead ? a : r);
        snprintf(kept, sizeof kept, "%s", dead ? "a" : cases[i].kept);
        ptq_program *p = expect(g, &opt, dead ? "Conv" : cases[i].want);
        const ptq_step *s = &p->steps.v[0];
        ck_assert_int_eq(s->nout, !dead && strchr(kept, 'a') ? 2 : 1);
        ck_assert_int_eq(s->nin, dead ? 2 : 4);
        ck_assert_str_eq(p->values.v[s->out[0]].name, dead ? "a" : cases[i].first);
        if (s->nout > 1)
            ck_assert_str_eq(p->values.v[s->out[1]].name, "a");
        ptq_program_free(p);
        opt.sums_apart = false;
        ck_assert_ok(ptq_lower(g, &opt, &p));
        ck_assert_int_eq(p->steps.v[0].nout, 1);
        ck_assert_int_eq(p->steps.v[0].nin, dead || strchr(kept, 'a') ? 2 : 4);
        opt.sums_apart = true;
        done(p, g);
    }
}
END_TEST

START_TEST(lower__float_weight_behind_q)
{
    ptq_graph *g = kit_graph(13);
    float w[16];
    for (int i = 0; i < 16; i++)
        w[i] = 0.25f * (float)(i - 8);
    ptq_value *wf = kit_const(g, "w", PTQ_DT_F32, 4, (int64_t[]){4, 4, 1, 1}, w);
    ptq_value *c = KIT(g, "Conv", "c", image(g), kit_qdq(g, "w", wf, 0.25f, PTQ_DT_S8, 0));
    kit_output(g, kit_qdq(g, "c", c, 0.5f, PTQ_DT_U8, 10));
    ptq_program *p = expect(g, &integer, "quantize/nhwc qconv/nhwc dequantize");
    const ptq_tensor *t = p->values.v[p->steps.v[1].in[1]].constant;
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(((const int8_t *)t->data)[i], i - 8);
    done(p, g);
}
END_TEST

START_TEST(lower__without_q_behind_stays_float)
{
    ptq_graph *g = kit_graph(13);
    kit_output(g, KIT(g, "Conv", "c", image(g), weight(g, "w", 4, 4, 1, 0.25f)));
    done(expect(g, &integer, "quantize dequantize Conv"), g);
}
END_TEST

START_TEST(lower__float_bias)
{
    /* a unit of 0.125; what is no multiple of it is rounded where the output's steps are 8 times that */
    static const struct {
        float b, scale;
        int32_t q;
        const char *want;
    } rows[] = {{0.375f, 0.5f, 3, "quantize/nhwc qconv/nhwc dequantize"},
                {0.3f, 1.0f, 2, "quantize/nhwc qconv/nhwc dequantize"},
                {-0.3125f, 1.0f, -2, "quantize/nhwc qconv/nhwc dequantize"},
                {3e8f, 1.0f, 0, "quantize dequantize Conv quantize dequantize"},
                {0.3f, 0.5f, 0, "quantize dequantize Conv quantize dequantize"}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_graph *g = kit_graph(13);
        float b[4] = {rows[i].b, 0, 0, 0};
        ptq_value *bias = kit_const(g, "b", PTQ_DT_F32, 1, (int64_t[]){4}, b);
        ptq_value *c = KIT(g, "Conv", "c", image(g), weight(g, "w", 4, 4, 1, 0.25f), bias);
        kit_output(g, kit_qdq(g, "c", c, rows[i].scale, PTQ_DT_U8, 10));
        ptq_program *p = expect(g, &integer, rows[i].want);
        if (rows[i].q)
            ck_assert_int_eq(((const ptq_qlinear_params *)p->steps.v[1].params)->bias[0], rows[i].q);
        else
            ck_assert_uint_eq(p->remarks.n, 1);
        done(p, g);
    }
}
END_TEST

static ptq_value *depthwise(ptq_graph *g, const char *name, ptq_value *x)
{
    ptq_value *c = KIT(g, "Conv", name, x, weight(g, "dw", 4, 1, 1, 0.25f));
    ck_assert_ok(ptq_attr_set_int(g, c->producer, "group", 4));
    return c;
}

/* Of two products the later takes the sum in; where only the earlier can, it moves behind the other. */
START_TEST(lower__residual_goes_to_the_later_product)
{
    for (int form = 0; form < 3; form++) {
        ptq_graph *g = kit_graph(13);
        ptq_value *x = image(g);
        ptq_value *c = KIT(g, "Conv", "c", x, weight(g, "w", 4, 4, 1, 0.25f));
        ptq_value *d = form == 2 ? depthwise(g, "d", x) : KIT(g, "Conv", "d", x, weight(g, "v", 4, 4, 1, 0.25f));
        c = kit_qdq(g, "c", c, 0.5f, PTQ_DT_U8, 10);
        d = kit_qdq(g, "d", d, 0.25f, PTQ_DT_U8, 20);
        ptq_value *a = KIT(g, "Relu", "r", form == 1 ? KIT(g, "Add", "a", d, c) : KIT(g, "Add", "a", c, d));
        kit_output(g, kit_qdq(g, "a", a, 1.0f, PTQ_DT_U8, 30));
        ptq_program *p = expect(g, &integer, "quantize/nhwc qconv/nhwc qconv/nhwc dequantize");
        const ptq_step *s = &p->steps.v[2];
        const ptq_residual_params *r = &((const ptq_qlinear_params *)s->params)->residual;
        ck_assert_str_eq(s->name, form == 2 ? "c" : "d");
        ck_assert_int_eq(s->nin, 3);
        ck_assert_int_eq(s->in[2], p->steps.v[1].out[0]);
        ck_assert_int_eq(r->kind, PTQ_RESIDUAL_ROUNDED);
        ck_assert_int_eq(r->skip_first, form == 0); /* d is the product and second, or c and first */
        ck_assert_int_eq(r->skip.zp, form == 2 ? 20 : 10);
        ck_assert_int_eq(r->product.zp, form == 2 ? 10 : 20);
        ck_assert(r->sum.scale == 1.0f && r->qlo == 30 && r->qhi == 255);
        done(p, g);
    }
}
END_TEST

/* Another reader of the product, a value that is tapped, broadcasting, one channel per group. */
START_TEST(lower__sums_that_stay_apart)
{
    static const char *const want[] = {
        "quantize/nhwc qconv/nhwc dequantize qadd/nhwc dequantize",
        "quantize/nhwc qconv/nhwc qadd/nhwc dequantize",
        "quantize/nhwc quantize qconv/nhwc relayout/nhwc qadd/nhwc dequantize",
        "quantize/nhwc qconv/nhwc qadd/nhwc dequantize",
    };
    for (int form = 0; form < 4; form++) {
        ptq_graph *g = kit_graph(13);
        ptq_value *x = image(g), *skip = x;
        if (form == 2)
            skip = kit_qdq(g, "s", kit_input(g, "s", PTQ_DT_F32, 4, (int64_t[]){1, 4, 5, 5}), 0.5f, PTQ_DT_U8, 3);
        ptq_value *c = form == 3 ? depthwise(g, "c", x) : KIT(g, "Conv", "c", x, weight(g, "w", 4, 4, 1, 0.25f));
        c = kit_qdq(g, "c", c, 0.5f, PTQ_DT_U8, 10);
        kit_output(g, kit_qdq(g, "a", KIT(g, "Add", "a", c, skip), 0.5f, PTQ_DT_U8, 0));
        if (form == 0)
            kit_output(g, c);
        char kept[] = "c_q";
        ptq_lower_options opt = integer;
        if (form == 1) {
            opt.keep = keep_relu;
            opt.keep_ctx = kept;
        }
        done(expect(g, &opt, want[form]), g);
    }
}
END_TEST

/* A convolution without Q in front of the Add: the sum is rounded once. */
START_TEST(lower__residual_in_float)
{
    static const char *const want[] = {
        "quantize/nhwc qconv/nhwc dequantize",
        "quantize dequantize Conv Add quantize dequantize Relu",
        "quantize dequantize Conv Add quantize dequantize",
    };
    for (int form = 0; form < 3; form++) {
        ptq_graph *g = kit_graph(13);
        ptq_value *x = image(g);
        ptq_value *c = form == 2 ? depthwise(g, "c", x) : KIT(g, "Conv", "c", x, weight(g, "w", 4, 4, 1, 0.25f));
        ptq_value *a = KIT(g, "Relu", "r", KIT(g, "Add", "a", x, c));
        kit_output(g, kit_qdq(g, "a", a, 0.25f, PTQ_DT_S8, -5));
        if (form == 1)
            kit_output(g, KIT(g, "Relu", "other", c));
        ptq_program *p = expect(g, &integer, want[form]);
        if (form == 0) {
            const ptq_qlinear_params *q = p->steps.v[1].params;
            ck_assert_int_eq(q->residual.kind, PTQ_RESIDUAL_FLOAT);
            ck_assert(q->residual.skip.scale == 0.5f && q->residual.skip.zp == 3);
            ck_assert(q->mult[0] == 0.5f && q->qlo == -5 && q->y.zp == -5);
            ck_assert_str_eq(p->steps.v[1].name, "c");
            ck_assert_int_eq(p->steps.v[1].in[2], p->steps.v[1].in[0]);
        }
        done(p, g);
    }
}
END_TEST

/* Only where asked for: products without Q behind. */
START_TEST(lower__float_products)
{
    ptq_graph *g = kit_graph(13);
    int8_t w[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 4});
    ptq_value *y = kit_input(g, "y", PTQ_DT_F32, 2, (int64_t[]){2, 3});
    ptq_value *wd = kit_weight(g, "w", 2, (int64_t[]){4, 2}, w, 0.5f);
    ptq_value *a = KIT(g, "MatMul", "a", kit_qdq(g, "x", x, 0.25f, PTQ_DT_U8, 3), wd);
    kit_output(g, a);
    ptq_value *aq = kit_qdq(g, "a", a, 0.5f, PTQ_DT_U8, 3);
    ptq_value *yq = kit_qdq(g, "y", y, 0.5f, PTQ_DT_U8, 3);
    kit_output(g, KIT(g, "MatMul", "b", aq, yq));
    ptq_program *p = expect(g, &integer, "quantize dequantize MatMul quantize dequantize quantize "
                                         "dequantize MatMul");
    ptq_program_free(p);
    ptq_lower_options opt = integer;
    opt.float_out = true;
    p = expect(g, &opt, "quantize qgemm quantize quantize qmatmul");
    const ptq_qlinear_params *q = p->steps.v[1].params, *m = p->steps.v[4].params;
    ck_assert(q->float_out && q->mult[0] == 0.125f);
    ck_assert(m->float_out && m->mult[0] == 0.25f && m->wzp[0] == 3);
    ck_assert_int_eq(p->values.v[p->steps.v[1].out[0]].dtype, PTQ_DT_F32);
    done(p, g);
}
END_TEST

/* K just below and just above what an int32 sum can hold: 255 * 127 * K; and far above, with
 * weights so small that the sum still fits. */
START_TEST(lower__accumulator_bound)
{
    enum { LIMIT = INT32_MAX / (255 * 127) };
    static const struct {
        int64_t k;
        int value;
        bool over;
    } rows[] = {{LIMIT, 127, false}, {LIMIT + 1, 127, true}, {10 * LIMIT, 12, false}, {10 * LIMIT, 13, true}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_graph *g = kit_graph(13);
        const int64_t k = rows[i].k;
        int8_t *w = malloc((size_t)k);
        memset(w, rows[i].value, (size_t)k);
        ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, k});
        ptq_value *wd = kit_weight(g, "w", 2, (int64_t[]){k, 1}, w, 1.0f);
        ptq_value *m = KIT(g, "MatMul", "m", kit_qdq(g, "x", x, 1.0f, PTQ_DT_U8, 0), wd);
        kit_output(g, kit_qdq(g, "m", m, 1.0f, PTQ_DT_U8, 0));
        done(expect(g, &integer,
                    rows[i].over ? "quantize dequantize MatMul quantize dequantize"
                         : "quantize qgemm dequantize"),
             g);
        free(w);
    }
}
END_TEST

/* Two channels of which one alone is too large, in either order of the weight; and a bias that
 * takes the last of the room. */
START_TEST(lower__accumulator_bound_of_each_channel)
{
    enum { LIMIT = INT32_MAX / (255 * 127), REST = INT32_MAX % (255 * 127) };
    static const struct {
        int64_t k;
        int trans_b;
        int32_t bias;
        bool over;
    } rows[] = {{LIMIT, 0, REST, false},  {LIMIT, 1, REST, false},     {LIMIT, 0, REST + 1, true},
                {LIMIT, 1, -REST, false}, {LIMIT, 1, -REST - 1, true}, {LIMIT + 1, 0, 0, true},
                {LIMIT + 1, 1, 0, true}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        const int64_t k = rows[i].k;
        const int32_t bias[2] = {0, rows[i].bias};
        int8_t *w = ptq_calloc(2 * (size_t)k, 1);
        for (int64_t e = 0; e < k; e++)
            w[rows[i].trans_b ? k + e : 2 * e + 1] = 127; /* channel 1; channel 0 is zero */
        ptq_graph *g = kit_graph(13);
        ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, k});
        ptq_value *wd = kit_weight(g, "w", 2, rows[i].trans_b ? (int64_t[]){2, k} : (int64_t[]){k, 2}, w, 1.0f);
        ptq_value *b = kit_dq(g, "b", kit_const(g, "b_q", PTQ_DT_S32, 1, (int64_t[]){2}, bias), 1.0f,
                              PTQ_DT_S32, 0);
        ptq_value *m = KIT(g, "Gemm", "m", kit_qdq(g, "x", x, 1.0f, PTQ_DT_U8, 0), wd, b);
        ck_assert_ok(ptq_attr_set_int(g, m->producer, "transB", rows[i].trans_b));
        kit_output(g, kit_qdq(g, "m", m, 1.0f, PTQ_DT_U8, 0));
        done(expect(g, &integer,
                    rows[i].over ? "quantize dequantize Gemm quantize dequantize" : "quantize qgemm dequantize"),
             g);
        free(w);
    }
}
END_TEST

/* x * Sigmoid(x) between one DQ and one Q is a table; each code by hand. */
START_TEST(lower__silu_becomes_a_table)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 6});
    ptq_value *d = kit_qdq(g, "x", x, 0.05f, PTQ_DT_S8, -20);
    ptq_value *y = KIT(g, "Mul", "y", d, KIT(g, "Sigmoid", "s", d));
    kit_output(g, kit_qdq(g, "y", y, 0.04f, PTQ_DT_S8, -100));
    ptq_program *p = expect(g, &integer, "quantize qlut dequantize");
    const ptq_qlut_params *t = p->steps.v[1].params;
    for (int q = -128; q < 128; q++) {
        double r = 0.05 * (q + 20), want = r / (1.0 + exp(-r)) / 0.04 - 100.0;
        want = want < -128 ? -128 : want > 127 ? 127 : want;
        ck_assert_double_le(fabs((double)(int8_t)t->table[(uint8_t)q] - want), 0.501);
    }
    done(p, g);
}
END_TEST

START_TEST(lower__regions_that_are_no_tables)
{
    /* a float reader inside, and a vector operand */
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 2});
    ptq_value *d = kit_qdq(g, "x", x, 0.05f, PTQ_DT_S8, 0);
    ptq_value *s = KIT(g, "Sigmoid", "s", d);
    kit_output(g, kit_qdq(g, "y", KIT(g, "Mul", "y", d, s), 0.04f, PTQ_DT_S8, 0));
    kit_output(g, s);
    done(expect(g, &integer, "quantize dequantize Sigmoid Mul quantize dequantize"), g);

    g = kit_graph(13);
    float two[2] = {1, 2};
    x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 2});
    d = kit_qdq(g, "x", x, 0.05f, PTQ_DT_S8, 0);
    ptq_value *v = kit_const(g, "v", PTQ_DT_F32, 1, (int64_t[]){2}, two);
    kit_output(g, kit_qdq(g, "y", KIT(g, "Mul", "y", d, v), 0.04f, PTQ_DT_S8, 0));
    done(expect(g, &integer, "quantize dequantize Mul quantize dequantize"), g);
}
END_TEST

START_TEST(lower__movers_and_pools)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = image(g);
    ptq_node *mp = kit_op(g, "MaxPool", "", "mp", 1, &x);
    ck_assert_ok(ptq_attr_set_ints(g, mp, "kernel_shape", (int64_t[]){2, 2}, 2));
    ptq_value *m = kit_qdq(g, "mp", mp->out[0], 0.5f, PTQ_DT_U8, 3);
    ptq_value *t = kit_qdq(g, "t", KIT(g, "Transpose", "t", m), 0.5f, PTQ_DT_U8, 3);
    /* other parameters behind: not the same codes, so it runs in float */
    kit_output(g, kit_qdq(g, "u", KIT(g, "Transpose", "u", t), 0.25f, PTQ_DT_U8, 3));
    done(expect(g, &integer,
                "quantize/nhwc qmaxpool/nhwc relayout qmove dequantize Transpose quantize dequantize"),
         g);
}
END_TEST

START_TEST(lower__concat_tables)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 4});
    ptq_value *a = kit_qdq(g, "a", x, 0.5f, PTQ_DT_U8, 3);
    ptq_value *b = kit_qdq(g, "b", x, 0.25f, PTQ_DT_U8, 0);
    ptq_node *c = kit_op(g, "Concat", "", "c", 2, (ptq_value *[]){a, b});
    ck_assert_ok(ptq_attr_set_int(g, c, "axis", 1));
    kit_output(g, kit_qdq(g, "c", c->out[0], 0.5f, PTQ_DT_U8, 3));
    ptq_program *p = expect(g, &integer, "quantize quantize qconcat dequantize");
    const ptq_qconcat_params *q = p->steps.v[2].params;
    ck_assert_ptr_null(q->tables[0]);
    ck_assert_int_eq(q->tables[1][8], 7);  /* 2.0 / 0.5 + 3 */
    ck_assert_int_eq(q->tables[1][1], 3);  /* 0.25 / 0.5 = 0.5 rounds to 0 */
    ck_assert_int_eq(q->tables[1][3], 5);  /* 1.5 rounds to 2 */
    done(p, g);
}
END_TEST

/* Activation codes that pass a table (powers of two). */
START_TEST(lower__gather_of_codes)
{
    ptq_graph *g = kit_graph(13);
    uint8_t table[256];
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)(255 - i);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 4, 5, 5});
    ptq_value *c = KIT(g, "Cast", "i", kit_q(g, "q", x, 0.5f, PTQ_DT_S8, 0));
    ck_assert_ok(ptq_attr_set_int(g, c->producer, "to", PTQ_DT_S32));
    ptq_value *t = KIT(g, "Gather", "t", kit_const(g, "table", PTQ_DT_S8, 1, (int64_t[]){256}, table), c);
    ptq_value *y = KIT(g, "Conv", "c", kit_dq(g, "t_dq", t, 0.5f, PTQ_DT_S8, 0),
                       weight(g, "w", 4, 4, 1, 0.25f));
    kit_output(g, kit_qdq(g, "c", y, 0.5f, PTQ_DT_S8, 0));
    ptq_program *p = expect(g, &integer, "quantize/nhwc qlut/nhwc qconv/nhwc dequantize");
    const ptq_qlut_params *q = p->steps.v[1].params;
    ck_assert(memcmp(q->table, table, 256) == 0);
    done(p, g);
}
END_TEST

/* [N,C,H,W] to [N,H,W,C] and back around a product: the bytes stay where they are. */
START_TEST(lower__transposes_that_only_rename)
{
    ptq_graph *g = kit_graph(13);
    int8_t w[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    ptq_value *c = KIT(g, "Conv", "c", image(g), weight(g, "w", 4, 4, 1, 0.25f));
    c = kit_qdq(g, "c", c, 0.5f, PTQ_DT_U8, 0);
    ptq_value *t = KIT(g, "Transpose", "t", c);
    ck_assert_ok(ptq_attr_set_ints(g, t->producer, "perm", (int64_t[]){0, 2, 3, 1}, 4));
    t = kit_qdq(g, "t", t, 0.5f, PTQ_DT_U8, 0);
    ptq_value *wm = kit_weight(g, "wm", 2, (int64_t[]){4, 4}, w, 0.5f);
    ptq_value *m = kit_qdq(g, "m", KIT(g, "MatMul", "m", t, wm), 0.5f, PTQ_DT_U8, 0);
    m = kit_qdq(g, "s", KIT(g, "Sigmoid", "s", m), 0.5f, PTQ_DT_U8, 0); /* stays as it comes */
    ptq_value *u = KIT(g, "Transpose", "u", m);
    ck_assert_ok(ptq_attr_set_ints(g, u->producer, "perm", (int64_t[]){0, 3, 1, 2}, 4));
    u = kit_qdq(g, "u", u, 0.5f, PTQ_DT_U8, 0);
    ptq_value *d = KIT(g, "Conv", "d", u, weight(g, "w2", 4, 4, 1, 0.25f));
    d = kit_qdq(g, "d", d, 0.5f, PTQ_DT_U8, 0);
    kit_output(g, kit_qdq(g, "e", KIT(g, "Add", "e", d, c), 0.5f, PTQ_DT_U8, 0));
    done(expect(g, &integer,
                "quantize/nhwc qconv/nhwc qmove qgemm qlut qmove/nhwc qconv/nhwc dequantize"),
         g);
}
END_TEST

/* A constant operand of Add follows its partner into NHWC. */
START_TEST(lower__constant_operand_nhwc)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *c = KIT(g, "Conv", "c", image(g), weight(g, "w", 4, 4, 1, 0.25f));
    uint8_t k[4 * 25];
    for (int i = 0; i < 100; i++)
        k[i] = (uint8_t)i;
    ptq_value *kd = kit_dq(g, "k", kit_const(g, "k_q", PTQ_DT_U8, 3, (int64_t[]){4, 5, 5}, k), 0.5f,
                           PTQ_DT_U8, 0);
    ptq_value *a = KIT(g, "Add", "a", kit_qdq(g, "c", c, 0.5f, PTQ_DT_U8, 0), kd);
    kit_output(g, kit_qdq(g, "a", a, 0.5f, PTQ_DT_U8, 0));
    ptq_program *p = expect(g, &integer, "quantize/nhwc qconv/nhwc qadd/nhwc dequantize");
    const ptq_pvalue *v = &p->values.v[p->steps.v[2].in[1]];
    ck_assert_int_eq(v->layout, PTQ_LAYOUT_NHWC);
    ck_assert_int_eq(v->constant->rank, 4);
    ck_assert_int_eq((int)v->constant->dims[1], 4);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(((const uint8_t *)v->constant->data)[i], i % 4 * 25 + i / 4);
    done(p, g);
}
END_TEST

START_TEST(lower__qlinear_nodes)
{
    for (int integer_mode = 0; integer_mode < 2; integer_mode++) {
        ptq_graph *g = kit_graph(13);
        ptq_value *x = kit_input(g, "x", PTQ_DT_U8, 4, (int64_t[]){-1, 4, 5, 5});
        int8_t w[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
        ptq_value *ws = kit_const(g, "w", PTQ_DT_S8, 4, (int64_t[]){4, 4, 1, 1}, w);
        ptq_value *s = kit_f32(g, 0.5f), *z = kit_zp(g, PTQ_DT_U8, 7), *z0 = kit_zp(g, PTQ_DT_S8, 0);
        ptq_value *c = KIT(g, "QLinearConv", "c", x, s, z, ws, s, z0, s, z);
        ptq_value *a = kit_op(g, "QLinearAdd", "com.microsoft", "a", 8,
                              (ptq_value *[]){c, s, z, x, s, z, s, z})->out[0];
        ptq_value *l = kit_op(g, "QLinearSigmoid", "com.microsoft", "l", 5,
                              (ptq_value *[]){a, s, z, s, z})->out[0];
        kit_output(g, l);
        char kept[] = "c";
        ptq_lower_options opt = {.integer = integer_mode};
        ptq_lower_options keep = {.integer = integer_mode, .keep = keep_relu, .keep_ctx = kept};
        ptq_program_free(expect(g, &keep, "qconv qadd qlut"));
        ptq_program *p = expect(g, &opt, "qconv qlut");
        const ptq_qlinear_params *q = p->steps.v[0].params;
        ck_assert_int_eq(q->x.zp, 7);
        ck_assert(q->mult[0] == 0.5f);
        ck_assert_int_eq(q->residual.kind, PTQ_RESIDUAL_ROUNDED);
        ck_assert(!q->residual.skip_first);
        const ptq_qlut_params *t = p->steps.v[1].params;
        ck_assert_int_eq(t->table[7], 8); /* sigmoid(0) = 0.5 is one step above 7 */
        done(p, g);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_lower");
    TCase *t = tcase_create("lower");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, lower__convolution_chain);
    tcase_add_test(t, lower__simulation_keeps_every_node);
    tcase_add_test(t, lower__kept_values_are_not_hidden);
    tcase_add_test(t, lower__sum_takes_the_activation);
    tcase_add_test(t, lower__sum_in_the_end_of_a_convolution);
    tcase_add_test(t, lower__what_is_kept_before_a_sum);
    tcase_add_test(t, lower__float_weight_behind_q);
    tcase_add_test(t, lower__without_q_behind_stays_float);
    tcase_add_test(t, lower__float_bias);
    tcase_add_test(t, lower__residual_goes_to_the_later_product);
    tcase_add_test(t, lower__sums_that_stay_apart);
    tcase_add_test(t, lower__residual_in_float);
    tcase_add_test(t, lower__float_products);
    tcase_add_test(t, lower__accumulator_bound);
    tcase_add_test(t, lower__accumulator_bound_of_each_channel);
    tcase_add_test(t, lower__silu_becomes_a_table);
    tcase_add_test(t, lower__regions_that_are_no_tables);
    tcase_add_test(t, lower__movers_and_pools);
    tcase_add_test(t, lower__concat_tables);
    tcase_add_test(t, lower__gather_of_codes);
    tcase_add_test(t, lower__transposes_that_only_rename);
    tcase_add_test(t, lower__constant_operand_nhwc);
    tcase_add_test(t, lower__qlinear_nodes);
    suite_add_tcase(s, t);
    return unit_run(s);
}
