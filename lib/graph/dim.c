/* SPDX-License-Identifier: Apache-2.0 */
/* Symbolic dimensions: numbers of the form mul * symbol + add. */
#include <string.h>

#include "lib/graph/graph_impl.h"

/* A symbol times 0 is a number. */
static ptq_dim normal(ptq_dim d)
{
    if (d.sym > 0 && d.mul == 0)
        d.sym = PTQ_SYM_NONE;
    return d;
}

static ptq_dim combine(ptq_dim a, ptq_dim b, bool minus)
{
    if (a.sym == PTQ_SYM_UNKNOWN || b.sym == PTQ_SYM_UNKNOWN ||
        (a.sym > 0 && b.sym > 0 && a.sym != b.sym))
        return ptq_dim_unknown();
    ptq_dim r = {.sym = a.sym > 0 ? a.sym : b.sym};
    bool over = minus ? __builtin_sub_overflow(a.mul, b.mul, &r.mul) ||
                            __builtin_sub_overflow(a.add, b.add, &r.add)
                      : __builtin_add_overflow(a.mul, b.mul, &r.mul) ||
                            __builtin_add_overflow(a.add, b.add, &r.add);
    return over ? ptq_dim_unknown() : normal(r);
}

ptq_dim ptq_dim_add(ptq_dim a, ptq_dim b)
{
    return combine(a, b, false);
}

ptq_dim ptq_dim_sub(ptq_dim a, ptq_dim b)
{
    return combine(a, b, true);
}

ptq_dim ptq_dim_mul(ptq_dim a, ptq_dim b)
{
    if ((ptq_dim_known(a) && a.add == 0) || (ptq_dim_known(b) && b.add == 0))
        return ptq_dim_of(0);
    if (ptq_dim_known(a)) {
        ptq_dim t = a;
        a = b;
        b = t;
    }
    if (!ptq_dim_known(b) || a.sym == PTQ_SYM_UNKNOWN)
        return ptq_dim_unknown();
    ptq_dim r = {.sym = a.sym};
    if (__builtin_mul_overflow(a.mul, b.add, &r.mul) ||
        __builtin_mul_overflow(a.add, b.add, &r.add))
        return ptq_dim_unknown();
    return normal(r);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

ptq_dim ptq_dim_div(ptq_dim a, ptq_dim b)
{
    if (a.sym == PTQ_SYM_UNKNOWN || b.sym == PTQ_SYM_UNKNOWN)
        return ptq_dim_unknown();
    if (ptq_dim_known(b)) {
        if (b.add == 0 || (b.add == -1 && (a.add == INT64_MIN || a.mul == INT64_MIN)))
            return ptq_dim_unknown();
        /* floor((m s + c) / n) = (m / n) s + floor(c / n) when n divides m. */
        if (a.mul % b.add != 0)
            return ptq_dim_unknown();
        return normal((ptq_dim){a.mul / b.add, floor_div(a.add, b.add), a.sym});
    }
    /* A multiple of the same expression; sizes that are divided by are not 0. */
    if (a.sym != b.sym || b.mul == 0 || b.mul == -1 || a.mul % b.mul != 0)
        return ptq_dim_unknown();
    int64_t k = a.mul / b.mul, back;
    if (__builtin_mul_overflow(k, b.add, &back) || back != a.add)
        return ptq_dim_unknown();
    return ptq_dim_of(k);
}

bool ptq_shape_known(const ptq_shape *s)
{
    for (int i = 0; i < s->rank; i++)
        if (!ptq_dim_known(s->dims[i]))
            return false;
    return s->rank >= 0;
}

static int dim_print(ptq_dim d, const ptq_symtab *tab, char *buf, size_t n)
{
    if (d.sym == PTQ_SYM_UNKNOWN)
        return snprintf(buf, n, "?");
    if (d.sym == PTQ_SYM_NONE)
        return snprintf(buf, n, "%lld", (long long)d.add);
    char sym[64], mul[32] = "", add[32] = "";
    const char *name = ptq_symbol_name(tab, d.sym);
    if (name)
        snprintf(sym, sizeof sym, "%s", name);
    else
        snprintf(sym, sizeof sym, "s%d", (int)d.sym);
    if (d.mul != 1)
        snprintf(mul, sizeof mul, "%lld*", (long long)d.mul);
    if (d.add != 0)
        snprintf(add, sizeof add, "%+lld", (long long)d.add);
    return snprintf(buf, n, "%s%s%s", mul, sym, add);
}

const char *ptq_shape_print(const ptq_shape *s, const ptq_symtab *tab, char *buf, size_t n)
{
    if (s->rank < 0) {
        snprintf(buf, n, "[...]");
        return buf;
    }
    size_t at = (size_t)snprintf(buf, n, "[");
    for (int i = 0; i < s->rank && at < n; i++) {
        if (i)
            at += (size_t)snprintf(buf + at, n - at, ",");
        if (at < n)
            at += (size_t)dim_print(s->dims[i], tab, buf + at, n - at);
    }
    if (at < n)
        snprintf(buf + at, n - at, "]");
    return buf;
}

/* ---- symbols ---- */

ptq_symtab *ptq_symtab_new(ptq_arena *a)
{
    ptq_symtab *t = ptq_arena_alloc(a, sizeof *t);
    if (t && !(t->by_name = ptq_map_new()))
        return NULL;
    return t;
}

void ptq_symtab_free(ptq_symtab *t)
{
    if (t)
        ptq_map_free(t->by_name);
}

static int32_t add_symbol(ptq_arena *a, ptq_symtab *t, const char *name)
{
    if (!name || t->names.n >= INT32_MAX - 1 || !PTQ_VEC_PUSH(a, &t->names, name))
        return PTQ_SYM_UNKNOWN;
    if (!ptq_map_put(t->by_name, name, (void *)(uintptr_t)t->names.n)) {
        t->names.n--;
        return PTQ_SYM_UNKNOWN;
    }
    return (int32_t)t->names.n;
}

bool ptq_symtab_copy(ptq_arena *a, ptq_symtab *to, const ptq_symtab *from)
{
    to->fresh = from->fresh;
    for (size_t i = 0; i < from->names.n; i++)
        if (add_symbol(a, to, from->names.v[i]) == PTQ_SYM_UNKNOWN)
            return false;
    return true;
}

int32_t ptq_symbol(ptq_graph *g, const char *name)
{
    ptq_symtab *t = g->syms;
    if (name) {
        uintptr_t id = (uintptr_t)ptq_map_get(t->by_name, name);
        return id ? (int32_t)id : add_symbol(g->arena, t, ptq_arena_strdup(g->arena, name));
    }
    char buf[32];
    do
        snprintf(buf, sizeof buf, "unk__%d", t->fresh++);
    while (ptq_map_get(t->by_name, buf));
    return add_symbol(g->arena, t, ptq_arena_strdup(g->arena, buf));
}

ptq_shape ptq_shape_import(ptq_graph *g, const ptq_graph *from, const ptq_shape *s)
{
    ptq_shape r = *s;
    for (int i = 0; i < r.rank; i++) {
        const char *name = ptq_symbol_name(from->syms, r.dims[i].sym);
        if (r.dims[i].sym == PTQ_SYM_NONE)
            continue;
        int32_t sym = name && strncmp(name, "unk__", 5) != 0 ? ptq_symbol(g, name) : PTQ_SYM_UNKNOWN;
        if (sym > 0)
            r.dims[i].sym = sym;
        else
            r.dims[i] = ptq_dim_unknown();
    }
    return r;
}

const char *ptq_symbol_name(const ptq_symtab *tab, int32_t id)
{
    return tab && id > 0 && (size_t)id <= tab->names.n ? tab->names.v[id - 1] : NULL;
}
