/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of PNG, JPEG and .npy files, in the byte order of their names. Sub-folders are not
 * entered. labels.txt and names that begin with a dot are no samples. A file is a sample when
 * its content is known; a file whose name only claims to be an image is one too, so that it is
 * reported when it is read. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/calib/reader.h"

typedef PTQ_VEC(char *) name_vec;

typedef struct folder {
    ptq_arena *arena;
    name_vec paths;
    size_t n_decoder[8], n_npy, n_bad, n_other, n_folders;
    char labels[4096]; /* path of labels.txt, or "" */
} folder;

static bool probe(const char *path, bool is_folder, const uint8_t *head, size_t n)
{
    (void)path, (void)head, (void)n;
    return is_folder;
}

static bool named_like_image(const char *name)
{
    static const char *const endings[] = {".png",  ".jpg", ".jpeg", ".gif",  ".bmp", ".webp",
                                          ".heic", ".tif", ".tiff", ".avif", ".npy"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < PTQ_COUNT(endings); i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

/* First bytes of a regular file; false for anything else. */
static bool read_head(const char *path, uint8_t head[16], size_t *n, bool *is_folder)
{
    struct stat st;
    *is_folder = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    *is_folder = !ok && S_ISDIR(st.st_mode);
    ssize_t r = ok ? pread(fd, head, 16, 0) : -1;
    close(fd);
    *n = r > 0 ? (size_t)r : 0;
    return r >= 0;
}

static ptq_status add(folder *f, const char *dir, const char *name)
{
    uint8_t head[16];
    size_t n = 0;
    bool is_folder = false;
    if (name[0] == '.')
        return PTQ_OK;
    char *path = ptq_arena_printf(f->arena, "%s/%s", dir, name);
    if (!path)
        return ptq_fail_nomem();
    if (strcmp(name, "labels.txt") == 0) {
        snprintf(f->labels, sizeof f->labels, "%s", path);
        return PTQ_OK;
    }
    bool readable = read_head(path, head, &n, &is_folder);
    const ptq_decoder *d = readable ? ptq_decoder_find(head, n) : NULL;
    if (is_folder) {
        f->n_folders++;
        return PTQ_OK;
    }
    if (d) {
        size_t i = 0;
        while (ptq_decoder_at(i) != d)
            i++;
        f->n_decoder[i < 8 ? i : 7]++;
    } else if (readable && n >= 6 && memcmp(head, "\x93NUMPY", 6) == 0) {
        f->n_npy++;
    } else if (named_like_image(name)) {
        f->n_bad++;
    } else {
        f->n_other++;
        return PTQ_OK;
    }
    return PTQ_VEC_PUSH(f->arena, &f->paths, path) ? PTQ_OK : ptq_fail_nomem();
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static ptq_status list_names(folder *f, const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", path, strerror(errno));
    ptq_status s = PTQ_OK;
    struct dirent *e;
    errno = 0;
    while (s == PTQ_OK && (e = readdir(dir))) {
        s = add(f, path, e->d_name);
        errno = 0;
    }
    if (s == PTQ_OK && errno)
        s = ptq_fail(PTQ_ERR_IO, "%s: %s", path, strerror(errno));
    closedir(dir);
    if (s == PTQ_OK && f->paths.n)
        qsort(f->paths.v, f->paths.n, sizeof *f->paths.v, by_bytes);
    return s;
}

static void describe(const folder *f, char *buf, size_t n)
{
    size_t at = (size_t)snprintf(buf, n, "%zu images (", f->paths.n);
    const char *comma = "";
    for (size_t i = 0; i < ptq_decoder_count() && i < 8; i++)
        if (f->n_decoder[i]) {
            at += (size_t)snprintf(buf + at, n - at, "%s%zu %s", comma, f->n_decoder[i],
                                   ptq_decoder_at(i)->name);
            comma = ", ";
        }
    if (f->n_npy) {
        at += (size_t)snprintf(buf + at, n - at, "%s%zu npy", comma, f->n_npy);
        comma = ", ";
    }
    if (f->n_bad)
        at += (size_t)snprintf(buf + at, n - at, "%s%zu of unknown format", comma, f->n_bad);
    at += (size_t)snprintf(buf + at, n - at, ")");
    if (f->n_other)
        at += (size_t)snprintf(buf + at, n - at, ", %zu other files ignored", f->n_other);
    if (f->n_folders)
        snprintf(buf + at, n - at, ", %zu sub-folders not entered", f->n_folders);
}

static ptq_status open_folder(ptq_source *src)
{
    if (src->n_inputs > 1)
        return ptq_fail(PTQ_ERR_DATA,
                        "%s: a folder feeds one input, the model has %zu: give each its own with "
                        "--input NAME=PATH, or use a list file, .npz or .h5",
                        src->path, src->n_inputs);
    folder *f = ptq_calloc(1, sizeof *f);
    if (!f)
        return ptq_fail_nomem();
    src->self = f;
    f->arena = ptq_arena_new();
    if (!f->arena)
        return ptq_fail_nomem();
    PTQ_TRY(list_names(f, src->path));
    if (f->paths.n == 0)
        return ptq_fail(PTQ_ERR_DATA, "%s: no PNG, JPEG or .npy files in it%s", src->path,
                        f->n_folders ? " (sub-folders are not entered; a list file may name their "
                                       "files)" : "");
    src->count = f->paths.n;
    describe(f, src->describe, sizeof src->describe);
    if (f->labels[0])
        return ptq_labels_load(&src->labels, f->labels, (const char *const *)f->paths.v,
                               f->paths.n);
    return PTQ_OK;
}

static ptq_status read_sample(ptq_source *src, size_t index, size_t input, ptq_raw *raw)
{
    const folder *f = src->self;
    (void)input;
    return ptq_file_sample(f->paths.v[index], raw);
}

static const char *sample_name(const ptq_source *src, size_t index)
{
    const folder *f = src->self;
    return f->paths.v[index];
}

static const char *file(const ptq_source *src, size_t i)
{
    const folder *f = src->self;
    if (i < f->paths.n)
        return f->paths.v[i];
    return i == f->paths.n && f->labels[0] ? f->labels : NULL;
}

static ptq_status hash(ptq_source *src, char hex[65])
{
    const folder *f = src->self;
    return ptq_hash_files((const char *const *)f->paths.v, f->paths.n, hex);
}

static void close_folder(ptq_source *src)
{
    folder *f = src->self;
    if (f)
        ptq_arena_free(f->arena);
    free(f);
}

const ptq_reader ptq_reader_folder = {
    .name = "folder",
    .help = "folder of PNG, JPEG or .npy files; labels.txt may hold 'file class' lines",
    .probe = probe,
    .open = open_folder,
    .read = read_sample,
    .sample_name = sample_name,
    .file = file,
    .hash = hash,
    .close = close_folder,
};
