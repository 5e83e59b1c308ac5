/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of a report by path and by short name, and conditions on them. */
#include "tests/unit.h"

#include <locale.h>

#include <math.h>

#include "lib/report/report.h"

/* A comparison as the jobs write it, figures made up. */
static ptq_report *report(void)
{
    static const char text[] =
        "{\"top1_change\": {\"points\": -1.5}, \"nats_change\": {\"nats\": 0.25},"
        " \"candidate_accuracy\": {\"top1\": {\"percent\": 70.5}}, \"agreement\": {\"percent\": 97},"
        " \"outputs\": [{\"sqnr_db\": 31.5, \"cosine\": 0.75, \"name\": \"y\"},"
        "              {\"sqnr_db\": null, \"identical\": true}, {\"sqnr_db\": null}],"
        " \"bytes\": {\"ratio\": 3.5}, \"latency_ms\": {\"speedup\": 2.5}}";
    ptq_report *r;
    json_error_t e;
    ck_assert_ok(ptq_report_new("compare", &r));
    json_decref(r->root);
    r->root = json_loads(text, 0, &e);
    ck_assert_msg(r->root != NULL, "%s", e.text);
    return r;
}

START_TEST(number__by_path_and_name)
{
    static const struct {
        const char *path;
        double want;
    } rows[] = {{"top1_change.points", -1.5}, {"top1_drop", 1.5},  {"nats_rise", 0.25}, {"top1", 70.5},
                {"agreement", 97},            {"sqnr", 31.5},      {"cosine", 0.75},    {"size_ratio", 3.5},
                {"speedup", 2.5},             {"outputs.0.cosine", 0.75},
                {"outputs.1.sqnr_db", INFINITY} /* identical */};
    static const struct {
        const char *path, *says;
    } bad[] = {{"top1_dorp", "did you mean 'top1_drop'"}, {"outputs.0.name", "not a number"},
               {"outputs.2.sqnr_db", "not a number"},     {"outputs.3.sqnr_db", "no figure"},
               {"outputs.0.sqnr_db.x", "no figure"},      {"", "not a number"}};
    ptq_report *r = report();
    double v;
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        ck_assert_ok(ptq_report_number(r, rows[i].path, &v));
        ck_assert_msg(v == rows[i].want, "%s is %g", rows[i].path, v);
    }
    for (size_t i = 0; i < PTQ_COUNT(bad); i++) {
        ck_assert_fails(ptq_report_number(r, bad[i].path, &v), PTQ_ERR_ARG);
        ck_assert_says(bad[i].says);
    }
    json_object_del(r->root, "latency_ms");
    ck_assert_fails(ptq_report_number(r, "speedup", &v), PTQ_ERR_ARG);
    ck_assert_says("was it measured");
    ptq_report_free(r);
}
END_TEST

START_TEST(gate__below_at_and_above)
{
    static const struct {
        const char *op;
        bool below, at, above; /* the limit, seen from the figure 31.5 */
    } rows[] = {{"<", false, false, true}, {"<=", false, true, true}, {">", true, false, false},
                {">=", true, true, false}, {"==", false, true, false}};
    ptq_report *r = report();
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        for (int k = 0; k < 3; k++) {
            static const char *const limits[] = {"31.25", "31.5", "31.75"};
            char text[40];
            bool holds = !rows[i].at, want = k == 0 ? rows[i].below : k == 1 ? rows[i].at : rows[i].above;
            snprintf(text, sizeof text, k == 1 ? "sqnr %s %s " : "sqnr%s%s", rows[i].op, limits[k]);
            ck_assert_ok(ptq_report_gate(r, text, &holds));
            ck_assert_msg(holds == want, "%s", text);
        }
    bool holds;
    double v;
    ck_assert_ok(ptq_report_gate(r, "top1_drop>1", &holds)); /* the drop is 1.5 points */
    ck_assert(holds);
    ck_assert_ok(ptq_report_gate(r, "top1_drop>2", &holds));
    ck_assert(!holds);
    json_object_set_new(json_object_get(r->root, "top1_change"), "points", json_real(0.0));
    ck_assert_ok(ptq_report_number(r, "top1_drop", &v));
    ck_assert(v == 0.0 && !signbit(v));
    ck_assert_ok(ptq_report_gate(r, "outputs.1.sqnr_db<1e300", &holds));
    ck_assert(!holds);
    ptq_report_free(r);
    ck_assert_ok(ptq_report_new("eval", &r)); /* the same name where there is one model */
    json_object_set_new(r->root, "top1", json_pack("{s:f}", "percent", 80.0));
    ck_assert_ok(ptq_report_gate(r, "top1<81", &holds));
    ck_assert(holds);
    ptq_report_free(r);
}
END_TEST

START_TEST(gate__refused)
{
    static const struct {
        const char *text, *says;
    } rows[] = {{"", "expected FIGURE OP NUMBER"}, {">1", "expected FIGURE OP NUMBER"}, {"sqnr", "expected FIGURE OP"},
                {"sqnr>", "expected FIGURE OP"},   {"sqnr>high", "not a number"},      {"sqnr>3x", "not a number"},
                {"sqnr<nan", "not a number"},      /* would never hold */
                {"sqnr 3", "not one of"},          {"sqnr=3", "not one of"},           {"sqnr=>3", "not one of"},
                {"sqnr<>3", "not one of"},         {"nonsense<3", "no figure"}};
    ptq_report *r = report();
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        bool holds = true;
        ck_assert_fails(ptq_report_gate(r, rows[i].text, &holds), PTQ_ERR_ARG);
        ck_assert_says(rows[i].says);
        ck_assert(holds); /* untouched */
        ck_assert_fails(ptq_report_gate(NULL, rows[i].text, &holds), PTQ_ERR_ARG); /* before there is a report */
        ck_assert_says(rows[i].says);
    }
    ptq_report_free(r);
}
END_TEST

/* A host program with a decimal comma changes neither what is read nor what is written. */
START_TEST(gate__whatever_the_locale)
{
    static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "C"};
    for (size_t i = 0; i < PTQ_COUNT(locales); i++) {
        ptq_report *r;
        bool holds = false;
        char *text;
        if (!setlocale(LC_ALL, locales[i]))
            continue;
        ck_assert_ok(ptq_report_new("compare", &r));
        json_t *b = json_pack("{s:f}", "ratio", 3.25);
        ck_assert_ok(ptq_json_set(r->root, "bytes", b));
        ck_assert_ok(ptq_report_gate(r, "bytes.ratio<3.5", &holds));
        ck_assert(holds);
        ck_assert_ok(ptq_report_gate(r, "bytes.ratio<3.1", &holds));
        ck_assert(!holds);
        ck_assert_ok(ptq_report_text(r, 80, false, &text));
        ck_assert_ptr_nonnull(strstr(text, "3.25x smaller"));
        free(text);
        ptq_report_free(r);
        setlocale(LC_ALL, "C");
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("report_gate");
    TCase *t = tcase_create("all");
    tcase_add_test(t, number__by_path_and_name);
    tcase_add_test(t, gate__below_at_and_above);
    tcase_add_test(t, gate__refused);
    tcase_add_test(t, gate__whatever_the_locale);
    suite_add_tcase(s, t);
    return unit_run(s);
}
