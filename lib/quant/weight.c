/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/weight.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/spill.h"
#include "lib/quant/weight_impl.h"

#define PTQ_WEIGHT(row) extern const ptq_weight_algo row;
#include "lib/quant/weights.def"
#undef PTQ_WEIGHT

static const ptq_weight_algo *const rows[] = {
#define PTQ_WEIGHT(row) &row,
#include "lib/quant/weights.def"
#undef PTQ_WEIGHT
};

const ptq_weight_algo *const *ptq_weight_algos(size_t *n)
{
    *n = PTQ_COUNT(rows);
    return rows;
}

ptq_status ptq_weight_find(const char *name, const ptq_weight_algo **out)
{
    const char *names[PTQ_COUNT(rows)];
    size_t i;
    for (i = 0; i < PTQ_COUNT(rows); i++)
        names[i] = rows[i]->name;
    PTQ_TRY(ptq_find_name("weight algorithm", name, names, PTQ_COUNT(rows), &i));
    *out = rows[i];
    return PTQ_OK;
}

ptq_channel ptq_weight_channel(const ptq_weight *w, ptq_weight_codes *q, int64_t c)
{
    ptq_channel ch = {.data = w->data, .codes = q->codes, .outer = 1, .inner = 1};
    for (int i = 0; i < w->rank; i++) {
        if (i < w->axis)
            ch.outer *= w->dims[i];
        else if (i > w->axis)
            ch.inner *= w->dims[i];
    }
    ch.stride = w->axis < 0 ? ch.inner : ch.inner * w->dims[w->axis];
    if (ch.stride == 0)
        ch.outer = 0;
    if (ch.outer > 0) {
        ch.data += c * ch.inner;
        ch.codes += c * ch.inner;
    }
    return ch;
}

void ptq_channel_range(const ptq_channel *ch, float *min, float *max)
{
    float lo = INFINITY, hi = -INFINITY;
    PTQ_CHANNEL_RUNS (ch, r) {
        for (int64_t i = 0; i < ch->inner; i++) {
            const float x = ch->data[r + i];
            lo = x < lo ? x : lo;
            hi = x > hi ? x : hi;
        }
    }
    *min = lo <= hi ? lo + 0.0f : 0.0f;
    *max = lo <= hi ? hi + 0.0f : 0.0f;
}

void ptq_search_scale(const ptq_scale_search *search, const ptq_channel *ch, const ptq_grid *grid, float amax,
                      float *scale)
{
    enum { STRIDE = 4 };
    double best = (double)INFINITY;
    int best_at = 0;
    for (int fine = 0; fine < 2 && amax > 0; fine++) {
        const int step = fine ? 1 : STRIDE, first = fine ? best_at - STRIDE + 1 : 0;
        const int last = fine ? best_at + STRIDE - 1 : search->last;
        for (int i = first; i <= last; i += step) {
            if (i < search->least)
                continue;
            const float s = search->scale(grid, amax, i);
            const double e = search->error(ch, grid, s);
            if (e < best) {
                best = e;
                best_at = i;
                *scale = s;
            }
        }
    }
}

static ptq_status check_weight(const ptq_weight *w, int64_t *n)
{
    if (!ptq_shape_elements(w->rank, w->dims, n) || w->axis >= w->rank)
        return ptq_fail(PTQ_ERR_ARG, "weight %s: rank %d, channel axis %d", w->name, w->rank,
                        w->axis);
    for (int64_t i = 0; i < *n; i++) {
        if (!isfinite(w->data[i]))
            return ptq_fail(PTQ_ERR_MODEL, "weight %s: %s at element %lld cannot be quantized",
                            w->name, isnan(w->data[i]) ? "NaN" : "infinity", (long long)i);
    }
    return PTQ_OK;
}

static float decode_one(const ptq_weight_codes *q, uint8_t code, int64_t c)
{
    if (q->table)
        return q->table[code] * q->scale[c];
    const int32_t v = q->dtype == PTQ_DT_U8 ? (int32_t)code : (int32_t)(int8_t)code;
    return (float)(v - q->zero_point[c]) * q->scale[c];
}

/* Writes the decoded values, unless out is NULL, and measures the error. Each channel is summed
 * alone, so that enlarging one does not touch the others' sums. The square of no float but 0 is
 * 0 in double: a channel without power is dead. */
static void decode(const ptq_weight *w, ptq_weight_codes *q, float *out)
{
    double error = 0, power = 0;
    q->dead = 0;
    for (int64_t c = 0; c < q->channels; c++) {
        const ptq_channel ch = ptq_weight_channel(w, q, c);
        double e = 0, p = 0;
        PTQ_CHANNEL_RUNS (&ch, r) {
            for (int64_t i = 0; i < ch.inner; i++) {
                const float y = decode_one(q, ch.codes[r + i], c);
                const double x = (double)ch.data[r + i], d = (double)y - x;
                e += d * d;
                p += x * x;
                if (out)
                    out[ch.data - w->data + r + i] = y;
            }
        }
        error += e;
        power += p;
        q->dead += p == 0;
    }
    q->mse = q->n ? error / (double)q->n : 0;
    q->power = q->n ? power / (double)q->n : 0;
}

void ptq_weight_measure(const ptq_weight *w, ptq_weight_codes *q)
{
    decode(w, q, NULL);
}

void ptq_weight_decode(const ptq_weight *w, const ptq_weight_codes *q, float *out)
{
    ptq_weight_codes copy = *q;
    decode(w, &copy, out);
}

void ptq_weight_codes_clear(ptq_weight_codes *q)
{
    if (!q->shared) {
        ptq_spill_free(q->codes);
        free(q->scale);
        free(q->zero_point);
        free(q->table);
    }
    memset(q, 0, sizeof *q);
}

/* Arrays for n codes of that many channels. */
static ptq_status alloc_codes(ptq_weight_codes *q, bool table)
{
    const size_t channels = q->channels ? (size_t)q->channels : 1;
    q->codes = ptq_spill_alloc(q->n ? (size_t)q->n : 1);
    q->scale = ptq_calloc(channels, sizeof *q->scale);
    q->zero_point = ptq_calloc(channels, sizeof *q->zero_point);
    q->table = table ? ptq_calloc(256, sizeof *q->table) : NULL;
    if (q->codes && q->scale && q->zero_point && (q->table || !table))
        return PTQ_OK;
    ptq_weight_codes_clear(q);
    return ptq_fail_nomem();
}

ptq_status ptq_weight_codes_own(ptq_weight_codes *q)
{
    const ptq_weight_codes old = *q;
    if (!q->shared)
        return PTQ_OK;
    q->shared = false;
    PTQ_TRY(alloc_codes(q, old.table != NULL));
    memcpy(q->codes, old.codes, (size_t)q->n);
    memcpy(q->scale, old.scale, (size_t)q->channels * sizeof *q->scale);
    memcpy(q->zero_point, old.zero_point, (size_t)q->channels * sizeof *q->zero_point);
    if (q->table)
        memcpy(q->table, old.table, 256 * sizeof *q->table);
    return PTQ_OK;
}

ptq_status ptq_weight_quantize(const ptq_weight_algo *algo, const ptq_weight *w,
                               const ptq_weight_options *options, ptq_weight_codes *out)
{
    const ptq_weight_options o = options ? *options : (ptq_weight_options){0};
    const ptq_dtype linear = o.dtype ? o.dtype : PTQ_DT_S8;
    ptq_weight_codes q = {.dtype = algo->table ? PTQ_DT_U8 : algo->steps ? PTQ_DT_S8 : linear,
                          .axis = w->axis < 0 ? -1 : w->axis};
    if (linear != PTQ_DT_S8 && linear != PTQ_DT_U8)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "weight %s: quantization to %s", w->name,
                        ptq_dtype_name(linear));
    ptq_grid grid;
    PTQ_TRY(ptq_grid_make(linear, algo->symmetric, o.reduced, &grid));
    grid.pow2 = o.pow2;
    PTQ_TRY(check_weight(w, &q.n));
    q.channels = w->axis < 0 ? 1 : w->dims[w->axis];
    PTQ_TRY(alloc_codes(&q, algo->table));
    if (algo->table)
        algo->levels(w, &q);
    for (int64_t c = 0; c < q.channels; c++) {
        algo->choose(w, algo->steps ? NULL : &grid, &q, c);
        algo->encode(w, &q, c);
    }
    ptq_weight_measure(w, &q);
    *out = q;
    return PTQ_OK;
}
