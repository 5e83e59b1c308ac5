/* SPDX-License-Identifier: Apache-2.0 */
/* A device that is not there: memory on the host, filled with a pattern so that nothing reads what
 * it has not written, and PTQ_FAKE_FAIL=N makes the N-th call fail. */
#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"
#include "lib/gpu/kernels.h"
#include "tests/fake_dev.h"

struct ptq_dev {
    int unused;
};

long ptq_fake_calls, ptq_fake_live;
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
    (void)d;
    PTQ_TRY(call("cannot allocate"));
    void *p = ptq_alloc_aligned(nbytes);
    if (!p)
        return ptq_fail_nomem();
    memset(p, 0xA5, nbytes);
    ptq_fake_live++;
    *out = p;
    return PTQ_OK;
}

void ptq_dev_free(ptq_dev *d, void *p)
{
    (void)d;
    ptq_fake_live -= p != NULL;
    free(p);
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
    (void)d;
    return copy("copy to the device", dst, src, n);
}

ptq_status ptq_dev_download(ptq_dev *d, void *dst, const void *src, size_t n)
{
    (void)d;
    return copy("copy from the device", dst, src, n);
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
    (void)d;
    return call("a kernel failed");
}

/* No tensor cores here. */
const ptq_k_gemm_row *ptq_k_gemm_at(int i)
{
    (void)i;
    return NULL;
}

const ptq_k_gemm_row *ptq_k_gemm_choose(const ptq_dev *d, const ptq_k_gemm *a)
{
    (void)d;
    (void)a;
    return NULL;
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
    (void)d;
    return call(kernel);
}
