/* SPDX-License-Identifier: Apache-2.0 */
/* Timing of kernels on the device, for the programs of this folder: random data, replay from a CUDA graph,
 * operands rotating over more memory than the second-level cache holds. */
#ifndef PTQ_BENCH_GPU_KIT_H
#define PTQ_BENCH_GPU_KIT_H

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"
#include "lib/gpu/kernels.h"

static ptq_dev *dev;

static void must(ptq_status s)
{
    if (s == PTQ_OK)
        return;
    fprintf(stderr, "error: %s\n", ptq_last_error());
    exit(1);
}

static void *random_bytes(size_t n, uint64_t seed)
{
    ptq_rng r;
    void *d;
    uint64_t *p = malloc(n + 8);
    if (!p)
        exit(1);
    ptq_rng_seed(&r, seed);
    for (size_t i = 0; i < n / 8 + 1; i++)
        p[i] = ptq_rng_u64(&r);
    must(ptq_dev_alloc(dev, n, &d));
    must(ptq_dev_upload(dev, d, p, n));
    free(p);
    return d;
}

static int up(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { SETS = 8, REPEAT = 15 };

/* What a call is given, over and over with other memory. */
typedef struct work {
    ptq_dev_work run;
    const void *arg[SETS];
    int sets;
} work;

/* Microseconds of one call: median; *spread: 90th less 10th percentile over the median. */
static double time_work(const work *w, double *spread)
{
    cudaStream_t st = ptq_dev_stream(dev);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t t0, t1;
    double us[REPEAT];
    must(w->run(dev, w->arg[0]));
    must(ptq_dev_sync(dev));
    cudaStreamBeginCapture(st, cudaStreamCaptureModeThreadLocal);
    for (int i = 0; i < 2 * SETS; i++)
        must(w->run(dev, w->arg[i % w->sets]));
    cudaStreamEndCapture(st, &graph);
    if (cudaGraphInstantiate(&exec, graph, 0) != cudaSuccess)
        exit(1);
    cudaEventCreate(&t0);
    cudaEventCreate(&t1);
    cudaGraphLaunch(exec, st);
    for (int i = 0; i < REPEAT; i++) {
        float ms;
        cudaEventRecord(t0, st);
        cudaGraphLaunch(exec, st);
        cudaEventRecord(t1, st);
        cudaEventSynchronize(t1);
        cudaEventElapsedTime(&ms, t0, t1);
        us[i] = 1e3 * (double)ms / (2 * SETS);
    }
    must(ptq_dev_sync(dev));
    qsort(us, REPEAT, sizeof us[0], up);
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    *spread = (us[REPEAT * 9 / 10] - us[REPEAT / 10]) / us[REPEAT / 2];
    return us[REPEAT / 2];
}

/* Sets of `bytes` bytes that together are more than the second-level cache holds. */
static int sets_of(double bytes)
{
    int n = bytes > 256e6 ? 1 : bytes * SETS < 256e6 ? SETS : (int)(256e6 / bytes) + 1;
    return n > SETS ? SETS : n;
}

static void *space(size_t n)
{
    void *p;
    must(ptq_dev_alloc(dev, n, &p));
    return p;
}

static void report(const char *name, const work *w, double bytes)
{
    double spread, us = time_work(w, &spread);
    ptq_dev_kernel(dev);
    must(w->run(dev, w->arg[0]));
    printf("%-26s %-16s %9.1f us (%4.1f %%) %6.2f TB/s %5.1f %% of the limit\n", name, ptq_dev_kernel(dev), us,
           100 * spread, bytes / us * 1e-6, bytes / 4.19e12 * 1e8 / us);
    fflush(stdout);
}

#endif
