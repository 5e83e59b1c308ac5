/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_OBSERVERS_SCAN_H
#define PTQ_OBSERVERS_SCAN_H

#include "lib/observers/hist.h"
#include "lib/observers/observer.h"

enum {
    PTQ_SCAN_CHUNK = 2048, /* indices of a chunk stay in the first-level cache */
    PTQ_SCAN_LANES = 16,
    /* Index of a zero of either sign, plus the lane, so that runs of zeros (after Relu half of all values) do not
     * wait for each other's counter. Beyond all octaves. */
    PTQ_SCAN_ZERO = PTQ_HIST_OCTAVES * PTQ_HIST_BINS,
    PTQ_SCAN_COUNTERS = PTQ_SCAN_ZERO + PTQ_SCAN_LANES,
};

/* One pass over at most PTQ_SCAN_CHUNK values: adds to *out and, unless index is NULL, writes the
 * histogram index of each value: float bits >> PTQ_HIST_SHIFT, or PTQ_SCAN_ZERO + (0 ... PTQ_SCAN_LANES - 1).
 * index has room for PTQ_SCAN_LANES values more. Returns the bits of the least magnitude beside zero, or at most
 * those; all ones where there is none. */
uint32_t ptq_scan(const float *values, size_t n, uint32_t *index, ptq_summary *out);

/* The loop of ptq_scan for one instruction set. */
typedef struct ptq_extremes {
    int32_t lo, hi; /* float bits as integers in the order of the floats: negative ones with 31 bits turned over */
    uint32_t least; /* bits of the least magnitude beside 0 */
} ptq_extremes;
#define PTQ_EXTREMES_NONE ((ptq_extremes){INT32_MAX, INT32_MIN, UINT32_MAX})
typedef void (*ptq_scan_fn)(const float *values, size_t n, uint32_t *index, ptq_extremes *e);
enum { PTQ_SCAN_FORMS = 3 };
/* In rising order, from the plain one; NULL: not for this machine. */
ptq_scan_fn ptq_scan_form(int i);

#endif
