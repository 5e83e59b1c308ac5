/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_CORE_POOL_H
#define PTQ_CORE_POOL_H

#include "lib/core/core.h"

#pragma GCC visibility push(default)

/* Fixed set of worker threads. A NULL pool runs everything on the calling thread. */
typedef struct ptq_pool ptq_pool;

/* `threads` counts the calling thread; 0 means one per online CPU. If fewer threads can be
 * started, the pool is smaller and says so in the log; results never depend on its size. */
ptq_status ptq_pool_new(int threads, ptq_pool **out);
void ptq_pool_free(ptq_pool *p);
int ptq_pool_threads(const ptq_pool *p);

/* Calls fn(arg, i, worker) for every i in [0, n), in any order, worker in [0, threads).
 * The first failure (lowest i of those that ran) is returned with its error text.
 * A call from inside a task runs on that task's thread. */
typedef ptq_status (*ptq_task_fn)(void *arg, size_t i, int worker);
ptq_status ptq_pool_for(ptq_pool *p, size_t n, ptq_task_fn fn, void *arg);

#pragma GCC visibility pop

#endif
