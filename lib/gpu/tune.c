/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/gpu/tune.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"

/* What the time of a product depends on. */
enum { M, N, KPAD, C, IN_H, IN_W, OUT_H, OUT_W, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, DIL_H, DIL_W, ZX, SIGNED,
       FLOAT_OUT, PADDED, RESIDUAL, TAIL, NEAR, NKEY };

typedef struct entry {
    int64_t key[NKEY];
    const ptq_k_gemm_row *row;
    float us; /* 0: not measured */
} entry;

struct ptq_gpu_tuner {
    ptq_arena *arena;
    PTQ_VEC(entry) entries; /* by key */
    bool frozen;
    pthread_mutex_t lock;
};

ptq_status ptq_gpu_tuner_new(ptq_gpu_tuner **out)
{
    ptq_gpu_tuner *t = ptq_calloc(1, sizeof *t);
    if (!t || !(t->arena = ptq_arena_new())) {
        free(t);
        return ptq_fail_nomem();
    }
    pthread_mutex_init(&t->lock, NULL);
    *out = t;
    return PTQ_OK;
}

void ptq_gpu_tuner_free(ptq_gpu_tuner *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    ptq_arena_free(t->arena);
    free(t);
}

/* The kind of float operations behind the product; 0: none. A GELU with a factor, or whose codes end above the least
 * GELU, has no row but those for all ends (tail.cuh, fast_tail.cuh). */
static int64_t tail_of(const ptq_k_gemm *a)
{
    const ptq_k_tail *t = &a->tail;
    int fast = 64 * (t->fast_mult != NULL) + 128 * (t->add_half != 0) + 256 * (t->y_half != 0);
    bool odd = t->gelu && !(t->factor == 1.0f && (float)(a->zy - a->lo) * t->s > 0.18f);
    return t->on ? 1 + 2 * (t->codes != 0) + 4 * (t->add != NULL) + 8 * t->gelu + fast + 512 * odd : 0;
}

static void key_of(const ptq_k_gemm *a, int64_t *k)
{
    const int64_t key[NKEY] = {
        [M] = a->m, [N] = a->n, [KPAD] = a->kpad, [C] = a->c, [IN_H] = a->in_h, [IN_W] = a->in_w, [OUT_H] = a->out_h,
        [OUT_W] = a->out_w, [KERNEL_H] = a->kernel_h, [KERNEL_W] = a->kernel_w, [STRIDE_H] = a->stride_h,
        [STRIDE_W] = a->stride_w, [DIL_H] = a->dil_h, [DIL_W] = a->dil_w, [ZX] = a->zx != 0, /* some rows need 0 */
        [SIGNED] = a->x_signed, [FLOAT_OUT] = a->float_out, [PADDED] = a->padded,
        [RESIDUAL] = a->residual.kind, [TAIL] = tail_of(a), [NEAR] = ptq_k_gemm_ends_near(a)};
    memcpy(k, key, sizeof key);
}

static int compare(const int64_t *a, const int64_t *b)
{
    for (int i = 0; i < NKEY; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

/* Index of the first entry that is not below the key. */
static size_t lower(const ptq_gpu_tuner *t, const int64_t *key)
{
    size_t from = 0, to = t->entries.n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (compare(t->entries.v[mid].key, key) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static ptq_status put(ptq_gpu_tuner *t, const entry *e)
{
    size_t at = lower(t, e->key);
    if (at < t->entries.n && compare(t->entries.v[at].key, e->key) == 0) {
        t->entries.v[at] = *e;
        return PTQ_OK;
    }
    if (!PTQ_VEC_PUSH(t->arena, &t->entries, *e))
        return ptq_fail_nomem();
    memmove(&t->entries.v[at + 1], &t->entries.v[at], (t->entries.n - 1 - at) * sizeof *e);
    t->entries.v[at] = *e;
    return PTQ_OK;
}

/* ---- choosing ---- */

typedef struct work {
    const ptq_k_gemm_row *row;
    const ptq_k_gemm *a;
} work;

static ptq_status run_row(ptq_dev *d, const void *arg)
{
    const work *w = arg;
    return w->row->run(d, w->a);
}

/* Microseconds of one call after a first one, with what it takes to launch it. */
static ptq_status once(ptq_dev *d, const work *w, float *us)
{
    enum { CALLS = 3 };
    void *from = NULL, *to = NULL;
    ptq_status s = PTQ_OK;
    for (int i = 0; i < CALLS && s == PTQ_OK; i++) {
        double seconds = 0.0;
        s = ptq_dev_mark(d, &from);
        s = s == PTQ_OK ? run_row(d, w) : s;
        s = s == PTQ_OK ? ptq_dev_mark(d, &to) : s;
        s = s == PTQ_OK ? ptq_dev_between(d, from, to, &seconds) : s;
        if (i == 1 || (i > 1 && 1e6f * (float)seconds < *us)) /* the first one warms up */
            *us = 1e6f * (float)seconds;
    }
    ptq_dev_unmark(d, from);
    ptq_dev_unmark(d, to);
    return s;
}

/* What takes twice the best time in one call, beyond the LAUNCHES microseconds that launching may take, is not called
 * fifty times more: *us is that of the one call. */
static ptq_status time_row(ptq_dev *d, const work *w, const entry *best, float *us)
{
    enum { LAUNCHES = 50 };
    if (best->row) {
        PTQ_TRY(once(d, w, us));
        if (*us > 2.0f * best->us + LAUNCHES)
            return PTQ_OK;
    }
    return ptq_dev_time(d, run_row, w, 5, us);
}

/* A row that fails (it may need memory beside the operands) leaves the product to the others, if the device works. */
static ptq_status measure(ptq_dev *d, const ptq_k_gemm *a, entry *e)
{
    ptq_status failed = PTQ_OK;
    for (int i = 0; ptq_k_gemm_at(i); i++) {
        work w = {ptq_k_gemm_at(i), a};
        float us = 0.0f;
        if (!w.row->supports(d, a))
            continue;
        ptq_status s = time_row(d, &w, e, &us);
        if (s != PTQ_OK) {
            PTQ_TRY(ptq_dev_sync(d));
            failed = s;
        } else if (!e->row || us < e->us) {
            e->row = w.row;
            e->us = us;
        }
    }
    return e->row ? PTQ_OK : failed;
}

/* The choice of the same product with the nearest number of rows, where it can run this one too. */
static const ptq_k_gemm_row *nearest(const ptq_gpu_tuner *t, const ptq_dev *d, const ptq_k_gemm *a, const int64_t *key)
{
    static const int same[] = {N, KPAD, C, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, DIL_H, DIL_W, SIGNED, FLOAT_OUT,
                               RESIDUAL, TAIL, NEAR};
    const ptq_k_gemm_row *best = NULL;
    int64_t least = 0;
    for (size_t i = 0; i < t->entries.n; i++) {
        const entry *e = &t->entries.v[i];
        int64_t away = e->key[M] < key[M] ? key[M] - e->key[M] : e->key[M] - key[M];
        bool fits = !best || away < least;
        for (size_t k = 0; k < PTQ_COUNT(same) && fits; k++)
            fits = e->key[same[k]] == key[same[k]];
        if (!fits || !e->row->supports(d, a))
            continue;
        best = e->row;
        least = away;
    }
    return best;
}

static ptq_status choose(ptq_gpu_tuner *t, ptq_dev *d, const ptq_k_gemm *a, const ptq_k_gemm_row **out)
{
    const char *forced = getenv("PTQ_GPU_GEMM"), *tune = getenv("PTQ_GPU_TUNE");
    bool force = forced && *forced;
    entry e = {.row = NULL};
    key_of(a, e.key);
    size_t at = lower(t, e.key);
    bool known = at < t->entries.n && compare(t->entries.v[at].key, e.key) == 0;
    if (known && !force && t->entries.v[at].row->supports(d, a)) {
        *out = t->entries.v[at].row;
        return PTQ_OK;
    }
    if (!force && t->frozen)
        e.row = nearest(t, d, a, e.key);
    if (!e.row && (force || t->frozen || (tune && strcmp(tune, "0") == 0)))
        e.row = ptq_k_gemm_choose(d, a);
    else if (!e.row)
        PTQ_TRY(measure(d, a, &e));
    if (!e.row)
        return ptq_fail(PTQ_ERR_INTERNAL, "no kernel for a product of %lld x %d x %d", (long long)a->m, a->n, a->kpad);
    *out = e.row;
    return put(t, &e);
}

ptq_status ptq_gpu_tuner_choose(ptq_gpu_tuner *t, ptq_dev *d, const ptq_k_gemm *a, const ptq_k_gemm_row **out)
{
    pthread_mutex_lock(&t->lock);
    ptq_status s = choose(t, d, a, out);
    pthread_mutex_unlock(&t->lock);
    if (s == PTQ_OK)
        ptq_dev_name(d, (*out)->name);
    return s;
}

/* ---- as text ---- */

ptq_status ptq_gpu_tuner_write(ptq_gpu_tuner *t, char **text)
{
    enum { LINE = 24 * NKEY + 128 };
    pthread_mutex_lock(&t->lock);
    size_t cap = (t->entries.n + 1) * LINE, at = 0;
    char *s = malloc(cap);
    for (size_t i = 0; s && i < t->entries.n; i++) {
        const entry *e = &t->entries.v[i];
        if (e->us <= 0.0f)
            continue;
        at += (size_t)snprintf(s + at, cap - at, "gemm");
        for (int k = 0; k < NKEY; k++)
            at += (size_t)snprintf(s + at, cap - at, " %lld", (long long)e->key[k]);
        at += (size_t)snprintf(s + at, cap - at, " %.60s %.3f\n", e->row->name, (double)e->us);
    }
    pthread_mutex_unlock(&t->lock);
    if (!s)
        return ptq_fail_nomem();
    s[at] = '\0';
    *text = s;
    return PTQ_OK;
}

/* One line; false where it is not a choice that this build can make. Numbers of a shape are never negative. */
static bool read_line(const char *line, entry *e)
{
    char row[64];
    int used = 0;
    if (strncmp(line, "gemm ", 5) != 0)
        return false;
    line += 5;
    for (int k = 0; k < NKEY; k++) {
        char *end;
        e->key[k] = strtoll(line, &end, 10);
        if (end == line || *end != ' ' || e->key[k] < 0)
            return false;
        line = end;
    }
    if (sscanf(line, " %63s %f%n", row, &e->us, &used) != 2 || line[used] || !(e->us > 0.0f))
        return false;
    for (int i = 0; ptq_k_gemm_at(i); i++)
        if (strcmp(ptq_k_gemm_at(i)->name, row) == 0) {
            e->row = ptq_k_gemm_at(i);
            return true;
        }
    return false;
}

ptq_status ptq_gpu_tuner_read(ptq_gpu_tuner *t, const char *text, bool frozen)
{
    ptq_status s = PTQ_OK;
    pthread_mutex_lock(&t->lock);
    t->frozen = frozen;
    while (text && *text && s == PTQ_OK) {
        char line[1024];
        size_t n = strcspn(text, "\n");
        entry e = {.row = NULL};
        snprintf(line, sizeof line, "%.*s", (int)(n < sizeof line ? n : sizeof line - 1), text);
        if (read_line(line, &e))
            s = put(t, &e);
        text += n + (text[n] == '\n');
    }
    pthread_mutex_unlock(&t->lock);
    return s;
}
