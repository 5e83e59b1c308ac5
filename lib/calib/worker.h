/* SPDX-License-Identifier: Apache-2.0 */
/* A child process for a library that damaged files can crash. HDF5 1.10 dies on some of its own
 * published CVE files; here that kills the child, and the caller gets PTQ_ERR_DATA. This process
 * itself never calls HDF5, so no lock of it can be held when a child is made. */
#ifndef PTQ_CALIB_WORKER_H
#define PTQ_CALIB_WORKER_H

#include "lib/core/core.h"

typedef struct ptq_worker ptq_worker;

/* Bytes that grow; `failed` sticks when memory runs out. */
typedef struct ptq_bytes {
    uint8_t *data;
    size_t n, cap;
    bool failed;
} ptq_bytes;
void ptq_bytes_add(ptq_bytes *b, const void *data, size_t n);
/* Room for n bytes at the end, to be filled by the caller; NULL when out of memory. */
void *ptq_bytes_room(ptq_bytes *b, size_t n);

/* Runs in the child, once for each request; adds its answer to `reply`. A failure's text goes
 * to the caller. */
typedef ptq_status (*ptq_serve_fn)(void *state, const void *request, size_t n, ptq_bytes *reply);

/* Forks. `state` is as it is at this moment; the child's changes stay in the child, which has no
 * open files, cannot write files unless may_write, and has a limited address space. */
ptq_status ptq_worker_start(ptq_serve_fn serve, void *state, bool may_write, ptq_worker **out);
/* One request and its answer; thread-safe, one at a time. *reply is freed with free(). When the
 * child died or is silent for too long, this and every later call is PTQ_ERR_DATA. */
ptq_status ptq_worker_call(ptq_worker *w, const void *request, size_t n, uint8_t **reply,
                           size_t *n_reply);
void ptq_worker_stop(ptq_worker *w);

#endif
