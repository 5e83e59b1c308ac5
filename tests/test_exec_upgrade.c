/* SPDX-License-Identifier: Apache-2.0 */
/* What a newer opset changed in meaning or form, run: a graph as it was written and the same graph upgraded
 * to each newer opset give the same bytes. Every row of upgrades.def has a case. */
#include "tests/cpu_float.h"

static const char *const cases[] = {
    "opset 7\ninput x f32 [2,3,5]\nconst s f32 [3]\nconst v f32 [3] 0.5 1 2\n"
    "y = BatchNormalization(x, s, s, s, v) epsilon=0.01 spatial=1\noutput y\n",
    "opset 13\ninput x f32 [2,3,5]\nconst s f32 [3]\nconst v f32 [3] 0.5 1 2\ny = BatchNormalization(x, s, s, s, v)\noutput y\n",
    "opset 7\ninput x f32 [2,3]\ny = Dropout(x) ratio=0.3\noutput y\n",
    "opset 9\ninput x f32 [5,9]\ny = Slice(x) starts=[2,-4] ends=[-1,99] axes=[0,1]\nz = Slice(y) starts=[1] ends=[2]\n"
    "output y\noutput z\n",
    "opset 9\ninput x f32 [5,9]\ny, i = TopK(x) k=3\nz, j = TopK(x) axis=0 k=2\noutput y\noutput i\noutput z\noutput j\n",
    "opset 7\ninput x f32 [1,2,3,4]\ny = Upsample(x) scales=[1.0,1.0,2.0,3.0]\noutput y\n",
    "opset 9\ninput x f32 [1,2,3,4]\nconst s f32 [4] 1 1 1.5 2\ny = Upsample(x, s) mode=\"linear\"\noutput y\n",
    "opset 10\ninput x f32 [3,4]\na = Clip(x) min=-0.5 max=1.0\nb = Clip(x) min=0.0\nc = Clip(x) max=0.5\n"
    "output a\noutput b\noutput c\n",
    "opset 10\ninput x f32 [3,4]\na = Pad(x) pads=[0,1,2,1] value=0.25\nb = Pad(x) pads=[1,0,1,2] mode=\"reflect\"\n"
    "output a\noutput b\n",
    "opset 10\ninput x f32 [1,2,3,4]\nconst s f32 [4] 1 1 2.5 2\ny = Resize(x, s)\noutput y\n",
    "opset 10\ninput x f32 [1,2,6,8]\nconst s f32 [4] 1 1 0.6 0.5\ny = Resize(x, s) mode=\"nearest\"\noutput y\n",
    "opset 10\ninput x f32 [3,3]\nconst i s64 [2,3] 1 0 2 0 2 1\nconst u f32 [2,3]\ny = Scatter(x, i, u)\noutput y\n",
    "opset 12\ninput x f32 [2,3,4]\na = Hardmax(x)\nb = LogSoftmax(x)\nc = Softmax(x) axis=0\nd = Softmax(x) axis=2\n"
    "e = Hardmax(x) axis=-1\noutput a\noutput b\noutput c\noutput d\noutput e\n",
    "opset 12\ninput x f32 [2,1,4]\na = ReduceSum(x) axes=[-1]\nb = Squeeze(x) axes=[1]\nc = Unsqueeze(x) axes=[0,-1]\n"
    "d, e = Split(x) axis=2 split=[1,3]\nf, g = Split(x) axis=-1\nh = Squeeze(x)\n"
    "output a\noutput b\noutput c\noutput d\noutput e\noutput f\noutput g\noutput h\n",
    "opset 12\ninput x f32 [1,1,4,4]\nconst r f32 [0]\nconst s f32 [4] 1 1 2 2\n"
    "y = Resize(x, r, s) mode=\"linear\" coordinate_transformation_mode=\"half_pixel\"\noutput y\n",
    "opset 15\ninput x f32 [1,2,6,6]\nconst r f32 [2,4] 0.5 1 4 5 1 0 3.5 2\nconst b s64 [2] 0\n"
    "y = RoiAlign(x, r, b) output_height=3 output_width=2 spatial_scale=0.75 sampling_ratio=2\noutput y\n",
    "opset 17\ninput x f32 [3,4,5]\na = ReduceL1(x) axes=[0]\nb = ReduceL2(x) axes=[1,2]\nc = ReduceSumSquare(x) axes=[-1]\n"
    "d = ReduceMax(x) axes=[1]\ne = ReduceMean(x) axes=[0,2] keepdims=0\nf = ReduceMin(x)\ng = ReduceProd(x) axes=[1]\n"
    "h = ReduceLogSumExp(x) axes=[2]\nk = Abs(x)\ni = ReduceLogSum(k) axes=[0]\n"
    "output a\noutput b\noutput c\noutput d\noutput e\noutput f\noutput g\noutput h\noutput i\n",
    "opset 17\ninput x f32 [1,4,6,1]\na = DFT(x)\nb = DFT(x) axis=2 onesided=0\noutput a\noutput b\n",
    "opset 17\ninput x f32 [1,2,4,5]\nconst g f32 [1,3,2,2]\na = GridSample(x, g)\nb = GridSample(x, g) mode=\"nearest\"\n"
    "c = GridSample(x, g) mode=\"bicubic\" padding_mode=\"border\"\noutput a\noutput b\noutput c\n",
    "opset 18\ninput x f32 [2,6,3,3]\nconst s f32 [3]\nconst b f32 [3]\ny = GroupNormalization(x, s, b) num_groups=3\noutput y\n",
    "opset 17\ninput x f32 [1,2,7,7]\na = AveragePool(x) kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1]\n"
    "b = MaxPool(x) kernel_shape=[2,3] strides=[2,1]\noutput a\noutput b\n",
};

static int opset_of(const char *text)
{
    return (int)strtol(text + strlen("opset "), NULL, 10);
}

START_TEST(upgrade__same_bytes)
{
    static const int opsets[] = {13, 15, 16, 17, 18, 20, 21, 22, 23};
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        ptq_graph *g = cf_parse(cases[i]);
        cf_result want;
        cf_run(g, "ref", NULL, false, &want);
        for (size_t k = 0; k < PTQ_COUNT(opsets); k++) {
            if (opsets[k] <= opset_of(cases[i]))
                continue;
            ptq_graph *up = gt_parse(cases[i]);
            cf_result got;
            ck_assert_msg(ptq_graph_upgrade(up, opsets[k]) == PTQ_OK, "%s to %d: %s", cases[i], opsets[k],
                          ptq_last_error());
            cf_run(up, "ref", NULL, false, &got);
            cf_same(&want, &got, cases[i]);
            cf_free(&got);
            ptq_graph_free(up);
        }
        cf_free(&want);
        ptq_graph_free(g);
    }
}
END_TEST

START_TEST(upgrade__every_row_has_a_case)
{
    static const struct {
        const char *op;
        int at;
    } rows[] = {
#define PTQ_UPGRADE(op, at, fn) {#op, at},
#include "lib/graph/upgrades.def"
#undef PTQ_UPGRADE
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        char call[80];
        bool found = false;
        snprintf(call, sizeof call, " %s(", rows[i].op);
        for (size_t c = 0; c < PTQ_COUNT(cases); c++)
            found = found || (opset_of(cases[c]) < rows[i].at && strstr(cases[c], call));
        ck_assert_msg(found, "%s at opset %d has no case", rows[i].op, rows[i].at);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("exec upgrade");
    TCase *t = tcase_create("upgrade");
    tcase_add_test(t, upgrade__same_bytes);
    tcase_add_test(t, upgrade__every_row_has_a_case);
    suite_add_tcase(s, t);
    return unit_run(s);
}
