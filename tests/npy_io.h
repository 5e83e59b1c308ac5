/* SPDX-License-Identifier: Apache-2.0 */
/* Bare .npy files for test programs: little-endian, C order, no checks worth the name. The
 * product's reader is lib/calib/npy.c. */
#ifndef PTQ_TESTS_NPY_IO_H
#define PTQ_TESTS_NPY_IO_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/core.h"

static const struct {
    const char *descr;
    ptq_dtype dtype;
} npy_types[] = {{"<f4", PTQ_DT_F32}, {"|u1", PTQ_DT_U8},  {"|i1", PTQ_DT_S8},
                 {"<i4", PTQ_DT_S32}, {"<i8", PTQ_DT_S64}, {"|b1", PTQ_DT_BOOL}};

/* What stands before the data of a .npy file of this version with this dictionary; returns its
 * length. b has room for the dictionary and 12 bytes. */
static inline size_t npy_prefix(unsigned char *b, int version, const char *dict)
{
    size_t len = strlen(dict), at = version > 1 ? 12 : 10;
    memcpy(b, "\x93NUMPY", 6);
    b[6] = (unsigned char)version;
    b[7] = 0;
    b[8] = (unsigned char)len;
    b[9] = (unsigned char)(len >> 8);
    b[10] = b[11] = 0; /* the upper half of the length from version 2 on */
    memcpy(b + at, dict, len);
    return at + len;
}

/* A whole file in memory. */
static inline size_t npy_bytes(unsigned char *b, int version, const char *dict, const void *data,
                               size_t n)
{
    size_t at = npy_prefix(b, version, dict);
    memcpy(b + at, data, n);
    return at + n;
}

static inline ptq_status npy_read(const char *path, ptq_tensor *t)
{
    unsigned char head[10];
    char text[1024];
    FILE *f = fopen(path, "rb");
    if (!f)
        return ptq_fail(PTQ_ERR_IO, "%s: cannot open", path);
    *t = (ptq_tensor){0};
    size_t n = fread(head, 1, 10, f) == 10 ? (size_t)head[8] | (size_t)head[9] << 8 : 0;
    ptq_status s = PTQ_ERR_DATA;
    if (n > 0 && n < sizeof text && fread(text, 1, n, f) == n) {
        text[n] = '\0';
        for (size_t i = 0; i < PTQ_COUNT(npy_types); i++)
            if (strstr(text, npy_types[i].descr))
                t->dtype = npy_types[i].dtype;
        const char *p = strchr(text, '(');
        for (p = p ? p + 1 : ""; *p && *p != ')';) {
            char *end;
            long long d = strtoll(p, &end, 10);
            if (end == p || t->rank == PTQ_MAX_RANK)
                break;
            t->dims[t->rank++] = d;
            for (p = end; *p == ',' || *p == ' ';)
                p++;
        }
        if (t->dtype && !strstr(text, "True") && (s = ptq_tensor_alloc(t)) == PTQ_OK &&
            fread(t->data, 1, t->nbytes, f) != t->nbytes)
            s = PTQ_ERR_DATA;
    }
    fclose(f);
    return s == PTQ_OK ? s : ptq_fail(s, "%s: not a plain little-endian .npy file", path);
}

static inline ptq_status npy_write(const char *path, const ptq_tensor *t)
{
    char text[512] = {0};
    const char *descr = NULL;
    for (size_t i = 0; i < PTQ_COUNT(npy_types); i++)
        if (npy_types[i].dtype == t->dtype)
            descr = npy_types[i].descr;
    if (!descr)
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "%s: %s", path, ptq_dtype_name(t->dtype));
    int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < t->rank; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%lld,", (long long)t->dims[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");
    int total = (10 + n + 1 + 63) / 64 * 64 - 10;
    memset(text + n, ' ', (size_t)(total - n));
    text[total - 1] = '\n';
    unsigned char head[sizeof text + 12];
    size_t len = npy_prefix(head, 1, text);
    FILE *f = fopen(path, "wb");
    if (!f)
        return ptq_fail(PTQ_ERR_IO, "%s: cannot create", path);
    bool ok = fwrite(head, 1, len, f) == len && fwrite(t->data, 1, t->nbytes, f) == t->nbytes;
    ok = fclose(f) == 0 && ok;
    return ok ? PTQ_OK : ptq_fail(PTQ_ERR_IO, "%s: cannot write", path);
}

#endif
