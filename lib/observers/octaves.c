/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/observers/octaves.h"

#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

void ptq_octaves_clear(ptq_octaves *o)
{
    for (uint32_t i = 0; i < o->n; i++)
        free(o->v[i].counts);
    free(o->v);
    memset(o, 0, sizeof *o);
}

uint64_t ptq_octave_bits(const uint64_t *counts)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < PTQ_HIST_BINS; i++)
        bits |= counts[i];
    return bits;
}

/* Where the octave is, or would be. */
static uint32_t place_of(const ptq_octaves *o, int32_t id)
{
    uint32_t lo = 0, hi = o->n;
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        if (o->v[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const ptq_octave *ptq_octaves_find(const ptq_octaves *o, int32_t id)
{
    const uint32_t at = place_of(o, id);
    return at < o->n && o->v[at].id == id ? &o->v[at] : NULL;
}

/* to[i] += from[i]; the caller knows that the sums fit. */
#define ADD_LOOP(To, From)                                                                         \
    do {                                                                                           \
        To *restrict to_ = (To *)to;                                                               \
        const From *restrict from_ = (const From *)from;                                           \
        for (size_t i = 0; i < PTQ_HIST_BINS; i++)                                                 \
            to_[i] = (To)(to_[i] + (To)from_[i]);                                                  \
    } while (0)

static void add_wide(void *to, uint32_t width, const uint64_t *from)
{
    switch (width) {
    case 1: ADD_LOOP(uint8_t, uint64_t); break;
    case 2: ADD_LOOP(uint16_t, uint64_t); break;
    case 4: ADD_LOOP(uint32_t, uint64_t); break;
    default: ADD_LOOP(uint64_t, uint64_t); break;
    }
}

void ptq_octave_add_to(const ptq_octave *o, uint64_t *counts)
{
    void *to = counts;
    const void *from = o->counts;
    switch (o->width) {
    case 1: ADD_LOOP(uint64_t, uint8_t); break;
    case 2: ADD_LOOP(uint64_t, uint16_t); break;
    case 4: ADD_LOOP(uint64_t, uint32_t); break;
    default: ADD_LOOP(uint64_t, uint64_t); break;
    }
}

static uint64_t largest(uint32_t width)
{
    return UINT64_MAX >> (64 - 8 * width);
}

/* Room for counters up to bound + more. */
static ptq_status widen(ptq_octave *o, uint64_t more)
{
    uint64_t all[PTQ_HIST_BINS] = {0};
    uint32_t width = o->width;
    ptq_octave_add_to(o, all);
    o->bound = ptq_octave_bits(all); /* sums of bounds overestimate */
    while (width < 8 && more > largest(width) - o->bound)
        width *= 2;
    if (width == o->width)
        return PTQ_OK;
    void *counts = ptq_calloc(PTQ_HIST_BINS, width);
    if (!counts)
        return ptq_fail_nomem();
    add_wide(counts, width, all);
    free(o->counts);
    o->counts = counts;
    o->width = width;
    return PTQ_OK;
}

static ptq_status insert(ptq_octaves *o, uint32_t at, int32_t id)
{
    enum { GROW = 8 };
    if (o->n == o->capacity) {
        ptq_octave *v = realloc(o->v, (o->capacity + GROW) * sizeof *v);
        if (!v)
            return ptq_fail_nomem();
        o->v = v;
        o->capacity += GROW;
    }
    void *counts = ptq_calloc(PTQ_HIST_BINS, 1);
    if (!counts)
        return ptq_fail_nomem();
    memmove(o->v + at + 1, o->v + at, (o->n - at) * sizeof *o->v);
    o->v[at] = (ptq_octave){.id = id, .width = 1, .counts = counts};
    o->n++;
    return PTQ_OK;
}

/* The octave, with room for more counts, none of them beyond `bits`. */
static ptq_status room(ptq_octaves *o, int32_t id, uint64_t bits, ptq_octave **out)
{
    const uint32_t at = place_of(o, id);
    if (at == o->n || o->v[at].id != id)
        PTQ_TRY(insert(o, at, id));
    ptq_octave *v = &o->v[at];
    if (bits > largest(v->width) - v->bound)
        PTQ_TRY(widen(v, bits));
    v->bound = bits > UINT64_MAX - v->bound ? UINT64_MAX : v->bound + bits;
    *out = v;
    return PTQ_OK;
}

ptq_status ptq_octaves_add(ptq_octaves *o, int32_t id, const uint64_t *counts, uint64_t bits)
{
    ptq_octave *v;
    PTQ_TRY(room(o, id, bits, &v));
    add_wide(v->counts, v->width, counts);
    return PTQ_OK;
}

/* Most octaves hold rare values: few of these hold anything. */
enum { BLOCK = 16, BLOCKS = PTQ_HIST_BINS / BLOCK };

/* A bit for each block with a count; *bits: the counts' disjunction. */
static uint32_t blocks_of(const uint32_t *counts, uint32_t *bits)
{
    uint32_t blocks = 0;
#if defined(__SSE2__)
    __m128i all = _mm_setzero_si128();
    for (size_t b = 0; b < BLOCKS; b++) {
        const __m128i *v = (const __m128i *)(counts + b * BLOCK);
        const __m128i any = _mm_or_si128(_mm_or_si128(_mm_loadu_si128(v), _mm_loadu_si128(v + 1)),
                                         _mm_or_si128(_mm_loadu_si128(v + 2), _mm_loadu_si128(v + 3)));
        const int zeros = _mm_movemask_epi8(_mm_cmpeq_epi32(any, _mm_setzero_si128()));
        all = _mm_or_si128(all, any);
        blocks |= (uint32_t)(zeros != 0xffff) << b;
    }
    uint32_t lane[4];
    memcpy(lane, &all, sizeof lane);
    *bits = lane[0] | lane[1] | lane[2] | lane[3];
#else
    *bits = 0;
    for (size_t b = 0; b < BLOCKS; b++) {
        uint32_t any = 0;
        for (size_t i = 0; i < BLOCK; i++)
            any |= counts[b * BLOCK + i];
        *bits |= any;
        blocks |= (uint32_t)(any != 0) << b;
    }
#endif
    return blocks;
}

#define ADD_BLOCK(To)                                                                              \
    do {                                                                                           \
        To *restrict to_ = (To *)o->counts + at;                                                   \
        for (size_t i = 0; i < BLOCK; i++)                                                         \
            to_[i] = (To)(to_[i] + (To)from[i]);                                                   \
    } while (0)

/* The sums are known to fit. */
static void take_block(const ptq_octave *o, size_t at, uint32_t *restrict from)
{
    switch (o->width) {
    case 1: ADD_BLOCK(uint8_t); break;
    case 2: ADD_BLOCK(uint16_t); break;
    case 4: ADD_BLOCK(uint32_t); break;
    default: ADD_BLOCK(uint64_t); break;
    }
    memset(from, 0, BLOCK * sizeof *from);
}

ptq_status ptq_octaves_take(ptq_octaves *o, int32_t id, uint32_t *counts)
{
    uint32_t bits;
    ptq_octave *v;
    const uint32_t blocks = blocks_of(counts, &bits);
    if (!blocks)
        return PTQ_OK;
    PTQ_TRY(room(o, id, bits, &v));
    for (uint32_t left = blocks; left; left &= left - 1) {
        const size_t at = (size_t)__builtin_ctz(left) * BLOCK;
        take_block(v, at, counts + at);
    }
    return PTQ_OK;
}
