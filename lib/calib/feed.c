/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/calib/calibrate.h"

typedef struct read_job {
    ptq_feed *f;
    const size_t *idx;
    ptq_tensor *samples; /* [n][ninputs] */
    char **why;          /* [n]: text of a bad sample */
    size_t ninputs;
} read_job;

static void free_tensors(ptq_tensor *t, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(t[i].data);
        t[i].data = NULL;
    }
}

/* The caller's function fills the tensors: what it leaves must be what it says. */
static ptq_status check_sample(read_job *j, size_t i)
{
    for (size_t k = 0; k < j->ninputs; k++) {
        ptq_tensor *t = &j->samples[i * j->ninputs + k];
        size_t want;
        if (t->rank < 0 || t->rank > PTQ_MAX_RANK || !ptq_tensor_nbytes(t->dtype, t->rank, t->dims, &want) ||
            t->nbytes < want || (!t->data && want))
            return ptq_fail(PTQ_ERR_ARG, "sample %zu: the tensor read for input %s has no data, or its shape and "
                            "nbytes (%zu) do not fit", j->idx[i], j->f->graph->inputs.v[k]->name, t->nbytes);
        t->nbytes = want;
    }
    return PTQ_OK;
}

static ptq_status read_one(void *arg, size_t i, int worker)
{
    read_job *j = arg;
    (void)worker;
    ptq_status s = j->f->source->read(j->f->source->ctx, j->idx[i], j->samples + i * j->ninputs, j->ninputs);
    if (s == PTQ_OK)
        return check_sample(j, i);
    if (s != PTQ_ERR_DATA)
        return s;
    j->why[i] = strdup(ptq_last_error());
    return j->why[i] ? PTQ_OK : ptq_fail_nomem();
}

static bool same_shape(const ptq_tensor *a, const ptq_tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->dims, b->dims, sizeof a->dims[0] * (size_t)a->rank) == 0;
}

/* Can the samples a and b be joined along axis 0? */
static bool joinable(const read_job *j, size_t a, size_t b)
{
    for (size_t k = 0; k < j->ninputs; k++) {
        const ptq_tensor *x = &j->samples[a * j->ninputs + k], *y = &j->samples[b * j->ninputs + k];
        if (x->rank == 0 || x->dims[0] != 1 || !same_shape(x, y))
            return false;
    }
    return true;
}

typedef struct join_job {
    const read_job *read;
    const size_t *rows;
    size_t input;
    char *to;
} join_job;

static ptq_status join_one(void *arg, size_t i, int worker)
{
    const join_job *j = arg;
    const ptq_tensor *t = &j->read->samples[j->rows[i] * j->read->ninputs + j->input];
    (void)worker;
    memcpy(j->to + i * t->nbytes, t->data, t->nbytes);
    return PTQ_OK;
}

/* Joins input k of all samples along axis 0. */
static ptq_status join(const read_job *j, size_t k, const size_t *rows, size_t n, ptq_tensor *out)
{
    ptq_tensor t = j->samples[rows[0] * j->ninputs + k];
    t.data = NULL;
    if (n > 1)
        t.dims[0] = (int64_t)n;
    PTQ_TRY(ptq_tensor_alloc(&t));
    *out = t;
    join_job job = {j, rows, k, t.data};
    return ptq_pool_for(j->f->pool, n, join_one, &job); /* new pages: as slow as reading */
}

/* Which of the n samples are in the batch: up to the first that cannot be joined to the others, and without
 * the unreadable ones. */
static ptq_status choose_rows(read_job *j, size_t n, size_t *rows, size_t *kept, size_t *nkept, size_t *used)
{
    ptq_feed *f = j->f;
    *nkept = 0;
    *used = n;
    for (size_t i = 0; i < n; i++) {
        if (!j->why[i] && *nkept > 0 && !joinable(j, rows[0], i)) {
            f->mixed = true;
            *used = i;
            return PTQ_OK;
        }
        if (!j->why[i]) {
            rows[*nkept] = i;
            kept[(*nkept)++] = j->idx[i];
            continue;
        }
        f->nbad++;
        if (f->on_bad)
            PTQ_TRY(f->on_bad(f->on_bad_ctx, j->idx[i], j->why[i]));
        if ((double)f->nbad > f->max_bad_share * (double)f->limit)
            return ptq_fail(PTQ_ERR_DATA,
                            "%zu of %zu samples cannot be used, more than the allowed %g %% "
                            "(--skip-bad); the last: %s",
                            f->nbad, f->limit, 100.0 * f->max_bad_share, j->why[i]);
    }
    return PTQ_OK;
}

ptq_status ptq_feed_batch(ptq_feed *f, const size_t *idx, size_t n, ptq_tensor *inputs, size_t *kept,
                          size_t *nkept, size_t *used)
{
    size_t ni = f->graph->inputs.n;
    n = f->mixed ? 1 : n; /* the others would be read again */
    read_job j = {.f = f, .idx = idx, .ninputs = ni};
    j.samples = ptq_calloc(n * ni, sizeof *j.samples);
    j.why = ptq_calloc(n, sizeof *j.why);
    size_t *rows = ptq_calloc(n, sizeof *rows);
    ptq_status s = j.samples && j.why && rows ? PTQ_OK : ptq_fail_nomem();
    if (s == PTQ_OK)
        s = ptq_pool_for(f->pool, n, read_one, &j);
    if (s == PTQ_OK)
        s = choose_rows(&j, n, rows, kept, nkept, used);
    memset(inputs, 0, ni * sizeof *inputs);
    for (size_t k = 0; k < ni && s == PTQ_OK && *nkept > 0; k++)
        s = join(&j, k, rows, *nkept, &inputs[k]);
    if (s != PTQ_OK)
        free_tensors(inputs, ni);
    for (size_t i = 0; j.why && i < n; i++)
        free(j.why[i]);
    if (j.samples)
        free_tensors(j.samples, n * ni);
    free(j.samples);
    free(j.why);
    free(rows);
    return s;
}

void ptq_feed_release(const ptq_graph *g, ptq_tensor *inputs)
{
    free_tensors(inputs, g->inputs.n);
}
