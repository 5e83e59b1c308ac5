/* SPDX-License-Identifier: Apache-2.0 */
/* Which kernel row runs a product: measured once per shape, on the operands of the first run. Every row that
 * takes a product gives the same bytes, so the choice shows in nothing but time; one that fails is no choice.
 * Choices can be written and read back: one line of text each, the shape, the row and its microseconds. */
#ifndef PTQ_GPU_TUNE_H
#define PTQ_GPU_TUNE_H

#include "lib/gpu/kernels.h"

typedef struct ptq_gpu_tuner ptq_gpu_tuner;
ptq_status ptq_gpu_tuner_new(ptq_gpu_tuner **out);
void ptq_gpu_tuner_free(ptq_gpu_tuner *t);
/* PTQ_ERR_INTERNAL when no row can run it. PTQ_GPU_GEMM=ROW forces one, PTQ_GPU_TUNE=0 takes the
 * expected one without measuring. May be called from several threads. */
ptq_status ptq_gpu_tuner_choose(ptq_gpu_tuner *t, ptq_dev *d, const ptq_k_gemm *a, const ptq_k_gemm_row **out);

/* *text is malloc'ed; lines in the order of their shapes, so that the same choices are the same text. */
ptq_status ptq_gpu_tuner_write(ptq_gpu_tuner *t, char **text);
/* Adds choices; lines of rows that this build lacks, or of other kinds, are left out. frozen: nothing is
 * measured from now on, a shape without a choice takes that of the nearest number of rows. */
ptq_status ptq_gpu_tuner_read(ptq_gpu_tuner *t, const char *text, bool frozen);

#endif
