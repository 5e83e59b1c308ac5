/* SPDX-License-Identifier: Apache-2.0 */
/* Log quantization with one step per octave: codes 0, +-1, +-2, +-4, ... +-64 (Miyashita et al.,
 * Convolutional Neural Networks using Logarithmic Data Representation, 2016). */
#ifndef PTQ_QUANT_LOG2_H
#define PTQ_QUANT_LOG2_H

#include "lib/observers/stats.h"
#include "lib/quant/qparams.h"

enum { PTQ_LOG2_TOP = 64 };

/* Rounded in the log domain: 2^k for 2^(k - 1/2) <= |r| < 2^(k + 1/2); above the last level:
 * `top` (a power of two); below 2^(-1/2), and NaN: 0. r is the value divided by the scale. */
int32_t ptq_log2_level(float r, int32_t top);

/* For activations: from linear codes (the index is the code's byte) with scale and zero point to
 * codes of the same type with out_scale and out_zero_point whose distance to the zero point is a
 * power of two. dtype S8 or U8; S8 levels reach +-64, U8 as far as the type does. */
ptq_status ptq_log2_table(ptq_dtype dtype, float scale, int32_t zero_point, float out_scale,
                          int32_t out_zero_point, uint8_t table[256]);

/* The scale, for the linear codes and the levels alike, that loses least on the observed values
 * (mean squared error); *mse may be NULL. PTQ_ERR_DATA when nothing finite was observed. */
ptq_status ptq_log2_act_scale(const ptq_tensor_stats *stats, ptq_dtype dtype, int32_t zero_point,
                              float *scale, double *mse);

#endif
