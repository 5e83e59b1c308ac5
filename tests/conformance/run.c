/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/conformance.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ptq/model.h>

#include "lib/graph/pass.h"
#include "lib/jobs/jobs.h"
#include "lib/onnx/onnx_priv.h"

enum { MAX_VALUES = 64, MAX_FILE = 1 << 28 };

/* ---- which operator ---- */

static bool operator_of(const char *dir, char *name, size_t n, bool *listed)
{
    char path[1024], *bytes;
    size_t size;
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    if (ptq_read_file(path, MAX_FILE, &bytes, &size) != PTQ_OK)
        return false;
    pb_model *m = ptq_onnx__model_proto__unpack(NULL, size, (uint8_t *)bytes);
    free(bytes);
    if (m && m->graph && m->graph->n_node > 0) {
        const pb_node *last = m->graph->node[m->graph->n_node - 1];
        const char *op = ptq_onnx_str(last->op_type), *domain = ptq_onnx_domain(last->domain);
        snprintf(name, n, "%s%s%s", domain, *domain ? "." : "", op);
        *listed = ptq_op_find(op, domain, 0) != NULL || ptq_expansion_find(op, domain);
    }
    if (m)
        ptq_onnx__model_proto__free_unpacked(m, NULL);
    return *name != '\0';
}

void conf_operator(const char *dir, char *name, size_t n, bool *listed)
{
    /* A test of a function's body belongs to the operator that the function defines. */
    char plain[1024];
    snprintf(plain, sizeof plain, "%s", dir);
    char *suffix = strstr(plain, "_expanded");
    *name = '\0';
    *listed = false;
    if (suffix)
        *suffix = '\0';
    if (!operator_of(plain, name, n, listed) && !operator_of(dir, name, n, listed))
        snprintf(name, n, "(no model)");
}

/* ---- one data set ---- */

typedef struct set {
    ptq_arena *arena;
    size_t nin, nout;
    ptq_tensor in[MAX_VALUES], want[MAX_VALUES], out[MAX_VALUES];
} set;

/* Some data sets say another shape than their model. */
static bool fits(const ptq_tensor_info *info, const ptq_tensor *t)
{
    bool same = info->rank < 0 || info->rank == t->rank;
    for (int d = 0; same && d < info->rank; d++)
        same = info->dims[d] < 0 || info->dims[d] == t->dims[d];
    return same;
}

/* How the file declares an input or output. */
static bool is_optional(const ptq_graph *g, bool in, size_t k)
{
    const ptq_value *v = in ? g->inputs.v[k] : g->outputs.v[k];
    const ptq_onnx_value_origin *o = v->origin;
    const pb_value *p = !o ? NULL : in ? o->in : o->out;
    return p && p->type && p->type->value_case == PTQ_ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE;
}

/* numpy had no bfloat16 when some tests were written: such data say that they are uint16. */
static ptq_status read_value(ptq_arena *a, const ptq_tensor_info *info, bool optional, const char *path, ptq_tensor *t)
{
    if (info->dtype == PTQ_DT_UNDEFINED)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "%s is no tensor", info->name);
    PTQ_TRY(conf_read_value(a, path, info->dtype, optional, t));
    if (info->dtype == PTQ_DT_BF16 && t->dtype == PTQ_DT_U16)
        t->dtype = PTQ_DT_BF16;
    return fits(info, t) ? PTQ_OK : ptq_fail(PTQ_ERR_UNSUPPORTED, "%s contradicts the model", path);
}

static ptq_status read_set(const ptq_model *m, const char *dir, int number, set *s)
{
    ptq_tensor_info info;
    if (s->nin > MAX_VALUES || s->nout > MAX_VALUES)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "%zu inputs, %zu outputs", s->nin, s->nout);
    for (size_t i = 0; i < s->nin + s->nout; i++) {
        char path[1200];
        bool in = i < s->nin;
        size_t k = in ? i : i - s->nin;
        PTQ_TRY((in ? ptq_model_input : ptq_model_output)(m, k, &info));
        snprintf(path, sizeof path, "%s/test_data_set_%d/%s_%zu.pb", dir, number, in ? "input" : "output", k);
        PTQ_TRY(read_value(s->arena, &info, is_optional(m->graph, in, k), path, in ? &s->in[k] : &s->want[k]));
    }
    return PTQ_OK;
}

/* *differs: the run went well and gave something else. */
static ptq_status run_set(ptq_runner *r, set *s, conf_result *out, bool *differs)
{
    PTQ_TRY(ptq_runner_run(r, s->in, s->nin, s->out, s->nout));
    for (size_t i = 0; i < s->nout && !*differs; i++) {
        char why[300];
        *differs = !conf_same(&s->out[i], &s->want[i], why, sizeof why);
        if (*differs)
            snprintf(out->why, sizeof out->why, "output %zu: %s", i, why);
    }
    return PTQ_OK;
}

static ptq_status run_sets(const ptq_model *m, const char *dir, conf_result *out, bool *differs)
{
    ptq_runner *r;
    ptq_runner_options opt = PTQ_RUNNER_OPTIONS_INIT;
    opt.threads = 1;
    PTQ_TRY(ptq_runner_new(m, &opt, &r));
    ptq_status st = PTQ_OK;
    for (int number = 0; st == PTQ_OK && !*differs; number++) {
        char path[1200];
        snprintf(path, sizeof path, "%s/test_data_set_%d", dir, number);
        if (access(path, R_OK) != 0) {
            st = number ? PTQ_OK : ptq_fail(PTQ_ERR_UNSUPPORTED, "there is no data set");
            break;
        }
        set s = {.arena = ptq_arena_new(), .nin = ptq_model_input_count(m), .nout = ptq_model_output_count(m)};
        st = s.arena ? read_set(m, dir, number, &s) : ptq_fail_nomem();
        if (st == PTQ_OK)
            st = run_set(r, &s, out, differs);
        ptq_arena_free(s.arena);
    }
    ptq_runner_free(r);
    return st;
}

static ptq_status run_model(const char *dir, bool optimized, conf_result *out, bool *differs)
{
    char path[1100];
    ptq_model *m;
    snprintf(path, sizeof path, "%s/model.onnx", dir);
    PTQ_TRY(ptq_model_load(path, NULL, &m));
    ptq_status st = optimized ? ptq_model_optimize(m) : PTQ_OK;
    if (st == PTQ_OK)
        st = run_sets(m, dir, out, differs);
    ptq_model_free(m);
    return st;
}

/* Data that contradict the specification. */
static const char *wrong_data(const char *dir)
{
    static const struct {
        const char *test, *why;
    } rows[] = {
        {"test_qlinearmatmul_2D_int8_float16", "the data wrap where the operator saturates"},
        {"test_qlinearmatmul_2D_int8_float32", "the data wrap where the operator saturates"},
        {"test_qlinearmatmul_3D_int8_float16", "the data wrap where the operator saturates"},
        {"test_qlinearmatmul_3D_int8_float32", "the data wrap where the operator saturates"},
    };
    const char *slash = strrchr(dir, '/'), *name = slash ? slash + 1 : dir;
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        if (strcmp(rows[i].test, name) == 0)
            return rows[i].why;
    return NULL;
}

void conf_run(const char *dir, conf_result *out)
{
    *out = (conf_result){0};
    if (wrong_data(dir)) {
        out->verdict = CONF_UNSUPPORTED;
        snprintf(out->why, sizeof out->why, "%s", wrong_data(dir));
        return;
    }
    for (int optimized = 0; optimized < 2; optimized++) {
        bool differs = false;
        ptq_status s = run_model(dir, optimized, out, &differs);
        if (s == PTQ_OK && !differs)
            continue;
        /* What runs as it is may be beyond the upgrade of opsets. */
        if (optimized && s == PTQ_ERR_UNSUPPORTED)
            continue;
        out->verdict = s == PTQ_ERR_UNSUPPORTED ? CONF_UNSUPPORTED : CONF_FAILED;
        char text[400];
        snprintf(text, sizeof text, "%s", differs ? out->why : ptq_last_error());
        snprintf(out->why, sizeof out->why, "%s%s", optimized ? "optimized: " : "", text);
        return;
    }
}
