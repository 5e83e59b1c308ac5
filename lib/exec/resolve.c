/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/core/sequence.h"
#include "lib/exec/resolve.h"

ptq_status ptq_resolver_init(ptq_resolver *r, const ptq_program *p)
{
    size_t nin = 1, nout = 1;
    for (size_t i = 0; i < p->steps.n; i++) {
        const ptq_step *s = &p->steps.v[i];
        nin = (size_t)s->nin > nin ? (size_t)s->nin : nin;
        nout = (size_t)s->nout > nout ? (size_t)s->nout : nout;
    }
    r->in = ptq_calloc(nin, sizeof *r->in);
    r->out = ptq_calloc(nout, sizeof *r->out);
    r->value = ptq_calloc(nin, sizeof *r->value);
    r->in_contents = ptq_calloc(nin, sizeof *r->in_contents);
    r->out_contents = ptq_calloc(nout, sizeof *r->out_contents);
    if (!r->in || !r->out || !r->value || !r->in_contents || !r->out_contents) {
        ptq_resolver_clear(r);
        return ptq_fail_nomem();
    }
    return PTQ_OK;
}

void ptq_resolver_clear(ptq_resolver *r)
{
    free(r->in);
    free(r->out);
    free(r->value);
    free(r->in_contents);
    free(r->out_contents);
    *r = (ptq_resolver){0};
}

void ptq_contents_read(const ptq_tensor *t, ptq_contents *c)
{
    c->n = -1;
    int64_t n = ptq_tensor_elements(t);
    if (t->rank > 1 || n > PTQ_CONTENTS_MAX || !t->data ||
        (t->dtype != PTQ_DT_S64 && t->dtype != PTQ_DT_S32))
        return;
    c->n = (int)n;
    c->rank = t->rank;
    for (int i = 0; i < c->n; i++) {
        int64_t v;
        if (t->dtype == PTQ_DT_S64) {
            memcpy(&v, (const char *)t->data + 8 * i, 8);
        } else {
            int32_t w;
            memcpy(&w, (const char *)t->data + 4 * i, 4);
            v = w;
        }
        c->v[i] = ptq_dim_of(v);
    }
}

ptq_type ptq_type_of(const ptq_tensor *t)
{
    ptq_type r = {t->dtype, {.rank = t->rank}};
    for (int i = 0; i < t->rank; i++)
        r.shape.dims[i] = ptq_dim_of(t->dims[i]);
    return r;
}

bool ptq_type_numbers(const ptq_type *type, ptq_tensor *t)
{
    if (type->dtype == PTQ_DT_UNDEFINED || type->shape.rank < 0 || ptq_is_sequence(type->dtype))
        return false;
    for (int i = 0; i < type->shape.rank; i++)
        if (!ptq_dim_known(type->shape.dims[i]) || type->shape.dims[i].add < 0)
            return false;
    t->dtype = type->dtype;
    t->rank = type->shape.rank;
    for (int i = 0; i < t->rank; i++)
        t->dims[i] = type->shape.dims[i].add;
    return true;
}

bool ptq_may_tell_shapes(const ptq_tensor *t)
{
    if (t->dtype == PTQ_DT_F32 || t->dtype == PTQ_DT_F64)
        return t->rank == 0 || (t->rank == 1 && t->dims[0] <= PTQ_CONTENTS_MAX);
    return t->dtype == PTQ_DT_S64 || t->dtype == PTQ_DT_S32;
}

ptq_status ptq_resolve_step(ptq_resolver *r, const ptq_program *p, const ptq_step *s,
                            const ptq_known *k)
{
    for (int i = 0; i < s->nin; i++) {
        int v = s->in[i];
        r->value[i] = NULL;
        r->in_contents[i].n = -1;
        if (v < 0) {
            r->in[i] = (ptq_type){PTQ_DT_UNDEFINED, {.rank = -1}};
            continue;
        }
        r->in[i] = k->type[v];
        if (p->values.v[v].constant)
            r->value[i] = p->values.v[v].constant;
        else if (k->tensor && k->tensor[v] && k->tensor[v]->data && ptq_may_tell_shapes(k->tensor[v]))
            r->value[i] = k->tensor[v];
        if (k->contents[v])
            r->in_contents[i] = *k->contents[v];
        else if (r->value[i])
            ptq_contents_read(r->value[i], &r->in_contents[i]);
    }
    for (int i = 0; i < s->nout; i++) {
        r->out[i] = (ptq_type){PTQ_DT_UNDEFINED, {.rank = -1}};
        r->out_contents[i].n = -1;
    }
    ptq_infer in = {.node = s->node,
                    .opset = p->graph->opset,
                    .nin = s->nin,
                    .nout = s->nout,
                    .in = r->in,
                    .value = r->value,
                    .in_contents = r->in_contents,
                    .out = r->out,
                    .out_contents = r->out_contents};
    if (s->def->infer)
        PTQ_TRY(s->def->infer(s, &in));
    else if (s->node->def && s->node->def->infer)
        PTQ_TRY(s->node->def->infer(&in));
    for (int i = 0; i < s->nout; i++)
        if (s->out[i] >= 0 && p->values.v[s->out[i]].dtype != PTQ_DT_UNDEFINED)
            r->out[i].dtype = p->values.v[s->out[i]].dtype;
    return PTQ_OK;
}
