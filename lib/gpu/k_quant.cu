/* SPDX-License-Identifier: Apache-2.0 */
/* quantize, dequantize. */
#include "lib/gpu/chunk.h"
#ifdef __CUDACC__
#include "lib/gpu/quant_wide.cuh"
#endif

/* Elements that this thread makes; the last thread may have fewer. */
PTQ_DEVICE int lanes_of(const ptq_k_quant *a, int64_t from)
{
    return a->n - from < a->lanes ? (int)(a->n - from) : a->lanes;
}

/* Where element i of y lies in x. */
PTQ_DEVICE int64_t source(const ptq_k_quant *a, int64_t i)
{
    if (!a->rows)
        return i;
    int64_t col = i % a->cols, row = i / a->cols % a->rows, n = i / (a->cols * a->rows);
    return (n * a->cols + col) * a->rows + row;
}

PTQ_DEVICE void params(const ptq_k_quant *a, int64_t i, float *scale, int32_t *zp)
{
    *scale = a->one_scale;
    *zp = a->one_zp;
    if (a->scale) {
        int64_t c = i / a->inner % a->channels;
        *scale = a->scale[c];
        *zp = a->zp ? a->zp[c] : 0;
    }
}

/* Integer e of a chunk. */
PTQ_DEVICE int32_t integer(const ptq_k_chunk *c, int e, int bytes, int32_t sgn)
{
    if (bytes == 1)
        return ptq_k_code(c, e, sgn);
    if (bytes == 4)
        return (int32_t)c->w[e];
    uint32_t v = c->w[e / 2] >> (16 * (e % 2)) & 0xffff;
    return sgn ? (int32_t)(int16_t)v : (int32_t)v;
}

PTQ_DEVICE float as_float(uint32_t v)
{
    union {
        uint32_t u;
        float f;
    } x;
    x.u = v;
    return x.f;
}

PTQ_DEVICE uint32_t as_word(float v)
{
    union {
        uint32_t u;
        float f;
    } x;
    x.f = v;
    return x.u;
}

PTQ_KERNEL(quantize, ptq_k_quant a)
{
    PTQ_EACH(i, (a.n + a.lanes - 1) / a.lanes)
    {
        int64_t at = i * a.lanes;
        int n = lanes_of(&a, at);
        ptq_k_chunk x = ptq_k_load((const float *)a.x + source(&a, at), 4 * n), y = {{0, 0, 0, 0}};
        PTQ_UNROLL
        for (int e = 0; e < 4; e++) {
            float scale;
            int32_t zp;
            if (e >= n)
                continue;
            params(&a, at + e, &scale, &zp);
            uint32_t q = (uint32_t)ptq_quantize(as_float(x.w[e]), scale, zp, a.lo, a.hi);
            if (a.bytes == 1)
                ptq_k_put(&y, e, q);
            else
                y.w[e / 2] |= (q & 0xffff) << (16 * (e % 2));
        }
        ptq_k_store((uint8_t *)a.y + at * a.bytes, y, n * a.bytes);
    }
}

PTQ_KERNEL(dequantize, ptq_k_quant a)
{
    PTQ_EACH(i, (a.n + a.lanes - 1) / a.lanes)
    {
        int64_t at = i * a.lanes;
        int n = lanes_of(&a, at);
        ptq_k_chunk x = ptq_k_load((const uint8_t *)a.x + source(&a, at) * a.bytes, n * a.bytes);
        ptq_k_chunk y = {{0, 0, 0, 0}};
        PTQ_UNROLL
        for (int e = 0; e < 4; e++) {
            float scale;
            int32_t zp;
            if (e >= n)
                continue;
            params(&a, at + e, &scale, &zp);
            y.w[e] = as_word(ptq_dequantize(integer(&x, e, a.bytes, a.sgn), scale, zp));
        }
        ptq_k_store((float *)a.y + at, y, 4 * n);
    }
}

ptq_status ptq_k_run_quantize(ptq_dev *d, const ptq_k_quant *a)
{
#ifdef __CUDACC__
    if (quant_fits(a))
        return quant_run(d, a);
#endif
    return PTQ_LAUNCH(d, quantize, (a->n + a->lanes - 1) / a->lanes, *a);
}

ptq_status ptq_k_run_dequantize(ptq_dev *d, const ptq_k_quant *a)
{
    return PTQ_LAUNCH(d, dequantize, (a->n + a->lanes - 1) / a->lanes, *a);
}
