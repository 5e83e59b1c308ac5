/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/observers/stats.h"

#include <stdlib.h>
#include <string.h>

static void *state_of(ptq_tensor_stats *s, const ptq_observer *o)
{
    return (char *)s + o->offset;
}

static const void *const_state_of(const ptq_tensor_stats *s, const ptq_observer *o)
{
    return (const char *)s + o->offset;
}

ptq_status ptq_stats_new(const char *name, ptq_dtype dtype, ptq_tensor_stats **out)
{
    size_t n;
    const ptq_observer *const *rows = ptq_observers(&n);
    ptq_tensor_stats *s = ptq_calloc(1, sizeof *s);
    if (!s || !(s->name = strdup(name))) {
        free(s);
        return ptq_fail_nomem();
    }
    s->dtype = dtype;
    for (size_t i = 0; i < n; i++)
        rows[i]->init(state_of(s, rows[i]));
    *out = s;
    return PTQ_OK;
}

void ptq_stats_free(ptq_tensor_stats *s)
{
    if (!s)
        return;
    size_t n;
    const ptq_observer *const *rows = ptq_observers(&n);
    for (size_t i = 0; i < n; i++)
        rows[i]->clear(state_of(s, rows[i]));
    free(s->name);
    free(s);
}

static ptq_status check_shape(const ptq_tensor_stats *s, size_t n, int rank, const int64_t *dims,
                              int axis)
{
    int64_t elements;
    if (axis < 0)
        return PTQ_OK;
    if (axis >= rank || rank > PTQ_MAX_RANK || !ptq_shape_elements(rank, dims, &elements) ||
        (uint64_t)elements != n) {
        char shape[128] = "beyond the largest rank";
        if (rank <= PTQ_MAX_RANK)
            ptq_shape_str(rank, dims, shape, sizeof shape);
        return ptq_fail(PTQ_ERR_ARG, "tensor %s: channel axis %d, %zu values, shape %s", s->name,
                        axis, n, shape);
    }
    return PTQ_OK;
}

ptq_status ptq_stats_observe(ptq_tensor_stats *s, const float *values, size_t n, int rank,
                             const int64_t *dims, int channel_axis)
{
    PTQ_TRY(check_shape(s, n, rank, dims, channel_axis));
    ptq_sample sample = {
        .values = values, .n = n, .rank = rank, .dims = dims, .channel_axis = channel_axis};
    size_t count;
    const ptq_observer *const *rows = ptq_observers(&count);
    PTQ_TRY(ptq_channel_minmax_lend(&s->channel, &sample));
    for (size_t i = 0; i < count; i++)
        PTQ_TRY(rows[i]->observe(state_of(s, rows[i]), &sample));
    return PTQ_OK;
}

void ptq_stats_add_sample(ptq_tensor_stats *s, const ptq_summary *sample)
{
    ptq_summary_merge(&s->summary, sample);
    ptq_sample_minmax_add(&s->samples, sample);
}

ptq_status ptq_stats_add_counts(ptq_tensor_stats *s, const ptq_counts *c)
{
    uint64_t wide[PTQ_HIST_BINS];
    s->hist.zeros += c->zeros;
    for (size_t i = 0; i < c->octaves; i++) {
        for (size_t k = 0; k < PTQ_HIST_BINS; k++)
            wide[k] = c->count[i][k];
        PTQ_TRY(ptq_hist_add_octave(&s->hist, c->id[i], wide));
    }
    if (c->channels == 0)
        return PTQ_OK;
    return ptq_channel_minmax_add(&s->channel, c->axis, c->channels, c->min, c->max);
}

ptq_status ptq_stats_merge(ptq_tensor_stats *dst, const ptq_tensor_stats *src)
{
    size_t n;
    const ptq_observer *const *rows = ptq_observers(&n);
    for (size_t i = 0; i < n; i++)
        PTQ_TRY(rows[i]->merge(state_of(dst, rows[i]), const_state_of(src, rows[i])));
    return PTQ_OK;
}

ptq_status ptq_stats_drain(ptq_tensor_stats *dst, ptq_tensor_stats *src)
{
    size_t n;
    const ptq_observer *const *rows = ptq_observers(&n);
    for (size_t i = 0; i < n; i++) {
        void *to = state_of(dst, rows[i]), *from = state_of(src, rows[i]);
        if (rows[i]->drain) {
            PTQ_TRY(rows[i]->drain(to, from));
            continue;
        }
        PTQ_TRY(rows[i]->merge(to, from));
        rows[i]->clear(from);
        rows[i]->init(from);
    }
    return PTQ_OK;
}

bool ptq_stats_equal(const ptq_tensor_stats *a, const ptq_tensor_stats *b)
{
    size_t n;
    const ptq_observer *const *rows = ptq_observers(&n);
    for (size_t i = 0; i < n; i++) {
        if (!rows[i]->equal(const_state_of(a, rows[i]), const_state_of(b, rows[i])))
            return false;
    }
    return true;
}

ptq_status ptq_stats_write(const ptq_tensor_stats *s, const ptq_field_sink *sink)
{
    size_t n;
    const ptq_observer *const *rows = ptq_observers(&n);
    for (size_t i = 0; i < n; i++)
        PTQ_TRY(rows[i]->write(const_state_of(s, rows[i]), sink));
    return PTQ_OK;
}

static uint32_t index_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> PTQ_HIST_SHIFT;
}

/* A value x of the histogram's index space at which there is at least one count. */
static bool counted_at(const ptq_tensor_stats *s, float x)
{
    if (x == 0)
        return s->hist.zeros > 0;
    uint64_t counts[PTQ_HIST_BINS];
    return ptq_hist_counts(&s->hist, (int32_t)(index_of(x) / PTQ_HIST_BINS), counts) &&
           counts[index_of(x) % PTQ_HIST_BINS] > 0;
}

/* What the linear bins rely on: minimum and maximum lie in the outermost bins that hold counts. */
static bool hist_fits_range(const ptq_tensor_stats *s)
{
    if (ptq_hist_total(&s->hist) != s->summary.finite)
        return false;
    if (s->summary.finite == 0)
        return true;
    if (!counted_at(s, s->summary.min) || !counted_at(s, s->summary.max))
        return false;
    int32_t ids[PTQ_HIST_OCTAVES];
    const int n = ptq_hist_octaves(&s->hist, ids);
    for (int i = 0; i < n; i++) {
        uint64_t c[PTQ_HIST_BINS];
        ptq_hist_counts(&s->hist, ids[i], c);
        for (int b = 0; b < PTQ_HIST_BINS; b++) {
            double lo, hi;
            ptq_hist_edges(ids[i], b, &lo, &hi);
            if (c[b] && (hi < (double)s->summary.min || lo > (double)s->summary.max))
                return false;
        }
    }
    return !(s->hist.zeros && (s->summary.min > 0 || s->summary.max < 0));
}

ptq_status ptq_stats_read(ptq_tensor_stats *s, const ptq_field_source *source)
{
    size_t n;
    const ptq_observer *const *rows = ptq_observers(&n);
    for (size_t i = 0; i < n; i++) {
        ptq_status st = rows[i]->read(state_of(s, rows[i]), source);
        if (st != PTQ_OK)
            return ptq_fail_prefix(st, "tensor %s", s->name);
    }
    if (!hist_fits_range(s))
        return ptq_fail(PTQ_ERR_DATA, "tensor %s: the histogram's counts do not fit its range",
                        s->name);
    return PTQ_OK;
}

bool ptq_stats_mean_minmax(const ptq_tensor_stats *s, double *min, double *max)
{
    if (s->samples.finite == 0)
        return false;
    *min = ptq_exact_sum_value(&s->samples.min) / (double)s->samples.finite;
    *max = ptq_exact_sum_value(&s->samples.max) / (double)s->samples.finite;
    return true;
}
