/* SPDX-License-Identifier: Apache-2.0 */
/* Graph to program, in four passes over the nodes: match units, find what is demanded (from the
 * outputs backwards), emit steps, choose layouts. */
#include <stdlib.h>
#include <string.h>

#include "lib/core/spill.h"
#include "lib/exec/lower.h"
#include "lib/exec/view.h"

bool ptq_lower_kept(const ptq_lower_ctx *l, const ptq_value *v)
{
    return v->is_output || (l->opt->keep && l->opt->keep(l->opt->keep_ctx, v));
}

void ptq_lower_note(ptq_lower_ctx *l, const ptq_node *n, const char *reason)
{
    enum { LATEST = 4 }; /* attention asks for its second product before that is met */
    const ptq_program *p = l->p;
    for (size_t i = p->remarks.n; i > 0 && p->remarks.n - i < LATEST; i--)
        if (p->remarks.v[i - 1].node == n && strcmp(p->remarks.v[i - 1].reason, reason) == 0)
            return;
    ptq_lower_remark r = {n, reason};
    ptq_log(PTQ_LOG_DEBUG, "node %s stays in float: %s", n->name, reason);
    (void)PTQ_VEC_PUSH(l->p->arena, &l->p->remarks, r); /* a remark that is lost does no harm */
}

const ptq_tensor *ptq_lower_constant(const ptq_value *v)
{
    return ptq_constant_of(v);
}

ptq_status ptq_lower_new_value(ptq_program *p, ptq_pvalue v, int *out)
{
    if (!PTQ_VEC_PUSH(p->arena, &p->values, v))
        return ptq_fail_nomem();
    *out = (int)p->values.n - 1;
    return PTQ_OK;
}

ptq_status ptq_lower_value(ptq_lower_ctx *l, const ptq_value *v, int *out)
{
    if (!v) {
        *out = -1;
        return PTQ_OK;
    }
    if (l->pv[v->id] < 0) {
        const ptq_tensor *t = ptq_lower_constant(v);
        ptq_pvalue pv = {.name = v->name,
                         .value = v,
                         .dtype = t ? t->dtype : v->dtype,
                         .constant = t,
                         .is_input = v->is_input,
                         .is_output = v->is_output,
                         .first = -1,
                         .last = -1};
        PTQ_TRY(ptq_lower_new_value(l->p, pv, &l->pv[v->id]));
    }
    *out = l->pv[v->id];
    return PTQ_OK;
}

static ptq_status ctx_init(ptq_lower_ctx *l)
{
    l->scratch = ptq_arena_new();
    if (!l->scratch)
        return ptq_fail_nomem();
    size_t nv = l->g->values.n, nn = (size_t)l->g->next_node_id;
    l->pv = ptq_arena_array(l->scratch, nv, sizeof *l->pv);
    l->demanded = ptq_arena_array(l->scratch, nv, sizeof *l->demanded);
    l->unit = ptq_arena_array(l->scratch, nn, sizeof(ptq_unit *));
    l->order = ptq_arena_array(l->scratch, nn, sizeof *l->order);
    l->taken = ptq_arena_array(l->scratch, nn, sizeof *l->taken);
    if (!l->pv || !l->demanded || !l->unit || !l->order || !l->taken)
        return ptq_fail_nomem();
    for (size_t i = 0; i < nv; i++)
        l->pv[i] = -1;
    int at = 0;
    PTQ_GRAPH_EACH_NODE(l->g, n)
        l->order[n->id] = at++;
    return ptq_evaluator_new(&l->eval);
}

static bool unit_demanded(const ptq_lower_ctx *l, const ptq_unit *u)
{
    for (int i = 0; i < u->nout; i++)
        if (u->out[i].value && l->demanded[u->out[i].value->id])
            return true;
    for (size_t i = 0; i < u->aliases.n; i++)
        if (l->demanded[u->aliases.v[i].value->id])
            return true;
    return false;
}

static bool node_demanded(const ptq_lower_ctx *l, const ptq_node *n)
{
    for (int i = 0; i < n->nout; i++)
        if (n->out[i] && l->demanded[n->out[i]->id])
            return true;
    return false;
}

static void demand_inputs(ptq_lower_ctx *l, const ptq_node *n)
{
    for (int i = 0; i < n->nin; i++)
        if (n->in[i])
            l->demanded[n->in[i]->id] = true;
    for (int i = 0; i < n->ncaptures; i++)
        l->demanded[n->captures[i]->id] = true;
}

static void find_demanded(ptq_lower_ctx *l)
{
    for (size_t i = 0; i < l->g->values.n; i++) {
        const ptq_value *v = l->g->values.v[i];
        if (v && ptq_lower_kept(l, v))
            l->demanded[i] = true;
    }
    for (const ptq_node *n = l->g->last; n; n = n->prev) {
        const ptq_unit *u = l->unit[n->id];
        if (!u) {
            if (node_demanded(l, n))
                demand_inputs(l, n);
        } else if (u->anchor == n && unit_demanded(l, u)) {
            for (int i = 0; i < u->nin; i++)
                if (u->in[i].value)
                    l->demanded[u->in[i].value->id] = true;
        }
    }
}

static ptq_status emit(ptq_lower_ctx *l)
{
    for (const ptq_node *n = l->g->first; n; n = n->next) {
        const ptq_unit *u = l->unit[n->id];
        if (u) {
            if (u->anchor == n && unit_demanded(l, u))
                PTQ_TRY(ptq_lower_unit(l, u));
            continue;
        }
        bool folded = false;
        if (l->taken[n->id] || !node_demanded(l, n) || (n->nout > 0 && n->out[0] && l->pv[n->out[0]->id] >= 0))
            continue; /* fused behind an earlier step */
        PTQ_TRY(ptq_lower_fold(l, n, &folded));
        if (!folded)
            PTQ_TRY(ptq_lower_float_node(l, n));
    }
    return PTQ_OK;
}

static ptq_status lower_ends(ptq_lower_ctx *l)
{
    ptq_program *p = l->p;
    const ptq_graph *g = l->g;
    p->ninputs = (int)g->inputs.n;
    p->noutputs = (int)g->outputs.n;
    p->inputs = ptq_arena_array(p->arena, g->inputs.n, sizeof *p->inputs);
    p->outputs = ptq_arena_array(p->arena, g->outputs.n, sizeof *p->outputs);
    if (!p->inputs || !p->outputs)
        return ptq_fail_nomem();
    for (size_t i = 0; i < g->inputs.n; i++)
        PTQ_TRY(ptq_lower_value(l, g->inputs.v[i], &p->inputs[i]));
    return PTQ_OK;
}

static ptq_status lower_outputs(ptq_lower_ctx *l)
{
    for (size_t i = 0; i < l->g->outputs.n; i++) {
        const ptq_value *v = l->g->outputs.v[i];
        if (l->pv[v->id] < 0 && !ptq_lower_constant(v))
            return ptq_fail(PTQ_ERR_MODEL, "output %s is never produced", v->name);
        PTQ_TRY(ptq_lower_value(l, v, &l->p->outputs[i]));
        l->p->values.v[l->p->outputs[i]].is_output = true;
    }
    return PTQ_OK;
}

ptq_status ptq_lower_links(ptq_lower_ctx *l, ptq_links *links)
{
    const ptq_program *p = l->p;
    links->maker = ptq_arena_array(l->scratch, p->values.n, sizeof *links->maker);
    links->reader = ptq_arena_array(l->scratch, p->values.n, sizeof *links->reader);
    if (!links->maker || !links->reader)
        return ptq_fail_nomem();
    for (size_t v = 0; v < p->values.n; v++)
        links->maker[v] = links->reader[v] = PTQ_LINK_NONE;
    for (int s = 0; s < (int)p->steps.n; s++) {
        const ptq_step *st = &p->steps.v[s];
        for (int i = 0; i < st->nin; i++)
            if (st->in[i] >= 0)
                links->reader[st->in[i]] = links->reader[st->in[i]] == PTQ_LINK_NONE ? s : PTQ_LINK_SEVERAL;
        for (int i = 0; i < st->nout; i++)
            if (st->out[i] >= 0)
                links->maker[st->out[i]] = s;
    }
    return PTQ_OK;
}

void ptq_lower_drop(ptq_program *p, const bool *gone)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->steps.n; i++)
        if (!gone[i])
            p->steps.v[kept++] = p->steps.v[i];
    p->steps.n = kept;
}

static void lifetimes(ptq_program *p)
{
    for (size_t i = 0; i < p->values.n; i++)
        p->values.v[i].first = p->values.v[i].last = -1;
    for (int s = 0; s < (int)p->steps.n; s++) {
        const ptq_step *st = &p->steps.v[s];
        for (int i = 0; i < st->nin; i++)
            if (st->in[i] >= 0)
                p->values.v[st->in[i]].last = s;
        for (int i = 0; i < st->nout; i++)
            if (st->out[i] >= 0)
                p->values.v[st->out[i]].first = p->values.v[st->out[i]].last = s;
    }
    for (int i = 0; i < p->noutputs; i++)
        p->values.v[p->outputs[i]].last = (int)p->steps.n;
}

ptq_status ptq_lower(const ptq_graph *g, const ptq_lower_options *opt, ptq_program **out)
{
    static const ptq_lower_options defaults;
    ptq_program *p = ptq_calloc(1, sizeof *p);
    if (!p || !(p->arena = ptq_arena_new())) {
        free(p);
        return ptq_fail_nomem();
    }
    p->graph = g;
    ptq_lower_ctx l = {.g = g, .opt = opt ? opt : &defaults, .p = p};
    ptq_status s = ctx_init(&l);
    if (s == PTQ_OK)
        s = ptq_lower_match(&l);
    if (s == PTQ_OK) {
        find_demanded(&l);
        s = lower_ends(&l);
    }
    if (s == PTQ_OK)
        s = emit(&l);
    if (s == PTQ_OK)
        s = lower_outputs(&l);
    if (s == PTQ_OK)
        s = ptq_lower_pools(&l);
    if (s == PTQ_OK)
        s = ptq_lower_join(&l);
    if (s == PTQ_OK)
        s = ptq_lower_layouts(&l);
    if (s == PTQ_OK)
        lifetimes(p);
    ptq_evaluator_free(l.eval);
    ptq_arena_free(l.scratch);
    if (s != PTQ_OK) {
        ptq_program_free(p);
        return s;
    }
    *out = p;
    return PTQ_OK;
}

void ptq_program_free(ptq_program *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->large.n; i++)
        ptq_spill_free(p->large.v[i].data);
    ptq_arena_free(p->arena);
    free(p);
}

ptq_status ptq_program_alloc(ptq_program *p, size_t n, void **out)
{
    ptq_program_piece piece = {ptq_spill_alloc(n ? n : 1), n};
    if (!piece.data)
        return ptq_fail_nomem();
    if (!PTQ_VEC_PUSH(p->arena, &p->large, piece)) {
        ptq_spill_free(piece.data);
        return ptq_fail_nomem();
    }
    *out = piece.data;
    return PTQ_OK;
}

void ptq_program_rest(const ptq_program *p)
{
    for (size_t i = 0; i < p->large.n; i++)
        if (ptq_spill_in_file(p->large.v[i].data))
            ptq_pages_rest(p->large.v[i].data, p->large.v[i].n);
}
