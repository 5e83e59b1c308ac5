/* SPDX-License-Identifier: Apache-2.0 */
/* The device under the CUDA backend: memory, copies, one stream, launches. dev_cuda.c speaks to
 * the CUDA runtime; tests link a stand-in that keeps "device" memory on the host and can make the
 * n-th call fail, so that everything above runs without a GPU. */
#ifndef PTQ_GPU_DEV_H
#define PTQ_GPU_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ptq/status.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(hidden)

typedef struct ptq_dev ptq_dev;

/* Devices that can be used; 0 with the reason in `why`. */
int ptq_dev_count(char *why, size_t n);
/* One line: name, compute capability, memory. */
void ptq_dev_describe(int index, char *text, size_t n);
ptq_status ptq_dev_open(int index, ptq_dev **out);
void ptq_dev_close(ptq_dev *d);
int ptq_dev_capability(const ptq_dev *d); /* 10 * major + minor */
int ptq_dev_processors(const ptq_dev *d); /* streaming multiprocessors */

/* The kind of device, for what is measured on it: name, compute capability, processors. */
void ptq_dev_kind(const ptq_dev *d, char *text, size_t n);

/* 256-byte aligned. PTQ_ERR_NOMEM when the device is full. */
ptq_status ptq_dev_alloc(ptq_dev *d, size_t nbytes, void **out);
void ptq_dev_free(ptq_dev *d, void *p);
/* In stream order; the host side may be reused when the call returns. */
ptq_status ptq_dev_upload(ptq_dev *d, void *dst, const void *src, size_t n);
ptq_status ptq_dev_download(ptq_dev *d, void *dst, const void *src, size_t n); /* waits */
ptq_status ptq_dev_copy(ptq_dev *d, void *dst, const void *src, size_t n);
ptq_status ptq_dev_zero(ptq_dev *d, void *dst, size_t n);
ptq_status ptq_dev_sync(ptq_dev *d);
void *ptq_dev_stream(ptq_dev *d); /* cudaStream_t */
/* Work goes to this stream of the caller; NULL: to the device's own again. */
ptq_status ptq_dev_use(ptq_dev *d, void *stream);
/* Not waited for; the host side is pinned. */
ptq_status ptq_dev_put(ptq_dev *d, void *dst, const void *src, size_t n);
ptq_status ptq_dev_get(ptq_dev *d, void *dst, const void *src, size_t n);
ptq_status ptq_dev_pin(ptq_dev *d, size_t n, void **out);
void ptq_dev_unpin(ptq_dev *d, void *p);
bool ptq_dev_is_pinned(ptq_dev *d, const void *p);
/* Launches and copies on the device between the two are recorded on the own stream, not done. What
 * waits or allocates fails meanwhile; *graph is NULL then, and when !keep. */
ptq_status ptq_dev_record(ptq_dev *d);
ptq_status ptq_dev_recorded(ptq_dev *d, bool keep, void **graph);
ptq_status ptq_dev_replay(ptq_dev *d, void *graph);
void ptq_dev_forget(ptq_dev *d, void *graph);
/* Counts allocations and frees. */
uint64_t ptq_dev_generation(const ptq_dev *d);
/* Microseconds of one call of `fn`, which launches and nothing else: the least of `repeat` timings. */
typedef ptq_status (*ptq_dev_work)(ptq_dev *d, const void *arg);
ptq_status ptq_dev_time(ptq_dev *d, ptq_dev_work fn, const void *arg, int repeat, float *us);
/* A point in the stream, or in a recording; *mark is made where it is NULL. */
ptq_status ptq_dev_mark(ptq_dev *d, void **mark);
void ptq_dev_unmark(ptq_dev *d, void *mark);
ptq_status ptq_dev_between(ptq_dev *d, void *from, void *to, double *seconds); /* waits */

/* Clocks and widths, of which peaks.c makes operations and bytes per second. */
typedef struct ptq_dev_rates {
    double clock;        /* of the processors, highest, in Hz */
    double memory_bytes; /* per second: memory clock, two transfers each, times the width of the bus */
} ptq_dev_rates;
ptq_status ptq_dev_rates_of(const ptq_dev *d, ptq_dev_rates *out);

/* The name of the kernel that is about to be launched, where one function has several forms; NULL: as
 * launched. And the last one since the last call: static text, or NULL. */
void ptq_dev_name(ptq_dev *d, const char *form);
const char *ptq_dev_kernel(ptq_dev *d);
/* A word of host memory that kernels write the name of their step to where data are wrong; the next
 * wait (sync, download) fails with PTQ_ERR_DATA then, and clears it. */
const char **ptq_dev_alarm(ptq_dev *d);
/* After a launch: PTQ_OK, or the error with the kernel's name. */
ptq_status ptq_dev_launched(ptq_dev *d, const char *kernel);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
