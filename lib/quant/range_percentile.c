/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "lib/quant/range.h"
#include "lib/quant/sides.h"

/* The smallest t >= 0 at which below + mass(a, t) + mass(b, t) reaches `want`; b may be NULL.
 * Inside a bin the mass grows evenly. Halving stops where no double lies between. */
static double reach(const ptq_side *a, const ptq_side *b, double below, double want)
{
    double lo = 0, hi = b ? fmax(a->max, b->max) : a->max;
    if (below >= want)
        return 0;
    for (;;) {
        double mid = lo + (hi - lo) / 2;
        if (mid <= lo || mid >= hi)
            return hi;
        double mass = below + ptq_side_upto(a, mid).mass + (b ? ptq_side_upto(b, mid).mass : 0);
        if (mass >= want)
            hi = mid;
        else
            lo = mid;
    }
}

/* Symmetric grids: p percent of the values have |x| <= high. Others: half of the rest is cut off
 * at either end, which costs nothing at an end where the values stop at 0. */
static ptq_status percentile(const ptq_tensor_stats *stats, const ptq_range_options *options,
                             const ptq_grid *grid, double *low, double *high)
{
    ptq_sides s;
    PTQ_TRY(ptq_sides_make(stats, &s));
    const double p = options->percentile / 100;
    if (grid->symmetric) {
        *high = reach(&s.pos, &s.neg, s.zeros, p * s.total);
        *low = -*high;
    } else {
        const double keep = (1 + p) / 2 * s.total; /* values at or below high; same for low */
        const double neg = s.neg.before[s.neg.n].mass, pos = s.pos.before[s.pos.n].mass;
        *high = reach(&s.pos, NULL, s.zeros + neg, keep);
        *low = -reach(&s.neg, NULL, s.zeros + pos, keep);
    }
    ptq_sides_clear(&s);
    return PTQ_OK;
}

const ptq_range_algo ptq_range_percentile = {
    .name = "percentile",
    .summary = "a share of the values (default 99.99 percent), linear inside a bin",
    .solve = percentile,
};
