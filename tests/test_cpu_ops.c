/* SPDX-License-Identifier: Apache-2.0 */
/* Every float operator against ONNX Runtime's outputs (golden/gen_cpu.py), and every instruction
 * set and thread count against the reference's bytes. */
#include "tests/cpu_float.h"

#include <math.h>

#ifdef PTQ_TEST_GPU
#include "tests/gpu_cases.h"
#endif

#define MAX_CASES 512

/* golden/cpu_cases<suffix>.txt and golden/cpu_ops<suffix>.bin */
static const char *const suffixes[] = {
    "",
    "_types",
    "_index",
    "_norm",
    "_expand",
    "_sequence",
    "_integer",
    "_region",
};

static char *cases_text[PTQ_COUNT(suffixes)];
static struct {
    char name[64];
    const char *text;
    size_t set; /* of suffixes */
} cases[MAX_CASES];
static int ncases;
static ptq_pool *pool;

static FILE *open_golden(const char *stem, size_t set, const char *ending)
{
    char path[4096];
    const char *src = getenv("srcdir");
    snprintf(path, sizeof path, "%s/tests/golden/%s%s%s", src ? src : ".", stem, suffixes[set], ending);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    return f;
}

static void read_set(size_t set)
{
    FILE *f = open_golden("cpu_cases", set, ".txt");
    size_t cap = 1 << 20;
    cases_text[set] = calloc(1, cap);
    ck_assert_uint_lt(fread(cases_text[set], 1, cap - 1, f), cap - 1);
    fclose(f);
    for (char *p = cases_text[set]; (p = strstr(p, "# case ")) != NULL;) {
        ck_assert_int_lt(ncases, MAX_CASES);
        p += strlen("# case ");
        size_t n = strcspn(p, "\n");
        snprintf(cases[ncases].name, sizeof cases[0].name, "%.*s", (int)n, p);
        p += n + 1;
        cases[ncases].set = set;
        cases[ncases++].text = p;
        char *end = strstr(p, "\n\n");
        if (!end)
            break;
        end[1] = 0;
        p = end + 2;
    }
}

static void read_cases(void)
{
    ncases = 0; /* a fixture: it may run more than once in one process */
    ck_assert_ok(ptq_pool_new(3, &pool));
    for (size_t set = 0; set < PTQ_COUNT(suffixes); set++)
        read_set(set);
}

static void drop_cases(void)
{
    for (size_t set = 0; set < PTQ_COUNT(suffixes); set++)
        free(cases_text[set]);
    ptq_pool_free(pool);
    pool = NULL;
}

static double get(const ptq_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case PTQ_DT_F32: return (double)((const float *)t->data)[i];
    case PTQ_DT_S64: return (double)((const int64_t *)t->data)[i];
    case PTQ_DT_S32: return (double)((const int32_t *)t->data)[i];
    case PTQ_DT_S8: return (double)((const int8_t *)t->data)[i];
    case PTQ_DT_F16: return (double)((const uint16_t *)t->data)[i];
    default: return (double)((const uint8_t *)t->data)[i];
    }
}

/* The next output of the golden file. */
static void read_golden(FILE *golden, ptq_tensor *t)
{
    int32_t head[2];
    ck_assert_uint_eq(fread(head, sizeof head, 1, golden), 1);
    *t = (ptq_tensor){.dtype = (ptq_dtype)head[0], .rank = head[1]};
    ck_assert_uint_eq(fread(t->dims, 8, (size_t)t->rank, golden), (size_t)t->rank);
    ck_assert_ok(ptq_tensor_alloc(t));
    ck_assert_uint_eq(fread(t->data, 1, t->nbytes, golden), t->nbytes);
}

/* Floats within 2e-6 of the largest value; everything else equal. */
static void compare(const char *name, int i, const ptq_tensor *got, const ptq_tensor *want)
{
    char a[128], b[128];
    ck_assert_msg(got->dtype == want->dtype, "%s: output %d is %s, not %s", name, i,
                  ptq_dtype_name(got->dtype), ptq_dtype_name(want->dtype));
    ck_assert_str_eq(ptq_shape_str(got->rank, got->dims, a, sizeof a),
                     ptq_shape_str(want->rank, want->dims, b, sizeof b));
    double most = 1.0, bound;
    for (int64_t k = 0; k < ptq_tensor_elements(want); k++)
        if (isfinite(get(want, k)))
            most = fmax(most, fabs(get(want, k)));
    bound = want->dtype == PTQ_DT_F32 ? 2e-6 * most : 0.0;
    for (int64_t k = 0; k < ptq_tensor_elements(want); k++) {
        double x = get(got, k), y = get(want, k);
        bool same = isnan(y) ? isnan(x) : isinf(y) ? x == y : fabs(x - y) <= bound;
        if (!same)
            ck_abort_msg("%s: output %d element %lld is %.9g, ONNX Runtime %.9g", name, i,
                         (long long)k, x, y);
    }
}

static void check_case(int c, FILE *golden)
{
    ptq_graph *g = cf_parse(cases[c].text);
    cf_result r;
    cf_all_same(g, pool, cases[c].name, &r);
    for (int i = 0; i < r.n; i++) {
        ptq_tensor want;
        read_golden(golden, &want);
        compare(cases[c].name, i, &r.out[i], &want);
        free(want.data);
    }
    cf_free(&r);
    ptq_graph_free(g);
}

START_TEST(ops__equal_onnxruntime)
{
    for (size_t set = 0; set < PTQ_COUNT(suffixes); set++) {
        FILE *golden = open_golden("cpu_ops", set, ".bin");
        for (int c = 0; c < ncases; c++)
            if (cases[c].set == set)
                check_case(c, golden);
        ck_assert_int_eq(fgetc(golden), EOF);
        fclose(golden);
    }
}
END_TEST

/* What ONNX Runtime 1.20 does not have; the ONNX node tests (tests/conformance.sh) do. */
static bool without_golden(const char *op)
{
    static const char *const names[] = {"Constant", "DeformConv", "RMSNormalization"};
    for (size_t i = 0; i < PTQ_COUNT(names); i++)
        if (strcmp(names[i], op) == 0)
            return true;
    return false;
}

/* Every row of the table has a case: adding an operator means adding its test. */
START_TEST(ops__every_row_has_a_case)
{
    static const char *const rows[] = {
#define PTQ_CPU_FLOAT(op, domain, symbol) #op,
#include "lib/cpu/kernels_float.def"
#undef PTQ_CPU_FLOAT
#define PTQ_EXPANSION(op, domain, min_in, max_in, max_out, opset, fn, text) #op,
#include "lib/graph/expansions.def"
#undef PTQ_EXPANSION
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        char call[80];
        bool found = false;
        snprintf(call, sizeof call, "%s(", rows[i]);
        for (int c = 0; c < ncases && !found; c++)
            for (const char *p = cases[c].text; (p = strstr(p, call)) != NULL && !found; p++)
                found = p[-1] == ' ' || p[-1] == '.';
        ck_assert_msg(found || without_golden(rows[i]),
                      "operator %s has no case in cpu_cases.txt", rows[i]);
    }
}
END_TEST

/* Large enough for vectors, tails and several pieces per thread. */
START_TEST(ops__large_tensors_are_the_same_everywhere)
{
    static const char *const texts[] = {
        "opset 20\ninput x f32 [3,20011]\na = Exp(x)\nb = Erf(x)\nc = Sigmoid(x)\nd = Tanh(x)\ne = Gelu(x)\n"
        "f = Softplus(x)\ng = HardSwish(x)\nh = Abs(x)\ni = Log(h)\nj = Relu(x)\n"
        "output a\noutput b\noutput c\noutput d\noutput e\noutput f\noutput g\noutput i\noutput j\n",
        "input x f32 [67,131]\ninput s f32 [131]\ninput t f32 [67,1]\na = Add(x, s)\nb = Mul(t, a)\n"
        "c = Div(s, b)\nd = Sub(x, t)\ne = Max(x, s)\nf = Min(t, x)\noutput c\noutput d\noutput e\n"
        "output f\n",
        "input x f32 [3,5001]\ninput s f32 [5001]\nconst k f32 [] 0.37\na = Add(x, k)\nb = Relu(a)\n" /* in blocks */
        "c = Sub(k, x)\nd = Clip(c) min=-0.5 max=0.75\ne = Mul(s, x)\nf = Relu(e)\ng = PRelu(x, s)\nh = Mean(b, f, g)\n"
        "output b\noutput d\noutput f\noutput h\n",
        "input x f32 [9,33,117]\na = Softmax(x)\nb = LogSoftmax(x) axis=1\nc = Softmax(x) axis=0\n"
        "output a\noutput b\noutput c\n",
        "input x f32 [50,389]\nconst s f32 [389]\nconst b f32 [389]\ny = LayerNormalization(x, s, b)\n"
        "z = Transpose(y)\nm = ReduceMean(z) axes=[0]\nn = ReduceSum(x)\noutput z\noutput m\n"
        "output n\n",
        "input x f32 [2,7,63,65]\na = MaxPool(x) kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1]\n"
        "b = AveragePool(x) kernel_shape=[3,2] pads=[1,0,1,1]\nc = GlobalAveragePool(x)\n"
        "d = ReduceMean(x) axes=[1]\noutput a\noutput b\noutput c\noutput d\n",
        "input x f32 [100003]\nconst s f32 [] 0.0171\nconst z s8 [] -3\nq = QuantizeLinear(x, s, z)\n"
        "y = DequantizeLinear(q, s, z)\noutput q\noutput y\n",
    };
    cf_all_texts(texts, PTQ_COUNT(texts), pool);
}
END_TEST

static size_t transposed_index(const int64_t *dims, const int *perm, int64_t i)
{
    int64_t step[3] = {dims[1] * dims[2], dims[2], 1}, at = 0;
    for (int d = 2; d >= 0; d--) {
        at += i % dims[perm[d]] * step[perm[d]];
        i /= dims[perm[d]];
    }
    return (size_t)at;
}

/* Squares of four and sixteen and what is left over, on one thread and on several. */
START_TEST(ops__transposed_as_written)
{
    static const int64_t shapes[][3] = {{3, 37, 41}, {2, 64, 128}, {40, 16, 33}, {1, 5, 130}, {17, 16, 4}, {4, 3, 70}};
    static const int perms[][3] = {{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t k = 0; k < PTQ_COUNT(shapes) * PTQ_COUNT(perms); k++) {
        const int64_t *dims = shapes[k / PTQ_COUNT(perms)], n = dims[0] * dims[1] * dims[2];
        const int *perm = perms[k % PTQ_COUNT(perms)];
        char text[160];
        cf_result r;
        snprintf(text, sizeof text, "const x f32 [%d,%d,%d]\ny = Transpose(x) perm=[%d,%d,%d]\noutput y\n", (int)dims[0],
                 (int)dims[1], (int)dims[2], perm[0], perm[1], perm[2]);
        ptq_graph *g = cf_parse(text);
        const float *x = ptq_graph_find(g, "x")->constant->data;
        cf_all_same(g, pool, text, &r);
        for (int64_t i = 0; i < n; i++)
            ck_assert(((const float *)r.out[0].data)[i] == x[transposed_index(dims, perm, i)]);
        cf_free(&r);
        ptq_graph_free(g);
    }
}
END_TEST

/* NaN survives Relu, Clip and Max, so that calibration can count it; -0 survives Relu. */
START_TEST(ops__nan_is_not_hidden)
{
    ptq_graph *g = cf_parse("const x f32 [20] nan -1 2 inf -inf -0.0 nan\nconst lo f32 [] -1\n"
                            "a = Relu(x)\nb = Clip(x, lo)\nc = Max(x, lo)\nd = ReduceMax(x)\n"
                            "e = Tanh(x)\noutput a\noutput b\noutput c\noutput d\noutput e\n");
    cf_result r;
    cf_all_same(g, pool, "nan", &r);
    for (int i = 0; i < r.n; i++)
        ck_assert(isnan(((const float *)r.out[i].data)[0]));
    ck_assert(signbit(((const float *)r.out[0].data)[5]));
    ck_assert(((const float *)r.out[0].data)[3] == INFINITY);
    cf_free(&r);
    ptq_graph_free(g);
}
END_TEST

#ifdef PTQ_TEST_GPU
/* No row of the device's table is left to the host in all cases. */
START_TEST(ops__every_device_row_runs_there)
{
    static const struct {
        const char *op, *domain;
    } rows[] = {
#define PTQ_GPU_FLOAT(op, domain, symbol) {#op, domain},
#include "lib/gpu/kernels_float.def"
#undef PTQ_GPU_FLOAT
    };
    gpu_ran_count = 0;
    for (int c = 0; c < ncases + (int)PTQ_COUNT(gpu_cases); c++) {
        const char *text = c < ncases ? cases[c].text : gpu_cases[c - ncases];
        ptq_graph *g = cf_parse(text);
        cf_result r;
        cf_all_same(g, pool, text, &r);
        cf_free(&r);
        ptq_graph_free(g);
    }
    char missing[1024] = "";
    for (size_t i = 0, at = 0; i < PTQ_COUNT(rows) && at + 100 < sizeof missing; i++)
        if (!gpu_ran(rows[i].op, rows[i].domain))
            at += (size_t)snprintf(missing + at, sizeof missing - at, " %.30s.%.30s", rows[i].domain, rows[i].op);
    ck_assert_msg(!*missing, "not one case has run on the device:%s", missing);
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("cpu ops");
    TCase *t = tcase_create("ops");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, read_cases, drop_cases);
    tcase_add_test(t, ops__equal_onnxruntime);
    tcase_add_test(t, ops__every_row_has_a_case);
    tcase_add_test(t, ops__large_tensors_are_the_same_everywhere);
    tcase_add_test(t, ops__transposed_as_written);
    tcase_add_test(t, ops__nan_is_not_hidden);
#ifdef PTQ_TEST_GPU
    tcase_add_test(t, ops__every_device_row_runs_there);
#endif
    suite_add_tcase(s, t);
    return unit_run(s);
}
