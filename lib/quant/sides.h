/* SPDX-License-Identifier: Apache-2.0 */
/* A histogram as two distributions of |x|, of the positive and of the negative values, with
 * cumulative moments, so that the mass, sum and sum of squares between any two points cost a
 * lookup. Zeros are left out. Sums run outwards from zero: small values keep their precision
 * beside an outlier. */
#ifndef PTQ_QUANT_SIDES_H
#define PTQ_QUANT_SIDES_H

#include "lib/observers/stats.h"

typedef struct ptq_moments {
    double mass, sum, square;
} ptq_moments;

typedef struct ptq_side {
    size_t n;
    ptq_bin *bins;       /* of |x|, ascending */
    ptq_moments *before; /* [n + 1]: of all bins before i */
    double max;          /* 0 when n is 0 */
    uint32_t *first;     /* per cell of [0, max]: the bin to start looking at */
} ptq_side;

typedef struct ptq_sides {
    ptq_side pos, neg;
    double zeros, total;
    void *block; /* owns all arrays */
} ptq_sides;

ptq_status ptq_sides_make(const ptq_tensor_stats *stats, ptq_sides *out);
void ptq_sides_clear(ptq_sides *s);

/* Moments of the values in [0, x], values counting as evenly spread inside a bin. */
ptq_moments ptq_side_upto(const ptq_side *s, double x);

/* Sum of (|x| - scale * k)^2 over the side, k the nearest level of 0 .. top. */
double ptq_side_error(const ptq_side *s, double scale, int32_t top);
/* The same over values above the last level only: a lower bound that grows as scale shrinks. */
double ptq_side_clip_error(const ptq_side *s, double last);

#endif
