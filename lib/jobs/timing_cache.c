/* SPDX-License-Identifier: Apache-2.0 */
/* A text file: a title, the kind of device, the backend's lines. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/atomic_file.h"
#include "lib/jobs/engine.h"

static const char title[] = "ptq timing cache 1\nkind: ";

static ptq_status read_file(const char *path, char **out)
{
    enum { MOST = 64 << 20 };
    FILE *f = fopen(path, "rb");
    if (!f && errno == ENOENT) {
        *out = NULL;
        return PTQ_OK;
    }
    if (!f)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", path, strerror(errno));
    size_t n = 0, cap = 1 << 16;
    char *s = malloc(cap + 1);
    while (s) {
        n += fread(s + n, 1, cap - n, f);
        if (n < cap || cap >= MOST)
            break;
        cap *= 2;
        char *more = realloc(s, cap + 1);
        if (!more)
            free(s);
        s = more;
    }
    bool bad = ferror(f) != 0 || n >= MOST;
    fclose(f);
    if (!s)
        return ptq_fail_nomem();
    s[n] = '\0';
    if (bad || strlen(s) != n) {
        free(s);
        return ptq_fail(PTQ_ERR_DATA, "%s: is not a timing cache", path);
    }
    *out = s;
    return PTQ_OK;
}

ptq_status ptq_timing_cache_read(const char *path, const char *kind, char **text)
{
    char *all = NULL;
    size_t n = strlen(title), k = strlen(kind);
    PTQ_TRY(read_file(path, &all));
    if (!all) {
        *text = NULL;
        return PTQ_OK;
    }
    ptq_status s = PTQ_OK;
    if (strncmp(all, title, n) != 0)
        s = ptq_fail(PTQ_ERR_DATA, "%s: is not a timing cache of this version; name another file", path);
    else if (strncmp(all + n, kind, k) != 0 || all[n + k] != '\n')
        s = ptq_fail(PTQ_ERR_DATA, "%s: was measured on %.*s, this is %s; name another file", path,
                     (int)strcspn(all + n, "\n"), all + n, kind);
    if (s != PTQ_OK) {
        free(all);
        return s;
    }
    memmove(all, all + n + k + 1, strlen(all + n + k + 1) + 1);
    *text = all;
    return PTQ_OK;
}

ptq_status ptq_timing_cache_write(const char *path, const char *kind, const char *text)
{
    ptq_atomic_file *f;
    PTQ_TRY(ptq_atomic_open(path, true, &f));
    /* errors stick until the commit, which tells them */
    ptq_atomic_write(f, title, strlen(title));
    ptq_atomic_write(f, kind, strlen(kind));
    ptq_atomic_write(f, "\n", 1);
    ptq_atomic_write(f, text, strlen(text));
    return ptq_atomic_commit(f);
}
