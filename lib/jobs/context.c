/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of an engine. From host memory on a backend with streams: inputs go to device buffers of the
 * context, outputs come from others, all on the context's own stream. */
#include <stdlib.h>
#include <string.h>

#include "lib/jobs/engine.h"

typedef struct buffer {
    void *dev, *pinned; /* pinned: staging for memory of the caller that is not */
    size_t dev_bytes, pinned_bytes;
} buffer;

struct ptq_context {
    const ptq_engine *e;
    size_t profile, nin, nout;
    ptq_pool *pool;
    ptq_session *session;
    const ptq_stream_ops *streams; /* NULL: runs are done when submit returns */
    ptq_backend *backend;
    buffer *buf;      /* [inputs, then outputs] */
    ptq_tensor *t;    /* the same on the device */
    ptq_tensor *late; /* [outputs] what wait copies from staging to the caller: data, nbytes */
    bool running;
};

static ptq_status make_buffers(ptq_context *c)
{
    c->nin = c->e->model->graph->inputs.n;
    c->nout = c->e->model->graph->outputs.n;
    c->buf = ptq_calloc(c->nin + c->nout, sizeof *c->buf);
    c->t = ptq_calloc(c->nin + c->nout, sizeof *c->t);
    c->late = ptq_calloc(c->nout, sizeof *c->late);
    if (!c->buf || !c->t || !c->late)
        return ptq_fail_nomem();
    ptq_profile_shapes(c->e, c->profile, PTQ_AT_MAX, c->t);
    return ptq_session_reserve(c->session, c->t, c->nin);
}

ptq_status ptq_context_new(ptq_engine *e, size_t profile, ptq_context **out)
{
    if (profile >= e->nprofiles)
        return ptq_fail(PTQ_ERR_ARG, "the engine has %zu profiles, there is no profile %zu", e->nprofiles, profile);
    ptq_context *c = ptq_calloc(1, sizeof *c);
    if (!c)
        return ptq_fail_nomem();
    c->e = e;
    c->profile = profile;
    ptq_status s = ptq_pool_new(e->threads, &c->pool);
    ptq_session_options so = {.device = {.pool = c->pool}, .replay = true};
    if (s == PTQ_OK)
        s = ptq_session_on(e->exe, &so, &c->session);
    if (s == PTQ_OK) {
        c->streams = e->exe->ops->streams;
        c->backend = ptq_session_backend(c->session);
        s = make_buffers(c);
    }
    if (s != PTQ_OK) {
        ptq_context_free(c);
        return s;
    }
    *out = c;
    return PTQ_OK;
}

void ptq_context_free(ptq_context *c)
{
    if (!c)
        return;
    if (c->running) /* nothing may be copied into freed memory; a failure has nobody left to tell */
        (void)c->e->exe->ops->sync(c->backend);
    for (size_t i = 0; c->buf && i < c->nin + c->nout; i++) {
        if (c->buf[i].dev)
            c->e->exe->ops->free(c->backend, c->buf[i].dev);
        if (c->buf[i].pinned)
            c->streams->unpin(c->backend, c->buf[i].pinned);
    }
    ptq_session_free(c->session);
    ptq_pool_free(c->pool);
    free(c->buf);
    free(c->t);
    free(c->late);
    free(c);
}

ptq_status ptq_context_shapes(ptq_context *c, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                              size_t noutputs)
{
    PTQ_TRY(ptq_profile_check(c->e, c->profile, inputs, ninputs));
    return ptq_session_shapes(c->session, inputs, ninputs, outputs, noutputs);
}

ptq_status ptq_context_enqueue(ptq_context *c, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                               size_t noutputs, void *stream)
{
    PTQ_TRY(ptq_profile_check(c->e, c->profile, inputs, ninputs));
    return ptq_session_enqueue(c->session, inputs, ninputs, outputs, noutputs, stream);
}

/* ---- host memory ---- */

static ptq_status room(ptq_context *c, size_t i, size_t nbytes)
{
    buffer *b = &c->buf[i];
    if (b->dev && b->dev_bytes >= nbytes)
        return PTQ_OK;
    if (b->dev)
        c->e->exe->ops->free(c->backend, b->dev);
    *b = (buffer){.pinned = b->pinned, .pinned_bytes = b->pinned_bytes};
    PTQ_TRY(c->e->exe->ops->alloc(c->backend, nbytes, &b->dev));
    b->dev_bytes = nbytes;
    return PTQ_OK;
}

static ptq_status staging(ptq_context *c, size_t i, size_t nbytes, void **out)
{
    buffer *b = &c->buf[i];
    if (!b->pinned || b->pinned_bytes < nbytes) {
        if (b->pinned)
            c->streams->unpin(c->backend, b->pinned);
        b->pinned = NULL;
        PTQ_TRY(c->streams->pin(c->backend, nbytes, &b->pinned));
        b->pinned_bytes = nbytes;
    }
    *out = b->pinned;
    return PTQ_OK;
}

static ptq_status put_input(ptq_context *c, size_t i, const ptq_tensor *in)
{
    size_t nbytes;
    void *from = in->data, *to;
    if (!ptq_tensor_nbytes(in->dtype, in->rank, in->dims, &nbytes) || (nbytes && !from))
        return ptq_fail(PTQ_ERR_ARG, "input %zu has no data", i);
    PTQ_TRY(room(c, i, nbytes));
    if (!c->streams->is_pinned(c->backend, from)) {
        PTQ_TRY(staging(c, i, nbytes, &to));
        memcpy(to, from, nbytes);
        from = to;
    }
    c->t[i] = *in;
    c->t[i].data = c->buf[i].dev;
    c->t[i].nbytes = nbytes;
    return c->streams->put(c->backend, c->t[i].data, from, nbytes);
}

static ptq_status get_output(ptq_context *c, size_t i, void *to)
{
    const ptq_tensor *t = &c->t[c->nin + i];
    void *stage = to;
    c->late[i] = (ptq_tensor){.data = NULL};
    if (!c->streams->is_pinned(c->backend, to)) {
        PTQ_TRY(staging(c, c->nin + i, t->nbytes, &stage));
        c->late[i] = (ptq_tensor){.data = to, .nbytes = t->nbytes};
    }
    return c->streams->get(c->backend, stage, t->data, t->nbytes);
}

/* Shapes of outputs[] from those of `from`; the caller's buffers must hold them. */
static ptq_status fit(const ptq_tensor *from, ptq_tensor *outputs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (from[i].nbytes > outputs[i].nbytes || (from[i].nbytes && !outputs[i].data))
            return ptq_fail(PTQ_ERR_ARG, "output %zu takes %zu bytes, its buffer has %zu", i, from[i].nbytes,
                            outputs[i].data ? outputs[i].nbytes : 0);
        void *data = outputs[i].data;
        outputs[i] = from[i];
        outputs[i].data = data;
    }
    return PTQ_OK;
}

static ptq_status submit_streams(ptq_context *c, const ptq_tensor *inputs, ptq_tensor *outputs)
{
    ptq_tensor *shapes = &c->t[c->nin];
    PTQ_TRY(ptq_session_shapes(c->session, inputs, c->nin, shapes, c->nout));
    PTQ_TRY(fit(shapes, outputs, c->nout));
    PTQ_TRY(c->streams->use(c->backend, NULL));
    for (size_t i = 0; i < c->nout; i++) {
        PTQ_TRY(room(c, c->nin + i, shapes[i].nbytes));
        shapes[i].data = c->buf[c->nin + i].dev;
    }
    c->running = true;
    for (size_t i = 0; i < c->nin; i++)
        PTQ_TRY(put_input(c, i, &inputs[i]));
    PTQ_TRY(ptq_session_enqueue(c->session, c->t, c->nin, shapes, c->nout, NULL));
    for (size_t i = 0; i < c->nout; i++)
        PTQ_TRY(get_output(c, i, outputs[i].data));
    return PTQ_OK;
}

/* Done when it returns: the CPU, and models whose output shapes depend on the data. */
static ptq_status submit_plain(ptq_context *c, const ptq_tensor *inputs, ptq_tensor *outputs)
{
    ptq_tensor *got = &c->t[c->nin];
    PTQ_TRY(ptq_session_run(c->session, inputs, c->nin, got, c->nout));
    PTQ_TRY(fit(got, outputs, c->nout));
    for (size_t i = 0; i < c->nout; i++)
        if (got[i].nbytes)
            memcpy(outputs[i].data, got[i].data, got[i].nbytes);
    return PTQ_OK;
}

ptq_status ptq_context_submit(ptq_context *c, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                              size_t noutputs)
{
    if (c->running)
        return ptq_fail(PTQ_ERR_ARG, "this context runs already; call ptq_context_wait first");
    PTQ_TRY(ptq_profile_check(c->e, c->profile, inputs, ninputs));
    if (noutputs != c->nout)
        return ptq_fail(PTQ_ERR_ARG, "the engine has %zu outputs, room for %zu is given", c->nout, noutputs);
    if (!c->streams || !ptq_session_outputs_known(c->session))
        return submit_plain(c, inputs, outputs);
    ptq_status s = submit_streams(c, inputs, outputs);
    if (s != PTQ_OK && c->running) {
        c->running = false;
        (void)c->e->exe->ops->sync(c->backend); /* what was begun ends; its own failure is that of `s` */
    }
    return s;
}

ptq_status ptq_context_wait(ptq_context *c)
{
    if (!c->running)
        return PTQ_OK;
    c->running = false;
    PTQ_TRY(c->e->exe->ops->sync(c->backend));
    for (size_t i = 0; i < c->nout; i++)
        if (c->late[i].data && c->late[i].nbytes)
            memcpy(c->late[i].data, c->buf[c->nin + i].pinned, c->late[i].nbytes);
    return PTQ_OK;
}

ptq_status ptq_context_run(ptq_context *c, const ptq_tensor *inputs, size_t ninputs, ptq_tensor *outputs,
                           size_t noutputs)
{
    PTQ_TRY(ptq_context_submit(c, inputs, ninputs, outputs, noutputs));
    return ptq_context_wait(c);
}

ptq_status ptq_context_pin(ptq_context *c, size_t nbytes, void **out)
{
    if (c->streams)
        return c->streams->pin(c->backend, nbytes, out);
    *out = ptq_alloc_aligned(nbytes);
    return *out ? PTQ_OK : ptq_fail_nomem();
}

void ptq_context_unpin(ptq_context *c, void *p)
{
    if (c->streams)
        c->streams->unpin(c->backend, p);
    else
        free(p);
}

size_t ptq_context_activation_bytes(const ptq_context *c, size_t *alive)
{
    if (alive)
        *alive = ptq_session_alive_bytes(c->session);
    return ptq_session_activation_bytes(c->session);
}
