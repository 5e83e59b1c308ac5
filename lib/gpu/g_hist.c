/* SPDX-License-Identifier: Apache-2.0 */
/* Counts of calibration on the device: memory for them, and from their device form to lib/observers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/fmath.h"
#include "lib/gpu/gpu.h"
#include "lib/gpu/kernels_hist.h"
#include "lib/observers/stats.h"

_Static_assert((int)PTQ_K_HIST_SHIFT == (int)PTQ_HIST_SHIFT && (int)PTQ_K_HIST_BINS == (int)PTQ_HIST_BINS &&
                   (int)PTQ_K_HIST_OCTAVES == (int)PTQ_HIST_OCTAVES,
               "the device counts into other bins");

enum { COUNTS_BYTES = PTQ_HIST_OCTAVES * PTQ_HIST_BINS * (int)sizeof(uint32_t) };

typedef struct slot {
    ptq_k_hist_head *head; /* on the device, with the ranges of channels behind it */
    int axis;
    int64_t channels; /* of what is being counted; 0: no ranges */
    int64_t room;     /* channels behind the head */
} slot;

struct ptq_tally {
    ptq_dev *dev;
    size_t nslots, rows, samples;
    slot *slot;
    uint32_t *counts;                /* [slots], on the device */
    ptq_k_hist_sample *sample, *got; /* [rows][samples] on the device, on the host */
    int64_t *n;                      /* [rows] values of each sample */
    ptq_summary *summary;            /* [rows][samples] */
    struct {                         /* what the last take gave */
        void *head;
        uint32_t (*count)[PTQ_HIST_BINS];
        int32_t id[PTQ_HIST_OCTAVES];
        float *range; /* minima, maxima */
    } taken;
};

static size_t head_bytes(int64_t channels)
{
    return sizeof(ptq_k_hist_head) + (size_t)channels * sizeof(ptq_k_extremes);
}

static uint32_t *counts_of(const ptq_tally *t, size_t at)
{
    return t->counts + at * PTQ_HIST_OCTAVES * PTQ_HIST_BINS;
}

static ptq_status alloc_zero(ptq_dev *d, size_t nbytes, void **out)
{
    void *p;
    PTQ_TRY(ptq_dev_alloc(d, nbytes, &p));
    ptq_status s = ptq_dev_zero(d, p, nbytes);
    if (s == PTQ_OK)
        *out = p;
    else
        ptq_dev_free(d, p);
    return s;
}

ptq_status ptq_gpu_tally_open(ptq_gpu *g, size_t slots, size_t rows, size_t samples, ptq_tally **out)
{
    size_t all = rows * samples;
    void *counts = NULL, *sample = NULL;
    ptq_tally *t = ptq_calloc(1, sizeof *t);
    if (!t)
        return ptq_fail_nomem();
    *t = (ptq_tally){.dev = g->dev, .nslots = slots, .rows = rows, .samples = samples};
    t->slot = ptq_calloc(slots, sizeof *t->slot);
    t->got = ptq_calloc(all, sizeof *t->got);
    t->n = ptq_calloc(rows, sizeof *t->n);
    t->summary = ptq_calloc(all, sizeof *t->summary);
    t->taken.count = ptq_calloc(PTQ_HIST_OCTAVES, sizeof *t->taken.count);
    ptq_status s = t->slot && t->got && t->n && t->summary && t->taken.count ? PTQ_OK : ptq_fail_nomem();
    if (s == PTQ_OK)
        s = alloc_zero(t->dev, slots * COUNTS_BYTES, &counts);
    t->counts = counts;
    if (s == PTQ_OK)
        s = alloc_zero(t->dev, all * sizeof *t->sample, &sample);
    t->sample = sample;
    if (s != PTQ_OK) {
        ptq_gpu_tally_close(t);
        return s;
    }
    *out = t;
    return PTQ_OK;
}

void ptq_gpu_tally_close(ptq_tally *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->slot && i < t->nslots; i++)
        ptq_dev_free(t->dev, t->slot[i].head);
    ptq_dev_free(t->dev, t->counts);
    ptq_dev_free(t->dev, t->sample);
    free(t->slot);
    free(t->got);
    free(t->n);
    free(t->summary);
    free(t->taken.head);
    free(t->taken.count);
    free(t->taken.range);
    free(t);
}

/* Room for that many channels in a slot that is empty. */
static ptq_status make_head(ptq_tally *t, slot *s, int64_t channels)
{
    void *head;
    ptq_dev_free(t->dev, s->head);
    s->head = NULL;
    PTQ_TRY(alloc_zero(t->dev, head_bytes(channels), &head));
    s->head = head;
    s->room = channels;
    return PTQ_OK;
}

ptq_status ptq_gpu_tally_add(ptq_tally *t, size_t at, size_t row, const ptq_tally_values *v)
{
    slot *s = &t->slot[at];
    int64_t n = v->outer * v->channels * v->inner;
    t->n[row] = n;
    if (n == 0 || v->samples == 0)
        return PTQ_OK;
    if (!s->head || s->room < v->channels)
        PTQ_TRY(make_head(t, s, v->channels));
    s->axis = v->axis;
    s->channels = v->axis < 0 ? 0 : v->channels;
    int64_t parts = (v->inner + PTQ_K_HIST_PART - 1) / PTQ_K_HIST_PART;
    int64_t part = ((v->inner + parts - 1) / parts + 31) / 32 * 32; /* begins where a line does, where x does */
    ptq_k_hist a = {.x = v->x, .samples = (int64_t)v->samples, .outer = v->outer, .channels = v->channels,
                    .inner = v->inner, .parts = (v->inner + part - 1) / part, .part = part, .head = s->head,
                    .counts = counts_of(t, at), .sample = t->sample + row * t->samples,
                    .channel = v->axis < 0 ? NULL : (ptq_k_extremes *)(s->head + 1)};
    return ptq_k_run_hist(t->dev, &a);
}

/* ---- reading ---- */

static float value_of(uint32_t order)
{
    return ptq_bits_float(order >> 31 ? order & 0x7fffffffu : ~order) + 0.0f; /* -0 counts as +0 */
}

static float max_of(ptq_k_extremes e)
{
    return e.max ? value_of(e.max) : -INFINITY;
}

static float min_of(ptq_k_extremes e)
{
    return e.max ? value_of(~e.min) : INFINITY;
}

static ptq_summary summary_of(const ptq_k_hist_sample *k, int64_t n)
{
    return (ptq_summary){.finite = (uint64_t)n - k->nan - k->pos_inf - k->neg_inf, .nan = k->nan,
                         .pos_inf = k->pos_inf, .neg_inf = k->neg_inf, .min = min_of(k->finite),
                         .max = max_of(k->finite)};
}

ptq_status ptq_gpu_tally_samples(ptq_tally *t, const ptq_summary **out)
{
    size_t all = t->rows * t->samples;
    PTQ_TRY(ptq_dev_download(t->dev, t->got, t->sample, all * sizeof *t->got));
    PTQ_TRY(ptq_dev_zero(t->dev, t->sample, all * sizeof *t->sample));
    for (size_t i = 0; i < all; i++)
        t->summary[i] = summary_of(&t->got[i], t->n[i / t->samples]);
    *out = t->summary;
    return PTQ_OK;
}

/* The counts of all octaves that have some: neighbours in one copy. */
static ptq_status take_octaves(ptq_tally *t, size_t at, const ptq_k_hist_head *h, size_t *n)
{
    for (int32_t o = 0; o < PTQ_HIST_OCTAVES; o++) {
        size_t first = *n;
        int32_t from = o;
        while (o < PTQ_HIST_OCTAVES && h->octaves[o / 32] >> o % 32 & 1)
            t->taken.id[(*n)++] = o++;
        if (*n > first)
            PTQ_TRY(ptq_dev_download(t->dev, t->taken.count + first, counts_of(t, at) + (size_t)from * PTQ_HIST_BINS,
                                     (*n - first) * sizeof *t->taken.count));
    }
    return PTQ_OK;
}

static ptq_status take_ranges(ptq_tally *t, const ptq_k_extremes *e, int64_t channels)
{
    float *range = realloc(t->taken.range, 2 * (size_t)channels * sizeof *range);
    if (!range)
        return ptq_fail_nomem();
    t->taken.range = range;
    for (int64_t c = 0; c < channels; c++) {
        range[c] = min_of(e[c]);
        range[channels + c] = max_of(e[c]);
    }
    return PTQ_OK;
}

ptq_status ptq_gpu_tally_take(ptq_tally *t, size_t at, ptq_counts *out)
{
    slot *s = &t->slot[at];
    ptq_counts c = {.axis = s->axis, .channels = s->channels};
    if (!s->head) {
        *out = (ptq_counts){.axis = -1};
        return PTQ_OK;
    }
    ptq_k_hist_head *h = realloc(t->taken.head, head_bytes(c.channels));
    if (!h)
        return ptq_fail_nomem();
    t->taken.head = h;
    PTQ_TRY(ptq_dev_download(t->dev, h, s->head, head_bytes(c.channels)));
    c.zeros = h->zeros;
    PTQ_TRY(take_octaves(t, at, h, &c.octaves));
    if (c.channels)
        PTQ_TRY(take_ranges(t, (const ptq_k_extremes *)(h + 1), c.channels));
    PTQ_TRY(ptq_dev_zero(t->dev, s->head, head_bytes(s->room)));
    PTQ_TRY(ptq_dev_zero(t->dev, counts_of(t, at), COUNTS_BYTES));
    s->channels = 0;
    c.id = t->taken.id;
    c.count = (const uint32_t (*)[PTQ_HIST_BINS])t->taken.count;
    c.min = t->taken.range;
    c.max = c.channels ? t->taken.range + c.channels : NULL;
    *out = c;
    return PTQ_OK;
}
