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
        ck_assert_ok(ptq_report_text(r, 200, true, &text));
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
        ck_assert_ok(ptq_report_text(r, 200, false, &text));
        ck_assert_ptr_nonnull(strstr(text, n ? "4 MatMul   float: none   other: 2   (" : "4 MatMul   float: none   ("));
        free(text);
        ptq_report_free(r);
    }
}
END_TEST

static void without_blanks(const char *s, char *out)
{
    for (; *s; s++)
        if (*s != ' ' && *s != '\n')
            *out++ = *s;
    *out = '\0';
}

static int columns_of(const char *s, size_t n)
{
    int c = 0;
    for (size_t i = 0; i < n; i++)
        c += ((unsigned char)s[i] & 0xc0) != 0x80;
    return c;
}

/* No line is wider than asked for, and nothing but blanks is lost by that. */
START_TEST(text__fits_the_columns)
{
    static const char *const json =
        "{\"int8_nodes\": {\"Conv\": 10, \"AveragePool\": 1, \"GlobalAveragePool\": 1, \"\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\": 3},"
        "\"auto\": {\"samples\": 20, \"methods\": [{\"method\": \"minmax\", \"sqnr_db\": 33.7}, {\"method\": \"mse\"}],"
        "\"method\": \"mse\", \"float_layers\": [{\"op\": \"Conv\", \"node\": \"a_very_long_name_of_one_single_node\"}]},"
        "\"left_in_float\": [{\"node\": \"n\", \"reason\": \"first reason of a node that stays in float; second one\"}]}";
    static const int columns[] = {200, 100, 80, 50, 33, 20, 1};
    char want[4096], got[4096];
    ptq_report *r = report_of("quantize", json);
    for (size_t i = 0; i < PTQ_COUNT(columns); i++) {
        int most = columns[i] < 20 ? 20 : columns[i], widest = 0;
        char *text;
        ck_assert_ok(ptq_report_text(r, columns[i], true, &text));
        for (const char *p = text; *p;) {
            size_t n = strcspn(p, "\n");
            int c = columns_of(p, n);
            ck_assert_msg(c <= most, "%d columns, not %d: %.*s", c, most, (int)n, p);
            ck_assert_msg(n == 0 || p[n - 1] != ' ', "blank at the end: %.*s", (int)n, p);
            widest = c > widest ? c : widest;
            p += n + (p[n] == '\n');
        }
        ck_assert_int_gt(widest, most == 200 ? 80 : most / 2);
        without_blanks(text, i ? got : want);
        if (i && columns[i] >= 90) /* names are cut for narrow ones */
            ck_assert_str_eq(got, want);
        free(text);
    }
    ptq_report_free(r);
}
END_TEST

/* A difference is never rounded away. */
START_TEST(text__check_never_claims_more)
{
    static const struct {
        const char *sim, *want;
    } rows[] = {
        {"\"bytes\": 5, \"equal_percent\": 100, \"largest_steps\": 0", "all 5 bytes equal"},
        {"\"bytes\": 9000000, \"equal_percent\": 99.99999, \"largest_steps\": 1", "99.999 % of 9000000 bytes equal, largest difference 1 step"},
        {"\"bytes\": 100, \"equal_percent\": 98, \"largest_steps\": 2", "98.000 % of 100 bytes equal, largest difference 2 steps"},
    };
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        char json[512], *text;
        snprintf(json, sizeof json, "{\"nodes\": 1, \"problems\": [], \"simulation\": {\"samples\": 1, %s}}", rows[i].sim);
        ptq_report *r = report_of("check", json);
        ck_assert_ok(ptq_report_text(r, 500, false, &text));
        ck_assert_msg(strstr(text, rows[i].want), "%s", text);
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
    tcase_add_test(t, text__fits_the_columns);
    tcase_add_test(t, text__check_never_claims_more);
    suite_add_tcase(s, t);
    return unit_run(s);
}
