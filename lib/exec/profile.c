/* SPDX-License-Identifier: Apache-2.0 */
/* Time per step. */
#include <stdlib.h>
#include <string.h>

#include "lib/exec/session_impl.h"

/* Points between the steps. Two lie before the first step: what passes between those is the cost of a
 * point itself, and is taken off every step. */
typedef struct ptq_marks {
    size_t n;            /* steps + 2 */
    void **mark;         /* backends with streams */
    double *clock;       /* others */
    const char **kernel; /* [steps] */
} ptq_marks;

static ptq_status note(ptq_session *s, size_t at)
{
    ptq_marks *m = s->marks;
    if (s->exe->ops->streams)
        return s->exe->ops->streams->mark(s->backend, &m->mark[at]);
    m->clock[at] = ptq_now();
    return PTQ_OK;
}

ptq_status ptq_session_mark(ptq_session *s, size_t i)
{
    if (i == 0)
        PTQ_TRY(note(s, 0));
    const char *kernel = s->exe->ops->kernel ? s->exe->ops->kernel(s->backend) : NULL;
    if (i > 0)
        s->marks->kernel[i - 1] = kernel;
    return note(s, i + 1);
}

static void marks_clear(ptq_session *s, ptq_marks *m)
{
    for (size_t i = 0; m->mark && s->exe->ops->streams && i < m->n; i++)
        s->exe->ops->streams->unmark(s->backend, m->mark[i]);
    free(m->mark);
    free(m->clock);
    free(m->kernel);
}

static ptq_status marks_init(const ptq_session *s, ptq_marks *m)
{
    m->n = s->p->steps.n + 2;
    m->mark = ptq_calloc(m->n, sizeof *m->mark);
    m->clock = ptq_calloc(m->n, sizeof *m->clock);
    m->kernel = ptq_calloc(m->n, sizeof *m->kernel);
    return m->mark && m->clock && m->kernel ? PTQ_OK : ptq_fail_nomem();
}

/* Seconds between points i and i + 1 of the last run. */
static ptq_status interval(ptq_session *s, size_t i, double *out)
{
    const ptq_marks *m = s->marks;
    if (s->exe->ops->streams)
        return s->exe->ops->streams->between(s->backend, m->mark[i], m->mark[i + 1], out);
    *out = m->clock[i + 1] - m->clock[i];
    return PTQ_OK;
}

/* Adds the last run as column `run` of took, [steps][runs]. */
static ptq_status collect(ptq_session *s, int run, int runs, double *took)
{
    double empty, all;
    PTQ_TRY(interval(s, 0, &empty));
    for (size_t i = 0; i < s->p->steps.n; i++) {
        PTQ_TRY(interval(s, i + 1, &all));
        took[i * (size_t)runs + (size_t)run] = all > empty ? all - empty : 0.0;
    }
    return PTQ_OK;
}

/* ---- what a step does ---- */

static bool is_op(const ptq_step *st, const char *op)
{
    return st->node && strcmp(st->node->op, op) == 0;
}

/* Outputs of a qconv that has taken in a pool: those of the convolution, which nobody keeps. */
static double outputs_before_pool(const ptq_step *st, const ptq_tensor *x, const ptq_tensor *w)
{
    ptq_window v;
    double n = (double)x->dims[0] * (double)w->dims[0];
    if (ptq_window_read(st->node, x->rank - 2, x->dims + 2, w->dims + 2, &v) != PTQ_OK)
        return 0.0;
    for (int d = 0; d < x->rank - 2; d++)
        n *= (double)ptq_window_out(&v, d, x->dims[2 + d], false);
    return n;
}

/* Multiply-accumulates from the shapes at run time; 0 for what does not multiply matrices. The length
 * of a sum: taps and channels of the weight, or the last dimension of the left factor. */
static double step_macs(const ptq_step *st, const ptq_binding *b)
{
    if (st->nin < 2 || st->nout < 1 || st->in[0] < 0 || st->in[1] < 0 || st->out[0] < 0)
        return 0.0;
    const ptq_tensor *x = &b->t[st->in[0]], *w = &b->t[st->in[1]], *y = &b->t[st->out[0]];
    double outputs = (double)ptq_tensor_elements(y), weights = (double)ptq_tensor_elements(w);
    if (strcmp(st->def->name, "qconv") == 0 && ((const ptq_qlinear_params *)st->params)->pool)
        outputs = outputs_before_pool(st, x, w);
    if (strcmp(st->def->name, "qconv") == 0 || is_op(st, "Conv") || is_op(st, "QLinearConv") || is_op(st, "ConvInteger"))
        return w->rank > 0 && w->dims[0] > 0 ? outputs * weights / (double)w->dims[0] : 0.0;
    if (is_op(st, "ConvTranspose"))
        return w->rank > 0 && w->dims[0] > 0 ? (double)ptq_tensor_elements(x) * weights / (double)w->dims[0] : 0.0;
    if (strcmp(st->def->name, "qgemm") == 0 || strcmp(st->def->name, "qmatmul") == 0 || is_op(st, "Gemm") ||
        is_op(st, "MatMul") || is_op(st, "QLinearMatMul") || is_op(st, "MatMulInteger"))
        return x->rank < 1 ? 0.0
               : is_op(st, "Gemm") && ptq_attr_int(st->node, "transA", 0) ? outputs * (double)x->dims[0]
                                                                         : outputs * (double)x->dims[x->rank - 1];
    return 0.0;
}

/* A view moves nothing; a value that is read twice comes from memory once; of a table only what is
 * looked up; weights that are multiplied in float16 lie so. */
static double step_bytes(const ptq_program *p, const ptq_step *st, const ptq_binding *b)
{
    double n = 0.0;
    if (st->nout > 0 && st->out[0] >= 0 && b->root[st->out[0]] != st->out[0])
        return 0.0;
    for (int i = 0; i < st->nin + st->nout; i++) {
        int v = i < st->nin ? st->in[i] : st->out[i - st->nin];
        bool again = v < 0;
        for (int k = 0; k < i && k < st->nin && !again; k++)
            again = st->in[k] == v;
        bool table = i == 0 && is_op(st, "Gather") && b->t[v].nbytes > b->t[st->out[0]].nbytes;
        bool packed = st->half && i == 1 && !again && p->values.v[v].constant;
        n += again ? 0.0 : (double)b->t[table ? st->out[0] : v].nbytes / (packed ? 2.0 : 1.0);
    }
    return n;
}

/* ---- running ---- */

typedef struct profile_run {
    const ptq_tensor *in;
    size_t nin;
    ptq_tensor *out;
    size_t nout;
    bool device;
    void *graph;
    size_t binding;
} profile_run;

static ptq_status one_run(ptq_session *s, profile_run *r)
{
    if (r->graph)
        return s->exe->ops->streams->replay(s->backend, r->graph);
    if (r->device)
        return ptq_session_run_device(s, s->bindings[r->binding], r->in, r->out);
    return ptq_session_run(s, r->in, r->nin, r->out, r->nout);
}

static ptq_status prepare(ptq_session *s, profile_run *r)
{
    for (int i = 0; i < 2; i++) /* kernels are chosen, scratch memory grows */
        PTQ_TRY(r->device ? ptq_session_enqueue(s, r->in, r->nin, r->out, r->nout, NULL)
                          : ptq_session_run(s, r->in, r->nin, r->out, r->nout));
    PTQ_TRY(ptq_session_bind(s, r->in, &r->binding));
    if (!r->device)
        return PTQ_OK;
    PTQ_TRY(s->exe->ops->sync(s->backend));
    return s->exe->ops->streams->use(s->backend, NULL);
}

static ptq_status measure(ptq_session *s, profile_run *r, int runs, double *took)
{
    if (r->device) {
        PTQ_TRY(one_run(s, r)); /* makes the marks, which a recording may not do */
        PTQ_TRY(s->exe->ops->sync(s->backend));
        if (ptq_session_record(s, s->bindings[r->binding], r->in, r->out, &r->graph) != PTQ_OK)
            r->graph = NULL; /* step by step then, which tells what is wrong if it is more than the recording */
    }
    for (int i = -1; i < runs; i++) { /* the first one warms up */
        PTQ_TRY(one_run(s, r));
        if (s->exe->ops->sync)
            PTQ_TRY(s->exe->ops->sync(s->backend));
        if (i >= 0)
            PTQ_TRY(collect(s, i, runs, took));
    }
    return PTQ_OK;
}

ptq_status ptq_session_profile(ptq_session *s, const ptq_tensor *in, size_t nin, ptq_tensor *out, size_t nout, bool device,
                               int runs, ptq_step_time *t, bool *recorded)
{
    profile_run r = {in, nin, out, nout, device, NULL, 0};
    ptq_marks m = {0};
    PTQ_TRY(prepare(s, &r));
    double *took = ptq_calloc(s->p->steps.n * (size_t)runs + 1, sizeof *took);
    ptq_status st = took ? marks_init(s, &m) : ptq_fail_nomem();
    s->marks = &m;
    if (st == PTQ_OK)
        st = measure(s, &r, runs, took);
    s->marks = NULL;
    for (size_t i = 0; i < s->p->steps.n && st == PTQ_OK; i++) {
        double *row = took + i * (size_t)runs;
        ptq_sort(row, (size_t)runs);
        t[i] = (ptq_step_time){.seconds = row[runs / 2], .kernel = m.kernel[i],
                               .macs = step_macs(&s->p->steps.v[i], s->bindings[r.binding]),
                               .bytes = step_bytes(s->p, &s->p->steps.v[i], s->bindings[r.binding])};
    }
    *recorded = r.graph != NULL;
    if (r.graph)
        s->exe->ops->streams->forget(s->backend, r.graph);
    marks_clear(s, &m);
    free(took);
    return st;
}
