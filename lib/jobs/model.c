/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exec/session.h"
#include "lib/graph/pass.h"
#include "lib/jobs/jobs.h"
#include "lib/jobs/precision.h"
#include "lib/onnx/onnx_io.h"

const char *ptq_version(void)
{
    return PACKAGE_VERSION;
}

ptq_status ptq_model_wrap(ptq_graph *g, ptq_model **out)
{
    ptq_model *m = calloc(1, sizeof *m);
    if (m)
        m->path = strdup("");
    if (!m || !m->path) {
        free(m);
        ptq_graph_free(g);
        return ptq_fail_nomem();
    }
    m->graph = g;
    m->opset = g->opset;
    m->nodes = g->nnodes;
    *out = m;
    return PTQ_OK;
}

static ptq_onnx_load_options load_options(const ptq_load_options *opt)
{
    return (ptq_onnx_load_options){.memory_limit = opt ? opt->memory_limit : 0, .inline_calls = true};
}

/* Forms of before opset 7, and operators that are others put together, become those that run. */
static ptq_status settle(ptq_graph *g)
{
    PTQ_TRY(ptq_graph_renew(g));
    return ptq_graph_expand(g);
}

ptq_status ptq_model_load(const char *path, const ptq_load_options *opt, ptq_model **out)
{
    ptq_onnx_load_options lo = load_options(opt);
    ptq_graph *g;
    ptq_model *m;
    PTQ_NEEDS(path);
    PTQ_NEEDS(out);
    PTQ_OPTIONS(opt);
    PTQ_TRY(ptq_onnx_load(path, &lo, &g));
    ptq_status s = settle(g);
    if (s != PTQ_OK) {
        ptq_graph_free(g);
        return ptq_fail_prefix(s, "%s", path);
    }
    PTQ_TRY(ptq_model_wrap(g, &m));
    char *copy = strdup(path);
    if (!copy) {
        ptq_model_free(m);
        return ptq_fail_nomem();
    }
    free(m->path);
    m->path = copy;
    ptq_onnx_digest(m->graph, m->sha256, &m->file_bytes);
    *out = m;
    return PTQ_OK;
}

ptq_status ptq_model_load_memory(const void *bytes, size_t n, const ptq_load_options *opt, ptq_model **out)
{
    ptq_onnx_load_options lo = load_options(opt);
    ptq_graph *g;
    PTQ_NEEDS(bytes);
    PTQ_NEEDS(out);
    PTQ_OPTIONS(opt);
    ptq_status s = ptq_onnx_load_memory(bytes, n, NULL, &lo, &g);
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "model in memory");
    s = settle(g);
    if (s != PTQ_OK) {
        ptq_graph_free(g);
        return ptq_fail_prefix(s, "model in memory");
    }
    PTQ_TRY(ptq_model_wrap(g, out));
    (*out)->file_bytes = n;
    return PTQ_OK;
}

void ptq_model_free(ptq_model *m)
{
    if (!m)
        return;
    ptq_graph_free(m->graph);
    free(m->path);
    free(m);
}

ptq_status ptq_model_optimize(ptq_model *m)
{
    PTQ_NEEDS(m);
    if (m->optimized)
        return PTQ_OK;
    ptq_status s = m->graph->opset < 13 ? ptq_graph_upgrade(m->graph, 13) : PTQ_OK;
    ptq_pass_ctx ctx = {.graph = m->graph, .eval = ptq_exec_eval_node, .fold_limit = 64u << 20};
    if (s == PTQ_OK)
        s = ptq_passes_run(&ctx);
    if (s != PTQ_OK)
        return m->path[0] ? ptq_fail_prefix(s, "%s", m->path) : s;
    m->optimized = true;
    return PTQ_OK;
}

ptq_status ptq_model_save(const ptq_model *m, const char *path, bool force)
{
    PTQ_NEEDS(m);
    PTQ_NEEDS(path);
    const char *not_over[] = {m->path};
    ptq_onnx_save_options so = {.force = force, .not_over = not_over, .n_not_over = m->path[0] != '\0'};
    return ptq_onnx_save(m->graph, path, &so);
}

ptq_status ptq_model_save_memory(const ptq_model *m, void **bytes, size_t *n)
{
    PTQ_NEEDS(m);
    PTQ_NEEDS(bytes);
    PTQ_NEEDS(n);
    return ptq_onnx_save_memory(m->graph, bytes, n);
}

ptq_status ptq_model_bytes(const ptq_model *m, size_t *out)
{
    void *bytes;
    size_t n;
    if (m->file_bytes) {
        *out = m->file_bytes;
        return PTQ_OK;
    }
    PTQ_TRY(ptq_onnx_save_memory(m->graph, &bytes, &n));
    free(bytes);
    *out = n;
    return PTQ_OK;
}

size_t ptq_model_input_count(const ptq_model *m)
{
    return m->graph->inputs.n;
}

size_t ptq_model_output_count(const ptq_model *m)
{
    return m->graph->outputs.n;
}

static ptq_status info_of(const ptq_graph *g, ptq_value *const *list, size_t n, size_t i, ptq_tensor_info *info)
{
    if (i >= n)
        return ptq_fail(PTQ_ERR_ARG, "the model has %zu of these, %zu was asked for", n, i);
    const ptq_value *v = list[i];
    memset(info, 0, sizeof *info);
    info->name = v->name;
    info->dtype = v->dtype;
    info->rank = v->shape.rank;
    for (int d = 0; d < v->shape.rank; d++) {
        ptq_dim x = v->shape.dims[d];
        info->dims[d] = ptq_dim_known(x) ? x.add : -1;
        if (x.sym > 0 && x.mul == 1 && x.add == 0)
            info->dim_names[d] = ptq_symbol_name(g->syms, x.sym);
    }
    return PTQ_OK;
}

ptq_status ptq_model_input(const ptq_model *m, size_t i, ptq_tensor_info *info)
{
    PTQ_NEEDS(m);
    PTQ_NEEDS(info);
    return info_of(m->graph, m->graph->inputs.v, m->graph->inputs.n, i, info);
}

ptq_status ptq_model_output(const ptq_model *m, size_t i, ptq_tensor_info *info)
{
    PTQ_NEEDS(m);
    PTQ_NEEDS(info);
    return info_of(m->graph, m->graph->outputs.v, m->graph->outputs.n, i, info);
}

int ptq_model_opset(const ptq_model *m)
{
    return m->opset;
}

size_t ptq_model_node_count(const ptq_model *m)
{
    return (size_t)m->nodes;
}

size_t ptq_model_parameters(const ptq_model *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->graph->values.n; i++) {
        const ptq_value *v = m->graph->values.v[i];
        if (v && v->constant && v->uses.n)
            n += (size_t)ptq_tensor_elements(v->constant);
    }
    return n;
}

const char *ptq_model_sha256(const ptq_model *m)
{
    return m->sha256;
}

const char *ptq_model_path(const ptq_model *m)
{
    return m->path;
}

bool ptq_graph_is_quantized(const ptq_graph *g)
{
    static const char *const ops[] = {"QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
                                      "MatMulInteger", "DynamicQuantizeLinear", "QGemm", "QLinearAdd"};
    PTQ_GRAPH_EACH_NODE (g, n)
        for (size_t i = 0; i < PTQ_COUNT(ops); i++)
            if (strcmp(n->op, ops[i]) == 0)
                return true;
    return false;
}

/* ---- running ---- */

struct ptq_runner {
    ptq_pool *pool;
    ptq_session *session;
};

ptq_status ptq_runner_new(const ptq_model *m, const ptq_runner_options *opt, ptq_runner **out)
{
    static const ptq_runner_options dflt = PTQ_RUNNER_OPTIONS_INIT;
    PTQ_NEEDS(m);
    PTQ_NEEDS(out);
    PTQ_OPTIONS(opt);
    if (!opt)
        opt = &dflt;
    ptq_runner *r = calloc(1, sizeof *r);
    if (!r)
        return ptq_fail_nomem();
    ptq_precision how = {NULL, true, false};
    ptq_status s = ptq_pool_new(opt->threads, &r->pool);
    if (s == PTQ_OK)
        s = ptq_precision_on(opt->backend, opt->precision, opt->fast_math, &how);
    bool integer = !opt->simulate && how.integer;
    ptq_session_options so = {
        .backend = opt->backend,
        .device = {.pool = r->pool, .isa = opt->isa, .fast_math = opt->fast_math, .half_products = how.half},
        .lower = {.integer = integer, .nhwc = integer, .float_out = integer, .fuse = !opt->simulate,
                  .rearrange = integer},
    };
    if (s == PTQ_OK)
        s = ptq_session_new(m->graph, &so, &r->session);
    if (s != PTQ_OK) {
        ptq_runner_free(r);
        return s;
    }
    *out = r;
    return PTQ_OK;
}

void ptq_runner_free(ptq_runner *r)
{
    if (!r)
        return;
    ptq_session_free(r->session);
    ptq_pool_free(r->pool);
    free(r);
}

ptq_status ptq_runner_run(ptq_runner *r, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                          size_t noutputs)
{
    PTQ_NEEDS(r);
    PTQ_NEEDS(inputs || !ninputs);
    PTQ_NEEDS(outputs || !noutputs);
    return ptq_session_run(r->session, inputs, ninputs, outputs, noutputs);
}

bool ptq_backend_info(size_t i, const char **name, char *text, size_t n, bool *works)
{
    if (i >= ptq_backend_count())
        return false;
    const ptq_backend_ops *b = ptq_backend_at(i);
    *name = b->name;
    *works = b->probe(text, n);
    return true;
}
