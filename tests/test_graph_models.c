/* SPDX-License-Identifier: Apache-2.0 */
/* Shape inference on the trained models against what ONNX Runtime computed (golden/). */
#include <math.h>
#include <string.h>

#include "lib/exec/session.h"
#include "lib/graph/pass.h"
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

/* ---- passes and upgrades on the models ---- */

static const char *const models[] = {
    "cifar10-convnext", "cifar10-mobilenet_v3_small", "cifar10-repvgg", "cifar10-resnet20",
    "shakespeare-gpt", "tinyimagenet-efficientnet_b0", "tinyimagenet-mobilenet_v2",
    "tinyimagenet-resnet50", "tinyimagenet-vit", "ultraface-rfb-320",
};

static ptq_graph *load(const char *model)
{
    char path[1024];
    ptq_graph *g;
    snprintf(path, sizeof path, "%s/models/%s.onnx", unit_shared(), model);
    ck_assert_ok(ptq_onnx_load(path, NULL, &g));
    ck_assert_ok(ptq_infer_graph(g));
    return g;
}

/* Random input of the model, one sample. */
static ptq_tensor input_of(const ptq_graph *g)
{
    const ptq_value *v = g->inputs.v[0];
    ptq_tensor t = {.dtype = v->dtype, .rank = v->shape.rank};
    ptq_rng r;
    ptq_rng_seed(&r, 5);
    for (int i = 0; i < t.rank; i++)
        t.dims[i] = i == 0 ? 1 : at_run(g, v->shape.dims[i]);
    ck_assert_ok(ptq_tensor_alloc(&t));
    for (int64_t i = 0; i < ptq_tensor_elements(&t); i++)
        if (t.dtype == PTQ_DT_F32)
            ((float *)t.data)[i] = ptq_rng_normal(&r);
        else
            ((int64_t *)t.data)[i] = ptq_rng_below(&r, 65);
    return t;
}

/* Largest difference of the outputs of two graphs, relative to the largest value. */
static double difference(const ptq_graph *a, const ptq_graph *b)
{
    ptq_session_options opt = {0};
    ptq_session *sa, *sb;
    ptq_tensor x = input_of(a), ya[4], yb[4];
    double worst = 0;
    ck_assert_uint_eq(a->outputs.n, b->outputs.n);
    ck_assert_ok(ptq_session_new(a, &opt, &sa));
    ck_assert_ok(ptq_session_new(b, &opt, &sb));
    ck_assert_ok(ptq_session_run(sa, &x, 1, ya, a->outputs.n));
    ck_assert_ok(ptq_session_run(sb, &x, 1, yb, b->outputs.n));
    for (size_t o = 0; o < a->outputs.n; o++) {
        double diff = 0, top = 0;
        ck_assert_str_eq(a->outputs.v[o]->name, b->outputs.v[o]->name);
        ck_assert_int_eq(ya[o].rank, yb[o].rank);
        ck_assert_uint_eq(ya[o].nbytes, yb[o].nbytes);
        for (int64_t i = 0; i < ptq_tensor_elements(&ya[o]); i++) {
            double p = (double)((float *)ya[o].data)[i], q = (double)((float *)yb[o].data)[i];
            diff = fmax(diff, fabs(p - q));
            top = fmax(top, fabs(p));
            ck_assert(isfinite(q));
        }
        worst = fmax(worst, diff / top);
    }
    ptq_session_free(sa);
    ptq_session_free(sb);
    free(x.data);
    return worst;
}

/* Folding BatchNormalization changes roundings; without it the bytes stay. */
START_TEST(passes__trained_models)
{
    const char *model = models[_i];
    ptq_graph *a = load(model), *b = load(model);
    bool bn = false;
    PTQ_GRAPH_EACH_NODE (a, n)
        bn = bn || strcmp(n->op, "BatchNormalization") == 0;
    ptq_pass_ctx ctx = {.graph = b, .eval = ptq_exec_eval_node};
    ck_assert_ok(ptq_passes_run(&ctx));
    PTQ_GRAPH_EACH_NODE (b, n) {
        static const char *const gone[] = {"BatchNormalization", "Constant", "Identity", "Dropout"};
        for (size_t i = 0; i < PTQ_COUNT(gone); i++)
            ck_assert_msg(strcmp(n->op, gone[i]) != 0, "%s keeps %s", model, n->name);
    }
    ck_assert_int_le(b->nnodes, a->nnodes);
    double d = difference(a, b);
    ck_assert_msg(d <= (bn ? 5e-6 : 0), "%s: %g", model, d);
    ck_assert_ok(ptq_graph_upgrade(b, 21));
    ck_assert_int_eq(b->opset, 21);
    double e = difference(a, b);
    ck_assert_msg(e <= d, "%s at opset 21: %g, before %g", model, e, d);
    ptq_graph_free(a);
    ptq_graph_free(b);
}
END_TEST

int main(void)
{
    if (!unit_shared())
        return unit_skip("PTQ_SHARED is not set");
    Suite *s = suite_create("models");
    TCase *t = tcase_create("models");
    tcase_add_test(t, infer__trained_models);
    tcase_add_loop_test(t, passes__trained_models, 0, PTQ_COUNT(models));
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    return unit_run(s);
}
