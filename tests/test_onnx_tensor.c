/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors of a file: sizes, types and places of their values. */
#include "tests/unit.h"

#include <string.h>

#include "lib/onnx/onnx_io.h"
#include "tests/onnx_models.h"

static ptq_status load_tensor(wire *t, ptq_tensor *out)
{
    wire g = {0};
    ptq_graph *graph;
    wire_str(t, 8, "t");
    wire_msg(&g, 5, t);
    wire m = wire_model(&g, 8, 17);
    ptq_status s = ptq_onnx_load_memory(m.p, m.n, NULL, NULL, &graph);
    if (s == PTQ_OK) {
        const ptq_tensor *c = ptq_graph_find(graph, "t")->constant;
        static unsigned char copy[256];
        *out = *c;
        out->data = copy;
        if (c->nbytes && c->data)
            memcpy(copy, c->data, c->nbytes < sizeof copy ? c->nbytes : sizeof copy);
        ptq_graph_free(graph);
    }
    wire_free(&m);
    return s;
}

START_TEST(bad__tensor_sizes)
{
    static const struct {
        int type, rank;
        int64_t dims[3];
        int raw; /* bytes, -1: none */
        ptq_status status;
        const char *says;
    } cases[] = {
        {PTQ_DT_F32, 1, {2}, 8, PTQ_OK, NULL},
        {PTQ_DT_F32, 1, {2}, 7, PTQ_ERR_MODEL, "raw_data holds 7 bytes"},
        {PTQ_DT_F32, 1, {2}, 9, PTQ_ERR_MODEL, "needs 8"},
        {PTQ_DT_F32, 1, {2}, -1, PTQ_ERR_MODEL, "float_data holds 0"},
        {PTQ_DT_F32, 1, {0}, -1, PTQ_OK, NULL},
        {PTQ_DT_F32, 2, {3, 0}, 0, PTQ_OK, NULL},
        {PTQ_DT_F32, 0, {0}, 4, PTQ_OK, NULL},
        {PTQ_DT_F32, 1, {-1}, 4, PTQ_ERR_MODEL, "negative"},
        {PTQ_DT_F32, 2, {INT64_C(1) << 40, INT64_C(1) << 40}, 4, PTQ_ERR_MODEL, "too large"},
        {PTQ_DT_F32, 3, {0, INT64_C(1) << 40, INT64_C(1) << 40}, 0, PTQ_OK, NULL},
        {PTQ_DT_F32, 1, {INT64_MAX}, 4, PTQ_ERR_MODEL, "too large"},
        {PTQ_DT_S4, 1, {3}, 2, PTQ_OK, NULL},
        {PTQ_DT_S4, 1, {3}, 3, PTQ_ERR_MODEL, "needs 2"},
        {PTQ_DT_C128, 1, {1}, 16, PTQ_OK, NULL},
        {PTQ_DT_STRING, 1, {1}, 4, PTQ_ERR_MODEL, "strings"},
        {0, 1, {1}, 4, PTQ_ERR_MODEL, "element type 0"},
        {-5, 1, {1}, 4, PTQ_ERR_MODEL, "element type -5"},
        {27, 1, {1}, 4, PTQ_ERR_UNSUPPORTED, "element type 27"},
    };
    static const char bytes[16];
    ptq_tensor out;
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        wire t = wire_tensor_head(cases[i].type, cases[i].rank, cases[i].dims);
        if (cases[i].raw >= 0)
            wire_bytes(&t, 9, bytes, (size_t)cases[i].raw);
        ck_assert_fails(load_tensor(&t, &out), cases[i].status);
        if (cases[i].says) {
            ck_assert_says(cases[i].says);
            ck_assert_says("tensor 't'");
        }
    }
    wire t = {0};
    for (int i = 0; i < 9; i++)
        wire_int(&t, 1, 1);
    wire_int(&t, 2, 1);
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("rank 9");
    for (int i = 0; i < 1000000; i++)
        wire_int(&t, 1, 1);
    wire_int(&t, 2, 1);
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_UNSUPPORTED);
}
END_TEST

START_TEST(bad__tensor_fields)
{
    ptq_tensor out;
    wire t = wire_tensor_head(PTQ_DT_F32, 1, (int64_t[]){1});
    wire_bytes(&t, 4, "abcd", 4);
    wire_bytes(&t, 9, "abcd", 4);
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_MODEL);
    ck_assert_says("twice");
    t = wire_tensor_head(PTQ_DT_F32, 1, (int64_t[]){1});
    wire_packed(&t, 5, 1, (int64_t[]){1});
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_MODEL);
    ck_assert_says("belong into float_data, not int32_data");
    t = wire_tensor_head(PTQ_DT_S8, 1, (int64_t[]){2});
    wire_packed(&t, 5, 2, (int64_t[]){1, 200});
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_MODEL);
    ck_assert_says("element 1 is 200");
    t = wire_tensor_head(PTQ_DT_F32, 0, NULL);
    wire_bytes(&t, 3, "", 0);
    ck_assert_fails(load_tensor(&t, &out), PTQ_ERR_UNSUPPORTED);
    ck_assert_says("segments");
}
END_TEST

START_TEST(tensor__typed_fields_become_raw)
{
    static const struct {
        int type;
        unsigned field;
        int64_t v[2];
        unsigned char raw[16];
        size_t n;
    } cases[] = {
        {PTQ_DT_S8, 5, {-1, 7}, {0xff, 7}, 2},
        {PTQ_DT_U8, 5, {255, 7}, {0xff, 7}, 2},
        {PTQ_DT_BOOL, 5, {1, 0}, {1, 0}, 2},
        {PTQ_DT_S16, 5, {-2, 258}, {0xfe, 0xff, 2, 1}, 4},
        {PTQ_DT_U16, 5, {65535, 258}, {0xff, 0xff, 2, 1}, 4},
        {PTQ_DT_F16, 5, {0x3c00, 0xbc00}, {0, 0x3c, 0, 0xbc}, 4},
        {PTQ_DT_BF16, 5, {0x3f80, 0xbf80}, {0x80, 0x3f, 0x80, 0xbf}, 4},
        {PTQ_DT_S32, 5, {-1, 1}, {0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, 8},
        {PTQ_DT_U32, 11, {0xffffffff, 1}, {0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, 8},
        {PTQ_DT_S64, 7, {-1, 1},
         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0}, 16},
        {PTQ_DT_U64, 11, {-1, 1},
         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0}, 16},
    };
    ptq_tensor out;
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        wire t = wire_tensor_head(cases[i].type, 1, (int64_t[]){2});
        wire_packed(&t, cases[i].field, 2, cases[i].v);
        ck_assert_ok(load_tensor(&t, &out));
        ck_assert_uint_eq(out.nbytes, cases[i].n);
        ck_assert_mem_eq(out.data, cases[i].raw, cases[i].n);
    }
    wire t = wire_tensor_head(PTQ_DT_U4, 1, (int64_t[]){3}); /* 1, 2, 3: two per byte, low half first */
    wire_packed(&t, 5, 2, (int64_t[]){0x21, 0x03});
    ck_assert_ok(load_tensor(&t, &out));
    ck_assert_uint_eq(out.nbytes, 2);
    ck_assert_mem_eq(out.data, "\x21\x03", 2);
    static const double d[2] = {1.5, -2.5};
    t = wire_tensor_head(PTQ_DT_F64, 1, (int64_t[]){2});
    wire_bytes(&t, 10, d, sizeof d);
    ck_assert_ok(load_tensor(&t, &out));
    ck_assert_mem_eq(out.data, d, sizeof d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx_tensor");
    TCase *t = tcase_create("tensor");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, bad__tensor_sizes);
    tcase_add_test(t, bad__tensor_fields);
    tcase_add_test(t, tensor__typed_fields_become_raw);
    suite_add_tcase(s, t);
    return unit_run(s);
}
