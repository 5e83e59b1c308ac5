/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/core/sequence.h"
#include "lib/exec/args.h"
#include "lib/exec/control.h"

#include <stdlib.h>
#include <string.h>

/* ---- bodies ---- */

/* Sizes that a value has in one iteration need not hold in the next. */
static void forget_sizes(ptq_value *v)
{
    v->shape = ptq_shape_unknown();
    v->contents = NULL;
    v->ncontents = 0;
}

/* Loop-carried values and the states of a Scan. */
static void open_states(const ptq_node *n, ptq_graph *body)
{
    size_t first = strcmp(n->op, "Loop") == 0 ? 2 : 0, last = body->inputs.n;
    if (strcmp(n->op, "If") == 0)
        return;
    if (strcmp(n->op, "SequenceMap") == 0) { /* every element may have another shape */
        for (size_t i = 0; i < last; i++)
            forget_sizes(body->inputs.v[i]);
        return;
    }
    if (n->op[0] == 'S') {
        int64_t scans = ptq_attr_int(n, "num_scan_inputs", 0);
        last = scans >= 0 && (size_t)scans <= last ? last - (size_t)scans : 0;
    }
    for (size_t i = first; i < last; i++)
        forget_sizes(body->inputs.v[i]);
}

/* Captured values become inputs, or constants where they are constants outside. */
static ptq_status open_captured(const ptq_program *p, const ptq_step *s, ptq_control_body *b)
{
    int n = 0;
    b->slot = ptq_calloc(b->g->captured.n, sizeof *b->slot);
    if (!b->slot)
        return ptq_fail_nomem();
    for (size_t i = 0; i < b->g->captured.n; i++) {
        ptq_value *v = b->g->captured.v[i];
        int slot = -1;
        for (int k = 0; k < s->node->ncaptures && slot < 0; k++)
            if (strcmp(s->node->captures[k]->name, v->name) == 0)
                slot = s->node->nin + k;
        if (slot < 0)
            return ptq_fail(PTQ_ERR_INTERNAL, "node %s: its subgraph reads '%s', which is not around it", s->name,
                            v->name);
        const ptq_pvalue *pv = &p->values.v[s->in[slot]];
        if (pv->constant) {
            PTQ_TRY(ptq_value_make_constant(b->g, v, pv->constant, false));
            continue;
        }
        v->dtype = pv->dtype;
        v->shape = ptq_shape_unknown();
        b->slot[n++] = slot;
        PTQ_TRY(ptq_graph_add_input(b->g, v));
    }
    b->g->captured.n = 0;
    return PTQ_OK;
}

static ptq_status new_body(const ptq_program *p, const ptq_step *s, const char *attr, size_t nin, size_t nout,
                           const ptq_executable_options *opt, ptq_control_body *b)
{
    const ptq_graph *g = ptq_node_body(s->node, attr);
    if (!g)
        return ptq_fail(PTQ_ERR_MODEL, "node %s (%s): the subgraph %s is missing", s->name, s->node->op, attr);
    if (g->inputs.n != nin || g->outputs.n < nout)
        return ptq_fail(PTQ_ERR_MODEL, "node %s (%s): its subgraph has %zu inputs and %zu outputs, %zu and %zu are needed",
                        s->name, s->node->op, g->inputs.n, g->outputs.n, nin, nout);
    PTQ_TRY(ptq_graph_clone(g, &b->g));
    b->g->outer = NULL;
    b->nformal = (int)nin;
    open_states(s->node, b->g);
    PTQ_TRY(open_captured(p, s, b));
    PTQ_TRY(ptq_infer_graph(b->g));
    return ptq_executable_new(b->g, opt, &b->exe);
}

ptq_status ptq_control_new(const ptq_step *s, const ptq_program *p, const ptq_executable_options *opt,
                           ptq_control **out)
{
    const ptq_node *n = s->node;
    bool is_if = n->op[0] == 'I', loop = n->op[0] == 'L';
    ptq_control *c = ptq_calloc(1, sizeof *c);
    if (!c)
        return ptq_fail_nomem();
    c->step = s;
    c->nbodies = is_if ? 2 : 1;
    ptq_executable_options body = *opt;
    body.ops = NULL;
    body.backend = "cpu";
    body.lower.keep = NULL; /* taps see the values of the graph around */
    ptq_status st = PTQ_OK;
    for (int i = 0; i < c->nbodies && st == PTQ_OK; i++)
        st = new_body(p, s, is_if ? (i ? "else_branch" : "then_branch") : "body", is_if ? 0 : (size_t)n->nin,
                      (size_t)n->nout + loop, &body, &c->body[i]);
    if (st != PTQ_OK) {
        ptq_control_free(c);
        return ptq_fail_prefix(st, "subgraph of node '%s' (%s)", s->name, n->op);
    }
    *out = c;
    return PTQ_OK;
}

void ptq_control_free(ptq_control *c)
{
    for (int i = 0; c && i < PTQ_CONTROL_BODIES; i++) {
        ptq_executable_free(c->body[i].exe);
        ptq_graph_free(c->body[i].g);
        free(c->body[i].slot);
    }
    free(c);
}

/* ---- running ---- */

ptq_status ptq_control_run_new(const ptq_control *c, ptq_pool *pool, ptq_control_run **out)
{
    ptq_control_run *r = ptq_calloc(1, sizeof *r);
    if (!r)
        return ptq_fail_nomem();
    r->c = c;
    ptq_session_options opt = {.device = {.pool = pool}};
    ptq_status st = PTQ_OK;
    for (int i = 0; i < c->nbodies && st == PTQ_OK; i++) {
        const ptq_graph *g = c->body[i].g;
        r->in[i] = ptq_calloc(g->inputs.n, sizeof *r->in[i]);
        r->out[i] = ptq_calloc(g->outputs.n, sizeof *r->out[i]);
        st = r->in[i] && r->out[i] ? ptq_session_on(c->body[i].exe, &opt, &r->session[i]) : ptq_fail_nomem();
    }
    if (st != PTQ_OK) {
        ptq_control_run_free(r);
        return st;
    }
    *out = r;
    return PTQ_OK;
}

void ptq_control_run_free(ptq_control_run *r)
{
    for (int i = 0; r && i < PTQ_CONTROL_BODIES; i++) {
        ptq_session_free(r->session[i]);
        free(r->in[i]);
        free(r->out[i]);
    }
    free(r);
}

ptq_status ptq_control_call(ptq_control_run *c, const ptq_step_run *r, int b)
{
    const ptq_control_body *body = &c->c->body[b];
    const ptq_graph *g = body->g;
    for (size_t i = (size_t)body->nformal; i < g->inputs.n; i++)
        c->in[b][i] = *r->in[body->slot[i - (size_t)body->nformal]];
    ptq_status s = ptq_session_run(c->session[b], c->in[b], g->inputs.n, c->out[b], g->outputs.n);
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "subgraph of node '%s' (%s)", r->step->name, r->step->node->op);
}

ptq_status ptq_control_give(const ptq_step_run *r, int i, const ptq_tensor *t)
{
    ptq_tensor *y = &r->out[i];
    if (r->step->out[i] < 0)
        return PTQ_OK;
    if (y->dtype != PTQ_DT_UNDEFINED && y->dtype != t->dtype && !ptq_is_none(t))
        return ptq_fail(PTQ_ERR_MODEL, "node %s: output %d is declared as %s, its subgraph gives %s", r->step->name, i,
                        ptq_dtype_name(y->dtype), ptq_dtype_name(t->dtype));
    return ptq_give_copy(r, i, t);
}

static ptq_status run_if(ptq_control_run *c, const ptq_step_run *r)
{
    const ptq_tensor *t = r->in[0];
    if (!t || t->dtype != PTQ_DT_BOOL || ptq_tensor_elements(t) != 1)
        return ptq_fail(PTQ_ERR_MODEL, "node %s: the condition is not one bool", r->step->name);
    int b = *(const uint8_t *)t->data ? 0 : 1;
    PTQ_TRY(ptq_control_call(c, r, b));
    for (int i = 0; i < r->step->nout; i++)
        PTQ_TRY(ptq_control_give(r, i, &c->out[b][i]));
    return PTQ_OK;
}

ptq_status ptq_control_step(ptq_control_run *c, const ptq_step_run *r)
{
    const char *op = r->step->node->op;
    if (strcmp(op, "If") == 0)
        return run_if(c, r);
    if (strcmp(op, "Loop") == 0)
        return ptq_control_loop(c, r);
    return strcmp(op, "SequenceMap") == 0 ? ptq_control_map(c, r) : ptq_control_scan(c, r);
}
