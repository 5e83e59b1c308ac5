/* SPDX-License-Identifier: Apache-2.0 */
/* A report is a JSON tree and a kind; a kind (one row in kinds.def) knows how to print it. */
#ifndef PTQ_REPORT_REPORT_H
#define PTQ_REPORT_REPORT_H

#include <jansson.h>

#include <ptq/report.h>

#include "lib/core/core.h"

/* Growing text; errors stick and show at the end. */
typedef struct ptq_text {
    char *v;
    size_t n, cap;
    bool failed;
} ptq_text;
void ptq_text_add(ptq_text *t, const char *fmt, ...) PTQ_PRINTF(2, 3);
void ptq_text_clear(ptq_text *t);
/* A blank at which no line is broken, until ptq_text_wrap has made a plain one of it. */
#define PTQ_TEXT_NBSP "\x1f"
/* Breaks the lines that are longer (wrap.c); at least 20 columns. */
void ptq_text_wrap(ptq_text *t, int columns);
/* A name from a file, with control bytes and invalid UTF-8 replaced by '?', cut to `width`. */
void ptq_text_name(ptq_text *t, const char *name, int width);

typedef struct ptq_report_kind {
    const char *name;
    void (*text)(const json_t *root, int columns, bool verbose, ptq_text *out);
} ptq_report_kind;

struct ptq_report {
    json_t *root;
    const ptq_report_kind *kind;
};

ptq_status ptq_report_new(const char *kind, ptq_report **out);

/* json_real refuses NaN and infinity; those become null. */
json_t *ptq_json_real(double v);
/* obj[key] = v; takes over v. A NULL v (no memory) is PTQ_ERR_NOMEM. */
ptq_status ptq_json_set(json_t *obj, const char *key, json_t *v);
ptq_status ptq_json_push(json_t *array, json_t *v);
/* Name from a file as a JSON string (invalid UTF-8 replaced). */
json_t *ptq_json_name(const char *s);
/* Reads: dflt when absent or of another type. */
double ptq_json_num(const json_t *obj, const char *key, double dflt);
const char *ptq_json_str(const json_t *obj, const char *key, const char *dflt);

#endif
