/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/core/spill.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { LEAST = 4 << 20, PAGE = 4096, HEAD = 64, TMPFS = 0x01021994, RAMFS = 0x858458f6 & 0x7fffffff };

/* Right before the memory that is handed out. */
typedef struct head {
    void *base;
    size_t n; /* of the mapping; 0: malloc'ed */
} head;
_Static_assert(sizeof(head) <= HEAD, "the head lies in the 64 bytes before the data");

static head *head_of(const void *p)
{
    return (head *)(void *)((uintptr_t)p - HEAD);
}

/* A file without a name in a folder that is not memory itself; -1: none. */
static int open_in(const char *dir, size_t n)
{
    struct statfs fs;
    if (!dir || !*dir || statfs(dir, &fs) != 0 || fs.f_type == TMPFS || (fs.f_type & 0x7fffffff) == RAMFS)
        return -1;
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 && posix_fallocate(fd, 0, (off_t)n) != 0) { /* a full disk must not be met while writing */
        close(fd);
        return -1;
    }
    return fd;
}

static void *map_file(size_t n)
{
    const char *const dirs[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
    int fd = -1;
    for (size_t i = 0; i < PTQ_COUNT(dirs) && fd < 0; i++)
        fd = open_in(dirs[i], n);
    if (fd < 0)
        return NULL;
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return p == MAP_FAILED ? NULL : p;
}

void *ptq_spill_alloc(size_t n)
{
    size_t total;
    if (!ptq_add_size(n, PAGE, &total))
        return NULL;
    if (n >= LEAST) {
        char *base = map_file(total);
        if (base) {
            *head_of(base + PAGE) = (head){base, total};
            return base + PAGE;
        }
    }
    char *base = ptq_alloc_aligned(n + HEAD);
    if (!base)
        return NULL;
    memset(base + HEAD, 0, n);
    *head_of(base + HEAD) = (head){base, 0};
    return base + HEAD;
}

void ptq_spill_free(void *p)
{
    if (!p)
        return;
    head h = *head_of(p);
    if (h.n)
        munmap(h.base, h.n);
    else
        free(h.base);
}

bool ptq_spill_in_file(const void *p)
{
    return p && head_of(p)->n > 0;
}

void ptq_pages_rest(const void *p, size_t n)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)p + page - 1) & ~(page - 1), to = ((uintptr_t)p + n) & ~(page - 1);
    if (to > from)
        madvise((void *)from, to - from, MADV_DONTNEED);
}
