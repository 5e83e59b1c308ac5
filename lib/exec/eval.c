/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/exec/eval.h"
#include "lib/exec/resolve.h"
#include "lib/exec/session.h"

struct ptq_evaluator {
    const ptq_backend_ops *ops;
    ptq_backend *backend;
};

ptq_status ptq_evaluator_new(ptq_evaluator **out)
{
    ptq_evaluator *e = ptq_calloc(1, sizeof *e);
    if (!e)
        return ptq_fail_nomem();
    e->ops = ptq_backend_find("cpu");
    ptq_backend_options opt = {0};
    ptq_status s = e->ops ? e->ops->open(&opt, &e->backend)
                          : ptq_fail(PTQ_ERR_INTERNAL, "there is no CPU backend");
    if (s != PTQ_OK) {
        free(e);
        return s;
    }
    *out = e;
    return PTQ_OK;
}

void ptq_evaluator_free(ptq_evaluator *e)
{
    if (e) {
        e->ops->close(e->backend);
        free(e);
    }
}

/* One step around the node; inputs are constants of the program. */
static ptq_status one_step(ptq_program *p, const ptq_node *n, const ptq_tensor *const *in)
{
    ptq_step s = {.def = ptq_step_def_find("float"), .node = n, .name = n->name, .nin = n->nin,
                  .nout = n->nout};
    s.in = ptq_arena_array(p->arena, (size_t)n->nin, sizeof *s.in);
    s.out = ptq_arena_array(p->arena, (size_t)n->nout, sizeof *s.out);
    s.params = ptq_arena_alloc(p->arena, sizeof(ptq_float_params));
    if (!s.in || !s.out || !s.params)
        return ptq_fail_nomem();
    ptq_quant_node q = {0};
    if (n->nin > 1 && in[0])
        PTQ_TRY(ptq_quant_node_read(p->arena, n, in[0]->rank, in[0]->dtype, in[1],
                                    n->nin > 2 ? in[2] : NULL, &q));
    if (q.step) {
        s.def = ptq_step_def_find(q.step);
        s.params = q.params;
        s.nin = 1;
    }
    for (int i = 0; i < s.nin; i++) {
        s.in[i] = in[i] ? (int)p->values.n : -1;
        ptq_pvalue v = {.name = n->in[i] ? n->in[i]->name : "", .value = n->in[i],
                        .constant = in[i], .first = -1};
        if (in[i])
            v.dtype = in[i]->dtype;
        if (in[i] && !PTQ_VEC_PUSH(p->arena, &p->values, v))
            return ptq_fail_nomem();
    }
    for (int i = 0; i < n->nout; i++) {
        s.out[i] = n->out[i] ? (int)p->values.n : -1;
        ptq_pvalue v = {.name = n->out[i] ? n->out[i]->name : "", .value = n->out[i],
                        .dtype = q.ytype};
        if (n->out[i] && !PTQ_VEC_PUSH(p->arena, &p->values, v))
            return ptq_fail_nomem();
    }
    return PTQ_VEC_PUSH(p->arena, &p->steps, s) ? PTQ_OK : ptq_fail_nomem();
}

static ptq_status run_step(ptq_evaluator *e, ptq_program *p, ptq_resolver *r,
                           const ptq_tensor *const *in, ptq_tensor *out)
{
    ptq_step *s = &p->steps.v[0];
    ptq_type *types = ptq_arena_array(p->arena, p->values.n, sizeof *types);
    ptq_contents **contents = ptq_arena_array(p->arena, p->values.n, sizeof *contents);
    size_t nlayout = (size_t)(s->nin > s->nout ? s->nin : s->nout);
    ptq_layout *layout = ptq_arena_array(p->arena, nlayout, sizeof *layout);
    if (!types || !contents || !layout)
        return ptq_fail_nomem();
    for (size_t i = 0; i < p->values.n; i++)
        if (p->values.v[i].constant)
            types[i] = ptq_type_of(p->values.v[i].constant);
    ptq_known known = {types, contents, NULL};
    PTQ_TRY(ptq_resolve_step(r, p, s, &known));
    for (int i = 0; i < s->nout; i++) {
        if (s->out[i] < 0)
            continue;
        p->values.v[s->out[i]].dtype = out[i].dtype = r->out[i].dtype;
        if (ptq_type_numbers(&r->out[i], &out[i]))
            PTQ_TRY(ptq_tensor_alloc(&out[i]));
    }
    void *state = NULL;
    if (e->ops->prepare)
        PTQ_TRY(e->ops->prepare(e->backend, p, s, &state));
    ptq_step_run run = {s, state, in, layout, out, layout};
    ptq_status status = e->ops->run(e->backend, &run);
    if (e->ops->release)
        e->ops->release(e->backend, s, state);
    return status;
}

ptq_status ptq_evaluate(ptq_evaluator *e, const ptq_node *n, int opset,
                        const ptq_tensor *const *in, ptq_tensor *out)
{
    ptq_graph g = {.path = "", .opset = opset};
    ptq_program p = {.graph = &g, .arena = ptq_arena_new()};
    ptq_resolver r = {0};
    const char *why = NULL;
    for (int i = 0; i < n->nout; i++)
        out[i] = (ptq_tensor){0};
    ptq_status s = p.arena ? one_step(&p, n, in) : ptq_fail_nomem();
    if (s == PTQ_OK && !e->ops->supports(e->backend, &p, &p.steps.v[0], &why))
        s = ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: operator %s is not supported%s%s", n->name,
                     n->op, why ? ": " : "", why ? why : "");
    if (s == PTQ_OK)
        s = ptq_resolver_init(&r, &p);
    if (s == PTQ_OK)
        s = run_step(e, &p, &r, in, out);
    if (s != PTQ_OK)
        for (int i = 0; i < n->nout; i++) {
            free(out[i].data);
            out[i] = (ptq_tensor){0};
        }
    ptq_resolver_clear(&r);
    ptq_arena_free(p.arena);
    return s;
}

ptq_status ptq_exec_eval_node(void *ctx, const ptq_node *n, int opset, ptq_tensor *out)
{
    (void)ctx;
    ptq_evaluator *e = NULL;
    const ptq_tensor **in = ptq_calloc((size_t)n->nin, sizeof *in);
    if (!in)
        return ptq_fail_nomem();
    ptq_status s = PTQ_OK;
    for (int i = 0; i < n->nin && s == PTQ_OK; i++) {
        in[i] = n->in[i] ? n->in[i]->constant : NULL;
        if (n->in[i] && !in[i])
            s = ptq_fail(PTQ_ERR_ARG, "node %s: input %s is not a constant", n->name, n->in[i]->name);
    }
    if (s == PTQ_OK)
        s = ptq_evaluator_new(&e);
    if (s == PTQ_OK)
        s = ptq_evaluate(e, n, opset, in, out);
    ptq_evaluator_free(e);
    free(in);
    return s;
}
