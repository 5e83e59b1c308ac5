/* SPDX-License-Identifier: Apache-2.0 */
/* Models of any size, for the scale test and for a look at one.
 *   gen_model deep NODES OUT.onnx [SAMPLES OUT.npy]
 *     half of the nodes one behind another, a tenth of them side by side behind one tensor and joined by one
 *     Concat, the rest such as exporters leave: constants to fold, duplicates, movers, many outputs
 *   gen_model wide MIB OUT.onnx [SAMPLES OUT.npy]
 *     MatMul and Gemm with weights of that many MiB in OUT.onnx.data */
#include <math.h>
#include <string.h>

#include "lib/onnx/onnx_io.h"
#include "tests/npy_io.h"
#include "tests/onnx_wire.h"

#define NEED(expr)                                                                                 \
    do {                                                                                           \
        if ((expr) != PTQ_OK)                                                                      \
            return false;                                                                          \
    } while (0)

enum { CHANNELS = 4 };

/* ---- deep ---- */

typedef struct deep {
    ptq_graph *g;
    ptq_rng rng;
    int made;
} deep;

static bool constant(deep *d, const char *base, int rank, const int64_t *dims, float *data, ptq_value **out)
{
    ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = rank, .data = data};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    return ptq_tensor_nbytes(t.dtype, rank, dims, &t.nbytes) && ptq_graph_constant(d->g, base, &t, true, out) == PTQ_OK;
}

static bool node(deep *d, const char *op, int nin, ptq_value *const *in, ptq_value **out)
{
    ptq_node *n;
    const char *name = ptq_graph_unique_name(d->g, op);
    NEED(name ? PTQ_OK : PTQ_ERR_NOMEM);
    NEED(ptq_graph_node(d->g, op, "", name, nin, 1, NULL, &n));
    for (int i = 0; i < nin; i++)
        ptq_node_set_input(d->g, n, i, in[i]);
    NEED(ptq_graph_value(d->g, name, out));
    ptq_node_set_output(d->g, n, 0, *out);
    d->made++;
    return true;
}

/* A 1x1 convolution that changes the channels' places and scales them, so that a chain of any length
 * neither grows nor fades. */
static bool conv(deep *d, ptq_value *x, float gain, ptq_value **out)
{
    float w[CHANNELS][CHANNELS] = {{0}}, b[CHANNELS];
    for (int i = 0; i < CHANNELS; i++) {
        w[i][(i + 1) % CHANNELS] = gain * (1.0f + 0.01f * ptq_rng_normal(&d->rng));
        b[i] = 0.001f * ptq_rng_normal(&d->rng);
    }
    ptq_value *in[3] = {x, NULL, NULL};
    return constant(d, "w", 4, (int64_t[]){CHANNELS, CHANNELS, 1, 1}, &w[0][0], &in[1]) &&
           constant(d, "b", 1, (int64_t[]){CHANNELS}, b, &in[2]) && node(d, "Conv", 3, in, out);
}

/* Conv, Relu, Conv, Relu and an Add of both Relu: a fifth of them each. */
static bool chain(deep *d, int nodes, ptq_value **x)
{
    ptq_value *first = *x;
    for (int i = 0; i < nodes; i++) {
        bool good;
        if (i % 5 == 4) {
            good = node(d, "Add", 2, (ptq_value *[]){*x, first}, x);
        } else {
            good = i % 5 % 2 ? node(d, "Relu", 1, x, x) : conv(d, *x, i % 5 ? 1.0f : 0.5f, x);
            first = i % 5 == 1 ? *x : first;
        }
        if (!good)
            return false;
    }
    return true;
}

/* `n` branches of a Conv and a Relu behind x, joined. */
static bool fan(deep *d, int n, ptq_value **x)
{
    ptq_value **out = ptq_calloc((size_t)n, sizeof(ptq_value *));
    bool good = out != NULL;
    for (int i = 0; i < n && good; i++)
        good = conv(d, *x, 1.0f + 0.1f * (float)(i % 7), &out[i]) && node(d, "Relu", 1, &out[i], &out[i]);
    good = good && node(d, "Concat", n, out, x) && ptq_attr_set_int(d->g, (*x)->producer, "axis", 1) == PTQ_OK;
    free(out);
    return good;
}

static bool ints(deep *d, int n, const int64_t *v, ptq_value **out)
{
    ptq_tensor t = {.dtype = PTQ_DT_S64, .rank = 1, .dims = {n}, .data = (void *)(uintptr_t)v, .nbytes = (size_t)n * 8};
    return ptq_graph_constant(d->g, "n", &t, true, out) == PTQ_OK;
}

/* x times a constant that is the sum of a growing number of constants, and Identity. */
static bool sums(deep *d, int nodes, ptq_value **x)
{
    ptq_value *c, *sum = NULL, *in[2] = {*x, NULL};
    float v[CHANNELS] = {1e-6f, 2e-6f, 1e-6f, 3e-6f};
    for (int i = 0; i < nodes - 2; i += 2) {
        if (!constant(d, "c", 3, (int64_t[]){CHANNELS, 1, 1}, v, &c) ||
            !node(d, "Add", 2, (ptq_value *[]){sum ? sum : c, c}, &sum) || !node(d, "Identity", 1, &sum, &sum))
            return false;
    }
    in[1] = sum;
    return !sum || (node(d, "Mul", 2, in, &in[1]) && node(d, "Add", 2, in, x));
}

/* Two equal chains, of which one remains. */
static bool twins(deep *d, int nodes, ptq_value **x)
{
    ptq_value *a = *x, *b = *x;
    for (int i = 0; i + 2 < nodes; i += 2)
        if (!node(d, i % 8 ? "Abs" : "Relu", 1, &a, &a) || !node(d, i % 8 ? "Abs" : "Relu", 1, &b, &b))
            return false;
    return node(d, "Add", 2, (ptq_value *[]){a, b}, x);
}

/* Sizes that are computed only to give a tensor the shape that it has, transposed and back. */
static bool movers(deep *d, int nodes, ptq_value **x)
{
    ptq_value *first, *rest, *size;
    for (int i = 0; i + 6 <= nodes; i += 6) {
        if (!node(d, "Transpose", 1, x, x) ||
            ptq_attr_set_ints(d->g, (*x)->producer, "perm", (int64_t[]){0, 1, 3, 2}, 4) != PTQ_OK ||
            !ints(d, 1, (int64_t[]){0}, &first) || !ints(d, 3, (int64_t[]){CHANNELS, 2, 2}, &rest) ||
            !node(d, "Shape", 1, x, &size) || !node(d, "Gather", 2, (ptq_value *[]){size, first}, &size) ||
            !node(d, "Concat", 2, (ptq_value *[]){size, rest}, &size) ||
            ptq_attr_set_int(d->g, size->producer, "axis", 0) != PTQ_OK ||
            !node(d, "Reshape", 2, (ptq_value *[]){*x, size}, x) || !node(d, "MaxPool", 1, x, x) ||
            ptq_attr_set_ints(d->g, (*x)->producer, "kernel_shape", (int64_t[]){1, 1}, 2) != PTQ_OK)
            return false;
    }
    return true;
}

/* Everything reads x, which lives to the end; some of it is read by nobody, some by the caller alone. */
static bool readers(deep *d, int nodes, ptq_value **x)
{
    ptq_value *y = *x, *z;
    for (int i = 0; i + 4 <= nodes; i += 4) {
        if (!node(d, "Max", 2, (ptq_value *[]){*x, y}, &y) || !node(d, "Sigmoid", 1, x, &z) ||
            !node(d, "Max", 2, (ptq_value *[]){z, *x}, &z) || !node(d, "Identity", 1, &z, &z))
            return false;
        z->dtype = PTQ_DT_F32;
        z->shape = d->g->inputs.v[0]->shape;
        if (i % 64 == 0 && (!node(d, "Exp", 1, &y, &z) || ptq_graph_add_output(d->g, z) != PTQ_OK))
            return false;
        if (i % 64 == 0) {
            z->dtype = PTQ_DT_F32;
            z->shape = d->g->inputs.v[0]->shape;
        }
    }
    *x = y;
    return true;
}

static bool clutter(deep *d, int nodes, ptq_value **x)
{
    return sums(d, nodes / 4, x) && twins(d, nodes / 4, x) && movers(d, nodes / 4, x) &&
           readers(d, nodes - 3 * (nodes / 4), x);
}

static bool make_deep(deep *d, int nodes)
{
    ptq_value *x, *y, *w;
    ptq_graph *g = d->g;
    g->opset = 13;
    g->ir_version = 8;
    NEED(ptq_graph_value(g, "x", &x));
    x->dtype = PTQ_DT_F32;
    x->shape = (ptq_shape){4, {ptq_dim_sym(ptq_symbol(g, "batch")), ptq_dim_of(CHANNELS), ptq_dim_of(2), ptq_dim_of(2)}};
    NEED(ptq_graph_add_input(g, x));
    const int width = nodes / 10;
    if (!chain(d, nodes / 2, &x) || !clutter(d, nodes - nodes / 2 - 2 * width - 6, &x) || !fan(d, width, &x))
        return false;
    float *head = ptq_calloc((size_t)width * CHANNELS * 3, sizeof *head);
    NEED(head ? PTQ_OK : ptq_fail_nomem());
    for (int i = 0; i < width * CHANNELS * 3; i++)
        head[i] = ptq_rng_normal(&d->rng) / (float)width;
    bool good = constant(d, "head", 2, (int64_t[]){3, width * CHANNELS}, head, &w) &&
                node(d, "GlobalAveragePool", 1, &x, &x) && node(d, "Flatten", 1, &x, &x) &&
                node(d, "Gemm", 2, (ptq_value *[]){x, w}, &y) &&
                ptq_attr_set_int(g, y->producer, "transB", 1) == PTQ_OK;
    free(head);
    y->dtype = PTQ_DT_F32;
    y->shape = (ptq_shape){2, {ptq_dim_sym(ptq_symbol(g, "batch")), ptq_dim_of(3)}};
    return good && ptq_graph_add_output(g, y) == PTQ_OK;
}

static ptq_status write_deep(int nodes, const char *path)
{
    deep d = {0};
    ptq_onnx_save_options so = {.force = true};
    ptq_rng_seed(&d.rng, 1);
    PTQ_TRY(ptq_graph_new(&d.g));
    ptq_status s = make_deep(&d, nodes) ? ptq_onnx_save(d.g, path, &so) : ptq_fail(PTQ_ERR_NOMEM, "%s", ptq_last_error());
    ptq_graph_free(d.g);
    return s;
}

/* ---- wide ---- */

enum { WIDTH = 4096 };

/* One float weight of WIDTH x WIDTH at `at` of the data file. */
static void external(wire *graph, const char *name, const char *file, size_t at)
{
    wire t = {0};
    const size_t bytes = (size_t)WIDTH * WIDTH * sizeof(float);
    const char *const keys[3] = {"location", "offset", "length"};
    char text[2][32];
    snprintf(text[0], sizeof text[0], "%zu", at);
    snprintf(text[1], sizeof text[1], "%zu", bytes);
    const char *const values[3] = {file, text[0], text[1]};
    wire_int(&t, 1, WIDTH);
    wire_int(&t, 1, WIDTH);
    wire_int(&t, 2, PTQ_DT_F32);
    wire_str(&t, 8, name);
    for (int i = 0; i < 3; i++) {
        wire e = {0};
        wire_str(&e, 1, keys[i]);
        wire_str(&e, 2, values[i]);
        wire_msg(&t, 13, &e);
    }
    wire_int(&t, 14, 1);
    wire_msg(graph, 5, &t);
}

static bool write_weights(const char *path, int layers)
{
    enum { BLOCK = 1 << 20 };
    float *x = ptq_calloc(BLOCK, sizeof *x);
    FILE *f = fopen(path, "wb");
    bool good = x && f;
    ptq_rng r;
    ptq_rng_seed(&r, 2);
    for (int i = 0; i < BLOCK && x; i++)
        x[i] = ptq_rng_normal(&r) / sqrtf(WIDTH / 2.0f);
    /* The same numbers in another order each time: drawing them anew takes longer than all else. */
    for (int i = 0; i < layers * (WIDTH * WIDTH / BLOCK) && good; i++) {
        const size_t from = (size_t)(i * 7919) % BLOCK;
        good = fwrite(x + from, sizeof *x, BLOCK - from, f) == BLOCK - from && fwrite(x, sizeof *x, from, f) == from;
    }
    good = (!f || fclose(f) == 0) && good;
    free(x);
    return good;
}

static ptq_status write_wide(int mib, const char *path)
{
    const size_t bytes = (size_t)WIDTH * WIDTH * sizeof(float);
    int layers = (int)(((size_t)mib << 20) / bytes);
    char data[1024], w[32], in[32], out[32];
    wire g = {0};
    layers = layers ? layers : 1;
    snprintf(data, sizeof data, "%s.data", path);
    const char *file = strrchr(data, '/') ? strrchr(data, '/') + 1 : data;
    for (int i = 0; i < layers; i++) {
        snprintf(w, sizeof w, "w%d", i);
        snprintf(in, sizeof in, i ? "r%d" : "x", i - 1);
        snprintf(out, sizeof out, "m%d", i);
        wire_node(&g, 1, i % 2 ? "MatMul" : "Gemm", out, in, w, out);
        snprintf(in, sizeof in, i == layers - 1 ? "y" : "r%d", i);
        wire_node(&g, 1, "Relu", in, out, NULL, in);
    }
    wire_str(&g, 2, "wide");
    for (int i = 0; i < layers; i++) {
        snprintf(w, sizeof w, "w%d", i);
        external(&g, w, file, (size_t)i * bytes);
    }
    wire_value(&g, 11, "x", PTQ_DT_F32, 2, (int64_t[]){1, WIDTH});
    wire_value(&g, 12, "y", PTQ_DT_F32, 2, (int64_t[]){1, WIDTH});
    wire m = wire_model(&g, 8, 13);
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(m.p, 1, m.n, f) == m.n;
    good = (!f || fclose(f) == 0) && good;
    wire_free(&m);
    return good && write_weights(data, layers) ? PTQ_OK : ptq_fail(PTQ_ERR_IO, "%s: cannot write", path);
}

/* ---- samples ---- */

static ptq_status write_samples(bool is_deep, int n, const char *path)
{
    ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = is_deep ? 4 : 2, .dims = {n, is_deep ? CHANNELS : WIDTH, 2, 2}};
    ptq_rng r;
    ptq_rng_seed(&r, 3);
    PTQ_TRY(ptq_tensor_alloc(&t));
    for (int64_t i = 0; i < ptq_tensor_elements(&t); i++)
        ((float *)t.data)[i] = is_deep ? 0.5f + 0.5f * fabsf(ptq_rng_normal(&r)) : ptq_rng_normal(&r);
    ptq_status s = npy_write(path, &t);
    free(t.data);
    return s;
}

int main(int argc, char **argv)
{
    const bool is_deep = argc > 1 && strcmp(argv[1], "deep") == 0, is_wide = argc > 1 && strcmp(argv[1], "wide") == 0;
    if ((!is_deep && !is_wide) || (argc != 4 && argc != 6) || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: gen_model deep NODES|wide MIB OUT.onnx [SAMPLES OUT.npy]\n");
        return 2;
    }
    ptq_status s = is_deep ? write_deep(atoi(argv[2]), argv[3]) : write_wide(atoi(argv[2]), argv[3]);
    if (s == PTQ_OK && argc == 6)
        s = write_samples(is_deep, atoi(argv[4]), argv[5]);
    if (s != PTQ_OK)
        fprintf(stderr, "gen_model: %s\n", ptq_last_error());
    return ptq_exit_code(s);
}
