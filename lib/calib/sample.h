/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PTQ_CALIB_SAMPLE_H
#define PTQ_CALIB_SAMPLE_H

#include "lib/calib/reader.h"

/* A raw sample as the tensor of a model input. An image, and an array that holds one, goes
 * through `pp`; other arrays are converted to the model's type and keep their values. An array
 * holds an image when it is uint8 [H,W], [H,W,C] or [C,H,W] and the input has rank 3 or 4, when
 * the file names its layout, or when it is float, has rank 3 and `explicit_norm` says that the
 * user asked for a scale, mean or standard deviation. Pixels of raw are changed on the way. */
ptq_status ptq_sample_to_tensor(const ptq_preprocess *pp, bool explicit_norm, ptq_raw *raw,
                                const ptq_input_spec *spec, ptq_tensor *out);

#endif
