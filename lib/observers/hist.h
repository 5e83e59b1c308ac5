/* SPDX-License-Identifier: Apache-2.0 */
/* Histogram by leading float bits: the bin of a value is its sign, its exponent and the first 9
 * bits of its mantissa. No range has to be known and nothing is ever rebinned. */
#ifndef PTQ_OBSERVERS_HIST_H
#define PTQ_OBSERVERS_HIST_H

#include "lib/observers/octaves.h"

#pragma GCC visibility push(default)

enum {
    PTQ_HIST_SHIFT = 23 - PTQ_HIST_MANTISSA_BITS,
    PTQ_HIST_OCTAVES = 512,
};

/* Octave id = float bits >> 23: biased exponent (0: subnormals), plus 256 for negative values.
 * Bin = (bits >> PTQ_HIST_SHIFT) & 511. Zeros of either sign, NaN and infinities are in no
 * octave, so that 255 and 511 do not occur. */
typedef struct ptq_hist {
    uint64_t zeros;
    ptq_octaves stored; /* what was merged or read */
    /* What was observed here, to be added to that: a counter per sign, exponent and bin, of which most pages are
     * never touched, so that counting looks nothing up. */
    uint32_t *counts;     /* of the indices of scan.h */
    uint64_t pending;     /* values in them, fewer than 2^32 */
    uint32_t first, last; /* exponents that may have counts: first <= id <= last */
    bool negative;        /* so may their negatives */
} ptq_hist;

/* Ids of the octaves that hold any count, ascending; returns how many. */
int ptq_hist_octaves(const ptq_hist *h, int32_t ids[PTQ_HIST_OCTAVES]);
/* The counts of an octave; false, and zeros, when it holds none. */
bool ptq_hist_counts(const ptq_hist *h, int32_t id, uint64_t counts[PTQ_HIST_BINS]);
/* Adds counts that somebody else made (a device, a file). */
ptq_status ptq_hist_add_octave(ptq_hist *h, int32_t id, const uint64_t counts[PTQ_HIST_BINS]);
/* Values counted, zeros included. */
uint64_t ptq_hist_total(const ptq_hist *h);

/* Value interval of a bin. Positive: lo <= x < hi; negative: lo < x <= hi. */
void ptq_hist_edges(int32_t octave, int bin, double *lo, double *hi);

#pragma GCC visibility pop

#endif
