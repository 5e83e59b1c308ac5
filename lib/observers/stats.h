/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that calibration keeps about one tensor. An object is used by one thread at a time;
 * threads have one object each and merge, which is exact and commutative.
 *
 *   ptq_stats_new(name, PTQ_DT_F32, &s);
 *   for each sample, run alone:
 *       ptq_stats_observe(s, values, n, rank, dims, channel_axis);
 *   ptq_stats_merge(total, s);       (or drain, and observe on)
 *   ptq_stats_write(total, &sink) / ptq_stats_read(total, &source);
 */
#ifndef PTQ_OBSERVERS_STATS_H
#define PTQ_OBSERVERS_STATS_H

#include "lib/observers/hist.h"
#include "lib/observers/minmax.h"
#include "lib/observers/observer.h"

#pragma GCC visibility push(default)

typedef struct ptq_tensor_stats {
    char *name;
    ptq_dtype dtype;     /* of the tensor in the model; values are observed as float */
    ptq_hist hist;       /* counts of finite values */
    ptq_summary summary; /* exact min, max; counts of finite values, NaN, infinities */
    ptq_sample_minmax samples;
    ptq_channel_minmax channel;
} ptq_tensor_stats;

ptq_status ptq_stats_new(const char *name, ptq_dtype dtype, ptq_tensor_stats **out);
void ptq_stats_free(ptq_tensor_stats *s);

/* One sample. dims may be NULL when channel_axis is -1. Costs no memory but the pages of a table of 1 MiB that are
 * touched for the first time (2 KiB for each octave and sign); what is merged from there is kept in counters of one
 * to eight bytes. */
ptq_status ptq_stats_observe(ptq_tensor_stats *s, const float *values, size_t n, int rank,
                             const int64_t *dims, int channel_axis);
/* What somebody else has counted (a device): samples by their summaries, and apart from those the
 * histogram and the channels of any number of samples. */
typedef struct ptq_counts {
    uint64_t zeros;
    size_t octaves;
    const int32_t *id;                     /* [octaves] as in hist.h */
    const uint32_t (*count)[PTQ_HIST_BINS]; /* [octaves] */
    int axis;
    int64_t channels; /* 0: no ranges of channels */
    const float *min, *max; /* [channels]; INFINITY and -INFINITY without a finite value */
} ptq_counts;
void ptq_stats_add_sample(ptq_tensor_stats *s, const ptq_summary *sample);
ptq_status ptq_stats_add_counts(ptq_tensor_stats *s, const ptq_counts *c);
ptq_status ptq_stats_merge(ptq_tensor_stats *dst, const ptq_tensor_stats *src);
/* Merges and empties src, which is ready for the next values, of any tensor. */
ptq_status ptq_stats_drain(ptq_tensor_stats *dst, ptq_tensor_stats *src);
/* Same statistics; names and dtypes are not compared. */
bool ptq_stats_equal(const ptq_tensor_stats *a, const ptq_tensor_stats *b);

/* As named arrays (name and dtype are left to the caller). The arrays are canonical: equal
 * statistics write equal bytes. All are optional when empty:
 *   octaves         int32  [n]       ids, ascending (hist.h)
 *   octave_counts   uint64 [n][512]
 *   zeros           uint64 []
 *   counts          uint64 [4]       finite, NaN, +Inf, -Inf
 *   range           float  [2]       min, max of the finite values
 *   samples         uint64 [2]       all, with a finite value
 *   sample_sums     uint64 [2][6]    exact sums of the samples' minima and maxima (exact_sum.h)
 *   channel_axis    int32  [2]       axis, number of channels (-1: samples disagreed)
 *   channel_ranges  float  [2][C]    minima, maxima
 * read() wants an object without observations, and refuses (PTQ_ERR_DATA) arrays that contradict
 * each other. On failure the object holds garbage that can only be freed. */
ptq_status ptq_stats_write(const ptq_tensor_stats *s, const ptq_field_sink *sink);
ptq_status ptq_stats_read(ptq_tensor_stats *s, const ptq_field_source *source);

/* Mean of the samples' minima and maxima; false when no sample had a finite value. */
bool ptq_stats_mean_minmax(const ptq_tensor_stats *s, double *min, double *max);

/* Histogram as intervals in ascending order, without empty ones. Each interval is cut to the
 * observed [min, max]; lo == hi is a point mass (zero, or a bin whose cut is empty, such as a
 * spike at exactly the maximum 6.0, which is the lower edge of its bin). Within an interval the
 * values count as evenly spread. */
typedef struct ptq_bin {
    double lo, hi;
    uint64_t count;
} ptq_bin;
/* *out: free(). No finite value: *n = 0, *out = NULL. */
ptq_status ptq_stats_bins(const ptq_tensor_stats *s, ptq_bin **out, size_t *n);

/* Spreads the counts over n linear bins of equal width on [lo, hi], lo < hi. A point mass, or a
 * part of an interval, that lies outside or on the edge hi goes to the first or last bin.
 * Exact zeros are left out unless `with_zeros`. hist[n] is overwritten. */
void ptq_bins_linear(const ptq_bin *bins, size_t nbins, double lo, double hi, bool with_zeros,
                     size_t n, double *hist);
/* The same for |x| on [0, hi]. */
void ptq_bins_linear_abs(const ptq_bin *bins, size_t nbins, double hi, bool with_zeros, size_t n,
                         double *hist);

#pragma GCC visibility pop

#endif
