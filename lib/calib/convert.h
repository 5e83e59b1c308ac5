/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_CALIB_CONVERT_H
#define PTQ_CALIB_CONVERT_H

#include "lib/core/core.h"

/* Half precision, round to nearest even; overflow gives infinity, NaN stays NaN. */
float ptq_half_to_float(uint16_t h);
uint16_t ptq_float_to_half(float f);

/* Copies n values of one type as another; both in native byte order. Integers and booleans go
 * to any type that holds the value, floats to floats, and floats to integers only when every
 * value is an integer in range. PTQ_ERR_DATA names the first value that does not fit. */
ptq_status ptq_convert(const void *from, ptq_dtype from_type, void *to, ptq_dtype to_type,
                       size_t n);
/* Float pixels to the model's type: integers are rounded half to even and saturated. */
ptq_status ptq_convert_pixels(const float *from, void *to, ptq_dtype to_type, size_t n);

#endif
