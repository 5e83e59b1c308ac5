/* SPDX-License-Identifier: Apache-2.0 */
/* Products and convolutions: every instruction set and thread count gives the bytes of the one
 * fmaf chain per element that the law asks for, and that chain is near the exact value. */
#include "tests/cpu_float.h"

#include <math.h>

#include "lib/cpu/gemm.h"

static ptq_pool *pool;

static void setup(void)
{
    ck_assert_ok(ptq_pool_new(3, &pool));
}

static float *draw(ptq_rng *r, int64_t n)
{
    float *p = malloc((size_t)n * sizeof *p + 4);
    ck_assert_ptr_nonnull(p);
    for (int64_t i = 0; i < n; i++)
        p[i] = 2 * ptq_rng_uniform(r) - 1;
    return p;
}

static float law(const ptq_gemm_f32 *g, int64_t i, int64_t j)
{
    float acc = 0.0f;
    for (int64_t k = 0; k < g->k; k++)
        acc = fmaf(g->a[g->trans_a ? k * g->lda + i : i * g->lda + k],
                   g->b[g->trans_b ? j * g->ldb + k : k * g->ldb + j], acc);
    if (g->bias)
        acc += g->bias[g->bias_row ? i : j];
    return g->act.on ? ptq_fclamp(acc, g->act.lo, g->act.hi) : acc;
}

static void check_gemm(ptq_rng *r, int64_t m, int64_t n, int64_t k)
{
    ptq_gemm_f32 g = {.m = m, .n = n, .k = k, .trans_a = ptq_rng_below(r, 2) != 0,
                      .trans_b = ptq_rng_below(r, 2) != 0, .bias_row = ptq_rng_below(r, 2) != 0};
    g.lda = (g.trans_a ? m : k) + ptq_rng_below(r, 3);
    g.ldb = (g.trans_b ? k : n) + ptq_rng_below(r, 3);
    g.ldc = n + ptq_rng_below(r, 3);
    float *a = draw(r, (g.trans_a ? k : m) * g.lda), *b = draw(r, (g.trans_b ? n : k) * g.ldb);
    float *bias = draw(r, m + n), *c = draw(r, m * g.ldc), *want = draw(r, m * g.ldc);
    g.a = a;
    g.b = b;
    g.bias = ptq_rng_below(r, 2) ? bias : NULL;
    if (ptq_rng_below(r, 2))
        g.act = (ptq_act){true, 0.0f, ptq_rng_below(r, 2) ? INFINITY : 0.5f};
    memcpy(want, c, (size_t)(m * g.ldc) * sizeof *c); /* what lies between the rows stays */
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            want[i * g.ldc + j] = law(&g, i, j);
    for (int isa = PTQ_ISA_REF; isa <= (int)ptq_isa_best(); isa++)
        for (int t = 0; t < 2; t++) {
            ptq_cpu cpu = {.pool = t ? pool : NULL, .isa = (ptq_isa)isa};
            float *got = malloc((size_t)(m * g.ldc) * sizeof *got + 4);
            memcpy(got, c, (size_t)(m * g.ldc) * sizeof *c);
            g.c = got;
            ck_assert_ok(ptq_cpu_gemm_f32(&cpu, &g));
            ck_assert_msg(memcmp(got, want, (size_t)(m * g.ldc) * sizeof *c) == 0,
                          "%s, m %lld n %lld k %lld", ptq_isa_name((ptq_isa)isa), (long long)m,
                          (long long)n, (long long)k);
            free(got);
            free(cpu.scratch);
        }
    free(a);
    free(b);
    free(bias);
    free(c);
    free(want);
}

START_TEST(gemm__is_one_chain_for_every_tile)
{
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 33, 47, 48, 49, 97};
    ptq_rng r;
    ptq_rng_seed(&r, 11);
    for (size_t i = 0; i < PTQ_COUNT(sizes); i++)
        for (size_t j = 0; j < PTQ_COUNT(sizes); j += 1 + ptq_rng_below(&r, 3))
            check_gemm(&r, sizes[i], sizes[j], 1 + ptq_rng_below(&r, 40));
    check_gemm(&r, 19, 53, 0);
    check_gemm(&r, 19, 53, 256);
    check_gemm(&r, 19, 53, 257);
    check_gemm(&r, 150, 401, 600);
    check_gemm(&r, 3, 500, 300);
}
END_TEST

/* Convolution computed in double from its definition. */
typedef struct conv {
    int64_t n, c, m, group, h, w, kh, kw, sh, sw, dh, dw, pt, pl, pb, pr, oh, ow;
} conv;

static void exact_conv(const conv *v, const float *x, const float *w, const float *b, double *y)
{
    int64_t cg = v->c / v->group, mg = v->m / v->group;
    for (int64_t i = 0; i < v->n * v->m * v->oh * v->ow; i++) {
        int64_t ox = i % v->ow, oy = i / v->ow % v->oh, m = i / v->ow / v->oh % v->m;
        int64_t n = i / v->ow / v->oh / v->m;
        double s = (double)b[m];
        for (int64_t ci = 0; ci < cg; ci++)
            for (int64_t ky = 0; ky < v->kh; ky++)
                for (int64_t kx = 0; kx < v->kw; kx++) {
                    int64_t iy = oy * v->sh + ky * v->dh - v->pt, ix = ox * v->sw + kx * v->dw - v->pl;
                    if (iy < 0 || iy >= v->h || ix < 0 || ix >= v->w)
                        continue;
                    s += (double)x[((n * v->c + m / mg * cg + ci) * v->h + iy) * v->w + ix] *
                         (double)w[((m * cg + ci) * v->kh + ky) * v->kw + kx];
                }
        y[i] = s;
    }
}

static const ptq_tensor *constant(const ptq_graph *g, const char *name)
{
    return ptq_graph_find(g, name)->constant;
}

static void check_conv(const conv *v, bool relu)
{
    char text[1024], shape[64];
    snprintf(text, sizeof text,
             "input x f32 [%d,%d,%d,%d]\nconst w f32 [%d,%d,%d,%d]\nconst b f32 [%d]\n"
             "z = Conv(x, w, b) group=%d strides=[%d,%d] dilations=[%d,%d] pads=[%d,%d,%d,%d]\n"
             "y = %s(z)\noutput y\n",
             (int)v->n, (int)v->c, (int)v->h, (int)v->w, (int)v->m, (int)(v->c / v->group),
             (int)v->kh, (int)v->kw, (int)v->m, (int)v->group, (int)v->sh, (int)v->sw, (int)v->dh,
             (int)v->dw, (int)v->pt, (int)v->pl, (int)v->pb, (int)v->pr, relu ? "Relu" : "Identity");
    ptq_graph *g = cf_parse(text);
    cf_result r;
    cf_all_same(g, pool, text, &r);
    ck_assert_str_eq(ptq_shape_str(4, r.out[0].dims, shape, sizeof shape),
                     ptq_shape_str(4, (int64_t[]){v->n, v->m, v->oh, v->ow}, text, sizeof text));
    int64_t count = ptq_tensor_elements(&r.out[0]);
    ptq_tensor x = {.dtype = PTQ_DT_F32, .rank = 4, .dims = {v->n, v->c, v->h, v->w}};
    ck_assert_ok(ptq_tensor_alloc(&x));
    cf_draw(&x, "x");
    double *want = calloc((size_t)count + 1, sizeof *want);
    exact_conv(v, x.data, constant(g, "w")->data, constant(g, "b")->data, want);
    double bound = 2.0 * (double)(v->c / v->group * v->kh * v->kw + 1) * 0x1p-22;
    for (int64_t i = 0; i < count; i++) {
        double y = relu && want[i] < 0 ? 0 : want[i];
        if (!(fabs((double)((const float *)r.out[0].data)[i] - y) <= bound))
            ck_abort_msg("%s: element %lld is off", shape, (long long)i);
    }
    free(want);
    free(x.data);
    cf_free(&r);
    ptq_graph_free(g);
}

static int64_t between(ptq_rng *r, uint32_t lo, uint32_t hi)
{
    return lo + ptq_rng_below(r, hi - lo + 1);
}

START_TEST(conv__random_shapes)
{
    ptq_rng r;
    ptq_rng_seed(&r, 29);
    for (int i = 0; i < 60; i++) {
        conv v = {.n = between(&r, 1, 3), .h = between(&r, 1, 17), .w = between(&r, 1, 40),
                  .kh = between(&r, 1, 4), .kw = between(&r, 1, 5), .sh = between(&r, 1, 3),
                  .sw = between(&r, 1, 3), .dh = between(&r, 1, 2), .dw = between(&r, 1, 3),
                  .group = between(&r, 1, 3)};
        int64_t cg = between(&r, 1, i % 3 ? 6 : 1), mg = between(&r, 1, i % 2 ? 20 : 3);
        if (i % 5 == 0)
            v.kh = v.kw = v.sh = v.sw = 1;
        v.c = cg * v.group;
        v.m = mg * v.group;
        v.pt = between(&r, 0, 2), v.pb = between(&r, 0, 2);
        v.pl = between(&r, 0, 3), v.pr = between(&r, 0, 3);
        if (i % 10 == 0)
            v.pt = v.pb = v.pl = v.pr = 0;
        v.oh = (v.h + v.pt + v.pb - (v.kh - 1) * v.dh - 1);
        v.ow = (v.w + v.pl + v.pr - (v.kw - 1) * v.dw - 1);
        if (v.oh < 0 || v.ow < 0)
            continue;
        v.oh = v.oh / v.sh + 1;
        v.ow = v.ow / v.sw + 1;
        check_conv(&v, i % 2);
    }
}
END_TEST

/* The shapes of real networks: many channels on few pixels, wide rows, deep sums. */
START_TEST(conv__network_shapes)
{
    static const conv shapes[] = {
        {1, 40, 70, 1, 2, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2},
        {1, 300, 33, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},
        {2, 64, 24, 1, 7, 7, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 7, 7},
        {1, 3, 16, 1, 33, 34, 7, 7, 2, 2, 1, 1, 3, 3, 3, 3, 17, 17},
        {1, 3, 20, 1, 16, 16, 16, 16, 16, 16, 1, 1, 0, 0, 0, 0, 1, 1},
        {2, 30, 30, 30, 21, 50, 5, 5, 1, 1, 1, 1, 2, 2, 2, 2, 21, 50},
        {2, 9, 9, 9, 2, 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2},
        {1, 20, 20, 20, 8, 8, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 4, 4},
        {2, 5, 5, 5, 34, 66, 5, 5, 2, 2, 1, 1, 2, 2, 2, 2, 17, 33},
        {2, 7, 14, 7, 4, 6, 5, 5, 2, 3, 1, 1, 2, 2, 2, 2, 2, 2},
        {1, 4, 8, 4, 9, 40, 3, 3, 1, 1, 2, 3, 2, 3, 2, 3, 9, 40},
        {2, 70, 20, 1, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 32, 32},
        {3, 40, 21, 1, 8, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 8, 8},
        {5, 40, 40, 2, 4, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 4, 4},
        {5, 8, 300, 1, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3},
        {9, 300, 24, 2, 7, 7, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 7, 7},
        {2, 300, 33, 1, 5, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 5, 5},
        {3, 300, 90, 1, 16, 16, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 16, 16},
        {2, 40, 24, 1, 32, 32, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 16, 16},
        {6, 30, 24, 3, 6, 6, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 3, 3},
        {4, 30, 17, 1, 8, 16, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 4, 8},
        {2, 20, 30, 1, 12, 15, 5, 5, 2, 3, 1, 1, 2, 1, 2, 1, 6, 5},
        {1, 33, 20, 1, 64, 64, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2, 64, 64},
        {2, 9, 9, 9, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 64, 64},
        {2, 9, 18, 9, 9, 35, 3, 3, 1, 1, 1, 1, 0, 2, 1, 0, 8, 35},
        {2, 9, 9, 9, 32, 64, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 16, 32},
        {2, 9, 18, 9, 15, 37, 3, 3, 2, 2, 1, 1, 0, 2, 2, 1, 8, 19},
        {1, 9, 9, 9, 1, 19, 3, 3, 2, 2, 1, 1, 2, 2, 2, 2, 2, 11},
        {3, 9, 9, 9, 8, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 8, 8},
        {40, 64, 32, 1, 9, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 9, 20},
        {17, 40, 32, 1, 8, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 8, 8},
        {5, 12, 17, 1, 32, 48, 1, 1, 2, 3, 1, 1, 0, 0, 0, 0, 16, 16},
        {20, 30, 24, 3, 8, 9, 1, 1, 2, 3, 1, 1, 0, 0, 0, 0, 4, 3},
        {3, 9, 9, 9, 16, 32, 1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 8, 16},
        {3, 10, 12, 1, 16, 32, 1, 1, 2, 2, 1, 1, 1, 1, 1, 1, 9, 17},
        {2, 300, 140, 1, 32, 32, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 32, 32},
        {3, 70, 520, 2, 16, 64, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 16, 64},
    };
    for (size_t i = 0; i < PTQ_COUNT(shapes); i++)
        check_conv(&shapes[i], i % 2);
}
END_TEST

/* The bytes of a sample do not depend on the samples beside it. */
START_TEST(conv__batch_does_not_matter)
{
    static const char *const body =
        "const w f32 [24,16,3,3]\nconst v f32 [24,1,3,3]\nconst f f32 [24,10]\n"
        "a = Conv(x, w) pads=[1,1,1,1]\nb = Conv(a, v) group=24 pads=[1,1,1,1]\n"
        "c = GlobalAveragePool(b)\nd = Flatten(c)\ny = MatMul(d, f)\noutput b\noutput y\n";
    char text[1024];
    cf_result one, many;
    snprintf(text, sizeof text, "input x f32 [1,16,5,6]\n%s", body);
    ptq_graph *g1 = cf_parse(text);
    snprintf(text, sizeof text, "input x f32 [19,16,5,6]\n%s", body);
    ptq_graph *g2 = cf_parse(text);
    cf_all_same(g1, pool, "batch 1", &one);
    cf_all_same(g2, pool, "batch 19", &many);
    for (int i = 0; i < 2; i++) /* the first sample is drawn alike */
        ck_assert(memcmp(one.out[i].data, many.out[i].data, one.out[i].nbytes) == 0);
    cf_free(&one);
    cf_free(&many);
    ptq_graph_free(g1);
    ptq_graph_free(g2);
}
END_TEST

/* A sum behind a convolution is taken into its end, on every path: window, images side by side, columns,
 * depthwise. Unfused runs are among those that cf_all_same compares. */
START_TEST(conv__sum_in_the_end)
{
    static const char *const texts[] = {
        "input x f32 [2,40,16,16]\nconst w f32 [24,40,3,3]\nconst b f32 [24]\nconst v f32 [24,40,1,1]\n"
        "a = Conv(x, w, b) pads=[1,1,1,1]\nc = Conv(x, v)\ns = Add(a, c)\ny = Relu(s)\noutput y\n",
        "input x f32 [5,20,3,3]\nconst w f32 [20,20,3,3]\n"
        "a = Conv(x, w) pads=[1,1,1,1]\ns = Add(x, a)\ny = Clip(s)\noutput y\n",
        "input x f32 [1,20,9,9]\nconst w f32 [20,20,2,2]\nconst b f32 [20]\nconst v f32 [20,20,2,2]\n"
        "a = Conv(x, w, b)\nc = Conv(x, v)\ny = Add(a, c)\noutput y\n",
        "input x f32 [2,20,9,9]\nconst w f32 [20,1,3,3]\n"
        "a = Conv(x, w) group=20 pads=[1,1,1,1]\ns = Add(a, x)\ny = Relu(s)\noutput y\n",
        "input x f32 [1,33,20,40]\nconst w f32 [33,33,1,1]\nconst b f32 [33]\n"
        "a = Conv(x, w, b)\ns = Add(a, x)\nt = Relu(s)\ny = Add(t, s)\noutput y\n",
    };
    cf_all_texts(texts, PTQ_COUNT(texts), pool);
}
END_TEST

/* ---- what stands before a sum is kept ---- */

typedef struct seen {
    float *v[3]; /* a: before the sum, s: the sum, y: the activation of that */
    size_t n, order[3], bytes, steps;
} seen;

static bool is_seen(void *ctx, const ptq_value *v)
{
    return strlen(v->name) == 1 && strchr((const char *)ctx, v->name[0]);
}

static char watched[4]; /* taps have one context, and these are read through it */
static seen *watching;

static ptq_status see(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    size_t i = (size_t)(strchr("asy", v->name[0]) - "asy");
    (void)ctx;
    free(watching->v[i]);
    watching->v[i] = malloc(t->nbytes);
    memcpy(watching->v[i], t->data, t->nbytes);
    watching->order[watching->n++ % 3] = i;
    watching->bytes = t->nbytes;
    return PTQ_OK;
}

/* Room for activations, with unwritten results poisoned. */
static size_t watch(const ptq_graph *g, const char *isa, ptq_pool *p, bool fuse, seen *out)
{
    ptq_session_options opt = {.device = {.pool = p, .isa = isa}, .lower = {.fuse = fuse},
                               .tap = see, .tap_select = is_seen, .tap_ctx = watched};
    ptq_session *s;
    ptq_tensor in[3], view[1];
    *out = (seen){0};
    watching = out;
    ck_assert_int_eq(setenv("PTQ_POISON", "1", 1), 0);
    ck_assert_ok(ptq_session_new(g, &opt, &s));
    ck_assert_int_eq(unsetenv("PTQ_POISON"), 0);
    for (size_t i = 0; i < g->inputs.n; i++)
        cf_input(g->inputs.v[i], &in[i]);
    ck_assert_ok(ptq_session_run(s, in, g->inputs.n, view, 1));
    for (size_t i = 0; i < g->inputs.n; i++)
        free(in[i].data);
    out->steps = ptq_session_program(s)->steps.n;
    size_t room = ptq_session_activation_bytes(s);
    ptq_session_free(s);
    return room;
}

static void unwatch(seen *s)
{
    for (int i = 0; i < 3; i++)
        free(s->v[i]);
}

/* Conv, Add and Relu as one step that gives the Conv's own result, too, as three steps would. */
static void check_kept(const char *text, const char *what, size_t fewer, bool in_place)
{
    ptq_graph *g = cf_parse(text);
    seen want, got;
    snprintf(watched, sizeof watched, "%s", what);
    for (int isa = PTQ_ISA_REF; isa <= (int)ptq_isa_best(); isa++)
        for (int t = 0; t < 2; t++) {
            size_t apart = watch(g, "ref", NULL, false, &want);
            size_t room = watch(g, ptq_isa_name((ptq_isa)isa), t ? pool : NULL, true, &got);
            ck_assert_uint_eq(got.steps + fewer, want.steps);
            ck_assert_uint_eq(got.n, strlen(what));
            for (size_t i = 0; what[i]; i++) {
                size_t k = (size_t)(strchr("asy", what[i]) - "asy");
                ck_assert_uint_eq(got.order[i], k);
                ck_assert_msg(got.bytes == want.bytes && memcmp(got.v[k], want.v[k], want.bytes) == 0,
                              "%s, %s: %c differs", text, ptq_isa_name((ptq_isa)isa), what[i]);
            }
            if (in_place)
                ck_assert_uint_eq(room, apart);
            unwatch(&want);
            unwatch(&got);
        }
    ptq_graph_free(g);
}

/* Every kernel: windows with one block of channels and several, copied near or not, in phases, images side by side,
 * columns, depthwise in rows, by masks, in planes. The residual ends with the sum, or is the caller's. */
START_TEST(conv__kept_before_the_sum)
{
    static const struct {
        int n, c, h, w, m, group, k, stride, pad, oh, ow;
    } shapes[] = {
        {2, 40, 16, 16, 24, 1, 1, 1, 0, 16, 16}, {3, 600, 16, 16, 140, 1, 1, 1, 0, 16, 16},
        {2, 300, 32, 32, 140, 1, 1, 1, 0, 32, 32}, {2, 70, 16, 16, 33, 1, 3, 1, 1, 16, 16},
        {2, 40, 32, 32, 24, 1, 3, 2, 1, 16, 16}, {5, 300, 16, 32, 17, 1, 1, 2, 0, 8, 16},
        {6, 40, 4, 4, 40, 2, 3, 1, 1, 4, 4},     {5, 20, 3, 3, 20, 1, 3, 1, 1, 3, 3},
        {9, 300, 7, 7, 24, 2, 1, 1, 0, 7, 7},    {40, 64, 9, 20, 32, 1, 3, 1, 1, 9, 20},
        {7, 600, 2, 2, 33, 1, 1, 1, 0, 2, 2},    {2, 20, 9, 9, 20, 1, 2, 1, 0, 8, 8},
        {1, 33, 20, 40, 33, 1, 1, 1, 0, 20, 40}, {1, 300, 1, 1, 33, 1, 1, 1, 0, 1, 1},
        {2, 9, 21, 19, 11, 1, 3, 2, 1, 11, 10},  {2, 9, 21, 35, 9, 9, 3, 1, 1, 21, 35},
        {3, 9, 8, 8, 18, 9, 5, 1, 2, 8, 8},      {2, 7, 9, 11, 7, 7, 3, 2, 0, 4, 5},
    };
    static const struct {
        const char *residual, *sum, *end, *watched;
        size_t fewer;
        bool in_place;
    } forms[] = {{"r = Abs(q)", "a, r", "Relu(s)", "ay", 2, true},
                 {"r = Abs(q)", "r, a", "Identity(s)", "as", 1, true},
                 {"r = Neg(q)", "a, r", "Relu(s)", "asy", 1, false},
                 {"", "q, a", "Clip(s, lo, hi)", "ay", 2, false}};
    for (size_t i = 0; i < PTQ_COUNT(shapes); i++)
        for (size_t f = 0; f < PTQ_COUNT(forms); f++) {
            char text[1024];
            int m = shapes[i].m, p = shapes[i].pad;
            snprintf(text, sizeof text,
                     "opset 13\ninput x f32 [%d,%d,%d,%d]\ninput q f32 [%d,%d,%d,%d]\nconst w f32 [%d,%d,%d,%d]\n"
                     "const b f32 [%d]\nconst lo f32 [] -0.5\nconst hi f32 [] 1\n%s\n"
                     "a = Conv(x, w, %s) group=%d strides=[%d,%d] pads=[%d,%d,%d,%d]\ns = Add(%s)\ny = %s\noutput y\n",
                     shapes[i].n, shapes[i].c, shapes[i].h, shapes[i].w, shapes[i].n, m, shapes[i].oh, shapes[i].ow, m,
                     shapes[i].c / shapes[i].group, shapes[i].k, shapes[i].k, m, forms[f].residual, (i + f) % 3 ? "b" : "",
                     shapes[i].group, shapes[i].stride, shapes[i].stride, p, p, p, p, forms[f].sum, forms[f].end);
            check_kept(text, forms[f].watched, forms[f].fewer, forms[f].in_place);
        }
}
END_TEST

/* Of a shape that the data tells, and a residual that somebody reads later. */
START_TEST(conv__kept_before_other_sums)
{
    check_kept("input x f32 [6,8,5,5]\ninput k bool [6]\nconst w f32 [8,8,3,3]\n"
               "value z f32 [n,8,5,5]\nz = Compress(x, k) axis=0\n"
               "a = Conv(z, w) pads=[1,1,1,1]\ns = Add(a, z)\ny = Relu(s)\noutput y\n", "ay", 2, false);
    check_kept("input x f32 [2,40,16,16]\nconst w f32 [40,40,1,1]\nr = Abs(x)\na = Conv(r, w)\ns = Add(a, r)\n"
               "y = Relu(s)\noutput y\n", "ay", 2, false);
    check_kept("input x f32 [2,8,16,16]\nconst w f32 [8,8,1,1]\nr = Abs(x)\na = Conv(x, w)\ns = Add(a, r)\n"
               "t = Relu(s)\ny = Mul(t, r)\noutput y\n", "ay", 2, false);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu gemm");
    TCase *t = tcase_create("gemm");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, gemm__is_one_chain_for_every_tile);
    tcase_add_test(t, conv__random_shapes);
    tcase_add_test(t, conv__network_shapes);
    tcase_add_test(t, conv__batch_does_not_matter);
    tcase_add_test(t, conv__sum_in_the_end);
    tcase_add_test(t, conv__kept_before_the_sum);
    tcase_add_test(t, conv__kept_before_other_sums);
    suite_add_tcase(s, t);
    return unit_run(s);
}
