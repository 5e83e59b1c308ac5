/* SPDX-License-Identifier: Apache-2.0 */
/* The ten models of the shared folder. */
#include "tests/unit.h"

#include <string.h>

#include "lib/onnx/onnx_io.h"

static const struct {
    const char *name;
    int nodes, opset;
} models[] = {
    {"cifar10-convnext", 148, 18},          {"cifar10-mobilenet_v3_small", 122, 14},
    {"cifar10-repvgg", 31, 16},             {"cifar10-resnet20", 75, 11},
    {"shakespeare-gpt", 576, 17},           {"tinyimagenet-efficientnet_b0", 239, 18},
    {"tinyimagenet-mobilenet_v2", 170, 17}, {"tinyimagenet-resnet50", 178, 13},
    {"tinyimagenet-vit", 387, 20},          {"ultraface-rfb-320", 242, 9},
};

static ptq_graph *load(int i)
{
    char path[512];
    ptq_graph *g;
    snprintf(path, sizeof path, "%s/models/%s.onnx", unit_shared(), models[i].name);
    ck_assert_ok(ptq_onnx_load(path, NULL, &g));
    ck_assert_str_eq(g->path, path);
    return g;
}

START_TEST(shared__models_load)
{
    ptq_graph *g = load(_i);
    ck_assert_ok(ptq_graph_verify(g));
    ck_assert_int_eq(g->nnodes, models[_i].nodes);
    ck_assert_int_eq(g->opset, models[_i].opset);
    ck_assert_uint_eq(g->inputs.n, 1);
    PTQ_GRAPH_EACH_NODE (g, n)
        ck_assert_msg(n->def, "%s: %s is not in the table", models[_i].name, n->op);
    ptq_graph_free(g);
}
END_TEST

START_TEST(shared__saving_twice_gives_the_same_bytes)
{
    void *once, *twice;
    size_t n, n2;
    ptq_graph *g = load(_i), *back;
    ck_assert_ok(ptq_onnx_save_memory(g, &once, &n));
    ck_assert_ok(ptq_onnx_load_memory(once, n, NULL, NULL, &back));
    ck_assert_ok(ptq_onnx_save_memory(back, &twice, &n2));
    ck_assert_uint_eq(n, n2);
    ck_assert(memcmp(once, twice, n) == 0);
    for (size_t i = 0; i < g->values.n; i++) { /* every constant keeps its bytes */
        const ptq_tensor *t = g->values.v[i]->constant;
        if (!t)
            continue;
        const ptq_tensor *u = ptq_graph_find(back, g->values.v[i]->name)->constant;
        ck_assert(u && u->dtype == t->dtype && u->nbytes == t->nbytes);
        ck_assert(memcmp(t->data, u->data, t->nbytes) == 0);
    }
    ptq_graph_free(back);
    ptq_graph_free(g);
    free(once);
    free(twice);
}
END_TEST

int main(void)
{
    if (!unit_shared())
        return unit_skip("PTQ_SHARED is not set");
    Suite *s = suite_create("onnx_shared");
    TCase *t = tcase_create("shared");
    tcase_set_timeout(t, 30);
    tcase_add_loop_test(t, shared__models_load, 0, (int)PTQ_COUNT(models));
    tcase_add_loop_test(t, shared__saving_twice_gives_the_same_bytes, 0, (int)PTQ_COUNT(models));
    suite_add_tcase(s, t);
    return unit_run(s);
}
