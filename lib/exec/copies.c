/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/copies.h"

#include <stdlib.h>
#include <string.h>

ptq_status ptq_copies_init(const ptq_executable *e, ptq_backend *b, ptq_copies *c)
{
    *c = (ptq_copies){.exe = e, .ops = e->ops, .backend = b, .program = e->p};
    c->v = ptq_calloc(e->p->values.n ? e->p->values.n : 1, sizeof *c->v);
    return c->v ? PTQ_OK : ptq_fail_nomem();
}

void ptq_copies_clear(ptq_copies *c)
{
    for (size_t i = 0; c->v && i < c->program->values.n; i++) {
        free(c->v[i].host_own);
        if (c->v[i].dev_own)
            c->ops->free(c->backend, c->v[i].dev_own);
    }
    free(c->v);
    c->v = NULL;
}

/* Room of at least nbytes that the copies own. */
static ptq_status own_host(ptq_copy *k, size_t nbytes)
{
    if (!k->host_own || k->host_cap < nbytes) {
        free(k->host_own);
        k->host_cap = 0;
        k->host_own = ptq_alloc_aligned(nbytes ? nbytes : 1);
        if (!k->host_own)
            return ptq_fail_nomem();
        k->host_cap = nbytes;
    }
    k->host = k->host_own;
    return PTQ_OK;
}

static ptq_status own_dev(const ptq_copies *c, ptq_copy *k, size_t nbytes)
{
    if (!k->dev_own || k->dev_cap < nbytes) {
        if (k->dev_own)
            c->ops->free(c->backend, k->dev_own);
        k->dev_own = NULL;
        k->dev_cap = 0;
        PTQ_TRY(c->ops->alloc(c->backend, nbytes ? nbytes : 1, &k->dev_own));
        k->dev_cap = nbytes;
    }
    k->dev = k->dev_own;
    return PTQ_OK;
}

bool ptq_contents_known(const ptq_binding *b, int v)
{
    const ptq_contents *c = b->contents[v];
    ptq_dtype t = b->t[v].dtype;
    if (!c || c->n < 0 || (t != PTQ_DT_S64 && t != PTQ_DT_S32))
        return false;
    for (int i = 0; i < c->n; i++)
        if (c->v[i].sym != PTQ_SYM_NONE)
            return false;
    return true;
}

static ptq_status write_contents(const ptq_binding *b, int v, ptq_copy *k)
{
    const ptq_contents *c = b->contents[v];
    bool wide = b->t[v].dtype == PTQ_DT_S64;
    PTQ_TRY(own_host(k, (size_t)c->n * 8));
    for (int i = 0; i < c->n; i++) {
        if (wide)
            ((int64_t *)k->host)[i] = c->v[i].add;
        else
            ((int32_t *)k->host)[i] = (int32_t)c->v[i].add;
    }
    k->host_good = true;
    return PTQ_OK;
}

ptq_status ptq_copies_start(ptq_copies *c, ptq_binding *b, const ptq_tensor *inputs, bool on_device,
                            void *block)
{
    c->binding = b;
    for (size_t i = 0; i < c->program->values.n; i++) {
        ptq_copy *k = &c->v[i];
        if (b->place[i] == PTQ_IN_CONSTANT) {
            k->host = c->program->values.v[i].constant->data;
            k->host_good = true; /* a device copy stays good from run to run */
            if (c->exe->constant[i]) {
                k->dev = c->exe->constant[i];
                k->dev_good = true;
            }
            continue;
        }
        *k = (ptq_copy){NULL, NULL, k->host_own, k->dev_own, k->host_cap, k->dev_cap, false, false};
        if (ptq_contents_known(b, (int)i) && b->root[i] == (int)i) {
            PTQ_TRY(write_contents(b, (int)i, k));
            k->dev = b->known ? b->known[i] : NULL;
            k->dev_good = k->dev != NULL;
        } else if (b->place[i] == PTQ_IN_BLOCK) {
            k->dev = (char *)block + b->offset[i];
        }
    }
    for (int i = 0; i < c->program->ninputs; i++) {
        ptq_copy *k = &c->v[c->program->inputs[i]];
        if (on_device)
            k->dev = inputs[i].data;
        else
            k->host = inputs[i].data;
        k->dev_good = on_device;
        k->host_good = !on_device;
    }
    return PTQ_OK;
}

static ptq_status nowhere(const ptq_copies *c, int v)
{
    return ptq_fail(PTQ_ERR_INTERNAL, "value %s is read before it is made", c->program->values.v[v].name);
}

ptq_status ptq_copies_read_host(ptq_copies *c, int v, size_t nbytes, void **out)
{
    ptq_copy *k = &c->v[v];
    if (!k->host_good) {
        if (!k->dev_good)
            return nowhere(c, v);
        PTQ_TRY(own_host(k, nbytes));
        PTQ_TRY(c->ops->download(c->backend, k->host, k->dev, nbytes));
        k->host_good = true;
    }
    *out = k->host;
    return PTQ_OK;
}

/* What the shapes tell is the same in every run of a binding: it has a place of its own there, so that a
 * recording may go on reading it. */
static ptq_status known_dev(ptq_copies *c, int v, size_t nbytes)
{
    ptq_binding *b = c->binding;
    if (!b->known && !(b->known = ptq_calloc(c->program->values.n, sizeof *b->known)))
        return ptq_fail_nomem();
    PTQ_TRY(c->ops->alloc(c->backend, nbytes ? nbytes : 1, &b->known[v]));
    ptq_status s = c->ops->upload(c->backend, b->known[v], c->v[v].host, nbytes);
    if (s != PTQ_OK) {
        c->ops->free(c->backend, b->known[v]);
        b->known[v] = NULL;
        return s;
    }
    c->v[v].dev = b->known[v];
    c->v[v].dev_good = true;
    return PTQ_OK;
}

void ptq_copies_forget(ptq_copies *c, ptq_binding *b)
{
    for (size_t i = 0; b->known && i < c->program->values.n; i++)
        if (b->known[i])
            c->ops->free(c->backend, b->known[i]);
    free(b->known);
    b->known = NULL;
}

ptq_status ptq_copies_read_dev(ptq_copies *c, int v, size_t nbytes, void **out)
{
    ptq_copy *k = &c->v[v];
    if (!k->dev_good) {
        if (!k->host_good)
            return nowhere(c, v);
        if (!k->dev && ptq_contents_known(c->binding, v)) {
            PTQ_TRY(known_dev(c, v, nbytes));
            *out = k->dev;
            return PTQ_OK;
        }
        if (!k->dev)
            PTQ_TRY(own_dev(c, k, nbytes));
        PTQ_TRY(c->ops->upload(c->backend, k->dev, k->host, nbytes));
        k->dev_good = true;
    }
    *out = k->dev;
    return PTQ_OK;
}

ptq_status ptq_copies_write_host(ptq_copies *c, int v, size_t nbytes, void **out)
{
    ptq_copy *k = &c->v[v];
    PTQ_TRY(own_host(k, nbytes));
    k->host_good = true;
    k->dev_good = false;
    *out = k->host;
    return PTQ_OK;
}

ptq_status ptq_copies_write_dev(ptq_copies *c, int v, size_t nbytes, void **out)
{
    ptq_copy *k = &c->v[v];
    if (!k->dev || ptq_contents_known(c->binding, v)) /* one output of several that is computed all the same */
        PTQ_TRY(own_dev(c, k, nbytes));
    k->dev_good = true;
    k->host_good = false;
    *out = k->dev;
    return PTQ_OK;
}

void ptq_copies_lend_host(ptq_copies *c, int v, void *p)
{
    ptq_copy *k = &c->v[v];
    k->host = p;
    k->host_good = p != NULL;
    k->dev_good = false;
}
