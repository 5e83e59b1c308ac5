/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdint.h>

#include "lib/report/report.h"

static void tensors(json_t *list, const char *title, ptq_text *t)
{
    size_t i;
    json_t *o;
    json_array_foreach (list, i, o) {
        ptq_text_add(t, "%-10s ", i ? "" : title);
        ptq_text_name(t, ptq_json_str(o, "name", "?"), 40);
        ptq_text_add(t, " %s ", ptq_json_str(o, "type", "?"));
        ptq_text_name(t, ptq_json_str(o, "shape", "?"), 60);
        ptq_text_add(t, "\n");
    }
}

static bool is_quantized(const json_t *root)
{
    return json_is_true(json_object_get(root, "quantized"));
}

static void operators(const json_t *root, ptq_text *t)
{
    const char *key;
    json_t *o;
    bool quantized = is_quantized(root); /* its plan has been carried out, and its names are longer */
    size_t width = quantized ? 42 : 20;
    if (quantized)
        ptq_text_add(t, "%-10s the model is quantized already\n", "note");
    ptq_text_add(t, "%-*s  %6s %14s%s\n", (int)width, "operator", "nodes", "MACs", quantized ? "" : "     int8");
    json_object_foreach (json_object_get(root, "operators"), key, o) {
        size_t start = t->n + 2;
        ptq_text_add(t, "  ");
        ptq_text_name(t, key, (int)width);
        while (!t->failed && t->n < start + width)
            ptq_text_add(t, " ");
        ptq_text_add(t, "%6.0f %14.0f", ptq_json_num(o, "nodes", 0), ptq_json_num(o, "macs", 0));
        if (!quantized)
            ptq_text_add(t, " %8.0f", ptq_json_num(o, "int8", 0));
        ptq_text_add(t, "\n");
    }
}

/* The first `show` nodes and their reasons, then how many there are. */
static void node_list(const json_t *list, const char *title, size_t show, ptq_text *t)
{
    size_t i, n = json_array_size(list);
    json_t *o;
    json_array_foreach (list, i, o) {
        if (i >= show) {
            if (i)
                ptq_text_add(t, "           ... (%zu in all; -v shows them)\n", n);
            else
                ptq_text_add(t, "%-10s %zu node%s in float for lack of an 8-bit form or of a use for it; -v shows them\n", title, n,
                             n == 1 ? "" : "s");
            return;
        }
        ptq_text_add(t, "%-10s ", i ? "" : title);
        ptq_text_name(t, ptq_json_str(o, "node", "?"), 40);
        ptq_text_add(t, " (");
        ptq_text_name(t, ptq_json_str(o, "op", "?"), 24);
        ptq_text_add(t, "): %s\n", ptq_json_str(o, "reason", "?"));
    }
}

static void plan(const json_t *root, bool verbose, ptq_text *t)
{
    ptq_text_add(t, "%-10s %.1f %% of the MACs for target %s\n", "int8", 100.0 * ptq_json_num(root, "int8_mac_share", NAN),
                 ptq_json_str(root, "target", "?"));
    node_list(json_object_get(root, "left_in_float"), "float", verbose ? SIZE_MAX : 10, t);
    node_list(json_object_get(root, "other_nodes"), "other", verbose ? SIZE_MAX : 0, t);
}

static void text(const json_t *root, int columns, bool verbose, ptq_text *t)
{
    ptq_text_add(t, "%-10s ", "model");
    ptq_text_name(t, ptq_json_str(root, "model", "?"), columns - 12);
    ptq_text_add(t, "\n%-10s %.0f, IR %.0f, %.0f nodes, %.0f after optimizing\n", "opset", ptq_json_num(root, "opset", 0),
                 ptq_json_num(root, "ir_version", 0), ptq_json_num(root, "nodes_in_file", 0),
                 ptq_json_num(root, "nodes", 0));
    tensors(json_object_get(root, "inputs"), "inputs", t);
    tensors(json_object_get(root, "outputs"), "outputs", t);
    ptq_text_add(t, "%-10s %.2f M parameters, %.1f MB\n", "size", ptq_json_num(root, "parameters", 0) / 1e6,
                 ptq_json_num(root, "weight_bytes", 0) / 1e6);
    ptq_text_add(t, "%-10s %.1f M multiply-accumulates per sample, %.2f MB moved, %.1f MACs per byte\n", "work",
                 ptq_json_num(root, "macs", 0) / 1e6, ptq_json_num(root, "bytes_moved", 0) / 1e6,
                 ptq_json_num(root, "macs_per_byte", NAN));
    operators(root, t);
    if (!is_quantized(root))
        plan(root, verbose, t);
}

const ptq_report_kind ptq_report_kind_inspect = {"inspect", text};
