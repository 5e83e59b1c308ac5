/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of the float kernels: runs a small graph through a session. */
#ifndef PTQ_TESTS_CPU_FLOAT_H
#define PTQ_TESTS_CPU_FLOAT_H

#include "lib/cpu/cpu.h"
#include "lib/exec/session.h"
#include "lib/graph/pass.h"
#include "tests/graph_text.h"
#ifdef PTQ_TEST_GPU
#include "tests/gpu.h"
#endif

enum { CF_MAX_OUT = 32 };

typedef struct cf_result {
    int n;
    ptq_tensor out[CF_MAX_OUT]; /* own their data */
} cf_result;

static inline void cf_free(cf_result *r)
{
    for (int i = 0; i < r->n; i++)
        free(r->out[i].data);
    r->n = 0;
}

/* Floats in [-2, 2), bytes over their whole range, drawn from the name as gt_constant draws. */
static inline void cf_draw(ptq_tensor *t, const char *name)
{
    ptq_rng r;
    uint64_t seed = 7;
    for (const char *c = name; *c; c++)
        seed = seed * 131 + (unsigned char)*c;
    ptq_rng_seed(&r, seed);
    for (int64_t i = 0; i < ptq_tensor_elements(t); i++) {
        double u = (double)ptq_rng_uniform(&r);
        if (t->dtype == PTQ_DT_F32)
            ((float *)t->data)[i] = (float)(4 * u - 2);
        else if (t->dtype == PTQ_DT_S8)
            ((int8_t *)t->data)[i] = (int8_t)((int)(256 * u) - 128);
        else
            gt_store(t, i, (double)(int)(256 * u));
    }
}

static inline ptq_graph *cf_parse(const char *text)
{
    ptq_graph *g = gt_parse(text);
    ck_assert_ok(ptq_graph_expand(g));
    ck_assert_ok(ptq_infer_graph(g));
    return g;
}

/* Data for an input of known shape; the caller frees it. */
static inline void cf_input(const ptq_value *v, ptq_tensor *t)
{
    *t = (ptq_tensor){.dtype = v->dtype, .rank = v->shape.rank};
    for (int d = 0; d < v->shape.rank; d++)
        t->dims[d] = v->shape.dims[d].add;
    ck_assert_ok(ptq_tensor_alloc(t));
    cf_draw(t, v->name);
}

static inline void cf_run(const ptq_graph *g, const char *isa, ptq_pool *pool, bool fuse,
                          cf_result *r)
{
    ptq_tensor in[8], view[CF_MAX_OUT];
    ptq_session *s;
    ptq_session_options opt = {.device = {.pool = pool, .isa = isa}, .lower = {.fuse = fuse}};
#ifdef PTQ_TEST_GPU
    if (strcmp(isa, "cuda") == 0) {
        opt.ops = gpu_noting_ops();
        opt.device.isa = NULL;
    }
#endif
    ck_assert_ok(ptq_session_new(g, &opt, &s));
    ck_assert_uint_le(g->inputs.n, 8);
    for (size_t i = 0; i < g->inputs.n; i++)
        cf_input(g->inputs.v[i], &in[i]);
    r->n = (int)g->outputs.n;
    ck_assert_int_le(r->n, CF_MAX_OUT);
    ck_assert_ok(ptq_session_run(s, in, g->inputs.n, view, g->outputs.n));
    for (int i = 0; i < r->n; i++) {
        r->out[i] = view[i];
        ck_assert_ok(ptq_tensor_alloc(&r->out[i]));
        memcpy(r->out[i].data, view[i].data, view[i].nbytes);
    }
    for (size_t i = 0; i < g->inputs.n; i++)
        free(in[i].data);
    ptq_session_free(s);
}

static inline void cf_same(const cf_result *a, const cf_result *b, const char *what)
{
    ck_assert_int_eq(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        const ptq_tensor *x = &a->out[i], *y = &b->out[i];
        ck_assert_uint_eq(x->nbytes, y->nbytes);
        if (memcmp(x->data, y->data, x->nbytes) == 0)
            continue;
        size_t k = 0;
        while (((const uint8_t *)x->data)[k] == ((const uint8_t *)y->data)[k])
            k++;
        ck_abort_msg("%s: output %d differs at byte %zu", what, i, k);
    }
}

#ifdef PTQ_TEST_GPU
/* A GPU gives every NaN the same bits: NaN equals NaN, all else has the same bytes. */
static inline void cf_same_on_device(const cf_result *ref, cf_result *r, const char *what)
{
    for (int i = 0; i < ref->n && i < r->n; i++) {
        const float *want = ref->out[i].data;
        float *got = r->out[i].data;
        if (ref->out[i].dtype != PTQ_DT_F32 || r->out[i].nbytes != ref->out[i].nbytes)
            continue;
        for (int64_t k = 0; k < ptq_tensor_elements(&ref->out[i]); k++)
            if (want[k] != want[k] && got[k] != got[k])
                got[k] = want[k];
    }
    cf_same(ref, r, what);
}
#endif

/* Every instruction set of this machine, one thread and three, fused and not, gives the bytes of
 * the reference on one thread. */
static inline void cf_all_same(const ptq_graph *g, ptq_pool *pool, const char *name, cf_result *ref)
{
    cf_run(g, "ref", NULL, false, ref);
    for (int isa = PTQ_ISA_REF; isa <= (int)ptq_isa_best(); isa++)
        for (int threads = 0; threads < 2; threads++) {
            cf_result r;
            char what[200];
            snprintf(what, sizeof what, "%s, %s, %s", name, ptq_isa_name((ptq_isa)isa),
                     threads ? "threads" : "one thread");
            cf_run(g, ptq_isa_name((ptq_isa)isa), threads ? pool : NULL, threads != 0, &r);
            cf_same(ref, &r, what);
            cf_free(&r);
        }
#ifdef PTQ_TEST_GPU
    for (int fuse = 0; fuse < 2; fuse++) {
        cf_result r;
        cf_run(g, "cuda", NULL, fuse, &r);
        cf_same_on_device(ref, &r, name);
        cf_free(&r);
    }
#endif
}

static inline void cf_all_texts(const char *const *texts, size_t n, ptq_pool *pool)
{
    for (size_t i = 0; i < n; i++) {
        ptq_graph *g = cf_parse(texts[i]);
        cf_result r;
        cf_all_same(g, pool, texts[i], &r);
        cf_free(&r);
        ptq_graph_free(g);
    }
}

#endif
