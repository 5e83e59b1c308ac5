/* SPDX-License-Identifier: Apache-2.0 */
/* What a file or its data say wrongly ends in an error that names the node, never in a read or write
 * outside of a tensor (run under the sanitizers too). */
#include "tests/cpu_float.h"
#include "tests/unit.h"

static const struct {
    const char *text, *word;
} rows[] = {
    {"input x f32 [3,4]\nconst i s64 [2,4] 0 7\ny = GatherElements(x, i)\noutput y\n", "index 7"},
    {"input x f32 [3,4]\nconst i s64 [2,5] 0\ny = GatherElements(x, i)\noutput y\n", "indices"},
    {"input x f32 [2,3]\nconst i s64 [1,2] 0 -4\ny = GatherND(x, i)\noutput y\n", "index -4"},
    {"input x f32 [1,3,4]\nconst i s64 [2,1] 0\ny = GatherND(x, i) batch_dims=1\noutput y\n", "batch"},
    {"opset 18\ninput x f32 [3,4]\nconst i s64 [1,1] 3\nconst u f32 [1,4]\n"
     "y = ScatterND(x, i, u)\noutput y\n", "index 3"},
    {"opset 18\ninput x f32 [3,4]\nconst i s64 [1,1] 0\nconst u f32 [1,3]\n"
     "y = ScatterND(x, i, u)\noutput y\n", "updates"},
    {"opset 18\ninput x f32 [3,4]\nconst i s64 [1,2] 0 9\nconst u f32 [1,2]\n"
     "y = ScatterElements(x, i, u) axis=1\noutput y\n", "index 9"},
    {"input x f32 [3]\nconst k s64 [1] 4\na, b = TopK(x, k)\noutput a\noutput b\n", "largest 4"},
    {"input x f32 [4,3]\nconst n s64 [3] 5 1 1\ny = ReverseSequence(x, n)\noutput y\n", "sequence of 5"},
    {"input x f32 [1,1,2,2]\nconst i s64 [1,1,2,2] 0 1 99 2\n"
     "y = MaxUnpool(x, i) kernel_shape=[2,2]\noutput y\n", "index 99"},
    {"input x f32 [1,1,4,4]\nconst r f32 [1,4] 0 0 2 2\nconst i s64 [1] 1\ny = RoiAlign(x, r, i)\n"
     "output y\n", "image 1"},
    {"input x f32 [1,1,4,4]\nconst r f32 [1,5] 3 0 0 2 2\n"
     "y = MaxRoiPool(x, r) pooled_shape=[1,1]\noutput y\n", "image 3"},
    {"input x f32 [2,3]\nconst t s64 [2] 0 3\ny = NegativeLogLikelihoodLoss(x, t)\noutput y\n", "class 3"},
    {"input a f32 [2,3]\ninput b f32 [4,5]\ny = Einsum(a, b) equation=\"ij,jk->ik\"\noutput y\n", "equation"},
    {"input a f32 [2,3]\ny = Einsum(a) equation=\"ij->ik\"\noutput y\n", "output"},
    {"input a f32 [2,3]\ny = Einsum(a) equation=\"i\"\noutput y\n", "ranks"},
    {"opset 18\ninput x f32 [1,12,13]\nconst i s64 [2] 5 5\nconst b s64 [2] 2 3\n"
     "y = Col2Im(x, i, b)\noutput y\n", "arguments"},
    {"opset 16\ninput x f32 [1,2,5,4]\ninput g f32 [1,3,6,3]\ny = GridSample(x, g)\noutput y\n", "grid"},
    {"opset 17\ninput x f32 [1,20,1]\nconst f s64 [] 0\nconst n s64 [] 8\ny = STFT(x, f, , n)\n"
     "output y\n", "frames"},
    {"input x f32 [2,3]\ny = Det(x)\noutput y\n", "square"},
    {"input a u8 [3,4]\ninput b u8 [4,5]\nconst z u8 [2] 1\ny = MatMulInteger(a, b, z)\noutput y\n", "arguments"},
};

START_TEST(bad__is_named)
{
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ptq_graph *g = gt_parse(rows[i].text);
        ptq_session *s = NULL;
        ptq_session_options opt = {.device = {.isa = "ref"}};
        ptq_tensor in[2], out[2];
        ptq_status st = ptq_infer_graph(g);
        if (st == PTQ_OK)
            st = ptq_session_new(g, &opt, &s);
        for (size_t k = 0; k < g->inputs.n; k++)
            cf_input(g->inputs.v[k], &in[k]);
        if (st == PTQ_OK)
            st = ptq_session_run(s, in, g->inputs.n, out, g->outputs.n);
        ck_assert_msg(st == PTQ_ERR_MODEL || st == PTQ_ERR_DATA, "%s: status %d", rows[i].text, (int)st);
        ck_assert_says(rows[i].word);
        for (size_t k = 0; k < g->inputs.n; k++)
            free(in[k].data);
        ptq_session_free(s);
        ptq_graph_free(g);
    }
}
END_TEST

/* NaN and infinity as positions. */
START_TEST(bad__positions_are_outside)
{
    static const char *const texts[] = {
        "opset 16\ninput x f32 [1,2,5,4]\nconst g f32 [1,1,3,2] nan inf -inf 1e30 0 nan\n"
         "a = GridSample(x, g)\n"
        "b = GridSample(x, g) mode=\"nearest\" padding_mode=\"reflection\"\n"
         "c = GridSample(x, g) mode=\"bicubic\" "
        "padding_mode=\"border\"\noutput a\noutput b\noutput c\n",
        "input x f32 [1,1,4,4]\nconst r f32 [2,4] nan nan nan nan 1e30 0 inf 2\nconst i s64 [2] 0 0\n"
        "y = RoiAlign(x, r, i) sampling_ratio=2\noutput y\n",
        "input x f32 [1,1,4,4]\nconst r f32 [2,5] 0 nan nan nan nan 0 1e30 0 inf 2\n"
         "y = MaxRoiPool(x, r) pooled_shape=[2,2]\n"
        "output y\n",
        "input b f32 [1,4,4]\nconst s f32 [1,1,4] nan inf 1 1\nconst n s64 [1] 9\n"
         "y = NonMaxSuppression(b, s, n)\noutput y\n",
    };
    for (size_t i = 0; i < PTQ_COUNT(texts); i++) {
        ptq_graph *g = cf_parse(texts[i]);
        cf_result r;
        cf_run(g, "ref", NULL, false, &r);
        cf_free(&r);
        ptq_graph_free(g);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu bad");
    TCase *t = tcase_create("bad");
    tcase_add_test(t, bad__is_named);
    tcase_add_test(t, bad__positions_are_outside);
    suite_add_tcase(s, t);
    return unit_run(s);
}
