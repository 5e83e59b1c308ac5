/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/sturdy.h"

#include <stdlib.h>
#include <string.h>

struct ptq_sturdy {
    const ptq_graph *g;
    ptq_session_options opt;
    ptq_session *session;
    bool on_cpu;     /* the last resort */
    bool divisible;  /* axis 0 of all inputs and outputs is the batch */
    int64_t most;    /* samples at a time; 0: all */
    ptq_tensor *joined; /* [outputs] of a run in parts; data is owned */
};

static bool is_output(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return v->is_output;
}

static ptq_status take_cpu(ptq_sturdy *s)
{
    ptq_session_free(s->session);
    s->session = NULL;
    s->opt.ops = NULL;
    s->opt.backend = "cpu";
    s->on_cpu = true;
    s->most = 0;
    ptq_log(PTQ_LOG_WARN, "%s: going on with the CPU, which gives %s numbers", ptq_last_error(),
            s->opt.device.fast_math || s->opt.device.half_products ? "exact" : "the same");
    return ptq_session_new(s->g, &s->opt, &s->session);
}

ptq_status ptq_sturdy_new(const ptq_graph *g, const ptq_session_options *opt, ptq_sturdy **out)
{
    char why[256];
    ptq_sturdy *s = ptq_calloc(1, sizeof *s);
    if (!s)
        return ptq_fail_nomem();
    s->g = g;
    s->opt = *opt;
    s->divisible = ptq_batch_proven(g, is_output, NULL, why, sizeof why);
    s->joined = ptq_calloc(g->outputs.n, sizeof *s->joined);
    ptq_status st = s->joined ? ptq_session_new(g, opt, &s->session) : ptq_fail_nomem();
    const ptq_backend_ops *ops = opt->ops ? opt->ops : opt->backend ? ptq_backend_find(opt->backend) : NULL;
    if (s->session)
        ops = ptq_session_ops(s->session);
    s->on_cpu = !ops || !ops->upload; /* memory of its own is what a device can lack */
    if (st == PTQ_ERR_NOMEM && !s->on_cpu && s->joined)
        st = take_cpu(s);
    if (st != PTQ_OK) {
        ptq_sturdy_free(s);
        return st;
    }
    *out = s;
    return PTQ_OK;
}

static void forget_outputs(ptq_sturdy *s)
{
    for (size_t i = 0; s->joined && i < s->g->outputs.n; i++) {
        free(s->joined[i].data);
        s->joined[i] = (ptq_tensor){0};
    }
}

void ptq_sturdy_free(ptq_sturdy *s)
{
    if (!s)
        return;
    forget_outputs(s);
    ptq_session_free(s->session);
    free(s->joined);
    free(s);
}

/* Samples first ... first + n. */
static ptq_tensor rows_of(const ptq_tensor *t, int64_t first, int64_t n)
{
    ptq_tensor v = *t;
    size_t one = t->dims[0] > 0 ? t->nbytes / (size_t)t->dims[0] : 0;
    v.dims[0] = n;
    v.nbytes = one * (size_t)n;
    v.data = (char *)t->data + one * (size_t)first;
    return v;
}

static ptq_status keep_rows(ptq_sturdy *s, const ptq_tensor *out, int64_t first, int64_t total)
{
    for (size_t i = 0; i < s->g->outputs.n; i++) {
        ptq_tensor *j = &s->joined[i];
        size_t one = out[i].nbytes / (size_t)out[i].dims[0];
        if (!j->data) {
            *j = out[i];
            j->data = NULL;
            j->dims[0] = total;
            PTQ_TRY(ptq_tensor_alloc(j));
        }
        memcpy((char *)j->data + one * (size_t)first, out[i].data, out[i].nbytes);
    }
    return PTQ_OK;
}

/* n samples in parts of s->most. */
static ptq_status run_parts(ptq_sturdy *s, const ptq_tensor *in, size_t nin, ptq_tensor *out, size_t nout, int64_t n)
{
    ptq_tensor *part = ptq_calloc(nin, sizeof *part);
    ptq_status st = part ? PTQ_OK : ptq_fail_nomem();
    forget_outputs(s);
    for (int64_t at = 0; at < n && st == PTQ_OK; at += s->most) {
        int64_t rows = n - at < s->most ? n - at : s->most;
        for (size_t i = 0; i < nin; i++)
            part[i] = rows_of(&in[i], at, rows);
        st = ptq_session_run(s->session, part, nin, out, nout);
        if (st == PTQ_OK)
            st = keep_rows(s, out, at, n);
    }
    free(part);
    for (size_t i = 0; i < nout && st == PTQ_OK; i++)
        out[i] = s->joined[i];
    return st;
}

ptq_status ptq_sturdy_run(ptq_sturdy *s, const ptq_tensor *in, size_t nin, ptq_tensor *out, size_t nout)
{
    int64_t n = s->divisible && nin > 0 && in[0].rank > 0 ? in[0].dims[0] : 1;
    for (;;) {
        bool parts = s->most > 0 && s->most < n;
        ptq_status st = parts ? run_parts(s, in, nin, out, nout, n) : ptq_session_run(s->session, in, nin, out, nout);
        int64_t now = parts ? s->most : n;
        if (st != PTQ_ERR_NOMEM || s->on_cpu)
            return st;
        if (now > 1) {
            s->most = (now + 1) / 2;
            ptq_session_rest(s->session);
            ptq_log(PTQ_LOG_WARN, "%s: going on with %lld samples at a time", ptq_last_error(), (long long)s->most);
        } else {
            PTQ_TRY(take_cpu(s));
        }
    }
}
