/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/calib/npy.h"
#include "lib/calib/reader.h"

enum { LABEL_FILE_MAX = 256 << 20 };

void ptq_labels_free(ptq_labels *l)
{
    free(l->values);
    free(l->at);
    *l = (ptq_labels){0};
}

ptq_status ptq_labels_uniform(ptq_labels *l, int64_t *values, size_t count, size_t each)
{
    size_t *at = ptq_calloc(count + 1, sizeof *at);
    if (!at) {
        free(values);
        return ptq_fail_nomem();
    }
    for (size_t i = 0; i <= count; i++)
        at[i] = i * each;
    *l = (ptq_labels){.values = values, .at = at, .count = count};
    return PTQ_OK;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Splits "name with spaces 12" in place; *name is "" for a bare number. */
static bool parse_line(char *line, char **name, int64_t *label)
{
    size_t n = strlen(line);
    while (n && strchr(" \t\r", line[n - 1]))
        line[--n] = '\0';
    size_t start = n;
    while (start && line[start - 1] != ' ' && line[start - 1] != '\t')
        start--;
    char *end;
    errno = 0;
    long long v = strtoll(line + start, &end, 10);
    if (end == line + start || *end || errno)
        return false;
    *label = v;
    while (start && (line[start - 1] == ' ' || line[start - 1] == '\t'))
        start--;
    line[start] = '\0';
    *name = line;
    return true;
}

/* Lines of the file: numbered labels, or labels by name looked up in `index`. */
typedef struct text_labels {
    ptq_map *index; /* name, and its last part -> values + i; NULL: samples have no names */
    int64_t *values;
    uint8_t *have;
    size_t count, plain, named;
} text_labels;

static ptq_status add_line(text_labels *t, char *line, size_t number, const char *path)
{
    char *name;
    int64_t label;
    if (!line[strspn(line, " \t\r")])
        return PTQ_OK;
    if (!parse_line(line, &name, &label))
        return ptq_fail(PTQ_ERR_DATA, "%s:%zu: expected 'file class' or 'class'", path, number);
    size_t i;
    if (*name && t->index) {
        int64_t *slot = ptq_map_get(t->index, name);
        if (!slot)
            slot = ptq_map_get(t->index, last_part(name));
        if (!slot)
            return PTQ_OK; /* a larger list than the folder is fine */
        i = (size_t)(slot - t->values);
        t->named++;
    } else if (*name) {
        return ptq_fail(PTQ_ERR_DATA, "%s:%zu: names a file, but the samples of this data set have "
                                      "no names; give one class per line", path, number);
    } else {
        i = t->plain++;
        if (i >= t->count)
            return ptq_fail(PTQ_ERR_DATA, "%s: more labels than the %zu samples", path, t->count);
    }
    t->values[i] = label;
    t->have[i] = 1;
    return PTQ_OK;
}

static ptq_status finish(text_labels *t, const char *path, ptq_labels *out)
{
    if (t->plain && t->plain != t->count)
        return ptq_fail(PTQ_ERR_DATA, "%s: %zu labels for %zu samples", path, t->plain, t->count);
    size_t n = 0;
    size_t *at = ptq_calloc(t->count + 1, sizeof *at);
    if (!at)
        return ptq_fail_nomem();
    for (size_t i = 0; i < t->count; i++) {
        at[i] = n;
        if (t->have[i])
            t->values[n++] = t->values[i];
    }
    at[t->count] = n;
    if (n == 0) {
        free(at);
        return ptq_fail(PTQ_ERR_DATA, "%s: no line names a file of the data set", path);
    }
    if (n < t->count)
        ptq_log(PTQ_LOG_WARN, "%s: labels for %zu of %zu samples", path, n, t->count);
    *out = (ptq_labels){.values = t->values, .at = at, .count = t->count};
    t->values = NULL;
    return PTQ_OK;
}

static ptq_status parse_text(char *text, const char *path, text_labels *t, ptq_labels *out)
{
    size_t number = 0;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        PTQ_TRY(add_line(t, line, ++number, path));
    }
    if (t->plain && t->named)
        return ptq_fail(PTQ_ERR_DATA, "%s: mixes 'file class' and 'class' lines", path);
    return finish(t, path, out);
}

static ptq_status load_text(uint8_t *bytes, size_t n, const char *path, const char *const *names,
                            size_t count, ptq_labels *out)
{
    text_labels t = {.count = count};
    t.values = ptq_calloc(count + 1, sizeof *t.values);
    t.have = ptq_calloc(count + 1, 1);
    t.index = names ? ptq_map_new() : NULL;
    bool ok = t.values && t.have && (t.index || !names);
    for (size_t i = 0; ok && names && i < count; i++)
        ok = ptq_map_put(t.index, last_part(names[i]), t.values + i);
    for (size_t i = 0; ok && names && i < count; i++) /* a whole name wins over a last part */
        ok = ptq_map_put(t.index, names[i], t.values + i);
    ptq_status s = ok ? PTQ_OK : ptq_fail_nomem();
    if (s == PTQ_OK && memchr(bytes, 0, n))
        s = ptq_fail(PTQ_ERR_DATA, "%s: not a text file", path);
    if (s == PTQ_OK)
        s = parse_text((char *)bytes, path, &t, out);
    ptq_map_free(t.index);
    free(t.values);
    free(t.have);
    return s;
}

ptq_status ptq_labels_load(ptq_labels *l, const char *path, const char *const *names, size_t count)
{
    char shown[512];
    uint8_t *bytes;
    size_t n;
    ptq_printable(path, shown, sizeof shown);
    if (access(path, R_OK) != 0)
        return ptq_fail(PTQ_ERR_IO, "%s: %s", shown, strerror(errno));
    ptq_status s = ptq_file_read(path, LABEL_FILE_MAX, &bytes, &n);
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "%s", shown);
    if (n >= 6 && memcmp(bytes, "\x93NUMPY", 6) == 0) {
        free(bytes);
        ptq_npy npy;
        PTQ_TRY(ptq_npy_open(path, &npy));
        s = ptq_npy_labels(&npy, l);
        ptq_npy_close(&npy);
        if (s != PTQ_OK)
            return ptq_fail_prefix(s, "%s", shown);
        if (l->count == count)
            return PTQ_OK;
        s = ptq_fail(PTQ_ERR_DATA, "%s: %zu labels for %zu samples", shown, l->count, count);
        ptq_labels_free(l);
        return s;
    }
    s = load_text(bytes, n, shown, names, count, l);
    free(bytes);
    return s;
}
