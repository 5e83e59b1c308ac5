/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "lib/graph/infer.h"

static const ptq_op ops[] = {
#define PTQ_OP(name, domain, since, until, min_in, max_in, min_out, max_out, flags, fn)            \
    {#name, domain, since, until, min_in, max_in, min_out, max_out, flags, ptq_infer_##fn},
#include "lib/graph/ops.def"
#undef PTQ_OP
};

const ptq_op *ptq_op_find(const char *name, const char *domain, int opset)
{
    for (size_t i = 0; i < PTQ_COUNT(ops); i++)
        if (strcmp(ops[i].name, name) == 0 && strcmp(ops[i].domain, domain) == 0 &&
            (opset == 0 ||
             (opset >= ops[i].since && (ops[i].until == 0 || opset <= ops[i].until))))
            return &ops[i];
    return NULL;
}

size_t ptq_op_count(void)
{
    return PTQ_COUNT(ops);
}

const ptq_op *ptq_op_at(size_t i)
{
    return i < PTQ_COUNT(ops) ? &ops[i] : NULL;
}
