/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "lib/report/report.h"

enum { SLOWEST = 10 };

static void times(const json_t *root, const char *key, const char *title, ptq_text *t)
{
    const json_t *o = json_object_get(root, key);
    if (!o)
        return;
    ptq_text_add(t, "%-10s median %.3f ms from %s memory, 90 %% %.3f, 99 %% %.3f, least %.3f (spread %.1f %% over the rounds, %.0f runs): "
                 "%.1f samples/s\n", title, ptq_json_num(o, "median_ms", NAN), title, ptq_json_num(o, "p90_ms", NAN),
                 ptq_json_num(o, "p99_ms", NAN), ptq_json_num(o, "min_ms", NAN), 100.0 * ptq_json_num(o, "spread", NAN),
                 ptq_json_num(o, "runs", 0), ptq_json_num(o, "samples_per_second", NAN));
}

static void head(const json_t *root, ptq_text *t)
{
    const char *device = ptq_json_str(root, "device", "");
    size_t i;
    json_t *o;
    ptq_text_add(t, "%-10s %s%s%s, precision %s%s, %.0f threads\n", "engine", ptq_json_str(root, "backend", "?"),
                 *device ? ": " : "", device, ptq_json_str(root, "precision", "?"),
                 json_is_true(json_object_get(root, "fast_math")) ? ", fast math" : "", ptq_json_num(root, "threads", 0));
    json_array_foreach (json_object_get(root, "inputs"), i, o) {
        ptq_text_add(t, "%-10s ", i ? "" : "input");
        ptq_text_name(t, ptq_json_str(o, "name", "?"), 40);
        ptq_text_add(t, " %s\n", ptq_json_str(o, "shape", "?"));
    }
    times(root, "from_device", "device", t);
    times(root, "from_host", "host", t);
    if ((o = json_object_get(root, "overlapped")))
        ptq_text_add(t, "%-10s %.3f ms a run with two contexts in turn, copies beside the work: %.1f samples/s\n", "",
                     ptq_json_num(o, "run_ms", NAN), ptq_json_num(o, "samples_per_second", NAN));
    ptq_text_add(t, "%-10s activations %.2f MB, of which %.2f MB are alive at once\n", "memory",
                 ptq_json_num(root, "activation_bytes", 0) / 1e6, ptq_json_num(root, "alive_bytes", 0) / 1e6);
    o = json_object_get(root, "peaks");
    ptq_text_add(t, "%-10s %.1f GB/s, %.2f TOPS in 8 bits, %.2f TFLOPS", "limits",
                 ptq_json_num(o, "bytes_per_second", 0) / 1e9, ptq_json_num(o, "int8_operations_per_second", 0) / 1e12,
                 ptq_json_num(o, "float_operations_per_second", 0) / 1e12);
    if (json_object_get(o, "float16_operations_per_second"))
        ptq_text_add(t, ", %.2f in float16", ptq_json_num(o, "float16_operations_per_second", 0) / 1e12);
    ptq_text_add(t, " (%s)\n", ptq_json_str(o, "source", "unknown"));
}

/* Two lines: figures and name, then what it is and why. */
static void layer(const json_t *o, ptq_text *t)
{
    const char *kind = ptq_json_str(o, "kind", "?"), *kernel = ptq_json_str(o, "kernel", "");
    ptq_text_add(t, "%9.4f %5.1f %8.3f %7.1f %5.0f %%  ", ptq_json_num(o, "ms", NAN), 100.0 * ptq_json_num(o, "share", NAN),
                 ptq_json_num(o, "tops", NAN), ptq_json_num(o, "gb_per_second", NAN), 100.0 * ptq_json_num(o, "of_limit", NAN));
    ptq_text_name(t, ptq_json_str(o, "step", "?"), 37);
    ptq_text_add(t, "\n          ");
    ptq_text_name(t, strcmp(kind, "float") == 0 ? ptq_json_str(o, "op", "?") : kind, 24);
    ptq_text_add(t, "%s%s", strcmp(ptq_json_str(o, "precision", ""), "fp16") == 0 ? " in fp16" : "", *kernel ? " by " : "");
    ptq_text_name(t, kernel, 24);
    ptq_text_add(t, ": %s\n", ptq_json_str(o, "why", "?"));
}

static void text(const json_t *root, int columns, bool verbose, ptq_text *t)
{
    const json_t *list = json_object_get(root, "layers");
    size_t i, n = json_array_size(list);
    json_t *o;
    (void)columns;
    head(root, t);
    ptq_text_add(t, "%-10s %zu, together %.3f ms, %.3f ms at the limits; timed by %s\n", "steps", n,
                 ptq_json_num(root, "layers_ms", NAN), ptq_json_num(root, "layers_least_ms", NAN),
                 ptq_json_str(root, "layers_timed_by", "?"));
    ptq_text_add(t, "%9s %5s %8s %7s %7s  %s\n", "ms", "%", "TOPS", "GB/s", "limit", "step");
    json_array_foreach (list, i, o) {
        if (!verbose && i >= SLOWEST) {
            ptq_text_add(t, "... (the slowest %d of %zu; -v shows all)\n", SLOWEST, n);
            return;
        }
        layer(o, t);
    }
}

const ptq_report_kind ptq_report_kind_bench = {"bench", text};
