/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/jobs/precision.h"

ptq_status ptq_precision_of(const char *name, bool fast_math, const ptq_backend_ops *ops, ptq_precision *out)
{
    static const char *const names[] = {"model", "fp32", "fp16"};
    enum { MODEL, FP32, FP16 };
    size_t i = fast_math ? FP16 : MODEL;
    if (name)
        PTQ_TRY(ptq_find_name("precision", name, names, PTQ_COUNT(names), &i));
    if (i == FP16 && ops && !(name ? ptq_backend_half_products(ops, true) : ops->half_product != NULL))
        i = MODEL;
    *out = (ptq_precision){names[i], i != FP32, i == FP16};
    return PTQ_OK;
}

ptq_status ptq_precision_on(const char *backend, const char *name, bool fast_math, ptq_precision *out)
{
    const ptq_backend_ops *ops = ptq_backend_find(ptq_backend_or_cpu(backend));
    if (ops)
        ptq_backend_fast_math(ops, fast_math);
    return ptq_precision_of(name, fast_math, ops, out);
}
