/* SPDX-License-Identifier: Apache-2.0 */
/* Counts of octaves in counters as wide as they need: most octaves of a histogram hold rare tiny
 * values, and how many there are grows with the samples. */
#ifndef PTQ_OBSERVERS_OCTAVES_H
#define PTQ_OBSERVERS_OCTAVES_H

#include "lib/core/core.h"

enum {
    PTQ_HIST_MANTISSA_BITS = 9,
    PTQ_HIST_BINS = 1 << PTQ_HIST_MANTISSA_BITS, /* per octave */
};

typedef struct ptq_octave {
    int32_t id;
    uint32_t width; /* bytes of a counter: 1, 2, 4 or 8 */
    uint64_t bound; /* no counter is larger */
    void *counts;   /* [PTQ_HIST_BINS] */
} ptq_octave;

/* Ascending by id. */
typedef struct ptq_octaves {
    ptq_octave *v;
    uint32_t n, capacity;
} ptq_octaves;

void ptq_octaves_clear(ptq_octaves *o);
/* NULL when there is no such octave. */
const ptq_octave *ptq_octaves_find(const ptq_octaves *o, int32_t id);
/* Adds to the octave. bits: the counts' disjunction, not 0. */
ptq_status ptq_octaves_add(ptq_octaves *o, int32_t id, const uint64_t *counts, uint64_t bits);
/* Adds what the counters hold, and sets them to 0. */
ptq_status ptq_octaves_take(ptq_octaves *o, int32_t id, uint32_t *counts);
/* Adds the octave to the counts. */
void ptq_octave_add_to(const ptq_octave *o, uint64_t *counts);

/* Disjunction of PTQ_HIST_BINS counts: 0 when all are 0, else between the largest and twice that. */
uint64_t ptq_octave_bits(const uint64_t *counts);

#endif
