/* SPDX-License-Identifier: Apache-2.0 */
/* Random integer steps for tests/test_cpu_int*.c, and the check that every kernel gives the bytes
 * of the reference. */
#ifndef PTQ_TESTS_CPU_INT_DRAW_H
#define PTQ_TESTS_CPU_INT_DRAW_H

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <math.h>

#include "tests/cpu_int.h"
#include "tests/unit.h"

static ptq_rng rng;

static inline int64_t pick(int64_t lo, int64_t hi)
{
    return lo + (int64_t)ptq_rng_below(&rng, (uint32_t)(hi - lo + 1));
}

static inline int64_t one_of(const int64_t *v, size_t n)
{
    return v[ptq_rng_below(&rng, (uint32_t)n)];
}
#define ONE_OF(...) one_of((const int64_t[]){__VA_ARGS__}, PTQ_COUNT(((const int64_t[]){__VA_ARGS__})))

static inline ptq_dtype any8(void)
{
    return pick(0, 1) ? PTQ_DT_S8 : PTQ_DT_U8;
}

/* Random bytes; one time in four only the two ends of the type. */
static inline void fill8(ptq_tensor *t)
{
    uint8_t lo = t->dtype == PTQ_DT_S8 ? 0x80 : 0, hi = t->dtype == PTQ_DT_S8 ? 0x7f : 0xff;
    int64_t mode = pick(0, 7);
    for (size_t i = 0; i < t->nbytes; i++) {
        uint8_t v = (uint8_t)ptq_rng_u64(&rng);
        ((uint8_t *)t->data)[i] = mode == 0 ? (v & 1 ? lo : hi) : mode == 1 ? lo : v;
    }
}

static inline int32_t lowest(ptq_dtype t)
{
    return t == PTQ_DT_S8 ? -128 : 0;
}

static inline int32_t any_zp(ptq_dtype t)
{
    int64_t m = pick(0, 4);
    return lowest(t) + (int32_t)(m == 0 ? 0 : m == 1 ? 255 : m == 2 ? 128 : pick(0, 255));
}

static inline float any_scale(void)
{
    return pick(0, 3) == 0 ? ldexpf(1.0f, (int)pick(-7, -3)) : 0.005f + 0.1f * ptq_rng_uniform(&rng);
}

/* Small whole multiples of one unit: results lie half-way between two codes, or next to it, all
 * the time, which tells orders of rounding apart that random scales do not. */
static inline float tie_scale(float unit)
{
    return (float)pick(1, 12) * unit;
}

/* The float loops that belong to a set of integer kernels. */
static inline ptq_isa float_isa(const char *name)
{
    ptq_isa isa;
    return ptq_isa_parse(name, &isa) == PTQ_OK ? isa : PTQ_ISA_AVX512; /* emulated VNNI */
}

static ptq_pool *pool;

/* Runs the bed by every kernel set and by 1 and 3 threads; all bytes must be the reference's. */
static inline void check_all(bed *b, const char *what)
{
    ptq_int_isa isas[8];
    size_t n = bed_isas(isas);
    if (!pool) /* each test is a process of its own */
        ck_assert_ok(ptq_pool_new(3, &pool));
    bed_open(b);
    uint8_t *want = malloc(b->out.nbytes + 1);
    for (size_t i = 0; i < n; i++)
        for (int threads = 1; threads <= (i ? 3 : 1); threads += 2) {
            ptq_cpu c = {.pool = threads > 1 ? pool : NULL, .isa = float_isa(isas[i].name), .int_isa = &isas[i]};
            ck_assert_ok(bed_run(b, &c, 1));
            free(c.scratch);
            if (i == 0)
                memcpy(want, b->out.data, b->out.nbytes);
            for (size_t e = 0; e < b->out.nbytes; e++)
                if (((uint8_t *)b->out.data)[e] != want[e])
                    ck_abort_msg("%s %s, %d threads: byte %zu of %zu is %d, reference %d", what,
                                 isas[i].name, threads, e, b->out.nbytes,
                                 ((uint8_t *)b->out.data)[e], want[e]);
        }
#ifdef PTQ_TEST_GPU
    ck_assert_ok(bed_run_gpu(b));
    for (size_t e = 0; e < b->out.nbytes; e++)
        if (((uint8_t *)b->out.data)[e] != want[e])
            ck_abort_msg("%s on the device: byte %zu of %zu is %d, reference %d", what, e, b->out.nbytes,
                         ((uint8_t *)b->out.data)[e], want[e]);
#endif
    free(want);
}

#endif
