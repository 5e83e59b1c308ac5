/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an integer product, one element at a time, for every kernel that takes a ptq_k_epilogue. */
#ifndef PTQ_GPU_FINISH_H
#define PTQ_GPU_FINISH_H

#include "lib/gpu/launch.h"

PTQ_DEVICE float ptq_k_mult(const ptq_k_epilogue *e, int64_t channel)
{
    return e->mult[e->nw == 1 ? 0 : channel];
}

PTQ_DEVICE int32_t ptq_k_weight_zp(const ptq_k_epilogue *e, int64_t channel)
{
    return e->wzp ? e->wzp[e->nw == 1 ? 0 : channel] : 0;
}

PTQ_DEVICE float ptq_k_tail_value(const ptq_k_tail *t, float v, float factor, int64_t channel, int64_t at)
{
    if (t->bias)
        v += t->bias[channel];
    v = ptq_gelu_of(v * factor, t->gelu);
    return t->add ? v + t->add[at] : v;
}

PTQ_DEVICE ptq_k_part ptq_k_part_of(const ptq_k_epilogue *e, int64_t channel)
{
    for (int i = 0; i < e->tail.parts; i++)
        if (channel < e->tail.part[i].end)
            return e->tail.part[i];
    ptq_k_part all = {0, e->tail.factor, e->tail.s, e->zy, e->lo, e->hi};
    return all;
}

PTQ_DEVICE bool ptq_k_is_float(const ptq_k_epilogue *e)
{
    return e->tail.on ? !e->tail.codes : e->float_out;
}

/* Element `at` of the output, where that is float. */
PTQ_DEVICE float ptq_k_float(const ptq_k_epilogue *e, int64_t at, int64_t channel, float m, int32_t acc)
{
    float v = (float)acc * m;
    return e->tail.on ? ptq_k_tail_value(&e->tail, v, e->tail.factor, channel, at) : v;
}

/* The same where it is a byte. */
PTQ_DEVICE uint8_t ptq_k_code(const ptq_k_epilogue *e, int64_t at, int64_t channel, float m, int32_t acc)
{
    if (e->tail.on) {
        ptq_k_part p = ptq_k_part_of(e, channel);
        float v = ptq_k_tail_value(&e->tail, (float)acc * m, p.factor, channel, at);
        return (uint8_t)ptq_quantize(v, p.s, p.zy, p.lo, p.hi);
    }
    if (e->residual.kind)
        return (uint8_t)ptq_requantize_residual(acc, m, e->zy, e->lo, e->hi,
                                                ptq_k_byte(e->skip, at, e->skip_signed), &e->residual);
    return (uint8_t)ptq_requantize(acc, m, e->zy, e->lo, e->hi);
}

/* A float tail whose sum or result lies in memory as float16. */
PTQ_DEVICE void ptq_k_finish_half(const ptq_k_epilogue *e, void *y, int64_t at, int64_t channel, float m, int32_t acc)
{
    ptq_k_tail t = e->tail;
    t.add = NULL;
    float v = ptq_k_tail_value(&t, (float)acc * m, t.factor, channel, at);
    if (e->tail.add)
        v += ptq_k_load_float(e->tail.add, at, e->tail.add_half);
    ptq_k_store_float(y, at, v, e->tail.y_half);
}

PTQ_DEVICE void ptq_k_finish(const ptq_k_epilogue *e, void *y, int64_t at, int64_t channel, int32_t acc)
{
    float m = ptq_k_mult(e, channel);
    if (e->tail.add_half || e->tail.y_half)
        ptq_k_finish_half(e, y, at, channel, m, acc);
    else if (ptq_k_is_float(e))
        ((float *)y)[at] = ptq_k_float(e, at, channel, m, acc);
    else
        ((uint8_t *)y)[at] = ptq_k_code(e, at, channel, m, acc);
}

#endif
