/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/observers/hist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/observers/scan.h"
#include "lib/observers/stats.h"

/* counts[base[index >> 9] + index] is the counter of an index that ptq_scan made; the sum wraps
 * in 32 bits. The first three blocks are no octaves: an octave without a block of its own counts
 * into MISSED (and the chunk is looked at again), zeros into ZEROS, NaN and infinities into
 * NONFINITE, which nobody reads. So the loop over the values has no branch. */
enum { MISSED, ZEROS, NONFINITE, FIRST_OCTAVE, LEAST = 64 };

static uint32_t base_of(uint32_t octave, uint32_t block)
{
    return (block - octave) * PTQ_HIST_BINS;
}

static uint32_t block_of(const ptq_hist *h, uint32_t octave)
{
    return h->base ? (h->base[octave] / PTQ_HIST_BINS + octave) & (UINT32_MAX / PTQ_HIST_BINS)
                   : MISSED;
}

static bool is_octave(int32_t id)
{
    return id >= 0 && id < PTQ_HIST_OCTAVES && (id & 255) != 255;
}

static ptq_status reserve(ptq_hist *h, uint32_t blocks)
{
    if (blocks <= h->capacity)
        return PTQ_OK;
    const uint32_t capacity = blocks < LEAST ? LEAST : 2 * blocks; /* untouched pages cost nothing */
    const size_t block_bytes = PTQ_HIST_BINS * sizeof(uint64_t);
    uint64_t *counts = ptq_alloc_aligned(capacity * block_bytes);
    if (!counts)
        return ptq_fail_nomem();
    if (h->blocks)
        memcpy(counts, h->counts, h->blocks * block_bytes);
    free(h->counts);
    h->counts = counts;
    h->capacity = capacity;
    return PTQ_OK;
}

static ptq_status add_block(ptq_hist *h, uint32_t octave)
{
    PTQ_TRY(reserve(h, h->blocks + 1));
    memset(h->counts + (size_t)h->blocks * PTQ_HIST_BINS, 0, PTQ_HIST_BINS * sizeof(uint64_t));
    h->base[octave] = base_of(octave, h->blocks++);
    return PTQ_OK;
}

static ptq_status start(ptq_hist *h)
{
    if (h->base)
        return PTQ_OK;
    PTQ_TRY(reserve(h, FIRST_OCTAVE));
    h->base = ptq_calloc(PTQ_HIST_OCTAVES + 1, sizeof *h->base);
    if (!h->base)
        return ptq_fail_nomem();
    memset(h->counts, 0, FIRST_OCTAVE * PTQ_HIST_BINS * sizeof(uint64_t));
    for (uint32_t o = 0; o < PTQ_HIST_OCTAVES; o++)
        h->base[o] = base_of(o, (o & 255) == 255 ? NONFINITE : MISSED);
    h->base[PTQ_HIST_OCTAVES] = base_of(PTQ_HIST_OCTAVES, ZEROS);
    h->blocks = FIRST_OCTAVE;
    return PTQ_OK;
}

static bool any_missed(const ptq_hist *h)
{
    uint64_t any = 0;
    for (size_t i = 0; i < PTQ_HIST_BINS; i++)
        any |= h->counts[MISSED * PTQ_HIST_BINS + i];
    return any != 0;
}

/* Counts again those values of the chunk whose octave had no block. */
static ptq_status count_missed(ptq_hist *h, const uint32_t *index, size_t n)
{
    memset(h->counts + MISSED * PTQ_HIST_BINS, 0, PTQ_HIST_BINS * sizeof(uint64_t));
    const uint32_t first_new = h->blocks;
    for (size_t i = 0; i < n; i++) {
        uint32_t octave = index[i] / PTQ_HIST_BINS;
        if (block_of(h, octave) == MISSED)
            PTQ_TRY(add_block(h, octave));
        if (block_of(h, octave) >= first_new)
            h->counts[h->base[octave] + index[i]]++;
    }
    return PTQ_OK;
}

static ptq_status count(ptq_hist *h, const uint32_t *index, size_t n)
{
    uint64_t *counts = h->counts;
    const uint32_t *base = h->base;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32_t a = index[i], b = index[i + 1], c = index[i + 2], d = index[i + 3];
        counts[base[a / PTQ_HIST_BINS] + a]++;
        counts[base[b / PTQ_HIST_BINS] + b]++;
        counts[base[c / PTQ_HIST_BINS] + c]++;
        counts[base[d / PTQ_HIST_BINS] + d]++;
    }
    for (; i < n; i++)
        counts[base[index[i] / PTQ_HIST_BINS] + index[i]]++;
    return any_missed(h) ? count_missed(h, index, n) : PTQ_OK;
}

static ptq_status hist_observe(void *state, ptq_sample *sample)
{
    ptq_hist *h = state;
    uint32_t index[PTQ_SCAN_CHUNK];
    ptq_summary summary = PTQ_SUMMARY_EMPTY;
    if (sample->n > 0)
        PTQ_TRY(start(h));
    for (size_t i = 0; i < sample->n; i += PTQ_SCAN_CHUNK) {
        size_t n = sample->n - i < PTQ_SCAN_CHUNK ? sample->n - i : PTQ_SCAN_CHUNK;
        ptq_scan(sample->values + i, n, index, &summary);
        PTQ_TRY(count(h, index, n));
    }
    for (size_t j = 0; h->base && j < PTQ_SCAN_LANES; j++) {
        h->zeros += h->counts[ZEROS * PTQ_HIST_BINS + j];
        h->counts[ZEROS * PTQ_HIST_BINS + j] = 0;
    }
    sample->summary = summary;
    sample->summarized = true;
    return PTQ_OK;
}

/* The block of an octave that was observed here, or NULL. */
static uint64_t *observed(const ptq_hist *h, int32_t id)
{
    const uint32_t block = is_octave(id) ? block_of(h, (uint32_t)id) : MISSED;
    return block == MISSED ? NULL : h->counts + (size_t)block * PTQ_HIST_BINS;
}

bool ptq_hist_counts(const ptq_hist *h, int32_t id, uint64_t counts[PTQ_HIST_BINS])
{
    const ptq_octave *stored = ptq_octaves_find(&h->stored, id);
    const uint64_t *here = observed(h, id);
    if (here)
        memcpy(counts, here, PTQ_HIST_BINS * sizeof *counts);
    else
        memset(counts, 0, PTQ_HIST_BINS * sizeof *counts);
    if (stored)
        ptq_octave_add_to(stored, counts);
    return ptq_octave_bits(counts) != 0;
}

int ptq_hist_octaves(const ptq_hist *h, int32_t ids[PTQ_HIST_OCTAVES])
{
    int n = 0;
    for (int32_t id = 0; id < PTQ_HIST_OCTAVES; id++) {
        const uint64_t *here = observed(h, id);
        if (ptq_octaves_find(&h->stored, id) || (here && ptq_octave_bits(here)))
            ids[n++] = id;
    }
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
    free(h->base);
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

/* The blocks stay where they are, so that the next values find their octaves. */
static ptq_status hist_drain(void *dst, void *src)
{
    ptq_hist *to = dst, *from = src;
    if (from->stored.n) {
        PTQ_TRY(hist_merge(dst, src));
        hist_clear(src);
        return PTQ_OK;
    }
    for (int32_t id = 0; id < PTQ_HIST_OCTAVES; id++) {
        uint64_t *here = observed(from, id);
        const uint64_t bits = here ? ptq_octave_bits(here) : 0;
        if (!bits)
            continue;
        PTQ_TRY(ptq_octaves_add(&to->stored, id, here, bits));
        memset(here, 0, PTQ_HIST_BINS * sizeof *here);
    }
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
