/* SPDX-License-Identifier: Apache-2.0 */
/* Range algorithms: from the statistics of a tensor to the range of real values that its grid
 * covers. Pure functions; rows in ranges.def. */
#ifndef PTQ_QUANT_RANGE_H
#define PTQ_QUANT_RANGE_H

#include "lib/observers/stats.h"
#include "lib/quant/qparams.h"

/* Zero means default. */
typedef struct ptq_range_options {
    double percentile; /* share of values kept, in percent, (0, 100]; default 99.99 */
} ptq_range_options;

typedef struct ptq_range_algo {
    const char *name, *summary;
    /* At least one finite value was observed. The result may lie outside the observed range and
     * need not include 0: ptq_range_solve sees to that. Symmetric grids use max(|low|, |high|). */
    ptq_status (*solve)(const ptq_tensor_stats *stats, const ptq_range_options *options,
                        const ptq_grid *grid, double *low, double *high);
} ptq_range_algo;

const ptq_range_algo *const *ptq_range_algos(size_t *n);
/* PTQ_ERR_ARG with a suggestion when there is no such algorithm. */
ptq_status ptq_range_find(const char *name, const ptq_range_algo **out);

/* Runs an algorithm: clamps its result to the observed range and includes 0; on a symmetric grid
 * low = -high. options may be NULL. PTQ_ERR_DATA when no finite value was observed. */
ptq_status ptq_range_solve(const ptq_range_algo *algo, const ptq_tensor_stats *stats,
                           const ptq_range_options *options, const ptq_grid *grid, float *low,
                           float *high);

/* Mean squared error of quantizing the observed values with a scale and zero point; values count
 * as evenly spread inside the histogram's bins. NaN when nothing finite was observed. */
ptq_status ptq_range_mse(const ptq_tensor_stats *stats, ptq_dtype dtype, float scale,
                         int32_t zero_point, double *mse);

#endif
