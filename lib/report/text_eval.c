/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "lib/report/report.h"

static void share(const json_t *root, const char *key, const char *title, ptq_text *t)
{
    const json_t *o = json_object_get(root, key);
    if (o)
        ptq_text_add(t, "%-16s %.2f %%  (95%% interval %.2f .. %.2f)\n", title, ptq_json_num(o, "percent", NAN),
                     ptq_json_num(o, "ci95_low", NAN), ptq_json_num(o, "ci95_high", NAN));
}

static void text(const json_t *root, int columns, bool verbose, ptq_text *t)
{
    (void)columns;
    (void)verbose;
    bool tokens = json_object_get(root, "tokens") != NULL;
    ptq_text_add(t, "%-16s %.0f\n", tokens ? "tokens" : "samples", ptq_json_num(root, tokens ? "tokens" : "samples", 0));
    share(root, "top1", "top-1", t);
    share(root, "top5", "top-5", t);
    if (tokens)
        ptq_text_add(t, "%-16s %.4f\n", "nats per token", ptq_json_num(root, "nats_per_token", NAN));
    else
        ptq_text_add(t, "%-16s %.4f\n", "cross-entropy", ptq_json_num(root, "cross_entropy", NAN));
}

const ptq_report_kind ptq_report_kind_eval = {"eval", text};
