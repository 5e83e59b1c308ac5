/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/core/sequence.h"

#include <stdlib.h>
#include <string.h>

typedef struct item {
    int64_t dims[PTQ_MAX_RANK];
    uint64_t offset, nbytes;
    int32_t rank;
} item;

static size_t align(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

ptq_status ptq_sequence_pack(ptq_dtype element, const ptq_tensor *const *items, size_t n, ptq_tensor *out)
{
    size_t total;
    if (ptq_is_sequence(element))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "a sequence of sequences is not supported");
    if (!ptq_mul_size(n, sizeof(item), &total) || total > SIZE_MAX / 2)
        return ptq_fail_nomem();
    total = align(total);
    for (size_t i = 0; i < n; i++)
        if (items[i]->nbytes > SIZE_MAX / 2 || !ptq_add_size(total, align(items[i]->nbytes), &total))
            return ptq_fail_nomem();
    char *block = ptq_alloc_aligned(total);
    if (!block)
        return ptq_fail_nomem();
    item *table = (item *)(void *)block;
    size_t at = align(n * sizeof *table);
    for (size_t i = 0; i < n; i++) {
        const ptq_tensor *t = items[i];
        table[i] = (item){.rank = t->rank, .offset = at, .nbytes = t->nbytes};
        memcpy(table[i].dims, t->dims, sizeof t->dims);
        if (t->nbytes)
            memcpy(block + at, t->data, t->nbytes);
        at += align(t->nbytes);
    }
    *out = (ptq_tensor){.dtype = ptq_sequence_of(element), .rank = 1, .dims = {(int64_t)n}, .data = block,
                        .nbytes = total};
    return PTQ_OK;
}

ptq_tensor ptq_sequence_get(const ptq_tensor *seq, int64_t i)
{
    const item *table = seq->data;
    ptq_tensor t = {.dtype = ptq_sequence_element(seq->dtype), .rank = table[i].rank, .nbytes = table[i].nbytes,
                    .data = (char *)seq->data + table[i].offset};
    memcpy(t.dims, table[i].dims, sizeof t.dims);
    return t;
}

ptq_status ptq_none(ptq_tensor *out)
{
    *out = (ptq_tensor){.dtype = (ptq_dtype)PTQ_SEQUENCE, .data = ptq_alloc_aligned(0)};
    return out->data ? PTQ_OK : ptq_fail_nomem();
}
