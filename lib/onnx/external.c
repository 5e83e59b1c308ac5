/* SPDX-License-Identifier: Apache-2.0 */
/* External data: a relative file below the model's directory, reached through no link, regular,
 * with one name. The location is text from the model, so the kernel is asked to stay below the
 * directory (openat2); where it cannot, each component is opened without following links. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/onnx/onnx_priv.h"

/* ---- mappings ---- */

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISCHR(mode)  ? "a device"
           : S_ISBLK(mode)  ? "a device"
                            : "not a regular file";
}

ptq_status ptq_onnx_map_fd(int fd, const char *name, ptq_onnx_map *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return ptq_fail(PTQ_ERR_IO, "%s: is %s; a regular file is needed", name, kind_of(st.st_mode));
    ptq_onnx_map m = {.n = (size_t)st.st_size,
                      .dev = st.st_dev,
                      .ino = st.st_ino,
                      .mtime_s = st.st_mtim.tv_sec,
                      .mtime_ns = st.st_mtim.tv_nsec};
    if (m.n > 0) {
        void *p = mmap(NULL, m.n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            return ptq_fail(errno == ENOMEM ? PTQ_ERR_NOMEM : PTQ_ERR_IO, "%s: cannot map: %s", name,
                            strerror(errno));
        m.p = p;
    }
    *out = m;
    return PTQ_OK;
}

void ptq_onnx_unmap(ptq_onnx_map *m)
{
    if (m->p)
        munmap((void *)(uintptr_t)m->p, m->n);
    m->p = NULL;
}

/* ---- opening below a directory ---- */

static ptq_status refuse(const char *location, const char *why)
{
    return ptq_fail(PTQ_ERR_MODEL, "external data '%s' %s; it must be a relative path to a file "
                                   "below the model's directory", location, why);
}

static ptq_status open_failed(const char *location, int e)
{
    if (e == ELOOP || e == ENOTDIR)
        return refuse(location, "goes through a symbolic link or a file");
    if (e == EXDEV)
        return refuse(location, "leaves the model's directory");
    return ptq_fail(PTQ_ERR_IO, "external data '%s': %s", location, strerror(e));
}

enum { OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY };

int ptq_onnx_open_stepwise(int dir, char *path)
{
    int at = dir;
    for (char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        *slash = '\0';
        int next = openat(at, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int e = errno;
        if (at != dir)
            close(at);
        if (next < 0) {
            errno = e;
            return -1;
        }
        at = next;
    }
    int fd = openat(at, path, OPEN_FLAGS);
    int e = errno;
    if (at != dir)
        close(at);
    errno = e;
    return fd;
}

static int open_below(int dir, char *path)
{
    struct open_how how = {.flags = OPEN_FLAGS,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    long fd;
    do
        fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
    while (fd < 0 && errno == EAGAIN);
    /* Old kernels lack the call; sandboxes refuse what they do not know. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        return ptq_onnx_open_stepwise(dir, path);
    return (int)fd;
}

/* "a//./b" to "a/b" in `to`; refuses what is absolute, empty or goes up. */
static ptq_status clean(const char *location, char *to)
{
    size_t n = 0;
    if (*location == '/')
        return refuse(location, "is absolute");
    for (const char *p = location; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.')
            return refuse(location, "goes up");
        if (len > 0 && !(len == 1 && *p == '.')) {
            if (n)
                to[n++] = '/';
            memcpy(to + n, p, len);
            n += len;
        }
        p += len;
        p += *p == '/';
    }
    to[n] = '\0';
    return n ? PTQ_OK : refuse(location, "names no file");
}

static ptq_status open_location(ptq_onnx_file *f, const char *location, int *out)
{
    if (f->alias_location && strcmp(location, f->alias_location) == 0) {
        *out = open(f->alias_path, O_RDONLY | O_CLOEXEC);
        return *out >= 0 ? PTQ_OK : open_failed(location, errno);
    }
    char *path = malloc(strlen(location) + 1);
    if (!path)
        return ptq_fail_nomem();
    ptq_status s = clean(location, path);
    if (s == PTQ_OK && f->base_fd < 0) {
        f->base_fd = open(f->base_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (f->base_fd < 0)
            s = ptq_fail(PTQ_ERR_IO, "%s: %s", f->base_dir, strerror(errno));
    }
    if (s == PTQ_OK) {
        *out = open_below(f->base_fd, path);
        if (*out < 0)
            s = open_failed(location, errno);
    }
    free(path);
    return s;
}

static ptq_status map_location(ptq_onnx_file *f, const char *location, ptq_onnx_map *out)
{
    struct stat st;
    int fd = -1;
    PTQ_TRY(open_location(f, location, &fd));
    ptq_status s = PTQ_OK;
    if (fstat(fd, &st) != 0)
        s = open_failed(location, errno);
    else if (!S_ISREG(st.st_mode))
        s = refuse(location, "is not a regular file");
    else if (st.st_nlink != 1 && !f->alias_location)
        s = refuse(location, "has more than one name (hard link)");
    else
        s = ptq_onnx_map_fd(fd, location, out);
    close(fd);
    return s;
}

static ptq_status find_file(ptq_onnx_file *f, const char *location, ptq_onnx_external **out)
{
    for (ptq_onnx_external *e = f->externals; e; e = e->next)
        if (strcmp(e->location, location) == 0) {
            *out = e;
            return PTQ_OK;
        }
    ptq_onnx_map m = {0};
    PTQ_TRY(map_location(f, location, &m));
    ptq_onnx_external *e = calloc(1, sizeof *e);
    size_t size = strlen(f->base_dir) + strlen(location) + 2;
    if (e) {
        e->location = strdup(location);
        e->path = malloc(size);
    }
    if (!e || !e->location || !e->path) {
        ptq_onnx_unmap(&m);
        if (e) {
            free(e->location);
            free(e->path);
        }
        free(e);
        return ptq_fail_nomem();
    }
    snprintf(e->path, size, "%s/%s", f->base_dir, location);
    e->map = m;
    e->next = f->externals;
    f->externals = e;
    *out = e;
    return PTQ_OK;
}

/* ---- the entries of a tensor ---- */

typedef struct place {
    const char *location, *offset, *length;
} place;

static ptq_status read_entries(ptq_onnx_file *f, const pb_tensor *t, place *out)
{
    const char *checksum = NULL, *basepath = NULL;
    struct {
        const char *key, **to;
    } keys[] = {{"location", &out->location}, {"offset", &out->offset}, {"length", &out->length},
                {"checksum", &checksum},      {"basepath", &basepath}};
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = ptq_onnx_str(t->external_data[i]->key);
        size_t k = 0;
        while (k < PTQ_COUNT(keys) && strcmp(keys[k].key, key) != 0)
            k++;
        if (k < PTQ_COUNT(keys)) {
            if (*keys[k].to)
                return ptq_fail(PTQ_ERR_MODEL, "external data has two entries '%s'", key);
            *keys[k].to = ptq_onnx_str(t->external_data[i]->value);
        } else if (!f->unknown_keys_warned) {
            f->unknown_keys_warned = true;
            ptq_log(PTQ_LOG_WARN, "tensor '%s': unknown external data entry '%s' is ignored",
                    ptq_onnx_tensor_name(t), key);
        }
    }
    if (!out->location || !*out->location)
        return ptq_fail(PTQ_ERR_MODEL, "external data without a location");
    return PTQ_OK;
}

/* Decimal digits only; false on anything else and on overflow. */
static bool read_number(const char *s, size_t *out)
{
    size_t v = 0;
    if (!*s)
        return false;
    for (; *s; s++)
        if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, (size_t)10, &v) ||
            __builtin_add_overflow(v, (size_t)(*s - '0'), &v))
            return false;
    *out = v;
    return true;
}

static ptq_status note_range(ptq_onnx_external *e, size_t offset, size_t len)
{
    if (e->nranges == e->cap) {
        size_t cap = e->cap ? 2 * e->cap : 64;
        ptq_onnx_range *r = realloc(e->ranges, cap * sizeof *r);
        if (!r)
            return ptq_fail_nomem();
        e->ranges = r;
        e->cap = cap;
    }
    e->ranges[e->nranges++] = (ptq_onnx_range){offset, len};
    return PTQ_OK;
}

static ptq_status resolve(ptq_onnx_file *f, pb_tensor *t, size_t expect)
{
    place at = {0};
    size_t offset = 0, length = expect;
    ptq_onnx_external *e = NULL;
    if (!f->base_dir)
        return ptq_fail(PTQ_ERR_MODEL, "external data, but the model was given without a directory");
    PTQ_TRY(read_entries(f, t, &at));
    if (at.offset && !read_number(at.offset, &offset))
        return ptq_fail(PTQ_ERR_MODEL, "external data offset '%s' is not a number", at.offset);
    if (at.length && !read_number(at.length, &length))
        return ptq_fail(PTQ_ERR_MODEL, "external data length '%s' is not a number", at.length);
    if (length != expect)
        return ptq_fail(PTQ_ERR_MODEL, "external data has length %zu, type and shape need %zu", length,
                        expect);
    PTQ_TRY(find_file(f, at.location, &e));
    if (offset > e->map.n || length > e->map.n - offset)
        return ptq_fail(PTQ_ERR_MODEL, "external data ends at byte %zu + %zu, '%s' has %zu", offset,
                        length, at.location, e->map.n);
    PTQ_TRY(note_range(e, offset, length));
    /* From here on the tensor looks like any other. */
    t->has_raw_data = 1;
    t->raw_data.data = e->map.p ? (uint8_t *)(uintptr_t)(e->map.p + offset) : NULL;
    t->raw_data.len = length;
    t->n_external_data = 0;
    t->has_data_location = 0;
    t->data_location = PTQ_ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
    return PTQ_OK;
}

ptq_status ptq_onnx_external_resolve(ptq_onnx_file *f, pb_tensor *t, size_t expect)
{
    ptq_status s = resolve(f, t, expect);
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "tensor '%s'", ptq_onnx_tensor_name(t));
}

static int by_offset(const void *a, const void *b)
{
    const ptq_onnx_range *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->len > y->len) - (x->len < y->len);
}

void ptq_onnx_external_check_overlap(ptq_onnx_file *f)
{
    for (ptq_onnx_external *e = f->externals; e; e = e->next) {
        size_t end = 0;
        ptq_onnx_range prev = {0};
        if (e->nranges)
            qsort(e->ranges, e->nranges, sizeof *e->ranges, by_offset);
        for (size_t i = 0; i < e->nranges; i++) {
            ptq_onnx_range r = e->ranges[i];
            bool same = r.offset == prev.offset && r.len == prev.len; /* a shared weight */
            if (r.len && r.offset < end && !same) {
                ptq_log(PTQ_LOG_WARN, "external data '%s': tensors overlap at byte %zu", e->location,
                        r.offset);
                break;
            }
            if (r.offset + r.len > end)
                end = r.offset + r.len;
            prev = r;
        }
    }
}
