/* SPDX-License-Identifier: Apache-2.0 */
/* Opset upgrades of operators that lib/graph's own evaluator does not know: a graph and its upgrade
 * give the same bytes. */
#include "tests/cpu_float.h"
#include "tests/unit.h"

#include "lib/graph/pass.h"

static const char *const rows[] = {
    "opset 9\ninput x f32 [3,7]\na, b = TopK(x) k=3\nc, d = TopK(x) k=2 axis=0\noutput a\n"
     "output b\noutput d\n",
    "opset 10\ninput x f32 [3,5]\nconst i s64 [1,2] 4 0\nconst u f32 [1,2] 10 20\n"
     "y = Scatter(x, i, u) axis=1\noutput y\n",
    "opset 11\ninput x f32 [2,3,4]\na = Hardmax(x)\nb = Hardmax(x) axis=2\noutput a\noutput b\n",
    "opset 10\ninput x f32 [1,2,6,7]\nconst r f32 [2,4] 1 1 4 3 0.5 2.2 5.4 6\nconst i s64 [2] 0 0\n"
    "y = RoiAlign(x, r, i) output_height=2 output_width=3 spatial_scale=0.8\noutput y\n",
    "opset 16\ninput x f32 [1,2,5,4]\ninput g f32 [1,3,6,2]\na = GridSample(x, g)\n"
     "b = GridSample(x, g) mode=\"bicubic\"\n"
    "c = GridSample(x, g) mode=\"nearest\"\noutput a\noutput b\noutput c\n",
    "opset 17\ninput x f32 [2,10,1]\na = DFT(x) onesided=1\nb = DFT(a) inverse=1 axis=1\n"
     "output a\noutput b\n",
    "opset 18\ninput x f32 [2,3,5]\nconst s f32 [3]\nconst b f32 [3]\n"
     "y = GroupNormalization(x, s, b) num_groups=3\noutput y\n",
};

START_TEST(upgrade__gives_the_same)
{
    static const int opsets[] = {13, 17, 18, 20, 21, 23};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        for (size_t k = 0; k < PTQ_COUNT(opsets); k++) {
            ptq_graph *a = cf_parse(rows[i]), *b = gt_parse(rows[i]);
            cf_result ra, rb;
            ck_assert_ok(ptq_graph_upgrade(b, opsets[k]));
            cf_run(a, "ref", NULL, false, &ra);
            cf_run(b, "ref", NULL, false, &rb);
            cf_same(&ra, &rb, rows[i]);
            cf_free(&ra);
            cf_free(&rb);
            ptq_graph_free(a);
            ptq_graph_free(b);
        }
}
END_TEST

/* Broadcasting along an axis, a slope for each channel: the same as with the dimensions written out. */
START_TEST(upgrade__forms_of_opset_6)
{
    static const char *const pairs[][2] = {
        {"opset 6\ninput x f32 [2,3,4]\nconst b f32 [3]\ny = Add(x, b) broadcast=1 axis=1\noutput y\n",
         "opset 7\ninput x f32 [2,3,4]\nconst b f32 [3,1]\ny = Add(x, b)\noutput y\n"},
        {"opset 6\ninput x f32 [2,3,4]\ninput z f32 [2,3]\ny = Mul(x, z) broadcast=1 axis=0\noutput y\n",
         "opset 7\ninput x f32 [2,3,4]\ninput z f32 [2,3,1]\ny = Mul(x, z)\noutput y\n"},
        {"opset 6\ninput x f32 [2,3,4]\nconst b f32 [4]\ny = Sub(x, b) broadcast=1\noutput y\n",
         "opset 7\ninput x f32 [2,3,4]\nconst b f32 [4]\ny = Sub(x, b)\noutput y\n"},
        {"opset 6\ninput x f32 [2,3,4,5]\nconst s f32 [3]\na = Relu(x)\nb = Sub(x, a)\ny = PRelu(b, s)\noutput y\n",
         "opset 7\ninput x f32 [2,3,4,5]\nconst s f32 [3,1,1]\na = Relu(x)\nb = Sub(x, a)\ny = PRelu(b, s)\noutput y\n"},
        {"opset 6\ninput x f32 [2,3,4]\nconst s f32 [3]\nconst v f32 [3] 1 2 3\n"
         "a = BatchNormalization(x, s, s, s, v) is_test=1\ny = Dropout(a) is_test=1\noutput y\n",
         "opset 7\ninput x f32 [2,3,4]\nconst s f32 [3]\nconst v f32 [3] 1 2 3\n"
         "a = BatchNormalization(x, s, s, s, v)\ny = Dropout(a)\noutput y\n"},
    };
    for (size_t i = 0; i < PTQ_COUNT(pairs); i++) {
        ptq_graph *a = gt_parse(pairs[i][0]), *b = cf_parse(pairs[i][1]);
        cf_result ra, rb;
        ck_assert_ok(ptq_graph_renew(a));
        ck_assert_int_eq(a->opset, 7);
        ck_assert_ok(ptq_infer_graph(a));
        cf_run(a, "ref", NULL, false, &ra);
        cf_run(b, "ref", NULL, false, &rb);
        cf_same(&ra, &rb, pairs[i][0]);
        cf_free(&ra);
        cf_free(&rb);
        ptq_graph_free(a);
        ptq_graph_free(b);
    }
}
END_TEST

/* Training, an axis beyond the input, a form that is not read. */
START_TEST(upgrade__forms_that_stay)
{
    ptq_graph *g = gt_parse("opset 6\ninput x f32 [2,3]\ny = Dropout(x)\noutput y\n");
    ck_assert_fails(ptq_graph_renew(g), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("training");
    ptq_graph_free(g);
    g = gt_parse("opset 6\ninput x f32 [2,3]\nconst b f32 [3]\ny = Add(x, b) broadcast=1 axis=2\noutput y\n");
    ck_assert_fails(ptq_graph_renew(g), PTQ_ERR_MODEL);
    ck_assert_says("axis 2");
    ptq_graph_free(g);
    g = gt_parse("opset 3\ninput x f32 [2,3]\ny = Concat(x, x)\noutput y\n");
    ck_assert_ok(ptq_graph_renew(g));
    ck_assert_int_eq(g->opset, 3);
    ptq_graph_free(g);
}
END_TEST

/* A new form where there is none. */
START_TEST(upgrade__names_what_it_cannot)
{
    static const struct {
        const char *text, *word;
        int opset;
    } bad[] = {
        {"opset 11\ninput x f32 [1,1,4,4]\nconst r f32 [8]\nconst s f32 [4] 1 1 2 2\n"
         "y = Resize(x, r, s) coordinate_transformation_mode=\"tf_half_pixel_for_nn\"\noutput y\n", "tf_half_pixel_for_nn", 13},
        {"opset 12\ninput x f32 [1,1,5,5]\n"
         "y = MaxPool(x) kernel_shape=[2,2] strides=[2,2] ceil_mode=1\noutput y\n", "ceil_mode", 22},
    };
    for (size_t i = 0; i < PTQ_COUNT(bad); i++) {
        ptq_graph *g = gt_parse(bad[i].text);
        ck_assert_fails(ptq_graph_upgrade(g, bad[i].opset), PTQ_ERR_UNSUPPORTED);
        ck_assert_says(bad[i].word);
        ptq_graph_free(g);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu upgrade");
    TCase *t = tcase_create("upgrade");
    tcase_add_test(t, upgrade__gives_the_same);
    tcase_add_test(t, upgrade__forms_of_opset_6);
    tcase_add_test(t, upgrade__forms_that_stay);
    tcase_add_test(t, upgrade__names_what_it_cannot);
    suite_add_tcase(s, t);
    return unit_run(s);
}
