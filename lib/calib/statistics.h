/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics of a calibration: what a run collects, a file keeps, shards merge, and range
 * algorithms read. Equal content is equal whatever the order, batch, threads or shards. */
#ifndef PTQ_CALIB_STATISTICS_H
#define PTQ_CALIB_STATISTICS_H

#include <ptq/calib.h>

#include "lib/observers/stats.h"

#pragma GCC visibility push(default)

struct ptq_statistics {
    char model_sha256[65]; /* of the model file; "" when unknown */
    char data_sha256[65];  /* of the data set's ordered content; "" when unknown */
    char *preprocess;      /* canonical text of the preprocessing */
    size_t total;          /* samples of the data set that the bitmaps speak of */
    uint64_t *done;        /* bit i: sample i has been observed */
    uint64_t *bad;         /* bit i: sample i was unreadable and skipped */
    ptq_tensor_stats **tensors; /* ascending by name (byte order) */
    size_t ntensors;
};

/* `names` in any order, without duplicates. */
ptq_status ptq_statistics_new(const char *const *names, const ptq_dtype *dtypes, size_t n, size_t total,
                              const char *preprocess, ptq_statistics **out);
ptq_tensor_stats *ptq_statistics_find(const ptq_statistics *s, const char *name); /* or NULL */
/* Same model, data, preprocessing, total and tensors? PTQ_ERR_DATA says what differs. */
ptq_status ptq_statistics_compatible(const ptq_statistics *a, const ptq_statistics *b);

static inline bool ptq_bit_get(const uint64_t *bits, size_t i) { return bits[i / 64] >> (i % 64) & 1; }
static inline void ptq_bit_set(uint64_t *bits, size_t i) { bits[i / 64] |= UINT64_C(1) << (i % 64); }

#pragma GCC visibility pop

#endif
