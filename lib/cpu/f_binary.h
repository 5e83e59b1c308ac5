/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise operators of two tensors: one broadcast walk, a loop per type. */
#ifndef PTQ_CPU_F_BINARY_H
#define PTQ_CPU_F_BINARY_H

#include "lib/cpu/walk.h"

typedef void (*ptq_plain_fn)(const void *a, int64_t sa, const void *b, int64_t sb, void *y, int64_t n);

typedef struct ptq_binary {
    ptq_f32_binary f; /* float32; or */
    ptq_plain_fn plain;
    const char *a, *b;
    char *y;
    size_t bytes, out_bytes;
    ptq_act act;
    ptq_f32_unary clip;
} ptq_binary;

/* Runs y = a op b where all shapes are given. */
ptq_status ptq_binary_pair(ptq_cpu *c, ptq_binary *v, const ptq_tensor *a, const ptq_tensor *b,
                           const ptq_tensor *y);

/* Loops by type; NULL where there is none. */
typedef struct ptq_plain_loops {
    ptq_plain_fn f32, f64, s64, u64, s32, s8, u8;
} ptq_plain_loops;
/* Both inputs of one type, with its loop. */
ptq_status ptq_binary_plain(ptq_cpu *c, const ptq_step_run *r, const ptq_plain_loops *k);

/* y = expr of u and v. */
#define PTQ_PLAIN(name, T, U, expr)                                                                \
    static void name(const void *pa, int64_t sa, const void *pb, int64_t sb, void *py, int64_t n)  \
    {                                                                                              \
        const T *a = pa, *b = pb;                                                                  \
        U *y = py;                                                                                 \
        for (int64_t i = 0; i < n; i++) {                                                          \
            T u = a[i * sa], v = b[i * sb];                                                        \
            (void)v;                                                                               \
            y[i] = (U)(expr);                                                                      \
        }                                                                                          \
    }

#endif
