/* SPDX-License-Identifier: Apache-2.0 */
/* First convolutions with a MaxPool behind them: the device makes one step of both, and no byte changes. */
#include "tests/fused.h"

#define GRIDS "const s f32 [] 0.05\nconst z s8 [] 0\nconst u u8 [] 131\nconst w8 f32 [] 0.004\nconst sy f32 [] 0.06\n" \
              "const t s8 [] -128\nconst z32 s32 [] 0\nconst sb f32 [] 0.0002\n"
#define QDQ(out, in, s, z) \
    out "_q = QuantizeLinear(" in ", " s ", " z ")\n" out " = DequantizeLinear(" out "_q, " s ", " z ")\n"
#define WEIGHT(name, m, c, h, w) \
    "const " name "_c s8 [" #m "," #c "," #h "," #w "]\n" name " = DequantizeLinear(" name "_c, w8, z)\n"
#define START GRIDS "input x f32 [batch,3,20,26]\n" QDQ("d", "x", "s", "z") WEIGHT("w", 32, 3, 7, 7)
#define CONV "a = Conv(d, w) pads=[3,3,3,3] strides=[2,2]\n"
#define POOL "p = MaxPool(e) kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1]\n"
#define END QDQ("y", "p", "sy", "z") "output y\n"

#ifdef PTQ_TEST_GPU
#define ONE "quantize qconv dequantize"
#else
#define ONE TWO
#endif
#define TWO "quantize qconv qmaxpool dequantize"

typedef struct row {
    const char *text, *steps;
} row;

static const row rows[] = {
    {START CONV QDQ("e", "a", "sy", "z") POOL END, ONE},
    {START CONV "r = Relu(a)\n" QDQ("e", "r", "sy", "t") POOL QDQ("y", "p", "sy", "t") "output y\n", ONE},
    {START CONV QDQ("e", "a", "sy", "z") "p = MaxPool(e) kernel_shape=[3,3] strides=[2,2] ceil_mode=1\n" END, ONE},
    /* a least code in the middle, which the one kernel does not take */
    {START "const v s8 [] 7\n" CONV "r = Relu(a)\n" QDQ("e", "r", "sy", "v") POOL QDQ("y", "p", "sy", "v") "output y\n",
     TWO},
    /* a convolution, and windows, strides and dilations, of another kind */
    {START "a = Conv(d, w) pads=[6,6,6,6] strides=[2,2] dilations=[2,2]\n" QDQ("e", "a", "sy", "z") POOL END, TWO},
    {START "a = Conv(d, w) pads=[3,6,3,6] strides=[2,2] dilations=[1,2]\n" QDQ("e", "a", "sy", "z") POOL END, TWO},
    {START CONV QDQ("e", "a", "sy", "z") "p = MaxPool(e) kernel_shape=[2,2] strides=[2,2]\n" END, TWO},
    {START CONV QDQ("e", "a", "sy", "z") "p = MaxPool(e) kernel_shape=[3,3] pads=[1,1,1,1]\n" END, TWO},
    {START CONV QDQ("e", "a", "sy", "z") "p = MaxPool(e) kernel_shape=[3,3] strides=[2,2] dilations=[2,2]\n" END, TWO},
    {START CONV QDQ("e", "a", "sy", "z") "p = MaxPool(e) kernel_shape=[3,3] strides=[2,2] pads=[2,2,0,0]\n" END, TWO},
    /* the codes between are read elsewhere, or an output; the pool's own grid is another */
    {START CONV QDQ("e", "a", "sy", "z") POOL "f = Exp(e)\noutput f\n" END,
     "quantize qconv dequantize qmaxpool Exp dequantize"},
    {START CONV QDQ("e", "a", "sy", "z") POOL "output e_q\n" END, TWO " relayout"},
    {START CONV QDQ("e", "a", "sy", "z") POOL QDQ("y", "p", "s", "z") "output y\n",
     "quantize qconv dequantize MaxPool quantize dequantize"},
    /* many channels in, channels out that are no vectors, a sum in between */
    {GRIDS "input x f32 [batch,5,20,26]\n" QDQ("d", "x", "s", "z") WEIGHT("w", 32, 5, 7, 7) CONV
         QDQ("e", "a", "sy", "z") POOL END,
     TWO},
    {GRIDS "input x f32 [batch,3,20,26]\n" QDQ("d", "x", "s", "z") WEIGHT("w", 24, 3, 7, 7) CONV
         QDQ("e", "a", "sy", "z") POOL END,
     TWO},
    {START WEIGHT("v", 32, 3, 1, 1) CONV "c = Conv(d, v) strides=[2,2]\n" QDQ("k", "c", "sy", "z")
         "g = Add(a, k)\n" QDQ("e", "g", "sy", "z") POOL END,
     "quantize qconv qconv qmaxpool dequantize"},
};

static void check(const char *text, const char *steps)
{
    static const int64_t batches[] = {1, 2, 7};
    ptq_graph *g = parse(text);
    for (size_t i = 0; i < PTQ_COUNT(batches); i++) {
        char have[2][1024];
        outputs apart = run(g, &plain, batches[i], have[0], sizeof have[0]);
        outputs pooled = run(g, &fused, batches[i], have[1], sizeof have[1]);
        if (steps)
            ck_assert_str_eq(have[1], steps);
        check_same(&pooled, &apart);
        free_outputs(&apart);
        free_outputs(&pooled);
    }
    ptq_graph_free(g);
}

START_TEST(pool__steps_and_bytes)
{
    check(rows[_i].text, rows[_i].steps);
}
END_TEST

/* ---- on the device: one kernel or two ---- */

static int pooled, ran; /* runs of steps with a pool in them, those of the one kernel */
#ifdef PTQ_TEST_GPU
static ptq_status note_run(ptq_backend *b, const ptq_step_run *r)
{
    ptq_status s = ptq_backend_cuda.run(b, r);
    const char *name = ptq_backend_cuda.kernel(b);
    bool conv = strcmp(r->step->def->name, "qconv") == 0;
    pooled += conv && ((const ptq_qlinear_params *)r->step->params)->pool;
    ran += name && strcmp(name, "stem_pool") == 0;
    return s;
}
#endif

static void note_kernels(bool on)
{
#ifdef PTQ_TEST_GPU
    static ptq_backend_ops ops;
    ops = ptq_backend_cuda;
    ops.run = note_run;
    fused_ops = on ? &ops : &ptq_backend_cuda;
#else
    (void)on;
#endif
    pooled = on ? 0 : pooled;
    ran = on ? 0 : ran;
}

/* What the one kernel refuses when it is run: a multiplier too large for its rounding, weights that its memory cannot
 * hold. The step is one all the same. */
#define IMAGE GRIDS "input x f32 [batch,3,20,26]\n" QDQ("d", "x", "s", "z")
static const char *const two_kernels[] = {
    IMAGE "const wc f32 [32] 4 0.004\nconst zc s8 [32] 0\nconst w_c s8 [32,3,7,7]\n"
          "w = DequantizeLinear(w_c, wc, zc) axis=0\n" CONV QDQ("e", "a", "sy", "z") POOL END,
    IMAGE WEIGHT("w", 32, 3, 17, 17) "a = Conv(d, w) pads=[8,8,8,8] strides=[2,2]\n" QDQ("e", "a", "sy", "z") POOL END,
};

START_TEST(pool__two_kernels)
{
    bool one_step = strcmp(ONE, TWO) != 0;
    note_kernels(true);
    check(two_kernels[_i], ONE);
    note_kernels(false);
    ck_assert_int_eq(pooled, one_step ? 3 : 0); /* a run per batch */
    ck_assert_int_eq(ran, 0);
}
END_TEST

/* A value that a tap wants is there. */
static bool is_between(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return strcmp(v->name, "e_q") == 0;
}

START_TEST(pool__kept)
{
    ptq_graph *g = parse(rows[0].text);
    ptq_lower_options o = fused;
    char have[1024];
    o.keep = is_between;
    outputs out = run(g, &o, 2, have, sizeof have);
    ck_assert_str_eq(have, TWO);
    free_outputs(&out);
    ptq_graph_free(g);
}
END_TEST

/* Sizes around the strips of 28 pixels and the four taps of a group; both types, any zero point. */
static ptq_rng rng;
static int pick(int lo, int hi)
{
    return lo + (int)ptq_rng_below(&rng, (uint64_t)(hi - lo + 1));
}

static void write_case(char *text, size_t n)
{
    static const int channels[] = {16, 32, 48, 64, 80, 128}, sizes[] = {1, 2, 5, 13, 28, 29, 56, 57, 61, 113, 117};
    int c = pick(1, 4), m = channels[pick(0, 5)], kh = pick(1, 8), kw = pick(2, 11), sh = pick(1, 4), sw = pick(1, 4);
    int ph = pick(0, kh / 2), pw = pick(0, kw / 2), oh = sizes[pick(0, 7)] + 1, ow = sizes[pick(0, 10)] + 1;
    int pool = pick(0, 1);
    int h = (oh - 1) * sh + kh - 2 * ph, w = (ow - 1) * sw + kw - 2 * pw, relu = pick(0, 1), input = pick(0, 1);
    const char *zx = input ? "zx" : "z", *zy = relu ? "t" : pick(0, 1) ? "zy" : "zu";
    size_t at = (size_t)snprintf(text, n, GRIDS "const zx u8 [] %d\nconst zy s8 [] %d\nconst zu u8 [] %d\n",
                                 pick(0, 255), pick(-128, 127), pick(0, 255));
    at += (size_t)snprintf(text + at, n - at, "input x f32 [batch,%d,%d,%d]\n", c, h, w);
    at += (size_t)snprintf(text + at, n - at,
                           "const w_c s8 [%d,%d,%d,%d]\nw = DequantizeLinear(w_c, w8, z)\nconst b_c s32 [%d]",
                           m, c, kh, kw, m);
    for (int i = 0; i < m; i++)
        at += (size_t)snprintf(text + at, n - at, " %d", pick(-9000, 9000));
    at += (size_t)snprintf(text + at, n - at,
                           "\nb = DequantizeLinear(b_c, sb, z32)\nd_q = QuantizeLinear(x, s, %s)\n"
                           "d = DequantizeLinear(d_q, s, %s)\n"
                           "a = Conv(d, w, b) pads=[%d,%d,%d,%d] strides=[%d,%d]\n%s"
                           "e_q = QuantizeLinear(%s, sy, %s)\ne = DequantizeLinear(e_q, sy, %s)\n",
                           zx, zx, ph, pw, ph, pw, sh, sw, relu ? "r = Relu(a)\n" : "",
                           relu ? "r" : "a", zy, zy);
    snprintf(text + at, n - at,
             "p = MaxPool(e) kernel_shape=[3,3] strides=[2,2] pads=[%d,%d,1,1]%s\n"
             "y_q = QuantizeLinear(p, sy, %s)\noutput y_q\n",
             pool, pick(0, 1), pick(0, 2) ? "" : " ceil_mode=1", zy);
}


START_TEST(pool__random)
{
    int cases = 40;
    ptq_rng_seed(&rng, 17);
#ifdef PTQ_TEST_GPU
    const char *small = getenv("PTQ_GPU_SMALL");
    cases = small && strcmp(small, "1") == 0 ? 12 : cases;
#endif
    note_kernels(true);
    for (int i = 0; i < cases; i++) {
        char text[4096];
        write_case(text, sizeof text);
        check(text, NULL);
    }
    note_kernels(false);
#if defined PTQ_TEST_GPU && !defined PTQ_TEST_FAKE
    printf("%d cases, %d runs of one kernel\n", cases, ran);
    ck_assert_int_eq(ran, 3 * cases);
#endif
}
END_TEST

int main(void)
{
    Suite *s = suite_create("convolutions with a pool");
    TCase *t = tcase_create("pool");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, pool__steps_and_bytes, 0, (int)PTQ_COUNT(rows));
    tcase_add_loop_test(t, pool__two_kernels, 0, (int)PTQ_COUNT(two_kernels));
    tcase_add_test(t, pool__kept);
    tcase_add_test(t, pool__random);
    suite_add_tcase(s, t);
    return unit_run(s);
}
