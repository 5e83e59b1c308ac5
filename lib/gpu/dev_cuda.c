/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/core/core.h"
#include "lib/gpu/dev.h"
#include "lib/gpu/lt.h"

struct ptq_dev {
    int index, capability, processors;
    cudaStream_t own, stream; /* stream: the one in use */
    uint64_t generation;
    bool recording, broken; /* broken: something was asked for that cannot be recorded */
    char name[128];
    const char *form, *kernel; /* see ptq_dev_name */
    const char **alarm;        /* pinned; see ptq_dev_alarm */
    ptq_lt *lt;                /* see ptq_dev_lt */
    bool lt_asked;
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
    struct cudaDeviceProp p;
    CUDA("device attributes", cudaGetDeviceProperties(&p, d->index));
    snprintf(d->name, sizeof d->name, "%s", p.name);
    CUDA("cannot make a stream", cudaStreamCreateWithFlags(&d->own, cudaStreamNonBlocking));
    d->stream = d->own;
    CUDA("cannot pin memory", cudaMallocHost((void **)&d->alarm, sizeof *d->alarm));
    *d->alarm = NULL;
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
#ifdef HAVE_CUBLASLT
    ptq_lt_close(d->lt, d);
#endif
    if (d->own)
        cudaStreamDestroy(d->own);
    if (d->alarm)
        cudaFreeHost(d->alarm);
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

void ptq_dev_kind(const ptq_dev *d, char *text, size_t n)
{
    snprintf(text, n, "%s, compute capability %d.%d, %d processors", d->name, d->capability / 10,
             d->capability % 10, d->processors);
}

const char **ptq_dev_alarm(ptq_dev *d)
{
    return d->alarm;
}

static ptq_status alarmed(ptq_dev *d)
{
    const char *volatile *word = d->alarm; /* a kernel writes it */
    const char *node = *word;
    if (!node)
        return PTQ_OK;
    *d->alarm = NULL;
    return ptq_fail(PTQ_ERR_DATA, "node %s: an index is outside of its table", node);
}

/* What waits for the device or moves memory ends a recording. */
static ptq_status not_recording(ptq_dev *d, const char *what)
{
    if (!d->recording)
        return PTQ_OK;
    d->broken = true;
    return ptq_fail(PTQ_ERR_DEVICE, "CUDA: %s: not while a run is recorded", what);
}

ptq_status ptq_dev_alloc(ptq_dev *d, size_t nbytes, void **out)
{
    PTQ_TRY(not_recording(d, "cannot allocate"));
    CUDA("cannot use the device", cudaSetDevice(d->index));
    d->generation++;
    cudaError_t e = cudaMalloc(out, nbytes ? nbytes : 1);
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* not a sticky one */
        return ptq_fail(PTQ_ERR_NOMEM, "CUDA: the device has no %zu bytes left", nbytes);
    }
    return e == cudaSuccess ? PTQ_OK : fail(e, "cannot allocate");
}

void ptq_dev_free(ptq_dev *d, void *p)
{
    if (!p)
        return;
    d->generation++;
    cudaFree(p);
}

ptq_status ptq_dev_upload(ptq_dev *d, void *dst, const void *src, size_t n)
{
    PTQ_TRY(not_recording(d, "copy to the device"));
    if (n)
        CUDA("copy to the device", cudaMemcpyAsync(dst, src, n, cudaMemcpyHostToDevice, d->stream));
    /* Pinned memory would still be read after the call. */
    CUDA("copy to the device", cudaStreamSynchronize(d->stream));
    return PTQ_OK;
}

ptq_status ptq_dev_download(ptq_dev *d, void *dst, const void *src, size_t n)
{
    PTQ_TRY(not_recording(d, "copy from the device"));
    if (n)
        CUDA("copy from the device", cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToHost, d->stream));
    CUDA("copy from the device", cudaStreamSynchronize(d->stream));
    return alarmed(d);
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
    PTQ_TRY(not_recording(d, "wait"));
    CUDA("a kernel failed", cudaStreamSynchronize(d->stream));
    return alarmed(d);
}

void *ptq_dev_stream(ptq_dev *d)
{
    return d->stream;
}

ptq_status ptq_dev_use(ptq_dev *d, void *stream)
{
    CUDA("cannot use the device", cudaSetDevice(d->index));
    d->stream = stream ? (cudaStream_t)stream : d->own;
    return PTQ_OK;
}

ptq_status ptq_dev_put(ptq_dev *d, void *dst, const void *src, size_t n)
{
    if (n)
        CUDA("copy to the device", cudaMemcpyAsync(dst, src, n, cudaMemcpyHostToDevice, d->stream));
    return PTQ_OK;
}

ptq_status ptq_dev_get(ptq_dev *d, void *dst, const void *src, size_t n)
{
    if (n)
        CUDA("copy from the device", cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToHost, d->stream));
    return PTQ_OK;
}

ptq_status ptq_dev_pin(ptq_dev *d, size_t n, void **out)
{
    CUDA("cannot use the device", cudaSetDevice(d->index));
    CUDA("cannot pin memory", cudaMallocHost(out, n ? n : 1));
    return PTQ_OK;
}

void ptq_dev_unpin(ptq_dev *d, void *p)
{
    (void)d;
    if (p)
        cudaFreeHost(p);
}

bool ptq_dev_is_pinned(ptq_dev *d, const void *p)
{
    struct cudaPointerAttributes a;
    (void)d;
    if (cudaPointerGetAttributes(&a, p) == cudaSuccess)
        return a.type == cudaMemoryTypeHost;
    cudaGetLastError();
    return false;
}

/* ---- recordings ---- */

ptq_status ptq_dev_record(ptq_dev *d)
{
    d->stream = d->own;
    CUDA("cannot record", cudaStreamBeginCapture(d->own, cudaStreamCaptureModeThreadLocal));
    d->recording = true;
    d->broken = false;
    return PTQ_OK;
}

ptq_status ptq_dev_recorded(ptq_dev *d, bool keep, void **graph)
{
    cudaGraph_t g = NULL;
    cudaGraphExec_t exec = NULL;
    *graph = NULL;
    d->recording = false;
    cudaError_t e = cudaStreamEndCapture(d->own, &g);
    if (keep && !d->broken && e == cudaSuccess)
        e = cudaGraphInstantiate(&exec, g, 0);
    if (g)
        cudaGraphDestroy(g);
    if (!keep || d->broken) { /* a capture that was cut off is no error of the device */
        cudaGetLastError();
        return PTQ_OK;
    }
    CUDA("cannot record", e);
    *graph = exec;
    return PTQ_OK;
}

ptq_status ptq_dev_replay(ptq_dev *d, void *graph)
{
    CUDA("cannot replay a run", cudaGraphLaunch(graph, d->stream));
    return PTQ_OK;
}

void ptq_dev_forget(ptq_dev *d, void *graph)
{
    (void)d;
    if (graph)
        cudaGraphExecDestroy(graph);
}

uint64_t ptq_dev_generation(const ptq_dev *d)
{
    return d->generation;
}

/* Several calls replayed as one recording, so that the cost of a launch does not hide the work. */
static ptq_status timed(ptq_dev *d, ptq_dev_work fn, const void *arg, int repeat, cudaEvent_t from, cudaEvent_t to,
                        float *us)
{
    enum { CALLS = 8 };
    float least = 0.0f;
    void *graph;
    cudaStream_t user = d->stream;
    PTQ_TRY(fn(d, arg));
    PTQ_TRY(ptq_dev_record(d));
    ptq_status s = PTQ_OK;
    for (int i = 0; i < CALLS && s == PTQ_OK; i++)
        s = fn(d, arg);
    ptq_status ended = ptq_dev_recorded(d, s == PTQ_OK, &graph);
    d->stream = user;
    PTQ_TRY(s);
    PTQ_TRY(ended);
    for (int i = 0; i <= repeat && s == PTQ_OK; i++) {
        float ms;
        cudaError_t e = cudaEventRecord(from, d->stream);
        e = e == cudaSuccess ? cudaGraphLaunch(graph, d->stream) : e;
        e = e == cudaSuccess ? cudaEventRecord(to, d->stream) : e;
        e = e == cudaSuccess ? cudaEventSynchronize(to) : e;
        e = e == cudaSuccess ? cudaEventElapsedTime(&ms, from, to) : e;
        if (e != cudaSuccess)
            s = fail(e, "a timed kernel failed");
        else if (i > 0) /* the first one warms up */
            least = i == 1 || ms < least ? ms : least;
    }
    ptq_dev_forget(d, graph);
    *us = 1e3f * least / CALLS;
    return s;
}

ptq_status ptq_dev_time(ptq_dev *d, ptq_dev_work fn, const void *arg, int repeat, float *us)
{
    cudaEvent_t from = NULL, to = NULL;
    PTQ_TRY(not_recording(d, "timing"));
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

#ifdef HAVE_CUBLASLT
ptq_lt *ptq_dev_lt(const ptq_dev *d)
{
    ptq_dev *own = (ptq_dev *)(uintptr_t)d; /* what is found out of a device does not change it */
    if (!d->lt_asked && !d->recording && cudaSetDevice(d->index) == cudaSuccess) {
        own->lt_asked = true;
        own->lt = ptq_lt_open(ptq_lt_file);
    }
    return d->lt;
}
#endif

ptq_status ptq_dev_launched(ptq_dev *d, const char *kernel)
{
    d->kernel = kernel;
    CUDA(kernel, cudaGetLastError());
    return PTQ_OK;
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

/* ---- marks ---- */

ptq_status ptq_dev_mark(ptq_dev *d, void **mark)
{
    cudaEvent_t e = *mark;
    if (!e)
        CUDA("timing", cudaEventCreate(&e));
    *mark = e;
    /* External: a node of the recording that notes the time at each replay, not an edge of it. */
    CUDA("timing", cudaEventRecordWithFlags(e, d->stream, d->recording ? cudaEventRecordExternal : cudaEventRecordDefault));
    return PTQ_OK;
}

void ptq_dev_unmark(ptq_dev *d, void *mark)
{
    (void)d;
    if (mark)
        cudaEventDestroy(mark);
}

ptq_status ptq_dev_between(ptq_dev *d, void *from, void *to, double *seconds)
{
    float ms = 0.0f;
    (void)d;
    CUDA("a kernel failed", cudaEventSynchronize(from));
    CUDA("a kernel failed", cudaEventSynchronize(to));
    CUDA("timing", cudaEventElapsedTime(&ms, from, to));
    *seconds = 1e-3 * (double)ms;
    return PTQ_OK;
}

ptq_status ptq_dev_rates_of(const ptq_dev *d, ptq_dev_rates *out)
{
    int clock = 0, memory = 0, bits = 0; /* kHz, kHz, bits */
    CUDA("device attributes", cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, d->index));
    CUDA("device attributes", cudaDeviceGetAttribute(&memory, cudaDevAttrMemoryClockRate, d->index));
    CUDA("device attributes", cudaDeviceGetAttribute(&bits, cudaDevAttrGlobalMemoryBusWidth, d->index));
    out->clock = 1e3 * clock;
    out->memory_bytes = 2.0 * 1e3 * memory * bits / 8.0;
    return PTQ_OK;
}
