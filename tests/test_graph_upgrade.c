/* SPDX-License-Identifier: Apache-2.0 */
/* Opset upgrades keep the function: an evaluator that knows the old and the new meaning agrees. */
#include "tests/graph_eval.h"
#include "tests/graph_text.h"
#include "tests/unit.h"

#include "lib/graph/pass.h"

static const struct {
    const char *text, *ops; /* operators at opset 13 */
} rows[] = {
    {"opset 7\ninput x f32 [n,3,4]\ny = Relu(x)\noutput y", "Relu"},
    {"opset 9\ninput x f32 [n,9,4]\na = Slice(x) starts=[2] ends=[-1] axes=[1]\n"
     "y = Slice(a) starts=[1] ends=[9223372036854775807]\noutput y",
     "Slice Slice"},
    {"opset 8\ninput x f32 [n,3,4]\na = Clip(x) min=-0.5 max=1.0\nb = Clip(a) min=0.0\n"
     "y = Clip(b) max=0.5\noutput y",
     "Clip Clip Clip"},
    {"opset 10\ninput x f32 [n,3,4]\na = Clip(x)\ny = Pad(a) pads=[0,1,0,2,0,1] value=0.25\noutput y",
     "Clip Pad"},
    {"opset 9\ninput x f32 [n,3]\ny = Pad(x) pads=[0,1,2,0]\noutput y", "Pad"},
    {"opset 11\ninput x f32 [n,1,4]\na = Squeeze(x) axes=[1]\nb = Unsqueeze(a) axes=[0,-1]\n"
     "y = ReduceSum(b) axes=[1] keepdims=0\nz = ReduceSum(b)\noutput y\noutput z",
     "Squeeze Unsqueeze ReduceSum ReduceSum"},
    {"opset 11\ninput x f32 [n,4]\na, b = Split(x) axis=1 split=[1,3]\nc, d = Split(a) axis=0 split=[1,2]\n"
     "e, f = Split(x) axis=1\noutput b\noutput c\noutput d\noutput e\noutput f",
     "Split Split Split"},
    {"opset 12\ninput x f32 [n,3,4]\ny = Softmax(x)\nz = LogSoftmax(x) axis=0\noutput y\noutput z",
     "Flatten Shape Softmax Reshape Flatten Shape LogSoftmax Reshape"},
    {"opset 11\ninput x f32 [n,3,4]\ny = Softmax(x) axis=2\nz = Softmax(x) axis=-1\noutput y\noutput z",
     "Softmax Softmax"},
    {"opset 11\ninput x f32 [n,5,1,1]\na = Softmax(x)\ny = Relu(a)\noutput y", "Softmax Relu"},
    {"opset 11\ninput x f32 [n,5,2]\na = Softmax(x) axis=-2\ny = Relu(a)\noutput y",
     "Flatten Shape Softmax Reshape Relu"},
    {"opset 7\ninput x f32 [n,3,5]\nconst s f32 [3]\nconst v f32 [3] 0.5 1 2\n"
     "y = BatchNormalization(x, s, s, s, v) spatial=1 epsilon=0.01\noutput y",
     "BatchNormalization"},
    {"opset 7\ninput x f32 [n,3]\na = Dropout(x) ratio=0.3\nb, m = Dropout(a)\ny = Relu(b)\noutput y",
     "Dropout Dropout Relu"},
    {"opset 9\ninput x f32 [1,2,3,4]\nconst s f32 [4] 1 1 2 3\ny = Upsample(x, s) mode=\"nearest\"\noutput y",
     "Resize"},
    {"opset 9\ninput x f32 [1,2,3,4]\nconst s f32 [4] 1 1 1.5 2\ny = Upsample(x, s) mode=\"linear\"\noutput y",
     "Resize"},
    {"opset 10\ninput x f32 [1,2,3,4]\nconst s f32 [4] 1 1 2.5 2\ny = Resize(x, s) mode=\"nearest\"\noutput y",
     "Resize"},
    {"opset 9\ninput x f32 [n,4]\nconst w f32 [5,4]\nconst c f32 [5]\n"
     "a = Gemm(x, w, c) transB=1 alpha=0.5 beta=2.0\ny = Flatten(a)\noutput y",
     "Gemm Flatten"},
    {"opset 11\ninput x f32 [n,4]\na = Softmax(x)\nb = Foo.Bar(a)\n", "Softmax Bar"},
};

START_TEST(upgrade__keeps_the_function)
{
    static const int opsets[] = {13, 14, 17, 18, 21, 23};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        for (size_t k = 0; k < PTQ_COUNT(opsets); k++) {
            ptq_graph *a = gt_parse(rows[i].text), *b = gt_parse(rows[i].text);
            char ops[512] = "";
            size_t at = 0;
            ck_assert_msg(ptq_graph_upgrade(b, opsets[k]) == PTQ_OK, "%s: %s", rows[i].text,
                          ptq_last_error());
            ck_assert_int_eq(b->opset, opsets[k]);
            PTQ_GRAPH_EACH_NODE (b, n) {
                at += (size_t)snprintf(ops + at, sizeof ops - at, "%s%s", at ? " " : "", n->op);
                ck_assert(*n->domain || n->def == ptq_op_find(n->op, "", opsets[k]));
                /* Forms of the old opsets are gone. */
                static const char *gone[] = {"starts", "ends", "min",   "max",   "pads",
                                             "split",  "ratio", "spatial", "scales"};
                for (size_t j = 0; j < PTQ_COUNT(gone); j++)
                    ck_assert_msg(!ptq_attr_find(n, gone[j]), "%s keeps %s", n->op, gone[j]);
                if (strcmp(n->op, "ReduceMean") || opsets[k] >= 18)
                    ck_assert_msg(!ptq_attr_find(n, "axes"), "%s keeps axes", n->op);
                if (!strcmp(n->op, "Split") && opsets[k] >= 18)
                    ck_assert(n->nin == 2 || ptq_attr_find(n, "num_outputs"));
            }
            ck_assert_msg(!strcmp(ops, rows[i].ops), "%s: %s", rows[i].text, ops);
            if (!strstr(rows[i].text, "Foo"))
                ge_same(a, b, 1e-6, rows[i].text);
            ptq_graph_free(a);
            ptq_graph_free(b);
        }
}
END_TEST

START_TEST(upgrade__reduce_mean_at_18)
{
    const char *text = "opset 13\ninput x f32 [n,3,4]\ny = ReduceMean(x) axes=[-1,1]\noutput y";
    ptq_graph *a = gt_parse(text), *b = gt_parse(text);
    ck_assert_ok(ptq_graph_upgrade(b, 17));
    ck_assert_int_eq(b->first->nin, 1);
    ck_assert_ok(ptq_graph_upgrade(b, 18));
    ck_assert_int_eq(b->first->nin, 2);
    ge_same(a, b, 1e-6, text);
    ck_assert_ok(ptq_graph_upgrade(b, 13)); /* never lowers */
    ck_assert_int_eq(b->opset, 18);
    ptq_graph_free(a);
    ptq_graph_free(b);
}
END_TEST

START_TEST(upgrade__names_what_it_cannot)
{
    static const struct {
        const char *text, *word;
        ptq_status status;
        int opset;
    } bad[] = {
        {"opset 9\ninput x f32 [n,3]\ny = NoSuchThing(x)\noutput y", "NoSuchThing",
         PTQ_ERR_UNSUPPORTED, 13},
        {"opset 7\ninput x f32 [n,3]\nconst s f32 [3]\ny = BatchNormalization(x, s, s, s, s) spatial=0\n"
         "output y",
         "spatial", PTQ_ERR_UNSUPPORTED, 13},
        {"opset 9\ninput x f32 [n,3]\ny, m = Dropout(x)\noutput m", "Dropout", PTQ_ERR_UNSUPPORTED, 13},
        {"opset 10\ninput x f32 [1,1,4,4]\nconst s f32 [4] 1 1 2 0.5\ny = Resize(x, s)\noutput y",
         "grows", PTQ_ERR_UNSUPPORTED, 13},
        {"opset 9\ninput x f32 [n,3]\ny = Relu(x)\noutput y", "13", PTQ_ERR_ARG, 12},
    };
    for (size_t i = 0; i < PTQ_COUNT(bad); i++) {
        ptq_graph *g = gt_parse(bad[i].text);
        ck_assert_fails(ptq_graph_upgrade(g, bad[i].opset), bad[i].status);
        ck_assert_msg(strstr(ptq_last_error(), bad[i].word) != NULL, "%s", ptq_last_error());
        ptq_graph_free(g);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("upgrade");
    TCase *t = tcase_create("upgrade");
    tcase_add_test(t, upgrade__keeps_the_function);
    tcase_add_test(t, upgrade__reduce_mean_at_18);
    tcase_add_test(t, upgrade__names_what_it_cannot);
    tcase_set_timeout(t, 30);
    suite_add_tcase(s, t);
    return unit_run(s);
}
