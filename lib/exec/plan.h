/* SPDX-License-Identifier: Apache-2.0 */
/* Lifetimes to offsets in one block. */
#ifndef PTQ_EXEC_PLAN_H
#define PTQ_EXEC_PLAN_H

#include "lib/core/core.h"

typedef struct ptq_plan_item {
    int first, last; /* steps during which the bytes must stay, both included; first <= last */
    size_t bytes;
    size_t offset;   /* result, a multiple of 64 */
} ptq_plan_item;

/* Items that live at the same time never overlap. *total is the size of the block: best fit in the order of
 * `first`, near-linear in the number of items; where that leaves holes and there are not too many
 * items, largest first if that is better. */
ptq_status ptq_plan_offsets(ptq_plan_item *items, size_t n, size_t *total);

#endif
