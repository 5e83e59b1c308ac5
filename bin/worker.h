/* SPDX-License-Identifier: Apache-2.0 */
/* Work in a process of its own, so that a device driver that crashes or is left unusable takes nobody
 * with it. */
#ifndef PTQ_BIN_WORKER_H
#define PTQ_BIN_WORKER_H

#include <stdbool.h>

/* Runs work(ctx) in a child and waits for it. False: there is no child (the work was not begun). Else
 * *code is its exit code, or -N when signal N ended it. Signals that ask to stop are passed on. */
bool worker_run(int (*work)(void *ctx), void *ctx, int *code);

/* The same job twice at most: on the device, in a child, and where the device fails (exit code 8) or
 * takes the child with it, after failed(ctx, code) on the CPU, in this process. */
typedef struct worker_job {
    int (*on_device)(void *ctx);
    int (*on_cpu)(void *ctx);
    void (*failed)(void *ctx, int code); /* as worker_run tells it */
    void *ctx;
} worker_job;
int worker_with_fallback(const worker_job *j);

/* Could a GPU be at work here? Looks for the driver's device files; asks no driver. */
bool worker_gpu_likely(void);

#endif
