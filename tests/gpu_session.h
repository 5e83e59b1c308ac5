/* SPDX-License-Identifier: Apache-2.0 */
/* Whole models in integers on the CUDA backend and on the CPU: the same bytes in every output and
 * in every 8-bit tensor. */
#ifndef PTQ_TESTS_GPU_SESSION_H
#define PTQ_TESTS_GPU_SESSION_H

#include "lib/exec/session.h"
#include "lib/jobs/jobs.h"
#include "tests/gpu.h"
#include "tests/unit.h"

/* ---- made-up samples: normal noise, or tokens ---- */

typedef struct gs_data {
    ptq_samples samples;
    ptq_dtype dtype;
    int rank;
    int64_t dims[4]; /* of one sample, without the batch */
} gs_data;

static inline void gs_fill(ptq_tensor *t, uint64_t seed)
{
    ptq_rng r;
    ptq_rng_seed(&r, seed);
    for (int64_t i = 0; i < ptq_tensor_elements(t); i++)
        if (t->dtype == PTQ_DT_S64)
            ((int64_t *)t->data)[i] = ptq_rng_below(&r, 65);
        else if (t->dtype == PTQ_DT_F32)
            ((float *)t->data)[i] = ptq_rng_normal(&r);
        else
            ((uint8_t *)t->data)[i] = (uint8_t)ptq_rng_u64(&r);
}

static inline ptq_tensor gs_batch(const gs_data *d, int64_t n, uint64_t seed)
{
    ptq_tensor t = {.dtype = d->dtype, .rank = d->rank + 1, .dims = {n}};
    for (int i = 0; i < d->rank; i++)
        t.dims[1 + i] = d->dims[i];
    ck_assert_ok(ptq_tensor_alloc(&t));
    gs_fill(&t, seed);
    return t;
}

static inline ptq_status gs_read(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    ck_assert_uint_eq(n, 1);
    in[0] = gs_batch(ctx, 1, 1000 + i);
    return PTQ_OK;
}

/* ---- models ---- */

static inline ptq_model *gs_load(const char *path)
{
    ptq_model *m;
    ck_assert_ok(ptq_model_load(path, NULL, &m));
    ck_assert_ok(ptq_model_optimize(m));
    return m;
}

/* The embedded model, and what its inputs look like. */
static inline ptq_model *gs_shapes(void)
{
    char path[1024];
    const char *src = getenv("srcdir");
    snprintf(path, sizeof path, "%s/data/shapes.onnx", src ? src : ".");
    return gs_load(path);
}

static inline ptq_model *gs_quantize(const ptq_model *m, gs_data *d, size_t samples, const char *target,
                                     const char *format)
{
    ptq_statistics *stats;
    ptq_model *q;
    ptq_report *report;
    ptq_quant_options opt = PTQ_QUANT_OPTIONS_INIT;
    d->samples = (ptq_samples){.ctx = d, .count = samples, .read = gs_read};
    ck_assert_ok(ptq_model_calibrate(m, &d->samples, NULL, NULL, &stats));
    opt.target = target;
    opt.format = format;
    opt.method = "minmax";
    ck_assert_ok(ptq_model_quantize(m, stats, NULL, &opt, &q, &report));
    ptq_report_free(report);
    ptq_statistics_free(stats);
    return q;
}

/* ---- sessions ---- */

typedef struct gs_record { /* tapped tensors and outputs, in order */
    size_t n, cap;
    struct gs_tensor {
        char name[128];
        ptq_tensor t;
    } *v;
} gs_record;

static inline ptq_status gs_keep(void *ctx, const char *name, const ptq_tensor *t)
{
    gs_record *k = ctx;
    if (k->n == k->cap) {
        k->cap = 2 * k->cap + 64;
        k->v = realloc(k->v, k->cap * sizeof *k->v);
        ck_assert_ptr_nonnull(k->v);
    }
    snprintf(k->v[k->n].name, sizeof k->v[0].name, "%s", name);
    k->v[k->n].t = *t;
    PTQ_TRY(ptq_tensor_alloc(&k->v[k->n].t));
    if (t->nbytes)
        memcpy(k->v[k->n].t.data, t->data, t->nbytes);
    k->n++;
    return PTQ_OK;
}

static inline ptq_status gs_tap(void *ctx, const ptq_pvalue *v, const ptq_tensor *t)
{
    return gs_keep(ctx, v->name, t);
}

static inline void gs_clear(gs_record *k)
{
    for (size_t i = 0; i < k->n; i++)
        free(k->v[i].t.data);
    free(k->v);
    *k = (gs_record){0};
}

static inline bool gs_is8(void *ctx, const ptq_value *v)
{
    (void)ctx;
    return v->dtype == PTQ_DT_S8 || v->dtype == PTQ_DT_U8;
}

/* In integers, as lib/jobs/loop.c runs models; ops NULL: the CPU. */
static inline ptq_session_options gs_options(const ptq_backend_ops *ops, gs_record *taps)
{
    ptq_session_options o = {.ops = ops,
                             .lower = {.integer = true, .nhwc = true, .float_out = true, .fuse = true}};
    if (taps) {
        o.tap = gs_tap;
        o.tap_select = gs_is8;
        o.tap_ctx = taps;
    }
    return o;
}

/* One run; outputs go behind the taps. */
static inline ptq_status gs_run(ptq_session *s, const ptq_graph *g, const ptq_tensor *in, gs_record *k)
{
    ptq_tensor out[32];
    ck_assert_uint_le(g->outputs.n, PTQ_COUNT(out));
    PTQ_TRY(ptq_session_run(s, in, g->inputs.n, out, g->outputs.n));
    for (size_t i = 0; i < g->outputs.n; i++)
        PTQ_TRY(gs_keep(k, g->outputs.v[i]->name, &out[i]));
    return PTQ_OK;
}

static inline void gs_same(const gs_record *want, const gs_record *got, const char *what)
{
    ck_assert_uint_eq(want->n, got->n);
    for (size_t i = 0; i < want->n; i++) {
        const ptq_tensor *a = &want->v[i].t, *b = &got->v[i].t;
        ck_assert_str_eq(want->v[i].name, got->v[i].name);
        ck_assert_int_eq(a->dtype, b->dtype);
        ck_assert_uint_eq(a->nbytes, b->nbytes);
        size_t differ = 0;
        for (size_t e = 0; e < a->nbytes; e++)
            differ += ((const uint8_t *)a->data)[e] != ((const uint8_t *)b->data)[e];
        ck_assert_msg(differ == 0, "%s: %s: %zu of %zu bytes differ", what, want->v[i].name, differ, a->nbytes);
    }
}

/* Prints the float operators that the device has no kernel for; integer steps all run there. */
static inline void gs_host_steps(const ptq_session *s, const char *what)
{
    enum { MAX = 64 };
    const ptq_program *p = ptq_session_program(s);
    const char *ops[MAX];
    size_t n = 0, count[MAX], host = 0, integer = 0;
    for (size_t i = 0; i < p->steps.n; i++) {
        const ptq_step *st = &p->steps.v[i];
        integer += st->def->integer;
        if (!ptq_session_step_on_host(s, (int)i))
            continue;
        ck_assert_msg(!st->def->integer, "%s: integer step %s (%s) runs on the host", what, st->name, st->def->name);
        host++;
        size_t k = 0;
        while (k < n && strcmp(ops[k], st->node->op) != 0)
            k++;
        ck_assert_uint_lt(k, MAX);
        if (k == n) {
            ops[n] = st->node->op;
            count[n++] = 0;
        }
        count[k]++;
    }
    printf("%s: %zu steps, %zu integer, %zu on the host:", what, p->steps.n, integer, host);
    for (size_t k = 0; k < n; k++)
        printf(" %zu %s", count[k], ops[k]);
    printf("\n");
}

/* Batches of these sizes through both, with taps on every 8-bit tensor and without. Returns the
 * number of tensors compared. */
static inline size_t gs_both(const ptq_graph *g, const gs_data *d, const int64_t *batches, size_t n,
                             const char *what)
{
    gs_record want = {0}, got = {0}, plain = {0};
    ptq_session *cpu, *gpu, *untapped;
    size_t compared = 0;
    int64_t largest = 0;
    ptq_session_options oc = gs_options(NULL, &want), og = gs_options(&ptq_backend_cuda, &got),
                        ou = gs_options(&ptq_backend_cuda, NULL);
    ou.lower.rearrange = true; /* as jobs run it: with taps the graph stays as it is */
    ck_assert_ok(ptq_session_new(g, &oc, &cpu));
    ck_assert_ok(ptq_session_new(g, &og, &gpu));
    ck_assert_ok(ptq_session_new(g, &ou, &untapped));
    gs_host_steps(untapped, what);
    for (size_t i = 0; i < n; i++) {
        ptq_tensor x = gs_batch(d, batches[i], 7 + i);
        ck_assert_ok(gs_run(cpu, g, &x, &want));
        ck_assert_ok(gs_run(gpu, g, &x, &got));
        ck_assert_ok(gs_run(untapped, g, &x, &plain));
        gs_same(&want, &got, what);
        compared += want.n;
        size_t taps = want.n - plain.n;
        gs_record outputs = {.n = plain.n, .v = want.v + taps};
        gs_same(&outputs, &plain, what);
        if (batches[i] > largest) { /* the block has just grown to this one */
            ck_assert_ok(ptq_session_reserve(untapped, &x, 1));
            double alive = (double)ptq_session_alive_bytes(untapped), block = (double)ptq_session_activation_bytes(untapped);
            ck_assert_msg(block <= 1.2 * alive + 4096, "%s: block %.0f, alive %.0f bytes", what, block, alive);
            largest = batches[i];
        }
        free(x.data);
        gs_clear(&want);
        gs_clear(&got);
        gs_clear(&plain);
    }
    ptq_session_free(cpu);
    ptq_session_free(gpu);
    ptq_session_free(untapped);
    return compared;
}

#endif
