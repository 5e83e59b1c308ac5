/* SPDX-License-Identifier: Apache-2.0 */
/* A small classifier and made-up samples for the tests of jobs. */
#ifndef PTQ_TESTS_JOBS_KIT_H
#define PTQ_TESTS_JOBS_KIT_H

#include <stdatomic.h>

#include "lib/jobs/jobs.h"
#include "tests/graph_text.h"

enum { JOBS_SAMPLES = 40, JOBS_CLASSES = 6 };

typedef struct jobs_data {
    ptq_samples samples;
    int side;   /* of the square images */
    atomic_int reads; /* how often a sample was asked for, on any thread */
    int hashed;       /* and the digest */
    ptq_status hash_status;
} jobs_data;

static inline ptq_status jobs_read(void *ctx, size_t i, ptq_tensor *in, size_t n)
{
    jobs_data *d = ctx;
    ptq_rng r;
    ck_assert_uint_eq(n, 1);
    in[0] = (ptq_tensor){.dtype = PTQ_DT_F32, .rank = 4, .dims = {1, 3, d->side, d->side}};
    PTQ_TRY(ptq_tensor_alloc(&in[0]));
    atomic_fetch_add(&d->reads, 1);
    ptq_rng_seed(&r, 100 + i);
    for (int k = 0; k < 3 * d->side * d->side; k++)
        ((float *)in[0].data)[k] = ptq_rng_normal(&r);
    return PTQ_OK;
}

static inline ptq_status jobs_labels(void *ctx, size_t i, const int64_t **labels, size_t *n)
{
    static const int64_t classes[JOBS_CLASSES] = {0, 1, 2, 3, 4, 5};
    (void)ctx;
    *labels = &classes[i % JOBS_CLASSES];
    *n = 1;
    return PTQ_OK;
}

static inline ptq_status jobs_sha256(void *ctx, char hex[65])
{
    jobs_data *d = ctx;
    d->hashed++;
    if (d->hash_status != PTQ_OK)
        return ptq_fail(d->hash_status, "no digest today");
    memset(hex, 'd', 64);
    hex[64] = '\0';
    return PTQ_OK;
}

static inline void jobs_data_init(jobs_data *d)
{
    *d = (jobs_data){.side = 8, .samples = {.ctx = d, .count = JOBS_SAMPLES, .read = jobs_read,
                                 .labels = jobs_labels, .sha256 = jobs_sha256}};
}

static inline ptq_model *jobs_model_of(const char *text)
{
    ptq_model *m;
    ck_assert_ok(ptq_model_wrap(gt_parse(text), &m));
    ck_assert_ok(ptq_model_optimize(m));
    return m;
}

/* Convolutions with a residual, then a MatMul and a Gemm, of which both have the channel last. */
static inline ptq_model *jobs_model(void)
{
    return jobs_model_of(
        "input x f32 [batch,3,8,8]\n"
        "const w1 f32 [8,3,3,3]\n"
        "const b1 f32 [8]\n"
        "const w2 f32 [8,8,3,3]\n"
        "const b2 f32 [8]\n"
        "const w3 f32 [8,12]\n"
        "const w4 f32 [12,6]\n"
        "const b4 f32 [6]\n"
        "const flat s64 [2] 0 -1\n"
        "c1 = Conv(x, w1, b1) pads=[1,1,1,1]\n"
        "r1 = Relu(c1)\n"
        "c2 = Conv(r1, w2, b2) pads=[1,1,1,1]\n"
        "s = Add(c2, r1)\n"
        "r2 = Relu(s)\n"
        "p = GlobalAveragePool(r2)\n"
        "f = Reshape(p, flat)\n"
        "m = MatMul(f, w3)\n"
        "r3 = Relu(m)\n"
        "y = Gemm(r3, w4, b4)\n"
        "output y\n");
}

/* Layers of about the same size one behind another, with scores that differ from sample to
 * sample. */
static inline ptq_model *jobs_chain(void)
{
    return jobs_model_of(
        "input x f32 [batch,3,8,8]\n"
        "const w1 f32 [12,3,2,2]\n"
        "const w2 f32 [12,12,1,1]\n"
        "const w3 f32 [12,12,1,1]\n"
        "const w4 f32 [12,12,1,1]\n"
        "const w5 f32 [12,12,1,1]\n"
        "const w6 f32 [588,6]\n"
        "const b6 f32 [6]\n"
        "const flat s64 [2] 0 -1\n"
        "c1 = Conv(x, w1)\n"
        "r1 = Relu(c1)\n"
        "c2 = Conv(r1, w2)\n"
        "r2 = Relu(c2)\n"
        "c3 = Conv(r2, w3)\n"
        "r3 = Relu(c3)\n"
        "c4 = Conv(r3, w4)\n"
        "r4 = Relu(c4)\n"
        "c5 = Conv(r4, w5)\n"
        "f = Reshape(c5, flat)\n"
        "y = Gemm(f, w6, b6)\n"
        "output y\n");
}

#endif
