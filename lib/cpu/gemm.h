/* SPDX-License-Identifier: Apache-2.0 */
/* The blocked fp32 product behind MatMul, Gemm and convolution. A job is one product; a batch of
 * jobs of equal size runs as one list of tasks. The law (one fmaf chain per element in K order)
 * holds for every blocking: between blocks of K the chains rest in C. */
#ifndef PTQ_CPU_GEMM_H
#define PTQ_CPU_GEMM_H

#include "lib/cpu/f32.h"

/* Where one job's operands lie. Exactly one of pa / a and of pb / b / pack_b is used. */
typedef struct ptq_gemm_job {
    const float *pa; /* packed A, ptq_gemm_packed_a_floats */
    const float *a;  /* or A by strides: element (i, k) at a[i * a_row + k * a_col] */
    int64_t a_row, a_col;
    const float *pb; /* packed B */
    const float *b;  /* or B by strides */
    int64_t b_row, b_col;
    /* Column j of C lies at c + (j / image) * image_next + j % image; rows ldc apart. */
    float *c;
    int64_t ldc, image, image_next;
    const float *bias_row, *bias_col;
} ptq_gemm_job;

typedef struct ptq_gemm_plan {
    int64_t m, n, k;
    int64_t njobs;
    void (*job)(const void *ctx, int64_t i, ptq_gemm_job *out);
    /* Packs rows [k0, k0 + kc) of columns [j0, j0 + nj), nj <= 48, of job i into dst (row stride
     * ld), zeros up to the next multiple of 16 columns. work: pack_bytes of this thread. NULL:
     * the job's b or pb. */
    void (*pack_b)(const void *ctx, int64_t i, int64_t k0, int64_t kc, int64_t j0, int nj,
                   float *dst, int64_t ld, void *work);
    size_t pack_bytes;
    const void *ctx;
    ptq_act act;
    void *scratch; /* of ptq_gemm_scratch_bytes; NULL: taken from the backend */
} ptq_gemm_plan;

/* For callers that keep operands in the backend's scratch too. 0: nothing to compute. */
size_t ptq_gemm_scratch_bytes(const ptq_cpu *c, const ptq_gemm_plan *p);

ptq_status ptq_gemm_run(ptq_cpu *c, const ptq_gemm_plan *p);

size_t ptq_gemm_packed_a_floats(int64_t m, int64_t k);
size_t ptq_gemm_packed_b_floats(int64_t n, int64_t k);
/* Rows [i0, i0 + 16) of A for k in [k0, k0 + kc) into one panel; rows from m on are zeros. */
void ptq_gemm_pack_a(const float *a, int64_t row, int64_t col, int64_t m, int64_t i0, int64_t k0,
                     int64_t kc, float *dst);
/* All of A or B into panels. */
void ptq_gemm_pack_all_a(const float *a, int64_t row, int64_t col, int64_t m, int64_t k, float *dst);
void ptq_gemm_pack_all_b(const float *b, int64_t row, int64_t col, int64_t n, int64_t k, float *dst);

#endif
