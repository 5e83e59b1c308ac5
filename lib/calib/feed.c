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

static ptq_status read_one(void *arg, size_t i, int worker)
{
    read_job *j = arg;
    (void)worker;
    ptq_status s = j->f->source->read(j->f->source->ctx, j->idx[i], j->samples + i * j->ninputs, j->ninputs);
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

/* Joins input k of all samples along axis 0. */
static ptq_status join(const read_job *j, size_t k, const size_t *rows, size_t n, ptq_tensor *out)
{
    const ptq_tensor *first = &j->samples[rows[0] * j->ninputs + k];
    ptq_tensor t = *first;
    t.data = NULL;
    if (n > 1 && (t.rank == 0 || t.dims[0] != 1))
        return ptq_fail(PTQ_ERR_DATA, "input %s: samples without a batch axis cannot be joined",
                        j->f->graph->inputs.v[k]->name);
    if (n > 1)
        t.dims[0] = (int64_t)n;
    PTQ_TRY(ptq_tensor_alloc(&t));
    size_t part = first->nbytes;
    for (size_t r = 0; r < n; r++) {
        const ptq_tensor *s = &j->samples[rows[r] * j->ninputs + k];
        if (!same_shape(s, first)) {
            char a[128], b[128];
            free(t.data);
            return ptq_fail(PTQ_ERR_DATA, "input %s: sample %zu is %s, sample %zu is %s; use --batch 1 or resize",
                            j->f->graph->inputs.v[k]->name, j->idx[rows[0]],
                            ptq_shape_str(first->rank, first->dims, a, sizeof a), j->idx[rows[r]],
                            ptq_shape_str(s->rank, s->dims, b, sizeof b));
        }
        memcpy((char *)t.data + r * part, s->data, part);
    }
    *out = t;
    return PTQ_OK;
}

static ptq_status take_out_bad(read_job *j, size_t n, size_t *rows, size_t *kept, size_t *nkept)
{
    ptq_feed *f = j->f;
    *nkept = 0;
    for (size_t i = 0; i < n; i++) {
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
                            "%zu of %zu samples are unreadable, more than the allowed %g %% "
                            "(--skip-bad); the last: %s",
                            f->nbad, f->limit, 100.0 * f->max_bad_share, j->why[i]);
    }
    return PTQ_OK;
}

ptq_status ptq_feed_batch(ptq_feed *f, const size_t *idx, size_t n, ptq_tensor *inputs, size_t *kept,
                          size_t *nkept)
{
    size_t ni = f->graph->inputs.n;
    read_job j = {.f = f, .idx = idx, .ninputs = ni};
    j.samples = ptq_calloc(n * ni, sizeof *j.samples);
    j.why = ptq_calloc(n, sizeof *j.why);
    size_t *rows = ptq_calloc(n, sizeof *rows);
    ptq_status s = j.samples && j.why && rows ? PTQ_OK : ptq_fail_nomem();
    if (s == PTQ_OK)
        s = ptq_pool_for(f->pool, n, read_one, &j);
    if (s == PTQ_OK)
        s = take_out_bad(&j, n, rows, kept, nkept);
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
