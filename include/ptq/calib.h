/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration: samples in, statistics out. */
#ifndef PTQ_CALIB_H
#define PTQ_CALIB_H

#include <ptq/model.h>
#include <ptq/team.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where samples come from: a data set of libptq-io (ptq/io.h), or the caller's own functions. */
typedef struct ptq_samples {
    void *ctx;
    size_t count;
    /* Fills one tensor per model input with sample i, with a leading batch axis of 1 where the
     * input has one. Sets all fields of each, nbytes too; data is malloc'ed here and freed by the
     * library. May be called from several threads at once. PTQ_ERR_DATA: this sample is unreadable
     * and may be skipped; anything else ends the loop. */
    ptq_status (*read)(void *ctx, size_t i, ptq_tensor *inputs, size_t ninputs);
    /* Labels of sample i (class, or the next tokens): borrowed until the next call on the same
     * thread. NULL when there are no labels at all. */
    ptq_status (*labels)(void *ctx, size_t i, const int64_t **labels, size_t *n);
    const char *(*name)(void *ctx, size_t i); /* for messages; may be NULL */
    /* SHA-256 of the ordered content, in hexadecimal. Asked once by a calibration, which keeps it
     * in the statistics, and by nothing else: it may read all the data. NULL: not known. */
    ptq_status (*sha256)(void *ctx, char hex[65]);
    const char *preprocess; /* canonical text of the preprocessing, or NULL */
} ptq_samples;

/* Progress of any loop over data; returning false stops it with PTQ_ERR_INTERRUPTED. */
typedef bool (*ptq_progress_fn)(void *ctx, const char *what, size_t done, size_t total);
/* A sample was unreadable and left out. */
typedef void (*ptq_bad_sample_fn)(void *ctx, size_t i, const char *why);

typedef struct ptq_loop_options {
    size_t size;
    size_t samples;       /* the first n; 0: all */
    size_t batch;         /* 0: chosen. Results do not depend on it */
    int threads;          /* 0: one per processor. Results do not depend on it */
    const char *backend;  /* see ptq_runner_options; results do not depend on it */
    const char *isa;      /* the same */
    double max_bad_share; /* unreadable samples tolerated; 0 means 0.01; negative: none */
    ptq_progress_fn progress;
    ptq_bad_sample_fn bad_sample;
    void *ctx;
    const ptq_team *team; /* processes that share the samples; NULL: this one alone. Results do not depend on it */
    bool fast_math;       /* as in ptq_engine_options, for the model that ptq_eval runs and the candidate of
                             ptq_compare; other jobs are exact. Results do depend on it */
    const char *precision; /* the same */
} ptq_loop_options;
#define PTQ_LOOP_OPTIONS_INIT {sizeof(ptq_loop_options), 0, 0, 0, 0, 0, 0.0, 0, 0, 0, 0, false, 0}

/* One line on where a loop with these options (NULL: the default ones) runs: backend, instruction set and
 * threads, or device; such as "cpu (vnni, 8 threads)". */
PTQ_API ptq_status ptq_loop_machine(const ptq_loop_options *opt, char *text, size_t n);

typedef struct ptq_statistics ptq_statistics;

typedef struct ptq_calib_options {
    size_t size;
    ptq_loop_options loop;
    size_t shard, nshards; /* observe samples i with i % nshards == shard; nshards 0: all */
    bool nonfinite_ok;     /* count NaN and Inf activations and go on, instead of failing */
    /* Called every `checkpoint_every` samples and before an interruption returns; may be NULL. */
    ptq_status (*checkpoint)(void *ctx, const ptq_statistics *s);
    size_t checkpoint_every;
    void *checkpoint_ctx;
} ptq_calib_options;
#define PTQ_CALIB_OPTIONS_INIT                                                                     \
    {sizeof(ptq_calib_options), PTQ_LOOP_OPTIONS_INIT, 0, 0, false, 0, 0, 0}

/* Runs the optimized model in fp32 over the samples. `resume` (may be NULL) holds statistics of
 * samples that need not be observed again; it is left alone. */
PTQ_API ptq_status ptq_model_calibrate(const ptq_model *m, const ptq_samples *samples,
                                       const ptq_calib_options *opt, const ptq_statistics *resume,
                                       ptq_statistics **out);
PTQ_API void ptq_statistics_free(ptq_statistics *s);
/* Adds src to dst; exact. PTQ_ERR_DATA when they do not belong together or overlap. */
PTQ_API ptq_status ptq_statistics_merge(ptq_statistics *dst, const ptq_statistics *src);
PTQ_API size_t ptq_statistics_done(const ptq_statistics *s); /* samples observed */
PTQ_API size_t ptq_statistics_total(const ptq_statistics *s); /* samples of the data set they belong to */
PTQ_API size_t ptq_statistics_bad(const ptq_statistics *s);  /* samples skipped: unreadable */
/* Canonical text of the preprocessing they were made with, "" when it is not known. Borrowed. */
PTQ_API const char *ptq_statistics_preprocess(const ptq_statistics *s);

#ifdef __cplusplus
}
#endif
#endif
