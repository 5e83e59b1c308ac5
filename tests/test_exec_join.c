/* SPDX-License-Identifier: Apache-2.0 */
/* Products of queries, keys and values that become one: which do, and that no byte of the outputs changes. */
#include "lib/exec/rearrange.h"
#include "tests/fused.h"

#define WEIGHT(name, k, n) "const " name "_c s8 [" #k "," #n "]\n" name " = DequantizeLinear(" name "_c, sw, z)\n"
#define CODES(out, in, s, z) out " = QuantizeLinear(" in ", " s ", " z ")\n"
#define QDQ(out, in, s, z) CODES(out "_q", in, s, z) out " = DequantizeLinear(" out "_q, " s ", " z ")\n"
#define LINEAR(out, in, w, b) out "m = MatMul(" in ", " w ")\n" out " = Add(" b ", " out "m)\n"
/* 5 tokens, 2 heads of 16 columns */
#define START SHARED \
    "input x f32 [batch,5,16]\nconst s1 f32 [] 0.03\nconst s2 f32 [] 0.041\nconst s3 f32 [] 0.017\nconst z1 s8 [] 5\n" \
    "const z2 s8 [] -7\nconst u1 u8 [] 131\nconst heads s64 [4] 0 5 2 16\nconst bq f32 [32]\nconst bk f32 [32]\n"      \
    "const bv f32 [32]\n" WEIGHT("wq", 16, 32) WEIGHT("wk", 16, 32) WEIGHT("wv", 16, 32) QDQ("d", "x", "s", "z")
#define QUERIES(out, in) out "1 = Reshape(" in ", heads)\n" out "2 = Transpose(" out "1) perm=[0,2,1,3]\n"
#define KEYS(out, in) out "1 = Reshape(" in ", heads)\n" out "2 = Transpose(" out "1) perm=[0,2,3,1]\n"
#define ATTEND(name, q, k, v) \
    name "s = MatMul(" q ", " k ")\n" name "p = Softmax(" name "s) axis=-1\n" QDQ(name "d", name "p", "sp", "z") \
    name " = MatMul(" name "d, " v ")\n"
#define PROJECTIONS START LINEAR("a", "d", "wq", "bq") LINEAR("b", "d", "wk", "bk") LINEAR("c", "d", "wv", "bv")
#define OPERANDS(sq, zq, sk, zk, sv, zv) \
    QUERIES("q", "a") KEYS("k", "b") QUERIES("v", "c") QDQ("qd", "q2", sq, zq) QDQ("kd", "k2", sk, zk) \
        QDQ("vd", "v2", sv, zv)
#define GELU(out, in) \
    out "1 = Div(" in ", root)\n" out "2 = Erf(" out "1)\n" out "3 = Add(" out "2, one)\n" \
    out "4 = Mul(" in ", " out "3)\n" out " = Mul(" out "4, half)\n"
#define END ATTEND("y", "qd", "kd", "vd") "output y\n"

/* Steps, and the bytes with and without all of it. */
static void check(const char *text, const char *steps)
{
    static const int64_t batches[] = {1, 2, 7};
    ptq_graph *g = parse(text);
    for (size_t i = 0; i < PTQ_COUNT(batches); i++) {
        char have[2][2048];
        outputs apart = run(g, &plain, batches[i], have[0], sizeof have[0]);
        outputs joined = run(g, &whole, batches[i], have[1], sizeof have[1]);
        ck_assert_str_eq(have[1], steps);
        check_same(&joined, &apart);
        free_outputs(&apart);
        free_outputs(&joined);
    }
    ptq_graph_free(g);
}

typedef struct row {
    const char *text, *steps;
} row;

#define ONE "quantize qgemm qattention"
static const row together[] = {
    /* grids, zero points and factors of their own */
    {PROJECTIONS OPERANDS("s1", "z", "s1", "z", "s1", "z") END, ONE},
    {PROJECTIONS OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END, ONE},
    {PROJECTIONS OPERANDS("s1", "u1", "s2", "u1", "s3", "u1") END, ONE},
    {PROJECTIONS QUERIES("q", "a") KEYS("k", "b") QUERIES("v", "c") "qf = Mul(q2, factor)\nkf = Mul(k2, half)\n"
         QDQ("qd", "qf", "s1", "z1") QDQ("kd", "kf", "s2", "z") QDQ("vd", "v2", "s3", "z2") END, ONE},
    /* a clamp in front of one grid, whose codes are moved */
    {PROJECTIONS QUERIES("q", "a") KEYS("k", "b") "r = Relu(c)\n" CODES("rq", "r", "s3", "z2") QUERIES("v", "rq")
         QDQ("qd", "q2", "s1", "z1") QDQ("kd", "k2", "s2", "z") "vd = DequantizeLinear(v2, s3, z2)\n" END, ONE},
    /* one weight for two, scales per channel for one */
    {START LINEAR("a", "d", "wq", "bq") LINEAR("b", "d", "wq", "bk")
         "const ws f32 [32] 0.004 0.005 0.002 0.003\nconst wz s8 [32] 0\n"
         "wc = DequantizeLinear(wv_c, ws, wz) axis=1\n" LINEAR("c", "d", "wc", "bv")
         OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END, ONE},
    /* parts of different widths: one head of queries and values is twice as wide */
    {START WEIGHT("w2", 16, 64) "const b2 f32 [64]\nconst wide s64 [4] 0 5 2 32\n" LINEAR("a", "d", "wq", "bq")
         LINEAR("b", "d", "wk", "bk")
         LINEAR("c", "d", "w2", "b2") QUERIES("q", "a") KEYS("k", "b")
         "v1 = Reshape(c, wide)\nv2 = Transpose(v1) perm=[0,2,1,3]\n"
         QDQ("qd", "q2", "s1", "z") QDQ("kd", "k2", "s2", "z1") QDQ("vd", "v2", "s3", "z2") END, ONE},
    /* one head, nothing moved in front of queries and values; the values' product stands first */
    {START LINEAR("c", "d", "wv", "bv") LINEAR("b", "d", "wk", "bk") LINEAR("a", "d", "wq", "bq")
         "k2 = Transpose(b) perm=[0,2,1]\n" QDQ("qd", "a", "s1", "z") QDQ("kd", "k2", "s2", "z1")
         QDQ("vd", "c", "s3", "z2") END, ONE},
    /* a packed projection: by Split, and by Gathers */
    {START WEIGHT("wp", 16, 96) "const bp f32 [96]\nconst sizes s64 [3] 32 32 32\n" LINEAR("p", "d", "wp", "bp")
         "a, b, c = Split(p, sizes) axis=-1\n" OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END, ONE},
    {START WEIGHT("wp", 16, 96)
         "const bp f32 [96]\nconst parts s64 [5] 0 5 3 2 16\nconst i0 s64 [] 0\nconst i1 s64 [] 1\n"
         "const i2 s64 [] 2\n"
         LINEAR("p", "d", "wp", "bp")
         "r = Reshape(p, parts)\nt = Transpose(r) perm=[2,0,3,1,4]\nq2 = Gather(t, i0) axis=0\n"
         "k1 = Gather(t, i1) axis=0\nk2 = Transpose(k1) perm=[0,1,3,2]\nv2 = Gather(t, i2) axis=0\n"
         QDQ("qd", "q2", "s1", "z") QDQ("kd", "k2", "s2", "z1") QDQ("vd", "v2", "s3", "z2") END, ONE},
    /* keys and values of other rows than the queries */
    {START "input m f32 [batch,5,16]\n" QDQ("e", "m", "sv", "z") LINEAR("a", "d", "wq", "bq")
         LINEAR("b", "e", "wk", "bk")
         LINEAR("c", "e", "wv", "bv") OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END,
     "quantize quantize qgemm qgemm qattention"},
    /* no bias, Q directly behind: multipliers alone differ */
    {START "a = MatMul(d, wq)\nb = MatMul(d, wk)\nc = MatMul(d, wv)\n" CODES("aq", "a", "s1", "z1")
         CODES("bq_", "b", "s2", "z1")
         CODES("cq", "c", "s3", "z1") QUERIES("q", "aq") KEYS("k", "bq_") QUERIES("v", "cq")
         "qd = DequantizeLinear(q2, s1, z1)\n"
         "kd = DequantizeLinear(k2, s2, z1)\nvd = DequantizeLinear(v2, s3, z1)\n" END, ONE},
    /* weights that lie the other way round */
    {START WEIGHT("tq", 32, 16) WEIGHT("tk", 32, 16) WEIGHT("tv", 32, 16)
         "const rows s64 [2] -1 16\nconst split s64 [4] -1 5 2 16\n"
         "f = Reshape(d_q, rows)\ne = DequantizeLinear(f, s, z)\na = Gemm(e, tq, bq) transB=1\n"
         "b = Gemm(e, tk, bk) transB=1\nc = Gemm(e, tv) transB=1\n"
         CODES("aq", "a", "s1", "z") CODES("bq_", "b", "s2", "z") CODES("cq", "c", "s3", "z")
         "q1 = Reshape(aq, split)\nq2 = Transpose(q1) perm=[0,2,1,3]\nk1 = Reshape(bq_, split)\n"
         "k2 = Transpose(k1) perm=[0,2,3,1]\n"
         "v1 = Reshape(cq, split)\nv2 = Transpose(v1) perm=[0,2,1,3]\nqd = DequantizeLinear(q2, s1, z)\n"
         "kd = DequantizeLinear(k2, s2, z)\nvd = DequantizeLinear(v2, s3, z)\n" END, ONE},
    /* the same with float operations behind, and widths and grids of their own */
    {START WEIGHT("tq", 32, 16) WEIGHT("tk", 32, 16) WEIGHT("tv", 64, 16)
         "const rows s64 [2] -1 16\nconst split s64 [4] -1 5 2 16\nconst wide s64 [4] -1 5 2 32\nconst b2 f32 [64]\n"
         "f = Reshape(d_q, rows)\ne = DequantizeLinear(f, s, z)\nam = Gemm(e, tq) transB=1\na = Add(am, bq)\n"
         "af = Mul(a, factor)\nbm = Gemm(e, tk) transB=1\nb = Add(bm, bk)\ncm = Gemm(e, tv) transB=1\n"
         "c = Add(cm, b2)\n"
         CODES("aq", "af", "s1", "z1") CODES("bq_", "b", "s2", "z") CODES("cq", "c", "s3", "z2")
         "q1 = Reshape(aq, split)\nq2 = Transpose(q1) perm=[0,2,1,3]\nk1 = Reshape(bq_, split)\n"
         "k2 = Transpose(k1) perm=[0,2,3,1]\n"
         "v1 = Reshape(cq, wide)\nv2 = Transpose(v1) perm=[0,2,1,3]\nqd = DequantizeLinear(q2, s1, z1)\n"
         "kd = DequantizeLinear(k2, s2, z)\nvd = DequantizeLinear(v2, s3, z2)\n" END, ONE},
};

START_TEST(join__together)
{
    check(together[_i].text, together[_i].steps);
}
END_TEST

#define TWO "quantize qgemm qgemm qattention"
#define THREE "quantize qgemm qgemm qgemm qattention"
static const row apart[] = {
    /* an operand is an output, or read elsewhere */
    {PROJECTIONS OPERANDS("s1", "z", "s2", "z1", "s3", "z2") ATTEND("y", "qd", "kd", "vd")
         "output y\noutput vd_q\n",
     "quantize qgemm qgemm qmove qattention"},
    {PROJECTIONS OPERANDS("s1", "z", "s2", "z1", "s3", "z2") ATTEND("y", "qd", "kd", "vd")
         "e = Exp(kd)\noutput y\noutput e\n",
     "quantize qgemm qgemm qmove dequantize qattention Exp"},
    {PROJECTIONS OPERANDS("s1", "z", "s2", "z1", "s3", "z2") ATTEND("y", "qd", "kd", "vd")
         ATTEND("w", "qd", "kd", "vd")
         "output y\noutput w\n",
     "quantize qgemm qgemm qgemm qmove qmove qmove qattention qattention"},
    {PROJECTIONS OPERANDS("s1", "z", "s2", "z1", "s3", "z2") ATTEND("y", "qd", "kd", "vd") "output y\noutput a\n",
     "quantize qgemm qgemm quantize qattention"},
    /* a product without bias is quantized behind its movers */
    {START "a = MatMul(d, wq)\n" LINEAR("b", "d", "wk", "bk") LINEAR("c", "d", "wv", "bv")
         OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END,
     "quantize qgemm qgemm quantize qattention"},
    /* the integer law beside the law of floats; zero points that differ under the integer law */
    {START "a = MatMul(d, wq)\n" CODES("aq", "a", "s1", "z1") QUERIES("q", "aq")
         "qd = DequantizeLinear(q2, s1, z1)\n"
         LINEAR("b", "d", "wk", "bk") LINEAR("c", "d", "wv", "bv") KEYS("k", "b") QUERIES("v", "c")
         QDQ("kd", "k2", "s2", "z1") QDQ("vd", "v2", "s3", "z2") END, TWO},
    {START "a = MatMul(d, wq)\nb = MatMul(d, wk)\n" CODES("aq", "a", "s1", "z1") CODES("bq_", "b", "s2", "z2")
         QUERIES("q", "aq")
         KEYS("k", "bq_") LINEAR("c", "d", "wv", "bv") QUERIES("v", "c") "qd = DequantizeLinear(q2, s1, z1)\n"
         "kd = DequantizeLinear(k2, s2, z2)\n" QDQ("vd", "v2", "s3", "z2") END, THREE},
    /* types that differ, weights with zero points */
    {PROJECTIONS OPERANDS("s1", "z", "s2", "z1", "s3", "u1") END, TWO},
    {START LINEAR("a", "d", "wq", "bq") "wk2 = DequantizeLinear(wk_c, sw, z1)\n" LINEAR("b", "d", "wk2", "bk")
         LINEAR("c", "d", "wv", "bv") OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END, TWO},
    /* other codes, the same codes with another scale */
    {START QDQ("e", "x", "sv", "z") LINEAR("a", "d", "wq", "bq") LINEAR("b", "e", "wk", "bk")
         LINEAR("c", "d", "wv", "bv")
         OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END,
     "quantize quantize qgemm qgemm qattention"},
    {START "e = DequantizeLinear(d_q, sv, z)\n" LINEAR("a", "d", "wq", "bq") LINEAR("b", "e", "wk", "bk")
         LINEAR("c", "e", "wv", "bv")
         OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END, TWO},
    /* columns of queries that become rows would have to be copied */
    {START LINEAR("a", "d", "wq", "bq") LINEAR("b", "d", "wk", "bk") LINEAR("c", "d", "wv", "bv")
         "const ten s64 [3] 0 10 16\nq2 = Reshape(a, ten)\nk1 = Reshape(b, ten)\n"
         "k2 = Transpose(k1) perm=[0,2,1]\nv2 = Reshape(c, ten)\n"
         QDQ("qd", "q2", "s1", "z") QDQ("kd", "k2", "s2", "z1") QDQ("vd", "v2", "s3", "z2") END, THREE},
    /* a GELU behind the queries: as floats, and within the product's end; there a sum behind the values too */
    {PROJECTIONS GELU("g", "a") QUERIES("q", "g") KEYS("k", "b") QUERIES("v", "c") CODES("gq", "g", "s1", "z")
         "output gq\n" QDQ("qd", "q2", "s1", "z") QDQ("kd", "k2", "s2", "z1") QDQ("vd", "v2", "s3", "z2") END,
     "quantize qgemm qgemm quantize quantize qattention"},
    {PROJECTIONS GELU("g", "a") CODES("gq", "g", "s1", "z") QUERIES("q", "gq") KEYS("k", "b") QUERIES("v", "c")
         "qd = DequantizeLinear(q2, s1, z)\n" QDQ("kd", "k2", "s2", "z1") QDQ("vd", "v2", "s3", "z2") END, TWO},
    {PROJECTIONS "input e f32 [batch,5,32]\nt = Add(c, e)\n" CODES("tq", "t", "s3", "z2") QUERIES("q", "a")
         KEYS("k", "b") QUERIES("v", "tq") QDQ("qd", "q2", "s1", "z") QDQ("kd", "k2", "s2", "z1")
         "vd = DequantizeLinear(v2, s3, z2)\n" END, TWO},
};

START_TEST(join__apart)
{
    check(apart[_i].text, apart[_i].steps);
}
END_TEST

static bool keep_one(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return strcmp(v->name, "kd_q") == 0;
}

static int count(const char *text, const char *word)
{
    int n = 0;
    for (; (text = strstr(text, word)); text++)
        n++;
    return n;
}

/* With a tap nothing is joined; without fusion or rewriting neither. */
START_TEST(join__kept)
{
    ptq_graph *g = parse(PROJECTIONS OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END);
    ptq_lower_options kept = whole;
    char steps[2048];
    kept.keep = keep_one;
    const ptq_lower_options *const rows[] = {&kept, &fused, &plain};
    outputs want = run(g, &plain, 2, steps, sizeof steps);
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        outputs o = run(g, rows[i], 2, steps, sizeof steps);
        ck_assert_int_eq(count(steps, "qgemm"), 3);
        check_same(&o, &want);
        free_outputs(&o);
    }
    free_outputs(&want);
    ptq_graph_free(g);
}
END_TEST

/* One step for all: its name tells so, its products are counted, its weights lie in one tensor. */
START_TEST(join__step)
{
    ptq_graph *g = parse(PROJECTIONS OPERANDS("s1", "z", "s2", "z1", "s3", "z2") END), *own;
    ptq_program *p;
    ck_assert_ok(ptq_graph_clone(g, &own));
    ck_assert_ok(ptq_rearrange(own));
    ck_assert_ok(ptq_lower(own, &whole, &p));
    const ptq_step *found = NULL;
    for (size_t i = 0; i < p->steps.n; i++)
        if (strcmp(p->steps.v[i].def->name, "qgemm") == 0)
            found = &p->steps.v[i];
    ck_assert_ptr_nonnull(found);
    const ptq_qlinear_params *q = found->params;
    const ptq_tensor *w = p->values.v[found->in[1]].constant;
    ck_assert_ptr_nonnull(strstr(found->name, " and 2 more"));
    ck_assert_int_eq(q->channels, 96);
    ck_assert_int_eq(q->nparts, 3);
    ck_assert_int_eq(q->part[1].end, 64);
    ck_assert(q->part[1].y.zp == 5 && q->part[2].y.zp == -7 && q->part[2].y.scale == 0.017f);
    ck_assert_int_eq(w->dims[0], 16);
    ck_assert_int_eq(w->dims[1], 96);
    ck_assert(found->macs == 5.0 * 16 * 96);
    ptq_program_free(p);
    ptq_graph_free(own);
    ptq_graph_free(g);
}
END_TEST

/* More than 4 MiB of weights: they lie in a file. */
START_TEST(join__large)
{
    check(SHARED "input x f32 [batch,5,1024]\nconst s1 f32 [] 0.3\nconst s2 f32 [] 0.41\nconst bq f32 [1408]\n"
              WEIGHT("wq", 1024, 1408) WEIGHT("wk", 1024, 1408) WEIGHT("wv", 1024, 1408) QDQ("d", "x", "s", "z")
              LINEAR("a", "d", "wq", "bq") LINEAR("b", "d", "wk", "bq") LINEAR("c", "d", "wv", "bq")
              "k2 = Transpose(b) perm=[0,2,1]\n" QDQ("qd", "a", "s1", "z") QDQ("kd", "k2", "s2", "z")
              QDQ("vd", "c", "s1", "z") END, ONE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_join");
    TCase *t = tcase_create("join");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, join__together, 0, (int)PTQ_COUNT(together));
    tcase_add_loop_test(t, join__apart, 0, (int)PTQ_COUNT(apart));
    tcase_add_test(t, join__kept);
    tcase_add_test(t, join__step);
    tcase_add_test(t, join__large);
    suite_add_tcase(s, t);
    return unit_run(s);
}
