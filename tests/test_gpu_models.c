/* SPDX-License-Identifier: Apache-2.0 */
/* The small models of PTQ_SHARED, quantized on a handful of samples: the device gives the CPU's
 * bytes in every output and every 8-bit tensor. With PTQ_GPU_MODELS, those of the models
 * that this folder has, quantized already (NAME.onnx), for batches of 1, 7 and 64. */
#include <unistd.h>

#include "tests/gpu_session.h"

static const struct {
    const char *name;
    gs_data data;
    int64_t batch;
    bool large;
} models[] = {
    {"cifar10-resnet20", {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 32, 32}}, 2, false},
    {"cifar10-repvgg", {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 32, 32}}, 2, false},
    {"cifar10-mobilenet_v3_small", {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 32, 32}}, 2, false},
    {"cifar10-convnext", {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 32, 32}}, 2, false},
    {"shakespeare-gpt", {.dtype = PTQ_DT_S64, .rank = 1, .dims = {24}}, 2, false},
    {"tinyimagenet-mobilenet_v2", {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 64, 64}}, 2, true},
    {"tinyimagenet-efficientnet_b0", {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 64, 64}}, 2, true},
    {"tinyimagenet-vit", {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 64, 64}}, 2, true},
    {"tinyimagenet-resnet50", {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 64, 64}}, 2, true},
    {"ultraface-rfb-320", {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 240, 320}}, 1, true},
};
static const struct {
    const char *target, *format;
} forms[] = {{"portable", "qdq"}, {"ort", "qoperator"}};

static void given(const char *folder, int i)
{
    static const int64_t batches[] = {1, 7, 64};
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.onnx", folder, models[i].name);
    if (access(path, R_OK) != 0) {
        printf("%s: not given\n", models[i].name);
        return;
    }
    ptq_model *q = gs_load(path);
    gs_data d = models[i].data;
    size_t nb = models[i].batch == 1 ? 1 : PTQ_COUNT(batches); /* a model of one picture at a time */
    size_t n = gs_both(q->graph, &d, batches, nb, models[i].name);
    printf("%s: %zu tensors in %zu runs, 0 bytes differ\n", models[i].name, n, nb);
    fflush(stdout);
    ck_assert_uint_gt(n, 10);
    ptq_model_free(q);
}

START_TEST(models__same_bytes_as_on_the_cpu)
{
    char path[1024];
    const char *folder = getenv("PTQ_GPU_MODELS");
    if (folder && *folder) {
        given(folder, _i);
        return;
    }
    if (models[_i].large)
        return;
    snprintf(path, sizeof path, "%s/models/%s.onnx", unit_shared(), models[_i].name);
    ptq_model *m = gs_load(path);
    gs_data d = models[_i].data;
    for (size_t f = 0; f < PTQ_COUNT(forms); f++) {
        char what[128];
        ptq_model *q = gs_quantize(m, &d, 4, forms[f].target, forms[f].format);
        snprintf(what, sizeof what, "%s, %s, %s", models[_i].name, forms[f].target, forms[f].format);
        double t = unit_cpu_seconds();
        size_t n = gs_both(q->graph, &d, &models[_i].batch, 1, what);
        printf("%s: %zu tensors, 0 bytes differ, %.1f s\n", what, n, unit_cpu_seconds() - t);
        ck_assert_uint_gt(n, 10);
        ptq_model_free(q);
    }
    ptq_model_free(m);
}
END_TEST

/* How many of the models the folder has. */
static size_t count_given(const char *folder)
{
    char path[1024];
    size_t n = 0;
    for (size_t i = 0; i < PTQ_COUNT(models); i++) {
        snprintf(path, sizeof path, "%s/%s.onnx", folder, models[i].name);
        n += access(path, R_OK) == 0;
    }
    return n;
}

int main(void)
{
    const char *folder = getenv("PTQ_GPU_MODELS");
    if (folder && *folder && count_given(folder) == 0) {
        printf("%s has none of the models\n", folder);
        return EXIT_FAILURE;
    }
    if (!unit_shared() && !getenv("PTQ_GPU_MODELS"))
        return unit_skip("PTQ_SHARED is not set");
    Suite *s = suite_create("gpu_models");
    TCase *t = tcase_create("models");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, models__same_bytes_as_on_the_cpu, 0, (int)PTQ_COUNT(models));
    suite_add_tcase(s, t);
    return unit_run(s);
}
