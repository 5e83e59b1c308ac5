/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "lib/quant/range.h"
#include "lib/quant/sides.h"

static double grid_error(const ptq_sides *s, ptq_dtype dtype, float scale, int32_t zero_point)
{
    int32_t lo = 0, hi = 0;
    ptq_dtype_limits(dtype, &lo, &hi);
    return ptq_side_error(&s->pos, (double)scale, hi - zero_point) +
           ptq_side_error(&s->neg, (double)scale, zero_point - lo);
}

ptq_status ptq_range_mse(const ptq_tensor_stats *stats, ptq_dtype dtype, float scale,
                         int32_t zero_point, double *mse)
{
    ptq_sides s;
    PTQ_TRY(ptq_sides_make(stats, &s));
    *mse = s.total > 0 ? grid_error(&s, dtype, scale, zero_point) / s.total : (double)NAN;
    ptq_sides_clear(&s);
    return PTQ_OK;
}

/* A range [-neg_max 2^-a, pos_max 2^-b], with a and b in steps of an octave's 64th part. */
enum {
    FINE = 1,
    MIDDLE = 4,
    COARSE_1D = 4,    /* a 16th octave */
    COARSE_2D = 16,   /* a quarter */
    SPAN = 64 * 16,   /* no clipping below 2^-16 of the extreme */
};

struct search {
    const ptq_sides *s;
    const ptq_grid *grid;
    double neg_max, pos_max;
    int a, b; /* best so far */
    double best;
};

static double shrink(double max, int steps)
{
    return max * exp2(-(double)steps / 64);
}

static void try_range(struct search *q, int a, int b)
{
    float scale;
    int32_t zero_point;
    if (a < 0 || b < 0 || a > SPAN || b > SPAN)
        return;
    ptq_grid_scale(q->grid, (float)-shrink(q->neg_max, a), (float)shrink(q->pos_max, b), &scale,
                   &zero_point);
    double e = grid_error(q->s, q->grid->dtype, scale, zero_point);
    if (e < q->best) {
        q->best = e;
        q->a = a;
        q->b = b;
    }
}

/* Goes downhill from the best point until no neighbour at this distance is better. */
static void descend(struct search *q, int step)
{
    for (int moved = 0; moved < 64; moved++) {
        const int a = q->a, b = q->b;
        for (int da = -1; da <= 1; da++) {
            for (int db = -1; db <= 1; db++)
                try_range(q, a + da * step, b + db * step);
        }
        if (q->a == a && q->b == b)
            return;
    }
}

/* Clipping alone costs more the smaller the range is, and bounds the error from below (rounding
 * the zero point moves an end by less than a step): once it exceeds the best error, this end and
 * all smaller ones are hopeless. `range` is the widest range that the end belongs to. */
static bool hopeless(const struct search *q, const ptq_side *side, double end, double range)
{
    const double step = range / ((double)q->grid->qmax - (double)q->grid->qmin);
    return ptq_side_clip_error(side, end + (q->grid->pow2 ? 2 * range : step)) > q->best;
}

/* Both ends move together, or there is only one. */
static void search_one(struct search *q)
{
    const double ends = q->neg_max > 0 && q->pos_max > 0 ? 2 : 1;
    for (int b = 0; b <= SPAN; b += COARSE_1D) {
        const double neg = shrink(q->neg_max, b), pos = shrink(q->pos_max, b);
        if (hopeless(q, &q->s->pos, pos, pos * ends) || hopeless(q, &q->s->neg, neg, neg * ends))
            break;
        try_range(q, b, b);
    }
    const int coarse = q->b;
    for (int b = coarse - COARSE_1D + FINE; b < coarse + COARSE_1D; b += FINE)
        try_range(q, b, b);
}

static void search_two(struct search *q)
{
    const double widest = fmax(q->neg_max, q->pos_max);
    for (int a = 0; a <= SPAN; a += COARSE_2D) {
        const double neg = shrink(q->neg_max, a);
        if (hopeless(q, &q->s->neg, neg, neg + q->pos_max))
            break;
        for (int b = 0; b <= SPAN; b += COARSE_2D) {
            const double pos = shrink(q->pos_max, b);
            if (hopeless(q, &q->s->pos, pos, neg + pos))
                break;
            try_range(q, a, b);
        }
        if (neg < widest / 65536) /* rounds to the same zero point as 0 */
            break;
    }
    descend(q, MIDDLE);
    descend(q, FINE);
}

/* Minimizes the expected squared error on the grid itself, zero point rounding included, over
 * ranges whose ends are the observed ones times powers of 2^(1/64). */
static ptq_status mse(const ptq_tensor_stats *stats, const ptq_range_options *options,
                      const ptq_grid *grid, double *low, double *high)
{
    ptq_sides s;
    (void)options;
    PTQ_TRY(ptq_sides_make(stats, &s));
    struct search q = {.s = &s,
                       .grid = grid,
                       .neg_max = s.neg.max,
                       .pos_max = s.pos.max,
                       .best = (double)INFINITY};
    if (grid->symmetric)
        q.neg_max = q.pos_max = fmax(q.neg_max, q.pos_max);
    if (!grid->symmetric && q.neg_max > 0 && q.pos_max > 0)
        search_two(&q);
    else
        search_one(&q);
    *low = -shrink(q.neg_max, q.a);
    *high = shrink(q.pos_max, q.b);
    ptq_sides_clear(&s);
    return PTQ_OK;
}

const ptq_range_algo ptq_range_mse_search = {
    .name = "mse",
    .summary = "least mean squared error on the histogram",
    .solve = mse,
};
