/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/exec/copies.h"
#include "lib/exec/session.h"

enum { BINDINGS = 4 };

struct ptq_session {
    const ptq_graph *g;
    ptq_session_options opt;
    ptq_program *p;
    const ptq_backend_ops *ops;
    ptq_backend *backend;
    void **state; /* [steps] */
    /* A backend with memory of its own (remote): the steps that it has no kernel for run on the
     * CPU, the copies say on which side each value is good. */
    bool remote;
    const ptq_backend_ops *host_ops;
    ptq_backend *host;
    bool *on_host; /* [steps] */
    ptq_copies copies;
    bool *tap;    /* [values] */
    ptq_resolver resolver;
    ptq_binding *bindings[BINDINGS];
    uint64_t clock;
    void *block;
    size_t block_bytes;
    const ptq_tensor **in; /* arguments of the step that runs */
    ptq_tensor *in_t;
    ptq_layout *in_layout, *out_layout;
    ptq_tensor *out;
    void **owned; /* [values] bytes of dynamic values */
    const ptq_tensor **tensor; /* [values] for shapes that depend on data */
    size_t dynamic_bytes, dynamic_peak;
    void *plain; /* a tapped NHWC value in PLAIN order */
    size_t plain_bytes;
    double *seconds; /* [steps] */
    int64_t *runs;
    bool poison;
};

/* ---- making one ---- */

static bool keep_tapped(void *ctx, const ptq_value *v)
{
    const ptq_session *s = ctx;
    if (s->opt.lower.keep && s->opt.lower.keep(s->opt.lower.keep_ctx, v))
        return true;
    return s->opt.tap && (!s->opt.tap_select || s->opt.tap_select(s->opt.tap_ctx, v));
}

/* All steps without a kernel in one message: operators in order of appearance, with an example. */
static ptq_status check_support(ptq_session *s)
{
    enum { MAX = 24 };
    const char *ops[MAX];
    char text[1600];
    size_t nops = 0, more = 0, at = 0;
    for (size_t i = 0; i < s->p->steps.n; i++) {
        const ptq_step *st = &s->p->steps.v[i];
        const char *why = NULL;
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

static ptq_status session_arrays(ptq_session *s)
{
    size_t nv = s->p->values.n, ns = s->p->steps.n, nin = 1, nout = 1;
    for (size_t i = 0; i < ns; i++) {
        nin = (size_t)s->p->steps.v[i].nin > nin ? (size_t)s->p->steps.v[i].nin : nin;
        nout = (size_t)s->p->steps.v[i].nout > nout ? (size_t)s->p->steps.v[i].nout : nout;
    }
    s->state = ptq_calloc(ns, sizeof *s->state);
    s->tap = ptq_calloc(nv, sizeof *s->tap);
    s->on_host = ptq_calloc(ns, sizeof *s->on_host);
    s->in = ptq_calloc(nin, sizeof *s->in);
    s->in_t = ptq_calloc(nin, sizeof *s->in_t);
    s->in_layout = ptq_calloc(nin, sizeof *s->in_layout);
    s->out = ptq_calloc(nout, sizeof *s->out);
    s->out_layout = ptq_calloc(nout, sizeof *s->out_layout);
    s->owned = ptq_calloc(nv, sizeof *s->owned);
    s->tensor = ptq_calloc(nv, sizeof *s->tensor);
    s->seconds = ptq_calloc(ns, sizeof *s->seconds);
    s->runs = ptq_calloc(ns, sizeof *s->runs);
    if (!s->state || !s->tap || !s->on_host || !s->in || !s->in_t || !s->in_layout || !s->out || !s->out_layout || !s->owned ||
        !s->tensor || !s->seconds || !s->runs)
        return ptq_fail_nomem();
    for (size_t i = 0; i < nv; i++) {
        const ptq_pvalue *v = &s->p->values.v[i];
        s->tap[i] = s->opt.tap && v->value && !v->constant &&
                    (!s->opt.tap_select || s->opt.tap_select(s->opt.tap_ctx, v->value));
    }
    return ptq_resolver_init(&s->resolver, s->p);
}

static ptq_status session_open(ptq_session *s)
{
    const char *name = s->opt.backend && strcmp(s->opt.backend, "auto") != 0 ? s->opt.backend : "cpu";
    s->ops = s->opt.ops ? s->opt.ops : ptq_backend_find(name);
    if (!s->ops)
        return ptq_fail(PTQ_ERR_ARG, "there is no backend \"%s\"", name);
    PTQ_TRY(s->ops->open(&s->opt.device, &s->backend));
    s->remote = s->ops->upload != NULL;
    if (!s->remote)
        return PTQ_OK;
    s->host_ops = ptq_backend_find("cpu");
    return s->host_ops->open(&s->opt.device, &s->host);
}

/* The backend that runs step i. */
static const ptq_backend_ops *ops_of(const ptq_session *s, size_t i, ptq_backend **b)
{
    *b = s->on_host && s->on_host[i] ? s->host : s->backend;
    return s->on_host && s->on_host[i] ? s->host_ops : s->ops;
}

static ptq_status prepare_steps(ptq_session *s)
{
    for (size_t i = 0; i < s->p->steps.n; i++) {
        ptq_backend *b;
        const ptq_backend_ops *ops = ops_of(s, i, &b);
        if (ops->prepare)
            PTQ_TRY(ops->prepare(b, s->p, &s->p->steps.v[i], &s->state[i]));
    }
    return s->remote ? ptq_copies_init(s->ops, s->backend, s->p, &s->copies) : PTQ_OK;
}

ptq_status ptq_session_new(const ptq_graph *g, const ptq_session_options *opt, ptq_session **out)
{
    ptq_session *s = ptq_calloc(1, sizeof *s);
    if (!s)
        return ptq_fail_nomem();
    s->g = g;
    if (opt)
        s->opt = *opt;
    const char *poison = getenv("PTQ_POISON");
    s->poison = poison && strcmp(poison, "1") == 0;
    ptq_lower_options lower = s->opt.lower;
    lower.keep = keep_tapped;
    lower.keep_ctx = s;
    ptq_status st = session_open(s);
    if (st == PTQ_OK)
        st = ptq_lower(g, &lower, &s->p);
    if (st == PTQ_OK)
        st = session_arrays(s);
    if (st == PTQ_OK)
        st = check_support(s);
    if (st == PTQ_OK)
        st = prepare_steps(s);
    if (st != PTQ_OK) {
        ptq_session_free(s);
        return st;
    }
    *out = s;
    return PTQ_OK;
}

static void free_dynamic(ptq_session *s, size_t v)
{
    free(s->owned[v]);
    s->owned[v] = NULL;
}

void ptq_session_free(ptq_session *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->p && s->state && i < s->p->steps.n; i++) {
        ptq_backend *b;
        const ptq_backend_ops *ops = ops_of(s, i, &b);
        if (ops->release)
            ops->release(b, &s->p->steps.v[i], s->state[i]);
    }
    if (s->copies.v)
        ptq_copies_clear(&s->copies);
    for (size_t i = 0; s->p && s->owned && i < s->p->values.n; i++)
        free_dynamic(s, i);
    for (size_t i = 0; i < BINDINGS; i++)
        if (s->bindings[i])
            ptq_binding_free(s->p, s->bindings[i]);
    ptq_session_rest(s);
    if (s->backend)
        s->ops->close(s->backend);
    if (s->host)
        s->host_ops->close(s->host);
    ptq_resolver_clear(&s->resolver);
    ptq_program_free(s->p);
    free(s->state);
    free(s->tap);
    free(s->on_host);
    free(s->in);
    free(s->in_t);
    free(s->in_layout);
    free(s->out);
    free(s->out_layout);
    free(s->owned);
    free(s->tensor);
    free(s->plain);
    free(s->seconds);
    free(s->runs);
    free(s);
}

/* ---- running ---- */

static ptq_status find_binding(ptq_session *s, const ptq_tensor *in, ptq_binding **out)
{
    size_t oldest = 0;
    s->clock++;
    for (size_t i = 0; i < BINDINGS; i++) {
        ptq_binding *b = s->bindings[i];
        if (b && ptq_binding_matches(b, in, (size_t)s->p->ninputs)) {
            b->used = s->clock;
            *out = b;
            return PTQ_OK;
        }
        if (!b || (s->bindings[oldest] && b->used < s->bindings[oldest]->used))
            oldest = i;
    }
    ptq_binding *b;
    PTQ_TRY(ptq_binding_new(s->p, &s->resolver, in, &b));
    ptq_binding_free(s->p, s->bindings[oldest]);
    s->bindings[oldest] = b;
    b->used = s->clock;
    *out = b;
    return PTQ_OK;
}

void ptq_session_rest(ptq_session *s)
{
    if (s->block)
        s->ops->free(s->backend, s->block);
    s->block = NULL;
    s->block_bytes = 0;
}

/* Asked at every run: an earlier one may have failed here, or the session rested. */
static ptq_status reserve_block(ptq_session *s, const ptq_binding *b)
{
    size_t need = b->block_bytes ? b->block_bytes : 64;
    if (need <= s->block_bytes)
        return PTQ_OK;
    ptq_session_rest(s);
    PTQ_TRY(s->ops->alloc(s->backend, need, &s->block));
    s->block_bytes = need;
    return PTQ_OK;
}

static void set_addresses(ptq_session *s, ptq_binding *b, const ptq_tensor *in)
{
    for (int i = 0; i < s->p->ninputs; i++)
        b->t[s->p->inputs[i]].data = in[i].data;
    for (size_t v = 0; v < s->p->values.n; v++) {
        free_dynamic(s, v);
        if (b->place[v] == PTQ_IN_BLOCK) /* a remote block is only reached through the copies */
            b->t[v].data = s->remote ? s->block : (char *)s->block + b->offset[v];
        else if (b->place[v] == PTQ_IN_DYNAMIC)
            b->t[v] = (ptq_tensor){.dtype = b->type[v].dtype};
        s->tensor[v] = &b->t[v];
    }
    s->dynamic_bytes = 0;
}

/* Shapes that came with the data: types of all inputs are those of the tensors now. */
static ptq_status resolve_late(ptq_session *s, ptq_binding *b, const ptq_step *st, bool host)
{
    ptq_known known = {b->type, b->contents, s->tensor};
    for (int i = 0; s->remote && i < st->nin; i++) { /* integers may tell shapes: they are read here */
        int v = st->in[i];
        if (v >= 0 && (b->t[v].dtype == PTQ_DT_S64 || b->t[v].dtype == PTQ_DT_S32))
            PTQ_TRY(ptq_copies_read_host(&s->copies, b->root[v], b->t[v].nbytes, &b->t[v].data));
    }
    for (int i = 0; i < st->nin; i++)
        if (st->in[i] >= 0 && b->place[st->in[i]] == PTQ_IN_DYNAMIC)
            b->type[st->in[i]] = ptq_type_of(&b->t[st->in[i]]);
    PTQ_TRY(ptq_resolve_step(&s->resolver, s->p, st, &known));
    for (int i = 0; i < st->nout; i++) {
        int v = st->out[i];
        if (v < 0 || b->place[v] != PTQ_IN_DYNAMIC)
            continue;
        b->t[v] = (ptq_tensor){.dtype = s->resolver.out[i].dtype};
        bool view = b->root[v] != v;
        if (!ptq_type_numbers(&s->resolver.out[i], &b->t[v]) || view)
            continue; /* the kernel, which alone knows the shape, allocates */
        if (!host) {
            if (!ptq_tensor_nbytes(b->t[v].dtype, b->t[v].rank, b->t[v].dims, &b->t[v].nbytes))
                return ptq_fail(PTQ_ERR_MODEL, "node %s: output %s is too large", st->name, s->p->values.v[v].name);
            continue;
        }
        PTQ_TRY(ptq_tensor_alloc(&b->t[v]));
        s->owned[v] = b->t[v].data;
    }
    return PTQ_OK;
}

static bool is_late(const ptq_binding *b, const ptq_step *st)
{
    for (int i = 0; i < st->nout; i++)
        if (st->out[i] >= 0 && b->place[st->out[i]] == PTQ_IN_DYNAMIC)
            return true;
    return false;
}

/* Nothing to compute when every output is known to be empty. */
static bool all_empty(const ptq_session *s, const ptq_step *st)
{
    for (int i = 0; i < st->nout; i++)
        if (st->out[i] >= 0 && (!s->out[i].data || ptq_tensor_elements(&s->out[i]) > 0))
            return false;
    return true;
}

/* Bytes of the step's inputs and room for its outputs on the side where it runs. */
static ptq_status move_in(ptq_session *s, const ptq_binding *b, int i, bool host)
{
    const ptq_step *st = &s->p->steps.v[i];
    uint32_t there = !host && s->ops->host_inputs ? s->ops->host_inputs(s->backend, s->p, st) : 0;
    for (int k = 0; k < st->nin; k++) {
        if (st->in[k] < 0)
            continue;
        bool on_host = host || (k < 32 && there >> k & 1);
        int root = b->root[st->in[k]];
        PTQ_TRY((on_host ? ptq_copies_read_host : ptq_copies_read_dev)(&s->copies, root, s->in_t[k].nbytes,
                                                                         &s->in_t[k].data));
    }
    for (int k = 0; k < st->nout; k++)
        if (st->out[k] >= 0 && (!host || b->place[st->out[k]] != PTQ_IN_DYNAMIC))
            PTQ_TRY((host ? ptq_copies_write_host : ptq_copies_write_dev)(&s->copies, st->out[k], s->out[k].nbytes,
                                                                            &s->out[k].data));
    return PTQ_OK;
}

/* Nothing to run: the shapes have told every output. */
static bool all_known(const ptq_session *s, const ptq_binding *b, const ptq_step *st)
{
    for (int k = 0; k < st->nout; k++)
        if (st->out[k] >= 0 && !ptq_contents_known(b, st->out[k]))
            return false;
    return s->remote && st->nout > 0;
}

static ptq_status run_kernel(ptq_session *s, ptq_binding *b, int i)
{
    const ptq_step *st = &s->p->steps.v[i];
    bool host = !s->remote || s->on_host[i];
    if (all_known(s, b, st))
        return PTQ_OK;
    for (int k = 0; k < st->nin; k++) {
        s->in_t[k] = st->in[k] < 0 ? (ptq_tensor){0} : b->t[st->in[k]];
        s->in[k] = st->in[k] < 0 ? NULL : &s->in_t[k];
        s->in_layout[k] = st->in[k] < 0 ? PTQ_LAYOUT_PLAIN : s->p->values.v[st->in[k]].layout;
    }
    for (int k = 0; k < st->nout; k++) {
        int v = st->out[k];
        s->out[k] = v < 0 ? (ptq_tensor){0} : b->t[v];
        s->out_layout[k] = v < 0 ? PTQ_LAYOUT_PLAIN : s->p->values.v[v].layout;
    }
    if (s->remote)
        PTQ_TRY(move_in(s, b, i, host));
    for (int k = 0; k < st->nout && s->poison && host; k++)
        if (s->out[k].data)
            memset(s->out[k].data, 0xFF, s->out[k].nbytes);
    if (all_empty(s, st))
        return PTQ_OK;
    ptq_step_run r = {st, s->state[i], s->in, s->in_layout, s->out, s->out_layout};
    double t0 = s->opt.profile ? ptq_now() : 0.0;
    ptq_backend *backend;
    const ptq_backend_ops *ops = ops_of(s, (size_t)i, &backend);
    ptq_status status = ops->run(backend, &r);
    if (status == PTQ_OK && s->opt.profile) {
        if (s->ops->sync)
            status = s->ops->sync(s->backend);
        s->seconds[i] += ptq_now() - t0;
        s->runs[i]++;
    }
    for (int k = 0; k < st->nout; k++) {
        int v = st->out[k];
        if (v < 0 || b->place[v] != PTQ_IN_DYNAMIC)
            continue;
        b->t[v] = s->out[k];
        if (!host)
            continue;
        s->owned[v] = s->out[k].data;
        if (s->remote)
            ptq_copies_lend_host(&s->copies, v, s->out[k].data);
        s->dynamic_bytes += s->out[k].nbytes;
    }
    if (s->dynamic_bytes > s->dynamic_peak)
        s->dynamic_peak = s->dynamic_bytes;
    return status;
}

static ptq_status run_step(ptq_session *s, ptq_binding *b, int i)
{
    const ptq_step *st = &s->p->steps.v[i];
    if (is_late(b, st))
        PTQ_TRY(resolve_late(s, b, st, !s->remote || s->on_host[i]));
    int v = st->nout > 0 ? st->out[0] : -1;
    if (v < 0 || b->root[v] == v)
        return run_kernel(s, b, i);
    const ptq_tensor *from = &b->t[st->in[0]];
    b->t[v].data = from->data;
    b->t[v].nbytes = from->nbytes;
    size_t nbytes;
    if (!ptq_tensor_nbytes(b->t[v].dtype, b->t[v].rank, b->t[v].dims, &nbytes) ||
        nbytes != from->nbytes)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: the new shape has another number of elements",
                        st->name);
    return PTQ_OK;
}

static void nhwc_to_plain(const ptq_tensor *t, size_t size, char *d)
{
    const char *src = t->data;
    size_t C = (size_t)t->dims[1], hw = (size_t)(t->dims[2] * t->dims[3]);
    for (size_t n = 0; n < (size_t)t->dims[0]; n++)
        for (size_t c = 0; c < C; c++)
            for (size_t i = 0; i < hw; i++)
                memcpy(d + ((n * C + c) * hw + i) * size, src + ((n * hw + i) * C + c) * size, size);
}

static ptq_status tap(ptq_session *s, ptq_binding *b, int v)
{
    const ptq_pvalue *pv = &s->p->values.v[v];
    ptq_tensor t = b->t[v];
    if (s->remote)
        PTQ_TRY(ptq_copies_read_host(&s->copies, b->root[v], t.nbytes, &t.data));
    if (pv->layout == PTQ_LAYOUT_NHWC && t.rank == 4) {
        if (t.nbytes > s->plain_bytes) {
            free(s->plain);
            s->plain = ptq_alloc_aligned(t.nbytes);
            s->plain_bytes = s->plain ? t.nbytes : 0;
            if (!s->plain)
                return ptq_fail_nomem();
        }
        nhwc_to_plain(&t, (size_t)ptq_dtype_bits(t.dtype) / 8, s->plain);
        t.data = s->plain;
    }
    return s->opt.tap(s->opt.tap_ctx, pv, &t);
}

/* Dynamic values go as soon as nothing needs them. */
static void release_after(ptq_session *s, const ptq_binding *b, int i)
{
    const ptq_step *st = &s->p->steps.v[i];
    for (int k = 0; k < st->nin + st->nout; k++) {
        int v = k < st->nin ? st->in[k] : st->out[k - st->nin];
        int root = v < 0 ? -1 : b->root[v];
        if (root < 0 || !s->owned[root] || b->end[root] != i)
            continue;
        s->dynamic_bytes -= b->t[root].nbytes;
        if (s->remote)
            ptq_copies_lend_host(&s->copies, root, NULL);
        free_dynamic(s, (size_t)root);
    }
}

static ptq_status run_all(ptq_session *s, ptq_binding *b)
{
    for (int i = 0; i < s->p->ninputs; i++)
        if (s->tap[s->p->inputs[i]])
            PTQ_TRY(tap(s, b, s->p->inputs[i]));
    for (int i = 0; i < (int)s->p->steps.n; i++) {
        const ptq_step *st = &s->p->steps.v[i];
        PTQ_TRY(run_step(s, b, i));
        for (int k = 0; k < st->nout; k++)
            if (st->out[k] >= 0 && s->tap[st->out[k]])
                PTQ_TRY(tap(s, b, st->out[k]));
        release_after(s, b, i);
    }
    return s->ops->sync ? s->ops->sync(s->backend) : PTQ_OK;
}

ptq_status ptq_session_run(ptq_session *s, const ptq_tensor *inputs, size_t ninputs,
                           ptq_tensor *outputs, size_t noutputs)
{
    ptq_binding *b;
    if (noutputs != (size_t)s->p->noutputs)
        return ptq_fail(PTQ_ERR_ARG, "the model has %d outputs, room for %zu is given",
                        s->p->noutputs, noutputs);
    PTQ_TRY(ptq_check_inputs(s->g, inputs, ninputs));
    PTQ_TRY(find_binding(s, inputs, &b));
    PTQ_TRY(reserve_block(s, b));
    set_addresses(s, b, inputs);
    if (s->remote)
        PTQ_TRY(ptq_copies_start(&s->copies, b, inputs, s->block));
    PTQ_TRY(run_all(s, b));
    for (size_t i = 0; i < noutputs; i++) {
        int v = s->p->outputs[i];
        outputs[i] = b->t[v];
        if (s->remote)
            PTQ_TRY(ptq_copies_read_host(&s->copies, b->root[v], outputs[i].nbytes, &outputs[i].data));
    }
    return s->remote && s->ops->sync ? s->ops->sync(s->backend) : PTQ_OK;
}

const ptq_program *ptq_session_program(const ptq_session *s)
{
    return s->p;
}

double ptq_session_step_seconds(const ptq_session *s, int step, int64_t *runs)
{
    if (step < 0 || (size_t)step >= s->p->steps.n)
        return 0.0;
    if (runs)
        *runs = s->runs[step];
    return s->seconds[step];
}

bool ptq_session_step_on_host(const ptq_session *s, int step)
{
    return step >= 0 && (size_t)step < s->p->steps.n && s->on_host[step];
}

size_t ptq_session_activation_bytes(const ptq_session *s)
{
    return s->block_bytes + s->dynamic_peak;
}
