/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear and DequantizeLinear between float and integer tensors: one element per thread. */
#include "lib/core/cast.h"
#include "lib/gpu/kf.h"

/* Scale and zero point of element i. */
PTQ_DEVICE float parameters(const ptq_kf_quant *a, int64_t i, int32_t *zp)
{
    int64_t inner, k, at, rest, outer = ptq_kf_divide(ptq_kf_divide(i, a->inner, &inner), a->n, &k);
    at = a->n == 1 ? 0 : k;
    if (a->block > 0) {
        int64_t blocks = (a->n + a->block - 1) / a->block;
        at = (outer * blocks + ptq_kf_divide(k, a->block, &rest)) * a->inner + inner;
    }
    *zp = a->zp ? (int32_t)ptq_number_load(a->dtype, a->zp, at).i : 0;
    return a->scale[at];
}

PTQ_KERNEL(quantize, ptq_kf_quant a)
{
    PTQ_EACH(i, a.outer * a.n * a.inner)
    {
        int32_t zp;
        float scale = parameters(&a, i, &zp);
        int32_t q = ptq_quantize(((const float *)a.x)[i], scale, zp, a.lo, a.hi);
        if (a.dtype == PTQ_DT_S8 || a.dtype == PTQ_DT_U8)
            ((uint8_t *)a.y)[i] = (uint8_t)q;
        else
            ((uint16_t *)a.y)[i] = (uint16_t)q;
    }
}

ptq_status ptq_kf_run_quantize(ptq_dev *d, const ptq_kf_quant *a)
{
    return PTQ_LAUNCH(d, quantize, a->outer * a->n * a->inner, *a);
}

PTQ_KERNEL(dequantize, ptq_kf_quant a)
{
    PTQ_EACH(i, a.outer * a.n * a.inner)
    {
        int32_t zp;
        float scale = parameters(&a, i, &zp);
        ((float *)a.y)[i] = ptq_dequantize((int32_t)ptq_number_load(a.dtype, a.x, i).i, scale, zp);
    }
}

ptq_status ptq_kf_run_dequantize(ptq_dev *d, const ptq_kf_quant *a)
{
    return PTQ_LAUNCH(d, dequantize, a->outer * a->n * a->inner, *a);
}
