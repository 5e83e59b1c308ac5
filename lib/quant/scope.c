/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/quant/scope.h"

#include <string.h>

static ptq_status no_match(const ptq_graph *g, const char *pattern, bool op, const char *option)
{
    const char *names[4096];
    size_t n = 0;
    PTQ_GRAPH_EACH_NODE (g, node)
        if (n < PTQ_COUNT(names))
            names[n++] = op ? node->op : node->name;
    return ptq_fail_unknown(pattern, names, n, "%s '%s' matches no %s", option, pattern,
                            op ? "operator type of the model" : "node");
}

/* Writes `reason` at every node whose name matches. A name that holds '[' or '*' matches itself too. */
static ptq_status mark_names(const ptq_graph *g, const char *pattern, const char *option, const char *reason,
                             const char **out)
{
    bool any = false;
    if (!strpbrk(pattern, "*?[\\")) {
        const ptq_node *n = ptq_map_get(g->node_by_name, pattern);
        if (n && n->linked) {
            out[n->id] = reason;
            any = true;
        }
    } else {
        PTQ_GRAPH_EACH_NODE (g, n)
            if (strcmp(pattern, n->name) == 0 || ptq_glob_match(pattern, n->name)) {
                out[n->id] = reason;
                any = true;
            }
    }
    return any ? PTQ_OK : no_match(g, pattern, false, option);
}

static ptq_status mark_ops(const ptq_graph *g, const char *op, const char *reason, const char **out)
{
    bool any = false;
    PTQ_GRAPH_EACH_NODE (g, n)
        if (strcmp(op, n->op) == 0) {
            out[n->id] = reason;
            any = true;
        }
    return any ? PTQ_OK : no_match(g, op, true, "--exclude-op");
}

ptq_status ptq_scope_reasons(const ptq_graph *g, const ptq_scope *s, ptq_arena *a, const char *const **out)
{
    const size_t count = (size_t)g->next_node_id + 1;
    const char **why = ptq_arena_array(a, count, sizeof *why), **only = ptq_arena_array(a, count, sizeof *only),
               **ops = ptq_arena_array(a, count, sizeof *ops);
    if (!why || !only || !ops)
        return ptq_fail_nomem();
    *out = why;
    if (!s)
        return PTQ_OK;
    for (size_t i = 0; i < s->nonly; i++)
        PTQ_TRY(mark_names(g, s->only[i], "--only", "", only));
    for (size_t i = 0; i < s->nexclude; i++)
        PTQ_TRY(mark_names(g, s->exclude[i], i + s->nfile < s->nexclude ? "--exclude" : "overrides: float_nodes:",
                           "excluded by --exclude", why));
    for (size_t i = 0; i < s->nexclude_ops; i++)
        PTQ_TRY(mark_ops(g, s->exclude_ops[i], "excluded by --exclude-op", ops));
    PTQ_GRAPH_EACH_NODE (g, n) {
        if (!why[n->id])
            why[n->id] = ops[n->id];
        if (s->nonly && !only[n->id])
            why[n->id] = "not named by --only";
        if (s->float_nodes && s->float_nodes[n->id])
            why[n->id] = "left in float by auto";
    }
    return PTQ_OK;
}
