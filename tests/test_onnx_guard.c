/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit.h"

#include <string.h>

#include "lib/onnx/onnx_io.h"
#include "tests/onnx_wire.h"

static wire empty_model(void)
{
    wire g = {0};
    wire_str(&g, 2, "g");
    return wire_model(&g, 8, 17);
}

START_TEST(guard__accepts_a_small_model)
{
    wire m = empty_model();
    ck_assert_ok(ptq_onnx_guard(m.p, m.n, 0));
    wire_bytes(&m, 1000, "\xff\0\x01", 3); /* unknown field */
    wire_int(&m, 1001, -1);
    ck_assert_ok(ptq_onnx_guard(m.p, m.n, 0));
    wire_free(&m);
}
END_TEST

START_TEST(guard__names_what_is_no_model)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        {"", 0, "is empty"},
        {"\x89PNG\r\n\x1a\n....", 12, "PNG"},
        {"\x7f"
         "ELF\2\1\1",
         7, "ELF"},
        {"\x1f\x8b\x08\0\0\0\0", 7, "gzip"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull"},
        {"hello, world\n", 13, "text"},
        {"\x08\x07", 2, "no graph"},
        {"\x0b", 1, "wire type 3"},
        {"\x0f", 1, "wire type 7"},
        {"\x00\x00", 2, "field number 0"},
        {"\x0a\x01\x01", 3, "wrong wire type"},                 /* ir_version as bytes */
        {"\x10\x01", 2, "wrong wire type"},                     /* producer_name as a number */
        {"\x3a\xff\xff\xff\xff\x0f", 6, "2 GiB"},               /* graph of 4 GiB */
        {"\x3a\x05\x12", 3, "beyond its message"},              /* graph cut off */
        {"\x3a\x02\x12\x05", 4, "beyond its message"},          /* name longer than its graph */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "damaged"},
        {"\xff\xff\xff\xff\xff\x01\x01", 7, "damaged"},
        {"\x12\x03"
         "a\0b",
         5, "NUL"},
        {"\x12\x02\xc3\x28", 4, "UTF-8"},
        {"\x12\x02\xc0\x80", 4, "UTF-8"},
        {"\x12\x03\xed\xa0\x80", 5, "UTF-8"},
        {"\x12\x04\xf4\x90\x80\x80", 6, "UTF-8"},
        {"\x12\x01\xe2", 3, "UTF-8"},
    };
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        ck_assert_fails(ptq_onnx_guard(cases[i].bytes, cases[i].n, 0), PTQ_ERR_MODEL);
        ck_assert_says(cases[i].says);
    }
}
END_TEST

/* A field may not reach beyond the message it is in, though the file goes on behind it. */
START_TEST(guard__fields_stay_in_their_message)
{
    static const struct {
        const char *field;
        size_t n;
        const char *says;
    } cases[] = {
        {"\x12\x05g", 3, "ends beyond its message"},                /* a name of 5 bytes, 1 is left */
        {"\x12\x04gggg", 6, NULL},
        {"\xa5\x06\1\2\3", 5, "cut off"},                          /* field 100, 32 bits, 24 left */
        {"\xa5\x06\1\2\3\4", 6, NULL},
        {"\xa1\x06\1\2\3\4\5\6\7", 9, "cut off"},                /* the same of 64 bits */
        {"\xa1\x06\1\2\3\4\5\6\7\x08", 10, NULL},
        {"\xa0\x06\x80", 3, "cut off"},                             /* a varint that goes on */
        {"\xa0\x06\x80\x01", 4, NULL},
    };
    for (size_t i = 0; i < PTQ_COUNT(cases); i++) {
        wire m = {0};
        wire_bytes(&m, 7, cases[i].field, cases[i].n);
        wire_str(&m, 2, "a producer, long enough");
        if (cases[i].says) {
            ck_assert_fails(ptq_onnx_guard(m.p, m.n, 0), PTQ_ERR_MODEL);
            ck_assert_says(cases[i].says);
        } else {
            ck_assert_ok(ptq_onnx_guard(m.p, m.n, 0));
        }
        wire_free(&m);
    }
}
END_TEST

START_TEST(guard__strings_in_utf8_pass)
{
    wire m = empty_model();
    wire_str(&m, 2, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\x9f\xbf\xef\xbf\xbf\xf4\x8f\xbf\xbf");
    wire_str(&m, 6, "latin-1 \xe9 in a doc string");
    ck_assert_ok(ptq_onnx_guard(m.p, m.n, 0));
    wire_free(&m);
}
END_TEST

/* `levels` subgraphs, each an attribute of a node of the one around it. */
static wire nested(size_t levels)
{
    wire g = {0};
    for (size_t i = 0; i < levels; i++) {
        wire a = {0}, n = {0}, up = {0};
        wire_msg(&a, 6, &g);
        wire_msg(&n, 5, &a);
        wire_msg(&up, 1, &n);
        g = up;
    }
    return wire_model(&g, 8, 17);
}

START_TEST(guard__limits_nesting)
{
    wire m = nested(33); /* 1 + 3 * 33 = 100 messages below the model */
    ck_assert_ok(ptq_onnx_guard(m.p, m.n, 0));
    wire_free(&m);
    static const size_t deep[] = {34, 3000, 10000};
    for (size_t i = 0; i < PTQ_COUNT(deep); i++) {
        m = nested(deep[i]);
        ck_assert_fails(ptq_onnx_guard(m.p, m.n, 0), PTQ_ERR_MODEL);
        ck_assert_says("nested");
        wire_free(&m);
    }
}
END_TEST

/* A million levels cannot be built inside out in linear time; the lengths only shrink by 6 to
 * 12 bytes per level, so the headers are written from the outside with lengths that fit. */
START_TEST(guard__a_million_nested_graphs)
{
    enum { LEVELS = 1000000 };
    static const unsigned tags[3] = {1 << 3 | 2, 5 << 3 | 2, 6 << 3 | 2};
    size_t total = 18 * (size_t)LEVELS, left = total;
    wire m = {0};
    wire_varint(&m, 7 << 3 | 2);
    wire_varint(&m, total);
    for (size_t i = 0; i < 3 * (size_t)LEVELS; i++) {
        left -= 6;
        wire_varint(&m, tags[i % 3]);
        uint8_t len[5] = {(uint8_t)(left | 0x80), (uint8_t)(left >> 7 | 0x80),
                          (uint8_t)(left >> 14 | 0x80), (uint8_t)(left >> 21 | 0x80),
                          (uint8_t)(left >> 28)};
        wire_raw(&m, len, 5);
    }
    double t = unit_cpu_seconds();
    ck_assert_fails(ptq_onnx_guard(m.p, m.n, 0), PTQ_ERR_MODEL);
    ck_assert_says("nested");
    ck_assert(unit_cpu_seconds() - t < 10);
    wire_free(&m);
}
END_TEST

/* n copies of a field inside the graph. */
static wire many(unsigned field, const char *payload, size_t len, size_t n)
{
    wire g = {0};
    for (size_t i = 0; i < n; i++)
        wire_bytes(&g, field, payload, len);
    return wire_model(&g, 8, 17);
}

START_TEST(guard__keeps_the_budget)
{
    /* 4 MB of empty nodes would take some 400 MB. */
    static const unsigned fields[] = {1 /* nodes */, 5 /* initializers */, 13 /* value_info */,
                                      1000 /* unknown */};
    for (size_t i = 0; i < PTQ_COUNT(fields); i++) {
        wire m = many(fields[i], "", 0, 1000000);
        ck_assert_fails(ptq_onnx_guard(m.p, m.n, (size_t)64 << 20), PTQ_ERR_NOMEM);
        ck_assert_says("64 MiB");
        ck_assert_ok(ptq_onnx_guard(m.p, m.n, (size_t)1 << 30));
        wire_free(&m);
    }
}
END_TEST

START_TEST(guard__counts_packed_numbers)
{
    wire g = {0}, t = {0}, ints = {0};
    for (int i = 0; i < 100000; i++)
        wire_varint(&ints, 1);
    wire_msg(&t, 7, &ints); /* int64_data: one byte each in the file, eight in memory */
    wire_msg(&g, 5, &t);
    wire m = wire_model(&g, 8, 17);
    ck_assert_fails(ptq_onnx_guard(m.p, m.n, 500000), PTQ_ERR_NOMEM);
    ck_assert_ok(ptq_onnx_guard(m.p, m.n, 1000000));
    wire_free(&m);

    static const struct {
        unsigned field;
        const char *bytes;
        size_t n;
    } bad[] = {{7, "\x01\x80", 2}, {4, "12345", 5}, {10, "1234567", 7}, {5, "\xff", 1},
               {7, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}};
    for (size_t i = 0; i < PTQ_COUNT(bad); i++) {
        wire_bytes(&t, bad[i].field, bad[i].bytes, bad[i].n);
        wire_msg(&g, 5, &t);
        m = wire_model(&g, 8, 17);
        ck_assert_fails(ptq_onnx_guard(m.p, m.n, 0), PTQ_ERR_MODEL);
        wire_free(&m);
    }
}
END_TEST

START_TEST(guard__refuses_repeated_singular_messages)
{
    wire m = {0};
    wire_int(&m, 1, 8);
    for (int i = 0; i < 40000; i++)
        wire_bytes(&m, 7, "", 0);
    ck_assert_fails(ptq_onnx_guard(m.p, m.n, 0), PTQ_ERR_MODEL);
    ck_assert_says("ModelProto.graph appears more than once");
    wire_free(&m);
    wire_str(&m, 2, "a"); /* a repeated string only replaces the first */
    wire_str(&m, 2, "b");
    wire_bytes(&m, 7, "", 0);
    ck_assert_ok(ptq_onnx_guard(m.p, m.n, 0));
    wire_free(&m);

    wire v = {0}, type = {0}, g = {0}; /* two kinds of one type */
    wire_bytes(&type, 1, "", 0);
    wire_bytes(&type, 4, "", 0);
    wire_msg(&v, 2, &type);
    wire_msg(&g, 11, &v);
    m = wire_model(&g, 8, 17);
    ck_assert_fails(ptq_onnx_guard(m.p, m.n, 0), PTQ_ERR_MODEL);
    wire_free(&m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx_guard");
    TCase *t = tcase_create("guard");
    tcase_add_test(t, guard__accepts_a_small_model);
    tcase_add_test(t, guard__names_what_is_no_model);
    tcase_add_test(t, guard__fields_stay_in_their_message);
    tcase_add_test(t, guard__strings_in_utf8_pass);
    tcase_add_test(t, guard__limits_nesting);
    tcase_add_test(t, guard__a_million_nested_graphs);
    tcase_add_test(t, guard__keeps_the_budget);
    tcase_add_test(t, guard__counts_packed_numbers);
    tcase_add_test(t, guard__refuses_repeated_singular_messages);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    return unit_run(s);
}
