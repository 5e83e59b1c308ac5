/* SPDX-License-Identifier: Apache-2.0 */
/* The law of qgemm and qmatmul in plain loops. */
#include "lib/cpu/int.h"

/* Result i, of channel n, behind the float operations in the end of the product. */
static void store_tail(const ptq_step_run *r, int64_t i, int64_t n, int32_t acc)
{
    const ptq_qlinear_params *p = r->step->params;
    const float *add = p->tail.residual ? (const float *)r->in[2]->data + i : NULL;
    const ptq_product_part part = ptq_part_of_channel(p, n);
    float v = ptq_int_tail_of(&p->tail, (float)acc * ptq_int_mult(p, n), n, part.factor, add);
    if (p->float_out)
        ((float *)r->out[0].data)[i] = v;
    else
        ((uint8_t *)r->out[0].data)[i] = (uint8_t)ptq_quantize(v, part.y.scale, part.y.zp, part.qlo, part.qhi);
}

static ptq_status product(const ptq_step_run *r)
{
    const ptq_qlinear_params *p = r->step->params;
    bool as = ptq_int_signed(r->in[0]->dtype), bs = ptq_int_signed(r->in[1]->dtype);
    ptq_int_skip skip = ptq_int_skip_of(r);
    ptq_int_mm mm;
    PTQ_TRY(ptq_int_mm_of(r, &mm));
    for (int64_t i = 0; i < mm.batch; i++) {
        int64_t a0, b0;
        ptq_int_mm_offsets(&mm, i, &a0, &b0);
        for (int64_t m = 0; m < mm.m; m++)
            for (int64_t n = 0; n < mm.n; n++) {
                int32_t zb = ptq_int_wzp(p, n);
                uint32_t acc = p->bias ? (uint32_t)p->bias[n] : 0;
                for (int64_t k = 0; k < mm.k; k++)
                    acc += (uint32_t)(
                        (ptq_int_byte(r->in[0]->data, a0 + m * mm.a_row + k * mm.a_col, as) - p->x.zp) *
                        (ptq_int_byte(r->in[1]->data, b0 + k * mm.b_row + n * mm.b_col, bs) - zb));
                int64_t at = (i * mm.m + m) * mm.n + n;
                if (p->tail.on)
                    store_tail(r, at, n, (int32_t)acc);
                else
                    ptq_int_store(p, &skip, r->out[0].data, at, (int32_t)acc, ptq_int_mult(p, n));
            }
    }
    return PTQ_OK;
}

ptq_status ptq_int_ref_qgemm(const ptq_step_run *r)
{
    return product(r);
}

ptq_status ptq_int_ref_qmatmul(const ptq_step_run *r)
{
    return product(r);
}
