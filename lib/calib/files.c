/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/calib/npy.h"
#include "lib/calib/reader.h"

void ptq_raw_free(ptq_raw *raw)
{
    ptq_image_free(&raw->image);
    free(raw->data);
    raw->data = NULL;
}

const char *ptq_printable(const char *path, char *buf, size_t n)
{
    size_t i = 0;
    for (; path[i] && i + 1 < n; i++)
        buf[i] = (unsigned char)path[i] < 0x20 || path[i] == 0x7F ? '?' : path[i];
    buf[i] = '\0';
    return buf;
}

static ptq_status read_all(int fd, size_t max, uint8_t **bytes, size_t *n)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ptq_fail(PTQ_ERR_DATA, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return ptq_fail(PTQ_ERR_DATA, "is not a regular file");
    if ((uint64_t)st.st_size > max)
        return ptq_fail(PTQ_ERR_DATA, "is larger than %zu bytes", max);
    size_t size = (size_t)st.st_size, at = 0;
    uint8_t *b = malloc(size + 1);
    if (!b)
        return ptq_fail_nomem();
    while (at < size) {
        ssize_t r = read(fd, b + at, size - at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            free(b);
            return ptq_fail(PTQ_ERR_DATA, "cannot read: %s", strerror(errno));
        }
        if (r == 0)
            break; /* it became shorter: what is left speaks for itself */
        at += (size_t)r;
    }
    b[at] = '\0'; /* so that text needs no copy */
    *bytes = b;
    *n = at;
    return PTQ_OK;
}

ptq_status ptq_file_read(const char *path, size_t max, uint8_t **bytes, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ptq_fail(PTQ_ERR_DATA, "%s", strerror(errno));
    ptq_status s = read_all(fd, max, bytes, n);
    close(fd);
    return s;
}

ptq_status ptq_file_sample(const char *path, ptq_raw *raw)
{
    char shown[512];
    uint8_t *bytes = NULL;
    size_t n = 0;
    ptq_raw r = {0};
    ptq_status s = ptq_file_read(path, PTQ_IMAGE_MAX_FILE, &bytes, &n);
    if (s == PTQ_OK && n >= 6 && memcmp(bytes, "\x93NUMPY", 6) == 0) {
        s = ptq_npy_decode(bytes, n, &r);
    } else if (s == PTQ_OK) {
        r.is_image = true;
        s = ptq_image_decode(bytes, n, &r.image);
    }
    free(bytes);
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "%s", ptq_printable(path, shown, sizeof shown));
    *raw = r;
    return PTQ_OK;
}

ptq_status ptq_hash_files(const char *const *paths, size_t n, char hex[65])
{
    char *all = ptq_calloc(n, 64);
    if (!all)
        return ptq_fail_nomem();
    for (size_t i = 0; i < n; i++) {
        char one[65];
        ptq_status s = ptq_sha256_file(paths[i], one);
        if (s != PTQ_OK)
            memset(one, '0', 64); /* an unreadable file is an unusable sample */
        memcpy(all + 64 * i, one, 64);
    }
    ptq_sha256_hex(all, 64 * n, hex);
    free(all);
    return PTQ_OK;
}
