/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/target.h"

#include <string.h>

static const ptq_target targets[] = {
#define PTQ_TARGET(name, summary, act, sym, zp, u8, bias, qop, res)                                \
    {#name, summary, act, sym, zp, u8, bias, qop, res},
#include "lib/quant/targets.def"
#undef PTQ_TARGET
};

const ptq_target *ptq_target_find(const char *name)
{
    for (size_t i = 0; i < PTQ_COUNT(targets); i++)
        if (strcmp(targets[i].name, name) == 0)
            return &targets[i];
    return NULL;
}

size_t ptq_target_count(void)
{
    return PTQ_COUNT(targets);
}

const ptq_target *ptq_target_at(size_t i)
{
    return &targets[i];
}
