/* SPDX-License-Identifier: Apache-2.0 */
/* Which element Pad repeats, written once for C and CUDA. */
#ifndef PTQ_CORE_PAD_H
#define PTQ_CORE_PAD_H

#include "lib/core/qmath.h"

typedef enum ptq_pad_mode { PTQ_PAD_CONSTANT, PTQ_PAD_EDGE, PTQ_PAD_REFLECT, PTQ_PAD_WRAP } ptq_pad_mode;

/* Source index of output index i (0 is the input's first element), or -1 for the constant. */
PTQ_HD int64_t ptq_pad_source(ptq_pad_mode mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == PTQ_PAD_CONSTANT || n == 0)
        return -1;
    if (mode == PTQ_PAD_EDGE)
        return i < 0 ? 0 : n - 1;
    int64_t period = mode == PTQ_PAD_WRAP ? n : 2 * (n - 1);
    if (period == 0)
        return 0;
    i = (i % period + period) % period;
    return i < n ? i : period - i;
}

#endif
