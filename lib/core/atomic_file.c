/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/core/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ptq_atomic_file {
    char *path, *temp, *dir;
    int fd;
    bool failed;
};

static void release(ptq_atomic_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    free(f->temp);
    free(f->dir);
    free(f);
}

static ptq_status check_target(const char *path, bool force)
{
    struct stat st;
    if (!*path)
        return ptq_fail(PTQ_ERR_ARG, "the output has no name: name a file");
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT)
            return PTQ_OK;
        return ptq_fail(PTQ_ERR_IO, "%s: %s", path, strerror(errno));
    }
    if (S_ISDIR(st.st_mode))
        return ptq_fail(PTQ_ERR_IO, "%s: is a directory; name a file", path);
    if (S_ISLNK(st.st_mode))
        return ptq_fail(PTQ_ERR_IO, "%s: is a symbolic link; name the file itself", path);
    if (!S_ISREG(st.st_mode))
        return ptq_fail(PTQ_ERR_IO, "%s: is not a regular file", path);
    if (!force)
        return ptq_fail(PTQ_ERR_IO, "%s: exists already; use -f to replace it", path);
    return PTQ_OK;
}

/* The last six characters of `temp` become what no file beside has. Not mkstemp: its files are 0600, and
 * the mask of the process cannot be read without changing it under other threads. */
static int create_unique(char *temp)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345";
    char *x = temp + strlen(temp) - 6;
    for (int tries = 0; tries < 100; tries++) {
        unsigned char r[6];
        if (getentropy(r, sizeof r) != 0)
            return -1;
        for (int i = 0; i < 6; i++)
            x[i] = letters[r[i] % 32];
        int fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static ptq_status make_temp(ptq_atomic_file *f)
{
    char *copy = strdup(f->path), *copy2 = strdup(f->path);
    size_t n = strlen(f->path) + 32;
    f->temp = malloc(n);
    if (!copy || !copy2 || !f->temp) {
        free(copy);
        free(copy2);
        return ptq_fail_nomem();
    }
    f->dir = strdup(dirname(copy));
    /* Names near the limit are cut: the temporary's name does not matter. */
    snprintf(f->temp, n, "%s/.%.200s.tmp.XXXXXX", f->dir ? f->dir : ".", basename(copy2));
    free(copy);
    free(copy2);
    if (!f->dir)
        return ptq_fail_nomem();
    f->fd = create_unique(f->temp);
    if (f->fd < 0)
        return ptq_fail(PTQ_ERR_IO, "%s: cannot create a file in its directory: %s", f->path,
                        strerror(errno));
    return PTQ_OK;
}

ptq_status ptq_atomic_open(const char *path, bool force, ptq_atomic_file **out)
{
    PTQ_TRY(check_target(path, force));
    ptq_atomic_file *f = calloc(1, sizeof *f);
    if (!f)
        return ptq_fail_nomem();
    f->fd = -1;
    f->path = strdup(path);
    ptq_status s = f->path ? make_temp(f) : ptq_fail_nomem();
    if (s != PTQ_OK) {
        ptq_atomic_abort(f);
        return s;
    }
    *out = f;
    return PTQ_OK;
}

ptq_status ptq_atomic_write(ptq_atomic_file *f, const void *data, size_t n)
{
    const char *p = data;
    if (f->failed)
        return ptq_fail(PTQ_ERR_IO, "%s: an earlier write failed", f->path);
    while (n) {
        ssize_t w = write(f->fd, p, n > INT_MAX ? INT_MAX : n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            f->failed = true;
            return ptq_fail(PTQ_ERR_IO, "%s: cannot write: %s", f->path,
                            w < 0 ? strerror(errno) : "no progress");
        }
        p += w;
        n -= (size_t)w;
    }
    return PTQ_OK;
}

int ptq_atomic_fd(ptq_atomic_file *f)
{
    return f->fd;
}

const char *ptq_atomic_temp_path(const ptq_atomic_file *f)
{
    return f->temp;
}

ptq_status ptq_atomic_sync(ptq_atomic_file *f)
{
    if (f->failed)
        return ptq_fail(PTQ_ERR_IO, "%s: an earlier write failed", f->path);
    if (fsync(f->fd) != 0) {
        f->failed = true;
        return ptq_fail(PTQ_ERR_IO, "%s: cannot sync: %s", f->path, strerror(errno));
    }
    return PTQ_OK;
}

static ptq_status finish(ptq_atomic_file *f)
{
    PTQ_TRY(ptq_atomic_sync(f));
    int fd = f->fd;
    f->fd = -1;
    if (close(fd) != 0)
        return ptq_fail(PTQ_ERR_IO, "%s: cannot close: %s", f->path, strerror(errno));
    if (rename(f->temp, f->path) != 0)
        return ptq_fail(PTQ_ERR_IO, "%s: cannot rename into place: %s", f->path, strerror(errno));
    int dir = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        fsync(dir); /* some file systems refuse; the data itself is safe */
        close(dir);
    }
    return PTQ_OK;
}

ptq_status ptq_atomic_commit(ptq_atomic_file *f)
{
    ptq_status s = finish(f);
    if (s != PTQ_OK)
        unlink(f->temp);
    release(f);
    return s;
}

void ptq_atomic_abort(ptq_atomic_file *f)
{
    if (!f)
        return;
    if (f->temp && (f->fd >= 0))
        unlink(f->temp);
    release(f);
}
