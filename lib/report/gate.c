/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/core/clocale.h"
#include "lib/report/report.h"

static const struct {
    const char *name, *path, *eval_path;
    double factor;
} gates[] = {
#define PTQ_GATE(name, path, eval_path, factor) {#name, path, eval_path, factor},
#define PTQ_FIGURE(name)
#include "lib/report/gates.def"
#undef PTQ_GATE
#undef PTQ_FIGURE
};

static const char *const figures[] = {
#define PTQ_GATE(name, path, eval_path, factor)
#define PTQ_FIGURE(name) #name,
#include "lib/report/gates.def"
#undef PTQ_GATE
#undef PTQ_FIGURE
};

/* Member or element `key` of v. */
static const json_t *step(const json_t *v, const char *key, size_t n)
{
    char buf[64];
    if (n >= sizeof buf)
        return NULL;
    memcpy(buf, key, n);
    buf[n] = '\0';
    if (json_is_array(v) && isdigit((unsigned char)buf[0]))
        return json_array_get(v, (size_t)strtoul(buf, NULL, 10));
    return json_object_get(v, buf);
}

static const json_t *walk(const json_t *v, const char *path)
{
    while (v && *path) {
        size_t n = strcspn(path, ".");
        v = step(v, path, n);
        path += n + (path[n] == '.');
    }
    return v;
}

/* Does the object that holds the figure say that both sides are equal? */
static bool is_identical(const json_t *root, const char *path)
{
    char parent[128];
    const char *dot = strrchr(path, '.');
    if (!dot || (size_t)(dot - path) >= sizeof parent)
        return false;
    memcpy(parent, path, (size_t)(dot - path));
    parent[dot - path] = '\0';
    return json_is_true(json_object_get(walk(root, parent), "identical"));
}

static ptq_status no_figure(const char *path)
{
    const char *names[PTQ_COUNT(gates)];
    char list[256] = "";
    for (size_t i = 0; i < PTQ_COUNT(gates); i++) {
        names[i] = gates[i].name;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", names[i]);
    }
    return ptq_fail_unknown(path, names, PTQ_COUNT(names), "the report has no figure '%s'; there are %s, and "
                            "paths into its JSON form", path, list);
}

/* May a report have it? */
static ptq_status check_name(const char *path)
{
    size_t n = strcspn(path, ".");
    for (size_t i = 0; i < PTQ_COUNT(gates); i++)
        if (strcmp(gates[i].name, path) == 0)
            return PTQ_OK;
    for (size_t i = 0; i < PTQ_COUNT(figures); i++)
        if (strlen(figures[i]) == n && strncmp(figures[i], path, n) == 0)
            return PTQ_OK;
    return no_figure(path);
}

ptq_status ptq_report_number(const ptq_report *r, const char *path, double *value)
{
    PTQ_NEEDS(r);
    PTQ_NEEDS(path);
    PTQ_NEEDS(value);
    double factor = 1.0;
    const char *full = path;
    for (size_t i = 0; i < PTQ_COUNT(gates); i++) {
        if (strcmp(gates[i].name, path) == 0) {
            full = gates[i].path;
            if (gates[i].eval_path && !walk(r->root, full))
                full = gates[i].eval_path;
            factor = gates[i].factor;
        }
    }
    const json_t *v = walk(r->root, full);
    if (!v) {
        if (full != path)
            return ptq_fail(PTQ_ERR_ARG, "the report has no figure '%s' (were labels given, was it measured?)", path);
        return no_figure(path);
    }
    if (json_is_null(v) && is_identical(r->root, full)) {
        *value = INFINITY; /* no noise at all; JSON has no number for that */
        return PTQ_OK;
    }
    if (!json_is_number(v))
        return ptq_fail(PTQ_ERR_ARG, "figure '%s' of the report is not a number", path);
    *value = factor * json_number_value(v) + 0.0; /* no -0 */
    return PTQ_OK;
}

static bool compare(const char *op, double a, double b, bool *known)
{
    *known = true;
    if (strcmp(op, "<") == 0)
        return a < b;
    if (strcmp(op, "<=") == 0)
        return a <= b;
    if (strcmp(op, ">") == 0)
        return a > b;
    if (strcmp(op, ">=") == 0)
        return a >= b;
    if (strcmp(op, "==") == 0)
        return a == b;
    *known = false;
    return false;
}

ptq_status ptq_report_gate(const ptq_report *r, const char *expression, bool *holds)
{
    PTQ_NEEDS(expression);
    PTQ_NEEDS(holds || !r);
    char name[128], op[3] = "";
    size_t n = strcspn(expression, "<>= \t"), k = 0;
    if (n == 0 || n >= sizeof name)
        return ptq_fail(PTQ_ERR_ARG, "gate '%s': expected FIGURE OP NUMBER, such as top1_drop>1", expression);
    memcpy(name, expression, n);
    name[n] = '\0';
    const char *p = expression + n;
    while (isspace((unsigned char)*p))
        p++;
    while (k < 2 && *p && strchr("<>=", *p))
        op[k++] = *p++;
    if (!*p)
        return ptq_fail(PTQ_ERR_ARG, "gate '%s': expected FIGURE OP NUMBER, such as top1_drop>1", expression);
    char *end;
    ptq_clocale locale = ptq_clocale_enter();
    double limit = strtod(p, &end), value;
    ptq_clocale_leave(locale);
    bool known;
    while (isspace((unsigned char)*end))
        end++;
    if (end == p || *end || isnan(limit))
        return ptq_fail(PTQ_ERR_ARG, "gate '%s': '%s' is not a number", expression, p);
    compare(op, 0.0, 0.0, &known);
    if (!known)
        return ptq_fail(PTQ_ERR_ARG, "gate '%s': '%s' is not one of < <= > >= ==", expression, op);
    if (!r)
        return check_name(name);
    PTQ_TRY(ptq_report_number(r, name, &value));
    *holds = compare(op, value, limit, &known);
    return PTQ_OK;
}
