/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "lib/report/report.h"

static void nodes(const json_t *list, const char *title, bool verbose, ptq_text *t)
{
    size_t i;
    json_t *o;
    json_array_foreach (list, i, o) {
        if (!verbose && i >= 5) {
            ptq_text_add(t, "           ... (%zu in all; -v shows them)\n", json_array_size(list));
            return;
        }
        ptq_text_add(t, "%-10s ", i ? "" : title);
        ptq_text_name(t, ptq_json_str(o, "node", "?"), 40);
        ptq_text_add(t, " (");
        ptq_text_name(t, ptq_json_str(o, "op", "?"), 24);
        const char *reason = ptq_json_str(o, "reason", "");
        ptq_text_add(t, ")%s%s\n", *reason ? ": " : "", reason);
    }
}

static void profile(const json_t *p, size_t index, ptq_text *t)
{
    size_t i;
    json_t *o;
    json_array_foreach (json_object_get(p, "inputs"), i, o) {
        const char *min = ptq_json_str(o, "min", "?"), *max = ptq_json_str(o, "max", "?");
        if (i == 0)
            ptq_text_add(t, "profile %zu  ", index);
        else
            ptq_text_add(t, "%-10s ", "");
        ptq_text_name(t, ptq_json_str(o, "name", "?"), 40);
        if (strcmp(min, max) == 0)
            ptq_text_add(t, " %s\n", min);
        else
            ptq_text_add(t, " from %s to %s, best at %s\n", min, max, ptq_json_str(o, "opt", "?"));
    }
    double block = ptq_json_num(p, "activation_bytes", 0), alive = ptq_json_num(p, "alive_bytes", 0);
    ptq_text_add(t, "%-10s activations %.2f MB at the largest shapes, of which %.2f MB are alive at once\n", "", block / 1e6,
                 alive / 1e6);
}

static void text(const json_t *root, int columns, bool verbose, ptq_text *t)
{
    const char *key, *device = ptq_json_str(root, "device", "");
    size_t i;
    json_t *o;
    (void)columns;
    ptq_text_add(t, "%-10s %s%s%s, precision %s%s, model %.1f MB\n", "engine", ptq_json_str(root, "backend", "?"),
                 *device ? ": " : "", device, ptq_json_str(root, "precision", "?"),
                 json_is_true(json_object_get(root, "fast_math")) ? ", fast math" : "", ptq_json_num(root, "model_bytes", 0) / 1e6);
    ptq_text_add(t, "%-10s", "steps");
    json_object_foreach (json_object_get(root, "steps"), key, o)
        ptq_text_add(t, " %lld %s", (long long)json_integer_value(o), key);
    ptq_text_add(t, "\n");
    nodes(json_object_get(root, "on_cpu"), "on the CPU", verbose, t);
    nodes(json_object_get(root, "left_in_float"), "in float", verbose, t);
    nodes(json_object_get(root, "in_fp16"), "in fp16", verbose, t);
    nodes(json_object_get(root, "left_in_fp32"), "in fp32", verbose, t);
    json_array_foreach (json_object_get(root, "profiles"), i, o)
        profile(o, i, t);
}

const ptq_report_kind ptq_report_kind_engine = {"engine", text};
