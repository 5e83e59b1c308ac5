/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA backend: from steps to kernel rows. */
#include "lib/gpu/gpu.h"

#include <stdlib.h>
#include <string.h>

typedef struct float_row {
    const char *op, *domain;
    const ptq_gpu_kernel *kernel;
} float_row;

#define PTQ_GPU_FLOAT(op, domain, symbol) extern const ptq_gpu_kernel ptq_gpu_f_##symbol;
#include "lib/gpu/kernels_float.def"
#undef PTQ_GPU_FLOAT
#define PTQ_GPU_INT(name) extern const ptq_gpu_kernel ptq_gpu_int_##name;
#include "lib/gpu/kernels_int.def"
#undef PTQ_GPU_INT

static const float_row float_rows[] = {
#define PTQ_GPU_FLOAT(op, domain, symbol) {#op, domain, &ptq_gpu_f_##symbol},
#include "lib/gpu/kernels_float.def"
#undef PTQ_GPU_FLOAT
    {NULL, NULL, NULL}};

static const ptq_gpu_kernel *const int_rows[] = {
#define PTQ_GPU_INT(name) &ptq_gpu_int_##name,
#include "lib/gpu/kernels_int.def"
#undef PTQ_GPU_INT
    NULL};

static const ptq_gpu_kernel *kernel_of(const ptq_step *s)
{
    if (strcmp(s->def->name, "float") != 0) {
        for (const ptq_gpu_kernel *const *r = int_rows; *r; r++)
            if (strcmp((*r)->name, s->def->name) == 0)
                return *r;
        return NULL;
    }
    const char *domain = strcmp(s->node->domain, "ai.onnx") == 0 ? "" : s->node->domain;
    for (const float_row *r = float_rows; r->op; r++)
        if (strcmp(r->op, s->node->op) == 0 && strcmp(r->domain, domain) == 0)
            return r->kernel;
    return NULL;
}

struct ptq_backend {
    ptq_gpu gpu;
    int device;
    bool forked; /* the tuner is another's */
};

ptq_status ptq_gpu_scratch(ptq_gpu *g, int slot, size_t nbytes, void **out)
{
    if (nbytes > g->scratch[slot].nbytes || !g->scratch[slot].p) {
        ptq_dev_free(g->dev, g->scratch[slot].p);
        g->scratch[slot].p = NULL;
        g->scratch[slot].nbytes = 0;
        PTQ_TRY(ptq_dev_alloc(g->dev, nbytes, &g->scratch[slot].p));
        g->scratch[slot].nbytes = nbytes;
    }
    *out = g->scratch[slot].p;
    return PTQ_OK;
}

ptq_status ptq_gpu_keep(ptq_gpu *g, const void *src, size_t n, void **out)
{
    void *p;
    if (!src)
        return PTQ_OK;
    PTQ_TRY(ptq_dev_alloc(g->dev, n, &p));
    ptq_status s = ptq_dev_upload(g->dev, p, src, n);
    if (s != PTQ_OK) {
        ptq_dev_free(g->dev, p);
        return s;
    }
    *out = p;
    return PTQ_OK;
}

static bool gpu_probe(char *text, size_t n)
{
    char why[200];
    if (ptq_dev_count(why, sizeof why) == 0) {
        snprintf(text, n, "built, but: %s", why);
        return false;
    }
    ptq_dev_describe(0, text, n);
    return true;
}

static ptq_status gpu_open(const ptq_backend_options *opt, ptq_backend **out)
{
    ptq_backend *b = ptq_calloc(1, sizeof *b);
    if (!b)
        return ptq_fail_nomem();
    b->device = opt ? opt->device : 0;
    b->gpu.fast = opt && opt->fast_math;
    ptq_status s = ptq_dev_open(b->device, &b->gpu.dev);
    if (s == PTQ_OK)
        s = ptq_gpu_tuner_new(&b->gpu.tuner);
    if (s != PTQ_OK) {
        ptq_dev_close(b->gpu.dev);
        free(b);
        return s;
    }
    *out = b;
    return PTQ_OK;
}

static ptq_status gpu_fork(ptq_backend *from, ptq_backend **out)
{
    ptq_backend *b = ptq_calloc(1, sizeof *b);
    if (!b)
        return ptq_fail_nomem();
    b->device = from->device;
    b->gpu.tuner = from->gpu.tuner;
    b->gpu.fast = from->gpu.fast;
    b->forked = true;
    ptq_status s = ptq_dev_open(b->device, &b->gpu.dev);
    if (s != PTQ_OK) {
        free(b);
        return s;
    }
    *out = b;
    return PTQ_OK;
}

static void gpu_close(ptq_backend *b)
{
    if (!b)
        return;
    for (int i = 0; i < PTQ_GPU_SCRATCHES; i++)
        ptq_dev_free(b->gpu.dev, b->gpu.scratch[i].p);
    if (!b->forked)
        ptq_gpu_tuner_free(b->gpu.tuner);
    ptq_dev_close(b->gpu.dev);
    free(b);
}

static ptq_status gpu_alloc(ptq_backend *b, size_t nbytes, void **out)
{
    return ptq_dev_alloc(b->gpu.dev, nbytes, out);
}

static void gpu_free(ptq_backend *b, void *p)
{
    ptq_dev_free(b->gpu.dev, p);
}

static ptq_status gpu_upload(ptq_backend *b, void *dst, const void *src, size_t n)
{
    return ptq_dev_upload(b->gpu.dev, dst, src, n);
}

static ptq_status gpu_download(ptq_backend *b, void *dst, const void *src, size_t n)
{
    return ptq_dev_download(b->gpu.dev, dst, src, n);
}

static bool gpu_supports(ptq_backend *b, const ptq_program *p, const ptq_step *s, const char **why)
{
    (void)b;
    const ptq_gpu_kernel *k = kernel_of(s);
    if (k)
        return !k->supports || k->supports(p, s, why);
    if (why)
        *why = "no CUDA kernel for this operator";
    return false;
}

static uint32_t gpu_host_inputs(ptq_backend *b, const ptq_program *p, const ptq_step *s)
{
    (void)b;
    const ptq_gpu_kernel *k = kernel_of(s);
    return k && k->host_inputs ? k->host_inputs(p, s) : 0;
}

static uint32_t gpu_halves(ptq_backend *b, const ptq_program *p, const ptq_step *s)
{
    if (!b->gpu.fast)
        return 0;
    return strcmp(s->def->name, "qgemm") == 0   ? ptq_gpu_gemm_halves(p, s)
           : strcmp(s->def->name, "qnorm") == 0 ? ptq_gpu_qnorm_halves()
                                                : 0;
}

static bool gpu_half_product(ptq_backend *b, const ptq_program *p, const ptq_step *s, const char **why)
{
    (void)b;
    const ptq_gpu_kernel *k = kernel_of(s);
    *why = NULL;
    return k && k->half && k->half(p, s, why);
}

static ptq_status gpu_prepare(ptq_backend *b, const ptq_program *p, const ptq_step *s, void **state)
{
    const ptq_gpu_kernel *k = kernel_of(s);
    return k && k->prepare ? k->prepare(&b->gpu, p, s, state) : PTQ_OK;
}

static void gpu_release(ptq_backend *b, const ptq_step *s, void *state)
{
    const ptq_gpu_kernel *k = kernel_of(s);
    if (state && k && k->release)
        k->release(&b->gpu, state);
}

static ptq_status gpu_run(ptq_backend *b, const ptq_step_run *r)
{
    const ptq_gpu_kernel *k = kernel_of(r->step);
    if (!k)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node %s: operator %s has no CUDA kernel", r->step->name,
                        r->step->node->op);
    ptq_status s = k->run(&b->gpu, r);
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "node %s", r->step->name);
}

static ptq_status gpu_sync(ptq_backend *b)
{
    return ptq_dev_sync(b->gpu.dev);
}

/* ---- streams ---- */

static ptq_status stream_use(ptq_backend *b, void *stream)
{
    return ptq_dev_use(b->gpu.dev, stream);
}

static ptq_status stream_copy(ptq_backend *b, void *dst, const void *src, size_t n)
{
    return ptq_dev_copy(b->gpu.dev, dst, src, n);
}

static ptq_status stream_put(ptq_backend *b, void *dst, const void *src, size_t n)
{
    return ptq_dev_put(b->gpu.dev, dst, src, n);
}

static ptq_status stream_get(ptq_backend *b, void *dst, const void *src, size_t n)
{
    return ptq_dev_get(b->gpu.dev, dst, src, n);
}

static ptq_status stream_pin(ptq_backend *b, size_t n, void **out)
{
    return ptq_dev_pin(b->gpu.dev, n, out);
}

static void stream_unpin(ptq_backend *b, void *p)
{
    ptq_dev_unpin(b->gpu.dev, p);
}

static bool stream_is_pinned(ptq_backend *b, const void *p)
{
    return ptq_dev_is_pinned(b->gpu.dev, p);
}

static ptq_status stream_record(ptq_backend *b)
{
    return ptq_dev_record(b->gpu.dev);
}

static ptq_status stream_recorded(ptq_backend *b, bool keep, void **graph)
{
    return ptq_dev_recorded(b->gpu.dev, keep, graph);
}

static ptq_status stream_replay(ptq_backend *b, void *graph)
{
    return ptq_dev_replay(b->gpu.dev, graph);
}

static void stream_forget(ptq_backend *b, void *graph)
{
    ptq_dev_forget(b->gpu.dev, graph);
}

static uint64_t stream_generation(ptq_backend *b)
{
    return ptq_dev_generation(b->gpu.dev);
}

static ptq_status stream_mark(ptq_backend *b, void **mark)
{
    return ptq_dev_mark(b->gpu.dev, mark);
}

static void stream_unmark(ptq_backend *b, void *mark)
{
    ptq_dev_unmark(b->gpu.dev, mark);
}

static ptq_status stream_between(ptq_backend *b, void *from, void *to, double *seconds)
{
    return ptq_dev_between(b->gpu.dev, from, to, seconds);
}

static const ptq_stream_ops stream_ops = {
    .use = stream_use,
    .copy = stream_copy,
    .put = stream_put,
    .get = stream_get,
    .pin = stream_pin,
    .unpin = stream_unpin,
    .is_pinned = stream_is_pinned,
    .record = stream_record,
    .recorded = stream_recorded,
    .replay = stream_replay,
    .forget = stream_forget,
    .generation = stream_generation,
    .mark = stream_mark,
    .unmark = stream_unmark,
    .between = stream_between,
};

static ptq_status tally_open(ptq_backend *b, size_t slots, size_t rows, size_t samples, ptq_tally **out)
{
    return ptq_gpu_tally_open(&b->gpu, slots, rows, samples, out);
}

static const ptq_tally_ops tally_ops = {
    .open = tally_open,
    .close = ptq_gpu_tally_close,
    .add = ptq_gpu_tally_add,
    .samples = ptq_gpu_tally_samples,
    .take = ptq_gpu_tally_take,
};

/* ---- what was measured ---- */

static ptq_status gpu_timings(ptq_backend *b, char **text)
{
    return ptq_gpu_tuner_write(b->gpu.tuner, text);
}

static ptq_status gpu_use_timings(ptq_backend *b, const char *text, bool frozen)
{
    return ptq_gpu_tuner_read(b->gpu.tuner, text, frozen);
}

static void gpu_kind(ptq_backend *b, char *text, size_t n)
{
    ptq_dev_kind(b->gpu.dev, text, n);
}

static ptq_status gpu_peaks(ptq_backend *b, ptq_peaks *out)
{
    return ptq_gpu_peaks(&b->gpu, out);
}

static const char *gpu_kernel(ptq_backend *b)
{
    return ptq_dev_kernel(b->gpu.dev);
}

extern const ptq_backend_ops ptq_backend_cuda;
const ptq_backend_ops ptq_backend_cuda = {
    .name = "cuda",
    .summary = "an NVIDIA GPU",
    .probe = gpu_probe,
    .open = gpu_open,
    .close = gpu_close,
    .alloc = gpu_alloc,
    .free = gpu_free,
    .upload = gpu_upload,
    .download = gpu_download,
    .supports = gpu_supports,
    .host_inputs = gpu_host_inputs,
    .halves = gpu_halves,
    .conv_pools = ptq_gpu_conv_pools,
    .half_product = gpu_half_product,
    .prepare = gpu_prepare,
    .release = gpu_release,
    .run = gpu_run,
    .sync = gpu_sync,
    .fork = gpu_fork,
    .conv_sums = true,
    .streams = &stream_ops,
    .tally = &tally_ops,
    .timings = gpu_timings,
    .use_timings = gpu_use_timings,
    .kind = gpu_kind,
    .peaks = gpu_peaks,
    .kernel = gpu_kernel,
};
