/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns whose integer step must give what the nodes give one by one: every scale is a power of
 * two, so that float sums are exact and the simulation has the same bytes. */
#include "tests/graph_kit.h"

#include <math.h>

#include "lib/exec/session.h"

static const ptq_lower_options simulation = {0};
static const ptq_lower_options integer = {.integer = true, .fuse = true};
static const ptq_lower_options integer_nhwc = {.integer = true, .nhwc = true, .fuse = true};

enum { N = 2, C = 4, HW = 16, X = N * C * HW };

/* x, 4 channels of 4 by 4, behind Q and DQ */
static ptq_value *image(ptq_graph *g)
{
    ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, C, 4, 4});
    return kit_qdq(g, "x", x, 0.25f, PTQ_DT_U8, 100);
}

static ptq_value *clip(ptq_graph *g, const char *name, ptq_value *x, float lo, float hi)
{
    return KIT(g, "Clip", name, x, kit_f32(g, lo), kit_f32(g, hi));
}

/* Runs g, of one output; the names of its steps go into `steps`. */
static ptq_tensor run(const ptq_graph *g, const ptq_lower_options *lower, char *steps, size_t n)
{
    float x[X];
    ptq_rng r;
    ptq_session *s;
    ptq_session_options o = {.lower = *lower};
    ptq_tensor in = {.dtype = PTQ_DT_F32, .rank = 4, .dims = {N, C, 4, 4}, .data = x, .nbytes = sizeof x}, out;
    ptq_rng_seed(&r, 4);
    for (int i = 0; i < X; i++)
        x[i] = 48.0f * (ptq_rng_uniform(&r) - 0.5f);
    ck_assert_ok(ptq_session_new(g, &o, &s));
    const ptq_program *p = ptq_session_program(s);
    size_t at = 0;
    steps[0] = '\0';
    for (size_t i = 0; i < p->steps.n; i++)
        at += (size_t)snprintf(steps + at, n - at, "%s ", p->steps.v[i].def->name);
    ck_assert_ok(ptq_session_run(s, &in, 1, &out, 1));
    ptq_tensor copy = out;
    ck_assert_ok(ptq_tensor_alloc(&copy));
    memcpy(copy.data, out.data, out.nbytes);
    ptq_session_free(s);
    return copy;
}

/* The integer forms give the bytes of the simulation; `step` is or is not among their steps. */
static void check_same(ptq_graph *g, const char *step, bool expected)
{
    const ptq_lower_options *const forms[] = {&integer, &integer_nhwc};
    char steps[512];
    kit_finish(g);
    ptq_tensor want = run(g, &simulation, steps, sizeof steps);
    for (int i = 0; i < 2; i++) {
        ptq_tensor got = run(g, forms[i], steps, sizeof steps);
        ck_assert_msg((strstr(steps, step) != NULL) == expected, "%s: %s", step, steps);
        ck_assert_uint_eq(got.nbytes, want.nbytes);
        ck_assert_mem_eq(got.data, want.data, got.nbytes);
        free(got.data);
    }
    free(want.data);
    ptq_graph_free(g);
}

/* A convolution with one or two clamps behind it, nested, overlapping, apart, on either side of
 * the zero point. */
START_TEST(patterns__clamps_behind_a_convolution)
{
    static const float bounds[][4] = {{0, INFINITY, 1, 4},  {1, 4, 0, INFINITY}, {-2, 3, 1, 8}, {1, 8, -2, 3},
                                      {3, 8, 0, 1},         {0, 1, 3, 8},        {-4, -1, -2, 6}, {-INFINITY, 2, -3, INFINITY},
                                      {-100, 100, 0.2f, 0.3f}};
    for (size_t i = 0; i < PTQ_COUNT(bounds) * 2; i++) {
        const float *b = bounds[i / 2];
        ptq_graph *g = kit_graph(13);
        int8_t w[C * C];
        for (int k = 0; k < C * C; k++)
            w[k] = (int8_t)(k * 37 % 64 - 32);
        ptq_value *c = KIT(g, "Conv", "c", image(g), kit_weight(g, "w", 4, (int64_t[]){C, C, 1, 1}, w, 0.03125f));
        ptq_value *y = clip(g, "first", c, b[0], b[1]);
        if (i & 1)
            y = clip(g, "second", y, b[2], b[3]);
        kit_output(g, kit_qdq(g, "y", y, 0.125f, PTQ_DT_U8, 40));
        check_same(g, "qconv", true);
    }
}
END_TEST

/* A convolution and the sum behind it are one step, with a Q between them or without. */
START_TEST(patterns__residuals)
{
    for (int form = 0; form < 16; form++) {
        ptq_graph *g = kit_graph(13);
        ptq_value *x = image(g);
        int8_t w[2 * C * C];
        for (int k = 0; k < 2 * C * C; k++)
            w[k] = (int8_t)(k * 37 % 64 - 32);
        bool grouped = form & 8; /* two groups */
        ptq_value *wv = kit_weight(g, "w", 4, (int64_t[]){C, grouped ? C / 2 : C, 1, 1}, w, 0.03125f);
        ptq_value *c = KIT(g, "Conv", "c", x, wv);
        ck_assert_ok(ptq_attr_set_int(g, c->producer, "group", grouped ? 2 : 1));
        if (form & 1)
            c = kit_qdq(g, "c", c, 0.5f, PTQ_DT_U8, 90);
        c = form & 2 ? KIT(g, "Add", "a", c, x) : KIT(g, "Add", "a", x, c);
        if (form & 4)
            c = clip(g, "r", c, -2.0f, 20.0f);
        kit_output(g, kit_qdq(g, "y", c, 0.25f, PTQ_DT_U8, 100));
        check_same(g, "quantize qconv dequantize", true);
    }
}
END_TEST

/* A clamp behind a mover changes codes, although both sides have the same parameters. */
START_TEST(patterns__clamp_behind_a_mover)
{
    for (int clamped = 0; clamped < 2; clamped++) {
        ptq_graph *g = kit_graph(13);
        ptq_value *m = KIT(g, "MaxPool", "m", image(g));
        ck_assert_ok(ptq_attr_set_ints(g, m->producer, "kernel_shape", (int64_t[]){2, 2}, 2));
        if (clamped)
            m = KIT(g, "Relu", "r", m);
        kit_output(g, kit_qdq(g, "y", m, 0.25f, PTQ_DT_U8, 100));
        check_same(g, "qmaxpool", !clamped);
    }
}
END_TEST

/* Q and DQ with one scale per channel, the axis counted from either end. */
START_TEST(patterns__axis_from_the_end)
{
    float s[C] = {0.25f, 0.5f, 1.0f, 2.0f};
    int8_t z[C] = {-100, 0, 7, 100};
    for (int axis = -4; axis < 4; axis++) {
        if (axis == -4 || axis == 0)
            continue; /* the batch */
        ptq_graph *g = kit_graph(13);
        ptq_value *x = kit_input(g, "x", PTQ_DT_F32, 4, (int64_t[]){-1, C, 4, 4});
        ptq_value *sv = kit_const(g, "s", PTQ_DT_F32, 1, (int64_t[]){C}, s);
        ptq_value *zv = kit_const(g, "z", PTQ_DT_S8, 1, (int64_t[]){C}, z);
        ptq_value *q = KIT(g, "QuantizeLinear", "q", x, sv, zv);
        ptq_value *d = KIT(g, "DequantizeLinear", "d", q, sv, zv);
        ck_assert_ok(ptq_attr_set_int(g, q->producer, "axis", axis));
        ck_assert_ok(ptq_attr_set_int(g, d->producer, "axis", axis));
        kit_output(g, d);
        kit_finish(g);
        for (int form = 0; form < 2; form++) {
            char steps[64];
            ptq_rng r;
            ptq_tensor y = run(g, form ? &integer_nhwc : &simulation, steps, sizeof steps);
            ptq_rng_seed(&r, 4);
            for (int i = 0; i < X; i++) {
                float v = 48.0f * (ptq_rng_uniform(&r) - 0.5f);
                int at[4] = {i / (C * HW), i / HW % C, i / 4 % 4, i % 4}, c = at[axis < 0 ? axis + 4 : axis];
                float code = fmaxf(-128, fminf(127, rintf(v / s[c]) + (float)z[c]));
                ck_assert_float_eq(((float *)y.data)[i], (code - (float)z[c]) * s[c]);
            }
            free(y.data);
        }
        ptq_graph_free(g);
    }
}
END_TEST

/* ReduceMean is a global average pool over height and width alone, in any order. */
START_TEST(patterns__mean_over_the_plane)
{
    static const struct {
        int64_t axes[2], keep;
        bool pool;
    } rows[] = {{{2, 3}, 1, true},   {{3, 2}, 1, true},  {{-1, -2}, 1, true}, {{-2, 3}, 1, true},
                {{1, 2}, 1, false},  {{1, 3}, 1, false}, {{-3, 2}, 1, false}, {{2, 3}, 0, false},
                {{-1, 1}, 1, false}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_graph *g = kit_graph(13);
        ptq_value *m = KIT(g, "ReduceMean", "m", image(g));
        ck_assert_ok(ptq_attr_set_ints(g, m->producer, "axes", rows[i].axes, 2));
        ck_assert_ok(ptq_attr_set_int(g, m->producer, "keepdims", rows[i].keep));
        kit_output(g, kit_qdq(g, "y", m, 0.125f, PTQ_DT_U8, 128));
        check_same(g, "qglobalavgpool", rows[i].pool);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec_patterns");
    TCase *t = tcase_create("patterns");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, patterns__clamps_behind_a_convolution);
    tcase_add_test(t, patterns__residuals);
    tcase_add_test(t, patterns__clamp_behind_a_mover);
    tcase_add_test(t, patterns__axis_from_the_end);
    tcase_add_test(t, patterns__mean_over_the_plane);
    suite_add_tcase(s, t);
    return unit_run(s);
}
