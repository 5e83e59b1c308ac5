/* SPDX-License-Identifier: Apache-2.0 */
/* From a range of real values to scale and zero point: r = S (q - Z). */
#ifndef PTQ_QUANT_QPARAMS_H
#define PTQ_QUANT_QPARAMS_H

#include "lib/core/core.h"

/* The integers that a scale is made for. */
typedef struct ptq_grid {
    ptq_dtype dtype;
    bool symmetric;     /* zero point in the middle, whatever the range */
    bool pow2;          /* scales are powers of two */
    int32_t qmin, qmax; /* shape the scale; quantized values saturate at the limits of dtype */
} ptq_grid;

/* Types U8 S8 U16 S16 U4 S4 S32 (PTQ_ERR_UNSUPPORTED otherwise). Full range, asymmetric: all codes.
 * Symmetric: signed types -max..max (int8 -127..127), unsigned ones 0..max-1 (uint8 0..254, zero
 * point 127), as in ONNX Runtime's table. Reduced: one bit less (int8 -64..64, uint8 0..127), for
 * instruction sets that add pairs of products in saturating 16 bits. */
ptq_status ptq_grid_make(ptq_dtype dtype, bool symmetric, bool reduced, ptq_grid *out);
/* All codes of an integer type; false when there is no such grid. */
bool ptq_dtype_limits(ptq_dtype dtype, int32_t *lo, int32_t *hi);

/* No scale is smaller: below it products of two scales leave the normal floats. */
#define PTQ_MIN_SCALE 0x1p-100f

/* Scale and zero point for [low, high] (finite, low <= high), which is widened to include 0; the
 * scale is computed in double from the float difference, the zero point from the scale before it
 * is rounded to float. A range of {0} gives scale 1 and zero point 0 (symmetric unsigned: the
 * middle). 0.0 is exactly representable, always. */
void ptq_grid_scale(const ptq_grid *grid, float low, float high, float *scale,
                    int32_t *zero_point);

#endif
