/* SPDX-License-Identifier: Apache-2.0 */
/* Graphs of before opset 7, where broadcasting was an attribute. */
#include "lib/graph/pass_impl.h"

/* Forms that are read from this opset on; older ones stay as they are, unknown to the table. */
static const struct {
    const char *op;
    int since;
} forms[] = {{"Cast", 6}, {"Reshape", 5}, {"Concat", 4}, {"Pad", 2}, {"Tile", 6}, {"Split", 2}, {"Upsample", 7},
             {"LpPool", 2}, {"GlobalLpPool", 2}, {"LSTM", 7}, {"GRU", 7}, {"RNN", 7}};

static bool readable(const ptq_graph *g)
{
    PTQ_GRAPH_EACH_NODE (g, n) {
        for (size_t i = 0; i < PTQ_COUNT(forms); i++)
            if (ptq_node_is(n, forms[i].op) && g->opset < forms[i].since)
                return false;
        for (int i = 0; i < n->nattrs; i++)
            if (n->attrs[i].type == PTQ_ATTR_GRAPH || n->attrs[i].type == PTQ_ATTR_GRAPHS)
                return false;
    }
    return true;
}

/* Input `slot` with `count` dimensions of size 1 behind its own. */
static ptq_status add_dims(ptq_graph *g, ptq_node *n, int slot, int count)
{
    int64_t axes[PTQ_MAX_RANK];
    int rank = n->in[slot]->shape.rank;
    ptq_node *u;
    ptq_value *y;
    if (rank + count > PTQ_MAX_RANK)
        return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): the axis does not fit its inputs", n->name, n->op);
    for (int i = 0; i < count; i++)
        axes[i] = rank + i;
    PTQ_TRY(ptq_graph_node(g, "Unsqueeze", "", n->name, 1, 1, n, &u));
    ptq_node_set_input(g, u, 0, n->in[slot]);
    PTQ_TRY(ptq_attr_set_ints(g, u, "axes", axes, (size_t)count));
    const char *name = ptq_graph_unique_name(g, u->name);
    if (!name)
        return ptq_fail_nomem();
    PTQ_TRY(ptq_graph_value(g, name, &y));
    ptq_node_set_output(g, u, 0, y);
    ptq_node_set_input(g, n, slot, y);
    u->def = ptq_op_find("Unsqueeze", "", g->opset);
    return ptq_infer_node(g, u);
}

/* The second input's first dimension stands at `axis` of the first input. */
static ptq_status broadcast_axis(ptq_graph *g, ptq_node *n)
{
    const ptq_attr *a = ptq_attr_find(n, "axis");
    if (!a || !ptq_attr_int(n, "broadcast", 0) || n->nin < 2 || !n->in[0] || !n->in[1])
        return PTQ_OK;
    int rank = n->in[0]->shape.rank, other = n->in[1]->shape.rank;
    if (rank < 0 || other < 0)
        return ptq_fail(PTQ_ERR_UNSUPPORTED,
                        "node '%s' (%s): an axis of opset %d, and the rank of its inputs is not known", n->name,
                        n->op, g->opset);
    int64_t behind = rank - (a->i < 0 ? a->i + rank : a->i) - other;
    if (behind < 0 || behind > rank)
        return ptq_fail(PTQ_ERR_MODEL, "node '%s' (%s): axis %lld does not fit its inputs", n->name, n->op,
                        (long long)a->i);
    return behind ? add_dims(g, n, 1, (int)behind) : PTQ_OK;
}

static ptq_status renew(ptq_graph *g, ptq_node *n)
{
    static const char *const sums[] = {"Add", "Sub", "Mul",     "Div",  "Pow",   "And",
                                       "Or",  "Xor", "Greater", "Less", "Equal", "Gemm"};
    bool is_sum = false;
    for (size_t i = 0; i < PTQ_COUNT(sums); i++)
        is_sum = is_sum || ptq_node_is(n, sums[i]);
    if (is_sum) {
        PTQ_TRY(broadcast_axis(g, n));
        ptq_attr_remove(n, "broadcast");
        ptq_attr_remove(n, "axis");
    }
    if (ptq_node_is(n, "PRelu") && n->nin == 2 && n->in[0] && n->in[1]) { /* a slope for each channel */
        int rank = n->in[0]->shape.rank;
        const ptq_shape *s = &n->in[1]->shape;
        bool shared = s->rank != 1 || (ptq_dim_known(s->dims[0]) && s->dims[0].add == 1);
        if (!shared && rank > 2)
            PTQ_TRY(add_dims(g, n, 1, rank - 2));
    }
    if ((ptq_node_is(n, "BatchNormalization") || ptq_node_is(n, "Dropout")) && !ptq_attr_int(n, "is_test", 0))
        return ptq_fail(PTQ_ERR_UNSUPPORTED, "node '%s' (%s): the training mode of opset %d is not supported", n->name,
                        n->op, g->opset);
    ptq_attr_remove(n, "is_test");
    ptq_attr_remove(n, "consumed_inputs");
    return PTQ_OK;
}

ptq_status ptq_graph_renew(ptq_graph *g)
{
    if (g->opset < 1 || g->opset >= 7 || !readable(g))
        return PTQ_OK;
    PTQ_GRAPH_EACH_NODE_SAFE (g, n, next) {
        if (*n->domain)
            continue;
        PTQ_TRY(renew(g, n));
        n->def = ptq_op_find(n->op, "", 7);
        if (n->def)
            PTQ_TRY(ptq_infer_node(g, n));
    }
    g->opset = 7;
    return PTQ_OK;
}
