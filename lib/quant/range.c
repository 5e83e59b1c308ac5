/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/range.h"

#include <math.h>

#define PTQ_RANGE(row) extern const ptq_range_algo row;
#include "lib/quant/ranges.def"
#undef PTQ_RANGE

static const ptq_range_algo *const rows[] = {
#define PTQ_RANGE(row) &row,
#include "lib/quant/ranges.def"
#undef PTQ_RANGE
};

const ptq_range_algo *const *ptq_range_algos(size_t *n)
{
    *n = PTQ_COUNT(rows);
    return rows;
}

ptq_status ptq_range_find(const char *name, const ptq_range_algo **out)
{
    const char *names[PTQ_COUNT(rows)];
    size_t i;
    for (i = 0; i < PTQ_COUNT(rows); i++)
        names[i] = rows[i]->name;
    PTQ_TRY(ptq_find_name("range algorithm", name, names, PTQ_COUNT(rows), &i));
    *out = rows[i];
    return PTQ_OK;
}

ptq_status ptq_range_solve(const ptq_range_algo *algo, const ptq_tensor_stats *stats,
                           const ptq_range_options *options, const ptq_grid *grid, float *low,
                           float *high)
{
    ptq_range_options o = options ? *options : (ptq_range_options){0};
    double lo, hi;
    if (o.percentile == 0)
        o.percentile = 99.99;
    if (!(o.percentile > 0 && o.percentile <= 100))
        return ptq_fail(PTQ_ERR_ARG, "percentile %g is not in (0, 100]", o.percentile);
    if (stats->summary.finite == 0)
        return ptq_fail(PTQ_ERR_DATA, "tensor %s: no finite value was observed (%llu NaN, %llu Inf)",
                        stats->name, (unsigned long long)stats->summary.nan,
                        (unsigned long long)(stats->summary.pos_inf + stats->summary.neg_inf));
    PTQ_TRY(algo->solve(stats, &o, grid, &lo, &hi));
    lo = fmin(fmax(lo, (double)stats->summary.min), 0.0);
    hi = fmax(fmin(hi, (double)stats->summary.max), 0.0);
    if (grid->symmetric) {
        hi = fmax(-lo, hi);
        lo = -hi;
    }
    *low = (float)lo;
    *high = (float)hi;
    return PTQ_OK;
}
