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

/* The byte of element `at` of the output, where that is no float. */
PTQ_DEVICE uint8_t ptq_k_code(const ptq_k_epilogue *e, int64_t at, float m, int32_t acc)
{
    if (e->residual.kind)
        return (uint8_t)ptq_requantize_residual(acc, m, e->zy, e->lo, e->hi,
                                                ptq_k_byte(e->skip, at, e->skip_signed), &e->residual);
    return (uint8_t)ptq_requantize(acc, m, e->zy, e->lo, e->hi);
}

#endif
