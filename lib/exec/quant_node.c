/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear and DequantizeLinear with constant parameters as quantize and dequantize steps. */
#include <string.h>

#include "lib/exec/eval.h"

void ptq_dtype_range(ptq_dtype t, int32_t *lo, int32_t *hi)
{
    int bits = ptq_dtype_bits(t);
    bool sgn = t == PTQ_DT_S8 || t == PTQ_DT_S16 || t == PTQ_DT_S32;
    *hi = bits >= 32 ? INT32_MAX : sgn ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
    *lo = sgn ? -*hi - 1 : 0;
}

static bool zero_point(const ptq_tensor *z, int64_t i, int32_t *out)
{
    switch (z->dtype) { /* reading memory of several types */
    case PTQ_DT_U8:
        *out = ((const uint8_t *)z->data)[i];
        return true;
    case PTQ_DT_S8:
        *out = ((const int8_t *)z->data)[i];
        return true;
    case PTQ_DT_U16:
        *out = ((const uint16_t *)z->data)[i];
        return true;
    case PTQ_DT_S16:
        *out = ((const int16_t *)z->data)[i];
        return true;
    case PTQ_DT_S32:
        *out = ((const int32_t *)z->data)[i];
        return true;
    default:
        return false;
    }
}

static bool codes_type(ptq_dtype t, bool quantize)
{
    return t == PTQ_DT_U8 || t == PTQ_DT_S8 || t == PTQ_DT_U16 || t == PTQ_DT_S16 ||
           (t == PTQ_DT_S32 && !quantize);
}

ptq_status ptq_quant_node_read(ptq_arena *a, const ptq_node *n, int rank, ptq_dtype xtype,
                               const ptq_tensor *scale, const ptq_tensor *zp, ptq_quant_node *out)
{
    bool quantize = strcmp(n->op, "QuantizeLinear") == 0;
    *out = (ptq_quant_node){0};
    if ((!quantize && strcmp(n->op, "DequantizeLinear") != 0) ||
        (n->domain[0] && strcmp(n->domain, "com.microsoft") != 0) || !scale ||
        (n->nin > 2 && n->in[2] && !zp))
        return PTQ_OK;
    ptq_dtype codes = quantize ? zp ? zp->dtype : (ptq_dtype)ptq_attr_int(n, "output_dtype", 0) : xtype;
    if (codes == PTQ_DT_UNDEFINED && quantize)
        codes = PTQ_DT_U8;
    if (scale->dtype != PTQ_DT_F32 || scale->rank > 1 || ptq_attr_int(n, "block_size", 0) != 0 ||
        !codes_type(codes, quantize) || (quantize && xtype != PTQ_DT_F32))
        return PTQ_OK;
    int64_t count = ptq_tensor_elements(scale), axis = ptq_attr_int(n, "axis", 1);
    if (count < 1 || count > INT32_MAX ||
        (zp && (ptq_tensor_elements(zp) != count || zp->dtype != codes)) ||
        (count > 1 && (rank < 1 || axis < -rank || axis >= rank)))
        return PTQ_OK;
    ptq_quant_params *q = ptq_arena_alloc(a, sizeof *q);
    int32_t *z = ptq_arena_array(a, (size_t)count, sizeof *z);
    if (!q || !z)
        return ptq_fail_nomem();
    for (int64_t i = 0; zp && i < count; i++)
        if (!zero_point(zp, i, &z[i]))
            return PTQ_OK;
    *q = (ptq_quant_params){.n = (int)count, .scale = scale->data, .zp = z};
    q->axis = count > 1 ? (int)(axis < 0 ? axis + rank : axis) : 0;
    ptq_dtype_range(codes, &q->qlo, &q->qhi);
    *out = (ptq_quant_node){quantize ? "quantize" : "dequantize", q, quantize ? codes : PTQ_DT_F32};
    return PTQ_OK;
}
