/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "lib/jobs/accuracy.h"

typedef struct eval {
    ptq_accuracy acc;
    const ptq_samples *samples;
} eval;

static ptq_status add(void *ctx, const ptq_batch *b)
{
    eval *e = ctx;
    return ptq_accuracy_add(&e->acc, e->samples, b);
}

ptq_status ptq_eval(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt,
                    ptq_report **out)
{
    static const ptq_loop_options dflt = PTQ_LOOP_OPTIONS_INIT;
    PTQ_NEEDS(m);
    PTQ_NEEDS(out);
    PTQ_TRY(ptq_check_loop(samples, opt));
    if (!samples->labels)
        return ptq_fail(PTQ_ERR_DATA, "the data set has no labels; name a file with --labels");
    eval e = {.acc = {.nmodels = 1}, .samples = samples};
    ptq_part parts[PTQ_LOOP_PARTS];
    size_t nparts;
    PTQ_TRY(ptq_accuracy_parts(&e.acc, m->graph->outputs.n, parts, &nparts));
    ptq_loop_spec spec = {.models = {m}, .nmodels = 1, .samples = samples, .opt = opt ? opt : &dflt,
                          .what = "evaluating", .fn = add, .ctx = &e, .parts = parts, .nparts = nparts};
    PTQ_TRY(ptq_loop_run(&spec));
    if (e.acc.n == 0.0)
        return ptq_fail(PTQ_ERR_DATA, "the model's first float32 output is not a row of class scores for each label");
    ptq_report *r;
    PTQ_TRY(ptq_report_new("eval", &r));
    ptq_status s = ptq_json_set(r->root, "model", ptq_json_name(m->path));
    if (s == PTQ_OK)
        s = ptq_accuracy_json(&e.acc, 0, r->root);
    if (s != PTQ_OK) {
        ptq_report_free(r);
        return s;
    }
    *out = r;
    return PTQ_OK;
}
