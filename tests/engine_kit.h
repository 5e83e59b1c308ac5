/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of engines: a network and its images, and what a session gives for them. They are compiled
 * for the CPU, the stand-in device (PTQ_TEST_GPU, PTQ_TEST_FAKE) and a real one (PTQ_TEST_GPU). */
#ifndef PTQ_TESTS_ENGINE_KIT_H
#define PTQ_TESTS_ENGINE_KIT_H

#ifndef PTQ_TEST_GPU
#define PTQ_TEST_CPU
#endif
#include "lib/jobs/engine.h"
#include "tests/gpu_session.h"
#include "tests/graph_text.h"
#ifdef PTQ_TEST_GPU
#define BACKEND (&ptq_backend_cuda)
#else
#define BACKEND ptq_backend_find("cpu")
#endif

static gs_data images = {.dtype = PTQ_DT_F32, .rank = 3, .dims = {3, 32, 32}};

static inline ptq_model *quantized(void)
{
    ptq_model *m = gs_shapes(), *q = gs_quantize(m, &images, 8, "ort", "qdq");
    ptq_model_free(m);
    return q;
}

static inline ptq_engine *build(const ptq_model *m, const ptq_engine_options *opt)
{
    ptq_engine *e;
    ck_assert_ok(ptq_engine_build_on(BACKEND, m, opt, &e));
    return e;
}

static inline ptq_engine *through_plan(ptq_engine *e)
{
    void *bytes, *again;
    size_t n, m;
    ptq_engine *l;
    ck_assert_ok(ptq_engine_serialize(e, &bytes, &n));
    ck_assert_ok(ptq_engine_deserialize_on(BACKEND, bytes, n, NULL, &l));
    ck_assert_ok(ptq_engine_serialize(l, &again, &m));
    ck_assert_uint_eq(n, m);
    ck_assert_int_eq(memcmp(bytes, again, n), 0);
    free(bytes);
    free(again);
    ptq_engine_free(e);
    return l;
}

/* What a session on the CPU gives for this batch. */
static inline void expected(const ptq_model *m, const ptq_tensor *x, bool integer, gs_record *want)
{
    ptq_session *s;
    ptq_session_options o = gs_options(NULL, NULL);
    if (!integer)
        o.lower = (ptq_lower_options){.fuse = true};
    ck_assert_ok(ptq_session_new(m->graph, &o, &s));
    ck_assert_ok(gs_run(s, m->graph, x, want));
    ptq_session_free(s);
}

static inline void same_as_session(const ptq_model *m, ptq_context *c, int64_t batch, uint64_t seed, bool integer)
{
    gs_record want = {0};
    ptq_tensor x = gs_batch(&images, batch, seed), y;
    expected(m, &x, integer, &want);
    ck_assert_ok(ptq_context_shapes(c, &x, 1, &y, 1));
    ck_assert_uint_eq(y.nbytes, want.v[0].t.nbytes);
    y.data = malloc(y.nbytes);
    ck_assert_ok(ptq_context_run(c, &x, 1, &y, 1));
    ck_assert_int_eq(memcmp(y.data, want.v[0].t.data, y.nbytes), 0);
    free(y.data);
    free(x.data);
    gs_clear(&want);
}

#endif
