/* SPDX-License-Identifier: Apache-2.0 */
/* Each rule of the advice, on figures just inside and just outside of it. */
#include "tests/unit.h"

#include "lib/report/report.h"

static ptq_report *report_of(const char *kind, const char *json)
{
    ptq_report *r;
    json_t *add = json_loads(json, 0, NULL);
    ck_assert_msg(add != NULL, "%s", json);
    ck_assert_ok(ptq_report_new(kind, &r));
    ck_assert_int_eq(json_object_update(r->root, add), 0);
    json_decref(add);
    return r;
}

#define Q_BASE                                                                                                       \
    "\"int8_nodes\": {\"Conv\": 2}, \"target\": \"ort\", \"method\": \"auto\", \"weight\": \"int8\", \"per_channel\": true, " \
    "\"samples\": 500, \"int8_mac_share\": 1.0"
#define Q_OK "{" Q_BASE "}"
#define SURE "\"samples\": 2000, \"outputs\": [{\"sqnr_db\": 31}]"
#define TOP1(points, low, high) \
    "\"top1_change\": {\"points\": " points ", \"ci95_low\": " low ", \"ci95_high\": " high "}"
#define GOOD "{" SURE ", " TOP1("0.05", "-0.2", "0.3") ", \"latency_ms\": {\"speedup\": 2, \"machine\": \"cpu (vnni, 2 threads)\"}}"
#define BAD "\"samples\": 2000, " TOP1("-3", "-4", "-2") \
    ", \"layers\": [{\"node\": \"a\", \"single\": {\"sqnr_db\": 20}}, {\"node\": \"b\", \"single\": {\"sqnr_db\": 9}}," \
    "{\"node\": \"c\", \"entire\": {\"sqnr_db\": 1}}]"
#define SLOW(machine) "{" SURE ", " TOP1("0", "-0.2", "0.2") ", \"latency_ms\": {\"speedup\": 0.8, \"machine\": \"" machine "\"}}"

/* NULL: that report was not made. */
static const struct {
    const char *q, *check, *cmp;
    bool seen;
    const char *codes, *says;
} rows[] = {
    {Q_OK, "{}", GOOD, false, "done", "faster than fp32"},
    {Q_OK, "{}", "{" SURE ", " TOP1("0", "-0.2", "0.2") "}", false, "done", "no loss beyond chance"},
    {Q_OK, "{}", NULL, false, "compare", "quantize compare"},
    {Q_OK, "{\"problems\": [{}]}", GOOD, false, "problems", "do not use"},
    {"{\"int8_nodes\": {}}", "{}", GOOD, false, "nothing", "inspect -v"},
    /* what is lost */
    {Q_OK, "{}", "{" SURE ", " TOP1("-1", "-1.5", "-0.5") "}", false, "done", ""},
    {Q_OK, "{}", "{" SURE ", " TOP1("-1.01", "-1.9", "-0.1") "}", false, "drop", "falls by 1.01 points"},
    {Q_OK, "{}", "{" SURE ", " TOP1("-1.01", "-2.1", "0.1") "}", false, "chance", "-2.10 .. +0.10"},
    {Q_OK, "{}", "{" BAD "}", false, "drop exclude", "--exclude 'b': the worst layer by itself (9.0 dB)"},
    {"{\"int8_nodes\": {\"Conv\": 2}, \"target\": \"portable\", \"method\": \"mse\", \"weight\": \"log2x2\", \"float_weights\": true, "
     "\"per_channel\": false, \"samples\": 99, \"act_log2\": true, \"act_symmetric\": true}",
     "{}", "{" BAD "}", false, "drop act weight per_channel method target samples exclude log_speed", "99 were used"},
    {Q_OK, "{}", "{\"samples\": 2000, \"agreement\": {\"percent\": 90, \"ci95_high\": 94.9}}", false, "drop labels",
     "only 90.0 %"},
    {Q_OK, "{}", "{\"samples\": 20, \"agreement\": {\"percent\": 90, \"ci95_high\": 95.1}}", false, "labels", "no labels"},
    {Q_OK, "{}", "{\"samples\": 2000, \"outputs\": [{\"sqnr_db\": 19.9}]}", false, "drop", "19.9 dB"},
    {Q_OK, "{}", "{\"samples\": 2000, \"outputs\": [{\"sqnr_db\": 20.1}]}", false, "done", ""},
    {Q_OK, "{}", "{\"samples\": 50, " TOP1("0", "-0.1", "0.1") ", \"reference_accuracy\": {\"nats_per_token\": 2.0}, "
     "\"nats_change\": {\"nats\": 0.021, \"ci95_low\": 0.01}}", false, "drop", "0.0210 nats"},
    {Q_OK, "{}", "{\"samples\": 50, " TOP1("0", "-0.1", "0.1") ", \"reference_accuracy\": {\"nats_per_token\": 2.0}, "
     "\"nats_change\": {\"nats\": 0.019, \"ci95_low\": 0.01}}", false, "done", ""},
    /* how much is known */
    {Q_OK, "{}", "{\"samples\": 160, " TOP1("0", "0", "0") "}", true, "uncertain", "160 samples tells a change to +-1.9"},
    {Q_OK, "{}", "{\"samples\": 301, " TOP1("0", "0", "0") "}", true, "seen", "--eval"},
    {Q_OK, "{}", "{\"samples\": 900, " TOP1("0", "-1.1", "1.1") "}", false, "uncertain", "+-1.1"},
    /* time */
    {"{" Q_BASE ", \"weight\": \"log2x16\", \"float_weights\": true}", "{}", SLOW("cpu (vnni, 2 threads)"), false, "log_speed", "slower than fp32"},
    {"{" Q_BASE ", \"int8_mac_share\": 0.4}", "{}", SLOW("cpu (vnni, 2 threads)"), false, "slow", "only 40 % of the MACs"},
    {Q_OK, "{\"simulation\": {\"steps\": 100, \"integer_steps\": 49}}", SLOW("cpu (vnni, 2 threads)"), false, "slow", "51 of 100"},
    {Q_OK, "{\"simulation\": {\"steps\": 100, \"integer_steps\": 51}}", SLOW("cpu (avx2, 2 threads)"), false, "slow", "(VNNI)"},
    {Q_OK, "{}", SLOW("cpu (vnni, 2 threads)"), false, "slow", "measure where it will run"},
    /* what stayed in float */
    {"{" Q_BASE ", \"auto\": {\"float_layers\": [{\"macs_percent\": 2}, {\"macs_percent\": 1.5}]}, \"int8_mac_share\": 0.9, "
     "\"left_in_float\": [{\"macs\": 9, \"reason\": \"left in float by auto\"}]}", "{}", GOOD, false, "auto_float", "2 layers in float (3.5 %"},
    {"{" Q_BASE ", \"int8_mac_share\": 0.99, \"left_in_float\": [{\"macs\": 2e6, \"reason\": \"small\"}, "
     "{\"macs\": 4e6, \"reason\": \"large\"}, {\"macs\": 9e6, \"reason\": \"excluded by --exclude\"}, {\"macs\": 0, \"reason\": \"none\"}]}",
     "{}", GOOD, false, "float", "2 nodes with 6.0 M MACs stay in float, the largest because: large"},
    {"{" Q_BASE ", \"int8_mac_share\": 0.996, \"left_in_float\": [{\"macs\": 2e6, \"reason\": \"small\"}]}", "{}", GOOD, false, "done", ""},
};

START_TEST(next__rules)
{
    ptq_report *q = report_of("quantize", rows[_i].q), *k = report_of("check", rows[_i].check);
    ptq_report *c = rows[_i].cmp ? report_of("compare", rows[_i].cmp) : NULL, *r;
    char codes[256] = "", *text;
    size_t i;
    json_t *o;
    ck_assert_ok(ptq_report_next(q, k, c, rows[_i].seen, &r));
    json_array_foreach (json_object_get(r->root, "steps"), i, o)
        snprintf(codes + strlen(codes), sizeof codes - strlen(codes), "%s%s", i ? " " : "", ptq_json_str(o, "code", "?"));
    ck_assert_str_eq(codes, rows[_i].codes);
    ck_assert_ok(ptq_report_text(r, 300, false, &text));
    ck_assert_int_eq(strncmp(text, "next      ", 10), 0);
    ck_assert_msg(strstr(text, rows[_i].says), "%s", text);
    free(text);
    ptq_report_free(r);
    ptq_report_free(c);
    ptq_report_free(k);
    ptq_report_free(q);
}
END_TEST

/* A layer's name is from a file. */
START_TEST(next__names_are_harmless)
{
    ptq_report *q = report_of("quantize", Q_OK), *r;
    ptq_report *c = report_of("compare", "{\"samples\": 2000, " TOP1("-3", "-4", "-2")
                              ", \"layers\": [{\"node\": \"x\\u001b[2J\\n\", \"single\": {\"sqnr_db\": 1}}]}");
    char *text;
    ck_assert_ok(ptq_report_next(q, NULL, c, false, &r));
    ck_assert_ok(ptq_report_text(r, 300, false, &text));
    ck_assert_ptr_nonnull(strstr(text, "'x?[2J?'"));
    free(text);
    ptq_report_free(r);
    ptq_report_free(c);
    ptq_report_free(q);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("report_next");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, next__rules, 0, PTQ_COUNT(rows));
    tcase_add_test(t, next__names_are_harmless);
    suite_add_tcase(s, t);
    return unit_run(s);
}
