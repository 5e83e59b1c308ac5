/* SPDX-License-Identifier: Apache-2.0 */
/* An observer keeps one kind of statistics of one tensor while samples stream by. The result is
 * exact under any split, order and merging of the samples. Rows: observers.def. */
#ifndef PTQ_OBSERVERS_OBSERVER_H
#define PTQ_OBSERVERS_OBSERVER_H

#include "lib/core/core.h"

#pragma GCC visibility push(default)

/* Counts and extremes of some values. NaN and infinities are counted apart and never reach min or
 * max; -0.0 counts as +0.0. No finite value: min = INFINITY, max = -INFINITY. */
typedef struct ptq_summary {
    uint64_t finite, nan, pos_inf, neg_inf;
    float min, max;
} ptq_summary;
#define PTQ_SUMMARY_EMPTY ((ptq_summary){.min = __builtin_inff(), .max = -__builtin_inff()})

void ptq_summary_merge(ptq_summary *dst, const ptq_summary *src);
bool ptq_summary_equal(const ptq_summary *a, const ptq_summary *b);
/* Adds the values' summary to *out. */
void ptq_summary_scan(const float *values, size_t n, ptq_summary *out);

/* What one tensor held when the model ran on one sample alone. */
typedef struct ptq_sample {
    const float *values;
    size_t n;            /* 0 is legal */
    int rank;            /* dims is read only where channel_axis >= 0 */
    const int64_t *dims; /* product == n */
    int channel_axis;    /* in [0, rank), or -1: keep no statistics per channel */
    /* Filled by ptq_sample_summary(), or by the observer that passes over the values first. */
    bool summarized;
    ptq_summary summary;
    /* Where the first observer puts the extremes of channels, in runs of `inner` values, on the way; NULL: the
     * observer of channels passes over the values itself. */
    float *channel_min, *channel_max; /* [channels] */
    int64_t channels, inner;
} ptq_sample;

const ptq_summary *ptq_sample_summary(ptq_sample *s);

/* Where state is written to: named arrays. `data` is borrowed during the call. Arrays without
 * elements are never put. Names are lower-case identifiers, unique over all observers. */
typedef struct ptq_field_sink {
    ptq_status (*put)(void *ctx, const char *name, ptq_dtype dtype, int rank, const int64_t *dims,
                      const void *data);
    void *ctx;
} ptq_field_sink;

/* Where it is read back from. get() fails when the stored type is not `dtype`; a name that was
 * never put is PTQ_OK with *data = NULL. *data stays valid until the source is freed. */
typedef struct ptq_field_source {
    ptq_status (*get)(void *ctx, const char *name, ptq_dtype dtype, int *rank,
                      int64_t dims[PTQ_MAX_RANK], const void **data);
    void *ctx;
} ptq_field_source;

/* State is a struct of `size` bytes inside ptq_tensor_stats, at `offset`. */
typedef struct ptq_observer {
    const char *name, *summary;
    size_t size, offset;
    void (*init)(void *state);  /* state holds any bytes */
    void (*clear)(void *state); /* frees what state holds; init may follow */
    /* On failure (PTQ_ERR_NOMEM) the state is usable, but no longer exact: throw it away. */
    ptq_status (*observe)(void *state, ptq_sample *sample);
    ptq_status (*merge)(void *dst, const void *src);
    /* merge, and src is empty again but keeps its memory. NULL: merge, clear and init. */
    ptq_status (*drain)(void *dst, void *src);
    bool (*equal)(const void *a, const void *b);
    ptq_status (*write)(const void *state, const ptq_field_sink *sink);
    /* Into an initialized, empty state; PTQ_ERR_DATA when the arrays contradict themselves. */
    ptq_status (*read)(void *state, const ptq_field_source *source);
} ptq_observer;

/* All rows, in the order of observers.def. */
const ptq_observer *const *ptq_observers(size_t *n);
const ptq_observer *ptq_observer_find(const char *name); /* NULL when unknown */

/* For read(): the array must be absent (*data = NULL) or have exactly these dims; dims[i] = -1
 * takes any size and is replaced by it. PTQ_ERR_DATA otherwise. */
ptq_status ptq_field_get(const ptq_field_source *source, const char *name, ptq_dtype dtype,
                         int rank, int64_t *dims, const void **data);

#pragma GCC visibility pop

#endif
