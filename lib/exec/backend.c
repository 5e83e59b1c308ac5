/* SPDX-License-Identifier: Apache-2.0 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "lib/exec/backend.h"

#define PTQ_BACKEND(name) extern const ptq_backend_ops ptq_backend_##name;
#include "lib/exec/backends.def"
#undef PTQ_BACKEND

static const ptq_backend_ops *const backends[] = {
#define PTQ_BACKEND(name) &ptq_backend_##name,
#include "lib/exec/backends.def"
#undef PTQ_BACKEND
};

size_t ptq_backend_count(void)
{
    return PTQ_COUNT(backends);
}

const ptq_backend_ops *ptq_backend_at(size_t i)
{
    return i < PTQ_COUNT(backends) ? backends[i] : NULL;
}

const char *ptq_backend_or_cpu(const char *wanted)
{
    return wanted && strcmp(wanted, "auto") != 0 ? wanted : "cpu";
}

const ptq_backend_ops *ptq_backend_find(const char *name)
{
    for (size_t i = 0; i < PTQ_COUNT(backends); i++)
        if (strcmp(backends[i]->name, name) == 0)
            return backends[i];
    return NULL;
}

bool ptq_backend_fast_math(const ptq_backend_ops *ops, bool wanted)
{
    if (wanted && !ops->halves)
        ptq_log(PTQ_LOG_WARN, "fast math changes nothing on backend %s, whose results are exact", ops->name);
    return wanted && ops->halves;
}

bool ptq_backend_half_products(const ptq_backend_ops *ops, bool wanted)
{
    if (wanted && !ops->half_product)
        ptq_log(PTQ_LOG_WARN, "precision fp16 changes nothing on backend %s, whose results are exact", ops->name);
    return wanted && ops->half_product;
}
