/* SPDX-License-Identifier: Apache-2.0 */
/* Fusions of attention and its surroundings: what steps come out, and that no byte of the outputs changes. */
#include "tests/fused.h"

/* Some output differs from all zeros: else a comparison shows nothing. */
static void check_alive(const outputs *o)
{
    bool alive = false;
    for (size_t i = 0; i < o->n; i++)
        for (size_t k = 1; k < o->t[i].nbytes; k++)
            alive = alive || ((char *)o->t[i].data)[k] != ((char *)o->t[i].data)[0];
    ck_assert(alive);
}

/* The steps with and without rewriting (NULL: any), and the same bytes as without all of it. */
static void check(const char *text, const char *without, const char *with)
{
    static const int64_t batches[] = {1, 2, 7};
    ptq_graph *g = parse(text);
    for (size_t i = 0; i < PTQ_COUNT(batches); i++) {
        char steps[3][2048];
        outputs o[3] = {run(g, &plain, batches[i], steps[0], sizeof steps[0]),
                        run(g, &fused, batches[i], steps[1], sizeof steps[1]),
                        run(g, &whole, batches[i], steps[2], sizeof steps[2])};
        if (without)
            ck_assert_str_eq(steps[1], without);
        if (with)
            ck_assert_str_eq(steps[2], with);
        check_alive(&o[0]);
        check_same(&o[1], &o[0]);
        check_same(&o[2], &o[0]);
        for (int k = 0; k < 3; k++)
            free_outputs(&o[k]);
    }
    ptq_graph_free(g);
}

/* ---- text ---- */

#define WEIGHT(name, rows, cols)                                                                                      \
    "const " name "_c s8 [" #rows "," #cols "]\n" name " = DequantizeLinear(" name "_c, sw, z)\n"
#define QDQ(out, in) out "_q = QuantizeLinear(" in ", s, z)\n" out " = DequantizeLinear(" out "_q, s, z)\n"
#define GELU(out, in)                                                                                                 \
    out "1 = Div(" in ", root)\n" out "2 = Erf(" out "1)\n" out "3 = Add(" out "2, one)\n" out "4 = Mul(" in ", " out \
        "3)\n" out " = Mul(" out "4, half)\n"
#define LINEAR(out, in, w, b) out "m = MatMul(" in ", " w ")\n" out " = Add(" b ", " out "m)\n"

/* ---- whole layers ---- */

/* As torch writes nn.MultiheadAttention: sequence first, a packed projection, a Gemm behind. */
#define ENCODER SHARED \
    "input x f32 [batch,5,8]\n" WEIGHT("win", 8, 24) WEIGHT("wout", 8, 8) WEIGHT("w1", 8, 16) WEIGHT("w2", 16, 8) \
    "const bin f32 [24]\nconst bout f32 [8]\nconst b1 f32 [16]\nconst b2 f32 [8]\n" \
    "const split_to s64 [4] 5 0 3 8\nconst first s64 [1] 0\nconst third s64 [1] 3\n" \
    "const i0 s64 [] 0\nconst i1 s64 [] 1\nconst i2 s64 [] -1\n" \
    "const heads s64 [3] 5 -1 4\nconst four s64 [4] -1 2 5 4\nconst rows s64 [2] -1 8\nconst back s64 [3] 5 -1 8\n" \
    "n1 = LayerNormalization(x, lw, lb) axis=-1\n" \
    "t1 = Transpose(n1) perm=[1,0,2]\n" QDQ("d1", "t1") LINEAR("a1", "d1", "win", "bin") \
    "r1 = Reshape(a1, split_to)\nu1 = Unsqueeze(r1, first)\nt2 = Transpose(u1) perm=[3,1,2,0,4]\n" \
    "s1 = Squeeze(t2, third)\nq1 = Gather(s1, i0) axis=0\nk1 = Gather(s1, i1) axis=0\nv1 = Gather(s1, i2) axis=0\n" \
    "q2 = Reshape(q1, heads)\nq3 = Transpose(q2) perm=[1,0,2]\nq4 = Reshape(q3, four)\nq5 = Mul(q4, factor)\n" \
    "k2 = Reshape(k1, heads)\nk3 = Transpose(k2) perm=[1,0,2]\nk4 = Reshape(k3, four)\n" \
    "k5 = Transpose(k4) perm=[0,1,3,2]\nk6 = Mul(k5, factor)\n" \
    "v2 = Reshape(v1, heads)\nv3 = Transpose(v2) perm=[1,0,2]\nv4 = Reshape(v3, four)\n" \
    QDQ("qd", "q5") QDQ("kd", "k6") QDQ("vd", "v4") \
    "scores = MatMul(qd, kd)\nprob = Softmax(scores) axis=-1\n" \
    "prob_q = QuantizeLinear(prob, sp, z)\nprob_d = DequantizeLinear(prob_q, sp, z)\n" \
    "y1 = MatMul(prob_d, vd)\ny2 = Transpose(y1) perm=[2,0,1,3]\ny3 = Reshape(y2, rows)\n" QDQ("yd", "y3") \
    "o1 = Gemm(yd, wout, bout)\no2 = Reshape(o1, back)\no3 = Transpose(o2) perm=[1,0,2]\n" \
    "x2 = Add(o3, x)\nn2 = LayerNormalization(x2, lw, lb) axis=-1\n" QDQ("d2", "n2") LINEAR("h1", "d2", "w1", "b1") \
    GELU("h2", "h1") QDQ("d3", "h2") LINEAR("h3", "d3", "w2", "b2") "y = Add(x2, h3)\n"
static const char encoder[] = ENCODER "output y\n";

START_TEST(rearrange__vision_encoder)
{
    check(encoder, NULL, "qnorm qgemm qgemm qgemm qattention qgemm qnorm qgemm qgemm");
}
END_TEST

/* A class token: of the last layer only its row is computed behind attention. */
#define HEAD WEIGHT("wh", 8, 6) "const bh f32 [6]\n"
START_TEST(pick__class_token)
{
    static const struct {
        const char *text, *steps;
    } rows[] = {
        {ENCODER HEAD "n3 = LayerNormalization(y, lw, lb) axis=2\nc = Gather(n3, i0) axis=1\n" QDQ("cd", "c")
                "o = Gemm(cd, wh, bh)\noutput o\n",
         "qnorm qgemm qgemm qgemm qattention qmove Gather qgemm qnorm qgemm qgemm qnorm qgemm"},
        /* two readers of the same row, and of another one */
        {ENCODER "n3 = LayerNormalization(y, lw, lb) axis=-1\nc = Gather(n3, i2) axis=1\nd = Gather(n3, i2) axis=1\n"
                 "e = Add(c, half)\nf = Exp(d)\no = Mul(e, f)\noutput o\n",
         "qnorm qgemm qgemm qgemm qattention qmove Gather qgemm qnorm qgemm qgemm LayerNormalization Add Exp Mul"},
        {ENCODER "n3 = LayerNormalization(y, lw, lb) axis=-1\nc = Gather(n3, i1) axis=1\nd = Gather(n3, i2) axis=1\n"
                 "o = Mul(c, d)\noutput o\n",
         "qnorm qgemm qgemm qgemm qattention qgemm qnorm qgemm qgemm LayerNormalization Gather Gather Mul"},
        /* what is needed whole, or works across rows */
        {ENCODER "n3 = LayerNormalization(y, lw, lb) axis=-1\nc = Gather(n3, i0) axis=1\noutput c\noutput n3\n",
         "qnorm qgemm qgemm qgemm qattention qgemm qnorm qgemm qgemm LayerNormalization Gather"},
        {ENCODER "const lw2 f32 [5,8]\nn3 = LayerNormalization(y, lw2) axis=1\nc = Gather(n3, i0) axis=1\noutput c\n",
         "qnorm qgemm qgemm qgemm qattention qgemm qnorm qgemm qgemm LayerNormalization Gather"},
        {ENCODER "n3 = LayerNormalization(y, lw, lb) axis=-1\nc = Gather(n3, i0) axis=2\noutput c\n",
         "qnorm qgemm qgemm qgemm qattention qgemm qnorm qgemm qgemm LayerNormalization Gather"},
    };
    check(rows[_i].text, NULL, rows[_i].steps);
}
END_TEST
enum { PICKS = 6 };

/* As BERT has it: three projections, a mask, LayerNormalization behind the sums. */
static const char bert[] = SHARED
    "input x f32 [batch,5,8]\ninput mask f32 [batch,1,1,5]\n" WEIGHT("wq", 8, 8) WEIGHT("wk", 8, 8) WEIGHT("wv", 8, 8)
    WEIGHT("wo", 8, 8) WEIGHT("w1", 8, 16) WEIGHT("w2", 16, 8)
    "const bq f32 [8]\nconst bk f32 [8]\nconst bv f32 [8]\nconst bo f32 [8]\nconst b1 f32 [16]\nconst b2 f32 [8]\n"
    "const heads s64 [4] 0 5 -1 4\nconst back s64 [3] 0 5 -1\nconst scale f32 [] 0.5\n"
    QDQ("d0", "x") LINEAR("q1", "d0", "wq", "bq") LINEAR("k1", "d0", "wk", "bk") LINEAR("v1", "d0", "wv", "bv")
    "q2 = Reshape(q1, heads)\nq3 = Transpose(q2) perm=[0,2,1,3]\n"
    "k2 = Reshape(k1, heads)\nk3 = Transpose(k2) perm=[0,2,3,1]\n"
    "v2 = Reshape(v1, heads)\nv3 = Transpose(v2) perm=[0,2,1,3]\n" QDQ("qd", "q3") QDQ("kd", "k3") QDQ("vd", "v3")
    "sc = MatMul(qd, kd)\nsm = Mul(sc, scale)\nsa = Add(mask, sm)\nprob = Softmax(sa)\n"
    "prob_q = QuantizeLinear(prob, sp, z)\nprob_d = DequantizeLinear(prob_q, sp, z)\n"
    "y1 = MatMul(prob_d, vd)\ny2 = Transpose(y1) perm=[0,2,1,3]\ny3 = Reshape(y2, back)\n" QDQ("yd", "y3")
    LINEAR("o1", "yd", "wo", "bo") "x2 = Add(o1, x)\nn1 = LayerNormalization(x2, lw, lb) axis=-1\n" QDQ("d1", "n1")
    LINEAR("h1", "d1", "w1", "b1") GELU("h2", "h1") QDQ("d2", "h2") LINEAR("h3", "d2", "w2", "b2")
    "x3 = Add(h3, n1)\ny = LayerNormalization(x3, lw, lb) axis=-1\noutput y\n";

START_TEST(rearrange__bert)
{
    check(bert,
          "quantize qgemm qgemm qgemm Transpose Transpose Transpose quantize quantize quantize qattention qgemm qnorm "
          "qgemm qgemm LayerNormalization",
          "quantize qgemm qgemm qgemm qattention qgemm qnorm qgemm qgemm LayerNormalization");
}
END_TEST

/* A packed projection of [parts, heads, columns], Split, and a constant mask with -inf. */
static const char causal[] = SHARED
    "input x f32 [batch,5,8]\n" WEIGHT("win", 8, 24)
    "const bin f32 [24]\nconst parts s64 [5] 0 0 3 2 4\nconst sizes s64 [3] 1 1 1\nconst first s64 [1] 0\n"
    "const mask f32 [5,5] 0 -inf -inf -inf -inf 0 0 -inf -inf -inf 0 0 0 -inf -inf 0 0 0 0 -inf 0\n"
    QDQ("d0", "x") LINEAR("a", "d0", "win", "bin") "r = Reshape(a, parts)\nt = Transpose(r) perm=[2,0,3,1,4]\n"
    "q0, k0, v0 = Split(t, sizes) axis=0\nq1 = Squeeze(q0, first)\nk1 = Squeeze(k0, first)\nv1 = Squeeze(v0, first)\n"
    "k2 = Transpose(k1) perm=[0,1,3,2]\nq3 = Mul(q1, factor)\nk3 = Mul(k2, factor)\n"
    QDQ("qd", "q3") QDQ("kd", "k3") QDQ("vd", "v1")
    "sc = MatMul(qd, kd)\nsa = Add(sc, mask)\nprob = Softmax(sa) axis=3\n"
    "prob_q = QuantizeLinear(prob, sp, z)\nprob_d = DequantizeLinear(prob_q, sp, z)\ny1 = MatMul(prob_d, vd)\n"
    "y = Transpose(y1) perm=[0,2,1,3]\noutput y\n";

START_TEST(rearrange__packed_projection_and_split)
{
    check(causal, NULL, "quantize qgemm qgemm qgemm qattention");
}
END_TEST

/* ---- float operations in the end of a product ---- */

#define PRODUCT SHARED "input x f32 [batch,5,8]\n" WEIGHT("w", 8, 8) "const b f32 [8]\n" QDQ("d", "x")

START_TEST(tail__chains)
{
    static const struct {
        const char *text, *steps;
    } rows[] = {
        {PRODUCT LINEAR("a", "d", "w", "b") "output a\n", "quantize qgemm"},
        {PRODUCT "m = MatMul(d, w)\na = Mul(factor, m)\noutput a\n", "quantize qgemm"},
        {PRODUCT LINEAR("a", "d", "w", "b") "f = Mul(a, factor)\n" GELU("g", "f") QDQ("y", "g") "output y\n",
         "quantize qgemm dequantize"},
        {PRODUCT LINEAR("a", "d", "w", "b") "y = Add(x, a)\noutput y\n", "quantize qgemm"},
        {PRODUCT LINEAR("a", "d", "w", "b") GELU("g", "a") "e = Add(g, x)\n" QDQ("y", "e") "output y\n",
         "quantize qgemm dequantize"},
        {"opset 20\n" PRODUCT LINEAR("a", "d", "w", "b") "g = Gelu(a)\n" QDQ("y", "g") "output y\n",
         "quantize qgemm dequantize"},
        {PRODUCT LINEAR("a", "d", "w", "b") "c1 = Div(a, root)\nc2 = Erf(c1)\nc3 = Add(one, c2)\nc4 = Mul(half, c3)\n"
                 "c5 = Mul(c4, a)\noutput c5\n",
         "quantize qgemm"},
        /* a clamp goes into the range of codes */
        {PRODUCT LINEAR("a", "d", "w", "b") "r = Relu(a)\n" QDQ("y", "r") "output y\n", "quantize qgemm dequantize"},
        /* two products: the later one takes the sum */
        {PRODUCT WEIGHT("v", 8, 8) LINEAR("a", "d", "w", "b") LINEAR("c", "d", "v", "b") "y = Add(a, c)\noutput y\n",
         "quantize qgemm qgemm"},
        /* two equal quantizers */
        {PRODUCT LINEAR("a", "d", "w", "b") QDQ("y", "a") QDQ("v", "a") "o = Add(y, v)\noutput o\n",
         "quantize qgemm dequantize dequantize Add"},
    };
    check(rows[_i].text, rows[_i].steps, rows[_i].steps);
}
END_TEST
enum { TAIL_CHAINS = 10 };

/* What must stay outside. */
START_TEST(tail__refusals)
{
    static const struct {
        const char *text, *steps;
    } rows[] = {
        /* nothing but a Q behind: the integer law */
        {PRODUCT "m = MatMul(d, w)\n" QDQ("y", "m") "output y\n", "quantize qgemm dequantize"},
        {PRODUCT LINEAR("a", "d", "w", "b") "y = Relu(a)\noutput a\noutput y\n", "quantize qgemm Relu"},
        {PRODUCT LINEAR("a", "d", "w", "b") "e = Exp(a)\ny = Mul(a, e)\noutput y\n", "quantize qgemm Exp Mul"},
        /* another root, another half, another one, exchanged operands of Div */
        {PRODUCT LINEAR("a", "d", "w", "b") "c1 = Div(a, half)\nc2 = Erf(c1)\nc3 = Add(c2, one)\nc4 = Mul(a, c3)\n"
                 "y = Mul(c4, half)\noutput y\n",
         "quantize qgemm Div Erf Add Mul Mul"},
        {PRODUCT LINEAR("a", "d", "w", "b") "c1 = Div(a, root)\nc2 = Erf(c1)\nc3 = Add(c2, half)\nc4 = Mul(a, c3)\n"
                 "y = Mul(c4, half)\noutput y\n",
         "quantize qgemm Div Erf Add Mul Mul"},
        {PRODUCT LINEAR("a", "d", "w", "b") "c1 = Div(a, root)\nc2 = Erf(c1)\nc3 = Add(c2, one)\nc4 = Mul(a, c3)\n"
                 "y = Mul(c4, root)\noutput y\n",
         "quantize qgemm Div Erf Add Mul Mul"},
        {PRODUCT LINEAR("a", "d", "w", "b") "c1 = Div(root, a)\nc2 = Erf(c1)\nc3 = Add(c2, one)\nc4 = Mul(a, c3)\n"
                 "y = Mul(c4, half)\noutput y\n",
         "quantize qgemm Div Erf Add Mul Mul"},
        /* an inner value of the GELU is an output */
        {PRODUCT LINEAR("a", "d", "w", "b") GELU("g", "a") "output g3\noutput g\n", "quantize qgemm Div Erf Add Mul Mul"},
        /* a sum that broadcasts; with itself; of constants of another shape */
        {PRODUCT "input r f32 [1,1,8]\n" LINEAR("a", "d", "w", "b") "y = Add(a, r)\noutput y\n", "quantize qgemm Add"},
        {PRODUCT LINEAR("a", "d", "w", "b") "y = Add(a, a)\noutput y\n", "quantize qgemm Add"},
        {PRODUCT "const c f32 [5,8]\nm = MatMul(d, w)\ny = Add(m, c)\noutput y\n", "quantize qgemm Add"},
        {PRODUCT "const c f32 [1,1,1,8]\nm = MatMul(d, w)\ny = Add(m, c)\noutput y\n", "quantize qgemm Add"},
        /* quantizers that differ */
        {PRODUCT LINEAR("a", "d", "w", "b") QDQ("y", "a") "v_q = QuantizeLinear(a, sv, z)\nv = DequantizeLinear(v_q, sv, z)\n"
                 "o = Add(y, v)\noutput o\n",
         "quantize qgemm quantize dequantize quantize dequantize Add"},
    };
    check(rows[_i].text, rows[_i].steps, rows[_i].steps);
}
END_TEST
enum { TAIL_REFUSALS = 13 };

/* ---- LayerNormalization ---- */

#define NORM SHARED "input x f32 [batch,5,8]\nn = LayerNormalization(x, lw, lb) axis=-1\n"

START_TEST(norm__forms)
{
    static const struct {
        const char *text, *steps;
    } rows[] = {
        {NORM QDQ("y", "n") "output y\n", "qnorm dequantize"},
        {NORM QDQ("y", "n") "e = Exp(n)\noutput y\noutput e\n", "qnorm dequantize Exp"},
        {NORM QDQ("y", "n") "output y\noutput n\n", "qnorm dequantize"},
        {NORM QDQ("y", "n") QDQ("v", "n") "o = Add(y, v)\noutput o\n", "qnorm dequantize dequantize Add"},
        {NORM QDQ("y", "n") "v_q = QuantizeLinear(n, sv, z)\nv = DequantizeLinear(v_q, sv, z)\no = Add(y, v)\noutput o\n",
         "qnorm dequantize quantize dequantize Add"},
        {NORM "output n\n", "LayerNormalization"},
        {SHARED "input x f32 [batch,5,8]\nn, mean = LayerNormalization(x, lw, lb) axis=-1\n" QDQ("y", "n")
                "output y\noutput mean\n",
         "LayerNormalization quantize dequantize"},
    };
    check(rows[_i].text, rows[_i].steps, rows[_i].steps);
}
END_TEST
enum { NORM_FORMS = 7 };

/* ---- attention ---- */

#define ATTENTION(pre, score, post)                                                                                    \
    SHARED "input q f32 [batch,2,5,4]\ninput k f32 [batch,2,4,5]\ninput v f32 [batch,2,5,4]\n" pre QDQ("qd", "q")         \
        QDQ("kd", "k") QDQ("vd", "v") "sc = MatMul(qd, kd)\n" score                                                    \
        "prob = Softmax(s9) axis=-1\nprob_q = QuantizeLinear(prob, sp, z)\nprob_d = DequantizeLinear(prob_q, sp, z)\n"    \
        "y1 = MatMul(prob_d, vd)\n" post
#define FUSED "quantize quantize quantize qattention"
#define APART(scores) "quantize quantize quantize qmatmul " scores "Softmax quantize qmatmul"

START_TEST(attention__forms)
{
    static const struct {
        const char *text, *steps;
    } rows[] = {
        {ATTENTION("", "s9 = Mul(sc, factor)\n", "output y1\n"), FUSED},
        {ATTENTION("", "s9 = Mul(factor, sc)\n", QDQ("y", "y1") "output y\n"), FUSED " dequantize"},
        {ATTENTION("", "s9 = Div(sc, factor)\n", "t = Transpose(y1) perm=[0,2,1,3]\n" QDQ("y", "t") "output y\n"),
         FUSED " dequantize"},
        {ATTENTION("", "s9 = Div(factor, sc)\n", "output y1\n"), APART("Div ")},
        {ATTENTION("", "s9 = Exp(sc)\n", "output y1\n"), APART("Exp ")},
        {ATTENTION("input m f32 [batch,1,5,5]\n", "s9 = Add(sc, m)\n", "output y1\n"), FUSED},
        {ATTENTION("input m f32 [5]\n", "s1 = Mul(sc, factor)\ns9 = Add(m, s1)\n", "output y1\n"), FUSED},
        {ATTENTION("const m f32 [5,1] 0 -inf nan\n", "s9 = Add(sc, m)\n", QDQ("y", "y1") "output y\n"),
         FUSED " dequantize"},
        {ATTENTION("const m f32 [1,2,1,5] -inf -inf -inf -inf -inf 0 -inf inf 1\n", "s9 = Add(sc, m)\n", "output y1\n"),
         FUSED},
        /* a mask that would make the scores larger, or of unknown size */
        {ATTENTION("input m f32 [3,1,1,1,1]\n", "s9 = Add(sc, m)\n", "output y1\n"), APART("Add ")},
        {ATTENTION("input m f32 [more,1,1,5]\n", "s9 = Add(sc, m)\n", "output y1\n"), APART("Add ")},
        /* scores or probabilities that are read elsewhere */
        {ATTENTION("", "s9 = Mul(sc, factor)\n", "output y1\noutput s9\n"), APART("Mul ")},
        {ATTENTION("", "s9 = Mul(sc, factor)\n", "output y1\noutput sc\n"), APART("Mul ")},
        {ATTENTION("", "s9 = Mul(sc, factor)\n", "output y1\noutput prob\n"), APART("Mul ")},
        {ATTENTION("", "s9 = Mul(sc, factor)\n", "output y1\noutput prob_d\n"),
         "quantize quantize quantize qmatmul Mul Softmax quantize dequantize qmatmul"},
        {ATTENTION("", "s9 = Mul(sc, factor)\n", "e = Exp(s9)\noutput y1\noutput e\n"),
         "quantize quantize quantize qmatmul Mul Softmax quantize qmatmul Exp"},
    };
    check(rows[_i].text, rows[_i].steps, rows[_i].steps);
}
END_TEST
enum { ATTENTION_FORMS = 16 };

static bool keep_scores(void *ctx, const ptq_value *v)
{
    return strcmp(v->name, ctx) == 0;
}

/* A tap keeps its value: no fusion hides it, and nothing is rewritten. */
#define ATTEND(q, k, v) \
    "scores = MatMul(" q ", " k ")\nprob = Softmax(scores) axis=-1\nprob_q = QuantizeLinear(prob, sp, z)\n" \
    "prob_d = DequantizeLinear(prob_q, sp, z)\ny1 = MatMul(prob_d, " v ")\n"
#define HEADS(name, in) QDQ(name "0", in) name "1 = Reshape(" name "0_q, cut)\n" name "2 = Transpose(" name "1) perm=[0,2,1,3]\n" \
    name "3 = Reshape(" name "2, join)\n" name " = DequantizeLinear(" name "3, s, z)\n"
#define JOINED SHARED "input q f32 [batch,5,8]\ninput k f32 [batch,5,8]\ninput v f32 [batch,5,8]\n" \
    "const cut s64 [4] 0 5 2 4\nconst join s64 [3] -1 5 4\nconst parts s64 [4] 0 5 2 2\nconst halves s64 [4] 0 2 2 5\n" \
    HEADS("qd", "q") HEADS("kt", "k") HEADS("vd", "v") "kd = Transpose(kt) perm=[0,2,1]\n" ATTEND("qd", "kd", "vd")

/* Movers that no steps can tell, in front of the product and behind it. */
START_TEST(attention__movers_apart)
{
    static const char *const rows[] = {
        SHARED "input x f32 [batch,40,60]\ninput k f32 [batch,16,5]\ninput v f32 [batch,5,8]\n"
               "const to s64 [4] -1 10 15 16\nconst seven s64 [] 7\n" QDQ("xd", "x")
               "t = Transpose(xd) perm=[0,2,1]\nr = Reshape(t, to)\ng = Gather(r, seven) axis=1\n" QDQ("qd", "g")
               QDQ("kd", "k") QDQ("vd", "v") ATTEND("qd", "kd", "vd") QDQ("y", "y1") "output y\n",
        JOINED "y2 = Reshape(y1, parts)\ny3 = Transpose(y2) perm=[0,2,1,3]\n" QDQ("y", "y3") "output y\n",
        JOINED "y2 = Transpose(y1) perm=[0,2,1]\ny3 = Reshape(y2, halves)\ny4 = Transpose(y3) perm=[0,2,1,3]\n"
               QDQ("y", "y4") "output y\n",
    };
    check(rows[_i], NULL, NULL);
}
END_TEST

START_TEST(attention__kept)
{
    char inner[] = "scores", gelu[] = "h24", *names[] = {inner, gelu};
    for (size_t i = 0; i < PTQ_COUNT(names); i++) {
        char steps[2][2048];
        ptq_graph *g = parse(encoder);
        ptq_lower_options kept = whole;
        kept.keep = keep_scores;
        kept.keep_ctx = names[i];
        outputs a = run(g, &plain, 2, steps[0], sizeof steps[0]), b = run(g, &kept, 2, steps[1], sizeof steps[1]);
        check_same(&b, &a);
        ck_assert_ptr_nonnull(strstr(steps[1], i == 0 ? "qmatmul Softmax" : "Erf"));
        ck_assert_ptr_nonnull(strstr(steps[1], "Gather"));
        free_outputs(&a);
        free_outputs(&b);
        ptq_graph_free(g);
    }
}
END_TEST

/* ---- rules that go too far change bytes ---- */

#define ROWWISE SHARED "input x f32 [2,5,8]\n" WEIGHT("w", 8, 8) QDQ("d", "x") \
    "const to s64 [2] -1 8\nconst back s64 [3] -1 5 8\nf = Reshape(d_q, to)\nc = DequantizeLinear(f, s, z)\n"

START_TEST(rearrange__refusals)
{
    static const struct {
        const char *text, *steps;
    } rows[] = {
        /* a Q is not lifted onto a product: it would round another way */
        {PRODUCT "m = MatMul(d, w)\nt = Transpose(m) perm=[0,2,1]\n" QDQ("y", "t") "output y\n",
         "quantize qgemm Transpose quantize dequantize"},
        {PRODUCT "const to s64 [2] -1 8\nm = MatMul(d, w)\nr = Relu(m)\nf = Reshape(r, to)\n" QDQ("y", "f") "output y\n",
         "quantize qgemm Relu quantize dequantize"},
        /* nor onto a sum of codes */
        {PRODUCT QDQ("e", "x") "a = Add(d, e)\nt = Transpose(a) perm=[0,2,1]\n" QDQ("y", "t") "output y\n",
         "quantize dequantize quantize dequantize Add Transpose quantize dequantize"},
        /* the mover's result is an output, or read twice */
        {PRODUCT LINEAR("a", "d", "w", "b") "t = Transpose(a) perm=[0,2,1]\n" QDQ("y", "t") "output y\noutput t\n",
         "quantize qgemm Transpose quantize dequantize"},
        {PRODUCT LINEAR("a", "d", "w", "b") "t = Transpose(a) perm=[0,2,1]\ne = Exp(t)\n" QDQ("y", "t") "output y\noutput e\n",
         "quantize qgemm Transpose Exp quantize dequantize"},
        /* a bias along an axis that moves */
        {PRODUCT "const c f32 [5]\nm = MatMul(d, w)\nt = Transpose(m) perm=[0,2,1]\na = Add(t, c)\noutput a\n",
         "quantize qgemm Transpose Add"},
        /* codes pass, where that is the same */
        {PRODUCT LINEAR("a", "d", "w", "b") "t = Transpose(a) perm=[0,2,1]\nf = Mul(t, factor)\n" QDQ("y", "f") QDQ("v", "f")
                 "o = Add(y, v)\noutput o\n",
         "quantize qgemm qmove dequantize dequantize Add"},
        {PRODUCT "t = Transpose(d) perm=[0,2,1]\n" QDQ("y", "t") "output y\n", "quantize qmove dequantize"},
        {PRODUCT "t = Transpose(d) perm=[0,2,1]\ny_q = QuantizeLinear(t, sv, z)\ny = DequantizeLinear(y_q, sv, z)\noutput y\n",
         "quantize qlut qmove dequantize"},
        /* a function of codes is a table of what the nodes give */
        {PRODUCT "e = Tanh(d)\nt = Transpose(e) perm=[0,2,1]\n" QDQ("y", "t") "output y\n", "quantize qlut qmove dequantize"},
        /* the sum is an output behind the Reshape; a Gemm's rows turned without attention */
        {PRODUCT "const to s64 [2] -1 8\nconst back s64 [3] -1 5 8\nf = Reshape(d_q, to)\nc = DequantizeLinear(f, s, z)\n"
                 "g = Gemm(c, w, b)\nr = Reshape(g, back)\ny = Add(r, x)\noutput y\n",
         "quantize qgemm"},
        {PRODUCT "const to s64 [2] -1 8\nconst back s64 [3] -1 5 8\nf = Reshape(d_q, to)\nc = DequantizeLinear(f, s, z)\n"
                 "g = Gemm(c, w, b)\nr = Reshape(g, back)\ny = Transpose(r) perm=[1,0,2]\noutput y\n",
         "quantize qmove qgemm"},
        /* a Transpose of codes in front of products: one is quantized directly behind, so it stays */
        {PRODUCT "t = Transpose(d_q) perm=[1,0,2]\nc = DequantizeLinear(t, s, z)\n" LINEAR("a", "c", "w", "b")
                 "n = MatMul(c, w)\n" QDQ("e", "n") "output a\noutput e\n",
         "quantize qmove qgemm qgemm dequantize"},
        {PRODUCT "t = Transpose(d_q) perm=[1,0,2]\nc = DequantizeLinear(t, s, z)\n" LINEAR("a", "c", "w", "b")
                 "f = Mul(a, factor)\n" QDQ("e", "f") "output e\n",
         "quantize qgemm qmove dequantize"},
        /* DequantizeLinear stays in front of movers: behind them the product would run in integers */
        {PRODUCT "t = Transpose(d) perm=[1,0,2]\nm = MatMul(t, w)\noutput m\n", NULL},
        {PRODUCT "t = Transpose(d) perm=[0,2,1]\nm = MatMul(d, t)\noutput m\n", NULL},
        {PRODUCT QDQ("e", "x") "t = Transpose(d) perm=[0,2,1]\nu = Transpose(e) perm=[0,2,1]\np = Mul(t, u)\n" QDQ("y", "p")
                 "output y\n", NULL},
        {PRODUCT "t = Transpose(d) perm=[1,0,2]\nm = MatMul(t, w)\n" QDQ("y", "m") "output y\n", NULL},
        /* but goes behind them where floats are joined */
        {PRODUCT "t = Transpose(d) perm=[0,2,1]\nu = Transpose(x) perm=[0,2,1]\nv = Exp(u)\nc = Concat(t, v) axis=1\noutput c\n",
         NULL},
        /* what a Gemm adds is another in each row */
        {ROWWISE "const c2 f32 [10,8]\ng = Gemm(c, w, c2)\nr = Reshape(g, back)\ny = Transpose(r) perm=[1,0,2]\noutput y\n", NULL},
        {ROWWISE "const c2 f32 [10,1]\ng = Gemm(c, w, c2)\nr = Reshape(g, back)\ny = Transpose(r) perm=[1,0,2]\noutput y\n", NULL},
        {ROWWISE "const c2 f32 [10,8]\nconst one_row s64 [] 1\ng = Gemm(c, w, c2)\nr = Reshape(g, back)\n"
                 "y = Gather(r, one_row) axis=1\noutput y\n", NULL},
    };
    check(rows[_i].text, NULL, rows[_i].steps);
}
END_TEST
enum { REFUSALS = 22 };

/* A Gather passes no Q that an integer step ends in, and brings none to where it would be one. */
START_TEST(pick__laws)
{
    static const struct {
        const char *text, *steps;
    } rows[] = {
        {PRODUCT "const i s64 [] 1\nm = MatMul(d, w)\n" QDQ("y", "m") "c = Gather(y, i) axis=1\noutput c\n",
         "quantize qgemm dequantize Gather"},
        {PRODUCT "const i s64 [] 1\nm = MatMul(d, w)\n" QDQ("y", "m") "c = Gather(y, i) axis=1\n" QDQ("e", "c") "output e\n",
         "quantize qgemm qmove dequantize"},
        /* a product of floats behind the Gather stays one */
        {PRODUCT "const i s64 [] 1\nc = Gather(d, i) axis=1\nm = MatMul(c, w)\noutput m\n",
         "quantize dequantize Gather MatMul"},
        /* others read the codes, too */
        {PRODUCT "const i s64 [] 1\n" LINEAR("a", "d", "w", "b") "c = Gather(a, i) axis=1\ne = Exp(d)\noutput e\noutput c\n",
         "quantize dequantize qmove qgemm Exp"},
        {PRODUCT "const i s64 [] 1\nm = MatMul(d, w)\nc = Gather(m, i) axis=1\n" QDQ("y", "c") "output y\n",
         "quantize qgemm Gather quantize dequantize"},
        {PRODUCT "const i s64 [] 1\nm = MatMul(d, w)\nc = Gather(m, i) axis=1\nr = Relu(c)\n" QDQ("y", "r") "output y\n",
         "quantize qgemm Gather Relu quantize dequantize"},
        {PRODUCT "const i s64 [] 1\n" QDQ("e", "x") "a = Add(d, e)\nc = Gather(a, i) axis=1\n" QDQ("y", "c") "output y\n",
         "quantize dequantize quantize dequantize Add Gather quantize dequantize"},
        {PRODUCT "const i s64 [] 1\n" LINEAR("a", "d", "w", "b") QDQ("y", "a") "c = Gather(y, i) axis=1\n" QDQ("e", "c") "output e\n",
         "quantize qmove qgemm dequantize"},
        {PRODUCT "const i s64 [] 1\n" LINEAR("a", "d", "w", "b") "c = Gather(a, i) axis=1\ne = Exp(c)\noutput e\n",
         "quantize qmove qgemm Exp"},
    };
    check(rows[_i].text, NULL, rows[_i].steps);
}
END_TEST
enum { PICK_LAWS = 9 };

/* A packed projection with a scale and zero point per column, taken apart by Split on the columns. */
START_TEST(rearrange__columns)
{
    check(SHARED "input x f32 [batch,5,8]\nconst wc s8 [8,6]\nconst ws f32 [6] 0.004 0.005 0.002 0.003 0.001 0.006\n"
                 "const wz s8 [6] 1 -2 0 3 5 -7\nconst b f32 [6]\nconst sizes s64 [2] 2 4\n" QDQ("d", "x")
                 "w = DequantizeLinear(wc, ws, wz) axis=1\nm = MatMul(d, w)\na = Add(m, b)\n"
                 "y, v = Split(a, sizes) axis=-1\n" QDQ("e", "y") "f = Mul(v, factor)\noutput e\noutput f\n",
          "quantize qgemm Split quantize dequantize Mul", "quantize qgemm dequantize qgemm");
}
END_TEST

/* The same by Slice; columns that are read twice, or along another axis, stay in one product. */
START_TEST(rearrange__slices)
{
#define SLICES(rest)                                                                                                  \
    PRODUCT "const p0 s64 [1] 0\nconst p3 s64 [1] 3\nconst p5 s64 [1] 5\nconst far s64 [1] 1000\nconst m1 s64 [1] -1\n"   \
            "const m3 s64 [1] -3\nconst a1 s64 [1] 1\n" LINEAR("a", "d", "w", "b") rest
    static const struct {
        const char *text, *steps;
    } rows[] = {
        {SLICES("y = Slice(a, p0, p5, m1)\nv = Slice(a, m3, far, m1)\n" QDQ("e", "y") "f = Mul(v, factor)\n"
                "output e\noutput f\n"),
         "quantize qgemm dequantize qgemm"},
        {SLICES("y = Slice(a, p0, p5, m1)\nv = Slice(a, p3, far, m1)\n" QDQ("e", "y") "f = Mul(v, factor)\n"
                "output e\noutput f\n"),
         "quantize qgemm Slice Slice quantize dequantize Mul"},
        {SLICES("y = Slice(a, p0, p3, a1)\n" QDQ("e", "y") "output e\n"), "quantize qgemm Slice quantize dequantize"},
    };
    check(rows[_i].text, NULL, rows[_i].steps);
}
END_TEST
enum { SLICE_FORMS = 3 };

/* Long chains are gone through in linear time. */
START_TEST(rearrange__many_nodes)
{
    enum { N = 20000 };
    ptq_graph *g = parse(PRODUCT LINEAR("a", "d", "w", "b"));
    ptq_value *v = ptq_graph_find(g, "a"), *c = ptq_graph_find(g, "factor");
    for (int i = 0; i < N; i++) {
        ptq_node *n;
        ptq_value *y;
        char name[32];
        snprintf(name, sizeof name, "v%d", i);
        bool mul = i % 2;
        ck_assert_ok(ptq_graph_node(g, mul ? "Mul" : "Transpose", "", NULL, mul ? 2 : 1, 1, NULL, &n));
        ptq_node_set_input(g, n, 0, v);
        if (mul)
            ptq_node_set_input(g, n, 1, c);
        else
            ck_assert_ok(ptq_attr_set_ints(g, n, "perm", (int64_t[]){0, 2, 1}, 3));
        ck_assert_ok(ptq_graph_value(g, name, &y));
        ptq_node_set_output(g, n, 0, y);
        v = y;
    }
    ck_assert_ok(ptq_graph_add_output(g, v));
    ck_assert_ok(ptq_infer_graph(g));
    char steps[128];
    outputs o = run(g, &whole, 1, steps, sizeof steps);
    free_outputs(&o);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_rearrange");
    TCase *t = tcase_create("layers");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, rearrange__vision_encoder);
    tcase_add_loop_test(t, pick__class_token, 0, PICKS);
    tcase_add_loop_test(t, pick__laws, 0, PICK_LAWS);
    tcase_add_test(t, rearrange__bert);
    tcase_add_test(t, rearrange__packed_projection_and_split);
    tcase_add_loop_test(t, tail__chains, 0, TAIL_CHAINS);
    tcase_add_loop_test(t, tail__refusals, 0, TAIL_REFUSALS);
    tcase_add_loop_test(t, norm__forms, 0, NORM_FORMS);
    tcase_add_loop_test(t, attention__forms, 0, ATTENTION_FORMS);
    tcase_add_loop_test(t, attention__movers_apart, 0, 3);
    tcase_add_test(t, attention__kept);
    tcase_add_loop_test(t, rearrange__refusals, 0, REFUSALS);
    tcase_add_test(t, rearrange__columns);
    tcase_add_loop_test(t, rearrange__slices, 0, SLICE_FORMS);
    tcase_add_test(t, rearrange__many_nodes);
    suite_add_tcase(s, t);
    return unit_run(s);
}
