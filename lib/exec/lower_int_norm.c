/* SPDX-License-Identifier: Apache-2.0 */
/* LayerNormalization with QuantizeLinear behind it: one step that writes codes, and floats where they are
 * read too. */
#include "lib/exec/lower.h"

static bool is_f32(const ptq_value *v)
{
    const ptq_tensor *c = ptq_lower_constant(v);
    return (c ? c->dtype : v->dtype) == PTQ_DT_F32;
}

ptq_status ptq_pattern_norm(ptq_lower_ctx *l, const ptq_node *n, ptq_unit **unit)
{
    ptq_quants q;
    bool others;
    if (!l->opt->fuse || !n->def)
        return PTQ_OK;
    for (int i = 1; i < n->nout; i++) /* mean and deviation */
        if (n->out[i] && (n->out[i]->uses.n || ptq_lower_kept(l, n->out[i])))
            return PTQ_OK;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && !is_f32(n->in[i]))
            return PTQ_OK;
    if (!ptq_match_some_quants(l, n->out[0], &q, &others))
        return PTQ_OK;
    ptq_qnorm_params *p = ptq_arena_alloc(l->p->arena, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    *p = (ptq_qnorm_params){q.affine, q.qlo, q.qhi};
    PTQ_TRY(ptq_unit_new(l, "qnorm", n, n->nin, 2, unit));
    (*unit)->params = p;
    for (int i = 0; i < n->nin; i++)
        (*unit)->in[i] = (ptq_unit_value){.value = n->in[i]};
    (*unit)->out[1] = (ptq_unit_value){.value = others ? n->out[0] : NULL};
    return ptq_unit_quants(l, *unit, 0, &q);
}
