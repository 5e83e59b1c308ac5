/* SPDX-License-Identifier: Apache-2.0 */
/* Which of many items gain something, with a bounded number of trials. */
#ifndef PTQ_JOBS_RANK_H
#define PTQ_JOBS_RANK_H

#include "lib/core/core.h"

typedef struct ptq_ranked {
    size_t item;
    double gain;
} ptq_ranked;

/* What `n` items from `first` on gain together. */
typedef ptq_status (*ptq_gain_fn)(void *ctx, size_t first, size_t n, double *gain);

/* Tries items 0 ... count - 1, each alone where there are at most `trials` of them (2 or more). Else half of
 * the trials go to groups of neighbours and the other half to the members of the best groups. list[count] gets
 * the items that gain something, the best first; *n: how many. */
ptq_status ptq_rank(size_t count, size_t trials, ptq_gain_fn fn, void *ctx, ptq_ranked *list, size_t *n);

#endif
