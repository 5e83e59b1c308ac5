/* SPDX-License-Identifier: Apache-2.0 */
/* Up to 16 bytes that a thread reads, works on and writes at once. `bytes` is the same for all
 * threads of a launch but for a last, shorter chunk; loads and stores are aligned to it. */
#ifndef PTQ_GPU_CHUNK_H
#define PTQ_GPU_CHUNK_H

#include "lib/gpu/launch.h"

#ifdef __CUDACC__
#define PTQ_UNROLL _Pragma("unroll")
#else
#define PTQ_UNROLL
#endif

typedef struct ptq_k_chunk { /* byte i is bits 8 (i % 4) .. of word i / 4 */
    uint32_t w[4];
} ptq_k_chunk;

PTQ_DEVICE uint32_t ptq_k_get(const ptq_k_chunk *c, int i)
{
    return c->w[i / 4] >> (8 * (i % 4)) & 0xff;
}

PTQ_DEVICE void ptq_k_put(ptq_k_chunk *c, int i, uint32_t v)
{
    c->w[i / 4] |= (v & 0xff) << (8 * (i % 4));
}

/* The byte as a code of the type. */
PTQ_DEVICE int32_t ptq_k_code(const ptq_k_chunk *c, int i, int32_t sgn)
{
    uint32_t v = ptq_k_get(c, i);
    return sgn ? (int32_t)(int8_t)v : (int32_t)v;
}

PTQ_DEVICE ptq_k_chunk ptq_k_splat(uint32_t byte)
{
    ptq_k_chunk c;
    for (int i = 0; i < 4; i++)
        c.w[i] = byte * 0x01010101u;
    return c;
}

PTQ_DEVICE ptq_k_chunk ptq_k_load(const void *p, int bytes)
{
    ptq_k_chunk c = {{0, 0, 0, 0}};
#ifdef __CUDACC__
    if (bytes == 16) {
        uint4 v = *(const uint4 *)p;
        c.w[0] = v.x;
        c.w[1] = v.y;
        c.w[2] = v.z;
        c.w[3] = v.w;
        return c;
    }
    if (bytes == 8) {
        uint2 v = *(const uint2 *)p;
        c.w[0] = v.x;
        c.w[1] = v.y;
        return c;
    }
    if (bytes == 4) {
        c.w[0] = *(const uint32_t *)p;
        return c;
    }
#endif
    if (bytes == 1) {
        c.w[0] = *(const uint8_t *)p;
        return c;
    }
    PTQ_UNROLL
    for (int i = 0; i < 16; i++)
        if (i < bytes)
            ptq_k_put(&c, i, ((const uint8_t *)p)[i]);
    return c;
}

PTQ_DEVICE void ptq_k_store(void *p, ptq_k_chunk c, int bytes)
{
#ifdef __CUDACC__
    if (bytes == 16) {
        *(uint4 *)p = make_uint4(c.w[0], c.w[1], c.w[2], c.w[3]);
        return;
    }
    if (bytes == 8) {
        *(uint2 *)p = make_uint2(c.w[0], c.w[1]);
        return;
    }
    if (bytes == 4) {
        *(uint32_t *)p = c.w[0];
        return;
    }
#endif
    if (bytes == 1) {
        *(uint8_t *)p = (uint8_t)c.w[0];
        return;
    }
    PTQ_UNROLL
    for (int i = 0; i < 16; i++)
        if (i < bytes)
            ((uint8_t *)p)[i] = (uint8_t)ptq_k_get(&c, i);
}

#endif
