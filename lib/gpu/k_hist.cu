/* SPDX-License-Identifier: Apache-2.0 */
/* Counts of float values for calibration: the specification, one thread per part of a run, and for
 * CUDA one warp per part with counters in shared memory. Integers only, so that neither order nor
 * rounding of the device matters. */
#include "lib/gpu/kernels_hist.h"
#include "lib/gpu/launch.h"

#ifdef __CUDACC__
#define ADD_TO(p, v) atomicAdd(p, v)
#define OR_TO(p, v) atomicOr(p, v)
#define MAX_TO(p, v) atomicMax(p, v)
#else
#define ADD_TO(p, v) (*(p) += (v))
#define OR_TO(p, v) (*(p) |= (v))
#define MAX_TO(p, v) (*(p) = *(p) < (v) ? (v) : *(p))
#endif

/* Integers in the order of the floats; those of finite values lie between FIRST and LAST. */
#define FIRST 0x00800000u
#define LAST 0xff7fffffu
PTQ_DEVICE uint32_t order_of(uint32_t bits)
{
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

PTQ_DEVICE void raise_to(uint32_t *at, uint32_t v)
{
    if (*(volatile uint32_t *)at < v) /* what is read may be old, and then lower */
        MAX_TO(at, v);
}

PTQ_DEVICE void widen(ptq_k_extremes *e, ptq_k_extremes by)
{
    raise_to(&e->max, by.max);
    raise_to(&e->min, by.min);
}

/* A finite value other than zero. */
PTQ_DEVICE void count_bin(const ptq_k_hist *a, uint32_t bits)
{
    uint32_t octave = bits >> 23, bit = 1u << octave % 32;
    ADD_TO(&a->counts[bits >> PTQ_K_HIST_SHIFT], 1u);
    if (!(*(volatile uint32_t *)&a->head->octaves[octave / 32] & bit))
        OR_TO(&a->head->octaves[octave / 32], bit);
}

PTQ_DEVICE void count_nonfinite(ptq_k_hist_sample *s, uint32_t bits)
{
    if (bits << 9)
        ADD_TO(&s->nan, 1u);
    else if (bits >> 31)
        ADD_TO(&s->neg_inf, 1u);
    else
        ADD_TO(&s->pos_inf, 1u);
}

typedef struct hist_part {
    const float *x;
    int64_t n, channel, sample;
} hist_part;

PTQ_DEVICE hist_part part_of(const ptq_k_hist *a, int64_t i)
{
    hist_part p;
    int64_t run = i / a->parts, at = i % a->parts * a->part, row = run / a->channels;
    p.x = a->x + run * a->inner + at;
    p.n = a->inner - at < a->part ? a->inner - at : a->part;
    p.channel = run % a->channels;
    p.sample = row / a->outer;
    return p;
}

PTQ_KERNEL(hist, ptq_k_hist a)
{
    PTQ_EACH(i, a.samples * a.outer * a.channels * a.parts)
    {
        hist_part p = part_of(&a, i);
        ptq_k_extremes e = {0, 0};
        unsigned long long zeros = 0;
        for (int64_t j = 0; j < p.n; j++) {
            uint32_t bits = ptq_float_bits(p.x[j]), order = order_of(bits);
            if (order < FIRST || order > LAST) {
                count_nonfinite(&a.sample[p.sample], bits);
                continue;
            }
            e.max = order > e.max ? order : e.max;
            e.min = ~order > e.min ? ~order : e.min;
            if (bits << 1)
                count_bin(&a, bits);
            else
                zeros++;
        }
        if (zeros)
            ADD_TO(&a.head->zeros, zeros);
        widen(&a.sample[p.sample].finite, e);
        if (a.channel)
            widen(&a.channel[p.channel], e);
    }
}

#ifdef __CUDACC__
#include "lib/gpu/k_hist.cuh"
#endif

ptq_status ptq_k_run_hist(ptq_dev *d, const ptq_k_hist *a)
{
    int64_t parts = a->samples * a->outer * a->channels * a->parts;
#ifdef __CUDACC__
    if (hist_warps_fit(parts))
        return hist_warps_run(d, a, parts);
#endif
    return PTQ_LAUNCH(d, hist, parts, *a);
}
