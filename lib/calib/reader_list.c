/* SPDX-License-Identifier: Apache-2.0 */
/* A text file with one sample on each line: the path of an image or .npy file for each input of
 * the model, in the model's order, and perhaps labels (integers with commas between them), all
 * separated by tabs. Paths are relative to the list's folder. Empty lines and lines that begin
 * with '#' do not count. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/calib/reader.h"

enum { LIST_MAX = 256 << 20 };

typedef struct list {
    ptq_arena *arena;
    size_t columns;
    PTQ_VEC(char *) paths; /* columns for each sample */
    PTQ_VEC(char *) names; /* first column as written */
    PTQ_VEC(char *) labels;
    size_t n_labels; /* single numbers */
} list;

static bool probe(const char *path, bool folder, const uint8_t *head, size_t n)
{
    (void)path;
    return !folder && n && strcmp(ptq_content_guess(head, n), "text") == 0;
}

/* Labels at the end of a line: only digits, signs and commas. */
static bool labels_like(const char *s)
{
    return *s && strspn(s, "-+0123456789,") == strlen(s);
}

static ptq_status add_line(list *l, const ptq_source *src, const char *dir, char *line, size_t number)
{
    size_t column = 0;
    char *label = NULL;
    for (char *field = line, *next; field; field = next) {
        next = strchr(field, '\t');
        if (next)
            *next++ = '\0';
        if (column == l->columns) {
            if (next || !labels_like(field))
                return ptq_fail(PTQ_ERR_DATA, "%s:%zu: expected %zu paths and perhaps labels, "
                                "separated by tabs", src->path, number, l->columns);
            label = field;
            break;
        }
        if (!*field)
            return ptq_fail(PTQ_ERR_DATA, "%s:%zu: empty path", src->path, number);
        char *path = *field == '/' ? field : ptq_arena_printf(l->arena, "%s/%s", dir, field);
        if (!path || !PTQ_VEC_PUSH(l->arena, &l->paths, path))
            return ptq_fail_nomem();
        column++;
    }
    if (column != l->columns)
        return ptq_fail(PTQ_ERR_DATA, "%s:%zu: has %zu paths, the model has %zu inputs (separate "
                        "them by tabs)", src->path, number, column, l->columns);
    for (const char *p = label; p && *p; p++)
        l->n_labels += p == label || *p == ',';
    if (!PTQ_VEC_PUSH(l->arena, &l->names, line) || !PTQ_VEC_PUSH(l->arena, &l->labels, label))
        return ptq_fail_nomem();
    return PTQ_OK;
}

static ptq_status take_labels(const list *l, ptq_source *src)
{
    if (!l->n_labels)
        return PTQ_OK;
    ptq_labels made = {.count = src->count};
    made.values = ptq_calloc(l->n_labels + 1, sizeof *made.values);
    made.at = ptq_calloc(src->count + 1, sizeof *made.at);
    bool ok = made.values && made.at, numbers = true;
    size_t n = 0;
    for (size_t i = 0; ok && i < src->count; i++) {
        made.at[i] = n;
        for (const char *p = l->labels.v[i]; p && *p;) {
            char *end;
            errno = 0;
            made.values[n++] = strtoll(p, &end, 10);
            numbers = numbers && end != p && !errno && (!*end || (*end == ',' && end[1]));
            p = *end == ',' ? end + 1 : "";
            if (n > l->n_labels || !numbers)
                break;
        }
        if (!numbers)
            break;
        made.at[i + 1] = n;
    }
    if (ok && numbers) {
        src->labels = made;
        return PTQ_OK;
    }
    ptq_labels_free(&made);
    return ok ? ptq_fail(PTQ_ERR_DATA, "%s: labels must be integers with commas between them",
                         src->path)
              : ptq_fail_nomem();
}

static ptq_status parse(list *l, ptq_source *src, char *text)
{
    char *dir = ptq_arena_strdup(l->arena, src->path);
    if (!dir)
        return ptq_fail_nomem();
    char *slash = strrchr(dir, '/');
    const char *base = slash == dir ? "" : slash ? dir : ".";
    if (slash)
        *slash = '\0';
    size_t number = 0;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        size_t n = strlen(line);
        if (n && line[n - 1] == '\r')
            line[n - 1] = '\0';
        number++;
        if (*line && *line != '#')
            PTQ_TRY(add_line(l, src, base, line, number));
    }
    if (l->names.n == 0)
        return ptq_fail(PTQ_ERR_DATA, "%s: the list is empty", src->path);
    src->count = l->names.n;
    return take_labels(l, src);
}

static ptq_status open_list(ptq_source *src)
{
    list *l = ptq_calloc(1, sizeof *l);
    if (!l)
        return ptq_fail_nomem();
    src->self = l;
    l->columns = src->n_inputs ? src->n_inputs : 1;
    l->arena = ptq_arena_new();
    if (!l->arena)
        return ptq_fail_nomem();
    uint8_t *bytes;
    size_t n;
    ptq_status s = ptq_file_read(src->path, LIST_MAX, &bytes, &n);
    if (s != PTQ_OK)
        return ptq_fail_prefix(s, "%s", src->path);
    char *text = ptq_arena_strndup(l->arena, (char *)bytes, n);
    bool binary = memchr(bytes, 0, n) != NULL;
    free(bytes);
    if (!text)
        return ptq_fail_nomem();
    if (binary)
        return ptq_fail(PTQ_ERR_DATA, "%s: not a list of paths (holds NUL bytes)", src->path);
    PTQ_TRY(parse(l, src, text));
    snprintf(src->describe, sizeof src->describe, "%zu samples (list of files)", src->count);
    return PTQ_OK;
}

static ptq_status read_sample(ptq_source *src, size_t index, size_t input, ptq_raw *raw)
{
    const list *l = src->self;
    return ptq_file_sample(l->paths.v[index * l->columns + input], raw);
}

static const char *sample_name(const ptq_source *src, size_t index)
{
    const list *l = src->self;
    return l->names.v[index];
}

static const char *file(const ptq_source *src, size_t i)
{
    const list *l = src->self;
    return i < l->paths.n ? l->paths.v[i] : NULL;
}

static ptq_status hash(ptq_source *src, char hex[65])
{
    const list *l = src->self;
    return ptq_hash_files((const char *const *)l->paths.v, l->paths.n, hex);
}

static void close_list(ptq_source *src)
{
    list *l = src->self;
    if (l)
        ptq_arena_free(l->arena);
    free(l);
}

const ptq_reader ptq_reader_list = {
    .name = "list",
    .help = "text file with the path of an image or .npy file on each line (one for each input, "
            "tabs between them)",
    .probe = probe,
    .open = open_list,
    .read = read_sample,
    .sample_name = sample_name,
    .file = file,
    .hash = hash,
    .close = close_list,
};
