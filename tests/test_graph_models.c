/* SPDX-License-Identifier: Apache-2.0 */
/* Shape inference on the trained models against what ONNX Runtime computed (golden/). */
#include <string.h>

#include "lib/graph/ops.h"
#include "lib/onnx/onnx_io.h"
#include "tests/unit.h"

enum { BATCH = 3, TIME = 7 };

/* The number behind a dim in a run with batch 3 and time 7; -1: not known. */
static int64_t at_run(const ptq_graph *g, ptq_dim d)
{
    if (d.sym == PTQ_SYM_UNKNOWN)
        return -1;
    if (d.sym == PTQ_SYM_NONE)
        return d.add;
    const char *name = ptq_symbol_name(g->syms, d.sym);
    int64_t s = strcmp(name, "batch") == 0 ? BATCH : strcmp(name, "time") == 0 ? TIME : -1000;
    return d.mul * s + d.add;
}

static void check_line(const ptq_graph *g, const char *model, const char *tensor, const char *dims)
{
    char buf[256], want[256] = "[", got[256] = "[";
    const ptq_value *v = ptq_graph_find(g, tensor);
    ck_assert_msg(v != NULL, "%s: tensor '%s' is missing", model, tensor);
    size_t a = 1, b = 1;
    for (char *end; *dims && *dims != '\n'; dims = end)
        a += (size_t)snprintf(want + a, sizeof want - a, "%lld,", strtoll(dims, &end, 10));
    for (int i = 0; i < v->shape.rank; i++)
        b += (size_t)snprintf(got + b, sizeof got - b, "%lld,",
                              (long long)at_run(g, v->shape.dims[i]));
    ck_assert_msg(strcmp(want, got) == 0 && v->shape.rank >= 0, "%s, '%s': inferred %s, is %s", model,
                  tensor, ptq_shape_print(&v->shape, g->syms, buf, sizeof buf), want);
    ck_assert_int_ne(v->dtype, PTQ_DT_UNDEFINED);
}

START_TEST(infer__trained_models)
{
    char path[1024], line[1024], model[128] = "", m[128], tensor[512];
    const char *src = getenv("srcdir");
    snprintf(path, sizeof path, "%s/tests/golden/model_shapes.txt", src ? src : ".");
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    ptq_graph *g = NULL;
    int lines = 0, at;
    while (fgets(line, sizeof line, f)) {
        ck_assert_int_eq(sscanf(line, "%127s %511s%n", m, tensor, &at), 2);
        if (strcmp(m, model) != 0) {
            ptq_graph_free(g);
            strcpy(model, m);
            snprintf(path, sizeof path, "%s/models/%s.onnx", unit_shared(), model);
            ck_assert_ok(ptq_onnx_load(path, NULL, &g));
            ck_assert_ok(ptq_infer_graph(g));
            PTQ_GRAPH_EACH_NODE (g, n)
                ck_assert_msg(n->def != NULL, "%s: %s", n->name, n->op);
        }
        check_line(g, model, tensor, line + at);
        lines++;
    }
    ptq_graph_free(g);
    fclose(f);
    ck_assert_int_gt(lines, 1000);
}
END_TEST

int main(void)
{
    if (!unit_shared())
        return 77;
    Suite *s = suite_create("models");
    TCase *t = tcase_create("models");
    tcase_add_test(t, infer__trained_models);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    return unit_run(s);
}
