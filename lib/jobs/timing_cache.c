/* SPDX-License-Identifier: Apache-2.0 */
/* A text file: a title, the kind of device, the backend's lines. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/core/atomic_file.h"
#include "lib/jobs/engine.h"

static const char title[] = "ptq timing cache 1\nkind: ";

ptq_status ptq_timing_cache_read(const char *path, const char *kind, char **text)
{
    enum { MOST = 64 << 20 };
    char *all = NULL;
    size_t n = strlen(title), k = strlen(kind), size = 0;
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        *text = NULL;
        return PTQ_OK;
    }
    PTQ_TRY(ptq_read_file(path, MOST, &all, &size));
    ptq_status s = PTQ_OK;
    if (strncmp(all, title, n) != 0 || strlen(all) != size)
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
