/* SPDX-License-Identifier: Apache-2.0 */
/* Loop and Scan: values that go from one iteration to the next, and results that are collected. */
#include <stdlib.h>
#include <string.h>

#include "lib/core/sequence.h"
#include "lib/exec/control.h"

/* A model that never ends would hang its user; no exporter writes loops of this length. */
enum { MAX_ITERATIONS = 1 << 24 };

/* A value of the last iteration: the subgraph's results live until its next run, which reads them. */
typedef struct state {
    ptq_tensor now;
    void *room[2]; /* written in turn */
    size_t bytes[2];
} state;

/* One result per iteration, one after the other. */
typedef struct pile {
    ptq_tensor one; /* type and shape of each; no data */
    char *data;
    size_t n, used, room;
} pile;

typedef struct loop {
    ptq_control_run *c;
    const ptq_step_run *r;
    int nstate, npile;
    state *state;
    pile *pile;
} loop;

static ptq_status loop_new(ptq_control_run *c, const ptq_step_run *r, int nstate, int first, loop *l)
{
    *l = (loop){.c = c, .r = r, .nstate = nstate, .npile = r->step->nout - nstate};
    if (l->npile < 0)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: %d values go through the loop, it has %d outputs", r->step->name, nstate,
                        r->step->nout);
    l->state = ptq_calloc((size_t)nstate, sizeof *l->state);
    l->pile = ptq_calloc((size_t)l->npile, sizeof *l->pile);
    if (!l->state || !l->pile)
        return ptq_fail_nomem();
    for (int i = 0; i < nstate; i++) {
        if (!r->in[first + i])
            return ptq_fail(PTQ_ERR_MODEL, "node %s: input %d is missing", r->step->name, first + i);
        l->state[i].now = *r->in[first + i];
    }
    return PTQ_OK;
}

static void loop_free(loop *l)
{
    for (int i = 0; l->state && i < l->nstate; i++) {
        free(l->state[i].room[0]);
        free(l->state[i].room[1]);
    }
    for (int i = 0; l->pile && i < l->npile; i++)
        free(l->pile[i].data);
    free(l->state);
    free(l->pile);
}

static ptq_status keep_state(const loop *l, int i, const ptq_tensor *t, int64_t turn)
{
    state *s = &l->state[i];
    int k = (int)(turn & 1);
    if (s->now.dtype != t->dtype && !ptq_is_none(&s->now) && !ptq_is_none(t))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: value %d of the loop turns from %s into %s", l->r->step->name, i,
                        ptq_dtype_name(s->now.dtype), ptq_dtype_name(t->dtype));
    if (!s->room[k] || t->nbytes > s->bytes[k]) {
        void *p = ptq_alloc_aligned(t->nbytes);
        if (!p)
            return ptq_fail_nomem();
        free(s->room[k]);
        s->room[k] = p;
        s->bytes[k] = t->nbytes;
    }
    if (t->nbytes)
        memcpy(s->room[k], t->data, t->nbytes);
    s->now = *t;
    s->now.data = s->room[k];
    return PTQ_OK;
}

static ptq_status pile_up(const loop *l, int i, const ptq_tensor *t)
{
    pile *p = &l->pile[i];
    bool same = p->n == 0 || (p->one.dtype == t->dtype && p->one.rank == t->rank &&
                              memcmp(p->one.dims, t->dims, (size_t)t->rank * sizeof *t->dims) == 0);
    size_t need;
    if (!same || t->rank >= PTQ_MAX_RANK)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: result %d of iteration %zu has another shape or type than those before",
                        l->r->step->name, i, p->n);
    if (!ptq_add_size(p->used, t->nbytes, &need))
        return ptq_fail_nomem();
    if (need > p->room || !p->data) {
        size_t room = need > 2 * p->room ? need : 2 * p->room;
        char *d = ptq_alloc_aligned(room);
        if (!d)
            return ptq_fail_nomem();
        if (p->used)
            memcpy(d, p->data, p->used);
        free(p->data);
        p->data = d;
        p->room = room;
    }
    if (t->nbytes)
        memcpy(p->data + p->used, t->data, t->nbytes);
    p->used = need;
    p->n++;
    p->one = *t;
    p->one.data = NULL;
    return PTQ_OK;
}

/* Results of one run of the body: states first, then what is collected. */
static ptq_status take(const loop *l, const ptq_tensor *out, int64_t turn)
{
    for (int i = 0; i < l->nstate; i++)
        PTQ_TRY(keep_state(l, i, &out[i], turn));
    for (int i = 0; i < l->npile; i++)
        if (l->r->step->out[l->nstate + i] >= 0)
            PTQ_TRY(pile_up(l, i, &out[l->nstate + i]));
    return PTQ_OK;
}

/* Before the first iteration a result has the sizes that the subgraph declares, and 0 where it does not. */
static void declared(const loop *l, int out, pile *p)
{
    const ptq_value *v = ptq_node_body(l->r->step->node, "body")->outputs.v[out];
    p->one = (ptq_tensor){.dtype = v->dtype, .rank = v->shape.rank < 0 ? 0 : v->shape.rank};
    for (int i = 0; i < p->one.rank; i++)
        p->one.dims[i] = ptq_dim_known(v->shape.dims[i]) ? v->shape.dims[i].add : 0;
}

/* [n, one] with n moved to `axis`, backwards if asked. */
static ptq_status give_pile(const loop *l, int i, int64_t axis, bool backwards)
{
    pile *p = &l->pile[i];
    ptq_tensor *y = &l->r->out[l->nstate + i], t = p->one;
    if (l->r->step->out[l->nstate + i] < 0)
        return PTQ_OK;
    if (t.rank >= PTQ_MAX_RANK || axis < -t.rank - 1 || axis > t.rank)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: axis %lld of result %d is outside of rank %d", l->r->step->name,
                        (long long)axis, i, t.rank + 1);
    int at = (int)(axis < 0 ? axis + t.rank + 1 : axis);
    memmove(t.dims + at + 1, t.dims + at, (size_t)(t.rank - at) * sizeof *t.dims);
    t.dims[at] = (int64_t)p->n;
    t.rank++;
    if (y->dtype != PTQ_DT_UNDEFINED && t.dtype == PTQ_DT_UNDEFINED)
        t.dtype = y->dtype;
    PTQ_TRY(ptq_tensor_alloc(&t));
    size_t outer = 1, n = p->n;
    for (int d = 0; d < at; d++)
        outer *= (size_t)t.dims[d];
    size_t run = n && outer ? t.nbytes / n / outer : 0;
    for (size_t k = 0; run && k < n; k++)
        for (size_t o = 0; o < outer; o++)
            memcpy((char *)t.data + (o * n + (backwards ? n - 1 - k : k)) * run, p->data + (k * outer + o) * run, run);
    *y = t;
    return PTQ_OK;
}

static ptq_status give_states(const loop *l)
{
    for (int i = 0; i < l->nstate; i++)
        PTQ_TRY(ptq_control_give(l->r, i, &l->state[i].now));
    return PTQ_OK;
}

/* ---- Loop ---- */

static ptq_status one_bool(const loop *l, const ptq_tensor *t, uint8_t *out)
{
    if (t->dtype != PTQ_DT_BOOL || ptq_tensor_elements(t) != 1)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: the condition is not one bool", l->r->step->name);
    *out = *(const uint8_t *)t->data != 0;
    return PTQ_OK;
}

static ptq_status trip_count(const loop *l, int64_t *out)
{
    const ptq_tensor *t = l->r->in[0];
    *out = INT64_MAX;
    if (!t)
        return PTQ_OK;
    if (t->dtype != PTQ_DT_S64 || ptq_tensor_elements(t) != 1)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: the number of iterations is not one int64", l->r->step->name);
    *out = *(const int64_t *)t->data;
    return PTQ_OK;
}

static ptq_status iterate(loop *l)
{
    int64_t count;
    uint8_t go = 1;
    ptq_tensor *in = l->c->in[0];
    const ptq_graph *g = l->c->c->body[0].g;
    PTQ_TRY(trip_count(l, &count));
    if (l->r->in[1])
        PTQ_TRY(one_bool(l, l->r->in[1], &go));
    for (int64_t i = 0; i < count && go; i++) {
        if (i == MAX_ITERATIONS)
            return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: the loop has not ended after %d iterations", l->r->step->name,
                            MAX_ITERATIONS);
        in[0] = (ptq_tensor){.dtype = PTQ_DT_S64, .rank = g->inputs.v[0]->shape.rank == 1, .dims = {1}, .data = &i,
                             .nbytes = sizeof i};
        in[1] = (ptq_tensor){.dtype = PTQ_DT_BOOL, .rank = g->inputs.v[1]->shape.rank == 1, .dims = {1}, .data = &go,
                             .nbytes = 1};
        for (int k = 0; k < l->nstate; k++)
            in[2 + k] = l->state[k].now;
        PTQ_TRY(ptq_control_call(l->c, l->r, 0));
        PTQ_TRY(take(l, l->c->out[0] + 1, i));
        PTQ_TRY(one_bool(l, &l->c->out[0][0], &go));
    }
    return PTQ_OK;
}

ptq_status ptq_control_loop(ptq_control_run *c, const ptq_step_run *r)
{
    loop l;
    ptq_status s = loop_new(c, r, r->step->node->nin - 2, 2, &l);
    if (s == PTQ_OK)
        s = iterate(&l);
    if (s == PTQ_OK)
        s = give_states(&l);
    for (int i = 0; i < l.npile && s == PTQ_OK; i++) {
        if (l.pile[i].n == 0)
            declared(&l, 1 + l.nstate + i, &l.pile[i]);
        s = give_pile(&l, i, 0, false);
    }
    loop_free(&l);
    return s;
}

/* ---- Scan ---- */

static int64_t listed(const ptq_node *n, const char *attr, int i)
{
    size_t count;
    const int64_t *v = ptq_attr_ints(n, attr, &count);
    return v && (size_t)i < count ? v[i] : 0;
}

/* What is taken apart along one axis. */
typedef struct slices {
    const ptq_tensor *t;
    ptq_tensor one;
    int64_t n;
    size_t outer, run;
    bool backwards;
} slices;

static ptq_status slices_new(const loop *l, int i, slices *s)
{
    const ptq_node *n = l->r->step->node;
    const ptq_tensor *t = l->r->in[l->nstate + i];
    int64_t axis = listed(n, "scan_input_axes", i);
    if (!t || axis < -t->rank || axis >= t->rank)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: scan input %d has no axis %lld", l->r->step->name, i, (long long)axis);
    int at = (int)(axis < 0 ? axis + t->rank : axis);
    *s = (slices){.t = t, .one = *t, .n = t->dims[at], .outer = 1, .backwards = listed(n, "scan_input_directions", i) != 0};
    for (int d = 0; d < at; d++)
        s->outer *= (size_t)t->dims[d];
    memmove(s->one.dims + at, s->one.dims + at + 1, (size_t)(t->rank - at - 1) * sizeof *t->dims);
    s->one.rank--;
    s->run = s->n && s->outer ? t->nbytes / (size_t)s->n / s->outer : 0;
    s->one.nbytes = s->outer * s->run;
    s->one.data = ptq_alloc_aligned(s->one.nbytes);
    return s->one.data ? PTQ_OK : ptq_fail_nomem();
}

static void slice(const slices *s, int64_t i)
{
    size_t at = (size_t)(s->backwards ? s->n - 1 - i : i);
    for (size_t o = 0; s->run && o < s->outer; o++)
        memcpy((char *)s->one.data + o * s->run, (const char *)s->t->data + (o * (size_t)s->n + at) * s->run, s->run);
}

static ptq_status scan(loop *l, slices *s, int scans)
{
    ptq_tensor *in = l->c->in[0];
    for (int i = 0; i < scans; i++) {
        PTQ_TRY(slices_new(l, i, &s[i]));
        if (s[i].n != s[0].n)
            return ptq_fail(PTQ_ERR_DATA, "node %s: scan input %d has %lld slices, the first has %lld", l->r->step->name, i,
                            (long long)s[i].n, (long long)s[0].n);
    }
    for (int64_t i = 0; i < s[0].n; i++) {
        for (int k = 0; k < l->nstate; k++)
            in[k] = l->state[k].now;
        for (int k = 0; k < scans; k++) {
            slice(&s[k], i);
            in[l->nstate + k] = s[k].one;
        }
        PTQ_TRY(ptq_control_call(l->c, l->r, 0));
        PTQ_TRY(take(l, l->c->out[0], i));
    }
    return PTQ_OK;
}

static ptq_status give_scan(const loop *l)
{
    const ptq_node *n = l->r->step->node;
    PTQ_TRY(give_states(l));
    for (int i = 0; i < l->npile; i++) {
        if (l->pile[i].n == 0)
            declared(l, l->nstate + i, &l->pile[i]);
        PTQ_TRY(give_pile(l, i, listed(n, "scan_output_axes", i), listed(n, "scan_output_directions", i) != 0));
    }
    return PTQ_OK;
}

ptq_status ptq_control_scan(ptq_control_run *c, const ptq_step_run *r)
{
    const ptq_node *n = r->step->node;
    int64_t scans = ptq_attr_int(n, "num_scan_inputs", 0);
    if (scans < 1 || scans > n->nin)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: num_scan_inputs is %lld, the node has %d inputs", r->step->name,
                        (long long)scans, n->nin);
    loop l;
    slices *s = ptq_calloc((size_t)scans, sizeof *s);
    ptq_status st = loop_new(c, r, n->nin - (int)scans, 0, &l);
    if (st == PTQ_OK)
        st = s ? scan(&l, s, (int)scans) : ptq_fail_nomem();
    if (st == PTQ_OK)
        st = give_scan(&l);
    for (int64_t i = 0; s && i < scans; i++)
        free(s[i].one.data);
    free(s);
    loop_free(&l);
    return st;
}

/* ---- SequenceMap ---- */

/* Element i of every input that is a sequence; tensors are given to each call. */
static ptq_status set_elements(ptq_control_run *c, const ptq_step_run *r, int64_t i)
{
    for (int k = 0; k < r->step->node->nin; k++) {
        bool list = ptq_is_sequence(r->in[k]->dtype);
        if (list && i >= r->in[k]->dims[0])
            return ptq_fail(PTQ_ERR_DATA, "node %s: input %d has fewer elements than the first", r->step->name, k);
        c->in[0][k] = list ? ptq_sequence_get(r->in[k], i) : *r->in[k];
    }
    return PTQ_OK;
}

static ptq_status copy_results(ptq_control_run *c, const ptq_step_run *r, ptq_tensor *at)
{
    for (int k = 0; k < r->step->nout; k++) {
        at[k] = c->out[0][k];
        at[k].data = ptq_alloc_aligned(at[k].nbytes);
        if (!at[k].data)
            return ptq_fail_nomem();
        if (at[k].nbytes)
            memcpy(at[k].data, c->out[0][k].data, at[k].nbytes);
    }
    return PTQ_OK;
}

/* results: [n][outputs] */
static ptq_status give_sequences(ptq_control_run *c, const ptq_step_run *r, const ptq_tensor *results, int64_t n)
{
    int nout = r->step->nout;
    const ptq_tensor **p = ptq_calloc((size_t)n, sizeof *p);
    ptq_status s = p ? PTQ_OK : ptq_fail_nomem();
    for (int k = 0; k < nout && s == PTQ_OK; k++) {
        ptq_dtype t = n ? results[k].dtype : c->c->body[0].g->outputs.v[k]->dtype;
        for (int64_t i = 0; i < n; i++)
            p[i] = &results[i * nout + k];
        if (r->step->out[k] >= 0)
            s = ptq_sequence_pack(t, p, (size_t)n, &r->out[k]);
    }
    free(p);
    return s;
}

ptq_status ptq_control_map(ptq_control_run *c, const ptq_step_run *r)
{
    for (int k = 0; k < r->step->node->nin; k++)
        if (!r->in[k] || (k == 0 && !ptq_is_sequence(r->in[k]->dtype)) || ptq_is_none(r->in[k]))
            return ptq_fail(PTQ_ERR_MODEL, "node %s: input %d is %s", r->step->name, k, r->in[k] ? "no sequence" : "missing");
    int64_t n = r->in[0]->dims[0];
    size_t count;
    if (!ptq_mul_size((size_t)n, (size_t)r->step->nout, &count))
        return ptq_fail_nomem();
    ptq_tensor *results = ptq_calloc(count, sizeof *results);
    ptq_status s = results ? PTQ_OK : ptq_fail_nomem();
    for (int64_t i = 0; i < n && s == PTQ_OK; i++) {
        s = set_elements(c, r, i);
        if (s == PTQ_OK)
            s = ptq_control_call(c, r, 0);
        if (s == PTQ_OK)
            s = copy_results(c, r, results + i * r->step->nout);
    }
    if (s == PTQ_OK)
        s = give_sequences(c, r, results, n);
    for (size_t i = 0; results && i < count; i++)
        free(results[i].data);
    free(results);
    return s;
}
