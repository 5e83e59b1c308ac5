/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sha2.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/core/core.h"

double ptq_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t edit_distance(const char *a, const char *b)
{
    enum { MAX = 128 };
    size_t row[MAX + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > MAX || m > MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diag = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diag + (a[i - 1] != b[j - 1]);
            diag = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *ptq_closest(const char *word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t best_d = strlen(word) / 2 + 1;
    for (size_t i = 0; i < n; i++) {
        size_t d = edit_distance(word, candidates[i]);
        if (d < best_d) {
            best_d = d;
            best = candidates[i];
        }
    }
    return best;
}

ptq_status ptq_fail_unknown(const char *name, const char *const *candidates, size_t n, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *near = ptq_closest(name, candidates, n);
    return near ? ptq_fail(PTQ_ERR_ARG, "%s; did you mean '%s'?", text, near) : ptq_fail(PTQ_ERR_ARG, "%s", text);
}

ptq_status ptq_find_name(const char *what, const char *name, const char *const *names, size_t n, size_t *index)
{
    char list[512] = "";
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0) {
            *index = i;
            return PTQ_OK;
        }
        if (at < sizeof list)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", names[i]);
    }
    return ptq_fail_unknown(name, names, n, "no %s '%s'; there are %s", what, name, list);
}

static bool match_class(const char **pattern, char c)
{
    const char *p = *pattern + 1;
    bool negate = *p == '!' || *p == '^', hit = false;
    if (negate)
        p++;
    for (bool first = true; *p && (first || *p != ']'); first = false, p++) {
        if (p[1] == '-' && p[2] && p[2] != ']') {
            hit |= c >= p[0] && c <= p[2];
            p += 2;
        } else {
            hit |= c == *p;
        }
    }
    *pattern = *p ? p + 1 : p;
    return hit != negate;
}

/* Iterative with one backtrack point, so that "*a*a*a*" cannot take exponential time. */
bool ptq_glob_match(const char *p, const char *s)
{
    const char *star = NULL, *resume = NULL;
    while (*s) {
        const char *next = p;
        if (*p == '*') {
            star = ++p;
            resume = s;
            continue;
        }
        if (*p == '?') {
            p++, s++;
        } else if (*p == '[' && match_class(&next, *s)) {
            p = next, s++;
        } else if (*p && *p != '[' && *p == *s) {
            p++, s++;
        } else if (star) {
            p = star;
            s = ++resume;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return *p == '\0';
}

static SHA2_CTX *context(ptq_sha256 *h)
{
    _Static_assert(sizeof(SHA2_CTX) <= sizeof h->state, "room for the state of libmd");
    return (SHA2_CTX *)(void *)h->state;
}

void ptq_sha256_start(ptq_sha256 *h)
{
    SHA256Init(context(h));
}

void ptq_sha256_add(ptq_sha256 *h, const void *data, size_t n)
{
    SHA256Update(context(h), data, n);
}

void ptq_sha256_end(ptq_sha256 *h, char hex[65])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256Final(digest, context(h));
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void ptq_sha256_hex(const void *data, size_t n, char hex[65])
{
    ptq_sha256 h;
    ptq_sha256_start(&h);
    ptq_sha256_add(&h, data, n);
    ptq_sha256_end(&h, hex);
}

ptq_status ptq_sha256_file(const char *path, char hex[65])
{
    ptq_sha256 h;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", path, strerror(errno));
    size_t cap = 1 << 16;
    unsigned char *buf = malloc(cap);
    if (!buf) {
        close(fd);
        return ptq_fail_nomem();
    }
    ptq_sha256_start(&h);
    ssize_t n;
    while ((n = read(fd, buf, cap)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        ptq_sha256_add(&h, buf, (size_t)n);
    }
    int e = errno;
    free(buf);
    close(fd);
    if (n < 0)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", path, strerror(e));
    ptq_sha256_end(&h, hex);
    return PTQ_OK;
}

void ptq_rng_seed(ptq_rng *r, uint64_t seed)
{
    r->s = seed * 0x9E3779B97F4A7C15u + 0xD1B54A32D192ED03u;
    if (!r->s)
        r->s = 1;
    ptq_rng_u64(r);
}

uint64_t ptq_rng_u64(ptq_rng *r)
{
    r->s ^= r->s >> 12;
    r->s ^= r->s << 25;
    r->s ^= r->s >> 27;
    return r->s * 0x2545F4914F6CDD1Du;
}

uint32_t ptq_rng_below(ptq_rng *r, uint32_t n)
{
    return (uint32_t)(((ptq_rng_u64(r) >> 32) * (uint64_t)n) >> 32);
}

float ptq_rng_uniform(ptq_rng *r)
{
    return (float)(ptq_rng_u64(r) >> 40) * 0x1p-24f;
}

float ptq_rng_normal(ptq_rng *r)
{
    /* Sum of twelve uniforms: no libm, so the same on every machine; tails end at 6. */
    float s = -6.0f;
    for (int i = 0; i < 12; i++)
        s += ptq_rng_uniform(r);
    return s;
}

/* ---- figures ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void ptq_sort(double *v, size_t n)
{
    if (n > 1)
        qsort(v, n, sizeof *v, by_value);
}

/* ---- files ---- */

static ptq_status read_all(int fd, size_t size, char **out)
{
    char *p = malloc(size + 1);
    size_t at = 0;
    ssize_t got = 1;
    if (!p)
        return ptq_fail_nomem();
    while (at < size && got > 0) {
        got = read(fd, p + at, size - at);
        at += got > 0 ? (size_t)got : 0;
    }
    if (at < size) {
        free(p);
        return ptq_fail(PTQ_ERR_IO, "cannot read");
    }
    p[size] = '\0';
    *out = p;
    return PTQ_OK;
}

ptq_status ptq_read_file(const char *path, size_t most, char **out, size_t *n)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", path, strerror(errno));
    ptq_status s = PTQ_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        s = ptq_fail(PTQ_ERR_IO, "is not a regular file");
    else if ((uintmax_t)st.st_size > most)
        s = ptq_fail(PTQ_ERR_IO, "is larger than %zu bytes", most);
    if (s == PTQ_OK)
        s = read_all(fd, (size_t)st.st_size, out);
    close(fd);
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "%s", path);
    *n = (size_t)st.st_size;
    return PTQ_OK;
}
