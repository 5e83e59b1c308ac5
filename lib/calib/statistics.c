/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/statistics.h"

#include <stdlib.h>
#include <string.h>

static size_t words(size_t bits)
{
    return bits / 64 + 1;
}

typedef struct named {
    const char *name;
    ptq_dtype dtype;
} named;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

static ptq_status fill(ptq_statistics *s, const char *const *names, const ptq_dtype *dtypes, size_t n)
{
    named *list = ptq_calloc(n, sizeof *list);
    if (!list)
        return ptq_fail_nomem();
    for (size_t i = 0; i < n; i++)
        list[i] = (named){names[i], dtypes[i]};
    qsort(list, n, sizeof *list, by_name);
    ptq_status st = PTQ_OK;
    for (size_t i = 0; i < n && st == PTQ_OK; i++) {
        st = ptq_stats_new(list[i].name, list[i].dtype, &s->tensors[i]);
        if (st == PTQ_OK)
            s->ntensors++;
    }
    free(list);
    return st;
}

ptq_status ptq_statistics_new(const char *const *names, const ptq_dtype *dtypes, size_t n, size_t total,
                              const char *preprocess, ptq_statistics **out)
{
    ptq_statistics *s = calloc(1, sizeof *s);
    if (!s)
        return ptq_fail_nomem();
    s->total = total;
    s->preprocess = strdup(preprocess ? preprocess : "");
    s->done = ptq_calloc(words(total), sizeof *s->done);
    s->bad = ptq_calloc(words(total), sizeof *s->bad);
    s->tensors = ptq_calloc(n, sizeof *s->tensors);
    ptq_status st = s->preprocess && s->done && s->bad && s->tensors ? fill(s, names, dtypes, n)
                                                                    : ptq_fail_nomem();
    if (st != PTQ_OK) {
        ptq_statistics_free(s);
        return st;
    }
    *out = s;
    return PTQ_OK;
}

void ptq_statistics_free(ptq_statistics *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->ntensors; i++)
        ptq_stats_free(s->tensors[i]);
    free(s->tensors);
    free(s->done);
    free(s->bad);
    free(s->preprocess);
    free(s);
}

ptq_tensor_stats *ptq_statistics_find(const ptq_statistics *s, const char *name)
{
    size_t lo = 0, hi = s->ntensors;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, s->tensors[mid]->name);
        if (c == 0)
            return s->tensors[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static size_t count_bits(const uint64_t *bits, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < words(n); i++)
        sum += (size_t)__builtin_popcountll(bits[i]);
    return sum;
}

size_t ptq_statistics_done(const ptq_statistics *s)
{
    return count_bits(s->done, s->total);
}

size_t ptq_statistics_total(const ptq_statistics *s)
{
    return s->total;
}

size_t ptq_statistics_bad(const ptq_statistics *s)
{
    return count_bits(s->bad, s->total);
}

const char *ptq_statistics_preprocess(const ptq_statistics *s)
{
    return s->preprocess;
}

ptq_status ptq_statistics_compatible(const ptq_statistics *a, const ptq_statistics *b)
{
    if (strcmp(a->model_sha256, b->model_sha256) != 0)
        return ptq_fail(PTQ_ERR_DATA, "statistics belong to another model (sha256 %.12s..., not %.12s...)",
                        b->model_sha256, a->model_sha256);
    if (strcmp(a->data_sha256, b->data_sha256) != 0 || a->total != b->total)
        return ptq_fail(PTQ_ERR_DATA, "statistics belong to another data set (%zu samples, not %zu)",
                        b->total, a->total);
    if (strcmp(a->preprocess, b->preprocess) != 0)
        return ptq_fail(PTQ_ERR_DATA, "statistics were made with other preprocessing: '%s', not '%s'",
                        b->preprocess, a->preprocess);
    if (a->ntensors != b->ntensors)
        return ptq_fail(PTQ_ERR_DATA, "statistics hold %zu tensors, not %zu", b->ntensors, a->ntensors);
    for (size_t i = 0; i < a->ntensors; i++)
        if (strcmp(a->tensors[i]->name, b->tensors[i]->name) != 0 ||
            a->tensors[i]->dtype != b->tensors[i]->dtype)
            return ptq_fail(PTQ_ERR_DATA, "statistics hold tensor '%s' where '%s' is expected",
                            b->tensors[i]->name, a->tensors[i]->name);
    return PTQ_OK;
}

ptq_status ptq_statistics_merge(ptq_statistics *dst, const ptq_statistics *src)
{
    PTQ_NEEDS(dst);
    PTQ_NEEDS(src);
    PTQ_TRY(ptq_statistics_compatible(dst, src));
    for (size_t i = 0; i < words(dst->total); i++)
        if (dst->done[i] & src->done[i])
            return ptq_fail(PTQ_ERR_DATA, "sample %zu was observed in both statistics",
                            i * 64 + (size_t)__builtin_ctzll(dst->done[i] & src->done[i]));
    for (size_t i = 0; i < dst->ntensors; i++)
        PTQ_TRY(ptq_stats_merge(dst->tensors[i], src->tensors[i]));
    for (size_t i = 0; i < words(dst->total); i++) {
        dst->done[i] |= src->done[i];
        dst->bad[i] |= src->bad[i];
    }
    return PTQ_OK;
}
