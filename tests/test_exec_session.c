/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/graph_kit.h"

#include <stdlib.h>

#include "lib/exec/session.h"

static const ptq_lower_options simulation = {0};
static const ptq_lower_options integer_plain = {.integer = true, .fuse = true};
static const ptq_lower_options integer_nhwc = {.integer = true, .nhwc = true, .fuse = true};

/* The linker sends the library's allocations here (--wrap). */
static int allocations;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n)
{
    allocations++;
    return __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size)
{
    allocations++;
    return __real_calloc(n, size);
}
void *__wrap_aligned_alloc(size_t align, size_t n)
{
    allocations++;
    return __real_aligned_alloc(align, n);
}

static ptq_session *open_session(const ptq_graph *g, const ptq_lower_options *lower)
{
    ptq_session *s;
    ptq_session_options o = {.lower = *lower};
    ck_assert_ok(ptq_session_new(g, &o, &s));
    return s;
}

static ptq_tensor tensor(ptq_dtype t, int rank, const int64_t *dims)
{
    ptq_tensor x = {.dtype = t, .rank = rank};
    for (int i = 0; i < rank; i++)
        x.dims[i] = dims[i];
    ck_assert_ok(ptq_tensor_alloc(&x));
    return x;
}

static ptq_tensor random_image(int64_t n, int64_t c, int64_t hw, uint64_t seed)
{
    ptq_rng r;
    ptq_tensor x = tensor(PTQ_DT_F32, 4, (int64_t[]){n, c, hw, hw});
    ptq_rng_seed(&r, seed);
    for (int64_t i = 0; i < ptq_tensor_elements(&x); i++)
        ((float *)x.data)[i] = 8.0f * ptq_rng_normal(&r);
    return x;
}

static ptq_value *weight(ptq_graph *g, const char *name, int rank, const int64_t *dims, float s,
                         uint64_t seed)
{
    int8_t w[2048];
    int64_t n = 1;
    ptq_rng r;
    for (int i = 0; i < rank; i++)
        n *= dims[i];
    ck_assert_int_le(n, 2048);
    ptq_rng_seed(&r, seed);
    for (int64_t i = 0; i < n; i++)
        w[i] = (int8_t)((int)ptq_rng_below(&r, 255) - 127);
    return kit_weight(g, name, rank, dims, w, s);
}

static void conv_attrs(ptq_graph *g, ptq_value *v, int64_t stride, int64_t pad, int64_t group)
{
    ptq_node *n = v->producer;
    ck_assert_ok(ptq_attr_set_ints(g, n, "strides", (int64_t[]){stride, stride}, 2));
    ck_assert_ok(ptq_attr_set_ints(g, n, "pads", (int64_t[]){pad, 0, pad, pad}, 4));
    ck_assert_ok(ptq_attr_set_int(g, n, "group", group));
}

/* Convolutions (strided, padded with a zero point, depthwise), residual Add, pools, Concat, a
 * mover and a product. All scales are powers of two and all sums below 2^24, so that the float
 * simulation is exact and must give the same codes as the integer steps. */
static ptq_graph *network(void)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 6, 9, 9});
    ptq_value *a = kit_qdq(g, "x", x, 0.25f, PTQ_DT_U8, 121);
    int32_t b[8] = {100, -200, 3000, 0, 5, -7, 12345, 1};
    ptq_value *bias = kit_dq(g, "b", kit_const(g, "b_q", PTQ_DT_S32, 1, (int64_t[]){8}, b),
                             0.25f * 0x1p-6f, PTQ_DT_S32, 0);
    ptq_value *c = KIT(g, "Conv", "c1", a, weight(g, "w1", 4, (int64_t[]){8, 6, 3, 3}, 0x1p-6f, 1), bias);
    conv_attrs(g, c, 2, 1, 1);
    c = kit_qdq(g, "r1", KIT(g, "Relu", "r1", c), 0.5f, PTQ_DT_U8, 4);
    ptq_value *d = KIT(g, "Conv", "c2", c, weight(g, "w2", 4, (int64_t[]){8, 1, 3, 3}, 0x1p-5f, 2));
    conv_attrs(g, d, 1, 1, 8);
    d = kit_qdq(g, "c2", KIT(g, "Clip", "clip", d, kit_f32(g, -3.3f), kit_f32(g, 30.3f)), 0.5f, PTQ_DT_U8, 60);
    ptq_value *m = KIT(g, "MaxPool", "mp", c);
    ck_assert_ok(ptq_attr_set_ints(g, m->producer, "kernel_shape", (int64_t[]){1, 2}, 2));
    m = kit_qdq(g, "mp", m, 0.5f, PTQ_DT_U8, 4);
    ptq_value *e = kit_qdq(g, "cat", KIT(g, "Concat", "cat", m, d), 0.5f, PTQ_DT_U8, 30);
    ck_assert_ok(ptq_attr_set_int(g, e->producer->in[0]->producer->in[0]->producer, "axis", 1));
    ptq_value *f = KIT(g, "Conv", "c3", e, weight(g, "w3", 4, (int64_t[]){5, 16, 1, 1}, 0x1p-7f, 3));
    f = kit_qdq(g, "c3", f, 0.5f, PTQ_DT_U8, 100);
    /* over to channels-last, through a product there, and back */
    ptq_value *t = KIT(g, "Transpose", "last", f);
    ck_assert_ok(ptq_attr_set_ints(g, t->producer, "perm", (int64_t[]){0, 2, 3, 1}, 4));
    t = kit_qdq(g, "last", t, 0.5f, PTQ_DT_U8, 100);
    t = KIT(g, "MatMul", "mix", t, weight(g, "w5", 2, (int64_t[]){5, 5}, 0x1p-7f, 5));
    t = KIT(g, "Transpose", "first", kit_qdq(g, "mix", t, 0.5f, PTQ_DT_U8, 100));
    ck_assert_ok(ptq_attr_set_ints(g, t->producer, "perm", (int64_t[]){0, 3, 1, 2}, 4));
    t = kit_qdq(g, "first", t, 0.5f, PTQ_DT_U8, 100);
    f = kit_qdq(g, "sum", KIT(g, "Add", "sum", f, t), 0.5f, PTQ_DT_U8, 100);
    ptq_value *p = kit_qdq(g, "gap", KIT(g, "GlobalAveragePool", "gap", f), 0.5f, PTQ_DT_U8, 100);
    p = kit_qdq(g, "flat", KIT(g, "Flatten", "flat", p), 0.5f, PTQ_DT_U8, 100);
    p = KIT(g, "MatMul", "mm", p, weight(g, "w4", 2, (int64_t[]){5, 7}, 0x1p-6f, 4));
    kit_output(g, kit_qdq(g, "y", p, 0.25f, PTQ_DT_U8, 128));
    return g;
}

static void same_bytes(const ptq_tensor *a, const ptq_tensor *b, const char *what)
{
    ck_assert_uint_eq(a->nbytes, b->nbytes);
    ck_assert_int_eq(a->dtype, b->dtype);
    ck_assert_msg(memcmp(a->data, b->data, a->nbytes) == 0, "%s differs", what);
}

START_TEST(session__integer_equals_exact_simulation)
{
    ptq_graph *g = network();
    kit_finish(g);
    ptq_session *sim = open_session(g, &simulation), *plain = open_session(g, &integer_plain),
                *nhwc = open_session(g, &integer_nhwc);
    for (int64_t n = 1; n < 4; n++) {
        ptq_tensor x = random_image(n, 6, 9, (uint64_t)n), a, b, c;
        ck_assert_ok(ptq_session_run(sim, &x, 1, &a, 1));
        ck_assert_ok(ptq_session_run(plain, &x, 1, &b, 1));
        ck_assert_ok(ptq_session_run(nhwc, &x, 1, &c, 1));
        ck_assert_int_eq(a.rank, 2);
        ck_assert_int_eq((int)a.dims[1], 7);
        same_bytes(&a, &b, "integer");
        same_bytes(&a, &c, "integer, NHWC");
        /* not all the same number */
        const float *y = a.data;
        ck_assert(y[0] != y[1] || y[1] != y[2] || y[2] != y[3]);
        free(x.data);
    }
    ptq_session_free(sim);
    ptq_session_free(plain);
    ptq_session_free(nhwc);
    ptq_graph_free(g);
}
END_TEST

START_TEST(session__repeated_shapes_allocate_nothing)
{
    ptq_graph *g = network();
    kit_finish(g);
    ptq_session *s = open_session(g, &integer_nhwc);
    ptq_tensor x = random_image(3, 6, 9, 1), y;
    ck_assert_ok(ptq_session_run(s, &x, 1, &y, 1));
    allocations = 0;
    ptq_status status = ptq_session_run(s, &x, 1, &y, 1);
    int same = allocations; /* assertions allocate */
    ck_assert_ok(status);
    ck_assert_int_eq(same, 0);
    x.dims[0] = 2;
    allocations = 0;
    status = ptq_session_run(s, &x, 1, &y, 1);
    int other = allocations;
    ck_assert_ok(status);
    ck_assert_int_gt(other, 0); /* the counter counts */
    free(x.data);
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

START_TEST(session__rests)
{
    ptq_graph *g = network();
    kit_finish(g);
    ptq_session *s = open_session(g, &integer_nhwc), *other = open_session(g, &integer_nhwc);
    ptq_tensor x = random_image(3, 6, 9, 1), y, want;
    ptq_session_rest(s); /* before any run */
    ck_assert_ok(ptq_session_run(other, &x, 1, &want, 1));
    for (int i = 0; i < 2; i++) {
        ck_assert_ok(ptq_session_run(s, &x, 1, &y, 1));
        same_bytes(&want, &y, "after a rest");
        ck_assert_uint_eq(ptq_session_activation_bytes(s), ptq_session_activation_bytes(other));
        ptq_session_rest(s);
        ck_assert_uint_eq(ptq_session_activation_bytes(s), 0);
    }
    free(x.data);
    ptq_session_free(s);
    ptq_session_free(other);
    ptq_graph_free(g);
}
END_TEST

typedef struct taps {
    int n;
    char names[64][32];
    ptq_tensor t[64];
} taps;

static bool tap_codes(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return strstr(v->name, "_q") != NULL || v->is_input;
}

static ptq_status tap_fn(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    taps *k = ctx;
    snprintf(k->names[k->n], sizeof k->names[0], "%s", v->name);
    k->t[k->n] = *t;
    ck_assert_ok(ptq_tensor_alloc(&k->t[k->n]));
    memcpy(k->t[k->n].data, t->data, t->nbytes);
    k->n++;
    return PTQ_OK;
}

/* Taps report codes in NCHW whatever the layout inside, in step order, inputs first. */
START_TEST(session__taps)
{
    ptq_graph *g = network();
    kit_finish(g);
    ptq_tensor x = random_image(2, 6, 9, 5), y;
    const ptq_lower_options *modes[] = {&simulation, &integer_plain, &integer_nhwc};
    static taps k[3];
    for (int i = 0; i < 3; i++) {
        ptq_session *s;
        ptq_session_options o = {.lower = *modes[i], .tap = tap_fn, .tap_select = tap_codes,
                                 .tap_ctx = &k[i]};
        ck_assert_ok(ptq_session_new(g, &o, &s));
        ck_assert_ok(ptq_session_run(s, &x, 1, &y, 1));
        ptq_session_free(s);
        ck_assert_int_eq(k[i].n, k[0].n);
        ck_assert_str_eq(k[i].names[0], "x");
        ck_assert_str_eq(k[i].names[1], "x_q");
        ck_assert_str_eq(k[i].names[k[i].n - 1], "y_q");
        for (int v = 0; v < k[i].n; v++) {
            ck_assert_str_eq(k[i].names[v], k[0].names[v]);
            same_bytes(&k[i].t[v], &k[0].t[v], k[i].names[v]);
        }
    }
    ck_assert_int_ge(k[0].n, 10);
    for (int i = 0; i < 3; i++)
        for (int v = 0; v < k[i].n; v++)
            free(k[i].t[v].data);
    free(x.data);
    ptq_graph_free(g);
}
END_TEST

/* Many shapes in turn: more than the cache of bindings holds, and back. */
START_TEST(session__shapes_change)
{
    ptq_graph *g = network();
    kit_finish(g);
    ptq_session *s = open_session(g, &integer_nhwc);
    ptq_tensor x = random_image(9, 6, 9, 7), y, whole;
    ptq_tensor keep = tensor(PTQ_DT_F32, 2, (int64_t[]){9, 7});
    ck_assert_ok(ptq_session_run(s, &x, 1, &whole, 1));
    memcpy(keep.data, whole.data, keep.nbytes);
    size_t bytes = ptq_session_activation_bytes(s);
    for (int round = 0; round < 2; round++)
        for (int64_t n = 8; n > 0; n--) {
            ptq_tensor part = x;
            part.dims[0] = n;
            ck_assert_ok(ptq_session_run(s, &part, 1, &y, 1));
            ck_assert_int_eq((int)y.dims[0], (int)n);
            ck_assert(memcmp(y.data, keep.data, (size_t)n * 7 * 4) == 0);
        }
    ck_assert_uint_eq(ptq_session_activation_bytes(s), bytes);
    ptq_tensor none = x;
    none.dims[0] = 0;
    ck_assert_ok(ptq_session_run(s, &none, 1, &y, 1));
    ck_assert_int_eq((int)y.dims[0], 0);
    free(x.data);
    free(keep.data);
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

/* Outputs are filled with 0xFF before each step: a kernel that leaves a hole would show. */
START_TEST(session__poison)
{
    ptq_graph *g = network();
    kit_finish(g);
    ptq_tensor x = random_image(3, 6, 9, 8), a, b;
    for (int i = 0; i < 3; i++) {
        const ptq_lower_options *modes[] = {&simulation, &integer_plain, &integer_nhwc};
        ptq_session *s = open_session(g, modes[i]);
        ck_assert_int_eq(setenv("PTQ_POISON", "1", 1), 0);
        ptq_session *t = open_session(g, modes[i]);
        ck_assert_int_eq(unsetenv("PTQ_POISON"), 0);
        ck_assert_ok(ptq_session_run(s, &x, 1, &a, 1));
        ck_assert_ok(ptq_session_run(t, &x, 1, &b, 1));
        same_bytes(&a, &b, "poisoned run");
        ptq_session_free(s);
        ptq_session_free(t);
    }
    free(x.data);
    ptq_graph_free(g);
}
END_TEST

/* GlobalMaxPool selects elements, but takes no 8-bit tensors: it stays in float. */
START_TEST(session__global_max_pool_between_q_and_dq)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_qdq(g, "x", kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, 6, 9, 9}), 0.25f, PTQ_DT_U8, 121);
    kit_output(g, kit_qdq(g, "y", KIT(g, "GlobalMaxPool", "p", x), 0.25f, PTQ_DT_U8, 121));
    kit_finish(g);
    ptq_session *sim = open_session(g, &simulation), *nhwc = open_session(g, &integer_nhwc);
    ptq_tensor t = random_image(2, 6, 9, 11), a, b;
    ck_assert_ok(ptq_session_run(sim, &t, 1, &a, 1));
    ck_assert_ok(ptq_session_run(nhwc, &t, 1, &b, 1));
    same_bytes(&a, &b, "integer");
    free(t.data);
    ptq_session_free(sim);
    ptq_session_free(nhwc);
    ptq_graph_free(g);
}
END_TEST

START_TEST(session__input_errors)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *a = kit_input(g, "a", PTQ_DT_F32, 2, (int64_t[]){-1, 3});
    ptq_value *b = kit_input(g, "b", PTQ_DT_F32, 2, (int64_t[]){-1, 3});
    kit_output(g, KIT(g, "Add", "y", a, b));
    kit_finish(g);
    ptq_session *s = open_session(g, &simulation);
    float v[64] = {0};
    ptq_tensor ok = {PTQ_DT_F32, 2, {2, 3}, v, 24}, y;
    ptq_tensor rows = {PTQ_DT_F32, 2, {3, 3}, v, 36}, cols = {PTQ_DT_F32, 2, {2, 4}, v, 32},
               rank = {PTQ_DT_F32, 1, {6}, v, 24}, type = {PTQ_DT_S32, 2, {2, 3}, v, 24};
    static const struct {
        int which;
        const char *text;
    } rows_[] = {{0, "input b: expected shape [batch,3], got [3,3]"},
                 {1, "input b: expected shape [batch,3], got [2,4]"},
                 {2, "input b: expected shape [batch,3], got [6]"},
                 {3, "input b: expected float32, got int32"}};
    const ptq_tensor *bad[] = {&rows, &cols, &rank, &type};
    for (size_t i = 0; i < PTQ_COUNT(rows_); i++) {
        ptq_tensor in[2] = {ok, *bad[i]};
        ck_assert_fails(ptq_session_run(s, in, 2, &y, 1), PTQ_ERR_DATA);
        ck_assert_str_eq(ptq_last_error(), rows_[i].text);
    }
    ck_assert_fails(ptq_session_run(s, &ok, 1, &y, 1), PTQ_ERR_ARG);
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

START_TEST(session__names_all_unsupported_operators)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 1, (int64_t[]){3});
    ptq_value *a = KIT(g, "FooBar", "a", x);
    ptq_value *b = KIT(g, "Relu", "b", a);
    kit_output(g, KIT(g, "Quux", "c", KIT(g, "FooBar", "d", b)));
    ptq_session *s;
    ck_assert_fails(ptq_session_new(g, NULL, &s), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("2 of the model's operators");
    ck_assert_says("FooBar (node a");
    ck_assert_says("Quux (node c");
    ptq_session_options o = {.backend = "abacus"};
    ck_assert_fails(ptq_session_new(g, &o, &s), PTQ_ERR_ARG);
    ptq_graph_free(g);
}
END_TEST

/* The length of Range comes with the data: the same input shape, other output shapes. */
START_TEST(session__shapes_from_data)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *n = kit_input(g, "n", PTQ_DT_S64, 0, NULL);
    int64_t zero = 0, one = 1, mat[2] = {-1, 1};
    ptq_value *z = kit_const(g, "zero", PTQ_DT_S64, 0, NULL, &zero);
    ptq_value *o = kit_const(g, "one", PTQ_DT_S64, 0, NULL, &one);
    ptq_value *r = KIT(g, "Range", "r", z, n, o);
    ptq_value *m = KIT(g, "Reshape", "m", r, kit_const(g, "shape", PTQ_DT_S64, 1, (int64_t[]){2}, mat));
    kit_output(g, KIT(g, "Add", "y", m, r));
    kit_finish(g);
    ptq_session *s = open_session(g, &simulation);
    for (int64_t k = 1; k < 6; k++) {
        ptq_tensor x = {PTQ_DT_S64, 0, {0}, &k, 8}, y;
        ck_assert_ok(ptq_session_run(s, &x, 1, &y, 1));
        ck_assert_int_eq(y.rank, 2);
        ck_assert_int_eq((int)y.dims[0], (int)k);
        ck_assert_int_eq((int)y.dims[1], (int)k);
        for (int64_t i = 0; i < k * k; i++)
            ck_assert_int_eq((int)((const int64_t *)y.data)[i], (int)(i / k + i % k));
    }
    ck_assert_uint_gt(ptq_session_activation_bytes(s), 0);
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

/* Outputs that are inputs, constants or views of inputs. */
START_TEST(session__odd_outputs)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 3});
    float c[2] = {5, 6};
    kit_output(g, x);
    kit_output(g, kit_const(g, "k", PTQ_DT_F32, 1, (int64_t[]){2}, c));
    kit_output(g, KIT(g, "Flatten", "f", x));
    kit_output(g, KIT(g, "Add", "sum", kit_f32(g, 1.0f), kit_f32(g, 2.0f)));
    kit_finish(g);
    ptq_session *s = open_session(g, &simulation);
    float v[3] = {1, 2, 3};
    ptq_tensor in = {PTQ_DT_F32, 2, {1, 3}, v, sizeof v}, y[4];
    ck_assert_ok(ptq_session_run(s, &in, 1, y, 4));
    ck_assert(((float *)y[0].data)[2] == 3.0f);
    ck_assert(((float *)y[1].data)[1] == 6.0f);
    v[2] = 9.0f; /* the caller's bytes: a view would follow them */
    ck_assert(((float *)y[2].data)[2] == 3.0f);
    ck_assert(((float *)y[3].data)[0] == 3.0f);
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

/* Nothing in the way of a graph may be quadratic or recursive. */
START_TEST(session__long_chain)
{
    enum { N = 30000 };
    ptq_graph *g = kit_graph(13);
    ptq_value *v = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 8});
    for (int i = 0; i < N; i++) {
        char name[32];
        snprintf(name, sizeof name, "v%d", i);
        v = KIT(g, i % 2 ? "Neg" : "Relu", name, v);
    }
    kit_output(g, v);
    kit_finish(g);
    double t0 = unit_cpu_seconds();
    ptq_session *s = open_session(g, &integer_nhwc);
    float data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    ptq_tensor x = {PTQ_DT_F32, 2, {1, 8}, data, sizeof data}, y;
    ck_assert_ok(ptq_session_run(s, &x, 1, &y, 1));
    ck_assert(((float *)y.data)[7] == 0.0f);
    ck_assert_uint_le(ptq_session_activation_bytes(s), 128);
    ck_assert_double_le(unit_cpu_seconds() - t0, 60.0);
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

START_TEST(session__evaluates_one_node)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *v = KIT(g, "Mul", "y", kit_f32(g, 3.0f), kit_f32(g, 2.5f));
    ptq_tensor out[1];
    ck_assert_ok(ptq_exec_eval_node(NULL, v->producer, 13, out));
    ck_assert(*(float *)out[0].data == 7.5f);
    free(out[0].data);
    ptq_value *u = KIT(g, "NoSuchOp", "u", kit_f32(g, 3.0f));
    ck_assert_fails(ptq_exec_eval_node(NULL, u->producer, 13, out), PTQ_ERR_UNSUPPORTED);
    ptq_value *w = KIT(g, "Relu", "w", v);
    ck_assert_fails(ptq_exec_eval_node(NULL, w->producer, 13, out), PTQ_ERR_ARG);
    ptq_graph_free(g);
}
END_TEST

static bool is_y(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return v->name[0] == 'y';
}

START_TEST(session__batch_proof)
{
    char why[128];
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 3});
    kit_output(g, KIT(g, "Relu", "y", x));
    ptq_value *t = KIT(g, "Transpose", "t", x);
    kit_output(g, t);
    kit_finish(g);
    ck_assert(ptq_batch_proven(g, is_y, NULL, why, sizeof why));
    ptq_value *y2 = KIT(g, "Transpose", "y2", x);
    kit_output(g, y2);
    kit_finish(g);
    ck_assert(!ptq_batch_proven(g, is_y, NULL, why, sizeof why));
    ck_assert_ptr_nonnull(strstr(why, "y2"));
    ptq_graph_free(g);
    g = kit_graph(13);
    x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, -1});
    kit_output(g, KIT(g, "Relu", "y", x));
    kit_finish(g);
    ck_assert(!ptq_batch_proven(g, is_y, NULL, why, sizeof why));
    ptq_graph_free(g);
    g = kit_graph(13); /* two rows for each sample */
    x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){-1, 3});
    ptq_value *twice = KIT(g, "Concat", "y", x, x);
    ck_assert_ok(ptq_attr_set_int(g, twice->producer, "axis", 0));
    kit_output(g, twice);
    kit_finish(g);
    ck_assert_int_eq(twice->shape.dims[0].mul, 2);
    ck_assert(!ptq_batch_proven(g, is_y, NULL, why, sizeof why));
    ptq_graph_free(g);
    g = kit_graph(13);
    x = kit_input(g, "x", PTQ_DT_F32, 2, (int64_t[]){1, 3});
    kit_output(g, KIT(g, "Relu", "y", x));
    kit_finish(g);
    ck_assert(!ptq_batch_proven(g, is_y, NULL, why, sizeof why));
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_session");
    TCase *t = tcase_create("session");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, session__integer_equals_exact_simulation);
    tcase_add_test(t, session__repeated_shapes_allocate_nothing);
    tcase_add_test(t, session__rests);
    tcase_add_test(t, session__taps);
    tcase_add_test(t, session__shapes_change);
    tcase_add_test(t, session__poison);
    tcase_add_test(t, session__global_max_pool_between_q_and_dq);
    tcase_add_test(t, session__input_errors);
    tcase_add_test(t, session__names_all_unsupported_operators);
    tcase_add_test(t, session__shapes_from_data);
    tcase_add_test(t, session__odd_outputs);
    tcase_add_test(t, session__long_chain);
    tcase_add_test(t, session__evaluates_one_node);
    tcase_add_test(t, session__batch_proof);
    suite_add_tcase(s, t);
    return unit_run(s);
}
