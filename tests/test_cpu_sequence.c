/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences and optional values where no tensor can be compared (cpu_cases_sequence.txt has those that can):
 * as inputs and outputs, in subgraphs, absent; what is refused; what the file says of their types. */
#include "tests/cpu_float.h"

#include "lib/core/sequence.h"
#include "lib/onnx/onnx_io.h"

static ptq_tensor vector(int64_t n, const float *v)
{
    ptq_tensor t = {.dtype = PTQ_DT_F32, .rank = 1, .dims = {n}, .nbytes = (size_t)n * sizeof *v};
    memcpy(&t.data, &v, sizeof v);
    return t;
}

START_TEST(sequence__pack_and_get)
{
    static const float v[] = {1, 2, 3, 4, 5};
    ptq_tensor a = vector(3, v), none = vector(0, v), b = {.dtype = PTQ_DT_F32, .rank = 2, .dims = {1, 2}, .nbytes = 8}, s;
    b.data = (char *)a.data + 12;
    const ptq_tensor *items[] = {&a, &none, &b};
    ck_assert_ok(ptq_sequence_pack(PTQ_DT_F32, items, 3, &s));
    ck_assert(ptq_is_sequence(s.dtype) && ptq_sequence_element(s.dtype) == PTQ_DT_F32 && s.dims[0] == 3);
    ck_assert_str_eq(ptq_dtype_name(s.dtype), "sequence");
    char *moved = malloc(s.nbytes); /* nothing in it is an address */
    memcpy(moved, s.data, s.nbytes);
    free(s.data);
    s.data = moved;
    ptq_tensor x = ptq_sequence_get(&s, 0), y = ptq_sequence_get(&s, 1), z = ptq_sequence_get(&s, 2);
    ck_assert(x.rank == 1 && x.dims[0] == 3 && ((float *)x.data)[2] == 3);
    ck_assert(y.rank == 1 && y.dims[0] == 0 && y.nbytes == 0);
    ck_assert(z.rank == 2 && z.dims[1] == 2 && ((float *)z.data)[1] == 5);
    free(moved);
    ck_assert_int_eq(ptq_sequence_pack(s.dtype, items, 3, &s), PTQ_ERR_UNSUPPORTED);
}
END_TEST

/* A graph whose input 0 is a sequence of floats. */
static ptq_graph *with_sequence(const char *text)
{
    ptq_graph *g = gt_parse(text);
    ck_assert_ok(ptq_infer_graph(g));
    return g;
}

static ptq_status run_on(ptq_graph *g, const ptq_tensor *in, ptq_session **s, ptq_tensor *out)
{
    *s = NULL;
    PTQ_TRY(ptq_session_new(g, NULL, s));
    return ptq_session_run(*s, in, g->inputs.n, out, g->outputs.n);
}

/* In, mapped, turned around in a loop, out. */
START_TEST(sequence__through_subgraphs)
{
    static const float v[] = {1, 2, 3, 4, 5, 6};
    ptq_graph *g = with_sequence("opset 17\ninput q list [...]\nconst two f32 [] 2\n"
                                 "sub double\nouter two\ninput e f32 [...]\nd = Mul(e, two)\noutput d\nend\n"
                                 "m = SequenceMap(q) body=@double\nn = SequenceLength(m)\nempty = SequenceEmpty()\n"
                                 "const zero s64 [] 0\n"
                                 "sub turn\nouter m\nouter zero\ninput i s64 []\ninput k bool []\nvalue s list [...]\n"
                                 "input s list [...]\ne = SequenceAt(m, i)\nt = SequenceInsert(s, e, zero)\noutput k\n"
                                 "output t\nend\nr = Loop(n, , empty) body=@turn\nw = Identity(r)\noutput w\n");
    ptq_session *s;
    ptq_tensor a = vector(1, v), b = vector(2, v + 1), c = vector(3, v + 3), in, out;
    const ptq_tensor *items[] = {&a, &b, &c};
    ck_assert_ok(ptq_sequence_pack(PTQ_DT_F32, items, 3, &in));
    ck_assert_ok(run_on(g, &in, &s, &out));
    ck_assert(ptq_is_sequence(out.dtype) && out.dims[0] == 3);
    for (int i = 0; i < 3; i++) {
        ptq_tensor t = ptq_sequence_get(&out, i);
        ck_assert_int_eq(t.dims[0], 3 - i);
        for (int64_t k = 0; k < t.dims[0]; k++)
            ck_assert(((float *)t.data)[k] == 2 * ((const float *)items[2 - i]->data)[k]);
    }
    free(in.data);
    ptq_session_free(s);
    ptq_graph_free(g);
}
END_TEST

/* An optional value that is not there: asked for, passed on, taken. */
START_TEST(sequence__absent)
{
    ptq_graph *g = gt_parse("opset 18\ninput x f32 [...]\nh = OptionalHasElement(x)\np = Identity(x)\n"
                            "k = OptionalHasElement(p)\ne = Optional()\nm = OptionalHasElement(e)\noutput h\noutput k\noutput m\n");
    ptq_session *s;
    static const float v[] = {1};
    ptq_tensor none, out[3], there = vector(1, v);
    ck_assert_ok(ptq_none(&none));
    ck_assert(ptq_is_none(&none));
    ck_assert_ok(ptq_infer_graph(g));
    ck_assert_ok(run_on(g, &none, &s, out));
    for (int i = 0; i < 3; i++)
        ck_assert(out[i].dtype == PTQ_DT_BOOL && *(uint8_t *)out[i].data == 0);
    ck_assert_ok(ptq_session_run(s, &there, 1, out, 3));
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(*(uint8_t *)out[i].data, i < 2);
    ptq_session_free(s);
    ptq_graph_free(g);
    free(none.data);
}
END_TEST

START_TEST(sequence__refuses)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"input q list [...]\nconst i s64 [] 2\ny = SequenceAt(q, i)\noutput y\n", "position is outside of a sequence of 2"},
        {"input q list [...]\nconst i s64 [] -3\ny = SequenceErase(q, i)\noutput y\n", "position is outside of a sequence of 2"},
        {"input q list [...]\nconst x s64 [1] 1\ny = SequenceInsert(q, x)\noutput y\n", "int64 cannot be put into a sequence of float32"},
        {"input q list [...]\ny = ConcatFromSequence(q) axis=0 new_axis=1\noutput y\n", "element 1 of the sequence has another shape"},
        {"input q list [...]\ny = ConcatFromSequence(q) axis=1\noutput y\n", "axis is outside of the rank"},
        {"input q list [...]\nconst x f32 [3]\nconst k s64 [2] 1 1\ny = SplitToSequence(x, k)\nz = SequenceLength(q)\noutput y\noutput z\n",
         "split adds up to 2 of 3"},
        {"input q list [...]\nconst x f32 [3]\nconst k s64 [] 0\ny = SplitToSequence(x, k)\noutput y\n", "no positive number"},
        {"input q list [...]\nconst x f32 [3]\ny = SequenceLength(x)\noutput y\n", "not a sequence"},
        {"input q list [...]\nconst x f32 [3]\nconst i s64 [1] 2\ny = SequenceConstruct(x, i)\noutput y\n", "input 1 is int64"},
        {"input q list [...]\ne = Optional()\ny = OptionalGetElement(e)\noutput y\n", "is not there"},
    };
    static const float v[] = {1, 2, 3};
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        char text[1024];
        ptq_tensor a = vector(1, v), b = vector(2, v + 1), in, out[2];
        const ptq_tensor *items[] = {&a, &b};
        snprintf(text, sizeof text, "opset 17\n%s", cases[i].text);
        ptq_graph *g = gt_parse(text);
        ptq_session *s = NULL;
        ck_assert_ok(ptq_sequence_pack(PTQ_DT_F32, items, 2, &in));
        ptq_status st = ptq_infer_graph(g);
        if (st == PTQ_OK)
            st = run_on(g, &in, &s, out);
        ck_assert_msg(st != PTQ_OK, "case %zu runs", i);
        ck_assert_msg(strstr(ptq_last_error(), cases[i].says) != NULL, "case %zu says \"%s\"", i, ptq_last_error());
        ptq_session_free(s);
        ptq_graph_free(g);
        free(in.data);
    }
}
END_TEST

/* Written as sequences, read as them. */
START_TEST(sequence__types_in_files)
{
    ptq_graph *g = with_sequence("opset 17\ninput q list [...]\nconst i s64 [] 0\nx = SequenceAt(q, i)\n"
                                 "y = SequenceInsert(q, x)\noutput y\noutput x\n"), *back;
    void *bytes;
    size_t n;
    ck_assert_ok(ptq_onnx_save_memory(g, &bytes, &n));
    ck_assert_ok(ptq_onnx_load_memory(bytes, n, NULL, NULL, &back));
    ck_assert_int_eq(back->inputs.v[0]->dtype, ptq_sequence_of(PTQ_DT_F32));
    ck_assert_int_eq(back->outputs.v[0]->dtype, ptq_sequence_of(PTQ_DT_F32));
    ck_assert_int_eq(back->outputs.v[1]->dtype, PTQ_DT_F32);
    ptq_graph_free(back);
    free(bytes);
    ptq_graph_free(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpu sequence");
    TCase *t = tcase_create("sequence");
    tcase_add_test(t, sequence__pack_and_get);
    tcase_add_test(t, sequence__through_subgraphs);
    tcase_add_test(t, sequence__absent);
    tcase_add_test(t, sequence__refuses);
    tcase_add_test(t, sequence__types_in_files);
    suite_add_tcase(s, t);
    return unit_run(s);
}
