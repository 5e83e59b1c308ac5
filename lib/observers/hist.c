/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/observers/hist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/observers/scan.h"
#include "lib/observers/stats.h"

static bool is_octave(int32_t id)
{
    return id >= 0 && id < PTQ_HIST_OCTAVES && (id & 255) != 255;
}

static void forget(ptq_hist *h)
{
    h->pending = 0;
    h->first = PTQ_HIST_OCTAVES;
    h->last = 0;
    h->negative = false;
}

static ptq_status start(ptq_hist *h)
{
    if (h->counts)
        return PTQ_OK;
    h->counts = ptq_calloc(PTQ_SCAN_COUNTERS, sizeof *h->counts); /* untouched pages cost nothing */
    forget(h);
    return h->counts ? PTQ_OK : ptq_fail_nomem();
}

/* Counters of an octave that may hold counts made here, or NULL. */
static uint32_t *observed(const ptq_hist *h, int32_t id)
{
    const uint32_t exponent = (uint32_t)id & 255;
    if (!h->counts || !is_octave(id) || exponent < h->first || exponent > h->last || (id > 255 && !h->negative))
        return NULL;
    return h->counts + (size_t)id * PTQ_HIST_BINS;
}

static bool any(const uint32_t *counts)
{
    uint32_t bits = 0;
    for (size_t i = 0; counts && i < PTQ_HIST_BINS; i++)
        bits |= counts[i];
    return bits != 0;
}

/* Adds the counts made here to the octaves and starts again; the table stays. */
static ptq_status empty(ptq_hist *h, ptq_octaves *to)
{
    for (int32_t sign = 0; h->counts && sign < 2; sign++)
        for (uint32_t exponent = h->first; exponent <= h->last; exponent++) {
            const int32_t id = (int32_t)exponent + 256 * sign;
            uint32_t *here = observed(h, id);
            if (here)
                PTQ_TRY(ptq_octaves_take(to, id, here));
        }
    forget(h);
    return PTQ_OK;
}

/* What passes over the values find together. */
typedef struct found {
    ptq_summary summary;
    uint32_t least; /* as ptq_scan tells */
    size_t zeros;
} found;

/* Runs of values, in pieces of whole runs or of one run, each counted while the next is scanned; min, max: [runs] or
 * NULL. */
static void take(ptq_hist *h, const float *values, size_t runs, size_t inner, float *min, float *max, found *f)
{
    /* Of the two lists one is read while the other is written, at the same places: were they whole pages apart, loads
     * would wait for stores that only look like theirs. */
    enum { APART = 512 };
    uint32_t index[2][PTQ_SCAN_CHUNK + APART], least;
    const size_t length = inner < PTQ_SCAN_CHUNK ? inner : PTQ_SCAN_CHUNK, most = PTQ_SCAN_CHUNK / length;
    ptq_due due = {.counts = h->counts};
    for (size_t r = 0, i = 0, piece = 0; r < runs; piece++) {
        const size_t k = runs - r < most ? runs - r : most; /* 1 of long ones */
        const size_t n = inner - i < length ? inner - i : length;
        const float *v = values + r * inner + i;
        uint32_t *to = index[piece % 2];
        const size_t kept = ptq_scan(v, k, n, &due, to, &least, &f->summary, min ? min + r : NULL,
                                     max ? max + r : NULL);
        due.index = to;
        due.n = kept;
        f->zeros += k * n - kept;
        f->least = least < f->least ? least : f->least;
        i += n;
        if (i == inner) {
            i = 0;
            r += k;
        }
    }
    ptq_raise(&due);
}

/* The octaves that these values have touched. */
static void touch(ptq_hist *h, uint32_t least, const ptq_summary *s)
{
    const float most = s->max > -s->min ? s->max : -s->min;
    uint32_t bits;
    memcpy(&bits, &most, sizeof bits);
    if (s->finite == 0 || least == UINT32_MAX)
        return;
    h->first = least >> 23 < h->first ? least >> 23 : h->first;
    h->last = bits >> 23 > h->last ? bits >> 23 : h->last;
    h->negative |= s->min < 0.0f;
}

static ptq_status hist_observe(void *state, ptq_sample *sample)
{
    ptq_hist *h = state;
    found f = {.summary = PTQ_SUMMARY_EMPTY, .least = UINT32_MAX};
    if (sample->n > 0)
        PTQ_TRY(start(h));
    if (sample->n > UINT32_MAX)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "%zu values in one sample of a tensor", sample->n);
    if (h->pending + sample->n > UINT32_MAX)
        PTQ_TRY(empty(h, &h->stored));
    h->pending += sample->n;
    const size_t channels = sample->channel_min ? (size_t)sample->channels : 1;
    const size_t inner = channels == 1 ? sample->n : (size_t)sample->inner; /* of one channel all are beside each other */
    for (size_t at = 0; at < sample->n; at += channels * inner)
        take(h, sample->values + at, channels, inner, sample->channel_min, sample->channel_max, &f);
    h->zeros += f.zeros;
    touch(h, f.least, &f.summary);
    sample->summary = f.summary;
    sample->summarized = true;
    return PTQ_OK;
}

bool ptq_hist_counts(const ptq_hist *h, int32_t id, uint64_t counts[PTQ_HIST_BINS])
{
    const ptq_octave *stored = ptq_octaves_find(&h->stored, id);
    const uint32_t *here = observed(h, id);
    for (size_t i = 0; i < PTQ_HIST_BINS; i++)
        counts[i] = here ? here[i] : 0;
    if (stored)
        ptq_octave_add_to(stored, counts);
    return ptq_octave_bits(counts) != 0;
}

int ptq_hist_octaves(const ptq_hist *h, int32_t ids[PTQ_HIST_OCTAVES])
{
    int n = 0;
    for (int32_t id = 0; id < PTQ_HIST_OCTAVES; id++)
        if (ptq_octaves_find(&h->stored, id) || any(observed(h, id)))
            ids[n++] = id;
    return n;
}

ptq_status ptq_hist_add_octave(ptq_hist *h, int32_t id, const uint64_t counts[PTQ_HIST_BINS])
{
    if (!is_octave(id))
        return ptq_fail(PTQ_ERR_DATA, "histogram: %d is no octave of finite values", (int)id);
    const uint64_t bits = ptq_octave_bits(counts);
    return bits ? ptq_octaves_add(&h->stored, id, counts, bits) : PTQ_OK;
}

uint64_t ptq_hist_total(const ptq_hist *h)
{
    int32_t ids[PTQ_HIST_OCTAVES];
    uint64_t counts[PTQ_HIST_BINS], total = h->zeros;
    const int n = ptq_hist_octaves(h, ids);
    for (int i = 0; i < n; i++) {
        ptq_hist_counts(h, ids[i], counts);
        for (size_t k = 0; k < PTQ_HIST_BINS; k++)
            total += counts[k];
    }
    return total;
}

void ptq_hist_edges(int32_t octave, int bin, double *lo, double *hi)
{
    uint32_t bits = (uint32_t)(octave & 255) << 23 | (uint32_t)bin << PTQ_HIST_SHIFT;
    uint32_t next = bits + (1u << PTQ_HIST_SHIFT);
    float a, b;
    memcpy(&a, &bits, sizeof a);
    memcpy(&b, &next, sizeof b);
    double upper = isinf(b) ? 0x1p128 : (double)b; /* the last bin below infinity */
    *lo = octave < 256 ? (double)a : -upper;
    *hi = octave < 256 ? upper : -(double)a;
}

static void hist_init(void *state)
{
    memset(state, 0, sizeof(ptq_hist));
}

static void hist_clear(void *state)
{
    ptq_hist *h = state;
    ptq_octaves_clear(&h->stored);
    free(h->counts);
    hist_init(h);
}

static ptq_status hist_merge(void *dst, const void *src)
{
    ptq_hist *to = dst;
    const ptq_hist *from = src;
    int32_t ids[PTQ_HIST_OCTAVES];
    uint64_t counts[PTQ_HIST_BINS];
    int n = ptq_hist_octaves(from, ids);
    for (int i = 0; i < n; i++) {
        ptq_hist_counts(from, ids[i], counts);
        PTQ_TRY(ptq_hist_add_octave(to, ids[i], counts));
    }
    to->zeros += from->zeros;
    return PTQ_OK;
}

/* The table stays, so that the next values find their pages. */
static ptq_status hist_drain(void *dst, void *src)
{
    ptq_hist *to = dst, *from = src;
    if (from->stored.n) {
        PTQ_TRY(hist_merge(dst, src));
        hist_clear(src);
        return PTQ_OK;
    }
    PTQ_TRY(empty(from, &to->stored));
    to->zeros += from->zeros;
    from->zeros = 0;
    return PTQ_OK;
}

static bool hist_equal(const void *a, const void *b)
{
    int32_t ia[PTQ_HIST_OCTAVES], ib[PTQ_HIST_OCTAVES];
    uint64_t ca[PTQ_HIST_BINS], cb[PTQ_HIST_BINS];
    const ptq_hist *x = a, *y = b;
    int n = ptq_hist_octaves(x, ia);
    if (x->zeros != y->zeros || ptq_hist_octaves(y, ib) != n)
        return false;
    for (int i = 0; i < n; i++) {
        ptq_hist_counts(x, ia[i], ca);
        ptq_hist_counts(y, ib[i], cb);
        if (ia[i] != ib[i] || memcmp(ca, cb, sizeof ca) != 0)
            return false;
    }
    return true;
}

static ptq_status hist_write(const void *state, const ptq_field_sink *sink)
{
    const ptq_hist *h = state;
    int32_t ids[PTQ_HIST_OCTAVES];
    const int n = ptq_hist_octaves(h, ids);
    if (n > 0) {
        uint64_t *counts = ptq_calloc((size_t)n, PTQ_HIST_BINS * sizeof *counts);
        if (!counts)
            return ptq_fail_nomem();
        for (int i = 0; i < n; i++)
            ptq_hist_counts(h, ids[i], counts + (size_t)i * PTQ_HIST_BINS);
        int64_t dims[2] = {n, PTQ_HIST_BINS};
        ptq_status st = sink->put(sink->ctx, "octaves", PTQ_DT_S32, 1, dims, ids);
        if (st == PTQ_OK)
            st = sink->put(sink->ctx, "octave_counts", PTQ_DT_U64, 2, dims, counts);
        free(counts);
        PTQ_TRY(st);
    }
    if (h->zeros)
        PTQ_TRY(sink->put(sink->ctx, "zeros", PTQ_DT_U64, 0, NULL, &h->zeros));
    return PTQ_OK;
}

static ptq_status hist_read(void *state, const ptq_field_source *source)
{
    ptq_hist *h = state;
    const void *ids = NULL, *counts = NULL, *zeros = NULL;
    int64_t n = -1;
    PTQ_TRY(ptq_field_get(source, "octaves", PTQ_DT_S32, 1, &n, &ids));
    if (ids && n > PTQ_HIST_OCTAVES)
        return ptq_fail(PTQ_ERR_DATA, "octaves: %lld of them", (long long)n);
    /* Copied: the next get may move what the last one returned. */
    int32_t id[PTQ_HIST_OCTAVES];
    if (ids)
        memcpy(id, ids, (size_t)n * sizeof *id);
    int64_t dims[2] = {ids ? n : 0, PTQ_HIST_BINS};
    PTQ_TRY(ptq_field_get(source, "octave_counts", PTQ_DT_U64, 2, dims, &counts));
    if (!ids != !counts)
        return ptq_fail(PTQ_ERR_DATA, "octaves and octave_counts: one without the other");
    for (int64_t i = 0; ids && i < n; i++) {
        if (i > 0 && id[i] <= id[i - 1])
            return ptq_fail(PTQ_ERR_DATA, "octaves: not ascending at %lld", (long long)i);
        PTQ_TRY(ptq_hist_add_octave(h, id[i], (const uint64_t *)counts + i * PTQ_HIST_BINS));
    }
    PTQ_TRY(ptq_field_get(source, "zeros", PTQ_DT_U64, 0, NULL, &zeros));
    if (zeros)
        memcpy(&h->zeros, zeros, sizeof h->zeros);
    return PTQ_OK;
}

const ptq_observer ptq_observer_hist = {
    .name = "hist",
    .summary = "histogram by sign, exponent and the first 9 bits of the mantissa",
    .size = sizeof(ptq_hist),
    .offset = offsetof(ptq_tensor_stats, hist),
    .init = hist_init,
    .clear = hist_clear,
    .observe = hist_observe,
    .merge = hist_merge,
    .drain = hist_drain,
    .equal = hist_equal,
    .write = hist_write,
    .read = hist_read,
};
