/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU backend: kernel tables, instruction sets, scratch memory. Reference kernels in plain C
 * are the specification; a faster kernel is a row that replaces it and is proven byte-equal. */
#ifndef PTQ_CPU_CPU_H
#define PTQ_CPU_CPU_H

#include "lib/exec/backend.h"

/* Instruction sets in rising order; a kernel is chosen by the best one allowed. */
typedef enum ptq_isa { PTQ_ISA_REF, PTQ_ISA_AVX2, PTQ_ISA_AVX512, PTQ_ISA_VNNI } ptq_isa;
ptq_isa ptq_isa_best(void);                       /* of this machine */
const char *ptq_isa_name(ptq_isa isa);            /* "ref", "avx2", "avx512", "vnni" */
ptq_status ptq_isa_parse(const char *name, ptq_isa *out); /* PTQ_ERR_UNSUPPORTED beyond best */

typedef struct ptq_cpu {
    ptq_pool *pool;
    ptq_isa isa;
    void *scratch; /* grows, reused by steps; see ptq_cpu_scratch */
    size_t scratch_bytes;
    const struct ptq_int_isa *int_isa; /* NULL: chosen by isa. Tests set it (lib/cpu/int.h) */
} ptq_cpu;

/* Scratch of one step, 64-byte aligned, not zeroed; valid until the next call. NULL: no memory. */
void *ptq_cpu_scratch(ptq_cpu *c, size_t nbytes);

/* Element i of a box of three dimensions. */
static inline void ptq_split3(int64_t i, const int64_t *size, int64_t *at)
{
    at[0] = i / size[2] / size[1];
    at[1] = i / size[2] % size[1];
    at[2] = i % size[2];
}

/* Calls fn on pieces of [0, n), at least `grain` long where possible, over the pool. */
typedef void (*ptq_range_fn)(const void *ctx, int64_t from, int64_t to, int worker);
ptq_status ptq_cpu_ranges(ptq_cpu *c, int64_t n, int64_t grain, ptq_range_fn fn, const void *ctx);

/* Allocates an output whose shape the kernel alone knows (malloc'ed; the runner frees it). */
ptq_status ptq_cpu_out(const ptq_step_run *r, int i, int rank, const int64_t *dims);

/* Sets of element types. */
#define PTQ_TAKES(t) (1u << (t))
#define PTQ_TAKES_F32 PTQ_TAKES(PTQ_DT_F32)
#define PTQ_TAKES_FLOATS (PTQ_TAKES_F32 | PTQ_TAKES(PTQ_DT_F64))
#define PTQ_TAKES_S64 PTQ_TAKES(PTQ_DT_S64)
#define PTQ_TAKES_INTS (PTQ_TAKES_S64 | PTQ_TAKES(PTQ_DT_U64))
/* With S64: uint64 may be read as int64, the low 64 bits of results are right either way. */
#define PTQ_TAKES_MODULO (1u << 31)
/* Whole bytes: what movers need. */
#define PTQ_TAKES_BYTES (~(PTQ_TAKES_MODULO | PTQ_TAKES(PTQ_DT_UNDEFINED) | PTQ_TAKES(PTQ_DT_STRING) | PTQ_TAKES(PTQ_DT_C128) | \
                           PTQ_TAKES(PTQ_DT_U4) | PTQ_TAKES(PTQ_DT_S4) | PTQ_TAKES(PTQ_DT_F4E2M1)))

typedef struct ptq_cpu_kernel {
    const char *name; /* operator type for float steps, step kind for integer steps */
    /* NULL: always. */
    bool (*supports)(const ptq_program *p, const ptq_step *s, const char **why);
    /* May be NULL. Packs constant inputs; *state is released with release (or free() when NULL). */
    ptq_status (*prepare)(ptq_cpu *c, const ptq_program *p, const ptq_step *s, void **state);
    void (*release)(void *state);
    ptq_status (*run)(ptq_cpu *c, const ptq_step_run *r);
    /* Element types that run has loops for; others are converted to them on the way in and back on
     * the way out (widen.h). 0: run sees all tensors as they are. */
    unsigned takes;
    uint32_t keep_in, keep_out; /* bit i: input or output i is not converted */
    uint32_t over;    /* bit i: an element of output 0 may be written where the same element of input i lies */
    uint32_t over_of_two; /* the same where the step has two outputs */
    bool unprepared;  /* run does without what prepare makes, at little cost */
    bool finds_shape; /* run allocates an output whose data is NULL (ptq_cpu_out) */
} ptq_cpu_kernel;

/* kernels_float.def: rows for float steps by operator; kernels_int.def: rows by step kind. */
const ptq_cpu_kernel *ptq_cpu_kernel_float(const char *op, const char *domain);
const ptq_cpu_kernel *ptq_cpu_kernel_int(const char *step);

/* fp32 product, the law of numerics.md: every element of C is one fmaf chain over k = 0..K-1 from
 * +0, then + bias (once), then the activation clamp; the same bytes for every instruction set,
 * blocking and thread count.
 * A [M,K] row stride lda, B [K,N] row stride ldb, C [M,N] row stride ldc (elements).
 * bias: NULL, per row (bias_row) or per column. */
typedef struct ptq_gemm_f32 {
    int64_t m, n, k;
    const float *a, *b;
    float *c;
    int64_t lda, ldb, ldc;
    bool trans_a, trans_b; /* A is [K,M] / B is [N,K] in memory */
    const float *bias;
    bool bias_row;
    ptq_act act;
} ptq_gemm_f32;
ptq_status ptq_cpu_gemm_f32(ptq_cpu *c, const ptq_gemm_f32 *g);

#endif
