/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/report/report.h"

static double at(const json_t *root, const char *a, const char *b, const char *c)
{
    const json_t *v = json_object_get(root, a);
    if (b)
        v = json_object_get(v, b);
    if (c)
        v = json_object_get(v, c);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void size_text(double bytes, char *buf, size_t n)
{
    if (bytes >= 1e6)
        snprintf(buf, n, "%.1f MB", bytes / 1e6);
    else
        snprintf(buf, n, "%.1f kB", bytes / 1e3);
}

static void row(ptq_text *t, const char *what, const char *a, const char *b, const char *change)
{
    int n = (int)strlen(b) < 17 ? 17 - (int)strlen(b) : 1;
    ptq_text_add(t, "%-18s %-16s %s%*s%s\n", what, a, b, *change ? n : 0, "", change);
}

static void size_row(const json_t *root, ptq_text *t)
{
    char a[32], b[32], c[64];
    double ratio = at(root, "bytes", "ratio", NULL);
    size_text(at(root, "bytes", "reference", NULL), a, sizeof a);
    size_text(at(root, "bytes", "candidate", NULL), b, sizeof b);
    snprintf(c, sizeof c, "%.2fx %s", ratio >= 1.0 ? ratio : 1.0 / ratio, ratio >= 1.0 ? "smaller" : "larger");
    row(t, "size", a, b, c);
}

static void interval_row(const json_t *root, const char *figure, const char *change, ptq_text *t)
{
    static const char *const ref = "reference_accuracy", *const cand = "candidate_accuracy";
    char a[64], b[64], c[64] = "";
    double low = change ? at(root, change, "ci95_low", NULL) : NAN;
    snprintf(a, sizeof a, "%.2f .. %.2f", at(root, ref, figure, "ci95_low"), at(root, ref, figure, "ci95_high"));
    snprintf(b, sizeof b, "%.2f .. %.2f", at(root, cand, figure, "ci95_low"), at(root, cand, figure, "ci95_high"));
    if (!isnan(low))
        snprintf(c, sizeof c, "%+.2f .. %+.2f", low, at(root, change, "ci95_high", NULL));
    row(t, "  95% interval", a, b, c);
}

static void accuracy_rows(const json_t *root, ptq_text *t)
{
    static const char *const ref = "reference_accuracy", *const cand = "candidate_accuracy";
    char a[64], b[64], c[160];
    double p = at(root, ref, "top1", "percent"), q = at(root, cand, "top1", "percent");
    if (isnan(p))
        return;
    snprintf(a, sizeof a, "%.2f %%", p);
    snprintf(b, sizeof b, "%.2f %%", q);
    snprintf(c, sizeof c, "%+.2f points", at(root, "top1_change", "points", NULL));
    row(t, "top-1", a, b, c);
    interval_row(root, "top1", "top1_change", t);
    if (!isnan(at(root, ref, "top5", "percent"))) {
        snprintf(a, sizeof a, "%.2f %%", at(root, ref, "top5", "percent"));
        snprintf(b, sizeof b, "%.2f %%", at(root, cand, "top5", "percent"));
        snprintf(c, sizeof c, "%+.2f points", at(root, cand, "top5", "percent") - at(root, ref, "top5", "percent"));
        row(t, "top-5", a, b, c);
        interval_row(root, "top5", NULL, t);
    }
    if (!isnan(at(root, ref, "nats_per_token", NULL))) {
        snprintf(a, sizeof a, "%.4f", at(root, ref, "nats_per_token", NULL));
        snprintf(b, sizeof b, "%.4f", at(root, cand, "nats_per_token", NULL));
        snprintf(c, sizeof c, "%+.4f", at(root, "nats_change", "nats", NULL));
        row(t, "nats per token", a, b, c);
        snprintf(c, sizeof c, "%+.4f .. %+.4f", at(root, "nats_change", "ci95_low", NULL),
                 at(root, "nats_change", "ci95_high", NULL));
        row(t, "  95% interval", "", "", c);
    }
}

static void latency_rows(const json_t *root, ptq_text *t)
{
    char a[64], b[64], c[64];
    double la = at(root, "latency_ms", "reference", NULL), lb = at(root, "latency_ms", "candidate", NULL);
    if (isnan(la))
        return;
    double s = la / lb;
    snprintf(a, sizeof a, "%.3g ms", la);
    snprintf(b, sizeof b, "%.3g ms", lb);
    snprintf(c, sizeof c, "%.2fx %s", s >= 1.0 ? s : 1.0 / s, s >= 1.0 ? "faster" : "slower");
    row(t, "latency (batch 1)", a, b, c);
    ptq_text_add(t, "  on %s\n", ptq_json_str(json_object_get(root, "latency_ms"), "machine", "?"));
}

static void db(double v, const json_t *o, char *buf, size_t n)
{
    if (json_is_true(json_object_get(o, "identical")))
        snprintf(buf, n, "identical");
    else if (isnan(v))
        snprintf(buf, n, "n/a");
    else
        snprintf(buf, n, "%.1f dB", v);
}

static void output_rows(const json_t *root, ptq_text *t)
{
    size_t i;
    json_t *o;
    json_array_foreach (json_object_get(root, "outputs"), i, o) {
        char a[32], cosine[32];
        double equal = ptq_json_num(o, "equal_percent", NAN), c = ptq_json_num(o, "cosine", NAN);
        if (!isnan(equal)) {
            ptq_text_add(t, "output ");
            ptq_text_name(t, ptq_json_str(o, "name", "?"), 24);
            ptq_text_add(t, " (%s): %.2f %% of the values are equal\n", ptq_json_str(o, "type", "?"), equal);
            continue;
        }
        snprintf(cosine, sizeof cosine, isnan(c) ? "n/a" : "%.5f", c);
        db(ptq_json_num(o, "sqnr_db", NAN), o, a, sizeof a);
        ptq_text_add(t, "output ");
        ptq_text_name(t, ptq_json_str(o, "name", "?"), 24);
        ptq_text_add(t, ": SQNR %s, cosine %s, largest difference %.4g", a, cosine,
                     ptq_json_num(o, "max_abs", NAN));
        double bad = ptq_json_num(o, "nonfinite", 0.0);
        if (bad > 0.0)
            ptq_text_add(t, "; %.0f values are NaN or infinite and left out", bad);
        ptq_text_add(t, "\n");
    }
}

typedef struct ranked {
    const json_t *o;
    double db;
} ranked;

static int worst_first(const void *a, const void *b)
{
    double x = ((const ranked *)a)->db, y = ((const ranked *)b)->db;
    return (x > y) - (x < y);
}

static void layer_rows(const json_t *root, bool verbose, int columns, ptq_text *t)
{
    json_t *layers = json_object_get(root, "layers"), *o;
    size_t n = json_array_size(layers), i, k = 0;
    ranked *list = n ? calloc(n, sizeof *list) : NULL;
    if (!list)
        return;
    json_array_foreach (layers, i, o) {
        double single = ptq_json_num(json_object_get(o, "single"), "sqnr_db", NAN);
        double v = isnan(single) ? ptq_json_num(json_object_get(o, "entire"), "sqnr_db", NAN) : single;
        if (!isnan(v))
            list[k++] = (ranked){o, v};
    }
    qsort(list, k, sizeof *list, worst_first);
    size_t show = verbose || k < 5 ? k : 5;
    ptq_text_add(t, "worst layers, SQNR in dB (alone / accumulated)\n");
    for (i = 0; i < show; i++) {
        double single = ptq_json_num(json_object_get(list[i].o, "single"), "sqnr_db", NAN);
        double entire = ptq_json_num(json_object_get(list[i].o, "entire"), "sqnr_db", NAN);
        ptq_text_add(t, isnan(single) ? "     -" : "  %4.1f", single);
        ptq_text_add(t, " / %4.1f  ", entire);
        const char *node = ptq_json_str(list[i].o, "node", "");
        ptq_text_name(t, *node ? node : ptq_json_str(list[i].o, "tensor", "?"), columns - 18);
        ptq_text_add(t, "\n");
    }
    free(list);
}

static void text(const json_t *root, int columns, bool verbose, ptq_text *t)
{
    char a[64], c[64];
    bool qa = json_is_true(json_object_get(root, "reference_quantized"));
    bool qb = json_is_true(json_object_get(root, "candidate_quantized"));
    double samples = ptq_json_num(root, "samples", NAN);
    *a = '\0';
    if (!isnan(samples))
        snprintf(a, sizeof a, "%.0f sample%s", samples, samples == 1.0 ? "" : "s");
    if (qa == qb)
        row(t, a, "reference", "candidate", "change");
    else
        row(t, a, qa ? "int8" : "fp32", qb ? "int8" : "fp32", "change");
    size_row(root, t);
    accuracy_rows(root, t);
    double agree = at(root, "agreement", "percent", NULL);
    if (!isnan(agree)) {
        snprintf(c, sizeof c, "%.2f %%", agree);
        row(t, "same first choice", "", "", c);
        snprintf(c, sizeof c, "%.2f .. %.2f", at(root, "agreement", "ci95_low", NULL),
                 at(root, "agreement", "ci95_high", NULL));
        row(t, "  95% interval", "", "", c);
    }
    latency_rows(root, t);
    output_rows(root, t);
    layer_rows(root, verbose, columns, t);
}

const ptq_report_kind ptq_report_kind_compare = {"compare", text};
