/* SPDX-License-Identifier: Apache-2.0 */
/* The calibration run: feeds samples through the fp32 graph and observes chosen tensors. */
#ifndef PTQ_CALIB_CALIBRATE_H
#define PTQ_CALIB_CALIBRATE_H

#include "lib/calib/statistics.h"
#include "lib/exec/session.h"

/* Where samples come from: a data set of libptq-io, or a caller of the library. */
typedef struct ptq_sample_source {
    void *ctx;
    size_t count;
    /* Fills one tensor per graph input with sample i, batch axis 1 in front where the input has
     * one; the data is malloc'ed and freed by the caller. Called from several threads. */
    ptq_status (*read)(void *ctx, size_t i, ptq_tensor *inputs, size_t ninputs);
    const char *(*name)(void *ctx, size_t i); /* for messages; NULL: the index is named */
} ptq_sample_source;

/* Reads samples of one batch and joins them along axis 0. Used by every loop over data. */
typedef struct ptq_feed {
    const ptq_sample_source *source;
    const ptq_graph *graph;
    ptq_pool *pool;
    double max_bad_share; /* share of samples that may be unreadable, of `limit` */
    size_t limit;
    size_t nbad;
    ptq_status (*on_bad)(void *ctx, size_t i, const char *why); /* may be NULL */
    void *on_bad_ctx;
    bool mixed; /* samples differ in shape: one at a time from here on */
} ptq_feed;
/* Joins the samples idx[0..*used) into inputs[] (malloc'ed, free with ptq_feed_release); unreadable
 * ones are taken out: kept[] receives the indices that are in the batch, *nkept their number.
 * *used is n, or less (but not 0) where a sample has another shape than those before it. */
ptq_status ptq_feed_batch(ptq_feed *f, const size_t *idx, size_t n, ptq_tensor *inputs, size_t *kept,
                          size_t *nkept, size_t *used);
void ptq_feed_release(const ptq_graph *g, ptq_tensor *inputs);

typedef struct ptq_calibrate_options {
    const bool *select;   /* by value id: which float tensors are observed */
    size_t batch;         /* wished; 0: 16, or 64 on a device. Falls to 1 where the batch axis is not
                             proven, and by halves where the device has no memory for it */
    size_t samples;       /* use the first n samples; 0: all */
    size_t limit; /* samples that max_bad_share is a share of; 0: those of this run */
    size_t shard, nshards; /* this run takes samples i with i % nshards == shard; 0: all */
    ptq_pool *pool;
    const char *backend, *isa;
    const ptq_backend_ops *ops; /* instead of a name; NULL: find `backend` */
    double max_bad_share; /* unreadable samples tolerated, as a share; default 0.01 */
    bool nonfinite_ok;    /* NaN and Inf activations are counted and left out, not an error */
    /* Both may be NULL. progress returning false stops with PTQ_ERR_INTERRUPTED; checkpoint is
     * called about every `checkpoint_every` samples and before an interruption returns. */
    bool (*progress)(void *ctx, size_t done, size_t total);
    ptq_status (*checkpoint)(void *ctx, const ptq_statistics *s);
    void *ctx;
    size_t checkpoint_every;
    ptq_status (*on_bad)(void *ctx, size_t i, const char *why);
} ptq_calibrate_options;

/* Observes into `s` (made with ptq_statistics_new over the selected tensors' names, or loaded
 * from a file: samples already done are left out). When it fails other than with
 * PTQ_ERR_INTERRUPTED, `s` is no longer exact: throw it away. */
ptq_status ptq_calibrate(const ptq_graph *g, const ptq_sample_source *source,
                         const ptq_calibrate_options *opt, ptq_statistics *s);

#endif
