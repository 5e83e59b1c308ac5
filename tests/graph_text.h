/* SPDX-License-Identifier: Apache-2.0 */
/* Small graphs written as text, one statement a line:
 *   opset 13
 *   input x f32 [batch,3,8,8]
 *   const w f32 [4,3,3,3]            values drawn from the name, in [-1, 1)
 *   const s s64 [2] 1 -1             values given (the last fills up)
 *   value y f32 [batch,4,?,?]        a declared type
 *   y = Conv(x, w, , ) group=1 pads=[1,1,1,1] auto_pad="VALID" alpha=0.5
 *   a, b = com.microsoft.Op(x)
 *   output y
 *   sub NAME ... end                 a subgraph, for an attribute body=@NAME of a later line; in it
 *   outer x                          a value of the graph around
 * [] is a scalar; [...] an unknown shape. */
#ifndef PTQ_TESTS_GRAPH_TEXT_H
#define PTQ_TESTS_GRAPH_TEXT_H

#include <ctype.h>
#include <string.h>

#include "lib/core/sequence.h"
#include "lib/graph/graph.h"
#include "tests/unit.h"

static inline void gt_space(const char **p)
{
    while (**p == ' ' || **p == '\t')
        ++*p;
}

static inline bool gt_is(const char **p, char c)
{
    gt_space(p);
    if (**p != c)
        return false;
    ++*p;
    return true;
}

static inline void gt_word(const char **p, char *buf, size_t n)
{
    size_t at = 0;
    gt_space(p);
    while (**p && !strchr(" \t\n,()=[]\"", **p) && at + 1 < n)
        buf[at++] = *(*p)++;
    buf[at] = 0;
}

/* Texts of subgraphs, innermost last; all of a test program's parsing is one call after the other. */
enum { GT_SUBS = 32 };
static struct {
    char name[32], text[2048];
} gt_subs[GT_SUBS];
static int gt_nsubs;
static inline ptq_graph *gt_parse(const char *text);

static inline ptq_value *gt_value(ptq_graph *g, const char *name)
{
    ptq_value *v = ptq_graph_find(g, name);
    if (!v)
        ck_assert_ok(ptq_graph_value(g, name, &v));
    return v;
}

static inline ptq_dtype gt_dtype(const char *s)
{
    static const struct {
        const char *name;
        ptq_dtype t;
    } rows[] = {{"f32", PTQ_DT_F32}, {"s64", PTQ_DT_S64}, {"s32", PTQ_DT_S32}, {"u8", PTQ_DT_U8},
                {"s8", PTQ_DT_S8},   {"bool", PTQ_DT_BOOL}, {"f16", PTQ_DT_F16}, {"list", (ptq_dtype)(PTQ_DT_F32 | PTQ_SEQUENCE)}, {"f64", PTQ_DT_F64}};
    for (size_t i = 0; i < PTQ_COUNT(rows); i++)
        if (strcmp(rows[i].name, s) == 0)
            return rows[i].t;
    ck_abort_msg("type %s", s);
}

static inline ptq_shape gt_shape(ptq_graph *g, const char **p)
{
    ptq_shape s = {.rank = 0};
    char w[64];
    ck_assert(gt_is(p, '['));
    while (!gt_is(p, ']')) {
        gt_word(p, w, sizeof w);
        if (strcmp(w, "...") == 0)
            s.rank = -1;
        else if (strcmp(w, "?") == 0)
            s.dims[s.rank++] = ptq_dim_unknown();
        else if (isdigit((unsigned char)w[0]))
            s.dims[s.rank++] = ptq_dim_of(strtoll(w, NULL, 10));
        else
            s.dims[s.rank++] = ptq_dim_sym(ptq_symbol(g, w));
        gt_is(p, ',');
    }
    return s;
}

static inline void gt_store(ptq_tensor *t, int64_t i, double v)
{
    switch (t->dtype) {
    case PTQ_DT_F32: ((float *)t->data)[i] = (float)v; break;
    case PTQ_DT_F64: ((double *)t->data)[i] = v; break;
    case PTQ_DT_S64: ((int64_t *)t->data)[i] = (int64_t)v; break;
    case PTQ_DT_S32: ((int32_t *)t->data)[i] = (int32_t)v; break;
    case PTQ_DT_U8: case PTQ_DT_BOOL: ((uint8_t *)t->data)[i] = (uint8_t)v; break;
    case PTQ_DT_S8: ((int8_t *)t->data)[i] = (int8_t)v; break;
    default: ck_abort_msg("constant of type %d", (int)t->dtype);
    }
}

static inline void gt_constant(ptq_graph *g, const char *name, ptq_dtype type, const ptq_shape *s,
                               const char *p)
{
    ptq_tensor t = {.dtype = type, .rank = s->rank};
    ptq_value *v;
    for (int i = 0; i < s->rank; i++)
        t.dims[i] = s->dims[i].add;
    ck_assert_ok(ptq_tensor_alloc(&t));
    ptq_rng r;
    uint64_t seed = 7;
    for (const char *c = name; *c; c++)
        seed = seed * 131 + (unsigned char)*c;
    ptq_rng_seed(&r, seed);
    double last = 0;
    int64_t whole = 0;
    bool given = false, wide = type == PTQ_DT_S64;
    for (int64_t i = 0; i < ptq_tensor_elements(&t); i++) {
        gt_space(&p);
        if (*p && *p != '\n') {
            char *end;
            if (wide)
                whole = strtoll(p, &end, 10);
            else
                last = strtod(p, &end);
            ck_assert_msg(end != p, "constant %s", name);
            p = end;
            given = true;
        } else if (!given) {
            last = 2 * (double)ptq_rng_uniform(&r) - 1;
        }
        if (wide)
            ((int64_t *)t.data)[i] = given ? whole : (int64_t)last;
        else
            gt_store(&t, i, last);
    }
    v = ptq_graph_find(g, name);
    if (v)
        ck_assert_ok(ptq_value_make_constant(g, v, &t, true));
    else
        ck_assert_ok(ptq_graph_constant(g, name, &t, true, &v));
    free(t.data);
}

/* [1,2] integers, [0.5,1] floats (one has a point), ["a","b"] strings. */
static inline void gt_attr_list(ptq_graph *g, ptq_node *n, const char *name, const char **p)
{
    char words[64][64];
    const char *strings[64];
    int64_t ints[64];
    float floats[64];
    size_t k = 0;
    bool text = false, point = false;
    for (++*p; !gt_is(p, ']'); gt_is(p, ',')) {
        bool quoted = gt_is(p, '"');
        gt_word(p, words[k], sizeof words[k]);
        text = (quoted && gt_is(p, '"')) || text;
        point = point || strpbrk(words[k], ".e");
        strings[k] = words[k];
        ints[k] = strtoll(words[k], NULL, 10);
        floats[k] = strtof(words[k], NULL);
        k++;
    }
    if (text)
        ck_assert_ok(ptq_attr_set_strings(g, n, name, strings, k));
    else if (point)
        ck_assert_ok(ptq_attr_set_floats(g, n, name, floats, k));
    else
        ck_assert_ok(ptq_attr_set_ints(g, n, name, ints, k));
}

static inline void gt_free_body(void *g)
{
    ptq_graph_free(g);
}

/* Gives n of g a subgraph, which g owns from then on. */
static inline void gt_set_body(ptq_graph *g, ptq_node *n, const char *name, ptq_graph *body)
{
    ck_assert_ok(ptq_graph_own(g, body, gt_free_body));
    body->outer = g;
    ck_assert_ok(ptq_attr_set_int(g, n, name, 0));
    for (int i = 0; i < n->nattrs; i++)
        if (strcmp(n->attrs[i].name, name) == 0) {
            n->attrs[i].type = PTQ_ATTR_GRAPH;
            n->attrs[i].graph = body;
        }
}

/* The latest subgraph of that name, with its captures. */
static inline void gt_attach(ptq_graph *g, ptq_node *n, const char *attr, const char *name)
{
    for (int i = gt_nsubs; i-- > 0;) {
        if (strcmp(gt_subs[i].name, name) != 0)
            continue;
        ptq_graph *body = gt_parse(gt_subs[i].text);
        body->opset = g->opset;
        gt_set_body(g, n, attr, body);
        for (size_t k = 0; k < body->captured.n; k++)
            ck_assert_ok(ptq_node_capture(g, n, gt_value(g, body->captured.v[k]->name)));
        return;
    }
    ck_abort_msg("subgraph %s", name);
}

static inline void gt_attr(ptq_graph *g, ptq_node *n, const char **p)
{
    char name[64], text[64];
    gt_word(p, name, sizeof name);
    ck_assert_msg(gt_is(p, '='), "attribute %s", name);
    gt_space(p);
    if (**p == '"') {
        size_t at = 0;
        for (++*p; **p != '"'; ++*p)
            text[at++] = **p;
        ++*p;
        text[at] = 0;
        ck_assert_ok(ptq_attr_set_str(g, n, name, text));
    } else if (**p == '[') {
        gt_attr_list(g, n, name, p);
    } else {
        gt_word(p, text, sizeof text);
        if (text[0] == '@')
            gt_attach(g, n, name, text + 1);
        else if (strpbrk(text, ".e"))
            ck_assert_ok(ptq_attr_set_float(g, n, name, strtof(text, NULL)));
        else
            ck_assert_ok(ptq_attr_set_int(g, n, name, strtoll(text, NULL, 10)));
    }
}

static inline void gt_node(ptq_graph *g, const char *p)
{
    char names[2][64][64];
    int n[2] = {0, 0};
    char op[96], *type;
    const char *domain = op;
    ptq_node *node;
    do
        gt_word(&p, names[1][n[1]++], 64);
    while (gt_is(&p, ','));
    ck_assert_msg(gt_is(&p, '='), "statement near '%.30s'", p);
    gt_word(&p, op, sizeof op);
    ck_assert(gt_is(&p, '('));
    while (!gt_is(&p, ')')) {
        gt_word(&p, names[0][n[0]++], 64);
        gt_is(&p, ',');
    }
    type = strrchr(op, '.');
    if (type) {
        *type++ = 0;
    } else {
        type = op;
        domain = "";
    }
    ck_assert_ok(ptq_graph_node(g, type, domain, NULL, n[0], n[1], NULL, &node));
    for (int i = 0; i < n[0]; i++)
        if (*names[0][i])
            ptq_node_set_input(g, node, i, gt_value(g, names[0][i]));
    for (int i = 0; i < n[1]; i++)
        if (*names[1][i])
            ptq_node_set_output(g, node, i, gt_value(g, names[1][i]));
    for (gt_space(&p); *p && *p != '\n'; gt_space(&p))
        gt_attr(g, node, &p);
}

static inline void gt_line(ptq_graph *g, const char *line)
{
    char word[64], name[64], type[16];
    const char *p = line;
    gt_word(&p, word, sizeof word);
    gt_space(&p);
    if ((!*word && *p != ',') || *word == '#')
        return;
    bool stmt = *p != '=' && *p != ',';
    if (stmt && strcmp(word, "opset") == 0) {
        g->opset = (int)strtol(p, NULL, 10);
        g->opset_ms = 1;
    } else if (stmt && strcmp(word, "outer") == 0) {
        gt_word(&p, name, sizeof name);
        ck_assert(PTQ_VEC_PUSH(g->arena, &g->captured, gt_value(g, name)));
    } else if (stmt && strcmp(word, "output") == 0) {
        gt_word(&p, name, sizeof name);
        ck_assert_ok(ptq_graph_add_output(g, gt_value(g, name)));
    } else if (stmt) {
        gt_word(&p, name, sizeof name);
        gt_word(&p, type, sizeof type);
        ptq_shape s = gt_shape(g, &p);
        if (strcmp(word, "const") == 0) {
            gt_constant(g, name, gt_dtype(type), &s, p);
            return;
        }
        ptq_value *v = gt_value(g, name);
        v->dtype = gt_dtype(type);
        v->shape = s;
        if (strcmp(word, "input") == 0)
            ck_assert_ok(ptq_graph_add_input(g, v));
    } else {
        gt_node(g, line);
    }
}

/* Keeps the lines behind "sub NAME" up to its "end"; returns what follows. */
static inline const char *gt_keep_sub(const char *text)
{
    ck_assert_int_lt(gt_nsubs, GT_SUBS);
    const char *name = text + 4, *from = strchr(text, '\n') + 1, *p = from;
    snprintf(gt_subs[gt_nsubs].name, sizeof gt_subs[0].name, "%.*s", (int)(from - 1 - name), name);
    for (int depth = 1;;) {
        ck_assert_msg(*p, "subgraph without end");
        depth += !strncmp(p, "sub ", 4) - !strncmp(p, "end\n", 4);
        if (!depth)
            break;
        p = strchr(p, '\n') + 1;
    }
    snprintf(gt_subs[gt_nsubs++].text, sizeof gt_subs[0].text, "%.*s", (int)(p - from), from);
    return p + 4;
}

/* The graph of `text`, nodes in the order given (put producers first). */
static inline ptq_graph *gt_parse(const char *text)
{
    ptq_graph *g;
    ck_assert_ok(ptq_graph_new(&g));
    g->opset = 17;
    g->opset_ms = 1;
    char line[4096];
    int outside = gt_nsubs;
    while (*text) {
        if (strncmp(text, "sub ", 4) == 0) {
            text = gt_keep_sub(text);
            continue;
        }
        size_t n = strcspn(text, "\n");
        ck_assert_uint_lt(n, sizeof line);
        memcpy(line, text, n);
        line[n] = 0;
        gt_line(g, line);
        text += n + (text[n] == '\n');
    }
    gt_nsubs = outside;
    ck_assert_ok(ptq_graph_verify(g));
    return g;
}


#endif
