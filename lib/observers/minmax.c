/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/observers/minmax.h"

#include <math.h>
#include <string.h>

#include "lib/observers/stats.h"

static void minmax_init(void *state)
{
    *(ptq_summary *)state = PTQ_SUMMARY_EMPTY;
}

static ptq_status minmax_observe(void *state, ptq_sample *sample)
{
    ptq_summary_merge(state, ptq_sample_summary(sample));
    return PTQ_OK;
}

static ptq_status minmax_merge(void *dst, const void *src)
{
    ptq_summary_merge(dst, src);
    return PTQ_OK;
}

static bool minmax_equal(const void *a, const void *b)
{
    return ptq_summary_equal(a, b);
}

static ptq_status minmax_write(const void *state, const ptq_field_sink *sink)
{
    const ptq_summary *s = state;
    uint64_t counts[4] = {s->finite, s->nan, s->pos_inf, s->neg_inf};
    float range[2] = {s->min, s->max};
    if (counts[0] | counts[1] | counts[2] | counts[3])
        PTQ_TRY(sink->put(sink->ctx, "counts", PTQ_DT_U64, 1, (int64_t[]){4}, counts));
    if (s->finite)
        PTQ_TRY(sink->put(sink->ctx, "range", PTQ_DT_F32, 1, (int64_t[]){2}, range));
    return PTQ_OK;
}

static ptq_status minmax_read(void *state, const ptq_field_source *source)
{
    ptq_summary *s = state;
    const void *counts = NULL, *range = NULL;
    PTQ_TRY(ptq_field_get(source, "counts", PTQ_DT_U64, 1, (int64_t[]){4}, &counts));
    uint64_t c[4] = {0};
    float r[2] = {INFINITY, -INFINITY};
    if (counts)
        memcpy(c, counts, sizeof c);
    PTQ_TRY(ptq_field_get(source, "range", PTQ_DT_F32, 1, (int64_t[]){2}, &range));
    if (range)
        memcpy(r, range, sizeof r);
    if (!range != (c[0] == 0) || (range && !(isfinite(r[0]) && isfinite(r[1]) && r[0] <= r[1])))
        return ptq_fail(PTQ_ERR_DATA, "range [%g, %g] of %llu finite values", (double)r[0],
                        (double)r[1], (unsigned long long)c[0]);
    *s = (ptq_summary){c[0], c[1], c[2], c[3], r[0] + 0.0f, r[1] + 0.0f};
    return PTQ_OK;
}

const ptq_observer ptq_observer_minmax = {
    .name = "minmax",
    .summary = "minimum, maximum, counts of finite values, NaN and infinities",
    .size = sizeof(ptq_summary),
    .offset = offsetof(ptq_tensor_stats, summary),
    .init = minmax_init,
    .clear = minmax_init,
    .observe = minmax_observe,
    .merge = minmax_merge,
    .equal = minmax_equal,
    .write = minmax_write,
    .read = minmax_read,
};

static void samples_init(void *state)
{
    memset(state, 0, sizeof(ptq_sample_minmax));
}

void ptq_sample_minmax_add(ptq_sample_minmax *s, const ptq_summary *sample)
{
    s->samples++;
    if (sample->finite) {
        s->finite++;
        ptq_exact_sum_add(&s->min, sample->min);
        ptq_exact_sum_add(&s->max, sample->max);
    }
}

static ptq_status samples_observe(void *state, ptq_sample *sample)
{
    ptq_sample_minmax_add(state, ptq_sample_summary(sample));
    return PTQ_OK;
}

static ptq_status samples_merge(void *dst, const void *src)
{
    ptq_sample_minmax *to = dst;
    const ptq_sample_minmax *from = src;
    to->samples += from->samples;
    to->finite += from->finite;
    ptq_exact_sum_merge(&to->min, &from->min);
    ptq_exact_sum_merge(&to->max, &from->max);
    return PTQ_OK;
}

static bool samples_equal(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(ptq_sample_minmax)) == 0; /* all members are 64-bit integers */
}

static ptq_status samples_write(const void *state, const ptq_field_sink *sink)
{
    const ptq_sample_minmax *s = state;
    uint64_t counts[2] = {s->samples, s->finite};
    uint64_t sums[2][PTQ_EXACT_SUM_LIMBS];
    memcpy(sums[0], s->min.limb, sizeof sums[0]);
    memcpy(sums[1], s->max.limb, sizeof sums[1]);
    int64_t dims[2] = {2, PTQ_EXACT_SUM_LIMBS};
    if (s->samples)
        PTQ_TRY(sink->put(sink->ctx, "samples", PTQ_DT_U64, 1, dims, counts));
    if (s->finite)
        PTQ_TRY(sink->put(sink->ctx, "sample_sums", PTQ_DT_U64, 2, dims, sums));
    return PTQ_OK;
}

static ptq_status samples_read(void *state, const ptq_field_source *source)
{
    ptq_sample_minmax *s = state;
    const void *counts = NULL, *sums = NULL;
    int64_t dims[2] = {2, PTQ_EXACT_SUM_LIMBS};
    uint64_t c[2] = {0};
    PTQ_TRY(ptq_field_get(source, "samples", PTQ_DT_U64, 1, dims, &counts));
    if (counts)
        memcpy(c, counts, sizeof c);
    PTQ_TRY(ptq_field_get(source, "sample_sums", PTQ_DT_U64, 2, dims, &sums));
    if (c[1] > c[0] || !sums != (c[1] == 0))
        return ptq_fail(PTQ_ERR_DATA, "samples: %llu with finite values of %llu",
                        (unsigned long long)c[1], (unsigned long long)c[0]);
    s->samples = c[0];
    s->finite = c[1];
    if (sums) {
        memcpy(s->min.limb, sums, sizeof s->min.limb);
        memcpy(s->max.limb, (const char *)sums + sizeof s->min.limb, sizeof s->max.limb);
    }
    return PTQ_OK;
}

const ptq_observer ptq_observer_sample_minmax = {
    .name = "sample_minmax",
    .summary = "exact sums of the samples' minima and maxima",
    .size = sizeof(ptq_sample_minmax),
    .offset = offsetof(ptq_tensor_stats, samples),
    .init = samples_init,
    .clear = samples_init,
    .observe = samples_observe,
    .merge = samples_merge,
    .equal = samples_equal,
    .write = samples_write,
    .read = samples_read,
};
