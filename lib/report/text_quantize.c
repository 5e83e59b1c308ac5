/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "lib/report/report.h"

static void counts(json_t *o, ptq_text *t)
{
    const char *key;
    json_t *v;
    bool first = true;
    json_object_foreach (o, key, v) {
        ptq_text_add(t, "%s%lld" PTQ_TEXT_NBSP, first ? "" : ", ", (long long)json_integer_value(v));
        ptq_text_name(t, key, 24);
        first = false;
    }
    if (first)
        ptq_text_add(t, "none");
}

/* What quantizing left of the output: null is no noise at all. */
static void auto_db(const json_t *o, ptq_text *t)
{
    double db = ptq_json_num(o, "sqnr_db", NAN);
    if (isnan(db))
        ptq_text_add(t, "identical");
    else
        ptq_text_add(t, "%.1f", db);
}

static void auto_lines(const json_t *a, int columns, ptq_text *t)
{
    size_t i;
    json_t *o;
    double samples = ptq_json_num(a, "samples", 0);
    ptq_text_add(t, "auto      judged on %.0f sample%s; output SQNR in dB:", samples, samples == 1.0 ? "" : "s");
    json_array_foreach (json_object_get(a, "methods"), i, o) {
        ptq_text_add(t, "%s %s" PTQ_TEXT_NBSP, i ? "," : "", ptq_json_str(o, "method", "?"));
        auto_db(o, t);
    }
    ptq_text_add(t, "\n          chose %s", ptq_json_str(a, "method", "?"));
    size_t n = json_array_size(json_object_get(a, "tensors"));
    if (n)
        ptq_text_add(t, ", another method for %zu tensor%s", n, n > 1 ? "s" : "");
    ptq_text_add(t, ": ");
    auto_db(a, t);
    ptq_text_add(t, json_is_number(json_object_get(a, "sqnr_db")) ? " dB\n" : "\n");
    if (ptq_json_num(a, "nonfinite", 0.0) > 0.0)
        ptq_text_add(t, "warning   %.0f values of the fp32 outputs are NaN or infinite; auto did not judge by them\n",
                     ptq_json_num(a, "nonfinite", 0.0));
    json_array_foreach (json_object_get(a, "float_layers"), i, o) {
        ptq_text_add(t, "float     %s ", ptq_json_str(o, "op", "?"));
        ptq_text_name(t, ptq_json_str(o, "node", "?"), columns - 50);
        ptq_text_add(t, ": %.0f %% of the noise, %.2f %% of the MACs\n", ptq_json_num(o, "noise_removed_percent", NAN),
                     ptq_json_num(o, "macs_percent", NAN));
    }
}

/* Error of log weights beside that of linear ones. */
static void log_lines(const json_t *root, ptq_text *t)
{
    double log_mse = 0.0, lin_mse = 0.0;
    size_t i;
    json_t *o;
    if (strncmp(ptq_json_str(root, "weight", ""), "log", 3) != 0)
        return;
    json_array_foreach (json_object_get(root, "weights"), i, o) {
        log_mse += ptq_json_num(o, "mse", 0.0);
        lin_mse += ptq_json_num(o, "mse_linear", 0.0);
    }
    ptq_text_add(t, "weights   %s: %.3g times the squared error of linear int8 per %s (sum over %zu weight%s)\n",
                 ptq_json_str(root, "weight", "?"), lin_mse > 0.0 ? log_mse / lin_mse : NAN,
                 json_is_true(json_object_get(root, "per_channel")) ? "channel" : "tensor", i, i == 1 ? "" : "s");
}

static void warnings(const json_t *root, ptq_text *t)
{
    size_t i;
    json_t *o;
    if (json_object_size(json_object_get(root, "int8_nodes")) == 0 &&
        json_array_size(json_object_get(root, "weights")) == 0)
        ptq_text_add(t, "warning   nothing is quantized\n");
    json_array_foreach (json_object_get(root, "weights"), i, o) {
        double dead = ptq_json_num(o, "dead_channels", 0), wide = ptq_json_num(o, "widened_channels", 0);
        if (dead > 0) {
            ptq_text_add(t, "warning   ");
            ptq_text_name(t, ptq_json_str(o, "node", "?"), 40);
            ptq_text_add(t, ": %.0f output channels are all zero; scale set to 1, no effect on results\n", dead);
        }
        if (wide > 0) {
            ptq_text_add(t, "warning   ");
            ptq_text_name(t, ptq_json_str(o, "node", "?"), 40);
            ptq_text_add(t, ": %.0f weight scales widened so that the bias fits int32\n", wide);
        }
    }
}

static void text(const json_t *root, int columns, bool verbose, ptq_text *t)
{
    size_t i;
    json_t *o;
    bool per_channel = json_is_true(json_object_get(root, "per_channel"));
    bool symmetric = json_is_true(json_object_get(root, "act_symmetric"));
    ptq_text_add(t, "plan      int8: ");
    counts(json_object_get(root, "int8_nodes"), t);
    ptq_text_add(t, "   float: ");
    counts(json_object_get(root, "float_nodes"), t);
    if (ptq_json_num(root, "other_nodes", 0) > 0.0)
        ptq_text_add(t, "   other: %.0f", ptq_json_num(root, "other_nodes", 0));
    ptq_text_add(t, "   (%.1f %% of the MACs in int8)\n", 100.0 * ptq_json_num(root, "int8_mac_share", NAN));
    ptq_text_add(t, "scheme    target %s, %s; weights %s per %s, activations %s %s%s, ranges by %s\n",
                 ptq_json_str(root, "target", "?"), ptq_json_str(root, "format", "?"),
                 ptq_json_str(root, "weight", "?"), per_channel ? "channel" : "tensor",
                 ptq_json_str(root, "act_type", "?"), symmetric ? "symmetric" : "asymmetric",
                 json_is_true(json_object_get(root, "act_log2")) ? " (log2 codes)" : "", ptq_json_str(root, "method", "?"));
    if (json_object_get(root, "auto"))
        auto_lines(json_object_get(root, "auto"), columns, t);
    log_lines(root, t);
    warnings(root, t);
    if (!verbose)
        return;
    json_array_foreach (json_object_get(root, "left_in_float"), i, o) {
        ptq_text_add(t, "float     ");
        ptq_text_name(t, ptq_json_str(o, "node", "?"), 40);
        ptq_text_add(t, ": %s\n", ptq_json_str(o, "reason", "?"));
    }
    json_array_foreach (json_object_get(root, "tensors"), i, o) {
        ptq_text_add(t, "tensor    ");
        ptq_text_name(t, ptq_json_str(o, "name", "?"), 40);
        ptq_text_add(t, ": [%.5g, %.5g] scale %.6g zero point %.0f (%s)\n", ptq_json_num(o, "low", NAN),
                     ptq_json_num(o, "high", NAN), ptq_json_num(o, "scale", NAN), ptq_json_num(o, "zero_point", NAN),
                     ptq_json_str(o, "method", "?"));
    }
}

const ptq_report_kind ptq_report_kind_quantize = {"quantize", text};
