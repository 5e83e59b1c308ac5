/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"

bool ptq_mul_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

bool ptq_add_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

void *ptq_calloc(size_t n, size_t size)
{
    return calloc(n ? n : 1, size ? size : 1);
}

void *ptq_alloc_aligned(size_t nbytes)
{
    size_t n;
    if (!ptq_add_size(nbytes, 63, &n))
        return NULL;
    n &= ~(size_t)63;
    return aligned_alloc(64, n ? n : 64);
}

/* An arena is a list of blocks; big requests get a block of their own. */
typedef struct block {
    struct block *next;
    size_t used, cap;
    _Alignas(16) unsigned char data[];
} block;

struct ptq_arena {
    block *head;
    size_t bytes;
};

enum { ARENA_BLOCK = 64 * 1024 };

ptq_arena *ptq_arena_new(void)
{
    return calloc(1, sizeof(ptq_arena));
}

void ptq_arena_free(ptq_arena *a)
{
    if (!a)
        return;
    for (block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

void *ptq_arena_alloc(ptq_arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + 15) & ~(size_t)15;
    if (n == 0)
        n = 16;
    if (!a->head || a->head->cap - a->head->used < n) {
        size_t cap = n > ARENA_BLOCK ? n : (size_t)ARENA_BLOCK;
        block *b = calloc(1, sizeof(block) + cap);
        if (!b)
            return NULL;
        b->cap = cap;
        a->bytes += cap;
        /* Keep the block with the most free space first. */
        if (a->head && n > ARENA_BLOCK) {
            b->next = a->head->next;
            a->head->next = b;
            b->used = n;
            return b->data;
        }
        b->next = a->head;
        a->head = b;
    }
    void *p = a->head->data + a->head->used;
    a->head->used += n;
    return p;
}

void *ptq_arena_array(ptq_arena *a, size_t n, size_t size)
{
    size_t bytes;
    return ptq_mul_size(n, size, &bytes) ? ptq_arena_alloc(a, bytes) : NULL;
}

char *ptq_arena_strndup(ptq_arena *a, const char *s, size_t n)
{
    char *p = ptq_arena_alloc(a, n + 1);
    if (p)
        memcpy(p, s, n);
    return p;
}

char *ptq_arena_strdup(ptq_arena *a, const char *s)
{
    return ptq_arena_strndup(a, s, strlen(s));
}

char *ptq_arena_printf(ptq_arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return NULL;
    char *p = ptq_arena_alloc(a, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

size_t ptq_arena_bytes(const ptq_arena *a)
{
    return a->bytes;
}

bool ptq_vec_grow_(ptq_arena *a, void **v, size_t *cap, size_t need, size_t elem)
{
    size_t n = *cap ? *cap * 2 : 8;
    if (n < need)
        n = need;
    void *p = ptq_arena_array(a, n, elem);
    if (!p)
        return false;
    if (*cap)
        memcpy(p, *v, *cap * elem);
    *v = p;
    *cap = n;
    return true;
}

/* ---- string map ---- */

typedef struct slot {
    const char *key; /* NULL: never used; tombstone: deleted */
    void *value;
} slot;

struct ptq_map {
    slot *slots;
    size_t cap, used; /* used counts tombstones */
};

static const char tombstone[] = "\x7f";

static uint64_t hash_str(const char *s)
{
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

ptq_map *ptq_map_new(void)
{
    return calloc(1, sizeof(ptq_map));
}

void ptq_map_free(ptq_map *m)
{
    if (m) {
        free(m->slots);
        free(m);
    }
}

static slot *find_slot(const ptq_map *m, const char *key, bool insert)
{
    if (!m->cap)
        return NULL;
    slot *grave = NULL;
    for (size_t i = (size_t)hash_str(key) & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        slot *s = &m->slots[i];
        if (!s->key)
            return insert ? (grave ? grave : s) : NULL;
        if (s->key == tombstone)
            grave = grave ? grave : s;
        else if (strcmp(s->key, key) == 0)
            return s;
    }
}

static bool map_grow(ptq_map *m)
{
    ptq_map next = {.cap = m->cap ? m->cap * 2 : 64};
    next.slots = calloc(next.cap, sizeof(slot));
    if (!next.slots)
        return false;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key && m->slots[i].key != tombstone) {
            *find_slot(&next, m->slots[i].key, true) = m->slots[i];
            next.used++;
        }
    free(m->slots);
    *m = next;
    return true;
}

bool ptq_map_put(ptq_map *m, const char *key, void *value)
{
    if (m->used * 4 >= m->cap * 3 && !map_grow(m))
        return false;
    slot *s = find_slot(m, key, true);
    if (!s->key)
        m->used++;
    if (!s->key || s->key == tombstone)
        s->key = key;
    s->value = value;
    return true;
}

void *ptq_map_get(const ptq_map *m, const char *key)
{
    slot *s = find_slot(m, key, false);
    return s ? s->value : NULL;
}

void ptq_map_del(ptq_map *m, const char *key)
{
    slot *s = find_slot(m, key, false);
    if (s) {
        s->key = tombstone;
        s->value = NULL;
    }
}
