/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/engine.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exec/plugin.h"
#include "lib/jobs/precision.h"
#include "lib/onnx/onnx_io.h"

static const ptq_engine_options defaults = PTQ_ENGINE_OPTIONS_INIT;

/* "auto" is the GPU where one works. */
static ptq_status choose_backend(const char *wanted, const ptq_backend_ops **out)
{
    char text[256];
    const ptq_backend_ops *cuda = ptq_backend_find("cuda");
    if (!wanted || strcmp(wanted, "auto") == 0)
        wanted = cuda && cuda->probe(text, sizeof text) ? "cuda" : "cpu";
    *out = ptq_backend_find(wanted);
    return *out ? PTQ_OK : ptq_fail(PTQ_ERR_ARG, "there is no backend \"%s\" in this build", wanted);
}

ptq_status ptq_engine_finish(ptq_engine *e, const ptq_backend_ops *ops, const char *precision,
                             const ptq_engine_options *opt)
{
    ptq_precision how;
    PTQ_TRY(ptq_precision_of(precision, e->fast_math, ops, &how));
    e->precision = how.name;
    e->threads = opt->threads;
    e->fast_math = ptq_backend_fast_math(ops, e->fast_math);
    PTQ_TRY(ptq_pool_new(opt->threads, &e->pool));
    PTQ_TRY(ptq_model_load_memory(e->bytes, e->nbytes, NULL, &e->model));
    PTQ_TRY(ptq_model_optimize(e->model));
    PTQ_TRY(ptq_plugins_check(opt->plugins, opt->nplugins));
    PTQ_TRY(ptq_plugins_infer(e->model->graph, opt->plugins, opt->nplugins));
    bool integer = how.integer && ptq_graph_is_quantized(e->model->graph);
    ptq_executable_options eo = {
        .ops = ops,
        .device = {.pool = e->pool, .isa = opt->isa, .device = opt->device, .fast_math = e->fast_math,
                   .half_products = how.half},
        .lower = {.integer = integer, .nhwc = integer, .float_out = integer, .fuse = true,
                  .rearrange = integer, .plugins = opt->plugins,
                  .nplugins = opt->nplugins}};
    PTQ_TRY(ptq_executable_new(e->model->graph, &eo, &e->exe));
    if (e->exe->ops->kind)
        e->exe->ops->kind(e->exe->backend, e->kind, sizeof e->kind);
    return PTQ_OK;
}

/* ---- measuring ---- */

/* One run, during which the backend measures the kernels of shapes it has not met. */
static ptq_status run_at(ptq_engine *e, ptq_session *s, size_t profile, ptq_extreme which)
{
    const ptq_graph *g = e->model->graph;
    ptq_tensor *in = ptq_calloc(g->inputs.n, sizeof *in), *out = ptq_calloc(g->outputs.n, sizeof *out);
    ptq_status st = in && out ? PTQ_OK : ptq_fail_nomem();
    if (st == PTQ_OK)
        ptq_profile_shapes(e, profile, which, in);
    for (size_t i = 0; i < g->inputs.n && st == PTQ_OK; i++) {
        st = ptq_tensor_alloc(&in[i]);
        if (st == PTQ_OK)
            ptq_noise(g->inputs.v[i], 0, &in[i]); /* 0 is an index of any table */
    }
    if (st == PTQ_OK)
        st = ptq_session_run(s, in, g->inputs.n, out, g->outputs.n);
    for (size_t i = 0; in && i < g->inputs.n; i++)
        free(in[i].data);
    free(in);
    free(out);
    return st;
}

static ptq_status measure(ptq_engine *e)
{
    ptq_session *s;
    ptq_session_options so = {.device = {.pool = e->pool}};
    PTQ_TRY(ptq_session_on(e->exe, &so, &s));
    ptq_status st = PTQ_OK;
    for (size_t p = 0; p < e->nprofiles && st == PTQ_OK; p++)
        for (int w = PTQ_AT_MIN; w <= PTQ_AT_MAX && st == PTQ_OK; w++) {
            st = run_at(e, s, p, (ptq_extreme)w);
            if (st == PTQ_ERR_NOMEM)
                st = ptq_fail_prefix(st, "profile %zu is too large for this device", p);
        }
    ptq_session_free(s);
    return st;
}

/* Measures what the cache does not know; the choices are fixed from then on. */
static ptq_status tune(ptq_engine *e, const ptq_engine_options *opt)
{
    const ptq_backend_ops *ops = e->exe->ops;
    char *cached = NULL, *text = NULL;
    if (!ops->timings)
        return PTQ_OK;
    if (opt->timing_cache)
        PTQ_TRY(ptq_timing_cache_read(opt->timing_cache, e->kind, &cached));
    ptq_status s = ops->use_timings(e->exe->backend, cached, opt->no_tuning);
    free(cached);
    PTQ_TRY(s);
    if (opt->no_tuning)
        return PTQ_OK;
    PTQ_TRY(measure(e));
    if (opt->timing_cache) {
        PTQ_TRY(ops->timings(e->exe->backend, &text));
        s = ptq_timing_cache_write(opt->timing_cache, e->kind, text);
        free(text);
        PTQ_TRY(s);
    }
    return ops->use_timings(e->exe->backend, NULL, true);
}

ptq_status ptq_engine_build_on(const ptq_backend_ops *ops, const ptq_model *m, const ptq_engine_options *opt,
                               ptq_engine **out)
{
    ptq_engine *e = ptq_calloc(1, sizeof *e);
    if (!e)
        return ptq_fail_nomem();
    opt = opt ? opt : &defaults;
    ptq_status s = ops ? PTQ_OK : choose_backend(opt->backend, &ops);
    if (s == PTQ_OK)
        s = ptq_model_save_memory(m, &e->owned, &e->nbytes);
    e->bytes = e->owned;
    e->fast_math = opt->fast_math;
    if (s == PTQ_OK)
        s = ptq_engine_finish(e, ops, opt->precision, opt);
    if (s == PTQ_OK)
        s = ptq_profiles_set(e, opt->profiles, opt->nprofiles);
    if (s == PTQ_OK)
        s = tune(e, opt);
    if (s != PTQ_OK) {
        ptq_engine_free(e);
        return s;
    }
    *out = e;
    return PTQ_OK;
}

ptq_status ptq_engine_build(const ptq_model *m, const ptq_engine_options *opt, ptq_engine **out)
{
    return ptq_engine_build_on(NULL, m, opt, out);
}

void ptq_engine_free(ptq_engine *e)
{
    if (!e)
        return;
    ptq_executable_free(e->exe);
    ptq_pool_free(e->pool);
    ptq_model_free(e->model);
    free(e->ranges);
    free(e->owned);
    free(e);
}

/* ---- asking ---- */

size_t ptq_engine_input_count(const ptq_engine *e)
{
    return ptq_model_input_count(e->model);
}

size_t ptq_engine_output_count(const ptq_engine *e)
{
    return ptq_model_output_count(e->model);
}

ptq_status ptq_engine_input(const ptq_engine *e, size_t i, ptq_tensor_info *info)
{
    return ptq_model_input(e->model, i, info);
}

ptq_status ptq_engine_output(const ptq_engine *e, size_t i, ptq_tensor_info *info)
{
    return ptq_model_output(e->model, i, info);
}

size_t ptq_engine_profile_count(const ptq_engine *e)
{
    return e->nprofiles;
}

ptq_status ptq_engine_range(const ptq_engine *e, size_t profile, size_t i, ptq_shape_range *range)
{
    size_t n = e->model->graph->inputs.n;
    if (profile >= e->nprofiles || i >= n)
        return ptq_fail(PTQ_ERR_ARG, "the engine has %zu profiles of %zu inputs", e->nprofiles, n);
    *range = e->ranges[profile * n + i];
    return PTQ_OK;
}

const char *ptq_engine_backend(const ptq_engine *e)
{
    return e->exe->ops->name;
}

const char *ptq_engine_precision(const ptq_engine *e)
{
    return e->precision;
}

bool ptq_engine_fast_math(const ptq_engine *e)
{
    return e->fast_math;
}
