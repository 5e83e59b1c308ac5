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

#endif
