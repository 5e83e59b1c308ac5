/* SPDX-License-Identifier: Apache-2.0 */
/* Observation on a device: values of a run are counted where they lie (ptq_tally_ops), and only counts
 * come to the host. The statistics are those that observation on the host gives. */
#ifndef PTQ_CALIB_WATCH_H
#define PTQ_CALIB_WATCH_H

#include "lib/calib/statistics.h"
#include "lib/exec/backend.h"

typedef struct ptq_watch ptq_watch;

/* Runs have at most `samples` samples. `total` and `b` must outlive the watch. */
ptq_status ptq_watch_new(const ptq_backend_ops *ops, ptq_backend *b, ptq_statistics *total, size_t samples,
                         ptq_watch **out);
void ptq_watch_free(ptq_watch *w); /* NULL is fine */

/* Tensor `at` of the statistics in a run of n samples; its data lie on the device in this layout. Not
 * waited for. */
ptq_status ptq_watch_add(ptq_watch *w, size_t at, const ptq_tensor *t, ptq_layout layout, size_t n);
/* Has anything been added since the last run ended? */
bool ptq_watch_busy(const ptq_watch *w);
/* The end of a run: waits; the samples go to the statistics, tensor by tensor as they were added, each
 * after check() has passed it. */
typedef ptq_status (*ptq_watch_check)(void *ctx, size_t at, size_t sample, const ptq_summary *s);
ptq_status ptq_watch_end(ptq_watch *w, ptq_watch_check check, void *ctx);
/* All counts that are still on the device go to the statistics. */
ptq_status ptq_watch_flush(ptq_watch *w);

#endif
