/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target without a fuzzer: every file of its corpus as it is, then with a fixed
 * sequence of random damage, so that `make check` finds the same under any compiler.
 *
 * usage: fuzz_NAME [FILE...]     without files: all of $srcdir/fuzz/corpus/NAME */
#include <dirent.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROUNDS = 500, MAX_FILES = 1000, MAX_SIZE = 1 << 20 };

/* A few bytes overwritten, a piece moved, or the end cut off; returns the new size. */
static size_t damage(ptq_rng *r, uint8_t *p, size_t n)
{
    uint32_t size = (uint32_t)n;
    switch (ptq_rng_below(r, 4)) {
    case 0:
        return ptq_rng_below(r, size + 1);
    case 1: {
        uint32_t from = ptq_rng_below(r, size), to = ptq_rng_below(r, size);
        memmove(p + to, p + from, size - (from > to ? from : to));
        return n;
    }
    default:
        for (uint32_t k = 1 + ptq_rng_below(r, 4); k > 0; k--)
            p[ptq_rng_below(r, size)] = (uint8_t)ptq_rng_below(r, 256);
        return n;
    }
}

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(MAX_SIZE), *copy = malloc(MAX_SIZE);
    if (!f || !data || !copy) {
        perror(path);
        return 1;
    }
    size_t n = fread(data, 1, MAX_SIZE, f);
    fclose(f);
    LLVMFuzzerTestOneInput(data, n);
    ptq_rng r;
    ptq_rng_seed(&r, n);
    for (int i = 0; i < ROUNDS && n > 0 && n <= 16384; i++) {
        memcpy(copy, data, n);
        size_t m = damage(&r, copy, n);
        uint8_t *exact = malloc(m ? m : 1); /* so that a sanitizer sees a read past the end */
        if (!exact)
            return 1;
        memcpy(exact, copy, m);
        LLVMFuzzerTestOneInput(exact, m);
        free(exact);
    }
    free(data);
    free(copy);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int run_corpus(const char *dir)
{
    static char *names[MAX_FILES];
    int n = 0, bad = 0;
    DIR *d = opendir(dir);
    if (!d) {
        perror(dir);
        return 1;
    }
    for (struct dirent *e; n < MAX_FILES && (e = readdir(d));)
        if (e->d_name[0] != '.')
            names[n++] = strdup(e->d_name);
    closedir(d);
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 0; i < n; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        bad |= run_file(path);
        free(names[i]);
    }
    printf("%d files, %d rounds of damage each\n", n, ROUNDS);
    return bad || n == 0;
}

int main(int argc, char **argv)
{
    int bad = 0;
    for (int i = 1; i < argc; i++)
        bad |= run_file(argv[i]);
    if (argc > 1)
        return bad;
    const char *src = getenv("srcdir");
    const char *name = basename(argv[0]);
    name = strncmp(name, "lt-", 3) == 0 ? name + 3 : name;
    name = strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name;
    char dir[1024];
    snprintf(dir, sizeof dir, "%s/fuzz/corpus/%s", src ? src : ".", name);
    return run_corpus(dir);
}
