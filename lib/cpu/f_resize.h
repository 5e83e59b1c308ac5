/* SPDX-License-Identifier: Apache-2.0 */
/* From which input elements, with which weights, an output element of Resize is made. */
#ifndef PTQ_CPU_F_RESIZE_H
#define PTQ_CPU_F_RESIZE_H

#include "lib/cpu/fkernel.h"

typedef struct ptq_resize_args {
    const char *mode, *coord, *nearest;
    float cubic_a, outside;
    bool exclude_outside, antialias, crop;
    bool simple; /* the rounding of Upsample and opset 10 */
    float scale[PTQ_MAX_RANK];
    float length[PTQ_MAX_RANK]; /* of the output before it was cut to a whole number */
    float roi[2][PTQ_MAX_RANK]; /* begin and end, 1 is the whole input */
} ptq_resize_args;

typedef struct ptq_resize_taps {
    int n;       /* for each output */
    int64_t *at; /* [outputs][n]; the first is -1 where the output lies outside */
    float *w;
} ptq_resize_taps;

/* Taps of dimension d from n elements to m; the caller frees both lists. */
ptq_status ptq_resize_taps_of(const ptq_resize_args *a, int d, int64_t n, int64_t m, ptq_resize_taps *out);

#endif
