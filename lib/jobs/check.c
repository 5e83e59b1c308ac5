/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/check.h"

enum { SAMPLES = 8 };

static ptq_status fill(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt, json_t *root)
{
    size_t n = opt->samples ? opt->samples : SAMPLES;
    PTQ_TRY(ptq_json_set(root, "model", ptq_json_name(m->path)));
    PTQ_TRY(ptq_json_set(root, "sha256", json_string(m->sha256)));
    PTQ_TRY(ptq_json_set(root, "nodes", json_integer(m->graph->nnodes)));
    PTQ_TRY(ptq_check_params(m->graph, root));
    if (!samples || !ptq_graph_is_quantized(m->graph))
        return ptq_json_set(root, "simulation", json_null());
    return ptq_check_run(m, samples, opt, n < samples->count ? n : samples->count, root);
}

ptq_status ptq_model_check(const ptq_model *m, const ptq_samples *samples, const ptq_loop_options *opt,
                           ptq_report **out)
{
    static const ptq_loop_options dflt = PTQ_LOOP_OPTIONS_INIT;
    ptq_report *r;
    PTQ_NEEDS(m);
    PTQ_NEEDS(out);
    opt = opt ? opt : &dflt;
    if (samples)
        PTQ_TRY(ptq_check_loop(samples, opt));
    if (!m->optimized)
        return ptq_fail(PTQ_ERR_ARG, "the model must be optimized before it is checked");
    PTQ_TRY(ptq_report_new("check", &r));
    ptq_status s = fill(m, samples, opt, r->root);
    if (s != PTQ_OK) {
        ptq_report_free(r);
        return s;
    }
    *out = r;
    return PTQ_OK;
}
