/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/core/sequence.h"
#include "lib/exec/session_impl.h"

/* ---- making one ---- */

static bool keep_tapped(void *ctx, const ptq_value *v)
{
    const ptq_session *s = ctx;
    if (s->opt.lower.keep && s->opt.lower.keep(s->opt.lower.keep_ctx, v))
        return true;
    return s->opt.tap && (!s->opt.tap_select || s->opt.tap_select(s->opt.tap_ctx, v));
}

static ptq_status session_arrays(ptq_session *s)
{
    size_t nv = s->p->values.n, ns = s->p->steps.n, nin = 1, nout = 1;
    for (size_t i = 0; i < ns; i++) {
        nin = (size_t)s->p->steps.v[i].nin > nin ? (size_t)s->p->steps.v[i].nin : nin;
        nout = (size_t)s->p->steps.v[i].nout > nout ? (size_t)s->p->steps.v[i].nout : nout;
    }
    s->tap = ptq_calloc(nv, sizeof *s->tap);
    s->in = ptq_calloc(nin, sizeof *s->in);
    s->in_t = ptq_calloc(nin, sizeof *s->in_t);
    s->in_layout = ptq_calloc(nin, sizeof *s->in_layout);
    s->out = ptq_calloc(nout, sizeof *s->out);
    s->out_layout = ptq_calloc(nout, sizeof *s->out_layout);
    s->shapes = ptq_calloc((size_t)s->p->noutputs, sizeof *s->shapes);
    s->owned = ptq_calloc(nv, sizeof *s->owned);
    s->tensor = ptq_calloc(nv, sizeof *s->tensor);
    if (!s->tap || !s->shapes || !s->in || !s->in_t || !s->in_layout || !s->out || !s->out_layout || !s->owned || !s->tensor)
        return ptq_fail_nomem();
    for (size_t i = 0; i < nv; i++) {
        const ptq_pvalue *v = &s->p->values.v[i];
        s->tap[i] = s->opt.tap && v->value && !v->constant &&
                    (!s->opt.tap_select || s->opt.tap_select(s->opt.tap_ctx, v->value));
    }
    return ptq_resolver_init(&s->resolver, s->p);
}

/* Lines of work of its own on the executable's backends, or (its only session) those themselves. */
static ptq_status open_lines(ptq_session *s, const ptq_executable *e)
{
    if (s->own) {
        s->backend = e->backend;
        s->host = e->host;
        return PTQ_OK;
    }
    ptq_backend_options device = e->device;
    if (s->opt.device.pool)
        device.pool = s->opt.device.pool;
    PTQ_TRY(e->ops->fork ? e->ops->fork(e->backend, &s->backend) : e->ops->open(&device, &s->backend));
    return e->remote ? e->host_ops->open(&device, &s->host) : PTQ_OK;
}

/* Sessions of the subgraphs of If, Loop and Scan. */
static ptq_status start_bodies(ptq_session *s)
{
    ptq_pool *pool = s->opt.device.pool ? s->opt.device.pool : s->exe->device.pool;
    s->control = ptq_calloc(s->p->steps.n, sizeof(ptq_control_run *));
    if (!s->control)
        return ptq_fail_nomem();
    for (size_t i = 0; i < s->p->steps.n; i++)
        if (s->exe->control[i])
            PTQ_TRY(ptq_control_run_new(s->exe->control[i], pool, &s->control[i]));
    return PTQ_OK;
}

static ptq_status start(ptq_session *s, const ptq_executable *e)
{
    const char *poison = getenv("PTQ_POISON");
    s->poison = poison && strcmp(poison, "1") == 0;
    s->exe = e;
    s->p = e->p;
    PTQ_TRY(open_lines(s, e));
    PTQ_TRY(session_arrays(s));
    PTQ_TRY(start_bodies(s));
    return e->remote ? ptq_copies_init(e, s->backend, &s->copies) : PTQ_OK;
}

ptq_status ptq_session_on(const ptq_executable *e, const ptq_session_options *opt, ptq_session **out)
{
    ptq_session *s = ptq_calloc(1, sizeof *s);
    if (!s)
        return ptq_fail_nomem();
    if (opt)
        s->opt = *opt;
    ptq_status st = start(s, e);
    if (st != PTQ_OK) {
        ptq_session_free(s);
        return st;
    }
    *out = s;
    return PTQ_OK;
}

ptq_status ptq_session_new(const ptq_graph *g, const ptq_session_options *opt, ptq_session **out)
{
    ptq_session *s = ptq_calloc(1, sizeof *s);
    if (!s)
        return ptq_fail_nomem();
    if (opt)
        s->opt = *opt;
    ptq_executable_options eo = {.backend = s->opt.backend, .ops = s->opt.ops, .device = s->opt.device,
                                 .lower = s->opt.lower};
    if (s->opt.tap || s->opt.lower.keep) {
        eo.lower.keep = keep_tapped;
        eo.lower.keep_ctx = s;
    }
    ptq_status st = ptq_executable_new(g, &eo, &s->own);
    if (st == PTQ_OK)
        st = start(s, s->own);
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

static void drop_binding(ptq_session *s, size_t i)
{
    ptq_session_forget(s, &s->replays[i]);
    if (s->copies.v)
        ptq_copies_forget(&s->copies, s->bindings[i]);
    ptq_binding_free(s->p, s->bindings[i]);
    s->bindings[i] = NULL;
}

void ptq_session_free(ptq_session *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->p && s->owned && i < s->p->values.n; i++)
        free_dynamic(s, i);
    for (size_t i = 0; i < PTQ_SESSION_BINDINGS; i++)
        if (s->bindings[i])
            drop_binding(s, i);
    for (size_t i = 0; s->control && i < s->p->steps.n; i++)
        ptq_control_run_free(s->control[i]);
    if (s->copies.v)
        ptq_copies_clear(&s->copies);
    if (s->backend)
        ptq_session_rest(s);
    if (s->backend && !s->own)
        s->exe->ops->close(s->backend);
    if (s->host && !s->own)
        s->exe->host_ops->close(s->host);
    ptq_resolver_clear(&s->resolver);
    ptq_executable_free(s->own);
    free(s->control);
    free(s->tap);
    free(s->shapes);
    free(s->in);
    free(s->in_t);
    free(s->in_layout);
    free(s->out);
    free(s->out_layout);
    free(s->owned);
    free(s->tensor);
    free(s->plain);
    free(s);
}

/* ---- running ---- */

static ptq_status find_binding(ptq_session *s, const ptq_tensor *in, size_t *index)
{
    size_t oldest = 0;
    s->clock++;
    for (size_t i = 0; i < PTQ_SESSION_BINDINGS; i++) {
        ptq_binding *b = s->bindings[i];
        if (b && ptq_binding_matches(b, in, (size_t)s->p->ninputs)) {
            b->used = s->clock;
            *index = i;
            return PTQ_OK;
        }
        if (!b || (s->bindings[oldest] && b->used < s->bindings[oldest]->used))
            oldest = i;
    }
    ptq_binding *b;
    PTQ_TRY(ptq_binding_new(s->p, &s->resolver, in, &b));
    if (s->bindings[oldest])
        drop_binding(s, oldest);
    s->bindings[oldest] = b;
    b->used = s->clock;
    *index = oldest;
    return PTQ_OK;
}

void ptq_session_rest(ptq_session *s)
{
    if (s->block)
        s->exe->ops->free(s->backend, s->block);
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
    PTQ_TRY(s->exe->ops->alloc(s->backend, need, &s->block));
    s->block_bytes = need;
    return PTQ_OK;
}

ptq_status ptq_session_bind(ptq_session *s, const ptq_tensor *in, size_t *index)
{
    PTQ_TRY(find_binding(s, in, index));
    return reserve_block(s, s->bindings[*index]);
}

ptq_status ptq_session_reserve(ptq_session *s, const ptq_tensor *in, size_t nin)
{
    size_t at;
    PTQ_TRY(ptq_check_shapes(s->exe->g, in, nin));
    PTQ_TRY(ptq_session_bind(s, in, &at));
    s->outputs_known = true;
    for (int i = 0; i < s->p->noutputs; i++)
        s->outputs_known = s->outputs_known && s->bindings[at]->place[s->p->outputs[i]] != PTQ_IN_DYNAMIC;
    return ptq_binding_alive(s->p, s->bindings[at], &s->alive_bytes);
}

size_t ptq_session_alive_bytes(const ptq_session *s)
{
    return s->alive_bytes;
}

bool ptq_session_outputs_known(const ptq_session *s)
{
    return s->outputs_known;
}

void ptq_session_place(ptq_session *s, ptq_binding *b, const ptq_tensor *in)
{
    for (int i = 0; i < s->p->ninputs; i++)
        b->t[s->p->inputs[i]].data = in[i].data;
    for (size_t v = 0; v < s->p->values.n; v++) {
        free_dynamic(s, v);
        if (b->place[v] == PTQ_IN_BLOCK) /* a remote block is only reached through the copies */
            b->t[v].data = s->exe->remote ? s->block : (char *)s->block + b->offset[v];
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
    for (int i = 0; s->exe->remote && i < st->nin; i++) { /* what tells shapes is read here */
        int v = st->in[i];
        if (v >= 0 && ptq_may_tell_shapes(&b->t[v]))
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
        if (s->exe->remote) /* an empty one is made by no kernel */
            ptq_copies_lend_host(&s->copies, v, s->owned[v]);
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
    uint32_t there = s->exe->host_inputs[i];
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
    return s->exe->remote && st->nout > 0;
}

static ptq_status run_kernel(ptq_session *s, ptq_binding *b, int i)
{
    const ptq_step *st = &s->p->steps.v[i];
    bool host = !s->exe->remote || s->exe->on_host[i];
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
    if (s->exe->remote)
        PTQ_TRY(move_in(s, b, i, host));
    for (int k = 0; k < st->nout && s->poison && host; k++)
        if (s->out[k].data && (st->out[k] < 0 || b->over[st->out[k]] < 0))
            memset(s->out[k].data, 0xFF, s->out[k].nbytes);
    if (all_empty(s, st))
        return PTQ_OK;
    ptq_step_run r = {st, s->exe->state[i], s->in, s->in_layout, s->out, s->out_layout};
    ptq_status status = s->control[i]        ? ptq_control_step(s->control[i], &r)
                        : s->exe->on_host[i] ? s->exe->host_ops->run(s->host, &r)
                                             : s->exe->ops->run(s->backend, &r);
    for (int k = 0; k < st->nout; k++) {
        int v = st->out[k];
        if (v < 0 || b->place[v] != PTQ_IN_DYNAMIC)
            continue;
        b->t[v] = s->out[k];
        if (!host)
            continue;
        s->owned[v] = s->out[k].data;
        if (s->exe->remote)
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
        PTQ_TRY(resolve_late(s, b, st, !s->exe->remote || s->exe->on_host[i]));
    int v = st->nout > 0 ? st->out[0] : -1;
    if (v < 0 || b->root[v] == v)
        return run_kernel(s, b, i);
    const ptq_tensor *from = &b->t[st->in[0]];
    if (ptq_is_sequence(from->dtype)) { /* Identity: its bytes are all there is to it */
        b->t[v] = *from;
        return PTQ_OK;
    }
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
    if (s->opt.tap_device && s->exe->ops->tally && t.dtype == PTQ_DT_F32) {
        PTQ_TRY(ptq_copies_read_dev(&s->copies, b->root[v], t.nbytes, &t.data));
        return s->opt.tap_device(s->opt.tap_ctx, pv, &t);
    }
    if (s->exe->remote)
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
        if (s->exe->remote)
            ptq_copies_lend_host(&s->copies, root, NULL);
        free_dynamic(s, (size_t)root);
    }
}

ptq_status ptq_session_steps(ptq_session *s, ptq_binding *b)
{
    for (int i = 0; i < s->p->ninputs; i++)
        if (s->tap[s->p->inputs[i]])
            PTQ_TRY(tap(s, b, s->p->inputs[i]));
    for (int i = 0; i < (int)s->p->steps.n; i++) {
        const ptq_step *st = &s->p->steps.v[i];
        if (s->marks)
            PTQ_TRY(ptq_session_mark(s, (size_t)i));
        PTQ_TRY(run_step(s, b, i));
        for (int k = st->nout - 1; k >= 0; k--) /* what stands before a sum first (conv_sums_apart) */
            if (st->out[k] >= 0 && s->tap[st->out[k]])
                PTQ_TRY(tap(s, b, st->out[k]));
        release_after(s, b, i);
    }
    return s->marks ? ptq_session_mark(s, s->p->steps.n) : PTQ_OK;
}

ptq_status ptq_session_begin(ptq_session *s, const ptq_tensor *inputs, size_t ninputs)
{
    size_t at;
    s->running = NULL;
    PTQ_TRY(ptq_check_inputs(s->exe->g, inputs, ninputs));
    PTQ_TRY(ptq_session_bind(s, inputs, &at));
    ptq_binding *b = s->bindings[at];
    ptq_session_place(s, b, inputs);
    if (s->exe->remote)
        PTQ_TRY(ptq_copies_start(&s->copies, b, inputs, false, s->block));
    PTQ_TRY(ptq_session_steps(s, b));
    s->running = b;
    return PTQ_OK;
}

static ptq_status check_outputs(const ptq_session *s, size_t n)
{
    if (n != (size_t)s->p->noutputs)
        return ptq_fail(PTQ_ERR_ARG, "the model has %d outputs, room for %zu is given", s->p->noutputs, n);
    return PTQ_OK;
}

ptq_status ptq_session_end(ptq_session *s, ptq_tensor *outputs, size_t noutputs)
{
    const ptq_binding *b = s->running;
    if (outputs)
        PTQ_TRY(check_outputs(s, noutputs));
    if (!b)
        return ptq_fail(PTQ_ERR_ARG, "no run has begun");
    s->running = NULL;
    for (size_t i = 0; outputs && i < noutputs; i++) {
        int v = s->p->outputs[i];
        outputs[i] = b->t[v];
        if (s->exe->remote)
            PTQ_TRY(ptq_copies_read_host(&s->copies, b->root[v], outputs[i].nbytes, &outputs[i].data));
    }
    return s->exe->ops->sync ? s->exe->ops->sync(s->backend) : PTQ_OK;
}

ptq_status ptq_session_run(ptq_session *s, const ptq_tensor *inputs, size_t ninputs,
                           ptq_tensor *outputs, size_t noutputs)
{
    PTQ_TRY(check_outputs(s, noutputs));
    PTQ_TRY(ptq_session_begin(s, inputs, ninputs));
    return ptq_session_end(s, outputs, noutputs);
}

ptq_backend *ptq_session_backend(const ptq_session *s)
{
    return s->backend;
}

const ptq_backend_ops *ptq_session_ops(const ptq_session *s)
{
    return s->exe->ops;
}

const ptq_program *ptq_session_program(const ptq_session *s)
{
    return s->p;
}

bool ptq_session_step_on_host(const ptq_session *s, int step)
{
    return step >= 0 && (size_t)step < s->p->steps.n && s->exe->on_host[step];
}

size_t ptq_session_activation_bytes(const ptq_session *s)
{
    return s->block_bytes + s->dynamic_peak;
}
