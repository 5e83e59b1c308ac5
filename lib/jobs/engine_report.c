/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine is made of. */
#include <stdlib.h>
#include <string.h>

#include "lib/jobs/engine.h"
#include "lib/report/report.h"

static ptq_status count_up(json_t *o, const char *key)
{
    return ptq_json_set(o, key, json_integer((json_int_t)ptq_json_num(o, key, 0) + 1));
}

static ptq_status steps_json(const ptq_engine *e, json_t *root)
{
    const ptq_program *p = e->exe->p;
    json_t *kinds = json_object(), *host = json_array(), *remarks = json_array();
    PTQ_TRY(ptq_json_set(root, "steps", kinds));
    PTQ_TRY(ptq_json_set(root, "on_cpu", host));
    PTQ_TRY(ptq_json_set(root, "left_in_float", remarks));
    for (size_t i = 0; i < p->steps.n; i++) {
        const ptq_step *s = &p->steps.v[i];
        PTQ_TRY(count_up(kinds, s->def->name));
        if (!e->exe->remote || !e->exe->on_host[i])
            continue;
        const char *why = NULL;
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(host, o));
        e->exe->ops->supports(e->exe->backend, p, s, &why);
        PTQ_TRY(ptq_json_set(o, "node", ptq_json_name(s->name)));
        PTQ_TRY(ptq_json_set(o, "op", ptq_json_name(s->node ? s->node->op : s->def->name)));
        PTQ_TRY(ptq_json_set(o, "reason", ptq_json_name(why ? why : "?")));
    }
    for (size_t i = 0; i < p->remarks.n; i++) {
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(remarks, o));
        PTQ_TRY(ptq_json_set(o, "node", ptq_json_name(p->remarks.v[i].node->name)));
        PTQ_TRY(ptq_json_set(o, "op", ptq_json_name(p->remarks.v[i].node->op)));
        PTQ_TRY(ptq_json_set(o, "reason", ptq_json_name(p->remarks.v[i].reason)));
    }
    return PTQ_OK;
}

/* Products of floats: those in float16, and with precision fp16 the others with the reason. */
static ptq_status halves_json(const ptq_engine *e, json_t *root)
{
    const ptq_executable *x = e->exe;
    json_t *half = json_array(), *others = json_array();
    PTQ_TRY(ptq_json_set(root, "in_fp16", half));
    PTQ_TRY(ptq_json_set(root, "left_in_fp32", others));
    for (size_t i = 0; i < x->p->steps.n && x->device.half_products; i++) {
        const ptq_step *s = &x->p->steps.v[i];
        const char *why = NULL;
        if (x->control[i] || x->on_host[i] || (!s->half && (x->ops->half_product(x->backend, x->p, s, &why) || !why)))
            continue;
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(s->half ? half : others, o));
        PTQ_TRY(ptq_json_set(o, "node", ptq_json_name(s->name)));
        PTQ_TRY(ptq_json_set(o, "op", ptq_json_name(s->node->op)));
        if (why)
            PTQ_TRY(ptq_json_set(o, "reason", json_string(why)));
    }
    return PTQ_OK;
}

static json_t *shape_json(int rank, const int64_t *dims)
{
    char text[256];
    return json_string(ptq_shape_str(rank, dims, text, sizeof text));
}

static ptq_status profile_json(const ptq_engine *e, size_t profile, json_t *o)
{
    size_t ni = e->model->graph->inputs.n, alive = 0;
    ptq_session *s = NULL;
    ptq_session_options so = {.device = {.pool = e->pool}};
    ptq_tensor *in = ptq_calloc(ni, sizeof *in);
    json_t *inputs = json_array();
    ptq_status st = in ? ptq_json_set(o, "inputs", inputs) : ptq_fail_nomem();
    for (size_t i = 0; i < ni && st == PTQ_OK; i++) {
        const ptq_shape_range *r = &e->ranges[profile * ni + i];
        json_t *one = json_object();
        st = ptq_json_push(inputs, one);
        st = st == PTQ_OK ? ptq_json_set(one, "name", ptq_json_name(r->input)) : st;
        st = st == PTQ_OK ? ptq_json_set(one, "min", shape_json(r->rank, r->min)) : st;
        st = st == PTQ_OK ? ptq_json_set(one, "opt", shape_json(r->rank, r->opt)) : st;
        st = st == PTQ_OK ? ptq_json_set(one, "max", shape_json(r->rank, r->max)) : st;
    }
    if (st == PTQ_OK)
        st = ptq_session_on(e->exe, &so, &s);
    if (st == PTQ_OK) {
        ptq_profile_shapes(e, profile, PTQ_AT_MAX, in);
        st = ptq_session_reserve(s, in, ni);
    }
    if (st == PTQ_OK) {
        alive = ptq_session_alive_bytes(s);
        st = ptq_json_set(o, "activation_bytes", ptq_json_real((double)ptq_session_activation_bytes(s)));
    }
    if (st == PTQ_OK)
        st = ptq_json_set(o, "alive_bytes", ptq_json_real((double)alive));
    ptq_session_free(s);
    free(in);
    return st;
}

static ptq_status fill(const ptq_engine *e, json_t *root)
{
    json_t *profiles = json_array();
    PTQ_TRY(ptq_json_set(root, "backend", json_string(e->exe->ops->name)));
    PTQ_TRY(ptq_json_set(root, "device", ptq_json_name(e->kind)));
    PTQ_TRY(ptq_json_set(root, "precision", json_string(e->precision)));
    PTQ_TRY(ptq_json_set(root, "fast_math", json_boolean(e->fast_math)));
    PTQ_TRY(ptq_json_set(root, "model_bytes", ptq_json_real((double)e->nbytes)));
    PTQ_TRY(steps_json(e, root));
    PTQ_TRY(halves_json(e, root));
    PTQ_TRY(ptq_json_set(root, "profiles", profiles));
    for (size_t i = 0; i < e->nprofiles; i++) {
        json_t *o = json_object();
        PTQ_TRY(ptq_json_push(profiles, o));
        PTQ_TRY(profile_json(e, i, o));
    }
    return PTQ_OK;
}

ptq_status ptq_engine_describe(const ptq_engine *e, ptq_report **out)
{
    ptq_report *r;
    PTQ_TRY(ptq_report_new("engine", &r));
    ptq_status s = fill(e, r->root);
    if (s != PTQ_OK) {
        ptq_report_free(r);
        return s;
    }
    *out = r;
    return PTQ_OK;
}
