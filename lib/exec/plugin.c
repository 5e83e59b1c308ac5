/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/plugin.h"

#include <stdlib.h>
#include <string.h>

#include "lib/exec/lower.h"
#include "lib/exec/resolve.h"
#include "lib/graph/infer.h"

/* ---- what a plugin may ask ---- */

int64_t ptq_plugin_int(const ptq_plugin_call *c, const char *name, int64_t dflt)
{
    return ptq_attr_int(c->attributes, name, dflt);
}

float ptq_plugin_float(const ptq_plugin_call *c, const char *name, float dflt)
{
    return ptq_attr_float(c->attributes, name, dflt);
}

const char *ptq_plugin_string(const ptq_plugin_call *c, const char *name, const char *dflt)
{
    return ptq_attr_str(c->attributes, name, dflt);
}

const int64_t *ptq_plugin_ints(const ptq_plugin_call *c, const char *name, size_t *n)
{
    return ptq_attr_ints(c->attributes, name, n);
}

ptq_status ptq_plugin_fail(ptq_status status, const char *text)
{
    return ptq_fail(status, "%s", text);
}

/* ---- finding ---- */

const ptq_plugin *ptq_plugin_find(const ptq_plugin *const *list, size_t n, const ptq_node *node)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i]->op, node->op) == 0 && strcmp(list[i]->domain, node->domain) == 0)
            return list[i];
    return NULL;
}

ptq_status ptq_plugins_check(const ptq_plugin *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const ptq_plugin *p = list[i];
        if (!p || p->size < sizeof *p || !p->op || !p->domain || !p->shapes || !p->run || !(p->formats & PTQ_PLUGIN_FLOAT))
            return ptq_fail(PTQ_ERR_ARG, "plugin %zu lacks its size, operator, shape function, run function, or the float "
                            "format", i);
        if (ptq_op_find(p->op, p->domain, 1 << 20))
            return ptq_fail(PTQ_ERR_ARG, "plugin %zu: operator %s is the library's own", i, p->op);
    }
    return PTQ_OK;
}

ptq_status ptq_plugins_infer(ptq_graph *g, const ptq_plugin *const *list, size_t n)
{
    bool any = false;
    PTQ_GRAPH_EACH_NODE (g, node) {
        if (!ptq_plugin_find(list, n, node) || node->nin == 0 || !node->in[0])
            continue;
        for (int i = 0; i < node->nout; i++)
            if (node->out[i] && node->out[i]->dtype == PTQ_DT_UNDEFINED) {
                node->out[i]->dtype = node->in[0]->dtype;
                any = true;
            }
    }
    return any ? ptq_infer_graph(g) : PTQ_OK;
}

/* ---- calling ---- */

typedef struct tensors {
    ptq_plugin_tensor *in, *out;
    ptq_plugin_call call;
} tensors;

static void set_grid(ptq_plugin_tensor *t, const ptq_affine *q)
{
    t->quantized = q->scale > 0.0f;
    t->scale = q->scale;
    t->zero_point = q->zp;
}

static ptq_status new_tensors(const ptq_step *s, tensors *t)
{
    const ptq_plugin_params *p = s->params;
    t->in = ptq_calloc((size_t)s->nin, sizeof *t->in);
    t->out = ptq_calloc((size_t)s->nout, sizeof *t->out);
    if (!t->in || !t->out)
        return ptq_fail_nomem();
    for (int i = 0; i < s->nin; i++)
        set_grid(&t->in[i], &p->in[i]);
    for (int i = 0; i < s->nout; i++)
        set_grid(&t->out[i], &p->out[i]);
    t->call = (ptq_plugin_call){.node = s->name, .in = t->in, .nin = (size_t)s->nin, .out = t->out,
                                .nout = (size_t)s->nout, .attributes = s->node};
    return PTQ_OK;
}

static void free_tensors(tensors *t)
{
    free(t->in);
    free(t->out);
}

ptq_status ptq_plugin_run(const ptq_step_run *r, bool on_device, void *stream)
{
    const ptq_step *s = r->step;
    const ptq_plugin *p = ((const ptq_plugin_params *)s->params)->plugin;
    tensors t = {0};
    ptq_status st = new_tensors(s, &t);
    for (int i = 0; i < s->nin && st == PTQ_OK; i++)
        if (r->in[i])
            t.in[i].t = *r->in[i];
    for (int i = 0; i < s->nout && st == PTQ_OK; i++) {
        t.out[i].t = r->out[i];
        if (s->out[i] >= 0 && !r->out[i].data)
            st = ptq_fail(PTQ_ERR_UNSUPPORTED, "the plugin's shapes do not follow from those of its inputs");
    }
    t.call.stream = stream;
    if (st == PTQ_OK)
        st = on_device ? p->enqueue(p->ctx, &t.call) : p->run(p->ctx, &t.call);
    free_tensors(&t);
    return st == PTQ_OK ? st : ptq_fail_prefix(st, "plugin %s", p->op);
}

/* ---- shapes ---- */

static ptq_status tell_shapes(const ptq_step *s, ptq_infer *in, tensors *t)
{
    const ptq_plugin *p = ((const ptq_plugin_params *)s->params)->plugin;
    for (int i = 0; i < s->nin; i++) {
        if (s->in[i] < 0)
            continue;
        if (!ptq_type_numbers(&in->in[i], &t->in[i].t))
            return PTQ_OK; /* not known yet */
        if (in->value && in->value[i])
            t->in[i].t.data = in->value[i]->data;
    }
    for (int i = 0; i < s->nout; i++)
        t->out[i].t.dtype = t->in[0].t.dtype;
    ptq_status st = p->shapes(p->ctx, &t->call);
    if (st != PTQ_OK)
        return ptq_fail_prefix(st, "node %s: plugin %s", s->name, p->op);
    for (int i = 0; i < s->nout; i++) {
        size_t nbytes;
        const ptq_tensor *o = &t->out[i].t;
        if (o->rank < 0 || o->rank > PTQ_MAX_RANK || !ptq_tensor_nbytes(o->dtype, o->rank, o->dims, &nbytes))
            return ptq_fail(PTQ_ERR_MODEL, "node %s: plugin %s gives output %d an impossible shape", s->name, p->op, i);
        in->out[i] = ptq_type_of(o);
    }
    return PTQ_OK;
}

ptq_status ptq_plugin_infer(const ptq_step *s, ptq_infer *in)
{
    tensors t = {0};
    ptq_status st = new_tensors(s, &t);
    if (st == PTQ_OK)
        st = tell_shapes(s, in, &t);
    free_tensors(&t);
    return st;
}

/* ---- lowering ---- */

/* All inputs behind DequantizeLinear, all outputs in front of QuantizeLinear: the unit on the codes. */
static ptq_status on_codes(ptq_lower_ctx *l, const ptq_node *n, ptq_affine *in, ptq_affine *out, ptq_unit **unit)
{
    ptq_dq x;
    ptq_quants q;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && !ptq_match_dq(l, n->in[i], &x))
            return PTQ_OK;
    for (int i = 0; i < n->nout; i++)
        if (!n->out[i] || !ptq_match_quants(l, n->out[i], false, &q))
            return PTQ_OK;
    PTQ_TRY(ptq_unit_new(l, "plugin", n, n->nin, n->nout, unit));
    for (int i = 0; i < n->nin; i++) {
        if (!n->in[i] || !ptq_match_dq(l, n->in[i], &x))
            continue;
        in[i] = x.affine;
        (*unit)->in[i] = (ptq_unit_value){x.q, true, x.affine};
    }
    for (int i = 0; i < n->nout; i++) {
        ptq_match_quants(l, n->out[i], false, &q);
        out[i] = q.affine;
        PTQ_TRY(ptq_unit_quants(l, *unit, i, &q));
    }
    return PTQ_OK;
}

ptq_status ptq_pattern_plugin(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    const ptq_plugin *plugin = ptq_plugin_find(l->opt->plugins, l->opt->nplugins, n);
    if (!plugin)
        return PTQ_OK;
    ptq_plugin_params *p = ptq_arena_alloc(l->p->arena, sizeof *p);
    ptq_affine *in = ptq_arena_array(l->p->arena, (size_t)n->nin, sizeof *in);
    ptq_affine *out = ptq_arena_array(l->p->arena, (size_t)n->nout, sizeof *out);
    if (!p || !in || !out)
        return ptq_fail_nomem();
    if (l->opt->integer && (plugin->formats & PTQ_PLUGIN_INT8))
        PTQ_TRY(on_codes(l, n, in, out, unit));
    if (!*unit) {
        PTQ_TRY(ptq_unit_new(l, "plugin", n, n->nin, n->nout, unit));
        for (int i = 0; i < n->nin; i++)
            (*unit)->in[i] = (ptq_unit_value){.value = n->in[i]};
        for (int i = 0; i < n->nout; i++)
            (*unit)->out[i] = (ptq_unit_value){.value = n->out[i]};
    }
    *p = (ptq_plugin_params){plugin, in, out};
    (*unit)->params = p;
    return PTQ_OK;
}
