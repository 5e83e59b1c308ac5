/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that may keep little beside the model give the bytes of those that keep all: weights are packed in
 * each run, or read as they lie, and large constants are computed in each run. */
#include "tests/graph_kit.h"

#include <stdlib.h>

#include "lib/exec/session.h"

enum { BATCH = 5, IN = 256, HW = 6, MID = 480, OUT = 1040 };

static void *filled(size_t n, bool codes)
{
    ptq_rng r;
    ptq_rng_seed(&r, n);
    void *p = ptq_calloc(n, codes ? 1 : sizeof(float));
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < n; i++)
        if (codes)
            ((int8_t *)p)[i] = (int8_t)((int)ptq_rng_below(&r, 255) - 127);
        else
            ((float *)p)[i] = 0.05f * ptq_rng_normal(&r);
    return p;
}

static ptq_value *weight(ptq_graph *g, const char *name, int rank, const int64_t *dims, bool codes)
{
    int64_t n;
    ck_assert(ptq_shape_elements(rank, dims, &n));
    void *p = filled((size_t)n, codes);
    ptq_value *v = codes ? kit_dq(g, name, kit_const(g, "codes", PTQ_DT_S8, rank, dims, p), 0.002f, PTQ_DT_S8, 0)
                         : kit_const(g, name, PTQ_DT_F32, rank, dims, p);
    free(p);
    return v;
}

/* Conv, MatMul and Gemm whose weights have 1 MiB and more, in float or with Q and DQ. */
static ptq_graph *make(bool quantized)
{
    ptq_graph *g = kit_graph(13);
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, IN, HW, HW});
    const bool q = quantized;
    x = q ? kit_qdq(g, "xq", x, 0.05f, PTQ_DT_S8, 0) : x;
    x = KIT(g, "Conv", "c", x, weight(g, "w1", 4, (int64_t[]){MID, IN, 3, 3}, q));
    x = q ? kit_qdq(g, "cq", x, 0.1f, PTQ_DT_S8, 3) : x;
    x = KIT(g, "GlobalAveragePool", "pool", x);
    x = q ? kit_qdq(g, "pq", x, 0.02f, PTQ_DT_S8, -4) : x;
    x = KIT(g, "Flatten", "flat", x);
    x = KIT(g, "MatMul", "m", x, weight(g, "w2", 2, (int64_t[]){MID, 2 * OUT + 128}, q));
    x = q ? kit_qdq(g, "mq", x, 0.05f, PTQ_DT_S8, 1) : x;
    x = KIT(g, "Gemm", "y", x, weight(g, "w3", 2, (int64_t[]){OUT, 2 * OUT + 128}, q));
    ck_assert_ok(ptq_attr_set_int(g, x->producer, "transB", 1));
    kit_output(g, x);
    kit_finish(g);
    return g;
}

static float *run(const ptq_graph *g, const ptq_lower_options *lower, size_t keep, size_t *n)
{
    ptq_session *s;
    ptq_session_options o = {.lower = *lower};
    o.device.pack_bytes = o.lower.fold_bytes = keep;
    ck_assert_ok(ptq_session_new(g, &o, &s));
    ptq_tensor x = {.dtype = PTQ_DT_F32, .rank = 4, .dims = {BATCH, IN, HW, HW}}, y;
    ck_assert_ok(ptq_tensor_alloc(&x));
    ptq_rng r;
    ptq_rng_seed(&r, 11);
    for (int64_t i = 0; i < ptq_tensor_elements(&x); i++)
        ((float *)x.data)[i] = 2.0f * ptq_rng_normal(&r);
    for (int twice = 0; twice < 2; twice++)
        ck_assert_ok(ptq_session_run(s, &x, 1, &y, 1));
    *n = (size_t)ptq_tensor_elements(&y);
    float *out = ptq_calloc(*n, sizeof *out);
    memcpy(out, y.data, *n * sizeof *out);
    free(x.data);
    ptq_session_free(s);
    return out;
}

START_TEST(modest__same_bytes)
{
    static const ptq_lower_options modes[] = {
        {0}, {.fuse = true}, {.integer = true, .fuse = true},
        {.integer = true, .nhwc = true, .float_out = true, .fuse = true}};
    static const size_t keeps[] = {1, 2 << 20, 5 << 20};
    ptq_graph *g = make(_i != 0);
    for (size_t m = 0; m < PTQ_COUNT(modes); m++) {
        size_t n, k;
        float *want = run(g, &modes[m], 0, &n), power = 0.0f;
        for (size_t i = 0; i < PTQ_COUNT(keeps); i++) {
            float *got = run(g, &modes[m], keeps[i], &k);
            ck_assert_uint_eq(n, k);
            ck_assert_msg(memcmp(want, got, n * sizeof *got) == 0, "mode %zu, %zu bytes", m, keeps[i]);
            free(got);
        }
        for (size_t i = 0; i < n; i++)
            power += want[i] * want[i];
        ck_assert(power > 0.0f);
        free(want);
    }
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_modest");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, modest__same_bytes, 0, 2);
    suite_add_tcase(s, t);
    return unit_run(s);
}
