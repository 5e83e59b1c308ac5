/* SPDX-License-Identifier: Apache-2.0 */
/* Lines no wider than a terminal. A line is broken at the last blank that fits, and goes on below its
 * own text: behind the title that it begins with, or two columns further in. */
#include <string.h>

#include "lib/report/report.h"

enum { MIN_COLUMNS = 20, TITLE = 12 };

/* Width in columns of the bytes [s, end): continuation bytes of UTF-8 take none. */
static int width(const char *s, const char *end)
{
    int n = 0;
    for (; s < end; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Where the lines that continue [s, end) begin. */
static int indent_of(const char *s, const char *end, int columns)
{
    int lead = 0, at = 0;
    while (s + lead < end && s[lead] == ' ')
        lead++;
    if (lead)
        return lead + 2 < columns / 2 ? lead + 2 : 0;
    for (; s + at + 1 < end && at < TITLE; at++)
        if (s[at] == ' ' && s[at + 1] == ' ')
            break;
    while (s + at < end && s[at] == ' ' && at < TITLE)
        at++;
    return s + at < end && s[at] != ' ' && at < columns / 2 && s[at - 1] == ' ' ? at : 2;
}

/* The byte behind the last one that fits into `columns`. */
static const char *fit(const char *s, const char *end, int columns)
{
    int n = 0;
    for (; s < end; s++)
        if (((unsigned char)*s & 0xc0) != 0x80 && ++n > columns)
            break;
    return s;
}

static void wrap_line(const char *s, const char *end, int columns, ptq_text *t)
{
    int indent = 0, next = width(s, end) > columns ? indent_of(s, end, columns) : 0;
    while (width(s, end) > columns - indent) {
        const char *full = fit(s, end, columns - indent), *cut = full, *from = s;
        while (indent == 0 && from < full && width(s, from) < next)
            from++; /* the blanks of a title are no place to break */
        while (from < full && *from == ' ')
            from++;
        while (cut > from && *cut != ' ')
            cut--;
        if (cut == from)
            cut = full; /* one long word */
        const char *last = cut;
        while (last > s && last[-1] == ' ')
            last--;
        ptq_text_add(t, "%*s%.*s\n", indent, "", (int)(last - s), s);
        for (s = cut; s < end && *s == ' ';)
            s++;
        indent = next;
    }
    if (s < end || !indent)
        ptq_text_add(t, "%*s%.*s\n", indent, "", (int)(end - s), s);
}

void ptq_text_wrap(ptq_text *t, int columns)
{
    ptq_text out = {.failed = t->failed};
    columns = columns < MIN_COLUMNS ? MIN_COLUMNS : columns;
    for (const char *s = t->v; s && *s;) {
        const char *end = strchr(s, '\n'), *stop = end ? end : s + strlen(s);
        wrap_line(s, stop, columns, &out);
        s = end ? end + 1 : stop;
    }
    for (size_t i = 0; i < out.n; i++)
        if (out.v[i] == PTQ_TEXT_NBSP[0])
            out.v[i] = ' ';
    ptq_text_clear(t);
    *t = out;
}
