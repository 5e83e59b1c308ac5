/* SPDX-License-Identifier: Apache-2.0 */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/core/core.h"
#include "lib/gpu/dev.h"

struct ptq_dev {
    int index, capability, processors;
    cudaStream_t stream;
};

static ptq_status fail(cudaError_t e, const char *what)
{
    ptq_status s = e == cudaErrorMemoryAllocation ? PTQ_ERR_NOMEM : PTQ_ERR_DEVICE;
    return ptq_fail(s, "CUDA: %s: %s (%s)", what, cudaGetErrorString(e), cudaGetErrorName(e));
}

#define CUDA(what, call)                                                                           \
    do {                                                                                           \
        cudaError_t cuda_ = (call);                                                                \
        if (cuda_ != cudaSuccess)                                                                  \
            return fail(cuda_, what);                                                              \
    } while (0)

int ptq_dev_count(char *why, size_t n)
{
    int count = 0;
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e == cudaSuccess && count > 0)
        return count;
    snprintf(why, n, "%s", e == cudaErrorInsufficientDriver ? "no NVIDIA driver, or one older than this CUDA toolkit"
                          : e == cudaSuccess ? "no CUDA device" : cudaGetErrorString(e));
    cudaGetLastError();
    return 0;
}

void ptq_dev_describe(int index, char *text, size_t n)
{
    struct cudaDeviceProp p;
    cudaError_t e = cudaGetDeviceProperties(&p, index);
    if (e != cudaSuccess)
        snprintf(text, n, "%s", cudaGetErrorString(e));
    else
        snprintf(text, n, "%s, compute capability %d.%d, %d processors, %.0f GiB", p.name, p.major, p.minor,
                 p.multiProcessorCount, (double)p.totalGlobalMem / (1 << 30));
}

static ptq_status setup(ptq_dev *d)
{
    int major, minor;
    CUDA("cannot use the device", cudaSetDevice(d->index));
    CUDA("device attributes", cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->index));
    CUDA("device attributes", cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, d->index));
    CUDA("device attributes",
         cudaDeviceGetAttribute(&d->processors, cudaDevAttrMultiProcessorCount, d->index));
    d->capability = 10 * major + minor;
    if (d->capability < 80)
        return ptq_fail(PTQ_ERR_DEVICE, "CUDA device %d has compute capability %d.%d; 8.0 or more is needed",
                        d->index, major, minor);
    CUDA("cannot make a stream", cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking));
    return PTQ_OK;
}

ptq_status ptq_dev_open(int index, ptq_dev **out)
{
    char why[256];
    int n = ptq_dev_count(why, sizeof why);
    if (n == 0)
        return ptq_fail(PTQ_ERR_DEVICE, "CUDA cannot be used here: %s", why);
    if (index < 0 || index >= n)
        return ptq_fail(PTQ_ERR_ARG, "there is no CUDA device %d; there are %d", index, n);
    ptq_dev *d = ptq_calloc(1, sizeof *d);
    if (!d)
        return ptq_fail_nomem();
    d->index = index;
    ptq_status s = setup(d);
    if (s != PTQ_OK) {
        ptq_dev_close(d);
        return s;
    }
    *out = d;
    return PTQ_OK;
}

void ptq_dev_close(ptq_dev *d)
{
    if (!d)
        return;
    if (d->stream)
        cudaStreamDestroy(d->stream);
    free(d);
}

int ptq_dev_capability(const ptq_dev *d)
{
    return d->capability;
}

int ptq_dev_processors(const ptq_dev *d)
{
    return d->processors;
}

ptq_status ptq_dev_alloc(ptq_dev *d, size_t nbytes, void **out)
{
    CUDA("cannot use the device", cudaSetDevice(d->index));
    cudaError_t e = cudaMalloc(out, nbytes ? nbytes : 1);
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* not a sticky one */
        return ptq_fail(PTQ_ERR_NOMEM, "CUDA: the device has no %zu bytes left", nbytes);
    }
    return e == cudaSuccess ? PTQ_OK : fail(e, "cannot allocate");
}

void ptq_dev_free(ptq_dev *d, void *p)
{
    (void)d;
    if (p)
        cudaFree(p);
}

ptq_status ptq_dev_upload(ptq_dev *d, void *dst, const void *src, size_t n)
{
    if (n)
        CUDA("copy to the device", cudaMemcpyAsync(dst, src, n, cudaMemcpyHostToDevice, d->stream));
    /* Pinned memory would still be read after the call. */
    CUDA("copy to the device", cudaStreamSynchronize(d->stream));
    return PTQ_OK;
}

ptq_status ptq_dev_download(ptq_dev *d, void *dst, const void *src, size_t n)
{
    if (n)
        CUDA("copy from the device", cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToHost, d->stream));
    CUDA("copy from the device", cudaStreamSynchronize(d->stream));
    return PTQ_OK;
}

ptq_status ptq_dev_copy(ptq_dev *d, void *dst, const void *src, size_t n)
{
    if (n)
        CUDA("copy on the device", cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToDevice, d->stream));
    return PTQ_OK;
}

ptq_status ptq_dev_zero(ptq_dev *d, void *dst, size_t n)
{
    if (n)
        CUDA("clear on the device", cudaMemsetAsync(dst, 0, n, d->stream));
    return PTQ_OK;
}

ptq_status ptq_dev_sync(ptq_dev *d)
{
    CUDA("a kernel failed", cudaStreamSynchronize(d->stream));
    return PTQ_OK;
}

void *ptq_dev_stream(ptq_dev *d)
{
    return d->stream;
}

static ptq_status timed(ptq_dev *d, ptq_dev_work fn, const void *arg, int repeat, cudaEvent_t from, cudaEvent_t to,
                        float *us)
{
    float least = 0.0f;
    PTQ_TRY(fn(d, arg));
    for (int i = 0; i < repeat; i++) {
        float ms;
        CUDA("timing", cudaEventRecord(from, d->stream));
        PTQ_TRY(fn(d, arg));
        CUDA("timing", cudaEventRecord(to, d->stream));
        CUDA("a timed kernel failed", cudaEventSynchronize(to));
        CUDA("timing", cudaEventElapsedTime(&ms, from, to));
        least = i == 0 || ms < least ? ms : least;
    }
    *us = 1e3f * least;
    return PTQ_OK;
}

ptq_status ptq_dev_time(ptq_dev *d, ptq_dev_work fn, const void *arg, int repeat, float *us)
{
    cudaEvent_t from = NULL, to = NULL;
    cudaError_t e = cudaEventCreate(&from);
    if (e == cudaSuccess)
        e = cudaEventCreate(&to);
    ptq_status s = e == cudaSuccess ? timed(d, fn, arg, repeat, from, to, us) : fail(e, "timing");
    if (from)
        cudaEventDestroy(from);
    if (to)
        cudaEventDestroy(to);
    return s;
}

ptq_status ptq_dev_launched(ptq_dev *d, const char *kernel)
{
    (void)d;
    CUDA(kernel, cudaGetLastError());
    return PTQ_OK;
}
