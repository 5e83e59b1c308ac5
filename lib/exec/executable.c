/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/control.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exec/halves.h"
#include "lib/exec/rearrange.h"

/* All steps without a kernel in one message: operators in order of appearance, with an example. */
static ptq_status check_support(ptq_executable *s)
{
    enum { MAX = 24 };
    const char *ops[MAX];
    char text[1600];
    size_t nops = 0, more = 0, at = 0;
    for (size_t i = 0; i < s->p->steps.n; i++) {
        const ptq_step *st = &s->p->steps.v[i];
        const char *why = NULL;
        if (s->control[i]) { /* its subgraphs have been asked */
            s->on_host[i] = s->remote;
            continue;
        }
        if (s->ops->supports(s->backend, s->p, st, &why))
            continue;
        if (s->remote && s->host_ops->supports(s->host, s->p, st, &why)) {
            s->on_host[i] = true;
            continue;
        }
        size_t k = 0;
        while (k < nops && strcmp(ops[k], st->node->op) != 0)
            k++;
        if (k < nops)
            continue;
        if (nops == MAX || at + 200 > sizeof text) {
            more++;
            continue;
        }
        ops[nops++] = st->node->op;
        const char *dom = st->node->domain;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s%s%.60s (node %.60s%s%.60s)",
                               at ? ", " : "", dom, *dom ? "." : "", st->node->op, st->name,
                               why ? ": " : "", why ? why : "");
        at = at < sizeof text ? at : sizeof text - 1;
    }
    if (!nops)
        return PTQ_OK;
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "backend %s cannot run %zu of the model's operators: %s%s",
                    s->ops->name, nops + more, text, more ? ", ..." : "");
}

static ptq_status open_backend(const ptq_executable_options *opt, ptq_executable *e)
{
    const char *name = ptq_backend_or_cpu(opt->backend);
    e->ops = opt->ops ? opt->ops : ptq_backend_find(name);
    if (!e->ops)
        return ptq_fail(PTQ_ERR_ARG, "there is no backend \"%s\"", name);
    PTQ_TRY(e->ops->open(&e->device, &e->backend));
    e->remote = e->ops->upload != NULL;
    if (!e->remote)
        return PTQ_OK;
    e->host_ops = ptq_backend_find("cpu");
    return e->host_ops->open(&e->device, &e->host);
}

static ptq_status make_arrays(ptq_executable *e)
{
    e->state = ptq_calloc(e->p->steps.n, sizeof *e->state);
    e->control = ptq_calloc(e->p->steps.n, sizeof(ptq_control *));
    e->on_host = ptq_calloc(e->p->steps.n, sizeof *e->on_host);
    e->host_inputs = ptq_calloc(e->p->steps.n, sizeof *e->host_inputs);
    e->constant = ptq_calloc(e->p->values.n, sizeof *e->constant);
    return e->state && e->control && e->on_host && e->host_inputs && e->constant ? PTQ_OK : ptq_fail_nomem();
}

/* Constants that the kernel of step i reads on the device. */
static ptq_status upload_constants(ptq_executable *e, size_t i)
{
    const ptq_step *st = &e->p->steps.v[i];
    for (int k = 0; k < st->nin; k++) {
        const ptq_tensor *t = st->in[k] < 0 ? NULL : e->p->values.v[st->in[k]].constant;
        if (!t || e->constant[st->in[k]] || (k < 32 && e->host_inputs[i] >> k & 1))
            continue;
        void *p;
        PTQ_TRY(e->ops->alloc(e->backend, t->nbytes ? t->nbytes : 1, &p));
        e->constant[st->in[k]] = p;
        PTQ_TRY(e->ops->upload(e->backend, p, t->data, t->nbytes));
    }
    return PTQ_OK;
}

static ptq_status prepare_bodies(ptq_executable *e, const ptq_executable_options *opt)
{
    for (size_t i = 0; i < e->p->steps.n; i++)
        if (ptq_step_is_control(&e->p->steps.v[i]))
            PTQ_TRY(ptq_control_new(&e->p->steps.v[i], e->p, opt, &e->control[i]));
    return PTQ_OK;
}

/* What has been packed or uploaded is seldom read again; *read counts it. */
static void rest_constants(const ptq_executable *e, const ptq_step *st, size_t *read)
{
    enum { OFTEN = 16 << 20 };
    for (int i = 0; i < st->nin; i++) {
        const ptq_tensor *t = st->in[i] < 0 ? NULL : e->p->values.v[st->in[i]].constant;
        *read += t ? t->nbytes : 0;
    }
    if (*read < OFTEN && st != &e->p->steps.v[e->p->steps.n - 1])
        return;
    ptq_graph_rest_all(e->g);
    ptq_program_rest(e->p);
    *read = 0;
}

static ptq_status prepare_steps(ptq_executable *e)
{
    size_t read = 0;
    for (size_t i = 0; i < e->p->steps.n; i++) {
        const ptq_step *st = &e->p->steps.v[i];
        if (e->control[i])
            continue;
        const ptq_backend_ops *ops = e->on_host[i] ? e->host_ops : e->ops;
        if (ops->over && !e->remote)
            e->p->steps.v[i].over = ops->over(st);
        if (ops->prepare)
            PTQ_TRY(ops->prepare(e->on_host[i] ? e->host : e->backend, e->p, st, &e->state[i]));
        if (e->remote && !e->on_host[i]) {
            if (ops->host_inputs)
                e->host_inputs[i] = ops->host_inputs(e->backend, e->p, st);
            PTQ_TRY(upload_constants(e, i));
        }
        rest_constants(e, st, &read);
    }
    return PTQ_OK;
}

static ptq_status lower(const ptq_lower_options *given, ptq_executable *e)
{
    ptq_lower_options opt = *given;
    opt.sums = opt.fuse && e->ops->conv_sums;
    opt.sums_apart = opt.sums && e->ops->conv_sums_apart;
    opt.pools = e->ops->conv_pools;
    if (!opt.rearrange || !opt.integer || !opt.fuse || opt.keep)
        return ptq_lower(e->g, &opt, &e->p);
    PTQ_TRY(ptq_graph_clone(e->g, &e->own));
    PTQ_TRY(ptq_rearrange(e->own));
    return ptq_lower(e->own, &opt, &e->p);
}

ptq_status ptq_executable_new(const ptq_graph *g, const ptq_executable_options *opt, ptq_executable **out)
{
    ptq_executable *e = ptq_calloc(1, sizeof *e);
    if (!e)
        return ptq_fail_nomem();
    e->g = g;
    e->device = opt->device;
    ptq_status s = open_backend(opt, e);
    if (s == PTQ_OK)
        s = lower(&opt->lower, e);
    if (s == PTQ_OK)
        s = make_arrays(e);
    if (s == PTQ_OK)
        s = prepare_bodies(e, opt);
    if (s == PTQ_OK)
        s = check_support(e);
    if (s == PTQ_OK)
        s = ptq_halves_mark(e, &opt->lower);
    if (s == PTQ_OK)
        ptq_half_products_mark(e);
    if (s == PTQ_OK)
        s = prepare_steps(e);
    if (s != PTQ_OK) {
        ptq_executable_free(e);
        return s;
    }
    *out = e;
    return PTQ_OK;
}

void ptq_executable_free(ptq_executable *e)
{
    if (!e)
        return;
    for (size_t i = 0; e->p && e->state && i < e->p->steps.n; i++) {
        bool host = e->on_host && e->on_host[i];
        const ptq_backend_ops *ops = host ? e->host_ops : e->ops;
        if (e->control && e->control[i])
            ptq_control_free(e->control[i]);
        else if (ops->release)
            ops->release(host ? e->host : e->backend, &e->p->steps.v[i], e->state[i]);
    }
    for (size_t v = 0; e->p && e->constant && v < e->p->values.n; v++)
        if (e->constant[v])
            e->ops->free(e->backend, e->constant[v]);
    if (e->backend)
        e->ops->close(e->backend);
    if (e->host)
        e->host_ops->close(e->host);
    ptq_program_free(e->p);
    ptq_graph_free(e->own);
    free(e->state);
    free(e->control);
    free(e->on_host);
    free(e->host_inputs);
    free(e->constant);
    free(e);
}
