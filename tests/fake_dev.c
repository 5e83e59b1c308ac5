/* SPDX-License-Identifier: Apache-2.0 */
/* A device that is not there: memory on the host, filled with a pattern so that nothing reads what
 * it has not written, and PTQ_FAKE_FAIL=N makes the N-th call fail. */
#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"
#include "lib/gpu/kernels.h"
#include "lib/gpu/stem.h"
#include "tests/fake_dev.h"

struct ptq_dev {
    uint64_t generation;
    bool recording, broken;
    const char *form, *kernel, *alarm;
};

/* A recording of a run that is not there: launches and copies cannot be kept, so that it holds
 * nothing; replays of it are counted. */
typedef struct fake_graph {
    int unused;
} fake_graph;

long ptq_fake_calls, ptq_fake_live, ptq_fake_replays;
bool ptq_fake_records;
size_t ptq_fake_memory, ptq_fake_bytes;
enum { HEADER = 64 }; /* in front of an allocation: its size */
static long ptq_fake_fail_at;
static ptq_status ptq_fake_status = PTQ_ERR_DEVICE;

void ptq_fake_fail(long at, ptq_status s)
{
    ptq_fake_fail_at = at;
    ptq_fake_calls = 0;
    ptq_fake_status = s;
}

static ptq_status call(const char *what)
{
    if (++ptq_fake_calls == ptq_fake_fail_at)
        return ptq_fail(ptq_fake_status, "CUDA: %s: injected failure", what);
    return PTQ_OK;
}

int ptq_dev_count(char *why, size_t n)
{
    (void)why;
    (void)n;
    return 1;
}

void ptq_dev_describe(int index, char *text, size_t n)
{
    snprintf(text, n, "stand-in device %d", index);
}

ptq_status ptq_dev_open(int index, ptq_dev **out)
{
    PTQ_TRY(call("open"));
    if (index != 0)
        return ptq_fail(PTQ_ERR_ARG, "there is no CUDA device %d; there are 1", index);
    *out = ptq_calloc(1, sizeof **out);
    return *out ? PTQ_OK : ptq_fail_nomem();
}

void ptq_dev_close(ptq_dev *d)
{
    free(d);
}

void ptq_dev_kind(const ptq_dev *d, char *text, size_t n)
{
    (void)d;
    snprintf(text, n, "stand-in");
}

const char **ptq_dev_alarm(ptq_dev *d)
{
    return &d->alarm;
}

static ptq_status alarmed(ptq_dev *d)
{
    const char *node = d->alarm;
    d->alarm = NULL;
    return node ? ptq_fail(PTQ_ERR_DATA, "node %s: an index is outside of its table", node) : PTQ_OK;
}

static ptq_status not_recording(ptq_dev *d, const char *what)
{
    if (!d->recording)
        return PTQ_OK;
    d->broken = true;
    return ptq_fail(PTQ_ERR_DEVICE, "CUDA: %s: not while a run is recorded", what);
}

int ptq_dev_capability(const ptq_dev *d)
{
    (void)d;
    return 0; /* none of the faster kernels */
}

int ptq_dev_processors(const ptq_dev *d)
{
    (void)d;
    return 4;
}

ptq_status ptq_dev_alloc(ptq_dev *d, size_t nbytes, void **out)
{
    PTQ_TRY(not_recording(d, "cannot allocate"));
    PTQ_TRY(call("cannot allocate"));
    d->generation++;
    if (ptq_fake_memory && (nbytes > ptq_fake_memory || ptq_fake_bytes > ptq_fake_memory - nbytes))
        return ptq_fail(PTQ_ERR_NOMEM, "CUDA: the device has no %zu bytes left", nbytes);
    char *p = ptq_alloc_aligned(nbytes + HEADER);
    if (!p)
        return ptq_fail_nomem();
    memcpy(p, &nbytes, sizeof nbytes);
    memset(p + HEADER, 0xA5, nbytes);
    ptq_fake_live++;
    ptq_fake_bytes += nbytes;
    *out = p + HEADER;
    return PTQ_OK;
}

void ptq_dev_free(ptq_dev *d, void *p)
{
    size_t nbytes;
    if (!p)
        return;
    memcpy(&nbytes, (char *)p - HEADER, sizeof nbytes);
    d->generation++;
    ptq_fake_live--;
    ptq_fake_bytes -= nbytes;
    free((char *)p - HEADER);
}

static ptq_status copy(const char *what, void *dst, const void *src, size_t n)
{
    PTQ_TRY(call(what));
    if (n)
        memcpy(dst, src, n);
    return PTQ_OK;
}

ptq_status ptq_dev_upload(ptq_dev *d, void *dst, const void *src, size_t n)
{
    PTQ_TRY(not_recording(d, "copy to the device"));
    return copy("copy to the device", dst, src, n);
}

ptq_status ptq_dev_download(ptq_dev *d, void *dst, const void *src, size_t n)
{
    PTQ_TRY(not_recording(d, "copy from the device"));
    PTQ_TRY(copy("copy from the device", dst, src, n));
    return alarmed(d);
}

ptq_status ptq_dev_copy(ptq_dev *d, void *dst, const void *src, size_t n)
{
    (void)d;
    return copy("copy on the device", dst, src, n);
}

ptq_status ptq_dev_zero(ptq_dev *d, void *dst, size_t n)
{
    (void)d;
    PTQ_TRY(call("clear on the device"));
    if (n)
        memset(dst, 0, n);
    return PTQ_OK;
}

ptq_status ptq_dev_sync(ptq_dev *d)
{
    PTQ_TRY(not_recording(d, "wait"));
    PTQ_TRY(call("a kernel failed"));
    return alarmed(d);
}

/* No tensor cores here, unless a test brings rows of its own. */
const ptq_k_gemm_row *const *ptq_fake_rows;

const ptq_k_gemm_row *ptq_k_gemm_at(int i)
{
    return ptq_fake_rows ? ptq_fake_rows[i] : NULL;
}

const ptq_k_gemm_row *ptq_k_gemm_choose(const ptq_dev *d, const ptq_k_gemm *a)
{
    for (int i = 0; ptq_k_gemm_at(i); i++)
        if (ptq_k_gemm_at(i)->supports(d, a))
            return ptq_k_gemm_at(i);
    return NULL;
}

ptq_k_pooled_run ptq_k_pooled_fast(const ptq_dev *d, const ptq_k_pooled *a)
{
    (void)d;
    (void)a;
    return NULL;
}

ptq_k_matmul_run ptq_k_matmul_fast(const ptq_dev *d, const ptq_k_matmul *a)
{
    (void)d;
    (void)a;
    return NULL;
}

ptq_k_attention_run ptq_fake_attention;

ptq_k_attention_run ptq_k_attention_fast(const ptq_dev *d, const ptq_k_attention *a)
{
    (void)d;
    (void)a;
    return ptq_fake_attention;
}

void *ptq_dev_stream(ptq_dev *d)
{
    (void)d;
    return NULL;
}

ptq_status ptq_dev_time(ptq_dev *d, ptq_dev_work fn, const void *arg, int repeat, float *us)
{
    (void)repeat;
    *us = 1.0f;
    return fn(d, arg);
}

ptq_status ptq_dev_launched(ptq_dev *d, const char *kernel)
{
    d->kernel = kernel;
    return call(kernel);
}

void ptq_dev_name(ptq_dev *d, const char *form)
{
    d->form = form;
}

const char *ptq_dev_kernel(ptq_dev *d)
{
    const char *name = d->form ? d->form : d->kernel;
    d->form = d->kernel = NULL;
    return name;
}

/* The time of the host, where everything runs. */
ptq_status ptq_dev_mark(ptq_dev *d, void **mark)
{
    (void)d;
    PTQ_TRY(call("timing"));
    if (!*mark) {
        *mark = ptq_calloc(1, sizeof(double));
        if (!*mark)
            return ptq_fail_nomem();
        ptq_fake_live++;
    }
    *(double *)*mark = ptq_now();
    return PTQ_OK;
}

void ptq_dev_unmark(ptq_dev *d, void *mark)
{
    (void)d;
    ptq_fake_live -= mark != NULL;
    free(mark);
}

ptq_status ptq_dev_between(ptq_dev *d, void *from, void *to, double *seconds)
{
    (void)d;
    PTQ_TRY(call("a kernel failed"));
    *seconds = *(const double *)to - *(const double *)from;
    return PTQ_OK;
}

ptq_status ptq_dev_rates_of(const ptq_dev *d, ptq_dev_rates *out)
{
    (void)d;
    *out = (ptq_dev_rates){.clock = 1e9, .memory_bytes = 1e12};
    return call("device attributes");
}

ptq_status ptq_dev_use(ptq_dev *d, void *stream)
{
    (void)d;
    (void)stream;
    return PTQ_OK;
}

ptq_status ptq_dev_put(ptq_dev *d, void *dst, const void *src, size_t n)
{
    (void)d;
    return copy("copy to the device", dst, src, n);
}

ptq_status ptq_dev_get(ptq_dev *d, void *dst, const void *src, size_t n)
{
    (void)d;
    return copy("copy from the device", dst, src, n);
}

ptq_status ptq_dev_pin(ptq_dev *d, size_t n, void **out)
{
    return ptq_dev_alloc(d, n, out);
}

void ptq_dev_unpin(ptq_dev *d, void *p)
{
    ptq_dev_free(d, p);
}

bool ptq_dev_is_pinned(ptq_dev *d, const void *p)
{
    (void)d;
    (void)p;
    return false;
}

/* Kernels here are plain calls, which nothing can record: every recording comes out empty, unless a
 * test asks for one to see what is done with it. */
ptq_status ptq_dev_record(ptq_dev *d)
{
    PTQ_TRY(call("cannot record"));
    d->recording = true;
    d->broken = false;
    return PTQ_OK;
}

ptq_status ptq_dev_recorded(ptq_dev *d, bool keep, void **graph)
{
    *graph = NULL;
    d->recording = false;
    if (!keep || d->broken || !ptq_fake_records)
        return PTQ_OK;
    PTQ_TRY(call("cannot record"));
    *graph = ptq_calloc(1, sizeof(fake_graph));
    ptq_fake_live += *graph != NULL;
    return *graph ? PTQ_OK : ptq_fail_nomem();
}

ptq_status ptq_dev_replay(ptq_dev *d, void *graph)
{
    (void)d;
    (void)graph;
    PTQ_TRY(call("cannot replay a run"));
    ptq_fake_replays++;
    return PTQ_OK;
}

void ptq_dev_forget(ptq_dev *d, void *graph)
{
    (void)d;
    ptq_fake_live -= graph != NULL;
    free(graph);
}

uint64_t ptq_dev_generation(const ptq_dev *d)
{
    return d->generation;
}
