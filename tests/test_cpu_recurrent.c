/* SPDX-License-Identifier: Apache-2.0 */
/* LSTM, GRU, RNN beyond what ONNX Runtime can be asked (tests/golden/cpu_cases.txt has that): layout 1
 * against layout 0, a cell by hand in double, omitted outputs, what is refused. */
#include "tests/cpu_float.h"

#include <math.h>

/* Batch first is the same numbers in another order. */
START_TEST(recurrent__layout_is_an_order)
{
    static const char *const ops[] = {"LSTM", "GRU", "RNN"};
    for (size_t i = 0; i < PTQ_COUNT(ops); i++) {
        char text[1024];
        int g = i == 0 ? 4 : i == 1 ? 3 : 1;
        snprintf(text, sizeof text,
                 "opset 14\ninput x f32 [6,3,5]\nconst w f32 [2,%d,5]\nconst r f32 [2,%d,4]\nconst b f32 [2,%d]\n"
                 "const n s32 [3] 6 2 5\nconst s f32 [2,3,4]\n"
                 "y, h = %s(x, w, r, b, n, s) direction=\"bidirectional\" hidden_size=4\n"
                 "xt = Transpose(x) perm=[1,0,2]\nst = Transpose(s) perm=[1,0,2]\n"
                 "z, k = %s(xt, w, r, b, n, st) direction=\"bidirectional\" layout=1\n"
                 "zt = Transpose(z) perm=[1,2,0,3]\nkt = Transpose(k) perm=[1,0,2]\n"
                 "output y\noutput h\noutput zt\noutput kt\n",
                 g * 4, g * 4, 8 * g, ops[i], ops[i]);
        ptq_graph *graph = cf_parse(text);
        cf_result r;
        cf_all_same(graph, NULL, ops[i], &r);
        ck_assert_mem_eq(r.out[0].data, r.out[2].data, r.out[0].nbytes);
        ck_assert_mem_eq(r.out[1].data, r.out[3].data, r.out[1].nbytes);
        cf_free(&r);
        ptq_graph_free(graph);
    }
}
END_TEST

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* One step of one item, with every input: the equations of the specification. */
START_TEST(recurrent__lstm_cell_by_hand)
{
    ptq_graph *g = cf_parse("opset 14\nconst x f32 [1,1,3]\nconst w f32 [1,8,3]\nconst r f32 [1,8,2]\nconst b f32 [1,16]\n"
                            "const h f32 [1,1,2]\nconst c f32 [1,1,2]\nconst p f32 [1,6]\n"
                            ", yh, yc = LSTM(x, w, r, b, , h, c, p) hidden_size=2\noutput yh\noutput yc\n");
    const float *x = ptq_graph_find(g, "x")->constant->data, *w = ptq_graph_find(g, "w")->constant->data;
    const float *r = ptq_graph_find(g, "r")->constant->data, *b = ptq_graph_find(g, "b")->constant->data;
    const float *h = ptq_graph_find(g, "h")->constant->data, *c = ptq_graph_find(g, "c")->constant->data;
    const float *p = ptq_graph_find(g, "p")->constant->data;
    cf_result got;
    cf_run(g, "ref", NULL, false, &got);
    for (int j = 0; j < 2; j++) {
        double a[4];
        for (int k = 0; k < 4; k++) { /* i, o, f, c */
            int row = 2 * k + j;
            a[k] = (double)b[row] + (double)b[8 + row];
            for (int i = 0; i < 3; i++)
                a[k] += (double)w[3 * row + i] * (double)x[i];
            for (int i = 0; i < 2; i++)
                a[k] += (double)r[2 * row + i] * (double)h[i];
        }
        double i = sigmoid(a[0] + (double)p[j] * (double)c[j]), f = sigmoid(a[2] + (double)p[4 + j] * (double)c[j]);
        double cell = f * (double)c[j] + i * tanh(a[3]);
        double o = sigmoid(a[1] + (double)p[2 + j] * cell);
        ck_assert_double_eq_tol(((const float *)got.out[0].data)[j], o * tanh(cell), 1e-6);
        ck_assert_double_eq_tol(((const float *)got.out[1].data)[j], cell, 1e-6);
    }
    cf_free(&got);
    ptq_graph_free(g);
}
END_TEST

/* float16: as float32 between two conversions. */
START_TEST(recurrent__half)
{
    ptq_graph *g = cf_parse("opset 14\ninput x f32 [3,2,4]\nconst w f32 [1,9,4]\nconst r f32 [1,9,3]\nconst n s32 [2] 3 1\n"
                            "a = Cast(x) to=10\nb = Cast(w) to=10\nc = Cast(r) to=10\ny, h = GRU(a, b, c, , n)\n"
                            "d = Cast(a) to=1\ne = Cast(b) to=1\nf = Cast(c) to=1\nz, k = GRU(d, e, f, , n)\n"
                            "zz = Cast(z) to=10\nkk = Cast(k) to=10\noutput y\noutput h\noutput zz\noutput kk\n");
    cf_result r;
    cf_run(g, "ref", NULL, false, &r);
    ck_assert_int_eq(r.out[0].dtype, PTQ_DT_F16);
    ck_assert_mem_eq(r.out[0].data, r.out[2].data, r.out[0].nbytes);
    ck_assert_mem_eq(r.out[1].data, r.out[3].data, r.out[1].nbytes);
    cf_free(&r);
    ptq_graph_free(g);
}
END_TEST

/* Refused where, and in which words. */
START_TEST(recurrent__refuses)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"input x f32 [2,1,3]\nconst w f32 [1,8,3]\nconst r f32 [1,8,2]\ny = LSTM(x, w, r) direction=\"up\"\noutput y\n",
         "direction \"up\""},
        {"input x f32 [2,1,3]\nconst w f32 [1,8,4]\nconst r f32 [1,8,2]\ny = LSTM(x, w, r)\noutput y\n",
         "W (input 1) has the shape [1,8,4], [1,8,3] is needed"},
        {"input x f32 [2,1,3]\nconst w f32 [1,8,3]\nconst r f32 [1,8,2]\ny = LSTM(x, w, r) hidden_size=3\noutput y\n",
         "W (input 1)"},
        {"input x f32 [2,1,3]\nconst w f32 [1,2,3]\nconst r f32 [1,2,2]\ny = RNN(x, w, r) activations=[\"Swish\"]\n"
         "output y\n", "activation \"Swish\" is not known"},
        {"input x f32 [2,1,3]\nconst w f32 [1,2,3]\nconst r f32 [1,2,2]\ny = RNN(x, w, r) "
         "activations=[\"Tanh\",\"Tanh\"]\noutput y\n", "has 2 names, RNN needs 1"},
        {"input x f32 [2,1,3]\nconst w f32 [1,2,3]\nconst r f32 [1,2,2]\nconst n s32 [1] 3\ny = RNN(x, w, r, , n)\n"
         "output y\n", "sequence_lens[0] is 3, the input has 2 steps"},
        {"input x f32 [2,1,3]\nconst w f32 [1,2,3]\nconst r f32 [1,2,2]\nconst n s64 [1] 2\ny = RNN(x, w, r, , n)\n"
         "output y\n", "sequence_lens is int64, not int32"},
    };
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        ptq_graph *g = gt_parse(cases[i].text);
        ptq_session *s = NULL;
        float zeros[16] = {0};
        ptq_tensor in = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {2, 1, 3}, .data = zeros, .nbytes = 24}, out;
        ptq_status st = ptq_infer_graph(g);
        if (st == PTQ_OK)
            st = ptq_session_new(g, NULL, &s);
        if (st == PTQ_OK)
            st = ptq_session_run(s, &in, 1, &out, 1);
        ck_assert_int_ne(st, PTQ_OK);
        ck_assert_msg(strstr(ptq_last_error(), cases[i].says) != NULL, "case %zu says \"%s\"", i, ptq_last_error());
        ptq_session_free(s);
        ptq_graph_free(g);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu recurrent");
    TCase *t = tcase_create("recurrent");
    tcase_add_test(t, recurrent__layout_is_an_order);
    tcase_add_test(t, recurrent__lstm_cell_by_hand);
    tcase_add_test(t, recurrent__half);
    tcase_add_test(t, recurrent__refuses);
    suite_add_tcase(s, t);
    return unit_run(s);
}
