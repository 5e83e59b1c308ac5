/* SPDX-License-Identifier: Apache-2.0 */
/* Runs from and into the caller's device memory, on the caller's stream. The first run of a set of
 * shapes goes step by step (kernels are chosen, scratch memory grows), the second one is recorded,
 * later ones replay the recording, which costs one call instead of one per step. */
#include <stdlib.h>
#include <string.h>

#include "lib/exec/session_impl.h"

void ptq_session_forget(ptq_session *s, ptq_replays *r)
{
    for (size_t i = 0; i < PTQ_SESSION_REPLAYS; i++) {
        if (r->v[i].graph)
            s->exe->ops->streams->forget(s->backend, r->v[i].graph);
        free(r->v[i].address);
    }
    *r = (ptq_replays){0};
}

/* The binding of these shapes, and what they make of the outputs. */
static ptq_status bind_shapes(ptq_session *s, const ptq_tensor *in, size_t nin, ptq_tensor *out, size_t nout, size_t *at)
{
    if (nout != (size_t)s->p->noutputs)
        return ptq_fail(PTQ_ERR_ARG, "the model has %d outputs, room for %zu is given", s->p->noutputs, nout);
    PTQ_TRY(ptq_check_shapes(s->exe->g, in, nin));
    PTQ_TRY(ptq_session_bind(s, in, at));
    const ptq_binding *b = s->bindings[*at];
    for (size_t i = 0; i < nout; i++) {
        int v = s->p->outputs[i];
        if (b->place[v] == PTQ_IN_DYNAMIC)
            return ptq_fail(PTQ_ERR_UNSUPPORTED, "the shape of output %s depends on the data", s->p->values.v[v].name);
        out[i] = b->t[v];
        out[i].data = NULL;
        PTQ_TRY(ptq_tensor_nbytes(out[i].dtype, out[i].rank, out[i].dims, &out[i].nbytes)
                    ? PTQ_OK
                    : ptq_fail(PTQ_ERR_MODEL, "output %s is too large", s->p->values.v[v].name));
    }
    return PTQ_OK;
}

ptq_status ptq_session_shapes(ptq_session *s, const ptq_tensor *in, size_t nin, ptq_tensor *out, size_t nout)
{
    size_t at;
    return bind_shapes(s, in, nin, out, nout, &at);
}

/* Outputs that the steps can write where the caller wants them; the others are copied there. */
static void direct_outputs(ptq_session *s, const ptq_binding *b, const ptq_tensor *out)
{
    for (int i = 0; i < s->p->noutputs; i++) {
        int root = b->root[s->p->outputs[i]];
        bool first = true;
        for (int k = 0; k < i; k++)
            first = first && b->root[s->p->outputs[k]] != root;
        if (first && b->place[root] == PTQ_IN_BLOCK && !ptq_contents_known(b, root))
            s->copies.v[root].dev = out[i].data;
    }
}

ptq_status ptq_session_run_device(ptq_session *s, ptq_binding *b, const ptq_tensor *in, ptq_tensor *out)
{
    ptq_session_place(s, b, in);
    PTQ_TRY(ptq_copies_start(&s->copies, b, in, true, s->block));
    direct_outputs(s, b, out);
    PTQ_TRY(ptq_session_steps(s, b));
    for (int i = 0; i < s->p->noutputs; i++) {
        void *p;
        int v = s->p->outputs[i];
        PTQ_TRY(ptq_copies_read_dev(&s->copies, b->root[v], out[i].nbytes, &p));
        if (p != out[i].data)
            PTQ_TRY(s->exe->ops->streams->copy(s->backend, out[i].data, p, out[i].nbytes));
    }
    return PTQ_OK;
}

/* ---- recordings ---- */

static bool same_addresses(void *const *a, const ptq_tensor *in, size_t nin, const ptq_tensor *out, size_t nout)
{
    for (size_t i = 0; i < nin; i++)
        if (a[i] != in[i].data)
            return false;
    for (size_t i = 0; i < nout; i++)
        if (a[nin + i] != out[i].data)
            return false;
    return true;
}

/* Records one run; *graph stays NULL where that is not possible (a step on the CPU, an upload). */
ptq_status ptq_session_record(ptq_session *s, ptq_binding *b, const ptq_tensor *in, ptq_tensor *out, void **graph)
{
    const ptq_stream_ops *st = s->exe->ops->streams;
    PTQ_TRY(st->record(s->backend));
    ptq_status ran = ptq_session_run_device(s, b, in, out);
    ptq_status ended = st->recorded(s->backend, ran == PTQ_OK, graph);
    return ran == PTQ_OK ? ended : PTQ_OK;
}

static ptq_status keep(ptq_session *s, ptq_replays *r, void *graph, const ptq_tensor *in, const ptq_tensor *out)
{
    size_t nin = (size_t)s->p->ninputs, nout = (size_t)s->p->noutputs, at = r->next++ % PTQ_SESSION_REPLAYS;
    void **address = ptq_calloc(nin + nout, sizeof *address);
    if (!address) {
        s->exe->ops->streams->forget(s->backend, graph);
        return ptq_fail_nomem();
    }
    for (size_t i = 0; i < nin + nout; i++)
        address[i] = i < nin ? in[i].data : out[i - nin].data;
    if (r->v[at].graph)
        s->exe->ops->streams->forget(s->backend, r->v[at].graph);
    free(r->v[at].address);
    r->v[at].address = address;
    r->v[at].graph = graph;
    return PTQ_OK;
}

/* The recording for these buffers; NULL where the run must go step by step. */
static ptq_status find_graph(ptq_session *s, size_t at, const ptq_tensor *in, ptq_tensor *out, void **graph)
{
    const ptq_stream_ops *st = s->exe->ops->streams;
    ptq_replays *r = &s->replays[at];
    *graph = NULL;
    if (r->generation != st->generation(s->backend)) {
        ptq_session_forget(s, r);
        r->generation = st->generation(s->backend);
    }
    if (r->never || !s->opt.replay)
        return PTQ_OK;
    for (size_t i = 0; i < PTQ_SESSION_REPLAYS; i++)
        if (r->v[i].graph && same_addresses(r->v[i].address, in, (size_t)s->p->ninputs, out, (size_t)s->p->noutputs)) {
            *graph = r->v[i].graph;
            return PTQ_OK;
        }
    if (!r->warm)
        return PTQ_OK;
    PTQ_TRY(ptq_session_record(s, s->bindings[at], in, out, graph));
    if (!*graph) {
        r->never = true;
        return PTQ_OK;
    }
    return keep(s, r, *graph, in, out);
}

/* Kernels read and write up to 16 bytes at once. */
static ptq_status check_buffers(const ptq_session *s, const ptq_tensor *in, const ptq_tensor *out)
{
    for (int i = 0; i < s->p->ninputs + s->p->noutputs; i++) {
        bool input = i < s->p->ninputs;
        const ptq_tensor *t = input ? &in[i] : &out[i - s->p->ninputs];
        int v = input ? s->p->inputs[i] : s->p->outputs[i - s->p->ninputs];
        if (t->nbytes && !t->data)
            return ptq_fail(PTQ_ERR_ARG, "%s %s has no buffer", input ? "input" : "output", s->p->values.v[v].name);
        if ((uintptr_t)t->data % 16)
            return ptq_fail(PTQ_ERR_ARG, "the buffer of %s %s is not aligned to 16 bytes", input ? "input" : "output",
                            s->p->values.v[v].name);
    }
    return PTQ_OK;
}

ptq_status ptq_session_enqueue(ptq_session *s, const ptq_tensor *in, size_t nin, ptq_tensor *out, size_t nout,
                               void *stream)
{
    const ptq_stream_ops *st = s->exe->ops->streams;
    size_t at;
    void *graph;
    if (!st)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "backend %s has no streams", s->exe->ops->name);
    PTQ_TRY(bind_shapes(s, in, nin, s->shapes, nout, &at));
    for (size_t i = 0; i < nout; i++) {
        s->shapes[i].data = out[i].data;
        out[i] = s->shapes[i];
    }
    PTQ_TRY(check_buffers(s, in, out));
    PTQ_TRY(find_graph(s, at, in, out, &graph));
    PTQ_TRY(st->use(s->backend, stream));
    ptq_status ran = graph ? st->replay(s->backend, graph) : ptq_session_run_device(s, s->bindings[at], in, out);
    if (ran == PTQ_OK && !graph) { /* scratch memory may have grown: what was recorded before is gone */
        s->replays[at].generation = st->generation(s->backend);
        s->replays[at].warm = true;
    }
    ptq_status back = st->use(s->backend, NULL);
    return ran == PTQ_OK ? back : ran;
}
