/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/range.h"

static ptq_status minmax(const ptq_tensor_stats *stats, const ptq_range_options *options,
                         const ptq_grid *grid, double *low, double *high)
{
    (void)options;
    (void)grid;
    *low = (double)stats->summary.min;
    *high = (double)stats->summary.max;
    return PTQ_OK;
}

static ptq_status mean_minmax(const ptq_tensor_stats *stats, const ptq_range_options *options,
                              const ptq_grid *grid, double *low, double *high)
{
    if (!ptq_stats_mean_minmax(stats, low, high)) /* a file may hold a histogram without samples */
        return minmax(stats, options, grid, low, high);
    return PTQ_OK;
}

const ptq_range_algo ptq_range_minmax = {
    .name = "minmax",
    .summary = "all observed values",
    .solve = minmax,
};

const ptq_range_algo ptq_range_mean_minmax = {
    .name = "mean_minmax",
    .summary = "mean of the samples' minima and maxima (the default of NNCF)",
    .solve = mean_minmax,
};
