/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/rank.h"

#include <stdlib.h>

static int by_gain(const void *a, const void *b)
{
    const ptq_ranked *x = a, *y = b;
    if (x->gain != y->gain)
        return x->gain < y->gain ? 1 : -1;
    return (x->item > y->item) - (x->item < y->item);
}

/* The members of the best groups, best first, as many as there are trials left. */
static ptq_status narrow(size_t count, size_t trials, ptq_gain_fn fn, void *ctx, ptq_ranked *list, size_t *n)
{
    const size_t size = (count + trials / 2 - 1) / (trials / 2);
    for (size_t i = 0; i < count; i += size) {
        const size_t members = count - i < size ? count - i : size;
        double gain;
        PTQ_TRY(fn(ctx, i, members, &gain));
        for (size_t k = 0; k < members; k++)
            list[i + k] = (ptq_ranked){i + k, gain};
    }
    qsort(list, count, sizeof *list, by_gain);
    *n = count < trials / 2 ? count : trials / 2;
    return PTQ_OK;
}

ptq_status ptq_rank(size_t count, size_t trials, ptq_gain_fn fn, void *ctx, ptq_ranked *list, size_t *n)
{
    size_t todo = count, kept = 0;
    for (size_t i = 0; i < count; i++)
        list[i].item = i;
    if (count > trials)
        PTQ_TRY(narrow(count, trials, fn, ctx, list, &todo));
    for (size_t i = 0; i < todo; i++) {
        ptq_ranked r = list[i];
        PTQ_TRY(fn(ctx, r.item, 1, &r.gain));
        if (r.gain > 0.0)
            list[kept++] = r;
    }
    qsort(list, kept, sizeof *list, by_gain);
    *n = kept;
    return PTQ_OK;
}
