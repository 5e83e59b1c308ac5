/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/reduce.h"

#include <stdlib.h>
#include <string.h>

/* Named arrays one behind another: a head, then its data, on multiples of eight bytes. */
typedef struct head {
    char name[40];
    int32_t dtype, rank;
    int64_t dims[PTQ_MAX_RANK];
    uint64_t nbytes;
} head;

typedef struct bytes {
    char *p;
    uint64_t n, cap;
} bytes;

static size_t padded(size_t n)
{
    return (n + 7) / 8 * 8;
}

static ptq_status put(void *ctx, const char *name, ptq_dtype dtype, int rank, const int64_t *dims, const void *data)
{
    bytes *b = ctx;
    head h = {.dtype = dtype, .rank = rank};
    size_t nbytes;
    if (strlen(name) >= sizeof h.name || !ptq_tensor_nbytes(dtype, rank, dims, &nbytes))
        return ptq_fail(PTQ_ERR_INTERNAL, "statistics: array %s cannot be sent", name);
    strcpy(h.name, name);
    if (rank > 0)
        memcpy(h.dims, dims, (size_t)rank * sizeof *dims);
    h.nbytes = nbytes;
    const size_t need = b->n + sizeof h + padded(nbytes);
    if (need > b->cap) {
        char *more = realloc(b->p, 2 * need);
        if (!more)
            return ptq_fail_nomem();
        b->p = more;
        b->cap = 2 * need;
    }
    memcpy(b->p + b->n, &h, sizeof h);
    memcpy(b->p + b->n + sizeof h, data, nbytes);
    memset(b->p + b->n + sizeof h + nbytes, 0, padded(nbytes) - nbytes);
    b->n = need;
    return PTQ_OK;
}

static ptq_status get(void *ctx, const char *name, ptq_dtype dtype, int *rank, int64_t dims[PTQ_MAX_RANK],
                      const void **data)
{
    const bytes *b = ctx;
    *data = NULL;
    for (size_t at = 0; at + sizeof(head) <= b->n;) {
        head h;
        memcpy(&h, b->p + at, sizeof h);
        at += sizeof h;
        if (strcmp(h.name, name) == 0) {
            if (h.dtype != (int32_t)dtype)
                return ptq_fail(PTQ_ERR_INTERNAL, "statistics: array %s arrived with another type", name);
            *rank = h.rank;
            memcpy(dims, h.dims, sizeof h.dims);
            *data = b->p + at;
            return PTQ_OK;
        }
        at += padded(h.nbytes);
    }
    return PTQ_OK;
}

static ptq_status pack(const ptq_tensor_stats *s, bytes *b)
{
    b->n = 0;
    return ptq_stats_write(s, &(ptq_field_sink){put, b});
}

/* Room for as many bytes as were announced. */
static ptq_status make_room(bytes *b)
{
    if (b->n <= b->cap)
        return PTQ_OK;
    char *more = realloc(b->p, b->n);
    if (!more)
        return ptq_fail_nomem();
    b->p = more;
    b->cap = b->n;
    return PTQ_OK;
}

static ptq_status unpack(bytes *b, const char *name, ptq_dtype dtype, ptq_tensor_stats **out)
{
    PTQ_TRY(ptq_stats_new(name, dtype, out));
    ptq_status s = ptq_stats_read(*out, &(ptq_field_source){get, b});
    if (s != PTQ_OK)
        ptq_stats_free(*out);
    return s;
}

static ptq_status merge_from(const ptq_team *t, int rank, ptq_tensor_stats *total, bytes *b)
{
    ptq_tensor_stats *part;
    PTQ_TRY(t->receive(t->ctx, rank, &b->n, sizeof b->n));
    PTQ_TRY(make_room(b));
    PTQ_TRY(t->receive(t->ctx, rank, b->p, b->n));
    PTQ_TRY(unpack(b, total->name, total->dtype, &part));
    ptq_status s = ptq_stats_merge(total, part);
    ptq_stats_free(part);
    return s;
}

static ptq_status reduce_tensor(const ptq_team *t, ptq_tensor_stats **s, bytes *b)
{
    ptq_tensor_stats *sum;
    if (t->rank > 0) {
        PTQ_TRY(pack(*s, b));
        PTQ_TRY(t->send(t->ctx, 0, &b->n, sizeof b->n));
        PTQ_TRY(t->send(t->ctx, 0, b->p, b->n));
    }
    for (int r = 1; t->rank == 0 && r < t->ranks; r++)
        PTQ_TRY(merge_from(t, r, *s, b));
    if (t->rank == 0)
        PTQ_TRY(pack(*s, b));
    PTQ_TRY(ptq_team_broadcast(t, 0, &b->n, sizeof b->n));
    PTQ_TRY(make_room(b));
    PTQ_TRY(ptq_team_broadcast(t, 0, b->p, b->n));
    if (t->rank == 0)
        return PTQ_OK;
    PTQ_TRY(unpack(b, (*s)->name, (*s)->dtype, &sum));
    ptq_stats_free(*s);
    *s = sum;
    return PTQ_OK;
}

/* Bits that are set on any rank. */
static ptq_status reduce_bits(const ptq_team *t, uint64_t *bits, size_t n, uint64_t *other)
{
    if (t->rank > 0)
        PTQ_TRY(t->send(t->ctx, 0, bits, n * sizeof *bits));
    for (int r = 1; t->rank == 0 && r < t->ranks; r++) {
        PTQ_TRY(t->receive(t->ctx, r, other, n * sizeof *bits));
        for (size_t i = 0; i < n; i++)
            bits[i] |= other[i];
    }
    return ptq_team_broadcast(t, 0, bits, n * sizeof *bits);
}

ptq_status ptq_statistics_reduce(const ptq_team *team, ptq_statistics *s)
{
    bytes b = {0};
    const size_t words = s->total / 64 + 1;
    if (ptq_team_ranks(team) == 1)
        return PTQ_OK;
    uint64_t *other = ptq_calloc(words, sizeof *other);
    ptq_status st = other ? reduce_bits(team, s->done, words, other) : ptq_fail_nomem();
    if (st == PTQ_OK)
        st = reduce_bits(team, s->bad, words, other);
    for (size_t i = 0; i < s->ntensors && st == PTQ_OK; i++)
        st = reduce_tensor(team, &s->tensors[i], &b);
    free(other);
    free(b.p);
    return st;
}
