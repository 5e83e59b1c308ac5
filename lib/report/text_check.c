/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "lib/report/report.h"

static void simulation(const json_t *s, ptq_text *t)
{
    size_t i;
    json_t *o;
    double samples = ptq_json_num(s, "samples", 0), equal = ptq_json_num(s, "equal_percent", NAN);
    double steps = ptq_json_num(s, "largest_steps", 0), bytes = ptq_json_num(s, "bytes", 0);
    if (samples == 0.0)
        return;
    ptq_text_add(t, "; int8 run (%.0f of %.0f steps in integers) against the float simulation, %.0f sample%s: ",
                 ptq_json_num(s, "integer_steps", 0), ptq_json_num(s, "steps", 0), samples, samples == 1.0 ? "" : "s");
    if (bytes > 0.0 && steps == 0.0)
        ptq_text_add(t, "all %.0f bytes equal", bytes);
    else if (bytes > 0.0) /* never rounded to a whole 100 % */
        ptq_text_add(t, "%.3f %% of %.0f bytes equal, largest difference %.0f step%s",
                     floor(equal * 1000.0) / 1000.0, bytes, steps, steps == 1.0 ? "" : "s");
    json_array_foreach (json_object_get(s, "outputs"), i, o) {
        double db = ptq_json_num(o, "sqnr_db", NAN);
        ptq_text_add(t, "%s", bytes > 0.0 || i ? ", output " : "output ");
        ptq_text_name(t, ptq_json_str(o, "name", "?"), 24);
        if (json_is_true(json_object_get(o, "identical")))
            ptq_text_add(t, " identical");
        else
            ptq_text_add(t, isnan(db) ? " SQNR n/a" : " SQNR %.1f dB", db);
    }
}

static void text(const json_t *root, int columns, bool verbose, ptq_text *t)
{
    size_t i;
    json_t *o, *problems = json_object_get(root, "problems"), *sim = json_object_get(root, "simulation");
    const char *reason = ptq_json_str(sim, "reason", "");
    (void)columns;
    ptq_text_add(t, "check     file loaded again, %.0f nodes; %.0f scales and their zero points %s",
                 ptq_json_num(root, "nodes", 0), ptq_json_num(root, "scales", 0),
                 json_array_size(problems) ? "NOT ok" : "ok");
    if (*reason)
        ptq_text_add(t, "; %s", reason);
    simulation(sim, t);
    ptq_text_add(t, "\n");
    json_array_foreach (problems, i, o) {
        if (i >= 5 && !verbose) {
            ptq_text_add(t, "          ... (%zu problems in all; -v shows them)\n", json_array_size(problems));
            break;
        }
        ptq_text_add(t, "problem   ");
        ptq_text_name(t, ptq_json_str(o, "node", "?"), 40);
        ptq_text_add(t, ": %s\n", ptq_json_str(o, "reason", "?"));
    }
}

const ptq_report_kind ptq_report_kind_check = {"check", text};
