/* SPDX-License-Identifier: Apache-2.0 */
/* Products of floats in float16 against the exact ones of the CPU: small whole numbers, whose products and sums are
 * exact in both, so that every element must be the CPU's; real numbers, which may be off by the rounding of the
 * operands alone; numbers that float16 has not. And which products they are. On the stand-in device the reference
 * kernels, on a real one every tile in turn (PTQ_GPU_SMALL=1: little work). */
#include <math.h>

#include "lib/core/cast.h"
#include "lib/exec/session.h"
#include "lib/graph/ops.h"
#include "tests/gpu_kit.h"
#include "tests/graph_text.h"
#ifdef PTQ_TEST_FAKE
#include "tests/fake_dev.h"
#endif

/* Numbers in inputs and constants: whole ones; also NaN here and there in inputs, or in a third of their rows; real. */
enum { WHOLE, HOLES, ROWS, REAL };
enum { AS_DRAWN, ROUNDED, ABSOLUTE }; /* operands as they are; as float16 has them; all numbers without their sign */

static uint64_t seed;

static float changed(float v, int how, bool operand)
{
    if (how == ROUNDED && operand)
        return ptq_half_to_float(ptq_float_to_half(ptq_fclamp(v, -65504.0f, 65504.0f)));
    return how == ABSOLUTE ? fabsf(v) : v;
}

/* Operands of products have names that begin with w, x or z; the others only join their results. */
static void draw(const char *name, const ptq_tensor *t, int numbers, int how)
{
    ptq_rng r;
    ptq_rng_seed(&r, seed + (unsigned char)name[0]);
    for (int64_t i = 0; i < ptq_tensor_elements(t); i++) {
        float v = numbers != REAL ? (float)((int)ptq_rng_below(&r, 17) - 8) : 4.0f * ptq_rng_uniform(&r) - 2.0f;
        if (name[0] == 'x' && ((numbers == HOLES && ptq_rng_below(&r, 150) == 0) ||
                               (numbers == ROWS && i / t->dims[t->rank - 1] % 3 == 1)))
            v = NAN;
        ((float *)t->data)[i] = changed(v, how, strchr("wxz", name[0]) != NULL);
    }
}

static ptq_graph *parsed(const char *text, int numbers, int how)
{
    ptq_graph *g = gt_parse(text);
    for (size_t i = 0; i < g->values.n; i++) {
        const ptq_value *v = g->values.v[i];
        if (v && v->constant && v->constant->dtype == PTQ_DT_F32 && strchr("wbc", v->name[0]))
            draw(v->name, v->constant, numbers, how);
    }
    ck_assert_ok(ptq_infer_graph(g));
    return g;
}

/* What is expected of the only product: is it marked, and what is in the name of its kernel ("": whatever). */
typedef struct wanted {
    bool half;
    char kernel[32];
} wanted;

/* The stand-in device has the reference kernels alone. */
static wanted want_tile(const char *kernel, const char *tile)
{
    wanted w = {.half = true};
#ifdef PTQ_TEST_FAKE
    tile = NULL;
#endif
    snprintf(w.kernel, sizeof w.kernel, "half_%s%s%s", kernel, tile ? "_" : "", tile ? tile : "");
    return w;
}

static void check_kernel(const ptq_session *s, const wanted *w)
{
    const ptq_program *p = ptq_session_program(s);
    const char *kernel = ptq_backend_cuda.kernel(ptq_session_backend(s));
    ck_assert_uint_eq(p->steps.n, 1);
    ck_assert_int_eq(p->steps.v[0].half, w->half);
    kernel = kernel ? kernel : "nothing";
    ck_assert_msg(!*w->kernel || strstr(kernel, w->kernel), "ran %s, not %s", kernel, w->kernel);
}

enum { GUARD = 64 };

/* From and into memory of the device; nothing may be written behind the result. */
static float *on_device(ptq_session *s, const ptq_tensor *in, size_t nin, const wanted *w, size_t *n)
{
    ptq_backend *b = ptq_session_backend(s);
    ptq_tensor there[2], out;
    ck_assert_ok(ptq_session_shapes(s, in, nin, &out, 1));
    uint8_t *y = malloc(out.nbytes + GUARD);
    ck_assert_ptr_nonnull(y);
    memset(y, 0xa5, out.nbytes + GUARD);
    for (size_t i = 0; i < nin; i++) {
        there[i] = in[i];
        ck_assert_ok(ptq_backend_cuda.alloc(b, in[i].nbytes + 1, &there[i].data));
        ck_assert_ok(ptq_backend_cuda.upload(b, there[i].data, in[i].data, in[i].nbytes));
    }
    ck_assert_ok(ptq_backend_cuda.alloc(b, out.nbytes + GUARD, &out.data));
    ck_assert_ok(ptq_backend_cuda.upload(b, out.data, y, out.nbytes + GUARD));
    ck_assert_ok(ptq_session_enqueue(s, there, nin, &out, 1, NULL));
    ck_assert_ok(ptq_backend_cuda.download(b, y, out.data, out.nbytes + GUARD));
    if (out.nbytes)
        check_kernel(s, w);
    for (size_t i = 0; i < GUARD; i++)
        ck_assert_int_eq(y[out.nbytes + i], 0xa5);
    for (size_t i = 0; i < nin; i++)
        ptq_backend_cuda.free(b, there[i].data);
    ptq_backend_cuda.free(b, out.data);
    *n = out.nbytes / sizeof(float);
    return (float *)y;
}

/* The output; `w` NULL: on the CPU. batch: what a symbol stands for. */
static float *result(const char *text, int numbers, int how, int64_t batch, const wanted *w, size_t *n)
{
    ptq_graph *g = parsed(text, numbers, how);
    ptq_session *s;
    ptq_session_options o = {.backend = "cpu", .lower = {.fuse = true}};
    ptq_tensor in[2], out;
    if (w)
        o = (ptq_session_options){.ops = &ptq_backend_cuda, .lower = {.fuse = true}, .device = {.half_products = true}};
    ck_assert_ok(ptq_session_new(g, &o, &s));
    for (size_t i = 0; i < g->inputs.n; i++) {
        const ptq_value *v = g->inputs.v[i];
        in[i] = (ptq_tensor){.dtype = PTQ_DT_F32, .rank = v->shape.rank};
        for (int d = 0; d < v->shape.rank; d++)
            in[i].dims[d] = ptq_dim_known(v->shape.dims[d]) ? v->shape.dims[d].add : batch;
        ck_assert_ok(ptq_tensor_alloc(&in[i]));
        draw(v->name, &in[i], numbers, how);
    }
    float *y = w ? on_device(s, in, g->inputs.n, w, n) : NULL;
    if (!w) {
        ck_assert_ok(ptq_session_run(s, in, g->inputs.n, &out, 1));
        *n = out.nbytes / sizeof(float);
        y = malloc(out.nbytes + 1);
        ck_assert_ptr_nonnull(y);
        memcpy(y, out.data, out.nbytes);
    }
    for (size_t i = 0; i < g->inputs.n; i++)
        free(in[i].data);
    ptq_session_free(s);
    ptq_graph_free(g);
    return y;
}

/* Every element is the CPU's. NaN tell what was read that does not belong to a sum. */
static void check_whole(const char *text, int numbers, int64_t batch, const wanted *w)
{
    size_t n, m;
    float *want = result(text, numbers, AS_DRAWN, batch, NULL, &m);
    float *have = result(text, numbers, AS_DRAWN, batch, w, &n);
    ck_assert_uint_eq(n, m);
    for (size_t i = 0; i < n; i++)
        if (have[i] != want[i] && !(isnan(have[i]) && isnan(want[i])))
            ck_abort_msg("%s%s: element %zu of %zu is %g, not %g", text, w->kernel, i, n, (double)have[i],
                         (double)want[i]);
    free(want);
    free(have);
}

/* k: products of a sum. Rounding both operands moves each product by 2^-10 of its size (and a little for operands that
 * are subnormal there); adding in another order moves the sum by k 2^-22 of their sizes at most. */
static void check_real(const char *text, int64_t batch, int k, const wanted *w)
{
    size_t n, m, off = 0;
    float *have = result(text, REAL, AS_DRAWN, batch, w, &n), *exact = result(text, REAL, AS_DRAWN, batch, NULL, &m);
    float *rounded = result(text, REAL, ROUNDED, batch, NULL, &m);
    float *size = result(text, REAL, ABSOLUTE, batch, NULL, &m);
    double order = (double)k * 0x1p-22;
    ck_assert_uint_eq(n, m);
    for (size_t i = 0; i < n; i++) {
        double bound = order * (size[i] + 1.0), all = bound + 0x1.01p-10 * size[i];
        off += have[i] != exact[i];
        if (!(fabs((double)have[i] - rounded[i]) <= bound && fabs((double)have[i] - exact[i]) <= all))
            ck_abort_msg("%s: element %zu is %.8g, with rounded operands %.8g, exact %.8g; may differ by %.2g, %.2g",
                         text, i, (double)have[i], (double)rounded[i], (double)exact[i], bound, all);
    }
    if (n > 50) /* a Relu may have made zeros of many */
        ck_assert_msg(off > n / 10, "%s: only %zu of %zu elements differ", text, off, n);
    free(have);
    free(exact);
    free(rounded);
    free(size);
}

/* ---- random shapes around the edges of tiles and slices ---- */

#ifdef PTQ_TEST_FAKE
static const char *const conv_tiles[] = {NULL}, *const product_tiles[] = {NULL};
#else
static const char *const conv_tiles[] = {NULL, "128x128", "64x128", "64x64"};
static const char *const product_tiles[] = {NULL, "128x128", "128x64", "64x64"};
#endif
enum { CONV_TILES = (int)PTQ_COUNT(conv_tiles), PRODUCT_TILES = (int)PTQ_COUNT(product_tiles) }; /* as many */

static void force(const char *tile)
{
    if (tile)
        setenv("PTQ_GPU_HALF", tile, 1);
    else
        unsetenv("PTQ_GPU_HALF");
}

#define ONE_OF(...) ((int[]){__VA_ARGS__})[pick(0, (int)PTQ_COUNT(((int[]){__VA_ARGS__})) - 1)]

static int rows_of_tile(void)
{
    return small_shapes() ? ONE_OF(4, 5, 16, 17, 63, 64, 65, 130)
                          : ONE_OF(4, 7, 16, 17, 31, 63, 64, 65, 127, 128, 129, 200);
}

/* "[a,b]" */
static const char *list(char (*text)[64], int n, const int *v)
{
    size_t at = 0;
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(*text + at, sizeof *text - at, "%c%d", i ? ',' : '[', v[i]);
    snprintf(*text + at, sizeof *text - at, "]");
    return *text;
}

/* A convolution over up to three dimensions; *k: products of a sum. */
static void draw_conv(char *text, size_t size, int *k, int64_t *batch)
{
    static const char *const ends[] = {"output y0\n", "y = Relu(y0)\noutput y\n",
                                       "const lo f32 [] -20\nconst hi f32 [] 31\ny = Clip(y0, lo, hi)\noutput y\n"};
    int n = pick(1, 3), groups = pick(0, 3) ? 1 : pick(2, 3), most = n == 1 ? 300 : n == 2 ? 17 : 7;
    int x[5], w[5], stride[3], dilation[3], pads[6];
    bool point = pick(0, 3) == 0, bias = pick(0, 1);
    char b[40] = "", t[6][64];
    w[0] = groups * (groups > 1 ? pick(4, 40) : rows_of_tile());
    w[1] = *k = pick(0, 2) ? ONE_OF(16, 17, 24, 31, 32, 33, 48, 64, 65) : pick(1, 15);
    for (int i = 0; i < n; i++) {
        int kernel = w[2 + i] = point ? 1 : pick(1, n == 3 ? 3 : 5);
        stride[i] = point && pick(0, 1) ? 1 : pick(1, 3);
        dilation[i] = pick(0, 2) ? 1 : pick(2, 3);
        pads[i] = point ? 0 : pick(0, kernel - 1);
        pads[n + i] = point ? 0 : pick(0, kernel - 1);
        int least = (kernel - 1) * dilation[i] + 1 - pads[i] - pads[n + i];
        least = least > 1 ? least : 1;
        x[2 + i] = pick(least, least + most);
        *k *= kernel;
    }
    while (*k < 16) {
        *k += *k / w[1];
        w[1]++;
    }
    x[1] = groups * w[1];
    *batch = ONE_OF(0, 1, 1, 2, 7);
    if (bias)
        snprintf(b, sizeof b, "const b f32 [%d]\n", w[0]);
    snprintf(text, size,
             "input x f32 [batch,%s\nconst w f32 %s\n%sy0 = Conv(x, w%s) group=%d strides=%s dilations=%s "
             "kernel_shape=%s pads=%s\n%s",
             list(&t[0], n + 1, x + 1) + 1, list(&t[1], n + 2, w), b, bias ? ", b" : "", groups, list(&t[2], n, stride),
             list(&t[3], n, dilation), list(&t[4], n, w + 2), list(&t[5], 2 * n, pads), ends[pick(0, 2)]);
}

START_TEST(gpu_half__convolutions)
{
    const char *tile = conv_tiles[_i];
    ptq_rng_seed(&rng, 20 + (uint64_t)_i);
    force(tile);
    for (int i = 0; i < (small_shapes() ? 12 : 120); i++) {
        char text[1024];
        int k;
        int64_t batch;
        draw_conv(text, sizeof text, &k, &batch);
        seed = (uint64_t)(1000 * _i + i);
        wanted w = want_tile("conv", tile);
        check_whole(text, i % 3 ? WHOLE : HOLES, batch, &w);
        if (i % 4 == 0 && !strstr(text, "Clip"))
            check_real(text, batch, k, &w);
    }
    force(NULL);
}
END_TEST

/* MatMul and Gemm in every form; *constant: the right side is a weight. */
static void draw_product(char *text, size_t size, int *k, int64_t *batch, bool *constant)
{
    int m = rows_of_tile(), n = rows_of_tile(), b0 = pick(1, 3), b1 = pick(1, 3), form = pick(0, 6);
    char c[40] = "";
    *k = pick(0, 2) ? ONE_OF(16, 17, 31, 32, 33, 40, 63, 64, 65, 97, 128, 131) : pick(16, 160);
    *batch = ONE_OF(0, 1, 2, 7);
    *constant = form < 4;
    if (form == 0) /* rows of all batches are those of one matrix */
        snprintf(text, size, "input x f32 [batch,%d,%d]\nconst w f32 [%d,%d]\ny = MatMul(x, w)\noutput y\n", m, *k, *k,
                 n);
    else if (form == 1) /* a weight for each batch, broadcast or not */
        snprintf(text, size, "input x f32 [batch,%d,%d,%d]\nconst w f32 [%d,%d,%d]\ny = MatMul(x, w)\noutput y\n",
                 pick(0, 1) ? b0 : 1, m, *k, b0, *k, n);
    else if (form == 2) /* a vector */
        snprintf(text, size, "input x f32 [%d]\nconst w f32 [%d,%d]\ny = MatMul(x, w)\noutput y\n", *k, *k, n);
    else if (form == 4) /* two computed operands, with broadcasting */
        snprintf(text, size, "input x f32 [batch,%d,%d,%d]\ninput z f32 [%d,%d,%d]\ny = MatMul(x, z)\noutput y\n",
                 pick(0, 1) ? b1 : 1, m, *k, pick(0, 1) ? b1 : 1, *k, n);
    else if (form == 5) /* the left one is a weight */
        snprintf(text, size, "input x f32 [batch,%d,%d]\nconst w f32 [%d,%d]\ny = MatMul(w, x)\noutput y\n", *k, n, m,
                 *k);
    if (form != 3 && form != 6)
        return;
    bool ta = pick(0, 1), tb = pick(0, 1), scaled = pick(0, 1);
    char left[32], right[32];
    switch (pick(0, 6)) {
    case 0: snprintf(c, sizeof c, "const c f32 [%d]\n", n); break;
    case 1: snprintf(c, sizeof c, "const c f32 [1,%d]\n", n); break;
    case 2: snprintf(c, sizeof c, "const c f32 [%d,1]\n", m); break;
    case 3: snprintf(c, sizeof c, "const c f32 [%d,%d]\n", m, n); break;
    case 4: snprintf(c, sizeof c, "const c f32 []\n"); break;
    default: break;
    }
    snprintf(left, sizeof left, "[%d,%d]", ta ? *k : m, ta ? m : *k);
    snprintf(right, sizeof right, "[%d,%d]", tb ? n : *k, tb ? *k : n);
    snprintf(text, size, "input x f32 %s\n%s f32 %s\n%sy0 = Gemm(x, %s%s) transA=%d transB=%d%s\n%s", left,
             form == 3 ? "const w" : "input z", right, c, form == 3 ? "w" : "z", *c ? ", c" : "", ta, tb,
             scaled ? " alpha=0.5 beta=2.0" : "", pick(0, 1) ? "y = Relu(y0)\noutput y\n" : "output y0\n");
}

START_TEST(gpu_half__products)
{
    const char *tile = product_tiles[_i];
    ptq_rng_seed(&rng, 40 + (uint64_t)_i);
    force(tile);
    for (int i = 0; i < (small_shapes() ? 16 : 160); i++) {
        char text[1024];
        int k;
        int64_t batch;
        bool constant;
        draw_product(text, sizeof text, &k, &batch, &constant);
        seed = (uint64_t)(7000 + 1000 * _i + i);
        bool none = !constant && tile && strcmp(tile, "128x128") == 0;
        wanted w = want_tile("matmul", none ? "64x64" : tile);
        check_whole(text, i % 3 ? WHOLE : ROWS, batch, &w);
        if (i % 4 == 0)
            check_real(text, batch, k, &w);
    }
    force(NULL);
}
END_TEST

/* Layers of networks, larger than some tiles for each processor: the choice is the rule's. */
static const struct {
    const char *text;
    int k;
} layers[] = {
    {"input x f32 [batch,3,64,64]\nconst w f32 [64,3,7,7]\nconst b f32 [64]\n"
     "y = Conv(x, w, b) strides=[2,2] pads=[3,3,3,3]\noutput y\n", 147},
    {"input x f32 [batch,64,28,28]\nconst w f32 [64,64,3,3]\nconst b f32 [64]\ny = Conv(x, w, b) pads=[1,1,1,1]\n"
     "output y\n", 576},
    {"input x f32 [batch,64,28,28]\nconst w f32 [256,64,1,1]\ny = Conv(x, w)\noutput y\n", 64},
    {"input x f32 [batch,197,192]\nconst w f32 [192,576]\ny = MatMul(x, w)\noutput y\n", 192},
    {"input x f32 [batch,512]\nconst w f32 [100,512]\nconst c f32 [100]\ny = Gemm(x, w, c) transB=1\noutput y\n", 512},
    {"input x f32 [batch,64,9,9]\ninput c f32 [batch,80,9,9]\nconst w f32 [80,64,3,3]\nconst b f32 [80]\n"
     "u = Conv(x, w, b) pads=[1,1,1,1]\nv = Add(u, c)\ny = Relu(v)\noutput y\n", 576},
    {"input x f32 [batch,64,8,8]\ninput c f32 [batch,80,8,8]\nconst w f32 [80,64,1,1]\nu = Conv(x, w)\n"
     "y = Add(c, u)\noutput y\n", 64},
    {"input x f32 [batch,16,7,3,3]\nconst w f32 [16,16,3,1,1]\ny = Conv(x, w)\noutput y\n", 48},
    {"input x f32 [batch,3,197,64]\ninput z f32 [3,64,197]\ny = MatMul(x, z)\noutput y\n", 64},
};

START_TEST(gpu_half__layers)
{
    const wanted any = {true, "half_"};
    seed = 5;
    for (int64_t batch = 1; batch <= (small_shapes() ? 1 : 9); batch += 4) {
        check_whole(layers[_i].text, WHOLE, batch, &any);
        check_whole(layers[_i].text, HOLES, batch, &any);
        check_real(layers[_i].text, batch, layers[_i].k, &any);
    }
}
END_TEST

/* Bytes depend neither on the tile nor on the batch. */
START_TEST(gpu_half__tiles_agree)
{
    const char *const *tiles = strstr(layers[_i].text, "Conv") ? conv_tiles : product_tiles;
    const wanted any = {true, "half_"};
    size_t n, m;
    seed = 6;
    float *want = result(layers[_i].text, REAL, AS_DRAWN, 7, &any, &n);
    for (int i = 0; i < PRODUCT_TILES; i++) {
        force(tiles[i]);
        for (int64_t batch = 7; batch > 0; batch -= 6) {
            float *have = result(layers[_i].text, REAL, AS_DRAWN, batch, &any, &m);
            ck_assert_uint_eq(m * 7, n * (size_t)batch);
            ck_assert_mem_eq(want, have, m * sizeof *have);
            free(have);
        }
    }
    force(NULL);
    free(want);
}
END_TEST

/* ---- numbers that float16 has not ---- */

/* Each output is one input as float16 has it, or NaN where one of its column is. */
START_TEST(gpu_half__extreme_numbers)
{
    static const float odd[] = {65504.0f, 65519.0f, 65520.0f, 70000.0f, 3e38f, INFINITY, NAN, 0x1p-24f, 0x1.8p-25f,
                                0x1p-25f, 0x1p-26f, 0x1.002p0f, 0x1.006p0f, 0x1.00201p0f, 0x1.ffcp-15f, -0.0f};
    enum { N = 2 * PTQ_COUNT(odd), C = 32 };
    static const char *const texts[] = {
        "input x f32 [1,32,32]\nconst w f32 [32,32,1]\ny = Conv(x, w)\noutput y\n",
        "input x f32 [1,1,32,1,32]\nconst w f32 [32,1,32,1,1]\ny = Conv(x, w)\noutput y\n", /* few channels */
        "input x f32 [32,32]\nconst w f32 [32,32]\ny = MatMul(x, w)\noutput y\n",
        "input x f32 [32,32]\ninput z f32 [32,32]\ny = MatMul(z, x)\noutput y\n",
        "input x f32 [32,32]\ninput z f32 [32,32]\ny = Gemm(x, z) transA=1\noutput y\n"};
    ptq_graph *g = gt_parse(texts[_i]);
    float x[C][N], one[C][C] = {{0}};
    ck_assert_int_eq(N, C);
    for (int c = 0; c < C; c++) {
        one[c][(5 * c + 3) % C] = 1.0f; /* one of each */
        for (int i = 0; i < C; i++)
            x[c][i] = 0.0f;
        x[c][c] = c % 2 ? -odd[c / 2] : odd[c / 2];
    }
    for (size_t i = 0; i < g->values.n; i++)
        if (g->values.v[i] && g->values.v[i]->constant)
            memcpy(g->values.v[i]->constant->data, one, sizeof one);
    ck_assert_ok(ptq_infer_graph(g));
    ptq_session *s;
    ptq_session_options o = {.ops = &ptq_backend_cuda, .device = {.half_products = true}};
    ptq_tensor in[2], out;
    ck_assert_ok(ptq_session_new(g, &o, &s));
    for (size_t i = 0; i < g->inputs.n; i++) {
        const ptq_shape *shape = &g->inputs.v[i]->shape;
        in[i] = (ptq_tensor){.dtype = PTQ_DT_F32, .rank = shape->rank, .nbytes = sizeof x, .data = i ? (void *)one : x};
        for (int d = 0; d < shape->rank; d++)
            in[i].dims[d] = shape->dims[d].add;
    }
    ck_assert_ok(ptq_session_run(s, in, g->inputs.n, &out, 1));
    check_kernel(s, &(wanted){true, "half_"});
    for (int i = 0; i < C; i++)
        for (int j = 0; j < C; j++) {
            float want = 0.0f, have = ((float *)out.data)[i * C + j];
            for (int k = 0; k < C; k++) {
                float left = _i == 2 ? x[i][k] : _i == 4 ? x[k][i] : one[i][k];
                float right = _i == 2 || _i == 4 ? one[k][j] : x[k][j];
                want += changed(left, ROUNDED, true) * changed(right, ROUNDED, true);
            }
            ck_assert_msg(want == have || (isnan(want) && isnan(have)), "text %d, (%d, %d): %g, not %g", _i, i, j,
                          (double)have, (double)want);
        }
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

/* ---- which products ---- */

#define CONV(c, more) "input x f32 [1," #c ",5,5]\n" more "output y\n"
#define PRODUCT(k, n) "input x f32 [4," #k "]\nconst w f32 [" #k "," #n "]\ny = MatMul(x, w)\noutput y\n"
static const struct {
    const char *text, *why; /* NULL: float16 */
    float weight;           /* the last of the weights; 0: as drawn */
} choices[] = {
    {CONV(16, "const w f32 [4,16,1,1]\ny = Conv(x, w)\n"), NULL, 0},
    {CONV(2, "const w f32 [4,2,3,3]\ny = Conv(x, w)\n"), NULL, 0},
    {CONV(16, "const w f32 [3,16,3,3]\ny = Conv(x, w)\n"), "too small", 0},
    {CONV(1, "const w f32 [16,1,3,3]\ny = Conv(x, w)\n"), "too small", 0},
    {CONV(16, "const w f32 [16,1,3,3]\ny = Conv(x, w) group=16\n"), "too small", 0},
    {CONV(32, "const w f32 [8,16,3,3]\ny = Conv(x, w) group=2\n"), NULL, 0},
    {CONV(16, "input w f32 [16,16,1,1]\ny = Conv(x, w)\n"), "weights are computed", 0},
    {CONV(16, "const w f32 [16,16,1,1]\ny = ConvTranspose(x, w)\n"), "no kernel", 0},
    {CONV(16, "const w f32 [4,16,1,1]\ny = Conv(x, w)\n"), NULL, 65504.0f},
    {CONV(16, "const w f32 [4,16,1,1]\ny = Conv(x, w)\n"), "outside of the range", -65505.0f},
    {CONV(16, "const w f32 [4,16,1,1]\ny = Conv(x, w)\n"), "outside of the range", INFINITY},
    {CONV(16, "const w f32 [4,16,1,1]\ny = Conv(x, w)\n"), "outside of the range", NAN},
    {CONV(16, "const w f32 [4,16,1,1] 0.00006\ny = Conv(x, w)\n"), "outside of the range", 0},
    {CONV(16, "const w f32 [4,16,1,1] 0.00006\ny = Conv(x, w)\n"), NULL, 0.00007f},
    {CONV(16, "const w f32 [4,16,1,1] 0\ny = Conv(x, w)\n"), NULL, 0},
    {PRODUCT(16, 4), NULL, 0},
    {PRODUCT(15, 4), "too small", 0},
    {PRODUCT(16, 3), "too small", 0},
    {PRODUCT(16, 4), "outside of the range", 1e5f},
    {"input x f32 [4,n]\ninput z f32 [n,5]\ny = MatMul(x, z)\noutput y\n", NULL, 0},
    {"input x f32 [4,1]\ninput z f32 [1,5]\ny = MatMul(x, z)\noutput y\n", "too small", 0},
    {"input x f32 [16,n]\nconst w f32 [4,16]\ny = MatMul(w, x)\noutput y\n", NULL, 0},
    {"input x f32 [16,n]\nconst w f32 [4,16]\ny = MatMul(w, x)\noutput y\n", "outside of the range", 1e5f},
    {"input x f32 [15,n]\nconst w f32 [4,15]\ny = MatMul(w, x)\noutput y\n", "too small", 0},
    {"input x f32 [n,16]\nconst w f32 [4,16]\ny = Gemm(x, w) transB=1\noutput y\n", NULL, 0},
    {"input x f32 [n,4]\nconst w f32 [16,4]\ny = Gemm(x, w) transB=1\noutput y\n", "too small", 0},
    {"input x f32 [15,n]\ninput z f32 [15,4]\ny = Gemm(x, z) transA=1\noutput y\n", "too small", 0},
    {"input x f32 [n,16]\ny = Relu(x)\noutput y\n", "", 0}, /* no product */
};

START_TEST(gpu_half__which_products)
{
    ptq_graph *g = gt_parse(choices[_i].text);
    ptq_session *s;
    ptq_session_options o = {.ops = &ptq_backend_cuda, .device = {.half_products = true}};
    const char *want = choices[_i].why, *why = "unset";
    for (size_t i = 0; i < g->values.n && choices[_i].weight != 0.0f; i++)
        if (g->values.v[i] && g->values.v[i]->constant) {
            const ptq_tensor *t = g->values.v[i]->constant;
            ((float *)t->data)[ptq_tensor_elements(t) - 1] = choices[_i].weight;
        }
    ck_assert_ok(ptq_infer_graph(g));
    ck_assert_ok(ptq_session_new(g, &o, &s));
    const ptq_program *p = ptq_session_program(s);
    ck_assert_uint_eq(p->steps.n, 1);
    ck_assert_int_eq(p->steps.v[0].half, !want);
    ck_assert_int_eq(ptq_backend_cuda.half_product(ptq_session_backend(s), p, &p->steps.v[0], &why), !want);
    ck_assert_msg(!want || !*want ? !why : why && strstr(why, want), "text %d: %s", _i, why ? why : "no reason");
    ptq_session_free(s);
    o.device.half_products = false;
    ck_assert_ok(ptq_session_new(g, &o, &s));
    ck_assert(!ptq_session_program(s)->steps.v[0].half);
    ptq_session_free(s);
    o.device.half_products = true;
    o.ops = NULL;
    o.backend = "cpu";
    ck_assert_ok(ptq_session_new(g, &o, &s));
    ck_assert(!ptq_session_program(s)->steps.v[0].half);
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

/* A sum that turns out to be short, and steps that are not marked, have the bytes of the CPU. */
START_TEST(gpu_half__exact_ones_stay)
{
    static const char *const texts[] = {
        "input x f32 [5,batch]\ninput z f32 [batch,6]\ny = MatMul(x, z)\noutput y\n",
        "input x f32 [batch,8,9,9]\nconst w f32 [8,1,3,3]\ny = Conv(x, w) group=8\noutput y\n",
        "input x f32 [batch,15]\nconst w f32 [15,40]\ny = MatMul(x, w)\noutput y\n",
    };
    seed = 9;
    for (int64_t batch = 1; batch < 16; batch += 7) {
        size_t n, m;
        float *want = result(texts[_i], REAL, AS_DRAWN, batch, NULL, &n);
        float *have = result(texts[_i], REAL, AS_DRAWN, batch, &(wanted){.half = _i == 0}, &m);
        ck_assert_uint_eq(n, m);
        ck_assert_mem_eq(want, have, n * sizeof *want);
        free(want);
        free(have);
    }
}
END_TEST

/* ---- the device ---- */

#ifdef PTQ_TEST_FAKE
static ptq_status once(const ptq_graph *g, const ptq_tensor *in)
{
    ptq_session *s = NULL;
    ptq_session_options o = {.ops = &ptq_backend_cuda, .lower = {.fuse = true}, .device = {.half_products = true}};
    ptq_tensor out;
    ptq_status st = ptq_session_new(g, &o, &s);
    if (st == PTQ_OK)
        st = ptq_session_run(s, in, 1, &out, 1);
    ptq_session_free(s);
    return st;
}

START_TEST(gpu_half__calls_may_fail)
{
    ptq_graph *g = parsed("input x f32 [2,16,4,4]\nconst w f32 [8,16,3,3]\nconst to s64 [3] 4 4 16\n"
                          "const b f32 [8]\nu = Conv(x, w, b) pads=[1,1,1,1]\nv = Reshape(u, to)\nconst wn f32 [16,5]\n"
                          "y = MatMul(v, wn)\noutput y\n", WHOLE, AS_DRAWN);
    ptq_tensor x = {.dtype = PTQ_DT_F32, .rank = 4, .dims = {2, 16, 4, 4}};
    ck_assert_ok(ptq_tensor_alloc(&x));
    draw("x", &x, WHOLE, AS_DRAWN);
    long live = ptq_fake_live;
    ptq_fake_fail(0, PTQ_OK);
    ck_assert_ok(once(g, &x));
    long calls = ptq_fake_calls;
    ck_assert_int_gt(calls, 10);
    for (long n = 1; n <= calls; n++) {
        ptq_fake_fail(n, PTQ_ERR_DEVICE);
        ck_assert_fails(once(g, &x), PTQ_ERR_DEVICE);
        ck_assert_says("injected failure");
        ck_assert_int_eq(ptq_fake_live, live);
    }
    ptq_fake_fail(0, PTQ_OK);
    free(x.data);
    ptq_graph_free(g);
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("float16 products");
    TCase *t = tcase_create("half");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, gpu_half__convolutions, 0, CONV_TILES);
    tcase_add_loop_test(t, gpu_half__products, 0, PRODUCT_TILES);
    tcase_add_loop_test(t, gpu_half__layers, 0, (int)PTQ_COUNT(layers));
    tcase_add_loop_test(t, gpu_half__tiles_agree, 0, (int)PTQ_COUNT(layers));
    tcase_add_loop_test(t, gpu_half__extreme_numbers, 0, 5);
    tcase_add_loop_test(t, gpu_half__which_products, 0, (int)PTQ_COUNT(choices));
    tcase_add_loop_test(t, gpu_half__exact_ones_stay, 0, 3);
#ifdef PTQ_TEST_FAKE
    tcase_add_test(t, gpu_half__calls_may_fail);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
