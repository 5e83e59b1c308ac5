/* SPDX-License-Identifier: Apache-2.0 */
/* A convolution and the MaxPool behind it as one step: what lies between, the largest tensor of many networks, is
 * neither written nor read. The codes are those of the two steps, because a maximum takes one of them. */
#include <string.h>

#include "lib/exec/lower.h"

/* The qconv whose codes nobody but this qmaxpool reads; PTQ_LINK_NONE. */
static int conv_of(const ptq_lower_ctx *l, const ptq_links *links, int pool)
{
    const ptq_program *p = l->p;
    const ptq_step *t = &p->steps.v[pool];
    int v = t->in[0], s = v < 0 ? PTQ_LINK_NONE : links->maker[v];
    if (s < 0 || strcmp(p->steps.v[s].def->name, "qconv") != 0 || links->reader[v] != pool)
        return PTQ_LINK_NONE;
    const ptq_pvalue *between = &p->values.v[v];
    const ptq_qlinear_params *q = p->steps.v[s].params;
    bool kept = between->is_output || (between->value && ptq_lower_kept(l, between->value));
    bool plain = !q->residual.kind && !q->float_out && !q->pool;
    return !kept && plain && l->opt->pools(p, &p->steps.v[s], t->node) ? s : PTQ_LINK_NONE;
}

static ptq_status take_in(ptq_program *p, int conv, int pool)
{
    ptq_step *s = &p->steps.v[conv];
    const ptq_step *t = &p->steps.v[pool];
    ptq_qlinear_params *q = ptq_arena_alloc(p->arena, sizeof *q);
    if (!q)
        return ptq_fail_nomem();
    *q = *(const ptq_qlinear_params *)s->params;
    q->pool = t->node;
    s->params = q;
    s->out[0] = t->out[0];
    s->name = ptq_arena_printf(p->arena, "%s and %s", s->name, t->name);
    return s->name ? PTQ_OK : ptq_fail_nomem();
}

ptq_status ptq_lower_pools(ptq_lower_ctx *l)
{
    ptq_program *p = l->p;
    ptq_links links;
    if (!l->opt->pools || !l->opt->integer || !l->opt->fuse)
        return PTQ_OK;
    bool *gone = ptq_arena_array(l->scratch, p->steps.n, sizeof *gone);
    if (!gone)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_lower_links(l, &links));
    for (int t = 0; t < (int)p->steps.n; t++) {
        int s = strcmp(p->steps.v[t].def->name, "qmaxpool") == 0 ? conv_of(l, &links, t) : PTQ_LINK_NONE;
        if (s < 0)
            continue;
        PTQ_TRY(take_in(p, s, t));
        gone[t] = true;
    }
    ptq_lower_drop(p, gone);
    return PTQ_OK;
}
