/* SPDX-License-Identifier: Apache-2.0 */
/* For the files of passes (pass_*.c); each ends in a function ptq_pass_<name>. */
#ifndef PTQ_GRAPH_PASS_IMPL_H
#define PTQ_GRAPH_PASS_IMPL_H

#include <string.h>

#include "lib/graph/pass.h"

#define PTQ_PASS(name, summary) ptq_status ptq_pass_##name(ptq_pass_ctx *ctx);
#include "lib/graph/passes.def"
#undef PTQ_PASS

static inline bool ptq_node_is(const ptq_node *n, const char *op)
{
    return !*n->domain && strcmp(n->op, op) == 0;
}
static inline ptq_value *ptq_node_input(const ptq_node *n, int slot)
{
    return slot < n->nin ? n->in[slot] : NULL;
}
bool ptq_value_captured(const ptq_value *v);
/* Nobody reads v, and it is no output. */
static inline bool ptq_value_unused(const ptq_value *v)
{
    return !v || (v->uses.n == 0 && !v->is_output);
}
/* Removes n, whose output 0 equals `x`: readers read x. False (nothing done) when that would
 * lose the name of a graph output or a capture. */
bool ptq_node_bypass(ptq_graph *g, ptq_node *n, ptq_value *x);
/* Removes the value when nothing needs it any more. */
void ptq_value_drop(ptq_graph *g, ptq_value *v);
/* Removes n and those of its inputs and outputs that nothing needs any more. */
void ptq_node_drop(ptq_graph *g, ptq_node *n);

#endif
