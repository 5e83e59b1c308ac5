/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged and malicious files: each must end in an error that names the cause, or in a valid
 * graph. */
#include "tests/unit.h"

#include <pthread.h>
#include <string.h>

#include "lib/onnx/onnx_io.h"
#include "tests/onnx_models.h"

/* Loads; what loads must be consistent and survive being saved and loaded again. */
static ptq_status survives_with(const void *p, size_t n, bool inline_calls)
{
    const ptq_onnx_load_options opt = {.memory_limit = (size_t)64 << 20, .inline_calls = inline_calls};
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

static ptq_status survives(const void *p, size_t n)
{
    survives_with(p, n, true);
    return survives_with(p, n, false);
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
    tcase_add_test(t, bad__names);
    tcase_add_test(t, bad__functions_that_call_each_other);
    suite_add_tcase(s, t);
    return unit_run(s);
}
