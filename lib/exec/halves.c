/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/exec/halves.h"

#include <stdlib.h>
#include <string.h>

/* Does the step only give its input another shape? Then both are of one type. */
static bool renames(const ptq_step *s)
{
    return strcmp(s->def->name, "float") == 0 && s->node->def && (s->node->def->flags & PTQ_OPF_VIEW) && s->nin > 0 &&
           s->nout == 1;
}

static void drop(bool *half, int v, bool *changed)
{
    *changed = *changed || half[v];
    half[v] = false;
}

/* Takes back what this step cannot read or write as a half. */
static bool restrict_to(const ptq_executable *e, size_t i, bool *half)
{
    const ptq_step *s = &e->p->steps.v[i];
    bool known = !e->on_host[i] && !e->control[i], changed = false;
    uint32_t able = known ? e->ops->halves(e->backend, e->p, s) : 0;
    if (known && renames(s) && s->in[0] >= 0 && s->out[0] >= 0 && half[s->in[0]] && half[s->out[0]])
        able = 1 | 1u << PTQ_HALF_OUTPUT;
    for (int k = 0; k < s->nin; k++)
        if (s->in[k] >= 0 && !(k < PTQ_HALF_OUTPUT && able >> k & 1))
            drop(half, s->in[k], &changed);
    for (int k = 0; k < s->nout; k++)
        if (s->out[k] >= 0 && !(k < PTQ_HALF_OUTPUT && able >> (PTQ_HALF_OUTPUT + k) & 1))
            drop(half, s->out[k], &changed);
    return changed;
}

ptq_status ptq_halves_mark(ptq_executable *e, const ptq_lower_options *opt)
{
    ptq_program *p = e->p;
    if (!e->device.fast_math || !e->ops->halves)
        return PTQ_OK;
    bool *half = ptq_calloc(p->values.n ? p->values.n : 1, sizeof *half), changed = true;
    if (!half)
        return ptq_fail_nomem();
    for (size_t v = 0; v < p->values.n; v++) {
        const ptq_pvalue *x = &p->values.v[v];
        bool kept = x->value && opt->keep && opt->keep(opt->keep_ctx, x->value);
        half[v] = x->dtype == PTQ_DT_F32 && x->layout == PTQ_LAYOUT_PLAIN && !x->constant && !x->is_input && !x->is_output &&
                  x->first >= 0 && !kept;
    }
    while (changed) { /* a view drops what is behind it, or in front */
        changed = false;
        for (size_t i = 0; i < p->steps.n; i++)
            changed = restrict_to(e, i, half) || changed;
    }
    for (size_t v = 0; v < p->values.n; v++)
        if (half[v])
            p->values.v[v].dtype = PTQ_DT_F16;
    free(half);
    return PTQ_OK;
}

void ptq_half_products_mark(ptq_executable *e)
{
    const char *why;
    if (!e->device.half_products || !e->ops->half_product)
        return;
    for (size_t i = 0; i < e->p->steps.n; i++) {
        ptq_step *s = &e->p->steps.v[i];
        s->half = !e->on_host[i] && !e->control[i] && e->ops->half_product(e->backend, e->p, s, &why);
    }
}
