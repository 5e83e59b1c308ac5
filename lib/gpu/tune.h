/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernel row runs a product: measured once per shape, on the operands of the first run. Every row
 * gives the same bytes, so the choice shows in nothing but time. */
#ifndef PTQ_GPU_TUNE_H
#define PTQ_GPU_TUNE_H

#include "lib/gpu/kernels.h"

typedef struct ptq_gpu_tuner ptq_gpu_tuner;
ptq_status ptq_gpu_tuner_new(ptq_gpu_tuner **out);
void ptq_gpu_tuner_free(ptq_gpu_tuner *t);
/* PTQ_ERR_INTERNAL when no row can run it. PTQ_GPU_GEMM=ROW forces one, PTQ_GPU_TUNE=0 takes the
 * expected one without measuring. */
ptq_status ptq_gpu_tuner_choose(ptq_gpu_tuner *t, ptq_dev *d, const ptq_k_gemm *a, const ptq_k_gemm_row **out);

#endif
