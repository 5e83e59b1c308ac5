/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_OBSERVERS_SCAN_H
#define PTQ_OBSERVERS_SCAN_H

#include "lib/observers/hist.h"
#include "lib/observers/observer.h"

enum {
    PTQ_SCAN_CHUNK = 2048, /* indices of a chunk stay in the first-level cache */
    PTQ_SCAN_LANES = 8,
};

/* One pass over at most PTQ_SCAN_CHUNK values: adds to *out and, unless index is NULL, writes the
 * histogram index of each value: float bits >> PTQ_HIST_SHIFT; for zeros of either sign
 * PTQ_HIST_OCTAVES * PTQ_HIST_BINS + (0 .. PTQ_SCAN_LANES - 1), so that runs of zeros (after Relu
 * half of all values) do not wait for each other's counter.
 * index has room for n rounded up to PTQ_SCAN_LANES. */
void ptq_scan(const float *values, size_t n, uint32_t *index, ptq_summary *out);

#endif
