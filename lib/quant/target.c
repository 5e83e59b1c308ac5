/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/target.h"

static const ptq_target targets[] = {
#define PTQ_TARGET(name, summary, act, sym, zp, u8, bias, qop, res)                                \
    {#name, summary, act, sym, zp, u8, bias, qop, res},
#include "lib/quant/targets.def"
#undef PTQ_TARGET
};

ptq_status ptq_target_find(const char *name, const ptq_target **out)
{
    const char *names[PTQ_COUNT(targets)];
    size_t i;
    for (i = 0; i < PTQ_COUNT(targets); i++)
        names[i] = targets[i].name;
    PTQ_TRY(ptq_find_name("target", name, names, PTQ_COUNT(targets), &i));
    *out = &targets[i];
    return PTQ_OK;
}

size_t ptq_target_count(void)
{
    return PTQ_COUNT(targets);
}

const ptq_target *ptq_target_at(size_t i)
{
    return &targets[i];
}
