/* SPDX-License-Identifier: Apache-2.0 */
/* The first `left` lanes of a 512-bit vector: all when there are more. */
#ifndef PTQ_CPU_MASK512_H
#define PTQ_CPU_MASK512_H

#include <immintrin.h>
#include <stdint.h>

static inline __mmask16 mask16(int64_t left)
{
    return (__mmask16)(left >= 16 ? 0xffff : (1 << left) - 1);
}

static inline __mmask32 mask32(int64_t left)
{
    return left >= 32 ? 0xffffffffu : (1u << left) - 1;
}

static inline __mmask64 mask64(int64_t left)
{
    return left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
}

#endif
