/* SPDX-License-Identifier: Apache-2.0 */
/* Products of floats in float16: what the rows of Conv, Gemm and MatMul (gf_linear.c) do where a step is marked. The
 * state of a step is its packed weights on the device; NULL where both operands are computed. */
#ifndef PTQ_GPU_GF_HALF_H
#define PTQ_GPU_GF_HALF_H

#include "lib/gpu/gf.h"
#include "lib/gpu/kernels_half.h"

/* `half` of kernel rows. A product stays in float32 where it is too small to gain, where its weights would lose
 * digits, and where there is no kernel. */
bool ptq_gf_half_conv(const ptq_program *p, const ptq_step *s, const char **why);
bool ptq_gf_half_product(const ptq_program *p, const ptq_step *s, const char **why);
bool ptq_gf_half_never(const ptq_program *p, const ptq_step *s, const char **why);

uint32_t ptq_gf_half_inputs(const ptq_program *p, const ptq_step *s);
ptq_status ptq_gf_half_prepare_conv(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state);
ptq_status ptq_gf_half_prepare_product(ptq_gpu *g, const ptq_program *p, const ptq_step *s, void **state);
void ptq_gf_half_release(ptq_gpu *g, void *state);
/* Of steps with `half`; the weights of `f` are not read where they are packed. Sums that turn out to be short are
 * computed in float32. */
ptq_status ptq_gf_half_run_conv(ptq_gpu *g, const ptq_step_run *r, const ptq_kf_conv *f);
ptq_status ptq_gf_half_run_product(ptq_gpu *g, const ptq_step_run *r, const ptq_kf_matmul *f);

/* Weights as rows of `o`: element (row, outer, inner) of src lies at the sum of its steps. */
void ptq_gf_half_pack(const float *src, int64_t rows, int64_t row_step, int64_t outer_step, int64_t inner_step,
                      const ptq_kf_half_order *o, uint16_t *dst);

#endif
