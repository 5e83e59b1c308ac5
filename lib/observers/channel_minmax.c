/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/observers/stats.h"

static void channel_init(void *state)
{
    memset(state, 0, sizeof(ptq_channel_minmax));
}

static void channel_clear(void *state)
{
    ptq_channel_minmax *s = state;
    free(s->min);
    free(s->max);
    channel_init(s);
}

/* "Disagreed" absorbs everything, so that the result does not depend on the order. */
static void disagree(ptq_channel_minmax *s)
{
    channel_clear(s);
    s->channels = -1;
}

/* Makes the state fit for `channels` along `axis`; *use is false when the samples disagree. */
static ptq_status agree(ptq_channel_minmax *s, int axis, int64_t channels, bool *use)
{
    *use = false;
    if (s->channels != 0) {
        if (s->channels > 0 && (s->channels != channels || s->axis != axis))
            disagree(s);
        *use = s->channels > 0;
        return PTQ_OK;
    }
    float *min = ptq_calloc((size_t)channels, sizeof *min);
    float *max = ptq_calloc((size_t)channels, sizeof *max);
    if (!min || !max) {
        free(min);
        free(max);
        return ptq_fail_nomem();
    }
    for (int64_t c = 0; c < channels; c++) {
        min[c] = INFINITY;
        max[c] = -INFINITY;
    }
    *s = (ptq_channel_minmax){.axis = axis, .channels = channels, .min = min, .max = max};
    *use = true;
    return PTQ_OK;
}

enum { LEAST_RUN = 8 }; /* adjacent values of a channel: in shorter runs a pass for each is slow */

/* Adjacent values of one channel, few and all finite. */
static void observe_short(ptq_channel_minmax *s, const float *v, int64_t outer, int64_t inner)
{
    for (int64_t o = 0; o < outer; o++)
        for (int64_t c = 0; c < s->channels; c++, v += inner) {
            float lo = s->min[c], hi = s->max[c];
            for (int64_t i = 0; i < inner; i++) {
                const float x = v[i] + 0.0f; /* -0.0 counts as +0.0 */
                lo = x < lo ? x : lo;
                hi = x > hi ? x : hi;
            }
            s->min[c] = lo;
            s->max[c] = hi;
        }
}

/* Adjacent values of one channel. */
static void observe_runs(ptq_channel_minmax *s, const float *v, int64_t outer, int64_t inner)
{
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t c = 0; c < s->channels; c++, v += inner) {
            ptq_summary run = {.min = s->min[c], .max = s->max[c]};
            ptq_summary_scan(v, (size_t)inner, &run);
            s->min[c] = run.min;
            s->max[c] = run.max;
        }
    }
}

enum { COLUMNS = 16 };

/* COLUMNS channels side by side, all values finite: the inner loops become vector instructions. */
static void observe_block(const float *v, int64_t outer, int64_t stride, float *min, float *max)
{
    float lo[COLUMNS], hi[COLUMNS];
    memcpy(lo, min, sizeof lo);
    memcpy(hi, max, sizeof hi);
    for (int64_t o = 0; o < outer; o++, v += stride) {
        for (int j = 0; j < COLUMNS; j++)
            lo[j] = v[j] < lo[j] ? v[j] : lo[j];
        for (int j = 0; j < COLUMNS; j++)
            hi[j] = v[j] > hi[j] ? v[j] : hi[j];
    }
    for (int j = 0; j < COLUMNS; j++) { /* -0.0 counts as +0.0 */
        min[j] = lo[j] + 0.0f;
        max[j] = hi[j] + 0.0f;
    }
}

/* Channels side by side. */
static void observe_columns(ptq_channel_minmax *s, const float *v, int64_t outer, bool all_finite)
{
    int64_t first = 0;
    for (; all_finite && first + COLUMNS <= s->channels; first += COLUMNS)
        observe_block(v + first, outer, s->channels, s->min + first, s->max + first);
    for (int64_t o = 0; o < outer; o++, v += s->channels) {
        for (int64_t c = first; c < s->channels; c++) {
            float x = v[c] + 0.0f; /* -0.0 counts as +0.0 */
            if (!isfinite(x))
                continue;
            s->min[c] = x < s->min[c] ? x : s->min[c];
            s->max[c] = x > s->max[c] ? x : s->max[c];
        }
    }
}

/* How often the channels come, each with how many adjacent values. */
static void split(const ptq_sample *sample, int64_t *outer, int64_t *inner)
{
    *outer = *inner = 1;
    for (int i = 0; i < sample->rank; i++) {
        if (i < sample->channel_axis)
            *outer *= sample->dims[i];
        else if (i > sample->channel_axis)
            *inner *= sample->dims[i];
    }
}

ptq_status ptq_channel_minmax_lend(ptq_channel_minmax *s, ptq_sample *sample)
{
    int64_t outer, inner;
    bool use;
    if (sample->channel_axis < 0 || sample->n == 0)
        return PTQ_OK;
    split(sample, &outer, &inner);
    if (inner < LEAST_RUN)
        return PTQ_OK;
    PTQ_TRY(agree(s, sample->channel_axis, sample->dims[sample->channel_axis], &use));
    if (use) {
        sample->channels = s->channels;
        sample->inner = inner;
        sample->channel_min = s->min;
        sample->channel_max = s->max;
    }
    return PTQ_OK;
}

static ptq_status channel_observe(void *state, ptq_sample *sample)
{
    ptq_channel_minmax *s = state;
    const int axis = sample->channel_axis;
    if (axis < 0 || sample->n == 0 || sample->channel_min)
        return PTQ_OK;
    int64_t outer, inner;
    split(sample, &outer, &inner);
    bool use;
    PTQ_TRY(agree(s, axis, sample->dims[axis], &use));
    const bool all_finite = ptq_sample_summary(sample)->finite == sample->n;
    if (use && inner == 1)
        observe_columns(s, sample->values, outer, all_finite);
    else if (use && all_finite && inner < LEAST_RUN)
        observe_short(s, sample->values, outer, inner);
    else if (use)
        observe_runs(s, sample->values, outer, inner);
    return PTQ_OK;
}

ptq_status ptq_channel_minmax_add(ptq_channel_minmax *s, int axis, int64_t channels, const float *min,
                                  const float *max)
{
    bool use;
    PTQ_TRY(agree(s, axis, channels, &use));
    for (int64_t c = 0; use && c < channels; c++) {
        s->min[c] = min[c] < s->min[c] ? min[c] : s->min[c];
        s->max[c] = max[c] > s->max[c] ? max[c] : s->max[c];
    }
    return PTQ_OK;
}

static ptq_status channel_merge(void *dst, const void *src)
{
    ptq_channel_minmax *to = dst;
    const ptq_channel_minmax *from = src;
    if (from->channels == 0)
        return PTQ_OK;
    if (from->channels < 0) {
        disagree(to);
        return PTQ_OK;
    }
    return ptq_channel_minmax_add(to, from->axis, from->channels, from->min, from->max);
}

static bool channel_equal(const void *a, const void *b)
{
    const ptq_channel_minmax *x = a, *y = b;
    if (x->channels != y->channels || x->axis != y->axis)
        return false;
    for (int64_t c = 0; c < x->channels; c++) {
        if (x->min[c] != y->min[c] || x->max[c] != y->max[c])
            return false;
    }
    return true;
}

static ptq_status channel_write(const void *state, const ptq_field_sink *sink)
{
    const ptq_channel_minmax *s = state;
    if (s->channels == 0)
        return PTQ_OK;
    if (s->channels > INT32_MAX)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "%lld channels", (long long)s->channels);
    int32_t axis[2] = {s->axis, (int32_t)s->channels};
    PTQ_TRY(sink->put(sink->ctx, "channel_axis", PTQ_DT_S32, 1, (int64_t[]){2}, axis));
    if (s->channels < 0)
        return PTQ_OK;
    const size_t n = (size_t)s->channels;
    float *both = ptq_calloc(2 * n, sizeof *both);
    if (!both)
        return ptq_fail_nomem();
    memcpy(both, s->min, n * sizeof *both);
    memcpy(both + n, s->max, n * sizeof *both);
    int64_t dims[2] = {2, s->channels};
    ptq_status st = sink->put(sink->ctx, "channel_ranges", PTQ_DT_F32, 2, dims, both);
    free(both);
    return st;
}

static ptq_status channel_read(void *state, const ptq_field_source *source)
{
    ptq_channel_minmax *s = state;
    const void *p = NULL, *ranges = NULL;
    int32_t axis[2];
    PTQ_TRY(ptq_field_get(source, "channel_axis", PTQ_DT_S32, 1, (int64_t[]){2}, &p));
    if (!p)
        return PTQ_OK;
    memcpy(axis, p, sizeof axis);
    if (axis[1] == -1 && axis[0] == 0) {
        disagree(s);
        return PTQ_OK;
    }
    if (axis[0] < 0 || axis[0] >= PTQ_MAX_RANK || axis[1] < 1)
        return ptq_fail(PTQ_ERR_DATA, "channel_axis: axis %d with %d channels", (int)axis[0],
                        (int)axis[1]);
    int64_t dims[2] = {2, axis[1]};
    PTQ_TRY(ptq_field_get(source, "channel_ranges", PTQ_DT_F32, 2, dims, &ranges));
    if (!ranges)
        return ptq_fail(PTQ_ERR_DATA, "channel_ranges is missing");
    bool use;
    PTQ_TRY(agree(s, axis[0], axis[1], &use));
    const size_t n = (size_t)axis[1];
    memcpy(s->min, ranges, n * sizeof(float));
    memcpy(s->max, (const float *)ranges + n, n * sizeof(float));
    for (size_t c = 0; c < n; c++) {
        bool empty = s->min[c] == INFINITY && s->max[c] == -INFINITY;
        if (!empty && !(isfinite(s->min[c]) && isfinite(s->max[c]) && s->min[c] <= s->max[c]))
            return ptq_fail(PTQ_ERR_DATA, "channel_ranges: channel %zu is [%g, %g]", c,
                            (double)s->min[c], (double)s->max[c]);
    }
    return PTQ_OK;
}

const ptq_observer ptq_observer_channel_minmax = {
    .name = "channel_minmax",
    .summary = "minimum and maximum of each channel",
    .size = sizeof(ptq_channel_minmax),
    .offset = offsetof(ptq_tensor_stats, channel),
    .init = channel_init,
    .clear = channel_clear,
    .observe = channel_observe,
    .merge = channel_merge,
    .equal = channel_equal,
    .write = channel_write,
    .read = channel_read,
};
