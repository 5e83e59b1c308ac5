/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/watch.h"

#include <stdlib.h>

/* A histogram takes 1 MiB of the device, so there are no more than these; tensors beyond take turns. */
enum { MOST_SLOTS = 256 };

typedef struct held {
    size_t at; /* tensor whose counts the slot has */
    uint64_t values;
    int axis;
    int64_t channels;
} held;

struct ptq_watch {
    const ptq_tally_ops *ops;
    ptq_tally *tally;
    ptq_statistics *total;
    size_t samples, nslots;
    held *slot;
    struct added {
        size_t at, samples;
    } *added; /* [tensors] in this run, in order */
    size_t nadded;
};

/* With fewer slots where the device has no memory for all. */
static ptq_status open_tally(ptq_watch *w, ptq_backend *b)
{
    ptq_status s;
    while ((s = w->ops->open(b, w->nslots, w->total->ntensors, w->samples, &w->tally)) == PTQ_ERR_NOMEM && w->nslots > 1)
        w->nslots = (w->nslots + 1) / 2;
    return s;
}

ptq_status ptq_watch_new(const ptq_backend_ops *ops, ptq_backend *b, ptq_statistics *total, size_t samples,
                         ptq_watch **out)
{
    ptq_watch *w = ptq_calloc(1, sizeof *w);
    if (!w)
        return ptq_fail_nomem();
    *w = (ptq_watch){.ops = ops->tally, .total = total, .samples = samples,
                     .nslots = total->ntensors < MOST_SLOTS ? total->ntensors : MOST_SLOTS};
    w->slot = ptq_calloc(w->nslots, sizeof *w->slot);
    w->added = ptq_calloc(total->ntensors, sizeof *w->added);
    ptq_status s = w->slot && w->added ? PTQ_OK : ptq_fail_nomem();
    if (s == PTQ_OK)
        s = open_tally(w, b);
    if (s != PTQ_OK) {
        ptq_watch_free(w);
        return s;
    }
    *out = w;
    return PTQ_OK;
}

void ptq_watch_free(ptq_watch *w)
{
    if (!w)
        return;
    w->ops->close(w->tally);
    free(w->slot);
    free(w->added);
    free(w);
}

static ptq_status flush_slot(ptq_watch *w, size_t i)
{
    ptq_counts c;
    if (!w->slot[i].values)
        return PTQ_OK;
    PTQ_TRY(w->ops->take(w->tally, i, &c));
    w->slot[i].values = 0;
    return ptq_stats_add_counts(w->total->tensors[w->slot[i].at], &c);
}

ptq_status ptq_watch_flush(ptq_watch *w)
{
    for (size_t i = 0; i < w->nslots; i++)
        PTQ_TRY(flush_slot(w, i));
    return PTQ_OK;
}

/* How the values of n samples lie. Channels are those of axis 1, as on the host. */
static ptq_tally_values values_of(const ptq_tensor *t, ptq_layout layout, size_t n)
{
    ptq_tally_values v = {.x = t->data, .samples = n, .outer = 1, .channels = 1, .inner = 1, .axis = -1};
    if (t->rank < 2) {
        v.inner = ptq_tensor_elements(t) / (int64_t)n;
        return v;
    }
    v.axis = 1;
    v.outer = t->dims[0] / (int64_t)n;
    v.channels = t->dims[1];
    for (int i = 2; i < t->rank; i++)
        *(layout == PTQ_LAYOUT_NHWC ? &v.outer : &v.inner) *= t->dims[i];
    return v;
}

ptq_status ptq_watch_add(ptq_watch *w, size_t at, const ptq_tensor *t, ptq_layout layout, size_t n)
{
    const size_t i = at % w->nslots;
    const uint64_t count = (uint64_t)ptq_tensor_elements(t);
    ptq_tally_values v = values_of(t, layout, n);
    held *h = &w->slot[i];
    if (count > PTQ_TALLY_VALUES)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "tensor '%s' has %llu values, more than can be counted on the device; "
                        "use a smaller --batch or --backend cpu", w->total->tensors[at]->name,
                        (unsigned long long)count);
    if (h->at != at || count > PTQ_TALLY_VALUES - h->values || h->axis != v.axis || h->channels != v.channels)
        PTQ_TRY(flush_slot(w, i));
    w->added[w->nadded++] = (struct added){at, n};
    *h = (held){at, h->values + count, v.axis, v.channels};
    return w->ops->add(w->tally, i, at, &v);
}

bool ptq_watch_busy(const ptq_watch *w)
{
    return w->nadded > 0;
}

ptq_status ptq_watch_end(ptq_watch *w, ptq_watch_check check, void *ctx)
{
    const ptq_summary *all;
    if (w->nadded == 0)
        return PTQ_OK;
    PTQ_TRY(w->ops->samples(w->tally, &all));
    for (size_t k = 0; k < w->nadded; k++) {
        size_t at = w->added[k].at;
        for (size_t i = 0; i < w->added[k].samples; i++) {
            const ptq_summary *s = &all[at * w->samples + i];
            PTQ_TRY(check(ctx, at, i, s));
            ptq_stats_add_sample(w->total->tensors[at], s);
        }
    }
    w->nadded = 0;
    return PTQ_OK;
}
