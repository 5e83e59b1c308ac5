/* SPDX-License-Identifier: Apache-2.0 */
/* qnorm: the rows of LayerNormalization, quantized while they lie in the cache. */
#include "lib/cpu/fkernel.h"
#include "lib/cpu/int.h"

static void quantize_ref(const ptq_norm_codes *c, const float *x, uint8_t *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (uint8_t)ptq_quantize(x[i], c->p->y.scale, c->p->y.zp, c->p->qlo, c->p->qhi);
}

static void quantize_fast(const ptq_norm_codes *c, const float *x, uint8_t *y, int64_t n)
{
    const ptq_int_vec *v = c->ctx;
    v->quantize(x, y, (size_t)n, &c->p->y.scale, &c->p->y.zp, 0, (ptq_qgrid){c->p->qlo, c->p->qhi});
}

static ptq_status run_norm(ptq_cpu *c, const ptq_step_run *r)
{
    const ptq_int_isa *isa = ptq_int_isa_of(c);
    const ptq_norm_codes q = {isa ? quantize_fast : quantize_ref, r->step->params, isa ? isa->vec : NULL,
                              r->out[0].data};
    return ptq_cpu_layer_norm(c, r, r->step->nout > 1 && r->step->out[1] >= 0 ? r->out[1].data : NULL, NULL, NULL, &q);
}

extern const ptq_cpu_kernel ptq_cpu_int_qnorm;
const ptq_cpu_kernel ptq_cpu_int_qnorm = {.name = "qnorm", .supports = ptq_supports_f32, .run = run_norm};
