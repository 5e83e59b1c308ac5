/* SPDX-License-Identifier: Apache-2.0 */
/* The ten models of PTQ_SHARED: they load, pass and run, and their outputs are the same bytes
 * whatever the threads, the batch, the fusion and what lay in memory before. That the numbers are
 * right is checked against ONNX Runtime by tests/oracle/fp32.py. */
#include "tests/unit.h"

#include <math.h>
#include <string.h>

#include "lib/exec/session.h"
#include "lib/graph/pass.h"
#include "lib/onnx/onnx_io.h"

static const struct {
    const char *name;
    int64_t sample[3];
    bool tokens, fixed;
} models[] = {
    {"cifar10-resnet20", {3, 32, 32}, false, false},
    {"cifar10-repvgg", {3, 32, 32}, false, false},
    {"cifar10-mobilenet_v3_small", {3, 32, 32}, false, false},
    {"cifar10-convnext", {3, 32, 32}, false, false},
    {"tinyimagenet-mobilenet_v2", {3, 64, 64}, false, false},
    {"tinyimagenet-efficientnet_b0", {3, 64, 64}, false, false},
    {"tinyimagenet-resnet50", {3, 64, 64}, false, false},
    {"tinyimagenet-vit", {3, 64, 64}, false, false},
    {"shakespeare-gpt", {24, 0, 0}, true, false},
    {"ultraface-rfb-320", {3, 240, 320}, false, true},
};

static ptq_tensor random_input(int i, int64_t n)
{
    ptq_rng r;
    ptq_tensor t = {.dtype = models[i].tokens ? PTQ_DT_S64 : PTQ_DT_F32, .rank = 1, .dims = {n}};
    for (int d = 0; d < 3 && models[i].sample[d]; d++)
        t.dims[t.rank++] = models[i].sample[d];
    ck_assert_ok(ptq_tensor_alloc(&t));
    ptq_rng_seed(&r, (uint64_t)i);
    for (int64_t k = 0; k < ptq_tensor_elements(&t); k++)
        if (models[i].tokens)
            ((int64_t *)t.data)[k] = ptq_rng_below(&r, 65);
        else
            ((float *)t.data)[k] = ptq_rng_normal(&r);
    return t;
}

static ptq_graph *load(const char *name)
{
    char path[1024];
    ptq_graph *g;
    snprintf(path, sizeof path, "%s/models/%s.onnx", unit_shared(), name);
    ck_assert_ok(ptq_onnx_load(path, NULL, &g));
    ptq_pass_ctx ctx = {.graph = g, .eval = ptq_exec_eval_node};
    ck_assert_ok(ptq_passes_run(&ctx));
    return g;
}

static ptq_session *open_session(const ptq_graph *g, bool fuse, ptq_pool *pool, bool poison)
{
    ptq_session *s;
    ptq_session_options o = {.lower = {.fuse = fuse}, .device = {.pool = pool}};
    if (poison)
        setenv("PTQ_POISON", "1", 1);
    ck_assert_ok(ptq_session_new(g, &o, &s));
    unsetenv("PTQ_POISON");
    return s;
}

START_TEST(models__same_bytes_however_they_run)
{
    enum { N = 2, MAX_OUT = 4 };
    ptq_graph *g = load(models[_i].name);
    int64_t n = models[_i].fixed ? 1 : N;
    size_t nout = g->outputs.n;
    ptq_pool *pool;
    ck_assert_uint_le(nout, MAX_OUT);
    ck_assert_ok(ptq_pool_new(2, &pool));
    ptq_session *a = open_session(g, false, NULL, true), *b = open_session(g, true, pool, false);
    ptq_tensor x = random_input(_i, n), whole[MAX_OUT], part[MAX_OUT];
    ck_assert_ok(ptq_session_run(a, &x, 1, whole, nout));
    for (int64_t i = 0; i < n; i++) {
        ptq_tensor one = x;
        one.dims[0] = 1;
        one.nbytes = x.nbytes / (size_t)n;
        one.data = (char *)x.data + (size_t)i * one.nbytes;
        ck_assert_ok(ptq_session_run(b, &one, 1, part, nout));
        for (size_t k = 0; k < nout; k++) {
            ck_assert_int_eq((int)whole[k].dims[0], (int)n);
            ck_assert_uint_eq(part[k].nbytes * (size_t)n, whole[k].nbytes);
            const char *row = (const char *)whole[k].data + (size_t)i * part[k].nbytes;
            ck_assert_msg(memcmp(row, part[k].data, part[k].nbytes) == 0, "%s: output %zu of sample %d",
                          models[_i].name, k, (int)i);
            for (int64_t e = 0; e < ptq_tensor_elements(&part[k]); e++)
                ck_assert(isfinite(((const float *)part[k].data)[e]));
        }
    }
    free(x.data);
    ptq_session_free(a);
    ptq_session_free(b);
    ptq_pool_free(pool);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    if (!unit_shared())
        return unit_skip("PTQ_SHARED is not set");
    Suite *s = suite_create("exec_models");
    TCase *t = tcase_create("models");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, models__same_bytes_however_they_run, 0, (int)PTQ_COUNT(models));
    suite_add_tcase(s, t);
    return unit_run(s);
}
