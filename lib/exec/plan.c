/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/exec/plan.h"

typedef struct extent {
    size_t at, len;
} extent;

typedef struct planner {
    extent *free; /* by address, never touching each other */
    size_t nfree;
    size_t top;
} planner;

/* Smallest hole that fits; else the end, growing into a hole that touches it. */
static size_t take(planner *p, size_t bytes)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < p->nfree; i++)
        if (p->free[i].len >= bytes && (best == SIZE_MAX || p->free[i].len < p->free[best].len))
            best = i;
    if (best == SIZE_MAX) {
        size_t at = p->top;
        if (p->nfree && p->free[p->nfree - 1].at + p->free[p->nfree - 1].len == p->top)
            at = p->free[--p->nfree].at;
        p->top = at + bytes;
        return at;
    }
    size_t at = p->free[best].at;
    p->free[best].at += bytes;
    p->free[best].len -= bytes;
    if (p->free[best].len == 0)
        memmove(&p->free[best], &p->free[best + 1], (--p->nfree - best) * sizeof(extent));
    return at;
}

static void give(planner *p, size_t at, size_t len)
{
    size_t i = p->nfree;
    while (i > 0 && p->free[i - 1].at > at)
        i--;
    bool left = i > 0 && p->free[i - 1].at + p->free[i - 1].len == at;
    bool right = i < p->nfree && at + len == p->free[i].at;
    if (left && right) {
        p->free[i - 1].len += len + p->free[i].len;
        memmove(&p->free[i], &p->free[i + 1], (--p->nfree - i) * sizeof(extent));
    } else if (left) {
        p->free[i - 1].len += len;
    } else if (right) {
        p->free[i].at = at;
        p->free[i].len += len;
    } else {
        memmove(&p->free[i + 1], &p->free[i], (p->nfree++ - i) * sizeof(extent));
        p->free[i] = (extent){at, len};
    }
}

/* Chains of item indices by step; -1 ends. */
static void chain(int *head, int *next, int step, size_t item)
{
    next[item] = head[step];
    head[step] = (int)item;
}

/* In the order of their first step, near-linear. */
static ptq_status by_time(ptq_plan_item *items, size_t n, size_t *total)
{
    int steps = 0;
    for (size_t i = 0; i < n; i++)
        steps = items[i].last >= steps ? items[i].last + 1 : steps;
    planner p = {.free = ptq_calloc(n + 1, sizeof(extent))};
    int *starts = ptq_calloc((size_t)steps, sizeof(int)), *ends = ptq_calloc((size_t)steps, sizeof(int));
    int *snext = ptq_calloc(n, sizeof(int)), *enext = ptq_calloc(n, sizeof(int));
    ptq_status status = PTQ_OK;
    if (!p.free || !starts || !ends || !snext || !enext) {
        status = ptq_fail_nomem();
        goto out;
    }
    for (int s = 0; s < steps; s++)
        starts[s] = ends[s] = -1;
    for (size_t i = n; i-- > 0;) {
        chain(starts, snext, items[i].first, i);
        chain(ends, enext, items[i].last, i);
    }
    for (int s = 0; s < steps; s++) {
        for (int i = starts[s]; i >= 0; i = snext[i])
            items[i].offset = take(&p, (items[i].bytes + 63) & ~(size_t)63);
        for (int i = ends[s]; i >= 0; i = enext[i])
            if (items[i].bytes)
                give(&p, items[i].offset, (items[i].bytes + 63) & ~(size_t)63);
    }
    *total = p.top;
out:
    free(p.free);
    free(starts);
    free(ends);
    free(snext);
    free(enext);
    return status;
}

/* ---- largest first ---- */

static int larger_first(const void *a, const void *b)
{
    const ptq_plan_item *x = *(const ptq_plan_item *const *)a, *y = *(const ptq_plan_item *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return (x > y) - (x < y);
}

/* The smallest hole between those of `placed` (by offset) that live while `it` does; else behind them. */
static size_t best_hole(ptq_plan_item *const *placed, size_t n, const ptq_plan_item *it, size_t len)
{
    size_t end = 0, at = SIZE_MAX, room = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        const ptq_plan_item *p = placed[i];
        if (p->last < it->first || p->first > it->last)
            continue;
        if (p->offset >= end + len && p->offset - end < room) {
            at = end;
            room = p->offset - end;
        }
        size_t stop = p->offset + ((p->bytes + 63) & ~(size_t)63);
        end = stop > end ? stop : end;
    }
    return at == SIZE_MAX ? end : at;
}

/* Quadratic, and nearly always as small as what is alive at once: the large ones find the bottom
 * free, the small ones fill the holes. */
static ptq_status by_size(ptq_plan_item *items, size_t n, size_t *total)
{
    ptq_plan_item **order = ptq_calloc(n, sizeof(ptq_plan_item *)), **placed = ptq_calloc(n, sizeof(ptq_plan_item *));
    bool ok = order && placed;
    *total = 0;
    for (size_t i = 0; ok && i < n; i++)
        order[i] = &items[i];
    if (ok)
        qsort(order, n, sizeof *order, larger_first);
    for (size_t i = 0; ok && i < n; i++) {
        size_t len = (order[i]->bytes + 63) & ~(size_t)63, k = i;
        order[i]->offset = best_hole(placed, i, order[i], len);
        *total = order[i]->offset + len > *total ? order[i]->offset + len : *total;
        for (; k > 0 && placed[k - 1]->offset > order[i]->offset; k--)
            placed[k] = placed[k - 1];
        placed[k] = order[i];
    }
    free(order);
    free(placed);
    return ok ? PTQ_OK : ptq_fail_nomem();
}

/* Bytes of the largest set that lives at once. */
static ptq_status alive(const ptq_plan_item *items, size_t n, size_t *most)
{
    int steps = 0;
    for (size_t i = 0; i < n; i++)
        steps = items[i].last >= steps ? items[i].last + 1 : steps;
    size_t *starts = ptq_calloc((size_t)steps, sizeof *starts), *ends = ptq_calloc((size_t)steps, sizeof *ends);
    size_t now = 0;
    bool ok = starts && ends;
    for (size_t i = 0; ok && i < n; i++) {
        size_t len = (items[i].bytes + 63) & ~(size_t)63;
        starts[items[i].first] += len;
        ends[items[i].last] += len;
    }
    *most = 0;
    for (int s = 0; ok && s < steps; s++) {
        now += starts[s];
        *most = now > *most ? now : *most;
        now -= ends[s];
    }
    free(starts);
    free(ends);
    return ok ? PTQ_OK : ptq_fail_nomem();
}

ptq_status ptq_plan_offsets(ptq_plan_item *items, size_t n, size_t *total)
{
    enum { QUADRATIC = 4096 };
    size_t least, other;
    PTQ_TRY(by_time(items, n, total));
    PTQ_TRY(alive(items, n, &least));
    if (*total == least || n > QUADRATIC)
        return PTQ_OK;
    PTQ_TRY(by_size(items, n, &other));
    if (other > *total) /* seldom: the first way again */
        return by_time(items, n, total);
    *total = other;
    return PTQ_OK;
}
