/* SPDX-License-Identifier: Apache-2.0 */
/* Integer products by cuBLASLt: it makes the sums, s8 x s8 to s32, and an end of the caller makes results of them
 * (k_lt.cu). cuBLASLt is no dependency: the library is looked for when a device first asks for it, and where it is
 * missing nothing but this way is. One device's state is used by one thread at a time. */
#ifndef PTQ_GPU_LT_H
#define PTQ_GPU_LT_H

#include "lib/gpu/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(hidden)

typedef struct ptq_lt ptq_lt;
enum { PTQ_LT_WAYS = 3 }; /* how many of the ways that cuBLASLt proposes are asked for */

/* File name of the library that these sources were compiled for. */
extern const char ptq_lt_file[];
/* On the device in use. NULL where `file` (NULL: this program) cannot be loaded, lacks a function, or has no device. */
ptq_lt *ptq_lt_open(const char *file);
void ptq_lt_close(ptq_lt *lt, ptq_dev *d);

/* Can it make the sums of this product in its way-th way, fastest expected first? `lt` may be NULL. */
bool ptq_lt_can(ptq_lt *lt, const ptq_k_gemm *a, int way);
/* Ends rows first .. first + rows - 1. Sums of row `first` begin at `sums`; a row is ptq_lt_columns of them, in the
 * order of the rows of the weights: that of channel n is at ptq_k_gemm_row_of(n). All but the last call have a multiple
 * of 16 rows. */
typedef ptq_status (*ptq_lt_end)(ptq_dev *d, const ptq_k_gemm *a, const int32_t *sums, int64_t first, int64_t rows);
/* PTQ_ERR_NOMEM where the device has no memory for sums and workspace, which are kept for the next product. */
ptq_status ptq_lt_product(ptq_lt *lt, ptq_dev *d, const ptq_k_gemm *a, int way, ptq_lt_end end);

/* Channels come in groups of 64, within which their weights lie in another order. */
PTQ_HD int64_t ptq_lt_columns(const ptq_k_gemm *a)
{
    return ((int64_t)a->n + 63) / 64 * 64;
}

/* That of a device (dev_cuda.c), opened when it is first asked for; NULL where there is none. */
ptq_lt *ptq_dev_lt(const ptq_dev *d);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
