/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/gpu/tune.h"

#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"

typedef struct entry {
    ptq_k_gemm key; /* addresses, tables and output grid cleared: they do not change the time */
    const ptq_k_gemm_row *row;
} entry;

struct ptq_gpu_tuner {
    ptq_arena *arena;
    PTQ_VEC(entry) entries;
};

ptq_status ptq_gpu_tuner_new(ptq_gpu_tuner **out)
{
    ptq_gpu_tuner *t = ptq_calloc(1, sizeof *t);
    if (!t || !(t->arena = ptq_arena_new())) {
        free(t);
        return ptq_fail_nomem();
    }
    *out = t;
    return PTQ_OK;
}

void ptq_gpu_tuner_free(ptq_gpu_tuner *t)
{
    if (t)
        ptq_arena_free(t->arena);
    free(t);
}

static ptq_k_gemm key_of(const ptq_k_gemm *a)
{
    ptq_k_gemm k;
    memset(&k, 0, sizeof k); /* compared as bytes */
    k.m = a->m;
    k.n = a->n;
    k.kpad = a->kpad;
    k.c = a->c;
    k.in_h = a->in_h;
    k.in_w = a->in_w;
    k.out_h = a->out_h;
    k.out_w = a->out_w;
    k.kernel_h = a->kernel_h;
    k.kernel_w = a->kernel_w;
    k.stride_h = a->stride_h;
    k.stride_w = a->stride_w;
    k.dil_h = a->dil_h;
    k.dil_w = a->dil_w;
    k.zx = a->zx != 0; /* some rows need 0 */
    k.x_signed = a->x_signed;
    k.float_out = a->float_out;
    k.padded = a->padded;
    return k;
}

typedef struct work {
    const ptq_k_gemm_row *row;
    const ptq_k_gemm *a;
} work;

static ptq_status run_row(ptq_dev *d, const void *arg)
{
    const work *w = arg;
    return w->row->run(d, w->a);
}

static ptq_status measure(ptq_dev *d, const ptq_k_gemm *a, const ptq_k_gemm_row **out)
{
    float least = 0.0f;
    *out = NULL;
    for (int i = 0; ptq_k_gemm_at(i); i++) {
        work w = {ptq_k_gemm_at(i), a};
        float us;
        if (!w.row->supports(d, a))
            continue;
        PTQ_TRY(ptq_dev_time(d, run_row, &w, 5, &us));
        if (!*out || us < least) {
            *out = w.row;
            least = us;
        }
    }
    return PTQ_OK;
}

ptq_status ptq_gpu_tuner_choose(ptq_gpu_tuner *t, ptq_dev *d, const ptq_k_gemm *a, const ptq_k_gemm_row **out)
{
    const char *forced = getenv("PTQ_GPU_GEMM"), *tune = getenv("PTQ_GPU_TUNE");
    ptq_k_gemm key = key_of(a);
    for (size_t i = 0; i < t->entries.n; i++)
        if (memcmp(&t->entries.v[i].key, &key, sizeof key) == 0) {
            *out = t->entries.v[i].row;
            return PTQ_OK;
        }
    if ((forced && *forced) || (tune && strcmp(tune, "0") == 0))
        *out = ptq_k_gemm_choose(d, a);
    else
        PTQ_TRY(measure(d, a, out));
    if (!*out)
        return ptq_fail(PTQ_ERR_INTERNAL, "no kernel for a product of %lld x %d x %d", (long long)a->m, a->n, a->kpad);
    entry e = {key, *out};
    return PTQ_VEC_PUSH(t->arena, &t->entries, e) ? PTQ_OK : ptq_fail_nomem();
}
