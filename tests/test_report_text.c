/* SPDX-License-Identifier: Apache-2.0 */
/* What of a file's names reaches a terminal. */
#include "tests/unit.h"

#include "lib/report/report.h"

static ptq_report *report_of(const char *kind, const char *json)
{
    ptq_report *r;
    json_t *add = json_loads(json, 0, NULL);
    ck_assert_ptr_nonnull(add);
    ck_assert_ok(ptq_report_new(kind, &r));
    ck_assert_int_eq(json_object_update(r->root, add), 0);
    json_decref(add);
    return r;
}

/* Names come from files: no byte of them moves a cursor. */
START_TEST(text__names_are_harmless)
{
    static const char *const evil = "a\\u001b[31m\\u0007\\u009bb";
    static const char *const kinds[] = {"inspect", "compare", "quantize"};
    char json[2048];
    snprintf(json, sizeof json,
             "{\"model\": \"%1$s\", \"inputs\": [{\"name\": \"%1$s\", \"type\": \"float32\", \"shape\": \"[%1$s]\"}],"
             "\"operators\": {\"%1$s\": {\"nodes\": 1}}, \"int8_nodes\": {\"%1$s\": 1},"
             "\"left_in_float\": [{\"node\": \"%1$s\", \"op\": \"%1$s\", \"reason\": \"r\"}],"
             "\"outputs\": [{\"name\": \"%1$s\", \"nonfinite\": 5}],"
             "\"layers\": [{\"node\": \"%1$s\", \"entire\": {\"sqnr_db\": 3}}],"
             "\"weights\": [{\"node\": \"%1$s\", \"dead_channels\": 1}],"
             "\"tensors\": [{\"name\": \"%1$s\", \"type\": \"int8\"}]}", evil);
    for (size_t i = 0; i < PTQ_COUNT(kinds); i++) {
        ptq_report *r = report_of(kinds[i], json);
        char *text;
        ck_assert_ok(ptq_report_text(r, 80, true, &text));
        ck_assert(strstr(text, "a?[31m?"));
        for (const char *p = text; *p; p++)
            ck_assert_msg((unsigned char)*p >= 0x20 || *p == '\n', "%s: byte %02x", kinds[i], *p);
        ck_assert(!strstr(text, "\xc2\x9b"));
        if (i == 1)
            ck_assert(strstr(text, "5 values are NaN"));
        free(text);
        ptq_report_free(r);
    }
}
END_TEST

/* Nodes that no pattern can quantize are counted, where there are any. */
START_TEST(text__other_nodes)
{
    for (int n = 0; n < 3; n += 2) {
        char json[128], *text;
        snprintf(json, sizeof json, "{\"int8_nodes\": {\"MatMul\": 4}, \"float_nodes\": {}, \"other_nodes\": %d}", n);
        ptq_report *r = report_of("quantize", json);
        ck_assert_ok(ptq_report_text(r, 80, false, &text));
        ck_assert_ptr_nonnull(strstr(text, n ? "4 MatMul   float: none   other: 2   (" : "4 MatMul   float: none   ("));
        free(text);
        ptq_report_free(r);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("report_text");
    TCase *t = tcase_create("all");
    tcase_add_test(t, text__names_are_harmless);
    tcase_add_test(t, text__other_nodes);
    suite_add_tcase(s, t);
    return unit_run(s);
}
