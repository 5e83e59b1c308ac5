/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of ptq_engine_bench: bench.c runs the engine as a whole, bench_layers.c step by step. */
#ifndef PTQ_JOBS_BENCH_H
#define PTQ_JOBS_BENCH_H

#include "lib/jobs/engine.h"
#include "lib/report/report.h"

/* Seconds of runs, kept round by round. */
typedef struct ptq_times {
    double *v;
    size_t n, cap;
    double low, high; /* medians of the fastest and the slowest round */
} ptq_times;
/* The last `n` make a round. */
void ptq_times_round(ptq_times *t, size_t n);
/* Median, percentiles, least, spread over the rounds, samples per second. Sorts. */
ptq_status ptq_times_json(ptq_times *t, double samples, json_t *root, const char *key);

/* Inputs of an engine with data, and room for the outputs. */
typedef struct ptq_bench_data {
    ptq_engine *e;
    size_t profile, nin, nout;
    double seconds;
    ptq_tensor *in, *out;         /* on the host; data of `out` is NULL where its size depends on the data */
    ptq_session *session;         /* its line of work holds the device's copies */
    ptq_tensor *dev_in, *dev_out; /* on the device; NULL without streams or with such outputs */
} ptq_bench_data;

/* Time per step, its limits, and why it takes so long: root["layers"]. */
ptq_status ptq_bench_layers(ptq_bench_data *d, const ptq_peaks *peaks, json_t *root);

#endif
