/* SPDX-License-Identifier: Apache-2.0 */
/* Device memory and random numbers for tests that call kernels themselves. */
#ifndef PTQ_TESTS_GPU_KIT_H
#define PTQ_TESTS_GPU_KIT_H

#include "lib/core/core.h"
#include "lib/gpu/kernels.h"
#include "tests/gpu.h"
#include "tests/unit.h"

static ptq_rng rng;
static ptq_dev *dev;
static void *mem[32];
static int nmem;

/* Device memory until free_all, with the bytes given or none. */
static inline void *device(const void *from, size_t n)
{
    ck_assert_int_lt(nmem, (int)PTQ_COUNT(mem));
    ck_assert_ok(ptq_dev_alloc(dev, n ? n : 1, &mem[nmem]));
    if (from)
        ck_assert_ok(ptq_dev_upload(dev, mem[nmem], from, n));
    return mem[nmem++];
}

static inline void free_all(void)
{
    while (nmem > 0)
        ptq_dev_free(dev, mem[--nmem]);
}

static inline int pick(int lo, int hi)
{
    return lo + (int)(ptq_rng_u64(&rng) % (uint64_t)(hi - lo + 1));
}

/* PTQ_GPU_SMALL=1: little work, for the memory and race checkers. */
static inline bool small_shapes(void)
{
    const char *s = getenv("PTQ_GPU_SMALL");
    return s && *s == '1';
}

/* A case of its own for each, so that CK_RUN_CASE leaves the checkers of a device little to do. */
static inline TCase *add_case(Suite *s, const char *name)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 600);
    suite_add_tcase(s, t);
    return t;
}

/* One time in two a product that was several: other factors and grids for parts of the channels. */
static inline void draw_parts(ptq_k_gemm *a, bool y_signed)
{
    ptq_k_tail *t = &a->tail;
    int blocks = (a->n + 15) / 16, at = 0, lo = y_signed ? -128 : 0;
    if (!t->codes || blocks < 2 || pick(0, 1))
        return;
    t->gelu = 0;
    t->add = NULL;
    t->parts = blocks < 3 ? 2 : pick(2, 3);
    for (int i = 0; i < t->parts; i++) {
        at += pick(1, blocks - at - (t->parts - 1 - i));
        t->part[i] = (ptq_k_part){.end = i == t->parts - 1 ? a->n : 16 * at,
                                  .factor = pick(0, 1) ? 0.125f + ptq_rng_uniform(&rng) : 1.0f,
                                  .s = 0.0005f + 0.05f * ptq_rng_uniform(&rng), .zy = pick(lo, lo + 255),
                                  .lo = lo + (pick(0, 2) ? 0 : 90), .hi = lo + 255};
    }
    t->s = t->part[0].s;
}

#endif
