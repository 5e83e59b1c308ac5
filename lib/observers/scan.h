/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_OBSERVERS_SCAN_H
#define PTQ_OBSERVERS_SCAN_H

#include "lib/observers/hist.h"
#include "lib/observers/observer.h"

enum {
    PTQ_SCAN_CHUNK = 2048, /* indices of a chunk stay in the first-level cache */
    PTQ_SCAN_LANES = 16,
    PTQ_SCAN_COUNTERS = PTQ_HIST_OCTAVES * PTQ_HIST_BINS,
};

/* Counters that are still to be raised, counts[index[i]]++ for n indices. Each waits for the one store that a processor
 * makes in a cycle, so that it is done between the steps of a pass, which has little else to wait for. */
typedef struct ptq_due {
    uint32_t *counts;
    const uint32_t *index;
    size_t n;
} ptq_due;
/* Raises them all. */
void ptq_raise(const ptq_due *due);

/* One pass over `runs` runs of `inner` adjacent values, all beside each other and at most PTQ_SCAN_CHUNK of them. Adds
 * to *out, and to run_min and run_max ([runs], or NULL) what each run holds. Writes the histogram indices (float bits
 * >> PTQ_HIST_SHIFT) of the values but zeros, which after Relu are half of all, and returns how many; index has room
 * for PTQ_SCAN_LANES more. *least: at most the least magnitude of those, in bits. Raises what is due, with indices of a
 * pass before. */
size_t ptq_scan(const float *values, size_t runs, size_t inner, const ptq_due *due, uint32_t *index, uint32_t *least,
                ptq_summary *out, float *run_min, float *run_max);

/* The loop of ptq_scan for one instruction set. */
typedef struct ptq_extremes {
    int32_t lo, hi; /* float bits as integers in the order of the floats: negative ones with 31 bits turned over */
} ptq_extremes;
/* e: [runs], overwritten; inner > 0. index may be NULL. *least: bits of the least magnitude beside 0, if less. */
typedef size_t (*ptq_scan_fn)(const float *values, size_t runs, size_t inner, const ptq_due *due, uint32_t *index,
                              ptq_extremes *e, uint32_t *least);
enum { PTQ_SCAN_FORMS = 3 };
/* In rising order, from the plain one; NULL: not for this machine. */
ptq_scan_fn ptq_scan_form(int i);

#endif
