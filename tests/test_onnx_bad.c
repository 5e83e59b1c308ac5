/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are wrong: each must end in an error that names the cause, or in a valid graph. */
#include "tests/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/onnx/onnx_priv.h"
#include "tests/onnx_models.h"

#define ck_assert_says(text) ck_assert_msg(strstr(ptq_last_error(), text), "%s", ptq_last_error())

/* Loads; what loads must be consistent and survive being saved and loaded again. */
static ptq_status survives(const void *p, size_t n)
{
    static const ptq_onnx_load_options opt = {.memory_limit = (size_t)64 << 20};
    ptq_graph *g, *back;
    void *bytes;
    size_t size;
    ptq_status s = ptq_onnx_load_memory(p, n, NULL, &opt, &g);
    if (s != PTQ_OK) {
        ck_assert(s == PTQ_ERR_MODEL || s == PTQ_ERR_UNSUPPORTED || s == PTQ_ERR_NOMEM);
        return s;
    }
    ck_assert_ok(ptq_graph_verify(g));
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &size));
    ck_assert_ok(ptq_onnx_load_memory(bytes, size, NULL, NULL, &back));
    ptq_graph_free(back);
    ptq_graph_free(g);
    free(bytes);
    return PTQ_OK;
}

/* An exact copy, so that a sanitizer sees any read past the end. */
static ptq_status survives_cut(const wire *m, size_t n)
{
    void *copy = malloc(n ? n : 1);
    if (n)
        memcpy(copy, m->p, n);
    ptq_status s = survives(copy, n);
    free(copy);
    return s;
}

START_TEST(bad__truncated_at_every_byte)
{
    wire g = small_graph();
    wire m = wire_model(&g, 8, 17);
    for (size_t n = 0; n < m.n; n++)
        ck_assert_int_eq(survives_cut(&m, n), PTQ_ERR_MODEL);
    ck_assert_ok(survives_cut(&m, m.n));
    wire_free(&m);
    m = rich_model(); /* its tail is optional: some cuts are whole models */
    size_t whole = 0;
    for (size_t n = 0; n < m.n; n++)
        whole += survives_cut(&m, n) == PTQ_OK;
    ck_assert(whole < 8);
    wire_free(&m);
}
END_TEST

START_TEST(bad__every_bit_flipped)
{
    wire models[2] = {rich_model(), {0}};
    wire g = small_graph();
    models[1] = wire_model(&g, 8, 17);
    double t = unit_cpu_seconds();
    for (int k = 0; k < 2; k++) {
        for (size_t bit = 0; bit < 8 * models[k].n; bit++) {
            models[k].p[bit / 8] ^= (uint8_t)(1u << bit % 8);
            survives(models[k].p, models[k].n);
            models[k].p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        wire_free(&models[k]);
    }
    ck_assert(unit_cpu_seconds() - t < 60);
}
END_TEST

/* ---- graphs in graphs ---- */

static wire nested(size_t levels)
{
    wire g = {0};
    wire_node(&g, 1, "Neg", "innermost", "outer", NULL, "y0");
    for (size_t i = 0; i < levels; i++) {
        wire a = {0}, n = {0}, up = {0};
        char out[32];
        snprintf(out, sizeof out, "y%zu", i + 1);
        wire_str(&n, 1, "outer");
        wire_str(&n, 2, out);
        wire_str(&n, 4, "If");
        wire_str(&a, 1, "then_branch");
        wire_msg(&a, 6, &g);
        wire_int(&a, 20, 5);
        wire_msg(&n, 5, &a);
        wire_msg(&up, 1, &n);
        g = up;
    }
    wire_value(&g, 11, "outer", PTQ_DT_F32, 0, NULL);
    return wire_model(&g, 8, 17);
}

static void *load_deep(void *out)
{
    wire m = nested(32);
    ptq_status *s = out;
    *s = survives(m.p, m.n);
    wire_free(&m);
    return NULL;
}

START_TEST(bad__nesting)
{
    wire m = nested(32);
    ptq_graph *g;
    ck_assert_ok(ptq_onnx_load_memory(m.p, m.n, NULL, NULL, &g));
    const ptq_graph *at = g;
    int depth = 0;
    for (; at->first->nattrs; depth++) {
        ck_assert_int_eq(at->first->ncaptures, 1);
        at = at->first->attrs[0].graph;
    }
    ck_assert_int_eq(depth, 32);
    ptq_graph_free(g);
    wire_free(&m);
    static const size_t deep[] = {33, 3000};
    for (size_t i = 0; i < PTQ_COUNT(deep); i++) {
        m = nested(deep[i]);
        ck_assert_int_eq(survives(m.p, m.n), PTQ_ERR_MODEL);
        ck_assert_says("nested");
        wire_free(&m);
    }
}
END_TEST

START_TEST(bad__nesting_on_a_small_stack)
{
#ifdef __SANITIZE_ADDRESS__
    size_t stack = (size_t)1 << 20;
#else
    size_t stack = 128 << 10;
#endif
    pthread_attr_t attr;
    pthread_t thread;
    ptq_status s = PTQ_ERR_INTERNAL;
    pthread_attr_init(&attr);
    ck_assert_int_eq(pthread_attr_setstacksize(&attr, stack), 0);
    ck_assert_int_eq(pthread_create(&thread, &attr, load_deep, &s), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    ck_assert_int_eq(s, PTQ_OK);
}
END_TEST

START_TEST(bad__recursive_types)
{
    wire type = {0}, g = {0}, v = {0};
    for (int i = 0; i < 2000; i++) {
        wire seq = {0};
        wire_msg(&seq, 1, &type);
        wire_msg(&type, 4, &seq);
    }
    wire_str(&v, 1, "x");
    wire_msg(&v, 2, &type);
    wire_msg(&g, 11, &v);
    wire m = wire_model(&g, 8, 17);
    ck_assert_int_eq(survives(m.p, m.n), PTQ_ERR_MODEL);
    ck_assert_says("nested");
    wire_free(&m);
}
END_TEST

START_TEST(bad__a_million_empty_nodes)
{
    wire g = {0};
    for (int i = 0; i < 1000000; i++)
        wire_bytes(&g, 1, "", 0);
    wire m = wire_model(&g, 8, 17);
    ck_assert_int_eq(survives(m.p, m.n), PTQ_ERR_NOMEM);
    wire_free(&m);
}
END_TEST

START_TEST(bad__large_graphs_take_linear_time)
{
    wire g = {0};
    char a[32] = "x", b[32];
    for (int i = 0; i < 50000; i++) { /* a chain 50,000 deep, last node first */
        snprintf(b, sizeof b, "t%d", i);
        wire_node(&g, 1, "Relu", NULL, i < 49999 ? (snprintf(a, sizeof a, "t%d", i + 1), a) : "x", NULL, b);
    }
    wire_value(&g, 11, "x", PTQ_DT_F32, 0, NULL);
    wire m = wire_model(&g, 8, 17);
    double t = unit_cpu_seconds();
    ptq_graph *out;
    ck_assert_ok(ptq_onnx_load_memory(m.p, m.n, NULL, NULL, &out));
    ck_assert_str_eq(out->first->in[0]->name, "x");
    ck_assert(unit_cpu_seconds() - t < 10);
    ptq_graph_free(out);
    wire_free(&m);
}
END_TEST

/* ---- tensors ---- */

static ptq_status load_tensor(wire *t, ptq_tensor *out)
{
    wire g = {0};
    ptq_graph *graph;
    wire_str(t, 8, "t");
    wire_msg(&g, 5, t);
    wire m = wire_model(&g, 8, 17);
    ptq_status s = ptq_onnx_load_memory(m.p, m.n, NULL, NULL, &graph);
    if (s == PTQ_OK) {
        const ptq_tensor *c = ptq_graph_find(graph, "t")->constant;
        static unsigned char copy[256];
        *out = *c;
        out->data = copy;
        if (c->nbytes && c->data)
            memcpy(copy, c->data, c->nbytes < sizeof copy ? c->nbytes : sizeof copy);
        ptq_graph_free(graph);
    }
    wire_free(&m);
    return s;
}

static wire tensor(int type, int rank, const int64_t *dims)
{
    wire t = {0};
    for (int i = 0; i < rank; i++)
        wire_int(&t, 1, dims[i]);
    wire_int(&t, 2, type);
    return t;
}

static void packed(wire *t, unsigned field, int n, const int64_t *v)
{
    wire p = {0};
    for (int i = 0; i < n; i++)
        wire_varint(&p, (uint64_t)v[i]);
    wire_msg(t, field, &p);
}

START_TEST(bad__tensor_sizes)
{
    static const struct {
        int type, rank;
        int64_t dims[3];
        int raw; /* bytes, -1: none */
        ptq_status status;
        const char *says;
    } cases[] = {
        {PTQ_DT_F32, 1, {2}, 8, PTQ_OK, NULL},
        {PTQ_DT_F32, 1, {2}, 7, PTQ_ERR_MODEL, "raw_data holds 7 bytes"},
        {PTQ_DT_F32, 1, {2}, 9, PTQ_ERR_MODEL, "needs 8"},
        {PTQ_DT_F32, 1, {2}, -1, PTQ_ERR_MODEL, "float_data holds 0"},
        {PTQ_DT_F32, 1, {0}, -1, PTQ_OK, NULL},
        {PTQ_DT_F32, 2, {3, 0}, 0, PTQ_OK, NULL},
        {PTQ_DT_F32, 0, {0}, 4, PTQ_OK, NULL},
        {PTQ_DT_F32, 1, {-1}, 4, PTQ_ERR_MODEL, "negative"},
        {PTQ_DT_F32, 2, {INT64_C(1) << 40, INT64_C(1) << 40}, 4, PTQ_ERR_MODEL, "too large"},
        {PTQ_DT_F32, 3, {0, INT64_C(1) << 40, INT64_C(1) << 40}, 0, PTQ_OK, NULL},
        {PTQ_DT_F32, 1, {INT64_MAX}, 4, PTQ_ERR_MODEL, "too large"},
        {PTQ_DT_S4, 1, {3}, 2, PTQ_OK, NULL},
        {PTQ_DT_S4, 1, {3}, 3, PTQ_ERR_MODEL, "needs 2"},
        {PTQ_DT_C128, 1, {1}, 16, PTQ_OK, NULL},
        {PTQ_DT_STRING, 1, {1}, 4, PTQ_ERR_MODEL, "strings"},
        {0, 1, {1}, 4, PTQ_ERR_MODEL, "element type 0"},
        {-5, 1, {1}, 4, PTQ_ERR_MODEL, "element type -5"},
        {27, 1, {1}, 4, PTQ_ERR_UNSUPPORTED, "element type 27"},
    };
    static const char bytes[16];
    ptq_tensor out;
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        wire t = tensor(cases[i].type, cases[i].rank, cases[i].dims);
        if (cases[i].raw >= 0)
            wire_bytes(&t, 9, bytes, (size_t)cases[i].raw);
        ck_assert_fails(load_tensor(&t, &out), cases[i].status);
        if (cases[i].says) {
            ck_assert_says(cases[i].says);
            ck_assert_says("tensor 't'");
        }
    }
    wire t = {0};
    for (int i = 0; i < 9; i++)
        wire_int(&t, 1, 1);
    wire_int(&t, 2, 1);
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("rank 9");
    for (int i = 0; i < 1000000; i++)
        wire_int(&t, 1, 1);
    wire_int(&t, 2, 1);
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_UNSUPPORTED);
}
END_TEST

START_TEST(bad__tensor_fields)
{
    ptq_tensor out;
    wire t = tensor(PTQ_DT_F32, 1, (int64_t[]){1});
    wire_bytes(&t, 4, "abcd", 4);
    wire_bytes(&t, 9, "abcd", 4);
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_MODEL);
    ck_assert_says("twice");
    t = tensor(PTQ_DT_F32, 1, (int64_t[]){1});
    packed(&t, 5, 1, (int64_t[]){1});
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_MODEL);
    ck_assert_says("belong into float_data, not int32_data");
    t = tensor(PTQ_DT_S8, 1, (int64_t[]){2});
    packed(&t, 5, 2, (int64_t[]){1, 200});
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_MODEL);
    ck_assert_says("element 1 is 200");
    t = tensor(PTQ_DT_F32, 0, NULL);
    wire_bytes(&t, 3, "", 0);
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("segments");
}
END_TEST

START_TEST(tensor__typed_fields_become_raw)
{
    static const struct {
        int type;
        unsigned field;
        int64_t v[2];
        unsigned char raw[16];
        size_t n;
    } cases[] = {
        {PTQ_DT_S8, 5, {-1, 7}, {0xff, 7}, 2},
        {PTQ_DT_U8, 5, {255, 7}, {0xff, 7}, 2},
        {PTQ_DT_BOOL, 5, {1, 0}, {1, 0}, 2},
        {PTQ_DT_S16, 5, {-2, 258}, {0xfe, 0xff, 2, 1}, 4},
        {PTQ_DT_U16, 5, {65535, 258}, {0xff, 0xff, 2, 1}, 4},
        {PTQ_DT_F16, 5, {0x3c00, 0xbc00}, {0, 0x3c, 0, 0xbc}, 4},
        {PTQ_DT_BF16, 5, {0x3f80, 0xbf80}, {0x80, 0x3f, 0x80, 0xbf}, 4},
        {PTQ_DT_S32, 5, {-1, 1}, {0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, 8},
        {PTQ_DT_U32, 11, {0xffffffff, 1}, {0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, 8},
        {PTQ_DT_S64, 7, {-1, 1},
         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0}, 16},
        {PTQ_DT_U64, 11, {-1, 1},
         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0}, 16},
    };
    ptq_tensor out;
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        wire t = tensor(cases[i].type, 1, (int64_t[]){2});
        packed(&t, cases[i].field, 2, cases[i].v);
        ck_assert_ok(load_tensor(&t, &out));
        ck_assert_uint_eq(out.nbytes, cases[i].n);
        ck_assert_mem_eq(out.data, cases[i].raw, cases[i].n);
    }
    wire t = tensor(PTQ_DT_U4, 1, (int64_t[]){3}); /* 1, 2, 3: two per byte, low half first */
    packed(&t, 5, 2, (int64_t[]){0x21, 0x03});
    ck_assert_ok(load_tensor(&t, &out));
    ck_assert_uint_eq(out.nbytes, 2);
    ck_assert_mem_eq(out.data, "\x21\x03", 2);
    static const double d[2] = {1.5, -2.5};
    t = tensor(PTQ_DT_F64, 1, (int64_t[]){2});
    wire_bytes(&t, 10, d, sizeof d);
    ck_assert_ok(load_tensor(&t, &out));
    ck_assert_mem_eq(out.data, d, sizeof d);
}
END_TEST

/* ---- names ---- */

START_TEST(bad__names)
{
    static const struct {
        const char *name;
        size_t n;
        ptq_status status;
    } cases[] = {
        {"a\0b", 3, PTQ_ERR_MODEL},     {"\xff\xfe", 2, PTQ_ERR_MODEL},
        {"", 0, PTQ_ERR_MODEL},         {"\x1b[31mred", 8, PTQ_OK},
        {"<script>", 8, PTQ_OK},        {"=cmd()", 6, PTQ_OK},
        {"../x", 4, PTQ_OK},            {"x_scale", 7, PTQ_OK},
    };
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        wire g = {0}, v = {0};
        wire_bytes(&v, 1, cases[i].name, cases[i].n);
        wire_msg(&g, 11, &v);
        wire m = wire_model(&g, 8, 17);
        ck_assert_int_eq(survives(m.p, m.n), cases[i].status);
        wire_free(&m);
    }
    size_t n = 1 << 20;
    char *long_name = malloc(n);
    memset(long_name, 'x', n);
    wire g = {0}, v = {0};
    wire_bytes(&v, 1, long_name, n);
    wire_msg(&g, 11, &v);
    wire m = wire_model(&g, 8, 17);
    ck_assert_int_eq(survives(m.p, m.n), PTQ_OK);
    wire_free(&m);
    free(long_name);
}
END_TEST

START_TEST(bad__functions_that_call_each_other)
{
    for (int k = 0; k < 4; k++) { /* in a circle or not; from a subgraph or not */
        int circle = k & 1;
        wire g = {0}, m, f = {0};
        wire_str(&g, 2, "g");
        m = wire_model(&g, 8, 17);
        static const char *const calls[2][2] = {{"B", "Relu"}, {"B", "A"}};
        for (int i = 0; i < 2; i++) {
            wire n = {0};
            wire_str(&f, 1, i ? "B" : "A");
            wire_str(&n, 4, calls[circle][i]);
            wire_str(&n, 7, "local");
            if (k & 2) {
                wire body = {0}, a = {0};
                wire_msg(&body, 1, &n);
                wire_str(&a, 1, "then_branch");
                wire_msg(&a, 6, &body);
                wire_str(&n, 4, "If");
                wire_msg(&n, 5, &a);
            }
            wire_msg(&f, 7, &n);
            wire_str(&f, 10, "local");
            wire_msg(&m, 25, &f);
        }
        ck_assert_int_eq(survives(m.p, m.n), circle ? PTQ_ERR_MODEL : PTQ_OK);
        if (circle)
            ck_assert_says("calls itself");
        wire_free(&m);
    }
    wire g = {0}, f = {0};
    wire_str(&g, 2, "g");
    wire m = wire_model(&g, 8, 17);
    for (int i = 0; i < 2; i++) {
        wire_str(&f, 1, "A");
        wire_msg(&m, 25, &f);
    }
    ck_assert_int_eq(survives(m.p, m.n), PTQ_ERR_MODEL);
    ck_assert_says("defined twice");
    wire_free(&m);
}
END_TEST

/* ---- external data and special files ---- */

static char dir[] = "/tmp/ptq-bad-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static int k;
    k = (k + 1) % 4;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

static void write_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    ck_assert(f && fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

typedef struct external {
    const char *location, *offset, *length, *key;
    ptq_status status;
    const char *says;
} external;

static wire external_model(const external *e)
{
    wire g = {0}, t = tensor(PTQ_DT_F32, 1, (int64_t[]){2});
    wire_str(&t, 8, "t");
    if (e->location)
        wire_entry(&t, 13, "location", e->location);
    if (e->offset)
        wire_entry(&t, 13, "offset", e->offset);
    if (e->length)
        wire_entry(&t, 13, "length", e->length);
    if (e->key)
        wire_entry(&t, 13, e->key, "1");
    wire_int(&t, 14, 1);
    wire_msg(&g, 5, &t);
    return wire_model(&g, 8, 17);
}

static int warnings;

static void count_warning(void *payload, ptq_log_level level, const char *text)
{
    (void)payload;
    (void)text;
    warnings += level == PTQ_LOG_WARN;
}

START_TEST(bad__external_data)
{
    static const external cases[] = {
        {"w.bin", NULL, NULL, NULL, PTQ_OK, NULL},
        {"w.bin", "8", "8", NULL, PTQ_OK, NULL},
        {"./sub//w.bin", "0", NULL, "checksum", PTQ_OK, NULL},
        {"w.bin", NULL, NULL, "surprise", PTQ_OK, NULL},
        {"a..b", NULL, NULL, NULL, PTQ_OK, NULL},
        {NULL, NULL, NULL, NULL, PTQ_ERR_MODEL, "without a location"},
        {"", NULL, NULL, NULL, PTQ_ERR_MODEL, "without a location"},
        {"/etc/passwd", NULL, NULL, NULL, PTQ_ERR_MODEL, "absolute"},
        {"../outside.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "goes up"},
        {"sub/../../outside.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "goes up"},
        {"sub/..", NULL, NULL, NULL, PTQ_ERR_MODEL, "goes up"},
        {".", NULL, NULL, NULL, PTQ_ERR_MODEL, "names no file"},
        {"link.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "link"},
        {"linkdir/w.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "link"},
        {"hard.bin", NULL, NULL, NULL, PTQ_ERR_MODEL, "hard link"},
        {"fifo", NULL, NULL, NULL, PTQ_ERR_MODEL, "not a regular file"},
        {"sub", NULL, NULL, NULL, PTQ_ERR_MODEL, "not a regular file"},
        {"missing.bin", NULL, NULL, NULL, PTQ_ERR_IO, "missing.bin"},
        {"w.bin", "-8", NULL, NULL, PTQ_ERR_MODEL, "offset"},
        {"w.bin", "ten", NULL, NULL, PTQ_ERR_MODEL, "offset"},
        {"w.bin", "", NULL, NULL, PTQ_ERR_MODEL, "offset"},
        {"w.bin", "99999999999999999999", NULL, NULL, PTQ_ERR_MODEL, "offset"},
        {"w.bin", "18446744073709551615", NULL, NULL, PTQ_ERR_MODEL, "has 16"},
        {"w.bin", "9", NULL, NULL, PTQ_ERR_MODEL, "has 16"},
        {"w.bin", "0", "-1", NULL, PTQ_ERR_MODEL, "length"},
        {"w.bin", "0", "7", NULL, PTQ_ERR_MODEL, "length 7"},
        {"w.bin", "0", "9223372036854775808", NULL, PTQ_ERR_MODEL, "length"},
        {"w.bin", NULL, NULL, "location", PTQ_ERR_MODEL, "two entries"},
    };
    ck_assert_ptr_nonnull(mkdtemp(dir));
    static const float w[4] = {1, 2, 3, 4};
    mkdir(in_dir("sub"), 0777);
    write_file(in_dir("w.bin"), w, sizeof w);
    write_file(in_dir("a..b"), w, sizeof w);
    write_file(in_dir("sub/w.bin"), w, sizeof w);
    write_file(in_dir("hard.bin"), w, sizeof w);
    ck_assert_int_eq(link(in_dir("hard.bin"), in_dir("hard2.bin")), 0);
    ck_assert_int_eq(symlink("w.bin", in_dir("link.bin")), 0);
    ck_assert_int_eq(symlink("sub", in_dir("linkdir")), 0);
    ck_assert_int_eq(mkfifo(in_dir("fifo"), 0666), 0);
    ptq_set_log(count_warning, NULL, PTQ_LOG_WARN);
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        wire m = external_model(&cases[i]);
        ptq_graph *g;
        write_file(in_dir("m.onnx"), m.p, m.n);
        warnings = 0;
        ck_assert_fails(ptq_onnx_load(in_dir("m.onnx"), NULL, &g), cases[i].status);
        ck_assert_int_eq(warnings, cases[i].key && strcmp(cases[i].key, "surprise") == 0);
        if (cases[i].says) {
            ck_assert_says(cases[i].says);
        } else {
            const float *t = ptq_graph_find(g, "t")->constant->data;
            ck_assert(t[0] == (cases[i].offset && *cases[i].offset == '8' ? 3.0f : 1.0f));
            ptq_graph_free(g);
        }
        ck_assert_int_eq(ptq_onnx_load_memory(m.p, m.n, NULL, NULL, &g), PTQ_ERR_MODEL);
        wire_free(&m);
    }
    ptq_set_log(NULL, NULL, PTQ_LOG_WARN);
    char cmd[300];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    ck_assert_int_eq(system(cmd), 0);
}
END_TEST

/* What openat2 refuses, the way without it must refuse as well. */
START_TEST(bad__external_data_without_openat2)
{
    static const struct {
        const char *path;
        int error; /* 0: opens */
    } cases[] = {{"w.bin", 0},      {"sub/deep/w.bin", 0},    {"link.bin", ELOOP},
                 {"none", ENOENT},  {"linkdir/w.bin", ENOTDIR}, {"none/w.bin", ENOENT},
                 {"sub/linkup/w.bin", ENOTDIR}};
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    mkdir(in_dir("sub"), 0777);
    mkdir(in_dir("sub/deep"), 0777);
    write_file(in_dir("w.bin"), "w", 1);
    write_file(in_dir("sub/deep/w.bin"), "w", 1);
    ck_assert_int_eq(symlink("w.bin", in_dir("link.bin")), 0);
    ck_assert_int_eq(symlink("sub", in_dir("linkdir")), 0);
    ck_assert_int_eq(symlink("..", in_dir("sub/linkup")), 0);
    int at = open(dir, O_PATH | O_DIRECTORY);
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        char path[64];
        strcpy(path, cases[i].path);
        int fd = ptq_onnx_open_stepwise(at, path), e = errno;
        ck_assert_int_eq(fd < 0 ? e : 0, cases[i].error);
        if (fd >= 0)
            close(fd);
    }
    close(at);
    char cmd[300];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    ck_assert_int_eq(system(cmd), 0);
}
END_TEST

START_TEST(bad__external_data_that_overlaps)
{
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    static const float w[4] = {1, 2, 3, 4};
    static const char *const second[] = {"0", "8", "4"}; /* shared, apart, overlapping */
    write_file(in_dir("w.bin"), w, sizeof w);
    ptq_set_log(count_warning, NULL, PTQ_LOG_WARN);
    for (int i = 0; i < 3; i++) {
        wire g = {0};
        for (int k = 0; k < 2; k++) {
            wire t = tensor(PTQ_DT_F32, 1, (int64_t[]){2});
            wire_str(&t, 8, k ? "b" : "a");
            wire_entry(&t, 13, "location", "w.bin");
            wire_entry(&t, 13, "offset", k ? second[i] : "0");
            wire_int(&t, 14, 1);
            wire_msg(&g, 5, &t);
        }
        wire m = wire_model(&g, 8, 17);
        ptq_graph *graph;
        warnings = 0;
        ck_assert_ok(ptq_onnx_load_memory(m.p, m.n, dir, NULL, &graph));
        ck_assert_int_eq(warnings, i == 2);
        const float want[] = {1, 3, 2}, *b = ptq_graph_find(graph, "b")->constant->data;
        ck_assert(*b == want[i]);
        ptq_graph_free(graph);
        wire_free(&m);
    }
    ptq_set_log(NULL, NULL, PTQ_LOG_WARN);
    unlink(in_dir("w.bin"));
    rmdir(dir);
}
END_TEST

START_TEST(bad__files_that_are_no_models)
{
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ptq_graph *g;
    ck_assert_fails(ptq_onnx_load(dir, NULL, &g), PTQ_ERR_IO);
    ck_assert_says("a directory");
    ck_assert_int_eq(mkfifo(in_dir("fifo"), 0666), 0);
    ck_assert_fails(ptq_onnx_load(in_dir("fifo"), NULL, &g), PTQ_ERR_IO);
    ck_assert_says("a pipe");
    ck_assert_fails(ptq_onnx_load("/dev/zero", NULL, &g), PTQ_ERR_IO);
    ck_assert_says("a device");
    ck_assert_fails(ptq_onnx_load(in_dir("nothing"), NULL, &g), PTQ_ERR_IO);
    write_file(in_dir("empty"), "", 0);
    ck_assert_fails(ptq_onnx_load(in_dir("empty"), NULL, &g), PTQ_ERR_MODEL);
    ck_assert_says("empty: is empty");
    write_file(in_dir("one"), "\x08", 1);
    ck_assert_fails(ptq_onnx_load(in_dir("one"), NULL, &g), PTQ_ERR_MODEL);
    write_file(in_dir("lfs.onnx"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 56);
    ck_assert_fails(ptq_onnx_load(in_dir("lfs.onnx"), NULL, &g), PTQ_ERR_MODEL);
    ck_assert_says("lfs.onnx: is not ONNX");
    char cmd[300];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    ck_assert_int_eq(system(cmd), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx_bad");
    TCase *t = tcase_create("bad");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, bad__truncated_at_every_byte);
    tcase_add_test(t, bad__every_bit_flipped);
    tcase_add_test(t, bad__nesting);
    tcase_add_test(t, bad__nesting_on_a_small_stack);
    tcase_add_test(t, bad__recursive_types);
    tcase_add_test(t, bad__a_million_empty_nodes);
    tcase_add_test(t, bad__large_graphs_take_linear_time);
    tcase_add_test(t, bad__tensor_sizes);
    tcase_add_test(t, bad__tensor_fields);
    tcase_add_test(t, tensor__typed_fields_become_raw);
    tcase_add_test(t, bad__names);
    tcase_add_test(t, bad__functions_that_call_each_other);
    tcase_add_test(t, bad__external_data);
    tcase_add_test(t, bad__external_data_without_openat2);
    tcase_add_test(t, bad__external_data_that_overlaps);
    tcase_add_test(t, bad__files_that_are_no_models);
    suite_add_tcase(s, t);
    return unit_run(s);
}
