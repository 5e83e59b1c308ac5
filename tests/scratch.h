/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary folder for tests that need files. As a checked fixture:
 *   tcase_add_checked_fixture(t, scratch_make, scratch_remove); */
#ifndef PTQ_TESTS_SCRATCH_H
#define PTQ_TESTS_SCRATCH_H

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit.h"

static char scratch_dir[64];

static inline void scratch_make(void)
{
    strcpy(scratch_dir, "/tmp/ptq-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(scratch_dir));
}

/* The path of a name in the folder; the last eight live at once. */
static inline const char *scratch_at(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", scratch_dir, name);
    return p;
}

static inline const char *scratch_put(const char *name, const void *data, size_t n)
{
    const char *p = scratch_at(name);
    FILE *f = fopen(p, "wb");
    ck_assert(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
    return p;
}

static inline const char *scratch_text(const char *name, const char *text)
{
    return scratch_put(name, text, strlen(text));
}

static inline bool scratch_is_entry(const struct dirent *e)
{
    return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static inline int scratch_entries(void)
{
    int n = 0;
    DIR *d = opendir(scratch_dir);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));)
        n += scratch_is_entry(e);
    closedir(d);
    return n;
}

/* Links are removed, not followed: unlink fails on folders alone. */
static inline void scratch_empty(const char *path)
{
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) {
        char p[512];
        if (!scratch_is_entry(e))
            continue;
        snprintf(p, sizeof p, "%.250s/%.250s", path, e->d_name);
        if (unlink(p) != 0) {
            scratch_empty(p);
            rmdir(p);
        }
    }
    closedir(d);
}

static inline void scratch_remove(void)
{
    scratch_empty(scratch_dir);
    ck_assert_int_eq(rmdir(scratch_dir), 0);
}

#endif
