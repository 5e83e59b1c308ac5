/* SPDX-License-Identifier: Apache-2.0 */
/* A .npz archive (numpy.savez): members named like the model's inputs, perhaps one named
 * "labels". Each member that is used is unpacked once into an unnamed temporary file, because a
 * deflated one cannot be read from the middle. */
#include "config.h"

#include <string.h>

#include "lib/calib/npy.h"

static bool probe(const char *path, bool folder, const uint8_t *head, size_t n)
{
    (void)path, (void)folder;
    return n >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0);
}

#ifdef HAVE_ZIP
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <zip.h>

/* A member above this is a bomb or wants to be a .npy file. */
#define MEMBER_MAX (UINT64_C(8) << 30)
enum { MEMBERS_MAX = 4096 };

typedef struct npz {
    size_t n;
    ptq_npy *arrays; /* one for each input */
} npz;

static int unnamed_file(void)
{
    const char *dir = getenv("TMPDIR");
    dir = dir && *dir ? dir : "/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    char path[4096];
    snprintf(path, sizeof path, "%s/ptq.XXXXXX", dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static ptq_status copy_out(zip_file_t *member, int fd, uint64_t size)
{
    size_t room = 1 << 16;
    char *buf = malloc(room);
    if (!buf)
        return ptq_fail_nomem();
    ptq_status s = PTQ_OK;
    uint64_t total = 0;
    zip_int64_t r = 0;
    while (s == PTQ_OK && (r = zip_fread(member, buf, room)) > 0) {
        total += (uint64_t)r;
        for (ssize_t at = 0, w; s == PTQ_OK && at < r; at += w) {
            w = write(fd, buf + at, (size_t)(r - at));
            if (w < 0 && errno == EINTR)
                w = 0;
            else if (w <= 0)
                s = ptq_fail(PTQ_ERR_IO, "cannot write a temporary file: %s", strerror(errno));
        }
        if (s == PTQ_OK && total > size)
            s = ptq_fail(PTQ_ERR_DATA, "is longer than the archive says");
    }
    free(buf);
    if (s == PTQ_OK && (r < 0 || total != size))
        s = ptq_fail(PTQ_ERR_DATA, "cannot be unpacked: %s",
                     r < 0 ? zip_error_strerror(zip_file_get_error(member)) : "it is cut off");
    return s;
}

static ptq_status unpack(zip_t *z, zip_uint64_t index, ptq_npy *npy)
{
    zip_stat_t st;
    if (zip_stat_index(z, index, 0, &st) != 0 || !(st.valid & ZIP_STAT_SIZE))
        return ptq_fail(PTQ_ERR_DATA, "has no size");
    if (st.valid & ZIP_STAT_ENCRYPTION_METHOD && st.encryption_method != ZIP_EM_NONE)
        return ptq_fail(PTQ_ERR_DATA, "is encrypted");
    if (st.size > MEMBER_MAX)
        return ptq_fail(PTQ_ERR_DATA, "unpacks to %llu bytes; above 8 GiB use .npy or .h5",
                        (unsigned long long)st.size);
    zip_file_t *member = zip_fopen_index(z, index, 0);
    if (!member)
        return ptq_fail(PTQ_ERR_DATA, "cannot be opened: %s", zip_strerror(z));
    int fd = unnamed_file();
    ptq_status s = fd >= 0 ? copy_out(member, fd, st.size)
                           : ptq_fail(PTQ_ERR_IO, "cannot create a temporary file: %s",
                                      strerror(errno));
    zip_fclose(member);
    if (s != PTQ_OK) {
        if (fd >= 0)
            close(fd);
        return s;
    }
    PTQ_TRY(ptq_npy_open_fd(fd, npy));
    if (npy->rank >= 1 && npy->nbytes > 0)
        return PTQ_OK;
    ptq_npy_close(npy);
    return ptq_fail(PTQ_ERR_DATA, "holds no samples");
}

/* Index of the member called name or name.npy; -1 none, -2 several. */
static zip_int64_t find(zip_t *z, const char *name)
{
    zip_int64_t found = -1;
    size_t n = strlen(name);
    for (zip_int64_t i = 0; i < zip_get_num_entries(z, 0); i++) {
        const char *m = zip_get_name(z, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        if (m && strncmp(m, name, n) == 0 && (!m[n] || strcmp(m + n, ".npy") == 0))
            found = found == -1 ? i : -2;
    }
    return found;
}

static ptq_status missing(zip_t *z, const ptq_source *src, const char *name)
{
    char have[512] = "";
    size_t at = 0;
    for (zip_int64_t i = 0; i < zip_get_num_entries(z, 0) && at + 1 < sizeof have; i++) {
        const char *m = zip_get_name(z, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        char shown[128];
        at += (size_t)snprintf(have + at, sizeof have - at, "%s%s", i ? ", " : "",
                               ptq_printable(m ? m : "?", shown, sizeof shown));
    }
    return ptq_fail(PTQ_ERR_DATA, "%s: no member for input %s; it has: %s", src->path, name, have);
}

static ptq_status load_inputs(zip_t *z, ptq_source *src, npz *p)
{
    if (zip_get_num_entries(z, 0) > MEMBERS_MAX)
        return ptq_fail(PTQ_ERR_DATA, "%s: more than %d members", src->path, MEMBERS_MAX);
    for (size_t i = 0; i < src->n_inputs; i++) {
        const char *name = src->inputs[i].name;
        zip_int64_t at = find(z, name);
        /* One input and one array besides the labels: no need for the names to agree. */
        if (at == -1 && src->n_inputs == 1) {
            zip_int64_t n = zip_get_num_entries(z, 0), labels = find(z, "labels");
            if (n == 1 && labels < 0)
                at = 0;
            else if (n == 2 && labels >= 0)
                at = 1 - labels;
        }
        if (at == -2)
            return ptq_fail(PTQ_ERR_DATA, "%s: several members named %s", src->path, name);
        if (at < 0)
            return missing(z, src, name);
        ptq_status s = unpack(z, (zip_uint64_t)at, &p->arrays[i]);
        if (s != PTQ_OK)
            return ptq_fail_prefix(s, "%s: member %s", src->path, name);
        p->n = i + 1;
        size_t count = (size_t)p->arrays[i].dims[0];
        if (i && count != src->count)
            return ptq_fail(PTQ_ERR_DATA, "%s: %zu samples for %s but %zu for %s", src->path, count,
                            name, src->count, src->inputs[0].name);
        src->count = count;
    }
    return PTQ_OK;
}

static ptq_status load_labels(zip_t *z, ptq_source *src)
{
    zip_int64_t at = find(z, "labels");
    if (at < 0)
        return PTQ_OK;
    ptq_npy npy = {.fd = -1};
    ptq_status s = unpack(z, (zip_uint64_t)at, &npy);
    if (s == PTQ_OK)
        s = ptq_npy_labels(&npy, &src->labels);
    ptq_npy_close(&npy);
    if (s == PTQ_OK && src->n_inputs && src->labels.count != src->count)
        s = ptq_fail(PTQ_ERR_DATA, "has %zu labels for %zu samples", src->labels.count, src->count);
    if (s == PTQ_OK && !src->n_inputs)
        src->count = src->labels.count;
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "%s: member labels", src->path);
}

static ptq_status open_npz(ptq_source *src)
{
    npz *p = ptq_calloc(1, sizeof *p);
    if (!p)
        return ptq_fail_nomem();
    src->self = p;
    p->arrays = ptq_calloc(src->n_inputs + 1, sizeof *p->arrays);
    if (!p->arrays)
        return ptq_fail_nomem();
    int code = 0;
    zip_t *z = zip_open(src->path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (!z) {
        zip_error_t e;
        zip_error_init_with_code(&e, code);
        ptq_fail(PTQ_ERR_DATA, "%s: damaged archive: %s", src->path, zip_error_strerror(&e));
        zip_error_fini(&e);
        return PTQ_ERR_DATA;
    }
    ptq_status s = load_inputs(z, src, p);
    if (s == PTQ_OK)
        s = load_labels(z, src);
    zip_discard(z);
    snprintf(src->describe, sizeof src->describe, "%zu samples (npz)", src->count);
    return s;
}

static ptq_status read_sample(ptq_source *src, size_t index, size_t input, ptq_raw *raw)
{
    const npz *p = src->self;
    ptq_status s = ptq_npy_read(&p->arrays[input], index, raw);
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "%s: sample %zu", src->path, index);
}

static void close_npz(ptq_source *src)
{
    npz *p = src->self;
    for (size_t i = 0; p && i < p->n; i++)
        ptq_npy_close(&p->arrays[i]);
    if (p)
        free(p->arrays);
    free(p);
}

#else

static ptq_status open_npz(ptq_source *src)
{
    return ptq_fail(PTQ_ERR_UNSUPPORTED, "%s: this program was built without libzip, so without "
                    ".npz; save the arrays as .npy", src->path);
}

static ptq_status read_sample(ptq_source *src, size_t index, size_t input, ptq_raw *raw)
{
    (void)src, (void)index, (void)input, (void)raw;
    return ptq_fail(PTQ_ERR_INTERNAL, "npz reader is not built");
}

static void close_npz(ptq_source *src)
{
    (void)src;
}

#endif

static ptq_status hash(ptq_source *src, char hex[65])
{
    return ptq_hash_files(&src->path, 1, hex);
}

const ptq_reader ptq_reader_npz = {
    .name = "npz",
    .help = "NumPy archive, members named like the model's inputs; a member 'labels'",
    .probe = probe,
    .open = open_npz,
    .read = read_sample,
    .hash = hash,
    .close = close_npz,
};
