/* SPDX-License-Identifier: Apache-2.0 */
/* In which numbers layers are computed: the `precision` of engines, loops and runners. */
#ifndef PTQ_JOBS_PRECISION_H
#define PTQ_JOBS_PRECISION_H

#include "lib/exec/backend.h"

typedef struct ptq_precision {
    const char *name; /* static */
    bool integer;     /* layers between Q and DQ in integers; else Q and DQ as they stand */
    bool half;        /* products of floats in float16 */
} ptq_precision;

/* name: "model", "fp16", "fp32", or NULL: "model", and with fast math "fp16". `ops` (NULL: not known) without
 * products in float16 takes "model" instead of "fp16"; where that was asked for by its name, a warning tells. */
ptq_status ptq_precision_of(const char *name, bool fast_math, const ptq_backend_ops *ops, ptq_precision *out);

/* On the backend of that name, as sessions understand it (one that is not there: they tell). Warns of what was asked
 * for by name and is not done there: for whoever asks first. */
ptq_status ptq_precision_on(const char *backend, const char *name, bool fast_math, ptq_precision *out);

#endif
