/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/atomic_file.h"
#include "lib/core/clocale.h"

#define PTQ_REPORT_KIND(name) extern const ptq_report_kind ptq_report_kind_##name;
#include "lib/report/kinds.def"
#undef PTQ_REPORT_KIND

static const ptq_report_kind *const kinds[] = {
#define PTQ_REPORT_KIND(name) &ptq_report_kind_##name,
#include "lib/report/kinds.def"
#undef PTQ_REPORT_KIND
};

ptq_status ptq_report_new(const char *kind, ptq_report **out)
{
    for (size_t i = 0; i < PTQ_COUNT(kinds); i++) {
        if (strcmp(kinds[i]->name, kind) != 0)
            continue;
        ptq_report *r = calloc(1, sizeof *r);
        json_t *root = json_object();
        if (!r || !root) {
            free(r);
            json_decref(root);
            return ptq_fail_nomem();
        }
        *r = (ptq_report){.root = root, .kind = kinds[i]};
        *out = r;
        return ptq_json_set(root, "kind", json_string(kind));
    }
    return ptq_fail(PTQ_ERR_INTERNAL, "no report kind '%s'", kind);
}

void ptq_report_free(ptq_report *r)
{
    if (!r)
        return;
    json_decref(r->root);
    free(r);
}

ptq_status ptq_report_json(const ptq_report *r, char **json)
{
    PTQ_NEEDS(r);
    PTQ_NEEDS(json);
    char *s = json_dumps(r->root, JSON_SORT_KEYS | JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (!s)
        return ptq_fail_nomem();
    *json = s;
    return PTQ_OK;
}

ptq_status ptq_save_text(const char *text, const char *path, bool force)
{
    PTQ_NEEDS(text);
    PTQ_NEEDS(path);
    ptq_atomic_file *f;
    PTQ_TRY(ptq_atomic_open(path, force, &f));
    ptq_status s = ptq_atomic_write(f, text, strlen(text));
    s = s == PTQ_OK ? ptq_atomic_write(f, "\n", 1) : s;
    if (s == PTQ_OK)
        return ptq_atomic_commit(f);
    ptq_atomic_abort(f);
    return s;
}

ptq_status ptq_can_save(const char *path, bool force)
{
    PTQ_NEEDS(path);
    ptq_atomic_file *f;
    PTQ_TRY(ptq_atomic_open(path, force, &f));
    ptq_atomic_abort(f);
    return PTQ_OK;
}

ptq_status ptq_report_text(const ptq_report *r, int columns, bool verbose, char **text)
{
    PTQ_NEEDS(r);
    PTQ_NEEDS(text);
    ptq_text t = {0};
    ptq_clocale locale = ptq_clocale_enter();
    r->kind->text(r->root, columns > 0 ? columns : 80, verbose, &t);
    ptq_clocale_leave(locale);
    ptq_text_wrap(&t, columns > 0 ? columns : 80);
    if (t.failed) {
        ptq_text_clear(&t);
        return ptq_fail_nomem();
    }
    *text = t.v ? t.v : strdup("");
    return *text ? PTQ_OK : ptq_fail_nomem();
}

/* ---- text ---- */

void ptq_text_add(ptq_text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || t->failed) {
        t->failed = true;
        return;
    }
    size_t need = t->n + (size_t)n + 1;
    if (need > t->cap) {
        size_t cap = need * 2 < 256 ? 256 : need * 2;
        char *v = realloc(t->v, cap);
        if (!v) {
            t->failed = true;
            return;
        }
        t->v = v;
        t->cap = cap;
    }
    va_start(ap, fmt);
    vsnprintf(t->v + t->n, t->cap - t->n, fmt, ap);
    va_end(ap);
    t->n += (size_t)n;
}

void ptq_text_clear(ptq_text *t)
{
    free(t->v);
    *t = (ptq_text){0};
}

/* Bytes of the UTF-8 sequence at s, or 0 when it is not a valid printable one. */
static size_t utf8_length(const unsigned char *s)
{
    if (s[0] >= 0x20 && s[0] < 0x7f)
        return 1;
    size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if (n == 2 && s[0] == 0xc2 && s[1] < 0xa0)
        return 0; /* C1 control characters */
    if (n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0)))
        return 0;
    if (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90)))
        return 0;
    return n;
}

void ptq_text_name(ptq_text *t, const char *name, int width)
{
    const unsigned char *s = (const unsigned char *)name;
    for (int col = 0; *s; col++) {
        if (width > 3 && col >= width - 3 && strlen((const char *)s) > 3) {
            ptq_text_add(t, "...");
            return;
        }
        size_t n = utf8_length(s);
        ptq_text_add(t, "%.*s", n ? (int)n : 1, n ? (const char *)s : "?");
        s += n ? n : 1;
    }
}

/* ---- JSON ---- */

json_t *ptq_json_real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

ptq_status ptq_json_set(json_t *obj, const char *key, json_t *v)
{
    return v && json_object_set_new(obj, key, v) == 0 ? PTQ_OK : ptq_fail_nomem();
}

ptq_status ptq_json_push(json_t *array, json_t *v)
{
    return v && json_array_append_new(array, v) == 0 ? PTQ_OK : ptq_fail_nomem();
}

json_t *ptq_json_name(const char *s)
{
    json_t *v = json_string(s);
    if (v)
        return v;
    ptq_text t = {0};
    ptq_text_name(&t, s, 0);
    v = t.failed ? NULL : json_string(t.v ? t.v : "");
    free(t.v);
    return v;
}

double ptq_json_num(const json_t *obj, const char *key, double dflt)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_number(v) ? json_number_value(v) : dflt;
}

const char *ptq_json_str(const json_t *obj, const char *key, const char *dflt)
{
    const char *s = json_string_value(json_object_get(obj, key));
    return s ? s : dflt;
}
