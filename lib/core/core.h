/* SPDX-License-Identifier: Apache-2.0 */
/* What every room may use: status text, checked sizes, arena, log, small helpers. */
#ifndef PTQ_CORE_CORE_H
#define PTQ_CORE_CORE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <ptq/status.h>
#include <ptq/types.h>

/* libptq-io uses these across the library border (lib/libptq.map, node PTQ_PRIVATE). */
#pragma GCC visibility push(default)

#define PTQ_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define PTQ_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PTQ_TRY(expr)                                                                              \
    do {                                                                                           \
        ptq_status ptq_try_ = (expr);                                                              \
        if (ptq_try_ != PTQ_OK)                                                                    \
            return ptq_try_;                                                                       \
    } while (0)

/* Sets this thread's error text and returns `status`, in one line, at the first place that
 * knows the exact cause. Callers forward the status and leave the text alone. */
ptq_status ptq_fail(ptq_status status, const char *fmt, ...) PTQ_PRINTF(2, 3);
/* For a layer that adds meaning (a file name, a node name): puts "prefix: " before the text. */
ptq_status ptq_fail_prefix(ptq_status status, const char *fmt, ...) PTQ_PRINTF(2, 3);
/* At the head of a public call: what must be given, and options that the caller began with their INIT. */
#define PTQ_NEEDS(p) PTQ_TRY((p) ? PTQ_OK : ptq_fail(PTQ_ERR_ARG, "%s: %s is NULL", __func__, #p))
#define PTQ_OPTIONS(o)                                                                             \
    PTQ_TRY(!(o) || (o)->size == sizeof *(o)                                                       \
                ? PTQ_OK                                                                           \
                : ptq_fail(PTQ_ERR_ARG, "%s: %s->size is %zu, not %zu: begin with the macro ..._INIT, and use a " \
                           "library of the version of the headers", __func__, #o, (o)->size, sizeof *(o)))
/* Out of memory; needs no memory itself. */
ptq_status ptq_fail_nomem(void);

void ptq_log(ptq_log_level level, const char *fmt, ...) PTQ_PRINTF(2, 3);

/* Checked size arithmetic: false on overflow, *out then untouched. */
bool ptq_mul_size(size_t a, size_t b, size_t *out);
bool ptq_add_size(size_t a, size_t b, size_t *out);
/* n objects of `size` bytes, zeroed; NULL on overflow or no memory. Free with free(). */
void *ptq_calloc(size_t n, size_t size);
/* 64-byte aligned, not zeroed, at least 64 bytes; free with free(). */
void *ptq_alloc_aligned(size_t nbytes);

/* Bytes and elements of a shape; false on negative dims or overflow of INT64_MAX / SIZE_MAX. */
bool ptq_shape_elements(int rank, const int64_t *dims, int64_t *out);
bool ptq_tensor_nbytes(ptq_dtype t, int rank, const int64_t *dims, size_t *out);
static inline int64_t ptq_tensor_elements(const ptq_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dims[i];
    return n;
}
/* Allocates data for dtype/rank/dims already set in *t (64-byte aligned, not zeroed). */
ptq_status ptq_tensor_alloc(ptq_tensor *t);
/* "[2,3,64,64]" into buf; returns buf. */
const char *ptq_shape_str(int rank, const int64_t *dims, char *buf, size_t n);

/* Arena: everything a loaded graph points to; freed as a whole. */
typedef struct ptq_arena ptq_arena;
ptq_arena *ptq_arena_new(void);
void ptq_arena_free(ptq_arena *a);
/* 16-byte aligned, zeroed; NULL when out of memory. n == 0 gives a valid unique pointer. */
void *ptq_arena_alloc(ptq_arena *a, size_t n);
void *ptq_arena_array(ptq_arena *a, size_t n, size_t size);
char *ptq_arena_strdup(ptq_arena *a, const char *s);
char *ptq_arena_strndup(ptq_arena *a, const char *s, size_t n);
char *ptq_arena_printf(ptq_arena *a, const char *fmt, ...) PTQ_PRINTF(2, 3);
size_t ptq_arena_bytes(const ptq_arena *a);

/* Growable array of pointers or integers living in an arena (old storage is left to it). */
#define PTQ_VEC(T)                                                                                 \
    struct {                                                                                       \
        T *v;                                                                                      \
        size_t n, cap;                                                                             \
    }
bool ptq_vec_grow_(ptq_arena *a, void **v, size_t *cap, size_t need, size_t elem);
/* false when out of memory. */
#define PTQ_VEC_PUSH(arena, vec, item)                                                             \
    ((((vec)->n < (vec)->cap) ||                                                                   \
      ptq_vec_grow_((arena), (void **)&(vec)->v, &(vec)->cap, (vec)->n + 1, sizeof(*(vec)->v)))    \
         ? ((vec)->v[(vec)->n++] = (item), true)                                                   \
         : false)

/* String -> pointer map (open addressing); keys are borrowed and must outlive the map. */
typedef struct ptq_map ptq_map;
ptq_map *ptq_map_new(void);
void ptq_map_free(ptq_map *m);
bool ptq_map_put(ptq_map *m, const char *key, void *value); /* replaces; false: no memory */
void *ptq_map_get(const ptq_map *m, const char *key);       /* NULL when absent */
void ptq_map_del(ptq_map *m, const char *key);

/* The candidate closest to `word` (edit distance <= len/2), for "did you mean"; or NULL. */
const char *ptq_closest(const char *word, const char *const *candidates, size_t n);
/* PTQ_ERR_ARG with the text, and the candidate that `name` may have been meant to be. */
ptq_status ptq_fail_unknown(const char *name, const char *const *candidates, size_t n, const char *fmt, ...)
    PTQ_PRINTF(4, 5);
/* Index of `name` in a table of names; PTQ_ERR_ARG "no WHAT 'NAME'" with what it may have meant. */
ptq_status ptq_find_name(const char *what, const char *name, const char *const *names, size_t n, size_t *index);
/* Shell pattern match of * ? [..] on names that may hold '/'. */
bool ptq_glob_match(const char *pattern, const char *name);

/* Smallest first; for figures without NaN. */
void ptq_sort(double *v, size_t n);

/* A whole regular file of at most `most` bytes, with a NUL behind; *out is malloc'ed. PTQ_ERR_IO names
 * the path. */
ptq_status ptq_read_file(const char *path, size_t most, char **out, size_t *n);

/* Monotonic seconds. */
double ptq_now(void);

/* SHA-256 of bytes that come in parts. */
typedef struct ptq_sha256 {
    uint64_t state[32]; /* the library's own */
} ptq_sha256;
void ptq_sha256_start(ptq_sha256 *h);
void ptq_sha256_add(ptq_sha256 *h, const void *data, size_t n);
void ptq_sha256_end(ptq_sha256 *h, char hex[65]); /* 64 lower-case hex digits and NUL */
/* SHA-256 of bytes or of a whole file. */
void ptq_sha256_hex(const void *data, size_t n, char hex[65]);
ptq_status ptq_sha256_file(const char *path, char hex[65]);

/* Small seeded generator (xorshift64*): same sequence on every machine. */
typedef struct ptq_rng {
    uint64_t s;
} ptq_rng;
void ptq_rng_seed(ptq_rng *r, uint64_t seed);
uint64_t ptq_rng_u64(ptq_rng *r);
uint32_t ptq_rng_below(ptq_rng *r, uint32_t n);
float ptq_rng_uniform(ptq_rng *r); /* [0,1) */
float ptq_rng_normal(ptq_rng *r);

#pragma GCC visibility pop

#endif
