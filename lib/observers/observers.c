/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "lib/observers/stats.h"

#define PTQ_OBSERVER(row) extern const ptq_observer row;
#include "lib/observers/observers.def"
#undef PTQ_OBSERVER

static const ptq_observer *const rows[] = {
#define PTQ_OBSERVER(row) &row,
#include "lib/observers/observers.def"
#undef PTQ_OBSERVER
};

const ptq_observer *const *ptq_observers(size_t *n)
{
    *n = PTQ_COUNT(rows);
    return rows;
}

const ptq_observer *ptq_observer_find(const char *name)
{
    for (size_t i = 0; i < PTQ_COUNT(rows); i++) {
        if (strcmp(rows[i]->name, name) == 0)
            return rows[i];
    }
    return NULL;
}

const ptq_summary *ptq_sample_summary(ptq_sample *s)
{
    if (!s->summarized) {
        s->summary = PTQ_SUMMARY_EMPTY;
        ptq_summary_scan(s->values, s->n, &s->summary);
        s->summarized = true;
    }
    return &s->summary;
}

ptq_status ptq_field_get(const ptq_field_source *source, const char *name, ptq_dtype dtype,
                         int rank, int64_t *dims, const void **data)
{
    int have_rank = 0;
    int64_t have[PTQ_MAX_RANK];
    const void *p = NULL;
    PTQ_TRY(source->get(source->ctx, name, dtype, &have_rank, have, &p));
    if (p && have_rank != rank)
        return ptq_fail(PTQ_ERR_DATA, "%s: rank %d, must be %d", name, have_rank, rank);
    for (int i = 0; p && i < rank; i++) {
        if (have[i] < 0 || (dims[i] >= 0 && have[i] != dims[i]))
            return ptq_fail(PTQ_ERR_DATA, "%s: dimension %d is %lld, must be %lld", name, i,
                            (long long)have[i], (long long)dims[i]);
    }
    for (int i = 0; p && i < rank; i++)
        dims[i] = have[i];
    *data = p;
    return PTQ_OK;
}
