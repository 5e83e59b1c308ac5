/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/calib/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/calib/convert.h"

static const char magic[] = "\x93NUMPY";

/* The header is a Python dict literal; this grammar is the part of it that numpy writes:
 *   { 'descr': STRING , 'fortran_order': True|False , 'shape': ( INT, ... ) [,] }
 * in any order of keys, each once. */
typedef struct cursor {
    const char *p, *end;
} cursor;

static void space(cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t' || *c->p == '\r'))
        c->p++;
}

static bool take(cursor *c, char ch)
{
    space(c);
    if (c->p == c->end || *c->p != ch)
        return false;
    c->p++;
    return true;
}

static bool take_word(cursor *c, const char *word)
{
    size_t n = strlen(word);
    space(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
        return false;
    c->p += n;
    return true;
}

static bool take_string(cursor *c, char *buf, size_t room)
{
    space(c);
    if (c->p == c->end || (*c->p != '\'' && *c->p != '"'))
        return false;
    char quote = *c->p++;
    size_t n = 0;
    while (c->p < c->end && *c->p != quote) {
        if (*c->p == '\\' || n + 1 >= room)
            return false;
        buf[n++] = *c->p++;
    }
    if (c->p == c->end)
        return false;
    c->p++;
    buf[n] = '\0';
    return true;
}

static const struct {
    const char *code;
    ptq_dtype dtype;
} types[] = {
    {"b1", PTQ_DT_BOOL}, {"i1", PTQ_DT_S8},  {"i2", PTQ_DT_S16}, {"i4", PTQ_DT_S32},
    {"i8", PTQ_DT_S64},  {"u1", PTQ_DT_U8},  {"u2", PTQ_DT_U16}, {"u4", PTQ_DT_U32},
    {"u8", PTQ_DT_U64},  {"f2", PTQ_DT_F16}, {"f4", PTQ_DT_F32}, {"f8", PTQ_DT_F64},
};

static ptq_status parse_descr(cursor *c, ptq_npy *npy)
{
    char s[32];
    space(c);
    if (c->p < c->end && (*c->p == '[' || *c->p == '('))
        return ptq_fail(PTQ_ERR_DATA, ".npy: structured types are not supported");
    if (!take_string(c, s, sizeof s))
        return ptq_fail(PTQ_ERR_DATA, ".npy: the header's descr is no short string");
    if (strchr(s, 'O'))
        return ptq_fail(PTQ_ERR_DATA, ".npy: holds Python objects (pickle), which are never read; "
                                      "save a plain numeric array");
    const char *code = strchr("<>|=", s[0]) && s[0] ? s + 1 : s;
    for (size_t i = 0; i < PTQ_COUNT(types); i++)
        if (strcmp(code, types[i].code) == 0) {
            bool big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
            npy->dtype = types[i].dtype;
            npy->swap = ptq_dtype_bits(npy->dtype) > 8 && ((s[0] == '>' && !big) || (s[0] == '<' && big));
            return PTQ_OK;
        }
    return ptq_fail(PTQ_ERR_DATA, ".npy: type '%s' is not supported (b1, i1-i8, u1-u8, f2-f8 are)",
                    s);
}

static ptq_status parse_shape(cursor *c, ptq_npy *npy)
{
    npy->rank = 0;
    if (!take(c, '('))
        return ptq_fail(PTQ_ERR_DATA, ".npy: the header's shape is no tuple");
    while (!take(c, ')')) {
        int64_t v = 0;
        const char *start = c->p;
        if (npy->rank == PTQ_MAX_RANK)
            return ptq_fail(PTQ_ERR_DATA, ".npy: more than %d dimensions", PTQ_MAX_RANK);
        for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
            if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *c->p - '0', &v))
                return ptq_fail(PTQ_ERR_DATA, ".npy: a dimension is too large");
        if (c->p == start)
            return ptq_fail(PTQ_ERR_DATA, ".npy: the header's shape is damaged");
        npy->dims[npy->rank++] = v;
        if (!take(c, ',')) {
            if (!take(c, ')'))
                return ptq_fail(PTQ_ERR_DATA, ".npy: the header's shape is damaged");
            break;
        }
        space(c);
    }
    return PTQ_OK;
}

static ptq_status parse_dict(cursor *c, ptq_npy *npy)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };
    unsigned seen = 0;
    char key[32];
    bool ok = take(c, '{');
    while (ok && !take(c, '}')) {
        unsigned now = 0;
        ok = take_string(c, key, sizeof key) && take(c, ':');
        if (ok && strcmp(key, "descr") == 0) {
            now = DESCR;
            PTQ_TRY(parse_descr(c, npy));
        } else if (ok && strcmp(key, "shape") == 0) {
            now = SHAPE;
            PTQ_TRY(parse_shape(c, npy));
        } else if (ok && strcmp(key, "fortran_order") == 0) {
            now = ORDER;
            npy->fortran = take_word(c, "True");
            ok = npy->fortran || take_word(c, "False");
        }
        ok = ok && now && !(seen & now);
        seen |= now;
        if (ok && !take(c, ',')) {
            ok = take(c, '}');
            break;
        }
    }
    space(c);
    if (!ok || seen != ALL || c->p != c->end)
        return ptq_fail(PTQ_ERR_DATA, ".npy: the header is damaged");
    return PTQ_OK;
}

ptq_status ptq_npy_parse(const uint8_t *b, size_t n, uint64_t size, ptq_npy *npy)
{
    *npy = (ptq_npy){.fd = -1};
    if (n < 10 || memcmp(b, magic, 6) != 0)
        return ptq_fail(PTQ_ERR_DATA, "not a .npy file (looks like: %s)", ptq_content_guess(b, n));
    if (b[6] < 1 || b[6] > 3)
        return ptq_fail(PTQ_ERR_DATA, ".npy: format version %d.%d is not supported (1 to 3 are)",
                        b[6], b[7]);
    uint64_t len = (uint64_t)b[8] | (uint64_t)b[9] << 8, at = 10;
    if (b[6] > 1 && n >= 12) {
        len |= (uint64_t)b[10] << 16 | (uint64_t)b[11] << 24;
        at = 12;
    } else if (b[6] > 1) {
        len = UINT64_MAX;
    }
    if (len > PTQ_NPY_HEADER_MAX || at + len > n)
        return ptq_fail(PTQ_ERR_DATA, ".npy: header of %llu bytes is too long or cut off",
                        (unsigned long long)len);
    cursor c = {(const char *)b + at, (const char *)b + at + len};
    PTQ_TRY(parse_dict(&c, npy));
    npy->data_at = at + len;
    if (!ptq_tensor_nbytes(npy->dtype, npy->rank, npy->dims, &npy->nbytes))
        return ptq_fail(PTQ_ERR_DATA, ".npy: the shape is too large");
    if (size - npy->data_at < npy->nbytes)
        return ptq_fail(PTQ_ERR_DATA, ".npy: cut off: %zu bytes of values announced, %llu there",
                        npy->nbytes, (unsigned long long)(size - npy->data_at));
    return PTQ_OK;
}

static ptq_status read_at(int fd, void *to, size_t n, uint64_t at)
{
    char *p = to;
    while (n) {
        ssize_t r = pread(fd, p, n, (off_t)at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return ptq_fail(PTQ_ERR_DATA, "cannot read: %s",
                            r < 0 ? strerror(errno) : "the file became shorter");
        p += r;
        n -= (size_t)r;
        at += (uint64_t)r;
    }
    return PTQ_OK;
}

static void swap_values(uint8_t *p, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++, p += size)
        for (size_t k = 0; k < size / 2; k++) {
            uint8_t t = p[k];
            p[k] = p[size - 1 - k];
            p[size - 1 - k] = t;
        }
}

/* Column-major to row-major, counting up the row-major index. */
static void to_c_order(const ptq_npy *npy, const uint8_t *from, uint8_t *to)
{
    size_t size = (size_t)ptq_dtype_bits(npy->dtype) / 8, n = npy->nbytes / size, at = 0;
    size_t stride[PTQ_MAX_RANK], pos[PTQ_MAX_RANK] = {0}, s = 1;
    for (int i = 0; i < npy->rank; i++) {
        stride[i] = s;
        s *= (size_t)npy->dims[i];
    }
    for (size_t k = 0; k < n; k++) {
        memcpy(to + k * size, from + at * size, size);
        for (int i = npy->rank - 1; i >= 0; i--) {
            at += stride[i];
            if (++pos[i] < (size_t)npy->dims[i])
                break;
            at -= stride[i] * pos[i];
            pos[i] = 0;
        }
    }
}

static ptq_status load_fortran(ptq_npy *npy)
{
    if (npy->nbytes > PTQ_NPY_FORTRAN_MAX)
        return ptq_fail(PTQ_ERR_DATA, ".npy: %zu bytes in Fortran order; above 1 GiB save it in C "
                                      "order (numpy.ascontiguousarray)", npy->nbytes);
    uint8_t *raw = ptq_alloc_aligned(npy->nbytes), *ordered = ptq_alloc_aligned(npy->nbytes);
    ptq_status s = raw && ordered ? read_at(npy->fd, raw, npy->nbytes, npy->data_at)
                                  : ptq_fail_nomem();
    if (s == PTQ_OK) {
        to_c_order(npy, raw, ordered);
        npy->whole = ordered;
        ordered = NULL;
    }
    free(raw);
    free(ordered);
    return s;
}

ptq_status ptq_npy_open_fd(int fd, ptq_npy *npy)
{
    struct stat st;
    uint8_t *head = malloc(PTQ_NPY_HEADER_MAX + 12);
    ptq_status s = PTQ_OK;
    if (!head)
        s = ptq_fail_nomem();
    else if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        s = ptq_fail(PTQ_ERR_DATA, "is not a regular file");
    size_t n = 0;
    if (s == PTQ_OK) {
        n = st.st_size < PTQ_NPY_HEADER_MAX + 12 ? (size_t)st.st_size : PTQ_NPY_HEADER_MAX + 12;
        s = read_at(fd, head, n, 0);
    }
    ptq_npy made = {.fd = -1};
    if (s == PTQ_OK)
        s = ptq_npy_parse(head, n, (uint64_t)st.st_size, &made);
    free(head);
    made.fd = fd;
    if (s == PTQ_OK && made.fortran && made.rank > 1)
        s = load_fortran(&made);
    if (s != PTQ_OK) {
        close(fd);
        return s;
    }
    *npy = made;
    return PTQ_OK;
}

ptq_status ptq_npy_open(const char *path, ptq_npy *npy)
{
    char shown[512];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", ptq_printable(path, shown, sizeof shown),
                        strerror(errno));
    ptq_status s = ptq_npy_open_fd(fd, npy);
    return s == PTQ_OK ? s : ptq_fail_prefix(s, "%s", ptq_printable(path, shown, sizeof shown));
}

void ptq_npy_close(ptq_npy *npy)
{
    if (npy->fd >= 0)
        close(npy->fd);
    npy->fd = -1;
    free(npy->whole);
    npy->whole = NULL;
}

ptq_status ptq_npy_read(const ptq_npy *npy, size_t index, ptq_raw *raw)
{
    ptq_raw r = {.dtype = npy->dtype, .rank = npy->rank - 1};
    memcpy(r.dims, npy->dims + 1, sizeof(int64_t) * (size_t)r.rank);
    r.nbytes = npy->nbytes / (size_t)npy->dims[0];
    r.data = ptq_alloc_aligned(r.nbytes);
    if (!r.data)
        return ptq_fail_nomem();
    ptq_status s = PTQ_OK;
    if (npy->whole)
        memcpy(r.data, npy->whole + index * r.nbytes, r.nbytes);
    else
        s = read_at(npy->fd, r.data, r.nbytes, npy->data_at + (uint64_t)index * r.nbytes);
    if (s != PTQ_OK) {
        free(r.data);
        return s;
    }
    size_t size = (size_t)ptq_dtype_bits(r.dtype) / 8;
    if (npy->swap)
        swap_values(r.data, r.nbytes / size, size);
    *raw = r;
    return PTQ_OK;
}

ptq_status ptq_npy_decode(const uint8_t *bytes, size_t n, ptq_raw *raw)
{
    ptq_npy npy;
    PTQ_TRY(ptq_npy_parse(bytes, n, n, &npy));
    ptq_raw r = {.dtype = npy.dtype, .rank = npy.rank, .nbytes = npy.nbytes};
    memcpy(r.dims, npy.dims, sizeof r.dims);
    r.data = ptq_alloc_aligned(r.nbytes);
    if (!r.data)
        return ptq_fail_nomem();
    if (npy.fortran && npy.rank > 1)
        to_c_order(&npy, bytes + npy.data_at, r.data);
    else
        memcpy(r.data, bytes + npy.data_at, r.nbytes);
    size_t size = (size_t)ptq_dtype_bits(r.dtype) / 8;
    if (npy.swap)
        swap_values(r.data, r.nbytes / size, size);
    *raw = r;
    return PTQ_OK;
}

ptq_status ptq_npy_labels(const ptq_npy *npy, ptq_labels *out)
{
    size_t total = npy->nbytes / ((size_t)ptq_dtype_bits(npy->dtype) / 8);
    if (npy->rank < 1 || npy->dims[0] < 1 || total < 1 || total > 32u << 20)
        return ptq_fail(PTQ_ERR_DATA, "labels: none, or more than 32 million");
    size_t count = (size_t)npy->dims[0], each = total / count;
    int64_t *values = ptq_calloc(total, sizeof *values);
    if (!values)
        return ptq_fail_nomem();
    for (size_t i = 0; i < count; i++) {
        ptq_raw raw = {0};
        ptq_status s = ptq_npy_read(npy, i, &raw);
        if (s == PTQ_OK)
            s = ptq_convert(raw.data, raw.dtype, values + i * each, PTQ_DT_S64, each);
        ptq_raw_free(&raw);
        if (s != PTQ_OK) {
            free(values);
            return ptq_fail_prefix(s, "labels");
        }
    }
    return ptq_labels_uniform(out, values, count, each);
}
